/* SPDX-License-Identifier: MIT */
/* What the rings of other projects have in common here. They live in the memory that both processes
 * map at one address, one lane for each direction, and carry messages in one of two ways: as
 * elements of the ring itself, which are copied in and out, or as elements that say where in the
 * lane's slots a message is, made and read in place. C11 and C++17. */
#ifndef BENCH_PEERS_LANES_H
#define BENCH_PEERS_LANES_H

#include "payload.h"
#include "transport.h"

#include <string.h>

#define LANE_BYTES    (SHARED_BYTES / 2)
#define CONTROL_BYTES ((size_t)2 << 20) /* of a lane, in front of the data */
#define PLACES_MOST   65536u
#define BURST         32u
#define LINE          64u

/* Messages of these sizes are elements of rings whose element type has that size; all others go
 * through slots. */
#define ELEMENT_SIZES(X) X(8) X(16) X(32) X(64) X(128) X(256) X(512) X(1024) X(1500) X(2048) X(4096)

struct lane {
	void *control, *data;
	size_t stride;        /* from slot to slot */
	uint32_t slots, next; /* the sender's next */
};

static inline void lane_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#endif
}

static inline unsigned lane_burst(const struct job *job)
{
	return job->size <= 4096 ? BURST : 1;
}

/* A power of two: so many elements of this size make a ring of job->ring_bytes, or few. */
static inline uint32_t lane_elements(const struct job *job, size_t size)
{
	uint32_t elements = 4;

	while ((uint64_t)elements * 2 * size <= job->ring_bytes)
		elements *= 2;
	return elements;
}

static inline uint32_t lane_places(const struct job *job)
{
	size_t stride = (job->size + LINE - 1) & ~(size_t)(LINE - 1);
	uint32_t places = lane_elements(job, stride);

	while (places > PLACES_MOST ||
		(places + 2 * lane_burst(job)) * stride > LANE_BYTES - CONTROL_BYTES)
		places /= 2;
	return places;
}

/* With more slots than there can be in the ring, in the hands of the receiver and in those of the
 * sender, slots are used in turns and none has to be given back. */
static inline void lane_open(
	struct lane *lane, const struct end *end, const struct job *job, enum side sender)
{
	unsigned char *memory = end->shared + (sender == SIDE_PRODUCER ? 0 : LANE_BYTES);

	lane->control = memory;
	lane->data = memory + CONTROL_BYTES;
	lane->stride = (job->size + LINE - 1) & ~(size_t)(LINE - 1);
	lane->slots = lane_places(job) + 2 * lane_burst(job);
	lane->next = 0;
}

static inline void *lane_slot(struct lane *lane)
{
	void *slot = (unsigned char *)lane->data + lane->next * lane->stride;

	lane->next = lane->next + 1 < lane->slots ? lane->next + 1 : 0;
	return slot;
}

static inline enum side other_side(const struct end *end)
{
	return end->side == SIDE_PRODUCER ? SIDE_CONSUMER : SIDE_PRODUCER;
}

/* Up to most messages that lie one behind the other, to be copied; BURST at most. */
static inline const unsigned char *source_burst(struct source *source, uint64_t most, unsigned *n)
{
	uint64_t room = source->mask + 1 - (source->next & source->mask);
	const void *first = source_next(source);

	if (room > BURST)
		room = BURST;
	*n = (unsigned)(most < room ? most : room);
	for (unsigned i = 1; i < *n; i++)
		source_next(source);
	return (const unsigned char *)first;
}

static inline int job_copies(const struct job *job)
{
	return job->mode == MODE_COPIED || job->mode == MODE_SPAN_COPIED;
}

/* How many at once. */
static inline unsigned job_burst(const struct job *job)
{
	int many = job->mode == MODE_SPAN || job->mode == MODE_SPAN_COPIED;

	return many ? lane_burst(job) : 1;
}

/* A message on its way in and out where the way leads through a slot. */
static inline void slot_write(
	void *slot, const struct job *job, struct source *source, uint64_t number)
{
	if (job_copies(job))
		memcpy(slot, source_next(source), job->size);
	else
		payload_fill(slot, job->size, number);
}

static inline uint64_t slot_read(const void *slot, const struct job *job, unsigned char *buffer)
{
	if (!job_copies(job))
		return payload_sum(slot, job->size);
	memcpy(buffer, slot, job->size);
	return payload_sum(buffer, job->size);
}

#endif
