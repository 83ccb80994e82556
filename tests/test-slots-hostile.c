/* SPDX-License-Identifier: MIT */
/* Slots against a peer that writes what it likes into its words, its return entries and its
 * descriptors, and changes them after each load (threats P1, P2, P6, P7). The victim's calls are watched: what it
 * loads is a peer's, what it stores is its own. */
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

static bool lies_in(const void *where, const void *from, size_t bytes)
{
	return (uintptr_t)where - (uintptr_t)from < bytes;
}

/* In that memory; of the slots themselves nothing is looked at. */
static struct rf__slot_extra *extras_in(unsigned generation)
{
	unsigned char *end = pool.base[generation & 1];

	return (void *)(end + rf__slots_end_bytes(COUNT, pool.slots.stride));
}

static bool is_extra(const struct consumer *c, const void *where)
{
	const void *extras = extras_in(c->slots.generation);

	return lies_in(where, extras, COUNT * sizeof(struct rf__slot_extra));
}

static bool is_producers(const struct consumer *c, const void *where)
{
	return lies_in(where, &c->producer_words, sizeof(c->producer_words)) ||
	       lies_in(where, c->descriptors, (size_t)c->area) || is_extra(c, where);
}

static bool is_consumers(const struct consumer *c, const void *where)
{
	size_t entries = (size_t)(c->area / RF__DESCRIPTOR_BYTES);

	return lies_in(where, &c->consumer_words, sizeof(c->consumer_words)) ||
	       lies_in(where, c->returns, entries * RF__RETURN_BYTES);
}

static bool belongs_to(bool consumers, const void *where)
{
	return consumers ? is_consumers(hostile, where) || (honest && is_consumers(honest, where))
			 : is_producers(hostile, where) || (honest && is_producers(honest, where));
}

static bool begins_a_pass(const void *where)
{
	return where == &hostile->consumer_words.head || where == &hostile->producer_words.closed ||
	       (honest && where == &honest->consumer_words.head);
}

static bool begins_a_message(const void *where)
{
	uint64_t at = (uintptr_t)where - (uintptr_t)hostile->descriptors;

	return at < hostile->area && at % RF__DESCRIPTOR_BYTES == 0;
}

/* Wants are looked at after each store that they may ask for. */
static bool is_want(const void *where)
{
	return where == &hostile->producer_words.space_want ||
	       where == &hostile->consumer_words.data_want;
}

/* A slot that was given back unseen may be that of the next message, too. */
static void note_load(const void *where)
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

static uint64_t on_load(const void *where, uint64_t value)
{
	watch.n_loads++;
	if (!belongs_to(!watch.rx, where))
		watch.fault = "a load that is not from the peer's region";
	note_load(where);
	if (honest && (is_consumers(honest, where) || is_producers(honest, where)))
		return value;
	return watch.replace ? watch.replace(where, value) : value;
}

static uint64_t on_access(enum rf__op op, const void *where, uint64_t value)
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

static int collect(void)
{
	int n;

	WATCHED(n, rf__slots_collect(&pool.slots, &hostile->part));
	return n;
}

static unsigned publish(void)
{
	unsigned n;

	WATCHED(n, rf__slots_publish(&pool.slots));
	return n;
}

static int borrow_some(struct rf_message *messages, unsigned max)
{
	int n;

	WATCHED(n, rf__slots_rx_borrow(&hostile->slots, messages, max));
	return n;
}

static int borrow_one(void)
{
	struct rf_message m;

	return borrow_some(&m, 1);
}

/* Heads and return entries. Three messages are lent to the hostile one, the first of them also to the
 * honest one, which holds the newest, too. */

static uint32_t id_at(unsigned i)
{
	const struct rf__descriptor *d = (const void *)hostile->descriptors;

	return (uint32_t)peek(&d[i].place);
}

static void lend_three(void)
{
	for (uint32_t i = 0; i < 3; i++)
		slot_send(&pool, i);
}

static void replace_pool(void)
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

static void return_entries(uint64_t first, uint64_t second, uint64_t third)
{
	poke(&hostile->returns[0], first);
	poke(&hostile->returns[1], second);
	poke(&hostile->returns[2], third);
	poke(&hostile->consumer_words.head, 3 * RF__DESCRIPTOR_BYTES);
}

