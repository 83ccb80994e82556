/* SPDX-License-Identifier: MIT */
/* Kernels and sandboxes that lack something: a channel opens and works without each of them, and
 * without all. The hooks of the test build say what is missing; epoll_pwait2(2) is interposed. */
#include "channel-fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef F_SEAL_EXEC
#define F_SEAL_EXEC 0x0020
#endif

#define LARGE_BYTES ((size_t)4 << 20)
#define EVERYTHING                                                                                 \
	"passrights,peerpidfd,noexec_seal,proc,pidfd,populate,collapse,membarrier,"                \
	"epoll_pwait2"

static unsigned refused_waits;

static bool lacks(const char *feature)
{
	const char *list = getenv("RF_TEST_WITHOUT_KERNEL");

	return list && strstr(list, feature);
}

int epoll_pwait2(int epoll, struct epoll_event *events, int most, const struct timespec *timeout,
	const sigset_t *mask)
{
	if (!lacks("epoll_pwait2"))
		return (int)syscall(SYS_epoll_pwait2, epoll, events, most, timeout, mask, 8);
	__atomic_fetch_add(&refused_waits, 1, __ATOMIC_RELAXED);
	errno = ENOSYS;
	return -1;
}

static int with_everything(void **state)
{
	(void)state;
	unsetenv("RF_TEST_WITHOUT_KERNEL");
	return 0;
}

static void without(const char *features)
{
	setenv("RF_TEST_WITHOUT_KERNEL", features, 1);
}

/* Sends when the sender is asleep: it has to be woken. */
static int take_late(void *arg)
{
	uint64_t number = 0;
	int r = take_number(arg, rf_test_deadline(SOON_MS), &number);

	return r == 1 && number == 7 ? 0 : -EIO;
}

static void assert_works(struct rf_channel *from, struct rf_channel *to)
{
	struct thread thread;
	uint64_t i;

	for (i = 0; i < 1000; i++)
		assert_int_equal(send_number(rf_channel_tx(from), i, rf_test_deadline(SOON_MS)), 0);
	assert_int_equal(take_numbers(rf_channel_rx(to), 0, 1000, rf_test_deadline(SOON_MS)), 0);
	thread_start(&thread, take_late, rf_channel_rx(to));
	assert_true(wait_for_sleeps(to, true, 1));
	assert_int_equal(send_number(rf_channel_tx(from), 7, rf_test_deadline(SOON_MS)), 0);
	assert_int_equal(thread_join(&thread), 0);
}

static void assert_deadlines_hold(struct rf_channel *channel)
{
	uint64_t number, until = rf_test_deadline(WHILE_MS);

	assert_int_equal(take_number(rf_channel_rx(channel), until, &number), -ETIMEDOUT);
	assert_true(rf_test_deadline(0) >= until);
}

/* Opens, works both ways, keeps deadlines, ends; nothing stays. What it was like is looked at in
 * between. */
static void assert_channel_works(const struct rf_options *options, void (*look)(struct ends *))
{
	struct leaks before = leaks_begin();
	uint64_t number;
	struct ends ends;

	ends_open_path(&ends, options, options);
	assert_works(ends.client, ends.server);
	assert_works(ends.server, ends.client);
	assert_deadlines_hold(ends.server);
	if (look)
		look(&ends);
	assert_int_equal(rf_tx_end(rf_channel_tx(ends.client)), 0);
	assert_int_equal(
		take_number(rf_channel_rx(ends.server), rf_test_deadline(SOON_MS), &number), 0);
	rf_channel_close(ends.client);
	assert_int_equal(rf_channel_process(ends.server), -EPIPE);
	rf_channel_close(ends.server);
	assert_no_leaks(&before);
}

static struct rf_options all_flags(void)
{
	struct rf_options options = channel_options(RF_DOORBELL_AUTO, RF_WAIT_SLEEP);

	options.flags = RF_OPTION_POPULATE | RF_OPTION_HUGE | RF_OPTION_FENCE;
	options.ring_bytes = LARGE_BYTES;
	return options;
}

