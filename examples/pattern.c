/* SPDX-License-Identifier: MIT */
/* Writes the test pattern of capture as Y4M, without ringfort: to compare with what came through it. */
#include "y4m.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int write_frames(const struct y4m *format, uint64_t first, uint64_t last)
{
	size_t len = y4m_frame_bytes(format);
	uint8_t *samples = malloc(len);
	int r = samples ? y4m_write_header(STDOUT_FILENO, format) : -ENOMEM;

	for (uint64_t number = first; !r && number <= last; number++) {
		y4m_pattern(format, number, samples);
		r = y4m_write_frame(STDOUT_FILENO, samples, len);
	}
	free(samples);
	return r;
}

int main(int argc, char **argv)
{
	struct y4m format;
	const char *wrong = "four arguments are needed";
	int r;

	if (argc == 5)
		wrong = y4m_describe(argv[1], argv[2], &format);
	if (wrong) {
		fprintf(stderr, "pattern: %s\nUsage: pattern WxH RATE FIRST LAST >FILE\n", wrong);
		return 2;
	}
	r = write_frames(&format, strtoull(argv[3], NULL, 10), strtoull(argv[4], NULL, 10));
	if (r < 0)
		fprintf(stderr, "pattern: %s\n", strerror(-r));
	return r < 0;
}
