/* SPDX-License-Identifier: MIT */
/* The ring between two honest ends: records, gaps, limits, releases, heads, kicks, the end. Random
 * operations: test-ring-model.c. A hostile end: test-ring-hostile.c. */
#include "ring-fixture.h"

static struct ring ring;

static int setup(void **state)
{
	(void)state;
	ring_open(&ring, rf__page_bytes());
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	ring_close(&ring);
	return 0;
}

static int cancel(const struct rf_buffer *buffer)
{
	return rf__ring_tx_cancel(&ring.tx, buffer->id);
}

static void publish(void)
{
	rf__ring_tx_publish(&ring.tx);
}

/* A payload of which n records fill the ring. */
static size_t fraction(unsigned n)
{
	return ring.capacity / n - RF__HEADER;
}

/* Records. */

static void a_record_arrives_as_it_was_sent(void **state)
{
	struct rf_buffer buffer = reserve(&ring, 100);
	struct rf_message m;

	(void)state;
	assert_int_equal((uintptr_t)buffer.data % 8, 0);
	assert_int_equal(buffer.tag, 0);
	commit(&ring, &buffer, 100, UINT32_MAX);
	publish();
	m = expect(&ring, 100, UINT32_MAX);
	assert_int_equal((uintptr_t)m.data % 8, 0);
	assert_int_equal(m.time_ns | m.user[0] | m.user[1] | m.missed, 0);
	release(&ring, &m);
	assert_int_equal(borrow_result(&ring), -EAGAIN);
}

static void every_length_keeps_its_bytes_and_its_neighbours(void **state)
{
	(void)state;
	for (uint32_t len = 0; len < 70; len++) {
		put(&ring, len, len + 1);
		send_one(&ring, len / 3, ~len);
		receive(&ring, len, len + 1);
		receive(&ring, len / 3, ~len);
	}
}

static void nothing_arrives_before_it_is_published(void **state)
{
	struct rf_buffer buffer = reserve(&ring, 8);

	(void)state;
	publish();
	assert_int_equal(borrow_result(&ring), -EAGAIN);
	commit(&ring, &buffer, 8, 1);
	assert_int_equal(borrow_result(&ring), -EAGAIN);
	assert_int_equal(peek(&ring.producer_words->tail), 0);
	publish();
	assert_int_equal(peek(&ring.producer_words->tail), 16);
	receive(&ring, 8, 1);
}

static void publishing_stops_at_the_oldest_open_reservation(void **state)
{
	struct rf_buffer a = reserve(&ring, 8), b = reserve(&ring, 16), c = reserve(&ring, 24);

	(void)state;
	commit(&ring, &a, 8, 1);
	commit(&ring, &c, 24, 3);
	publish();
	receive(&ring, 8, 1);
	assert_int_equal(borrow_result(&ring), -EAGAIN);
	assert_int_equal(rf__ring_tx_open(&ring.tx), 1);
	commit(&ring, &b, 16, 2);
	publish();
	receive(&ring, 16, 2);
	receive(&ring, 24, 3);
}

static void records_arrive_in_the_order_of_their_reservation(void **state)
{
	struct rf_buffer b[4];

	(void)state;
	for (unsigned order = 0; order < 256; order++) {
		unsigned digits[] = {order & 3, order >> 2 & 3, order >> 4 & 3, order >> 6 & 3};

		if ((1u << digits[0] | 1u << digits[1] | 1u << digits[2] | 1u << digits[3]) != 15)
			continue;
		for (unsigned i = 0; i < 4; i++)
			b[i] = reserve(&ring, 10 * i);
		for (unsigned i = 0; i < 4; i++) {
			commit(&ring, &b[digits[i]], 10 * digits[i], digits[i]);
			publish();
		}
		for (unsigned i = 0; i < 4; i++)
			receive(&ring, 10 * i, i);
	}
}