/* The honest one has what it had, and the producer goes on. */
static void nobody_else_is_harmed(void)
{
	struct rf_message m[3];

	assert_null(honest->tx.breach);
	check_pool(&pool.slots);
	for (uint32_t i = 0; i < 3; i++)
		m[i] = slot_expect(&pool, honest, i);
	rf__slots_leave(&pool.slots, &hostile->part);
	check_pool(&pool.slots);
	for (uint32_t i = 3; i < 30; i++) {
		slot_send(&pool, i);
		slot_receive(&pool, honest, i);
		for (unsigned k = 0; k < 3; k++)
			assert_true(is_intact(&m[k]));
	}
	for (uint32_t i = 0; i < 3; i++)
		slot_release(honest, &m[i]);
	give_all(&pool, honest);
	assert_int_equal(count_idle(&pool), COUNT);
}

/* Is that return refused, for good? */
static void is_refused(void)
{
	const char *what;

	assert_int_equal(collect(), -EPROTO);
	what = hostile->tx.breach;
	assert_non_null(what);
	return_entries(id_at(0), id_at(1), id_at(2));
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(collect(), -EPROTO);
		assert_int_equal(watch.n_loads, 0);
		assert_ptr_equal(hostile->tx.breach, what);
	}
	assert_int_equal(arm_tx(&hostile->tx, RF__DESCRIPTOR_BYTES), 1);
	nobody_else_is_harmed();
}

static void p6_slots_that_are_held_may_be_returned_in_any_order(void **state)
{
	const unsigned orders[6][3] = {
		{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};

	(void)state;
	for (unsigned i = 0; i < 6; i++) {
		replace_pool();
		lend_three();
		return_entries(id_at(orders[i][0]), id_at(orders[i][1]), id_at(orders[i][2]));
		assert_int_equal(collect(), 3);
		nobody_else_is_harmed();
	}
}

static void p6_a_slot_returned_twice_breaks_only_that_consumer(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 3; i++)
		for (unsigned k = 0; k < 3; k++) {
			replace_pool();
			lend_three();
			return_entries(id_at(i), id_at(i), id_at(k));
			is_refused();
		}
}

static void p6_a_slot_never_lent_breaks_only_that_consumer(void **state)
{
	(void)state;
	for (uint64_t id = 0; id < 2 * COUNT; id++) {
		replace_pool();
		lend_three();
		if (id == id_at(0) || id == id_at(1) || id == id_at(2))
			continue;
		return_entries(id, id_at(1), id_at(2));
		is_refused();
	}
}

static void p6_a_slot_out_of_range_breaks_only_that_consumer(void **state)
{
	(void)state;
	for (unsigned bit = 0; bit < 64; bit++) {
		uint64_t high = UINT64_C(1) << bit;

		replace_pool();
		lend_three();
		return_entries(high < 2 * COUNT ? 2 * COUNT : high | id_at(0), 0, 0);
		is_refused();
		replace_pool();
		lend_three();
		return_entries(id_at(0), id_at(1), UINT64_MAX - bit);
		is_refused();
	}
}

/* Where the bitmaps end with the ids. */
static void p6_the_first_slot_out_of_range_is_refused(void **state)
{
	(void)state;
	for (uint32_t count = 30; count < 36; count++) {
		replace_pool();
		leave(&pool, hostile);
		leave(&pool, honest);
		pool_close(&pool);
		pool_open(&pool, count, SLOT_BYTES);
		hostile = join(&pool, HOLD);
		honest = join(&pool, HOLD);
		lend_three();
		return_entries(2 * count, 0, 0);
		assert_int_equal(collect(), -EPROTO);
		assert_string_equal(
			hostile->tx.breach, "the consumer returned a slot that does not exist");
	}
}

/* A consumer without room costs one look at its head, whatever the batch. */
static void p6_who_keeps_all_it_may_costs_bounded_work(void **state)
{
	(void)state;
	replace_pool();
	lend_three();
	slot_send(&pool, 3);
	for (uint32_t i = 0; i < 4; i++)
		slot_receive(&pool, honest, i);
	for (unsigned round = 0; round < 100; round++) {
		for (uint32_t i = 0; i < 3; i++)
			slot_put(&pool, 8, i);
		assert_int_equal(publish(), 3);
		assert_int_equal(hostile->part.missed, 3 * (round + 1));
		assert_true(watch.n_loads <=
			    8); /* two heads, two wants, what the honest one returned */
		for (uint32_t i = 0; i < 3; i++)
			slot_receive(&pool, honest, i);
	}
}

