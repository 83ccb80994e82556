/* SPDX-License-Identifier: MIT */
/* Records as tables for people. */
#include "records.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

#define COLUMNS_MOST 9

static bool is(const struct record *record, const char *test, const char *state)
{
	return !strcmp(record->test, test) && !strcmp(record->state, state);
}

static bool has_any(const struct records *records, const char *test, const char *state)
{
	for (unsigned i = 0; i < records->n; i++)
		if (is(&records->all[i], test, state))
			return true;
	return false;
}

/* Three digits that count, at most seven characters; a dash. */
static const char *digits(double value, char text[16])
{
	if (isnan(value))
		return strcpy(text, "-");
	snprintf(text, 16, "%.*f", value >= 100 ? 0 : value >= 10 ? 1 : value >= 1 ? 2 : 3, value);
	return text;
}

/* Nanoseconds, with a unit. */
static const char *span(double ns, char text[16])
{
	static const char *const units[] = {"ns", "us", "ms", "s"};
	char number[16];
	int unit = 0;

	if (isnan(ns))
		return strcpy(text, "-");
	for (; ns >= 10000 && unit < 3; unit++)
		ns /= 1000;
	snprintf(text, 16, "%.9s %s", digits(ns, number), units[unit]);
	return text;
}

static const char *bytes(uint64_t size, char text[16])
{
	if (size >= 1 << 20 && size % (1 << 20) == 0)
		snprintf(text, 16, "%u MiB", (unsigned)(size >> 20));
	else if (size >= 1024 && size % 1024 == 0)
		snprintf(text, 16, "%u KiB", (unsigned)(size >> 10));
	else
		snprintf(text, 16, "%u B", (unsigned)size);
	return text;
}

/* Throughput: a row for each way to send, a column for each size. */

static unsigned choose_sizes(const struct records *records, uint64_t *sizes)
{
	static const uint64_t usual[COLUMNS_MOST] = RECORDS_SIZES;
	unsigned n = 0;

	for (unsigned k = 0; k < COLUMNS_MOST; k++)
		for (unsigned i = 0; i < records->n; i++)
			if (records->all[i].size == usual[k] &&
				!strcmp(records->all[i].test, "throughput")) {
				sizes[n++] = usual[k];
				break;
			}
	return n;
}

static const struct record *find(
	const struct records *records, const struct record *like, uint64_t size)
{
	for (unsigned i = 0; i < records->n; i++) {
		const struct record *record = &records->all[i];

		if (record->size == size && is(record, like->test, like->state) &&
			!strcmp(record->transport, like->transport) &&
			!strcmp(record->mode, like->mode) && !strcmp(record->wait, like->wait))
			return record;
	}
	return NULL;
}

/* The best of ours, or of all; limits are no transports. */
static double best(const struct records *records, const char *state, uint64_t size, bool ours)
{
	double most = (double)NAN;

	for (unsigned i = 0; i < records->n; i++) {
		const struct record *record = &records->all[i];

		if (record->size == size && is(record, "throughput", state) && !record->limit &&
			(record->subject || !ours) && !isnan(record->per_s))
			most = isnan(most) || record->per_s > most ? record->per_s : most;
	}
	return most;
}

static void print_cell(const struct records *records, const struct record *record,
	const char *state, uint64_t size, FILE *to)
{
	double per_s = record ? record->per_s : (double)NAN;
	double ratio = per_s / best(records, state, size, true);
	bool is_best = per_s >= best(records, state, size, false);
	char text[2][16];

	fprintf(to, " %7s%c%6s", digits(per_s / 1e6, text[0]),
		is_best && !record->limit ? '*' : ' ', digits(ratio, text[1]));
}

/* The first of those that differ in their size only. */
static bool is_first(const struct records *records, unsigned i)
{
	const struct record *one = &records->all[i];

	for (unsigned k = 0; k < i; k++)
		if (find(records, one, records->all[k].size) == &records->all[k])
			return false;
	return true;
}

