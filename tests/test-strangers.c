/* SPDX-License-Identifier: MIT */
/* Strangers in user and pid namespaces, met through rf_accept() and rf_connect(). */
#include "channel-fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define OVERFLOW_UID 65534

static struct {
	char path[96];
	int ready[2]; /* written to by who listens in a child */
} meeting;

static bool write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool written = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return written;
}

/* Where only the own uid is known; everybody else shows as the overflow uid. */
static bool enter_user_namespace(void)
{
	return !unshare(CLONE_NEWUSER) && write_text("/proc/self/setgroups", "deny") &&
	       write_text("/proc/self/uid_map", "0 0 1") &&
	       write_text("/proc/self/gid_map", "0 0 1");
}

static int nothing_but_enter(void *arg)
{
	(void)arg;
	return !enter_user_namespace();
}

static void need_user_namespaces(void)
{
	rf_test_need_root();
	rf_test_need(
		"userns", rf_test_wait(rf_test_child(nothing_but_enter, NULL, 0, 0), SOON_MS) == 0);
}

static void meeting_begin(void)
{
	snprintf(meeting.path, sizeof(meeting.path), "%s", fresh_path());
	assert_int_equal(pipe2(meeting.ready, O_CLOEXEC), 0);
}

static void meeting_end(void)
{
	close(meeting.ready[0]);
	close(meeting.ready[1]);
}

static struct rf_options options_for(const uid_t *uids, size_t n)
{
	struct rf_options options = channel_options(RF_DOORBELL_AUTO, 0);

	options.mode = 0666;
	options.uids = uids;
	options.n_uids = n;
	return options;
}

static bool tell_ready(void)
{
	return write(meeting.ready[1], "", 1) == 1;
}

/* Refuses one, and says whether for the right reason; takes no other. */
static int refuse_one(struct rf_listener *listener, const char *reason)
{
	struct rf_listener_stats stats = {.size = sizeof(stats)};
	uint64_t until = rf_test_deadline(SOON_MS);
	struct rf_channel *channel;

	do {
		if (rf_accept(listener, rf_test_deadline(WHILE_MS), &channel) != -ETIMEDOUT)
			return 11;
		rf_listener_stats(listener, &stats);
	} while (!stats.refused && rf_test_deadline(0) < until);
	return strstr(rf_listener_reason(listener), reason) ? 0 : 12;
}

/* It lists everybody it might mean, the overflow uid, too. */
static int listen_in_user_namespace(void *arg)
{
	static const uid_t uids[] = {RF_TEST_UID, OVERFLOW_UID};
	struct rf_options options = options_for(uids, 2);
	struct rf_listener *listener;
	int r;

	(void)arg;
	if (!enter_user_namespace())
		return 10;
	if (rf_listen(meeting.path, &options, &listener) < 0 || !tell_ready())
		return 13;
	r = refuse_one(listener, "uid 65534 is the overflow uid");
	rf_listener_close(listener);
	return r;
}

static int connect_as_stranger(void *arg)
{
	static const uid_t root[] = {0};
	struct rf_options options = options_for(root, 1);
	struct rf_channel *channel;
	int r = rf_connect(meeting.path, &options, rf_test_deadline(SOON_MS), &channel);

	(void)arg;
	if (r < 0 && !strstr(rf_reason(), "uid 65534 is the overflow uid"))
		return 200;
	return -r;
}

static void d10_a_stranger_of_a_user_namespace_is_refused(void **state)
{
	pid_t listener, stranger;

	(void)state;
	need_user_namespaces();
	meeting_begin();
	listener = rf_test_child(listen_in_user_namespace, NULL, 0, 0);
	assert_true(wait_readable(meeting.ready[0], SOON_MS));
	stranger = rf_test_child(connect_as_stranger, NULL, RF_TEST_UID, RF_TEST_UID);
	assert_int_equal(rf_test_wait(stranger, SOON_MS), EPERM);
	assert_int_equal(rf_test_wait(listener, SOON_MS), 0);
	meeting_end();
}

static int connect_in_user_namespace(void *arg)
{
	static const uid_t uids[] = {RF_TEST_UID, OVERFLOW_UID};
	struct rf_options options = options_for(uids, 2);
	struct rf_channel *channel;
	int r;

	(void)arg;
	if (!enter_user_namespace())
		return 10;
	r = rf_connect(meeting.path, &options, rf_test_deadline(SOON_MS), &channel);
	return strstr(rf_reason(), "uid 65534 is the overflow uid") ? -r : 200;
}

