/* SPDX-License-Identifier: MIT */
/* A publisher and its subscribers: who is let in, how they join and leave, whose time is up, and when
 * the memory of the slots is renewed. */
#ifndef RF_MEMBERSHIP_H
#define RF_MEMBERSHIP_H

#include "publisher.h"
#include "tx.h"
#include <pthread.h>
#include <unistd.h>

/* Memory of former generations that somebody may still have; no renewal beyond that. */
#define RF__KEPT_MOST 4

/* Of memory of which nobody can tell whether it is free. */
#define RF__KEPT_FOR_EVER (-2)

/* A subscriber with RF_LAG_BLOCK earns that share of the time that passes, on top of its budget. */
#define RF__EARNED_SHARE 100

/* What a user's former subscribers took of their budgets and have not earned since. */
struct rf__debt {
	uid_t uid;
	uint64_t ns, at_ns; /* so much, at that time */
};

/* Users who may block: besides those that are listed, our own and root. */
#define RF__BLOCK_UIDS_MORE 2

/* A subscriber: a channel with a ring of its own. */
struct rf__member {
	struct rf__member *next;
	struct rf_channel *channel;
	struct rf_subscriber figures; /* number, uid, pid, lag; blocked_ns */
	uint64_t since_ns;
	uint64_t block_ns;         /* its budget, but for what it has earned since */
	uint64_t owed_ns;          /* of it, what others of its user had taken before */
	uint64_t blocked_from_ns;  /* it is in the way since then; 0: it is not */
	uint64_t blocked_until_ns; /* and was at least until then */
	uint64_t stalled_ns;       /* its stall clock runs since then; 0: it does not */
	uint64_t stalled_at;       /* what it had given back then */
	uint64_t missed;           /* what it had missed when that was last looked at */
	struct rf__rate rate;      /* of descriptors that it takes */
	bool foreign;              /* neither our user nor root */
};

struct rf_publisher {
	struct rf_tx tx;
	struct rf__slots slots;
	void *slots_memory;
	struct rf__link link; /* of no socket: how tx waits, and that it was stopped */
	struct rf__generation generation;
	struct rf_options options;
	uid_t *block_uids; /* what options.block_uids points to */
	struct rf__debt *debts;
	size_t n_debts;
	struct rf_listener *listener;
	int epoll; /* what a caller watches: the listener, the subscribers, stop */
	struct rf__member *members;
	struct rf_channel *granted; /* channels for which slots are set aside */
	uint64_t looked_ns;         /* when membership was last seen to, by the coarse clock */
	bool complete;              /* wait_for subscribers have been there */
	struct rf__member *blocker; /* is in the way of a reservation; NULL: nobody is */
	bool waits;                 /* since the last arm the caller waits for a reservation */

	/* Memory: regions[] by generation & 1. */
	struct rf__region regions[2];
	struct rf__region fresh; /* being made: allocated a step at a time */
	int kept[RF__KEPT_MOST]; /* private descriptors of former generations; -1: none */
	bool renew;              /* somebody has gone who is not to see more */
	uint64_t renew_ns;       /* when the next step of that is to be taken */
	uint64_t renewing_ns;    /* the time its steps have taken so far */
	uint64_t retire_ns;      /* when to look for a place in kept again */

	pthread_mutex_t lock; /* members and figures, for threads that only read */
	struct rf_publisher_stats figures;
	struct rf__reason reason;
};

/* Sees to everything that is due: lets subscribers in, takes in what they say, ends those that have
 * gone, broke the protocol, or whose time is up; renews the memory. Never waits. events: also asks
 * the kernel. */
void rf__members_process(struct rf_publisher *publisher, uint64_t now_ns);

/* Asks the kernel of each whether it is still there, and lets those go that are not. */
void rf__members_look_after(struct rf_publisher *publisher);

/* After a publish: kicks, and clocks of those that missed something. */
void rf__members_published(struct rf_publisher *publisher, uint64_t now_ns);

/* What rf_publisher_subscribers() tells is what is known now. */
void rf__members_note(struct rf_publisher *publisher);

/* That consumer is in the way of a reservation, now. */
void rf__members_blocked(
	struct rf_publisher *publisher, struct rf__slot_consumer *consumer, uint64_t now_ns);

/* Nobody is any more, since a reservation succeeded. */
void rf__members_unblocked(struct rf_publisher *publisher);

/* Before a sleep: asks for kicks where they are wanted, with RF_SPACE for a reservation to succeed. 1:
 * there is work now; 0: sleep, until *until_ns at the latest, which is what it was or sooner. */
int rf__members_arm(struct rf_publisher *publisher, unsigned events, uint64_t *until_ns);

/* From slot to slot, and what sends what belongs to a slot: see slots.h. */
uint64_t rf__members_stride(const struct rf_publisher *publisher);
rf__slots_send rf__members_send;

/* Makes memory for slots in fresh, a step at a time. 1: there is more to do; 0: it is done, mapped and
 * sealed; negative errno. */
int rf__members_make_slots(struct rf_publisher *publisher, struct rf__reason *reason);
void rf__members_free_slots(struct rf_publisher *publisher);

/* The memory before the present one, once no slot of it is out: unmaps it, and keeps a private descriptor
 * that tells when nobody else has it any more; as long as there is a place for that. */
void rf__members_retire(struct rf_publisher *publisher, uint64_t now_ns);

/* Somebody has gone who is not to see more: new memory, some steps, one at each call; not before the
 * former one was retired, nor while something is open or committed. */
void rf__members_renew(struct rf_publisher *publisher, uint64_t now_ns);

/* Could the memory be renewed once more, or do those who have gone keep too much of it? */
bool rf__members_can_renew(struct rf_publisher *publisher);

/* For how long a user's subscribers may block, each; RF_FOREVER: no limit. */
uint64_t rf__members_budget(const struct rf_publisher *publisher, uid_t uid);

/* Coming again does not renew a budget: what one that leaves has not earned is the next one's debt. take:
 * how much that is, and it is nobody's then. */
void rf__members_owe(struct rf_publisher *publisher, uid_t uid, uint64_t ns);
uint64_t rf__members_take_debt(struct rf_publisher *publisher, uid_t uid);

/* All of them leave. */
void rf__members_close(struct rf_publisher *publisher);

/* Our own user, and root, could stop us anyway. */
static inline bool rf__is_trusted(uid_t uid)
{
	return uid == geteuid() || uid == 0;
}

static inline struct rf__member *rf__member_of(const struct rf__slot_consumer *consumer)
{
	return consumer->context;
}

#endif
