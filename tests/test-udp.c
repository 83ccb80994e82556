/* SPDX-License-Identifier: MIT */
/* UDP over the loopback: what is sent arrives, and what is known of a datagram is told. */
#include "udp-fixture.h"

#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>

#define MANY 200

static unsigned char sent[MANY][1500], received[MANY][1500], joined[RF__UDP_JOIN_BYTES];
static struct iovec parts[MANY];
static struct rf__udp_out out[MANY];
static struct rf__udp_in in[MANY];

/* n datagrams numbered from 0, of these sizes in turn. */
static void prepare(
	const size_t *sizes, unsigned n_sizes, unsigned n, const union rf__udp_address *to)
{
	unsigned i;

	for (i = 0; i < n; i++) {
		parts[i] = (struct iovec){sent[i], sizes[i % n_sizes]};
		out[i] = (struct rf__udp_out){
			.parts = &parts[i], .n_parts = 1, .to = to, .error = 1};
		in[i] = (struct rf__udp_in){.data = received[i], .size = sizeof(received[i])};
		fill(sent[i], parts[i].iov_len, i);
	}
}

static void receive_list(struct rf__udp *udp, unsigned n)
{
	unsigned got = 0;
	int r;

	while (got < n) {
		r = receive(udp, in + got, n - got);
		assert_true(r > 0);
		got += (unsigned)r;
	}
}

static void assert_list(unsigned n)
{
	unsigned i;

	for (i = 0; i < n; i++) {
		assert_int_equal(out[i].error, 0);
		assert_int_equal(in[i].len, parts[i].iov_len);
		assert_int_equal(in[i].cut, 0);
		assert_int_equal(rf__udp_segments(&in[i]), 1);
		assert_true(is_filled(received[i], in[i].len, i));
	}
}

/* There and back, the client connected or not. */
static void echo(union rf__udp_address name, union rf__udp_address to, uint32_t flags,
	bool connected, const char *shown)
{
	struct rf__udp *server = open_at(name, flags), *client;
	struct rf__udp_in got;
	char text[RF__UDP_TEXT_BYTES];

	to.v4.sin_port = rf__udp_name(server)->v4.sin_port;
	name = to;
	name.v4.sin_port = 0;
	client = connected ? open_to(to, 0) : open_at(name, 0);
	assert_int_equal(send_bytes(client, connected ? NULL : &to, 100, 1), 0);
	got = receive_bytes(server, 100, 1);
	snprintf(text, sizeof(text), "%s:%u", shown, port_of(rf__udp_name(client)));
	assert_true(is_printed(&got.peer, text));
	assert_int_equal(send_bytes(server, &got.peer, 200, 2), 0);
	got = receive_bytes(client, 200, 2);
	assert_int_equal(port_of(&got.peer), port_of(&to));
	assert_int_equal(rf__udp_receive(client, &got, 1), -EAGAIN);
	rf__udp_close(client);
	rf__udp_close(server);
}

static void datagrams_pass_over_ipv4(void **state)
{
	(void)state;
	echo(v4_at("127.0.0.1", 0), v4_at("127.0.0.1", 0), 0, false, "127.0.0.1");
	echo(v4_at("127.0.0.1", 0), v4_at("127.0.0.1", 0), 0, true, "127.0.0.1");
}

static void datagrams_pass_over_ipv6(void **state)
{
	(void)state;
	need_v6();
	echo(v6_at("::1", 0), v6_at("::1", 0), 0, false, "[::1]");
	echo(v6_at("::1", 0), v6_at("::1", 0), 0, true, "[::1]");
}

static void a_dual_socket_speaks_both(void **state)
{
	(void)state;
	need_v6();
	echo(v6_at("::", 0), v6_at("::1", 0), RF__UDP_DUAL, true, "[::1]");
	echo(v6_at("::", 0), v4_at("127.0.0.1", 0), RF__UDP_DUAL, true, "[::ffff:127.0.0.1]");
	echo(v6_at("::", 0), v4_at("127.0.0.1", 0), RF__UDP_DUAL, false, "[::ffff:127.0.0.1]");
}

