/* SPDX-License-Identifier: MIT */
/* The handshake with two machines back to back and, between them, a wire that can spoil what it
 * carries: what is agreed, what is refused and how both ends learn of it, and that nothing a peer
 * sends leads to terms outside the own wish. */
#include "support.h"

#include "util/check.h"
#include "wire.h"
#include <errno.h>
#include <ringfort/options.h>
#include <stdio.h>
#include <string.h>

#define LEN(array) (sizeof(array) / sizeof(*(array)))
#define KIB        UINT64_C(1024)
#define MIB        (KIB * KIB)
#define PAGE       4096u
#define BOTH       (RF_SEND | RF_RECEIVE)
#define BOTH_BELLS (RF__BELL_EVENTFD | RF__BELL_SOCKET)

/* Where things stand in messages: once more, so that no change of the format goes unnoticed. */
enum {
	AT_MAGIC = 0,
	AT_VERSION = 4,
	AT_TYPE = 6,
	AT_LENGTH = 8,
	HEADER = 12,
	HELLO_REQUIRED = 12,
	HELLO_WANTED = 20,
	HELLO_RING = 28,
	HELLO_MAX = 36,
	HELLO_DIRECTION = 44,
	HELLO_KIND = 48,
	HELLO_BELLS = 52,
	HELLO_FENCES = 56,
	HELLO_PAGE = 60,
	HELLO_ELEMENT = 64,
	HELLO_NAME = 68,
	HELLO_RESERVED = 132,
	HELLO_BYTES = 148,
	WELCOME_FEATURES = 12,
	WELCOME_UP = 20,
	WELCOME_DOWN = 28,
	WELCOME_KIND = 36,
	WELCOME_BELL = 40,
	WELCOME_FENCE = 44,
	WELCOME_LISTENED = 48,
	WELCOME_PAGE = 52,
	WELCOME_FDS = 56,
	WELCOME_RESERVED = 60,
	WELCOME_BYTES = 76,
	REFUSE_CODE = 12,
	REFUSE_RESERVED = 16,
	REFUSE_TEXT = 20,
	REFUSE_BYTES = 148
};

/* How far each end's list of steps goes: the last is OPEN. */
enum { CLIENT_STEPS = 6, SERVER_STEPS = 7 };

/* The wire between two machines. */

struct packet {
	unsigned char bytes[RF__WIRE_MAX * 2];
	size_t len;
	unsigned n_fds;
};

struct pair {
	struct rf__wire client, server;
	uint32_t target; /* the message to spoil; 0: none */
	void (*spoil)(struct packet *packet, const void *arg);
	const void *arg;
	struct packet last; /* carried, as it arrived */
	unsigned carried;
};

static struct rf__wish any_wish(void)
{
	return (struct rf__wish){
		.kind = RF_BYTES,
		.max_ring_bytes = 64 * MIB,
		.doorbells = BOTH_BELLS,
		.page_bytes = PAGE,
	};
}

static void pair_init(
	struct pair *pair, const struct rf__wish *client, const struct rf__wish *server)
{
	memset(pair, 0, sizeof(*pair));
	rf__wire_init(&pair->client, false, client);
	rf__wire_init(&pair->server, true, server);
}

static void pair_init_any(struct pair *pair)
{
	struct rf__wish wish = any_wish();

	pair_init(pair, &wish, &wish);
}

static void output(struct rf__wire *wire, struct packet *ret_packet)
{
	memset(ret_packet, 0, sizeof(*ret_packet));
	ret_packet->len = rf__wire_output(wire, ret_packet->bytes, &ret_packet->n_fds);
}

/* An exact copy on the heap, so that the address sanitizer sees every byte read too many. */
static int input(struct rf__wire *wire, const struct packet *packet)
{
	unsigned char *exact = test_malloc(packet->len ? packet->len : 1);
	int error;

	memcpy(exact, packet->bytes, packet->len);
	error = rf__wire_input(wire, exact, packet->len, packet->n_fds);
	test_free(exact);
	return error;
}

static bool move(struct pair *pair, struct rf__wire *from, struct rf__wire *to)
{
	uint32_t type = from->next;

	if (from->state == RF__WIRE_BUILD || from->state == RF__WIRE_VERIFY) {
		rf__wire_done(from);
		return true;
	}
	if (from->state != RF__WIRE_SEND)
		return false;
	output(from, &pair->last);
	assert_true(pair->last.len > 0);
	if (pair->target == type)
		pair->spoil(&pair->last, pair->arg);
	input(to, &pair->last);
	assert_true(++pair->carried <= 6);
	return true;
}

static void run(struct pair *pair)
{
	while (move(pair, &pair->client, &pair->server) || move(pair, &pair->server, &pair->client))
		;
}

/* Runs an honest handshake until wire, one of the pair, has come to that step. */
static void run_until(struct pair *pair, const struct rf__wire *wire, unsigned step)
{
	while (wire->step < step)
		if (!move(pair, &pair->client, &pair->server))
			assert_true(move(pair, &pair->server, &pair->client));
	assert_int_equal(wire->step, step);
}

static void set_number(struct packet *packet, size_t at, size_t n, uint64_t value)
{
	for (size_t i = 0; i < n; i++)
		packet->bytes[at + i] = (unsigned char)(value >> 8 * i);
}

static uint64_t number(const struct packet *packet, size_t at, size_t n)
{
	uint64_t value = 0;

	for (size_t i = 0; i < n; i++)
		value |= (uint64_t)packet->bytes[at + i] << 8 * i;
	return value;
}

/* An honest message of any type. */
static void make(uint32_t type, struct packet *ret_packet)
{
	struct pair pair;
	struct rf__wire *wire;

	pair_init_any(&pair);
	wire = type == RF__WIRE_WELCOME || type == RF__WIRE_READY ? &pair.server : &pair.client;
	if (type == RF__WIRE_REFUSE)
		rf__wire_refuse(wire, -EPERM, "for a test");
	while (wire->state != RF__WIRE_SEND || wire->next != type)
		if (!move(&pair, &pair.client, &pair.server))
			assert_true(move(&pair, &pair.server, &pair.client));
	output(wire, ret_packet);
	assert_int_equal(number(ret_packet, AT_TYPE, 2), type);
}

/* What must hold, whatever the peer sent. */

static bool size_within(const struct rf__wish *wish, uint64_t size)
{
	return rf__is_power_of_two(size) && size >= wish->page_bytes && size >= wish->ring_bytes &&
	       size <= wish->max_ring_bytes;
}

