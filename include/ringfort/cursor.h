/* SPDX-License-Identifier: MIT */
/* What the calls for single messages need of a ring, so that a compiler can inline them: see inline.h.
 * Not for use by applications: nothing here is to be read or written but by what is inlined.
 *
 * A cursor is where a half begins. The library decides which calls go without it: it shuts a cursor
 * (ours is what no generation is) wherever there is more to be done than is done here: with slots, with
 * descriptors beside the data, at the end, after a breach, when the peer is gone, when a kick could not
 * be made; and in a child of fork(2) it is shut by itself. A library whose rings are different shuts all
 * of them, and programs that were compiled with this header go on as before, a call at a time.
 *
 * Positions are free-running 64-bit byte counts, as in the ring; what is shared is loaded and stored
 * here once per call, checked, and the copy is used. */
#ifndef RINGFORT_CURSOR_H
#define RINGFORT_CURSOR_H

#include <ringfort/types.h>
#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

#define RF__INLINE extern __inline__ __attribute__((__gnu_inline__, __always_inline__))

/* A record: one word of header, then the payload, then zero to seven bytes up to the next multiple of
 * 8. Bits 0-27: payload bytes; 28-31: flags, not for here; 32-63: the user's tag. */
#define RF__HEADER    UINT64_C(8)
#define RF__LEN_MASK  UINT64_C(0x0fffffff)
#define RF__FLAG_MASK UINT64_C(0xf0000000)
#define RF__TAG_SHIFT 32

/* What a record of len payload bytes takes of the ring. */
RF__INLINE uint64_t rf__record_bytes(uint64_t len)
{
	return (RF__HEADER + len + 7) & ~UINT64_C(7);
}

/* A test build of the library watches every access to shared memory. */
#ifndef RF__WATCHED_LOAD
#define RF__WATCHED_LOAD(word, value)  (value)
#define RF__WATCHED_STORE(word, value) (value)
#endif

RF__INLINE uint64_t rf__load_relaxed(const uint64_t *word)
{
	return RF__WATCHED_LOAD(word, __atomic_load_n(word, __ATOMIC_RELAXED));
}

RF__INLINE uint64_t rf__load_seq_cst(const uint64_t *word)
{
	return RF__WATCHED_LOAD(word, __atomic_load_n(word, __ATOMIC_SEQ_CST));
}

RF__INLINE void rf__store_relaxed(uint64_t *word, uint64_t value)
{
	__atomic_store_n(word, RF__WATCHED_STORE(word, value), __ATOMIC_RELAXED);
}

RF__INLINE void rf__store_release(uint64_t *word, uint64_t value)
{
	__atomic_store_n(word, RF__WATCHED_STORE(word, value), __ATOMIC_RELEASE);
}

RF__INLINE void rf__store_seq_cst(uint64_t *word, uint64_t value)
{
	__atomic_store_n(word, RF__WATCHED_STORE(word, value), __ATOMIC_SEQ_CST);
}

/* Keeps the compiler from moving accesses over it, and says nothing to the processor: one half of an
 * asymmetric fence, whose other half is membarrier(2). */
