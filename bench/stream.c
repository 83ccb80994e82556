/* SPDX-License-Identifier: MIT */
#include "stream.h"

#include "payload.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PREFIX       8
#define SOCKET_BYTES (1 << 20)
#define WAIT_MS      5000

/* Up to this size several messages are read at once; a longer one is read alone, so that nothing of
 * the next has to be moved to the front. */
#define SMALL      8192
#define READ_BYTES 65536

struct stream stream = {-1, -1, -1};

int stream_wait(int fd)
{
	struct pollfd ready = {fd, POLLIN, 0};
	int r;

	do {
		r = poll(&ready, 1, WAIT_MS);
	} while (r < 0 && errno == EINTR);
	if (r < 0)
		return -errno;
	return r ? 0 : -ETIMEDOUT;
}

static void widen(int fd)
{
	int bytes = SOCKET_BYTES;

	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
}

int stream_listen(int fd, const void *address, unsigned len)
{
	if (fd < 0)
		return -errno;
	stream.listener = fd;
	widen(fd);
	if (bind(fd, address, len) < 0 || listen(fd, 1) < 0)
		return -errno;
	return 0;
}

int stream_meet(struct end *end, int fd, const void *address, unsigned len)
{
	int r = 0;

	if (end->side == SIDE_CONSUMER) {
		r = stream_wait(stream.listener);
		fd = r < 0 ? r : accept4(stream.listener, NULL, NULL, SOCK_CLOEXEC);
	}
	if (fd < 0)
		return r < 0 ? r : -errno;
	stream.in = stream.out = fd;
	widen(fd);
	if (end->side == SIDE_PRODUCER && connect(fd, address, len) < 0)
		return -errno;
	return 0;
}

static void close_one(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void stream_close(struct end *end)
{
	(void)end;
	if (stream.out != stream.in)
		close_one(&stream.out);
	stream.out = -1;
	close_one(&stream.in);
	close_one(&stream.listener);
}

static int write_all(struct end *end, const unsigned char *from, size_t len)
{
	ssize_t n;

	while (len) {
		n = write(stream.out, from, len);
		end->counters.syscalls++;
		if (n < 0 && errno != EINTR)
			return -errno;
		from += n < 0 ? 0 : n;
		len -= n < 0 ? 0 : (size_t)n;
	}
	return 0;
}

/* A message is made where it is written from: there is nothing to be copied twice. */
int stream_send(struct end *end, const struct job *job, uint64_t first, uint64_t count)
{
	uint64_t most = job->mode == MODE_SPAN_COPIED ? MESSAGES_AT_ONCE : 1, s = first;
	size_t each = PREFIX + (size_t)job->size;
	int r = 0;

	most = most * each > BUFFER_BYTES ? BUFFER_BYTES / each : most;
	while (s < first + count && r >= 0) {
		uint64_t left = first + count - s, n = left < most ? left : most;

		for (size_t i = 0; i < n; i++) {
			memcpy(end->buffer + i * each, &job->size, PREFIX);
			payload_fill(end->buffer + i * each + PREFIX, job->size, s++);
		}
		r = write_all(end, end->buffer, n * each);
	}
	return r;
}

/* Reads what there is behind the *have bytes that are there. */
static int read_more(struct end *end, size_t most, size_t *have)
{
	ssize_t n;

	do {
		n = read(stream.in, end->buffer + *have, most - *have);
		end->counters.syscalls++;
	} while (n < 0 && errno == EINTR);
	if (n <= 0)
		return n ? -errno : -EPIPE;
	*have += (size_t)n;
	return 0;
}

/* Adds up the whole messages at the front and moves the rest there. How many; -EBADMSG. */
static int take(unsigned char *buffer, size_t size, size_t *have, uint64_t *sum)
{
	size_t at = 0;
	uint64_t len;
	int n = 0;

	for (; *have - at >= PREFIX + size; at += PREFIX + size, n++) {
		memcpy(&len, buffer + at, PREFIX);
		if (len != size)
			return -EBADMSG;
		*sum += payload_sum(buffer + at + PREFIX, size);
	}
	*have -= at;
	memmove(buffer, buffer + at, *have);
	return n;
}

int stream_receive(struct end *end, const struct job *job, uint64_t count, uint64_t *sum)
{
	size_t most = job->size > SMALL ? PREFIX + (size_t)job->size : READ_BYTES, have = 0;
	uint64_t done = 0;
	int n;

	while (done < count) {
		n = read_more(end, most, &have);
		if (n >= 0)
			n = take(end->buffer, job->size, &have, sum);
		if (n < 0)
			return n;
		done += (unsigned)n;
	}
	return 0;
}
