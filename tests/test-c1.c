/* SPDX-License-Identifier: MIT */
/* Descriptors that a peer has queued, where the kernel does not keep them out: they are neither
 * received nor discarded. The write end of a pipe stands for one that hangs whoever does: while it
 * is queued, the pipe has not hung up. */
#include "raw-client.h"

#include "util/clock.h"
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>

#define ASIDE_UID 8  /* sockets that cannot be closed, of one user */
#define ASIDE_ALL 64 /* of all */

/* A listener, and how many descriptors were open before it. What is set aside stays open. */
struct scene {
	char path[128];
	struct rf_listener *listener;
	size_t fds;
};

static void scene_begin(struct scene *scene, const struct rf_options *options)
{
	rf_test_tmpdir();
	snprintf(scene->path, sizeof(scene->path), "%s", fresh_path());
	scene->fds = rf_test_count_fds();
	scene->listener = listen_at(scene->path, options);
}

static void scene_end(struct scene *scene, size_t set_aside)
{
	rf_listener_close(scene->listener);
	assert_int_equal(rf_test_count_fds(), scene->fds + set_aside);
}

/* A pipe whose write end will exist in the queue only. */
struct bait {
	int ends[2];
};

static struct bait bait_new(void)
{
	struct bait bait;

	assert_int_equal(pipe2(bait.ends, O_CLOEXEC), 0);
	return bait;
}

static void bait_send(struct bait *bait, int sock, const void *message, size_t len)
{
	assert_int_equal(raw_send(sock, message, len, bait->ends[1]), 0);
	close(bait->ends[1]);
}

static bool bait_is_queued(const struct bait *bait)
{
	struct pollfd poll_fd = {.fd = bait->ends[0], .events = POLLIN};

	return poll(&poll_fd, 1, 0) == 0;
}

static void honest_is_served(struct scene *scene)
{
	struct ends ends;

	assert_int_equal(meet(scene->listener, scene->path, NULL, &ends, NULL), 0);
	ends_close(&ends);
}

/* How a client sends it: with the HELLO, behind it, behind empty messages, instead of it. */

static void with_hello(struct bait *bait, int sock)
{
	unsigned char hello[RF__WIRE_MAX];
	size_t len = raw_hello(hello);

	bait_send(bait, sock, hello, len);
}

static void behind_hello(struct bait *bait, int sock)
{
	unsigned char hello[RF__WIRE_MAX];
	size_t len = raw_hello(hello);

	assert_int_equal(raw_send(sock, hello, len, -1), 0);
	bait_send(bait, sock, hello, len);
}

static void behind_nothing(struct bait *bait, int sock)
{
	int i;

	for (i = 0; i < 20; i++)
		assert_int_equal(raw_send(sock, "", 0, -1), 0);
	bait_send(bait, sock, "", 0);
}

static void on_its_own(struct bait *bait, int sock)
{
	bait_send(bait, sock, "", 0);
}

static void (*const ways[])(struct bait *bait, int sock) = {
	with_hello, behind_hello, behind_nothing, on_its_own};

static void c1_a_socket_with_queued_descriptors_is_set_aside(void **state)
{
	struct scene scene;
	struct bait bait;
	size_t i;
	int sock;

	(void)state;
	for (i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		scene_begin(&scene, NULL);
		sock = raw_connect(scene.path);
		bait = bait_new();
		ways[i](&bait, sock);
		raw_turn(scene.listener);
		assert_int_equal(listener_figures(scene.listener).handshakes, 0);
		assert_int_equal(listener_figures(scene.listener).failed, 1);
		assert_true(wait_readable(sock, SOON_MS));
		assert_true(bait_is_queued(&bait));
		honest_is_served(&scene);
		close(sock);
		assert_true(bait_is_queued(&bait));
		close(bait.ends[0]);
		scene_end(&scene, 1);
	}
}

