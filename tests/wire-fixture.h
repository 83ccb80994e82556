/* SPDX-License-Identifier: MIT */
/* What the tests of the handshake share: two machines back to back and, between them, a wire that
 * can spoil what it carries. */
#ifndef RF_TESTS_WIRE_FIXTURE_H
#define RF_TESTS_WIRE_FIXTURE_H

#include "wire.h"

#include "support.h"
#include "util/check.h"
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
	HELLO_SLOT_BYTES = 132,
	HELLO_SLOTS = 140,
	HELLO_ALIGN = 144,
	HELLO_HOLD = 148,
	HELLO_LAG = 152,
	HELLO_START = 156,
	HELLO_STALL = 160,
	HELLO_FD_KINDS = 168,
	HELLO_FD_MAX = 172,
	HELLO_FD_RATE = 176,
	HELLO_RESERVED = 180,
	HELLO_BYTES = 196,
	WELCOME_FEATURES = 12,
	WELCOME_UP = 20,
	WELCOME_DOWN = 28,
	WELCOME_KIND = 36,
	WELCOME_BELL = 40,
	WELCOME_FENCE = 44,
	WELCOME_LISTENED = 48,
	WELCOME_PAGE = 52,
	WELCOME_FDS = 56,
	WELCOME_ELEMENT = 60,
	WELCOME_NAME = 64,
	WELCOME_SLOT_BYTES = 128,
	WELCOME_SLOTS = 136,
	WELCOME_ALIGN = 140,
	WELCOME_HOLD = 144,
	WELCOME_LAG = 148,
	WELCOME_START = 152,
	WELCOME_STALL = 156,
	WELCOME_UP_KINDS = 164,
	WELCOME_UP_MAX = 168,
	WELCOME_UP_RATE = 172,
	WELCOME_DOWN_KINDS = 176,
	WELCOME_DOWN_MAX = 180,
	WELCOME_DOWN_RATE = 184,
	WELCOME_RESERVED = 188,
	WELCOME_BYTES = 204,
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

static inline struct rf__wish any_wish(void)
{
	return (struct rf__wish){
		.kind = RF_BYTES,
		.max_ring_bytes = 64 * MIB,
		.doorbells = BOTH_BELLS,
		.page_bytes = PAGE,
	};
}

static inline void pair_init(
	struct pair *pair, const struct rf__wish *client, const struct rf__wish *server)
{
	memset(pair, 0, sizeof(*pair));
	rf__wire_init(&pair->client, false, client);
	rf__wire_init(&pair->server, true, server);
}

static inline void pair_init_any(struct pair *pair)
{
	struct rf__wish wish = any_wish();

	pair_init(pair, &wish, &wish);
}

static inline void output(struct rf__wire *wire, struct packet *ret_packet)
{
	memset(ret_packet, 0, sizeof(*ret_packet));
	ret_packet->len = rf__wire_output(wire, ret_packet->bytes, &ret_packet->n_fds);
}

/* An exact copy on the heap, so that the address sanitizer sees every byte read too many. */
static inline int input(struct rf__wire *wire, const struct packet *packet)
{
	unsigned char *exact = test_malloc(packet->len ? packet->len : 1);
	int error;

	memcpy(exact, packet->bytes, packet->len);
	error = rf__wire_input(wire, exact, packet->len, packet->n_fds);
	test_free(exact);
	return error;
}

static inline bool move(struct pair *pair, struct rf__wire *from, struct rf__wire *to)
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

static inline void run(struct pair *pair)
{
	while (move(pair, &pair->client, &pair->server) || move(pair, &pair->server, &pair->client))
		;
}

/* Runs an honest handshake until wire, one of the pair, has come to that step. */
static inline void run_until(struct pair *pair, const struct rf__wire *wire, unsigned step)
{
	while (wire->step < step)
		if (!move(pair, &pair->client, &pair->server))
			assert_true(move(pair, &pair->server, &pair->client));
	assert_int_equal(wire->step, step);
}

static inline void set_number(struct packet *packet, size_t at, size_t n, uint64_t value)
{
	for (size_t i = 0; i < n; i++)
		packet->bytes[at + i] = (unsigned char)(value >> 8 * i);
}

static inline uint64_t number(const struct packet *packet, size_t at, size_t n)
{
	uint64_t value = 0;

	for (size_t i = 0; i < n; i++)
		value |= (uint64_t)packet->bytes[at + i] << 8 * i;
	return value;
}

