/* SPDX-License-Identifier: MIT */
#include "settings.h"

#include <errno.h>
#include <getopt.h>
#include <ringfort/ringfort.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SIZE_MOST (4u << 20)

static const char help[] =
	"Usage: ringfort-bench [OPTION]...\n"
	"       ringfort-bench table FILE\n"
	"       ringfort-bench plot FILE DIRECTORY\n"
	"How fast messages get from one process to another: ringfort beside what else there is.\n"
	"table prints, and plot draws, what a run wrote to FILE (--output).\n"
	"\n"
	"      --tests LIST       throughput, round-trip, frames, fan-out, idle, handshakes,\n"
	"                         scale, switching [all]\n"
	"      --transports LIST  names or beginnings of names; see --list [all]\n"
	"      --sizes LIST       of throughput: bytes, multiples of 4, 8 to 4194304\n"
	"                         [8, doubled up to 4194304, and 1500]\n"
	"      --ring BYTES       a power of two; more where the messages need it [8388608]\n"
	"      --rounds N         samples of each row, 1 to 100 [9]\n"
	"      --sample MS        how long a sample takes about, 1 to 1000 [25]\n"
	"      --channels N       of scale, 1 to 20000; fewer where descriptors do not suffice "
	"[4500]\n"
	"      --limit SECONDS    no round begins that would end later [840]\n"
	"      --cpus A,B         the producer's and the consumer's processor [0,1]\n"
	"      --peers DIRECTORY  transports of other projects [peers, beside this program]\n"
	"      --output FILE      write the lines of --json there, too\n"
	"      --json             print one object per line instead of tables\n"
	"      --details          print a line for each row instead of tables\n"
	"      --smoke            everything, but hardly any of it: shows that it runs\n"
	"      --list             print the transports and end\n"
	"      --help             show this and end\n"
	"      --version          show the version and end\n"
	"\n"
	"Exit status: 0: done; 1: the system failed; 2: wrong usage; 130: interrupted.\n";

enum {
	SET_TESTS = 1,
	SET_TRANSPORTS,
	SET_SIZES,
	SET_RING,
	SET_ROUNDS,
	SET_SAMPLE,
	SET_CHANNELS,
	SET_LIMIT,
	SET_CPUS,
	SET_PEERS,
	SET_OUTPUT,
	SET_JSON,
	SET_DETAILS,
	SET_SMOKE,
	SET_LIST,
	SET_HELP,
	SET_VERSION
};

static const struct option options[] = {
	{"tests", required_argument, NULL, SET_TESTS},
	{"transports", required_argument, NULL, SET_TRANSPORTS},
	{"sizes", required_argument, NULL, SET_SIZES},
	{"ring", required_argument, NULL, SET_RING},
	{"rounds", required_argument, NULL, SET_ROUNDS},
	{"sample", required_argument, NULL, SET_SAMPLE},
	{"channels", required_argument, NULL, SET_CHANNELS},
	{"limit", required_argument, NULL, SET_LIMIT},
	{"cpus", required_argument, NULL, SET_CPUS},
	{"peers", required_argument, NULL, SET_PEERS},
	{"output", required_argument, NULL, SET_OUTPUT},
	{"json", no_argument, NULL, SET_JSON},
	{"details", no_argument, NULL, SET_DETAILS},
	{"smoke", no_argument, NULL, SET_SMOKE},
	{"list", no_argument, NULL, SET_LIST},
	{"help", no_argument, NULL, SET_HELP},
	{"version", no_argument, NULL, SET_VERSION},
	{NULL, 0, NULL, 0},
};

