/* SPDX-License-Identifier: MIT */
/* UDP sockets: options, groups, and what the network reports. See udp.h. */
#include "udp-socket.h"
#include "util/fd.h"
#include "util/kernel.h"

#include <arpa/inet.h>
#include <limits.h>
#include <linux/errqueue.h>
#include <linux/filter.h>
#include <linux/sock_diag.h>
#include <netinet/udp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef IP_MULTICAST_ALL
#define IP_MULTICAST_ALL 49
#endif
#ifndef IPV6_MULTICAST_ALL
#define IPV6_MULTICAST_ALL 29 /* Linux 4.20 */
#endif

#define FLAGS                                                                                      \
	(RF__UDP_DUAL | RF__UDP_REUSE_PORT | RF__UDP_SHARED | RF__UDP_ECN | RF__UDP_INFO |         \
		RF__UDP_JOIN | RF__UDP_APART)

/* Entries of the queue that one call looks at. */
#define REPORTS_MOST 64

/* Addresses */

bool rf__udp_is_v4(const union rf__udp_address *address)
{
	if (address->any.sa_family == AF_INET6)
		return IN6_IS_ADDR_V4MAPPED(&address->v6.sin6_addr);
	return address->any.sa_family == AF_INET;
}

static socklen_t size_of(const union rf__udp_address *address)
{
	return address->any.sa_family == AF_INET ? sizeof(address->v4) : sizeof(address->v6);
}

static void print_v6(const struct sockaddr_in6 *address, char *text)
{
	char digits[INET6_ADDRSTRLEN] = "?", scope[12] = "";

	inet_ntop(AF_INET6, &address->sin6_addr, digits, sizeof(digits));
	if (address->sin6_scope_id)
		snprintf(scope, sizeof(scope), "%%%u", address->sin6_scope_id);
	snprintf(text, RF__UDP_TEXT_BYTES, "[%s%s]:%u", digits, scope, ntohs(address->sin6_port));
}

void rf__udp_print(const union rf__udp_address *address, char text[RF__UDP_TEXT_BYTES])
{
	char digits[INET_ADDRSTRLEN] = "?";

	if (address->any.sa_family == AF_INET6) {
		print_v6(&address->v6, text);
		return;
	}
	inet_ntop(AF_INET, &address->v4.sin_addr, digits, sizeof(digits));
	snprintf(text, RF__UDP_TEXT_BYTES, "%s:%u", digits, ntohs(address->v4.sin_port));
	if (address->any.sa_family != AF_INET)
		snprintf(text, RF__UDP_TEXT_BYTES, "none");
}

static int fail_at(
	struct rf__reason *reason, const char *what, const union rf__udp_address *address)
{
	char text[RF__UDP_TEXT_BYTES];

	rf__udp_print(address, text);
	return rf__fail_errno(reason, "udp: %s %s", what, text);
}

/* Options */

static bool is_ip(const union rf__udp_address *address)
{
	return address->any.sa_family == AF_INET || address->any.sa_family == AF_INET6;
}

static int check_addresses(
	const struct rf__udp_options *options, sa_family_t family, struct rf__reason *reason)
{
	const union rf__udp_address *bind = &options->bind, *peer = &options->peer;

	if (bind->any.sa_family && !is_ip(bind))
		return rf__fail(reason, -EINVAL, "udp: to bind to family %u is not possible",
			bind->any.sa_family);
	if (peer->any.sa_family && !is_ip(peer))
		return rf__fail(reason, -EINVAL, "udp: to connect to family %u is not possible",
			peer->any.sa_family);
	if (!family)
		return rf__fail(reason, -EINVAL, "udp: neither an address to bind nor a peer");
	if (peer->any.sa_family && peer->any.sa_family != family)
		return rf__fail(reason, -EINVAL,
			"udp: the peer is IPv%d, the address to bind IPv%d",
			family == AF_INET ? 6 : 4, family == AF_INET ? 4 : 6);
	if (peer->any.sa_family && !peer->v4.sin_port)
		return rf__fail(reason, -EINVAL, "udp: the peer has no port");
	return 0; /* sin6_port is where sin_port is */
}

