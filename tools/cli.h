/* SPDX-License-Identifier: MIT */
/* The command line of `ringfort send` and `ringfort recv`, exit statuses, and what is told on
 * standard error. */
#ifndef RF_TOOLS_CLI_H
#define RF_TOOLS_CLI_H

#include <ringfort/ringfort.h>
#include <stdbool.h>

/* Exit statuses, and what functions return that may end the program: MORE means go on, and with
 * every other one the user has been told already. */
enum cli_status {
	STATUS_MORE = -1,
	STATUS_OK = 0,
	STATUS_FAILED = 1,  /* input, output or the system */
	STATUS_USAGE = 2,   /* the command line */
	STATUS_GONE = 3,    /* the peer went without ending the stream */
	STATUS_BREACH = 4,  /* the peer broke the protocol */
	STATUS_REFUSED = 5, /* by the peer or by us */
	STATUS_TIMEOUT = 6  /* nobody came */
};

#define CLI_UIDS_MOST 64

/* What the command line said. Not to be copied: options points into it. */
struct cli {
	const char *command; /* "ringfort send", for messages */
	const char *address;
	bool listen, publish, records, stats, quiet;
	uint64_t timeout_ns; /* for the connection, or those of wait_for; 0: wait without end */
	struct rf_options options;
	uid_t uids[CLI_UIDS_MOST], block_uids[CLI_UIDS_MOST];
};

/* The subcommands. argv[0] is the name for messages. They return the exit status. */
int command_send(int argc, char **argv);
int command_recv(int argc, char **argv);
int command_doctor(int argc, char **argv);

/* Reads the command line of send (direction RF_SEND) or recv (RF_RECEIVE); about is the first part
 * of its help. MORE; with anything else the program ends. */
int cli_parse(struct cli *cli, uint32_t direction, int argc, char **argv, const char *about);

/* The exit status for a negative errno of ringfort. */
int cli_status(int error);

/* Says something on standard error, with the name of the command, on a line of its own. */
__attribute__((format(printf, 2, 3))) void cli_say(const struct cli *cli, const char *format, ...);

/* Shows a line on standard error that the next one of these replaces. */
__attribute__((format(printf, 1, 2))) void cli_show(const char *format, ...);

/* Prints a text that was asked for, such as a help, on standard output. The exit status: output
 * that does not get there is a failure. */
int cli_print(const char *command, const char *text);

#endif
