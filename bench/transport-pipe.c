/* SPDX-License-Identifier: MIT */
/* Two pipes with names, as the processes are there before any of them. vmsplice: the pages of the
 * message are handed to the pipe instead of being copied, and may be used again when as many bytes
 * as the pipe can hold came after them. */
#include "payload.h"
#include "stream.h"
#include "transports.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define PIPE_BYTES (1 << 20)

static const char *path_of(const struct end *end, int there, char *path, size_t size)
{
	snprintf(path, size, "%s/pipe-%d", end->dir, there);
	return path;
}

static int prepare(struct end *end, const struct job *job)
{
	char path[128];

	(void)job;
	for (int there = 0; there < 2; there++)
		if (mkfifo(path_of(end, there, path, sizeof(path)), 0600) < 0)
			return -errno;
	return 0;
}

/* Open both ways, so that nobody waits for the other; a descriptor for one way is made of it. */
static int open_one(const struct end *end, int there, int flags)
{
	char path[128];
	int both = open(path_of(end, there, path, sizeof(path)), O_RDWR | O_CLOEXEC), fd;

	if (both < 0)
		return -errno;
	fcntl(both, F_SETPIPE_SZ, PIPE_BYTES);
	fd = open(path, flags | O_CLOEXEC);
	close(both);
	return fd < 0 ? -errno : fd;
}

static int open_end(struct end *end, const struct job *job)
{
	int mine = end->side == SIDE_PRODUCER;

	(void)job;
	stream.out = open_one(end, mine, O_RDWR);
	stream.in = open_one(end, !mine, O_RDWR);
	return stream.out < 0 ? stream.out : stream.in < 0 ? stream.in : 0;
}

static void close_end(struct end *end)
{
	char path[128];

	stream_close(end);
	for (int there = 0; there < 2 && end->side == SIDE_CONSUMER; there++)
		unlink(path_of(end, there, path, sizeof(path)));
}

/* vmsplice */

static int give_all(struct end *end, unsigned char *from, size_t len)
{
	ssize_t n;

	while (len) {
		struct iovec part = {from, len};

		n = vmsplice(stream.out, &part, 1, 0);
		end->counters.syscalls++;
		if (n < 0 && errno != EINTR)
			return -errno;
		from += n < 0 ? 0 : n;
		len -= n < 0 ? 0 : (size_t)n;
	}
	return 0;
}

/* In turns through the buffer: 16 MiB of it, while the pipe holds at most 1 MiB, in 256 pages. */
static int send_given(struct end *end, const struct job *job, uint64_t first, uint64_t count)
{
	size_t each = ((size_t)job->size + 8 + 4095) & ~(size_t)4095, places = BUFFER_BYTES / each;
	int r = 0;

	for (uint64_t s = first; s < first + count && r >= 0; s++) {
		unsigned char *message = end->buffer + s % places * each;

		*(uint64_t *)(void *)message = job->size;
		payload_fill(message + 8, job->size, s);
		r = give_all(end, message, (size_t)job->size + 8);
	}
	return r;
}

const struct transport transport_pipe = {
	.name = "pipe",
	.about = "write and read of a pipe of 1 MiB; lengths of 8 bytes between the messages",
	.flags = TRANSPORT_COUNTS_CALLS,
	.tests = BIT(TEST_THROUGHPUT) | BIT(TEST_ROUND_TRIP) | BIT(TEST_FRAMES),
	.modes = BIT(MODE_COPIED) | BIT(MODE_SPAN_COPIED),
	.waits = BIT(WAIT_SLEEP),
	.size_least = 8,
	.size_most = 12441600,
	.prepare = prepare,
	.open = open_end,
	.send = stream_send,
	.receive = stream_receive,
	.close = close_end,
};

const struct transport transport_vmsplice = {
	.name = "vmsplice",
	.about = "vmsplice into a pipe of 1 MiB, read out of it; lengths of 8 bytes between the "
		 "messages",
	.flags = TRANSPORT_COUNTS_CALLS,
	.tests = BIT(TEST_THROUGHPUT),
	.modes = BIT(MODE_COPIED),
	.waits = BIT(WAIT_SLEEP),
	.size_least = 4096,
	.size_most = 4 << 20,
	.prepare = prepare,
	.open = open_end,
	.send = send_given,
	.receive = stream_receive,
	.close = close_end,
};
