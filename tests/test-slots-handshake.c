/* SPDX-License-Identifier: MIT */
/* The handshake of channels with slots: between honest ends, when descriptors run out, and with
 * hostile servers. */
#include "slots-regions.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83
#endif

/* What the caller may ask for */

static void options_of_slots_make_sense_or_are_refused(void **state)
{
	static const struct {
		struct rf_options options;
		const char *reason;
	} rows[] = {
		{{.kind = RF_SLOTS + 1}, "kind 5 is unknown"},
		{{.slots = 1}, "slots 1 is not between 2 and 65536"},
		{{.slots = 65537}, "slots 65537 is not between 2 and 65536"},
		{{.slot_bytes = (UINT64_C(1) << 30) + 1}, "slot_bytes 1073741825 is more than"},
		{{.slots = 2, .slot_bytes = UINT64_C(1) << 30}, "slots times slot_bytes is more"},
		{{.slots = 65536, .slot_bytes = 16000, .slot_align = 16384}, "slot_align 16384"},
		{{.slots = 65536, .slot_bytes = 16385, .slot_align = 4096},
			"slots times slot_bytes is more than 1 GiB"},
		{{.slots = 65536, .slot_bytes = 16385},
			"slots times slot_bytes is more than 1 GiB"},
		{{.slot_align = 32}, "slot_align 32 is not a power of two from 64 to a page"},
		{{.slot_align = 96}, "slot_align 96"},
		{{.slot_align = 8192}, "slot_align 8192"},
		{{.hold = 65537}, "hold 65537 is more than 65536"},
		{{.kind = RF_BYTES, .slots = 2}, "slots, slot_bytes, slot_align and hold are for"},
		{{.kind = RF_STREAM, .hold = 2}, "slots, slot_bytes, slot_align and hold are for"},
		{{.slots = 4, .slot_bytes = 4096, .max_ring_bytes = 16383},
			"max_ring_bytes is less than slots times slot_bytes"},
		{{.lag = RF_LAG_DISCONNECT + 1}, "lag 5 is unknown"},
		{{.start = RF_START_OLDEST + 1}, "start 2 is unknown"},
		{{.n_block_uids = 3}, "n_block_uids is 3, but block_uids is NULL"},
		{{.fd_kinds = 256}, "fd_kinds 0x100 are unknown"},
		{{.max_fds = RF_FDS_MAX + 1}, "max_fds 9 is more than 8"},
		{{.flags = RF_OPTION_FENCE << 1}, "flags 0x40 are unknown"},
	};
	struct rf_channel *channel;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct rf_options options = rows[i].options;

		options.size = sizeof(options);
		assert_int_equal(rf_connect(fresh_path(), &options, 0, &channel), -EINVAL);
		assert_has(rf_reason(), rows[i].reason);
	}
}

/* The default limit of 64 MiB grows with what this end asks for itself. */
static void slots_that_are_asked_for_are_allowed(void **state)
{
	struct rf_options options = {.size = sizeof(options), .slots = 1000};
	struct rf__wish wish = wish_of(&options);

	(void)state;
	assert_int_equal(wish.max_ring_bytes, 1000 << 18);
	options.slot_bytes = 1025;
	assert_int_equal(wish_of(&options).max_ring_bytes, 64 << 20);
	options.slots = 65536;
	options.slot_bytes = 16384 - 64;
	assert_int_equal(wish_of(&options).max_ring_bytes, 65536 * (16384 - 64));
	options.slots = 0;
	options.slot_bytes = 5 << 20;
	assert_int_equal(wish_of(&options).max_ring_bytes, 80 << 20);
	options.slot_bytes = UINT64_C(1) << 30;
	assert_int_equal(wish_of(&options).max_ring_bytes, 1 << 30);
	assert_int_equal(wish_of(&options).fds.kinds, 0);
	options.fd_kinds = RF_FD_PIPE;
	options.fds_per_second = 9;
	assert_int_equal(wish_of(&options).fds.per_second, 0);
	options.max_fds = 3;
	assert_int_equal(wish_of(&options).fds.per_second, 9);
}

