/* SPDX-License-Identifier: MIT */
/* The memory of a publisher's slots in the hands of others: what is lent is not written (P7), nobody else
 * writes it (M4), and what those see of it who have gone (P9), at what cost (M10). */
#include "handshake.h"
#include "hostile-subscriber.h"
#include "membership.h"
#include "options.h"

#include <fcntl.h>
#include <sys/mman.h>

static uint64_t *words; /* shared with children */

/* P7 */

struct keeper {
	struct thread thread;
	struct rf_rx *rx;
	struct rf_message kept[6];
	unsigned n;
	uint64_t random;
};

static bool is_intact(const struct rf_message *message)
{
	const uint64_t *word = message->data;
	unsigned i;

	for (i = 0; i < 8; i++)
		if (word[i] != message->user[0] * (i + 1))
			return false;
	return true;
}

/* Keeps up to five, looks at one of them whenever a new one comes, and gives it back. */
static int keep_at_random(void *arg)
{
	struct keeper *k = arg;
	unsigned i;
	int r, spoilt = 0;

	while ((r = rf_rx_borrow(k->rx, rf_test_deadline(SOON_MS), &k->kept[k->n], 1)) > 0) {
		k->random = k->random * UINT64_C(6364136223846793005) + 1442695040888963407;
		if (++k->n < 6)
			continue;
		i = (unsigned)(k->random >> 33) % k->n;
		spoilt |= !is_intact(&k->kept[i]);
		rf_rx_release(k->rx, &k->kept[i], 1);
		k->kept[i] = k->kept[--k->n];
	}
	while (k->n) {
		spoilt |= !is_intact(&k->kept[--k->n]);
		rf_rx_release(k->rx, &k->kept[k->n], 1);
	}
	return spoilt ? -EBADE : r;
}

static int publish_pattern(struct rf_tx *tx, uint64_t n)
{
	struct rf_buffer buffer;
	int r = rf_tx_reserve(tx, 64, rf_test_deadline(SOON_MS), &buffer);
	unsigned i;

	if (r < 0)
		return r;
	for (i = 0; i < 8; i++)
		((uint64_t *)buffer.data)[i] = n * (i + 1);
	buffer.user[0] = n;
	r = rf_tx_commit(tx, &buffer);
	return r < 0 ? r : rf_tx_publish(tx);
}

static void p7_what_is_lent_is_never_written_again_while_it_is_held(void **state)
{
	static const uint32_t lags[] = {RF_LAG_BLOCK, RF_LAG_DROP, RF_LAG_LATEST};
	struct rf_options options = publisher_options(RF_DOORBELL_AUTO);
	uint64_t n = rf_test_rounds(50000), i;
	struct keeper keepers[3] = {{.n = 0}};
	struct stage stage;

	(void)state;
	options.slots = 24;
	stage_open(&stage, &options);
	for (i = 0; i < 3; i++) {
		keepers[i].random = i;
		keepers[i].rx = rf_channel_rx(subscribe_with(&stage, lags[i], 7));
		thread_start(&keepers[i].thread, keep_at_random, &keepers[i]);
	}
	for (i = 1; i <= n; i++)
		assert_int_equal(publish_pattern(stage.tx, i), 0);
	assert_int_equal(rf_tx_end(stage.tx), 0);
	for (i = 0; i < 3; i++)
		assert_int_equal(thread_join(&keepers[i].thread), 0);
	stage_close(&stage);
}

/* It was idle when it was lent: nobody else has it. */
static void p7_what_a_late_one_was_lent_is_not_written_again(void **state)
{
	struct rf_message message;
	struct stage stage;
	struct rf_rx *rx;
	uint64_t i;

	(void)state;
	stage_open_plain(&stage);
	for (i = 1; i <= 3; i++)
		assert_int_equal(publish_pattern(stage.tx, i), 0);
	rx = rf_channel_rx(subscribe_with(&stage, RF_LAG_DROP, 2));
	assert_int_equal(rf_rx_borrow(rx, 0, &message, 1), 1);
	assert_int_equal(message.user[0], 3);
	for (; i <= 100; i++)
		assert_int_equal(publish_pattern(stage.tx, i), 0);
	assert_true(is_intact(&message));
	assert_int_equal(rf_rx_release(rx, &message, 1), 0);
	stage_close(&stage);
}

