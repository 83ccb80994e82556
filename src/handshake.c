/* SPDX-License-Identifier: MIT */
/* The handshake carried out: see handshake.h and design section 6. What a server does to a
 * region it does before the peer has it: afterwards it only looks, because a peer can make
 * anything else hang (threats M5). */
#include "handshake.h"
#include "util/clock.h"
#include "util/fd.h"

#include <fcntl.h>

/* How much of a region is allocated before others have their turn (threats M12). */
#define ALLOCATE_STEP (UINT64_C(4) << 20)

void rf__handshake_begin(struct rf__handshake *handshake, struct rf_channel *channel, bool server,
	const struct rf__wish *wish)
{
	rf__wire_init(&handshake->wire, server, wish);
	handshake->channel = channel;
	handshake->n_fds = 0;
}

/* Which of our halves a ring belongs to: the server receives what goes up. */
static struct rf__half *half_of(struct rf__handshake *h, enum rf__way way)
{
	return (way == RF__UP) == h->wire.server ? &h->channel->rx.half : &h->channel->tx.half;
}

static bool sends(const struct rf__half *half)
{
	return half == &half->channel->tx.half;
}

static bool with_eventfds(const struct rf__handshake *h)
{
	return h->wire.terms.doorbell == RF_DOORBELL_EVENTFD;
}

static struct rf__region *producer_region(struct rf__half *half)
{
	return sends(half) ? &half->own : &half->peer;
}

static struct rf__region *consumer_region(struct rf__half *half)
{
	return sends(half) ? &half->peer : &half->own;
}

/* The places for the descriptors of one ring, in the order in which they travel. */
static unsigned places(struct rf__handshake *h, struct rf__half *half, int *ret_places[4])
{
	ret_places[0] = &producer_region(half)->fd;
	ret_places[1] = &consumer_region(half)->fd;
	ret_places[2] = sends(half) ? &half->bell.peer : &half->bell.own;
	ret_places[3] = sends(half) ? &half->bell.own : &half->bell.peer;
	return with_eventfds(h) ? 4 : 2;
}

/* Both ends: the mapped regions become a ring. */
static int start_half(struct rf__half *half, uint32_t unit)
{
	struct rf_channel *channel = half->channel;
	unsigned char *data = producer_region(half)->base + rf__page_bytes();
	int wake = rf__bell_eventfd(0);

	if (wake < 0)
		return wake;
	half->bell.wake = wake;
	half->bell.alive_ns = rf__now_coarse();
	if (sends(half)) {
		rf__ring_tx_init(&channel->tx.ring, (void *)half->own.base,
			(const void *)half->peer.base, data, half->own.area_bytes);
		channel->tx.ring.unit = unit;
	} else {
		rf__ring_rx_init(&channel->rx.ring, (void *)half->own.base,
			(const void *)half->peer.base, data, half->peer.area_bytes);
		channel->rx.ring.unit = unit;
	}
	half->present = true;
	return 0;
}

/* The server makes everything */

static int allocate(
	struct rf__region *region, const char *name, uint64_t area_bytes, struct rf__reason *reason)
{
	int r = 0;

	if (region->fd < 0)
		r = rf__region_create(region, name, area_bytes, reason);
	return r < 0 ? r : rf__region_allocate(region, ALLOCATE_STEP, reason);
}

/* What the options ask of the mappings. Our own before the peer has it; the peer's once the peer
 * has done the same, since gathering huge pages takes them out of every page table. */
static int settle(struct rf__half *half, struct rf__region *region, struct rf__reason *reason)
{
	return rf__region_settle(region, region == &half->own ? RF__READ_WRITE : RF__READ_ONLY,
		half->channel->map_flags, reason);
}

static int map_and_seal(struct rf__half *half, struct rf__reason *reason)
{
	int r = rf__region_map(&half->own, RF__READ_WRITE, reason);

	if (r >= 0)
		r = rf__region_seal(&half->own, RF__SEALS_FINAL, reason);
	if (r >= 0)
		r = rf__region_map(&half->peer, RF__READ_ONLY, reason);
	if (r >= 0)
		r = rf__region_seal(&half->peer, RF__SEALS_SIZED, reason);
	return r < 0 ? r : settle(half, &half->own, reason);
}

static int make_bells(struct rf__half *half)
{
	half->bell.own = rf__bell_eventfd(1);
	if (half->bell.own < 0)
		return half->bell.own;
	half->bell.peer = rf__bell_eventfd(1);
	return half->bell.peer < 0 ? half->bell.peer : 0;
}

