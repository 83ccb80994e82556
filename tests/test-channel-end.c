/* SPDX-License-Identifier: MIT */
/* How channels end: the stream ends, somebody closes or dies, or breaks the protocol; and what is
 * still out then. */
#include "channel-fixture.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

static struct leaks leaks;

static int setup(void **state)
{
	(void)state;
	leaks = leaks_begin();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	assert_no_leaks(&leaks);
	return 0;
}

static void open_plain(struct ends *ends)
{
	struct rf_options options = channel_options(RF_DOORBELL_SOCKET, RF_WAIT_ADAPTIVE);

	ends_open(ends, &options, &options);
}

static void killed_sender_is_epipe_after_what_it_published(void **state)
{
	uint64_t number = 0, expected = 0;
	struct rf_channel *channel;
	pid_t pid;
	int r;

	(void)state;
	pid = accept_peer("source", RF_DOORBELL_SOCKET, RF_WAIT_ADAPTIVE, &channel);
	assert_int_equal(
		take_numbers(rf_channel_rx(channel), 0, 100, rf_test_deadline(SOON_MS)), 0);
	rf_test_kill(pid);
	for (expected = 100;
		(r = take_number(rf_channel_rx(channel), rf_test_deadline(SOON_MS), &number)) > 0;
		expected++)
		assert_int_equal(number, expected);
	assert_int_equal(r, -EPIPE);
	assert_string_equal(rf_channel_reason(channel), "the peer is gone");
	assert_int_equal(take_number(rf_channel_rx(channel), 0, &number), -EPIPE);
	assert_int_equal(send_number(rf_channel_tx(channel), 1, RF_FOREVER), -EPIPE);
	assert_int_equal(rf_channel_process(channel), -EPIPE);
	rf_channel_close(channel);
}

static void killed_receiver_is_epipe_for_a_sender_that_waits(void **state)
{
	struct rf_channel *channel;
	uint64_t i;
	pid_t pid;
	int r = 0;

	(void)state;
	pid = accept_peer("stay", RF_DOORBELL_EVENTFD, RF_WAIT_SLEEP, &channel);
	rf_test_kill(pid);
	for (i = 0; !r; i++)
		r = send_number(rf_channel_tx(channel), i, rf_test_deadline(SOON_MS));
	assert_int_equal(r, -EPIPE);
	rf_channel_close(channel);
}

static void end_comes_after_the_last_record(void **state)
{
	struct rf_message message;
	struct rf_buffer open;
	struct ends ends;

	(void)state;
	open_plain(&ends);
	assert_int_equal(send_number(rf_channel_tx(ends.client), 1, 0), 0);
	assert_int_equal(rf_tx_reserve(rf_channel_tx(ends.client), 8, 0, &open), 0);
	assert_int_equal(rf_tx_end(rf_channel_tx(ends.client)), 0);
	assert_int_equal(rf_tx_end(rf_channel_tx(ends.client)), 0);
	assert_int_equal(send_number(rf_channel_tx(ends.client), 2, RF_FOREVER), -EINVAL);
	assert_int_equal(rf_tx_publish(rf_channel_tx(ends.client)), -EINVAL);
	assert_int_equal(rf_tx_commit(rf_channel_tx(ends.client), &open), -EINVAL);
	assert_int_equal(take_numbers(rf_channel_rx(ends.server), 1, 1, 0), 0);
	assert_int_equal(rf_rx_borrow(rf_channel_rx(ends.server), RF_FOREVER, &message, 1), 0);
	assert_int_equal(rf_rx_borrow(rf_channel_rx(ends.server), 0, &message, 1), 0);
	assert_int_equal(send_number(rf_channel_tx(ends.server), 3, 0), 0);
	assert_int_equal(take_numbers(rf_channel_rx(ends.client), 3, 1, 0), 0);
	ends_close(&ends);
}

static void end_survives_the_close_of_the_sender(void **state)
{
	struct ends ends;
	uint64_t number;

	(void)state;
	open_plain(&ends);
	assert_int_equal(send_number(rf_channel_tx(ends.client), 1, 0), 0);
	assert_int_equal(rf_tx_end(rf_channel_tx(ends.client)), 0);
	rf_channel_close(ends.client);
	assert_int_equal(rf_channel_process(ends.server), -EPIPE);
	assert_int_equal(take_numbers(rf_channel_rx(ends.server), 1, 1, RF_FOREVER), 0);
	assert_int_equal(take_number(rf_channel_rx(ends.server), RF_FOREVER, &number), 0);
	assert_int_equal(send_number(rf_channel_tx(ends.server), 1, 0), -EPIPE);
	rf_channel_close(ends.server);
}

