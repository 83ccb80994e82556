/* SPDX-License-Identifier: MIT */
/* Kicks: how many there are, who is woken by them, in the caller's own event loop, too; and what a
 * peer can do with a doorbell. send(2) is interposed here: as on a kernel without memory. */
#include "channel-fixture.h"

#include "util/clock.h"
#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const uint32_t bells[] = {RF_DOORBELL_EVENTFD, RF_DOORBELL_SOCKET};

static struct leaks leaks;
static int send_error; /* what send(2) fails with; 0: it works */
static int send_flags; /* of the last call */

ssize_t send(int sock, const void *data, size_t len, int flags)
{
	__typeof__(&send) real = (__typeof__(&send))dlsym(RTLD_NEXT, "send");

	__atomic_store_n(&send_flags, flags, __ATOMIC_RELAXED);
	if (!send_error)
		return real(sock, data, len, flags);
	errno = send_error;
	return -1;
}

static int setup(void **state)
{
	(void)state;
	send_error = 0;
	leaks = leaks_begin();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	assert_no_leaks(&leaks);
	return 0;
}

static void open_ends(struct ends *ends, uint32_t doorbell, uint32_t wait)
{
	struct rf_options options = channel_options(doorbell, wait);

	ends_open(ends, &options, &options);
}

static int arm(struct rf_channel *channel, unsigned events)
{
	uint64_t until = 0;
	int r = rf_channel_arm(channel, events, sizeof(uint64_t), &until);

	if (!r)
		assert_true(until == RF_FOREVER || getenv("RF_TEST_FENCE"));
	return r;
}

static bool is_readable(struct rf_channel *channel)
{
	return wait_readable(rf_channel_fd(channel), 0);
}

/* How many */

static void a_sleep_costs_one_kick(void **state)
{
	struct ends ends;
	unsigned i, k;

	(void)state;
	for (i = 0; i < 2; i++) {
		open_ends(&ends, bells[i], RF_WAIT_ADAPTIVE);
		for (k = 0; k < 10; k++)
			assert_int_equal(send_number(rf_channel_tx(ends.client), k, 0), 0);
		assert_int_equal(channel_stats(ends.client).tx.kicks, 0);
		assert_int_equal(take_numbers(rf_channel_rx(ends.server), 0, 10, 0), 0);
		assert_int_equal(arm(ends.server, RF_DATA), 0);
		for (k = 0; k < 10; k++)
			assert_int_equal(send_number(rf_channel_tx(ends.client), k, 0), 0);
		assert_int_equal(channel_stats(ends.client).tx.kicks, 1);
		assert_int_equal(arm(ends.server, RF_DATA), 1);
		ends_close(&ends);
	}
}

#define MANY 100000

static int send_many(void *arg)
{
	uint64_t i, n = rf_test_rounds(MANY);
	int r = 0;

	for (i = 0; i < n && !r; i++)
		r = send_number(rf_channel_tx(arg), i, rf_test_deadline(SOON_MS));
	return r;
}

static void who_spins_is_never_kicked(void **state)
{
	struct thread sender;
	struct ends ends;
	unsigned i;

	(void)state;
	for (i = 0; i < 2; i++) {
		open_ends(&ends, bells[i], RF_WAIT_SPIN);
		thread_start(&sender, send_many, ends.client);
		assert_int_equal(take_numbers(rf_channel_rx(ends.server), 0, rf_test_rounds(MANY),
					 rf_test_deadline(2 * SOON_MS)),
			0);
		assert_int_equal(thread_join(&sender), 0);
		assert_int_equal(channel_stats(ends.client).tx.kicks, 0);
		assert_int_equal(channel_stats(ends.server).rx.kicks, 0);
		assert_int_equal(channel_stats(ends.server).rx.sleeps, 0);
		assert_int_equal(channel_stats(ends.client).tx.sleeps, 0);
		ends_close(&ends);
	}
}

static int take_until_woken(void *arg)
{
	uint64_t number;

	return take_number(rf_channel_rx(arg), rf_test_deadline(SOON_MS), &number);
}

