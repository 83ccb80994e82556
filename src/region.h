/* SPDX-License-Identifier: MIT */
/* A region: a sealed memfd, writable for its one writer, read-only for everyone else. */
#ifndef RF_REGION_H
#define RF_REGION_H

#include "util/reason.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The largest area of a region. */
#define RF__AREA_MAX (UINT64_C(1) << 30)

/* A region's file is one page of words and then area_bytes of data (0: none; else a power of two
 * and at least a page). It is mapped as header, area, area again: what starts before the end of the
 * area is contiguous. Where the area is large enough the mapping begins at a multiple of 2 MiB, so
 * that file and addresses agree and the kernel can map huge pages, in all but the first 2 MiB of
 * the second half.
 *
 * The life of a region that a server makes: create, allocate until there is no more, map, seal
 * (FINAL what it writes itself, SIZED what the client writes), lend. A client puts a descriptor it
 * got into .fd and its agreed size into .area_bytes: verify, map, and for what it writes itself
 * seal FINAL.
 *
 * No function here is called by two threads for the same region. The mapping lives until
 * rf__region_unmap(), whatever happens to the descriptor. */
struct rf__region {
	int fd;              /* -1: none */
	bool lent;           /* a peer may hold it: nothing about the file is changed any more */
	unsigned char *base; /* NULL: not mapped */
	uint64_t area_bytes;
	uint64_t allocated; /* bytes of the file that memory was allocated for so far */
};

#define RF__REGION_INIT ((struct rf__region){.fd = -1})

/* What is sealed; always exactly these (with EXEC or without, as the kernel does it). */
enum rf__seals {
	RF__SEALS_SIZED, /* SHRINK, GROW: its writer has not mapped it yet */
	RF__SEALS_FINAL  /* and FUTURE_WRITE, SEAL: nobody gets write access any more */
};

enum rf__access { RF__READ_ONLY, RF__READ_WRITE };

/* One page of this machine. */
uint64_t rf__page_bytes(void);

/* The size of the file of a region with that area; 0 when it is not a valid area (no power of two,
 * below a page, above RF__AREA_MAX). */
uint64_t rf__region_file_bytes(uint64_t area_bytes);

/* Creates a region: memfd (CLOEXEC, ALLOW_SEALING, NOEXEC_SEAL where the kernel has it) of the
 * right size, not yet allocated. The size is checked against RLIMIT_FSIZE before, since exceeding
 * it raises SIGXFSZ (threats M12). 0; -EINVAL: not a valid area; -EFBIG: limit; -ENOTSUP: no
 * memfds; errnos of memfd_create(2) and ftruncate(2). *region is untouched on failure. */
int rf__region_create(struct rf__region *region, const char *name, uint64_t area_bytes,
	struct rf__reason *reason);

/* Allocates memory for up to step_bytes more (a page at least). Where signals interrupt it, it goes
 * on in smaller steps. 1: there is more to do; 0: all of it is allocated; -EINVAL: lent; errnos of
 * fallocate(2). */
int rf__region_allocate(struct rf__region *region, uint64_t step_bytes, struct rf__reason *reason);

/* Maps it, not to be inherited by a child (MADV_DONTFORK). 0; errnos of mmap(2), -EPERM where it is
 * sealed FINAL already and to be written; errnos of madvise(2). Nothing stays mapped on failure. */
int rf__region_map(struct rf__region *region, enum rf__access access, struct rf__reason *reason);

/* Of enum rf_option_flags, does to a mapping what it is asked for; rf__region_unmap() undoes it.
 *
 * POPULATE: all of it is brought into our page tables; only reads, since a page that is allocated
 * needs no more. MLOCK: so, and locked into memory; the second half shows pages that are locked
 * already and is not charged again. HUGE: gathers what is mapped for writing into huge pages; a
 * hint, so it never fails. Takes as long as a copy of the area.
 * 0; -ENOMEM, -EPERM: RLIMIT_MEMLOCK; other errnos of mlock(2) and madvise(2). */
int rf__region_settle(struct rf__region *region, enum rf__access access, uint32_t flags,
	struct rf__reason *reason);

/* Adds the seals that make it `seals`. A seal waits for whoever is writing to the file, so this is
 * only for what no peer can write to: our own before it is lent, and what a client has got to write
 * to itself (threats M5). 0; -EINVAL: lent; -ENOTSUP: the kernel lacks FUTURE_WRITE; -EPERM: sealed
 * against seals; errnos of fcntl(2). */
int rf__region_seal(struct rf__region *region, enum rf__seals seals, struct rf__reason *reason);

/* Makes a descriptor for a peer with that access: reopened through /proc, so that our own open file
 * description stays private; without /proc a duplicate, which has the access of our own. The first
 * time, the file's mode becomes 0400: so a region that the peer writes to is lent once, and others
 * any number of times. Only seals keep a peer from writing; the mode is a second line.
 * The descriptor (CLOEXEC); errnos of fcntl(2) and fchmod(2). */
int rf__region_lend(struct rf__region *region, enum rf__access access, struct rf__reason *reason);

/* A private read-only descriptor of its file, with an open file description of its own: to see
 * when a peer has let go of it. The descriptor (CLOEXEC); errnos of open(2), -ENOENT where there
 * is no /proc. */
int rf__region_keep(const struct rf__region *region);

/* Has nobody but this descriptor of rf__region_keep() the file open or mapped, by a description
 * that open(2) made, as those of rf__region_lend() are? What memfd_create(2) itself gave us is
 * not seen, nor is a descriptor opened with O_PATH. Asked by taking a write lease for a moment;
 * nobody can make that wait, and no signal of it reaches the program. false also where the file
 * belongs to another user than the one that we have become. */
bool rf__region_is_let_go(int fd);

/* Checks a descriptor that came from a peer, or whose file a peer can write to. Only looks, in an
 * order that cannot hang (threats M1-M3, M5-M8): its seals, which only a memfd has, are exactly
 * `seals`; its file system is tmpfs; its size is exact; it has the blocks that its size takes.
 *
 * Blocks behind the end of the file count, too. Only its maker could put some there, before it
 * sealed GROW: so a server can hide holes from its client, who is then charged for no more than the
 * size it agreed to; a client cannot hide any from its server.
 * 0; -EINVAL: not a valid area; -EPERM: not a memfd, wrong seals, wrong file system, holes;
 * -EBADMSG: wrong size; errnos of fstat(2) and fstatfs(2). Each has a sentence of its own. */
int rf__region_verify(int fd, uint64_t area_bytes, enum rf__seals seals, struct rf__reason *reason);

/* Both are fine with what was never mapped or opened, or is not any more. In a child after fork the
 * mapping is not there: unmap is not to be called. */
void rf__region_unmap(struct rf__region *region);
void rf__region_close(struct rf__region *region);

#endif
