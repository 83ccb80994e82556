/* SPDX-License-Identifier: MIT */
/* Shows what there is to see now: a contact sheet of the newest frames as a PNG file, made anew every
 * so many frames. Frames that come while it is busy are skipped, and nobody waits for it. */
#define PROGRAM "preview"
#include "sheet.h"
#include "viewer.h"

#include <png.h>

static const char help[] =
	"Usage: preview ADDRESS -o FILE [OPTION]...\n"
	"Connects to the capture at ADDRESS (a path, or fd:N); writes the newest frames that it "
	"saw\n"
	"as a contact sheet in PNG.\n\n"
	"  -o, --output FILE        where to: always a whole file; FILE.part is the next one\n"
	"      --every N            write it after every so many frames, and at the end "
	"[30]\n" VIEWER_HELP_TEXT;

struct preview {
	struct viewer viewer;
	unsigned every;
	char *part; /* the name that the file has until it is whole */
	struct sheet sheet;
	uint64_t written; /* how many files */
};

static void parse_options(struct preview *p, int argc, char **argv)
{
	enum { EVERY = 1 };
	static const struct option options[] = {
		{"every", required_argument, NULL, EVERY}, VIEWER_OPTIONS};
	int option;

	while ((option = getopt_long(argc, argv, "o:", options, NULL)) != -1) {
		if (option == EVERY)
			p->every = cli_number("the number of frames", optarg, 10, 1, UINT32_MAX);
		else
			viewer_option(&p->viewer, option, help);
	}
	viewer_arguments(&p->viewer, argc, argv);
	if (asprintf(&p->part, "%s.part", p->viewer.output) < 0)
		cli_usage("no memory for the name of the file");
}

/* 0; a negative errno. */
static int write_png(struct sheet *sheet, FILE *file)
{
	png_image image = {.version = PNG_IMAGE_VERSION,
		.width = SHEET_COLUMNS * sheet->width,
		.height = SHEET_ROWS * sheet->height,
		.format = PNG_FORMAT_RGB,
		.flags = PNG_IMAGE_FLAG_FAST};

	errno = 0;
	if (png_image_write_to_stdio(&image, file, 0, sheet_draw(sheet), 0, NULL))
		return 0;
	return errno ? -errno : -EIO;
}

/* Whoever looks at the file sees the last sheet or this one, and never a part. */
static int write_sheet(struct preview *p)
{
	FILE *file = fopen(p->part, "we");
	int r = file ? write_png(&p->sheet, file) : -errno;

	if (file && fclose(file) && !r)
		r = -errno;
	if (!r && rename(p->part, p->viewer.output))
		r = -errno;
	if (r < 0)
		return viewer_write_error(&p->viewer, r);
	p->written++;
	return STATUS_OK;
}

static int start_sheet(struct preview *p)
{
	if (!sheet_open(&p->sheet, &p->viewer.frames.format))
		return STATUS_OK;
	cli_say("no memory for the contact sheet");
	return STATUS_FAILED;
}

static int take_frame(struct preview *p, const struct rf_message *message)
{
	int status = viewer_take(&p->viewer, message);

	if (!status && p->viewer.frames.count == 1)
		status = start_sheet(p);
	if (status)
		return status;
	sheet_add(&p->sheet, frame_samples(message));
	return p->sheet.shown % p->every ? STATUS_OK : write_sheet(p);
}

static int stream(struct preview *p)
{
	struct rf_rx *rx = p->viewer.rx;
	struct rf_message message;
	int status = STATUS_OK, r;

	while ((r = rf_rx_borrow(rx, RF_FOREVER, &message, 1)) > 0 &&
		!(status = take_frame(p, &message)))
		rf_rx_release(rx, &message, 1);
	return status ? status : viewer_ended(&p->viewer, r);
}

int main(int argc, char **argv)
{
	static struct preview p = {.every = 30};
	int status, finished = STATUS_OK;

	viewer_init(&p.viewer, RF_LAG_LATEST, RF_START_NEWEST);
	parse_options(&p, argc, argv);
	status = viewer_connect(&p.viewer);
	if (status)
		return status;
	status = stream(&p);
	if (p.sheet.shown % p.every)
		finished = write_sheet(&p);
	viewer_print_frames(&p.viewer);
	cli_say("%" PRIu64 " contact sheets written", p.written);
	viewer_print_channel(&p.viewer);
	viewer_close(&p.viewer);
	sheet_close(&p.sheet);
	free(p.part);
	return status ? status : finished;
}
