/* SPDX-License-Identifier: MIT */
/* Waiting: deadlines, signals, stop, both halves at a time. */
#include "channel-fixture.h"

#include "util/clock.h"
#include <signal.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

static const uint32_t bells[] = {RF_DOORBELL_EVENTFD, RF_DOORBELL_SOCKET};

static void open_ends(struct ends *ends, uint32_t doorbell, uint32_t wait)
{
	struct rf_options options = channel_options(doorbell, wait);

	ends_open(ends, &options, &options);
}

static void fill(struct rf_channel *channel, uint64_t *ret_number)
{
	uint64_t number = 0;
	int r = 0;

	while (!(r = send_number(rf_channel_tx(channel), number, 0)))
		number++;
	assert_int_equal(r, -EAGAIN);
	*ret_number = number;
}

/* Deadlines */

static void check_deadlines(uint32_t wait)
{
	struct ends ends;
	uint64_t number, until;

	open_ends(&ends, RF_DOORBELL_SOCKET, wait);
	assert_int_equal(take_number(rf_channel_rx(ends.server), 0, &number), -EAGAIN);
	assert_int_equal(take_number(rf_channel_rx(ends.server), 1, &number), -ETIMEDOUT);
	until = rf_test_deadline(25);
	assert_int_equal(take_number(rf_channel_rx(ends.server), until, &number), -ETIMEDOUT);
	assert_true(rf__now() >= until);
	fill(ends.server, &number);
	assert_int_equal(send_number(rf_channel_tx(ends.server), 1, 1), -ETIMEDOUT);
	until = rf_test_deadline(25);
	assert_int_equal(send_number(rf_channel_tx(ends.server), 1, until), -ETIMEDOUT);
	assert_true(rf__now() >= until);
	ends_close(&ends);
}

static void deadlines_are_absolute_and_never_early(void **state)
{
	(void)state;
	check_deadlines(RF_WAIT_ADAPTIVE);
	check_deadlines(RF_WAIT_SPIN);
	check_deadlines(RF_WAIT_SLEEP);
}

/* Signals and stop */

static unsigned alarms; /* atomic */
static struct rf_channel *to_stop;

static void count_alarm(int number)
{
	(void)number;
	__atomic_add_fetch(&alarms, 1, __ATOMIC_RELAXED);
}

static void stop_channel(int number)
{
	(void)number;
	rf_channel_stop(to_stop);
}

static void start_timer(void (*handler)(int), long period_us)
{
	const struct itimerval timer = {{0, period_us}, {0, period_us}};
	struct sigaction action;

	memset(&action, 0, sizeof(action));
	action.sa_handler = handler; /* without SA_RESTART */
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &timer, NULL);
}

/* In this order: one may be on its way. */
static void stop_timer(void)
{
	const struct itimerval never = {{0, 0}, {0, 0}};

	setitimer(ITIMER_REAL, &never, NULL);
	signal(SIGALRM, SIG_IGN);
}

static void a_storm_of_signals_disturbs_no_wait(void **state)
{
	struct ends ends;
	uint64_t number, until;
	unsigned i;

	(void)state;
	start_timer(count_alarm, 300);
	for (i = 0; i < 2; i++) {
		open_ends(&ends, bells[i], RF_WAIT_SLEEP);
		until = rf_test_deadline(60);
		assert_int_equal(
			take_number(rf_channel_rx(ends.server), until, &number), -ETIMEDOUT);
		assert_true(rf__now() >= until);
		assert_int_equal(send_number(rf_channel_tx(ends.client), 9, 0), 0);
		assert_int_equal(take_numbers(rf_channel_rx(ends.server), 9, 1, RF_FOREVER), 0);
		ends_close(&ends);
	}
	stop_timer();
	assert_true(__atomic_load_n(&alarms, __ATOMIC_RELAXED) > 10);
}

static int take_patiently(void *arg)
{
	uint64_t number;

	return take_number(rf_channel_rx(arg), rf_test_deadline(SOON_MS), &number);
}

static int send_patiently(void *arg)
{
	return send_number(rf_channel_tx(arg), 0, rf_test_deadline(SOON_MS));
}

static void stop_both(uint32_t doorbell, uint32_t wait)
{
	struct thread taker, sender;
	struct ends ends;
	uint64_t number;

	open_ends(&ends, doorbell, wait);
	fill(ends.server, &number);
	thread_start(&taker, take_patiently, ends.server);
	thread_start(&sender, send_patiently, ends.server);
	if (wait != RF_WAIT_SPIN) {
		assert_true(wait_for_sleeps(ends.server, true, 1));
		assert_true(wait_for_sleeps(ends.server, false, 1));
	}
	rf_channel_stop(ends.server);
	assert_int_equal(thread_join(&taker), -EPIPE);
	assert_int_equal(thread_join(&sender), -EPIPE);
	assert_int_equal(rf_channel_process(ends.server), -EPIPE);
	assert_string_equal(rf_channel_reason(ends.server), "the channel was stopped");
	ends_close(&ends);
}

