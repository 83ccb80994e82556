/* SPDX-License-Identifier: MIT */
/* The helpers of capture and encode: Y4M in, IVF out, percentiles of waits. */
#include "support.h"

#include "../examples/ivf.h"
#include "../examples/waits.h"
#include "../examples/y4m.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

static const char *parse(const char *line, struct y4m *ret_y4m)
{
	return y4m_parse(line, strlen(line), ret_y4m);
}

static struct y4m parsed(const char *line)
{
	struct y4m y4m = {0};

	assert_null(parse(line, &y4m));
	return y4m;
}

/* The line lies at the end of an allocation of its own, so that a sanitizer sees a look beyond
 * it. */
static void assert_wrong(const char *line, const char *sentence)
{
	struct y4m y4m, untouched;
	size_t len = strlen(line);
	char *copy = malloc(len ? len : 1);
	const char *wrong;

	assert_non_null(copy);
	memcpy(copy, line, len);
	memset(&y4m, 0x5a, sizeof(y4m));
	memset(&untouched, 0x5a, sizeof(untouched));
	wrong = y4m_parse(copy, len, &y4m);
	free(copy);
	if (!wrong || !strstr(wrong, sentence))
		fail_msg("'%s': %s", line, wrong ? wrong : "accepted");
	assert_memory_equal(&y4m, &untouched, sizeof(y4m));
}

static void header_is_parsed(void **state)
{
	struct y4m y4m = parsed("YUV4MPEG2 W1920 H1080 F30000:1001 It A4:3 C420mpeg2 XYSCSS=420");

	(void)state;
	assert_int_equal(y4m.width, 1920);
	assert_int_equal(y4m.height, 1080);
	assert_int_equal(y4m.rate_num, 30000);
	assert_int_equal(y4m.rate_den, 1001);
	assert_int_equal(y4m.aspect_num, 4);
	assert_int_equal(y4m.aspect_den, 3);
	assert_int_equal(y4m.interlace, 't');
	assert_string_equal(y4m.chroma, "420mpeg2");
}

static void header_has_defaults(void **state)
{
	struct y4m y4m = parsed("YUV4MPEG2 H2 W1");

	(void)state;
	assert_int_equal(y4m.rate_num, 25);
	assert_int_equal(y4m.rate_den, 1);
	assert_int_equal(y4m.interlace, '?');
	assert_string_equal(y4m.chroma, "420jpeg");
	assert_int_equal(parsed("YUV4MPEG2 W1 H2 F0:0").rate_num, 25);
}

static void spaces_and_unknown_parameters_are_skipped(void **state)
{
	(void)state;
	assert_int_equal(parsed("YUV4MPEG2  W16  H8  X Zfoo ").width, 16);
}

static void sides_have_limits(void **state)
{
	(void)state;
	assert_int_equal(parsed("YUV4MPEG2 W16384 H1").width, Y4M_SIDE_MAX);
	assert_wrong("YUV4MPEG2 W16385 H1", "width and height must be");
	assert_wrong("YUV4MPEG2 W1 H0", "width and height must be");
	assert_wrong("YUV4MPEG2 W H1", "width and height must be");
	assert_wrong("YUV4MPEG2 W-1 H1", "width and height must be");
	assert_wrong("YUV4MPEG2 W+1 H1", "width and height must be");
	assert_wrong("YUV4MPEG2 W0x10 H1", "width and height must be");
	assert_wrong("YUV4MPEG2 W4294967297 H1", "width and height must be");
	assert_wrong("YUV4MPEG2 W18446744073709551617 H1", "width and height must be");
	assert_wrong("YUV4MPEG2 W16", "lacks width or height");
	assert_wrong("YUV4MPEG2 H16", "lacks width or height");
	assert_wrong("YUV4MPEG2", "lacks width or height");
}

static void rates_are_ratios_without_zero(void **state)
{
	(void)state;
	assert_wrong("YUV4MPEG2 W1 H1 F30", "frame rate");
	assert_wrong("YUV4MPEG2 W1 H1 F30:", "frame rate");
	assert_wrong("YUV4MPEG2 W1 H1 F:1", "frame rate");
	assert_wrong("YUV4MPEG2 W1 H1 F", "frame rate");
	assert_wrong("YUV4MPEG2 W1 H1 F30:0", "zero");
	assert_wrong("YUV4MPEG2 W1 H1 F0:1", "zero");
	assert_wrong("YUV4MPEG2 W1 H1 F10000001:1", "frame rate");
	assert_wrong("YUV4MPEG2 W1 H1 F30:1x", "frame rate");
	assert_wrong("YUV4MPEG2 W1 H1 A1", "aspect");
}

