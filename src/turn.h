/* SPDX-License-Identifier: MIT */
/* What a task does in its turn. Part of the switcher: nothing else includes this. */
#ifndef RF_TURN_H
#define RF_TURN_H

#include "switcher.h"

/* Bits of rf__task.bits, without their prefix.
 * ALIVE. READY: in its group's queue. RUNNING: it has its turn. INPUT: there may be some to fetch.
 * REFUSED: it did not take all; INPUT again once it has done something. UNDRAINED: it is asked for
 * outputs before it gets inputs. BLOCKED: an output waits, and it for that. ROOM: what waits may be sent.
 * EXPIRED: on_expiry is due. TELL: on_shutdown is due. TOLD: it is to end. DOOMED: it is reaped after
 * its turn. FIRED: expiry was not asked since on_expiry. */
enum {
	RF__ALIVE = 1,
	RF__READY = 2,
	RF__RUNNING = 4,
	RF__INPUT = 8,
	RF__REFUSED = 16,
	RF__UNDRAINED = 32,
	RF__BLOCKED = 64,
	RF__ROOM = 128,
	RF__EXPIRED = 256,
	RF__TELL = 512,
	RF__TOLD = 1024,
	RF__DOOMED = 2048,
	RF__FIRED = 4096
};

/* What is seldom needed, apart from the state, so that states lie side by side. */
struct rf__cold {
	uint64_t until; /* RF__TOLD */
	struct rf_output waiting[];
};

static inline void *state_of(const struct rf__task *task)
{
	return task->group->states + task->cell * task->group->state_stride;
}

static inline struct rf__cold *cold_of(const struct rf__task *task)
{
	return (struct rf__cold *)(void *)(task->group->colds +
					   task->cell * task->group->cold_stride);
}

static inline struct rf_handle handle_of(const struct rf__task *task)
{
	return (struct rf_handle){task->index, task->generation};
}

/* Has it anything to do in a turn? */
static inline bool can_run(const struct rf__task *task)
{
	if (task->bits & (RF__ROOM | RF__EXPIRED | RF__TELL))
		return true;
	return !(task->bits & RF__BLOCKED) && task->bits & (RF__UNDRAINED | RF__INPUT);
}

/* Sends what waits, as far as there is room; calls what is due; feeds and drains it until it has nothing
 * more to do or its quantum is used up. How many events. */
unsigned rf__turn_take(struct rf__switcher *switcher, struct rf__task *task, uint64_t now);

/* Is it done, or told to end and has nothing more to give? */
bool rf__turn_is_last(const struct rf__task *task);

/* Drops the outputs that wait. */
void rf__turn_discard(struct rf__switcher *switcher, struct rf__task *task);

#endif
