/* SPDX-License-Identifier: MIT */
/* The sending half of a channel, or a publisher's: reserve room in the ring or a slot, write into it,
 * commit, publish. */
#ifndef RINGFORT_TX_H
#define RINGFORT_TX_H

#include <ringfort/types.h>
#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The sending half; part of a channel or a publisher, which owns it.
 *
 * One thread at a time may call the functions below (the caller serialises them); it may be
 * another thread than the one that uses the receiving half. rf_channel_stop() ends a wait from
 * any thread.
 *
 * Errors that all of them share: -EPIPE: the peer is gone, or a call that would have to wait found
 * the channel stopped; -EPROTO: the peer broke the protocol, for good; -EBADF: the channel was made
 * before a fork, by the parent; -EINVAL: the caller's mistake, a NULL tx among them. The first time
 * a half sleeps it makes an epoll(7): then errnos of epoll_create1(2) are possible as well. */
struct rf_tx;

/* Of a view (RF_ELEMENTS, RF_STREAM) len is a multiple of the element's size, not 0, and at most
 * half the ring. There are no records: what is published just follows what was before; a tag goes
 * nowhere. Nothing marks a gap: only the newest reservation may be committed shorter than it is, or
 * cancelled, else -EINVAL; commit with len 0 is cancel; rf_tx_end() drops what was committed behind
 * an open reservation. */

/* With slots (RF_SLOTS) a reservation is a slot, and the calls are the same but for this: messages
 * arrive in the order of their commit, so an open reservation holds up no other; len is at most the
 * size of a slot, and commit gives nothing back; as many reservations may be open as there are slots
 * that nobody holds. Over a channel rf_tx_reserve() waits until the receiver may be lent one more; at a
 * publisher until there are wait_for subscribers, the first time, a slot that nobody holds, and room at
 * every subscriber with RF_LAG_BLOCK. */

/* Reserves len bytes (0 is fine) in the ring and describes them in *ret_buffer; waits for room
 * until deadline_ns. Several reservations may be open, RF_RESERVED_MAX at most; records arrive
 * in the order of their reservation. One system call now and then to see whether the receiver is
 * still there, when it made no progress for a tenth of a second.
 * 0; -EAGAIN (deadline 0) or -ETIMEDOUT: no room; -EMSGSIZE: never fits; -EPIPE; -EPROTO;
 * -EBADF; -EINVAL: also when RF_RESERVED_MAX are waiting; -ENOMEM: for more than one, the first time. */
RF_EXPORT int rf_tx_reserve(
	struct rf_tx *tx, size_t len, uint64_t deadline_ns, struct rf_buffer *ret_buffer);

/* Reserves up to max records of len bytes each; waits until there is room for one, takes what
 * there is, and never waits for more.
 * The number reserved, 1 or more; errors as rf_tx_reserve(). */
RF_EXPORT int rf_tx_reserve_span(struct rf_tx *tx, size_t len, uint64_t deadline_ns,
	struct rf_buffer *ret_buffers, unsigned max);

/* Seals a reservation with buffer->len bytes (at most what was reserved) and buffer->tag. Not
 * yet visible to the receiver. Only the newest reservation gives unused room back; an older one
 * leaves a gap that costs its bytes until received.
 * 0; -EINVAL: not an open reservation, or longer than reserved; -EPROTO: the reservation is given
 * up; -EBADF. */
RF_EXPORT int rf_tx_commit(struct rf_tx *tx, const struct rf_buffer *buffer);

/* Commits n reservations, in any order. 0; errors as rf_tx_commit(), where those before the
 * first bad one are committed. */
RF_EXPORT int rf_tx_commit_span(struct rf_tx *tx, const struct rf_buffer *buffers, unsigned n);

/* Gives a reservation up; the receiver never sees it. The only call of this half that is valid
 * after rf_channel_close().
 * 0; -EINVAL: not an open reservation; -EBADF. */
RF_EXPORT int rf_tx_cancel(struct rf_tx *tx, const struct rf_buffer *buffer);

/* Makes what is committed visible to the receiver, up to the oldest reservation still open, and
 * wakes it if it sleeps: release ordering, everything written before is seen. One system call to
 * wake it, none while it is awake. Nothing to publish is fine.
 * 0; -EAGAIN: the kernel has no room now for descriptors that belong to a message: that one and those
 * behind it stay committed, publish again; -EPIPE: the peer is gone; -EPROTO; -EBADF; -EINVAL. */
RF_EXPORT int rf_tx_publish(struct rf_tx *tx);

/* Sends one record gathered from n parts: reserve, copy, commit and publish in one. All or
 * nothing. Its tag is 0.
 * 0; errors as rf_tx_reserve(). */
RF_EXPORT int rf_tx_send(struct rf_tx *tx, const struct iovec *iov, int n, uint64_t deadline_ns);

/* Ties n descriptors (1 to RF_FDS_MAX) to an open reservation: they arrive with its message, in this
 * order. They stay the caller's, the library has duplicates, and what they refer to lives as long as
 * anybody has one. Not in a view. A receiver has at most 16 such messages at a time: over a channel
 * this waits until deadline_ns for it to take one; at a publisher a subscriber that has 16 misses the
 * message. A subscriber that comes later never gets it.
 * 0; -EAGAIN (deadline 0) or -ETIMEDOUT: 16 are out, or the agreed rate is used up; -EPERM: a kind
 * that was not agreed on, or none was; -EMSGSIZE: more than were agreed on; -EINVAL: not an open
 * reservation, it has some already, a view, or all 16 are tied to what is not published yet; -EPIPE; -EPROTO; -EBADF: also no descriptor; -ENOMEM;
 * -EMFILE. */
RF_EXPORT int rf_tx_attach(struct rf_tx *tx, const struct rf_buffer *buffer, const int *fds,
	unsigned n, uint64_t deadline_ns);

/* The size of an element in bytes; 1: a stream; 0: records, slots, or tx is NULL. Any thread. */
RF_EXPORT size_t rf_tx_element_bytes(const struct rf_tx *tx);

/* Ends the stream: cancels open reservations, publishes the rest, and tells the receiver, who
 * gets end of stream after the last record. Afterwards the other calls fail with -EINVAL. Ending
 * again does nothing. On a broken channel it gives open reservations up.
 * 0; -EAGAIN: as rf_tx_publish(), nothing is ended yet; -EPIPE: the peer went before; -EPROTO; -EBADF;
 * -EINVAL. */
RF_EXPORT int rf_tx_end(struct rf_tx *tx);

#ifdef __cplusplus
}
#endif

#endif
