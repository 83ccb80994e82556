/* SPDX-License-Identifier: MIT */
/* Hostile peers against a process that also has an honest one. A row: an attack, carried out by
 * a process of another user, and what the victim must see of it. Meanwhile numbers go to and fro
 * on the honest channel, soon; afterwards the victim has what it had before, and a new client is
 * served. */
#include "channel-fixture.h"
#include "hostile/attacks.h"

#include "util/clock.h"
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define ROWS_MOST      64
#define CHANNELS_MOST  32
#define PASSES         8  /* batches taken of one channel before others have their turn */
#define BATCH          16 /* records */
#define LATENCY_MS     2000
#define GROWTH_BYTES   (8 << 20)
#define CPU_PERCENT    70
#define PROGRESS_LEAST 5

/* What the processes of a row tell each other */
struct board {
	char path[100];
	bool ready;           /* the victim listens */
	uint64_t honest;      /* numbers that came back */
	uint64_t latency_ns;  /* the longest of them took */
	uint64_t ended;       /* hostile channels that ended */
	int64_t last;         /* the error of the last one that did */
	uint64_t turned_away; /* by the listener */
};

static struct board *board;

#define READ(field)         __atomic_load_n(&board->field, __ATOMIC_ACQUIRE)
#define WRITE(field, value) __atomic_store_n(&board->field, value, __ATOMIC_RELEASE)

static void nap(unsigned ms)
{
	const struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

	nanosleep(&t, NULL);
}

/* The victim: sends back what it gets, in one thread, and never waits for anybody. */

struct victim {
	struct rf_listener *listener;
	struct rf_channel *channels[CHANNELS_MOST];
	unsigned n;
};

static bool is_hostile(struct rf_channel *channel)
{
	struct rf_peer peer = {.size = sizeof(peer)};

	return rf_channel_peer(channel, &peer) < 0 || peer.uid == RF_TEST_UID;
}

static void drop(struct victim *v, unsigned i, int error)
{
	if (is_hostile(v->channels[i])) {
		WRITE(last, error);
		WRITE(ended, board->ended + 1);
	}
	rf_channel_close(v->channels[i]);
	v->channels[i] = v->channels[--v->n];
}

/* What does not fit goes nowhere: who reads nothing gets nothing. */
static void send_back(struct rf_tx *tx, const struct rf_message *message)
{
	struct iovec part = {.iov_base = (void *)(uintptr_t)message->data, message->len};

	rf_tx_send(tx, &part, 1, 0);
}

/* 0; the error or -ENODATA (end of stream) that ends the channel. */
static int serve(struct rf_channel *channel)
{
	struct rf_rx *rx = rf_channel_rx(channel);
	struct rf_message messages[BATCH];
	int n = BATCH, pass, i;

	rf_channel_process(channel);
	for (pass = 0; pass < PASSES && n == BATCH; pass++) {
		n = rf_rx_borrow(rx, 0, messages, BATCH);
		for (i = 0; i < n; i++)
			send_back(rf_channel_tx(channel), &messages[i]);
		if (n > 0)
			rf_rx_release(rx, messages, (unsigned)n);
	}
	return n == -EAGAIN || n > 0 ? 0 : n ? n : -ENODATA;
}

static void admit(struct victim *v)
{
	struct rf_listener_stats stats = {.size = sizeof(stats)};
	struct rf_channel *channel;

	while (v->n < CHANNELS_MOST && rf_accept(v->listener, 0, &channel) == 0)
		v->channels[v->n++] = channel;
	rf_listener_stats(v->listener, &stats);
	WRITE(turned_away, stats.refused + stats.failed);
}

static int sleep_until_news(struct victim *v)
{
	struct pollfd fds[CHANNELS_MOST + 1];
	uint64_t until = RF_FOREVER, next, now;
	bool work;
	unsigned i;

	work = rf_listener_arm(v->listener, &until) == 1;
	fds[v->n] = (struct pollfd){.fd = rf_listener_fd(v->listener), .events = POLLIN};
	for (i = 0; i < v->n; i++) {
		fds[i] = (struct pollfd){.fd = rf_channel_fd(v->channels[i]), .events = POLLIN};
		if (rf_channel_arm(v->channels[i], RF_DATA, 0, &next) != 0)
			work = true;
		else if (next < until)
			until = next;
	}
	now = rf__now();
	if (work || until <= now)
		return poll(fds, v->n + 1, 0);
	return poll(fds, v->n + 1, until == RF_FOREVER ? -1 : (int)((until - now) / RF__MSEC) + 1);
}

