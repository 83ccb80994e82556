/* SPDX-License-Identifier: MIT */
/* Sending halves with slots: the channel's own, with one consumer; a subscriber's part in those of its
 * publisher. */
#include "publisher.h"
#include "tx.h"

#include <stdlib.h>

/* A channel's slots in one piece of memory. */
static struct rf__slots *make_slots(const struct rf__terms *terms, unsigned char *base)
{
	struct rf__slots *slots = calloc(1, sizeof(*slots) + rf__slots_memory(terms->slots));

	if (slots)
		rf__slots_init(slots, slots + 1, base, terms->slots, rf__terms_stride(terms),
			terms->slot_bytes);
	return slots;
}

static int start_slots(struct rf_tx *tx, const struct rf__terms *terms)
{
	struct rf__slot_consumer *consumer = &tx->consumer;

	consumer->lent = calloc(1, rf__slots_bitmap_bytes(terms->slots));
	if (!consumer->lent)
		return -ENOMEM;
	consumer->ring = &tx->ring;
	consumer->returns = (const void *)(tx->half.peer.base + rf__page_bytes());
	consumer->hold = terms->hold;
	consumer->blocks = !terms->lag || terms->lag == RF_LAG_BLOCK;
	consumer->latest = terms->lag == RF_LAG_LATEST;
	consumer->context = tx->half.channel;
	if (tx->half.channel->publisher)
		return 0;
	tx->slots = make_slots(terms, tx->half.slots[0].base);
	if (!tx->slots)
		return -ENOMEM;
	rf__slots_join(tx->slots, consumer);
	return 0;
}

/* Descriptors are sent before what they belong to is published: a call. */
static void open_cursor(struct rf_tx *tx)
{
	const struct rf__generation *generation = &tx->half.channel->generation;

	if (tx->fd_terms.kinds)
		return;
	tx->ring.at.generation = generation->word;
	tx->ring.at.ours = generation->number;
}

int rf__tx_start(struct rf_tx *tx, const struct rf__terms *terms, enum rf__way way)
{
	struct rf__half *half = &tx->half;

	rf__ring_tx_init(&tx->ring, (void *)half->own.base, (const void *)half->peer.base,
		half->own.base + rf__page_bytes(), half->own.area_bytes);
	tx->ring.at.unit = rf__terms_unit(terms);
	tx->ring.at.asymmetric = terms->fence == RF__FENCE_ASYMMETRIC;
	tx->fd_terms = terms->fds[way];
	if (terms->kind != RF_SLOTS) {
		open_cursor(tx);
		return 0;
	}
	tx->ring.capacity = terms->hold * RF__DESCRIPTOR_BYTES;
	rf__half_note_slots(half, terms);
	return start_slots(tx, terms);
}

void rf__tx_slots_free(struct rf_tx *tx)
{
	free(tx->consumer.lent);
	if (!tx->half.channel->publisher)
		free(tx->slots);
}

/* Somebody is in the way, or no slot is idle: -EAGAIN; of what can never be: -EMSGSIZE; -EINVAL: as many
 * are open or committed as it may hold, or as there are, or the stream has ended. */
static int why_not(struct rf__slots *slots, size_t len)
{
	const struct rf__slot_consumer *blocker = rf__slots_blocker(slots);
	uint32_t most = blocker ? blocker->hold : slots->count;

	if (slots->ended || rf__slots_pending(slots) >= most)
		return -EINVAL;
	return len <= slots->slot_bytes ? -EAGAIN : -EMSGSIZE;
}

int rf__tx_slots_reserve(struct rf_tx *tx, size_t len, struct rf_buffer *ret_buffers, unsigned max)
{
	uint32_t n = max ? rf__slots_room(tx->slots, max) : 0;
	int r = max ? -EAGAIN : -EINVAL;

	if (tx->ring.breach)
		return -EPROTO;
	if (n)
		r = rf__slots_reserve_span(tx->slots, len, ret_buffers, n);
	return r == -EAGAIN ? why_not(tx->slots, len) : r;
}

size_t rf__tx_slots_need(const struct rf_tx *tx)
{
	return (size_t)((rf__slots_pending(tx->slots) + 1) * RF__DESCRIPTOR_BYTES);
}
