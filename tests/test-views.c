/* SPDX-License-Identifier: MIT */
/* Channels whose rings are streams or hold elements, as their users see them. */
#include "channel-fixture.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct sample {
	uint64_t number;
	double values[2];
};

struct other {
	char bytes[16];
};

RF_TYPED(sample, struct sample);
RF_TYPED(other, struct other);

static void open_streams(struct ends *ends)
{
	struct rf_options options = channel_options(RF_DOORBELL_SOCKET, RF_WAIT_ADAPTIVE);
	struct rf_options client = options;

	options.kind = RF_STREAM;
	ends_open(ends, &options, &client);
}

static void open_samples(struct ends *ends)
{
	struct rf_options options = channel_options(RF_DOORBELL_EVENTFD, RF_WAIT_ADAPTIVE);

	sample_options(&options);
	ends_open(ends, &options, &options);
}

/* Options. */

static void options_of_a_type_make_sense_or_are_refused(void **state)
{
	static const struct {
		uint32_t kind;
		uint64_t element_bytes;
		const char *type, *reason;
	} bad[] = {
		{5, 0, NULL, "kind 5 is unknown"},
		{0, 8, NULL, "are for RF_ELEMENTS"},
		{RF_BYTES, 0, "x", "are for RF_ELEMENTS"},
		{RF_STREAM, 1, NULL, "are for RF_ELEMENTS"},
		{RF_ELEMENTS, 0, "x", "element_bytes 0"},
		{RF_ELEMENTS, (1 << 20) + 1, "x", "element_bytes 1048577"},
		{RF_ELEMENTS, UINT64_C(1) << 32, "x", "element_bytes 4294967296"},
		{RF_ELEMENTS, 8, NULL, "type is not a name"},
		{RF_ELEMENTS, 8, "", "type is not a name"},
		{RF_ELEMENTS, 8, "a\n", "type is not a name"},
		{RF_ELEMENTS, 8, "1234567890123456789012345678901234567890123456789012345678901234",
			"type is not a name"},
	};
	struct rf_channel *channel = NULL;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct rf_options options;

		rf_options_init(&options);
		options.kind = bad[i].kind;
		options.element_bytes = bad[i].element_bytes;
		options.type = bad[i].type;
		assert_int_equal(rf_connect(fresh_path(), &options, 0, &channel), -EINVAL);
		assert_has(rf_reason(), bad[i].reason);
	}
}

static void a_listener_keeps_the_name_of_its_type(void **state)
{
	struct rf_options server = channel_options(0, 0), client = server;
	struct connecting connecting;
	struct rf_listener *listener;
	const char *path = fresh_path();
	char *type = strdup("sample");
	struct ends ends;

	(void)state;
	sample_options(&server);
	sample_options(&client);
	server.type = type;
	listener = listen_at(path, &server);
	memset(type, 'x', strlen(type));
	free(type);
	connect_start(&connecting, path, &client, SOON_MS);
	ends.server = accept_one(listener);
	assert_int_equal(thread_join(&connecting.thread), 0);
	ends.client = connecting.channel;
	assert_int_equal(rf_tx_element_bytes(rf_channel_tx(ends.client)), sizeof(struct sample));
	ends_close(&ends);
	rf_listener_close(listener);
}

static void another_type_is_refused_at_both_ends(void **state)
{
	struct rf_options server = channel_options(0, 0), client = server;
	struct connecting connecting;
	struct rf_listener *listener;
	struct rf_channel *channel;
	int socks[2];

	(void)state;
	sample_options(&server);
	other_options(&client);
	make_pair(socks);
	listener = listen_at(fd_address(socks[0]), &server);
	connect_start(&connecting, fd_address(socks[1]), &client, SOON_MS);
	assert_true(rf_accept(listener, rf_test_deadline(SOON_MS), &channel) < 0);
	assert_int_equal(thread_join(&connecting.thread), -ENOTSUP);
	assert_has(connecting.reason, "client other, 16 bytes, server sample, 24 bytes");
	rf_listener_close(listener);
	close(socks[1]);
}

