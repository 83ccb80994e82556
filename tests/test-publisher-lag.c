/* SPDX-License-Identifier: MIT */
/* Subscribers of a publisher that fall behind, stop, or die: what each policy does then, to them and to
 * the publisher. */
#include "publisher-fixture.h"

#include "util/clock.h"
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Long enough for whoever gives something back in time, on a loaded machine. */
#define PATIENCE_NS (300 * RF__MSEC)
#define HASTE_NS    (50 * RF__MSEC)

/* What was given back is told at the latest when nothing is left to be borrowed. */
static void tell_returns(struct stage *stage, unsigned i)
{
	struct rf_message message;

	assert_int_equal(rf_rx_borrow(rf_channel_rx(stage->channels[i]), 0, &message, 1), -EAGAIN);
}

/* Drop */

static void drop_misses_what_it_has_no_room_for_and_is_told(void **state)
{
	struct rf_message message;
	struct stage stage;
	struct rf_rx *rx;

	(void)state;
	stage_open_plain(&stage);
	rx = rf_channel_rx(subscribe_with(&stage, RF_LAG_DROP, 2));
	assert_int_equal(publish_numbers(&stage, 1, 5), 0);
	assert_int_equal(take_numbers(rx, 1, 2, 0), 0);
	assert_int_equal(rf_rx_borrow(rx, 0, &message, 1), -EAGAIN);
	assert_int_equal(publish_numbers(&stage, 6, 2), 0);
	assert_int_equal(rf_rx_borrow(rx, 0, &message, 1), 1);
	assert_int_equal(*(const uint64_t *)message.data, 6);
	assert_int_equal(message.missed, 3);
	assert_int_equal(rf_rx_release(rx, &message, 1), 0);
	assert_int_equal(rf_rx_borrow(rx, 0, &message, 1), 1);
	assert_int_equal(message.missed, 0);
	assert_int_equal(rf_rx_release(rx, &message, 1), 0);
	assert_int_equal(channel_stats(stage.channels[0]).rx.missed, 3);
	assert_int_equal(subscriber(&stage, 0).missed, 3);
	stage_close(&stage);
}

static void a_slow_one_costs_the_others_nothing(void **state)
{
	struct stage stage;
	uint64_t i;

	(void)state;
	stage_open_plain(&stage);
	subscribe_with(&stage, RF_LAG_DROP, 2);
	subscribe_with(&stage, RF_LAG_BLOCK, 2);
	for (i = 1; i <= 100; i++) {
		assert_int_equal(publish_numbers(&stage, i, 1), 0);
		assert_int_equal(take_numbers(rf_channel_rx(stage.channels[1]), i, 1, 0), 0);
	}
	assert_int_equal(subscriber(&stage, 0).missed, 98);
	assert_int_equal(subscriber(&stage, 1).missed, 0);
	assert_int_equal(publisher_stats(stage.publisher).blocked_ns, 0);
	stage_close(&stage);
}

/* Latest */

static void latest_gets_the_newest_that_is_there(void **state)
{
	struct rf_message message;
	struct stage stage;
	struct rf_rx *rx;

	(void)state;
	stage_open_plain(&stage);
	rx = rf_channel_rx(subscribe_with(&stage, RF_LAG_LATEST, 4));
	assert_int_equal(publish_numbers(&stage, 1, 3), 0);
	assert_int_equal(rf_rx_borrow(rx, 0, &message, 1), 1);
	assert_int_equal(*(const uint64_t *)message.data, 3);
	assert_int_equal(message.missed, 2);
	assert_int_equal(publish_numbers(&stage, 4, 60), 0);
	assert_int_equal(*(const uint64_t *)message.data, 3);
	assert_int_equal(rf_rx_release(rx, &message, 1), 0);
	stage_close(&stage);
}

/* Both sleep: it gave back what was out of date, which wakes the publisher, which lends the newest. */
static void latest_is_given_the_newest_by_a_publisher_that_sleeps(void **state)
{
	struct rf_message message;
	struct stage stage;
	struct rf_rx *rx;
	uint64_t until;

	(void)state;
	stage_open_plain(&stage);
	rx = rf_channel_rx(subscribe_with(&stage, RF_LAG_LATEST, 2));
	assert_int_equal(publish_numbers(&stage, 1, 20), 0);
	rf_publisher_process(stage.publisher);
	assert_int_equal(rf_publisher_arm(stage.publisher, 0, &until), 0);
	assert_int_equal(rf_rx_borrow(rx, 0, &message, 1), -EAGAIN);
	assert_true(wait_readable(rf_publisher_fd(stage.publisher), SOON_MS));
	assert_int_equal(rf_publisher_process(stage.publisher), 0);
	assert_int_equal(rf_rx_borrow(rx, 0, &message, 1), 1);
	assert_int_equal(*(const uint64_t *)message.data, 20);
	assert_int_equal(message.missed, 19);
	assert_int_equal(rf_rx_release(rx, &message, 1), 0);
	stage_close(&stage);
}

