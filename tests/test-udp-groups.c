/* SPDX-License-Identifier: MIT */
/* Groups, and packets that are too long for a route: in a network of this program's own, where
 * nothing but a loopback is. */
#include "udp-fixture.h"

#include <net/if.h>
#include <net/route.h>
#include <sched.h>
#include <sys/ioctl.h>

#define ROUTE_IS_LOCAL 0x80000000u /* RTF_LOCAL of linux/ipv6_route.h, which net/route.h excludes */

#define V4_GROUP "239.1.2.3"
#define V6_GROUP "ff02::1234"

static unsigned loopback;
static struct rf__reason reason;

/* IPv6 wants a route for groups, which a loopback does not bring. */
static bool add_route(void)
{
	struct in6_rtmsg route = {
		.rtmsg_dst_len = 8, .rtmsg_metric = 256, .rtmsg_flags = RTF_UP | ROUTE_IS_LOCAL};
	struct rf__udp_options options = {.bind = v6_at("::", 0)};
	struct rf__udp *udp;
	int r;

	if (rf__udp_open(&options, &udp, NULL))
		return true; /* tests with IPv6 are skipped */

	route.rtmsg_dst.s6_addr[0] = 0xff;
	route.rtmsg_ifindex = (int)loopback;
	r = ioctl(rf__udp_fd(udp), SIOCADDRT, &route);
	rf__udp_close(udp);
	return r == 0;
}

/* As a user of a new network, so that nothing here reaches another. */
static bool enter_network(void)
{
	struct ifreq request = {.ifr_name = "lo"};
	struct rf__udp *udp;
	int r;

	if (unshare(CLONE_NEWUSER | CLONE_NEWNET))
		return false;
	udp = open_at(v4_at("0.0.0.0", 0), 0);
	request.ifr_flags = IFF_UP | IFF_MULTICAST;
	r = ioctl(rf__udp_fd(udp), SIOCSIFFLAGS, &request);
	rf__udp_close(udp);
	loopback = if_nametoindex("lo");
	return r == 0 && add_route();
}

static int enter(void **state)
{
	static int entered = -1;

	(void)state;
	if (entered < 0)
		entered = enter_network();
	rf_test_need("userns", entered);
	return 0;
}

static struct rf__udp *open_sender(bool v6, struct rf__udp_multicast multicast)
{
	multicast.iface = loopback;
	return open_with(&(struct rf__udp_options){
		.bind = v6 ? v6_at("::1", 0) : v4_at("127.0.0.1", 0), .multicast = multicast});
}

static union rf__udp_address group_of(bool v6, uint16_t port)
{
	return v6 ? v6_at(V6_GROUP, port) : v4_at(V4_GROUP, port);
}

/* Everybody's datagrams go through the loopback in order, so what follows shows that something did
 * not come. */
static void assert_nothing_came(struct rf__udp *receiver, struct rf__udp *sender, bool v6)
{
	union rf__udp_address to = v6 ? v6_at("::1", 0) : v4_at("127.0.0.1", 0);

	to.v4.sin_port = rf__udp_name(receiver)->v4.sin_port;
	assert_int_equal(send_bytes(sender, &to, 99, 99), 0);
	receive_bytes(receiver, 99, 99);
}

static void join_and_leave(bool v6)
{
	struct rf__udp *receiver = open_at(v6 ? v6_at("::", 0) : v4_at("0.0.0.0", 0), RF__UDP_INFO);
	struct rf__udp *sender = open_sender(v6, (struct rf__udp_multicast){.hops = 1});
	union rf__udp_address group = group_of(v6, port_of(rf__udp_name(receiver)));
	struct rf__udp_in got;

	assert_int_equal(rf__udp_join(receiver, &group, loopback, &reason), 0);
	assert_int_equal(send_bytes(sender, &group, 50, 1), 0);
	got = receive_bytes(receiver, 50, 1);
	assert_int_equal(got.local.iface, loopback);
	if (v6) {
		assert_memory_equal(&got.local.to.v6, &group.v6.sin6_addr, 16);
		assert_memory_equal(&got.local.own.v6, &in6addr_any, 16);
	} else {
		assert_int_equal(got.local.to.v4.s_addr, group.v4.sin_addr.s_addr);
		assert_int_equal(got.local.own.v4.s_addr, htonl(INADDR_LOOPBACK));
	}
	assert_int_equal(rf__udp_leave(receiver, &group, loopback, &reason), 0);
	assert_int_equal(rf__udp_leave(receiver, &group, loopback, &reason), -EADDRNOTAVAIL);
	send_bytes(sender, &group, 60, 2);
	assert_nothing_came(receiver, sender, v6);
	rf__udp_close(sender);
	rf__udp_close(receiver);
}

static void a_group_is_joined_and_left(void **state)
{
	enter(state);
	join_and_leave(false);
	need_v6();
	join_and_leave(true);
}

static void only_own(bool v6)
{
	union rf__udp_address any = v6 ? v6_at("::", 0) : v4_at("0.0.0.0", 0);
	struct rf__udp *first = open_at(any, RF__UDP_SHARED), *second;
	struct rf__udp *sender = open_sender(v6, (struct rf__udp_multicast){0});
	union rf__udp_address group = group_of(v6, port_of(rf__udp_name(first)));

	any.v4.sin_port = group.v4.sin_port;
	assert_int_equal(rf__udp_join(first, &group, loopback, &reason), 0);
	second = open_at(any, RF__UDP_SHARED);
	send_bytes(sender, &group, 50, 1);
	receive_bytes(first, 50, 1);
	assert_nothing_came(second, sender, v6);
	assert_int_equal(rf__udp_join(second, &group, loopback, &reason), 0);
	send_bytes(sender, &group, 60, 2);
	receive_bytes(first, 60, 2);
	receive_bytes(second, 60, 2);
	rf__udp_close(second);
	rf__udp_close(sender);
	rf__udp_close(first);
}