static void an_ipv6_socket_that_is_not_dual_leaves_ipv4_alone(void **state)
{
	struct rf__udp *udp, *other;

	(void)state;
	need_v6();
	udp = open_at(v6_at("::", 0), 0);
	other = open_at(v4_at("0.0.0.0", port_of(rf__udp_name(udp))), 0);
	rf__udp_close(other);
	rf__udp_close(udp);
}

static void batches_arrive_whole_and_in_order(void **state)
{
	static const size_t sizes[] = {1, 1500, 0, 700, 700, 700, 20, 0, 0, 33};
	struct rf__udp *server = open_at(v4_at("127.0.0.1", 0), 0);
	struct rf__udp *client = open_at(v4_at("127.0.0.1", 0), 0);
	union rf__udp_address to = *rf__udp_name(server);
	struct rf__udp_stats stats;

	(void)state;
	prepare(sizes, 10, 100, &to);
	send_all(client, out, 100);
	receive_list(server, 100);
	assert_list(100);
	stats = stats_of(server);
	assert_int_equal(stats.in_datagrams, 100);
	assert_int_equal(stats.in_bytes, 10 * 3654);
	assert_true(stats.in_calls < 25);
	stats = stats_of(client);
	assert_int_equal(stats.out_datagrams, 100);
	assert_int_equal(stats.out_bytes, 10 * 3654);
	assert_true(stats.out_calls < 25);
	rf__udp_close(client);
	rf__udp_close(server);
}

static void a_datagram_is_gathered_from_parts(void **state)
{
	struct rf__udp *server = open_at(v4_at("127.0.0.1", 0), 0);
	struct rf__udp *client = open_to(*rf__udp_name(server), 0);
	struct iovec pieces[] = {{sent[0], 10}, {sent[0] + 10, 0}, {sent[0] + 10, 90}};
	struct rf__udp_out one = {.parts = pieces, .n_parts = 3};

	(void)state;
	fill(sent[0], 100, 7);
	send_all(client, &one, 1);
	receive_bytes(server, 100, 7);
	rf__udp_close(client);
	rf__udp_close(server);
}

static void what_does_not_fit_is_told(void **state)
{
	struct rf__udp *server = open_at(v4_at("127.0.0.1", 0), 0);
	struct rf__udp *client = open_to(*rf__udp_name(server), 0);
	struct rf__udp_in one = {.data = received, .size = 100};

	(void)state;
	send_bytes(client, NULL, 300, 1);
	send_bytes(client, NULL, 300, 2);
	memset(received, 0xee, sizeof(received));
	assert_int_equal(receive(server, &one, 1), 1);
	assert_int_equal(one.len, 100);
	assert_int_equal(one.cut, 200);
	assert_true(is_filled(received, 100, 1));
	assert_int_equal(received[0][100], 0xee);
	assert_int_equal(stats_of(server).in_cut, 1);
	receive_bytes(server, 300, 2);
	rf__udp_close(client);
	rf__udp_close(server);
}

/* Trains */

static bool has_trains(void)
{
	struct rf__udp *udp = open_at(v4_at("127.0.0.1", 0), 0);
	bool has = stats_of(udp).train_most > 1;

	rf__udp_close(udp);
	return has;
}

static bool can_join(void)
{
	struct rf__udp *udp = open_at(v4_at("127.0.0.1", 0), RF__UDP_JOIN);
	bool has = stats_of(udp).joins;

	rf__udp_close(udp);
	return has;
}

static void send_train(const char *host, unsigned n, uint32_t flags, struct rf__udp **ret_server,
	struct rf__udp **ret_client)
{
	static const size_t size = 1000;

	if (strchr(host, ':'))
		need_v6();
	*ret_server = open_with(&(struct rf__udp_options){
		.bind = strchr(host, ':') ? v6_at(host, 0) : v4_at(host, 0),
		.flags = flags,
		.receive_bytes = 1 << 20});
	*ret_client = open_to(*rf__udp_name(*ret_server), 0);
	prepare(&size, 1, n, NULL);
	parts[n - 1].iov_len = 10;
	send_all(*ret_client, out, n);
}

static void a_train_arrives_as_its_datagrams(void **state)
{
	struct rf__udp *server, *client;
	struct rf__udp_stats stats;

	rf_test_need("gso", has_trains());
	send_train(*state, 60, 0, &server, &client);
	stats = stats_of(client);
	assert_int_equal(stats.out_trains, 1);
	assert_int_equal(stats.out_calls, 1);
	receive_list(server, 60);
	assert_list(60);
	rf__udp_close(client);
	rf__udp_close(server);
}