static void assert_terms_within(const struct rf__wire *wire)
{
	const struct rf__terms *terms = &wire->terms;
	const struct rf__wish *wish = &wire->wish;
	uint32_t up = wire->server ? RF_RECEIVE : RF_SEND,
		 down = wire->server ? RF_SEND : RF_RECEIVE;
	uint32_t direction =
		(terms->area_bytes[RF__UP] ? up : 0) | (terms->area_bytes[RF__DOWN] ? down : 0);

	assert_true(direction && (!wish->direction || wish->direction == direction));
	for (int way = 0; way < RF__WAYS; way++)
		assert_true(!terms->area_bytes[way] || size_within(wish, terms->area_bytes[way]));
	assert_int_equal(terms->kind, wish->kind);
	assert_true(
		terms->doorbell == RF_DOORBELL_EVENTFD || terms->doorbell == RF_DOORBELL_SOCKET);
	assert_true(wish->doorbells & 1u << terms->doorbell);
	assert_true(!(terms->features & ~RF__FEATURES) && !(wish->required & ~terms->features));
}

static bool is_printable(const char *text)
{
	for (; *text; text++)
		if (*text < ' ' || *text > '~')
			return false;
	return true;
}

static void assert_sane(struct rf__wire *wire)
{
	static const struct rf__terms none;

	assert_true(memchr(wire->reason.text, '\0', sizeof(wire->reason.text)) != NULL);
	assert_true(is_printable(wire->reason.text));
	assert_true((wire->state == RF__WIRE_FAILED) == (wire->error < 0));
	assert_true((wire->error < 0) == (wire->reason.text[0] != '\0'));
	assert_true(wire->state == RF__WIRE_FAILED || wire->state == RF__WIRE_OPEN ||
		    wire->state == RF__WIRE_WAIT);
	if (wire->state == RF__WIRE_OPEN || memcmp(&wire->terms, &none, sizeof(none)))
		assert_terms_within(wire);
}

static void assert_open(const struct pair *pair)
{
	assert_int_equal(pair->client.state, RF__WIRE_OPEN);
	assert_int_equal(pair->server.state, RF__WIRE_OPEN);
	assert_int_equal(pair->client.error, 0);
	assert_int_equal(pair->server.error, 0);
	assert_terms_within(&pair->client);
	assert_terms_within(&pair->server);
}

static void assert_same_terms(const struct pair *pair)
{
	const struct rf__terms *a = &pair->client.terms, *b = &pair->server.terms;

	assert_int_equal(a->features, b->features);
	assert_int_equal(a->area_bytes[RF__UP], b->area_bytes[RF__UP]);
	assert_int_equal(a->area_bytes[RF__DOWN], b->area_bytes[RF__DOWN]);
	assert_int_equal(a->kind, b->kind);
	assert_int_equal(a->doorbell, b->doorbell);
	assert_int_equal(a->listened, b->listened);
}

static void assert_failed(const struct rf__wire *wire, int error, const char *sentence)
{
	assert_int_equal(wire->state, RF__WIRE_FAILED);
	assert_int_equal(wire->error, error);
	if (!strstr(wire->reason.text, sentence))
		fail_msg("\"%s\" is not in \"%s\"", sentence, wire->reason.text);
}

/* One end refused, the other was told why. */
static void assert_refused(
	const struct rf__wire *by, const struct rf__wire *told, int error, const char *sentence)
{
	assert_failed(by, error, sentence);
	assert_null(strstr(by->reason.text, "refused by the peer"));
	assert_failed(told, error, "refused by the peer: ");
	assert_failed(told, error, sentence);
}

/* A machine that has just refused sends one REFUSE, and is deaf and mute from then on. */
static void assert_refuses_once(struct rf__wire *wire, int error)
{
	struct packet packet, hello;

	assert_int_equal(wire->state, RF__WIRE_SEND);
	assert_int_equal(wire->next, RF__WIRE_REFUSE);
	make(RF__WIRE_HELLO, &hello);
	assert_int_equal(input(wire, &hello), -EBADMSG);
	output(wire, &packet);
	assert_int_equal(packet.len, REFUSE_BYTES);
	assert_int_equal(packet.n_fds, 0);
	assert_int_equal(number(&packet, AT_TYPE, 2), RF__WIRE_REFUSE);
	assert_int_equal(wire->state, RF__WIRE_FAILED);
	assert_int_equal(wire->error, error);
	output(wire, &packet);
	assert_int_equal(packet.len, 0);
	assert_int_equal(input(wire, &hello), -EBADMSG);
	rf__wire_refuse(wire, -EPERM, "too late");
	rf__wire_done(wire);
	assert_int_equal(wire->state, RF__WIRE_FAILED);
	assert_int_equal(wire->error, error);
}

/* Agreement. */

static void handshake_opens_both_ends(void **state)
{
	struct rf__wish client = any_wish(), server = any_wish();
	struct pair pair;

	(void)state;
	server.listened = true;
	pair_init(&pair, &client, &server);
	run(&pair);
	assert_open(&pair);
	assert_same_terms(&pair);
	assert_true(pair.client.terms.listened);
	assert_int_equal(pair.client.terms.area_bytes[RF__UP], RF__RING_DEFAULT);
	assert_int_equal(pair.client.terms.area_bytes[RF__DOWN], RF__RING_DEFAULT);
	assert_int_equal(pair.client.terms.doorbell, RF_DOORBELL_EVENTFD);
	assert_int_equal(pair.carried, 4);
	assert_string_equal(pair.client.reason.text, "");
	pair_init_any(&pair);
	run(&pair);
	assert_open(&pair);
	assert_false(pair.client.terms.listened);
}

/* The rings that client and server agree on when they name these: bit 0 up, bit 1 down; -1: none. */
static const int directions[4][4] = {
	/* server: 0, send, receive, both */
	[0] = {3, 2, 1, 3},
	[RF_SEND] = {1, -1, 1, -1},
	[RF_RECEIVE] = {2, 2, -1, -1},
	[BOTH] = {3, -1, -1, 3},
};

static void check_direction(uint32_t client_names, uint32_t server_names)
{
	struct rf__wish client = any_wish(), server = any_wish();
	int expected = directions[client_names][server_names];
	struct pair pair;

	client.direction = client_names;
	server.direction = server_names;
	pair_init(&pair, &client, &server);
	run(&pair);
	if (expected < 0) {
		assert_refused(&pair.server, &pair.client, -ENOTSUP, "directions differ");
		return;
	}
	assert_open(&pair);
	assert_same_terms(&pair);
	assert_int_equal(pair.client.terms.area_bytes[RF__UP], expected & 1 ? RF__RING_DEFAULT : 0);
	assert_int_equal(
		pair.client.terms.area_bytes[RF__DOWN], expected & 2 ? RF__RING_DEFAULT : 0);
}

static void directions_mirror_each_other(void **state)
{
	(void)state;
	for (uint32_t client = 0; client <= BOTH; client++)
		for (uint32_t server = 0; server <= BOTH; server++)
			check_direction(client, server);
}