static void stop_ends_the_waits_of_both_halves(void **state)
{
	unsigned i;

	(void)state;
	for (i = 0; i < 2; i++) {
		stop_both(bells[i], RF_WAIT_ADAPTIVE);
		stop_both(bells[i], RF_WAIT_SPIN);
		stop_both(bells[i], RF_WAIT_SLEEP);
	}
}

static void stop_works_in_a_signal_handler(void **state)
{
	struct ends ends;
	uint64_t number;

	(void)state;
	open_ends(&ends, RF_DOORBELL_SOCKET, RF_WAIT_SLEEP);
	to_stop = ends.server;
	start_timer(stop_channel, 20000);
	assert_int_equal(take_number(rf_channel_rx(ends.server), RF_FOREVER, &number), -EPIPE);
	stop_timer();
	assert_int_equal(take_number(rf_channel_rx(ends.server), RF_FOREVER, &number), -EPIPE);
	ends_close(&ends);
}

static void after_stop_the_ring_is_drained_and_the_stream_ended(void **state)
{
	struct rf_buffer buffer;
	struct ends ends;
	uint64_t number;

	(void)state;
	open_ends(&ends, RF_DOORBELL_SOCKET, RF_WAIT_ADAPTIVE);
	assert_int_equal(send_number(rf_channel_tx(ends.client), 4, 0), 0);
	assert_int_equal(rf_tx_reserve(rf_channel_tx(ends.server), 8, 0, &buffer), 0);
	memset(buffer.data, 0, 8);
	assert_int_equal(rf_tx_commit(rf_channel_tx(ends.server), &buffer), 0);
	errno = 77;
	rf_channel_stop(ends.server);
	assert_int_equal(errno, 77);
	assert_int_equal(take_numbers(rf_channel_rx(ends.server), 4, 1, RF_FOREVER), 0);
	assert_int_equal(take_number(rf_channel_rx(ends.server), RF_FOREVER, &number), -EPIPE);
	assert_int_equal(rf_tx_publish(rf_channel_tx(ends.server)), 0);
	assert_int_equal(rf_tx_end(rf_channel_tx(ends.server)), 0);
	assert_int_equal(take_numbers(rf_channel_rx(ends.client), 0, 1, 0), 0);
	assert_int_equal(take_number(rf_channel_rx(ends.client), 0, &number), 0);
	ends_close(&ends);
}

/* A sender that waits for room has published before, or it would wait for itself. */

static int commit_until_full_then_wait(void *arg)
{
	struct rf_tx *tx = rf_channel_tx(arg);
	struct rf_buffer buffer;
	int r;

	while (!(r = rf_tx_reserve(tx, 4000, 0, &buffer))) {
		memset(buffer.data, 0, 8);
		rf_tx_commit(tx, &buffer);
	}
	if (r == -EAGAIN)
		r = rf_tx_reserve(tx, 4000, rf_test_deadline(SOON_MS), &buffer);
	return r ? r : rf_tx_cancel(tx, &buffer);
}

static void a_reserve_that_waits_publishes_first(void **state)
{
	static const uint32_t waits[] = {RF_WAIT_ADAPTIVE, RF_WAIT_SPIN, RF_WAIT_SLEEP};
	struct rf_message messages[16];
	struct thread sender;
	struct ends ends;
	unsigned i;
	int n;

	(void)state;
	for (i = 0; i < 3; i++) {
		open_ends(&ends, RF_DOORBELL_EVENTFD, waits[i]);
		thread_start(&sender, commit_until_full_then_wait, ends.client);
		n = rf_rx_borrow(
			rf_channel_rx(ends.server), rf_test_deadline(SOON_MS), messages, 16);
		assert_true(n > 0);
		assert_int_equal(
			rf_rx_release(rf_channel_rx(ends.server), messages, (unsigned)n), 0);
		assert_int_equal(thread_join(&sender), 0);
		ends_close(&ends);
	}
}

/* A receiver that waits has given back what it released, or the sender might wait for it. */

struct borrowing {
	struct rf_channel *channel;
	struct rf_message message;
};

static int borrow_one(void *arg)
{
	struct borrowing *b = arg;

	return rf_rx_borrow(rf_channel_rx(b->channel), rf_test_deadline(SOON_MS), &b->message, 1);
}