struct following {
	struct thread thread;
	struct rf_rx *rx;
	uint64_t last;
};

/* Numbers only grow, and what is borrowed does not change. */
static int follow_the_newest(void *arg)
{
	struct following *f = arg;
	struct rf_message message;
	uint64_t number, again;
	int n;

	while ((n = rf_rx_borrow(f->rx, rf_test_deadline(SOON_MS), &message, 1)) > 0) {
		memcpy(&number, message.data, sizeof(number));
		if (number != f->last + 1 + message.missed)
			return -EILSEQ;
		WORD_WRITE(&f->last, number);
		sched_yield();
		memcpy(&again, message.data, sizeof(again));
		if (again != number)
			return -EBADE;
		rf_rx_release(f->rx, &message, 1);
	}
	return n;
}

static void latest_never_shows_what_is_being_reused(void **state)
{
	uint64_t n = rf_test_rounds(50000), i;
	struct following followers[2] = {{.last = 0}};
	struct stage stage;

	(void)state;
	stage_open_plain(&stage);
	for (i = 0; i < 2; i++) {
		followers[i].rx =
			rf_channel_rx(subscribe_with(&stage, RF_LAG_LATEST, 2 + (uint32_t)i));
		thread_start(&followers[i].thread, follow_the_newest, &followers[i]);
	}
	for (i = 1; i <= n; i++)
		assert_int_equal(publish_numbers(&stage, i, 1), 0);
	for (i = 0; i < 2; i++) /* as one that has nothing to send for a while */
		assert_true(turns_until(&stage, &followers[i].last, n));
	assert_int_equal(rf_tx_end(stage.tx), 0);
	assert_int_equal(thread_join(&followers[0].thread), 0);
	assert_int_equal(thread_join(&followers[1].thread), 0);
	stage_close(&stage);
}

/* Block */

static void fill_up(struct stage *stage, uint32_t hold)
{
	struct rf_buffer buffer;

	assert_int_equal(publish_numbers(stage, 1, hold), 0);
	assert_int_equal(rf_tx_reserve(stage->tx, 8, 0, &buffer), -EAGAIN);
}

static void block_makes_reserve_wait_until_something_comes_back(void **state)
{
	struct reserving reserving;
	struct rf_buffer buffer;
	struct stage stage;

	(void)state;
	stage_open_plain(&stage);
	subscribe_with(&stage, RF_LAG_BLOCK, 2);
	fill_up(&stage, 2);
	assert_int_equal(
		rf_tx_reserve(stage.tx, 8, rf_test_deadline(WHILE_MS), &buffer), -ETIMEDOUT);
	reserve_start(&reserving, stage.tx);
	assert_true(wait_for_publisher_sleeps(stage.publisher, 2));
	assert_int_equal(take_numbers(rf_channel_rx(stage.channels[0]), 1, 2, 0), 0);
	tell_returns(&stage, 0);
	assert_int_equal(thread_join(&reserving.thread), 0);
	assert_true(publisher_stats(stage.publisher).blocked_ns >= WHILE_MS * RF__MSEC);
	assert_true(
		subscriber(&stage, 0).blocked_ns == publisher_stats(stage.publisher).blocked_ns);
	stage_close(&stage);
}

static void block_has_to_hold_what_is_kept_back(void **state)
{
	struct rf_options options = publisher_options(RF_DOORBELL_SOCKET);
	struct rf_options sub = subscriber_options(RF_LAG_BLOCK, 3);
	struct stage stage;

	(void)state;
	options.reserve_slots = 4;
	stage_open(&stage, &options);
	assert_int_equal(try_subscribe(&stage, &sub), -ENOBUFS);
	assert_has(stage.reason, "to block it has to hold 4 slots, not 3");
	sub.hold = 4;
	subscribe(&stage, &sub);
	stage_close(&stage);
}