static void close_without_end_is_epipe_after_draining(void **state)
{
	struct ends ends;
	uint64_t number;

	(void)state;
	open_plain(&ends);
	assert_int_equal(send_number(rf_channel_tx(ends.client), 1, 0), 0);
	assert_int_equal(send_number(rf_channel_tx(ends.client), 2, 0), 0);
	rf_channel_close(ends.client);
	assert_int_equal(take_numbers(rf_channel_rx(ends.server), 1, 2, RF_FOREVER), 0);
	assert_int_equal(take_number(rf_channel_rx(ends.server), RF_FOREVER, &number), -EPIPE);
	assert_int_equal(rf_tx_end(rf_channel_tx(ends.server)), -EPIPE);
	rf_channel_close(ends.server);
}

/* C10: what is out outlives the channel and the peer. */

static void c10_borrowed_records_stay_readable_after_close(void **state)
{
	struct rf_message messages[2];
	struct ends ends;
	size_t mapped = rf_test_count_memfd_mappings();

	(void)state;
	open_plain(&ends);
	assert_int_equal(send_number(rf_channel_tx(ends.client), 11, 0), 0);
	assert_int_equal(send_number(rf_channel_tx(ends.client), 12, 0), 0);
	assert_int_equal(rf_rx_borrow(rf_channel_rx(ends.server), 0, messages, 2), 2);
	rf_channel_close(ends.client);
	struct rf_rx *rx = rf_channel_rx(ends.server);
	rf_channel_close(ends.server);
	assert_true(rf_test_count_memfd_mappings() > mapped);
	assert_int_equal(*(const uint64_t *)messages[0].data, 11);
	assert_int_equal(rf_rx_release(rx, &messages[0], 1), 0);
	assert_int_equal(*(const uint64_t *)messages[1].data, 12);
	assert_int_equal(rf_rx_release(rx, &messages[1], 1), 0);
	assert_int_equal(rf_test_count_memfd_mappings(), mapped);
}

static void c10_open_reservations_stay_writable_after_close(void **state)
{
	struct rf_buffer buffers[2];
	struct rf_message message;
	struct ends ends;
	size_t mapped = rf_test_count_memfd_mappings();

	(void)state;
	open_plain(&ends);
	struct rf_tx *tx = rf_channel_tx(ends.server);
	struct rf_rx *rx = rf_channel_rx(ends.server);
	assert_int_equal(send_number(rf_channel_tx(ends.client), 1, 0), 0);
	assert_int_equal(rf_rx_borrow(rx, 0, &message, 1), 1);
	assert_int_equal(rf_tx_reserve(tx, 100, 0, &buffers[0]), 0);
	assert_int_equal(rf_tx_reserve(tx, 100, 0, &buffers[1]), 0);
	ends_close(&ends);
	memset(buffers[0].data, 1, 100);
	assert_int_equal(rf_tx_cancel(tx, &buffers[0]), 0);
	memset(buffers[1].data, 1, 100);
	assert_int_equal(rf_tx_cancel(tx, &buffers[1]), 0);
	assert_true(rf_test_count_memfd_mappings() > mapped);
	assert_int_equal(rf_rx_release(rx, &message, 1), 0);
	assert_int_equal(rf_test_count_memfd_mappings(), mapped);
}

static void c10_borrowed_record_outlives_a_killed_peer(void **state)
{
	struct rf_channel *channel;
	struct rf_message message;
	pid_t pid;

	(void)state;
	pid = accept_peer("source", RF_DOORBELL_EVENTFD, RF_WAIT_ADAPTIVE, &channel);
	struct rf_rx *rx = rf_channel_rx(channel);
	assert_int_equal(rf_rx_borrow(rx, rf_test_deadline(SOON_MS), &message, 1), 1);
	rf_test_kill(pid);
	assert_int_equal(*(const uint64_t *)message.data, 0);
	rf_channel_close(channel);
	assert_int_equal(*(const uint64_t *)message.data, 0);
	assert_int_equal(rf_rx_release(rx, &message, 1), 0);
}

/* C9: a child of the dead goes on publishing. */

static void c9_tail_is_not_believed_after_the_death(void **state)
{
	struct rf__producer_words *words;
	struct ends ends;
	uint64_t number;

	(void)state;
	open_plain(&ends);
	assert_int_equal(send_number(rf_channel_tx(ends.client), 1, 0), 0);
	words = ends.client->tx.ring.own;
	shutdown(ends.client->link.sock, SHUT_RDWR);
	assert_int_equal(take_numbers(rf_channel_rx(ends.server), 1, 1, RF_FOREVER), 0);
	assert_int_equal(take_number(rf_channel_rx(ends.server), RF_FOREVER, &number), -EPIPE);
	__atomic_store_n(&words->tail, 32, __ATOMIC_SEQ_CST);
	__atomic_store_n(&words->closed, 1, __ATOMIC_SEQ_CST);
	assert_int_equal(take_number(rf_channel_rx(ends.server), RF_FOREVER, &number), -EPIPE);
	ends_close(&ends);
}

