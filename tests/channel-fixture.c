/* SPDX-License-Identifier: MIT */
/* What the tests of channels share. */
#include "channel-fixture.h"

#include "options.h"
#include "socket.h"
#include "util/clock.h"
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct rf_options channel_options(uint32_t doorbell, uint32_t wait)
{
	struct rf_options options;

	rf_options_init(&options);
	options.ring_bytes = RING_BYTES;
	options.doorbell = doorbell;
	options.wait = wait;
	options.flags = getenv("RF_TEST_FENCE") ? RF_OPTION_FENCE : 0;
	return options;
}

const char *fresh_path(void)
{
	static char path[96];
	static unsigned n;

	snprintf(path, sizeof(path), "%s/%u.sock", rf_test_tmpdir(), n++);
	return path;
}

const char *fd_address(int fd)
{
	static char address[16];

	snprintf(address, sizeof(address), "fd:%d", fd);
	return address;
}

void make_pair(int socks[2])
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, socks), 0);
}

struct rf_listener *listen_at(const char *path, const struct rf_options *options)
{
	struct rf_listener *listener = NULL;
	int r = rf_listen(path, options, &listener);

	if (r < 0)
		fail_msg("rf_listen: %d, %s", r, rf_reason());
	return listener;
}

struct rf_channel *accept_one(struct rf_listener *listener)
{
	struct rf_channel *channel = NULL;
	int r = rf_accept(listener, rf_test_deadline(SOON_MS), &channel);

	if (r < 0)
		fail_msg("rf_accept: %d, %s; %s", r, rf_reason(), rf_listener_reason(listener));
	return channel;
}

static void *run_thread(void *arg)
{
	struct thread *thread = arg;

	thread->verdict = thread->run(thread->arg);
	return NULL;
}

void thread_start(struct thread *thread, int (*run)(void *arg), void *arg)
{
	thread->run = run;
	thread->arg = arg;
	assert_int_equal(pthread_create(&thread->id, NULL, run_thread, thread), 0);
}

int thread_join(struct thread *thread)
{
	assert_int_equal(pthread_join(thread->id, NULL), 0);
	return thread->verdict;
}

static int run_connect(void *arg)
{
	struct connecting *c = arg;
	uint64_t deadline = c->timeout_ms ? rf_test_deadline(c->timeout_ms) : 0;
	int r = rf_connect(c->address, c->options, deadline, &c->channel);

	snprintf(c->reason, sizeof(c->reason), "%s", rf_reason());
	return r;
}

void connect_start(struct connecting *connecting, const char *address,
	const struct rf_options *options, unsigned timeout_ms)
{
	memset(connecting, 0, sizeof(*connecting));
	snprintf(connecting->address, sizeof(connecting->address), "%s", address);
	connecting->options = options;
	connecting->timeout_ms = timeout_ms;
	thread_start(&connecting->thread, run_connect, connecting);
}

static void open_with(struct ends *ends, struct rf_listener *listener, const char *address,
	const struct rf_options *client)
{
	struct connecting connecting;
	int r;

	connect_start(&connecting, address, client, SOON_MS);
	ends->server = accept_one(listener);
	r = thread_join(&connecting.thread);
	if (r < 0)
		fail_msg("rf_connect: %d, %s", r, connecting.reason);
	ends->client = connecting.channel;
	rf_listener_close(listener);
}

void ends_open(struct ends *ends, const struct rf_options *server, const struct rf_options *client)
{
	struct rf_listener *listener;
	int socks[2];

	make_pair(socks);
	listener = listen_at(fd_address(socks[0]), server);
	open_with(ends, listener, fd_address(socks[1]), client);
}

void ends_open_path(
	struct ends *ends, const struct rf_options *server, const struct rf_options *client)
{
	const char *path = fresh_path();

	open_with(ends, listen_at(path, server), path, client);
}

void ends_close(struct ends *ends)
{
	rf_channel_close(ends->client);
	rf_channel_close(ends->server);
	ends->client = ends->server = NULL;
}

static pid_t spawn_peer(const char *path, const char *role, uint32_t doorbell, uint32_t wait)
{
	char bell[12], how[12];
	char *argv[] = {(char *)(uintptr_t)rf_test_built("tests/peer"), (char *)(uintptr_t)path,
		(char *)(uintptr_t)role, bell, how, NULL};

	snprintf(bell, sizeof(bell), "%u", doorbell);
	snprintf(how, sizeof(how), "%u", wait);
	return rf_test_spawn(argv, 0, 0);
}

pid_t accept_peer(
	const char *role, uint32_t doorbell, uint32_t wait, struct rf_channel **ret_channel)
{
	struct rf_options options = channel_options(doorbell, wait);
	const char *path = fresh_path();
	struct rf_listener *listener = listen_at(path, &options);
	pid_t pid = spawn_peer(path, role, doorbell, wait);

	*ret_channel = accept_one(listener);
	rf_listener_close(listener);
	return pid;
}

