/* SPDX-License-Identifier: MIT */
#include "dbus.h"

#include "payload.h"

#include <errno.h>
#include <string.h>

#define INTERFACE   "org.ringfort.Bench"
#define PATIENCE_US 10000000
#define FLUSH_EVERY 32 /* messages: sd_bus_send() writes at once what the socket takes */

/* The next message; it is the caller's. */
static int next_message(struct dbus *dbus, sd_bus_message **ret)
{
	int r;

	for (;;) {
		*ret = NULL;
		r = sd_bus_process(dbus->bus, ret);
		if (r < 0 || *ret)
			return r;
		if (r > 0)
			continue;
		r = sd_bus_wait(dbus->bus, PATIENCE_US);
		if (r <= 0)
			return r < 0 ? r : -ETIMEDOUT;
	}
}

static int is_call(sd_bus_message *message, const char *member)
{
	return sd_bus_message_is_method_call(message, INTERFACE, member) > 0;
}

static int new_call(struct dbus *dbus, const char *member, sd_bus_message **ret)
{
	int r = sd_bus_message_new_method_call(
		dbus->bus, ret, dbus->destination, "/", INTERFACE, member);

	return r < 0 ? r : sd_bus_message_set_expect_reply(*ret, 0);
}

static int send_one(struct dbus *dbus, size_t size, uint64_t number)
{
	sd_bus_message *message = NULL;
	void *memory;
	int r;

	r = new_call(dbus, "Data", &message);
	if (r >= 0)
		r = sd_bus_message_append_array_space(message, SD_BUS_TYPE_UINT32, size, &memory);
	if (r >= 0) {
		payload_fill(memory, size, number);
		r = sd_bus_send(dbus->bus, message, NULL);
	}
	sd_bus_message_unref(message);
	return r;
}

static int confirm(struct dbus *dbus)
{
	sd_bus_message *message = NULL;
	int r = new_call(dbus, "Confirm", &message);

	if (r >= 0)
		r = sd_bus_message_append(message, "t", dbus->received);
	if (r >= 0)
		r = sd_bus_send(dbus->bus, message, NULL);
	sd_bus_message_unref(message);
	return r < 0 ? r : sd_bus_flush(dbus->bus);
}

static int await_window(struct dbus *dbus)
{
	sd_bus_message *message;
	int r = 0;

	while (r >= 0 && dbus->window && dbus->sent - dbus->confirmed >= dbus->window) {
		r = next_message(dbus, &message);
		if (r < 0)
			break;
		if (is_call(message, "Confirm"))
			r = sd_bus_message_read(message, "t", &dbus->confirmed);
		sd_bus_message_unref(message);
	}
	return r;
}

int dbus_send(struct dbus *dbus, const struct job *job, uint64_t first, uint64_t count)
{
	int r = 0;

	for (uint64_t s = first; s < first + count && r >= 0; s++) {
		r = await_window(dbus);
		if (r >= 0)
			r = send_one(dbus, job->size, s);
		dbus->sent++;
		if (r >= 0 && dbus->sent % FLUSH_EVERY == 0)
			r = sd_bus_flush(dbus->bus);
	}
	return r < 0 ? r : sd_bus_flush(dbus->bus);
}

static int read_one(sd_bus_message *message, size_t size, uint64_t *sum)
{
	const void *memory;
	size_t len;
	int r = sd_bus_message_read_array(message, SD_BUS_TYPE_UINT32, &memory, &len);

	if (r < 0)
		return r;
	if (len != size)
		return -EBADMSG;
	*sum += payload_sum(memory, len);
	return 1;
}

int dbus_receive(struct dbus *dbus, const struct job *job, uint64_t count, uint64_t *sum)
{
	sd_bus_message *message;
	int r = 0;

	while (count && r >= 0) {
		r = next_message(dbus, &message);
		if (r < 0)
			break;
		if (is_call(message, "Data")) {
			r = read_one(message, job->size, sum);
			dbus->received++;
			count--;
			if (r >= 0 && dbus->window && dbus->received % (dbus->window / 2) == 0)
				r = confirm(dbus);
		}
		sd_bus_message_unref(message);
	}
	return r < 0 ? r : 0;
}

void dbus_close(struct dbus *dbus)
{
	sd_bus_flush_close_unref(dbus->bus);
	memset(dbus, 0, sizeof(*dbus));
}
