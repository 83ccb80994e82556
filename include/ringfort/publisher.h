/* SPDX-License-Identifier: MIT */
/* A publisher: one set of slots, any number of subscribers. */
#ifndef RINGFORT_PUBLISHER_H
#define RINGFORT_PUBLISHER_H

#include <ringfort/listener.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A publisher. Its subscribers come with rf_connect() and receive with the calls of rx.h. They map
 * the same slots read-only and have a ring each, so none can harm the data or another; what a
 * subscriber holds is never taken from it while it is there.
 *
 * There is no thread behind it: subscribers come and go inside rf_tx_reserve() and rf_tx_publish()
 * (when 10 ms have passed since the last time, and whenever they wait) and rf_publisher_process().
 * One thread at a time may use the publisher and its sending half (the caller serialises);
 * rf_publisher_stop(), _stats() and _subscribers() may be called by any. */
struct rf_publisher;

/* Publishes at address, which is what rf_listen() takes, but for a connected "fd:N". options may be
 * NULL; kind is RF_SLOTS or 0. The memory of the slots is allocated here. Released with
 * rf_publisher_close(). Errors as rf_listen(), and those of allocating the slots: -EFBIG, -ENOMEM,
 * -ENOSPC, errnos of memfd_create(2) and mmap(2). rf_reason() tells more. */
RF_EXPORT int rf_publish(
	const char *address, const struct rf_options *options, struct rf_publisher **ret_publisher);

/* The sending half; never NULL. It lives as long as the publisher. What rf_tx_publish() publishes
 * goes to every subscriber that has room. That one of them is gone, or broke the protocol, ends it
 * and nothing else: the errors of a sending half that are about a peer do not occur here, but for
 * -EPIPE, which says that the publisher was stopped. */
RF_EXPORT struct rf_tx *rf_publisher_tx(struct rf_publisher *publisher);

/* A descriptor for the caller's own event loop: readable (POLLIN, level-triggered) when
 * rf_publisher_process() should be called. It belongs to the publisher. The descriptor; -EBADF;
 * -EINVAL. */
RF_EXPORT int rf_publisher_fd(struct rf_publisher *publisher);

/* Takes in what made the descriptor readable: lets subscribers in and out. Never waits. 0; -EPIPE:
 * stopped; -EBADF; -EINVAL. */
RF_EXPORT int rf_publisher_process(struct rf_publisher *publisher);

/* Before the caller sleeps on the descriptor. events: RF_SPACE: for rf_tx_reserve() to succeed; 0:
 * for subscribers only. 1: there is work now, do not sleep; 0: sleep, and call
 * rf_publisher_process() at *ret_until_ns at the latest (RF_FOREVER: no need). -EBADF; -EINVAL. */
RF_EXPORT int rf_publisher_arm(
	struct rf_publisher *publisher, unsigned events, uint64_t *ret_until_ns);

/* Makes waits end with -EPIPE, now and later: what is committed can still be published and ended.
 * Any thread, and safe in a signal handler. Leaves errno alone. */
RF_EXPORT void rf_publisher_stop(struct rf_publisher *publisher);

struct rf_publisher_stats {
	size_t size;           /* set by the caller to sizeof(struct rf_publisher_stats) */
	uint64_t subscribers;  /* now */
	uint64_t joined;       /* ever */
	uint64_t left;         /* of them, by themselves: closed, or died */
	uint64_t cut;          /* of them, cut off for a stall, or a budget that was used up */
	uint64_t broken;       /* of them, cut off for a breach of the protocol */
	uint64_t refused;      /* turned away: by policy, quota, or for lack of slots */
	uint64_t failed;       /* handshakes that broke, or came too late */
	uint64_t messages;     /* published */
	uint64_t bytes;        /* their payload */
	uint64_t bytes_copied; /* of it, copied by the library: rf_tx_send() */
	uint64_t blocked_ns;   /* time for which a subscriber was waited for */
	uint64_t sleeps;       /* times rf_tx_reserve() blocked in the kernel */
	uint64_t slots, slot_bytes;
	uint64_t granted; /* slots that subscribers may hold now, all together */
	uint64_t renewed; /* times the memory of the slots was renewed */
	uint64_t reserved[4];
};

/* Fills *stats, as far as stats->size reaches. 0; -EBADF; -EINVAL. */
RF_EXPORT int rf_publisher_stats(struct rf_publisher *publisher, struct rf_publisher_stats *stats);

/* One subscriber. */
struct rf_subscriber {
	uint64_t number; /* counts up from 1 in the order in which they came */
	uid_t uid;
	pid_t pid;           /* 0 when not in our pid namespace */
	uint32_t lag;        /* enum rf_lag */
	uint32_t hold, held; /* slots it may have, and has, as far as is known */
	uint32_t reserved;
	uint64_t lent;       /* messages it was lent */
	uint64_t missed;     /* messages it was not */
	uint64_t blocked_ns; /* for how long it was waited for */
	uint64_t kicks;
};

/* Describes up to max subscribers, oldest first. How many there are, which may be more; -EBADF;
 * -EINVAL. */
RF_EXPORT int rf_publisher_subscribers(
	struct rf_publisher *publisher, struct rf_subscriber *ret_subscribers, unsigned max);

/* Why the last client was turned away, or the last subscriber went or was cut off, as a sentence
 * without a full stop; "" when none was. Lives until the publisher is used again. */
RF_EXPORT const char *rf_publisher_reason(struct rf_publisher *publisher);

/* Closes the publisher; NULL is fine. Subscribers get what was published, then -EPIPE unless the
 * stream was ended. Unlinks the socket file if it is still its own. No other call may be running;
 * reservations that are open are void. In a child after fork: closes the child's descriptors and
 * leaves the subscribers of the parent alone. */
RF_EXPORT void rf_publisher_close(struct rf_publisher *publisher);

#ifdef __cplusplus
}
#endif

#endif