static int check_options(
	const struct rf__udp_options *options, sa_family_t family, struct rf__reason *reason)
{
	int r = check_addresses(options, family, reason);

	if (r)
		return r;
	if (options->flags & ~(uint32_t)FLAGS)
		return rf__fail(reason, -EINVAL, "udp: unknown flags %#x",
			options->flags & ~(uint32_t)FLAGS);
	if (options->flags & RF__UDP_DUAL && family != AF_INET6)
		return rf__fail(reason, -EINVAL, "udp: an IPv4 socket cannot be dual");
	if (options->batch > RF__UDP_BATCH_MOST)
		return rf__fail(reason, -EINVAL, "udp: a batch of %u; %u are possible",
			options->batch, RF__UDP_BATCH_MOST);
	if (options->receive_bytes > INT_MAX / 2 || options->send_bytes > INT_MAX / 2)
		return rf__fail(reason, -EINVAL, "udp: a buffer of %u bytes; %u are possible",
			options->receive_bytes > options->send_bytes ? options->receive_bytes
								     : options->send_bytes,
			INT_MAX / 2);
	return 0;
}

struct setting {
	bool wanted, optional;
	int level, name, value;
	const char *what;
};

static int apply(int fd, const struct setting *settings, size_t n, struct rf__reason *reason)
{
	const struct setting *s;

	for (s = settings; s < settings + n; s++)
		if (s->wanted && setsockopt(fd, s->level, s->name, &s->value, sizeof(int)) < 0 &&
			!s->optional)
			return rf__fail_errno(reason, "udp: %s", s->what);
	return 0;
}

#define APPLY(fd, settings, reason)                                                                \
	apply(fd, settings, sizeof(settings) / sizeof(*(settings)), reason)

static int set_v4(
	struct rf__udp *udp, const struct rf__udp_options *options, struct rf__reason *reason)
{
	const struct rf__udp_multicast *multicast = &options->multicast;
	bool own = udp->name.any.sa_family == AF_INET;
	const struct setting settings[] = {
		{true, true, SOL_IP, IP_MULTICAST_ALL, 0, ""},
		{udp->connected, false, SOL_IP, IP_RECVERR, 1, "IP_RECVERR"},
		{options->flags & RF__UDP_ECN, false, SOL_IP, IP_RECVTOS, 1, "IP_RECVTOS"},
		{own && options->flags & RF__UDP_INFO, false, SOL_IP, IP_PKTINFO, 1, "IP_PKTINFO"},
		{multicast->hops, false, SOL_IP, IP_MULTICAST_TTL, multicast->hops,
			"IP_MULTICAST_TTL"},
		{multicast->no_loop, false, SOL_IP, IP_MULTICAST_LOOP, 0, "IP_MULTICAST_LOOP"},
	};
	struct ip_mreqn iface = {.imr_ifindex = (int)multicast->iface};

	if (multicast->iface &&
		setsockopt(udp->fd, SOL_IP, IP_MULTICAST_IF, &iface, sizeof(iface)) < 0)
		return rf__fail_errno(reason, "udp: groups on interface %u", multicast->iface);
	return APPLY(udp->fd, settings, reason);
}

static int set_v6(
	struct rf__udp *udp, const struct rf__udp_options *options, struct rf__reason *reason)
{
	const struct rf__udp_multicast *multicast = &options->multicast;
	const struct setting settings[] = {
		{true, true, SOL_IPV6, IPV6_MULTICAST_ALL, 0, ""},
		{udp->connected, false, SOL_IPV6, IPV6_RECVERR, 1, "IPV6_RECVERR"},
		{options->flags & RF__UDP_ECN, false, SOL_IPV6, IPV6_RECVTCLASS, 1,
			"IPV6_RECVTCLASS"},
		{options->flags & RF__UDP_INFO, false, SOL_IPV6, IPV6_RECVPKTINFO, 1,
			"IPV6_RECVPKTINFO"},
		{multicast->hops, false, SOL_IPV6, IPV6_MULTICAST_HOPS, multicast->hops,
			"IPV6_MULTICAST_HOPS"},
		{multicast->no_loop, false, SOL_IPV6, IPV6_MULTICAST_LOOP, 0,
			"IPV6_MULTICAST_LOOP"},
		{multicast->iface, false, SOL_IPV6, IPV6_MULTICAST_IF, (int)multicast->iface,
			"IPV6_MULTICAST_IF"},
	};

