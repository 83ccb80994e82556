/* SPDX-License-Identifier: MIT */
/* Slots between one producer and honest consumers. How they are kept and who comes late:
 * test-slots-model.c; against hostile ones: test-slots-hostile.c. */
#include "slots-fixture.h"

static struct pool pool;

/* One consumer. */

static void a_message_arrives_as_it_was_sent(void **state)
{
	struct consumer *c = join(&pool, 8);
	struct rf_buffer b = slot_reserve(&pool, 100);
	struct rf_message m;

	(void)state;
	assert_int_equal((uintptr_t)b.data % 64, 0);
	assert_true(!b.tag && !b.time_ns && !b.user[0] && !b.user[1]);
	b.data = (unsigned char *)b.data + 10;
	b.len = 77;
	b.time_ns = UINT64_MAX - 1;
	b.user[0] = UINT64_MAX - 2;
	b.user[1] = 3;
	slot_commit(&pool, &b, UINT32_MAX - 4);
	assert_int_equal(rf__slots_publish(&pool.slots), 1);
	m = slot_expect(&pool, c, UINT32_MAX - 4);
	assert_ptr_equal(m.data, b.data);
	assert_int_equal(m.len, 77);
	assert_int_equal(m.time_ns, UINT64_MAX - 1);
	assert_int_equal(m.user[0], UINT64_MAX - 2);
	assert_int_equal(m.user[1], 3);
	assert_true(!m.missed && !m.n_fds);
	slot_release(c, &m);
	leave(&pool, c);
}

static void commit_refuses_what_is_not_within_the_reservation(void **state)
{
	struct rf_buffer b = slot_reserve(&pool, 100), moved = b;

	(void)state;
	moved.len = 101;
	assert_int_equal(rf__slots_commit(&pool.slots, &moved), -EINVAL);
	moved.data = (unsigned char *)b.data + 1;
	moved.len = 100;
	assert_int_equal(rf__slots_commit(&pool.slots, &moved), -EINVAL);
	moved.data = (unsigned char *)b.data - 1;
	moved.len = 1;
	assert_int_equal(rf__slots_commit(&pool.slots, &moved), -EINVAL);
	moved.data = (unsigned char *)b.data + 101;
	moved.len = 0;
	assert_int_equal(rf__slots_commit(&pool.slots, &moved), -EINVAL);
	moved.len = SIZE_MAX;
	assert_int_equal(rf__slots_commit(&pool.slots, &moved), -EINVAL);
	moved.data = (unsigned char *)b.data + 100;
	moved.len = 0;
	assert_int_equal(rf__slots_commit(&pool.slots, &moved), 0);
}

static void ids_that_are_not_open_are_refused(void **state)
{
	struct rf_buffer b = slot_reserve(&pool, 8), stale = b;

	(void)state;
	for (unsigned bit = 0; bit < 64; bit++) {
		b.id = stale.id ^ UINT64_C(1) << bit;
		assert_int_equal(rf__slots_commit(&pool.slots, &b), -EINVAL);
		assert_int_equal(rf__slots_cancel(&pool.slots, b.id), -EINVAL);
	}
	assert_int_equal(rf__slots_cancel(&pool.slots, stale.id), 0);
	assert_int_equal(rf__slots_cancel(&pool.slots, stale.id), -EINVAL);
	for (uint32_t i = 0; i < 3 * pool.slots.count; i++) {
		b = slot_reserve(&pool, 8);
		assert_null(rf__slots_find(&pool.slots, stale.id));
		assert_int_equal(rf__slots_commit(&pool.slots, &stale), -EINVAL);
		slot_commit(&pool, &b, i);
		assert_int_equal(rf__slots_commit(&pool.slots, &b), -EINVAL);
		rf__slots_publish(&pool.slots);
	}
}

