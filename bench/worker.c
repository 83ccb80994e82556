/* SPDX-License-Identifier: MIT */
#include "harness.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int worker_read(int fd, void *to, size_t len)
{
	for (unsigned char *at = to; len;) {
		ssize_t n = read(fd, at, len);

		if (n == 0)
			return -EPIPE;
		if (n < 0 && errno != EINTR)
			return -errno;
		at += n < 0 ? 0 : n;
		len -= n < 0 ? 0 : (size_t)n;
	}
	return 0;
}

int worker_write(int fd, const void *from, size_t len)
{
	for (const unsigned char *at = from; len;) {
		ssize_t n = write(fd, at, len);

		if (n < 0 && errno != EINTR)
			return -errno;
		at += n < 0 ? 0 : n;
		len -= n < 0 ? 0 : (size_t)n;
	}
	return 0;
}

static void say_hello(struct pair *pair, int error, struct hello *hello)
{
	const struct transport *transport = pair->transport;

	memset(hello, 0, sizeof(*hello));
	hello->magic = WORKER_MAGIC;
	hello->error = error;
	hello->flags = transport->flags;
	hello->tests = transport->tests;
	hello->modes = transport->modes;
	hello->waits = transport->waits;
	hello->size_least = transport->size_least;
	hello->size_most = transport->size_most;
	snprintf(hello->name, NAME_BYTES, "%s", transport->name);
	snprintf(hello->about, ABOUT_BYTES, "%s", transport->about);
	memcpy(hello->why, pair->end.why, WHY_BYTES);
}

int worker_run(const struct transport *transport, const struct place *place)
{
	static struct result result;
	static struct pair pair;
	struct hello hello;
	struct job job;
	int r = harness_begin(&pair, transport, place);

	say_hello(&pair, r, &hello);
	if (worker_write(place->out, &hello, sizeof(hello)) < 0 || r < 0)
		return 1;
	for (;;) {
		harness_rest(&pair);
		r = worker_read(place->in, &job, sizeof(job));
		harness_wake(&pair);
		if (r < 0)
			break;
		harness_sample(&pair, &job, &result);
		if (worker_write(place->out, &result, sizeof(result)) < 0)
			break;
	}
	return harness_end(&pair);
}