	return APPLY(udp->fd, settings, reason);
}

static void set_size(int fd, int force, int name, uint32_t bytes)
{
	int value = (int)bytes;

	if (value && setsockopt(fd, SOL_SOCKET, force, &value, sizeof(value)) < 0)
		setsockopt(fd, SOL_SOCKET, name, &value, sizeof(value));
}

static int set_common(
	struct rf__udp *udp, const struct rf__udp_options *options, struct rf__reason *reason)
{
	bool v6 = udp->name.any.sa_family == AF_INET6;
	const struct setting settings[] = {
		{options->flags & RF__UDP_REUSE_PORT, false, SOL_SOCKET, SO_REUSEPORT, 1,
			"SO_REUSEPORT"},
		{options->flags & RF__UDP_SHARED, false, SOL_SOCKET, SO_REUSEADDR, 1,
			"SO_REUSEADDR"},
		{v6, false, SOL_IPV6, IPV6_V6ONLY, !(options->flags & RF__UDP_DUAL), "IPV6_V6ONLY"},
	};

	set_size(udp->fd, SO_RCVBUFFORCE, SO_RCVBUF, options->receive_bytes);
	set_size(udp->fd, SO_SNDBUFFORCE, SO_SNDBUF, options->send_bytes);
	return APPLY(udp->fd, settings, reason);
}

static int set_options(
	struct rf__udp *udp, const struct rf__udp_options *options, struct rf__reason *reason)
{
	int r = set_common(udp, options, reason);
	bool v6 = udp->name.any.sa_family == AF_INET6;

	if (!r && v6)
		r = set_v6(udp, options, reason);
	if (!r && (!v6 || options->flags & RF__UDP_DUAL))
		r = set_v4(udp, options, reason);
	return r;
}

/* A kernel without UDP_SEGMENT takes the control message for none of its business, and sends what
 * was to be a train as one datagram: so it is asked. How many a train may have, sending tells. */
static void probe(struct rf__udp *udp)
{
	int value = 1;
	socklen_t len = sizeof(value);

	udp->train_most = 1;
	if (!(udp->flags & RF__UDP_APART) && rf__kernel_has(RF__KERNEL_UDP_SEGMENT) &&
		getsockopt(udp->fd, SOL_UDP, UDP_SEGMENT, &value, &len) == 0)
		udp->train_most = UDP_TRAIN_MOST;
	value = 1;
	udp->stats.joins = udp->flags & RF__UDP_JOIN && rf__kernel_has(RF__KERNEL_UDP_GRO) &&
			   setsockopt(udp->fd, SOL_UDP, UDP_GRO, &value, sizeof(value)) == 0;
	udp->with_control = udp->flags & (RF__UDP_ECN | RF__UDP_INFO) || udp->stats.joins;
}

/* Opening */

/* Between binding and connecting anybody's datagrams would be queued, and be delivered later as if
 * they were the peer's: none is let in. */
static int shut(int fd, struct rf__reason *reason)
{
	struct sock_filter nothing = {.code = BPF_RET | BPF_K};
	struct sock_fprog program = {.len = 1, .filter = &nothing};

	if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) < 0)
		return rf__fail_errno(reason, "udp: SO_ATTACH_FILTER");
	return 0;
}

static int connect_to_peer(struct rf__udp *udp, struct rf__reason *reason)
{
	int unused = 0;

	if (connect(udp->fd, &udp->peer.any, size_of(&udp->peer)) < 0)
		return fail_at(reason, "connecting to", &udp->peer);
	if (setsockopt(udp->fd, SOL_SOCKET, SO_DETACH_FILTER, &unused, sizeof(unused)) < 0)
		return rf__fail_errno(reason, "udp: SO_DETACH_FILTER");
	return 0;
}

static int attach(
	struct rf__udp *udp, const struct rf__udp_options *options, struct rf__reason *reason)
{
	union rf__udp_address name = options->bind;
	socklen_t len = sizeof(udp->name);
	int r = udp->connected ? shut(udp->fd, reason) : 0;

