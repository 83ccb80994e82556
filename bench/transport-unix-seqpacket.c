/* SPDX-License-Identifier: MIT */
#include "payload.h"
#include "stream.h"
#include "transports.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define SIZE_MOST  131072 /* what the usual limit of a socket's buffer leaves room for */
#define BATCH_MOST 64

static struct sockaddr_un address_of(const struct end *end)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/seqpacket", end->dir);
	return address;
}

static int new_socket(void)
{
	return socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
}

static int prepare(struct end *end, const struct job *job)
{
	struct sockaddr_un address = address_of(end);

	(void)job;
	return stream_listen(new_socket(), &address, sizeof(address));
}

static int open_end(struct end *end, const struct job *job)
{
	struct sockaddr_un address = address_of(end);

	(void)job;
	return stream_meet(
		end, end->side == SIDE_PRODUCER ? new_socket() : -1, &address, sizeof(address));
}

static void close_end(struct end *end)
{
	struct sockaddr_un address = address_of(end);

	stream_close(end);
	if (end->side == SIDE_CONSUMER)
		unlink(address.sun_path);
}

static unsigned at_once(const struct job *job, uint64_t left)
{
	uint64_t most = job->mode == MODE_SPAN_COPIED ? BATCH_MOST : 1;

	return (unsigned)(left < most ? left : most);
}

static void describe(struct end *end, const struct job *job, struct mmsghdr *messages,
	struct iovec *parts, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		parts[i] = (struct iovec){end->buffer + i * job->size, job->size};
		messages[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = &parts[i], .msg_iovlen = 1}};
	}
}

static int send_packets(struct end *end, const struct job *job, uint64_t first, uint64_t count)
{
	struct mmsghdr messages[BATCH_MOST];
	struct iovec parts[BATCH_MOST];
	uint64_t s = first;

	while (s < first + count) {
		unsigned n = at_once(job, first + count - s), sent = 0;

		describe(end, job, messages, parts, n);
		for (unsigned i = 0; i < n; i++)
			payload_fill(parts[i].iov_base, job->size, s++);
		while (sent < n) {
			int r = sendmmsg(stream.out, messages + sent, n - sent, 0);

			end->counters.syscalls++;
			if (r < 0 && errno != EINTR)
				return -errno;
			sent += r < 0 ? 0 : (unsigned)r;
		}
	}
	return 0;
}

static int receive_packets(struct end *end, const struct job *job, uint64_t count, uint64_t *sum)
{
	struct mmsghdr messages[BATCH_MOST];
	struct iovec parts[BATCH_MOST];

	while (count) {
		unsigned n = at_once(job, count);
		int r;

		describe(end, job, messages, parts, n);
		r = recvmmsg(stream.in, messages, n, MSG_WAITFORONE, NULL);
		end->counters.syscalls++;
		if (r < 0 && errno != EINTR)
			return -errno;
		for (int i = 0; i < r; i++) {
			if (messages[i].msg_len != job->size)
				return messages[i].msg_len ? -EBADMSG : -EPIPE;
			*sum += payload_sum(parts[i].iov_base, job->size);
		}
		count -= r < 0 ? 0 : (unsigned)r;
	}
	return 0;
}

const struct transport transport_unix_seqpacket = {
	.name = "unix-seqpacket",
	.about = "a unix seqpacket socket; many at once with sendmmsg and recvmmsg",
	.flags = TRANSPORT_COUNTS_CALLS,
	.tests = BIT(TEST_THROUGHPUT) | BIT(TEST_ROUND_TRIP),
	.modes = BIT(MODE_COPIED) | BIT(MODE_SPAN_COPIED),
	.waits = BIT(WAIT_SLEEP),
	.size_least = 8,
	.size_most = SIZE_MOST,
	.prepare = prepare,
	.open = open_end,
	.send = send_packets,
	.receive = receive_packets,
	.close = close_end,
};
