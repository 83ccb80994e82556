/* SPDX-License-Identifier: MIT */
/* Memory or descriptors run out at every call that asks the system for some, one after the other:
 * an error or success, nothing leaks, and the other end is told. The linker sends these calls
 * here (--wrap). */
#include "channel-fixture.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

static _Thread_local bool armed; /* only one thread at a time is */
static long countdown;           /* calls that succeed until one fails */

static bool fails(void)
{
	if (!armed || countdown-- != 0)
		return false;
	errno = ENOMEM;
	return true;
}

/* Sanitizers and fortified headers declare some of these with other attributes, so these are
 * declared here once more. */
#define WRAP(type, name, bad, parameters, arguments)                                               \
	type __real_##name parameters;                                                             \
	type __wrap_##name parameters;                                                             \
	type __wrap_##name parameters                                                              \
	{                                                                                          \
		return fails() ? bad : __real_##name arguments;                                    \
	}

WRAP(void *, malloc, NULL, (size_t size), (size))
WRAP(void *, calloc, NULL, (size_t n, size_t size), (n, size))
WRAP(void *, aligned_alloc, NULL, (size_t alignment, size_t size), (alignment, size))
WRAP(void *, mmap, MAP_FAILED,
	(void *at, size_t len, int protection, int flags, int fd, off_t offset),
	(at, len, protection, flags, fd, offset))
WRAP(int, madvise, -1, (void *at, size_t len, int advice), (at, len, advice))
WRAP(int, memfd_create, -1, (const char *name, unsigned flags), (name, flags))
WRAP(int, fallocate, -1, (int fd, int mode, off_t offset, off_t len), (fd, mode, offset, len))
WRAP(int, eventfd, -1, (unsigned value, int flags), (value, flags))
WRAP(int, epoll_create1, -1, (int flags), (flags))
WRAP(int, epoll_ctl, -1, (int epoll, int op, int fd, struct epoll_event *event),
	(epoll, op, fd, event))
WRAP(int, socket, -1, (int domain, int type, int protocol), (domain, type, protocol))
WRAP(int, accept4, -1, (int sock, struct sockaddr *name, socklen_t *len, int flags),
	(sock, name, len, flags))

int __real_fcntl(int fd, int command, ...);
int __wrap_fcntl(int fd, int command, ...);

int __wrap_fcntl(int fd, int command, ...)
{
	va_list arguments;
	long argument;

	va_start(arguments, command);
	argument = va_arg(arguments, long);
	va_end(arguments);
	if (command == F_DUPFD_CLOEXEC && fails())
		return -1;
	return __real_fcntl(fd, command, argument);
}

/* What one end does; the other end runs in a thread and is never short of anything. */

struct end {
	const char *address;
	bool listens;
	int opened; /* 0, or the error of rf_listen(), rf_accept() or rf_connect() */
	int first;  /* of the calls after that, the first error */
};

/* The descriptor of a failure stays ours: the other end sees it close. */
static int give_up(const struct end *end, int error)
{
	if (error < 0)
		close(atoi(end->address + strlen("fd:")));
	return error;
}

static bool with_slots;

/* And descriptors beside the data, for which the receiving side needs memory. */
static void want_slots(struct rf_options *options)
{
	options->kind = RF_SLOTS;
	options->slots = 4;
	options->slot_bytes = 100;
	options->fd_kinds = RF_FD_BLOB;
	options->max_fds = 1;
}

static int open_end(struct end *end, struct rf_channel **ret_channel)
{
	struct rf_options options = channel_options(RF_DOORBELL_EVENTFD, RF_WAIT_SLEEP);
	uint64_t deadline = rf_test_deadline(SOON_MS);
	struct rf_listener *listener;
	int r;

	options.ring_bytes = 4096;
	if (with_slots)
		want_slots(&options);
	if (!end->listens)
		return give_up(end, rf_connect(end->address, &options, deadline, ret_channel));
	r = rf_listen(end->address, &options, &listener);
	if (r < 0)
		return give_up(end, r);
	r = rf_accept(listener, deadline, ret_channel);
	rf_listener_close(listener);
	return r;
}

static void note(struct end *end, int r)
{
	if (r < 0 && !end->first)
		end->first = r;
}

/* The second one needs memory. */
static int reserve_two(struct rf_tx *tx)
{
	struct rf_buffer buffers[2];
	int r = rf_tx_reserve(tx, 8, 0, &buffers[0]), second;

	if (r < 0)
		return r;
	second = rf_tx_reserve(tx, 8, 0, &buffers[1]);
	if (second >= 0)
		r = rf_tx_cancel(tx, &buffers[1]);
	if (r >= 0)
		r = rf_tx_cancel(tx, &buffers[0]);
	return second < 0 ? second : r;
}

/* Ends the stream, and takes what the other sends until it ends its own. */
static void exchange(struct end *end, struct rf_channel *channel)
{
	uint64_t number = 0;
	int r;

	note(end, rf_channel_fd(channel));
	note(end, reserve_two(rf_channel_tx(channel)));
	note(end, send_number(rf_channel_tx(channel), 1, 0));
	note(end, rf_tx_end(rf_channel_tx(channel)));
	do {
		r = take_number(rf_channel_rx(channel), rf_test_deadline(SOON_MS), &number);
		note(end, r);
	} while (r > 0 || r == -ENOMEM);
}

