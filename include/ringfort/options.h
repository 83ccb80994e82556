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
 * SLOTS: messages in buffers of one size, given back in any order.
 * ELEMENTS and STREAM are views: what arrived is one message, however it was sent. See tx.h and
 * rx.h. */
enum rf_kind { RF_BYTES = 1, RF_ELEMENTS = 2, RF_STREAM = 3, RF_SLOTS = 4 };

/* What happens when a subscriber holds as many slots as it may, and there is a message for it.
 * DROP: it misses that message.
 * LATEST: the same; and it is given the newest that is there. What is out of date, since messages
 * were missed after it, it gives back unseen once and waits for the next.
 * BLOCK: the publisher waits for it, as long as its budget of time lasts; then it is cut off.
 * DISCONNECT: it misses the message; and is cut off when it gave nothing back for stall_ns.
 * How many it missed is told with the next message. */
enum rf_lag { RF_LAG_DROP = 1, RF_LAG_LATEST = 2, RF_LAG_BLOCK = 3, RF_LAG_DISCONNECT = 4 };

/* Where a new subscriber begins.
 * NEWEST: with the last message that was published, if it is still there.
 * OLDEST: with the oldest that is still there, without a gap, as long as they take half of what it
 * may hold: what comes next needs room, too. */
enum rf_start { RF_START_NEWEST = 0, RF_START_OLDEST = 1 };

/* Kinds of descriptors that may travel beside the data; bits of rf_options.fd_kinds.
 * BLOB: memory that is sealed for ever, see blob.h. MEMFD: any other memfd. DMABUF: a buffer of a
 * device. EVENTFD. PIPE. SOCKET. FILE: what has a name in a file system, a FIFO among it. OTHER: none
 * of these. */
enum rf_fd_kind {
	RF_FD_BLOB = 1,
	RF_FD_MEMFD = 2,
	RF_FD_DMABUF = 4,
	RF_FD_EVENTFD = 8,
	RF_FD_PIPE = 16,
	RF_FD_SOCKET = 32,
	RF_FD_FILE = 64,
	RF_FD_OTHER = 128
};

/* The most descriptors that one message may have. */
#define RF_FDS_MAX 8

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
 * HUGE: rings we write are gathered into huge pages where the kernel can; a hint.
 * RENEW: rf_publish() moves to new memory for its slots when a subscriber of another user has gone,
 * so that what it may have kept mapped shows nothing that is written from then on. Costs the memory
 * twice while old slots are still out.
 * FENCE: where the peer says so, too, who publishes or gives back needs no barrier: who is going to
 * sleep makes it pass one (membarrier(2)), which costs some microseconds for each sleep. That is
 * for what wakes its peer seldom and publishes often. It registers the whole process for good, and
 * any process of the machine can then slow it down by calling membarrier(2) again and again. Without
 * it in the kernel the flag does nothing. */
enum rf_option_flags {
	RF_OPTION_GROUP = 1,
	RF_OPTION_POPULATE = 2,
	RF_OPTION_MLOCK = 4,
	RF_OPTION_HUGE = 8,
	RF_OPTION_RENEW = 16,
	RF_OPTION_FENCE = 32
};

/* The most slots there can be. */
#define RF_SLOTS_MAX 65536

struct rf_peer;

/* Used by rf_listen(), rf_publish() and rf_connect(); NULL there means all defaults. Prepare it with
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

	/* The largest ring, and the most memory for the slots of one direction, that this end agrees
	 * to, in bytes; 32 bytes for each slot come on top, in whole pages. 0: rf_connect(): 1 GiB, it
	 * pays with addresses only; else 64 MiB, or what ring_bytes or slots ask for if that is
	 * more. */
	uint64_t max_ring_bytes;

	uint32_t doorbell; /* enum rf_doorbell */
	uint32_t wait;     /* enum rf_wait */

	/* RF_WAIT_ADAPTIVE: the longest spin before a sleep. 0: a millisecond, so that
	 * whoever gets 1000 messages a second is awake when they come; where waits are longer than that
	 * four times in a row, it spins less and less. */
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
	 * our descriptors (RLIMIT_NOFILE), one user other than our own half of them. A closed channel counts until
	 * the peer has let go of its memory. */
	uint64_t max_bytes;
	uint32_t max_channels;
	uint32_t max_handshakes;

	gid_t group; /* with RF_OPTION_GROUP */

	/* RF_SLOTS: how many, 2 to RF_SLOTS_MAX; the largest message in bytes; and where each begins:
	 * at a multiple of slot_align, a power of two from 64 to a page. The larger wish of the two
	 * ends counts; those of a publisher are what they are, and a subscriber that wants more is
	 * refused. 0: no wish; 16 slots of 256 KiB at multiples of 64 where neither end has one. */
	uint32_t slots;
	uint64_t slot_bytes;
	uint32_t slot_align;

	/* RF_SLOTS, of the receiving end: how many it may hold at a time, queued and borrowed
	 * together. 0: what the sender grants: all of them over a channel, of a publisher's an eighth,
	 * but two at least. rf_publish(): what it grants then. A channel both ways has one number for
	 * both, the larger wish. */
	uint32_t hold;

	/* rf_connect() to a publisher: enum rf_lag; 0: what the publisher grants. rf_publish(): what it
	 * grants to who does not ask (0: RF_LAG_DROP). */
	uint32_t lag;
	uint32_t start; /* rf_connect() to a publisher: enum rf_start */

	/* RF_LAG_DISCONNECT: after how long; RF_FOREVER: never. rf_publish(): 0: a second. rf_connect(): less than that if
	 * it asks for less; 0: what the publisher has. */
	uint64_t stall_ns;

	/* rf_publish(): for how long a subscriber with RF_LAG_BLOCK may keep the publisher waiting,
	 * all its waits together, besides a hundredth of the time it has been there. What one that goes
	 * has taken counts for the next one of its user. RF_FOREVER: no limit. 0: no limit for our own user and root, who could stop us anyway; 10 seconds for
	 * others. */
	uint64_t block_ns;

	/* rf_publish(): users to whom RF_LAG_BLOCK is granted, besides our own user and root. */
	const uid_t *block_uids;
	size_t n_block_uids;

	/* rf_publish(): how many slots are kept back from all subscribers together, for what is
	 * being written (0: two, of less than four slots one); how many the subscribers of one user may hold
	 * together (0: for our own user and root all the others, else half of them); how many
	 * subscribers must be there before the first rf_tx_reserve() succeeds. */
	uint32_t reserve_slots;
	uint32_t max_slots;
	uint32_t wait_for;

	/* Descriptors beside the data that this end takes: their kinds, of enum rf_fd_kind; at most so
	 * many with one message, up to RF_FDS_MAX; and so many in a second (0: no limit). Nothing is
	 * taken while fd_kinds or max_fds is 0. Receiving a descriptor lets its sender hang us: who
	 * takes some must trust it that far (ringfort-security(7)). */
	uint32_t fd_kinds;
	uint32_t max_fds;
	uint32_t fds_per_second;

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