static void c1_what_was_never_accepted_is_set_aside_at_the_end(void **state)
{
	struct scene scene;
	struct bait bait = bait_new();
	int socks[2];

	(void)state;
	scene_begin(&scene, NULL);
	socks[0] = raw_connect(scene.path);
	socks[1] = raw_connect(scene.path);
	with_hello(&bait, socks[1]);
	close(socks[0]);
	close(socks[1]);
	scene.fds--; /* the write end of the bait */
	scene_end(&scene, 1);
	assert_true(bait_is_queued(&bait));
	close(bait.ends[0]);
}

/* Channels */

static void open_channel(struct scene *scene, struct ends *ends)
{
	struct rf_options options = channel_options(RF_DOORBELL_SOCKET, RF_WAIT_SLEEP);

	assert_int_equal(meet(scene->listener, scene->path, &options, ends, NULL), 0);
}

static void c1_descriptors_among_the_kicks_are_a_breach(void **state)
{
	struct bait bait = bait_new();
	struct scene scene;
	struct ends ends;
	uint64_t number;

	(void)state;
	scene_begin(&scene, NULL);
	open_channel(&scene, &ends);
	assert_int_equal(raw_send(ends.client->link.sock, "c", 1, -1), 0);
	bait_send(&bait, ends.client->link.sock, "c", 1);
	assert_int_equal(
		take_number(rf_channel_rx(ends.server), rf_test_deadline(SOON_MS), &number),
		-EPROTO);
	assert_has(rf_channel_reason(ends.server), "descriptors that nobody asked for");
	assert_true(bait_is_queued(&bait));
	ends_close(&ends);
	assert_true(bait_is_queued(&bait));
	honest_is_served(&scene);
	close(bait.ends[0]);
	scene.fds -= 2; /* the bait */
	scene_end(&scene, 1);
}

static void c1_descriptors_that_come_with_eventfd_doorbells_wait_for_the_end(void **state)
{
	struct rf_options options = channel_options(RF_DOORBELL_EVENTFD, 0);
	struct bait bait = bait_new();
	struct scene scene;
	struct ends ends;

	(void)state;
	scene_begin(&scene, &options);
	assert_int_equal(meet(scene.listener, scene.path, &options, &ends, NULL), 0);
	bait_send(&bait, ends.client->link.sock, "c", 1);
	assert_int_equal(send_number(rf_channel_tx(ends.client), 1, 0), 0);
	assert_int_equal(take_numbers(rf_channel_rx(ends.server), 1, 1, 0), 0);
	ends_close(&ends);
	assert_true(bait_is_queued(&bait));
	close(bait.ends[0]);
	scene.fds -= 2; /* the bait */
	scene_end(&scene, 1);
}

/* Two threads read one socket, each only what it has looked at. */

#define ROUNDS 2000

struct side {
	struct rf_channel *channel;
	uint64_t n;
};

static int give(void *arg)
{
	const struct side *side = arg;
	uint64_t i;
	int r = 0;

	for (i = 0; i < side->n && r >= 0; i++)
		r = send_number(rf_channel_tx(side->channel), i, rf_test_deadline(SOON_MS));
	return r;
}

static int take(void *arg)
{
	const struct side *side = arg;

	return take_numbers(
		rf_channel_rx(side->channel), 0, side->n, rf_test_deadline(3 * SOON_MS));
}

static void honest_peers_lose_no_wakeup_to_the_looking(void **state)
{
	struct thread threads[4];
	struct side sides[2];
	struct scene scene;
	struct ends ends;
	unsigned i;

	(void)state;
	scene_begin(&scene, NULL);
	open_channel(&scene, &ends);
	sides[0] = (struct side){ends.server, rf_test_rounds(ROUNDS * 10)};
	sides[1] = (struct side){ends.client, sides[0].n};
	for (i = 0; i < 4; i++)
		thread_start(&threads[i], i % 2 ? give : take, &sides[i / 2]);
	for (i = 0; i < 4; i++)
		assert_int_equal(thread_join(&threads[i]), 0);
	ends_close(&ends);
	scene_end(&scene, 0);
}

/* Too many */

