/* SPDX-License-Identifier: MIT */
/* What encode, preview and record have in common: each subscribes to a capture that it need not
 * trust, and makes a file of the frames. Define PROGRAM before including this. */
#ifndef EXAMPLES_VIEWER_H
#define EXAMPLES_VIEWER_H

#include "cli.h"
#include "frame.h"

#include <fcntl.h>

struct viewer {
	struct cli cli;
	const char *address, *output;
	int fd; /* of the output; -1: not open */
	struct rf_channel *channel;
	struct rf_rx *rx;
	struct frames frames;
	uint64_t start_ns, shown_ns;
};

enum { VIEWER_HOLD = 500 };

#define VIEWER_OPTIONS                                                                             \
	{"output", required_argument, NULL, 'o'}, {"hold", required_argument, NULL, VIEWER_HOLD},  \
		CLI_OPTIONS

#define VIEWER_HELP_TEXT                                                                           \
	"      --hold N             ask for so many frames at a time [what the capture "           \
	"grants]\n" CLI_HELP_TEXT                                                                  \
	"\nSIGINT and SIGTERM end the file in good order. It is whole even if the capture "        \
	"dies.\n" CLI_STATUS_TEXT

/* lag: what happens when we are too slow; start: with which frame we begin. */
static inline void viewer_init(struct viewer *v, enum rf_lag lag, enum rf_start start)
{
	cli_init(&v->cli, RF_RECEIVE, 10);
	v->cli.options.lag = lag;
	v->cli.options.start = start;
	v->fd = -1;
}

/* Takes one of VIEWER_OPTIONS. */
static inline void viewer_option(struct viewer *v, int option, const char *help)
{
	if (option == 'o')
		v->output = optarg;
	else if (option == VIEWER_HOLD)
		v->cli.options.hold = cli_number("hold", optarg, 10, 1, RF_SLOTS_MAX);
	else
		cli_option(&v->cli, option, help);
}

/* Takes what stands behind the options. */
static inline void viewer_arguments(struct viewer *v, int argc, char **argv)
{
	if (optind + 1 != argc || !v->output)
		cli_usage("one address and -o are needed");
	v->address = argv[optind];
}

static inline int viewer_connect(struct viewer *v)
{
	int r = rf_connect(v->address, cli_options(&v->cli), cli_deadline_ns(&v->cli), &v->channel);

	if (r < 0) {
		cli_say("cannot connect to %s: %s", v->address, rf_reason());
		return cli_status(r);
	}
	cli_channel = v->channel;
	cli_catch_signals();
	v->rx = rf_channel_rx(v->channel);
	return STATUS_OK;
}

static inline int viewer_write_error(const struct viewer *v, int error)
{
	cli_say("cannot write %s: %s", v->output, strerror(-error));
	return STATUS_FAILED;
}

/* Opens the output for writing; - is standard output. */
static inline int viewer_open_output(struct viewer *v)
{
	v->fd = STDOUT_FILENO;
	if (strcmp(v->output, "-"))
		v->fd = open(v->output, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	return v->fd < 0 ? viewer_write_error(v, -errno) : STATUS_OK;
}

/* The same, and writes the header of Y4M. */
static inline int viewer_open_y4m(struct viewer *v)
{
	int status = viewer_open_output(v);
	int r = status ? 0 : y4m_write_header(v->fd, &v->frames.format);

	return r < 0 ? viewer_write_error(v, r) : status;
}

static inline int viewer_write_y4m(const struct viewer *v, const struct rf_message *message)
{
	int r = y4m_write_frame(v->fd, frame_samples(message), y4m_frame_bytes(&v->frames.format));

	return r < 0 ? viewer_write_error(v, r) : STATUS_OK;
}

static inline int viewer_close_output(struct viewer *v)
{
	int r = v->fd < 0 ? 0 : close(v->fd);

	v->fd = -1;
	return r < 0 ? viewer_write_error(v, -errno) : STATUS_OK;
}

static inline void viewer_show_progress(struct viewer *v)
{
	uint64_t now_ns = cli_now_ns();

	if (v->frames.count == 1)
		v->start_ns = now_ns;
	if (!isatty(STDERR_FILENO) || now_ns - v->shown_ns < 200000000)
		return;
	v->shown_ns = now_ns;
	fprintf(stderr, "%" PRIu64 " frames, %.1f s\r", v->frames.count,
		(double)(now_ns - v->start_ns) / 1e9);
}

/* Checks a message that was borrowed and counts it. */
static inline int viewer_take(struct viewer *v, const struct rf_message *message)
{
	const char *wrong = frames_take(&v->frames, message);

	if (wrong) {
		cli_say("the capture breaks the rules of the stream: %s", wrong);
		return STATUS_BREACH;
	}
	viewer_show_progress(v);
	return STATUS_OK;
}

/* The status, when rf_rx_borrow() had this to say instead of a frame. */
static inline int viewer_ended(const struct viewer *v, int r)
{
	const char *reason = rf_channel_reason(v->channel);

	if (r == 0 || cli_stopped)
		return STATUS_OK;
	if (r == -EPIPE)
		cli_say("the stream broke off after %" PRIu64 " frames: %s", v->frames.count,
			reason);
	else
		cli_say("the channel failed after %" PRIu64 " frames: %s", v->frames.count, reason);
	return cli_status(r);
}

static inline void viewer_print_frames(const struct viewer *v)
{
	const struct frames *frames = &v->frames;
	double seconds = (double)(cli_now_ns() - v->start_ns) / 1e9;

	if (!frames->count) {
		cli_say("no frame came%s", cli_stopped ? ", stopped" : "");
		return;
	}
	cli_say("%" PRIu64 " frames of %ux%u in %.2f s (%.1f fps)%s", frames->count,
		frames->format.width, frames->format.height, seconds,
		seconds > 0 ? (double)frames->count / seconds : 0, cli_stopped ? ", stopped" : "");
	cli_say("frame %" PRIu64 " to frame %" PRIu64 ", %" PRIu64 " missed", frames->first,
		frames->last, frames->missed);
}

static inline void viewer_print_channel(const struct viewer *v)
{
	struct rf_stats stats = {.size = sizeof(stats)};

	rf_channel_stats(v->channel, &stats);
	cli_say("doorbell %s, %" PRIu64 " kicks, %" PRIu64 " sleeps",
		stats.doorbell == RF_DOORBELL_EVENTFD ? "eventfd" : "socket", stats.rx.kicks,
		stats.rx.sleeps);
	cli_say("bytes copied by ringfort: %" PRIu64 " (of %" PRIu64 ")", stats.rx.bytes_copied,
		stats.rx.bytes);
}

static inline void viewer_close(struct viewer *v)
{
	cli_channel = NULL;
	rf_channel_close(v->channel);
}

#endif
