/* SPDX-License-Identifier: MIT */
/* Messages of the handshake to structures and back. One function per part serves both ways: it
 * reads the message into the structure, or writes the structure into the message. What would leave
 * the message, what is reserved and not zero, and a type's name that is not padded with zeroes,
 * makes it malformed; then the rest reads as zero. No system call, no clock, no allocation. */
#ifndef RF_CODEC_H
#define RF_CODEC_H

#include "terms.h"
#include "wire.h"

/* A message and how far it is coded. One that is written starts as zeroes. */
struct rf__codec {
	unsigned char bytes[RF__WIRE_MAX];
	size_t at, len; /* at is never beyond len, len never beyond bytes */
	bool writing, malformed;
};

#define RF__HEADER_BYTES 12

struct rf__header {
	uint32_t magic, version, type, body_bytes;
};

struct rf__refuse {
	uint32_t code;            /* enum rf__refusal, or whatever a peer says */
	char text[RF__WIRE_TEXT]; /* padded with zeroes, maybe not terminated */
};

void rf__code_header(struct rf__codec *codec, struct rf__header *header);
void rf__code_hello(struct rf__codec *codec, struct rf__hello *hello);
void rf__code_welcome(struct rf__codec *codec, struct rf__welcome *welcome);
void rf__code_refuse(struct rf__codec *codec, struct rf__refuse *refuse);

/* Was the message well-formed up to its end, with nothing behind it? */
bool rf__codec_is_whole(const struct rf__codec *codec);

#endif
