/* SPDX-License-Identifier: MIT */
/* D-Bus through a dbus-daemon of its own: sd-bus on both sides. */
#include "dbus.h"
#include "helper.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define WINDOW_BYTES (1 << 20)
#define WINDOW_MOST  256

#define NAME_CONSUMER "org.ringfort.Consumer"
#define NAME_PRODUCER "org.ringfort.Producer"

static struct dbus connection;
static struct helper daemon_of_ours;
static char config_path[160], socket_path[160];

/* The limits of a session bus, which are meant never to be reached. */
static const char config[] =
	"<!DOCTYPE busconfig PUBLIC \"-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN\"\n"
	" \"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd\">\n"
	"<busconfig>\n"
	"<listen>unix:path=%s</listen>\n"
	"<auth>EXTERNAL</auth>\n"
	"<policy context=\"default\"><allow send_destination=\"*\" eavesdrop=\"true\"/>\n"
	"<allow eavesdrop=\"true\"/><allow own=\"*\"/></policy>\n"
	"<limit name=\"max_incoming_bytes\">1000000000</limit>\n"
	"<limit name=\"max_outgoing_bytes\">1000000000</limit>\n"
	"<limit name=\"max_message_size\">1000000000</limit>\n"
	"</busconfig>\n";

static int write_config(void)
{
	FILE *file = fopen(config_path, "we");
	int r;

	if (!file)
		return -errno;
	r = fprintf(file, config, socket_path) < 0 ? -EIO : 0;
	return fclose(file) ? -errno : r;
}

static int start(struct end *end)
{
	char option[sizeof(config_path) + 16];
	const char *const argv[] = {"dbus-daemon", option, "--nofork", "--nopidfile", "--nosyslog",
		"--print-address", NULL};
	int r;

	snprintf(config_path, sizeof(config_path), "%s/bus.conf", end->dir);
	snprintf(socket_path, sizeof(socket_path), "%s/bus", end->dir);
	if (end->side == SIDE_PRODUCER)
		return 0;
	snprintf(option, sizeof(option), "--config-file=%s", config_path);
	daemon_of_ours.files[0] = socket_path;
	r = write_config();
	if (r == 0)
		r = helper_start(&daemon_of_ours, argv, "unix:");
	unlink(config_path);
	if (r == -ENOENT)
		snprintf(end->why, sizeof(end->why), "there is no dbus-daemon");
	return r == -ENOENT ? -ENOTSUP : r;
}

static void stop(struct end *end)
{
	(void)end;
	helper_stop(&daemon_of_ours);
}

static uint64_t window_of(const struct job *job)
{
	uint64_t window = WINDOW_BYTES / job->size;

	if (job->test == TEST_ROUND_TRIP)
		return 0;
	if (window < 2)
		return 2;
	return window < WINDOW_MOST ? window : WINDOW_MOST;
}

static int connect_bus(struct end *end, const struct job *job)
{
	int consumer = end->side == SIDE_CONSUMER, r;
	char address[sizeof(socket_path) + 16];

	snprintf(address, sizeof(address), "unix:path=%s", socket_path);
	connection.window = window_of(job);
	connection.destination = consumer ? NAME_PRODUCER : NAME_CONSUMER;
	r = sd_bus_new(&connection.bus);
	r = r < 0 ? r : sd_bus_set_address(connection.bus, address);
	r = r < 0 ? r : sd_bus_set_bus_client(connection.bus, 1);
	r = r < 0 ? r : sd_bus_start(connection.bus);
	if (r < 0)
		return r;
	r = sd_bus_request_name(connection.bus, consumer ? NAME_CONSUMER : NAME_PRODUCER, 0);
	return r < 0 ? r : 0;
}

static int prepare(struct end *end, const struct job *job)
{
	return connect_bus(end, job);
}

static int open_bus(struct end *end, const struct job *job)
{
	return end->side == SIDE_CONSUMER ? 0 : connect_bus(end, job);
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
	(void)end;
	dbus_close(&connection);
}

static const struct transport dbus_via_daemon = {
	.name = "dbus-via-daemon",
	.about = "D-Bus through a dbus-daemon of its own, which shares the two processors; sd-bus, "
		 "calls without reply, the application keeps a window",
	.tests = DBUS_TESTS,
	.modes = BIT(MODE_EACH),
	.waits = BIT(WAIT_SLEEP),
	.size_least = 8,
	.size_most = DBUS_SIZE_MOST,
	.start = start,
	.prepare = prepare,
	.open = open_bus,
	.send = send_on,
	.receive = receive_on,
	.close = close_bus,
	.stop = stop,
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, &dbus_via_daemon);
}
