/* SPDX-License-Identifier: MIT */
/* Descriptors beside the data: those that wait for their message to be sent, and those that have come
 * and wait to be taken.
 *
 * They travel over the control socket, in a message of their own that is sent before the tail that
 * shows their data message: a byte 'd', how many there are, two zero bytes, and four bytes with the
 * number of such messages before it in this direction, little endian. The memory of a new generation
 * of slots travels alike, as 'm'. So whoever finds a data message with descriptors finds them in the
 * socket, or its peer broke the protocol.
 *
 * Who may call what at the same time (X: a half's thread; all else is the one that opens or closes):
 *                     sending half   receiving half   whoever reads the socket
 *   attach, publish         X              -                  -
 *   next                    -              X                  X
 *   arrived                 -              -        X, between lock and unlock
 *   keep, take, drop        -              X                  - */
#ifndef RF_FDS_H
#define RF_FDS_H

#include "doorbell.h"
#include "fd-kind.h"
#include "fd-terms.h"
#include <pthread.h>

/* Messages with memory that a receiver may not have looked at yet. */
#define RF__FDS_MEMORIES 8

/* A token bucket: so many in a second, on average. per_second 0: no limit. */
struct rf__rate {
	uint64_t each_ns; /* what a descriptor costs; 0: nothing */
	uint64_t most_ns; /* what may be saved up */
	uint64_t saved_ns, at_ns;
};

/* Descriptors of one message. */
struct rf__fd_set {
	uint64_t id;    /* of the reservation or the message, or 'd' or 'm' */
	unsigned n;     /* 0: free */
	uint32_t kinds; /* those that are in it, of enum rf_fd_kind; where it is to be sent */
	int fds[RF_FDS_MAX];
};

/* The sending side: attached, not yet sent. Allocated at the first attach. */
struct rf__fds_tx {
	struct rf__fd_set waiting[RF__FDS_MESSAGES];
	/* Of records: a position that head passes when the record is given back; oldest first. */
	uint64_t out[RF__FDS_MESSAGES];
	unsigned n_out;
	struct rf__rate rate;
};

/* The receiving side. The socket's reader fills arrived; the half's thread takes from there. */
struct rf__fds_rx {
	pthread_mutex_t lock; /* two threads of ours may read the socket: all up to arrived */
	struct rf__fd_terms terms;
	bool memory; /* may 'm' come? */
	struct rf__rate rate;
	uint32_t number; /* of messages taken in */
	unsigned n_arrived;
	struct rf__fd_set arrived[RF__FDS_MESSAGES + RF__FDS_MEMORIES]; /* oldest first */
	unsigned n_taken;
	struct rf__fd_set taken[RF__FDS_MESSAGES]; /* of messages that are borrowed */
};

/* A bucket that is full, of at_once descriptors. Takes n out of it: 0; else when so many will be
 * there. */
void rf__rate_init(struct rf__rate *rate, uint32_t per_second, uint32_t at_once);
uint64_t rf__rate_take(struct rf__rate *rate, unsigned n, uint64_t now_ns);

/* The sending side */

/* May n of these kinds be sent? 0; -EPERM: a kind that was not agreed on, or none was; -EMSGSIZE: more
 * than were agreed on. */
int rf__fds_agree(const struct rf__fd_terms *terms, uint32_t kinds, unsigned n);

/* Duplicates n descriptors for the reservation id. *fds_tx is allocated where it is NULL. 0; -EAGAIN:
 * as many as may be out are out or attached (*ret_until_ns is RF_FOREVER), or the rate is used up until
 * then; -EINVAL: id has some already, or n is not 1 to RF_FDS_MAX; -EBADF; errnos of
 * rf__fds_agree(); -EMFILE, -ENOMEM. */
int rf__fds_attach(struct rf__fds_tx **fds_tx, const struct rf__fd_terms *terms, uint64_t id,
	const int *fds, unsigned n, uint64_t *ret_until_ns);

/* The set of a reservation; NULL: there is none. fds_tx may be NULL. */
struct rf__fd_set *rf__fds_find(struct rf__fds_tx *fds_tx, uint64_t id);

/* How many sets wait. fds_tx may be NULL. */
unsigned rf__fds_waiting(const struct rf__fds_tx *fds_tx);

/* Sends n descriptors over the control socket. 0; -EAGAIN: the kernel has no room for them now;
 * -EPIPE; -EPROTO: the peer leaves its socket full, which an honest one does not, or takes none. */
int rf__fds_send(struct rf__link *link, char what, const int *fds, unsigned n);

/* Records: sends what belongs to those that are committed, oldest first, and publishes them; those
 * behind a set that cannot be sent now stay. What half's figures say of descriptors grows. 0;
 * -EAGAIN, -EPIPE, -EPROTO as rf__fds_send(). */
int rf__fds_publish(struct rf__bell *bell, struct rf__fds_tx *fds_tx);

/* Records: forgets those that were given back, as far as is known. */
void rf__fds_settle(struct rf__fds_tx *fds_tx, uint64_t head);

/* Closes what is in a set, or in all of them; frees. NULL is fine. */
void rf__fd_set_close(struct rf__fd_set *set);
void rf__fds_tx_free(struct rf__fds_tx *fds_tx);

/* The receiving side */

/* It begins: link->fds. memory: the peer publishes, and may send memory. Descriptors are asked for from
 * now on, so none that are queued make the socket suspect. 0; -ENOMEM. */
int rf__fds_rx_new(struct rf__link *link, const struct rf__fd_terms *terms, bool memory);

/* Closes what has not been taken. NULL is fine. Also in a child after fork. */
void rf__fds_rx_free(struct rf__link *link);

/* Takes in a message of the socket that is no kick: n descriptors, UINT_MAX: too many, none of which is
 * there. 0; -EPROTO: the link is broken and says why, and they are closed. */
int rf__fds_arrived(struct rf__link *link, const unsigned char *message, size_t len, const int *fds,
	unsigned n);

/* What a message looks like. */
#define RF__FDS_BYTES 8

/* The next message with descriptors of that sort, which the peer sent before it published; reads the
 * socket where it has not been read yet. ret_fds: RF_FDS_MAX. How many, 1 or more; -EPROTO: there is
 * none, or it is not as it was agreed, or there is no room here for what came, so that it is lost: the
 * link is broken and says why. */
int rf__fds_next(struct rf__link *link, char what, int *ret_fds);

/* What belongs to a message that is borrowed, until it is taken or dropped. How many, as
 * rf__fds_next(), which is not asked again for the same message; -EPROTO: also when the peer has more
 * messages out than it may. */
int rf__fds_keep(struct rf__link *link, uint64_t id);

/* How many; 0: none are there; -EMSGSIZE: more than max, and all stay. */
int rf__fds_take(struct rf__link *link, uint64_t id, int *ret_fds, unsigned max);

/* Closes what was not taken. */
void rf__fds_drop(struct rf__link *link, uint64_t id);

#endif
