/* SPDX-License-Identifier: MIT */
/* Blobs: that nothing can change them once they are sealed, and what is not taken for one. */
#include <ringfort/blob.h>

#include "region-fixture.h"
#include <ringfort/types.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define LEN      10001 /* no whole pages */
#define SEALED   (F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)
#define MAX      ((size_t)1 << 20)
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static void assert_why(const char *part)
{
	if (!strstr(rf_reason(), part))
		fail_msg("\"%s\" does not say \"%s\"", rf_reason(), part);
}

static void fill(unsigned char *data, size_t len)
{
	for (size_t i = 0; i < len; i++)
		data[i] = (unsigned char)(i * 7 + i / 251);
}

static bool is_filled(const unsigned char *data, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (data[i] != (unsigned char)(i * 7 + i / 251))
			return false;
	return true;
}

static struct rf_blob make_open(size_t len)
{
	struct rf_blob blob;

	assert_int_equal(rf_blob_new(len, &blob), 0);
	fill(blob.data, len);
	return blob;
}

static struct rf_blob make_sealed(size_t len)
{
	struct rf_blob blob = make_open(len);

	assert_int_equal(rf_blob_seal(&blob), 0);
	return blob;
}

static int set_up(void **state)
{
	(void)state;
	memset(&kernel, 0, sizeof(kernel));
	return unsetenv("RF_TEST_WITHOUT_KERNEL");
}

static int reopen_as(int fd, int flags)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, flags | O_CLOEXEC);
}

/* Making one */

static void a_new_blob_is_zero_allocated_and_exactly_as_long_as_asked(void **state)
{
	static const size_t lens[] = {1, 4095, 4096, 4097, LEN, 5 << 20};
	struct rf_blob blob;
	struct stat st;

	(void)state;
	for (size_t i = 0; i < COUNT(lens); i++) {
		assert_int_equal(rf_blob_new(lens[i], &blob), 0);
		assert_int_equal(blob.len, lens[i]);
		assert_int_equal((uintptr_t)blob.data % page(), 0);
		assert_int_equal(fcntl(blob.fd, F_GETFD), FD_CLOEXEC);
		assert_int_equal(fstat(blob.fd, &st), 0);
		assert_int_equal(st.st_size, lens[i]);
		assert_int_equal(
			(uint64_t)st.st_blocks * 512, (lens[i] + page() - 1) / page() * page());
		for (size_t at = 0; at < blob.len; at++)
			assert_int_equal(((unsigned char *)blob.data)[at], 0);
		rf_blob_close(&blob);
	}
}

static void what_cannot_be_a_blob_is_refused(void **state)
{
	struct rf_blob blob = {.fd = -7};

	(void)state;
	assert_int_equal(rf_blob_new(0, &blob), -EINVAL);
	assert_why("no bytes");
	assert_int_equal(rf_blob_new(1, NULL), -EINVAL);
	assert_int_equal(rf_blob_new(((size_t)1 << 30) + 1, &blob), -EFBIG);
	assert_why("exceeds 1 GiB");
	assert_int_equal(rf_blob_new(SIZE_MAX, &blob), -EFBIG);
	assert_int_equal(rf_blob_seal(NULL), -EINVAL);
	assert_why("not a blob");
	assert_int_equal(rf_blob_open(0, 0, &blob), -EINVAL);
	assert_int_equal(rf_blob_open(0, 1, NULL), -EINVAL);
	assert_why("no place");
	assert_int_equal(blob.fd, -7);
	blob = (struct rf_blob){.fd = 0};
	assert_int_equal(rf_blob_seal(&blob), -EINVAL);
}

static void m12_the_file_size_limit_is_an_error_and_no_signal(void **state)
{
	struct rf_blob blob;
	uint64_t before = rf_test_limit_file_size(LEN - 1);
	int beyond = rf_blob_new(LEN, &blob), within;

	(void)state;
	assert_why("a blob of 10001 bytes exceeds the limit on file sizes");
	rf_test_limit_file_size(LEN);
	within = rf_blob_new(LEN, &blob);
	rf_test_limit_file_size(before);
	assert_int_equal(beyond, -EFBIG);
	assert_int_equal(within, 0);
	rf_blob_close(&blob);
}