void settings_wrong(const char *format, ...)
{
	va_list args;

	fputs("ringfort-bench: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputs("\nTry 'ringfort-bench --help'.\n", stderr);
	exit(2);
}

static unsigned number(const char *what, const char *text, unsigned min, unsigned max)
{
	char *end = NULL;
	unsigned long value = 0;

	errno = 0;
	if (*text >= '0' && *text <= '9')
		value = strtoul(text, &end, 10);
	if (!end || *end || errno || value < min || value > max)
		settings_wrong("%s must be a number from %u to %u: '%s'", what, min, max, text);
	return (unsigned)value;
}

static void read_tests(struct settings *settings, char *text)
{
	static const char *const names[] = {"throughput", "round-trip", "frames", "fan-out", "idle",
		"handshakes", "scale", "switching"};
	char *rest = NULL, *one = strtok_r(text, ",", &rest);
	unsigned i;

	for (settings->tests = 0; one; one = strtok_r(NULL, ",", &rest)) {
		for (i = 0; i < 8 && strcmp(one, names[i]) != 0; i++)
			;
		if (i == 8)
			settings_wrong("there is no test '%s'", one);
		settings->tests |= 1u << i;
	}
	if (!settings->tests)
		settings_wrong("--tests wants at least one");
}

static void read_names(struct settings *settings, char *text)
{
	char *rest = NULL, *one = strtok_r(text, ",", &rest);

	for (settings->n_names = 0; one; one = strtok_r(NULL, ",", &rest)) {
		if (settings->n_names == NAMES_MOST)
			settings_wrong("at most %d names of transports", NAMES_MOST);
		settings->names[settings->n_names++] = one;
	}
	if (!settings->n_names)
		settings_wrong("--transports wants at least one");
}

static void read_sizes(struct settings *settings, char *text)
{
	char *rest = NULL, *one = strtok_r(text, ",", &rest);
	unsigned size;

	for (settings->n_sizes = 0; one; one = strtok_r(NULL, ",", &rest)) {
		if (settings->n_sizes == SIZES_MOST)
			settings_wrong("at most %d sizes", SIZES_MOST);
		size = number("a size", one, 8, SIZE_MOST);
		if (size % 4)
			settings_wrong("a size must be a multiple of 4: %u", size);
		settings->sizes[settings->n_sizes++] = size;
	}
	if (!settings->n_sizes)
		settings_wrong("--sizes wants at least one");
}

static void read_ring(struct settings *settings, const char *text)
{
	unsigned bytes = number("--ring", text, 65536, 32u << 20);

	if (bytes & (bytes - 1))
		settings_wrong("--ring must be a power of two: %u", bytes);
	settings->ring_bytes = bytes;
}

static void read_cpus(struct settings *settings, char *text)
{
	char *comma = strchr(text, ',');

	if (!comma)
		settings_wrong("--cpus wants two numbers: '%s'", text);
	*comma = '\0';
	settings->cpus[0] = (int)number("a processor", text, 0, CPU_SETSIZE - 1);
	settings->cpus[1] = (int)number("a processor", comma + 1, 0, CPU_SETSIZE - 1);
	if (settings->cpus[0] == settings->cpus[1])
		settings_wrong("--cpus wants two different ones");
}

static void be_quick(struct settings *settings)
{
	static const uint64_t sizes[] = {64, 65536};

	settings->smoke = true;
	settings->rounds = 1;
	settings->sample_ms = 1;
	settings->channels = 50;
	settings->n_sizes = 2;
	memcpy(settings->sizes, sizes, sizeof(sizes));
}

_Noreturn static void read_last_option(int option)
{
	if (option == SET_HELP)
		fputs(help, stdout);
	else if (option == SET_VERSION)
		printf("ringfort-bench (ringfort) %s\n", rf_version());
	else
		fputs("Try 'ringfort-bench --help'.\n", stderr);
	exit(option == SET_HELP || option == SET_VERSION ? 0 : 2);
}

static void read_option(struct settings *settings, int option)
{
	switch (option) {
	case SET_TESTS:
		read_tests(settings, optarg);
		return;
	case SET_TRANSPORTS:
		read_names(settings, optarg);
		return;
	case SET_SIZES:
		read_sizes(settings, optarg);
		return;
	case SET_RING:
		read_ring(settings, optarg);
		return;
	case SET_ROUNDS:
		settings->rounds = number("--rounds", optarg, 1, 100);
		return;
	case SET_SAMPLE:
		settings->sample_ms = number("--sample", optarg, 1, 1000);
		return;
	case SET_CHANNELS:
		settings->channels = number("--channels", optarg, 1, CHANNELS_MOST);
		return;
	case SET_LIMIT:
		settings->limit_s = number("--limit", optarg, 1, 36000);
		return;
	case SET_CPUS:
		read_cpus(settings, optarg);
		return;
	case SET_PEERS:
		settings->peers = optarg;
		return;
	case SET_OUTPUT:
		settings->output = optarg;
		return;
	case SET_JSON:
		settings->json = true;
		return;
	case SET_DETAILS:
		settings->details = true;
		return;
	case SET_SMOKE:
		be_quick(settings);
		return;
	case SET_LIST:
		settings->list = true;
		return;
	default:
		read_last_option(option);
	}
}

static void set_defaults(struct settings *settings)
{
	memset(settings, 0, sizeof(*settings));
	settings->cpus[1] = 1;
	settings->tests = TEST_BITS;
	settings->rounds = 9;
	settings->sample_ms = 25;
	settings->channels = 4500;
	settings->limit_s = 840;
	settings->ring_bytes = 8 << 20;
	for (uint64_t size = 8; size <= SIZE_MOST; size *= 2) {
		settings->sizes[settings->n_sizes++] = size;
		if (size == 1024)
			settings->sizes[settings->n_sizes++] = 1500;
	}
}

void settings_read(struct settings *settings, int argc, char **argv)
{
	int option;

	set_defaults(settings);
	while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0)
		read_option(settings, option);
	if (optind != argc)
		settings_wrong("what is '%s'?", argv[optind]);
}

bool settings_want(const struct settings *settings, const char *name)
{
	for (unsigned i = 0; i < settings->n_names; i++)
		if (!strncmp(name, settings->names[i], strlen(settings->names[i])))
			return true;
	return !settings->n_names;
}
