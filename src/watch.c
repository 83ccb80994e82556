/* SPDX-License-Identifier: MIT */
/* What the kernel tells a half or a caller's event loop: kicks, hang-ups, exits; and how much of it
 * is listened to. See doorbell.h. */
#include "doorbell.h"

#include "fds.h"
#include "socket.h"
#include "util/clock.h"

#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define DRAIN_MOST    64
#define EVENTS_MOST   8
#define STORM_MOST    200 /* wake-ups for nothing, in */
#define STORM_NS      RF__SEC
#define STORM_SHARE   4 /* more of them for each wait, of either half, that found something */
#define DEAF_NS       RF__SEC
#define POLL_FIRST_NS RF__MSEC
#define POLL_MOST_NS  (16 * RF__MSEC)

/* What an epoll event is about. */
enum source { SOCKET, PIDFD, BELL, WAKE };

/* What epoll hands back: source in the low half, descriptor in the high one. */
static int control(int epoll, int operation, int fd, uint32_t events, enum source source)
{
	struct epoll_event event = {.events = events, .data.u64 = (uint64_t)fd << 32 | source};

	if (fd < 0)
		return 0;
	return epoll_ctl(epoll, operation, fd, &event) < 0 ? -errno : 0;
}

static int watch(int epoll, int fd, uint32_t events, enum source source)
{
	return control(epoll, EPOLL_CTL_ADD, fd, events, source);
}

static void change(int epoll, int fd, uint32_t events, enum source source)
{
	control(epoll, EPOLL_CTL_MOD, fd, events, source);
}

/* With eventfds nothing but a hang-up is expected on the socket, and nothing is read from it. */
int rf__link_watch(struct rf__link *link, int epoll)
{
	uint32_t events = EPOLLRDHUP | (link->doorbell == RF_DOORBELL_SOCKET ? EPOLLIN : 0u);
	int r = watch(epoll, link->sock, events, SOCKET);

	return r < 0 ? r : watch(epoll, link->pidfd, EPOLLIN, PIDFD);
}

/* A bell is always readable: what it reports at first is no kick, so it is harvested at once. */
int rf__bell_watch(struct rf__bell *bell, int epoll)
{
	int r = watch(epoll, bell->wake, EPOLLIN, WAKE);

	return r < 0 ? r : watch(epoll, bell->own, EPOLLIN | EPOLLET, BELL);
}

int rf__link_rouse(const struct rf__link *link, int epoll)
{
	return epoll < 0 ? 0
			 : control(epoll, EPOLL_CTL_MOD, link->sock, EPOLLRDHUP | EPOLLOUT, SOCKET);
}

static bool hung_up(struct rf__link *link)
{
	struct pollfd fds[2] = {
		{.fd = link->sock, .events = POLLRDHUP},
		{.fd = link->pidfd, .events = POLLIN},
	};

	return poll(fds, 2, 0) > 0;
}

/* May the oldest message be read? One with descriptors stays where it is (threats C1). */
static bool is_readable(struct rf__link *link)
{
	if (!link->suspect || !rf__socket_carries_fds(link->sock))
		return true;
	rf__link_break(link, "the peer sent descriptors that nobody asked for");
	return false;
}

/* A message of the control socket. */
struct message {
	unsigned char bytes[RF__FDS_BYTES];
	int fds[RF_FDS_MAX];
	unsigned n_fds;
};

/* Where no descriptors were agreed on, none is received: the kernel discards them. */
static ssize_t receive(struct rf__link *link, struct message *message)
{
	ssize_t n;

	message->n_fds = 0;
	if (link->fds)
		return rf__socket_receive(link->sock, message->bytes, sizeof(message->bytes),
			message->fds, RF_FDS_MAX, &message->n_fds);
	n = recv(link->sock, message->bytes, sizeof(message->bytes), MSG_DONTWAIT | MSG_TRUNC);
	return n < 0 ? -errno : n;
}

static bool is_kick(const struct message *message, ssize_t len)
{
	return len == 1 && !message->n_fds &&
	       (message->bytes[0] == RF__WAKE_CONSUMER || message->bytes[0] == RF__WAKE_PRODUCER);
}

static int cannot_receive(struct rf__link *link, int error)
{
	switch (error) {
	case -EMFILE:
		return rf__link_break(link, "descriptors are lost: this process has too many");
	case -ENFILE:
		return rf__link_break(link, "descriptors are lost: the system has too many");
	default:
		return error;
	}
}

/* 0 bytes are no end of file here (threats C4). Bounded: what is left is reported again. */
int rf__link_read(struct rf__link *link)
{
	struct message message;
	ssize_t n;
	int i;

	for (i = 0; i < DRAIN_MOST; i++) {
		if (!is_readable(link))
			return -EPROTO;
		n = receive(link, &message);
		if (n == -EAGAIN || n == -EINTR || n == -EPIPE)
			return i;
		if (n < 0)
			return cannot_receive(link, (int)n);
		if (is_kick(&message, n))
			continue;
		if (!link->fds && n == 0 && hung_up(link))
			return i;
		if (!link->fds)
			return rf__link_break(link, "the peer sent something that is no kick");
		if (rf__fds_arrived(link, message.bytes, (size_t)n, message.fds, message.n_fds) < 0)
			return -EPROTO;
	}
	return i;
}

