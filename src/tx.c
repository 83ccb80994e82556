/* SPDX-License-Identifier: MIT */
/* The sending half: its ring or slots, and a doorbell where there is no room. */
#include "tx.h"

#include "attach.h"
#include "util/clock.h"

#include <stdlib.h>

/* A sender that never waits learns of its peer's end by looking after it now and then: of a ring, where
 * the cursor's limit sends it here; of slots, every so many calls. */
#define CALLS_UNSEEN 64

int rf__tx_check(const struct rf_tx *tx)
{
	if (!tx)
		return -EINVAL;
	return tx->publisher ? rf__publisher_check(tx->publisher) : rf__half_check(&tx->half);
}

/* That a subscriber has gone is no end for its publisher. */
bool rf__tx_is_gone(const struct rf_tx *tx)
{
	return !tx->publisher && rf__link_flags(&tx->half.channel->link) & RF__GONE;
}

static bool has_ended(const struct rf_tx *tx)
{
	return tx->slots ? tx->slots->ended : tx->ring.ended;
}

/* A breach of the ring is one of the channel. */
static int settle(struct rf_tx *tx, int r)
{
	if (r == -EPROTO)
		return rf__link_break(&tx->half.channel->link, tx->ring.breach);
	return r;
}

/* Few senders ever have more than one open: the list of those is made when it is needed. */
static int reserve_in_ring(
	struct rf_tx *tx, size_t len, struct rf_buffer *ret_buffers, unsigned max)
{
	struct rf__reservation *waiting;
	int r = rf__ring_tx_reserve(&tx->ring, len, ret_buffers, max);

	if (r != -ENOMEM)
		return r;
	waiting = malloc(RF_RESERVED_MAX * sizeof(*waiting));
	if (!waiting)
		return -ENOMEM;
	rf__ring_tx_lend(&tx->ring, waiting);
	return rf__ring_tx_reserve(&tx->ring, len, ret_buffers, max);
}

static int try_reserve(struct rf_tx *tx, size_t len, struct rf_buffer *ret_buffers, unsigned max)
{
	if (tx->publisher)
		return rf__publisher_reserve(tx->publisher, len, ret_buffers, max);
	return tx->slots ? rf__tx_slots_reserve(tx, len, ret_buffers, max)
			 : reserve_in_ring(tx, len, ret_buffers, max);
}

/* What is committed is published before a wait: it may be what the receiver waits for. */
static int wait_for_room(struct rf_tx *tx, struct rf__wait *wait, size_t len, uint64_t deadline_ns)
{
	if (tx->publisher)
		return rf__publisher_wait(tx->publisher, wait, deadline_ns);
	if (!tx->slots)
		return rf__bell_wait(&tx->half.bell, wait, len, deadline_ns);
	if (deadline_ns && rf__tx_publish(tx) == -EAGAIN)
		return rf__tx_nap(tx, wait, rf__later(rf__now(), RF__TX_RETRY_NS), deadline_ns);
	return rf__bell_wait(&tx->half.bell, wait, rf__tx_slots_need(tx), deadline_ns);
}

static void look_after_peer(struct rf_tx *tx)
{
	if (tx->publisher || (tx->slots && ++tx->calls % CALLS_UNSEEN))
		return;
	rf__bell_check_alive(&tx->half.bell, rf__now_coarse());
}

static int reserve(struct rf_tx *tx, size_t len, uint64_t deadline_ns,
	struct rf_buffer *ret_buffers, unsigned max)
{
	struct rf__wait wait = {0};
	int r = rf__tx_check(tx);

	if (r < 0)
		return r;
	look_after_peer(tx);
	while ((r = rf__tx_check(tx)) >= 0) {
		if (rf__tx_is_gone(tx))
			return -EPIPE;
		r = try_reserve(tx, len, ret_buffers, max);
		if (r != -EAGAIN) {
			if (wait.begun_ns)
				rf__bell_learn(&tx->half.bell, &wait, false);
			return settle(tx, r);
		}
		r = wait_for_room(tx, &wait, len, deadline_ns);
		if (r < 0)
			return r;
	}
	return r;
}

int rf_tx_reserve(struct rf_tx *tx, size_t len, uint64_t deadline_ns, struct rf_buffer *ret_buffer)
{
	struct rf__tx_cursor *at = (void *)tx;
	int n;

	if (RF__IS_OPEN(at) && rf__tx_cursor_reserve(at, len, ret_buffer))
		return 0;
	n = reserve(tx, len, deadline_ns, ret_buffer, 1);
	return n < 0 ? n : 0;
}

int rf_tx_reserve_span(struct rf_tx *tx, size_t len, uint64_t deadline_ns,
	struct rf_buffer *ret_buffers, unsigned max)
{
	return reserve(tx, len, deadline_ns, ret_buffers, max);
}

static int cancel(struct rf_tx *tx, uint64_t id)
{
	int r = tx->slots ? rf__slots_cancel(tx->slots, id) : rf__ring_tx_cancel(&tx->ring, id);

	if (r >= 0)
		rf__attached_drop(tx, id);
	return r;
}

/* A broken channel takes nothing any more: what was to be committed is not the caller's any more
 * either, or it would keep the memory of the channel for ever. */