static void interrupted_allocation_goes_on(void **state)
{
	struct rf_blob blob;
	struct stat st;

	(void)state;
	watch_and_fail(4, 30, EINTR); /* after getrlimit, memfd_create, ftruncate */
	assert_int_equal(rf_blob_new(LEN, &blob), 0);
	assert_true(count_calls(FALLOCATE) > 27);
	kernel.watched = false;
	assert_int_equal(fstat(blob.fd, &st), 0);
	assert_int_equal((uint64_t)st.st_blocks * 512, 3 * page());
	assert_int_equal(rf_blob_seal(&blob), 0);
	rf_blob_close(&blob);
}

static void m9_a_blob_cannot_be_executed(void **state)
{
	struct rf_blob blob = make_sealed(LEN);

	(void)state;
	if (rf_test_kernel(6, 3))
		assert_true(fcntl(blob.fd, F_GET_SEALS) & F_SEAL_EXEC);
	rf_blob_close(&blob);
	watch_and_fail(2, 2, EINVAL); /* a kernel without NOEXEC_SEAL */
	blob = make_sealed(LEN);
	assert_int_equal(count_calls(MEMFD_CREATE), 2);
	kernel.watched = false;
	assert_false(fcntl(blob.fd, F_GET_SEALS) & F_SEAL_EXEC);
	rf_blob_close(&blob);
	watch_and_fail(2, 3, EINVAL);
	assert_int_equal(rf_blob_new(LEN, &blob), -ENOTSUP);
	kernel.watched = false;
}

/* Sealing */

static void seal_keeps_the_contents_and_takes_the_write_access(void **state)
{
	struct rf_blob blob = make_open(LEN);
	void *data;

	(void)state;
	assert_true(is_writable(blob.data));
	fill(blob.data, LEN);
	assert_int_equal(rf_blob_seal(&blob), 0);
	assert_int_equal(blob.len, LEN);
	assert_true(is_filled(blob.data, LEN));
	assert_false(is_writable(blob.data));
	data = blob.data;
	watch();
	assert_int_equal(rf_blob_seal(&blob), 0);
	assert_int_equal(kernel.n_calls, 1); /* F_GET_SEALS */
	kernel.watched = false;
	assert_ptr_equal(blob.data, data);
	rf_blob_close(&blob);
}

static void refuse_writing(int fd, int error)
{
	static const int modes[] = {0, FALLOC_FL_KEEP_SIZE,
		FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE};

	assert_int_equal(pwrite(fd, "x", 1, 0), -1);
	assert_int_equal(errno, error);
	assert_int_equal(pwrite(fd, "x", 1, LEN), -1);
	assert_int_equal(ftruncate(fd, 0), -1);
	assert_int_equal(ftruncate(fd, LEN - 1), -1);
	assert_int_equal(ftruncate(fd, LEN + 1), -1);
	for (size_t i = 0; i < COUNT(modes); i++)
		fallocate(fd, modes[i], 0, LEN + 4096);
	assert_ptr_equal(mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE), -1);
	assert_int_equal(errno, EPERM);
}

static void what_is_sealed_can_never_change(void **state)
{
	struct rf_blob blob = make_sealed(LEN);
	int again = reopen_as(blob.fd, O_RDWR), readable = reopen_as(blob.fd, O_RDONLY);
	struct stat st;

	(void)state;
	assert_true(again >= 0 && readable >= 0);
	refuse_writing(blob.fd, EPERM);
	refuse_writing(again, EPERM);
	refuse_writing(readable, EBADF);
	assert_int_equal(reopen_as(blob.fd, O_RDWR | O_TRUNC), -1);
	assert_int_equal(mprotect(blob.data, LEN, PROT_READ | PROT_WRITE), -1);
	assert_int_equal(madvise(blob.data, LEN, MADV_REMOVE), -1);
	madvise(blob.data, LEN, MADV_DONTNEED);
	assert_int_equal(fstat(blob.fd, &st), 0);
	assert_int_equal(st.st_size, LEN);
	assert_int_equal((uint64_t)st.st_blocks * 512, 3 * page());
	assert_true(is_filled(blob.data, LEN));
	close(again);
	close(readable);
	rf_blob_close(&blob);
}

