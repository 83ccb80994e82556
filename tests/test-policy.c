/* SPDX-License-Identifier: MIT */
/* Whom a listener and a client deal with: uids, groups, the caller's function; and who can get at
 * the socket file. */
#include "raw-client.h"

#include <grp.h>
#include <sys/stat.h>

#define GID          61100
#define OTHER_GID    61101
#define OVERFLOW_UID 65534
#define OVERFLOW_GID 65534

/* A client, and whom it runs as. */
struct guest {
	const char *path;
	uid_t uid;
	gid_t gid, more; /* more: a supplementary group, 0: none */
};

static int connect_as(void *arg)
{
	const struct guest *guest = arg;
	struct rf_channel *channel = NULL;
	int r;

	if (setgroups(guest->more ? 1 : 0, &guest->more))
		return 101;
	if (setresgid(guest->gid, guest->gid, guest->gid))
		return 102;
	if (setresuid(guest->uid, guest->uid, guest->uid))
		return 103;
	r = rf_connect(guest->path, NULL, rf_test_deadline(SOON_MS), &channel);
	rf_channel_close(channel);
	return -r;
}

/* The errno that the guest got, or 0. */
static int receive_guest(struct rf_listener *listener, struct guest guest)
{
	struct rf_listener_stats before = listener_figures(listener), now;
	pid_t pid = rf_test_child(connect_as, &guest, 0, 0);
	uint64_t until = rf_test_deadline(SOON_MS);
	struct rf_channel *channel = NULL;
	int r, verdict;

	do {
		r = rf_accept(listener, rf_test_deadline(20), &channel);
		now = listener_figures(listener);
	} while (r < 0 && now.refused + now.failed == before.refused + before.failed &&
		 rf_test_deadline(0) < until);
	verdict = rf_test_wait(pid, SOON_MS);
	rf_channel_close(channel);
	return verdict;
}

static void the_groups_that_are_listed_are_admitted(void **state)
{
	static const gid_t listed[] = {GID, OVERFLOW_GID};
	struct rf_options options;
	struct rf_listener *listener;
	struct guest guest = {.path = fresh_path(), .uid = RF_TEST_UID};
	static const struct {
		gid_t gid, more;
		int expected;
	} rows[] = {
		{GID, 0, 0},
		{OTHER_GID, GID, 0},
		{OTHER_GID, 0, EPERM},
		{OTHER_GID, OTHER_GID, EPERM},
	};
	size_t i;

	(void)state;
	rf_test_need_root();
	rf_options_init(&options);
	options.gids = listed;
	options.n_gids = 2;
	listener = listen_at(guest.path, &options);
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		guest.gid = rows[i].gid;
		guest.more = rows[i].more;
		assert_int_equal(receive_guest(listener, guest), rows[i].expected);
	}
	assert_int_equal(listener_figures(listener).refused, 2);
	assert_has(rf_listener_reason(listener), "uid 61000 is not admitted");
	rf_listener_close(listener);
}

static void d10_the_overflow_gid_is_nobodys_group(void **state)
{
	static const gid_t listed[] = {OVERFLOW_GID};
	struct rf_options options;
	struct rf_listener *listener;
	struct guest guest = {.path = fresh_path(), .uid = RF_TEST_UID, .gid = OVERFLOW_GID};

	(void)state;
	rf_test_need_root();
	rf_options_init(&options);
	options.gids = listed;
	options.n_gids = 1;
	listener = listen_at(guest.path, &options);
	assert_int_equal(receive_guest(listener, guest), EPERM);
	guest.gid = GID;
	guest.more = OVERFLOW_GID;
	assert_int_equal(receive_guest(listener, guest), EPERM);
	rf_listener_close(listener);
}

/* The caller's function */

struct door {
	unsigned asked;
	int answer;
	struct rf_peer peer;
};

static int ask(const struct rf_peer *peer, void *context)
{
	struct door *door = context;

	door->asked++;
	door->peer = *peer;
	return door->answer;
}

static struct rf_options door_options(struct door *door)
{
	struct rf_options options;

	rf_options_init(&options);
	options.admit = ask;
	options.admit_context = door;
	return options;
}