static void only_420_with_8_bits_is_taken(void **state)
{
	(void)state;
	assert_string_equal(parsed("YUV4MPEG2 W1 H1 C420").chroma, "420");
	assert_string_equal(parsed("YUV4MPEG2 W1 H1 C420paldv").chroma, "420paldv");
	assert_wrong("YUV4MPEG2 W1 H1 C422", "only 4:2:0");
	assert_wrong("YUV4MPEG2 W1 H1 C444", "only 4:2:0");
	assert_wrong("YUV4MPEG2 W1 H1 C420p10", "only 4:2:0");
	assert_wrong("YUV4MPEG2 W1 H1 Cmono", "only 4:2:0");
	assert_wrong("YUV4MPEG2 W1 H1 C", "only 4:2:0");
	assert_wrong("YUV4MPEG2 W1 H1 Im", "only progressive");
	assert_wrong("YUV4MPEG2 W1 H1 I", "only progressive");
}

static void other_lines_are_no_header(void **state)
{
	char line[Y4M_LINE_MAX + 1];
	struct y4m y4m;

	(void)state;
	assert_wrong("", "not a Y4M");
	assert_wrong("YUV4MPEG", "not a Y4M");
	assert_wrong("YUV4MPEG3 W1 H1", "not a Y4M");
	assert_wrong("YUV4MPEG2W1 H1", "not a Y4M");
	assert_wrong("RIFF", "not a Y4M");
	assert_wrong("YUV4MPEG2 W1\nH1", "not one short line");
	assert_non_null(y4m_parse("YUV4MPEG2 W1 H1\0", 16, &y4m));
	memset(line, ' ', sizeof(line));
	memcpy(line, "YUV4MPEG2 W1 H1", 15);
	assert_null(y4m_parse(line, Y4M_LINE_MAX - 1, &y4m));
	assert_non_null(y4m_parse(line, Y4M_LINE_MAX, &y4m));
}

/* Any bytes, and every header cut short: refused or within the limits, never a look beyond the
 * end. */
static void no_header_leads_beyond_the_limits(void **state)
{
	static const char alphabet[] = "YUV4MPEG2 WHFIAC0123456789:x\n";
	unsigned seed = 1;

	(void)state;
	for (unsigned round = rf_test_rounds(20000); round; round--) {
		size_t len = 10 + (size_t)rand_r(&seed) % 40;
		char *line = malloc(len);
		struct y4m y4m;

		assert_non_null(line);
		for (size_t i = 0; i < len; i++)
			line[i] = alphabet[(size_t)rand_r(&seed) % (sizeof(alphabet) - 1)];
		memcpy(line, "YUV4MPEG2 ", 10);
		if (!y4m_parse(line, len, &y4m)) {
			assert_in_range(y4m.width, 1, Y4M_SIDE_MAX);
			assert_in_range(y4m.height, 1, Y4M_SIDE_MAX);
			assert_in_range(y4m.rate_num, 1, Y4M_RATE_MAX);
			assert_in_range(y4m.rate_den, 1, Y4M_RATE_MAX);
		}
		free(line);
	}
}

static void formatted_header_parses_to_the_same(void **state)
{
	struct y4m y4m = parsed("YUV4MPEG2 W16384 H16383 F10000000:9999999 Ib A64:45 C420paldv");
	char line[Y4M_LINE_MAX], again[Y4M_LINE_MAX];
	size_t len = y4m_format(&y4m, line);

	(void)state;
	assert_int_equal(len, strlen(line));
	assert_int_equal(line[len - 1], '\n');
	line[len - 1] = '\0';
	y4m = parsed(line);
	line[len - 1] = '\n';
	assert_int_equal(y4m_format(&y4m, again), len);
	assert_string_equal(again, line);
}

