/* SPDX-License-Identifier: MIT */
/* Publishers: the caller's side, and how it waits. Who its subscribers are is membership.c's. */
#include "attach.h"
#include "membership.h"
#include "options.h"
#include "util/clock.h"
#include "util/fd.h"

#include <stdlib.h>
#include <sys/epoll.h>

#define TICK_NS (10 * RF__MSEC)

int rf__publisher_check(const struct rf_publisher *publisher)
{
	return rf__generation_is_ours(&publisher->generation) ? 0 : -EBADF;
}

static int check(const struct rf_publisher *publisher)
{
	return publisher ? rf__publisher_check(publisher) : -EINVAL;
}

static bool is_stopped(const struct rf_publisher *publisher)
{
	return rf__link_flags(&publisher->link) & RF__STOPPED;
}

/* Sending */

int rf__publisher_reserve(
	struct rf_publisher *publisher, size_t len, struct rf_buffer *ret_buffers, unsigned max)
{
	struct rf__slot_consumer *blocker;
	int r;

	if (!publisher->complete && !publisher->slots.ended)
		return len <= publisher->slots.slot_bytes ? -EAGAIN : -EMSGSIZE;
	r = rf__tx_slots_reserve(&publisher->tx, len, ret_buffers, max);
	if (r != -EAGAIN) {
		rf__members_unblocked(publisher);
		return r;
	}
	blocker = rf__slots_blocker(&publisher->slots);
	if (blocker)
		rf__members_blocked(publisher, blocker, rf__now());
	else
		rf__members_unblocked(publisher);
	return r;
}

static bool is_tick_due(const struct rf_publisher *publisher, uint64_t now_ns)
{
	return (int64_t)(now_ns - publisher->looked_ns) >= (int64_t)TICK_NS;
}

/* Descriptors of messages that have been published are duplicates that nobody needs any more. */
static void settle_attached(struct rf_publisher *publisher)
{
	if (publisher->tx.fds)
		rf__attached_settle(&publisher->tx);
}

void rf__publisher_publish(struct rf_publisher *publisher)
{
	uint64_t now = rf__now_coarse();

	rf__slots_publish(&publisher->slots);
	settle_attached(publisher);
	rf__members_published(publisher, now);
	if (is_tick_due(publisher, now))
		rf__members_process(publisher, rf__now());
}

void rf__publisher_end(struct rf_publisher *publisher)
{
	rf__slots_end(&publisher->slots);
	settle_attached(publisher);
	rf__members_published(publisher, rf__now_coarse());
	rf__members_note(publisher);
}

/* Milliseconds are rounded up, so that no deadline is missed early. */
static int sleep_until(struct rf_publisher *publisher, uint64_t until_ns)
{
	uint64_t now = rf__now(), left = until_ns > now ? until_ns - now : 0;
	uint64_t msec = left / RF__MSEC + (left % RF__MSEC ? 1 : 0);
	struct epoll_event event;

	rf__count(&publisher->tx.half.bell.stats.sleeps, 1);
	if (epoll_wait(publisher->epoll, &event, 1,
		    until_ns == RF_FOREVER || msec > INT32_MAX ? -1 : (int)msec) < 0 &&
		errno != EINTR)
		return -errno;
	return 0;
}

static int sleep_once(struct rf_publisher *publisher, struct rf__wait *wait, uint64_t deadline_ns)
{
	uint64_t until = RF_FOREVER;
	int r = 0;

	if (!rf__members_arm(publisher, RF_SPACE, &until))
		r = sleep_until(publisher, until < deadline_ns ? until : deadline_ns);
	wait->slept = true;
	rf__members_process(publisher, rf__now());
	return r;
}

