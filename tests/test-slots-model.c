/* SPDX-License-Identifier: MIT */
/* Slots in the long run: kept at random, lent to very many, in memory that is renewed, and by consumers
 * who come and go. What is borrowed stays what it was; whatever is done, each message is either
 * delivered or counted as missed; and no slot is lost. */
#include "slots-fixture.h"

#include "util/clock.h"

static struct pool pool;
static uint64_t seed;

/* Slots that are kept. */

#define KEPT 256

static void a_million_messages_pass_while_a_quarter_is_kept_at_random(void **state)
{
	static struct rf_message kept[KEPT];
	uint32_t rounds = rf_test_rounds(1000000), i;
	struct consumer *c;

	(void)state;
	pool_open(&pool, 1024, 64);
	c = join_blocking(&pool, 1024);
	seed = 7;
	for (i = 0; i < rounds; i++) {
		unsigned at = below(&seed, KEPT);

		slot_send(&pool, i);
		if (i >= KEPT)
			slot_release(c, &kept[at]);
		kept[i < KEPT ? i : at] = slot_expect(&pool, c, i);
	}
	assert_int_equal(c->part.missed, 0);
	leave(&pool, c);
	check_pool(&pool.slots);
	pool_close(&pool);
}

/* Very many. */

static void serve(unsigned n_consumers)
{
	struct consumer *consumers[200];
	uint32_t rounds = rf_test_rounds(2000), i;
	unsigned k;

	pool_open(&pool, 4 * n_consumers + 8, 40);
	for (k = 0; k < n_consumers; k++)
		consumers[k] = join_blocking(&pool, 4);
	for (i = 0; i < rounds; i++) {
		slot_send(&pool, i);
		for (k = 0; k < n_consumers; k++)
			slot_receive(&pool, consumers[k], i);
	}
	check_pool(&pool.slots);
	for (k = 0; k < n_consumers; k++) {
		assert_int_equal(rf__slots_lent(&consumers[k]->part), rounds);
		leave(&pool, consumers[k]);
	}
	assert_int_equal(count_idle(&pool), pool.slots.count);
	pool_close(&pool);
}

static void sixty_four_consumers_get_every_message(void **state)
{
	(void)state;
	serve(64);
}

static void two_hundred_consumers_get_every_message(void **state)
{
	(void)state;
	serve(200);
}

/* Each holds all that it may; what is left is enough for the producer. */
static void consumers_who_keep_all_they_may_do_not_stop_the_others(void **state)
{
	struct consumer *keep[15], *c;
	uint32_t i;

	(void)state;
	pool_open(&pool, 64, 40);
	for (i = 0; i < 15; i++)
		keep[i] = join(&pool, 4);
	c = join_blocking(&pool, 2);
	for (i = 0; i < 10000; i++) {
		slot_send(&pool, i);
		slot_receive(&pool, c, i);
	}
	for (i = 0; i < 15; i++) {
		assert_int_equal(keep[i]->part.missed, 10000 - 4);
		leave(&pool, keep[i]);
	}
	leave(&pool, c);
	pool_close(&pool);
}

/* Renewal. */

static void a_renewal_leaves_what_is_lent_where_it_is(void **state)
{
	struct consumer *c, *late;
	struct rf_message m[3];

	(void)state;
	pool_open(&pool, 8, 40);
	c = join_blocking(&pool, 6);
	for (uint32_t i = 0; i < 3; i++)
		slot_send(&pool, i);
	m[0] = slot_expect(&pool, c, 0);
	m[1] = slot_expect(&pool, c, 1);
	renew(&pool);
	assert_int_equal(pool.slots.old, 3);
	assert_int_equal(count_idle(&pool), 8);
	late = join(&pool, 6);
	rf__slots_catch_up(&pool.slots, &late->part, true);
	assert_int_equal(slot_borrow_result(&pool, late), -EAGAIN);
	slot_send(&pool, 3);
	slot_receive(&pool, c, 2);
	m[2] = slot_expect(&pool, c, 3);
	slot_receive(&pool, late, 3);
	assert_true(is_intact(&m[0]) && is_intact(&m[1]));
	assert_int_equal(give_all(&pool, c), 1);
	assert_int_equal(pool.slots.old, 2);
	for (unsigned i = 0; i < 3; i++)
		slot_release(c, &m[i]);
	assert_int_equal(give_all(&pool, c), 3);
	assert_int_equal(pool.slots.old, 0);
	assert_int_equal(c->part.missed + late->part.missed, 0);
	check_pool(&pool.slots);
	leave(&pool, c);
	leave(&pool, late);
	pool_close(&pool);
}

