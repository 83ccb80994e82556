/* SPDX-License-Identifier: MIT */
/* Hostile servers: they speak the protocol of wire.h by hand. */
#include "channel-fixture.h"

#include "socket.h"
#include "util/clock.h"
#include "util/fd.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>

/* A scripted server. Nothing in it waits: all that it says is said before the client is called. */

struct offer {
	int socks[2];              /* the script's, the client's */
	struct rf_options options; /* the client's: it sends, with eventfds */
	unsigned char welcome[RF__WIRE_MAX], ready[RF__WIRE_MAX];
	size_t welcome_len, ready_len;
	struct rf__region regions[2];
	int fds[PLACES + 1];
	unsigned n_fds;
};

/* The messages of a handshake that goes well. */
static void rehearse(struct offer *o)
{
	struct rf_options own = channel_options(RF_DOORBELL_EVENTFD, 0);
	struct rf__wish wishes[2] = {wish_of(&own), wish_of(&o->options)};
	struct rf__wire server, client;
	unsigned char message[RF__WIRE_MAX];
	unsigned n_fds;
	size_t len;

	rf__wire_init(&server, true, &wishes[0]);
	rf__wire_init(&client, false, &wishes[1]);
	len = rf__wire_output(&client, message, &n_fds);
	assert_int_equal(rf__wire_input(&server, message, len, 0), 0);
	rf__wire_done(&server);
	o->welcome_len = rf__wire_output(&server, o->welcome, &o->n_fds);
	assert_int_equal(o->n_fds, PLACES);
	assert_int_equal(rf__wire_input(&client, o->welcome, o->welcome_len, o->n_fds), 0);
	rf__wire_done(&client);
	len = rf__wire_output(&client, message, &n_fds);
	assert_int_equal(rf__wire_input(&server, message, len, 0), 0);
	rf__wire_done(&server);
	o->ready_len = rf__wire_output(&server, o->ready, &n_fds);
}

static int make_region(struct rf__region *region, uint64_t area, enum rf__seals seals)
{
	struct rf__reason why;
	int r;

	*region = RF__REGION_INIT;
	r = rf__region_create(region, "offer", RF__RING_SHAPE, area, &why);
	while (r >= 0 && (r = rf__region_allocate(region, 1 << 20, &why)) > 0)
		;
	if (r >= 0)
		r = rf__region_map(region, RF__READ_WRITE, &why);
	if (r >= 0)
		r = rf__region_seal(region, seals, &why);
	assert_int_equal(r, 0);
	return fcntl(region->fd, F_DUPFD_CLOEXEC, 0);
}

static void offer_begin(struct offer *o)
{
	memset(o, 0, sizeof(*o));
	make_pair(o->socks);
	o->options = channel_options(RF_DOORBELL_EVENTFD, RF_WAIT_ADAPTIVE);
	o->options.direction = RF_SEND;
	rehearse(o);
	o->fds[PRODUCER] = make_region(&o->regions[0], RING_BYTES, RF__SEALS_SIZED);
	o->fds[CONSUMER] = make_region(&o->regions[1], 0, RF__SEALS_FINAL);
	o->fds[CONSUMER_BELL] = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
	o->fds[PRODUCER_BELL] = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
	o->fds[PLACES] = -1;
}

static void offer_end(struct offer *o)
{
	unsigned i;

	for (i = 0; i < 2; i++) {
		rf__region_unmap(&o->regions[i]);
		rf__region_close(&o->regions[i]);
		rf__close(&o->socks[i]);
	}
	for (i = 0; i <= PLACES; i++)
		rf__close(&o->fds[i]);
}

static void offer_put(struct offer *o, unsigned place, int fd)
{
	assert_true(fd >= 0);
	rf__close(&o->fds[place]);
	o->fds[place] = fd;
}

/* Says WELCOME and READY, and lets the client come. */
static int offer_connect(struct offer *o, struct rf_channel **ret_channel)
{
	say(o->socks[0], o->welcome, o->welcome_len, o->fds, o->n_fds);
	say(o->socks[0], o->ready, o->ready_len, NULL, 0);
	return rf_connect(
		fd_address(o->socks[1]), &o->options, rf_test_deadline(SOON_MS), ret_channel);
}

/* The client refuses, says why, and the server is told (HELLO and REFUSE). */
static void offer_refused(struct offer *o, int error, const char *reason)
{
	struct rf_channel *channel = NULL;
	unsigned char message[RF__WIRE_MAX];
	unsigned n_fds;

	assert_int_equal(offer_connect(o, &channel), error);
	assert_has(rf_reason(), reason);
	assert_null(channel);
	assert_true(rf__socket_receive(o->socks[0], message, sizeof(message), NULL, 0, &n_fds) > 0);
	assert_true(rf__socket_receive(o->socks[0], message, sizeof(message), NULL, 0, &n_fds) > 0);
	assert_int_equal(message[6], RF__WIRE_REFUSE);
	offer_end(o);
}

