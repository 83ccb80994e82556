/* SPDX-License-Identifier: MIT */
/* The ring against a peer whose records are what it likes, and whose words and headers change after
 * each load (threats P2, P3). */
#include "ring-watch.h"

/* Headers and words, one by one: every combination of interesting values, against a plain reading
 * of what a record is. */

static uint64_t header_of(unsigned i)
{
	const uint64_t half = ring.capacity / 2;
	const uint64_t values[] = {0, 1, 7, 8, 9, 16, 24, half - 24, half - 17, half - 16,
		half - 15, half - 9, half - 8, half - 7, half - 1, half, half + 1,
		ring.capacity - 16, ring.capacity - 8, ring.capacity - 7, ring.capacity,
		2 * ring.capacity, RF__LEN_MASK, RF__LEN_MASK - 7, RF__LEN_MASK - 8, RF__SKIP,
		RF__SKIP | 8, RF__SKIP | 1, RF__SKIP | (half - 8), RF__SKIP | (half - 7),
		RF__SKIP | RF__LEN_MASK, RF__SKIP | UINT64_C(0xffffffff) << 32,
		UINT64_C(0xffffffff) << 32, UINT64_C(1) << 32 | 8, RF__FDS_FOLLOW,
		UINT64_C(1) << 30, UINT64_C(1) << 31, RF__SKIP | RF__FDS_FOLLOW,
		RF__SKIP | UINT64_C(1) << 31 | 8, UINT64_MAX};

	return i < sizeof(values) / sizeof(values[0]) ? values[i] : 0;
}

#define HEADERS 40

static uint64_t tail_of(unsigned i)
{
	const uint64_t half = ring.capacity / 2;
	const uint64_t values[] = {0, 8, 16, 24, 32, half - 8, half, half + 8, half + 16,
		ring.capacity - 8, ring.capacity, ring.capacity + 8, 12, UINT64_MAX - 7};

	return values[i];
}

#define TAILS 14

struct reading {
	int result;
	uint64_t lens[2];
};

/* Of a ring that has nothing. */
static int what_is_left(uint64_t closed)
{
	return closed == RF__ENDED ? 0 : closed ? -EPIPE : -EAGAIN;
}

/* Gaps have no descriptors. */
static bool has_known_flags(uint64_t header)
{
	bool skip = header >> 28 & 1, fds = header >> 29 & 1;

	return !(header >> 30 & 3) && !(skip && fds);
}

/* The first two records of a ring; a call that finds something broken finds nothing else. */
static struct reading plain_reading(uint64_t tail, uint64_t closed)
{
	struct reading reading = {.result = what_is_left(closed)};
	uint64_t at = 0;
	int n = 0;

	if (closed > 3 || tail % 8 || tail > ring.capacity)
		return (struct reading){.result = -EPROTO};
	while (at < tail && n < 2) {
		uint64_t header = peek((uint64_t *)(void *)(ring.data + at));
		uint64_t len = header % (1 << 28), whole = len + 8;

		while (whole % 8)
			whole++;
		if (at + whole > tail || whole > ring.capacity / 2 || !has_known_flags(header))
			return (struct reading){.result = -EPROTO};
		if (!(header >> 28 & 1))
			reading.lens[n++] = len;
		at += whole;
	}
	if (n)
		reading.result = n;
	return reading;
}

static void check_reading(uint64_t tail, uint64_t closed)
{
	struct reading expected = plain_reading(tail, closed);
	struct rf_message m[2];

	set_tail(tail);
	set_closed(closed);
	assert_int_equal(rx_borrow(m, 2), expected.result);
	assert_int_equal(ring.rx.breach != NULL, expected.result == -EPROTO);
	for (int i = 0; i < expected.result; i++)
		assert_int_equal(m[i].len, expected.lens[i]);
}

static void p3_records_are_taken_or_refused_as_they_are_defined(void **state)
{
	(void)state;
	victim_is_rx();
	for (unsigned i = 0; i < HEADERS * HEADERS * TAILS * 5; i++) {
		uint64_t first = header_of(i % HEADERS);
		uint64_t second = header_of(i / HEADERS % HEADERS);

		ring_init(&ring);
		set_header(8, 0);
		set_header(16, 0);
		set_header(0, first);
		set_header(rf__record_bytes(first & RF__LEN_MASK), second);
		set_header(0, first);
		check_reading(
			tail_of(i / HEADERS / HEADERS % TAILS), i / HEADERS / HEADERS / TAILS);
	}
}

