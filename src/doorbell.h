/* SPDX-License-Identifier: MIT */
/* Doorbells: how a half sleeps, and how its peer wakes it. The one place that waits, and the one
 * that kicks.
 *
 * A half that finds nothing spins for a while, then arms (stores its want), looks at the ring
 * again, and blocks. The awake side kicks only when it crosses a want. Two kinds of kick:
 *
 * eventfd: one per half, shared with the peer, that stays readable for ever: it starts at 1 and
 * nobody reads it. A kick is write(2) of 0, which blocks nobody whatever the counter is; it is
 * watched edge-triggered.
 *
 * socket: a message of one byte on the control socket that names the half to wake; nothing a peer
 * does makes sending it block. Whoever reads any wakes both halves, through eventfds of our own: a
 * full socket may have swallowed the kick of either, and two threads that watch one socket take
 * each other's.
 *
 * Where nothing is sent over the socket after the handshake, it is always writable: to wake a half of our
 * own its epoll is asked to report that, once, and no eventfd is needed for it. */
#ifndef RF_DOORBELL_H
#define RF_DOORBELL_H

#include "ring.h"
#include "util/reason.h"
#include <pthread.h>
#include <ringfort/channel.h>

/* Wake-ups for nothing in one epoll. Past a budget it does not listen to kicks for a while, and the
 * ring is looked at by timer, less and less often (threats D6). */
struct rf__storm {
	uint64_t since_ns;      /* when counting began */
	unsigned idle;          /* how many since */
	uint32_t progress;      /* what the link's was then */
	uint64_t deaf_until_ns; /* 0: it listens */
	uint64_t poll_ns;       /* the last pause between looks */
};

/* What a kick on the socket says. */
enum rf__kick { RF__WAKE_CONSUMER = 'c', RF__WAKE_PRODUCER = 'p' };

/* What both halves of a channel share. Descriptors do not change while halves are in use; flags
 * and breach are atomic. */
struct rf__link {
	int sock;
	bool quiet;              /* nothing is sent over sock: halves have no wake */
	int epoll;               /* atomic; the caller's pollable descriptor; -1 until asked for */
	bool suspect;            /* descriptors may be queued on sock: look before reading */
	pthread_mutex_t reading; /* suspect: a thread looks and reads, others wait for it */
	int pidfd;               /* -1: the hang-up of sock alone tells */
	uint32_t doorbell;       /* enum rf_doorbell, never AUTO */
	bool asymmetric;         /* the fence, as agreed: see ring.h */
	uint32_t wait;           /* enum rf_wait */
	uint64_t spin_ns;        /* the longest spin */
	uint32_t flags;          /* of enum rf__link_flags; only ever set */
	const char *broken;      /* why BROKEN; static */
	uint32_t owed;           /* atomic; bit i: a kick of bells[i] is due, or failed */
	struct rf__bell *bells[2];
	uint32_t progress;      /* atomic; how many waits of either half found something */
	struct rf__fds_rx *fds; /* descriptors beside the data that come; NULL: none are taken */
	uint32_t fds_sent;      /* messages with descriptors sent so far */
	struct rf__storm storm; /* of the caller's own event loop */
};

enum rf__link_flags {
	RF__GONE = 1,          /* the peer hung up or exited */
	RF__BROKEN = 2,        /* it broke the protocol */
	RF__STOPPED = 4,       /* rf_channel_stop() */
	RF__CUT_FOR_STALL = 8, /* the publisher cut us off, as enum rf__closed has it */
	RF__CUT_FOR_WAITS = 16
};

/* One half's side of it: its ring is tx or rx, the other is NULL. Used by the half's thread, but
 * for wake and asleep. */
