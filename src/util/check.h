/* SPDX-License-Identifier: MIT */
/* Arithmetic on sizes that came from somebody else: 64 bits, and the overflow is an answer. */
#ifndef RF_UTIL_CHECK_H
#define RF_UTIL_CHECK_H

#include <stdbool.h>
#include <stdint.h>

/* *ret = a + b; false when that does not fit. */
static inline bool rf__add(uint64_t a, uint64_t b, uint64_t *ret)
{
	return !__builtin_add_overflow(a, b, ret);
}

/* *ret = a * b; false when that does not fit. */
static inline bool rf__mul(uint64_t a, uint64_t b, uint64_t *ret)
{
	return !__builtin_mul_overflow(a, b, ret);
}

static inline bool rf__is_power_of_two(uint64_t n)
{
	return n && !(n & (n - 1));
}

/* The smallest power of two that is at least n; 0 when there is none in 64 bits. */
static inline uint64_t rf__power_of_two(uint64_t n)
{
	if (n <= 1)
		return 1;
	if (n > (UINT64_C(1) << 63))
		return 0;
	return UINT64_C(1) << (64 - __builtin_clzll(n - 1));
}

#endif