static void a_scripted_server_that_keeps_to_the_rules_is_accepted(void **state)
{
	struct rf_channel *channel;
	struct offer o;
	uint64_t i;

	(void)state;
	offer_begin(&o);
	assert_int_equal(offer_connect(&o, &channel), 0);
	o.socks[1] = -1;
	/* P5, and M4 the other way round: we do not read what we wrote */
	memset(o.regions[0].base, 0xff, 4096);
	for (i = 0; i < 100; i++)
		assert_int_equal(send_number(rf_channel_tx(channel), i, 0), 0);
	assert_int_equal(*(uint64_t *)(void *)o.regions[0].base, 1600);
	/* C1 */
	if (rf_test_kernel(6, 16))
		assert_int_equal(send_many_fds(o.socks[0], "c", 1, 1), -EPERM);
	rf_channel_close(channel);
	offer_end(&o);
}

/* C2: wrong numbers and wrong kinds of descriptors. */

static void c2_a_wrong_number_of_descriptors_is_refused(void **state)
{
	struct offer o;
	unsigned n;

	(void)state;
	for (n = 0; n <= PLACES + 1; n++) {
		offer_begin(&o);
		offer_put(&o, PLACES, dup(o.fds[0]));
		o.n_fds = n;
		if (n == PLACES)
			offer_end(&o);
		else
			offer_refused(&o, -EBADMSG, "than 4 descriptors");
	}
}

static void c2_a_heap_of_descriptors_is_refused_and_none_leaks(void **state)
{
	struct rf_channel *channel;
	struct offer o;

	(void)state;
	offer_begin(&o);
	assert_int_equal(send_many_fds(o.socks[0], o.welcome, o.welcome_len, 20), 0);
	assert_int_equal(
		rf_connect(fd_address(o.socks[1]), &o.options, rf_test_deadline(SOON_MS), &channel),
		-EBADMSG);
	offer_end(&o);
}

static int make_pipe(void)
{
	int fds[2];

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	close(fds[1]);
	return fds[0];
}

