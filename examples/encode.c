/* SPDX-License-Identifier: MIT */
/* Receives video from a process that need not be trusted and encodes each frame where it lies in
 * the ring.
 *
 * The producer can change the pixels of a frame while they are encoded. That is acceptable here,
 * because pixels are only data: no size, offset or branch that matters is taken from them, so
 * the worst outcome is an ugly picture, which a hostile producer can send anyway. The header is
 * different, it is parsed: so it is copied out of the ring first. */
#define PROGRAM "encode"
#include "cli.h"
#include "ivf.h"
#include "vp8.h"
#include "waits.h"
#include "y4m.h"

#include <fcntl.h>

static const char help[] =
	"Usage: encode ADDRESS -o FILE [OPTION]...\n"
	"Connects to the capture at ADDRESS (a path, or fd:N); writes its video as VP8 in "
	"IVF.\n" VP8_HELP_TEXT "\n"
	"  -o, --output FILE        where to; - is standard output\n"
	"      --raw                write the frames as they are, as Y4M\n"
	"      --bitrate KBIT       of VP8, per second [by the size and rate]\n"
	"      --cpu-used N         0, slow and good, to 16, fast [8]\n" CLI_HELP_TEXT
	"\nSIGINT and SIGTERM end the file in good order. It is whole even if the capture "
	"dies.\n" CLI_STATUS_TEXT;

struct encode {
	struct cli cli;
	const char *address, *output;
	int raw;
	unsigned bitrate, cpu_used;
	struct rf_channel *channel;
	struct rf_rx *rx;
	struct y4m format;
	size_t frame_bytes;
	int fd;
	struct ivf ivf;
	struct vp8 vp8;
	uint64_t frames, start_ns, shown_ns, header_bytes;
	struct waits waits;
};

static void parse_options(struct encode *e, int argc, char **argv)
{
	enum { BITRATE = 1, CPU_USED, RAW };
	static const struct option options[] = {{"output", required_argument, NULL, 'o'},
		{"bitrate", required_argument, NULL, BITRATE},
		{"cpu-used", required_argument, NULL, CPU_USED}, {"raw", no_argument, NULL, RAW},
		CLI_OPTIONS};
	int option;

	while ((option = getopt_long(argc, argv, "o:", options, NULL)) != -1) {
		if (option == 'o')
			e->output = optarg;
		else if (option == BITRATE)
			e->bitrate = cli_number("the bitrate", optarg, 10, 1, 1000000);
		else if (option == CPU_USED)
			e->cpu_used = cli_number("cpu-used", optarg, 10, 0, 16);
		else if (option == RAW)
			e->raw = 1;
		else
			cli_option(&e->cli, option, help);
	}
	if (optind + 1 != argc || !e->output)
		cli_usage("one address and -o are needed");
	e->address = argv[optind];
}

static int channel_error(const struct encode *e, int error)
{
	const char *reason = rf_channel_reason(e->channel);

	if (cli_stopped)
		return STATUS_OK;
	if (error == -EPIPE)
		cli_say("the capture went in mid-stream, after %" PRIu64 " frames: %s", e->frames,
			reason);
	else if (error == -ETIMEDOUT)
		cli_say("the capture sends no header");
	else
		cli_say("the channel failed after %" PRIu64 " frames: %s", e->frames, reason);
	return cli_status(error);
}

static int stream_error(const char *what)
{
	cli_say("the capture breaks the rules of the stream: %s", what);
	return STATUS_BREACH;
}

static int write_error(const struct encode *e, int error)
{
	cli_say("cannot write %s: %s", e->output, strerror(-error));
	return STATUS_FAILED;
}

static int connect_capture(struct encode *e, uint64_t deadline_ns)
{
	int r;

	e->cli.options.max_ring_bytes = e->cli.max_ring_bytes;
	r = rf_connect(e->address, &e->cli.options, deadline_ns, &e->channel);
	if (r < 0) {
		cli_say("cannot connect to %s: %s", e->address, rf_reason());
		return cli_status(r);
	}
	cli_channel = e->channel;
	cli_catch_signals();
	e->rx = rf_channel_rx(e->channel);
	return STATUS_OK;
}

/* Takes the header. A size that does not fit into this ring is refused before anything is
 * allocated for it. */
static int take_header(struct encode *e, uint64_t deadline_ns)
{
	char line[Y4M_LINE_MAX];
	struct rf_message message;
	struct rf_stats stats = {.size = sizeof(stats)};
	const char *wrong;
	int r = rf_rx_copy(e->rx, deadline_ns, line, sizeof(line), &message);

	if (r < 0 && r != -EMSGSIZE)
		return channel_error(e, r);
	if (r <= 0 || message.tag != TAG_HEADER || !message.len || line[message.len - 1] != '\n')
		return stream_error("it does not begin with a header");
	wrong = y4m_parse(line, message.len - 1, &e->format);
	if (wrong)
		return stream_error(wrong);
	rf_channel_stats(e->channel, &stats);
	e->frame_bytes = y4m_frame_bytes(&e->format);
	if (2 * ((uint64_t)e->frame_bytes + 8) > stats.rx.ring_bytes)
		return stream_error("its frames do not fit into the ring");
	e->header_bytes = stats.rx.bytes_copied;
	return STATUS_OK;
}

static int codec_error(const char *wrong)
{
	cli_say("VP8: %s", wrong);
	return STATUS_FAILED;
}

