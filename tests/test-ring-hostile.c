/* SPDX-License-Identifier: MIT */
/* The ring against a peer that writes what it likes into its words (threats P1, P5, P10, C9). What
 * it writes into records: test-ring-records.c. */
#include "ring-watch.h"

/* Heads. Everything is reserved, and a quarter of it published, from `start` on. */

static void full_tx(uint64_t start)
{
	struct rf_buffer b[4];

	victim_is_tx();
	ring_start_at(&ring, start);
	assert_int_equal(tx_reserve(ring.capacity / 4 - RF__HEADER, b, 4), 4);
	commit(&ring, &b[0], b[0].len, 0);
	tx_publish();
}

/* Reserving and arming look at it: is it believed? */
static bool head_is_believed(uint64_t start, uint64_t head)
{
	struct rf_buffer b;
	bool armed, reserved;

	full_tx(start);
	set_head(head);
	armed = tx_arm(ring.capacity / 2 - RF__HEADER) == 0;
	assert_int_equal(ring.tx.breach == NULL, armed);
	full_tx(start);
	set_head(head);
	reserved = tx_reserve(ring.capacity / 2 - RF__HEADER, &b, 1) == -EAGAIN;
	assert_int_equal(ring.tx.breach == NULL, reserved);
	assert_int_equal(armed, reserved);
	return reserved;
}

static void p1_head_beyond_tail_is_refused(void **state)
{
	const uint64_t tail = ring.capacity / 4;

	(void)state;
	assert_true(head_is_believed(0, tail));
	for (uint64_t over = 8; over; over <<= 1)
		assert_false(head_is_believed(0, tail + over));
	for (uint64_t over = 8; over <= ring.capacity; over += 8)
		assert_false(head_is_believed(0 - tail, over));
	assert_true(head_is_believed(0 - tail, 0));
}

static void p1_head_going_back_is_refused(void **state)
{
	struct rf_buffer b;

	(void)state;
	for (uint64_t back = 8; back <= ring.capacity; back += 8) {
		assert_false(head_is_believed(1 << 20, (1 << 20) - back));
		full_tx(0);
		set_head(ring.capacity / 4);
		assert_int_equal(tx_reserve(ring.capacity / 4 - RF__HEADER, &b, 1), 1);
		set_head(ring.capacity / 4 - (back < ring.capacity / 4 ? back : 8));
		assert_int_equal(tx_reserve(0, &b, 1), -EPROTO);
	}
}

static void p1_head_unaligned_is_refused(void **state)
{
	(void)state;
	for (uint64_t head = 0; head <= ring.capacity / 4; head++)
		assert_int_equal(head_is_believed(0, head), head % 8 == 0);
}

/* Tails and closed. */

static int borrow_with(uint64_t start, uint64_t tail, uint64_t closed)
{
	struct rf_message m;

	victim_is_rx();
	ring_start_at(&ring, start);
	set_header(start, 0);
	set_tail(tail);
	set_closed(closed);
	return rx_borrow(&m, 1);
}

static void p1_tail_beyond_the_ring_is_refused(void **state)
{
	(void)state;
	for (uint64_t over = 8; over; over <<= 1) {
		assert_int_equal(borrow_with(0, ring.capacity + over, 0), -EPROTO);
		assert_int_equal(borrow_with(0 - ring.capacity, over, 0), -EPROTO);
	}
	assert_int_equal(borrow_with(0, ring.capacity, 0), 1);
	assert_int_equal(borrow_with(0 - ring.capacity, 0, 0), 1);
}

/* What was given back, but not told, is not the producer's yet. */
static void p1_tail_beyond_the_head_we_stored_is_refused(void **state)
{
	struct rf_message m[16];

	(void)state;
	for (unsigned stored = 0; stored < 2; stored++) {
		victim_is_rx();
		ring_init(&ring);
		for (uint32_t i = 0; i < 16; i++)
			send_one(&ring, ring.capacity / 16 - RF__HEADER, i);
		assert_int_equal(rx_borrow(m, 16), 16);
		for (unsigned i = 0; i < 3 + stored; i++)
			assert_int_equal(rx_release(m[i].id), 0);
		set_header(0, 0);
		set_tail(ring.capacity + (3 + stored) * (ring.capacity / 16));
		assert_int_equal(rx_borrow_one(), stored ? 1 : -EPROTO);
	}
}

static void p1_tail_going_back_is_refused(void **state)
{
	(void)state;
	for (uint64_t back = 8; back; back <<= 1)
		assert_int_equal(borrow_with(0, 0 - back, 0), -EPROTO);
	for (uint64_t back = 8; back < ring.capacity; back += 8)
		assert_int_equal(borrow_with(1 << 20, (1 << 20) - back, 0), -EPROTO);
}

static void p1_tail_unaligned_is_refused(void **state)
{
	(void)state;
	for (uint64_t tail = 1; tail <= 64; tail++)
		assert_int_equal(borrow_with(0, tail, 0), tail % 8 ? -EPROTO : 1);
}