static void halves_tell_what_they_hold(void **state)
{
	struct rf_options options = channel_options(0, 0);
	struct ends ends;

	(void)state;
	assert_int_equal(rf_tx_element_bytes(NULL), 0);
	assert_int_equal(rf_rx_element_bytes(NULL), 0);
	ends_open(&ends, &options, &options);
	assert_int_equal(rf_tx_element_bytes(rf_channel_tx(ends.client)), 0);
	assert_int_equal(rf_rx_element_bytes(rf_channel_rx(ends.server)), 0);
	ends_close(&ends);
	open_streams(&ends);
	assert_int_equal(rf_tx_element_bytes(rf_channel_tx(ends.client)), 1);
	assert_int_equal(rf_rx_element_bytes(rf_channel_rx(ends.client)), 1);
	ends_close(&ends);
	open_samples(&ends);
	assert_int_equal(rf_tx_element_bytes(rf_channel_tx(ends.server)), 24);
	assert_int_equal(rf_rx_element_bytes(rf_channel_rx(ends.client)), 24);
	ends_close(&ends);
}

/* Streams. */

static int send_text(struct rf_tx *tx, const char *a, const char *b)
{
	struct iovec parts[] = {
		{(void *)(uintptr_t)a, strlen(a)}, {(void *)(uintptr_t)b, strlen(b)}};

	return rf_tx_send(tx, parts, 2, 0);
}

static void a_stream_has_no_boundaries(void **state)
{
	struct rf_message m;
	struct ends ends;
	struct rf_rx *rx;
	struct rf_tx *tx;

	(void)state;
	open_streams(&ends);
	tx = rf_channel_tx(ends.client);
	rx = rf_channel_rx(ends.server);
	assert_int_equal(send_text(tx, "ab", "cde"), 0);
	assert_int_equal(send_text(tx, "", "f"), 0);
	assert_int_equal(send_text(tx, "", ""), -EINVAL);
	assert_int_equal(rf_rx_borrow(rx, 0, &m, 1), 1);
	assert_int_equal(m.len, 6);
	assert_memory_equal(m.data, "abcdef", 6);
	assert_int_equal(rf_rx_release(rx, &m, 1), 0);
	assert_int_equal(rf_rx_borrow(rx, 0, &m, 1), -EAGAIN);
	assert_int_equal(rf_tx_end(tx), 0);
	assert_int_equal(rf_rx_borrow(rx, 0, &m, 1), 0);
	ends_close(&ends);
}

static void a_copy_takes_what_fits(void **state)
{
	struct rf_message m;
	struct ends ends;
	struct rf_rx *rx;
	char buffer[8];

	(void)state;
	open_streams(&ends);
	rx = rf_channel_rx(ends.server);
	assert_int_equal(send_text(rf_channel_tx(ends.client), "abc", "def"), 0);
	assert_int_equal(rf_rx_copy(rx, 0, buffer, 0, &m), -EMSGSIZE);
	assert_int_equal(rf_rx_copy(rx, 0, buffer, 4, &m), 1);
	assert_int_equal(m.len, 4);
	assert_memory_equal(m.data, "abcd", 4);
	assert_int_equal(rf_rx_copy(rx, 0, buffer, 4, &m), 1);
	assert_int_equal(m.len, 2);
	assert_memory_equal(m.data, "ef", 2);
	assert_int_equal(rf_rx_copy(rx, 0, buffer, 4, &m), -EAGAIN);
	assert_int_equal(channel_stats(ends.server).rx.bytes_copied, 6);
	ends_close(&ends);
}

/* More than the ring holds, in odd pieces, through both kinds of waiting. */

enum { FLOOD = 3000000 };

