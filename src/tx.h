/* SPDX-License-Identifier: MIT */
/* What a sending half does where it has slots or descriptors, and what of that is a publisher's. */
#ifndef RF_TX_H
#define RF_TX_H

#include "channel.h"

/* When to try again to send descriptors that the kernel had no room for. */
#define RF__TX_RETRY_NS (UINT64_C(10) * 1000 * 1000)

/* May the half be used? 0; -EINVAL: NULL; -EBADF: after fork; -EPROTO. */
int rf__tx_check(const struct rf_tx *tx);

/* Has a channel's peer gone? That a subscriber has gone is no end for its publisher. */
bool rf__tx_is_gone(const struct rf_tx *tx);

/* A channel: publishes what is committed, and sends before that what belongs to it; kicks. 0; -EAGAIN:
 * what belongs to a message cannot be sent now: that one and those behind it stay committed; -EPIPE;
 * -EPROTO. */
int rf__tx_publish(struct rf_tx *tx);

/* Waits until until_ns, whatever room there is. 0; errors as rf__bell_wait(), deadline_ns being the
 * caller's. */
int rf__tx_nap(struct rf_tx *tx, struct rf__wait *wait, uint64_t until_ns, uint64_t deadline_ns);

/* Reserves up to max slots. How many, 1 or more; -EAGAIN: a consumer that blocks has no room, or no slot
 * is idle; errors as rf__slots_reserve_span(). */
int rf__tx_slots_reserve(struct rf_tx *tx, size_t len, struct rf_buffer *ret_buffers, unsigned max);

/* How much room of the ring the next reservation needs, for the bell. */
size_t rf__tx_slots_need(const struct rf_tx *tx);

/* What a channel has for its slots; unmapped by the channel. */
void rf__tx_slots_free(struct rf_tx *tx);

/* May the publisher be used? 0; -EBADF: after fork. */
int rf__publisher_check(const struct rf_publisher *publisher);

/* As rf__tx_slots_reserve(): also -EAGAIN while subscribers are waited for. */
int rf__publisher_reserve(
	struct rf_publisher *publisher, size_t len, struct rf_buffer *ret_buffers, unsigned max);

/* After that was -EAGAIN: waits for anything that may change it. 0: try again; -EAGAIN, -ETIMEDOUT, -EPIPE:
 * stopped; errnos of epoll_wait(2). */
int rf__publisher_wait(struct rf_publisher *publisher, struct rf__wait *wait, uint64_t deadline_ns);

/* Publishes to all subscribers, and sees to them now and then. */
void rf__publisher_publish(struct rf_publisher *publisher);

/* Ends the stream at all subscribers. */
void rf__publisher_end(struct rf_publisher *publisher);

#endif
