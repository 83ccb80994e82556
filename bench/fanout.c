/* SPDX-License-Identifier: MIT */
/* What a message costs its publisher: reserve, write, commit and publish for so many
 * subscribers, in time and in processor time of the publisher's thread. Subscribers are awake
 * (one process that looks at each in turn and never sleeps) or asleep (a process each, in epoll
 * until it is kicked). */
#include "fanout.h"

#include "payload.h"

#include <errno.h>
#include <fcntl.h>
#include <ringfort/ringfort.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SUBSCRIBERS_MOST 64
#define BURST_MOST       16
#define KEPT_BACK        (BURST_MOST + 2)
#define LOOKS            (1 << 16) /* at the board, until somebody looks after the subscribers */
#define BURSTS_LEAST     4
#define LIMIT_S          75 /* no row begins later */
#define TRIES            4  /* samples for each one that is wanted */
#define MEMORY_MOST      (UINT64_C(1) << 30)
#define SEC              UINT64_C(1000000000)

static const unsigned numbers[] = {0, 1, 4, 16, 64};
static const size_t sizes[] = {64, 4096, 65536, 1 << 20};

/* What the subscribers say; each on a line of its own. */
struct board {
	uint64_t turn; /* whose it is to connect: handshakes at a time are limited */
	struct {
		_Alignas(128) uint64_t taken;
	} of[SUBSCRIBERS_MOST];
};

/* A row: for whom is published. */
struct setup {
	size_t size;
	unsigned n, burst; /* messages in a row */
	bool asleep;
};

struct cost {
	double wall_ns, cpu_ns;
};

struct fanout {
	const struct aside *aside;
	struct pinned prober; /* its other process is stopped but for probes */
	struct board *board;
	char path[64];
	struct cost clocks; /* of looking at them */
	/* now */
	struct setup setup;
	struct rf_publisher *publisher;
	pid_t pids[SUBSCRIBERS_MOST];
	int stats[SUBSCRIBERS_MOST]; /* of /proc/PID/stat */
	unsigned n_pids;
	uint64_t published;
};

/* Subscribers */

static void set_taken(struct fanout *fanout, unsigned i, uint64_t taken)
{
	__atomic_store_n(&fanout->board->of[i].taken, taken, __ATOMIC_RELEASE);
}

static unsigned hold_of(const struct setup *setup)
{
	return setup->burst < 2 ? 2 : setup->burst;
}

static unsigned slots_of(const struct setup *setup)
{
	return SUBSCRIBERS_MOST * hold_of(setup) + KEPT_BACK;
}

static struct rf_channel *subscribe(struct fanout *fanout, unsigned i)
{
	struct rf_options options;
	struct rf_channel *channel;
	int r;

	while (__atomic_load_n(&fanout->board->turn, __ATOMIC_ACQUIRE) != i)
		sched_yield();
	rf_options_init(&options);
	options.direction = RF_RECEIVE;
	options.wait = RF_WAIT_SLEEP;
	options.lag = RF_LAG_DROP;
	options.hold = hold_of(&fanout->setup);
	options.max_ring_bytes = MEMORY_MOST;
	r = rf_connect(fanout->path, &options, pinned_now() + 10 * SEC, &channel);
	if (r < 0)
		aside_fail("connect", r);
	__atomic_store_n(&fanout->board->turn, i + 1, __ATOMIC_RELEASE);
	return channel;
}

/* Takes what is there until deadline_ns. How many; 0: the end. */
static int take(struct fanout *fanout, struct rf_channel *channel, unsigned i, uint64_t deadline_ns)
{
	static volatile uint64_t sum;
	struct rf_message messages[BURST_MOST];
	struct rf_rx *rx = rf_channel_rx(channel);
	int n = rf_rx_borrow(rx, deadline_ns, messages, BURST_MOST), k;

	if (n == -EAGAIN)
		return 1;
	if (n < 0)
		aside_fail("a subscriber", n);
	for (k = 0; k < n; k++) {
		if (messages[k].missed)
			aside_fail("a subscriber missed messages", -EILSEQ);
		sum = sum + payload_sum(messages[k].data, messages[k].len);
	}
	if (n == 0)
		return 0;
	rf_rx_release(rx, messages, (unsigned)n);
	set_taken(fanout, i, messages[n - 1].user[0]);
	return n;
}

