/* SPDX-License-Identifier: MIT */
/* A channel: a connected socket with up to one ring each way. */
#ifndef RINGFORT_CHANNEL_H
#define RINGFORT_CHANNEL_H

#include <ringfort/options.h>
#include <ringfort/rx.h>
#include <ringfort/tx.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A channel. There is no thread behind it: it does its work inside the calls below and those of
 * its halves.
 *
 * Who may call what at the same time (X: the caller serialises, -: free):
 *                      tx calls  rx calls  process  stop  peer, stats, reason  close
 *   tx calls              X         -         X       -           -              X
 *   rx calls              -         X         X       -           -              X
 *   fd, process, arm      X         X         X       -           -              X
 *   stop                  -         -         -       -           -              X
 *   peer, stats, reason   -         -         -       -           -              X */
struct rf_channel;

/* Connects to a listener at address: a path, "unix:PATH", "@NAME" for an abstract name, or "fd:N"
 * for an inherited connected socket. While nobody listens there yet it tries again until
 * deadline_ns; 0 tries once, and the handshake with a listener that is there then has 5 seconds.
 * The descriptor of "fd:N" is taken over on success only. options may be NULL. The channel is
 * released with rf_channel_close().
 * 0; -ETIMEDOUT; -ENOENT, -ECONNREFUSED, -EAGAIN: nobody listens, or its queue is full (deadline
 * 0);
 * -EPERM: refused by policy, ours or theirs, or wrong seals; -EBADMSG: not a ringfort handshake;
 * -ENOBUFS: quota; -ENOTSUP: no common ground; -ECONNABORTED: refused for another reason;
 * -EPIPE: the listener hung up; -EINVAL, -ENAMETOOLONG: address or options; other errnos of the
 * kernel. rf_reason() tells more. */
RF_EXPORT int rf_connect(const char *address, const struct rf_options *options,
	uint64_t deadline_ns, struct rf_channel **ret_channel);

/* The halves; NULL where the channel has no such direction. They live as long as the channel. */
RF_EXPORT struct rf_tx *rf_channel_tx(struct rf_channel *channel);
RF_EXPORT struct rf_rx *rf_channel_rx(struct rf_channel *channel);

/* What rf_channel_arm() is to watch for. */
enum rf_events { RF_DATA = 1, RF_SPACE = 2 };

/* A descriptor for the caller's own event loop: readable (POLLIN, level-triggered) when
 * rf_channel_process() should be called. It belongs to the channel; made at the first call. The
 * descriptor; -EBADF; -EINVAL; errnos of epoll_create1(2) and epoll_ctl(2). */
RF_EXPORT int rf_channel_fd(struct rf_channel *channel);

/* Takes in what made the descriptor readable; then try the halves with deadline 0. Never waits.
 * 0; -EPIPE: the peer is gone (the receiving half may still have records), or the
 * channel was stopped; -EPROTO; -EBADF; -EINVAL. */
RF_EXPORT int rf_channel_process(struct rf_channel *channel);

/* Before the caller sleeps on the descriptor: asks the peer for a kick on data (RF_DATA), on
 * room for a record of len bytes (RF_SPACE), or both.
 * 1: there is work now, do not sleep (a gone peer is work, too); 0: sleep, and call
 * rf_channel_process() at *ret_until_ns at the latest (RF_FOREVER: no need); -EMSGSIZE: len
 * never fits; -EBADF; -EINVAL: also when the channel has no such half. */
RF_EXPORT int rf_channel_arm(
	struct rf_channel *channel, unsigned events, size_t len, uint64_t *ret_until_ns);

/* Ends all waits on this channel, now and later, with -EPIPE: what is in the ring can still be
 * taken, what is committed can still be published and ended. Any thread, and safe in a signal
 * handler. Leaves errno alone. */
RF_EXPORT void rf_channel_stop(struct rf_channel *channel);

/* Who the peer is, as the kernel told it. */
struct rf_peer {
	size_t size; /* set by the caller to sizeof(struct rf_peer) */
	uid_t uid;   /* effective ids when it connected or began to listen */
	gid_t gid;
	pid_t pid;      /* 0 when not in our pid namespace; says nothing once it has exited */
	uint32_t flags; /* of enum rf_peer_flags */
};

/* CREATOR: the ids are those of whoever made the inherited socket; the peer may be somebody else.
 * PIDFD: its exit is noticed even if somebody else keeps its socket open.
 * SAME: verified to have our uid, user namespace and pid namespace. */
enum rf_peer_flags { RF_PEER_CREATOR = 1, RF_PEER_PIDFD = 2, RF_PEER_SAME = 4 };

/* Fills *peer, as far as peer->size reaches. 0; -EINVAL. */
RF_EXPORT int rf_channel_peer(struct rf_channel *channel, struct rf_peer *peer);

/* What one half has done so far. Monotonic; each is exact, together they are no snapshot. */
struct rf_half_stats {
	uint64_t ring_bytes;   /* data size of its ring; 0: there is no such half */
	uint64_t records;      /* committed, or received */
	uint64_t bytes;        /* their payload */
	uint64_t bytes_copied; /* of it, copied by the library: rf_tx_send(), rf_rx_copy() */
	uint64_t kicks;        /* system calls made to wake the peer */
	uint64_t kicks_owed;   /* of them, failed for lack of memory and made again later */
	uint64_t sleeps;       /* times it blocked in the kernel */
	uint64_t wakeups;      /* times it came back from that before its deadline */
	uint64_t idle_wakeups; /* of them, with neither data, room nor news of the peer */
	/* Times it stopped listening to kicks because they brought nothing. Those of the caller's
	 * own event loop stand with the receiving half, where there is one. */
	uint64_t storms;
	uint64_t rescued; /* times a timer found what no kick had told; 0 with an honest peer */
	uint64_t missed;  /* messages of a publisher that were not delivered */
	uint64_t fds;     /* descriptors sent or received beside the data */
	uint64_t slots;   /* what was agreed on: how many there are; 0: no slots */
	uint64_t slot_bytes;
	uint64_t hold; /* how many the receiver may have at a time */
	uint64_t held; /* how many it has now, as far as this end knows */
	uint64_t reserved[4];
};

struct rf_stats {
	size_t size;       /* set by the caller to sizeof(struct rf_stats) */
	uint32_t doorbell; /* RF_DOORBELL_EVENTFD or RF_DOORBELL_SOCKET */
	uint32_t fence;    /* 1: both ends order their accesses; 2: as RF_OPTION_FENCE has it */
	struct rf_half_stats tx, rx;
};

/* Fills *stats, as far as stats->size reaches. 0; -EINVAL. */
RF_EXPORT int rf_channel_stats(struct rf_channel *channel, struct rf_stats *stats);

/* Why the channel does not go on, as a sentence without a full stop: a breach, that the peer is
 * gone (also after an orderly end), that it was stopped; "" while it does. Lives as long as the
 * channel. */
RF_EXPORT const char *rf_channel_reason(struct rf_channel *channel);

/* Closes the channel; NULL is fine. The peer's receiver gets what was published, then -EPIPE
 * unless the stream was ended. No other call on the channel or its halves may be running.
 * Borrowed records stay readable: rf_rx_release() and rf_tx_cancel() stay valid for what is
 * still out, and the last one frees the memory. In a child after fork: closes the child's
 * descriptors and leaves the channel of the parent alone. */
RF_EXPORT void rf_channel_close(struct rf_channel *channel);

#ifdef __cplusplus
}
#endif

#endif
