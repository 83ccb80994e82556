/* SPDX-License-Identifier: MIT */
/* A model of the algorithm of shmem-ipc, written from its description: a ring of items of one size in
 * shared memory, one counter of the items in it that both sides add to, and an eventfd each for the
 * edges: who finds it empty before adding, or full before taking, writes the other's, whether the
 * other waits or not. */
#include "payload.h"
#include "pinned.h"
#include "transports.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define TAKE 256

/* One direction; in shared memory, its items behind it. */
struct model_ring {
	_Alignas(128) uint64_t count;
	_Alignas(128) unsigned char items[];
};

/* One side of a ring. */
struct model_side {
	struct model_ring *ring;
	uint64_t at, items;
	int mine, theirs; /* eventfds: what I wait for, what I write on an edge */
};

static struct model_side to, from;

/* A round trip has two rings and so four edges, but only data is waited for there. */
static struct model_side side_of(const struct end *end, const struct job *job, int there)
{
	struct model_side side = {.items = job->ring_bytes / job->size};
	int back = there ? end->side == SIDE_CONSUMER : end->side == SIDE_PRODUCER;
	size_t apart = (size_t)job->ring_bytes + 4096;

	side.ring = (struct model_ring *)(void *)(end->shared + (back ? apart : 0));
	side.mine = end->eventfds[end->side];
	side.theirs = end->eventfds[!end->side];
	return side;
}

static int open_end(struct end *end, const struct job *job)
{
	to = side_of(end, job, 1);
	from = side_of(end, job, 0);
	return 0;
}

static void write_edge(struct end *end, const struct model_side *side)
{
	uint64_t one = 1;

	end->counters.syscalls++;
	end->counters.kicks++;
	if (write(side->theirs, &one, sizeof(one)) < 0)
		memcpy(end->why, "eventfd", 8);
}

static void wait_for_edge(struct end *end, const struct job *job, const struct model_side *side)
{
	uint64_t edges;

	if (job->wait == WAIT_SPIN) {
		pinned_pause();
		return;
	}
	end->counters.syscalls++;
	if (read(side->mine, &edges, sizeof(edges)) < 0)
		memcpy(end->why, "eventfd", 8);
}

static uint64_t lesser(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* Free items in one piece. */
static uint64_t room(struct end *end, const struct job *job)
{
	uint64_t used;

	while ((used = __atomic_load_n(&to.ring->count, __ATOMIC_ACQUIRE)) == to.items)
		wait_for_edge(end, job, &to);
	return lesser(to.items - used, to.items - to.at);
}

static uint64_t there(struct end *end, const struct job *job)
{
	uint64_t used;

	while (!(used = __atomic_load_n(&from.ring->count, __ATOMIC_ACQUIRE)))
		wait_for_edge(end, job, &from);
	return lesser(used, from.items - from.at);
}

static int is_span(const struct job *job)
{
	return job->mode == MODE_SPAN || job->mode == MODE_SPAN_COPIED;
}

static int is_copied(const struct job *job)
{
	return job->mode == MODE_COPIED || job->mode == MODE_SPAN_COPIED;
}

static int send_items(struct end *end, const struct job *job, uint64_t first, uint64_t count)
{
	uint64_t most = is_span(job) ? MESSAGES_AT_ONCE : 1, s = first, n;
	struct source source = {.size = 0};

	if (is_copied(job))
		source_begin(&source, end->buffer, job->size, first, count);

	while (s < first + count) {
		n = lesser(lesser(room(end, job), most), first + count - s);
		for (uint64_t i = 0; i < n; i++, s++) {
			unsigned char *item = to.ring->items + (to.at + i) * job->size;

			if (is_copied(job))
				memcpy(item, source_next(&source), job->size);
			else
				payload_fill(item, job->size, s);
		}
		to.at = to.at + n == to.items ? 0 : to.at + n;
		if (__atomic_fetch_add(&to.ring->count, n, __ATOMIC_ACQ_REL) == 0)
			write_edge(end, &to);
	}
	return 0;
}

static int receive_items(struct end *end, const struct job *job, uint64_t count, uint64_t *sum)
{
	uint64_t most = is_span(job) ? TAKE : 1, n;

	while (count) {
		n = lesser(lesser(there(end, job), most), count);
		for (uint64_t i = 0; i < n; i++) {
			const unsigned char *item = from.ring->items + (from.at + i) * job->size;

			if (is_copied(job))
				item = memcpy(end->buffer, item, job->size);
			*sum += payload_sum(item, job->size);
		}
		from.at = from.at + n == from.items ? 0 : from.at + n;
		count -= n;
		if (__atomic_fetch_sub(&from.ring->count, n, __ATOMIC_ACQ_REL) == from.items)
			write_edge(end, &from);
	}
	return 0;
}

const struct transport transport_model = {
	.name = "shmem-ipc-model",
	.about = "a model of shmem-ipc's algorithm: one shared counter, an eventfd write on each "
		 "edge",
	.flags = TRANSPORT_COUNTS_CALLS | TRANSPORT_COUNTS_KICKS,
	.tests = BIT(TEST_THROUGHPUT) | BIT(TEST_ROUND_TRIP) | BIT(TEST_FRAMES),
	.modes = BIT(MODE_EACH) | BIT(MODE_SPAN) | BIT(MODE_COPIED) | BIT(MODE_SPAN_COPIED),
	.waits = BIT(WAIT_SPIN) | BIT(WAIT_SLEEP),
	.size_least = 8,
	.size_most = 12441600,
	.open = open_end,
	.send = send_items,
	.receive = receive_items,
};
