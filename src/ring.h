/* SPDX-License-Identifier: MIT */
/* The position algorithm of a single-producer single-consumer ring whose other side may be
 * hostile. Memory in, positions out: no system call.
 *
 * Positions are free-running 64-bit byte counts. The authoritative ones are private, here; the
 * words in shared memory only tell the peer. A peer position is loaded when the cached one runs
 * out, and believed after it has been bounded: it moved forward, and not past what is possible.
 * A breach is sticky: every later call fails with -EPROTO, and breach names it.
 *
 * Kicks are the caller's: whenever a call leaves kick_due set, the peer sleeps at a position
 * that was crossed; clear it and kick. The event index is virtio's (a sleeper publishes the
 * position at which it wants to be woken). The barrier between publishing and looking at the
 * peer's want, and between storing a want and looking again, is the sequentially consistent
 * order of these four accesses, and nothing else:
 *
 *	producer: store tail, load data_want        consumer: store data_want, load tail
 *	consumer: store head, load space_want       producer: store space_want, load head
 *
 * A producer with many rings passes one full barrier between all its stores of tails and all its loads
 * of wants, and the tails are only released: that orders the same accesses, and each such store need not
 * be waited for.
 *
 * Or, where both ends agreed on the asymmetric fence, the accesses of whoever publishes stand in that
 * order in its program, and no more; and whoever is going to sleep makes all others pass a barrier
 * between its store and its look. That is the caller's, too (fence.h): so a half arms in two steps,
 * rf__ring_tx_ask() and rf__ring_tx_look(), with the barrier between them.
 *
 * A handle belongs to one thread at a time; the two ends share nothing but the two regions.
 *
 * A view is the same ring without headers: unit is the size of an element in bytes, 1 for a stream;
 * 0 means records. Then positions move by whole units, a reservation takes what it holds, and what
 * was published and not borrowed is one message. There is no skip record: only the newest
 * reservation may shrink or be cancelled, and commit to nothing is cancel.
 *
 * A slot ring (slots.h) is a view whose unit is a descriptor, and whose head counts slots that were
 * given back in any order: nothing is reserved in it, rf__ring_tx_put() is all. There, capacity is what
 * the consumer may hold, and no power of two. */
#ifndef RF_RING_H
#define RF_RING_H

#include "ring-layout.h"
#include <ringfort/types.h>
#include <stdbool.h>

/* A reservation that is open, or committed behind an open one. */
struct rf__reservation {
	uint64_t position;
	uint32_t len;
	bool committed;
	bool with_fds; /* descriptors belong to it */
};

struct rf__ring_tx {
	struct rf__tx_cursor at; /* shut; or what applications inline works on it */
	struct rf__producer_words *own;
	const struct rf__consumer_words *peer;
	uint64_t capacity;      /* tail is never further from head than that */
	uint64_t head;          /* the peer's, as last believed */
	const char *breach;     /* NULL while the peer kept to the protocol */
	uint32_t waiting_first; /* free-running; modulo RF_RESERVED_MAX an index */
	uint32_t waiting_end;
	bool ended;
	/* Where at.each does not say it all: memory of the caller's, or NULL, and then only one waits. */
	struct rf__reservation *waiting;
	struct rf__reservation only;
};

struct rf__ring_rx {
	struct rf__rx_cursor at; /* shut; or what applications inline works on it */
	struct rf__consumer_words *own;
	const struct rf__producer_words *peer;
	uint64_t unit; /* 0: records; else a view */
	const char *breach;
	bool final;      /* tail is never loaded again */
	uint32_t closed; /* enum rf__closed: why, as the producer said */
	bool kick_due;
	bool asymmetric; /* the fence, as agreed */
};

/* What a cursor that was never opened compares with. */
extern const uint64_t rf__no_generation;

/* Both begin at position 0 on fresh, zero regions, with their cursors shut. A producer
 * without a region is one that publishes slots. capacity is a power of two. unit is 0: whoever
 * wants a view sets it right afterwards; of a slot ring also the capacity, which may be less; and
 * asymmetric where that was agreed on. */
void rf__ring_tx_init(struct rf__ring_tx *tx, struct rf__producer_words *own,
	const struct rf__consumer_words *peer, unsigned char *data, uint64_t capacity);
void rf__ring_rx_init(struct rf__ring_rx *rx, struct rf__consumer_words *own,
	const struct rf__producer_words *peer, const unsigned char *data, uint64_t capacity);

