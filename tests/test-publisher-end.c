/* SPDX-License-Identifier: MIT */
/* A publisher: its end, the ends of waits, the caller's own event loop, fork. */
#include "publisher-fixture.h"

#include "util/clock.h"
#include <poll.h>
#include <signal.h>

/* The end */

static void the_end_reaches_all_and_nobody_comes_later(void **state)
{
	struct rf_options options = subscriber_options(0, 0);
	struct rf_buffer buffer;
	struct stage stage;
	uint64_t number;
	unsigned i;

	(void)state;
	stage_open_plain(&stage);
	subscribe_with(&stage, RF_LAG_DROP, 4);
	subscribe_with(&stage, RF_LAG_LATEST, 4);
	assert_int_equal(publish_numbers(&stage, 1, 1), 0);
	assert_int_equal(rf_tx_reserve(stage.tx, 8, 0, &buffer), 0);
	assert_int_equal(rf_tx_end(stage.tx), 0);
	assert_int_equal(rf_tx_end(stage.tx), 0);
	assert_int_equal(rf_tx_reserve(stage.tx, 8, RF_FOREVER, &buffer), -EINVAL);
	assert_int_equal(rf_tx_publish(stage.tx), -EINVAL);
	for (i = 0; i < 2; i++) {
		assert_int_equal(take_numbers(rf_channel_rx(stage.channels[i]), 1, 1, 0), 0);
		assert_int_equal(
			take_number(rf_channel_rx(stage.channels[i]), RF_FOREVER, &number), 0);
	}
	assert_true(try_subscribe(&stage, &options) < 0);
	assert_has(stage.reason, "the stream has ended");
	stage_close(&stage);
}

/* Between its handshake and its place among the others. */
static void who_was_let_in_before_the_end_gets_it(void **state)
{
	struct rf_options options = publisher_options(RF_DOORBELL_SOCKET);
	struct connecting connecting;
	struct stage stage;
	uint64_t number;

	(void)state;
	options.wait_for = 2;
	stage_open(&stage, &options);
	assert_int_equal(rf_tx_end(stage.tx), 0);
	assert_int_equal(rf_tx_reserve(stage.tx, 8, RF_FOREVER, &(struct rf_buffer){0}), -EINVAL);
	stage_close(&stage);
	stage_open_plain(&stage);
	subscribe_with(&stage, RF_LAG_DROP, 4);
	connect_start(&connecting, stage.path, NULL, SOON_MS);
	while (!publisher_stats(stage.publisher).granted ||
		publisher_stats(stage.publisher).granted == 4)
		rf_publisher_process(stage.publisher);
	assert_int_equal(rf_tx_end(stage.tx), 0);
	assert_true(turns_until_figure(&stage, FIGURE(joined), 2));
	assert_int_equal(thread_join(&connecting.thread), 0);
	assert_int_equal(
		take_number(rf_channel_rx(connecting.channel), rf_test_deadline(SOON_MS), &number),
		0);
	rf_channel_close(connecting.channel);
	stage_close(&stage);
}

static int take_one(void *arg)
{
	uint64_t number;

	return take_number(arg, rf_test_deadline(SOON_MS), &number);
}

static void a_close_without_end_is_epipe_after_what_was_published(void **state)
{
	struct rf_channel *channel;
	struct thread thread;
	struct stage stage;

	(void)state;
	stage_open_plain(&stage);
	channel = subscribe_with(&stage, 0, 4);
	assert_int_equal(publish_numbers(&stage, 1, 2), 0);
	assert_int_equal(take_numbers(rf_channel_rx(channel), 1, 1, 0), 0);
	stage.n = 0;
	stage_close(&stage);
	assert_int_equal(take_numbers(rf_channel_rx(channel), 2, 1, 0), 0);
	thread_start(&thread, take_one, rf_channel_rx(channel));
	assert_int_equal(thread_join(&thread), -EPIPE);
	assert_int_equal(rf_channel_process(channel), -EPIPE);
	rf_channel_close(channel);
}

static struct rf_publisher *to_stop;
static int stopped;

static void stop_it(int number)
{
	(void)number;
	rf_publisher_stop(to_stop);
	__atomic_store_n(&stopped, 1, __ATOMIC_RELAXED);
}

/* ThreadSanitizer puts a signal off that comes just before a call that blocks. */
static void interrupt_until_stopped(pthread_t thread)
{
	while (!__atomic_load_n(&stopped, __ATOMIC_RELAXED)) {
		pthread_kill(thread, SIGUSR1);
		poll(NULL, 0, WHILE_MS);
	}
}

