/* SPDX-License-Identifier: MIT */
/* How long halves spin, and when they pause first: what is learnt from the waits before. */
#include "channel-fixture.h"

#include "util/clock.h"

#define USEC UINT64_C(1000)

static struct ends ends;
static struct rf__bell *bell;

static int setup(void **state)
{
	struct rf_options options = channel_options(RF_DOORBELL_AUTO, RF_WAIT_ADAPTIVE);

	(void)state;
	ends_open(&ends, &options, &options);
	bell = &ends.server->rx.half.bell;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	ends_close(&ends);
	return 0;
}

/* A wait that was over after took_ns. */
static void learn(uint64_t took_ns, bool slept)
{
	struct rf__wait wait = {.begun_ns = rf__now() - took_ns, .looks = 1000, .slept = slept};

	rf__bell_learn(bell, &wait, false);
}

static bool spins_after(uint64_t waited_ns)
{
	uint64_t now = rf__now();
	struct rf__wait wait = {.begun_ns = now - waited_ns, .looks = 1};

	return rf__bell_spin(bell, &wait, now);
}

static void learn_a_rhythm(void)
{
	for (unsigned i = 0; i < 40; i++)
		learn(900 * USEC, i < 4);
	assert_true(spins_after(800 * USEC));
}

static void a_new_channel_spins_for_a_short_time(void **state)
{
	(void)state;
	assert_true(spins_after(20 * USEC));
	assert_false(spins_after(60 * USEC));
}

static void a_slow_rhythm_is_waited_for_awake(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 3; i++)
		learn(900 * USEC, true);
	assert_false(spins_after(60 * USEC));
	learn(900 * USEC, true);
	assert_true(spins_after(60 * USEC));
	assert_true(spins_after(900 * USEC));
	assert_false(spins_after(1001 * USEC));
}

static void one_short_wait_is_no_rhythm(void **state)
{
	(void)state;
	learn_a_rhythm();
	learn(20 * USEC, false);
	assert_false(spins_after(60 * USEC));
}

static void one_long_wait_is_no_rhythm(void **state)
{
	(void)state;
	learn_a_rhythm();
	learn(1300 * USEC, true);
	assert_false(spins_after(60 * USEC));
}

static void long_spins_in_vain_end(void **state)
{
	(void)state;
	learn_a_rhythm();
	learn(1100 * USEC, true);
	learn(1100 * USEC, true);
	assert_true(spins_after(60 * USEC));
	learn(1100 * USEC, true);
	assert_false(spins_after(60 * USEC));
}

static unsigned waits_until_a_long_spin(void)
{
	unsigned n = 0;

	while (!spins_after(60 * USEC)) {
		learn(200 * USEC, true);
		n++;
	}
	return n;
}

/* A sender on the processor that its receiver spins on gets nowhere meanwhile, and with the next wait all
 * seems well again. */
static void long_spins_in_vain_become_rare(void **state)
{
	unsigned n, last = waits_until_a_long_spin();

	(void)state;
	while (last < 1000) {
		learn(1200 * USEC, true);
		n = waits_until_a_long_spin();
		assert_in_range(n, last + 1, 4 * last);
		last = n;
	}
	learn(900 * USEC, false);
	learn(1300 * USEC, true);
	assert_in_range(waits_until_a_long_spin(), 1, 12);
}

static void who_loses_the_processor_spins_no_more(void **state)
{
	uint64_t now = rf__now();
	struct rf__wait wait = {
		.begun_ns = now - 200 * USEC, .looks = 9, .looked_ns = now - 100 * USEC};

	(void)state;
	learn_a_rhythm();
	assert_false(rf__bell_spin(bell, &wait, now));
	rf__bell_learn(bell, &wait, false);
	assert_false(spins_after(60 * USEC));
}

static void short_spins_follow_the_waits(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 10; i++)
		learn(5000 * USEC, true);
	assert_false(spins_after(3 * USEC));
	learn(10 * USEC, false);
	assert_true(spins_after(15 * USEC));
	assert_false(spins_after(25 * USEC));
}

/* Pauses */

/* Does a wait begin with one? If so, it finds several messages, or not. */
static bool pauses_first(bool several)
{
	struct rf__wait wait = {.begun_ns = rf__now()};

	rf__bell_spin(bell, &wait, wait.begun_ns);
	rf__bell_learn(bell, &wait, several);
	return wait.paused;
}

static unsigned waits_until_a_pause(bool several)
{
	unsigned n = 0;

	while (!pauses_first(several))
		n++;
	return n;
}

static void pauses_go_on_while_they_find_several(void **state)
{
	(void)state;
	waits_until_a_pause(true);
	for (unsigned i = 0; i < 100; i++)
		assert_true(pauses_first(true));
	assert_true(pauses_first(false));
	assert_false(pauses_first(true));
}

static void pauses_for_nothing_become_rare(void **state)
{
	unsigned most = 0, n = 0;

	(void)state;
	waits_until_a_pause(false);
	for (unsigned expected = 16; expected <= 4096; expected *= 2)
		assert_int_equal(waits_until_a_pause(false), expected);
	for (unsigned i = 0; i < 3; i++) {
		n = waits_until_a_pause(false);
		most = n > most ? n : most;
	}
	assert_int_equal(most, 4096);
	waits_until_a_pause(true);
	assert_true(pauses_first(false));
	assert_int_equal(waits_until_a_pause(false), 32);
}

static void a_sender_never_pauses_first(void **state)
{
	struct rf__wait wait = {.begun_ns = rf__now()};

	(void)state;
	rf__bell_spin(&ends.client->tx.half.bell, &wait, wait.begun_ns);
	assert_false(wait.paused);
}

/* All of it */

static uint64_t cpu_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (uint64_t)now.tv_sec * RF__SEC + (uint64_t)now.tv_nsec;
}

static void an_idle_channel_sleeps_and_costs_nothing(void **state)
{
	uint64_t number, before;

	(void)state;
	learn_a_rhythm();
	before = cpu_ns();
	assert_int_equal(take_number(rf_channel_rx(ends.server), rf_test_deadline(300), &number),
		-ETIMEDOUT);
	assert_true(cpu_ns() - before < 100 * RF__MSEC);
	assert_in_range(channel_stats(ends.server).rx.sleeps, 1, 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_new_channel_spins_for_a_short_time),
		TEST(a_slow_rhythm_is_waited_for_awake),
		TEST(one_short_wait_is_no_rhythm),
		TEST(one_long_wait_is_no_rhythm),
		TEST(long_spins_in_vain_end),
		TEST(long_spins_in_vain_become_rare),
		TEST(who_loses_the_processor_spins_no_more),
		TEST(short_spins_follow_the_waits),
		TEST(pauses_go_on_while_they_find_several),
		TEST(pauses_for_nothing_become_rare),
		TEST(a_sender_never_pauses_first),
		TEST(an_idle_channel_sleeps_and_costs_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
