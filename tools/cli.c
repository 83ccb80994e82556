/* SPDX-License-Identifier: MIT */
/* The command line, and messages: see cli.h. */
#include "cli.h"

#include <errno.h>
#include <getopt.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SEC            UINT64_C(1000000000)
#define CONNECT_NS     (10 * SEC)
#define TIMEOUT_MOST_S 1e9
#define RING_MOST      (UINT64_C(1) << 30)

static const char help[] =
	"      --listen             listen at ADDRESS for one peer instead of connecting\n"
	"      --records            keep the boundaries of records: each has its length before "
	"it,\n"
	"                           32 bits, little endian\n"
	"      --size BYTES[K|M|G]  wanted size of the ring [4M]; above 64M, give it to both ends\n"
	"      --uid USER           admit this user, too, as the peer: a name or number; "
	"repeatable\n"
	"      --mode OCTAL         with --listen: permissions of the socket file\n"
	"                           [600; with --uid 666]\n"
	"      --timeout SECONDS    give up if there is no peer by then; 0: never\n"
	"                           [10; with --listen 0]\n"
	"      --doorbell KIND      auto, eventfd (the peer is trusted not to hang us) or socket\n"
	"      --spin               never sleep while waiting for the peer\n"
	"      --stats              at the end, say on standard error what was moved, and how\n"
	"  -q, --quiet              no progress, which is shown if standard error is a terminal\n"
	"      --help               show this and end\n"
	"      --version            show the version and end\n\n"
	"ADDRESS is a path, unix:PATH, @NAME, or fd:N for an inherited socket.\n\n"
	"Exit status: 0: the stream ended; 1: input, output or the system failed; 2: wrong usage;\n"
	"3: the peer went without ending the stream; 4: it broke the protocol; 5: refused, by it "
	"or\n"
	"by us; 6: nobody came in time. What signals do is in ringfort(1).\n";

int cli_status(int error)
{
	switch (error) {
	case -EPIPE:
		return STATUS_GONE;
	case -EPROTO:
	case -EPROTOTYPE:
	case -EBADMSG:
		return STATUS_BREACH;
	case -EPERM:
	case -EACCES:
	case -ENOTSUP:
	case -ENOBUFS:
		return STATUS_REFUSED;
	case -ETIMEDOUT:
		return STATUS_TIMEOUT;
	case -EINVAL:
	case -ENAMETOOLONG:
		return STATUS_USAGE;
	default:
		return STATUS_FAILED;
	}
}

/* Messages */

static bool shown; /* a line that is to be replaced is on the terminal */

void cli_show(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputs("    \r", stderr);
	shown = true;
}

static void finish_shown(void)
{
	if (shown)
		fputc('\n', stderr);
	shown = false;
}

void cli_say(const struct cli *cli, const char *format, ...)
{
	va_list args;

	finish_shown();
	fprintf(stderr, "%s: ", cli->command);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
}

int cli_print(const char *command, const char *text)
{
	if (fputs(text, stdout) >= 0 && fflush(stdout) == 0)
		return STATUS_OK;
	fprintf(stderr, "%s: cannot write standard output: %s\n", command, strerror(errno));
	return STATUS_FAILED;
}

/* Options */

static int hint(const struct cli *cli)
{
	fprintf(stderr, "Try '%s --help'.\n", cli->command);
	return STATUS_USAGE;
}

#define usage(cli, ...) (cli_say(cli, __VA_ARGS__), hint(cli))

/* Digits and nothing else, from min to max. */
static bool parse_number(const char *text, int base, uint64_t min, uint64_t max, uint64_t *ret)
{
	char *end = NULL;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	*ret = strtoull(text, &end, base);
	return !errno && !*end && *ret >= min && *ret <= max;
}

static int parse_size(struct cli *cli, const char *text)
{
	static const char units[] = "KMG";
	size_t len = strlen(text);
	const char *unit = len ? strchr(units, text[len - 1]) : NULL;
	unsigned shift = unit ? 10 * (unsigned)(unit - units + 1) : 0;
	char digits[24];
	int n = snprintf(digits, sizeof(digits), "%.*s", (int)(len - (unit ? 1 : 0)), text);

	if (n < 0 || (size_t)n >= sizeof(digits) ||
		!parse_number(digits, 10, 1, RING_MOST >> shift, &cli->options.ring_bytes))
		return usage(cli, "the size must be 1 to 1G: '%s'", text);
	cli->options.ring_bytes <<= shift;
	return STATUS_MORE;
}

static int parse_uid(struct cli *cli, const char *name)
{
	const struct passwd *user = getpwnam(name);
	uint64_t uid = user ? user->pw_uid : 0;

	if (cli->options.n_uids == CLI_UIDS_MOST)
		return usage(cli, "more than %d users", CLI_UIDS_MOST);
	if (!user && !parse_number(name, 10, 0, UINT32_MAX - 1, &uid))
		return usage(cli, "there is no user '%s'", name);
	cli->uids[cli->options.n_uids++] = (uid_t)uid;
	return STATUS_MORE;
}

