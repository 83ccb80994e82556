/* SPDX-License-Identifier: MIT */
/* RF_OPTION_POPULATE, MLOCK and HUGE: what they do to the mappings of a channel, that closing
 * undoes it, and what happens where it cannot be done. */
#include "channel-fixture.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define LARGE_BYTES ((size_t)4 << 20)
#define PAGE        ((size_t)sysconf(_SC_PAGESIZE))

static struct rf_options options_with(uint32_t flags, size_t ring_bytes)
{
	struct rf_options options = channel_options(RF_DOORBELL_SOCKET, 0);

	options.flags = flags;
	options.ring_bytes = ring_bytes;
	return options;
}

/* A sum over the mappings of regions in smaps, in KiB. */
static size_t sum_kib(const char *key)
{
	FILE *smaps = fopen("/proc/self/smaps", "re");
	size_t len = strlen(key), sum = 0;
	bool region = false;
	char line[512];

	assert_non_null(smaps);
	while (fgets(line, sizeof(line), smaps)) {
		if (strchr("0123456789abcdef", line[0]) && strchr(line, '-'))
			region = strstr(line, "/memfd:ringfort") != NULL;
		else if (region && !strncmp(line, key, len))
			sum += strtoul(line + len, NULL, 10);
	}
	fclose(smaps);
	return sum;
}

/* So many KiB of rings, and what the honest channel of the fixture has touched of its own. */
static void assert_resident(size_t kib)
{
	assert_in_range(sum_kib("Rss:"), kib, kib + 10 * RING_BYTES / 1024);
}

static size_t locked_kib(void)
{
	FILE *status = fopen("/proc/self/status", "re");
	size_t locked = SIZE_MAX;
	char line[256];

	assert_non_null(status);
	while (fgets(line, sizeof(line), status))
		if (!strncmp(line, "VmLck:", 6))
			locked = strtoul(line + 6, NULL, 10);
	fclose(status);
	return locked;
}

static long minor_faults(void)
{
	struct rusage usage;

	assert_int_equal(getrusage(RUSAGE_THREAD, &usage), 0);
	return usage.ru_minflt;
}

/* Once around the ring, with records of which every page is written and read. */
static void fill_and_empty(struct ends *ends, size_t bytes)
{
	struct rf_message message;
	struct rf_buffer buffer;
	volatile const char *at;
	size_t len = PAGE - 8, passed, i;
	unsigned sum = 0;

	for (passed = 0; passed < 2 * bytes; passed += PAGE) {
		assert_int_equal(rf_tx_reserve(rf_channel_tx(ends->client), len, 0, &buffer), 0);
		memset(buffer.data, 1, len);
		assert_int_equal(rf_tx_commit(rf_channel_tx(ends->client), &buffer), 0);
		assert_int_equal(rf_tx_publish(rf_channel_tx(ends->client)), 0);
		assert_int_equal(rf_rx_borrow(rf_channel_rx(ends->server), 0, &message, 1), 1);
		for (at = message.data, i = 0; i < len; i += 64)
			sum += (unsigned)at[i];
		assert_int_equal(rf_rx_release(rf_channel_rx(ends->server), &message, 1), 0);
	}
	assert_int_not_equal(sum, 0);
}

static void assert_populated(uint32_t flags)
{
	struct rf_options options = options_with(flags, LARGE_BYTES);
	struct leaks before = leaks_begin();
	struct ends ends;
	long faults;

	ends_open(&ends, &options, &options);
	/* two rings at two ends: the area twice, and the page of words of both regions */
	assert_resident(2 * 2 * (2 * LARGE_BYTES + 2 * PAGE) / 1024);
	faults = minor_faults();
	fill_and_empty(&ends, LARGE_BYTES);
	faults = minor_faults() - faults;
	if (!rf_test_instrumented())
		assert_true(faults < 64);
	ends_close(&ends);
	assert_no_leaks(&before);
}

static void populate_maps_every_page_when_the_channel_opens(void **state)
{
	(void)state;
	assert_populated(RF_OPTION_POPULATE);
}

static void without_populate_pages_come_at_first_use(void **state)
{
	struct rf_options options = options_with(0, LARGE_BYTES);
	struct ends ends;

	(void)state;
	ends_open(&ends, &options, &options);
	assert_true(sum_kib("Rss:") < LARGE_BYTES / 1024);
	ends_close(&ends);
}

/* mlock */

/* Sanitizers make it do nothing. */
static void need_mlock(void)
{
	rf_test_need_root();
	rf_test_need("mlock", !rf_test_instrumented());
}

