/* SPDX-License-Identifier: MIT */
/* The publisher of tests/churn: a message at every tick, whoever comes and goes. */
#include "churn.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>

static int failed(const char *what, int error)
{
	fprintf(stderr, "churn: the publisher cannot %s: %s\n", what, strerror(-error));
	return FAILED;
}

static void tell_stats(const struct churn *churn, struct rf_publisher *publisher)
{
	struct rf_publisher_stats stats = {.size = sizeof(stats)};

	rf_publisher_stats(publisher, &stats);
	tell(&churn->board->publisher.messages, stats.messages);
	tell(&churn->board->publisher.joined, stats.joined);
	tell(&churn->board->publisher.left, stats.left);
	tell(&churn->board->publisher.cut, stats.cut);
	tell(&churn->board->publisher.broken, stats.broken);
	tell(&churn->board->publisher.refused, stats.refused);
	tell(&churn->board->publisher.failed, stats.failed);
}

static int publish_one(struct rf_tx *tx, uint64_t n)
{
	struct rf_buffer buffer;
	size_t words = words_of(n), k;
	int r = rf_tx_reserve(tx, words * 8, now_ns() + PATIENCE_NS, &buffer);

	if (r < 0)
		return r;
	for (k = 0; k < words; k++)
		((uint64_t *)buffer.data)[k] = word_of(n, k);
	buffer.tag = (uint32_t)n;
	buffer.user[0] = n;
	buffer.time_ns = now_ns();
	r = rf_tx_commit(tx, &buffer);
	return r < 0 ? r : rf_tx_publish(tx);
}

/* As an event loop would. */
static int wait_until(struct rf_publisher *publisher, uint64_t tick_ns)
{
	struct pollfd fd = {.fd = rf_publisher_fd(publisher), .events = POLLIN};
	uint64_t now, until = 0;
	int r = 0;

	while (r >= 0 && (now = now_ns()) < tick_ns) {
		struct timespec timeout = {0};

		r = rf_publisher_arm(publisher, 0, &until);
		until = until < tick_ns ? until : tick_ns;
		if (r == 0 && until > now) {
			timeout.tv_nsec = (long)(until - now);
			ppoll(&fd, 1, &timeout, NULL);
		}
		if (r >= 0)
			r = rf_publisher_process(publisher);
	}
	return r;
}

static int publish_all(const struct churn *churn, struct rf_publisher *publisher)
{
	struct rf_tx *tx = rf_publisher_tx(publisher);
	uint64_t n, tick_ns = now_ns();
	int r = 0;

	for (n = 1; r >= 0 && !told(&churn->board->finish); n++) {
		r = publish_one(tx, n);
		if (r < 0)
			return failed("publish", r);
		if (n % 64 == 0)
			tell_stats(churn, publisher);
		tick_ns += TICK_NS;
		if (tick_ns < now_ns())
			tick_ns = now_ns() + TICK_NS;
		r = wait_until(publisher, tick_ns);
	}
	if (r >= 0)
		r = rf_tx_end(tx);
	tell_stats(churn, publisher);
	return r < 0 ? failed("go on", r) : FINE;
}

int run_publisher(const struct churn *churn)
{
	struct rf_publisher *publisher;
	struct rf_options options;
	int status, r;

	rf_options_init(&options);
	options.slots = SLOTS;
	options.slot_bytes = SLOT_BYTES;
	options.reserve_slots = KEPT_BACK;
	options.wait_for = HONEST;
	r = rf_publish(churn->path, &options, &publisher);
	if (r < 0)
		return failed("begin", r);
	status = publish_all(churn, publisher);
	rf_publisher_close(publisher);
	return status;
}