static uint32_t peer_flags(struct rf_channel *channel)
{
	struct rf_peer peer = {.size = sizeof(peer)};

	assert_int_equal(rf_channel_peer(channel, &peer), 0);
	return peer.flags;
}

static void try_without(const char *features, void (*look)(struct ends *))
{
	struct rf_options options = all_flags();

	without(features);
	assert_channel_works(&options, look);
}

static void has_eventfds(struct ends *ends)
{
	assert_int_equal(channel_stats(ends->server).doorbell, RF_DOORBELL_EVENTFD);
	assert_int_equal(peer_flags(ends->server), RF_PEER_PIDFD | RF_PEER_SAME);
}

static void nothing_missing_is_where_all_begins(void **state)
{
	(void)state;
	try_without("", has_eventfds);
}

static void without_passrights_a_channel_works(void **state)
{
	(void)state;
	try_without("passrights", has_eventfds);
}

/* Then memfds are executable, and not sealed against it: both are fine with the peer. */
static void without_noexec_seal_regions_are_plain(void **state)
{
	struct rf__region region = RF__REGION_INIT;
	struct stat st;

	(void)state;
	try_without("noexec_seal", has_eventfds);
	assert_int_equal(rf__region_create(&region, "plain", RF__RING_SHAPE, 0, NULL), 0);
	assert_int_equal(fstat(region.fd, &st), 0);
	assert_int_equal(fcntl(region.fd, F_GET_SEALS) & F_SEAL_EXEC, 0);
	assert_int_not_equal(st.st_mode & 0111, 0);
	rf__region_close(&region);
}

static void without_peerpidfd_the_pid_of_the_credentials_is_opened(void **state)
{
	(void)state;
	try_without("peerpidfd", has_eventfds);
}

static void knows_a_hang_up_only(struct ends *ends)
{
	assert_int_equal(channel_stats(ends->server).doorbell, RF_DOORBELL_SOCKET);
	assert_int_equal(peer_flags(ends->server), 0);
	assert_int_equal(peer_flags(ends->client), 0);
}

static void without_any_pidfd_a_hang_up_is_the_end(void **state)
{
	(void)state;
	try_without("peerpidfd,pidfd", knows_a_hang_up_only);
}

static void has_the_socket(struct ends *ends)
{
	assert_int_equal(channel_stats(ends->server).doorbell, RF_DOORBELL_SOCKET);
	assert_int_equal(channel_stats(ends->client).doorbell, RF_DOORBELL_SOCKET);
}

static void without_proc_nobody_is_the_same_and_the_socket_rings(void **state)
{
	(void)state;
	try_without("proc", has_the_socket);
	try_without("proc,peerpidfd", has_the_socket);
}

/* Eventfds that cannot be looked at are not asked for, even by one who trusts the peer. */
static void without_proc_eventfds_are_not_taken(void **state)
{
	struct rf_options options = channel_options(RF_DOORBELL_EVENTFD, RF_WAIT_SLEEP);

	(void)state;
	without("proc");
	assert_channel_works(&options, has_the_socket);
}

/* A duplicate has the access of our own, so the mode and the access do not restrict the peer: the
 * seals do. */
static void without_proc_a_lent_region_is_sealed_all_the_same(void **state)
{
	struct rf__region region = RF__REGION_INIT, lent = RF__REGION_INIT;
	int fd;

	(void)state;
	without("proc");
	assert_int_equal(rf__region_create(&region, "sealed", RF__RING_SHAPE, 0, NULL), 0);
	assert_int_equal(rf__region_allocate(&region, UINT64_MAX, NULL), 0);
	assert_int_equal(rf__region_map(&region, RF__READ_WRITE, NULL), 0);
	assert_int_equal(rf__region_seal(&region, RF__SEALS_FINAL, NULL), 0);
	lent.fd = fd = rf__region_lend(&region, RF__READ_ONLY, NULL);
	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDWR);
	assert_ptr_equal(
		mmap(NULL, (size_t)rf__page_bytes(), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0),
		MAP_FAILED);
	assert_int_equal(errno, EPERM);
	assert_int_equal(rf__region_verify(&lent, RF__SEALS_FINAL, NULL), 0);
	close(fd);
	rf__region_unmap(&region);
	rf__region_close(&region);
}

