/* SPDX-License-Identifier: MIT */
#include "settings.h"

#include "transport.h"

#include <errno.h>
#include <getopt.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
	"Usage: throughput [OPTION]...\n"
	"Messages and bytes per second between two pinned processes: ringfort beside a unix\n"
	"stream socket, in alternation. The producer writes every byte, the consumer reads every\n"
	"byte. Samples are told apart by whether the two processors share a cache (near) or not\n"
	"(far); those during which that changed, or others had the processors, are dropped.\n"
	"\n"
	"      --cpus A,B        the producer's and the consumer's processor [0,1]\n"
	"      --sizes N,...     bytes of a message, multiples of 8 [64,1024,65536,3145728]\n"
	"      --rounds N        samples of each row, 1 to 1000 [15]\n"
	"      --sample MS       how long a sample takes about, 1 to 10000 ms [100]\n"
	"      --limit SECONDS   no round begins later than this, 1 to 3600 [75]\n"
	"      --doorbell KIND   auto, eventfd or socket [auto]\n"
	"      --wait HOW        adaptive, spin or sleep [adaptive]\n"
	"      --json            one object per line\n"
	"      --help            show this and end\n"
	"      --version         show the version and end\n"
	"\n"
	"Modes: each (one message per publish or write), span (64 at once, up to 4096 bytes\n"
	"each), copied (as each, from and into memory of the application). The last column "
	"compares\n"
	"with the socket in the same placement and mode; copied with each. A row with fewer than "
	"3\n"
	"samples has dashes.\n"
	"\n"
	"Exit status: 0: done; 1: the system or the peer failed; 2: wrong usage.\n";

enum {
	SET_CPUS = 1,
	SET_SIZES,
	SET_ROUNDS,
	SET_SAMPLE,
	SET_LIMIT,
	SET_DOORBELL,
	SET_WAIT,
	SET_JSON,
	SET_HELP,
	SET_VERSION
};

static const struct option options[] = {
	{"cpus", required_argument, NULL, SET_CPUS},
	{"sizes", required_argument, NULL, SET_SIZES},
	{"rounds", required_argument, NULL, SET_ROUNDS},
	{"sample", required_argument, NULL, SET_SAMPLE},
	{"limit", required_argument, NULL, SET_LIMIT},
	{"doorbell", required_argument, NULL, SET_DOORBELL},
	{"wait", required_argument, NULL, SET_WAIT},
	{"json", no_argument, NULL, SET_JSON},
	{"help", no_argument, NULL, SET_HELP},
	{"version", no_argument, NULL, SET_VERSION},
	{NULL, 0, NULL, 0},
};

__attribute__((format(printf, 1, 2), noreturn)) static void wrong(const char *format, ...)
{
	va_list args;

	fputs("throughput: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputs("\nTry 'throughput --help'.\n", stderr);
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
		wrong("%s must be a number from %u to %u: '%s'", what, min, max, text);
	return (unsigned)value;
}

/* Which of words, which end with a NULL, this is. */
static unsigned word(const char *what, const char *text, const char *const *words)
{
	for (unsigned i = 0; words[i]; i++)
		if (!strcmp(words[i], text))
			return i;
	wrong("unknown %s: '%s'", what, text);
}

static void read_cpus(struct settings *settings, char *text)
{
	char *comma = strchr(text, ',');

	if (!comma)
		wrong("--cpus wants two numbers: '%s'", text);
	*comma = '\0';
	settings->cpus[0] = (int)number("a processor", text, 0, CPU_SETSIZE - 1);
	settings->cpus[1] = (int)number("a processor", comma + 1, 0, CPU_SETSIZE - 1);
	if (settings->cpus[0] == settings->cpus[1])
		wrong("--cpus wants two different ones");
}

static void read_sizes(struct settings *settings, char *text)
{
	char *rest = NULL, *one = strtok_r(text, ",", &rest);
	unsigned size;

	settings->n_sizes = 0;
	for (; one; one = strtok_r(NULL, ",", &rest)) {
		if (settings->n_sizes == SIZES_MOST)
			wrong("at most %d sizes", SIZES_MOST);
		size = number("a size", one, 8, SIZE_MOST);
		if (size % 8)
			wrong("a size must be a multiple of 8: %u", size);
		settings->sizes[settings->n_sizes++] = size;
	}
	if (!settings->n_sizes)
		wrong("--sizes wants at least one");
}

static void read_option(struct settings *settings, int option)
{
	static const char *const doorbells[] = {"auto", "eventfd", "socket", NULL};
	static const char *const waits[] = {"adaptive", "spin", "sleep", NULL};

	switch (option) {
	case SET_CPUS:
		read_cpus(settings, optarg);
		return;
	case SET_SIZES:
		read_sizes(settings, optarg);
		return;
	case SET_ROUNDS:
		settings->rounds = number("--rounds", optarg, 1, 1000);
		return;
	case SET_SAMPLE:
		settings->sample_ms = number("--sample", optarg, 1, 10000);
		return;
	case SET_LIMIT:
		settings->limit_s = number("--limit", optarg, 1, 3600);
		return;
	case SET_DOORBELL:
		settings->doorbell = word("doorbell", optarg, doorbells);
		return;
	case SET_WAIT:
		settings->wait = word("way to wait", optarg, waits);
		return;
	case SET_JSON:
		settings->json = true;
		return;
	case SET_HELP:
		fputs(help, stdout);
		exit(0);
	case SET_VERSION:
		printf("throughput (ringfort) %s\n", rf_version());
		exit(0);
	default:
		fputs("Try 'throughput --help'.\n", stderr);
		exit(2);
	}
}

void settings_read(struct settings *settings, int argc, char **argv)
{
	int option;

	*settings = (struct settings){
		.cpus = {0, 1},
		.sizes = {64, 1024, 65536, 3 << 20},
		.n_sizes = 4,
		.rounds = 15,
		.sample_ms = 100,
		.limit_s = 75,
	};
	while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0)
		read_option(settings, option);
	if (optind != argc)
		wrong("what is '%s'?", argv[optind]);
}
