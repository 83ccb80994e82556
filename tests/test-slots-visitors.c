/* SPDX-License-Identifier: MIT */
/* Listeners and publishers whose clients get slots: which regions come, sealed how; what hostile
 * clients do to them; what they cost. */
#include "slots-regions.h"

#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

/* A scripted client, that speaks to a listener of this process. */

struct visitor {
	struct rf_options options;
	char path[128];
	struct rf_listener *listener;
	int sock;
	struct rf__wire wire;
	int fds[RF__FDS_MAX];
	unsigned n_fds;
};

static void visitor_say(struct visitor *v)
{
	unsigned char message[RF__WIRE_MAX];
	unsigned n_fds;
	size_t len = rf__wire_output(&v->wire, message, &n_fds);

	say(v->sock, message, len, NULL, 0);
}

/* Until the WELCOME is there, of whose descriptors there are n. */
static void visitor_visit(struct visitor *v, uint32_t direction, unsigned n)
{
	struct rf_options options = slots_options(RF_DOORBELL_EVENTFD);
	struct rf_channel *channel;
	struct rf__wish wish;
	unsigned char message[RF__WIRE_MAX];
	ssize_t len = -EAGAIN;

	options.direction = direction;
	wish = wish_of(&options);
	v->sock = raw_connect(v->path);
	assert_true(v->sock >= 0);
	assert_int_equal(fcntl(v->sock, F_SETFL, O_NONBLOCK), 0);
	rf__wire_init(&v->wire, false, &wish);
	visitor_say(v);
	while (len == -EAGAIN) {
		assert_int_equal(rf_accept(v->listener, 0, &channel), -EAGAIN);
		len = rf__socket_receive(
			v->sock, message, sizeof(message), v->fds, RF__FDS_MAX, &v->n_fds);
	}
	assert_int_equal(v->n_fds, n);
	assert_int_equal(rf__wire_input(&v->wire, message, (size_t)len, v->n_fds), 0);
	rf__wire_done(&v->wire);
}

static void visitor_begin(struct visitor *v, uint32_t direction)
{
	memset(v, 0, sizeof(*v));
	v->options = channel_options(RF_DOORBELL_EVENTFD, RF_WAIT_ADAPTIVE);
	v->options.max_channels = 1;
	snprintf(v->path, sizeof(v->path), "%s", fresh_path());
	v->listener = listen_at(v->path, &v->options);
	visitor_visit(v, direction, direction == (RF_SEND | RF_RECEIVE) ? 2 * N_AT : N_AT);
}

static void visitor_leave(struct visitor *v)
{
	while (v->n_fds)
		rf__close(&v->fds[--v->n_fds]);
	rf__close(&v->sock);
}

static void visitor_end(struct visitor *v)
{
	visitor_leave(v);
	rf_listener_close(v->listener);
}

/* The server refuses what the client made of its regions. */
static void visitor_refused(struct visitor *v, const char *reason)
{
	struct rf_listener_stats before = listener_figures(v->listener);
	struct rf_channel *channel;

	visitor_say(v);
	while (listener_figures(v->listener).refused == before.refused)
		assert_true(rf_accept(v->listener, 0, &channel) < 0);
	assert_has(rf_listener_reason(v->listener), reason);
	visitor_end(v);
}

static void seal(int fd)
{
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE | F_SEAL_SEAL), 0);
}

static void every_region_is_sealed_for_its_writer(void **state)
{
	struct visitor v;

	(void)state;
	visitor_begin(&v, RF_SEND);
	assert_region(v.fds[SLOTS_AT], SIZED, FILE_BYTES);
	assert_region(v.fds[PRODUCER_AT], SIZED, 4096 + AREA_BYTES);
	assert_region(v.fds[CONSUMER_AT], FINAL, 4096 + 4096);
	assert_int_equal(fcntl(v.fds[SLOTS_AT], F_GETFL) & O_ACCMODE, O_RDWR);
	assert_true(can_be_written(v.fds[SLOTS_AT]));
	visitor_end(&v);
	visitor_begin(&v, RF_RECEIVE);
	assert_region(v.fds[SLOTS_AT], FINAL, FILE_BYTES);
	assert_region(v.fds[PRODUCER_AT], FINAL, 4096 + AREA_BYTES);
	assert_region(v.fds[CONSUMER_AT], SIZED, 4096 + 4096);
	assert_int_equal(fcntl(v.fds[SLOTS_AT], F_GETFL) & O_ACCMODE, O_RDONLY);
	assert_false(can_be_written(v.fds[SLOTS_AT]));
	visitor_end(&v);
	visitor_begin(&v, RF_SEND | RF_RECEIVE);
	assert_region(v.fds[SLOTS_AT], SIZED, FILE_BYTES);
	assert_region(v.fds[N_AT + SLOTS_AT], FINAL, FILE_BYTES);
	visitor_end(&v);
}

