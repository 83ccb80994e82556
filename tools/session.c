/* SPDX-License-Identifier: MIT */
/* Opening, signals, progress, the end: see session.h. */
#include "session.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SEC         UINT64_C(1000000000)
#define PROGRESS_NS (SEC / 5)
#define PIPE_BYTES  (256 << 10)
#define OWED_MS     10
#define SLEEP_MS    60000

/* What signals stop. */
static struct rf_listener *volatile active_listener;
static struct rf_publisher *volatile active_publisher;
static struct rf_channel *volatile active_channel;
static volatile sig_atomic_t stop_signal;

static bool pipe_ignored; /* by whoever started us */
static bool pipe_broken;

/* The alarm repeats it: a signal that comes just before a system call begins to wait would not end
 * that wait. */
static void on_signal(int number)
{
	if (number != SIGALRM)
		stop_signal = number;
	if (active_channel)
		rf_channel_stop(active_channel);
	if (active_publisher)
		rf_publisher_stop(active_publisher);
	if (active_listener)
		rf_listener_stop(active_listener);
	alarm(1);
}

/* What whoever started us wants ignored stays ignored. */
static void catch_signal(int number)
{
	struct sigaction action = {.sa_handler = on_signal}, before;

	sigemptyset(&action.sa_mask);
	if (sigaction(number, NULL, &before) == 0 && before.sa_handler != SIG_IGN)
		sigaction(number, &action, NULL);
}

static void catch_signals(void)
{
	struct sigaction action = {.sa_handler = on_signal};

	sigemptyset(&action.sa_mask);
	sigaction(SIGALRM, &action, NULL);
	catch_signal(SIGINT);
	catch_signal(SIGTERM);
}

bool session_stopped(void)
{
	return stop_signal != 0;
}

static void die_of(int number)
{
	sigset_t set;

	signal(number, SIG_DFL);
	sigemptyset(&set);
	sigaddset(&set, number);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	raise(number);
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * SEC + (uint64_t)now.tv_nsec;
}

/* Opening */

static int open_failed(const struct session *s, const char *what, int error, const char *more)
{
	const char *reason = rf_reason();
	bool named = !strncmp(reason, s->cli->address, strlen(s->cli->address));

	cli_say(s->cli, "cannot %s%s%s: %s%s%s", what, named ? "" : " ",
		named ? "" : s->cli->address, *reason ? reason : strerror(-error),
		*more ? "; the last client was turned away: " : "", more);
	return error == -EACCES && s->cli->listen ? STATUS_FAILED : cli_status(error);
}

static int accept_one(struct session *s, struct rf_listener *listener, uint64_t deadline_ns)
{
	const char *refused;
	int r;

	active_listener = listener;
	if (session_stopped())
		rf_listener_stop(listener); /* the signal came before it was active */
	r = rf_accept(listener, deadline_ns, &s->channel);
	active_channel = s->channel;
	active_listener = NULL;
	refused = rf_listener_reason(listener);
	if (session_stopped() && *refused)
		cli_say(s->cli, "the last client was turned away: %s", refused);
	if (session_stopped())
		return STATUS_OK;
	return r < 0 ? open_failed(s, "accept a client", r, refused) : STATUS_MORE;
}

/* A signal is caught before there is a socket file, which is to be removed. */
static int open_listening(struct session *s, uint64_t deadline_ns)
{
	struct rf_listener *listener;
	int r, status;

	catch_signals();
	r = rf_listen(s->cli->address, &s->cli->options, &listener);
	if (r < 0)
		return open_failed(s, "listen", r, "");
	status = accept_one(s, listener, deadline_ns);
	rf_listener_close(listener);
	return status;
}

static int open_publishing(struct session *s, uint64_t deadline_ns)
{
	int r;

	catch_signals();
	r = rf_publish(s->cli->address, &s->cli->options, &s->publisher);
	if (r < 0)
		return open_failed(s, "publish at", r, "");
	active_publisher = s->publisher;
	if (session_stopped())
		rf_publisher_stop(s->publisher); /* the signal came before it was active */
	s->reserve_until_ns = deadline_ns;
	return STATUS_MORE;
}

