/* SPDX-License-Identifier: MIT */
/* Peers that wake us for nothing, and peers that make our kicks dear. */
#include "channel-fixture.h"

#include "util/clock.h"
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static const uint32_t bells[] = {RF_DOORBELL_EVENTFD, RF_DOORBELL_SOCKET};

/* 200 wake-ups, and looks at the ring that are at last 16 ms apart. */
#define WOKEN_MOST 400

static void open_ends(struct ends *ends, uint32_t doorbell)
{
	struct rf_options options = channel_options(doorbell, RF_WAIT_SLEEP);

	ends_open(ends, &options, &options);
}

/* Rings the bell of the server's receiver for as long as it is told to, 20,000 times a second. */
struct ringer {
	struct thread thread;
	struct ends *ends;
	uint64_t rung;
	bool stop;
};

static int ring_on(void *arg)
{
	struct ringer *ringer = arg;
	struct rf__link *link = &ringer->ends->client->link;
	const struct timespec pause = {.tv_nsec = 50000};
	uint64_t nothing = 0;

	while (!__atomic_load_n(&ringer->stop, __ATOMIC_ACQUIRE)) {
		ssize_t n = link->doorbell == RF_DOORBELL_EVENTFD
				    ? write(ringer->ends->client->tx.half.bell.peer, &nothing,
					      sizeof(nothing))
				    : send(link->sock, "c", 1, MSG_DONTWAIT | MSG_NOSIGNAL);

		ringer->rung += n > 0;
		nanosleep(&pause, NULL);
	}
	return 0;
}

static void ringer_start(struct ringer *ringer, struct ends *ends)
{
	*ringer = (struct ringer){.ends = ends};
	thread_start(&ringer->thread, ring_on, ringer);
}

static void ringer_stop(struct ringer *ringer)
{
	__atomic_store_n(&ringer->stop, true, __ATOMIC_RELEASE);
	assert_int_equal(thread_join(&ringer->thread), 0);
}

static void d6_a_storm_of_kicks_is_not_listened_to(void **state)
{
	struct rf_message message;
	struct ringer ringer;
	struct rf_stats stats;
	struct ends ends;
	unsigned i;

	(void)state;
	for (i = 0; i < 2; i++) {
		open_ends(&ends, bells[i]);
		ringer_start(&ringer, &ends);
		assert_int_equal(rf_rx_borrow(rf_channel_rx(ends.server), rf_test_deadline(900),
					 &message, 1),
			-ETIMEDOUT);
		ringer_stop(&ringer);
		stats = channel_stats(ends.server);
		assert_true(ringer.rung > WOKEN_MOST);
		assert_int_equal(stats.rx.rescued, 0);
		assert_true(stats.rx.storms >= 1);
		assert_true(stats.rx.sleeps < WOKEN_MOST);
		ends_close(&ends);
	}
}

static void d6_a_record_arrives_in_the_midst_of_a_storm(void **state)
{
	struct ringer ringer;
	struct rf_stats stats;
	struct rf_message message;
	struct ends ends;
	uint64_t number, begun;
	unsigned i;

	(void)state;
	for (i = 0; i < 2; i++) {
		open_ends(&ends, bells[i]);
		ringer_start(&ringer, &ends);
		rf_rx_borrow(rf_channel_rx(ends.server), rf_test_deadline(400), &message, 1);
		assert_true(channel_stats(ends.server).rx.storms >= 1);
		begun = rf__now();
		assert_int_equal(send_number(rf_channel_tx(ends.client), 7, 0), 0);
		assert_int_equal(
			take_number(rf_channel_rx(ends.server), rf_test_deadline(SOON_MS), &number),
			1);
		assert_int_equal(number, 7);
		assert_true(rf__now() - begun < 1000 * RF__MSEC);
		ringer_stop(&ringer);
		stats = channel_stats(ends.server);
		assert_true(stats.rx.sleeps < 2 * WOKEN_MOST);
		ends_close(&ends);
	}
}

static void d6_kicks_are_heard_again_after_the_storm(void **state)
{
	struct ringer ringer;
	struct rf_message message;
	struct ends ends;

	(void)state;
	open_ends(&ends, RF_DOORBELL_SOCKET);
	ringer_start(&ringer, &ends);
	rf_rx_borrow(rf_channel_rx(ends.server), rf_test_deadline(400), &message, 1);
	ringer_stop(&ringer);
	/* more than a second without a storm */
	assert_int_equal(
		rf_rx_borrow(rf_channel_rx(ends.server), rf_test_deadline(1300), &message, 1),
		-ETIMEDOUT);
	assert_true(ends.server->rx.half.bell.storm.deaf_until_ns == 0);
	ends_close(&ends);
}

