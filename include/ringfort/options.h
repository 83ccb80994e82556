/* SPDX-License-Identifier: MIT */
/* What an end of a channel wants, and what it puts up with. */
#ifndef RINGFORT_OPTIONS_H
#define RINGFORT_OPTIONS_H

#include <ringfort/types.h>
#include <string.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What travels through the rings. */
enum rf_kind {
	RF_BYTES = 1 /* records of any length, given back in order */
};

/* Directions, seen from the end that names them; together: duplex. */
enum rf_direction { RF_SEND = 1, RF_RECEIVE = 2 };

/* How a sleeping peer is woken.
 * AUTO: eventfd for a peer verified to have our uid and our user and pid namespaces, else socket.
 * EVENTFD: the peer is trusted not to hang us; cheaper kicks. Falls back to socket if it insists.
 * SOCKET: nothing the peer does to it can block us; also for a sandboxed child of our own uid. */
enum rf_doorbell { RF_DOORBELL_AUTO = 0, RF_DOORBELL_EVENTFD = 1, RF_DOORBELL_SOCKET = 2 };

/* What a call does that has to wait.
 * ADAPTIVE: spins for a bounded time that follows what the last waits were like, then sleeps.
 * SPIN: never sleeps, takes the processor until the deadline.
 * SLEEP: sleeps at once. */
enum rf_wait { RF_WAIT_ADAPTIVE = 0, RF_WAIT_SPIN = 1, RF_WAIT_SLEEP = 2 };

/* Used by rf_listen() and rf_connect(); NULL there means all defaults. Prepare it with
 * rf_options_init(), then set what matters: a field left 0 has its default. The library keeps no
 * pointer into it. */
struct rf_options {
	size_t size; /* sizeof(struct rf_options) as the caller was compiled */

	uint32_t kind; /* enum rf_kind; 0: RF_BYTES */

	/* Of enum rf_direction. 0: what the other end names; both ways if it names none. */
	uint32_t direction;

	/* Wanted data size of each ring in bytes, rounded up to a power of two. The larger wish of
	 * the two ends counts. 0: no wish; 4 MiB where neither end has one. */
	uint64_t ring_bytes;

	/* The largest ring this end agrees to, in bytes. 0: 64 MiB, or ring_bytes if larger. */
	uint64_t max_ring_bytes;

	uint32_t doorbell; /* enum rf_doorbell */
	uint32_t wait;     /* enum rf_wait */

	/* RF_WAIT_ADAPTIVE: the longest spin before a sleep. 0: 50 microseconds. */
	uint64_t spin_ns;

	/* Users admitted as the other end, besides our own effective user and root. */
	const uid_t *uids;
	size_t n_uids;

	/* rf_listen() on a path: permission bits of the socket file. 0: 0600, or 0666 where uids
	 * names somebody. */
	uint32_t mode;

	uint32_t reserved; /* 0 */
};

/* Makes *options all defaults. */
static inline void rf_options_init(struct rf_options *options)
{
	memset(options, 0, sizeof(*options));
	options->size = sizeof(*options);
}

#ifdef __cplusplus
}
#endif

#endif