/* Honest ends */

static void check_half(const struct rf_half_stats *stats)
{
	assert_int_equal(stats->slots, SLOTS);
	assert_int_equal(stats->slot_bytes, SLOT_BYTES);
	assert_int_equal(stats->hold, SLOTS);
	assert_int_equal(stats->ring_bytes, AREA_BYTES);
}

static void check_open(uint32_t doorbell, uint32_t direction)
{
	struct rf_options server = slots_options(doorbell), client = channel_options(doorbell, 0);
	size_t before = rf_test_count_memfd_mappings();
	struct rf_stats stats;
	struct ends ends;

	client.direction = direction;
	ends_open(&ends, &server, &client);
	assert_int_equal(!rf_channel_tx(ends.client), !(direction & RF_SEND));
	assert_int_equal(!rf_channel_rx(ends.client), !(direction & RF_RECEIVE));
	stats = channel_stats(ends.client);
	if (direction & RF_SEND)
		check_half(&stats.tx);
	if (direction & RF_RECEIVE)
		check_half(&stats.rx);
	stats = channel_stats(ends.server);
	if (direction & RF_SEND)
		check_half(&stats.rx);
	if (direction & RF_RECEIVE)
		check_half(&stats.tx);
	/* slots, and the two halves of both areas, at both ends */
	assert_in_range(rf_test_count_memfd_mappings() - before, 1,
		(direction == (RF_SEND | RF_RECEIVE) ? 2 : 1) * 2 * 5);
	ends_close(&ends);
}

static void channels_with_slots_open_in_all_directions(void **state)
{
	(void)state;
	for (uint32_t bell = RF_DOORBELL_EVENTFD; bell <= RF_DOORBELL_SOCKET; bell++)
		for (uint32_t direction = 1; direction <= (RF_SEND | RF_RECEIVE); direction++)
			check_open(bell, direction);
}

/* A channel with slots that is open has no more descriptors than one with bytes, but for the
 * server's private one of the slots. */
static size_t descriptors_of(const struct rf_options *options)
{
	size_t before = rf_test_count_fds(), n;
	struct ends ends;

	ends_open(&ends, options, options);
	n = rf_test_count_fds() - before;
	ends_close(&ends);
	return n;
}

/* As many are open as the receiver may hold: no room can come of waiting. */
static void arming_for_what_can_never_be_does_not_sleep(void **state)
{
	struct rf_options options = channel_options(RF_DOORBELL_SOCKET, RF_WAIT_ADAPTIVE);
	struct rf_buffer buffers[3];
	struct ends ends;
	uint64_t until;

	(void)state;
	options.kind = RF_SLOTS;
	options.ring_bytes = 0;
	options.slots = 4;
	options.slot_bytes = 64;
	options.hold = 2;
	ends_open(&ends, &options, &options);
	assert_int_equal(rf_tx_reserve_span(rf_channel_tx(ends.client), 8, 0, buffers, 3), 2);
	assert_int_equal(rf_channel_arm(ends.client, RF_SPACE, 8, &until), 1);
	assert_int_equal(rf_tx_reserve(rf_channel_tx(ends.client), 8, 0, &buffers[2]), -EINVAL);
	assert_int_equal(rf_tx_commit_span(rf_channel_tx(ends.client), buffers, 2), 0);
	ends_close(&ends);
}

static void open_channels_keep_one_descriptor_of_their_slots(void **state)
{
	struct rf_options bytes = channel_options(RF_DOORBELL_EVENTFD, 0),
			  slots = slots_options(RF_DOORBELL_EVENTFD);

	(void)state;
	assert_int_equal(descriptors_of(&slots), descriptors_of(&bytes) + 2);
}

/* Descriptors beside the data: who lets any in */

static bool lets_in(struct rf_channel *channel)
{
	socklen_t len = sizeof(int);
	int on = -1;

	assert_int_equal(getsockopt(channel->link.sock, SOL_SOCKET, SO_PASSRIGHTS, &on, &len), 0);
	assert_int_equal(channel->link.fds != NULL, on);
	return on;
}

