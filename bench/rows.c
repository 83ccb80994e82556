/* SPDX-License-Identifier: MIT */
#include "rows.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MS         UINT64_C(1000000)
#define FRAME_MS   250
#define SLOW_MS    200 /* a sample at 50 messages a second */
#define FRAME_RATE 60

const char *const test_names[TESTS] = {"throughput", "round-trip", "frames"};
const char *const mode_names[MODES] = {"each", "batch", "span", "copied", "span-copied"};
const char *const wait_names[WAITS] = {"spin", "adaptive", "sleep"};

/* I420: what a camera gives. */
static const uint64_t frame_sizes[] = {1920 * 1080 * 3 / 2, 3840 * 2160 * 3 / 2};
static const uint64_t trip_sizes[] = {64, 1024, 16384, 262144};
static const uint32_t trip_rates[] = {1000, 50};

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

static void *allocate(size_t n, size_t size)
{
	void *memory = calloc(n, size);

	if (!memory) {
		fputs("ringfort-bench: no memory\n", stderr);
		exit(1);
	}
	return memory;
}

/* Which rows there are */

struct maker {
	struct rows *rows;
	const struct settings *settings;
	unsigned room;
};

static bool can(const struct worker *worker, const struct job *job)
{
	const struct hello *hello = &worker->hello;

	return worker->pid && hello->tests & BIT(job->test) && hello->modes & BIT(job->mode) &&
	       hello->waits & BIT(job->wait) && job->size >= hello->size_least &&
	       job->size <= hello->size_most;
}

static uint64_t ring_for(const struct settings *settings, uint64_t size)
{
	uint64_t ring = settings->ring_bytes;

	while (ring < 2 * (size + 64))
		ring *= 2;
	return ring;
}

static void add(struct maker *maker, struct worker *worker, struct job job)
{
	struct rows *rows = maker->rows;
	struct row *row;

	if (!can(worker, &job))
		return;
	if (rows->n == maker->room) {
		maker->room = maker->room ? 2 * maker->room : 256;
		rows->all = realloc(rows->all, maker->room * sizeof(*rows->all));
		if (!rows->all)
			abort();
	}
	row = &rows->all[rows->n++];
	memset(row, 0, sizeof(*row));
	job.ring_bytes = ring_for(maker->settings, job.size);
	row->worker = worker;
	row->job = job;
	for (int at = 0; at < PLACEMENTS; at++) {
		row->samples[at].per_s = allocate(maker->settings->rounds, sizeof(double));
		row->samples[at].p50 = allocate(maker->settings->rounds, sizeof(double));
		if (job.test != TEST_THROUGHPUT)
			row->samples[at].latency = allocate(1, sizeof(struct latency));
	}
}

static bool has(const struct worker *worker, uint32_t wait)
{
	return worker->hello.waits & BIT(wait);
}

/* The one way to wait where only one is measured. */
static uint32_t usual_wait(const struct worker *worker)
{
	return has(worker, WAIT_SPIN)    ? WAIT_SPIN
	       : has(worker, WAIT_SLEEP) ? WAIT_SLEEP
					 : WAIT_ADAPTIVE;
}

/* Whether the tables show this size. */
static bool is_shown(uint64_t size)
{
	static const uint64_t shown[] = RECORDS_SIZES;
	unsigned i = 0;

	while (i < COUNT(shown) && shown[i] != size)
		i++;
	return i < COUNT(shown);
}

/* All ways to wait one by one; of spans, without the adaptive one; else, and for sizes in between, the
 * usual one. */
static bool is_wanted(const struct worker *worker, uint32_t mode, uint32_t wait, uint64_t size)
{
	if (wait == usual_wait(worker))
		return true;
	if (!is_shown(size))
		return false;
	return mode == MODE_EACH || (mode == MODE_SPAN && wait == WAIT_SLEEP);
}

static void add_throughput(struct maker *maker, struct worker *worker, uint64_t size)
{
	for (uint32_t mode = 0; mode < MODES; mode++)
		for (uint32_t wait = 0; wait < WAITS; wait++)
			if (is_wanted(worker, mode, wait, size))
				add(maker, worker,
					(struct job){.test = TEST_THROUGHPUT,
						.mode = mode,
						.wait = wait,
						.size = size,
						.sample_ns = maker->settings->sample_ms * MS});
}

