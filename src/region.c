/* SPDX-License-Identifier: MIT */
/* Regions: memfds that are made, mapped, rings twice in a row, sealed and lent to a peer. */
#include "region.h"

#include "util/check.h"
#include "util/fd.h"
#include "util/kernel.h"
#include <fcntl.h>
#include <inttypes.h>
#include <ringfort/options.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

/* Younger than the headers of Debian 12. */
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

#define SEALS_SIZED (F_SEAL_SHRINK | F_SEAL_GROW)
#define SEALS_FINAL (SEALS_SIZED | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL)
#define HUGE_BYTES  ((size_t)2 << 20)

_Static_assert(
	RF__AREA_MAX < SIZE_MAX / 2 - (1 << 20), "a mapped region fits in the address space");

/* The words in front of the area. */
static uint64_t words_bytes(enum rf__shape shape)
{
	return shape == RF__RING_SHAPE ? rf__page_bytes() : 0;
}

uint64_t rf__region_file_bytes(enum rf__shape shape, uint64_t area_bytes)
{
	bool ring = shape == RF__RING_SHAPE;

	if (area_bytes % rf__page_bytes() || area_bytes > (ring ? RF__AREA_MAX : RF__FLAT_MAX))
		return 0;
	if (ring && area_bytes && !rf__is_power_of_two(area_bytes))
		return 0;
	return words_bytes(shape) + area_bytes;
}

static uint64_t file_bytes_of(const struct rf__region *region)
{
	return rf__region_file_bytes(region->shape, region->area_bytes);
}

static int refuse_area(uint64_t area_bytes, struct rf__reason *reason)
{
	return rf__fail(
		reason, -EINVAL, "%" PRIu64 " bytes are no valid area of a region", area_bytes);
}

int rf__region_create(struct rf__region *region, const char *name, enum rf__shape shape,
	uint64_t area_bytes, struct rf__reason *reason)
{
	uint64_t file_bytes = rf__region_file_bytes(shape, area_bytes);
	int fd;

	if (!file_bytes)
		return refuse_area(area_bytes, reason);
	fd = rf__memfd_create(name, file_bytes, "a region", reason);
	if (fd < 0)
		return fd;
	*region = (struct rf__region){.fd = fd, .shape = shape, .area_bytes = area_bytes};
	return 0;
}

static int refuse_lent(struct rf__reason *reason)
{
	return rf__fail(reason, -EINVAL, "a region that a peer may hold is not changed any more");
}

int rf__region_allocate(struct rf__region *region, uint64_t step_bytes, struct rf__reason *reason)
{
	if (region->lent)
		return refuse_lent(reason);
	return rf__memfd_allocate(region->fd, file_bytes_of(region), step_bytes, &region->allocated,
		"a region", reason);
}

static size_t mapped_bytes(const struct rf__region *region)
{
	uint64_t again = region->shape == RF__RING_SHAPE ? region->area_bytes : 0;

	return (size_t)(file_bytes_of(region) + again);
}

static int map_at(unsigned char *at, size_t len, int protection, const struct rf__region *region,
	uint64_t offset)
{
	void *mapped = mmap(at, len, protection, MAP_SHARED | MAP_FIXED, region->fd, (off_t)offset);

	return mapped == MAP_FAILED ? -1 : 0;
}

static int map_over(unsigned char *base, int protection, const struct rf__region *region)
{
	size_t len = mapped_bytes(region), once = (size_t)file_bytes_of(region);
	uint64_t words = words_bytes(region->shape);

	if (map_at(base, once, protection, region, 0) < 0)
		return -1;
	if (len > once && map_at(base + once, len - once, protection, region, words) < 0)
		return -1;
	return madvise(base, len, MADV_DONTFORK);
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
	size_t len = (size_t)file_bytes_of(region);
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
	size_t len = (size_t)file_bytes_of(region);
	int r = 0;

	if (flags & RF_OPTION_HUGE && access == RF__READ_WRITE && len >= HUGE_BYTES &&
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

int rf__region_verify(
	const struct rf__region *region, enum rf__seals seals, struct rf__reason *reason)
{
	static const char what[] = "a region of the peer";
	uint64_t file_bytes = file_bytes_of(region);
	struct stat file;
	int r;

	if (!file_bytes)
		return refuse_area(region->area_bytes, reason);
	r = rf__memfd_verify(region->fd, seal_bits(seals), what, reason, &file);
	if (r < 0)
		return r;
	if ((uint64_t)file.st_size != file_bytes)
		return rf__fail(reason, -EBADMSG, "%s has %" PRIu64 " bytes instead of %" PRIu64,
			what, (uint64_t)file.st_size, file_bytes);
	return rf__memfd_has_holes(&file) ? rf__fail(reason, -EPERM, "%s has holes", what) : 0;
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
