/* SPDX-License-Identifier: MIT */
/* A publisher, as the handshakes of its subscribers see it. */
#ifndef RF_PUBLISHER_H
#define RF_PUBLISHER_H

#include "channel.h"

/* As rf_listen(); what it accepts is going to be subscribers of publisher (NULL: channels), whose
 * slots are as wish says. */
int rf__listen(const char *address, const struct rf_options *options,
	struct rf_publisher *publisher, struct rf_listener **ret_listener);

/* As rf_accept(), which leaves the thread's reason alone. */
int rf__accept(struct rf_listener *listener, uint64_t deadline_ns, struct rf_channel **ret_channel,
	struct rf__reason *reason);

/* What a publisher says in the handshake of its slots, over what its options say. */
void rf__publisher_wish(const struct rf_publisher *publisher, struct rf__wish *wish);

/* May it subscribe on these terms? Then the slots that it may hold are set aside for it until
 * rf__publisher_forget(). 0; -ENOBUFS: too few are left, or for its user; -EPERM: blocking was not
 * granted to it. */
int rf__publisher_admit(struct rf_publisher *publisher, struct rf_channel *channel,
	const struct rf__terms *terms, struct rf__reason *reason);

/* A descriptor of the slots for a subscriber; which generation it is is noted in its part of them. The
 * descriptor or a negative errno. */
int rf__publisher_lend(
	struct rf_publisher *publisher, struct rf_channel *channel, struct rf__reason *reason);

/* The channel ends, however far it had come. Again does nothing. */
void rf__publisher_forget(struct rf_channel *channel);

#endif
