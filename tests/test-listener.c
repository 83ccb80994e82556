/* SPDX-License-Identifier: MIT */
/* How channels come to be: who is admitted, socket files, inherited descriptors, waiting for each
 * other, running out of descriptors. clock_nanosleep(2) is interposed here: to see that somebody
 * waits. */
#include "channel-fixture.h"

#include "util/clock.h"
#include "util/fd.h"
#include <dlfcn.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

static struct leaks leaks;
static unsigned naps; /* atomic */

int clock_nanosleep(
	clockid_t id, int flags, const struct timespec *request, struct timespec *ret_remain)
{
	__typeof__(&clock_nanosleep) real =
		(__typeof__(&clock_nanosleep))dlsym(RTLD_NEXT, "clock_nanosleep");

	__atomic_add_fetch(&naps, 1, __ATOMIC_RELAXED);
	return real(id, flags, request, ret_remain);
}

static int setup(void **state)
{
	(void)state;
	leaks = leaks_begin();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	assert_no_leaks(&leaks);
	return 0;
}

/* Children connect or listen; their exit status is the errno, 200 and more: something else. */

struct task {
	char path[128];
	char reason[128]; /* what rf_reason() must say, or "" */
	uid_t uids[1];
	size_t n_uids;
	bool stays;
};

static struct task task_at(const char *path, const char *reason)
{
	struct task task = {.n_uids = 0};

	snprintf(task.path, sizeof(task.path), "%s", path);
	snprintf(task.reason, sizeof(task.reason), "%s", reason);
	return task;
}

static struct rf_options task_options(struct task *task)
{
	struct rf_options options = channel_options(RF_DOORBELL_AUTO, RF_WAIT_ADAPTIVE);

	options.uids = task->uids;
	options.n_uids = task->n_uids;
	return options;
}

static int finish(struct task *task, struct rf_channel *channel, int r)
{
	uint64_t number;

	if (r < 0)
		return strstr(rf_reason(), task->reason) ? -r : 200;
	if (task->stays &&
		take_number(rf_channel_rx(channel), rf_test_deadline(SOON_MS), &number) != -EPIPE)
		r = 201;
	rf_channel_close(channel);
	return r;
}

static int child_connects(void *arg)
{
	struct task *task = arg;
	struct rf_options options = task_options(task);
	struct rf_channel *channel;
	int r = rf_connect(task->path, &options, rf_test_deadline(SOON_MS), &channel);

	return finish(task, channel, r);
}

static int child_listens(void *arg)
{
	struct task *task = arg;
	struct rf_options options = task_options(task);
	struct rf_listener_stats stats = {.size = sizeof(stats)};
	uint64_t until = rf_test_deadline(SOON_MS);
	struct rf_listener *listener;
	struct rf_channel *channel = NULL;
	int r;

	options.mode = 0666;
	if (rf_listen(task->path, &options, &listener) < 0)
		return 202;
	do {
		r = rf_accept(listener, rf_test_deadline(WHILE_MS), &channel);
		rf_listener_stats(listener, &stats);
	} while (r == -ETIMEDOUT && !stats.failed && rf__now() < until);
	r = finish(task, channel, r);
	rf_listener_close(listener);
	return r;
}

static struct rf_listener_stats listener_stats(struct rf_listener *listener)
{
	struct rf_listener_stats stats = {.size = sizeof(stats)};

	assert_int_equal(rf_listener_stats(listener, &stats), 0);
	return stats;
}

static void nobody_comes(struct rf_listener *listener)
{
	struct rf_channel *channel;

	assert_int_equal(rf_accept(listener, 0, &channel), -EAGAIN);
}

/* Drives the listener until the child has gone. */
static int drive(struct rf_listener *listener, pid_t pid, int expected)
{
	struct rf_channel *channel;
	int r;

	do
		r = rf_accept(listener, rf_test_deadline(WHILE_MS), &channel);
	while (r == expected && listener_stats(listener).refused == 0 &&
		listener_stats(listener).failed == 0);
	assert_int_equal(r, expected);
	return rf_test_wait(pid, SOON_MS);
}

