/* SPDX-License-Identifier: MIT */
/* Channels as their users see them: the verbs, both halves, figures. */
#include "channel-fixture.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void open_plain(struct ends *ends)
{
	struct rf_options options = channel_options(RF_DOORBELL_SOCKET, RF_WAIT_ADAPTIVE);

	ends_open(ends, &options, &options);
}

/* Over fork and exec */

static size_t len_of(uint32_t i)
{
	return i % 17 ? i % 300 : (i * 37) % 20000;
}

static int send_pattern(struct rf_tx *tx, uint32_t i)
{
	struct rf_buffer buffer;
	int r = rf_tx_reserve(tx, len_of(i), rf_test_deadline(SOON_MS), &buffer);

	if (r < 0)
		return r;
	memset(buffer.data, (int)(i & 255), buffer.len);
	buffer.tag = i;
	r = rf_tx_commit(tx, &buffer);
	return r < 0 ? r : rf_tx_publish(tx);
}

static bool is_pattern(const struct rf_message *message, uint32_t i)
{
	const unsigned char *byte = message->data;
	size_t k;

	if (message->len != len_of(i) || message->tag != i)
		return false;
	for (k = 0; k < message->len; k++)
		if (byte[k] != (i & 255))
			return false;
	return true;
}

static int send_all(void *arg)
{
	struct rf_tx *tx = rf_channel_tx(arg);
	uint32_t i;
	int r = 0;

	for (i = 0; i < rf_test_rounds(3000) && !r; i++)
		r = send_pattern(tx, i);
	return r ? r : rf_tx_end(tx);
}

static void echo_all(uint32_t doorbell, uint32_t wait)
{
	struct rf_channel *channel;
	pid_t pid = accept_peer("echo", doorbell, wait, &channel);
	struct rf_message message;
	struct thread sender;
	uint32_t i;

	thread_start(&sender, send_all, channel);
	for (i = 0; i < rf_test_rounds(3000); i++) {
		assert_int_equal(rf_rx_borrow(rf_channel_rx(channel), rf_test_deadline(SOON_MS),
					 &message, 1),
			1);
		assert_true(is_pattern(&message, i));
		assert_int_equal(rf_rx_release(rf_channel_rx(channel), &message, 1), 0);
	}
	assert_int_equal(
		rf_rx_borrow(rf_channel_rx(channel), rf_test_deadline(SOON_MS), &message, 1), 0);
	assert_int_equal(thread_join(&sender), 0);
	assert_int_equal(channel_stats(channel).doorbell, doorbell);
	assert_int_equal(channel_stats(channel).rx.records, i);
	rf_channel_close(channel);
	assert_int_equal(rf_test_wait(pid, SOON_MS), 0);
}

static void records_pass_both_ways_between_processes(void **state)
{
	static const uint32_t bells[] = {RF_DOORBELL_EVENTFD, RF_DOORBELL_SOCKET};
	static const uint32_t waits[] = {RF_WAIT_ADAPTIVE, RF_WAIT_SPIN, RF_WAIT_SLEEP};
	unsigned i;

	(void)state;
	for (i = 0; i < 6; i++)
		echo_all(bells[i / 3], waits[i % 3]);
}

/* Halves */

static void simplex_has_one_half_at_each_end(void **state)
{
	struct rf_options options = channel_options(RF_DOORBELL_EVENTFD, 0), client = options;
	struct ends ends;
	uint64_t until;

	(void)state;
	client.direction = RF_SEND;
	ends_open(&ends, &options, &client);
	assert_null(rf_channel_tx(ends.server));
	assert_null(rf_channel_rx(ends.client));
	assert_int_equal(send_number(rf_channel_tx(ends.client), 5, 0), 0);
	assert_int_equal(take_numbers(rf_channel_rx(ends.server), 5, 1, 0), 0);
	assert_int_equal(rf_channel_arm(ends.server, RF_SPACE, 8, &until), -EINVAL);
	assert_int_equal(rf_channel_arm(ends.client, RF_DATA, 0, &until), -EINVAL);
	assert_int_equal(channel_stats(ends.server).tx.ring_bytes, 0);
	assert_int_equal(channel_stats(ends.server).rx.ring_bytes, RING_BYTES);
	ends_close(&ends);
}

