/* SPDX-License-Identifier: MIT */
/* Slots: which of them is where, for one producer and any number of consumers of whom none is
 * trusted. Memory in, decisions out: no system call.
 *
 * Each consumer has a ring of descriptors (ring.h with RF__DESCRIPTOR_BYTES as unit): its tail counts
 * what it was lent, its head what it gave back, and capacity is what it may hold. Which slots they
 * were stands in the area behind its head, see ring-layout.h. All else is private, here.
 *
 * A slot is idle, open (being written), committed, or published: then it is lent to the consumers
 * that had room, and idle again when the last of them has given it back or gone. What is idle keeps
 * its message until it is written again, oldest first, so that who joins later can still get it.
 *
 * The memory has a generation; a new one (rf__slots_renew()) takes its place while slots of the old
 * one are still out. There are never more than two: a slot's id is its number, and count more in an
 * odd generation. Each consumer counts on its own, from 0 when it joins, those that it was sent; none
 * is lent a slot of older memory once it has newer.
 *
 * One thread at a time. */
#ifndef RF_SLOTS_H
#define RF_SLOTS_H

#include "fd-terms.h"
#include "ring.h"

enum rf__slot_state { RF__SLOT_IDLE, RF__SLOT_OPEN, RF__SLOT_COMMITTED, RF__SLOT_PUBLISHED };

/* What the producer knows of a slot, and of the message in it. */
struct rf__slot {
	uint64_t number;  /* of the message, counting up from 1; 0: none that was published */
	uint64_t place;   /* as in its descriptor, without a generation; while it is open, only the
			   * length that was reserved */
	uint32_t tag;     /* as in rf_buffer */
	uint32_t n_fds;   /* descriptors that belong to it: set between reserve and commit */
	uint32_t holders; /* consumers that it is lent to */
	uint16_t uses;    /* how often it was reserved: part of a reservation's id */
	uint8_t state;    /* enum rf__slot_state; published and no holders: idle as well */
	bool queued;      /* is in the queue of idle ones, maybe though it has holders again; of the
			   * generation before: is back */
};

/* A queue of slots in an array of its own. */
struct rf__slot_queue {
	uint32_t *ids;
	uint32_t first, end; /* free-running; modulo the size of the array, a power of two */
	uint32_t mask;
};

/* A consumer, as the producer sees it. What each message needs comes first. */
struct rf__slot_consumer {
	struct rf__slot_consumer *next;
	struct rf__ring_tx *ring;
	uint64_t *lent;          /* a bit for each id: does it hold it? */
	uint64_t collected;      /* the position up to which return entries were taken */
	uint64_t untold;         /* messages that it missed and was not told of */
	uint64_t last;           /* number of the last message it was lent */
	uint32_t hold;           /* how many slots it may hold */
	uint32_t memory;         /* the newest generation of the memory that it has */
	uint16_t generation;     /* the same as it counts: how many it was sent since it joined */
	bool blocks;             /* RF_LAG_BLOCK: nothing is reserved that it has no room for */
	bool latest;             /* RF_LAG_LATEST */
	uint32_t with_fds;       /* messages with descriptors that it holds */
	uint64_t missed;         /* messages it had no room for, ever */
	const uint64_t *returns; /* the consumer's area: a return entry for each descriptor */
	void *context;           /* the owner's */
};

/* Asked before a message with descriptors is lent, and with slot NULL before the first one in new
 * memory is: sends the descriptors of the message, or that of base[generation & 1]. false: it cannot be sent
 * now; the consumer misses the message. */
typedef bool rf__slots_send(
	void *context, struct rf__slot_consumer *consumer, const struct rf__slot *slot);

/* The producer's side. */
struct rf__slots {
	unsigned char *base[2]; /* by generation & 1; NULL: there is none */
	uint64_t stride;        /* from slot to slot, bytes */
	uint64_t slot_bytes;    /* the longest message */
	uint32_t count;         /* slots of one generation */
	uint32_t open;          /* reserved, neither committed nor cancelled */
	uint32_t old;           /* slots of the generation before that are not back yet */
	uint32_t generation;
	uint32_t blocking;  /* consumers that block */
	uint32_t symmetric; /* consumers with whom the asymmetric fence was not agreed on */
	bool attention; /* some consumer's kick is due, or it missed messages: the owner's to clear */
	bool ended;
	bool remembers; /* which message is in which slot: for who joins later, or wants the newest */
	uint64_t newest;             /* number of the last message published */
	struct rf__slot *slots;      /* by id, 2 * count */
	struct rf__slot_queue idle;  /* of this generation, longest idle first */
	struct rf__slot_queue ready; /* committed */
	struct rf__slot_queue past;  /* ids by number of the message: number & mask */
	struct rf__slot_consumer *consumers;
	rf__slots_send *send; /* may be NULL: then there is nothing to be sent */
	void *send_context;
};

