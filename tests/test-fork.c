/* SPDX-License-Identifier: MIT */
/* What a host program does to us, and how a peer dies: fork, signals, children that keep
 * sockets. */
#include "channel-fixture.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* C13: what a child inherited is the parent's. */

struct inherited {
	struct ends ends;
	struct rf_listener *listener;
	struct rf_message message;
	struct rf_buffer buffer;
};

/* The number of the first call that does not fail with -EBADF; 0: all do. */
static int use_channel(struct inherited *in)
{
	struct rf_channel *channel = in->ends.server;
	struct rf_tx *tx = rf_channel_tx(channel);
	struct rf_rx *rx = rf_channel_rx(channel);
	struct iovec part = {.iov_len = 0};
	struct rf_message message;
	struct rf_buffer buffer;
	uint64_t until;
	const int results[] = {
		rf_tx_reserve(tx, 8, RF_FOREVER, &buffer),
		rf_tx_reserve_span(tx, 8, RF_FOREVER, &buffer, 1),
		rf_tx_commit(tx, &in->buffer),
		rf_tx_commit_span(tx, &in->buffer, 1),
		rf_tx_cancel(tx, &in->buffer),
		rf_tx_publish(tx),
		rf_tx_send(tx, &part, 1, RF_FOREVER),
		rf_tx_end(tx),
		rf_rx_borrow(rx, RF_FOREVER, &message, 1),
		rf_rx_copy(rx, RF_FOREVER, &until, sizeof(until), &message),
		rf_rx_release(rx, &in->message, 1),
		rf_channel_fd(channel),
		rf_channel_process(channel),
		rf_channel_arm(channel, RF_DATA, 0, &until),
	};
	unsigned i;

	for (i = 0; i < sizeof(results) / sizeof(results[0]); i++)
		if (results[i] != -EBADF)
			return (int)i + 1;
	return 0;
}

static int use_listener(struct rf_listener *listener)
{
	struct rf_channel *channel;
	uint64_t until;

	if (rf_accept(listener, RF_FOREVER, &channel) != -EBADF)
		return 20;
	if (rf_listener_fd(listener) != -EBADF || rf_listener_arm(listener, &until) != -EBADF)
		return 21;
	return 0;
}

static int child_uses_all(void *arg)
{
	struct inherited *in = arg;
	size_t regions = rf_test_count_memfd_mappings(), fds = rf_test_count_fds();
	int r = use_channel(in);

	if (!r)
		r = use_listener(in->listener);
	rf_channel_stop(in->ends.server);
	rf_listener_stop(in->listener);
	ends_close(&in->ends);
	rf_listener_close(in->listener);
	if (!r && regions)
		r = 30;
	return r || rf_test_count_fds() < fds ? r : 31;
}

static void inherit(struct inherited *in, uint32_t doorbell)
{
	struct rf_options options = channel_options(doorbell, RF_WAIT_ADAPTIVE);

	ends_open(&in->ends, &options, &options);
	in->listener = listen_at(fresh_path(), NULL);
	assert_int_equal(send_number(rf_channel_tx(in->ends.client), 1, 0), 0);
	assert_int_equal(rf_rx_borrow(rf_channel_rx(in->ends.server), 0, &in->message, 1), 1);
	assert_int_equal(rf_tx_reserve(rf_channel_tx(in->ends.server), 8, 0, &in->buffer), 0);
}

