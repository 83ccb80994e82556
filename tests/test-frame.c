/* SPDX-License-Identifier: MIT */
/* What viewers of a capture make of its messages: frames checked one by one, contact sheets. */
#include "../examples/frame.h"
#include "../examples/sheet.h"
#include "support.h"

#include <stdlib.h>

static struct y4m format_of(const char *size)
{
	struct y4m format;

	assert_null(y4m_describe(size, "25", &format));
	return format;
}

/* A frame as capture sends it, in memory of exactly its size. */
struct sent {
	struct rf_buffer buffer;
	struct rf_message message;
};

static void send_frame(struct sent *sent, const char *size, uint64_t number, uint32_t missed)
{
	struct y4m format = format_of(size);
	char header[FRAME_HEADER_BYTES];

	*sent = (struct sent){.buffer = {.len = frame_slot_bytes(&format)}};
	sent->buffer.data = calloc(1, sent->buffer.len);
	assert_non_null(sent->buffer.data);
	frame_header(&format, header);
	y4m_pattern(&format, number, frame_fill(&sent->buffer, header, number));
	sent->message = (struct rf_message){.data = sent->buffer.data,
		.len = sent->buffer.len,
		.user = {sent->buffer.user[0]},
		.tag = sent->buffer.tag,
		.missed = missed};
}

static const char *taken(struct frames *frames, const char *size, uint64_t number, uint32_t missed)
{
	struct sent sent;
	const char *wrong;

	send_frame(&sent, size, number, missed);
	wrong = frames_take(frames, &sent.message);
	free(sent.buffer.data);
	return wrong;
}

static void any_frame_is_a_start(void **state)
{
	struct frames frames = {0}, late = {0};

	(void)state;
	assert_null(taken(&frames, "64x48", 0, 0));
	assert_null(taken(&late, "35x17", UINT64_MAX - 1, 3));
	assert_int_equal(late.format.width, 35);
	assert_int_equal(late.format.height, 17);
	assert_true(late.first == UINT64_MAX - 1 && late.last == late.first);
	assert_int_equal(late.missed, 3);
	assert_null(taken(&late, "35x17", UINT64_MAX, 0));
	assert_int_equal(late.count, 2);
}

static void samples_lie_behind_the_header(void **state)
{
	struct y4m format = format_of("35x17");
	uint8_t *expected = malloc(y4m_frame_bytes(&format));
	struct sent sent;

	(void)state;
	assert_non_null(expected);
	y4m_pattern(&format, 7, expected);
	send_frame(&sent, "35x17", 7, 0);
	assert_memory_equal(frame_samples(&sent.message), expected, y4m_frame_bytes(&format));
	free(sent.buffer.data);
	free(expected);
}

static void the_number_follows_from_the_last_and_what_was_missed(void **state)
{
	struct frames frames = {0};

	(void)state;
	assert_null(taken(&frames, "2x2", 5, 0));
	assert_null(taken(&frames, "2x2", 6, 0));
	assert_null(taken(&frames, "2x2", 10, 3));
	assert_non_null(taken(&frames, "2x2", 12, 0));
	assert_non_null(taken(&frames, "2x2", 11, 1));
	assert_non_null(taken(&frames, "2x2", 10, 0));
	assert_non_null(taken(&frames, "2x2", 9, 0));
	assert_non_null(taken(&frames, "2x2", 9, UINT32_MAX));
	assert_non_null(taken(&frames, "2x2", 12, UINT32_MAX));
	assert_int_equal(frames.count, 3);
	assert_int_equal(frames.last, 10);
	assert_int_equal(frames.missed, 3);
	assert_null(taken(&frames, "2x2", UINT64_C(20000000000), UINT32_MAX));
	assert_null(taken(&frames, "2x2", UINT64_C(20000000001), 0));
}

static void format_stays(void **state)
{
	struct frames frames = {0};

	(void)state;
	assert_null(taken(&frames, "4x6", 0, 0));
	assert_string_equal(taken(&frames, "6x4", 1, 0), "the format changes in mid-stream");
	assert_int_equal(frames.format.width, 4);
	assert_null(taken(&frames, "4x6", 1, 0));
}

/* A first message that is a frame but for one thing. */
static const char *spoilt(void (*spoil)(struct sent *sent))
{
	struct frames frames = {0};
	struct sent sent;
	const char *wrong;

	send_frame(&sent, "64x48", 0, 0);
	spoil(&sent);
	wrong = frames_take(&frames, &sent.message);
	assert_int_equal(frames.count, 0);
	free(sent.buffer.data);
	return wrong;
}

static void spoil_tag(struct sent *sent)
{
	sent->message.tag = FRAME_TAG + 1;
}

static void spoil_header_length(struct sent *sent)
{
	sent->message.len = FRAME_HEADER_BYTES - 1;
}

static void spoil_length(struct sent *sent)
{
	sent->message.len--;
}

static void spoil_newline(struct sent *sent)
{
	memset(sent->buffer.data, ' ', FRAME_HEADER_BYTES);
}

