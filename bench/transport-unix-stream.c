/* SPDX-License-Identifier: MIT */
#include "stream.h"
#include "transports.h"

#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static struct sockaddr_un address_of(const struct end *end)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/stream", end->dir);
	return address;
}

static int new_socket(void)
{
	return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
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

const struct transport transport_unix_stream = {
	.name = "unix-stream",
	.about = "write and read of a unix stream socket with buffers of 1 MiB; lengths of 8 bytes "
		 "between the messages",
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
