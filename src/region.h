/* SPDX-License-Identifier: MIT */
/* A region: a sealed memfd, writable for its one writer, read-only for everyone else. */
#ifndef RF_REGION_H
#define RF_REGION_H

#include "memfd.h"

#include "util/reason.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The largest area of a region. */
#define RF__AREA_MAX (UINT64_C(1) << 30)

/* The same of a flat one: what stands behind slots comes on top. */
#define RF__FLAT_MAX (RF__AREA_MAX + (UINT64_C(4) << 20))

/* What is in a region's file, and how it is mapped.
 *
 * Ring: one page of words and then area_bytes of data (0: none; else a power of two and at least a
 * page). It is mapped as words, area, area again: what starts before the end of the area is
 * contiguous.
 *
 * Flat: area_bytes of data (a multiple of a page, at least one) and nothing else, mapped once.
 *
 * Where the area is large enough the mapping begins at a multiple of 2 MiB, so that file and
 * addresses agree and the kernel can map huge pages: in a ring in all but the first 2 MiB of the
 * second half. */
enum rf__shape { RF__RING_SHAPE, RF__FLAT_SHAPE };

/* A region in private memory.
 *
 * The life of a region that a server makes: create, allocate until there is no more, map, seal
 * (FINAL what it writes itself, SIZED what the client writes), lend. A client puts a descriptor it
 * got into .fd and what was agreed on into .shape and .area_bytes: verify, map, and for what it
 * writes itself seal FINAL.
 *
 * No function here is called by two threads for the same region. The mapping lives until
 * rf__region_unmap(), whatever happens to the descriptor. */
struct rf__region {
	int fd;    /* -1: none */
	bool lent; /* a peer may hold it: nothing about the file is changed any more */
	enum rf__shape shape;
	unsigned char *base; /* NULL: not mapped */
	uint64_t area_bytes;
	uint64_t allocated; /* bytes of the file that memory was allocated for so far */
};

/* Neither made nor mapped; a ring without area. */
#define RF__REGION_INIT ((struct rf__region){.fd = -1})

/* What is sealed; always exactly these (with EXEC or without, as the kernel does it). */
enum rf__seals {
	RF__SEALS_SIZED, /* SHRINK, GROW: its writer has not mapped it yet */
	RF__SEALS_FINAL  /* and FUTURE_WRITE, SEAL: nobody gets write access any more */
};

enum rf__access { RF__READ_ONLY, RF__READ_WRITE };

/* The size of the file of a region of that shape with that area; 0 when it is not a valid area of
 * it, or above RF__AREA_MAX or RF__FLAT_MAX. */
uint64_t rf__region_file_bytes(enum rf__shape shape, uint64_t area_bytes);

/* Creates a region: a memfd of the right size, not yet allocated. 0; -EINVAL: not a valid area;
 * else as rf__memfd_create(). *region is untouched on failure. */
int rf__region_create(struct rf__region *region, const char *name, enum rf__shape shape,
	uint64_t area_bytes, struct rf__reason *reason);

/* Allocates memory for up to step_bytes more (a page at least). 1: there is more to do; 0: all of
 * it is allocated; -EINVAL: lent; errnos of fallocate(2). */
int rf__region_allocate(struct rf__region *region, uint64_t step_bytes, struct rf__reason *reason);

/* Maps it, not to be inherited by a child (MADV_DONTFORK). 0; errnos of mmap(2), -EPERM where it is
 * sealed FINAL already and to be written; errnos of madvise(2). Nothing stays mapped on failure. */
int rf__region_map(struct rf__region *region, enum rf__access access, struct rf__reason *reason);

/* Of enum rf_option_flags, does to a mapping what it is asked for; rf__region_unmap() undoes it.
 *
 * POPULATE: all of it is brought into our page tables; only reads, since a page that is allocated
 * needs no more. MLOCK: so, and locked into memory; the second half of a ring shows pages that are
 * locked already and is not charged again. HUGE: gathers what is mapped for writing into huge
 * pages; a hint, so it never fails. Takes as long as a copy of the area.
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

/* Checks a region whose descriptor came from a peer, or whose file a peer can write to: of it, fd,
 * shape and area_bytes are used. Only looks, as rf__memfd_verify() does: its seals are exactly
 * `seals`; its file system is tmpfs; its size is exact; it has the blocks that its size takes.
 *
 * A server can hide holes from its client with blocks behind the end of the file; the client is
 * then charged for no more than the size it agreed to. A client cannot hide any from its server.
 * 0; -EINVAL: not a valid area; -EPERM: not a memfd, wrong seals, wrong file system, holes;
 * -EBADMSG: wrong size; errnos of fstat(2) and fstatfs(2). Each has a sentence of its own. */
int rf__region_verify(
	const struct rf__region *region, enum rf__seals seals, struct rf__reason *reason);

/* Both are fine with what was never mapped or opened, or is not any more. In a child after fork the
 * mapping is not there: unmap is not to be called. */
void rf__region_unmap(struct rf__region *region);
void rf__region_close(struct rf__region *region);

#endif
