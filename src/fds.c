/* SPDX-License-Identifier: MIT */
/* Descriptors beside the data: see fds.h. */
#include "fds.h"

#include "socket.h"
#include "util/clock.h"
#include "util/fd.h"

#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>

/* How often the socket is read for descriptors that must be there: an honest peer's are behind a few
 * kicks at most. */
#define READS_MOST 16

/* Rates */

void rf__rate_init(struct rf__rate *rate, uint32_t per_second, uint32_t at_once)
{
	*rate = (struct rf__rate){.each_ns = per_second ? RF__SEC / per_second : 0};
	rate->saved_ns = rate->most_ns = rate->each_ns * at_once;
	rate->at_ns = rf__now();
}

uint64_t rf__rate_take(struct rf__rate *rate, unsigned n, uint64_t now_ns)
{
	uint64_t cost = n * rate->each_ns;

	if (now_ns > rate->at_ns) {
		rate->saved_ns += now_ns - rate->at_ns;
		rate->at_ns = now_ns;
	}
	if (rate->saved_ns > rate->most_ns)
		rate->saved_ns = rate->most_ns;
	if (cost > rate->saved_ns)
		return rf__later(now_ns, cost - rate->saved_ns);
	rate->saved_ns -= cost;
	return 0;
}

static uint32_t larger(uint32_t a, uint32_t b)
{
	return a > b ? a : b;
}

static uint32_t at_once(const struct rf__fd_terms *terms)
{
	return larger(terms->per_second, terms->max);
}

/* Sets */

static void close_fds(int *fds, unsigned n)
{
	while (n)
		rf__close(&fds[--n]);
}

void rf__fd_set_close(struct rf__fd_set *set)
{
	if (set)
		close_fds(set->fds, set->n);
	if (set)
		set->n = 0;
}

static void close_sets(struct rf__fd_set *sets, unsigned n)
{
	while (n)
		rf__fd_set_close(&sets[--n]);
}

static struct rf__fd_set *find_set(struct rf__fd_set *sets, uint64_t id)
{
	unsigned i;

	for (i = 0; i < RF__FDS_MESSAGES; i++)
		if (sets[i].n && sets[i].id == id)
			return &sets[i];
	return NULL;
}

static struct rf__fd_set *find_free(struct rf__fd_set *sets)
{
	unsigned i;

	for (i = 0; i < RF__FDS_MESSAGES; i++)
		if (!sets[i].n)
			return &sets[i];
	return NULL;
}

/* The sending side */

int rf__fds_agree(const struct rf__fd_terms *terms, uint32_t kinds, unsigned n)
{
	if (!terms->max || !rf__fd_kinds_agree(kinds, terms->kinds))
		return -EPERM;
	return n > terms->max ? -EMSGSIZE : 0;
}

/* A mask of what there is. */
static int kinds_of(const int *fds, unsigned n)
{
	int kinds = 0, kind;
	unsigned i;

	for (i = 0; i < n; i++) {
		kind = rf__fd_kind(fds[i]);
		if (kind < 0)
			return kind;
		kinds |= kind;
	}
	return kinds;
}

static int duplicate(struct rf__fd_set *set, const int *fds, unsigned n)
{
	int copy;

	for (set->n = 0; set->n < n; set->n++) {
		copy = fcntl(fds[set->n], F_DUPFD_CLOEXEC, 0);
		if (copy < 0) {
			copy = -errno;
			rf__fd_set_close(set);
			return copy;
		}
		set->fds[set->n] = copy;
	}
	return 0;
}

static struct rf__fds_tx *make_tx(const struct rf__fd_terms *terms)
{
	struct rf__fds_tx *fds_tx = calloc(1, sizeof(*fds_tx));

	if (fds_tx)
		rf__rate_init(&fds_tx->rate, terms->per_second, at_once(terms));
	return fds_tx;
}