/* How much memory rf__slots_init() wants for so many slots, and a consumer's bitmap takes. */
size_t rf__slots_memory(uint32_t count);
size_t rf__slots_bitmap_bytes(uint32_t count);

/* memory: zero, of rf__slots_memory(count) bytes, aligned to 8; the caller's. base: the slots, and what
 * stands behind them. */
void rf__slots_init(struct rf__slots *slots, void *memory, unsigned char *base, uint32_t count,
	uint64_t stride, uint64_t slot_bytes);

/* A consumer joins: ring begins at position 0 with hold * RF__DESCRIPTOR_BYTES as capacity; lent is
 * zero. It is lent nothing yet. The caller has checked that the holds of all fit into the slots. */
void rf__slots_join(struct rf__slots *slots, struct rf__slot_consumer *consumer);

/* Lends a consumer that has joined just now what is still there: the newest message, or so many of the
 * newest that they take half of the room it has (if it blocks, besides what is open or committed), oldest
 * first, without a gap: what comes next needs room, too. Messages with descriptors are no longer there.
 * Kicks as publish. */
void rf__slots_catch_up(struct rf__slots *slots, struct rf__slot_consumer *consumer, bool oldest);

/* Has the consumer the present memory, before anything in it is lent? Sends it if need be. */
bool rf__slots_has_memory(struct rf__slots *slots, struct rf__slot_consumer *consumer);

/* It has gone, whatever it did: what only it held is idle at once. Its ring is not looked at. */
void rf__slots_leave(struct rf__slots *slots, struct rf__slot_consumer *consumer);

/* Takes in what a consumer gave back. How many slots, 0 or more; -EPROTO: it returned a slot that it
 * does not hold, or its ring is broken: ring->breach says so, for good. */
int rf__slots_collect(struct rf__slots *slots, struct rf__slot_consumer *consumer);

/* Has the consumer room for n more messages than it holds? As far as is known. */
static inline bool rf__slots_has_room(const struct rf__slot_consumer *consumer, uint32_t n)
{
	return (consumer->ring->at.reserved - consumer->collected) / RF__DESCRIPTOR_BYTES + n <=
	       consumer->hold;
}

static inline uint32_t rf__slots_held(const struct rf__slot_consumer *consumer)
{
	return (uint32_t)((consumer->ring->at.reserved - consumer->collected) /
			  RF__DESCRIPTOR_BYTES);
}

/* Messages that it was lent, ever. */
static inline uint64_t rf__slots_lent(const struct rf__slot_consumer *consumer)
{
	return consumer->ring->at.reserved / RF__DESCRIPTOR_BYTES;
}

/* Messages that are reserved or committed, and not published. */
static inline uint32_t rf__slots_pending(const struct rf__slots *slots)
{
	return slots->open + (slots->ready.end - slots->ready.first);
}

/* The first consumer, in the order of the list, that blocks and has no room for what is pending and one
 * more, after a collect, or that new memory cannot be sent to now; NULL: none is in the way. A broken
 * one is not. */
struct rf__slot_consumer *rf__slots_blocker(struct rf__slots *slots);

/* For how many more messages than are pending have all that block room? At most max. */
uint32_t rf__slots_room(struct rf__slots *slots, uint32_t max);

/* Reserves up to max slots. How many, 1 or more; -EAGAIN: none is idle (collects from everybody first);
 * -EMSGSIZE: len is more than a slot has; -EINVAL: ended. Whether somebody blocks is the caller's to
 * ask. */
int rf__slots_reserve_span(
	struct rf__slots *slots, size_t len, struct rf_buffer *ret_buffers, unsigned max);

/* Would that find a slot? Collects from everybody if need be. */
bool rf__slots_has_idle(struct rf__slots *slots);

/* The id of the reservation that a slot is, or was: rf_buffer.id. */
uint64_t rf__slots_id(const struct rf__slots *slots, const struct rf__slot *slot);

/* The slot of an open reservation; NULL: it is none. */
struct rf__slot *rf__slots_find(struct rf__slots *slots, uint64_t id);

