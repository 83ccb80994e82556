/* SPDX-License-Identifier: MIT */
/* A program that a transport wants beside it: a daemon. A keeper process of ours starts it and ends
 * with the process that asked for it, however that ended; it removes its files and kills it. */
#ifndef BENCH_PEERS_HELPER_H
#define BENCH_PEERS_HELPER_H

#include <sys/types.h>

#define HELPER_FILES 12

struct helper {
	pid_t keeper;                    /* 0: none */
	const char *files[HELPER_FILES]; /* of a daemon that was ready; a lock last; up to a NULL */
};

/* Starts argv[0] on any processor and waits until it has written the word ready to its standard
 * output; a few seconds at most. 0; -ENOENT: there is no such program; -ECHILD: it ended; -ETIMEDOUT.
 * Not while there are other threads. */
int helper_start(struct helper *helper, const char *const *argv, const char *ready);

/* Ends it and waits for that. */
void helper_stop(struct helper *helper);

#endif