static const struct {
	uint64_t client, client_max, server, server_max;
	uint32_t page;
	uint64_t size; /* 0: refused */
} sizes[] = {
	{0, 64 * MIB, 0, 64 * MIB, PAGE, 4 * MIB},
	{1, 64 * MIB, 0, 64 * MIB, PAGE, PAGE},
	{0, 64 * MIB, 1, 64 * MIB, PAGE, PAGE},
	{1, 64 * MIB, 0, 64 * MIB, 65536, 65536},
	{5000, 64 * MIB, 0, 64 * MIB, PAGE, 8192},
	{64 * KIB, 64 * MIB, 8 * KIB, 64 * MIB, PAGE, 64 * KIB},
	{8 * KIB, 64 * MIB, 65 * KIB, 64 * MIB, PAGE, 128 * KIB},
	{64 * MIB, 64 * MIB, 0, 64 * MIB, PAGE, 64 * MIB},
	{64 * MIB + 1, 64 * MIB, 0, 128 * MIB, PAGE, 0},
	{64 * MIB + 1, 128 * MIB, 0, 128 * MIB, PAGE, 128 * MIB},
	{64 * MIB, 64 * MIB, 0, 32 * MIB, PAGE, 0},
	{0, 32 * MIB, 64 * MIB, 64 * MIB, PAGE, 0},
	{0, 1 * MIB, 0, 64 * MIB, PAGE, 1 * MIB},
	{0, 64 * MIB, 0, 1 * MIB, PAGE, 1 * MIB},
	{0, 3 * MIB, 0, 64 * MIB, PAGE, 2 * MIB},
	{0, 64 * MIB, 0, 4 * MIB - 1, PAGE, 2 * MIB},
	{0, PAGE, 0, 64 * MIB, PAGE, PAGE},
	{0, PAGE + 1, 0, 64 * MIB, PAGE, PAGE},
	{0, PAGE - 1, 0, 64 * MIB, PAGE, 0},
	{0, 0, 0, 64 * MIB, PAGE, 0},
	{0, 1, 0, 1, PAGE, 0},
	{1, 64 * MIB, 0, PAGE - 1, PAGE, 0},
	{UINT64_MAX, UINT64_MAX, 0, UINT64_MAX, PAGE, 0},
	{(UINT64_C(1) << 63) + 1, UINT64_MAX, 0, UINT64_MAX, PAGE, 0},
	{UINT64_C(1) << 63, UINT64_MAX, 0, UINT64_MAX, PAGE, UINT64_C(1) << 63},
	{0, UINT64_MAX, 0, UINT64_MAX, PAGE, 4 * MIB},
};

static void check_size(size_t i)
{
	struct rf__wish client = any_wish(), server = any_wish();
	struct pair pair;

	client.ring_bytes = sizes[i].client;
	client.max_ring_bytes = sizes[i].client_max;
	server.ring_bytes = sizes[i].server;
	server.max_ring_bytes = sizes[i].server_max;
	client.page_bytes = server.page_bytes = sizes[i].page;
	pair_init(&pair, &client, &server);
	run(&pair);
	if (!sizes[i].size) {
		assert_refused(&pair.server, &pair.client, -ENOTSUP, "client allows");
		return;
	}
	assert_open(&pair);
	assert_same_terms(&pair);
	assert_int_equal(pair.client.terms.area_bytes[RF__UP], sizes[i].size);
	assert_int_equal(pair.client.terms.area_bytes[RF__DOWN], sizes[i].size);
}

static void larger_wish_counts_within_both_limits(void **state)
{
	(void)state;
	for (size_t i = 0; i < LEN(sizes); i++)
		check_size(i);
}

static void refused_size_is_named_to_both(void **state)
{
	struct rf__wish client = any_wish(), server = any_wish();
	struct pair pair;

	(void)state;
	client.ring_bytes = client.max_ring_bytes = 16 * MIB;
	server.max_ring_bytes = 8 * MIB;
	pair_init(&pair, &client, &server);
	run(&pair);
	assert_refused(&pair.server, &pair.client, -ENOTSUP,
		"rings of 16777216 bytes: client allows 16777216, server 8388608");
	client.ring_bytes = client.max_ring_bytes = UINT64_MAX;
	server.max_ring_bytes = UINT64_MAX - 1;
	pair_init(&pair, &client, &server);
	run(&pair);
	assert_refused(&pair.server, &pair.client, -ENOTSUP, "server 18446744073709551614");
}

static void check_doorbells(uint32_t client_bells, uint32_t server_bells)
{
	struct rf__wish client = any_wish(), server = any_wish();
	uint32_t common = client_bells & server_bells;
	struct pair pair;

	client.doorbells = client_bells;
	server.doorbells = server_bells;
	pair_init(&pair, &client, &server);
	run(&pair);
	if (!(common & BOTH_BELLS)) {
		assert_refused(&pair.server, &pair.client, -ENOTSUP, "share no doorbell");
		return;
	}
	assert_open(&pair);
	assert_same_terms(&pair);
	assert_int_equal(pair.client.terms.doorbell,
		common & RF__BELL_EVENTFD ? RF_DOORBELL_EVENTFD : RF_DOORBELL_SOCKET);
}

static void eventfd_where_both_accept_it_else_socket(void **state)
{
	(void)state;
	for (uint32_t client = 0; client < 16; client++)
		for (uint32_t server = 0; server < 16; server++)
			check_doorbells(client, server);
}

static void descriptors_are_what_terms_imply(void **state)
{
	struct rf__terms terms = {.doorbell = RF_DOORBELL_SOCKET};

	(void)state;
	terms.area_bytes[RF__UP] = PAGE;
	assert_int_equal(rf__terms_fds(&terms), 2);
	terms.area_bytes[RF__DOWN] = PAGE;
	assert_int_equal(rf__terms_fds(&terms), 4);
	terms.doorbell = RF_DOORBELL_EVENTFD;
	assert_int_equal(rf__terms_fds(&terms), 8);
	terms.area_bytes[RF__UP] = 0;
	assert_int_equal(rf__terms_fds(&terms), 4);
}

static void wanted_features_may_be_unknown(void **state)
{
	struct rf__wish client = any_wish(), server = any_wish();
	struct pair pair;

	(void)state;
	client.wanted = UINT64_MAX;
	server.wanted = UINT64_MAX;
	pair_init(&pair, &client, &server);
	run(&pair);
	assert_open(&pair);
	assert_int_equal(pair.client.terms.features, 0);
	assert_int_equal(pair.server.terms.features, 0);
}

static void required_features_must_be_known(void **state)
{
	struct pair pair;

	(void)state;
	for (unsigned bit = 0; bit < 64; bit++) {
		struct rf__wish client = any_wish(), server = any_wish();

		client.required = UINT64_C(1) << bit;
		server.wanted = UINT64_MAX;
		pair_init(&pair, &client, &server);
		run(&pair);
		assert_refused(&pair.server, &pair.client, -ENOTSUP, "the server lacks");
		pair_init(&pair, &server, &client);
		run(&pair);
		assert_refused(&pair.server, &pair.client, -ENOTSUP, "the client lacks");
	}
}