static void c13_every_call_in_a_child_is_ebadf_and_close_harms_nobody(void **state)
{
	static const uint32_t bells[] = {RF_DOORBELL_EVENTFD, RF_DOORBELL_SOCKET};
	struct inherited in;
	struct rf_channel *none;
	uint64_t i, number;

	(void)state;
	for (i = 0; i < 2; i++) {
		inherit(&in, bells[i]);
		assert_int_equal(
			take_number(rf_channel_rx(in.ends.server), 1, &number), -ETIMEDOUT);
		assert_true(rf_channel_fd(in.ends.server) >= 0);
		assert_int_equal(
			rf_test_wait(rf_test_child(child_uses_all, &in, 0, 0), SOON_MS), 0);
		assert_int_equal(rf_rx_release(rf_channel_rx(in.ends.server), &in.message, 1), 0);
		memset(in.buffer.data, 0, 8);
		assert_int_equal(rf_tx_commit(rf_channel_tx(in.ends.server), &in.buffer), 0);
		assert_int_equal(rf_tx_publish(rf_channel_tx(in.ends.server)), 0);
		assert_int_equal(take_numbers(rf_channel_rx(in.ends.client), 0, 1, 0), 0);
		assert_int_equal(send_number(rf_channel_tx(in.ends.client), 2, 0), 0);
		assert_int_equal(take_numbers(rf_channel_rx(in.ends.server), 2, 1, RF_FOREVER), 0);
		assert_int_equal(rf_channel_process(in.ends.server), 0);
		assert_int_equal(rf_accept(in.listener, 0, &none), -EAGAIN);
		ends_close(&in.ends);
		rf_listener_close(in.listener);
	}
}

/* Of a channel that was closed before the fork, what is still out. */
static int child_releases(void *arg)
{
	struct inherited *in = arg;
	struct rf_rx *rx = rf_channel_rx(in->ends.server);

	return rf_rx_release(rx, &in->message, 1) == -EBADF ? 0 : 1;
}

static void c13_a_child_cannot_release_what_the_parent_borrowed(void **state)
{
	struct inherited in;
	struct rf_rx *rx;

	(void)state;
	inherit(&in, RF_DOORBELL_SOCKET);
	assert_int_equal(rf_tx_cancel(rf_channel_tx(in.ends.server), &in.buffer), 0);
	rx = rf_channel_rx(in.ends.server);
	rf_channel_close(in.ends.client);
	rf_channel_close(in.ends.server);
	assert_int_equal(rf_test_wait(rf_test_child(child_releases, &in, 0, 0), SOON_MS), 0);
	assert_int_equal(rf_rx_release(rx, &in.message, 1), 0);
	rf_listener_close(in.listener);
}

static int child_makes_its_own(void *arg)
{
	struct rf_channel *channel;

	if (rf_connect(arg, NULL, rf_test_deadline(SOON_MS), &channel) < 0)
		return 2;
	if (send_number(rf_channel_tx(channel), 1, 0))
		return 3;
	rf_channel_close(channel);
	return 0;
}

static void c13_a_child_makes_channels_of_its_own(void **state)
{
	char path[128];
	struct rf_listener *listener;
	struct rf_channel *channel;
	struct ends ends;
	pid_t pid;

	(void)state;
	snprintf(path, sizeof(path), "%s", fresh_path());
	listener = listen_at(path, NULL);
	ends_open(&ends, NULL, NULL);
	pid = rf_test_child(child_makes_its_own, path, 0, 0);
	channel = accept_one(listener);
	assert_int_equal(take_numbers(rf_channel_rx(channel), 1, 1, RF_FOREVER), 0);
	assert_int_equal(rf_test_wait(pid, SOON_MS), 0);
	rf_channel_close(channel);
	rf_listener_close(listener);
	ends_close(&ends);
}

static int is_inheritable(void *arg)
{
	int fd;

	(void)arg;
	for (fd = 3; fd < 200; fd++) {
		int flags = fcntl(fd, F_GETFD);

		if (flags >= 0 && !(flags & FD_CLOEXEC))
			return fd;
	}
	return 0;
}

static void c13_no_descriptor_of_ours_survives_exec(void **state)
{
	struct rf_listener *listener;
	struct ends ends;
	int before;

	(void)state;
	before = is_inheritable(NULL);
	ends_open_path(&ends, NULL, NULL);
	listener = listen_at(fresh_path(), NULL);
	assert_true(rf_channel_fd(ends.client) >= 0);
	assert_int_equal(is_inheritable(NULL), before);
	rf_listener_close(listener);
	ends_close(&ends);
}

