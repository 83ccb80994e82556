/* SPDX-License-Identifier: MIT */
/* Messages over an sd_bus connection, whoever is at its other end: calls without reply that carry an
 * array of 32-bit numbers, made and read in place. */
#ifndef BENCH_PEERS_DBUS_H
#define BENCH_PEERS_DBUS_H

#include "transport.h"

#include <systemd/sd-bus.h>

struct dbus {
	sd_bus *bus;
	const char *destination; /* NULL: the other end of the connection */
	/* So many messages may be under way before the receiver has said that it has half of them:
	 * a daemon takes without end. 0: no limit. */
	uint64_t window;
	uint64_t sent, confirmed; /* by this end; at this end */
	uint64_t received;
};

#define DBUS_TESTS     (BIT(TEST_THROUGHPUT) | BIT(TEST_ROUND_TRIP) | BIT(TEST_FRAMES))
#define DBUS_SIZE_MOST (16 << 20)

int dbus_send(struct dbus *dbus, const struct job *job, uint64_t first, uint64_t count);
int dbus_receive(struct dbus *dbus, const struct job *job, uint64_t count, uint64_t *sum);

/* Writes out what is queued, closes and forgets. */
void dbus_close(struct dbus *dbus);

#endif
