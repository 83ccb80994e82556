/* SPDX-License-Identifier: MIT */
/* A publisher and its subscribers: who gets what, who comes and goes. What happens to those that fall
 * behind is test-publisher-lag.c's, the end and the caller's own loop are test-publisher-end.c's. */
#include "publisher-fixture.h"

#include "util/clock.h"
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* Everything to everybody */

static int send_all(struct stage *stage, uint64_t n)
{
	uint64_t i;
	int r = 0;

	for (i = 1; i <= n && r >= 0; i++)
		r = send_number(stage->tx, i, rf_test_deadline(SOON_MS));
	return r;
}

static void pass_numbers(uint32_t doorbell, uint32_t wait, uint64_t n)
{
	struct rf_options options = publisher_options(doorbell);
	struct taking takings[3];
	struct stage stage;
	unsigned i;

	options.slots = 32;
	options.wait = wait;
	stage_open(&stage, &options);
	for (i = 0; i < 3; i++)
		take_start(&takings[i], subscribe_with(&stage, RF_LAG_BLOCK, 4), 1, n);
	assert_int_equal(send_all(&stage, n), 0);
	for (i = 0; i < 3; i++)
		assert_int_equal(thread_join(&takings[i].thread), 0);
	assert_int_equal(channel_stats(stage.channels[0]).doorbell, doorbell);
	stage_close(&stage);
}

static void messages_reach_all_over_sockets(void **state)
{
	(void)state;
	pass_numbers(RF_DOORBELL_SOCKET, RF_WAIT_ADAPTIVE, rf_test_rounds(10000));
	pass_numbers(RF_DOORBELL_SOCKET, RF_WAIT_SLEEP, rf_test_rounds(5000));
}

static void messages_reach_all_over_eventfds(void **state)
{
	(void)state;
	pass_numbers(RF_DOORBELL_EVENTFD, RF_WAIT_ADAPTIVE, rf_test_rounds(10000));
	pass_numbers(RF_DOORBELL_EVENTFD, RF_WAIT_SPIN, rf_test_rounds(5000));
}

static void all_that_a_message_carries_arrives(void **state)
{
	struct rf_message message;
	struct rf_buffer buffer;
	struct stage stage;
	struct rf_rx *rx;

	(void)state;
	stage_open_plain(&stage);
	rx = rf_channel_rx(subscribe_with(&stage, 0, 0));
	assert_int_equal(rf_tx_reserve(stage.tx, 40, 0, &buffer), 0);
	memcpy(buffer.data, "unseen, and what is seen", 24);
	buffer.data = (char *)buffer.data + 8;
	buffer.len = 16;
	buffer.time_ns = 123;
	buffer.user[0] = 4;
	buffer.user[1] = UINT64_MAX;
	buffer.tag = 77;
	assert_int_equal(rf_tx_commit(stage.tx, &buffer), 0);
	assert_int_equal(rf_rx_borrow(rx, 0, &message, 1), -EAGAIN);
	assert_int_equal(rf_tx_publish(stage.tx), 0);
	assert_int_equal(rf_rx_borrow(rx, 0, &message, 1), 1);
	assert_int_equal(message.len, 16);
	assert_memory_equal(message.data, "and what is seen", 16);
	assert_int_equal(message.time_ns, 123);
	assert_int_equal(message.user[0], 4);
	assert_true(message.user[1] == UINT64_MAX);
	assert_int_equal(message.tag, 77);
	assert_int_equal(message.missed, 0);
	assert_int_equal(rf_rx_release(rx, &message, 1), 0);
	stage_close(&stage);
}

static void commit_stays_within_the_reservation(void **state)
{
	struct rf_buffer buffer, moved;
	struct stage stage;

	(void)state;
	stage_open_plain(&stage);
	assert_int_equal(rf_tx_reserve(stage.tx, 65, 0, &buffer), -EMSGSIZE);
	assert_int_equal(rf_tx_reserve(stage.tx, 40, 0, &buffer), 0);
	moved = buffer;
	moved.len = 41;
	assert_int_equal(rf_tx_commit(stage.tx, &moved), -EINVAL);
	moved = buffer;
	moved.data = (char *)moved.data + 1;
	assert_int_equal(rf_tx_commit(stage.tx, &moved), -EINVAL);
	moved.data = (char *)buffer.data - 1;
	assert_int_equal(rf_tx_commit(stage.tx, &moved), -EINVAL);
	assert_int_equal(rf_tx_commit(stage.tx, &buffer), 0);
	assert_int_equal(rf_tx_commit(stage.tx, &buffer), -EINVAL);
	assert_int_equal(rf_tx_cancel(stage.tx, &buffer), -EINVAL);
	stage_close(&stage);
}

