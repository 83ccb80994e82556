/* SPDX-License-Identifier: MIT */
/* 1 -> N: what a message costs its publisher. */
#ifndef BENCH_FANOUT_H
#define BENCH_FANOUT_H

#include "aside.h"

/* A test of aside_run(): records of test fan-out, for several sizes and numbers of subscribers. */
void fanout_test(const struct aside *aside);

#endif
