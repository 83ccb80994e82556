/* SPDX-License-Identifier: MIT */
/* Attacks, by hand on the library's internals: see attacks.h. */
#include "attacks.h"

#include "channel-fixture.h"
#include "handshake.h"
#include "options.h"
#include "util/clock.h"
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

const char *hostile_path;

static void nap(unsigned ms)
{
	const struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

	nanosleep(&t, NULL);
}

static struct rf_channel *connect_hostile(void)
{
	static const uid_t uids[] = {0};
	struct rf_options options = channel_options(RF_DOORBELL_AUTO, RF_WAIT_ADAPTIVE);
	struct rf_channel *channel = NULL;

	options.uids = uids;
	options.n_uids = 1;
	if (rf_connect(hostile_path, &options, rf_test_deadline(SOON_MS), &channel) < 0)
		_exit(100);
	return channel;
}

static int kick(struct rf_channel *channel, const char *which)
{
	return send(channel->link.sock, which, 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static struct rf__producer_words *own_producer(struct rf_channel *channel)
{
	return (void *)channel->tx.half.own.base;
}

static struct rf__consumer_words *own_consumer(struct rf_channel *channel)
{
	return (void *)channel->rx.half.own.base;
}

static int garble_tail(void)
{
	struct rf_channel *channel = connect_hostile();

	__atomic_store_n(
		&own_producer(channel)->tail, UINT64_C(0x123456789abcdef0), __ATOMIC_SEQ_CST);
	kick(channel, "c");
	nap(ATTACK_MS);
	return 0;
}

static int garble_head(void)
{
	struct rf_channel *channel = connect_hostile();
	int i;

	__atomic_store_n(&own_consumer(channel)->head, UINT64_MAX - 7, __ATOMIC_SEQ_CST);
	for (i = 0; i < 10000 && send_number(rf_channel_tx(channel), 1, 0) != -EPIPE; i++)
		if (i % 100 == 0)
			nap(1);
	return 0;
}

static int garble_header(void)
{
	struct rf_channel *channel = connect_hostile();
	struct rf_buffer buffer;

	if (rf_tx_reserve(rf_channel_tx(channel), 8, 0, &buffer) < 0)
		return 1;
	rf_tx_commit(rf_channel_tx(channel), &buffer);
	memset((unsigned char *)buffer.data - 8, 0xff, 8);
	rf_tx_publish(rf_channel_tx(channel));
	nap(ATTACK_MS);
	return 0;
}

static int want_nonsense(void)
{
	struct rf_channel *channel = connect_hostile();
	uint64_t end = rf_test_deadline(ATTACK_MS), i;

	for (i = 0; rf__now() < end; i++) {
		uint64_t want = i % 3 ? i * UINT64_C(0x9e3779b97f4a7c15) : 0;

		__atomic_store_n(&own_consumer(channel)->data_want, want, __ATOMIC_SEQ_CST);
		__atomic_store_n(&own_producer(channel)->space_want, ~want, __ATOMIC_SEQ_CST);
		if (i % 64 == 0 && send_number(rf_channel_tx(channel), i, 0) == -EPIPE)
			return 1;
	}
	return 0;
}

static int kick_for_nothing(void)
{
	struct rf_channel *channel = connect_hostile();
	uint64_t end = rf_test_deadline(2 * ATTACK_MS);

	while (rf__now() < end)
		if (kick(channel, "c") == -EPIPE || kick(channel, "p") == -EPIPE)
			return 1;
	return 0;
}

static int never_draw(void)
{
	struct rf_channel *channel = connect_hostile();
	uint64_t end = rf_test_deadline(ATTACK_MS), i;

	for (i = 0; rf__now() < end; i++)
		if (send_number(rf_channel_tx(channel), i, rf_test_deadline(10)) == -EPIPE)
			return 1;
	return 0;
}

static int stop_dead(void)
{
	struct rf_channel *channel = connect_hostile();

	send_number(rf_channel_tx(channel), 1, 0);
	return raise(SIGSTOP);
}

static int close_half(void)
{
	struct rf_channel *channel = connect_hostile();

	shutdown(channel->link.sock, SHUT_WR);
	nap(ATTACK_MS);
	return 0;
}

static int kill_itself(void)
{
	struct rf_channel *channel = connect_hostile();
	struct rf_buffer buffer;

	send_number(rf_channel_tx(channel), 1, 0);
	if (rf_tx_reserve(rf_channel_tx(channel), 100, 0, &buffer) < 0)
		return 1;
	memset(buffer.data, 0xff, 100);
	return raise(SIGKILL);
}

static int leave_an_heir(void)
{
	connect_hostile();
	if (fork())
		return 0;
	nap(5 * ATTACK_MS);
	_exit(0);
}

static int babble(void)
{
	struct rf_channel *channel = connect_hostile();
	char junk[300];
	int i;

	memset(junk, 'x', sizeof(junk));
	for (i = 0; i < 1000; i++)
		if (send(channel->link.sock, junk, sizeof(junk), MSG_DONTWAIT | MSG_NOSIGNAL) < 0 &&
			errno == EAGAIN)
			nap(1);
	return 0;
}

static int send_at_full_rate(void)
{
	struct rf_channel *channel = connect_hostile();
	uint64_t end = rf_test_deadline(ATTACK_MS), i;

	for (i = 0; i % 64 || rf__now() < end; i++)
		send_number(rf_channel_tx(channel), i, 0);
	return 0;
}

/* Regions whose descriptors it kept */

static int spoil(int fd, bool own)
{
	if (!ftruncate(fd, 0) || !ftruncate(fd, 1 << 30))
		return 10;
	if (!fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096))
		return 11;
	if (!fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE))
		return 12;
	if (mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) != MAP_FAILED)
		return 13;
	return own && pwrite(fd, "x", 1, 0) == 1 ? 14 : 0;
}