/* M4: another mapping would go on writing. */
static void m4_a_blob_mapped_writable_elsewhere_is_busy(void **state)
{
	struct rf_blob blob = make_open(LEN);
	unsigned char *other = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, blob.fd, 0);

	(void)state;
	assert_ptr_not_equal(other, MAP_FAILED);
	assert_int_equal(rf_blob_seal(&blob), -EBUSY);
	assert_why("mapped writable elsewhere");
	assert_null(blob.data);
	assert_int_equal(rf_blob_seal(&blob), -EBUSY);
	other[0] = 0;
	munmap(other, LEN);
	assert_int_equal(rf_blob_seal(&blob), 0);
	assert_true(is_filled(blob.data, LEN));
	rf_blob_close(&blob);
}

/* The kernel may yet write to pages that it holds. */
static void m4_a_blob_whose_pages_the_kernel_holds_is_busy(void **state)
{
	struct rf_blob blob = make_open(LEN);
	struct iovec part = {.iov_base = blob.data, .iov_len = 4096};
	int ends[2];

	(void)state;
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	assert_int_equal(vmsplice(ends[1], &part, 1, 0), 4096);
	assert_int_equal(rf_blob_seal(&blob), -EBUSY);
	assert_why("in use");
	close(ends[0]);
	close(ends[1]);
	assert_int_equal(rf_blob_seal(&blob), 0);
	assert_true(is_filled(blob.data, LEN));
	rf_blob_close(&blob);
}

static void a_failure_to_map_it_again_can_be_made_good(void **state)
{
	struct rf_blob blob = make_open(LEN);

	(void)state;
	watch_and_fail(3, 3, ENOMEM); /* after F_GET_SEALS and F_ADD_SEALS */
	assert_int_equal(rf_blob_seal(&blob), -ENOMEM);
	assert_int_equal(kernel.calls[2], MMAP);
	kernel.watched = false;
	assert_why("cannot map a blob of 10001 bytes");
	assert_null(blob.data);
	assert_int_equal(rf_blob_seal(&blob), 0);
	assert_true(is_filled(blob.data, LEN));
	rf_blob_close(&blob);
}

/* Opening one */

static int open_it(void *arg)
{
	struct rf_blob blob;
	int r = rf_blob_open(*(int *)arg, LEN, &blob);

	if (r < 0)
		return -r;
	if (blob.len != LEN || !is_filled(blob.data, LEN) || is_writable(blob.data))
		return 201;
	if (fcntl(blob.fd, F_GETFD) != FD_CLOEXEC || blob.fd == *(int *)arg)
		return 202;
	rf_blob_close(&blob);
	return fcntl(*(int *)arg, F_GETFD) < 0 ? 203 : 0;
}

static void another_process_and_another_user_read_a_sealed_blob(void **state)
{
	struct rf_blob blob = make_sealed(LEN);
	int readable = reopen_as(blob.fd, O_RDONLY);

	(void)state;
	assert_int_equal(rf_test_wait(rf_test_child(open_it, &blob.fd, 0, 0), 10000), 0);
	assert_int_equal(rf_test_wait(rf_test_child(open_it, &readable, 0, 0), 10000), 0);
	if (geteuid() == 0)
		assert_int_equal(
			rf_test_wait(
				rf_test_child(open_it, &blob.fd, RF_TEST_UID, RF_TEST_UID), 10000),
			0);
	assert_int_equal(open_it(&blob.fd), 0);
	close(readable);
	rf_blob_close(&blob);
}

