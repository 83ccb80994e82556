/* SPDX-License-Identifier: MIT */
/* Channels once they are open: the caller's event loop, figures, the end. */
#include "attach.h"
#include "publisher.h"
#include "rx.h"
#include "tx.h"
#include "util/clock.h"
#include "util/fd.h"

#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>

static void half_init(struct rf__half *half, struct rf_channel *channel)
{
	half->channel = channel;
	half->own = half->peer = half->slots[0] = half->slots[1] = RF__REGION_INIT;
}

struct rf_channel *rf__channel_new(
	int sock, struct rf__identity *identity, const struct rf_options *options)
{
	struct rf_channel *channel = aligned_alloc(RF__LINE, sizeof(*channel));

	if (!channel)
		return NULL;
	memset(channel, 0, sizeof(*channel));
	if (rf__generation_get(&channel->generation) < 0) {
		free(channel);
		return NULL;
	}
	rf__link_init(&channel->link);
	channel->link.wait = options->wait;
	channel->link.spin_ns = options->spin_ns;
	channel->link.sock = sock;
	channel->map_flags = options->flags;
	channel->link.pidfd = -1;
	channel->identity = *identity;
	identity->pidfd = -1;
	half_init(&channel->tx.half, channel);
	half_init(&channel->rx.half, channel);
	rf__bell_init(&channel->tx.half.bell, &channel->link, &channel->tx.ring, NULL);
	rf__bell_init(&channel->rx.half.bell, &channel->link, NULL, &channel->rx.ring);
	return channel;
}

/* What is asked of a channel that may be NULL or a parent's. */
static int check(const struct rf_channel *channel)
{
	if (!channel)
		return -EINVAL;
	return rf__generation_is_ours(&channel->generation) ? 0 : -EBADF;
}

struct rf_tx *rf_channel_tx(struct rf_channel *channel)
{
	return channel && channel->tx.half.present ? &channel->tx : NULL;
}

struct rf_rx *rf_channel_rx(struct rf_channel *channel)
{
	return channel && channel->rx.half.present ? &channel->rx : NULL;
}

/* The caller's own event loop */

static int watch_all(struct rf_channel *channel, int epoll)
{
	int r = rf__link_watch(&channel->link, epoll);

	if (r >= 0 && channel->tx.half.present)
		r = rf__bell_watch(&channel->tx.half.bell, epoll);
	if (r >= 0 && channel->rx.half.present)
		r = rf__bell_watch(&channel->rx.half.bell, epoll);
	return r;
}

int rf_channel_fd(struct rf_channel *channel)
{
	int r = check(channel), fd;

	if (r < 0 || channel->link.epoll >= 0)
		return r < 0 ? r : channel->link.epoll;
	fd = epoll_create1(EPOLL_CLOEXEC);
	if (fd < 0)
		return -errno;
	r = watch_all(channel, fd);
	if (r < 0) {
		rf__close(&fd);
		return r;
	}
	__atomic_store_n(&channel->link.epoll, fd, __ATOMIC_SEQ_CST);
	if (rf__link_flags(&channel->link) && channel->link.quiet)
		rf__link_rouse(&channel->link, fd);
	return fd;
}

static int state_of(const struct rf_channel *channel)
{
	uint32_t flags = rf__link_flags(&channel->link);

	if (flags & RF__BROKEN)
		return -EPROTO;
	return flags ? -EPIPE : 0;
}

/* Events after which neither ring was found to have moved were for nothing. */
static void count_storm(struct rf_channel *channel)
{
	uint64_t moved = channel->tx.ring.head + channel->rx.ring.at.tail;

	struct rf__half *half = channel->rx.half.present ? &channel->rx.half : &channel->tx.half;

	if (moved != channel->moved)
		channel->link.storm.poll_ns = 0;
	else if (rf__storm_count(&channel->link.storm, &channel->link, NULL, channel->link.epoll))
		rf__count(&half->bell.stats.storms, 1);
	channel->moved = moved;
}

static void process_half(struct rf__half *half)
{
	if (!half->present)
		return;
	__atomic_store_n(&half->bell.asleep, 0, __ATOMIC_RELAXED);
	rf__bell_kick_if_due(&half->bell);
}

/* No event told, but the time that arming had set was over. */
static void count_rescue(struct rf__half *half, uint64_t now_ns)
{
	uint64_t timer = half->bell.timer_ns;

	half->bell.timer_ns = RF_FOREVER;
	if (timer <= now_ns && rf__bell_look(&half->bell, half->bell.asked_bytes))
		rf__count(&half->bell.stats.rescued, 1);
}