static void send_gathers_parts_for_all(void **state)
{
	char one[] = "ring", two[] = "fort", text[64];
	struct iovec parts[] = {{one, 4}, {two, 4}};
	struct rf_message message;
	struct stage stage;
	unsigned i;

	(void)state;
	stage_open_plain(&stage);
	subscribe_with(&stage, 0, 0);
	subscribe_with(&stage, 0, 0);
	assert_int_equal(rf_tx_send(stage.tx, parts, 2, 0), 0);
	for (i = 0; i < 2; i++) {
		assert_int_equal(rf_rx_copy(rf_channel_rx(stage.channels[i]), 0, text, sizeof(text),
					 &message),
			1);
		assert_int_equal(message.len, 8);
		assert_memory_equal(text, "ringfort", 8);
	}
	assert_int_equal(publisher_stats(stage.publisher).bytes_copied, 8);
	stage_close(&stage);
}

/* Slots, filled at once: messages arrive in the order of the commits. */
static void several_reservations_may_be_open(void **state)
{
	struct rf_buffer buffers[3];
	struct rf_message messages[3];
	struct stage stage;
	struct rf_rx *rx;
	unsigned i;

	(void)state;
	stage_open_plain(&stage);
	rx = rf_channel_rx(subscribe_with(&stage, RF_LAG_BLOCK, 4));
	assert_int_equal(rf_tx_reserve_span(stage.tx, 8, 0, buffers, 3), 3);
	for (i = 0; i < 3; i++)
		buffers[i].tag = i;
	assert_int_equal(rf_tx_commit(stage.tx, &buffers[2]), 0);
	assert_int_equal(rf_tx_publish(stage.tx), 0);
	assert_int_equal(rf_tx_cancel(stage.tx, &buffers[1]), 0);
	assert_int_equal(rf_tx_commit(stage.tx, &buffers[0]), 0);
	assert_int_equal(rf_tx_publish(stage.tx), 0);
	assert_int_equal(rf_rx_borrow(rx, 0, messages, 3), 2);
	assert_int_equal(messages[0].tag, 2);
	assert_int_equal(messages[1].tag, 0);
	assert_int_equal(rf_rx_release(rx, messages, 2), 0);
	stage_close(&stage);
}

static void seventy_subscribers_get_everything(void **state)
{
	struct rf_options options = publisher_options(RF_DOORBELL_SOCKET);
	struct taking *takings = calloc(70, sizeof(*takings));
	uint64_t files = rf_test_limit_files(4096), n = rf_test_rounds(300);
	struct stage stage;
	unsigned i;

	(void)state;
	assert_non_null(takings);
	options.slots = 2 + 70 * 2;
	options.max_channels = 80;
	stage_open(&stage, &options);
	for (i = 0; i < 70; i++)
		subscribe_with(&stage, RF_LAG_BLOCK, 2);
	assert_int_equal(publisher_stats(stage.publisher).subscribers, 70);
	assert_int_equal(publisher_stats(stage.publisher).granted, 140);
	for (i = 0; i < 70; i++)
		take_start(&takings[i], stage.channels[i], 1, n);
	assert_int_equal(send_all(&stage, n), 0);
	for (i = 0; i < 70; i++)
		assert_int_equal(thread_join(&takings[i].thread), 0);
	stage_close(&stage);
	rf_test_limit_files(files);
	free(takings);
}

/* Figures */