static void p7_what_was_lent_to_one_that_was_cut_off_is_written_again(void **state)
{
	struct rf_options options = open_to_others(),
			  sub = subscriber_options(RF_LAG_DISCONNECT, 2);
	struct rf_message message;
	struct rf_channel *channel;
	struct stage stage;
	uint64_t i;

	(void)state;
	sub.stall_ns = HASTE_NS;
	stage_open(&stage, &options);
	channel = subscribe(&stage, &sub);
	for (i = 1; i <= 3; i++)
		assert_int_equal(publish_pattern(stage.tx, i), 0);
	assert_int_equal(rf_rx_borrow(rf_channel_rx(channel), 0, &message, 1), 1);
	for (; i <= 40; i++)
		assert_int_equal(publish_pattern(stage.tx, i), 0);
	assert_true(is_intact(&message));
	assert_true(turns_until_figure(&stage, FIGURE(cut), 1));
	for (; i <= 80; i++)
		assert_int_equal(publish_pattern(stage.tx, i), 0);
	assert_false(is_intact(&message));
	assert_int_equal(rf_channel_process(channel), -EPIPE);
	assert_int_equal(rf_rx_release(rf_channel_rx(channel), &message, 1), 0);
	stage_close(&stage);
}

/* M4, P9, M10: by hand, with what WELCOME brings. The slots come first. */

static int take_welcome(int fds[RF__FDS_MAX])
{
	unsigned char message[RF__WIRE_MAX];
	int sock = raw_subscribe();
	unsigned n = 0;

	if (sock < 0)
		_exit(101);
	rf__socket_allow_fds(sock, true);
	if (!wait_readable(sock, SOON_MS) ||
		rf__socket_receive(sock, message, sizeof(message), fds, RF__FDS_MAX, &n) < 0 ||
		n < 3)
		_exit(102);
	return sock;
}

static int spoil_slots(void *arg)
{
	int fds[RF__FDS_MAX], again;
	char path[40];
	void *map;

	(void)arg;
	take_welcome(fds);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fds[0]);
	again = open(path, O_RDWR | O_CLOEXEC);
	if (again < 0)
		again = fds[0];
	if (mmap(NULL, 4096, PROT_WRITE, MAP_SHARED, fds[0], 0) != MAP_FAILED ||
		mmap(NULL, 4096, PROT_WRITE, MAP_SHARED, again, 0) != MAP_FAILED)
		return 30;
	map = mmap(NULL, 4096, PROT_READ, MAP_SHARED, again, 0);
	if (map == MAP_FAILED || !mprotect(map, 4096, PROT_READ | PROT_WRITE) ||
		!madvise(map, 4096, MADV_REMOVE))
		return 31;
	if (pwrite(again, "x", 1, 0) == 1 || !ftruncate(again, 0) || !ftruncate(again, 1 << 20))
		return 32;
	if (!fallocate(again, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096) ||
		!fallocate(again, 0, 0, 1 << 20) || !fcntl(again, F_ADD_SEALS, F_SEAL_WRITE))
		return 33;
	return 0;
}

static void m4_a_subscriber_cannot_change_the_slots(void **state)
{
	struct rf_options options = open_to_others();
	struct stage stage;
	unsigned i;
	pid_t pid;

	(void)state;
	rf_test_need_root();
	stage_open(&stage, &options);
	hostile_path = stage.path;
	for (i = 0; i < 2; i++) { /* as somebody else, and as ourselves */
		pid = rf_test_child(spoil_slots, NULL, i ? 0 : RF_TEST_UID, i ? 0 : RF_TEST_UID);
		assert_true(turns_until_figure(&stage, FIGURE(failed), i + 1));
		assert_int_equal(rf_test_wait(pid, SOON_MS), 0);
	}
	stage_close(&stage);
}

