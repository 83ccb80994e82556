/* SPDX-License-Identifier: MIT */
/* What the messages hold: every byte is written by the producer and read by the consumer, in the
 * same way for every transport. Message s consists of the 64-bit words s, s + 1 and so on. */
#ifndef BENCH_PAYLOAD_H
#define BENCH_PAYLOAD_H

#include <stddef.h>
#include <stdint.h>

/* Two words, as every x86-64 and ARMv8 stores them at once; payloads are 8-byte aligned. */
typedef uint64_t payload_words __attribute__((vector_size(16), aligned(8), may_alias));
typedef uint64_t payload_word __attribute__((may_alias));

/* Writes message number s; size is a multiple of 8. Four at a time, by hand, so that compiler and
 * level of optimisation matter little. */
static inline void payload_fill(void *to, size_t size, uint64_t s)
{
	payload_words *at = to, a = {s, s + 1}, b = a + 2, c = a + 4, d = a + 6;
	size_t words = size / 8, done;

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
	for (payload_word *rest = (payload_word *)at; done < words; done++)
		*rest++ = s + done;
}

/* The sum of a message's words. */
static inline uint64_t payload_sum(const void *from, size_t size)
{
	const payload_words *at = from;
	payload_words a = {0, 0}, b = a, c = a, d = a;
	size_t words = size / 8, done;
	uint64_t sum;

	for (done = 0; done + 8 <= words; done += 8) {
		a += at[0];
		b += at[1];
		c += at[2];
		d += at[3];
		at += 4;
	}
	a += b + c + d;
	sum = a[0] + a[1];
	for (const payload_word *rest = (const payload_word *)at; done < words; done++)
		sum += *rest++;
	return sum;
}

/* The sum of messages 0 to count - 1, of size bytes each. */
static inline uint64_t payload_expected(uint64_t count, size_t size)
{
	uint64_t words = size / 8;

	return words * (count * (count - 1) / 2) + count * (words * (words - 1) / 2);
}

#endif