static void figures_tell_of_the_publisher(void **state)
{
	struct rf_publisher_stats stats = {
		.size = offsetof(struct rf_publisher_stats, messages), .messages = 99};
	struct stage stage;

	(void)state;
	stage_open_plain(&stage);
	subscribe_with(&stage, 0, 3);
	subscribe_with(&stage, 0, 4);
	assert_int_equal(publish_numbers(&stage, 1, 5), 0);
	unsubscribe(&stage, stage.channels[0]);
	assert_int_equal(rf_publisher_stats(stage.publisher, &stats), 0);
	assert_int_equal(stats.subscribers, 1);
	assert_int_equal(stats.joined, 2);
	assert_int_equal(stats.left, 1);
	assert_int_equal(stats.cut + stats.broken + stats.refused + stats.failed, 0);
	assert_int_equal(stats.messages, 99);
	stats = publisher_stats(stage.publisher);
	assert_int_equal(stats.messages, 5);
	assert_int_equal(stats.bytes, 40);
	assert_int_equal(stats.bytes_copied, 0);
	assert_int_equal(stats.slots, 16);
	assert_int_equal(stats.slot_bytes, 64);
	assert_int_equal(stats.granted, 4);
	stats.size = 0;
	assert_int_equal(rf_publisher_stats(stage.publisher, &stats), -EINVAL);
	stage_close(&stage);
}

static void subscribers_are_described_oldest_first(void **state)
{
	struct rf_subscriber all[2];
	struct stage stage;

	(void)state;
	stage_open_plain(&stage);
	subscribe_with(&stage, RF_LAG_DROP, 3);
	subscribe_with(&stage, RF_LAG_BLOCK, 5);
	assert_int_equal(publish_numbers(&stage, 1, 5), 0);
	assert_int_equal(subscriber(&stage, 0).missed, 2);
	assert_int_equal(rf_publisher_subscribers(stage.publisher, NULL, 0), 2);
	assert_int_equal(rf_publisher_subscribers(stage.publisher, NULL, 1), -EINVAL);
	assert_int_equal(rf_publisher_subscribers(stage.publisher, all, 1), 2);
	assert_int_equal(rf_publisher_subscribers(stage.publisher, all, 2), 2);
	assert_int_equal(all[0].number, 1);
	assert_int_equal(all[0].lag, RF_LAG_DROP);
	assert_int_equal(all[0].hold, 3);
	assert_int_equal(all[0].held, 3);
	assert_int_equal(all[0].lent, 3);
	assert_int_equal(all[1].number, 2);
	assert_int_equal(all[1].lag, RF_LAG_BLOCK);
	assert_int_equal(all[1].held, 5);
	assert_int_equal(all[1].missed, 0);
	assert_int_equal(all[1].uid, geteuid());
	assert_int_equal(all[1].pid, getpid());
	unsubscribe(&stage, stage.channels[0]);
	assert_int_equal(subscriber(&stage, 0).number, 2);
	stage_close(&stage);
}

static void reason_tells_who_went_and_who_was_turned_away(void **state)
{
	struct rf_options options = subscriber_options(RF_LAG_DROP, 15);
	struct stage stage;

	(void)state;
	stage_open_plain(&stage);
	assert_string_equal(rf_publisher_reason(stage.publisher), "");
	assert_int_equal(try_subscribe(&stage, &options), -ENOBUFS);
	assert_has(stage.reason, "to hold 15 slots is too many");
	assert_has(rf_publisher_reason(stage.publisher), "to hold 15 slots is too many");
	unsubscribe(&stage, subscribe_with(&stage, 0, 0));
	assert_has(rf_publisher_reason(stage.publisher), "subscriber 1, uid ");
	assert_has(rf_publisher_reason(stage.publisher), ": gone");
	stage_close(&stage);
}

static void mistakes_are_einval(void **state)
{
	struct rf_publisher *publisher;
	struct rf_options options;
	struct stage stage;
	uint64_t until;

	(void)state;
	rf_options_init(&options);
	options.kind = RF_BYTES;
	assert_int_equal(rf_publish(fresh_path(), &options, &publisher), -EINVAL);
	assert_has(rf_reason(), "a publisher's kind is RF_SLOTS");
	rf_options_init(&options);
	options.direction = RF_RECEIVE;
	assert_int_equal(rf_publish(fresh_path(), &options, &publisher), -EINVAL);
	rf_options_init(&options);
	options.reserve_slots = 16;
	assert_int_equal(rf_publish(fresh_path(), &options, &publisher), -EINVAL);
	assert_has(rf_reason(), "reserve_slots 16");
	assert_int_equal(rf_publish(fresh_path(), NULL, NULL), -EINVAL);
	assert_int_equal(rf_publisher_process(NULL), -EINVAL);
	assert_int_equal(rf_publisher_fd(NULL), -EINVAL);
	assert_int_equal(rf_publisher_arm(NULL, 0, &until), -EINVAL);
	assert_int_equal(rf_publisher_subscribers(NULL, NULL, 0), -EINVAL);
	assert_null(rf_publisher_tx(NULL));
	assert_string_equal(rf_publisher_reason(NULL), "");
	rf_publisher_stop(NULL);
	rf_publisher_close(NULL);
	stage_open_plain(&stage);
	assert_int_equal(rf_publisher_arm(stage.publisher, RF_DATA, &until), -EINVAL);
	stage_close(&stage);
}