static int spoil_mapping(const struct rf__region *region, bool own)
{
	if (!own && !mprotect(region->base, 4096, PROT_READ | PROT_WRITE))
		return 20;
	return madvise(region->base, 4096, MADV_REMOVE) ? 0 : 21;
}

static int raw_connect(void)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	snprintf(name.sun_path, sizeof(name.sun_path), "%s", hostile_path);
	if (connect(sock, (const struct sockaddr *)&name, sizeof(name)) < 0) {
		close(sock);
		return -1;
	}
	return sock;
}

/* The handshake by hand; descriptors of the regions, before they are closed: own tx, own rx, peers'. */
static struct rf_channel *shake_and_keep(int fds[4])
{
	struct rf_options options = channel_options(RF_DOORBELL_SOCKET, 0), known;
	struct rf__identity nobody = RF__IDENTITY_INIT;
	struct rf__handshake h;
	struct rf__wish wish;
	struct rf_channel *c;
	int r = rf__options_read(&options, true, &known, NULL);

	c = rf__channel_new(raw_connect(), &nobody, &known);
	rf__socket_allow_fds(c->link.sock, true);
	wish = rf__options_wish(&known, &nobody, RF__CONNECTED, false);
	rf__handshake_begin(&h, c, false, &wish);
	while ((r = rf__handshake_step(&h)) == RF__HANDSHAKE_WAIT || r == RF__HANDSHAKE_MORE) {
		if (c->tx.half.own.fd >= 0 && fds[0] < 0) {
			fds[0] = dup(c->tx.half.own.fd);
			fds[1] = dup(c->rx.half.own.fd);
			fds[2] = dup(c->tx.half.peer.fd);
			fds[3] = dup(c->rx.half.peer.fd);
		}
		if (r == RF__HANDSHAKE_WAIT && !wait_readable(c->link.sock, SOON_MS))
			return NULL;
	}
	return r == RF__HANDSHAKE_OPEN ? c : NULL;
}

static int spoil_regions(void)
{
	int fds[4] = {-1, -1, -1, -1}, i, r = 0;
	struct rf_channel *c = NULL;

	/* A server that is quick leaves no time to take them. */
	for (i = 0; i < 100 && fds[0] < 0; i++) {
		rf_channel_close(c);
		c = shake_and_keep(fds);
	}
	if (!c || fds[0] < 0)
		return 1;
	for (i = 0; i < 4 && !r; i++)
		r = spoil(fds[i], i < 2);
	r = r ? r : spoil_mapping(&c->tx.half.own, true);
	r = r ? r : spoil_mapping(&c->rx.half.own, true);
	r = r ? r : spoil_mapping(&c->tx.half.peer, false);
	r = r ? r : spoil_mapping(&c->rx.half.peer, false);
	nap(ATTACK_MS / 2);
	return r;
}

/* Connections */

static int stuff_descriptors(void)
{
	struct rf_channel *channel = connect_hostile();
	int raw = raw_connect(), i;

	for (i = 0; i < 50; i++) {
		send_many_fds(channel->link.sock, "c", 1, 20);
		send_many_fds(raw, "c", 1, 20);
	}
	nap(ATTACK_MS);
	return 0;
}

static int flood_with_connections(void)
{
	uint64_t end = rf_test_deadline(2 * ATTACK_MS);
	int socks[40], i;

	memset(socks, 0xff, sizeof(socks));
	for (i = 0; rf__now() < end; i = (i + 1) % 40) {
		if (socks[i] >= 0)
			close(socks[i]);
		socks[i] = raw_connect();
		if (socks[i] >= 0 && i % 2)
			send(socks[i], "garbage", 7, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (i % 8 == 0)
			nap(1);
	}
	return 0;
}

static int connect_and_be_silent(void)
{
	int i;

	for (i = 0; i < 40; i++)
		raw_connect();
	nap(ATTACK_MS);
	return 0;
}

const struct row hostile_rows[] = {
	{"p1_nonsense_for_a_tail", garble_tail, -EPROTO, false, false},
	{"p1_nonsense_for_a_head", garble_head, -EPROTO, false, false},
	{"p3_nonsense_for_a_header", garble_header, -EPROTO, false, false},
	{"d8_wants_that_flicker", want_nonsense, -EPIPE, true, false},
	{"d6_a_storm_of_kicks", kick_for_nothing, -EPIPE, false, false},
	{"d9_records_at_full_rate", send_at_full_rate, -EPIPE, true, false},
	{"c5_nothing_is_ever_taken", never_draw, -EPIPE, true, false},
	{"c8_it_stops", stop_dead, -EPIPE, false, true},
	{"c8_it_kills_itself_with_a_reservation_open", kill_itself, -EPIPE, false, false},
	{"c8_an_heir_keeps_the_socket", leave_an_heir, -EPIPE, false, false},
	{"c4_the_socket_is_closed_one_way", close_half, -EPIPE, false, false},
	{"c4_babble_on_the_socket", babble, -EPROTO, false, false},
	{"m1_m2_m3_m4_regions_are_to_be_spoilt", spoil_regions, -EPIPE, false, false},
	{"c1_descriptors_are_sent", stuff_descriptors, ANY, false, false},
	{"c6_a_flood_of_connections", flood_with_connections, ANY, true, false},
	{"c4_handshakes_that_never_begin", connect_and_be_silent, ANY, false, false},
	{NULL, NULL, 0, false, false},
};
