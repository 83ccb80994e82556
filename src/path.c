/* SPDX-License-Identifier: MIT */
/* Socket files: see path.h. */
#include "path.h"
#include "util/clock.h"
#include "util/fd.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#define BACKLOG          64
#define LOCK_PATIENCE_NS RF__SEC
#define LOCK_PAUSE_NS    (10 * RF__MSEC)

static int try_lock(int fd, uint64_t until_ns)
{
	const struct timespec pause = {.tv_nsec = LOCK_PAUSE_NS};

	while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno != EWOULDBLOCK || rf__now() >= until_ns)
			return -errno;
		nanosleep(&pause, NULL);
	}
	return 0;
}

/* Whoever can open the lock file can hold it: patience ends. */
static int lock(const struct sockaddr_un *name, struct rf__reason *reason)
{
	char path[sizeof(name->sun_path) + sizeof(".lock")];
	int fd, r;

	snprintf(path, sizeof(path), "%s.lock", name->sun_path);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
	if (fd < 0)
		return rf__fail_errno(reason, "%s", path);
	r = try_lock(fd, rf__later(rf__now(), LOCK_PATIENCE_NS));
	if (r < 0) {
		rf__close(&fd);
		return rf__fail(reason, -EADDRINUSE, "%s: somebody else holds the lock", path);
	}
	return fd;
}

static int is_listened_on(const struct sockaddr_un *name, struct rf__reason *reason)
{
	int probe = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), r;

	if (probe < 0)
		return rf__fail_errno(reason, "socket");
	r = connect(probe, (const struct sockaddr *)name, sizeof(*name)) < 0 ? errno : 0;
	rf__close(&probe);
	if (r == ECONNREFUSED || r == ENOENT)
		return 0;
	return rf__fail(reason, -EADDRINUSE, "%s: somebody listens there", name->sun_path);
}

/* With the lock held: makes way for a new file. */
static int remove_stale(const struct sockaddr_un *name, struct rf__reason *reason)
{
	struct stat st;
	int r;

	if (lstat(name->sun_path, &st) < 0)
		return errno == ENOENT ? 0 : rf__fail_errno(reason, "%s", name->sun_path);
	if (!S_ISSOCK(st.st_mode))
		return rf__fail(reason, -EEXIST, "%s: exists and is not a socket", name->sun_path);
	r = is_listened_on(name, reason);
	if (r < 0)
		return r;
	return unlink(name->sun_path) < 0 && errno != ENOENT
		       ? rf__fail_errno(reason, "%s", name->sun_path)
		       : 0;
}

/* A change of group may take permission bits away, so the mode comes second. */
static int set_access(const char *path, const struct rf__path_access *access)
{
	if (access->has_group && lchown(path, (uid_t)-1, access->group) < 0)
		return -1;
	return chmod(path, access->mode);
}

/* Nobody can connect before listen(2): until then the mode may be that of the umask. */
static int bind_and_listen(int sock, const struct rf__address *address,
	const struct rf__path_access *access, struct rf__path *ret_path, struct rf__reason *reason)
{
	const char *path = address->name.sun_path;
	struct stat st;
	int r;

	if (bind(sock, (const struct sockaddr *)&address->name, address->name_len) < 0)
		return rf__fail_errno(reason, "%s", path);
	if (set_access(path, access) < 0 || lstat(path, &st) < 0 || listen(sock, BACKLOG) < 0) {
		r = rf__fail_errno(reason, "%s", path);
		unlink(path);
		return r;
	}
	*ret_path =
		(struct rf__path){.name = address->name, .device = st.st_dev, .inode = st.st_ino};
	return 0;
}

static int listen_on_name(int sock, const struct rf__address *address, struct rf__reason *reason)
{
	if (bind(sock, (const struct sockaddr *)&address->name, address->name_len) < 0)
		return errno == EADDRINUSE ? rf__fail(reason, -EADDRINUSE,
						     "%s: somebody has that name", address->text)
					   : rf__fail_errno(reason, "%s", address->text);
	return listen(sock, BACKLOG) < 0 ? rf__fail_errno(reason, "%s", address->text) : 0;
}

int rf__path_listen(int sock, const struct rf__address *address,
	const struct rf__path_access *access, struct rf__path *ret_path, struct rf__reason *reason)
{
	int held, r;

	if (address->kind == RF__ADDRESS_ABSTRACT)
		return listen_on_name(sock, address, reason);
	held = lock(&address->name, reason);
	if (held < 0)
		return held;
	r = remove_stale(&address->name, reason);
	if (r >= 0)
		r = bind_and_listen(sock, address, access, ret_path, reason);
	rf__close(&held);
	return r;
}

/* Two listeners may follow each other at a path: only under the lock is it certain whose file it
 * is. */
void rf__path_unlink(struct rf__path *path)
{
	struct stat st;
	int held;

	if (!path->name.sun_path[0])
		return;
	held = lock(&path->name, NULL);
	if (held >= 0 && lstat(path->name.sun_path, &st) == 0 && st.st_dev == path->device &&
		st.st_ino == path->inode)
		unlink(path->name.sun_path);
	rf__close(&held);
	path->name.sun_path[0] = '\0';
}
