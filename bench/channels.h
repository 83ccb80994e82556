/* SPDX-License-Identifier: MIT */
/* What channels cost by themselves: to open, and to have. */
#ifndef BENCH_CHANNELS_H
#define BENCH_CHANNELS_H

#include "aside.h"

#include <ringfort/ringfort.h>

/* Tests of aside_run(): how many channels a second one process can open and close while another
 * accepts them; and what many cost that do nothing, and how soon one of them answers. */
void channels_handshakes(const struct aside *aside);
void channels_idle(const struct aside *aside);

/* What such tests are made of; each ends the test when it fails. The epoll watches all of them. */
struct rf_channel *channels_connect(const char *path, const struct rf_options *options);
struct rf_channel *channels_accept(struct rf_listener *listener);
int channels_watch(struct rf_channel *const *all, unsigned n);

#endif