static void reserve_says_what_is_too_long_and_when_there_is_none(void **state)
{
	struct rf_buffer b;

	(void)state;
	assert_int_equal(reserve_slot(&pool.slots, 101, &b), -EMSGSIZE);
	assert_int_equal(reserve_slot(&pool.slots, SIZE_MAX, &b), -EMSGSIZE);
	for (uint32_t i = 0; i < pool.slots.count; i++)
		slot_reserve(&pool, 100);
	assert_int_equal(reserve_slot(&pool.slots, 0, &b), -EAGAIN);
	assert_int_equal(rf__slots_pending(&pool.slots), pool.slots.count);
}

static void messages_arrive_in_the_order_of_their_commits(void **state)
{
	struct consumer *c = join(&pool, 8);
	struct rf_buffer b[5];

	(void)state;
	for (unsigned i = 0; i < 5; i++)
		b[i] = slot_reserve(&pool, 10);
	slot_commit(&pool, &b[3], 0);
	slot_commit(&pool, &b[1], 1);
	assert_int_equal(slot_borrow_result(&pool, c), -EAGAIN);
	assert_int_equal(rf__slots_publish(&pool.slots), 2);
	slot_receive(&pool, c, 0);
	slot_commit(&pool, &b[4], 2);
	assert_int_equal(rf__slots_cancel(&pool.slots, b[0].id), 0);
	slot_commit(&pool, &b[2], 3);
	assert_int_equal(rf__slots_publish(&pool.slots), 2);
	for (uint32_t i = 1; i < 4; i++)
		slot_receive(&pool, c, i);
	assert_int_equal(slot_borrow_result(&pool, c), -EAGAIN);
	assert_int_equal(rf__slots_pending(&pool.slots), 0);
	give_all(&pool, c);
	assert_int_equal(count_idle(&pool), pool.slots.count);
	leave(&pool, c);
}

static void slots_come_back_in_any_order(void **state)
{
	struct consumer *c = join(&pool, 8);
	struct rf_message m[8];
	uint64_t seed = 5;

	(void)state;
	for (uint32_t round = 0; round < 1000; round++) {
		for (uint32_t i = 0; i < 8; i++) {
			slot_send(&pool, round * 8 + i);
			m[i] = slot_expect(&pool, c, round * 8 + i);
		}
		for (unsigned n = 8; n; n--) {
			unsigned i = below(&seed, n);

			slot_release(c, &m[i]);
			assert_int_equal(rf__slots_rx_release(&c->slots, m[i].id), -EINVAL);
			m[i] = m[n - 1];
		}
		assert_false(rf__slots_rx_lent(&c->slots));
		assert_true(give_all(&pool, c) >= 0);
		check_pool(&pool.slots);
	}
	assert_int_equal(c->part.missed, 0);
	leave(&pool, c);
}

static void batches_are_published_and_borrowed_in_one_call(void **state)
{
	struct consumer *c = join(&pool, 8);
	struct rf_message m[9];

	(void)state;
	for (uint32_t round = 0; round < 100; round++) {
		uint32_t n = round % 8 + 1;

		for (uint32_t i = 0; i < n; i++)
			slot_put(&pool, i, i);
		c->tx.at.kick_due = false;
		assert_int_equal(arm_rx(&c->rx), 0);
		assert_int_equal(rf__slots_publish(&pool.slots), n);
		assert_true(c->tx.at.kick_due);
		assert_int_equal(rf__slots_rx_borrow(&c->slots, m, 9), n);
		for (uint32_t i = 0; i < n; i++)
			slot_release(c, &m[i]);
		assert_int_equal(peek(&c->consumer_words.head), c->tx.at.published);
	}
	assert_int_equal(rf__slots_rx_borrow(&c->slots, m, 0), -EINVAL);
	leave(&pool, c);
}

