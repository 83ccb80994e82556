/* SPDX-License-Identifier: MIT */
/* One end of a socketpair handed over D-Bus: the service sends ten numbers through the channel
 * that it makes of the other end. As "dbus serve" it waits for one caller, as "dbus call" it is
 * that caller. */
#include <errno.h>
#include <ringfort/ringfort.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <systemd/sd-bus.h>
#include <time.h>
#include <unistd.h>

#define NAME      "org.ringfort.Example"
#define PATH      "/org/ringfort/Example"
#define TIMEOUT_S 10

static int served = 1; /* negative: why not; 1: nobody has called yet */

static uint64_t deadline(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return ((uint64_t)t.tv_sec + TIMEOUT_S) * 1000000000 + (uint64_t)t.tv_nsec;
}

static int send_numbers(struct rf_channel *channel)
{
	uint32_t number;
	struct iovec part = {&number, sizeof(number)};
	int r = 0;

	for (number = 0; number < 10 && !r; number++)
		r = rf_tx_send(rf_channel_tx(channel), &part, 1, deadline());
	return r ? r : rf_tx_end(rf_channel_tx(channel));
}

/* The reply goes out before the handshake begins: the caller takes part in it. */
static int serve_on(int sock, int theirs, sd_bus_message *call)
{
	struct rf_options options = {.size = sizeof(options), .direction = RF_SEND};
	struct rf_listener *listener;
	struct rf_channel *channel;
	char address[16];
	int r;

	snprintf(address, sizeof(address), "fd:%d", sock);
	r = rf_listen(address, &options, &listener); /* takes sock over */
	if (r < 0)
		close(sock);
	if (r < 0)
		return r;
	r = sd_bus_reply_method_return(call, "h", theirs);
	if (r >= 0)
		r = sd_bus_flush(sd_bus_message_get_bus(call));
	if (r >= 0)
		r = rf_accept(listener, deadline(), &channel);
	rf_listener_close(listener);
	if (r < 0)
		return r;
	r = send_numbers(channel);
	rf_channel_close(channel);
	return r;
}

/* Who may call is the bus's to decide; the channel has the policy of ringfort besides. */
static int on_open(sd_bus_message *call, void *data, sd_bus_error *error)
{
	int socks[2];

	(void)data;
	(void)error;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, socks))
		return -errno;
	served = serve_on(socks[0], socks[1], call);
	close(socks[1]); /* the message has a duplicate */
	return served;
}

static const sd_bus_vtable methods[] = {SD_BUS_VTABLE_START(0),
	SD_BUS_METHOD("Open", "", "h", on_open, SD_BUS_VTABLE_UNPRIVILEGED), SD_BUS_VTABLE_END};

static int serve(sd_bus *bus)
{
	int r = sd_bus_add_object_vtable(bus, NULL, PATH, NAME, methods, NULL);

	if (r >= 0)
		r = sd_bus_request_name(bus, NAME, 0);
	while (r >= 0 && served == 1) {
		r = sd_bus_process(bus, NULL);
		if (r == 0)
			r = sd_bus_wait(bus, (uint64_t)TIMEOUT_S * 1000000);
	}
	return r < 0 ? r : served;
}

static int receive_on(int sock)
{
	struct rf_channel *channel;
	struct rf_message message;
	char address[16];
	uint32_t number;
	int r;

	snprintf(address, sizeof(address), "fd:%d", sock);
	r = rf_connect(address, NULL, deadline(), &channel); /* takes sock over */
	if (r < 0) {
		close(sock);
		return r;
	}
	while ((r = rf_rx_copy(
			rf_channel_rx(channel), deadline(), &number, sizeof(number), &message)) > 0)
		printf("%u\n", number);
	rf_channel_close(channel);
	return r;
}

/* The descriptor belongs to the reply. */
static int call(sd_bus *bus)
{
	sd_bus_message *reply = NULL;
	int r = sd_bus_call_method(bus, NAME, PATH, NAME, "Open", NULL, &reply, ""), sock = -1;

	if (r >= 0)
		r = sd_bus_message_read(reply, "h", &sock);
	if (r >= 0)
		sock = dup(sock);
	sd_bus_message_unref(reply);
	return r < 0 ? r : receive_on(sock);
}

int main(int argc, char **argv)
{
	sd_bus *bus = NULL;
	int r;

	if (argc != 2 || (strcmp(argv[1], "serve") && strcmp(argv[1], "call"))) {
		fprintf(stderr, "usage: dbus serve | call\n");
		return 2;
	}
	r = sd_bus_open_user(&bus);
	if (r >= 0)
		r = strcmp(argv[1], "serve") ? call(bus) : serve(bus);
	if (r < 0)
		fprintf(stderr, "dbus: %s %s\n", strerror(-r), rf_reason());
	sd_bus_flush_close_unref(bus);
	return r < 0;
}