/* Who is admitted */

static void a_stranger_is_refused_with_a_reason_at_both_ends(void **state)
{
	struct rf_options options = channel_options(RF_DOORBELL_AUTO, 0);
	struct task task = task_at(fresh_path(), "uid 61000 is not admitted");
	struct rf_listener *listener;

	(void)state;
	rf_test_need_root();
	options.mode = 0666;
	listener = listen_at(task.path, &options);
	assert_int_equal(
		drive(listener, rf_test_child(child_connects, &task, RF_TEST_UID, 0), -ETIMEDOUT),
		EPERM);
	assert_int_equal(listener_stats(listener).refused, 1);
	assert_has(rf_listener_reason(listener), "uid 61000 is not admitted");
	rf_listener_close(listener);
}

static void d2_a_listed_user_is_admitted_and_kicked_over_the_socket(void **state)
{
	struct rf_options options = channel_options(RF_DOORBELL_AUTO, 0);
	struct task task = task_at(fresh_path(), "");
	struct rf_peer peer = {.size = sizeof(peer)};
	uid_t uids[] = {RF_TEST_OTHER_UID, RF_TEST_UID};
	struct rf_listener *listener;
	struct rf_channel *channel;
	pid_t pid;

	(void)state;
	rf_test_need_root();
	options.uids = uids;
	options.n_uids = 2;
	listener = listen_at(task.path, &options);
	uids[1] = 1; /* the library has a copy */
	task.stays = true;
	pid = rf_test_child(child_connects, &task, RF_TEST_UID, RF_TEST_UID);
	channel = accept_one(listener);
	assert_int_equal(rf_channel_peer(channel, &peer), 0);
	assert_int_equal(peer.uid, RF_TEST_UID);
	assert_int_equal(peer.gid, RF_TEST_UID);
	assert_int_equal(peer.pid, pid);
	assert_int_equal(peer.flags, RF_PEER_PIDFD);
	assert_int_equal(channel_stats(channel).doorbell, RF_DOORBELL_SOCKET);
	rf_channel_close(channel);
	rf_listener_close(listener);
	assert_int_equal(rf_test_wait(pid, SOON_MS), 0);
}

static void d2_auto_is_eventfd_for_our_own_and_socket_for_a_socketpair(void **state)
{
	struct rf_peer peer = {.size = sizeof(peer)};
	struct ends ends;

	(void)state;
	ends_open_path(&ends, NULL, NULL);
	assert_int_equal(channel_stats(ends.server).doorbell, RF_DOORBELL_EVENTFD);
	assert_int_equal(rf_channel_peer(ends.client, &peer), 0);
	assert_int_equal(peer.flags, RF_PEER_PIDFD | RF_PEER_SAME);
	ends_close(&ends);
	ends_open(&ends, NULL, NULL);
	assert_int_equal(channel_stats(ends.server).doorbell, RF_DOORBELL_SOCKET);
	assert_int_equal(rf_channel_peer(ends.server, &peer), 0);
	assert_int_equal(peer.flags, RF_PEER_CREATOR);
	assert_int_equal(rf_channel_peer(ends.client, &peer), 0);
	assert_int_equal(peer.flags, RF_PEER_CREATOR);
	ends_close(&ends);
}

static void c11_a_client_turns_away_from_a_server_of_another_user(void **state)
{
	struct task task = task_at(fresh_path(), "");
	struct rf_channel *channel = NULL;
	pid_t pid;

	(void)state;
	rf_test_need_root();
	pid = rf_test_child(child_listens, &task, RF_TEST_UID, RF_TEST_UID);
	assert_int_equal(rf_connect(task.path, NULL, rf_test_deadline(SOON_MS), &channel), -EPERM);
	assert_has(rf_reason(), "uid 61000 is not admitted");
	assert_null(channel);
	assert_int_equal(rf_test_wait(pid, SOON_MS), ETIMEDOUT);
}

