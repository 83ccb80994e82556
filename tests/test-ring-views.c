/* SPDX-License-Identifier: MIT */
/* Views of the ring, streams and elements: the same positions without headers, between honest ends
 * and against a hostile one (threats P1, P2, P10). */
#include "ring-watch.h"

#define LEN(array) (sizeof(array) / sizeof(*(array)))

static const uint64_t units[] = {1, 3, 8, 24, 100, 1024};

static void view_at(uint64_t unit, uint64_t position)
{
	ring_start_at(&ring, position);
	ring.tx.at.unit = ring.rx.unit = unit;
}

static void view(uint64_t unit)
{
	view_at(unit, 0);
}

static void publish(void)
{
	rf__ring_tx_publish(&ring.tx);
}

/* Reservations. */

static void a_reservation_takes_what_it_holds(void **state)
{
	struct rf_buffer a, b;

	(void)state;
	view(1);
	a = reserve(&ring, 5);
	b = reserve(&ring, 1);
	assert_ptr_equal(a.data, ring.data);
	assert_ptr_equal(b.data, ring.data + 5);
	assert_int_equal(ring.tx.at.reserved, 6);
}

static void half_the_ring_is_the_most_and_nothing_is_too_little(void **state)
{
	struct rf_buffer b[2];

	(void)state;
	victim_is_tx();
	view(1);
	assert_int_equal(tx_reserve(0, b, 1), -EINVAL);
	assert_int_equal(tx_reserve(ring.capacity / 2 + 1, b, 1), -EMSGSIZE);
	assert_int_equal(tx_reserve(SIZE_MAX, b, 1), -EMSGSIZE);
	assert_int_equal(tx_reserve(ring.capacity / 2, b, 2), 2);
	assert_int_equal(tx_reserve(1, b, 1), -EAGAIN);
}

static void elements_are_whole(void **state)
{
	struct rf_buffer b;

	(void)state;
	victim_is_tx();
	view(24);
	assert_int_equal(tx_reserve(23, &b, 1), -EINVAL);
	assert_int_equal(tx_reserve(25, &b, 1), -EINVAL);
	assert_int_equal(tx_reserve(72, &b, 1), 1);
	assert_int_equal(rf__ring_tx_commit(&ring.tx, b.id, 71, 0), -EINVAL);
	assert_int_equal(rf__ring_tx_commit(&ring.tx, b.id, 96, 0), -EINVAL);
	assert_int_equal(rf__ring_tx_commit(&ring.tx, b.id, 48, 0), 0);
	publish();
	assert_int_equal(borrow(&ring).len, 48);
}

static void a_span_lies_in_a_row(void **state)
{
	struct rf_buffer b[3];

	(void)state;
	victim_is_tx();
	view(8);
	assert_int_equal(tx_reserve(16, b, 3), 3);
	for (size_t i = 0; i < 3; i++)
		assert_ptr_equal(b[i].data, ring.data + 16 * i);
	for (size_t i = 3; i; i--)
		assert_int_equal(rf__ring_tx_commit(&ring.tx, b[i - 1].id, 16, 0), 0);
	publish();
	assert_int_equal(borrow(&ring).len, 48);
}

static void only_the_newest_shrinks_or_goes(void **state)
{
	struct rf_buffer a, b;

	(void)state;
	view(1);
	a = reserve(&ring, 10);
	b = reserve(&ring, 10);
	assert_int_equal(rf__ring_tx_commit(&ring.tx, a.id, 9, 0), -EINVAL);
	assert_int_equal(rf__ring_tx_cancel(&ring.tx, a.id), -EINVAL);
	assert_int_equal(rf__ring_tx_commit(&ring.tx, b.id, 4, 0), 0);
	assert_int_equal(rf__ring_tx_cancel(&ring.tx, a.id), -EINVAL);
	assert_int_equal(rf__ring_tx_open(&ring.tx), 1);
	assert_int_equal(rf__ring_tx_commit(&ring.tx, a.id, 10, 0), 0);
	publish();
	assert_int_equal(borrow(&ring).len, 14);
}

