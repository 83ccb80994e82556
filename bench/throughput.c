/* SPDX-License-Identifier: MIT */
/* Messages and bytes per second, the rings and slots of ringfort beside a unix stream socket:
 * two pinned processes, rounds in which every row has one sample, and a look at where the
 * processors are before and after it. */
#include "figures.h"
#include "payload.h"
#include "pinned.h"
#include "settings.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define RING_BYTES     (UINT64_C(8) << 20)
#define SOCKET_BYTES   (1 << 20)
#define SPAN_SIZE_MOST 4096
#define SEC            1000000000

/* As many slots as fill as much memory as the ring has, within these bounds. */
#define SLOTS_LEAST 8
#define SLOTS_MOST  RF_SLOTS_MAX

static const struct transport *const transports[WAYS] = {
	&transport_ring, &transport_ring, &transport_socket};

_Static_assert(sizeof(struct job) <= PINNED_SHARED_BYTES, "a job does not fit");

static const char help[] =
	"Usage: throughput [OPTION]...\n"
	"Messages and bytes per second between two pinned processes: the rings and slots of "
	"ringfort\n"
	"beside a unix stream socket, in alternation. The producer writes every byte, the consumer "
	"reads every\n"
	"byte. Samples are told apart by whether the two processors share a cache (near) or not\n"
	"(far); those during which that changed, or others had the processors, are dropped.\n"
	"\n"
	"      --cpus A,B        the producer's and the consumer's processor [0,1]\n"
	"      --sizes N,...     bytes of a message, multiples of 8 [64,1024,65536,3145728]\n"
	"      --rounds N        samples of each row, 1 to 1000 [15]\n"
	"      --sample MS       how long a sample takes about, 1 to 10000 ms [100]\n"
	"      --limit SECONDS   no round begins later than this, 1 to 3600 [75]\n"
	"      --doorbell KIND   auto, eventfd or socket [auto]\n"
	"      --wait HOW        adaptive, spin or sleep [adaptive]\n"
	"      --fence           both ends ask for the asymmetric fence\n"
	"      --json            one object per line\n"
	"      --help            show this and end\n"
	"      --version         show the version and end\n"
	"\n"
	"Modes: each (one message per publish or write), span (64 at once, up to 4096 bytes\n"
	"each), copied (as each, from and into memory of the application). Slots are as large as "
	"the\n"
	"messages, as many as make 8 MiB, 8 to 65536, and given back in order. The last columns "
	"compare\n"
	"with the socket and, of slots, with the ring in the same placement and mode; copied with\n"
	"each. A row with fewer than 3 samples has dashes.\n"
	"\n"
	"Exit status: 0: done; 1: the system or the peer failed; 2: wrong usage.\n";

static const struct program program = {"throughput", help};

struct bench {
	struct settings settings;
	struct figure *figures;
	unsigned n_figures;
	struct pinned pinned;
	struct job *job; /* the one under way; the producer sees it */
	struct end end;
	struct rf_channel *ring;
	struct rf_channel *slots[SIZES_MOST]; /* for messages of each size */
	char dir[32], path[64];
};

static void fail(const char *what, int error, const char *reason)
{
	fprintf(stderr, "throughput: %s: %s\n", what, *reason ? reason : strerror(-error));
	exit(1);
}

static void *allocate(size_t n, size_t size)
{
	void *memory = calloc(n, size);

	if (!memory)
		fail("memory", -ENOMEM, "");
	return memory;
}

/* Rows, in the order of their samples: ours and the socket's in turns. */

static void add(struct bench *bench, size_t size, enum mode mode, enum way way)
{
	struct figure *figure = &bench->figures[bench->n_figures++];

	*figure = (struct figure){.size = size, .mode = mode, .way = way};
	for (int at = 0; at < PLACEMENTS; at++)
		figure->samples[at].per_s = allocate(bench->settings.rounds, sizeof(double));
}

static void add_rows(struct bench *bench)
{
	const struct settings *settings = &bench->settings;

	bench->figures = allocate((size_t)settings->n_sizes * MODES * WAYS, sizeof(struct figure));
	for (unsigned i = 0; i < settings->n_sizes; i++) {
		add(bench, settings->sizes[i], EACH, RING);
		add(bench, settings->sizes[i], EACH, SLOTS);
		add(bench, settings->sizes[i], EACH, SOCKET);
		add(bench, settings->sizes[i], COPIED, RING);
		if (settings->sizes[i] > SPAN_SIZE_MOST)
			continue;
		add(bench, settings->sizes[i], SPAN, SOCKET);
		add(bench, settings->sizes[i], SPAN, RING);
		add(bench, settings->sizes[i], SPAN, SLOTS);
	}
}

