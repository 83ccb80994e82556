/* SPDX-License-Identifier: MIT */
/* The handshake as messages and states: bytes in, bytes out, descriptors counted. No system call,
 * no clock, no allocation. */
#ifndef RF_WIRE_H
#define RF_WIRE_H

#include "terms.h"
#include <stddef.h>

/*	client                          server
 *	HELLO     what I want       →   agree on terms, make regions
 *	map, seal my own            ←   WELCOME   terms, descriptors
 *	MAPPED                      →   verify the client's regions
 *	open                        ←   READY
 *
 * and from either side, instead of any of these: REFUSE with a code and a sentence.
 *
 * A message is a header and a body without gaps, numbers in little endian. Sizes in bytes:
 *
 *	header   4 magic, 2 protocol version, 2 type, 4 length of the body: all the rest
 *	HELLO    8 required features, 8 wanted features, 8 wished ring size or 0, 8 largest ring
 *	         size, 4 direction, 4 kind, 4 mask of doorbells, 4 mask of fences, 4 page size,
 *	         4 element size, 64 type name, slots, what it takes of descriptors, 16 reserved
 *	WELCOME  8 features, 8 ring size up, 8 ring size down, 4 kind, 4 doorbell, 4 fence,
 *	         4 listened, 4 page size, 4 number of descriptors, 4 element size, 64 type name,
 *	         slots, descriptors that go up, descriptors that go down, 16 reserved
 *	MAPPED   nothing
 *	READY    nothing
 *	REFUSE   4 code, 4 reserved, 128 sentence, padded with zeroes
 *
 * of which
 *
 *	slots        8 slot size, 4 how many, 4 alignment, 4 how many a receiver may hold,
 *	             4 lag, 4 start, 8 nanoseconds that it may stall; in HELLO 0 is no wish
 *	descriptors  4 mask of kinds, 4 largest number with a message, 4 in a second or 0
 *
 * What is reserved is zero; so are element size and type name of all kinds but elements, and in
 * WELCOME slots of all kinds but slots, lag to stall of all but a publisher's, and descriptors
 * where none are taken. A type name is printable ASCII, padded with zeroes, one at least.
 * Header and REFUSE are the same in every protocol version, so that versions can part politely. */

#define RF__WIRE_MAGIC   UINT32_C(0x74724652) /* "RFrt" */
#define RF__WIRE_VERSION 1u
#define RF__WIRE_MAX     512 /* no message is longer, in bytes */
#define RF__WIRE_TEXT    128 /* the sentence of a REFUSE; a peer need not terminate it */

enum rf__wire_type {
	RF__WIRE_HELLO = 1,
	RF__WIRE_WELCOME = 2,
	RF__WIRE_MAPPED = 3,
	RF__WIRE_READY = 4,
	RF__WIRE_REFUSE = 5
};

/* Why an end refuses, and the errno that this becomes at the other end. */
enum rf__refusal {
	RF__REFUSAL_POLICY = 1,      /* -EPERM */
	RF__REFUSAL_BAD_MESSAGE = 2, /* -EBADMSG */
	RF__REFUSAL_NO_GROUND = 3,   /* -ENOTSUP: no common ground */
	RF__REFUSAL_QUOTA = 4,       /* -ENOBUFS */
	RF__REFUSAL_TOO_LATE = 5,    /* -ETIMEDOUT */
	RF__REFUSAL_OTHER = 6        /* -ECONNABORTED: any other errno, any code not known here */
};

enum rf__wire_state {
	RF__WIRE_WAIT,   /* for a message of the peer */
	RF__WIRE_SEND,   /* rf__wire_output() has a message */
	RF__WIRE_BUILD,  /* terms are there: server makes the regions, client maps; then done() */
	RF__WIRE_VERIFY, /* server: looks at the client's regions; then done() */
	RF__WIRE_OPEN,   /* the channel is up */
	RF__WIRE_FAILED  /* error and reason say why; nothing more to send */
};

/* One end of a handshake. The caller reads state, terms, error and reason, and writes nothing. */
struct rf__wire {
	enum rf__wire_state state;
	uint32_t next; /* enum rf__wire_type: the message expected or to be sent */
	unsigned step; /* how far the handshake has come */
	bool server;
	struct rf__wish wish;
	struct rf__terms terms; /* from BUILD on */
	int error; /* negative errno once refused or broken, by either side; 0 before */
	struct rf__reason reason;
};

/* Starts a handshake: a client has a HELLO to send, a server waits for it. */
void rf__wire_init(struct rf__wire *wire, bool server, const struct rf__wish *wish);

/* Takes one message of the peer, len as it was sent (MSG_TRUNC), and the number of descriptors that
 * came with it (the caller keeps or closes those). A message of 0 bytes is a bad message, not the
 * end. 0; a negative errno when the handshake is over: then state is FAILED (refused by the peer),
 * or SEND with a REFUSE for the peer (-EBADMSG: no valid message here and now; -ENOTSUP: no common
 * ground). Once it is over or OPEN, any further input is -EBADMSG and changes nothing. */
int rf__wire_input(struct rf__wire *wire, const void *message, size_t len, unsigned n_fds);

/* Writes the message to send and the number of descriptors to go with it; state moves on.
 * Its length; 0: nothing to send, nothing written. */
size_t rf__wire_output(
	struct rf__wire *wire, unsigned char message[RF__WIRE_MAX], unsigned *ret_n_fds);

/* BUILD or VERIFY is done. Does nothing in other states: a peer may have refused meanwhile. */
void rf__wire_done(struct rf__wire *wire);

/* We refuse: a negative errno and a sentence, which the peer gets, too (wire->reason.text may be
 * that sentence). There is one REFUSE to send then. Does nothing once it is over or OPEN. */
void rf__wire_refuse(struct rf__wire *wire, int error, const char *sentence);

#endif
