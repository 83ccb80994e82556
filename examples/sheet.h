/* SPDX-License-Identifier: MIT */
/* A contact sheet: small pictures of the newest frames, oldest first, in rows. */
#ifndef EXAMPLES_SHEET_H
#define EXAMPLES_SHEET_H

#include "y4m.h"

enum { SHEET_COLUMNS = 4, SHEET_ROWS = 4, SHEET_CELLS = SHEET_COLUMNS * SHEET_ROWS };

/* All zero before it is opened; it can be closed then, too. */
struct sheet {
	struct y4m format;      /* of the frames */
	unsigned width, height; /* of a cell, 240 at most */
	uint64_t shown;         /* frames, so far */
	uint8_t *cells;   /* pictures in RGB; the newest is number (shown - 1) % SHEET_CELLS */
	uint8_t *picture; /* what sheet_draw() made */
};

/* Prepares for frames of this format: cells have their shape. 0; -ENOMEM. */
int sheet_open(struct sheet *sheet, const struct y4m *format);

/* Makes a small picture of a frame and adds it; the oldest one leaves. */
void sheet_add(struct sheet *sheet, const uint8_t *samples);

/* Lays the pictures out. Returns RGB, SHEET_COLUMNS * width by SHEET_ROWS * height, black where
 * there was no frame yet; valid until the next call. */
const uint8_t *sheet_draw(struct sheet *sheet);

void sheet_close(struct sheet *sheet);

#endif
