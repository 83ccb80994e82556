/* SPDX-License-Identifier: MIT */
/* Hostile clients: they speak the protocol of wire.h by hand. */
#include "channel-fixture.h"

#include "socket.h"
#include "util/fd.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

/* A scripted client: it sends, over eventfds, and speaks to a listener of this process. */

struct visitor {
	struct rf_listener *listener;
	int sock;
	struct rf__wire wire;
	int fds[RF__FDS_MAX];
	unsigned n_fds;
};

static void visitor_say(struct visitor *v)
{
	unsigned char message[RF__WIRE_MAX];
	unsigned n_fds;
	size_t len = rf__wire_output(&v->wire, message, &n_fds);

	say(v->sock, message, len, NULL, 0);
}

/* Up to the WELCOME. */
static void visitor_begin(struct visitor *v)
{
	struct rf_options options = channel_options(RF_DOORBELL_EVENTFD, RF_WAIT_ADAPTIVE);
	struct rf_channel *channel;
	struct rf__wish wish;
	unsigned char message[RF__WIRE_MAX];
	ssize_t n;
	int socks[2];

	make_pair(socks);
	v->sock = socks[1];
	v->listener = listen_at(fd_address(socks[0]), &options);
	options.direction = RF_SEND;
	wish = wish_of(&options);
	rf__wire_init(&v->wire, false, &wish);
	visitor_say(v);
	assert_int_equal(rf_accept(v->listener, 0, &channel), -EAGAIN);
	n = rf__socket_receive(v->sock, message, sizeof(message), v->fds, RF__FDS_MAX, &v->n_fds);
	assert_int_equal(v->n_fds, PLACES);
	assert_int_equal(rf__wire_input(&v->wire, message, (size_t)n, v->n_fds), 0);
	rf__wire_done(&v->wire);
}

static void visitor_end(struct visitor *v)
{
	while (v->n_fds)
		rf__close(&v->fds[--v->n_fds]);
	rf__close(&v->sock);
	rf_listener_close(v->listener);
}

static void visitor_refused(struct visitor *v, int error, const char *reason)
{
	struct rf_channel *channel = NULL;

	visitor_say(v);
	assert_int_equal(rf_accept(v->listener, rf_test_deadline(SOON_MS), &channel), error);
	assert_has(rf_reason(), reason);
	assert_null(channel);
	visitor_end(v);
}

static void m3_a_client_that_does_not_seal_is_refused(void **state)
{
	struct visitor v;

	(void)state;
	visitor_begin(&v);
	visitor_refused(&v, -EPERM, "lacks seals");
	visitor_begin(&v);
	assert_int_equal(fcntl(v.fds[PRODUCER], F_ADD_SEALS, F_SEAL_FUTURE_WRITE), 0);
	visitor_refused(&v, -EPERM, "lacks seals");
	visitor_begin(&v);
	assert_int_equal(fcntl(v.fds[PRODUCER], F_ADD_SEALS, F_SEAL_SEAL), 0);
	visitor_refused(&v, -EPERM, "lacks seals");
}

static void m2_a_client_that_punches_a_hole_before_sealing_is_refused(void **state)
{
	struct visitor v;

	(void)state;
	visitor_begin(&v);
	assert_int_equal(
		fallocate(v.fds[PRODUCER], FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 8192, 4096),
		0);
	assert_int_equal(fcntl(v.fds[PRODUCER], F_ADD_SEALS, F_SEAL_FUTURE_WRITE | F_SEAL_SEAL), 0);
	visitor_refused(&v, -EPERM, "holes");
}

static void m1_m4_m6_a_client_can_neither_resize_nor_write_what_is_not_its_own(void **state)
{
	char path[40];
	struct visitor v;
	int fd;

	(void)state;
	visitor_begin(&v);
	assert_int_equal(ftruncate(v.fds[PRODUCER], 0), -1);
	assert_int_equal(ftruncate(v.fds[PRODUCER], 1 << 20), -1);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", v.fds[CONSUMER]);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		fd = dup(v.fds[CONSUMER]);
	assert_ptr_equal(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
	assert_int_equal(pwrite(fd, "x", 1, 0), -1);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
	assert_int_equal(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096), -1);
	close(fd);
	visitor_refused(&v, -EPERM, "lacks seals");
}