_Noreturn static void stay_awake(struct fanout *fanout)
{
	struct rf_channel *channels[SUBSCRIBERS_MOST];
	unsigned n = fanout->setup.n, ended = 0, i;

	for (i = 0; i < n; i++)
		channels[i] = subscribe(fanout, i);
	while (!ended)
		for (i = 0; i < n; i++)
			ended += !take(fanout, channels[i], i, 0);
	exit(0);
}

_Noreturn static void sleep_between(struct fanout *fanout, unsigned i)
{
	struct rf_channel *channel = subscribe(fanout, i);

	while (take(fanout, channel, i, RF_FOREVER))
		;
	rf_channel_close(channel);
	exit(0);
}

static pid_t fork_pinned(const struct fanout *fanout)
{
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid < 0)
		aside_fail("fork", -errno);
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	aside_pin(fanout->aside, 1);
	return 0;
}

static void start_subscribers(struct fanout *fanout)
{
	unsigned processes = fanout->setup.asleep ? fanout->setup.n : !!fanout->setup.n, i;
	char path[64];

	memset(fanout->board, 0, sizeof(*fanout->board));
	fanout->n_pids = 0;
	for (i = 0; i < processes; i++) {
		pid_t pid = fork_pinned(fanout);

		if (!pid && fanout->setup.asleep)
			sleep_between(fanout, i);
		if (!pid)
			stay_awake(fanout);
		snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
		fanout->stats[i] = open(path, O_RDONLY | O_CLOEXEC);
		if (fanout->stats[i] < 0)
			aside_fail(path, -errno);
		fanout->pids[fanout->n_pids++] = pid;
	}
}

static void look_after_subscribers(const struct fanout *fanout)
{
	for (unsigned i = 0; i < fanout->n_pids; i++)
		if (waitpid(fanout->pids[i], NULL, WNOHANG) != 0)
			aside_fail("a subscriber has gone", -ECHILD);
}

static void signal_subscribers(const struct fanout *fanout, int number)
{
	for (unsigned i = 0; i < fanout->n_pids; i++)
		kill(fanout->pids[i], number);
}

/* The publisher */

static void begin(struct fanout *fanout, const struct setup *setup)
{
	struct rf_options options;
	int r;

	fanout->setup = *setup;
	fanout->published = 0;
	start_subscribers(fanout);
	rf_options_init(&options);
	options.slots = slots_of(setup);
	options.reserve_slots = KEPT_BACK;
	options.slot_bytes = setup->size;
	options.max_ring_bytes = MEMORY_MOST;
	options.wait_for = setup->n;
	options.max_channels = 2 * SUBSCRIBERS_MOST;
	r = rf_publish(fanout->path, &options, &fanout->publisher);
	if (r < 0)
		aside_fail("publish", r);
}

static uint64_t thread_ns(void)
{
	struct timespec used;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
	return (uint64_t)used.tv_sec * SEC + (uint64_t)used.tv_nsec;
}

static void publish_one(struct fanout *fanout)
{
	struct rf_tx *tx = rf_publisher_tx(fanout->publisher);
	struct rf_buffer buffer;
	int r = rf_tx_reserve(tx, fanout->setup.size, pinned_now() + 10 * SEC, &buffer);

	if (r < 0)
		aside_fail("reserve", r);
	payload_fill(buffer.data, buffer.len, fanout->published);
	buffer.user[0] = ++fanout->published;
	rf_tx_commit(tx, &buffer);
	r = rf_tx_publish(tx);
	if (r < 0)
		aside_fail("publish", r);
}

static bool has_all(const struct fanout *fanout, unsigned i)
{
	return __atomic_load_n(&fanout->board->of[i].taken, __ATOMIC_ACQUIRE) == fanout->published;
}