/* Nothing could interrupt rf_connect(): until it is done, a signal just ends us. */
static int open_connecting(struct session *s, uint64_t deadline_ns)
{
	int r = rf_connect(s->cli->address, &s->cli->options, deadline_ns, &s->channel);

	if (r < 0)
		return open_failed(s, "connect", r, "");
	active_channel = s->channel;
	catch_signals();
	return STATUS_MORE;
}

/* The usual 64 KiB mean four times as many system calls, and turns of the scheduler. */
static void widen_pipe(int fd)
{
	int bytes = fcntl(fd, F_GETPIPE_SZ);

	if (bytes > 0 && bytes < PIPE_BYTES)
		fcntl(fd, F_SETPIPE_SZ, PIPE_BYTES);
}

static int open_any(struct session *s)
{
	uint64_t timeout_ns = s->cli->timeout_ns;
	uint64_t deadline_ns = timeout_ns ? now_ns() + timeout_ns : RF_FOREVER;

	if (s->cli->publish)
		return open_publishing(s, deadline_ns);
	return s->cli->listen ? open_listening(s, deadline_ns) : open_connecting(s, deadline_ns);
}

int session_open(struct session *s, const struct cli *cli)
{
	int status;

	*s = (struct session){.cli = cli, .reserve_until_ns = RF_FOREVER};
	pipe_ignored = signal(SIGPIPE, SIG_IGN) == SIG_IGN;
	status = open_any(s);
	widen_pipe(cli->options.direction == RF_SEND ? STDIN_FILENO : STDOUT_FILENO);
	s->opened_ns = s->shown_ns = now_ns();
	s->progress = !cli->quiet && isatty(STDERR_FILENO) &&
		      !(cli->options.direction == RF_RECEIVE && isatty(STDOUT_FILENO));
	return status;
}

/* What is open */

struct rf_tx *session_tx(const struct session *s)
{
	return s->publisher ? rf_publisher_tx(s->publisher) : rf_channel_tx(s->channel);
}

int session_fd(struct session *s)
{
	return s->publisher ? rf_publisher_fd(s->publisher) : rf_channel_fd(s->channel);
}

int session_process(struct session *s)
{
	return s->publisher ? rf_publisher_process(s->publisher) : rf_channel_process(s->channel);
}

static int publisher_sleep_ms(const struct session *s)
{
	uint64_t until_ns = 0, now = now_ns(), ms;

	if (rf_publisher_arm(s->publisher, 0, &until_ns) != 0 || until_ns <= now)
		return 0;
	ms = (until_ns - now) / 1000000 + 1;
	return ms < SLEEP_MS ? (int)ms : SLEEP_MS;
}

/* A kick that failed for lack of memory is made again by rf_channel_process(): until then not to
 * sleep for long. */
int session_sleep_ms(struct session *s)
{
	uint64_t before = s->kicks_owed;

	if (s->publisher)
		return publisher_sleep_ms(s);
	s->kicks_owed = session_stats(s).kicks_owed;
	return s->kicks_owed != before ? OWED_MS : -1;
}

/* Failing */

static struct rf_publisher_stats publisher_stats(const struct session *s)
{
	struct rf_publisher_stats stats = {.size = sizeof(stats)};

	rf_publisher_stats(s->publisher, &stats);
	return stats;
}

static void tell_publishing_failed(const struct session *s, int error)
{
	struct rf_publisher_stats stats = publisher_stats(s);
	const char *turned_away =
		stats.refused || stats.failed ? rf_publisher_reason(s->publisher) : "";

	if (error == -ETIMEDOUT)
		cli_say(s->cli, "%" PRIu64 " of %u receivers came in time%s%s", stats.subscribers,
			s->cli->options.wait_for, *turned_away ? "; the last news: " : "",
			turned_away);
	else
		cli_say(s->cli, "cannot publish: %s", strerror(-error));
}

/* Of a publisher's subscriber: whether that has gone, or has cut it off. */
static void tell_gone(const struct session *s)
{
	bool receives = rf_channel_rx(s->channel), subscribed = session_stats(s).slots && receives;

	cli_say(s->cli, "%s%s%s",
		receives ? "the sender went without ending the stream"
			 : "the receiver went before the end of the stream",
		subscribed ? ": " : "", subscribed ? rf_channel_reason(s->channel) : "");
}