static void attack(struct scene *scene, unsigned n)
{
	struct bait bait;
	int sock;

	while (n--) {
		bait = bait_new();
		sock = raw_connect(scene->path);
		on_its_own(&bait, sock);
		raw_turn(scene->listener);
		close(sock);
		close(bait.ends[0]);
	}
}

static void c1_who_has_8_set_aside_is_refused(void **state)
{
	struct scene scene;
	struct ends ends;
	char reason[192];

	(void)state;
	scene_begin(&scene, NULL);
	attack(&scene, ASIDE_UID - 1);
	honest_is_served(&scene);
	attack(&scene, 1);
	assert_int_equal(meet(scene.listener, scene.path, NULL, &ends, reason), -ENOBUFS);
	assert_has(reason, "has sent descriptors over too many connections");
	attack(&scene, 2);
	scene_end(&scene, ASIDE_UID + 2);
}

static int connect_and_close(void *arg)
{
	struct rf_channel *channel = NULL;
	int r = rf_connect(arg, NULL, rf_test_deadline(SOON_MS), &channel);

	rf_channel_close(channel);
	return -r;
}

static void c1_what_one_user_has_set_aside_is_not_anothers(void **state)
{
	static const uid_t uids[] = {RF_TEST_UID};
	struct rf_options options;
	struct scene scene;
	pid_t pid;

	(void)state;
	rf_test_need_root();
	rf_options_init(&options);
	options.uids = uids;
	options.n_uids = 1;
	scene_begin(&scene, &options);
	attack(&scene, ASIDE_UID);
	pid = rf_test_child(connect_and_close, scene.path, RF_TEST_UID, RF_TEST_UID);
	rf_channel_close(accept_one(scene.listener));
	assert_int_equal(rf_test_wait(pid, SOON_MS), 0);
	scene_end(&scene, ASIDE_UID);
}

static void c1_a_listener_out_of_room_for_them_accepts_nobody(void **state)
{
	struct rf_channel *channel;
	struct scene scene;
	uint64_t until;
	int sock;

	(void)state;
	scene_begin(&scene, NULL);
	attack(&scene, ASIDE_ALL);
	sock = raw_connect(scene.path);
	assert_int_equal(
		rf_accept(scene.listener, rf_test_deadline(WHILE_MS), &channel), -ETIMEDOUT);
	assert_has(rf_listener_reason(scene.listener), "cannot be closed");
	assert_int_equal(rf_listener_arm(scene.listener, &until), 0);
	assert_false(wait_readable(rf_listener_fd(scene.listener), 0));
	close(sock);
	scene_end(&scene, ASIDE_ALL);
}

/* What really hangs: the last close of a socket that lingers for 3 seconds. */

static int connect_loopback(int ret_socks[2])
{
	struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t len = sizeof(name);
	int listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), r = -1;

	ret_socks[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (!bind(listening, (struct sockaddr *)&name, len) && !listen(listening, 1) &&
		!getsockname(listening, (struct sockaddr *)&name, &len))
		r = connect(ret_socks[0], (struct sockaddr *)&name, len);
	ret_socks[1] = r < 0 ? -1 : accept(listening, NULL, NULL);
	close(listening);
	return ret_socks[1];
}

