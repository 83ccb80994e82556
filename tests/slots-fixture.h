/* SPDX-License-Identifier: MIT */
/* What the tests of slots share: a pool of them in private memory, with both ends of each consumer.
 * Descriptors lie apart of each other and end with the area, so nothing here needs the double mapping.
 * Included once in a program. */
#ifndef RF_TESTS_SLOTS_FIXTURE_H
#define RF_TESTS_SLOTS_FIXTURE_H

#include "ring-fixture.h"
#include "slots.h"

#include <stdlib.h>

struct consumer {
	_Alignas(RF__LINE) struct rf__producer_words producer_words;
	_Alignas(RF__LINE) struct rf__consumer_words consumer_words;
	unsigned char *descriptors;
	uint64_t *returns;
	uint64_t area;
	struct rf__ring_tx tx;
	struct rf__ring_rx rx;
	struct rf__slot_consumer part;
	struct rf__slots_rx slots;
};

struct pool {
	struct rf__slots slots;
	unsigned char *base[2];
	size_t base_bytes;
	void *memory;
};

static inline void *zeroed(size_t bytes)
{
	void *memory = aligned_alloc(RF__LINE, (bytes + RF__LINE - 1) / RF__LINE * RF__LINE);

	assert_non_null(memory);
	return memset(memory, 0, (bytes + RF__LINE - 1) / RF__LINE * RF__LINE);
}

/* As rf__slots_reserve_span(), of one. 0, or an error. */
static inline int reserve_slot(struct rf__slots *slots, size_t len, struct rf_buffer *ret_buffer)
{
	int n = rf__slots_reserve_span(slots, len, ret_buffer, 1);

	return n < 0 ? n : 0;
}

static inline void pool_open(struct pool *pool, uint32_t count, uint64_t slot_bytes)
{
	uint64_t stride = (slot_bytes + 63) / 64 * 64;

	memset(pool, 0, sizeof(*pool));
	pool->base_bytes = (size_t)rf__slots_file_bytes(count, stride, 64);
	pool->base[0] = zeroed(pool->base_bytes);
	pool->memory = zeroed(rf__slots_memory(count));
	rf__slots_init(&pool->slots, pool->memory, pool->base[0], count, stride, slot_bytes);
	pool->slots.remembers = true;
}

static inline void pool_close(struct pool *pool)
{
	free(pool->base[0]);
	free(pool->base[1]);
	free(pool->memory);
}

/* Room for so many in a power of two, a page at least. */
static inline uint64_t area_for(uint32_t hold)
{
	uint64_t area = 4096;

	while (area < hold * RF__DESCRIPTOR_BYTES)
		area *= 2;
	return area;
}

static inline void start_ends(struct consumer *c, uint32_t hold)
{
	rf__ring_tx_init(&c->tx, &c->producer_words, &c->consumer_words, c->descriptors, c->area);
	rf__ring_rx_init(&c->rx, &c->consumer_words, &c->producer_words, c->descriptors, c->area);
	c->tx.at.unit = c->rx.unit = RF__DESCRIPTOR_BYTES;
	c->tx.capacity = c->rx.at.capacity = hold * RF__DESCRIPTOR_BYTES;
}

/* A consumer that has joined, and was lent nothing yet. */
static inline struct consumer *join_as(struct pool *pool, uint32_t hold, bool blocks)
{
	const struct rf__slots *slots = &pool->slots;
	size_t bitmap = rf__slots_bitmap_bytes(slots->count);
	struct consumer *c = zeroed(sizeof(*c));

	c->area = area_for(hold);
	c->descriptors = zeroed((size_t)c->area);
	c->returns = zeroed((size_t)(c->area / RF__DESCRIPTOR_BYTES * RF__RETURN_BYTES));
	start_ends(c, hold);
	c->part = (struct rf__slot_consumer){
		.ring = &c->tx,
		.returns = c->returns,
		.lent = zeroed(bitmap),
		.hold = hold,
		.blocks = blocks,
		.context = c,
	};
	c->slots = (struct rf__slots_rx){
		.ring = &c->rx,
		.returns = c->returns,
		.base = {slots->base[slots->generation & 1]},
		.held = zeroed(bitmap),
		.stride = slots->stride,
		.slot_bytes = slots->slot_bytes,
		.count = slots->count,
	};
	rf__slots_join(&pool->slots, &c->part);
	return c;
}

static inline struct consumer *join(struct pool *pool, uint32_t hold)
{
	return join_as(pool, hold, false);
}

static inline struct consumer *join_blocking(struct pool *pool, uint32_t hold)
{
	return join_as(pool, hold, true);
}

static inline struct consumer *join_latest(struct pool *pool, uint32_t hold)
{
	struct consumer *c = join(pool, hold);

	c->part.latest = c->slots.latest = true;
	return c;
}

static inline void leave(struct pool *pool, struct consumer *c)
{
	rf__slots_leave(&pool->slots, &c->part);
	free(c->descriptors);
	free(c->returns);
	free(c->part.lent);
	free(c->slots.held);
	free(c);
}