static void c1_descriptors_come_only_where_they_were_agreed_on(void **state)
{
	static const struct {
		uint32_t kind, client, server, direction;
		bool client_lets, server_lets;
	} rows[] = {
		{RF_SLOTS, 0, 0, 3, false, false},
		{RF_SLOTS, RF_FD_BLOB, 0, 3, true, false},
		{RF_SLOTS, 0, RF_FD_BLOB, 3, false, true},
		{RF_BYTES, RF_FD_PIPE, RF_FD_BLOB, 3, true, true},
		{RF_BYTES, RF_FD_PIPE, RF_FD_BLOB, RF_SEND, false, true},
		{RF_BYTES, RF_FD_PIPE, RF_FD_BLOB, RF_RECEIVE, true, false},
		{RF_STREAM, RF_FD_PIPE, RF_FD_BLOB, 3, false, false},
	};
	struct ends ends;

	(void)state;
	if (!rf_test_kernel(6, 16))
		skip();
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct rf_options client = channel_options(0, 0), server = client;

		client.kind = rows[i].kind;
		client.direction = rows[i].direction;
		client.fd_kinds = rows[i].client;
		server.fd_kinds = rows[i].server;
		client.max_fds = server.max_fds = 2;
		ends_open_path(&ends, &server, &client);
		assert_int_equal(lets_in(ends.client), rows[i].client_lets);
		assert_int_equal(lets_in(ends.server), rows[i].server_lets);
		ends_close(&ends);
	}
}

/* Takes all descriptors but n. */
static unsigned fill(int *taken, unsigned most, unsigned n)
{
	unsigned i, count = 0;

	while (count < most && (taken[count] = fcntl(0, F_DUPFD_CLOEXEC, 0)) >= 0)
		count++;
	assert_true(count < most);
	for (i = 0; i < n && count; i++)
		close(taken[--count]);
	return count;
}

/* Both ends run short in one process. Did both get through? */
static bool open_with(unsigned n)
{
	struct rf_options options = slots_options(RF_DOORBELL_EVENTFD);
	struct rf_channel *channel = NULL;
	struct connecting connecting;
	struct rf_listener *listener;
	int taken[512], socks[2], r;
	char address[32];
	unsigned count;

	make_pair(socks);
	listener = listen_at(fd_address(socks[0]), &options);
	snprintf(address, sizeof(address), "fd:%d", socks[1]);
	count = fill(taken, 512, n);
	connect_start(&connecting, address, &options, SOON_MS);
	r = rf_accept(listener, rf_test_deadline(SOON_MS), &channel);
	rf_listener_close(listener);
	if (r < 0)
		shutdown(socks[1], SHUT_RDWR);
	while (count)
		close(taken[--count]);
	if (thread_join(&connecting.thread) < 0)
		close(socks[1]);
	rf_channel_close(channel);
	rf_channel_close(connecting.channel);
	return r == 0 && connecting.channel;
}

static void c13_descriptors_that_run_out_at_any_step_leak_nothing(void **state)
{
	uint64_t limit = rf_test_limit_files(256);
	struct leaks leaks;
	unsigned n;

	(void)state;
	assert_true(open_with(100)); /* what is made once per process is there now */
	leaks = leaks_begin();
	for (n = 0; !open_with(n); n++)
		assert_no_leaks(&leaks);
	assert_no_leaks(&leaks);
	rf_test_limit_files(limit);
	assert_true(n > 20 && n < 100);
}

/* A scripted server. Nothing in it waits: all that it says is said before the client is called. */

struct offer {
	int socks[2];              /* the script's, the client's */
	struct rf_options options; /* the client's: it sends, with eventfds */
	unsigned char welcome[RF__WIRE_MAX], ready[RF__WIRE_MAX];
	size_t welcome_len, ready_len;
	int fds[N_AT + 1];
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
	assert_int_equal(o->n_fds, N_AT);
	assert_int_equal(rf__wire_input(&client, o->welcome, o->welcome_len, o->n_fds), 0);
	rf__wire_done(&client);
	len = rf__wire_output(&client, message, &n_fds);
	assert_int_equal(rf__wire_input(&server, message, len, 0), 0);
	rf__wire_done(&server);
	o->ready_len = rf__wire_output(&server, o->ready, &n_fds);
}