static void a_client_names_the_user_of_its_server(void **state)
{
	struct rf_options options = channel_options(RF_DOORBELL_AUTO, 0);
	struct task task = task_at(fresh_path(), "");
	uid_t uid = RF_TEST_UID;
	struct rf_channel *channel;
	pid_t pid;

	(void)state;
	rf_test_need_root();
	task.stays = true;
	pid = rf_test_child(child_listens, &task, RF_TEST_UID, RF_TEST_UID);
	options.uids = &uid;
	options.n_uids = 1;
	assert_int_equal(rf_connect(task.path, &options, rf_test_deadline(SOON_MS), &channel), 0);
	assert_int_equal(channel_stats(channel).doorbell, RF_DOORBELL_SOCKET);
	rf_channel_close(channel);
	assert_int_equal(rf_test_wait(pid, SOON_MS), 0);
}

/* Waiting for each other */

static void connect_waits_until_somebody_listens(void **state)
{
	struct connecting connecting;
	struct rf_listener *listener;
	struct rf_channel *channel;
	const char *path = fresh_path();
	unsigned before = __atomic_load_n(&naps, __ATOMIC_RELAXED);

	(void)state;
	connect_start(&connecting, path, NULL, SOON_MS);
	while (__atomic_load_n(&naps, __ATOMIC_RELAXED) < before + 2)
		sched_yield();
	listener = listen_at(path, NULL);
	channel = accept_one(listener);
	assert_int_equal(thread_join(&connecting.thread), 0);
	rf_channel_close(connecting.channel);
	rf_channel_close(channel);
	rf_listener_close(listener);
}

static void connect_gives_up_in_time(void **state)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	struct rf_channel *channel = NULL;
	uint64_t until;

	(void)state;
	snprintf(name.sun_path, sizeof(name.sun_path), "%s", fresh_path());
	assert_int_equal(rf_connect(name.sun_path, NULL, 0, &channel), -ENOENT);
	assert_int_equal(bind(sock, (struct sockaddr *)&name, sizeof(name)), 0);
	assert_int_equal(rf_connect(name.sun_path, NULL, 0, &channel), -ECONNREFUSED);
	assert_has(rf_reason(), name.sun_path);
	until = rf_test_deadline(40);
	assert_int_equal(rf_connect(name.sun_path, NULL, until, &channel), -ETIMEDOUT);
	assert_true(rf__now() >= until);
	assert_int_equal(rf_connect(name.sun_path, NULL, 1, &channel), -ETIMEDOUT);
	assert_has(rf_reason(), "nobody listened there in time");
	assert_int_equal(listen(sock, 1), 0); /* and never accepts */
	until = rf_test_deadline(40);
	assert_int_equal(rf_connect(name.sun_path, NULL, until, &channel), -ETIMEDOUT);
	assert_true(rf__now() >= until);
	assert_null(channel);
	close(sock);
}

static void accept_gives_up_in_time(void **state)
{
	struct rf_listener *listener;
	struct rf_channel *channel = NULL;
	uint64_t until = rf_test_deadline(25);

	(void)state;
	listener = listen_at(fresh_path(), NULL);
	nobody_comes(listener);
	assert_int_equal(rf_accept(listener, until, &channel), -ETIMEDOUT);
	assert_true(rf__now() >= until);
	assert_int_equal(rf_accept(listener, 1, &channel), -ETIMEDOUT);
	assert_null(channel);
	rf_listener_close(listener);
	rf_listener_close(NULL);
	assert_int_equal(rf_accept(NULL, 0, &channel), -EINVAL);
	assert_int_equal(rf_listener_fd(NULL), -EINVAL);
	assert_int_equal(rf_listener_arm(NULL, &until), -EINVAL);
	assert_int_equal(rf_listener_stats(NULL, NULL), -EINVAL);
	assert_string_equal(rf_listener_reason(NULL), "");
	rf_listener_stop(NULL);
}

static int accept_forever(void *arg)
{
	struct rf_channel *channel;

	return rf_accept(arg, RF_FOREVER, &channel);
}

