/* SPDX-License-Identifier: MIT */
/* What lies where in shared memory, and the only operations that may touch it.
 *
 * Everything here can be written by a hostile process while we look. So a word is loaded once
 * per pass, through an accessor, into a local; the local is checked and used. What we wrote
 * ourselves is never read back. */
#ifndef RF_RING_LAYOUT_H
#define RF_RING_LAYOUT_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Words that are read at different rhythms sit on different lines; 128, because processors fetch
 * pairs of 64. */
#define RF__LINE 128

/* The first page of the producer's region; the data follow on the next page. Written by the
 * producer only. */
struct rf__producer_words {
	uint64_t tail; /* published so far, in bytes; whole records or elements */
	uint64_t
		closed; /* enum rf__closed: tail is final. Stored after the last tail, loaded before */
	uint64_t dropped; /* messages that were not lent to this consumer, so far; a hint */
	unsigned char line0[RF__LINE - 24];
	uint64_t space_want; /* kick me when head gets here */
	unsigned char line1[RF__LINE - 8];
	uint64_t statistics[16]; /* kept for the producer's figures; 0 */
};

/* Why a tail is final: it was ended; or the consumer of slots was cut off, because it gave nothing
 * back for too long, or used up its budget of blocked time. */
enum rf__closed { RF__OPEN, RF__ENDED, RF__CUT_STALLED, RF__CUT_BUDGET };

/* The first page of the consumer's region. Written by the consumer only. */
struct rf__consumer_words {
	uint64_t head; /* given back so far, in bytes; whole records or elements */
	unsigned char line0[RF__LINE - 8];
	uint64_t data_want; /* kick me when tail gets here */
	unsigned char line1[RF__LINE - 8];
	uint64_t statistics[16]; /* kept for the consumer's figures; 0 */
};

_Static_assert(offsetof(struct rf__producer_words, tail) == 0, "layout");
_Static_assert(offsetof(struct rf__producer_words, closed) == 8, "layout");
_Static_assert(offsetof(struct rf__producer_words, dropped) == 16, "layout");
_Static_assert(offsetof(struct rf__producer_words, space_want) == 128, "layout");
_Static_assert(offsetof(struct rf__producer_words, statistics) == 256, "layout");
_Static_assert(sizeof(struct rf__producer_words) == 384, "layout");
_Static_assert(offsetof(struct rf__consumer_words, head) == 0, "layout");
_Static_assert(offsetof(struct rf__consumer_words, data_want) == 128, "layout");
_Static_assert(offsetof(struct rf__consumer_words, statistics) == 256, "layout");
_Static_assert(sizeof(struct rf__consumer_words) == 384, "layout");
_Static_assert(__atomic_always_lock_free(8, 0), "64-bit words must be loaded in one piece");

/* A record is as cursor.h says; these are its flags. Bits 30 and 31 are zero. */
#define RF__SKIP       (UINT64_C(1) << 28) /* no record: a gap to be passed over */
#define RF__FDS_FOLLOW (UINT64_C(1) << 29) /* descriptors beside the data belong to it */

/* A slot ring counts messages where others count bytes: a message is a descriptor in the producer's
 * area, and a slot that was given back is an entry of 8 bytes in the consumer's area, at half of the
 * position: the number of the slot, and of which generation of the memory it is.
 *
 * A descriptor is short, since each message of each consumer takes one; what few messages need, and is
 * the same for all consumers, stands behind the slots. */
struct rf__descriptor {
	uint64_t
		place; /* bits 0-15: number of the slot; 16-23: generation of the memory, which counts
			 * up and wraps; 24 and 25: RF__SLOT_…; 26-31: zero; 32-63: payload bytes */
	uint64_t tags; /* bits 0-31: the user's tag; 32-63: missed since the last one */
};

/* Behind the slots, one for each. Written with the slot, and as long as that nobody's but the
 * producer's. */
struct rf__slot_extra {
	uint64_t offset; /* where in the slot the payload begins */
	uint64_t time_ns;
	uint64_t user[2];
};