/* Nothing, the end, and the two reasons for a cut. */
static const int nothing_left[] = {-EAGAIN, 0, -EPIPE, -EPIPE};

static void p1_closed_that_is_no_known_reason_is_refused(void **state)
{
	(void)state;
	for (uint64_t closed = 0; closed < 4; closed++) {
		assert_int_equal(borrow_with(0, 8, closed), 1);
		assert_int_equal(borrow_with(0, 0, closed), nothing_left[closed]);
		assert_int_equal(ring.rx.closed, closed);
	}
	for (unsigned bit = 2; bit < 64; bit++)
		for (uint64_t low = 0; low < 4; low++) {
			uint64_t closed = UINT64_C(1) << bit | low;

			assert_int_equal(borrow_with(0, 8, closed), -EPROTO);
			assert_int_equal(borrow_with(0, 0, closed), -EPROTO);
		}
	assert_int_equal(borrow_with(0, 8, UINT64_MAX), -EPROTO);
	victim_is_rx();
	ring_init(&ring);
	set_closed(4);
	assert_int_equal(rx_arm(), 1);
	assert_int_equal(rx_borrow_one(), -EPROTO);
}

static void p1_closed_flickering_back_is_not_looked_at_again(void **state)
{
	(void)state;
	assert_int_equal(borrow_with(0, 8, 1), 1);
	set_closed(0);
	set_tail(64);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(rx_borrow_one(), 0);
		assert_int_equal(watch.n_loaded, 0);
		assert_int_equal(rx_arm(), 1);
		rx_finish();
	}
}

static void c9_tail_is_loaded_once_at_death(void **state)
{
	struct rf_message m;

	(void)state;
	victim_is_rx();
	ring_init(&ring);
	send_one(&ring, 8, 1);
	rx_finish();
	assert_int_equal(loads_of(ring.producer_seen.base), 1);
	send_one(&ring, 8, 2);
	rf__ring_tx_end(&ring.tx);
	rx_finish();
	assert_int_equal(watch.n_loaded, 0);
	assert_int_equal(rx_borrow(&m, 1), 1);
	assert_int_equal(watch.n_loaded, 1); /* the header */
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(rx_borrow_one(), -EPIPE);
		assert_int_equal(watch.n_loaded, 0);
		assert_int_equal(rx_arm(), 1);
		assert_int_equal(loads_of(ring.producer_seen.base), 0);
		assert_int_equal(loads_of(ring.producer_seen.base + 8), 0);
	}
}

static void p1_a_bad_tail_at_death_is_a_breach(void **state)
{
	(void)state;
	victim_is_rx();
	ring_init(&ring);
	set_tail(2 * ring.capacity);
	rx_finish();
	assert_int_equal(rx_borrow_one(), -EPROTO);
}

/* A breach. */

static void p1_breach_is_sticky(void **state)
{
	struct rf_buffer b[4], other;
	const char *what;

	(void)state;
	assert_int_equal(borrow_with(0, 4, 0), -EPROTO);
	what = ring.rx.breach;
	set_tail(8);
	rx_finish();
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(rx_borrow_one(), -EPROTO);
		assert_int_equal(rx_arm(), 1);
		assert_ptr_equal(ring.rx.breach, what);
	}
	victim_is_tx();
	ring_init(&ring);
	assert_int_equal(tx_reserve(ring.capacity / 4 - RF__HEADER, b, 4), 4);
	set_head(8);
	assert_int_equal(tx_reserve(0, &other, 1), -EPROTO);
	set_head(0);
	assert_int_equal(tx_reserve(0, &other, 1), -EPROTO);
	assert_int_equal(rf__ring_tx_commit(&ring.tx, b[0].id, 0, 0), -EPROTO);
	assert_int_equal(tx_arm(0), 1);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(rf__ring_tx_cancel(&ring.tx, b[i].id), 0);
	assert_int_equal(rf__ring_tx_open(&ring.tx), 0);
}

static void p1_a_breach_in_a_span_lends_nothing(void **state)
{
	struct rf_message m[4], first;

	(void)state;
	victim_is_rx();
	ring_init(&ring);
	for (uint32_t i = 0; i < 3; i++)
		send_one(&ring, 8, i);
	set_header(32, RF__SKIP | RF__FDS_FOLLOW);
	assert_int_equal(rx_borrow(&first, 1), 1);
	assert_int_equal(rx_borrow(m, 4), -EPROTO);
	assert_int_equal(rx_release(first.id), 0);
	assert_false(rf__ring_rx_lent(&ring.rx));
}

static void p1_what_was_lent_before_a_breach_can_be_released(void **state)
{
	struct rf_message m[2];

	(void)state;
	victim_is_rx();
	ring_init(&ring);
	send_one(&ring, 8, 0);
	send_one(&ring, 8, 1);
	assert_int_equal(rx_borrow(m, 2), 2);
	set_tail(4);
	assert_int_equal(rx_borrow_one(), -EPROTO);
	assert_int_equal(rx_release(m[1].id), -EINVAL);
	assert_int_equal(rx_release(m[0].id), 0);
	assert_int_equal(rx_release(m[1].id), 0);
	assert_false(rf__ring_rx_lent(&ring.rx));
}

