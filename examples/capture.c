/* SPDX-License-Identifier: MIT */
/* Sends video to a process that need not be trusted: each frame is read, or drawn, straight into
 * the ring. */
#define PROGRAM "capture"
#include "cli.h"
#include "y4m.h"

#include <fcntl.h>

static const char help[] =
	"Usage: capture ADDRESS [-i FILE | --size WxH] [OPTION]...\n"
	"Listens at ADDRESS (a path, or fd:N) and sends video to the one encoder that connects.\n\n"
	"  -i, --input FILE         Y4M video, 4:2:0 in 8 bits; - is standard input\n"
	"      --size WxH           without -i: the size of a moving test pattern [640x360]\n"
	"      --rate N[/D]         without -i: its frames per second [30]\n"
	"      --frames N           end after so many frames; 0: at the end, or on a signal [0]\n"
	"      --fast               do not keep to the frame rate\n"
	"      --mode MODE          permissions of the socket file, in octal\n" CLI_HELP_TEXT
	"\nSIGINT and SIGTERM end the stream in good order.\n" CLI_STATUS_TEXT;

struct capture {
	struct cli cli;
	const char *address, *input;
	unsigned frames;
	int fast;
	struct y4m format;
	size_t frame_bytes;
	int fd; /* of the input; -1: the test pattern */
	struct rf_channel *channel;
	struct rf_tx *tx;
	uint64_t sent, start_ns;
};

/* What send_frame() returns when more frames are to follow; otherwise it is the exit status. */
enum { STATUS_MORE = -1 };

static void parse_pattern(struct capture *c, const char *size, const char *rate)
{
	char line[Y4M_LINE_MAX];
	const char *wrong, *x = strchr(size, 'x'), *slash = strchr(rate, '/');
	int n = snprintf(line, sizeof(line), "YUV4MPEG2 W%.*s H%s F%.*s:%s Ip A1:1",
		x ? (int)(x - size) : 0, size, x ? x + 1 : "",
		slash ? (int)(slash - rate) : (int)strlen(rate), rate, slash ? slash + 1 : "1");

	if (!x || n < 0 || (size_t)n >= sizeof(line) || strchr(size, ' ') || strchr(rate, ' '))
		cli_usage("the size must be WxH, the rate N or N/D: '%s', '%s'", size, rate);
	wrong = y4m_parse(line, (size_t)n, &c->format);
	if (wrong)
		cli_usage("%s", wrong);
}

static void parse_options(struct capture *c, int argc, char **argv)
{
	enum { FAST = 1, FRAMES, MODE, RATE, SIZE };
	static const struct option options[] = {{"input", required_argument, NULL, 'i'},
		{"fast", no_argument, NULL, FAST}, {"frames", required_argument, NULL, FRAMES},
		{"mode", required_argument, NULL, MODE}, {"rate", required_argument, NULL, RATE},
		{"size", required_argument, NULL, SIZE}, CLI_OPTIONS};
	const char *size = NULL, *rate = NULL;
	int option;

	while ((option = getopt_long(argc, argv, "i:", options, NULL)) != -1) {
		if (option == 'i')
			c->input = optarg;
		else if (option == FAST)
			c->fast = 1;
		else if (option == FRAMES)
			c->frames = cli_number("the number of frames", optarg, 10, 0, UINT32_MAX);
		else if (option == MODE)
			c->cli.options.mode = cli_number("the mode", optarg, 8, 1, 0777);
		else if (option == RATE)
			rate = optarg;
		else if (option == SIZE)
			size = optarg;
		else
			cli_option(&c->cli, option, help);
	}
	if (optind + 1 != argc)
		cli_usage("one address is needed");
	c->address = argv[optind];
	if (c->input && (size || rate))
		cli_usage("the size and rate of an input are what its header says");
	if (!c->input)
		parse_pattern(c, size ? size : "640x360", rate ? rate : "30");
}

/* Opens the input and reads its header, from which the size of the ring follows. */
static int open_input(struct capture *c)
{
	char line[Y4M_LINE_MAX];
	const char *wrong;
	int n;

	c->fd = -1;
	if (!c->input)
		return STATUS_OK;
	c->fd = strcmp(c->input, "-") ? open(c->input, O_RDONLY | O_CLOEXEC) : STDIN_FILENO;
	n = c->fd < 0 ? -errno : y4m_read_header(c->fd, line);
	if (n < 0 && n != -EBADMSG && n != -ENODATA) {
		cli_say("cannot read %s: %s", c->input, strerror(-n));
		return STATUS_FAILED;
	}
	wrong = n < 0 ? "not a Y4M stream" : y4m_parse(line, (size_t)n, &c->format);
	if (!wrong)
		return STATUS_OK;
	cli_say("cannot use %s: %s", c->input, wrong);
	return STATUS_FAILED;
}

/* Asks for room for four frames, or two if four are beyond the limit: a record fills at most
 * half the ring. */
static int choose_ring(struct capture *c)
{
	struct rf_options *options = &c->cli.options;
	uint64_t record = 8 + (uint64_t)c->frame_bytes + 7;

	options->max_ring_bytes = c->cli.max_ring_bytes;
	options->ring_bytes = 65536;
	while (options->ring_bytes < 4 * record && options->ring_bytes < options->max_ring_bytes)
		options->ring_bytes *= 2;
	if (2 * record <= options->ring_bytes)
		return STATUS_OK;
	cli_say("a frame of %ux%u needs a larger ring (--max-ring)", c->format.width,
		c->format.height);
	return STATUS_FAILED;
}