/* An honest message of any type. */
static inline void make(uint32_t type, struct packet *ret_packet)
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

static inline const struct rf__wire *end_of(const struct pair *pair, bool server)
{
	return server ? &pair->server : &pair->client;
}

/* What must hold, whatever the peer sent. */

static inline bool size_within(const struct rf__wish *wish, uint64_t size)
{
	return rf__is_power_of_two(size) && size >= wish->page_bytes && size >= wish->ring_bytes &&
	       size <= wish->max_ring_bytes;
}

static inline void assert_slots_within(const struct rf__wish *wish, const struct rf__terms *terms)
{
	uint64_t file = rf__terms_slots_bytes(terms);
	uint64_t used = terms->slots * (rf__terms_stride(terms) + 32);

	assert_in_range(terms->slots, 2, RF_SLOTS_MAX);
	assert_true(terms->slots >= wish->slots && terms->slot_bytes >= wish->slot_bytes);
	assert_in_range(terms->slot_bytes, 1, UINT64_C(1) << 30);
	assert_true(rf__is_power_of_two(terms->slot_align));
	assert_in_range(
		terms->slot_align, wish->slot_align > 64 ? wish->slot_align : 64, wish->page_bytes);
	assert_true(file % wish->page_bytes == 0);
	assert_true(rf__terms_payload_bytes(terms) <= wish->max_ring_bytes);
	assert_true(rf__terms_stride(terms) % terms->slot_align == 0);
	assert_true(rf__terms_stride(terms) >= terms->slot_bytes);
	assert_true(file >= used && file - used < wish->page_bytes);
	assert_in_range(terms->hold, 1, terms->slots);
	for (enum rf__way way = RF__UP; way < RF__WAYS; way++) {
		uint64_t area = terms->area_bytes[way];

		if (!area)
			continue;
		assert_true(rf__is_power_of_two(area) && area >= wish->page_bytes);
		assert_true(area >= terms->hold * UINT64_C(16));
		assert_true(area == wish->page_bytes || area / 2 < terms->hold * UINT64_C(16));
		assert_int_equal(rf__terms_returns_bytes(terms, way),
			area / 2 > wish->page_bytes ? area / 2 : wish->page_bytes);
	}
}

static inline void assert_lag_within(const struct rf__wish *wish, const struct rf__terms *terms)
{
	assert_in_range(terms->lag, 0, RF_LAG_DISCONNECT);
	assert_in_range(terms->start, 0, RF_START_OLDEST);
	assert_true((terms->lag == RF_LAG_DISCONNECT) == (terms->stall_ns > 0));
	assert_true(!terms->lag || (terms->kind == RF_SLOTS && !terms->area_bytes[RF__UP]));
	assert_true(terms->lag || !terms->start);
	assert_true(!terms->stall_ns || !wish->stall_ns || terms->stall_ns <= wish->stall_ns);
}

static inline void assert_fds_within(
	const struct rf__wish *wish, const struct rf__terms *terms, enum rf__way way, bool ours)
{
	const struct rf__fd_terms *fds = &terms->fds[way];

	assert_true(!fds->kinds == !fds->max);
	assert_true(fds->kinds || !fds->per_second);
	assert_true(!(fds->kinds & ~255u) && fds->max <= RF_FDS_MAX);
	assert_true(!fds->kinds || terms->area_bytes[way]);
	assert_true(!fds->kinds || terms->kind == RF_BYTES || terms->kind == RF_SLOTS);
	if (ours && fds->kinds) {
		assert_true(!(fds->kinds & ~wish->fds.kinds) && fds->max <= wish->fds.max);
		assert_true(!wish->fds.per_second ||
			    (fds->per_second && fds->per_second <= wish->fds.per_second));
	}
}

