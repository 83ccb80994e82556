/* SPDX-License-Identifier: MIT */
/* Handshakes that never end, and clients that say anything: none of them holds up an honest one. */
#include "channel-fixture.h"
#include "raw-client.h"

#include "socket.h"
#include "util/clock.h"
#include "wire.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define PLACES 16 /* handshakes that a listener has under way at a time */

static int call(const char *path)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	snprintf(name.sun_path, sizeof(name.sun_path), "%s", path);
	assert_int_equal(connect(sock, (struct sockaddr *)&name, sizeof(name)), 0);
	return sock;
}

static struct rf_listener_stats listener_stats(struct rf_listener *listener)
{
	struct rf_listener_stats stats = {.size = sizeof(stats)};

	assert_int_equal(rf_listener_stats(listener, &stats), 0);
	return stats;
}

/* Lets the listener take in what is there. */
static void turn(struct rf_listener *listener)
{
	struct rf_channel *channel;

	assert_int_equal(rf_accept(listener, 0, &channel), -EAGAIN);
}

struct crowd {
	char path[128];
	struct rf_listener *listener;
	int socks[PLACES + 4];
	unsigned n;
};

static void crowd_begin(struct crowd *crowd, unsigned n)
{
	struct rf_options options;

	rf_options_init(&options);
	options.max_handshakes = PLACES;
	snprintf(crowd->path, sizeof(crowd->path), "%s", fresh_path());
	crowd->listener = listen_at(crowd->path, &options);
	for (crowd->n = 0; crowd->n < n; crowd->n++)
		crowd->socks[crowd->n] = call(crowd->path);
	turn(crowd->listener);
}

static void crowd_end(struct crowd *crowd)
{
	while (crowd->n)
		close(crowd->socks[--crowd->n]);
	rf_listener_close(crowd->listener);
}

static void honest_is_served(struct crowd *crowd, unsigned timeout_ms)
{
	struct connecting connecting;
	struct rf_channel *channel;

	connect_start(&connecting, crowd->path, NULL, timeout_ms);
	channel = accept_one(crowd->listener);
	assert_int_equal(thread_join(&connecting.thread), 0);
	rf_channel_close(connecting.channel);
	rf_channel_close(channel);
}

static void c4_the_silent_hold_up_nobody(void **state)
{
	struct crowd crowd;
	uint64_t until;

	(void)state;
	crowd_begin(&crowd, PLACES - 1);
	assert_int_equal(listener_stats(crowd.listener).handshakes, PLACES - 1);
	assert_int_equal(rf_listener_arm(crowd.listener, &until), 0);
	assert_true(until <= rf_test_deadline(5000));
	honest_is_served(&crowd, 2000);
	honest_is_served(&crowd, 2000);
	crowd_end(&crowd);
}

static void c6_a_place_that_is_given_up_is_taken_by_the_next(void **state)
{
	struct crowd crowd;

	(void)state;
	crowd_begin(&crowd, PLACES + 3);
	assert_int_equal(listener_stats(crowd.listener).handshakes, PLACES);
	assert_false(wait_readable(rf_listener_fd(crowd.listener), 0));
	close(crowd.socks[--crowd.n]);
	close(crowd.socks[--crowd.n]);
	close(crowd.socks[--crowd.n]);
	close(crowd.socks[0]);
	crowd.socks[0] = crowd.socks[--crowd.n];
	assert_true(wait_readable(rf_listener_fd(crowd.listener), 0));
	honest_is_served(&crowd, 2000);
	crowd_end(&crowd);
}

/* The one test that waits for the 5 seconds. */
static void c4_who_says_nothing_for_5_seconds_is_dropped(void **state)
{
	unsigned char message[RF__WIRE_MAX];
	struct crowd crowd;
	unsigned n_fds;
	uint64_t begun = rf__now();

	(void)state;
	crowd_begin(&crowd, PLACES);
	honest_is_served(&crowd, 2 * SOON_MS);
	assert_true(rf__now() >= begun + 5 * RF__SEC);
	assert_int_equal(listener_stats(crowd.listener).failed, PLACES);
	assert_string_equal(
		rf_listener_reason(crowd.listener), "the handshake was not completed in time");
	assert_true(
		rf__socket_receive(crowd.socks[0], message, sizeof(message), NULL, 0, &n_fds) > 0);
	assert_int_equal(message[6], RF__WIRE_REFUSE);
	crowd_end(&crowd);
}

