/* SPDX-License-Identifier: MIT */
/* A ring of which one end is the victim of the other. The victim's calls are watched: what it loads
 * is the peer's and loaded once per call, what it stores is its own. Included once in a program
 * that is built with the access hook. */
#ifndef RF_TESTS_RING_WATCH_H
#define RF_TESTS_RING_WATCH_H

#include "ring-fixture.h"

static struct ring ring;

/* The watcher: one side of the ring is ours, the victim. */

static struct {
	const unsigned char *own, *peer; /* as the victim maps them */
	size_t own_bytes, peer_bytes;
	const void *loaded[4096]; /* by the call under way */
	unsigned n_loaded, n_stored;
	uint64_t (*replace)(const void *where, uint64_t value); /* what a load yields */
	const char *fault;
} watch;

static inline size_t region_bytes(uint64_t area_bytes)
{
	return rf__page_bytes() + 2 * area_bytes;
}

static inline bool lies_in(const void *where, const unsigned char *region, size_t bytes)
{
	return (uintptr_t)where - (uintptr_t)region < bytes;
}

static inline uint64_t on_load(const void *where, uint64_t value)
{
	if (!lies_in(where, watch.peer, watch.peer_bytes))
		watch.fault = "a load that is not from the peer's region";
	for (unsigned i = 0; i < watch.n_loaded; i++)
		if (watch.loaded[i] == where)
			watch.fault = "a second load of the same word in one call";
	if (watch.n_loaded < sizeof(watch.loaded) / sizeof(watch.loaded[0]))
		watch.loaded[watch.n_loaded++] = where;
	else
		watch.fault = "too many loads in one call";
	return watch.replace ? watch.replace(where, value) : value;
}

static inline uint64_t on_access(enum rf__op op, const void *where, uint64_t value)
{
	if (op == RF__OP_LOAD)
		return on_load(where, value);
	if (!lies_in(where, watch.own, watch.own_bytes))
		watch.fault = "a store that is not to the own region";
	watch.n_stored++;
	return value;
}

static inline void begin_call(void)
{
	watch.n_loaded = watch.n_stored = 0;
	rf__access_hook = on_access;
}

static inline void end_call(void)
{
	rf__access_hook = NULL;
	if (watch.fault)
		fail_msg("%s", watch.fault);
}

/* How often the call just made loaded that word. */
static inline unsigned loads_of(const void *where)
{
	unsigned n = 0;

	for (unsigned i = 0; i < watch.n_loaded; i++)
		n += watch.loaded[i] == where;
	return n;
}

static inline void victim_is_tx(void)
{
	watch.own = ring.producer.base;
	watch.own_bytes = region_bytes(ring.capacity);
	watch.peer = ring.consumer_seen.base;
	watch.peer_bytes = region_bytes(0);
}

static inline void victim_is_rx(void)
{
	watch.own = ring.consumer.base;
	watch.own_bytes = region_bytes(0);
	watch.peer = ring.producer_seen.base;
	watch.peer_bytes = rf__page_bytes() + ring.capacity; /* the second mapping is for payload */
}

/* Calls of the victim, watched. */

static inline int tx_reserve(size_t len, struct rf_buffer *b, unsigned max)
{
	int n;

	begin_call();
	n = rf__ring_tx_reserve(&ring.tx, len, b, max);
	end_call();
	return n;
}

static inline void tx_publish(void)
{
	begin_call();
	rf__ring_tx_publish(&ring.tx);
	end_call();
}

static inline int tx_arm(size_t len)
{
	int r;

	begin_call();
	r = arm_tx(&ring.tx, len);
	end_call();
	return r;
}

static inline int rx_borrow(struct rf_message *m, unsigned max)
{
	int n;

	begin_call();
	n = rf__ring_rx_borrow(&ring.rx, m, max);
	end_call();
	return n;
}

static inline int rx_borrow_one(void)
{
	struct rf_message m;

	return rx_borrow(&m, 1);
}

static inline int rx_release(uint64_t id)
{
	int r;

	begin_call();
	r = release_id(&ring.rx, id);
	end_call();
	return r;
}

static inline int rx_arm(void)
{
	int r;

	begin_call();
	r = arm_rx(&ring.rx);
	end_call();
	return r;
}

static inline void rx_finish(void)
{
	begin_call();
	rf__ring_rx_finish(&ring.rx);
	end_call();
}

/* What the peer writes. */

static inline void set_head(uint64_t value)
{
	poke(&ring.consumer_words->head, value);
}

static inline void set_tail(uint64_t value)
{
	poke(&ring.producer_words->tail, value);
}

static inline void set_closed(uint64_t value)
{
	poke(&ring.producer_words->closed, value);
}

static inline void set_header(uint64_t position, uint64_t header)
{
	poke((uint64_t *)(void *)(ring.data + position % ring.capacity), header);
}

static inline int setup(void **state)
{
	(void)state;
	ring_open(&ring, rf__page_bytes());
	memset(&watch, 0, sizeof(watch));
	return 0;
}

static inline int teardown(void **state)
{
	(void)state;
	rf__access_hook = NULL;
	ring_close(&ring);
	return 0;
}

#endif
