/* SPDX-License-Identifier: MIT */
/* The handshake carried out: see handshake.h and design section 6. What a server does to a
 * region it does before the peer has it: afterwards it only looks, because a peer can make
 * anything else hang (threats M5). */
#include "handshake.h"
#include "publisher.h"
#include "util/clock.h"
#include "util/fd.h"

#include <fcntl.h>

/* How much of a region is allocated before others have their turn (threats M12). */
#define ALLOCATE_STEP (UINT64_C(4) << 20)

/* Of one ring. */
#define REGIONS_MOST 3
#define PLACES_MOST  5

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

static bool with_slots(const struct rf__handshake *h)
{
	return h->wire.terms.kind == RF_SLOTS;
}

/* Do we write it? */
static bool is_ours(const struct rf__half *half, const struct rf__region *region)
{
	return region == &half->own || (region == &half->slots[0] && sends(half));
}

/* The places for the descriptors of one ring, in the order in which they travel. */
static unsigned places(struct rf__handshake *h, struct rf__half *half, int *ret_places[PLACES_MOST])
{
	unsigned n = 0;

	if (with_slots(h))
		ret_places[n++] = &half->slots[0].fd;
	ret_places[n++] = &producer_region(half)->fd;
	ret_places[n++] = &consumer_region(half)->fd;
	if (!with_eventfds(h))
		return n;
	ret_places[n++] = sends(half) ? &half->bell.peer : &half->bell.own;
	ret_places[n++] = sends(half) ? &half->bell.own : &half->bell.peer;
	return n;
}

/* The regions of one ring; the slots of a subscriber are its publisher's. */
static unsigned regions(struct rf__handshake *h, struct rf__half *half,
	struct rf__region *ret_regions[REGIONS_MOST])
{
	bool slots = with_slots(h) && !h->channel->publisher;

	ret_regions[0] = producer_region(half);
	ret_regions[1] = consumer_region(half);
	ret_regions[2] = &half->slots[0];
	return slots ? 3 : 2;
}

/* What was agreed on about the regions of one ring. How many bytes their files take. */
static uint64_t measure(struct rf__handshake *h, enum rf__way way)
{
	struct rf__half *half = half_of(h, way);
	struct rf__region *region[REGIONS_MOST];
	uint64_t bytes = 0;
	unsigned i, n = regions(h, half, region);

	producer_region(half)->area_bytes = h->wire.terms.area_bytes[way];
	consumer_region(half)->area_bytes = rf__terms_returns_bytes(&h->wire.terms, way);
	half->slots[0].shape = RF__FLAT_SHAPE;
	half->slots[0].area_bytes = rf__terms_slots_bytes(&h->wire.terms);
	for (i = 0; i < n; i++)
		bytes += rf__region_file_bytes(region[i]->shape, region[i]->area_bytes);
	return bytes;
}

/* Both ends: the mapped regions become a ring. */
static int start_half(struct rf__handshake *h, struct rf__half *half, enum rf__way way)
{
	int r;

	if (!half->channel->link.quiet)
		half->bell.wake = rf__bell_eventfd(0);
	if (half->bell.wake < 0 && !half->channel->link.quiet)
		return half->bell.wake;
	half->bell.alive_ns = rf__now_coarse();
	r = sends(half) ? rf__tx_start(&h->channel->tx, &h->wire.terms, way)
			: rf__rx_start(&h->channel->rx, &h->wire.terms, way);
	half->present = r >= 0;
	return r;
}

/* The server makes everything */

static const char *name_of(const struct rf__half *half, const struct rf__region *region)
{
	if (region == &half->slots[0])
		return "ringfort-slots";
	return (region == &half->own) == sends(half) ? "ringfort-producer" : "ringfort-consumer";
}

static int allocate(
	const struct rf__half *half, struct rf__region *region, struct rf__reason *reason)
{
	int r = 0;

	if (region->fd < 0)
		r = rf__region_create(
			region, name_of(half, region), region->shape, region->area_bytes, reason);
	return r < 0 ? r : rf__region_allocate(region, ALLOCATE_STEP, reason);
}

/* What the options ask of the mappings. Our own before the peer has it; the peer's once the peer
 * has done the same, since gathering huge pages takes them out of every page table. */
static int settle(struct rf__half *half, struct rf__region *region, struct rf__reason *reason)
{
	return rf__region_settle(region, is_ours(half, region) ? RF__READ_WRITE : RF__READ_ONLY,
		half->channel->map_flags, reason);
}