static size_t resident_kib(void)
{
	FILE *smaps = fopen("/proc/self/smaps", "re");
	bool region = false;
	char line[512];
	size_t sum = 0;

	assert_non_null(smaps);
	while (fgets(line, sizeof(line), smaps)) {
		if (strchr("0123456789abcdef", line[0]) && strchr(line, '-'))
			region = strstr(line, "/memfd:ringfort") != NULL;
		else if (region && !strncmp(line, "Rss:", 4))
			sum += strtoul(line + 4, NULL, 10);
	}
	fclose(smaps);
	return sum;
}

static void is_populated(struct ends *ends)
{
	size_t kib = 2 * 2 * (2 * LARGE_BYTES + 2 * (size_t)rf__page_bytes()) / 1024;

	(void)ends;
	/* and what the honest channel of the fixture has touched of its own */
	assert_in_range(resident_kib(), kib, kib + 10 * RING_BYTES / 1024);
}

static void without_madv_populate_pages_are_touched(void **state)
{
	(void)state;
	try_without("populate", is_populated);
	try_without("populate,collapse", is_populated);
}

static void without_madv_collapse_pages_stay_small(void **state)
{
	(void)state;
	try_without("collapse", is_populated);
}

static void without_epoll_pwait2_waits_round_up(void **state)
{
	(void)state;
	refused_waits = 0;
	try_without("epoll_pwait2", has_eventfds);
	assert_true(refused_waits > 0);
}

static void without_all_of_it_a_channel_works(void **state)
{
	(void)state;
	try_without(EVERYTHING, knows_a_hang_up_only);
}

/* The ends need not lack the same: what is missing is looked up at each call, so the client may
 * begin where it is. */
static void one_end_without_all_works_with_one_that_has_it(void **state)
{
	char address[96], program[256];
	char *const argv[] = {program, address, "echo", NULL};
	struct rf_options options = channel_options(RF_DOORBELL_AUTO, RF_WAIT_SLEEP);
	struct rf_listener *listener;
	struct rf_channel *channel;
	uint64_t number;
	pid_t pid;

	(void)state;
	without(EVERYTHING);
	snprintf(program, sizeof(program), "%s", rf_test_built("tests/peer"));
	snprintf(address, sizeof(address), "%s", fresh_path());
	listener = listen_at(address, &options);
	pid = rf_test_spawn(argv, 0, 0); /* built without the hooks */
	channel = accept_one(listener);
	has_the_socket(&(struct ends){channel, channel});
	assert_int_equal(send_number(rf_channel_tx(channel), 5, rf_test_deadline(SOON_MS)), 0);
	assert_int_equal(rf_tx_end(rf_channel_tx(channel)), 0);
	assert_int_equal(
		take_number(rf_channel_rx(channel), rf_test_deadline(SOON_MS), &number), 1);
	assert_int_equal(number, 5);
	assert_int_equal(rf_test_wait(pid, SOON_MS), 0);
	rf_channel_close(channel);
	rf_listener_close(listener);
}

#define fact(name) cmocka_unit_test_teardown(name, with_everything)

int main(void)
{
	const struct CMUnitTest tests[] = {
		fact(nothing_missing_is_where_all_begins),
		fact(without_passrights_a_channel_works),
		fact(without_noexec_seal_regions_are_plain),
		fact(without_peerpidfd_the_pid_of_the_credentials_is_opened),
		fact(without_any_pidfd_a_hang_up_is_the_end),
		fact(without_proc_nobody_is_the_same_and_the_socket_rings),
		fact(without_proc_eventfds_are_not_taken),
		fact(without_proc_a_lent_region_is_sealed_all_the_same),
		fact(without_madv_populate_pages_are_touched),
		fact(without_madv_collapse_pages_stay_small),
		fact(without_epoll_pwait2_waits_round_up),
		fact(without_all_of_it_a_channel_works),
		fact(one_end_without_all_works_with_one_that_has_it),
	};

	rf_test_limit(50);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