static void size_and_rate_describe_a_format(void **state)
{
	struct y4m y4m;
	char line[Y4M_LINE_MAX], large[2 * Y4M_LINE_MAX];

	(void)state;
	assert_null(y4m_describe("321x181", "30000/1001", &y4m));
	y4m_format(&y4m, line);
	assert_string_equal(line, "YUV4MPEG2 W321 H181 F30000:1001 Ip A1:1 C420jpeg\n");
	assert_null(y4m_describe("2x2", "50", &y4m));
	assert_int_equal(y4m.rate_den, 1);
	assert_non_null(y4m_describe("640", "30", &y4m));
	assert_non_null(y4m_describe("640x", "30", &y4m));
	assert_non_null(y4m_describe("2x2 C444", "30", &y4m));
	assert_non_null(y4m_describe("2x2", "30 H4", &y4m));
	assert_non_null(y4m_describe("2x2", "30/0", &y4m));
	memset(large, '1', sizeof(large) - 1);
	large[sizeof(large) - 1] = '\0';
	assert_non_null(y4m_describe("2x2", large, &y4m));
}

static void odd_sizes_round_chroma_up(void **state)
{
	struct y4m one = parsed("YUV4MPEG2 W1 H1"), odd = parsed("YUV4MPEG2 W35 H17");
	struct y4m even = parsed("YUV4MPEG2 W1920 H1080"), most = parsed("YUV4MPEG2 W16384 H16384");

	(void)state;
	assert_int_equal(y4m_frame_bytes(&one), 3);
	assert_int_equal(y4m_frame_bytes(&odd), 35 * 17 + 2 * 18 * 9);
	assert_int_equal(y4m_offset_u(&odd), 35 * 17);
	assert_int_equal(y4m_offset_v(&odd), 35 * 17 + 18 * 9);
	assert_int_equal(y4m_chroma_width(&odd), 18);
	assert_int_equal(y4m_frame_bytes(&even), 1920 * 1080 * 3 / 2);
	assert_int_equal(y4m_frame_bytes(&most), 402653184);
}

static void schedule_does_not_drift(void **state)
{
	struct y4m ntsc = parsed("YUV4MPEG2 W1 H1 F30000:1001");
	struct y4m slow = parsed("YUV4MPEG2 W1 H1 F1:10000000");

	(void)state;
	assert_int_equal(y4m_due_ns(&ntsc, 0), 0);
	assert_int_equal(y4m_due_ns(&ntsc, 1), 33366666);
	assert_int_equal(y4m_due_ns(&ntsc, 3), 100100000);
	assert_int_equal(y4m_due_ns(&ntsc, 30000), UINT64_C(1001000000000));
	assert_int_equal(
		y4m_due_ns(&ntsc, UINT64_C(30000) * 1000000), UINT64_C(1001000000000000000));
	assert_int_equal(y4m_due_ns(&slow, 3), UINT64_C(30000000000000000));
}

/* Frames at guarded allocations: every byte is written, none beyond. */
static void draw(const struct y4m *y4m, uint64_t index, uint8_t **ret_frame)
{
	size_t len = y4m_frame_bytes(y4m);
	uint8_t *zero = calloc(1, len), *ones = malloc(len);

	assert_non_null(zero);
	assert_non_null(ones);
	memset(ones, 0xff, len);
	y4m_pattern(y4m, index, zero);
	y4m_pattern(y4m, index, ones);
	assert_memory_equal(zero, ones, len);
	free(ones);
	*ret_frame = zero;
}

static void pattern_is_whole_and_moves(void **state)
{
	static const char *const lines[] = {
		"YUV4MPEG2 W1 H1", "YUV4MPEG2 W35 H17", "YUV4MPEG2 W7 H300", "YUV4MPEG2 W640 H360"};

	(void)state;
	for (size_t i = 0; i < sizeof(lines) / sizeof(*lines); i++) {
		struct y4m y4m = parsed(lines[i]);
		uint8_t *frame, *later;

		draw(&y4m, 41, &frame);
		draw(&y4m, 42, &later);
		assert_memory_not_equal(frame, later, y4m_frame_bytes(&y4m));
		free(frame);
		free(later);
	}
}

/* A pipe that holds these bytes and then ends. */
static int pipe_with(const void *bytes, size_t len)
{
	int fds[2];

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	assert_int_equal(write(fds[1], bytes, len), len);
	close(fds[1]);
	return fds[0];
}

static int header_of(const char *bytes, size_t len, char line[Y4M_LINE_MAX])
{
	int fd = pipe_with(bytes, len), r = y4m_read_header(fd, line);

	close(fd);
	return r;
}

