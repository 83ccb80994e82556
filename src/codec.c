/* SPDX-License-Identifier: MIT */
/* Messages of the handshake to structures and back: see codec.h. */
#include "codec.h"

#include <string.h>

enum { RESERVED_BYTES = 16 };

static unsigned char *take(struct rf__codec *codec, size_t n)
{
	if (codec->malformed || n > codec->len - codec->at) {
		codec->malformed = true;
		return NULL;
	}
	codec->at += n;
	return codec->bytes + codec->at - n;
}

static void code64(struct rf__codec *codec, uint64_t *value, size_t n)
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

static void code32(struct rf__codec *codec, uint32_t *value, size_t n)
{
	uint64_t wide = *value;

	code64(codec, &wide, n);
	*value = (uint32_t)wide;
}

/* A message that is written starts with nothing but zeroes. */
static void code_reserved(struct rf__codec *codec, size_t n)
{
	const unsigned char *bytes = take(codec, n);

	for (size_t i = 0; bytes && i < n; i++)
		codec->malformed |= bytes[i] != 0;
}

/* Text, and nothing but zeroes behind it, one at least. */
static bool is_padded(const unsigned char *bytes, size_t n)
{
	size_t i = 0;

	while (i < n && bytes[i])
		i++;
	if (i == n)
		return false;
	while (i < n && !bytes[i])
		i++;
	return i == n;
}

static void code_type(struct rf__codec *codec, char type[RF__TYPE_BYTES])
{
	unsigned char *bytes = take(codec, RF__TYPE_BYTES);

	if (!bytes)
		return;
	if (codec->writing)
		memcpy(bytes, type, RF__TYPE_BYTES);
	else if (is_padded(bytes, RF__TYPE_BYTES))
		memcpy(type, bytes, RF__TYPE_BYTES);
	else
		codec->malformed = true;
}

static void code_fds(struct rf__codec *codec, struct rf__fd_terms *fds)
{
	code32(codec, &fds->kinds, 4);
	code32(codec, &fds->max, 4);
	code32(codec, &fds->per_second, 4);
}

void rf__code_header(struct rf__codec *codec, struct rf__header *header)
{
	code32(codec, &header->magic, 4);
	code32(codec, &header->version, 2);
	code32(codec, &header->type, 2);
	code32(codec, &header->body_bytes, 4);
}

void rf__code_hello(struct rf__codec *codec, struct rf__hello *hello)
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
	code32(codec, &hello->wish.element_bytes, 4);
	code_type(codec, hello->wish.type);
	code64(codec, &hello->wish.slot_bytes, 8);
	code32(codec, &hello->wish.slots, 4);
	code32(codec, &hello->wish.slot_align, 4);
	code32(codec, &hello->wish.hold, 4);
	code32(codec, &hello->wish.lag, 4);
	code32(codec, &hello->wish.start, 4);
	code64(codec, &hello->wish.stall_ns, 8);
	code_fds(codec, &hello->wish.fds);
	code_reserved(codec, RESERVED_BYTES);
}

void rf__code_welcome(struct rf__codec *codec, struct rf__welcome *welcome)
{
	code64(codec, &welcome->terms.features, 8);
	code64(codec, &welcome->terms.area_bytes[RF__UP], 8);
	code64(codec, &welcome->terms.area_bytes[RF__DOWN], 8);
	code32(codec, &welcome->terms.kind, 4);
	code32(codec, &welcome->terms.doorbell, 4);
	code32(codec, &welcome->terms.fence, 4);
	code32(codec, &welcome->listened, 4);
	code32(codec, &welcome->terms.page_bytes, 4);
	code32(codec, &welcome->n_fds, 4);
	code32(codec, &welcome->terms.element_bytes, 4);
	code_type(codec, welcome->terms.type);
	code64(codec, &welcome->terms.slot_bytes, 8);
	code32(codec, &welcome->terms.slots, 4);
	code32(codec, &welcome->terms.slot_align, 4);
	code32(codec, &welcome->terms.hold, 4);
	code32(codec, &welcome->terms.lag, 4);
	code32(codec, &welcome->terms.start, 4);
	code64(codec, &welcome->terms.stall_ns, 8);
	code_fds(codec, &welcome->terms.fds[RF__UP]);
	code_fds(codec, &welcome->terms.fds[RF__DOWN]);
	code_reserved(codec, RESERVED_BYTES);
}

void rf__code_refuse(struct rf__codec *codec, struct rf__refuse *refuse)
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

bool rf__codec_is_whole(const struct rf__codec *codec)
{
	return !codec->malformed && codec->at == codec->len;
}
