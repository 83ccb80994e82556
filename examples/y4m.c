/* SPDX-License-Identifier: MIT */
/* Y4M: the header and its text, the geometry of 4:2:0 frames, reading and writing without
 * buffers. */
#include "y4m.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MAGIC           "YUV4MPEG2"
#define MARKER          "FRAME"
#define MARKER_LINE_MAX 1024

static const char *const chromas[] = {"420jpeg", "420mpeg2", "420paldv", "420"};

/* Parses decimal digits up to end or a byte that is none. How many; 0: none, or more than max. */
static size_t parse_number(const char *text, size_t len, unsigned max, unsigned *ret_value)
{
	uint64_t value = 0;
	size_t n = 0;

	for (; n < len && text[n] >= '0' && text[n] <= '9'; n++) {
		value = value * 10 + (uint64_t)(text[n] - '0');
		if (value > max)
			return 0;
	}
	*ret_value = (unsigned)value;
	return n;
}

static const char *parse_side(const char *text, size_t len, unsigned *ret_side)
{
	unsigned side = 0;

	if (parse_number(text, len, Y4M_SIDE_MAX, &side) != len || side == 0)
		return "width and height must be 1 to 16384";
	*ret_side = side;
	return NULL;
}

static bool parse_ratio(const char *text, size_t len, unsigned *ret_num, unsigned *ret_den)
{
	size_t n = parse_number(text, len, Y4M_RATE_MAX, ret_num);

	if (n == 0 || n == len || text[n] != ':')
		return false;
	n++;
	return n < len && parse_number(text + n, len - n, Y4M_RATE_MAX, ret_den) == len - n;
}

static const char *parse_rate(const char *text, size_t len, struct y4m *y4m)
{
	unsigned num = 0, den = 0;

	if (!parse_ratio(text, len, &num, &den))
		return "the frame rate is not a ratio of numbers up to 10000000";
	if (num == 0 && den == 0)
		return NULL;
	if (num == 0 || den == 0)
		return "the frame rate has a zero in it";
	y4m->rate_num = num;
	y4m->rate_den = den;
	return NULL;
}

static const char *parse_aspect(const char *text, size_t len, struct y4m *y4m)
{
	if (!parse_ratio(text, len, &y4m->aspect_num, &y4m->aspect_den))
		return "the pixel aspect is not a ratio of numbers up to 10000000";
	return NULL;
}

static const char *parse_interlace(const char *text, size_t len, struct y4m *y4m)
{
	if (len != 1 || !memchr("ptb?", text[0], 4))
		return "only progressive video, or one order of fields for all of it, is known";
	y4m->interlace = text[0];
	return NULL;
}

static const char *parse_chroma(const char *text, size_t len, struct y4m *y4m)
{
	for (size_t i = 0; i < sizeof(chromas) / sizeof(*chromas); i++) {
		if (strlen(chromas[i]) == len && !memcmp(chromas[i], text, len)) {
			y4m->chroma = chromas[i];
			return NULL;
		}
	}
	return "only 4:2:0 video with 8 bits per sample is known";
}

static const char *parse_token(char name, const char *text, size_t len, struct y4m *y4m)
{
	switch (name) {
	case 'W':
		return parse_side(text, len, &y4m->width);
	case 'H':
		return parse_side(text, len, &y4m->height);
	case 'F':
		return parse_rate(text, len, y4m);
	case 'A':
		return parse_aspect(text, len, y4m);
	case 'I':
		return parse_interlace(text, len, y4m);
	case 'C':
		return parse_chroma(text, len, y4m);
	default:
		return NULL;
	}
}

const char *y4m_parse(const char *line, size_t len, struct y4m *ret_y4m)
{
	struct y4m y4m = {.rate_num = 25, .rate_den = 1, .interlace = '?', .chroma = chromas[0]};
	size_t at = strlen(MAGIC);

	if (len < at || memcmp(line, MAGIC, at) || (len > at && line[at] != ' '))
		return "not a Y4M stream";
	if (len >= Y4M_LINE_MAX || memchr(line, '\n', len) || memchr(line, '\0', len))
		return "the header is not one short line";
	while (at < len) {
		const char *token = line + at + 1; /* line[at] is a space */
		size_t rest = len - at - 1;
		const char *space = memchr(token, ' ', rest);
		size_t size = space ? (size_t)(space - token) : rest;
		const char *wrong = size ? parse_token(token[0], token + 1, size - 1, &y4m) : NULL;

		if (wrong)
			return wrong;
		at += 1 + size;
	}
	if (!y4m.width || !y4m.height)
		return "the header lacks width or height";
	*ret_y4m = y4m;
	return NULL;
}

const char *y4m_describe(const char *size, const char *rate, struct y4m *ret_y4m)
{
	char line[Y4M_LINE_MAX];
	const char *x = strchr(size, 'x'), *slash = strchr(rate, '/');
	int n;

	if (!x || strchr(size, ' ') || strchr(rate, ' '))
		return "the size must be WxH, the rate N or N/D";
	n = snprintf(line, sizeof(line), MAGIC " W%.*s H%s F%.*s:%s Ip A1:1", (int)(x - size), size,
		x + 1, slash ? (int)(slash - rate) : (int)strlen(rate), rate,
		slash ? slash + 1 : "1");
	if (n < 0 || (size_t)n >= sizeof(line))
		return "the size or the rate is too long";
	return y4m_parse(line, (size_t)n, ret_y4m);
}