static int borrow_header(uint64_t header, uint64_t tail)
{
	struct rf_message m;

	victim_is_rx();
	ring_init(&ring);
	set_header(0, header);
	set_tail(tail);
	return rx_borrow(&m, 1);
}

static void p3_unknown_flags_are_refused(void **state)
{
	(void)state;
	for (unsigned bit = 28; bit < 64; bit++) {
		uint64_t flag = UINT64_C(1) << bit;
		int expected = bit == 28 ? -EAGAIN : bit == 30 || bit == 31 ? -EPROTO : 1;

		assert_int_equal(borrow_header(flag | 8, 16), expected);
		if (bit > 28 && bit < 32) {
			assert_int_equal(borrow_header(flag | RF__SKIP | 8, 16), -EPROTO);
			assert_int_equal(borrow_header(flag | RF__FDS_FOLLOW | 8, 16),
				bit == 29 ? 1 : -EPROTO);
		}
	}
}

static void p3_a_record_beyond_what_was_published_is_refused(void **state)
{
	(void)state;
	for (uint64_t len = 0; len < 200; len++)
		for (uint64_t tail = 8; tail < 200; tail += 8)
			assert_int_equal(borrow_header(len, tail), len + 8 <= tail ? 1 : -EPROTO);
}

static void p3_a_record_beyond_half_the_ring_is_refused(void **state)
{
	const uint64_t half = ring.capacity / 2;

	(void)state;
	for (uint64_t len = half - 32; len <= ring.capacity; len++) {
		assert_int_equal(borrow_header(len, ring.capacity), len <= half - 8 ? 1 : -EPROTO);
		assert_int_equal(
			borrow_header(RF__SKIP | len, ring.capacity) == -EPROTO, len > half - 8);
	}
}

/* Skip for ever: the peer gets its room back in time to go on. */

static unsigned headers_loaded(void)
{
	return watch.n_loaded - loads_of(ring.producer_seen.base) -
	       loads_of(ring.producer_seen.base + 8) - loads_of(ring.producer_seen.base + 128);
}

static void p3_skipping_for_ever_costs_bounded_work_per_call(void **state)
{
	struct rf_message m;
	uint64_t tail = 0;

	(void)state;
	ring_close(&ring);
	ring_open(&ring, 65536);
	victim_is_rx();
	for (uint64_t at = 0; at < ring.capacity; at += 8)
		set_header(at, RF__SKIP);
	for (unsigned i = 0; i < 100; i++) {
		tail = peek(&ring.consumer_words->head) + ring.capacity;
		set_tail(tail);
		assert_int_equal(rx_borrow(&m, 1), -EAGAIN);
		assert_true(headers_loaded() <= RF__GAPS_MAX);
		assert_int_equal(rx_arm(), 1);
		assert_true(watch.n_loaded <= 3);
	}
	assert_true(tail > ring.capacity);
}

static void p3_records_between_gaps_cost_bounded_work_per_call(void **state)
{
	static struct rf_message m[2000];
	int n;

	(void)state;
	ring_close(&ring);
	ring_open(&ring, 65536);
	victim_is_rx();
	for (uint64_t at = 0; at < ring.capacity; at += 8)
		set_header(at, at % 32 ? RF__SKIP : 0);
	set_tail(ring.capacity);
	n = rx_borrow(m, 2000);
	assert_in_range(n, 300, 400);
	assert_true(headers_loaded() <= RF__GAPS_MAX + (unsigned)n);
}

static void p3_the_end_behind_many_gaps_is_not_taken_for_the_end(void **state)
{
	struct rf_message m;
	int calls = 0, n;

	(void)state;
	ring_close(&ring);
	ring_open(&ring, 65536);
	victim_is_rx();
	for (uint64_t at = 0; at < ring.capacity - 8; at += 8)
		set_header(at, RF__SKIP);
	set_header(ring.capacity - 8, UINT64_C(5) << RF__TAG_SHIFT);
	set_tail(ring.capacity);
	set_closed(1);
	while ((n = rx_borrow(&m, 1)) == -EAGAIN)
		calls++;
	assert_int_equal(calls, ring.capacity / 8 / RF__GAPS_MAX - 1);
	assert_int_equal(n, 1);
	assert_int_equal(m.tag, 5);
	assert_int_equal(rx_borrow(&m, 1), 0);
}

/* Loads that yield something else each time. */

static uint64_t seed;

static uint64_t near(uint64_t value)
{
	return value + 8 * (uint64_t)below(&seed, 9) - 32;
}

