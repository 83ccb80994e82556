/* SPDX-License-Identifier: MIT */
/* The samples of every case, and the table or the JSON lines made of them. */
#ifndef BENCH_FIGURES_H
#define BENCH_FIGURES_H

#include "pinned.h"
#include "transport.h"

#include <stdbool.h>

/* RING and SLOTS are one transport over two kinds of channels. */
enum way { RING, SLOTS, SOCKET, WAYS };

/* Fewer samples than this are no figure. */
#define ROUNDS_LEAST 3

struct samples {
	double *per_s; /* messages per second, as many as there are rounds */
	unsigned n;
};

/* One row: what was sent, how, and what came of it. */
struct figure {
	size_t size;
	enum mode mode;
	enum way way;
	struct samples samples[PLACEMENTS];
	unsigned dropped; /* samples during which the processors moved, or others had them */
	double last;      /* messages per second: how long the next sample has to be */
};

/* Sorts the samples of all figures; then they can be printed. */
void figures_sort(struct figure *figures, unsigned n);

/* The rows of each placement that was met. */
void figures_print(const struct figure *figures, unsigned n);

/* One object per row and placement on a line of its own. */
void figures_print_json(const struct figure *figures, unsigned n);

#endif
