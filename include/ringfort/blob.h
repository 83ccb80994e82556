/* SPDX-License-Identifier: MIT */
/* Write-once blobs: memory that nobody can change any more, to be passed beside the data. */
#ifndef RINGFORT_BLOB_H
#define RINGFORT_BLOB_H

#include <ringfort/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A blob, in the caller's memory. One thread at a time may use it; once it is sealed, any number may
 * read what is at data. */
struct rf_blob {
	void *data;        /* len bytes, page-aligned; read-only once it is sealed or opened */
	size_t len;        /* exactly the size of its file */
	int fd;            /* the blob's, CLOEXEC; to be passed with rf_tx_attach() once it is sealed */
	uint32_t reserved; /* 0 */
};

/* Makes a blob of len bytes, all zero, its memory allocated. Writable at data until it is sealed;
 * nobody else has it until then. Released with rf_blob_close().
 * 0; -EINVAL: len is 0; -EFBIG: more than 1 GiB, or than RLIMIT_FSIZE; -EBADF: none; errnos of
 * memfd_create(2), ftruncate(2), fallocate(2), mmap(2). rf_reason() tells more. */
RF_EXPORT int rf_blob_new(size_t len, struct rf_blob *ret_blob);

/* Seals it for ever: no process can write, shrink or grow it, or change its seals. Then data is
 * mapped anew, read-only: pointers into the old mapping are void. Sealing again does nothing.
 * 0; -EINVAL: not a blob; -EBUSY: somebody else, a child after fork, has it mapped writable; errnos of
 * mmap(2) and fcntl(2): then it is not mapped any more, and only to be closed. */
RF_EXPORT int rf_blob_seal(struct rf_blob *blob);

/* Verifies a descriptor that came from somebody else and maps it read-only: it is a sealed blob of
 * 1 to max_len bytes, all of them allocated. Its contents can be trusted to stay what they are, and
 * for nothing else. fd stays the caller's: the blob has a duplicate.
 * 0; -EPERM: not a memfd, wrong seals, wrong file system, holes; -EMSGSIZE: longer than max_len;
 * -EINVAL; errnos of fcntl(2), fstat(2), fstatfs(2), mmap(2). rf_reason() tells more. */
RF_EXPORT int rf_blob_open(int fd, size_t max_len, struct rf_blob *ret_blob);

/* Unmaps and closes it. NULL, and one that is closed, are fine. */
RF_EXPORT void rf_blob_close(struct rf_blob *blob);

#ifdef __cplusplus
}
#endif

#endif
