/* SPDX-License-Identifier: MIT */
/* Regions: what a peer can no longer do to them, and which descriptors of a peer are refused. */
#include "region-fixture.h"

#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#define SIZED (F_SEAL_SHRINK | F_SEAL_GROW)
#define FINAL (SIZED | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL)

/* A memfd as a hostile peer makes it. */
static int make_memfd(uint64_t size, bool allocated, int seals)
{
	int fd = memfd_create("hostile", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	if (allocated && size)
		assert_int_equal(fallocate(fd, 0, 0, (off_t)size), 0);
	if (seals)
		assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
	return fd;
}

static int verify_and_close(int fd, enum rf__seals seals)
{
	int r = verify(fd, seals);

	close(fd);
	return r;
}

static int seals_of(int fd)
{
	return fcntl(fd, F_GET_SEALS) & ~F_SEAL_EXEC;
}

static void m1_a_file_that_is_not_as_long_as_said_is_refused(void **state)
{
	const uint64_t sizes[] = {0, page(), area(), file_bytes() - 1, file_bytes() + 1,
		file_bytes() + page(), 2 * file_bytes()};

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		assert_int_equal(
			verify_and_close(make_memfd(sizes[i], true, FINAL), RF__SEALS_FINAL),
			-EBADMSG);
		assert_reason("bytes instead of");
	}
}

static void m1_a_sealed_file_can_be_neither_shrunk_nor_grown(void **state)
{
	struct rf__region region = make(RF__READ_ONLY, RF__SEALS_SIZED);

	(void)state;
	assert_int_equal(ftruncate(region.fd, 0), -1);
	assert_int_equal(errno, EPERM);
	assert_int_equal(ftruncate(region.fd, (off_t)(file_bytes() + page())), -1);
	assert_int_equal(errno, EPERM);
	drop(&region);
}

static void m2_a_sparse_region_is_refused(void **state)
{
	(void)state;
	assert_int_equal(
		verify_and_close(make_memfd(file_bytes(), false, FINAL), RF__SEALS_FINAL), -EPERM);
	assert_reason("holes");
	assert_int_equal(
		verify_and_close(make_memfd(file_bytes(), false, SIZED), RF__SEALS_SIZED), -EPERM);
	assert_reason("holes");
}

static int punch(int fd, uint64_t offset)
{
	return fallocate(
		fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)page());
}

static void m2_a_hole_punched_before_the_last_seal_is_refused(void **state)
{
	struct rf__region server = make(RF__READ_ONLY, RF__SEALS_SIZED);
	struct rf__region client = receive(rf__region_lend(&server, RF__READ_WRITE, &reason));

	(void)state;
	assert_int_equal(punch(client.fd, 3 * page()), 0);
	assert_int_equal(rf__region_seal(&client, RF__SEALS_FINAL, &reason), 0);
	assert_int_equal(rf__region_verify(&server, RF__SEALS_FINAL, &reason), -EPERM);
	assert_reason("holes");
	drop(&client);
	drop(&server);
}

static void m2_nothing_can_be_punched_after_the_last_seal(void **state)
{
	struct rf__region region = make(RF__READ_WRITE, RF__SEALS_FINAL);

	(void)state;
	for (uint64_t at = 0; at < file_bytes(); at += page()) {
		assert_int_equal(punch(region.fd, at), -1);
		assert_int_equal(errno, EPERM);
	}
	madvise(region.base, (size_t)file_bytes(), MADV_REMOVE);
	assert_int_equal(rf__region_verify(&region, RF__SEALS_FINAL, &reason), 0);
	drop(&region);
}

static void m2_a_client_can_put_no_blocks_behind_the_end(void **state)
{
	struct rf__region server = make(RF__READ_ONLY, RF__SEALS_SIZED);
	int lent = rf__region_lend(&server, RF__READ_WRITE, &reason);

	(void)state;
	assert_int_equal(
		fallocate(lent, FALLOC_FL_KEEP_SIZE, (off_t)file_bytes(), (off_t)page()), -1);
	assert_int_equal(errno, EPERM);
	close(lent);
	drop(&server);
}

/* All combinations of the six seals there are, against both sets that are wanted. */
static void m3_only_the_exact_seals_are_accepted(void **state)
{
	(void)state;
	for (int seals = 0; seals < 0x40; seals++) {
		int fd = make_memfd(file_bytes(), true, 0);
		bool sealed = fcntl(fd, F_ADD_SEALS, seals) == 0;
		int found = seals_of(fd);
		int sized = verify(fd, RF__SEALS_SIZED);
		int final = verify(fd, RF__SEALS_FINAL);

		close(fd);
		if (!sealed && (seals & F_SEAL_EXEC) && !rf_test_kernel(6, 3))
			continue;
		assert_true(sealed);
		assert_int_equal(sized, found == SIZED ? 0 : -EPERM);
		assert_int_equal(final, found == FINAL ? 0 : -EPERM);
	}
}