static int run_end(void *arg)
{
	struct end *end = arg;
	struct rf_channel *channel;

	end->opened = open_end(end, &channel);
	if (end->opened < 0)
		return 0;
	exchange(end, channel);
	rf_channel_close(channel);
	return 0;
}

static bool is_told(int error)
{
	return error == -EPIPE || error == -ECONNABORTED || error == -ENOBUFS;
}

/* One end has n calls and no more; were there fewer? */
static bool survives(struct end *poor, struct end *rich, long n)
{
	struct thread other;

	thread_start(&other, run_end, rich);
	countdown = n;
	armed = true;
	run_end(poor);
	armed = false;
	thread_join(&other);
	if (poor->opened && poor->opened != -ENOMEM)
		fail_msg("call %ld: it could not open: %d", n, poor->opened);
	if (poor->first && poor->first != -ENOMEM)
		fail_msg("call %ld: error %d", n, poor->first);
	if (poor->opened && rich->opened ? !is_told(rich->opened) : rich->opened)
		fail_msg("call %ld: the other end could not open: %d", n, rich->opened);
	if (poor->opened && !rich->opened && rich->first != -EPIPE)
		fail_msg("call %ld: the other end was not told: %d", n, rich->first);
	return countdown >= 0;
}

static bool play_on_pair(bool poor_listens, long n)
{
	char addresses[2][16];
	struct end poor = {.address = addresses[0], .listens = poor_listens};
	struct end rich = {.address = addresses[1], .listens = !poor_listens};
	int socks[2];

	make_pair(socks);
	snprintf(addresses[0], sizeof(addresses[0]), "fd:%d", socks[0]);
	snprintf(addresses[1], sizeof(addresses[1]), "fd:%d", socks[1]);
	return survives(&poor, &rich, n);
}

static void run_short(bool (*play)(bool poor_listens, long n), bool poor_listens)
{
	struct leaks leaks;
	long n;

	play(poor_listens, 1000000); /* what is made once per process is there now */
	leaks = leaks_begin();
	for (n = 0; !play(poor_listens, n); n++)
		assert_no_leaks(&leaks);
	assert_no_leaks(&leaks);
	print_message("# %ld calls\n", n);
	assert_true(n > 10);
}

static void a_server_that_runs_short_tells_its_client(void **state)
{
	(void)state;
	run_short(play_on_pair, true);
}

static void a_client_that_runs_short_tells_its_server(void **state)
{
	(void)state;
	run_short(play_on_pair, false);
}

static void ends_with_slots_that_run_short_tell_each_other(void **state)
{
	(void)state;
	with_slots = true;
	run_short(play_on_pair, true);
	run_short(play_on_pair, false);
	with_slots = false;
}

/* A listener that runs short while it accepts drops that client, and serves the next. */

static bool play_on_path(bool poor_listens, long n)
{
	struct rf_listener_stats stats = {.size = sizeof(stats)};
	struct rf_listener *listener;
	struct rf_channel *channel = NULL;
	struct connecting connecting;
	char path[128];
	int r;

	(void)poor_listens;
	snprintf(path, sizeof(path), "%s", fresh_path());
	listener = listen_at(path, NULL);
	connect_start(&connecting, path, NULL, SOON_MS);
	assert_true(wait_readable(rf_listener_fd(listener), SOON_MS));
	countdown = n;
	armed = true;
	do {
		r = rf_accept(listener, rf_test_deadline(10), &channel);
		rf_listener_stats(listener, &stats);
	} while (r == -ENOMEM || (r == -ETIMEDOUT && !stats.failed && !stats.refused));
	armed = false;
	assert_true(r == 0 || r == -ETIMEDOUT);
	rf_channel_close(channel);
	thread_join(&connecting.thread);
	rf_channel_close(connecting.channel);
	assert_true(connecting.channel || is_told(connecting.thread.verdict));
	channel = NULL;
	connect_start(&connecting, path, NULL, SOON_MS);
	channel = accept_one(listener);
	assert_int_equal(thread_join(&connecting.thread), 0);
	rf_channel_close(connecting.channel);
	rf_channel_close(channel);
	rf_listener_close(listener);
	return countdown >= 0;
}

static void a_listener_that_runs_short_serves_the_next(void **state)
{
	(void)state;
	run_short(play_on_path, true);
}

static void listen_on_a_path_leaves_nothing_behind(void **state)
{
	struct rf_listener *listener;
	struct leaks leaks = leaks_begin();
	char path[128];
	long n;
	int r = -1;

	(void)state;
	for (n = 0; r < 0; n++) {
		snprintf(path, sizeof(path), "%s", fresh_path());
		countdown = n;
		armed = true;
		r = rf_listen(path, NULL, &listener);
		armed = false;
		assert_true(r == 0 || r == -ENOMEM);
		if (!r)
			rf_listener_close(listener);
		assert_int_equal(access(path, F_OK), -1);
		assert_no_leaks(&leaks);
	}
	assert_true(n > 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_server_that_runs_short_tells_its_client),
		cmocka_unit_test(a_client_that_runs_short_tells_its_server),
		cmocka_unit_test(ends_with_slots_that_run_short_tell_each_other),
		cmocka_unit_test(a_listener_that_runs_short_serves_the_next),
		cmocka_unit_test(listen_on_a_path_leaves_nothing_behind),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
