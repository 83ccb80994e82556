/* SPDX-License-Identifier: MIT */
/* Hostile peers against a process that also has an honest one. A row: an attack, carried out by a
 * process of another user, and what the victim must see of it. Meanwhile numbers go to and fro on the
 * honest channel, soon; afterwards the victim has what it had before, and a new client is served. */
#include "channel-fixture.h"
#include "handshake.h"
#include "options.h"

#include "util/clock.h"
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define ATTACK_MS      200
#define CHANNELS_MOST  32
#define PASSES         8  /* batches taken of one channel before others have their turn */
#define BATCH          16 /* records */
#define LATENCY_MS     2000
#define GROWTH_BYTES   (8 << 20)
#define CPU_PERCENT    70
#define PROGRESS_LEAST 5

/* What the processes of a row tell each other */
struct board {
	char path[100];
	bool ready;           /* the victim listens */
	uint64_t honest;      /* numbers that came back */
	uint64_t latency_ns;  /* the longest of them took */
	uint64_t ended;       /* hostile channels that ended */
	int64_t last;         /* the error of the last one that did */
	uint64_t turned_away; /* by the listener */
};

static struct board *board;

#define READ(field)         __atomic_load_n(&board->field, __ATOMIC_ACQUIRE)
#define WRITE(field, value) __atomic_store_n(&board->field, value, __ATOMIC_RELEASE)

static void nap(unsigned ms)
{
	const struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

	nanosleep(&t, NULL);
}

/* The victim: sends back what it gets, in one thread, and never waits for anybody. */

struct victim {
	struct rf_listener *listener;
	struct rf_channel *channels[CHANNELS_MOST];
	unsigned n;
};

static bool is_hostile(struct rf_channel *channel)
{
	struct rf_peer peer = {.size = sizeof(peer)};

	return rf_channel_peer(channel, &peer) < 0 || peer.uid == RF_TEST_UID;
}

static void drop(struct victim *v, unsigned i, int error)
{
	if (is_hostile(v->channels[i])) {
		WRITE(last, error);
		WRITE(ended, board->ended + 1);
	}
	rf_channel_close(v->channels[i]);
	v->channels[i] = v->channels[--v->n];
}

/* What does not fit goes nowhere: who reads nothing gets nothing. */
static void send_back(struct rf_tx *tx, const struct rf_message *message)
{
	struct iovec part = {.iov_base = (void *)(uintptr_t)message->data, message->len};

	rf_tx_send(tx, &part, 1, 0);
}

/* 0; the error or -ENODATA (end of stream) that ends the channel. */
static int serve(struct rf_channel *channel)
{
	struct rf_rx *rx = rf_channel_rx(channel);
	struct rf_message messages[BATCH];
	int n = BATCH, pass, i;

	rf_channel_process(channel);
	for (pass = 0; pass < PASSES && n == BATCH; pass++) {
		n = rf_rx_borrow(rx, 0, messages, BATCH);
		for (i = 0; i < n; i++)
			send_back(rf_channel_tx(channel), &messages[i]);
		if (n > 0)
			rf_rx_release(rx, messages, (unsigned)n);
	}
	return n == -EAGAIN || n > 0 ? 0 : n ? n : -ENODATA;
}

static void admit(struct victim *v)
{
	struct rf_listener_stats stats = {.size = sizeof(stats)};
	struct rf_channel *channel;

	while (v->n < CHANNELS_MOST && rf_accept(v->listener, 0, &channel) == 0)
		v->channels[v->n++] = channel;
	rf_listener_stats(v->listener, &stats);
	WRITE(turned_away, stats.refused + stats.failed);
}

