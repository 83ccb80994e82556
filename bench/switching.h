/* SPDX-License-Identifier: MIT */
/* What it costs a worker to give an event to one of many tasks. */
#ifndef BENCH_SWITCHING_H
#define BENCH_SWITCHING_H

#include "aside.h"

/* A test of aside_run(): tasks that do nothing, of which each has an input; woken in their order, or in
 * any. A record has in n how many there are, and the time for one event, from wake to expiry. */
void switching_test(const struct aside *aside);

#endif
