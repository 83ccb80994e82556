/* SPDX-License-Identifier: MIT */
/* Very many channels in one process: what one costs, and how soon one of them wakes it. */
#ifndef BENCH_SCALE_H
#define BENCH_SCALE_H

#include "aside.h"

/* Tests of aside_run(), with either doorbell. One process connects as many channels of one smallest
 * ring as the settings ask for and its descriptors allow, to as many listeners as these need. */
void scale_eventfd(const struct aside *aside);
void scale_socket(const struct aside *aside);

#endif
