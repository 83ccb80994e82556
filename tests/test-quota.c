/* SPDX-License-Identifier: MIT */
/* What one user may take from a listener, and when it gets it back: when the memory is really free,
 * and the descriptors really taken out. */
#include "raw-client.h"

#include "quota.h"
#include "util/clock.h"
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>

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
	unsetenv("RF_TEST_WITHOUT_KERNEL");
	assert_no_leaks(&leaks);
	return 0;
}

/* A listener that admits two more users, and one channel for each. */
struct scene {
	struct rf_options options;
	char path[128];
	struct rf_listener *listener;
};

static void scene_begin(struct scene *scene)
{
	static const uid_t uids[] = {RF_TEST_UID, RF_TEST_OTHER_UID};

	scene->options = channel_options(RF_DOORBELL_EVENTFD, 0);
	scene->options.uids = uids;
	scene->options.n_uids = 2;
	scene->options.max_channels = 1;
	snprintf(scene->path, sizeof(scene->path), "%s", fresh_path());
}

static void scene_listen(struct scene *scene)
{
	scene->listener = listen_at(scene->path, &scene->options);
}

static int try_one(struct scene *scene, char reason[192])
{
	struct ends ends;
	int r = meet(scene->listener, scene->path, NULL, &ends, reason);

	if (r == 0)
		ends_close(&ends);
	return r;
}

/* Channels and bytes */

static void c6_a_channel_too_many_is_refused(void **state)
{
	struct scene scene;
	struct ends ends;
	char reason[192];

	(void)state;
	scene_begin(&scene);
	scene_listen(&scene);
	assert_int_equal(meet(scene.listener, scene.path, NULL, &ends, NULL), 0);
	assert_int_equal(try_one(&scene, reason), -ENOBUFS);
	assert_has(reason, "has 1 channels");
	assert_int_equal(listener_figures(scene.listener).refused, 1);
	ends_close(&ends);
	assert_int_equal(try_one(&scene, NULL), 0);
	assert_int_equal(try_one(&scene, NULL), 0);
	rf_listener_close(scene.listener);
}

static void m11_bytes_beyond_the_quota_are_refused(void **state)
{
	struct scene scene;
	struct ends ends;
	char reason[192];

	(void)state;
	scene_begin(&scene);
	scene.options.max_channels = 10;
	scene.options.max_bytes = 3 * RING_BYTES + 64 * 1024;
	scene_listen(&scene);
	assert_int_equal(meet(scene.listener, scene.path, NULL, &ends, NULL), 0);
	assert_int_equal(try_one(&scene, reason), -ENOBUFS);
	assert_has(reason, "bytes of rings");
	ends_close(&ends);
	assert_int_equal(try_one(&scene, NULL), 0);
	rf_listener_close(scene.listener);
}

/* Stays connected until it is killed. */
static int connect_and_stay(void *arg)
{
	struct rf_channel *channel = NULL;
	int r = rf_connect(arg, NULL, rf_test_deadline(SOON_MS), &channel);

	if (r < 0)
		return -r;
	pause();
	return 0;
}

static int connect_and_go(void *arg)
{
	struct rf_channel *channel = NULL;
	int r = rf_connect(arg, NULL, rf_test_deadline(SOON_MS), &channel);

	rf_channel_close(channel);
	return -r;
}

static void c6_what_one_user_has_is_not_anothers(void **state)
{
	struct rf_channel *first, *second;
	struct scene scene;
	pid_t pids[2];

	(void)state;
	rf_test_need_root();
	scene_begin(&scene);
	scene_listen(&scene);
	pids[0] = rf_test_child(connect_and_stay, scene.path, RF_TEST_UID, RF_TEST_UID);
	first = accept_one(scene.listener);
	pids[1] = rf_test_child(connect_and_go, scene.path, RF_TEST_OTHER_UID, RF_TEST_OTHER_UID);
	second = accept_one(scene.listener);
	assert_int_equal(rf_test_wait(pids[1], SOON_MS), 0);
	rf_test_kill(pids[0]);
	rf_channel_close(first);
	rf_channel_close(second);
	rf_listener_close(scene.listener);
}

