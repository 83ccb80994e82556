/* SPDX-License-Identifier: MIT */
/* What ringfort is meant to reach, each as a ratio of two figures of the same run. */
#include "records.h"

#include <math.h>
#include <string.h>

/* Which records: lists of beginnings of names, separated by blanks; NULL: any. Of several that fit, the
 * best one counts. */
struct side {
	const char *transports, *modes, *wait;
	uint64_t n; /* of fan-out */
};

/* For throughput the ratio is to be factor or more, at each size; else, of times, factor or less. */
struct goal {
	const char *what, *state, *test;
	struct side ours, theirs;
	uint64_t size_least, size_most, rate;
	double factor;
};

#define OURS     "ringfort"
#define IN_PLACE "each batch span"
#define COPIES   "copied span-copied"
#define MODEL    "shmem-ipc-model"
#define RINGS    "ck boost rte"
#define KERNEL   "pipe unix-stream unix-seqpacket posix-mq"
#define BROKERS  "zeromq nng dbus"

#define SMALL  8, 64
#define MEDIUM 256, 4096
#define LARGE  65536, 4194304
#define MIB    1048576, 1048576
#define MOST   8, 65536

#define THROUGHPUT(state, what, ours, theirs, sizes, factor)                                       \
	{                                                                                          \
		what, state, "throughput", ours, theirs, sizes, 0, factor                          \
	}
#define TRIP(what, ours, theirs, rate, factor)                                                     \
	{                                                                                          \
		what, "near", "round-trip", ours, theirs, 64, 64, rate, factor                     \
	}
#define SIDE(transports, modes, wait)                                                              \
	{                                                                                          \
		transports, modes, wait, 0                                                         \
	}
#define BEST SIDE(OURS, NULL, NULL)

/* clang-format off */
static const struct goal goals[] = {
	THROUGHPUT("near", "hand-over of memory", SIDE(OURS, IN_PLACE, NULL), SIDE("limit-hand-over", "each", NULL), MEDIUM, 0.9),
	THROUGHPUT("near", "hand-over of memory", SIDE(OURS, IN_PLACE, NULL), SIDE("limit-hand-over", "each", NULL), LARGE, 0.95),
	THROUGHPUT("near", "in place, hand-over copied", SIDE(OURS, IN_PLACE, NULL), SIDE("limit-hand-over", "copied", NULL), MIB, 1.5),
	TRIP("a cache line", SIDE(OURS, "each", "spin"), SIDE("limit-cache-line", NULL, NULL), 0, 1.6),
	THROUGHPUT("near", "model of shmem-ipc, spans", SIDE(OURS, "span", "spin"), SIDE(MODEL, "span", "spin"), SMALL, 1.1),
	THROUGHPUT("near", "model of shmem-ipc, spans", SIDE(OURS, "span", "spin"), SIDE(MODEL, "span", "spin"), MEDIUM, 1),
	THROUGHPUT("near", "the same, both copied", SIDE(OURS, COPIES, "spin"), SIDE(MODEL, "span-copied", "spin"), LARGE, 1),
	THROUGHPUT("near", "the same, in place", SIDE(OURS, IN_PLACE, "spin"), SIDE(MODEL, "span-copied", "spin"), LARGE, 1.5),
	THROUGHPUT("near", "the model, one per call", SIDE(OURS, "each", "spin"), SIDE(MODEL, "each", "spin"), SMALL, 10),
	THROUGHPUT("near", "the model, one per call", SIDE(OURS, "each", "spin"), SIDE(MODEL, "each", "spin"), MEDIUM, 1.5),
	THROUGHPUT("near", "the model, one per call", SIDE(OURS, "each", "spin"), SIDE(MODEL, "each", "spin"), LARGE, 1),
	THROUGHPUT("near", "the model, sleeping", SIDE(OURS, "each", "sleep"), SIDE(MODEL, "each", "sleep"), SMALL, 1),
	THROUGHPUT("near", "the same, asymmetric fence", SIDE(OURS "-fence", "each", "sleep"), SIDE(MODEL, "each", "sleep"), SMALL, 5),
	THROUGHPUT("near", "the model, sleeping", SIDE(OURS, "each", "sleep"), SIDE(MODEL, "each", "sleep"), MEDIUM, 1.1),
	THROUGHPUT("near", "the model, sleeping", SIDE(OURS, "each", "sleep"), SIDE(MODEL, "each", "sleep"), LARGE, 1),
	TRIP("the model", SIDE(OURS, "each", "spin"), SIDE(MODEL, "each", "spin"), 0, 1),
	TRIP("the model, sleeping", SIDE(OURS, "each", "sleep"), SIDE(MODEL, "each", "sleep"), 0, 1),
	THROUGHPUT("near", "ck, boost, rte rings", BEST, SIDE(RINGS, NULL, NULL), SMALL, 2),
	THROUGHPUT("near", "ck, boost, rte rings", BEST, SIDE(RINGS, NULL, NULL), MEDIUM, 1.5),
	THROUGHPUT("near", "ck, boost, rte rings", BEST, SIDE(RINGS, NULL, NULL), LARGE, 1.1),
	TRIP("ck, boost, rte rings", SIDE(OURS, "each", "spin"), SIDE(RINGS, NULL, NULL), 0, 0.8),
	THROUGHPUT("near", "pipe, unix, mq: one per call", BEST, SIDE(KERNEL, "copied", NULL), SMALL, 100),
	THROUGHPUT("near", "pipe, unix, mq: one per call", BEST, SIDE(KERNEL, "copied", NULL), MEDIUM, 8),
	THROUGHPUT("near", "pipe, unix, mq: one per call", BEST, SIDE(KERNEL, "copied", NULL), LARGE, 4),
	TRIP("eventfds, sleeping", SIDE(OURS, "each", "sleep"), SIDE("limit-eventfd", NULL, NULL), 0, 1.05),
	THROUGHPUT("near", "ZeroMQ, nng, D-Bus", BEST, SIDE(BROKERS, NULL, NULL), SMALL, 40),
	THROUGHPUT("near", "ZeroMQ, nng, D-Bus", BEST, SIDE(BROKERS, NULL, NULL), MEDIUM, 40),
	THROUGHPUT("near", "ZeroMQ, nng, D-Bus", BEST, SIDE(BROKERS, NULL, NULL), LARGE, 25),
	THROUGHPUT("far", "any other ring", BEST, SIDE(RINGS " " MODEL, NULL, NULL), MOST, 1),
	THROUGHPUT("far", "any other ring", BEST, SIDE(RINGS " " MODEL, NULL, NULL), MIB, 3),
	TRIP("adaptive and spinning, 1000/s", SIDE(OURS, "each", "adaptive"), SIDE(OURS, "each", "spin"), 1000, 1.1),
	{"1 -> 16 and 1 -> 1, awake", "near", "fan-out", {OURS, "awake", NULL, 16}, {OURS, "awake", NULL, 1}, LARGE, 0, 1.3},
};
/* clang-format on */

