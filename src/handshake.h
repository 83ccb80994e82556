/* SPDX-License-Identifier: MIT */
/* The handshake of wire.h carried out: messages over a socket, regions and doorbells made,
 * checked and mapped. */
#ifndef RF_HANDSHAKE_H
#define RF_HANDSHAKE_H

#include "channel.h"
#include "socket.h"
#include "wire.h"

/* One handshake, of a client or a server, that never waits. */
struct rf__handshake {
	struct rf__wire wire;
	struct rf_channel *channel; /* grows while it goes on; the handshake's until taken */
	int fds[RF__FDS_MAX];       /* client: came with WELCOME, not given a place yet */
	unsigned n_fds;
};

/* What a step leaves to do. */
enum rf__progress {
	RF__HANDSHAKE_WAIT, /* for the socket */
	RF__HANDSHAKE_MORE, /* nothing to wait for: step again, after others had their turn */
	RF__HANDSHAKE_OPEN  /* take channel */
};

/* Begins on channel's socket. channel belongs to the handshake then. */
void rf__handshake_begin(struct rf__handshake *handshake, struct rf_channel *channel, bool server,
	const struct rf__wish *wish);

/* Goes on as far as it can: enum rf__progress, or a negative errno when it has failed;
 * wire.reason says why, and the peer was told. */
int rf__handshake_step(struct rf__handshake *handshake);

/* We give up: tells the peer, if it listens. */
void rf__handshake_refuse(struct rf__handshake *handshake, int error, const char *sentence);

/* The open channel, the caller's. */
struct rf_channel *rf__handshake_take(struct rf__handshake *handshake);

/* Closes what was not taken. Again does nothing. */
void rf__handshake_end(struct rf__handshake *handshake);

#endif