static int marker_of(const char *bytes)
{
	int fd = pipe_with(bytes, strlen(bytes)), r = y4m_read_marker(fd);

	close(fd);
	return r;
}

static void headers_are_read_to_their_end_only(void **state)
{
	char line[Y4M_LINE_MAX], long_line[2 * Y4M_LINE_MAX];
	int fd = pipe_with("YUV4MPEG2 W1 H1\nFRAME\nabcF", 26);

	(void)state;
	assert_int_equal(y4m_read_header(fd, line), 15);
	assert_memory_equal(line, "YUV4MPEG2 W1 H1", 15);
	assert_int_equal(y4m_read_marker(fd), 1);
	assert_int_equal(y4m_read_samples(fd, line, 3), 0);
	assert_memory_equal(line, "abc", 3);
	assert_int_equal(y4m_read_marker(fd), -EBADMSG);
	close(fd);
	memset(long_line, ' ', sizeof(long_line));
	assert_int_equal(header_of(long_line, sizeof(long_line), line), -EBADMSG);
	long_line[Y4M_LINE_MAX - 1] = '\n';
	assert_int_equal(header_of(long_line, sizeof(long_line), line), Y4M_LINE_MAX - 1);
	assert_int_equal(header_of("", 0, line), -ENODATA);
	assert_int_equal(header_of("YUV4MPEG2", 9, line), -EBADMSG);
}

static void markers_are_checked(void **state)
{
	char long_marker[2001] = "FRAME ";

	(void)state;
	assert_int_equal(marker_of("FRAME\n"), 1);
	assert_int_equal(marker_of("FRAME Ip XFOO\n"), 1);
	assert_int_equal(marker_of(""), 0);
	assert_int_equal(marker_of("FRAM"), -EBADMSG);
	assert_int_equal(marker_of("FRAMES\n"), -EBADMSG);
	assert_int_equal(marker_of("frame\n"), -EBADMSG);
	assert_int_equal(marker_of("FRAME I"), -EBADMSG);
	memset(long_marker + 6, 'x', sizeof(long_marker) - 7);
	assert_int_equal(marker_of(long_marker), -EBADMSG);
}

static void samples_end_with_the_file(void **state)
{
	char samples[8];
	int fd = pipe_with("abc", 3);

	(void)state;
	assert_int_equal(y4m_read_samples(fd, samples, 4), -ENODATA);
	close(fd);
	assert_int_equal(y4m_read_samples(-1, samples, 4), -EBADF);
	assert_int_equal(y4m_write(-1, samples, 4), -EBADF);
}

static void on_signal(int signal)
{
	(void)signal;
}

static void signals_end_reading(void **state)
{
	struct sigaction action = {.sa_handler = on_signal}, before;
	struct itimerval often = {{0, 10000}, {0, 10000}}, never = {{0, 0}, {0, 0}};
	int fds[2], r;
	char byte;

	(void)state;
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	sigaction(SIGALRM, &action, &before);
	setitimer(ITIMER_REAL, &often, NULL);
	r = y4m_read_samples(fds[0], &byte, 1);
	setitimer(ITIMER_REAL, &never, NULL);
	sigaction(SIGALRM, &before, NULL);
	assert_int_equal(r, -EINTR);
	close(fds[0]);
	close(fds[1]);
}

static FILE *scratch(void)
{
	FILE *file = tmpfile();

	assert_non_null(file);
	return file;
}

static void ivf_has_its_layout(void **state)
{
	static const uint8_t expected[] = {'D', 'K', 'I', 'F', 0, 0, 32, 0, 'V', 'P', '8', '0',
		0x80, 0x07, 0x38, 0x04, 0x30, 0x75, 0, 0, 0xe9, 0x03, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0,
		3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 'a', 'b', 'c', 0, 0, 0, 0, 8, 7, 6, 5, 4, 3, 2,
		1};
	uint8_t bytes[sizeof(expected) + 1];
	FILE *file = scratch();
	struct ivf ivf;

	(void)state;
	assert_int_equal(ivf_start(&ivf, fileno(file), 1920, 1080, 30000, 1001), 0);
	assert_int_equal(ivf_frame(&ivf, "abc", 3, 0), 0);
	assert_int_equal(ivf_frame(&ivf, "", 0, UINT64_C(0x0102030405060708)), 0);
	assert_int_equal(ivf_finish(&ivf), 0);
	assert_int_equal(ivf.bytes, sizeof(expected));
	assert_int_equal(pread(fileno(file), bytes, sizeof(bytes), 0), sizeof(expected));
	assert_memory_equal(bytes, expected, sizeof(expected));
	fclose(file);
}

