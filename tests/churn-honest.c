/* SPDX-License-Identifier: MIT */
/* The honest subscribers of tests/churn: they look at every word of every message, and that
 * none is missing but those they are told of. The one that does not block keeps some for a
 * while, gives them back in any order, and looks at them again before. */
#include "churn.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define BATCH 8
#define KEPT  6

struct honest_state {
	const struct churn *churn;
	enum honest which;
	struct rf_channel *channel;
	struct rf_rx *rx;
	uint64_t last, received, seed;
	struct rf_message kept[KEPT];
	unsigned n_kept;
};

static int spoilt(const struct honest_state *h, const char *what, const struct rf_message *message)
{
	fprintf(stderr,
		"churn: %s subscriber: %s: message %" PRIu64 " after %" PRIu64 ", %u missed\n",
		h->which == BLOCKING ? "the blocking" : "the disconnecting", what, message->user[0],
		h->last, message->missed);
	return SPOILT;
}

/* Classes 0 to 7 are 0 to 7 ns; then eight for each power of two. */
static unsigned age_class(uint64_t ns)
{
	unsigned power = ns < 8 ? 3 : 63 - (unsigned)__builtin_clzll(ns);

	return ns < 8 ? (unsigned)ns : 8 * (power - 2) + (unsigned)(ns >> (power - 3) & 7);
}

static void note_age(const struct honest_state *h, const struct rf_message *message)
{
	uint64_t now = now_ns(), age = now > message->time_ns ? now - message->time_ns : 0;
	uint64_t *word = &h->churn->board->honest[h->which].ages[age_class(age)];

	tell(word, told(word) + 1);
}

static int check(struct honest_state *h, const struct rf_message *message)
{
	if (!is_intact(message))
		return spoilt(h, "not what was written", message);
	if (message->user[0] != h->last + 1 + message->missed)
		return spoilt(h, "a gap that was not told", message);
	if (h->which == BLOCKING && message->missed)
		return spoilt(h, "missed something", message);
	h->last = message->user[0];
	h->received++;
	return FINE;
}

/* Gives back one of those kept, if there are too many, or all. */
static int give_back(struct honest_state *h, unsigned most)
{
	struct rf_message *one;

	while (h->n_kept > most) {
		one = &h->kept[next_random(&h->seed) % h->n_kept];
		if (!is_intact(one))
			return spoilt(h, "changed while it was kept", one);
		if (rf_rx_release(h->rx, one, 1) < 0)
			return spoilt(h, "cannot be given back", one);
		*one = h->kept[--h->n_kept];
	}
	return FINE;
}

static int keep(struct honest_state *h, const struct rf_message *message)
{
	int status = give_back(h, h->which == BLOCKING ? 0 : KEPT - 1);

	h->kept[h->n_kept++] = *message;
	return status;
}

static int take(struct honest_state *h, const struct rf_message *messages, unsigned n)
{
	int status = FINE;
	unsigned i;

	for (i = 0; i < n && status == FINE; i++) {
		note_age(h, &messages[i]);
		status = check(h, &messages[i]);
		if (status == FINE)
			status = keep(h, &messages[i]);
	}
	tell(&h->churn->board->honest[h->which].received, h->received);
	return status;
}

static int receive(struct honest_state *h)
{
	struct rf_message messages[BATCH];
	int n, status = FINE;

	while (status == FINE) {
		n = rf_rx_borrow(h->rx, now_ns() + PATIENCE_NS, messages, BATCH);
		if (n == 0)
			return give_back(h, 0);
		if (n < 0) {
			fprintf(stderr, "churn: an honest subscriber: %s: %s\n", strerror(-n),
				rf_channel_reason(h->channel));
			return SPOILT;
		}
		status = take(h, messages, (unsigned)n);
	}
	return status;
}

int run_honest(const struct churn *churn, enum honest which)
{
	struct honest_state h = {.churn = churn, .which = which, .seed = which};
	struct rf_stats stats = {.size = sizeof(stats)};
	struct rf_options options;
	int status;

	rf_options_init(&options);
	options.direction = RF_RECEIVE;
	options.hold = HONEST_HOLD;
	options.lag = which == BLOCKING ? RF_LAG_BLOCK : RF_LAG_DISCONNECT;
	options.stall_ns = PATIENCE_NS;
	if (rf_connect(churn->path, &options, now_ns() + PATIENCE_NS, &h.channel) < 0) {
		fprintf(stderr, "churn: an honest subscriber cannot connect: %s\n", rf_reason());
		return FAILED;
	}
	h.rx = rf_channel_rx(h.channel);
	status = receive(&h);
	rf_channel_stats(h.channel, &stats);
	tell(&churn->board->honest[which].missed, stats.rx.missed);
	rf_channel_close(h.channel);
	return status;
}
