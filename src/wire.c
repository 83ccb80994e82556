/* SPDX-License-Identifier: MIT */
/* The handshake's two state machines. What arrives is decoded into private structures first and
 * judged there; terms are judged in terms.c. */
#include "wire.h"

#include "codec.h"
#include <errno.h>
#include <ringfort/options.h>
#include <string.h>

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

/* By enum rf__wire_type and enum rf__refusal. */
static const char *const type_names[] = {"", "HELLO", "WELCOME", "MAPPED", "READY", "REFUSE"};
static const int refusal_errors[] = {
	0, -EPERM, -EBADMSG, -ENOTSUP, -ENOBUFS, -ETIMEDOUT, -ECONNABORTED};

#define BAD_MESSAGE(wire, ...) rf__fail(&(wire)->reason, -EBADMSG, __VA_ARGS__)

/* Messages: what each type does to this end. */

static const char *peer(const struct rf__wire *wire)
{
	return wire->server ? "client" : "server";
}

static int malformed(struct rf__wire *wire, uint32_t type)
{
	return BAD_MESSAGE(wire, "%s is malformed", type_names[type]);
}

static int take_hello(struct rf__wire *wire, struct rf__codec *codec)
{
	struct rf__hello hello = {.fences = 0};

	rf__code_hello(codec, &hello);
	if (!rf__codec_is_whole(codec) || hello.wish.direction > (RF_SEND | RF_RECEIVE))
		return malformed(wire, RF__WIRE_HELLO);
	return rf__terms_agree(&wire->wish, &hello, &wire->terms, &wire->reason);
}

static int take_welcome(struct rf__wire *wire, struct rf__codec *codec, unsigned n_fds)
{
	struct rf__welcome welcome = {.n_fds = 0};
	unsigned implied;
	const char *lie;

	rf__code_welcome(codec, &welcome);
	if (!rf__codec_is_whole(codec) || welcome.listened > 1)
		return malformed(wire, RF__WIRE_WELCOME);
	lie = rf__terms_lie(&wire->wish, &welcome);
	if (lie)
		return BAD_MESSAGE(wire, "WELCOME does not fit what the client wants: %s", lie);
	implied = rf__terms_fds(&welcome.terms);
	if (welcome.n_fds != implied)
		return BAD_MESSAGE(
			wire, "WELCOME counts %u descriptors, not %u", welcome.n_fds, implied);
	if (n_fds != implied)
		return BAD_MESSAGE(wire, "WELCOME brought %s than %u descriptors",
			n_fds < implied ? "fewer" : "more", implied);
	wire->terms = welcome.terms;
	wire->terms.listened = welcome.listened;
	return 0;
}

/* The peer's text may be full of escapes, which rf__fail() makes printable, and lack an end. */
static int take_refuse(struct rf__wire *wire, struct rf__codec *codec)
{
	struct rf__refuse refuse = {.code = 0};
	int known = RF__REFUSAL_OTHER;

	rf__code_refuse(codec, &refuse);
	if (!rf__codec_is_whole(codec))
		return malformed(wire, RF__WIRE_REFUSE);
	if (refuse.code >= RF__REFUSAL_POLICY && refuse.code < RF__REFUSAL_OTHER)
		known = (int)refuse.code;
	wire->state = RF__WIRE_FAILED;
	wire->error = rf__fail(&wire->reason, refusal_errors[known], "refused by the peer: %.*s",
		RF__WIRE_TEXT, *refuse.text ? refuse.text : "no reason given");
	return wire->error;
}

static int take_body(struct rf__wire *wire, uint32_t type, struct rf__codec *codec, unsigned n_fds)
{
	if (n_fds && type != RF__WIRE_WELCOME)
		return BAD_MESSAGE(wire, "%s brought descriptors", type_names[type]);
	if (type == RF__WIRE_REFUSE)
		return take_refuse(wire, codec);
	if (wire->state != RF__WIRE_WAIT || wire->next != type)
		return BAD_MESSAGE(
			wire, "the %s sent %s out of turn", peer(wire), type_names[type]);
	if (type == RF__WIRE_HELLO)
		return take_hello(wire, codec);
	if (type == RF__WIRE_WELCOME)
		return take_welcome(wire, codec, n_fds);
	return rf__codec_is_whole(codec) ? 0 : malformed(wire, type);
}

static int take_message(struct rf__wire *wire, struct rf__codec *codec, unsigned n_fds)
{
	struct rf__header header = {.magic = 0};

	rf__code_header(codec, &header);
	if (codec->malformed || header.magic != RF__WIRE_MAGIC)
		return BAD_MESSAGE(wire, "the %s does not speak ringfort", peer(wire));
	if (header.body_bytes != codec->len - codec->at)
		return BAD_MESSAGE(wire, "a message has a wrong length");
	if (header.version != RF__WIRE_VERSION && header.type != RF__WIRE_REFUSE)
		return rf__fail(&wire->reason, -ENOTSUP, "the %s speaks version %u, not %u",
			peer(wire), header.version, RF__WIRE_VERSION);
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
	struct rf__codec codec = {.len = len};
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

/* Up to its terminator: what lies behind it in memory is nobody's business. */
static void copy_text(char *to, const char *from, size_t size)
{
	for (size_t i = 0; i < size && from[i]; i++)
		to[i] = from[i];
}

static uint32_t fences(const struct rf__wish *wish)
{
	return 1u << RF__FENCE_SEQ_CST | (wish->asymmetric ? 1u << RF__FENCE_ASYMMETRIC : 0u);
}

static void put_body(const struct rf__wire *wire, struct rf__codec *codec)
{
	struct rf__hello hello = {.wish = wire->wish, .fences = fences(&wire->wish)};
	struct rf__welcome welcome = {.terms = wire->terms,
		.listened = wire->terms.listened,
		.n_fds = rf__terms_fds(&wire->terms)};
	struct rf__refuse refuse = {.code = RF__REFUSAL_POLICY};

	if (wire->next == RF__WIRE_HELLO)
		rf__code_hello(codec, &hello);
	if (wire->next == RF__WIRE_WELCOME)
		rf__code_welcome(codec, &welcome);
	if (wire->next != RF__WIRE_REFUSE)
		return;
	while (refuse.code < RF__REFUSAL_OTHER && refusal_errors[refuse.code] != wire->error)
		refuse.code++;
	copy_text(refuse.text, wire->reason.text, sizeof(refuse.text));
	rf__code_refuse(codec, &refuse);
}

size_t rf__wire_output(
	struct rf__wire *wire, unsigned char message[RF__WIRE_MAX], unsigned *ret_n_fds)
{
	struct rf__header header = {RF__WIRE_MAGIC, RF__WIRE_VERSION, wire->next, 0};
	struct rf__codec codec = {.writing = true, .len = RF__WIRE_MAX};
	size_t len;

	if (wire->state != RF__WIRE_SEND)
		return 0;
	codec.at = RF__HEADER_BYTES;
	put_body(wire, &codec);
	len = codec.at;
	header.body_bytes = (uint32_t)(len - RF__HEADER_BYTES);
	codec.at = 0;
	rf__code_header(&codec, &header);
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