	if (r)
		return r;
	name.any.sa_family = udp->name.any.sa_family;
	if (bind(udp->fd, &name.any, size_of(&name)) < 0)
		return fail_at(reason, "binding to", &name);
	r = udp->connected ? connect_to_peer(udp, reason) : 0;
	if (!r && getsockname(udp->fd, &udp->name.any, &len) < 0)
		r = rf__fail_errno(reason, "udp: getsockname");
	return r;
}

static int start(
	struct rf__udp *udp, const struct rf__udp_options *options, struct rf__reason *reason)
{
	int r = set_options(udp, options, reason);

	if (r)
		return r;
	probe(udp);
	return attach(udp, options, reason);
}

static bool allocate(struct rf__udp *udp)
{
	size_t vectors = udp->batch > UDP_PARTS ? udp->batch : UDP_PARTS;

	udp->messages = calloc(udp->batch, sizeof(*udp->messages));
	udp->controls = calloc(udp->batch, sizeof(*udp->controls));
	udp->vectors = calloc(vectors, sizeof(*udp->vectors));
	udp->counts = calloc(udp->batch, sizeof(*udp->counts));
	return udp->messages && udp->controls && udp->vectors && udp->counts;
}

static struct rf__udp *make(const struct rf__udp_options *options, sa_family_t family)
{
	struct rf__udp *udp = calloc(1, sizeof(*udp));

	if (!udp)
		return NULL;
	udp->fd = -1;
	udp->flags = options->flags;
	udp->peer = options->peer;
	udp->connected = udp->peer.any.sa_family != AF_UNSPEC;
	udp->batch = options->batch ? options->batch : RF__UDP_BATCH;
	udp->expected = udp->batch;
	udp->name.any.sa_family = family;
	if (allocate(udp))
		return udp;
	rf__udp_close(udp);
	return NULL;
}

int rf__udp_open(
	const struct rf__udp_options *options, struct rf__udp **ret_udp, struct rf__reason *reason)
{
	sa_family_t family = options->bind.any.sa_family ? options->bind.any.sa_family
							 : options->peer.any.sa_family;
	int r = check_options(options, family, reason);
	struct rf__udp *udp;

	if (r)
		return r;
	udp = make(options, family);
	if (!udp)
		return rf__fail(reason, -ENOMEM, "udp: no memory");
	udp->fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_UDP);
	r = udp->fd < 0 ? rf__fail_errno(reason, "udp: socket") : start(udp, options, reason);
	if (r) {
		rf__udp_close(udp);
		return r;
	}
	*ret_udp = udp;
	return 0;
}

void rf__udp_close(struct rf__udp *udp)
{
	if (!udp)
		return;
	rf__close(&udp->fd);
	free(udp->messages);
	free(udp->controls);
	free(udp->vectors);
	free(udp->counts);
	free(udp);
}

int rf__udp_fd(const struct rf__udp *udp)
{
	return udp->fd;
}

const union rf__udp_address *rf__udp_name(const struct rf__udp *udp)
{
	return &udp->name;
}

/* Groups */

static bool is_group(const union rf__udp_address *address)
{
	if (address->any.sa_family == AF_INET)
		return IN_MULTICAST(ntohl(address->v4.sin_addr.s_addr));
	return IN6_IS_ADDR_MULTICAST(&address->v6.sin6_addr);
}

static int change(struct rf__udp *udp, int name, const union rf__udp_address *group, uint32_t iface,
	struct rf__reason *reason)
{
	bool v4 = group->any.sa_family == AF_INET;
	struct group_req request = {.gr_interface = iface};
	char text[RF__UDP_TEXT_BYTES];

	rf__udp_print(group, text);
	if (!is_ip(group) || !is_group(group))
		return rf__fail(reason, -EINVAL, "udp: %s is no group", text);
	if (group->any.sa_family != udp->name.any.sa_family && !(v4 && udp->flags & RF__UDP_DUAL))
		return rf__fail(
			reason, -EINVAL, "udp: the group %s is not of the socket's family", text);
	memcpy(&request.gr_group, group, sizeof(*group));
	if (setsockopt(udp->fd, v4 ? SOL_IP : SOL_IPV6, name, &request, sizeof(request)) < 0)
		return rf__fail_errno(reason, "udp: the group %s on interface %u", text, iface);
	return 0;
}

