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

static const struct program *program;

enum {
	SET_CPUS = 1,
	SET_SIZES,
	SET_ROUNDS,
	SET_SAMPLE,
	SET_LIMIT,
	SET_DOORBELL,
	SET_WAIT,
	SET_FENCE,
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
	{"fence", no_argument, NULL, SET_FENCE},
	{"json", no_argument, NULL, SET_JSON},
	{"help", no_argument, NULL, SET_HELP},
	{"version", no_argument, NULL, SET_VERSION},
	{NULL, 0, NULL, 0},
};

__attribute__((format(printf, 1, 2), noreturn)) static void wrong(const char *format, ...)
{
	va_list args;

	fprintf(stderr, "%s: ", program->name);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, "\nTry '%s --help'.\n", program->name);
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
	case SET_FENCE:
		settings->flags |= RF_OPTION_FENCE;
		return;
	case SET_JSON:
		settings->json = true;
		return;
	case SET_HELP:
		fputs(program->help, stdout);
		exit(0);
	case SET_VERSION:
		printf("%s (ringfort) %s\n", program->name, rf_version());
		exit(0);
	default:
		fprintf(stderr, "Try '%s --help'.\n", program->name);
		exit(2);
	}
}

void settings_read(struct settings *settings, const struct program *whose, int argc, char **argv)
{
	int option;

	program = whose;
	while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0)
		read_option(settings, option);
	if (optind != argc)
		wrong("what is '%s'?", argv[optind]);
}
