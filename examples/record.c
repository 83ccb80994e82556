/* SPDX-License-Identifier: MIT */
/* Records video as it is, from the oldest frame that is still there. It would rather be cut off than
 * hold up the capture, and a recording with gaps is told from a whole one.
 *
 * Once it is cut off, the capture may write over the frame that it has. So a frame counts when it is
 * known, after it was written to the file, that it was still ours. */
#define PROGRAM "record"
#include "viewer.h"

static const char help[] =
	"Usage: record ADDRESS -o FILE [OPTION]...\n"
	"Connects to the capture at ADDRESS (a path, or fd:N); writes its video as Y4M.\n\n"
	"  -o, --output FILE        where to; - is standard output\n"
	"      --newest             begin with the newest frame, not with the oldest that is "
	"there:\n"
	"                           so all that it may hold is room for what "
	"comes\n" VIEWER_HELP_TEXT;

struct record {
	struct viewer viewer;
	uint64_t whole; /* frames that are known to be as they were sent */
	off_t end;      /* of them in the file; -1: it has no positions */
};

static void parse_options(struct viewer *v, int argc, char **argv)
{
	enum { NEWEST = 1 };
	static const struct option options[] = {
		{"newest", no_argument, NULL, NEWEST}, VIEWER_OPTIONS};
	int option;

	while ((option = getopt_long(argc, argv, "o:", options, NULL)) != -1) {
		if (option == NEWEST)
			v->cli.options.start = RF_START_NEWEST;
		else
			viewer_option(v, option, help);
	}
	viewer_arguments(v, argc, argv);
}

static int open_output(struct record *r)
{
	int status = viewer_open_y4m(&r->viewer);

	r->end = lseek(r->viewer.fd, 0, SEEK_CUR);
	return status;
}

static int take_frame(struct record *r, const struct rf_message *message)
{
	struct viewer *v = &r->viewer;
	int status = viewer_take(v, message);

	if (!status && v->frames.count == 1)
		status = open_output(r);
	if (!status)
		status = viewer_write_y4m(v, message);
	if (!status && !rf_channel_process(v->channel)) {
		r->whole = v->frames.count;
		r->end = lseek(v->fd, 0, SEEK_CUR);
	}
	return status;
}

static int stream(struct record *r)
{
	struct viewer *v = &r->viewer;
	struct rf_message message;
	int status = STATUS_OK, n;

	while ((n = rf_rx_borrow(v->rx, RF_FOREVER, &message, 1)) > 0 &&
		!(status = take_frame(r, &message)))
		rf_rx_release(v->rx, &message, 1);
	if (n == 0)
		r->whole = v->frames.count;
	return status ? status : viewer_ended(v, n);
}

/* Takes the frames out of the file that are not known to be whole. */
static int cut_back(const struct record *r)
{
	const struct viewer *v = &r->viewer;

	if (v->fd < 0 || r->whole == v->frames.count)
		return STATUS_OK;
	cli_say("the last of the frames may have been written over: %" PRIu64 " are %s",
		v->frames.count - r->whole, r->end < 0 ? "in doubt" : "left out");
	if (r->end >= 0 && ftruncate(v->fd, r->end))
		return viewer_write_error(v, -errno);
	return STATUS_OK;
}

static int finish(struct record *r)
{
	int status = cut_back(r), closed = viewer_close_output(&r->viewer);

	return status ? status : closed;
}

/* Those that were missed after the last frame count, too. */
static int complain(const struct viewer *v)
{
	struct rf_stats stats = {.size = sizeof(stats)};

	rf_channel_stats(v->channel, &stats);
	if (!stats.rx.missed)
		return STATUS_OK;
	cli_say("the recording has gaps: %" PRIu64 " frames are missing", stats.rx.missed);
	return STATUS_MISSED;
}

int main(int argc, char **argv)
{
	static struct record r;
	struct viewer *v = &r.viewer;
	int status, finished;

	viewer_init(v, RF_LAG_DISCONNECT, RF_START_OLDEST);
	parse_options(v, argc, argv);
	status = viewer_connect(v);
	if (status)
		return status;
	status = stream(&r);
	viewer_print_frames(v);
	viewer_print_channel(v);
	finished = finish(&r);
	if (!status)
		status = finished;
	if (!status)
		status = complain(v);
	viewer_close(v);
	return status;
}