static void count_rescues(struct rf_channel *channel)
{
	uint64_t now;

	if (channel->tx.half.bell.timer_ns == RF_FOREVER &&
		channel->rx.half.bell.timer_ns == RF_FOREVER)
		return;
	now = rf__now();
	count_rescue(&channel->tx.half, now);
	count_rescue(&channel->rx.half, now);
}

int rf_channel_process(struct rf_channel *channel)
{
	static const struct timespec at_once;
	int r = check(channel);

	if (r < 0)
		return r;
	process_half(&channel->tx.half);
	process_half(&channel->rx.half);
	if (channel->link.epoll >= 0)
		r = rf__link_harvest(&channel->link, NULL, channel->link.epoll, &at_once);
	else
		rf__link_check_alive(&channel->link);
	if (r > 0)
		count_storm(channel);
	else if (r == 0 && channel->link.epoll >= 0)
		count_rescues(channel);
	if (channel->rx.slots)
		rf__rx_look_for_cut(&channel->rx);
	return r < 0 ? r : state_of(channel);
}

/* 1: there is work; 0: sleep, *until_ns is the earlier of what it was and of what this half
 * needs. */
static int arm_half(struct rf__half *half, size_t len, uint64_t *until_ns)
{
	uint64_t until;

	/* as in sleep_once(): a half that an event loop sleeps for is woken as one that blocks */
	__atomic_store_n(&half->bell.asleep, 1, __ATOMIC_SEQ_CST);
	if (rf__bell_arm(&half->bell, len, &until))
		return 1;
	half->bell.timer_ns = until;
	if (until < *until_ns)
		*until_ns = until;
	return 0;
}

static bool fits(const struct rf_tx *tx, size_t len)
{
	return tx->slots ? len <= tx->slots->slot_bytes : rf__ring_tx_fits(&tx->ring, len);
}

int rf_channel_arm(struct rf_channel *channel, unsigned events, size_t len, uint64_t *ret_until_ns)
{
	uint64_t until = RF_FOREVER;
	int r = check(channel);

	if (r < 0)
		return r;
	if (!events || events & ~(unsigned)(RF_DATA | RF_SPACE) ||
		(events & RF_DATA && !channel->rx.half.present) ||
		(events & RF_SPACE && !channel->tx.half.present))
		return -EINVAL;
	if (events & RF_SPACE && !fits(&channel->tx, len))
		return -EMSGSIZE;
	if (rf__link_flags(&channel->link))
		return 1;
	if (events & RF_SPACE && channel->tx.slots) {
		if (rf__tx_publish(&channel->tx) == -EAGAIN)
			until = rf__later(rf__now(), RF__TX_RETRY_NS);
		len = rf__tx_slots_need(&channel->tx);
		if (len > channel->tx.ring.capacity)
			return 1; /* rf_tx_reserve() says why it can never be */
	}
	if (events & RF_DATA && arm_half(&channel->rx.half, 0, &until))
		return 1;
	if (events & RF_SPACE && arm_half(&channel->tx.half, len, &until))
		return 1;
	*ret_until_ns =
		rf__storm_until(&channel->link.storm, &channel->link, NULL, channel->link.epoll);
	if (until < *ret_until_ns)
		*ret_until_ns = until;
	return 0;
}

void rf_channel_stop(struct rf_channel *channel)
{
	if (check(channel) == 0)
		rf__link_stop(&channel->link);
}

/* What is known of it */

static void copy_out(void *to, size_t to_size, const void *from, size_t from_size)
{
	memcpy(to, from, to_size < from_size ? to_size : from_size);
}

int rf_channel_peer(struct rf_channel *channel, struct rf_peer *peer)
{
	struct rf_peer known;

	if (!channel || !peer || peer->size < sizeof(peer->size))
		return -EINVAL;
	known = rf__identity_peer(&channel->identity);
	known.size = peer->size;
	copy_out(peer, peer->size, &known, sizeof(known));
	return 0;
}

