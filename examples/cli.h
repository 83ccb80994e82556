/* SPDX-License-Identifier: MIT */
/* What the command lines of capture and its viewers have in common. Define PROGRAM, the name in
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

/* Exit statuses. */
enum {
	STATUS_OK = 0,
	STATUS_FAILED = 1,
	STATUS_USAGE = 2,
	STATUS_GONE = 3,    /* the capture went in mid-stream, or cut us off */
	STATUS_BREACH = 4,  /* the peer broke the protocol, or sent what is no video */
	STATUS_REFUSED = 5, /* by the peer or by us */
	STATUS_TIMEOUT = 6, /* the peer did not come */
	STATUS_MISSED = 7   /* a recording has gaps */
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

/* Some users. */
struct cli_users {
	uid_t uids[16];
	size_t n;
};

/* The options that all of the programs have, and what they said. */
struct cli {
	struct rf_options options;
	struct cli_users admitted;
	unsigned timeout_s; /* 0: wait without end */
};

enum { CLI_DOORBELL = 1000, CLI_HELP, CLI_MAX_MEMORY, CLI_TIMEOUT, CLI_UID, CLI_VERSION, CLI_WAIT };

#define CLI_OPTIONS                                                                                \
	{"doorbell", required_argument, NULL, CLI_DOORBELL},                                       \
		{"help", no_argument, NULL, CLI_HELP},                                             \
		{"max-memory", required_argument, NULL, CLI_MAX_MEMORY},                           \
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
	"others: 10]\n"                                                                            \
	"      --doorbell KIND      auto, eventfd (the peer is trusted not to hang us) or "        \
	"socket\n"                                                                                 \
	"      --wait HOW           adaptive, spin or sleep\n"                                     \
	"      --max-memory MIB     the most memory for frames to agree to, 1 to 1024 [256]\n"     \
	"      --help               show this and end\n"                                           \
	"      --version            show the version and end\n"

#define CLI_STATUS_TEXT                                                                            \
	"Exit status: 0: done; 1: a file or the system failed; 2: wrong usage; 3: the capture\n"   \
	"went in mid-stream, or cut us off; 4: the peer broke the protocol; 5: refused; 6: the\n"  \
	"peer did not come; 7: frames are missing in a recording.\n"

static inline void cli_init(struct cli *cli, uint32_t direction, unsigned timeout_s)
{
	rf_options_init(&cli->options);
	cli->options.kind = RF_SLOTS;
	cli->options.direction = direction;
	cli->options.max_ring_bytes = (uint64_t)256 << 20;
	cli->timeout_s = timeout_s;
}

static inline void cli_add_user(struct cli_users *users, const char *name)
{
	const struct passwd *user = getpwnam(name);

	if (users->n == sizeof(users->uids) / sizeof(*users->uids))
		cli_usage("too many users");
	users->uids[users->n++] =
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
		cli_add_user(&cli->admitted, optarg);
		return;
	case CLI_TIMEOUT:
		cli->timeout_s = cli_number("the timeout", optarg, 10, 0, 1000000);
		return;
	case CLI_MAX_MEMORY:
		cli->options.max_ring_bytes =
			(uint64_t)cli_number("the most memory", optarg, 10, 1, 1024) << 20;
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

/* The options to hand to the library; valid as long as *cli is. */
static inline struct rf_options *cli_options(struct cli *cli)
{
	cli->options.uids = cli->admitted.uids;
	cli->options.n_uids = cli->admitted.n;
	return &cli->options;
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
static struct rf_publisher *volatile cli_publisher;
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
	if (cli_publisher)
		rf_publisher_stop(cli_publisher);
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
