/* SPDX-License-Identifier: MIT */
/* Descriptors: closing them without losing errno. */
#ifndef RF_UTIL_FD_H
#define RF_UTIL_FD_H

#include <errno.h>
#include <unistd.h>

/* Closes *fd unless it is negative and makes it -1; errno stays. */
static inline void rf__close(int *fd)
{
	int saved = errno;

	if (*fd >= 0)
		close(*fd);
	*fd = -1;
	errno = saved;
}

#endif