static void the_largest_record_takes_half_the_ring(void **state)
{
	const size_t too_long[] = {fraction(2) + 1, ring.capacity, RF_RECORD_MAX, RF_RECORD_MAX + 1,
		SIZE_MAX - 15, SIZE_MAX - 7, SIZE_MAX};
	struct rf_buffer buffer;

	(void)state;
	for (size_t i = 0; i < sizeof(too_long) / sizeof(too_long[0]); i++)
		assert_int_equal(rf__ring_tx_reserve(&ring.tx, too_long[i], &buffer, 1), -EMSGSIZE);
	put(&ring, fraction(2), 1);
	send_one(&ring, fraction(2), 2);
	assert_int_equal(rf__ring_tx_reserve(&ring.tx, 0, &buffer, 1), -EAGAIN);
	receive(&ring, fraction(2), 1);
	receive(&ring, fraction(2), 2);
}

static void records_are_contiguous_across_the_end_of_the_area(void **state)
{
	struct rf_message m;

	(void)state;
	for (size_t before = 16; before < fraction(2); before += 8) {
		ring_start_at(&ring, ring.capacity - before);
		send_one(&ring, fraction(2), (uint32_t)before);
		m = expect(&ring, fraction(2), (uint32_t)before);
		assert_ptr_equal(m.data, ring.rx.at.data + ring.capacity - before + RF__HEADER);
		assert_memory_equal(
			ring.data, (const unsigned char *)m.data + before - RF__HEADER, 8);
		release(&ring, &m);
		assert_int_equal(
			peek(&ring.producer_words->tail), peek(&ring.consumer_words->head));
	}
}

/* Shrinking and cancelling. */

static void shrinking_the_newest_leaves_no_gap(void **state)
{
	struct rf_buffer a = reserve(&ring, fraction(2)), b;

	(void)state;
	commit(&ring, &a, 20, 1);
	b = reserve(&ring, fraction(2));
	assert_int_equal(b.id - a.id, rf__record_bytes(20));
	commit(&ring, &b, 0, 2);
	publish();
	assert_int_equal(peek(&ring.producer_words->tail), rf__record_bytes(20) + RF__HEADER);
	receive(&ring, 20, 1);
	receive(&ring, 0, 2);
}

static void shrinking_an_older_one_leaves_a_gap_that_is_passed(void **state)
{
	(void)state;
	for (size_t len = 0; len <= 64; len++) {
		struct rf_buffer a = reserve(&ring, 64), b = reserve(&ring, 8);

		commit(&ring, &a, len, 1);
		commit(&ring, &b, 8, 2);
		publish();
		receive(&ring, len, 1);
		receive(&ring, 8, 2);
		assert_int_equal(borrow_result(&ring), -EAGAIN);
	}
}

static void cancelling_an_older_one_leaves_a_gap_that_is_passed(void **state)
{
	(void)state;
	for (size_t len = 0; len <= 64; len++) {
		struct rf_buffer a = reserve(&ring, len), b = reserve(&ring, 8);

		memset(a.data, 0xff, len);
		assert_int_equal(cancel(&a), 0);
		commit(&ring, &b, 8, 2);
		publish();
		receive(&ring, 8, 2);
		assert_int_equal(borrow_result(&ring), -EAGAIN);
	}
}

static void cancelling_the_newest_gives_its_room_back(void **state)
{
	struct rf_buffer a = reserve(&ring, fraction(2)), b = reserve(&ring, fraction(2)), c;

	(void)state;
	assert_int_equal(rf__ring_tx_reserve(&ring.tx, 0, &c, 1), -EAGAIN);
	assert_int_equal(cancel(&b), 0);
	c = reserve(&ring, fraction(2));
	assert_ptr_equal(c.data, b.data);
	assert_int_equal(cancel(&c), 0);
	assert_int_equal(cancel(&a), 0);
	publish();
	assert_int_equal(peek(&ring.producer_words->tail), 0);
	assert_ptr_equal(reserve(&ring, 0).data, a.data);
}