int rf__fds_attach(struct rf__fds_tx **fds_tx, const struct rf__fd_terms *terms, uint64_t id,
	const int *fds, unsigned n, uint64_t *ret_until_ns)
{
	int kinds = n && n <= RF_FDS_MAX ? kinds_of(fds, n) : -EINVAL;
	int r = kinds < 0 ? kinds : rf__fds_agree(terms, (uint32_t)kinds, n);
	struct rf__fd_set *set;

	if (r < 0)
		return r;
	if (!*fds_tx)
		*fds_tx = make_tx(terms);
	if (!*fds_tx)
		return -ENOMEM;
	if (find_set((*fds_tx)->waiting, id))
		return -EINVAL;
	*ret_until_ns = RF_FOREVER;
	if (rf__fds_waiting(*fds_tx) + (*fds_tx)->n_out >= RF__FDS_MESSAGES)
		return -EAGAIN;
	*ret_until_ns = rf__rate_take(&(*fds_tx)->rate, n, rf__now());
	if (*ret_until_ns)
		return -EAGAIN;
	set = find_free((*fds_tx)->waiting);
	set->id = id;
	set->kinds = (uint32_t)kinds;
	return duplicate(set, fds, n);
}

struct rf__fd_set *rf__fds_find(struct rf__fds_tx *fds_tx, uint64_t id)
{
	return fds_tx ? find_set(fds_tx->waiting, id) : NULL;
}

unsigned rf__fds_waiting(const struct rf__fds_tx *fds_tx)
{
	unsigned i, n = 0;

	for (i = 0; fds_tx && i < RF__FDS_MESSAGES; i++)
		n += fds_tx->waiting[i].n > 0;
	return n;
}

/* A socket that is full holds hundreds of messages, which nobody honest leaves there. */
static int cannot_send(struct rf__link *link, int error)
{
	switch (error) {
	case -EPIPE:
		rf__link_set(link, RF__GONE);
		return -EPIPE;
	case -ETOOMANYREFS:
	case -ENOBUFS:
	case -ENOMEM:
		return -EAGAIN;
	case -EAGAIN:
		return rf__link_break(link, "the peer leaves its socket full");
	default:
		return rf__link_break(link, "descriptors cannot be sent to the peer");
	}
}

int rf__fds_send(struct rf__link *link, char what, const int *fds, unsigned n)
{
	uint32_t number = link->fds_sent;
	unsigned char message[RF__FDS_BYTES] = {(unsigned char)what, (unsigned char)n, 0, 0,
		number & 0xff, number >> 8 & 0xff, number >> 16 & 0xff,
		(unsigned char)(number >> 24)};
	int r = rf__socket_send(link->sock, message, sizeof(message), fds, n);

	if (r < 0)
		return cannot_send(link, r);
	link->fds_sent++;
	return 0;
}

/* The oldest set whose record the next publish would show. */
static struct rf__fd_set *next_due(struct rf__fds_tx *fds_tx, const struct rf__ring_tx *ring)
{
	uint64_t nearest = ring->at.committed - ring->at.published, distance;
	struct rf__fd_set *due = NULL;
	unsigned i;

	for (i = 0; i < RF__FDS_MESSAGES; i++) {
		distance = fds_tx->waiting[i].id - ring->at.published;
		if (!fds_tx->waiting[i].n || distance >= nearest)
			continue;
		nearest = distance;
		due = &fds_tx->waiting[i];
	}
	return due;
}

int rf__fds_publish(struct rf__bell *bell, struct rf__fds_tx *fds_tx)
{
	struct rf__ring_tx *ring = bell->tx;
	struct rf__fd_set *due;
	int r = 0;

	while ((due = next_due(fds_tx, ring))) {
		r = rf__fds_send(bell->link, 'd', due->fds, due->n);
		if (r < 0)
			break;
		rf__count(&bell->stats.fds, due->n);
		fds_tx->out[fds_tx->n_out++] = due->id + RF__HEADER;
		rf__ring_tx_publish_to(ring, due->id);
		rf__fd_set_close(due);
	}
	rf__ring_tx_publish_to(ring, due ? due->id : ring->at.committed);
	return r;
}