static void long_trains_are_cut_at_what_the_kernel_takes(void **state)
{
	struct rf__udp *server = open_at(v4_at("127.0.0.1", 0), 0);
	struct rf__udp *client = open_to(*rf__udp_name(server), 0);
	static const size_t size = 10;
	struct rf__udp_stats stats;

	(void)state;
	rf_test_need("gso", has_trains());
	prepare(&size, 1, MANY, NULL);
	send_all(client, out, MANY);
	receive_list(server, MANY);
	assert_list(MANY);
	stats = stats_of(client);
	assert_int_equal(stats.out_trains, (MANY + stats.train_most - 1) / stats.train_most);
	assert_int_equal(stats.out_apart, stats.train_most < 128);
	rf__udp_close(client);
	rf__udp_close(server);
}

static void a_joined_train_comes_in_one_buffer(void **state)
{
	struct rf__udp *server, *client;
	struct rf__udp_in one = {.data = joined, .size = sizeof(joined)};
	unsigned i, number = 0;
	struct iovec segment;
	int got;

	rf_test_need("gso", has_trains() && can_join());
	send_train(*state, 60, RF__UDP_JOIN, &server, &client);
	while (number < 60) {
		got = receive(server, &one, 1);
		assert_int_equal(got, 1);
		for (i = 0; i < rf__udp_segments(&one); i++, number++) {
			segment = rf__udp_segment(&one, i);
			assert_int_equal(segment.iov_len, parts[number].iov_len);
			assert_true(is_filled(segment.iov_base, segment.iov_len, number));
		}
	}
	assert_int_equal(number, 60);
	assert_int_equal(stats_of(server).in_datagrams, 60);
	assert_true(stats_of(server).in_joined > 0);
	rf__udp_close(client);
	rf__udp_close(server);
}

static void a_joined_train_that_does_not_fit_loses_its_end(void **state)
{
	struct rf__udp *server, *client;
	struct rf__udp_in one = {.data = joined, .size = 2500};

	rf_test_need("gso", has_trains() && can_join());
	send_train(*state, 60, RF__UDP_JOIN, &server, &client);
	assert_int_equal(receive(server, &one, 1), 1);
	assert_int_equal(one.len, 2500);
	assert_int_equal(one.cut, 59010 - 2500);
	assert_int_equal(rf__udp_segments(&one), 3);
	assert_int_equal(rf__udp_segment(&one, 2).iov_len, 500);
	assert_int_equal(rf__udp_segment(&one, 3).iov_len, 0);
	assert_int_equal(stats_of(server).in_cut, 58);
	assert_int_equal(stats_of(server).in_datagrams, 60);
	rf__udp_close(client);
	rf__udp_close(server);
}

static void without_trains_all_arrives_all_the_same(void **state)
{
	struct rf__udp *server, *client;

	setenv("RF_TEST_WITHOUT_KERNEL", "udpsegment,udpgro", 1);
	send_train(*state, 60, RF__UDP_JOIN, &server, &client);
	unsetenv("RF_TEST_WITHOUT_KERNEL");
	assert_int_equal(stats_of(client).train_most, 1);
	assert_int_equal(stats_of(client).out_trains, 0);
	assert_false(stats_of(server).joins);
	receive_list(server, 60);
	assert_list(60);
	rf__udp_close(client);
	rf__udp_close(server);
}

static void apart_sends_no_trains(void **state)
{
	struct rf__udp *server = open_at(v4_at("127.0.0.1", 0), 0);
	struct rf__udp *client = open_to(*rf__udp_name(server), RF__UDP_APART);
	static const size_t size = 100;

	(void)state;
	prepare(&size, 1, 20, NULL);
	send_all(client, out, 20);
	receive_list(server, 20);
	assert_list(20);
	assert_int_equal(stats_of(client).out_trains, 0);
	rf__udp_close(client);
	rf__udp_close(server);
}

/* What is known of a datagram */

