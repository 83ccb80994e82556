/* SPDX-License-Identifier: MIT */
/* What the tests of publishers share: one on a path of its own, subscribers in this process and in
 * others, and turns for the publisher while somebody else is waited for. */
#ifndef RF_TESTS_PUBLISHER_FIXTURE_H
#define RF_TESTS_PUBLISHER_FIXTURE_H

#include "channel-fixture.h"

#define SUBSCRIBERS_MOST 80

/* For turns_until_figure(). */
#define FIGURE(name) offsetof(struct rf_publisher_stats, name)

struct stage {
	struct rf_publisher *publisher;
	struct rf_tx *tx;
	char path[128];
	struct rf_channel *channels[SUBSCRIBERS_MOST]; /* those of subscribe() */
	unsigned n;
	char reason[192]; /* why the last one failed */
};

/* 16 slots of 64 bytes, reserve 2; a subscriber that holds so many. */
struct rf_options publisher_options(uint32_t doorbell);
struct rf_options subscriber_options(uint32_t lag, uint32_t hold);

/* A failure fails the test. */
void stage_open(struct stage *stage, const struct rf_options *options);
void stage_open_plain(struct stage *stage); /* the options above, over sockets */
void stage_close(struct stage *stage);

/* Subscribes in this process, in a thread, while the publisher has turns. try_subscribe: the result
 * of rf_connect(). */
int try_subscribe(struct stage *stage, const struct rf_options *options);
struct rf_channel *subscribe(struct stage *stage, const struct rf_options *options);
struct rf_channel *subscribe_with(struct stage *stage, uint32_t lag, uint32_t hold);

/* One leaves, and the publisher knows. */
void unsubscribe(struct stage *stage, struct rf_channel *channel);

struct rf_publisher_stats publisher_stats(struct rf_publisher *publisher);

/* Processes, and describes subscriber i, oldest first. */
struct rf_subscriber subscriber(struct stage *stage, unsigned i);

/* Publishes first, first + 1 …, n of them, without waiting. 0 or the error. */
int publish_numbers(struct stage *stage, uint64_t first, uint64_t n);

/* One turn of an event loop of a publisher, of a few milliseconds at most. */
void stage_turn(struct stage *stage);

/* The publisher has turns, by its own event loop, until *word is at least value, or *figure of its stats
 * is: FIGURE(…). false: not within SOON_MS. */
bool turns_until(struct stage *stage, const uint64_t *word, uint64_t value);
bool turns_until_figure(struct stage *stage, size_t offset, uint64_t value);

/* Waits, without turns, until rf_tx_reserve() in another thread has slept n times. */
bool wait_for_publisher_sleeps(struct rf_publisher *publisher, uint64_t n);

/* rf_tx_reserve() in a thread; the verdict of thread_join() is its result. It is cancelled at once. */
struct reserving {
	struct thread thread;
	struct rf_tx *tx;
	uint64_t deadline_ns;
};

void reserve_start(struct reserving *reserving, struct rf_tx *tx);

/* Takes numbers in a thread: first, and the n - 1 after it; the verdict is 0. */
struct taking {
	struct thread thread;
	struct rf_rx *rx;
	uint64_t first, n;
};

void take_start(struct taking *taking, struct rf_channel *channel, uint64_t first, uint64_t n);

/* Words that children share with the test; zero at fixture_words(). */
uint64_t *fixture_words(void);
#define WORD_READ(word)         __atomic_load_n(word, __ATOMIC_ACQUIRE)
#define WORD_WRITE(word, value) __atomic_store_n(word, value, __ATOMIC_RELEASE)

#endif
