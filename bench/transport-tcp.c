/* SPDX-License-Identifier: MIT */
#include "stream.h"
#include "transports.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

static int new_socket(void)
{
	return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

/* The port is told through the shared memory. */
static int prepare(struct end *end, const struct job *job)
{
	struct sockaddr_in address = {.sin_family = AF_INET};
	socklen_t len = sizeof(address);
	int r;

	(void)job;
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	r = stream_listen(new_socket(), &address, sizeof(address));
	if (r >= 0 && getsockname(stream.listener, (struct sockaddr *)&address, &len) < 0)
		r = -errno;
	memcpy(end->shared, &address, sizeof(address));
	return r;
}

static int open_end(struct end *end, const struct job *job)
{
	struct sockaddr_in address;
	int on = 1, r;

	(void)job;
	memcpy(&address, end->shared, sizeof(address));
	r = stream_meet(
		end, end->side == SIDE_PRODUCER ? new_socket() : -1, &address, sizeof(address));
	if (r >= 0 && setsockopt(stream.out, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) < 0)
		r = -errno;
	return r;
}

const struct transport transport_tcp = {
	.name = "tcp",
	.about =
		"a TCP connection over loopback, no delay; lengths of 8 bytes between the messages",
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
	.close = stream_close,
};
