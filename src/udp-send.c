/* SPDX-License-Identifier: MIT */
/* Sending in batches and trains: see udp.h. */
#include "udp-socket.h"

#include <errno.h>
#include <limits.h>
#include <netinet/udp.h>
#include <string.h>

/* One call of rf__udp_send(). Messages are made of the list from `taken` on; those from `at` to
 * `made` are still to go. */
struct pass {
	struct rf__udp *udp;
	struct rf__udp_out *list;
	unsigned n, taken;
	unsigned at, made, vectors;
	unsigned train_most; /* what is tried */
	unsigned apart;      /* so many datagrams of a train that was not taken go one by one */
	size_t refused;      /* their size; 0: it is remembered, or there is none */
	int suspect;         /* what the last call said, which may have been the network */
	unsigned tries;
};

/* SIZE_MAX: more than fits any datagram, whatever the exact number. */
static size_t bytes_of(const struct rf__udp_out *out)
{
	size_t bytes = 0;
	unsigned i;

	for (i = 0; i < out->n_parts; i++) {
		bytes += out->parts[i].iov_len;
		if (bytes > RF__UDP_TRAIN_BYTES || out->parts[i].iov_len > RF__UDP_TRAIN_BYTES)
			return SIZE_MAX;
	}
	return bytes;
}

static bool is_v6_equal(const struct in6_addr *a, const struct in6_addr *b)
{
	return IN6_ARE_ADDR_EQUAL(a, b);
}

static bool is_same_address(const union rf__udp_address *a, const union rf__udp_address *b)
{
	if (a == b)
		return true;
	if (!a || !b || a->any.sa_family != b->any.sa_family)
		return false;
	if (a->any.sa_family == AF_INET)
		return a->v4.sin_port == b->v4.sin_port &&
		       a->v4.sin_addr.s_addr == b->v4.sin_addr.s_addr;
	return a->any.sa_family == AF_INET6 && a->v6.sin6_port == b->v6.sin6_port &&
	       a->v6.sin6_scope_id == b->v6.sin6_scope_id &&
	       a->v6.sin6_flowinfo == b->v6.sin6_flowinfo &&
	       is_v6_equal(&a->v6.sin6_addr, &b->v6.sin6_addr);
}

static bool is_given(const struct rf__udp_local *local)
{
	return local && local->family != AF_UNSPEC;
}

static bool is_same_local(const struct rf__udp_local *a, const struct rf__udp_local *b)
{
	if (a == b || !is_given(a) || !is_given(b))
		return is_given(a) == is_given(b);
	if (a->family != b->family || a->iface != b->iface)
		return false;
	if (a->family == AF_INET)
		return a->own.v4.s_addr == b->own.v4.s_addr;
	return is_v6_equal(&a->own.v6, &b->own.v6);
}

static bool go_together(const struct rf__udp_out *a, const struct rf__udp_out *b)
{
	return ((a->ecn ^ b->ecn) & 3) == 0 && is_same_address(a->to, b->to) &&
	       is_same_local(a->local, b->local);
}

/* Destinations that take no trains */

static const union rf__udp_address *destination(
	const struct rf__udp *udp, const struct rf__udp_out *out)
{
	return out->to ? out->to : &udp->peer;
}

static struct udp_narrow *narrow_of(struct rf__udp *udp, const union rf__udp_address *to)
{
	const unsigned char *at = (const unsigned char *)&to->v6.sin6_addr;
	uint32_t hash = to->v4.sin_addr.s_addr ^ to->v4.sin_port, word;
	unsigned i;

	for (i = 0; to->any.sa_family == AF_INET6 && i < 4; i++) {
		memcpy(&word, at + 4 * (size_t)i, sizeof(word));
		hash ^= word;
	}
	return &udp->narrows[(hash * UINT32_C(2654435761)) >> 28];
}

_Static_assert(UDP_NARROWS == 16, "the hash has four bits");

static void remember(struct pass *pass, const struct rf__udp_out *out)
{
	const union rf__udp_address *to = destination(pass->udp, out);

	*narrow_of(pass->udp, to) = (struct udp_narrow){
		.to = *to, .size = (uint32_t)pass->refused, .looks = UDP_NARROW_LOOKS};
	pass->udp->any_narrow = true;
	pass->refused = 0;
}

static bool is_narrow(struct rf__udp *udp, const struct rf__udp_out *out, size_t size)
{
	const union rf__udp_address *to = destination(udp, out);
	struct udp_narrow *narrow;

	if (!udp->any_narrow)
		return false;
	narrow = narrow_of(udp, to);
	if (!narrow->size || size < narrow->size || !is_same_address(&narrow->to, to))
		return false;
	if (!--narrow->looks)
		narrow->size = 0;
	return true;
}

/* Trains */

/* How many datagrams from the first one on make a train with so many vectors at most. */
static unsigned train_of(
	struct pass *pass, const struct rf__udp_out *first, unsigned n, size_t size)
{
	unsigned most = n < pass->train_most ? n : pass->train_most, i;
	size_t bytes = size, len = size, parts = first->n_parts;

