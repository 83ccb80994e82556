/* SPDX-License-Identifier: MIT */
/* Hostile subscribers of another user. A row: an attack, carried out by a process of its own while an
 * honest subscriber that blocks gets every message, soon, and how the hostile one ends. What needs
 * more than that has a test of its own. */
#include "hostile-subscriber.h"

#include <signal.h>

#define NO_FIGURE SIZE_MAX
#define ROWS_MOST 32
#define ATTACK_MS 150

static uint64_t *words; /* shared with children */

/* The attackers' side: in a child */

static struct rf__consumer_words *own_words(struct rf_channel *channel)
{
	return (void *)channel->rx.half.own.base;
}

static uint64_t *own_returns(struct rf_channel *channel)
{
	return (void *)(channel->rx.half.own.base + rf__page_bytes());
}

static int kick(struct rf_channel *channel)
{
	return send(channel->link.sock, "p", 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

/* Two messages, and what it says to have given back: two entries. */
static int give_back(uint64_t first, uint64_t second, bool relative)
{
	struct rf_channel *channel = connect_hostile(RF_LAG_DROP, 2);
	struct rf_message messages[2];
	uint64_t id[2];
	int n = 0;

	while (n < 2) {
		int r = rf_rx_borrow(rf_channel_rx(channel), rf_test_deadline(SOON_MS),
			&messages[n], (unsigned)(2 - n));

		if (r <= 0)
			return 21;
		n += r;
	}
	id[0] = relative ? messages[first].id : first;
	id[1] = relative ? messages[second].id : second;
	__atomic_store_n(&own_returns(channel)[0], id[0], __ATOMIC_RELAXED);
	__atomic_store_n(&own_returns(channel)[1], id[1], __ATOMIC_RELAXED);
	__atomic_store_n(&own_words(channel)->head, 2 * RF__DESCRIPTOR_BYTES, __ATOMIC_SEQ_CST);
	kick(channel);
	return wait_for_hang_up(channel);
}

static int return_one_twice(void)
{
	return give_back(0, 0, true);
}

static int return_one_out_of_range(void)
{
	return give_back(UINT64_MAX, 32, false);
}

/* All but two of 16 are not its own, and the slots of the other generation are nobody's. */
static int return_one_never_lent(void)
{
	return give_back(16, 17, false);
}

static int set_head(uint64_t head)
{
	struct rf_channel *channel = connect_hostile(RF_LAG_DROP, 2);

	__atomic_store_n(&own_words(channel)->head, head, __ATOMIC_SEQ_CST);
	kick(channel);
	return wait_for_hang_up(channel);
}

static int return_more_than_was_lent(void)
{
	return set_head(RF__DESCRIPTOR_BYTES << 32);
}

static int return_half_a_slot(void)
{
	return set_head(RF__DESCRIPTOR_BYTES / 2);
}

static int babble(void)
{
	struct rf_channel *channel = connect_hostile(RF_LAG_DROP, 2);

	send(channel->link.sock, "garbage", 7, MSG_DONTWAIT | MSG_NOSIGNAL);
	return wait_for_hang_up(channel);
}

static int keep_everything(void)
{
	struct rf_channel *channels[32];
	unsigned n;

	for (n = 0; n < 32; n++) {
		channels[n] = try_hostile(RF_LAG_DROP, 1);
		if (!channels[n])
			break;
	}
	nap(ATTACK_MS);
	return n == 7 ? 0 : 100 + (int)n; /* half of 16 - 2 */
}

static int drain_one_slot_at_a_time(void)
{
	struct rf_channel *channel = connect_hostile(RF_LAG_BLOCK, 2);
	struct rf_message message;

	for (;;) {
		nap(10);
		switch (rf_rx_borrow(rf_channel_rx(channel), 0, &message, 1)) {
		case 1:
			rf_rx_release(rf_channel_rx(channel), &message, 1);
			break;
		case -EPIPE:
			return 0;
		default:
			break;
		}
	}
}

static int never_return_anything(void)
{
	struct rf_channel *channel = connect_hostile(RF_LAG_DISCONNECT, 2);

	return wait_for_hang_up(channel);
}

static int want_nonsense(void)
{
	struct rf_channel *channel = connect_hostile(RF_LAG_LATEST, 4);
	uint64_t end = rf_test_deadline(ATTACK_MS), i;

	for (i = 0; rf__now() < end; i++)
		__atomic_store_n(&own_words(channel)->data_want,
			i % 3 ? i * UINT64_C(0x9e3779b97f4a7c15) : 0, __ATOMIC_SEQ_CST);
	return 0;
}

static int kick_for_nothing(void)
{
	struct rf_channel *channel = connect_hostile(RF_LAG_DROP, 2);
	uint64_t end = rf_test_deadline(2 * ATTACK_MS);

	while (rf__now() < end)
		if (kick(channel) == -EPIPE)
			return 22;
	return 0;
}

/* Each message is worth a kick to it, and it reads none. */
static int leave_its_socket_full(void)
{
	struct rf_channel *channel = connect_hostile(RF_LAG_LATEST, 2);
	struct rf__consumer_words *own = own_words(channel);
	uint64_t end = rf_test_deadline(2 * ATTACK_MS), head = 0;
	struct rf_message message;

	while (rf__now() < end) {
		if (rf_rx_borrow(rf_channel_rx(channel), 0, &message, 1) != 1)
			continue;
		rf_rx_release(rf_channel_rx(channel), &message, 1);
		head = __atomic_load_n(&own->head, __ATOMIC_RELAXED);
		__atomic_store_n(&own->data_want, head + 1, __ATOMIC_SEQ_CST);
	}
	return 0;
}

static int stop_dead(void)
{
	connect_hostile(RF_LAG_DROP, 2);
	return raise(SIGSTOP);
}

static int stuff_descriptors(void)
{
	struct rf_channel *channel = connect_hostile(RF_LAG_DROP, 2);
	int raw = raw_connect(hostile_path), i;

	for (i = 0; i < 50; i++) {
		send_many_fds(channel->link.sock, "p", 1, 20);
		send_many_fds(raw, "p", 1, 20);
	}
	nap(ATTACK_MS);
	return 0;
}

static int never_read_welcome(void)
{
	int i;

	for (i = 0; i < 40; i++)
		raw_subscribe();
	nap(ATTACK_MS);
	return 0;
}

/* Rows */

struct row {
	const char *name;
	int (*attack)(void);
	size_t figure;    /* of those that count how it ends */
	const char *says; /* and why, as the publisher is told */
	bool stops;
	bool blocks; /* is it granted? */
};

static const struct row rows[] = {
	{"p6_a_slot_is_returned_twice", return_one_twice, FIGURE(broken),
		"returned a slot that it does not hold", false, false},
	{"p6_a_slot_is_returned_that_was_never_lent", return_one_never_lent, FIGURE(broken),
		"returned a slot that it does not hold", false, false},
	{"p6_a_slot_is_returned_that_does_not_exist", return_one_out_of_range, FIGURE(broken),
		"returned a slot that does not exist", false, false},
	{"p1_more_is_returned_than_was_lent", return_more_than_was_lent, FIGURE(broken), "head",
		false, false},
	{"p1_half_a_slot_is_returned", return_half_a_slot, FIGURE(broken), "head", false, false},
	{"p6_one_user_takes_all_it_may", keep_everything, FIGURE(left), "", false, false},
	{"p6_nothing_is_ever_returned", never_return_anything, FIGURE(cut),
		"gave nothing back for too long", false, false},
	{"p8_one_slot_is_drained_at_a_time", drain_one_slot_at_a_time, FIGURE(cut),
		"kept the publisher waiting", false, true},
	{"d6_a_storm_of_kicks", kick_for_nothing, FIGURE(left), "", false, false},
	{"d8_wants_that_flicker", want_nonsense, FIGURE(left), "", false, false},
	{"c1_c2_descriptors_are_sent", stuff_descriptors, NO_FIGURE, "", false, false},
	{"c3_welcome_is_never_read", never_read_welcome, NO_FIGURE, "", false, false},
	{"c4_babble_on_the_socket", babble, FIGURE(broken), "something that is no kick", false,
		false},
	{"c5_no_kick_is_ever_read", leave_its_socket_full, FIGURE(left), "", false, false},
	{"c8_it_stops", stop_dead, FIGURE(left), "", true, false},
};

/* The publisher's side */

static int run_row(void *arg)
{
	const struct row *row = arg;

	return row->attack();
}

static void an_attack_harms_no_subscriber(void **state)
{
	const struct row *row = *state;
	struct rf_options options = open_to_others();
	struct leaks before;
	struct thread honest;
	struct stage stage;
	uint64_t number = 0;
	pid_t pid;

	rf_test_need_root();
	before = leaks_begin();
	options.block_uids = others;
	options.n_block_uids = row->blocks;
	stage_open(&stage, &options);
	hostile_path = stage.path;
	thread_start(
		&honest, take_to_the_end, rf_channel_rx(subscribe_with(&stage, RF_LAG_BLOCK, 4)));
	pid = rf_test_child(run_row, (void *)(uintptr_t)row, RF_TEST_UID, RF_TEST_UID);
	publish_meanwhile(&stage, &number, pid, row->stops);
	if (row->figure != NO_FIGURE)
		assert_true(turns_until_figure(&stage, row->figure, 1));
	assert_has(rf_publisher_reason(stage.publisher), row->says);
	subscribe_with(&stage, RF_LAG_DROP, 2);
	assert_int_equal(rf_tx_end(stage.tx), 0);
	assert_int_equal(thread_join(&honest), 0);
	assert_true(
		publisher_stats(stage.publisher).blocked_ns < BUDGET_NS + LATENCY_MS * RF__MSEC);
	stage_close(&stage);
	assert_no_leaks(&before);
}

/* P6: shares */

static int take_a_share(void *arg)
{
	uint64_t *told = arg;
	uint64_t n = 0;

	while (try_hostile(RF_LAG_DROP, 1))
		n++;
	WORD_WRITE(&told[1], n);
	WORD_WRITE(&told[0], 1);
	nap(SOON_MS);
	return 0;
}

static void p6_no_user_takes_the_share_of_another(void **state)
{
	struct rf_options options = open_to_others();
	struct rf_options all = subscriber_options(RF_LAG_DROP, 1);
	struct stage stage;
	pid_t pids[2];
	unsigned i;

	(void)state;
	rf_test_need_root();
	options.slots = 32;
	options.reserve_slots = 4;
	options.max_slots = 12;
	stage_open(&stage, &options);
	hostile_path = stage.path;
	for (i = 0; i < 2; i++) {
		pids[i] = rf_test_child(take_a_share, &words[2 * i], others[i], others[i]);
		assert_true(turns_until(&stage, &words[2 * i], 1));
		assert_int_equal(words[2 * i + 1], 12);
	}
	for (i = 0; i < 4; i++)
		subscribe(&stage, &all);
	assert_int_equal(try_subscribe(&stage, &all), -ENOBUFS);
	assert_int_equal(publisher_stats(stage.publisher).granted, 28);
	assert_int_equal(publish_numbers(&stage, 1, 100), 0); /* from what is kept back */
	rf_test_kill(pids[0]);
	assert_true(turns_until_figure(&stage, FIGURE(left), 12));
	subscribe(&stage, &all);
	rf_test_kill(pids[1]);
	stage_close(&stage);
}

static int ask_to_block(void *arg)
{
	(void)arg;
	if (try_hostile(RF_LAG_BLOCK, 2))
		return 1;
	return strstr(rf_reason(), "blocking is not granted to uid 61000") ? 0 : 2;
}

static void p8_block_is_refused_to_whom_it_was_not_granted(void **state)
{
	struct rf_options options = open_to_others();
	struct stage stage;
	pid_t pid;

	(void)state;
	rf_test_need_root();
	stage_open(&stage, &options);
	hostile_path = stage.path;
	pid = rf_test_child(ask_to_block, NULL, RF_TEST_UID, RF_TEST_UID);
	assert_true(turns_until_figure(&stage, FIGURE(refused), 1));
	assert_int_equal(rf_test_wait(pid, SOON_MS), 0);
	stage_close(&stage);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, leaks_setup, leaks_teardown)

int main(void)
{
	const struct CMUnitTest own[] = {
		TEST(p6_no_user_takes_the_share_of_another),
		TEST(p8_block_is_refused_to_whom_it_was_not_granted),
	};
	struct CMUnitTest tests[ROWS_MOST] = {{.name = NULL}};
	size_t n, i, n_rows = sizeof(rows) / sizeof(rows[0]);

	rf_test_limit(50);
	words = fixture_words();
	for (n = 0; n < n_rows; n++)
		tests[n] = (struct CMUnitTest){.name = rows[n].name,
			.test_func = an_attack_harms_no_subscriber,
			.initial_state = (void *)(uintptr_t)&rows[n]};
	for (i = 0; i < sizeof(own) / sizeof(own[0]); i++)
		tests[n++] = own[i];
	return _cmocka_run_group_tests("publisher-hostile", tests, n, NULL, NULL);
}