/* It would never come: what fills it up is our own. */
static void more_open_than_a_blocking_one_may_hold_is_einval(void **state)
{
	struct rf_buffer buffers[4];
	struct stage stage;
	uint64_t until;

	(void)state;
	stage_open_plain(&stage);
	subscribe_with(&stage, RF_LAG_BLOCK, 3);
	assert_int_equal(rf_tx_reserve_span(stage.tx, 8, 0, buffers, 4), 3);
	assert_int_equal(rf_tx_reserve(stage.tx, 8, RF_FOREVER, &buffers[3]), -EINVAL);
	assert_int_equal(rf_publisher_arm(stage.publisher, RF_SPACE, &until), 1);
	assert_int_equal(rf_tx_cancel(stage.tx, &buffers[1]), 0);
	assert_int_equal(rf_tx_reserve(stage.tx, 8, RF_FOREVER, &buffers[1]), 0);
	assert_int_equal(rf_tx_commit_span(stage.tx, buffers, 3), 0);
	assert_int_equal(rf_tx_reserve(stage.tx, 8, 0, &buffers[3]), -EINVAL);
	assert_int_equal(rf_tx_publish(stage.tx), 0);
	assert_int_equal(rf_tx_reserve(stage.tx, 8, 0, &buffers[3]), -EAGAIN);
	stage_close(&stage);
}

/* Not for what was asked of somebody else the time before: or an event loop would go round and round until
 * the next look after all of them. */
static void arming_waits_only_for_who_is_in_the_way_now(void **state)
{
	struct rf_buffer buffer;
	struct stage stage;
	uint64_t until;

	(void)state;
	stage_open_plain(&stage);
	subscribe_with(&stage, RF_LAG_BLOCK, 2);
	subscribe_with(&stage, RF_LAG_LATEST, 1);
	assert_int_equal(publish_numbers(&stage, 1, 2), 0);
	assert_int_equal(rf_publisher_process(stage.publisher), 0);
	assert_int_equal(rf_publisher_arm(stage.publisher, RF_SPACE, &until), 0);
	tell_returns(&stage, 1); /* what it has is stale: it gives that back */
	assert_int_equal(rf_tx_reserve(stage.tx, 8, 0, &buffer), -EAGAIN);
	assert_int_equal(rf_publisher_arm(stage.publisher, RF_SPACE, &until), 0);
	stage_close(&stage);
}

/* Nobody blocks, but our own reservations are more than what is kept back. */
static void without_an_idle_slot_reserve_waits_for_anybody(void **state)
{
	struct reserving reserving;
	struct rf_buffer buffers[4];
	struct stage stage;
	uint64_t until;

	(void)state;
	stage_open_plain(&stage);
	subscribe_with(&stage, RF_LAG_DROP, 7);
	subscribe_with(&stage, RF_LAG_LATEST, 7);
	assert_int_equal(publish_numbers(&stage, 1, 7), 0);
	assert_int_equal(take_numbers(rf_channel_rx(stage.channels[0]), 1, 7, 0), 0);
	tell_returns(&stage, 0);
	assert_int_equal(publish_numbers(&stage, 8, 7), 0);
	assert_int_equal(rf_tx_reserve_span(stage.tx, 8, 0, buffers, 3), 2);
	assert_int_equal(rf_tx_reserve(stage.tx, 8, 0, &buffers[2]), -EAGAIN);
	rf_publisher_process(stage.publisher);
	assert_int_equal(rf_publisher_arm(stage.publisher, RF_SPACE, &until), 0);
	assert_false(wait_readable(rf_publisher_fd(stage.publisher), WHILE_MS));
	/* a quarter of what it may hold: it is told */
	assert_int_equal(take_numbers(rf_channel_rx(stage.channels[0]), 8, 2, 0), 0);
	assert_true(wait_readable(rf_publisher_fd(stage.publisher), SOON_MS));
	assert_int_equal(rf_tx_reserve_span(stage.tx, 8, 0, &buffers[2], 2), 2);
	reserve_start(&reserving, stage.tx);
	assert_true(wait_for_publisher_sleeps(stage.publisher, 1));
	assert_int_equal(take_numbers(rf_channel_rx(stage.channels[0]), 10, 5, 0), 0);
	tell_returns(&stage, 0);
	assert_int_equal(thread_join(&reserving.thread), 0);
	stage_close(&stage);
}