	if (!size || size == SIZE_MAX || most < 2 || pass->apart ||
		is_narrow(pass->udp, first, size))
		return 1;
	for (i = 1; i < most && len == size; i++) {
		len = bytes_of(&first[i]);
		if (!len || len > size || len > RF__UDP_TRAIN_BYTES - bytes)
			break;
		parts += first[i].n_parts;
		if (parts > UDP_PARTS || !go_together(first, &first[i]))
			break;
		bytes += len;
	}
	return i;
}

/* Vectors that touch are one. */
static void add_vector(struct pass *pass, struct msghdr *header, const struct iovec *part)
{
	struct iovec *last = header->msg_iovlen ? &header->msg_iov[header->msg_iovlen - 1] : NULL;

	if (last && (unsigned char *)last->iov_base + last->iov_len == part->iov_base) {
		last->iov_len += part->iov_len;
		return;
	}
	header->msg_iov[header->msg_iovlen++] = *part;
	pass->vectors++;
}

static void gather(
	struct pass *pass, struct msghdr *header, const struct rf__udp_out *out, unsigned n)
{
	unsigned i, k;

	header->msg_iov = &pass->udp->vectors[pass->vectors];
	for (i = 0; i < n; i++)
		for (k = 0; k < out[i].n_parts; k++)
			add_vector(pass, header, &out[i].parts[k]);
}

/* Control data */

static void put(struct msghdr *header, int level, int type, const void *value, size_t len)
{
	struct cmsghdr *control =
		(void *)((unsigned char *)header->msg_control + header->msg_controllen);

	control->cmsg_level = level;
	control->cmsg_type = type;
	control->cmsg_len = CMSG_LEN(len);
	memcpy(CMSG_DATA(control), value, len);
	header->msg_controllen += CMSG_SPACE(len);
}

static void put_mark(struct msghdr *header, bool v4, uint8_t ecn)
{
	int mark = ecn & 3;

	put(header, v4 ? SOL_IP : SOL_IPV6, v4 ? IP_TOS : IPV6_TCLASS, &mark, sizeof(mark));
}

static void put_local(struct msghdr *header, const struct rf__udp_local *local)
{
	struct in_pktinfo v4 = {.ipi_ifindex = (int)local->iface, .ipi_spec_dst = local->own.v4};
	struct in6_pktinfo v6 = {.ipi6_addr = local->own.v6, .ipi6_ifindex = local->iface};

	if (local->family == AF_INET)
		put(header, SOL_IP, IP_PKTINFO, &v4, sizeof(v4));
	else
		put(header, SOL_IPV6, IPV6_PKTINFO, &v6, sizeof(v6));
}

static void put_controls(struct msghdr *header, const struct rf__udp *udp,
	const struct rf__udp_out *out, unsigned n, size_t size, unsigned char *room)
{
	uint16_t segment = (uint16_t)size;

	header->msg_control = room;
	if (n > 1)
		put(header, SOL_UDP, UDP_SEGMENT, &segment, sizeof(segment));
	if (out->ecn & 3)
		put_mark(header, rf__udp_is_v4(destination(udp, out)), out->ecn);
	if (is_given(out->local))
		put_local(header, out->local);
	if (!header->msg_controllen)
		header->msg_control = NULL;
}

/* Messages */

static void address_to(struct msghdr *header, const union rf__udp_address *to)
{
	if (!to)
		return;
	header->msg_name = (void *)(uintptr_t)to;
	header->msg_namelen = to->any.sa_family == AF_INET ? sizeof(to->v4) : sizeof(to->v6);
}

/* A datagram by itself is sent from the vectors that it came with. */
static void make(struct pass *pass, const struct rf__udp_out *out, unsigned n, size_t size)
{
	struct rf__udp *udp = pass->udp;
	struct msghdr *header = &udp->messages[pass->made].msg_hdr;

	*header = (struct msghdr){0};
	address_to(header, out->to);
	put_controls(header, udp, out, n, size, udp->controls[pass->made].bytes);
	if (n > 1) {
		gather(pass, header, out, n);
	} else {
		header->msg_iov = (void *)(uintptr_t)out->parts;
		header->msg_iovlen = out->n_parts;
	}
	udp->counts[pass->made++] = (uint16_t)n;
}

static size_t parts_of(const struct rf__udp_out *out, unsigned n)
{
	size_t parts = 0;
	unsigned i;

	for (i = 0; n > 1 && i < n; i++)
		parts += out[i].n_parts;
	return parts;
}

/* What was refused as a train comes first, one by one, and alone in its call. */
static void make_messages(struct pass *pass)
{
	unsigned i = pass->taken, n, end = pass->apart ? i + pass->apart : pass->n;
	size_t size;

	pass->at = pass->made = pass->vectors = 0;
	for (; i < end && pass->made < pass->udp->batch; i += n) {
		size = bytes_of(&pass->list[i]);
		n = train_of(pass, &pass->list[i], end - i, size);
		if (pass->vectors + parts_of(&pass->list[i], n) > UDP_PARTS)
			break;
		make(pass, &pass->list[i], n, size);
	}
}

