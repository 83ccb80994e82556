/* SPDX-License-Identifier: MIT */
/* The asymmetric fence: who gets it, that no wake-up is lost behind it, and that it costs no more than
 * time where a peer lied about it or a sandbox forbids membarrier(2). That call goes through here. */
#include "publisher-fixture.h"
#include "ring-fixture.h"

#include "fence.h"
#include "util/clock.h"
#include <errno.h>
#include <linux/membarrier.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/syscall.h>

#define MSEC      UINT64_C(1000000)
#define SEC       (1000 * MSEC)
#define PING_PONG 100000

static const uint32_t bells[] = {RF_DOORBELL_EVENTFD, RF_DOORBELL_SOCKET};

/* What membarrier(2) does. LIES: it does nothing, and says that it did. */
static enum { WORKS, FAILS, LIES } barrier; /* atomic */
static unsigned barriers;                   /* atomic; how often it was called */

long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);

long __wrap_syscall(long number, ...)
{
	long a[4];
	va_list args;

	va_start(args, number);
	for (unsigned i = 0; i < 4; i++)
		a[i] = va_arg(args, long);
	va_end(args);
	if (number != SYS_membarrier)
		return __real_syscall(number, a[0], a[1], a[2], a[3]);
	__atomic_add_fetch(&barriers, 1, __ATOMIC_RELAXED);
	switch (__atomic_load_n(&barrier, __ATOMIC_RELAXED)) {
	case FAILS:
		errno = EPERM;
		return -1;
	case LIES:
		return 0;
	default:
		return __real_syscall(number, a[0], a[1], a[2]);
	}
}

static void let_barriers(unsigned what)
{
	__atomic_store_n(&barrier, what, __ATOMIC_RELAXED);
}

static int setup(void **state)
{
	let_barriers(WORKS);
	unsetenv("RF_TEST_WITHOUT_KERNEL");
	setenv("RF_TEST_FENCE", "1", 1);
	return leaks_setup(state);
}

static void need_barriers(void)
{
	static int there = -1;

	if (there < 0)
		there = rf__fence_register();
	rf_test_need("membarrier", there);
}

static struct rf_options options_with(uint32_t doorbell, bool fence)
{
	struct rf_options options = channel_options(doorbell, RF_WAIT_SLEEP);

	need_barriers();
	options.flags = fence ? RF_OPTION_FENCE : 0;
	return options;
}

static void open_ends(struct ends *ends, uint32_t doorbell)
{
	struct rf_options options = options_with(doorbell, true);

	ends_open(ends, &options, &options);
	assert_int_equal(channel_stats(ends->server).fence, 2);
	assert_int_equal(channel_stats(ends->client).fence, 2);
}

static uint64_t rescues(struct rf_channel *channel)
{
	struct rf_stats stats = channel_stats(channel);

	return stats.tx.rescued + stats.rx.rescued;
}

/* Over a socket the kicks for one half wake the other one as well, in bursts maybe once too often; then
 * the ring is looked at by timer, which is no rescue of ours. */
static bool has_stormed(struct rf_channel *channel)
{
	struct rf_stats stats = channel_stats(channel);

	return stats.tx.storms || stats.rx.storms;
}

/* Who gets it */

static void check_agreement(uint32_t doorbell, bool server, bool client, uint32_t fence)
{
	struct rf_options of_server = options_with(doorbell, server);
	struct rf_options of_client = options_with(doorbell, client);
	struct ends ends;

	ends_open(&ends, &of_server, &of_client);
	assert_int_equal(channel_stats(ends.server).fence, fence);
	assert_int_equal(channel_stats(ends.client).fence, fence);
	assert_int_equal(send_number(rf_channel_tx(ends.client), 1, 0), 0);
	assert_int_equal(take_numbers(rf_channel_rx(ends.server), 1, 1, 0), 0);
	ends_close(&ends);
}

static void both_ends_have_to_ask_for_it(void **state)
{
	unsigned i;

	(void)state;
	for (i = 0; i < 2; i++) {
		check_agreement(bells[i], false, false, 1);
		check_agreement(bells[i], false, true, 1);
		check_agreement(bells[i], true, false, 1);
		check_agreement(bells[i], true, true, 2);
	}
}

