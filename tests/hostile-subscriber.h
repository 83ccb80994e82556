/* SPDX-License-Identifier: MIT */
/* What the tests of hostile subscribers share: how they connect, in a child of another user, and the
 * publisher that goes on meanwhile. */
#ifndef RF_TESTS_HOSTILE_SUBSCRIBER_H
#define RF_TESTS_HOSTILE_SUBSCRIBER_H

#include "publisher-fixture.h"
#include "raw-client.h"

#include "util/clock.h"
#include <poll.h>
#include <sys/wait.h>

#define LATENCY_MS 2000
#define BUDGET_NS  (100 * RF__MSEC)
#define HASTE_NS   (50 * RF__MSEC)

/* Where children connect to. */
static const char *hostile_path;

static inline void nap(unsigned ms)
{
	poll(NULL, 0, (int)ms);
}

static inline struct rf_channel *try_hostile(uint32_t lag, uint32_t hold)
{
	static const uid_t uids[] = {0};
	struct rf_options options = subscriber_options(lag, hold);
	struct rf_channel *channel = NULL;

	options.uids = uids;
	options.n_uids = 1;
	options.stall_ns = HASTE_NS;
	rf_connect(hostile_path, &options, rf_test_deadline(SOON_MS), &channel);
	return channel;
}

static inline struct rf_channel *connect_hostile(uint32_t lag, uint32_t hold)
{
	struct rf_channel *channel = try_hostile(lag, hold);

	if (!channel)
		fprintf(stderr, "# %s\n", rf_reason());
	if (!channel)
		_exit(100);
	return channel;
}

/* Until the publisher has hung up. 0: it has. */
static inline int wait_for_hang_up(struct rf_channel *channel)
{
	struct pollfd fd = {.fd = channel->link.sock, .events = POLLRDHUP};

	return poll(&fd, 1, SOON_MS) > 0 && fd.revents & POLLRDHUP ? 0 : 20;
}

/* HELLO, as rf_connect() would say it to a publisher. */
static inline int raw_subscribe(void)
{
	struct rf_options options = subscriber_options(RF_LAG_DROP, 2);
	struct rf__wish wish = wish_of(&options);
	unsigned char message[RF__WIRE_MAX];
	int sock = raw_connect(hostile_path);
	struct rf__wire wire;
	unsigned n_fds;
	size_t len;

	rf__wire_init(&wire, false, &wish);
	len = rf__wire_output(&wire, message, &n_fds);
	if (sock >= 0)
		raw_send(sock, message, len, -1);
	return sock;
}

/* Users that children run as. */
static const uid_t others[] = {RF_TEST_UID, RF_TEST_OTHER_UID};

static inline struct rf_options open_to_others(void)
{
	struct rf_options options = publisher_options(RF_DOORBELL_AUTO);

	options.uids = others;
	options.n_uids = 2;
	options.block_ns = BUDGET_NS;
	return options;
}

static inline int take_to_the_end(void *arg)
{
	uint64_t number, expected = 1;
	int r;

	while ((r = take_number(arg, rf_test_deadline(SOON_MS), &number)) > 0)
		if (number != expected++)
			return -EILSEQ;
	return r;
}

/* The slowest took so long. */
static inline uint64_t publish_on(struct stage *stage, uint64_t *number, uint64_t n)
{
	uint64_t begun, slowest = 0;

	while (n--) {
		begun = rf__now();
		assert_int_equal(send_number(stage->tx, ++*number, rf_test_deadline(SOON_MS)), 0);
		if (rf__now() - begun > slowest)
			slowest = rf__now() - begun;
		if (*number % 8 == 0)
			stage_turn(stage);
	}
	return slowest;
}

static inline bool has_ended(pid_t pid, bool stops)
{
	siginfo_t info = {.si_pid = 0};

	waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT | (stops ? WSTOPPED : 0));
	return info.si_pid == pid;
}

/* Until the child has ended, or stopped, in which case it is killed; else its verdict has to be 0. */
static inline void publish_meanwhile(struct stage *stage, uint64_t *number, pid_t pid, bool stops)
{
	uint64_t give_up = rf_test_deadline(SOON_MS), slowest = 0, took;

	while (!has_ended(pid, stops) && rf__now() < give_up) {
		took = publish_on(stage, number, 8);
		slowest = took > slowest ? took : slowest;
	}
	took = publish_on(stage, number, 40);
	assert_true((took > slowest ? took : slowest) < LATENCY_MS * RF__MSEC);
	if (stops)
		rf_test_kill(pid);
	else
		assert_int_equal(rf_test_wait(pid, SOON_MS), 0);
}

#endif
