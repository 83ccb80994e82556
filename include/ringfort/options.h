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

/* What travels through the rings.
 * BYTES: records of any length, given back in order.
 * ELEMENTS: values of one fixed size and type, which both ends name; no headers.
 * STREAM: bytes without boundaries; no headers.
 * The last two are views: what arrived is one message, however it was sent. See tx.h and rx.h. */
enum rf_kind { RF_BYTES = 1, RF_ELEMENTS = 2, RF_STREAM = 3 };

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

/* Bits of rf_options.flags.
 * GROUP: rf_listen() on a path gives the socket file the group in rf_options.group. Who gets in is
 * said by uids, gids and admit all the same.
 * POPULATE: rings are brought into our page tables when the channel opens, not at first use.
 * MLOCK: rings are locked into memory (mlock(2), which populates them, too).
 * HUGE: rings we write are gathered into huge pages where the kernel can; a hint. */
enum rf_option_flags {
	RF_OPTION_GROUP = 1,
	RF_OPTION_POPULATE = 2,
	RF_OPTION_MLOCK = 4,
	RF_OPTION_HUGE = 8
};

struct rf_peer;

/* Used by rf_listen() and rf_connect(); NULL there means all defaults. Prepare it with
 * rf_options_init(), then set what matters: a field left 0 has its default. The library keeps no
 * pointer into it. */
struct rf_options {
	size_t size; /* sizeof(struct rf_options) as the caller was compiled */

	uint32_t kind; /* enum rf_kind; 0: what the other end names; RF_BYTES if it names none */

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

	/* rf_listen() on a path: permission bits of the socket file. 0: 0666 where uids names
	 * somebody, else 0660 with RF_OPTION_GROUP, else 0666 where gids names somebody or there is
	 * an admit function, else 0600. */
	uint32_t mode;

	uint32_t flags; /* of enum rf_option_flags */

	/* RF_ELEMENTS: the size of an element in bytes, 1 MiB at most, and the name of its type, up
	 * to 63 printable characters of ASCII; an end that names the kind must name the same two. A
	 * ring has room for four elements at least. */
	uint64_t element_bytes;
	const char *type;

	/* Groups admitted as the other end: one of these is its effective or a supplementary
	 * group. The overflow gid (65534) is nobody's. */
	const gid_t *gids;
	size_t n_gids;

	/* Asked about a peer that the lists do not admit; not 0 admits it. NULL: none. Never asked
	 * about the overflow uid. Runs inside rf_listen(), rf_accept() or rf_connect(), and must
	 * not call the library. */
	int (*admit)(const struct rf_peer *peer, void *context);
	void *admit_context;

	/* rf_listen(), for each user, our own and root among them: bytes of rings (0: 1 GiB, or
	 * four times max_ring_bytes if that is more); open channels (0: 64); handshakes under
	 * way (0: 4, for our own user 12; there are 16 places in all). Who wants more is refused
	 * with
	 * -ENOBUFS. All users together have at most four times max_bytes, and three quarters of
	 * our descriptors (RLIMIT_NOFILE), one user half of them. A closed channel counts until
	 * the peer has let go of its memory. */
	uint64_t max_bytes;
	uint32_t max_channels;
	uint32_t max_handshakes;

	gid_t group;       /* with RF_OPTION_GROUP */
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