static uint32_t single_mode(const struct worker *worker)
{
	return worker->hello.modes & BIT(MODE_EACH) ? MODE_EACH : MODE_COPIED;
}

static void add_trips(struct maker *maker, struct worker *worker, uint64_t size, uint32_t rate)
{
	uint64_t ms = maker->settings->sample_ms;

	if (rate)
		ms = rate < 100 ? SLOW_MS : 2 * ms;
	if (maker->settings->smoke)
		ms = maker->settings->sample_ms;
	for (uint32_t wait = 0; wait < WAITS; wait++)
		add(maker, worker,
			(struct job){.test = TEST_ROUND_TRIP,
				.mode = single_mode(worker),
				.wait = wait,
				.rate = rate,
				.size = size,
				.sample_ns = ms * MS});
}

static void add_frames(struct maker *maker, struct worker *worker, uint64_t size)
{
	add(maker, worker,
		(struct job){.test = TEST_FRAMES,
			.mode = single_mode(worker),
			.wait = has(worker, WAIT_ADAPTIVE) ? WAIT_ADAPTIVE : usual_wait(worker),
			.rate = FRAME_RATE,
			.size = size,
			.sample_ns = (maker->settings->smoke ? 40 : FRAME_MS) * MS});
}

#define FOR_EACH(worker, workers)                                                                  \
	for (struct worker *worker = (workers)->all; worker < (workers)->all + (workers)->n;       \
		worker++)

void rows_make(struct rows *rows, const struct settings *settings, struct workers *workers)
{
	struct maker maker = {rows, settings, 0};

	memset(rows, 0, sizeof(*rows));
	for (unsigned i = 0; settings->tests & TEST_BIT_THROUGHPUT && i < settings->n_sizes; i++)
		FOR_EACH(worker, workers)
	add_throughput(&maker, worker, settings->sizes[i]);
	if (settings->tests & TEST_BIT_ROUND_TRIP) {
		for (unsigned i = 0; i < (settings->smoke ? 1 : COUNT(trip_sizes)); i++)
			FOR_EACH(worker, workers)
		add_trips(&maker, worker, trip_sizes[i], 0);
		for (unsigned i = 0; i < COUNT(trip_rates); i++)
			FOR_EACH(worker, workers)
		add_trips(&maker, worker, 64, trip_rates[i]);
	}
	for (unsigned i = 0; settings->tests & TEST_BIT_FRAMES && i < COUNT(frame_sizes); i++)
		FOR_EACH(worker, workers)
	add_frames(&maker, worker, frame_sizes[i]);
}

void rows_free(struct rows *rows)
{
	for (unsigned i = 0; i < rows->n; i++)
		for (int at = 0; at < PLACEMENTS; at++) {
			free(rows->all[i].samples[at].per_s);
			free(rows->all[i].samples[at].p50);
			free(rows->all[i].samples[at].latency);
		}
	free(rows->all);
}

/* Samples */

static void keep(struct samples *samples, const struct result *result)
{
	double took_s = (double)(result->took_ns ? result->took_ns : 1) / 1e9;

	samples->per_s[samples->n] = (double)result->count / took_s;
	samples->p50[samples->n] = latency_quantile(&result->latency, 0.5);
	samples->n++;
	samples->messages += result->count;
	samples->usage.cpu_ns += result->usage.cpu_ns;
	samples->usage.wakeups += result->usage.wakeups;
	samples->usage.counters.syscalls += result->usage.counters.syscalls;
	samples->usage.counters.kicks += result->usage.counters.kicks;
	for (unsigned i = 0; samples->latency && i < LATENCY_BUCKETS; i++)
		samples->latency->buckets[i] += result->latency.buckets[i];
}

void rows_sample(struct row *row, struct workers *workers, double scale)
{
	static struct result result;
	struct job job = row->job;
	int r;

	if (row->why[0])
		return;
	if (!job.rate)
		job.sample_ns = (uint64_t)((double)job.sample_ns * scale);
	r = workers_ask(workers, row->worker, &job, &result);
	if (r >= 0 && result.error >= 0 && result.before == result.after &&
		result.after < PLACEMENTS)
		keep(&row->samples[result.after], &result);
	else
		row->dropped++;
	if (r < 0 || result.error < 0)
		snprintf(row->why, WHY_BYTES, "%s",
			result.why[0] ? result.why : strerror(-result.error));
}