struct rf__bell {
	struct rf__link *link;
	struct rf__ring_tx *tx;
	struct rf__ring_rx *rx;
	struct rf__fds_tx *fds; /* what belongs to records that are not published; NULL: nothing */
	int own;                /* eventfd that the peer kicks; -1 with sockets */
	int peer;               /* eventfd to kick; -1 with sockets */
	int wake; /* eventfd of our own: stop, and kicks that the other half's thread has read; or -1 */
	int epoll;         /* atomic; what this half blocks in; -1 until it first does */
	uint32_t asleep;   /* atomic: between arming and coming back */
	uint64_t spin_ns;  /* how long to spin; follows what the last waits were like */
	unsigned steady;   /* of them, those that made up a slow rhythm: then it spins longer */
	unsigned wary;     /* before more are counted, so many are not, */
	unsigned doubt;    /* and so many were not when last a long spin was in vain */
	bool backs_off;    /* a wait begins with a pause, as the last ones found several */
	uint32_t quick;    /* waits since one began so, */
	uint32_t patience; /* and how many there are to be until the next one tries that */
	uint32_t measured; /* so many kicks are still to be measured closely */
	uint64_t dear_ns;  /* processor time of those of them that took too long */
	struct rf__storm storm; /* of this half's epoll */
	uint64_t alive_ns;      /* when the peer was last known to be there, */
	uint64_t alive_at;      /* and the position it had got to */
	uint64_t still_ns;      /* since when the peer makes no progress, as far as arming saw, */
	uint64_t still_at;      /* and the position it had got to */
	uint64_t timer_ns;      /* the caller's event loop looks again then; or RF_FOREVER */
	size_t asked_bytes;     /* what it was armed for */
	struct rf_half_stats stats; /* written by the half's thread, read by any: rf__count() */
};

/* One wait, which may take several looks at the ring; begins as all zero. */
struct rf__wait {
	uint64_t begun_ns;
	unsigned looks; /* while it spun */
	bool paused;    /* it began with a pause */
	bool preempted; /* and lost its processor while it spun */
	uint64_t looked_ns;
	bool asked; /* to be kicked */
	bool slept;
	bool woken; /* and not by the deadline; idle until something is found */
	bool timed; /* the last sleep was ended by a timer that is not the deadline */
};

void rf__link_init(struct rf__link *link);
void rf__bell_init(struct rf__bell *bell, struct rf__link *link, struct rf__ring_tx *tx,
	struct rf__ring_rx *rx);

/* An eventfd to be shared: counter 1. A private one: counter 0. The descriptor or a negative
 * errno. */
int rf__bell_eventfd(unsigned counter);

/* Is a descriptor from a peer an eventfd? Asked before it is watched: others may hang whoever
 * polls them (threats M8). 0; -EPERM; errnos of readlink(2), where there is no /proc. */
int rf__bell_verify(int fd, struct rf__reason *reason);

/* Closes epoll and wake, own and peer. */
void rf__bell_close(struct rf__bell *bell);

/* Waits for the ring of the half to change: for len bytes of room, or for a record. Called after
 * a look that found nothing. 0: look again; -EAGAIN: nothing, and deadline_ns is 0; -ETIMEDOUT;
 * -EPIPE: stopped; -EPROTO; errnos of epoll_create1(2). That the peer is gone is to be seen in
 * the flags. */
int rf__bell_wait(struct rf__bell *bell, struct rf__wait *wait, size_t len, uint64_t deadline_ns);

/* Pauses or spins for a while, if the half may still do so in this wait; else false. */
bool rf__bell_spin(struct rf__bell *bell, struct rf__wait *wait, uint64_t now_ns);

/* A wait that began is over with something found, and with several messages: the next one spins
 * accordingly. */
void rf__bell_learn(struct rf__bell *bell, const struct rf__wait *wait, bool several);

/* Asks for a kick and looks again. 1: there is something; 0: sleep, until *ret_until_ns at the
 * latest. Also kicks what arming gave back. */
int rf__bell_arm(struct rf__bell *bell, size_t len, uint64_t *ret_until_ns);

/* The same in two steps, for whoever arms many halves: asks all of them; has every other thread pass a
 * barrier, once, where any fence is asymmetric (rf__fence_pass(): passed); looks at all of them again. It
 * pairs with rf__move() and rf__ring_tx_heed(). ask: 0; -EAGAIN: not all that was committed could go out. */
