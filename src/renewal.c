/* SPDX-License-Identifier: MIT */
/* The memory of a publisher's slots: made, renewed, and sent to its subscribers together with what else
 * belongs to a message: see membership.h. */
#include "membership.h"

#include "attach.h"
#include "util/clock.h"
#include "util/fd.h"

#define ALLOCATE_STEP (UINT64_C(4) << 20)
#define STEP_NS       RF__MSEC
#define WAIT_NS       (10 * RF__MSEC)
#define AGAIN_NS      (100 * RF__MSEC) /* memory lacks, or too much of it is out */
#define APART         20 /* so many times as long as it took is to pass until the next */

uint64_t rf__members_stride(const struct rf_publisher *p)
{
	return rf__slots_stride(p->options.slot_bytes, p->options.slot_align);
}

static uint64_t slots_area(const struct rf_publisher *p)
{
	uint64_t page = rf__page_bytes();

	return rf__slots_file_bytes(p->options.slots, rf__members_stride(p), page);
}

int rf__members_make_slots(struct rf_publisher *p, struct rf__reason *reason)
{
	int r = 0;

	if (p->fresh.fd < 0)
		r = rf__region_create(
			&p->fresh, "ringfort-slots", RF__FLAT_SHAPE, slots_area(p), reason);
	if (r >= 0)
		r = rf__region_allocate(&p->fresh, ALLOCATE_STEP, reason);
	if (r)
		return r;
	r = rf__region_map(&p->fresh, RF__READ_WRITE, reason);
	if (r >= 0)
		r = rf__region_seal(&p->fresh, RF__SEALS_FINAL, reason);
	if (r >= 0)
		r = rf__region_settle(&p->fresh, RF__READ_WRITE, p->options.flags, reason);
	return r;
}

/* A place to keep an eye on memory that somebody may still have; NULL: too much of it is out. */
static int *place_to_keep(struct rf_publisher *p)
{
	unsigned i;

	for (i = 0; i < RF__KEPT_MOST; i++) {
		if (p->kept[i] >= 0 && rf__region_is_let_go(p->kept[i]))
			rf__close(&p->kept[i]);
		if (p->kept[i] == -1)
			return &p->kept[i];
	}
	return NULL;
}

bool rf__members_can_renew(struct rf_publisher *p)
{
	return place_to_keep(p) != NULL;
}

static void drop_region(struct rf__region *region)
{
	rf__region_unmap(region);
	rf__region_close(region);
}

static struct rf__region *former(struct rf_publisher *p)
{
	return &p->regions[(p->slots.generation + 1u) & 1];
}

void rf__members_retire(struct rf_publisher *p, uint64_t now_ns)
{
	struct rf__region *region = former(p);
	int *kept, fd;

	if (!region->base || p->slots.old || now_ns < p->retire_ns)
		return;
	p->retire_ns = now_ns + AGAIN_NS;
	kept = place_to_keep(p);
	if (!kept)
		return;
	fd = rf__region_keep(region);
	if (fd == -EMFILE || fd == -ENFILE || fd == -ENOMEM)
		return;
	*kept = fd < 0 ? RF__KEPT_FOR_EVER : fd;
	drop_region(region);
}

static void move_on(struct rf_publisher *p, uint64_t now_ns)
{
	struct rf__region *region = former(p);

	*region = p->fresh;
	p->fresh = RF__REGION_INIT;
	rf__slots_renew(&p->slots, region->base);
	p->renew = false;
	p->renew_ns = rf__later(now_ns, APART * p->renewing_ns);
	p->retire_ns = p->renewing_ns = 0;
	pthread_mutex_lock(&p->lock);
	p->figures.renewed++;
	pthread_mutex_unlock(&p->lock);
}

/* A step of it. Who comes and goes all the time is not to make us busy with that. */
static int make_some(struct rf_publisher *p)
{
	uint64_t before = rf__now();
	int r = rf__members_make_slots(p, &p->reason);

	p->renewing_ns += rf__now() - before;
	return r;
}

void rf__members_renew(struct rf_publisher *p, uint64_t now_ns)
{
	bool out = p->slots.old || rf__slots_pending(&p->slots);
	int r;

	if (now_ns < p->renew_ns)
		return;
	p->renew_ns = now_ns + (out ? WAIT_NS : AGAIN_NS);
	if (out || former(p)->base)
		return;
	p->renew_ns = now_ns + STEP_NS;
	r = make_some(p);
	if (r < 0) {
		p->renew_ns = now_ns + AGAIN_NS;
		drop_region(&p->fresh);
		p->fresh = RF__REGION_INIT;
	} else if (r == 0) {
		move_on(p, now_ns);
	}
}

static bool send_memory(struct rf_publisher *p, struct rf__slot_consumer *consumer)
{
	struct rf__region *region = &p->regions[p->slots.generation & 1];
	int fd = rf__region_lend(region, RF__READ_ONLY, NULL), r;

	if (fd < 0)
		return false;
	r = rf__fds_send(&rf__member_of(consumer)->channel->link, 'm', &fd, 1);
	rf__close(&fd);
	return r >= 0;
}

bool rf__members_send(
	void *context, struct rf__slot_consumer *consumer, const struct rf__slot *slot)
{
	struct rf_publisher *p = context;
	struct rf__member *member = rf__member_of(consumer);
	struct rf_tx *tx = &member->channel->tx;
	const struct rf__fd_set *set;

	if (!slot)
		return send_memory(p, consumer);
	set = rf__fds_find(p->tx.fds, rf__slots_id(&p->slots, slot));
	if (!set || consumer->with_fds >= RF__FDS_MESSAGES ||
		rf__fds_agree(&tx->fd_terms, set->kinds, set->n) < 0 ||
		rf__rate_take(&member->rate, set->n, rf__now()) ||
		!rf__attached_may_fly(member->channel, 0, set->n))
		return false;
	if (rf__fds_send(&tx->half.channel->link, 'd', set->fds, set->n) < 0)
		return false;
	rf__count(&tx->half.bell.stats.fds, set->n);
	return true;
}

void rf__members_free_slots(struct rf_publisher *p)
{
	struct rf__region *regions[] = {&p->regions[0], &p->regions[1], &p->fresh};
	unsigned i;

	for (i = 0; i < 3; i++) {
		if (rf__generation_is_ours(&p->generation))
			rf__region_unmap(regions[i]);
		rf__region_close(regions[i]);
	}
}