static int make_memfd(off_t bytes, off_t allocated, int seals)
{
	int fd = memfd_create("offer", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_int_equal(ftruncate(fd, bytes), 0);
	assert_int_equal(fallocate(fd, 0, 0, allocated), 0);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
	return fd;
}

static void offer_begin(struct offer *o, uint32_t direction)
{
	bool sends = direction == RF_SEND; /* the client */

	memset(o, 0, sizeof(*o));
	make_pair(o->socks);
	o->options = slots_options(RF_DOORBELL_EVENTFD);
	o->options.direction = direction;
	rehearse(o);
	o->fds[SLOTS_AT] = make_memfd(FILE_BYTES, FILE_BYTES, sends ? SIZED : FINAL);
	o->fds[PRODUCER_AT] =
		make_memfd(4096 + AREA_BYTES, 4096 + AREA_BYTES, sends ? SIZED : FINAL);
	o->fds[CONSUMER_AT] = make_memfd(8192, 8192, sends ? FINAL : SIZED);
	o->fds[CONSUMER_BELL_AT] = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
	o->fds[PRODUCER_BELL_AT] = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
	o->fds[N_AT] = -1;
}

static void offer_end(struct offer *o)
{
	unsigned i;

	rf__close(&o->socks[0]);
	rf__close(&o->socks[1]);
	for (i = 0; i <= N_AT; i++)
		rf__close(&o->fds[i]);
}

/* Says WELCOME and READY, and lets the client come. */
static int offer_connect(struct offer *o, struct rf_channel **ret_channel)
{
	say(o->socks[0], o->welcome, o->welcome_len, o->fds, o->n_fds);
	say(o->socks[0], o->ready, o->ready_len, NULL, 0);
	return rf_connect(
		fd_address(o->socks[1]), &o->options, rf_test_deadline(SOON_MS), ret_channel);
}

static void offer_refused(struct offer *o, int error, const char *reason)
{
	struct rf_channel *channel = NULL;

	assert_int_equal(offer_connect(o, &channel), error);
	assert_has(rf_reason(), reason);
	assert_null(channel);
	offer_end(o);
}

static void a_client_seals_its_own_regions_and_no_others(void **state)
{
	struct rf_channel *channel;
	struct offer o;

	(void)state;
	for (uint32_t direction = RF_SEND; direction <= RF_RECEIVE; direction++) {
		offer_begin(&o, direction);
		assert_int_equal(offer_connect(&o, &channel), 0);
		o.socks[1] = -1;
		assert_region(o.fds[SLOTS_AT], FINAL, FILE_BYTES);
		assert_region(o.fds[PRODUCER_AT], FINAL, 4096 + AREA_BYTES);
		assert_region(o.fds[CONSUMER_AT], FINAL, 8192);
		rf_channel_close(channel);
		offer_end(&o);
	}
}

static void c2_a_wrong_number_of_descriptors_is_refused(void **state)
{
	struct offer o;
	unsigned n;

	(void)state;
	for (n = 0; n <= N_AT + 1; n++) {
		offer_begin(&o, RF_SEND);
		o.fds[N_AT] = dup(o.fds[0]);
		o.n_fds = n;
		if (n == N_AT)
			offer_end(&o);
		else
			offer_refused(&o, -EBADMSG, "than 5 descriptors");
	}
}

static void c2_a_wrong_order_of_descriptors_is_refused(void **state)
{
	struct rf_channel *channel;
	struct offer o;
	unsigned i, k;
	int swap;

	(void)state;
	for (i = 0; i < N_AT; i++)
		for (k = 0; k < i; k++) {
			if (k == CONSUMER_BELL_AT)
				continue; /* nobody can tell two bells from each other */
			offer_begin(&o, RF_SEND);
			swap = o.fds[i];
			o.fds[i] = o.fds[k];
			o.fds[k] = swap;
			channel = NULL;
			assert_true(offer_connect(&o, &channel) < 0);
			assert_null(channel);
			offer_end(&o);
		}
}

static void m1_m2_m3_m4_slots_of_a_server_are_checked(void **state)
{
	static const struct {
		uint32_t direction;
		off_t bytes, allocated;
		int seals, error;
		const char *reason;
	} rows[] = {
		{RF_RECEIVE, FILE_BYTES, FILE_BYTES, SIZED, -EPERM, "lacks seals"},
		{RF_RECEIVE, FILE_BYTES, FILE_BYTES, FINAL & ~F_SEAL_FUTURE_WRITE, -EPERM, "lacks"},
		{RF_RECEIVE, FILE_BYTES, FILE_BYTES, FINAL & ~F_SEAL_SHRINK, -EPERM, "lacks seals"},
		{RF_RECEIVE, FILE_BYTES, FILE_BYTES, FINAL & ~F_SEAL_SEAL, -EPERM, "lacks seals"},
		{RF_RECEIVE, FILE_BYTES - 4096, FILE_BYTES - 4096, FINAL, -EBADMSG, "instead of"},
		{RF_RECEIVE, FILE_BYTES + 4096, FILE_BYTES + 4096, FINAL, -EBADMSG, "instead of"},
		{RF_RECEIVE, SLOTS * 1024, SLOTS * 1024, FINAL, -EBADMSG, "instead of"},
		{RF_RECEIVE, FILE_BYTES, FILE_BYTES - 4096, FINAL, -EPERM, "holes"},
		{RF_SEND, FILE_BYTES, FILE_BYTES, FINAL, -EPERM, "surplus seals"},
		{RF_SEND, FILE_BYTES, FILE_BYTES, F_SEAL_GROW, -EPERM, "lacks seals"},
		{RF_SEND, FILE_BYTES, FILE_BYTES - 4096, SIZED, -EPERM, "holes"},
	};
	struct offer o;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		offer_begin(&o, rows[i].direction);
		close(o.fds[SLOTS_AT]);
		o.fds[SLOTS_AT] = make_memfd(rows[i].bytes, rows[i].allocated, rows[i].seals);
		offer_refused(&o, rows[i].error, rows[i].reason);
	}
}