static int map_and_seal(struct rf__half *half, struct rf__region *region, struct rf__reason *reason)
{
	bool ours = is_ours(half, region);
	int r = rf__region_map(region, ours ? RF__READ_WRITE : RF__READ_ONLY, reason);

	if (r >= 0)
		r = rf__region_seal(region, ours ? RF__SEALS_FINAL : RF__SEALS_SIZED, reason);
	if (r >= 0)
		r = rf__charge_keep(half->channel->charge, region, reason);
	return r < 0 || !ours ? r : settle(half, region, reason);
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
	struct rf__region *region[REGIONS_MOST];
	unsigned i, n = regions(h, half, region);
	int r = 0;

	if (!h->wire.terms.area_bytes[way] || half->present)
		return 0;
	for (i = 0; i < n && !r; i++)
		r = allocate(half, region[i], &h->wire.reason);
	for (i = 0; i < n && !r; i++)
		r = map_and_seal(half, region[i], &h->wire.reason);
	if (!r && with_eventfds(h))
		r = make_bells(half);
	return r ? r : start_half(h, half, way);
}

/* Of a ring, at most: what travels, a publisher's slots aside; one to wait in, and where the link is
 * not quiet one to be woken by. */
static unsigned descriptors_of(struct rf__handshake *h, struct rf__half *half)
{
	struct rf__region *region[REGIONS_MOST];

	return regions(h, half, region) + (with_eventfds(h) ? 2u : 0u) +
	       (half->channel->link.quiet ? 1u : 2u);
}

/* Before any memory is: what the channel will cost. Besides its rings it has a socket, a pidfd and
 * an epoll for the caller. */
static int charge(struct rf__handshake *h)
{
	struct rf__cost cost = {.descriptors = 3, .flight = rf__terms_fds(&h->wire.terms)};
	enum rf__way way;

	for (way = RF__UP; way < RF__WAYS; way++) {
		if (!h->wire.terms.area_bytes[way])
			continue;
		cost.bytes += measure(h, way);
		cost.descriptors += descriptors_of(h, half_of(h, way));
	}
	return rf__charge_channel(h->channel->charge, &cost, &h->wire.reason);
}

/* A descriptor for the peer: of a region, one with no more access than it needs; of a bell, the
 * bell. */
static int lend(struct rf__half *half, const int *place, struct rf__reason *reason)
{
	struct rf_channel *channel = half->channel;
	struct rf__region *slots = &half->slots[0];

	if (place == &slots->fd && channel->publisher)
		return rf__publisher_lend(channel->publisher, channel, reason);
	if (place == &slots->fd)
		return rf__region_lend(slots, sends(half) ? RF__READ_ONLY : RF__READ_WRITE, reason);
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
	int *place[PLACES_MOST];
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
	struct rf__region *region[REGIONS_MOST];
	unsigned i, n = half->present ? regions(h, half, region) : 0;
	int r = 0;

	for (i = 0; i < n && r >= 0; i++) {
		if (is_ours(half, region[i]))
			continue;
		r = rf__region_verify(region[i], RF__SEALS_FINAL, &h->wire.reason);
		if (r >= 0)
			r = settle(half, region[i], &h->wire.reason);
	}
	return r;
}

/* The client checks, maps and seals what it got */

static int adopt_own(struct rf__region *region, struct rf__reason *reason)
{
	int r = rf__region_verify(region, RF__SEALS_SIZED, reason);

	if (r >= 0)
		r = rf__region_map(region, RF__READ_WRITE, reason);
	if (r >= 0)
		r = rf__region_seal(region, RF__SEALS_FINAL, reason);
	return r < 0 ? r : rf__region_verify(region, RF__SEALS_FINAL, reason);
}

static int adopt_peer(struct rf__region *region, struct rf__reason *reason)
{
	int r = rf__region_verify(region, RF__SEALS_FINAL, reason);

	return r < 0 ? r : rf__region_map(region, RF__READ_ONLY, reason);
}

static int adopt(struct rf__half *half, struct rf__region *region, struct rf__reason *reason)
{
	int r = is_ours(half, region) ? adopt_own(region, reason) : adopt_peer(region, reason);

	return r < 0 ? r : settle(half, region, reason);
}