static int sleep_until_news(struct victim *v)
{
	struct pollfd fds[CHANNELS_MOST + 1];
	uint64_t until = RF_FOREVER, next, now;
	bool work;
	unsigned i;

	work = rf_listener_arm(v->listener, &until) == 1;
	fds[v->n] = (struct pollfd){.fd = rf_listener_fd(v->listener), .events = POLLIN};
	for (i = 0; i < v->n; i++) {
		fds[i] = (struct pollfd){.fd = rf_channel_fd(v->channels[i]), .events = POLLIN};
		if (rf_channel_arm(v->channels[i], RF_DATA, 0, &next) != 0)
			work = true;
		else if (next < until)
			until = next;
	}
	now = rf__now();
	if (work || until <= now)
		return poll(fds, v->n + 1, 0);
	return poll(fds, v->n + 1, until == RF_FOREVER ? -1 : (int)((until - now) / RF__MSEC) + 1);
}

static int be_the_victim(void *arg)
{
	static const uid_t uids[] = {RF_TEST_UID};
	struct rf_options options = channel_options(RF_DOORBELL_AUTO, RF_WAIT_ADAPTIVE);
	struct victim v = {.n = 0};
	unsigned i;
	int r;

	(void)arg;
	options.uids = uids;
	options.n_uids = 1;
	if (rf_listen(board->path, &options, &v.listener) < 0)
		return 1;
	WRITE(ready, true);
	for (;;) {
		if (sleep_until_news(&v) < 0)
			return 2;
		for (i = v.n; i-- > 0;) {
			r = serve(v.channels[i]);
			if (r < 0)
				drop(&v, i, r);
		}
		admit(&v);
	}
}

/* The honest client: a number there and back every millisecond. */
static int be_honest(void *arg)
{
	struct rf_channel *channel;
	uint64_t number, back = 0, begun, took;
	int r = rf_connect(board->path, NULL, rf_test_deadline(SOON_MS), &channel);

	(void)arg;
	for (number = 0; r >= 0; number++) {
		begun = rf__now();
		r = send_number(rf_channel_tx(channel), number, rf_test_deadline(SOON_MS));
		if (r >= 0)
			r = take_number(rf_channel_rx(channel), rf_test_deadline(SOON_MS), &back);
		if (r >= 0 && (r == 0 || back != number))
			return 1;
		took = rf__now() - begun;
		if (took > board->latency_ns)
			WRITE(latency_ns, took);
		WRITE(honest, number + 1);
		nap(1);
	}
	return 2;
}

/* Attacks. They return 0, or what they could do and should not have been able to. */

static struct rf_channel *connect_hostile(void)
{
	static const uid_t uids[] = {0};
	struct rf_options options = channel_options(RF_DOORBELL_AUTO, RF_WAIT_ADAPTIVE);
	struct rf_channel *channel = NULL;

	options.uids = uids;
	options.n_uids = 1;
	if (rf_connect(board->path, &options, rf_test_deadline(SOON_MS), &channel) < 0)
		_exit(100);
	return channel;
}