static void who_sleeps_is_woken_once_and_never_for_nothing(void **state)
{
	struct rf_stats stats;
	struct thread taker;
	struct ends ends;
	uint64_t number;
	unsigned i;

	(void)state;
	for (i = 0; i < 2; i++) {
		open_ends(&ends, bells[i], RF_WAIT_SLEEP);
		assert_int_equal(take_number(rf_channel_rx(ends.server), rf_test_deadline(WHILE_MS),
					 &number),
			-ETIMEDOUT);
		stats = channel_stats(ends.server);
		assert_int_equal(stats.rx.sleeps, 1);
		assert_int_equal(stats.rx.wakeups, 0);
		thread_start(&taker, take_until_woken, ends.server);
		assert_true(wait_for_sleeps(ends.server, true, 2));
		assert_int_equal(send_number(rf_channel_tx(ends.client), 1, 0), 0);
		assert_int_equal(thread_join(&taker), 1);
		stats = channel_stats(ends.server);
		assert_int_equal(stats.rx.idle_wakeups, 0);
		assert_true(stats.rx.wakeups <= 1);
		assert_true(channel_stats(ends.client).tx.kicks <= 1);
		ends_close(&ends);
	}
}

static void a_kick_that_found_no_memory_stays_owed(void **state)
{
	struct ends ends;
	uint64_t until = 0, number;

	(void)state;
	open_ends(&ends, RF_DOORBELL_SOCKET, RF_WAIT_SLEEP);
	assert_true(rf_channel_fd(ends.server) >= 0);
	assert_int_equal(arm(ends.server, RF_DATA), 0);
	send_error = ENOBUFS;
	assert_int_equal(send_number(rf_channel_tx(ends.client), 1, 0), 0);
	assert_int_equal(channel_stats(ends.client).tx.kicks_owed, 1);
	/* C14: no SIGPIPE, where the kernel would raise it */
	assert_int_equal(send_flags, MSG_DONTWAIT | MSG_NOSIGNAL);
	assert_false(is_readable(ends.server));
	while (send_number(rf_channel_tx(ends.client), 2, 0) == 0)
		;
	assert_int_equal(rf_channel_arm(ends.client, RF_SPACE, 8, &until), 0);
	assert_true(until <= rf_test_deadline(10));
	assert_int_equal(
		send_number(rf_channel_tx(ends.client), 3, rf_test_deadline(25)), -ETIMEDOUT);
	send_error = 0;
	assert_int_equal(rf_channel_process(ends.client), 0);
	assert_true(is_readable(ends.server));
	assert_int_equal(rf_channel_process(ends.server), 0);
	assert_int_equal(take_number(rf_channel_rx(ends.server), 0, &number), 1);
	ends_close(&ends);
}

/* One message with calls that a compiler inlines. */
static void send_in_place(struct rf_tx *tx)
{
	struct rf_buffer buffer;

	assert_int_equal(rf_tx_reserve(tx, 8, 0, &buffer), 0);
	assert_int_equal(rf_tx_commit(tx, &buffer), 0);
	assert_int_equal(rf_tx_publish(tx), 0);
}

/* Nothing else may come that would pay it. */
static void a_kick_that_is_owed_is_paid_by_the_next_message(void **state)
{
	struct ends ends;

	(void)state;
	open_ends(&ends, RF_DOORBELL_SOCKET, RF_WAIT_SLEEP);
	assert_true(rf_channel_fd(ends.server) >= 0);
	assert_int_equal(arm(ends.server, RF_DATA), 0);
	send_error = ENOBUFS;
	send_in_place(rf_channel_tx(ends.client));
	assert_int_equal(channel_stats(ends.client).tx.kicks_owed, 1);
	assert_false(is_readable(ends.server));
	send_error = 0;
	send_in_place(rf_channel_tx(ends.client));
	assert_true(is_readable(ends.server));
	ends_close(&ends);
}

/* The caller's own event loop */

static void the_descriptor_stays_readable_until_processed(void **state)
{
	struct ends ends;
	unsigned i;

	(void)state;
	for (i = 0; i < 2; i++) {
		open_ends(&ends, bells[i], RF_WAIT_ADAPTIVE);
		assert_true(rf_channel_fd(ends.server) >= 0);
		assert_int_equal(rf_channel_fd(ends.server), rf_channel_fd(ends.server));
		assert_int_equal(rf_channel_process(ends.server), 0);
		assert_false(is_readable(ends.server));
		assert_int_equal(arm(ends.server, RF_DATA), 0);
		assert_false(is_readable(ends.server));
		assert_int_equal(send_number(rf_channel_tx(ends.client), 1, 0), 0);
		assert_true(is_readable(ends.server));
		assert_true(is_readable(ends.server));
		assert_int_equal(rf_channel_process(ends.server), 0);
		assert_false(is_readable(ends.server));
		assert_int_equal(arm(ends.server, RF_DATA), 1);
		assert_int_equal(take_numbers(rf_channel_rx(ends.server), 1, 1, 0), 0);
		assert_int_equal(arm(ends.server, RF_DATA), 0);
		rf_channel_close(ends.client);
		assert_true(is_readable(ends.server));
		assert_int_equal(rf_channel_process(ends.server), -EPIPE);
		assert_true(is_readable(ends.server));
		assert_int_equal(arm(ends.server, RF_DATA), 1);
		rf_channel_close(ends.server);
	}
}