int session_failed(struct session *s, int error)
{
	const char *reason = rf_channel_reason(s->channel);

	if (session_stopped())
		return STATUS_OK;
	if (s->publisher)
		tell_publishing_failed(s, error);
	else if (error == -EPIPE)
		tell_gone(s);
	else
		cli_say(s->cli, "the channel failed: %s", *reason ? reason : strerror(-error));
	return cli_status(error);
}

int session_io_failed(struct session *s, const char *what, int error)
{
	pipe_broken = error == EPIPE && !pipe_ignored;
	if (!pipe_broken)
		cli_say(s->cli, "cannot %s: %s", what, strerror(error));
	return STATUS_FAILED;
}

/* Figures */

static struct rf_half_stats published(const struct session *s)
{
	struct rf_publisher_stats stats = publisher_stats(s);

	return (struct rf_half_stats){.records = stats.messages,
		.bytes = stats.bytes,
		.sleeps = stats.sleeps,
		.slots = stats.slots,
		.slot_bytes = stats.slot_bytes};
}

struct rf_half_stats session_stats(const struct session *s)
{
	struct rf_stats stats = {.size = sizeof(stats)};

	if (s->publisher)
		return published(s);
	rf_channel_stats(s->channel, &stats);
	return s->cli->options.direction == RF_SEND ? stats.tx : stats.rx;
}

static double megabytes_per_second(const struct session *s, uint64_t bytes, uint64_t now)
{
	return now > s->opened_ns ? (double)bytes * 1e3 / (double)(now - s->opened_ns) : 0;
}

void session_progress(struct session *s)
{
	struct rf_half_stats half;
	uint64_t now;

	if (!s->progress)
		return;
	now = now_ns();
	if (now - s->shown_ns < PROGRESS_NS)
		return;
	s->shown_ns = now;
	half = session_stats(s);
	cli_show("%.1f MB, %" PRIu64 " records, %.1f MB/s", (double)half.bytes / 1e6, half.records,
		megabytes_per_second(s, half.bytes, now));
}

#define MOVED "%" PRIu64 " bytes, %" PRIu64 " records, %.1f MB/s"

static void print_publisher_stats(const struct session *s)
{
	struct rf_publisher_stats stats = publisher_stats(s);

	cli_say(s->cli,
		MOVED ", %" PRIu64 " receivers, %" PRIu64 " left, %" PRIu64 " cut off, %" PRIu64
		      " broken, %" PRIu64 " refused, %.3f s waited for them, %" PRIu64
		      " slots of %" PRIu64 " bytes",
		stats.bytes, stats.messages, megabytes_per_second(s, stats.bytes, now_ns()),
		stats.joined, stats.left, stats.cut, stats.broken, stats.refused,
		(double)stats.blocked_ns / 1e9, stats.slots, stats.slot_bytes);
}

static void describe_memory(const struct rf_half_stats *half, char *text, size_t size)
{
	if (half->slots)
		snprintf(text, size,
			"%" PRIu64 " slots of %" PRIu64 " bytes, %" PRIu64 " at a time, %" PRIu64
			" missed",
			half->slots, half->slot_bytes, half->hold, half->missed);
	else
		snprintf(text, size, "ring %" PRIu64 " bytes", half->ring_bytes);
}

static void print_channel_stats(const struct session *s)
{
	struct rf_half_stats half = session_stats(s);
	struct rf_stats stats = {.size = sizeof(stats)};
	char memory[128];

	rf_channel_stats(s->channel, &stats);
	describe_memory(&half, memory, sizeof(memory));
	cli_say(s->cli, MOVED ", %" PRIu64 " kicks, %" PRIu64 " sleeps, doorbell %s, %s",
		half.bytes, half.records, megabytes_per_second(s, half.bytes, now_ns()), half.kicks,
		half.sleeps, stats.doorbell == RF_DOORBELL_EVENTFD ? "eventfd" : "socket", memory);
}

static void print_stats(const struct session *s)
{
	if (s->publisher)
		print_publisher_stats(s);
	else if (s->channel)
		print_channel_stats(s);
}

int session_close(struct session *s, int status)
{
	if (s->cli->stats)
		print_stats(s);
	active_channel = NULL;
	active_publisher = NULL;
	rf_channel_close(s->channel);
	rf_publisher_close(s->publisher);
	if (stop_signal)
		die_of(stop_signal);
	if (pipe_broken)
		die_of(SIGPIPE);
	return status;
}
