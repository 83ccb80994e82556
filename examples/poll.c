/* SPDX-License-Identifier: MIT */
/* Receives records in a poll(2) loop that watches something else as well: standard input, whose end
 * ends the program. */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <ringfort/ringfort.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static unsigned long records, idle;

/* Milliseconds until then, rounded up: what poll(2) wants. */
static int wait_ms(uint64_t until_ns)
{
	struct timespec t;
	uint64_t now_ns, ms;

	if (until_ns == RF_FOREVER)
		return -1;
	clock_gettime(CLOCK_MONOTONIC, &t);
	now_ns = (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
	if (until_ns <= now_ns)
		return 0;
	ms = (until_ns - now_ns) / 1000000 + 1;
	return ms < INT_MAX ? (int)ms : INT_MAX;
}

/* Some records: not more at a time, so that everything else has its turn. How many; 0: end of
 * stream; -EAGAIN: none now. */
static int work(struct rf_rx *rx)
{
	struct rf_message messages[32];
	int n = rf_rx_borrow(rx, 0, messages, 32), r;

	if (n <= 0)
		return n;
	records += (unsigned)n;
	r = rf_rx_release(rx, messages, (unsigned)n);
	return r < 0 ? r : n;
}

/* 1: the user wants no more. */
static int on_input(void)
{
	char text[256];

	return read(STDIN_FILENO, text, sizeof(text)) <= 0;
}

static int loop(struct rf_channel *channel)
{
	struct pollfd fds[2] = {{rf_channel_fd(channel), POLLIN, 0}, {STDIN_FILENO, POLLIN, 0}};
	uint64_t until_ns = RF_FOREVER;
	int r, ready = 0;

	if (fds[0].fd < 0)
		return fds[0].fd;
	while ((r = work(rf_channel_rx(channel))) > 0 || r == -EAGAIN) {
		idle += ready > 0 && fds[0].revents && r == -EAGAIN;
		r = rf_channel_arm(channel, RF_DATA, 0, &until_ns);
		if (r < 0)
			return r;
		ready = poll(fds, 2, r == 1 ? 0 : wait_ms(until_ns));
		if (ready < 0 && errno != EINTR)
			return -errno;
		r = rf_channel_process(channel); /* -EPIPE: records may be left */
		if (r < 0 && r != -EPIPE)
			return r;
		if (ready > 0 && fds[1].revents && on_input())
			return 0;
	}
	return r;
}

int main(int argc, char **argv)
{
	struct rf_options options;
	struct rf_channel *channel;
	int r;

	if (argc != 2) {
		fprintf(stderr, "usage: poll ADDRESS\n");
		return 2;
	}
	rf_options_init(&options);
	options.direction = RF_RECEIVE;
	if (rf_connect(argv[1], &options, RF_FOREVER, &channel)) {
		fprintf(stderr, "poll: %s\n", rf_reason());
		return 1;
	}
	r = loop(channel);
	if (r < 0)
		fprintf(stderr, "poll: %s\n", rf_channel_reason(channel));
	printf("%lu records, woken %lu times for nothing\n", records, idle);
	rf_channel_close(channel);
	return r < 0;
}