/* M4, M6: what it reads it cannot reopen for writing, nor punch. */
static void m4_m6_a_client_cannot_write_slots_that_it_receives(void **state)
{
	struct visitor v;
	char path[40];
	int fd;

	(void)state;
	visitor_begin(&v, RF_RECEIVE);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", v.fds[SLOTS_AT]);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		fd = dup(v.fds[SLOTS_AT]);
	assert_false(can_be_written(fd));
	assert_int_equal(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096), -1);
	assert_int_equal(ftruncate(fd, 0), -1);
	close(fd);
	visitor_end(&v);
}

static void p10_regions_with_slots_come_zero(void **state)
{
	static const unsigned char zero[FILE_BYTES];
	static const off_t sizes[] = {FILE_BYTES, 4096 + AREA_BYTES, 8192};
	struct visitor v;
	void *base;

	(void)state;
	for (uint32_t direction = RF_SEND; direction <= RF_RECEIVE; direction++) {
		visitor_begin(&v, direction);
		for (unsigned i = 0; i < 3; i++) {
			base = mmap(NULL, (size_t)sizes[i], PROT_READ, MAP_SHARED, v.fds[i], 0);
			assert_memory_equal(base, zero, (size_t)sizes[i]);
			munmap(base, (size_t)sizes[i]);
		}
		visitor_end(&v);
	}
}

static void m3_slots_that_are_not_sealed_are_refused(void **state)
{
	struct visitor v;

	(void)state;
	visitor_begin(&v, RF_SEND);
	seal(v.fds[PRODUCER_AT]);
	visitor_refused(&v, "lacks seals");
	visitor_begin(&v, RF_SEND);
	seal(v.fds[PRODUCER_AT]);
	assert_int_equal(fcntl(v.fds[SLOTS_AT], F_ADD_SEALS, F_SEAL_FUTURE_WRITE), 0);
	visitor_refused(&v, "lacks seals");
}

static void m2_slots_with_a_hole_are_refused(void **state)
{
	static const int modes = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	struct visitor v;

	(void)state;
	visitor_begin(&v, RF_SEND);
	assert_int_equal(fallocate(v.fds[SLOTS_AT], modes, 8192, 4096), 0);
	seal(v.fds[PRODUCER_AT]);
	seal(v.fds[SLOTS_AT]);
	visitor_refused(&v, "holes");
	/* nor is it made up for by blocks elsewhere */
	visitor_begin(&v, RF_SEND);
	assert_int_equal(fallocate(v.fds[SLOTS_AT], modes, 8192, 4096), 0);
	assert_int_equal(fallocate(v.fds[SLOTS_AT], FALLOC_FL_KEEP_SIZE, FILE_BYTES, 4096), -1);
	seal(v.fds[PRODUCER_AT]);
	seal(v.fds[SLOTS_AT]);
	visitor_refused(&v, "holes");
}

/* Its slots are its own: what was in them before the seal is of no interest, and a mapping that it
 * keeps is the one that it writes through anyway. */
static void m4_a_client_that_rewrites_its_slots_before_the_seal_gains_nothing(void **state)
{
	struct rf_channel *channel;
	struct rf_message message;
	unsigned char *base;
	struct visitor v;

	(void)state;
	visitor_begin(&v, RF_SEND);
	base = mmap(NULL, FILE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, v.fds[SLOTS_AT], 0);
	assert_ptr_not_equal(base, MAP_FAILED);
	memset(base, 0xff, FILE_BYTES);
	seal(v.fds[PRODUCER_AT]);
	seal(v.fds[SLOTS_AT]);
	visitor_say(&v);
	channel = accept_one(v.listener);
	memset(base, 0x55, FILE_BYTES);
	assert_int_equal(rf_rx_borrow(rf_channel_rx(channel), 0, &message, 1), -EAGAIN);
	assert_int_equal(
		fallocate(v.fds[SLOTS_AT], FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096),
		-1);
	munmap(base, FILE_BYTES);
	rf_channel_close(channel);
	visitor_end(&v);
}

/* M5: it writes to its slots from a page whose fault never ends, and so holds the inode's lock. */

struct attack {
	int fd, report;
	unsigned char *trap;
};

static void *write_from_trap(void *arg)
{
	const struct attack *attack = arg;

	return pwrite(attack->fd, attack->trap, 1, 0) < 0 ? NULL : attack->trap;
}

