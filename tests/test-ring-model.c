/* SPDX-License-Identifier: MIT */
/* Random operations of two honest ends, checked after each against a simple model: a list of
 * records with states. */
#include "ring-fixture.h"

#define RECORDS 16384 /* a power of two; more than a ring holds at a time */

enum record_state { OPEN, COMMITTED, CANCELLED, LENT, RELEASED };

struct record {
	enum record_state state;
	uint64_t begin, end, message_id;
	uint32_t len, tag;
	void *data;
};

/* Indexes are free-running: first <= taken <= end. */
static struct {
	struct record records[RECORDS];
	unsigned first; /* the oldest whose room was not given back */
	unsigned taken; /* the next for the consumer */
	unsigned end;   /* the next for the producer */
	uint64_t reserved, published;
	uint64_t data_want, space_want;
	bool consumer_sleeps, producer_sleeps;
	uint64_t delivered, full, empty, kicks;
} model;

static struct ring ring;
static uint64_t seed;

static struct record *record_at(unsigned index)
{
	return &model.records[index % RECORDS];
}

static void model_start_at(uint64_t position)
{
	memset(&model, 0, sizeof(model));
	model.reserved = model.published = position;
	ring_start_at(&ring, position);
}

/* Positions are compared from here. */
static uint64_t base(void)
{
	return peek(&ring.consumer_words->head);
}

static uint64_t from_base(uint64_t position)
{
	return position - base();
}

static bool may_pass(const struct record *r)
{
	return r->state == RELEASED || r->state == CANCELLED;
}

/* Where the oldest reservation that is open begins. */
static uint64_t publishable(void)
{
	for (unsigned i = model.taken; i != model.end; i++)
		if (record_at(i)->state == OPEN)
			return record_at(i)->begin;
	return model.reserved;
}

static unsigned waiting(void)
{
	unsigned i = model.taken;

	while (i != model.end && record_at(i)->state != OPEN)
		i++;
	return model.end - i;
}

static unsigned count_states(enum record_state state)
{
	unsigned n = 0;

	for (unsigned i = model.first; i != model.end; i++)
		n += record_at(i)->state == state;
	return n;
}

/* The producer */

static size_t random_len(void)
{
	const size_t longest = ring.capacity / 2 - RF__HEADER;

	switch (below(&seed, 8)) {
	case 0:
		return longest - below(&seed, 16);
	case 1:
		return below(&seed, longest);
	case 2:
		return 0;
	default:
		return below(&seed, 100);
	}
}

static void expect_reservation(const struct rf_buffer *b, size_t len)
{
	struct record *r = record_at(model.end++);

	assert_ptr_equal(b->data, ring.data + (model.reserved & (ring.capacity - 1)) + RF__HEADER);
	*r = (struct record){.state = OPEN, .begin = b->id, .len = (uint32_t)len, .data = b->data};
	assert_int_equal(r->begin, model.reserved);
	model.reserved += rf__record_bytes(len);
	r->end = model.reserved;
	fill(b->data, len, ~b->id);
}

static void do_reserve(void)
{
	struct rf_buffer b[4];
	size_t len = random_len();
	unsigned max = 1 + below(&seed, 4);
	uint64_t each = rf__record_bytes(len), fit;
	unsigned free_slots = RF_RESERVED_MAX - waiting();
	int n = rf__ring_tx_reserve(&ring.tx, len, b, max);

	if (!free_slots) {
		assert_int_equal(n, -EINVAL);
		return;
	}
	fit = (ring.capacity - (model.reserved - ring.tx.head)) / each;
	if (!fit) {
		assert_int_equal(n, -EAGAIN);
		assert_int_equal(ring.tx.head, base());
		model.full++;
		return;
	}
	max = max < free_slots ? max : free_slots;
	assert_int_equal(n, max < fit ? max : fit);
	for (int i = 0; i < n; i++)
		expect_reservation(&b[i], len);
}

static struct record *random_open(unsigned *ret_index)
{
	unsigned n = count_states(OPEN), i = model.taken;

	if (!n)
		return NULL;
	for (n = below(&seed, n) + 1; n; i++)
		n -= record_at(i)->state == OPEN;
	*ret_index = i - 1;
	return record_at(i - 1);
}