static void who_leaves_retires_the_old_slots_it_held(void **state)
{
	struct consumer *c;

	(void)state;
	pool_open(&pool, 8, 40);
	c = join(&pool, 6);
	for (uint32_t i = 0; i < 3; i++)
		slot_send(&pool, i);
	renew(&pool);
	assert_int_equal(pool.slots.old, 3);
	leave(&pool, c);
	assert_int_equal(pool.slots.old, 0);
	renew(&pool);
	assert_int_equal(count_idle(&pool), 8);
	pool_close(&pool);
}

static void what_is_lent_again_in_old_memory_is_out_again(void **state)
{
	struct consumer *c;
	struct rf_message m;

	(void)state;
	pool_open(&pool, 8, 40);
	c = join_latest(&pool, 1);
	slot_send(&pool, 0);
	m = slot_expect(&pool, c, 0);
	slot_send(&pool, 1);
	renew(&pool);
	assert_int_equal(pool.slots.old, 1);
	slot_release(c, &m);
	assert_true(rf__slots_refresh(&pool.slots, &c->part));
	assert_int_equal(pool.slots.old, 1);
	check_pool(&pool.slots);
	slot_receive(&pool, c, 1);
	give_all(&pool, c);
	assert_int_equal(pool.slots.old, 0);
	leave(&pool, c);
	pool_close(&pool);
}

static void new_memory_while_that_before_the_last_is_borrowed_is_refused(void **state)
{
	struct consumer *c;
	struct rf_message m;

	(void)state;
	pool_open(&pool, 8, 40);
	c = join(&pool, 4);
	slot_send(&pool, 0);
	m = slot_expect(&pool, c, 0);
	assert_int_equal(rf__slots_rx_renew(&c->slots, pool.base[0]), 0);
	assert_int_equal(rf__slots_rx_renew(&c->slots, pool.base[0]), -EPROTO);
	assert_non_null(c->rx.breach);
	assert_int_equal(rf__slots_rx_release(&c->slots, m.id), 0);
	leave(&pool, c);
	pool_close(&pool);
}

static void stale_ids_of_memory_that_came_back_are_refused(void **state)
{
	struct rf_buffer stale, b;

	(void)state;
	pool_open(&pool, 8, 40);
	stale = slot_reserve(&pool, 8);
	assert_int_equal(rf__slots_cancel(&pool.slots, stale.id), 0);
	renew(&pool);
	renew(&pool);
	do
		b = slot_reserve(&pool, 8);
	while (b.data != pool.base[0]);
	assert_int_equal((uint32_t)b.id, (uint32_t)stale.id);
	assert_int_equal(rf__slots_commit(&pool.slots, &stale), -EINVAL);
	assert_int_equal(rf__slots_cancel(&pool.slots, stale.id), -EINVAL);
	slot_commit(&pool, &b, 0);
	pool_close(&pool);
}

/* The consumer's own count has 16 bits. */
static void generations_may_wrap(void **state)
{
	struct consumer *c, *late = NULL;
	uint32_t i;

	(void)state;
	pool_open(&pool, 4, 40);
	pool.slots.generation = UINT32_MAX - 35000u;
	pool.base[1] = pool.base[0];
	pool.slots.base[1] = pool.base[1];
	pool.base[0] = NULL;
	rf__slots_renew(&pool.slots, pool.base[0] = zeroed(pool.base_bytes));
	c = join_blocking(&pool, 2);
	for (i = 0; i < 70000; i++) {
		struct rf_message m;

		slot_send(&pool, i);
		m = slot_expect(&pool, c, i);
		renew(&pool);
		slot_release(c, &m);
		give_all(&pool, c);
		if (late)
			leave(&pool, late);
		late = join(&pool, 1);
	}
	assert_int_equal(c->part.generation, (uint16_t)(70000 - 1));
	leave(&pool, late);
	leave(&pool, c);
	pool_close(&pool);
}

