/* SPDX-License-Identifier: MIT */
/* Elements with a C type: options, reserve and borrow for one type, in C11 and C++17. */
#ifndef RINGFORT_TYPED_H
#define RINGFORT_TYPED_H

#include <errno.h>
#include <ringfort/options.h>
#include <ringfort/rx.h>
#include <ringfort/tx.h>

/* RF_TYPED(sample, struct sample); at file scope makes three functions for channels of elements of
 * that type. The name is also the type's name in the handshake, so both ends say the same.
 *
 * void sample_options(struct rf_options *options)
 *	Sets kind, element_bytes and type.
 *
 * int sample_reserve(struct rf_tx *tx, size_t n, uint64_t deadline_ns,
 *		struct rf_buffer *ret_buffer, struct sample **ret_elements)
 *	Reserves n elements, 1 or more, as rf_tx_reserve(), to be written at *ret_elements. Commit
 *	*ret_buffer; to commit fewer, set its len to so many times the size.
 *
 * int sample_borrow(struct rf_rx *rx, uint64_t deadline_ns, struct rf_message *ret_message,
 *		const struct sample **ret_elements, size_t *ret_n)
 *	Borrows as rf_rx_borrow(): 1, and *ret_n elements lie at *ret_elements until *ret_message is
 *	released; 0: end of stream; or an error. Values there can change at any time.
 *
 * reserve and borrow return -EINVAL where the elements of the channel have another size. The type
 * must be one that may be copied byte by byte and means the same in both processes: no pointers.
 * What the compiler can check of that, it does. */
#define RF_TYPED(name, type_name)                                                                  \
	__attribute__((unused)) static inline void name##_options(struct rf_options *options)      \
	{                                                                                          \
		options->kind = RF_ELEMENTS;                                                       \
		options->element_bytes = sizeof(type_name);                                        \
		options->type = #name;                                                             \
	}                                                                                          \
                                                                                                   \
	__attribute__((unused)) static inline int name##_reserve(struct rf_tx *tx, size_t n,       \
		uint64_t deadline_ns, struct rf_buffer *ret_buffer, type_name **ret_elements)      \
	{                                                                                          \
		size_t len = 0;                                                                    \
		int r;                                                                             \
                                                                                                   \
		if (rf_tx_element_bytes(tx) != sizeof(type_name))                                  \
			return -EINVAL;                                                            \
		if (__builtin_mul_overflow(n, sizeof(type_name), &len))                            \
			return -EMSGSIZE;                                                          \
		r = rf_tx_reserve(tx, len, deadline_ns, ret_buffer);                               \
		if (r == 0)                                                                        \
			*ret_elements = (type_name *)ret_buffer->data;                             \
		return r;                                                                          \
	}                                                                                          \
                                                                                                   \
	__attribute__((unused)) static inline int name##_borrow(struct rf_rx *rx,                  \
		uint64_t deadline_ns, struct rf_message *ret_message,                              \
		const type_name **ret_elements, size_t *ret_n)                                     \
	{                                                                                          \
		int r;                                                                             \
                                                                                                   \
		if (rf_rx_element_bytes(rx) != sizeof(type_name))                                  \
			return -EINVAL;                                                            \
		r = rf_rx_borrow(rx, deadline_ns, ret_message, 1);                                 \
		if (r == 1) {                                                                      \
			*ret_elements = (const type_name *)ret_message->data;                      \
			*ret_n = ret_message->len / sizeof(type_name);                             \
		}                                                                                  \
		return r;                                                                          \
	}                                                                                          \
                                                                                                   \
	RF_TYPED_CHECK(sizeof(#name) <= 64, "the name has more than 63 characters");               \
	RF_TYPED_CHECK(RF_TYPED_IS_PLAIN(type_name), "the type cannot be copied byte by byte");    \
	RF_TYPED_CHECK(__alignof__(type_name) <= 4096, "an alignment no ring has");                \
	RF_TYPED_CHECK(sizeof(type_name) >= 1 && sizeof(type_name) <= 1u << 20,                    \
		"elements have 1 byte to 1 MiB")

#ifdef __cplusplus
#define RF_TYPED_CHECK(condition, text) static_assert(condition, text)
#define RF_TYPED_IS_PLAIN(type_name)    __is_trivially_copyable(type_name)
#else
#define RF_TYPED_CHECK(condition, text) _Static_assert(condition, text)
#define RF_TYPED_IS_PLAIN(type_name)    1
#endif

#endif
