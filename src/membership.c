/* SPDX-License-Identifier: MIT */
/* Who subscribes to a publisher, from being let in to being cut off: see membership.h. */
#include "membership.h"
#include "fence.h"
#include "util/clock.h"
#include "util/fd.h"

#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define EVENTS_MOST 64
#define JOINS_MOST  16 /* before others have their turn */
#define OWED_NS     (10 * RF__MSEC)

/* Leaving */

/* It can see that it is no subscriber any more before anything is written over what it was lent. */
static void close_member(struct rf_publisher *p, struct rf__member *member)
{
	if (rf__publisher_check(p) == 0) {
		shutdown(member->channel->link.sock, SHUT_RDWR);
		epoll_ctl(p->epoll, EPOLL_CTL_DEL, member->channel->link.epoll, NULL);
	}
	rf__slots_leave(&p->slots, &member->channel->tx.consumer);
	rf_channel_close(member->channel);
	free(member);
}

/* Of its budget, what it has not earned. */
static void leave_debt(struct rf_publisher *p, const struct rf__member *member)
{
	uint64_t earned = (rf__now() - member->since_ns) / RF__EARNED_SHARE;
	uint64_t spent = member->figures.blocked_ns + member->owed_ns;

	if (member->block_ns != RF_FOREVER && spent > earned)
		rf__members_owe(p, member->figures.uid, spent - earned);
}

/* It is in no list any more, and its slots are everybody's. figure: which count of such ends. */
static void leave(struct rf_publisher *p, struct rf__member *member, uint64_t *figure)
{
	struct rf__member **at;

	if (p->blocker == member)
		rf__members_unblocked(p);
	leave_debt(p, member);
	pthread_mutex_lock(&p->lock);
	for (at = &p->members; *at != member; at = &(*at)->next)
		;
	*at = member->next;
	p->figures.subscribers--;
	++*figure;
	pthread_mutex_unlock(&p->lock);
	close_member(p, member);
}

static void say_why(struct rf_publisher *p, const struct rf__member *member, const char *why)
{
	rf__fail(&p->reason, 0, "subscriber %llu, uid %u: %s",
		(unsigned long long)member->figures.number, member->figures.uid, why);
}

/* It finds out from closed, or at least from the hang-up. */
static void cut_off(struct rf_publisher *p, struct rf__member *member, enum rf__closed why)
{
	struct rf_tx *tx = &member->channel->tx;

	rf__ring_tx_close(&tx->ring, why);
	rf__bell_kick_if_due(&tx->half.bell);
	say_why(p, member,
		why == RF__CUT_STALLED ? "cut off, gave nothing back for too long"
				       : "cut off, kept the publisher waiting for too long");
	leave(p, member, &p->figures.cut);
}

/* Joining */

static struct rf__member *new_member(struct rf_publisher *p, struct rf_channel *channel)
{
	struct rf__member *member = calloc(1, sizeof(*member));
	const struct rf__terms *terms = &channel->terms;
	const struct rf__fd_terms *fds;

	if (!member)
		return NULL;
	member->channel = channel;
	member->since_ns = rf__now();
	member->foreign = !rf__is_trusted(channel->identity.uid);
	member->block_ns = rf__members_budget(p, channel->identity.uid);
	fds = &channel->tx.fd_terms;
	rf__rate_init(&member->rate, fds->per_second,
		fds->per_second > fds->max ? fds->per_second : fds->max);
	member->figures = (struct rf_subscriber){
		.number = p->figures.joined + 1,
		.uid = channel->identity.uid,
		.pid = channel->identity.pid,
		.lag = terms->lag,
		.hold = terms->hold,
	};
	return member;
}