/* No call of this half is inlined from now on, or ever. Any thread. */
static inline void rf__ring_tx_shut(struct rf__ring_tx *tx)
{
	__atomic_store_n(&tx->at.ours, RF__SHUT, __ATOMIC_RELAXED);
}

static inline void rf__ring_rx_shut(struct rf__ring_rx *rx)
{
	__atomic_store_n(&rx->at.ours, RF__SHUT, __ATOMIC_RELAXED);
}

/* Could len bytes ever fit? */
static inline bool rf__ring_tx_fits(const struct rf__ring_tx *tx, size_t len)
{
	if (tx->at.unit)
		return len <= tx->capacity / 2;
	return len <= RF_RECORD_MAX && rf__record_bytes(len) <= tx->capacity / 2;
}

/* Room for RF_RESERVED_MAX reservations, the caller's; stays for good. */
void rf__ring_tx_lend(struct rf__ring_tx *tx, struct rf__reservation *waiting);

/* Reserves up to max records of len bytes. How many, 1 or more; -EAGAIN: no room; -EMSGSIZE:
 * never fits; -EINVAL: ended, or too many wait, or len is not a unit or more; -EPROTO; -ENOMEM: more
 * than one could wait then, which takes rf__ring_tx_lend(). */
int rf__ring_tx_reserve(
	struct rf__ring_tx *tx, size_t len, struct rf_buffer *ret_buffers, unsigned max);

/* 0; -EINVAL: not an open reservation, or len beyond it or not whole units, or a gap in a view;
 * -EPROTO. cancel works on a broken ring, too; in a ring that was ended it may leave gaps. */
int rf__ring_tx_commit(struct rf__ring_tx *tx, uint64_t id, size_t len, uint32_t tag);

/* Commits n; those before the first bad one are, *ret_done of them. 0; errors as commit. */
int rf__ring_tx_commit_span(
	struct rf__ring_tx *tx, const struct rf_buffer *buffers, unsigned n, unsigned *ret_done);
int rf__ring_tx_cancel(struct rf__ring_tx *tx, uint64_t id);

/* Slots: the place of the next unit, to be written before the next publish. The caller has seen that
 * there is room. */
static inline void *rf__ring_tx_put(struct rf__ring_tx *tx)
{
	void *place = tx->at.data + (tx->at.reserved & tx->at.mask);

	tx->at.reserved += tx->at.unit;
	tx->at.committed = tx->at.reserved;
	return place;
}

/* Looks at the head. 0; -EPROTO. */
int rf__ring_tx_refresh(struct rf__ring_tx *tx);

/* Descriptors belong to an open reservation of records: their record says so. 0; -EINVAL: not open, or
 * a view. */
int rf__ring_tx_mark(struct rf__ring_tx *tx, uint64_t id);

/* Is it an open reservation? */
bool rf__ring_tx_is_open(struct rf__ring_tx *tx, uint64_t id);

/* Makes what is committed visible; or only what lies before limit, where a committed record begins. */
void rf__ring_tx_publish(struct rf__ring_tx *tx);
void rf__ring_tx_publish_to(struct rf__ring_tx *tx, uint64_t limit);

/* Slots: the same in two steps, for a producer with many rings: all tails are stored, then it passes one
 * barrier (rf__full_barrier(), unless all of them agreed on the asymmetric fence), then it looks at all
 * wants. heed: is a kick due now? Nothing else is done with a ring between its two steps. */
static inline void rf__ring_tx_show(struct rf__ring_tx *tx)
{
	if (tx->at.committed != tx->at.published)
		rf__store_release(tx->at.tail, tx->at.committed);
}

static inline bool rf__ring_tx_heed(struct rf__ring_tx *tx)
{
	uint64_t before = tx->at.published, after = tx->at.committed;

	if (after == before)
		return false;
	tx->at.published = after;
	if (!rf__passes(before, after, rf__load_relaxed(tx->at.data_want)))
		return false;
	tx->at.kick_due = true;
	return true;
}

/* Records: cancels what is open. */
void rf__ring_tx_cancel_all(struct rf__ring_tx *tx);

/* Cancels what is open, in a view also what is behind that, publishes the rest and closes; leaves
 * kick_due set. */
void rf__ring_tx_end(struct rf__ring_tx *tx);

