/* SPDX-License-Identifier: MIT */
/* Two processes, each pinned to a processor: the consumer commands, the producer follows. What they
 * say to each other goes through a shared page on which both spin, so neither sleeps between
 * samples. */
#ifndef BENCH_PINNED_H
#define BENCH_PINNED_H

#include <stdint.h>
#include <sys/types.h>

/* Where the two processors stand to each other: they move under a hypervisor, and what can be
 * measured moves with them. */
enum placement { NEAR, FAR, PLACEMENTS, CROWDED = PLACEMENTS };

/* A round trip of a cache line that is faster than NEAR_NS is between processors that share a
 * cache; one that is slower than FAR_NS says that others had the processors. */
#define NEAR_NS 200
#define FAR_NS  1000

struct pinned {
	struct pinned_page *page;
	pid_t producer;
	uint64_t commands; /* given so far */
};

/* Carries a command out in the producer. */
typedef void (*pinned_run)(uint64_t command, void *context);

/* Pins the calling process. 0 or a negative errno. */
int pinned_to(int cpu);

/* The page, before the fork. 0 or a negative errno. */
int pinned_init(struct pinned *pinned);

/* For what goes with a command and is more than a number. */
#define PINNED_SHARED_BYTES 1024
void *pinned_shared(struct pinned *pinned);

/* The producer's loop: carries out what comes until it is told to end. */
void pinned_follow(struct pinned *pinned, pinned_run run, void *context);

/* The consumer: starts a command; waits until it is carried out. Ends the process if the producer
 * has gone. */
void pinned_start(struct pinned *pinned, uint64_t command);
void pinned_finish(struct pinned *pinned);

/* Tells the producer to end and waits for that. Its exit status. */
int pinned_end(struct pinned *pinned);

/* 2 ms of ping-pong: where the processors stand now. */
enum placement pinned_probe(struct pinned *pinned);

/* CLOCK_MONOTONIC in nanoseconds. */
uint64_t pinned_now(void);

/* What a spinning processor does between two looks. */
static inline void pinned_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#endif
}

#endif
