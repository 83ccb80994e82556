/* SPDX-License-Identifier: MIT */
/* What a descriptor is, found out in ways that cannot hang, whoever made it (threats M8). */
#ifndef RF_FD_KIND_H
#define RF_FD_KIND_H

#include <ringfort/options.h>
#include <stdbool.h>

/* An io_uring, which the kernel does not pass; never agreed on. */
#define RF__FD_NEVER 256

/* All of enum rf_fd_kind. */
#define RF__FD_KINDS_ALL 255u

/* Which of enum rf_fd_kind is it? Looks at its seals, then at the text of its link in /proc (without
 * /proc all but blobs and memfds are RF_FD_OTHER); never at the file itself: no fstat(2), no ioctl(2),
 * and nothing that takes the lock of a pipe. So a FIFO, which has a name, is RF_FD_FILE. A kind;
 * -EBADF. */
int rf__fd_kind(int fd);

/* Are all these kinds among those that were agreed on? A blob is a memfd, too: somebody may have sealed
 * it on its way. */
static inline bool rf__fd_kinds_agree(uint32_t kinds, uint32_t agreed)
{
	return !(kinds & ~(agreed | (agreed & RF_FD_MEMFD ? RF_FD_BLOB : 0u)));
}

/* Why a link is broken on which one came that was not agreed on; static. */
const char *rf__fd_kind_refusal(int kind);

#endif