static void do_commit(void)
{
	unsigned index;
	struct record *r = random_open(&index);
	uint64_t end;

	if (!r)
		return;
	r->tag = (uint32_t)next_random(&seed);
	if (below(&seed, 4) == 0)
		r->len = below(&seed, r->len + 1);
	fill(r->data, r->len, r->tag);
	assert_int_equal(rf__ring_tx_commit(&ring.tx, r->begin, r->len, r->tag), 0);
	assert_int_equal(rf__ring_tx_commit(&ring.tx, r->begin, 0, 0), -EINVAL);
	r->state = COMMITTED;
	end = r->begin + rf__record_bytes(r->len);
	if (index == model.end - 1)
		model.reserved = r->end = end;
}

static void do_cancel(void)
{
	unsigned index;
	struct record *r = random_open(&index);

	if (!r)
		return;
	assert_int_equal(rf__ring_tx_cancel(&ring.tx, r->begin), 0);
	assert_int_equal(rf__ring_tx_cancel(&ring.tx, r->begin), -EINVAL);
	r->state = CANCELLED;
	if (index == model.end - 1) {
		model.end--;
		model.reserved = r->begin;
	}
}

static bool reaches(uint64_t from, uint64_t to, uint64_t want)
{
	for (uint64_t at = from; at != to; at += 8)
		if (want - at - 1 < 8)
			return true;
	return false;
}

static void do_publish(void)
{
	uint64_t before = model.published;
	bool kick;

	model.published = publishable();
	kick = model.consumer_sleeps && reaches(before, model.published, model.data_want);
	rf__ring_tx_publish(&ring.tx);
	assert_int_equal(ring.tx.at.kick_due, kick);
	assert_int_equal(peek(&ring.producer_words->tail), model.published);
	ring.tx.at.kick_due = false;
	if (kick)
		model.consumer_sleeps = false;
	model.kicks += kick;
}

static void do_arm_producer(void)
{
	size_t len = random_len();
	uint64_t end = model.reserved + rf__record_bytes(len);
	int r = arm_tx(&ring.tx, len);

	assert_int_equal(r, end - base() <= ring.capacity);
	model.producer_sleeps = !r;
	model.space_want = end - ring.capacity;
	if (r)
		rf__ring_tx_disarm(&ring.tx);
}

/* The consumer */

/* After anything that may have moved the head from `before`. */
static void expect_head(uint64_t before)
{
	uint64_t now = peek(&ring.consumer_words->head);
	bool kick = model.producer_sleeps && reaches(before, now, model.space_want);

	assert_int_equal(now, ring.rx.at.stored);
	assert_int_equal(ring.rx.kick_due, kick);
	ring.rx.kick_due = false;
	if (kick)
		model.producer_sleeps = false;
	model.kicks += kick;
	while (model.first != model.taken && may_pass(record_at(model.first)) &&
		(int64_t)(record_at(model.first)->end - now) <= 0)
		model.first++;
	/* what is not given back is in use, or waits for company */
	assert_true(model.reserved - now <= ring.capacity);
	for (unsigned i = model.first; i != model.taken; i++)
		if (record_at(i)->state == LENT)
			assert_true(record_at(i)->begin - now <= ring.capacity);
}

static struct record *next_published(void)
{
	struct record *r;

	for (; model.taken != model.end; model.taken++) {
		r = record_at(model.taken);
		if ((int64_t)(r->begin - model.published) >= 0)
			return NULL;
		if (r->state == COMMITTED)
			return r;
	}
	return NULL;
}

static void expect_message(const struct rf_message *m)
{
	struct record *r = next_published();

	assert_non_null(r);
	assert_int_equal(m->len, r->len);
	assert_int_equal(m->tag, r->tag);
	assert_ptr_equal((const unsigned char *)m->data - ring.rx.at.data,
		(const unsigned char *)r->data - ring.data);
	assert_true(is_filled(m->data, m->len, r->tag));
	r->state = LENT;
	r->message_id = m->id;
	model.taken++;
	model.delivered++;
}

static void do_borrow(void)
{
	struct rf_message m[8];
	unsigned max = 1 + below(&seed, 8);
	uint64_t before = base();
	int n = rf__ring_rx_borrow(&ring.rx, m, max);

	if (n == (ring.tx.ended ? 0 : -EAGAIN)) {
		assert_null(next_published());
		assert_int_equal(ring.rx.at.position, model.published);
		model.empty++;
	} else {
		assert_true(n > 0 && n <= (int)max);
	}
	for (int i = 0; i < n; i++)
		expect_message(&m[i]);
	expect_head(before);
}

static void do_release(void)
{
	for (unsigned n = 1 + below(&seed, 8), i = model.first; n && i != model.taken; i++) {
		struct record *r = record_at(i);
		uint64_t before = base();

		if (r->state != LENT)
			continue;
		assert_int_equal(release_id(&ring.rx, r->message_id), 0);
		assert_int_equal(release_id(&ring.rx, r->message_id), -EINVAL);
		r->state = RELEASED;
		expect_head(before);
		n--;
	}
}