static void p6_a_slot_that_only_another_holds_is_refused(void **state)
{
	(void)state;
	replace_pool();
	lend_three();
	return_entries(id_at(0), id_at(1), id_at(2));
	assert_int_equal(collect(), 3);
	poke(&hostile->returns[3], id_at(0));
	hostile->tx.published += RF__DESCRIPTOR_BYTES; /* as if another one had been lent */
	hostile->tx.reserved += RF__DESCRIPTOR_BYTES;
	poke(&hostile->consumer_words.head, 4 * RF__DESCRIPTOR_BYTES);
	assert_int_equal(collect(), -EPROTO);
	nobody_else_is_harmed();
}

static void p6_names_of_another_generation_are_refused(void **state)
{
	(void)state;
	replace_pool();
	lend_three();
	renew(&pool);
	return_entries(id_at(0), id_at(1) + COUNT, id_at(2));
	is_refused();
}

static void p6_a_slot_of_the_batch_that_is_being_published_may_be_guessed(void **state)
{
	struct rf_buffer b[3];

	(void)state;
	replace_pool();
	lend_three();
	for (uint32_t i = 0; i < 3; i++)
		slot_receive(&pool, honest, i);
	for (unsigned i = 0; i < 3; i++)
		b[i] = slot_reserve(&pool, 40);
	return_entries((uint32_t)b[0].id, (uint32_t)b[0].id, id_at(2));
	for (uint32_t i = 0; i < 3; i++)
		slot_commit(&pool, &b[i], 3 + i);
	assert_int_equal(publish(), 3);
	assert_non_null(hostile->tx.breach);
	check_pool(&pool.slots);
	for (uint32_t i = 3; i < 6; i++)
		slot_receive(&pool, honest, i);
	rf__slots_leave(&pool.slots, &hostile->part);
	give_all(&pool, honest);
	check_pool(&pool.slots);
	assert_int_equal(count_idle(&pool), COUNT);
}

static void p1_heads_that_are_not_possible_are_refused(void **state)
{
	(void)state;
	for (uint64_t head = 0; head < 6 * RF__DESCRIPTOR_BYTES; head++) {
		bool possible =
			head <= 3 * RF__DESCRIPTOR_BYTES && head % RF__DESCRIPTOR_BYTES == 0;

		replace_pool();
		lend_three();
		return_entries(id_at(0), id_at(1), id_at(2));
		poke(&hostile->consumer_words.head, head);
		if (!possible)
			is_refused();
		else
			assert_int_equal(collect(), head / RF__DESCRIPTOR_BYTES);
	}
	for (unsigned bit = 7; bit < 64; bit++) {
		replace_pool();
		lend_three();
		poke(&hostile->consumer_words.head, UINT64_C(1) << bit);
		is_refused();
	}
}

static void p1_a_head_going_back_is_refused(void **state)
{
	(void)state;
	for (uint64_t back = 1; back <= 3; back++) {
		replace_pool();
		lend_three();
		return_entries(id_at(0), id_at(1), id_at(2));
		assert_int_equal(collect(), 3);
		poke(&hostile->consumer_words.head, (3 - back) * RF__DESCRIPTOR_BYTES);
		assert_int_equal(collect(), -EPROTO);
		nobody_else_is_harmed();
	}
}

/* Everything a consumer can say, at random and changing, beside an honest one. */

static uint32_t some_held(void)
{
	uint32_t id = below(&seed, 2 * COUNT), i;

	for (i = 0; i < 2 * COUNT; i++, id = (id + 1) % (2 * COUNT))
		if (hostile->part.lent[0] >> id & 1)
			break;
	if ((hostile->part.memory ^ hostile->part.generation) & 1)
		id = (id + COUNT) % (2 * COUNT);
	return id;
}