/* Between a look and the reading nobody else may read. Who comes second waits for the first, which never
 * takes long: were it to go on, the socket would wake it again and again until the first has read. */
static int drain(struct rf__link *link)
{
	pthread_mutex_t *lock = link->fds ? &link->fds->lock : &link->reading;
	int r;

	if (!link->fds && !link->suspect)
		return rf__link_read(link);
	pthread_mutex_lock(lock);
	r = rf__link_read(link);
	pthread_mutex_unlock(lock);
	return r;
}

/* Pairs with sleep_once(): either its half sees what we saw, or we see it asleep. */
void rf__link_wake_sleepers(struct rf__link *link, const struct rf__bell *self)
{
	int i;

	for (i = 0; i < 2; i++)
		if (link->bells[i] && link->bells[i] != self &&
			__atomic_load_n(&link->bells[i]->asleep, __ATOMIC_SEQ_CST))
			rf__bell_wake(link->bells[i]);
}

static void take_in(struct rf__link *link, const struct rf__bell *self, int epoll,
	const struct epoll_event *event)
{
	enum source source = (enum source)(event->data.u64 & UINT32_MAX);
	uint64_t count;

	if (source == WAKE && read((int)(event->data.u64 >> 32), &count, sizeof(count)) < 0)
		return; /* nothing there after all */
	if (source == PIDFD ||
		(source == SOCKET && event->events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)))
		rf__link_set(link, RF__GONE);
	else if (source == SOCKET && event->events & EPOLLOUT)
		change(epoll, link->sock, EPOLLRDHUP, SOCKET); /* roused */
	else if (source == SOCKET && drain(link) > 0)
		rf__link_wake_sleepers(link, self);
}

/* epoll_pwait2(2) needs Linux 5.11, and sandboxes may not know it; milliseconds are rounded up, so
 * that no deadline is missed early. */
static int wait_for_events(int epoll, struct epoll_event *events, const struct timespec *timeout)
{
	int n = epoll_pwait2(epoll, events, EVENTS_MOST, timeout, NULL);
	int64_t msec;

	if (n >= 0 || (errno != ENOSYS && errno != EPERM))
		return n;
	msec = timeout ? (int64_t)timeout->tv_sec * 1000 + (timeout->tv_nsec + 999999) / 1000000
		       : -1;
	return epoll_wait(epoll, events, EVENTS_MOST, msec > INT32_MAX ? INT32_MAX : (int)msec);
}

int rf__link_harvest(struct rf__link *link, const struct rf__bell *self, int epoll,
	const struct timespec *timeout)
{
	struct epoll_event events[EVENTS_MOST];
	int n = wait_for_events(epoll, events, timeout), i;

	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	for (i = 0; i < n; i++)
		take_in(link, self, epoll, &events[i]);
	return n;
}

bool rf__link_check_alive(struct rf__link *link)
{
	if (!hung_up(link))
		return true;
	rf__link_set(link, RF__GONE);
	return false;
}

/* Storms */

/* Listens to kicks in an epoll, of the half self or of both, or does not. Hang-ups, exits and
 * our own eventfds are heard all the same. */
static void listen_to_kicks(struct rf__link *link, const struct rf__bell *self, int epoll, bool on)
{
	int i;

	if (link->doorbell == RF_DOORBELL_SOCKET)
		change(epoll, link->sock, EPOLLRDHUP | (on ? EPOLLIN : 0u), SOCKET);
	for (i = 0; i < 2; i++)
		if (link->bells[i] && (!self || link->bells[i] == self))
			change(epoll, link->bells[i]->own, on ? EPOLLIN | EPOLLET : 0u, BELL);
}

bool rf__storm_count(
	struct rf__storm *storm, struct rf__link *link, const struct rf__bell *self, int epoll)
{
	uint32_t progress = __atomic_load_n(&link->progress, __ATOMIC_RELAXED);
	uint64_t now = rf__now(), most;

	if (now - storm->since_ns > STORM_NS) {
		storm->since_ns = now;
		storm->idle = 0;
		storm->progress = progress;
	}
	/* a kick for the other half wakes this one as well */
	most = STORM_MOST + STORM_SHARE * (uint64_t)(progress - storm->progress);
	if (++storm->idle <= most || storm->deaf_until_ns)
		return false;
	storm->deaf_until_ns = rf__later(now, DEAF_NS);
	listen_to_kicks(link, self, epoll, false);
	return true;
}

uint64_t rf__storm_until(
	struct rf__storm *storm, struct rf__link *link, const struct rf__bell *self, int epoll)
{
	uint64_t now;

	if (!storm->deaf_until_ns)
		return RF_FOREVER;
	now = rf__now();
	if (now >= storm->deaf_until_ns) {
		*storm = (struct rf__storm){.since_ns = now,
			.progress = __atomic_load_n(&link->progress, __ATOMIC_RELAXED)};
		listen_to_kicks(link, self, epoll, true);
		return RF_FOREVER;
	}
	storm->poll_ns = storm->poll_ns ? storm->poll_ns * 2 : POLL_FIRST_NS;
	if (storm->poll_ns > POLL_MOST_NS)
		storm->poll_ns = POLL_MOST_NS;
	return rf__later(now, storm->poll_ns);
}
