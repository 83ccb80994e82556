/* SPDX-License-Identifier: MIT */
/* Pushes data through a 1 MiB ring from one process to another and verifies every word of it.
 *
 *	soak [--gigabytes N] [--seconds N] [--doorbell eventfd|socket] [--wait adaptive|spin|sleep]
 *
 * Ends after so many gigabytes (100) or seconds (no limit), whichever comes first. Records have
 * varied sizes; they are reserved and borrowed singly and in spans. Progress goes to stderr where
 * that is a terminal, the summary to stdout. Exit status: 0; 1: something was wrong; 2: usage. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <ringfort/ringfort.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define RING_BYTES  (1u << 20)
#define WORDS_MOST  16384 /* 128 KiB: the ring has room for a few of the longest */
#define SPAN_MOST   16
#define GIGABYTE    UINT64_C(1000000000)
#define SECOND_NS   UINT64_C(1000000000)
#define PATIENCE_NS (30 * SECOND_NS)

struct soak {
	uint64_t bytes, seconds;
	struct rf_options options;
	int socks[2];
};

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * SECOND_NS + (uint64_t)t.tv_nsec;
}

/* splitmix64: the same sequence at both ends */
static uint64_t mix(uint64_t x)
{
	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

/* The words of record i, most of them few, some many. Never 0: a span's records have one length. */
static size_t words_of(uint64_t i)
{
	uint64_t r = mix(i);
	size_t most = r & 7 ? 32 : r & 8 ? 1024 : WORDS_MOST;

	return 1 + (size_t)(r >> 32) % most;
}

/* Word k of a record that begins with `first`. */
static uint64_t word_of(uint64_t first, size_t k)
{
	return first + k * UINT64_C(0x9e3779b97f4a7c15);
}

static void fill(struct rf_buffer *buffer, uint64_t i)
{
	uint64_t *words = buffer->data, first = mix(~i);
	size_t n = buffer->len / sizeof(*words), k;

	for (k = 0; k < n; k++)
		words[k] = word_of(first, k);
	buffer->tag = (uint32_t)i;
}

static bool is_intact(const struct rf_message *message, uint64_t i, size_t words)
{
	const uint64_t *word = message->data;
	uint64_t first = mix(~i), wrong = 0;
	size_t k;

	if (message->len != words * sizeof(*word) || message->tag != (uint32_t)i)
		return false;
	for (k = 0; k < words; k++)
		wrong |= word[k] ^ word_of(first, k);
	return !wrong;
}

/* Records i to i + n - 1 have the length of the first of a group of 8, so that groups can go as
 * spans. */
static uint64_t group_of(uint64_t i)
{
	return i & ~UINT64_C(7);
}

static int send_some(struct rf_tx *tx, uint64_t *i, uint64_t *bytes)
{
	struct rf_buffer buffers[SPAN_MOST];
	size_t len = words_of(group_of(*i)) * sizeof(uint64_t);
	unsigned most = (unsigned)(8 - *i % 8), k;
	int n = rf_tx_reserve_span(tx, len, now_ns() + PATIENCE_NS, buffers, most);

	if (n < 0)
		return n;
	for (k = 0; k < (unsigned)n; k++)
		fill(&buffers[k], (*i)++);
	*bytes += len * (unsigned)n;
	n = rf_tx_commit_span(tx, buffers, (unsigned)n);
	return n < 0 ? n : rf_tx_publish(tx);
}

/* The sender's process */
static int run_sender(const struct soak *soak)
{
	uint64_t i = 0, bytes = 0, until = soak->seconds ? now_ns() + soak->seconds * SECOND_NS : 0;
	struct rf_channel *channel;
	char address[16];
	int r;

	snprintf(address, sizeof(address), "fd:%d", soak->socks[1]);
	r = rf_connect(address, &soak->options, now_ns() + PATIENCE_NS, &channel);
	if (r < 0)
		return 3;
	while (r >= 0 && bytes < soak->bytes && (!until || i % 64 || now_ns() < until))
		r = send_some(rf_channel_tx(channel), &i, &bytes);
	if (r >= 0)
		r = rf_tx_end(rf_channel_tx(channel));
	rf_channel_close(channel);
	return r < 0 ? 4 : 0;
}

static int open_receiver(const struct soak *soak, struct rf_channel **ret_channel)
{
	struct rf_listener *listener;
	char address[16];
	int r;

	snprintf(address, sizeof(address), "fd:%d", soak->socks[0]);
	r = rf_listen(address, &soak->options, &listener);
	if (r < 0)
		return r;
	r = rf_accept(listener, now_ns() + PATIENCE_NS, ret_channel);
	rf_listener_close(listener);
	return r;
}

/* How many records were intact; the number of messages where all were. */
static int take_some(struct rf_rx *rx, uint64_t *i, uint64_t *bytes)
{
	struct rf_message messages[SPAN_MOST];
	int n = rf_rx_borrow(rx, now_ns() + PATIENCE_NS, messages, 1 + (unsigned)*i % SPAN_MOST), k;

	for (k = 0; k < n; k++, (*i)++) {
		if (!is_intact(&messages[k], *i, words_of(group_of(*i)))) {
			fprintf(stderr, "soak: record %" PRIu64 " is not what was sent\n", *i);
			return -EILSEQ;
		}
		*bytes += messages[k].len;
	}
	if (n > 0)
		rf_rx_release(rx, messages, (unsigned)n);
	return n;
}

static void show_progress(uint64_t bytes, uint64_t begun_ns, uint64_t *shown_ns)
{
	uint64_t now = now_ns();

	if (now - *shown_ns < SECOND_NS || !isatty(STDERR_FILENO))
		return;
	*shown_ns = now;
	fprintf(stderr, "\r%.1f GB, %.2f GB/s ", (double)bytes / (double)GIGABYTE,
		(double)bytes / (double)(now - begun_ns));
}

static int receive(struct rf_channel *channel)
{
	uint64_t i = 0, bytes = 0, begun = now_ns(), shown = begun, took;
	struct rf_stats stats = {.size = sizeof(stats)};
	int r;

	while ((r = take_some(rf_channel_rx(channel), &i, &bytes)) > 0)
		if (i % 512 < SPAN_MOST)
			show_progress(bytes, begun, &shown);
	took = now_ns() - begun;
	rf_channel_stats(channel, &stats);
	printf("%s%" PRIu64 " records, %.3f GB in %.1f s: %.2f GB/s; %" PRIu64 " sleeps, %" PRIu64
	       " kicks, %" PRIu64 " rescued%s\n",
		isatty(STDERR_FILENO) ? "\n" : "", i, (double)bytes / (double)GIGABYTE,
		(double)took / (double)SECOND_NS, (double)bytes / (double)took, stats.rx.sleeps,
		stats.rx.kicks, stats.rx.rescued, r < 0 ? ": FAILED" : "");
	if (r < 0)
		fprintf(stderr, "soak: %s: %s\n", strerror(-r), rf_channel_reason(channel));
	return r || stats.rx.rescued ? 1 : 0;
}

static pid_t start_sender(const struct soak *soak)
{
	pid_t parent = getpid(), pid = fork();

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	close(soak->socks[0]);
	_exit(getppid() == parent ? run_sender(soak) : 5);
}

static int run(struct soak *soak)
{
	struct rf_channel *channel;
	int status, result, r;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, soak->socks) < 0)
		return 1;
	pid = start_sender(soak);
	close(soak->socks[1]);
	r = pid < 0 ? -errno : open_receiver(soak, &channel);
	if (r < 0) {
		fprintf(stderr, "soak: %s: %s\n", strerror(-r), rf_reason());
		return 1;
	}
	result = receive(channel);
	rf_channel_close(channel);
	if (waitpid(pid, &status, 0) != pid || status)
		result = 1;
	return result;
}

