/* SPDX-License-Identifier: MIT */
/* What a channel is made of. */
#ifndef RF_CHANNEL_H
#define RF_CHANNEL_H

#include "doorbell.h"
#include "generation.h"
#include "identity.h"
#include "quota.h"
#include "region.h"
#include <errno.h>
#include <ringfort/channel.h>

/* What both kinds of half have in common. The producer's region is a sender's own and a
 * receiver's peer's. */
struct rf__half {
	struct rf_channel *channel;
	struct rf__bell bell;
	struct rf__region own, peer;
	bool present;
};

struct rf_tx {
	struct rf__half half;
	struct rf__ring_tx ring;
	int64_t credit; /* bytes to publish until the peer is looked after again */
};

struct rf_rx {
	struct rf__half half;
	struct rf__ring_rx ring;
};

struct rf_channel {
	struct rf__link link;
	struct rf__generation generation;
	struct rf__identity identity;
	int epoll;                 /* the pollable descriptor; -1 until asked for */
	struct rf__charge *charge; /* server: what it costs the peer's user; else NULL */
	uint64_t moved;            /* how far the rings had got at the last event */
	uint32_t map_flags;        /* of enum rf_option_flags, for rf__region_settle() */
	uint32_t leases;           /* atomic; once closed: halves with something still out */
	bool closed;
	_Alignas(RF__LINE) struct rf_tx tx; /* used by different threads */
	_Alignas(RF__LINE) struct rf_rx rx;
};

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