static void stop_ends_a_wait_from_a_thread_and_a_signal(void **state)
{
	struct sigaction action = {.sa_handler = stop_it}, before;
	struct reserving reserving;
	struct rf_buffer buffer;
	struct stage stage;
	uint64_t until;
	unsigned i;

	(void)state;
	for (i = 0; i < 2; i++) {
		stage_open_plain(&stage);
		subscribe_with(&stage, RF_LAG_BLOCK, 2);
		assert_int_equal(publish_numbers(&stage, 1, 2), 0);
		reserve_start(&reserving, stage.tx);
		assert_true(wait_for_publisher_sleeps(stage.publisher, 1));
		to_stop = stage.publisher;
		sigaction(SIGUSR1, &action, &before);
		if (i)
			interrupt_until_stopped(reserving.thread.id);
		else
			rf_publisher_stop(stage.publisher);
		assert_int_equal(thread_join(&reserving.thread), -EPIPE);
		sigaction(SIGUSR1, &before, NULL);
		assert_int_equal(rf_tx_reserve(stage.tx, 8, 0, &buffer), -EPIPE);
		assert_true(wait_readable(rf_publisher_fd(stage.publisher), 0));
		assert_int_equal(rf_publisher_arm(stage.publisher, 0, &until), 1);
		assert_int_equal(rf_publisher_process(stage.publisher), -EPIPE);
		assert_int_equal(rf_tx_end(stage.tx), 0);
		assert_int_equal(take_numbers(rf_channel_rx(stage.channels[0]), 1, 2, 0), 0);
		assert_int_equal(take_one(rf_channel_rx(stage.channels[0])), 0);
		stage_close(&stage);
	}
}

/* The caller's own event loop */

/* Until there is nothing to do but sleep. */
static void settle(struct stage *stage, unsigned events)
{
	uint64_t until = rf_test_deadline(SOON_MS), unused;

	while (rf_publisher_arm(stage->publisher, events, &unused) == 1 ||
		wait_readable(rf_publisher_fd(stage->publisher), 0)) {
		assert_int_equal(rf_publisher_process(stage->publisher), 0);
		assert_true(rf__now() < until);
	}
}

static void arm_tells_whether_a_reservation_would_succeed(void **state)
{
	struct rf_buffer buffer;
	uint64_t until = 0, number;
	struct stage stage;

	(void)state;
	stage_open_plain(&stage);
	subscribe_with(&stage, RF_LAG_BLOCK, 2);
	settle(&stage, 0);
	assert_int_equal(rf_publisher_arm(stage.publisher, 0, &until), 0);
	assert_true(until == RF_FOREVER);
	assert_int_equal(rf_publisher_arm(stage.publisher, RF_SPACE, &until), 1);
	assert_int_equal(publish_numbers(&stage, 1, 2), 0);
	assert_int_equal(rf_tx_reserve(stage.tx, 8, 0, &buffer), -EAGAIN);
	settle(&stage, RF_SPACE);
	assert_false(wait_readable(rf_publisher_fd(stage.publisher), WHILE_MS));
	assert_int_equal(take_number(rf_channel_rx(stage.channels[0]), 0, &number), 1);
	assert_int_equal(take_number(rf_channel_rx(stage.channels[0]), 0, &number), 1);
	assert_true(wait_readable(rf_publisher_fd(stage.publisher), SOON_MS));
	assert_int_equal(rf_publisher_process(stage.publisher), 0);
	assert_int_equal(rf_publisher_arm(stage.publisher, RF_SPACE, &until), 1);
	assert_int_equal(rf_tx_reserve(stage.tx, 8, 0, &buffer), 0);
	assert_int_equal(rf_tx_cancel(stage.tx, &buffer), 0);
	stage_close(&stage);
}

static void the_descriptor_tells_who_comes_and_goes(void **state)
{
	struct rf_options options = subscriber_options(0, 0);
	struct connecting connecting;
	struct stage stage;

	(void)state;
	stage_open_plain(&stage);
	settle(&stage, 0);
	connect_start(&connecting, stage.path, &options, SOON_MS);
	assert_true(wait_readable(rf_publisher_fd(stage.publisher), SOON_MS));
	assert_true(turns_until_figure(&stage, FIGURE(joined), 1));
	assert_int_equal(thread_join(&connecting.thread), 0);
	settle(&stage, 0);
	rf_channel_close(connecting.channel);
	assert_true(wait_readable(rf_publisher_fd(stage.publisher), SOON_MS));
	assert_int_equal(rf_publisher_process(stage.publisher), 0);
	assert_int_equal(publisher_stats(stage.publisher).left, 1);
	stage_close(&stage);
}