/* Half-open ones */

static int call_and_stay(void *arg)
{
	int i;

	for (i = 0; i < 20; i++)
		if (raw_connect(arg) < 0)
			return 1;
	pause();
	return 0;
}

static void c6_half_open_handshakes_of_one_user_leave_room_for_others(void **state)
{
	struct scene scene;
	uint64_t until = rf_test_deadline(SOON_MS);
	struct rf_channel *channel;
	pid_t pids[2];

	(void)state;
	rf_test_need_root();
	scene_begin(&scene);
	scene_listen(&scene);
	pids[0] = rf_test_child(call_and_stay, scene.path, RF_TEST_UID, RF_TEST_UID);
	while (listener_figures(scene.listener).refused < 16 && rf_test_deadline(0) < until)
		rf_accept(scene.listener, rf_test_deadline(WHILE_MS), &channel);
	assert_int_equal(listener_figures(scene.listener).refused, 16);
	assert_int_equal(listener_figures(scene.listener).handshakes, 4);
	assert_has(
		rf_listener_reason(scene.listener), "uid 61000 has 4 handshakes under way already");
	pids[1] = rf_test_child(connect_and_go, scene.path, RF_TEST_OTHER_UID, RF_TEST_OTHER_UID);
	rf_channel_close(accept_one(scene.listener));
	assert_int_equal(rf_test_wait(pids[1], SOON_MS), 0);
	rf_test_kill(pids[0]);
	rf_listener_close(scene.listener);
}

static void c6_our_own_user_has_12_places_at_most(void **state)
{
	struct scene scene;
	int socks[16], i;

	(void)state;
	scene_begin(&scene);
	scene_listen(&scene);
	for (i = 0; i < 16; i++)
		socks[i] = raw_connect(scene.path);
	raw_turn(scene.listener);
	assert_int_equal(listener_figures(scene.listener).handshakes, 12);
	assert_int_equal(listener_figures(scene.listener).refused, 4);
	for (i = 0; i < 16; i++)
		close(socks[i]);
	assert_int_equal(try_one(&scene, NULL), 0);
	rf_listener_close(scene.listener);
}

/* Memory that a peer keeps: a reservation left open keeps the client's rings mapped. */

static void keep_memory(struct scene *scene, struct ends *ends, struct rf_buffer *ret_buffer)
{
	struct rf_tx *tx;

	assert_int_equal(meet(scene->listener, scene->path, NULL, ends, NULL), 0);
	tx = rf_channel_tx(ends->client);
	assert_int_equal(rf_tx_reserve(tx, 8, 0, ret_buffer), 0);
	rf_channel_close(ends->client);
	rf_channel_close(ends->server);
}

static void m10_a_quota_returns_when_the_peer_has_unmapped(void **state)
{
	struct rf_buffer buffer;
	struct scene scene;
	struct ends ends;
	struct rf_tx *tx;
	char reason[192];
	uint64_t until;

	(void)state;
	scene_begin(&scene);
	scene_listen(&scene);
	assert_int_equal(rf_listener_arm(scene.listener, &until), 0);
	assert_true(until == RF_FOREVER);
	keep_memory(&scene, &ends, &buffer);
	tx = &ends.client->tx;
	assert_int_equal(rf_listener_arm(scene.listener, &until), 0);
	assert_true(until <= rf_test_deadline(500));
	assert_int_equal(try_one(&scene, reason), -ENOBUFS);
	assert_has(reason, "whose memory it keeps");
	assert_int_equal(rf_tx_cancel(tx, &buffer), 0);
	assert_int_equal(try_one(&scene, NULL), 0);
	rf_listener_close(scene.listener);
}

static void m10_a_lease_of_our_own_keeps_the_quota_too(void **state)
{
	struct rf_message message;
	struct scene scene;
	struct ends ends;
	struct rf_rx *rx;

	(void)state;
	scene_begin(&scene);
	scene_listen(&scene);
	assert_int_equal(meet(scene.listener, scene.path, NULL, &ends, NULL), 0);
	rx = rf_channel_rx(ends.server);
	assert_int_equal(send_number(rf_channel_tx(ends.client), 1, 0), 0);
	assert_int_equal(rf_rx_borrow(rx, 0, &message, 1), 1);
	ends_close(&ends);
	assert_int_equal(try_one(&scene, NULL), -ENOBUFS);
	assert_int_equal(rf_rx_release(rx, &message, 1), 0);
	assert_int_equal(try_one(&scene, NULL), 0);
	rf_listener_close(scene.listener);
}

