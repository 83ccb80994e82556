/* SPDX-License-Identifier: MIT */
/* The ways on which messages travel from the producer to the consumer here: the rings or slots of a
 * channel, and a socket. */
#ifndef BENCH_TRANSPORT_H
#define BENCH_TRANSPORT_H

#include <ringfort/ringfort.h>

/* EACH: one message per call and per publish or write(2).
 * SPAN: up to 64 messages are made, then made visible at once; up to 256 are taken at once.
 * COPIED: as EACH, but copied from and into memory of the application, as a socket does it. */
enum mode { EACH, SPAN, COPIED, MODES };

#define SPAN_SEND    64
#define SPAN_RECEIVE 256

/* How much to send. */
struct job {
	enum mode mode;
	size_t size; /* of a message, in bytes; a multiple of 8 */
	uint64_t count;
};

/* One end. */
struct end {
	struct rf_channel *channel; /* ringfort: the one that is used now */
	int fd;                     /* unix stream socket */
	unsigned char *buffer;      /* BUFFER_BYTES of the application's own */
};

/* The longest message, and what an application's buffer holds. */
#define SIZE_MOST    ((4u << 20) - 8)
#define BUFFER_BYTES ((size_t)5 << 20)

/* Sends, or receives and adds up. Both do the whole job, or return a negative errno. */
struct transport {
	int (*send)(struct end *end, const struct job *job);
	int (*receive)(struct end *end, const struct job *job, uint64_t *ret_sum);
};

extern const struct transport transport_ring, transport_socket;

#endif