static void block_is_over_when_the_one_in_the_way_leaves(void **state)
{
	struct reserving reserving;
	struct stage stage;

	(void)state;
	stage_open_plain(&stage);
	subscribe_with(&stage, RF_LAG_BLOCK, 2);
	fill_up(&stage, 2);
	reserve_start(&reserving, stage.tx);
	assert_true(wait_for_publisher_sleeps(stage.publisher, 1));
	rf_channel_close(stage.channels[--stage.n]);
	assert_int_equal(thread_join(&reserving.thread), 0);
	assert_int_equal(publisher_stats(stage.publisher).left, 1);
	stage_close(&stage);
}

/* Cut off */

static void assert_cut(struct stage *stage, const char *ours, const char *its)
{
	struct rf_channel *channel = stage->channels[0];
	struct rf_message message;

	assert_int_equal(publisher_stats(stage->publisher).cut, 1);
	assert_int_equal(publisher_stats(stage->publisher).subscribers, 0);
	assert_int_equal(publisher_stats(stage->publisher).granted, 0);
	assert_has(rf_publisher_reason(stage->publisher), ours);
	assert_int_equal(rf_channel_process(channel), -EPIPE);
	assert_int_equal(rf_rx_borrow(rf_channel_rx(channel), 0, &message, 1), -EPIPE);
	assert_int_equal(rf_rx_borrow(rf_channel_rx(channel), RF_FOREVER, &message, 1), -EPIPE);
	assert_has(rf_channel_reason(channel), its);
}

static struct rf_options with_budget(uint64_t budget_ns)
{
	struct rf_options options = publisher_options(RF_DOORBELL_SOCKET);

	options.block_ns = budget_ns;
	return options;
}

static void who_has_used_up_its_budget_is_cut_off(void **state)
{
	struct rf_options options = with_budget(HASTE_NS);
	struct rf_publisher_stats stats;
	struct rf_buffer buffer;
	struct stage stage;

	(void)state;
	stage_open(&stage, &options);
	subscribe_with(&stage, RF_LAG_BLOCK, 2);
	fill_up(&stage, 2);
	assert_int_equal(rf_tx_reserve(stage.tx, 8, rf_test_deadline(SOON_MS), &buffer), 0);
	stats = publisher_stats(stage.publisher);
	assert_true(stats.blocked_ns >= HASTE_NS);
	assert_true(stats.blocked_ns < HASTE_NS + SOON_MS / 10 * RF__MSEC);
	assert_cut(&stage, "kept the publisher waiting for too long",
		"it was kept waiting for too long");
	stage_close(&stage);
}

/* In waits of a millisecond each; by looks that never wait; in a loop of the caller's own. */
static void a_budget_is_cumulative_however_it_is_waited(void **state)
{
	struct rf_options options = with_budget(HASTE_NS);
	uint64_t give_up, until;
	struct rf_buffer buffer;
	struct stage stage;
	unsigned how;
	int r;

	(void)state;
	for (how = 0; how < 3; how++) {
		stage_open(&stage, &options);
		subscribe_with(&stage, RF_LAG_BLOCK, 2);
		fill_up(&stage, 2);
		give_up = rf_test_deadline(SOON_MS);
		do {
			r = rf_tx_reserve(stage.tx, 8, how == 0 ? rf_test_deadline(1) : 0, &buffer);
			if (how < 2 || r == 0)
				continue;
			while (rf_publisher_arm(stage.publisher, RF_SPACE, &until) == 0 &&
				rf__now() < give_up) {
				assert_true(until != RF_FOREVER);
				wait_readable(rf_publisher_fd(stage.publisher),
					until > rf__now()
						? (unsigned)((until - rf__now()) / RF__MSEC) + 1
						: 0);
				rf_publisher_process(stage.publisher);
			}
		} while (r < 0 && rf__now() < give_up);
		assert_int_equal(r, 0);
		assert_cut(&stage, "kept the publisher waiting for too long",
			"it was kept waiting for too long");
		stage_close(&stage);
	}
}

