/* SPDX-License-Identifier: MIT */
/* The rings and slots of ringfort: every kind is a transport. */
#include "transport-ringfort.h"
#include "payload.h"

#include <errno.h>
#include <ringfort/ringfort.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SEC        UINT64_C(1000000000)
#define TAKE       256 /* messages that are borrowed at once */
#define SLOTS_MOST 65536
#define FRAME_MOST 12441600

struct ends {
	struct rf_listener *listener;
	struct rf_channel *channel;
	struct rf_tx *tx;
	struct rf_rx *rx;
	uint64_t kicks, sleeps; /* as far as they were counted */
};

static struct ends ends; /* one pair in a process */

static unsigned least(uint64_t n, unsigned most)
{
	return n < most ? (unsigned)n : most;
}

static uint64_t deadline(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * SEC + (uint64_t)now.tv_nsec + 5 * SEC;
}

/* Opening */

static void describe_slots(const struct job *job, struct rf_options *options)
{
	uint64_t slots = job->ring_bytes / ((job->size + 63) & ~UINT64_C(63));

	options->slot_bytes = job->size;
	options->slots = slots < SLOTS_MOST ? (uint32_t)slots : SLOTS_MOST;
}

static void describe(const struct job *job, enum rf_kind kind, struct rf_options *options)
{
	static const uint32_t waits[] = {RF_WAIT_SPIN, RF_WAIT_ADAPTIVE, RF_WAIT_SLEEP};

	rf_options_init(options);
	options->kind = kind;
	options->wait = waits[job->wait];
	options->direction = job->test == TEST_ROUND_TRIP ? RF_SEND | RF_RECEIVE : RF_SEND;
	options->max_ring_bytes = UINT64_C(1) << 30;
	options->flags = RF_OPTION_POPULATE;
	if (kind == RF_SLOTS)
		describe_slots(job, options);
	else
		options->ring_bytes = job->ring_bytes;
	if (kind == RF_ELEMENTS) {
		options->element_bytes = job->size;
		options->type = "message";
	}
}

static const char *address(const struct end *end, char *path, size_t size)
{
	snprintf(path, size, "%s/ringfort", end->dir);
	return path;
}

static int failed(struct end *end, int r)
{
	if (r < 0)
		snprintf(end->why, WHY_BYTES, "%s", rf_reason());
	return r;
}

static int prepare(struct end *end, const struct job *job, enum rf_kind kind, uint32_t doorbell,
	uint32_t flags)
{
	struct rf_options options;
	char path[128];

	describe(job, kind, &options);
	options.doorbell = doorbell;
	options.flags |= flags;
	if (options.direction == RF_SEND)
		options.direction = RF_RECEIVE;
	return failed(end, rf_listen(address(end, path, sizeof(path)), &options, &ends.listener));
}

static int open_channel(struct end *end, const struct job *job, enum rf_kind kind,
	uint32_t doorbell, uint32_t flags)
{
	struct rf_options options;
	char path[128];
	int r;

	describe(job, kind, &options);
	options.doorbell = doorbell;
	options.flags |= flags;
	if (end->side == SIDE_CONSUMER)
		r = rf_accept(ends.listener, deadline(), &ends.channel);
	else
		r = rf_connect(
			address(end, path, sizeof(path)), &options, deadline(), &ends.channel);
	if (r < 0)
		return failed(end, r);
	ends.tx = rf_channel_tx(ends.channel);
	ends.rx = rf_channel_rx(ends.channel);
	ends.kicks = ends.sleeps = 0;
	return 0;
}

static void close_channel(struct end *end)
{
	char path[128], lock[136];

	rf_channel_close(ends.channel);
	rf_listener_close(ends.listener);
	memset(&ends, 0, sizeof(ends));
	snprintf(lock, sizeof(lock), "%s.lock", address(end, path, sizeof(path)));
	if (end->side == SIDE_CONSUMER)
		unlink(lock);
}

/* What the library counted since the last time. A sleep is a wait in epoll and a look at what came;
 * a kick is one call at this end, and one at the other, which takes it away. */
