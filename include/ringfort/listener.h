/* SPDX-License-Identifier: MIT */
/* A listener: where channels are accepted. */
#ifndef RINGFORT_LISTENER_H
#define RINGFORT_LISTENER_H

#include <ringfort/channel.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A listener. One thread at a time may use it (the caller serialises); rf_listener_stop() and
 * rf_listener_stats() may be called by any. */
struct rf_listener;

/* Listens at address: a path, "unix:PATH", "@NAME" for an abstract name, or "fd:N" for an
 * inherited socket: a listening one, or a connected one that gives a single channel; "fd:listen"
 * and "fd:listen:NAME" are what a service manager handed over (LISTEN_FDS). A stale socket file,
 * one that nobody listens on, is replaced; anything else at the path is left alone. PATH.lock
 * beside it guards the replacement and stays. The descriptor of "fd:" is taken over on success
 * only. options may be NULL, and hold for every channel. The listener is released with
 * rf_listener_close().
 * 0; -EADDRINUSE: somebody listens there; -ENOENT: no socket was handed over; -EEXIST: the path
 * is not a socket; -EINVAL,
 * -ENAMETOOLONG: address or options; other errnos of the kernel. rf_reason() tells more. */
RF_EXPORT int rf_listen(
	const char *address, const struct rf_options *options, struct rf_listener **ret_listener);

/* Returns the next channel whose handshake is complete; drives all that are under way meanwhile.
 * A client that is refused, or has not finished within 5 seconds, is dropped and counted, and
 * the wait goes on. The channel does not depend on the listener any more.
 * 0; -EAGAIN (deadline 0) or -ETIMEDOUT: nobody came; -EPIPE: stopped, or the single connection
 * of "fd:N" is used up; the errno of that connection's failure; -EBADF: after fork; -EINVAL;
 * errnos of accept4(2). rf_reason() tells more. */
RF_EXPORT int rf_accept(
	struct rf_listener *listener, uint64_t deadline_ns, struct rf_channel **ret_channel);

/* A descriptor for the caller's own event loop: readable (POLLIN, level-triggered) when
 * rf_accept() with deadline 0 should be called. It belongs to the listener. The descriptor;
 * -EBADF; -EINVAL. */
RF_EXPORT int rf_listener_fd(struct rf_listener *listener);

/* Before the caller sleeps on the descriptor. 1: call rf_accept() now; 0: sleep, and call it at
 * *ret_until_ns at the latest (RF_FOREVER: no need). -EBADF; -EINVAL. */
RF_EXPORT int rf_listener_arm(struct rf_listener *listener, uint64_t *ret_until_ns);

/* Makes rf_accept() fail with -EPIPE, now and later. Any thread, and safe in a signal handler.
 * Leaves errno alone. */
RF_EXPORT void rf_listener_stop(struct rf_listener *listener);

struct rf_listener_stats {
	size_t size;         /* set by the caller to sizeof(struct rf_listener_stats) */
	uint64_t accepted;   /* channels given out by rf_accept() */
	uint64_t refused;    /* by policy or quota, or for lack of common ground */
	uint64_t failed;     /* broken, too late, or gone during the handshake */
	uint64_t handshakes; /* under way now */
};

/* Fills *stats, as far as stats->size reaches. 0; -EINVAL. */
RF_EXPORT int rf_listener_stats(struct rf_listener *listener, struct rf_listener_stats *stats);

/* Why the last client was turned away, as a sentence without a full stop; "" when none was.
 * Lives until the next rf_accept(). */
RF_EXPORT const char *rf_listener_reason(struct rf_listener *listener);

/* Closes the listener and drops handshakes under way; NULL is fine. Unlinks the socket file if
 * it is still its own. Accepted channels live on. In a child after fork: closes the child's
 * descriptors only. */
RF_EXPORT void rf_listener_close(struct rf_listener *listener);

#ifdef __cplusplus
}
#endif

#endif
