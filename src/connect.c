/* SPDX-License-Identifier: MIT */
/* rf_connect(): find the listener, check who it is, shake hands. */
#include "address.h"
#include "handshake.h"
#include "options.h"
#include "util/clock.h"
#include "util/fd.h"
#include "util/kernel.h"

#include <time.h>

#define RETRY_FIRST_NS (RF__MSEC / 2)
#define RETRY_MOST_NS  (50 * RF__MSEC)
#define HANDSHAKE_NS   (5 * RF__SEC)
#define SETTLING_NS    (100 * RF__MSEC)

static bool not_there_yet(int error)
{
	return error == ENOENT || error == ECONNREFUSED || error == EAGAIN;
}

/* A listener gives its file the right permissions just after bind(2) has made it. */
static bool is_settling(int error, uint64_t *until_ns)
{
	uint64_t now = rf__now();

	if (error != EACCES)
		return false;
	if (!*until_ns)
		*until_ns = rf__later(now, SETTLING_NS);
	return now < *until_ns;
}

static int try_connect(int sock, const struct rf__address *address)
{
	int r;

	do
		r = connect(sock, (const struct sockaddr *)&address->name, address->name_len);
	while (r < 0 && errno == EINTR);
	return r;
}

static void sleep_until(uint64_t until_ns)
{
	struct timespec t = rf__timespec(until_ns);

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
		;
}

/* Nobody listens there yet, or the queue is full: again, less and less often. */
static int connect_until(int sock, const struct rf__address *address, uint64_t deadline_ns,
	struct rf__reason *reason)
{
	uint64_t pause = RETRY_FIRST_NS, settling = 0, again;
	int error;

	while (try_connect(sock, address) < 0) {
		error = errno;
		if (!deadline_ns || (!not_there_yet(error) && !is_settling(error, &settling)))
			return rf__fail_error(reason, -error, "%s", address->text);
		if (rf__now() >= deadline_ns)
			return rf__fail(reason, -ETIMEDOUT, "%s: nobody listened there in time",
				address->text);
		again = rf__later(rf__now(), pause);
		sleep_until(again < deadline_ns ? again : deadline_ns);
		pause = 2 * pause < RETRY_MOST_NS ? 2 * pause : RETRY_MOST_NS;
	}
	return 0;
}

/* A socket of our own, connected; of "fd:N" a duplicate. */
static int open_socket(
	const struct rf__address *address, uint64_t deadline_ns, struct rf__reason *reason)
{
	int sock, r;

	if (address->kind == RF__ADDRESS_FD) {
		r = rf__socket_inherit(address->fd, reason);
		if (r == RF__SOCKET_LISTENS)
			return rf__fail(reason, -EINVAL, "fd:%d: listens, it is not connected",
				address->fd);
		return r < 0 ? r : rf__socket_duplicate(address->fd, reason);
	}
	sock = rf__socket_new(reason);
	if (sock < 0)
		return sock;
	r = connect_until(sock, address, deadline_ns, reason);
	if (r < 0)
		rf__close(&sock);
	return r < 0 ? r : sock;
}

static int await_message(struct rf__handshake *h, uint64_t deadline_ns)
{
	int r = rf__socket_wait(h->channel->link.sock, deadline_ns);

	if (r == -ETIMEDOUT)
		return rf__fail(
			&h->wire.reason, r, "the listener did not complete the handshake in time");
	return r < 0 ? rf__fail_error(&h->wire.reason, r, "cannot wait for the listener") : 0;
}

static int shake_hands(struct rf__handshake *h, uint64_t deadline_ns)
{
	int r = rf__handshake_step(h), w = 0;

	while (r == RF__HANDSHAKE_WAIT || r == RF__HANDSHAKE_MORE) {
		if (r == RF__HANDSHAKE_WAIT)
			w = await_message(h, deadline_ns);
		if (w < 0)
			return w;
		r = rf__handshake_step(h);
	}
	return r;
}

/* Takes sock over. Only a listener that we accept may send us descriptors. */
static int make_channel(int sock, enum rf__origin origin, const struct rf_options *options,
	struct rf_channel **ret_channel, struct rf__reason *reason)
{
	struct rf__identity identity = RF__IDENTITY_INIT;
	struct rf_channel *channel = NULL;
	struct rf__reason why;
	int r = rf__identity_read(sock, origin, &identity, reason);

	if (r >= 0) {
		r = rf__identity_check(&identity, sock, options, &why);
		if (r < 0)
			rf__fail(reason, r, "the listener is one we do not admit: %s", why.text);
	}
	if (r >= 0) {
		channel = rf__channel_new(sock, &identity, options);
		r = channel ? 0 : rf__fail(reason, -ENOMEM, "no memory for a channel");
	}
	rf__identity_close(&identity);
	if (r < 0)
		rf__close(&sock);
	*ret_channel = channel;
	return r;
}

/* What came for an eventfd could not be looked at without it (rf__bell_verify()). */
static bool has_proc(void)
{
	return rf__kernel_has(RF__KERNEL_PROC) && access("/proc/self/fd", X_OK) == 0;
}

static int connect_with(const struct rf__address *address, const struct rf_options *options,
	uint64_t deadline_ns, struct rf_channel **ret_channel, struct rf__reason *reason)
{
	enum rf__origin origin = address->kind == RF__ADDRESS_FD ? RF__INHERITED : RF__CONNECTED;
	int sock = open_socket(address, deadline_ns, reason), r;
	struct rf__handshake h;
	struct rf__wish wish;

	if (sock < 0)
		return sock;
	r = make_channel(sock, origin, options, &h.channel, reason);
	if (r < 0)
		return r;
	rf__socket_allow_fds(sock, true);
	wish = rf__options_wish(options, &h.channel->identity, origin, false);
	if (!has_proc())
		wish.doorbells &= ~(uint32_t)RF__BELL_EVENTFD;
	rf__handshake_begin(&h, h.channel, false, &wish);
	r = shake_hands(&h, deadline_ns ? deadline_ns : rf__later(rf__now(), HANDSHAKE_NS));
	if (r == RF__HANDSHAKE_OPEN)
		*ret_channel = rf__handshake_take(&h);
	else
		*reason = h.wire.reason;
	rf__handshake_end(&h);
	return r < 0 ? r : 0;
}

int rf_connect(const char *address, const struct rf_options *options, uint64_t deadline_ns,
	struct rf_channel **ret_channel)
{
	struct rf__reason *reason = rf__reason_begin();
	struct rf__address parsed;
	struct rf_options read;
	int r = rf__address_parse(address, &parsed, reason);

	if (r >= 0 && !ret_channel)
		r = rf__fail(reason, -EINVAL, "ret_channel is NULL");
	if (r >= 0)
		r = rf__options_read(options, true, &read, reason);
	if (r < 0)
		return r;
	rf__options_register(&read);
	r = connect_with(&parsed, &read, deadline_ns, ret_channel, reason);
	if (r >= 0 && parsed.kind == RF__ADDRESS_FD)
		rf__close(&parsed.fd);
	return r;
}
