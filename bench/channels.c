/* SPDX-License-Identifier: MIT */
#include "channels.h"

#include "latency.h"

#include <errno.h>
#include <math.h>
#include <poll.h>
#include <ringfort/ringfort.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SEC        UINT64_C(1000000000)
#define CHANNELS   100
#define RING_BYTES 65536
#define AT_ONCE    16 /* handshakes between two looks at the clock */
#define TRIPS      200
#define IDLE_MS    500

/* The commands to the other process; a number: so many of them. */
enum { CONNECT_AND_CLOSE = 1, CONNECT, ECHO };

struct channels {
	const struct aside *aside;
	struct pinned pinned;
	char path[64];
	struct rf_listener *listener; /* the consumer's */
	struct rf_channel *all[CHANNELS];
};

static void describe(struct rf_options *options)
{
	rf_options_init(options);
	options->ring_bytes = RING_BYTES;
	options->max_channels = 2 * CHANNELS;
	options->wait = RF_WAIT_SLEEP;
}

struct rf_channel *channels_connect(const char *path, const struct rf_options *options)
{
	struct rf_channel *channel;
	int r = rf_connect(path, options, pinned_now() + 5 * SEC, &channel);

	if (r < 0)
		aside_fail("connect", r);
	return channel;
}

struct rf_channel *channels_accept(struct rf_listener *listener)
{
	struct rf_channel *channel;
	int r = rf_accept(listener, pinned_now() + 5 * SEC, &channel);

	if (r < 0)
		aside_fail("accept", r);
	return channel;
}

int channels_watch(struct rf_channel *const *all, unsigned n)
{
	int epoll = epoll_create1(EPOLL_CLOEXEC);

	for (unsigned i = 0; i < n; i++) {
		struct epoll_event event = {.events = EPOLLIN, .data.ptr = all[i]};
		int fd = rf_channel_fd(all[i]);

		if (fd < 0)
			aside_fail("epoll_create1", fd);
		if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0)
			aside_fail("epoll_ctl", -errno);
	}
	return epoll;
}

static struct rf_channel *connect_one(struct channels *channels)
{
	struct rf_options options;

	describe(&options);
	return channels_connect(channels->path, &options);
}

/* One message on the channel, which is given back with its answer. */
static void send_one(struct rf_channel *channel)
{
	uint64_t word = 1;
	struct iovec part = {&word, sizeof(word)};
	int r = rf_tx_send(rf_channel_tx(channel), &part, 1, pinned_now() + 5 * SEC);

	if (r < 0)
		aside_fail("send", r);
}

static void receive_one(struct rf_channel *channel)
{
	struct rf_message message;
	uint64_t word;
	int r = rf_rx_copy(
		rf_channel_rx(channel), pinned_now() + 5 * SEC, &word, sizeof(word), &message);

	if (r != 1)
		aside_fail("receive", r);
}

static void carry_out(uint64_t command, void *context)
{
	struct channels *channels = context;

	for (unsigned i = 0; command == CONNECT_AND_CLOSE && i < AT_ONCE; i++)
		rf_channel_close(connect_one(channels));
	for (unsigned i = 0; command == CONNECT && i < CHANNELS; i++)
		channels->all[i] = connect_one(channels);
	for (unsigned i = 0; command == ECHO && i < TRIPS; i++) {
		receive_one(channels->all[CHANNELS / 2]);
		send_one(channels->all[CHANNELS / 2]);
	}
}

static void begin(struct channels *channels, const struct aside *aside)
{
	struct rf_options options;
	int r;

	channels->aside = aside;
	snprintf(channels->path, sizeof(channels->path), "%s/channels", aside->dir);
	r = pinned_init(&channels->pinned);
	describe(&options);
	if (r >= 0)
		r = rf_listen(channels->path, &options, &channels->listener);
	if (r < 0)
		aside_fail("listen", r);
	channels->pinned.producer = fork();
	if (!channels->pinned.producer) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		aside_pin(aside, 0);
		rf_listener_close(channels->listener);
		pinned_follow(&channels->pinned, carry_out, channels);
		_exit(0);
	}
	if (channels->pinned.producer < 0)
		aside_fail("fork", -errno);
	aside_pin(aside, 1);
}

static void end(struct channels *channels)
{
	rf_listener_close(channels->listener);
	pinned_end(&channels->pinned);
}

/* Handshakes */

static double open_and_close(struct channels *channels)
{
	uint64_t begun = pinned_now(), until, n = 0, now;

	until = begun + 4 * channels->aside->settings->sample_ms * (SEC / 1000);
	do {
		pinned_start(&channels->pinned, CONNECT_AND_CLOSE);
		for (unsigned i = 0; i < AT_ONCE; i++)
			rf_channel_close(channels_accept(channels->listener));
		pinned_finish(&channels->pinned);
		n += AT_ONCE;
		now = pinned_now();
	} while (now < until);
	return (double)n * 1e9 / (double)(now - begun);
}

