/* SPDX-License-Identifier: MIT */
/* Descriptors that a hostile peer sends: surplus, missing, of wrong kinds, in wrong numbers. Its channel
 * ends with a sentence, and nothing it sent stays. The attacker is the other end, which does by hand
 * what the library would not. */
#include "fds-fixture.h"
#include "raw-client.h"

#include <signal.h>
#include <stdlib.h>

static const uint32_t bells[] = {RF_DOORBELL_EVENTFD, RF_DOORBELL_SOCKET};
static const uint32_t shapes[] = {RF_BYTES, RF_SLOTS};

static const uint32_t most = RF_FD_MEMFD | RF_FD_PIPE;

/* The message that goes with descriptors. */
static void announce(unsigned char message[RF__FDS_BYTES], char what, unsigned n, uint32_t number)
{
	memset(message, 0, RF__FDS_BYTES);
	message[0] = (unsigned char)what;
	message[1] = (unsigned char)n;
	message[4] = number & 0xff;
	message[5] = number >> 8 & 0xff;
	message[6] = number >> 16 & 0xff;
	message[7] = (unsigned char)(number >> 24);
}

/* A data message that says that descriptors belong to it, when none were attached. */
static void publish_marked(struct rf_channel *from)
{
	struct rf_tx *tx = rf_channel_tx(from);
	struct rf_buffer buffer;

	assert_int_equal(rf_tx_reserve(tx, 8, 0, &buffer), 0);
	memset(buffer.data, 0, 8);
	if (tx->slots)
		rf__slots_find(tx->slots, buffer.id)->n_fds = 1;
	else
		assert_int_equal(rf__ring_tx_mark(&tx->ring, buffer.id), 0);
	assert_int_equal(rf_tx_commit(tx, &buffer), 0);
	rf_tx_publish(tx);
}

/* Sends a message with descriptors by hand, and a data message to which they belong. */
static void attack(struct rf_channel *from, const unsigned char *message, size_t len,
	const int *fds, unsigned n)
{
	say(from->link.sock, message, len, fds, n);
	publish_marked(from);
}

/* Sees the channel end for the victim, however it looks: waiting, or from its event loop. */
static void assert_ends(struct rf_channel *victim, const char *sentence)
{
	struct rf_message message;

	assert_int_equal(rf_rx_borrow(rf_channel_rx(victim), 0, &message, 1), -EPROTO);
	assert_string_equal(rf_channel_reason(victim), sentence);
	assert_int_equal(rf_rx_borrow(rf_channel_rx(victim), RF_FOREVER, &message, 1), -EPROTO);
	assert_int_equal(send_number(rf_channel_tx(victim), 1, 0), -EPROTO);
	assert_int_equal(rf_channel_process(victim), -EPROTO);
	assert_false(rf__rx_lent(rf_channel_rx(victim)));
}

/* One attack, by the client and by the server, with each doorbell, over records and slots. */
static void attack_each(uint32_t kinds, void (*run)(struct rf_channel *from), const char *sentence)
{
	struct ends ends;
	unsigned i;

	for (i = 0; i < 8; i++) {
		open_fds(&ends, bells[i & 1], shapes[i >> 1 & 1], kinds);
		run(i & 4 ? ends.client : ends.server);
		assert_ends(i & 4 ? ends.server : ends.client, sentence);
		ends_close(&ends);
	}
}

/* Missing, surplus, wrong numbers */

static void c2_missing_descriptors_end_the_channel(void **state)
{
	(void)state;
	attack_each(most, publish_marked, "a message's descriptors did not come");
}

static void c2_descriptors_where_none_were_agreed_on_end_the_channel(void **state)
{
	(void)state;
	attack_each(0, publish_marked, "the peer announced descriptors that nobody asked for");
}