static void marks(union rf__udp_address name, union rf__udp_address to, uint32_t flags)
{
	struct rf__udp *server = open_at(name, RF__UDP_ECN | flags), *client;
	static const size_t size = 50;
	unsigned i;

	to.v4.sin_port = rf__udp_name(server)->v4.sin_port;
	client = open_to(to, 0);
	prepare(&size, 1, 8, NULL);
	for (i = 0; i < 8; i++)
		out[i].ecn = i / 2 & 3;
	send_all(client, out, 8);
	receive_list(server, 8);
	assert_list(8);
	for (i = 0; i < 8; i++)
		assert_int_equal(in[i].ecn, i / 2 & 3);
	rf__udp_close(client);
	rf__udp_close(server);
}

static void marks_are_seen_at_the_other_end(void **state)
{
	(void)state;
	marks(v4_at("127.0.0.1", 0), v4_at("127.0.0.1", 0), 0);
	need_v6();
	marks(v6_at("::1", 0), v6_at("::1", 0), 0);
	marks(v6_at("::", 0), v4_at("127.0.0.1", 0), RF__UDP_DUAL);
	marks(v6_at("::", 0), v6_at("::1", 0), RF__UDP_DUAL);
}

static void a_dual_socket_marks_ipv4(void **state)
{
	struct rf__udp *server, *client;
	union rf__udp_address to;
	static const size_t size = 50;

	(void)state;
	need_v6();
	server = open_at(v4_at("127.0.0.1", 0), RF__UDP_ECN);
	client = open_at(v6_at("::", 0), RF__UDP_DUAL);
	to = v6_at("::ffff:127.0.0.1", port_of(rf__udp_name(server)));
	prepare(&size, 1, 1, &to);
	out[0].ecn = 2;
	send_all(client, out, 1);
	receive_list(server, 1);
	assert_list(1);
	assert_int_equal(in[0].ecn, 2);
	rf__udp_close(client);
	rf__udp_close(server);
}

static void nothing_is_told_that_was_not_asked_for(void **state)
{
	struct rf__udp *server = open_at(v4_at("127.0.0.1", 0), 0);
	struct rf__udp *client = open_to(*rf__udp_name(server), 0);
	struct rf__udp_in got;

	(void)state;
	send_bytes(client, NULL, 10, 1);
	got = receive_bytes(server, 10, 1);
	assert_int_equal(got.ecn, 0);
	assert_int_equal(got.local.family, AF_UNSPEC);
	rf__udp_close(client);
	rf__udp_close(server);
}

/* The server, bound to any address, answers from the one that it was asked at. */
static void answer_from(union rf__udp_address name, union rf__udp_address to, uint32_t flags)
{
	struct rf__udp *server = open_at(name, RF__UDP_INFO | flags), *client;
	struct iovec part = {sent[0], 30};
	struct rf__udp_out answer = {.parts = &part, .n_parts = 1};
	struct rf__udp_in got;

	to.v4.sin_port = rf__udp_name(server)->v4.sin_port;
	client = open_to(to, 0);
	send_bytes(client, NULL, 10, 1);
	got = receive_bytes(server, 10, 1);
	assert_int_equal(got.local.family, rf__udp_name(server)->any.sa_family);
	assert_int_equal(got.local.iface, if_nametoindex("lo"));
	assert_memory_equal(&got.local.to, &got.local.own, sizeof(got.local.to.v4));
	fill(sent[0], 30, 3);
	answer.to = &got.peer;
	answer.local = &got.local;
	send_all(server, &answer, 1);
	assert_int_equal(answer.error, 0);
	receive_bytes(client, 30, 3);
	rf__udp_close(client);
	rf__udp_close(server);
}

static void answers_come_from_where_the_question_went(void **state)
{
	(void)state;
	answer_from(v4_at("0.0.0.0", 0), v4_at("127.0.0.5", 0), 0);
	need_v6();
	answer_from(v6_at("::", 0), v6_at("::1", 0), 0);
	answer_from(v6_at("::", 0), v4_at("127.0.0.5", 0), RF__UDP_DUAL);
}

