/* SPDX-License-Identifier: MIT */
/* The transports that are built in, and the limits of the machine; one file each, or one for a
 * family. */
#ifndef BENCH_TRANSPORTS_H
#define BENCH_TRANSPORTS_H

#include "transport-ringfort.h"
#include "transport.h"

extern const struct transport transport_unix_stream, transport_unix_seqpacket, transport_pipe,
	transport_vmsplice, transport_mq, transport_udp, transport_udp_gso, transport_tcp,
	transport_model;
extern const struct transport limit_line, limit_eventfd, limit_futex, limit_memcpy, limit_hand_over;

#endif