/* Two in one borrow: the first is as it should be. */
static void c2_nothing_is_handed_out_together_with_a_breach(void **state)
{
	struct rf_message messages[3];
	struct ends ends;
	unsigned i;

	(void)state;
	for (i = 0; i < 4; i++) {
		open_fds(&ends, bells[i & 1], shapes[i >> 1], most);
		assert_int_equal(send_numbered(rf_channel_tx(ends.client), 1, 2, 0), 0);
		publish_marked(ends.client);
		assert_int_equal(rf_rx_borrow(rf_channel_rx(ends.server), 0, messages, 3), -EPROTO);
		assert_ends(ends.server, "a message's descriptors did not come");
		ends_close(&ends);
	}
}

static void send_two_of_three(struct rf_channel *from)
{
	int fds[2] = {numbered(1), numbered(2)};
	unsigned char message[RF__FDS_BYTES];

	announce(message, 'd', 3, 0);
	attack(from, message, sizeof(message), fds, 2);
	close(fds[0]);
	close(fds[1]);
}

static void send_three_for_two(struct rf_channel *from)
{
	int fds[3] = {numbered(1), numbered(2), numbered(3)};
	unsigned char message[RF__FDS_BYTES];
	unsigned i;

	announce(message, 'd', 2, 0);
	attack(from, message, sizeof(message), fds, 3);
	for (i = 0; i < 3; i++)
		close(fds[i]);
}

static void c2_another_count_than_announced_ends_the_channel(void **state)
{
	static const char sentence[] = "the peer sent another number of descriptors than it said";

	(void)state;
	attack_each(most, send_two_of_three, sentence);
	attack_each(most, send_three_for_two, sentence);
}

static void send_none(struct rf_channel *from)
{
	unsigned char message[RF__FDS_BYTES];

	announce(message, 'd', 0, 0);
	attack(from, message, sizeof(message), NULL, 0);
}

static void c2_announced_and_none_sent_ends_the_channel(void **state)
{
	(void)state;
	attack_each(most, send_none, "the peer announced descriptors and sent none");
}

static void send_number_1_first(struct rf_channel *from)
{
	unsigned char message[RF__FDS_BYTES];
	int fd = numbered(1);

	announce(message, 'd', 1, 1);
	attack(from, message, sizeof(message), &fd, 1);
	close(fd);
}

/* Before anybody looks. */
static void send_number_0_twice(struct rf_channel *from)
{
	unsigned char message[RF__FDS_BYTES];
	int fd = numbered(1);

	announce(message, 'd', 1, 0);
	say(from->link.sock, message, sizeof(message), &fd, 1);
	attack(from, message, sizeof(message), &fd, 1);
	close(fd);
}

static void c4_descriptors_out_of_order_end_the_channel(void **state)
{
	(void)state;
	attack_each(most, send_number_1_first, "the peer sent descriptors out of order");
	attack_each(most, send_number_0_twice, "the peer sent descriptors out of order");
}

static void send_twenty(struct rf_channel *from)
{
	unsigned char message[RF__FDS_BYTES];

	announce(message, 'd', 20, 0);
	assert_int_equal(send_many_fds(from->link.sock, message, sizeof(message), 20), 0);
	publish_marked(from);
}

static void c2_more_than_there_is_room_for_end_the_channel(void **state)
{
	(void)state;
	attack_each(ALL_KINDS, send_twenty, "the peer sent too many descriptors with a message");
}

static void send_with_kick(struct rf_channel *from)
{
	int fd = numbered(1);

	attack(from, (const unsigned char *)"c", 1, &fd, 1);
	close(fd);
}

static void send_long(struct rf_channel *from)
{
	unsigned char message[RF__FDS_BYTES + 1];
	int fd = numbered(1);

	announce(message, 'd', 1, 0);
	message[RF__FDS_BYTES] = 0;
	attack(from, message, sizeof(message), &fd, 1);
	close(fd);
}

static void send_padded(struct rf_channel *from)
{
	unsigned char message[RF__FDS_BYTES];
	int fd = numbered(1);

	announce(message, 'd', 1, 0);
	message[3] = 1;
	attack(from, message, sizeof(message), &fd, 1);
	close(fd);
}

