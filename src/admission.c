/* SPDX-License-Identifier: MIT */
/* Who may subscribe to a publisher, and how many slots are set aside for whom: see publisher.h. */
#include "membership.h"

#include "util/clock.h"

#define OTHERS_BLOCK_NS (10 * RF__SEC)

/* Budgets */

uint64_t rf__members_budget(const struct rf_publisher *p, uid_t uid)
{
	if (p->options.block_ns)
		return p->options.block_ns;
	return rf__is_trusted(uid) ? RF_FOREVER : OTHERS_BLOCK_NS;
}

/* NULL: none, and no place for one. */
static struct rf__debt *find_debt(struct rf_publisher *p, uid_t uid)
{
	size_t i;

	for (i = 0; i < p->n_debts; i++)
		if (p->debts[i].uid == uid)
			return &p->debts[i];
	if (p->n_debts == p->options.n_block_uids + RF__BLOCK_UIDS_MORE)
		return NULL;
	p->debts[p->n_debts].uid = uid;
	return &p->debts[p->n_debts++];
}

/* What is left of it now. */
static uint64_t left_of(const struct rf__debt *debt, uint64_t now_ns)
{
	uint64_t earned = (now_ns - debt->at_ns) / RF__EARNED_SHARE;

	return debt->ns > earned ? debt->ns - earned : 0;
}

void rf__members_owe(struct rf_publisher *p, uid_t uid, uint64_t ns)
{
	struct rf__debt *debt = find_debt(p, uid);
	uint64_t now = rf__now();

	if (!debt)
		return;
	debt->ns = rf__later(left_of(debt, now), ns);
	debt->at_ns = now;
}

uint64_t rf__members_take_debt(struct rf_publisher *p, uid_t uid)
{
	struct rf__debt *debt = find_debt(p, uid);
	uint64_t ns = debt ? left_of(debt, rf__now()) : 0;

	if (debt)
		debt->ns = 0;
	return ns;
}

static bool has_budget(struct rf_publisher *p, uid_t uid)
{
	const struct rf__debt *debt = find_debt(p, uid);

	return !debt || left_of(debt, rf__now()) < rf__members_budget(p, uid);
}

/* Slots */

static bool may_block(const struct rf_publisher *p, uid_t uid)
{
	size_t i;

	for (i = 0; i < p->options.n_block_uids; i++)
		if (p->options.block_uids[i] == uid)
			return true;
	return rf__is_trusted(uid);
}

/* Slots set aside for the subscribers of one user (or all), handshakes under way among them. */
static uint64_t granted_to(const struct rf_publisher *p, uid_t uid, bool all)
{
	const struct rf_channel *channel;
	uint64_t sum = 0;

	for (channel = p->granted; channel; channel = channel->granted_next)
		if (all || channel->identity.uid == uid)
			sum += channel->granted;
	return sum;
}

/* No user but our own and root may take more than half unless it is said. */
static uint64_t share_of(const struct rf_publisher *p, uid_t uid)
{
	uint64_t slots = p->options.slots - p->options.reserve_slots;

	if (p->options.max_slots)
		return p->options.max_slots < slots ? p->options.max_slots : slots;
	return rf__is_trusted(uid) || slots == 1 ? slots : slots / 2;
}

static void set_granted(struct rf_publisher *p)
{
	pthread_mutex_lock(&p->lock);
	p->figures.granted = granted_to(p, 0, true);
	pthread_mutex_unlock(&p->lock);
}

/* 0; -ENOBUFS. */
static int is_too_many(
	const struct rf_publisher *p, uid_t uid, uint32_t hold, struct rf__reason *reason)
{
	uint64_t own = granted_to(p, uid, false), all = granted_to(p, uid, true);
	uint64_t share = share_of(p, uid), slots = p->options.slots - p->options.reserve_slots;

	if (hold > slots - all)
		return rf__fail(reason, -ENOBUFS,
			"to hold %u slots is too many: %llu of %llu are taken", hold,
			(unsigned long long)all, (unsigned long long)slots);
	if (own + hold > share)
		return rf__fail(reason, -ENOBUFS,
			"to hold %u slots is too many for uid %u: it has %llu of %llu", hold, uid,
			(unsigned long long)own, (unsigned long long)share);
	return 0;
}

int rf__publisher_admit(struct rf_publisher *p, struct rf_channel *channel,
	const struct rf__terms *terms, struct rf__reason *reason)
{
	uid_t uid = channel->identity.uid;
	int r;

	if (p->slots.ended)
		return rf__fail(reason, -EPIPE, "the stream has ended");
	if (terms->lag == RF_LAG_BLOCK && !may_block(p, uid))
		return rf__fail(reason, -EPERM, "blocking is not granted to uid %u", uid);
	if (terms->lag == RF_LAG_BLOCK && terms->hold < p->options.reserve_slots)
		return rf__fail(reason, -ENOBUFS, "to block it has to hold %u slots, not %u",
			p->options.reserve_slots, terms->hold);
	if (terms->lag == RF_LAG_BLOCK && !has_budget(p, uid))
		return rf__fail(reason, -ENOBUFS,
			"uid %u has kept the publisher waiting for too long already", uid);
	if (p->options.flags & RF_OPTION_RENEW && !rf__is_trusted(uid) && !rf__members_can_renew(p))
		return rf__fail(reason, -ENOBUFS,
			"others who have gone keep too much former memory mapped");
	/* one that comes again may be quicker than its hang-up */
	if (is_too_many(p, uid, terms->hold, NULL))
		rf__members_look_after(p);
	r = is_too_many(p, uid, terms->hold, reason);
	if (r < 0)
		return r;
	channel->granted = terms->hold;
	channel->granted_next = p->granted;
	p->granted = channel;
	set_granted(p);
	return 0;
}

void rf__publisher_forget(struct rf_channel *channel)
{
	struct rf_publisher *p = channel->publisher;
	struct rf_channel **at;

	if (!p || !channel->granted)
		return;
	if (p->options.flags & RF_OPTION_RENEW && !rf__is_trusted(channel->identity.uid) &&
		channel->tx.consumer.memory == p->slots.generation)
		p->renew = true; /* also where the handshake went no further than that */
	for (at = &p->granted; *at != channel; at = &(*at)->granted_next)
		;
	*at = channel->granted_next;
	channel->granted = 0;
	set_granted(p);
}

void rf__publisher_wish(const struct rf_publisher *p, struct rf__wish *wish)
{
	wish->publishes = true;
	wish->hold = p->options.hold;
	wish->lag = p->options.lag;
	wish->stall_ns = p->options.stall_ns;
}

int rf__publisher_lend(
	struct rf_publisher *p, struct rf_channel *channel, struct rf__reason *reason)
{
	channel->tx.consumer.memory = p->slots.generation;
	return rf__region_lend(&p->regions[p->slots.generation & 1], RF__READ_ONLY, reason);
}