/* With more unsent than fits. */
static int lingering_socket(void)
{
	static const char much[65536];
	const struct linger linger = {.l_onoff = 1, .l_linger = 3};
	int socks[2];

	if (connect_loopback(socks) < 0)
		return -1;
	while (send(socks[0], much, sizeof(much), MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
		;
	if (setsockopt(socks[0], SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)))
		return -1;
	return socks[0];
}

/* The milliseconds for which the listener was held up; in a child, which hangs when it exits. */
static int survive_lingering(void *arg)
{
	int fd = lingering_socket(), report = *(int *)arg, sock;
	struct rf_listener *listener = NULL;
	struct rf_channel *channel;
	unsigned char hello[RF__WIRE_MAX];
	size_t len = raw_hello(hello);
	uint64_t begun, took;
	char path[128];

	snprintf(path, sizeof(path), "%s", fresh_path());
	if (fd < 0 || rf_listen(path, NULL, &listener) < 0)
		return 1;
	sock = raw_connect(path);
	if (raw_send(sock, hello, len, fd) < 0)
		return 2;
	close(fd);
	begun = rf__now();
	if (rf_accept(listener, 0, &channel) != -EAGAIN || listener_figures(listener).failed != 1)
		return 3;
	rf_listener_close(listener);
	took = rf__now() - begun;
	return write(report, &took, sizeof(took)) == sizeof(took) ? 0 : 4;
}

static void c1_a_lingering_socket_holds_up_nobody(void **state)
{
	uint64_t took = 0;
	int report[2];
	pid_t pid;

	(void)state;
	assert_int_equal(pipe2(report, O_CLOEXEC), 0);
	pid = rf_test_child(survive_lingering, &report[1], 0, 0);
	close(report[1]);
	assert_int_equal(read(report[0], &took, sizeof(took)), sizeof(took));
	close(report[0]);
	assert_true(took < RF__SEC);
	assert_int_equal(rf_test_wait(pid, SOON_MS), 0);
}

/* Inherited sockets, on any kernel */

static void c1_an_inherited_socket_may_have_descriptors_queued(void **state)
{
	struct bait bait = bait_new();
	struct rf_listener *listener;
	struct rf_channel *channel;
	size_t fds = rf_test_count_fds();
	int socks[2];

	(void)state;
	unsetenv("RF_TEST_WITHOUT_KERNEL");
	make_pair(socks);
	with_hello(&bait, socks[1]);
	listener = listen_at(fd_address(socks[0]), NULL);
	assert_int_equal(rf_accept(listener, rf_test_deadline(SOON_MS), &channel), -EBADMSG);
	assert_has(rf_reason(), "descriptors that nobody asked for");
	rf_listener_close(listener);
	close(socks[1]);
	assert_true(bait_is_queued(&bait));
	close(bait.ends[0]);
	assert_int_equal(rf_test_count_fds(), fds - 2 + 1);
	setenv("RF_TEST_WITHOUT_KERNEL", "passrights", 1);
}

static void an_inherited_socket_that_passes_credentials_is_fine(void **state)
{
	const int on = 1;
	struct connecting connecting;
	struct rf_listener *listener;
	struct rf_channel *channel;
	int socks[2];

	(void)state;
	make_pair(socks);
	assert_int_equal(setsockopt(socks[0], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)), 0);
	assert_int_equal(setsockopt(socks[0], SOL_SOCKET, SO_TIMESTAMP, &on, sizeof(on)), 0);
	listener = listen_at(fd_address(socks[0]), NULL);
	connect_start(&connecting, fd_address(socks[1]), NULL, SOON_MS);
	channel = accept_one(listener);
	assert_int_equal(thread_join(&connecting.thread), 0);
	rf_channel_close(connecting.channel);
	rf_channel_close(channel);
	rf_listener_close(listener);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(c1_a_socket_with_queued_descriptors_is_set_aside),
		cmocka_unit_test(c1_what_was_never_accepted_is_set_aside_at_the_end),
		cmocka_unit_test(c1_descriptors_among_the_kicks_are_a_breach),
		cmocka_unit_test(c1_descriptors_that_come_with_eventfd_doorbells_wait_for_the_end),
		cmocka_unit_test(honest_peers_lose_no_wakeup_to_the_looking),
		cmocka_unit_test(c1_who_has_8_set_aside_is_refused),
		cmocka_unit_test(c1_what_one_user_has_set_aside_is_not_anothers),
		cmocka_unit_test(c1_a_listener_out_of_room_for_them_accepts_nobody),
		cmocka_unit_test(c1_a_lingering_socket_holds_up_nobody),
		cmocka_unit_test(c1_an_inherited_socket_may_have_descriptors_queued),
		cmocka_unit_test(an_inherited_socket_that_passes_credentials_is_fine),
	};

	setenv("RF_TEST_WITHOUT_KERNEL", "passrights", 1);
	rf_test_limit(50);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
