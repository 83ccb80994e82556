/* SPDX-License-Identifier: MIT */
/* Quotas: see quota.h. A charge that could not be settled when its channel was closed waits in a
 * list of its quota. */
#include "quota.h"

#include "generation.h"
#include "socket.h"
#include "util/check.h"
#include "util/clock.h"
#include "util/fd.h"
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>

#define COLLECT_NS      (500 * RF__MSEC)
#define ASIDE_MOST_UID  8u
#define ASIDE_MOST      64u
#define REGIONS_MOST    6u
#define HANDSHAKES_MOST 4u
#define HANDSHAKES_OWN  12u
#define FLIGHT_SHARE    8u /* of the descriptors in flight, those of one user */
#define OWN_SHARE       2u /* those of our own beside the data */
#define USERS_TOGETHER  4u /* all users may have as many bytes as so many of them */

/* What one user has; it goes when the last charge does, unless something is never returned. */
struct account {
	struct account *next;
	uid_t uid;
	unsigned charges, channels, handshakes, flight, aside;
	uint64_t bytes, descriptors;
};

struct rf__quota {
	pthread_mutex_t lock;
	struct rf__generation generation;
	unsigned references; /* the listener, and charges that are not closed */
	bool ended;          /* the listener is gone: nobody is charged any more */
	uint64_t max_bytes;
	unsigned max_channels, max_handshakes;
	unsigned flight, aside; /* of all users, */
	uint64_t bytes, descriptors;
	uint64_t collect_ns; /* when held is looked at again */
	struct account *accounts;
	struct rf__charge *held; /* closed, not settled */
};

struct rf__charge {
	struct rf__charge *next;
	struct rf__quota *quota;
	struct account *account;
	uint64_t bytes, descriptors;
	unsigned flight, n_kept;
	int kept[REGIONS_MOST];
	int sock; /* what the peer has not taken out of it is in flight; -1: none */
	bool handshake, channel;
	bool untold; /* nobody can tell when the memory is free */
};

struct rf__quota *rf__quota_new(const struct rf_options *options)
{
	struct rf__quota *quota = calloc(1, sizeof(*quota));

	if (quota && rf__generation_get(&quota->generation) < 0) {
		free(quota);
		return NULL;
	}
	if (!quota)
		return NULL;
	pthread_mutex_init(&quota->lock, NULL);
	quota->references = 1;
	quota->max_bytes = options->max_bytes;
	quota->max_channels = options->max_channels;
	quota->max_handshakes = options->max_handshakes;
	return quota;
}

static void close_kept(struct rf__charge *charge)
{
	while (charge->n_kept)
		rf__close(&charge->kept[--charge->n_kept]);
	rf__close(&charge->sock);
}

static void free_held(struct rf__quota *quota)
{
	struct rf__charge *charge;

	while ((charge = quota->held)) {
		quota->held = charge->next;
		close_kept(charge);
		free(charge);
	}
}

static void free_quota(struct rf__quota *quota)
{
	struct account *account;

	free_held(quota);
	while ((account = quota->accounts)) {
		quota->accounts = account->next;
		free(account);
	}
	pthread_mutex_destroy(&quota->lock);
	free(quota);
}

/* Takes one reference and the lock away. */
static void unlock_and_drop(struct rf__quota *quota)
{
	bool last = --quota->references == 0;

	pthread_mutex_unlock(&quota->lock);
	if (last)
		free_quota(quota);
}

/* A child may have inherited a lock that nobody will open: it drops what is its own copy. */
void rf__quota_drop(struct rf__quota *quota)
{
	if (!quota)
		return;
	if (!rf__generation_is_ours(&quota->generation)) {
		if (--quota->references == 0)
			free_quota(quota);
		return;
	}
	pthread_mutex_lock(&quota->lock);
	quota->ended = true;
	free_held(quota);
	unlock_and_drop(quota);
}

/* Accounts and charges; with the lock held */