static void commit_to_nothing_is_cancel(void **state)
{
	struct rf_buffer a, b, c;

	(void)state;
	view(1);
	a = reserve(&ring, 10);
	b = reserve(&ring, 10);
	assert_int_equal(rf__ring_tx_commit(&ring.tx, b.id, 0, 0), 0);
	assert_int_equal(rf__ring_tx_commit(&ring.tx, b.id, 0, 0), -EINVAL);
	c = reserve(&ring, 5);
	assert_int_equal(c.id, b.id);
	commit(&ring, &c, 5, 1);
	assert_int_equal(rf__ring_tx_commit(&ring.tx, a.id, 10, 0), 0);
	assert_int_equal(rf__ring_tx_open(&ring.tx), 0);
	assert_int_equal(ring.tx.at.committed, 15);
}

static void the_end_cuts_off_at_the_first_open_one(void **state)
{
	struct rf_buffer a, b, c;
	struct rf_message m;

	(void)state;
	view(1);
	a = reserve(&ring, 10);
	b = reserve(&ring, 10);
	c = reserve(&ring, 10);
	commit(&ring, &a, 10, 7);
	commit(&ring, &c, 10, 8);
	rf__ring_tx_end(&ring.tx);
	assert_int_equal(rf__ring_tx_open(&ring.tx), 0);
	assert_int_equal(rf__ring_tx_cancel(&ring.tx, b.id), -EINVAL);
	m = borrow(&ring);
	assert_int_equal(m.len, 10);
	assert_true(is_filled(m.data, 10, 7));
	assert_int_equal(borrow_result(&ring), 0);
}

static void arming_asks_for_so_many_bytes(void **state)
{
	struct rf_buffer b[2];
	struct rf_message m;

	(void)state;
	victim_is_tx();
	view(16);
	assert_int_equal(tx_reserve(ring.capacity / 2, b, 2), 2);
	assert_int_equal(tx_arm(0), 0);
	assert_int_equal(peek(&ring.producer_words->space_want), 16);
	assert_int_equal(tx_arm(64), 0);
	assert_int_equal(peek(&ring.producer_words->space_want), 64);
	commit(&ring, &b[0], b[0].len, 0);
	publish();
	m = borrow(&ring);
	release(&ring, &m);
	assert_true(ring.rx.kick_due);
	assert_int_equal(tx_arm(64), 1);
}

/* Messages. */

static void what_is_there_is_one_message(void **state)
{
	struct rf_message m[4];

	(void)state;
	victim_is_rx();
	view(1);
	assert_int_equal(borrow_result(&ring), -EAGAIN);
	send_one(&ring, 3, 0);
	send_one(&ring, 5, 1);
	assert_int_equal(rx_borrow(m, 4), 1);
	assert_int_equal(m[0].len, 8);
	assert_int_equal(m[0].tag, 0);
	assert_true(is_filled(m[0].data, 3, 0));
	assert_true(is_filled((const char *)m[0].data + 3, 5, 1));
	assert_int_equal(borrow_result(&ring), -EAGAIN);
	send_one(&ring, 2, 2);
	assert_int_equal(rx_borrow(&m[1], 1), 1);
	assert_ptr_equal(m[1].data, (const char *)m[0].data + 8);
	assert_int_equal(rx_release(m[1].id), -EINVAL);
	assert_int_equal(rx_release(m[0].id), 0);
	assert_int_equal(rx_release(m[0].id), -EINVAL);
	assert_int_equal(rx_release(m[1].id), 0);
	assert_int_equal(ring.rx.at.stored, 10);
}

static void a_full_ring_is_one_piece(void **state)
{
	struct rf_buffer b[2];
	struct rf_message m;

	(void)state;
	victim_is_tx();
	view_at(1, ring.capacity - 100);
	assert_int_equal(tx_reserve(ring.capacity / 2, b, 2), 2);
	commit(&ring, &b[0], b[0].len, 1);
	commit(&ring, &b[1], b[1].len, 2);
	publish();
	m = borrow(&ring);
	assert_int_equal(m.len, ring.capacity);
	assert_true(is_filled(m.data, b[0].len, 1));
	assert_true(is_filled((const char *)m.data + b[0].len, b[1].len, 2));
	release(&ring, &m);
	assert_int_equal(ring.rx.at.stored, ring.tx.at.published);
}