static int be_the_victim(void *arg)
{
	static const uid_t uids[] = {RF_TEST_UID};
	struct rf_options options = channel_options(RF_DOORBELL_AUTO, RF_WAIT_ADAPTIVE);
	struct victim v = {.n = 0};
	unsigned i;
	int r;

	(void)arg;
	options.uids = uids;
	options.n_uids = 1;
	if (rf_listen(board->path, &options, &v.listener) < 0)
		return 1;
	WRITE(ready, true);
	for (;;) {
		if (sleep_until_news(&v) < 0)
			return 2;
		for (i = v.n; i-- > 0;) {
			r = serve(v.channels[i]);
			if (r < 0)
				drop(&v, i, r);
		}
		admit(&v);
	}
}

/* The honest client: a number there and back every millisecond. */
static int be_honest(void *arg)
{
	struct rf_channel *channel;
	uint64_t number, back = 0, begun, took;
	int r = rf_connect(board->path, NULL, rf_test_deadline(SOON_MS), &channel);

	(void)arg;
	for (number = 0; r >= 0; number++) {
		begun = rf__now();
		r = send_number(rf_channel_tx(channel), number, rf_test_deadline(SOON_MS));
		if (r >= 0)
			r = take_number(rf_channel_rx(channel), rf_test_deadline(SOON_MS), &back);
		if (r >= 0 && (r == 0 || back != number))
			return 1;
		took = rf__now() - begun;
		if (took > board->latency_ns)
			WRITE(latency_ns, took);
		WRITE(honest, number + 1);
		nap(1);
	}
	return 2;
}

/* The judge */

struct usage {
	size_t fds, regions;
	uint64_t resident, cpu_ns;
};

static size_t count_lines(pid_t pid, const char *what, const char *word)
{
	char command[64], line[512];
	size_t n = 0;
	FILE *list;

	snprintf(command, sizeof(command), "/proc/%d/%s", pid, what);
	list = fopen(command, "re");
	assert_non_null(list);
	while (fgets(line, sizeof(line), list))
		n += strstr(line, word) != NULL;
	fclose(list);
	return n;
}