void channels_handshakes(const struct aside *aside)
{
	static struct channels channels;
	static struct aside_samples samples;
	struct record record;

	begin(&channels, aside);
	for (unsigned i = 0; i < aside->settings->rounds; i++) {
		enum placement before = pinned_probe(&channels.pinned);
		double per_s = open_and_close(&channels);

		aside_keep(&samples, before, pinned_probe(&channels.pinned), per_s, 0);
	}
	for (int at = 0; at < PLACEMENTS; at++) {
		if (!samples.n[at])
			continue;
		aside_begin(&record, "handshakes", "one-by-one", (enum placement)at);
		record.rounds = samples.n[at];
		record.dropped = samples.dropped;
		aside_summarise(aside, samples.values[at], samples.n[at], &record.per_s,
			&record.per_s_min, &record.per_s_max);
		aside_tell(aside, &record);
	}
	end(&channels);
}

/* Idle channels */

static uint64_t cpu_ns(void)
{
	struct timespec used;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
	return (uint64_t)used.tv_sec * SEC + (uint64_t)used.tv_nsec;
}

/* Arms all channels. Until when one may sleep, in milliseconds; -1: there is work on one. */
static int arm_all(struct channels *channels, uint64_t until_ns)
{
	uint64_t now = pinned_now(), wanted;

	for (unsigned i = 0; i < CHANNELS; i++) {
		int r = rf_channel_arm(channels->all[i], RF_DATA, 0, &wanted);

		if (r < 0)
			aside_fail("arm", r);
		if (r)
			return -1;
		until_ns = wanted < until_ns ? wanted : until_ns;
	}
	return until_ns > now ? (int)((until_ns - now + 999999) / 1000000) : 0;
}

/* The event loop of an application: for so long, or until something comes. */
static void loop(struct channels *channels, int epoll, uint64_t until_ns)
{
	struct epoll_event events[16];
	int n = 0, ms;

	while (n == 0 && pinned_now() < until_ns) {
		ms = arm_all(channels, until_ns);
		if (ms < 0)
			return;
		n = epoll_wait(epoll, events, 16, ms);
		for (int i = 0; i < n; i++)
			rf_channel_process(events[i].data.ptr);
	}
}

/* The event loop runs, and nothing happens: processor time of a second in seconds. */
static double stay_idle(struct channels *channels, int epoll)
{
	uint64_t begun = pinned_now(), used = cpu_ns(), ms = IDLE_MS;

	if (channels->aside->settings->smoke)
		ms /= 10;
	while (pinned_now() < begun + ms * (SEC / 1000))
		loop(channels, epoll, begun + ms * (SEC / 1000));
	return (double)(cpu_ns() - used) / (double)(pinned_now() - begun);
}

/* One of many answers: a message there and back, through the event loop. The median in ns. */
static double wake_one(struct channels *channels, int epoll)
{
	static struct latency latency;
	struct rf_channel *one = channels->all[CHANNELS / 2];

	memset(&latency, 0, sizeof(latency));
	pinned_start(&channels->pinned, ECHO);
	for (unsigned i = 0; i < TRIPS; i++) {
		uint64_t begun = pinned_now();

		send_one(one);
		loop(channels, epoll, pinned_now() + SEC);
		receive_one(one);
		latency_add(&latency, pinned_now() - begun);
	}
	pinned_finish(&channels->pinned);
	return latency_quantile(&latency, 0.5);
}

static void tell_idle(const struct aside *aside, struct aside_samples *samples)
{
	struct record record;
	double least, most;

	for (int at = 0; at < PLACEMENTS; at++) {
		if (!samples->n[at])
			continue;
		aside_begin(&record, "idle", "event-loop", (enum placement)at);
		record.n = CHANNELS;
		record.rounds = samples->n[at];
		record.dropped = samples->dropped;
		aside_summarise(aside, samples->values[at], samples->n[at], &record.p50,
			&record.p50_min, &record.p50_max);
		aside_summarise(
			aside, samples->more[at], samples->n[at], &record.cpu_s, &least, &most);
		aside_tell(aside, &record);
	}
}

void channels_idle(const struct aside *aside)
{
	static struct channels channels;
	static struct aside_samples samples;
	int epoll;

	begin(&channels, aside);
	pinned_start(&channels.pinned, CONNECT);
	for (unsigned i = 0; i < CHANNELS; i++)
		channels.all[i] = channels_accept(channels.listener);
	pinned_finish(&channels.pinned);
	epoll = channels_watch(channels.all, CHANNELS);
	for (unsigned i = 0; i < aside->settings->rounds; i++) {
		enum placement before = pinned_probe(&channels.pinned);
		double cpu_s = stay_idle(&channels, epoll);
		double p50 = wake_one(&channels, epoll);

		aside_keep(&samples, before, pinned_probe(&channels.pinned), p50, cpu_s);
	}
	tell_idle(aside, &samples);
	close(epoll);
	end(&channels);
}