static void a_message_that_is_rewound_comes_again(void **state)
{
	struct consumer *c = join(&pool, 2);
	struct rf_message first, m;

	(void)state;
	for (uint32_t i = 0; i < 5; i++)
		slot_send(&pool, i);
	slot_receive(&pool, c, 0);
	slot_receive(&pool, c, 1);
	slot_send(&pool, 5);
	slot_send(&pool, 6);
	first = slot_expect(&pool, c, 5);
	assert_int_equal(first.missed, 3);
	for (unsigned i = 0; i < 3; i++) {
		rf__slots_rx_rewind(&c->slots, &first);
		assert_false(rf__slots_rx_lent(&c->slots));
		m = slot_expect(&pool, c, 5);
		assert_int_equal(m.missed, 3);
		assert_int_equal(m.id, first.id);
	}
	slot_release(c, &m);
	m = slot_expect(&pool, c, 6);
	assert_int_equal(m.missed, 0);
	leave(&pool, c);
}

/* What a consumer may hold. */

static void nobody_holds_more_than_agreed(void **state)
{
	struct consumer *c = join(&pool, 3);
	struct rf_message m[4];

	(void)state;
	for (uint32_t i = 0; i < 10; i++)
		slot_send(&pool, i);
	assert_int_equal(rf__slots_held(&c->part), 3);
	assert_int_equal(rf__slots_rx_borrow(&c->slots, m, 4), 3);
	for (uint32_t i = 0; i < 3; i++)
		assert_int_equal(m[i].tag, i);
	assert_int_equal(count_idle(&pool), pool.slots.count - 3);
	slot_release(c, &m[1]);
	rf__ring_rx_flush(&c->rx);
	slot_send(&pool, 10);
	m[1] = slot_expect(&pool, c, 10);
	assert_int_equal(m[1].missed, 7);
	assert_int_equal(c->part.missed, 7);
	leave(&pool, c);
}

static void one_slot_at_a_time_is_enough(void **state)
{
	struct consumer *c = join_blocking(&pool, 1);

	(void)state;
	for (uint32_t i = 0; i < 1000; i++) {
		slot_send(&pool, i);
		assert_ptr_equal(rf__slots_blocker(&pool.slots), &c->part);
		slot_receive(&pool, c, i);
	}
	leave(&pool, c);
}

static void who_blocks_is_in_the_way_until_there_is_room_for_all_that_is_pending(void **state)
{
	struct consumer *c = join(&pool, 1), *blocks = join_blocking(&pool, 3);
	struct rf_buffer b;

	(void)state;
	slot_send(&pool, 0);
	b = slot_reserve(&pool, 8);
	slot_put(&pool, 8, 2);
	assert_ptr_equal(rf__slots_blocker(&pool.slots), &blocks->part);
	slot_receive(&pool, blocks, 0);
	assert_null(rf__slots_blocker(&pool.slots));
	slot_commit(&pool, &b, 3);
	rf__slots_publish(&pool.slots);
	slot_receive(&pool, blocks, 2);
	slot_receive(&pool, blocks, 3);
	assert_int_equal(blocks->part.missed, 0);
	assert_int_equal(c->part.missed, 2);
	leave(&pool, blocks);
	assert_null(rf__slots_blocker(&pool.slots));
	leave(&pool, c);
}

static void arming_for_room_sees_what_was_given_back(void **state)
{
	struct consumer *c = join_blocking(&pool, 2);

	(void)state;
	slot_send(&pool, 0);
	slot_send(&pool, 1);
	assert_non_null(rf__slots_blocker(&pool.slots));
	assert_int_equal(arm_tx(&c->tx, RF__DESCRIPTOR_BYTES), 0);
	slot_receive(&pool, c, 0);
	assert_true(c->rx.kick_due);
	assert_int_equal(arm_tx(&c->tx, RF__DESCRIPTOR_BYTES), 1);
	assert_null(rf__slots_blocker(&pool.slots));
	leave(&pool, c);
}

