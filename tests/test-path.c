/* SPDX-License-Identifier: MIT */
/* Socket files: whose they are, what is left alone, what is replaced. */
#include "channel-fixture.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static struct leaks leaks;
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

static mode_t mode_of(const char *path)
{
	struct stat st;

	assert_int_equal(lstat(path, &st), 0);
	return st.st_mode;
}

static void the_socket_file_has_the_mode_that_was_asked_for(void **state)
{
	struct rf_options options = channel_options(RF_DOORBELL_AUTO, 0);
	uid_t uid = RF_TEST_UID;
	const char *path = fresh_path();
	struct rf_listener *listener;

	(void)state;
	listener = listen_at(path, &options);
	assert_int_equal(mode_of(path), S_IFSOCK | 0600);
	rf_listener_close(listener);
	assert_int_equal(access(path, F_OK), -1);
	options.uids = &uid;
	options.n_uids = 1;
	listener = listen_at(path, &options);
	assert_int_equal(mode_of(path), S_IFSOCK | 0666);
	rf_listener_close(listener);
	options.mode = 0640;
	listener = listen_at(path, &options);
	assert_int_equal(mode_of(path), S_IFSOCK | 0640);
	rf_listener_close(listener);
}

static void listen_fails(const char *path, int error, const char *reason)
{
	struct rf_listener *listener = NULL;

	assert_int_equal(rf_listen(path, NULL, &listener), error);
	assert_null(listener);
	assert_has(rf_reason(), reason);
}

static void c11_what_is_no_socket_is_left_alone(void **state)
{
	char path[128], link[128];
	int fd;

	(void)state;
	snprintf(path, sizeof(path), "%s", fresh_path());
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	close(fd);
	listen_fails(path, -EEXIST, "is not a socket");
	assert_int_equal(mode_of(path), S_IFREG | 0644);
	snprintf(link, sizeof(link), "%s", fresh_path());
	assert_int_equal(symlink("/nowhere", link), 0);
	listen_fails(link, -EEXIST, "is not a socket");
	assert_true(S_ISLNK(mode_of(link)));
	assert_int_equal(mkdir(fresh_path(), 0700), 0);
	listen_fails(rf_test_tmpdir(), -EEXIST, "is not a socket");
	listen_fails("/nowhere/at/all", -ENOENT, "/nowhere/at/all");
}

static void c11_a_symlinked_lock_is_not_followed(void **state)
{
	char path[128], lock[140];

	(void)state;
	snprintf(path, sizeof(path), "%s", fresh_path());
	snprintf(lock, sizeof(lock), "%s.lock", path);
	assert_int_equal(symlink("elsewhere", lock), 0);
	listen_fails(path, -ELOOP, ".lock");
}

static void c11_a_stale_socket_is_replaced_and_a_live_one_is_not(void **state)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	struct rf_listener *listener;
	int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	(void)state;
	snprintf(name.sun_path, sizeof(name.sun_path), "%s", fresh_path());
	assert_int_equal(bind(sock, (struct sockaddr *)&name, sizeof(name)), 0);
	close(sock);
	listener = listen_at(name.sun_path, NULL);
	listen_fails(name.sun_path, -EADDRINUSE, "somebody listens there");
	assert_int_equal(access(name.sun_path, F_OK), 0);
	rf_listener_close(listener);
}

static void c11_close_leaves_the_socket_of_a_successor(void **state)
{
	char path[128];
	struct rf_listener *first, *second;

	(void)state;
	snprintf(path, sizeof(path), "%s", fresh_path());
	first = listen_at(path, NULL);
	assert_int_equal(unlink(path), 0);
	second = listen_at(path, NULL);
	rf_listener_close(first);
	assert_true(S_ISSOCK(mode_of(path)));
	rf_listener_close(second);
	assert_int_equal(access(path, F_OK), -1);
}

static void c11_a_lock_that_is_held_ends_our_patience(void **state)
{
	char path[128], lock[140];
	int fd;

	(void)state;
	snprintf(path, sizeof(path), "%s", fresh_path());
	snprintf(lock, sizeof(lock), "%s.lock", path);
	fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(flock(fd, LOCK_EX), 0);
	listen_fails(path, -EADDRINUSE, "holds the lock");
	close(fd);
	rf_listener_close(listen_at(path, NULL));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_socket_file_has_the_mode_that_was_asked_for),
		TEST(c11_what_is_no_socket_is_left_alone),
		TEST(c11_a_symlinked_lock_is_not_followed),
		TEST(c11_a_stale_socket_is_replaced_and_a_live_one_is_not),
		TEST(c11_close_leaves_the_socket_of_a_successor),
		TEST(c11_a_lock_that_is_held_ends_our_patience),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
