/* SPDX-License-Identifier: MIT */
/* A frame as it lies in a slot, complete in itself, so that a viewer can start at any of them: the
 * header line of Y4M in FRAME_HEADER_BYTES, filled up with zeros, then the samples. Its number
 * stands in user[0] of the message; they count up from 0. */
#ifndef EXAMPLES_FRAME_H
#define EXAMPLES_FRAME_H

#include "y4m.h"

#include <ringfort/types.h>
#include <stdbool.h>
#include <string.h>

enum { FRAME_TAG = 1, FRAME_HEADER_BYTES = Y4M_LINE_MAX };

/* How large a slot must be. */
static inline size_t frame_slot_bytes(const struct y4m *format)
{
	return FRAME_HEADER_BYTES + y4m_frame_bytes(format);
}

/* Makes a reserved slot frame number number: everything but its samples. header: see
 * frame_header(). Returns where the samples go. */
static inline void *frame_fill(struct rf_buffer *buffer, const char *header, uint64_t number)
{
	memcpy(buffer->data, header, FRAME_HEADER_BYTES);
	buffer->tag = FRAME_TAG;
	buffer->user[0] = number;
	return (char *)buffer->data + FRAME_HEADER_BYTES;
}

/* What stands in front of the samples. */
static inline void frame_header(const struct y4m *format, char header[FRAME_HEADER_BYTES])
{
	memset(header, 0, FRAME_HEADER_BYTES);
	y4m_format(format, header);
}

/* The samples of a frame that frames_take() has accepted. */
static inline const void *frame_samples(const struct rf_message *message)
{
	return (const char *)message->data + FRAME_HEADER_BYTES;
}

/* The frames that a viewer has taken. All zero to begin with. */
struct frames {
	struct y4m format; /* of all of them */
	char header[FRAME_HEADER_BYTES];
	uint64_t count, missed;
	uint64_t first, last; /* their numbers */
};

/* The first frame's header says what the format is. */
static inline const char *frames_start(struct frames *frames, const char *header, uint64_t number)
{
	const char *end = memchr(header, '\n', FRAME_HEADER_BYTES);
	const char *wrong = "a frame has no header";

	if (end)
		wrong = y4m_parse(header, (size_t)(end - header), &frames->format);
	if (wrong)
		return wrong;
	memcpy(frames->header, header, FRAME_HEADER_BYTES);
	frames->first = number;
	return NULL;
}

/* Is this the number of the next one, after so many that were missed? */
static inline bool frames_follow(const struct frames *frames, uint64_t number, uint32_t missed)
{
	if (number <= frames->last)
		return false;
	if (missed == UINT32_MAX)
		return number - frames->last - 1 >= missed;
	return number - frames->last - 1 == missed;
}

/* Takes a message for a frame, and believes none of it: the header is copied before it is looked at,
 * because whoever sent it can still change it; it must be that of the frames before, the length
 * follows from it, and the number from that of the last one. NULL, or what is wrong. */
static inline const char *frames_take(struct frames *frames, const struct rf_message *message)
{
	char header[FRAME_HEADER_BYTES];
	uint64_t number = message->user[0];
	const char *wrong = NULL;

	if (message->tag != FRAME_TAG || message->len < sizeof(header))
		return "a message is not a frame";
	memcpy(header, message->data, sizeof(header));
	if (!frames->count)
		wrong = frames_start(frames, header, number);
	else if (memcmp(header, frames->header, sizeof(header)))
		wrong = "the format changes in mid-stream";
	else if (!frames_follow(frames, number, message->missed))
		wrong = "a frame does not have the number that follows";
	if (!wrong && message->len != frame_slot_bytes(&frames->format))
		wrong = "a frame does not have the size that its header says";
	if (wrong)
		return wrong;
	frames->count++;
	frames->missed += message->missed;
	frames->last = number;
	return NULL;
}

#endif
