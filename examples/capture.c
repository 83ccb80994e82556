/* SPDX-License-Identifier: MIT */
/* Publishes video to processes that need not be trusted: each frame is read, or drawn, straight into
 * its slot, once, however many watch. */
#define PROGRAM "capture"
#include "cli.h"
#include "frame.h"

#include <fcntl.h>
#include <poll.h>

static const char help[] =
	"Usage: capture ADDRESS [-i FILE | --size WxH] [OPTION]...\n"
	"Publishes video at ADDRESS (a path, or fd:listen) to encode, preview and record.\n\n"
	"  -i, --input FILE         Y4M video, 4:2:0 in 8 bits; - is standard input\n"
	"      --size WxH           without -i: the size of a moving test pattern [640x360]\n"
	"      --rate N[/D]         without -i: its frames per second [30]\n"
	"      --frames N           end after so many frames; 0: at the end, or on a signal [0]\n"
	"      --fast               do not keep to the frame rate\n"
	"      --slots N            how many frames there is room for, 4 to 65536 [16, or what "
	"fits]\n"
	"      --wait-for N         begin when there are so many subscribers [1]\n"
	"      --block-uid UID      admit this user, too, and wait for it when it asks for that\n"
	"                           (repeatable; our own user and root may ask anyway)\n"
	"      --renew              when a subscriber of another user has gone, publish in new "
	"memory\n"
	"      --mode MODE          permissions of the socket file, in octal\n" CLI_HELP_TEXT
	"\nSIGINT and SIGTERM end the stream in good order.\n" CLI_STATUS_TEXT;

enum { SLOTS_DEFAULT = 16, SLOTS_LEAST = 4, SLOT_ALIGN = 64 };

struct capture {
	struct cli cli;
	struct cli_users block;
	const char *address, *input;
	unsigned frames;
	int fast;
	struct y4m format;
	char header[FRAME_HEADER_BYTES];
	int fd; /* of the input; -1: the test pattern */
	struct rf_publisher *publisher;
	struct rf_tx *tx;
	uint64_t deadline_ns; /* for the first frame to find its subscribers */
	uint64_t sent, start_ns;
};

/* What send_frame() returns when more frames are to follow; otherwise it is the exit status. */
enum { STATUS_MORE = -1 };

enum { FAST = 1, FRAMES, MODE, RATE, SIZE, SLOTS, WAIT_FOR, BLOCK_UID, RENEW };

static void describe_pattern(struct capture *c, const char *size, const char *rate)
{
	const char *wrong = y4m_describe(size, rate, &c->format);

	if (wrong)
		cli_usage("%s: '%s', '%s'", wrong, size, rate);
}

static void take_option(struct capture *c, int option)
{
	struct rf_options *options = &c->cli.options;

	switch (option) {
	case FRAMES:
		c->frames = cli_number("the number of frames", optarg, 10, 0, UINT32_MAX);
		return;
	case MODE:
		options->mode = cli_number("the mode", optarg, 8, 1, 0777);
		return;
	case SLOTS:
		options->slots = cli_number("slots", optarg, 10, SLOTS_LEAST, RF_SLOTS_MAX);
		return;
	case WAIT_FOR:
		options->wait_for = cli_number("the subscribers", optarg, 10, 0, UINT32_MAX);
		return;
	case BLOCK_UID:
		cli_add_user(&c->cli.admitted, optarg);
		cli_add_user(&c->block, optarg);
		return;
	case RENEW:
		options->flags |= RF_OPTION_RENEW;
		return;
	default:
		cli_option(&c->cli, option, help);
	}
}

