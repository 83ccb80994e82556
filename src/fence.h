/* SPDX-License-Identifier: MIT */
/* The asymmetric fence: whoever is going to sleep pays for a barrier on both sides, so that whoever is
 * awake needs none (ring.h). */
#ifndef RF_FENCE_H
#define RF_FENCE_H

#include <stdbool.h>

/* Lets membarrier(2), called by any process of the machine, make our threads pass barriers: for the
 * whole process, and for good. Again does nothing. false: the kernel or a sandbox does not have it. */
bool rf__fence_register(void);

/* Every thread of a registered process that runs now has passed a full barrier since the call, as has
 * this thread; a thread that does not run did when it was taken off its processor. Takes microseconds.
 * false: it failed, and nothing is ordered. */
bool rf__fence_pass(void);

#endif
