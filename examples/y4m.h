/* SPDX-License-Identifier: MIT */
/* Y4M (YUV4MPEG2) video as the examples use it: 4:2:0 in 8 bits, any size, odd ones too. */
#ifndef EXAMPLES_Y4M_H
#define EXAMPLES_Y4M_H

#include <stddef.h>
#include <stdint.h>

enum {
	Y4M_LINE_MAX = 256,   /* the longest header line, with its newline */
	Y4M_SIDE_MAX = 16384, /* the largest width or height */
	Y4M_RATE_MAX = 10000000
};

/* What a stream header says. */
struct y4m {
	unsigned width, height;      /* 1 to Y4M_SIDE_MAX */
	unsigned rate_num, rate_den; /* frames per second; 25:1 where the header does not know */
	unsigned aspect_num, aspect_den; /* of a pixel; 0:0 is unknown */
	char interlace;                  /* p, t, b or ? */
	const char *chroma; /* where chroma is sited: 420jpeg, 420mpeg2, 420paldv or 420; static */
};

/* Parses the header line of len bytes, its newline not counted. Parameters it does not know are
 * skipped. NULL, or what is wrong with it as a static sentence; *ret_y4m is untouched then. */
const char *y4m_parse(const char *line, size_t len, struct y4m *ret_y4m);

/* Describes progressive video with square pixels from two texts: size is "WxH", rate "N" or "N/D"
 * frames per second. NULL, or what is wrong, as y4m_parse(). */
const char *y4m_describe(const char *size, const char *rate, struct y4m *ret_y4m);

/* Writes the header line with its newline, and a zero byte, to at most Y4M_LINE_MAX bytes at
 * line; reads nothing back. Its length without the zero. What y4m_parse() skipped is not in it. */
size_t y4m_format(const struct y4m *y4m, char *line);

/* The samples of one frame: width * height of luma, then twice (width + 1) / 2 * (height + 1) /
 * 2. */
size_t y4m_frame_bytes(const struct y4m *y4m);

/* The offset of the first and of the second chroma plane, and the length of a row in both. */
size_t y4m_offset_u(const struct y4m *y4m);
size_t y4m_offset_v(const struct y4m *y4m);
unsigned y4m_chroma_width(const struct y4m *y4m);

/* When frame number index is due, in nanoseconds after the first: rounded down each time, so no
 * error adds up. */
uint64_t y4m_due_ns(const struct y4m *y4m, uint64_t index);

/* Draws frame number index of the test pattern into frame, which is only written to. The same
 * numbers give the same frame. */
void y4m_pattern(const struct y4m *y4m, uint64_t index, uint8_t *frame);

/* Reading. A signal ends all of them with -EINTR; other errors are those of read(2).
 *
 * Nothing is read ahead, so the samples can go straight to where they belong. */

/* Reads a line up to its newline, which is not counted. Its length; -ENODATA: the file is empty;
 * -EBADMSG: too long, or cut short. */
int y4m_read_header(int fd, char line[Y4M_LINE_MAX]);

/* Reads the line before a frame; its parameters are skipped. 1; 0: end of file; -EBADMSG: it is
 * something else. */
int y4m_read_marker(int fd);

/* Reads len bytes. 0; -ENODATA: the file ended before. */
int y4m_read_samples(int fd, void *samples, size_t len);

/* Writes all of it, whatever signals come. 0; errors of write(2). */
int y4m_write(int fd, const void *data, size_t len);

/* The same for a header line, and for a frame with its marker. */
int y4m_write_header(int fd, const struct y4m *y4m);
int y4m_write_frame(int fd, const void *samples, size_t len);

#endif
