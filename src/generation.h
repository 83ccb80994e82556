/* SPDX-License-Identifier: MIT */
/* Noticing fork: a page that the kernel clears in the child (MADV_WIPEONFORK). */
#ifndef RF_GENERATION_H
#define RF_GENERATION_H

#include <stdbool.h>
#include <stdint.h>

/* What was made in this process since the last fork has this number; the word it is compared
 * with. Both stay valid for ever. */
struct rf__generation {
	const uint64_t *word;
	uint64_t number;
};

/* 0; -ENOMEM, -ENOTSUP. Any thread. */
int rf__generation_get(struct rf__generation *ret_generation);

/* Was it got by this process, not by a parent of it? */
static inline bool rf__generation_is_ours(const struct rf__generation *generation)
{
	return __atomic_load_n(generation->word, __ATOMIC_RELAXED) == generation->number;
}

#endif
