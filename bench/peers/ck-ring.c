/* SPDX-License-Identifier: MIT */
/* ck_ring of Concurrency Kit. Elements of a type of their own size are copied; in place, the ring
 * carries pointers. */
#include "lanes.h"

#include <ck_ring.h>

static struct lane lanes[2]; /* by sender */

static ck_ring_t *ring_of(enum side sender)
{
	return lanes[sender].control;
}

/* Where messages are not elements, pointers are. */
static void *pointers_of(enum side sender)
{
	return (unsigned char *)lanes[sender].control + sizeof(ck_ring_t) + LINE;
}

typedef void send_function(enum side sender, struct source *source, uint64_t count);
typedef uint64_t receive_function(enum side sender, void *buffer, uint64_t count);

#define ELEMENT(n)                                                                                 \
	struct message_##n {                                                                       \
		uint32_t words[(n) / 4];                                                           \
	};                                                                                         \
	CK_RING_PROTOTYPE(of_##n, message_##n)                                                     \
	static void send_##n(enum side sender, struct source *source, uint64_t count)              \
	{                                                                                          \
		struct message_##n *elements = lanes[sender].data;                                 \
		const void *message;                                                               \
                                                                                                   \
		while (count--) {                                                                  \
			message = source_next(source);                                             \
			while (!CK_RING_ENQUEUE_SPSC(                                              \
				of_##n, ring_of(sender), elements, (struct message_##n *)message)) \
				lane_pause();                                                      \
		}                                                                                  \
	}                                                                                          \
	static uint64_t receive_##n(enum side sender, void *buffer, uint64_t count)                \
	{                                                                                          \
		struct message_##n *elements = lanes[sender].data;                                 \
		uint64_t sum = 0;                                                                  \
                                                                                                   \
		while (count--) {                                                                  \
			while (!CK_RING_DEQUEUE_SPSC(                                              \
				of_##n, ring_of(sender), elements, (struct message_##n *)buffer))  \
				lane_pause();                                                      \
			sum += payload_sum(buffer, n);                                             \
		}                                                                                  \
		return sum;                                                                        \
	}

ELEMENT_SIZES(ELEMENT)

#define ROW(n) {n, send_##n, receive_##n},

static const struct element {
	size_t size;
	send_function *send;
	receive_function *receive;
} elements[] = {ELEMENT_SIZES(ROW)};

/* NULL: messages are not elements. */
static const struct element *element_for(const struct job *job)
{
	for (size_t i = 0; i < sizeof(elements) / sizeof(*elements); i++)
		if (job->mode == MODE_COPIED && elements[i].size == job->size)
			return &elements[i];
	return NULL;
}

static void send_slots(struct end *end, const struct job *job, uint64_t first, uint64_t count)
{
	ck_ring_buffer_t *pointers = pointers_of(end->side);
	struct source source = {.memory = NULL};
	void *slot;

	if (job->mode == MODE_COPIED)
		source_begin(&source, end->buffer, job->size, first, count);
	for (uint64_t s = first; s < first + count; s++) {
		slot = lane_slot(&lanes[end->side]);
		slot_write(slot, job, &source, s);
		while (!ck_ring_enqueue_spsc(ring_of(end->side), pointers, slot))
			lane_pause();
	}
}

static uint64_t receive_slots(struct end *end, const struct job *job, uint64_t count)
{
	enum side sender = other_side(end);
	uint64_t sum = 0;
	void *slot;

	while (count--) {
		while (!ck_ring_dequeue_spsc(ring_of(sender), pointers_of(sender), &slot))
			lane_pause();
		sum += slot_read(slot, job, end->buffer);
	}
	return sum;
}

static int send(struct end *end, const struct job *job, uint64_t first, uint64_t count)
{
	const struct element *element = element_for(job);
	struct source source;

	if (!element) {
		send_slots(end, job, first, count);
		return 0;
	}
	source_begin(&source, end->buffer, job->size, first, count);
	element->send(end->side, &source, count);
	return 0;
}

static int receive(struct end *end, const struct job *job, uint64_t count, uint64_t *sum)
{
	enum side sender = other_side(end);
	const struct element *element = element_for(job);

	*sum += element ? element->receive(sender, end->buffer, count)
			: receive_slots(end, job, count);
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
	unsigned size = element_for(job) ? lane_elements(job, job->size) : lane_places(job);

	open_lanes(end, job);
	ck_ring_init(ring_of(SIDE_PRODUCER), size);
	ck_ring_init(ring_of(SIDE_CONSUMER), size);
	return 0;
}

static const struct transport ck = {
	.name = "ck-ring",
	.about = "Concurrency Kit's ck_ring, SPSC, spinning; in place: pointers to slots",
	.tests = BIT(TEST_THROUGHPUT) | BIT(TEST_ROUND_TRIP),
	.modes = BIT(MODE_EACH) | BIT(MODE_COPIED),
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
	return harness_main(argc, argv, &ck);
}