static void a_connected_socket_is_no_address_for_a_publisher(void **state)
{
	struct rf_publisher *publisher;
	int socks[2];

	(void)state;
	make_pair(socks);
	assert_true(rf_publish(fd_address(socks[0]), NULL, &publisher) < 0);
	assert_true(strlen(rf_reason()) > 0);
	close(socks[0]);
	close(socks[1]);
}

/* Coming and going */

static void the_first_reservation_waits_for_subscribers(void **state)
{
	struct rf_options options = publisher_options(RF_DOORBELL_SOCKET);
	struct rf_buffer buffer;
	struct stage stage;

	(void)state;
	options.wait_for = 2;
	stage_open(&stage, &options);
	subscribe_with(&stage, 0, 0);
	assert_int_equal(rf_tx_reserve(stage.tx, 8, 0, &buffer), -EAGAIN);
	assert_int_equal(rf_tx_reserve(stage.tx, 65, 0, &buffer), -EMSGSIZE);
	assert_int_equal(
		rf_tx_reserve(stage.tx, 8, rf_test_deadline(WHILE_MS), &buffer), -ETIMEDOUT);
	subscribe_with(&stage, 0, 0);
	assert_int_equal(publish_numbers(&stage, 1, 1), 0);
	unsubscribe(&stage, stage.channels[0]);
	assert_int_equal(publish_numbers(&stage, 2, 1), 0);
	assert_int_equal(take_numbers(rf_channel_rx(stage.channels[0]), 1, 2, 0), 0);
	stage_close(&stage);
}

/* A subscriber is let in by whoever waits for it. */
static void a_waiting_reservation_lets_the_last_one_in(void **state)
{
	struct rf_options options = publisher_options(RF_DOORBELL_SOCKET), sub;
	struct reserving reserving;
	struct connecting connecting;
	struct stage stage;

	(void)state;
	options.wait_for = 1;
	sub = subscriber_options(0, 0);
	stage_open(&stage, &options);
	reserve_start(&reserving, stage.tx);
	assert_true(wait_for_publisher_sleeps(stage.publisher, 1));
	connect_start(&connecting, stage.path, &sub, SOON_MS);
	assert_int_equal(thread_join(&connecting.thread), 0);
	assert_int_equal(thread_join(&reserving.thread), 0);
	rf_channel_close(connecting.channel);
	stage_close(&stage);
}

/* Half of what it may hold is left to what comes next; what is open comes for sure. */
static uint64_t first_number(struct stage *stage, uint32_t lag, uint32_t start, unsigned hold)
{
	struct rf_options options = subscriber_options(lag, hold);
	uint64_t number = 0, next;
	struct rf_rx *rx;

	options.start = start;
	rx = rf_channel_rx(subscribe(stage, &options));
	assert_int_equal(take_number(rx, 0, &number), 1);
	for (next = number + 1; next <= 20; next++)
		assert_int_equal(take_numbers(rx, next, 1, 0), 0);
	assert_int_equal(take_number(rx, 0, &next), -EAGAIN);
	unsubscribe(stage, stage->channels[0]);
	return number;
}

static void a_new_subscriber_begins_where_it_wants_to(void **state)
{
	struct rf_buffer buffer;
	struct stage stage;

	(void)state;
	stage_open_plain(&stage);
	assert_int_equal(publish_numbers(&stage, 1, 20), 0);
	assert_int_equal(first_number(&stage, RF_LAG_DROP, RF_START_NEWEST, 4), 20);
	assert_int_equal(first_number(&stage, RF_LAG_DROP, RF_START_OLDEST, 4), 19);
	assert_int_equal(first_number(&stage, RF_LAG_BLOCK, RF_START_OLDEST, 13), 14);
	assert_int_equal(rf_tx_reserve(stage.tx, 8, 0, &buffer), 0);
	assert_int_equal(first_number(&stage, RF_LAG_DROP, RF_START_OLDEST, 13), 14);
	assert_int_equal(first_number(&stage, RF_LAG_BLOCK, RF_START_OLDEST, 13), 15);
	assert_int_equal(rf_tx_cancel(stage.tx, &buffer), 0);
	stage_close(&stage);
}

