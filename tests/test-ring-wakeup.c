/* SPDX-License-Identifier: MIT */
/* When a head is stored, when a kick is due, and that no wake-up is lost: each end runs at every
 * access of the other. Built with the access hook. */
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
	rf__access_hook = NULL;
	ring_close(&ring);
	return 0;
}

static void publish(void)
{
	rf__ring_tx_publish(&ring.tx);
}

static uint64_t head(void)
{
	return peek(&ring.consumer_words->head);
}

static bool take_kick(bool *kick_due)
{
	bool due = *kick_due;

	*kick_due = false;
	return due;
}

static bool consumer_is_kicked(void)
{
	return take_kick(&ring.tx.at.kick_due);
}

static bool producer_is_kicked(void)
{
	return take_kick(&ring.rx.kick_due);
}

/* Eight records of an eighth of the ring: full. */
static void fill_with_eighths(void)
{
	for (uint32_t i = 0; i < 8; i++)
		send_one(&ring, ring.capacity / 8 - RF__HEADER, i);
}

static void receive_eighth(uint32_t tag)
{
	receive(&ring, ring.capacity / 8 - RF__HEADER, tag);
}

/* Heads. */

static void the_head_is_stored_when_nothing_seen_is_left(void **state)
{
	struct rf_message m[2];

	(void)state;
	send_one(&ring, 8, 0);
	send_one(&ring, 8, 1);
	assert_int_equal(rf__ring_rx_borrow(&ring.rx, m, 2), 2);
	send_one(&ring, 8, 2);
	release(&ring, &m[0]);
	assert_int_equal(head(), 0);
	release(&ring, &m[1]);
	assert_int_equal(head(), 32);
	receive(&ring, 8, 2);
	assert_int_equal(head(), 48);
}

static void the_head_is_stored_when_a_quarter_was_given_back(void **state)
{
	const uint64_t eighth = ring.capacity / 8;

	(void)state;
	fill_with_eighths();
	for (uint32_t i = 0; i < 8; i++) {
		receive_eighth(i);
		assert_int_equal(head(), (i + 1) / 2 * 2 * eighth);
	}
}

static void the_head_is_stored_before_the_consumer_sleeps(void **state)
{
	struct rf_message m;

	(void)state;
	fill_with_eighths();
	receive_eighth(0);
	m = borrow(&ring);
	assert_int_equal(head(), 0);
	assert_int_equal(arm_rx(&ring.rx), 1);
	assert_int_equal(head(), ring.capacity / 8);
	release(&ring, &m);
}

static void the_head_is_stored_when_the_caller_says_so(void **state)
{
	(void)state;
	fill_with_eighths();
	receive_eighth(0);
	assert_int_equal(head(), 0);
	rf__ring_rx_flush(&ring.rx);
	assert_int_equal(head(), ring.capacity / 8);
}

static void the_head_is_stored_when_a_borrow_passed_the_last_gap(void **state)
{
	struct rf_buffer gap = reserve(&ring, 8), open = reserve(&ring, 8);

	(void)state;
	assert_int_equal(rf__ring_tx_cancel(&ring.tx, gap.id), 0);
	publish();
	assert_int_equal(borrow_result(&ring), -EAGAIN);
	assert_int_equal(head(), open.id);
}

static void a_head_is_not_stored_twice(void **state)
{
	(void)state;
	send_one(&ring, 8, 0);
	receive(&ring, 8, 0);
	poke(&ring.consumer_words->head, 12345);
	assert_int_equal(borrow_result(&ring), -EAGAIN);
	assert_int_equal(arm_rx(&ring.rx), 0);
	assert_int_equal(head(), 12345);
}

/* Kicks for the consumer. */

static void a_consumer_that_is_awake_is_not_kicked(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < 1000; i++) {
		send_one(&ring, 8, i);
		assert_false(consumer_is_kicked());
		receive(&ring, 8, i);
	}
}

static void a_sleeping_consumer_is_kicked_once_per_sleep(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < 3; i++) {
		assert_int_equal(arm_rx(&ring.rx), 0);
		put(&ring, 8, 0);
		publish();
		assert_true(consumer_is_kicked());
		publish();
		assert_false(consumer_is_kicked());
		send_one(&ring, 8, 1);
		assert_false(consumer_is_kicked());
		receive(&ring, 8, 0);
		receive(&ring, 8, 1);
	}
}

