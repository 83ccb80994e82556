/* SPDX-License-Identifier: MIT */
/* What the tests of the ring share: both ends of one ring, in regions as a channel maps them. Each
 * end writes its own region and has the other's read-only, so a store to the wrong one is a crash;
 * or all in one mapping, where two threads share them under ThreadSanitizer. Included once in a
 * program. */
#ifndef RF_TESTS_RING_FIXTURE_H
#define RF_TESTS_RING_FIXTURE_H

#include "fence.h"
#include "region.h"
#include "ring.h"

#include "support.h"
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct ring {
	struct rf__region producer, consumer;           /* read-write */
	struct rf__region producer_seen, consumer_seen; /* the same, as the other side maps them */
	struct rf__producer_words *producer_words;
	struct rf__consumer_words *consumer_words;
	unsigned char *data;
	uint64_t capacity;
	struct rf__ring_tx tx;
	struct rf__ring_rx rx;
	struct rf__reservation waiting[RF_RESERVED_MAX];
};

static inline void map_twice(struct rf__region *own, struct rf__region *seen, uint64_t area_bytes)
{
	*own = *seen = RF__REGION_INIT;
	assert_int_equal(rf__region_create(own, "ring-test", RF__RING_SHAPE, area_bytes, NULL), 0);
	assert_int_equal(rf__region_map(own, RF__READ_WRITE, NULL), 0);
	*seen = *own;
	assert_int_equal(rf__region_map(seen, RF__READ_ONLY, NULL), 0);
	rf__region_close(own);
	seen->fd = -1;
}

/* The asymmetric one where the environment has RF_TEST_FENCE. */
static inline void ring_choose_fence(struct ring *ring)
{
	ring->tx.at.asymmetric = ring->rx.asymmetric =
		getenv("RF_TEST_FENCE") && rf__fence_register();
}

/* Both ends from the beginning, over zero words; the data stay what they are. */
static inline void ring_init(struct ring *ring)
{
	memset(ring->producer_words, 0, rf__page_bytes());
	memset(ring->consumer_words, 0, rf__page_bytes());
	rf__ring_tx_init(&ring->tx, ring->producer_words,
		(const struct rf__consumer_words *)(const void *)ring->consumer_seen.base,
		ring->data, ring->capacity);
	rf__ring_tx_lend(&ring->tx, ring->waiting);
	rf__ring_rx_init(&ring->rx, ring->consumer_words,
		(const struct rf__producer_words *)(const void *)ring->producer_seen.base,
		ring->producer_seen.base + rf__page_bytes(), ring->capacity);
	ring_choose_fence(ring);
}

static inline void ring_open(struct ring *ring, uint64_t capacity)
{
	memset(ring, 0, sizeof(*ring));
	map_twice(&ring->producer, &ring->producer_seen, capacity);
	map_twice(&ring->consumer, &ring->consumer_seen, 0);
	ring->producer_words = (struct rf__producer_words *)(void *)ring->producer.base;
	ring->consumer_words = (struct rf__consumer_words *)(void *)ring->consumer.base;
	ring->data = ring->producer.base + rf__page_bytes();
	ring->capacity = capacity;
	ring_init(ring);
}

/* Both ends use the writable mappings from now on. */
static inline void ring_share_mappings(struct ring *ring)
{
	rf__region_unmap(&ring->producer_seen);
	rf__region_unmap(&ring->consumer_seen);
	rf__ring_tx_init(
		&ring->tx, ring->producer_words, ring->consumer_words, ring->data, ring->capacity);
	rf__ring_tx_lend(&ring->tx, ring->waiting);
	rf__ring_rx_init(
		&ring->rx, ring->consumer_words, ring->producer_words, ring->data, ring->capacity);
	ring_choose_fence(ring);
}

static inline void ring_close(struct ring *ring)
{
	rf__region_unmap(&ring->producer);
	rf__region_unmap(&ring->consumer);
	rf__region_unmap(&ring->producer_seen);
	rf__region_unmap(&ring->consumer_seen);
}

/* As if that many bytes had gone through already; a multiple of 8. */
static inline void ring_start_at(struct ring *ring, uint64_t position)
{
	ring_init(ring);
	ring->tx.at.reserved = ring->tx.at.committed = ring->tx.at.published = ring->tx.head =
		position;
	ring->rx.at.position = ring->rx.at.taken = ring->rx.at.released = position;
	ring->rx.at.stored = ring->rx.at.tail = position;
	ring->producer_words->tail = ring->producer_words->space_want = position;
	ring->consumer_words->head = ring->consumer_words->data_want = position;
}