static bool begins_with_one(const char *word, const char *list)
{
	for (size_t len; list && *list; list += len + (list[len] == ' ')) {
		len = strcspn(list, " ");
		if (!strncmp(word, list, len))
			return true;
	}
	return !list;
}

static bool is_one(const char *word, const char *list)
{
	size_t len;

	for (; list && *list; list += len + (list[len] == ' ')) {
		len = strcspn(list, " ");
		if (strlen(word) == len && !strncmp(word, list, len))
			return true;
	}
	return !list;
}

static bool fits(const struct record *record, const struct goal *goal, const struct side *side)
{
	return !strcmp(record->test, goal->test) && !strcmp(record->state, goal->state) &&
	       record->rate == goal->rate && record->n == side->n &&
	       begins_with_one(record->transport, side->transports) &&
	       is_one(record->mode, side->modes) && is_one(record->wait, side->wait);
}

static bool is_throughput(const struct goal *goal)
{
	return !strcmp(goal->test, "throughput");
}

static double best(const struct records *records, const struct goal *goal, const struct side *side,
	uint64_t size)
{
	double found = (double)NAN;

	for (unsigned i = 0; i < records->n; i++) {
		const struct record *record = &records->all[i];
		double value = is_throughput(goal) ? record->per_s : record->p50;

		if (record->size != size || isnan(value) || !fits(record, goal, side))
			continue;
		if (isnan(found) || (is_throughput(goal) ? value > found : value < found))
			found = value;
	}
	return found;
}

/* The ratio where it is worst; NAN: there is none. */
static double worst(const struct records *records, const struct goal *goal, uint64_t *ret_size)
{
	double found = (double)NAN;

	for (uint64_t size = goal->size_least; size <= goal->size_most; size *= 2) {
		double ratio = best(records, goal, &goal->ours, size) /
			       best(records, goal, &goal->theirs, size);

		if (isnan(ratio))
			continue;
		if (isnan(found) || (is_throughput(goal) ? ratio < found : ratio > found)) {
			found = ratio;
			*ret_size = size;
		}
	}
	return found;
}

static void print_goal(const struct records *records, const struct goal *goal, FILE *to)
{
	uint64_t size = 0;
	double ratio = worst(records, goal, &size);
	bool reached = is_throughput(goal) ? ratio >= goal->factor : ratio <= goal->factor;

	fprintf(to, "%-11s %-4s %-32s %8llu %8llu  %s %6.2f", goal->test, goal->state, goal->what,
		(unsigned long long)goal->size_least, (unsigned long long)goal->size_most,
		is_throughput(goal) ? ">=" : "<=", goal->factor);
	if (isnan(ratio))
		fputs("         -          -  -\n", to);
	else
		fprintf(to, " %9.2f %10llu  %s\n", ratio, (unsigned long long)size,
			reached ? "reached" : "NOT reached");
}

static bool has_any(const struct records *records)
{
	uint64_t size;

	for (unsigned i = 0; i < sizeof(goals) / sizeof(*goals); i++)
		if (!isnan(worst(records, &goals[i], &size)))
			return true;
	return false;
}

void records_print_goals(const struct records *records, FILE *to)
{
	if (!has_any(records))
		return;
	fprintf(to,
		"\nGoals: ratios of ringfort to others (medians), at the worst size\n%-11s %-4s "
		"%-32s "
		"%17s  %9s %9s %10s\n",
		"test", "at", "against", "bytes", "goal", "ratio", "at bytes");
	for (unsigned i = 0; i < sizeof(goals) / sizeof(*goals); i++)
		print_goal(records, &goals[i], to);
}
