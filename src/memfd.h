/* SPDX-License-Identifier: MIT */
/* What regions and blobs have in common: memfds that are made and allocated, and what has to be
 * looked at before one from a peer is mapped. */
#ifndef RF_MEMFD_H
#define RF_MEMFD_H

#include "util/reason.h"
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

/* Younger than the headers of Debian 12. */
#ifndef F_SEAL_EXEC
#define F_SEAL_EXEC 0x0020
#endif

/* `what` is the memfd's name in sentences: "a region". */

/* One page of this machine. */
uint64_t rf__page_bytes(void);

/* Makes a memfd (CLOEXEC, ALLOW_SEALING, NOEXEC_SEAL where the kernel has it) of file_bytes, not
 * yet allocated. The size is checked against RLIMIT_FSIZE before, since exceeding it raises SIGXFSZ
 * (threats M12). The descriptor; -EFBIG: limit; -ENOTSUP: no memfds; errnos of memfd_create(2) and
 * ftruncate(2). */
int rf__memfd_create(
	const char *name, uint64_t file_bytes, const char *what, struct rf__reason *reason);

/* Allocates memory for up to step_bytes more (a page at least) of the file_bytes, from *allocated
 * on, which grows by it. Where signals interrupt it, it goes on in smaller steps. Waits for whoever
 * writes to the file, so it is only for what no peer can write to. 1: there is more to do; 0: all
 * of it is allocated; errnos of fallocate(2). */
int rf__memfd_allocate(int fd, uint64_t file_bytes, uint64_t step_bytes, uint64_t *allocated,
	const char *what, struct rf__reason *reason);

/* Checks a descriptor that came from a peer. Only looks, in an order that cannot hang (threats
 * M1-M3, M5-M8): its seals, which only a memfd has, are exactly `seals`; its file system is tmpfs.
 * EXEC may be there besides, as the kernel does it, and FUTURE_WRITE where WRITE is. What fstat(2)
 * says is then in *ret_file; the size is final only if `seals` has SHRINK and GROW.
 * 0; -EPERM: not a memfd, wrong seals, wrong file system; errnos of fstat(2) and fstatfs(2). Each
 * has a sentence of its own. */
int rf__memfd_verify(
	int fd, int seals, const char *what, struct rf__reason *reason, struct stat *ret_file);

/* Has it fewer blocks than its size takes? Blocks behind the end of the file count, too. Only its
 * maker could put some there, before it sealed GROW. */
bool rf__memfd_has_holes(const struct stat *file);

#endif