static void print_throughput(const struct records *records, const char *state, FILE *to)
{
	uint64_t sizes[COLUMNS_MOST];
	unsigned n = choose_sizes(records, sizes);
	char text[16];

	fprintf(to,
		"\nThroughput, %s: million messages per second (median), and the ratio to the best "
		"of "
		"ringfort; *: the best of all\n%-44s",
		state, "");
	for (unsigned k = 0; k < n; k++)
		fprintf(to, " %14s", bytes(sizes[k], text));
	for (unsigned i = 0; i < records->n; i++) {
		const struct record *row = &records->all[i];

		if (!is(row, "throughput", state) || !is_first(records, i))
			continue;
		fprintf(to, "\n%-22s %-12s %-8s", row->transport, row->mode, row->wait);
		for (unsigned k = 0; k < n; k++)
			print_cell(records, find(records, row, sizes[k]), state, sizes[k], to);
	}
	fputs("\n", to);
}

/* What else a message costs, at one size. */
static void print_costs(const struct records *records, const char *state, uint64_t size, FILE *to)
{
	char text[4][16];

	fprintf(to,
		"\nCosts of a million messages of %s, %s: both processes; kicks and system calls "
		"as far "
		"as they are counted, wake-ups: voluntary context switches\n%-44s %12s %12s %12s "
		"%12s\n",
		bytes(size, text[0]), state, "", "kicks", "wake-ups", "system calls", "CPU s");
	for (unsigned i = 0; i < records->n; i++) {
		const struct record *row = &records->all[i];

		if (is(row, "throughput", state) && row->size == size && !row->limit)
			fprintf(to, "%-22s %-12s %-8s %12s %12s %12s %12s\n", row->transport,
				row->mode, row->wait, digits(row->kicks * 1e6, text[0]),
				digits(row->wakeups * 1e6, text[1]),
				digits(row->calls * 1e6, text[2]), digits(row->cpu_s, text[3]));
	}
}

/* Latencies */

static double fastest_of_ours(const struct records *records, const struct record *like)
{
	double least = (double)NAN;

	for (unsigned i = 0; i < records->n; i++) {
		const struct record *record = &records->all[i];

		if (record->subject && is(record, like->test, like->state) &&
			record->size == like->size && record->rate == like->rate &&
			!strcmp(record->wait, like->wait) && !isnan(record->p50))
			least = isnan(least) || record->p50 < least ? record->p50 : least;
	}
	return least;
}

static void print_latency(const struct records *records, const struct record *row, FILE *to)
{
	double ours = fastest_of_ours(records, row);
	char text[9][16], rate[16] = "full speed";

	if (row->rate)
		snprintf(rate, sizeof(rate), "%u/s", (unsigned)row->rate);
	fprintf(to, "%-10s %10s  %-22s %-8s %-8s %10s %10s %10s %10s %10s %10s %6s %9s\n",
		bytes(row->size, text[0]), rate, row->transport, row->mode, row->wait,
		span(row->p50, text[1]), span(row->p50_min, text[2]), span(row->p50_max, text[3]),
		span(row->p99, text[4]), span(row->p999, text[5]), span(row->max, text[6]),
		digits(row->p50 / ours, text[8]), digits(row->cpu_s, text[7]));
}

static void print_latencies(const struct records *records, const char *test, const char *title,
	const char *state, FILE *to)
{
	fprintf(to,
		"\n%s, %s; ratio: to the fastest of ringfort that waits in the same way\n%-10s "
		"%10s  %-22s %-8s %-8s %10s %10s %10s %10s %10s %10s %6s %9s\n",
		title, state, "bytes", "rate", "transport", "mode", "wait", "p50", "min", "max",
		"p99", "p99.9", "longest", "ratio", "CPU s/M");
	for (unsigned i = 0; i < records->n; i++)
		if (is(&records->all[i], test, state))
			print_latency(records, &records->all[i], to);
}

/* The tests that are about channels, not messages from one to one */

