/* SPDX-License-Identifier: MIT */
/* Descriptors beside the data: which ones may be sent, and that they arrive with their message. */
#include "fds-fixture.h"

#include "util/clock.h"
#include <ringfort/blob.h>
#include <stdlib.h>

/* Kinds */

static int make_blob(void)
{
	struct rf_blob blob;
	int fd;

	assert_int_equal(rf_blob_new(5, &blob), 0);
	assert_int_equal(rf_blob_seal(&blob), 0);
	fd = fcntl(blob.fd, F_DUPFD_CLOEXEC, 0);
	rf_blob_close(&blob);
	return fd;
}

static int make_pipe(void)
{
	int ends[2];

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	close(ends[1]);
	return ends[0];
}

static int make_socket(void)
{
	return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static int make_eventfd(void)
{
	return eventfd(0, EFD_CLOEXEC);
}

static int make_epoll(void)
{
	return epoll_create1(EPOLL_CLOEXEC);
}

static int make_memfd(void)
{
	return memfd_create("plain", MFD_CLOEXEC);
}

static int make_named(const char *name)
{
	char path[160];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", rf_test_tmpdir(), name);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	unlink(path);
	return fd;
}

static int make_file(void)
{
	return make_named("file");
}

/* On tmpfs, where files have seals. */
static int make_shm_file(void)
{
	int fd = open("/dev/shm", O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);

	return fd >= 0 ? fd : make_file();
}

static int make_fifo(void)
{
	char path[160];
	int fd;

	snprintf(path, sizeof(path), "%s/fifo", rf_test_tmpdir());
	assert_int_equal(mkfifo(path, 0600), 0);
	fd = open(path, O_RDWR | O_CLOEXEC);
	unlink(path);
	return fd;
}

static int make_directory(void)
{
	return open(rf_test_tmpdir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static int make_path(void)
{
	return open("/", O_PATH | O_CLOEXEC);
}

/* No dma-buf, although it is called so. */
static int make_dmabuf_in_name(void)
{
	return make_named("dmabuf:");
}

static const struct {
	int (*make)(void);
	int kind, without_proc;
} kinds[] = {
	{make_blob, RF_FD_BLOB, RF_FD_BLOB},
	{make_memfd, RF_FD_MEMFD, RF_FD_MEMFD},
	{make_eventfd, RF_FD_EVENTFD, RF_FD_OTHER},
	{make_pipe, RF_FD_PIPE, RF_FD_OTHER},
	{make_socket, RF_FD_SOCKET, RF_FD_OTHER},
	{make_file, RF_FD_FILE, 0},
	{make_shm_file, RF_FD_FILE, 0},
	{make_fifo, RF_FD_FILE, 0},
	{make_directory, RF_FD_FILE, 0},
	{make_path, RF_FD_FILE, RF_FD_OTHER},
	{make_dmabuf_in_name, RF_FD_FILE, 0},
	{make_epoll, RF_FD_OTHER, RF_FD_OTHER},
};

#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static void kinds_are_told_apart_without_a_look_at_the_file(void **state)
{
	unsigned i;
	int fd;

	(void)state;
	for (i = 0; i < KINDS; i++) {
		fd = kinds[i].make();
		assert_int_equal(rf__fd_kind(fd), kinds[i].kind);
		setenv("RF_TEST_WITHOUT_KERNEL", "proc", 1);
		if (kinds[i].without_proc)
			assert_int_equal(rf__fd_kind(fd), kinds[i].without_proc);
		unsetenv("RF_TEST_WITHOUT_KERNEL");
		close(fd);
	}
	assert_int_equal(rf__fd_kind(-1), -EBADF);
	assert_int_equal(rf__fd_kind(1000000), -EBADF);
}

static void each_kind_passes_where_it_was_agreed_on_and_only_there(void **state)
{
	struct rf_message message;
	struct ends ends;
	unsigned i;
	int fd, got;

	(void)state;
	for (i = 0; i < KINDS; i++) {
		fd = kinds[i].make();
		open_fds(&ends, RF_DOORBELL_SOCKET, RF_BYTES, (uint32_t)kinds[i].kind);
		assert_int_equal(send_with(rf_channel_tx(ends.client), i, &fd, 1, 0), 0);
		message = borrow_one(rf_channel_rx(ends.server));
		assert_int_equal(rf_rx_take_fds(rf_channel_rx(ends.server), &message, &got, 1), 1);
		assert_int_equal(rf__fd_kind(got), kinds[i].kind);
		assert_true(fcntl(got, F_GETFD) & FD_CLOEXEC);
		close(got);
		assert_int_equal(rf_rx_release(rf_channel_rx(ends.server), &message, 1), 0);
		ends_close(&ends);
		open_fds(&ends, RF_DOORBELL_SOCKET, RF_BYTES,
			ALL_KINDS & ~(uint32_t)(kinds[i].kind | RF_FD_MEMFD));
		assert_int_equal(send_with(rf_channel_tx(ends.client), i, &fd, 1, 0), -EPERM);
		ends_close(&ends);
		close(fd);
	}
}

static void a_memfd_may_be_sealed_on_its_way(void **state)
{
	int fd = numbered(3), got;
	struct rf_message message;
	struct ends ends;

	(void)state;
	open_fds(&ends, RF_DOORBELL_SOCKET, RF_BYTES, RF_FD_MEMFD);
	assert_int_equal(send_with(rf_channel_tx(ends.client), 3, &fd, 1, 0), 0);
	assert_int_equal(
		fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE),
		0);
	message = borrow_one(rf_channel_rx(ends.server));
	assert_int_equal(rf_rx_take_fds(rf_channel_rx(ends.server), &message, &got, 1), 1);
	assert_int_equal(rf__fd_kind(got), RF_FD_BLOB);
	close(got);
	close(fd);
	assert_int_equal(rf_rx_release(rf_channel_rx(ends.server), &message, 1), 0);
	ends_close(&ends);
}

/* Passing */

#define ROUNDS 300

static unsigned fds_of(uint64_t i)
{
	return i % 3 ? 0 : (unsigned)(i / 3 % (RF_FDS_MAX + 1));
}

static int send_stream(void *arg)
{
	struct rf_tx *tx = arg;
	uint64_t i;
	int r;

	for (i = 0; i < ROUNDS; i++) {
		r = send_numbered(tx, i, fds_of(i), rf_test_deadline(SOON_MS));
		if (r < 0)
			return r;
	}
	return rf_tx_end(tx);
}

/* 0, or what is wrong with it. */
static int check_message(struct rf_rx *rx, const struct rf_message *message, uint64_t i)
{
	int fds[RF_FDS_MAX], n = rf_rx_take_fds(rx, message, fds, RF_FDS_MAX), k;

	if (message->n_fds != fds_of(i) || n != (int)fds_of(i))
		return -ERANGE;
	for (k = 0; k < n; k++)
		if (number_of(fds[k]) != i + (unsigned)k)
			return -EILSEQ;
	return memcmp(message->data, &i, sizeof(i)) ? -EBADMSG : 0;
}

static int receive_stream(void *arg)
{
	struct rf_message messages[3];
	struct rf_rx *rx = arg;
	uint64_t next = 0;
	int n, i, r = 0;

	while ((n = rf_rx_borrow(rx, rf_test_deadline(SOON_MS), messages, 3)) > 0) {
		for (i = 0; i < n && !r; i++)
			r = check_message(rx, &messages[i], next++);
		if (!r)
			r = rf_rx_release(rx, messages, (unsigned)n);
		if (r < 0)
			return r;
	}
	return n < 0 ? n : next == ROUNDS ? 0 : -ENODATA;
}

/* Both ways at once: each end has a thread that sends and one that receives, which read the same
 * socket. */
static void run_both_ways(struct ends *ends)
{
	struct thread threads[4];
	unsigned i;

	thread_start(&threads[0], send_stream, rf_channel_tx(ends->client));
	thread_start(&threads[1], send_stream, rf_channel_tx(ends->server));
	thread_start(&threads[2], receive_stream, rf_channel_rx(ends->client));
	thread_start(&threads[3], receive_stream, rf_channel_rx(ends->server));
	for (i = 0; i < 4; i++)
		assert_int_equal(thread_join(&threads[i]), 0);
	assert_true(channel_stats(ends->client).tx.fds > ROUNDS);
	assert_int_equal(channel_stats(ends->client).tx.fds, channel_stats(ends->server).rx.fds);
}

static void descriptors_arrive_with_their_message_in_order(void **state)
{
	(void)state;
	with_each(run_both_ways);
}

static void run_out_of_order(struct ends *ends)
{
	struct rf_tx *tx = rf_channel_tx(ends->server);
	struct rf_rx *rx = rf_channel_rx(ends->client);
	int fds[3] = {numbered(0), numbered(1), numbered(2)}, got, i;
	struct rf_message messages[3];
	struct rf_buffer buffers[3];
	uint32_t tag;

	assert_int_equal(rf_tx_reserve_span(tx, 8, 0, buffers, 3), 3);
	for (i = 2; i >= 0; i--)
		assert_int_equal(rf_tx_attach(tx, &buffers[i], &fds[i], 1, 0), 0);
	for (i = 0; i < 3; i++) {
		buffers[(i + 1) % 3].tag = (uint32_t)(i + 1) % 3;
		assert_int_equal(rf_tx_commit(tx, &buffers[(i + 1) % 3]), 0);
		close(fds[i]);
	}
	assert_int_equal(rf_tx_publish(tx), 0);
	assert_int_equal(rf_rx_borrow(rx, rf_test_deadline(SOON_MS), messages, 3), 3);
	for (i = 2; i >= 0; i--) {
		tag = messages[i].tag;
		assert_int_equal(rf_rx_take_fds(rx, &messages[i], &got, 1), 1);
		assert_int_equal(number_of(got), tag);
	}
	assert_int_equal(rf_rx_release(rx, messages, 3), 0);
}

static void whatever_the_order_of_attach_and_commit(void **state)
{
	(void)state;
	with_each(run_out_of_order);
}

/* A receiver that takes only the newest message is not given the descriptors of those before. */
static void what_is_given_back_unseen_takes_its_descriptors_along(void **state)
{
	struct rf_message message;
	struct ends ends;
	unsigned i, k;
	int fds[2];

	(void)state;
	for (i = 0; i < 2; i++) {
		open_fds(&ends, i ? RF_DOORBELL_SOCKET : RF_DOORBELL_EVENTFD, RF_SLOTS, ALL_KINDS);
		ends.client->rx.slots->latest = true;
		for (k = 0; k < 50; k++) {
			assert_int_equal(send_numbered(rf_channel_tx(ends.server), 1, 2, 0), 0);
			assert_int_equal(send_numbered(rf_channel_tx(ends.server), 2, 0, 0), 0);
			assert_int_equal(send_numbered(rf_channel_tx(ends.server), 3, 1, 0), 0);
			assert_int_equal(send_numbered(rf_channel_tx(ends.server), k, 2, 0), 0);
			message = borrow_one(rf_channel_rx(ends.client));
			assert_int_equal(
				rf_rx_take_fds(rf_channel_rx(ends.client), &message, fds, 2), 2);
			assert_int_equal(number_of(fds[0]) + number_of(fds[1]), 2 * k + 1);
			assert_int_equal(rf_rx_release(rf_channel_rx(ends.client), &message, 1), 0);
		}
		ends_close(&ends);
	}
}

/* A sleeper that waits for data, in a thread of its own. */
static int receive_one(void *arg)
{
	struct rf_message message;
	struct rf_rx *rx = arg;
	int fd, r = rf_rx_borrow(rx, rf_test_deadline(SOON_MS), &message, 1);

	if (r != 1 || rf_rx_take_fds(rx, &message, &fd, 1) != 1)
		return r < 0 ? r : -ENODATA;
	r = number_of(fd) == 7 ? 0 : -EILSEQ;
	return rf_rx_release(rx, &message, 1) < 0 ? -EINVAL : r;
}

static void run_sleeper(struct ends *ends)
{
	struct thread thread;

	thread_start(&thread, receive_one, rf_channel_rx(ends->client));
	assert_true(wait_for_sleeps(ends->client, true, 1));
	assert_int_equal(send_numbered(rf_channel_tx(ends->server), 7, 1, 0), 0);
	assert_int_equal(thread_join(&thread), 0);
}

static void a_receiver_that_sleeps_is_woken(void **state)
{
	(void)state;
	with_each(run_sleeper);
}

static void run_gone(struct ends *ends)
{
	struct rf_rx *rx = rf_channel_rx(ends->server);
	struct rf_message message;
	uint64_t i;
	int fd;

	for (i = 0; i < RF__FDS_MESSAGES; i++)
		assert_int_equal(send_numbered(rf_channel_tx(ends->client), i, 1, 0), 0);
	rf_channel_close(ends->client);
	ends->client = NULL;
	for (i = 0; i < RF__FDS_MESSAGES; i++) {
		message = borrow_one(rx);
		assert_int_equal(rf_rx_take_fds(rx, &message, &fd, 1), 1);
		assert_int_equal(number_of(fd), i);
		assert_int_equal(rf_rx_release(rx, &message, 1), 0);
	}
	assert_int_equal(rf_rx_borrow(rx, rf_test_deadline(SOON_MS), &message, 1), -EPIPE);
}

static void what_a_sender_left_behind_is_all_there(void **state)
{
	(void)state;
	with_each(run_gone);
}

/* What the receiver had no use for is closed when its message is given back, not later. */
static void run_untaken(struct ends *ends)
{
	struct rf_rx *rx = rf_channel_rx(ends->server);
	size_t before = rf_test_count_fds();
	unsigned round, i;

	for (round = 0; round < 3; round++) {
		for (i = 0; i < RF__FDS_MESSAGES; i++)
			assert_int_equal(send_numbered(rf_channel_tx(ends->client), i, 1, 0), 0);
		for (i = 0; i < RF__FDS_MESSAGES; i++) {
			assert_int_equal(take_one(rx), 1);
			assert_true(!ends->server->link.fds->n_taken);
		}
	}
	/* what each half blocks in was made meanwhile, at most */
	assert_true(rf_test_count_fds() <= before + 4);
}

static void what_nobody_takes_goes_with_its_message(void **state)
{
	(void)state;
	with_each(run_untaken);
}

/* Limits */

static void run_16(struct ends *ends)
{
	struct rf_tx *tx = rf_channel_tx(ends->client);
	struct rf_rx *rx = rf_channel_rx(ends->server);
	struct rf_message messages[RF__FDS_MESSAGES];
	unsigned round, i;

	for (round = 0; round < 3; round++) {
		for (i = 0; i < RF__FDS_MESSAGES; i++)
			assert_int_equal(send_numbered(tx, i, 1, 0), 0);
		assert_int_equal(send_numbered(tx, 16, 1, 0), -EAGAIN);
		assert_int_equal(send_numbered(tx, 16, 1, rf_test_deadline(5)), -ETIMEDOUT);
		assert_int_equal(send_numbered(tx, 16, 0, 0), 0);
		for (i = 0; i < RF__FDS_MESSAGES; i++)
			messages[i] = borrow_one(rx);
		assert_int_equal(send_numbered(tx, 16, 1, 0), -EAGAIN);
		assert_int_equal(rf_rx_release(rx, messages, RF__FDS_MESSAGES), 0);
		messages[0] = borrow_one(rx);
		assert_int_equal(rf_rx_release(rx, messages, 1), 0);
		assert_int_equal(rf_rx_borrow(rx, 0, messages, 1), -EAGAIN);
	}
}

static void sixteen_messages_with_descriptors_may_be_out(void **state)
{
	(void)state;
	with_each(run_16);
}

static int send_17th(void *arg)
{
	return send_numbered(arg, 16, 1, rf_test_deadline(SOON_MS));
}

static void run_17(struct ends *ends)
{
	struct rf_tx *tx = rf_channel_tx(ends->client);
	struct rf_rx *rx = rf_channel_rx(ends->server);
	struct rf_message message;
	struct thread thread;
	unsigned i;

	for (i = 0; i < RF__FDS_MESSAGES; i++)
		assert_int_equal(send_numbered(tx, i, 1, 0), 0);
	thread_start(&thread, send_17th, tx);
	assert_true(wait_for_sleeps(ends->client, false, 1));
	for (i = 0; i <= RF__FDS_MESSAGES; i++) {
		message = borrow_one(rx);
		assert_int_equal(message.n_fds, 1);
		assert_int_equal(rf_rx_release(rx, &message, 1), 0);
	}
	assert_int_equal(thread_join(&thread), 0);
}

static void attach_waits_until_one_comes_back(void **state)
{
	(void)state;
	with_each(run_17);
}

/* What is attached and committed counts, and is published where attach has to wait. */
static void run_unpublished(struct ends *ends)
{
	struct rf_tx *tx = rf_channel_tx(ends->client);
	struct rf_rx *rx = rf_channel_rx(ends->server);
	struct rf_buffer buffers[RF__FDS_MESSAGES + 1];
	struct rf_message message;
	int fd = numbered(1);
	unsigned i;

	assert_int_equal(rf_tx_reserve_span(tx, 8, 0, buffers, 17), 17);
	for (i = 0; i < RF__FDS_MESSAGES; i++)
		assert_int_equal(rf_tx_attach(tx, &buffers[i], &fd, 1, 0), 0);
	assert_int_equal(rf_tx_attach(tx, &buffers[16], &fd, 1, 0), -EAGAIN);
	assert_int_equal(rf_tx_attach(tx, &buffers[16], &fd, 1, RF_FOREVER), -EINVAL);
	assert_int_equal(rf_tx_commit(tx, &buffers[0]), 0);
	assert_int_equal(rf_tx_attach(tx, &buffers[16], &fd, 1, 1), -ETIMEDOUT);
	message = borrow_one(rx);
	assert_int_equal(rf_rx_release(rx, &message, 1), 0);
	assert_int_equal(rf_rx_borrow(rx, 0, &message, 1), -EAGAIN);
	assert_int_equal(rf_tx_attach(tx, &buffers[16], &fd, 1, RF_FOREVER), 0);
	for (i = 1; i <= RF__FDS_MESSAGES; i++)
		assert_int_equal(rf_tx_cancel(tx, &buffers[i]), 0);
	close(fd);
}

static void who_waits_for_what_it_keeps_itself_is_told(void **state)
{
	(void)state;
	with_each(run_unpublished);
}

static void run_refusals(struct ends *ends)
{
	struct rf_tx *tx = rf_channel_tx(ends->client);
	int many[RF_FDS_MAX + 1], fd = numbered(1), bad = 1000000;
	struct rf_buffer buffer, other = {.id = 12345};
	unsigned i;

	for (i = 0; i <= RF_FDS_MAX; i++)
		many[i] = fd;
	assert_int_equal(rf_tx_reserve(tx, 8, 0, &buffer), 0);
	assert_int_equal(rf_tx_attach(tx, &buffer, &fd, 0, 0), -EINVAL);
	assert_int_equal(rf_tx_attach(tx, &buffer, many, RF_FDS_MAX + 1, 0), -EINVAL);
	assert_int_equal(rf_tx_attach(tx, &buffer, &bad, 1, 0), -EBADF);
	assert_int_equal(rf_tx_attach(tx, &other, &fd, 1, 0), -EINVAL);
	assert_int_equal(rf_tx_attach(tx, &buffer, many, RF_FDS_MAX, 0), 0);
	assert_int_equal(rf_tx_attach(tx, &buffer, &fd, 1, 0), -EINVAL);
	assert_int_equal(rf_tx_commit(tx, &buffer), 0);
	assert_int_equal(rf_tx_attach(tx, &buffer, &fd, 1, 0), -EINVAL);
	assert_int_equal(rf_tx_attach(NULL, &buffer, &fd, 1, 0), -EINVAL);
	close(fd);
}

static void mistakes_are_refused_and_harm_nothing(void **state)
{
	struct rf_options options = fds_options(RF_DOORBELL_SOCKET, RF_BYTES, RF_FD_MEMFD);
	struct rf_buffer buffer;
	struct ends ends;
	int fds[2] = {numbered(1), numbered(2)};

	(void)state;
	with_each(run_refusals);
	options.max_fds = 1;
	ends_open(&ends, &options, &options);
	assert_int_equal(rf_tx_reserve(rf_channel_tx(ends.client), 8, 0, &buffer), 0);
	assert_int_equal(rf_tx_attach(rf_channel_tx(ends.client), &buffer, fds, 2, 0), -EMSGSIZE);
	assert_int_equal(rf_tx_attach(rf_channel_tx(ends.client), &buffer, fds, 1, 0), 0);
	assert_int_equal(rf_tx_cancel(rf_channel_tx(ends.client), &buffer), 0);
	ends_close(&ends);
	close(fds[0]);
	close(fds[1]);
}

static void where_none_were_agreed_on_none_is_attached(void **state)
{
	struct rf_options takes = fds_options(RF_DOORBELL_SOCKET, RF_BYTES, ALL_KINDS), none;
	struct rf_buffer buffer;
	struct ends ends;
	int fd = numbered(1);

	(void)state;
	none = takes;
	none.fd_kinds = none.max_fds = 0;
	ends_open(&ends, &none, &takes);
	assert_int_equal(rf_tx_reserve(rf_channel_tx(ends.client), 8, 0, &buffer), 0);
	assert_int_equal(rf_tx_attach(rf_channel_tx(ends.client), &buffer, &fd, 1, 0), -EPERM);
	assert_int_equal(rf_tx_cancel(rf_channel_tx(ends.client), &buffer), 0);
	assert_int_equal(send_numbered(rf_channel_tx(ends.server), 4, 1, 0), 0);
	assert_int_equal(take_one(rf_channel_rx(ends.client)), 1);
	ends_close(&ends);
	close(fd);
}

static void a_view_has_no_messages_to_attach_to(void **state)
{
	struct ends ends;
	struct rf_buffer buffer;
	int fd = numbered(1);

	(void)state;
	open_fds(&ends, RF_DOORBELL_SOCKET, RF_STREAM, 0);
	assert_int_equal(rf_tx_reserve(rf_channel_tx(ends.client), 8, 0, &buffer), 0);
	assert_int_equal(rf_tx_attach(rf_channel_tx(ends.client), &buffer, &fd, 1, 0), -EINVAL);
	assert_int_equal(rf_tx_cancel(rf_channel_tx(ends.client), &buffer), 0);
	ends_close(&ends);
	close(fd);
}

static void the_agreed_rate_is_kept_by_the_sender(void **state)
{
	struct rf_options options = fds_options(RF_DOORBELL_SOCKET, RF_BYTES, RF_FD_MEMFD);
	struct rf_message message;
	uint64_t before;
	struct ends ends;
	unsigned i;

	(void)state;
	options.fds_per_second = 10;
	options.max_fds = 4;
	ends_open(&ends, &options, &options);
	before = rf_test_deadline(0);
	for (i = 0; i < 10; i++)
		assert_int_equal(send_numbered(rf_channel_tx(ends.client), i, 1, 0), 0);
	assert_int_equal(send_numbered(rf_channel_tx(ends.client), 10, 2, 0), -EAGAIN);
	assert_int_equal(
		send_numbered(rf_channel_tx(ends.client), 10, 4, rf_test_deadline(9)), -ETIMEDOUT);
	assert_int_equal(
		send_numbered(rf_channel_tx(ends.client), 10, 2, rf_test_deadline(SOON_MS)), 0);
	assert_true(rf_test_deadline(0) - before >= 200 * UINT64_C(1000000));
	for (i = 0; i < 11; i++) {
		message = borrow_one(rf_channel_rx(ends.server));
		assert_int_equal(message.n_fds, i < 10 ? 1 : 2);
		assert_int_equal(rf_rx_release(rf_channel_rx(ends.server), &message, 1), 0);
	}
	ends_close(&ends);
}

static uint64_t processor_time(void)
{
	return rf__clock_read(CLOCK_THREAD_CPUTIME_ID);
}

/* Over slots, too, of which none is out. */
static void who_waits_for_its_rate_sleeps(void **state)
{
	static const uint32_t shapes[] = {RF_BYTES, RF_SLOTS};
	struct rf_options options;
	struct ends ends;
	uint64_t before;
	unsigned i;

	(void)state;
	for (i = 0; i < 2; i++) {
		options = fds_options(RF_DOORBELL_SOCKET, shapes[i], RF_FD_MEMFD);
		options.fds_per_second = 4;
		options.max_fds = 4;
		ends_open(&ends, &options, &options);
		assert_int_equal(send_numbered(rf_channel_tx(ends.client), 0, 4, 0), 0);
		assert_int_equal(take_one(rf_channel_rx(ends.server)), 4);
		assert_int_equal(rf_rx_borrow(rf_channel_rx(ends.server), 0,
					 &(struct rf_message){.len = 0}, 1),
			-EAGAIN);
		before = processor_time();
		assert_int_equal(
			send_numbered(rf_channel_tx(ends.client), 4, 1, rf_test_deadline(SOON_MS)),
			0);
		assert_true(processor_time() - before < 100 * RF__MSEC);
		ends_close(&ends);
	}
}

static void a_rate_saves_up_no_more_than_it_may(void **state)
{
	struct rf__rate rate;
	uint64_t now;

	(void)state;
	rf__rate_init(&rate, 10, 20);
	now = rate.at_ns;
	assert_int_equal(rf__rate_take(&rate, 20, now), 0);
	assert_true(rf__rate_take(&rate, 1, now) == now + 100000000);
	assert_int_equal(rf__rate_take(&rate, 1, now + 100000000), 0);
	assert_int_equal(rf__rate_take(&rate, 20, now + UINT64_C(3600000000000)), 0);
	assert_true(rf__rate_take(&rate, 1, now + UINT64_C(3600000000000)) != 0);
	rf__rate_init(&rate, 0, 8);
	assert_int_equal(rf__rate_take(&rate, 1000000, rate.at_ns), 0);
}

#define FACT(name) cmocka_unit_test_setup_teardown(name, leaks_setup, leaks_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		FACT(kinds_are_told_apart_without_a_look_at_the_file),
		FACT(each_kind_passes_where_it_was_agreed_on_and_only_there),
		FACT(a_memfd_may_be_sealed_on_its_way),
		FACT(descriptors_arrive_with_their_message_in_order),
		FACT(whatever_the_order_of_attach_and_commit),
		FACT(what_is_given_back_unseen_takes_its_descriptors_along),
		FACT(a_receiver_that_sleeps_is_woken),
		FACT(what_a_sender_left_behind_is_all_there),
		FACT(what_nobody_takes_goes_with_its_message),
		FACT(sixteen_messages_with_descriptors_may_be_out),
		FACT(attach_waits_until_one_comes_back),
		FACT(who_waits_for_what_it_keeps_itself_is_told),
		FACT(mistakes_are_refused_and_harm_nothing),
		FACT(where_none_were_agreed_on_none_is_attached),
		FACT(a_view_has_no_messages_to_attach_to),
		FACT(the_agreed_rate_is_kept_by_the_sender),
		FACT(who_waits_for_its_rate_sleeps),
		FACT(a_rate_saves_up_no_more_than_it_may),
	};

	return cmocka_run_group_tests_name("fds", tests, NULL, NULL);
}
