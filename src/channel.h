/* SPDX-License-Identifier: MIT */
/* What a channel is made of. */
#ifndef RF_CHANNEL_H
#define RF_CHANNEL_H

#include "doorbell.h"
#include "fds.h"
#include "generation.h"
#include "identity.h"
#include "quota.h"
#include "region.h"
#include "slots.h"
#include "terms.h"
#include <errno.h>
#include <ringfort/publisher.h>

/* What both kinds of half have in common. The producer's region is a sender's own and a
 * receiver's peer's; the slots are the producer's. */
struct rf__half {
	struct rf_channel *channel; /* NULL: a publisher's */
	struct rf__bell bell;
	struct rf__region own, peer;
	struct rf__region
		slots[2];    /* by generation & 1; a publisher's subscribers have none here */
	uint64_t slot_bytes; /* as agreed, for the figures; 0: no slots */
	uint32_t n_slots, hold;
	bool present;
};

/* A sending half: of a channel, with a ring of its own, and where it has slots the only consumer's
 * part in them; or of a publisher, where half.bell is only for figures. */
struct rf_tx {
	struct rf__ring_tx ring; /* first, as inline.h relies on; a publisher's is not used */
	struct rf__half half;
	unsigned calls;                    /* with slots: since the peer was looked after */
	struct rf__slots *slots;           /* NULL: no slots; a channel's own, or the publisher's */
	struct rf__slot_consumer consumer; /* a channel's, or a subscriber's part in slots */
	struct rf__fds_tx *fds;            /* attached; NULL: never any */
	struct rf__fd_terms fd_terms;      /* what the peer takes */
	struct rf_publisher *publisher;    /* NULL: a channel's */
};

struct rf_rx {
	struct rf__ring_rx ring; /* first, as inline.h relies on */
	struct rf__half half;
	struct rf__slots_rx *slots; /* NULL: no slots */
};

struct rf_channel {
	struct rf__link link;
	struct rf__generation generation;
	struct rf__identity identity;
	struct rf__charge *charge;      /* server: what it costs the peer's user; else NULL */
	struct rf_publisher *publisher; /* server: whose subscriber it is going to be; else NULL */
	struct rf_channel
		*granted_next;  /* the publisher's list of those that slots are set aside for */
	uint32_t granted;       /* so many; 0: it is not in the list */
	struct rf__terms terms; /* once they are agreed on */
	uint64_t moved;         /* how far the rings had got at the last event */
	uint32_t map_flags;     /* of enum rf_option_flags, for rf__region_settle() */
	uint32_t leases;        /* atomic; once closed: halves with something still out */
	bool closed;
	_Alignas(RF__LINE) struct rf_tx tx; /* used by different threads */
	_Alignas(RF__LINE) struct rf_rx rx;
};

/* The halves' part of building a channel: their regions are mapped, their bells are there. Ring and
 * slots begin. 0; -ENOMEM. */
int rf__tx_start(struct rf_tx *tx, const struct rf__terms *terms, enum rf__way way);
int rf__rx_start(struct rf_rx *rx, const struct rf__terms *terms, enum rf__way way);

/* What was agreed on about slots, for the figures. */
static inline void rf__half_note_slots(struct rf__half *half, const struct rf__terms *terms)
{
	half->slot_bytes = terms->slot_bytes;
	half->n_slots = terms->slots;
	half->hold = terms->hold;
}

/* How many reservations are neither committed nor cancelled. */
unsigned rf__tx_open(const struct rf_tx *tx);

/* Is anything borrowed? */
static inline bool rf__rx_lent(const struct rf_rx *rx)
{
	return rx->slots ? rf__slots_rx_lent(rx->slots) : rf__ring_rx_lent(&rx->ring);
}

/* A channel without halves; takes sock and identity over on success. NULL: no memory, or
 * generation fails. */
struct rf_channel *rf__channel_new(
	int sock, struct rf__identity *identity, const struct rf_options *options);

/* May the half be used? 0; -EINVAL: no such half; -EBADF: after fork; -EPROTO. */
static inline int rf__half_check(const struct rf__half *half)
{
	if (!rf__generation_is_ours(&half->channel->generation))
		return -EBADF;
	return rf__link_flags(&half->channel->link) & RF__BROKEN ? -EPROTO : 0;
}

/* After close: the half has nothing out any more; the last one frees the channel. */
void rf__channel_unlease(struct rf_channel *channel);

#endif
