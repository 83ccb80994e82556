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
	WELCOME_ELEMENT = 60,
	WELCOME_NAME = 64,
	WELCOME_RESERVED = 128,
	WELCOME_BYTES = 144,
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

static inline void assert_terms_within(const struct rf__wire *wire)
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
	assert_in_range(terms->kind, RF_BYTES, RF_STREAM);
	assert_true(!wish->kind || terms->kind == wish->kind);
	assert_true((terms->kind == RF_ELEMENTS) == rf__is_type_name(terms->type));
	assert_true((terms->kind == RF_ELEMENTS) == (terms->element_bytes > 0));
	assert_true(wish->kind != RF_ELEMENTS || (wish->element_bytes == terms->element_bytes &&
							 !strcmp(wish->type, terms->type)));
	assert_true(
		terms->doorbell == RF_DOORBELL_EVENTFD || terms->doorbell == RF_DOORBELL_SOCKET);
	assert_true(wish->doorbells & 1u << terms->doorbell);
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
	assert_int_equal(a->doorbell, b->doorbell);
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