static void what_was_opened_outlives_its_maker(void **state)
{
	struct rf_blob blob = make_sealed(LEN), seen;

	(void)state;
	assert_int_equal(rf_blob_open(blob.fd, MAX, &seen), 0);
	assert_int_equal(rf_blob_seal(&seen), 0);
	rf_blob_close(&blob);
	assert_true(is_filled(seen.data, LEN));
	rf_blob_close(&seen);
}

static int make_memfd(size_t size, bool allocated, int seals)
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

/* Also that nothing of it stays. */
static void refuse(int fd, int error, const char *why)
{
	size_t fds = rf_test_count_fds(), mappings = rf_test_count_memfd_mappings();
	struct rf_blob blob = {.fd = -7};

	assert_int_equal(rf_blob_open(fd, MAX, &blob), error);
	assert_why(why);
	assert_int_equal(blob.fd, -7);
	assert_int_equal(rf_test_count_fds(), fds);
	assert_int_equal(rf_test_count_memfd_mappings(), mappings);
	if (fd >= 0)
		close(fd);
}

static void m1_m2_an_empty_a_sparse_and_too_long_a_blob_are_refused(void **state)
{
	int fd = make_memfd(3 * page(), false, 0);

	(void)state;
	refuse(make_memfd(0, true, SEALED), -EPERM, "the blob is empty");
	refuse(make_memfd(MAX + 1, true, SEALED), -EMSGSIZE, "1048577 bytes, more than 1048576");
	refuse(make_memfd(MAX, false, SEALED), -EPERM, "holes");
	refuse(make_memfd(1, false, SEALED), -EPERM, "holes");
	assert_int_equal(pwrite(fd, "x", 1, 0), 1);
	assert_int_equal(pwrite(fd, "x", 1, (off_t)(3 * page() - 1)), 1);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, SEALED), 0);
	refuse(fd, -EPERM, "holes");
}

/* What its maker can hide with blocks behind the end, before it seals GROW: see M2. */
static void m2_holes_that_its_maker_has_hidden_are_zero_for_ever(void **state)
{
	static const unsigned char zero[LEN];
	int fd = make_memfd(LEN, false, 0);
	struct rf_blob blob;

	(void)state;
	assert_int_equal(
		fallocate(fd, FALLOC_FL_KEEP_SIZE, (off_t)(3 * page()), (off_t)(3 * page())), 0);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, SEALED), 0);
	assert_int_equal(rf_blob_open(fd, MAX, &blob), 0);
	assert_memory_equal(blob.data, zero, LEN);
	refuse_writing(fd, EPERM);
	assert_memory_equal(blob.data, zero, LEN);
	close(fd);
	rf_blob_close(&blob);
}

static void m3_only_the_seals_of_a_blob_are_accepted(void **state)
{
	struct rf_blob blob;

	(void)state;
	for (int seals = 0; seals < 0x40; seals++) {
		int fd = make_memfd(LEN, true, 0), found, r;

		fcntl(fd, F_ADD_SEALS, seals);
		found = fcntl(fd, F_GET_SEALS);
		r = rf_blob_open(fd, MAX, &blob);
		assert_int_equal(r, (found & SEALED) == SEALED ? 0 : -EPERM);
		if (r == 0)
			rf_blob_close(&blob);
		else
			assert_why("the blob lacks seals");
		close(fd);
	}
}

static void m3_unsealed_and_half_sealed_blobs_are_refused(void **state)
{
	struct rf_blob blob = make_open(LEN);

	(void)state;
	refuse(fcntl(blob.fd, F_DUPFD_CLOEXEC, 0), -EPERM, "lacks seals");
	rf_blob_close(&blob);
	refuse(make_memfd(LEN, true, F_SEAL_FUTURE_WRITE), -EPERM, "lacks seals");
	/* a region */
	refuse(make_memfd(LEN, true, (SEALED & ~F_SEAL_WRITE) | F_SEAL_FUTURE_WRITE), -EPERM,
		"lacks seals");
	watch();
	kernel.file_system = 0x65735546; /* FUSE */
	refuse(make_memfd(LEN, true, SEALED), -EPERM, "not on tmpfs");
	kernel.watched = false;
}