static uint64_t some_word_of_a_consumer(const void *where, uint64_t value)
{
	const struct rf__ring_tx *tx = &hostile->tx;

	(void)value;
	if (below(&seed, 64) == 0)
		return next_random(&seed);
	if (where == &hostile->consumer_words.head)
		return tx->head + below(&seed, tx->published - tx->head + 1) /
					  RF__DESCRIPTOR_BYTES * RF__DESCRIPTOR_BYTES;
	if (where == &hostile->consumer_words.data_want)
		return tx->published - RF__DESCRIPTOR_BYTES +
		       below(&seed, 4 * RF__DESCRIPTOR_BYTES);
	return below(&seed, 16) ? some_held() : below(&seed, 2 * COUNT + 2);
}

static void honest_one_does_something(uint32_t *next, struct rf_message *kept, unsigned *n)
{
	while (*n && below(&seed, 2)) {
		slot_release(honest, &kept[--*n]);
		rf__ring_rx_flush(&honest->rx);
	}
	while (*n < HOLD && slot_borrow(&pool, honest, &kept[*n]) == 1) {
		assert_int_equal(kept[*n].missed, 0);
		assert_int_equal(kept[*n].tag, (*next)++);
		assert_true(is_intact(&kept[(*n)++]));
	}
}

static void produce(uint32_t *tag)
{
	struct rf_buffer b;
	unsigned n = 1 + below(&seed, 3);

	while (n--) {
		struct rf__slot_consumer *blocker;

		WATCHED(blocker, rf__slots_blocker(&pool.slots));
		if (blocker)
			break;
		assert_int_equal(rf__slots_reserve(&pool.slots, 40, &b), 0);
		slot_commit(&pool, &b, (*tag)++);
	}
	publish();
}

static void p7_an_honest_one_keeps_what_it_holds_whatever_another_says(void **state)
{
	struct rf_message kept[HOLD];
	uint32_t tag = 0, next = 0;
	unsigned breaches = 0, collected = 0, n = 0, rounds = rf_test_rounds(200000);

	(void)state;
	replace_pool();
	watch.replace = some_word_of_a_consumer;
	for (seed = 11; rounds; rounds--) {
		int r = collect();

		collected += r > 0;
		produce(&tag);
		honest_one_does_something(&next, kept, &n);
		check_pool(&pool.slots);
		if (below(&seed, 100) == 0 && !pool.slots.old)
			renew(&pool);
		if (hostile->tx.breach) {
			breaches++;
			leave(&pool, hostile);
			hostile = join(&pool, HOLD);
			hostile->part.latest = below(&seed, 2);
			rf__slots_catch_up(&pool.slots, &hostile->part, below(&seed, 2));
		}
	}
	assert_null(honest->tx.breach);
	assert_true(collected > 1000 && breaches > 100 && next > 1000);
}

/* A producer is the hostile one. */

static void start_rx(bool latest)
{
	replace_pool();
	leave(&pool, honest);
	honest = NULL;
	watch.rx = true;
	hostile->part.latest = hostile->slots.latest = latest;
}

static void set_descriptor(unsigned at, uint64_t place)
{
	struct rf__descriptor *d = (struct rf__descriptor *)(void *)hostile->descriptors + at;

	poke(&d->place, place);
}

static void set_extra(unsigned number, uint64_t offset)
{
	struct rf__slot_extra *extra = extras_in(0) + number;

	poke(&extra->offset, offset);
	poke(&extra->time_ns, UINT64_MAX - offset);
	poke(&extra->user[0], offset ^ 1);
	poke(&extra->user[1], offset ^ 2);
}

static int borrow_descriptor(uint64_t place, struct rf_message *ret_message)
{
	start_ends(hostile, HOLD);
	memset(hostile->slots.held, 0, rf__slots_bitmap_bytes(COUNT));
	hostile->slots.held_of[0] = hostile->slots.held_of[1] = 0;
	set_descriptor(0, place);
	poke(&hostile->producer_words.tail, RF__DESCRIPTOR_BYTES);
	return borrow_some(ret_message, 1);
}