/* The owner's part in a renewal; who has the one before the last must have given it back. */
static inline void renew(struct pool *pool)
{
	unsigned next = (pool->slots.generation + 1) & 1;

	assert_int_equal(pool->slots.old, 0);
	assert_int_equal(rf__slots_pending(&pool->slots), 0);
	free(pool->base[next]);
	pool->base[next] = zeroed(pool->base_bytes);
	rf__slots_renew(&pool->slots, pool->base[next]);
}

/* Steps that have to succeed. */

static inline struct rf_buffer slot_reserve(struct pool *pool, size_t len)
{
	struct rf_buffer buffer;

	assert_null(rf__slots_blocker(&pool->slots));
	assert_int_equal(reserve_slot(&pool->slots, len, &buffer), 0);
	assert_int_equal(buffer.len, len);
	return buffer;
}

static inline void slot_commit(struct pool *pool, struct rf_buffer *buffer, uint32_t tag)
{
	fill(buffer->data, buffer->len, tag);
	buffer->tag = tag;
	assert_int_equal(rf__slots_commit(&pool->slots, buffer), 0);
}

static inline void slot_put(struct pool *pool, size_t len, uint32_t tag)
{
	struct rf_buffer buffer = slot_reserve(pool, len);

	slot_commit(pool, &buffer, tag);
}

static inline void slot_send(struct pool *pool, uint32_t tag)
{
	slot_put(pool, 40, tag);
	assert_int_equal(rf__slots_publish(&pool->slots), 1);
}

/* The memory that comes next for a consumer, which counts generations on its own. */
static inline unsigned char *next_memory(const struct pool *pool, const struct consumer *c)
{
	uint16_t behind = (uint16_t)(c->part.generation - c->slots.generation);

	return pool->base[(c->part.memory - behind + 1) & 1];
}

/* The next message; the owner's part when it is in new memory. */
static inline int slot_borrow(struct pool *pool, struct consumer *c, struct rf_message *message)
{
	int n = rf__slots_rx_borrow(&c->slots, message, 1);

	if (n != RF__SLOTS_NEW_MEMORY)
		return n;
	assert_int_equal(rf__slots_rx_renew(&c->slots, next_memory(pool, c)), 0);
	return slot_borrow(pool, c, message);
}

static inline int slot_borrow_result(struct pool *pool, struct consumer *c)
{
	struct rf_message message;

	return slot_borrow(pool, c, &message);
}

static inline bool is_intact(const struct rf_message *message)
{
	return is_filled(message->data, message->len, message->tag);
}

static inline struct rf_message slot_expect(struct pool *pool, struct consumer *c, uint32_t tag)
{
	struct rf_message message;

	assert_int_equal(slot_borrow(pool, c, &message), 1);
	assert_int_equal(message.tag, tag);
	assert_true(is_intact(&message));
	return message;
}

static inline void slot_release(struct consumer *c, const struct rf_message *message)
{
	assert_true(is_intact(message));
	assert_int_equal(rf__slots_rx_release_span(&c->slots, message, 1), 1);
}

static inline void slot_receive(struct pool *pool, struct consumer *c, uint32_t tag)
{
	struct rf_message message = slot_expect(pool, c, tag);

	slot_release(c, &message);
}

/* What was given back gets to the producer. */
static inline int give_all(struct pool *pool, struct consumer *c)
{
	rf__ring_rx_flush(&c->rx);
	return rf__slots_collect(&pool->slots, &c->part);
}

/* How many slots could be reserved now. */
static inline uint32_t count_idle(struct pool *pool)
{
	static struct rf_buffer buffers[2048];
	uint32_t n = 0, i;

	while (reserve_slot(&pool->slots, 0, &buffers[n]) == 0)
		n++;
	for (i = 0; i < n; i++)
		assert_int_equal(rf__slots_cancel(&pool->slots, buffers[i].id), 0);
	return n;
}

/* Holders are those whose bits are set; what nobody holds can be had. */
static inline void check_pool(const struct rf__slots *slots)
{
	uint32_t first = slots->generation & 1 ? slots->count : 0, old = 0, queued = 0, i;

	for (i = 0; i < 2 * slots->count; i++) {
		const struct rf__slot *slot = &slots->slots[i];
		const struct rf__slot_consumer *c;
		bool in_use = slot->state == RF__SLOT_OPEN || slot->state == RF__SLOT_COMMITTED;
		uint32_t holders = 0;

		for (c = slots->consumers; c; c = c->next)
			holders += (uint32_t)(c->lent[i / 64] >> i % 64 & 1);
		assert_int_equal(slot->holders, holders);
		assert_false(in_use && (holders || slot->queued));
		if (i - first < slots->count) {
			assert_true(slot->queued || in_use || holders);
			queued += slot->queued;
		} else {
			old += in_use || holders;
		}
	}
	assert_int_equal(slots->idle.end - slots->idle.first, queued);
	assert_int_equal(slots->old, old);
}

#endif