static void without_it_in_the_kernel_nobody_offers_it(void **state)
{
	(void)state;
	setenv("RF_TEST_WITHOUT_KERNEL", "membarrier", 1);
	check_agreement(RF_DOORBELL_EVENTFD, true, true, 1);
	unsetenv("RF_TEST_WITHOUT_KERNEL");
	let_barriers(FAILS);
	check_agreement(RF_DOORBELL_SOCKET, true, true, 1);
}

static void the_other_fence_makes_no_system_calls(void **state)
{
	struct rf_options options = options_with(RF_DOORBELL_EVENTFD, false);
	struct ends ends;
	uint64_t number;
	unsigned before = __atomic_load_n(&barriers, __ATOMIC_RELAXED);

	(void)state;
	ends_open(&ends, &options, &options);
	assert_int_equal(
		take_number(rf_channel_rx(ends.server), rf_test_deadline(1), &number), -ETIMEDOUT);
	ends_close(&ends);
	assert_int_equal(__atomic_load_n(&barriers, __ATOMIC_RELAXED), before);
}

static void who_publishes_makes_no_system_calls(void **state)
{
	struct ends ends;
	unsigned before, i;

	(void)state;
	open_ends(&ends, RF_DOORBELL_EVENTFD);
	before = __atomic_load_n(&barriers, __ATOMIC_RELAXED);
	for (i = 0; i < 100; i++) {
		assert_int_equal(send_number(rf_channel_tx(ends.client), i, 0), 0);
		assert_int_equal(take_numbers(rf_channel_rx(ends.server), i, 1, 0), 0);
	}
	assert_int_equal(__atomic_load_n(&barriers, __ATOMIC_RELAXED), before);
	ends_close(&ends);
}

/* No wake-up is lost */

static int ping_pong(struct rf_channel *channel, unsigned n)
{
	unsigned i;
	int r = 0;

	for (i = 0; i < n && !r; i++) {
		r = send_number(rf_channel_tx(channel), i, rf_test_deadline(SOON_MS));
		if (!r)
			r = take_numbers(rf_channel_rx(channel), i, 1, rf_test_deadline(SOON_MS));
	}
	return r;
}

static void two_processes_wake_each_other(void **state)
{
	struct rf_channel *channel;
	unsigned i;
	pid_t pid;

	(void)state;
	need_barriers();
	for (i = 0; i < 2; i++) {
		pid = accept_peer("echo", bells[i], RF_WAIT_SLEEP, &channel);
		assert_int_equal(channel_stats(channel).fence, 2);
		assert_int_equal(ping_pong(channel, rf_test_rounds(PING_PONG)), 0);
		assert_int_equal(rescues(channel), 0);
		rf_channel_close(channel);
		rf_test_wait(pid, SOON_MS);
	}
}

/* A record is published at the moment when the consumer arms: it is seen, or a kick is due. Both wait
 * for each other before every round. */

static struct {
	struct ring ring;
	unsigned round[2]; /* atomic; which one each of the two has begun */
	unsigned n;
	unsigned lost;
} duel;

static void meet(unsigned self, unsigned round)
{
	unsigned i = 0;

	__atomic_store_n(&duel.round[self], round, __ATOMIC_SEQ_CST);
	while (__atomic_load_n(&duel.round[!self], __ATOMIC_SEQ_CST) < round)
		if (++i % 4096 == 0)
			sched_yield();
}

static void pass_time(unsigned n)
{
	while (n--)
		__asm__ volatile("" ::: "memory");
}

static int publish_in_rounds(void *arg)
{
	struct rf_buffer buffer;
	unsigned i;

	(void)arg;
	for (i = 1; i <= duel.n; i++) {
		if (rf__ring_tx_reserve(&duel.ring.tx, 8, &buffer, 1) != 1 ||
			rf__ring_tx_commit(&duel.ring.tx, buffer.id, 8, 0) < 0)
			duel.n = 0;
		meet(0, 2 * i);
		pass_time(i % 509);
		rf__ring_tx_publish(&duel.ring.tx);
		meet(0, 2 * i + 1);
	}
	return 0;
}

