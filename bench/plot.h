/* SPDX-License-Identifier: MIT */
/* Figures, drawn by gnuplot. */
#ifndef BENCH_PLOT_H
#define BENCH_PLOT_H

#include "records.h"

/* Draws throughput-STATE.svg and latency-STATE.svg against the size, and fan-out-STATE.svg, for each
 * state that there are records of, into a directory, which is made if it is not there. 0 or a
 * negative errno: -ENOENT also where there is no gnuplot. */
int plot(const struct records *records, const char *directory);

#endif