static void a_borrow_that_waits_gives_back_first(void **state)
{
	static const uint32_t waits[] = {RF_WAIT_ADAPTIVE, RF_WAIT_SPIN, RF_WAIT_SLEEP};
	struct rf_message messages[2];
	struct rf_buffer buffers[2];
	struct borrowing borrowing;
	struct thread taker;
	struct ends ends;
	struct rf_tx *tx;
	unsigned i;

	(void)state;
	for (i = 0; i < 3; i++) {
		open_ends(&ends, RF_DOORBELL_SOCKET, waits[i]);
		tx = rf_channel_tx(ends.client);
		assert_int_equal(rf_tx_reserve(tx, 15000, 0, &buffers[0]), 0);
		assert_int_equal(rf_tx_reserve(tx, 20000, 0, &buffers[1]), 0);
		assert_int_equal(rf_tx_commit_span(tx, buffers, 2), 0);
		assert_int_equal(rf_tx_publish(tx), 0);
		assert_int_equal(rf_rx_borrow(rf_channel_rx(ends.server), 0, messages, 2), 2);
		assert_int_equal(rf_rx_release(rf_channel_rx(ends.server), messages, 1), 0);
		borrowing.channel = ends.server;
		thread_start(&taker, borrow_one, &borrowing);
		assert_int_equal(rf_tx_reserve(tx, 32000, rf_test_deadline(2000), &buffers[0]), 0);
		assert_int_equal(rf_tx_commit(tx, &buffers[0]), 0);
		assert_int_equal(rf_tx_publish(tx), 0);
		assert_int_equal(thread_join(&taker), 1);
		assert_int_equal(rf_rx_release(rf_channel_rx(ends.server), &messages[1], 1), 0);
		assert_int_equal(
			rf_rx_release(rf_channel_rx(ends.server), &borrowing.message, 1), 0);
		ends_close(&ends);
	}
}

/* D11: both halves of one channel in threads of their own, both asleep most of the time. */

#define PING_PONGS 4000

static int bounce(struct rf_channel *channel, bool begins)
{
	unsigned i, n = rf_test_rounds(PING_PONGS);
	int r = 0;

	for (i = 0; i < n && !r; i++) {
		if (begins)
			r = send_number(rf_channel_tx(channel), i, rf_test_deadline(SOON_MS));
		if (!r)
			r = take_numbers(rf_channel_rx(channel), i, 1, rf_test_deadline(SOON_MS));
		if (!r && !begins)
			r = send_number(rf_channel_tx(channel), i, rf_test_deadline(SOON_MS));
	}
	return r;
}

static int bounce_back(void *arg)
{
	return bounce(arg, false);
}

static void every_kick_arrives(void **state)
{
	struct thread other;
	struct ends ends;
	unsigned i;

	(void)state;
	for (i = 0; i < 2; i++) {
		open_ends(&ends, bells[i], RF_WAIT_SLEEP);
		thread_start(&other, bounce_back, ends.client);
		assert_int_equal(bounce(ends.server, true), 0);
		assert_int_equal(thread_join(&other), 0);
		ends_close(&ends);
	}
}

#define FLOOD 60000

static int send_flood(void *arg)
{
	uint64_t i, n = rf_test_rounds(FLOOD);
	int r = 0;

	for (i = 0; i < n && !r; i++)
		r = send_number(rf_channel_tx(arg), i, rf_test_deadline(SOON_MS));
	return r;
}

static int take_flood(void *arg)
{
	return take_numbers(
		rf_channel_rx(arg), 0, rf_test_rounds(FLOOD), rf_test_deadline(SOON_MS));
}

static void d11_threads_of_both_halves_lose_no_wake_up(void **state)
{
	struct thread threads[4];
	struct ends ends;
	unsigned i, k;
	int r;

	(void)state;
	for (i = 0; i < 2; i++) {
		struct rf_options options = channel_options(bells[i], RF_WAIT_SLEEP);

		options.ring_bytes = 4096; /* both sides sleep often */
		ends_open(&ends, &options, &options);
		thread_start(&threads[0], send_flood, ends.server);
		thread_start(&threads[1], take_flood, ends.server);
		thread_start(&threads[2], send_flood, ends.client);
		thread_start(&threads[3], take_flood, ends.client);
		for (k = 0, r = 0; k < 4; k++)
			r |= thread_join(&threads[k]);
		assert_int_equal(r, 0);
		ends_close(&ends);
	}
}