static void m6_a_blob_that_is_not_open_for_reading_is_refused(void **state)
{
	struct rf_blob blob = make_sealed(LEN);

	(void)state;
	refuse(reopen_as(blob.fd, O_WRONLY), -EACCES, "not open for reading");
	refuse(reopen_as(blob.fd, O_PATH), -EPERM, "not a memfd");
	rf_blob_close(&blob);
}

static void m7_a_hugetlb_memfd_is_refused(void **state)
{
	int fd = memfd_create("huge", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_HUGETLB);

	(void)state;
	rf_test_need("hugetlb", fd >= 0);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, SEALED), 0);
	refuse(fd, -EPERM, "hugetlbfs");
}

/* And only asked for its seals: not even duplicated, since closing a duplicate can hang. */
static void m8_a_descriptor_that_is_no_memfd_is_refused_at_its_seals(void **state)
{
	int pipe_ends[2], sockets[2];

	(void)state;
	assert_int_equal(pipe2(pipe_ends, O_CLOEXEC), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets), 0);
	const int fds[] = {-1, 1 << 20, pipe_ends[0], pipe_ends[1], sockets[0], sockets[1],
		open("/dev/zero", O_RDWR | O_CLOEXEC),
		open(rf_test_tmpdir(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600),
		open(rf_test_tmpdir(), O_DIRECTORY | O_CLOEXEC), eventfd(0, EFD_CLOEXEC),
		open("/proc/self/maps", O_RDONLY | O_CLOEXEC)};

	for (size_t i = 0; i < COUNT(fds); i++) {
		watch();
		refuse(fds[i], -EPERM, "is not a memfd");
		kernel.watched = false;
		assert_int_equal(kernel.n_calls, 1);
		assert_int_equal(kernel.calls[0], GET_SEALS);
	}
}

static void m8_a_file_of_dev_shm_is_refused(void **state)
{
	int fd = open("/dev/shm", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	(void)state;
	rf_test_need("/dev/shm", fd >= 0);
	assert_int_equal(fallocate(fd, 0, 0, LEN), 0);
	refuse(fd, -EPERM, "lacks seals");
}

/* What may wait for whoever writes to the file is never done to one that came from a peer. */
static void m5_open_only_looks_duplicates_and_maps(void **state)
{
	static const enum call expected[] = {GET_SEALS, FSTATFS, FSTAT, DUPLICATE, MMAP, MADVISE};
	struct rf_blob blob = make_sealed(LEN), seen;

	(void)state;
	rf_test_need("blobshared", rf_test_kernel(6, 7));
	watch();
	assert_int_equal(rf_blob_open(blob.fd, MAX, &seen), 0);
	kernel.watched = false;
	assert_int_equal(kernel.n_calls, COUNT(expected));
	assert_memory_equal(kernel.calls, expected, sizeof(expected));
	rf_blob_close(&seen);
	rf_blob_close(&blob);
}

/* Before Linux 6.7 */

static bool is_mapped_shared(const void *at)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[512], access[5] = "";
	unsigned long from;

	assert_non_null(maps);
	while (fgets(line, sizeof(line), maps))
		if (sscanf(line, "%lx-%*x %4s", &from, access) == 2 && from == (uintptr_t)at)
			break;
	fclose(maps);
	assert_int_equal(strlen(access), 4);
	return access[3] == 's';
}

static void use_privately(void)
{
	struct rf_blob blob = make_sealed(LEN), seen;

	assert_int_equal(rf_blob_open(blob.fd, LEN, &seen), 0);
	assert_false(is_mapped_shared(blob.data));
	assert_false(is_mapped_shared(seen.data));
	assert_true(is_filled(seen.data, LEN));
	assert_false(is_writable(seen.data));
	rf_blob_close(&seen);
	rf_blob_close(&blob);
}

