/* SPDX-License-Identifier: MIT */
/* A heap with four children to a node: half as deep as with two, and siblings are in one cache line. */
#include "timers.h"

#include <errno.h>

#define CHILDREN 4

size_t rf__timers_memory(uint32_t most)
{
	return (size_t)most * sizeof(struct rf__timer_entry);
}

void rf__timers_init(struct rf__timers *timers, void *memory, uint32_t most)
{
	timers->heap = memory;
	timers->n = 0;
	timers->most = most;
}

static void put(struct rf__timers *timers, uint32_t place, struct rf__timer_entry entry)
{
	timers->heap[place] = entry;
	entry.timer->place = place + 1;
}

/* The entry finds its place from here towards the first. */
static void rise(struct rf__timers *timers, uint32_t place, struct rf__timer_entry entry)
{
	while (place) {
		uint32_t parent = (place - 1) / CHILDREN;

		if (timers->heap[parent].at <= entry.at)
			break;
		put(timers, place, timers->heap[parent]);
		place = parent;
	}
	put(timers, place, entry);
}

static uint32_t earliest_child(const struct rf__timers *timers, uint32_t place)
{
	uint32_t first = place * CHILDREN + 1, least = first;

	for (uint32_t i = first + 1; i < first + CHILDREN && i < timers->n; i++)
		if (timers->heap[i].at < timers->heap[least].at)
			least = i;
	return least;
}

static void sink(struct rf__timers *timers, uint32_t place, struct rf__timer_entry entry)
{
	while (place * CHILDREN + 1 < timers->n) {
		uint32_t child = earliest_child(timers, place);

		if (timers->heap[child].at >= entry.at)
			break;
		put(timers, place, timers->heap[child]);
		place = child;
	}
	put(timers, place, entry);
}

static void settle(struct rf__timers *timers, uint32_t place, struct rf__timer_entry entry)
{
	if (place && timers->heap[(place - 1) / CHILDREN].at > entry.at)
		rise(timers, place, entry);
	else
		sink(timers, place, entry);
}

void rf__timers_cancel(struct rf__timers *timers, struct rf__timer *timer)
{
	uint32_t place = timer->place - 1;

	if (!timer->place)
		return;
	timer->place = 0;
	timers->n--;
	if (place < timers->n)
		settle(timers, place, timers->heap[timers->n]);
}

int rf__timers_set(struct rf__timers *timers, struct rf__timer *timer, uint64_t at)
{
	struct rf__timer_entry entry = {at, timer};

	if (at == UINT64_MAX) {
		rf__timers_cancel(timers, timer);
		return 0;
	}
	if (!timer->place && timers->n == timers->most)
		return -ENOMEM;
	timer->at = at;
	if (timer->place)
		settle(timers, timer->place - 1, entry);
	else
		rise(timers, timers->n++, entry);
	return 0;
}

struct rf__timer *rf__timers_take(struct rf__timers *timers, uint64_t now)
{
	struct rf__timer *timer;

	if (!timers->n || timers->heap[0].at > now)
		return NULL;
	timer = timers->heap[0].timer;
	rf__timers_cancel(timers, timer);
	return timer;
}