static int listen_as_stranger(void *arg)
{
	static const uid_t root[] = {0};
	struct rf_options options = options_for(root, 1);
	struct rf_listener_stats stats = {.size = sizeof(stats)};
	struct rf_listener *listener;
	struct rf_channel *channel;

	(void)arg;
	if (rf_listen(meeting.path, &options, &listener) < 0 || !tell_ready())
		return 13;
	do {
		if (rf_accept(listener, rf_test_deadline(SOON_MS), &channel) == 0)
			return 14;
		rf_listener_stats(listener, &stats);
	} while (!stats.failed && !stats.refused);
	rf_listener_close(listener);
	return 0;
}

/* The client has taken nothing from it: a stranger could send what hangs who receives it. */
static void d10_a_client_in_a_user_namespace_refuses_a_strange_listener(void **state)
{
	pid_t listener, client;

	(void)state;
	need_user_namespaces();
	meeting_begin();
	listener = rf_test_child(listen_as_stranger, NULL, RF_TEST_UID, RF_TEST_UID);
	assert_true(wait_readable(meeting.ready[0], SOON_MS));
	client = rf_test_child(connect_in_user_namespace, NULL, 0, 0);
	assert_int_equal(rf_test_wait(client, SOON_MS), EPERM);
	rf_test_kill(listener);
	meeting_end();
}

/* Our own uid, but in namespaces of its own: admitted, and kicked over the socket. */

static int connect_and_wait(void)
{
	struct rf_options options = options_for(NULL, 0);
	struct rf_channel *channel;
	uint64_t number;
	int r = rf_connect(meeting.path, &options, rf_test_deadline(SOON_MS), &channel);

	if (r < 0)
		return -r;
	r = take_number(rf_channel_rx(channel), rf_test_deadline(SOON_MS), &number);
	rf_channel_close(channel);
	return r == 1 ? 0 : 20;
}

static int connect_from(void *arg)
{
	int *flags = arg, status;
	pid_t pid;

	if (*flags == CLONE_NEWUSER)
		return enter_user_namespace() ? connect_and_wait() : 10;
	if (unshare(*flags))
		return 10;
	pid = fork();
	if (pid == 0)
		_exit(connect_and_wait());
	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status) : 15;
}

static void meet_own_uid_from(int flags)
{
	struct rf_options options = options_for(NULL, 0);
	struct rf_peer peer = {.size = sizeof(peer)};
	struct rf_listener *listener;
	struct rf_channel *channel;
	pid_t pid;
	int r;

	meeting_begin();
	listener = listen_at(meeting.path, &options);
	pid = rf_test_child(connect_from, &flags, 0, 0);
	channel = accept_one(listener);
	assert_int_equal(rf_channel_peer(channel, &peer), 0);
	assert_int_equal(peer.uid, geteuid());
	assert_int_equal(peer.flags & RF_PEER_SAME, 0);
	assert_int_equal(channel_stats(channel).doorbell, RF_DOORBELL_SOCKET);
	r = send_number(rf_channel_tx(channel), 1, rf_test_deadline(SOON_MS));
	assert_true(r == 0 || r == -EPIPE); /* taken without a kick, and closed */
	assert_int_equal(rf_test_wait(pid, SOON_MS), 0);
	rf_channel_close(channel);
	rf_listener_close(listener);
	meeting_end();
}

static void d10_our_uid_from_another_user_namespace_gets_the_socket(void **state)
{
	(void)state;
	need_user_namespaces();
	meet_own_uid_from(CLONE_NEWUSER);
}

static void d10_our_uid_from_another_pid_namespace_gets_the_socket(void **state)
{
	(void)state;
	need_user_namespaces();
	meet_own_uid_from(CLONE_NEWPID);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(d10_a_stranger_of_a_user_namespace_is_refused),
		cmocka_unit_test(d10_a_client_in_a_user_namespace_refuses_a_strange_listener),
		cmocka_unit_test(d10_our_uid_from_another_user_namespace_gets_the_socket),
		cmocka_unit_test(d10_our_uid_from_another_pid_namespace_gets_the_socket),
	};

	rf_test_limit(50);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