static int drop(struct rf_tx *tx, const struct rf_buffer *buffers, unsigned n)
{
	unsigned i;

	tx->ring.ended = true;
	for (i = n; i; i--)
		cancel(tx, buffers[i - 1].id);
	return -EPROTO;
}

static int commit(struct rf_tx *tx, const struct rf_buffer *buffers, unsigned n, unsigned *ret_done)
{
	unsigned i;
	int r = 0;

	if (!tx->slots)
		return rf__ring_tx_commit_span(&tx->ring, buffers, n, ret_done);
	for (i = 0; i < n && r >= 0; i += r >= 0)
		r = rf__slots_commit(tx->slots, &buffers[i]);
	*ret_done = i;
	return r;
}

int rf_tx_commit_span(struct rf_tx *tx, const struct rf_buffer *buffers, unsigned n)
{
	uint64_t bytes = 0;
	unsigned done, i;
	int r = rf__tx_check(tx);

	if (r < 0)
		return r == -EPROTO ? drop(tx, buffers, n) : r;
	r = commit(tx, buffers, n, &done);
	for (i = 0; i < done; i++)
		bytes += buffers[i].len;
	rf__count(&tx->ring.at.records, done);
	rf__count(&tx->ring.at.bytes, bytes);
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
	if (tx->publisher) {
		r = rf__publisher_check(tx->publisher);
		return r < 0 ? r : cancel(tx, buffer->id);
	}
	if (!rf__generation_is_ours(&tx->half.channel->generation))
		return -EBADF;
	tx->ring.ended |= tx->half.channel->closed;
	r = cancel(tx, buffer->id);
	if (!r && tx->half.channel->closed && !rf__tx_open(tx))
		rf__channel_unlease(tx->half.channel);
	return r;
}

unsigned rf__tx_open(const struct rf_tx *tx)
{
	return tx->slots ? tx->slots->open : rf__ring_tx_open(&tx->ring);
}

static void publish_slots(struct rf_tx *tx)
{
	rf__slots_publish(tx->slots);
	__atomic_store_n(
		&tx->half.bell.stats.held, rf__slots_held(&tx->consumer), __ATOMIC_RELAXED);
}

int rf__tx_publish(struct rf_tx *tx)
{
	int r = tx->fds ? rf__attached_send(tx) : 0;

	if (!tx->slots)
		rf__ring_tx_publish_to(
			&tx->ring, r < 0 ? tx->ring.at.published : tx->ring.at.committed);
	else if (r >= 0)
		publish_slots(tx);
	rf__bell_kick_if_due(&tx->half.bell);
	return r;
}

int rf__tx_nap(struct rf_tx *tx, struct rf__wait *wait, uint64_t until_ns, uint64_t deadline_ns)
{
	uint64_t earlier = until_ns < deadline_ns ? until_ns : deadline_ns;
	size_t never = (size_t)(tx->ring.capacity + RF__DESCRIPTOR_BYTES); /* so much room */
	int r = rf__bell_wait(&tx->half.bell, wait, never, earlier);

	return r == -ETIMEDOUT && until_ns < deadline_ns ? 0 : r;
}

int rf_tx_publish(struct rf_tx *tx)
{
	int r = rf__tx_check(tx);

	if (r < 0)
		return r;
	if (has_ended(tx))
		return -EINVAL;
	if (tx->publisher) {
		rf__publisher_publish(tx->publisher);
		return 0;
	}
	r = rf__tx_publish(tx);
	return rf__tx_is_gone(tx) ? -EPIPE : r;
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
	int r = rf__tx_check(tx), i;

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

/* Open records would hold up those behind them; slots stay open until the end is certain. */
static int end_sets(struct rf_tx *tx)
{
	int r;

	if (!tx->slots) {
		rf__attached_drop_open(tx);
		rf__ring_tx_cancel_all(&tx->ring);
	}
	r = rf__attached_send(tx);
	if (r != -EAGAIN)
		rf__attached_drop_open(tx);
	return r;
}

size_t rf_tx_element_bytes(const struct rf_tx *tx)
{
	return tx && !tx->slots ? (size_t)tx->ring.at.unit : 0;
}

/* 0; -EAGAIN: what belongs to the rest cannot be sent now. */
static int end(struct rf_tx *tx)
{
	int r = tx->fds ? end_sets(tx) : 0;

	if (r == -EAGAIN)
		return r;
	rf__ring_tx_shut(&tx->ring);
	if (tx->slots)
		rf__slots_end(tx->slots);
	else
		rf__ring_tx_end(&tx->ring);
	rf__bell_kick_if_due(&tx->half.bell);
	return 0;
}

static void abandon(struct rf_tx *tx)
{
	rf__ring_tx_shut(&tx->ring);
	if (tx->slots)
		rf__slots_end(tx->slots);
	else
		rf__ring_tx_abandon(&tx->ring);
}

/* A peer that goes once it has seen the end has got everything: only one that went before counts. */
int rf_tx_end(struct rf_tx *tx)
{
	int r = rf__tx_check(tx);
	bool gone;

	if (r == -EPROTO)
		abandon(tx);
	if (r < 0)
		return r;
	gone = rf__tx_is_gone(tx);
	if (has_ended(tx))
		return gone ? -EPIPE : 0;
	if (tx->publisher)
		rf__publisher_end(tx->publisher);
	else
		r = end(tx);
	return gone ? -EPIPE : r;
}
