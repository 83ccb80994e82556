/* SPDX-License-Identifier: MIT */
/* What a channel costs in descriptors and mappings, counted over many of one ring: before anything was sent, and
 * when every half has slept and every channel is watched. And how one is woken that has no descriptor for it. */
#include "channel-fixture.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define CHANNELS 64

/* On each side. */
#define MOST_DESCRIPTORS 4
#define MOST_MAPPINGS    3

static struct ends all[CHANNELS];

/* Epolls are made when they are needed; regions are kept open by the side that listened, to account for
 * their memory (threats M10). */
struct descriptors {
	size_t epolls, regions, others;
};

static struct descriptors count(void)
{
	struct descriptors n = {0};
	DIR *dir = opendir("/proc/self/fd");
	const struct dirent *entry;
	char target[PATH_MAX];
	ssize_t len;

	assert_non_null(dir);
	while ((entry = readdir(dir))) {
		len = readlinkat(dirfd(dir), entry->d_name, target, sizeof(target) - 1);
		target[len < 0 ? 0 : len] = '\0';
		if (!strcmp(target, "anon_inode:[eventpoll]"))
			n.epolls++;
		else if (!strncmp(target, "/memfd:", strlen("/memfd:")))
			n.regions++;
		else if (len > 0)
			n.others++;
	}
	closedir(dir);
	return n;
}

static void assert_has_more(
	const struct descriptors *before, size_t epolls, size_t regions, size_t others)
{
	struct descriptors now = count();

	assert_int_equal(now.epolls - before->epolls, epolls);
	assert_int_equal(now.regions - before->regions, regions);
	assert_int_equal(now.others - before->others, others);
}

/* The client receives. */
static void open_all(uint32_t doorbell)
{
	struct rf_options options = channel_options(doorbell, RF_WAIT_SLEEP), server;

	options.ring_bytes = 4096;
	server = options;
	options.direction = RF_RECEIVE;
	for (unsigned i = 0; i < CHANNELS; i++)
		ends_open_path(&all[i], &server, &options);
}

static void watch(struct rf_channel *channel)
{
	assert_true(rf_channel_fd(channel) >= 0);
}

/* Each half blocks for a moment. */
static void use_all(void)
{
	uint64_t number;
	int r;

	for (unsigned i = 0; i < CHANNELS; i++) {
		assert_int_equal(
			take_number(rf_channel_rx(all[i].client), rf_test_deadline(1), &number),
			-ETIMEDOUT);
		do
			r = send_number(rf_channel_tx(all[i].server), 1, rf_test_deadline(1));
		while (!r);
		assert_int_equal(r, -ETIMEDOUT);
		assert_int_equal(take_number(rf_channel_rx(all[i].client), 0, &number), 1);
		watch(all[i].client);
		watch(all[i].server);
	}
}

static void check_budgets(uint32_t doorbell, size_t each)
{
	size_t mappings = rf_test_count_memfd_mappings();
	struct descriptors before = count();

	open_all(doorbell);
	assert_true(each <= MOST_DESCRIPTORS);
	assert_has_more(&before, 0, 2 * CHANNELS, 2 * each * CHANNELS);
	assert_int_equal(rf_test_count_memfd_mappings() - mappings, 2 * MOST_MAPPINGS * CHANNELS);
	use_all();
	assert_has_more(&before, 4 * CHANNELS, 2 * CHANNELS, 2 * each * CHANNELS);
	assert_int_equal(rf_test_count_memfd_mappings() - mappings, 2 * MOST_MAPPINGS * CHANNELS);
	for (unsigned i = 0; i < CHANNELS; i++)
		rf_channel_close(all[i].client);
	assert_has_more(&before, 2 * CHANNELS, 2 * CHANNELS, each * CHANNELS);
	assert_int_equal(rf_test_count_memfd_mappings() - mappings, MOST_MAPPINGS * CHANNELS);
	for (unsigned i = 0; i < CHANNELS; i++)
		rf_channel_close(all[i].server);
	assert_has_more(&before, 0, 0, 0);
}

/* The socket, the pidfd, and two bells. */
static void with_eventfds_a_channel_has_four_descriptors_and_three_mappings(void **state)
{
	(void)state;
	check_budgets(RF_DOORBELL_AUTO, 4);
	check_budgets(RF_DOORBELL_EVENTFD, 4);
}

/* The socket, the pidfd, and what a thread of ours wakes the other with. */
static void with_sockets_a_channel_has_three_descriptors_and_three_mappings(void **state)
{
	(void)state;
	check_budgets(RF_DOORBELL_SOCKET, 3);
}