static void who_leaves_frees_at_once_what_only_it_held(void **state)
{
	struct consumer *a = join(&pool, 5), *b = join(&pool, 3);

	(void)state;
	for (uint32_t i = 0; i < 5; i++)
		slot_send(&pool, i);
	slot_expect(&pool, a, 0);
	assert_int_equal(count_idle(&pool), pool.slots.count - 5);
	rf__slots_leave(&pool.slots, &a->part);
	check_pool(&pool.slots);
	assert_int_equal(count_idle(&pool), pool.slots.count - 3);
	leave(&pool, a);
	slot_receive(&pool, b, 0);
	leave(&pool, b);
	assert_int_equal(count_idle(&pool), pool.slots.count);
}

static void missed_is_told_with_the_next_message_and_exact(void **state)
{
	struct consumer *c = join(&pool, 4);
	struct rf_message kept[4], m;
	uint64_t seed = 9, seen = 0;
	uint32_t next = 0;
	unsigned n = 0;

	(void)state;
	for (uint32_t i = 0; i < 20000; i++) {
		slot_send(&pool, i);
		if (below(&seed, 3) && n)
			slot_release(c, &kept[--n]);
		if (n < 4 && slot_borrow(&pool, c, &m) == 1) {
			assert_int_equal(m.tag, next + m.missed);
			next = m.tag + 1;
			seen++;
			kept[n++] = m;
		}
	}
	while (n)
		slot_release(c, &kept[--n]);
	while (slot_borrow(&pool, c, &m) == 1) {
		seen++;
		slot_release(c, &m);
	}
	assert_true(c->part.missed > 1000);
	assert_int_equal(seen + c->part.missed, 20000);
	assert_int_equal(peek(&c->producer_words.dropped), c->part.missed);
	leave(&pool, c);
}

static void what_was_missed_after_the_last_message_is_known_at_the_end(void **state)
{
	struct consumer *c = join(&pool, 2), *latest = join_latest(&pool, 2);
	struct rf_message m;

	(void)state;
	for (uint32_t i = 0; i < 5; i++)
		slot_send(&pool, i);
	rf__slots_end(&pool.slots);
	while (slot_borrow(&pool, c, &m) == 1)
		slot_release(c, &m);
	assert_int_equal(rf__slots_rx_untold(&c->slots), 3);
	assert_int_equal(rf__slots_rx_untold(&c->slots), 0);
	m = slot_expect(&pool, latest, 1);
	assert_int_equal(m.missed, 1);
	assert_int_equal(rf__slots_rx_untold(&latest->slots), 3);
	leave(&pool, c);
	leave(&pool, latest);
}

static void missed_is_told_as_far_as_32_bits_can_say(void **state)
{
	struct consumer *c = join(&pool, 1);
	struct rf_message m;

	(void)state;
	c->part.missed = c->part.untold = UINT64_C(0x100000005);
	slot_send(&pool, 0);
	m = slot_expect(&pool, c, 0);
	assert_int_equal(m.missed, UINT32_MAX);
	slot_release(c, &m);
	slot_send(&pool, 1);
	assert_int_equal(slot_expect(&pool, c, 1).missed, 6);
	leave(&pool, c);
}

/* Late joiners. */

static void a_late_joiner_begins_with_the_newest(void **state)
{
	struct consumer *c;

	(void)state;
	for (uint32_t i = 0; i < 5; i++)
		slot_send(&pool, i);
	c = join(&pool, 8);
	rf__slots_catch_up(&pool.slots, &c->part, false);
	slot_send(&pool, 5);
	slot_receive(&pool, c, 4);
	assert_int_equal(slot_expect(&pool, c, 5).missed, 0);
	assert_int_equal(c->part.missed, 0);
	leave(&pool, c);
}

