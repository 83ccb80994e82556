/* SPDX-License-Identifier: MIT */
/* What the tests of hostile clients share: sockets that speak the protocol by hand, and listeners
 * that are given their turns. */
#ifndef RF_TESTS_RAW_CLIENT_H
#define RF_TESTS_RAW_CLIENT_H

#include "channel-fixture.h"
#include "socket.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* A connected socket, or a negative errno. */
static inline int raw_connect(const char *path)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), r = 0;

	assert_true(strlen(path) < sizeof(name.sun_path));
	memcpy(name.sun_path, path, strlen(path));
	if (sock >= 0 && connect(sock, (struct sockaddr *)&name, sizeof(name)) == 0)
		return sock;
	r = -errno;
	if (sock >= 0)
		close(sock);
	return r;
}

/* A HELLO that asks for rings of RING_BYTES; its length. */
static inline size_t raw_hello(unsigned char message[RF__WIRE_MAX])
{
	struct rf_options options = channel_options(RF_DOORBELL_EVENTFD, 0);
	struct rf__wish wish = wish_of(&options);
	struct rf__wire wire;
	unsigned n_fds;

	rf__wire_init(&wire, false, &wish);
	return rf__wire_output(&wire, message, &n_fds);
}

/* Sends one message, with a descriptor unless fd is negative. 0 or a negative errno. */
static inline int raw_send(int sock, const void *message, size_t len, int fd)
{
	return rf__socket_send(sock, message, len, &fd, fd >= 0 ? 1 : 0);
}

static inline struct rf_listener_stats listener_figures(struct rf_listener *listener)
{
	struct rf_listener_stats stats = {.size = sizeof(stats)};

	rf_listener_stats(listener, &stats);
	return stats;
}

/* Lets the listener take in what is there; nobody is expected to get through. */
static inline void raw_turn(struct rf_listener *listener)
{
	struct rf_channel *channel;

	assert_int_equal(rf_accept(listener, 0, &channel), -EAGAIN);
}

/* rf_connect() in a thread against rf_accept() here, until either is through. The result of the
 * client; both ends are in *ret_ends when it is 0, the sentence that the client got in reason. */
static inline int meet(struct rf_listener *listener, const char *path,
	const struct rf_options *client, struct ends *ret_ends, char reason[192])
{
	struct rf_listener_stats before = listener_figures(listener), now;
	uint64_t until = rf_test_deadline(SOON_MS);
	struct connecting connecting;
	int r;

	connect_start(&connecting, path, client, SOON_MS);
	do {
		r = rf_accept(listener, rf_test_deadline(20), &ret_ends->server);
		now = listener_figures(listener);
	} while (r < 0 && now.refused + now.failed == before.refused + before.failed &&
		 rf_test_deadline(0) < until);
	r = thread_join(&connecting.thread);
	ret_ends->client = connecting.channel;
	if (reason)
		snprintf(reason, 192, "%s", connecting.reason);
	return r;
}

#endif
