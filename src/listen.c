/* SPDX-License-Identifier: MIT */
/* rf_listen(): a listener is set up. */
#include "address.h"
#include "listener.h"
#include "options.h"
#include "util/fd.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/epoll.h>

/* A copy of n elements; NULL and 0 when there are none. */
static int copy_array(const void *from, size_t n, size_t size, void **ret_copy)
{
	void *copy = n ? calloc(n, size) : NULL;

	if (n && !copy)
		return -ENOMEM;
	if (n)
		memcpy(copy, from, n * size);
	*ret_copy = copy;
	return 0;
}

static int copy_lists(struct rf_listener *l)
{
	struct rf_options *o = &l->options;
	void *copy = NULL;
	int r = copy_array(o->uids, o->n_uids, sizeof(*l->uids), &copy);

	o->uids = l->uids = copy;
	if (r < 0)
		return r;
	r = copy_array(o->gids, o->n_gids, sizeof(*l->gids), &copy);
	o->gids = l->gids = r < 0 ? NULL : copy;
	return r;
}

static int make_quota(struct rf_listener *l)
{
	l->quota = rf__quota_new(&l->options);
	return l->quota ? 0 : -ENOMEM;
}

static int make_epoll(void)
{
	int fd = epoll_create1(EPOLL_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static int prepare(struct rf_listener *l, struct rf__reason *reason)
{
	int r = rf__generation_get(&l->generation);

	if (r >= 0)
		r = copy_lists(l);
	if (r >= 0)
		r = make_quota(l);
	if (r >= 0)
		r = l->stop = rf__bell_eventfd(0);
	if (r >= 0)
		r = l->epoll = make_epoll();
	if (r >= 0)
		r = rf__listener_watch(l, l->stop, SOURCE_STOP);
	return r < 0 ? rf__fail_error(reason, r, "cannot make a listener") : 0;
}

static int new_listener(const struct rf_options *options, struct rf_publisher *publisher,
	struct rf_listener **ret_listener, struct rf__reason *reason)
{
	struct rf_listener *l = calloc(1, sizeof(*l));
	int r;

	if (!l)
		return rf__fail(reason, -ENOMEM, "no memory for a listener");
	l->options = *options;
	l->options.block_uids = NULL; /* the publisher's */
	l->options.n_block_uids = 0;
	l->publisher = publisher;
	if (options->type)
		l->options.type = strcpy(l->type, options->type);
	l->sock = l->stop = l->epoll = -1;
	r = prepare(l, reason);
	if (r < 0)
		rf_listener_close(l);
	else
		*ret_listener = l;
	return r;
}

static int watch_listening(struct rf_listener *l, struct rf__reason *reason)
{
	int r = rf__listener_watch(l, l->sock, SOURCE_LISTEN);

	return r < 0 ? rf__fail_error(reason, r, "cannot watch the socket") : 0;
}

static int listen_on_name(
	struct rf_listener *l, const struct rf__address *address, struct rf__reason *reason)
{
	const struct rf__path_access access = {.mode = l->options.mode,
		.has_group = l->options.flags & RF_OPTION_GROUP,
		.group = l->options.group};
	int r;

	l->sock = rf__socket_new(reason);
	if (l->sock < 0)
		return l->sock;
	l->suspect = !rf__socket_allow_fds(l->sock, false);
	r = rf__path_listen(l->sock, address, &access, &l->path, reason);
	l->listened = r >= 0;
	return r < 0 ? r : watch_listening(l, reason);
}

static int listen_on_fd(struct rf_listener *l, int fd, struct rf__reason *reason)
{
	int kind = rf__socket_inherit(fd, reason), sock, r;

	if (kind < 0)
		return kind;
	if (kind != RF__SOCKET_LISTENS && l->publisher)
		return rf__fail(
			reason, -EINVAL, "fd:%d: is connected, a publisher has to listen", fd);
	sock = rf__socket_duplicate(fd, reason);
	if (sock < 0)
		return sock;
	l->suspect = true; /* descriptors may be queued from before it was ours */
	if (kind == RF__SOCKET_LISTENS) {
		l->sock = sock;
		fcntl(sock, F_SETFL, fcntl(sock, F_GETFL) | O_NONBLOCK);
		return watch_listening(l, reason);
	}
	l->single = true;
	r = rf__listener_begin(l, sock, RF__INHERITED, RF_FOREVER);
	return r < 0 ? rf__fail(reason, r, "%s", l->reason.text) : 0;
}

int rf__listen(const char *address, const struct rf_options *options,
	struct rf_publisher *publisher, struct rf_listener **ret_listener)
{
	struct rf__reason *reason = rf__reason_begin();
	struct rf__address parsed;
	struct rf_options read;
	struct rf_listener *l = NULL;
	int r = rf__address_parse(address, &parsed, reason);

	if (r >= 0 && !ret_listener)
		r = rf__fail(reason, -EINVAL, "ret_listener is NULL");
	if (r >= 0)
		r = rf__options_read(options, false, &read, reason);
	if (r < 0)
		return r;
	rf__options_register(&read);
	r = new_listener(&read, publisher, &l, reason);
	if (r < 0)
		return r;
	r = parsed.kind == RF__ADDRESS_FD ? listen_on_fd(l, parsed.fd, reason)
					  : listen_on_name(l, &parsed, reason);
	if (r < 0) {
		rf_listener_close(l);
		return r;
	}
	if (parsed.kind == RF__ADDRESS_FD)
		rf__close(&parsed.fd);
	*ret_listener = l;
	return 0;
}

int rf_listen(
	const char *address, const struct rf_options *options, struct rf_listener **ret_listener)
{
	return rf__listen(address, options, NULL, ret_listener);
}