static void null_is_einval_everywhere(void **state)
{
	struct rf_message message;
	struct rf_buffer buffer = {.len = 0};
	struct iovec part = {.iov_len = 0};
	uint64_t until;

	(void)state;
	assert_int_equal(rf_tx_reserve(NULL, 1, 0, &buffer), -EINVAL);
	assert_int_equal(rf_tx_reserve_span(NULL, 1, 0, &buffer, 1), -EINVAL);
	assert_int_equal(rf_tx_commit(NULL, &buffer), -EINVAL);
	assert_int_equal(rf_tx_commit_span(NULL, &buffer, 1), -EINVAL);
	assert_int_equal(rf_tx_cancel(NULL, &buffer), -EINVAL);
	assert_int_equal(rf_tx_publish(NULL), -EINVAL);
	assert_int_equal(rf_tx_send(NULL, &part, 1, 0), -EINVAL);
	assert_int_equal(rf_tx_end(NULL), -EINVAL);
	assert_int_equal(rf_rx_borrow(NULL, 0, &message, 1), -EINVAL);
	assert_int_equal(rf_rx_release(NULL, &message, 1), -EINVAL);
	assert_int_equal(rf_rx_copy(NULL, 0, &until, sizeof(until), &message), -EINVAL);
	assert_int_equal(rf_channel_fd(NULL), -EINVAL);
	assert_int_equal(rf_channel_process(NULL), -EINVAL);
	assert_int_equal(rf_channel_arm(NULL, RF_DATA, 0, &until), -EINVAL);
	assert_int_equal(rf_channel_peer(NULL, NULL), -EINVAL);
	assert_int_equal(rf_channel_stats(NULL, NULL), -EINVAL);
	assert_null(rf_channel_tx(NULL));
	assert_null(rf_channel_rx(NULL));
	assert_string_equal(rf_channel_reason(NULL), "");
	rf_channel_stop(NULL);
	rf_channel_close(NULL);
}

static void send_gathers_parts_into_one_record(void **state)
{
	char one[] = "ring", two[] = "fort";
	struct iovec parts[] = {{one, 4}, {NULL, 0}, {two, 4}};
	struct iovec huge[] = {{one, SIZE_MAX}, {two, 4}};
	struct rf_message message;
	struct ends ends;

	(void)state;
	open_plain(&ends);
	assert_int_equal(rf_tx_send(rf_channel_tx(ends.client), parts, 3, 0), 0);
	assert_int_equal(rf_tx_send(rf_channel_tx(ends.client), parts, 0, 0), 0);
	assert_int_equal(rf_tx_send(rf_channel_tx(ends.client), huge, 2, 0), -EINVAL);
	assert_int_equal(rf_tx_send(rf_channel_tx(ends.client), parts, -1, 0), -EINVAL);
	assert_int_equal(rf_rx_borrow(rf_channel_rx(ends.server), 0, &message, 1), 1);
	assert_int_equal(message.len, 8);
	assert_memory_equal(message.data, "ringfort", 8);
	assert_int_equal(rf_rx_release(rf_channel_rx(ends.server), &message, 1), 0);
	assert_int_equal(rf_rx_borrow(rf_channel_rx(ends.server), 0, &message, 1), 1);
	assert_int_equal(message.len, 0);
	assert_int_equal(rf_rx_release(rf_channel_rx(ends.server), &message, 1), 0);
	assert_int_equal(channel_stats(ends.client).tx.bytes_copied, 8);
	ends_close(&ends);
}

static void a_span_is_committed_and_borrowed_at_once(void **state)
{
	struct rf_buffer buffers[8];
	struct rf_message messages[8];
	struct ends ends;
	int i;

	(void)state;
	open_plain(&ends);
	assert_int_equal(rf_tx_reserve_span(rf_channel_tx(ends.client), 24, 0, buffers, 8), 8);
	for (i = 0; i < 8; i++)
		buffers[i].tag = (uint32_t)i;
	assert_int_equal(rf_tx_commit_span(rf_channel_tx(ends.client), buffers, 8), 0);
	assert_int_equal(rf_rx_borrow(rf_channel_rx(ends.server), 0, messages, 8), -EAGAIN);
	assert_int_equal(rf_tx_publish(rf_channel_tx(ends.client)), 0);
	assert_int_equal(rf_rx_borrow(rf_channel_rx(ends.server), 0, messages, 8), 8);
	for (i = 0; i < 8; i++)
		assert_int_equal(messages[i].tag, i);
	assert_int_equal(rf_rx_release(rf_channel_rx(ends.server), &messages[1], 1), -EINVAL);
	assert_int_equal(rf_rx_release(rf_channel_rx(ends.server), messages, 8), 0);
	assert_int_equal(channel_stats(ends.client).tx.records, 8);
	assert_int_equal(channel_stats(ends.server).rx.bytes, 8 * 24);
	ends_close(&ends);
}

