/* SPDX-License-Identifier: MIT */
/* Kicking, spinning, arming, blocking: see doorbell.h. */
#include "doorbell.h"

#include "fds.h"
#include "fence.h"
#include "util/clock.h"
#include "util/fd.h"

#include <poll.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#define SPIN_LEAST_NS   (2 * UINT64_C(1000))
#define SPIN_SHORT_NS   (50 * UINT64_C(1000)) /* about what waking a processor takes twice over */
#define HINTS           16                    /* between two looks at the ring and at the clock */
#define PAUSES          64 /* of the processor: some hundred messages of a fast sender */
#define SHORT_WAIT      4  /* looks: a wait that is not worth a look at the clock */
#define STEADY          4 /* waits in a row, longer than a short spin, hardly longer than a long one */
#define STEADY_MOST     16
#define DOUBT_LEAST     8
#define PREEMPTED_NS    (50 * UINT64_C(1000)) /* between two looks; usually it is less than one */
#define PATIENCE_LEAST  16
#define PATIENCE_MOST   4096
#define ALIVE_NS        (100 * RF__MSEC)
#define OWED_NS         (10 * RF__MSEC)
#define DEAR_NS         (200 * UINT64_C(1000)) /* a kick costs 200 ns to 20 us */
#define DEAR_MOST_NS    (20 * RF__MSEC)
#define MEASURED_KICKS  16
#define FENCED_LEAST_NS (100 * RF__MSEC)
#define FENCED_MOST_NS  RF__SEC
#define UNFENCED_NS     (10 * RF__MSEC)

static inline void pause_processor(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("isb" ::: "memory");
#else
	__asm__ volatile("" ::: "memory");
#endif
}

