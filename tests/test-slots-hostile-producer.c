/* SPDX-License-Identifier: MIT */
/* A consumer of slots against a producer that writes what it likes into its words, its descriptors and
 * what stands behind the slots, and changes them after each load (threats P1, P2, P7). */
#include "slots-watch.h"

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
			       : rx->at.tail + below(&seed, rx->at.stored + rx->at.capacity - rx->at.tail + 1) /
						    RF__DESCRIPTOR_BYTES * RF__DESCRIPTOR_BYTES;
	if (where == &hostile->producer_words.dropped)
		return below(&seed, 2) ? hostile->slots.known : next_random(&seed);
	if (where == &hostile->producer_words.space_want)
		return rx->at.released + below(&seed, 4 * RF__DESCRIPTOR_BYTES) -
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
		unsigned at = below(&seed, lent->n), n = below(&seed, lent->n - at) + 1, done;

		WATCHED(done, rf__slots_rx_release_span(&hostile->slots, &lent->messages[at], n));
		assert_int_equal(done, n);
		memmove(&lent->messages[at], &lent->messages[at + n],
			(lent->n - at - n) * sizeof(lent->messages[0]));
		lent->n -= n;
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
	unsigned all = rf_test_rounds(200000), rounds;
	struct lent lent = {.n = 0};

	start_rx(latest);
	pool.base[1] = zeroed(pool.base_bytes);
	watch.replace = some_word_of_a_producer;
	seed = 3;
	for (rounds = all; rounds; rounds--) {
		unsigned generation = hostile->slots.generation;
		int n = take_some(&lent);

		borrowed += n > 0;
		breaches += n == -EPROTO;
		ends += n == 0 && generation == hostile->slots.generation;
		renewed += generation != hostile->slots.generation;
		assert_true(hostile->rx.at.tail - hostile->rx.at.stored <= hostile->rx.at.capacity);
		assert_int_equal(hostile->rx.breach != NULL, n == -EPROTO);
		if (hostile->rx.breach || hostile->rx.final)
			start_over(&lent);
		give_some(&lent);
	}

	assert_true(borrowed > all / 10 && breaches > all / 20);
	assert_true(ends > all / 10000 && renewed > all / 200);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
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
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