static void parse_options(struct capture *c, int argc, char **argv)
{
	static const struct option options[] = {{"input", required_argument, NULL, 'i'},
		{"fast", no_argument, NULL, FAST}, {"frames", required_argument, NULL, FRAMES},
		{"mode", required_argument, NULL, MODE}, {"rate", required_argument, NULL, RATE},
		{"size", required_argument, NULL, SIZE}, {"slots", required_argument, NULL, SLOTS},
		{"wait-for", required_argument, NULL, WAIT_FOR},
		{"block-uid", required_argument, NULL, BLOCK_UID},
		{"renew", no_argument, NULL, RENEW}, CLI_OPTIONS};
	const char *size = NULL, *rate = NULL;
	int option;

	while ((option = getopt_long(argc, argv, "i:", options, NULL)) != -1) {
		if (option == 'i')
			c->input = optarg;
		else if (option == FAST)
			c->fast = 1;
		else if (option == RATE)
			rate = optarg;
		else if (option == SIZE)
			size = optarg;
		else
			take_option(c, option);
	}
	if (optind + 1 != argc)
		cli_usage("one address is needed");
	c->address = argv[optind];
	if (c->input && (size || rate))
		cli_usage("the size and rate of an input are what its header says");
	if (!c->input)
		describe_pattern(c, size ? size : "640x360", rate ? rate : "30");
}

/* Opens the input and reads its header, from which the size of a slot follows. */
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

/* As many slots as were asked for; or the usual number, or what fits into the limit. */
static int choose_slots(struct capture *c)
{
	struct rf_options *options = &c->cli.options;
	uint64_t slot_bytes = frame_slot_bytes(&c->format);
	uint64_t each = slot_bytes + SLOT_ALIGN - 1;
	uint64_t fit = options->max_ring_bytes / each;

	options->slot_bytes = slot_bytes;
	options->slot_align = SLOT_ALIGN;
	if (!options->slots)
		options->slots = fit < SLOTS_DEFAULT ? (uint32_t)fit : SLOTS_DEFAULT;
	if (options->slots >= SLOTS_LEAST && options->slots <= fit)
		return STATUS_OK;
	cli_say("%u frames of %ux%u need more memory (--max-memory)",
		options->slots < SLOTS_LEAST ? SLOTS_LEAST : options->slots, c->format.width,
		c->format.height);
	return STATUS_FAILED;
}

static int publish(struct capture *c)
{
	struct rf_options *options = cli_options(&c->cli);
	int r;

	options->reserve_slots = 2; /* one is being written, one is the newest */
	options->block_uids = c->block.uids;
	options->n_block_uids = c->block.n;
	r = rf_publish(c->address, options, &c->publisher);
	if (r < 0) {
		cli_say("cannot publish at %s: %s", c->address, rf_reason());
		return cli_status(r);
	}
	c->tx = rf_publisher_tx(c->publisher);
	c->deadline_ns = cli_deadline_ns(&c->cli);
	frame_header(&c->format, c->header);
	cli_publisher = c->publisher;
	cli_catch_signals();
	return STATUS_OK;
}