enum way_out { LEAVES, IS_CUT_OFF, NEVER_JOINS };

/* Has the memory, and is no subscriber any more. */
static const uint64_t *keep_memory(enum way_out how)
{
	struct rf_channel *channel;
	struct rf_message message;
	int fds[RF__FDS_MAX];
	const uint64_t *base;

	if (how == NEVER_JOINS) {
		close(take_welcome(fds));
		return mmap(NULL, 1024, PROT_READ, MAP_SHARED, fds[0], 0);
	}
	channel = connect_hostile(RF_LAG_DISCONNECT, 2);
	base = (const void *)channel->rx.half.slots[0].base;
	if (rf_rx_borrow(rf_channel_rx(channel), rf_test_deadline(SOON_MS), &message, 1) != 1)
		_exit(103);
	if (how == IS_CUT_OFF && wait_for_hang_up(channel))
		_exit(104);
	rf_channel_close(channel); /* what is borrowed stays mapped */
	return base;
}

/* Looks when it is told to: 1: it sees what was published afterwards. */
static int look_on(void *arg)
{
	const uint64_t *base = keep_memory(*(enum way_out *)arg);
	unsigned i;

	WORD_WRITE(&words[0], 1);
	while (!WORD_READ(&words[1]))
		nap(1);
	for (i = 0; i < 16; i++)
		if (__atomic_load_n(&base[i * 8], __ATOMIC_RELAXED) > 1000)
			return 1;
	return 0;
}

static int what_a_former_subscriber_sees(enum way_out how, uint32_t flags)
{
	struct rf_options options = open_to_others();
	struct stage stage;
	uint64_t i;
	pid_t pid;
	int seen;

	words = fixture_words();
	options.flags = flags;
	stage_open(&stage, &options);
	hostile_path = stage.path;
	assert_int_equal(publish_numbers(&stage, 1, 20), 0);
	pid = rf_test_child(look_on, &how, RF_TEST_UID, RF_TEST_UID);
	for (i = 21; !WORD_READ(&words[0]) && i < 1000; i++) {
		assert_int_equal(publish_numbers(&stage, i, 1), 0);
		stage_turn(&stage);
	}
	assert_true(turns_until(&stage, &words[0], 1));
	if (flags & RF_OPTION_RENEW)
		assert_true(turns_until_figure(&stage, FIGURE(renewed), 1));
	assert_true(turns_until_figure(&stage,
		how == LEAVES       ? FIGURE(left)
		: how == IS_CUT_OFF ? FIGURE(cut)
				    : FIGURE(failed),
		1));
	assert_int_equal(publish_numbers(&stage, 1001, 100), 0);
	WORD_WRITE(&words[1], 1);
	seen = rf_test_wait(pid, SOON_MS);
	stage_close(&stage);
	return seen;
}

static void p9_a_mapping_is_not_revoked(void **state)
{
	(void)state;
	rf_test_need_root();
	assert_int_equal(what_a_former_subscriber_sees(LEAVES, 0), 1);
	assert_int_equal(what_a_former_subscriber_sees(IS_CUT_OFF, 0), 1);
}

static void p9_what_is_written_after_a_renewal_does_not_show_in_it(void **state)
{
	(void)state;
	rf_test_need_root();
	assert_int_equal(what_a_former_subscriber_sees(LEAVES, RF_OPTION_RENEW), 0);
	assert_int_equal(what_a_former_subscriber_sees(IS_CUT_OFF, RF_OPTION_RENEW), 0);
	assert_int_equal(what_a_former_subscriber_sees(NEVER_JOINS, RF_OPTION_RENEW), 0);
}

static int come_and_go(void *arg)
{
	unsigned i;

	(void)arg;
	for (i = 0; i < 30; i++)
		rf_channel_close(connect_hostile(RF_LAG_DROP, 2));
	return 0;
}