/* The timer gives it back where nobody comes. */
static void m10_the_listener_looks_again_on_its_own(void **state)
{
	struct rf_channel *channel;
	struct rf_buffer buffer;
	struct scene scene;
	struct ends ends;
	uint64_t until;

	(void)state;
	scene_begin(&scene);
	scene_listen(&scene);
	keep_memory(&scene, &ends, &buffer);
	assert_int_equal(rf_tx_cancel(&ends.client->tx, &buffer), 0);
	assert_int_equal(rf_accept(scene.listener, rf_test_deadline(600), &channel), -ETIMEDOUT);
	assert_int_equal(rf_listener_arm(scene.listener, &until), 0);
	assert_true(until == RF_FOREVER);
	rf_listener_close(scene.listener);
}

/* Says that it has closed its channel, and keeps a page of it. */
struct keeper {
	char path[128];
	int report;
};

static int keep_a_page(void *arg)
{
	const struct keeper *keeper = arg;
	struct rf_channel *channel = NULL;
	struct rf_buffer buffer;
	int r = rf_connect(keeper->path, NULL, rf_test_deadline(SOON_MS), &channel);

	if (r < 0)
		return -r;
	if (rf_tx_reserve(rf_channel_tx(channel), 8, 0, &buffer) < 0)
		return 1;
	rf_channel_close(channel);
	if (write(keeper->report, "", 1) != 1)
		return 2;
	pause();
	return 0;
}

static void m10_a_peer_that_dies_lets_go(void **state)
{
	struct rf_channel *channel;
	struct keeper keeper;
	struct scene scene;
	int report[2];
	pid_t pids[2];
	char byte;

	(void)state;
	rf_test_need_root();
	scene_begin(&scene);
	scene_listen(&scene);
	assert_int_equal(pipe2(report, O_CLOEXEC), 0);
	snprintf(keeper.path, sizeof(keeper.path), "%s", scene.path);
	keeper.report = report[1];
	pids[0] = rf_test_child(keep_a_page, &keeper, RF_TEST_UID, RF_TEST_UID);
	rf_channel_close(accept_one(scene.listener));
	assert_int_equal(read(report[0], &byte, 1), 1);
	pids[1] = rf_test_child(connect_and_go, scene.path, RF_TEST_UID, RF_TEST_UID);
	while (listener_figures(scene.listener).refused == 0)
		rf_accept(scene.listener, rf_test_deadline(WHILE_MS), &channel);
	assert_int_equal(rf_test_wait(pids[1], SOON_MS), ENOBUFS);
	rf_test_kill(pids[0]);
	pids[1] = rf_test_child(connect_and_go, scene.path, RF_TEST_UID, RF_TEST_UID);
	rf_channel_close(accept_one(scene.listener));
	assert_int_equal(rf_test_wait(pids[1], SOON_MS), 0);
	close(report[0]);
	close(report[1]);
	rf_listener_close(scene.listener);
}

static void m10_without_proc_no_quota_returns(void **state)
{
	struct scene scene;

	(void)state;
	setenv("RF_TEST_WITHOUT_KERNEL", "proc", 1);
	scene_begin(&scene);
	scene_listen(&scene);
	assert_int_equal(try_one(&scene, NULL), 0);
	assert_int_equal(try_one(&scene, NULL), -ENOBUFS);
	rf_listener_close(scene.listener);
}