static void m3_missing_and_surplus_seals_have_their_sentences(void **state)
{
	(void)state;
	assert_int_equal(verify_and_close(make_memfd(file_bytes(), true, FINAL & ~F_SEAL_SEAL),
				 RF__SEALS_FINAL),
		-EPERM);
	assert_reason("lacks seals");
	assert_int_equal(verify_and_close(make_memfd(file_bytes(), true, FINAL | F_SEAL_WRITE),
				 RF__SEALS_FINAL),
		-EPERM);
	assert_reason("surplus seals");
	assert_int_equal(
		verify_and_close(make_memfd(file_bytes(), true, FINAL), RF__SEALS_SIZED), -EPERM);
	assert_reason("surplus seals");
}

static void m3_no_seal_can_be_added_after_the_last(void **state)
{
	struct rf__region region = make(RF__READ_WRITE, RF__SEALS_FINAL);

	(void)state;
	assert_int_equal(fcntl(region.fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
	assert_int_equal(errno, EPERM);
	assert_int_equal(rf__region_seal(&region, RF__SEALS_FINAL, &reason), -EPERM);
	drop(&region);
}

static void m5_verify_only_looks_and_at_the_seals_first(void **state)
{
	struct rf__region region = make(RF__READ_WRITE, RF__SEALS_FINAL);

	(void)state;
	watch();
	assert_int_equal(rf__region_verify(&region, RF__SEALS_FINAL, &reason), 0);
	kernel.watched = false;
	assert_int_equal(kernel.n_calls, 3);
	assert_int_equal(kernel.calls[0], GET_SEALS);
	assert_int_equal(kernel.calls[1], FSTATFS);
	assert_int_equal(kernel.calls[2], FSTAT);
	drop(&region);
}

static void m5_what_a_peer_may_hold_is_not_changed(void **state)
{
	struct rf__region region = RF__REGION_INIT;

	(void)state;
	assert_int_equal(rf__region_create(&region, "test", RF__RING_SHAPE, area(), &reason), 0);
	close(rf__region_lend(&region, RF__READ_ONLY, &reason));
	watch();
	assert_int_equal(rf__region_allocate(&region, page(), &reason), -EINVAL);
	assert_reason("peer may hold");
	assert_int_equal(rf__region_seal(&region, RF__SEALS_FINAL, &reason), -EINVAL);
	assert_reason("peer may hold");
	close(rf__region_lend(&region, RF__READ_ONLY, &reason));
	assert_int_equal(kernel.n_calls, 0); /* no fchmod either */
	kernel.watched = false;
	drop(&region);
}

/* A peer that writes to its region from a page whose fault never ends: it holds the inode's
 * lock. */
struct attack {
	int fd;     /* of the region */
	int report; /* gets a byte once the attacker is stuck in its fault */
	unsigned char *trap;
};

static void *write_from_trap(void *arg)
{
	const struct attack *attack = arg;

	if (pwrite(attack->fd, attack->trap, 1, 0) < 0)
		return NULL;
	return attack->trap;
}

static int set_trap(struct attack *attack)
{
	struct uffdio_api api = {.api = UFFD_API};
	struct uffdio_register range = {.mode = UFFDIO_REGISTER_MODE_MISSING};
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);

	attack->trap = mmap(
		NULL, (size_t)page(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	range.range.start = (uintptr_t)attack->trap;
	range.range.len = page();
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
		message.event != UFFD_EVENT_PAGEFAULT || write(attack->report, "", 1) != 1)
		return 2;
	pause();
	return 3;
}

static int verify_in_child(void *arg)
{
	return rf__region_verify(arg, RF__SEALS_SIZED, NULL) ? 1 : 0;
}

static void m5_verify_does_not_wait_for_a_peer_that_holds_the_inode(void **state)
{
	struct rf__region server;
	struct attack attack;
	int ends[2], verdict;
	pid_t attacker;
	char stuck;

	(void)state;
	rf_test_need_root();
	server = make(RF__READ_ONLY, RF__SEALS_SIZED);
	attack.fd = rf__region_lend(&server, RF__READ_WRITE, &reason);
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	attack.report = ends[1];
	attacker = rf_test_child(hold_the_lock, &attack, 0, 0);
	close(ends[1]);
	if (read(ends[0], &stuck, 1) != 1) {
		rf_test_kill(attacker);
		rf_test_need("userfaultfd", false);
	}
	verdict = rf_test_wait(rf_test_child(verify_in_child, &server, 0, 0), 10000);
	rf_test_kill(attacker);
	assert_int_equal(verdict, 0);
	close(ends[0]);
	close(attack.fd);
	drop(&server);
}

static void m7_a_hugetlb_memfd_is_refused(void **state)
{
	int fd = memfd_create("huge", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_HUGETLB);

	(void)state;
	rf_test_need("hugetlb", fd >= 0);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, FINAL), 0);
	assert_int_equal(verify_and_close(fd, RF__SEALS_FINAL), -EPERM);
	assert_reason("hugetlbfs");
}