static int arm_in_rounds(void *arg)
{
	struct rf_message message;
	unsigned i;
	bool seen;

	(void)arg;
	for (i = 1; i <= duel.n; i++) {
		meet(1, 2 * i);
		pass_time(i % 251);
		rf__ring_rx_ask(&duel.ring.rx);
		rf__fence_pass();
		seen = rf__ring_rx_look(&duel.ring.rx);
		meet(1, 2 * i + 1);
		duel.lost += !seen && !duel.ring.tx.at.kick_due;
		duel.ring.tx.at.kick_due = false;
		rf__ring_rx_disarm(&duel.ring.rx);
		if (rf__ring_rx_borrow(&duel.ring.rx, &message, 1) != 1)
			return -EIO;
		release_id(&duel.ring.rx, message.id);
	}
	return 0;
}

static unsigned lost_in_duel(unsigned how)
{
	struct thread publisher, sleeper;
	int r;

	need_barriers();
	memset(&duel, 0, sizeof(duel));
	ring_open(&duel.ring, 4096);
	duel.ring.tx.at.asymmetric = duel.ring.rx.asymmetric = true;
	duel.n = rf_test_rounds(PING_PONG);
	let_barriers(how);
	thread_start(&publisher, publish_in_rounds, NULL);
	thread_start(&sleeper, arm_in_rounds, NULL);
	r = thread_join(&publisher);
	r |= thread_join(&sleeper);
	let_barriers(WORKS);
	ring_close(&duel.ring);
	assert_int_equal(r, 0);
	return duel.lost;
}

static void no_publish_slips_through_while_arming(void **state)
{
	(void)state;
	assert_int_equal(lost_in_duel(WORKS), 0);
	/* how many depends on the processors: maybe none */
	print_message("without barriers %u would be lost\n", lost_in_duel(LIES));
}

/* In bursts with pauses of any length, through rings that are full soon: both sides sleep, at
 * whatever moment the other one publishes or gives back. */

struct bursts {
	struct thread thread;
	struct rf_channel *channel;
	unsigned n;
};

static int send_bursts(void *arg)
{
	struct bursts *b = arg;
	uint64_t random = 1;
	unsigned i;
	int r = 0;

	for (i = 0; i < b->n && !r; i++) {
		r = send_number(rf_channel_tx(b->channel), i, rf_test_deadline(SOON_MS));
		random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
		pass_time(random >> 60 ? 0 : (unsigned)(random >> 45) % 4096);
	}
	return r;
}

static int take_bursts(void *arg)
{
	struct bursts *b = arg;

	return take_numbers(rf_channel_rx(b->channel), 0, b->n, rf_test_deadline(3 * SOON_MS));
}

static void threads_of_both_halves_wake_each_other(void **state)
{
	struct rf_options options;
	struct bursts bursts[4];
	struct ends ends;
	unsigned i, k;
	int r;

	(void)state;
	for (i = 0; i < 2; i++) {
		options = options_with(bells[i], true);
		options.ring_bytes = 4096;
		ends_open(&ends, &options, &options);
		for (k = 0; k < 4; k++) {
			bursts[k] = (struct bursts){.channel = k & 1 ? ends.server : ends.client,
				.n = rf_test_rounds(PING_PONG)};
			thread_start(
				&bursts[k].thread, k / 2 ? take_bursts : send_bursts, &bursts[k]);
		}
		for (k = 0, r = 0; k < 4; k++)
			r |= thread_join(&bursts[k].thread);
		assert_int_equal(r, 0);
		if (!has_stormed(ends.server) && !has_stormed(ends.client))
			assert_int_equal(rescues(ends.server) + rescues(ends.client), 0);
		ends_close(&ends);
	}
}

/* Where nobody kicks: a peer that did not look at our want, because it lied; or looked too early,
 * because our barrier failed. */

static int publish_without_kick(struct rf_channel *channel, uint64_t number)
{
	struct rf_tx *tx = rf_channel_tx(channel);
	struct rf_buffer buffer;
	int r = rf_tx_reserve(tx, sizeof(number), 0, &buffer);

	if (r < 0)
		return r;
	memcpy(buffer.data, &number, sizeof(number));
	r = rf_tx_commit(tx, &buffer);
	rf__ring_tx_publish(&tx->ring);
	tx->ring.at.kick_due = false;
	return r;
}