/* Encodes a frame where it lies. */
static int encode_frame(struct encode *e, const void *data)
{
	const char *wrong = vp8_encode(&e->vp8, data, e->frames);
	const void *packet;
	size_t len = 0;
	int r = 0;

	if (wrong)
		return codec_error(wrong);
	while (!r && (packet = vp8_packet(&e->vp8, &len)))
		r = ivf_frame(&e->ivf, packet, len, e->frames);
	return r < 0 ? write_error(e, r) : STATUS_OK;
}

static int raw_frame(struct encode *e, const struct rf_message *message)
{
	int r = y4m_write(e->fd, "FRAME\n", 6);

	if (!r)
		r = y4m_write(e->fd, message->data, message->len);
	return r < 0 ? write_error(e, r) : STATUS_OK;
}

static int open_output(struct encode *e)
{
	const struct y4m *format = &e->format;
	char line[Y4M_LINE_MAX];
	int r;

	e->fd = STDOUT_FILENO;
	if (strcmp(e->output, "-"))
		e->fd = open(e->output, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (e->fd < 0)
		r = -errno;
	else if (e->raw)
		r = y4m_write(e->fd, line, y4m_format(format, line));
	else
		r = ivf_start(&e->ivf, e->fd, format->width, format->height, format->rate_num,
			format->rate_den);
	return r < 0 ? write_error(e, r) : STATUS_OK;
}

static int start_output(struct encode *e)
{
	const char *wrong = NULL;

	if (!e->raw)
		wrong = vp8_open(&e->vp8, &e->format, e->bitrate, e->cpu_used);
	return wrong ? codec_error(wrong) : open_output(e);
}

/* Makes what was written a whole file. */
static int finish_output(struct encode *e)
{
	int r = 0;

	if (e->fd < 0)
		return STATUS_OK;
	if (!e->raw)
		r = ivf_finish(&e->ivf);
	if (close(e->fd) && !r)
		r = -errno;
	return r < 0 ? write_error(e, r) : STATUS_OK;
}

static int write_frame(struct encode *e, const struct rf_message *message)
{
	if (message->tag != TAG_FRAME || message->len != e->frame_bytes)
		return stream_error("a record is not a frame of the size in the header");
	return e->raw ? raw_frame(e, message) : encode_frame(e, message->data);
}

static void show_progress(struct encode *e, uint64_t now_ns)
{
	if (!isatty(STDERR_FILENO) || now_ns - e->shown_ns < 200000000)
		return;
	e->shown_ns = now_ns;
	fprintf(stderr, "%" PRIu64 " frames, %.1f s\r", e->frames,
		(double)(now_ns - e->start_ns) / 1e9);
}

/* Takes the frames one at a time. They are given back as soon as they are encoded: libvpx keeps
 * none. */
static int stream(struct encode *e)
{
	struct rf_message message;
	int status, r;

	for (;;) {
		uint64_t before_ns = cli_now_ns(), now_ns;

		r = rf_rx_borrow(e->rx, RF_FOREVER, &message, 1);
		if (r <= 0)
			return r < 0 ? channel_error(e, r) : STATUS_OK;
		now_ns = cli_now_ns();
		waits_add(&e->waits, now_ns - before_ns);
		if (e->frames == 0)
			e->start_ns = now_ns;
		status = write_frame(e, &message);
		if (status)
			return status;
		e->frames++;
		rf_rx_release(e->rx, &message, 1);
		show_progress(e, now_ns);
	}
}

static void print_summary(const struct encode *e)
{
	struct rf_stats stats = {.size = sizeof(stats)};
	double seconds = e->frames ? (double)(cli_now_ns() - e->start_ns) / 1e9 : 0;

	rf_channel_stats(e->channel, &stats);
	cli_say("%" PRIu64 " frames of %ux%u in %.2f s (%.1f fps)%s", e->frames, e->format.width,
		e->format.height, seconds, seconds > 0 ? (double)e->frames / seconds : 0,
		cli_stopped ? ", stopped" : "");
	cli_say("waits for a frame: p50 %.1f us, p99 %.1f us, max %.1f us",
		(double)waits_percentile_ns(&e->waits, 50) / 1e3,
		(double)waits_percentile_ns(&e->waits, 99) / 1e3, (double)e->waits.max_ns / 1e3);
	cli_say("doorbell %s, %" PRIu64 " kicks, %" PRIu64 " sleeps",
		stats.doorbell == RF_DOORBELL_EVENTFD ? "eventfd" : "socket", stats.rx.kicks,
		stats.rx.sleeps);
	cli_say("bytes copied by ringfort: %" PRIu64 " (of %" PRIu64 ", the header apart)",
		stats.rx.bytes_copied - e->header_bytes, stats.rx.bytes - e->header_bytes);
}

static int run(struct encode *e)
{
	uint64_t deadline_ns = cli_deadline_ns(&e->cli);
	int status = connect_capture(e, deadline_ns);

	if (!status)
		status = take_header(e, deadline_ns);
	if (!status)
		status = start_output(e);
	if (status || cli_stopped)
		return status;
	status = stream(e);
	print_summary(e);
	return status;
}

int main(int argc, char **argv)
{
	static struct encode e = {.fd = -1, .cpu_used = 8};
	int status, finished;

	cli_init(&e.cli, RF_RECEIVE, 10);
	parse_options(&e, argc, argv);
	status = run(&e);
	finished = finish_output(&e);
	vp8_close(&e.vp8);
	cli_channel = NULL;
	rf_channel_close(e.channel);
	return status ? status : finished;
}
