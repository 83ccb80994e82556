/* SPDX-License-Identifier: MIT */
/* The pairs of processes behind the transports, as seen by ringfort-bench. */
#ifndef BENCH_WORKERS_H
#define BENCH_WORKERS_H

#include "worker.h"

#include <stdbool.h>

#define WORKERS_MOST 64
#define DEATHS_MOST  3

struct worker {
	const struct transport *builtin; /* NULL: a program */
	char program[256];
	struct hello hello;
	pid_t pid; /* 0: there is none */
	int to, from;
	unsigned deaths;
	char dir[128];
};

struct workers {
	struct worker all[WORKERS_MOST];
	unsigned n;
	int cpus[2];
	char dir[32]; /* of this run; its name has room for theirs behind it */
};

/* Makes the directory. 0 or a negative errno. */
int workers_init(struct workers *workers, const int cpus[2]);

/* Starts one: it stays in the list only if it says what it is. One that cannot run here has
 * hello.error and no process. */
void workers_add_builtin(struct workers *workers, const struct transport *transport);
void workers_add_program(struct workers *workers, const char *program);

/* Has a sample taken. 0, also when that failed (result->error); -ECONNRESET: the pair died, result->why
 * says so; it is started again, if that has not happened too often. */
int workers_ask(struct workers *workers, struct worker *worker, const struct job *job,
	struct result *result);

/* Ends them all, and removes the directory with everything in it. */
void workers_end(struct workers *workers);

#endif