int rf__publisher_wait(struct rf_publisher *publisher, struct rf__wait *wait, uint64_t deadline_ns)
{
	uint64_t now = rf__now();

	if (is_stopped(publisher))
		return -EPIPE;
	if (is_tick_due(publisher, now))
		rf__members_process(publisher, now);
	if (now >= deadline_ns)
		return deadline_ns ? -ETIMEDOUT : -EAGAIN;
	if (!wait->begun_ns) {
		wait->begun_ns = now;
		rf__publisher_publish(publisher);
	}
	if (publisher->complete && rf__bell_spin(&publisher->tx.half.bell, wait, now))
		return 0;
	return sleep_once(publisher, wait, deadline_ns);
}

/* Setting up */

/* An eighth, and enough to block with it; but those who are waited for have to fit in. */
static uint32_t default_hold(const struct rf_options *o)
{
	uint32_t slots = o->slots - o->reserve_slots, share = o->slots / 8;

	if (share < 2)
		share = 2;
	if (share < o->reserve_slots)
		share = o->reserve_slots;
	if (o->wait_for && share > slots / o->wait_for)
		share = slots / o->wait_for;
	return share ? share : 1;
}

static void fill_in(struct rf_options *o)
{
	o->kind = RF_SLOTS;
	o->direction = RF_SEND;
	if (!o->slots)
		o->slots = RF__SLOTS_DEFAULT;
	if (!o->slot_bytes)
		o->slot_bytes = RF__SLOT_BYTES_DEFAULT;
	if (!o->slot_align)
		o->slot_align = RF__SLOT_ALIGNMENT_MIN;
	if (!o->reserve_slots)
		o->reserve_slots = o->slots < 4 ? 1 : 2;
	if (!o->hold)
		o->hold = default_hold(o);
	if (o->hold > o->slots - o->reserve_slots)
		o->hold = o->slots - o->reserve_slots;
	if (!o->lag)
		o->lag = RF_LAG_DROP;
	if (!o->stall_ns)
		o->stall_ns = RF__STALL_DEFAULT_NS;
}

static int read_options(
	const struct rf_options *options, struct rf_options *o, struct rf__reason *reason)
{
	int r = rf__options_read(options, false, o, reason);

	if (r < 0)
		return r;
	if (o->kind && o->kind != RF_SLOTS)
		return rf__fail(reason, -EINVAL, "options: a publisher's kind is RF_SLOTS");
	if (o->direction && o->direction != RF_SEND)
		return rf__fail(reason, -EINVAL, "options: a publisher's direction is RF_SEND");
	if (o->fd_kinds)
		return rf__fail(reason, -EINVAL, "options: a publisher takes no descriptors");
	if (o->reserve_slots && o->reserve_slots >= (o->slots ? o->slots : RF__SLOTS_DEFAULT))
		return rf__fail(reason, -EINVAL,
			"options: reserve_slots %u leaves no slot to subscribers",
			o->reserve_slots);
	fill_in(o);
	if (o->wait_for > o->slots - o->reserve_slots)
		return rf__fail(reason, -EINVAL,
			"options: wait_for %u is more than there is room for: %u slots",
			o->wait_for, o->slots - o->reserve_slots);
	return 0;
}

static int copy_block_uids(struct rf_publisher *p)
{
	size_t n = p->options.n_block_uids;

	p->debts = calloc(n + RF__BLOCK_UIDS_MORE, sizeof(*p->debts));
	if (!p->debts)
		return -ENOMEM;
	if (!n)
		return 0;
	p->block_uids = calloc(n, sizeof(*p->block_uids));
	if (!p->block_uids)
		return -ENOMEM;
	memcpy(p->block_uids, p->options.block_uids, n * sizeof(*p->block_uids));
	p->options.block_uids = p->block_uids;
	return 0;
}

static int make_epoll(struct rf_publisher *p)
{
	p->tx.half.bell.wake = rf__bell_eventfd(0);
	if (p->tx.half.bell.wake < 0)
		return p->tx.half.bell.wake;
	p->epoll = epoll_create1(EPOLL_CLOEXEC);
	return p->epoll < 0 ? -errno : 0;
}