static void commit_and_cancel_refuse_what_is_not_open(void **state)
{
	struct rf_buffer a = reserve(&ring, 16), b = reserve(&ring, 16), c = reserve(&ring, 16);

	(void)state;
	assert_int_equal(rf__ring_tx_commit(&ring.tx, a.id, 17, 0), -EINVAL);
	commit(&ring, &b, 16, 2);
	assert_int_equal(cancel(&b), -EINVAL);
	assert_int_equal(rf__ring_tx_commit(&ring.tx, b.id, 16, 0), -EINVAL);
	assert_int_equal(cancel(&c), 0);
	for (uint64_t id = a.id - 64; id != c.id + 64; id++)
		if (id != a.id) {
			assert_int_equal(rf__ring_tx_commit(&ring.tx, id, 0, 0), -EINVAL);
			assert_int_equal(rf__ring_tx_cancel(&ring.tx, id), -EINVAL);
		}
	commit(&ring, &a, 16, 1);
	assert_int_equal(cancel(&a), -EINVAL);
	publish();
	receive(&ring, 16, 1);
	receive(&ring, 16, 2);
	assert_int_equal(borrow_result(&ring), -EAGAIN);
}

static void reserved_max_reservations_may_wait(void **state)
{
	struct rf_buffer b[RF_RESERVED_MAX + 1];

	(void)state;
	ring.tx.waiting_first = ring.tx.waiting_end = UINT32_MAX - 100;
	assert_int_equal(rf__ring_tx_reserve(&ring.tx, 0, b, RF_RESERVED_MAX + 1), RF_RESERVED_MAX);
	assert_int_equal(rf__ring_tx_reserve(&ring.tx, 0, &b[RF_RESERVED_MAX], 1), -EINVAL);
	assert_int_equal(rf__ring_tx_open(&ring.tx), RF_RESERVED_MAX);
	for (uint32_t i = RF_RESERVED_MAX - 1; i > 0; i--)
		commit(&ring, &b[i], 0, i);
	assert_int_equal(rf__ring_tx_open(&ring.tx), 1);
	assert_int_equal(rf__ring_tx_reserve(&ring.tx, 0, &b[RF_RESERVED_MAX], 1), -EINVAL);
	commit(&ring, &b[0], 0, 0);
	put(&ring, 0, RF_RESERVED_MAX);
	publish();
	for (uint32_t i = 0; i <= RF_RESERVED_MAX; i++)
		receive(&ring, 0, i);
}

/* Also when the one that is open has lengths and flags of its own. */
static void only_a_second_reservation_needs_memory(void **state)
{
	struct rf_buffer a, b[2];

	(void)state;
	ring.tx.waiting = NULL;
	for (uint32_t i = 0; i < 3; i++) {
		assert_int_equal(rf__ring_tx_reserve(&ring.tx, 16, b, 2), -ENOMEM);
		a = reserve(&ring, 16);
		assert_int_equal(rf__ring_tx_reserve(&ring.tx, 16, b, 1), -ENOMEM);
		assert_int_equal(rf__ring_tx_mark(&ring.tx, a.id), 0);
		assert_int_equal(rf__ring_tx_open(&ring.tx), 1);
		assert_true(rf__ring_tx_is_open(&ring.tx, a.id));
		assert_int_equal(rf__ring_tx_reserve(&ring.tx, 16, b, 1), -ENOMEM);
		assert_int_equal(i ? rf__ring_tx_commit(&ring.tx, a.id, i, 0) : cancel(&a), 0);
		assert_int_equal(rf__ring_tx_open(&ring.tx), 0);
	}
	a = reserve(&ring, 8);
	assert_int_equal(rf__ring_tx_mark(&ring.tx, a.id), 0);
	rf__ring_tx_lend(&ring.tx, ring.waiting);
	assert_int_equal(rf__ring_tx_reserve(&ring.tx, 16, b, 2), 2);
	assert_int_equal(rf__ring_tx_open(&ring.tx), 3);
	commit(&ring, &b[1], 16, 1);
	assert_int_equal(cancel(&a), 0);
	commit(&ring, &b[0], 16, 0);
	publish();
	assert_int_equal(ring.tx.at.published, ring.tx.at.reserved);
}

/* The gap is longer than a length can say, unless its header is chosen well. */
static void a_cancelled_record_of_the_largest_length_is_passed(void **state)
{
	static struct ring large;
	struct rf_buffer a, b;

	(void)state;
	ring_open(&large, RF__AREA_MAX);
	a = reserve(&large, RF_RECORD_MAX);
	b = reserve(&large, 8);
	assert_int_equal(rf__ring_tx_reserve(&large.tx, RF_RECORD_MAX + 1, &b, 1), -EMSGSIZE);
	assert_int_equal(rf__ring_tx_cancel(&large.tx, a.id), 0);
	commit(&large, &b, 8, 7);
	rf__ring_tx_publish(&large.tx);
	receive(&large, 8, 7);
	ring_close(&large);
}

