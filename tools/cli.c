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

/* Of the library. */
#define SLOTS_DEFAULT 16

#define SEC            UINT64_C(1000000000)
#define CONNECT_NS     (10 * SEC)
#define TIMEOUT_MOST_S 1e9
#define SIZE_MOST      (UINT64_C(1) << 30)

static const char send_help[] =
	"      --publish            listen at ADDRESS for any number of receivers, each of which "
	"gets\n"
	"                           everything it has room for, see recv --lag; implies slots\n"
	"      --slots N            slots instead of a ring: so many [16]\n"
	"      --slot-size BYTES    the largest message that fits, with K, M or G [256K]\n"
	"      --wait-for N         with --publish: begin when there are so many receivers\n"
	"      --block-uid USER     with --publish: this user is admitted, and may have --lag "
	"block\n";

static const char recv_help[] =
	"      --lag POLICY         of a publisher: what happens when we are too slow: block (it\n"
	"                           waits), drop (we miss something), latest (the same, and we "
	"get\n"
	"                           the newest only), disconnect (we are cut off)\n"
	"      --hold N             hold so many slots at a time\n"
	"      --oldest             of a publisher: begin with the oldest message that it still "
	"has\n";

static const char help[] =
	"      --listen             listen at ADDRESS for one peer instead of connecting\n"
	"      --records            keep the boundaries of records: each has its length before "
	"it,\n"
	"                           32 bits, little endian\n"
	"      --size BYTES[K|M|G]  wanted size of the ring [4M]; above 64M, give it to the "
	"listener\n"
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

static int parse_size(struct cli *cli, const char *text, uint64_t *ret)
{
	static const char units[] = "KMG";
	size_t len = strlen(text);
	const char *unit = len ? strchr(units, text[len - 1]) : NULL;
	unsigned shift = unit ? 10 * (unsigned)(unit - units + 1) : 0;
	char digits[24];
	int n = snprintf(digits, sizeof(digits), "%.*s", (int)(len - (unit ? 1 : 0)), text);

	if (n < 0 || (size_t)n >= sizeof(digits) ||
		!parse_number(digits, 10, 1, SIZE_MOST >> shift, ret))
		return usage(cli, "the size must be 1 to 1G: '%s'", text);
	*ret <<= shift;
	return STATUS_MORE;
}

static int parse_count(struct cli *cli, const char *of, const char *text, uint64_t min,
	uint64_t max, uint32_t *ret)
{
	uint64_t count;

	if (!parse_number(text, 10, min, max, &count))
		return usage(cli, "the number of %s must be %u to %u: '%s'", of, (unsigned)min,
			(unsigned)max, text);
	*ret = (uint32_t)count;
	return STATUS_MORE;
}

static int parse_user(struct cli *cli, const char *name, uid_t *users, size_t *n)
{
	const struct passwd *user = getpwnam(name);
	uint64_t uid = user ? user->pw_uid : 0;

	if (*n == CLI_UIDS_MOST)
		return usage(cli, "more than %d users", CLI_UIDS_MOST);
	if (!user && !parse_number(name, 10, 0, UINT32_MAX - 1, &uid))
		return usage(cli, "there is no user '%s'", name);
	users[(*n)++] = (uid_t)uid;
	return STATUS_MORE;
}

static int parse_uid(struct cli *cli, const char *name)
{
	return parse_user(cli, name, cli->uids, &cli->options.n_uids);
}

static int parse_block_uid(struct cli *cli, const char *name)
{
	int status = parse_uid(cli, name);

	if (status != STATUS_MORE)
		return status;
	return parse_user(cli, name, cli->block_uids, &cli->options.n_block_uids);
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

/* Which of the words, which end with a NULL, this is; negative: none. */
static int find_word(const char *const *words, const char *word)
{
	int i;

	for (i = 0; words[i]; i++)
		if (!strcmp(words[i], word))
			return i;
	return -1;
}

static int parse_doorbell(struct cli *cli, const char *word)
{
	static const char *const words[] = {"auto", "eventfd", "socket", NULL};
	int i = find_word(words, word);

	if (i < 0)
		return usage(cli, "the doorbell must be auto, eventfd or socket: '%s'", word);
	cli->options.doorbell = (uint32_t)i;
	return STATUS_MORE;
}

static int parse_lag(struct cli *cli, const char *word)
{
	static const char *const words[] = {"drop", "latest", "block", "disconnect", NULL};
	int i = find_word(words, word);

	if (i < 0)
		return usage(cli, "the lag must be block, drop, latest or disconnect: '%s'", word);
	cli->options.lag = RF_LAG_DROP + (uint32_t)i;
	return STATUS_MORE;
}

static int print_help(const struct cli *cli, const char *about)
{
	bool sends = cli->options.direction == RF_SEND;
	int status = cli_print(cli->command, about);

	if (!status)
		status = cli_print(cli->command, sends ? send_help : recv_help);
	return status ? status : cli_print(cli->command, help);
}

static int print_version(const struct cli *cli)
{
	char text[64];

	snprintf(text, sizeof(text), "ringfort %s\n", rf_version());
	return cli_print(cli->command, text);
}

/* Those of one command only come last. */
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
	OPT_VERSION,
	OPT_HOLD,
	OPT_LAG,
	OPT_OLDEST,
	OPT_BLOCK_UID,
	OPT_PUBLISH,
	OPT_SLOTS,
	OPT_SLOT_SIZE,
	OPT_WAIT_FOR
};