/* 1: there is more to do. */
static int build_ring(struct rf__handshake *h, enum rf__way way)
{
	struct rf__half *half = half_of(h, way);
	struct rf__reason *reason = &h->wire.reason;
	int r;

	if (!h->wire.terms.area_bytes[way] || half->present)
		return 0;
	r = allocate(
		producer_region(half), "ringfort-producer", h->wire.terms.area_bytes[way], reason);
	if (r)
		return r;
	r = allocate(consumer_region(half), "ringfort-consumer", 0, reason);
	if (r)
		return r;
	r = map_and_seal(half, reason);
	if (r >= 0)
		r = rf__charge_keep(h->channel->charge, &half->own, reason);
	if (r >= 0)
		r = rf__charge_keep(h->channel->charge, &half->peer, reason);
	if (r >= 0 && with_eventfds(h))
		r = make_bells(half);
	return r < 0 ? r : start_half(half, rf__terms_unit(&h->wire.terms));
}

/* Before any memory is: what the channel will cost. */
static int charge(struct rf__handshake *h)
{
	uint64_t bytes = 0;
	enum rf__way way;

	for (way = RF__UP; way < RF__WAYS; way++)
		if (h->wire.terms.area_bytes[way])
			bytes += rf__region_file_bytes(h->wire.terms.area_bytes[way]) +
				 rf__region_file_bytes(0);
	return rf__charge_channel(
		h->channel->charge, bytes, rf__terms_fds(&h->wire.terms), &h->wire.reason);
}

/* A descriptor for the peer: of a region, one with no more access than it needs; of a bell, the
 * bell. */
static int lend(struct rf__half *half, const int *place, struct rf__reason *reason)
{
	if (place == &half->own.fd)
		return rf__region_lend(&half->own, RF__READ_ONLY, reason);
	if (place == &half->peer.fd)
		return rf__region_lend(&half->peer, RF__READ_WRITE, reason);
	return rf__socket_duplicate(*place, reason);
}

/* How many descriptors are in fds then. On failure those that are there are still to be closed. */
static int lend_all(struct rf__handshake *h, int fds[RF__FDS_MAX], unsigned *ret_n)
{
	enum rf__way way;
	int *place[4];
	unsigned i, n;

	for (way = RF__UP, *ret_n = 0; way < RF__WAYS; way++) {
		if (!h->wire.terms.area_bytes[way])
			continue;
		n = places(h, half_of(h, way), place);
		for (i = 0; i < n; i++) {
			fds[*ret_n] = lend(half_of(h, way), place[i], &h->wire.reason);
			if (fds[*ret_n] < 0)
				return fds[*ret_n];
			++*ret_n;
		}
	}
	return 0;
}

/* The server looks at what the client writes */

static int verify_ring(struct rf__handshake *h, enum rf__way way)
{
	struct rf__half *half = half_of(h, way);
	int r;

	if (!half->present)
		return 0;
	r = rf__region_verify(
		half->peer.fd, half->peer.area_bytes, RF__SEALS_FINAL, &h->wire.reason);
	return r < 0 ? r : settle(half, &half->peer, &h->wire.reason);
}

/* The client checks, maps and seals what it got */

static int adopt_own(struct rf__region *region, struct rf__reason *reason)
{
	int r = rf__region_verify(region->fd, region->area_bytes, RF__SEALS_SIZED, reason);

	if (r >= 0)
		r = rf__region_map(region, RF__READ_WRITE, reason);
	if (r >= 0)
		r = rf__region_seal(region, RF__SEALS_FINAL, reason);
	return r < 0 ? r
		     : rf__region_verify(region->fd, region->area_bytes, RF__SEALS_FINAL, reason);
}

static int adopt_peer(struct rf__region *region, struct rf__reason *reason)
{
	int r = rf__region_verify(region->fd, region->area_bytes, RF__SEALS_FINAL, reason);

	return r < 0 ? r : rf__region_map(region, RF__READ_ONLY, reason);
}

static int adopt_ring(struct rf__handshake *h, enum rf__way way, unsigned *taken)
{
	struct rf__half *half = half_of(h, way);
	struct rf__reason *reason = &h->wire.reason;
	int *place[4], r = 0;
	unsigned i, n;

	if (!h->wire.terms.area_bytes[way])
		return 0;
	producer_region(half)->area_bytes = h->wire.terms.area_bytes[way];
	for (i = 0, n = places(h, half, place); i < n; i++) {
		*place[i] = h->fds[*taken];
		h->fds[(*taken)++] = -1;
		if (r >= 0 && i >= 2)
			r = rf__bell_verify(*place[i], reason);
	}
	if (r >= 0)
		r = adopt_own(&half->own, reason);
	if (r >= 0)
		r = settle(half, &half->own, reason);
	if (r >= 0)
		r = adopt_peer(&half->peer, reason);
	if (r >= 0)
		r = settle(half, &half->peer, reason);
	return r < 0 ? r : start_half(half, rf__terms_unit(&h->wire.terms));
}

/* Both ends */

static int build(struct rf__handshake *h)
{
	unsigned taken = 0;
	enum rf__way way;
	int r = 0;

	h->channel->link.doorbell = h->wire.terms.doorbell;
	if (h->wire.server)
		r = charge(h);
	for (way = RF__UP; way < RF__WAYS && !r; way++)
		r = h->wire.server ? build_ring(h, way) : adopt_ring(h, way, &taken);
	return r;
}