/* Half of what it may hold is for what comes next. */
static void a_late_joiner_begins_with_the_oldest_that_half_its_room_takes(void **state)
{
	uint32_t newest = 3 * pool.slots.count + 4;
	struct consumer *c, *few, *one;

	(void)state;
	for (uint32_t i = 0; i <= newest; i++)
		slot_send(&pool, i);
	c = join(&pool, 2 * pool.slots.count);
	few = join(&pool, 5);
	one = join(&pool, 1);
	rf__slots_catch_up(&pool.slots, &c->part, true);
	rf__slots_catch_up(&pool.slots, &few->part, true);
	rf__slots_catch_up(&pool.slots, &one->part, true);
	for (uint32_t i = pool.slots.count; i; i--)
		slot_receive(&pool, c, newest + 1 - i);
	for (uint32_t i = 3; i; i--)
		slot_receive(&pool, few, newest + 1 - i);
	slot_receive(&pool, one, newest);
	assert_int_equal(slot_borrow_result(&pool, c), -EAGAIN);
	assert_int_equal(slot_borrow_result(&pool, few), -EAGAIN);
	assert_int_equal(slot_borrow_result(&pool, one), -EAGAIN);
	leave(&pool, c);
	leave(&pool, few);
	leave(&pool, one);
}

static void a_late_joiner_that_blocks_leaves_room_for_what_is_pending(void **state)
{
	struct consumer *c, *none;

	(void)state;
	for (uint32_t i = 0; i < 5; i++)
		slot_send(&pool, i);
	slot_put(&pool, 8, 5);
	slot_put(&pool, 8, 6);
	c = join_blocking(&pool, 6);
	none = join_blocking(&pool, 2);
	rf__slots_catch_up(&pool.slots, &c->part, true);
	rf__slots_catch_up(&pool.slots, &none->part, false);
	rf__slots_publish(&pool.slots);
	for (uint32_t i = 3; i < 7; i++)
		slot_receive(&pool, c, i);
	for (uint32_t i = 5; i < 7; i++)
		slot_receive(&pool, none, i);
	leave(&pool, c);
	leave(&pool, none);
}

static void what_a_late_joiner_was_lent_is_not_reserved(void **state)
{
	struct consumer *c;
	uint32_t count = pool.slots.count, tag = 0;

	(void)state;
	while (tag < count)
		slot_send(&pool, tag++);
	c = join(&pool, 8);
	rf__slots_catch_up(&pool.slots, &c->part, true);
	check_pool(&pool.slots);
	for (unsigned i = 0; i < 3 * count; i++)
		slot_send(&pool, tag++);
	assert_int_equal(count_idle(&pool), count - 8);
	for (uint32_t i = count - 4; i < count + 4; i++)
		slot_receive(&pool, c, i);
	give_all(&pool, c);
	assert_int_equal(count_idle(&pool), count);
	check_pool(&pool.slots);
	leave(&pool, c);
}

static void a_gap_ends_what_a_late_joiner_gets(void **state)
{
	struct consumer *keeps = join(&pool, 8), *c;
	struct rf_message m[8];
	uint32_t count = pool.slots.count, newest;

	(void)state;
	for (uint32_t i = 0; i < 4; i++)
		slot_send(&pool, i);
	assert_int_equal(rf__slots_rx_borrow(&keeps->slots, m, 8), 4);
	for (newest = 4; newest < count + 4; newest++) {
		struct rf_message next;

		slot_send(&pool, newest);
		next = slot_expect(&pool, keeps, newest);
		slot_release(keeps, &next);
		give_all(&pool, keeps);
	}
	c = join(&pool, 2 * count);
	rf__slots_catch_up(&pool.slots, &c->part, true);
	for (uint32_t i = 8; i < newest; i++)
		slot_receive(&pool, c, i);
	assert_int_equal(slot_borrow_result(&pool, c), -EAGAIN);
	for (unsigned i = 0; i < 4; i++)
		slot_release(keeps, &m[i]);
	leave(&pool, keeps);
	leave(&pool, c);
}