static int kick(struct rf_channel *channel, const char *which)
{
	return send(channel->link.sock, which, 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static struct rf__producer_words *own_producer(struct rf_channel *channel)
{
	return (void *)channel->tx.half.own.base;
}

static struct rf__consumer_words *own_consumer(struct rf_channel *channel)
{
	return (void *)channel->rx.half.own.base;
}

static int garble_tail(void)
{
	struct rf_channel *channel = connect_hostile();

	__atomic_store_n(
		&own_producer(channel)->tail, UINT64_C(0x123456789abcdef0), __ATOMIC_SEQ_CST);
	kick(channel, "c");
	nap(ATTACK_MS);
	return 0;
}

static int garble_head(void)
{
	struct rf_channel *channel = connect_hostile();
	int i;

	__atomic_store_n(&own_consumer(channel)->head, UINT64_MAX - 7, __ATOMIC_SEQ_CST);
	for (i = 0; i < 10000 && send_number(rf_channel_tx(channel), 1, 0) != -EPIPE; i++)
		if (i % 100 == 0)
			nap(1);
	return 0;
}

static int garble_header(void)
{
	struct rf_channel *channel = connect_hostile();
	struct rf_buffer buffer;

	if (rf_tx_reserve(rf_channel_tx(channel), 8, 0, &buffer) < 0)
		return 1;
	rf_tx_commit(rf_channel_tx(channel), &buffer);
	memset((unsigned char *)buffer.data - 8, 0xff, 8);
	rf_tx_publish(rf_channel_tx(channel));
	nap(ATTACK_MS);
	return 0;
}

static int want_nonsense(void)
{
	struct rf_channel *channel = connect_hostile();
	uint64_t end = rf_test_deadline(ATTACK_MS), i;

	for (i = 0; rf__now() < end; i++) {
		uint64_t want = i % 3 ? i * UINT64_C(0x9e3779b97f4a7c15) : 0;

		__atomic_store_n(&own_consumer(channel)->data_want, want, __ATOMIC_SEQ_CST);
		__atomic_store_n(&own_producer(channel)->space_want, ~want, __ATOMIC_SEQ_CST);
		if (i % 64 == 0 && send_number(rf_channel_tx(channel), i, 0) == -EPIPE)
			return 1;
	}
	return 0;
}

static int kick_for_nothing(void)
{
	struct rf_channel *channel = connect_hostile();
	uint64_t end = rf_test_deadline(2 * ATTACK_MS);

	while (rf__now() < end)
		if (kick(channel, "c") == -EPIPE || kick(channel, "p") == -EPIPE)
			return 1;
	return 0;
}

static int never_draw(void)
{
	struct rf_channel *channel = connect_hostile();
	uint64_t end = rf_test_deadline(ATTACK_MS), i;

	for (i = 0; rf__now() < end; i++)
		if (send_number(rf_channel_tx(channel), i, rf_test_deadline(10)) == -EPIPE)
			return 1;
	return 0;
}

static int stop_dead(void)
{
	struct rf_channel *channel = connect_hostile();

	send_number(rf_channel_tx(channel), 1, 0);
	return raise(SIGSTOP);
}

static int close_half(void)
{
	struct rf_channel *channel = connect_hostile();

	shutdown(channel->link.sock, SHUT_WR);
	nap(ATTACK_MS);
	return 0;
}

static int kill_itself(void)
{
	struct rf_channel *channel = connect_hostile();
	struct rf_buffer buffer;

	send_number(rf_channel_tx(channel), 1, 0);
	if (rf_tx_reserve(rf_channel_tx(channel), 100, 0, &buffer) < 0)
		return 1;
	memset(buffer.data, 0xff, 100);
	return raise(SIGKILL);
}

static int leave_an_heir(void)
{
	connect_hostile();
	if (fork())
		return 0;
	nap(5 * ATTACK_MS);
	_exit(0);
}

static int babble(void)
{
	struct rf_channel *channel = connect_hostile();
	char junk[300];
	int i;

	memset(junk, 'x', sizeof(junk));
	for (i = 0; i < 1000; i++)
		if (send(channel->link.sock, junk, sizeof(junk), MSG_DONTWAIT | MSG_NOSIGNAL) < 0 &&
			errno == EAGAIN)
			nap(1);
	return 0;
}

static int send_at_full_rate(void)
{
	struct rf_channel *channel = connect_hostile();
	uint64_t end = rf_test_deadline(ATTACK_MS), i;

	for (i = 0; i % 64 || rf__now() < end; i++)
		send_number(rf_channel_tx(channel), i, 0);
	return 0;
}

/* Regions whose descriptors it kept */

static int spoil(int fd, bool own)
{
	if (!ftruncate(fd, 0) || !ftruncate(fd, 1 << 30))
		return 10;
	if (!fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096))
		return 11;
	if (!fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE))
		return 12;
	if (mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) != MAP_FAILED)
		return 13;
	return own && pwrite(fd, "x", 1, 0) == 1 ? 14 : 0;
}

