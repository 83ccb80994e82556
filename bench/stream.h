/* SPDX-License-Identifier: MIT */
/* Messages in a stream of bytes, each behind its length in 8 bytes: what unix sockets, TCP and pipes
 * have in common. */
#ifndef BENCH_STREAM_H
#define BENCH_STREAM_H

#include "transport.h"

/* The descriptors that are used now; -1: none. A socket has one for both. */
struct stream {
	int in, out, listener;
};

extern struct stream stream; /* one in a process */

/* Remembers a socket that listens (the consumer's prepare()); then the connection, made or accepted
 * with wide buffers. They take 0 or a negative errno from before, and hand it on. */
int stream_listen(int fd, const void *address, unsigned len);
int stream_meet(struct end *end, int fd, const void *address, unsigned len);

int stream_send(struct end *end, const struct job *job, uint64_t first, uint64_t count);
int stream_receive(struct end *end, const struct job *job, uint64_t count, uint64_t *sum);
void stream_close(struct end *end);

/* Waits for at most 5 seconds until one can read from fd. 0 or a negative errno. */
int stream_wait(int fd);

#endif