static void pages_and_kinds_must_be_equal(void **state)
{
	struct rf__wish client = any_wish(), server = any_wish();
	struct pair pair;

	(void)state;
	client.page_bytes = 65536;
	pair_init(&pair, &client, &server);
	run(&pair);
	assert_refused(&pair.server, &pair.client, -ENOTSUP, "client 65536 bytes, server 4096");
	client = any_wish();
	client.kind = 2;
	pair_init(&pair, &client, &server);
	run(&pair);
	assert_refused(&pair.server, &pair.client, -ENOTSUP, "kind 2");
}

/* Spoiled messages. */

struct change {
	uint32_t type;
	size_t at, n;
	uint64_t value;
	int error;
	const char *sentence;
};

static void apply_change(struct packet *packet, const void *arg)
{
	const struct change *change = arg;

	set_number(packet, change->at, change->n, change->value);
}

static void check_changes(const struct rf__wish *wish, const struct change *changes, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		bool at_server =
			changes[i].type == RF__WIRE_HELLO || changes[i].type == RF__WIRE_MAPPED;
		struct pair pair;

		pair_init(&pair, wish, wish);
		pair.target = changes[i].type;
		pair.spoil = apply_change;
		pair.arg = &changes[i];
		run(&pair);
		if (at_server)
			assert_refused(
				&pair.server, &pair.client, changes[i].error, changes[i].sentence);
		else
			assert_refused(
				&pair.client, &pair.server, changes[i].error, changes[i].sentence);
	}
}

static void numbers_are_little_endian_at_fixed_places(void **state)
{
	struct rf__wish wish = {UINT64_C(0x0102030405060708), UINT64_C(0x1112131415161718),
		UINT64_C(0x2122232425262728), UINT64_C(0x3132333435363738), 0x41424344, 0x51525354,
		0x61626364, 0x71727374, true};
	static const unsigned char header[] = {'R', 'F', 'r', 't', 1, 0, 1, 0, HELLO_BYTES - HEADER,
		0, 0, 0, 8, 7, 6, 5, 4, 3, 2, 1, 0x18};
	struct packet expected = {.len = HELLO_BYTES}, packet;
	struct rf__wire wire;

	(void)state;
	rf__wire_init(&wire, false, &wish);
	output(&wire, &packet);
	set_number(&expected, HELLO_REQUIRED, 8, wish.required);
	set_number(&expected, HELLO_WANTED, 8, wish.wanted);
	set_number(&expected, HELLO_RING, 8, wish.ring_bytes);
	set_number(&expected, HELLO_MAX, 8, wish.max_ring_bytes);
	set_number(&expected, HELLO_DIRECTION, 4, wish.direction);
	set_number(&expected, HELLO_KIND, 4, wish.kind);
	set_number(&expected, HELLO_BELLS, 4, wish.doorbells);
	set_number(&expected, HELLO_FENCES, 4, 2);
	set_number(&expected, HELLO_PAGE, 4, wish.page_bytes);
	memcpy(expected.bytes, header, sizeof(header));
	assert_int_equal(packet.len, expected.len);
	assert_memory_equal(packet.bytes, expected.bytes, sizeof(packet.bytes));
}

static void messages_have_their_lengths(void **state)
{
	static const size_t lengths[] = {
		0, HELLO_BYTES, WELCOME_BYTES, HEADER, HEADER, REFUSE_BYTES};
	struct packet packet;

	(void)state;
	for (uint32_t type = RF__WIRE_HELLO; type <= RF__WIRE_REFUSE; type++) {
		make(type, &packet);
		assert_int_equal(packet.len, lengths[type]);
		assert_int_equal(number(&packet, AT_LENGTH, 4), packet.len - HEADER);
		assert_int_equal(packet.n_fds, type == RF__WIRE_WELCOME ? 8 : 0);
	}
}

static void hello_is_checked(void **state)
{
	static const struct change changes[] = {
		{RF__WIRE_HELLO, AT_MAGIC, 4, 0x12345678, -EBADMSG, "does not speak ringfort"},
		{RF__WIRE_HELLO, AT_VERSION, 2, 2, -ENOTSUP, "the client speaks version 2, not 1"},
		{RF__WIRE_HELLO, AT_VERSION, 2, 0, -ENOTSUP, "the client speaks version 0, not 1"},
		{RF__WIRE_HELLO, AT_TYPE, 2, 0, -EBADMSG, "unknown type"},
		{RF__WIRE_HELLO, AT_TYPE, 2, 6, -EBADMSG, "unknown type"},
		{RF__WIRE_HELLO, AT_TYPE, 2, 0xffff, -EBADMSG, "unknown type"},
		{RF__WIRE_HELLO, AT_TYPE, 2, 3, -EBADMSG, "the client sent MAPPED out of turn"},
		{RF__WIRE_HELLO, AT_LENGTH, 4, 0, -EBADMSG, "wrong length"},
		{RF__WIRE_HELLO, AT_LENGTH, 4, UINT32_MAX, -EBADMSG, "wrong length"},
		{RF__WIRE_HELLO, HELLO_DIRECTION, 4, 4, -EBADMSG, "HELLO is malformed"},
		{RF__WIRE_HELLO, HELLO_DIRECTION, 4, UINT32_MAX, -EBADMSG, "HELLO is malformed"},
		{RF__WIRE_HELLO, HELLO_KIND, 4, 0, -ENOTSUP, "kind 0"},
		{RF__WIRE_HELLO, HELLO_BELLS, 4, 1, -ENOTSUP, "no doorbell"},
		{RF__WIRE_HELLO, HELLO_FENCES, 4, 0, -ENOTSUP, "no fence"},
		{RF__WIRE_HELLO, HELLO_FENCES, 4, 4, -ENOTSUP, "no fence"},
		{RF__WIRE_HELLO, HELLO_PAGE, 4, 0, -ENOTSUP, "pages differ"},
		{RF__WIRE_HELLO, HELLO_ELEMENT, 4, 8, -ENOTSUP, "no typed channels"},
		{RF__WIRE_HELLO, HELLO_NAME, 8, 'x', -ENOTSUP, "no typed channels"},
		{RF__WIRE_HELLO, HELLO_RESERVED - 1, 1, 'x', -ENOTSUP, "no typed channels"},
		{RF__WIRE_HELLO, HELLO_RESERVED, 1, 1, -EBADMSG, "HELLO is malformed"},
		{RF__WIRE_HELLO, HELLO_BYTES - 1, 1, 0x80, -EBADMSG, "HELLO is malformed"},
	};
	struct rf__wish wish = any_wish();

	(void)state;
	check_changes(&wish, changes, LEN(changes));
}