static void a_source_that_is_not_ours_is_that_datagrams_error(void **state)
{
	struct rf__udp *server = open_at(v4_at("127.0.0.1", 0), 0);
	struct rf__udp *client = open_at(v4_at("127.0.0.1", 0), 0);
	union rf__udp_address to = *rf__udp_name(server);
	struct rf__udp_local foreign = {
		.family = AF_INET, .own.v4 = v4_at("192.0.2.1", 0).v4.sin_addr};
	static const size_t size = 50;
	unsigned i;

	(void)state;
	prepare(&size, 1, 6, &to);
	out[2].local = out[3].local = &foreign;
	send_all(client, out, 6);
	assert_true(out[2].error == -EINVAL || out[2].error == -ENETUNREACH); /* as routes are */
	assert_int_equal(out[3].error, out[2].error);
	receive_list(server, 4);
	for (i = 0; i < 4; i++)
		assert_true(is_filled(received[i], in[i].len, i < 2 ? i : i + 2));
	assert_int_equal(stats_of(client).out_errors, 2);
	rf__udp_close(client);
	rf__udp_close(server);
}

static void a_datagram_that_is_too_long_stops_nobody_else(void **state)
{
	static unsigned char big[65508];
	struct rf__udp *server = open_at(v4_at("127.0.0.1", 0), 0);
	struct rf__udp *client = open_to(*rf__udp_name(server), 0);
	static const size_t size = 50;

	(void)state;
	prepare(&size, 1, 3, NULL);
	parts[1] = (struct iovec){big, sizeof(big)};
	send_all(client, out, 3);
	assert_int_equal(out[0].error, 0);
	assert_int_equal(out[1].error, -EMSGSIZE);
	assert_int_equal(out[2].error, 0);
	receive_bytes(server, 50, 0);
	receive_bytes(server, 50, 2);
	assert_int_equal(rf__udp_error(client), 0);
	rf__udp_close(client);
	rf__udp_close(server);
}

/* What the network reports */

static union rf__udp_address closed_port(bool v6)
{
	struct rf__udp *udp = open_at(v6 ? v6_at("::1", 0) : v4_at("127.0.0.1", 0), 0);
	union rf__udp_address name = *rf__udp_name(udp);

	rf__udp_close(udp);
	return name;
}

static void a_closed_port_is_told(bool v6)
{
	struct rf__udp *client = open_to(closed_port(v6), RF__UDP_APART);
	static const size_t sizes[] = {50, 60, 70};
	struct rf__udp_in one = {.data = received, .size = 1};
	unsigned i;

	prepare(sizes, 3, 30, NULL);
	send_all(client, out, 30);
	for (i = 0; i < 30; i++)
		assert_int_equal(out[i].error, 0);
	assert_int_equal(rf__udp_receive(client, &one, 1), -EAGAIN);
	assert_true(rf__udp_has_error(client));
	assert_int_equal(rf__udp_error(client), -ECONNREFUSED);
	assert_int_equal(rf__udp_error(client), 0);
	assert_int_equal(stats_of(client).reported, 30);
	rf__udp_close(client);
}

static void a_closed_port_is_told_once_per_datagram(void **state)
{
	(void)state;
	a_closed_port_is_told(false);
	need_v6();
	a_closed_port_is_told(true);
}

static void a_report_is_told_to_who_only_polls(void **state)
{
	struct rf__udp *client = open_to(closed_port(false), 0);
	struct pollfd poll_fd = {.fd = rf__udp_fd(client), .events = POLLIN};

	(void)state;
	send_bytes(client, NULL, 10, 1);
	assert_int_equal(poll(&poll_fd, 1, SOON_MS), 1);
	assert_true(poll_fd.revents & POLLERR);
	assert_int_equal(rf__udp_error(client), -ECONNREFUSED);
	assert_int_equal(poll(&poll_fd, 1, 0), 0);
	rf__udp_close(client);
}

static void a_socket_that_is_not_connected_hears_nothing(void **state)
{
	struct rf__udp *client = open_at(v4_at("127.0.0.1", 0), 0);
	union rf__udp_address to = closed_port(false);

	(void)state;
	send_bytes(client, &to, 10, 1);
	send_bytes(client, &to, 10, 1);
	assert_int_equal(rf__udp_error(client), 0);
	rf__udp_close(client);
}

/* Sockets */

static void strangers_do_not_reach_a_connected_socket(void **state)
{
	struct rf__udp *server = open_at(v4_at("127.0.0.1", 0), 0), *client, *stranger;
	union rf__udp_address to;

	(void)state;
	client = open_to(*rf__udp_name(server), 0);
	to = *rf__udp_name(client);
	stranger = open_at(v4_at("127.0.0.1", 0), 0);
	send_bytes(stranger, &to, 10, 1);
	send_bytes(server, &to, 20, 2);
	receive_bytes(client, 20, 2);
	rf__udp_close(stranger);
	rf__udp_close(client);
	rf__udp_close(server);
}