static int verify(struct rf__handshake *h)
{
	int r = verify_ring(h, RF__UP);

	if (r >= 0)
		r = verify_ring(h, RF__DOWN);
	/* what it has sealed, it has got; that it says MAPPED proves nothing */
	if (r >= 0)
		rf__charge_landed(h->channel->charge);
	return r;
}

/* From here on the exit of the peer counts, too; of a server only if its socket is its own
 * (threats C7). */
static void open_up(struct rf__handshake *h)
{
	struct rf_channel *channel = h->channel;

	if (!h->wire.server && !h->wire.terms.listened)
		rf__identity_close(&channel->identity);
	if (h->wire.server)
		rf__charge_opened(channel->charge);
	channel->link.pidfd = channel->identity.pidfd;
	rf__region_close(&channel->tx.half.own);
	rf__region_close(&channel->tx.half.peer);
	rf__region_close(&channel->rx.half.own);
	rf__region_close(&channel->rx.half.peer);
}

/* In BUILD or VERIFY. 1: there is more to do. */
static int act(struct rf__handshake *h)
{
	int r = h->wire.state == RF__WIRE_BUILD ? build(h) : verify(h);

	if (r > 0)
		return r;
	if (r < 0) {
		if (!h->wire.reason.text[0])
			rf__fail_error(&h->wire.reason, r, "cannot set the channel up");
		rf__wire_refuse(&h->wire, r, h->wire.reason.text);
		return 0;
	}
	rf__wire_done(&h->wire);
	return 0;
}

static void close_fds(int *fds, unsigned n)
{
	while (n)
		rf__close(&fds[--n]);
}

/* A send that fails for want of a reader may leave a REFUSE to be read. */
static int send_message(struct rf__handshake *h)
{
	unsigned char message[RF__WIRE_MAX];
	int fds[RF__FDS_MAX], r = 0;
	unsigned n_fds, n = 0;
	size_t len = rf__wire_output(&h->wire, message, &n_fds);

	if (n_fds)
		r = lend_all(h, fds, &n);
	if (r >= 0)
		r = rf__socket_send(h->channel->link.sock, message, len, fds, n);
	close_fds(fds, n);
	if (r == -EAGAIN)
		r = -ENOBUFS; /* it reads nothing: we do not wait for that (threats C5) */
	if (r == -EPIPE && h->wire.state == RF__WIRE_WAIT)
		return 0;
	if (r < 0 && h->wire.state != RF__WIRE_FAILED)
		return rf__fail_error(&h->wire.reason, r, "cannot send a message of the handshake");
	return 0;
}

static int receive_message(struct rf__handshake *h)
{
	unsigned char message[RF__WIRE_MAX];
	unsigned n_fds = 0;
	bool wants_fds = !h->wire.server && h->wire.next == RF__WIRE_WELCOME;
	ssize_t n;

	if (h->channel->link.suspect && rf__socket_carries_fds(h->channel->link.sock)) {
		rf__wire_refuse(&h->wire, -EBADMSG, "descriptors that nobody asked for");
		return 0;
	}
	n = rf__socket_receive(h->channel->link.sock, message, sizeof(message), h->fds,
		wants_fds ? RF__FDS_MAX : 0, &n_fds);
	if (n < 0)
		return n == -EAGAIN ? -EAGAIN
				    : rf__fail_error(&h->wire.reason, (int)n,
					      "the peer went during the handshake");
	h->n_fds = n_fds <= RF__FDS_MAX ? n_fds : 0;
	if (wants_fds)
		rf__socket_allow_fds(h->channel->link.sock, false);
	rf__wire_input(&h->wire, message, (size_t)n, n_fds);
	return 0;
}

int rf__handshake_step(struct rf__handshake *h)
{
	int r = 0;

	while (!r) {
		switch (h->wire.state) {
		case RF__WIRE_SEND:
			r = send_message(h);
			break;
		case RF__WIRE_WAIT:
			r = receive_message(h);
			break;
		case RF__WIRE_BUILD:
		case RF__WIRE_VERIFY:
			r = act(h);
			break;
		case RF__WIRE_OPEN:
			open_up(h);
			return RF__HANDSHAKE_OPEN;
		default:
			return h->wire.error;
		}
	}
	if (r > 0)
		return RF__HANDSHAKE_MORE;
	return r == -EAGAIN ? RF__HANDSHAKE_WAIT : r;
}

void rf__handshake_refuse(struct rf__handshake *h, int error, const char *sentence)
{
	rf__wire_refuse(&h->wire, error, sentence);
	if (h->wire.state == RF__WIRE_SEND)
		send_message(h);
}

struct rf_channel *rf__handshake_take(struct rf__handshake *h)
{
	struct rf_channel *channel = h->channel;

	h->channel = NULL;
	return channel;
}

void rf__handshake_end(struct rf__handshake *h)
{
	close_fds(h->fds, h->n_fds);
	h->n_fds = 0;
	rf_channel_close(h->channel);
	h->channel = NULL;
}