static int accept_encoder(struct capture *c)
{
	struct rf_listener *listener;
	const char *refused;
	int r = rf_listen(c->address, &c->cli.options, &listener);

	if (r < 0) {
		cli_say("cannot listen at %s: %s", c->address, rf_reason());
		return cli_status(r);
	}
	cli_listener = listener;
	cli_catch_signals();
	r = rf_accept(listener, cli_deadline_ns(&c->cli), &c->channel);
	cli_listener = NULL;
	cli_channel = c->channel;
	refused = rf_listener_reason(listener);
	if (r < 0)
		cli_say("no encoder: %s%s%s", cli_stopped ? "stopped" : rf_reason(),
			*refused ? "; the last one was turned away: " : "", refused);
	rf_listener_close(listener);
	if (r < 0)
		return cli_stopped ? STATUS_OK : cli_status(r);
	c->tx = rf_channel_tx(c->channel);
	return STATUS_MORE;
}

static int channel_error(const struct capture *c, int error)
{
	const char *reason = rf_channel_reason(c->channel);

	if (cli_stopped)
		return STATUS_OK;
	if (error == -EPIPE)
		cli_say("the encoder went in mid-stream, after %" PRIu64 " frames: %s", c->sent,
			reason);
	else
		cli_say("the channel failed after %" PRIu64 " frames: %s", c->sent, reason);
	return cli_status(error);
}

static int input_error(const struct capture *c, int error)
{
	if (cli_stopped)
		return STATUS_OK;
	if (error == -ENODATA)
		cli_say("%s ends within frame %" PRIu64, c->input, c->sent + 1);
	else if (error == -EBADMSG)
		cli_say("%s has no frame %" PRIu64 " where it should begin", c->input, c->sent + 1);
	else
		cli_say("cannot read %s: %s", c->input, strerror(-error));
	return STATUS_FAILED;
}

static int send_buffer(struct capture *c, const struct rf_buffer *buffer)
{
	int r = rf_tx_commit(c->tx, buffer);

	if (!r)
		r = rf_tx_publish(c->tx);
	return r < 0 ? channel_error(c, r) : STATUS_MORE;
}

static int send_header(struct capture *c)
{
	struct rf_buffer buffer;
	int r = rf_tx_reserve(c->tx, Y4M_LINE_MAX, RF_FOREVER, &buffer);

	if (r < 0)
		return channel_error(c, r);
	buffer.len = y4m_format(&c->format, buffer.data);
	buffer.tag = TAG_HEADER;
	return send_buffer(c, &buffer);
}

/* Waits until the next frame is due. The schedule is absolute: a late frame does not delay those
 * after it. */
static void pace(struct capture *c)
{
	uint64_t due_ns;
	struct timespec due;

	if (c->sent == 0)
		c->start_ns = cli_now_ns();
	due_ns = c->start_ns + y4m_due_ns(&c->format, c->sent);
	due.tv_sec = (time_t)(due_ns / 1000000000);
	due.tv_nsec = (long)(due_ns % 1000000000);
	while (!c->fast && !cli_stopped &&
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL) == EINTR)
		;
}

static int send_frame(struct capture *c)
{
	struct rf_buffer buffer;
	int r = c->fd < 0 ? 1 : y4m_read_marker(c->fd);

	if (r <= 0)
		return r < 0 ? input_error(c, r) : STATUS_OK;
	r = rf_tx_reserve(c->tx, c->frame_bytes, RF_FOREVER, &buffer);
	if (r < 0)
		return channel_error(c, r);
	if (c->fd < 0)
		y4m_pattern(&c->format, c->sent, buffer.data);
	else
		r = y4m_read_samples(c->fd, buffer.data, buffer.len);
	if (r < 0)
		return input_error(c, r);
	pace(c);
	if (cli_stopped)
		return STATUS_OK;
	buffer.tag = TAG_FRAME;
	r = send_buffer(c, &buffer);
	if (r == STATUS_MORE)
		c->sent++;
	return r;
}

static int stream(struct capture *c)
{
	int status = send_header(c);

	while (status == STATUS_MORE && !cli_stopped && (!c->frames || c->sent < c->frames))
		status = send_frame(c);
	rf_tx_end(c->tx); /* cancels a reservation whose frame did not come */
	return status == STATUS_MORE ? STATUS_OK : status;
}

static void print_summary(const struct capture *c)
{
	struct rf_stats stats = {.size = sizeof(stats)};

	rf_channel_stats(c->channel, &stats);
	cli_say("%" PRIu64 " frames of %ux%u sent%s; %" PRIu64 " kicks, %" PRIu64
		" sleeps, bytes copied by ringfort: %" PRIu64,
		c->sent, c->format.width, c->format.height, cli_stopped ? " until stopped" : "",
		stats.tx.kicks, stats.tx.sleeps, stats.tx.bytes_copied);
}

int main(int argc, char **argv)
{
	struct capture c = {0};
	int status;

	cli_init(&c.cli, RF_SEND, 0);
	parse_options(&c, argc, argv);
	status = open_input(&c);
	if (status)
		return status;
	c.frame_bytes = y4m_frame_bytes(&c.format);
	status = choose_ring(&c);
	if (status)
		return status;
	status = accept_encoder(&c);
	if (status != STATUS_MORE)
		return status;
	status = stream(&c);
	print_summary(&c);
	cli_channel = NULL;
	rf_channel_close(c.channel);
	return status;
}