static struct account *find_account(struct rf__quota *quota, uid_t uid)
{
	struct account *account;

	for (account = quota->accounts; account; account = account->next)
		if (account->uid == uid)
			return account;
	account = calloc(1, sizeof(*account));
	if (!account)
		return NULL;
	account->uid = uid;
	account->next = quota->accounts;
	quota->accounts = account;
	return account;
}

static void drop_account(struct rf__quota *quota, struct account *account)
{
	struct account **at = &quota->accounts;

	if (account->charges || account->channels || account->aside)
		return;
	while (*at != account)
		at = &(*at)->next;
	*at = account->next;
	free(account);
}

/* n more in flight; modulo 2^32, so that 0 - n are fewer. */
static void take_off(struct rf__charge *charge, unsigned n)
{
	charge->account->flight += n;
	charge->quota->flight += n;
	charge->flight += n;
}

static void land(struct rf__charge *charge)
{
	take_off(charge, 0 - charge->flight);
}

static void end_handshake(struct rf__charge *charge)
{
	if (charge->handshake)
		charge->account->handshakes--;
	charge->handshake = false;
}

/* Is everything that the charge stands for free? Closes what is. */
static bool is_settled(struct rf__charge *charge)
{
	while (charge->n_kept && rf__region_is_let_go(charge->kept[charge->n_kept - 1]))
		rf__close(&charge->kept[--charge->n_kept]);
	if (charge->sock >= 0 && rf__socket_is_drained(charge->sock))
		rf__close(&charge->sock);
	return !charge->n_kept && charge->sock < 0;
}

static void settle(struct rf__charge *charge)
{
	struct account *account = charge->account;

	land(charge);
	if (charge->channel && !charge->untold) {
		account->channels--;
		account->bytes -= charge->bytes;
		charge->quota->bytes -= charge->bytes;
	}
	if (charge->channel) {
		account->descriptors -= charge->descriptors;
		charge->quota->descriptors -= charge->descriptors;
	}
	account->charges--;
	drop_account(charge->quota, account);
	free(charge);
}

static void collect(struct rf__quota *quota, uint64_t now_ns)
{
	struct rf__charge **at = &quota->held, *charge;

	while ((charge = *at)) {
		if (is_settled(charge)) {
			*at = charge->next;
			settle(charge);
		} else {
			at = &charge->next;
		}
	}
	quota->collect_ns = rf__later(now_ns, COLLECT_NS);
}

uint64_t rf__quota_collect(struct rf__quota *quota, uint64_t now_ns)
{
	uint64_t next;

	pthread_mutex_lock(&quota->lock);
	if (quota->held && now_ns >= quota->collect_ns)
		collect(quota, now_ns);
	next = quota->held ? quota->collect_ns : RF_FOREVER;
	pthread_mutex_unlock(&quota->lock);
	return next;
}

bool rf__quota_is_clogged(struct rf__quota *quota)
{
	bool clogged;

	pthread_mutex_lock(&quota->lock);
	clogged = quota->aside >= ASIDE_MOST;
	pthread_mutex_unlock(&quota->lock);
	return clogged;
}

struct rf__charge *rf__charge_new(struct rf__quota *quota, uid_t uid)
{
	struct rf__charge *charge = calloc(1, sizeof(*charge));

	if (!charge)
		return NULL;
	charge->quota = quota;
	charge->sock = -1;
	pthread_mutex_lock(&quota->lock);
	charge->account = find_account(quota, uid);
	if (charge->account) {
		charge->account->charges++;
		quota->references++;
	}
	pthread_mutex_unlock(&quota->lock);
	if (charge->account)
		return charge;
	free(charge);
	return NULL;
}

/* No user may take all places of a listener; by default our own may take most. */
static unsigned handshakes_most(const struct rf__charge *charge)
{
	if (charge->quota->max_handshakes)
		return charge->quota->max_handshakes;
	return charge->account->uid == geteuid() ? HANDSHAKES_OWN : HANDSHAKES_MOST;
}