int rf__bell_ask(struct rf__bell *bell, size_t len);
int rf__bell_look_again(struct rf__bell *bell, bool passed, uint64_t *ret_until_ns);

/* Is there something? */
int rf__bell_look(struct rf__bell *bell, size_t len);

/* Makes the kicks that are owed, of either half: the other may be asleep, waiting for what the kick
 * would bring. What fails for lack of memory stays owed. The figures are self's. */
void rf__bell_pay(struct rf__bell *self);

static inline bool rf__bell_owes(const struct rf__bell *bell)
{
	return __atomic_load_n(&bell->link->owed, __ATOMIC_ACQUIRE);
}

/* Kicks if the ring says so. Called after everything that moves a position. */
static inline void rf__bell_kick_if_due(struct rf__bell *bell)
{
	bool *due = bell->tx ? &bell->tx->at.kick_due : &bell->rx->kick_due;

	if (*due) {
		*due = false;
		__atomic_fetch_or(&bell->link->owed, bell->tx ? 1u : 2u, __ATOMIC_ACQ_REL);
	}
	if (rf__bell_owes(bell))
		rf__bell_pay(bell);
}

/* Where nothing else would tell: a peer that made no progress for a tenth of a second is looked
 * after with one system call. */
void rf__bell_check_alive(struct rf__bell *bell, uint64_t now_ns);

/* Reads from the control socket what is there, in bounds: kicks, and descriptors that were agreed on;
 * the one place that does. link->fds, where there is one, is locked. How many messages; -EPROTO: one
 * was something else, and the link is broken; errnos of recv(2). Sleepers are the caller's to wake. */
int rf__link_read(struct rf__link *link);

/* Is the peer gone? One system call; the flags know it then. */
bool rf__link_check_alive(struct rf__link *link);

/* Adds the descriptors of a link, and those of a half, to an epoll. 0 or a negative errno. */
int rf__link_watch(struct rf__link *link, int epoll);
int rf__bell_watch(struct rf__bell *bell, int epoll);

/* Waits for what an epoll reports (NULL: without end) and takes it in; wakes halves that sleep,
 * except self. How many events there were; negative errno. */
int rf__link_harvest(struct rf__link *link, const struct rf__bell *self, int epoll,
	const struct timespec *timeout);

/* Whoever made an epoll looks here afterwards: pairs with rf__bell_wake(), which finds that, or is seen. */
static inline uint32_t rf__link_flags(const struct rf__link *link)
{
	return __atomic_load_n(&link->flags, __ATOMIC_SEQ_CST);
}

/* The link is quiet: makes an epoll of it report something, once; -1 is fine. 0; errnos of epoll_ctl(2). */
int rf__link_rouse(const struct rf__link *link, int epoll);

/* No call of either half is inlined from now on. Any thread. */
void rf__link_shut(struct rf__link *link);

void rf__link_set(struct rf__link *link, uint32_t flag);

/* The peer broke the protocol: says why, once, and hangs up, which wakes whoever waits. -EPROTO. */
int rf__link_break(struct rf__link *link, const char *why);

/* Counts a wake-up for nothing in an epoll, of one half or (self NULL) of the caller's event loop.
 * true: it was one too many. */
bool rf__storm_count(
	struct rf__storm *storm, struct rf__link *link, const struct rf__bell *self, int epoll);

/* When to look at the ring although nothing was heard; RF_FOREVER while kicks are listened to. */
uint64_t rf__storm_until(
	struct rf__storm *storm, struct rf__link *link, const struct rf__bell *self, int epoll);

/* Makes halves that sleep look again, all but self. */
void rf__link_wake_sleepers(struct rf__link *link, const struct rf__bell *self);

/* Makes a half that sleeps look again. Async-signal-safe. */
void rf__bell_wake(struct rf__bell *bell);

/* Ends all waits. Async-signal-safe. */
void rf__link_stop(struct rf__link *link);

#endif
