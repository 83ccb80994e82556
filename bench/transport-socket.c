/* SPDX-License-Identifier: MIT */
/* A stream of messages, each behind its length: 8 bytes, so that payloads are aligned. */
#include "payload.h"
#include "transport.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define PREFIX 8

/* Up to this size several messages are read at once; a longer one is read alone, so that nothing of
 * the next has to be moved to the front. */
#define SMALL      8192
#define READ_BYTES 65536

static int write_all(int fd, const unsigned char *from, size_t len)
{
	ssize_t n;

	while (len) {
		n = write(fd, from, len);
		if (n < 0 && errno != EINTR)
			return -errno;
		from += n < 0 ? 0 : n;
		len -= n < 0 ? 0 : (size_t)n;
	}
	return 0;
}

static int socket_send(struct end *end, const struct job *job)
{
	size_t each = PREFIX + job->size;
	uint64_t s = 0, len = job->size;
	int r = 0;

	while (s < job->count && r >= 0) {
		uint64_t left = job->count - s, most = job->mode == SPAN ? SPAN_SEND : 1;
		size_t n = left < most ? left : most;

		for (size_t i = 0; i < n; i++) {
			memcpy(end->buffer + i * each, &len, PREFIX);
			payload_fill(end->buffer + i * each + PREFIX, job->size, s++);
		}
		r = write_all(end->fd, end->buffer, n * each);
	}
	return r;
}

/* Reads what there is behind the *have bytes that are there. */
static int read_more(int fd, unsigned char *buffer, size_t most, size_t *have)
{
	ssize_t n;

	do {
		n = read(fd, buffer + *have, most - *have);
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

static int socket_receive(struct end *end, const struct job *job, uint64_t *ret_sum)
{
	size_t most = job->size > SMALL ? PREFIX + job->size : READ_BYTES, have = 0;
	uint64_t done = 0, sum = 0;
	int n;

	while (done < job->count) {
		n = read_more(end->fd, end->buffer, most, &have);
		if (n >= 0)
			n = take(end->buffer, job->size, &have, &sum);
		if (n < 0)
			return n;
		done += (unsigned)n;
	}
	*ret_sum = sum;
	return 0;
}

const struct transport transport_socket = {socket_send, socket_receive};
