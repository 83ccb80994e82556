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

/* What signals stop. */
static struct rf_listener *volatile active_listener;
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

int session_open(struct session *s, const struct cli *cli)
{
	uint64_t deadline_ns = cli->timeout_ns ? now_ns() + cli->timeout_ns : RF_FOREVER;
	int status;

	*s = (struct session){.cli = cli};
	pipe_ignored = signal(SIGPIPE, SIG_IGN) == SIG_IGN;
	status = cli->listen ? open_listening(s, deadline_ns) : open_connecting(s, deadline_ns);
	widen_pipe(cli->options.direction == RF_SEND ? STDIN_FILENO : STDOUT_FILENO);
	s->opened_ns = s->shown_ns = now_ns();
	s->progress = !cli->quiet && isatty(STDERR_FILENO) &&
		      !(cli->options.direction == RF_RECEIVE && isatty(STDOUT_FILENO));
	return status;
}

/* Failing */

int session_failed(struct session *s, int error)
{
	const char *reason = rf_channel_reason(s->channel);

	if (session_stopped())
		return STATUS_OK;
	if (error == -EPIPE)
		cli_say(s->cli, "%s",
			rf_channel_rx(s->channel)
				? "the sender went without ending the stream"
				: "the receiver went before the end of the stream");
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

struct rf_half_stats session_stats(const struct session *s)
{
	struct rf_stats stats = {.size = sizeof(stats)};

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

static void print_stats(const struct session *s)
{
	struct rf_half_stats half = session_stats(s);
	struct rf_stats stats = {.size = sizeof(stats)};

	rf_channel_stats(s->channel, &stats);
	cli_say(s->cli,
		"%" PRIu64 " bytes, %" PRIu64 " records, %.1f MB/s, %" PRIu64 " kicks, %" PRIu64
		" sleeps, doorbell %s, ring %" PRIu64 " bytes",
		half.bytes, half.records, megabytes_per_second(s, half.bytes, now_ns()), half.kicks,
		half.sleeps, stats.doorbell == RF_DOORBELL_EVENTFD ? "eventfd" : "socket",
		half.ring_bytes);
}

int session_close(struct session *s, int status)
{
	if (s->channel && s->cli->stats)
		print_stats(s);
	active_channel = NULL;
	rf_channel_close(s->channel);
	if (stop_signal)
		die_of(stop_signal);
	if (pipe_broken)
		die_of(SIGPIPE);
	return status;
}