/* A wake-up that never comes is a time-out here. */
static int publish_by_poll(struct stage *stage, uint64_t n)
{
	uint64_t i, until;
	int r = 0;

	for (i = 1; i <= n && r >= 0; i++)
		while ((r = send_number(stage->tx, i, 0)) == -EAGAIN) {
			if (rf_publisher_arm(stage->publisher, RF_SPACE, &until) == 0 &&
				!wait_readable(rf_publisher_fd(stage->publisher), SOON_MS))
				return -ETIMEDOUT;
			rf_publisher_process(stage->publisher);
		}
	return r;
}

static void wake_ups_come_in_the_callers_loop(void **state)
{
	static const uint32_t bells[] = {RF_DOORBELL_SOCKET, RF_DOORBELL_EVENTFD};
	uint64_t n = rf_test_rounds(10000);
	struct taking takings[2];
	struct stage stage;
	unsigned i, j;

	(void)state;
	for (i = 0; i < 2; i++) {
		struct rf_options options = publisher_options(bells[i]);

		stage_open(&stage, &options);
		for (j = 0; j < 2; j++)
			take_start(&takings[j], subscribe_with(&stage, RF_LAG_BLOCK, 2), 1, n);
		assert_int_equal(publish_by_poll(&stage, n), 0);
		for (j = 0; j < 2; j++)
			assert_int_equal(thread_join(&takings[j].thread), 0);
		stage_close(&stage);
	}
}

/* Fork */

static int use_as_a_child(void *arg)
{
	struct rf_publisher_stats stats = {.size = sizeof(stats)};
	struct stage *stage = arg;
	struct rf_buffer buffer;
	uint64_t until;
	int good = 0;

	good += rf_tx_reserve(stage->tx, 8, 0, &buffer) == -EBADF;
	good += rf_tx_publish(stage->tx) == -EBADF;
	good += rf_tx_end(stage->tx) == -EBADF;
	good += rf_publisher_fd(stage->publisher) == -EBADF;
	good += rf_publisher_process(stage->publisher) == -EBADF;
	good += rf_publisher_arm(stage->publisher, RF_SPACE, &until) == -EBADF;
	good += rf_publisher_stats(stage->publisher, &stats) == -EBADF;
	good += rf_publisher_subscribers(stage->publisher, NULL, 0) == -EBADF;
	rf_publisher_stop(stage->publisher);
	rf_publisher_close(stage->publisher);
	return good == 8 ? 0 : 10 + good;
}

static void a_child_can_use_nothing_and_harms_nobody(void **state)
{
	struct rf_channel *second;
	struct stage stage;

	(void)state;
	stage_open_plain(&stage);
	subscribe_with(&stage, RF_LAG_BLOCK, 2);
	assert_int_equal(publish_numbers(&stage, 1, 1), 0);
	assert_int_equal(rf_test_wait(rf_test_child(use_as_a_child, &stage, 0, 0), SOON_MS), 0);
	assert_int_equal(publish_numbers(&stage, 2, 1), 0);
	assert_int_equal(take_numbers(rf_channel_rx(stage.channels[0]), 1, 2, 0), 0);
	second = subscribe_with(&stage, 0, 2);
	assert_int_equal(take_numbers(rf_channel_rx(second), 2, 1, 0), 0);
	settle(&stage, 0);
	unsubscribe(&stage, second);
	unsubscribe(&stage, stage.channels[0]);
	stage_close(&stage);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, leaks_setup, leaks_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_end_reaches_all_and_nobody_comes_later),
		TEST(who_was_let_in_before_the_end_gets_it),
		TEST(a_close_without_end_is_epipe_after_what_was_published),
		TEST(stop_ends_a_wait_from_a_thread_and_a_signal),
		TEST(arm_tells_whether_a_reservation_would_succeed),
		TEST(the_descriptor_tells_who_comes_and_goes),
		TEST(wake_ups_come_in_the_callers_loop),
		TEST(a_child_can_use_nothing_and_harms_nobody),
	};

	rf_test_limit(50);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
