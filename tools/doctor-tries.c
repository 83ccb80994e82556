/* SPDX-License-Identifier: MIT */
/* The longer tries of `ringfort doctor`: seals and a channel. See doctor.h. */
#include "doctor.h"

#include <errno.h>
#include <fcntl.h>
#include <ringfort/ringfort.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Younger than the headers of Debian 12. */
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

#define CHANNEL_NS (5 * UINT64_C(1000000000))

/* Seals */

static bool can_map(int fd, size_t page, int protection)
{
	void *mapped = mmap(NULL, page, protection, MAP_SHARED, fd, 0);

	if (mapped == MAP_FAILED)
		return false;
	munmap(mapped, page);
	return true;
}

/* What could still be done to a sealed file that must not be possible; NULL: nothing. */
static const char *breaks_seals(int fd, size_t page)
{
	if (pwrite(fd, "", 1, 0) == 1)
		return "it can be written";
	if (can_map(fd, page, PROT_READ | PROT_WRITE))
		return "it can be mapped writable";
	if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)page) == 0)
		return "holes can be punched into it";
	if (ftruncate(fd, 0) == 0 || ftruncate(fd, 2 * (off_t)page) == 0)
		return "it can be resized";
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) == 0)
		return "seals can be added to it";
	return can_map(fd, page, PROT_READ) ? NULL : "it cannot be mapped for reading";
}

/* The writer maps it before it is sealed, and keeps that mapping. */
static void try_future_write(int fd)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	unsigned char *mapped = MAP_FAILED;
	const char *broken;

	if (ftruncate(fd, (off_t)page) == 0)
		mapped = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (mapped == MAP_FAILED) {
		doctor_report(REQUIRED, "seals", "no shared memory (%s)", strerror(errno));
		return;
	}
	if (fcntl(fd, F_ADD_SEALS,
		    F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL) < 0) {
		doctor_report(REQUIRED, "seals", "no F_SEAL_FUTURE_WRITE (Linux 5.1)");
	} else {
		broken = breaks_seals(fd, page);
		if (broken)
			doctor_report(REQUIRED, "seals", "they do not hold, %s", broken);
		else
			doctor_report(OK, "seals",
				"FUTURE_WRITE, SHRINK, GROW and SEAL hold: one writer, one size");
	}
	munmap(mapped, page);
}

static void try_noexec(void)
{
	int fd = memfd_create("ringfort-doctor", MFD_CLOEXEC | MFD_NOEXEC_SEAL);

	if (fd >= 0)
		doctor_report(OK, "NOEXEC_SEAL", "regions can never be executed");
	else
		doctor_report(MISSING, "NOEXEC_SEAL",
			"Linux 6.3; regions are made without it, and are not executable as long as "
			"nobody makes them so");
	if (fd >= 0)
		close(fd);
}

void doctor_try_seals(void)
{
	int fd = memfd_create("ringfort-doctor", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0) {
		doctor_report(REQUIRED, "seals", "no memfd_create(2) (%s)", strerror(errno));
		return;
	}
	try_future_write(fd);
	close(fd);
	try_noexec();
}

/* A channel */

static uint64_t deadline_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec + CHANNEL_NS;
}

static void send_one(const char *path)
{
	struct iovec hello = {.iov_base = (void *)(uintptr_t) "hello", .iov_len = 5};
	struct rf_listener *listener;
	struct rf_channel *channel;

	if (rf_listen(path, NULL, &listener) < 0 ||
		rf_accept(listener, deadline_ns(), &channel) < 0)
		return;
	rf_tx_send(rf_channel_tx(channel), &hello, 1, deadline_ns());
	rf_tx_end(rf_channel_tx(channel));
	rf_channel_close(channel);
	rf_listener_close(listener);
}

static void receive_one(struct rf_channel *channel)
{
	struct rf_stats stats = {.size = sizeof(stats)};
	struct rf_message message;
	char text[8];
	int r = rf_rx_copy(rf_channel_rx(channel), deadline_ns(), text, sizeof(text), &message);

	rf_channel_stats(channel, &stats);
	if (r <= 0)
		doctor_report(REQUIRED, "channel", "nothing came through (%s)", strerror(-r));
	else if (stats.doorbell == RF_DOORBELL_EVENTFD)
		doctor_report(OK, "channel",
			"a record came from another process of this user; doorbell eventfd");
	else
		doctor_report(WARNING, "channel",
			"a record came from another process of this user; doorbell socket, since "
			"that it is one of ours could not be verified");
}

static void connect_to(const char *path)
{
	struct rf_channel *channel;

	if (rf_connect(path, NULL, deadline_ns(), &channel) < 0) {
		doctor_report(
			REQUIRED, "channel", "none to a process of this user (%s)", rf_reason());
		return;
	}
	receive_one(channel);
	rf_channel_close(channel);
}

static void try_channel_at(const char *path)
{
	pid_t sender;

	fflush(stdout);
	sender = fork();
	if (sender == 0) {
		send_one(path);
		_exit(0);
	}
	if (sender < 0) {
		doctor_report(WARNING, "channel", "not tried: %s", strerror(errno));
		return;
	}
	connect_to(path);
	kill(sender, SIGKILL);
	waitpid(sender, NULL, 0);
}

void doctor_try_channel(void)
{
	const char *tmp = getenv("TMPDIR");
	char directory[80], path[96], lock[104];
	int n = snprintf(
		directory, sizeof(directory), "%s/ringfort-XXXXXX", tmp && *tmp ? tmp : "/tmp");

	if (n < 0 || (size_t)n >= sizeof(directory) || !mkdtemp(directory)) {
		doctor_report(WARNING, "channel", "not tried: no directory for temporary files");
		return;
	}
	snprintf(path, sizeof(path), "%s/socket", directory);
	snprintf(lock, sizeof(lock), "%s.lock", path);
	try_channel_at(path);
	unlink(path);
	unlink(lock);
	rmdir(directory);
}