static void memory_that_nothing_was_lent_of_is_passed_over(void **state)
{
	struct consumer *c, *latest;

	(void)state;
	pool_open(&pool, 8, 40);
	c = join_blocking(&pool, 2);
	latest = join_latest(&pool, 2);
	for (uint32_t i = 0; i < 100; i++) {
		for (unsigned n = 0; n < i % 5; n++)
			renew(&pool);
		slot_send(&pool, i);
		slot_receive(&pool, c, i);
		slot_receive(&pool, latest, i);
		give_all(&pool, c);
		give_all(&pool, latest);
	}
	assert_int_equal(pool.slots.generation, 200);
	assert_int_equal(c->part.generation, 80);
	leave(&pool, c);
	leave(&pool, latest);
	pool_close(&pool);
}

/* What is sent besides. */

static struct {
	const struct rf__slot_consumer *consumer;
	unsigned memories, sets;
	bool fails;
} sent;

static bool send_besides(
	void *context, struct rf__slot_consumer *consumer, const struct rf__slot *slot)
{
	if (context != &sent || sent.fails)
		return false;
	sent.consumer = consumer;
	sent.memories += !slot;
	sent.sets += slot && slot->n_fds == 3;
	return true;
}

static void hook_up(void)
{
	memset(&sent, 0, sizeof(sent));
	pool.slots.send = send_besides;
	pool.slots.send_context = &sent;
}

static void new_memory_is_sent_once_before_the_first_slot_of_it(void **state)
{
	struct consumer *c;

	(void)state;
	pool_open(&pool, 8, 40);
	hook_up();
	c = join(&pool, 4);
	slot_send(&pool, 0);
	assert_int_equal(sent.memories, 0);
	renew(&pool);
	assert_int_equal(sent.memories, 0);
	slot_send(&pool, 1);
	slot_send(&pool, 2);
	assert_int_equal(sent.memories, 1);
	assert_ptr_equal(sent.consumer, &c->part);
	for (uint32_t i = 0; i < 3; i++)
		slot_receive(&pool, c, i);
	leave(&pool, c);
	pool_close(&pool);
}

static void a_message_is_missed_when_new_memory_cannot_be_sent(void **state)
{
	struct consumer *c, *blocks;

	(void)state;
	pool_open(&pool, 8, 40);
	hook_up();
	c = join(&pool, 3);
	blocks = join_blocking(&pool, 3);
	sent.fails = true;
	assert_null(rf__slots_blocker(&pool.slots));
	renew(&pool);
	assert_ptr_equal(rf__slots_blocker(&pool.slots), &blocks->part);
	blocks->part.blocks = false;
	slot_send(&pool, 0);
	sent.fails = false;
	slot_send(&pool, 1);
	assert_int_equal(slot_expect(&pool, c, 1).missed, 1);
	assert_int_equal(slot_expect(&pool, blocks, 1).missed, 1);
	leave(&pool, c);
	leave(&pool, blocks);
	pool_close(&pool);
}

static void a_message_with_descriptors_says_so_and_is_counted(void **state)
{
	struct consumer *c, *late;
	struct rf_message m[3];

	(void)state;
	pool_open(&pool, 8, 40);
	hook_up();
	c = join(&pool, 6);
	for (uint32_t i = 0; i < 3; i++) {
		struct rf_buffer b = slot_reserve(&pool, 40);

		rf__slots_find(&pool.slots, b.id)->n_fds = i == 1 ? 3 : 0;
		slot_commit(&pool, &b, i);
		rf__slots_publish(&pool.slots);
		m[i] = slot_expect(&pool, c, i);
		assert_int_equal(m[i].n_fds, i == 1 ? UINT32_MAX : 0);
	}
	assert_int_equal(sent.sets, 1);
	assert_int_equal(c->part.with_fds, 1);
	late = join(&pool, 6);
	rf__slots_catch_up(&pool.slots, &late->part, true);
	slot_receive(&pool, late, 2);
	assert_int_equal(slot_borrow_result(&pool, late), -EAGAIN);
	for (unsigned i = 0; i < 3; i++)
		slot_release(c, &m[i]);
	give_all(&pool, c);
	assert_int_equal(c->part.with_fds, 0);
	slot_send(&pool, 3);
	assert_int_equal(slot_expect(&pool, c, 3).n_fds, 0);
	leave(&pool, late);
	leave(&pool, c);
	pool_close(&pool);
}

