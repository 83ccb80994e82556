/* SPDX-License-Identifier: MIT */
/* Kernel features that older kernels and sandboxes lack. The test build can pretend that they are
 * missing, so that every fallback is tested on a kernel that has them. */
#ifndef RF_UTIL_KERNEL_H
#define RF_UTIL_KERNEL_H

#include <stdbool.h>

enum rf__kernel_feature {
	RF__KERNEL_PASSRIGHTS,  /* "passrights": SO_PASSRIGHTS */
	RF__KERNEL_PEERPIDFD,   /* "peerpidfd": SO_PEERPIDFD */
	RF__KERNEL_NOEXEC_SEAL, /* "noexec_seal": MFD_NOEXEC_SEAL */
	RF__KERNEL_PROC,        /* "proc": reopening descriptors through /proc */
	RF__KERNEL_PIDFD,       /* "pidfd": pidfd_open(2) */
	RF__KERNEL_POPULATE,    /* "populate": MADV_POPULATE_READ */
	RF__KERNEL_COLLAPSE,    /* "collapse": MADV_COLLAPSE */
	RF__KERNEL_BLOB_SHARED, /* "blobshared": shared read-only mappings after F_SEAL_WRITE */
	RF__KERNEL_MEMBARRIER,  /* "membarrier": its global expedited commands, at registration */
	RF__KERNEL_UDP_SEGMENT, /* "udpsegment": UDP_SEGMENT, at opening */
	RF__KERNEL_UDP_GRO      /* "udpgro": UDP_GRO, at opening */
};

/* May the feature be tried? What the kernel says to it is to be handled all the same. Constant
 * true, but in the test build (RF_TESTING) false for the names that the environment's
 * RF_TEST_WITHOUT_KERNEL lists between commas; looked up at each call. */
#ifdef RF_TESTING
bool rf__kernel_has(enum rf__kernel_feature feature);
#else
static inline bool rf__kernel_has(enum rf__kernel_feature feature)
{
	(void)feature;
	return true;
}
#endif

#endif