static int spoil_mapping(const struct rf__region *region, bool own)
{
	if (!own && !mprotect(region->base, 4096, PROT_READ | PROT_WRITE))
		return 20;
	return madvise(region->base, 4096, MADV_REMOVE) ? 0 : 21;
}

static int raw_connect(void)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	snprintf(name.sun_path, sizeof(name.sun_path), "%s", board->path);
	if (connect(sock, (const struct sockaddr *)&name, sizeof(name)) < 0) {
		close(sock);
		return -1;
	}
	return sock;
}

/* The handshake by hand; descriptors of the regions, before they are closed: own tx, own rx, peers'. */
static struct rf_channel *shake_and_keep(int fds[4])
{
	struct rf_options options = channel_options(RF_DOORBELL_SOCKET, 0), known;
	struct rf__identity nobody = RF__IDENTITY_INIT;
	struct rf__handshake h;
	struct rf__wish wish;
	struct rf_channel *c;
	int r = rf__options_read(&options, &known, NULL);

	c = rf__channel_new(raw_connect(), &nobody, &known);
	rf__socket_allow_fds(c->link.sock, true);
	wish = rf__options_wish(&known, &nobody, RF__CONNECTED, false);
	rf__handshake_begin(&h, c, false, &wish);
	while ((r = rf__handshake_step(&h)) == RF__HANDSHAKE_WAIT || r == RF__HANDSHAKE_MORE) {
		if (c->tx.half.own.fd >= 0 && fds[0] < 0) {
			fds[0] = dup(c->tx.half.own.fd);
			fds[1] = dup(c->rx.half.own.fd);
			fds[2] = dup(c->tx.half.peer.fd);
			fds[3] = dup(c->rx.half.peer.fd);
		}
		if (r == RF__HANDSHAKE_WAIT && !wait_readable(c->link.sock, SOON_MS))
			return NULL;
	}
	return r == RF__HANDSHAKE_OPEN ? c : NULL;
}

static int spoil_regions(void)
{
	int fds[4] = {-1, -1, -1, -1}, i, r = 0;
	struct rf_channel *c = shake_and_keep(fds);

	if (!c || fds[0] < 0)
		return 1;
	for (i = 0; i < 4 && !r; i++)
		r = spoil(fds[i], i < 2);
	r = r ? r : spoil_mapping(&c->tx.half.own, true);
	r = r ? r : spoil_mapping(&c->rx.half.own, true);
	r = r ? r : spoil_mapping(&c->tx.half.peer, false);
	r = r ? r : spoil_mapping(&c->rx.half.peer, false);
	nap(ATTACK_MS / 2);
	return r;
}

/* Connections */

static int stuff_descriptors(void)
{
	struct rf_channel *channel = connect_hostile();
	int raw = raw_connect(), i;

	for (i = 0; i < 50; i++) {
		send_many_fds(channel->link.sock, "c", 1, 20);
		send_many_fds(raw, "c", 1, 20);
	}
	nap(ATTACK_MS);
	return 0;
}