static void a_message_whose_descriptors_cannot_be_sent_is_missed(void **state)
{
	struct consumer *c;
	struct rf_buffer b;

	(void)state;
	pool_open(&pool, 8, 40);
	hook_up();
	sent.fails = true;
	c = join(&pool, 6);
	b = slot_reserve(&pool, 40);
	rf__slots_find(&pool.slots, b.id)->n_fds = 3;
	slot_commit(&pool, &b, 0);
	slot_put(&pool, 40, 1);
	rf__slots_publish(&pool.slots);
	assert_int_equal(slot_expect(&pool, c, 1).missed, 1);
	assert_int_equal(c->part.with_fds, 0);
	leave(&pool, c);
	pool_close(&pool);
}

/* Everything at random. Tags count the messages published, so that a consumer sees what it missed. */

#define MEMBERS 12

struct member {
	struct consumer *c; /* NULL: nobody */
	uint32_t next;
	unsigned n_kept;
	struct rf_message kept[8];
};

static struct member members[MEMBERS];
static uint32_t published, in_use;

static void take_one(struct member *member)
{
	struct rf_message *m = &member->kept[member->n_kept];
	int n;

	if (member->n_kept == member->c->part.hold)
		return;
	n = slot_borrow(&pool, member->c, m);
	assert_true(n == 1 || n == -EAGAIN);
	if (n != 1)
		return;
	assert_int_equal(m->tag, member->next + m->missed);
	assert_true(is_intact(m) && m->tag < published);
	assert_true(!member->c->part.blocks || !m->missed);
	member->next = m->tag + 1;
	member->n_kept++;
}

static void give_one(struct member *member)
{
	unsigned at;

	if (!member->n_kept)
		return;
	at = below(&seed, member->n_kept);
	slot_release(member->c, &member->kept[at]);
	member->kept[at] = member->kept[--member->n_kept];
}

static void member_leaves(struct member *member)
{
	in_use -= member->c->part.hold;
	for (unsigned i = 0; i < member->n_kept; i++)
		assert_true(is_intact(&member->kept[i]));
	leave(&pool, member->c);
	memset(member, 0, sizeof(*member));
}

/* As a publisher admits: what all may hold and four to be written fit into the slots. */
static void member_joins(struct member *member)
{
	uint32_t hold = 1 + below(&seed, 8), first;

	if (in_use + hold + 4 > pool.slots.count)
		return;
	in_use += hold;
	switch (below(&seed, 3)) {
	case 0:
		member->c = join(&pool, hold);
		break;
	case 1:
		member->c = join_latest(&pool, hold);
		break;
	default:
		member->c = join_blocking(&pool, hold);
	}
	rf__slots_catch_up(&pool.slots, &member->c->part, below(&seed, 2));
	first = (uint32_t)rf__slots_lent(&member->c->part);
	member->next = published - first;
}

static void member_does_something(struct member *member)
{
	unsigned what = below(&seed, 200);

	if (!member->c)
		member_joins(member);
	else if (what == 0)
		member_leaves(member);
	else if (what < 90)
		take_one(member);
	else if (what < 180)
		give_one(member);
	else if (what < 190 && member->c->part.latest)
		rf__slots_refresh(&pool.slots, &member->c->part);
	else
		assert_true(give_all(&pool, member->c) >= 0);
}

/* Up to three at once, committed the other way round, one of four given back. */
static void produce(void)
{
	struct rf_buffer b[3];
	unsigned n = 0, max = 1 + below(&seed, 3);

	while (n < max && !rf__slots_blocker(&pool.slots))
		assert_int_equal(reserve_slot(&pool.slots, below(&seed, 41), &b[n++]), 0);
	while (n--) {
		if (below(&seed, 4) == 0)
			assert_int_equal(rf__slots_cancel(&pool.slots, b[n].id), 0);
		else
			slot_commit(&pool, &b[n], published++);
	}
	rf__slots_publish(&pool.slots);
}

static void maybe_renew(void)
{
	if (below(&seed, 50) == 0 && !pool.slots.old)
		renew(&pool);
}