static void p9_nobody_honest_loses_anything_over_renewals(void **state)
{
	struct rf_options options = open_to_others();
	struct thread honest[2];
	struct stage stage;
	uint64_t number = 0, renewed;
	pid_t pid;

	(void)state;
	rf_test_need_root();
	options.flags = RF_OPTION_RENEW;
	stage_open(&stage, &options);
	hostile_path = stage.path;
	thread_start(&honest[0], take_to_the_end,
		rf_channel_rx(subscribe_with(&stage, RF_LAG_BLOCK, 4)));
	thread_start(&honest[1], take_to_the_end,
		rf_channel_rx(subscribe_with(&stage, RF_LAG_BLOCK, 2)));
	pid = rf_test_child(come_and_go, NULL, RF_TEST_UID, RF_TEST_UID);
	publish_meanwhile(&stage, &number, pid, false);
	assert_true(turns_until_figure(&stage, FIGURE(left), 30));
	renewed = publisher_stats(stage.publisher).renewed;
	print_message(
		"# %lu renewals in %lu messages\n", (unsigned long)renewed, (unsigned long)number);
	assert_true(renewed >= 2);
	assert_int_equal(rf_tx_end(stage.tx), 0);
	assert_int_equal(thread_join(&honest[0]), 0);
	assert_int_equal(thread_join(&honest[1]), 0);
	stage_close(&stage);
}

/* Nothing is lent in between. */
static void p9_two_renewals_in_a_row_lose_nothing(void **state)
{
	struct rf_options options = open_to_others();
	struct rf_channel *channel;
	struct stage stage;
	uint64_t i, number;
	size_t regions;
	pid_t pid;

	(void)state;
	rf_test_need_root();
	options.flags = RF_OPTION_RENEW;
	stage_open(&stage, &options);
	hostile_path = stage.path;
	channel = subscribe_with(&stage, RF_LAG_BLOCK, 4);
	assert_int_equal(publish_numbers(&stage, 1, 2), 0);
	assert_int_equal(take_numbers(rf_channel_rx(channel), 1, 2, 0), 0);
	regions = rf_test_count_memfd_mappings();
	for (i = 0; i < 3; i++) {
		pid = rf_test_child(come_and_go, NULL, RF_TEST_UID, RF_TEST_UID);
		assert_true(turns_until_figure(&stage, FIGURE(left), 30 * (i + 1)));
		assert_int_equal(rf_test_wait(pid, SOON_MS), 0);
		assert_true(publisher_stats(stage.publisher).renewed >= 2 * (i + 1));
		assert_int_equal(publish_numbers(&stage, 3 + i, 1), 0);
		assert_int_equal(take_numbers(rf_channel_rx(channel), 3 + i, 1, 0), 0);
		assert_int_equal(take_number(rf_channel_rx(channel), 0, &number), -EAGAIN);
		assert_int_equal(rf_publisher_process(stage.publisher), 0);
		assert_int_equal(rf_test_count_memfd_mappings(), regions);
	}
	stage_close(&stage);
}

/* A handshake by hand, as far as it goes. The channel, when it is open. */
static struct rf_channel *shake_hands(struct rf__handshake *h)
{
	int r = rf__handshake_step(h);

	assert_true(r >= 0);
	return r == RF__HANDSHAKE_OPEN ? rf__handshake_take(h) : NULL;
}

static void begin_by_hand(struct rf__handshake *h)
{
	struct rf_options options = subscriber_options(RF_LAG_BLOCK, 2), known;
	struct rf__identity nobody = RF__IDENTITY_INIT;
	struct rf_channel *channel;
	struct rf__wish wish;

	assert_int_equal(rf__options_read(&options, true, &known, NULL), 0);
	channel = rf__channel_new(raw_connect(hostile_path), &nobody, &known);
	assert_non_null(channel);
	rf__socket_allow_fds(channel->link.sock, true);
	fcntl(channel->link.sock, F_SETFL, O_NONBLOCK);
	wish = rf__options_wish(&known, &nobody, RF__CONNECTED, false);
	rf__handshake_begin(h, channel, false, &wish);
	assert_null(shake_hands(h));
}