/* Waking without a descriptor of its own */

static int wait_for_record(void *arg)
{
	uint64_t number;

	return take_number(rf_channel_rx(arg), RF_FOREVER, &number);
}

static void open_eventfd(struct ends *ends)
{
	struct rf_options options = channel_options(RF_DOORBELL_EVENTFD, RF_WAIT_SLEEP);

	ends_open(ends, &options, &options);
}

/* A peer that reads the bell takes the wake-ups out of it that others make. */
static void take_wakeups_away(struct rf_channel *peer)
{
	eventfd_t count;

	assert_int_equal(eventfd_read(peer->tx.half.bell.peer, &count), 0);
	assert_int_equal(eventfd_read(peer->rx.half.bell.peer, &count), 0);
}

static void d4_stop_does_not_depend_on_the_bell(void **state)
{
	struct thread thread;
	struct ends ends;

	(void)state;
	open_eventfd(&ends);
	thread_start(&thread, wait_for_record, ends.client);
	assert_true(wait_for_sleeps(ends.client, true, 1));
	take_wakeups_away(ends.server);
	rf_channel_stop(ends.client);
	assert_int_equal(thread_join(&thread), -EPIPE);
	ends_close(&ends);
}

static bool forbidden;

int __real_epoll_ctl(int epoll, int op, int fd, struct epoll_event *event);
int __wrap_epoll_ctl(int epoll, int op, int fd, struct epoll_event *event);

/* The linker sends all calls here (--wrap). */
int __wrap_epoll_ctl(int epoll, int op, int fd, struct epoll_event *event)
{
	if (!__atomic_load_n(&forbidden, __ATOMIC_RELAXED))
		return __real_epoll_ctl(epoll, op, fd, event);
	errno = EPERM;
	return -1;
}

static void c15_stop_wakes_where_a_sandbox_forbids_epoll_ctl(void **state)
{
	struct thread thread;
	struct ends ends;

	(void)state;
	open_eventfd(&ends);
	thread_start(&thread, wait_for_record, ends.client);
	assert_true(wait_for_sleeps(ends.client, true, 1));
	__atomic_store_n(&forbidden, true, __ATOMIC_RELAXED);
	rf_channel_stop(ends.client);
	assert_int_equal(thread_join(&thread), -EPIPE);
	__atomic_store_n(&forbidden, false, __ATOMIC_RELAXED);
	ends_close(&ends);
}

static void stop_is_told_once_by_the_descriptor_of_a_loop(void **state)
{
	struct ends ends;
	uint64_t until;
	int fd;

	(void)state;
	open_eventfd(&ends);
	fd = rf_channel_fd(ends.client);
	assert_int_equal(rf_channel_process(ends.client), 0);
	assert_int_equal(rf_channel_arm(ends.client, RF_DATA, 0, &until), 0);
	assert_false(wait_readable(fd, 0));
	take_wakeups_away(ends.server);
	rf_channel_stop(ends.client);
	assert_true(wait_readable(fd, SOON_MS));
	assert_int_equal(rf_channel_process(ends.client), -EPIPE);
	assert_false(wait_readable(fd, 0));
	assert_int_equal(send_number(rf_channel_tx(ends.client), 1, 0), 0);
	assert_int_equal(rf_tx_end(rf_channel_tx(ends.client)), 0);
	assert_int_equal(take_numbers(rf_channel_rx(ends.server), 1, 1, 0), 0);
	ends_close(&ends);
}

static void stop_is_told_by_a_descriptor_that_is_made_afterwards(void **state)
{
	struct ends ends;
	uint64_t until;

	(void)state;
	open_eventfd(&ends);
	assert_int_equal(rf_channel_arm(ends.client, RF_DATA, 0, &until), 0);
	take_wakeups_away(ends.server);
	rf_channel_stop(ends.client);
	assert_true(wait_readable(rf_channel_fd(ends.client), SOON_MS));
	assert_int_equal(rf_channel_process(ends.client), -EPIPE);
	ends_close(&ends);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, leaks_setup, leaks_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(with_eventfds_a_channel_has_four_descriptors_and_three_mappings),
		TEST(with_sockets_a_channel_has_three_descriptors_and_three_mappings),
		TEST(d4_stop_does_not_depend_on_the_bell),
		TEST(c15_stop_wakes_where_a_sandbox_forbids_epoll_ctl),
		TEST(stop_is_told_once_by_the_descriptor_of_a_loop),
		TEST(stop_is_told_by_a_descriptor_that_is_made_afterwards),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
