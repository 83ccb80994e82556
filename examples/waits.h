/* SPDX-License-Identifier: MIT */
/* How long waits took: a histogram of constant size, with an error of at most one eighth. */
#ifndef EXAMPLES_WAITS_H
#define EXAMPLES_WAITS_H

#include <stdint.h>

/* All zero to begin with. */
struct waits {
	uint64_t counts[496]; /* eight buckets per power of two */
	uint64_t n, max_ns;
};

static inline void waits_add(struct waits *waits, uint64_t ns)
{
	unsigned shift = ns < 8 ? 0 : 60 - (unsigned)__builtin_clzll(ns);

	waits->counts[shift * 8 + (ns >> shift)]++;
	waits->n++;
	if (ns > waits->max_ns)
		waits->max_ns = ns;
}

/* The time that this percentage of the waits did not exceed: the end of its bucket. */
static inline uint64_t waits_percentile_ns(const struct waits *waits, unsigned percent)
{
	uint64_t rank = waits->n * percent / 100, seen = 0;

	for (unsigned i = 0; i < sizeof(waits->counts) / sizeof(*waits->counts); i++) {
		unsigned shift = i < 16 ? 0 : i / 8 - 1;
		uint64_t end = (((uint64_t)i - shift * 8 + 1) << shift) - 1;

		seen += waits->counts[i];
		if (seen > rank)
			return end < waits->max_ns ? end : waits->max_ns;
	}
	return waits->max_ns;
}

#endif
