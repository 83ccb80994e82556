/* SPDX-License-Identifier: MIT */
/* The receiving half of a channel: borrow records in place and give them back, or copy them out. */
#ifndef RINGFORT_RX_H
#define RINGFORT_RX_H

#include <ringfort/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The receiving half; part of a channel, which owns it. Threads and shared errors as for struct
 * rf_tx. */
struct rf_rx;

/* Of a view (RF_ELEMENTS, RF_STREAM) there is one message at a time: everything that was published
 * and not borrowed yet, whole elements in one piece, tag 0. What is borrowed next follows it in
 * memory, so that while both are borrowed one may read on from the first into the second. */

/* Borrows up to max of the oldest records not yet borrowed; waits until deadline_ns for the
 * first. Acquire ordering: what the sender wrote before it published is seen. Borrowed records
 * may be kept across calls, but they hold up the ring.
 * How many, 1 or more; 0: end of stream, the sender ended it and everything was borrowed;
 * -EAGAIN (deadline 0) or -ETIMEDOUT: nothing there;
 * -EPIPE: everything was borrowed, and the sender went without ending, or the channel was
 * stopped; -EPROTO; -EBADF; -EINVAL. */
RF_EXPORT int rf_rx_borrow(
	struct rf_rx *rx, uint64_t deadline_ns, struct rf_message *ret_messages, unsigned max);

/* Gives n borrowed records back, oldest first, in the order they were borrowed; slots in any order.
 * Closes descriptors that came with them and were not taken. The only call of this half that is valid
 * after rf_channel_close(). 0; -EINVAL: not the oldest ones, or slots that are not borrowed: those
 * before the first such are released; -EBADF. */
RF_EXPORT int rf_rx_release(struct rf_rx *rx, const struct rf_message *messages, unsigned n);

/* Copies the oldest record into buffer, where the sender can no longer change it, and releases
 * it; *ret_message describes the copy. Of a view: as many whole elements as are there and fit; the
 * rest stays.
 * 1; 0: end of stream; -EMSGSIZE: longer than size, the record stays the oldest (rf_rx_borrow()
 * tells its length);
 * -EINVAL: also while records are borrowed (slots may be); other errors as rf_rx_borrow(). */
RF_EXPORT int rf_rx_copy(struct rf_rx *rx, uint64_t deadline_ns, void *buffer, size_t size,
	struct rf_message *ret_message);

/* Takes the descriptors that came with a borrowed message, all of them, in their order: ret_fds has
 * room for max. They are the caller's then, CLOEXEC. Their kinds were agreed on; nothing else about
 * them is known, and with a stranger's even looking can hang (ringfort-security(7)); a blob is opened
 * with rf_blob_open().
 * How many; 0: there are none, or they were taken; -EMSGSIZE: more than max, all stay; -EINVAL: not a
 * borrowed message; -EBADF. */
RF_EXPORT int rf_rx_take_fds(
	struct rf_rx *rx, const struct rf_message *message, int *ret_fds, unsigned max);

/* The size of an element in bytes; 1: a stream; 0: records, slots, or rx is NULL. Any thread. */
RF_EXPORT size_t rf_rx_element_bytes(const struct rf_rx *rx);

#ifdef __cplusplus
}
#endif

#endif