static int make_file(void)
{
	return open(rf_test_tmpdir(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
}

static int make_zero(void)
{
	return open("/dev/zero", O_RDWR | O_CLOEXEC);
}

static int make_epoll(void)
{
	return epoll_create1(EPOLL_CLOEXEC);
}

static int make_eventfd(void)
{
	return eventfd(0, EFD_CLOEXEC);
}

static void c2_m8_a_wrong_kind_of_descriptor_is_refused(void **state)
{
	int (*const kinds[])(void) = {make_pipe, make_file, make_zero, make_epoll, make_eventfd};
	struct offer o;
	unsigned place, kind;

	(void)state;
	for (place = 0; place < PLACES; place++)
		for (kind = 0; kind < (place < CONSUMER_BELL ? 5 : 4); kind++) {
			offer_begin(&o);
			offer_put(&o, place, kinds[kind]());
			offer_refused(&o, -EPERM,
				place < CONSUMER_BELL ? "is not a memfd" : "is no eventfd");
		}
}

/* M1 to M4, as rf_connect() sees them: every region is what it has to be, but for one thing. */

static void region_refused(
	enum place place, uint64_t area, unsigned seals, bool hole, int error, const char *reason)
{
	int fd = memfd_create("wrong", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	off_t size = (off_t)rf__region_file_bytes(RF__RING_SHAPE, area);
	struct offer o;

	assert_int_equal(ftruncate(fd, size), 0);
	assert_int_equal(fallocate(fd, 0, 0, hole ? size - 4096 : size), 0);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
	offer_begin(&o);
	offer_put(&o, place, fd);
	offer_refused(&o, error, reason);
}

#define SIZED (F_SEAL_SHRINK | F_SEAL_GROW)
#define FINAL (SIZED | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL)

static void m1_a_region_that_could_shrink_is_refused(void **state)
{
	(void)state;
	region_refused(PRODUCER, RING_BYTES, F_SEAL_GROW, false, -EPERM, "lacks seals");
	region_refused(CONSUMER, 0, FINAL & ~F_SEAL_SHRINK, false, -EPERM, "lacks seals");
	region_refused(PRODUCER, 2 * RING_BYTES, SIZED, false, -EBADMSG, "bytes instead of");
	region_refused(PRODUCER, RING_BYTES / 2, SIZED, false, -EBADMSG, "bytes instead of");
	region_refused(CONSUMER, 4096, FINAL, false, -EBADMSG, "bytes instead of");
}

static void m2_a_region_with_holes_is_refused(void **state)
{
	(void)state;
	region_refused(PRODUCER, RING_BYTES, SIZED, true, -EPERM, "holes");
}

static void m3_a_region_with_other_seals_is_refused(void **state)
{
	(void)state;
	region_refused(PRODUCER, RING_BYTES, FINAL, false, -EPERM, "surplus seals");
	region_refused(CONSUMER, 0, FINAL & ~F_SEAL_SEAL, false, -EPERM, "lacks seals");
	region_refused(CONSUMER, 0, FINAL | F_SEAL_WRITE, false, -EPERM, "surplus seals");
}

static void m4_a_region_that_others_can_write_is_refused(void **state)
{
	(void)state;
	region_refused(CONSUMER, 0, SIZED, false, -EPERM, "lacks seals");
	region_refused(CONSUMER, 0, FINAL & ~F_SEAL_FUTURE_WRITE, false, -EPERM, "lacks seals");
}

/* C4: servers that stall, garble and replay. */

static void client_fails(struct offer *o, unsigned timeout_ms, int error, const char *reason)
{
	uint64_t until = rf_test_deadline(timeout_ms);
	struct rf_channel *channel;

	assert_int_equal(rf_connect(fd_address(o->socks[1]), &o->options, until, &channel), error);
	assert_has(rf_reason(), reason);
	if (error == -ETIMEDOUT)
		assert_true(rf__now() >= until);
	offer_end(o);
}

static void c4_a_server_that_stalls_meets_the_deadline(void **state)
{
	struct offer o;

	(void)state;
	offer_begin(&o);
	client_fails(&o, WHILE_MS, -ETIMEDOUT, "did not complete the handshake in time");
	offer_begin(&o);
	say(o.socks[0], o.welcome, o.welcome_len, o.fds, o.n_fds);
	client_fails(&o, WHILE_MS, -ETIMEDOUT, "did not complete the handshake in time");
	offer_begin(&o);
	rf__close(&o.socks[0]);
	client_fails(&o, SOON_MS, -EPIPE, "the peer went");
}

static void c4_a_server_that_garbles_or_replays_is_refused(void **state)
{
	struct offer o;

	(void)state;
	offer_begin(&o);
	say(o.socks[0], "nonsense", 8, NULL, 0);
	client_fails(&o, SOON_MS, -EBADMSG, "");
	offer_begin(&o);
	say(o.socks[0], "", 0, NULL, 0);
	client_fails(&o, SOON_MS, -EBADMSG, "");
	offer_begin(&o);
	say(o.socks[0], o.ready, o.ready_len, NULL, 0);
	client_fails(&o, SOON_MS, -EBADMSG, "out of turn");
	offer_begin(&o);
	say(o.socks[0], o.welcome, o.welcome_len, o.fds, o.n_fds);
	say(o.socks[0], o.welcome, o.welcome_len, o.fds, o.n_fds);
	client_fails(&o, SOON_MS, -EBADMSG, "");
	offer_begin(&o);
	say(o.socks[0], o.welcome, o.welcome_len, o.fds, o.n_fds);
	say(o.socks[0], o.ready, o.ready_len, o.fds, 1);
	client_fails(&o, SOON_MS, -EBADMSG, "");
}

static size_t make_refuse(unsigned char *message, const char *sentence)
{
	struct rf_options options = channel_options(RF_DOORBELL_SOCKET, 0);
	struct rf__wish wish = wish_of(&options);
	struct rf__wire wire;
	unsigned n_fds;
	size_t len;

	rf__wire_init(&wire, true, &wish);
	rf__wire_refuse(&wire, -EPERM, "0123456789");
	len = rf__wire_output(&wire, message, &n_fds);
	memcpy(message + len - RF__WIRE_TEXT, sentence, strlen(sentence));
	return len;
}

static void c12_a_reason_from_a_peer_is_made_printable(void **state)
{
	unsigned char message[RF__WIRE_MAX];
	size_t len = make_refuse(message, "\033[2J\a\xff no");
	struct rf_listener *listener;
	struct rf_channel *channel;
	struct offer o;
	int socks[2];

	(void)state;
	offer_begin(&o);
	say(o.socks[0], message, len, NULL, 0);
	client_fails(&o, SOON_MS, -EPERM, "refused by the peer: ?[2J?? no");
	make_pair(socks);
	listener = listen_at(fd_address(socks[0]), NULL);
	say(socks[1], message, len, NULL, 0);
	assert_int_equal(rf_accept(listener, RF_FOREVER, &channel), -EPERM);
	assert_has(rf_reason(), "?[2J?? no");
	rf_listener_close(listener);
	close(socks[1]);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, leaks_setup, leaks_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_scripted_server_that_keeps_to_the_rules_is_accepted),
		TEST(c2_a_wrong_number_of_descriptors_is_refused),
		TEST(c2_a_heap_of_descriptors_is_refused_and_none_leaks),
		TEST(c2_m8_a_wrong_kind_of_descriptor_is_refused),
		TEST(m1_a_region_that_could_shrink_is_refused),
		TEST(m2_a_region_with_holes_is_refused),
		TEST(m3_a_region_with_other_seals_is_refused),
		TEST(m4_a_region_that_others_can_write_is_refused),
		TEST(c4_a_server_that_stalls_meets_the_deadline),
		TEST(c4_a_server_that_garbles_or_replays_is_refused),
		TEST(c12_a_reason_from_a_peer_is_made_printable),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
