/* SPDX-License-Identifier: MIT */
/* membarrier(2): see fence.h. */
#include "fence.h"

#include "util/kernel.h"

#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool call(int command)
{
	return syscall(SYS_membarrier, command, 0, 0) == 0;
}

bool rf__fence_register(void)
{
	return rf__kernel_has(RF__KERNEL_MEMBARRIER) &&
	       call(MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED) && rf__fence_pass();
}

bool rf__fence_pass(void)
{
	return call(MEMBARRIER_CMD_GLOBAL_EXPEDITED);
}
