/* SPDX-License-Identifier: MIT */
/* What this kernel and user offer, and what ringfort does without. Everything is tried rather than
 * looked up, since sandboxes forbid what kernels have. */
#include "doctor.h"
#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/io_uring.h>
#include <linux/membarrier.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

/* Younger than the headers of Debian 12. */
#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif
#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83
#endif

#define RING_DEFAULT        (UINT64_C(4) << 20)
#define CHANNEL_DESCRIPTORS 11 /* duplex, and all of them made */
#define FEW_CHANNELS        16

static const char help[] =
	"Usage: ringfort doctor\n"
	"Tells what this kernel offers to this user, and what ringfort does without.\n\n"
	"One line per item: ok, warning or missing, the item, and what that means.\n"
	"Exit status: 0: all that is required is there; 1: ringfort cannot work here; 2: wrong\n"
	"usage.\n";

static bool required_is_missing;

void doctor_report(enum verdict verdict, const char *item, const char *format, ...)
{
	static const char *const words[] = {"ok", "warning", "missing", "missing"};
	va_list args;

	if (verdict == REQUIRED)
		required_is_missing = true;
	printf("%-7s  %-14s  ", words[verdict], item);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	puts(verdict == REQUIRED ? ": ringfort cannot work without" : "");
}

/* The kernel */

static void look_at_kernel(void)
{
	struct utsname name;
	unsigned major = 0, minor = 0, version;

	if (uname(&name) < 0 || sscanf(name.release, "%u.%u", &major, &minor) != 2) {
		doctor_report(WARNING, "kernel", "its release cannot be read");
		return;
	}
	version = major * 1000 + minor;
	doctor_report(version < 5001 ? WARNING : OK, "kernel", "%s %s %s%s", name.sysname,
		name.release, name.machine, version < 5001 ? ", and 5.1 is needed" : "");
	if (version >= 5016 && version < 6000)
		doctor_report(WARNING, "CVE-2022-2590",
			"5.16 to 6.0 break seals unless they were patched: a peer may be able to "
			"write what was sealed");
	else
		doctor_report(OK, "CVE-2022-2590", "not a kernel that breaks seals");
}

static void try_passrights(void)
{
	int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), no = 0;

	if (setsockopt(sock, SOL_SOCKET, SO_PASSRIGHTS, &no, sizeof(no)) == 0)
		doctor_report(OK, "SO_PASSRIGHTS", "nobody can queue descriptors on our sockets");
	else
		doctor_report(MISSING, "SO_PASSRIGHTS",
			"Linux 6.16; a client can queue descriptors on a listener's socket, and "
			"those of some kinds hang whoever closes them");
	close(sock);
}

static void try_peerpidfd(void)
{
	int pair[2], pidfd = -1;
	socklen_t len = sizeof(pidfd);

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
		doctor_report(REQUIRED, "unix sockets", "%s", strerror(errno));
		return;
	}
	if (getsockopt(pair[0], SOL_SOCKET, SO_PEERPIDFD, &pidfd, &len) == 0)
		doctor_report(OK, "SO_PEERPIDFD", "a peer's process is known without a doubt");
	else
		doctor_report(MISSING, "SO_PEERPIDFD",
			"Linux 6.5; pidfd_open(2) instead, with the credentials compared");
	if (pidfd >= 0)
		close(pidfd);
	close(pair[0]);
	close(pair[1]);
}

static void try_pidfd(void)
{
	struct pollfd self = {.fd = (int)syscall(SYS_pidfd_open, getpid(), 0), .events = POLLIN};

	if (self.fd >= 0 && poll(&self, 1, 0) == 0)
		doctor_report(OK, "pidfd", "the exit of a peer is noticed at once");
	else
		doctor_report(MISSING, "pidfd",
			"Linux 5.3; a peer is gone when its socket hangs up, not before");
	if (self.fd >= 0)
		close(self.fd);
}

static void try_membarrier(void)
{
	long all = syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0);
	long wanted = MEMBARRIER_CMD_GLOBAL_EXPEDITED | MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED;

	if (all >= 0 && (all & wanted) == wanted)
		doctor_report(OK, "membarrier", "global, expedited");
	else
		doctor_report(MISSING, "membarrier",
			"no asymmetric fence: both ends order their stores, as they do by default");
}