static int set_trap(struct attack *attack)
{
	struct uffdio_api api = {.api = UFFD_API};
	struct uffdio_register range = {.mode = UFFDIO_REGISTER_MODE_MISSING};
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);

	attack->trap = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	range.range.start = (uintptr_t)attack->trap;
	range.range.len = 4096;
	if (fd < 0 || attack->trap == MAP_FAILED || ioctl(fd, UFFDIO_API, &api) < 0 ||
		ioctl(fd, UFFDIO_REGISTER, &range) < 0)
		return -1;
	return fd;
}

static int hold_the_lock(void *arg)
{
	struct attack *attack = arg;
	struct uffd_msg message;
	pthread_t thread;
	int fd = set_trap(attack);

	if (fd < 0 || pthread_create(&thread, NULL, write_from_trap, attack))
		return 1;
	if (read(fd, &message, sizeof(message)) != sizeof(message) ||
		write(attack->report, "", 1) != 1)
		return 2;
	pause();
	return 3;
}

static void m5_a_client_that_holds_the_lock_of_its_slots_stops_nobody(void **state)
{
	struct attack attack = {.fd = -1};
	struct visitor v;
	int ends[2];
	pid_t attacker;
	char stuck;

	(void)state;
	rf_test_need_root();
	visitor_begin(&v, RF_SEND);
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	attack.fd = v.fds[SLOTS_AT];
	attack.report = ends[1];
	attacker = rf_test_child(hold_the_lock, &attack, 0, 0);
	close(ends[1]);
	if (read(ends[0], &stuck, 1) != 1) {
		rf_test_kill(attacker);
		close(ends[0]);
		visitor_end(&v);
		rf_test_need("userfaultfd", false);
	}
	rf_test_limit(SOON_MS / 1000);
	seal(v.fds[PRODUCER_AT]);
	visitor_refused(&v, "lacks seals");
	rf_test_limit(0);
	rf_test_kill(attacker);
	close(ends[0]);
}

/* What it costs */

static void m10_slots_count_until_the_client_has_let_go_of_them(void **state)
{
	struct rf_channel *channel;
	char reason[192];
	struct visitor v;
	struct ends ends;
	int kept;

	(void)state;
	visitor_begin(&v, RF_RECEIVE);
	seal(v.fds[CONSUMER_AT]);
	visitor_say(&v);
	channel = accept_one(v.listener);
	rf_channel_close(channel);
	kept = v.fds[SLOTS_AT];
	v.fds[SLOTS_AT] = -1;
	visitor_leave(&v);
	assert_int_equal(meet(v.listener, v.path, NULL, &ends, reason), -ENOBUFS);
	assert_has(reason, "has 1 channels");
	close(kept);
	assert_int_equal(meet(v.listener, v.path, NULL, &ends, NULL), 0);
	ends_close(&ends);
	visitor_end(&v);
}

static void m11_slots_are_charged_before_they_are_made(void **state)
{
	struct rf_options server = channel_options(0, 0), client = slots_options(0);
	uint64_t both = 2 * (FILE_BYTES + 4096 + AREA_BYTES + 4096 + 4096);
	char path[128], reason[192];
	struct rf_listener *listener;
	struct ends ends;

	(void)state;
	for (int enough = 0; enough < 2; enough++) {
		snprintf(path, sizeof(path), "%s", fresh_path());
		server.max_bytes = enough ? both : both - 1;
		listener = listen_at(path, &server);
		assert_int_equal(
			meet(listener, path, &client, &ends, reason), enough ? 0 : -ENOBUFS);
		if (enough)
			ends_close(&ends);
		else
			assert_has(reason, "exceed a quota");
		rf_listener_close(listener);
	}
}

static void m12_large_slots_are_made_in_turns_with_others(void **state)
{
	struct rf_options options = slots_options(RF_DOORBELL_SOCKET);
	struct ends ends;
	char path[128];
	struct rf_listener *listener;

	(void)state;
	options.slots = 5;
	options.slot_bytes = 5 << 20;
	options.direction = RF_SEND;
	snprintf(path, sizeof(path), "%s", fresh_path());
	listener = listen_at(path, NULL);
	assert_int_equal(meet(listener, path, &options, &ends, NULL), 0);
	assert_int_equal(channel_stats(ends.server).rx.slot_bytes, 5 << 20);
	ends_close(&ends);
	rf_listener_close(listener);
}

/* Subscribers */

static struct rf_publisher *publish(const char *path, uint32_t doorbell)
{
	struct rf_options options = slots_options(doorbell);
	struct rf_publisher *publisher;

	options.hold = 1;
	options.max_bytes =
		100000; /* the slots are the publisher's own: nobody is charged for them */
	assert_int_equal(rf_publish(path, &options, &publisher), 0);
	return publisher;
}