static void p1_a_descriptor_is_taken_or_refused_as_it_is_defined(void **state)
{
	const uint64_t slots[] = {0, 1, COUNT - 1, COUNT, COUNT + 1, 2 * COUNT, UINT16_MAX};
	const uint64_t numbers[] = {
		0, 1, 50, 99, 100, 101, 128, 1 << 20, UINT32_MAX - 1, UINT32_MAX};
	struct rf_message m;

	(void)state;
	start_rx(false);
	for (unsigned i = 0; i < 7; i++)
		for (unsigned k = 0; k < 10; k++) {
			bool fine = slots[i] < COUNT && numbers[k] <= SLOT_BYTES;
			int n = borrow_descriptor(slots[i] | numbers[k] << 32, &m);

			assert_int_equal(n, fine ? 1 : -EPROTO);
			if (!fine)
				continue;
			assert_ptr_equal(m.data, pool.base[0] + slots[i] * 128);
			assert_int_equal(m.len, numbers[k]);
			assert_true(!m.time_ns && !m.user[0] && !m.user[1] && !m.n_fds);
		}
}

/* Of slot 2, whose extra is what set_extra() made of it. */
static void check_taken(const struct rf_message *m, uint64_t offset, uint64_t len)
{
	assert_ptr_equal(m->data, pool.base[0] + 2 * 128 + offset);
	assert_int_equal(m->len, len);
	assert_int_equal(m->time_ns, UINT64_MAX - offset);
	assert_int_equal(m->user[0], offset ^ 1);
	assert_int_equal(m->user[1], offset ^ 2);
}

static void p1_what_stands_behind_the_slots_is_taken_or_refused(void **state)
{
	const uint64_t numbers[] = {0, 1, 50, 99, 100, 101, UINT32_MAX, (uint64_t)INT64_MAX,
		UINT64_MAX - 50, UINT64_MAX};
	struct rf_message m;

	(void)state;
	start_rx(false);
	for (unsigned k = 0; k < 100; k++) {
		uint64_t offset = numbers[k / 10], len = k % 10 * 11;
		bool fine = offset <= SLOT_BYTES && len <= SLOT_BYTES - offset;
		int n;

		set_extra(2, offset);
		n = borrow_descriptor(2 | RF__SLOT_HAS_EXTRA | len << 32, &m);
		assert_int_equal(n, fine ? 1 : -EPROTO);
		if (fine)
			check_taken(&m, offset, len);
		assert_int_equal(borrow_descriptor(2 | len << 32, &m), 1);
		assert_ptr_equal(m.data, pool.base[0] + 2 * 128);
		assert_int_equal(m.len, len);
		assert_true(!m.time_ns && !m.user[0] && !m.user[1]);
	}
}

/* The first message is given back unseen, and the next one is in the same slot. */
static void p2_a_latest_consumer_takes_an_offset_with_its_own_length(void **state)
{
	struct rf_message m;

	(void)state;
	start_rx(true);
	set_extra(2, 60);
	set_descriptor(0, 2 | RF__SLOT_HAS_EXTRA | UINT64_C(40) << RF__LEN_SHIFT);
	set_descriptor(1, 2 | RF__SLOT_HAS_EXTRA | UINT64_C(40) << RF__LEN_SHIFT);
	poke(&hostile->producer_words.tail, 2 * RF__DESCRIPTOR_BYTES);
	assert_int_equal(borrow_some(&m, 1), 1);
	check_taken(&m, 60, 40);
	assert_int_equal(m.missed, 1);
	set_descriptor(2, 3 | UINT64_C(100) << RF__LEN_SHIFT);
	set_descriptor(3, 3 | RF__SLOT_HAS_EXTRA | UINT64_C(100) << RF__LEN_SHIFT);
	set_extra(3, 1);
	poke(&hostile->producer_words.tail, 4 * RF__DESCRIPTOR_BYTES);
	assert_int_equal(borrow_some(&m, 1), -EPROTO);
}

static void p1_unknown_flags_and_generations_are_refused(void **state)
{
	struct rf_message m;

	(void)state;
	start_rx(false);
	for (uint64_t bits = 0; bits < 65536; bits++) {
		uint64_t generation = bits & 255, flags = bits >> 8;
		int n = borrow_descriptor(bits << 16, &m), expected = 1;

		if (generation)
			expected = generation < 128 ? RF__SLOTS_NEW_MEMORY : -EPROTO;
		if (flags > 3)
			expected = -EPROTO;
		assert_int_equal(n, expected);
		if (n == 1)
			assert_int_equal(m.n_fds, flags & 1 ? UINT32_MAX : 0);
	}
}

