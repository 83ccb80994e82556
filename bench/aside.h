/* SPDX-License-Identifier: MIT */
/* Tests that need more processes than two, or other ones: each runs in a child of its own. */
#ifndef BENCH_ASIDE_H
#define BENCH_ASIDE_H

#include "pinned.h"
#include "records.h"
#include "settings.h"

/* What such a test works with. */
struct aside {
	const struct settings *settings;
	const char *dir; /* for its sockets */
	int out;
};

/* Runs it, and adds the records it tells to *records. A test that fails says why itself, and ends. */
void aside_run(void (*test)(const struct aside *aside), const struct settings *settings,
	const char *dir, struct records *records);

/* In the test: ends it. */
_Noreturn void aside_fail(const char *what, int error);

/* In the test: a record of ringfort, with nothing in it but these; told with aside_tell(). */
void aside_begin(struct record *record, const char *test, const char *mode, enum placement at);
void aside_tell(const struct aside *aside, const struct record *record);

/* Pins the calling process to the producer's (0) or the consumer's (1) processor, or ends. */
void aside_pin(const struct aside *aside, int which);

/* Two figures of each round, by the state that the probes told. */
#define ROUNDS_MOST 100 /* as many as the settings can ask for */
struct aside_samples {
	double values[PLACEMENTS][ROUNDS_MOST], more[PLACEMENTS][ROUNDS_MOST];
	unsigned n[PLACEMENTS], dropped;
};

void aside_keep(struct aside_samples *samples, enum placement before, enum placement after,
	double value, double more);

/* Sorts the values; the median is known where there are enough. */
void aside_summarise(const struct aside *aside, double *values, unsigned n, double *median,
	double *min, double *max);

#endif