/* The two processes */

static void widen(int fd)
{
	int bytes = SOCKET_BYTES;

	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
}

static struct rf_channel *channel_for(const struct bench *bench, const struct figure *figure)
{
	unsigned i = 0;

	if (figure->way != SLOTS)
		return bench->ring;
	while (bench->settings.sizes[i] != figure->size)
		i++;
	return bench->slots[i];
}

static void carry_out(uint64_t row, void *context)
{
	struct bench *bench = context;
	int r;

	bench->end.channel = channel_for(bench, &bench->figures[row]);
	r = transports[bench->figures[row].way]->send(&bench->end, bench->job);

	if (r < 0)
		fail("the producer", r, "");
}

static void pin(const struct bench *bench, int which)
{
	int r = pinned_to(bench->settings.cpus[which]);

	if (r < 0)
		fail("--cpus", r, "");
}

static uint64_t slots_for(size_t size)
{
	uint64_t slots = RING_BYTES / ((size + 63) & ~(size_t)63);

	if (slots < SLOTS_LEAST)
		return SLOTS_LEAST;
	return slots < SLOTS_MOST ? slots : SLOTS_MOST;
}

static struct rf_channel *connect_one(const struct bench *bench, size_t slot_bytes)
{
	struct rf_options options;
	struct rf_channel *channel;
	int r;

	rf_options_init(&options);
	options.direction = RF_SEND;
	options.doorbell = bench->settings.doorbell;
	options.wait = bench->settings.wait;
	options.flags = bench->settings.flags;
	options.kind = slot_bytes ? RF_SLOTS : RF_BYTES;
	options.ring_bytes = slot_bytes ? 0 : RING_BYTES;
	options.slot_bytes = slot_bytes;
	options.slots = slot_bytes ? (uint32_t)slots_for(slot_bytes) : 0;
	r = rf_connect(bench->path, &options, pinned_now() + 5 * (uint64_t)SEC, &channel);
	if (r < 0)
		fail("connect", r, rf_reason());
	return channel;
}

static void close_all(struct bench *bench)
{
	for (unsigned i = 0; i < bench->settings.n_sizes; i++)
		rf_channel_close(bench->slots[i]);
	rf_channel_close(bench->ring);
}

static void produce(struct bench *bench)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	pin(bench, 0);
	bench->ring = connect_one(bench, 0);
	for (unsigned i = 0; i < bench->settings.n_sizes; i++)
		bench->slots[i] = connect_one(bench, bench->settings.sizes[i]);
	pinned_follow(&bench->pinned, carry_out, bench);
	close_all(bench);
	_exit(0);
}

static void remove_dir(const struct bench *bench)
{
	char lock[sizeof(bench->path) + 8];

	snprintf(lock, sizeof(lock), "%s.lock", bench->path);
	unlink(lock);
	rmdir(bench->dir);
}

/* In the order in which they are connected. */
static void accept_all(struct bench *bench, struct rf_listener *listener)
{
	uint64_t deadline = pinned_now() + 5 * (uint64_t)SEC;
	int r = rf_accept(listener, deadline, &bench->ring);

	for (unsigned i = 0; r == 0 && i < bench->settings.n_sizes; i++)
		r = rf_accept(listener, deadline, &bench->slots[i]);
	rf_listener_close(listener);
	remove_dir(bench);
	if (r < 0)
		fail("accept", r, rf_reason());
}

static void fork_producer(struct bench *bench, int other_fd)
{
	struct rf_listener *listener;
	struct rf_options options;
	int r;

	rf_options_init(&options);
	options.direction = RF_RECEIVE;
	options.doorbell = bench->settings.doorbell;
	options.wait = bench->settings.wait;
	options.flags = bench->settings.flags;
	r = rf_listen(bench->path, &options, &listener);
	if (r < 0) {
		remove_dir(bench);
		fail("listen", r, rf_reason());
	}
	bench->pinned.producer = fork();
	if (bench->pinned.producer < 0)
		fail("fork", -errno, "");
	if (!bench->pinned.producer) {
		rf_listener_close(listener);
		close(bench->end.fd);
		bench->end.fd = other_fd;
		produce(bench);
	}
	close(other_fd);
	accept_all(bench, listener);
}

/* A path, because only what connects is verified to be the same user: so that auto may settle on
 * eventfds. */