static void do_arm_consumer(void)
{
	uint64_t before = base();
	bool more = ring.rx.at.position != model.published;
	int r = arm_rx(&ring.rx);

	assert_int_equal(r, more);
	model.consumer_sleeps = !r;
	model.data_want = model.published + 1;
	if (r)
		rf__ring_rx_disarm(&ring.rx);
	expect_head(before);
}

static void do_disarm(void)
{
	rf__ring_rx_disarm(&ring.rx);
	rf__ring_tx_disarm(&ring.tx);
	model.consumer_sleeps = model.producer_sleeps = false;
}

/* Both */

static void check_both(void)
{
	unsigned n_lent = 0;

	for (unsigned i = model.first; i != model.taken; i++)
		n_lent += record_at(i)->state == LENT;
	assert_int_equal(rf__ring_rx_lent(&ring.rx), n_lent != 0);
	assert_int_equal(rf__ring_tx_open(&ring.tx), count_states(OPEN));
	assert_int_equal(ring.tx.at.reserved, model.reserved);
	assert_int_equal(ring.tx.at.published, peek(&ring.producer_words->tail));
	assert_int_equal(ring.rx.at.stored, peek(&ring.consumer_words->head));
	assert_true(from_base(model.reserved) <= ring.capacity);
	assert_true(from_base(ring.tx.at.published) <= from_base(ring.tx.at.committed));
	assert_true(from_base(ring.tx.at.committed) <= from_base(ring.tx.at.reserved));
	assert_null(ring.tx.breach);
	assert_null(ring.rx.breach);
}

/* The weights change now and then, so that the ring is full for a while, empty for a while, and
 * waits for its oldest reservation for a while. */
static void step(const unsigned weights[8])
{
	static void (*const operations[8])(void) = {do_reserve, do_commit, do_cancel, do_publish,
		do_borrow, do_release, do_arm_producer, do_arm_consumer};
	unsigned sum = 0, i, pick;

	for (i = 0; i < 8; i++)
		sum += weights[i];
	pick = below(&seed, sum);
	for (i = 0; pick >= weights[i]; i++)
		pick -= weights[i];
	operations[i]();
	if (below(&seed, 64) == 0)
		do_disarm();
	check_both();
}

static void drain(void)
{
	while (count_states(OPEN))
		do_commit();
	rf__ring_tx_end(&ring.tx);
	model.published = model.reserved;
	ring.tx.at.kick_due = false;
	model.consumer_sleeps = false;
	while (ring.rx.at.position != model.published) {
		do_borrow();
		do_release();
	}
	while (rf__ring_rx_lent(&ring.rx))
		do_release();
	assert_int_equal(borrow_result(&ring), 0);
	assert_null(next_published());
	assert_int_equal(arm_rx(&ring.rx), 1);
	assert_int_equal(base(), model.published);
}

static void run(uint64_t capacity, uint64_t start, unsigned steps)
{
	unsigned weights[8] = {1, 1, 1, 1, 1, 1, 1, 1};

	ring_open(&ring, capacity);
	model_start_at(start);
	seed = capacity ^ start;
	for (unsigned i = 0; i < steps; i++) {
		if (i % 256 == 0)
			for (unsigned w = 0; w < 8; w++)
				weights[w] = 1 + below(&seed, 12) * below(&seed, 2);
		step(weights);
	}
	drain();
	assert_true(model.delivered > steps / 50);
	assert_true(model.full > steps / 1000);
	assert_true(model.empty > steps / 1000);
	assert_true(model.kicks > steps / 1000);
	ring_close(&ring);
}

static void random_operations_do_what_the_model_does(void **state)
{
	(void)state;
	run(rf__page_bytes(), 0, rf_test_rounds(1000000));
}

static void random_operations_in_a_larger_ring_do_so_too(void **state)
{
	(void)state;
	run(8 * rf__page_bytes(), 0, rf_test_rounds(500000));
}

static void positions_may_wrap_at_two_to_the_64(void **state)
{
	unsigned rounds = rf_test_rounds(40);

	(void)state;
	for (uint64_t i = 0; i < rounds; i++)
		run(rf__page_bytes(), 0 - 1000 * 8 * i - 8, 5000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_operations_do_what_the_model_does),
		cmocka_unit_test(random_operations_in_a_larger_ring_do_so_too),
		cmocka_unit_test(positions_may_wrap_at_two_to_the_64),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
