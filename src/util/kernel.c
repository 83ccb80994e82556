/* SPDX-License-Identifier: MIT */
/* Features that the test build pretends to lack: see kernel.h. */
#include "kernel.h"

#ifdef RF_TESTING

#include <stdlib.h>
#include <string.h>

static const char *const names[] = {
	[RF__KERNEL_PASSRIGHTS] = "passrights",
	[RF__KERNEL_PEERPIDFD] = "peerpidfd",
	[RF__KERNEL_NOEXEC_SEAL] = "noexec_seal",
	[RF__KERNEL_PROC] = "proc",
	[RF__KERNEL_PIDFD] = "pidfd",
	[RF__KERNEL_POPULATE] = "populate",
	[RF__KERNEL_COLLAPSE] = "collapse",
	[RF__KERNEL_BLOB_SHARED] = "blobshared",
	[RF__KERNEL_MEMBARRIER] = "membarrier",
	[RF__KERNEL_UDP_SEGMENT] = "udpsegment",
	[RF__KERNEL_UDP_GRO] = "udpgro",
};

bool rf__kernel_has(enum rf__kernel_feature feature)
{
	const char *list = getenv("RF_TEST_WITHOUT_KERNEL");
	size_t len = strlen(names[feature]), word;

	while (list && *list) {
		word = strcspn(list, ",");
		if (word == len && !memcmp(list, names[feature], len))
			return false;
		list += word + (list[word] == ',');
	}
	return true;
}

#endif