static int watch(struct rf_publisher *p, struct rf__member *member)
{
	int fd = rf_channel_fd(member->channel);
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = member};

	if (fd < 0)
		return fd;
	return epoll_ctl(p->epoll, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

static void append(struct rf_publisher *p, struct rf__member *member)
{
	struct rf__member **at = &p->members;

	pthread_mutex_lock(&p->lock);
	while (*at)
		at = &(*at)->next;
	*at = member;
	p->figures.subscribers++;
	p->figures.joined++;
	if (p->figures.subscribers >= p->options.wait_for)
		p->complete = true;
	pthread_mutex_unlock(&p->lock);
}

static void cannot_join(
	struct rf_publisher *p, struct rf__member *member, struct rf_channel *channel)
{
	rf__fail(&p->reason, 0, "no memory or descriptors for a subscriber");
	pthread_mutex_lock(&p->lock);
	p->figures.failed++;
	pthread_mutex_unlock(&p->lock);
	free(member);
	rf_channel_close(channel);
}

/* The memory may have been renewed, and the stream ended, since the handshake. */
static void join(struct rf_publisher *p, struct rf_channel *channel)
{
	struct rf__member *member = new_member(p, channel);
	struct rf_tx *tx = &channel->tx;
	uint32_t memory = tx->consumer.memory;

	if (!member || watch(p, member) < 0) {
		cannot_join(p, member, channel);
		return;
	}
	if (member->figures.lag == RF_LAG_BLOCK)
		member->owed_ns = rf__members_take_debt(p, member->figures.uid);
	tx->consumer.context = member;
	rf__slots_join(&p->slots, &tx->consumer);
	tx->consumer.memory = memory;
	if (rf__slots_has_memory(&p->slots, &tx->consumer))
		rf__slots_catch_up(
			&p->slots, &tx->consumer, channel->terms.start == RF_START_OLDEST);
	if (p->slots.ended)
		rf__ring_tx_end(&tx->ring);
	rf__bell_kick_if_due(&tx->half.bell);
	append(p, member);
}

static void let_in(struct rf_publisher *p)
{
	struct rf_listener_stats before = {.size = sizeof(before)}, after = before;
	struct rf_channel *channel;
	int i;

	rf_listener_stats(p->listener, &before);
	for (i = 0; i < JOINS_MOST && rf__accept(p->listener, 0, &channel, NULL) == 0; i++)
		join(p, channel);
	rf_listener_stats(p->listener, &after);
	if (after.refused + after.failed != before.refused + before.failed)
		rf__fail(&p->reason, 0, "%s", rf_listener_reason(p->listener));
}

/* Clocks */

/* What is left of its budget; 0: nothing. */
static uint64_t budget_left(const struct rf__member *member, uint64_t now_ns)
{
	uint64_t spent = member->figures.blocked_ns + member->owed_ns, budget;

	if (member->block_ns == RF_FOREVER)
		return RF_FOREVER;
	if (member->blocked_from_ns)
		spent += member->blocked_until_ns - member->blocked_from_ns;
	budget = rf__later((now_ns - member->since_ns) / RF__EARNED_SHARE, member->block_ns);
	return spent < budget ? budget - spent : 0;
}

/* It stops when something was given back; the next message that is missed starts it anew. */
static bool has_stalled(struct rf__member *member, uint64_t now_ns)
{
	uint64_t stall_ns = member->channel->terms.stall_ns;

	if (!member->stalled_ns)
		return false;
	if (member->channel->tx.consumer.collected != member->stalled_at) {
		member->stalled_ns = 0;
		return false;
	}
	return now_ns >= rf__later(member->stalled_ns, stall_ns);
}

/* What other threads may read. */
static void note_figures(struct rf__member *member)
{
	const struct rf_tx *tx = &member->channel->tx;

	member->figures.held = rf__slots_held(&tx->consumer);
	member->figures.lent = rf__slots_lent(&tx->consumer);
	member->figures.missed = tx->consumer.missed;
	member->figures.kicks = __atomic_load_n(&tx->half.bell.stats.kicks, __ATOMIC_RELAXED);
}

static void disarm(struct rf_tx *tx)
{
	if (!__atomic_load_n(&tx->half.bell.asleep, __ATOMIC_RELAXED))
		return;
	__atomic_store_n(&tx->half.bell.asleep, 0, __ATOMIC_RELAXED);
	rf__ring_tx_disarm(&tx->ring);
}

/* What is due for one; it may be gone afterwards. */
static void see_to(struct rf_publisher *p, struct rf__member *member, uint64_t now_ns)
{
	struct rf_channel *channel = member->channel;
	struct rf_tx *tx = &channel->tx;
	uint32_t flags;

	disarm(tx);
	if (rf__slots_collect(&p->slots, &tx->consumer) < 0)
		rf__link_break(&channel->link, tx->ring.breach);
	if (tx->consumer.latest)
		rf__slots_refresh(&p->slots, &tx->consumer);
	rf__bell_kick_if_due(&tx->half.bell);
	flags = rf__link_flags(&channel->link);
	if (flags & RF__BROKEN) {
		say_why(p, member, rf_channel_reason(channel));
		leave(p, member, &p->figures.broken);
	} else if (flags & RF__GONE) {
		say_why(p, member, "gone");
		leave(p, member, &p->figures.left);
	} else if (!budget_left(member, now_ns)) {
		cut_off(p, member, RF__CUT_BUDGET);
	} else if (has_stalled(member, now_ns)) {
		cut_off(p, member, RF__CUT_STALLED);
	}
}

/* All of them */

static void see_to_all(struct rf_publisher *p, uint64_t now_ns)
{
	struct rf__member *member, *next;

	for (member = p->members; member; member = next) {
		next = member->next;
		see_to(p, member, now_ns);
	}
}

void rf__members_look_after(struct rf_publisher *p)
{
	struct rf__member *member;

	for (member = p->members; member; member = member->next)
		rf__link_check_alive(&member->channel->link);
	see_to_all(p, rf__now());
}

static void note_missed(struct rf__member *member, uint64_t now_ns)
{
	const struct rf__slot_consumer *consumer = &member->channel->tx.consumer;

	if (member->missed == consumer->missed)
		return;
	member->missed = consumer->missed;
	if (rf__slots_has_room(consumer, 1) ||
		(member->stalled_ns && member->stalled_at == consumer->collected))
		return; /* it was not for want of room; the clock runs */
	member->stalled_ns = now_ns;
	member->stalled_at = consumer->collected;
}

void rf__members_published(struct rf_publisher *p, uint64_t now_ns)
{
	struct rf__member *member;

	if (!p->slots.attention)
		return;
	p->slots.attention = false;
	for (member = p->members; member; member = member->next) {
		rf__bell_kick_if_due(&member->channel->tx.half.bell);
		if (member->figures.lag == RF_LAG_DISCONNECT)
			note_missed(member, now_ns);
	}
}

/* One at a time is charged: the first that is in the way. */
void rf__members_blocked(
	struct rf_publisher *p, struct rf__slot_consumer *consumer, uint64_t now_ns)
{
	struct rf__member *member = rf__member_of(consumer);

	if (p->blocker != member)
		rf__members_unblocked(p);
	if (!member->blocked_from_ns)
		member->blocked_from_ns = now_ns;
	member->blocked_until_ns = now_ns;
	p->blocker = member;
}

void rf__members_unblocked(struct rf_publisher *p)
{
	struct rf__member *member = p->blocker;
	uint64_t took;

	if (!member)
		return;
	took = member->blocked_until_ns - member->blocked_from_ns;
	pthread_mutex_lock(&p->lock);
	member->figures.blocked_ns += took;
	p->figures.blocked_ns += took;
	pthread_mutex_unlock(&p->lock);
	member->blocked_from_ns = 0;
	p->blocker = NULL;
}

/* The wait that was armed for went on until now. */
static void still_blocked(struct rf_publisher *p, uint64_t now_ns)
{
	if (p->waits && p->blocker)
		p->blocker->blocked_until_ns = now_ns;
	p->waits = false;
}

static void take_events(struct rf_publisher *p)
{
	struct epoll_event events[EVENTS_MOST];
	int n = epoll_wait(p->epoll, events, EVENTS_MOST, 0), i;

	for (i = 0; i < n; i++) {
		struct rf__member *member = events[i].data.ptr;

		if (!member)
			continue;
		/* so that what it gave back counts as progress */
		if (rf__slots_collect(&p->slots, &member->channel->tx.consumer) < 0)
			rf__link_break(&member->channel->link, member->channel->tx.ring.breach);
		rf_channel_process(member->channel);
	}
}

void rf__members_note(struct rf_publisher *p)
{
	struct rf__member *member;

	pthread_mutex_lock(&p->lock);
	for (member = p->members; member; member = member->next)
		note_figures(member);
	pthread_mutex_unlock(&p->lock);
}

void rf__members_process(struct rf_publisher *p, uint64_t now_ns)
{
	p->looked_ns = now_ns;
	still_blocked(p, now_ns);
	take_events(p);
	rf__members_note(p);
	see_to_all(p, now_ns);
	let_in(p);
	rf__members_retire(p, now_ns);
	if (p->renew)
		rf__members_renew(p, now_ns);
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* When a clock of a member runs out. */
static uint64_t runs_out(const struct rf__member *member, uint64_t now_ns)
{
	uint64_t until = RF_FOREVER;

	if (member->stalled_ns)
		until = rf__later(member->stalled_ns, member->channel->terms.stall_ns);
	if (member->blocked_from_ns)
		until = earlier(until, rf__later(now_ns, budget_left(member, now_ns)));
	if (rf__bell_owes(&member->channel->tx.half.bell))
		until = earlier(until, rf__later(now_ns, OWED_NS));
	return until;
}

/* The first half of arming; before look_again() nothing is collected from it. */
static void ask(struct rf__member *member, uint64_t bytes)
{
	struct rf__bell *bell = &member->channel->tx.half.bell;

	__atomic_store_n(&bell->asleep, 1, __ATOMIC_SEQ_CST);
	rf__bell_ask(bell, (size_t)bytes);
}

static bool is_asked(const struct rf__member *member)
{
	return __atomic_load_n(&member->channel->tx.half.bell.asleep, __ATOMIC_RELAXED);
}

/* One barrier for all that were asked, if it takes one. */
static bool pass_fence(const struct rf_publisher *p)
{
	const struct rf__member *member;

	for (member = p->members; member; member = member->next)
		if (is_asked(member) && member->channel->link.asymmetric)
			return rf__fence_pass();
	return false;
}

static int look_again(struct rf_publisher *p, uint64_t *until_ns)
{
	bool passed = pass_fence(p);
	struct rf__member *member;
	uint64_t until;

	for (member = p->members; member; member = member->next) {
		if (!is_asked(member))
			continue;
		if (rf__bell_look_again(&member->channel->tx.half.bell, passed, &until))
			return 1;
		*until_ns = earlier(*until_ns, until);
	}
	return 0;
}

/* The room of its ring that something it gives back makes. */
static uint64_t one_more(const struct rf_tx *tx)
{
	return tx->ring.capacity - (tx->ring.at.reserved - tx->ring.head) + RF__DESCRIPTOR_BYTES;
}

/* Who cannot be sent new memory now, for lack of memory of the kernel, is asked again soon. */
static int arm_blocker(struct rf_publisher *p, struct rf__slot_consumer *blocker, uint64_t now_ns,
	uint64_t *until_ns)
{
	uint32_t n = rf__slots_pending(&p->slots) + 1;

	if (n > blocker->hold)
		return 1;
	rf__members_blocked(p, blocker, now_ns);
	if (rf__slots_has_room(blocker, n)) {
		*until_ns = earlier(*until_ns, rf__later(now_ns, OWED_NS));
		return 0;
	}
	ask(rf__member_of(blocker), rf__tx_slots_need(&p->tx));
	return look_again(p, until_ns);
}

/* For a reservation: of whoever is in the way, room; else, where no slot is idle, anything from
 * anybody. */
static int arm_for_space(struct rf_publisher *p, uint64_t now_ns, uint64_t *until_ns)
{
	struct rf__slot_consumer *blocker;
	struct rf__member *member;

	if (p->slots.ended)
		return 1;
	if (!p->complete)
		return 0;
	blocker = rf__slots_blocker(&p->slots);
	if (blocker)
		return arm_blocker(p, blocker, now_ns, until_ns);
	rf__members_unblocked(p);
	if (rf__slots_has_idle(&p->slots))
		return 1;
	for (member = p->members; member; member = member->next)
		ask(member, one_more(&member->channel->tx));
	return look_again(p, until_ns);
}

/* Those that want the newest, and have not got it. Room may have been found meanwhile. */
static int arm_latest(struct rf_publisher *p, uint64_t *until_ns)
{
	struct rf__member *member;
	bool asked = false;

	for (member = p->members; member; member = member->next) {
		struct rf__slot_consumer *consumer = &member->channel->tx.consumer;

		if (!consumer->latest || !consumer->untold)
			continue;
		rf__slots_refresh(&p->slots, consumer);
		rf__bell_kick_if_due(&member->channel->tx.half.bell);
		if (rf__slots_has_room(consumer, 1))
			continue;
		ask(member, one_more(&member->channel->tx));
		asked = true;
	}
	return asked ? look_again(p, until_ns) : 0;
}

int rf__members_arm(struct rf_publisher *p, unsigned events, uint64_t *until_ns)
{
	uint64_t now = rf__now(), until = RF_FOREVER;
	struct rf__member *member;

	if (rf_listener_arm(p->listener, &until))
		return 1;
	/* what was asked the time before does not matter any more */
	for (member = p->members; member; member = member->next)
		disarm(&member->channel->tx);
	p->waits = events & RF_SPACE;
	if (events & RF_SPACE && arm_for_space(p, now, &until))
		return 1;
	if (arm_latest(p, &until))
		return 1;
	for (member = p->members; member; member = member->next) {
		struct rf_channel *channel = member->channel;

		if (rf__link_flags(&channel->link))
			return 1;
		until = earlier(until, runs_out(member, now));
		until = earlier(until, rf__storm_until(&channel->link.storm, &channel->link, NULL,
					       channel->link.epoll));
	}
	if (p->renew)
		until = earlier(until, p->renew_ns);
	*until_ns = earlier(*until_ns, until);
	return 0;
}

void rf__members_close(struct rf_publisher *p)
{
	struct rf__member *member, *next;

	for (member = p->members; member; member = next) {
		next = member->next;
		close_member(p, member);
	}
	p->members = NULL;
}
