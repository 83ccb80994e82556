/* SPDX-License-Identifier: MIT */
/* The command line tool: finds the subcommand. */
#include "cli.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char help[] =
	"Usage: ringfort send [OPTION]... ADDRESS    standard input into a channel\n"
	"       ringfort recv [OPTION]... ADDRESS    a channel to standard output\n"
	"       ringfort doctor                      what this kernel and user offer\n"
	"       ringfort --help | --version\n\n"
	"A channel connects two processes that need not trust each other. Each command has\n"
	"a --help of its own; more is in ringfort(1).\n";

struct command {
	const char *name, *full_name;
	int (*run)(int argc, char **argv);
};

static const struct command commands[] = {
	{"send", "ringfort send", command_send},
	{"recv", "ringfort recv", command_recv},
	{"doctor", "ringfort doctor", command_doctor},
};

/* A descriptor that is closed would be the next one that is opened: the channel would be taken for
 * standard input. This way it fails when it is used. */
static int occupy_standard_descriptors(void)
{
	static const int modes[] = {O_WRONLY, O_RDONLY, O_RDONLY};
	int fd;

	for (fd = 0; fd <= 2; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", modes[fd]) != fd)
			return -1;
	return 0;
}

static int usage(const char *what, const char *word)
{
	fprintf(stderr, "ringfort: %s%s\nTry 'ringfort --help'.\n", what, word);
	return STATUS_USAGE;
}

static int run(const char *word, int argc, char **argv)
{
	char version[64];
	size_t i;

	for (i = 0; i < sizeof(commands) / sizeof(*commands); i++) {
		if (strcmp(word, commands[i].name) != 0)
			continue;
		argv[0] = (char *)(uintptr_t)commands[i].full_name;
		return commands[i].run(argc, argv);
	}
	if (!strcmp(word, "--help"))
		return cli_print("ringfort", help);
	snprintf(version, sizeof(version), "ringfort %s\n", rf_version());
	if (!strcmp(word, "--version"))
		return cli_print("ringfort", version);
	return usage("there is no command ", word);
}

int main(int argc, char **argv)
{
	if (occupy_standard_descriptors() < 0)
		return STATUS_FAILED;
	if (argc < 2)
		return usage("a command is needed", "");
	return run(argv[1], argc - 1, argv + 1);
}