void rf__fds_settle(struct rf__fds_tx *fds_tx, uint64_t head)
{
	unsigned i, n = 0;

	for (i = 0; i < fds_tx->n_out; i++)
		if ((int64_t)(head - fds_tx->out[i]) < 0)
			fds_tx->out[n++] = fds_tx->out[i];
	fds_tx->n_out = n;
}

void rf__fds_tx_free(struct rf__fds_tx *fds_tx)
{
	if (fds_tx)
		close_sets(fds_tx->waiting, RF__FDS_MESSAGES);
	free(fds_tx);
}

/* The receiving side */

/* What the sender may have let pile up comes on top of what it may send now. */
int rf__fds_rx_new(struct rf__link *link, const struct rf__fd_terms *terms, bool memory)
{
	struct rf__fds_rx *rx = calloc(1, sizeof(*rx));

	if (!rx)
		return -ENOMEM;
	rx->terms = *terms;
	rx->memory = memory;
	rf__rate_init(&rx->rate, terms->per_second,
		2 * larger(at_once(terms), RF__FDS_MESSAGES * terms->max));
	pthread_mutex_init(&rx->lock, NULL);
	link->fds = rx;
	link->suspect = false;
	return 0;
}

void rf__fds_rx_free(struct rf__link *link)
{
	struct rf__fds_rx *rx = link->fds;

	if (!rx)
		return;
	close_sets(rx->arrived, rx->n_arrived);
	close_sets(rx->taken, RF__FDS_MESSAGES);
	pthread_mutex_destroy(&rx->lock);
	free(rx);
	link->fds = NULL;
}

static unsigned count_arrived(const struct rf__fds_rx *rx, char what)
{
	unsigned i, n = 0;

	for (i = 0; i < rx->n_arrived; i++)
		n += rx->arrived[i].id == (uint64_t)what;
	return n;
}

static uint32_t read_number(const unsigned char *message)
{
	return message[4] | (uint32_t)message[5] << 8 | (uint32_t)message[6] << 16 |
	       (uint32_t)message[7] << 24;
}

static const char *refuse_shape(
	const struct rf__fds_rx *rx, const unsigned char *message, size_t len, unsigned n)
{
	if (n == UINT_MAX)
		return "the peer sent too many descriptors with a message";
	if (len != RF__FDS_BYTES || (message[0] != 'd' && message[0] != 'm') || message[2] ||
		message[3])
		return n ? "the peer sent descriptors that nobody asked for"
			 : "the peer sent something that is no kick";
	if (!n)
		return "the peer announced descriptors and sent none";
	if (message[1] != n)
		return "the peer sent another number of descriptors than it said";
	if (read_number(message) != rx->number)
		return "the peer sent descriptors out of order";
	return NULL;
}

static const char *refuse_memory(const struct rf__fds_rx *rx, unsigned n)
{
	if (!rx->memory)
		return "the peer sent memory that nobody asked for";
	if (n > 1 || count_arrived(rx, 'm') >= RF__FDS_MEMORIES)
		return "the peer sent too much memory";
	return NULL;
}

static const char *refuse_set(struct rf__fds_rx *rx, const int *fds, unsigned n)
{
	unsigned i;
	int kind;

	if (!rx->terms.max)
		return "the peer sent descriptors that nobody asked for";
	if (n > rx->terms.max)
		return "the peer sent more descriptors with a message than were agreed on";
	if (count_arrived(rx, 'd') >= RF__FDS_MESSAGES)
		return "the peer sent descriptors for too many messages";
	if (rf__rate_take(&rx->rate, n, rf__now()))
		return "the peer sent more descriptors in a second than were agreed on";
	for (i = 0; i < n; i++) {
		kind = rf__fd_kind(fds[i]);
		if (!rf__fd_kinds_agree((uint32_t)kind, rx->terms.kinds))
			return rf__fd_kind_refusal(kind);
	}
	return NULL;
}

