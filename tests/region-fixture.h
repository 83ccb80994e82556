/* SPDX-License-Identifier: MIT */
/* What the tests of regions share. The system calls of region.c that matter are interposed here:
 * noted while they are watched, and made to fail at will. Included once in a program. */
#ifndef RF_TESTS_REGION_FIXTURE_H
#define RF_TESTS_REGION_FIXTURE_H

#include "region.h"

#include "support.h"
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

enum call {
	MEMFD_CREATE,
	FTRUNCATE,
	FALLOCATE,
	ADD_SEALS,
	GET_SEALS,
	DUPLICATE,
	MMAP,
	MADVISE,
	FCHMOD,
	FSTAT,
	FSTATFS,
	GETRLIMIT
};

static struct {
	bool watched;
	enum call calls[64];
	size_t n_calls;
	size_t fail_first, fail_last; /* the calls from fail_first to fail_last fail; 0: none */
	int error;
	long file_system; /* 0: the real one */
	size_t mapped;    /* bytes of address space taken and not given back */
} kernel;

static inline void watch(void)
{
	memset(&kernel, 0, sizeof(kernel));
	kernel.watched = true;
}

static inline void watch_and_fail(size_t first, size_t last, int error)
{
	watch();
	kernel.fail_first = first;
	kernel.fail_last = last;
	kernel.error = error;
}

static inline bool fails(enum call call)
{
	if (!kernel.watched)
		return false;
	if (kernel.n_calls < sizeof(kernel.calls) / sizeof(kernel.calls[0]))
		kernel.calls[kernel.n_calls] = call;
	kernel.n_calls++;
	if (kernel.n_calls < kernel.fail_first || kernel.n_calls > kernel.fail_last)
		return false;
	errno = kernel.error;
	return true;
}

static inline size_t count_calls(enum call call)
{
	size_t n = 0;

	for (size_t i = 0; i < kernel.n_calls; i++)
		n += kernel.calls[i] == call;
	return n;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

int memfd_create(const char *name, unsigned flags)
{
	return fails(MEMFD_CREATE) ? -1 : REAL(memfd_create)(name, flags);
}

int ftruncate(int fd, off_t len)
{
	return fails(FTRUNCATE) ? -1 : REAL(ftruncate)(fd, len);
}

int fallocate(int fd, int mode, off_t offset, off_t len)
{
	return fails(FALLOCATE) ? -1 : REAL(fallocate)(fd, mode, offset, len);
}

int fcntl(int fd, int command, ...)
{
	va_list args;
	long argument;

	va_start(args, command);
	argument = va_arg(args, long);
	va_end(args);
	if ((command == F_ADD_SEALS && fails(ADD_SEALS)) ||
		(command == F_GET_SEALS && fails(GET_SEALS)) ||
		(command == F_DUPFD_CLOEXEC && fails(DUPLICATE)))
		return -1;
	return REAL(fcntl)(fd, command, argument);
}

void *mmap(void *at, size_t len, int protection, int flags, int fd, off_t offset)
{
	void *mapped =
		fails(MMAP) ? MAP_FAILED : REAL(mmap)(at, len, protection, flags, fd, offset);

	if (kernel.watched && mapped != MAP_FAILED && !(flags & MAP_FIXED))
		kernel.mapped += len;
	return mapped;
}

int munmap(void *at, size_t len)
{
	if (kernel.watched)
		kernel.mapped -= len;
	return REAL(munmap)(at, len);
}

int madvise(void *at, size_t len, int advice)
{
	return fails(MADVISE) ? -1 : REAL(madvise)(at, len, advice);
}

int fchmod(int fd, mode_t mode)
{
	return fails(FCHMOD) ? -1 : REAL(fchmod)(fd, mode);
}

int fstat(int fd, struct stat *st)
{
	return fails(FSTAT) ? -1 : REAL(fstat)(fd, st);
}

int fstatfs(int fd, struct statfs *fs)
{
	int r = fails(FSTATFS) ? -1 : REAL(fstatfs)(fd, fs);

	if (kernel.watched && kernel.file_system)
		fs->f_type = kernel.file_system;
	return r;
}

int getrlimit(__rlimit_resource_t resource, struct rlimit *limit)
{
	return fails(GETRLIMIT) ? -1 : REAL(getrlimit)(resource, limit);
}

static struct rf__reason reason;

static inline uint64_t page(void)
{
	return rf__page_bytes();
}

static inline uint64_t area(void)
{
	return 16 * page();
}

static inline uint64_t file_bytes(void)
{
	return page() + area();
}

static inline void assert_reason(const char *part)
{
	if (!strstr(reason.text, part))
		fail_msg("\"%s\" does not say \"%s\"", reason.text, part);
}

static inline int allocate_all(struct rf__region *region)
{
	int r;

	do
		r = rf__region_allocate(region, 4 * page(), &reason);
	while (r > 0);
	return r;
}

static inline struct rf__region make(enum rf__access access, enum rf__seals seals)
{
	struct rf__region region = RF__REGION_INIT;

	assert_int_equal(rf__region_create(&region, "test", RF__RING_SHAPE, area(), &reason), 0);
	assert_int_equal(allocate_all(&region), 0);
	assert_int_equal(rf__region_map(&region, access, &reason), 0);
	assert_int_equal(rf__region_seal(&region, seals, &reason), 0);
	return region;
}

static inline void drop(struct rf__region *region)
{
	rf__region_unmap(region);
	rf__region_close(region);
}

static inline struct rf__region receive(int fd)
{
	struct rf__region region = RF__REGION_INIT;

	assert_true(fd >= 0);
	region.fd = fd;
	region.area_bytes = area();
	return region;
}

/* A descriptor of a ring as a peer sends it. */
static inline int verify(int fd, enum rf__seals seals)
{
	struct rf__region region = {.fd = fd, .area_bytes = area()};

	return rf__region_verify(&region, seals, &reason);
}

/* Asks the kernel, so that no signal is needed. */
static inline bool is_writable(unsigned char *at)
{
	int ends[2];
	bool written;

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	assert_int_equal(write(ends[1], at, 1), 1);
	written = read(ends[0], at, 1) == 1;
	close(ends[0]);
	close(ends[1]);
	return written;
}

static inline int access_of(int fd)
{
	return fcntl(fd, F_GETFL) & O_ACCMODE;
}

#endif