/* The first one gives back at once; the time after that is the other's. */
static void each_pays_for_its_own_time_only(void **state)
{
	struct rf_options options = with_budget(PATIENCE_NS);
	struct reserving reserving;
	struct stage stage;

	(void)state;
	stage_open(&stage, &options);
	subscribe_with(&stage, RF_LAG_BLOCK, 2);
	subscribe_with(&stage, RF_LAG_BLOCK, 2);
	fill_up(&stage, 2);
	reserve_start(&reserving, stage.tx);
	assert_true(wait_for_publisher_sleeps(stage.publisher, 1));
	assert_int_equal(take_numbers(rf_channel_rx(stage.channels[0]), 1, 2, 0), 0);
	tell_returns(&stage, 0);
	assert_int_equal(thread_join(&reserving.thread), 0);
	assert_int_equal(publisher_stats(stage.publisher).cut, 1);
	assert_int_equal(subscriber(&stage, 0).number, 1);
	assert_true(subscriber(&stage, 0).blocked_ns < PATIENCE_NS);
	assert_int_equal(rf_channel_process(stage.channels[0]), 0);
	assert_int_equal(rf_channel_process(stage.channels[1]), -EPIPE);
	stage_close(&stage);
}

/* Whether it was cut off, or left in time. */
static void coming_again_does_not_renew_a_budget(void **state)
{
	struct rf_options wish = subscriber_options(RF_LAG_BLOCK, 2);
	struct rf_options options = with_budget(PATIENCE_NS);
	struct rf_channel *channel;
	struct rf_buffer buffer;
	struct stage stage;

	(void)state;
	stage_open(&stage, &options);
	channel = subscribe(&stage, &wish);
	fill_up(&stage, 2);
	assert_int_equal(rf_tx_reserve(stage.tx, 8, rf_test_deadline(200), &buffer), -ETIMEDOUT);
	unsubscribe(&stage, channel);
	subscribe(&stage, &wish); /* is lent the newest */
	fill_up(&stage, 1);
	assert_int_equal(rf_tx_reserve(stage.tx, 8, rf_test_deadline(SOON_MS), &buffer), 0);
	assert_int_equal(rf_tx_cancel(stage.tx, &buffer), 0);
	assert_int_equal(publisher_stats(stage.publisher).cut, 1);
	assert_true(publisher_stats(stage.publisher).blocked_ns < 2 * PATIENCE_NS - 50 * RF__MSEC);
	assert_int_equal(try_subscribe(&stage, &wish), -ENOBUFS);
	assert_has(stage.reason, "kept the publisher waiting");
	subscribe_with(&stage, RF_LAG_DROP, 2);
	stage_close(&stage);
}

static struct rf_channel *subscribe_until_stalled(struct stage *stage, uint64_t stall_ns)
{
	struct rf_options options = subscriber_options(RF_LAG_DISCONNECT, 2);

	options.stall_ns = stall_ns;
	return subscribe(stage, &options);
}

static void who_gives_nothing_back_for_too_long_is_cut_off(void **state)
{
	struct rf_message message;
	struct stage stage;
	struct rf_rx *rx;

	(void)state;
	stage_open_plain(&stage);
	rx = rf_channel_rx(subscribe_until_stalled(&stage, HASTE_NS));
	assert_int_equal(publish_numbers(&stage, 1, 5), 0);
	assert_int_equal(rf_rx_borrow(rx, 0, &message, 1), 1);
	assert_true(turns_until_figure(&stage, FIGURE(cut), 1));
	assert_cut(&stage, "gave nothing back for too long", "nothing was given back for too long");
	assert_int_equal(rf_rx_release(rx, &message, 1), 0);
	stage_close(&stage);
}

static int take_all_and_wait(void *arg)
{
	struct rf_message messages[3];
	int n = rf_rx_borrow(arg, 0, messages, 3), r;

	if (n != 2)
		return 10;
	r = rf_rx_borrow(arg, rf_test_deadline(SOON_MS), &messages[2], 1);
	rf_rx_release(arg, messages, 2);
	return r;
}

static void who_sleeps_when_it_is_cut_off_is_woken(void **state)
{
	struct thread thread;
	struct stage stage;
	struct rf_rx *rx;

	(void)state;
	stage_open_plain(&stage);
	rx = rf_channel_rx(subscribe_until_stalled(&stage, HASTE_NS));
	assert_int_equal(publish_numbers(&stage, 1, 2), 0);
	thread_start(&thread, take_all_and_wait, rx);
	assert_true(wait_for_sleeps(stage.channels[0], true, 1));
	assert_int_equal(publish_numbers(&stage, 3, 1), 0);
	assert_true(turns_until_figure(&stage, FIGURE(cut), 1));
	assert_int_equal(thread_join(&thread), -EPIPE);
	assert_has(rf_channel_reason(stage.channels[0]), "nothing was given back for too long");
	stage_close(&stage);
}