static int make_pipe(void)
{
	int fds[2];

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	close(fds[1]);
	return fds[0];
}

static int make_epoll(void)
{
	return epoll_create1(EPOLL_CLOEXEC);
}

static int make_eventfd(void)
{
	return eventfd(0, EFD_CLOEXEC);
}

static void c2_m8_slots_that_are_no_memfd_are_refused(void **state)
{
	int (*const kinds[])(void) = {make_pipe, make_epoll, make_eventfd};
	struct offer o;

	(void)state;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		offer_begin(&o, RF_RECEIVE);
		close(o.fds[SLOTS_AT]);
		o.fds[SLOTS_AT] = kinds[i]();
		offer_refused(&o, -EPERM, "is not a memfd");
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, leaks_setup, leaks_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(options_of_slots_make_sense_or_are_refused),
		TEST(slots_that_are_asked_for_are_allowed),
		TEST(channels_with_slots_open_in_all_directions),
		TEST(arming_for_what_can_never_be_does_not_sleep),
		TEST(open_channels_keep_one_descriptor_of_their_slots),
		cmocka_unit_test(c13_descriptors_that_run_out_at_any_step_leak_nothing),
		TEST(a_client_seals_its_own_regions_and_no_others),
		TEST(c2_a_wrong_number_of_descriptors_is_refused),
		TEST(c2_a_wrong_order_of_descriptors_is_refused),
		TEST(m1_m2_m3_m4_slots_of_a_server_are_checked),
		TEST(c2_m8_slots_that_are_no_memfd_are_refused),
		TEST(c1_descriptors_come_only_where_they_were_agreed_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
