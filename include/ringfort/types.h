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
 * an open one. */
#define RF_RESERVED_MAX 256

/* Space that a sender has reserved in the ring: filled by rf_tx_reserve(), given to
 * rf_tx_commit() or rf_tx_cancel(). data is write-only: the receiver maps it too, and what is
 * read there is not to be relied on. */
struct rf_buffer {
	void *data;       /* 8-byte aligned, in a view as an element; the caller's until commit */
	size_t len;       /* bytes reserved; the caller may make it smaller before commit */
	uint64_t time_ns; /* not carried by a byte ring */
	uint64_t user[2]; /* not carried by a byte ring */
	uint64_t id;      /* the library's: which reservation this is */
	uint32_t tag;     /* the caller's, carried with a record; 0 after reserve */
	uint32_t reserved;
};

/* A record that a receiver has borrowed from the ring: filled by rf_rx_borrow(), given back with
 * rf_rx_release(). The sender can change the bytes at data at any time; who parses them, copies
 * first (rf_rx_copy()). */
struct rf_message {
	const void *data; /* 8-byte aligned, in a view as an element; valid until released */
	size_t len;
	uint64_t time_ns; /* 0: not carried by a byte ring */
	uint64_t user[2]; /* 0: not carried by a byte ring */
	uint64_t id;      /* the library's: which record this is */
	uint32_t tag;     /* what the sender put there; not to be trusted more than the payload */
	uint32_t missed;  /* 0: a byte ring loses nothing */
};

/* The release of the library that is running, as "major.minor.patch"; static. Any thread. */
RF_EXPORT const char *rf_version(void);

/* Why the last rf_listen(), rf_accept() or rf_connect() of this thread failed, as a sentence
 * without a full stop; "" when none has. It lives until the thread's next such call. Names that
 * came from a peer have been made printable. */
RF_EXPORT const char *rf_reason(void);

#ifdef __cplusplus
}
#endif

#endif
