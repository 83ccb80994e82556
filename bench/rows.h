/* SPDX-License-Identifier: MIT */
/* The rows of a run: what is sent how through which transport, and the samples of that. */
#ifndef BENCH_ROWS_H
#define BENCH_ROWS_H

#include "records.h"
#include "settings.h"
#include "workers.h"

/* Of one row in one state. */
struct samples {
	double *per_s, *p50; /* as many as there are rounds */
	unsigned n;
	uint64_t messages;
	struct usage usage;      /* of them all */
	struct latency *latency; /* of them all; not for throughput */
};

struct row {
	struct worker *worker;
	struct job job;
	struct samples samples[PLACEMENTS];
	unsigned dropped;    /* samples during which the processors moved, or others had them */
	char why[WHY_BYTES]; /* it cannot be had, or failed: then it is not tried again */
};

struct rows {
	struct row *all;
	unsigned n;
};

/* All that the settings ask for and the workers can do; sample follows sample in this order. Ends the
 * program when there is no memory. */
void rows_make(struct rows *rows, const struct settings *settings, struct workers *workers);
void rows_free(struct rows *rows);

/* Takes one sample; so much longer or shorter than the settings ask for, where it is at full speed. */
void rows_sample(struct row *row, struct workers *workers, double scale);

/* What came of them: records of every state that was met, unknown where there are less than so many
 * rounds. */
void rows_record(const struct rows *rows, const struct workers *workers, unsigned least,
	struct records *records);

/* In words, for the one who waits. */
void rows_describe(const struct row *row, char *text, size_t size);

extern const char *const test_names[TESTS], *const mode_names[MODES], *const wait_names[WAITS];

#endif
