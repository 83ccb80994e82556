/* SPDX-License-Identifier: MIT */
/* What the tests of slots against a hostile side share: a pool, a hostile and an honest consumer, and a watcher
 * of the victim's calls: what it loads is a peer's, what it stores is its own. Included once in a program, with
 * the hooks of RF_TESTING. */
#ifndef RF_TESTS_SLOTS_WATCH_H
#define RF_TESTS_SLOTS_WATCH_H

#include "slots-fixture.h"

#define COUNT      12
#define SLOT_BYTES 100
#define HOLD       4

static struct pool pool;
static struct consumer *hostile, *honest;
static uint64_t seed;

/* The watcher */

static struct {
	bool rx;                             /* the consumer is the victim, else the producer */
	const void *loaded[512];             /* since the head or the tail was looked at */
	unsigned n_loaded, n_loads, message; /* message: those since its descriptor */
	uint64_t (*replace)(const void *where, uint64_t value);
	const char *fault;
} watch;

static inline bool lies_in(const void *where, const void *from, size_t bytes)
{
	return (uintptr_t)where - (uintptr_t)from < bytes;
}

/* In that memory; of the slots themselves nothing is looked at. */
static inline struct rf__slot_extra *extras_in(unsigned generation)
{
	unsigned char *end = pool.base[generation & 1];

	return (void *)(end + rf__slots_end_bytes(COUNT, pool.slots.stride));
}

static inline bool is_extra(const struct consumer *c, const void *where)
{
	const void *extras = extras_in(c->slots.generation);

	return lies_in(where, extras, COUNT * sizeof(struct rf__slot_extra));
}

static inline bool is_producers(const struct consumer *c, const void *where)
{
	return lies_in(where, &c->producer_words, sizeof(c->producer_words)) ||
	       lies_in(where, c->descriptors, (size_t)c->area) || is_extra(c, where);
}

static inline bool is_consumers(const struct consumer *c, const void *where)
{
	size_t entries = (size_t)(c->area / RF__DESCRIPTOR_BYTES);

	return lies_in(where, &c->consumer_words, sizeof(c->consumer_words)) ||
	       lies_in(where, c->returns, entries * RF__RETURN_BYTES);
}

static inline bool belongs_to(bool consumers, const void *where)
{
	return consumers ? is_consumers(hostile, where) || (honest && is_consumers(honest, where))
			 : is_producers(hostile, where) || (honest && is_producers(honest, where));
}

static inline bool begins_a_pass(const void *where)
{
	return where == &hostile->consumer_words.head || where == &hostile->producer_words.closed ||
	       (honest && where == &honest->consumer_words.head);
}

static inline bool begins_a_message(const void *where)
{
	uint64_t at = (uintptr_t)where - (uintptr_t)hostile->descriptors;

	return at < hostile->area && at % RF__DESCRIPTOR_BYTES == 0;
}

/* Wants are looked at after each store that they may ask for. */
static inline bool is_want(const void *where)
{
	return where == &hostile->producer_words.space_want ||
	       where == &hostile->consumer_words.data_want;
}

/* A slot that was given back unseen may be that of the next message, too. */
static inline void note_load(const void *where)
{
	if (begins_a_pass(where))
		watch.n_loaded = 0;
	if (begins_a_pass(where) || begins_a_message(where))
		watch.message = watch.n_loaded;
	for (unsigned i = is_extra(hostile, where) ? watch.message : 0; i < watch.n_loaded; i++)
		if (watch.loaded[i] == where && !is_want(where))
			watch.fault = "a second load of the same word in one pass";
	if (watch.n_loaded < sizeof(watch.loaded) / sizeof(watch.loaded[0]))
		watch.loaded[watch.n_loaded++] = where;
	else
		watch.fault = "too many loads in one call";
}

static inline uint64_t on_load(const void *where, uint64_t value)
{
	watch.n_loads++;
	if (!belongs_to(!watch.rx, where))
		watch.fault = "a load that is not from the peer's region";
	note_load(where);
	if (honest && (is_consumers(honest, where) || is_producers(honest, where)))
		return value;
	return watch.replace ? watch.replace(where, value) : value;
}

static inline uint64_t on_access(enum rf__op op, const void *where, uint64_t value)
{
	if (op == RF__OP_LOAD)
		return on_load(where, value);
	if (!belongs_to(watch.rx, where))
		watch.fault = "a store that is not to the own region";
	return value;
}

#define WATCHED(result, call)                                                                      \
	do {                                                                                       \
		watch.n_loaded = watch.n_loads = watch.message = 0;                                \
		rf__access_hook = on_access;                                                       \
		result = call;                                                                     \
		rf__access_hook = NULL;                                                            \
		if (watch.fault)                                                                   \
			fail_msg("%s", watch.fault);                                               \
	} while (0)

static inline int collect(void)
{
	int n;

	WATCHED(n, rf__slots_collect(&pool.slots, &hostile->part));
	return n;
}

static inline unsigned publish(void)
{
	unsigned n;

	WATCHED(n, rf__slots_publish(&pool.slots));
	return n;
}

static inline int borrow_some(struct rf_message *messages, unsigned max)
{
	int n;

	WATCHED(n, rf__slots_rx_borrow(&hostile->slots, messages, max));
	return n;
}

static inline int borrow_one(void)
{
	struct rf_message m;

	return borrow_some(&m, 1);
}

static inline void replace_pool(void)
{
	if (hostile)
		leave(&pool, hostile);
	if (honest)
		leave(&pool, honest);
	pool_close(&pool);
	pool_open(&pool, COUNT, SLOT_BYTES);
	hostile = join(&pool, HOLD);
	honest = join_blocking(&pool, HOLD);
}

static inline int setup(void **state)
{
	(void)state;
	memset(&watch, 0, sizeof(watch));
	pool_open(&pool, COUNT, SLOT_BYTES);
	return 0;
}

static inline int teardown(void **state)
{
	(void)state;
	rf__access_hook = NULL;
	if (hostile)
		leave(&pool, hostile);
	if (honest)
		leave(&pool, honest);
	hostile = honest = NULL;
	pool_close(&pool);
	return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