/* Wants: any value costs one kick per call at most, and changes nothing else. */

static void p1_want_is_only_a_hint(void **state)
{
	uint64_t seed = 1, kicks = 0;

	(void)state;
	for (uint32_t i = 0; i < 20000; i++) {
		uint64_t near = ring.tx.at.published + (next_random(&seed) % 64) - 32;
		uint64_t want = i % 2 ? near : next_random(&seed);

		poke(&ring.consumer_words->data_want, want);
		poke(&ring.producer_words->space_want, want);
		put(&ring, i % 40, i);
		victim_is_tx();
		tx_publish();
		assert_int_equal(loads_of(ring.consumer_seen.base + 128), 1);
		assert_int_equal(watch.n_loaded, 1);
		kicks += ring.tx.at.kick_due || ring.rx.kick_due;
		ring.tx.at.kick_due = ring.rx.kick_due = false;
		victim_is_rx();
		receive(&ring, i % 40, i);
	}
	assert_true(kicks > 1000);
	assert_null(ring.tx.breach);
	assert_null(ring.rx.breach);
}

/* The rest of the words. */

static void overwrite(unsigned char *base, size_t from, size_t to)
{
	memset(base + from, 0xff, to - from);
}

static void p5_nothing_else_in_the_words_is_looked_at(void **state)
{
	const size_t page = rf__page_bytes();

	(void)state;
	for (uint32_t i = 0; i < 500; i++) {
		overwrite(ring.producer.base, 16, 128);
		overwrite(ring.producer.base, 136, page);
		overwrite(ring.consumer.base, 8, 128);
		overwrite(ring.consumer.base, 136, page);
		send_one(&ring, i, i);
		receive(&ring, i, i);
	}
	rf__ring_tx_end(&ring.tx);
	assert_int_equal(borrow_result(&ring), 0);
}

static void assert_zero(const unsigned char *base, size_t from, size_t to)
{
	for (size_t i = from; i < to; i++)
		assert_int_equal(base[i], 0);
}

static void p10_unused_words_stay_zero(void **state)
{
	const size_t page = rf__page_bytes();

	(void)state;
	for (uint32_t i = 0; i < 500; i++) {
		arm_rx(&ring.rx);
		arm_tx(&ring.tx, i);
		send_one(&ring, i, i);
		receive(&ring, i, i);
		rf__ring_tx_disarm(&ring.tx);
		rf__ring_rx_disarm(&ring.rx);
	}
	rf__ring_tx_end(&ring.tx);
	assert_zero(ring.producer.base, 16, 128);
	assert_zero(ring.producer.base, 136, page);
	assert_zero(ring.consumer.base, 8, 128);
	assert_zero(ring.consumer.base, 136, page);
}

/* The application writes nothing; so there are headers and nothing else. */
static void p10_nothing_but_headers_is_written_to_the_data(void **state)
{
	struct rf_buffer b[3];
	uint64_t at = 0;

	(void)state;
	assert_int_equal(rf__ring_tx_reserve(&ring.tx, 61, b, 3), 3);
	assert_int_equal(rf__ring_tx_commit(&ring.tx, b[0].id, 13, UINT32_MAX), 0);
	assert_int_equal(rf__ring_tx_cancel(&ring.tx, b[1].id), 0);
	assert_int_equal(rf__ring_tx_commit(&ring.tx, b[2].id, 5, 0), 0);
	rf__ring_tx_end(&ring.tx);
	assert_zero(ring.data, 8, 24);
	assert_zero(ring.data, 32, (size_t)b[1].id);
	assert_zero(ring.data, (size_t)b[1].id + 8, (size_t)b[2].id);
	assert_zero(ring.data, (size_t)b[2].id + 8, ring.capacity);
	while (at != b[2].id)
		at += rf__record_bytes(peek((uint64_t *)(void *)(ring.data + at)) & RF__LEN_MASK);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(p1_head_beyond_tail_is_refused),
		TEST(p1_head_going_back_is_refused),
		TEST(p1_head_unaligned_is_refused),
		TEST(p1_tail_beyond_the_ring_is_refused),
		TEST(p1_tail_beyond_the_head_we_stored_is_refused),
		TEST(p1_tail_going_back_is_refused),
		TEST(p1_tail_unaligned_is_refused),
		TEST(p1_closed_that_is_no_known_reason_is_refused),
		TEST(p1_closed_flickering_back_is_not_looked_at_again),
		TEST(c9_tail_is_loaded_once_at_death),
		TEST(p1_a_bad_tail_at_death_is_a_breach),
		TEST(p1_breach_is_sticky),
		TEST(p1_a_breach_in_a_span_lends_nothing),
		TEST(p1_what_was_lent_before_a_breach_can_be_released),
		TEST(p1_want_is_only_a_hint),
		TEST(p5_nothing_else_in_the_words_is_looked_at),
		TEST(p10_unused_words_stay_zero),
		TEST(p10_nothing_but_headers_is_written_to_the_data),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
