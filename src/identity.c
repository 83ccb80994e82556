/* SPDX-License-Identifier: MIT */
/* Who the peer is: credentials, pidfd and namespaces, none of which a peer can forge. */
#include "identity.h"

#include "util/fd.h"
#include "util/kernel.h"
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

/* Younger than the headers of Debian 12. */
#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

#define OVERFLOW_ID 65534 /* unless the kernel says otherwise */
#define NO_UID      ((uid_t)-1)
#define GROUPS_MOST 65536 /* NGROUPS_MAX */

/* Reads a small file of /proc into text; false when that fails. */
static bool read_proc(const char *path, char *text, size_t size)
{
	int fd = rf__kernel_has(RF__KERNEL_PROC) ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	ssize_t n;

	if (fd < 0)
		return false;
	n = read(fd, text, size - 1);
	rf__close(&fd);
	text[n > 0 ? n : 0] = '\0';
	return n > 0;
}

/* What follows `key` at the beginning of a line; NULL when no line begins so. */
static const char *find_line(const char *text, const char *key)
{
	size_t len = strlen(key);

	while (text && strncmp(text, key, len) != 0) {
		text = strchr(text, '\n');
		text = text ? text + 1 : NULL;
	}
	return text ? text + len : NULL;
}

static unsigned overflow_id(const char *path)
{
	char text[32];

	if (!read_proc(path, text, sizeof(text)))
		return OVERFLOW_ID;
	return (unsigned)strtoul(text, NULL, 10);
}

static uid_t overflow_uid(void)
{
	return overflow_id("/proc/sys/kernel/overflowuid");
}

static gid_t overflow_gid(void)
{
	return overflow_id("/proc/sys/kernel/overflowgid");
}

static bool is_alive(int pidfd)
{
	struct pollfd poll_fd = {.fd = pidfd, .events = POLLIN};
	int r;

	do
		r = poll(&poll_fd, 1, 0);
	while (r < 0 && errno == EINTR);
	return r == 0;
}

static int read_credentials(int sock, struct rf__identity *identity, struct rf__reason *reason)
{
	struct ucred credentials;
	socklen_t len = sizeof(credentials);

	if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &credentials, &len) < 0)
		return rf__fail_errno(reason, "cannot read the credentials of the peer");
	if (credentials.uid == NO_UID)
		return rf__fail(reason, -ENOTCONN, "the socket has no peer with credentials");
	identity->uid = credentials.uid;
	identity->gid = credentials.gid;
	identity->pid = credentials.pid;
	return 0;
}

/* The pid by which this /proc knows a process; it need not be that of our own pid namespace. */
static long find_proc_pid(int pidfd)
{
	char path[40], text[512];
	const char *pid;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", pidfd);
	if (!read_proc(path, text, sizeof(text)))
		return -1;
	pid = find_line(text, "Pid:");
	return pid ? strtol(pid, NULL, 10) : -1;
}

/* Has the process these effective ids now? */
static bool has_credentials(int pidfd, const struct rf__identity *identity)
{
	char path[40], text[2048];
	const char *uids, *gids;
	unsigned uid, gid;

	snprintf(path, sizeof(path), "/proc/%ld/status", find_proc_pid(pidfd));
	if (!read_proc(path, text, sizeof(text)))
		return false;
	uids = find_line(text, "Uid:");
	gids = find_line(text, "Gid:");
	if (!uids || sscanf(uids, "%*u %u", &uid) != 1)
		return false;
	if (!gids || sscanf(gids, "%*u %u", &gid) != 1)
		return false;
	return uid == identity->uid && gid == identity->gid;
}

/* The pidfd of whoever has that pid now. Its ids are compared once it is held, and after that it
 * must still live: so they are its own, and not those of a successor. */
static int open_pidfd(const struct rf__identity *identity)
{
	int pidfd;

	if (identity->pid <= 0 || !rf__kernel_has(RF__KERNEL_PIDFD))
		return -1;
	pidfd = (int)syscall(SYS_pidfd_open, identity->pid, 0);
	if (pidfd >= 0 && (!has_credentials(pidfd, identity) || !is_alive(pidfd))) {
		rf__close(&pidfd);
		errno = ESRCH;
	}
	return pidfd;
}

static int get_peer_pidfd(int sock, int *pidfd, socklen_t *len)
{
	if (!rf__kernel_has(RF__KERNEL_PEERPIDFD)) {
		errno = ENOPROTOOPT;
		return -1;
	}
	return getsockopt(sock, SOL_SOCKET, SO_PEERPIDFD, pidfd, len);
}

