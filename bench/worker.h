/* SPDX-License-Identifier: MIT */
/* What ringfort-bench and the pair of processes behind a transport say to each other: the pair, forked
 * or a program of its own, tells what it is (struct hello), and answers each job with a result. */
#ifndef BENCH_WORKER_H
#define BENCH_WORKER_H

#include "latency.h"
#include "pinned.h"
#include "transport.h"

#define NAME_BYTES  32
#define ABOUT_BYTES 160

/* Two ends of the same build: anything else is not talked to. */
#define WORKER_MAGIC UINT64_C(0x31303068636e6572)

struct hello {
	uint64_t magic;
	int32_t error; /* of start() */
	uint32_t flags, tests, modes, waits, reserved;
	uint64_t size_least, size_most;
	char name[NAME_BYTES], about[ABOUT_BYTES], why[WHY_BYTES];
};

/* Of both ends together, during the sample. */
struct usage {
	struct counters counters;
	uint64_t cpu_ns;  /* processor time */
	uint64_t wakeups; /* times that a thread slept and was woken: voluntary context switches */
};

struct result {
	int32_t error;
	uint32_t before, after; /* enum placement */
	uint32_t reserved;
	uint64_t count, took_ns;
	struct usage usage;
	char why[WHY_BYTES];
	struct latency latency; /* of round trips and frames */
};

/* Where the pair runs, and its ends of the pipes. */
struct place {
	int cpus[2]; /* the producer's, the consumer's */
	int in, out;
	const char *dir; /* exists, and is removed by who made it */
};

/* Does what is asked for until there is nothing more to read. The process's exit status. */
int worker_run(const struct transport *transport, const struct place *place);

/* All of it; -EPIPE at the end of the file. 0 or a negative errno. */
int worker_read(int fd, void *to, size_t len);
int worker_write(int fd, const void *from, size_t len);

#endif