static inline void assert_terms_within(const struct rf__wire *wire)
{
	const struct rf__terms *terms = &wire->terms;
	const struct rf__wish *wish = &wire->wish;
	uint32_t up = wire->server ? RF_RECEIVE : RF_SEND,
		 down = wire->server ? RF_SEND : RF_RECEIVE;
	uint32_t direction =
		(terms->area_bytes[RF__UP] ? up : 0) | (terms->area_bytes[RF__DOWN] ? down : 0);

	assert_true(direction && (!wish->direction || wish->direction == direction));
	for (int way = 0; way < RF__WAYS && terms->kind != RF_SLOTS; way++)
		assert_true(!terms->area_bytes[way] || size_within(wish, terms->area_bytes[way]));
	assert_in_range(terms->kind, RF_BYTES, RF_SLOTS);
	assert_int_equal(terms->page_bytes, wish->page_bytes);
	if (terms->kind == RF_SLOTS)
		assert_slots_within(wish, terms);
	else
		assert_true(!terms->slots && !terms->slot_bytes && !terms->hold);
	assert_lag_within(wish, terms);
	assert_fds_within(wish, terms, RF__UP, wire->server);
	assert_fds_within(wish, terms, RF__DOWN, !wire->server);
	assert_true(!wish->kind || terms->kind == wish->kind);
	assert_true((terms->kind == RF_ELEMENTS) == rf__is_type_name(terms->type));
	assert_true((terms->kind == RF_ELEMENTS) == (terms->element_bytes > 0));
	assert_true(wish->kind != RF_ELEMENTS || (wish->element_bytes == terms->element_bytes &&
							 !strcmp(wish->type, terms->type)));
	assert_true(
		terms->doorbell == RF_DOORBELL_EVENTFD || terms->doorbell == RF_DOORBELL_SOCKET);
	assert_true(wish->doorbells & 1u << terms->doorbell);
	assert_true(terms->fence == RF__FENCE_SEQ_CST ||
		    (terms->fence == RF__FENCE_ASYMMETRIC && wish->asymmetric));
	assert_true(!(terms->features & ~RF__FEATURES) && !(wish->required & ~terms->features));
}

static inline bool is_printable(const char *text)
{
	for (; *text; text++)
		if (*text < ' ' || *text > '~')
			return false;
	return true;
}

static inline void assert_sane(struct rf__wire *wire)
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

static inline void assert_open(const struct pair *pair)
{
	assert_int_equal(pair->client.state, RF__WIRE_OPEN);
	assert_int_equal(pair->server.state, RF__WIRE_OPEN);
	assert_int_equal(pair->client.error, 0);
	assert_int_equal(pair->server.error, 0);
	assert_terms_within(&pair->client);
	assert_terms_within(&pair->server);
}

static inline void assert_same_terms(const struct pair *pair)
{
	const struct rf__terms *a = &pair->client.terms, *b = &pair->server.terms;

	assert_int_equal(a->features, b->features);
	assert_int_equal(a->area_bytes[RF__UP], b->area_bytes[RF__UP]);
	assert_int_equal(a->area_bytes[RF__DOWN], b->area_bytes[RF__DOWN]);
	assert_int_equal(a->kind, b->kind);
	assert_int_equal(a->element_bytes, b->element_bytes);
	assert_string_equal(a->type, b->type);
	assert_int_equal(a->page_bytes, b->page_bytes);
	assert_int_equal(a->slots, b->slots);
	assert_int_equal(a->slot_bytes, b->slot_bytes);
	assert_int_equal(a->slot_align, b->slot_align);
	assert_int_equal(a->hold, b->hold);
	assert_int_equal(a->lag, b->lag);
	assert_int_equal(a->start, b->start);
	assert_int_equal(a->stall_ns, b->stall_ns);
	assert_memory_equal(a->fds, b->fds, sizeof(a->fds));
	assert_int_equal(a->doorbell, b->doorbell);
	assert_int_equal(a->fence, b->fence);
	assert_int_equal(a->listened, b->listened);
}

static inline void assert_failed(const struct rf__wire *wire, int error, const char *sentence)
{
	assert_int_equal(wire->state, RF__WIRE_FAILED);
	assert_int_equal(wire->error, error);
	if (!strstr(wire->reason.text, sentence))
		fail_msg("\"%s\" is not in \"%s\"", sentence, wire->reason.text);
}

/* One end refused, the other was told why. */
static inline void assert_refused(
	const struct rf__wire *by, const struct rf__wire *told, int error, const char *sentence)
{
	assert_failed(by, error, sentence);
	assert_null(strstr(by->reason.text, "refused by the peer"));
	assert_failed(told, error, "refused by the peer: ");
	assert_failed(told, error, sentence);
}

/* A machine that has just refused sends one REFUSE, and is deaf and mute from then on. */
static inline void assert_refuses_once(struct rf__wire *wire, int error)
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

#endif