static void ids_that_were_made_up_release_nothing(void **state)
{
	struct rf_message m;

	(void)state;
	victim_is_rx();
	view(1);
	send_one(&ring, 8, 0);
	m = borrow(&ring);
	for (unsigned bit = 0; bit < 64; bit++)
		assert_int_equal(rx_release(m.id ^ UINT64_C(1) << bit), -EINVAL);
	assert_int_equal(rx_release(0), -EINVAL);
	release(&ring, &m);
}

static void rewinding_keeps_the_first_part(void **state)
{
	struct rf_message m;

	(void)state;
	view(4);
	send_one(&ring, 12, 9);
	m = borrow(&ring);
	rf__ring_rx_rewind(&ring.rx, &m, 4);
	assert_int_equal(m.len, 4);
	release(&ring, &m);
	m = borrow(&ring);
	assert_int_equal(m.len, 8);
	rf__ring_rx_rewind(&ring.rx, &m, 0);
	assert_false(rf__ring_rx_lent(&ring.rx));
	m = borrow(&ring);
	assert_int_equal(m.len, 8);
	release(&ring, &m);
	assert_int_equal(borrow_result(&ring), -EAGAIN);
}

/* Random operations: each byte says at which position it was sent. */

struct model {
	uint64_t random, unit;
	uint64_t taken; /* by the consumer */
	struct rf_buffer open[8];
	unsigned n_open; /* oldest first; what was committed among them has len 0 */
	struct rf_message lent[8];
	unsigned n_lent;
};

static unsigned char byte_at(uint64_t position)
{
	return (unsigned char)(position * 131 + (position >> 8) * 17 + 5);
}

static void model_reserve(struct model *model)
{
	uint64_t most = ring.capacity / 2 / model->unit;
	size_t len = (size_t)(model->unit * (1 + below(&model->random, most)));
	struct rf_buffer *b = &model->open[model->n_open];

	if (model->n_open == LEN(model->open) || rf__ring_tx_reserve(&ring.tx, len, b, 1) < 0)
		return;
	for (size_t i = 0; i < len; i++)
		((unsigned char *)b->data)[i] = byte_at(b->id + i);
	model->n_open++;
}

static void model_settle(struct model *model)
{
	unsigned i = model->n_open ? below(&model->random, model->n_open) : 0;
	struct rf_buffer *b = &model->open[i];
	bool newest = b->id + b->len == ring.tx.at.reserved;
	size_t len =
		newest ? model->unit * below(&model->random, b->len / model->unit + 1) : b->len;

	if (!model->n_open || !b->len)
		return;
	assert_int_equal(rf__ring_tx_commit(&ring.tx, b->id, len, 0), 0);
	b->len = 0;
	while (model->n_open && !model->open[model->n_open - 1].len)
		model->n_open--;
}

static void model_borrow(struct model *model)
{
	struct rf_message *m = &model->lent[model->n_lent];

	if (model->n_lent == LEN(model->lent) || rf__ring_rx_borrow(&ring.rx, m, 1) < 0)
		return;
	assert_int_equal(m->len % model->unit, 0);
	for (size_t i = 0; i < m->len; i++)
		if (((const unsigned char *)m->data)[i] != byte_at(model->taken + i))
			fail_msg("a byte is wrong");
	model->taken += m->len;
	model->n_lent++;
}

static void model_release(struct model *model)
{
	if (!model->n_lent)
		return;
	release(&ring, &model->lent[0]);
	memmove(model->lent, model->lent + 1, --model->n_lent * sizeof(model->lent[0]));
}

static void run_model(uint64_t unit, uint64_t start, unsigned rounds)
{
	struct model model = {.random = unit, .unit = unit, .taken = start};

	view_at(unit, start);
	for (unsigned i = 0; i < rounds; i++) {
		switch (below(&model.random, 5)) {
		case 0:
			model_reserve(&model);
			break;
		case 1:
			model_settle(&model);
			break;
		case 2:
			publish();
			break;
		case 3:
			model_borrow(&model);
			break;
		default:
			model_release(&model);
		}
		assert_null(ring.tx.breach);
		assert_null(ring.rx.breach);
	}
	assert_true(model.taken - start > ring.capacity);
}