static uint64_t lesser(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

void rf__link_init(struct rf__link *link)
{
	*link = (struct rf__link){
		.sock = -1, .epoll = -1, .pidfd = -1, .reading = PTHREAD_MUTEX_INITIALIZER};
}

void rf__bell_init(struct rf__bell *bell, struct rf__link *link, struct rf__ring_tx *tx,
	struct rf__ring_rx *rx)
{
	*bell = (struct rf__bell){.link = link,
		.tx = tx,
		.rx = rx,
		.own = -1,
		.peer = -1,
		.wake = -1,
		.epoll = -1,
		.timer_ns = RF_FOREVER,
		.spin_ns = lesser(SPIN_SHORT_NS, link->spin_ns)};
	link->bells[tx ? 0 : 1] = bell;
}

int rf__bell_eventfd(unsigned counter)
{
	int fd = eventfd(counter, EFD_CLOEXEC | EFD_NONBLOCK);

	return fd < 0 ? -errno : fd;
}

void rf__bell_close(struct rf__bell *bell)
{
	rf__close(&bell->epoll);
	rf__close(&bell->wake);
	rf__close(&bell->peer);
	rf__close(&bell->own);
}

/* Calls that are inlined look at nothing else: not whether the peer is gone, nor whether a kick is
 * owed. */
void rf__link_shut(struct rf__link *link)
{
	if (link->bells[0])
		rf__ring_tx_shut(link->bells[0]->tx);
	if (link->bells[1])
		rf__ring_rx_shut(link->bells[1]->rx);
}

void rf__link_set(struct rf__link *link, uint32_t flag)
{
	__atomic_fetch_or(&link->flags, flag, __ATOMIC_SEQ_CST);
	rf__link_shut(link);
}

int rf__link_break(struct rf__link *link, const char *why)
{
	const char *none = NULL;

	__atomic_compare_exchange_n(
		&link->broken, &none, why, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
	rf__link_set(link, RF__BROKEN);
	shutdown(link->sock, SHUT_RDWR);
	return -EPROTO;
}

int rf__bell_verify(int fd, struct rf__reason *reason)
{
	char path[sizeof("/proc/self/fd/-2147483648")], kind[32];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = readlink(path, kind, sizeof(kind));
	if (n < 0)
		return rf__fail_errno(reason, "cannot tell whether a doorbell is an eventfd");
	if (n != sizeof("anon_inode:[eventfd]") - 1 ||
		memcmp(kind, "anon_inode:[eventfd]", (size_t)n))
		return rf__fail(reason, -EPERM, "a doorbell is no eventfd");
	return 0;
}

/* Kicking */

/* A sandbox that was entered later may forbid it (threats C15): then by what the peer would do. */
static void rouse(struct rf__bell *bell)
{
	uint64_t nothing = 0;
	int r = rf__link_rouse(bell->link, __atomic_load_n(&bell->epoll, __ATOMIC_SEQ_CST));

	if (r >= 0)
		r = rf__link_rouse(
			bell->link, __atomic_load_n(&bell->link->epoll, __ATOMIC_SEQ_CST));
	if (r < 0 && bell->own >= 0 && write(bell->own, &nothing, sizeof(nothing)) < 0)
		return; /* nor this: the sleep ends when something else happens */
}

void rf__bell_wake(struct rf__bell *bell)
{
	uint64_t one = 1;

	if (bell && bell->link->quiet)
		rouse(bell);
	else if (bell && bell->wake >= 0 && write(bell->wake, &one, sizeof(one)) < 0)
		return; /* the counter is full: it is readable, which is all that matters */
}

void rf__link_stop(struct rf__link *link)
{
	int saved = errno;

	rf__link_set(link, RF__STOPPED);
	rf__bell_wake(link->bells[0]);
	rf__bell_wake(link->bells[1]);
	errno = saved;
}

static int kick_eventfd(const struct rf__bell *bell)
{
	uint64_t nothing = 0;

	return write(bell->peer, &nothing, sizeof(nothing)) < 0 ? -errno : 0;
}

static int kick_socket(const struct rf__bell *bell)
{
	unsigned char kick = bell->tx ? RF__WAKE_CONSUMER : RF__WAKE_PRODUCER;
	ssize_t n = send(bell->link->sock, &kick, sizeof(kick), MSG_DONTWAIT | MSG_NOSIGNAL);

	return n < 0 ? -errno : 0;
}

/* A full socket (EAGAIN) means that wake-ups are pending already. false: the kernel has no
 * memory for it, or a sandbox that was entered later forbids it (threats C15). */
static bool kick(const struct rf__bell *bell)
{
	int r;

	do {
		r = bell->link->doorbell == RF_DOORBELL_EVENTFD ? kick_eventfd(bell)
								: kick_socket(bell);
	} while (r == -EINTR);
	if (r == -EPIPE || r == -ECONNRESET) {
		rf__link_set(bell->link, RF__GONE);
		return true;
	}
	return r >= 0 || r == -EAGAIN;
}

/* Watching our bell from very many epolls makes each kick wake them all (threats D7). A kick
 * that took long may just have been preempted: the processor time of the next ones tells. */
static bool kick_timed(struct rf__bell *self, const struct rf__bell *bell)
{
	clockid_t clock = self->measured ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC;
	uint64_t before = rf__clock_read(clock), took;
	bool done = kick(bell);

	took = rf__clock_read(clock) - before;
	if (took > DEAR_NS) {
		self->dear_ns += self->measured ? took : 0;
		self->measured = MEASURED_KICKS;
	} else if (self->measured && --self->measured == 0) {
		self->dear_ns = 0;
	}
	if (self->dear_ns > DEAR_MOST_NS)
		rf__link_break(self->link, "the peer makes kicks take too long");
	return done;
}

void rf__bell_pay(struct rf__bell *self)
{
	struct rf__link *link = self->link;
	uint32_t owed = __atomic_exchange_n(&link->owed, 0, __ATOMIC_ACQ_REL);
	unsigned i;

	for (i = 0; i < 2; i++) {
		if (!(owed & 1u << i))
			continue;
		rf__count(&self->stats.kicks, 1);
		if (kick_timed(self, link->bells[i]))
			continue;
		rf__count(&self->stats.kicks_owed, 1);
		rf__link_shut(link);
		__atomic_fetch_or(&link->owed, 1u << i, __ATOMIC_ACQ_REL);
		/* a half that went to sleep meanwhile has no timer; one about to sleep sets its
		 * own */
		if (!__atomic_load_n(&self->asleep, __ATOMIC_RELAXED))
			rf__link_wake_sleepers(link, self);
	}
}

void rf__bell_check_alive(struct rf__bell *bell, uint64_t now_ns)
{
	uint64_t position = bell->tx ? bell->tx->head : bell->rx->at.tail;

	if ((int64_t)(now_ns - bell->alive_ns) < (int64_t)ALIVE_NS)
		return; /* signed: the coarse clock lags */
	bell->alive_ns = now_ns;
	if (position == bell->alive_at)
		rf__link_check_alive(bell->link);
	bell->alive_at = position;
}

/* Waiting */

/* What the peer may be waiting for goes out before this half waits, or both wait for ever: what was
 * committed, what was given back. -EAGAIN: not all of it could. */
static int flush(struct rf__bell *bell)
{
	int r = 0;

	if (bell->fds)
		r = rf__fds_publish(bell, bell->fds);
	else if (bell->tx)
		rf__ring_tx_publish(bell->tx);
	else
		rf__ring_rx_flush(bell->rx);
	rf__bell_kick_if_due(bell);
	return r;
}

int rf__bell_ask(struct rf__bell *bell, size_t len)
{
	int r = flush(bell);

	bell->asked_bytes = len;
	if (bell->tx)
		rf__ring_tx_ask(bell->tx, len);
	else
		rf__ring_rx_ask(bell->rx);
	return r;
}

int rf__bell_look(struct rf__bell *bell, size_t len)
{
	return bell->tx ? rf__ring_tx_look(bell->tx, len) : rf__ring_rx_look(bell->rx);
}

static uint64_t between(uint64_t least, uint64_t n, uint64_t most)
{
	if (n < least)
		return least;
	return n < most ? n : most;
}

/* How long to sleep at most behind an asymmetric fence. A peer that did not register, although it said
 * so, publishes what nobody is woken for (threats D12): the wait lasts at most as long again as it has
 * lasted, and an idle channel wakes once a second. Without our own barrier, which a sandbox may forbid
 * (threats C15), that can happen with an honest peer. */
static uint64_t fenced_until(struct rf__bell *bell, bool passed)
{
	uint64_t now = rf__now(), position = bell->tx ? bell->tx->head : bell->rx->at.tail;

	if (position != bell->still_at || !bell->still_ns) {
		bell->still_at = position;
		bell->still_ns = now;
	}
	if (!passed)
		return rf__later(now, UNFENCED_NS);
	return rf__later(now, between(FENCED_LEAST_NS, now - bell->still_ns, FENCED_MOST_NS));
}

int rf__bell_look_again(struct rf__bell *bell, bool passed, uint64_t *ret_until_ns)
{
	int r = rf__bell_look(bell, bell->asked_bytes);
	const char *breach = bell->tx ? bell->tx->breach : bell->rx->breach;

	if (breach)
		rf__link_break(bell->link, breach);
	rf__bell_kick_if_due(bell);
	*ret_until_ns = bell->link->asymmetric && !r ? fenced_until(bell, passed) : RF_FOREVER;
	if (rf__bell_owes(bell))
		*ret_until_ns = lesser(*ret_until_ns, rf__later(rf__now(), OWED_NS));
	return r;
}

int rf__bell_arm(struct rf__bell *bell, size_t len, uint64_t *ret_until_ns)
{
	int flushed = rf__bell_ask(bell, len), r;
	bool passed = bell->link->asymmetric && rf__fence_pass();

	r = rf__bell_look_again(bell, passed, ret_until_ns);
	if (flushed == -EAGAIN)
		*ret_until_ns = lesser(*ret_until_ns, rf__later(rf__now(), OWED_NS));
	return r;
}

static int make_epoll(struct rf__bell *bell)
{
	static const struct timespec at_once;
	int fd = epoll_create1(EPOLL_CLOEXEC), r;

	if (fd < 0)
		return -errno;
	r = rf__link_watch(bell->link, fd);
	if (r >= 0)
		r = rf__bell_watch(bell, fd);
	if (r >= 0)
		r = rf__link_harvest(bell->link, bell, fd, &at_once);
	if (r < 0)
		rf__close(&fd);
	/* pairs with rouse(): what it does not wake looks at the flags again */
	__atomic_store_n(&bell->epoll, fd, __ATOMIC_SEQ_CST);
	return r < 0 ? r : 0;
}

static int block(struct rf__bell *bell, struct rf__wait *wait, uint64_t until_ns)
{
	uint64_t now = rf__now(), left = until_ns > now ? until_ns - now : 0;
	struct timespec timeout = rf__timespec(left);
	int n;

	rf__count(&bell->stats.sleeps, 1);
	n = rf__link_harvest(
		bell->link, bell, bell->epoll, until_ns == RF_FOREVER ? NULL : &timeout);
	wait->slept = true;
	wait->woken = n > 0;
	if (wait->woken)
		rf__count(&bell->stats.wakeups, 1);
	return n < 0 ? n : 0;
}

static int sleep_once(
	struct rf__bell *bell, struct rf__wait *wait, size_t len, uint64_t deadline_ns)
{
	uint64_t until, poll;
	int r = 0;

	if (bell->epoll < 0)
		return make_epoll(bell); /* which may have taken in what this half waits for */
	if (wait->woken) {
		rf__count(&bell->stats.idle_wakeups, 1);
		if (rf__storm_count(&bell->storm, bell->link, bell, bell->epoll))
			rf__count(&bell->stats.storms, 1);
	}
	wait->woken = wait->timed = false;
	poll = rf__storm_until(&bell->storm, bell->link, bell, bell->epoll);
	/* pairs with rf__link_wake_sleepers() */
	__atomic_store_n(&bell->asleep, 1, __ATOMIC_SEQ_CST);
	wait->asked = true;
	if (!rf__bell_arm(bell, len, &until)) {
		until = lesser(until, poll);
		r = block(bell, wait, lesser(deadline_ns, until));
		wait->timed = !wait->woken && until < deadline_ns && rf__now() >= until;
	}
	__atomic_store_n(&bell->asleep, 0, __ATOMIC_RELAXED);
	if (bell->tx)
		rf__ring_tx_disarm(bell->tx);
	else
		rf__ring_rx_disarm(bell->rx);
	return r;
}

/* A publisher has no ring of its own. */
static bool hint(const struct rf__bell *bell)
{
	if (bell->tx && !bell->tx->peer)
		return false;
	return bell->tx ? rf__ring_tx_hint(bell->tx) : rf__ring_rx_hint(bell->rx);
}

/* Who takes each message as it comes makes the lines between the two go back and forth with each one. In
 * a stream it is better to leave the sender alone for a while; where a message is answered before the
 * next one comes, that only costs time. So it is tried now and then, and goes on as long as it finds
 * several. */
static bool pause_first(struct rf__bell *bell, struct rf__wait *wait)
{
	unsigned i;

	if (wait->looks++ || !bell->rx)
		return false;
	if (!bell->backs_off && ++bell->quick <= bell->patience)
		return false;
	wait->paused = true;
	for (i = 0; i < PAUSES; i++)
		pause_processor();
	return true;
}

static void learn_pauses(struct rf__bell *bell, const struct rf__wait *wait, bool several)
{
	if (!wait->paused)
		return;
	bell->quick = 0;
	bell->backs_off = several && !wait->slept;
	if (bell->backs_off)
		bell->patience = PATIENCE_LEAST;
	else if (bell->patience < PATIENCE_MOST)
		bell->patience = bell->patience ? 2 * bell->patience : PATIENCE_LEAST;
}

static void spin(const struct rf__bell *bell)
{
	unsigned i;

	for (i = 0; i < HINTS && !hint(bell); i++)
		pause_processor();
}

/* Whoever loses its processor while it spins had better leave it to those who need it. */
static bool was_preempted(struct rf__wait *wait, uint64_t now)
{
	wait->preempted |= wait->looked_ns && now - wait->looked_ns > PREEMPTED_NS;
	wait->looked_ns = now;
	return wait->preempted;
}

static bool may_spin(const struct rf__bell *bell, struct rf__wait *wait, uint64_t now)
{
	if (bell->link->wait == RF_WAIT_SPIN)
		return true;
	if (bell->link->wait == RF_WAIT_SLEEP || wait->slept || was_preempted(wait, now))
		return false;
	return now - wait->begun_ns <
	       (bell->steady >= STEADY ? bell->link->spin_ns : bell->spin_ns);
}

bool rf__bell_spin(struct rf__bell *bell, struct rf__wait *wait, uint64_t now_ns)
{
	if (pause_first(bell, wait))
		return true;
	if (!may_spin(bell, wait, now_ns))
		return false;
	spin(bell);
	return true;
}

int rf__bell_wait(struct rf__bell *bell, struct rf__wait *wait, size_t len, uint64_t deadline_ns)
{
	uint32_t flags = rf__link_flags(bell->link);
	uint64_t now = deadline_ns ? rf__now() : rf__now_coarse();

	if (flags & (RF__BROKEN | RF__STOPPED))
		return flags & RF__BROKEN ? -EPROTO : -EPIPE;
	if (rf__bell_owes(bell))
		rf__bell_pay(bell);
	rf__bell_check_alive(bell, now);
	if (rf__link_flags(bell->link) & RF__GONE)
		return 0;
	if (now >= deadline_ns)
		return deadline_ns ? -ETIMEDOUT : -EAGAIN;
	if (!wait->begun_ns) {
		wait->begun_ns = now;
		flush(bell);
	}
	return rf__bell_spin(bell, wait, now) ? 0 : sleep_once(bell, wait, len, deadline_ns);
}

/* Where the sender waits for the processor that its receiver spins on, each long spin is in vain: the more
 * there were in a row, the more waits pass before the next one. */
static void doubt_rhythm(struct rf__bell *bell, const struct rf__wait *wait)
{
	if (bell->steady < STEADY)
		return;
	if (wait->slept)
		bell->doubt = (unsigned)between(DOUBT_LEAST, 2 * bell->doubt, PATIENCE_MOST);
	else if (!wait->preempted)
		bell->doubt = 0;
	bell->wary = bell->doubt;
}

/* Traffic that is slow, but steady enough to stay awake for. A long spin in vain is dear where others want
 * the processor, and so is one that lost it. */
static void learn_rhythm(struct rf__bell *bell, const struct rf__wait *wait, uint64_t took)
{
	uint64_t most = bell->link->spin_ns;

	doubt_rhythm(bell, wait);
	if (wait->preempted || took < SPIN_SHORT_NS || took > most + most / 4)
		bell->steady = 0;
	else if (bell->steady >= STEADY && wait->slept)
		bell->steady /= 2;
	else if (bell->wary)
		bell->wary--;
	else if (bell->steady < STEADY_MOST)
		bell->steady++;
}

void rf__bell_learn(struct rf__bell *bell, const struct rf__wait *wait, bool several)
{
	uint64_t took, most = lesser(SPIN_SHORT_NS, bell->link->spin_ns);

	learn_pauses(bell, wait, several);
	if (wait->looks < SHORT_WAIT && !wait->asked)
		return;
	took = rf__now() - wait->begun_ns;
	__atomic_fetch_add(&bell->link->progress, 1, __ATOMIC_RELAXED);
	bell->storm.poll_ns = 0;
	if (wait->timed)
		rf__count(&bell->stats.rescued, 1);
	learn_rhythm(bell, wait, took);
	if (took >= most)
		bell->spin_ns /= 2;
	else if (bell->spin_ns < 2 * took)
		bell->spin_ns = 2 * took;
	bell->spin_ns = between(SPIN_LEAST_NS, bell->spin_ns, most);
}