static int try_handshake(struct rf__charge *charge, struct rf__reason *reason)
{
	struct account *account = charge->account;

	if (account->aside >= ASIDE_MOST_UID)
		return rf__fail(reason, -ENOBUFS,
			"uid %u has sent descriptors over too many connections", account->uid);
	if (account->handshakes >= handshakes_most(charge))
		return rf__fail(reason, -ENOBUFS, "uid %u has %u handshakes under way already",
			account->uid, account->handshakes);
	account->handshakes++;
	charge->handshake = true;
	return 0;
}

int rf__charge_handshake(struct rf__charge *charge, struct rf__reason *reason)
{
	int r;

	pthread_mutex_lock(&charge->quota->lock);
	r = try_handshake(charge, reason);
	pthread_mutex_unlock(&charge->quota->lock);
	return r;
}

void rf__charge_opened(struct rf__charge *charge)
{
	pthread_mutex_lock(&charge->quota->lock);
	end_handshake(charge);
	pthread_mutex_unlock(&charge->quota->lock);
}

/* The kernel lets all our processes together have RLIMIT_NOFILE in flight: half of it is left to
 * others (threats C3). */
static unsigned flight_most(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur / 2 > 4096)
		return 4096;
	return limit.rlim_cur / 2 > RF__FDS_MAX ? (unsigned)(limit.rlim_cur / 2) : RF__FDS_MAX;
}

static bool may_fly(const struct rf__charge *charge, unsigned n_fds, unsigned shares)
{
	unsigned most = flight_most(), share = most / shares;

	if (share < RF__FDS_MAX)
		share = RF__FDS_MAX;
	return charge->account->flight + n_fds <= share && charge->quota->flight + n_fds <= most;
}

/* The host program needs descriptors of its own, and other users leave some to each other. */
static bool has_descriptors(const struct rf__charge *charge, unsigned n)
{
	uint64_t most, share;
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY)
		return true;
	most = limit.rlim_cur / 4 * 3;
	share = charge->account->uid == geteuid() ? most : limit.rlim_cur / 2;
	return charge->account->descriptors + n <= share && charge->quota->descriptors + n <= most;
}

static bool has_bytes(const struct rf__charge *charge, uint64_t bytes)
{
	const struct rf__quota *quota = charge->quota;
	uint64_t own, all, together;

	return rf__add(charge->account->bytes, bytes, &own) && own <= quota->max_bytes &&
	       rf__add(quota->bytes, bytes, &all) &&
	       (!rf__mul(quota->max_bytes, USERS_TOGETHER, &together) || all <= together);
}

static bool has_room(const struct rf__charge *charge, const struct rf__cost *cost)
{
	return charge->account->channels < charge->quota->max_channels &&
	       has_bytes(charge, cost->bytes) && has_descriptors(charge, cost->descriptors) &&
	       may_fly(charge, cost->flight, FLIGHT_SHARE);
}

static int refuse(
	const struct rf__charge *charge, const struct rf__cost *cost, struct rf__reason *reason)
{
	const struct rf__quota *quota = charge->quota;
	const struct account *account = charge->account;

	if (account->channels >= quota->max_channels)
		return rf__fail(reason, -ENOBUFS,
			"uid %u has %u channels, open ones and those whose memory it keeps",
			account->uid, account->channels);
	if (!has_bytes(charge, cost->bytes))
		return rf__fail(reason, -ENOBUFS,
			"uid %u has %" PRIu64 " bytes of rings, all users %" PRIu64 ", and %" PRIu64
			" more exceed a quota of %" PRIu64 " each",
			account->uid, account->bytes, quota->bytes, cost->bytes, quota->max_bytes);
	if (!has_descriptors(charge, cost->descriptors))
		return rf__fail(reason, -ENOBUFS,
			"the channels of uid %u take too many descriptors here", account->uid);
	return rf__fail(
		reason, -ENOBUFS, "uid %u leaves too many descriptors unread", account->uid);
}