static void stop_makes_the_descriptor_readable(void **state)
{
	struct ends ends;

	(void)state;
	open_ends(&ends, RF_DOORBELL_EVENTFD, RF_WAIT_ADAPTIVE);
	assert_int_equal(rf_channel_fd(ends.server) < 0, 0);
	assert_int_equal(rf_channel_process(ends.server), 0);
	rf_channel_stop(ends.server);
	assert_true(is_readable(ends.server));
	assert_int_equal(rf_channel_process(ends.server), -EPIPE);
	assert_int_equal(arm(ends.server, RF_DATA), 1);
	ends_close(&ends);
}

static void room_makes_the_descriptor_readable(void **state)
{
	struct ends ends;
	uint64_t n, i;

	(void)state;
	for (i = 0; i < 2; i++) {
		open_ends(&ends, bells[i], RF_WAIT_ADAPTIVE);
		assert_true(rf_channel_fd(ends.client) >= 0);
		assert_int_equal(rf_channel_process(ends.client), 0);
		assert_int_equal(arm(ends.client, RF_SPACE), 1);
		for (n = 0; !send_number(rf_channel_tx(ends.client), n, 0); n++)
			;
		assert_int_equal(arm(ends.client, RF_SPACE), 0);
		assert_false(is_readable(ends.client));
		assert_int_equal(take_numbers(rf_channel_rx(ends.server), 0, n, 0), 0);
		assert_true(is_readable(ends.client));
		assert_true(channel_stats(ends.server).rx.kicks == 1);
		assert_int_equal(rf_channel_process(ends.client), 0);
		assert_int_equal(send_number(rf_channel_tx(ends.client), n, 0), 0);
		ends_close(&ends);
	}
}

static void arm_refuses_what_makes_no_sense(void **state)
{
	struct ends ends;
	uint64_t until = 5;

	(void)state;
	open_ends(&ends, RF_DOORBELL_SOCKET, RF_WAIT_ADAPTIVE);
	assert_int_equal(rf_channel_arm(ends.server, 0, 0, &until), -EINVAL);
	assert_int_equal(rf_channel_arm(ends.server, 4, 0, &until), -EINVAL);
	assert_int_equal(rf_channel_arm(ends.server, RF_SPACE, SIZE_MAX, &until), -EMSGSIZE);
	assert_int_equal(until, 5);
	ends_close(&ends);
}

/* Both sides in event loops of their own: the receiver arms for data, the sender for room. */

static int wait_in_loop(struct rf_channel *channel, unsigned events)
{
	uint64_t until;
	int r = rf_channel_arm(channel, events, sizeof(uint64_t), &until);

	if (r)
		return r < 0 ? r : 0;
	if (!wait_readable(rf_channel_fd(channel), SOON_MS))
		return -ETIMEDOUT;
	return rf_channel_process(channel);
}

static int send_in_loop(void *arg)
{
	uint64_t i = 0, n = rf_test_rounds(20000);
	int r = 0;

	while (i < n && r >= 0) {
		r = send_number(rf_channel_tx(arg), i, 0);
		if (!r)
			i++;
		else if (r == -EAGAIN)
			r = wait_in_loop(arg, RF_SPACE);
	}
	return r;
}

static int take_in_loop(void *arg)
{
	uint64_t i = 0, n = rf_test_rounds(20000), number;
	int r = 0;

	while (i < n && r >= 0) {
		r = take_number(rf_channel_rx(arg), 0, &number);
		if (r > 0 && number != i++)
			return -EILSEQ;
		if (r == -EAGAIN)
			r = wait_in_loop(arg, RF_DATA);
	}
	return r < 0 ? r : 0;
}

static void event_loops_lose_no_wake_up(void **state)
{
	struct thread sender;
	struct ends ends;
	unsigned i;

	(void)state;
	for (i = 0; i < 2; i++) {
		struct rf_options options = channel_options(bells[i], RF_WAIT_ADAPTIVE);

		options.ring_bytes = 4096;
		ends_open(&ends, &options, &options);
		thread_start(&sender, send_in_loop, ends.client);
		assert_int_equal(take_in_loop(ends.server), 0);
		assert_int_equal(thread_join(&sender), 0);
		ends_close(&ends);
	}
}