/* Having taken everything, there is nothing it can wait for but the next kick. */
static bool sleeps(const struct fanout *fanout, unsigned i)
{
	char stat[64] = "";
	const char *name_end;

	if (pread(fanout->stats[i], stat, sizeof(stat) - 1, 0) < 0)
		aside_fail("a subscriber's state", -errno);
	name_end = strrchr(stat, ')');
	return name_end && name_end[1] == ' ' && name_end[2] == 'S';
}

/* Until all have what was published and, where they do, sleep again. */
static void wait_for_all(const struct fanout *fanout)
{
	unsigned looks = 0, i;

	for (i = 0; i < fanout->setup.n; i++)
		while (!has_all(fanout, i) || (fanout->setup.asleep && !sleeps(fanout, i)))
			if (++looks % LOOKS == 0)
				look_after_subscribers(fanout);
}

static struct cost publish_burst(struct fanout *fanout)
{
	uint64_t cpu = thread_ns(), wall = pinned_now();
	struct cost cost;

	for (unsigned i = 0; i < fanout->setup.burst; i++)
		publish_one(fanout);
	wall = pinned_now() - wall;
	cpu = thread_ns() - cpu;
	cost.wall_ns = (double)wall - fanout->clocks.wall_ns;
	cost.cpu_ns = (double)cpu - fanout->clocks.cpu_ns;
	wait_for_all(fanout);
	return cost;
}

static struct cost sample(struct fanout *fanout)
{
	uint64_t until = pinned_now() + fanout->aside->settings->sample_ms * (SEC / 1000);
	struct cost cost, sum = {0, 0};
	unsigned bursts = 0;
	double messages;

	publish_burst(fanout);
	while (bursts < BURSTS_LEAST || pinned_now() < until) {
		cost = publish_burst(fanout);
		sum.wall_ns += cost.wall_ns;
		sum.cpu_ns += cost.cpu_ns;
		bursts++;
	}
	messages = (double)bursts * fanout->setup.burst;
	return (struct cost){sum.wall_ns / messages, sum.cpu_ns / messages};
}

static uint64_t kicks(const struct fanout *fanout)
{
	struct rf_subscriber subscribers[SUBSCRIBERS_MOST];
	uint64_t sum = 0;
	int n;

	rf_publisher_process(fanout->publisher); /* brings the figures up to date */
	n = rf_publisher_subscribers(fanout->publisher, subscribers, SUBSCRIBERS_MOST);
	for (int i = 0; i < n; i++)
		sum += subscribers[i].kicks;
	return sum;
}

static void finish(struct fanout *fanout)
{
	int status;

	rf_tx_end(rf_publisher_tx(fanout->publisher));
	rf_publisher_close(fanout->publisher);
	for (unsigned i = 0; i < fanout->n_pids; i++) {
		close(fanout->stats[i]);
		if (waitpid(fanout->pids[i], &status, 0) < 0 || status)
			aside_fail("a subscriber has failed", -ECHILD);
	}
	fanout->n_pids = 0;
}

/* Where the processors stand. The subscribers that are awake do not run meanwhile. */

static enum placement probe(struct fanout *fanout)
{
	enum placement placement;

	signal_subscribers(fanout, SIGSTOP);
	kill(fanout->prober.producer, SIGCONT);
	placement = pinned_probe(&fanout->prober);
	kill(fanout->prober.producer, SIGSTOP);
	signal_subscribers(fanout, SIGCONT);
	return placement;
}

/* Rows */

struct samples {
	double wall[100 * TRIES], cpu[100 * TRIES];
	unsigned n;
};

static void tell(const struct fanout *fanout, enum placement at, struct samples *samples,
	unsigned dropped, double kicks_each)
{
	const struct setup *setup = &fanout->setup;
	struct record record;
	double cpu, least, most;

	aside_begin(&record, "fan-out", setup->asleep ? "asleep" : "awake", at);
	record.size = setup->size;
	record.n = setup->n;
	record.rounds = samples->n;
	record.dropped = dropped;
	record.kicks = kicks_each;
	aside_summarise(fanout->aside, samples->wall, samples->n, &record.p50, &record.p50_min,
		&record.p50_max);
	aside_summarise(fanout->aside, samples->cpu, samples->n, &cpu, &least, &most);
	record.cpu_s = cpu / 1e3;
	record.per_s = 1e9 / record.p50;
	aside_tell(fanout->aside, &record);
}

