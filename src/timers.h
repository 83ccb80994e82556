/* SPDX-License-Identifier: MIT */
/* Timers of one thread: a heap in memory of the caller's, with room for a fixed number. Setting, moving
 * and cancelling one takes O(log n) steps, looking at the nearest one. No clock, no system call, no
 * allocation. */
#ifndef RF_TIMERS_H
#define RF_TIMERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Part of what is to be timed; all zero it is not set. Stays where it is while it is set. */
struct rf__timer {
	uint64_t at;    /* ns; when it is set */
	uint32_t place; /* in the heap, counting from 1; 0: not set */
};

struct rf__timer_entry {
	uint64_t at;
	struct rf__timer *timer;
};

struct rf__timers {
	struct rf__timer_entry *heap;
	uint32_t n, most;
};

/* memory: of rf__timers_memory(most) bytes, aligned to 8, the caller's. */
size_t rf__timers_memory(uint32_t most);
void rf__timers_init(struct rf__timers *timers, void *memory, uint32_t most);

/* Sets it, or moves it, to at; UINT64_MAX cancels it. 0; -ENOMEM: there are as many as there is room
 * for. */
int rf__timers_set(struct rf__timers *timers, struct rf__timer *timer, uint64_t at);

/* One that is not set is fine. */
void rf__timers_cancel(struct rf__timers *timers, struct rf__timer *timer);

static inline bool rf__timer_is_set(const struct rf__timer *timer)
{
	return timer->place != 0;
}

/* When the first is due; UINT64_MAX: none is set. */
static inline uint64_t rf__timers_next(const struct rf__timers *timers)
{
	return timers->n ? timers->heap[0].at : UINT64_MAX;
}

/* Takes out the first that is due at now; NULL: none is. Earlier ones come first, those of one time in
 * any order. */
struct rf__timer *rf__timers_take(struct rf__timers *timers, uint64_t now);

#endif
