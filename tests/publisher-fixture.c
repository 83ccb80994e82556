/* SPDX-License-Identifier: MIT */
/* What the tests of publishers share. */
#include "publisher-fixture.h"

#include "util/clock.h"
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define WORDS 64

struct rf_options publisher_options(uint32_t doorbell)
{
	struct rf_options options;

	rf_options_init(&options);
	options.doorbell = doorbell;
	options.slots = 16;
	options.slot_bytes = 64;
	options.reserve_slots = 2;
	return options;
}

struct rf_options subscriber_options(uint32_t lag, uint32_t hold)
{
	struct rf_options options;

	rf_options_init(&options);
	options.direction = RF_RECEIVE;
	options.lag = lag;
	options.hold = hold;
	return options;
}

void stage_open(struct stage *stage, const struct rf_options *options)
{
	int r;

	memset(stage, 0, sizeof(*stage));
	snprintf(stage->path, sizeof(stage->path), "%s", fresh_path());
	r = rf_publish(stage->path, options, &stage->publisher);
	if (r < 0)
		fail_msg("rf_publish: %d, %s", r, rf_reason());
	stage->tx = rf_publisher_tx(stage->publisher);
	assert_non_null(stage->tx);
}

void stage_open_plain(struct stage *stage)
{
	struct rf_options options = publisher_options(RF_DOORBELL_SOCKET);

	stage_open(stage, &options);
}

void stage_close(struct stage *stage)
{
	while (stage->n)
		rf_channel_close(stage->channels[--stage->n]);
	rf_publisher_close(stage->publisher);
	stage->publisher = NULL;
}

struct rf_publisher_stats publisher_stats(struct rf_publisher *publisher)
{
	struct rf_publisher_stats stats = {.size = sizeof(stats)};

	rf_publisher_stats(publisher, &stats);
	return stats;
}

/* A turn of an event loop, of at most a few milliseconds: what is waited for need not be the
 * publisher's affair. */
void stage_turn(struct stage *stage)
{
	struct rf_publisher *publisher = stage->publisher;
	struct pollfd fd = {.fd = rf_publisher_fd(publisher), .events = POLLIN};
	uint64_t until = RF_FOREVER;

	if (rf_publisher_arm(publisher, 0, &until) == 0)
		poll(&fd, 1, until < rf_test_deadline(5) ? 1 : 5);
	rf_publisher_process(publisher);
}

bool turns_until(struct stage *stage, const uint64_t *word, uint64_t value)
{
	uint64_t until = rf_test_deadline(SOON_MS);

	while (WORD_READ(word) < value && rf__now() < until)
		stage_turn(stage);
	return WORD_READ(word) >= value;
}

static uint64_t figure(struct stage *stage, size_t offset)
{
	struct rf_publisher_stats stats = publisher_stats(stage->publisher);
	uint64_t value;

	memcpy(&value, (char *)&stats + offset, sizeof(value));
	return value;
}

bool turns_until_figure(struct stage *stage, size_t offset, uint64_t value)
{
	uint64_t until = rf_test_deadline(SOON_MS);

	while (figure(stage, offset) < value && rf__now() < until)
		stage_turn(stage);
	return figure(stage, offset) >= value;
}

static uint64_t outcomes(struct stage *stage)
{
	struct rf_publisher_stats stats = publisher_stats(stage->publisher);

	return stats.joined + stats.refused + stats.failed;
}

int try_subscribe(struct stage *stage, const struct rf_options *options)
{
	uint64_t before = outcomes(stage), until = rf_test_deadline(SOON_MS);
	struct connecting connecting;
	int r;

	assert_true(stage->n < SUBSCRIBERS_MOST);
	connect_start(&connecting, stage->path, options, SOON_MS);
	while (outcomes(stage) == before && rf__now() < until)
		stage_turn(stage);
	r = thread_join(&connecting.thread);
	snprintf(stage->reason, sizeof(stage->reason), "%s", connecting.reason);
	if (r >= 0)
		stage->channels[stage->n++] = connecting.channel;
	return r;
}

struct rf_channel *subscribe(struct stage *stage, const struct rf_options *options)
{
	int r = try_subscribe(stage, options);

	if (r < 0)
		fail_msg("rf_connect: %d, %s; %s", r, stage->reason,
			rf_publisher_reason(stage->publisher));
	return stage->channels[stage->n - 1];
}

struct rf_channel *subscribe_with(struct stage *stage, uint32_t lag, uint32_t hold)
{
	struct rf_options options = subscriber_options(lag, hold);

	return subscribe(stage, &options);
}

void unsubscribe(struct stage *stage, struct rf_channel *channel)
{
	uint64_t left = publisher_stats(stage->publisher).left;
	unsigned i;

	for (i = 0; i < stage->n && stage->channels[i] != channel; i++)
		;
	assert_true(i < stage->n);
	stage->channels[i] = stage->channels[--stage->n];
	rf_channel_close(channel);
	assert_true(turns_until_figure(stage, FIGURE(left), left + 1));
}

struct rf_subscriber subscriber(struct stage *stage, unsigned i)
{
	struct rf_subscriber all[SUBSCRIBERS_MOST];

	rf_publisher_process(stage->publisher);
	assert_true(
		(unsigned)rf_publisher_subscribers(stage->publisher, all, SUBSCRIBERS_MOST) > i);
	return all[i];
}

int publish_numbers(struct stage *stage, uint64_t first, uint64_t n)
{
	uint64_t i;
	int r = 0;

	for (i = first; i < first + n && r >= 0; i++)
		r = send_number(stage->tx, i, 0);
	return r;
}

bool wait_for_publisher_sleeps(struct rf_publisher *publisher, uint64_t n)
{
	uint64_t until = rf_test_deadline(SOON_MS);

	while (publisher_stats(publisher).sleeps < n && rf__now() < until)
		sched_yield();
	return publisher_stats(publisher).sleeps >= n;
}

static int run_reserve(void *arg)
{
	struct reserving *reserving = arg;
	struct rf_buffer buffer;
	int r = rf_tx_reserve(reserving->tx, 8, reserving->deadline_ns, &buffer);

	return r < 0 ? r : rf_tx_cancel(reserving->tx, &buffer);
}

void reserve_start(struct reserving *reserving, struct rf_tx *tx)
{
	reserving->tx = tx;
	reserving->deadline_ns = rf_test_deadline(SOON_MS);
	thread_start(&reserving->thread, run_reserve, reserving);
}

static int run_take(void *arg)
{
	struct taking *taking = arg;

	return take_numbers(taking->rx, taking->first, taking->n, rf_test_deadline(2 * SOON_MS));
}

void take_start(struct taking *taking, struct rf_channel *channel, uint64_t first, uint64_t n)
{
	taking->rx = rf_channel_rx(channel);
	taking->first = first;
	taking->n = n;
	thread_start(&taking->thread, run_take, taking);
}

uint64_t *fixture_words(void)
{
	static uint64_t *words;

	if (!words)
		words = mmap(NULL, WORDS * sizeof(*words), PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(words != MAP_FAILED);
	memset(words, 0, WORDS * sizeof(*words));
	return words;
}
