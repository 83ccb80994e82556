/* SPDX-License-Identifier: MIT */
/* Who the peer is, as the kernel tells it, and whether we deal with it. */
#ifndef RF_IDENTITY_H
#define RF_IDENTITY_H

#include "util/reason.h"
#include <ringfort/channel.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* How we came by the socket: it decides what its credentials mean (threats C7). */
enum rf__origin {
	RF__ACCEPTED,  /* we accepted it: they are the peer's */
	RF__CONNECTED, /* we connected it: they are those of whoever called listen(2) */
	RF__INHERITED  /* it came connected: they are those of whoever made it */
};

struct rf__identity {
	uid_t uid;
	gid_t gid;
	pid_t pid;
	uint32_t flags; /* of enum rf_peer_flags */
	int pidfd;      /* -1: none; readable once the process has exited */
};

#define RF__IDENTITY_INIT ((struct rf__identity){.pidfd = -1})

/* Reads the credentials of a unix socket's peer, its pidfd, and whether it is RF_PEER_SAME: our
 * effective uid, which is not the overflow uid, and our user and pid namespaces (threats D10). What
 * cannot be verified is not the same. INHERITED: no pidfd, RF_PEER_CREATOR, never SAME.
 *
 * The pidfd is the kernel's own (SO_PEERPIDFD, 6.5); where it has none, that of the process which
 * bears the credentials' pid now, if it has their uid and gid and is not dead. There is none where
 * the peer is gone without a trace, or cannot be told. 0; -ENOTCONN: no peer; -EMFILE, -ENFILE,
 * -ENOMEM: no room for the pidfd; errnos of getsockopt(2). *ret_identity is untouched on failure,
 * else the caller's to close. */
int rf__identity_read(int sock, enum rf__origin origin, struct rf__identity *ret_identity,
	struct rf__reason *reason);

/* What the caller is told of it. */
struct rf_peer rf__identity_peer(const struct rf__identity *identity);

/* Do we deal with the peer of sock: our own effective uid, root, and who is listed by uid, by its
 * effective or a supplementary group (SO_PEERGROUPS), or admitted by the caller's function, which
 * is asked last. The overflow uid never (it may be anybody), not even when listed; the overflow gid
 * is nobody's group. 0; -EPERM with a sentence that names the uid. */
int rf__identity_check(const struct rf__identity *identity, int sock,
	const struct rf_options *options, struct rf__reason *reason);

/* Closes the pidfd; the identity claims neither RF_PEER_PIDFD nor RF_PEER_SAME any more. Also for a
 * client that learns that its server is not who called listen(2). Closing again does nothing. */
void rf__identity_close(struct rf__identity *identity);

#endif
