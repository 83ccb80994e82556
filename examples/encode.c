/* SPDX-License-Identifier: MIT */
/* Receives video from a process that need not be trusted and encodes each frame where it lies in
 * its slot. It must have every frame, so it asks the capture to wait for it.
 *
 * The producer can change the pixels of a frame while they are encoded. That is acceptable here,
 * because pixels are only data: no size, offset or branch that matters is taken from them, so
 * the worst outcome is an ugly picture, which a hostile producer can send anyway. The header is
 * different, it is parsed: so it is copied out of the slot first (frame.h). */
#define PROGRAM "encode"
#include "ivf.h"
#include "viewer.h"
#include "vp8.h"
#include "waits.h"

static const char help[] =
	"Usage: encode ADDRESS -o FILE [OPTION]...\n"
	"Connects to the capture at ADDRESS (a path, or fd:N); writes its video as VP8 in "
	"IVF.\n" VP8_HELP_TEXT "\n"
	"  -o, --output FILE        where to; - is standard output\n"
	"      --raw                write the frames as they are, as Y4M\n"
	"      --bitrate KBIT       of VP8, per second [by the size and rate]\n"
	"      --cpu-used N         0, slow and good, to 16, fast [8]\n" VIEWER_HELP_TEXT;

struct encode {
	struct viewer viewer;
	int raw;
	unsigned bitrate, cpu_used;
	struct ivf ivf;
	struct vp8 vp8;
	uint64_t waiting_ns; /* since when */
	struct waits waits;
};

static void parse_options(struct encode *e, int argc, char **argv)
{
	enum { BITRATE = 1, CPU_USED, RAW };
	static const struct option options[] = {{"bitrate", required_argument, NULL, BITRATE},
		{"cpu-used", required_argument, NULL, CPU_USED}, {"raw", no_argument, NULL, RAW},
		VIEWER_OPTIONS};
	int option;

	while ((option = getopt_long(argc, argv, "o:", options, NULL)) != -1) {
		if (option == BITRATE)
			e->bitrate = cli_number("the bitrate", optarg, 10, 1, 1000000);
		else if (option == CPU_USED)
			e->cpu_used = cli_number("cpu-used", optarg, 10, 0, 16);
		else if (option == RAW)
			e->raw = 1;
		else
			viewer_option(&e->viewer, option, help);
	}
	viewer_arguments(&e->viewer, argc, argv);
}

static int codec_error(const char *wrong)
{
	cli_say("VP8: %s", wrong);
	return STATUS_FAILED;
}

/* The format is known with the first frame. */
static int start_ivf(struct encode *e)
{
	const struct y4m *format = &e->viewer.frames.format;
	const char *wrong = vp8_open(&e->vp8, format, e->bitrate, e->cpu_used);
	int status = wrong ? codec_error(wrong) : viewer_open_output(&e->viewer);
	int r = status ? 0
		       : ivf_start(&e->ivf, e->viewer.fd, format->width, format->height,
				 format->rate_num, format->rate_den);

	return r < 0 ? viewer_write_error(&e->viewer, r) : status;
}

/* Encodes a frame where it lies. */
static int encode_frame(struct encode *e, const struct rf_message *message)
{
	uint64_t index = e->viewer.frames.count - 1;
	const char *wrong = vp8_encode(&e->vp8, frame_samples(message), index);
	const void *packet;
	size_t len = 0;
	int r = 0;

	if (wrong)
		return codec_error(wrong);
	while (!r && (packet = vp8_packet(&e->vp8, &len)))
		r = ivf_frame(&e->ivf, packet, len, index);
	return r < 0 ? viewer_write_error(&e->viewer, r) : STATUS_OK;
}

static int take_frame(struct encode *e, const struct rf_message *message)
{
	struct viewer *v = &e->viewer;
	int status;

	waits_add(&e->waits, cli_now_ns() - e->waiting_ns);
	status = viewer_take(v, message);
	if (!status && v->frames.count == 1)
		status = e->raw ? viewer_open_y4m(v) : start_ivf(e);
	if (!status)
		status = e->raw ? viewer_write_y4m(v, message) : encode_frame(e, message);
	e->waiting_ns = cli_now_ns();
	return status;
}

/* Takes the frames one at a time. They are given back as soon as they are encoded: libvpx keeps
 * none. */
static int stream(struct encode *e)
{
	struct rf_rx *rx = e->viewer.rx;
	struct rf_message message;
	int status = STATUS_OK, r;

	e->waiting_ns = cli_now_ns();
	while ((r = rf_rx_borrow(rx, RF_FOREVER, &message, 1)) > 0 &&
		!(status = take_frame(e, &message)))
		rf_rx_release(rx, &message, 1);
	return status ? status : viewer_ended(&e->viewer, r);
}

/* Makes what was written a whole file. */
static int finish(struct encode *e)
{
	int r = e->raw || e->viewer.fd < 0 ? 0 : ivf_finish(&e->ivf);
	int status = r < 0 ? viewer_write_error(&e->viewer, r) : STATUS_OK;
	int closed = viewer_close_output(&e->viewer);

	vp8_close(&e->vp8);
	return status ? status : closed;
}

static void print_summary(const struct encode *e)
{
	viewer_print_frames(&e->viewer);
	cli_say("waits for a frame: p50 %.1f us, p99 %.1f us, max %.1f us",
		(double)waits_percentile_ns(&e->waits, 50) / 1e3,
		(double)waits_percentile_ns(&e->waits, 99) / 1e3, (double)e->waits.max_ns / 1e3);
	viewer_print_channel(&e->viewer);
}

int main(int argc, char **argv)
{
	static struct encode e = {.cpu_used = 8};
	int status, finished;

	viewer_init(&e.viewer, RF_LAG_BLOCK, RF_START_OLDEST);
	parse_options(&e, argc, argv);
	status = viewer_connect(&e.viewer);
	if (status)
		return status;
	status = stream(&e);
	print_summary(&e);
	finished = finish(&e);
	viewer_close(&e.viewer);
	return status ? status : finished;
}
