/* SPDX-License-Identifier: MIT */
/* What came out: a record for each row of each state. NAN stands for what is not known. */
#ifndef BENCH_RECORDS_H
#define BENCH_RECORDS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define WORD_BYTES 32

/* Sizes of messages that the table of throughput has columns for. */
#define RECORDS_SIZES                                                                              \
	{                                                                                          \
		8, 64, 256, 1024, 1500, 4096, 65536, 1 << 20, 4 << 20                              \
	}

/* Fewer samples than this are no figure. */
#define ROUNDS_LEAST 3

struct record {
	char test
		[WORD_BYTES]; /* throughput, round-trip, frames, fan-out, idle, handshakes, scale,
			       * switching */
	char transport[WORD_BYTES];
	char mode
		[WORD_BYTES]; /* each, batch, span, copied, span-copied; awake or asleep; of scale: open, ...-active;
			       * of switching: in-order, in-any-order */
	char wait[WORD_BYTES];  /* spin, adaptive, sleep */
	char state[WORD_BYTES]; /* near or far; of switching: one */
	bool subject, limit;    /* ours; no transport at all */
	uint64_t size, rate, n; /* bytes; messages a second, 0: as fast as it goes; others there */
	uint64_t rounds, dropped;
	double per_s, per_s_min, per_s_max;
	double p50, p50_min, p50_max, p99, p999, max; /* ns */
	double kicks, calls, wakeups;                 /* per message */
	double cpu_s;                                 /* per million messages */

	uint64_t active; /* of scale: on so many channels something comes */

	/* Of scale, per channel: descriptors of the process that has them all, of those at the other
	 * end, and what these keep to account for memory; mapped pieces of regions in the first; the
	 * regions; what both ends allocate besides; and what the kernel does. */
	double fds, peer_fds, account_fds, mappings;
	double region_bytes, private_bytes, kernel_bytes;
};

/* A growing list. */
struct records {
	struct record *all;
	unsigned n, room;
	char machine[256];
};

/* The new record, with everything unknown. Ends the program when there is no memory. */
struct record *records_add(struct records *records);

/* Tables for people; details: a line for each record instead. */
void records_print(const struct records *records, FILE *to);
void records_print_details(const struct records *records, FILE *to);

/* What ringfort is meant to reach beside the others, and whether it did. */
void records_print_goals(const struct records *records, FILE *to);

/* One object on each line, the machine first; and back again, but for what others wrote. */
void records_print_json(const struct records *records, FILE *to);
int records_read_json(struct records *records, FILE *from);

/* What these figures were measured on. */
void records_describe_machine(struct records *records);

#endif