int rf__udp_join(struct rf__udp *udp, const union rf__udp_address *group, uint32_t iface,
	struct rf__reason *reason)
{
	return change(udp, MCAST_JOIN_GROUP, group, iface, reason);
}

int rf__udp_leave(struct rf__udp *udp, const union rf__udp_address *group, uint32_t iface,
	struct rf__reason *reason)
{
	return change(udp, MCAST_LEAVE_GROUP, group, iface, reason);
}

/* What the network reports */

void rf__udp_note(struct rf__udp *udp, int error)
{
	udp->stats.reported++;
	if (!udp->error)
		udp->error = error;
}

static bool is_report(const struct cmsghdr *control)
{
	int level = control->cmsg_level, type = control->cmsg_type;

	return ((level == SOL_IP && type == IP_RECVERR) ||
		       (level == SOL_IPV6 && type == IPV6_RECVERR)) &&
	       control->cmsg_len >= CMSG_LEN(sizeof(struct sock_extended_err));
}

/* What the host itself had to say, a call was told. */
static bool note_report(struct rf__udp *udp, const struct cmsghdr *control)
{
	struct sock_extended_err report;

	if (!is_report(control))
		return false;
	memcpy(&report, CMSG_DATA(control), sizeof(report));
	if (report.ee_origin != SO_EE_ORIGIN_ICMP && report.ee_origin != SO_EE_ORIGIN_ICMP6)
		return false;
	if (!report.ee_errno || report.ee_errno > INT_MAX)
		return false;
	rf__udp_note(udp, -(int)report.ee_errno);
	return true;
}

static bool note_reports(struct rf__udp *udp, struct msghdr *header)
{
	struct cmsghdr *control;
	bool any = false;

	for (control = CMSG_FIRSTHDR(header); control; control = CMSG_NXTHDR(header, control))
		any |= note_report(udp, control);
	return any;
}

bool rf__udp_collect(struct rf__udp *udp)
{
	_Alignas(struct cmsghdr) unsigned char room[512];
	struct msghdr header;
	bool any = false;
	int i;

	for (i = 0; i < REPORTS_MOST; i++) {
		header = (struct msghdr){.msg_control = room, .msg_controllen = sizeof(room)};
		if (recvmsg(udp->fd, &header, MSG_ERRQUEUE | MSG_DONTWAIT) < 0)
			break;
		any |= note_reports(udp, &header);
	}
	return any;
}

/* What did not fit into the queue left nothing but the socket's error. */
int rf__udp_error(struct rf__udp *udp)
{
	int pending = 0, error;
	socklen_t len = sizeof(pending);

	if (!rf__udp_collect(udp) &&
		getsockopt(udp->fd, SOL_SOCKET, SO_ERROR, &pending, &len) == 0 && pending > 0)
		rf__udp_note(udp, -pending);
	error = udp->error;
	udp->error = 0;
	return error;
}

bool rf__udp_has_error(const struct rf__udp *udp)
{
	return udp->error != 0;
}

/* Statistics */

static uint32_t size_of_buffer(const struct rf__udp *udp, int name)
{
	int bytes = 0;
	socklen_t len = sizeof(bytes);

	getsockopt(udp->fd, SOL_SOCKET, name, &bytes, &len);
	return (uint32_t)bytes;
}

void rf__udp_get_stats(const struct rf__udp *udp, struct rf__udp_stats *ret_stats)
{
	uint32_t memory[SK_MEMINFO_VARS] = {0};
	socklen_t len = sizeof(memory);

	*ret_stats = udp->stats;
	ret_stats->train_most = udp->train_most;
	ret_stats->receive_bytes = size_of_buffer(udp, SO_RCVBUF);
	ret_stats->send_bytes = size_of_buffer(udp, SO_SNDBUF);
	if (getsockopt(udp->fd, SOL_SOCKET, SO_MEMINFO, memory, &len) == 0)
		ret_stats->in_dropped = memory[SK_MEMINFO_DROPS];
}