int rf__fds_arrived(
	struct rf__link *link, const unsigned char *message, size_t len, const int *fds, unsigned n)
{
	struct rf__fds_rx *rx = link->fds;
	struct rf__fd_set set = {.n = n <= RF_FDS_MAX ? n : 0};
	const char *why = refuse_shape(rx, message, len, n);

	if (set.n)
		memcpy(set.fds, fds, set.n * sizeof(*fds));
	if (!why)
		why = message[0] == 'm' ? refuse_memory(rx, n) : refuse_set(rx, fds, n);
	if (why) {
		rf__fd_set_close(&set);
		return rf__link_break(link, why);
	}
	set.id = message[0];
	rx->arrived[rx->n_arrived++] = set;
	rx->number++;
	return 0;
}

/* 0: none is there. */
static unsigned pop(struct rf__fds_rx *rx, char what, int *ret_fds)
{
	unsigned i, n;

	for (i = 0; i < rx->n_arrived && rx->arrived[i].id != (uint64_t)what; i++)
		;
	if (i == rx->n_arrived)
		return 0;
	n = rx->arrived[i].n;
	memcpy(ret_fds, rx->arrived[i].fds, n * sizeof(*ret_fds));
	rx->n_arrived--;
	memmove(&rx->arrived[i], &rx->arrived[i + 1], (rx->n_arrived - i) * sizeof(rx->arrived[0]));
	return n;
}

static int cannot_find(struct rf__link *link, int r)
{
	return rf__link_break(link,
		r < 0 ? "descriptors cannot be received" : "a message's descriptors did not come");
}

/* A shortage of the kernel's may pass: it is tried again as often. */
int rf__fds_next(struct rf__link *link, char what, int *ret_fds)
{
	struct rf__fds_rx *rx = link->fds;
	int reads, r = 1;
	unsigned n;

	if (!rx)
		return rf__link_break(link, "the peer announced descriptors that nobody asked for");
	pthread_mutex_lock(&rx->lock);
	n = pop(rx, what, ret_fds);
	for (reads = 0; !n && r && r != -EPROTO && reads < READS_MOST; reads++) {
		r = rf__link_read(link);
		n = r > 0 ? pop(rx, what, ret_fds) : 0;
	}
	pthread_mutex_unlock(&rx->lock);
	if (reads)
		rf__link_wake_sleepers(link, NULL); /* there were kicks, maybe */
	return n ? (int)n : cannot_find(link, r);
}

/* Asked for each message that is given back: mostly there are none. */
static struct rf__fd_set *find_taken(struct rf__fds_rx *rx, uint64_t id)
{
	return rx && rx->n_taken ? find_set(rx->taken, id) : NULL;
}

int rf__fds_keep(struct rf__link *link, uint64_t id)
{
	struct rf__fds_rx *rx = link->fds;
	struct rf__fd_set *set = find_taken(rx, id);
	int fds[RF_FDS_MAX], n;

	if (set)
		return (int)set->n;
	n = rf__fds_next(link, 'd', fds);
	if (n < 0)
		return n;
	set = find_free(rx->taken);
	if (!set) {
		close_fds(fds, (unsigned)n);
		return rf__link_break(link, "the peer sent descriptors for too many messages");
	}
	*set = (struct rf__fd_set){.id = id, .n = (unsigned)n};
	memcpy(set->fds, fds, (unsigned)n * sizeof(fds[0]));
	rx->n_taken++;
	return n;
}

int rf__fds_take(struct rf__link *link, uint64_t id, int *ret_fds, unsigned max)
{
	struct rf__fd_set *set = find_taken(link->fds, id);
	unsigned n = set ? set->n : 0;

	if (n > max)
		return -EMSGSIZE;
	if (!n)
		return 0;
	memcpy(ret_fds, set->fds, n * sizeof(*ret_fds));
	set->n = 0;
	link->fds->n_taken--;
	return (int)n;
}

void rf__fds_drop(struct rf__link *link, uint64_t id)
{
	struct rf__fd_set *set = find_taken(link->fds, id);

	if (!set)
		return;
	rf__fd_set_close(set);
	link->fds->n_taken--;
}