static void without_shared_mappings_a_blob_is_mapped_private(void **state)
{
	(void)state;
	if (rf_test_kernel(6, 7)) {
		struct rf_blob blob = make_sealed(LEN);

		assert_true(is_mapped_shared(blob.data));
		rf_blob_close(&blob);
	}
	setenv("RF_TEST_WITHOUT_KERNEL", "blobshared", 1);
	use_privately();
}

static void a_kernel_that_refuses_a_shared_mapping_is_asked_for_a_private_one(void **state)
{
	struct rf_blob blob = make_open(LEN);

	(void)state;
	watch_and_fail(3, 3, EPERM); /* after F_GET_SEALS and F_ADD_SEALS */
	assert_int_equal(rf_blob_seal(&blob), 0);
	assert_int_equal(count_calls(MMAP), 2);
	kernel.watched = false;
	assert_false(is_mapped_shared(blob.data));
	assert_true(is_filled(blob.data, LEN));
	rf_blob_close(&blob);
}

/* C13: fork */

static int use_inherited(void *arg)
{
	struct rf_blob *blob = arg, seen;
	unsigned char resident, *taken;
	bool sealed = fcntl(blob->fd, F_GET_SEALS) & F_SEAL_WRITE;
	int fd = blob->fd;

	if (mincore(blob->data, 1, &resident) == 0)
		return 1;
	if (rf_blob_seal(blob) != -EBADF || !*rf_reason())
		return 2;
	taken = mmap(blob->data, (size_t)page(), PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	if (taken != blob->data)
		return 3;
	if (sealed && (rf_blob_open(fd, LEN, &seen) || !is_filled(seen.data, LEN)))
		return 4;
	if (sealed)
		rf_blob_close(&seen);
	rf_blob_close(blob);
	if (fcntl(fd, F_GETFD) >= 0)
		return 5;
	return is_writable(taken) ? 0 : 6;
}

static void c13_a_child_does_not_inherit_the_memory_of_a_blob(void **state)
{
	struct rf_blob blob = make_open(LEN);

	(void)state;
	assert_int_equal(rf_test_wait(rf_test_child(use_inherited, &blob, 0, 0), 10000), 0);
	assert_int_equal(rf_blob_seal(&blob), 0);
	assert_int_equal(rf_test_wait(rf_test_child(use_inherited, &blob, 0, 0), 10000), 0);
	assert_true(is_filled(blob.data, LEN));
	rf_blob_close(&blob);
}

/* Failures and ends */

static void close_is_fine_with_what_is_no_blob(void **state)
{
	struct rf_blob blob = make_sealed(LEN);

	(void)state;
	rf_blob_close(NULL);
	rf_blob_close(&blob);
	assert_int_equal(blob.fd, -1);
	assert_null(blob.data);
	assert_int_equal(rf_blob_seal(&blob), -EINVAL);
	rf_blob_close(&blob);
}

static void closing_nothing_leaves_descriptor_0_alone(void **state)
{
	struct rf_blob blob;
	int zero = fcntl(0, F_GETFD) < 0 ? open("/dev/null", O_RDONLY | O_CLOEXEC) : -1;

	(void)state;
	memset(&blob, 0, sizeof(blob));
	rf_blob_close(&blob);
	assert_true(fcntl(0, F_GETFD) >= 0);
	if (zero >= 0)
		close(zero);
}

static int live_a_life(void)
{
	struct rf_blob blob = {.fd = -1}, seen = {.fd = -1};
	int r = rf_blob_new(LEN, &blob);

	if (r == 0) {
		fill(blob.data, LEN);
		r = rf_blob_seal(&blob);
	}
	if (r == 0)
		r = rf_blob_open(blob.fd, LEN, &seen);
	rf_blob_close(&seen);
	rf_blob_close(&blob);
	return r;
}

static void nothing_leaks_when_any_call_fails(void **state)
{
	size_t fds = rf_test_count_fds(), mappings = rf_test_count_memfd_mappings(), k = 0;
	int r;

	(void)state;
	assert_int_equal(live_a_life(), 0);
	do {
		watch_and_fail(k + 1, k + 1, ENOMEM);
		r = live_a_life();
		assert_int_equal(kernel.mapped, 0);
		kernel.watched = false;
		assert_int_equal(rf_test_count_fds(), fds);
		assert_int_equal(rf_test_count_memfd_mappings(), mappings);
		assert_true(r == 0 || r == -ENOMEM || r == -EPERM);
		assert_true(!r || *rf_reason());
		k++;
	} while (k <= kernel.n_calls);
	assert_int_equal(r, 0);
	assert_true(k > 15);
}

static void without_descriptors_nothing_is_made_or_opened(void **state)
{
	struct rf_blob blob = make_sealed(LEN), other;
	int probe = dup(blob.fd), made, opened;
	uint64_t before = rf_test_limit_files((uint64_t)probe);

	(void)state;
	close(probe);
	made = rf_blob_new(LEN, &other);
	opened = rf_blob_open(blob.fd, LEN, &other);
	rf_test_limit_files(before);
	assert_int_equal(made, -EMFILE);
	assert_int_equal(opened, -EMFILE);
	assert_why("duplicate");
	rf_blob_close(&blob);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(
			a_new_blob_is_zero_allocated_and_exactly_as_long_as_asked, set_up),
		cmocka_unit_test_setup(what_cannot_be_a_blob_is_refused, set_up),
		cmocka_unit_test_setup(m12_the_file_size_limit_is_an_error_and_no_signal, set_up),
		cmocka_unit_test_setup(interrupted_allocation_goes_on, set_up),
		cmocka_unit_test_setup(m9_a_blob_cannot_be_executed, set_up),
		cmocka_unit_test_setup(seal_keeps_the_contents_and_takes_the_write_access, set_up),
		cmocka_unit_test_setup(what_is_sealed_can_never_change, set_up),
		cmocka_unit_test_setup(m4_a_blob_mapped_writable_elsewhere_is_busy, set_up),
		cmocka_unit_test_setup(m4_a_blob_whose_pages_the_kernel_holds_is_busy, set_up),
		cmocka_unit_test_setup(a_failure_to_map_it_again_can_be_made_good, set_up),
		cmocka_unit_test_setup(another_process_and_another_user_read_a_sealed_blob, set_up),
		cmocka_unit_test_setup(what_was_opened_outlives_its_maker, set_up),
		cmocka_unit_test_setup(
			m1_m2_an_empty_a_sparse_and_too_long_a_blob_are_refused, set_up),
		cmocka_unit_test_setup(
			m2_holes_that_its_maker_has_hidden_are_zero_for_ever, set_up),
		cmocka_unit_test_setup(m3_only_the_seals_of_a_blob_are_accepted, set_up),
		cmocka_unit_test_setup(m3_unsealed_and_half_sealed_blobs_are_refused, set_up),
		cmocka_unit_test_setup(m6_a_blob_that_is_not_open_for_reading_is_refused, set_up),
		cmocka_unit_test_setup(m7_a_hugetlb_memfd_is_refused, set_up),
		cmocka_unit_test_setup(
			m8_a_descriptor_that_is_no_memfd_is_refused_at_its_seals, set_up),
		cmocka_unit_test_setup(m8_a_file_of_dev_shm_is_refused, set_up),
		cmocka_unit_test_setup(m5_open_only_looks_duplicates_and_maps, set_up),
		cmocka_unit_test_setup(without_shared_mappings_a_blob_is_mapped_private, set_up),
		cmocka_unit_test_setup(
			a_kernel_that_refuses_a_shared_mapping_is_asked_for_a_private_one, set_up),
		cmocka_unit_test_setup(c13_a_child_does_not_inherit_the_memory_of_a_blob, set_up),
		cmocka_unit_test_setup(close_is_fine_with_what_is_no_blob, set_up),
		cmocka_unit_test_setup(closing_nothing_leaves_descriptor_0_alone, set_up),
		cmocka_unit_test_setup(nothing_leaks_when_any_call_fails, set_up),
		cmocka_unit_test_setup(without_descriptors_nothing_is_made_or_opened, set_up),
	};

	rf_test_limit(50);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