static void d6_an_event_loop_is_not_kept_busy_by_a_storm(void **state)
{
	struct ringer ringer;
	struct rf_message message;
	struct ends ends;
	unsigned i, woken;
	uint64_t until, end;

	(void)state;
	for (i = 0; i < 2; i++) {
		open_ends(&ends, bells[i]);
		rf_channel_fd(ends.server);
		ringer_start(&ringer, &ends);
		end = rf_test_deadline(900);
		for (woken = 0; rf__now() < end; woken++) {
			struct pollfd fd = {.fd = rf_channel_fd(ends.server), .events = POLLIN};
			uint64_t now = rf__now();

			assert_int_equal(rf_channel_arm(ends.server, RF_DATA, 0, &until), 0);
			until = until < end ? until : end;
			poll(&fd, 1, until > now ? (int)((until - now) / RF__MSEC) + 1 : 0);
			assert_int_equal(rf_channel_process(ends.server), 0);
			assert_int_equal(
				rf_rx_borrow(rf_channel_rx(ends.server), 0, &message, 1), -EAGAIN);
		}
		ringer_stop(&ringer);
		assert_true(ringer.rung > WOKEN_MOST);
		assert_true(woken < WOKEN_MOST);
		assert_true(channel_stats(ends.server).rx.storms >= 1);
		ends_close(&ends);
	}
}

static void an_honest_channel_is_never_in_a_storm(void **state)
{
	struct ends ends;
	struct rf_stats stats;
	uint64_t number;
	unsigned i, k;

	(void)state;
	for (i = 0; i < 2; i++) {
		open_ends(&ends, bells[i]);
		for (k = 0; k < 2000; k++) {
			assert_int_equal(send_number(rf_channel_tx(ends.client), k, 0), 0);
			assert_int_equal(take_number(rf_channel_rx(ends.server),
						 rf_test_deadline(SOON_MS), &number),
				1);
		}
		stats = channel_stats(ends.server);
		assert_int_equal(stats.rx.storms, 0);
		assert_int_equal(stats.rx.rescued, 0);
		ends_close(&ends);
	}
}

static struct ends *interrupted;

static void send_from_handler(int number)
{
	send_number(rf_channel_tx(interrupted->client), (uint64_t)number, 0);
}

/* The sleep that a signal ends has no event, and is no timer's merit either. */
static void a_record_that_comes_with_a_signal_was_not_rescued(void **state)
{
	const struct itimerval once = {.it_value.tv_usec = 20000};
	struct sigaction action = {.sa_handler = send_from_handler}, before;
	struct ends ends;
	uint64_t number;

	(void)state;
	open_ends(&ends, RF_DOORBELL_SOCKET);
	interrupted = &ends;
	assert_int_equal(sigaction(SIGALRM, &action, &before), 0);
	assert_int_equal(setitimer(ITIMER_REAL, &once, NULL), 0);
	assert_int_equal(
		take_number(rf_channel_rx(ends.server), rf_test_deadline(SOON_MS), &number), 1);
	assert_int_equal(number, SIGALRM);
	assert_int_equal(channel_stats(ends.server).rx.rescued, 0);
	assert_int_equal(sigaction(SIGALRM, &before, NULL), 0);
	ends_close(&ends);
}

/* Each kick for one half wakes the other, too, when both sleep on one socket. */
static int wait_for_room(void *arg)
{
	struct rf_tx *tx = rf_channel_tx(((struct ends *)arg)->server);
	struct rf_buffer buffer;
	int r;

	do {
		r = rf_tx_reserve(tx, RING_BYTES / 2 - 8, rf_test_deadline(100), &buffer);
		if (!r)
			r = rf_tx_commit(tx, &buffer);
	} while (!r || r == -ETIMEDOUT);
	return r == -EPIPE ? 0 : 1;
}

static int send_now_and_then(void *arg)
{
	const struct timespec pause = {.tv_nsec = 300000};
	struct ends *ends = arg;
	unsigned k;
	int r = 0;

	for (k = 0; k < 1500 && !r; k++) {
		nanosleep(&pause, NULL);
		r = send_number(rf_channel_tx(ends->client), k, 0);
	}
	return r ? 1 : 0;
}

