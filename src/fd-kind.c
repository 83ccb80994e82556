/* SPDX-License-Identifier: MIT */
/* Kinds of descriptors: see fd-kind.h. */
#include "fd-kind.h"

#include "memfd.h"
#include "util/fd.h"
#include "util/kernel.h"

#include <stdio.h>

#define BLOB_SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

/* As much of a link's text as tells kinds apart. */
struct text {
	char bytes[64];
};

static bool read_link(int fd, struct text *ret_text)
{
	char path[sizeof("/proc/self/fd/-2147483648")];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (!rf__kernel_has(RF__KERNEL_PROC))
		return false;
	n = readlink(path, ret_text->bytes, sizeof(ret_text->bytes) - 1);
	ret_text->bytes[n < 0 ? 0 : n] = 0;
	return n >= 0;
}

static bool begins(const struct text *text, const char *with)
{
	return !strncmp(text->bytes, with, strlen(with));
}

static bool is(const struct text *text, const char *what)
{
	return !strcmp(text->bytes, what);
}

/* A file may be called "/dmabuf:", but only of a dma-buf the kernel says who exported it. */
static bool has_exporter(int fd)
{
	char path[sizeof("/proc/self/fdinfo/-2147483648")], info[1024];
	int file;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	file = open(path, O_RDONLY | O_CLOEXEC);
	if (file < 0)
		return false;
	n = read(file, info, sizeof(info) - 1);
	rf__close(&file);
	info[n < 0 ? 0 : n] = 0;
	return strstr(info, "\nexp_name:");
}

static int kind_of_text(int fd, const struct text *text)
{
	if ((begins(text, "/dmabuf:") || begins(text, "anon_inode:dmabuf")) && has_exporter(fd))
		return RF_FD_DMABUF;
	if (begins(text, "/"))
		return RF_FD_FILE;
	if (is(text, "anon_inode:[eventfd]"))
		return RF_FD_EVENTFD;
	if (is(text, "anon_inode:[io_uring]"))
		return RF__FD_NEVER;
	if (begins(text, "pipe:["))
		return RF_FD_PIPE;
	return begins(text, "socket:[") ? RF_FD_SOCKET : RF_FD_OTHER;
}

/* All files on tmpfs have seals, memfds or not; those with a name cannot be sealed. */
int rf__fd_kind(int fd)
{
	int seals = fcntl(fd, F_GET_SEALS);
	struct text text;

	if (seals < 0 && fcntl(fd, F_GETFD) < 0)
		return -EBADF;
	if (seals >= 0 && (seals & BLOB_SEALS) == BLOB_SEALS)
		return RF_FD_BLOB;
	if (!read_link(fd, &text))
		return seals >= 0 ? RF_FD_MEMFD : RF_FD_OTHER;
	if (seals >= 0 && begins(&text, "/memfd:"))
		return RF_FD_MEMFD;
	return kind_of_text(fd, &text);
}

const char *rf__fd_kind_refusal(int kind)
{
#define REFUSAL(name) "the peer sent " name ", which was not agreed on"
	switch (kind) {
	case RF_FD_BLOB:
		return REFUSAL("a blob");
	case RF_FD_MEMFD:
		return REFUSAL("a memfd");
	case RF_FD_DMABUF:
		return REFUSAL("a dma-buf");
	case RF_FD_EVENTFD:
		return REFUSAL("an eventfd");
	case RF_FD_PIPE:
		return REFUSAL("a pipe");
	case RF_FD_SOCKET:
		return REFUSAL("a socket");
	case RF_FD_FILE:
		return REFUSAL("a file");
	case RF__FD_NEVER:
		return REFUSAL("an io_uring");
	default:
		return REFUSAL("a descriptor of another kind");
	}
#undef REFUSAL
}
