/* SPDX-License-Identifier: MIT */
/* One run of send or recv: how it comes to its channel, signals, progress, and how it ends. */
#ifndef RF_TOOLS_SESSION_H
#define RF_TOOLS_SESSION_H

#include "cli.h"

struct session {
	const struct cli *cli;
	struct rf_channel *channel;     /* or */
	struct rf_publisher *publisher; /* NULL: a channel */
	uint64_t reserve_until_ns;      /* deadline of the next rf_tx_reserve() */
	uint64_t kicks_owed;            /* failed when we last looked */
	bool progress;                  /* is to be shown */
	uint64_t opened_ns, shown_ns;
};

/* Listens, publishes or connects as the command line says. From then on SIGINT and SIGTERM stop
 * what the session waits for instead of ending the program, and SIGPIPE is not raised. MORE
 * with session->channel or session->publisher; else session_close() comes next. */
int session_open(struct session *session, const struct cli *cli);

/* What to send with; NULL: nothing is open. */
struct rf_tx *session_tx(const struct session *session);

/* To sleep beside something else: the descriptor, when to wake up in any case in milliseconds (-1:
 * no need), and what is called then or when the descriptor was readable. The descriptor, 0, or a
 * negative errno. */
int session_fd(struct session *session);
int session_sleep_ms(struct session *session);
int session_process(struct session *session);

/* Has a signal asked for the end? */
bool session_stopped(void);

/* The exit status for an error of the channel or publisher, after telling it. OK, silently, when
 * stopped. */
int session_failed(struct session *session, int error);

/* The exit status for an errno of reading or writing, after telling it. Of a broken pipe nothing is
 * told where SIGPIPE would have ended us silently: session_close() sees to that. */
int session_io_failed(struct session *session, const char *what, int error);

/* What our half of the channel, or the publisher, has done. */
struct rf_half_stats session_stats(const struct session *session);

/* Shows how far we are, at most five times a second. */
void session_progress(struct session *session);

/* Prints the statistics where they are wanted and closes what is open. Where a signal or a broken
 * pipe ended the session, it ends the program by that signal; else it returns status. */
int session_close(struct session *session, int status);

#endif
