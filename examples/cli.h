/* SPDX-License-Identifier: MIT */
/* What the command lines of capture and encode have in common. Define PROGRAM, the name in
 * messages, before including this. */
#ifndef EXAMPLES_CLI_H
#define EXAMPLES_CLI_H

#include <ringfort/ringfort.h>

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <pwd.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* The tags of the records between capture and encode: first the header line of Y4M, then frames. */
enum { TAG_HEADER = 1, TAG_FRAME = 2 };

/* Exit statuses. */
enum {
	STATUS_OK = 0,
	STATUS_FAILED = 1,
	STATUS_USAGE = 2,
	STATUS_GONE = 3,    /* the peer went in mid-stream */
	STATUS_BREACH = 4,  /* the peer broke the protocol, or sent what is no video */
	STATUS_REFUSED = 5, /* by the peer or by us */
	STATUS_TIMEOUT = 6  /* the peer did not come */
};

/* The exit status for a negative errno of ringfort. */
static inline int cli_status(int error)
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
	default:
		return STATUS_FAILED;
	}
}

/* Prints a message with the name of the program. */
__attribute__((format(printf, 1, 2))) static inline void cli_say(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fputs(PROGRAM ": ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
}

/* Ends the program because of its command line. */
#define cli_usage(...)                                                                             \
	(cli_say(__VA_ARGS__), fputs("Try '" PROGRAM " --help'.\n", stderr), exit(STATUS_USAGE))

/* A decimal number, or octal digits with base 8; anything else ends the program. */
static inline unsigned cli_number(
	const char *what, const char *text, int base, unsigned min, unsigned max)
{
	char *end = NULL;
	unsigned long value = 0;

	errno = 0;
	if (*text >= '0' && *text <= '9')
		value = strtoul(text, &end, base);
	if (!end || *end || errno || value < min || value > max)
		cli_usage("%s must be a number from %u to %u: '%s'", what, min, max, text);
	return (unsigned)value;
}

/* The options that both programs have, and what they said. */
struct cli {
	struct rf_options options; /* uids points into this struct: do not copy it */
	uid_t uids[16];
	unsigned timeout_s;      /* 0: wait without end */
	uint64_t max_ring_bytes; /* a power of two */
};

enum { CLI_DOORBELL = 1000, CLI_HELP, CLI_MAX_RING, CLI_TIMEOUT, CLI_UID, CLI_VERSION, CLI_WAIT };

#define CLI_OPTIONS                                                                                \
	{"doorbell", required_argument, NULL, CLI_DOORBELL},                                       \
		{"help", no_argument, NULL, CLI_HELP},                                             \
		{"max-ring", required_argument, NULL, CLI_MAX_RING},                               \
		{"timeout", required_argument, NULL, CLI_TIMEOUT},                                 \
		{"uid", required_argument, NULL, CLI_UID},                                         \
		{"version", no_argument, NULL, CLI_VERSION},                                       \
		{"wait", required_argument, NULL, CLI_WAIT},                                       \
	{                                                                                          \
		NULL, 0, NULL, 0                                                                   \
	}

#define CLI_HELP_TEXT                                                                              \
	"      --uid UID            admit this user, too, as the peer (a name or number; "         \
	"repeatable)\n"                                                                            \
	"      --timeout SECONDS    give up if the peer has not come by then [capture: 0, never; " \
	"encode: 10]\n"                                                                            \
	"      --doorbell KIND      auto, eventfd (the peer is trusted not to hang us) or "        \
	"socket\n"                                                                                 \
	"      --wait HOW           adaptive, spin or sleep\n"                                     \
	"      --max-ring MIB       the largest ring to agree to, 1 to 512 [256]\n"                \
	"      --help               show this and end\n"                                           \
	"      --version            show the version and end\n"

#define CLI_STATUS_TEXT                                                                            \
	"Exit status: 0: done; 1: a file or the system failed; 2: wrong usage; 3: the peer went\n" \
	"in mid-stream; 4: the peer broke the protocol; 5: refused; 6: the peer did not come.\n"

static inline void cli_init(struct cli *cli, uint32_t direction, unsigned timeout_s)
{
	rf_options_init(&cli->options);
	cli->options.direction = direction;
	cli->options.uids = cli->uids;
	cli->timeout_s = timeout_s;
	cli->max_ring_bytes = (uint64_t)256 << 20;
}

static inline void cli_add_uid(struct cli *cli, const char *name)
{
	const struct passwd *user = getpwnam(name);

	if (cli->options.n_uids == sizeof(cli->uids) / sizeof(*cli->uids))
		cli_usage("too many users");
	cli->uids[cli->options.n_uids++] =
		user ? user->pw_uid
		     : cli_number("a user that has no name here", name, 10, 0, UINT32_MAX - 1);
}

/* Which of words, which end with a NULL, this is. */
static inline unsigned cli_word(const char *what, const char *word, const char *const *words)
{
	for (unsigned i = 0; words[i]; i++) {
		if (!strcmp(words[i], word))
			return i;
	}
	cli_usage("unknown %s: '%s'", what, word);
	return 0;
}

static inline uint64_t cli_power_of_two(uint64_t limit)
{
	uint64_t power = 1;

	while (power <= limit / 2)
		power *= 2;
	return power;
}

/* Takes one of CLI_OPTIONS; ends the program after --help, --version, and what getopt_long(3)
 * has complained about. */
static inline void cli_option(struct cli *cli, int option, const char *help)
{
	static const char *const doorbells[] = {"auto", "eventfd", "socket", NULL};
	static const char *const waits[] = {"adaptive", "spin", "sleep", NULL};

	switch (option) {
	case CLI_DOORBELL:
		cli->options.doorbell = cli_word("doorbell", optarg, doorbells);
		return;
	case CLI_WAIT:
		cli->options.wait = cli_word("way to wait", optarg, waits);
		return;
	case CLI_UID:
		cli_add_uid(cli, optarg);
		return;
	case CLI_TIMEOUT:
		cli->timeout_s = cli_number("the timeout", optarg, 10, 0, 1000000);
		return;
	case CLI_MAX_RING:
		cli->max_ring_bytes = cli_power_of_two(
			(uint64_t)cli_number("the largest ring", optarg, 10, 1, 512) << 20);
		return;
	case CLI_HELP:
		fputs(help, stdout);
		exit(STATUS_OK);
	case CLI_VERSION:
		printf(PROGRAM " (ringfort) %s\n", rf_version());
		exit(STATUS_OK);
	default:
		fputs("Try '" PROGRAM " --help'.\n", stderr);
		exit(STATUS_USAGE);
	}
}

static inline uint64_t cli_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static inline uint64_t cli_deadline_ns(const struct cli *cli)
{
	return cli->timeout_s ? cli_now_ns() + (uint64_t)cli->timeout_s * 1000000000 : RF_FOREVER;
}

/* What a signal is to stop; either may be NULL. */
static struct rf_listener *volatile cli_listener;
static struct rf_channel *volatile cli_channel;
static volatile sig_atomic_t cli_stopped;

/* The alarm repeats the signal: one that comes just before a read(2) or a sleep begins would not
 * end it. */
static inline void cli_on_signal(int signal)
{
	(void)signal;
	cli_stopped = 1;
	if (cli_channel)
		rf_channel_stop(cli_channel);
	if (cli_listener)
		rf_listener_stop(cli_listener);
	alarm(1);
}

/* From here on SIGINT and SIGTERM end what the program waits for, instead of the program. */
static inline void cli_catch_signals(void)
{
	struct sigaction action = {.sa_handler = cli_on_signal};

	sigemptyset(&action.sa_mask);
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGALRM, &action, NULL);
}

#endif
