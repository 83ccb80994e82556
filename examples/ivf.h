/* SPDX-License-Identifier: MIT */
/* IVF, the simplest container for VP8: a header of 32 bytes, then each frame behind 12 bytes of
 * its own. */
#ifndef EXAMPLES_IVF_H
#define EXAMPLES_IVF_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { IVF_HEADER_BYTES = 32, IVF_FRAME_BYTES = 12 };

/* A file that is being written. */
struct ivf {
	int fd;
	off_t start; /* where the header lies; -1: it cannot be gone back to (a pipe, or opened for appending) */
	uint32_t frames; /* written */
	uint64_t bytes;  /* written, headers included */
};

/* Writes the header to fd, which stays the caller's. A unit of time is rate_den / rate_num
 * seconds. The count of frames in it is 0 until ivf_finish(). 0; -EINVAL: a side does not fit in
 * 16 bits; errors of write(2). */
int ivf_start(struct ivf *ivf, int fd, unsigned width, unsigned height, unsigned rate_num,
	unsigned rate_den);

/* Writes one frame of len bytes, shown at pts units of time. 0; -EINVAL: longer than 32 bits can
 * say; errors of write(2). */
int ivf_frame(struct ivf *ivf, const void *frame, size_t len, uint64_t pts);

/* Puts the count of frames into the header where that is possible. 0; errors of pwrite(2). */
int ivf_finish(struct ivf *ivf);

#endif