/* What was not delivered was missed. */
static void settle_accounts(struct member *member)
{
	const struct rf__slot_consumer *part = &member->c->part;
	struct rf_message m;

	while (member->n_kept)
		give_one(member);
	while (slot_borrow(&pool, member->c, &m) == 1) {
		assert_int_equal(m.tag, member->next + m.missed);
		member->next = m.tag + 1;
		slot_release(member->c, &m);
	}
	assert_int_equal(slot_borrow_result(&pool, member->c), 0);
	assert_int_equal(member->next + part->untold + member->c->slots.missed, published);
	give_all(&pool, member->c);
	member_leaves(member);
}

static void run_model(void)
{
	uint32_t rounds = rf_test_rounds(100000), i;

	published = in_use = 0;
	pool_open(&pool, 48, 40);
	for (i = 0; i < rounds; i++) {
		produce();
		for (unsigned k = 0; k < 6; k++)
			member_does_something(&members[below(&seed, MEMBERS)]);
		maybe_renew();
		if (i % 16 == 0)
			check_pool(&pool.slots);
	}
	rf__slots_end(&pool.slots);
	for (i = 0; i < MEMBERS; i++)
		if (members[i].c)
			settle_accounts(&members[i]);
	check_pool(&pool.slots);
	assert_int_equal(pool.slots.old, 0);
	pool_close(&pool);
}

static void every_message_is_delivered_or_counted_and_no_slot_is_lost(void **state)
{
	const char *given = getenv("RF_TEST_SEED");

	(void)state;
	seed = given ? strtoull(given, NULL, 0) : rf__now();
	print_message("# RF_TEST_SEED=%#llx\n", (unsigned long long)seed);
	run_model();
}

/* Which slots they were is checked by the producer; one that is not borrowed ends the batch. */
static void batches_come_back_in_any_order(void **state)
{
	struct rf_message m[8], other;
	struct consumer *c;

	(void)state;
	seed = 9;
	pool_open(&pool, 16, 100);
	c = join(&pool, 8);
	for (uint32_t round = 0; round < 1000; round++) {
		unsigned first = below(&seed, 8) + 1;

		for (uint32_t i = 0; i < 8; i++) {
			slot_send(&pool, i);
			m[i] = slot_expect(&pool, c, i);
		}
		for (unsigned n = 8; n; n--) {
			unsigned i = below(&seed, n);

			other = m[i];
			m[i] = m[n - 1];
			m[n - 1] = other;
		}
		assert_int_equal(rf__slots_rx_release_span(&c->slots, m, first), first);
		assert_int_equal(give_all(&pool, c), first);
		check_pool(&pool.slots);
		assert_int_equal(rf__slots_held(&c->part), 8 - first);
		other = m[7];
		m[7] = m[0];
		assert_int_equal(rf__slots_rx_release_span(&c->slots, m + first, 8 - first),
			first < 8 ? 7 - first : 0);
		assert_int_equal(rf__slots_rx_release_span(&c->slots, &other, 1), first < 8);
		assert_false(rf__slots_rx_lent(&c->slots));
		assert_int_equal(give_all(&pool, c), 8 - first);
		check_pool(&pool.slots);
	}
	leave(&pool, c);
	pool_close(&pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(batches_come_back_in_any_order),
		cmocka_unit_test(a_million_messages_pass_while_a_quarter_is_kept_at_random),
		cmocka_unit_test(sixty_four_consumers_get_every_message),
		cmocka_unit_test(two_hundred_consumers_get_every_message),
		cmocka_unit_test(consumers_who_keep_all_they_may_do_not_stop_the_others),
		cmocka_unit_test(a_renewal_leaves_what_is_lent_where_it_is),
		cmocka_unit_test(who_leaves_retires_the_old_slots_it_held),
		cmocka_unit_test(what_is_lent_again_in_old_memory_is_out_again),
		cmocka_unit_test(new_memory_while_that_before_the_last_is_borrowed_is_refused),
		cmocka_unit_test(stale_ids_of_memory_that_came_back_are_refused),
		cmocka_unit_test(generations_may_wrap),
		cmocka_unit_test(memory_that_nothing_was_lent_of_is_passed_over),
		cmocka_unit_test(new_memory_is_sent_once_before_the_first_slot_of_it),
		cmocka_unit_test(a_message_is_missed_when_new_memory_cannot_be_sent),
		cmocka_unit_test(a_message_with_descriptors_says_so_and_is_counted),
		cmocka_unit_test(a_message_whose_descriptors_cannot_be_sent_is_missed),
		cmocka_unit_test(every_message_is_delivered_or_counted_and_no_slot_is_lost),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