/* P1, P3: a breach ends the channel, both halves of it, for good. */

static void assert_broken(struct ends *ends, const char *reason)
{
	struct rf_channel *channel = ends->server;
	uint64_t number;
	int r;

	assert_int_equal(take_number(rf_channel_rx(channel), RF_FOREVER, &number), -EPROTO);
	assert_int_equal(send_number(rf_channel_tx(channel), 1, RF_FOREVER), -EPROTO);
	assert_int_equal(rf_tx_publish(rf_channel_tx(channel)), -EPROTO);
	assert_int_equal(rf_tx_end(rf_channel_tx(channel)), -EPROTO);
	assert_int_equal(rf_channel_process(channel), -EPROTO);
	assert_string_equal(rf_channel_reason(channel), reason);
	while ((r = take_number(rf_channel_rx(ends->client), RF_FOREVER, &number)) > 0)
		;
	assert_int_equal(r, -EPIPE);
}

static void p1_wrong_tail_breaks_both_halves_for_good(void **state)
{
	struct rf_message borrowed;
	struct ends ends;
	uint64_t number;

	(void)state;
	open_plain(&ends);
	assert_int_equal(send_number(rf_channel_tx(ends.client), 1, 0), 0);
	assert_int_equal(rf_rx_borrow(rf_channel_rx(ends.server), 0, &borrowed, 1), 1);
	__atomic_store_n(&ends.client->tx.ring.own->tail, 8 + 16 + RING_BYTES, __ATOMIC_SEQ_CST);
	assert_int_equal(take_number(rf_channel_rx(ends.server), 0, &number), -EPROTO);
	assert_broken(&ends, "the producer's tail is beyond the ring");
	__atomic_store_n(&ends.client->tx.ring.own->tail, 16, __ATOMIC_SEQ_CST);
	assert_broken(&ends, "the producer's tail is beyond the ring");
	assert_int_equal(*(const uint64_t *)borrowed.data, 1);
	assert_int_equal(rf_rx_release(rf_channel_rx(ends.server), &borrowed, 1), 0);
	ends_close(&ends);
}

static void p1_wrong_head_breaks_both_halves_for_good(void **state)
{
	struct ends ends;
	int r = 0;

	(void)state;
	open_plain(&ends);
	assert_int_equal(send_number(rf_channel_tx(ends.client), 1, 0), 0);
	__atomic_store_n(&ends.client->rx.ring.own->head, UINT64_C(1) << 40, __ATOMIC_SEQ_CST);
	while (!r)
		r = send_number(rf_channel_tx(ends.server), 1, 0);
	assert_int_equal(r, -EPROTO);
	assert_broken(&ends, "the consumer's head is beyond what was published");
	ends_close(&ends);
}

/* The receiving half finds the breach while the sending half writes into a reservation. */
static void p1_a_breach_in_mid_reservation_keeps_no_memory(void **state)
{
	struct rf_buffer buffers[3];
	struct ends ends;
	uint64_t number;
	unsigned end;

	(void)state;
	for (end = 0; end < 2; end++) {
		open_plain(&ends);
		assert_int_equal(
			rf_tx_reserve_span(rf_channel_tx(ends.server), 8, 0, buffers, 3), 3);
		__atomic_store_n(&ends.client->tx.ring.own->tail, 4 * RING_BYTES, __ATOMIC_SEQ_CST);
		assert_int_equal(take_number(rf_channel_rx(ends.server), 0, &number), -EPROTO);
		if (end)
			assert_int_equal(rf_tx_end(rf_channel_tx(ends.server)), -EPROTO);
		else
			assert_int_equal(
				rf_tx_commit_span(rf_channel_tx(ends.server), buffers, 3), -EPROTO);
		ends_close(&ends);
		assert_no_leaks(&leaks);
	}
}

/* An event loop's arming finds the breach, and the next call is a commit. */
static void p1_a_breach_seen_while_arming_ends_the_channel_at_once(void **state)
{
	struct rf_buffer buffer;
	struct ends ends;
	uint64_t until, number;

	(void)state;
	open_plain(&ends);
	assert_int_equal(rf_tx_reserve(rf_channel_tx(ends.server), 8, 0, &buffer), 0);
	__atomic_store_n(&ends.client->rx.ring.own->head, UINT64_C(1) << 40, __ATOMIC_SEQ_CST);
	assert_int_equal(rf_channel_arm(ends.server, RF_SPACE, 8, &until), 1);
	assert_int_equal(rf_channel_process(ends.server), -EPROTO);
	assert_int_equal(rf_tx_commit(rf_channel_tx(ends.server), &buffer), -EPROTO);
	assert_int_equal(take_number(rf_channel_rx(ends.client), RF_FOREVER, &number), -EPIPE);
	ends_close(&ends);
}