static void count(struct end *end)
{
	struct rf_stats stats = {.size = sizeof(stats)};
	uint64_t kicks, sleeps;

	if (!ends.channel)
		return;
	rf_channel_stats(ends.channel, &stats);
	kicks = stats.tx.kicks + stats.rx.kicks;
	sleeps = stats.tx.sleeps + stats.rx.sleeps;
	end->counters.kicks += kicks - ends.kicks;
	end->counters.syscalls += 2 * (kicks - ends.kicks) + sleeps - ends.sleeps;
	ends.kicks = kicks;
	ends.sleeps = sleeps;
}

/* Sending */

static int send_each(const struct job *job, uint64_t s, uint64_t n, unsigned at_once)
{
	struct rf_tx *tx = ends.tx;
	struct rf_buffer buffer;
	uint64_t end = s + n;
	unsigned committed = 0;
	size_t size = job->size;
	int r = 0;

	while (s < end && r >= 0) {
		r = rf_tx_reserve(tx, size, RF_FOREVER, &buffer);
		if (r < 0)
			break;
		payload_fill(buffer.data, size, s++);
		r = rf_tx_commit(tx, &buffer);
		if (r < 0 || (++committed < at_once && s < end))
			continue;
		r = rf_tx_publish(tx);
		committed = 0;
	}
	return r;
}

static int send_spans(const struct job *job, uint64_t s, uint64_t n)
{
	struct rf_buffer buffers[MESSAGES_AT_ONCE];
	uint64_t end = s + n;
	int got, r = 0;

	while (s < end && r >= 0) {
		got = rf_tx_reserve_span(
			ends.tx, job->size, RF_FOREVER, buffers, least(end - s, MESSAGES_AT_ONCE));
		if (got < 0)
			return got;
		for (int i = 0; i < got; i++)
			payload_fill(buffers[i].data, job->size, s++);
		r = rf_tx_commit_span(ends.tx, buffers, (unsigned)got);
		if (r >= 0)
			r = rf_tx_publish(ends.tx);
	}
	return r;
}

static int send_spans_copied(struct end *end, const struct job *job, uint64_t first, uint64_t n)
{
	struct rf_buffer buffers[MESSAGES_AT_ONCE];
	struct source source;
	int got, r = 0;

	source_begin(&source, end->buffer, job->size, first, n);
	while (n && r >= 0) {
		got = rf_tx_reserve_span(
			ends.tx, job->size, RF_FOREVER, buffers, least(n, MESSAGES_AT_ONCE));
		if (got < 0)
			return got;
		for (int i = 0; i < got; i++)
			memcpy(buffers[i].data, source_next(&source), job->size);
		n -= (unsigned)got;
		r = rf_tx_commit_span(ends.tx, buffers, (unsigned)got);
		if (r >= 0)
			r = rf_tx_publish(ends.tx);
	}
	return r;
}

static int send_copied(struct end *end, const struct job *job, uint64_t first, uint64_t n)
{
	struct source source;
	struct iovec part = {.iov_len = job->size};
	int r = 0;

	source_begin(&source, end->buffer, job->size, first, n);
	while (n-- && r >= 0) {
		memcpy(&part.iov_base, &(const void *){source_next(&source)}, sizeof(void *));
		r = rf_tx_send(ends.tx, &part, 1, RF_FOREVER);
	}
	return r;
}

/* A view: many elements are one reservation. */
static int send_elements(const struct job *job, uint64_t s, uint64_t n)
{
	uint64_t most = job->ring_bytes / 4 / job->size, end = s + n, now;
	struct rf_buffer buffer;
	int r = 0;

	most = most > MESSAGES_AT_ONCE ? MESSAGES_AT_ONCE : most ? most : 1;
	while (s < end && r >= 0) {
		now = end - s < most ? end - s : most;
		r = rf_tx_reserve(ends.tx, now * job->size, RF_FOREVER, &buffer);
		for (uint64_t i = 0; r >= 0 && i < now; i++)
			payload_fill((char *)buffer.data + i * job->size, job->size, s++);
		if (r >= 0)
			r = rf_tx_commit(ends.tx, &buffer);
		if (r >= 0)
			r = rf_tx_publish(ends.tx);
	}
	return r;
}