static void p1_more_than_the_agreed_number_is_refused(void **state)
{
	(void)state;
	start_rx(false);
	for (uint64_t tail = 0; tail < 80 * RF__DESCRIPTOR_BYTES; tail++) {
		bool possible =
			tail % RF__DESCRIPTOR_BYTES == 0 && tail <= HOLD * RF__DESCRIPTOR_BYTES;

		start_ends(hostile, HOLD);
		memset(hostile->slots.held, 0, rf__slots_bitmap_bytes(COUNT));
		poke(&hostile->producer_words.tail, tail);
		assert_int_equal(borrow_one(), !possible ? -EPROTO : tail ? 1 : -EAGAIN);
	}
	for (unsigned bit = 11; bit < 64; bit++) {
		start_ends(hostile, HOLD);
		poke(&hostile->producer_words.tail, UINT64_C(1) << bit);
		assert_int_equal(borrow_one(), -EPROTO);
	}
}

static void p7_a_slot_that_is_borrowed_cannot_be_lent_again(void **state)
{
	struct rf_message m[2], other;

	(void)state;
	start_rx(false);
	assert_int_equal(borrow_descriptor(3 | UINT64_C(8) << 32, m), 1);
	set_descriptor(1, 4 | UINT64_C(8) << 32);
	set_descriptor(2, 3 | UINT64_C(8) << 32);
	poke(&hostile->producer_words.tail, 3 * RF__DESCRIPTOR_BYTES);
	assert_int_equal(borrow_some(&other, 1), 1);
	assert_int_equal(borrow_some(&m[1], 1), -EPROTO);
	assert_int_equal(rf__slots_rx_release(&hostile->slots, m[0].id), 0);
	assert_int_equal(rf__slots_rx_release(&hostile->slots, m[0].id), -EINVAL);
	assert_int_equal(rf__slots_rx_release(&hostile->slots, other.id), 0);
	assert_false(rf__slots_rx_lent(&hostile->slots));
	assert_int_equal(borrow_one(), -EPROTO);
}

static void p1_a_breach_in_a_batch_lends_nothing(void **state)
{
	struct rf_message m[4];

	(void)state;
	start_rx(false);
	for (unsigned i = 0; i < 3; i++)
		set_descriptor(i, (i == 2 ? COUNT : i) | UINT64_C(8) << 32);
	poke(&hostile->producer_words.tail, 3 * RF__DESCRIPTOR_BYTES);
	assert_int_equal(borrow_some(m, 4), -EPROTO);
	assert_false(rf__slots_rx_lent(&hostile->slots));
	for (uint64_t id = 0; id < 3 * COUNT; id++)
		assert_int_equal(rf__slots_rx_release(&hostile->slots, id), -EINVAL);
	poke(&hostile->producer_words.tail, 2 * RF__DESCRIPTOR_BYTES);
	assert_int_equal(borrow_some(m, 4), -EPROTO);
	assert_int_equal(watch.n_loads, 0);
}

static void p1_dropped_is_only_a_hint(void **state)
{
	struct rf_message m;
	unsigned delivered = 0, rounds = 20000;

	(void)state;
	start_rx(true);
	for (seed = 5; rounds; rounds--) {
		uint64_t dropped = below(&seed, 2) ? hostile->slots.known : next_random(&seed);
		int n;

		watch.rx = false;
		slot_send(&pool, rounds);
		watch.rx = true;
		poke(&hostile->producer_words.dropped, dropped);
		n = borrow_some(&m, 1);
		assert_true(n == 1 || n == -EAGAIN);
		if (n == 1) {
			assert_int_equal(m.tag, rounds);
			slot_release(hostile, &m);
			delivered++;
		}
		assert_false(rf__slots_rx_lent(&hostile->slots));
		assert_true(give_all(&pool, hostile) >= 0);
	}
	assert_in_range(delivered, 5000, 15000);
}