/* Spans. */

static void a_span_is_reserved_as_far_as_there_is_room(void **state)
{
	struct rf_buffer b[8];

	(void)state;
	assert_int_equal(rf__ring_tx_reserve(&ring.tx, 8, b, 0), -EINVAL);
	assert_int_equal(rf__ring_tx_reserve(&ring.tx, fraction(8), b, 3), 3);
	assert_int_equal(rf__ring_tx_reserve(&ring.tx, fraction(8), b + 3, 8), 5);
	assert_int_equal(rf__ring_tx_reserve(&ring.tx, fraction(8), b, 8), -EAGAIN);
	for (uint32_t i = 0; i < 8; i++)
		commit(&ring, &b[i], fraction(8), i);
	publish();
	for (uint32_t i = 0; i < 8; i++)
		receive(&ring, fraction(8), i);
}

static void a_span_is_borrowed_as_far_as_there_are_records(void **state)
{
	struct rf_message m[8];

	(void)state;
	for (uint32_t i = 0; i < 5; i++)
		send_one(&ring, i, i);
	assert_int_equal(rf__ring_rx_borrow(&ring.rx, m, 0), -EINVAL);
	assert_int_equal(rf__ring_rx_borrow(&ring.rx, m, 2), 2);
	assert_int_equal(rf__ring_rx_borrow(&ring.rx, m + 2, 6), 3);
	assert_int_equal(rf__ring_rx_borrow(&ring.rx, m + 5, 1), -EAGAIN);
	for (uint32_t i = 0; i < 5; i++) {
		assert_int_equal(m[i].tag, i);
		assert_true(is_filled(m[i].data, i, i));
		release(&ring, &m[i]);
	}
}

/* Descriptors beside the data. */

static void a_marked_record_says_that_descriptors_belong_to_it(void **state)
{
	struct rf_buffer b[3];
	struct rf_message m[3];

	(void)state;
	assert_int_equal(rf__ring_tx_reserve(&ring.tx, 20, b, 3), 3);
	assert_int_equal(rf__ring_tx_mark(&ring.tx, b[1].id), 0);
	for (uint32_t i = 0; i < 3; i++)
		commit(&ring, &b[i], 20 - i, UINT32_MAX - i);
	assert_int_equal(rf__ring_tx_mark(&ring.tx, b[1].id), -EINVAL);
	rf__ring_tx_publish(&ring.tx);
	assert_int_equal(rf__ring_rx_borrow(&ring.rx, m, 3), 3);
	for (uint32_t i = 0; i < 3; i++) {
		assert_int_equal(m[i].n_fds, i == 1 ? UINT32_MAX : 0);
		assert_int_equal(m[i].tag, UINT32_MAX - i);
		assert_true(is_filled(m[i].data, 20 - i, UINT32_MAX - i));
	}
}

static void a_marked_record_that_is_cancelled_loses_its_mark(void **state)
{
	struct rf_buffer older, newest;

	(void)state;
	older = reserve(&ring, 8);
	newest = reserve(&ring, 8);
	assert_int_equal(rf__ring_tx_mark(&ring.tx, older.id), 0);
	assert_int_equal(rf__ring_tx_mark(&ring.tx, newest.id), 0);
	assert_int_equal(rf__ring_tx_cancel(&ring.tx, newest.id), 0);
	assert_int_equal(rf__ring_tx_cancel(&ring.tx, older.id), 0);
	for (uint32_t i = 0; i < 2 * RF_RESERVED_MAX; i++) {
		struct rf_message m;

		send_one(&ring, 8, i);
		m = expect(&ring, 8, i);
		assert_int_equal(m.n_fds, 0);
		release(&ring, &m);
	}
}

static void a_view_cannot_be_marked(void **state)
{
	struct rf_buffer b;

	(void)state;
	ring.tx.at.unit = 8;
	b = reserve(&ring, 8);
	assert_int_equal(rf__ring_tx_mark(&ring.tx, b.id), -EINVAL);
}

/* The end. */

