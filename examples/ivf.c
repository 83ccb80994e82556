/* SPDX-License-Identifier: MIT */
/* Writes IVF; all numbers are little-endian. */
#include "ivf.h"
#include "y4m.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum { AT_FRAMES = 24 };

static void put(uint8_t *at, uint64_t value, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		at[i] = (uint8_t)(value >> (8 * i));
}

/* Where fd stands, if what is written here can be changed later. */
static off_t position(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || (flags & O_APPEND))
		return -1;
	return lseek(fd, 0, SEEK_CUR);
}

int ivf_start(struct ivf *ivf, int fd, unsigned width, unsigned height, unsigned rate_num,
	unsigned rate_den)
{
	uint8_t header[IVF_HEADER_BYTES] = "DKIF";

	if (width > UINT16_MAX || height > UINT16_MAX)
		return -EINVAL;
	*ivf = (struct ivf){.fd = fd, .start = position(fd), .bytes = sizeof(header)};
	put(header + 6, IVF_HEADER_BYTES, 2);
	memcpy(header + 8, "VP80", 4);
	put(header + 12, width, 2);
	put(header + 14, height, 2);
	put(header + 16, rate_num, 4);
	put(header + 20, rate_den, 4);
	return y4m_write(fd, header, sizeof(header));
}

int ivf_frame(struct ivf *ivf, const void *frame, size_t len, uint64_t pts)
{
	uint8_t header[IVF_FRAME_BYTES];
	int r;

	if (len > UINT32_MAX)
		return -EINVAL;
	put(header, len, 4);
	put(header + 4, pts, 8);
	r = y4m_write(ivf->fd, header, sizeof(header));
	if (!r)
		r = y4m_write(ivf->fd, frame, len);
	if (r < 0)
		return r;
	ivf->frames++;
	ivf->bytes += sizeof(header) + len;
	return 0;
}

int ivf_finish(struct ivf *ivf)
{
	uint8_t count[4];

	if (ivf->start < 0)
		return 0;
	put(count, ivf->frames, sizeof(count));
	if (pwrite(ivf->fd, count, sizeof(count), ivf->start + AT_FRAMES) != sizeof(count))
		return -errno;
	return 0;
}
