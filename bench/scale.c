/* SPDX-License-Identifier: MIT */
/* Very many channels in one process: see scale.h. The listeners are other processes, which sleep until
 * they are told to accept or to send; the producer tells them, and only it spins. */
#include "scale.h"

#include "channels.h"
#include "latency.h"
#include "transport-ringfort.h"
#include "worker.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define SEC            UINT64_C(1000000000)
#define SERVERS_MOST   32
#define CHARGED_FDS    12 /* of a listener for each channel: what its quota counts, and some more */
#define FDS_MOST       (1 << 20)
#define PATIENCE_MS    10000
#define SPARE_FDS      128
#define CLOSED_AT_ONCE 16
#define TRIPS          200
#define TRIPS_SMOKE    10
#define GO_TO_SLEEP    200000 /* ns */
#define SOME_ACTIVE    100

/* The producer's commands: to sleep until it is told otherwise; to send through the listeners. */
enum { REST = 1, WAKE };

/* A listener's commands: the number is how many, or which one. */
enum { ACCEPT = 1, SEND };

struct order {
	uint32_t command, number;
};

/* What a process has, or all of them have; regions as far as it keeps them open. */
struct holdings {
	double fds, memfds, mappings, region_bytes, private_bytes;
};

/* What all processes see. */
struct page {
	uint64_t received; /* atomic; messages, by the consumer */
	unsigned watched, active, trips;
	uint64_t accepted[SERVERS_MOST]; /* atomic */
	struct holdings before[SERVERS_MOST], after[SERVERS_MOST];
};

struct scale {
	const struct aside *aside;
	const char *name;
	uint32_t doorbell;
	struct pinned pinned;
	struct page *page;
	unsigned per_server, n_servers, n; /* channels at a listener at most; listeners; channels */
	pid_t servers[SERVERS_MOST];
	int orders[SERVERS_MOST]; /* to a listener */
	int rest[2];              /* a byte ends the producer's rest */
	struct rf_channel **all;
	int epoll;
};

static void describe(const struct scale *scale, struct rf_options *options)
{
	rf_options_init(options);
	options->ring_bytes = 1; /* rounded up to what is possible */
	options->doorbell = scale->doorbell;
	options->max_channels = CHANNELS_MOST;
	options->wait = RF_WAIT_SLEEP;
}

static void name_path(const struct scale *scale, unsigned server, char path[64])
{
	snprintf(path, 64, "%s/scale-%s-%u", scale->aside->dir, scale->name, server);
}

/* What there is */

static void count_fds(struct holdings *holdings)
{
	DIR *dir = opendir("/proc/self/fd");
	const struct dirent *entry;
	struct stat region;
	char target[32];
	ssize_t len;

	while (dir && (entry = readdir(dir))) {
		len = readlinkat(dirfd(dir), entry->d_name, target, sizeof(target));
		if (len > 7 && !memcmp(target, "/memfd:", 7) &&
			fstatat(dirfd(dir), entry->d_name, &region, 0) == 0) {
			holdings->memfds++;
			holdings->region_bytes += (double)region.st_blocks * 512;
		} else if (len > 0) {
			holdings->fds++;
		}
	}
	if (dir)
		closedir(dir);
}

/* How many lines of a file of /proc have the word. */
static double count_lines(const char *path, const char *word)
{
	FILE *file = fopen(path, "re");
	char line[256];
	double n = 0;

	while (file && fgets(line, sizeof(line), file))
		n += strstr(line, word) != NULL;
	if (file)
		fclose(file);
	return n;
}

/* What a line that begins so says, in bytes. */
static double read_kib(const char *path, const char *key)
{
	FILE *file = fopen(path, "re");
	char line[256];
	double kib = 0;

	while (file && fgets(line, sizeof(line), file))
		if (!strncmp(line, key, strlen(key)))
			kib = strtod(line + strlen(key), NULL);
	if (file)
		fclose(file);
	return kib * 1024;
}

static struct holdings take_stock(void)
{
	struct holdings holdings = {.mappings = count_lines("/proc/self/maps", "/memfd:"),
		.private_bytes = read_kib("/proc/self/status", "RssAnon:")};

	count_fds(&holdings);
	return holdings;
}

static double kernel_bytes(void)
{
	return read_kib("/proc/meminfo", "Slab:") + read_kib("/proc/meminfo", "PageTables:");
}

/* Listeners */

static void accept_some(struct scale *scale, unsigned which, struct rf_listener *listener,
	struct rf_channel **all, unsigned n)
{
	uint64_t *accepted = &scale->page->accepted[which];

