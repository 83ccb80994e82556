/* SPDX-License-Identifier: MIT */
/* A channel to standard output: what is borrowed is written straight out of the ring, several
 * records with one system call. */
#include "session.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <sys/uio.h>
#include <unistd.h>

#define BATCH       64
#define GROUP_BYTES ((size_t)256 << 10) /* given back together, so that the sender goes on */

static const char about[] = "Usage: ringfort recv [OPTION]... ADDRESS\n"
			    "Moves a channel to standard output, from `ringfort send` or any other "
			    "program that sends.\n\n";

struct recv {
	struct cli cli;
	struct session session;
	struct rf_rx *rx;
	struct rf_message messages[BATCH];
	unsigned char lengths[BATCH][4];
	struct iovec parts[2 * BATCH];
};

/* The output */

/* After a write that failed: MORE to try again. */
static int write_failed(struct recv *v)
{
	struct pollfd output = {.fd = STDOUT_FILENO, .events = POLLOUT};

	if (errno == EAGAIN)
		poll(&output, 1, -1);
	else if (errno != EINTR)
		return session_io_failed(&v->session, "write standard output", errno);
	return STATUS_MORE;
}

static void skip_written(struct iovec **parts, int *n_parts, size_t n)
{
	for (; *n_parts && n >= (*parts)->iov_len; ++*parts, --*n_parts)
		n -= (*parts)->iov_len;
	if (!*n_parts)
		return;
	(*parts)->iov_base = (unsigned char *)(*parts)->iov_base + n;
	(*parts)->iov_len -= n;
}

static int write_all(struct recv *v, struct iovec *parts, int n_parts)
{
	ssize_t n;
	int status = STATUS_MORE;

	skip_written(&parts, &n_parts, 0);
	while (n_parts && status == STATUS_MORE) {
		if (session_stopped())
			return STATUS_OK;
		n = writev(STDOUT_FILENO, parts, n_parts);
		if (n < 0)
			status = write_failed(v);
		else
			skip_written(&parts, &n_parts, (size_t)n);
	}
	return status;
}

/* Records */

static struct iovec encode_length(unsigned char *bytes, size_t len)
{
	bytes[0] = (unsigned char)len;
	bytes[1] = (unsigned char)(len >> 8);
	bytes[2] = (unsigned char)(len >> 16);
	bytes[3] = (unsigned char)(len >> 24);
	return (struct iovec){.iov_base = bytes, .iov_len = 4};
}

/* Writes the first n records at `messages`. */
static int write_group(struct recv *v, const struct rf_message *messages, unsigned n)
{
	struct iovec *part = v->parts;
	unsigned i;

	for (i = 0; i < n; i++) {
		if (v->cli.records)
			*part++ = encode_length(v->lengths[i], messages[i].len);
		*part++ = (struct iovec){.iov_base = (void *)(uintptr_t)messages[i].data,
			.iov_len = messages[i].len};
	}
	return write_all(v, v->parts, (int)(part - v->parts));
}

/* How many of n records make a group: one at least. */
static unsigned group_size(const struct rf_message *messages, unsigned n)
{
	size_t bytes = messages[0].len;
	unsigned i;

	for (i = 1; i < n && bytes + messages[i].len <= GROUP_BYTES; i++)
		bytes += messages[i].len;
	return i;
}

/* Writes n records that are borrowed, and gives them back in any case. */
static int take(struct recv *v, const struct rf_message *messages, unsigned n)
{
	int status = STATUS_MORE;
	unsigned k;

	for (; n; messages += k, n -= k) {
		k = status == STATUS_MORE ? group_size(messages, n) : n;
		if (status == STATUS_MORE)
			status = write_group(v, messages, k);
		rf_rx_release(v->rx, messages, k);
		session_progress(&v->session);
	}
	return status;
}

static int receive(struct recv *v)
{
	int n, status = STATUS_MORE;

	v->rx = rf_channel_rx(v->session.channel);
	while (status == STATUS_MORE && !session_stopped()) {
		n = rf_rx_borrow(v->rx, RF_FOREVER, v->messages, BATCH);
		if (n <= 0)
			return n < 0 ? session_failed(&v->session, n) : STATUS_OK;
		status = take(v, v->messages, (unsigned)n);
	}
	return status == STATUS_MORE ? STATUS_OK : status;
}

/* A cut-off has been told already, what was missed before it has not. */
static void tell_missed(const struct recv *v)
{
	uint64_t missed = v->session.channel ? session_stats(&v->session).missed : 0;

	if (missed && !v->cli.quiet && !v->cli.stats)
		cli_say(&v->cli, "%" PRIu64 " messages were missed", missed);
}

int command_recv(int argc, char **argv)
{
	static struct recv v;
	int status = cli_parse(&v.cli, RF_RECEIVE, argc, argv, about);

	if (status != STATUS_MORE)
		return status;
	status = session_open(&v.session, &v.cli);
	if (status == STATUS_MORE)
		status = receive(&v);
	tell_missed(&v);
	return session_close(&v.session, status);
}
