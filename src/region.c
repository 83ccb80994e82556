/* SPDX-License-Identifier: MIT */
/* Regions: memfds that are made, mapped twice in a row, sealed and lent to a peer, and what has to
 * be looked at before one from a peer is mapped. */
#include "region.h"

#include "util/check.h"
#include "util/fd.h"
#include "util/kernel.h"
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <ringfort/options.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/vfs.h>

/* Younger than the headers of Debian 12. */
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif
#ifndef F_SEAL_EXEC
#define F_SEAL_EXEC 0x0020
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

#define SEALS_SIZED (F_SEAL_SHRINK | F_SEAL_GROW)
#define SEALS_FINAL (SEALS_SIZED | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL)
#define BLOCK_BYTES 512 /* of st_blocks, whatever the file system */
#define HUGE_BYTES  ((size_t)2 << 20)

_Static_assert(
	RF__AREA_MAX < SIZE_MAX / 2 - (1 << 20), "a mapped region fits in the address space");

uint64_t rf__page_bytes(void)
{
	return (uint64_t)sysconf(_SC_PAGESIZE);
}

uint64_t rf__region_file_bytes(uint64_t area_bytes)
{
	uint64_t page = rf__page_bytes();

	if (area_bytes == 0)
		return page;
	if (!rf__is_power_of_two(area_bytes) || area_bytes < page || area_bytes > RF__AREA_MAX)
		return 0;
	return page + area_bytes;
}

static int refuse_area(uint64_t area_bytes, struct rf__reason *reason)
{
	return rf__fail(
		reason, -EINVAL, "%" PRIu64 " bytes are no valid area of a region", area_bytes);
}

static int check_file_limit(uint64_t file_bytes, struct rf__reason *reason)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_FSIZE, &limit) < 0)
		return rf__fail_errno(reason, "cannot read the limit on file sizes");
	if (file_bytes > limit.rlim_cur)
		return rf__fail(reason, -EFBIG,
			"a region of %" PRIu64 " bytes exceeds the limit on file sizes",
			file_bytes);
	return 0;
}

static int create_memfd(const char *name)
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

int rf__region_create(
	struct rf__region *region, const char *name, uint64_t area_bytes, struct rf__reason *reason)
{
	uint64_t file_bytes = rf__region_file_bytes(area_bytes);
	int fd, r;

	if (!file_bytes)
		return refuse_area(area_bytes, reason);
	r = check_file_limit(file_bytes, reason);
	if (r < 0)
		return r;
	fd = create_memfd(name);
	if (fd < 0 && (errno == EINVAL || errno == ENOSYS))
		return rf__fail(reason, -ENOTSUP, "the kernel has no memfd that can be sealed");
	if (fd < 0)
		return rf__fail_errno(reason, "cannot create a region");
	if (ftruncate(fd, (off_t)file_bytes) < 0) {
		r = rf__fail_errno(reason, "cannot size a region to %" PRIu64 " bytes", file_bytes);
		rf__close(&fd);
		return r;
	}
	*region = (struct rf__region){.fd = fd, .area_bytes = area_bytes};
	return 0;
}

static int refuse_lent(struct rf__reason *reason)
{
	return rf__fail(reason, -EINVAL, "a region that a peer may hold is not changed any more");
}

/* Rounded down to whole pages, but one at least. */
static uint64_t whole_pages(uint64_t bytes)
{
	uint64_t page = rf__page_bytes();

	return bytes < page ? page : bytes - bytes % page;
}

int rf__region_allocate(struct rf__region *region, uint64_t step_bytes, struct rf__reason *reason)
{
	uint64_t left = rf__region_file_bytes(region->area_bytes) - region->allocated;
	uint64_t step = whole_pages(step_bytes);

	if (region->lent)
		return refuse_lent(reason);
	if (step > left)
		step = left;
	while (step && fallocate(region->fd, 0, (off_t)region->allocated, (off_t)step) < 0) {
		if (errno != EINTR)
			return rf__fail_errno(reason, "cannot allocate the memory of a region");
		/* The interrupted call has taken back what it had allocated. */
		step = whole_pages(step / 2);
	}
	region->allocated += step;
	return step < left;
}

static size_t mapped_bytes(const struct rf__region *region)
{
	return (size_t)(rf__page_bytes() + 2 * region->area_bytes);
}

static int map_at(unsigned char *at, size_t len, int protection, const struct rf__region *region,
	uint64_t offset)
{
	void *mapped = mmap(at, len, protection, MAP_SHARED | MAP_FIXED, region->fd, (off_t)offset);

	return mapped == MAP_FAILED ? -1 : 0;
}