static int send_messages(struct end *end, const struct job *job, uint64_t first, uint64_t n)
{
	if (job->mode == MODE_SPAN)
		return rf_tx_element_bytes(ends.tx) ? send_elements(job, first, n)
						    : send_spans(job, first, n);
	if (job->mode == MODE_SPAN_COPIED)
		return send_spans_copied(end, job, first, n);
	if (job->mode == MODE_COPIED)
		return send_copied(end, job, first, n);
	return send_each(job, first, n, job->mode == MODE_BATCH ? MESSAGES_AT_ONCE : 1);
}

/* Receiving */

static const void *taken_out(const struct end *end, const struct job *job, const void *from)
{
	return job->mode == MODE_SPAN_COPIED ? memcpy(end->buffer, from, job->size) : from;
}

/* What is borrowed is one message, or, of a view, several without anything between them. */
static uint64_t add_up(const struct end *end, const struct job *job,
	const struct rf_message *message, uint64_t *sum)
{
	const unsigned char *at = message->data, *behind = at + message->len;
	uint64_t n = 0;

	for (; at < behind; at += job->size, n++)
		*sum += payload_sum(taken_out(end, job, at), job->size);
	return n;
}

static int receive_borrowed(struct end *end, const struct job *job, uint64_t n, uint64_t *sum)
{
	struct rf_message messages[TAKE];
	int many = job->mode == MODE_SPAN || job->mode == MODE_SPAN_COPIED, got, r;
	uint64_t done = 0;

	while (done < n) {
		got = rf_rx_borrow(ends.rx, RF_FOREVER, messages, many ? least(n - done, TAKE) : 1);
		if (got <= 0)
			return got ? got : -EPIPE;
		for (int i = 0; i < got; i++)
			done += add_up(end, job, &messages[i], sum);
		r = rf_rx_release(ends.rx, messages, (unsigned)got);
		if (r < 0)
			return r;
	}
	return done == n ? 0 : -EBADMSG;
}

static int receive_copied(struct end *end, const struct job *job, uint64_t n, uint64_t *sum)
{
	struct rf_message message;
	size_t have;
	int r;

	for (; n--; *sum += payload_sum(end->buffer, job->size)) {
		for (have = 0; have < job->size; have += message.len) {
			r = rf_rx_copy(ends.rx, RF_FOREVER, end->buffer + have, job->size - have,
				&message);
			if (r <= 0)
				return r ? r : -EPIPE;
		}
	}
	return 0;
}

static int receive_messages(struct end *end, const struct job *job, uint64_t n, uint64_t *sum)
{
	return job->mode == MODE_COPIED ? receive_copied(end, job, n, sum)
					: receive_borrowed(end, job, n, sum);
}

/* The transports. A function for each kind, as there is nothing to tell them apart by. */

#define KIND(symbol, kind, doorbell, flags)                                                        \
	static int symbol##_prepare(struct end *end, const struct job *job)                        \
	{                                                                                          \
		return prepare(end, job, kind, doorbell, flags);                                   \
	}                                                                                          \
	static int symbol##_open(struct end *end, const struct job *job)                           \
	{                                                                                          \
		return open_channel(end, job, kind, doorbell, flags);                              \
	}

KIND(records, RF_BYTES, RF_DOORBELL_AUTO, 0)
KIND(slots, RF_SLOTS, RF_DOORBELL_AUTO, 0)
KIND(elements, RF_ELEMENTS, RF_DOORBELL_AUTO, 0)
KIND(stream, RF_STREAM, RF_DOORBELL_AUTO, 0)
KIND(socket_bell, RF_BYTES, RF_DOORBELL_SOCKET, 0)
KIND(fence, RF_BYTES, RF_DOORBELL_AUTO, RF_OPTION_FENCE)
KIND(fence_elements, RF_ELEMENTS, RF_DOORBELL_AUTO, RF_OPTION_FENCE)