static void p3_wrong_header_delivers_nothing_any_more(void **state)
{
	struct rf_buffer buffer;
	struct ends ends;
	uint64_t number;

	(void)state;
	open_plain(&ends);
	assert_int_equal(rf_tx_reserve(rf_channel_tx(ends.client), 8, 0, &buffer), 0);
	assert_int_equal(rf_tx_commit(rf_channel_tx(ends.client), &buffer), 0);
	((uint64_t *)buffer.data)[-1] = RF__LEN_MASK;
	assert_int_equal(rf_tx_publish(rf_channel_tx(ends.client)), 0);
	assert_int_equal(send_number(rf_channel_tx(ends.client), 2, 0), 0);
	assert_int_equal(take_number(rf_channel_rx(ends.server), 0, &number), -EPROTO);
	assert_broken(&ends, "a record reaches beyond what was published");
	ends_close(&ends);
}

/* The kernel as it is in a moment that hardly ever comes: it finds no message, then the peer sends its last one and
 * hangs up, and it says that nothing more will come. */

static pthread_t kept_in_the_dark; /* a client; the linker sends its calls here (--wrap) */
static bool is_dark;
static char dark_path[128];

ssize_t __real_recvmsg(int sock, struct msghdr *header, int flags);
ssize_t __wrap_recvmsg(int sock, struct msghdr *header, int flags);

/* WELCOME has descriptors, which do not fit here. */
static bool is_ready_message(int sock)
{
	char bytes[512];
	struct iovec part = {bytes, sizeof(bytes)};
	struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};

	return __real_recvmsg(sock, &header, MSG_PEEK | MSG_DONTWAIT) > 0 &&
	       !(header.msg_flags & MSG_CTRUNC);
}

ssize_t __wrap_recvmsg(int sock, struct msghdr *header, int flags)
{
	struct pollfd hang_up = {.fd = sock, .events = POLLRDHUP};

	if (!__atomic_load_n(&is_dark, __ATOMIC_ACQUIRE) ||
		!pthread_equal(pthread_self(), kept_in_the_dark) || !is_ready_message(sock))
		return __real_recvmsg(sock, header, flags);
	poll(&hang_up, 1, SOON_MS);
	__atomic_store_n(&is_dark, false, __ATOMIC_RELEASE);
	return 0;
}

static int connect_in_the_dark(void *arg)
{
	struct rf_channel **channel = arg;
	struct rf_options options = channel_options(RF_DOORBELL_SOCKET, RF_WAIT_ADAPTIVE);

	kept_in_the_dark = pthread_self();
	__atomic_store_n(&is_dark, true, __ATOMIC_RELEASE);
	return rf_connect(dark_path, &options, rf_test_deadline(SOON_MS), channel);
}

static void a_channel_that_is_closed_at_once_was_opened(void **state)
{
	struct rf_channel *client = NULL;
	struct rf_listener *listener;
	struct thread thread;
	uint64_t number;

	(void)state;
	snprintf(dark_path, sizeof(dark_path), "%s", fresh_path());
	listener = listen_at(dark_path, NULL);
	thread_start(&thread, connect_in_the_dark, &client);
	rf_channel_close(accept_one(listener));
	assert_int_equal(thread_join(&thread), 0);
	assert_false(is_dark);
	assert_int_equal(
		take_number(rf_channel_rx(client), rf_test_deadline(SOON_MS), &number), -EPIPE);
	rf_channel_close(client);
	rf_listener_close(listener);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(killed_sender_is_epipe_after_what_it_published),
		TEST(killed_receiver_is_epipe_for_a_sender_that_waits),
		TEST(end_comes_after_the_last_record),
		TEST(end_survives_the_close_of_the_sender),
		TEST(a_channel_that_is_closed_at_once_was_opened),
		TEST(close_without_end_is_epipe_after_draining),
		TEST(c10_borrowed_records_stay_readable_after_close),
		TEST(c10_open_reservations_stay_writable_after_close),
		TEST(c10_borrowed_record_outlives_a_killed_peer),
		TEST(c9_tail_is_not_believed_after_the_death),
		TEST(p1_wrong_tail_breaks_both_halves_for_good),
		TEST(p1_wrong_head_breaks_both_halves_for_good),
		TEST(p1_a_breach_in_mid_reservation_keeps_no_memory),
		TEST(p1_a_breach_seen_while_arming_ends_the_channel_at_once),
		TEST(p3_wrong_header_delivers_nothing_any_more),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