static void give_back_without_kick(struct rf_channel *channel)
{
	struct rf_rx *rx = rf_channel_rx(channel);
	struct rf_message message;

	while (rf__ring_rx_borrow(&rx->ring, &message, 1) == 1)
		release_id(&rx->ring, message.id);
	rx->ring.kick_due = false;
}

static int take_seven(void *arg)
{
	return take_numbers(rf_channel_rx(arg), 7, 1, rf_test_deadline(SOON_MS));
}

static int send_seven(void *arg)
{
	return send_number(rf_channel_tx(arg), 7, rf_test_deadline(SOON_MS));
}

/* How long it took until a thread that sleeps saw what nobody told it. */
static uint64_t time_to_rescue(uint32_t doorbell)
{
	uint64_t begun, took;
	struct thread taker;
	struct ends ends;

	open_ends(&ends, doorbell);
	thread_start(&taker, take_seven, ends.server);
	assert_true(wait_for_sleeps(ends.server, true, 1));
	begun = rf__now();
	assert_int_equal(publish_without_kick(ends.client, 7), 0);
	assert_int_equal(thread_join(&taker), 0);
	took = rf__now() - begun;
	assert_in_range(channel_stats(ends.server).rx.rescued, 0, 1);
	ends_close(&ends);
	return took;
}

static void d12_a_peer_that_kicks_nobody_costs_a_bounded_sleep(void **state)
{
	unsigned i;

	(void)state;
	for (i = 0; i < 2; i++)
		assert_in_range(time_to_rescue(bells[i]), 0, 2 * SEC);
}

static void d12_the_same_for_a_sender_without_room(void **state)
{
	struct thread sender;
	struct ends ends;

	(void)state;
	open_ends(&ends, RF_DOORBELL_EVENTFD);
	while (!send_number(rf_channel_tx(ends.server), 1, 0))
		;
	thread_start(&sender, send_seven, ends.server);
	assert_true(wait_for_sleeps(ends.server, false, 1));
	give_back_without_kick(ends.client);
	assert_int_equal(thread_join(&sender), 0);
	ends_close(&ends);
}

static void c15_a_barrier_that_fails_costs_ten_milliseconds(void **state)
{
	uint64_t number;
	struct ends ends;

	(void)state;
	open_ends(&ends, RF_DOORBELL_SOCKET);
	let_barriers(FAILS);
	assert_int_equal(take_number(rf_channel_rx(ends.server), rf_test_deadline(100), &number),
		-ETIMEDOUT);
	assert_in_range(channel_stats(ends.server).rx.sleeps, 2, 12);
	assert_int_equal(rescues(ends.server), 0);
	ends_close(&ends);
}

static int echo_all(void *arg)
{
	uint64_t number = 0;
	int r;

	while ((r = take_number(rf_channel_rx(arg), rf_test_deadline(SOON_MS), &number)) > 0) {
		r = send_number(rf_channel_tx(arg), number, rf_test_deadline(SOON_MS));
		if (r < 0)
			return r;
	}
	return r == -EPIPE ? 0 : r;
}

/* Whatever is lost is found again; how much is lost is up to the processors. */
static void check_ping_pong_while(unsigned what)
{
	struct thread echo;
	struct ends ends;
	int r;

	open_ends(&ends, RF_DOORBELL_EVENTFD);
	let_barriers(what);
	thread_start(&echo, echo_all, ends.client);
	r = ping_pong(ends.server, rf_test_rounds(10000));
	let_barriers(WORKS);
	rf_channel_stop(ends.server);
	rf_channel_stop(ends.client);
	assert_int_equal(thread_join(&echo), 0);
	assert_int_equal(r, 0);
	ends_close(&ends);
}

static void c15_ping_pong_goes_on_without_barriers(void **state)
{
	(void)state;
	check_ping_pong_while(FAILS);
}

static void d12_ping_pong_goes_on_with_barriers_that_do_nothing(void **state)
{
	(void)state;
	check_ping_pong_while(LIES);
}

/* How long a sleep may last */

static uint64_t armed_for(struct rf_channel *channel)
{
	uint64_t until = 0, now = rf__now();

	assert_int_equal(rf_channel_arm(channel, RF_DATA, 0, &until), 0);
	assert_true(until != RF_FOREVER && until > now);
	return until - now;
}