static void try_io_uring(void)
{
	struct io_uring_params params = {.flags = 0};
	int fd = (int)syscall(SYS_io_uring_setup, 1, &params);

	if (fd >= 0)
		doctor_report(OK, "io_uring", "can be set up");
	else
		doctor_report(MISSING, "io_uring", "%s; epoll(7) instead, channels do not need it",
			errno == EPERM ? "forbidden" : strerror(errno));
	if (fd >= 0)
		close(fd);
}

/* The user */

static bool read_text(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, size - 1);

	if (fd >= 0)
		close(fd);
	text[n > 0 ? n : 0] = '\0';
	return n > 0;
}

static void look_at_user(void)
{
	unsigned overflow = 65534, first = 1, second = 1, all = 0;
	char text[128];

	if (read_text("/proc/sys/kernel/overflowuid", text, sizeof(text)))
		overflow = (unsigned)strtoul(text, NULL, 10);
	if (geteuid() == overflow)
		doctor_report(WARNING, "user",
			"%u is the overflow uid: it may be anybody, and is never admitted",
			overflow);
	else
		doctor_report(OK, "user", "uid %u; the overflow uid, never admitted, is %u",
			geteuid(), overflow);
	if (!read_text("/proc/self/uid_map", text, sizeof(text)))
		return;
	if (sscanf(text, "%u %u %u", &first, &second, &all) == 3 && !first && !second &&
		all == UINT32_MAX)
		doctor_report(OK, "user namespace", "all users have a uid here");
	else
		doctor_report(WARNING, "user namespace",
			"users without a uid here show as the overflow uid and are not admitted");
}

static void look_at_proc(void)
{
	int fd = eventfd(0, EFD_CLOEXEC);
	char path[40], kind[32];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (readlink(path, kind, sizeof(kind)) > 0 && stat("/proc/self/ns/user", &st) == 0 &&
		stat("/proc/self/ns/pid", &st) == 0)
		doctor_report(OK, "/proc", "peers and doorbells can be verified");
	else
		doctor_report(MISSING, "/proc",
			"no peer can be verified to be one of ours: doorbell socket, never "
			"eventfd");
	if (fd >= 0)
		close(fd);
}

static void look_at_limits(void)
{
	struct rlimit files = {0, 0}, size = {0, 0}, locked = {0, 0};

	getrlimit(RLIMIT_NOFILE, &files);
	getrlimit(RLIMIT_FSIZE, &size);
	getrlimit(RLIMIT_MEMLOCK, &locked);
	doctor_report(files.rlim_cur < FEW_CHANNELS * CHANNEL_DESCRIPTORS ? WARNING : OK,
		"RLIMIT_NOFILE", "%" PRIu64 " descriptors; a channel takes up to %d",
		(uint64_t)files.rlim_cur, CHANNEL_DESCRIPTORS);
	if (size.rlim_cur == RLIM_INFINITY)
		doctor_report(OK, "RLIMIT_FSIZE", "unlimited");
	else
		doctor_report(size.rlim_cur <= RING_DEFAULT ? WARNING : OK, "RLIMIT_FSIZE",
			"rings of less than %" PRIu64 " bytes only", (uint64_t)size.rlim_cur);
	if (locked.rlim_cur == RLIM_INFINITY)
		doctor_report(OK, "RLIMIT_MEMLOCK", "unlimited");
	else
		doctor_report(OK, "RLIMIT_MEMLOCK", "%" PRIu64 " bytes can be locked in memory",
			(uint64_t)locked.rlim_cur);
}

/* A limit on file sizes is to be reported, not to kill. */
static int examine(void)
{
	signal(SIGXFSZ, SIG_IGN);
	look_at_kernel();
	doctor_try_seals();
	try_passrights();
	try_peerpidfd();
	try_pidfd();
	try_membarrier();
	try_io_uring();
	look_at_user();
	look_at_proc();
	look_at_limits();
	doctor_try_channel();
	if (cli_print("ringfort doctor", "") != STATUS_OK)
		return STATUS_FAILED;
	return required_is_missing ? STATUS_FAILED : STATUS_OK;
}

int command_doctor(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "--help"))
		return cli_print(argv[0], help);
	if (argc == 1)
		return examine();
	fprintf(stderr, "%s: there is no argument '%s'\nTry '%s --help'.\n", argv[0], argv[1],
		argv[0]);
	return STATUS_USAGE;
}
