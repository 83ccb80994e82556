/* SPDX-License-Identifier: MIT */
/* A log-linear histogram of nanoseconds: 32 buckets for each power of two, so that a quantile is at
 * most 3 % off; and a clock that is cheaper to read than the kernel's. */
#ifndef BENCH_LATENCY_H
#define BENCH_LATENCY_H

#include <stdint.h>
#if defined(__x86_64__)
#include <x86intrin.h>
#endif

#define LATENCY_LINEAR  32 /* buckets of each power of two */
#define LATENCY_BITS    5
#define LATENCY_BUCKETS (36 * LATENCY_LINEAR) /* up to 2^40 ns */

struct latency {
	uint32_t buckets[LATENCY_BUCKETS];
};

static inline unsigned latency_bucket(uint64_t ns)
{
	unsigned shift;

	if (ns < LATENCY_LINEAR)
		return (unsigned)ns;
	shift = 63 - (unsigned)__builtin_clzll(ns) - LATENCY_BITS;
	if (shift > 34)
		return LATENCY_BUCKETS - 1;
	return (shift << LATENCY_BITS) + (unsigned)(ns >> shift);
}

static inline void latency_add(struct latency *latency, uint64_t ns)
{
	latency->buckets[latency_bucket(ns)]++;
}

/* The middle of a bucket in nanoseconds. */
static inline double latency_middle(unsigned bucket)
{
	unsigned shift = bucket < 2 * LATENCY_LINEAR ? 0 : bucket / LATENCY_LINEAR - 1;
	uint64_t low = (uint64_t)(bucket - shift * LATENCY_LINEAR) << shift;

	return (double)low + (double)((UINT64_C(1) << shift) - 1) / 2;
}

static inline uint64_t latency_count(const struct latency *latency)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < LATENCY_BUCKETS; i++)
		sum += latency->buckets[i];
	return sum;
}

/* The smallest latency that a share of all do not exceed; 1: the largest. 0 when there are none. */
static inline double latency_quantile(const struct latency *latency, double share)
{
	uint64_t count = latency_count(latency), sum = 0;
	uint64_t wanted = (uint64_t)(share * (double)count + 0.5);

	for (unsigned i = 0; i < LATENCY_BUCKETS && count; i++) {
		sum += latency->buckets[i];
		if (sum && sum >= wanted)
			return latency_middle(i);
	}
	return 0;
}

/* Ticks of some clock, and its nanoseconds per tick once it is known: latency_clock() takes 5 ms. */
static inline uint64_t latency_ticks(void)
{
#if defined(__x86_64__)
	return __rdtsc();
#else
	uint64_t pinned_now(void);

	return pinned_now();
#endif
}

double latency_clock(void);

#endif