/* Results */

/* The message at the front is done with. */
static void take(struct pass *pass, int error)
{
	unsigned n = pass->udp->counts[pass->at++], i;

	for (i = 0; i < n; i++)
		pass->list[pass->taken + i].error = error;
	pass->taken += n;
	pass->apart -= pass->apart ? n : 0;
	pass->tries = 0;
	pass->suspect = 0;
	if (error)
		pass->udp->stats.out_errors += n;
}

/* What went says which of the limits that were tried are real. */
static void learn(struct pass *pass, unsigned n)
{
	if (pass->refused && pass->apart)
		remember(pass, &pass->list[pass->taken]);
	if (n > 1 && pass->train_most < pass->udp->train_most)
		pass->udp->train_most = pass->train_most;
	if (pass->suspect)
		rf__udp_note(pass->udp, pass->suspect);
}

static void took(struct pass *pass)
{
	struct rf__udp_stats *stats = &pass->udp->stats;
	unsigned n = pass->udp->counts[pass->at];

	learn(pass, n);
	stats->out_datagrams += n;
	stats->out_bytes += pass->udp->messages[pass->at].msg_len;
	stats->out_trains += n > 1;
	take(pass, 0);
}

static bool is_about_trains(int error)
{
	return error == -EMSGSIZE || error == -EINVAL || error == -EIO;
}

/* A kernel that takes fewer says the same as one that takes none of that size. */
static int shorten(struct pass *pass, int error)
{
	unsigned n = pass->udp->counts[pass->at];

	pass->udp->stats.out_apart++;
	if (error == -EINVAL && n > UDP_TRAIN_LESS) {
		pass->train_most = UDP_TRAIN_LESS;
	} else {
		pass->train_most = pass->udp->train_most;
		pass->apart = n;
		pass->refused = bytes_of(&pass->list[pass->taken]);
	}
	pass->at = pass->made = 0;
	return 0;
}

/* An error of the network's ends the call that happens to be under way; the datagram was not sent,
 * and is sent again. Where nothing says whose error it was, the second time tells. */
static bool was_network(struct pass *pass, int error)
{
	if (!pass->udp->connected || error == -EPERM)
		return false;
	if (rf__udp_collect(pass->udp)) {
		pass->suspect = 0;
		return true;
	}
	if (pass->suspect)
		return false;
	pass->suspect = error;
	return true;
}

static int fail(struct pass *pass, int error)
{
	switch (error) {
	case -EAGAIN:
		return -EAGAIN;
	case -ENOBUFS:
	case -ENOMEM:
		return -ENOBUFS;
	case -EINTR:
		return ++pass->tries < UDP_TRIES ? 0 : -ENOBUFS;
	}
	if (pass->udp->counts[pass->at] > 1 && is_about_trains(error))
		return shorten(pass, error);
	if (was_network(pass, error))
		return ++pass->tries < UDP_TRIES ? 0 : -ENOBUFS;
	take(pass, error);
	return 0;
}

static int call_many(struct pass *pass)
{
	return sendmmsg(pass->udp->fd, pass->udp->messages + pass->at, pass->made - pass->at,
		MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* The shortest call there is, for one part with nothing beside it. */
static int call_one(struct pass *pass)
{
	struct mmsghdr *message = &pass->udp->messages[pass->at];
	const struct msghdr *header = &message->msg_hdr;
	ssize_t sent = sendto(pass->udp->fd, header->msg_iov->iov_base, header->msg_iov->iov_len,
		MSG_DONTWAIT | MSG_NOSIGNAL, header->msg_name, header->msg_namelen);

	if (sent < 0)
		return -1;
	message->msg_len = (unsigned)sent;
	return 1;
}

static bool is_plain(const struct pass *pass)
{
	const struct msghdr *header = &pass->udp->messages[pass->at].msg_hdr;

	return pass->made - pass->at == 1 && header->msg_iovlen == 1 && !header->msg_control;
}

/* The kernel does not tell why it stopped in the middle: the next call does, unless it was the
 * network, whose error is gone by then but for the copy in the queue. */
static int send_some(struct pass *pass)
{
	struct rf__udp *udp = pass->udp;
	int sent, i;

	if (pass->at == pass->made)
		make_messages(pass);
	udp->stats.out_calls++;
	sent = is_plain(pass) ? call_one(pass) : call_many(pass);
	if (sent <= 0)
		return fail(pass, sent ? -errno : -EAGAIN);
	for (i = 0; i < sent; i++)
		took(pass);
	if (pass->at < pass->made && udp->connected)
		rf__udp_collect(udp);
	return 0;
}

unsigned rf__udp_send(struct rf__udp *udp, struct rf__udp_out *list, unsigned n, int *ret_why)
{
	struct pass pass = {.udp = udp, .list = list, .n = n, .train_most = udp->train_most};
	int why = 0;

	while (pass.taken < n && !why)
		why = send_some(&pass);
	udp->stats.out_again += why == -EAGAIN;
	udp->stats.out_no_memory += why == -ENOBUFS;
	*ret_why = why;
	return pass.taken;
}