static void the_callback_decides_about_strangers(void **state)
{
	struct door door = {.answer = 1};
	struct rf_options options = door_options(&door);
	struct guest guest = {.path = fresh_path(), .uid = RF_TEST_UID, .gid = GID};
	struct rf_listener *listener = NULL;

	(void)state;
	rf_test_need_root();
	listener = listen_at(guest.path, &options);
	assert_int_equal(receive_guest(listener, guest), 0);
	assert_int_equal(door.asked, 1);
	assert_int_equal(door.peer.uid, RF_TEST_UID);
	assert_int_equal(door.peer.gid, GID);
	assert_int_equal(door.peer.size, sizeof(struct rf_peer));
	assert_true(door.peer.pid > 0);
	door.answer = 0;
	assert_int_equal(receive_guest(listener, guest), EPERM);
	assert_int_equal(door.asked, 2);
	rf_listener_close(listener);
}

static void the_callback_is_not_asked_about_the_listed(void **state)
{
	static const uid_t listed[] = {RF_TEST_UID};
	struct door door = {.answer = 0};
	struct rf_options options = door_options(&door);
	struct guest guest = {.path = fresh_path(), .uid = RF_TEST_UID, .gid = GID};
	struct rf_listener *listener;

	(void)state;
	rf_test_need_root();
	options.uids = listed;
	options.n_uids = 1;
	listener = listen_at(guest.path, &options);
	assert_int_equal(receive_guest(listener, guest), 0);
	guest.uid = 0;
	assert_int_equal(receive_guest(listener, guest), 0);
	assert_int_equal(door.asked, 0);
	rf_listener_close(listener);
}

static void d10_the_callback_is_not_asked_about_the_overflow_uid(void **state)
{
	struct door door = {.answer = 1};
	struct rf_options options = door_options(&door);
	struct guest guest = {.path = fresh_path(), .uid = OVERFLOW_UID, .gid = GID};
	struct rf_listener *listener;

	(void)state;
	rf_test_need_root();
	listener = listen_at(guest.path, &options);
	assert_int_equal(receive_guest(listener, guest), EPERM);
	assert_int_equal(door.asked, 0);
	rf_listener_close(listener);
}

/* A listener of somebody else; its client, who is root, decides. */

static int listen_once(void *arg)
{
	static const uid_t all[] = {0};
	struct rf_channel *channel = NULL;
	struct rf_listener *listener = NULL;
	struct rf_options options;
	int r;

	rf_options_init(&options);
	options.uids = all;
	options.n_uids = 1;
	r = rf_listen(arg, &options, &listener);
	if (r >= 0)
		r = rf_accept(listener, rf_test_deadline(SOON_MS), &channel);
	rf_channel_close(channel);
	rf_listener_close(listener);
	return -r;
}

static int call_listener(pid_t *ret_pid, const struct rf_options *options)
{
	char path[128];
	struct rf_channel *channel = NULL;
	int r;

	snprintf(path, sizeof(path), "%s", fresh_path());
	*ret_pid = rf_test_child(listen_once, path, RF_TEST_UID, GID);
	r = rf_connect(path, options, rf_test_deadline(SOON_MS), &channel);
	rf_channel_close(channel);
	return r;
}

static void a_client_decides_who_may_be_its_server(void **state)
{
	static const gid_t listed[] = {GID};
	struct door door = {.answer = 1};
	struct rf_options options = door_options(&door), by_group;
	pid_t pid;

	(void)state;
	rf_test_need_root();
	assert_int_equal(call_listener(&pid, NULL), -EPERM);
	assert_has(rf_reason(), "uid 61000 is not admitted");
	rf_test_kill(pid);
	assert_int_equal(call_listener(&pid, &options), 0);
	assert_int_equal(rf_test_wait(pid, SOON_MS), 0);
	assert_int_equal(door.asked, 1);
	assert_int_equal(door.peer.uid, RF_TEST_UID);
	rf_options_init(&by_group);
	by_group.gids = listed;
	by_group.n_gids = 1;
	assert_int_equal(call_listener(&pid, &by_group), 0);
	assert_int_equal(rf_test_wait(pid, SOON_MS), 0);
}

/* The socket file */