/* An event loop must not need more than the listener's descriptor and arm to get there, too. */
static void c4_the_silent_do_not_stop_an_event_loop(void **state)
{
	struct connecting connecting;
	struct rf_channel *channel;
	struct crowd crowd;
	uint64_t until, now;
	unsigned i;
	int r;

	(void)state;
	crowd_begin(&crowd, PLACES);
	connect_start(&connecting, crowd.path, NULL, 2 * SOON_MS);
	for (i = 0; i < PLACES / 2; i++)
		shutdown(crowd.socks[i], SHUT_RDWR);
	while ((r = rf_accept(crowd.listener, 0, &channel)) == -EAGAIN) {
		now = rf__now();
		if (rf_listener_arm(crowd.listener, &until) == 0)
			assert_true(wait_readable(rf_listener_fd(crowd.listener), SOON_MS) ||
				    until < rf__later(now, 6 * RF__SEC));
	}
	assert_int_equal(r, 0);
	assert_int_equal(thread_join(&connecting.thread), 0);
	rf_channel_close(connecting.channel);
	rf_channel_close(channel);
	crowd_end(&crowd);
}

/* What clients say: each is dropped at once, counted, and told why. */

static void is_dropped(struct crowd *crowd, int sock)
{
	uint64_t failed = listener_stats(crowd->listener).failed;
	unsigned char message[RF__WIRE_MAX];
	unsigned n_fds;

	turn(crowd->listener);
	assert_int_equal(listener_stats(crowd->listener).failed, failed + 1);
	assert_int_equal(listener_stats(crowd->listener).handshakes, 0);
	assert_true(rf__socket_receive(sock, message, sizeof(message), NULL, 0, &n_fds) > 0);
	assert_int_equal(message[6], RF__WIRE_REFUSE);
	close(sock);
}

static void says(struct crowd *crowd, const void *message, size_t len)
{
	int sock = call(crowd->path);

	assert_int_equal(send(sock, message, len, MSG_NOSIGNAL), len);
	is_dropped(crowd, sock);
}

static size_t make_hello(unsigned char *message)
{
	const struct rf__wish wish = {.kind = RF_BYTES,
		.max_ring_bytes = RING_BYTES,
		.ring_bytes = RING_BYTES,
		.doorbells = RF__BELL_SOCKET,
		.page_bytes = (uint32_t)rf__page_bytes()};
	struct rf__wire wire;
	unsigned n_fds;

	rf__wire_init(&wire, false, &wish);
	return rf__wire_output(&wire, message, &n_fds);
}

static void c4_garbage_is_refused_at_once(void **state)
{
	static const unsigned char long_one[4096];
	unsigned char hello[RF__WIRE_MAX];
	size_t len = make_hello(hello);
	struct crowd crowd;

	(void)state;
	crowd_begin(&crowd, 0);
	says(&crowd, "", 0);
	says(&crowd, "x", 1);
	says(&crowd, long_one, sizeof(long_one));
	says(&crowd, hello, len - 1);
	hello[0] ^= 1;
	says(&crowd, hello, len);
	honest_is_served(&crowd, SOON_MS);
	crowd_end(&crowd);
}

static void c4_a_replayed_hello_is_refused(void **state)
{
	unsigned char hello[RF__WIRE_MAX];
	size_t len = make_hello(hello);
	struct crowd crowd;
	struct rf_channel *channel;
	int sock;

	(void)state;
	crowd_begin(&crowd, 0);
	sock = call(crowd.path);
	assert_int_equal(send(sock, hello, len, 0), len);
	assert_int_equal(send(sock, hello, len, 0), len);
	assert_int_equal(rf_accept(crowd.listener, 0, &channel), -EAGAIN);
	assert_int_equal(listener_stats(crowd.listener).failed, 1);
	close(sock);
	honest_is_served(&crowd, SOON_MS);
	crowd_end(&crowd);
}

