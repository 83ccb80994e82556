/* SPDX-License-Identifier: MIT */
/* rte_ring of DPDK, its elements the messages themselves: written and read in the ring with its
 * zero-copy calls, or copied between those (its other calls copy four bytes at a time); one message
 * at a time or in bursts. In memory of our own: no EAL. */
#define ALLOW_EXPERIMENTAL_API /* the zero-copy calls */
#include "lanes.h"

#include <errno.h>
#include <rte_ring.h>
#include <rte_ring_peek_zc.h>
#include <stdio.h>

static struct lane lanes[2]; /* by sender */

static struct rte_ring *ring_of(enum side sender)
{
	return lanes[sender].control;
}

static unsigned least(uint64_t n, unsigned most)
{
	return n < most ? (unsigned)n : most;
}

static unsigned reserve(
	struct rte_ring *ring, const struct job *job, uint64_t most, struct rte_ring_zc_data *room)
{
	unsigned n, wanted = least(most, job_burst(job));

	while (!(n = rte_ring_enqueue_zc_burst_elem_start(
			 ring, (unsigned)job->size, wanted, room, NULL)))
		lane_pause();
	return n;
}

static unsigned borrow(
	struct rte_ring *ring, const struct job *job, uint64_t most, struct rte_ring_zc_data *there)
{
	unsigned n, wanted = least(most, job_burst(job));

	while (!(n = rte_ring_dequeue_zc_burst_elem_start(
			 ring, (unsigned)job->size, wanted, there, NULL)))
		lane_pause();
	return n;
}

static void send_copied(struct end *end, const struct job *job, uint64_t first, uint64_t count)
{
	struct rte_ring *ring = ring_of(end->side);
	struct rte_ring_zc_data room;
	const unsigned char *from;
	struct source source;
	unsigned n, done;

	source_begin(&source, end->buffer, job->size, first, count);
	for (; count; count -= n) {
		from = source_burst(&source, least(count, job_burst(job)), &n);
		for (done = 0; done < n;) {
			unsigned k = reserve(ring, job, n - done, &room);
			unsigned k1 = k < room.n1 ? k : room.n1;

			memcpy(room.ptr1, from, k1 * job->size);
			if (k > k1)
				memcpy(room.ptr2, from + k1 * job->size, (k - k1) * job->size);
			rte_ring_enqueue_zc_elem_finish(ring, k);
			from += k * job->size;
			done += k;
		}
	}
}

static void send_in_place(struct end *end, const struct job *job, uint64_t first, uint64_t count)
{
	struct rte_ring *ring = ring_of(end->side);
	struct rte_ring_zc_data room;
	unsigned char *at;
	unsigned n;

	for (; count; count -= n) {
		n = reserve(ring, job, count, &room);
		at = room.ptr1;
		for (unsigned i = 0; i < n; i++, at += job->size) {
			if (i == room.n1)
				at = room.ptr2;
			payload_fill(at, job->size, first++);
		}
		rte_ring_enqueue_zc_elem_finish(ring, n);
	}
}

static uint64_t receive_copied(struct end *end, const struct job *job, uint64_t count)
{
	struct rte_ring *ring = ring_of(other_side(end));
	struct rte_ring_zc_data there;
	uint64_t sum = 0;
	unsigned n, n1;

	for (; count; count -= n) {
		n = borrow(ring, job, count, &there);
		n1 = n < there.n1 ? n : there.n1;
		memcpy(end->buffer, there.ptr1, n1 * job->size);
		if (n > n1)
			memcpy(end->buffer + n1 * job->size, there.ptr2, (n - n1) * job->size);
		rte_ring_dequeue_zc_elem_finish(ring, n);
		for (unsigned i = 0; i < n; i++)
			sum += payload_sum(end->buffer + i * job->size, job->size);
	}
	return sum;
}

static uint64_t receive_in_place(struct end *end, const struct job *job, uint64_t count)
{
	struct rte_ring *ring = ring_of(other_side(end));
	struct rte_ring_zc_data there;
	const unsigned char *at;
	uint64_t sum = 0;
	unsigned n;

	for (; count; count -= n) {
		n = borrow(ring, job, count, &there);
		at = there.ptr1;
		for (unsigned i = 0; i < n; i++, at += job->size) {
			if (i == there.n1)
				at = there.ptr2;
			sum += payload_sum(at, job->size);
		}
		rte_ring_dequeue_zc_elem_finish(ring, n);
	}
	return sum;
}

static int send(struct end *end, const struct job *job, uint64_t first, uint64_t count)
{
	(job_copies(job) ? send_copied : send_in_place)(end, job, first, count);
	return 0;
}

static int receive(struct end *end, const struct job *job, uint64_t count, uint64_t *sum)
{
	*sum += (job_copies(job) ? receive_copied : receive_in_place)(end, job, count);
	return 0;
}

static int open_lanes(struct end *end, const struct job *job)
{
	lane_open(&lanes[SIDE_PRODUCER], end, job, SIDE_PRODUCER);
	lane_open(&lanes[SIDE_CONSUMER], end, job, SIDE_CONSUMER);
	return 0;
}

static int prepare(struct end *end, const struct job *job)
{
	unsigned flags = RING_F_SP_ENQ | RING_F_SC_DEQ, count = lane_elements(job, job->size);
	ssize_t bytes = rte_ring_get_memsize_elem((unsigned)job->size, count);
	int r;

	open_lanes(end, job);
	if (bytes < 0 || (size_t)bytes > LANE_BYTES)
		return -ENOTSUP;
	r = rte_ring_init(ring_of(SIDE_PRODUCER), "there", count, flags);
	return r ? r : rte_ring_init(ring_of(SIDE_CONSUMER), "back", count, flags);
}

static const struct transport rte = {
	.name = "rte-ring",
	.about = "DPDK's rte_ring, SPSC, spinning, zero-copy calls; spans are bursts of 32",
	.tests = BIT(TEST_THROUGHPUT) | BIT(TEST_ROUND_TRIP),
	.modes = BIT(MODE_EACH) | BIT(MODE_SPAN) | BIT(MODE_COPIED) | BIT(MODE_SPAN_COPIED),
	.waits = BIT(WAIT_SPIN),
	.size_least = 8,
	.size_most = 4 << 20,
	.prepare = prepare,
	.open = open_lanes,
	.send = send,
	.receive = receive,
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, &rte);
}
