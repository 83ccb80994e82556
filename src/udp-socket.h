/* SPDX-License-Identifier: MIT */
/* What the halves of UDP share: udp.c opens, udp-receive.c and udp-send.c do what they say. */
#ifndef RF_UDP_SOCKET_H
#define RF_UDP_SOCKET_H

#include "udp.h"

/* Linux from 6.9 on takes 128 segments, older ones 64. */
#define UDP_TRAIN_MOST 128
#define UDP_TRAIN_LESS 64

/* Vectors for trains in one call; the kernel takes as many per message. */
#define UDP_PARTS 1024

/* How often a call is repeated that a signal or a report of the network ended. */
#define UDP_TRIES 8

/* Room for every control message that is asked for, or given. */
#define UDP_CONTROL_BYTES 128

struct udp_control {
	_Alignas(struct cmsghdr) unsigned char bytes[UDP_CONTROL_BYTES];
};

/* Destinations that do not take trains of datagrams of that size and above. */
#define UDP_NARROWS      16
#define UDP_NARROW_LOOKS 4096 /* then it is tried once more: routes change */

struct udp_narrow {
	union rf__udp_address to;
	uint32_t size; /* 0: unused */
	uint32_t looks;
};

struct rf__udp {
	int fd;
	int error; /* told by the network, and not yet to the caller */
	uint32_t flags;
	bool connected;
	bool with_control;   /* datagrams come with control data */
	unsigned batch;      /* entries of the arrays below */
	unsigned expected;   /* how many are asked for in the next call to receive */
	unsigned train_most; /* 1: the kernel has no trains */
	bool any_narrow;
	union rf__udp_address name, peer;
	struct udp_narrow narrows[UDP_NARROWS];
	struct rf__udp_stats stats;

	/* Of one call; nothing in there outlives it. */
	struct mmsghdr *messages;
	struct udp_control *controls;
	struct iovec *vectors; /* receiving: one per message; sending: those of trains */
	uint16_t *counts;      /* sending: datagrams in the message */
};

/* Takes what the network reported out of the socket, and keeps the first for rf__udp_error(). Was
 * there anything? */
bool rf__udp_collect(struct rf__udp *udp);

/* The network reported that, without saying more. */
void rf__udp_note(struct rf__udp *udp, int error);

/* Is the address of IPv4, also in the form that dual sockets have? */
bool rf__udp_is_v4(const union rf__udp_address *address);

#endif