static void nobody_gets_a_message_that_is_not_there_any_more(void **state)
{
	struct consumer *c = join(&pool, 4), *d;

	(void)state;
	rf__slots_catch_up(&pool.slots, &c->part, true);
	assert_int_equal(slot_borrow_result(&pool, c), -EAGAIN);
	leave(&pool, c);
	slot_send(&pool, 0);
	for (uint32_t i = 0; i < pool.slots.count; i++)
		slot_reserve(&pool, 8);
	d = join(&pool, 4 + pool.slots.count);
	rf__slots_catch_up(&pool.slots, &d->part, true);
	assert_int_equal(slot_borrow_result(&pool, d), -EAGAIN);
	leave(&pool, d);
}

/* The newest only. */

static void latest_borrows_the_newest_and_counts_what_it_passed(void **state)
{
	struct consumer *c = join_latest(&pool, 4);
	struct rf_message m;

	(void)state;
	for (uint32_t i = 0; i < 4; i++)
		slot_send(&pool, i);
	m = slot_expect(&pool, c, 3);
	assert_int_equal(m.missed, 3);
	assert_int_equal(slot_borrow_result(&pool, c), -EAGAIN);
	assert_int_equal(give_all(&pool, c), 3);
	slot_send(&pool, 4);
	assert_int_equal(slot_expect(&pool, c, 4).missed, 0);
	assert_true(is_intact(&m));
	leave(&pool, c);
}

static void latest_never_shows_what_is_out_of_date(void **state)
{
	struct consumer *c = join_latest(&pool, 2);
	struct rf_message m, next;

	(void)state;
	slot_send(&pool, 0);
	m = slot_expect(&pool, c, 0);
	slot_send(&pool, 1);
	slot_send(&pool, 2);
	slot_send(&pool, 3);
	assert_false(rf__slots_refresh(&pool.slots, &c->part));
	assert_int_equal(slot_borrow_result(&pool, c), -EAGAIN);
	assert_true(rf__slots_refresh(&pool.slots, &c->part));
	assert_false(rf__slots_refresh(&pool.slots, &c->part));
	next = slot_expect(&pool, c, 3);
	assert_int_equal(next.missed, 2);
	slot_release(c, &m);
	slot_release(c, &next);
	assert_int_equal(c->part.missed, 1);
	slot_send(&pool, 4);
	assert_int_equal(slot_expect(&pool, c, 4).missed, 0);
	leave(&pool, c);
}

static void latest_that_is_rewound_is_not_out_of_date_for_it(void **state)
{
	struct consumer *c = join_latest(&pool, 2);
	struct rf_message m, again;

	(void)state;
	for (uint32_t i = 0; i < 3; i++)
		slot_send(&pool, i);
	assert_int_equal(slot_borrow_result(&pool, c), -EAGAIN);
	slot_send(&pool, 3);
	m = slot_expect(&pool, c, 3);
	assert_int_equal(m.missed, 3);
	rf__slots_rx_rewind(&c->slots, &m);
	again = slot_expect(&pool, c, 3);
	assert_int_equal(again.missed, 3);
	slot_release(c, &again);
	leave(&pool, c);
}

/* What came before it joined it has not missed. */
static void latest_is_not_refreshed_with_what_came_before_it(void **state)
{
	struct consumer *c;

	(void)state;
	slot_send(&pool, 0);
	c = join_latest(&pool, 2);
	assert_false(rf__slots_refresh(&pool.slots, &c->part));
	assert_int_equal(slot_borrow_result(&pool, c), -EAGAIN);
	assert_int_equal(c->part.missed, 0);
	leave(&pool, c);
}