static int adopt_ring(struct rf__handshake *h, enum rf__way way, unsigned *taken)
{
	struct rf__half *half = half_of(h, way);
	struct rf__region *region[REGIONS_MOST];
	int *place[PLACES_MOST], r = 0;
	unsigned i, n;

	if (!h->wire.terms.area_bytes[way])
		return 0;
	measure(h, way);
	for (i = 0, n = places(h, half, place); i < n; i++) {
		*place[i] = h->fds[*taken];
		h->fds[(*taken)++] = -1;
		if (r >= 0 && (place[i] == &half->bell.own || place[i] == &half->bell.peer))
			r = rf__bell_verify(*place[i], &h->wire.reason);
	}
	for (i = 0, n = regions(h, half, region); i < n && r >= 0; i++)
		r = adopt(half, region[i], &h->wire.reason);
	return r < 0 ? r : start_half(h, half, way);
}

/* Both ends */

/* Descriptors beside the data, or new memory of a publisher, that the peer may send. */
static bool takes_fds(const struct rf__handshake *h)
{
	return h->wire.terms.fds[h->wire.server ? RF__UP : RF__DOWN].kinds ||
	       (!h->wire.server && h->wire.terms.lag);
}

/* Before the peer knows that the channel is open: it may send some at once. */
static int take_fds(struct rf__handshake *h)
{
	const struct rf__terms *terms = &h->wire.terms;
	bool publishes = !h->wire.server && terms->lag;
	int r;

	if (!takes_fds(h))
		return 0;
	r = rf__fds_rx_new(
		&h->channel->link, &terms->fds[h->wire.server ? RF__UP : RF__DOWN], publishes);
	if (r >= 0)
		rf__socket_allow_fds(h->channel->link.sock, true);
	return r;
}

/* Is nothing sent over the socket any more, once the channel is open? */
static bool is_quiet(const struct rf__terms *terms)
{
	return terms->doorbell == RF_DOORBELL_EVENTFD && !terms->fds[RF__UP].kinds &&
	       !terms->fds[RF__DOWN].kinds && !terms->lag;
}

/* Whether there is to be a channel at all is decided once. */
static int begin_build(struct rf__handshake *h)
{
	struct rf_channel *channel = h->channel;
	int r = 0;

	if (channel->terms.kind)
		return 0;
	channel->terms = h->wire.terms;
	channel->link.doorbell = h->wire.terms.doorbell;
	channel->link.quiet = is_quiet(&h->wire.terms);
	channel->link.asymmetric = h->wire.terms.fence == RF__FENCE_ASYMMETRIC;
	if (channel->publisher)
		r = rf__publisher_admit(
			channel->publisher, channel, &channel->terms, &h->wire.reason);
	return r < 0 || !h->wire.server ? r : charge(h);
}

static int build(struct rf__handshake *h)
{
	int r = begin_build(h);
	unsigned taken = 0;
	enum rf__way way;

	for (way = RF__UP; way < RF__WAYS && !r; way++)
		r = h->wire.server ? build_ring(h, way) : adopt_ring(h, way, &taken);
	return r || h->wire.server ? r : take_fds(h);
}

static int verify(struct rf__handshake *h)
{
	int r = verify_ring(h, RF__UP);

	if (r >= 0)
		r = verify_ring(h, RF__DOWN);
	/* what it has sealed, it has got; that it says MAPPED proves nothing */
	if (r >= 0)
		rf__charge_landed(h->channel->charge);
	return r < 0 ? r : take_fds(h);
}

static void close_regions(struct rf__half *half)
{
	rf__region_close(&half->own);
	rf__region_close(&half->peer);
	rf__region_close(&half->slots[0]);
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
	close_regions(&channel->tx.half);
	close_regions(&channel->rx.half);
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

/* The kernel looks for a message, and then whether the peer has hung up: one that was sent in between
 * is found by a second look only. */
static ssize_t receive(struct rf__handshake *h, unsigned char message[RF__WIRE_MAX],
	unsigned max_fds, unsigned *n_fds)
{
	int sock = h->channel->link.sock, looks = h->channel->link.suspect ? 1 : 2;
	ssize_t n;

	do
		n = rf__socket_receive(sock, message, RF__WIRE_MAX, h->fds, max_fds, n_fds);
	while (n == -EPIPE && --looks);
	return n;
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
	n = receive(h, message, wants_fds ? RF__FDS_MAX : 0, &n_fds);
	if (n < 0)
		return n == -EAGAIN ? -EAGAIN
				    : rf__fail_error(&h->wire.reason, (int)n,
					      "the peer went during the handshake");
	h->n_fds = n_fds <= RF__FDS_MAX ? n_fds : 0;
	rf__wire_input(&h->wire, message, (size_t)n, n_fds);
	if (wants_fds && !takes_fds(h))
		rf__socket_allow_fds(h->channel->link.sock, false);
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
