/* SPDX-License-Identifier: MIT */
/* The sending half: its ring, and a doorbell where the ring is full. */
#include "channel.h"
#include "util/clock.h"

/* A sender that never waits learns of its peer's end by looking after it every so many bytes. */
#define CREDIT_BYTES 4096
#define CALL_BYTES   64

static int check(const struct rf_tx *tx)
{
	return tx ? rf__half_check(&tx->half) : -EINVAL;
}

static bool is_gone(const struct rf_tx *tx)
{
	return rf__link_flags(&tx->half.channel->link) & RF__GONE;
}

/* A breach of the ring is one of the channel. */
static int settle(struct rf_tx *tx, int r)
{
	if (r == -EPROTO)
		return rf__link_break(&tx->half.channel->link, tx->ring.breach);
	return r;
}

static int reserve(struct rf_tx *tx, size_t len, uint64_t deadline_ns,
	struct rf_buffer *ret_buffers, unsigned max)
{
	struct rf__wait wait = {0};
	int r;

	while ((r = check(tx)) >= 0) {
		if (is_gone(tx))
			return -EPIPE;
		r = rf__ring_tx_reserve(&tx->ring, len, ret_buffers, max);
		if (r != -EAGAIN) {
			if (wait.begun_ns)
				rf__bell_learn(&tx->half.bell, &wait);
			return settle(tx, r);
		}
		r = rf__bell_wait(&tx->half.bell, &wait, len, deadline_ns);
		if (r < 0)
			return r;
	}
	return r;
}

int rf_tx_reserve(struct rf_tx *tx, size_t len, uint64_t deadline_ns, struct rf_buffer *ret_buffer)
{
	int n = reserve(tx, len, deadline_ns, ret_buffer, 1);

	return n < 0 ? n : 0;
}

int rf_tx_reserve_span(struct rf_tx *tx, size_t len, uint64_t deadline_ns,
	struct rf_buffer *ret_buffers, unsigned max)
{
	return reserve(tx, len, deadline_ns, ret_buffers, max);
}

/* A broken channel takes nothing any more: what was to be committed is not the caller's any more
 * either, or it would keep the memory of the channel for ever. */
static int drop(struct rf_tx *tx, const struct rf_buffer *buffers, unsigned n)
{
	unsigned i;

	tx->ring.ended = true;
	for (i = n; i; i--)
		rf__ring_tx_cancel(&tx->ring, buffers[i - 1].id);
	return -EPROTO;
}

int rf_tx_commit_span(struct rf_tx *tx, const struct rf_buffer *buffers, unsigned n)
{
	uint64_t bytes = 0;
	unsigned i;
	int r = check(tx);

	if (r < 0)
		return r == -EPROTO ? drop(tx, buffers, n) : r;
	for (i = 0; i < n && r >= 0; i++) {
		r = rf__ring_tx_commit(&tx->ring, buffers[i].id, buffers[i].len, buffers[i].tag);
		if (r >= 0)
			bytes += buffers[i].len;
	}
	rf__count(&tx->half.bell.stats.records, r < 0 ? i - 1 : i);
	rf__count(&tx->half.bell.stats.bytes, bytes);
	return r;
}

int rf_tx_commit(struct rf_tx *tx, const struct rf_buffer *buffer)
{
	return rf_tx_commit_span(tx, buffer, 1);
}

int rf_tx_cancel(struct rf_tx *tx, const struct rf_buffer *buffer)
{
	int r;

	if (!tx)
		return -EINVAL;
	if (!rf__generation_is_ours(&tx->half.channel->generation))
		return -EBADF;
	tx->ring.ended |= tx->half.channel->closed;
	r = rf__ring_tx_cancel(&tx->ring, buffer->id);
	if (!r && tx->half.channel->closed && !rf__ring_tx_open(&tx->ring))
		rf__channel_unlease(tx->half.channel);
	return r;
}

static void look_after_peer(struct rf_tx *tx, uint64_t published)
{
	tx->credit -= (int64_t)published + CALL_BYTES;
	if (tx->credit < 0) {
		tx->credit = CREDIT_BYTES;
		rf__bell_check_alive(&tx->half.bell, rf__now_coarse());
	}
}

int rf_tx_publish(struct rf_tx *tx)
{
	uint64_t before;
	int r = check(tx);

	if (r < 0)
		return r;
	if (tx->ring.ended)
		return -EINVAL;
	before = tx->ring.published;
	rf__ring_tx_publish(&tx->ring);
	rf__bell_kick_if_due(&tx->half.bell);
	look_after_peer(tx, tx->ring.published - before);
	return is_gone(tx) ? -EPIPE : 0;
}

/* The sum of n parts; false when they are not valid or do not fit a size. */
static bool gather_len(const struct iovec *iov, int n, size_t *ret_len)
{
	size_t len = 0;
	int i;

	if (n < 0)
		return false;
	for (i = 0; i < n; i++)
		if (__builtin_add_overflow(len, iov[i].iov_len, &len))
			return false;
	*ret_len = len;
	return true;
}

int rf_tx_send(struct rf_tx *tx, const struct iovec *iov, int n, uint64_t deadline_ns)
{
	struct rf_buffer buffer;
	unsigned char *to;
	size_t len;
	int r = check(tx), i;

	if (r < 0)
		return r;
	if (!gather_len(iov, n, &len))
		return -EINVAL;
	r = rf_tx_reserve(tx, len, deadline_ns, &buffer);
	if (r < 0)
		return r;
	for (i = 0, to = buffer.data; i < n; to += iov[i++].iov_len)
		rf__copy_in(to, iov[i].iov_base, iov[i].iov_len);
	rf__count(&tx->half.bell.stats.bytes_copied, len);
	r = rf_tx_commit(tx, &buffer);
	return r < 0 ? r : rf_tx_publish(tx);
}

size_t rf_tx_element_bytes(const struct rf_tx *tx)
{
	return tx ? (size_t)tx->ring.unit : 0;
}

/* A peer that goes once it has seen the end has got everything: only one that went before counts. */
int rf_tx_end(struct rf_tx *tx)
{
	int r = check(tx);
	bool gone;

	if (r == -EPROTO)
		rf__ring_tx_abandon(&tx->ring);
	if (r < 0)
		return r;
	gone = is_gone(tx);
	if (!tx->ring.ended) {
		rf__ring_tx_end(&tx->ring);
		rf__bell_kick_if_due(&tx->half.bell);
	}
	return gone ? -EPIPE : 0;
}
