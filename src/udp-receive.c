/* SPDX-License-Identifier: MIT */
/* Receiving in batches: see udp.h. */
#include "udp-socket.h"

#include <errno.h>
#include <netinet/udp.h>
#include <string.h>

static void ask(struct rf__udp *udp, unsigned i, struct rf__udp_in *in)
{
	struct msghdr *header = &udp->messages[i].msg_hdr;

	udp->vectors[i] = (struct iovec){in->data, in->size};
	*header = (struct msghdr){
		.msg_name = &in->peer,
		.msg_namelen = sizeof(in->peer),
		.msg_iov = &udp->vectors[i],
		.msg_iovlen = 1,
	};
	if (udp->with_control) {
		header->msg_control = udp->controls[i].bytes;
		header->msg_controllen = sizeof(udp->controls[i].bytes);
	}
}

/* The value of a control message, if there are so many bytes of it. */
static bool get(const struct cmsghdr *control, void *value, size_t len)
{
	if (control->cmsg_len < CMSG_LEN(len))
		return false;
	memcpy(value, CMSG_DATA(control), len);
	return true;
}

static void read_mark(const struct cmsghdr *control, struct rf__udp_in *in)
{
	unsigned char mark;

	if (get(control, &mark, sizeof(mark)))
		in->ecn = mark & 3;
}

static void read_class(const struct cmsghdr *control, struct rf__udp_in *in)
{
	int class;

	if (get(control, &class, sizeof(class)))
		in->ecn = class & 3;
}

static void read_info_v4(const struct cmsghdr *control, struct rf__udp_in *in)
{
	struct in_pktinfo info;

	if (!get(control, &info, sizeof(info)))
		return;
	in->local.family = AF_INET;
	in->local.iface = (uint32_t)info.ipi_ifindex;
	in->local.to.v4 = info.ipi_addr;
	in->local.own.v4 = info.ipi_spec_dst;
}

/* Nothing can be sent from a group; what stands for any address must be of the same version. */
static struct in6_addr own_of(struct in6_addr to)
{
	if (IN6_IS_ADDR_V4MAPPED(&to) && (to.s6_addr[12] & 0xf0) == 0xe0)
		memset(&to.s6_addr[12], 0, 4);
	return IN6_IS_ADDR_MULTICAST(&to) ? in6addr_any : to;
}

static void read_info_v6(const struct cmsghdr *control, struct rf__udp_in *in)
{
	struct in6_pktinfo info;

	if (!get(control, &info, sizeof(info)))
		return;
	in->local.family = AF_INET6;
	in->local.iface = info.ipi6_ifindex;
	in->local.to.v6 = info.ipi6_addr;
	in->local.own.v6 = own_of(info.ipi6_addr);
}

static void read_segment(const struct cmsghdr *control, struct rf__udp_in *in)
{
	int size;

	if (get(control, &size, sizeof(size)) && size > 0)
		in->segment_bytes = (size_t)size;
}

static void read_control(const struct cmsghdr *control, struct rf__udp_in *in)
{
	int level = control->cmsg_level, type = control->cmsg_type;

	if (level == SOL_UDP && type == UDP_GRO)
		read_segment(control, in);
	else if (level == SOL_IP && type == IP_TOS)
		read_mark(control, in);
	else if (level == SOL_IPV6 && type == IPV6_TCLASS)
		read_class(control, in);
	else if (level == SOL_IP && type == IP_PKTINFO)
		read_info_v4(control, in);
	else if (level == SOL_IPV6 && type == IPV6_PKTINFO)
		read_info_v6(control, in);
}

static void read_controls(struct msghdr *header, struct rf__udp_in *in)
{
	struct cmsghdr *control;

	for (control = CMSG_FIRSTHDR(header); control; control = CMSG_NXTHDR(header, control))
		read_control(control, in);
}

/* With MSG_TRUNC the kernel tells the whole length. */
static void measure(const struct mmsghdr *message, struct rf__udp_in *in)
{
	size_t whole = message->msg_len;

	in->len = whole < in->size ? whole : in->size;
	in->cut = whole - in->len;
	in->segment_bytes = whole ? whole : 1;
	in->local.family = AF_UNSPEC;
	in->ecn = 0;
	if (!message->msg_hdr.msg_namelen)
		in->peer.any.sa_family = AF_UNSPEC;
}

