/* SPDX-License-Identifier: MIT */
/* D-Bus from process to process, without a daemon: sd-bus over a unix socket. */
#include "dbus.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static struct dbus connection;
static int listener = -1;

/* The address, new for each sample, is where the producer finds it. */
static int prepare(struct end *end, const struct job *job)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	static unsigned samples;
	int n;

	(void)job;
	n = snprintf(address.sun_path, sizeof(address.sun_path), "%s/dbus-%u", end->dir, samples++);
	if (n < 0 || (size_t)n >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	memcpy(end->shared, &address, sizeof(address));
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof(address)) < 0 ||
		listen(listener, 1) < 0)
		return -errno;
	return 0;
}

static int connect_to(const struct end *end)
{
	struct sockaddr_un address;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), r;

	if (fd < 0)
		return -errno;
	memcpy(&address, end->shared, sizeof(address));
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	r = -errno;
	close(fd);
	return r;
}

static int start_bus(int fd, int server)
{
	sd_id128_t id;
	int r;

	r = sd_bus_new(&connection.bus);
	r = r < 0 ? r : sd_bus_set_fd(connection.bus, fd, fd);
	if (r < 0) {
		close(fd);
		return r;
	}
	if (server) {
		r = sd_id128_randomize(&id);
		r = r < 0 ? r : sd_bus_set_server(connection.bus, 1, id);
	}
	return r < 0 ? r : sd_bus_start(connection.bus);
}

static int open_bus(struct end *end, const struct job *job)
{
	int server = end->side == SIDE_CONSUMER, fd;

	(void)job;
	fd = server ? accept4(listener, NULL, NULL, SOCK_CLOEXEC) : connect_to(end);
	if (fd < 0)
		return server ? -errno : fd;
	return start_bus(fd, server);
}

static int send_on(struct end *end, const struct job *job, uint64_t first, uint64_t count)
{
	(void)end;
	return dbus_send(&connection, job, first, count);
}

static int receive_on(struct end *end, const struct job *job, uint64_t count, uint64_t *sum)
{
	(void)end;
	return dbus_receive(&connection, job, count, sum);
}

static void close_bus(struct end *end)
{
	struct sockaddr_un address;

	dbus_close(&connection);
	if (listener < 0)
		return;
	memcpy(&address, end->shared, sizeof(address));
	unlink(address.sun_path);
	close(listener);
	listener = -1;
}

static const struct transport dbus_peer = {
	.name = "dbus-peer",
	.about = "D-Bus from process to process: sd-bus, calls without reply",
	.tests = DBUS_TESTS,
	.modes = BIT(MODE_EACH),
	.waits = BIT(WAIT_SLEEP),
	.size_least = 8,
	.size_most = DBUS_SIZE_MOST,
	.prepare = prepare,
	.open = open_bus,
	.send = send_on,
	.receive = receive_on,
	.close = close_bus,
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, &dbus_peer);
}
