/* SPDX-License-Identifier: MIT */
/* Addresses that are no paths, end to end: abstract names, and sockets that a service manager hands
 * over, which is played here. */
#include "channel-fixture.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* A name that nobody else has: the test's directory. */
static const char *fresh_name(void)
{
	static char name[96];
	static unsigned n;

	snprintf(name, sizeof(name), "@%s/%u", rf_test_tmpdir(), n++);
	return name;
}

static void assert_numbers_pass(struct rf_channel *from, struct rf_channel *to)
{
	uint64_t number = 0;

	assert_int_equal(send_number(rf_channel_tx(from), 42, rf_test_deadline(SOON_MS)), 0);
	assert_int_equal(take_number(rf_channel_rx(to), rf_test_deadline(SOON_MS), &number), 1);
	assert_int_equal(number, 42);
}

/* Abstract names */

static void a_channel_opens_at_an_abstract_name(void **state)
{
	struct rf_options options = channel_options(RF_DOORBELL_AUTO, 0);
	struct leaks before = leaks_begin();
	struct connecting connecting;
	struct rf_listener *listener;
	struct rf_channel *server;
	char name[96];

	(void)state;
	snprintf(name, sizeof(name), "%s", fresh_name());
	listener = listen_at(name, &options);
	connect_start(&connecting, name, &options, SOON_MS);
	server = accept_one(listener);
	assert_int_equal(thread_join(&connecting.thread), 0);
	assert_numbers_pass(connecting.channel, server);
	assert_numbers_pass(server, connecting.channel);
	assert_int_equal(channel_stats(server).doorbell, RF_DOORBELL_EVENTFD);
	rf_channel_close(connecting.channel);
	rf_channel_close(server);
	assert_int_not_equal(access(name, F_OK), 0);
	assert_int_not_equal(access(name + 1, F_OK), 0);
	rf_listener_close(listener);
	assert_no_leaks(&before);
}

static void an_abstract_name_is_taken_until_its_listener_closes(void **state)
{
	struct rf_listener *listener, *other = NULL;
	const char *name = fresh_name();

	(void)state;
	listener = listen_at(name, NULL);
	assert_int_equal(rf_listen(name, NULL, &other), -EADDRINUSE);
	assert_has(rf_reason(), name);
	assert_has(rf_reason(), "somebody has that name");
	assert_null(other);
	rf_listener_close(listener);
	rf_listener_close(listen_at(name, NULL));
}

static void a_name_that_nobody_has_is_told_by_name(void **state)
{
	const char *name = fresh_name();
	struct rf_channel *channel = NULL;

	(void)state;
	assert_int_equal(rf_connect(name, NULL, 0, &channel), -ECONNREFUSED);
	assert_has(rf_reason(), name);
	assert_int_equal(rf_connect(name, NULL, rf_test_deadline(WHILE_MS), &channel), -ETIMEDOUT);
	assert_has(rf_reason(), name);
	assert_null(channel);
}

static int squat(void *arg)
{
	struct rf_listener *listener;
	struct rf_channel *channel;

	if (rf_listen(arg, NULL, &listener) < 0)
		return 1;
	rf_accept(listener, RF_FOREVER, &channel);
	return 2;
}

/* Anybody can take a name: the client checks whose it is. */
static void c11_a_client_refuses_a_stranger_who_has_the_name(void **state)
{
	struct rf_channel *channel = NULL;
	const char *name = fresh_name();
	static char copy[96];
	pid_t pid;

	(void)state;
	rf_test_need_root();
	snprintf(copy, sizeof(copy), "%s", name);
	pid = rf_test_child(squat, copy, RF_TEST_UID, RF_TEST_UID);
	assert_int_equal(rf_connect(copy, NULL, rf_test_deadline(SOON_MS), &channel), -EPERM);
	assert_has(rf_reason(), "uid 61000 is not admitted");
	assert_null(channel);
	rf_test_kill(pid);
}

/* Policy alone decides who may come: there is no mode in the way. */
static int connects_as_a_stranger(void *arg)
{
	const uid_t root = 0;
	struct rf_options options;
	struct rf_channel *channel;
	int r;

	rf_options_init(&options);
	options.uids = &root;
	options.n_uids = 1;
	r = rf_connect(arg, &options, rf_test_deadline(SOON_MS), &channel);
	return -r;
}

static void a_stranger_at_an_abstract_name_is_refused_by_policy(void **state)
{
	struct rf_listener_stats stats = {.size = sizeof(stats)};
	struct rf_listener *listener;
	struct rf_channel *channel;
	static char name[96];
	pid_t pid;

	(void)state;
	rf_test_need_root();
	snprintf(name, sizeof(name), "%s", fresh_name());
	listener = listen_at(name, NULL);
	pid = rf_test_child(connects_as_a_stranger, name, RF_TEST_UID, RF_TEST_UID);
	do {
		rf_accept(listener, rf_test_deadline(WHILE_MS), &channel);
		rf_listener_stats(listener, &stats);
	} while (!stats.refused && !stats.failed);
	assert_int_equal(rf_test_wait(pid, SOON_MS), EPERM);
	assert_has(rf_listener_reason(listener), "uid 61000 is not admitted");
	rf_listener_close(listener);
}