static int map_over(unsigned char *base, int protection, const struct rf__region *region)
{
	size_t page = (size_t)rf__page_bytes();
	size_t area = (size_t)region->area_bytes;

	if (map_at(base, page + area, protection, region, 0) < 0)
		return -1;
	if (area && map_at(base + page + area, area, protection, region, page) < 0)
		return -1;
	return madvise(base, page + 2 * area, MADV_DONTFORK);
}

/* Address space for len bytes that begins at a multiple of alignment, or NULL. */
static unsigned char *reserve_addresses(size_t len, size_t alignment)
{
	size_t page = (size_t)rf__page_bytes(), surplus = alignment - page, before;
	unsigned char *at = mmap(
		NULL, len + surplus, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (at == MAP_FAILED)
		return NULL;
	before = -(uintptr_t)at & (alignment - 1);
	if (before)
		munmap(at, before);
	if (before < surplus)
		munmap(at + before + len, surplus - before);
	return at + before;
}

int rf__region_map(struct rf__region *region, enum rf__access access, struct rf__reason *reason)
{
	int protection = access == RF__READ_WRITE ? PROT_READ | PROT_WRITE : PROT_READ;
	size_t len = mapped_bytes(region);
	bool large = region->area_bytes >= HUGE_BYTES;
	unsigned char *base = reserve_addresses(len, large ? HUGE_BYTES : (size_t)rf__page_bytes());
	int r;

	if (!base)
		return rf__fail_errno(reason, "no address space for a region of %zu bytes", len);
	if (map_over(base, protection, region) < 0) {
		r = rf__fail_errno(reason, "cannot map a region");
		munmap(base, len);
		return r;
	}
	region->base = base;
	return 0;
}

static int lock_pages(const struct rf__region *region, struct rf__reason *reason)
{
	size_t len = (size_t)(rf__page_bytes() + region->area_bytes);
	struct rlimit limit = {.rlim_cur = 0};
	int error;

	if (mlock(region->base, len) == 0)
		return 0;
	error = errno;
	if (error != ENOMEM && error != EPERM)
		return rf__fail_errno(reason, "cannot lock a region into memory");
	getrlimit(RLIMIT_MEMLOCK, &limit);
	return rf__fail(reason, -error,
		"cannot lock %zu bytes into memory: RLIMIT_MEMLOCK is %" PRIu64 " in all", len,
		(uint64_t)limit.rlim_cur);
}

static void touch_pages(const struct rf__region *region)
{
	size_t page = (size_t)rf__page_bytes(), len = mapped_bytes(region), at;

	for (at = 0; at < len; at += page)
		(void)*(volatile const unsigned char *)(region->base + at);
}

static int populate(const struct rf__region *region, struct rf__reason *reason)
{
	if (rf__kernel_has(RF__KERNEL_POPULATE)) {
		if (madvise(region->base, mapped_bytes(region), MADV_POPULATE_READ) == 0)
			return 0;
		if (errno != EINVAL)
			return rf__fail_errno(reason, "cannot populate a region");
	}
	touch_pages(region);
	return 0;
}

int rf__region_settle(struct rf__region *region, enum rf__access access, uint32_t flags,
	struct rf__reason *reason)
{
	size_t len = (size_t)(rf__page_bytes() + region->area_bytes);
	int r = 0;

	if (flags & RF_OPTION_HUGE && access == RF__READ_WRITE && len > HUGE_BYTES &&
		rf__kernel_has(RF__KERNEL_COLLAPSE))
		madvise(region->base, len, MADV_COLLAPSE);
	if (flags & RF_OPTION_MLOCK)
		r = lock_pages(region, reason);
	if (r >= 0 && flags & (RF_OPTION_MLOCK | RF_OPTION_POPULATE))
		r = populate(region, reason);
	return r;
}

static int seal_bits(enum rf__seals seals)
{
	return seals == RF__SEALS_FINAL ? SEALS_FINAL : SEALS_SIZED;
}

int rf__region_seal(struct rf__region *region, enum rf__seals seals, struct rf__reason *reason)
{
	if (region->lent)
		return refuse_lent(reason);
	if (fcntl(region->fd, F_ADD_SEALS, seal_bits(seals)) == 0)
		return 0;
	if (errno == EINVAL)
		return rf__fail(
			reason, -ENOTSUP, "the kernel cannot seal a region against writing");
	return rf__fail_errno(reason, "cannot seal a region");
}

static int reopen(int fd, enum rf__access access)
{
	char path[32];

	if (!rf__kernel_has(RF__KERNEL_PROC)) {
		errno = ENOENT;
		return -1;
	}
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, (access == RF__READ_WRITE ? O_RDWR : O_RDONLY) | O_CLOEXEC);
}

