/* SPDX-License-Identifier: MIT */
/* Unix sockets: see socket.h. */
#include "socket.h"
#include "util/clock.h"
#include "util/fd.h"
#include "util/kernel.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/sockios.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>

#ifndef SO_PASSPIDFD
#define SO_PASSPIDFD 76 /* asm-generic; Linux 6.5 */
#endif
#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83 /* asm-generic; Linux 6.16 */
#endif

#define LOOKS_MOST    65536
#define MESSAGE_LEAST 512 /* what the kernel charges for a message at least: more, in fact */

int rf__socket_new(struct rf__reason *reason)
{
	int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (sock < 0)
		return rf__fail_errno(reason, "socket");
	rf__socket_allow_fds(sock, false);
	return sock;
}

static int get_int(int sock, int name, struct rf__reason *reason)
{
	socklen_t len = sizeof(int);
	int value;

	if (getsockopt(sock, SOL_SOCKET, name, &value, &len) < 0)
		return rf__fail_errno(reason, "fd:%d", sock);
	return value;
}

int rf__socket_inherit(int fd, struct rf__reason *reason)
{
	int domain = get_int(fd, SO_DOMAIN, reason), type, listens;
	struct sockaddr_storage peer;
	socklen_t len = sizeof(peer);

	if (domain < 0)
		return domain;
	type = get_int(fd, SO_TYPE, reason);
	listens = get_int(fd, SO_ACCEPTCONN, reason);
	if (type < 0 || listens < 0)
		return type < 0 ? type : listens;
	if (domain != AF_UNIX || type != SOCK_SEQPACKET)
		return rf__fail(
			reason, -EINVAL, "fd:%d: not a unix socket of type SOCK_SEQPACKET", fd);
	if (!listens && getpeername(fd, (struct sockaddr *)&peer, &len) < 0)
		return rf__fail_errno(reason, "fd:%d", fd);
	rf__socket_allow_fds(fd, false);
	return listens > 0 ? RF__SOCKET_LISTENS : RF__SOCKET_CONNECTED;
}

int rf__socket_duplicate(int fd, struct rf__reason *reason)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	return copy < 0 ? rf__fail_errno(reason, "fd:%d", fd) : copy;
}

static bool set_int(int sock, int name, int value)
{
	return setsockopt(sock, SOL_SOCKET, name, &value, sizeof(value)) == 0;
}

bool rf__socket_allow_fds(int sock, bool allow)
{
	return rf__kernel_has(RF__KERNEL_PASSRIGHTS) && set_int(sock, SO_PASSRIGHTS, allow);
}

/* Looking before reading */

void rf__socket_allow_looks(int sock)
{
	set_int(sock, SO_PASSCRED, 0);
	set_int(sock, SO_PASSSEC, 0);
	set_int(sock, SO_PASSPIDFD, 0);
	set_int(sock, SO_TIMESTAMP, 0);
	set_int(sock, SO_PEEK_OFF, -1);
}

/* Without room for control messages, descriptors are not taken out, but said to be cut. */
bool rf__socket_carries_fds(int sock)
{
	char byte;
	struct iovec part = {.iov_base = &byte, .iov_len = sizeof(byte)};
	struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
	ssize_t n;

	do
		n = recvmsg(sock, &header, MSG_PEEK | MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	return n >= 0 && header.msg_flags & MSG_CTRUNC;
}

/* Reads a message that carries nothing. false: there was none. An empty message and the end of them
 * look the same, but only a message has a time. */
static bool skip_message(int sock)
{
	char byte;
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(struct timeval))];
	} control;
	struct iovec part = {.iov_base = &byte, .iov_len = sizeof(byte)};
	struct msghdr header = {.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes)};
	ssize_t n;

	do
		n = recvmsg(sock, &header, MSG_DONTWAIT);
	while (n < 0 && (errno == EINTR || errno == ECONNRESET));
	return n > 0 || (n == 0 && CMSG_FIRSTHDR(&header));
}

bool rf__socket_hides_fds(int sock)
{
	int i;

	for (i = 0; i < LOOKS_MOST; i++) {
		set_int(sock, SO_TIMESTAMP, 0);
		if (rf__socket_carries_fds(sock))
			return true;
		set_int(sock, SO_TIMESTAMP, 1);
		if (!skip_message(sock))
			return false;
	}
	return true;
}

