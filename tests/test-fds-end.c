/* SPDX-License-Identifier: MIT */
/* Descriptors beside the data: however a message, a channel or a process ends, none stays behind; and
 * where the kernel or we run short, nothing is lost unsaid. */
#include "fds-fixture.h"

/* The kernel's shortages, made up. */
static _Thread_local int send_fails; /* errno of messages with descriptors */

ssize_t __real_sendmsg(int sock, const struct msghdr *message, int flags);
ssize_t __wrap_sendmsg(int sock, const struct msghdr *message, int flags);
ssize_t __wrap_sendmsg(int sock, const struct msghdr *message, int flags)
{
	if (!send_fails || !message->msg_controllen)
		return __real_sendmsg(sock, message, flags);
	errno = send_fails;
	return -1;
}

/* Nothing stays behind: the counts of descriptors before and after every test are compared */

static void run_cancel(struct ends *ends)
{
	struct rf_tx *tx = rf_channel_tx(ends->client);
	struct rf_rx *rx = rf_channel_rx(ends->server);
	struct rf_message message;
	struct rf_buffer buffers[2];
	int fd = numbered(1);
	size_t before = rf_test_count_fds();
	unsigned i;

	for (i = 0; i < 40; i++) {
		assert_int_equal(rf_tx_reserve_span(tx, 8, 0, buffers, 2), 2);
		assert_int_equal(rf_tx_attach(tx, &buffers[0], &fd, 1, 0), 0);
		assert_int_equal(rf_tx_attach(tx, &buffers[1], &fd, 1, 0), 0);
		assert_int_equal(rf_tx_cancel(tx, &buffers[1]), 0);
		assert_int_equal(rf_tx_cancel(tx, &buffers[0]), 0);
		assert_int_equal(rf_test_count_fds(), before);
	}
	assert_int_equal(rf_tx_reserve_span(tx, 8, 0, buffers, 2), 2);
	assert_int_equal(rf_tx_attach(tx, &buffers[0], &fd, 1, 0), 0);
	assert_int_equal(rf_tx_cancel(tx, &buffers[0]), 0);
	assert_int_equal(rf_tx_commit(tx, &buffers[1]), 0);
	assert_int_equal(rf_tx_publish(tx), 0);
	message = borrow_one(rx);
	assert_int_equal(message.n_fds, 0);
	assert_int_equal(rf_rx_release(rx, &message, 1), 0);
	close(fd);
}

static void cancel_closes(void **state)
{
	(void)state;
	with_each(run_cancel);
}

static void run_end(struct ends *ends)
{
	struct rf_tx *tx = rf_channel_tx(ends->client);
	struct rf_rx *rx = rf_channel_rx(ends->server);
	struct rf_message messages[3];
	struct rf_buffer buffers[3];
	int fd = numbered(1);
	unsigned i;

	assert_int_equal(rf_tx_reserve_span(tx, 8, 0, buffers, 3), 3);
	for (i = 0; i < 3; i++)
		assert_int_equal(rf_tx_attach(tx, &buffers[i], &fd, 1, 0), 0);
	assert_int_equal(rf_tx_commit(tx, &buffers[2]), 0);
	assert_int_equal(rf_tx_commit(tx, &buffers[0]), 0);
	assert_int_equal(rf_tx_end(tx), 0);
	assert_int_equal(rf_tx_attach(tx, &buffers[1], &fd, 1, 0), -EINVAL);
	assert_int_equal(rf_rx_borrow(rx, 0, messages, 3), 2);
	assert_int_equal(messages[0].n_fds + messages[1].n_fds, 2);
	assert_int_equal(rf_rx_release(rx, messages, 2), 0);
	assert_int_equal(rf_rx_borrow(rx, 0, messages, 3), 0);
	close(fd);
}

static void end_sends_what_is_committed_and_closes_the_rest(void **state)
{
	(void)state;
	with_each(run_end);
}