static int publisher_error(const struct capture *c, int error)
{
	const char *refused = rf_publisher_reason(c->publisher);

	if (cli_stopped)
		return STATUS_OK;
	if (error == -ETIMEDOUT)
		cli_say("too few subscribers came%s%s", *refused ? "; of the last one: " : "",
			refused);
	else
		cli_say("cannot publish frame %" PRIu64 ": %s", c->sent, strerror(-error));
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

static struct timespec *interval(uint64_t ns, struct timespec *t)
{
	t->tv_sec = (time_t)(ns / 1000000000);
	t->tv_nsec = (long)(ns % 1000000000);
	return t;
}

/* Lets subscribers in and out until then, or until there is input. */
static void attend(struct capture *c, uint64_t until_ns, int input)
{
	struct pollfd fds[2] = {{.fd = rf_publisher_fd(c->publisher), .events = POLLIN},
		{.fd = input, .events = POLLIN}};
	uint64_t now_ns = cli_now_ns(), wake_ns = 0;
	struct timespec wait;
	int r = 0;

	while (r >= 0 && !fds[1].revents && now_ns < until_ns) {
		r = rf_publisher_arm(c->publisher, 0, &wake_ns);
		if (r != 0 || wake_ns < now_ns)
			wake_ns = now_ns;
		if (wake_ns > until_ns)
			wake_ns = until_ns;
		ppoll(fds, 2, interval(wake_ns - now_ns, &wait), NULL);
		r = rf_publisher_process(c->publisher); /* -EPIPE: stopped */
		now_ns = cli_now_ns();
	}
}

/* 1: there is another frame; 0: there is none; a negative errno. */
static int find_frame(struct capture *c)
{
	if (c->fd < 0)
		return 1;
	attend(c, RF_FOREVER, c->fd);
	return y4m_read_marker(c->fd);
}

static int grab(struct capture *c, void *samples)
{
	if (c->fd >= 0)
		return y4m_read_samples(c->fd, samples, y4m_frame_bytes(&c->format));
	y4m_pattern(&c->format, c->sent, samples);
	return 0;
}

/* Waits until the next frame is due. The schedule is absolute: a late frame does not delay those
 * after it. */
static void pace(struct capture *c)
{
	if (c->sent && !c->fast)
		attend(c, c->start_ns + y4m_due_ns(&c->format, c->sent), -1);
}

static int send_frame(struct capture *c)
{
	struct rf_buffer buffer;
	int r = find_frame(c);

	if (r <= 0)
		return r < 0 ? input_error(c, r) : STATUS_OK;
	pace(c);
	if (cli_stopped)
		return STATUS_OK;
	r = rf_tx_reserve(c->tx, frame_slot_bytes(&c->format),
		c->sent ? RF_FOREVER : c->deadline_ns, &buffer);
	if (r < 0)
		return publisher_error(c, r);
	if (c->sent == 0)
		c->start_ns = cli_now_ns();
	r = grab(c, frame_fill(&buffer, c->header, c->sent));
	if (r < 0)
		return input_error(c, r);
	r = rf_tx_commit(c->tx, &buffer);
	if (!r)
		r = rf_tx_publish(c->tx);
	if (r < 0)
		return publisher_error(c, r);
	c->sent++;
	return STATUS_MORE;
}

static int stream(struct capture *c)
{
	int status = STATUS_MORE;

	while (status == STATUS_MORE && !cli_stopped && (!c->frames || c->sent < c->frames))
		status = send_frame(c);
	rf_tx_end(c->tx); /* cancels a reservation whose frame did not come */
	return status == STATUS_MORE ? STATUS_OK : status;
}

/* Those who stayed to the end. */
static void print_subscribers(const struct capture *c)
{
	static const char *const lags[] = {"", "drop", "latest", "block", "disconnect"};
	struct rf_subscriber who[32];
	int n = rf_publisher_subscribers(c->publisher, who, 32);

	for (int i = 0; i < n && i < 32; i++)
		cli_say("subscriber %" PRIu64 ", uid %u, %s: %" PRIu64 " frames, %" PRIu64
			" missed, waited for it %.1f ms",
			who[i].number, who[i].uid, lags[who[i].lag], who[i].lent, who[i].missed,
			(double)who[i].blocked_ns / 1e6);
}

static void print_summary(const struct capture *c)
{
	struct rf_publisher_stats stats = {.size = sizeof(stats)};
	double seconds = c->sent ? (double)(cli_now_ns() - c->start_ns) / 1e9 : 0;
	const char *reason = rf_publisher_reason(c->publisher);

	rf_publisher_stats(c->publisher, &stats);
	cli_say("%" PRIu64 " frames of %ux%u sent in %.2f s%s", c->sent, c->format.width,
		c->format.height, seconds, cli_stopped ? ", until stopped" : "");
	cli_say("%" PRIu64 " subscribers came, %" PRIu64 " went, %" PRIu64 " were cut off, %" PRIu64
		" broke the rules; %" PRIu64 " were turned away%s%s",
		stats.joined, stats.left, stats.cut, stats.broken, stats.refused + stats.failed,
		*reason ? "; the last: " : "", reason);
	cli_say("waited %.1f ms for subscribers, %" PRIu64 " sleeps, memory renewed %" PRIu64
		" times, bytes copied by ringfort: %" PRIu64,
		(double)stats.blocked_ns / 1e6, stats.sleeps, stats.renewed, stats.bytes_copied);
	print_subscribers(c);
}

int main(int argc, char **argv)
{
	static struct capture c;
	int status;

	cli_init(&c.cli, 0, 0);
	c.cli.options.wait_for = 1;
	parse_options(&c, argc, argv);
	status = open_input(&c);
	if (!status)
		status = choose_slots(&c);
	if (!status)
		status = publish(&c);
	if (status)
		return status;
	status = stream(&c);
	print_summary(&c);
	cli_publisher = NULL;
	rf_publisher_close(c.publisher);
	return status;
}
