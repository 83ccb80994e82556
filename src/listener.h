/* SPDX-License-Identifier: MIT */
/* What a listener is made of: set up in listen.c, used in listener.c. */
#ifndef RF_LISTENER_H
#define RF_LISTENER_H

#include "handshake.h"
#include "path.h"
#include "publisher.h"
#include <ringfort/listener.h>

/* Handshakes that go on at the same time. */
#define PENDING_MOST 16

/* What an epoll event is about: a place in pending, or one of these. */
enum source { SOURCE_LISTEN = PENDING_MOST, SOURCE_STOP };

/* A handshake under way, while handshake.channel is not NULL. */
struct pending {
	struct rf__handshake handshake;
	uint64_t deadline_ns;
	bool busy; /* has work to do without an event */
};

struct rf_listener {
	struct rf__generation generation;
	struct rf_options options;
	uid_t *uids;               /* what options.uids and options.gids point to */
	char type[RF__TYPE_BYTES]; /* what options.type points to */
	gid_t *gids;
	struct rf__quota *quota;
	struct rf_publisher *publisher; /* whose subscribers it accepts; NULL: channels */
	struct rf__path path;
	int sock; /* -1 with a single inherited connection */
	int epoll;
	int stop;      /* eventfd */
	bool listened; /* called listen(2) ourselves */
	bool single;   /* one inherited connection and no more */
	bool suspect;  /* the kernel does not keep descriptors out of what we accept */
	bool paused;   /* sock is not watched: no place free, or accept4(2) failed */
	uint64_t paused_until_ns;
	uint32_t stopped; /* atomic */
	uint64_t accepted, refused, failed,
		handshakes; /* written by the using thread, read by any */
	struct rf__reason reason;
	struct pending pending[PENDING_MOST];
};

/* Makes fd's events wake who waits. 0 or a negative errno. */
int rf__listener_watch(struct rf_listener *l, int fd, uint32_t source);

/* Takes sock over and begins a handshake in a free place. Whom we do not deal with gets a reason
 * and no place. 0 or a negative errno. */
int rf__listener_begin(
	struct rf_listener *l, int sock, enum rf__origin origin, uint64_t deadline_ns);

#endif