static void unknown_doorbells_and_fences_of_a_mask_are_ignored(void **state)
{
	static const struct change changes[] = {
		{.at = HELLO_BELLS, .n = 4, .value = UINT32_MAX},
		{.at = HELLO_FENCES, .n = 4, .value = UINT32_MAX},
	};

	(void)state;
	for (size_t i = 0; i < LEN(changes); i++) {
		struct pair pair;

		pair_init_any(&pair);
		pair.target = RF__WIRE_HELLO;
		pair.spoil = apply_change;
		pair.arg = &changes[i];
		run(&pair);
		assert_open(&pair);
	}
}

/* The client wants 64 KiB to 1 MiB, duplex, by socket; the honest answer is 64 KiB and 4 descriptors. */
static void hostile_welcome_beyond_the_wish_is_refused(void **state)
{
	static const struct change changes[] = {
		{RF__WIRE_WELCOME, WELCOME_FEATURES, 8, 1, -EBADMSG, "features"},
		{RF__WIRE_WELCOME, WELCOME_FEATURES, 8, UINT64_MAX, -EBADMSG, "features"},
		{RF__WIRE_WELCOME, WELCOME_UP, 8, 2 * MIB, -EBADMSG, "ring size"},
		{RF__WIRE_WELCOME, WELCOME_DOWN, 8, 2 * MIB, -EBADMSG, "ring size"},
		{RF__WIRE_WELCOME, WELCOME_UP, 8, UINT64_C(1) << 63, -EBADMSG, "ring size"},
		{RF__WIRE_WELCOME, WELCOME_UP, 8, UINT64_MAX, -EBADMSG, "ring size"},
		{RF__WIRE_WELCOME, WELCOME_DOWN, 8, 96 * KIB, -EBADMSG, "ring size"},
		{RF__WIRE_WELCOME, WELCOME_DOWN, 8, 32 * KIB, -EBADMSG, "ring size"},
		{RF__WIRE_WELCOME, WELCOME_UP, 8, 1, -EBADMSG, "ring size"},
		{RF__WIRE_WELCOME, WELCOME_UP, 8, 0, -EBADMSG, "directions"},
		{RF__WIRE_WELCOME, WELCOME_DOWN, 8, 0, -EBADMSG, "directions"},
		{RF__WIRE_WELCOME, WELCOME_KIND, 4, 2, -EBADMSG, "kind"},
		{RF__WIRE_WELCOME, WELCOME_BELL, 4, RF_DOORBELL_AUTO, -EBADMSG, "doorbell"},
		{RF__WIRE_WELCOME, WELCOME_BELL, 4, RF_DOORBELL_EVENTFD, -EBADMSG, "doorbell"},
		{RF__WIRE_WELCOME, WELCOME_BELL, 4, 34, -EBADMSG, "doorbell"},
		{RF__WIRE_WELCOME, WELCOME_BELL, 4, UINT32_MAX, -EBADMSG, "doorbell"},
		{RF__WIRE_WELCOME, WELCOME_FENCE, 4, 0, -EBADMSG, "fence"},
		{RF__WIRE_WELCOME, WELCOME_FENCE, 4, 2, -EBADMSG, "fence"},
		{RF__WIRE_WELCOME, WELCOME_LISTENED, 4, 2, -EBADMSG, "WELCOME is malformed"},
		{RF__WIRE_WELCOME, WELCOME_PAGE, 4, 65536, -EBADMSG, "page size"},
		{RF__WIRE_WELCOME, WELCOME_FDS, 4, 0, -EBADMSG, "descriptors"},
		{RF__WIRE_WELCOME, WELCOME_FDS, 4, 5, -EBADMSG, "descriptors"},
		{RF__WIRE_WELCOME, WELCOME_FDS, 4, UINT32_MAX, -EBADMSG, "descriptors"},
		{RF__WIRE_WELCOME, WELCOME_RESERVED, 1, 1, -EBADMSG, "WELCOME is malformed"},
		{RF__WIRE_WELCOME, WELCOME_BYTES - 1, 1, 1, -EBADMSG, "WELCOME is malformed"},
		{RF__WIRE_WELCOME, AT_VERSION, 2, 2, -ENOTSUP, "the server speaks version 2"},
		{RF__WIRE_WELCOME, AT_TYPE, 2, 4, -EBADMSG, "READY brought 4 descriptors"},
	};
	struct rf__wish wish = any_wish();

	(void)state;
	wish.ring_bytes = 64 * KIB;
	wish.max_ring_bytes = 1 * MIB;
	wish.direction = BOTH;
	wish.doorbells = RF__BELL_SOCKET;
	check_changes(&wish, changes, LEN(changes));
}

static void hostile_welcome_below_a_page_is_refused(void **state)
{
	static const struct change changes[] = {
		{RF__WIRE_WELCOME, WELCOME_UP, 8, 1, -EBADMSG, "ring size"},
		{RF__WIRE_WELCOME, WELCOME_UP, 8, PAGE / 2, -EBADMSG, "ring size"},
		{RF__WIRE_WELCOME, WELCOME_DOWN, 8, PAGE / 2, -EBADMSG, "ring size"},
	};
	struct rf__wish wish = any_wish();

	(void)state;
	check_changes(&wish, changes, LEN(changes));
}

/* Even where descriptors and their announced number fit the lie. */
static void lie_about_directions(struct packet *packet, const void *arg)
{
	set_number(packet, WELCOME_UP, 8, 0);
	set_number(packet, WELCOME_DOWN, 8, *(const uint64_t *)arg);
	packet->n_fds = *(const uint64_t *)arg ? 4 : 0;
	set_number(packet, WELCOME_FDS, 4, packet->n_fds);
}

static void hostile_welcome_with_other_rings_is_refused(void **state)
{
	static const uint64_t down[] = {4 * MIB, 0};
	struct rf__wish client = any_wish(), server = any_wish();

	(void)state;
	client.direction = RF_SEND;
	for (size_t i = 0; i < LEN(down); i++) {
		struct pair pair;

		pair_init(&pair, &client, &server);
		pair.target = RF__WIRE_WELCOME;
		pair.spoil = lie_about_directions;
		pair.arg = &down[i];
		run(&pair);
		assert_refused(&pair.client, &pair.server, -EBADMSG, "directions");
		client.direction = 0;
	}
}

static void change_fds(struct packet *packet, const void *arg)
{
	packet->n_fds = *(const unsigned *)arg;
}

static void check_fds(uint32_t type, unsigned n_fds, unsigned right)
{
	bool at_server = type == RF__WIRE_HELLO || type == RF__WIRE_MAPPED;
	struct pair pair;

	pair_init_any(&pair);
	pair.target = type;
	pair.spoil = change_fds;
	pair.arg = &n_fds;
	run(&pair);
	if (n_fds == right)
		assert_open(&pair);
	else if (at_server)
		assert_refused(&pair.server, &pair.client, -EBADMSG, "descriptors");
	else
		assert_failed(&pair.client, -EBADMSG, "descriptors");
}

