/* SPDX-License-Identifier: MIT */
#include "payload.h"
#include "transport.h"

#include <errno.h>

/* Messages up to SMALL are made so many ahead before they are copied: what has just been stored in
 * pieces of one size is slow to load in pieces of another. */
#define AHEAD 32
#define SMALL 4096

static unsigned least(uint64_t n, unsigned most)
{
	return n < most ? (unsigned)n : most;
}

static int send_each(struct rf_tx *tx, const struct job *job)
{
	struct rf_buffer buffer;
	int r = 0;

	for (uint64_t s = 0; s < job->count && r >= 0; s++) {
		r = rf_tx_reserve(tx, job->size, RF_FOREVER, &buffer);
		if (r < 0)
			break;
		payload_fill(buffer.data, job->size, s);
		r = rf_tx_commit(tx, &buffer);
		if (r >= 0)
			r = rf_tx_publish(tx);
	}
	return r;
}

static int send_spans(struct rf_tx *tx, const struct job *job)
{
	struct rf_buffer buffers[SPAN_SEND];
	uint64_t s = 0;
	int n, r;

	while (s < job->count) {
		n = rf_tx_reserve_span(
			tx, job->size, RF_FOREVER, buffers, least(job->count - s, SPAN_SEND));
		if (n < 0)
			return n;
		for (int i = 0; i < n; i++)
			payload_fill(buffers[i].data, job->size, s++);
		r = rf_tx_commit_span(tx, buffers, (unsigned)n);
		if (r >= 0)
			r = rf_tx_publish(tx);
		if (r < 0)
			return r;
	}
	return 0;
}

static int send_copied(struct rf_tx *tx, const struct job *job, unsigned char *buffer)
{
	unsigned ahead = job->size <= SMALL ? AHEAD : 0, mask = ahead ? 2 * AHEAD - 1 : 0;
	struct iovec part = {.iov_len = job->size};
	int r = 0;

	for (uint64_t s = 0; s < ahead; s++)
		payload_fill(buffer + s * job->size, job->size, s);
	for (uint64_t s = 0; s < job->count && r >= 0; s++) {
		payload_fill(buffer + ((s + ahead) & mask) * job->size, job->size, s + ahead);
		part.iov_base = buffer + (s & mask) * job->size;
		r = rf_tx_send(tx, &part, 1, RF_FOREVER);
	}
	return r;
}

static int ring_send(struct end *end, const struct job *job)
{
	struct rf_tx *tx = rf_channel_tx(end->channel);

	if (job->mode == SPAN)
		return send_spans(tx, job);
	return job->mode == COPIED ? send_copied(tx, job, end->buffer) : send_each(tx, job);
}

static int receive_borrowed(struct rf_rx *rx, const struct job *job, uint64_t *ret_sum)
{
	struct rf_message messages[SPAN_RECEIVE];
	unsigned most = job->mode == SPAN ? SPAN_RECEIVE : 1;
	uint64_t done = 0, sum = 0;
	int n, r;

	while (done < job->count) {
		n = rf_rx_borrow(rx, RF_FOREVER, messages, most);
		if (n <= 0)
			return n ? n : -EPIPE;
		for (int i = 0; i < n; i++)
			sum += payload_sum(messages[i].data, messages[i].len);
		r = rf_rx_release(rx, messages, (unsigned)n);
		if (r < 0)
			return r;
		done += (unsigned)n;
	}
	*ret_sum = sum;
	return 0;
}

static int receive_copied(
	struct rf_rx *rx, const struct job *job, unsigned char *buffer, uint64_t *ret_sum)
{
	struct rf_message message;
	uint64_t sum = 0;
	int n;

	for (uint64_t done = 0; done < job->count; done++) {
		n = rf_rx_copy(rx, RF_FOREVER, buffer, job->size, &message);
		if (n <= 0)
			return n ? n : -EPIPE;
		sum += payload_sum(message.data, message.len);
	}
	*ret_sum = sum;
	return 0;
}

static int ring_receive(struct end *end, const struct job *job, uint64_t *ret_sum)
{
	struct rf_rx *rx = rf_channel_rx(end->channel);

	return job->mode == COPIED ? receive_copied(rx, job, end->buffer, ret_sum)
				   : receive_borrowed(rx, job, ret_sum);
}

const struct transport transport_ring = {ring_send, ring_receive};