static void end_cancels_what_is_open_and_publishes_the_rest(void **state)
{
	struct rf_buffer a = reserve(&ring, 8), b = reserve(&ring, 16), c = reserve(&ring, 24), d;

	(void)state;
	commit(&ring, &b, 16, 2);
	rf__ring_tx_end(&ring.tx);
	assert_true(ring.tx.at.kick_due);
	assert_int_equal(rf__ring_tx_open(&ring.tx), 0);
	assert_int_equal(peek(&ring.producer_words->closed), 1);
	assert_int_equal(peek(&ring.producer_words->tail), c.id);
	assert_int_equal(rf__ring_tx_reserve(&ring.tx, 0, &d, 1), -EINVAL);
	assert_int_equal(rf__ring_tx_commit(&ring.tx, a.id, 0, 0), -EINVAL);
	assert_int_equal(cancel(&c), -EINVAL);
	receive(&ring, 16, 2);
	assert_int_equal(borrow_result(&ring), 0);
}

static void ending_with_open_reservations_only_publishes_nothing(void **state)
{
	struct rf_buffer b[3];

	(void)state;
	assert_int_equal(rf__ring_tx_reserve(&ring.tx, 8, b, 3), 3);
	rf__ring_tx_end(&ring.tx);
	assert_int_equal(peek(&ring.producer_words->tail), 0);
	assert_int_equal(borrow_result(&ring), 0);
}

static void end_of_stream_comes_after_the_last_record_and_stays(void **state)
{
	struct rf_message m;

	(void)state;
	send_one(&ring, 8, 1);
	rf__ring_tx_end(&ring.tx);
	m = expect(&ring, 8, 1);
	assert_int_equal(borrow_result(&ring), 0);
	release(&ring, &m);
	assert_int_equal(borrow_result(&ring), 0);
	rf__ring_rx_finish(&ring.rx);
	assert_int_equal(borrow_result(&ring), 0);
	assert_int_equal(arm_rx(&ring.rx), 1);
}

static void who_is_cut_off_gets_what_was_published_and_is_told_why(void **state)
{
	const enum rf__closed reasons[] = {RF__CUT_STALLED, RF__CUT_BUDGET};

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		ring_init(&ring);
		send_one(&ring, 8, 1);
		rf__ring_tx_close(&ring.tx, reasons[i]);
		assert_true(ring.tx.at.kick_due);
		receive(&ring, 8, 1);
		assert_int_equal(borrow_result(&ring), -EPIPE);
		assert_int_equal(borrow_result(&ring), -EPIPE);
		assert_int_equal(ring.rx.closed, reasons[i]);
		assert_int_equal(arm_rx(&ring.rx), 1);
	}
}

static void death_without_an_end_is_a_broken_pipe_after_draining(void **state)
{
	(void)state;
	send_one(&ring, 8, 1);
	send_one(&ring, 8, 2);
	receive(&ring, 8, 1);
	send_one(&ring, 8, 3);
	rf__ring_rx_finish(&ring.rx);
	send_one(&ring, 8, 4);
	receive(&ring, 8, 2);
	receive(&ring, 8, 3);
	assert_int_equal(borrow_result(&ring), -EPIPE);
	assert_int_equal(arm_rx(&ring.rx), 1);
}

static void death_after_the_end_is_an_end_of_stream(void **state)
{
	(void)state;
	send_one(&ring, 8, 1);
	rf__ring_tx_end(&ring.tx);
	rf__ring_rx_finish(&ring.rx);
	receive(&ring, 8, 1);
	assert_int_equal(borrow_result(&ring), 0);
}

/* Releases. */

static void records_are_released_oldest_first_and_once(void **state)
{
	struct rf_message m[3];

	(void)state;
	for (uint32_t i = 0; i < 3; i++)
		send_one(&ring, 8 * i, i);
	assert_int_equal(rf__ring_rx_borrow(&ring.rx, m, 3), 3);
	assert_int_equal(release_id(&ring.rx, m[1].id), -EINVAL);
	assert_int_equal(release_id(&ring.rx, m[2].id), -EINVAL);
	for (unsigned i = 0; i < 3; i++) {
		assert_true(rf__ring_rx_lent(&ring.rx));
		release(&ring, &m[i]);
		for (unsigned old = 0; old <= i; old++)
			assert_int_equal(release_id(&ring.rx, m[old].id), -EINVAL);
	}
	assert_false(rf__ring_rx_lent(&ring.rx));
	send_one(&ring, 8, 9);
	m[0] = expect(&ring, 8, 9);
	for (unsigned old = 1; old < 3; old++)
		assert_int_equal(release_id(&ring.rx, m[old].id), -EINVAL);
	release(&ring, &m[0]);
}

