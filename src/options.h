/* SPDX-License-Identifier: MIT */
/* Options as the caller gave them, and what they ask of a handshake. */
#ifndef RF_OPTIONS_H
#define RF_OPTIONS_H

#include "identity.h"
#include "wire.h"
#include <ringfort/channel.h>

/* Copies the caller's options (NULL: all defaults), checks them and fills defaults in, so that
 * reading them again changes nothing. Lists still are the caller's arrays. max_handshakes and what
 * is about slots, a publisher and descriptors keep their 0. A larger struct, from a newer
 * header, is fine while what we do not know is zero. 0; -EINVAL naming the field. */
int rf__options_read(const struct rf_options *options, bool connects,
	struct rf_options *ret_options, struct rf__reason *reason);

/* Does what RF_OPTION_FENCE asks of the process; takes the flag away where that cannot be. */
void rf__options_register(struct rf_options *options);

/* What to ask for, from a peer like that, met that way. listened: a server's own call of
 * listen(2) made the socket. */
struct rf__wish rf__options_wish(const struct rf_options *options,
	const struct rf__identity *identity, enum rf__origin origin, bool listened);

#endif
