/* SPDX-License-Identifier: MIT */
/* Scales frames down by leaving pixels out, and turns them into RGB. */
#include "sheet.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { CELL_SIDE_MAX = 240, RGB = 3 };

static size_t cell_bytes(const struct sheet *sheet)
{
	return (size_t)sheet->width * sheet->height * RGB;
}

/* What remains of a side when the longer one becomes CELL_SIDE_MAX. */
static unsigned scaled(unsigned side, unsigned longer)
{
	unsigned small = longer <= CELL_SIDE_MAX ? side : side * CELL_SIDE_MAX / longer;

	return small ? small : 1;
}

int sheet_open(struct sheet *sheet, const struct y4m *format)
{
	unsigned longer = format->width > format->height ? format->width : format->height;

	*sheet = (struct sheet){.format = *format,
		.width = scaled(format->width, longer),
		.height = scaled(format->height, longer)};
	sheet->cells = calloc(SHEET_CELLS, cell_bytes(sheet));
	sheet->picture = calloc(SHEET_CELLS, cell_bytes(sheet));
	return sheet->cells && sheet->picture ? 0 : -ENOMEM;
}

static uint8_t clamped(int value)
{
	return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

/* BT.601, limited range, in 256ths. */
static void to_rgb(int y, int u, int v, uint8_t rgb[RGB])
{
	y = 298 * (y - 16) + 128;
	u -= 128;
	v -= 128;
	rgb[0] = clamped((y + 409 * v) / 256);
	rgb[1] = clamped((y - 100 * u - 208 * v) / 256);
	rgb[2] = clamped((y + 516 * u) / 256);
}

/* The pixel in the middle of what a pixel of the cell stands for. */
static unsigned source(unsigned at, unsigned cell_side, unsigned side)
{
	return (2 * at + 1) * side / (2 * cell_side);
}

void sheet_add(struct sheet *sheet, const uint8_t *samples)
{
	const struct y4m *format = &sheet->format;
	const uint8_t *u = samples + y4m_offset_u(format), *v = samples + y4m_offset_v(format);
	uint8_t *to = sheet->cells + sheet->shown++ % SHEET_CELLS * cell_bytes(sheet);

	for (unsigned row = 0; row < sheet->height; row++) {
		size_t y = source(row, sheet->height, format->height);

		for (unsigned column = 0; column < sheet->width; column++, to += RGB) {
			size_t x = source(column, sheet->width, format->width);
			size_t chroma = y / 2 * y4m_chroma_width(format) + x / 2;

			to_rgb(samples[y * format->width + x], u[chroma], v[chroma], to);
		}
	}
}

static void draw_cell(struct sheet *sheet, unsigned place, const uint8_t *cell)
{
	size_t row_bytes = (size_t)sheet->width * RGB, line_bytes = row_bytes * SHEET_COLUMNS;
	uint8_t *to = sheet->picture + place / SHEET_COLUMNS * sheet->height * line_bytes +
		      place % SHEET_COLUMNS * row_bytes;

	for (unsigned row = 0; row < sheet->height; row++)
		memcpy(to + row * line_bytes, cell + row * row_bytes, row_bytes);
}

const uint8_t *sheet_draw(struct sheet *sheet)
{
	uint64_t oldest = sheet->shown > SHEET_CELLS ? sheet->shown : 0;

	for (unsigned place = 0; place < SHEET_CELLS; place++)
		draw_cell(sheet, place,
			sheet->cells + (oldest + place) % SHEET_CELLS * cell_bytes(sheet));
	return sheet->picture;
}

void sheet_close(struct sheet *sheet)
{
	free(sheet->cells);
	free(sheet->picture);
}