static int parse_mode(struct cli *cli, const char *text)
{
	uint64_t mode;

	if (!parse_number(text, 8, 1, 0777, &mode))
		return usage(cli, "the mode must be octal, 1 to 777: '%s'", text);
	cli->options.mode = (uint32_t)mode;
	return STATUS_MORE;
}

static int parse_timeout(struct cli *cli, const char *text)
{
	char *end = NULL;
	double seconds = strtod(text, &end);

	if (!strchr("0123456789.", *text) || end == text || *end || !(seconds <= TIMEOUT_MOST_S))
		return usage(cli, "the timeout must be seconds, 0 to 1e9: '%s'", text);
	cli->timeout_ns = (uint64_t)(seconds * 1e9);
	return STATUS_MORE;
}

static int parse_doorbell(struct cli *cli, const char *word)
{
	static const char *const words[] = {"auto", "eventfd", "socket"};
	uint32_t i;

	for (i = 0; i < 3; i++) {
		if (strcmp(words[i], word) != 0)
			continue;
		cli->options.doorbell = i;
		return STATUS_MORE;
	}
	return usage(cli, "the doorbell must be auto, eventfd or socket: '%s'", word);
}

static int print_help(const struct cli *cli, const char *about)
{
	int status = cli_print(cli->command, about);

	return status ? status : cli_print(cli->command, help);
}

static int print_version(const struct cli *cli)
{
	char text[64];

	snprintf(text, sizeof(text), "ringfort %s\n", rf_version());
	return cli_print(cli->command, text);
}

enum cli_option {
	OPT_DOORBELL = 256,
	OPT_HELP,
	OPT_LISTEN,
	OPT_MODE,
	OPT_RECORDS,
	OPT_SIZE,
	OPT_SPIN,
	OPT_STATS,
	OPT_TIMEOUT,
	OPT_UID,
	OPT_VERSION
};

static int take_flag(struct cli *cli, int option)
{
	if (option == OPT_LISTEN)
		cli->listen = true;
	else if (option == OPT_RECORDS)
		cli->records = true;
	else if (option == OPT_SPIN)
		cli->options.wait = RF_WAIT_SPIN;
	else if (option == OPT_STATS)
		cli->stats = true;
	else if (option == 'q')
		cli->quiet = true;
	else
		return hint(cli); /* getopt_long(3) has complained */
	return STATUS_MORE;
}

static int take_option(struct cli *cli, int option, const char *about)
{
	switch (option) {
	case OPT_DOORBELL:
		return parse_doorbell(cli, optarg);
	case OPT_HELP:
		return print_help(cli, about);
	case OPT_MODE:
		return parse_mode(cli, optarg);
	case OPT_SIZE:
		return parse_size(cli, optarg);
	case OPT_TIMEOUT:
		return parse_timeout(cli, optarg);
	case OPT_UID:
		return parse_uid(cli, optarg);
	case OPT_VERSION:
		return print_version(cli);
	default:
		return take_flag(cli, option);
	}
}

int cli_parse(struct cli *cli, uint32_t direction, int argc, char **argv, const char *about)
{
	static const struct option options[] = {{"doorbell", required_argument, NULL, OPT_DOORBELL},
		{"help", no_argument, NULL, OPT_HELP}, {"listen", no_argument, NULL, OPT_LISTEN},
		{"mode", required_argument, NULL, OPT_MODE}, {"quiet", no_argument, NULL, 'q'},
		{"records", no_argument, NULL, OPT_RECORDS},
		{"size", required_argument, NULL, OPT_SIZE}, {"spin", no_argument, NULL, OPT_SPIN},
		{"stats", no_argument, NULL, OPT_STATS},
		{"timeout", required_argument, NULL, OPT_TIMEOUT},
		{"uid", required_argument, NULL, OPT_UID},
		{"version", no_argument, NULL, OPT_VERSION}, {NULL, 0, NULL, 0}};
	int option, status = STATUS_MORE;

	*cli = (struct cli){.command = argv[0], .timeout_ns = UINT64_MAX};
	rf_options_init(&cli->options);
	cli->options.direction = direction;
	cli->options.uids = cli->uids;
	while (status == STATUS_MORE &&
		(option = getopt_long(argc, argv, "q", options, NULL)) != -1)
		status = take_option(cli, option, about);
	if (status != STATUS_MORE)
		return status;
	if (optind + 1 != argc)
		return usage(cli, "one address is needed");
	if (cli->options.mode && !cli->listen)
		return usage(cli, "--mode is for --listen");
	if (cli->timeout_ns == UINT64_MAX)
		cli->timeout_ns = cli->listen ? 0 : CONNECT_NS;
	cli->address = argv[optind];
	return STATUS_MORE;
}
