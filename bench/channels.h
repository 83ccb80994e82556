/* SPDX-License-Identifier: MIT */
/* What channels cost by themselves: to open, and to have. */
#ifndef BENCH_CHANNELS_H
#define BENCH_CHANNELS_H

#include "aside.h"

/* Tests of aside_run(): how many channels a second one process can open and close while another
 * accepts them; and what many cost that do nothing, and how soon one of them answers. */
void channels_handshakes(const struct aside *aside);
void channels_idle(const struct aside *aside);

#endif