static void print_fan_out(const struct records *records, const char *state, FILE *to)
{
	char text[6][16];

	fprintf(to,
		"\n1 -> N, %s: what a message costs its publisher (reserve, write, commit, "
		"publish)\n"
		"%-10s %5s %-8s %12s %12s %12s %12s %9s\n",
		state, "bytes", "N", "are", "time", "min", "max", "CPU", "kicks");
	for (unsigned i = 0; i < records->n; i++) {
		const struct record *row = &records->all[i];

		if (is(row, "fan-out", state))
			fprintf(to, "%-10s %5u %-8s %12s %12s %12s %12s %9s\n",
				bytes(row->size, text[0]), (unsigned)row->n,
				row->n ? row->mode : "-", span(row->p50, text[1]),
				span(row->p50_min, text[2]), span(row->p50_max, text[3]),
				span(row->cpu_s * 1e3, text[4]), digits(row->kicks, text[5]));
	}
}

static void print_channels(const struct records *records, const char *state, FILE *to)
{
	char text[4][16];

	for (unsigned i = 0; i < records->n; i++) {
		const struct record *row = &records->all[i];

		if (is(row, "handshakes", state))
			fprintf(to,
				"\nHandshakes, %s: %s a second (%s to %s), from connect to close\n",
				state, digits(row->per_s, text[0]), digits(row->per_s_min, text[1]),
				digits(row->per_s_max, text[2]));
		if (is(row, "idle", state))
			fprintf(to,
				"\nIdle channels, %s: %u in one event loop cost %s ms of processor "
				"time a "
				"second; one that gets a message answers after %s (p50)\n",
				state, (unsigned)row->n, digits(row->cpu_s * 1e3, text[0]),
				span(row->p50, text[1]));
	}
}

/* Very many channels: what one costs, beside what it may */

#define MIB          (1 << 20)
#define SOME         10000
#define MAPS_USUAL   65530 /* vm.max_map_count */
#define FDS_USUAL    20000
#define WORD_OF(yes) ((yes) ? "reached" : "NOT reached")

static void print_most(const char *what, double value, double most, const char *note, FILE *to)
{
	char text[16];

	fprintf(to, "%-26s %10s  <= %6.0f  %-11s  %s\n", what, digits(value, text), most,
		WORD_OF(value <= most), note);
}

/* A system can have so many, if it allows what is usual. */
static void extrapolate(const struct record *row, FILE *to)
{
	fprintf(to,
		"%d channels: %.0f descriptors and %.0f mappings in one process, %.0f MiB of "
		"rings, "
		"%.0f MiB more\nin both processes and %.0f MiB in the kernel. %d mappings are "
		"enough "
		"for %.0f channels,\n%d descriptors for %.0f, or for %.0f in an event loop.\n",
		SOME, SOME * row->fds, SOME * row->mappings, SOME * row->region_bytes / MIB,
		SOME * row->private_bytes / MIB, SOME * row->kernel_bytes / MIB, MAPS_USUAL,
		MAPS_USUAL / row->mappings, FDS_USUAL, FDS_USUAL / row->fds,
		FDS_USUAL / (row->fds + 1));
}

static void print_open(const struct record *row, FILE *to)
{
	double page = (double)sysconf(_SC_PAGESIZE), pages = row->private_bytes / page;
	char note[128], text[3][16];

	print_most("descriptors", row->fds, 4, "and an epoll where one sleeps or is watched", to);
	snprintf(note, sizeof(note), "and %s to account for memory",
		digits(row->account_fds, text[0]));
	print_most("descriptors at the peer", row->peer_fds, 4, note, to);
	print_most("mappings", row->mappings, 3, "", to);
	snprintf(note, sizeof(note), "beyond the %s of its ring; and %s in the kernel",
		digits(row->region_bytes / page, text[0]),
		digits(row->kernel_bytes / page, text[1]));
	fprintf(to, "%-26s %10s  <  %6d  %-11s  %s\n", "pages of both processes",
		digits(pages, text[2]), 3, WORD_OF(pages < 3), note);
	fprintf(to, "%-26s %10s  >= %6d  %-11s\n", "handshakes a second",
		digits(row->per_s, text[0]), 1000, WORD_OF(row->per_s >= 1000));
	extrapolate(row, to);
}

static void print_wake(const struct record *row, FILE *to)
{
	char text[4][16];

	fprintf(to, "wake-up, %5u of %5u active: %10s (%s to %s), p99 %s\n", (unsigned)row->active,
		(unsigned)row->n, span(row->p50, text[0]), span(row->p50_min, text[1]),
		span(row->p50_max, text[2]), span(row->p99, text[3]));
}