static uint64_t some_header(void)
{
	uint64_t left = ring.rx.at.tail - ring.rx.at.position - RF__HEADER;
	uint64_t len = left < 64 || below(&seed, 8) == 0 ? left : below(&seed, 64);

	if (below(&seed, 64) == 0)
		return next_random(&seed);
	if (len > ring.capacity / 2 - RF__HEADER)
		len = below(&seed, ring.capacity);
	return len | (below(&seed, 4) ? 0 : RF__SKIP) | next_random(&seed) << RF__TAG_SHIFT;
}

/* Mostly possible, so that there is something to get wrong. */
static uint64_t some_value(const void *where, uint64_t value)
{
	if (below(&seed, 64) == 0)
		return next_random(&seed);
	if (where == ring.consumer_seen.base)
		return ring.tx.head + below(&seed, ring.tx.at.published - ring.tx.head + 1) / 8 * 8;
	if (where == ring.producer_seen.base)
		return ring.rx.at.tail +
		       below(&seed, ring.rx.at.stored + ring.capacity - ring.rx.at.tail + 1) / 8 *
			       8;
	if (where == ring.producer_seen.base + 8)
		return below(&seed, 256) == 0;
	if (where == ring.producer_seen.base + 128)
		return near(ring.rx.at.released);
	if (where == ring.consumer_seen.base + 128)
		return near(ring.tx.at.published);
	(void)value;
	return some_header();
}

struct lent {
	struct rf_message messages[64];
	unsigned n;
};

/* Inside the double mapping, readable, and behind what is lent already. */
static void check_messages(const struct lent *lent, unsigned from)
{
	uint64_t bytes = 0;

	for (unsigned i = 0; i < lent->n; i++)
		bytes += rf__record_bytes(lent->messages[i].len);
	assert_true(bytes <= ring.capacity);
	for (unsigned i = from; i < lent->n; i++) {
		const struct rf_message *m = &lent->messages[i];
		uint64_t at = (uint64_t)((const unsigned char *)m->data - ring.rx.at.data);
		unsigned char *copy;

		assert_true(at % 8 == 0 && at >= RF__HEADER);
		assert_true(m->len <= ring.capacity / 2 - RF__HEADER);
		assert_true(at <= ring.capacity && at + m->len <= 2 * ring.capacity);
		copy = test_malloc(m->len + 1);
		memcpy(copy, m->data, m->len);
		test_free(copy);
	}
}

static int borrow_some(struct lent *lent)
{
	unsigned had = lent->n, max = below(&seed, 8) + 1;
	int n;

	if (had + max > sizeof(lent->messages) / sizeof(lent->messages[0]))
		max = 0;
	n = rx_borrow(lent->messages + had, max);
	assert_true(n <= (int)max);
	if (n > 0)
		lent->n += (unsigned)n;
	check_messages(lent, had);
	return n;
}

static void release_some(struct lent *lent)
{
	unsigned n = below(&seed, lent->n + 1);

	for (unsigned i = 0; i < n; i++)
		assert_int_equal(rx_release(lent->messages[i].id), 0);
	lent->n -= n;
	memmove(lent->messages, lent->messages + n, lent->n * sizeof(lent->messages[0]));
}

static void p2_a_consumer_survives_values_that_change_after_each_load(void **state)
{
	unsigned borrowed = 0, breaches = 0, ends = 0, all = rf_test_rounds(200000), rounds;
	struct lent lent = {.n = 0};

	(void)state;
	victim_is_rx();
	watch.replace = some_value;
	seed = 3;
	for (rounds = all; rounds; rounds--) {
		int n = borrow_some(&lent);

		borrowed += n > 0;
		breaches += n == -EPROTO;
		ends += n == 0;
		release_some(&lent);
		if (below(&seed, 8) == 0)
			assert_in_range(rx_arm(), 0, 1);
		assert_true(ring.rx.at.tail - ring.rx.at.stored <= ring.capacity);
		assert_int_equal(rf__ring_rx_lent(&ring.rx), lent.n != 0);
		if (n == -EPROTO || n == 0) {
			lent.n = 0;
			ring_start_at(&ring, next_random(&seed) & ~UINT64_C(7));
		}
	}
	assert_true(borrowed > all / 200 && breaches > all / 2000 && ends > all / 20000);
}

static void check_buffers(const struct rf_buffer *b, int n, size_t len)
{
	for (int i = 0; i < n; i++) {
		uint64_t at = (uint64_t)((unsigned char *)b[i].data - ring.data);

		assert_int_equal(b[i].len, len);
		assert_true(at <= ring.capacity && at + len <= 2 * ring.capacity);
		memset(b[i].data, 0x55, len);
	}
}