static void spoil_magic(struct sent *sent)
{
	memcpy(sent->buffer.data, "RIFF", 4);
}

static void spoil_sides(struct sent *sent)
{
	strcpy(sent->buffer.data, "YUV4MPEG2 W16384 H16384\n");
}

static void what_is_no_frame_is_refused(void **state)
{
	(void)state;
	assert_string_equal(spoilt(spoil_tag), "a message is not a frame");
	assert_string_equal(spoilt(spoil_header_length), "a message is not a frame");
	assert_string_equal(spoilt(spoil_newline), "a frame has no header");
	assert_string_equal(spoilt(spoil_magic), "not a Y4M stream");
	assert_string_equal(
		spoilt(spoil_length), "a frame does not have the size that its header says");
	assert_string_equal(
		spoilt(spoil_sides), "a frame does not have the size that its header says");
}

static void cells_have_the_shape_of_the_frames(void **state)
{
	static const struct {
		const char *size;
		unsigned width, height;
	} cases[] = {{"1x1", 1, 1}, {"240x100", 240, 100}, {"1920x1080", 240, 135},
		{"480x960", 120, 240}, {"16384x1", 240, 1}, {"3x16384", 1, 240}};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct y4m format = format_of(cases[i].size);
		struct sheet sheet;

		assert_int_equal(sheet_open(&sheet, &format), 0);
		assert_int_equal(sheet.width, cases[i].width);
		assert_int_equal(sheet.height, cases[i].height);
		sheet_close(&sheet);
	}
}

/* A frame of one colour, in memory of exactly its size. */
static void add_colour(struct sheet *sheet, int y, int u, int v)
{
	size_t luma = y4m_offset_u(&sheet->format), chroma = y4m_offset_v(&sheet->format) - luma;
	uint8_t *samples = malloc(luma + 2 * chroma);

	assert_non_null(samples);
	memset(samples, y, luma);
	memset(samples + luma, u, chroma);
	memset(samples + luma + chroma, v, chroma);
	sheet_add(sheet, samples);
	free(samples);
}

/* The first and the last pixel of a cell of the picture. */
static void assert_cell(const struct sheet *sheet, unsigned place, int r, int g, int b)
{
	size_t line = (size_t)SHEET_COLUMNS * sheet->width;
	size_t first = place / SHEET_COLUMNS * sheet->height * line +
		       place % SHEET_COLUMNS * (size_t)sheet->width;
	size_t last = first + (sheet->height - 1) * line + sheet->width - 1;
	const uint8_t rgb[] = {(uint8_t)r, (uint8_t)g, (uint8_t)b};

	assert_memory_equal(sheet->picture + 3 * first, rgb, 3);
	assert_memory_equal(sheet->picture + 3 * last, rgb, 3);
}

static void colours_are_those_of_bt601(void **state)
{
	struct y4m format = format_of("321x181");
	struct sheet sheet;

	(void)state;
	assert_int_equal(sheet_open(&sheet, &format), 0);
	add_colour(&sheet, 16, 128, 128);
	add_colour(&sheet, 235, 128, 128);
	add_colour(&sheet, 81, 90, 240);
	add_colour(&sheet, 145, 54, 34);
	add_colour(&sheet, 41, 240, 110);
	add_colour(&sheet, 0, 0, 0);
	sheet_draw(&sheet);
	assert_cell(&sheet, 0, 0, 0, 0);
	assert_cell(&sheet, 1, 255, 255, 255);
	assert_cell(&sheet, 2, 255, 0, 0);
	assert_cell(&sheet, 3, 0, 255, 1);
	assert_cell(&sheet, 4, 0, 0, 255);
	assert_cell(&sheet, 5, 0, 135, 0);
	sheet_close(&sheet);
}

static void newest_frame_comes_last(void **state)
{
	struct y4m format = format_of("6x4");
	struct sheet sheet;

	(void)state;
	assert_int_equal(sheet_open(&sheet, &format), 0);
	add_colour(&sheet, 235, 128, 128);
	sheet_draw(&sheet);
	assert_cell(&sheet, 0, 255, 255, 255);
	for (unsigned place = 1; place < SHEET_CELLS; place++)
		assert_cell(&sheet, place, 0, 0, 0);
	for (unsigned i = 0; i < 20; i++)
		add_colour(&sheet, 16 + (int)i * 10, 128, 128);
	sheet_draw(&sheet);
	for (unsigned place = 0; place < SHEET_CELLS; place++) {
		int grey = (298 * ((int)place + 4) * 10 + 128) / 256;

		assert_cell(&sheet, place, grey, grey, grey);
	}
	sheet_close(&sheet);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_frame_is_a_start),
		cmocka_unit_test(samples_lie_behind_the_header),
		cmocka_unit_test(the_number_follows_from_the_last_and_what_was_missed),
		cmocka_unit_test(format_stays),
		cmocka_unit_test(what_is_no_frame_is_refused),
		cmocka_unit_test(cells_have_the_shape_of_the_frames),
		cmocka_unit_test(colours_are_those_of_bt601),
		cmocka_unit_test(newest_frame_comes_last),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
