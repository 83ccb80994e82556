/* SPDX-License-Identifier: MIT */
/* Write-once blobs: memory that nobody can change any more, to be passed beside the data. */
#ifndef RINGFORT_BLOB_H
#define RINGFORT_BLOB_H

#include <ringfort/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A blob, in the caller's memory; all zero it is none. One thread at a time may use it; once it is
 * sealed, any number may read what is at data. A child after fork has its descriptor, but not its
 * memory: there it can only be closed. */
struct rf_blob {
	void *data; /* len bytes, page-aligned; read-only once it is sealed or opened */
	size_t len; /* exactly the size of its file */
	int fd;     /* the blob's, CLOEXEC; to be passed with rf_tx_attach() once it is sealed */
	uint32_t generation; /* the library's: which process made it */
};

/* Makes a blob of len bytes, all zero, its memory allocated. Writable at data until it is sealed;
 * nobody else has it until then, and its descriptor is not to be passed on before. Released with
 * rf_blob_close().
 * 0; -EINVAL: len is 0; -EFBIG: more than 1 GiB, or than RLIMIT_FSIZE; -ENOTSUP: the kernel lacks
 * memfds; errnos of memfd_create(2), ftruncate(2), fallocate(2), mmap(2). rf_reason() tells
 * more. */
RF_EXPORT int rf_blob_new(size_t len, struct rf_blob *ret_blob);

/* Seals it for ever: no process can write, shrink or grow it, or change its seals. Then data is
 * mapped anew, read-only: pointers into the old mapping are void. Sealing again does nothing.
 * 0; -EINVAL: not a blob; -EBADF: it is the parent's, from before fork; -EBUSY: it is mapped
 * writable somewhere else too, or the kernel still reads from or writes to its pages; errnos of
 * fcntl(2) and mmap(2). After a failure data may be NULL: the contents are kept, but can only be
 * sealed by another try. */
RF_EXPORT int rf_blob_seal(struct rf_blob *blob);

/* Verifies a descriptor that came from somebody else and maps it read-only: it is a sealed blob of
 * 1 to max_len bytes, with memory for all of them. Its contents can be trusted to stay what they
 * are, and for nothing else. fd stays the caller's: the blob has a duplicate.
 * 0; -EPERM: not a memfd, wrong seals, wrong file system, empty, holes; -EMSGSIZE: longer than
 * max_len; -EACCES: fd is not open for reading; -EINVAL: max_len is 0; errnos of fcntl(2),
 * fstat(2), fstatfs(2), mmap(2). rf_reason() tells more. */
RF_EXPORT int rf_blob_open(int fd, size_t max_len, struct rf_blob *ret_blob);

/* Unmaps and closes it. NULL, one that is all zero and one that is closed are fine. */
RF_EXPORT void rf_blob_close(struct rf_blob *blob);

#ifdef __cplusplus
}
#endif

#endif
