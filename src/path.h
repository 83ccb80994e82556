/* SPDX-License-Identifier: MIT */
/* The socket file that a listener has in the file system. */
#ifndef RF_PATH_H
#define RF_PATH_H

#include "address.h"
#include <stdbool.h>
#include <stdint.h>

/* The file that a bind(2) of ours made. */
struct rf__path {
	struct sockaddr_un name; /* sun_path is empty: none */
	dev_t device;
	ino_t inode;
};

/* Who can get at it. */
struct rf__path_access {
	uint32_t mode; /* permission bits */
	bool has_group;
	gid_t group; /* else the one that files of ours get */
};

/* Binds sock to the path and makes it listen, with that access before anybody can connect. A socket
 * file that nobody listens on is replaced: that happens under flock(2) on PATH.lock,
 * which stays (threats C11). An abstract name has neither file nor lock nor access: *ret_path stays
 * as it is.
 * 0; -EADDRINUSE: somebody listens there, or holds the lock for long; -EEXIST: the path is no
 * socket; errnos. */
int rf__path_listen(int sock, const struct rf__address *address,
	const struct rf__path_access *access, struct rf__path *ret_path, struct rf__reason *reason);

/* Unlinks the file, unless it is not ours any more. Again does nothing. */
void rf__path_unlink(struct rf__path *path);

#endif