static void a_record_over_half_the_ring_is_emsgsize(void **state)
{
	struct rf_buffer buffer = {.len = 99};
	struct ends ends;
	uint64_t until;

	(void)state;
	open_plain(&ends);
	assert_int_equal(
		rf_tx_reserve(rf_channel_tx(ends.client), RING_BYTES / 2 - 7, RF_FOREVER, &buffer),
		-EMSGSIZE);
	assert_int_equal(
		rf_channel_arm(ends.client, RF_SPACE, RING_BYTES / 2 - 7, &until), -EMSGSIZE);
	assert_int_equal(buffer.len, 99);
	assert_int_equal(
		rf_tx_reserve(rf_channel_tx(ends.client), RING_BYTES / 2 - 8, 0, &buffer), 0);
	assert_int_equal(rf_tx_cancel(rf_channel_tx(ends.client), &buffer), 0);
	ends_close(&ends);
}

/* Copies */

static void copy_leaves_a_record_that_is_too_long(void **state)
{
	struct rf_message message = {.len = 77};
	struct ends ends;
	uint64_t number = 0;
	char small[4];

	(void)state;
	open_plain(&ends);
	assert_int_equal(send_number(rf_channel_tx(ends.client), 42, 0), 0);
	assert_int_equal(rf_rx_copy(rf_channel_rx(ends.server), 0, small, sizeof(small), &message),
		-EMSGSIZE);
	assert_int_equal(message.len, 77);
	assert_int_equal(
		rf_rx_copy(rf_channel_rx(ends.server), 0, &number, sizeof(number), &message), 1);
	assert_int_equal(number, 42);
	assert_ptr_equal(message.data, &number);
	assert_int_equal(channel_stats(ends.server).rx.bytes_copied, 8);
	assert_int_equal(channel_stats(ends.server).rx.records, 1);
	ends_close(&ends);
}

static void copy_is_einval_while_something_is_borrowed(void **state)
{
	struct rf_message message, other;
	struct ends ends;
	uint64_t number;

	(void)state;
	open_plain(&ends);
	assert_int_equal(send_number(rf_channel_tx(ends.client), 1, 0), 0);
	assert_int_equal(send_number(rf_channel_tx(ends.client), 2, 0), 0);
	assert_int_equal(rf_rx_borrow(rf_channel_rx(ends.server), 0, &message, 1), 1);
	assert_int_equal(rf_rx_copy(rf_channel_rx(ends.server), 0, &number, sizeof(number), &other),
		-EINVAL);
	assert_int_equal(rf_rx_release(rf_channel_rx(ends.server), &message, 1), 0);
	assert_int_equal(
		rf_rx_copy(rf_channel_rx(ends.server), 0, &number, sizeof(number), &other), 1);
	assert_int_equal(number, 2);
	ends_close(&ends);
}

static void p4_copy_is_stable(void **state)
{
	struct rf_message message;
	struct rf_buffer buffer;
	struct ends ends;
	uint64_t number = 7, copy = 0;

	(void)state;
	open_plain(&ends);
	assert_int_equal(rf_tx_reserve(rf_channel_tx(ends.client), 8, 0, &buffer), 0);
	memcpy(buffer.data, &number, sizeof(number));
	assert_int_equal(rf_tx_commit(rf_channel_tx(ends.client), &buffer), 0);
	assert_int_equal(rf_tx_publish(rf_channel_tx(ends.client)), 0);
	assert_int_equal(
		rf_rx_copy(rf_channel_rx(ends.server), 0, &copy, sizeof(copy), &message), 1);
	memset(buffer.data, 0xff, sizeof(number)); /* the sender goes on writing */
	assert_int_equal(copy, 7);
	assert_int_equal(message.len, 8);
	ends_close(&ends);
}