static void stop_ends_accept_now_and_later(void **state)
{
	struct rf_listener *listener;
	struct thread thread;
	uint64_t until;

	(void)state;
	listener = listen_at(fresh_path(), NULL);
	assert_int_equal(rf_listener_arm(listener, &until), 0);
	assert_true(until == RF_FOREVER);
	thread_start(&thread, accept_forever, listener);
	errno = 77;
	rf_listener_stop(listener);
	assert_int_equal(errno, 77);
	assert_int_equal(thread_join(&thread), -EPIPE);
	assert_int_equal(accept_forever(listener), -EPIPE);
	assert_int_equal(rf_listener_arm(listener, &until), 1);
	assert_true(wait_readable(rf_listener_fd(listener), 0));
	rf_listener_close(listener);
}

static void an_event_loop_accepts_with_deadline_0(void **state)
{
	struct connecting connecting;
	struct rf_listener *listener;
	struct rf_channel *channel;
	const char *path = fresh_path();
	uint64_t until;
	int r;

	(void)state;
	listener = listen_at(path, NULL);
	assert_false(wait_readable(rf_listener_fd(listener), 0));
	connect_start(&connecting, path, NULL, SOON_MS);
	while ((r = rf_accept(listener, 0, &channel)) == -EAGAIN)
		if (rf_listener_arm(listener, &until) == 0) {
			assert_true(until > rf__now());
			assert_true(wait_readable(rf_listener_fd(listener), SOON_MS));
		}
	assert_int_equal(r, 0);
	assert_int_equal(thread_join(&connecting.thread), 0);
	assert_int_equal(listener_stats(listener).accepted, 1);
	assert_int_equal(listener_stats(listener).handshakes, 0);
	rf_channel_close(connecting.channel);
	rf_channel_close(channel);
	rf_listener_close(listener);
}

/* Inherited descriptors */

static void a_single_connection_is_accepted_once(void **state)
{
	struct connecting connecting;
	struct rf_listener *listener;
	struct rf_channel *channel, *none;
	uint64_t until;
	int socks[2];

	(void)state;
	make_pair(socks);
	listener = listen_at(fd_address(socks[0]), NULL);
	connect_start(&connecting, fd_address(socks[1]), NULL, SOON_MS);
	channel = accept_one(listener);
	assert_int_equal(thread_join(&connecting.thread), 0);
	assert_int_equal(rf_accept(listener, RF_FOREVER, &none), -EPIPE);
	assert_has(rf_reason(), "used already");
	assert_int_equal(rf_listener_arm(listener, &until), 1);
	rf_listener_close(listener);
	assert_int_equal(send_number(rf_channel_tx(channel), 1, 0), 0);
	assert_int_equal(take_numbers(rf_channel_rx(connecting.channel), 1, 1, 0), 0);
	rf_channel_close(channel);
	rf_channel_close(connecting.channel);
}

static void c7_an_inherited_listener_admits_but_vouches_for_nobody(void **state)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	struct rf_peer peer = {.size = sizeof(peer)};
	struct connecting connecting;
	struct rf_listener *listener;
	struct rf_channel *channel;
	int sock = socket(AF_UNIX, SOCK_SEQPACKET, 0);

	(void)state;
	snprintf(name.sun_path, sizeof(name.sun_path), "%s", fresh_path());
	assert_int_equal(bind(sock, (struct sockaddr *)&name, sizeof(name)), 0);
	assert_int_equal(listen(sock, 4), 0);
	listener = listen_at(fd_address(sock), NULL);
	connect_start(&connecting, name.sun_path, NULL, SOON_MS);
	channel = accept_one(listener);
	assert_int_equal(thread_join(&connecting.thread), 0);
	assert_int_equal(rf_channel_peer(channel, &peer), 0);
	assert_int_equal(peer.flags, RF_PEER_PIDFD | RF_PEER_SAME);
	assert_int_equal(rf_channel_peer(connecting.channel, &peer), 0);
	assert_int_equal(peer.flags & RF_PEER_PIDFD, 0);
	assert_int_equal(channel_stats(channel).doorbell, RF_DOORBELL_SOCKET);
	rf_channel_close(channel);
	rf_channel_close(connecting.channel);
	rf_listener_close(listener);
	assert_int_equal(access(name.sun_path, F_OK), 0);
}