static struct rf_publisher_stats figures_of(struct rf_publisher *publisher)
{
	struct rf_publisher_stats stats = {.size = sizeof(stats)};

	assert_int_equal(rf_publisher_stats(publisher, &stats), 0);
	return stats;
}

static void m4_a_subscriber_gets_sealed_slots_and_a_ring_of_its_own(void **state)
{
	struct rf_options options = channel_options(RF_DOORBELL_EVENTFD, 0);
	unsigned char message[RF__WIRE_MAX];
	struct rf_publisher *publisher;
	struct rf__wish wish = wish_of(&options);
	struct visitor v = {.n_fds = 0};
	ssize_t len = -EAGAIN;

	(void)state;
	snprintf(v.path, sizeof(v.path), "%s", fresh_path());
	publisher = publish(v.path, RF_DOORBELL_EVENTFD);
	wish.kind = 0;
	wish.direction = RF_RECEIVE;
	rf__wire_init(&v.wire, false, &wish);
	v.sock = raw_connect(v.path);
	assert_int_equal(fcntl(v.sock, F_SETFL, O_NONBLOCK), 0);
	visitor_say(&v);
	while (len == -EAGAIN) {
		assert_int_equal(rf_publisher_process(publisher), 0);
		len = rf__socket_receive(
			v.sock, message, sizeof(message), v.fds, RF__FDS_MAX, &v.n_fds);
	}
	assert_int_equal(v.n_fds, N_AT);
	assert_int_equal(rf__wire_input(&v.wire, message, (size_t)len, v.n_fds), 0);
	assert_int_equal(v.wire.terms.hold, 1);
	assert_int_equal(v.wire.terms.lag, RF_LAG_DROP);
	assert_region(v.fds[SLOTS_AT], FINAL, FILE_BYTES);
	assert_region(v.fds[PRODUCER_AT], FINAL, 8192);
	assert_region(v.fds[CONSUMER_AT], SIZED, 8192);
	assert_false(can_be_written(v.fds[SLOTS_AT]));
	assert_int_equal(figures_of(publisher).granted, 1);
	visitor_leave(&v);
	while (figures_of(publisher).granted)
		assert_int_equal(rf_publisher_process(publisher), 0);
	rf_publisher_close(publisher);
}

#define CROWD 64

/* Each with a socket, a pidfd and bells of its own. */
static int join_in_crowds(void *arg)
{
	struct rf_channel *channels[CROWD];
	unsigned i;

	for (i = 0; i < CROWD; i++)
		if (rf_connect(arg, NULL, rf_test_deadline(SOON_MS), &channels[i]) < 0)
			return 1 + (int)i;
	while (i)
		rf_channel_close(channels[--i]);
	return 0;
}

static void sixty_four_subscribers_of_our_user_fit_under_1024_descriptors(void **state)
{
	uint64_t limit = rf_test_limit_files(1024), until = rf_test_deadline(SOON_MS);
	struct rf_options options = slots_options(RF_DOORBELL_AUTO);
	struct rf_publisher *publisher;
	char path[128];
	pid_t pid;

	(void)state;
	snprintf(path, sizeof(path), "%s", fresh_path());
	options.slots = 128;
	options.hold = 1;
	assert_int_equal(rf_publish(path, &options, &publisher), 0);
	pid = rf_test_child(join_in_crowds, path, 0, 0);
	while (figures_of(publisher).joined < CROWD && rf_test_deadline(0) < until)
		assert_int_equal(rf_publisher_process(publisher), 0);
	assert_int_equal(figures_of(publisher).joined, CROWD);
	assert_int_equal(rf_test_wait(pid, SOON_MS), 0);
	rf_publisher_close(publisher);
	rf_test_limit_files(limit);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, leaks_setup, leaks_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(every_region_is_sealed_for_its_writer),
		TEST(m4_m6_a_client_cannot_write_slots_that_it_receives),
		TEST(p10_regions_with_slots_come_zero),
		TEST(m3_slots_that_are_not_sealed_are_refused),
		TEST(m2_slots_with_a_hole_are_refused),
		TEST(m4_a_client_that_rewrites_its_slots_before_the_seal_gains_nothing),
		TEST(m5_a_client_that_holds_the_lock_of_its_slots_stops_nobody),
		TEST(m10_slots_count_until_the_client_has_let_go_of_them),
		TEST(m11_slots_are_charged_before_they_are_made),
		TEST(m12_large_slots_are_made_in_turns_with_others),
		TEST(m4_a_subscriber_gets_sealed_slots_and_a_ring_of_its_own),
		TEST(sixty_four_subscribers_of_our_user_fit_under_1024_descriptors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