static void a_kick_stays_due_until_the_caller_clears_it(void **state)
{
	(void)state;
	arm_rx(&ring.rx);
	send_one(&ring, 8, 0);
	send_one(&ring, 8, 1);
	assert_true(consumer_is_kicked());
}

static void what_publishes_nothing_kicks_nobody(void **state)
{
	struct rf_buffer open = reserve(&ring, 8);

	(void)state;
	arm_rx(&ring.rx);
	put(&ring, 8, 1);
	publish();
	assert_false(consumer_is_kicked());
	commit(&ring, &open, 8, 0);
	assert_false(consumer_is_kicked());
	publish();
	assert_true(consumer_is_kicked());
}

static void a_disarmed_consumer_is_not_kicked(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < 3; i++) {
		assert_int_equal(arm_rx(&ring.rx), 0);
		rf__ring_rx_disarm(&ring.rx);
		send_one(&ring, 8, i);
		assert_false(consumer_is_kicked());
		receive(&ring, 8, i);
	}
}

static void the_end_always_kicks(void **state)
{
	(void)state;
	rf__ring_tx_end(&ring.tx);
	assert_true(consumer_is_kicked());
}

static void a_consumer_does_not_sleep_over_records(void **state)
{
	struct rf_message m;

	(void)state;
	assert_int_equal(arm_rx(&ring.rx), 0);
	send_one(&ring, 8, 0);
	assert_int_equal(arm_rx(&ring.rx), 1);
	m = borrow(&ring);
	assert_int_equal(arm_rx(&ring.rx), 0);
	send_one(&ring, 8, 1);
	send_one(&ring, 8, 2);
	release(&ring, &m);
	receive(&ring, 8, 1);
	assert_int_equal(arm_rx(&ring.rx), 1);
	receive(&ring, 8, 2);
	rf__ring_tx_end(&ring.tx);
	assert_int_equal(arm_rx(&ring.rx), 1);
}

/* Kicks for the producer. */

static void a_producer_is_kicked_when_its_record_fits(void **state)
{
	const uint64_t quarter = ring.capacity / 4;

	(void)state;
	for (uint64_t len = 0; len <= ring.capacity / 2 - RF__HEADER; len += 8) {
		bool kicked = false;

		ring_start_at(&ring, 0 - ring.capacity / 2);
		fill_with_eighths();
		assert_int_equal(arm_tx(&ring.tx, len), 0);
		for (uint32_t i = 0; i < 8; i++) {
			uint64_t before = i / 2 * quarter, after = (i + 1) / 2 * quarter;
			uint64_t each = rf__record_bytes(len);

			receive_eighth(i);
			kicked = producer_is_kicked();
			assert_int_equal(kicked, before < each && each <= after);
		}
	}
}

static void a_producer_that_is_awake_or_disarmed_is_not_kicked(void **state)
{
	(void)state;
	for (int armed = 0; armed < 2; armed++) {
		fill_with_eighths();
		if (armed) {
			assert_int_equal(arm_tx(&ring.tx, 0), 0);
			rf__ring_tx_disarm(&ring.tx);
		}
		for (uint32_t i = 0; i < 8; i++)
			receive_eighth(i);
		assert_false(producer_is_kicked());
	}
}

static void a_producer_is_disarmed_from_where_it_saw_the_head(void **state)
{
	struct rf_buffer buffer;

	(void)state;
	fill_with_eighths();
	receive_eighth(0);
	receive_eighth(1);
	buffer = reserve(&ring, 8);
	assert_int_equal(arm_tx(&ring.tx, ring.capacity / 2 - RF__HEADER), 0);
	rf__ring_tx_disarm(&ring.tx);
	for (uint32_t i = 2; i < 8; i++)
		receive_eighth(i);
	assert_false(producer_is_kicked());
	assert_int_equal(rf__ring_tx_cancel(&ring.tx, buffer.id), 0);
}