static int send_flood(void *arg)
{
	uint64_t deadline = rf_test_deadline(60000);
	struct rf_buffer b;
	size_t sent = 0, i;
	int r;

	while (sent < FLOOD) {
		r = rf_tx_reserve(arg, 1 + sent * 7 % 30000, deadline, &b);
		if (r < 0)
			return r;
		if (b.len > FLOOD - sent)
			b.len = FLOOD - sent;
		for (i = 0; i < b.len; i++)
			((unsigned char *)b.data)[i] = (unsigned char)((sent + i) * 131 >> 3);
		sent += b.len;
		r = rf_tx_commit(arg, &b);
		if (r >= 0)
			r = rf_tx_publish(arg);
		if (r < 0)
			return r;
	}
	return rf_tx_end(arg);
}

static int take_flood(struct rf_rx *rx)
{
	uint64_t deadline = rf_test_deadline(60000);
	struct rf_message m;
	size_t taken = 0, i;
	int n;

	while ((n = rf_rx_borrow(rx, deadline, &m, 1)) > 0) {
		for (i = 0; i < m.len; i++)
			if (((const unsigned char *)m.data)[i] !=
				(unsigned char)((taken + i) * 131 >> 3))
				return -EILSEQ;
		taken += m.len;
		n = rf_rx_release(rx, &m, 1);
		if (n < 0)
			return n;
	}
	return n < 0 ? n : taken == FLOOD ? 0 : -ENODATA;
}

static void a_stream_longer_than_its_ring_arrives_whole(void **state)
{
	struct thread sender;
	struct ends ends;
	int r;

	(void)state;
	open_streams(&ends);
	thread_start(&sender, send_flood, rf_channel_tx(ends.client));
	r = take_flood(rf_channel_rx(ends.server));
	assert_int_equal(thread_join(&sender), 0);
	assert_int_equal(r, 0);
	ends_close(&ends);
}

static void reservations_of_a_view_can_be_cancelled_after_close_in_any_order(void **state)
{
	struct rf_buffer b[3];
	struct ends ends;
	struct rf_tx *tx;

	(void)state;
	open_streams(&ends);
	tx = rf_channel_tx(ends.client);
	assert_int_equal(rf_tx_reserve_span(tx, 100, 0, b, 3), 3);
	assert_int_equal(rf_tx_commit(tx, &b[1]), 0);
	assert_int_equal(rf_tx_cancel(tx, &b[0]), -EINVAL);
	rf_channel_close(ends.client);
	ends.client = NULL;
	assert_int_equal(rf_tx_cancel(tx, &b[0]), 0);
	assert_int_equal(rf_tx_cancel(tx, &b[2]), 0);
	ends_close(&ends);
}

/* Elements. */

static void typed_elements_arrive(void **state)
{
	const struct sample *got = NULL;
	struct sample *samples = NULL;
	struct rf_message m;
	struct rf_buffer b;
	struct ends ends;
	struct rf_tx *tx;
	size_t i, n = 0;

	(void)state;
	open_samples(&ends);
	tx = rf_channel_tx(ends.server);
	assert_int_equal(sample_reserve(tx, 10, 0, &b, &samples), 0);
	for (i = 0; i < 10; i++)
		samples[i].number = i;
	b.len = 7 * sizeof(*samples);
	assert_int_equal(rf_tx_commit(tx, &b), 0);
	assert_int_equal(rf_tx_publish(tx), 0);
	assert_int_equal(sample_borrow(rf_channel_rx(ends.client), 0, &m, &got, &n), 1);
	assert_int_equal(n, 7);
	for (i = 0; i < n; i++)
		assert_int_equal(got[i].number, i);
	assert_int_equal(rf_rx_release(rf_channel_rx(ends.client), &m, 1), 0);
	assert_int_equal(sample_borrow(rf_channel_rx(ends.client), 0, &m, &got, &n), -EAGAIN);
	assert_int_equal(rf_tx_end(tx), 0);
	assert_int_equal(sample_borrow(rf_channel_rx(ends.client), 0, &m, &got, &n), 0);
	ends_close(&ends);
}

