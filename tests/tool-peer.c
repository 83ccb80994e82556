/* SPDX-License-Identifier: MIT */
/* Company for tests/test-tool.sh.
 *
 *	tool-peer breach ADDRESS     connects, sends "before", then a message that is no kick
 *	tool-peer garbage PATH       listens without ringfort, and answers the first client with noise
 *	tool-peer nonblock COMMAND…  runs the command with O_NONBLOCK on its standard input and output
 *
 * Exit status: 0, or the line where it went wrong. */
#include <fcntl.h>
#include <poll.h>
#include <ringfort/ringfort.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define FDS_MOST   64
#define TIMEOUT_MS 20000

#define must(condition)                                                                            \
	do {                                                                                       \
		if (!(condition))                                                                  \
			exit(__LINE__ % 256);                                                      \
	} while (0)

static void wait_for_hangup(int sock)
{
	struct pollfd fd = {.fd = sock, .events = POLLRDHUP};

	must(poll(&fd, 1, TIMEOUT_MS) == 1);
}

/* The control socket of the one channel that this process has. */
static int find_socket(void)
{
	struct sockaddr_storage peer;
	socklen_t len = sizeof(peer);
	int fd;

	for (fd = 3; fd < FDS_MOST; fd++, len = sizeof(peer))
		if (getpeername(fd, (struct sockaddr *)&peer, &len) == 0)
			return fd;
	return -1;
}

static void breach(const char *address)
{
	struct iovec before = {.iov_base = (void *)(uintptr_t) "before", .iov_len = 6};
	struct rf_options options;
	struct rf_channel *channel;
	int sock;

	rf_options_init(&options);
	options.direction = RF_SEND;
	options.doorbell = RF_DOORBELL_SOCKET;
	must(rf_connect(address, &options, RF_FOREVER, &channel) == 0);
	must(rf_tx_send(rf_channel_tx(channel), &before, 1, RF_FOREVER) == 0);
	sock = find_socket();
	must(send(sock, "no kick", 7, MSG_NOSIGNAL) == 7);
	wait_for_hangup(sock);
	rf_channel_close(channel);
}

static void garbage(const char *path)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	int sock = socket(AF_UNIX, SOCK_SEQPACKET, 0), client;

	strncpy(name.sun_path, path, sizeof(name.sun_path) - 1);
	must(bind(sock, (const struct sockaddr *)&name, sizeof(name)) == 0);
	must(listen(sock, 1) == 0);
	client = accept(sock, NULL, NULL);
	must(send(client, "noise", 5, MSG_NOSIGNAL) == 5);
	wait_for_hangup(client);
}

static void nonblock(char **command)
{
	must(fcntl(STDIN_FILENO, F_SETFL, fcntl(STDIN_FILENO, F_GETFL) | O_NONBLOCK) == 0);
	must(fcntl(STDOUT_FILENO, F_SETFL, fcntl(STDOUT_FILENO, F_GETFL) | O_NONBLOCK) == 0);
	execvp(command[0], command);
	must(0);
}

int main(int argc, char **argv)
{
	must(argc > 2);
	if (!strcmp(argv[1], "breach"))
		breach(argv[2]);
	else if (!strcmp(argv[1], "garbage"))
		garbage(argv[2]);
	else if (!strcmp(argv[1], "nonblock"))
		nonblock(argv + 2);
	else
		must(0);
	return 0;
}