static void a_producer_does_not_sleep_over_room(void **state)
{
	const size_t eighth = ring.capacity / 8 - RF__HEADER;

	(void)state;
	assert_int_equal(arm_tx(&ring.tx, ring.capacity / 2 - RF__HEADER), 1);
	fill_with_eighths();
	assert_int_equal(arm_tx(&ring.tx, 0), 0);
	receive_eighth(0);
	assert_int_equal(arm_tx(&ring.tx, 0), 0);
	receive_eighth(1);
	assert_int_equal(arm_tx(&ring.tx, 2 * eighth + RF__HEADER), 1);
	assert_int_equal(arm_tx(&ring.tx, 2 * eighth + RF__HEADER + 1), 0);
}

/* Interleavings: at one access of one end, the other end runs. A load has happened by then, a store
 * has not. */

static struct {
	unsigned at, seen;
	void (*act)(void);
	int result;
} other;

static uint64_t run_the_other(enum rf__op op, const void *where, uint64_t value)
{
	void (*act)(void) = other.act;

	(void)op, (void)where;
	if (other.act && other.seen++ == other.at) {
		other.act = NULL;
		act();
	}
	return value;
}

static void act_at(unsigned at, void (*act)(void))
{
	other.at = at;
	other.seen = 0;
	other.act = act;
	other.result = -1;
	rf__access_hook = run_the_other;
}

/* Did it run? */
static bool acted(void)
{
	rf__access_hook = NULL;
	return !other.act;
}

static void publish_record(void)
{
	publish();
}

static void end_stream(void)
{
	rf__ring_tx_end(&ring.tx);
}

static void arm_consumer(void)
{
	other.result = arm_rx(&ring.rx);
}

static void consumer_publishes_or_sleeps(void (*producer)(void))
{
	unsigned at = 0;

	for (bool ran = true; ran; at++) {
		int sleeps;

		ring_init(&ring);
		put(&ring, 8, 0);
		act_at(at, producer);
		sleeps = !arm_rx(&ring.rx);
		ran = acted();
		if (ran)
			assert_true(!sleeps || ring.tx.at.kick_due);
	}
	assert_true(at > 2);
}

static void arming_against_publishing_loses_no_wakeup(void **state)
{
	(void)state;
	consumer_publishes_or_sleeps(publish_record);
}

static void arming_against_the_end_loses_no_wakeup(void **state)
{
	(void)state;
	consumer_publishes_or_sleeps(end_stream);
}

static void publishing_against_arming_loses_no_wakeup(void **state)
{
	void (*const producers[])(void) = {publish_record, end_stream};

	(void)state;
	for (unsigned which = 0; which < 2; which++) {
		unsigned at = 0;

		for (bool ran = true; ran; at++) {
			ring_init(&ring);
			put(&ring, 8, 0);
			act_at(at, arm_consumer);
			producers[which]();
			ran = acted();
			if (ran)
				assert_true(other.result == 1 || ring.tx.at.kick_due);
		}
		assert_true(at > 2);
	}
}

static struct rf_message lent;

static void release_lent(void)
{
	release(&ring, &lent);
}

static void arm_producer(void)
{
	other.result = arm_tx(&ring.tx, 0);
}

static void fill_and_borrow(void)
{
	ring_init(&ring);
	send_one(&ring, ring.capacity / 2 - RF__HEADER, 0);
	send_one(&ring, ring.capacity / 2 - RF__HEADER, 1);
	lent = borrow(&ring);
}

static void releasing_against_arming_loses_no_wakeup(void **state)
{
	unsigned at = 0;

	(void)state;
	for (bool ran = true; ran; at++) {
		fill_and_borrow();
		act_at(at, arm_producer);
		release_lent();
		ran = acted();
		if (ran)
			assert_true(other.result == 1 || ring.rx.kick_due);
	}
	assert_true(at > 2);
}

static void arming_against_releasing_loses_no_wakeup(void **state)
{
	unsigned at = 0;

	(void)state;
	for (bool ran = true; ran; at++) {
		int sleeps;

		fill_and_borrow();
		act_at(at, release_lent);
		sleeps = !arm_tx(&ring.tx, 0);
		ran = acted();
		if (ran)
			assert_true(!sleeps || ring.rx.kick_due);
	}
	assert_true(at > 2);
}