static void a_sleep_is_bounded_by_how_long_it_has_been_quiet(void **state)
{
	struct rf__bell *bell;
	struct ends ends;

	(void)state;
	open_ends(&ends, RF_DOORBELL_EVENTFD);
	bell = &ends.server->rx.half.bell;
	assert_in_range(armed_for(ends.server), 100 * MSEC, 150 * MSEC);
	bell->still_ns -= 400 * MSEC;
	assert_in_range(armed_for(ends.server), 400 * MSEC, 550 * MSEC);
	bell->still_ns -= 4 * SEC;
	assert_in_range(armed_for(ends.server), SEC, SEC + 50 * MSEC);
	assert_int_equal(send_number(rf_channel_tx(ends.client), 1, 0), 0);
	assert_int_equal(take_numbers(rf_channel_rx(ends.server), 1, 1, 0), 0);
	assert_in_range(armed_for(ends.server), 100 * MSEC, 150 * MSEC);
	let_barriers(FAILS);
	assert_in_range(armed_for(ends.server), 10 * MSEC, 60 * MSEC);
	ends_close(&ends);
}

static void an_idle_channel_hardly_ever_wakes(void **state)
{
	struct ends ends;
	uint64_t number;

	(void)state;
	open_ends(&ends, RF_DOORBELL_SOCKET);
	assert_int_equal(take_number(rf_channel_rx(ends.server), rf_test_deadline(900), &number),
		-ETIMEDOUT);
	assert_in_range(channel_stats(ends.server).rx.sleeps, 1, 6);
	ends_close(&ends);
}

/* An event loop of the caller's */

static void d12_the_callers_loop_looks_again_in_time(void **state)
{
	struct ends ends;
	uint64_t until;
	int fd;

	(void)state;
	open_ends(&ends, RF_DOORBELL_EVENTFD);
	fd = rf_channel_fd(ends.server);
	assert_int_equal(rf_channel_process(ends.server), 0);
	assert_int_equal(rf_channel_arm(ends.server, RF_DATA, 0, &until), 0);
	assert_int_equal(publish_without_kick(ends.client, 7), 0);
	assert_false(wait_readable(fd, 1 + (unsigned)((until - rf__now()) / MSEC)));
	assert_true(rf__now() >= until);
	assert_int_equal(rf_channel_process(ends.server), 0);
	assert_int_equal(take_numbers(rf_channel_rx(ends.server), 7, 1, 0), 0);
	assert_int_equal(channel_stats(ends.server).rx.rescued, 1);
	ends_close(&ends);
}

static void the_callers_loop_counts_no_rescue_when_it_was_kicked(void **state)
{
	struct ends ends;
	uint64_t until;
	int fd;

	(void)state;
	open_ends(&ends, RF_DOORBELL_SOCKET);
	fd = rf_channel_fd(ends.server);
	let_barriers(FAILS);
	assert_int_equal(rf_channel_arm(ends.server, RF_DATA, 0, &until), 0);
	assert_int_equal(send_number(rf_channel_tx(ends.client), 7, 0), 0);
	while (rf__now() < until)
		;
	assert_true(wait_readable(fd, SOON_MS));
	assert_int_equal(rf_channel_process(ends.server), 0);
	assert_int_equal(take_numbers(rf_channel_rx(ends.server), 7, 1, 0), 0);
	assert_int_equal(rescues(ends.server), 0);
	ends_close(&ends);
}

/* Publishers */

static void a_publisher_sleeps_no_longer_than_it_may(void **state)
{
	struct rf_options options = publisher_options(RF_DOORBELL_EVENTFD);
	struct rf_options wish = subscriber_options(RF_LAG_BLOCK, 4);
	struct rf_channel *subscriber;
	struct stage stage;
	uint64_t until, number;

	(void)state;
	need_barriers();
	options.flags = wish.flags = RF_OPTION_FENCE;
	stage_open(&stage, &options);
	subscriber = subscribe(&stage, &wish);
	assert_int_equal(channel_stats(subscriber).fence, 2);
	assert_int_equal(publish_numbers(&stage, 0, 4), 0);
	assert_int_equal(publish_numbers(&stage, 4, 1), -EAGAIN);
	assert_int_equal(rf_publisher_arm(stage.publisher, RF_SPACE, &until), 0);
	assert_true(until <= rf__now() + SEC);
	assert_int_equal(take_number(rf_channel_rx(subscriber), 0, &number), 1);
	assert_true(wait_readable(rf_publisher_fd(stage.publisher), SOON_MS));
	assert_int_equal(rf_publisher_process(stage.publisher), 0);
	assert_int_equal(publish_numbers(&stage, 4, 1), 0);
	stage_close(&stage);
}