static void c4_a_flood_is_read_no_further_than_the_first_wrong_message(void **state)
{
	struct crowd crowd;
	unsigned i;
	int sock;

	(void)state;
	crowd_begin(&crowd, 0);
	sock = call(crowd.path);
	for (i = 0; i < 200; i++)
		send(sock, "flood", 5, MSG_DONTWAIT | MSG_NOSIGNAL);
	is_dropped(&crowd, sock);
	honest_is_served(&crowd, SOON_MS);
	crowd_end(&crowd);
}

static void c4_who_hangs_up_in_mid_handshake_is_forgotten(void **state)
{
	unsigned char hello[RF__WIRE_MAX];
	size_t len = make_hello(hello);
	struct crowd crowd;
	unsigned i;
	int sock;

	(void)state;
	crowd_begin(&crowd, 0);
	for (i = 0; i < 40; i++) {
		sock = call(crowd.path);
		assert_int_equal(send(sock, hello, len, 0), len);
		if (i % 2)
			turn(crowd.listener);
		close(sock);
		turn(crowd.listener);
	}
	assert_int_equal(listener_stats(crowd.listener).failed, 40);
	assert_int_equal(listener_stats(crowd.listener).handshakes, 0);
	honest_is_served(&crowd, SOON_MS);
	crowd_end(&crowd);
}

/* C5: somebody says HELLO and reads nothing; what lies in the socket for him is freed with it. */
static void c5_who_reads_no_reply_costs_a_place_until_the_listener_closes(void **state)
{
	unsigned char hello[RF__WIRE_MAX];
	size_t len = make_hello(hello);
	struct crowd crowd;
	unsigned i;

	(void)state;
	crowd_begin(&crowd, PLACES - 1);
	for (i = 0; i < crowd.n; i++)
		assert_int_equal(send(crowd.socks[i], hello, len, 0), len);
	turn(crowd.listener);
	assert_int_equal(listener_stats(crowd.listener).handshakes, PLACES - 1);
	honest_is_served(&crowd, SOON_MS);
	crowd_end(&crowd);
}

static void a_single_connection_that_hangs_up_says_so(void **state)
{
	struct rf_listener *listener;
	struct rf_channel *channel;
	int socks[2];

	(void)state;
	make_pair(socks);
	assert_int_equal(rf_listen(fd_address(socks[0]), NULL, &listener), 0);
	close(socks[1]);
	assert_int_equal(rf_accept(listener, rf_test_deadline(SOON_MS), &channel), -EPIPE);
	assert_has(rf_reason(), "went during the handshake");
	rf_listener_close(listener);
}

static void who_only_looks_was_not_turned_away(void **state)
{
	struct rf_listener *listener;
	struct rf_channel *channel;
	char path[128];

	(void)state;
	snprintf(path, sizeof(path), "%s", fresh_path());
	listener = listen_at(path, NULL);
	close(raw_connect(path));
	assert_int_equal(rf_accept(listener, rf_test_deadline(WHILE_MS), &channel), -ETIMEDOUT);
	assert_string_equal(rf_listener_reason(listener), "");
	rf_listener_close(listener);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, leaks_setup, leaks_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_single_connection_that_hangs_up_says_so),
		TEST(who_only_looks_was_not_turned_away),
		TEST(c4_the_silent_hold_up_nobody),
		TEST(c6_a_place_that_is_given_up_is_taken_by_the_next),
		TEST(c4_who_says_nothing_for_5_seconds_is_dropped),
		TEST(c4_the_silent_do_not_stop_an_event_loop),
		TEST(c4_garbage_is_refused_at_once),
		TEST(c4_a_replayed_hello_is_refused),
		TEST(c4_a_flood_is_read_no_further_than_the_first_wrong_message),
		TEST(c4_who_hangs_up_in_mid_handshake_is_forgotten),
		TEST(c5_who_reads_no_reply_costs_a_place_until_the_listener_closes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