static void random_operations_keep_every_byte(void **state)
{
	unsigned rounds = rf_test_rounds(20000);

	(void)state;
	for (size_t i = 0; i < LEN(units); i++) {
		run_model(units[i], 0, rounds);
		run_model(units[i], 0 - UINT64_C(5000), rounds);
		run_model(units[i], (UINT64_C(1) << 32) - 5000, rounds);
	}
}

/* Hostile ends. */

static void p1_tail_within_an_element_is_refused(void **state)
{
	struct rf_message m;

	(void)state;
	for (size_t i = 1; i < LEN(units); i++) {
		view(units[i]);
		victim_is_rx();
		set_tail(units[i] * 2);
		assert_int_equal(rx_borrow(&m, 1), 1);
		set_tail(units[i] * 3 - 1);
		assert_int_equal(rx_borrow_one(), -EPROTO);
		assert_string_equal(ring.rx.breach, "the producer's tail is not at an element");
		set_tail(units[i] * 3);
		assert_int_equal(rx_borrow_one(), -EPROTO);
		release(&ring, &m);
	}
}

static void p1_head_within_an_element_is_refused(void **state)
{
	struct rf_buffer b[2];

	(void)state;
	view(24);
	victim_is_tx();
	assert_int_equal(tx_reserve(1920, b, 2), 2);
	commit(&ring, &b[0], b[0].len, 0);
	tx_publish();
	set_head(25);
	assert_int_equal(tx_reserve(1920, b, 1), -EPROTO);
	assert_string_equal(ring.tx.breach, "the consumer's head is not at an element");
}

static void p1_positions_beyond_the_possible_are_refused(void **state)
{
	struct rf_buffer b[2];

	(void)state;
	view(1);
	victim_is_rx();
	set_tail(ring.capacity + 1);
	assert_int_equal(rx_borrow_one(), -EPROTO);
	view(1);
	set_tail(UINT64_MAX);
	assert_int_equal(rx_borrow_one(), -EPROTO);
	view(1);
	victim_is_tx();
	assert_int_equal(tx_reserve(ring.capacity / 2, b, 2), 2);
	commit(&ring, &b[0], b[0].len, 0);
	tx_publish();
	set_head(b[0].len + 1);
	assert_int_equal(tx_reserve(1, b, 1), -EPROTO);
}

static void p2_a_message_costs_one_look_at_each_word(void **state)
{
	struct rf_message m;

	(void)state;
	view(8);
	send_one(&ring, 64, 0);
	victim_is_rx();
	assert_int_equal(rx_borrow(&m, 1), 1);
	assert_int_equal(watch.n_loaded, 2);
	assert_int_equal(loads_of(ring.producer_seen.base), 1);
}

static void p10_nothing_but_payload_is_written_to_the_data(void **state)
{
	struct rf_buffer a, b;

	(void)state;
	view(1);
	memset(ring.data, 0, ring.capacity);
	a = reserve(&ring, 100);
	b = reserve(&ring, 100);
	assert_int_equal(rf__ring_tx_cancel(&ring.tx, b.id), 0);
	assert_int_equal(rf__ring_tx_commit(&ring.tx, a.id, 50, UINT32_MAX), 0);
	publish();
	rf__ring_tx_end(&ring.tx);
	for (size_t i = 0; i < ring.capacity; i++)
		assert_int_equal(ring.data[i], 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_reservation_takes_what_it_holds),
		TEST(half_the_ring_is_the_most_and_nothing_is_too_little),
		TEST(elements_are_whole),
		TEST(a_span_lies_in_a_row),
		TEST(only_the_newest_shrinks_or_goes),
		TEST(commit_to_nothing_is_cancel),
		TEST(the_end_cuts_off_at_the_first_open_one),
		TEST(arming_asks_for_so_many_bytes),
		TEST(what_is_there_is_one_message),
		TEST(a_full_ring_is_one_piece),
		TEST(ids_that_were_made_up_release_nothing),
		TEST(rewinding_keeps_the_first_part),
		TEST(random_operations_keep_every_byte),
		TEST(p1_tail_within_an_element_is_refused),
		TEST(p1_head_within_an_element_is_refused),
		TEST(p1_positions_beyond_the_possible_are_refused),
		TEST(p2_a_message_costs_one_look_at_each_word),
		TEST(p10_nothing_but_payload_is_written_to_the_data),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