/* It has no room all the time, and gives one back now and then. */
static void the_stall_clock_restarts_when_something_comes_back(void **state)
{
	uint64_t i = 0, until;
	struct rf_message message;
	struct stage stage;
	struct rf_rx *rx;

	(void)state;
	stage_open_plain(&stage);
	rx = rf_channel_rx(subscribe_until_stalled(&stage, PATIENCE_NS));
	assert_int_equal(publish_numbers(&stage, 1, 5), 0);
	for (until = rf__now() + 3 * PATIENCE_NS; rf__now() < until; i++) {
		assert_int_equal(rf_rx_borrow(rx, 0, &message, 1), 1);
		assert_int_equal(rf_rx_release(rx, &message, 1), 0);
		assert_int_equal(publish_numbers(&stage, i, 3), 0);
		wait_readable(rf_publisher_fd(stage.publisher), 5);
		assert_int_equal(rf_publisher_process(stage.publisher), 0);
	}
	assert_int_equal(publisher_stats(stage.publisher).cut, 0);
	assert_true(subscriber(&stage, 0).missed > 0);
	assert_true(turns_until_figure(&stage, FIGURE(cut), 1));
	stage_close(&stage);
}

/* A queue that never runs empty: what is given back counts although a quarter of it was not yet. */
static void who_gives_back_one_at_a_time_is_not_cut_off(void **state)
{
	struct rf_options options = publisher_options(RF_DOORBELL_SOCKET);
	struct rf_options wish = subscriber_options(RF_LAG_DISCONNECT, 64);
	uint64_t until, next = 0;
	struct rf_message message;
	struct stage stage;
	struct rf_rx *rx;

	(void)state;
	options.slots = 128;
	wish.stall_ns = PATIENCE_NS;
	stage_open(&stage, &options);
	rx = rf_channel_rx(subscribe(&stage, &wish));
	assert_int_equal(publish_numbers(&stage, 1, 70), 0);
	for (until = rf__now() + 2 * PATIENCE_NS; rf__now() < until;) {
		if (rf__now() >= next) {
			assert_int_equal(rf_rx_borrow(rx, 0, &message, 1), 1);
			assert_int_equal(rf_rx_release(rx, &message, 1), 0);
			next = rf__now() + PATIENCE_NS / 6;
		}
		assert_int_equal(publish_numbers(&stage, 71, 2), 0);
		wait_readable(rf_publisher_fd(stage.publisher), 5);
		assert_int_equal(rf_publisher_process(stage.publisher), 0);
	}
	assert_int_equal(publisher_stats(stage.publisher).cut, 0);
	stage_close(&stage);
}

static void who_may_stall_for_ever_is_not_cut_off(void **state)
{
	struct rf_options options = publisher_options(RF_DOORBELL_SOCKET);
	struct stage stage;
	uint64_t until;

	(void)state;
	options.stall_ns = RF_FOREVER;
	stage_open(&stage, &options);
	subscribe_with(&stage, RF_LAG_DISCONNECT, 2);
	assert_int_equal(publish_numbers(&stage, 1, 5), 0);
	for (until = rf__now() + HASTE_NS; rf__now() < until;)
		stage_turn(&stage);
	assert_int_equal(publisher_stats(stage.publisher).cut, 0);
	stage_close(&stage);
}

static void the_stall_clock_stands_while_there_is_room(void **state)
{
	struct rf_message messages[2];
	struct stage stage;
	struct rf_rx *rx;
	uint64_t until;

	(void)state;
	stage_open_plain(&stage);
	rx = rf_channel_rx(subscribe_until_stalled(&stage, HASTE_NS));
	assert_int_equal(publish_numbers(&stage, 1, 3), 0);
	assert_int_equal(rf_rx_borrow(rx, 0, messages, 2), 2);
	assert_int_equal(rf_rx_release(rx, &messages[1], 1), 0);
	assert_int_equal(rf_rx_borrow(rx, 0, &messages[1], 1), -EAGAIN); /* tells what came back */
	rf_publisher_process(stage.publisher);
	for (until = rf__now() + 3 * HASTE_NS; rf__now() < until;)
		rf_publisher_process(stage.publisher);
	assert_int_equal(publisher_stats(stage.publisher).cut, 0);
	assert_int_equal(rf_rx_release(rx, messages, 1), 0);
	stage_close(&stage);
}

