/* SPDX-License-Identifier: MIT */
/* What the processes of tests/churn share: how much there is of everything, what they tell each
 * other, and what messages hold. */
#ifndef RF_TESTS_CHURN_H
#define RF_TESTS_CHURN_H

#include <ringfort/ringfort.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#define SECOND_NS   UINT64_C(1000000000)
#define MS_NS       UINT64_C(1000000)
#define PATIENCE_NS (30 * SECOND_NS) /* nothing honest takes so long */

/* Slots, and who may hold how many: 128 >= 16 + 2 * 16 + 16 * 4. */
#define SLOTS       128
#define SLOT_BYTES  16384
#define KEPT_BACK   16
#define HONEST_HOLD 16
#define CROWD_HOLD  4
#define CROWD       16     /* others at a time */
#define TICK_NS     500000 /* between two messages */

#define FULL_MESSAGES (4 * SLOTS)

enum honest { BLOCKING, DISCONNECTING, HONEST };

/* Ages of messages: eight classes for each power of two of nanoseconds. */
#define AGE_CLASSES 512

/* Shared by all processes; each word has one writer. */
struct board {
	uint64_t finish; /* the supervisor: the publisher is to end */
	struct {
		_Alignas(128) uint64_t messages, joined, left, cut, broken, refused, failed;
	} publisher;
	struct {
		_Alignas(128) uint64_t received, missed;
		uint64_t ages[AGE_CLASSES];
	} honest[HONEST];
};

struct churn {
	struct board *board;
	char path[64];
};

/* Exit statuses. Whoever takes part may fail; only SPOILT says that the publisher did wrong. */
enum status { FINE, FAILED, SPOILT };

/* The processes. They return an exit status. */
int run_publisher(const struct churn *churn);
int run_honest(const struct churn *churn, enum honest which);
int run_crowd(const struct churn *churn, uint64_t seed);

static inline uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * SECOND_NS + (uint64_t)t.tv_nsec;
}

static inline void tell(uint64_t *word, uint64_t value)
{
	__atomic_store_n(word, value, __ATOMIC_RELAXED);
}

static inline uint64_t told(const uint64_t *word)
{
	return __atomic_load_n(word, __ATOMIC_RELAXED);
}

/* splitmix64 */
static inline uint64_t mix(uint64_t x)
{
	x += UINT64_C(0x9e3779b97f4a7c15);
	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

static inline uint64_t next_random(uint64_t *seed)
{
	return mix((*seed)++);
}

/* The words of message n, most of them few, some as many as fit; as many as fit of the first
 * ones, so that all memory has been touched. */
static inline size_t words_of(uint64_t n)
{
	uint64_t r = mix(n);
	size_t most = r & 7 ? 64 : SLOT_BYTES / 8;

	return n <= FULL_MESSAGES ? SLOT_BYTES / 8 : 1 + (size_t)(r >> 32) % most;
}

static inline uint64_t word_of(uint64_t n, size_t k)
{
	return n * UINT64_C(0x9e3779b97f4a7c15) + k;
}

/* Is it what the publisher wrote as number message->user[0]? */
static inline bool is_intact(const struct rf_message *message)
{
	const uint64_t *word = message->data;
	uint64_t n = message->user[0], wrong = 0;
	size_t words = words_of(n), k;

	if (message->len != words * 8 || message->tag != (uint32_t)n)
		return false;
	for (k = 0; k < words; k++)
		wrong |= word[k] ^ word_of(n, k);
	return !wrong;
}

#endif