/* A service manager */

static int listening_socket(const char *path)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	assert_true(sock >= 0);
	snprintf(name.sun_path, sizeof(name.sun_path), "%s", path);
	assert_int_equal(bind(sock, (struct sockaddr *)&name, sizeof(name)), 0);
	assert_int_equal(listen(sock, 4), 0);
	return sock;
}

struct service {
	int socks[2];
	unsigned n;
	const char *names, *address;
};

/* As a service manager does it: the sockets are the descriptors from 3 on, without CLOEXEC. */
static int start_service(void *arg)
{
	const struct service *service = arg;
	char *const argv[] = {(char *)(uintptr_t)rf_test_built("examples/capture"),
		(char *)(uintptr_t)service->address, "--fast", "--frames", "3", "--size", "64x48",
		"--timeout", "30", NULL};
	char number[16];
	int copies[2];
	unsigned i;

	for (i = 0; i < service->n; i++)
		copies[i] = fcntl(service->socks[i], F_DUPFD, 100);
	for (i = 0; i < service->n; i++)
		if (copies[i] < 0 || dup2(copies[i], 3 + (int)i) < 0 || close(copies[i]))
			return 100;
	snprintf(number, sizeof(number), "%d", getpid());
	setenv("LISTEN_PID", number, 1);
	snprintf(number, sizeof(number), "%u", service->n);
	setenv("LISTEN_FDS", number, 1);
	setenv("LISTEN_FDNAMES", service->names, 1);
	execv(argv[0], argv);
	return 101;
}

/* Three frames, and the end. */
static void assert_frames_come(const char *path)
{
	struct rf_message message;
	struct rf_options options;
	struct rf_channel *channel = NULL;
	int r, n = 0;

	rf_options_init(&options);
	options.lag = RF_LAG_BLOCK;
	r = rf_connect(path, &options, rf_test_deadline(SOON_MS), &channel);
	if (r < 0)
		fail_msg("rf_connect: %d, %s", r, rf_reason());
	while ((r = rf_rx_borrow(rf_channel_rx(channel), rf_test_deadline(SOON_MS), &message, 1)) >
		0) {
		n++;
		rf_rx_release(rf_channel_rx(channel), &message, 1);
	}
	assert_int_equal(r, 0);
	assert_int_equal(n, 3);
	rf_channel_close(channel);
}

static void a_service_takes_the_socket_that_it_was_handed(void **state)
{
	char path[96];
	struct service service = {.n = 1, .names = "frames", .address = "fd:listen"};
	pid_t pid;

	(void)state;
	snprintf(path, sizeof(path), "%s", fresh_path());
	service.socks[0] = listening_socket(path);
	pid = rf_test_child(start_service, &service, 0, 0);
	close(service.socks[0]);
	assert_frames_come(path);
	assert_int_equal(rf_test_wait(pid, SOON_MS), 0);
	assert_int_equal(access(path, F_OK), 0); /* it is the manager's */
	unlink(path);
}

static void a_service_with_two_sockets_takes_one_by_name(void **state)
{
	char path[96];
	struct service service = {.n = 2, .names = "other:frames", .address = "fd:listen:frames"};
	pid_t pid;

	(void)state;
	service.socks[0] = listening_socket(fresh_path());
	snprintf(path, sizeof(path), "%s", fresh_path());
	service.socks[1] = listening_socket(path);
	pid = rf_test_child(start_service, &service, 0, 0);
	close(service.socks[0]);
	close(service.socks[1]);
	assert_frames_come(path);
	assert_int_equal(rf_test_wait(pid, SOON_MS), 0);
}

static void a_service_that_was_handed_nothing_says_so(void **state)
{
	struct service service = {.n = 0, .names = "", .address = "fd:listen"};

	(void)state;
	assert_int_equal(rf_test_wait(rf_test_child(start_service, &service, 0, 0), SOON_MS), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_channel_opens_at_an_abstract_name),
		cmocka_unit_test(an_abstract_name_is_taken_until_its_listener_closes),
		cmocka_unit_test(a_name_that_nobody_has_is_told_by_name),
		cmocka_unit_test(c11_a_client_refuses_a_stranger_who_has_the_name),
		cmocka_unit_test(a_stranger_at_an_abstract_name_is_refused_by_policy),
		cmocka_unit_test(a_service_takes_the_socket_that_it_was_handed),
		cmocka_unit_test(a_service_with_two_sockets_takes_one_by_name),
		cmocka_unit_test(a_service_that_was_handed_nothing_says_so),
	};

	rf_test_limit(50);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
