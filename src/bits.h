/* SPDX-License-Identifier: MIT */
/* Sets of small numbers, a bit each. */
#ifndef RF_BITS_H
#define RF_BITS_H

#include <stdbool.h>
#include <stdint.h>

/* For what is done with each message, where a call costs as much as what it does. */
#define RF__HOT static inline __attribute__((always_inline))

RF__HOT bool rf__has_bit(const uint64_t *bits, uint32_t n)
{
	return bits[n / 64] >> n % 64 & 1;
}

RF__HOT void rf__flip_bit(uint64_t *bits, uint32_t n)
{
	bits[n / 64] ^= UINT64_C(1) << n % 64;
}

#endif