static void send_empty(struct rf_channel *from)
{
	int fd = numbered(1);

	attack(from, (const unsigned char *)"", 0, &fd, 1);
	close(fd);
}

static void send_memory(struct rf_channel *from)
{
	unsigned char message[RF__FDS_BYTES];
	int fd = numbered(1);

	announce(message, 'm', 1, 0);
	attack(from, message, sizeof(message), &fd, 1);
	close(fd);
}

static void c2_descriptors_with_anything_else_end_the_channel(void **state)
{
	static const char sentence[] = "the peer sent descriptors that nobody asked for";

	(void)state;
	attack_each(most, send_with_kick, sentence);
	attack_each(most, send_long, sentence);
	attack_each(most, send_padded, sentence);
	attack_each(most, send_empty, sentence);
	attack_each(most, send_memory, "the peer sent memory that nobody asked for");
}

static void send_garbage(struct rf_channel *from)
{
	attack(from, (const unsigned char *)"garbage!", 8, NULL, 0);
}

static void send_nothing(struct rf_channel *from)
{
	attack(from, (const unsigned char *)"", 0, NULL, 0);
}

static void c4_what_is_no_kick_ends_the_channel_as_ever(void **state)
{
	(void)state;
	attack_each(most, send_garbage, "the peer sent something that is no kick");
	attack_each(most, send_nothing, "the peer sent something that is no kick");
}

/* Kinds */

static int hostile_fd; /* what the next attack sends */

static void send_it(struct rf_channel *from)
{
	unsigned char message[RF__FDS_BYTES];

	announce(message, 'd', 1, 0);
	attack(from, message, sizeof(message), &hostile_fd, 1);
}

/* Among others that are fine. */
static void send_it_third(struct rf_channel *from)
{
	int fds[3] = {eventfd(0, EFD_CLOEXEC), eventfd(0, EFD_CLOEXEC), hostile_fd};
	unsigned char message[RF__FDS_BYTES];

	announce(message, 'd', 3, 0);
	attack(from, message, sizeof(message), fds, 3);
	close(fds[0]);
	close(fds[1]);
}

static void assert_refused(uint32_t kinds, int fd, const char *sentence)
{
	assert_true(fd >= 0);
	hostile_fd = fd;
	attack_each(kinds, send_it, sentence);
	attack_each(kinds | RF_FD_EVENTFD, send_it_third, sentence);
	close(fd);
}

static void c2_wrong_kinds_are_refused_by_name(void **state)
{
	int pair[2];

	(void)state;
	assert_int_equal(pipe2(pair, O_CLOEXEC), 0);
	assert_refused(RF_FD_BLOB, pair[0], "the peer sent a pipe, which was not agreed on");
	close(pair[1]);
	make_pair(pair);
	assert_refused(RF_FD_BLOB, pair[0], "the peer sent a socket, which was not agreed on");
	close(pair[1]);
	assert_refused(RF_FD_BLOB, open(rf_test_tmpdir(), O_RDONLY | O_CLOEXEC),
		"the peer sent a file, which was not agreed on");
	assert_refused(RF_FD_BLOB, open("/dev/null", O_RDONLY | O_CLOEXEC),
		"the peer sent a file, which was not agreed on");
	assert_refused(RF_FD_BLOB | RF_FD_DMABUF, numbered(1),
		"the peer sent a memfd, which was not agreed on");
	assert_refused(RF_FD_BLOB, epoll_create1(EPOLL_CLOEXEC),
		"the peer sent a descriptor of another kind, which was not agreed on");
}

static void c2_an_eventfd_is_refused_by_name(void **state)
{
	(void)state;
	hostile_fd = eventfd(0, EFD_CLOEXEC);
	attack_each(RF_FD_BLOB, send_it, "the peer sent an eventfd, which was not agreed on");
	close(hostile_fd);
}