static void fd_fails(int fd, int error)
{
	struct rf_listener *listener;
	struct rf_channel *channel;

	assert_int_equal(rf_listen(fd_address(fd), NULL, &listener), error);
	assert_true(*rf_reason() != '\0');
	assert_int_equal(rf_connect(fd_address(fd), NULL, rf_test_deadline(20), &channel), error);
}

static void a_wrong_descriptor_is_refused_and_stays_the_callers(void **state)
{
	struct rf_channel *channel;
	int pipes[2], stream[2], lone = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	int listens = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	struct sockaddr_un name = {.sun_family = AF_UNIX};

	(void)state;
	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, stream), 0);
	fd_fails(12345, -EBADF);
	fd_fails(pipes[0], -ENOTSOCK);
	fd_fails(stream[0], -EINVAL);
	fd_fails(lone, -ENOTCONN);
	assert_int_equal(bind(listens, (struct sockaddr *)&name, sizeof(sa_family_t)), 0);
	assert_int_equal(listen(listens, 1), 0);
	assert_int_equal(rf_connect(fd_address(listens), NULL, 0, &channel), -EINVAL);
	close(pipes[0]);
	close(pipes[1]);
	close(stream[0]);
	close(stream[1]);
	assert_int_equal(close(lone), 0);
	assert_int_equal(close(listens), 0);
}

/* C6, C13: no descriptors left. */

static void c6_a_listener_out_of_descriptors_rests_and_recovers(void **state)
{
	struct task task = task_at(fresh_path(), "");
	struct rf_listener *listener;
	struct rf_channel *channel = NULL;
	uint64_t limit, until = 0, soon;
	unsigned failures = 0, lone;
	pid_t pid;
	int r;

	(void)state;
	task.stays = true;
	listener = listen_at(task.path, NULL);
	lone = (unsigned)dup(0);
	close((int)lone);
	pid = rf_test_child(child_connects, &task, 0, 0);
	assert_true(wait_readable(rf_listener_fd(listener), SOON_MS));
	limit = rf_test_limit_files(lone);
	soon = rf_test_deadline(150);
	while (rf__now() < soon) {
		r = rf_accept(listener, soon, &channel);
		assert_true(r == -EMFILE || r == -ETIMEDOUT);
		failures += r == -EMFILE;
	}
	assert_in_range(failures, 1, 3);
	assert_false(wait_readable(rf_listener_fd(listener), 0));
	assert_int_equal(rf_listener_arm(listener, &until), 0);
	assert_true(until <= rf_test_deadline(100));
	rf_test_limit_files(limit);
	channel = accept_one(listener);
	rf_channel_close(channel);
	assert_int_equal(rf_test_wait(pid, SOON_MS), 0);
	rf_listener_close(listener);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_stranger_is_refused_with_a_reason_at_both_ends),
		TEST(d2_a_listed_user_is_admitted_and_kicked_over_the_socket),
		TEST(d2_auto_is_eventfd_for_our_own_and_socket_for_a_socketpair),
		TEST(c11_a_client_turns_away_from_a_server_of_another_user),
		TEST(a_client_names_the_user_of_its_server),
		TEST(connect_waits_until_somebody_listens),
		TEST(connect_gives_up_in_time),
		TEST(accept_gives_up_in_time),
		TEST(stop_ends_accept_now_and_later),
		TEST(an_event_loop_accepts_with_deadline_0),
		TEST(a_single_connection_is_accepted_once),
		TEST(c7_an_inherited_listener_admits_but_vouches_for_nobody),
		TEST(a_wrong_descriptor_is_refused_and_stays_the_callers),
		TEST(c6_a_listener_out_of_descriptors_rests_and_recovers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