/* What comes after binding, before the socket is connected. */
static struct rf__udp *early_stranger;

int __real_connect(int sock, const struct sockaddr *name, socklen_t len);
int __wrap_connect(int sock, const struct sockaddr *name, socklen_t len);
int __wrap_connect(int sock, const struct sockaddr *name, socklen_t len)
{
	union rf__udp_address to;
	socklen_t to_len = sizeof(to);

	if (early_stranger && getsockname(sock, &to.any, &to_len) == 0)
		send_bytes(early_stranger, &to, 10, 1);
	return __real_connect(sock, name, len);
}

static void strangers_are_not_queued_before_the_socket_is_connected(void **state)
{
	struct rf__udp *server = open_at(v4_at("127.0.0.1", 0), 0), *client;
	union rf__udp_address to;

	(void)state;
	early_stranger = open_at(v4_at("127.0.0.1", 0), 0);
	client = open_with(&(struct rf__udp_options){
		.bind = v4_at("127.0.0.1", 0), .peer = *rf__udp_name(server)});
	assert_int_equal(stats_of(early_stranger).out_datagrams, 1);
	to = *rf__udp_name(client);
	send_bytes(server, &to, 20, 2);
	receive_bytes(client, 20, 2);
	rf__udp_close(early_stranger);
	early_stranger = NULL;
	rf__udp_close(client);
	rf__udp_close(server);
}

static void a_port_is_shared_by_who_asked_for_it(void **state)
{
	struct rf__udp *first = open_at(v4_at("127.0.0.1", 0), RF__UDP_REUSE_PORT), *second;
	struct rf__reason reason;
	struct rf__udp_options options = {.bind = *rf__udp_name(first)};

	(void)state;
	assert_int_equal(rf__udp_open(&options, &second, &reason), -EADDRINUSE);
	assert_non_null(strstr(reason.text, "binding to 127.0.0.1:"));
	options.flags = RF__UDP_REUSE_PORT;
	second = open_with(&options);
	rf__udp_close(second);
	rf__udp_close(first);
}

static void what_the_kernel_dropped_is_counted(void **state)
{
	struct rf__udp *server = open_with(
		&(struct rf__udp_options){.bind = v4_at("127.0.0.1", 0), .receive_bytes = 4096});
	struct rf__udp *client = open_to(*rf__udp_name(server), RF__UDP_APART);
	static const size_t size = 1400;
	struct rf__udp_stats stats;
	int got;

	(void)state;
	prepare(&size, 1, MANY, NULL);
	send_all(client, out, MANY);
	got = receive(server, in, MANY);
	stats = stats_of(server);
	assert_int_equal((uint64_t)got + stats.in_dropped, MANY);
	assert_true(stats.in_dropped > 0);
	rf__udp_close(client);
	rf__udp_close(server);
}

static void buffers_are_as_large_as_was_asked_for(void **state)
{
	struct rf__udp *udp = open_with(&(struct rf__udp_options){
		.bind = v4_at("127.0.0.1", 0), .receive_bytes = 50000, .send_bytes = 60000});

	(void)state;
	assert_int_equal(stats_of(udp).receive_bytes, 100000); /* Linux doubles them */
	assert_int_equal(stats_of(udp).send_bytes, 120000);
	rf__udp_close(udp);
}

static void refuses(struct rf__udp_options options, int error, const char *words)
{
	struct rf__udp *udp = (void *)1;
	struct rf__reason reason = {""};

	assert_int_equal(rf__udp_open(&options, &udp, &reason), error);
	assert_ptr_equal(udp, (void *)1);
	if (!strstr(reason.text, words))
		fail_msg("\"%s\" instead of \"%s\"", reason.text, words);
}

#define OPTIONS(...) ((struct rf__udp_options){__VA_ARGS__})