_Static_assert(sizeof(struct rf__descriptor) == 16, "layout");
_Static_assert(sizeof(struct rf__slot_extra) == 32, "layout");

#define RF__DESCRIPTOR_BYTES   UINT64_C(16)
#define RF__RETURN_BYTES       UINT64_C(8)
#define RF__GENERATION_SHIFT   16
#define RF__SLOT_FDS_FOLLOW    (UINT64_C(1) << 24) /* descriptors beside the data belong to it */
#define RF__SLOT_HAS_EXTRA     (UINT64_C(1) << 25) /* else its extra is all zero, or old */
#define RF__SLOT_UNKNOWN       UINT64_C(0xfc000000)
#define RF__LEN_SHIFT          32
#define RF__SLOT_ALIGNMENT_MIN 64

/* From slot to slot in bytes; alignment is a power of two. */
static inline uint64_t rf__slots_stride(uint64_t slot_bytes, uint64_t alignment)
{
	return (slot_bytes + alignment - 1) & ~(alignment - 1);
}

/* Where what stands behind the slots begins; and where that ends, in whole pages. */
static inline uint64_t rf__slots_end_bytes(uint64_t count, uint64_t stride)
{
	return count * stride;
}

static inline uint64_t rf__slots_file_bytes(uint64_t count, uint64_t stride, uint64_t page_bytes)
{
	uint64_t bytes = rf__slots_end_bytes(count, stride) + count * sizeof(struct rf__slot_extra);

	return (bytes + page_bytes - 1) / page_bytes * page_bytes;
}

/* A test build watches every access: it may count it, replace the value that is loaded or
 * stored, or stop the process right there. */
enum rf__op { RF__OP_LOAD, RF__OP_STORE, RF__OP_COPY_IN, RF__OP_COPY_OUT };

#ifdef RF_TESTING
extern uint64_t (*rf__access_hook)(enum rf__op op, const void *where, uint64_t value);

#define RF__ACCESSED(op, where, value)                                                             \
	(rf__access_hook ? rf__access_hook(op, where, value) : (value))
#else
#define RF__ACCESSED(op, where, value) ((void)(where), (value))
#endif

#define RF__WATCHED_LOAD(word, value)  RF__ACCESSED(RF__OP_LOAD, word, value)
#define RF__WATCHED_STORE(word, value) RF__ACCESSED(RF__OP_STORE, word, value)
#include <ringfort/cursor.h> /* accessors, too: they are what applications inline */

static inline uint64_t rf__load_acquire(const uint64_t *word)
{
	return RF__ACCESSED(RF__OP_LOAD, word, __atomic_load_n(word, __ATOMIC_ACQUIRE));
}

/* From there on the processor's own copy is faster than a loop, and much so between processors that
 * share no cache; below that memcpy() does as well. */
#define RF__LARGE_COPY ((size_t)1 << 20)

static inline void rf__copy(void *to, const void *from, size_t len)
{
#ifdef __x86_64__
	if (len >= RF__LARGE_COPY) {
		__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(len) : : "memory");
		return;
	}
#endif
	if (len)
		memcpy(to, from, len);
}

/* Orders what was stored before it, with whatever strength, before what is loaded behind it: for many
 * words at once, of which each would be waited for if it were stored sequentially consistent. Not the
 * fence of C11 by name, since that makes compilers warn where ThreadSanitizer is built in. */
static inline void rf__full_barrier(void)
{
	__sync_synchronize();
}

/* Payload, which nobody interprets. */
static inline void rf__copy_in(void *shared, const void *from, size_t len)
{
	(void)RF__ACCESSED(RF__OP_COPY_IN, shared, len);
	rf__copy(shared, from, len);
}

static inline void rf__copy_out(void *to, const void *shared, size_t len)
{
	(void)RF__ACCESSED(RF__OP_COPY_OUT, shared, len);
	rf__copy(to, shared, len);
}

#endif
