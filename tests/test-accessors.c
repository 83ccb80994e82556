/* SPDX-License-Identifier: MIT */
/* A process is killed, or stops and is killed later, exactly at its k-th access to shared memory,
 * for every k of a short exchange, as sender and as receiver: the survivor gets whole records in
 * order, then the right error, in time, and nothing leaks. */
#include "channel-fixture.h"

#include "ring-layout.h"
#include "util/clock.h"
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define RECORDS     40
#define LEN_MOST    700
#define SPAN        3
#define STOPPED_MS  20
#define ACCESSES    20000 /* more than the exchange takes */
#define SURVIVED_MS 5000

enum blow { KILL, STOP };

struct match {
	bool sends; /* the victim does */
	enum blow blow;
	uint32_t doorbell;
	int socks[2];
	pid_t pid;
};

/* The victim's hook */

static uint64_t accesses, struck_at;
static enum blow strike_with;

static uint64_t count_down(enum rf__op op, const void *where, uint64_t value)
{
	(void)op, (void)where;
	if (++accesses == struck_at)
		raise(strike_with == STOP ? SIGSTOP : SIGKILL);
	return value;
}

/* Record i: its length and each of its bytes follow from i. */

static size_t length_of(unsigned i)
{
	return i % 7 ? i * 97 % LEN_MOST : LEN_MOST - i % 3;
}

static unsigned char byte_of(unsigned i)
{
	return (unsigned char)(i * 31 + 1);
}

static bool is_record(const struct rf_message *message, unsigned i)
{
	const unsigned char *data = message->data;
	size_t k;

	if (message->len != length_of(i) || message->tag != i)
		return false;
	for (k = 0; k < message->len; k++)
		if (data[k] != byte_of(i))
			return false;
	return true;
}

static int fill_record(struct rf_tx *tx, struct rf_buffer *buffer, unsigned i)
{
	memset(buffer->data, byte_of(i), length_of(i));
	buffer->len = length_of(i);
	buffer->tag = i;
	return rf_tx_commit(tx, buffer);
}

/* Of two reservations the older one is given up now and then, or committed last. */
static int send_pair(struct rf_tx *tx, unsigned i, uint64_t deadline)
{
	struct rf_buffer first, second;
	bool cancels = i % 4 == 2;
	int r = rf_tx_reserve(tx, LEN_MOST, deadline, &first);

	if (r < 0)
		return r;
	r = rf_tx_reserve(tx, LEN_MOST, deadline, &second);
	if (r < 0) {
		rf_tx_cancel(tx, &first);
		return r;
	}
	r = fill_record(tx, &second, cancels ? i : i + 1);
	if (r >= 0)
		r = cancels ? rf_tx_cancel(tx, &first) : fill_record(tx, &first, i);
	if (r >= 0)
		r = rf_tx_publish(tx);
	return r < 0 ? r : cancels ? 1 : 2;
}

static int send_all(struct rf_tx *tx, unsigned n, unsigned timeout_ms)
{
	unsigned i = 0;
	int r = 0;

	while (i < n && r >= 0) {
		r = send_pair(tx, i, rf_test_deadline(timeout_ms));
		if (r > 0)
			i += (unsigned)r;
	}
	return r < 0 ? r : rf_tx_end(tx);
}

/* By turns borrowed in spans and copied. *next is the first record that did not come. */
static int take_some(struct rf_rx *rx, unsigned *next, unsigned timeout_ms)
{
	struct rf_message messages[SPAN];
	unsigned char copy[LEN_MOST];
	bool copies = *next % 2;
	uint64_t deadline = rf_test_deadline(timeout_ms);
	int n = copies ? rf_rx_copy(rx, deadline, copy, sizeof(copy), messages)
		       : rf_rx_borrow(rx, deadline, messages, SPAN);
	int i, r;

	for (i = 0; i < n; i++)
		if (!is_record(&messages[i], (*next)++))
			return -EILSEQ;
	r = n > 0 && !copies ? rf_rx_release(rx, messages, (unsigned)n) : 0;
	return r < 0 ? r : n;
}

static int take_all(struct rf_rx *rx, unsigned n, unsigned *next, unsigned timeout_ms)
{
	int r;

	do
		r = take_some(rx, next, timeout_ms);
	while (r > 0 && *next < n);
	return r < 0 ? r : 0;
}

/* The two */

