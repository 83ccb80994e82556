/* SPDX-License-Identifier: MIT */
/* The calls for single messages, inlined where nothing special is to be done; else, and without
 * optimisation, and for whoever takes a function's address or is not compiled with these headers, the
 * functions themselves are called. Nothing but the time they take is different. #define RF_NO_INLINE
 * before the first header is included, and they are always called. */
#ifndef RINGFORT_INLINE_H
#define RINGFORT_INLINE_H

#include <ringfort/cursor.h>
#include <ringfort/rx.h>
#include <ringfort/tx.h>

/* There, clang has words of 64 bits loaded by functions of libatomic. */
#if defined(__clang__) && defined(__i386__) && !defined(RF_NO_INLINE)
#define RF_NO_INLINE
#endif

#if defined(__OPTIMIZE__) && !defined(RF_NO_INLINE)

#ifdef __cplusplus
extern "C" {
#endif

/* The function of the library, whatever is inlined under its name. */
#define RF__CALLED(name) __asm__(#name)

/* Clang takes what calls a function of its own name for a function that calls itself, and inlines nothing:
 * there it has another name. An address is the library's all the same. */
#ifdef __clang__
#define RF__INLINED(name)  name##__inlined
#define rf_tx_reserve(...) rf_tx_reserve__inlined(__VA_ARGS__)
#define rf_tx_commit(...)  rf_tx_commit__inlined(__VA_ARGS__)
#define rf_tx_publish(...) rf_tx_publish__inlined(__VA_ARGS__)
#define rf_rx_borrow(...)  rf_rx_borrow__inlined(__VA_ARGS__)
#define rf_rx_release(...) rf_rx_release__inlined(__VA_ARGS__)
#else
#define RF__INLINED(name) name
#endif

int rf__reserve_called(struct rf_tx *tx, size_t len, uint64_t deadline_ns,
	struct rf_buffer *ret_buffer) RF__CALLED(rf_tx_reserve);
int rf__commit_called(struct rf_tx *tx, const struct rf_buffer *buffer) RF__CALLED(rf_tx_commit);
int rf__publish_called(struct rf_tx *tx) RF__CALLED(rf_tx_publish);
int rf__borrow_called(struct rf_rx *rx, uint64_t deadline_ns, struct rf_message *ret_messages,
	unsigned max) RF__CALLED(rf_rx_borrow);
int rf__release_called(struct rf_rx *rx, const struct rf_message *messages, unsigned n)
	RF__CALLED(rf_rx_release);

RF__INLINE int RF__INLINED(rf_tx_reserve)(
	struct rf_tx *tx, size_t len, uint64_t deadline_ns, struct rf_buffer *ret_buffer)
{
	struct rf__tx_cursor *c = (struct rf__tx_cursor *)(void *)tx;

	if (RF__IS_OPEN(c) && rf__tx_cursor_reserve(c, len, ret_buffer))
		return 0;
	return rf__reserve_called(tx, len, deadline_ns, ret_buffer);
}

RF__INLINE int RF__INLINED(rf_tx_commit)(struct rf_tx *tx, const struct rf_buffer *buffer)
{
	struct rf__tx_cursor *c = (struct rf__tx_cursor *)(void *)tx;

	if (RF__IS_OPEN(c) && rf__tx_cursor_commit(c, buffer->id, buffer->len, buffer->tag)) {
		rf__count(&c->records, 1);
		rf__count(&c->bytes, buffer->len);
		return 0;
	}
	return rf__commit_called(tx, buffer);
}

RF__INLINE int RF__INLINED(rf_tx_publish)(struct rf_tx *tx)
{
	struct rf__tx_cursor *c = (struct rf__tx_cursor *)(void *)tx;

	if (RF__IS_OPEN(c)) {
		if (!rf__tx_cursor_publish(c, c->committed))
			return 0;
		c->kick_due = true;
	}
	return rf__publish_called(tx);
}

RF__INLINE int RF__INLINED(rf_rx_borrow)(
	struct rf_rx *rx, uint64_t deadline_ns, struct rf_message *ret_messages, unsigned max)
{
	struct rf__rx_cursor *c = (struct rf__rx_cursor *)(void *)rx;
	uint64_t header;

	if (max == 1 && RF__IS_OPEN(c) && rf__rx_cursor_borrow(c, ret_messages, 1, &header)) {
		rf__count(&c->records, 1);
		rf__count(&c->bytes, ret_messages->len);
		return 1;
	}
	return rf__borrow_called(rx, deadline_ns, ret_messages, max);
}

RF__INLINE int RF__INLINED(rf_rx_release)(
	struct rf_rx *rx, const struct rf_message *messages, unsigned n)
{
	struct rf__rx_cursor *c = (struct rf__rx_cursor *)(void *)rx;

	if (n == 1 && RF__IS_OPEN(c) && rf__rx_cursor_release(c, messages, 1))
		return 0;
	return rf__release_called(rx, messages, n);
}

#ifdef __cplusplus
}
#endif

#endif

#endif