static void ivf_count_goes_where_the_header_is(void **state)
{
	FILE *file = scratch();
	struct ivf ivf;
	uint8_t count = 0;

	(void)state;
	assert_int_equal(write(fileno(file), "before", 6), 6);
	assert_int_equal(ivf_start(&ivf, fileno(file), 1, 1, 25, 1), 0);
	assert_int_equal(ivf_frame(&ivf, "x", 1, 0), 0);
	assert_int_equal(ivf_finish(&ivf), 0);
	assert_int_equal(pread(fileno(file), &count, 1, 6 + 24), 1);
	assert_int_equal(count, 1);
	fclose(file);
}

static void ivf_is_written_once_where_it_cannot_seek(void **state)
{
	FILE *file = scratch();
	struct ivf ivf;
	int fds[2], flags = fcntl(fileno(file), F_GETFL);

	(void)state;
	assert_int_equal(fcntl(fileno(file), F_SETFL, flags | O_APPEND), 0);
	assert_int_equal(ivf_start(&ivf, fileno(file), 1, 1, 25, 1), 0);
	assert_int_equal(ivf_finish(&ivf), 0);
	assert_int_equal(lseek(fileno(file), 0, SEEK_END), IVF_HEADER_BYTES);
	fclose(file);
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	assert_int_equal(ivf_start(&ivf, fds[1], 1, 1, 25, 1), 0);
	assert_int_equal(ivf_frame(&ivf, "x", 1, 0), 0);
	assert_int_equal(ivf_finish(&ivf), 0);
	close(fds[0]);
	close(fds[1]);
}

static void ivf_refuses_what_its_fields_cannot_hold(void **state)
{
	struct ivf ivf;

	(void)state;
	assert_int_equal(ivf_start(&ivf, -1, 65536, 1, 25, 1), -EINVAL);
	assert_int_equal(ivf_start(&ivf, -1, 1, 65536, 25, 1), -EINVAL);
	assert_int_equal(ivf_start(&ivf, -1, 1, 1, 25, 1), -EBADF);
}

static void percentiles_are_within_an_eighth(void **state)
{
	static struct waits waits;

	(void)state;
	assert_int_equal(waits_percentile_ns(&waits, 50), 0);
	for (uint64_t ns = 1; ns <= 100000; ns++)
		waits_add(&waits, ns);
	assert_in_range(waits_percentile_ns(&waits, 50), 50000, 56250);
	assert_in_range(waits_percentile_ns(&waits, 99), 99000, 100000);
	waits_add(&waits, UINT64_MAX);
	waits_add(&waits, 0);
	assert_int_equal(waits_percentile_ns(&waits, 100), UINT64_MAX);
	assert_int_equal(waits_percentile_ns(&waits, 0), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(header_is_parsed),
		cmocka_unit_test(header_has_defaults),
		cmocka_unit_test(spaces_and_unknown_parameters_are_skipped),
		cmocka_unit_test(sides_have_limits),
		cmocka_unit_test(rates_are_ratios_without_zero),
		cmocka_unit_test(only_420_with_8_bits_is_taken),
		cmocka_unit_test(other_lines_are_no_header),
		cmocka_unit_test(no_header_leads_beyond_the_limits),
		cmocka_unit_test(formatted_header_parses_to_the_same),
		cmocka_unit_test(size_and_rate_describe_a_format),
		cmocka_unit_test(odd_sizes_round_chroma_up),
		cmocka_unit_test(schedule_does_not_drift),
		cmocka_unit_test(pattern_is_whole_and_moves),
		cmocka_unit_test(headers_are_read_to_their_end_only),
		cmocka_unit_test(markers_are_checked),
		cmocka_unit_test(samples_end_with_the_file),
		cmocka_unit_test(signals_end_reading),
		cmocka_unit_test(ivf_has_its_layout),
		cmocka_unit_test(ivf_count_goes_where_the_header_is),
		cmocka_unit_test(ivf_is_written_once_where_it_cannot_seek),
		cmocka_unit_test(ivf_refuses_what_its_fields_cannot_hold),
		cmocka_unit_test(percentiles_are_within_an_eighth),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