static int read_pidfd(int sock, struct rf__identity *identity, struct rf__reason *reason)
{
	int pidfd = -1;
	socklen_t len = sizeof(pidfd);

	if (get_peer_pidfd(sock, &pidfd, &len) < 0)
		pidfd = errno == ENOPROTOOPT ? open_pidfd(identity) : -1;
	if (pidfd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM))
		return rf__fail_errno(reason, "cannot get a pidfd of the peer");
	identity->pidfd = pidfd;
	if (pidfd >= 0)
		identity->flags |= RF_PEER_PIDFD;
	return 0;
}

static bool has_our_namespace(long proc_pid, const char *kind)
{
	char path[48];
	struct stat ours, theirs;

	if (!rf__kernel_has(RF__KERNEL_PROC))
		return false;
	snprintf(path, sizeof(path), "/proc/self/ns/%s", kind);
	if (stat(path, &ours) < 0)
		return false;
	snprintf(path, sizeof(path), "/proc/%ld/ns/%s", proc_pid, kind);
	if (stat(path, &theirs) < 0)
		return false;
	return ours.st_dev == theirs.st_dev && ours.st_ino == theirs.st_ino;
}

static bool is_same(const struct rf__identity *identity)
{
	long proc_pid;

	if (identity->pidfd < 0 || identity->pid <= 0)
		return false;
	if (identity->uid != geteuid() || identity->uid == overflow_uid())
		return false;
	proc_pid = find_proc_pid(identity->pidfd);
	if (!has_our_namespace(proc_pid, "user") || !has_our_namespace(proc_pid, "pid"))
		return false;
	/* It lives: so the pid was its own all the time. */
	return is_alive(identity->pidfd);
}

int rf__identity_read(int sock, enum rf__origin origin, struct rf__identity *ret_identity,
	struct rf__reason *reason)
{
	struct rf__identity identity = RF__IDENTITY_INIT;
	int r;

	r = read_credentials(sock, &identity, reason);
	if (r < 0)
		return r;
	if (origin == RF__INHERITED) {
		identity.flags = RF_PEER_CREATOR;
		*ret_identity = identity;
		return 0;
	}
	r = read_pidfd(sock, &identity, reason);
	if (r < 0)
		return r;
	if (is_same(&identity))
		identity.flags |= RF_PEER_SAME;
	*ret_identity = identity;
	return 0;
}

static bool is_listed(uid_t uid, const uid_t *uids, size_t n_uids)
{
	for (size_t i = 0; i < n_uids; i++)
		if (uids[i] == uid)
			return true;
	return false;
}

struct rf_peer rf__identity_peer(const struct rf__identity *identity)
{
	return (struct rf_peer){
		.size = sizeof(struct rf_peer),
		.uid = identity->uid,
		.gid = identity->gid,
		.pid = identity->pid,
		.flags = identity->flags,
	};
}

static bool is_group_listed(gid_t gid, const struct rf_options *options)
{
	for (size_t i = 0; i < options->n_gids; i++)
		if (options->gids[i] == gid)
			return gid != overflow_gid();
	return false;
}

/* How many groups there are is the peer's affair: the kernel says it. */
static bool is_member(int sock, const struct rf_options *options)
{
	socklen_t len = GROUPS_MOST * sizeof(gid_t);
	gid_t *groups = malloc(len);
	bool found = false;
	size_t i;

	if (groups && getsockopt(sock, SOL_SOCKET, SO_PEERGROUPS, groups, &len) == 0)
		for (i = 0; i < len / sizeof(gid_t) && !found; i++)
			found = is_group_listed(groups[i], options);
	free(groups);
	return found;
}

static bool is_admitted(const struct rf__identity *identity, const struct rf_options *options)
{
	struct rf_peer peer = rf__identity_peer(identity);

	return options->admit && options->admit(&peer, options->admit_context);
}

int rf__identity_check(const struct rf__identity *identity, int sock,
	const struct rf_options *options, struct rf__reason *reason)
{
	uid_t uid = identity->uid;

	if (uid == overflow_uid() || uid == NO_UID)
		return rf__fail(
			reason, -EPERM, "uid %u is the overflow uid, it may be anybody", uid);
	if (uid == geteuid() || uid == 0 || is_listed(uid, options->uids, options->n_uids))
		return 0;
	if (options->n_gids &&
		(is_group_listed(identity->gid, options) || is_member(sock, options)))
		return 0;
	if (is_admitted(identity, options))
		return 0;
	return rf__fail(reason, -EPERM, "uid %u is not admitted", uid);
}

void rf__identity_close(struct rf__identity *identity)
{
	rf__close(&identity->pidfd);
	identity->flags &= ~(uint32_t)(RF_PEER_PIDFD | RF_PEER_SAME);
}