static void a_publisher_passes_one_barrier_for_all_that_it_asks(void **state)
{
	struct rf_options options = publisher_options(RF_DOORBELL_EVENTFD);
	struct rf_options wish = subscriber_options(RF_LAG_LATEST, 2);
	struct stage stage;
	uint64_t until, number;
	unsigned before, i;

	(void)state;
	need_barriers();
	options.flags = wish.flags = RF_OPTION_FENCE;
	stage_open(&stage, &options);
	for (i = 0; i < 3; i++)
		subscribe(&stage, &wish);
	assert_int_equal(publish_numbers(&stage, 0, 4), 0);
	before = __atomic_load_n(&barriers, __ATOMIC_RELAXED);
	assert_int_equal(rf_publisher_arm(stage.publisher, 0, &until), 0);
	assert_int_equal(__atomic_load_n(&barriers, __ATOMIC_RELAXED), before + 1);
	for (i = 0; i < 3; i++) {
		struct rf_rx *rx = rf_channel_rx(stage.channels[i]);

		/* what is out of date is given back, and the newest comes for it */
		assert_int_equal(take_number(rx, 0, &number), -EAGAIN);
		assert_true(wait_readable(rf_publisher_fd(stage.publisher), SOON_MS));
		assert_int_equal(rf_publisher_process(stage.publisher), 0);
		assert_int_equal(take_number(rx, 0, &number), 1);
		assert_int_equal(number, 3);
		assert_int_equal(rf_publisher_arm(stage.publisher, 0, &until), 0);
	}
	stage_close(&stage);
}

static void a_publisher_and_its_subscribers_wake_each_other(void **state)
{
	struct rf_options options = publisher_options(RF_DOORBELL_SOCKET);
	struct rf_options wish = subscriber_options(RF_LAG_BLOCK, 4);
	unsigned i, n = rf_test_rounds(20000);
	struct taking taking[3];
	struct stage stage;
	int r = 0;

	(void)state;
	need_barriers();
	options.flags = wish.flags = RF_OPTION_FENCE;
	options.wait = wish.wait = RF_WAIT_SLEEP;
	stage_open(&stage, &options);
	for (i = 0; i < 3; i++) {
		subscribe(&stage, &wish);
		take_start(&taking[i], stage.channels[i], 0, n);
	}
	for (i = 0; i < n && !r; i++)
		r = send_number(stage.tx, i, rf_test_deadline(SOON_MS));
	assert_int_equal(r, 0);
	for (i = 0; i < 3; i++) {
		assert_int_equal(thread_join(&taking[i].thread), 0);
		assert_int_equal(rescues(stage.channels[i]), 0);
	}
	stage_close(&stage);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, leaks_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(both_ends_have_to_ask_for_it),
		TEST(without_it_in_the_kernel_nobody_offers_it),
		TEST(the_other_fence_makes_no_system_calls),
		TEST(who_publishes_makes_no_system_calls),
		TEST(no_publish_slips_through_while_arming),
		TEST(two_processes_wake_each_other),
		TEST(threads_of_both_halves_wake_each_other),
		TEST(d12_a_peer_that_kicks_nobody_costs_a_bounded_sleep),
		TEST(d12_the_same_for_a_sender_without_room),
		TEST(c15_a_barrier_that_fails_costs_ten_milliseconds),
		TEST(c15_ping_pong_goes_on_without_barriers),
		TEST(d12_ping_pong_goes_on_with_barriers_that_do_nothing),
		TEST(a_sleep_is_bounded_by_how_long_it_has_been_quiet),
		TEST(an_idle_channel_hardly_ever_wakes),
		TEST(d12_the_callers_loop_looks_again_in_time),
		TEST(the_callers_loop_counts_no_rescue_when_it_was_kicked),
		TEST(a_publisher_sleeps_no_longer_than_it_may),
		TEST(a_publisher_passes_one_barrier_for_all_that_it_asks),
		TEST(a_publisher_and_its_subscribers_wake_each_other),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
