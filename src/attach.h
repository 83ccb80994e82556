/* SPDX-License-Identifier: MIT */
/* Descriptors beside the data, as the halves of a channel have to do with them. */
#ifndef RF_ATTACH_H
#define RF_ATTACH_H

#include "channel.h"

/* May n descriptors be sent to this peer, while so many wait to be sent? false: it has too many in
 * flight, or all peers together have. */
bool rf__attached_may_fly(struct rf_channel *channel, unsigned waiting, unsigned n);

/* A channel's sending half: sends what belongs to what is committed. Of records it also publishes them,
 * up to the first whose set cannot be sent now. 0; -EAGAIN: the kernel has no room for them now, of
 * slots nothing is to be published; -EPIPE; -EPROTO. */
int rf__attached_send(struct rf_tx *tx);

/* The set of a reservation that is cancelled; of all that are open. */
void rf__attached_drop(struct rf_tx *tx, uint64_t id);
void rf__attached_drop_open(struct rf_tx *tx);

/* Slots: closes the sets of what was published, or given up. */
void rf__attached_settle(struct rf_tx *tx);

/* The channel closes: all sets. */
void rf__attached_free(struct rf_tx *tx);

/* The receiving half: finds out what belongs to n messages that were just borrowed. 0; -EPROTO: the
 * link is broken and says why, and they are borrowed still. */
int rf__attached_keep(struct rf_rx *rx, struct rf_message *messages, unsigned n);

/* Slots: drops what belongs to messages that were given back unseen. 0; -EPROTO. */
int rf__attached_skip(struct rf_rx *rx);

#endif