/* Almost a blob: one seal is missing. */
static void c2_a_memfd_with_a_seal_too_few_is_no_blob(void **state)
{
	static const int seals[] = {F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_WRITE};
	const int all = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
	unsigned i;

	(void)state;
	for (i = 0; i < 4; i++) {
		hostile_fd = numbered(1);
		assert_int_equal(fcntl(hostile_fd, F_ADD_SEALS, all & ~seals[i]), 0);
		attack_each(RF_FD_BLOB, send_it, "the peer sent a memfd, which was not agreed on");
		close(hostile_fd);
	}
}

/* Floods */

static void send_seventeen(struct rf_channel *from)
{
	unsigned char message[RF__FDS_BYTES];
	int fd = numbered(1);
	unsigned i;

	for (i = 0; i <= RF__FDS_MESSAGES; i++) {
		announce(message, 'd', 1, i);
		say(from->link.sock, message, sizeof(message), &fd, 1);
	}
	publish_marked(from);
	close(fd);
}

static void c3_more_messages_than_may_be_out_end_the_channel(void **state)
{
	(void)state;
	attack_each(most, send_seventeen, "the peer sent descriptors for too many messages");
}

/* One after the other, to a receiver that keeps what it has borrowed. */
static void c3_more_messages_than_may_be_borrowed_end_the_channel(void **state)
{
	struct rf_message messages[RF__FDS_MESSAGES + 1];
	unsigned char message[RF__FDS_BYTES];
	struct ends ends;
	unsigned i, k;
	int fd = numbered(1);

	(void)state;
	for (i = 0; i < 4; i++) {
		open_fds(&ends, bells[i & 1], shapes[i >> 1], most);
		for (k = 0; k <= RF__FDS_MESSAGES; k++) {
			announce(message, 'd', 1, k);
			attack(ends.client, message, sizeof(message), &fd, 1);
			assert_int_equal(
				rf_rx_borrow(rf_channel_rx(ends.server), 0, &messages[k], 1),
				k < RF__FDS_MESSAGES ? 1 : -EPROTO);
		}
		assert_string_equal(rf_channel_reason(ends.server),
			"the peer sent descriptors for too many messages");
		assert_int_equal(
			rf_rx_release(rf_channel_rx(ends.server), messages, RF__FDS_MESSAGES), 0);
		ends_close(&ends);
	}
	close(fd);
}

/* A receiver that reads nothing keeps its socket full; the sender does not wait for it. */
static void c5_a_peer_that_leaves_its_socket_full_loses_the_channel(void **state)
{
	struct ends ends;
	unsigned i;

	(void)state;
	for (i = 0; i < 4; i++) {
		open_fds(&ends, bells[i & 1], shapes[i >> 1], most);
		while (send(ends.server->link.sock, "c", 1, MSG_DONTWAIT) == 1)
			;
		assert_int_equal(send_numbered(rf_channel_tx(ends.server), 1, 1, 0), -EPROTO);
		assert_string_equal(
			rf_channel_reason(ends.server), "the peer leaves its socket full");
		ends_close(&ends);
	}
}

/* More kicks than anybody owes anybody are read through; then comes what was asked for. */
static void d6_descriptors_behind_many_kicks_are_found(void **state)
{
	struct ends ends;
	unsigned i;

	(void)state;
	for (i = 0; i < 2; i++) {
		open_fds(&ends, bells[i], RF_BYTES, most);
		for (int k = 0; k < 150; k++)
			say(ends.client->link.sock, "p", 1, NULL, 0);
		assert_int_equal(send_numbered(rf_channel_tx(ends.client), 1, 1, 0), 0);
		assert_int_equal(take_one(rf_channel_rx(ends.server)), 1);
		ends_close(&ends);
	}
}