static void print_scale(const struct records *records, const char *state, FILE *to)
{
	const char *last = "";

	for (unsigned i = 0; i < records->n; i++) {
		const struct record *row = &records->all[i];

		if (!is(row, "scale", state))
			continue;
		if (strcmp(row->transport, last) != 0)
			fprintf(to,
				"\nMany channels, %s, %s: %u of one smallest ring in one process\n",
				state, row->transport, (unsigned)row->n);
		last = row->transport;
		if (!strcmp(row->mode, "open"))
			print_open(row, to);
		else
			print_wake(row, to);
	}
}

/* Events for tasks, on one processor: flat whatever their number, and cheap. */

#define SWITCH_TASKS 10000
#define SWITCH_NS    20

static void print_switching(const struct records *records, FILE *to)
{
	char text[3][16];

	fprintf(to, "\nSwitching: what an event for a task costs\n%8s  %-12s %10s %10s %10s\n",
		"tasks", "woken", "time", "min", "max");
	for (unsigned i = 0; i < records->n; i++) {
		const struct record *row = &records->all[i];

		if (strcmp(row->test, "switching") != 0)
			continue;
		fprintf(to, "%8u  %-12s %10s %10s %10s", (unsigned)row->n, row->mode,
			span(row->p50, text[0]), span(row->p50_min, text[1]),
			span(row->p50_max, text[2]));
		if (row->n == SWITCH_TASKS)
			fprintf(to, "  <= %d ns  %s", SWITCH_NS, WORD_OF(row->p50 <= SWITCH_NS));
		fputs("\n", to);
	}
}

static void print_state(const struct records *records, const char *state, FILE *to)
{
	if (has_any(records, "throughput", state)) {
		print_throughput(records, state, to);
		print_costs(records, state, 64, to);
		print_costs(records, state, 4096, to);
	}
	if (has_any(records, "round-trip", state))
		print_latencies(records, "round-trip", "Round trips", state, to);
	if (has_any(records, "frames", state))
		print_latencies(records, "frames",
			"Frames: from when the producer begins to write one until the consumer has "
			"read it",
			state, to);
	if (has_any(records, "fan-out", state))
		print_fan_out(records, state, to);
	print_channels(records, state, to);
	print_scale(records, state, to);
}

/* A row says how many in each of its states. */
static uint64_t count_dropped(const struct records *records)
{
	uint64_t near = 0, far = 0;

	for (unsigned i = 0; i < records->n; i++)
		*(!strcmp(records->all[i].state, "near") ? &near : &far) += records->all[i].dropped;
	return near > far ? near : far;
}

void records_print(const struct records *records, FILE *to)
{
	fprintf(to,
		"%s\n%llu samples dropped, during which the processors moved or others had them\n",
		records->machine, (unsigned long long)count_dropped(records));
	print_state(records, "near", to);
	print_state(records, "far", to);
	if (has_any(records, "switching", "one"))
		print_switching(records, to);
	records_print_goals(records, to);
}

void records_print_details(const struct records *records, FILE *to)
{
	char text[5][16];

	fprintf(to, "%s\n%-10s %-4s %-22s %-12s %-8s %10s %4s %6s %7s %11s %11s %11s %9s %10s\n",
		records->machine, "test", "at", "transport", "mode", "wait", "bytes", "n", "rounds",
		"dropped", "M/s", "min", "max", "GB/s", "p50");
	for (unsigned i = 0; i < records->n; i++) {
		const struct record *row = &records->all[i];

		fprintf(to,
			"%-10s %-4s %-22s %-12s %-8s %10u %4u %6u %7u %11s %11s %11s %9s %10s\n",
			row->test, row->state, row->transport, row->mode, row->wait,
			(unsigned)row->size, (unsigned)row->n, (unsigned)row->rounds,
			(unsigned)row->dropped, digits(row->per_s / 1e6, text[0]),
			digits(row->per_s_min / 1e6, text[1]),
			digits(row->per_s_max / 1e6, text[2]),
			digits(row->per_s * (double)row->size / 1e9, text[3]),
			span(row->p50, text[4]));
	}
}