static void channels_outlive_their_listener_and_its_quota(void **state)
{
	struct rf_buffer buffer;
	struct scene scene;
	struct ends ends[2];

	(void)state;
	scene_begin(&scene);
	scene.options.max_channels = 2;
	scene_listen(&scene);
	keep_memory(&scene, &ends[0], &buffer);
	assert_int_equal(meet(scene.listener, scene.path, NULL, &ends[1], NULL), 0);
	rf_listener_close(scene.listener);
	ends_close(&ends[1]);
	assert_int_equal(rf_test_count_fds(), leaks.fds);
	assert_int_equal(rf_tx_cancel(&ends[0].client->tx, &buffer), 0);
}

/* The lease that is taken for a moment: its owner would be signalled, with a deadly signal, when
 * somebody opens the file then. */

static volatile sig_atomic_t signals;

static void count_signal(int number)
{
	(void)number;
	signals = signals + 1;
}

/* What is opened, by somebody who kept no more than a path descriptor of it, while the lease is
 * held; and how often that met it. */
static char intruder[48];
static unsigned met;

int __real_fcntl(int fd, int command, ...);
int __wrap_fcntl(int fd, int command, ...);

int __wrap_fcntl(int fd, int command, ...)
{
	va_list args;
	void *arg;
	int opened;

	va_start(args, command);
	arg = va_arg(args, void *);
	va_end(args);
	if (intruder[0] && command == F_SETLEASE && (long)arg == F_UNLCK) {
		opened = open(intruder, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
		met += opened < 0 && errno == EWOULDBLOCK;
		if (opened >= 0)
			close(opened);
	}
	return __real_fcntl(fd, command, arg);
}

static void m10_no_signal_of_a_lease_reaches_the_program(void **state)
{
	struct rf__region region = RF__REGION_INIT;
	struct sigaction count = {.sa_handler = count_signal}, urg, io;
	sigset_t before, after;
	int fd, other, path_only;

	(void)state;
	assert_int_equal(rf__region_create(&region, "test", RF__RING_SHAPE, 0, NULL), 0);
	fd = rf__region_keep(&region);
	other = rf__region_keep(&region);
	rf__region_close(&region);
	assert_true(fd >= 0 && other >= 0);
	assert_false(rf__region_is_let_go(fd));
	close(other);
	snprintf(intruder, sizeof(intruder), "/proc/self/fd/%d", fd);
	path_only = open(intruder, O_PATH | O_CLOEXEC);
	snprintf(intruder, sizeof(intruder), "/proc/self/fd/%d", path_only);
	sigaction(SIGURG, &count, &urg);
	sigaction(SIGIO, &count, &io);
	pthread_sigmask(SIG_SETMASK, NULL, &before);
	assert_true(rf__region_is_let_go(fd));
	assert_int_equal(met, 1);
	assert_int_equal(signals, 0);
	pthread_sigmask(SIG_SETMASK, NULL, &after);
	assert_int_equal(sigismember(&after, SIGURG), sigismember(&before, SIGURG));
	intruder[0] = '\0';
	sigaction(SIGURG, &urg, NULL);
	sigaction(SIGIO, &io, NULL);
	close(fd);
	close(path_only);
}

/* Descriptors in flight */

/* Sends a HELLO and lets the listener answer it. */
static int ask_for_welcome(struct scene *scene)
{
	unsigned char hello[RF__WIRE_MAX];
	size_t len = raw_hello(hello);
	int sock = raw_connect(scene->path);

	assert_int_equal(raw_send(sock, hello, len, -1), 0);
	raw_turn(scene->listener);
	return sock;
}

static void c3_unread_descriptors_count_until_they_are_taken_out(void **state)
{
	struct scene scene;
	uint64_t before;
	unsigned char message[RF__WIRE_MAX];
	int socks[2], fds[RF__FDS_MAX];
	unsigned n_fds;

	(void)state;
	scene_begin(&scene);
	scene.options.max_channels = 10;
	scene_listen(&scene);
	before = rf_test_limit_files(100); /* 50 in flight, 8 for one user */
	socks[0] = ask_for_welcome(&scene);
	assert_int_equal(listener_figures(scene.listener).handshakes, 1);
	socks[1] = ask_for_welcome(&scene);
	assert_int_equal(listener_figures(scene.listener).refused, 1);
	assert_has(rf_listener_reason(scene.listener), "leaves too many descriptors unread");
	close(socks[1]);

	/* It fails, but what is in its queue is in flight all the same. */
	assert_int_equal(raw_send(socks[0], "x", 1, -1), 0);
	raw_turn(scene.listener);
	assert_int_equal(listener_figures(scene.listener).handshakes, 0);
	socks[1] = ask_for_welcome(&scene);
	assert_int_equal(listener_figures(scene.listener).refused, 2);
	close(socks[1]);

	/* Once it is read, with or without its descriptors, it is not. */
	while (rf__socket_receive(socks[0], message, sizeof(message), fds, 0, &n_fds) > 0)
		;
	assert_int_equal(try_one(&scene, NULL), 0);
	close(socks[0]);
	rf_test_limit_files(before);
	rf_listener_close(scene.listener);
}

static void c3_a_peer_that_hangs_up_has_nothing_in_flight(void **state)
{
	struct scene scene;
	uint64_t before;
	int sock;

	(void)state;
	scene_begin(&scene);
	scene_listen(&scene);
	before = rf_test_limit_files(100);
	sock = ask_for_welcome(&scene);
	close(sock);
	assert_int_equal(try_one(&scene, NULL), 0);
	rf_test_limit_files(before);
	rf_listener_close(scene.listener);
}

/* Threads */

struct closing {
	struct rf_channel *channel;
	struct thread thread;
};

static int close_channel(void *arg)
{
	rf_channel_close(arg);
	return 0;
}

static void channels_may_be_closed_by_any_thread(void **state)
{
	struct closing closing[8];
	struct scene scene;
	struct ends ends;
	unsigned i, n = rf_test_rounds(200);

	(void)state;
	scene_begin(&scene);
	scene.options.max_channels = 20;
	scene_listen(&scene);
	for (i = 0; i < n + 8; i++) {
		if (i >= 8)
			thread_join(&closing[i % 8].thread);
		if (i >= n)
			continue;
		assert_int_equal(meet(scene.listener, scene.path, NULL, &ends, NULL), 0);
		rf_channel_close(ends.client);
		thread_start(&closing[i % 8].thread, close_channel, ends.server);
	}
	scene.options.max_channels = 0;
	assert_int_equal(try_one(&scene, NULL), 0);
	rf_listener_close(scene.listener);
}

static int close_in_child(void *arg)
{
	struct ends *ends = arg;

	rf_channel_close(ends->server);
	rf_channel_close(ends->client);
	return 0;
}

static void c13_a_child_returns_nothing(void **state)
{
	struct scene scene;
	struct ends ends;

	(void)state;
	scene_begin(&scene);
	scene_listen(&scene);
	assert_int_equal(meet(scene.listener, scene.path, NULL, &ends, NULL), 0);
	assert_int_equal(rf_test_wait(rf_test_child(close_in_child, &ends, 0, 0), SOON_MS), 0);
	assert_int_equal(try_one(&scene, NULL), -ENOBUFS);
	ends_close(&ends);
	assert_int_equal(try_one(&scene, NULL), 0);
	rf_listener_close(scene.listener);
}

#define fact(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		fact(c6_a_channel_too_many_is_refused),
		fact(m11_bytes_beyond_the_quota_are_refused),
		fact(c6_what_one_user_has_is_not_anothers),
		fact(c6_half_open_handshakes_of_one_user_leave_room_for_others),
		fact(c6_our_own_user_has_12_places_at_most),
		fact(m10_a_quota_returns_when_the_peer_has_unmapped),
		fact(m10_a_lease_of_our_own_keeps_the_quota_too),
		fact(m10_the_listener_looks_again_on_its_own),
		fact(m10_a_peer_that_dies_lets_go),
		fact(m10_without_proc_no_quota_returns),
		fact(channels_outlive_their_listener_and_its_quota),
		fact(m10_no_signal_of_a_lease_reaches_the_program),
		fact(c3_unread_descriptors_count_until_they_are_taken_out),
		fact(c3_a_peer_that_hangs_up_has_nothing_in_flight),
		fact(channels_may_be_closed_by_any_thread),
		fact(c13_a_child_returns_nothing),
	};

	rf_test_limit(50);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