static struct stat file_of(const struct rf_options *options)
{
	const char *path = fresh_path();
	struct rf_listener *listener = listen_at(path, options);
	struct stat st;

	assert_int_equal(lstat(path, &st), 0);
	rf_listener_close(listener);
	return st;
}

static void the_mode_of_the_socket_file_follows_the_policy(void **state)
{
	static const uid_t uids[] = {RF_TEST_UID};
	static const gid_t gids[] = {GID};
	static struct door door;
	static const struct {
		size_t n_uids, n_gids;
		bool asks, group;
		unsigned mode, expected;
	} rows[] = {
		{0, 0, false, false, 0, 0600},
		{1, 0, false, false, 0, 0666},
		{0, 1, false, false, 0, 0666},
		{0, 0, true, false, 0, 0666},
		{0, 0, false, true, 0, 0660},
		{0, 1, false, true, 0, 0660},
		{0, 0, true, true, 0, 0660},
		{1, 1, true, true, 0, 0666},
		{1, 1, true, true, 0640, 0640},
	};
	struct rf_options options;
	struct stat st;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		rf_options_init(&options);
		options.uids = uids;
		options.n_uids = rows[i].n_uids;
		options.gids = gids;
		options.n_gids = rows[i].n_gids;
		options.admit = rows[i].asks ? ask : NULL;
		options.admit_context = &door;
		options.flags = rows[i].group ? RF_OPTION_GROUP : 0;
		options.group = getegid();
		options.mode = rows[i].mode;
		st = file_of(&options);
		assert_int_equal(st.st_mode & 0777, rows[i].expected);
	}
}

static int connect_denied(void *arg)
{
	struct rf_channel *channel;

	return -rf_connect(arg, NULL, rf_test_deadline(SOON_MS), &channel);
}

/* Not at once: the file may be new. */
static void who_cannot_get_at_the_file_is_told_so(void **state)
{
	char path[128];
	struct rf_listener *listener;

	(void)state;
	rf_test_need_root();
	snprintf(path, sizeof(path), "%s", fresh_path());
	listener = listen_at(path, NULL);
	assert_int_equal(
		rf_test_wait(rf_test_child(connect_denied, path, RF_TEST_UID, GID), SOON_MS / 2),
		EACCES);
	rf_listener_close(listener);
}

static void the_socket_file_gets_the_group(void **state)
{
	struct rf_options options;

	(void)state;
	rf_test_need_root();
	rf_options_init(&options);
	options.flags = RF_OPTION_GROUP;
	options.group = GID;
	assert_int_equal(file_of(&options).st_gid, GID);
}

static int listen_with_foreign_group(void *arg)
{
	struct rf_listener *listener = NULL;
	struct rf_options options;
	struct stat st;

	rf_options_init(&options);
	options.flags = RF_OPTION_GROUP;
	options.group = OTHER_GID;
	if (rf_listen(arg, &options, &listener) != -EPERM)
		return 1;
	return lstat(arg, &st) < 0 && errno == ENOENT ? 0 : 2;
}

static void a_group_that_is_not_ours_to_give_fails_and_leaves_no_file(void **state)
{
	char path[128];

	(void)state;
	rf_test_need_root();
	snprintf(path, sizeof(path), "%s", fresh_path());
	assert_int_equal(
		rf_test_wait(
			rf_test_child(listen_with_foreign_group, path, RF_TEST_UID, GID), SOON_MS),
		0);
}

#define fact(name) cmocka_unit_test_setup_teardown(name, leaks_setup, leaks_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		fact(the_groups_that_are_listed_are_admitted),
		fact(d10_the_overflow_gid_is_nobodys_group),
		fact(the_callback_decides_about_strangers),
		fact(the_callback_is_not_asked_about_the_listed),
		fact(d10_the_callback_is_not_asked_about_the_overflow_uid),
		fact(a_client_decides_who_may_be_its_server),
		fact(the_mode_of_the_socket_file_follows_the_policy),
		fact(who_cannot_get_at_the_file_is_told_so),
		fact(the_socket_file_gets_the_group),
		fact(a_group_that_is_not_ours_to_give_fails_and_leaves_no_file),
	};

	rf_test_limit(50);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
