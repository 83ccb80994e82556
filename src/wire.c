/* SPDX-License-Identifier: MIT */
/* The handshake: codec, negotiation at the server, its re-check at the client, and the two state
 * machines. What arrives is decoded into private structures first and judged there. Sentences name
 * client and server, because both ends print them. */
#include "wire.h"

#include "util/check.h"
#include <errno.h>
#include <ringfort/options.h>
#include <string.h>

enum { HEADER_BYTES = 12, TYPE_NAME_BYTES = 64, RESERVED_BYTES = 16 };

/* Each end walks down its list; only a refusal leaves it. */
struct step {
	enum rf__wire_state state;
	uint32_t type;
};

static const struct step client_steps[] = {
	{RF__WIRE_SEND, RF__WIRE_HELLO},
	{RF__WIRE_WAIT, RF__WIRE_WELCOME},
	{RF__WIRE_BUILD, 0},
	{RF__WIRE_SEND, RF__WIRE_MAPPED},
	{RF__WIRE_WAIT, RF__WIRE_READY},
	{RF__WIRE_OPEN, 0},
};

static const struct step server_steps[] = {
	{RF__WIRE_WAIT, RF__WIRE_HELLO},
	{RF__WIRE_BUILD, 0},
	{RF__WIRE_SEND, RF__WIRE_WELCOME},
	{RF__WIRE_WAIT, RF__WIRE_MAPPED},
	{RF__WIRE_VERIFY, 0},
	{RF__WIRE_SEND, RF__WIRE_READY},
	{RF__WIRE_OPEN, 0},
};

/* By enum rf__wire_type, enum rf__refusal and enum rf_direction. */
static const char *const type_names[] = {"", "HELLO", "WELCOME", "MAPPED", "READY", "REFUSE"};
static const int refusal_errors[] = {
	0, -EPERM, -EBADMSG, -ENOTSUP, -ENOBUFS, -ETIMEDOUT, -ECONNABORTED};
static const char *const direction_names[] = {"names none", "sends", "receives", "does both"};

#define NO_GROUND(wire, ...)   rf__fail(&(wire)->reason, -ENOTSUP, __VA_ARGS__)
#define BAD_MESSAGE(wire, ...) rf__fail(&(wire)->reason, -EBADMSG, __VA_ARGS__)

#define BIG(number) ((unsigned long long)(number)) /* for printing */

struct header {
	uint32_t magic, version, type, body_bytes;
};

struct hello {
	struct rf__wish wish;
	uint32_t fences;
	bool typed;
};

struct welcome {
	struct rf__terms terms;
	uint32_t listened, fence, page_bytes, n_fds;
};

struct refuse {
	uint32_t code;
	char text[RF__WIRE_TEXT];
};

/* The codec. One function per body serves both ways: it reads the message into the structure, or
 * writes the structure into the message. What would leave the message makes it malformed. */
struct codec {
	unsigned char bytes[RF__WIRE_MAX];
	size_t at, len;
	bool writing, malformed;
};

static unsigned char *take(struct codec *codec, size_t n)
{
	if (codec->malformed || n > codec->len - codec->at) {
		codec->malformed = true;
		return NULL;
	}
	codec->at += n;
	return codec->bytes + codec->at - n;
}

static void code64(struct codec *codec, uint64_t *value, size_t n)
{
	unsigned char *bytes = take(codec, n);
	uint64_t read = 0;

	for (size_t i = 0; bytes && i < n; i++)
		if (codec->writing)
			bytes[i] = (unsigned char)(*value >> 8 * i);
		else
			read |= (uint64_t)bytes[i] << 8 * i;
	if (!codec->writing)
		*value = read;
}

static void code32(struct codec *codec, uint32_t *value, size_t n)
{
	uint64_t wide = *value;

	code64(codec, &wide, n);
	*value = (uint32_t)wide;
}

/* Zeroes: whether they are. A message that is written starts with nothing else. */
static bool code_zeroes(struct codec *codec, size_t n)
{
	const unsigned char *bytes = take(codec, n);
	unsigned char all = 0;

	for (size_t i = 0; bytes && i < n; i++)
		all |= bytes[i];
	return !all;
}

