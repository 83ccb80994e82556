/* SPDX-License-Identifier: MIT */
/* A pair of processes with one transport between them: takes samples as it is told. */
#include "harness.h"

#include "payload.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define LIMIT_S      20 /* for a job; whoever has not finished then is stuck */
#define WARM_NS      3000000
#define WARM_AT_ONCE 16
#define KEPT_BYTES   ((size_t)17 << 20) /* of what is shared, from one sample to the next */
#define COUNT_MOST   (UINT64_C(1) << 30)
#define SEC          UINT64_C(1000000000)

/* The producer's commands. */
enum { RUN_START, RUN_OPEN, RUN_PASS, RUN_CLOSE, RUN_REST, RUN_STOP };

_Static_assert(sizeof(struct orders) <= PINNED_SHARED_BYTES, "orders do not fit");

double latency_clock(void)
{
	uint64_t begun = pinned_now(), ticks = latency_ticks(), now;

	do {
		now = pinned_now();
	} while (now - begun < 5000000);
	return (double)(now - begun) / (double)(latency_ticks() - ticks);
}

/* Usage */

static uint64_t cpu_ns(void)
{
	struct timespec used;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
	return (uint64_t)used.tv_sec * SEC + (uint64_t)used.tv_nsec;
}

static void begin_usage(struct pair *pair, struct usage *usage)
{
	struct rusage now;

	if (pair->transport->count)
		pair->transport->count(&pair->end);
	pair->end.counters = (struct counters){0, 0, 0};
	getrusage(RUSAGE_SELF, &now);
	usage->wakeups = (uint64_t)now.ru_nvcsw;
	usage->cpu_ns = cpu_ns();
}

static void end_usage(struct pair *pair, struct usage *usage)
{
	struct rusage now;

	usage->cpu_ns = cpu_ns() - usage->cpu_ns;
	getrusage(RUSAGE_SELF, &now);
	usage->wakeups = (uint64_t)now.ru_nvcsw - usage->wakeups;
	if (pair->transport->count)
		pair->transport->count(&pair->end);
	usage->counters = pair->end.counters;
}

static void add_usage(struct usage *usage, const struct usage *other)
{
	usage->cpu_ns += other->cpu_ns;
	usage->wakeups += other->wakeups;
	usage->counters.syscalls += other->counters.syscalls;
	usage->counters.kicks += other->counters.kicks;
}

/* The producer */

static int echo(struct pair *pair, uint64_t count)
{
	struct end *end = &pair->end;
	uint64_t sum = 0;
	int r = 0;

	for (uint64_t s = 0; s < count && r >= 0; s++) {
		r = pair->transport->receive(end, &pair->orders->job, 1, &sum);
		if (r >= 0)
			r = pair->transport->send(end, &pair->orders->job, s, 1);
	}
	return r;
}

static void sleep_until(uint64_t at_ns)
{
	struct timespec at = {(time_t)(at_ns / SEC), (long)(at_ns % SEC)};

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) == EINTR)
		;
}

static int send_frames(struct pair *pair, uint64_t count)
{
	const struct job *job = &pair->orders->job;
	uint64_t each = job->rate ? SEC / job->rate : 0, next = pinned_now();
	int r = 0;

	for (uint64_t s = 0; s < count && r >= 0; s++, next += each) {
		if (each)
			sleep_until(next);
		__atomic_store_n(&pair->orders->begun[s % STAMPS], pinned_now(), __ATOMIC_RELEASE);
		r = pair->transport->send(&pair->end, job, s, 1);
	}
	return r;
}

static int produce_pass(struct pair *pair)
{
	struct orders *orders = pair->orders;
	int r;

	begin_usage(pair, &orders->usage);
	if (orders->job.test == TEST_ROUND_TRIP)
		r = echo(pair, orders->count);
	else if (orders->job.test == TEST_FRAMES)
		r = send_frames(pair, orders->count);
	else
		r = pair->transport->send(&pair->end, &orders->job, 0, orders->count);
	end_usage(pair, &orders->usage);
	return r;
}

static int rest(struct pair *pair)
{
	char woken;

	return worker_read(pair->wake[0], &woken, 1);
}

static int open_end(struct pair *pair)
{
	pair->end.opened++;
	return pair->transport->open ? pair->transport->open(&pair->end, &pair->orders->job) : 0;
}

/* Many pairs wait for their turn: none keeps much memory. */
static void close_end(struct pair *pair)
{
	if (pair->transport->close)
		pair->transport->close(&pair->end);
	madvise(pair->end.buffer + (1 << 20), BUFFER_BYTES - (1 << 20), MADV_DONTNEED);
}

static int carry_out_one(struct pair *pair, uint64_t command)
{
	const struct transport *transport = pair->transport;

	switch (command) {
	case RUN_START:
		return transport->start ? transport->start(&pair->end) : 0;
	case RUN_OPEN:
		return open_end(pair);
	case RUN_PASS:
		return produce_pass(pair);
	case RUN_CLOSE:
		close_end(pair);
		return 0;
	case RUN_REST:
		return rest(pair);
	default:
		if (transport->stop)
			transport->stop(&pair->end);
		return 0;
	}
}