static void init_tx(struct rf_publisher *p)
{
	struct rf_tx *tx = &p->tx;

	rf__link_init(&p->link);
	p->link.wait = p->options.wait;
	p->link.spin_ns = p->options.spin_ns;
	tx->publisher = p;
	tx->fd_terms = (struct rf__fd_terms){.kinds = RF__FD_KINDS_ALL, .max = RF_FDS_MAX};
	tx->slots = &p->slots;
	tx->half.own = tx->half.peer = tx->half.slots[0] = tx->half.slots[1] = RF__REGION_INIT;
	rf__ring_tx_init(&tx->ring, NULL, NULL, NULL, 0);
	rf__bell_init(&tx->half.bell, &p->link, &tx->ring, NULL);
}

static int make_slots(struct rf_publisher *p, struct rf__reason *reason)
{
	uint64_t stride;
	int r;

	do
		r = rf__members_make_slots(p, reason);
	while (r > 0);
	if (r < 0)
		return r;
	p->regions[0] = p->fresh;
	p->fresh = RF__REGION_INIT;
	p->slots_memory = calloc(1, rf__slots_memory(p->options.slots));
	if (!p->slots_memory)
		return rf__fail(reason, -ENOMEM, "no memory for a publisher");
	stride = rf__members_stride(p);
	rf__slots_init(&p->slots, p->slots_memory, p->regions[0].base, p->options.slots, stride,
		p->options.slot_bytes);
	p->slots.remembers = true;
	p->slots.send = rf__members_send;
	p->slots.send_context = p;
	return 0;
}

static int prepare(struct rf_publisher *p, struct rf__reason *reason)
{
	int r = copy_block_uids(p);

	if (r >= 0)
		r = make_epoll(p);
	if (r < 0)
		return rf__fail_error(reason, r, "cannot make a publisher");
	return make_slots(p, reason);
}

static struct rf_publisher *new_publisher(const struct rf_options *options)
{
	struct rf_publisher *p =
		aligned_alloc(RF__LINE, (sizeof(*p) + RF__LINE - 1) / RF__LINE * RF__LINE);
	unsigned i;

	if (!p)
		return NULL;
	memset(p, 0, sizeof(*p));
	if (rf__generation_get(&p->generation) < 0) {
		free(p);
		return NULL;
	}
	p->options = *options;
	p->epoll = -1;
	p->regions[0] = p->regions[1] = p->fresh = RF__REGION_INIT;
	for (i = 0; i < RF__KEPT_MOST; i++)
		p->kept[i] = -1;
	p->complete = !options->wait_for;
	pthread_mutex_init(&p->lock, NULL);
	init_tx(p);
	return p;
}

static int start_listening(struct rf_publisher *p, const char *address, struct rf__reason *reason)
{
	int r = rf__listen(address, &p->options, p, &p->listener);
	struct epoll_event event = {.events = EPOLLIN}; /* of no member */

	if (r < 0)
		return r;
	if (epoll_ctl(p->epoll, EPOLL_CTL_ADD, p->tx.half.bell.wake, &event) < 0 ||
		epoll_ctl(p->epoll, EPOLL_CTL_ADD, rf_listener_fd(p->listener), &event) < 0)
		return rf__fail_errno(reason, "cannot watch the socket");
	return 0;
}

int rf_publish(
	const char *address, const struct rf_options *options, struct rf_publisher **ret_publisher)
{
	struct rf__reason *reason = rf__reason_begin();
	struct rf_publisher *p;
	struct rf_options o;
	int r;

	if (!ret_publisher)
		return rf__fail(reason, -EINVAL, "ret_publisher is NULL");
	r = read_options(options, &o, reason);
	if (r < 0)
		return r;
	p = new_publisher(&o);
	if (!p)
		return rf__fail(reason, -ENOMEM, "no memory for a publisher");
	r = prepare(p, reason);
	if (r >= 0)
		r = start_listening(p, address, reason);
	if (r < 0)
		rf_publisher_close(p);
	else
		*ret_publisher = p;
	return r;
}

struct rf_tx *rf_publisher_tx(struct rf_publisher *publisher)
{
	return publisher ? &publisher->tx : NULL;
}

/* The caller's own event loop */