static size_t count_fds_of(pid_t pid)
{
	char path[64];
	size_t n = 0, fd;

	for (fd = 0; fd < 1024; fd++) {
		snprintf(path, sizeof(path), "/proc/%d/fd/%zu", pid, fd);
		n += faccessat(AT_FDCWD, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
	}
	return n;
}

static struct usage usage_of(pid_t pid)
{
	struct usage usage = {
		.fds = count_fds_of(pid), .regions = count_lines(pid, "maps", "/memfd:")};
	unsigned long total = 0, resident = 0;
	struct timespec t = {0};
	clockid_t clock;
	char path[40];
	FILE *statm;

	snprintf(path, sizeof(path), "/proc/%d/statm", pid);
	statm = fopen(path, "re");
	assert_non_null(statm);
	assert_int_equal(fscanf(statm, "%lu %lu", &total, &resident), 2);
	fclose(statm);
	usage.resident = resident * (uint64_t)sysconf(_SC_PAGESIZE);
	assert_int_equal(clock_getcpuclockid(pid, &clock), 0);
	clock_gettime(clock, &t);
	usage.cpu_ns = (uint64_t)t.tv_sec * RF__SEC + (uint64_t)t.tv_nsec;
	return usage;
}

static void wait_for_progress(uint64_t least)
{
	uint64_t until = rf_test_deadline(SOON_MS), from = READ(honest);

	while (READ(honest) < from + least && rf__now() < until)
		nap(1);
	assert_true(READ(honest) >= from + least);
}

static struct usage wait_for_usage(pid_t victim, const struct usage *before)
{
	uint64_t until = rf_test_deadline(SOON_MS);
	struct usage after;

	do {
		nap(5);
		after = usage_of(victim);
	} while ((after.fds > before->fds || after.regions > before->regions) && rf__now() < until);
	return after;
}

static int run_attack(void *arg)
{
	const struct row *row = arg;

	return row->attack();
}

/* One that stops itself is killed; how it ended is its own affair, but for a success of its
 * attack. */
static void attack(const struct row *row)
{
	pid_t pid = rf_test_child(run_attack, (void *)(uintptr_t)row, RF_TEST_UID, RF_TEST_UID);
	int verdict;

	if (row->stops) {
		nap(ATTACK_MS);
		rf_test_kill(pid);
		return;
	}
	verdict = rf_test_wait(pid, SOON_MS);
	if (verdict != 0 && verdict != -SIGKILL)
		fail_msg("the attack could do what it should not: %d", verdict);
}

static void check_usage(const struct row *row, const struct usage *before,
	const struct usage *after, uint64_t wall_ns)
{
	assert_int_equal(after->fds, before->fds);
	assert_int_equal(after->regions, before->regions);
	if (rf_test_instrumented())
		return;
	assert_true(after->resident < before->resident + GROWTH_BYTES);
	if (!row->busy)
		assert_true((after->cpu_ns - before->cpu_ns) * 100 < wall_ns * CPU_PERCENT);
}

static int connect_anew(void *arg)
{
	struct rf_channel *channel;
	uint64_t number = 0;
	int r = rf_connect(board->path, NULL, rf_test_deadline(SOON_MS), &channel);

	(void)arg;
	if (r >= 0)
		r = send_number(rf_channel_tx(channel), 5, 0);
	if (r >= 0)
		r = take_number(rf_channel_rx(channel), rf_test_deadline(SOON_MS), &number);
	return r == 1 && number == 5 ? 0 : 1;
}

static void check_row(const struct row *row, pid_t victim)
{
	struct usage before, after;
	uint64_t begun, until;

	wait_for_progress(PROGRESS_LEAST);
	before = usage_of(victim);
	begun = rf__now();
	attack(row);
	wait_for_progress(PROGRESS_LEAST);
	after = wait_for_usage(victim, &before);
	check_usage(row, &before, &after, rf__now() - begun);
	until = rf_test_deadline(SOON_MS);
	while (row->shows != ANY && !READ(ended) && rf__now() < until)
		nap(1);
	if (row->shows != ANY)
		assert_int_equal(READ(last), row->shows);
	assert_int_equal(rf_test_wait(rf_test_child(connect_anew, NULL, 0, 0), SOON_MS), 0);
	assert_true(READ(latency_ns) < LATENCY_MS * RF__MSEC);
	print_message("# %lu numbers, the slowest took %lu us; %lu turned away\n",
		(unsigned long)READ(honest), (unsigned long)(READ(latency_ns) / 1000),
		(unsigned long)READ(turned_away));
}

static void an_attack_harms_nobody_else(void **state)
{
	const struct row *row = *state;
	uint64_t until = rf_test_deadline(SOON_MS);
	pid_t victim, honest;

	rf_test_need_root();
	memset(board, 0, sizeof(*board));
	snprintf(board->path, sizeof(board->path), "%s", fresh_path());
	victim = rf_test_child(be_the_victim, NULL, 0, 0);
	while (!READ(ready) && rf__now() < until)
		nap(1);
	honest = rf_test_child(be_honest, NULL, 0, 0);
	check_row(row, victim);
	assert_int_equal(kill(honest, 0) + kill(victim, 0), 0);
	rf_test_kill(honest);
	rf_test_kill(victim);
}

int main(void)
{
	struct CMUnitTest tests[ROWS_MOST];
	size_t n;

	board = mmap(
		NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (board == MAP_FAILED)
		return 1;
	hostile_path = board->path;
	for (n = 0; n < ROWS_MOST && hostile_rows[n].name; n++)
		tests[n] = (struct CMUnitTest){.name = hostile_rows[n].name,
			.test_func = an_attack_harms_nobody_else,
			.initial_state = (void *)(uintptr_t)&hostile_rows[n]};
	return _cmocka_run_group_tests("hostile", tests, n, NULL, NULL);
}