int send_number(struct rf_tx *tx, uint64_t number, uint64_t deadline_ns)
{
	struct rf_buffer buffer;
	int r = rf_tx_reserve(tx, sizeof(number), deadline_ns, &buffer);

	if (r < 0)
		return r;
	memcpy(buffer.data, &number, sizeof(number));
	r = rf_tx_commit(tx, &buffer);
	return r < 0 ? r : rf_tx_publish(tx);
}

int take_number(struct rf_rx *rx, uint64_t deadline_ns, uint64_t *ret_number)
{
	struct rf_message message;
	int n = rf_rx_borrow(rx, deadline_ns, &message, 1), r;

	if (n <= 0)
		return n;
	if (message.len != sizeof(*ret_number))
		return -EILSEQ;
	memcpy(ret_number, message.data, sizeof(*ret_number));
	r = rf_rx_release(rx, &message, 1);
	return r < 0 ? r : 1;
}

int take_numbers(struct rf_rx *rx, uint64_t first, uint64_t n, uint64_t deadline_ns)
{
	uint64_t i, number = 0;
	int r;

	for (i = first; i < first + n; i++) {
		r = take_number(rx, deadline_ns, &number);
		if (r <= 0)
			return r ? r : -ENODATA;
		if (number != i)
			return -EILSEQ;
	}
	return 0;
}

struct rf_stats channel_stats(struct rf_channel *channel)
{
	struct rf_stats stats = {.size = sizeof(stats)};

	rf_channel_stats(channel, &stats);
	return stats;
}

/* A channel with nothing hostile about it, in the same process as whatever a test attacks. */
static struct ends honest;
static uint64_t honest_number;

static void honest_begin(void)
{
	struct rf_options options = channel_options(RF_DOORBELL_SOCKET, RF_WAIT_ADAPTIVE);

	if (!honest.server)
		ends_open(&honest, &options, &options);
}

static void assert_passes(struct rf_channel *from, struct rf_channel *to)
{
	uint64_t number = 0;

	assert_int_equal(send_number(rf_channel_tx(from), ++honest_number, 0), 0);
	assert_int_equal(take_number(rf_channel_rx(to), 0, &number), 1);
	assert_true(number == honest_number);
}

struct leaks leaks_begin(void)
{
	rf_test_tmpdir();
	honest_begin();
	return (struct leaks){rf_test_count_fds(), rf_test_count_memfd_mappings()};
}

void assert_no_leaks(const struct leaks *before)
{
	assert_passes(honest.server, honest.client);
	assert_passes(honest.client, honest.server);
	assert_int_equal(rf_test_count_fds(), before->fds);
	assert_int_equal(rf_test_count_memfd_mappings(), before->regions);
}

static struct leaks before_test;

int leaks_setup(void **state)
{
	(void)state;
	before_test = leaks_begin();
	return 0;
}

int leaks_teardown(void **state)
{
	(void)state;
	assert_no_leaks(&before_test);
	return 0;
}

bool wait_for_sleeps(struct rf_channel *channel, bool receiving, uint64_t n)
{
	uint64_t until = rf_test_deadline(SOON_MS);
	struct rf_stats stats;

	do {
		stats = channel_stats(channel);
		if ((receiving ? stats.rx.sleeps : stats.tx.sleeps) >= n)
			return true;
		sched_yield();
	} while (rf__now() < until);
	return false;
}

bool wait_readable(int fd, unsigned timeout_ms)
{
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
	int n;

	do
		n = poll(&poll_fd, 1, (int)timeout_ms);
	while (n < 0 && errno == EINTR);
	return n > 0;
}

void assert_has(const char *text, const char *part)
{
	if (!strstr(text, part))
		fail_msg("\"%s\" does not say \"%s\"", text, part);
}

struct rf__wish wish_of(const struct rf_options *options)
{
	struct rf__identity stranger = RF__IDENTITY_INIT;
	struct rf_options read;

	assert_int_equal(rf__options_read(options, false, &read, NULL), 0);
	return rf__options_wish(&read, &stranger, RF__INHERITED, false);
}

void say(int sock, const void *message, size_t len, const int *fds, unsigned n)
{
	assert_int_equal(rf__socket_send(sock, message, len, fds, n), 0);
}

int send_many_fds(int sock, const void *message, size_t len, unsigned n)
{
	char control[CMSG_SPACE(20 * sizeof(int))] = {0};
	struct iovec part = {(void *)(uintptr_t)message, len};
	struct msghdr header = {.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = CMSG_SPACE(n * sizeof(int))};
	struct cmsghdr *c = CMSG_FIRSTHDR(&header);
	unsigned i;

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(n * sizeof(int));
	for (i = 0; i < n; i++)
		memcpy(CMSG_DATA(c) + i * sizeof(int), &sock, sizeof(int));
	return sendmsg(sock, &header, MSG_NOSIGNAL) < 0 ? -errno : 0;
}