static void release_refuses_an_id_that_reaches_beyond_what_is_lent(void **state)
{
	struct rf_message m;

	(void)state;
	send_one(&ring, 8, 1);
	send_one(&ring, 8, 2);
	m = expect(&ring, 8, 1);
	for (unsigned bit = 0; bit < 64; bit++)
		assert_int_equal(release_id(&ring.rx, m.id ^ UINT64_C(1) << bit), -EINVAL);
	release(&ring, &m);
	receive(&ring, 8, 2);
}

static void release_refuses_an_id_that_covers_nothing(void **state)
{
	struct rf_message m, none = {.id = 0};

	(void)state;
	assert_int_equal(release_id(&ring.rx, none.id), -EINVAL);
	send_one(&ring, 8, 1);
	m = expect(&ring, 8, 1);
	assert_int_equal(release_id(&ring.rx, none.id), -EINVAL);
	release(&ring, &m);
}

/* A record of 8, a gap of 24, a record of 8. */
static void put_gap_between_two(void)
{
	struct rf_buffer a = reserve(&ring, 8), gap = reserve(&ring, 16), b = reserve(&ring, 8);

	commit(&ring, &a, 8, 1);
	assert_int_equal(cancel(&gap), 0);
	commit(&ring, &b, 8, 2);
	publish();
}

static void releases_pass_over_gaps(void **state)
{
	struct rf_message m[2];

	(void)state;
	put_gap_between_two();
	put_gap_between_two();
	receive(&ring, 8, 1);
	receive(&ring, 8, 2);
	assert_int_equal(rf__ring_rx_borrow(&ring.rx, m, 2), 2);
	assert_int_equal(release_id(&ring.rx, m[1].id), -EINVAL);
	release(&ring, &m[0]);
	release(&ring, &m[1]);
	assert_int_equal(peek(&ring.consumer_words->head), peek(&ring.producer_words->tail));
}

static void a_gap_at_the_end_is_given_back_without_a_record_behind_it(void **state)
{
	struct rf_buffer a = reserve(&ring, 8), gap = reserve(&ring, 16), open = reserve(&ring, 8);
	struct rf_message m;

	(void)state;
	commit(&ring, &a, 8, 1);
	assert_int_equal(cancel(&gap), 0);
	publish();
	m = expect(&ring, 8, 1);
	assert_int_equal(borrow_result(&ring), -EAGAIN);
	assert_int_equal(peek(&ring.consumer_words->head), 0);
	release(&ring, &m);
	assert_int_equal(peek(&ring.consumer_words->head), open.id);
}

static void a_record_published_behind_a_gap_that_was_seen_is_there_at_once(void **state)
{
	struct rf_buffer a = reserve(&ring, 8), gap = reserve(&ring, 16), b = reserve(&ring, 8);

	(void)state;
	commit(&ring, &a, 8, 1);
	assert_int_equal(cancel(&gap), 0);
	publish();
	receive(&ring, 8, 1);
	commit(&ring, &b, 8, 2);
	publish();
	receive(&ring, 8, 2);
}

static void rewinding_makes_the_record_the_next_one_again(void **state)
{
	struct rf_message m;
	uint64_t id;

	(void)state;
	put_gap_between_two();
	receive(&ring, 8, 1);
	m = expect(&ring, 8, 2);
	id = m.id;
	rf__ring_rx_rewind(&ring.rx, &m, 0);
	assert_false(rf__ring_rx_lent(&ring.rx));
	assert_int_equal(release_id(&ring.rx, id), -EINVAL);
	assert_int_equal(release_id(&ring.rx, m.id), -EINVAL);
	receive(&ring, 8, 2);
	assert_int_equal(borrow_result(&ring), -EAGAIN);
}