/* Figures are 64-bit words, each written by one thread. */
static void read_half(struct rf_half_stats *to, const struct rf__half *half, uint64_t ring_bytes,
	const uint64_t *records, const uint64_t *bytes)
{
	const uint64_t *from = (const uint64_t *)&half->bell.stats;
	uint64_t *word = (uint64_t *)to;
	size_t i;

	for (i = 0; i < sizeof(*to) / sizeof(*word); i++)
		word[i] = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
	to->ring_bytes = half->present ? ring_bytes : 0;
	to->records = __atomic_load_n(records, __ATOMIC_RELAXED);
	to->bytes = __atomic_load_n(bytes, __ATOMIC_RELAXED);
	to->slots = half->n_slots;
	to->slot_bytes = half->slot_bytes;
	to->hold = half->hold;
}

int rf_channel_stats(struct rf_channel *channel, struct rf_stats *stats)
{
	struct rf_stats known = {.doorbell = 0};
	const struct rf__tx_cursor *tx;
	const struct rf__rx_cursor *rx;

	if (!channel || !stats || stats->size < sizeof(stats->size))
		return -EINVAL;
	tx = &channel->tx.ring.at;
	rx = &channel->rx.ring.at;
	known.size = stats->size;
	known.doorbell = channel->link.doorbell;
	known.fence = channel->terms.fence;
	read_half(&known.tx, &channel->tx.half, tx->mask + 1, &tx->records, &tx->bytes);
	read_half(&known.rx, &channel->rx.half, rx->mask + 1, &rx->records, &rx->bytes);
	copy_out(stats, stats->size, &known, sizeof(known));
	return 0;
}

const char *rf_channel_reason(struct rf_channel *channel)
{
	uint32_t flags = channel ? rf__link_flags(&channel->link) : 0;

	if (flags & RF__BROKEN)
		return __atomic_load_n(&channel->link.broken, __ATOMIC_ACQUIRE);
	if (flags & RF__CUT_FOR_STALL)
		return "the publisher cut us off: nothing was given back for too long";
	if (flags & RF__CUT_FOR_WAITS)
		return "the publisher cut us off: it was kept waiting for too long";
	if (flags & RF__GONE)
		return "the peer is gone";
	return flags & RF__STOPPED ? "the channel was stopped" : "";
}

/* The end */

static void unmap_half(struct rf__half *half)
{
	rf__region_unmap(&half->own);
	rf__region_unmap(&half->peer);
	rf__region_unmap(&half->slots[0]);
	rf__region_unmap(&half->slots[1]);
}

static void free_memory(struct rf_channel *channel)
{
	rf__tx_slots_free(&channel->tx);
	rf__rx_slots_free(&channel->rx);
	free(channel->tx.ring.waiting);
	free(channel);
}

static void free_channel(struct rf_channel *channel)
{
	unmap_half(&channel->tx.half);
	unmap_half(&channel->rx.half);
	rf__charge_close(channel->charge);
	free_memory(channel);
}

void rf__channel_unlease(struct rf_channel *channel)
{
	if (__atomic_sub_fetch(&channel->leases, 1, __ATOMIC_ACQ_REL) == 0)
		free_channel(channel);
}

static void close_half(struct rf__half *half)
{
	rf__bell_close(&half->bell);
	rf__region_close(&half->own);
	rf__region_close(&half->peer);
	rf__region_close(&half->slots[0]);
	rf__region_close(&half->slots[1]);
}

static void close_descriptors(struct rf_channel *channel)
{
	rf__attached_free(&channel->tx);
	rf__fds_rx_free(&channel->link);
	rf__close(&channel->link.epoll);
	close_half(&channel->tx.half);
	close_half(&channel->rx.half);
	rf__identity_close(&channel->identity);
}

/* A child has neither the mappings nor a say about the connection. */
void rf_channel_close(struct rf_channel *channel)
{
	uint32_t leases;

	if (!channel)
		return;
	if (!rf__generation_is_ours(&channel->generation)) {
		close_descriptors(channel);
		rf__close(&channel->link.sock);
		rf__charge_abandon(channel->charge);
		free_memory(channel);
		return;
	}
	rf__link_shut(&channel->link);
	rf__publisher_forget(channel);
	shutdown(channel->link.sock, SHUT_RDWR);
	close_descriptors(channel);
	rf__charge_hang_up(channel->charge, &channel->link.sock, channel->link.suspect);
	leases = (rf__tx_open(&channel->tx) ? 1u : 0u) + (rf__rx_lent(&channel->rx) ? 1u : 0u);
	channel->leases = leases;
	channel->closed = true;
	if (!leases)
		free_channel(channel);
}