/* The last record and the end come between any two accesses of a consumer: it gets both. */
static void the_last_record_is_not_lost_to_the_end(void **state)
{
	unsigned at = 0;

	(void)state;
	for (bool ran = true; ran; at++) {
		int n;

		ring_init(&ring);
		put(&ring, 8, 5);
		act_at(at, end_stream);
		n = borrow_result(&ring);
		ran = acted();
		if (!ran)
			break;
		assert_true(n == 1 || n == -EAGAIN);
		if (n == -EAGAIN)
			receive(&ring, 8, 5);
		assert_int_equal(borrow_result(&ring), 0);
	}
	assert_true(at >= 2);
}

static void borrow_one(void)
{
	other.result = borrow_result(&ring);
}

static void a_stream_does_not_end_before_its_last_record(void **state)
{
	unsigned at = 0;

	(void)state;
	for (bool ran = true; ran; at++) {
		ring_init(&ring);
		put(&ring, 8, 5);
		act_at(at, borrow_one);
		rf__ring_tx_end(&ring.tx);
		ran = acted();
		if (ran)
			assert_true(other.result == 1 || other.result == -EAGAIN);
	}
	assert_true(at > 3);
}

/* What a consumer sees at any access of a producer is whole records, in order. */

static uint32_t drained;

static uint64_t drain(enum rf__op op, const void *where, uint64_t value)
{
	struct rf_message m;

	(void)op, (void)where;
	rf__access_hook = NULL;
	while (rf__ring_rx_borrow(&ring.rx, &m, 1) == 1) {
		assert_int_equal(m.tag, drained);
		assert_int_equal(m.len, drained % 50);
		assert_true(is_filled(m.data, m.len, drained++));
		release(&ring, &m);
	}
	rf__access_hook = drain;
	return value;
}

static void a_consumer_in_the_middle_of_a_call_sees_whole_records(void **state)
{
	struct rf_buffer b[3];

	(void)state;
	drained = 0;
	rf__access_hook = drain;
	for (uint32_t i = 0; i < 1500; i += 2) {
		b[0] = reserve(&ring, i % 50 + 40);
		b[1] = reserve(&ring, 60);
		b[2] = reserve(&ring, 60);
		assert_int_equal(rf__ring_tx_cancel(&ring.tx, b[1].id), 0);
		commit(&ring, &b[2], (i + 1) % 50, i + 1);
		commit(&ring, &b[0], i % 50, i);
		publish();
	}
	rf__ring_tx_end(&ring.tx);
	rf__access_hook = NULL;
	assert_int_equal(drained, 1500);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(the_head_is_stored_when_nothing_seen_is_left),
		TEST(the_head_is_stored_when_a_quarter_was_given_back),
		TEST(the_head_is_stored_before_the_consumer_sleeps),
		TEST(the_head_is_stored_when_the_caller_says_so),
		TEST(the_head_is_stored_when_a_borrow_passed_the_last_gap),
		TEST(a_head_is_not_stored_twice),
		TEST(a_consumer_that_is_awake_is_not_kicked),
		TEST(a_sleeping_consumer_is_kicked_once_per_sleep),
		TEST(a_kick_stays_due_until_the_caller_clears_it),
		TEST(what_publishes_nothing_kicks_nobody),
		TEST(a_disarmed_consumer_is_not_kicked),
		TEST(the_end_always_kicks),
		TEST(a_consumer_does_not_sleep_over_records),
		TEST(a_producer_is_kicked_when_its_record_fits),
		TEST(a_producer_that_is_awake_or_disarmed_is_not_kicked),
		TEST(a_producer_is_disarmed_from_where_it_saw_the_head),
		TEST(a_producer_does_not_sleep_over_room),
		TEST(arming_against_publishing_loses_no_wakeup),
		TEST(arming_against_the_end_loses_no_wakeup),
		TEST(publishing_against_arming_loses_no_wakeup),
		TEST(releasing_against_arming_loses_no_wakeup),
		TEST(arming_against_releasing_loses_no_wakeup),
		TEST(the_last_record_is_not_lost_to_the_end),
		TEST(a_stream_does_not_end_before_its_last_record),
		TEST(a_consumer_in_the_middle_of_a_call_sees_whole_records),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