static int connect_victim(const struct match *m, struct rf_channel **ret_channel)
{
	struct rf_options options = channel_options(m->doorbell, RF_WAIT_SLEEP);

	options.direction = m->sends ? RF_SEND : RF_RECEIVE;
	options.ring_bytes = 4096;
	return rf_connect(
		fd_address(m->socks[1]), &options, rf_test_deadline(SOON_MS), ret_channel);
}

/* 0: it got to the end. */
static int be_the_victim(void *arg)
{
	struct match *m = arg;
	struct rf_channel *channel;
	unsigned next = 0;
	int r;

	close(m->socks[0]);
	if (connect_victim(m, &channel) < 0)
		return 2;
	rf__access_hook = count_down;
	r = m->sends ? send_all(rf_channel_tx(channel), RECORDS, SOON_MS)
		     : take_all(rf_channel_rx(channel), RECORDS, &next, SOON_MS);
	rf__access_hook = NULL;
	rf_channel_close(channel);
	return r < 0;
}

static int survive(struct rf_channel *channel, bool sends, unsigned *next, unsigned timeout_ms)
{
	if (sends)
		return send_all(rf_channel_tx(channel), UINT32_MAX, timeout_ms);
	return take_all(rf_channel_rx(channel), UINT32_MAX, next, timeout_ms);
}

/* A victim that stopped is killed only after a deadline was met. */
static int meet_the_deadline(const struct match *m, struct rf_channel *channel, unsigned *next)
{
	int r = survive(channel, !m->sends, next, STOPPED_MS);

	if (r == -ETIMEDOUT)
		assert_int_equal(kill(m->pid, SIGKILL), 0);
	return r;
}

static struct rf_channel *accept_victim(struct match *m)
{
	struct rf_options options = channel_options(m->doorbell, RF_WAIT_SLEEP);
	struct rf_listener *listener;
	struct rf_channel *channel;

	make_pair(m->socks);
	m->pid = rf_test_child(be_the_victim, m, 0, 0);
	close(m->socks[1]);
	listener = listen_at(fd_address(m->socks[0]), &options);
	channel = accept_one(listener);
	rf_listener_close(listener);
	return channel;
}

/* Was the victim struck? */
static bool play(struct match *m)
{
	struct rf_channel *channel = accept_victim(m);
	uint64_t until = rf_test_deadline(SURVIVED_MS);
	unsigned next = 0;
	int r, status;

	do
		r = m->blow == STOP ? meet_the_deadline(m, channel, &next)
				    : survive(channel, !m->sends, &next, SURVIVED_MS);
	while (r == -ETIMEDOUT && rf__now() < until);
	rf_channel_close(channel);
	status = rf_test_wait(m->pid, SOON_MS);
	if (!status) {
		assert_int_equal(r, m->sends ? 0 : -EPIPE);
		assert_true(next >= (m->sends ? RECORDS : 0));
		return false;
	}
	if (status != -SIGKILL || r != -EPIPE)
		fail_msg("access %lu: the survivor got %d after %u records, the victim %d",
			(unsigned long)struck_at, r, next, status);
	return true;
}

static void struck_at_every_access(void **state)
{
	struct match m = *(struct match *)*state;
	struct leaks leaks = leaks_begin();
	uint64_t step = rf_test_rounds(10) == 10 ? 1 : 7;
	unsigned rounds = 0;

	strike_with = m.blow;
	for (struck_at = 1; struck_at < ACCESSES && play(&m); struck_at += step, rounds++)
		assert_no_leaks(&leaks);
	assert_no_leaks(&leaks);
	print_message("# %u accesses\n", rounds);
	assert_true(rounds * step > 50);
	assert_true(struck_at < ACCESSES);
}

int main(void)
{
	static struct match matches[] = {
		{.sends = true, .blow = KILL, .doorbell = RF_DOORBELL_EVENTFD},
		{.sends = false, .blow = KILL, .doorbell = RF_DOORBELL_SOCKET},
		{.sends = true, .blow = STOP, .doorbell = RF_DOORBELL_SOCKET},
		{.sends = false, .blow = STOP, .doorbell = RF_DOORBELL_EVENTFD},
	};
	const struct CMUnitTest tests[] = {
		{"a_sender_killed_at_any_access_leaves_whole_records", struck_at_every_access, NULL,
			NULL, &matches[0]},
		{"a_receiver_killed_at_any_access_is_noticed", struck_at_every_access, NULL, NULL,
			&matches[1]},
		{"a_sender_stopped_at_any_access_meets_the_deadline", struck_at_every_access, NULL,
			NULL, &matches[2]},
		{"a_receiver_stopped_at_any_access_meets_the_deadline", struck_at_every_access,
			NULL, NULL, &matches[3]},
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