static unsigned queued_bytes(int sock)
{
	int bytes = 0;

	return ioctl(sock, SIOCOUTQ, &bytes) < 0 ? 0 : (unsigned)bytes;
}

bool rf__socket_is_drained(int sock)
{
	return queued_bytes(sock) == 0;
}

unsigned rf__socket_unread(int sock)
{
	return (queued_bytes(sock) + MESSAGE_LEAST - 1) / MESSAGE_LEAST;
}

/* Messages */

union control {
	struct cmsghdr header;
	char bytes[CMSG_SPACE(RF__FDS_MAX * sizeof(int))];
};

int rf__socket_send(int sock, const void *message, size_t len, const int *fds, unsigned n_fds)
{
	union control control = {.bytes = {0}};
	struct iovec part = {.iov_base = (void *)(uintptr_t)message, .iov_len = len};
	struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
	ssize_t n;

	if (n_fds) {
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(&control.header), fds, n_fds * sizeof(int));
		header.msg_control = control.bytes;
		header.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
	}
	do
		n = sendmsg(sock, &header, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == ECONNRESET ? -EPIPE : -errno;
	return 0;
}

static bool has_hung_up(int sock)
{
	struct pollfd poll_fd = {.fd = sock, .events = POLLRDHUP};

	return poll(&poll_fd, 1, 0) > 0;
}

/* All descriptors of a message, however it packed them, so that none is lost: at most max are
 * kept. */
static unsigned take_fds(struct msghdr *header, int *fds, unsigned max)
{
	struct cmsghdr *c;
	unsigned n = 0, k;
	int fd;

	for (c = CMSG_FIRSTHDR(header); c; c = CMSG_NXTHDR(header, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (k = 0; CMSG_LEN((k + 1) * sizeof(int)) <= c->cmsg_len; k++) {
			memcpy(&fd, CMSG_DATA(c) + k * sizeof(int), sizeof(fd));
			if (n < max)
				fds[n] = fd;
			else
				rf__close(&fd);
			n++;
		}
	}
	if (n <= max && !(header->msg_flags & MSG_CTRUNC))
		return n;
	for (k = 0; k < n && k < max; k++)
		rf__close(&fds[k]);
	return UINT_MAX;
}

/* Descriptors that did not come may be our own fault, of which recvmsg(2) says nothing: is there
 * room for one more? 0; -EMFILE, -ENFILE. */
static int try_descriptor(int sock)
{
	int copy = fcntl(sock, F_DUPFD_CLOEXEC, 0);

	if (copy < 0)
		return -errno;
	close(copy);
	return 0;
}

/* A peer that closes with something unread resets us once; what it sent before is still there. */
static ssize_t receive(int sock, struct msghdr *header)
{
	ssize_t n;
	int tries = 0;

	do
		n = recvmsg(sock, header, MSG_DONTWAIT | MSG_TRUNC | MSG_CMSG_CLOEXEC);
	while (n < 0 && (errno == EINTR || (errno == ECONNRESET && !tries++)));
	return n;
}

ssize_t rf__socket_receive(
	int sock, void *message, size_t size, int *fds, unsigned max, unsigned *ret_n_fds)
{
	union control control;
	struct iovec part = {.iov_base = message, .iov_len = size};
	struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
	int shortage = 0;
	ssize_t n;

	if (max) {
		header.msg_control = control.bytes;
		header.msg_controllen =
			CMSG_LEN((max < RF__FDS_MAX ? max : RF__FDS_MAX) * sizeof(int));
	}
	n = receive(sock, &header);
	if (n < 0)
		return errno == ECONNRESET ? -EPIPE : -errno;
	if (max && header.msg_flags & MSG_CTRUNC)
		shortage = try_descriptor(sock);
	*ret_n_fds = take_fds(&header, fds, max);
	if (shortage < 0)
		return shortage;
	if (n == 0 && !*ret_n_fds && has_hung_up(sock))
		return -EPIPE;
	return n;
}

int rf__socket_wait(int sock, uint64_t deadline_ns)
{
	struct pollfd poll_fd = {.fd = sock, .events = POLLIN | POLLRDHUP};
	struct timespec timeout;
	uint64_t now, left;
	int n;

	do {
		now = rf__now();
		left = deadline_ns > now ? deadline_ns - now : 0;
		timeout = rf__timespec(left);
		n = ppoll(&poll_fd, 1, &timeout, NULL);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	return n ? 0 : -ETIMEDOUT;
}