/* Mostly possible, so that there is something to get wrong. */
static uint64_t some_place(void)
{
	uint64_t generation = hostile->slots.generation + (below(&seed, 64) ? 0u : 1u);

	return below(&seed, COUNT) | (generation & UINT8_MAX) << RF__GENERATION_SHIFT |
	       (below(&seed, 8) ? 0 : RF__SLOT_FDS_FOLLOW) |
	       (below(&seed, 3) ? 0 : RF__SLOT_HAS_EXTRA) |
	       (uint64_t)below(&seed, below(&seed, 50) ? 2 : SLOT_BYTES + 1) << RF__LEN_SHIFT;
}

/* Of a descriptor, or of what stands behind the slots. */
static uint64_t some_other_word(const void *where)
{
	const unsigned char *at = where;
	uint64_t in_area = (uint64_t)(at - hostile->descriptors);

	if (below(&seed, 500) == 0)
		return next_random(&seed);
	if (in_area >= hostile->area)
		return below(&seed, 3) ? below(&seed, SLOT_BYTES / 2) : next_random(&seed);
	return in_area % RF__DESCRIPTOR_BYTES ? next_random(&seed) : some_place();
}

static uint64_t some_word_of_a_producer(const void *where, uint64_t value)
{
	const struct rf__ring_rx *rx = &hostile->rx;

	(void)value;
	if (where == &hostile->producer_words.closed)
		return below(&seed, 100) ? 0 : below(&seed, 5);
	if (where == &hostile->producer_words.tail)
		return below(&seed, 1000) == 0
			       ? next_random(&seed)
			       : rx->tail + below(&seed, rx->stored + rx->capacity - rx->tail + 1) /
						    RF__DESCRIPTOR_BYTES * RF__DESCRIPTOR_BYTES;
	if (where == &hostile->producer_words.dropped)
		return below(&seed, 2) ? hostile->slots.known : next_random(&seed);
	if (where == &hostile->producer_words.space_want)
		return rx->released + below(&seed, 4 * RF__DESCRIPTOR_BYTES) -
		       2 * RF__DESCRIPTOR_BYTES;
	return some_other_word(where);
}

struct lent {
	struct rf_message messages[2 * COUNT];
	unsigned n;
};

/* Each in a slot of its own, and in memory that is there. */
static void check_messages(const struct lent *lent)
{
	for (unsigned i = 0; i < lent->n; i++) {
		const struct rf_message *m = &lent->messages[i];
		bool odd = m->id >= COUNT;
		uint64_t slot = odd ? m->id - COUNT : m->id;
		uint64_t at = (uint64_t)((const unsigned char *)m->data - pool.base[odd]);

		assert_true(m->id < 2 * COUNT);
		assert_true(at >= slot * 128 && at + m->len <= slot * 128 + SLOT_BYTES);
		for (unsigned k = 0; k < i; k++)
			assert_int_not_equal(lent->messages[k].id, m->id);
	}
	assert_int_equal(rf__slots_rx_lent(&hostile->slots), lent->n != 0);
}

static int take_some(struct lent *lent)
{
	unsigned max = below(&seed, HOLD) + 1;
	int n;

	n = borrow_some(lent->messages + lent->n, max);
	assert_true(watch.n_loads <= 3 + 8 * HOLD);
	hostile->slots.n_unseen = 0;
	if (n == RF__SLOTS_NEW_MEMORY) {
		unsigned next = (hostile->slots.generation + 1u) & 1;

		return rf__slots_rx_renew(&hostile->slots, pool.base[next]);
	}
	assert_true(n <= (int)max && (!hostile->slots.latest || n <= 1));
	if (n > 0)
		lent->n += (unsigned)n;
	check_messages(lent);
	return n;
}

static void give_some(struct lent *lent)
{
	while (lent->n && below(&seed, 3)) {
		unsigned at = below(&seed, lent->n);
		int r;

		WATCHED(r, rf__slots_rx_release(&hostile->slots, lent->messages[at].id));
		assert_int_equal(r, 0);
		lent->messages[at] = lent->messages[--lent->n];
	}
}

static void start_over(struct lent *lent)
{
	lent->n = 0;
	start_ends(hostile, HOLD);
	memset(hostile->slots.held, 0, rf__slots_bitmap_bytes(COUNT));
	hostile->slots.held_of[0] = hostile->slots.held_of[1] = 0;
}

