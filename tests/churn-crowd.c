/* SPDX-License-Identifier: MIT */
/* The crowd of tests/churn: subscribers that read, hoard, leave, write nonsense over all they
 * can write, or send it, and clients that never finish the handshake. Whenever one looks at a
 * message, it is intact. The supervisor stops, continues and kills them. */
#include "churn.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define FDS_MOST      64
#define SCRIBBLES     2000
#define MAPPINGS_MOST 16
#define BEFORE_BREACH 20 /* messages, at most */

struct member {
	const struct churn *churn;
	uint64_t seed;
	struct rf_channel *channel;
	struct rf_rx *rx;
};

static unsigned choose(struct member *m, unsigned n)
{
	return (unsigned)(next_random(&m->seed) % n);
}

static void pause_for(unsigned ms)
{
	struct timespec t = {ms / 1000, ms % 1000 * 1000000L};

	nanosleep(&t, NULL);
}

static int subscribe(struct member *m, uint32_t doorbell)
{
	static const uint32_t lags[] = {RF_LAG_DROP, RF_LAG_LATEST, RF_LAG_DISCONNECT};
	struct rf_options options;
	int r;

	rf_options_init(&options);
	options.direction = RF_RECEIVE;
	options.lag = lags[choose(m, 3)];
	options.hold = 2 + choose(m, CROWD_HOLD - 1);
	options.start = choose(m, 2) ? RF_START_OLDEST : RF_START_NEWEST;
	options.doorbell = doorbell;
	options.stall_ns = (50 + choose(m, 200)) * MS_NS;
	r = rf_connect(m->churn->path, &options, now_ns() + PATIENCE_NS, &m->channel);
	if (r < 0)
		return r;
	m->rx = rf_channel_rx(m->channel);
	return 0;
}

/* Who was cut off while it had something must expect that to change. */
static int spoilt(struct member *m)
{
	if (rf_channel_process(m->channel) < 0)
		return FINE;
	fprintf(stderr, "churn: a subscriber got what was not written\n");
	return SPOILT;
}

/* Reads, and gives back at once. Being cut off, or too slow, is no failure. */
static int read_some(struct member *m, uint64_t n)
{
	struct rf_message messages[CROWD_HOLD];
	int got = 1, k, status = FINE;

	while (n-- && got > 0 && status == FINE) {
		got = rf_rx_borrow(m->rx, RF_FOREVER, messages, 1 + choose(m, CROWD_HOLD));
		for (k = 0; k < got && status == FINE; k++)
			status = is_intact(&messages[k]) ? FINE : spoilt(m);
		if (got > 0)
			rf_rx_release(m->rx, messages, (unsigned)got);
		if (!choose(m, 64))
			pause_for(choose(m, 40));
	}
	return status;
}

/* Takes all it may, and keeps it. What it has stays as it is until it is cut off. */
static int hoard(struct member *m)
{
	struct rf_message message;
	unsigned n;

	for (n = 0; n < CROWD_HOLD; n++)
		if (rf_rx_borrow(m->rx, now_ns() + SECOND_NS, &message, 1) != 1)
			break;
	while (n && is_intact(&message))
		pause_for(5);
	return n ? spoilt(m) : FINE;
}

struct mapping {
	uint64_t *words;
	size_t n;
};

/* What this process may write of its channel. */
static unsigned find_writable(struct mapping *mappings)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	unsigned long from, to;
	char line[512];
	unsigned n = 0;

	while (maps && n < MAPPINGS_MOST && fgets(line, sizeof(line), maps))
		if (strstr(line, " rw-s ") && strstr(line, "memfd:ringfort-") &&
			sscanf(line, "%lx-%lx", &from, &to) == 2)
			mappings[n++] = (struct mapping){(uint64_t *)from, (to - from) / 8};
	if (maps)
		fclose(maps);
	return n;
}

static uint64_t nonsense(struct member *m, uint64_t before)
{
	switch (choose(m, 4)) {
	case 0:
		return next_random(&m->seed);
	case 1:
		return before + 16 * choose(m, 16); /* descriptors */
	case 2:
		return choose(m, 2 * SLOTS);
	default:
		return before - 16;
	}
}

/* Writes nonsense over its own regions while it goes on reading. */
static int scribble(struct member *m)
{
	struct mapping mappings[MAPPINGS_MOST], *one;
	unsigned n = find_writable(mappings), i;
	volatile uint64_t *word;

	for (i = 0; n && i < SCRIBBLES; i++) {
		one = &mappings[choose(m, n)];
		word = &one->words[next_random(&m->seed) % (choose(m, 2) ? one->n : 512)];
		*word = nonsense(m, *word);
		if (i % 100 == 0)
			pause_for(1);
	}
	return FINE;
}

/* Sends what is no kick over the control socket. */
static int babble(struct member *m)
{
	struct sockaddr_storage peer;
	socklen_t len = sizeof(peer);
	char text[32];
	int fd;

	memset(text, (int)choose(m, 256), sizeof(text));
	for (fd = 3; fd < FDS_MOST; fd++, len = sizeof(peer))
		if (getpeername(fd, (struct sockaddr *)&peer, &len) == 0)
			send(fd, text, choose(m, sizeof(text)), MSG_NOSIGNAL | MSG_DONTWAIT);
	pause_for(choose(m, 50));
	return FINE;
}

/* Connects, says something or nothing, and stays or goes. */
static int never_finish(struct member *m)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	uint64_t noise[8];
	unsigned i;

	memcpy(name.sun_path, m->churn->path, sizeof(m->churn->path));
	if (connect(sock, (const struct sockaddr *)&name, sizeof(name)) < 0)
		return FAILED;
	for (i = 0; i < 8; i++)
		noise[i] = next_random(&m->seed);
	if (choose(m, 2))
		send(sock, noise, choose(m, sizeof(noise)), MSG_NOSIGNAL | MSG_DONTWAIT);
	pause_for(choose(m, 500));
	return FINE;
}

static int take_part(struct member *m, unsigned part)
{
	static int (*const last_parts[])(struct member *) = {hoard, scribble, babble};

	if (subscribe(m, part == 8 || choose(m, 2) ? RF_DOORBELL_SOCKET : RF_DOORBELL_AUTO) < 0)
		return FAILED;
	if (part < 6) {
		int status = read_some(m, part < 4 ? UINT64_MAX : choose(m, 2000));

		rf_channel_close(m->channel);
		return status;
	}
	if (read_some(m, choose(m, BEFORE_BREACH)) == SPOILT)
		return SPOILT;
	return last_parts[part - 6](m);
}

int run_crowd(const struct churn *churn, uint64_t seed)
{
	struct member m = {.churn = churn, .seed = seed};
	unsigned part = choose(&m, 10);

	return part == 9 ? never_finish(&m) : take_part(&m, part);
}