static int take_flag(struct cli *cli, int option)
{
	if (option == OPT_LISTEN)
		cli->listen = true;
	else if (option == OPT_PUBLISH)
		cli->publish = true;
	else if (option == OPT_OLDEST)
		cli->options.start = RF_START_OLDEST;
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

static int take_slots_option(struct cli *cli, int option)
{
	struct rf_options *options = &cli->options;

	switch (option) {
	case OPT_BLOCK_UID:
		return parse_block_uid(cli, optarg);
	case OPT_HOLD:
		return parse_count(cli, "slots", optarg, 1, RF_SLOTS_MAX, &options->hold);
	case OPT_LAG:
		return parse_lag(cli, optarg);
	case OPT_SLOTS:
		return parse_count(cli, "slots", optarg, 2, RF_SLOTS_MAX, &options->slots);
	case OPT_SLOT_SIZE:
		return parse_size(cli, optarg, &options->slot_bytes);
	case OPT_WAIT_FOR:
		return parse_count(cli, "receivers", optarg, 1, RF_SLOTS_MAX, &options->wait_for);
	default:
		return take_flag(cli, option);
	}
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
		return parse_size(cli, optarg, &cli->options.ring_bytes);
	case OPT_TIMEOUT:
		return parse_timeout(cli, optarg);
	case OPT_UID:
		return parse_uid(cli, optarg);
	case OPT_VERSION:
		return print_version(cli);
	default:
		return take_slots_option(cli, option);
	}
}

static const struct option long_options[] = {{"block-uid", required_argument, NULL, OPT_BLOCK_UID},
	{"doorbell", required_argument, NULL, OPT_DOORBELL}, {"help", no_argument, NULL, OPT_HELP},
	{"hold", required_argument, NULL, OPT_HOLD}, {"lag", required_argument, NULL, OPT_LAG},
	{"listen", no_argument, NULL, OPT_LISTEN}, {"mode", required_argument, NULL, OPT_MODE},
	{"oldest", no_argument, NULL, OPT_OLDEST}, {"publish", no_argument, NULL, OPT_PUBLISH},
	{"quiet", no_argument, NULL, 'q'}, {"records", no_argument, NULL, OPT_RECORDS},
	{"size", required_argument, NULL, OPT_SIZE},
	{"slot-size", required_argument, NULL, OPT_SLOT_SIZE},
	{"slots", required_argument, NULL, OPT_SLOTS}, {"spin", no_argument, NULL, OPT_SPIN},
	{"stats", no_argument, NULL, OPT_STATS}, {"timeout", required_argument, NULL, OPT_TIMEOUT},
	{"uid", required_argument, NULL, OPT_UID}, {"version", no_argument, NULL, OPT_VERSION},
	{"wait-for", required_argument, NULL, OPT_WAIT_FOR}, {NULL, 0, NULL, 0}};

static int check_command(struct cli *cli, int option, const char *name)
{
	bool sends = cli->options.direction == RF_SEND;

	if (option >= OPT_HOLD && sends != (option >= OPT_BLOCK_UID))
		return usage(cli, "--%s is for ringfort %s", name, sends ? "recv" : "send");
	return STATUS_MORE;
}

/* What does not go together, and what follows from something else. */
static int settle(struct cli *cli)
{
	struct rf_options *options = &cli->options;

	cli->listen |= cli->publish;
	if (!options->slots && options->wait_for > SLOTS_DEFAULT / 2 - 1)
		options->slots = options->wait_for < RF_SLOTS_MAX / 2 ? 2 * options->wait_for + 2
								      : RF_SLOTS_MAX;
	if (options->slots || options->slot_bytes || cli->publish)
		options->kind = RF_SLOTS;
	if (options->mode && !cli->listen)
		return usage(cli, "--mode is for --listen and --publish");
	if (options->kind == RF_SLOTS && options->ring_bytes)
		return usage(cli, "--size is for a ring; slots have --slots and --slot-size");
	if ((options->wait_for || options->n_block_uids) && !cli->publish)
		return usage(cli, "--wait-for and --block-uid are for --publish");
	if ((options->lag || options->start) && cli->listen)
		return usage(cli, "--lag and --oldest are not for --listen");
	if (cli->timeout_ns == UINT64_MAX)
		cli->timeout_ns = cli->listen ? 0 : CONNECT_NS;
	return STATUS_MORE;
}

int cli_parse(struct cli *cli, uint32_t direction, int argc, char **argv, const char *about)
{
	int option, which = 0, status = STATUS_MORE;

	*cli = (struct cli){.command = argv[0], .timeout_ns = UINT64_MAX};
	rf_options_init(&cli->options);
	cli->options.direction = direction;
	cli->options.uids = cli->uids;
	cli->options.block_uids = cli->block_uids;
	while (status == STATUS_MORE &&
		(option = getopt_long(argc, argv, "q", long_options, &which)) != -1) {
		status = check_command(cli, option, long_options[which].name);
		if (status == STATUS_MORE)
			status = take_option(cli, option, about);
	}
	if (status != STATUS_MORE)
		return status;
	if (optind + 1 != argc)
		return usage(cli, "one address is needed");
	cli->address = argv[optind];
	return settle(cli);
}