static void count(struct rf__udp *udp, const struct rf__udp_in *in)
{
	size_t whole = in->len + in->cut, n = 1;

	if (whole > in->segment_bytes)
		n = (whole + in->segment_bytes - 1) / in->segment_bytes;
	udp->stats.in_datagrams += n;
	udp->stats.in_joined += n > 1;
	udp->stats.in_bytes += in->len;
	if (in->cut)
		udp->stats.in_cut += n - in->len / in->segment_bytes;
}

static void finish(struct rf__udp *udp, unsigned i, struct rf__udp_in *in)
{
	measure(&udp->messages[i], in);
	if (udp->with_control)
		read_controls(&udp->messages[i].msg_hdr, in);
	count(udp, in);
}

static int call_many(struct rf__udp *udp, struct rf__udp_in *list, unsigned n)
{
	unsigned i;

	for (i = 0; i < n; i++)
		ask(udp, i, &list[i]);
	return recvmmsg(udp->fd, udp->messages, n, MSG_DONTWAIT | MSG_TRUNC, NULL);
}

/* The shortest call there is: a single datagram is somebody waiting for an answer. */
static int call_one(struct rf__udp *udp, struct rf__udp_in *in)
{
	struct mmsghdr *message = &udp->messages[0];
	socklen_t len = sizeof(in->peer);
	ssize_t got = recvfrom(
		udp->fd, in->data, in->size, MSG_DONTWAIT | MSG_TRUNC, &in->peer.any, &len);

	if (got < 0)
		return -1;
	message->msg_len = (unsigned)got;
	message->msg_hdr.msg_namelen = len;
	return 1;
}

static int call(struct rf__udp *udp, struct rf__udp_in *list, unsigned n)
{
	unsigned i;
	int got;

	udp->stats.in_calls++;
	got = n == 1 && !udp->with_control ? call_one(udp, list) : call_many(udp, list, n);
	if (got < 0)
		return -errno;
	for (i = 0; i < (unsigned)got; i++)
		finish(udp, i, &list[i]);
	return got ? got : -EAGAIN;
}

/* 0: the call is to be made once more. */
static int fail(struct rf__udp *udp, int error)
{
	switch (error) {
	case -EAGAIN:
	case -EFAULT:
		return error;
	case -ENOMEM:
	case -ENOBUFS:
		return -ENOBUFS;
	case -EINTR:
		return 0;
	}
	if (!rf__udp_collect(udp))
		rf__udp_note(udp, error);
	return 0;
}

/* A few, or an error. */
static int receive_some(struct rf__udp *udp, struct rf__udp_in *list, unsigned n)
{
	int got, why, tries;

	for (tries = 0; tries < UDP_TRIES; tries++) {
		got = call(udp, list, n);
		if (got > 0)
			return got;
		why = fail(udp, got);
		if (why)
			return why;
	}
	return -ENOBUFS;
}

/* What is to be asked for after that: preparing for many costs more than one datagram does, and so
 * does looking for a second one. */
static void expect(struct rf__udp *udp, unsigned wanted, int got)
{
	unsigned next = got > 1 ? 2 * (unsigned)got : 1;

	if (got == (int)wanted)
		next = udp->expected > 2 * wanted ? udp->expected : 2 * wanted;
	udp->expected = next < udp->batch ? next : udp->batch;
}

int rf__udp_receive(struct rf__udp *udp, struct rf__udp_in *list, unsigned n)
{
	unsigned taken = 0, wanted;
	int got;

	while (taken < n) {
		wanted = n - taken < udp->expected ? n - taken : udp->expected;
		got = receive_some(udp, list + taken, wanted);
		expect(udp, wanted, got);
		if (got < 0)
			return taken ? (int)taken : got;
		taken += (unsigned)got;
		if (wanted == 1 || (unsigned)got < wanted)
			break;
	}
	return (int)taken;
}

unsigned rf__udp_segments(const struct rf__udp_in *in)
{
	if (in->len <= in->segment_bytes)
		return 1;
	return (unsigned)((in->len + in->segment_bytes - 1) / in->segment_bytes);
}

struct iovec rf__udp_segment(const struct rf__udp_in *in, unsigned i)
{
	size_t at = (size_t)i * in->segment_bytes, left;

	if (at > in->len)
		at = in->len;
	left = in->len - at;
	return (struct iovec){
		.iov_base = (unsigned char *)in->data + at,
		.iov_len = left < in->segment_bytes ? left : in->segment_bytes,
	};
}
