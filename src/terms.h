/* SPDX-License-Identifier: MIT */
/* The terms of a channel: what the ends want, what the server makes of it, and what the client
 * accepts as an answer. Judgement only: messages are wire.c's. No system call, no clock, no
 * allocation. */
#ifndef RF_TERMS_H
#define RF_TERMS_H

#include "fd-terms.h"
#include "util/reason.h"
#include <stdbool.h>
#include <stdint.h>

/* Rings of a channel, in the order in which descriptors travel. */
enum rf__way { RF__UP /* client to server */, RF__DOWN /* server to client */, RF__WAYS };

/* Feature bits that exist: none yet. A peer that requires another one is refused, one that wants
 * another one does not get it. A bit is agreed on when both ends require or want it. */
#define RF__FEATURES UINT64_C(0)

/* Elements: the name of a type, with the zeroes behind it; the largest element; and how many of
 * them a ring has room for at least. */
#define RF__TYPE_BYTES   64
#define RF__ELEMENT_MAX  (UINT32_C(1) << 20)
#define RF__ELEMENTS_MIN 4

/* The size of a ring when neither end has a wish and both allow it. */
#define RF__RING_DEFAULT (UINT64_C(4) << 20)

/* Slots when neither end has a wish, and what both ends accept at most. */
#define RF__SLOTS_DEFAULT      16
#define RF__SLOT_BYTES_DEFAULT (UINT64_C(256) << 10)
#define RF__SLOT_BYTES_MAX     (UINT64_C(1) << 30)

/* How long a subscriber may stall when neither end has a wish. */
#define RF__STALL_DEFAULT_NS (UINT64_C(1000) * 1000 * 1000)

/* Doorbells an end would accept: bit n is number n of enum rf_doorbell. */
#define RF__BELL_EVENTFD (1u << 1)
#define RF__BELL_SOCKET  (1u << 2)

/* How the barrier of a sleeper works: in HELLO a mask (bit n is number n), in WELCOME the number. Both
 * sides order their accesses; or the sleeper makes the other one pass a barrier, which has
 * registered for that. The latter where both offer it. */
#define RF__FENCE_SEQ_CST    1u
#define RF__FENCE_ASYMMETRIC 2u

/* What one end wants: its options, defaults filled in, and what it found out about the peer. */
struct rf__wish {
	uint64_t required, wanted; /* feature bits */
	uint64_t ring_bytes;       /* 0: no wish */
	uint64_t max_ring_bytes; /* never 0; a wish that exceeds it once rounded up cannot be met */
	uint32_t kind;           /* enum rf_kind; 0: what the other names */
	uint32_t direction; /* of enum rf_direction, seen from this end; 0: what the other names */
	uint32_t doorbells; /* RF__BELL_…: acceptable here */
	uint32_t page_bytes;
	bool listened; /* server: it called listen(2) itself, so that a client's pidfd is of it */
	uint32_t element_bytes;    /* RF_ELEMENTS; else 0 */
	char type[RF__TYPE_BYTES]; /* the same; printable ASCII, padded with zeroes */

	/* Slots: RF_SLOTS, or kind 0; 0: no wish. */
	uint32_t slots;
	uint32_t slot_align; /* a power of two, RF__SLOT_ALIGNMENT_MIN to a page */
	uint64_t slot_bytes;
	uint32_t hold; /* as a receiver; a publisher's: what it grants */
	uint32_t lag;  /* enum rf_lag; a client's wish, a publisher's grant; else 0 */
	uint32_t start;
	uint64_t stall_ns;
	bool publishes; /* server: its slots are what they are, and shared by all its clients */

	struct rf__fd_terms fds; /* descriptors beside the data that this end takes */
	bool asymmetric;         /* offers that fence, too */
};

/* What both ends agreed on; from here on geometry is private memory. */
struct rf__terms {
	uint64_t features;
	uint64_t area_bytes[RF__WAYS]; /* 0: no such ring; else a power of two, at least a page */
	uint64_t slot_bytes;           /* RF_SLOTS; else this and the next ones are 0 */
	uint32_t slots, slot_align, hold;
	uint32_t lag; /* enum rf_lag; 0: not a publisher's */
	uint32_t start;
	uint64_t stall_ns; /* RF_LAG_DISCONNECT; else 0 */
	struct rf__fd_terms fds[RF__WAYS];
	uint32_t page_bytes;    /* of both ends */
	uint32_t kind;          /* enum rf_kind, never 0 */
	uint32_t doorbell;      /* enum rf_doorbell, never AUTO */
	uint32_t fence;         /* RF__FENCE_… */
	bool listened;          /* the server's */
	uint32_t element_bytes; /* as in a wish */
	char type[RF__TYPE_BYTES];
};

/* What a HELLO says: the client's wish, directions seen from the client. */
struct rf__hello {
	struct rf__wish wish;
	uint32_t fences; /* a mask */
};

/* What a WELCOME says. */
struct rf__welcome {
	struct rf__terms terms;
	uint32_t listened, n_fds; /* listened: 0 or 1 */
};

/* The server's terms for a client, from its own wish. 0; -ENOTSUP: no common ground, and reason
 * names client and server, because both ends print it. */
int rf__terms_agree(const struct rf__wish *server, const struct rf__hello *client,
	struct rf__terms *ret_terms, struct rf__reason *reason);

/* The client believes no term before it has compared it with its own wish: a server may lie.
 * Which of the terms is not fine, or NULL. The number of descriptors is the caller's to compare. */
const char *rf__terms_lie(const struct rf__wish *client, const struct rf__welcome *welcome);

/* What the slots of one direction take, as the limits of both ends have it: without what stands behind
 * them. */
uint64_t rf__terms_payload_bytes(const struct rf__terms *terms);

/* From slot to slot in bytes, the file of all of them, and the area of a consumer's region: of
 * slots the return ring, else 0. */
uint64_t rf__terms_stride(const struct rf__terms *terms);
uint64_t rf__terms_slots_bytes(const struct rf__terms *terms);
uint64_t rf__terms_returns_bytes(const struct rf__terms *terms, enum rf__way way);

/* The unit of the rings of such a channel, as ring.h has it. */
uint32_t rf__terms_unit(const struct rf__terms *terms);

/* Can this be the name of a type: 1 to 63 printable characters of ASCII? */
bool rf__is_type_name(const char *name);

/* How many descriptors terms imply: per ring the slots where it has some, the producer's and the
 * consumer's region, and with eventfd doorbells the consumer's and the producer's bell. */
unsigned rf__terms_fds(const struct rf__terms *terms);

#endif