static void set_up(struct bench *bench)
{
	int fds[2], r = pinned_init(&bench->pinned);

	pin(bench, 0); /* a try: better here than in the producer */
	pin(bench, 1);
	if (r < 0)
		fail("memory", r, "");
	bench->job = pinned_shared(&bench->pinned);
	bench->end.buffer = allocate(1, BUFFER_BYTES);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
		fail("socketpair", -errno, "");
	widen(fds[0]);
	widen(fds[1]);
	bench->end.fd = fds[0];
	strcpy(bench->dir, "/tmp/rf-bench.XXXXXX");
	if (!mkdtemp(bench->dir))
		fail(bench->dir, -errno, "");
	snprintf(bench->path, sizeof(bench->path), "%s/socket", bench->dir);
	fork_producer(bench, fds[1]);
}

/* Samples */

/* Messages per second. */
static double run_job(struct bench *bench, unsigned row, uint64_t count)
{
	struct figure *figure = &bench->figures[row];
	uint64_t begun, took, sum = 0;
	int r;

	*bench->job = (struct job){figure->mode, figure->size, count};
	bench->end.channel = channel_for(bench, figure);
	begun = pinned_now();
	pinned_start(&bench->pinned, row);
	r = transports[figure->way]->receive(&bench->end, bench->job, &sum);
	took = pinned_now() - begun;
	if (r < 0)
		fail("the consumer", r, "");
	if (sum != payload_expected(count, figure->size))
		fail("the consumer", -EBADMSG, "the sum of what arrived is wrong");
	pinned_finish(&bench->pinned);
	figure->last = (double)count * SEC / (double)took;
	return figure->last;
}

static uint64_t count_for(const struct bench *bench, const struct figure *figure)
{
	double count = figure->last * bench->settings.sample_ms / 1000;

	return count < 1 ? 1 : (uint64_t)count;
}

/* Memory is touched, and how many messages make a sample is known. */
static void warm_up(struct bench *bench)
{
	for (unsigned row = 0; row < bench->n_figures; row++) {
		uint64_t count = 1 + RING_BYTES / (bench->figures[row].size + 8);

		run_job(bench, row, count < 10000 ? count : 10000);
		run_job(bench, row, 1 + count_for(bench, &bench->figures[row]) / 4);
	}
}

static void take_sample(struct bench *bench, unsigned row)
{
	struct figure *figure = &bench->figures[row];
	enum placement before = pinned_probe(&bench->pinned), after;
	double per_s = run_job(bench, row, count_for(bench, figure));

	after = pinned_probe(&bench->pinned);
	if (before == after && after != CROWDED)
		figure->samples[after].per_s[figure->samples[after].n++] = per_s;
	else
		figure->dropped++;
}

static unsigned run_rounds(struct bench *bench)
{
	uint64_t end = pinned_now() + bench->settings.limit_s * (uint64_t)SEC;
	unsigned round, row;

	warm_up(bench);
	for (round = 0; round < bench->settings.rounds && pinned_now() < end; round++) {
		if (isatty(STDERR_FILENO))
			fprintf(stderr, "\rround %u of %u ", round + 1, bench->settings.rounds);
		for (row = 0; row < bench->n_figures; row++)
			take_sample(bench, row);
	}
	if (isatty(STDERR_FILENO))
		fputs("\r\033[K", stderr);
	return round;
}

static void print_conditions(const struct bench *bench, unsigned rounds)
{
	struct rf_stats stats = {.size = sizeof(stats)};
	unsigned dropped = 0;

	for (unsigned i = 0; i < bench->n_figures; i++)
		dropped += bench->figures[i].dropped;
	rf_channel_stats(bench->ring, &stats);
	printf("ringfort %s: %u rounds on processors %d and %d, ring of %llu MiB, doorbell %s, "
	       "fence %u; "
	       "%u samples dropped; %llu sleeps of the receiver\n",
		rf_version(), rounds, bench->settings.cpus[0], bench->settings.cpus[1],
		(unsigned long long)stats.rx.ring_bytes >> 20,
		stats.doorbell == RF_DOORBELL_EVENTFD ? "eventfd" : "socket", stats.fence, dropped,
		(unsigned long long)stats.rx.sleeps);
}

int main(int argc, char **argv)
{
	static struct bench bench = {.settings = {.cpus = {0, 1},
					     .sizes = {64, 1024, 65536, 3 << 20},
					     .n_sizes = 4,
					     .rounds = 15,
					     .sample_ms = 100,
					     .limit_s = 75}};
	unsigned rounds;

	settings_read(&bench.settings, &program, argc, argv);
	signal(SIGPIPE, SIG_IGN);
	add_rows(&bench);
	set_up(&bench);
	rounds = run_rounds(&bench);
	figures_sort(bench.figures, bench.n_figures);
	if (!bench.settings.json)
		print_conditions(&bench, rounds);
	(bench.settings.json ? figures_print_json : figures_print)(bench.figures, bench.n_figures);
	if (fflush(stdout) || ferror(stdout))
		fail("standard output", -errno, "");
	return pinned_end(&bench.pinned);
}