int rf_publisher_fd(struct rf_publisher *publisher)
{
	int r = check(publisher);

	return r < 0 ? r : publisher->epoll;
}

int rf_publisher_process(struct rf_publisher *publisher)
{
	int r = check(publisher);

	if (r < 0)
		return r;
	rf__members_process(publisher, rf__now());
	return is_stopped(publisher) ? -EPIPE : 0;
}

int rf_publisher_arm(struct rf_publisher *publisher, unsigned events, uint64_t *ret_until_ns)
{
	uint64_t until = RF_FOREVER;
	int r = check(publisher);

	if (r < 0)
		return r;
	if (events & ~(unsigned)RF_SPACE)
		return -EINVAL;
	if (is_stopped(publisher))
		return 1;
	rf__publisher_publish(publisher);
	if (rf__members_arm(publisher, events, &until))
		return 1;
	*ret_until_ns = until;
	return 0;
}

void rf_publisher_stop(struct rf_publisher *publisher)
{
	if (check(publisher) == 0)
		rf__link_stop(&publisher->link);
}

/* What is known of it */

int rf_publisher_stats(struct rf_publisher *publisher, struct rf_publisher_stats *stats)
{
	struct rf_publisher_stats known;
	struct rf_listener_stats listener = {.size = sizeof(listener)};
	const struct rf_half_stats *tx;
	int r = check(publisher);

	/* a child may have inherited a lock that nobody will open */
	if (r < 0)
		return r;
	if (!stats || stats->size < sizeof(stats->size))
		return -EINVAL;
	tx = &publisher->tx.half.bell.stats;
	rf_listener_stats(publisher->listener, &listener);
	pthread_mutex_lock(&publisher->lock);
	known = publisher->figures;
	pthread_mutex_unlock(&publisher->lock);
	known.size = stats->size;
	known.refused = listener.refused;
	known.failed += listener.failed;
	known.messages = __atomic_load_n(&publisher->tx.ring.at.records, __ATOMIC_RELAXED);
	known.bytes = __atomic_load_n(&publisher->tx.ring.at.bytes, __ATOMIC_RELAXED);
	known.bytes_copied = __atomic_load_n(&tx->bytes_copied, __ATOMIC_RELAXED);
	known.sleeps = __atomic_load_n(&tx->sleeps, __ATOMIC_RELAXED);
	known.slots = publisher->options.slots;
	known.slot_bytes = publisher->options.slot_bytes;
	memcpy(stats, &known, stats->size < sizeof(known) ? stats->size : sizeof(known));
	return 0;
}

int rf_publisher_subscribers(
	struct rf_publisher *publisher, struct rf_subscriber *ret_subscribers, unsigned max)
{
	const struct rf__member *member;
	int r = check(publisher);
	unsigned n = 0;

	if (r < 0)
		return r;
	if (max && !ret_subscribers)
		return -EINVAL;
	pthread_mutex_lock(&publisher->lock);
	for (member = publisher->members; member; member = member->next, n++)
		if (n < max)
			ret_subscribers[n] = member->figures;
	pthread_mutex_unlock(&publisher->lock);
	return (int)n;
}

const char *rf_publisher_reason(struct rf_publisher *publisher)
{
	return publisher ? publisher->reason.text : "";
}

/* The end. A child has neither the mappings nor a say about the connections. */
void rf_publisher_close(struct rf_publisher *publisher)
{
	unsigned i;

	if (!publisher)
		return;
	rf__members_close(publisher);
	rf_listener_close(publisher->listener);
	rf__close(&publisher->epoll);
	rf__bell_close(&publisher->tx.half.bell);
	for (i = 0; i < RF__KEPT_MOST; i++)
		rf__close(&publisher->kept[i]);
	rf__fds_tx_free(publisher->tx.fds);
	rf__members_free_slots(publisher);
	pthread_mutex_destroy(&publisher->lock);
	free(publisher->slots_memory);
	free(publisher->debts);
	free(publisher->block_uids);
	free(publisher);
}
