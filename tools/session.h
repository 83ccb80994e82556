/* SPDX-License-Identifier: MIT */
/* One run of send or recv: how it comes to its channel, signals, progress, and how it ends. */
#ifndef RF_TOOLS_SESSION_H
#define RF_TOOLS_SESSION_H

#include "cli.h"

struct session {
	const struct cli *cli;
	struct rf_channel *channel;
	bool progress; /* is to be shown */
	uint64_t opened_ns, shown_ns;
};

/* Listens or connects as the command line says. From then on SIGINT and SIGTERM stop what the
 * session waits for instead of ending the program, and SIGPIPE is not raised. MORE with
 * session->channel; else session_close() comes next. */
int session_open(struct session *session, const struct cli *cli);

/* Has a signal asked for the end? */
bool session_stopped(void);

/* The exit status for an error of the channel, after telling it. OK, silently, when stopped. */
int session_failed(struct session *session, int error);

/* The exit status for an errno of reading or writing, after telling it. Of a broken pipe nothing is
 * told where SIGPIPE would have ended us silently: session_close() sees to that. */
int session_io_failed(struct session *session, const char *what, int error);

/* What our half of the channel has done. */
struct rf_half_stats session_stats(const struct session *session);

/* Shows how far we are, at most five times a second. */
void session_progress(struct session *session);

/* Prints the statistics where they are wanted and closes the channel. Where a signal or a broken
 * pipe ended the session, it ends the program by that signal; else it returns status. */
int session_close(struct session *session, int status);

#endif