	if (!*accepted)
		scale->page->before[which] = take_stock();
	for (unsigned i = 0; i < n; i++)
		all[*accepted + i] = channels_accept(listener);
	scale->page->after[which] = take_stock();
	__atomic_store_n(accepted, *accepted + n, __ATOMIC_RELEASE);
}

static void send_time(struct rf_channel *channel)
{
	uint64_t now = pinned_now();
	struct iovec part = {&now, sizeof(now)};
	int r = rf_tx_send(rf_channel_tx(channel), &part, 1, 0);

	if (r < 0)
		aside_fail("send", r);
}

_Noreturn static void serve(struct scale *scale, unsigned which, int orders)
{
	struct rf_channel **all = calloc(scale->per_server, sizeof(struct rf_channel *));
	struct rf_listener *listener;
	struct rf_options options;
	struct order order;
	char path[64];
	int r;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	aside_pin(scale->aside, 0);
	describe(scale, &options);
	options.direction = RF_SEND;
	name_path(scale, which, path);
	r = all ? rf_listen(path, &options, &listener) : -ENOMEM;
	if (r < 0)
		aside_fail("listen", r);
	while (worker_read(orders, &order, sizeof(order)) >= 0) {
		if (order.command == ACCEPT)
			accept_some(scale, which, listener, all, order.number);
		else
			send_time(all[order.number]);
	}
	for (uint64_t i = 0; i < scale->page->accepted[which]; i++)
		rf_channel_close(all[i]);
	rf_listener_close(listener);
	_exit(0);
}

/* Those before have their ends of the pipes, and this one closes its copies. */
static void start_server(struct scale *scale, unsigned which)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0)
		aside_fail("pipe", -errno);
	scale->servers[which] = fork();
	if (scale->servers[which] < 0)
		aside_fail("fork", -errno);
	if (!scale->servers[which]) {
		for (unsigned i = 0; i < which; i++)
			close(scale->orders[i]);
		close(fds[1]);
		serve(scale, which, fds[0]);
	}
	close(fds[0]);
	scale->orders[which] = fds[1];
}

static void order_server(const struct scale *scale, unsigned which, uint32_t command, unsigned n)
{
	struct order order = {command, n};

	if (worker_write(scale->orders[which], &order, sizeof(order)) < 0)
		aside_fail("a listener", -EPIPE);
}

/* The producer: sends one message at a time, when the consumer has had the time to fall asleep. */

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* The listeners run on this processor, too. */
static void wait_until(uint64_t ns)
{
	while (pinned_now() < ns)
		sched_yield();
}

static void send_all(struct scale *scale)
{
	static uint64_t state = 88172645463325252;
	const struct page *page = scale->page;

	for (unsigned i = 0; i < page->trips; i++) {
		unsigned which = (unsigned)(next_random(&state) % page->active);
		unsigned k = which * (page->watched / page->active);

		wait_until(pinned_now() + GO_TO_SLEEP);
		order_server(scale, k / scale->per_server, SEND, k % scale->per_server);
		while (__atomic_load_n(&page->received, __ATOMIC_ACQUIRE) != i + 1)
			sched_yield();
	}
}

static void carry_out(uint64_t command, void *context)
{
	struct scale *scale = context;
	char byte;

	if (command == WAKE)
		send_all(scale);
	else if (read(scale->rest[0], &byte, 1) != 1)
		_exit(1);
}

static void start_producer(struct scale *scale)
{
	int r = pinned_init(&scale->pinned);

	if (r < 0 || pipe2(scale->rest, O_CLOEXEC) < 0)
		aside_fail("pipe", r < 0 ? r : -errno);
	scale->pinned.producer = fork();
	if (scale->pinned.producer < 0)
		aside_fail("fork", -errno);
	if (scale->pinned.producer)
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	aside_pin(scale->aside, 0);
	pinned_follow(&scale->pinned, carry_out, scale);
	_exit(0);
}

static void begin(struct scale *scale)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		aside_fail("RLIMIT_NOFILE", -errno);
	limit.rlim_cur = limit.rlim_max < FDS_MOST ? limit.rlim_max : FDS_MOST;
	setrlimit(RLIMIT_NOFILE, &limit);
	scale->n = scale->aside->settings->channels;
	scale->per_server = (unsigned)(limit.rlim_cur / 4 * 3 / CHARGED_FDS);
	scale->n_servers = (scale->n + scale->per_server - 1) / scale->per_server;
	scale->all = calloc(scale->n, sizeof(struct rf_channel *));
	scale->page = mmap(NULL, sizeof(*scale->page), PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (!scale->all || scale->page == MAP_FAILED)
		aside_fail("memory", -ENOMEM);
	if (scale->n_servers > SERVERS_MOST)
		scale->n_servers = SERVERS_MOST;
	for (unsigned i = 0; i < scale->n_servers; i++)
		start_server(scale, i);
	start_producer(scale);
	aside_pin(scale->aside, 1);
}