static void kicks_for_the_other_half_are_no_storm(void **state)
{
	struct thread waiter, sender;
	struct ends ends;
	uint64_t number;
	unsigned k;

	(void)state;
	open_ends(&ends, RF_DOORBELL_SOCKET);
	thread_start(&waiter, wait_for_room, &ends);
	thread_start(&sender, send_now_and_then, &ends);
	for (k = 0; k < 1500; k++) {
		assert_int_equal(
			take_number(rf_channel_rx(ends.server), rf_test_deadline(SOON_MS), &number),
			1);
	}
	assert_int_equal(thread_join(&sender), 0);
	assert_true(channel_stats(ends.server).tx.idle_wakeups > 0);
	/* valgrind lets one thread run at a time, which then finds nothing many times */
	if (!rf_test_instrumented())
		assert_int_equal(channel_stats(ends.server).tx.storms, 0);
	rf_channel_stop(ends.server);
	assert_int_equal(thread_join(&waiter), 0);
	ends_close(&ends);
}

/* D7: so many items watch one bell that a kick takes milliseconds. */
#define WATCHERS 300

struct watchers {
	int epolls[WATCHERS], copies[WATCHERS];
};

static void watch_from_everywhere(struct watchers *w, int bell)
{
	struct epoll_event event = {.events = EPOLLIN};
	unsigned i, k;

	for (i = 0; i < WATCHERS; i++) {
		w->epolls[i] = epoll_create1(EPOLL_CLOEXEC);
		w->copies[i] = dup(bell);
		assert_true(w->epolls[i] >= 0 && w->copies[i] >= 0);
	}
	for (i = 0; i < WATCHERS; i++)
		for (k = 0; k < WATCHERS; k++)
			assert_int_equal(
				epoll_ctl(w->epolls[i], EPOLL_CTL_ADD, w->copies[k], &event), 0);
}

static void watchers_close(struct watchers *w)
{
	unsigned i;

	for (i = 0; i < WATCHERS; i++) {
		close(w->epolls[i]);
		close(w->copies[i]);
	}
}

static void d7_a_peer_that_makes_kicks_dear_is_cut_off(void **state)
{
	struct watchers *watchers = calloc(1, sizeof(*watchers));
	uint64_t files = rf_test_limit_files(2048), until;
	struct ends ends;
	int r = 0, i;

	(void)state;
	assert_non_null(watchers);
	open_ends(&ends, RF_DOORBELL_EVENTFD);
	watch_from_everywhere(watchers, ends.client->rx.half.bell.own);
	for (i = 0; i < 1000 && !r; i++) {
		rf_channel_arm(ends.client, RF_DATA, 0, &until);
		r = send_number(rf_channel_tx(ends.server), 1, 0);
		rf_rx_release(rf_channel_rx(ends.client), NULL, 0);
		take_number(rf_channel_rx(ends.client), 0, &until);
	}
	assert_int_equal(r, -EPROTO);
	assert_has(rf_channel_reason(ends.server), "kicks");
	assert_true(i < 100);
	watchers_close(watchers);
	free(watchers);
	ends_close(&ends);
	rf_test_limit_files(files);
}

static void kicks_are_not_dear_among_honest_peers(void **state)
{
	struct ends ends;
	uint64_t until;
	unsigned i, k;

	(void)state;
	for (i = 0; i < 2; i++) {
		open_ends(&ends, bells[i]);
		for (k = 0; k < 5000; k++) {
			rf_channel_arm(ends.client, RF_DATA, 0, &until);
			assert_int_equal(send_number(rf_channel_tx(ends.server), 1, 0), 0);
			assert_int_equal(take_number(rf_channel_rx(ends.client), 0, &until), 1);
			if (bells[i] == RF_DOORBELL_SOCKET)
				rf_channel_fd(ends.client), rf_channel_process(ends.client);
		}
		assert_int_equal(ends.server->tx.half.bell.dear_ns, 0);
		ends_close(&ends);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, leaks_setup, leaks_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(d6_a_storm_of_kicks_is_not_listened_to),
		TEST(d6_a_record_arrives_in_the_midst_of_a_storm),
		TEST(d6_kicks_are_heard_again_after_the_storm),
		TEST(d6_an_event_loop_is_not_kept_busy_by_a_storm),
		TEST(an_honest_channel_is_never_in_a_storm),
		TEST(a_record_that_comes_with_a_signal_was_not_rescued),
		TEST(kicks_for_the_other_half_are_no_storm),
		TEST(d7_a_peer_that_makes_kicks_dear_is_cut_off),
		TEST(kicks_are_not_dear_among_honest_peers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