#define OURS     TRANSPORT_SUBJECT | TRANSPORT_COUNTS_CALLS | TRANSPORT_COUNTS_KICKS
#define ANY_WAIT (BIT(WAIT_SPIN) | BIT(WAIT_ADAPTIVE) | BIT(WAIT_SLEEP))
#define CALLS(symbol)                                                                              \
	.prepare = symbol##_prepare, .open = symbol##_open, .send = send_messages,                 \
	.receive = receive_messages, .close = close_channel, .count = count

const struct transport transport_ringfort = {
	.name = "ringfort",
	.about = "records of any length in a ring",
	.flags = OURS,
	.tests = BIT(TEST_THROUGHPUT) | BIT(TEST_ROUND_TRIP) | BIT(TEST_FRAMES),
	.modes = BIT(MODES) - 1,
	.waits = ANY_WAIT,
	.size_least = 8,
	.size_most = FRAME_MOST,
	CALLS(records),
};

const struct transport transport_ringfort_fence = {
	.name = "ringfort-fence",
	.about = "records; who sleeps pays for the barrier (RF_OPTION_FENCE)",
	.flags = OURS,
	.tests = BIT(TEST_THROUGHPUT) | BIT(TEST_ROUND_TRIP),
	.modes = BIT(MODE_EACH) | BIT(MODE_SPAN),
	.waits = ANY_WAIT,
	.size_least = 8,
	.size_most = 1 << 20,
	CALLS(fence),
};

const struct transport transport_ringfort_fence_elements = {
	.name = "ringfort-fence-elements",
	.about = "elements; who sleeps pays for the barrier (RF_OPTION_FENCE)",
	.flags = OURS,
	.tests = BIT(TEST_THROUGHPUT),
	.modes = BIT(MODE_EACH),
	.waits = ANY_WAIT,
	.size_least = 8,
	.size_most = 1 << 20,
	CALLS(fence_elements),
};

const struct transport transport_ringfort_slots = {
	.name = "ringfort-slots",
	.about = "slots as large as the messages, given back in order",
	.flags = OURS,
	.tests = BIT(TEST_THROUGHPUT) | BIT(TEST_ROUND_TRIP) | BIT(TEST_FRAMES),
	.modes = BIT(MODE_EACH) | BIT(MODE_SPAN) | BIT(MODE_COPIED),
	.waits = ANY_WAIT,
	.size_least = 8,
	.size_most = FRAME_MOST,
	CALLS(slots),
};

const struct transport transport_ringfort_elements = {
	.name = "ringfort-elements",
	.about = "elements of the size of the messages, without headers; a receiver takes all "
		 "there are",
	.flags = OURS,
	.tests = BIT(TEST_THROUGHPUT) | BIT(TEST_ROUND_TRIP),
	.modes = BIT(MODE_EACH) | BIT(MODE_SPAN),
	.waits = ANY_WAIT,
	.size_least = 8,
	.size_most = 1 << 20,
	CALLS(elements),
};

const struct transport transport_ringfort_stream = {
	.name = "ringfort-stream",
	.about = "bytes without boundaries, taken in pieces of the size of the messages",
	.flags = OURS,
	.tests = BIT(TEST_THROUGHPUT),
	.modes = BIT(MODE_COPIED),
	.waits = ANY_WAIT,
	.size_least = 8,
	.size_most = 4 << 20,
	CALLS(stream),
};

const struct transport transport_ringfort_socket_bell = {
	.name = "ringfort-socket-bell",
	.about = "records; sleepers are woken through the socket, as with a peer that is not "
		 "trusted",
	.flags = OURS,
	.tests = BIT(TEST_ROUND_TRIP),
	.modes = BIT(MODE_EACH),
	.waits = BIT(WAIT_SLEEP),
	.size_least = 8,
	.size_most = 4 << 20,
	CALLS(socket_bell),
};