/* Reserves, and commits or cancels in any order. */
static int produce_some(void)
{
	struct rf_buffer b[4];
	size_t len = below(&seed, ring.capacity / 2 - RF__HEADER + 1) >> below(&seed, 8);
	int n = tx_reserve(len, b, 4);

	check_buffers(b, n, len);
	for (int i = n - 1; i >= 0; i--) {
		begin_call();
		if (below(&seed, 4))
			assert_int_equal(rf__ring_tx_commit(&ring.tx, b[i].id, len / 2, 0), 0);
		else
			assert_int_equal(rf__ring_tx_cancel(&ring.tx, b[i].id), 0);
		end_call();
		assert_int_equal(watch.n_loaded, 0);
	}
	return n;
}

static void p2_a_producer_survives_values_that_change_after_each_load(void **state)
{
	unsigned reserved = 0, breaches = 0, full = 0, rounds = rf_test_rounds(200000);

	(void)state;
	victim_is_tx();
	watch.replace = some_value;
	for (seed = 4; rounds; rounds--) {
		int n = produce_some();

		reserved += n > 0;
		full += n == -EAGAIN;
		breaches += n == -EPROTO;
		tx_publish();
		if (below(&seed, 8) == 0)
			assert_in_range(tx_arm(below(&seed, 2000)), 0, 1);
		assert_true(ring.tx.at.reserved - ring.tx.head <= ring.capacity);
		assert_true(ring.tx.at.published - ring.tx.head <= ring.capacity);
		if (n == -EPROTO)
			ring_start_at(&ring, next_random(&seed) & ~UINT64_C(7));
	}
	assert_true(reserved > 1000 && breaches > 20 && full > 20);
}

static void p2_the_end_loads_each_word_once(void **state)
{
	(void)state;
	victim_is_tx();
	put(&ring, 8, 1);
	begin_call();
	rf__ring_tx_end(&ring.tx);
	end_call();
	assert_int_equal(watch.n_loaded, 1);
	assert_int_equal(watch.n_stored, 2);
}

static void p2_what_is_known_is_not_loaded_again(void **state)
{
	struct rf_buffer b[2];
	struct rf_message m[2];

	(void)state;
	victim_is_tx();
	assert_int_equal(tx_reserve(8, b, 2), 2);
	assert_int_equal(watch.n_loaded, 0);
	tx_publish();
	assert_int_equal(watch.n_loaded + watch.n_stored, 0);
	commit(&ring, &b[0], 8, 0);
	commit(&ring, &b[1], 8, 1);
	tx_publish();
	victim_is_rx();
	assert_int_equal(rx_borrow(m, 1), 1);
	assert_int_equal(rx_borrow(m, 2), 1);
	assert_int_equal(watch.n_loaded, 1);
}

static void p2_each_word_is_loaded_once_per_pass(void **state)
{
	struct rf_message m[3];

	(void)state;
	victim_is_rx();
	for (uint32_t i = 0; i < 3; i++)
		send_one(&ring, 8, i);
	assert_int_equal(rx_borrow(m, 3), 3);
	assert_int_equal(loads_of(ring.producer_seen.base), 1);
	assert_int_equal(loads_of(ring.producer_seen.base + 8), 1);
	assert_int_equal(watch.n_loaded, 5); /* and a header each */
	assert_int_equal(rx_release(m[0].id), 0);
	assert_int_equal(watch.n_loaded, 0);
	assert_int_equal(rx_release(m[1].id), 0);
	assert_int_equal(rx_release(m[2].id), 0);
	assert_int_equal(loads_of(ring.producer_seen.base + 128), 1);
	assert_int_equal(watch.n_loaded, 1);
	assert_int_equal(rx_arm(), 0);
	assert_int_equal(watch.n_loaded, 2);
	victim_is_tx();
	assert_int_equal(tx_arm(8), 1);
	assert_int_equal(watch.n_loaded, 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(p3_records_are_taken_or_refused_as_they_are_defined),
		TEST(p3_unknown_flags_are_refused),
		TEST(p3_a_record_beyond_what_was_published_is_refused),
		TEST(p3_a_record_beyond_half_the_ring_is_refused),
		TEST(p3_skipping_for_ever_costs_bounded_work_per_call),
		TEST(p3_records_between_gaps_cost_bounded_work_per_call),
		TEST(p3_the_end_behind_many_gaps_is_not_taken_for_the_end),
		TEST(p2_what_is_known_is_not_loaded_again),
		TEST(p2_each_word_is_loaded_once_per_pass),
		TEST(p2_the_end_loads_each_word_once),
		TEST(p2_a_consumer_survives_values_that_change_after_each_load),
		TEST(p2_a_producer_survives_values_that_change_after_each_load),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