/* C14 */

static void c14_a_peer_that_is_gone_raises_no_signal(void **state)
{
	struct rf_options options = channel_options(RF_DOORBELL_SOCKET, RF_WAIT_ADAPTIVE);
	struct ends ends;
	uint64_t number, until;

	(void)state;
	assert_true(signal(SIGPIPE, SIG_DFL) != SIG_ERR); /* deadly */
	ends_open(&ends, &options, &options);
	assert_int_equal(rf_channel_arm(ends.client, RF_DATA, 0, &until), 0);
	rf_channel_close(ends.client);
	while (send_number(rf_channel_tx(ends.server), 1, 0) == 0)
		;
	assert_int_equal(rf_tx_end(rf_channel_tx(ends.server)), -EPIPE);
	assert_int_equal(take_number(rf_channel_rx(ends.server), RF_FOREVER, &number), -EPIPE);
	rf_channel_close(ends.server);
}

/* C8: the peer is dead, but somebody keeps its socket. */

struct heir {
	char path[128];
	uint32_t doorbell;
	int hold[2]; /* the heir stays until the writing end is closed */
};

static void stay(struct heir *heir)
{
	char nothing;

	close(heir->hold[1]);
	while (read(heir->hold[0], &nothing, 1) < 0)
		;
	_exit(0);
}

static int connect_and_leave_an_heir(void *arg)
{
	struct heir *heir = arg;
	struct rf_options options = channel_options(heir->doorbell, RF_WAIT_ADAPTIVE);
	struct rf_channel *channel;
	pid_t pid;

	if (rf_connect(heir->path, &options, rf_test_deadline(SOON_MS), &channel) < 0)
		return 1;
	pid = fork();
	if (!pid)
		stay(heir);
	return pid < 0 || send_number(rf_channel_tx(channel), 7, 0) ? 2 : 0;
}

static int send_until_error(struct rf_channel *channel)
{
	uint64_t until = rf_test_deadline(SOON_MS);
	int r = 0;

	while (!r)
		r = send_number(rf_channel_tx(channel), 1, until);
	return r;
}

static void c8_death_is_noticed_although_an_heir_keeps_the_socket(void **state)
{
	static const uint32_t bells[] = {RF_DOORBELL_EVENTFD, RF_DOORBELL_SOCKET};
	static const uint32_t waits[] = {RF_WAIT_SLEEP, RF_WAIT_SPIN};
	struct rf_listener *listener;
	struct rf_channel *channel;
	struct heir heir;
	unsigned i;
	pid_t pid;

	(void)state;
	rf_test_need("pidfds of peers", rf_test_kernel(5, 3));
	for (i = 0; i < 4; i++) {
		struct rf_options options = channel_options(bells[i / 2], waits[i % 2]);
		uint64_t number;

		heir.doorbell = options.doorbell;
		snprintf(heir.path, sizeof(heir.path), "%s", fresh_path());
		assert_int_equal(pipe2(heir.hold, O_CLOEXEC), 0);
		listener = listen_at(heir.path, &options);
		pid = rf_test_child(connect_and_leave_an_heir, &heir, 0, 0);
		channel = accept_one(listener);
		rf_listener_close(listener);
		/* not waited for: the peer becomes a zombie */
		assert_int_equal(take_numbers(rf_channel_rx(channel), 7, 1, RF_FOREVER), 0);
		assert_int_equal(
			take_number(rf_channel_rx(channel), rf_test_deadline(SOON_MS), &number),
			-EPIPE);
		assert_int_equal(send_until_error(channel), -EPIPE);
		rf_channel_close(channel);
		close(heir.hold[0]);
		close(heir.hold[1]);
		assert_int_equal(rf_test_wait(pid, SOON_MS), 0);
	}
}