static int try_channel(
	struct rf__charge *charge, const struct rf__cost *cost, struct rf__reason *reason)
{
	struct rf__quota *quota = charge->quota;
	struct account *account = charge->account;

	if (!has_room(charge, cost))
		collect(quota, rf__now());
	if (!has_room(charge, cost))
		return refuse(charge, cost, reason);
	charge->channel = true;
	charge->bytes = cost->bytes;
	charge->descriptors = cost->descriptors;
	charge->flight = cost->flight;
	account->channels++;
	account->bytes += cost->bytes;
	account->descriptors += cost->descriptors;
	account->flight += cost->flight;
	quota->bytes += cost->bytes;
	quota->descriptors += cost->descriptors;
	quota->flight += cost->flight;
	return 0;
}

int rf__charge_channel(
	struct rf__charge *charge, const struct rf__cost *cost, struct rf__reason *reason)
{
	int r;

	pthread_mutex_lock(&charge->quota->lock);
	r = try_channel(charge, cost, reason);
	pthread_mutex_unlock(&charge->quota->lock);
	return r;
}

void rf__charge_landed(struct rf__charge *charge)
{
	pthread_mutex_lock(&charge->quota->lock);
	land(charge);
	pthread_mutex_unlock(&charge->quota->lock);
}

bool rf__charge_fly(struct rf__charge *charge, unsigned still, unsigned n)
{
	struct rf__quota *quota = charge->quota;
	unsigned landed;
	bool granted;

	pthread_mutex_lock(&quota->lock);
	landed = charge->flight > still ? charge->flight - still : 0;
	take_off(charge, 0 - landed);
	granted = may_fly(charge, n, charge->account->uid == geteuid() ? OWN_SHARE : FLIGHT_SHARE);
	if (granted)
		take_off(charge, n);
	pthread_mutex_unlock(&quota->lock);
	return granted;
}

int rf__charge_keep(
	struct rf__charge *charge, const struct rf__region *region, struct rf__reason *reason)
{
	int fd = rf__region_keep(region);

	if (fd == -EMFILE || fd == -ENFILE || fd == -ENOMEM)
		return rf__fail_error(reason, fd, "cannot keep a descriptor of a region");
	if (fd < 0)
		charge->untold = true;
	else
		charge->kept[charge->n_kept++] = fd;
	return 0;
}

/* The end */

static void set_aside(struct rf__charge *charge, int *sock)
{
	*sock = -1;
	if (!charge)
		return;
	pthread_mutex_lock(&charge->quota->lock);
	charge->account->aside++;
	charge->quota->aside++;
	pthread_mutex_unlock(&charge->quota->lock);
}

void rf__charge_hang_up(struct rf__charge *charge, int *sock, bool suspect)
{
	if (*sock < 0)
		return;
	if (suspect && rf__socket_hides_fds(*sock)) {
		set_aside(charge, sock);
		return;
	}
	if (charge && charge->flight && !rf__socket_is_drained(*sock)) {
		charge->sock = *sock;
		*sock = -1;
		return;
	}
	rf__close(sock);
}

void rf__charge_close(struct rf__charge *charge)
{
	struct rf__quota *quota;

	if (!charge)
		return;
	quota = charge->quota;
	pthread_mutex_lock(&quota->lock);
	end_handshake(charge);
	if (quota->ended)
		close_kept(charge);
	if (quota->held)
		collect(quota, rf__now());
	if (is_settled(charge)) {
		settle(charge);
	} else {
		charge->next = quota->held;
		quota->held = charge;
		quota->collect_ns = rf__later(rf__now(), COLLECT_NS);
	}
	unlock_and_drop(quota);
}

void rf__charge_abandon(struct rf__charge *charge)
{
	struct rf__quota *quota;

	if (!charge)
		return;
	quota = charge->quota;
	close_kept(charge);
	free(charge);
	rf__quota_drop(quota);
}