static void mlock_locks_each_page_once_and_close_unlocks_it(void **state)
{
	struct rf_options options = options_with(RF_OPTION_MLOCK, LARGE_BYTES);
	size_t locked = locked_kib();
	struct ends ends;

	(void)state;
	need_mlock();
	ends_open(&ends, &options, &options);
	assert_int_equal(locked_kib() - locked, 2 * 2 * (LARGE_BYTES + 2 * PAGE) / 1024);
	assert_resident(2 * 2 * (2 * LARGE_BYTES + 2 * PAGE) / 1024);
	ends_close(&ends);
	assert_int_equal(locked_kib(), locked);
}

static void one_end_may_lock_and_the_other_not(void **state)
{
	struct rf_options server = options_with(RF_OPTION_MLOCK, LARGE_BYTES);
	struct rf_options client = options_with(0, LARGE_BYTES);
	size_t locked = locked_kib();
	struct ends ends;

	(void)state;
	need_mlock();
	ends_open(&ends, &server, &client);
	assert_int_equal(locked_kib() - locked, 2 * (LARGE_BYTES + 2 * PAGE) / 1024);
	ends_close(&ends);
	assert_int_equal(locked_kib(), locked);
}

/* A plain user with a limit: the end that cannot lock fails with a sentence, and tells the
 * other. */

struct limited {
	char path[96];
	rlim_t bytes;
	uint32_t flags;
};

static int connect_limited(void *arg)
{
	struct limited *limited = arg;
	const struct rlimit limit = {limited->bytes, limited->bytes};
	struct rf_options options = options_with(limited->flags, RING_BYTES);
	struct rf_channel *channel;
	const uid_t root = 0;
	int r;

	options.uids = &root;
	options.n_uids = 1;
	if (setrlimit(RLIMIT_MEMLOCK, &limit))
		return 200;
	r = rf_connect(limited->path, &options, rf_test_deadline(SOON_MS), &channel);
	if (r == 0)
		rf_channel_close(channel);
	if (r < 0 && !strstr(rf_reason(), "RLIMIT_MEMLOCK is"))
		return 201;
	return rf_test_count_memfd_mappings() ? 202 : -r;
}

/* What the limited client says. */
static int meet_limited(rlim_t bytes, uint32_t flags, bool opens)
{
	const uid_t uids[] = {RF_TEST_UID};
	struct rf_options options = options_with(0, RING_BYTES);
	struct rf_listener_stats stats = {.size = sizeof(stats)};
	struct limited limited = {.bytes = bytes, .flags = flags};
	uint64_t until = rf_test_deadline(SOON_MS);
	struct rf_channel *channel = NULL;
	struct rf_listener *listener;
	pid_t pid;
	int r;

	snprintf(limited.path, sizeof(limited.path), "%s", fresh_path());
	options.uids = uids;
	options.n_uids = 1;
	listener = listen_at(limited.path, &options);
	pid = rf_test_child(connect_limited, &limited, RF_TEST_UID, RF_TEST_UID);
	do {
		r = rf_accept(listener, rf_test_deadline(WHILE_MS), &channel);
		rf_listener_stats(listener, &stats);
	} while (r == -ETIMEDOUT && !stats.failed && !stats.refused && rf_test_deadline(0) < until);
	if (!opens)
		assert_has(rf_listener_reason(listener), "RLIMIT_MEMLOCK is");
	rf_channel_close(channel);
	rf_listener_close(listener);
	return rf_test_wait(pid, SOON_MS);
}

static void what_may_not_be_locked_is_refused_with_the_limit(void **state)
{
	(void)state;
	need_mlock();
	assert_int_equal(meet_limited(0, RF_OPTION_MLOCK, false), EPERM);
	assert_int_equal(meet_limited(2 * RING_BYTES, RF_OPTION_MLOCK, false), ENOMEM);
	assert_int_equal(meet_limited(2 * (RING_BYTES + 2 * PAGE), RF_OPTION_MLOCK, true), 0);
	assert_int_equal(meet_limited(0, RF_OPTION_POPULATE | RF_OPTION_HUGE, true), 0);
}

static int listen_limited(void *arg)
{
	const struct limited *limited = arg;
	const struct rlimit limit = {limited->bytes, limited->bytes};
	struct rf_options options = options_with(RF_OPTION_MLOCK, RING_BYTES);
	struct rf_listener_stats stats = {.size = sizeof(stats)};
	uint64_t until = rf_test_deadline(SOON_MS);
	struct rf_listener *listener;
	struct rf_channel *channel;
	const uid_t root = 0;

	options.uids = &root;
	options.n_uids = 1;
	if (setrlimit(RLIMIT_MEMLOCK, &limit) || rf_listen(limited->path, &options, &listener))
		return 1;
	do {
		if (rf_accept(listener, rf_test_deadline(WHILE_MS), &channel) != -ETIMEDOUT)
			return 2;
		rf_listener_stats(listener, &stats);
	} while (!stats.failed && !stats.refused && rf_test_deadline(0) < until);
	rf_listener_close(listener);
	return rf_test_count_memfd_mappings() ? 3 : 0;
}