static void c2_surplus_and_missing_descriptors_end_the_handshake(void **state)
{
	static const unsigned counts[] = {0, 1, 7, 8, 9, 253, UINT32_MAX};

	(void)state;
	for (uint32_t type = RF__WIRE_HELLO; type <= RF__WIRE_READY; type++)
		for (size_t i = 0; i < LEN(counts); i++)
			check_fds(type, counts[i], type == RF__WIRE_WELCOME ? 8 : 0);
}

static void c2_refuse_brings_no_descriptors(void **state)
{
	struct packet packet;
	struct pair pair;

	(void)state;
	make(RF__WIRE_REFUSE, &packet);
	packet.n_fds = 1;
	pair_init_any(&pair);
	run_until(&pair, &pair.client, 1);
	assert_int_equal(input(&pair.client, &packet), -EBADMSG);
	assert_refuses_once(&pair.client, -EBADMSG);
}

/* Lengths. */

static void change_length(struct packet *packet, const void *arg)
{
	packet->len = *(const size_t *)arg;
}

static void change_both_lengths(struct packet *packet, const void *arg)
{
	packet->len = *(const size_t *)arg;
	if (packet->len >= HEADER)
		set_number(packet, AT_LENGTH, 4, packet->len - HEADER);
}

static void check_length(uint32_t type, size_t len, void (*spoil)(struct packet *, const void *))
{
	struct pair pair;

	pair_init_any(&pair);
	if (type == RF__WIRE_REFUSE)
		rf__wire_refuse(&pair.client, -EPERM, "for a test");
	pair.target = type;
	pair.spoil = spoil;
	pair.arg = &len;
	run(&pair);
	assert_sane(&pair.client);
	assert_sane(&pair.server);
	assert_true(pair.client.state == RF__WIRE_FAILED || pair.server.state == RF__WIRE_FAILED);
	assert_true(pair.client.error == -EBADMSG || pair.server.error == -EBADMSG);
}

static void messages_have_exactly_one_length(void **state)
{
	struct packet packet;

	(void)state;
	for (uint32_t type = RF__WIRE_HELLO; type <= RF__WIRE_REFUSE; type++) {
		make(type, &packet);
		for (size_t len = 0; len <= sizeof(packet.bytes); len++) {
			if (len == packet.len)
				continue;
			check_length(type, len, change_length);
			check_length(type, len, change_both_lengths);
		}
	}
}

static void c4_zero_length_message_is_a_bad_one(void **state)
{
	struct rf__wish wish = any_wish();
	struct rf__wire wire;

	(void)state;
	for (int server = 0; server < 2; server++) {
		rf__wire_init(&wire, server, &wish);
		assert_int_equal(rf__wire_input(&wire, "", 0, 0), -EBADMSG);
		assert_refuses_once(&wire, -EBADMSG);
		rf__wire_init(&wire, server, &wish);
		assert_int_equal(rf__wire_input(&wire, NULL, 0, 0), -EBADMSG);
		assert_refuses_once(&wire, -EBADMSG);
	}
}

static void c4_oversized_message_is_not_read(void **state)
{
	static const size_t lengths[] = {RF__WIRE_MAX + 1, UINT32_MAX, SIZE_MAX};
	struct rf__wish wish = any_wish();
	struct rf__wire wire;

	(void)state;
	for (size_t i = 0; i < LEN(lengths); i++) {
		rf__wire_init(&wire, true, &wish);
		assert_int_equal(rf__wire_input(&wire, NULL, lengths[i], 0), -EBADMSG);
		assert_refuses_once(&wire, -EBADMSG);
		assert_string_equal(wire.reason.text, "a message is too long");
	}
}

/* States. */

static const struct rf__wire *end_of(const struct pair *pair, bool server)
{
	return server ? &pair->server : &pair->client;
}

/* Whatever comes at a step, only the message that is expected there is taken. */
static void check_out_of_turn(bool server, unsigned step, uint32_t type)
{
	struct packet packet;
	struct rf__wire wire;
	struct pair pair;

	make(type, &packet);
	pair_init_any(&pair);
	run_until(&pair, end_of(&pair, server), step);
	wire = *end_of(&pair, server);
	if (wire.state == RF__WIRE_WAIT && wire.next == type) {
		assert_int_equal(input(&wire, &packet), 0);
		assert_int_equal(wire.step, step + 1);
		return;
	}
	packet.n_fds = 0;
	assert_int_equal(input(&wire, &packet), -EBADMSG);
	if (step == (server ? SERVER_STEPS : CLIENT_STEPS) - 1) {
		assert_int_equal(wire.state, RF__WIRE_OPEN);
		assert_int_equal(wire.error, 0);
	} else {
		assert_refuses_once(&wire, -EBADMSG);
	}
}

static void c4_one_message_per_state(void **state)
{
	(void)state;
	for (uint32_t type = RF__WIRE_HELLO; type < RF__WIRE_REFUSE; type++) {
		for (unsigned step = 0; step < CLIENT_STEPS; step++)
			check_out_of_turn(false, step, type);
		for (unsigned step = 0; step < SERVER_STEPS; step++)
			check_out_of_turn(true, step, type);
	}
}

static void c4_replayed_message_is_out_of_turn(void **state)
{
	(void)state;
	for (uint32_t type = RF__WIRE_HELLO; type <= RF__WIRE_MAPPED; type++) {
		struct rf__wire *to;
		struct pair pair;

		pair_init_any(&pair);
		to = type == RF__WIRE_WELCOME ? &pair.client : &pair.server;
		while (number(&pair.last, AT_TYPE, 2) != type)
			if (!move(&pair, &pair.client, &pair.server))
				move(&pair, &pair.server, &pair.client);
		assert_int_equal(input(to, &pair.last), -EBADMSG);
		assert_non_null(strstr(to->reason.text, "out of turn"));
		assert_refuses_once(to, -EBADMSG);
	}
}

static void c4_flood_is_answered_once(void **state)
{
	struct packet hello, out;
	struct rf__wish wish = any_wish();
	struct rf__wire wire;
	unsigned answers = 0;

	(void)state;
	make(RF__WIRE_HELLO, &hello);
	rf__wire_init(&wire, true, &wish);
	assert_int_equal(input(&wire, &hello), 0);
	for (int i = 0; i < 10000; i++) {
		assert_int_equal(input(&wire, &hello), -EBADMSG);
		if (i % 7 == 6)
			output(&wire, &out);
		else
			continue;
		answers += out.len != 0;
	}
	assert_int_equal(answers, 1);
	assert_failed(&wire, -EBADMSG, "the client sent HELLO out of turn");
}

static void c4_stalled_peer_leaves_the_machine_waiting(void **state)
{
	struct rf__wire before, *wire;
	struct packet packet;
	struct pair pair;

	(void)state;
	for (unsigned step = 0; step < SERVER_STEPS; step++) {
		pair_init_any(&pair);
		run_until(&pair, &pair.server, step);
		wire = &pair.server;
		if (wire->state != RF__WIRE_WAIT)
			continue;
		before = *wire;
		for (int i = 0; i < 100; i++) {
			output(wire, &packet);
			assert_int_equal(packet.len, 0);
			rf__wire_done(wire);
		}
		assert_memory_equal(wire, &before, sizeof(before));
	}
}

