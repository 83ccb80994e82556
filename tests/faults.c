/* SPDX-License-Identifier: MIT */
/* System calls that fail: see faults.h. */
#include "faults.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/vfs.h>
#include <time.h>

/* What the manual pages give, and what a sandbox may say, as far as it can happen here. What
 * says something about the peer cannot be made up: a kick's EAGAIN (others are pending), the
 * EPIPE of a message. */
const struct fault_call fault_calls[] = {
	{"accept4", {EMFILE, ENFILE, ENOMEM, ENOBUFS, EINTR, ECONNABORTED, EAGAIN}, {0}},
	{"access", {EACCES, ENOENT, ENOMEM}, {0}},
	{"bind", {EADDRINUSE, EACCES, ENOSPC, EROFS, ENOMEM}, {0}},
	{"chmod", {EPERM, EROFS, ENOMEM}, {0}},
	{"clock_nanosleep", {EINTR}, {0}},
	{"close", {EINTR, EIO}, {0}},
	{"connect", {EAGAIN, EINTR, ECONNREFUSED, ENOENT, EACCES, EPERM, ENOMEM}, {EADDRINUSE}},
	{"epoll_create1", {EMFILE, ENFILE, ENOMEM}, {0}},
	{"epoll_ctl", {ENOMEM, ENOSPC, EPERM}, {0}},
	{"epoll_pwait2", {EINTR, ENOSYS, EPERM}, {0}},
	{"epoll_wait", {EINTR}, {0}},
	{"eventfd", {EMFILE, ENFILE, ENOMEM, ENODEV}, {0}},
	{"fallocate", {ENOSPC, ENOMEM, EINTR, EOPNOTSUPP}, {0}},
	{"fchmod", {EPERM, EROFS, ENOMEM}, {0}},
	{"fcntl", {EMFILE, EINVAL, EPERM, EBUSY, EAGAIN, ENOMEM}, {ENOTSUP, EPERM}},
	{"flock", {EWOULDBLOCK, EINTR, ENOLCK}, {EADDRINUSE}},
	{"fstat", {ENOMEM, EOVERFLOW}, {0}},
	{"fstatfs", {ENOMEM, ENOSYS}, {0}},
	{"ftruncate", {ENOMEM, EINTR, EFBIG}, {0}},
	{"getpeername", {ENOTCONN, ENOBUFS}, {0}},
	{"getrlimit", {EPERM}, {0}},
	{"getsockopt", {ENOPROTOOPT, EINVAL, ENOMEM, EMFILE, ESRCH}, {EPERM}},
	{"ioctl", {ENOTTY, EPERM}, {0}},
	{"lchown", {EPERM, EROFS, ENOMEM}, {0}},
	{"listen", {EADDRINUSE, ENOMEM}, {0}},
	{"lstat", {EACCES, ENOENT, ENOMEM}, {EADDRINUSE}},
	{"madvise", {ENOMEM, EINVAL, EAGAIN}, {ENOTSUP}},
	{"memfd_create", {EMFILE, ENFILE, ENOMEM, EACCES, EINVAL, ENOSYS}, {ENOTSUP}},
	{"mlock", {ENOMEM, EPERM, EAGAIN}, {0}},
	{"mmap", {ENOMEM, EAGAIN, EPERM, ENFILE}, {0}},
	{"munmap", {ENOMEM}, {0}},
	{"nanosleep", {EINTR}, {0}},
	{"open", {EMFILE, ENFILE, ENOMEM, EACCES, ENOENT, ELOOP}, {0}},
	{"poll", {EINTR, ENOMEM}, {0}},
	{"ppoll", {EINTR, ENOMEM}, {0}},
	{"read", {EINTR, EIO, EAGAIN}, {0}},
	{"readlink", {ENOENT, EACCES, ENOMEM}, {0}},
	{"recv", {EAGAIN, EINTR, ECONNRESET, ENOMEM}, {0}},
	{"recvmsg", {EAGAIN, EINTR, ECONNRESET, ENOMEM}, {EPIPE}},
	{"send", {EINTR, ENOBUFS, ENOMEM, EPERM, EPIPE, ECONNRESET}, {0}},
	{"sendmsg", {EAGAIN, EINTR, ENOBUFS, ENOMEM, ETOOMANYREFS}, {ENOBUFS}},
	{"setsockopt", {ENOPROTOOPT, EPERM, ENOMEM}, {EPIPE}},
	{"shutdown", {ENOTCONN, ENOBUFS}, {0}},
	{"socket", {EMFILE, ENFILE, ENOMEM, EACCES}, {0}},
	{"stat", {EACCES, ENOENT, ENOMEM}, {0}},
	{"syscall", {ENOSYS, EMFILE, ESRCH, EPERM}, {0}},
	{"unlink", {EACCES, ENOENT, EROFS, EBUSY}, {EADDRINUSE}},
	{"write", {EINTR, ENOMEM, EPERM}, {0}},
	{NULL, {0}, {0}},
};