/* At a higher rate than agreed on, with the limits kept otherwise. */
static void c3_a_flood_above_the_rate_ends_the_channel(void **state)
{
	struct rf_options options = fds_options(RF_DOORBELL_SOCKET, RF_BYTES, most);
	unsigned char message[RF__FDS_BYTES];
	int fds[RF_FDS_MAX], n = 1;
	struct rf_message borrowed;
	struct ends ends;
	unsigned i, k;

	(void)state;
	for (k = 0; k < RF_FDS_MAX; k++)
		fds[k] = numbered(k);
	options.fds_per_second = 10;
	ends_open(&ends, &options, &options);
	for (i = 0; n == 1 && i < 100; i++) {
		announce(message, 'd', RF_FDS_MAX, i);
		attack(ends.client, message, sizeof(message), fds, RF_FDS_MAX);
		n = rf_rx_borrow(rf_channel_rx(ends.server), 0, &borrowed, 1);
		if (n == 1)
			assert_int_equal(
				rf_rx_release(rf_channel_rx(ends.server), &borrowed, 1), 0);
	}
	assert_int_equal(n, -EPROTO);
	assert_in_range(i, 17, 40);
	assert_string_equal(rf_channel_reason(ends.server),
		"the peer sent more descriptors in a second than were agreed on");
	ends_close(&ends);
	for (k = 0; k < RF_FDS_MAX; k++)
		close(fds[k]);
}

/* A client that takes nothing out of its socket: what is in flight to it is charged, whatever it says
 * in the ring, and given back as soon as it has read it. */
static void c3_what_a_peer_leaves_unread_is_charged_to_it(void **state)
{
	struct rf_options options = fds_options(RF_DOORBELL_EVENTFD, RF_BYTES, most);
	uint64_t before = rf_test_limit_files(256);
	struct rf__consumer_words *words;
	struct ends ends;
	unsigned i;
	int r;

	(void)state;
	ends_open_path(&ends, &options, &options);
	words = (void *)ends.client->rx.half.own.base;
	for (i = 0; (r = send_numbered(rf_channel_tx(ends.server), i, 8, 0)) == 0 && i < 100; i++)
		rf__store_seq_cst(&words->head, ends.server->tx.ring.at.published);
	assert_int_equal(r, -EAGAIN);
	assert_in_range(i, 4, 9); /* our own user's half of 128 is 64 */
	assert_int_equal(
		send_numbered(rf_channel_tx(ends.server), i, 8, rf_test_deadline(30)), -ETIMEDOUT);
	while (i--)
		assert_int_equal(take_one(rf_channel_rx(ends.client)), 8);
	assert_int_equal(send_numbered(rf_channel_tx(ends.server), i, 8, 0), 0);
	ends_close(&ends);
	rf_test_limit_files(before);
}

/* Without an agreement */

/* On kernels where the peer can be kept from it, it cannot send any; elsewhere its channel ends. */
static void assert_none_gets_through(void)
{
	struct rf_options none = channel_options(RF_DOORBELL_SOCKET, RF_WAIT_ADAPTIVE);
	struct rf_options takes = fds_options(RF_DOORBELL_SOCKET, 0, most);
	unsigned char message[RF__FDS_BYTES];
	struct rf_message borrowed;
	struct ends ends;
	int fd = numbered(1), r;

	announce(message, 'd', 1, 0);
	ends_open_path(&ends, &none, &takes);
	r = rf__socket_send(ends.client->link.sock, message, sizeof(message), &fd, 1);
	if (r < 0) {
		assert_int_equal(r, -EPERM);
	} else {
		assert_int_equal(rf_rx_borrow(rf_channel_rx(ends.server), rf_test_deadline(SOON_MS),
					 &borrowed, 1),
			-EPROTO);
	}
	ends_close(&ends);
	close(fd);
}

static void c1_who_did_not_opt_in_is_sent_none(void **state)
{
	(void)state;
	assert_none_gets_through();
}

/* One that opted in takes them, and closes what is left unread: nothing of it is put aside. */
static void assert_unread_is_closed(void)
{
	struct rf_options takes = fds_options(RF_DOORBELL_EVENTFD, 0, most);
	unsigned char message[RF__FDS_BYTES];
	struct ends ends;
	int fd = numbered(1);

	ends_open_path(&ends, &takes, &takes);
	announce(message, 'd', 1, 0);
	say(ends.client->link.sock, message, sizeof(message), &fd, 1);
	ends_close(&ends);
	close(fd);
}

