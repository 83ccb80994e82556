/* SPDX-License-Identifier: MIT */
/* What was agreed on about descriptors beside the data, in one direction. */
#ifndef RF_FD_TERMS_H
#define RF_FD_TERMS_H

#include <stdint.h>

/* Data messages with descriptors that a receiver may have at a time, not yet released. */
#define RF__FDS_MESSAGES 16

/* Kinds of enum rf_fd_kind, at most so many with a message, and in a second (0: no limit). All 0:
 * none. */
struct rf__fd_terms {
	uint32_t kinds, max, per_second;
};

#endif