static void c4_too_late_is_told_to_the_client(void **state)
{
	struct pair pair;

	(void)state;
	for (unsigned step = 0; step < SERVER_STEPS - 1; step++) {
		pair_init_any(&pair);
		run_until(&pair, &pair.server, step);
		rf__wire_refuse(&pair.server, -ETIMEDOUT, "the handshake took more than 5 seconds");
		while (move(&pair, &pair.server, &pair.client))
			;
		assert_refused(&pair.server, &pair.client, -ETIMEDOUT, "more than 5 seconds");
	}
}

/* Refusals. */

static void check_refusal(bool server, unsigned step, int error, int told)
{
	struct rf__wire *by, *other;
	struct pair pair;

	pair_init_any(&pair);
	run_until(&pair, end_of(&pair, server), step);
	by = server ? &pair.server : &pair.client;
	other = server ? &pair.client : &pair.server;
	if (by->state == RF__WIRE_OPEN)
		return;
	rf__wire_refuse(by, error, "because of this");
	rf__wire_refuse(by, -EIO, "the first one counts");
	assert_true(move(&pair, by, other));
	assert_failed(by, error, "because of this");
	if (other->state == RF__WIRE_OPEN)
		return;
	assert_failed(other, told, "refused by the peer: because of this");
	assert_false(move(&pair, other, by));
	assert_false(move(&pair, by, other));
}

static void refusal_carries_its_errno_from_any_state(void **state)
{
	static const struct {
		int error, told;
	} errors[] = {{-EPERM, -EPERM}, {-EBADMSG, -EBADMSG}, {-ENOTSUP, -ENOTSUP},
		{-ENOBUFS, -ENOBUFS}, {-ETIMEDOUT, -ETIMEDOUT}, {-ENOMEM, -ECONNABORTED},
		{-EMFILE, -ECONNABORTED}, {-ECONNABORTED, -ECONNABORTED}};

	(void)state;
	for (size_t i = 0; i < LEN(errors); i++) {
		for (unsigned step = 0; step < CLIENT_STEPS; step++)
			check_refusal(false, step, errors[i].error, errors[i].told);
		for (unsigned step = 0; step < SERVER_STEPS; step++)
			check_refusal(true, step, errors[i].error, errors[i].told);
	}
}

/* What a client makes of a REFUSE with that code, version and text. */
static void be_refused(struct rf__wire *ret_wire, struct packet *packet)
{
	struct rf__wish wish = any_wish();

	rf__wire_init(ret_wire, false, &wish);
	input(ret_wire, packet);
	assert_sane(ret_wire);
}

static void unknown_refusal_codes_and_versions_are_understood(void **state)
{
	static const uint64_t codes[] = {0, 6, 7, 0x7fffffff, 0x80000000, UINT32_MAX};
	struct packet packet;
	struct rf__wire wire;

	(void)state;
	for (size_t i = 0; i < LEN(codes); i++) {
		make(RF__WIRE_REFUSE, &packet);
		set_number(&packet, REFUSE_CODE, 4, codes[i]);
		set_number(&packet, AT_VERSION, 2, codes[i]);
		be_refused(&wire, &packet);
		assert_failed(&wire, -ECONNABORTED, "refused by the peer: for a test");
	}
}

static void malformed_refusal_is_a_bad_message(void **state)
{
	struct rf__wish wish = any_wish();
	struct packet packet;
	struct rf__wire wire;

	(void)state;
	make(RF__WIRE_REFUSE, &packet);
	set_number(&packet, REFUSE_RESERVED, 4, 1);
	rf__wire_init(&wire, false, &wish);
	assert_int_equal(input(&wire, &packet), -EBADMSG);
	assert_non_null(strstr(wire.reason.text, "REFUSE is malformed"));
	assert_refuses_once(&wire, -EBADMSG);
}

static void c12_refusal_text_is_made_printable(void **state)
{
	static const char escape[] = "\x1b]0;owned\a\x1b[2J\r\n\x7f\x9b\xff\t%s%n";
	struct packet packet;
	struct rf__wire wire;

	(void)state;
	make(RF__WIRE_REFUSE, &packet);
	memcpy(packet.bytes + REFUSE_TEXT, escape, sizeof(escape));
	be_refused(&wire, &packet);
	assert_failed(&wire, -EPERM, "refused by the peer: ?]0;owned??[2J??????%s%n");
	for (unsigned c = 1; c < 256; c++) {
		memset(packet.bytes + REFUSE_TEXT, (int)c, RF__WIRE_TEXT);
		be_refused(&wire, &packet);
		assert_int_equal(
			strlen(wire.reason.text), strlen("refused by the peer: ") + RF__WIRE_TEXT);
	}
	packet.bytes[REFUSE_TEXT] = '\0';
	be_refused(&wire, &packet);
	assert_string_equal(wire.reason.text, "refused by the peer: no reason given");
}

static void long_and_own_sentences_are_cut_and_padded(void **state)
{
	char sentence[400];
	struct packet packet;
	struct pair pair;

	(void)state;
	memset(sentence, 'a', sizeof(sentence) - 1);
	sentence[sizeof(sentence) - 1] = '\0';
	pair_init_any(&pair);
	rf__wire_refuse(&pair.server, -EPERM, sentence);
	output(&pair.server, &packet);
	assert_memory_equal(packet.bytes + REFUSE_TEXT, sentence, RF__WIRE_TEXT);
	pair_init_any(&pair);
	rf__fail(&pair.server.reason, -EPERM, "%s", sentence);
	rf__fail(&pair.server.reason, -EPERM, "short");
	rf__wire_refuse(&pair.server, -EPERM, pair.server.reason.text);
	output(&pair.server, &packet);
	assert_string_equal((char *)packet.bytes + REFUSE_TEXT, "short");
	for (size_t i = REFUSE_TEXT + 5; i < REFUSE_BYTES; i++)
		assert_int_equal(packet.bytes[i], 0);
}

/* Mutations. */

struct flip {
	size_t at;
	unsigned char mask;
};

static void apply_flip(struct packet *packet, const void *arg)
{
	const struct flip *flip = arg;

	packet->bytes[flip->at] ^= flip->mask;
}

static void check_flip(uint32_t type, const struct flip *flip)
{
	struct pair pair;

	pair_init_any(&pair);
	if (type == RF__WIRE_REFUSE)
		rf__wire_refuse(&pair.server, -EPERM, "for a test");
	pair.target = type;
	pair.spoil = apply_flip;
	pair.arg = flip;
	run(&pair);
	assert_sane(&pair.client);
	assert_sane(&pair.server);
	assert_true(pair.client.state != RF__WIRE_WAIT || pair.server.state == RF__WIRE_FAILED);
	assert_true(pair.server.state != RF__WIRE_WAIT || pair.client.state == RF__WIRE_FAILED);
	if (type > RF__WIRE_WELCOME || flip->at < HEADER)
		assert_true(pair.client.error || pair.server.error);
}

