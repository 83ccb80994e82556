/* SPDX-License-Identifier: MIT */
/* What the messages hold: every byte is written by the producer and read by the consumer, in the
 * same way for every transport. Message s consists of the 64-bit words s, s + 1 and so on; where its
 * size is no multiple of 8, the last one has 32 bits. C11 and C++17. */
#ifndef BENCH_PAYLOAD_H
#define BENCH_PAYLOAD_H

#include <stddef.h>
#include <stdint.h>

/* Two words, as every x86-64 and ARMv8 stores them at once; payloads are 4-byte aligned. */
typedef uint64_t payload_words __attribute__((vector_size(16), aligned(4), may_alias));
typedef uint64_t payload_word __attribute__((aligned(4), may_alias));
typedef uint32_t payload_half __attribute__((may_alias));

/* Writes message number s; size is a multiple of 4. Four at a time, by hand, so that compiler and
 * level of optimisation matter little; and the smallest at once, or there would be nothing but this to
 * measure. */
static inline void payload_fill(void *to, size_t size, uint64_t s)
{
	payload_words *at = (payload_words *)to;
	payload_words a = {s, s + 1}, b = a + 2, c = a + 4, d = a + 6;
	size_t words = size / 8, done;
	payload_word *rest;

	if (size == 8) {
		*(payload_word *)to = s;
		return;
	}
	for (done = 0; done + 8 <= words; done += 8) {
		at[0] = a;
		at[1] = b;
		at[2] = c;
		at[3] = d;
		at += 4;
		a += 8;
		b += 8;
		c += 8;
		d += 8;
	}
	for (rest = (payload_word *)at; done < words; done++)
		*rest++ = s + done;
	if (size % 8)
		*(payload_half *)rest = (uint32_t)(s + done);
}

/* The sum of a message's words. */
static inline uint64_t payload_sum(const void *from, size_t size)
{
	const payload_words *at = (const payload_words *)from;
	payload_words a = {0, 0}, b = a, c = a, d = a;
	size_t words = size / 8, done;
	const payload_word *rest;
	uint64_t sum;

	if (size == 8)
		return *(const payload_word *)from;
	for (done = 0; done + 8 <= words; done += 8) {
		a += at[0];
		b += at[1];
		c += at[2];
		d += at[3];
		at += 4;
	}
	a += b + c + d;
	sum = a[0] + a[1];
	for (rest = (const payload_word *)at; done < words; done++)
		sum += *rest++;
	return size % 8 ? sum + *(const payload_half *)rest : sum;
}

/* The sum of messages 0 to count - 1, of size bytes each; count below 2^31. */
static inline uint64_t payload_expected(uint64_t count, size_t size)
{
	uint64_t words = (size + 7) / 8;

	return words * (count * (count - 1) / 2) + count * (words * (words - 1) / 2);
}

/* Messages in memory of the application, from where they are copied. Small ones are made so many
 * ahead: what has just been stored in pieces of one size is slow to load in pieces of another. */
#define SOURCE_AHEAD 32
#define SOURCE_SMALL 4096

struct source {
	unsigned char *memory; /* 2 * SOURCE_AHEAD * SOURCE_SMALL bytes, and at least size */
	size_t size;
	uint64_t next, made, end, mask;
};

static inline void source_make(struct source *source)
{
	payload_fill(source->memory + (source->made & source->mask) * source->size, source->size,
		source->made);
	source->made++;
}

/* For messages number first to first + count - 1. */
static inline void source_begin(
	struct source *source, unsigned char *memory, size_t size, uint64_t first, uint64_t count)
{
	uint64_t ahead = size > SOURCE_SMALL ? 0 : SOURCE_AHEAD;

	source->memory = memory;
	source->size = size;
	source->next = source->made = first;
	source->end = first + count;
	source->mask = ahead ? 2 * SOURCE_AHEAD - 1 : 0;
	while (ahead-- && source->made < source->end)
		source_make(source);
}

/* The next message; it stays there until the next call. */
static inline const void *source_next(struct source *source)
{
	if (source->made < source->end)
		source_make(source);
	return source->memory + (source->next++ & source->mask) * source->size;
}

#endif