static void run_release(struct ends *ends)
{
	struct rf_tx *tx = rf_channel_tx(ends->client);
	struct rf_rx *rx = rf_channel_rx(ends->server);
	struct rf_message message, second;
	int fds[RF_FDS_MAX];
	size_t before = rf_test_count_fds();

	assert_int_equal(send_numbered(tx, 0, 3, 0), 0);
	assert_int_equal(send_numbered(tx, 10, 2, 0), 0);
	message = borrow_one(rx);
	second = borrow_one(rx);
	assert_int_equal(rf_test_count_fds(), before + 5);
	assert_int_equal(rf_rx_take_fds(rx, &message, fds, 2), -EMSGSIZE);
	assert_int_equal(rf_rx_take_fds(rx, &message, fds, 3), 3);
	assert_int_equal(rf_rx_take_fds(rx, &message, fds, 3), 0);
	assert_int_equal(rf_rx_release(rx, &message, 1), 0);
	assert_int_equal(rf_rx_take_fds(rx, &message, fds, 3), -EINVAL);
	assert_int_equal(rf_test_count_fds(), before + 5);
	assert_int_equal(number_of(fds[0]) + number_of(fds[1]) + number_of(fds[2]), 3);
	assert_int_equal(rf_rx_release(rx, &second, 1), 0);
	assert_int_equal(rf_test_count_fds(), before);
	assert_int_equal(rf_rx_take_fds(NULL, &second, fds, 3), -EINVAL);
}

static void release_closes_what_was_not_taken(void **state)
{
	(void)state;
	with_each(run_release);
}

static void run_copy(struct ends *ends)
{
	struct rf_tx *tx = rf_channel_tx(ends->client);
	struct rf_rx *rx = rf_channel_rx(ends->server);
	struct rf_message message;
	size_t before = rf_test_count_fds();
	uint64_t number;
	int fd;

	assert_int_equal(send_numbered(tx, 1, 2, 0), 0);
	assert_int_equal(send_numbered(tx, 5, 1, 0), 0);
	assert_int_equal(rf_rx_copy(rx, 0, &number, 4, &message), -EMSGSIZE);
	assert_int_equal(rf_rx_copy(rx, 0, &number, 4, &message), -EMSGSIZE);
	assert_int_equal(rf_rx_copy(rx, 0, &number, 8, &message), 1);
	assert_int_equal(message.n_fds, 0);
	assert_int_equal(rf_test_count_fds(), before + 1); /* the other message's */
	assert_int_equal(rf_rx_copy(rx, 0, &number, 4, &message), -EMSGSIZE);
	message = borrow_one(rx);
	assert_int_equal(rf_rx_take_fds(rx, &message, &fd, 1), 1);
	assert_int_equal(number_of(fd), 5);
	assert_int_equal(rf_rx_release(rx, &message, 1), 0);
}

static void copy_closes_them_and_one_that_is_too_long_keeps_them(void **state)
{
	(void)state;
	with_each(run_copy);
}

static void run_close(struct ends *ends)
{
	struct rf_tx *tx = rf_channel_tx(ends->client);
	struct rf_rx *rx = rf_channel_rx(ends->server);
	struct rf_message message;
	struct rf_buffer buffer;
	int fd = numbered(1);
	unsigned i;

	for (i = 0; i < 6; i++)
		assert_int_equal(send_numbered(tx, i, 1, 0), 0);
	message = borrow_one(rx);
	assert_int_equal(rf_channel_process(ends->server), 0);
	assert_int_equal(rf_tx_reserve(tx, 8, 0, &buffer), 0);
	assert_int_equal(rf_tx_attach(tx, &buffer, &fd, 1, 0), 0);
	rf_channel_close(ends->server);
	rf_channel_close(ends->client);
	assert_int_equal(rf_rx_release(rx, &message, 1), 0);
	assert_int_equal(rf_tx_cancel(tx, &buffer), 0);
	ends->client = ends->server = NULL;
	close(fd);
}

static void close_closes_what_is_anywhere(void **state)
{
	(void)state;
	with_each(run_close);
}

static int child_closes(void *arg)
{
	struct ends *ends = arg;
	size_t before = rf_test_count_fds();
	struct rf_message message = {.id = 0};
	struct rf_buffer buffer = {.id = 0};
	int fd = 0;

	if (rf_rx_take_fds(rf_channel_rx(ends->server), &message, &fd, 1) != -EBADF ||
		rf_tx_attach(rf_channel_tx(ends->client), &buffer, &fd, 1, 0) != -EBADF)
		return 1;
	ends_close(ends);
	return rf_test_count_fds() + 2 <= before ? 0 : 2;
}