/* Else a fast producer would starve it. */
static void latest_gives_back_what_is_out_of_date_once_and_not_twice_in_a_row(void **state)
{
	struct consumer *c = join_latest(&pool, 2);
	struct rf_message kept, m;

	(void)state;
	slot_send(&pool, 0);
	kept = slot_expect(&pool, c, 0);
	for (uint32_t i = 1; i < 100; i += 4) {
		slot_send(&pool, i);
		slot_send(&pool, i + 1);
		assert_int_equal(slot_borrow_result(&pool, c), -EAGAIN);
		slot_send(&pool, i + 2);
		slot_send(&pool, i + 3);
		m = slot_expect(&pool, c, i + 2);
		assert_int_equal(m.missed, i == 1 ? 2 : 3);
		slot_release(c, &m);
	}
	slot_release(c, &kept);
	leave(&pool, c);
}

static void latest_gets_what_is_queued_once_nothing_newer_can_come(void **state)
{
	struct consumer *c = join_latest(&pool, 2), *room = join_latest(&pool, 2);
	struct rf_message m;

	(void)state;
	slot_send(&pool, 0);
	m = slot_expect(&pool, c, 0);
	slot_expect(&pool, room, 0);
	slot_send(&pool, 1);
	slot_send(&pool, 2);
	assert_int_equal(slot_borrow_result(&pool, room), -EAGAIN);
	rf__slots_end(&pool.slots);
	assert_int_equal(slot_expect(&pool, c, 1).missed, 0);
	assert_int_equal(slot_borrow_result(&pool, c), 0);
	assert_int_equal(slot_expect(&pool, room, 2).missed, 1);
	assert_int_equal(slot_borrow_result(&pool, room), 0);
	slot_release(c, &m);
	leave(&pool, c);
	leave(&pool, room);
}

/* The end. */

static void end_publishes_what_is_committed_and_cancels_the_rest(void **state)
{
	struct consumer *c = join(&pool, 4), *d = join(&pool, 4);
	struct rf_buffer open = slot_reserve(&pool, 8), late;

	(void)state;
	slot_put(&pool, 8, 1);
	rf__slots_end(&pool.slots);
	assert_true(c->tx.at.kick_due && d->tx.at.kick_due);
	assert_int_equal(rf__slots_commit(&pool.slots, &open), -EINVAL);
	assert_int_equal(rf__slots_cancel(&pool.slots, open.id), -EINVAL);
	assert_int_equal(reserve_slot(&pool.slots, 8, &late), -EINVAL);
	assert_int_equal(rf__slots_pending(&pool.slots), 0);
	slot_receive(&pool, c, 1);
	slot_receive(&pool, d, 1);
	assert_int_equal(slot_borrow_result(&pool, c), 0);
	assert_int_equal(slot_borrow_result(&pool, d), 0);
	check_pool(&pool.slots);
	leave(&pool, c);
	leave(&pool, d);
}

/* Whoever has seen the end does not look for more: it would be neither delivered nor missed. */
static void nothing_is_lent_after_the_end(void **state)
{
	struct consumer *c = join_latest(&pool, 1);
	struct rf_message message;

	(void)state;
	slot_send(&pool, 1);
	message = slot_expect(&pool, c, 1);
	slot_send(&pool, 2);
	rf__slots_end(&pool.slots);
	assert_int_equal(slot_borrow_result(&pool, c), 0);
	slot_release(c, &message);
	assert_int_equal(give_all(&pool, c), 1);
	assert_false(rf__slots_refresh(&pool.slots, &c->part));
	assert_int_equal(slot_borrow_result(&pool, c), 0);
	assert_int_equal(rf__slots_rx_untold(&c->slots), 1);
	assert_int_equal(c->part.missed, 1);
	check_pool(&pool.slots);
	leave(&pool, c);
}

/* What it was lent is not its own any more. */
static void who_is_cut_off_gets_nothing_more_and_is_told_why(void **state)
{
	const enum rf__closed reasons[] = {RF__CUT_STALLED, RF__CUT_BUDGET};

	(void)state;
	for (unsigned i = 0; i < 6; i++) {
		struct consumer *c = i % 3 == 2 ? join_latest(&pool, 4) : join(&pool, 4);

		slot_send(&pool, 1);
		slot_send(&pool, 2);
		if (i % 3 == 1)
			slot_expect(&pool, c, 1);
		rf__ring_tx_close(&c->tx, reasons[i / 3]);
		for (unsigned k = 0; k < 3; k++)
			assert_int_equal(slot_borrow_result(&pool, c), -EPIPE);
		assert_int_equal(c->rx.closed, reasons[i / 3]);
		assert_int_equal(arm_rx(&c->rx), 1);
		leave(&pool, c);
	}
}