static void who_did_not_join_gets_nothing(void **state)
{
	enter(state);
	only_own(false);
	need_v6();
	only_own(true);
}

static int option_of(const struct rf__udp *udp, int level, int name)
{
	int value = -1;
	socklen_t len = sizeof(value);

	assert_int_equal(getsockopt(rf__udp_fd(udp), level, name, &value, &len), 0);
	return value;
}

/* A loopback itself loops whatever is said, so only what was set can be seen. */
static void how_groups_are_sent_to_is_set(void **state)
{
	struct rf__udp_multicast multicast = {.hops = 7, .no_loop = true};
	struct rf__udp *udp;

	enter(state);
	udp = open_sender(false, multicast);
	assert_int_equal(option_of(udp, SOL_IP, IP_MULTICAST_TTL), 7);
	assert_int_equal(option_of(udp, SOL_IP, IP_MULTICAST_LOOP), 0);
	rf__udp_close(udp);
	need_v6();
	udp = open_sender(true, multicast);
	assert_int_equal(option_of(udp, SOL_IPV6, IPV6_MULTICAST_HOPS), 7);
	assert_int_equal(option_of(udp, SOL_IPV6, IPV6_MULTICAST_LOOP), 0);
	assert_int_equal(option_of(udp, SOL_IPV6, IPV6_MULTICAST_IF), loopback);
	rf__udp_close(udp);
}

static void a_dual_socket_joins_groups_of_both(void **state)
{
	struct rf__udp *receiver, *sender;
	union rf__udp_address group;
	struct rf__udp_in got;
	const struct in6_addr any = v6_at("::ffff:0.0.0.0", 0).v6.sin6_addr;

	enter(state);
	need_v6();
	receiver = open_at(v6_at("::", 0), RF__UDP_DUAL | RF__UDP_INFO);
	sender = open_sender(false, (struct rf__udp_multicast){0});
	group = group_of(false, port_of(rf__udp_name(receiver)));
	assert_int_equal(rf__udp_join(receiver, &group, loopback, &reason), 0);
	send_bytes(sender, &group, 50, 1);
	got = receive_bytes(receiver, 50, 1);
	assert_int_equal(got.local.to.v6.s6_addr[12], 239);
	assert_memory_equal(&got.local.own.v6, &any, sizeof(any));
	rf__udp_close(sender);
	rf__udp_close(receiver);
}

static void refuses(struct rf__udp *udp, union rf__udp_address group, uint32_t iface, int error,
	const char *words)
{
	assert_int_equal(rf__udp_join(udp, &group, iface, &reason), error);
	if (!strstr(reason.text, words))
		fail_msg("\"%s\" instead of \"%s\"", reason.text, words);
}

static void bad_groups_are_explained(void **state)
{
	struct rf__udp *udp;

	enter(state);
	udp = open_at(v4_at("0.0.0.0", 0), 0);
	refuses(udp, v4_at("192.0.2.1", 0), 0, -EINVAL, "192.0.2.1:0 is no group");
	refuses(udp, v6_at("::1", 0), 0, -EINVAL, "[::1]:0 is no group");
	refuses(udp, v6_at(V6_GROUP, 0), 0, -EINVAL, "not of the socket's family");
	refuses(udp, v4_at(V4_GROUP, 0), 4711, -ENODEV, "interface 4711");
	rf__udp_close(udp);
}

/* Long packets */

static void set_mtu(struct rf__udp *udp, int bytes)
{
	struct ifreq request = {.ifr_name = "lo", .ifr_mtu = bytes};

	assert_int_equal(ioctl(rf__udp_fd(udp), SIOCSIFMTU, &request), 0);
}

#define LONG 1400

static void send_and_receive(struct rf__udp *sender, struct rf__udp *receiver, unsigned n)
{
	static unsigned char data[20][LONG];
	struct rf__udp_out out[20];
	struct iovec parts[20];
	unsigned i;

	for (i = 0; i < n; i++) {
		fill(data[i], LONG, i);
		parts[i] = (struct iovec){data[i], LONG};
		out[i] = (struct rf__udp_out){.parts = &parts[i], .n_parts = 1, .error = 1};
	}
	send_all(sender, out, n);
	for (i = 0; i < n; i++) {
		assert_int_equal(out[i].error, 0);
		receive_bytes(receiver, LONG, i);
	}
}

static void what_is_too_long_for_a_route_goes_one_by_one(void **state)
{
	struct rf__udp *receiver, *sender;

	enter(state);
	receiver = open_at(v4_at("127.0.0.1", 0), 0);
	sender = open_with(&(struct rf__udp_options){.peer = *rf__udp_name(receiver)});
	rf_test_need("gso", stats_of(sender).train_most > 1);
	set_mtu(sender, 1280);
	send_and_receive(sender, receiver, 20);
	assert_int_equal(stats_of(sender).out_apart, 1);
	assert_int_equal(stats_of(sender).out_trains, 0);
	send_and_receive(sender, receiver, 20);
	assert_int_equal(stats_of(sender).out_apart, 1);
	assert_int_equal(rf__udp_error(sender), 0);
	set_mtu(sender, 65536);
	rf__udp_close(sender);
	rf__udp_close(receiver);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_group_is_joined_and_left),
		cmocka_unit_test(who_did_not_join_gets_nothing),
		cmocka_unit_test(how_groups_are_sent_to_is_set),
		cmocka_unit_test(a_dual_socket_joins_groups_of_both),
		cmocka_unit_test(bad_groups_are_explained),
		cmocka_unit_test(what_is_too_long_for_a_route_goes_one_by_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