/* A kick wakes the threads of both halves, and one of them reads it: until it has, the other one is not woken
 * again and again for the same, which would be taken for a storm. */
static void d11_who_comes_second_waits_for_who_reads(void **state)
{
	struct thread taker;
	struct rf_stats stats;
	struct ends ends;

	(void)state;
	open_ends(&ends, RF_DOORBELL_SOCKET, RF_WAIT_SLEEP);
	ends.server->link.suspect = true;
	thread_start(&taker, take_patiently, ends.server);
	assert_true(wait_for_sleeps(ends.server, true, 1));
	pthread_mutex_lock(&ends.server->link.reading);
	assert_int_equal(send_number(rf_channel_tx(ends.client), 1, 0), 0);
	usleep(WHILE_MS * 1000);
	stats = channel_stats(ends.server);
	pthread_mutex_unlock(&ends.server->link.reading);
	assert_int_equal(thread_join(&taker), 1);
	assert_int_equal(stats.rx.sleeps, 1);
	ends_close(&ends);
}

/* The other half sleeps in a thread while this one reads the kick that was meant for it. */
static void d11_a_kick_read_by_the_other_half_is_passed_on(void **state)
{
	struct thread taker;
	struct ends ends;
	unsigned i;
	int r = 0;

	(void)state;
	open_ends(&ends, RF_DOORBELL_SOCKET, RF_WAIT_SLEEP);
	for (i = 0; i < rf_test_rounds(300) && !r; i++) {
		uint64_t filled, sleeps = channel_stats(ends.server).rx.sleeps;

		fill(ends.server, &filled);
		thread_start(&taker, take_patiently, ends.server);
		assert_true(wait_for_sleeps(ends.server, true, sleeps + 1));
		assert_int_equal(send_number(rf_channel_tx(ends.client), i, 0), 0);
		r = send_number(rf_channel_tx(ends.server), 0, rf_test_deadline(1));
		assert_int_equal(thread_join(&taker), 1);
		assert_int_equal(r, -ETIMEDOUT);
		r = take_numbers(rf_channel_rx(ends.client), 0, filled, 0);
	}
	assert_int_equal(r, 0);
	ends_close(&ends);
}

/* The end of the peer, and a breach, wake whoever sleeps. */

static void hang_up_wakes_both_halves(void **state)
{
	struct thread taker, sender;
	struct ends ends;
	uint64_t number;
	unsigned i;

	(void)state;
	for (i = 0; i < 2; i++) {
		open_ends(&ends, bells[i], RF_WAIT_SLEEP);
		fill(ends.server, &number);
		thread_start(&taker, take_patiently, ends.server);
		thread_start(&sender, send_patiently, ends.server);
		assert_true(wait_for_sleeps(ends.server, true, 1));
		assert_true(wait_for_sleeps(ends.server, false, 1));
		rf_channel_close(ends.client);
		assert_int_equal(thread_join(&taker), -EPIPE);
		assert_int_equal(thread_join(&sender), -EPIPE);
		rf_channel_close(ends.server);
	}
}

static void p1_a_breach_is_eproto_for_the_half_that_sleeps(void **state)
{
	struct thread taker;
	struct ends ends;
	unsigned i;
	int r;

	(void)state;
	for (i = 0; i < 2; i++) {
		open_ends(&ends, bells[i], RF_WAIT_SLEEP);
		thread_start(&taker, take_patiently, ends.server);
		assert_true(wait_for_sleeps(ends.server, true, 1));
		__atomic_store_n(&ends.client->rx.ring.own->head, 4, __ATOMIC_SEQ_CST);
		while (!(r = send_number(rf_channel_tx(ends.server), 1, 0)))
			;
		assert_int_equal(r, -EPROTO);
		assert_int_equal(thread_join(&taker), -EPROTO);
		ends_close(&ends);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, leaks_setup, leaks_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(deadlines_are_absolute_and_never_early),
		TEST(a_storm_of_signals_disturbs_no_wait),
		TEST(stop_ends_the_waits_of_both_halves),
		TEST(stop_works_in_a_signal_handler),
		TEST(after_stop_the_ring_is_drained_and_the_stream_ended),
		TEST(a_reserve_that_waits_publishes_first),
		TEST(a_borrow_that_waits_gives_back_first),
		TEST(every_kick_arrives),
		TEST(d11_threads_of_both_halves_lose_no_wake_up),
		TEST(d11_who_comes_second_waits_for_who_reads),
		TEST(d11_a_kick_read_by_the_other_half_is_passed_on),
		TEST(hang_up_wakes_both_halves),
		TEST(p1_a_breach_is_eproto_for_the_half_that_sleeps),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