RF__INLINE void rf__compiler_barrier(void)
{
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

/* Does moving from before to after pass what is wanted? Unsigned differences: positions wrap, and a
 * hostile want is only a number. */
RF__INLINE bool rf__passes(uint64_t before, uint64_t after, uint64_t wanted)
{
	return after - wanted < after - before;
}

/* Stores a position and loads the want of the peer behind it: does it pass that?
 *
 * Symmetric: pairs with the store of the want and the load of the position where the peer arms.
 * Asymmetric: with the barrier that the peer's membarrier(2) makes this thread pass between those two:
 * before the load here, which then finds the want; or behind the store, which is then found. */
RF__INLINE bool rf__move(
	uint64_t *position, uint64_t before, uint64_t after, const uint64_t *want, bool asymmetric)
{
	uint64_t wanted;

	if (asymmetric) {
		rf__store_release(position, after);
		rf__compiler_barrier();
		wanted = rf__load_relaxed(want);
	} else {
		rf__store_seq_cst(position, after);
		wanted = rf__load_seq_cst(want);
	}
	return rf__passes(before, after, wanted);
}

/* Shut, and the parent's, compare unequal. */
#define RF__SHUT UINT64_MAX

struct rf__tx_cursor {
	const uint64_t *generation;
	uint64_t ours;       /* atomic */
	unsigned char *data; /* mapped twice in a row */
	uint64_t mask;       /* of a position, what is its place in data */
	uint64_t unit;       /* 0: records; else a view of elements of so many bytes */
	uint64_t reserved;   /* where the next reservation begins */
	uint64_t committed;  /* where the oldest open reservation begins */
	uint64_t published;  /* the tail we stored last */
	uint64_t limit;      /* up to here a reservation needs no call, if half the ring holds it */
	uint64_t
		each; /* all from committed to reserved are open and as long; 0: somebody else knows */
	uint64_t each_len;         /* payload bytes of these */
	uint64_t records, bytes;   /* committed; atomic, for the figures */
	uint64_t *tail;            /* shared */
	const uint64_t *data_want; /* the peer's */
	bool asymmetric;           /* the fence, as agreed */
	bool kick_due;             /* the want was passed; a call kicks */
};

struct rf__rx_cursor {
	const uint64_t *generation;
	uint64_t ours;             /* atomic */
	const unsigned char *data; /* mapped twice in a row */
	uint64_t mask;             /* of a position, what is its place in data */
	uint64_t capacity;         /* tail is never further from head than that */
	uint64_t position;         /* the next header to look at */
	uint64_t taken; /* where the last record borrowed ended; between it and position lie gaps */
	uint64_t released;       /* what was given back ends here; everything, when it is taken */
	uint64_t stored;         /* the head we stored last */
	uint64_t tail;           /* the peer's, as last believed */
	uint64_t records, bytes; /* borrowed; atomic, for the figures */
};

/* May a call be inlined? Of either kind of cursor, which may be NULL. */
#define RF__IS_OPEN(cursor)                                                                        \
	((cursor) && __atomic_load_n(&(cursor)->ours, __ATOMIC_RELAXED) ==                         \
			     __atomic_load_n((cursor)->generation, __ATOMIC_RELAXED))

/* Adds to a figure that other threads may read. */
RF__INLINE void rf__count(uint64_t *figure, uint64_t n)
{
	__atomic_store_n(figure, __atomic_load_n(figure, __ATOMIC_RELAXED) + n, __ATOMIC_RELAXED);
}

RF__INLINE void rf__describe_space(
	void *data, uint64_t position, size_t len, struct rf_buffer *ret_buffer)
{
	ret_buffer->data = data;
	ret_buffer->len = len;
	ret_buffer->time_ns = ret_buffer->user[0] = ret_buffer->user[1] = 0;
	ret_buffer->id = position;
	ret_buffer->tag = ret_buffer->reserved = 0;
}

/* Reserves len bytes where nothing is open. false: that takes a call. */
RF__INLINE bool rf__tx_cursor_reserve(
	struct rf__tx_cursor *c, size_t len, struct rf_buffer *ret_buffer)
{
	uint64_t from = c->reserved, room = c->limit - from;
	uint64_t bytes = c->unit ? len : rf__record_bytes(len);

	if (from != c->committed || len > room || bytes > room || bytes > c->mask / 2 + 1 ||
		len > RF_RECORD_MAX || (c->unit && len != c->unit))
		return false;
	c->each = bytes;
	c->each_len = len;
	c->reserved = from + bytes;
	rf__describe_space(
		c->data + (from & c->mask) + (c->unit ? 0 : RF__HEADER), from, len, ret_buffer);
	return true;
}

RF__INLINE void rf__put_header(unsigned char *at, uint64_t header)
{
	rf__store_relaxed((uint64_t *)(void *)at, header);
}

/* Commits the oldest open reservation, where what follows needs no care. false: that takes a call. */
RF__INLINE bool rf__tx_cursor_commit(struct rf__tx_cursor *c, uint64_t id, size_t len, uint32_t tag)
{
	uint64_t bytes = c->unit ? len : rf__record_bytes(len);

	if (id != c->committed || id == c->reserved || !c->each || len > c->each_len)
		return false;
	if (bytes != c->each) {
		if (c->unit || id + c->each != c->reserved)
			return false;
		c->reserved = id + bytes;
	}
	if (!c->unit)
		rf__put_header(c->data + (id & c->mask), (uint64_t)tag << RF__TAG_SHIFT | len);
	c->committed = id + bytes;
	return true;
}

/* Publishes what lies before limit, where a committed record begins. true: somebody is to be kicked. */
RF__INLINE bool rf__tx_cursor_publish(struct rf__tx_cursor *c, uint64_t limit)
{
	uint64_t before = c->published;

	if (limit == before)
		return false;
	c->published = limit;
	return rf__move(c->tail, before, limit, c->data_want, c->asymmetric);
}

/* What a message's id says: where the record before it ended, and how far it reaches from there, gaps
 * included, both in words of 8 bytes. So releases need neither a list nor a second look at shared
 * memory. */
RF__INLINE uint64_t rf__record_id(uint64_t from, uint64_t bytes)
{
	return bytes / 8 << 32 | (from / 8 & UINT32_MAX);
}

RF__INLINE void rf__describe_record(
	const unsigned char *at, uint64_t header, uint64_t id, struct rf_message *ret_message)
{
	ret_message->data = at + RF__HEADER;
	ret_message->len = (size_t)(header & RF__LEN_MASK);
	ret_message->time_ns = ret_message->user[0] = ret_message->user[1] = 0;
	ret_message->id = id;
	ret_message->tag = (uint32_t)(header >> RF__TAG_SHIFT);
	ret_message->missed = ret_message->n_fds = ret_message->reserved = 0;
}

/* Borrows up to max records of those that were seen. How many: fewer where no more were seen, or where
 * one needs care, whose header is *ret_header then. */
RF__INLINE unsigned rf__rx_cursor_borrow(struct rf__rx_cursor *c, struct rf_message *ret_messages,
	unsigned max, uint64_t *ret_header)
{
	const unsigned char *data = c->data, *at;
	uint64_t mask = c->mask, most = c->capacity / 2, seen = c->tail;
	uint64_t position = c->position, from = c->taken, header, bytes;
	unsigned n;

	for (n = 0; n < max && position != seen; n++) {
		at = data + (position & mask);
		header = rf__load_relaxed((const uint64_t *)(const void *)at);
		bytes = rf__record_bytes(header & RF__LEN_MASK);
		if (header & RF__FLAG_MASK || bytes > seen - position || bytes > most) {
			*ret_header = header;
			break;
		}
		if (max >
			1) /* where the eighth is, if all are as long: else each waits for the last */
			__builtin_prefetch(data + ((position + 8 * bytes) & mask));
		position += bytes;
		rf__describe_record(
			at, header, rf__record_id(from, position - from), &ret_messages[n]);
		from = position;
	}
	if (n)
		c->position = c->taken = position;
	return n;
}

/* How far releasing n messages would get, *ret_done of them: fewer where the next one is not the
 * oldest. */
RF__INLINE uint64_t rf__rx_cursor_follow(const struct rf__rx_cursor *c,
	const struct rf_message *messages, unsigned n, unsigned *ret_done)
{
	uint64_t to = c->released, bytes;
	unsigned i;

	for (i = 0; i < n; i++, to += bytes) {
		bytes = messages[i].id >> 32 << 3;
		if (!bytes || bytes > c->taken - to ||
			(uint32_t)messages[i].id != (uint32_t)(to / 8))
			break;
	}
	*ret_done = i;
	return to;
}

/* Is the head to be stored? When nothing seen is left, or a quarter of the ring was given back. */
RF__INLINE bool rf__rx_cursor_is_due(const struct rf__rx_cursor *c, uint64_t released)
{
	return released == c->tail || released - c->stored >= c->capacity / 4;
}

/* Gives n messages back, where the head is not to be stored yet. false: that takes a call. */
RF__INLINE bool rf__rx_cursor_release(
	struct rf__rx_cursor *c, const struct rf_message *messages, unsigned n)
{
	unsigned done;
	uint64_t to = rf__rx_cursor_follow(c, messages, n, &done);

	if (done != n || rf__rx_cursor_is_due(c, to) || c->taken != c->position)
		return false;
	c->released = to;
	return true;
}

#ifdef __cplusplus
}
#endif

#endif
