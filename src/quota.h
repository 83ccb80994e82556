/* SPDX-License-Identifier: MIT */
/* What the users behind the peers of a listener may take from us, all their channels together;
 * and the sockets that cannot be closed.
 *
 * A quota is one listener's, and shared by the channels it gave out: it lives until the last of
 * them is closed. A charge is what one channel costs its user: made before anything else is, and
 * settled when all of it is really free, which may be long after the channel is closed (threats
 * M10, C3).
 *
 * Any thread; nothing on the data path comes here. In a child after fork nothing is charged or
 * returned. */
#ifndef RF_QUOTA_H
#define RF_QUOTA_H

#include "region.h"
#include <ringfort/options.h>

struct rf__quota;
struct rf__charge;

/* What a channel costs: bytes of its regions in all, descriptors that it keeps open, and those that
 * are sent. */
struct rf__cost {
	uint64_t bytes;
	unsigned descriptors, flight;
};

/* The quota with the limits of options, defaults filled in. NULL: no memory. */
struct rf__quota *rf__quota_new(const struct rf_options *options);

/* The listener lets go of it. NULL is fine. */
void rf__quota_drop(struct rf__quota *quota);

/* Looks whether something that is still held by a peer, after its channel, is free now; at most
 * twice a second. When to call it again; RF_FOREVER: nothing is held. */
uint64_t rf__quota_collect(struct rf__quota *quota, uint64_t now_ns);

/* Is it out of room for sockets that cannot be closed? Then no more are to be accepted. */
bool rf__quota_is_clogged(struct rf__quota *quota);

/* A socket of that user was accepted. Nothing is charged yet. NULL: no memory. */
struct rf__charge *rf__charge_new(struct rf__quota *quota, uid_t uid);

/* A handshake begins, until rf__charge_opened(). 0; -ENOBUFS: the user has too many under way,
 * or too many sockets that cannot be closed. */
int rf__charge_handshake(struct rf__charge *charge, struct rf__reason *reason);
void rf__charge_opened(struct rf__charge *charge);

/* Before anything of the channel is made. 0; -ENOBUFS: the user has too much already. */
int rf__charge_channel(
	struct rf__charge *charge, const struct rf__cost *cost, struct rf__reason *reason);

/* The peer has got the descriptors. */
void rf__charge_landed(struct rf__charge *charge);

/* n descriptors are going to be sent beside the data, where of those before `still` at most have not
 * been taken out of the socket. false: too many are in flight, of the user or in total (threats C3). */
bool rf__charge_fly(struct rf__charge *charge, unsigned still, unsigned n);

/* Keeps a private descriptor of a region that the peer will get, to see later whether it has let go
 * of it. Where there is no /proc nobody can see that, and what it cost is never returned. 0; errnos
 * of open(2) for want of descriptors or memory. */
int rf__charge_keep(
	struct rf__charge *charge, const struct rf__region *region, struct rf__reason *reason);

/* Closes *sock, which is shut down, if it can be closed. suspect: the peer may have queued
 * descriptors: then it is looked at, and where there are any it is left alone for good, neither
 * read nor closed, and counted (threats C1). A socket whose descriptors the peer has not taken
 * out yet is closed once it has. charge may be NULL: nothing is counted. */
void rf__charge_hang_up(struct rf__charge *charge, int *sock, bool suspect);

/* The channel is closed and nothing of it mapped: what is free is returned at once, the rest
 * when it is. NULL is fine. */
void rf__charge_close(struct rf__charge *charge);

/* In a child after fork: closes the child's descriptors, and that is all. NULL is fine. */
void rf__charge_abandon(struct rf__charge *charge);

#endif
