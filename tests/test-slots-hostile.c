/* SPDX-License-Identifier: MIT */
/* The slots of a producer against a consumer that writes what it likes into its words and its return
 * entries, and changes them after each load (threats P1, P2, P6, P7). */
#include "slots-watch.h"

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
	hostile->tx.at.published += RF__DESCRIPTOR_BYTES; /* as if another one had been lent */
	hostile->tx.at.reserved += RF__DESCRIPTOR_BYTES;
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
		return tx->head + below(&seed, tx->at.published - tx->head + 1) /
					  RF__DESCRIPTOR_BYTES * RF__DESCRIPTOR_BYTES;
	if (where == &hostile->consumer_words.data_want)
		return tx->at.published - RF__DESCRIPTOR_BYTES +
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
		assert_int_equal(reserve_slot(&pool.slots, 40, &b), 0);
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

int main(void)
{
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
		TEST(p10_nothing_but_what_is_defined_is_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