static void carry_out(uint64_t command, void *context)
{
	struct pair *pair = context;

	pair->end.why[0] = '\0';
	pair->orders->error = carry_out_one(pair, command);
	memcpy(pair->orders->why, pair->end.why, WHY_BYTES);
}

/* The consumer */

static int told(struct pair *pair, uint64_t command)
{
	pinned_start(&pair->pinned, command);
	pinned_finish(&pair->pinned);
	if (pair->orders->error < 0 && !pair->end.why[0])
		memcpy(pair->end.why, pair->orders->why, WHY_BYTES);
	return pair->orders->error;
}

/* An end that waited in vain for the other is not the one to ask why. */
static int both(struct pair *pair, int r)
{
	int theirs;

	pinned_finish(&pair->pinned);
	theirs = pair->orders->error;
	if (theirs < 0 && (r >= 0 || r == -ETIMEDOUT || r == -EPIPE)) {
		memcpy(pair->end.why, pair->orders->why, WHY_BYTES);
		return theirs;
	}
	return r < 0 ? r : 0;
}

static void wait_for_tick(uint64_t at_ns)
{
	while (pinned_now() < at_ns)
		pinned_pause();
}

static int go_round(struct pair *pair, uint64_t count, uint64_t *sum)
{
	const struct job *job = &pair->orders->job;
	uint64_t each = pair->orders->rate ? SEC / pair->orders->rate : 0, next = pinned_now(),
		 ticks;
	int r = 0;

	for (uint64_t s = 0; s < count && r >= 0; s++, next += each) {
		if (each)
			wait_for_tick(next);
		ticks = latency_ticks();
		r = pair->transport->send(&pair->end, job, s, 1);
		if (r >= 0)
			r = pair->transport->receive(&pair->end, job, 1, sum);
		ticks = latency_ticks() - ticks;
		latency_add(pair->latency, (uint64_t)((double)ticks * pair->ns_per_tick));
	}
	return r;
}

static int receive_frames(struct pair *pair, uint64_t count, uint64_t *sum)
{
	int r = 0;

	for (uint64_t s = 0; s < count && r >= 0; s++) {
		uint64_t *begun = &pair->orders->begun[s % STAMPS];

		r = pair->transport->receive(&pair->end, &pair->orders->job, 1, sum);
		latency_add(pair->latency, pinned_now() - __atomic_load_n(begun, __ATOMIC_ACQUIRE));
	}
	return r;
}

static int consume_pass(struct pair *pair, uint64_t count, uint64_t *sum)
{
	const struct job *job = &pair->orders->job;

	if (job->test == TEST_ROUND_TRIP)
		return go_round(pair, count, sum);
	if (job->test == TEST_FRAMES)
		return receive_frames(pair, count, sum);
	return pair->transport->receive(&pair->end, job, count, sum);
}

static int check_sum(struct pair *pair, uint64_t count, uint64_t sum)
{
	if (pair->transport->flags & TRANSPORT_UNCHECKED)
		return 0;
	if (sum == payload_expected(count, pair->orders->job.size))
		return 0;
	snprintf(pair->end.why, WHY_BYTES, "the sum of what arrived is wrong");
	return -EBADMSG;
}

static int pass(struct pair *pair, uint64_t count, uint32_t rate, struct result *result)
{
	uint64_t sum = 0, begun;
	struct usage usage;
	int r;

	memset(&result->latency, 0, sizeof(result->latency));
	pair->latency = &result->latency;
	pair->orders->count = count;
	pair->orders->rate = rate;
	begin_usage(pair, &usage);
	begun = pinned_now();
	pinned_start(&pair->pinned, RUN_PASS);
	r = consume_pass(pair, count, &sum);
	result->took_ns = pinned_now() - begun;
	end_usage(pair, &usage);
	result->usage = usage;
	if (r < 0 && pair->transport->close) /* the producer may wait for what will not come */
		pair->transport->close(&pair->end);
	r = both(pair, r);
	add_usage(&result->usage, &pair->orders->usage);
	if (pair->transport->flags & TRANSPORT_TIMES_ITSELF) {
		uint64_t theirs = pair->orders->usage.counters.busy_ns;

		result->took_ns = usage.counters.busy_ns;
		if (theirs > result->took_ns)
			result->took_ns = theirs;
	}
	result->count = count;
	return r < 0 ? r : check_sum(pair, count, sum);
}

static uint64_t clamp_count(double count)
{
	if (count < 1)
		return 1;
	return count > (double)COUNT_MOST ? COUNT_MOST : (uint64_t)count;
}