/* The words as they are, whoever may look. */
static inline uint64_t peek(const uint64_t *word)
{
	return __atomic_load_n(word, __ATOMIC_SEQ_CST);
}

static inline void poke(uint64_t *word, uint64_t value)
{
	__atomic_store_n(word, value, __ATOMIC_SEQ_CST);
}

/* A deterministic generator (splitmix64). */
static inline uint64_t next_random(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static inline unsigned below(uint64_t *state, uint64_t n)
{
	return (unsigned)(next_random(state) % n);
}

/* Payload that differs from one seed to the next, and from one byte to the next. */
static inline unsigned char pattern(uint64_t seed, size_t i)
{
	return (unsigned char)(seed * 31 + i * 7 + (i >> 8) + 1);
}

static inline void fill(void *to, size_t len, uint64_t seed)
{
	unsigned char *p = to;

	for (size_t i = 0; i < len; i++)
		p[i] = pattern(seed, i);
}

static inline bool is_filled(const void *from, size_t len, uint64_t seed)
{
	const unsigned char *p = from;

	for (size_t i = 0; i < len; i++)
		if (p[i] != pattern(seed, i))
			return false;
	return true;
}

/* Asks for a kick and looks again: 1: there is something; 0: sleep. As doorbell.c does it. */
static inline int arm_tx(struct rf__ring_tx *tx, size_t len)
{
	rf__ring_tx_ask(tx, len);
	if (tx->at.asymmetric && !rf__fence_pass())
		return -1;
	return rf__ring_tx_look(tx, len);
}

static inline int arm_rx(struct rf__ring_rx *rx)
{
	rf__ring_rx_ask(rx);
	if (rx->asymmetric && !rf__fence_pass())
		return -1;
	return rf__ring_rx_look(rx);
}

/* One step of either end that has to succeed. */

static inline struct rf_buffer reserve(struct ring *ring, size_t len)
{
	struct rf_buffer buffer;

	assert_int_equal(rf__ring_tx_reserve(&ring->tx, len, &buffer, 1), 1);
	assert_int_equal(buffer.len, len);
	return buffer;
}

/* Commits len bytes of it, filled from the tag. */
static inline void commit(
	struct ring *ring, const struct rf_buffer *buffer, size_t len, uint32_t tag)
{
	fill(buffer->data, len, tag);
	assert_int_equal(rf__ring_tx_commit(&ring->tx, buffer->id, len, tag), 0);
}

static inline void put(struct ring *ring, size_t len, uint32_t tag)
{
	struct rf_buffer buffer = reserve(ring, len);

	commit(ring, &buffer, len, tag);
}

static inline void send_one(struct ring *ring, size_t len, uint32_t tag)
{
	put(ring, len, tag);
	rf__ring_tx_publish(&ring->tx);
}

static inline struct rf_message borrow(struct ring *ring)
{
	struct rf_message message;

	assert_int_equal(rf__ring_rx_borrow(&ring->rx, &message, 1), 1);
	return message;
}

static inline int borrow_result(struct ring *ring)
{
	struct rf_message message;

	return rf__ring_rx_borrow(&ring->rx, &message, 1);
}

/* 0 or -EINVAL. */
static inline int release_id(struct rf__ring_rx *rx, uint64_t id)
{
	struct rf_message message = {.id = id};

	return rf__ring_rx_release(rx, &message, 1) ? 0 : -EINVAL;
}

static inline void release(struct ring *ring, const struct rf_message *message)
{
	assert_int_equal(release_id(&ring->rx, message->id), 0);
}

/* Borrows what commit() filled with that tag. */
static inline struct rf_message expect(struct ring *ring, size_t len, uint32_t tag)
{
	struct rf_message message = borrow(ring);

	assert_int_equal(message.len, len);
	assert_int_equal(message.tag, tag);
	assert_true(is_filled(message.data, len, tag));
	return message;
}

static inline void receive(struct ring *ring, size_t len, uint32_t tag)
{
	struct rf_message message = expect(ring, len, tag);

	release(ring, &message);
}

#endif
