/* SPDX-License-Identifier: MIT */
/* What the command line asks for. */
#ifndef BENCH_SETTINGS_H
#define BENCH_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SIZES_MOST 16

struct settings {
	int cpus[2]; /* the producer's, the consumer's */
	size_t sizes[SIZES_MOST];
	unsigned n_sizes;
	unsigned rounds;
	unsigned sample_ms;
	unsigned limit_s; /* no round begins later than that */
	uint32_t doorbell;
	uint32_t wait;
	uint32_t flags; /* of rf_options */
	bool json;
};

/* Whose command line it is, for messages, and what --help prints. */
struct program {
	const char *name, *help;
};

/* *settings holds the defaults. Ends the program after --help and --version, and with status 2
 * after what is wrong. */
void settings_read(struct settings *settings, const struct program *program, int argc, char **argv);

#endif
