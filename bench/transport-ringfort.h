/* SPDX-License-Identifier: MIT */
/* ringfort, in all its kinds. */
#ifndef BENCH_TRANSPORT_RINGFORT_H
#define BENCH_TRANSPORT_RINGFORT_H

#include "transport.h"

extern const struct transport transport_ringfort, transport_ringfort_slots,
	transport_ringfort_elements, transport_ringfort_stream, transport_ringfort_socket_bell,
	transport_ringfort_fence, transport_ringfort_fence_elements;

#endif