#define CALLS (sizeof(fault_calls) / sizeof(fault_calls[0]) - 1)

static bool seen[CALLS];
static _Thread_local bool armed, hit, old_kernel;
static _Thread_local struct fault fault;

void faults_arm(const struct fault *wanted)
{
	fault = wanted ? *wanted : (struct fault){.call = ""};
	hit = false;
	armed = true;
}

bool faults_disarm(void)
{
	armed = false;
	return hit;
}

void faults_pretend_old_kernel(bool old)
{
	old_kernel = old;
}

static size_t find(const char *call)
{
	size_t i;

	for (i = 0; i < CALLS && strcmp(fault_calls[i].name, call) != 0; i++)
		;
	return i;
}

bool faults_seen(const char *call)
{
	size_t i = find(call);

	return i < CALLS && seen[i];
}

static bool lacks(int error)
{
	if (armed && old_kernel)
		errno = error;
	return armed && old_kernel;
}

static bool fails(const char *call)
{
	if (!armed)
		return false;
	seen[find(call)] = true;
	if (strcmp(call, fault.call) != 0 || fault.after-- > 0 || (hit && !fault.lasts))
		return false;
	hit = true;
	errno = fault.error;
	return true;
}

/* Sanitizers and fortified headers declare some of these with other attributes, so these are
 * declared here once more. */
#define REAL(type, name, parameters)                                                               \
	type __real_##name parameters;                                                             \
	type __wrap_##name parameters;                                                             \
	type __wrap_##name parameters

