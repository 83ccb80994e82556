/* SPDX-License-Identifier: MIT */
/* The processes are pinned, and so would be all threads that libraries start in them: beside the one
 * that sends or receives. What is started between these two calls may run on any processor. */
#ifndef BENCH_PEERS_ANYWHERE_H
#define BENCH_PEERS_ANYWHERE_H

#include <sched.h>
#include <string.h>

static inline void anywhere_begin(cpu_set_t *before)
{
	cpu_set_t all;

	sched_getaffinity(0, sizeof(*before), before);
	memset(&all, 0xff, sizeof(all));
	sched_setaffinity(0, sizeof(all), &all);
}

static inline void anywhere_end(const cpu_set_t *before)
{
	sched_setaffinity(0, sizeof(*before), before);
}

#endif