static void code_reserved(struct codec *codec, size_t n)
{
	if (!code_zeroes(codec, n))
		codec->malformed = true;
}

static void code_header(struct codec *codec, struct header *header)
{
	code32(codec, &header->magic, 4);
	code32(codec, &header->version, 2);
	code32(codec, &header->type, 2);
	code32(codec, &header->body_bytes, 4);
}

static void code_hello(struct codec *codec, struct hello *hello)
{
	code64(codec, &hello->wish.required, 8);
	code64(codec, &hello->wish.wanted, 8);
	code64(codec, &hello->wish.ring_bytes, 8);
	code64(codec, &hello->wish.max_ring_bytes, 8);
	code32(codec, &hello->wish.direction, 4);
	code32(codec, &hello->wish.kind, 4);
	code32(codec, &hello->wish.doorbells, 4);
	code32(codec, &hello->fences, 4);
	code32(codec, &hello->wish.page_bytes, 4);
	hello->typed = !code_zeroes(codec, 4 + TYPE_NAME_BYTES);
	code_reserved(codec, RESERVED_BYTES);
}

static void code_welcome(struct codec *codec, struct welcome *welcome)
{
	code64(codec, &welcome->terms.features, 8);
	code64(codec, &welcome->terms.area_bytes[RF__UP], 8);
	code64(codec, &welcome->terms.area_bytes[RF__DOWN], 8);
	code32(codec, &welcome->terms.kind, 4);
	code32(codec, &welcome->terms.doorbell, 4);
	code32(codec, &welcome->fence, 4);
	code32(codec, &welcome->listened, 4);
	code32(codec, &welcome->page_bytes, 4);
	code32(codec, &welcome->n_fds, 4);
	code_reserved(codec, RESERVED_BYTES);
}

static void code_refuse(struct codec *codec, struct refuse *refuse)
{
	unsigned char *text;

	code32(codec, &refuse->code, 4);
	code_reserved(codec, 4);
	text = take(codec, sizeof(refuse->text));
	if (text && codec->writing)
		memcpy(text, refuse->text, sizeof(refuse->text));
	else if (text)
		memcpy(refuse->text, text, sizeof(refuse->text));
}

/* Up to its terminator: what lies behind it in memory is nobody's business. */
static void copy_text(char *to, const char *from, size_t size)
{
	for (size_t i = 0; i < size && from[i]; i++)
		to[i] = from[i];
}

static bool is_whole(const struct codec *codec)
{
	return !codec->malformed && codec->at == codec->len;
}

/* Terms. Directions are seen from the client here. */

unsigned rf__terms_fds(const struct rf__terms *terms)
{
	unsigned per_ring = terms->doorbell == RF_DOORBELL_EVENTFD ? 4 : 2;

	return (terms->area_bytes[RF__UP] ? per_ring : 0) +
	       (terms->area_bytes[RF__DOWN] ? per_ring : 0);
}

