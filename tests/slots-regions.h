/* SPDX-License-Identifier: MIT */
/* What the tests of handshakes with slots share: the sizes that they agree on, and what the regions
 * have to look like. */
#ifndef RF_TESTS_SLOTS_REGIONS_H
#define RF_TESTS_SLOTS_REGIONS_H

#include "raw-client.h"

#include "util/fd.h"
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#ifndef F_SEAL_EXEC
#define F_SEAL_EXEC 0x0020
#endif

#define SIZED (F_SEAL_SHRINK | F_SEAL_GROW)
#define FINAL (SIZED | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL)

/* 300 slots of 1000 bytes at 128: 75 pages, and 9600 bytes behind them: not quite 78; a descriptor area
 * of 8 KiB and a return area of a page. */
#define SLOTS      300
#define SLOT_BYTES 1000
#define FILE_BYTES (78 * 4096)
#define AREA_BYTES 8192

/* The descriptors of a ring with slots, in the order in which they travel. */
enum { SLOTS_AT, PRODUCER_AT, CONSUMER_AT, CONSUMER_BELL_AT, PRODUCER_BELL_AT, N_AT };

static inline struct rf_options slots_options(uint32_t doorbell)
{
	struct rf_options options = channel_options(doorbell, RF_WAIT_ADAPTIVE);

	options.kind = RF_SLOTS;
	options.slots = SLOTS;
	options.slot_bytes = SLOT_BYTES;
	options.slot_align = 128;
	return options;
}

static inline void assert_region(int fd, int seals, off_t bytes)
{
	struct stat st;

	assert_int_equal(fcntl(fd, F_GET_SEALS) & ~F_SEAL_EXEC, seals);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, bytes);
	assert_true(st.st_blocks * 512 >= bytes);
}

static inline bool can_be_written(int fd)
{
	void *base = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (base == MAP_FAILED)
		return pwrite(fd, "x", 1, 0) == 1;
	munmap(base, 4096);
	return true;
}

#endif