/* 8 bytes each; behind them one record. */
static uint32_t put_many_gaps(struct ring *wide)
{
	struct rf_buffer b[RF_RESERVED_MAX];
	uint32_t n = 0;

	while (n + RF_RESERVED_MAX < 3 * RF__GAPS_MAX) {
		assert_int_equal(
			rf__ring_tx_reserve(&wide->tx, 0, b, RF_RESERVED_MAX), RF_RESERVED_MAX);
		for (unsigned i = 0; i < RF_RESERVED_MAX - 1; i++, n++)
			assert_int_equal(rf__ring_tx_cancel(&wide->tx, b[i].id), 0);
		assert_int_equal(rf__ring_tx_cancel(&wide->tx, b[RF_RESERVED_MAX - 1].id), 0);
	}
	send_one(wide, 8, 7);
	return n;
}

static void a_record_behind_many_gaps_is_reached_in_bounded_calls(void **state)
{
	struct ring wide;
	struct rf_message first;

	(void)state;
	ring_open(&wide, 65536);
	for (int lent = 0; lent < 2; lent++) {
		uint32_t gaps, calls;

		send_one(&wide, 8, 1);
		first = expect(&wide, 8, 1);
		if (!lent)
			release(&wide, &first);
		gaps = put_many_gaps(&wide);
		assert_true(gaps > 2 * RF__GAPS_MAX);
		for (calls = 0; calls < gaps / RF__GAPS_MAX; calls++) {
			assert_int_equal(borrow_result(&wide), -EAGAIN);
			assert_int_equal(arm_rx(&wide.rx), 1);
		}
		assert_int_equal(rf__ring_rx_lent(&wide.rx), lent);
		if (lent)
			release(&wide, &first);
		receive(&wide, 8, 7);
		assert_int_equal(wide.rx.at.stored, wide.tx.at.published);
	}
	ring_close(&wide);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_record_arrives_as_it_was_sent),
		TEST(every_length_keeps_its_bytes_and_its_neighbours),
		TEST(nothing_arrives_before_it_is_published),
		TEST(publishing_stops_at_the_oldest_open_reservation),
		TEST(records_arrive_in_the_order_of_their_reservation),
		TEST(the_largest_record_takes_half_the_ring),
		TEST(records_are_contiguous_across_the_end_of_the_area),
		TEST(shrinking_the_newest_leaves_no_gap),
		TEST(shrinking_an_older_one_leaves_a_gap_that_is_passed),
		TEST(cancelling_an_older_one_leaves_a_gap_that_is_passed),
		TEST(cancelling_the_newest_gives_its_room_back),
		TEST(commit_and_cancel_refuse_what_is_not_open),
		TEST(reserved_max_reservations_may_wait),
		TEST(only_a_second_reservation_needs_memory),
		TEST(a_cancelled_record_of_the_largest_length_is_passed),
		TEST(a_span_is_reserved_as_far_as_there_is_room),
		TEST(a_span_is_borrowed_as_far_as_there_are_records),
		TEST(a_marked_record_says_that_descriptors_belong_to_it),
		TEST(a_marked_record_that_is_cancelled_loses_its_mark),
		TEST(a_view_cannot_be_marked),
		TEST(end_cancels_what_is_open_and_publishes_the_rest),
		TEST(ending_with_open_reservations_only_publishes_nothing),
		TEST(end_of_stream_comes_after_the_last_record_and_stays),
		TEST(who_is_cut_off_gets_what_was_published_and_is_told_why),
		TEST(death_without_an_end_is_a_broken_pipe_after_draining),
		TEST(death_after_the_end_is_an_end_of_stream),
		TEST(records_are_released_oldest_first_and_once),
		TEST(release_refuses_an_id_that_reaches_beyond_what_is_lent),
		TEST(release_refuses_an_id_that_covers_nothing),
		TEST(releases_pass_over_gaps),
		TEST(a_gap_at_the_end_is_given_back_without_a_record_behind_it),
		TEST(a_record_published_behind_a_gap_that_was_seen_is_there_at_once),
		TEST(rewinding_makes_the_record_the_next_one_again),
		TEST(a_record_behind_many_gaps_is_reached_in_bounded_calls),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
