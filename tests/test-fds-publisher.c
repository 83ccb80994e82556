/* SPDX-License-Identifier: MIT */
/* Descriptors beside the messages of a publisher: each subscriber agrees for itself, and who cannot have
 * them misses the message. */
#include "fds-fixture.h"
#include "membership.h"
#include "publisher-fixture.h"
#include "socket.h"

static const uint32_t bells[] = {RF_DOORBELL_EVENTFD, RF_DOORBELL_SOCKET};

static struct rf_channel *subscribe_taking(
	struct stage *stage, uint32_t kinds, uint32_t max, uint32_t per_second)
{
	struct rf_options options = subscriber_options(RF_LAG_DROP, 4);

	options.fd_kinds = kinds;
	options.max_fds = max;
	options.fds_per_second = per_second;
	return subscribe(stage, &options);
}

static void run_each(void (*run)(struct stage *stage))
{
	struct rf_options options;
	struct stage stage;
	unsigned i;

	for (i = 0; i < 2; i++) {
		options = publisher_options(bells[i]);
		options.slots = 64;
		stage_open(&stage, &options);
		run(&stage);
		stage_close(&stage);
	}
}

/* Takes a message with n memfds that are numbered from number on. */
static void assert_takes(struct rf_channel *channel, uint64_t number, unsigned n)
{
	struct rf_rx *rx = rf_channel_rx(channel);
	struct rf_message message = borrow_one(rx);
	int fds[RF_FDS_MAX];
	unsigned i;

	assert_int_equal(message.n_fds, n);
	assert_memory_equal(message.data, &number, sizeof(number));
	assert_int_equal(rf_rx_take_fds(rx, &message, fds, RF_FDS_MAX), n);
	for (i = 0; i < n; i++)
		assert_int_equal(number_of(fds[i]), number + i);
	assert_int_equal(rf_rx_release(rx, &message, 1), 0);
}

static void run_all(struct stage *stage)
{
	struct rf_channel *channels[5];
	uint64_t i;
	unsigned k;

	for (k = 0; k < 5; k++)
		channels[k] = subscribe_taking(stage, ALL_KINDS, RF_FDS_MAX, 0);
	for (i = 0; i < 100; i++) {
		assert_int_equal(send_numbered(stage->tx, i, (unsigned)i % 4, 0), 0);
		for (k = 0; k < 5; k++)
			assert_takes(channels[k], i, (unsigned)i % 4);
	}
	assert_int_equal(rf_tx_end(stage->tx), 0);
}

static void all_subscribers_get_them(void **state)
{
	(void)state;
	run_each(run_all);
}

static void assert_misses(struct rf_channel *channel, uint64_t number, unsigned missed)
{
	struct rf_message message = borrow_one(rf_channel_rx(channel));

	assert_memory_equal(message.data, &number, sizeof(number));
	assert_int_equal(message.missed, missed);
	assert_int_equal(message.n_fds, 0);
	assert_int_equal(rf_rx_release(rf_channel_rx(channel), &message, 1), 0);
}

static void run_different(struct stage *stage)
{
	struct rf_channel *takes = subscribe_taking(stage, RF_FD_MEMFD, 2, 0);
	struct rf_channel *none = subscribe_taking(stage, 0, 0, 0);
	struct rf_channel *others = subscribe_taking(stage, RF_FD_PIPE, 8, 0);
	struct rf_channel *one = subscribe_taking(stage, RF_FD_MEMFD, 1, 0);
	struct rf_channel *slow = subscribe_taking(stage, RF_FD_MEMFD, 2, 2), *late;

	assert_int_equal(send_numbered(stage->tx, 1, 2, 0), 0);
	assert_int_equal(send_numbered(stage->tx, 5, 1, 0), 0);
	late = subscribe_taking(stage, RF_FD_MEMFD, 2, 0);
	assert_int_equal(send_numbered(stage->tx, 7, 0, 0), 0);
	assert_takes(takes, 1, 2);
	assert_takes(takes, 5, 1);
	assert_takes(takes, 7, 0);
	assert_misses(none, 7, 2);
	assert_misses(others, 7, 2);
	assert_takes(one, 5, 1);
	assert_misses(one, 7, 0);
	assert_takes(slow, 1, 2);
	assert_misses(slow, 7, 1);
	assert_misses(late, 7, 0);
}

static void who_did_not_agree_misses_the_message(void **state)
{
	(void)state;
	run_each(run_different);
}

/* What is kept for messages that are written is closed in time. */
static void run_closed(struct stage *stage)
{
	struct rf_channel *channel = subscribe_taking(stage, ALL_KINDS, RF_FDS_MAX, 0);
	struct rf_buffer buffers[RF__FDS_MESSAGES + 1];
	size_t before = rf_test_count_fds();
	int fd = numbered(1);
	unsigned i;

	assert_int_equal(rf_tx_reserve_span(stage->tx, 8, 0, buffers, 17), 17);
	for (i = 0; i < RF__FDS_MESSAGES; i++)
		assert_int_equal(rf_tx_attach(stage->tx, &buffers[i], &fd, 1, 0), 0);
	assert_int_equal(rf_tx_attach(stage->tx, &buffers[16], &fd, 1, RF_FOREVER), -EINVAL);
	for (i = 0; i <= RF__FDS_MESSAGES; i++)
		assert_int_equal(rf_tx_cancel(stage->tx, &buffers[i]), 0);
	close(fd);
	assert_int_equal(rf_test_count_fds(), before);
	assert_int_equal(send_numbered(stage->tx, 2, 8, 0), 0);
	assert_int_equal(rf_test_count_fds(), before);
	assert_takes(channel, 2, 8);
}