static void an_idle_channel_wakes_nobody(void **state)
{
	struct ends ends;
	unsigned i;

	(void)state;
	for (i = 0; i < 2; i++) {
		open_ends(&ends, bells[i], RF_WAIT_ADAPTIVE);
		assert_true(rf_channel_fd(ends.server) >= 0);
		assert_int_equal(rf_channel_process(ends.server), 0);
		assert_int_equal(arm(ends.server, RF_DATA), 0);
		assert_false(wait_readable(rf_channel_fd(ends.server), WHILE_MS));
		ends_close(&ends);
	}
}

/* D1: the peer saturates the counter and makes the shared description blocking. */
static void d1_a_saturated_blocking_eventfd_blocks_no_kick(void **state)
{
	uint64_t most = UINT64_MAX - 2;
	struct ends ends;
	int bell;

	(void)state;
	open_ends(&ends, RF_DOORBELL_EVENTFD, RF_WAIT_ADAPTIVE);
	bell = ends.server->rx.half.bell.own;
	assert_int_equal(write(bell, &most, sizeof(most)), sizeof(most));
	assert_int_equal(fcntl(bell, F_SETFL, 0), 0);
	assert_int_equal(rf_channel_fd(ends.server) < 0, 0);
	assert_int_equal(rf_channel_process(ends.server), 0);
	assert_int_equal(arm(ends.server, RF_DATA), 0);
	rf_test_limit(SOON_MS / 1000);
	assert_int_equal(send_number(rf_channel_tx(ends.client), 1, 0), 0);
	rf_test_limit(0);
	assert_int_equal(channel_stats(ends.client).tx.kicks, 1);
	assert_true(is_readable(ends.server));
	ends_close(&ends);
}

/* D4: the peer reads the counter: our wake-ups from it are lost, those of our own are not. */
static void d4_a_bell_read_by_the_peer_harms_its_channel_only(void **state)
{
	struct thread taker, other_taker;
	struct ends ends, others;
	uint64_t count;

	(void)state;
	open_ends(&ends, RF_DOORBELL_EVENTFD, RF_WAIT_SLEEP);
	open_ends(&others, RF_DOORBELL_EVENTFD, RF_WAIT_SLEEP);
	assert_int_equal(
		read(ends.client->tx.half.bell.peer, &count, sizeof(count)), sizeof(count));
	thread_start(&taker, take_until_woken, ends.server);
	thread_start(&other_taker, take_until_woken, others.server);
	assert_true(wait_for_sleeps(ends.server, true, 1));
	assert_true(wait_for_sleeps(others.server, true, 1));
	assert_int_equal(send_number(rf_channel_tx(others.client), 1, 0), 0);
	assert_int_equal(thread_join(&other_taker), 1);
	rf_channel_stop(ends.server);
	assert_int_equal(thread_join(&taker), -EPIPE);
	ends_close(&ends);
	ends_close(&others);
}

/* D8: the peer's want says always, never, anything. */
static void d8_whatever_want_says_a_publish_costs_one_kick_at_most(void **state)
{
	struct rf__consumer_words *words;
	unsigned short seed[3] = {1, 2, 3};
	struct ends ends;
	uint64_t i, kicks, number;

	(void)state;
	open_ends(&ends, RF_DOORBELL_EVENTFD, RF_WAIT_ADAPTIVE);
	words = ends.server->rx.ring.own;
	for (i = 0; i < 1000; i++) {
		kicks = channel_stats(ends.client).tx.kicks;
		__atomic_store_n(&words->data_want, i < 500 ? 16 * i + 1 : (uint64_t)jrand48(seed),
			__ATOMIC_RELAXED);
		assert_int_equal(send_number(rf_channel_tx(ends.client), i, 0), 0);
		number = channel_stats(ends.client).tx.kicks - kicks;
		assert_true(i < 500 ? number == 1 : number <= 1);
		assert_int_equal(take_numbers(rf_channel_rx(ends.server), i, 1, 0), 0);
	}
	ends_close(&ends);
}