static void who_is_never_cut_looks_for_it_only_when_nothing_is_left(void **state)
{
	struct consumer *c = join(&pool, 4);
	struct rf_message m;

	(void)state;
	c->slots.never_cut = true;
	slot_send(&pool, 1);
	slot_send(&pool, 2);
	m = slot_expect(&pool, c, 1);
	rf__ring_tx_close(&c->tx, RF__CUT_STALLED);
	slot_expect(&pool, c, 2);
	assert_int_equal(slot_borrow_result(&pool, c), -EPIPE);
	slot_release(c, &m);
	leave(&pool, c);
}

static void death_without_an_end_is_a_broken_pipe(void **state)
{
	struct consumer *c = join(&pool, 4);

	(void)state;
	slot_send(&pool, 1);
	rf__ring_rx_finish(&c->rx);
	slot_send(&pool, 2);
	slot_receive(&pool, c, 1);
	assert_int_equal(slot_borrow_result(&pool, c), -EPIPE);
	leave(&pool, c);
}

static int setup(void **state)
{
	(void)state;
	pool_open(&pool, 16, 100);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	pool_close(&pool);
	return 0;
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_message_arrives_as_it_was_sent),
		TEST(commit_refuses_what_is_not_within_the_reservation),
		TEST(ids_that_are_not_open_are_refused),
		TEST(reserve_says_what_is_too_long_and_when_there_is_none),
		TEST(messages_arrive_in_the_order_of_their_commits),
		TEST(slots_come_back_in_any_order),
		TEST(batches_are_published_and_borrowed_in_one_call),
		TEST(a_message_that_is_rewound_comes_again),
		TEST(nobody_holds_more_than_agreed),
		TEST(one_slot_at_a_time_is_enough),
		TEST(who_blocks_is_in_the_way_until_there_is_room_for_all_that_is_pending),
		TEST(arming_for_room_sees_what_was_given_back),
		TEST(who_leaves_frees_at_once_what_only_it_held),
		TEST(missed_is_told_with_the_next_message_and_exact),
		TEST(what_was_missed_after_the_last_message_is_known_at_the_end),
		TEST(missed_is_told_as_far_as_32_bits_can_say),
		TEST(a_late_joiner_begins_with_the_newest),
		TEST(a_late_joiner_begins_with_the_oldest_that_half_its_room_takes),
		TEST(a_late_joiner_that_blocks_leaves_room_for_what_is_pending),
		TEST(what_a_late_joiner_was_lent_is_not_reserved),
		TEST(a_gap_ends_what_a_late_joiner_gets),
		TEST(nobody_gets_a_message_that_is_not_there_any_more),
		TEST(latest_borrows_the_newest_and_counts_what_it_passed),
		TEST(latest_never_shows_what_is_out_of_date),
		TEST(latest_that_is_rewound_is_not_out_of_date_for_it),
		TEST(latest_is_not_refreshed_with_what_came_before_it),
		TEST(latest_gives_back_what_is_out_of_date_once_and_not_twice_in_a_row),
		TEST(latest_gets_what_is_queued_once_nothing_newer_can_come),
		TEST(end_publishes_what_is_committed_and_cancels_the_rest),
		TEST(nothing_is_lent_after_the_end),
		TEST(who_is_cut_off_gets_nothing_more_and_is_told_why),
		TEST(who_is_never_cut_looks_for_it_only_when_nothing_is_left),
		TEST(death_without_an_end_is_a_broken_pipe),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
