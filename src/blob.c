/* SPDX-License-Identifier: MIT */
/* Blobs: memfds that are written once and then sealed against everybody, their writer included. */
#include <ringfort/blob.h>

#include "generation.h"
#include "memfd.h"
#include "region.h"
#include "util/fd.h"
#include "util/kernel.h"
#include <sys/mman.h>

#define SEALS         (F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)
#define ALLOCATE_STEP ((uint64_t)4 << 20)

/* So much of the number of rf__generation as there is room for; never 0. */
static int get_generation(uint32_t *ret_generation, struct rf__reason *reason)
{
	struct rf__generation ours;
	int r = rf__generation_get(&ours);

	if (r < 0)
		return rf__fail_error(reason, r, "cannot notice fork for a blob");
	*ret_generation = (uint32_t)(ours.number % UINT32_MAX) + 1;
	return 0;
}

/* Made in this process: in a child after fork other memory may be at the same addresses. */
static bool is_ours(const struct rf_blob *blob)
{
	uint32_t ours = 0;

	get_generation(&ours, NULL);
	return blob->generation == ours;
}

/* Not inherited by a child. NULL: errno. */
static void *map(int fd, size_t len, int protection, int sharing)
{
	void *at = mmap(NULL, len, protection, sharing, fd, 0);

	if (at == MAP_FAILED)
		return NULL;
	if (madvise(at, len, MADV_DONTFORK) == 0)
		return at;
	munmap(at, len);
	return NULL;
}

static void unmap(struct rf_blob *blob)
{
	if (blob->data)
		munmap(blob->data, blob->len);
	blob->data = NULL;
}

/* Before 6.7 the kernel maps nothing shared that is sealed WRITE: a private mapping shows the same
 * pages as long as nobody writes to it. */
static int map_sealed(struct rf_blob *blob, struct rf__reason *reason)
{
	void *at = NULL;

	errno = EPERM;
	if (rf__kernel_has(RF__KERNEL_BLOB_SHARED))
		at = map(blob->fd, blob->len, PROT_READ, MAP_SHARED);
	if (!at && errno == EPERM)
		at = map(blob->fd, blob->len, PROT_READ, MAP_PRIVATE);
	if (!at)
		return rf__fail_errno(reason, "cannot map a blob of %zu bytes", blob->len);
	blob->data = at;
	return 0;
}

static int check_new(size_t len, const struct rf_blob *blob, struct rf__reason *reason)
{
	if (!len || !blob)
		return rf__fail(reason, -EINVAL, "no bytes, or no place for the blob");
	if (len > RF__AREA_MAX)
		return rf__fail(reason, -EFBIG, "a blob of %zu bytes exceeds 1 GiB", len);
	return 0;
}

static int allocate_and_map(struct rf_blob *blob, struct rf__reason *reason)
{
	uint64_t allocated = 0;
	int r;

	do
		r = rf__memfd_allocate(
			blob->fd, blob->len, ALLOCATE_STEP, &allocated, "a blob", reason);
	while (r > 0);
	if (r < 0)
		return r;
	blob->data = map(blob->fd, blob->len, PROT_READ | PROT_WRITE, MAP_SHARED);
	return blob->data ? 0 : rf__fail_errno(reason, "cannot map a blob");
}

int rf_blob_new(size_t len, struct rf_blob *ret_blob)
{
	struct rf__reason *reason = rf__reason_begin();
	struct rf_blob blob = {.len = len, .fd = -1};
	int r = check_new(len, ret_blob, reason);

	if (r >= 0)
		r = get_generation(&blob.generation, reason);
	if (r >= 0)
		r = blob.fd = rf__memfd_create("ringfort-blob", len, "a blob", reason);
	if (r >= 0)
		r = allocate_and_map(&blob, reason);
	if (r < 0) {
		rf__close(&blob.fd);
		return r;
	}
	*ret_blob = blob;
	return 0;
}

static int add_seals(int fd, struct rf__reason *reason)
{
	if (fcntl(fd, F_ADD_SEALS, SEALS) == 0)
		return 0;
	if (errno == EBUSY)
		return rf__fail(reason, -EBUSY,
			"the blob is mapped writable elsewhere, or its pages are in use");
	return rf__fail_errno(reason, "cannot seal a blob");
}

int rf_blob_seal(struct rf_blob *blob)
{
	struct rf__reason *reason = rf__reason_begin();
	int found, r;

	if (!blob || !blob->generation)
		return rf__fail(reason, -EINVAL, "not a blob");
	if (!is_ours(blob))
		return rf__fail(reason, -EBADF, "a blob of before fork cannot be sealed");
	found = fcntl(blob->fd, F_GET_SEALS);
	if (found < 0)
		return rf__fail_errno(reason, "cannot tell the seals of a blob");
	if ((found & SEALS) != SEALS) {
		/* Our own mapping would be in the way. */
		unmap(blob);
		r = add_seals(blob->fd, reason);
		if (r < 0)
			return r;
	}
	return blob->data ? 0 : map_sealed(blob, reason);
}

static int verify(int fd, size_t max_len, struct rf__reason *reason, size_t *ret_len)
{
	static const char what[] = "the blob";
	struct stat file;
	int r = rf__memfd_verify(fd, SEALS, what, reason, &file);

	if (r < 0)
		return r;
	if (file.st_size == 0)
		return rf__fail(reason, -EPERM, "%s is empty", what);
	if ((uint64_t)file.st_size > max_len)
		return rf__fail(reason, -EMSGSIZE, "%s has %llu bytes, more than %zu", what,
			(unsigned long long)file.st_size, max_len);
	if (rf__memfd_has_holes(&file))
		return rf__fail(reason, -EPERM, "%s has holes", what);
	if ((fcntl(fd, F_GETFL) & O_ACCMODE) == O_WRONLY)
		return rf__fail(reason, -EACCES, "%s is not open for reading", what);
	*ret_len = (size_t)file.st_size;
	return 0;
}

int rf_blob_open(int fd, size_t max_len, struct rf_blob *ret_blob)
{
	struct rf__reason *reason = rf__reason_begin();
	struct rf_blob blob = {.fd = -1};
	int r;

	if (!max_len || !ret_blob)
		return rf__fail(reason, -EINVAL, "no bytes allowed, or no place for the blob");
	/* Before it is duplicated: even closing the duplicate of a stranger can hang. */
	r = verify(fd, max_len, reason, &blob.len);
	if (r >= 0)
		r = get_generation(&blob.generation, reason);
	if (r < 0)
		return r;
	blob.fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (blob.fd < 0)
		return rf__fail_errno(reason, "cannot duplicate the descriptor of a blob");
	r = map_sealed(&blob, reason);
	if (r < 0) {
		rf__close(&blob.fd);
		return r;
	}
	*ret_blob = blob;
	return 0;
}

void rf_blob_close(struct rf_blob *blob)
{
	if (!blob || !blob->generation)
		return;
	if (is_ours(blob))
		unmap(blob);
	rf__close(&blob->fd);
	*blob = (struct rf_blob){.fd = -1};
}
