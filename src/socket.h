/* SPDX-License-Identifier: MIT */
/* Unix sockets with message boundaries, and the descriptors that travel over them. */
#ifndef RF_SOCKET_H
#define RF_SOCKET_H

#include "util/reason.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define RF__FDS_MAX 10 /* in one message of a handshake: both rings have slots and bells */

/* What an inherited descriptor is. */
enum rf__socket_kind { RF__SOCKET_LISTENS, RF__SOCKET_CONNECTED };

/* A new socket, CLOEXEC and non-blocking; the peer cannot send us descriptors where the kernel
 * can forbid it. The descriptor or a negative errno. */
int rf__socket_new(struct rf__reason *reason);

/* Looks whether fd can be one of ours, a unix SOCK_SEQPACKET socket, and forbids its peer to send
 * descriptors where the kernel can. Its kind; -EBADF; -ENOTSOCK; -EINVAL: another sort of socket;
 * -ENOTCONN. */
int rf__socket_inherit(int fd, struct rf__reason *reason);

/* A duplicate, CLOEXEC, so that the caller keeps his own until all has gone well. */
int rf__socket_duplicate(int fd, struct rf__reason *reason);

/* Allows or forbids the peer to send descriptors (SO_PASSRIGHTS, Linux 6.16; inherited by what a
 * listener accepts); those that are queued already stay. false: the kernel is older. */
bool rf__socket_allow_fds(int sock, bool allow);

/* The rest is for a socket over which descriptors may have come that are neither to be received nor
 * discarded (threats C1): either can hang. An inherited socket may have options that would be in
 * the way of a look: the first turns them off. */
void rf__socket_allow_looks(int sock);

/* Has the oldest message descriptors with it? Touches neither. */
bool rf__socket_carries_fds(int sock);

/* After shutdown(2): has any message descriptors with it? Reads those that have none, up to the
 * first that has. */
bool rf__socket_hides_fds(int sock);

/* Has the peer received, or lost, all that we sent? */
bool rf__socket_is_drained(int sock);

/* So many messages at most it has not. */
unsigned rf__socket_unread(int sock);

/* Sends one message with descriptors, which stay the caller's. Never waits. 0 or a negative
 * errno: -EPIPE: the peer is gone. */
int rf__socket_send(int sock, const void *message, size_t len, const int *fds, unsigned n_fds);

/* Receives one message of up to size bytes, and up to max descriptors (CLOEXEC, the caller's) in
 * fds. Never waits. *ret_n_fds: how many descriptors came; when they were too many, or in an odd
 * shape, UINT_MAX, and none is kept. Its whole length, which may be more than size: then it was
 * cut; -EAGAIN: none; -EPIPE: the peer is gone; -EMFILE, -ENFILE: we have no room for its
 * descriptors. */
ssize_t rf__socket_receive(
	int sock, void *message, size_t size, int *fds, unsigned max, unsigned *ret_n_fds);

/* Waits until deadline_ns for something to read, or a hang-up. 0; -ETIMEDOUT; errnos of
 * ppoll(2). */
int rf__socket_wait(int sock, uint64_t deadline_ns);

#endif
