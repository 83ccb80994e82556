/* SPDX-License-Identifier: MIT */
/* CLOCK_MONOTONIC in nanoseconds. */
#ifndef RF_UTIL_CLOCK_H
#define RF_UTIL_CLOCK_H

#include <stdint.h>
#include <time.h>

#define RF__MSEC UINT64_C(1000000)
#define RF__SEC  UINT64_C(1000000000)

static inline uint64_t rf__clock_read(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return (uint64_t)t.tv_sec * RF__SEC + (uint64_t)t.tv_nsec;
}

static inline uint64_t rf__now(void)
{
	return rf__clock_read(CLOCK_MONOTONIC);
}

/* Up to a scheduler tick behind, and three times cheaper. */
static inline uint64_t rf__now_coarse(void)
{
	return rf__clock_read(CLOCK_MONOTONIC_COARSE);
}

static inline struct timespec rf__timespec(uint64_t ns)
{
	return (struct timespec){.tv_sec = (time_t)(ns / RF__SEC), .tv_nsec = (long)(ns % RF__SEC)};
}

/* now + delta, never past the end of time. */
static inline uint64_t rf__later(uint64_t now, uint64_t delta_ns)
{
	return delta_ns > UINT64_MAX - now ? UINT64_MAX : now + delta_ns;
}

#endif
