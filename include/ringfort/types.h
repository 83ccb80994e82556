/* SPDX-License-Identifier: MIT */
/* What every other header of ringfort uses: buffers, messages, deadlines. */
#ifndef RINGFORT_TYPES_H
#define RINGFORT_TYPES_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define RF_EXPORT __attribute__((visibility("default")))

/* Deadlines are absolute times of CLOCK_MONOTONIC in nanoseconds. 0 tries once and never waits;
 * RF_FOREVER waits without end. */
#define RF_FOREVER UINT64_MAX

/* The longest payload of a record in bytes, whatever the ring: a length has 28 bits. A ring also
 * limits it: a record with its 8 bytes of header fills at most half of it. */
#define RF_RECORD_MAX ((size_t)0x0fffffff)

/* How many reservations of one sender may wait at a time: open ones, and those committed behind
 * an open one. Not for slots, whose number is the limit. */
#define RF_RESERVED_MAX 256

/* Space that a sender has reserved, in the ring or a slot: filled by rf_tx_reserve(), given to
 * rf_tx_commit() or rf_tx_cancel(). data is write-only: the receiver maps it too, and what is
 * read there is not to be relied on. */
struct rf_buffer {
	/* Aligned to 8 bytes, in a view as an element, a slot as agreed. The caller's until commit.
	 * Of a slot it may be moved up before commit, and len made smaller: what is skipped at the
	 * front is not sent. */
	void *data;
	size_t len;       /* bytes reserved; the caller may make it smaller before commit */
	uint64_t time_ns; /* the caller's, carried with a slot; 0 after reserve */
	uint64_t user[2]; /* the caller's, carried with a slot; 0 after reserve */
	uint64_t id;      /* the library's: which reservation this is */
	uint32_t tag;     /* the caller's, carried with a record or slot; 0 after reserve */
	uint32_t reserved;
};

/* A message that a receiver has borrowed: filled by rf_rx_borrow(), given back with
 * rf_rx_release(). The sender can change the bytes at data at any time; who parses them, copies
 * first (rf_rx_copy()). What the other fields say is the sender's word and no more. */
struct rf_message {
	const void *data; /* aligned as in rf_buffer; valid until released */
	size_t len;
	uint64_t time_ns; /* what the sender of a slot put there; else 0 */
	uint64_t user[2]; /* what the sender of a slot put there; else 0 */
	uint64_t id;      /* the library's: which message this is */
	uint32_t tag;     /* what the sender put there */
	uint32_t missed;  /* messages of a publisher between the last one and this that were not
			   * delivered, UINT32_MAX if more; else 0 */
	uint32_t n_fds;   /* descriptors that came with it, see rf_rx_take_fds() */
	uint32_t reserved;
};

/* The release of the library that is running, as "major.minor.patch"; static. Any thread. */
RF_EXPORT const char *rf_version(void);

/* Why the last rf_listen(), rf_publish(), rf_accept(), rf_connect() or call for a blob of this thread
 * failed, as a sentence
 * without a full stop; "" when none has. It lives until the thread's next such call. Names that
 * came from a peer have been made printable. */
RF_EXPORT const char *rf_reason(void);

#ifdef __cplusplus
}
#endif

#endif
