/* SPDX-License-Identifier: MIT */
/* What the tests of descriptors beside the data share: channels that agree on some, descriptors that
 * can be told apart, messages with and without them. */
#ifndef RF_TESTS_FDS_FIXTURE_H
#define RF_TESTS_FDS_FIXTURE_H

#include "channel-fixture.h"
#include "fds.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define ALL_KINDS RF__FD_KINDS_ALL

/* Both ends take the same. */
static inline struct rf_options fds_options(uint32_t doorbell, uint32_t kind, uint32_t kinds)
{
	struct rf_options options = channel_options(doorbell, RF_WAIT_ADAPTIVE);

	options.kind = kind;
	options.fd_kinds = kinds;
	options.max_fds = kinds ? RF_FDS_MAX : 0;
	if (kind == RF_SLOTS) {
		options.ring_bytes = 0;
		options.slots = 64;
		options.slot_bytes = 4096;
	}
	return options;
}

static inline void open_fds(struct ends *ends, uint32_t doorbell, uint32_t kind, uint32_t kinds)
{
	struct rf_options options = fds_options(doorbell, kind, kinds);

	ends_open(ends, &options, &options);
}

/* A memfd that says which it is. */
static inline int numbered(uint64_t number)
{
	int fd = memfd_create("numbered", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, &number, sizeof(number)), sizeof(number));
	return fd;
}

/* Closes it; UINT64_MAX: it is none. */
static inline uint64_t number_of(int fd)
{
	uint64_t number;
	bool found = pread(fd, &number, sizeof(number), 0) == sizeof(number);

	close(fd);
	return found ? number : UINT64_MAX;
}

/* Commits a message that holds a number, with n descriptors; they stay the caller's. 0 or an error, then
 * nothing is reserved any more. */
static inline int commit_with(
	struct rf_tx *tx, uint64_t number, const int *fds, unsigned n, uint64_t deadline_ns)
{
	struct rf_buffer buffer;
	int r = rf_tx_reserve(tx, sizeof(number), deadline_ns, &buffer);

	if (r < 0)
		return r;
	memcpy(buffer.data, &number, sizeof(number));
	if (n)
		r = rf_tx_attach(tx, &buffer, fds, n, deadline_ns);
	if (r < 0)
		rf_tx_cancel(tx, &buffer);
	return r < 0 ? r : rf_tx_commit(tx, &buffer);
}

static inline int send_with(
	struct rf_tx *tx, uint64_t number, const int *fds, unsigned n, uint64_t deadline_ns)
{
	int r = commit_with(tx, number, fds, n, deadline_ns);

	return r < 0 ? r : rf_tx_publish(tx);
}

/* The same with n memfds that are numbered from number on, and gone afterwards. */
static inline int send_numbered(struct rf_tx *tx, uint64_t number, unsigned n, uint64_t deadline_ns)
{
	int fds[RF_FDS_MAX], r;
	unsigned i;

	for (i = 0; i < n; i++)
		fds[i] = numbered(number + i);
	r = send_with(tx, number, fds, n, deadline_ns);
	for (i = 0; i < n; i++)
		close(fds[i]);
	return r;
}

static inline struct rf_message borrow_one(struct rf_rx *rx)
{
	struct rf_message message = {.len = 0};

	assert_int_equal(rf_rx_borrow(rx, rf_test_deadline(SOON_MS), &message, 1), 1);
	return message;
}

/* Receives a message, closes what came with it, and says how many they were. */
static inline unsigned take_one(struct rf_rx *rx)
{
	struct rf_message message = borrow_one(rx);

	assert_int_equal(rf_rx_release(rx, &message, 1), 0);
	return message.n_fds;
}

/* Runs a test with each kind of doorbell, over records and over slots. */
static inline void with_each(void (*run)(struct ends *ends))
{
	static const uint32_t bells[] = {RF_DOORBELL_EVENTFD, RF_DOORBELL_SOCKET};
	static const uint32_t shapes[] = {RF_BYTES, RF_SLOTS};
	struct ends ends;
	unsigned i;

	for (i = 0; i < 4; i++) {
		open_fds(&ends, bells[i & 1], shapes[i >> 1], ALL_KINDS);
		run(&ends);
		ends_close(&ends);
	}
}

#endif