static void run_fork(struct ends *ends)
{
	struct rf_rx *rx = rf_channel_rx(ends->server);
	struct rf_message message;
	struct rf_buffer buffer;
	int fd = numbered(1), got;

	assert_int_equal(send_numbered(rf_channel_tx(ends->client), 1, 1, 0), 0);
	message = borrow_one(rx);
	assert_int_equal(rf_tx_reserve(rf_channel_tx(ends->client), 8, 0, &buffer), 0);
	assert_int_equal(rf_tx_attach(rf_channel_tx(ends->client), &buffer, &fd, 1, 0), 0);
	assert_int_equal(rf_test_wait(rf_test_child(child_closes, ends, 0, 0), SOON_MS), 0);
	assert_int_equal(rf_rx_take_fds(rx, &message, &got, 1), 1);
	assert_int_equal(number_of(got), 1);
	assert_int_equal(rf_tx_commit(rf_channel_tx(ends->client), &buffer), 0);
	assert_int_equal(rf_tx_publish(rf_channel_tx(ends->client)), 0);
	assert_int_equal(rf_rx_release(rx, &message, 1), 0);
	assert_int_equal(take_one(rx), 1);
	close(fd);
}

static void c13_a_child_that_closes_takes_nothing_away(void **state)
{
	(void)state;
	with_each(run_fork);
}

/* Shortages */

static void run_shortage(struct ends *ends)
{
	static const int errors[] = {ETOOMANYREFS, ENOBUFS, ENOMEM};
	struct rf_tx *tx = rf_channel_tx(ends->client);
	struct rf_rx *rx = rf_channel_rx(ends->server);
	struct rf_message messages[3];
	int fd = numbered(1);
	unsigned i;

	for (i = 0; i < 3; i++) {
		assert_int_equal(commit_with(tx, 0, NULL, 0, 0), 0);
		assert_int_equal(commit_with(tx, 1, &fd, 1, 0), 0);
		assert_int_equal(commit_with(tx, 2, NULL, 0, 0), 0);
		send_fails = errors[i];
		assert_int_equal(rf_tx_publish(tx), -EAGAIN);
		assert_int_equal(rf_tx_publish(tx), -EAGAIN);
		if (i == 2)
			assert_int_equal(rf_tx_end(tx), -EAGAIN);
		send_fails = 0;
		assert_int_equal(i == 2 ? rf_tx_end(tx) : rf_tx_publish(tx), 0);
		assert_int_equal(rf_rx_borrow(rx, 0, messages, 3), 3);
		assert_int_equal(messages[1].n_fds, 1);
		assert_int_equal(rf_rx_release(rx, messages, 3), 0);
	}
	close(fd);
}

static void c3_a_message_whose_descriptors_cannot_be_sent_now_is_held_back(void **state)
{
	(void)state;
	with_each(run_shortage);
}

/* An end that could not be does not take from a slot what belongs to it. */
static void an_open_slot_keeps_its_descriptors_when_the_end_has_to_wait(void **state)
{
	struct rf_message messages[2];
	struct rf_buffer buffer;
	struct ends ends;
	int fd = numbered(1);

	(void)state;
	open_fds(&ends, RF_DOORBELL_SOCKET, RF_SLOTS, ALL_KINDS);
	assert_int_equal(rf_tx_reserve(rf_channel_tx(ends.client), 8, 0, &buffer), 0);
	assert_int_equal(rf_tx_attach(rf_channel_tx(ends.client), &buffer, &fd, 1, 0), 0);
	assert_int_equal(commit_with(rf_channel_tx(ends.client), 0, &fd, 1, 0), 0);
	send_fails = ENOMEM;
	assert_int_equal(rf_tx_end(rf_channel_tx(ends.client)), -EAGAIN);
	send_fails = 0;
	assert_int_equal(rf_tx_commit(rf_channel_tx(ends.client), &buffer), 0);
	assert_int_equal(rf_tx_publish(rf_channel_tx(ends.client)), 0);
	assert_int_equal(rf_rx_borrow(rf_channel_rx(ends.server), 0, messages, 2), 2);
	assert_int_equal(messages[1].n_fds, 1);
	assert_int_equal(rf_rx_release(rf_channel_rx(ends.server), messages, 2), 0);
	ends_close(&ends);
	close(fd);
}

/* What stands before it goes out. */
static void records_before_one_that_is_held_back_are_shown(void **state)
{
	struct rf_message message;
	struct ends ends;
	int fd = numbered(1);

	(void)state;
	open_fds(&ends, RF_DOORBELL_SOCKET, RF_BYTES, ALL_KINDS);
	assert_int_equal(commit_with(rf_channel_tx(ends.client), 0, NULL, 0, 0), 0);
	assert_int_equal(commit_with(rf_channel_tx(ends.client), 1, &fd, 1, 0), 0);
	send_fails = ENOBUFS;
	assert_int_equal(rf_tx_publish(rf_channel_tx(ends.client)), -EAGAIN);
	send_fails = 0;
	message = borrow_one(rf_channel_rx(ends.server));
	assert_int_equal(rf_rx_release(rf_channel_rx(ends.server), &message, 1), 0);
	assert_int_equal(rf_rx_borrow(rf_channel_rx(ends.server), 0, &message, 1), -EAGAIN);
	assert_int_equal(rf_tx_publish(rf_channel_tx(ends.client)), 0);
	assert_int_equal(take_one(rf_channel_rx(ends.server)), 1);
	ends_close(&ends);
	close(fd);
}