static void a_publisher_keeps_none_after_publish_and_cancel(void **state)
{
	(void)state;
	run_each(run_closed);
}

/* Some go with descriptors unread, some with them borrowed, while others stay. */
static void run_leaving(struct stage *stage)
{
	struct rf_channel *stays = subscribe_taking(stage, ALL_KINDS, RF_FDS_MAX, 0);
	struct rf_channel *unread = subscribe_taking(stage, ALL_KINDS, RF_FDS_MAX, 0);
	struct rf_channel *borrows = subscribe_taking(stage, ALL_KINDS, RF_FDS_MAX, 0);
	struct rf_message message;
	struct rf_rx *rx = rf_channel_rx(borrows);

	assert_int_equal(send_numbered(stage->tx, 1, 3, 0), 0);
	message = borrow_one(rx);
	unsubscribe(stage, unread);
	unsubscribe(stage, borrows);
	assert_int_equal(rf_rx_release(rx, &message, 1), 0);
	assert_int_equal(send_numbered(stage->tx, 4, 2, 0), 0);
	assert_takes(stays, 1, 3);
	assert_takes(stays, 4, 2);
}

static void a_subscriber_that_goes_takes_its_own_along(void **state)
{
	(void)state;
	run_each(run_leaving);
}

/* A subscriber that says it has given everything back, and reads nothing of its socket. */
static void c3_one_that_leaves_descriptors_unread_harms_no_other(void **state)
{
	struct rf_options options = publisher_options(RF_DOORBELL_EVENTFD);
	struct rf_channel *honest, *hostile;
	struct stage stage;
	uint64_t i, limit;

	(void)state;
	options.slots = 64;
	limit = rf_test_limit_files(256);
	stage_open(&stage, &options);
	honest = subscribe_taking(&stage, ALL_KINDS, RF_FDS_MAX, 0);
	hostile = subscribe_taking(&stage, ALL_KINDS, RF_FDS_MAX, 0);
	for (i = 0; i < 100; i++) {
		struct rf__slots_rx *slots = rf_channel_rx(hostile)->slots;
		struct rf_message message;

		assert_int_equal(send_numbered(stage.tx, i, 8, 0), 0);
		assert_takes(honest, i, 8);
		if (rf__slots_rx_borrow(slots, &message, 1) == 1)
			assert_int_equal(rf__slots_rx_release(slots, message.id), 0);
	}
	assert_in_range(subscriber(&stage, 1).missed, 80, 100);
	assert_int_equal(subscriber(&stage, 0).missed, 0);
	stage_close(&stage);
	rf_test_limit_files(limit);
}

/* One that breaks the rules about them is cut off, as everywhere. */
static void c2_a_subscriber_cannot_send_any(void **state)
{
	struct rf_options options = publisher_options(RF_DOORBELL_SOCKET);
	struct rf_channel *honest, *hostile;
	struct stage stage;
	int fd = numbered(1), r;

	(void)state;
	stage_open(&stage, &options);
	honest = subscribe_taking(&stage, ALL_KINDS, RF_FDS_MAX, 0);
	hostile = subscribe_taking(&stage, ALL_KINDS, RF_FDS_MAX, 0);
	r = rf__socket_send(hostile->link.sock, "d\1\0\0\0\0\0\0", RF__FDS_BYTES, &fd, 1);
	if (r == 0)
		assert_true(
			turns_until_figure(&stage, offsetof(struct rf_publisher_stats, broken), 1));
	else
		assert_int_equal(r, -EPERM);
	assert_int_equal(send_numbered(stage.tx, 1, 1, 0), 0);
	assert_takes(honest, 1, 1);
	stage_close(&stage);
	close(fd);
}

/* A publisher that lies about a message which is given back unseen: the one behind it is not handed out,
 * and keeps nothing of the channel. */
static void nothing_is_borrowed_where_descriptors_of_an_unseen_message_lack(void **state)
{
	struct rf_options options = publisher_options(RF_DOORBELL_SOCKET);
	struct rf_options wish = subscriber_options(RF_LAG_LATEST, 4);
	struct rf_channel *channel;
	struct rf_message message;
	struct rf_buffer buffer;
	struct stage stage;

	(void)state;
	wish.fd_kinds = ALL_KINDS;
	wish.max_fds = RF_FDS_MAX;
	stage_open(&stage, &options);
	channel = subscribe(&stage, &wish);
	stage.publisher->slots.send = NULL;
	assert_int_equal(rf_tx_reserve(stage.tx, 8, 0, &buffer), 0);
	rf__slots_find(&stage.publisher->slots, buffer.id)->n_fds = 1;
	assert_int_equal(rf_tx_commit(stage.tx, &buffer), 0);
	assert_int_equal(rf_tx_publish(stage.tx), 0);
	assert_int_equal(publish_numbers(&stage, 1, 1), 0);
	assert_int_equal(rf_rx_borrow(rf_channel_rx(channel), 0, &message, 1), -EPROTO);
	assert_has(rf_channel_reason(channel), "descriptors did not come");
	assert_false(rf__rx_lent(rf_channel_rx(channel)));
	stage_close(&stage);
}

#define FACT(name) cmocka_unit_test_setup_teardown(name, leaks_setup, leaks_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		FACT(all_subscribers_get_them),
		FACT(who_did_not_agree_misses_the_message),
		FACT(a_publisher_keeps_none_after_publish_and_cancel),
		FACT(a_subscriber_that_goes_takes_its_own_along),
		FACT(nothing_is_borrowed_where_descriptors_of_an_unseen_message_lack),
		FACT(c3_one_that_leaves_descriptors_unread_harms_no_other),
		FACT(c2_a_subscriber_cannot_send_any),
	};

	return cmocka_run_group_tests_name("fds-publisher", tests, NULL, NULL);
}