static uint32_t choose(const char *word, const char *const *words)
{
	uint32_t i;

	for (i = 0; words[i]; i++)
		if (!strcmp(word, words[i]))
			return i;
	fprintf(stderr, "soak: no such choice: %s\n", word);
	exit(2);
}

static void parse(struct soak *soak, int argc, char *argv[])
{
	static const char *const bells[] = {"auto", "eventfd", "socket", NULL};
	static const char *const waits[] = {"adaptive", "spin", "sleep", NULL};
	static const struct option options[] = {{"gigabytes", required_argument, NULL, 'g'},
		{"seconds", required_argument, NULL, 's'},
		{"doorbell", required_argument, NULL, 'd'}, {"wait", required_argument, NULL, 'w'},
		{NULL, 0, NULL, 0}};
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		if (c == 'g')
			soak->bytes = (uint64_t)(atof(optarg) * (double)GIGABYTE);
		else if (c == 's')
			soak->seconds = strtoull(optarg, NULL, 10);
		else if (c == 'd')
			soak->options.doorbell = choose(optarg, bells);
		else if (c == 'w')
			soak->options.wait = choose(optarg, waits);
		else
			exit(2);
	}
}

int main(int argc, char *argv[])
{
	struct soak soak = {.bytes = 100 * GIGABYTE};

	rf_options_init(&soak.options);
	soak.options.ring_bytes = RING_BYTES;
	parse(&soak, argc, argv);
	return run(&soak);
}
