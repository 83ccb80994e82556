/* SPDX-License-Identifier: MIT */
/* UDP in batches: a non-blocking socket that receives into, and sends from, memory of the caller's.
 *
 * Nothing is allocated after opening, nothing is copied here, and nothing waits. What a datagram
 * and its control data say is hostile: lengths are bounded by what was asked for, control messages
 * nobody knows are skipped, and who sends can cost nobody else anything but what any datagram costs.
 *
 * Several datagrams for one destination leave in one system call and, where they are of one size,
 * through the kernel as one (a train: UDP_SEGMENT), and several may come in one buffer
 * (RF__UDP_JOIN: UDP_GRO); rf__udp_segment() takes them apart.
 *
 * One thread at a time per socket. */
#ifndef RF_UDP_H
#define RF_UDP_H

#include "util/reason.h"
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

struct rf__udp;

/* IPv4 or IPv6 with a port, as the kernel has them; family AF_UNSPEC (0): none. An IPv6 socket that
 * is dual shows IPv4 as ::ffff:a.b.c.d, and takes both forms. */
union rf__udp_address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

/* Fits every address and port, terminated: "192.0.2.1:53", "[fe80::1%2]:53", "none". */
#define RF__UDP_TEXT_BYTES 80
void rf__udp_print(const union rf__udp_address *address, char text[RF__UDP_TEXT_BYTES]);

/* Datagrams per system call unless options say otherwise, and at most. */
#define RF__UDP_BATCH      64
#define RF__UDP_BATCH_MOST 1024

/* The most bytes that go into one train, and a buffer of that size takes whatever comes joined. */
#define RF__UDP_TRAIN_BYTES 65507
#define RF__UDP_JOIN_BYTES  65535

enum rf__udp_flag {
	RF__UDP_DUAL = 1 << 0,       /* an IPv6 socket speaks IPv4, too; else IPV6_V6ONLY */
	RF__UDP_REUSE_PORT = 1 << 1, /* SO_REUSEPORT: a share of the datagrams of a port */
	RF__UDP_SHARED = 1 << 2,     /* SO_REUSEADDR: all who joined a group get its datagrams */
	RF__UDP_ECN = 1 << 3,        /* congestion marks are told */
	RF__UDP_INFO = 1 << 4,       /* local address and interface are told */
	RF__UDP_JOIN = 1 << 5,       /* UDP_GRO, where the kernel has it */
	RF__UDP_APART = 1 << 6       /* no trains: every datagram leaves by itself */
};

/* Sending to groups. Zeros are the kernel's defaults: one hop, looped back, a route's interface. */
struct rf__udp_multicast {
	uint8_t hops;   /* TTL; 0: 1 */
	bool no_loop;   /* our own host's sockets do not get what we send */
	uint32_t iface; /* index; 0: as routes say */
};

struct rf__udp_options {
	union rf__udp_address
		bind; /* family 0: the peer's, any address; port 0: the kernel chooses */
	union rf__udp_address peer; /* connects; family 0: not connected */
	struct rf__udp_multicast multicast;
	uint32_t flags; /* enum rf__udp_flag */
	uint32_t batch; /* 0: RF__UDP_BATCH */
	uint32_t
		receive_bytes; /* SO_RCVBUF, past the system's limit where we may; 0: its default */
	uint32_t send_bytes;   /* SO_SNDBUF */
};

/* A socket of that kind, bound, and connected where there is a peer. A socket that is not connected
 * hears nothing of ICMP; a connected one does: see rf__udp_error(). It gets datagrams of groups that
 * itself has joined, not of those that others of the host have.
 * 0; -EINVAL: options that do not go together; -ENOMEM; errnos of socket(2), bind(2), connect(2),
 * setsockopt(2). */
int rf__udp_open(
	const struct rf__udp_options *options, struct rf__udp **ret_udp, struct rf__reason *reason);

/* NULL is fine. */
void rf__udp_close(struct rf__udp *udp);

/* To be polled: POLLIN, POLLOUT after -EAGAIN, and POLLERR, upon which rf__udp_error() is to be
 * called. */
int rf__udp_fd(const struct rf__udp *udp);

/* What it is bound to. */
const union rf__udp_address *rf__udp_name(const struct rf__udp *udp);

/* Joins and leaves a group (the port does not matter) on the interface of that index; 0: the
 * kernel chooses. 0; -EINVAL: no group of this socket's family; errnos of setsockopt(2). */
int rf__udp_join(struct rf__udp *udp, const union rf__udp_address *group, uint32_t iface,
	struct rf__reason *reason);
