/* SPDX-License-Identifier: MIT */
/* What the tests of channels share: two ends in one process, threads, numbered records. */
#ifndef RF_TESTS_CHANNEL_FIXTURE_H
#define RF_TESTS_CHANNEL_FIXTURE_H

#include "channel.h"
#include "support.h"
#include "wire.h"

#include <pthread.h>
#include <ringfort/ringfort.h>

/* For what has to happen: long enough for a loaded machine, and the end of a lost wake-up. */
#define SOON_MS 10000

/* For what must not happen. */
#define WHILE_MS 30

/* Rings of 64 KiB. */
#define RING_BYTES 65536

/* With RF_OPTION_FENCE where the environment has RF_TEST_FENCE, as tests/peer has it then. */
struct rf_options channel_options(uint32_t doorbell, uint32_t wait);

/* Both ends of a channel, in this process: as accepted, and as connected. */
struct ends {
	struct rf_channel *server, *client;
};

/* Over a socketpair, and over a path of its own. A failure fails the test. */
void ends_open(struct ends *ends, const struct rf_options *server, const struct rf_options *client);
void ends_open_path(
	struct ends *ends, const struct rf_options *server, const struct rf_options *client);
void ends_close(struct ends *ends);

/* A path that nobody used before, and a listener on it; in memory that the next call reuses. */
const char *fresh_path(void);
struct rf_listener *listen_at(const char *path, const struct rf_options *options);

/* A socketpair of the right kind; the address of a descriptor, in memory that the next call
 * reuses. */
void make_pair(int socks[2]);
const char *fd_address(int fd);

/* Accepts within SOON_MS; a failure fails the test. */
struct rf_channel *accept_one(struct rf_listener *listener);

/* Starts tests/peer in a role and accepts it; a failure to accept fails the test. Its pid. */
pid_t accept_peer(
	const char *role, uint32_t doorbell, uint32_t wait, struct rf_channel **ret_channel);

/* A thread that returns a verdict. */
struct thread {
	pthread_t id;
	int (*run)(void *arg);
	void *arg;
	int verdict;
};

void thread_start(struct thread *thread, int (*run)(void *arg), void *arg);
int thread_join(struct thread *thread);

/* rf_connect() in a thread; result and reason are there after thread_join(). */
struct connecting {
	struct thread thread;
	char address[128];
	const struct rf_options *options;
	unsigned timeout_ms; /* 0: deadline 0 */
	struct rf_channel *channel;
	char reason[192];
};

void connect_start(struct connecting *connecting, const char *address,
	const struct rf_options *options, unsigned timeout_ms);

/* One record that holds a number. The errors are those of the calls; take_number: 1, or 0 at the
 * end of the stream; -EILSEQ: a record of another length. */
int send_number(struct rf_tx *tx, uint64_t number, uint64_t deadline_ns);
int take_number(struct rf_rx *rx, uint64_t deadline_ns, uint64_t *ret_number);

/* Takes `first` and the n - 1 numbers after it. 0; the error; -EILSEQ. */
int take_numbers(struct rf_rx *rx, uint64_t first, uint64_t n, uint64_t deadline_ns);

struct rf_stats channel_stats(struct rf_channel *channel);

/* Descriptors and mapped regions, before and after. And an honest channel, open since the first
 * leaks_begin(): assert_no_leaks() also fails unless it passes numbers both ways, unharmed by whatever
 * the test did in this process. */
struct leaks {
	size_t fds, regions;
};

struct leaks leaks_begin(void);
void assert_no_leaks(const struct leaks *before);

/* For cmocka: these two around a test. */
int leaks_setup(void **state);
int leaks_teardown(void **state);

/* Sleeps in the kernel until the half has done so n times (its sleeps count): how a test knows
 * that a thread sleeps. false: not within SOON_MS. */
bool wait_for_sleeps(struct rf_channel *channel, bool receiving, uint64_t n);

/* Waits until a pipe is readable or hung up; false: not within timeout_ms. */
bool wait_readable(int fd, unsigned timeout_ms);

/* Fails the test unless text says so. */
void assert_has(const char *text, const char *part);

/* The descriptors of a ring, in the order in which they travel. */
enum place { PRODUCER, CONSUMER, CONSUMER_BELL, PRODUCER_BELL, PLACES };

/* For peers that speak the protocol by hand: what rf_connect() or rf_listen() over a socketpair
 * would ask for; a message with up to RF__FDS_MAX descriptors, which must get through; one with
 * n (up to 20) times the socket itself: 0 or a negative errno. */
struct rf__wish wish_of(const struct rf_options *options);
void say(int sock, const void *message, size_t len, const int *fds, unsigned n);
int send_many_fds(int sock, const void *message, size_t len, unsigned n);

#endif