static void a_message_missed_for_its_descriptors_is_no_stall(void **state)
{
	struct rf_message message;
	struct rf_buffer buffer;
	struct stage stage;
	struct rf_rx *rx;
	uint64_t until;
	int fd = 2;

	(void)state;
	stage_open_plain(&stage);
	rx = rf_channel_rx(subscribe_until_stalled(&stage, HASTE_NS));
	assert_int_equal(publish_numbers(&stage, 1, 1), 0);
	assert_int_equal(rf_rx_borrow(rx, 0, &message, 1), 1);
	assert_int_equal(rf_tx_reserve(stage.tx, 8, 0, &buffer), 0);
	assert_int_equal(rf_tx_attach(stage.tx, &buffer, &fd, 1, 0), 0);
	assert_int_equal(rf_tx_commit(stage.tx, &buffer), 0);
	assert_int_equal(rf_tx_publish(stage.tx), 0);
	for (until = rf__now() + 3 * HASTE_NS; rf__now() < until;)
		rf_publisher_process(stage.publisher);
	assert_int_equal(subscriber(&stage, 0).missed, 1);
	assert_int_equal(publisher_stats(stage.publisher).cut, 0);
	assert_int_equal(rf_rx_release(rx, &message, 1), 0);
	stage_close(&stage);
}

/* Others die, or stop */

struct other {
	struct rf_options options;
	const char *path;
	uint64_t *words; /* 0: it has joined; 1: messages it holds for ever; 2: how many it took or
			  * missed */
	unsigned keeps;
};

/* Its verdict: 0: the stream ended; 1: it was cut off. */
static int be_another(void *arg)
{
	struct other *o = arg;
	struct rf_message messages[16], message;
	struct rf_channel *channel;
	struct rf_rx *rx;
	unsigned kept = 0;
	int n = 0;

	if (rf_connect(o->path, &o->options, rf_test_deadline(SOON_MS), &channel) < 0)
		return 10;
	WORD_WRITE(&o->words[0], 1);
	rx = rf_channel_rx(channel);
	while (kept < o->keeps && n >= 0) {
		n = rf_rx_borrow(rx, rf_test_deadline(SOON_MS), &messages[kept], o->keeps - kept);
		kept += n > 0 ? (unsigned)n : 0;
		WORD_WRITE(&o->words[1], kept);
	}
	while ((n = rf_rx_borrow(rx, rf_test_deadline(3 * SOON_MS), &message, 1)) > 0) {
		WORD_WRITE(&o->words[2], o->words[2] + 1 + message.missed);
		rf_rx_release(rx, &message, 1);
	}
	if (!n)
		return 0;
	return n == -EPIPE && strstr(rf_channel_reason(channel), "cut us off") ? 1 : 11;
}

static pid_t start_another(
	struct stage *stage, struct other *o, uint32_t lag, uint32_t hold, unsigned keeps)
{
	pid_t pid;

	*o = (struct other){.options = subscriber_options(lag, hold),
		.path = stage->path,
		.words = fixture_words(),
		.keeps = keeps};
	o->options.stall_ns = HASTE_NS;
	pid = rf_test_child(be_another, o, 0, 0);
	assert_true(turns_until(stage, &o->words[0], 1));
	return pid;
}

static void slots_of_a_killed_one_can_be_used_at_once(void **state)
{
	struct rf_buffer buffers[17];
	struct stage stage;
	struct other other;
	pid_t pid;

	(void)state;
	stage_open_plain(&stage);
	pid = start_another(&stage, &other, RF_LAG_BLOCK, 14, 14);
	assert_int_equal(publish_numbers(&stage, 1, 14), 0);
	assert_true(turns_until(&stage, &other.words[1], 14));
	assert_int_equal(rf_tx_reserve(stage.tx, 8, 0, buffers), -EAGAIN);
	rf_test_kill(pid);
	assert_int_equal(rf_tx_reserve(stage.tx, 8, rf_test_deadline(SOON_MS), buffers), 0);
	assert_int_equal(rf_tx_reserve_span(stage.tx, 8, 0, buffers + 1, 16), 15);
	assert_int_equal(publisher_stats(stage.publisher).left, 1);
	stage_close(&stage);
}