/* More and more until it takes a while: touches memory, and tells how many make a sample. */
static int warm_up(struct pair *pair, struct result *result, uint64_t *ret_count)
{
	const struct job *job = &pair->orders->job;
	uint64_t count = job->test == TEST_FRAMES ? 2 : WARM_AT_ONCE;
	double sample = (double)job->sample_ns;
	int r;

	for (;; count *= 4) {
		r = pass(pair, count, 0, result);
		if (r < 0)
			return r;
		if (result->took_ns >= WARM_NS || job->rate || count >= COUNT_MOST / 4)
			break;
	}
	if (job->rate)
		sample *= job->rate / 1e9;
	else
		sample *= (double)count / (double)(result->took_ns + 1);
	*ret_count = job->count ? job->count : clamp_count(sample);
	return 0;
}

static int measure(struct pair *pair, struct result *result)
{
	uint64_t count;
	int r = warm_up(pair, result, &count);

	if (r < 0)
		return r;
	result->before = pinned_probe(&pair->pinned);
	r = pass(pair, count, pair->orders->job.rate, result);
	result->after = pinned_probe(&pair->pinned);
	return r;
}

static void wipe(struct pair *pair)
{
	uint64_t value;
	size_t used = 2 * (size_t)pair->orders->job.ring_bytes + (1 << 20);

	memset(pair->end.shared, 0, used < KEPT_BYTES ? used : KEPT_BYTES);
	madvise(pair->end.shared + KEPT_BYTES, SHARED_BYTES - KEPT_BYTES, MADV_REMOVE);
	for (int i = 0; i < 2; i++) {
		struct pollfd ready = {pair->end.eventfds[i], POLLIN, 0};

		if (poll(&ready, 1, 0) == 1 && read(ready.fd, &value, sizeof(value)) < 0)
			continue;
	}
}

void harness_sample(struct pair *pair, const struct job *job, struct result *result)
{
	int r;

	alarm(LIMIT_S);
	memset(result, 0, sizeof(*result));
	pair->orders->job = *job;
	pair->end.why[0] = '\0';
	wipe(pair);
	r = pair->transport->prepare ? pair->transport->prepare(&pair->end, job) : 0;
	if (r >= 0) {
		pinned_start(&pair->pinned, RUN_OPEN);
		r = both(pair, open_end(pair));
		if (r >= 0)
			r = measure(pair, result);
		told(pair, RUN_CLOSE);
	}
	close_end(pair);
	result->error = r < 0 ? r : 0;
	memcpy(result->why, pair->end.why, WHY_BYTES);
	alarm(0);
}

/* Life */

static int allocate(struct pair *pair)
{
	int r = pinned_init(&pair->pinned);

	if (r < 0)
		return r;
	pair->orders = pinned_shared(&pair->pinned);
	pair->end.shared = mmap(NULL, SHARED_BYTES, PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	pair->end.buffer = mmap(NULL, BUFFER_BYTES, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (pair->end.shared == MAP_FAILED || pair->end.buffer == MAP_FAILED)
		return -errno;
	for (int i = 0; i < 2; i++) {
		pair->end.eventfds[i] = eventfd(0, EFD_CLOEXEC);
		if (pair->end.eventfds[i] < 0)
			return -errno;
	}
	return pipe2(pair->wake, O_CLOEXEC) < 0 ? -errno : 0;
}

static void live_as_producer(struct pair *pair, const struct place *place)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	close(pair->wake[1]);
	pair->end.side = SIDE_PRODUCER;
	if (place->in >= 0)
		close(place->in);
	if (place->out >= 0)
		close(place->out);
	if (pinned_to(place->cpus[0]) < 0)
		_exit(1);
	pinned_follow(&pair->pinned, carry_out, pair);
	_exit(0);
}

int harness_begin(struct pair *pair, const struct transport *transport, const struct place *place)
{
	int r;

	memset(pair, 0, sizeof(*pair));
	pair->transport = transport;
	pair->end.dir = place->dir;
	pair->end.side = SIDE_CONSUMER;
	signal(SIGPIPE, SIG_IGN);
	alarm(LIMIT_S);
	r = allocate(pair);
	if (r >= 0)
		r = pinned_to(place->cpus[1]);
	if (r < 0)
		return r;
	pair->pinned.producer = fork();
	if (pair->pinned.producer < 0)
		return -errno;
	if (!pair->pinned.producer)
		live_as_producer(pair, place);
	close(pair->wake[0]);
	pair->ns_per_tick = latency_clock();
	r = transport->start ? transport->start(&pair->end) : 0;
	if (r >= 0)
		r = told(pair, RUN_START);
	alarm(0);
	return r;
}

void harness_rest(struct pair *pair)
{
	pinned_start(&pair->pinned, RUN_REST);
}

void harness_wake(struct pair *pair)
{
	worker_write(pair->wake[1], "", 1);
	pinned_finish(&pair->pinned);
}

int harness_end(struct pair *pair)
{
	alarm(LIMIT_S);
	told(pair, RUN_STOP);
	if (pair->transport->stop)
		pair->transport->stop(&pair->end);
	return pinned_end(&pair->pinned);
}