void rows_describe(const struct row *row, char *text, size_t size)
{
	snprintf(text, size, "%s, %llu bytes, %s, %s", test_names[row->job.test],
		(unsigned long long)row->job.size, row->worker->hello.name,
		mode_names[row->job.mode]);
}

/* Figures */

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void summarise(double *values, unsigned n, double *median, double *min, double *max)
{
	qsort(values, n, sizeof(*values), compare);
	*median = (values[(n - 1) / 2] + values[n / 2]) / 2;
	*min = values[0];
	*max = values[n - 1];
}

/* Known only where there is a message beyond it. */
static double quantile(const struct latency *latency, double share)
{
	double beyond = (double)latency_count(latency) * (1 - share);

	return beyond >= 0.999 ? latency_quantile(latency, share) : (double)NAN;
}

static void record_latency(const struct samples *samples, struct record *record)
{
	if (!samples->latency)
		return;
	summarise(samples->p50, samples->n, &record->p50, &record->p50_min, &record->p50_max);
	record->p99 = quantile(samples->latency, 0.99);
	record->p999 = quantile(samples->latency, 0.999);
	record->max = latency_quantile(samples->latency, 1);
}

static void record_usage(
	const struct row *row, const struct samples *samples, struct record *record)
{
	const struct usage *usage = &samples->usage;
	uint32_t flags = row->worker->hello.flags;
	double messages = (double)samples->messages;

	if (flags & TRANSPORT_COUNTS_KICKS)
		record->kicks = (double)usage->counters.kicks / messages;
	if (flags & TRANSPORT_COUNTS_CALLS)
		record->calls = (double)usage->counters.syscalls / messages;
	record->wakeups = (double)usage->wakeups / messages;
	record->cpu_s = (double)usage->cpu_ns / 1e3 / messages;
}

static void record_one(
	const struct row *row, enum placement at, unsigned least, struct records *records)
{
	static const char *const states[] = {"near", "far"};
	const struct samples *samples = &row->samples[at];
	struct record *record = records_add(records);

	snprintf(record->test, WORD_BYTES, "%s", test_names[row->job.test]);
	snprintf(record->transport, WORD_BYTES, "%s", row->worker->hello.name);
	snprintf(record->mode, WORD_BYTES, "%s", mode_names[row->job.mode]);
	snprintf(record->wait, WORD_BYTES, "%s", wait_names[row->job.wait]);
	snprintf(record->state, WORD_BYTES, "%s", states[at]);
	record->subject = row->worker->hello.flags & TRANSPORT_SUBJECT;
	record->limit = row->worker->hello.flags & TRANSPORT_LIMIT;
	record->size = row->job.size;
	record->rate = row->job.rate;
	record->rounds = samples->n;
	record->dropped = row->dropped;
	if (samples->n < least)
		return;
	summarise(
		samples->per_s, samples->n, &record->per_s, &record->per_s_min, &record->per_s_max);
	record_latency(samples, record);
	record_usage(row, samples, record);
}

static bool is_met(const struct rows *rows, enum placement at)
{
	for (unsigned i = 0; i < rows->n; i++)
		if (rows->all[i].samples[at].n)
			return true;
	return false;
}

/* Throughput is told by transport, all else in the order of the samples. */
static void record_state(const struct rows *rows, enum placement at, unsigned least,
	const struct workers *workers, struct records *records)
{
	unsigned i;

	for (unsigned w = 0; w < workers->n; w++)
		for (i = 0; i < rows->n; i++)
			if (rows->all[i].job.test == TEST_THROUGHPUT &&
				rows->all[i].worker == &workers->all[w])
				record_one(&rows->all[i], at, least, records);
	for (i = 0; i < rows->n; i++)
		if (rows->all[i].job.test != TEST_THROUGHPUT)
			record_one(&rows->all[i], at, least, records);
}

void rows_record(const struct rows *rows, const struct workers *workers, unsigned least,
	struct records *records)
{
	bool any = is_met(rows, NEAR) || is_met(rows, FAR);

	if (is_met(rows, NEAR) || !any) /* where nothing was measured, that is what is told */
		record_state(rows, NEAR, least, workers, records);
	if (is_met(rows, FAR))
		record_state(rows, FAR, least, workers, records);
}
