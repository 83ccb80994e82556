/* SPDX-License-Identifier: MIT */
/* The pair of processes with one transport between them, seen from inside. */
#ifndef BENCH_HARNESS_H
#define BENCH_HARNESS_H

#include "worker.h"

#include <fcntl.h>
#include <signal.h>

#define STAMPS 16 /* frames that may be under way */

/* What goes with a command to the producer, and what comes back; on the shared page. */
struct orders {
	struct job job;
	uint64_t count;
	uint64_t begun[STAMPS]; /* when the producer began to write the frame */
	struct usage usage;
	uint32_t rate; /* of this pass */
	int32_t error;
	char why[WHY_BYTES];
};

struct pair {
	const struct transport *transport;
	struct pinned pinned;
	struct orders *orders;
	struct end end;
	struct latency *latency; /* of the pass that is under way */
	double ns_per_tick;
	int wake[2]; /* the producer rests until something comes here */
};

/* Starts the producer; then calls start() in both. Afterwards one sample after the other; then the
 * end, which returns the producer's exit status. */
int harness_begin(struct pair *pair, const struct transport *transport, const struct place *place);
void harness_sample(struct pair *pair, const struct job *job, struct result *result);
int harness_end(struct pair *pair);

/* Between samples the producer sleeps: from one to the other of these nothing else is called. */
void harness_rest(struct pair *pair);
void harness_wake(struct pair *pair);

#endif