static void bad_options_are_explained(void **state)
{
	union rf__udp_address v4 = v4_at("127.0.0.1", 0), v6 = v6_at("::1", 9);
	union rf__udp_address foreign = v4_at("192.0.2.1", 7);
	union rf__udp_address local = {.any.sa_family = AF_UNIX};
	size_t fds = rf_test_count_fds();

	(void)state;
	refuses(OPTIONS(0), -EINVAL, "neither an address to bind nor a peer");
	refuses(OPTIONS(.bind = local), -EINVAL, "bind to family 1");
	refuses(OPTIONS(.peer = local), -EINVAL, "connect to family 1");
	refuses(OPTIONS(.bind = v4, .peer = v6), -EINVAL, "the peer is IPv6");
	refuses(OPTIONS(.peer = v4), -EINVAL, "no port");
	refuses(OPTIONS(.bind = v4, .flags = RF__UDP_DUAL), -EINVAL, "cannot be dual");
	refuses(OPTIONS(.bind = v4, .flags = 1 << 20), -EINVAL, "unknown flags 0x100000");
	refuses(OPTIONS(.bind = v4, .batch = 1025), -EINVAL, "a batch of 1025");
	refuses(OPTIONS(.bind = v4, .receive_bytes = UINT32_MAX), -EINVAL, "4294967295 bytes");
	refuses(OPTIONS(.bind = foreign), -EADDRNOTAVAIL, "binding to 192.0.2.1:7");
	refuses(OPTIONS(.bind = v4, .multicast.iface = 1 << 20), -EADDRNOTAVAIL,
		"interface 1048576");
	assert_int_equal(rf_test_count_fds(), fds);
	rf__udp_close(NULL);
}

static void addresses_are_printed(void **state)
{
	union rf__udp_address scoped = v6_at("fe80::1", 2), none = {.any.sa_family = AF_UNSPEC};

	(void)state;
	scoped.v6.sin6_scope_id = 3;
	assert_true(is_printed(&scoped, "[fe80::1%3]:2"));
	assert_true(is_printed(&none, "none"));
}

#define BOTH(test)                                                                                 \
	{#test "_v4", test, NULL, NULL, (void *)(uintptr_t) "127.0.0.1"},                          \
	{                                                                                          \
#test "_v6", test, NULL, NULL, (void *)(uintptr_t) "::1"                           \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(datagrams_pass_over_ipv4),
		cmocka_unit_test(datagrams_pass_over_ipv6),
		cmocka_unit_test(a_dual_socket_speaks_both),
		cmocka_unit_test(an_ipv6_socket_that_is_not_dual_leaves_ipv4_alone),
		cmocka_unit_test(batches_arrive_whole_and_in_order),
		cmocka_unit_test(a_datagram_is_gathered_from_parts),
		cmocka_unit_test(what_does_not_fit_is_told),
		BOTH(a_train_arrives_as_its_datagrams),
		cmocka_unit_test(long_trains_are_cut_at_what_the_kernel_takes),
		BOTH(a_joined_train_comes_in_one_buffer),
		BOTH(a_joined_train_that_does_not_fit_loses_its_end),
		BOTH(without_trains_all_arrives_all_the_same),
		cmocka_unit_test(apart_sends_no_trains),
		cmocka_unit_test(marks_are_seen_at_the_other_end),
		cmocka_unit_test(a_dual_socket_marks_ipv4),
		cmocka_unit_test(nothing_is_told_that_was_not_asked_for),
		cmocka_unit_test(answers_come_from_where_the_question_went),
		cmocka_unit_test(a_source_that_is_not_ours_is_that_datagrams_error),
		cmocka_unit_test(a_datagram_that_is_too_long_stops_nobody_else),
		cmocka_unit_test(a_closed_port_is_told_once_per_datagram),
		cmocka_unit_test(a_report_is_told_to_who_only_polls),
		cmocka_unit_test(a_socket_that_is_not_connected_hears_nothing),
		cmocka_unit_test(strangers_do_not_reach_a_connected_socket),
		cmocka_unit_test(strangers_are_not_queued_before_the_socket_is_connected),
		cmocka_unit_test(a_port_is_shared_by_who_asked_for_it),
		cmocka_unit_test(what_the_kernel_dropped_is_counted),
		cmocka_unit_test(buffers_are_as_large_as_was_asked_for),
		cmocka_unit_test(bad_options_are_explained),
		cmocka_unit_test(addresses_are_printed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