static void run_emfile(struct ends *ends)
{
	struct rf_rx *rx = rf_channel_rx(ends->server);
	struct rf_message message;
	uint64_t limit;
	int fd;

	assert_int_equal(send_numbered(rf_channel_tx(ends->client), 1, 2, 0), 0);
	fd = dup(0);
	limit = rf_test_limit_files((uint64_t)fd + 1);
	assert_int_equal(rf_rx_borrow(rx, 0, &message, 1), -EPROTO);
	rf_test_limit_files(limit);
	close(fd);
	assert_string_equal(
		rf_channel_reason(ends->server), "descriptors are lost: this process has too many");
}

static void c13_no_room_for_descriptors_ends_the_channel_and_says_so(void **state)
{
	(void)state;
	with_each(run_emfile);
}

static void run_emfile_at_attach(struct ends *ends)
{
	struct rf_tx *tx = rf_channel_tx(ends->client);
	int fds[2] = {numbered(1), numbered(2)}, fd;
	struct rf_buffer buffer;
	uint64_t limit;

	assert_int_equal(rf_tx_reserve(tx, 8, 0, &buffer), 0);
	fd = dup(0);
	limit = rf_test_limit_files((uint64_t)fd + 2);
	assert_int_equal(rf_tx_attach(tx, &buffer, fds, 2, 0), -EMFILE);
	rf_test_limit_files(limit);
	assert_int_equal(rf_tx_attach(tx, &buffer, fds, 2, 0), 0);
	assert_int_equal(rf_tx_commit(tx, &buffer), 0);
	assert_int_equal(rf_tx_publish(tx), 0);
	assert_int_equal(take_one(rf_channel_rx(ends->server)), 2);
	close(fd);
	close(fds[0]);
	close(fds[1]);
}

static void attach_without_room_for_duplicates_can_be_tried_again(void **state)
{
	(void)state;
	with_each(run_emfile_at_attach);
}

/* The caller's own loop: nobody else reads the socket. */
static void run_loop(struct ends *ends)
{
	struct rf_rx *rx = rf_channel_rx(ends->server);
	int fd = rf_channel_fd(ends->server), got;
	struct rf_message message;
	uint64_t until, i;

	for (i = 0; i < 40; i++) {
		while (rf_channel_arm(ends->server, RF_DATA, 0, &until) == 1)
			assert_int_equal(rf_rx_borrow(rx, 0, &message, 1), -EAGAIN);
		assert_int_equal(send_numbered(rf_channel_tx(ends->client), i, 1, 0), 0);
		assert_true(wait_readable(fd, SOON_MS));
		assert_int_equal(rf_channel_process(ends->server), 0);
		message = borrow_one(rx);
		assert_int_equal(rf_rx_take_fds(rx, &message, &got, 1), 1);
		assert_int_equal(number_of(got), i);
		assert_int_equal(rf_rx_release(rx, &message, 1), 0);
	}
}

static void an_event_loop_gets_them_as_well(void **state)
{
	(void)state;
	with_each(run_loop);
}

#define FACT(name) cmocka_unit_test_setup_teardown(name, leaks_setup, leaks_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		FACT(cancel_closes),
		FACT(end_sends_what_is_committed_and_closes_the_rest),
		FACT(release_closes_what_was_not_taken),
		FACT(copy_closes_them_and_one_that_is_too_long_keeps_them),
		FACT(close_closes_what_is_anywhere),
		FACT(c13_a_child_that_closes_takes_nothing_away),
		FACT(c3_a_message_whose_descriptors_cannot_be_sent_now_is_held_back),
		FACT(an_open_slot_keeps_its_descriptors_when_the_end_has_to_wait),
		FACT(records_before_one_that_is_held_back_are_shown),
		FACT(c13_no_room_for_descriptors_ends_the_channel_and_says_so),
		FACT(attach_without_room_for_duplicates_can_be_tried_again),
		FACT(an_event_loop_gets_them_as_well),
	};

	return cmocka_run_group_tests_name("fds-end", tests, NULL, NULL);
}