static void measure(struct fanout *fanout)
{
	static struct samples samples[PLACEMENTS];
	unsigned tries = fanout->aside->settings->rounds * TRIES,
		 rounds = fanout->aside->settings->rounds;
	enum placement before, after;
	unsigned dropped = 0;

	samples[NEAR].n = samples[FAR].n = 0;
	while (fanout->published < 2 * slots_of(&fanout->setup))
		publish_burst(fanout); /* all memory has been touched */
	while (tries-- && samples[NEAR].n < rounds && samples[FAR].n < rounds) {
		struct cost cost;

		before = probe(fanout);
		cost = sample(fanout);
		after = probe(fanout);
		if (before != after || after == CROWDED) {
			dropped++;
			continue;
		}
		samples[after].wall[samples[after].n] = cost.wall_ns;
		samples[after].cpu[samples[after].n++] = cost.cpu_ns;
	}
	for (int at = 0; at < PLACEMENTS; at++)
		if (samples[at].n)
			tell(fanout, (enum placement)at, &samples[at], dropped,
				(double)kicks(fanout) / (double)fanout->published);
}

static unsigned burst_for(size_t size, bool asleep)
{
	if (asleep || size > 65536)
		return 1;
	return size > 4096 ? 4 : BURST_MOST;
}

static void measure_rows(struct fanout *fanout, size_t size, uint64_t until_ns)
{
	for (unsigned i = 0; i < sizeof(numbers) / sizeof(*numbers); i++)
		for (int asleep = 0; asleep <= (numbers[i] ? 1 : 0); asleep++) {
			struct setup setup = {
				size, numbers[i], burst_for(size, asleep), asleep != 0};

			if (pinned_now() > until_ns)
				return;
			if (fanout->aside->settings->smoke && numbers[i] > 4)
				return;
			begin(fanout, &setup);
			measure(fanout);
			finish(fanout);
		}
}

/* What publish_burst() itself costs */
static void calibrate(struct fanout *fanout)
{
	double wall[101], cpu[101], least, most;

	for (unsigned i = 0; i < 101; i++) {
		struct cost cost = publish_burst(fanout);

		wall[i] = cost.wall_ns;
		cpu[i] = cost.cpu_ns;
	}
	aside_summarise(fanout->aside, wall, 101, &fanout->clocks.wall_ns, &least, &most);
	aside_summarise(fanout->aside, cpu, 101, &fanout->clocks.cpu_ns, &least, &most);
}

static void set_up(struct fanout *fanout)
{
	struct rlimit limit;
	int r = pinned_init(&fanout->prober);

	aside_pin(fanout->aside, 0);
	fanout->board = mmap(NULL, sizeof(*fanout->board), PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (r < 0 || fanout->board == MAP_FAILED)
		aside_fail("memory", -ENOMEM);
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	snprintf(fanout->path, sizeof(fanout->path), "%s/fan-out", fanout->aside->dir);
	fanout->prober.producer = fork_pinned(fanout);
	if (!fanout->prober.producer) {
		pinned_follow(&fanout->prober, NULL, NULL);
		_exit(0);
	}
	calibrate(fanout);
}

void fanout_test(const struct aside *aside)
{
	static struct fanout fanout;
	uint64_t until = pinned_now() + LIMIT_S * SEC;
	unsigned n = sizeof(sizes) / sizeof(*sizes);

	fanout.aside = aside;
	set_up(&fanout);
	for (unsigned i = 0; i < n; i += aside->settings->smoke ? 2 : 1)
		measure_rows(&fanout, sizes[i], until);
	kill(fanout.prober.producer, SIGCONT);
	pinned_end(&fanout.prober);
}