static void m8_a_descriptor_that_is_no_memfd_is_refused_at_its_seals(void **state)
{
	struct rf__region region = make(RF__READ_WRITE, RF__SEALS_FINAL);
	int pipe_ends[2], sockets[2];
	char path[64];

	(void)state;
	assert_int_equal(pipe2(pipe_ends, O_CLOEXEC), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets), 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", region.fd);
	const int fds[] = {-1, pipe_ends[0], pipe_ends[1], sockets[0], sockets[1],
		open("/dev/zero", O_RDWR | O_CLOEXEC),
		open(rf_test_tmpdir(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600),
		open(rf_test_tmpdir(), O_DIRECTORY | O_CLOEXEC), eventfd(0, EFD_CLOEXEC),
		epoll_create1(EPOLL_CLOEXEC), open("/proc/self/maps", O_RDONLY | O_CLOEXEC),
		open(path, O_PATH | O_CLOEXEC)};

	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
		assert_true(i == 0 || fds[i] >= 0);
		watch();
		assert_int_equal(verify(fds[i], RF__SEALS_FINAL), -EPERM);
		kernel.watched = false;
		assert_int_equal(kernel.n_calls, 1);
		assert_int_equal(kernel.calls[0], GET_SEALS);
		if (fds[i] >= 0)
			close(fds[i]);
	}
	drop(&region);
}