/* commit: buffer->data may have been moved up in its slot. 0; -EINVAL: not an open reservation, or
 * data and len are not within what was reserved. */
int rf__slots_commit(struct rf__slots *slots, const struct rf_buffer *buffer);
int rf__slots_cancel(struct rf__slots *slots, uint64_t id);

/* Lends what is committed to all consumers that have room, in the order of the commits; each one's
 * tail is stored once, and its ring's kick_due says whether it wants a kick. How many messages there
 * were. A consumer without room, also after a collect, misses a message. */
unsigned rf__slots_publish(struct rf__slots *slots);

/* Lends the newest message to a consumer that missed it and has room now (RF_LAG_LATEST). true: it
 * was lent; kick as after publish. */
bool rf__slots_refresh(struct rf__slots *slots, struct rf__slot_consumer *consumer);

/* Publishes the rest, cancels what is open, closes (RF__ENDED) and sets kick_due at every consumer. One
 * that is cut off is closed with rf__ring_tx_close() instead, and leaves. */
void rf__slots_end(struct rf__slots *slots);

/* New memory at base. The caller has seen that no slot of the generation before is out (old is 0), and
 * that nothing is open or committed; it unmaps what was at base[] of the new generation before. Messages
 * in the old memory are not there any more for who joins later. */
void rf__slots_renew(struct rf__slots *slots, unsigned char *base);

/* The consumer's side. */
struct rf__slots_rx {
	struct rf__ring_rx *ring;
	uint64_t *returns;            /* our own area */
	const unsigned char *base[2]; /* by generation & 1 */
	uint64_t *held;               /* a bit for each id: is it borrowed? */
	uint32_t held_of[2];          /* how many of them, by generation & 1 */
	uint64_t stride;
	uint64_t slot_bytes;
	uint64_t missed; /* to be told with the next message */
	uint64_t known;  /* dropped, as far as descriptors have told */
	uint32_t told;   /* by the last descriptor */
	uint32_t count;
	uint16_t generation; /* the newest memory; 0 when we joined */
	bool latest;
	bool passed;    /* latest: the newest was out of date last time, and given back */
	bool never_cut; /* else that is looked for at each borrow, not only when nothing is left, and
			 * what is given back is told at once */

	/* Messages with descriptors that borrow gave back unseen: the caller's to drop, who sets
	 * n_unseen to 0. */
	unsigned n_unseen;
	uint64_t unseen[RF__FDS_MESSAGES];
};

/* What borrow found, besides messages. */
#define RF__SLOTS_NEW_MEMORY 0x40000000

/* As rf__ring_rx_borrow(), of slots; where latest, one message at most, the newest, and what is older
 * is given back; so is the newest if messages were dropped after it, but not twice in a row. A message
 * with descriptors has n_fds UINT32_MAX: how many they are is for the caller to find out.
 * RF__SLOTS_NEW_MEMORY: the next message is in memory of a generation after ours: first
 * rf__slots_rx_renew(). -EPIPE: also when we were cut off, whatever is queued, since that is being
 * written again; -EPROTO: breach says what. Bounded: capacity descriptors. */
int rf__slots_rx_borrow(struct rf__slots_rx *rx, struct rf_message *ret_messages, unsigned max);

/* Is it borrowed? */
bool rf__slots_rx_has(const struct rf__slots_rx *rx, uint64_t id);

/* Gives slots back. How many of n: fewer where the next one is not borrowed. */
unsigned rf__slots_rx_release_span(
	struct rf__slots_rx *rx, const struct rf_message *messages, unsigned n);

/* Gives a slot back. 0; -EINVAL: it is not borrowed. */
int rf__slots_rx_release(struct rf__slots_rx *rx, uint64_t id);

/* At the end: how many messages were missed of which none told. Again 0. */
uint64_t rf__slots_rx_untold(struct rf__slots_rx *rx);

/* The message that was borrowed last was not: it is the next one again. */
void rf__slots_rx_rewind(struct rf__slots_rx *rx, const struct rf_message *message);

/* The memory of the next generation is at base; what was there two generations before is the
 * caller's to unmap, and that of the one before once nothing of it is borrowed. 0; -EPROTO: slots of
 * two generations before are still borrowed, so they were lent twice. */
int rf__slots_rx_renew(struct rf__slots_rx *rx, const unsigned char *base);

static inline bool rf__slots_rx_lent(const struct rf__slots_rx *rx)
{
	return rx->held_of[0] || rx->held_of[1];
}

#endif
