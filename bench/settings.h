/* SPDX-License-Identifier: MIT */
/* What the command line asks for. */
#ifndef BENCH_SETTINGS_H
#define BENCH_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SIZES_MOST 24
#define NAMES_MOST 16

/* Of scale: what they take of memory stays below a GiB. */
#define CHANNELS_MOST 20000

enum test_bits {
	TEST_BIT_THROUGHPUT = 1,
	TEST_BIT_ROUND_TRIP = 2,
	TEST_BIT_FRAMES = 4,
	TEST_BIT_FAN_OUT = 8,
	TEST_BIT_IDLE = 16,
	TEST_BIT_HANDSHAKES = 32,
	TEST_BIT_SCALE = 64,
	TEST_BIT_SWITCHING = 128,
	TEST_BITS = 255
};

struct settings {
	int cpus[2]; /* the producer's, the consumer's */
	unsigned tests;
	uint64_t sizes[SIZES_MOST];
	unsigned n_sizes;
	const char *names[NAMES_MOST]; /* of transports, or the beginnings of names; none: all */
	unsigned n_names;
	unsigned rounds;
	unsigned sample_ms;
	unsigned channels; /* of scale */
	unsigned limit_s;  /* no round begins that would end later */
	uint64_t ring_bytes;
	const char *peers;  /* directory of the programs of others; NULL: beside this program */
	const char *output; /* a file for the lines of JSON, besides what is printed */
	bool json, details, smoke, list;
};

/* Ends the program after --help and --version, and with status 2 after what is wrong. */
void settings_read(struct settings *settings, int argc, char **argv);

/* Says what is wrong with the command line, and ends the program. */
__attribute__((format(printf, 1, 2), noreturn)) void settings_wrong(const char *format, ...);

/* Whether --transports lets it in. */
bool settings_want(const struct settings *settings, const char *name);

#endif