/* Says why tail is final, and leaves kick_due set: of a consumer that is cut off; end does it itself. */
void rf__ring_tx_close(struct rf__ring_tx *tx, enum rf__closed why);

/* Gives everything up that is not published yet, and tells nobody. */
void rf__ring_tx_abandon(struct rf__ring_tx *tx);

/* Asks to be kicked once len bytes fit (in a view 0 is one unit). Then, behind the barrier where the
 * fence is asymmetric, look: 1: they fit already, or the ring is broken; 0: sleep. */
void rf__ring_tx_ask(struct rf__ring_tx *tx, size_t len);
int rf__ring_tx_look(struct rf__ring_tx *tx, size_t len);
void rf__ring_tx_disarm(struct rf__ring_tx *tx);

/* How many reservations are neither committed nor cancelled. */
unsigned rf__ring_tx_open(const struct rf__ring_tx *tx);

/* Borrows up to max records. A record to which descriptors belong has n_fds UINT32_MAX: how many is for
 * the caller to find out. How many records, 1 or more; 0: end of stream; -EAGAIN: none now; -EPIPE:
 * none, and final without an end; -EPROTO. The work is bounded: after RF__GAPS_MAX gaps in a row
 * it gives up with -EAGAIN although there is more. */
#define RF__GAPS_MAX 1024
int rf__ring_rx_borrow(struct rf__ring_rx *rx, struct rf_message *ret_messages, unsigned max);

/* Gives n borrowed records back, oldest first. How many: fewer where the next one is not the oldest.
 * Works on a broken ring, too. */
unsigned rf__ring_rx_release(struct rf__ring_rx *rx, const struct rf_message *messages, unsigned n);

/* Is it borrowed, and not given back? */
bool rf__ring_rx_has(const struct rf__ring_rx *rx, uint64_t id);

/* What was borrowed since taken was as it is given is not: where the channel is broken. */
static inline void rf__ring_rx_forget(struct rf__ring_rx *rx, uint64_t taken)
{
	rx->at.taken = taken;
}

/* Slots: looks at the tail, unless it is final; and counts so many units as given back. 0; -EPROTO. */
int rf__ring_rx_refresh(struct rf__ring_rx *rx);
void rf__ring_rx_give(struct rf__ring_rx *rx, uint64_t units);

/* Has the peer moved, as far as a glance tells? Nothing is believed: it is worth a look. The consumer's
 * also has the next record fetched meanwhile. */
static inline bool rf__ring_tx_hint(const struct rf__ring_tx *tx)
{
	return rf__load_relaxed(&tx->peer->head) != tx->head;
}

static inline bool rf__ring_rx_hint(const struct rf__ring_rx *rx)
{
	const unsigned char *next = rx->at.data + (rx->at.position & rx->at.mask);

	__builtin_prefetch(next);
	__builtin_prefetch(next + 64);
	return rf__load_relaxed(&rx->peer->tail) != rx->at.tail ||
	       rf__load_relaxed(&rx->peer->closed) != RF__OPEN;
}

#define RF__SEVERAL 8

/* Were several messages seen at once, of which the last one borrowed had len bytes in the ring? */
bool rf__ring_rx_has_several(const struct rf__ring_rx *rx, size_t len);

/* What borrow says of a ring in which nothing is left of what was seen. */
int rf__ring_rx_nothing(const struct rf__ring_rx *rx);

/* Stores the head if anything was given back since: before a wait, of whatever kind. */
void rf__ring_rx_flush(struct rf__ring_rx *rx);

/* Keeps len bytes, 0 or whole units of a view, of the message just borrowed, where nothing else is
 * lent. The rest was never borrowed: it is the next message again. */
void rf__ring_rx_rewind(struct rf__ring_rx *rx, struct rf_message *message, size_t len);

/* Is anything borrowed? */
bool rf__ring_rx_lent(const struct rf__ring_rx *rx);

/* The producer is dead: tail is loaded a last time. */
void rf__ring_rx_finish(struct rf__ring_rx *rx);

/* Stores the head, asks to be kicked at the next record. Then, behind the barrier where the fence is
 * asymmetric, look: 1: there is something already (end and breach, too); 0: sleep. */
void rf__ring_rx_ask(struct rf__ring_rx *rx);
int rf__ring_rx_look(struct rf__ring_rx *rx);
void rf__ring_rx_disarm(struct rf__ring_rx *rx);

#endif