int rf__udp_leave(struct rf__udp *udp, const union rf__udp_address *group, uint32_t iface,
	struct rf__reason *reason);

/* Our side of a datagram, in the socket's own family (IPv4 on a dual socket: ::ffff:a.b.c.d). */
struct rf__udp_local {
	sa_family_t family; /* 0: not known, or left to the kernel */
	uint32_t iface;     /* index; sending: 0 leaves it to routes */
	union {
		struct in_addr v4;
		struct in6_addr v6;
	} to,        /* received: where it was sent to: an address of ours, or a group */
		own; /* what an answer comes from; all zero: the kernel chooses */
};

/* Receiving */

struct rf__udp_in {
	void *data; /* the caller's: where to and how much */
	size_t size;

	size_t len;           /* bytes in data */
	size_t cut;           /* bytes that there was no room for: lost */
	size_t segment_bytes; /* several datagrams of that size, the last may be shorter; never 0 */
	union rf__udp_address peer;
	struct rf__udp_local local; /* RF__UDP_INFO */
	uint8_t ecn;                /* RF__UDP_ECN: 0 to 3; else 0 */
};

/* Receives into the first buffers of the list. How many of them were filled: where that is fewer
 * than n, there may still be more, since a single datagram is handed out before a second one is
 * looked for. -EAGAIN: nothing there; -ENOBUFS: the kernel lacks memory or the network reports
 * errors faster than they can be told, so try again later; -EFAULT: a buffer is no memory. */
int rf__udp_receive(struct rf__udp *udp, struct rf__udp_in *list, unsigned n);

/* How many datagrams came in one buffer, at least 1, and the i-th of them. The last one may have
 * lost its end (cut), and those behind it are lost. */
unsigned rf__udp_segments(const struct rf__udp_in *in);
struct iovec rf__udp_segment(const struct rf__udp_in *in, unsigned i);

/* Sending */

struct rf__udp_out {
	const struct iovec *parts;
	unsigned n_parts;
	uint8_t ecn;                       /* 0 to 3 */
	const union rf__udp_address *to;   /* NULL: the peer of a connected socket */
	const struct rf__udp_local *local; /* own and iface count; NULL: the kernel chooses */

	int error; /* of this datagram, once taken: 0: on its way; or a negative errno: it is not */
};

/* Sends the list from the front, in order, and returns how many were taken: these are done with,
 * sent or not as their error says. Where that is fewer than n, *ret_why tells: -EAGAIN: after
 * POLLOUT; -ENOBUFS: the kernel or a device lacks memory, which no poll tells, so later. Else it is
 * 0. Nothing taken is sent again, and nothing else was sent.
 *
 * Datagrams that follow each other, for one destination, from one source, with one mark and of one
 * size, the last one may be shorter, leave as a train; a filter sees it as one packet, and its
 * answer (-EPERM) holds for all of them. Where a kernel, route or packet size does not allow trains, they
 * go one by one, which is remembered per destination. */
unsigned rf__udp_send(struct rf__udp *udp, struct rf__udp_out *list, unsigned n, int *ret_why);

/* What the network reported (ICMP), which belongs to no datagram in particular: -ECONNREFUSED: nobody
 * has that port; -EHOSTUNREACH and others; the first since the last call; 0: nothing. Only
 * connected sockets are told. One or two system calls; receiving and sending go on meanwhile, whether this
 * is called or not. */
int rf__udp_error(struct rf__udp *udp);

/* Does rf__udp_error() have something? Without a system call. */
bool rf__udp_has_error(const struct rf__udp *udp);

struct rf__udp_stats {
	uint64_t in_datagrams, in_bytes, in_calls; /* bytes of payload; calls into the kernel */
	uint64_t in_joined;                        /* buffers with more than one datagram */
	uint64_t in_cut;                           /* datagrams that did not fit */
	uint64_t in_dropped;                       /* by the kernel, for want of room */
	uint64_t out_datagrams, out_bytes, out_calls;
	uint64_t out_trains;                /* of two and more */
	uint64_t out_errors;                /* datagrams taken that were not sent */
	uint64_t out_again, out_no_memory;  /* times that sending ended with -EAGAIN, -ENOBUFS */
	uint64_t out_apart;                 /* trains that the kernel did not take */
	uint64_t reported;                  /* errors told by the network */
	uint32_t receive_bytes, send_bytes; /* of the socket's buffers, as the kernel counts */
	uint32_t train_most;                /* datagrams in a train; 1: there are none */
	bool joins;                         /* RF__UDP_JOIN is in force */
};

/* Two system calls or three. */
void rf__udp_get_stats(const struct rf__udp *udp, struct rf__udp_stats *ret_stats);

#endif