/* What the client sees of it. */
static void assert_server_refuses(rlim_t bytes)
{
	const uid_t uids[] = {RF_TEST_UID};
	struct rf_options options = options_with(0, RING_BYTES);
	struct limited limited = {.bytes = bytes};
	struct leaks before = leaks_begin();
	struct rf_channel *channel = NULL;
	pid_t pid;

	options.uids = uids;
	options.n_uids = 1;
	snprintf(limited.path, sizeof(limited.path), "%s", fresh_path());
	pid = rf_test_child(listen_limited, &limited, RF_TEST_UID, RF_TEST_UID);
	assert_true(rf_connect(limited.path, &options, rf_test_deadline(SOON_MS), &channel) < 0);
	assert_has(rf_reason(), "RLIMIT_MEMLOCK is");
	assert_null(channel);
	assert_int_equal(rf_test_wait(pid, SOON_MS), 0);
	assert_no_leaks(&before);
}

/* Its own regions before WELCOME, the client's after MAPPED. */
static void a_server_that_may_not_lock_tells_its_client(void **state)
{
	(void)state;
	need_mlock();
	assert_server_refuses(RING_BYTES);
	assert_server_refuses(RING_BYTES + 4 * PAGE);
}

/* Huge pages */

static void huge_gathers_what_each_end_writes(void **state)
{
	struct rf_options options = options_with(RF_OPTION_HUGE | RF_OPTION_POPULATE, LARGE_BYTES);
	struct leaks before = leaks_begin();
	struct ends ends;
	size_t huge;

	(void)state;
	ends_open(&ends, &options, &options);
	huge = sum_kib("ShmemPmdMapped:");
	rf_test_need("collapse", rf_test_kernel(6, 1) && (huge || rf_test_instrumented()));
	if (huge) /* two rings at two ends; of the second half all but 2 MiB */
		assert_int_equal(huge, 2 * 2 * (2 * LARGE_BYTES - ((size_t)2 << 20)) / 1024);
	fill_and_empty(&ends, LARGE_BYTES);
	ends_close(&ends);
	assert_no_leaks(&before);
}

static void without_huge_pages_are_small(void **state)
{
	struct rf_options options = options_with(RF_OPTION_POPULATE, LARGE_BYTES);
	struct ends ends;

	(void)state;
	ends_open(&ends, &options, &options);
	assert_int_equal(sum_kib("ShmemPmdMapped:"), 0);
	ends_close(&ends);
}

static void a_ring_below_a_huge_page_has_small_ones(void **state)
{
	struct rf_options options = options_with(RF_OPTION_HUGE | RF_OPTION_POPULATE, RING_BYTES);
	struct ends ends;

	(void)state;
	ends_open(&ends, &options, &options);
	assert_int_equal(sum_kib("ShmemPmdMapped:"), 0);
	fill_and_empty(&ends, RING_BYTES);
	ends_close(&ends);
}

/* For both kinds of ends: the one that sends, which is where what is written is large. */
static void everything_together_works_over_a_path(void **state)
{
	uint32_t flags = RF_OPTION_HUGE | RF_OPTION_POPULATE;
	struct rf_options options = options_with(flags, LARGE_BYTES);
	struct leaks before = leaks_begin();
	struct ends ends;

	(void)state;
	if (geteuid() == 0)
		options.flags |= RF_OPTION_MLOCK;
	ends_open_path(&ends, &options, &options);
	fill_and_empty(&ends, LARGE_BYTES);
	ends_close(&ends);
	assert_no_leaks(&before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(populate_maps_every_page_when_the_channel_opens),
		cmocka_unit_test(without_populate_pages_come_at_first_use),
		cmocka_unit_test(mlock_locks_each_page_once_and_close_unlocks_it),
		cmocka_unit_test(one_end_may_lock_and_the_other_not),
		cmocka_unit_test(what_may_not_be_locked_is_refused_with_the_limit),
		cmocka_unit_test(a_server_that_may_not_lock_tells_its_client),
		cmocka_unit_test(huge_gathers_what_each_end_writes),
		cmocka_unit_test(without_huge_pages_are_small),
		cmocka_unit_test(a_ring_below_a_huge_page_has_small_ones),
		cmocka_unit_test(everything_together_works_over_a_path),
	};

	rf_test_limit(50);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