static void any_byte_may_be_wrong(void **state)
{
	struct packet packet;
	struct flip flip;

	(void)state;
	for (uint32_t type = RF__WIRE_HELLO; type <= RF__WIRE_REFUSE; type++) {
		make(type, &packet);
		for (flip.at = 0; flip.at < packet.len; flip.at++)
			for (unsigned mask = 1; mask < 256; mask++) {
				flip.mask = (unsigned char)mask;
				check_flip(type, &flip);
			}
	}
}

/* xorshift64: the same every time. */
static uint64_t random_state = UINT64_C(0x9e3779b97f4a7c15);

static uint64_t random_number(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

static size_t random_below(size_t n)
{
	return (size_t)(random_number() >> 11) % n;
}

static uint64_t interesting_number(void)
{
	uint64_t near = (UINT64_C(1) << random_below(64)) + random_below(3) - 1;

	return random_below(4) ? near : random_number();
}

static void mutate_once(struct packet *packet)
{
	static const size_t widths[] = {1, 2, 4, 8};
	size_t n = widths[random_below(LEN(widths))];

	switch (random_below(8)) {
	case 0:
		packet->len = random_below(RF__WIRE_MAX + 8);
		break;
	case 1:
		packet->n_fds = (unsigned)random_below(10);
		break;
	case 2:
		set_number(packet, AT_LENGTH, 4, packet->len - HEADER);
		break;
	case 3:
		set_number(packet, AT_TYPE, 2, random_below(7));
		break;
	default:
		set_number(packet, HEADER + random_below(HELLO_BYTES - HEADER) / n * n, n,
			interesting_number());
	}
}

static void mutate(struct packet *packet, const void *arg)
{
	(void)arg;
	for (size_t n = 1 + random_below(3); n; n--)
		mutate_once(packet);
}

static struct rf__wish random_wish(void)
{
	static const uint64_t rings[] = {0, 0, 1, 8192, 100000, 4 * MIB};
	static const uint64_t maxima[] = {PAGE, 64 * KIB, 64 * MIB, 64 * MIB, UINT64_MAX};
	struct rf__wish wish = any_wish();

	wish.ring_bytes = rings[random_below(LEN(rings))];
	wish.max_ring_bytes = maxima[random_below(LEN(maxima))];
	wish.direction = (uint32_t)random_below(4);
	wish.doorbells = (uint32_t)random_below(8) | RF__BELL_SOCKET;
	wish.wanted = random_number();
	wish.listened = random_below(2);
	return wish;
}

static void mutated_messages_never_lead_outside_the_wish(void **state)
{
	unsigned rounds = rf_test_rounds(100000), open = 0;

	(void)state;
	for (unsigned i = 0; i < rounds; i++) {
		struct rf__wish client = random_wish(), server = random_wish();
		struct pair pair;

		pair_init(&pair, &client, &server);
		pair.target = 1 + (uint32_t)random_below(RF__WIRE_REFUSE);
		pair.spoil = mutate;
		run(&pair);
		assert_sane(&pair.client);
		assert_sane(&pair.server);
		open += pair.client.state == RF__WIRE_OPEN && pair.server.state == RF__WIRE_OPEN;
	}
	assert_in_range(open, rounds / 100, rounds - rounds / 100);
}

static void garbage_never_opens(void **state)
{
	unsigned rounds = rf_test_rounds(20000);

	(void)state;
	for (unsigned i = 0; i < rounds; i++) {
		bool server = random_below(2);
		unsigned step = (unsigned)random_below((server ? SERVER_STEPS : CLIENT_STEPS) - 1);
		struct packet packet = {.len = random_below(RF__WIRE_MAX + 1)};
		struct rf__wire wire;
		struct pair pair;

		for (size_t at = 0; at < packet.len; at++)
			packet.bytes[at] = (unsigned char)random_number();
		if (random_below(2) && packet.len > 4)
			set_number(&packet, AT_MAGIC, 4, RF__WIRE_MAGIC);
		pair_init_any(&pair);
		run_until(&pair, end_of(&pair, server), step);
		wire = *end_of(&pair, server);
		assert_true(input(&wire, &packet) < 0);
		assert_refuses_once(&wire, wire.error);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(handshake_opens_both_ends),
		cmocka_unit_test(directions_mirror_each_other),
		cmocka_unit_test(larger_wish_counts_within_both_limits),
		cmocka_unit_test(refused_size_is_named_to_both),
		cmocka_unit_test(eventfd_where_both_accept_it_else_socket),
		cmocka_unit_test(descriptors_are_what_terms_imply),
		cmocka_unit_test(wanted_features_may_be_unknown),
		cmocka_unit_test(required_features_must_be_known),
		cmocka_unit_test(pages_and_kinds_must_be_equal),
		cmocka_unit_test(numbers_are_little_endian_at_fixed_places),
		cmocka_unit_test(messages_have_their_lengths),
		cmocka_unit_test(hello_is_checked),
		cmocka_unit_test(unknown_doorbells_and_fences_of_a_mask_are_ignored),
		cmocka_unit_test(hostile_welcome_beyond_the_wish_is_refused),
		cmocka_unit_test(hostile_welcome_below_a_page_is_refused),
		cmocka_unit_test(hostile_welcome_with_other_rings_is_refused),
		cmocka_unit_test(c2_surplus_and_missing_descriptors_end_the_handshake),
		cmocka_unit_test(c2_refuse_brings_no_descriptors),
		cmocka_unit_test(messages_have_exactly_one_length),
		cmocka_unit_test(c4_zero_length_message_is_a_bad_one),
		cmocka_unit_test(c4_oversized_message_is_not_read),
		cmocka_unit_test(c4_one_message_per_state),
		cmocka_unit_test(c4_replayed_message_is_out_of_turn),
		cmocka_unit_test(c4_flood_is_answered_once),
		cmocka_unit_test(c4_stalled_peer_leaves_the_machine_waiting),
		cmocka_unit_test(c4_too_late_is_told_to_the_client),
		cmocka_unit_test(refusal_carries_its_errno_from_any_state),
		cmocka_unit_test(unknown_refusal_codes_and_versions_are_understood),
		cmocka_unit_test(malformed_refusal_is_a_bad_message),
		cmocka_unit_test(c12_refusal_text_is_made_printable),
		cmocka_unit_test(long_and_own_sentences_are_cut_and_padded),
		cmocka_unit_test(any_byte_may_be_wrong),
		cmocka_unit_test(mutated_messages_never_lead_outside_the_wish),
		cmocka_unit_test(garbage_never_opens),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