/* Figures and identity */

static void structs_are_filled_as_far_as_they_reach(void **state)
{
	struct rf_stats stats = {.size = offsetof(struct rf_stats, fence), .fence = 99};
	struct rf_peer peer = {.size = offsetof(struct rf_peer, flags), .flags = 99};
	struct ends ends;

	(void)state;
	open_plain(&ends);
	assert_int_equal(rf_channel_stats(ends.server, &stats), 0);
	assert_int_equal(stats.doorbell, RF_DOORBELL_SOCKET);
	assert_int_equal(stats.fence, 99);
	assert_int_equal(stats.size, offsetof(struct rf_stats, fence));
	assert_int_equal(rf_channel_peer(ends.server, &peer), 0);
	assert_int_equal(peer.uid, geteuid());
	assert_int_equal(peer.pid, getpid());
	assert_int_equal(peer.flags, 99);
	peer.size = 0;
	assert_int_equal(rf_channel_peer(ends.server, &peer), -EINVAL);
	stats.size = 0;
	assert_int_equal(rf_channel_stats(ends.server, &stats), -EINVAL);
	assert_string_equal(rf_channel_reason(ends.server), "");
	ends_close(&ends);
}

static void peer_is_who_connected(void **state)
{
	struct rf_peer peer = {.size = sizeof(peer)};
	struct rf_channel *channel;
	pid_t pid;

	(void)state;
	pid = accept_peer("stay", RF_DOORBELL_AUTO, RF_WAIT_ADAPTIVE, &channel);
	assert_int_equal(rf_channel_peer(channel, &peer), 0);
	assert_int_equal(peer.pid, pid);
	assert_int_equal(peer.uid, geteuid());
	assert_int_equal(peer.gid, getegid());
	assert_int_equal(peer.flags, RF_PEER_PIDFD | RF_PEER_SAME);
	rf_channel_close(channel);
	assert_int_equal(rf_test_wait(pid, SOON_MS), 32);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, leaks_setup, leaks_teardown)

/* From some length on another way to copy is taken. */
static void large_records_are_copied_whole(void **state)
{
	static const size_t lens[] = {RF__LARGE_COPY - 1, RF__LARGE_COPY, RF__LARGE_COPY + 4099};
	struct rf_options options = channel_options(RF_DOORBELL_AUTO, RF_WAIT_ADAPTIVE);
	unsigned char *from = malloc(2 * RF__LARGE_COPY), *to = malloc(2 * RF__LARGE_COPY);
	struct rf_message message;
	struct ends ends;

	(void)state;
	options.ring_bytes = 4 * RF__LARGE_COPY;
	ends_open(&ends, &options, &options);
	for (unsigned i = 0; i < sizeof(lens) / sizeof(*lens); i++) {
		struct iovec part = {from, lens[i]};

		for (size_t k = 0; k < lens[i]; k++)
			from[k] = (unsigned char)(k * 7 + k / 251 + i);
		memset(to, 0, 2 * RF__LARGE_COPY);
		assert_int_equal(rf_tx_send(rf_channel_tx(ends.client), &part, 1, 0), 0);
		assert_int_equal(
			rf_rx_copy(rf_channel_rx(ends.server), 0, to, 2 * RF__LARGE_COPY, &message),
			1);
		assert_int_equal(message.len, lens[i]);
		assert_memory_equal(to, from, lens[i]);
		assert_int_equal(to[lens[i]], 0);
	}
	ends_close(&ends);
	free(from);
	free(to);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(records_pass_both_ways_between_processes),
		TEST(simplex_has_one_half_at_each_end),
		TEST(null_is_einval_everywhere),
		TEST(send_gathers_parts_into_one_record),
		TEST(a_span_is_committed_and_borrowed_at_once),
		TEST(a_record_over_half_the_ring_is_emsgsize),
		TEST(copy_leaves_a_record_that_is_too_long),
		TEST(copy_is_einval_while_something_is_borrowed),
		TEST(p4_copy_is_stable),
		TEST(structs_are_filled_as_far_as_they_reach),
		TEST(peer_is_who_connected),
		TEST(large_records_are_copied_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