static int flood_with_connections(void)
{
	uint64_t end = rf_test_deadline(2 * ATTACK_MS);
	int socks[40], i;

	memset(socks, 0xff, sizeof(socks));
	for (i = 0; rf__now() < end; i = (i + 1) % 40) {
		if (socks[i] >= 0)
			close(socks[i]);
		socks[i] = raw_connect();
		if (socks[i] >= 0 && i % 2)
			send(socks[i], "garbage", 7, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (i % 8 == 0)
			nap(1);
	}
	return 0;
}

static int connect_and_be_silent(void)
{
	int i;

	for (i = 0; i < 40; i++)
		raw_connect();
	nap(ATTACK_MS);
	return 0;
}

#define ANY 1 /* no channel has to end, or with any error */

struct row {
	const char *name;
	int (*attack)(void);
	int shows; /* how the hostile channel ends for the victim */
	bool busy; /* there is honest work for its processor */
};

static const struct row rows[] = {
	{"p1_nonsense_for_a_tail", garble_tail, -EPROTO, false},
	{"p1_nonsense_for_a_head", garble_head, -EPROTO, false},
	{"p3_nonsense_for_a_header", garble_header, -EPROTO, false},
	{"d8_wants_that_flicker", want_nonsense, -EPIPE, true},
	{"d6_a_storm_of_kicks", kick_for_nothing, -EPIPE, false},
	{"d9_records_at_full_rate", send_at_full_rate, -EPIPE, true},
	{"c5_nothing_is_ever_taken", never_draw, -EPIPE, true},
	{"c8_it_stops", stop_dead, -EPIPE, false},
	{"c8_it_kills_itself_with_a_reservation_open", kill_itself, -EPIPE, false},
	{"c8_an_heir_keeps_the_socket", leave_an_heir, -EPIPE, false},
	{"c4_the_socket_is_closed_one_way", close_half, -EPIPE, false},
	{"c4_babble_on_the_socket", babble, -EPROTO, false},
	{"m1_m2_m3_m4_regions_are_to_be_spoilt", spoil_regions, -EPIPE, false},
	{"c1_descriptors_are_sent", stuff_descriptors, ANY, false},
	{"c6_a_flood_of_connections", flood_with_connections, ANY, true},
	{"c4_handshakes_that_never_begin", connect_and_be_silent, ANY, false},
};

#define ROWS (sizeof(rows) / sizeof(rows[0]))

/* The judge */

struct usage {
	size_t fds, regions;
	uint64_t resident, cpu_ns;
};

static size_t count_lines(pid_t pid, const char *what, const char *word)
{
	char command[64], line[512];
	size_t n = 0;
	FILE *list;

	snprintf(command, sizeof(command), "/proc/%d/%s", pid, what);
	list = fopen(command, "re");
	assert_non_null(list);
	while (fgets(line, sizeof(line), list))
		n += strstr(line, word) != NULL;
	fclose(list);
	return n;
}

static size_t count_fds_of(pid_t pid)
{
	char path[64];
	size_t n = 0, fd;

	for (fd = 0; fd < 1024; fd++) {
		snprintf(path, sizeof(path), "/proc/%d/fd/%zu", pid, fd);
		n += faccessat(AT_FDCWD, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
	}
	return n;
}

static struct usage usage_of(pid_t pid)
{
	struct usage usage = {
		.fds = count_fds_of(pid), .regions = count_lines(pid, "maps", "/memfd:")};
	unsigned long total = 0, resident = 0;
	struct timespec t = {0};
	clockid_t clock;
	char path[40];
	FILE *statm;

	snprintf(path, sizeof(path), "/proc/%d/statm", pid);
	statm = fopen(path, "re");
	assert_non_null(statm);
	assert_int_equal(fscanf(statm, "%lu %lu", &total, &resident), 2);
	fclose(statm);
	usage.resident = resident * (uint64_t)sysconf(_SC_PAGESIZE);
	assert_int_equal(clock_getcpuclockid(pid, &clock), 0);
	clock_gettime(clock, &t);
	usage.cpu_ns = (uint64_t)t.tv_sec * RF__SEC + (uint64_t)t.tv_nsec;
	return usage;
}

static void wait_for_progress(uint64_t least)
{
	uint64_t until = rf_test_deadline(SOON_MS), from = READ(honest);

	while (READ(honest) < from + least && rf__now() < until)
		nap(1);
	assert_true(READ(honest) >= from + least);
}

static struct usage wait_for_usage(pid_t victim, const struct usage *before)
{
	uint64_t until = rf_test_deadline(SOON_MS);
	struct usage after;

	do {
		nap(5);
		after = usage_of(victim);
	} while ((after.fds > before->fds || after.regions > before->regions) && rf__now() < until);
	return after;
}

static int run_attack(void *arg)
{
	const struct row *row = arg;

	return row->attack();
}

/* One that stops itself is killed; how it ended is its own affair, but for a success of its attack. */
static void attack(const struct row *row)
{
	pid_t pid = rf_test_child(run_attack, (void *)(uintptr_t)row, RF_TEST_UID, RF_TEST_UID);
	int verdict;

	if (row->attack == stop_dead) {
		nap(ATTACK_MS);
		rf_test_kill(pid);
		return;
	}
	verdict = rf_test_wait(pid, SOON_MS);
	if (verdict != 0 && verdict != -SIGKILL)
		fail_msg("the attack could do what it should not: %d", verdict);
}

static void check_usage(const struct row *row, const struct usage *before,
	const struct usage *after, uint64_t wall_ns)
{
	assert_int_equal(after->fds, before->fds);
	assert_int_equal(after->regions, before->regions);
	if (rf_test_instrumented())
		return;
	assert_true(after->resident < before->resident + GROWTH_BYTES);
	if (!row->busy)
		assert_true((after->cpu_ns - before->cpu_ns) * 100 < wall_ns * CPU_PERCENT);
}

static int connect_anew(void *arg)
{
	struct rf_channel *channel;
	uint64_t number = 0;
	int r = rf_connect(board->path, NULL, rf_test_deadline(SOON_MS), &channel);

	(void)arg;
	if (r >= 0)
		r = send_number(rf_channel_tx(channel), 5, 0);
	if (r >= 0)
		r = take_number(rf_channel_rx(channel), rf_test_deadline(SOON_MS), &number);
	return r == 1 && number == 5 ? 0 : 1;
}

static void check_row(const struct row *row, pid_t victim)
{
	struct usage before, after;
	uint64_t begun, until;

	wait_for_progress(PROGRESS_LEAST);
	before = usage_of(victim);
	begun = rf__now();
	attack(row);
	wait_for_progress(PROGRESS_LEAST);
	after = wait_for_usage(victim, &before);
	check_usage(row, &before, &after, rf__now() - begun);
	until = rf_test_deadline(SOON_MS);
	while (row->shows != ANY && !READ(ended) && rf__now() < until)
		nap(1);
	if (row->shows != ANY)
		assert_int_equal(READ(last), row->shows);
	assert_int_equal(rf_test_wait(rf_test_child(connect_anew, NULL, 0, 0), SOON_MS), 0);
	assert_true(READ(latency_ns) < LATENCY_MS * RF__MSEC);
	print_message("# %lu numbers, the slowest took %lu us; %lu turned away\n",
		(unsigned long)READ(honest), (unsigned long)(READ(latency_ns) / 1000),
		(unsigned long)READ(turned_away));
}

static void an_attack_harms_nobody_else(void **state)
{
	const struct row *row = *state;
	uint64_t until = rf_test_deadline(SOON_MS);
	pid_t victim, honest;

	rf_test_need_root();
	memset(board, 0, sizeof(*board));
	snprintf(board->path, sizeof(board->path), "%s", fresh_path());
	victim = rf_test_child(be_the_victim, NULL, 0, 0);
	while (!READ(ready) && rf__now() < until)
		nap(1);
	honest = rf_test_child(be_honest, NULL, 0, 0);
	check_row(row, victim);
	assert_int_equal(kill(honest, 0) + kill(victim, 0), 0);
	rf_test_kill(honest);
	rf_test_kill(victim);
}

int main(void)
{
	struct CMUnitTest tests[ROWS];
	unsigned i;

	board = mmap(
		NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (board == MAP_FAILED)
		return 1;
	for (i = 0; i < ROWS; i++)
		tests[i] = (struct CMUnitTest){.name = rows[i].name,
			.test_func = an_attack_harms_nobody_else,
			.initial_state = (void *)(uintptr_t)&rows[i]};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