size_t y4m_format(const struct y4m *y4m, char *line)
{
	return (size_t)snprintf(line, Y4M_LINE_MAX, MAGIC " W%u H%u F%u:%u I%c A%u:%u C%s\n",
		y4m->width, y4m->height, y4m->rate_num, y4m->rate_den, y4m->interlace,
		y4m->aspect_num, y4m->aspect_den, y4m->chroma);
}

unsigned y4m_chroma_width(const struct y4m *y4m)
{
	return (y4m->width + 1) / 2;
}

static size_t chroma_bytes(const struct y4m *y4m)
{
	return (size_t)y4m_chroma_width(y4m) * ((y4m->height + 1) / 2);
}

size_t y4m_offset_u(const struct y4m *y4m)
{
	return (size_t)y4m->width * y4m->height;
}

size_t y4m_offset_v(const struct y4m *y4m)
{
	return y4m_offset_u(y4m) + chroma_bytes(y4m);
}

size_t y4m_frame_bytes(const struct y4m *y4m)
{
	return y4m_offset_v(y4m) + chroma_bytes(y4m);
}

uint64_t y4m_due_ns(const struct y4m *y4m, uint64_t index)
{
	const uint64_t second = 1000000000;
	uint64_t ticks = index * y4m->rate_den;

	return ticks / y4m->rate_num * second + ticks % y4m->rate_num * second / y4m->rate_num;
}

/* Where a box that moves by step per frame is on a line that leaves it room to move. */
static unsigned bounce(uint64_t index, unsigned step, unsigned room)
{
	uint64_t way = room ? index * step % (2 * (uint64_t)room) : 0;

	return (unsigned)(way <= room ? way : 2 * (uint64_t)room - way);
}

static void draw_luma(const struct y4m *y4m, uint64_t index, uint8_t *plane)
{
	unsigned width = y4m->width, height = y4m->height;
	unsigned box_width = (width + 7) / 8, box_height = (height + 7) / 8;
	unsigned left = bounce(index, 3, width - box_width);
	unsigned top = bounce(index, 2, height - box_height);

	for (unsigned y = 0; y < height; y++, plane += width) {
		unsigned phase = y / 2 + (unsigned)(index & 127) * 2;

		for (unsigned x = 0; x < width; x++)
			plane[x] = (uint8_t)(32 + ((x / 2 + phase) & 127));
		if (y >= top && y - top < box_height)
			memset(plane + left, 235, box_width);
	}
}

static void draw_chroma(const struct y4m *y4m, unsigned phase, uint8_t *plane)
{
	unsigned width = y4m_chroma_width(y4m), height = (y4m->height + 1) / 2;

	for (unsigned y = 0; y < height; y++, plane += width)
		memset(plane, (int)(64 + ((y / 2 + phase) & 127)), width);
}

void y4m_pattern(const struct y4m *y4m, uint64_t index, uint8_t *frame)
{
	draw_luma(y4m, index, frame);
	draw_chroma(y4m, (unsigned)(index & 127), frame + y4m_offset_u(y4m));
	draw_chroma(y4m, (unsigned)(127 - (index & 127)), frame + y4m_offset_v(y4m));
}

int y4m_read_samples(int fd, void *samples, size_t len)
{
	uint8_t *at = samples;

	while (len) {
		ssize_t n = read(fd, at, len);

		if (n < 0)
			return -errno;
		if (n == 0)
			return -ENODATA;
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

int y4m_read_header(int fd, char line[Y4M_LINE_MAX])
{
	for (int n = 0; n < Y4M_LINE_MAX; n++) {
		int r = y4m_read_samples(fd, line + n, 1);

		if (r < 0)
			return r == -ENODATA && n ? -EBADMSG : r;
		if (line[n] == '\n')
			return n;
	}
	return -EBADMSG;
}

/* Skips the parameters after a marker. */
static int skip_line(int fd)
{
	char byte = 0;

	for (int n = 0; n < MARKER_LINE_MAX; n++) {
		int r = y4m_read_samples(fd, &byte, 1);

		if (r < 0)
			return r == -ENODATA ? -EBADMSG : r;
		if (byte == '\n')
			return 1;
	}
	return -EBADMSG;
}

int y4m_read_marker(int fd)
{
	char marker[sizeof(MARKER)];
	int r = y4m_read_samples(fd, marker, 1);

	if (r < 0)
		return r == -ENODATA ? 0 : r;
	r = y4m_read_samples(fd, marker + 1, sizeof(marker) - 1);
	if (r < 0)
		return r == -ENODATA ? -EBADMSG : r;
	if (memcmp(marker, MARKER, strlen(MARKER)))
		return -EBADMSG;
	if (marker[strlen(MARKER)] == '\n')
		return 1;
	return marker[strlen(MARKER)] == ' ' ? skip_line(fd) : -EBADMSG;
}

int y4m_write(int fd, const void *data, size_t len)
{
	const uint8_t *at = data;

	while (len) {
		ssize_t n = write(fd, at, len);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0) {
			at += n;
			len -= (size_t)n;
		}
	}
	return 0;
}

int y4m_write_header(int fd, const struct y4m *y4m)
{
	char line[Y4M_LINE_MAX];

	return y4m_write(fd, line, y4m_format(y4m, line));
}

int y4m_write_frame(int fd, const void *samples, size_t len)
{
	int r = y4m_write(fd, MARKER "\n", sizeof(MARKER));

	return r < 0 ? r : y4m_write(fd, samples, len);
}