static void what_was_lent_is_kept_after_its_channel(void **state)
{
	struct rf_message message;
	struct stage stage;
	struct rf_rx *rx;
	uint64_t number;

	(void)state;
	stage_open_plain(&stage);
	rx = rf_channel_rx(subscribe_with(&stage, 0, 0));
	assert_int_equal(publish_numbers(&stage, 1, 1), 0);
	assert_int_equal(rf_rx_borrow(rx, 0, &message, 1), 1);
	unsubscribe(&stage, stage.channels[0]);
	memcpy(&number, message.data, sizeof(number));
	assert_int_equal(number, 1);
	assert_int_equal(rf_rx_release(rx, &message, 1), 0);
	stage_close(&stage);
}

static size_t heap_in_use(void)
{
	return mallinfo2().uordblks;
}

/* Some go with slots queued, some with slots borrowed. */
static void come_and_go(struct stage *stage, uint64_t i)
{
	struct rf_message message;
	struct rf_channel *channel;

	channel = subscribe_with(stage, 1 + (uint32_t)i % 4, 2 + (uint32_t)i % 3);
	assert_int_equal(send_number(stage->tx, i, 0), 0);
	if (i % 2)
		assert_int_equal(rf_rx_borrow(rf_channel_rx(channel), 0, &message, 1), 1);
	if (i % 4 == 1)
		assert_int_equal(rf_rx_release(rf_channel_rx(channel), &message, 1), 0);
	unsubscribe(stage, channel);
	if (i % 4 == 3)
		assert_int_equal(rf_rx_release(rf_channel_rx(channel), &message, 1), 0);
}

static void subscribers_that_come_and_go_leave_nothing(void **state)
{
	uint64_t n = rf_test_rounds(300), i, until;
	struct rf_channel *steady;
	struct leaks before;
	struct stage stage;
	size_t heap;

	(void)state;
	stage_open_plain(&stage);
	steady = subscribe_with(&stage, RF_LAG_BLOCK, 4);
	before = leaks_begin();
	for (i = 0; i < 8; i++) {
		come_and_go(&stage, i);
		assert_int_equal(take_numbers(rf_channel_rx(steady), i, 1, 0), 0);
	}
	heap = heap_in_use();
	for (; i < 8 + n; i++) {
		come_and_go(&stage, i);
		assert_int_equal(take_numbers(rf_channel_rx(steady), i, 1, 0), 0);
	}
	for (until = rf_test_deadline(SOON_MS);
		rf_test_count_fds() > before.fds && rf__now() < until;) /* of memory let go of */
		stage_turn(&stage);
	assert_no_leaks(&before);
	assert_true(heap_in_use() < heap + 65536);
	assert_int_equal(publisher_stats(stage.publisher).left, 8 + n);
	assert_int_equal(publisher_stats(stage.publisher).granted, 4);
	stage_close(&stage);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, leaks_setup, leaks_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(messages_reach_all_over_sockets),
		TEST(messages_reach_all_over_eventfds),
		TEST(all_that_a_message_carries_arrives),
		TEST(commit_stays_within_the_reservation),
		TEST(send_gathers_parts_for_all),
		TEST(several_reservations_may_be_open),
		TEST(seventy_subscribers_get_everything),
		TEST(figures_tell_of_the_publisher),
		TEST(subscribers_are_described_oldest_first),
		TEST(reason_tells_who_went_and_who_was_turned_away),
		TEST(mistakes_are_einval),
		TEST(a_connected_socket_is_no_address_for_a_publisher),
		TEST(the_first_reservation_waits_for_subscribers),
		TEST(a_waiting_reservation_lets_the_last_one_in),
		TEST(a_new_subscriber_begins_where_it_wants_to),
		TEST(what_was_lent_is_kept_after_its_channel),
		TEST(subscribers_that_come_and_go_leave_nothing),
	};

	rf_test_limit(50);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
