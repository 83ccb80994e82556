/* SPDX-License-Identifier: MIT */
/* Either side is killed, or stopped for a while, at random points of handshake and traffic: the
 * other gets what was sent, then the right error, soon, and nothing leaks. */
#include "channel-fixture.h"

#include "util/clock.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ROUNDS   1000
#define LIMIT_MS 5000 /* how soon the survivor knows */
#define DELAY_US 2500 /* how late the blow falls, at most */

static uint64_t random_state;

/* xorshift: the same numbers for the same seed */
static unsigned pick(unsigned n)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (unsigned)(random_state >> 33) % n;
}

struct match {
	struct rf_options options;
	char address[128]; /* the victim's */
	int keep;          /* our end of the socketpair; -1 with a path */
	bool listens;      /* the victim does */
	pid_t pid;
	unsigned delays_us[2];
	bool stops;
};

/* The victim */

static int open_victim(struct match *m, struct rf_channel **ret_channel)
{
	struct rf_listener *listener;

	if (!m->listens)
		return rf_connect(m->address, &m->options, rf_test_deadline(LIMIT_MS), ret_channel);
	if (rf_listen(m->address, &m->options, &listener) < 0)
		return -1;
	return rf_accept(listener, rf_test_deadline(LIMIT_MS), ret_channel);
}

/* Takes what there is, sends what fits, for ever. */
static int be_the_victim(void *arg)
{
	struct match *m = arg;
	struct rf_channel *channel;
	uint64_t number = 0;
	int r, i;

	if (m->keep >= 0)
		close(m->keep);
	r = open_victim(m, &channel);
	while (r >= 0) {
		struct rf_message messages[16];

		r = rf_rx_borrow(rf_channel_rx(channel), rf_test_deadline(1), messages, 16);
		if (r > 0)
			r = rf_rx_release(rf_channel_rx(channel), messages, (unsigned)r);
		for (i = 0; i < 16 && (r >= 0 || r == -ETIMEDOUT); i++)
			if (!(r = send_number(rf_channel_tx(channel), number, 0)))
				number++;
		if (r == -EAGAIN || r == -ETIMEDOUT)
			r = 0;
	}
	return 1;
}

/* The survivor */

static int send_on(void *arg)
{
	uint64_t number = 0;
	int r = 0;

	while (!r)
		r = send_number(rf_channel_tx(arg), number++, rf_test_deadline(LIMIT_MS));
	return r;
}

static int take_on(void *arg)
{
	uint64_t number, expected = 0;
	int r;

	while ((r = take_number(rf_channel_rx(arg), rf_test_deadline(LIMIT_MS), &number)) > 0)
		if (number != expected++)
			return -EILSEQ;
	return r;
}

static void nap(unsigned us)
{
	const struct timespec t = {.tv_nsec = (long)us * 1000};

	nanosleep(&t, NULL);
}

static int strike(void *arg)
{
	struct match *m = arg;

	nap(m->delays_us[0]);
	if (m->stops) {
		kill(m->pid, SIGSTOP);
		nap(m->delays_us[1]);
		if (m->delays_us[1] % 2) {
			kill(m->pid, SIGCONT);
			nap(m->delays_us[1]);
		}
	}
	return kill(m->pid, SIGKILL);
}

static bool has_died(pid_t pid)
{
	siginfo_t info = {.si_pid = 0};

	waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT);
	return info.si_pid == pid;
}

/* NULL: it died too early. */
static struct rf_channel *accept_victim(struct match *m, struct rf_listener *listener)
{
	uint64_t until = rf_test_deadline(LIMIT_MS);
	struct rf_channel *channel = NULL;
	bool died;
	int r;

	do {
		died = has_died(m->pid);
		r = rf_accept(listener, rf_test_deadline(2), &channel);
	} while (r == -ETIMEDOUT && !died && rf__now() < until);
	if (r == -ETIMEDOUT && !died)
		fail_msg("the victim neither came nor died");
	rf_listener_close(listener);
	return r < 0 ? NULL : channel;
}

static struct rf_channel *open_survivor(struct match *m, struct rf_listener *listener)
{
	const char *address = m->keep >= 0 ? fd_address(m->keep) : m->address;
	struct rf_channel *channel = NULL;
	uint64_t until;
	int r;

	if (listener)
		return accept_victim(m, listener);
	until = rf_test_deadline(m->keep >= 0 ? LIMIT_MS : 100);
	r = rf_connect(address, &m->options, until, &channel);
	if (r < 0 && m->keep >= 0)
		close(m->keep);
	if (r == -ETIMEDOUT)
		assert_int_equal(m->keep, -1);
	return r < 0 ? NULL : channel;
}

static void check_survivor(struct rf_channel *channel)
{
	struct thread sender, taker;
	int sent, taken;

	thread_start(&sender, send_on, channel);
	thread_start(&taker, take_on, channel);
	sent = thread_join(&sender);
	taken = thread_join(&taker);
	assert_int_equal(sent, -EPIPE);
	assert_int_equal(taken, -EPIPE);
	assert_string_equal(rf_channel_reason(channel), "the peer is gone");
	rf_channel_close(channel);
}

static void draw(struct match *m)
{
	memset(m, 0, sizeof(*m));
	m->options = channel_options(1 + pick(2), pick(3));
	m->options.ring_bytes = 4096u << pick(4);
	m->listens = pick(2);
	m->stops = pick(3) == 0;
	m->delays_us[0] = pick(DELAY_US);
	m->delays_us[1] = pick(DELAY_US / 2);
	m->keep = -1;
	snprintf(m->address, sizeof(m->address), "%s", fresh_path());
}

/* Was there a channel? */
static bool play(void)
{
	struct rf_listener *listener = NULL;
	struct rf_channel *channel;
	struct thread striker;
	struct match m;
	int socks[2] = {-1, -1};

	draw(&m);
	if (pick(2)) {
		make_pair(socks);
		m.keep = socks[0];
		snprintf(m.address, sizeof(m.address), "%s", fd_address(socks[1]));
	}
	if (!m.listens) /* before the victim is there, so that it never waits for us */
		listener = listen_at(m.keep >= 0 ? fd_address(m.keep) : m.address, &m.options);
	m.pid = rf_test_child(be_the_victim, &m, 0, 0);
	if (m.keep >= 0)
		close(socks[1]);
	thread_start(&striker, strike, &m);
	channel = open_survivor(&m, listener);
	if (channel)
		check_survivor(channel);
	assert_int_equal(thread_join(&striker), 0);
	assert_int_equal(rf_test_wait(m.pid, LIMIT_MS), -SIGKILL);
	return channel;
}

static void the_survivor_gets_a_prefix_and_epipe(void **state)
{
	unsigned round, rounds = rf_test_rounds(ROUNDS), channels = 0;
	struct leaks leaks = leaks_begin();

	(void)state;
	for (round = 0; round < rounds; round++) {
		channels += play();
		assert_no_leaks(&leaks);
	}
	print_message("# %u rounds, %u with a channel\n", rounds, channels);
	assert_true(channels > 0);
}

static uint64_t make_seed(void)
{
	const char *given = getenv("RF_TEST_SEED");
	uint64_t seed;

	if (given)
		return strtoull(given, NULL, 0);
	if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
		seed = rf__now();
	return seed;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_survivor_gets_a_prefix_and_epipe),
	};

	random_state = make_seed() | 1;
	print_message("# RF_TEST_SEED=%#llx\n", (unsigned long long)random_state);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
