/* SPDX-License-Identifier: MIT */
/* What a receiving half does where it has slots. */
#ifndef RF_RX_H
#define RF_RX_H

#include "channel.h"

/* As rf__slots_rx_borrow(), but new memory is mapped and what lies in it borrowed. -EPROTO: the channel
 * is broken and says why. */
int rf__rx_slots_borrow(struct rf_rx *rx, struct rf_message *ret_messages, unsigned max);

/* Has the publisher cut us off? Then the channel says so from now on. */
void rf__rx_look_for_cut(struct rf_rx *rx);

/* What a channel has for its slots; unmapped by the channel. */
void rf__rx_slots_free(struct rf_rx *rx);

#endif
