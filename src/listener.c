/* SPDX-License-Identifier: MIT */
/* Listeners: many handshakes at a time, none of which can hold up another. */
#include "listener.h"
#include "options.h"
#include "util/clock.h"
#include "util/fd.h"

#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define ACCEPT_MOST  64 /* connections looked at before others have their turn */
#define HANDSHAKE_NS (5 * RF__SEC)
#define BACK_OFF_NS  (100 * RF__MSEC)

static int check(const struct rf_listener *listener)
{
	if (!listener)
		return -EINVAL;
	return rf__generation_is_ours(&listener->generation) ? 0 : -EBADF;
}

int rf__listener_watch(struct rf_listener *l, int fd, uint32_t source)
{
	struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP, .data.u32 = source};

	return epoll_ctl(l->epoll, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

/* Handshakes */

static struct pending *free_place(struct rf_listener *l)
{
	unsigned i;

	for (i = 0; i < PENDING_MOST; i++)
		if (!l->pending[i].handshake.channel)
			return &l->pending[i];
	return NULL;
}

/* A socket that stays readable while nothing can be accepted would make every loop spin. */
static void pause_listening(struct rf_listener *l, bool pause, uint64_t until_ns)
{
	struct epoll_event event = {.events = pause ? 0u : EPOLLIN, .data.u32 = SOURCE_LISTEN};

	l->paused_until_ns = until_ns;
	if (l->paused != pause)
		epoll_ctl(l->epoll, EPOLL_CTL_MOD, l->sock, &event);
	l->paused = pause;
}

/* The socket leaves the listener's care; its place is free for whoever waits to be accepted. */
static void leave(struct rf_listener *l, struct rf_channel *channel)
{
	epoll_ctl(l->epoll, EPOLL_CTL_DEL, channel->link.sock, NULL);
	rf__count(&l->handshakes, (uint64_t)-1);
	if (l->paused && !l->paused_until_ns)
		pause_listening(l, false, 0);
}

static bool is_refusal(int error)
{
	return error == -EPERM || error == -ENOTSUP || error == -ENOBUFS;
}

/* error is why it ended without a channel. */
static int give_up(struct rf_listener *l, struct pending *p, int error)
{
	bool silent = error == -EPIPE && p->handshake.wire.next == RF__WIRE_HELLO;

	/* who only looks whether we are there, and goes before the first word, was not turned away */
	if (!silent || l->single)
		l->reason = p->handshake.wire.reason;
	rf__count(is_refusal(error) ? &l->refused : &l->failed, 1);
	leave(l, p->handshake.channel);
	rf__handshake_end(&p->handshake);
	return error;
}

/* A step of one handshake. 1: *ret_channel is open; 0: not yet; negative errno: it is over. */
static int step(struct rf_listener *l, struct pending *p, struct rf_channel **ret_channel)
{
	int r = rf__handshake_step(&p->handshake);

	p->busy = r == RF__HANDSHAKE_MORE;
	if (r < 0)
		return give_up(l, p, r);
	if (r != RF__HANDSHAKE_OPEN)
		return 0;
	*ret_channel = rf__handshake_take(&p->handshake);
	leave(l, *ret_channel);
	rf__count(&l->accepted, 1);
	return 1;
}

static int expire(struct rf_listener *l, struct pending *p)
{
	rf__handshake_refuse(&p->handshake, -ETIMEDOUT, "the handshake was not completed in time");
	return give_up(l, p, -ETIMEDOUT);
}

/* A socket with which nothing is to be begun. */
static void turn_away(struct rf_listener *l, int sock, struct rf__charge *charge)
{
	shutdown(sock, SHUT_RDWR);
	rf__charge_hang_up(charge, &sock, l->suspect);
}

/* What is going to be the channel. Takes sock over. */
static int make_channel(struct rf_listener *l, int sock, struct rf__identity *identity,
	struct rf_channel **ret_channel)
{
	struct rf__charge *charge = rf__charge_new(l->quota, identity->uid);
	struct rf_channel *channel = NULL;

	if (charge)
		channel = rf__channel_new(sock, identity, &l->options);
	if (!channel) {
		turn_away(l, sock, charge);
		rf__charge_close(charge);
		return rf__fail(&l->reason, -ENOMEM, "no memory for a channel");
	}
	channel->charge = charge;
	channel->publisher = l->publisher;
	channel->link.suspect = l->suspect;
	*ret_channel = channel;
	return 0;
}

/* Do we deal with it, and has it not enough of us already? */
static int admit(struct rf_listener *l, struct rf_channel *channel)
{
	int r = rf__identity_check(&channel->identity, channel->link.sock, &l->options, &l->reason);

	return r < 0 ? r : rf__charge_handshake(channel->charge, &l->reason);
}

int rf__listener_begin(
	struct rf_listener *l, int sock, enum rf__origin origin, uint64_t deadline_ns)
{
	struct rf__identity identity = RF__IDENTITY_INIT;
	struct pending *p = free_place(l);
	struct rf_channel *channel = NULL;
	struct rf__wish wish;
	int refused, r;

	if (l->suspect)
		rf__socket_allow_looks(sock);
	refused = rf__identity_read(sock, origin, &identity, &l->reason);
	if (refused < 0)
		identity.uid = (uid_t)-1;
	r = make_channel(l, sock, &identity, &channel);
	rf__identity_close(&identity);
	if (r < 0) {
		rf__count(&l->failed, 1);
		return r;
	}
	wish = rf__options_wish(&l->options, &channel->identity, origin, l->listened);
	if (l->publisher)
		rf__publisher_wish(l->publisher, &wish);
	rf__handshake_begin(&p->handshake, channel, true, &wish);
	p->deadline_ns = deadline_ns;
	p->busy = false;
	rf__count(&l->handshakes, 1);
	if (refused >= 0)
		refused = admit(l, channel);
	r = refused ? refused : rf__listener_watch(l, sock, (uint32_t)(p - l->pending));
	if (r >= 0)
		return 0;
	rf__handshake_refuse(
		&p->handshake, r, refused ? l->reason.text : "out of descriptors or memory");
	return give_up(l, p, r);
}

/* The listening socket */

static bool is_passing(int error)
{
	return error == ECONNABORTED || error == EINTR || error == EPERM || error == EPROTO;
}

/* Takes the connections that are there, as many as there is room for. 0; errnos of accept4(2). */
static int accept_all(struct rf_listener *l, uint64_t now, struct rf__reason *reason)
{
	int sock, error, i;

	if (l->sock < 0 || now < l->paused_until_ns)
		return 0;
	if (rf__quota_is_clogged(l->quota)) {
		rf__fail(&l->reason, -ENOBUFS,
			"too many sockets cannot be closed: none is accepted");
		pause_listening(l, true, rf__later(now, BACK_OFF_NS));
		return 0;
	}
	for (i = 0; i < ACCEPT_MOST && free_place(l); i++) {
		pause_listening(l, false, 0);
		sock = accept4(l->sock, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (sock >= 0) {
			rf__listener_begin(l, sock, RF__ACCEPTED, rf__later(now, HANDSHAKE_NS));
			continue;
		}
		error = errno;
		if (is_passing(error))
			continue;
		if (error == EAGAIN)
			return 0;
		pause_listening(l, true, rf__later(now, BACK_OFF_NS));
		return rf__fail_error(reason, -error, "accept");
	}
	pause_listening(l, !free_place(l), 0);
	return 0;
}

/* Every handshake gets a step: there are few, and one that has nothing to do costs one system
 * call. 1: *ret_channel is there. */
static int step_all(struct rf_listener *l, uint64_t now, struct rf_channel **ret_channel,
	struct rf__reason *reason)
{
	struct pending *p;
	int r;

	for (p = l->pending; p < l->pending + PENDING_MOST; p++) {
		if (!p->handshake.channel)
			continue;
		r = step(l, p, ret_channel);
		if (r > 0)
			return 1;
		if (!r && now >= p->deadline_ns)
			r = expire(l, p);
		if (r < 0 && l->single)
			return rf__fail(reason, r, "%s", l->reason.text);
	}
	return 0;
}

/* When something has to be done even if nothing happens; 0: at once. */
static uint64_t next_ns(struct rf_listener *l)
{
	uint64_t next = rf__quota_collect(l->quota, rf__now());
	const struct pending *p;

	if (l->paused_until_ns && l->paused_until_ns < next)
		next = l->paused_until_ns;
	for (p = l->pending; p < l->pending + PENDING_MOST; p++) {
		if (!p->handshake.channel)
			continue;
		if (p->busy)
			return 0;
		if (p->deadline_ns < next)
			next = p->deadline_ns;
	}
	return next;
}

static int wait_until(struct rf_listener *l, uint64_t until_ns)
{
	uint64_t now = rf__now(), left = until_ns > now ? until_ns - now : 0;
	struct epoll_event event;
	int msec = -1;

	if (until_ns != RF_FOREVER)
		msec = left / RF__MSEC < INT32_MAX ? (int)((left + RF__MSEC - 1) / RF__MSEC)
						   : INT32_MAX;
	return epoll_wait(l->epoll, &event, 1, msec) < 0 && errno != EINTR ? -errno : 0;
}

static bool used_up(const struct rf_listener *l)
{
	return l->single && !l->handshakes;
}

int rf__accept(struct rf_listener *l, uint64_t deadline_ns, struct rf_channel **ret_channel,
	struct rf__reason *reason)
{
	uint64_t now, next;
	int r;

	for (;;) {
		if (__atomic_load_n(&l->stopped, __ATOMIC_ACQUIRE))
			return rf__fail(reason, -EPIPE, "the listener was stopped");
		if (used_up(l))
			return rf__fail(
				reason, -EPIPE, "the inherited connection was used already");
		now = rf__now();
		r = step_all(
			l, now, ret_channel, reason); /* who has gone leaves a place to the next */
		if (!r)
			r = accept_all(l, now, reason);
		if (!r)
			r = step_all(l, now, ret_channel, reason);
		if (r)
			return r < 0 ? r : 0;
		if (now >= deadline_ns)
			return rf__fail(reason, deadline_ns ? -ETIMEDOUT : -EAGAIN, "nobody came");
		next = next_ns(l);
		r = wait_until(l, next < deadline_ns ? next : deadline_ns);
		if (r < 0)
			return rf__fail_error(reason, r, "epoll_wait");
	}
}

int rf_accept(struct rf_listener *listener, uint64_t deadline_ns, struct rf_channel **ret_channel)
{
	struct rf__reason *reason = rf__reason_begin();
	int r = check(listener);

	if (r >= 0 && !ret_channel)
		return rf__fail(reason, -EINVAL, "ret_channel is NULL");
	if (r < 0)
		return rf__fail(reason, r,
			r == -EBADF ? "the listener belongs to the parent process"
				    : "the listener is NULL");
	return rf__accept(listener, deadline_ns, ret_channel, reason);
}

/* The caller's own event loop, and the rest */

int rf_listener_fd(struct rf_listener *listener)
{
	int r = check(listener);

	return r < 0 ? r : listener->epoll;
}

int rf_listener_arm(struct rf_listener *listener, uint64_t *ret_until_ns)
{
	int r = check(listener);
	uint64_t next;

	if (r < 0)
		return r;
	next = next_ns(listener);
	if (!next || used_up(listener) || __atomic_load_n(&listener->stopped, __ATOMIC_ACQUIRE))
		return 1;
	*ret_until_ns = next;
	return 0;
}

void rf_listener_stop(struct rf_listener *listener)
{
	int saved = errno;
	uint64_t one = 1;

	if (check(listener) < 0)
		return;
	__atomic_store_n(&listener->stopped, 1, __ATOMIC_RELEASE);
	if (write(listener->stop, &one, sizeof(one)) < 0)
		errno = saved; /* full: it is readable, which is all that matters */
	errno = saved;
}

int rf_listener_stats(struct rf_listener *listener, struct rf_listener_stats *stats)
{
	struct rf_listener_stats known;

	if (!listener || !stats || stats->size < sizeof(stats->size))
		return -EINVAL;
	known = (struct rf_listener_stats){
		.size = stats->size,
		.accepted = __atomic_load_n(&listener->accepted, __ATOMIC_RELAXED),
		.refused = __atomic_load_n(&listener->refused, __ATOMIC_RELAXED),
		.failed = __atomic_load_n(&listener->failed, __ATOMIC_RELAXED),
		.handshakes = __atomic_load_n(&listener->handshakes, __ATOMIC_RELAXED),
	};
	memcpy(stats, &known, stats->size < sizeof(known) ? stats->size : sizeof(known));
	return 0;
}

const char *rf_listener_reason(struct rf_listener *listener)
{
	return listener ? listener->reason.text : "";
}

/* Closing a listening socket closes what nobody has accepted, and what is queued there. One that
 * was inherited is others' as well: they may still accept. */
static void empty_queue(struct rf_listener *l)
{
	struct rf__charge *charge;
	int sock, i;

	if (!l->suspect || !l->listened)
		return;
	charge = rf__charge_new(l->quota, (uid_t)-1);
	shutdown(l->sock, SHUT_RDWR);
	for (i = 0; i < ACCEPT_MOST * 2; i++) {
		sock = accept4(l->sock, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (sock < 0)
			break;
		turn_away(l, sock, charge);
	}
	rf__charge_close(charge);
}

void rf_listener_close(struct rf_listener *listener)
{
	bool ours;
	unsigned i;

	if (!listener)
		return;
	ours = listener->generation.word && rf__generation_is_ours(&listener->generation);
	for (i = 0; i < PENDING_MOST; i++)
		rf__handshake_end(&listener->pending[i].handshake);
	if (ours) {
		rf__path_unlink(&listener->path);
		empty_queue(listener);
	}
	rf__close(&listener->sock);
	rf__close(&listener->epoll);
	rf__close(&listener->stop);
	rf__quota_drop(listener->quota);
	free(listener->gids);
	free(listener->uids);
	free(listener);
}