/* What WELCOME brought is a generation behind when it joins. */
static void p9_a_renewal_during_a_handshake_is_told(void **state)
{
	struct rf_options options = open_to_others();
	struct rf_channel *channel = NULL;
	struct rf__handshake h;
	struct stage stage;
	unsigned i;
	pid_t pid;

	(void)state;
	rf_test_need_root();
	options.flags = RF_OPTION_RENEW;
	stage_open(&stage, &options);
	hostile_path = stage.path;
	begin_by_hand(&h);
	for (i = 0; i < 100 && !wait_readable(h.channel->link.sock, 0); i++)
		stage_turn(&stage);
	pid = rf_test_child(come_and_go, NULL, RF_TEST_UID, RF_TEST_UID);
	assert_true(turns_until_figure(&stage, FIGURE(left), 30));
	assert_int_equal(rf_test_wait(pid, SOON_MS), 0);
	assert_true(publisher_stats(stage.publisher).renewed > 0);
	assert_int_equal(publish_numbers(&stage, 1, 1), 0);
	for (i = 0; i < 100 && !channel; i++) {
		channel = shake_hands(&h);
		stage_turn(&stage);
	}
	assert_non_null(channel);
	assert_true(turns_until_figure(&stage, FIGURE(subscribers), 1));
	assert_int_equal(publish_numbers(&stage, 2, 1), 0);
	assert_int_equal(take_numbers(rf_channel_rx(channel), 1, 2, 0), 0);
	rf_channel_close(channel);
	stage_close(&stage);
}

static int keep_all_memory(void *arg)
{
	(void)arg;
	while (keep_memory(NEVER_JOINS))
		WORD_WRITE(&words[0], words[0] + 1);
	return 1;
}

static void m10_renewals_end_while_former_memory_is_kept(void **state)
{
	struct rf_options options = open_to_others();
	struct rf_buffer buffer;
	struct stage stage;
	pid_t pid;

	(void)state;
	rf_test_need_root();
	words = fixture_words();
	options.flags = RF_OPTION_RENEW;
	stage_open(&stage, &options);
	hostile_path = stage.path;
	pid = rf_test_child(keep_all_memory, NULL, RF_TEST_UID, RF_TEST_UID);
	assert_true(turns_until_figure(&stage, FIGURE(refused), 1));
	assert_has(rf_publisher_reason(stage.publisher), "keep too much former memory mapped");
	assert_in_range(publisher_stats(stage.publisher).renewed, RF__KEPT_MOST, RF__KEPT_MOST + 1);
	assert_int_equal(rf_tx_reserve(stage.tx, 8, 0, &buffer), 0);
	assert_int_equal(rf_tx_cancel(stage.tx, &buffer), 0);
	assert_true(rf_test_wait(pid, SOON_MS)); /* it was refused, and lets go */
	pid = rf_test_child(come_and_go, NULL, RF_TEST_UID, RF_TEST_UID);
	assert_true(turns_until_figure(&stage, FIGURE(left), 30));
	assert_int_equal(rf_test_wait(pid, SOON_MS), 0);
	stage_close(&stage);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, leaks_setup, leaks_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(p7_what_is_lent_is_never_written_again_while_it_is_held),
		TEST(p7_what_a_late_one_was_lent_is_not_written_again),
		TEST(p7_what_was_lent_to_one_that_was_cut_off_is_written_again),
		TEST(m4_a_subscriber_cannot_change_the_slots),
		TEST(p9_a_mapping_is_not_revoked),
		TEST(p9_what_is_written_after_a_renewal_does_not_show_in_it),
		TEST(p9_nobody_honest_loses_anything_over_renewals),
		TEST(p9_two_renewals_in_a_row_lose_nothing),
		TEST(p9_a_renewal_during_a_handshake_is_told),
		TEST(m10_renewals_end_while_former_memory_is_kept),
	};

	rf_test_limit(50);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
