/* SPDX-License-Identifier: MIT */
/* Memfds: made without the signals that limits raise, and looked at without the hangs that a
 * peer's descriptors can cause. */
#include "memfd.h"

#include "util/fd.h"
#include "util/kernel.h"
#include <inttypes.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/vfs.h>

/* Younger than the headers of Debian 12. */
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

#define BLOCK_BYTES 512 /* of st_blocks, whatever the file system */

uint64_t rf__page_bytes(void)
{
	return (uint64_t)sysconf(_SC_PAGESIZE);
}

static int check_file_limit(uint64_t file_bytes, const char *what, struct rf__reason *reason)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_FSIZE, &limit) < 0)
		return rf__fail_errno(reason, "cannot read the limit on file sizes");
	if (file_bytes > limit.rlim_cur)
		return rf__fail(reason, -EFBIG,
			"%s of %" PRIu64 " bytes exceeds the limit on file sizes", what,
			file_bytes);
	return 0;
}

static int create(const char *name)
{
	unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
	int fd = -1;

	if (rf__kernel_has(RF__KERNEL_NOEXEC_SEAL)) {
		fd = memfd_create(name, flags | MFD_NOEXEC_SEAL);
		if (fd >= 0 || errno != EINVAL)
			return fd;
	}
	return memfd_create(name, flags);
}

int rf__memfd_create(
	const char *name, uint64_t file_bytes, const char *what, struct rf__reason *reason)
{
	int r = check_file_limit(file_bytes, what, reason), fd;

	if (r < 0)
		return r;
	fd = create(name);
	if (fd < 0 && (errno == EINVAL || errno == ENOSYS))
		return rf__fail(reason, -ENOTSUP, "the kernel has no memfd that can be sealed");
	if (fd < 0)
		return rf__fail_errno(reason, "cannot create %s", what);
	if (ftruncate(fd, (off_t)file_bytes) < 0) {
		r = rf__fail_errno(reason, "cannot size %s to %" PRIu64 " bytes", what, file_bytes);
		rf__close(&fd);
		return r;
	}
	return fd;
}

/* Rounded down to whole pages, but one at least. */
static uint64_t whole_pages(uint64_t bytes)
{
	uint64_t page = rf__page_bytes();

	return bytes < page ? page : bytes - bytes % page;
}

int rf__memfd_allocate(int fd, uint64_t file_bytes, uint64_t step_bytes, uint64_t *allocated,
	const char *what, struct rf__reason *reason)
{
	uint64_t left = file_bytes - *allocated, step = whole_pages(step_bytes);

	if (step > left)
		step = left;
	while (step && fallocate(fd, 0, (off_t)*allocated, (off_t)step) < 0) {
		if (errno != EINTR)
			return rf__fail_errno(reason, "cannot allocate the memory of %s", what);
		/* The interrupted call has taken back what it had allocated. */
		if (step > rf__page_bytes())
			step = whole_pages(step / 2);
	}
	*allocated += step;
	return step < left;
}

static int verify_seals(int fd, int wanted, const char *what, struct rf__reason *reason)
{
	int tolerated = F_SEAL_EXEC | (wanted & F_SEAL_WRITE ? F_SEAL_FUTURE_WRITE : 0);
	int found = fcntl(fd, F_GET_SEALS);

	if (found < 0)
		return rf__fail(reason, -EPERM, "%s is not a memfd", what);
	if (wanted & ~found)
		return rf__fail(reason, -EPERM, "%s lacks seals: 0x%x of 0x%x", what,
			(unsigned)found, (unsigned)wanted);
	if (found & ~wanted & ~tolerated)
		return rf__fail(reason, -EPERM, "%s has surplus seals: 0x%x, not 0x%x", what,
			(unsigned)found, (unsigned)wanted);
	return 0;
}

static int verify_file_system(int fd, const char *what, struct rf__reason *reason)
{
	struct statfs fs;

	if (fstatfs(fd, &fs) < 0)
		return rf__fail_errno(reason, "cannot tell the file system of %s", what);
	if ((unsigned long)fs.f_type == HUGETLBFS_MAGIC)
		return rf__fail(reason, -EPERM, "%s is made of huge pages (hugetlbfs)", what);
	if ((unsigned long)fs.f_type != TMPFS_MAGIC)
		return rf__fail(reason, -EPERM, "%s is not on tmpfs", what);
	return 0;
}

int rf__memfd_verify(
	int fd, int seals, const char *what, struct rf__reason *reason, struct stat *ret_file)
{
	struct stat file;
	/* Seals first: any descriptor can be asked for them, only a memfd for more (threats M8). */
	int r = verify_seals(fd, seals, what, reason);

	if (r >= 0)
		r = verify_file_system(fd, what, reason);
	if (r < 0)
		return r;
	if (fstat(fd, &file) < 0)
		return rf__fail_errno(reason, "cannot tell the size of %s", what);
	*ret_file = file;
	return 0;
}

bool rf__memfd_has_holes(const struct stat *file)
{
	uint64_t size = (uint64_t)file->st_size, page = rf__page_bytes();
	uint64_t pages = size / page + (size % page != 0);

	return (uint64_t)file->st_blocks < pages * (page / BLOCK_BYTES);
}