#define WRAP(type, name, parameters, arguments)                                                    \
	REAL(type, name, parameters)                                                               \
	{                                                                                          \
		return fails(#name) ? (type)-1 : __real_##name arguments;                          \
	}

/* These do what they have to, whatever they say. */
#define WRAP_DONE(name, parameters, arguments)                                                     \
	REAL(int, name, parameters)                                                                \
	{                                                                                          \
		int r = __real_##name arguments;                                                   \
                                                                                                   \
		return fails(#name) ? -1 : r;                                                      \
	}

WRAP(int, accept4, (int sock, struct sockaddr *name, socklen_t *len, int flags),
	(sock, name, len, flags))
WRAP(int, access, (const char *path, int mode), (path, mode))
WRAP(int, bind, (int sock, const struct sockaddr *name, socklen_t len), (sock, name, len))
WRAP(int, chmod, (const char *path, mode_t mode), (path, mode))
WRAP(int, connect, (int sock, const struct sockaddr *name, socklen_t len), (sock, name, len))
WRAP(int, epoll_create1, (int flags), (flags))
WRAP(int, epoll_ctl, (int epoll, int operation, int fd, struct epoll_event *event),
	(epoll, operation, fd, event))
WRAP(int, epoll_wait, (int epoll, struct epoll_event *events, int n, int msec),
	(epoll, events, n, msec))
WRAP(int, eventfd, (unsigned value, int flags), (value, flags))
WRAP(int, fallocate, (int fd, int mode, off_t offset, off_t len), (fd, mode, offset, len))
WRAP(int, fchmod, (int fd, mode_t mode), (fd, mode))
WRAP(int, flock, (int fd, int operation), (fd, operation))
WRAP(int, fstat, (int fd, struct stat *st), (fd, st))
WRAP(int, fstatfs, (int fd, struct statfs *fs), (fd, fs))
WRAP(int, ftruncate, (int fd, off_t len), (fd, len))
WRAP(int, getpeername, (int sock, struct sockaddr *name, socklen_t *len), (sock, name, len))
WRAP(int, getrlimit, (int resource, struct rlimit *limit), (resource, limit))
WRAP(int, lchown, (const char *path, uid_t uid, gid_t gid), (path, uid, gid))
WRAP(int, listen, (int sock, int backlog), (sock, backlog))
WRAP(int, lstat, (const char *path, struct stat *st), (path, st))
WRAP(int, madvise, (void *at, size_t len, int advice), (at, len, advice))
WRAP(int, memfd_create, (const char *name, unsigned flags), (name, flags))
WRAP(int, mlock, (const void *at, size_t len), (at, len))
WRAP(int, nanosleep, (const struct timespec *time, struct timespec *left), (time, left))
WRAP(int, poll, (struct pollfd * fds, nfds_t n, int msec), (fds, n, msec))
WRAP(int, ppoll, (struct pollfd * fds, nfds_t n, const struct timespec *time, const sigset_t *set),
	(fds, n, time, set))
WRAP(ssize_t, read, (int fd, void *to, size_t size), (fd, to, size))
WRAP(ssize_t, readlink, (const char *path, char *to, size_t size), (path, to, size))
WRAP(ssize_t, recv, (int sock, void *to, size_t size, int flags), (sock, to, size, flags))
WRAP(ssize_t, recvmsg, (int sock, struct msghdr *message, int flags), (sock, message, flags))
WRAP(ssize_t, send, (int sock, const void *from, size_t len, int flags), (sock, from, len, flags))
WRAP(ssize_t, sendmsg, (int sock, const struct msghdr *message, int flags), (sock, message, flags))
WRAP(int, setsockopt, (int sock, int level, int name, const void *value, socklen_t len),
	(sock, level, name, value, len))
WRAP(int, shutdown, (int sock, int how), (sock, how))
WRAP(int, socket, (int domain, int type, int protocol), (domain, type, protocol))
WRAP(int, stat, (const char *path, struct stat *st), (path, st))
WRAP(int, unlink, (const char *path), (path))
WRAP(ssize_t, write, (int fd, const void *from, size_t len), (fd, from, len))

WRAP_DONE(close, (int fd), (fd))
WRAP_DONE(munmap, (void *at, size_t len), (at, len))

REAL(void *, mmap, (void *at, size_t len, int protection, int flags, int fd, off_t offset))
{
	if (fails("mmap"))
		return MAP_FAILED;
	return __real_mmap(at, len, protection, flags, fd, offset);
}

REAL(int, clock_nanosleep,
	(clockid_t id, int flags, const struct timespec *time, struct timespec *left))
{
	return fails("clock_nanosleep") ? errno : __real_clock_nanosleep(id, flags, time, left);
}

REAL(int, epoll_pwait2,
	(int epoll, struct epoll_event *events, int n, const struct timespec *time,
		const sigset_t *set))
{
	if (fails("epoll_pwait2") || lacks(ENOSYS))
		return -1;
	return __real_epoll_pwait2(epoll, events, n, time, set);
}

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

REAL(int, getsockopt, (int sock, int level, int name, void *value, socklen_t *len))
{
	if (fails("getsockopt") || (name == SO_PEERPIDFD && lacks(ENOPROTOOPT)))
		return -1;
	return __real_getsockopt(sock, level, name, value, len);
}

/* All that is passed here fits a long. */
static long next_argument(va_list *arguments)
{
	return va_arg(*arguments, long);
}

REAL(int, fcntl, (int fd, int command, ...))
{
	va_list arguments;
	long argument;

	va_start(arguments, command);
	argument = next_argument(&arguments);
	va_end(arguments);
	return fails("fcntl") ? -1 : __real_fcntl(fd, command, argument);
}

REAL(int, ioctl, (int fd, unsigned long request, ...))
{
	va_list arguments;
	long argument;

	va_start(arguments, request);
	argument = next_argument(&arguments);
	va_end(arguments);
	return fails("ioctl") ? -1 : __real_ioctl(fd, request, argument);
}

REAL(int, open, (const char *path, int flags, ...))
{
	va_list arguments;
	mode_t mode;

	va_start(arguments, flags);
	mode = (mode_t)next_argument(&arguments);
	va_end(arguments);
	return fails("open") ? -1 : __real_open(path, flags, mode);
}

/* open(2) as fortified headers call it */
REAL(int, __open_2, (const char *path, int flags))
{
	return fails("open") ? -1 : __real_open(path, flags);
}

REAL(long, syscall, (long number, ...))
{
	va_list arguments;
	long a[3];

	va_start(arguments, number);
	a[0] = next_argument(&arguments);
	a[1] = next_argument(&arguments);
	a[2] = next_argument(&arguments);
	va_end(arguments);
	return fails("syscall") ? -1 : __real_syscall(number, a[0], a[1], a[2]);
}