static void block_is_over_when_the_one_in_the_way_is_killed(void **state)
{
	struct reserving reserving;
	struct stage stage;
	struct other other;
	pid_t pid;

	(void)state;
	stage_open_plain(&stage);
	pid = start_another(&stage, &other, RF_LAG_BLOCK, 2, 2);
	assert_int_equal(publish_numbers(&stage, 1, 2), 0);
	reserve_start(&reserving, stage.tx);
	assert_true(wait_for_publisher_sleeps(stage.publisher, 1));
	rf_test_kill(pid);
	assert_int_equal(thread_join(&reserving.thread), 0);
	stage_close(&stage);
}

static void stop_it(pid_t pid)
{
	int status;

	assert_int_equal(kill(pid, SIGSTOP), 0);
	assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
	assert_true(WIFSTOPPED(status));
}

/* Publishes so many while one is stopped, and ends; its verdict. */
static int end_of_one_stopped(uint32_t lag, uint64_t *ret_told)
{
	struct rf_options options = with_budget(HASTE_NS);
	struct stage stage;
	struct other other;
	uint64_t i;
	pid_t pid;
	int verdict;

	stage_open(&stage, &options);
	subscribe_with(&stage, RF_LAG_BLOCK, 4);
	pid = start_another(&stage, &other, lag, 4, 0);
	stop_it(pid);
	for (i = 1; i <= 200; i++) {
		assert_int_equal(send_number(stage.tx, i, rf_test_deadline(SOON_MS)), 0);
		assert_int_equal(take_numbers(rf_channel_rx(stage.channels[0]), i, 1, 0), 0);
	}
	if (lag == RF_LAG_DISCONNECT || lag == RF_LAG_BLOCK)
		assert_true(turns_until_figure(&stage, FIGURE(cut), 1));
	assert_int_equal(kill(pid, SIGCONT), 0);
	if (lag == RF_LAG_LATEST)
		assert_true(turns_until(&stage, &other.words[2], 200));
	assert_int_equal(rf_tx_end(stage.tx), 0);
	verdict = rf_test_wait(pid, SOON_MS);
	*ret_told = other.words[2];
	stage_close(&stage);
	return verdict;
}

static void one_that_stops_is_met_by_its_policy(void **state)
{
	uint64_t told;

	(void)state;
	assert_int_equal(end_of_one_stopped(RF_LAG_DROP, &told), 0);
	assert_int_equal(told, 4); /* of those after them no message told */
	assert_int_equal(end_of_one_stopped(RF_LAG_LATEST, &told), 0);
	assert_int_equal(told, 200);
	assert_int_equal(end_of_one_stopped(RF_LAG_BLOCK, &told), 1);
	assert_int_equal(told, 0);
	assert_int_equal(end_of_one_stopped(RF_LAG_DISCONNECT, &told), 1);
	assert_int_equal(told, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, leaks_setup, leaks_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(drop_misses_what_it_has_no_room_for_and_is_told),
		TEST(a_slow_one_costs_the_others_nothing),
		TEST(latest_gets_the_newest_that_is_there),
		TEST(latest_is_given_the_newest_by_a_publisher_that_sleeps),
		TEST(latest_never_shows_what_is_being_reused),
		TEST(block_makes_reserve_wait_until_something_comes_back),
		TEST(block_has_to_hold_what_is_kept_back),
		TEST(more_open_than_a_blocking_one_may_hold_is_einval),
		TEST(arming_waits_only_for_who_is_in_the_way_now),
		TEST(without_an_idle_slot_reserve_waits_for_anybody),
		TEST(block_is_over_when_the_one_in_the_way_leaves),
		TEST(who_has_used_up_its_budget_is_cut_off),
		TEST(a_budget_is_cumulative_however_it_is_waited),
		TEST(each_pays_for_its_own_time_only),
		TEST(coming_again_does_not_renew_a_budget),
		TEST(who_gives_nothing_back_for_too_long_is_cut_off),
		TEST(who_sleeps_when_it_is_cut_off_is_woken),
		TEST(the_stall_clock_restarts_when_something_comes_back),
		TEST(the_stall_clock_stands_while_there_is_room),
		TEST(who_gives_back_one_at_a_time_is_not_cut_off),
		TEST(who_may_stall_for_ever_is_not_cut_off),
		TEST(a_message_missed_for_its_descriptors_is_no_stall),
		TEST(slots_of_a_killed_one_can_be_used_at_once),
		TEST(block_is_over_when_the_one_in_the_way_is_killed),
		TEST(one_that_stops_is_met_by_its_policy),
	};

	rf_test_limit(50);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