static void c1_who_opted_in_closes_what_was_never_read(void **state)
{
	(void)state;
	assert_unread_is_closed();
	setenv("RF_TEST_WITHOUT_KERNEL", "passrights", 1);
	assert_unread_is_closed();
	unsetenv("RF_TEST_WITHOUT_KERNEL");
}

/* Deaths */

static int die_in_the_middle(void *arg)
{
	struct rf_options options = fds_options(RF_DOORBELL_SOCKET, RF_BYTES, most);
	struct rf_channel *channel;
	unsigned i;

	if (rf_connect(arg, &options, rf_test_deadline(SOON_MS), &channel) < 0)
		return 1;
	for (i = 0; i < 8; i++)
		if (send_numbered(rf_channel_tx(channel), i, 2, 0) < 0)
			return 2;
	kill(getpid(), SIGKILL);
	return 3;
}

static void c8_a_sender_that_is_killed_leaves_nothing_behind(void **state)
{
	struct rf_options options = fds_options(RF_DOORBELL_SOCKET, RF_BYTES, most);
	const char *path = fresh_path();
	struct rf_listener *listener = listen_at(path, &options);
	pid_t pid = rf_test_child(die_in_the_middle, (void *)(uintptr_t)path, 0, 0);
	struct rf_channel *channel = accept_one(listener);
	struct rf_message message;
	uint64_t i;
	int fds[2];

	(void)state;
	assert_int_equal(rf_test_wait(pid, SOON_MS), -SIGKILL);
	for (i = 0; i < 4; i++) {
		message = borrow_one(rf_channel_rx(channel));
		assert_int_equal(rf_rx_take_fds(rf_channel_rx(channel), &message, fds, 2), 2);
		assert_int_equal(number_of(fds[0]) + number_of(fds[1]), 2 * i + 1);
		assert_int_equal(rf_rx_release(rf_channel_rx(channel), &message, 1), 0);
	}
	rf_channel_close(channel);
	rf_listener_close(listener);
}

#define FACT(name) cmocka_unit_test_setup_teardown(name, leaks_setup, leaks_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		FACT(c2_missing_descriptors_end_the_channel),
		FACT(c2_nothing_is_handed_out_together_with_a_breach),
		FACT(c2_descriptors_where_none_were_agreed_on_end_the_channel),
		FACT(c2_another_count_than_announced_ends_the_channel),
		FACT(c2_announced_and_none_sent_ends_the_channel),
		FACT(c4_descriptors_out_of_order_end_the_channel),
		FACT(c2_more_than_there_is_room_for_end_the_channel),
		FACT(c2_descriptors_with_anything_else_end_the_channel),
		FACT(c4_what_is_no_kick_ends_the_channel_as_ever),
		FACT(c2_wrong_kinds_are_refused_by_name),
		FACT(c2_an_eventfd_is_refused_by_name),
		FACT(c2_a_memfd_with_a_seal_too_few_is_no_blob),
		FACT(c3_more_messages_than_may_be_out_end_the_channel),
		FACT(c3_more_messages_than_may_be_borrowed_end_the_channel),
		FACT(c5_a_peer_that_leaves_its_socket_full_loses_the_channel),
		FACT(d6_descriptors_behind_many_kicks_are_found),
		FACT(c3_a_flood_above_the_rate_ends_the_channel),
		FACT(c3_what_a_peer_leaves_unread_is_charged_to_it),
		FACT(c1_who_did_not_opt_in_is_sent_none),
		FACT(c1_who_opted_in_closes_what_was_never_read),
		FACT(c8_a_sender_that_is_killed_leaves_nothing_behind),
	};

	return cmocka_run_group_tests_name("fds-hostile", tests, NULL, NULL);
}