static void consume_what_changes(bool latest)
{
	unsigned borrowed = 0, breaches = 0, ends = 0, renewed = 0;
	unsigned rounds = rf_test_rounds(200000);
	struct lent lent = {.n = 0};

	start_rx(latest);
	pool.base[1] = zeroed(pool.base_bytes);
	watch.replace = some_word_of_a_producer;
	for (seed = 3; rounds; rounds--) {
		unsigned generation = hostile->slots.generation;
		int n = take_some(&lent);

		borrowed += n > 0;
		breaches += n == -EPROTO;
		ends += n == 0 && generation == hostile->slots.generation;
		renewed += generation != hostile->slots.generation;
		assert_true(hostile->rx.tail - hostile->rx.stored <= hostile->rx.capacity);
		assert_int_equal(hostile->rx.breach != NULL, n == -EPROTO);
		if (hostile->rx.breach || hostile->rx.final)
			start_over(&lent);
		give_some(&lent);
	}

	assert_true(borrowed > 1000 && breaches > 100 && ends > 5 && renewed > 50);
}

static void p2_a_consumer_survives_values_that_change_after_each_load(void **state)
{
	(void)state;
	consume_what_changes(false);
}

static void p2_a_latest_consumer_survives_values_that_change_after_each_load(void **state)
{
	(void)state;
	consume_what_changes(true);
}

/* Unused words, and those of the other side, are left alone. */
static void p10_nothing_but_what_is_defined_is_written(void **state)
{
	const struct rf__descriptor *d;
	size_t extra;

	(void)state;
	replace_pool();
	d = (const void *)hostile->descriptors;
	for (uint32_t i = 0; i < 3; i++) {
		struct rf_buffer b = slot_reserve(&pool, 8);

		b.time_ns = b.user[0] = b.user[1] = UINT64_MAX;
		b.tag = UINT32_MAX;
		assert_int_equal(rf__slots_commit(&pool.slots, &b), 0);
	}
	publish();
	for (unsigned i = 3; i < hostile->area / RF__DESCRIPTOR_BYTES; i++)
		assert_true(!d[i].place && !d[i].tags);
	extra = (size_t)rf__slots_end_bytes(COUNT, pool.slots.stride);
	for (size_t i = 0; i < pool.base_bytes; i++)
		if (i < extra || i >= extra + 3 * sizeof(struct rf__slot_extra))
			assert_int_equal(pool.base[0][i], 0);
}

static int setup(void **state)
{
	(void)state;
	memset(&watch, 0, sizeof(watch));
	pool_open(&pool, COUNT, SLOT_BYTES);
	return 0;
}

static int teardown(void **state)
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

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(p6_slots_that_are_held_may_be_returned_in_any_order),
		TEST(p6_a_slot_returned_twice_breaks_only_that_consumer),
		TEST(p6_a_slot_never_lent_breaks_only_that_consumer),
		TEST(p6_a_slot_out_of_range_breaks_only_that_consumer),
		TEST(p6_the_first_slot_out_of_range_is_refused),
		TEST(p6_who_keeps_all_it_may_costs_bounded_work),
		TEST(p6_a_slot_that_only_another_holds_is_refused),
		TEST(p6_names_of_another_generation_are_refused),
		TEST(p6_a_slot_of_the_batch_that_is_being_published_may_be_guessed),
		TEST(p1_heads_that_are_not_possible_are_refused),
		TEST(p1_a_head_going_back_is_refused),
		TEST(p7_an_honest_one_keeps_what_it_holds_whatever_another_says),
		TEST(p1_a_descriptor_is_taken_or_refused_as_it_is_defined),
		TEST(p1_what_stands_behind_the_slots_is_taken_or_refused),
		TEST(p2_a_latest_consumer_takes_an_offset_with_its_own_length),
		TEST(p1_unknown_flags_and_generations_are_refused),
		TEST(p1_more_than_the_agreed_number_is_refused),
		TEST(p7_a_slot_that_is_borrowed_cannot_be_lent_again),
		TEST(p1_a_breach_in_a_batch_lends_nothing),
		TEST(p1_dropped_is_only_a_hint),
		TEST(p2_a_consumer_survives_values_that_change_after_each_load),
		TEST(p2_a_latest_consumer_survives_values_that_change_after_each_load),
		TEST(p10_nothing_but_what_is_defined_is_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