/* The consumer */

/* Connects channels up to n, which go to one listener after the other. */
static void connect_some(struct scale *scale, unsigned from, unsigned n)
{
	struct rf_options options;
	unsigned which, at_most;
	char path[64];

	describe(scale, &options);
	options.direction = RF_RECEIVE;
	for (unsigned i = from; i < n;) {
		which = i / scale->per_server;
		at_most = (which + 1) * scale->per_server;
		at_most = at_most < n ? at_most : n;
		name_path(scale, which, path);
		order_server(scale, which, ACCEPT, at_most - i);
		for (; i < at_most; i++)
			scale->all[i] = channels_connect(path, &options);
		while (__atomic_load_n(&scale->page->accepted[which], __ATOMIC_ACQUIRE) !=
			i - which * scale->per_server)
			sched_yield();
	}
}

static unsigned fds_left(const struct holdings *holdings)
{
	struct rlimit limit;
	double left;

	getrlimit(RLIMIT_NOFILE, &limit);
	left = (double)limit.rlim_cur - holdings->fds - holdings->memfds - SPARE_FDS;
	return left < 0 ? 0 : left < FDS_MOST ? (unsigned)left : FDS_MOST;
}

static struct holdings less(struct holdings a, const struct holdings *b)
{
	a.fds -= b->fds;
	a.memfds -= b->memfds;
	a.mappings -= b->mappings;
	a.region_bytes -= b->region_bytes;
	a.private_bytes -= b->private_bytes;
	return a;
}

static struct holdings stock_of_servers(const struct scale *scale)
{
	struct holdings sum = {0}, one;

	for (unsigned i = 0; i < scale->n_servers; i++) {
		one = less(scale->page->after[i], &scale->page->before[i]);
		sum.fds += one.fds;
		sum.memfds += one.memfds;
		sum.region_bytes += one.region_bytes;
		sum.private_bytes += one.private_bytes;
	}
	return sum;
}

/* The first one says how many more there may be. */
static void open_first(struct scale *scale)
{
	struct holdings before = take_stock(), one;
	unsigned most;

	connect_some(scale, 0, 1);
	one = less(take_stock(), &before);
	before = take_stock();
	most = 1 + fds_left(&before) / (unsigned)(one.fds + one.memfds);
	if (scale->n > most)
		scale->n = most;
	if (scale->n > scale->n_servers * scale->per_server)
		scale->n = scale->n_servers * scale->per_server;
}

static void open_all(struct scale *scale, struct record *record)
{
	double kernel, n;
	struct holdings before, ours, theirs;
	uint64_t begun;

	before = take_stock();
	open_first(scale);
	kernel = kernel_bytes();
	begun = pinned_now();
	connect_some(scale, 1, scale->n);
	n = (double)scale->n;
	record->per_s = (n - 1) * 1e9 / (double)(pinned_now() - begun);
	ours = less(take_stock(), &before);
	theirs = stock_of_servers(scale);
	record->n = scale->n;
	record->fds = (ours.fds + ours.memfds) / n;
	record->peer_fds = theirs.fds / n;
	record->account_fds = theirs.memfds / n;
	record->mappings = ours.mappings / n;
	record->private_bytes = (ours.private_bytes + theirs.private_bytes) / n;
	record->region_bytes = theirs.region_bytes / n;
	record->kernel_bytes = (kernel_bytes() - kernel) / (n - 1);
}

static void tell_open(struct scale *scale)
{
	struct record record;
	enum placement at;
	char byte = 0;

	aside_begin(&record, "scale", "open", NEAR);
	pinned_start(&scale->pinned, REST);
	open_all(scale, &record);
	if (write(scale->rest[1], &byte, 1) != 1)
		aside_fail("write", -errno);
	pinned_finish(&scale->pinned);
	at = pinned_probe(&scale->pinned);
	snprintf(record.state, WORD_BYTES, "%s", at == FAR ? "far" : "near");
	snprintf(record.transport, WORD_BYTES, "%s", scale->name);
	record.rounds = 1;
	aside_tell(scale->aside, &record);
}

/* Takes in what is there; asks to be woken by the next one. How many messages. */
static unsigned receive(struct rf_channel *channel, struct latency *latency)
{
	struct rf_rx *rx = rf_channel_rx(channel);
	struct rf_message message;
	uint64_t sent, until;
	unsigned n = 0;
	int r = rf_channel_process(channel);

	do {
		while (r >= 0 && (r = rf_rx_copy(rx, 0, &sent, sizeof(sent), &message)) == 1) {
			latency_add(latency, pinned_now() - sent);
			n++;
		}
		if (r >= 0 || r == -EAGAIN)
			r = rf_channel_arm(channel, RF_DATA, 0, &until);
	} while (r == 1);
	if (r < 0)
		aside_fail("receive", r);
	return n;
}

