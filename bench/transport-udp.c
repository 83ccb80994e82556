/* SPDX-License-Identifier: MIT */
/* UDP over loopback. Nothing holds a sender back, so what is under way is limited through a counter in
 * shared memory, of which the datagrams know nothing. udp-gso: as many messages in one call as make
 * 64 KiB, taken apart and put together again by the kernel. */
#include "payload.h"
#include "pinned.h"
#include "stream.h"
#include "transports.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <sched.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define DATAGRAM_MOST 65000
#define BATCH_MOST    64
#define WINDOW_BYTES  131072 /* with the kernel's own needs */
#define EACH_NEEDS    1024
#define RECEIVE_BYTES (4 << 20)

/* In shared memory: the consumer's socket address is where both look for the other's. */
struct board {
	struct sockaddr_in addresses[2];
	_Alignas(128) uint64_t received[2];
};

static uint64_t sent; /* since it was opened */

static struct board *board_of(const struct end *end)
{
	return (struct board *)(void *)end->shared;
}

static int bind_one(struct end *end)
{
	struct sockaddr_in *mine = &board_of(end)->addresses[end->side];
	socklen_t len = sizeof(*mine);
	int bytes = RECEIVE_BYTES;

	stream.in = stream.out = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (stream.in < 0)
		return -errno;
	setsockopt(stream.in, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
	setsockopt(stream.in, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
	mine->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (bind(stream.in, (struct sockaddr *)mine, sizeof(*mine)) < 0 ||
		getsockname(stream.in, (struct sockaddr *)mine, &len) < 0)
		return -errno;
	__atomic_store_n(&mine->sin_family, AF_INET, __ATOMIC_RELEASE);
	return 0;
}

static int open_end(struct end *end, const struct job *job)
{
	struct sockaddr_in *mine = &board_of(end)->addresses[end->side];
	struct sockaddr_in *theirs = &board_of(end)->addresses[!end->side];
	uint64_t until = pinned_now() + UINT64_C(5000000000);
	int r;

	(void)job;
	sent = 0;
	mine->sin_family = AF_INET;
	r = bind_one(end);
	while (r >= 0 && !__atomic_load_n(&theirs->sin_port, __ATOMIC_ACQUIRE))
		if (pinned_now() > until)
			r = -ETIMEDOUT;
	if (r >= 0 && connect(stream.out, (struct sockaddr *)theirs, sizeof(*theirs)) < 0)
		r = -errno;
	return r;
}

static int open_gso(struct end *end, const struct job *job)
{
	int r = open_end(end, job), size = (int)job->size, on = 1;

	if (r < 0)
		return r;
	if (setsockopt(stream.out, IPPROTO_UDP, UDP_SEGMENT, &size, sizeof(size)) < 0 ||
		setsockopt(stream.in, IPPROTO_UDP, UDP_GRO, &on, sizeof(on)) < 0)
		return -ENOTSUP;
	return 0;
}

/* Until n more may be under way. */
static void wait_for_window(struct end *end, const struct job *job, uint64_t n)
{
	uint64_t *received = &board_of(end)->received[!end->side];
	uint64_t most = WINDOW_BYTES / (job->size + EACH_NEEDS);

	most = most < n ? n : most;
	while (sent + n - __atomic_load_n(received, __ATOMIC_ACQUIRE) > most)
		pinned_pause();
	sent += n;
}

static void received(struct end *end, uint64_t n)
{
	uint64_t *mine = &board_of(end)->received[end->side];

	__atomic_store_n(mine, *mine + n, __ATOMIC_RELEASE);
}

static unsigned at_once(const struct job *job, uint64_t left, uint64_t most)
{
	if (job->mode != MODE_SPAN_COPIED)
		return 1;
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

static int send_datagrams(struct end *end, const struct job *job, uint64_t first, uint64_t count)
{
	uint64_t s = first, most = WINDOW_BYTES / (job->size + EACH_NEEDS) / 2 + 1;
	struct mmsghdr messages[BATCH_MOST];
	struct iovec parts[BATCH_MOST];

	most = most > BATCH_MOST ? BATCH_MOST : most;
	while (s < first + count) {
		unsigned n = at_once(job, first + count - s, most), out = 0;

		describe(end, job, messages, parts, n);
		for (unsigned i = 0; i < n; i++)
			payload_fill(parts[i].iov_base, job->size, s++);
		wait_for_window(end, job, n);
		while (out < n) {
			int r = sendmmsg(stream.out, messages + out, n - out, 0);

			end->counters.syscalls++;
			if (r < 0 && errno != EINTR)
				return -errno;
			out += r < 0 ? 0 : (unsigned)r;
		}
	}
	return 0;
}

static int receive_datagrams(struct end *end, const struct job *job, uint64_t count, uint64_t *sum)
{
	struct mmsghdr messages[BATCH_MOST];
	struct iovec parts[BATCH_MOST];

	while (count) {
		unsigned n = at_once(job, count, BATCH_MOST);
		int r;

		describe(end, job, messages, parts, n);
		r = recvmmsg(stream.in, messages, n, MSG_WAITFORONE, NULL);
		end->counters.syscalls++;
		if (r < 0 && errno != EINTR)
			return -errno;
		for (int i = 0; i < r; i++)
			*sum += payload_sum(parts[i].iov_base, job->size);
		received(end, r < 0 ? 0 : (unsigned)r);
		count -= r < 0 ? 0 : (unsigned)r;
	}
	return 0;
}

/* As many as one call takes: 64 segments, and not more than a datagram may have in all. */
static int send_segments(struct end *end, const struct job *job, uint64_t first, uint64_t count)
{
	uint64_t most = DATAGRAM_MOST / job->size, s = first;

	most = most > BATCH_MOST ? BATCH_MOST : most;
	while (s < first + count) {
		uint64_t left = first + count - s, n = left < most ? left : most;

		for (uint64_t i = 0; i < n; i++)
			payload_fill(end->buffer + i * job->size, job->size, s++);
		wait_for_window(end, job, n);
		end->counters.syscalls++;
		if (send(stream.out, end->buffer, n * job->size, 0) < 0)
			return -errno;
	}
	return 0;
}

static int receive_segments(struct end *end, const struct job *job, uint64_t count, uint64_t *sum)
{
	while (count) {
		ssize_t len = recv(stream.in, end->buffer, 65536, 0);
		uint64_t n = (uint64_t)len / job->size;

		end->counters.syscalls++;
		if (len < 0)
			return -errno;
		if (n > count)
			return -EBADMSG;
		for (uint64_t i = 0; i < n; i++)
			*sum += payload_sum(end->buffer + i * job->size, job->size);
		received(end, n);
		count -= n;
	}
	return 0;
}

#define COMMON                                                                                     \
	.flags = TRANSPORT_COUNTS_CALLS, .waits = BIT(WAIT_SLEEP), .size_least = 8,                \
	.close = stream_close

const struct transport transport_udp = {
	.name = "udp",
	.about = "UDP over loopback; many at once with sendmmsg and recvmmsg; a window through "
		 "shared "
		 "memory",
	.tests = BIT(TEST_THROUGHPUT) | BIT(TEST_ROUND_TRIP),
	.modes = BIT(MODE_COPIED) | BIT(MODE_SPAN_COPIED),
	.size_most = DATAGRAM_MOST,
	.open = open_end,
	.send = send_datagrams,
	.receive = receive_datagrams,
	COMMON,
};

const struct transport transport_udp_gso = {
	.name = "udp-gso",
	.about = "UDP over loopback in pieces of 64 KiB (GSO and GRO); a window through shared "
		 "memory",
	.tests = BIT(TEST_THROUGHPUT),
	.modes = BIT(MODE_SPAN_COPIED),
	.size_most = 32768,
	.open = open_gso,
	.send = send_segments,
	.receive = receive_segments,
	COMMON,
};