static void p10_regions_come_zero(void **state)
{
	static const unsigned char zero[RING_BYTES + 4096];
	struct visitor v;
	void *base;

	(void)state;
	visitor_begin(&v);
	base = mmap(NULL, sizeof(zero), PROT_READ, MAP_SHARED, v.fds[PRODUCER], 0);
	assert_memory_equal(base, zero, sizeof(zero));
	munmap(base, sizeof(zero));
	visitor_end(&v);
}

static void a_client_that_keeps_its_descriptors_changes_nothing(void **state)
{
	struct rf_channel *channel;
	struct visitor v;
	struct rf__region own = RF__REGION_INIT;
	uint64_t number;

	(void)state;
	visitor_begin(&v);
	own.fd = v.fds[PRODUCER];
	own.area_bytes = RING_BYTES;
	assert_int_equal(rf__region_map(&own, RF__READ_WRITE, NULL), 0);
	assert_int_equal(rf__region_seal(&own, RF__SEALS_FINAL, NULL), 0);
	visitor_say(&v);
	channel = accept_one(v.listener);
	assert_int_equal(take_number(rf_channel_rx(channel), 0, &number), -EAGAIN);
	assert_int_equal(
		fallocate(own.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096), -1);
	assert_int_equal(ftruncate(own.fd, 0), -1);
	rf__region_unmap(&own);
	visitor_end(&v);
	assert_int_equal(take_number(rf_channel_rx(channel), RF_FOREVER, &number), -EPIPE);
	rf_channel_close(channel);
}

/* C1: the server takes no descriptors. */
static void c1_descriptors_for_the_server_end_the_handshake(void **state)
{
	struct rf_listener *listener;
	struct rf_channel *channel;
	int socks[2], r;

	(void)state;
	make_pair(socks);
	listener = listen_at(fd_address(socks[0]), NULL);
	r = send_many_fds(socks[1], "hello", 5, 2);
	if (rf_test_kernel(6, 16)) {
		assert_int_equal(r, -EPERM);
	} else {
		assert_int_equal(rf_accept(listener, RF_FOREVER, &channel), -EBADMSG);
	}
	rf_listener_close(listener);
	close(socks[1]);
}

static void m12_a_limit_on_file_sizes_is_an_error_not_a_signal(void **state)
{
	struct rf_listener *listener;
	struct connecting connecting;
	struct rf_channel *channel;
	uint64_t limit;
	int socks[2], r;

	(void)state;
	make_pair(socks);
	listener = listen_at(fd_address(socks[0]), NULL);
	limit = rf_test_limit_file_size(16384);
	connect_start(&connecting, fd_address(socks[1]), NULL, SOON_MS);
	r = rf_accept(listener, rf_test_deadline(SOON_MS), &channel);
	rf_test_limit_file_size(limit);
	assert_int_equal(thread_join(&connecting.thread), -ECONNABORTED);
	assert_int_equal(r, -EFBIG);
	assert_has(connecting.reason, "exceeds the limit on file sizes");
	rf_listener_close(listener);
	close(socks[1]);
}

static void m11_a_ring_beyond_the_policy_is_refused_at_both_ends(void **state)
{
	struct rf_options server = channel_options(0, 0), client = server;
	struct rf_listener *listener;
	struct connecting connecting;
	struct rf_channel *channel;
	int socks[2];

	(void)state;
	server.max_ring_bytes = 2 * RING_BYTES;
	client.ring_bytes = 4 * RING_BYTES;
	make_pair(socks);
	listener = listen_at(fd_address(socks[0]), &server);
	connect_start(&connecting, fd_address(socks[1]), &client, SOON_MS);
	assert_int_equal(rf_accept(listener, RF_FOREVER, &channel), -ENOTSUP);
	assert_int_equal(thread_join(&connecting.thread), -ENOTSUP);
	rf_listener_close(listener);
	close(socks[1]);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, leaks_setup, leaks_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(m3_a_client_that_does_not_seal_is_refused),
		TEST(m2_a_client_that_punches_a_hole_before_sealing_is_refused),
		TEST(m1_m4_m6_a_client_can_neither_resize_nor_write_what_is_not_its_own),
		TEST(p10_regions_come_zero),
		TEST(a_client_that_keeps_its_descriptors_changes_nothing),
		TEST(c1_descriptors_for_the_server_end_the_handshake),
		TEST(m12_a_limit_on_file_sizes_is_an_error_not_a_signal),
		TEST(m11_a_ring_beyond_the_policy_is_refused_at_both_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