/* Its file system is tmpfs, too, and it has seals: but never these. */
static void m8_a_file_of_dev_shm_is_refused(void **state)
{
	int fd = open("/dev/shm", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	(void)state;
	rf_test_need("/dev/shm", fd >= 0);
	assert_int_equal(fallocate(fd, 0, 0, (off_t)file_bytes()), 0);
	watch();
	assert_int_equal(verify_and_close(fd, RF__SEALS_FINAL), -EPERM);
	kernel.watched = false;
	assert_int_equal(kernel.n_calls, 1);
}

static void m8_another_file_system_is_refused(void **state)
{
	(void)state;
	watch();
	kernel.file_system = 0x65735546; /* FUSE */
	assert_int_equal(
		verify_and_close(make_memfd(file_bytes(), true, FINAL), RF__SEALS_FINAL), -EPERM);
	kernel.watched = false;
	assert_reason("not on tmpfs");
}

static void m4_a_clients_region_is_sealed_by_the_client_itself(void **state)
{
	struct rf__region server = make(RF__READ_ONLY, RF__SEALS_SIZED);
	struct rf__region client = receive(rf__region_lend(&server, RF__READ_WRITE, &reason));

	(void)state;
	assert_int_equal(rf__region_verify(&client, RF__SEALS_SIZED, &reason), 0);
	assert_int_equal(rf__region_map(&client, RF__READ_WRITE, &reason), 0);
	assert_int_equal(rf__region_verify(&server, RF__SEALS_FINAL, &reason), -EPERM);
	assert_int_equal(rf__region_seal(&client, RF__SEALS_FINAL, &reason), 0);
	assert_int_equal(rf__region_verify(&server, RF__SEALS_FINAL, &reason), 0);
	memcpy(client.base + page() + area() - 2, "frame", 6);
	assert_string_equal((char *)server.base + page() + area() - 2, "frame");
	assert_true(is_writable(client.base));
	assert_false(is_writable(server.base));
	drop(&client);
	drop(&server);
}

static void m4_what_was_sealed_cannot_be_mapped_to_be_written(void **state)
{
	struct rf__region server = make(RF__READ_WRITE, RF__SEALS_FINAL);
	struct rf__region client = receive(rf__region_lend(&server, RF__READ_WRITE, &reason));

	(void)state;
	watch();
	assert_int_equal(rf__region_map(&client, RF__READ_WRITE, &reason), -EPERM);
	assert_null(client.base);
	assert_int_equal(kernel.mapped, 0);
	kernel.watched = false;
	drop(&client);
	drop(&server);
}

static void m4_a_reader_cannot_make_its_mapping_writable(void **state)
{
	struct rf__region server = make(RF__READ_WRITE, RF__SEALS_FINAL);
	struct rf__region client = receive(rf__region_lend(&server, RF__READ_WRITE, &reason));

	(void)state;
	assert_int_equal(rf__region_map(&client, RF__READ_ONLY, &reason), 0);
	assert_int_equal(mprotect(client.base, (size_t)page(), PROT_READ | PROT_WRITE), -1);
	assert_int_equal(errno, EACCES);
	drop(&client);
	drop(&server);
}

static void m6_a_reopened_region_can_be_neither_written_nor_changed(void **state)
{
	struct rf__region server = make(RF__READ_WRITE, RF__SEALS_FINAL);
	int lent = rf__region_lend(&server, RF__READ_ONLY, &reason);
	char path[64];
	int fd;

	(void)state;
	assert_int_equal(access_of(lent), O_RDONLY);
	assert_int_equal(fchmod(lent, 0600), 0); /* as a peer of our own user could */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", lent);
	fd = open(path, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_ptr_equal(mmap(NULL, (size_t)page(), PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
	assert_int_equal(errno, EPERM);
	assert_int_equal(pwrite(fd, "x", 1, 0), -1);
	assert_int_equal(errno, EPERM);
	assert_int_equal(ftruncate(fd, 0), -1);
	assert_int_equal(errno, EPERM);
	assert_int_equal(ftruncate(fd, (off_t)(2 * file_bytes())), -1);
	assert_int_equal(errno, EPERM);
	assert_int_equal(open(path, O_RDWR | O_TRUNC | O_CLOEXEC), -1);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
	assert_int_equal(errno, EPERM);
	close(fd);
	close(lent);
	drop(&server);
}

static int reopen_as_stranger(void *arg)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", *(int *)arg);
	if (open(path, O_RDWR | O_CLOEXEC) >= 0 || errno != EACCES)
		return 1;
	return open(path, O_RDONLY | O_CLOEXEC) >= 0 || errno != EACCES ? 2 : 0;
}

static void m6_another_user_cannot_reopen_a_region(void **state)
{
	struct rf__region server;
	int lent;

	(void)state;
	rf_test_need_root();
	server = make(RF__READ_ONLY, RF__SEALS_SIZED);
	lent = rf__region_lend(&server, RF__READ_WRITE, &reason);
	assert_int_equal(
		rf_test_wait(
			rf_test_child(reopen_as_stranger, &lent, RF_TEST_UID, RF_TEST_UID), 10000),
		0);
	close(lent);
	drop(&server);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(m1_a_file_that_is_not_as_long_as_said_is_refused),
		cmocka_unit_test(m1_a_sealed_file_can_be_neither_shrunk_nor_grown),
		cmocka_unit_test(m2_a_sparse_region_is_refused),
		cmocka_unit_test(m2_a_hole_punched_before_the_last_seal_is_refused),
		cmocka_unit_test(m2_nothing_can_be_punched_after_the_last_seal),
		cmocka_unit_test(m2_a_client_can_put_no_blocks_behind_the_end),
		cmocka_unit_test(m3_only_the_exact_seals_are_accepted),
		cmocka_unit_test(m3_missing_and_surplus_seals_have_their_sentences),
		cmocka_unit_test(m3_no_seal_can_be_added_after_the_last),
		cmocka_unit_test(m5_verify_only_looks_and_at_the_seals_first),
		cmocka_unit_test(m5_what_a_peer_may_hold_is_not_changed),
		cmocka_unit_test(m5_verify_does_not_wait_for_a_peer_that_holds_the_inode),
		cmocka_unit_test(m7_a_hugetlb_memfd_is_refused),
		cmocka_unit_test(m8_a_descriptor_that_is_no_memfd_is_refused_at_its_seals),
		cmocka_unit_test(m8_a_file_of_dev_shm_is_refused),
		cmocka_unit_test(m8_another_file_system_is_refused),
		cmocka_unit_test(m4_a_clients_region_is_sealed_by_the_client_itself),
		cmocka_unit_test(m4_what_was_sealed_cannot_be_mapped_to_be_written),
		cmocka_unit_test(m4_a_reader_cannot_make_its_mapping_writable),
		cmocka_unit_test(m6_a_reopened_region_can_be_neither_written_nor_changed),
		cmocka_unit_test(m6_another_user_cannot_reopen_a_region),
	};

	rf_test_limit(50);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