static uint64_t larger(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static uint32_t mirrored(uint32_t direction)
{
	return (direction & RF_SEND ? RF_RECEIVE : 0u) | (direction & RF_RECEIVE ? RF_SEND : 0u);
}

static uint64_t default_ring(uint64_t max, uint64_t other_max)
{
	uint64_t size = RF__RING_DEFAULT;

	while (size > max || size > other_max)
		size /= 2;
	return size;
}

static int agree_features(struct rf__wire *wire, const struct hello *hello, struct rf__terms *terms)
{
	const struct rf__wish *client = &hello->wish, *server = &wire->wish;

	terms->features = (client->required | client->wanted) &
			  (server->required | server->wanted) & RF__FEATURES;
	if (client->required & ~terms->features)
		return NO_GROUND(wire, "the server lacks required features 0x%llx",
			BIG(client->required & ~terms->features));
	if (server->required & ~terms->features)
		return NO_GROUND(wire, "the client lacks required features 0x%llx",
			BIG(server->required & ~terms->features));
	return 0;
}

static int agree_kind(struct rf__wire *wire, const struct hello *hello, struct rf__terms *terms)
{
	const struct rf__wish *client = &hello->wish, *server = &wire->wish;

	terms->kind = server->kind;
	if (hello->typed)
		return NO_GROUND(wire, "the server has no typed channels");
	if (client->kind != server->kind)
		return NO_GROUND(wire, "the client wants kind %u, the server %u", client->kind,
			server->kind);
	if (client->page_bytes != server->page_bytes)
		return NO_GROUND(wire, "pages differ: client %u bytes, server %u",
			client->page_bytes, server->page_bytes);
	return 0;
}

static int agree_sizes(struct rf__wire *wire, const struct hello *hello, uint64_t *ret_size)
{
	const struct rf__wish *client = &hello->wish, *server = &wire->wish;
	uint64_t max = client->max_ring_bytes, own_max = server->max_ring_bytes;
	uint64_t wish = larger(client->ring_bytes, server->ring_bytes);
	uint64_t least = larger(wish ? wish : default_ring(max, own_max), server->page_bytes);
	uint64_t size = rf__power_of_two(least);

	if (!size || size > max || size > own_max)
		return NO_GROUND(wire, "rings of %llu bytes: client allows %llu, server %llu",
			BIG(size ? size : least), BIG(max), BIG(own_max));
	*ret_size = size;
	return 0;
}

static int agree_rings(struct rf__wire *wire, const struct hello *hello, struct rf__terms *terms)
{
	uint32_t theirs = hello->wish.direction, ours = mirrored(wire->wish.direction);
	uint32_t direction = theirs | ours ? theirs | ours : RF_SEND | RF_RECEIVE;
	uint64_t size;
	int error;

	if (theirs && ours && theirs != ours)
		return NO_GROUND(wire, "directions differ: client %s, server %s",
			direction_names[theirs], direction_names[mirrored(ours)]);
	error = agree_sizes(wire, hello, &size);
	if (error)
		return error;
	terms->area_bytes[RF__UP] = direction & RF_SEND ? size : 0;
	terms->area_bytes[RF__DOWN] = direction & RF_RECEIVE ? size : 0;
	return 0;
}

static int agree_wakeups(struct rf__wire *wire, const struct hello *hello, struct rf__terms *terms)
{
	uint32_t bells = hello->wish.doorbells & wire->wish.doorbells;

	if (!(bells & (RF__BELL_EVENTFD | RF__BELL_SOCKET)))
		return NO_GROUND(wire, "client and server share no doorbell");
	if (!(hello->fences & 1u << RF__FENCE_SEQ_CST))
		return NO_GROUND(wire, "client and server share no fence");
	terms->doorbell = bells & RF__BELL_EVENTFD ? RF_DOORBELL_EVENTFD : RF_DOORBELL_SOCKET;
	return 0;
}

static int agree(struct rf__wire *wire, const struct hello *hello)
{
	struct rf__terms terms = {.listened = wire->wish.listened};
	int error = agree_features(wire, hello, &terms);

	if (!error)
		error = agree_kind(wire, hello, &terms);
	if (!error)
		error = agree_rings(wire, hello, &terms);
	if (!error)
		error = agree_wakeups(wire, hello, &terms);
	if (!error)
		wire->terms = terms;
	return error;
}

/* The client believes no term before it has compared it with its own wish: a server may lie. */

static bool size_is_fine(const struct rf__wish *wish, uint64_t size)
{
	return !size || (rf__is_power_of_two(size) && size >= wish->page_bytes &&
				size >= wish->ring_bytes && size <= wish->max_ring_bytes);
}

static bool features_are_fine(const struct rf__wish *wish, uint64_t features)
{
	uint64_t possible = (wish->required | wish->wanted) & RF__FEATURES;

	return !(features & ~possible) && !(wish->required & ~features);
}

static bool doorbell_is_fine(const struct rf__wish *wish, uint32_t doorbell)
{
	if (doorbell != RF_DOORBELL_EVENTFD && doorbell != RF_DOORBELL_SOCKET)
		return false;
	return wish->doorbells & 1u << doorbell;
}

/* Which of the terms is not fine, or NULL. */
static const char *find_lie(const struct rf__wish *wish, const struct welcome *welcome)
{
	const uint64_t *sizes = welcome->terms.area_bytes;
	uint32_t direction = (sizes[RF__UP] ? RF_SEND : 0u) | (sizes[RF__DOWN] ? RF_RECEIVE : 0u);

	if (!features_are_fine(wish, welcome->terms.features))
		return "features";
	if (welcome->terms.kind != wish->kind)
		return "kind";
	if (!direction || (wish->direction && wish->direction != direction))
		return "directions";
	if (!size_is_fine(wish, sizes[RF__UP]) || !size_is_fine(wish, sizes[RF__DOWN]))
		return "ring size";
	if (!doorbell_is_fine(wish, welcome->terms.doorbell))
		return "doorbell";
	if (welcome->fence != RF__FENCE_SEQ_CST)
		return "fence";
	return welcome->page_bytes == wish->page_bytes ? NULL : "page size";
}

/* Messages: what each type does to this end. */

static const char *peer(const struct rf__wire *wire)
{
	return wire->server ? "client" : "server";
}

static int malformed(struct rf__wire *wire, uint32_t type)
{
	return BAD_MESSAGE(wire, "%s is malformed", type_names[type]);
}

static int take_hello(struct rf__wire *wire, struct codec *codec)
{
	struct hello hello = {.fences = 0};

	code_hello(codec, &hello);
	if (!is_whole(codec) || hello.wish.direction > (RF_SEND | RF_RECEIVE))
		return malformed(wire, RF__WIRE_HELLO);
	return agree(wire, &hello);
}

static int take_welcome(struct rf__wire *wire, struct codec *codec, unsigned n_fds)
{
	struct welcome welcome = {.fence = 0};
	unsigned implied;
	const char *lie;

	code_welcome(codec, &welcome);
	if (!is_whole(codec) || welcome.listened > 1)
		return malformed(wire, RF__WIRE_WELCOME);
	lie = find_lie(&wire->wish, &welcome);
	if (lie)
		return BAD_MESSAGE(wire, "WELCOME does not fit what the client wants: %s", lie);
	implied = rf__terms_fds(&welcome.terms);
	if (welcome.n_fds != implied || n_fds != implied)
		return BAD_MESSAGE(wire, "WELCOME brought %u descriptors, not %u", n_fds, implied);
	wire->terms = welcome.terms;
	wire->terms.listened = welcome.listened;
	return 0;
}

/* The peer's text may be full of escapes, which rf__fail() makes printable, and lack an end. */
static int take_refuse(struct rf__wire *wire, struct codec *codec)
{
	struct refuse refuse = {.code = 0};
	int known = RF__REFUSAL_OTHER;

	code_refuse(codec, &refuse);
	if (!is_whole(codec))
		return malformed(wire, RF__WIRE_REFUSE);
	if (refuse.code >= RF__REFUSAL_POLICY && refuse.code < RF__REFUSAL_OTHER)
		known = (int)refuse.code;
	wire->state = RF__WIRE_FAILED;
	wire->error = rf__fail(&wire->reason, refusal_errors[known], "refused by the peer: %.*s",
		RF__WIRE_TEXT, *refuse.text ? refuse.text : "no reason given");
	return wire->error;
}

static int take_body(struct rf__wire *wire, uint32_t type, struct codec *codec, unsigned n_fds)
{
	if (n_fds && type != RF__WIRE_WELCOME)
		return BAD_MESSAGE(
			wire, "%s brought %u descriptors, not 0", type_names[type], n_fds);
	if (type == RF__WIRE_REFUSE)
		return take_refuse(wire, codec);
	if (wire->state != RF__WIRE_WAIT || wire->next != type)
		return BAD_MESSAGE(
			wire, "the %s sent %s out of turn", peer(wire), type_names[type]);
	if (type == RF__WIRE_HELLO)
		return take_hello(wire, codec);
	if (type == RF__WIRE_WELCOME)
		return take_welcome(wire, codec, n_fds);
	return is_whole(codec) ? 0 : malformed(wire, type);
}

static int take_message(struct rf__wire *wire, struct codec *codec, unsigned n_fds)
{
	struct header header = {.magic = 0};

	code_header(codec, &header);
	if (codec->malformed || header.magic != RF__WIRE_MAGIC)
		return BAD_MESSAGE(wire, "the %s does not speak ringfort", peer(wire));
	if (header.body_bytes != codec->len - codec->at)
		return BAD_MESSAGE(wire, "a message has a wrong length");
	if (header.version != RF__WIRE_VERSION && header.type != RF__WIRE_REFUSE)
		return NO_GROUND(wire, "the %s speaks version %u, not %u", peer(wire),
			header.version, RF__WIRE_VERSION);
	if (header.type < RF__WIRE_HELLO || header.type > RF__WIRE_REFUSE)
		return BAD_MESSAGE(wire, "a message has an unknown type");
	return take_body(wire, header.type, codec, n_fds);
}

/* The states. */

static void set_step(struct rf__wire *wire, unsigned step)
{
	wire->step = step;
	wire->state = wire->server ? server_steps[step].state : client_steps[step].state;
	wire->next = wire->server ? server_steps[step].type : client_steps[step].type;
}

static bool is_over(const struct rf__wire *wire)
{
	return wire->error || wire->state == RF__WIRE_OPEN;
}

void rf__wire_init(struct rf__wire *wire, bool server, const struct rf__wish *wish)
{
	memset(wire, 0, sizeof(*wire));
	wire->server = server;
	wire->wish = *wish;
	set_step(wire, 0);
}

int rf__wire_input(struct rf__wire *wire, const void *message, size_t len, unsigned n_fds)
{
	struct codec codec = {.len = len};
	int error;

	if (is_over(wire))
		return -EBADMSG;
	if (len > sizeof(codec.bytes)) {
		rf__wire_refuse(wire, -EBADMSG, "a message is too long");
		return -EBADMSG;
	}
	if (len)
		memcpy(codec.bytes, message, len);
	error = take_message(wire, &codec, n_fds);
	if (error)
		rf__wire_refuse(wire, error, wire->reason.text);
	else
		set_step(wire, wire->step + 1);
	return error;
}

static void put_body(const struct rf__wire *wire, struct codec *codec)
{
	struct hello hello = {.wish = wire->wish, .fences = 1u << RF__FENCE_SEQ_CST};
	struct welcome welcome = {.terms = wire->terms,
		.listened = wire->terms.listened,
		.fence = RF__FENCE_SEQ_CST,
		.page_bytes = wire->wish.page_bytes,
		.n_fds = rf__terms_fds(&wire->terms)};
	struct refuse refuse = {.code = RF__REFUSAL_POLICY};

	if (wire->next == RF__WIRE_HELLO)
		code_hello(codec, &hello);
	if (wire->next == RF__WIRE_WELCOME)
		code_welcome(codec, &welcome);
	if (wire->next != RF__WIRE_REFUSE)
		return;
	while (refuse.code < RF__REFUSAL_OTHER && refusal_errors[refuse.code] != wire->error)
		refuse.code++;
	copy_text(refuse.text, wire->reason.text, sizeof(refuse.text));
	code_refuse(codec, &refuse);
}

size_t rf__wire_output(
	struct rf__wire *wire, unsigned char message[RF__WIRE_MAX], unsigned *ret_n_fds)
{
	struct header header = {RF__WIRE_MAGIC, RF__WIRE_VERSION, wire->next, 0};
	struct codec codec = {.writing = true, .len = RF__WIRE_MAX};
	size_t len;

	if (wire->state != RF__WIRE_SEND)
		return 0;
	codec.at = HEADER_BYTES;
	put_body(wire, &codec);
	len = codec.at;
	header.body_bytes = (uint32_t)(len - HEADER_BYTES);
	codec.at = 0;
	code_header(&codec, &header);
	memcpy(message, codec.bytes, len);
	*ret_n_fds = wire->next == RF__WIRE_WELCOME ? rf__terms_fds(&wire->terms) : 0;
	if (wire->next == RF__WIRE_REFUSE)
		wire->state = RF__WIRE_FAILED;
	else
		set_step(wire, wire->step + 1);
	return len;
}

void rf__wire_done(struct rf__wire *wire)
{
	if (wire->state == RF__WIRE_BUILD || wire->state == RF__WIRE_VERIFY)
		set_step(wire, wire->step + 1);
}

void rf__wire_refuse(struct rf__wire *wire, int error, const char *sentence)
{
	if (is_over(wire))
		return;
	if (sentence != wire->reason.text)
		rf__fail(&wire->reason, error, "%s", sentence);
	wire->error = error;
	wire->state = RF__WIRE_SEND;
	wire->next = RF__WIRE_REFUSE;
}