static int send_if_there_is_room(struct rf_tx *tx)
{
	struct rf_buffer buffer;
	int r = rf_tx_reserve(tx, 8, 0, &buffer);

	if (r >= 0)
		r = rf_tx_commit(tx, &buffer);
	if (r >= 0)
		r = rf_tx_publish(tx);
	return r == -EAGAIN ? 0 : r;
}

/* So does a sender that never waits. */
static void c8_a_sender_that_never_waits_notices_the_death(void **state)
{
	struct rf_options options = channel_options(RF_DOORBELL_SOCKET, RF_WAIT_ADAPTIVE);
	struct rf_listener *listener;
	struct rf_channel *channel;
	struct heir heir;
	uint64_t until;
	pid_t pid;
	int r = 0;

	(void)state;
	heir.doorbell = RF_DOORBELL_SOCKET;
	snprintf(heir.path, sizeof(heir.path), "%s", fresh_path());
	assert_int_equal(pipe2(heir.hold, O_CLOEXEC), 0);
	listener = listen_at(heir.path, &options);
	pid = rf_test_child(connect_and_leave_an_heir, &heir, 0, 0);
	channel = accept_one(listener);
	rf_listener_close(listener);
	for (until = rf_test_deadline(SOON_MS); rf_test_deadline(0) < until && !r;)
		r = send_if_there_is_room(rf_channel_tx(channel));
	assert_int_equal(r, -EPIPE);
	rf_channel_close(channel);
	close(heir.hold[0]);
	close(heir.hold[1]);
	assert_int_equal(rf_test_wait(pid, SOON_MS), 0);
}

/* C8: a peer that is stopped lives; it meets the caller's deadline. */

static int connect_and_stop(void *arg)
{
	struct heir *heir = arg;
	struct rf_channel *channel;

	if (rf_connect(heir->path, NULL, rf_test_deadline(SOON_MS), &channel) < 0)
		return 1;
	raise(SIGSTOP);
	return send_number(rf_channel_tx(channel), 3, 0) ? 2 : 0;
}

static void c8_a_stopped_peer_meets_the_deadline(void **state)
{
	struct rf_listener *listener;
	struct rf_channel *channel;
	struct heir heir;
	uint64_t number;
	pid_t pid;
	int status;

	(void)state;
	snprintf(heir.path, sizeof(heir.path), "%s", fresh_path());
	listener = listen_at(heir.path, NULL);
	pid = rf_test_child(connect_and_stop, &heir, 0, 0);
	channel = accept_one(listener);
	rf_listener_close(listener);
	assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
	assert_true(WIFSTOPPED(status));
	assert_int_equal(take_number(rf_channel_rx(channel), rf_test_deadline(WHILE_MS), &number),
		-ETIMEDOUT);
	kill(pid, SIGCONT);
	assert_int_equal(take_numbers(rf_channel_rx(channel), 3, 1, rf_test_deadline(SOON_MS)), 0);
	assert_int_equal(
		take_number(rf_channel_rx(channel), rf_test_deadline(SOON_MS), &number), -EPIPE);
	rf_channel_close(channel);
	assert_int_equal(rf_test_wait(pid, SOON_MS), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, leaks_setup, leaks_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(c13_every_call_in_a_child_is_ebadf_and_close_harms_nobody),
		TEST(c13_a_child_cannot_release_what_the_parent_borrowed),
		TEST(c13_a_child_makes_channels_of_its_own),
		TEST(c13_no_descriptor_of_ours_survives_exec),
		TEST(c14_a_peer_that_is_gone_raises_no_signal),
		TEST(c8_death_is_noticed_although_an_heir_keeps_the_socket),
		TEST(c8_a_sender_that_never_waits_notices_the_death),
		TEST(c8_a_stopped_peer_meets_the_deadline),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