int rf__region_lend(struct rf__region *region, enum rf__access access, struct rf__reason *reason)
{
	int fd = reopen(region->fd, access);

	if (fd < 0)
		fd = fcntl(region->fd, F_DUPFD_CLOEXEC, 0);
	if (fd < 0)
		return rf__fail_errno(reason, "cannot make a descriptor of a region for the peer");
	/* After reopening for writing; and once, since fchmod waits for whoever writes to the file,
	 * and from now on a peer may (threats M5). */
	if (!region->lent && fchmod(region->fd, S_IRUSR) < 0) {
		int r = rf__fail_errno(reason, "cannot restrict the mode of a region");

		rf__close(&fd);
		return r;
	}
	region->lent = true;
	return fd;
}

int rf__region_keep(const struct rf__region *region)
{
	int fd = reopen(region->fd, RF__READ_ONLY);

	return fd < 0 ? -errno : fd;
}

/* SIGURG for this thread alone, and blocked meanwhile: see is_let_go(). What is pending for the
 * process stays. */
static void drop_signal(const sigset_t *set, int fd)
{
	static const struct timespec at_once;
	siginfo_t info;

	if (sigtimedwait(set, &info, &at_once) == SIGURG && info.si_fd != fd)
		kill(getpid(), SIGURG);
}

/* Whoever opens the file while the lease is held makes the kernel signal its owner: by default the
 * process, with SIGIO, which is deadly. */
bool rf__region_is_let_go(int fd)
{
	struct f_owner_ex owner = {.type = F_OWNER_TID, .pid = gettid()};
	sigset_t urgent, before, pending;
	bool alone;

	sigemptyset(&urgent);
	sigaddset(&urgent, SIGURG);
	if (fcntl(fd, F_SETOWN_EX, &owner) < 0 || fcntl(fd, F_SETSIG, SIGURG) < 0)
		return false;
	pthread_sigmask(SIG_BLOCK, &urgent, &before);
	sigpending(&pending);
	alone = fcntl(fd, F_SETLEASE, F_WRLCK) == 0;
	if (alone)
		fcntl(fd, F_SETLEASE, F_UNLCK);
	if (alone && !sigismember(&pending, SIGURG))
		drop_signal(&urgent, fd);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return alone;
}

static int verify_seals(int fd, enum rf__seals seals, struct rf__reason *reason)
{
	int wanted = seal_bits(seals);
	int found = fcntl(fd, F_GET_SEALS);

	if (found < 0)
		return rf__fail(reason, -EPERM, "a region of the peer is not a memfd");
	if (wanted & ~found)
		return rf__fail(reason, -EPERM, "a region of the peer lacks seals: 0x%x of 0x%x",
			(unsigned)found, (unsigned)wanted);
	if (found & ~wanted & ~F_SEAL_EXEC)
		return rf__fail(reason, -EPERM,
			"a region of the peer has surplus seals: 0x%x, not 0x%x", (unsigned)found,
			(unsigned)wanted);
	return 0;
}

static int verify_file_system(int fd, struct rf__reason *reason)
{
	struct statfs fs;

	if (fstatfs(fd, &fs) < 0)
		return rf__fail_errno(
			reason, "cannot tell the file system of a region of the peer");
	if ((unsigned long)fs.f_type == HUGETLBFS_MAGIC)
		return rf__fail(
			reason, -EPERM, "a region of the peer is made of huge pages (hugetlbfs)");
	if ((unsigned long)fs.f_type != TMPFS_MAGIC)
		return rf__fail(reason, -EPERM, "a region of the peer is not on tmpfs");
	return 0;
}

static int verify_size(int fd, uint64_t file_bytes, struct rf__reason *reason)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return rf__fail_errno(reason, "cannot tell the size of a region of the peer");
	if ((uint64_t)st.st_size != file_bytes)
		return rf__fail(reason, -EBADMSG,
			"a region of the peer has %" PRIu64 " bytes instead of %" PRIu64,
			(uint64_t)st.st_size, file_bytes);
	if ((uint64_t)st.st_blocks < file_bytes / BLOCK_BYTES)
		return rf__fail(reason, -EPERM, "a region of the peer has holes");
	return 0;
}

int rf__region_verify(int fd, uint64_t area_bytes, enum rf__seals seals, struct rf__reason *reason)
{
	uint64_t file_bytes = rf__region_file_bytes(area_bytes);
	int r;

	if (!file_bytes)
		return refuse_area(area_bytes, reason);
	/* Seals first: any descriptor can be asked for them, only a memfd for more (threats M8). */
	r = verify_seals(fd, seals, reason);
	if (r < 0)
		return r;
	r = verify_file_system(fd, reason);
	if (r < 0)
		return r;
	return verify_size(fd, file_bytes, reason);
}

void rf__region_unmap(struct rf__region *region)
{
	if (region->base)
		munmap(region->base, mapped_bytes(region));
	region->base = NULL;
}

void rf__region_close(struct rf__region *region)
{
	rf__close(&region->fd);
}