/* C5: the peer takes records but never a kick, and its socket fills up. */
static void c5_a_peer_that_reads_no_kick_blocks_nobody(void **state)
{
	struct rf__consumer_words *words;
	struct ends ends;
	uint64_t i, n = 20000;

	(void)state;
	open_ends(&ends, RF_DOORBELL_SOCKET, RF_WAIT_ADAPTIVE);
	words = ends.server->rx.ring.own;
	rf_test_limit(30);
	for (i = 0; i < n; i++) {
		__atomic_store_n(&words->data_want, 16 * i + 1, __ATOMIC_RELAXED);
		assert_int_equal(send_number(rf_channel_tx(ends.client), i, 0), 0);
		assert_int_equal(take_numbers(rf_channel_rx(ends.server), i, 1, 0), 0);
	}
	rf_test_limit(0);
	assert_int_equal(channel_stats(ends.client).tx.kicks, n);
	assert_true(rf_channel_fd(ends.server) >= 0);
	for (i = 0; is_readable(ends.server); i++)
		assert_int_equal(rf_channel_process(ends.server), 0);
	assert_true(i > 1); /* so much is read at a time */
	assert_int_equal(arm(ends.server, RF_DATA), 0);
	assert_int_equal(send_number(rf_channel_tx(ends.client), n, 0), 0);
	assert_true(is_readable(ends.server));
	ends_close(&ends);
}

/* C4: what comes over the socket of an open channel. */

static void break_with(const void *message, size_t len)
{
	struct ends ends;
	uint64_t number;

	open_ends(&ends, RF_DOORBELL_SOCKET, RF_WAIT_SLEEP);
	assert_int_equal(send(ends.client->link.sock, message, len, MSG_NOSIGNAL), len);
	assert_int_equal(take_number(rf_channel_rx(ends.server), RF_FOREVER, &number), -EPROTO);
	assert_int_equal(send_number(rf_channel_tx(ends.server), 1, 0), -EPROTO);
	assert_string_equal(
		rf_channel_reason(ends.server), "the peer sent something that is no kick");
	assert_int_equal(take_number(rf_channel_rx(ends.client), RF_FOREVER, &number), -EPIPE);
	ends_close(&ends);
}

static void c4_what_is_no_kick_breaks_the_channel(void **state)
{
	(void)state;
	break_with("", 0);
	break_with("x", 1);
	break_with("cc", 2);
	break_with("a longer one", 12);
}

static void c4_a_flood_of_kicks_is_only_a_waste_of_time(void **state)
{
	struct ends ends;
	uint64_t number;
	unsigned i;

	(void)state;
	open_ends(&ends, RF_DOORBELL_SOCKET, RF_WAIT_SLEEP);
	for (i = 0; i < 200; i++)
		send(ends.client->link.sock, i % 2 ? "c" : "p", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
	assert_int_equal(
		take_number(rf_channel_rx(ends.server), rf_test_deadline(WHILE_MS), &number),
		-ETIMEDOUT);
	assert_true(channel_stats(ends.server).rx.idle_wakeups > 0);
	assert_int_equal(send_number(rf_channel_tx(ends.client), 1, 0), 0);
	assert_int_equal(take_number(rf_channel_rx(ends.server), RF_FOREVER, &number), 1);
	ends_close(&ends);
}

static void c4_with_eventfds_the_socket_is_not_read(void **state)
{
	struct ends ends;
	uint64_t number;
	unsigned i;

	(void)state;
	open_ends(&ends, RF_DOORBELL_EVENTFD, RF_WAIT_SLEEP);
	for (i = 0; i < 200; i++)
		send(ends.client->link.sock, "garbage", i % 8, MSG_DONTWAIT | MSG_NOSIGNAL);
	assert_int_equal(
		take_number(rf_channel_rx(ends.server), rf_test_deadline(WHILE_MS), &number),
		-ETIMEDOUT);
	assert_int_equal(channel_stats(ends.server).rx.sleeps, 1);
	ends_close(&ends);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_sleep_costs_one_kick),
		TEST(who_spins_is_never_kicked),
		TEST(who_sleeps_is_woken_once_and_never_for_nothing),
		TEST(a_kick_that_found_no_memory_stays_owed),
		TEST(a_kick_that_is_owed_is_paid_by_the_next_message),
		TEST(the_descriptor_stays_readable_until_processed),
		TEST(stop_makes_the_descriptor_readable),
		TEST(room_makes_the_descriptor_readable),
		TEST(arm_refuses_what_makes_no_sense),
		TEST(event_loops_lose_no_wake_up),
		TEST(an_idle_channel_wakes_nobody),
		TEST(d1_a_saturated_blocking_eventfd_blocks_no_kick),
		TEST(d4_a_bell_read_by_the_peer_harms_its_channel_only),
		TEST(d8_whatever_want_says_a_publish_costs_one_kick_at_most),
		TEST(c5_a_peer_that_reads_no_kick_blocks_nobody),
		TEST(c4_what_is_no_kick_breaks_the_channel),
		TEST(c4_a_flood_of_kicks_is_only_a_waste_of_time),
		TEST(c4_with_eventfds_the_socket_is_not_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
