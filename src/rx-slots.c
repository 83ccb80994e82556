/* SPDX-License-Identifier: MIT */
/* Receiving halves with slots. */
#include "rx.h"

#include "attach.h"
#include "util/fd.h"

#include <stdlib.h>

static int start_slots(struct rf_rx *rx, const struct rf__terms *terms)
{
	struct rf__slots_rx *slots;

	slots = calloc(1, sizeof(*slots) + rf__slots_bitmap_bytes(terms->slots));
	if (!slots)
		return -ENOMEM;
	*slots = (struct rf__slots_rx){
		.ring = &rx->ring,
		.returns = (void *)(rx->half.own.base + rf__page_bytes()),
		.base = {rx->half.slots[0].base},
		.held = (void *)(slots + 1),
		.stride = rf__terms_stride(terms),
		.slot_bytes = terms->slot_bytes,
		.count = terms->slots,
		.latest = terms->lag == RF_LAG_LATEST,
		.never_cut = terms->lag != RF_LAG_BLOCK && terms->lag != RF_LAG_DISCONNECT,
	};
	rx->slots = slots;
	return 0;
}

static void open_cursor(struct rf_rx *rx)
{
	const struct rf__generation *generation = &rx->half.channel->generation;

	rx->ring.at.generation = generation->word;
	rx->ring.at.ours = generation->number;
}

int rf__rx_start(struct rf_rx *rx, const struct rf__terms *terms, enum rf__way way)
{
	struct rf__half *half = &rx->half;

	rf__ring_rx_init(&rx->ring, (void *)half->own.base, (const void *)half->peer.base,
		half->peer.base + rf__page_bytes(), half->peer.area_bytes);
	rx->ring.unit = rf__terms_unit(terms);
	rx->ring.asymmetric = terms->fence == RF__FENCE_ASYMMETRIC;
	/* whoever gives a record back also gives its descriptors back: a call */
	if (terms->kind == RF_BYTES && !terms->fds[way].kinds)
		open_cursor(rx);
	if (terms->kind != RF_SLOTS)
		return 0;
	rx->ring.at.capacity = terms->hold * RF__DESCRIPTOR_BYTES;
	rf__half_note_slots(half, terms);
	return start_slots(rx, terms);
}

void rf__rx_slots_free(struct rf_rx *rx)
{
	free(rx->slots);
}

static int map_new(struct rf_rx *rx, struct rf__region *region, int fd)
{
	int r;

	*region = (struct rf__region){.fd = fd,
		.shape = RF__FLAT_SHAPE,
		.area_bytes = rf__terms_slots_bytes(&rx->half.channel->terms)};
	r = rf__region_verify(region, RF__SEALS_FINAL, NULL);
	if (r >= 0)
		r = rf__region_map(region, RF__READ_ONLY, NULL);
	if (r >= 0)
		r = rf__region_settle(region, RF__READ_ONLY, rx->half.channel->map_flags, NULL);
	rf__region_close(region);
	return r;
}

/* The publisher has moved on to new memory, and sent it before it lent a slot of it. Then all slots of
 * the memory before the last are back. */
static int renew(struct rf_rx *rx)
{
	unsigned next = (rx->slots->generation + 1u) & 1;
	struct rf__link *link = &rx->half.channel->link;
	struct rf__region *region = &rx->half.slots[next];
	int fds[RF_FDS_MAX], n = rf__fds_next(link, 'm', fds);

	if (n < 0)
		return n;
	if (n != 1 || rx->slots->held_of[next]) {
		while (n)
			rf__close(&fds[--n]);
		return rf__link_break(link, "the publisher sent new memory out of turn");
	}
	rf__region_unmap(region);
	if (map_new(rx, region, fds[0]) < 0) {
		rf__region_unmap(region);
		rx->slots->base[next] = NULL;
		return rf__link_break(link, "the new memory of the slots is not as agreed");
	}
	return rf__slots_rx_renew(rx->slots, region->base);
}

/* The publisher lends nothing in it any more. */
static void drop_former(struct rf_rx *rx)
{
	unsigned former = (rx->slots->generation + 1u) & 1;

	if (!rx->half.slots[former].base || rx->slots->held_of[former])
		return;
	rf__region_unmap(&rx->half.slots[former]);
	rx->slots->base[former] = NULL;
}

int rf__rx_slots_borrow(struct rf_rx *rx, struct rf_message *ret_messages, unsigned max)
{
	int n, r;

	drop_former(rx);
	do {
		n = rf__slots_rx_borrow(rx->slots, ret_messages, max);
		r = rx->slots->n_unseen ? rf__attached_skip(rx) : 0;
		if (r >= 0 && n == RF__SLOTS_NEW_MEMORY)
			r = renew(rx);
		if (r < 0 && n == 1) /* it was not handed out */
			rf__slots_rx_release(rx->slots, ret_messages[0].id);
		if (r < 0)
			return r;
	} while (n == RF__SLOTS_NEW_MEMORY);
	return n;
}