/* How many messages came. */
static unsigned loop_once(struct scale *scale, struct latency *latency)
{
	struct epoll_event events[16];
	int n = epoll_wait(scale->epoll, events, 16, PATIENCE_MS);
	unsigned messages = 0;

	if (!n)
		aside_fail("a message", -ETIMEDOUT);
	for (int i = 0; i < n; i++)
		messages += receive(events[i].data.ptr, latency);
	return messages;
}

static void wake(struct scale *scale, unsigned active, struct latency *latency)
{
	struct page *page = scale->page;
	unsigned n = 0;

	memset(latency, 0, sizeof(*latency));
	page->active = active;
	page->trips = scale->aside->settings->smoke ? TRIPS_SMOKE : TRIPS;
	__atomic_store_n(&page->received, 0, __ATOMIC_RELAXED);
	pinned_start(&scale->pinned, WAKE);
	while (n < page->trips) {
		n += loop_once(scale, latency);
		__atomic_store_n(&page->received, n, __ATOMIC_RELEASE);
	}
	pinned_finish(&scale->pinned);
}

static void tell_wakes(
	const struct scale *scale, const char *mode, unsigned active, struct aside_samples *samples)
{
	struct record record;
	double least, most;

	for (int at = 0; at < PLACEMENTS; at++) {
		if (!samples->n[at])
			continue;
		aside_begin(&record, "scale", mode, (enum placement)at);
		snprintf(record.transport, WORD_BYTES, "%s", scale->name);
		snprintf(record.wait, WORD_BYTES, "sleep");
		record.n = scale->page->watched;
		record.active = active;
		record.rounds = samples->n[at];
		record.dropped = samples->dropped;
		aside_summarise(scale->aside, samples->values[at], samples->n[at], &record.p50,
			&record.p50_min, &record.p50_max);
		aside_summarise(scale->aside, samples->more[at], samples->n[at], &record.p99,
			&least, &most);
		aside_tell(scale->aside, &record);
	}
}

/* Each channel takes an epoll more: the last ones make room for it. */
static void watch(struct scale *scale)
{
	static struct latency none;
	struct holdings holdings = take_stock();

	for (; scale->n > fds_left(&holdings); holdings = take_stock())
		for (unsigned i = 0; i < CLOSED_AT_ONCE && scale->n > 1; i++)
			rf_channel_close(scale->all[--scale->n]);
	scale->page->watched = scale->n;
	scale->epoll = channels_watch(scale->all, scale->n);
	for (unsigned i = 0; i < scale->n; i++)
		receive(scale->all[i], &none);
}

static void measure_wakes(struct scale *scale)
{
	static const char *const modes[] = {"one-active", "some-active", "all-active"};
	const unsigned n = scale->page->watched;
	const unsigned active[] = {1, n < SOME_ACTIVE ? n : SOME_ACTIVE, n};
	static struct aside_samples samples[3];
	static struct latency latency;

	for (unsigned i = 0; i < scale->aside->settings->rounds; i++)
		for (unsigned k = 0; k < 3; k++) {
			enum placement before = pinned_probe(&scale->pinned);

			wake(scale, active[k], &latency);
			aside_keep(&samples[k], before, pinned_probe(&scale->pinned),
				latency_quantile(&latency, 0.5), latency_quantile(&latency, 0.99));
		}
	for (unsigned k = 0; k < 3; k++)
		tell_wakes(scale, modes[k], active[k], &samples[k]);
}

static void end(struct scale *scale)
{
	close(scale->epoll);
	for (unsigned i = 0; i < scale->n; i++)
		rf_channel_close(scale->all[i]);
	free(scale->all);
	pinned_end(&scale->pinned);
	for (unsigned i = 0; i < scale->n_servers; i++)
		close(scale->orders[i]);
	for (unsigned i = 0; i < scale->n_servers; i++)
		waitpid(scale->servers[i], NULL, 0);
}

static void run(const struct aside *aside, const struct transport *transport, uint32_t doorbell)
{
	struct scale scale = {.aside = aside, .name = transport->name, .doorbell = doorbell};

	begin(&scale);
	tell_open(&scale);
	watch(&scale);
	measure_wakes(&scale);
	end(&scale);
}

void scale_eventfd(const struct aside *aside)
{
	run(aside, &transport_ringfort, RF_DOORBELL_EVENTFD);
}

void scale_socket(const struct aside *aside)
{
	run(aside, &transport_ringfort_socket_bell, RF_DOORBELL_SOCKET);
}