static void typed_calls_check_size_and_number(void **state)
{
	const struct other *others;
	struct sample *samples;
	struct rf_message m;
	struct rf_buffer b;
	struct other *room;
	struct ends ends;
	struct rf_tx *tx;
	size_t n;

	(void)state;
	open_samples(&ends);
	tx = rf_channel_tx(ends.server);
	assert_int_equal(other_reserve(tx, 1, 0, &b, &room), -EINVAL);
	assert_int_equal(other_borrow(rf_channel_rx(ends.client), 0, &m, &others, &n), -EINVAL);
	assert_int_equal(other_reserve(NULL, 1, 0, &b, &room), -EINVAL);
	assert_int_equal(sample_reserve(tx, 0, 0, &b, &samples), -EINVAL);
	assert_int_equal(sample_reserve(tx, SIZE_MAX / 8, 0, &b, &samples), -EMSGSIZE);
	assert_int_equal(sample_reserve(tx, RING_BYTES / 48 + 1, 0, &b, &samples), -EMSGSIZE);
	ends_close(&ends);
}

static void a_copy_takes_whole_elements(void **state)
{
	struct sample samples[3] = {{.number = 1}, {.number = 2}, {.number = 3}}, got[3];
	struct iovec part = {samples, sizeof(samples)};
	struct rf_message m;
	struct ends ends;
	struct rf_rx *rx;

	(void)state;
	open_samples(&ends);
	rx = rf_channel_rx(ends.server);
	assert_int_equal(rf_tx_send(rf_channel_tx(ends.client), &part, 1, 0), 0);
	part.iov_len--;
	assert_int_equal(rf_tx_send(rf_channel_tx(ends.client), &part, 1, 0), -EINVAL);
	assert_int_equal(rf_rx_copy(rx, 0, got, sizeof(got[0]) - 1, &m), -EMSGSIZE);
	assert_int_equal(rf_rx_copy(rx, 0, got, sizeof(got) - 1, &m), 1);
	assert_int_equal(m.len, 2 * sizeof(got[0]));
	assert_int_equal(rf_rx_copy(rx, 0, got, sizeof(got) - 1, &m), 1);
	assert_int_equal(m.len, sizeof(got[0]));
	assert_int_equal(got[0].number, 3);
	ends_close(&ends);
}

static void p1_a_tail_within_an_element_ends_the_channel(void **state)
{
	const struct sample *got;
	struct rf_message m;
	struct ends ends;
	size_t n;

	(void)state;
	open_samples(&ends);
	*(uint64_t *)(void *)ends.client->tx.half.own.base = sizeof(struct sample) + 8;
	assert_int_equal(sample_borrow(rf_channel_rx(ends.server), 0, &m, &got, &n), -EPROTO);
	assert_has(rf_channel_reason(ends.server), "tail is not at an element");
	ends_close(&ends);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, leaks_setup, leaks_teardown)
	const struct CMUnitTest tests[] = {
		TEST(options_of_a_type_make_sense_or_are_refused),
		TEST(a_listener_keeps_the_name_of_its_type),
		TEST(another_type_is_refused_at_both_ends),
		TEST(halves_tell_what_they_hold),
		TEST(a_stream_has_no_boundaries),
		TEST(a_copy_takes_what_fits),
		TEST(a_stream_longer_than_its_ring_arrives_whole),
		TEST(reservations_of_a_view_can_be_cancelled_after_close_in_any_order),
		TEST(typed_elements_arrive),
		TEST(typed_calls_check_size_and_number),
		TEST(a_copy_takes_whole_elements),
		TEST(p1_a_tail_within_an_element_ends_the_channel),
	};

	rf_test_limit(120);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
