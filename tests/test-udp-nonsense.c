/* SPDX-License-Identifier: MIT */
/* Receiving UDP with a kernel that is made up: it tells nonsense about what came, or nothing but
 * errors. */
#include "udp-fixture.h"

#include <netinet/udp.h>
#include <stdlib.h>

int __wrap_recvmmsg(
	int sock, struct mmsghdr *messages, unsigned n, int flags, struct timespec *timeout);
ssize_t __wrap_recvfrom(
	int sock, void *to, size_t size, int flags, struct sockaddr *from, socklen_t *from_len);

static unsigned char data[4][1000];

/* Random numbers from a seed. */
static uint32_t random_state;

static unsigned below(unsigned n)
{
	random_state = random_state * UINT32_C(1664525) + UINT32_C(1013904223);
	return (unsigned)(((uint64_t)random_state * n) >> 32);
}

static struct {
	int always;
	unsigned calls;
	unsigned lens[4]; /* of the datagrams that come; 0: no more */
	unsigned char control[128];
	size_t control_len;
} nonsense;

int __wrap_recvmmsg(
	int sock, struct mmsghdr *messages, unsigned n, int flags, struct timespec *timeout)
{
	unsigned i;

	assert_true(sock >= 0 && flags & MSG_DONTWAIT && !timeout);
	nonsense.calls++;
	errno = nonsense.always ? nonsense.always : EAGAIN;
	if (nonsense.always || !nonsense.lens[0])
		return -1;
	for (i = 0; i < n && i < 4 && nonsense.lens[i]; i++) {
		messages[i].msg_len = nonsense.lens[i];
		memmove(messages[i].msg_hdr.msg_control, nonsense.control, nonsense.control_len);
		messages[i].msg_hdr.msg_controllen = nonsense.control_len;
	}
	return (int)i;
}

ssize_t __wrap_recvfrom(
	int sock, void *to, size_t size, int flags, struct sockaddr *from, socklen_t *from_len)
{
	struct mmsghdr message = {.msg_hdr = {.msg_name = from, .msg_control = nonsense.control}};

	assert_true(to && size && from_len);
	return __wrap_recvmmsg(sock, &message, 1, flags, NULL) < 0 ? -1 : (ssize_t)message.msg_len;
}

static void add_control(int level, int type, size_t told, const void *value, size_t len)
{
	struct cmsghdr header = {.cmsg_level = level, .cmsg_type = type, .cmsg_len = told};
	unsigned char *at = nonsense.control + nonsense.control_len;

	memcpy(at, &header, sizeof(header));
	memcpy(at + CMSG_LEN(0), value, len);
	nonsense.control_len += CMSG_SPACE(len);
}

static struct rf__udp *open_listening(void)
{
	memset(&nonsense, 0, sizeof(nonsense));
	return open_with(&(struct rf__udp_options){
		.bind = v4_at("127.0.0.1", 0), .flags = RF__UDP_ECN | RF__UDP_INFO | RF__UDP_JOIN});
}

static struct rf__udp_in receive_nonsense(struct rf__udp *udp, unsigned len)
{
	struct rf__udp_in in = {.data = data, .size = 1000};

	nonsense.lens[0] = len;
	assert_int_equal(rf__udp_receive(udp, &in, 1), 1);
	assert_true(in.len <= 1000);
	assert_int_equal(in.len + in.cut, len);
	assert_true(in.segment_bytes > 0);
	assert_true(rf__udp_segments(&in) >= 1);
	return in;
}

static void control_data_that_nobody_knows_is_skipped(void **state)
{
	struct rf__udp *udp = open_listening();
	unsigned char mark = 0xff;
	int number = 7;

	(void)state;
	add_control(SOL_SOCKET, SCM_RIGHTS, CMSG_LEN(4), &number, 4);
	add_control(SOL_UDP, 9999, CMSG_LEN(4), &number, 4);
	add_control(SOL_IP, IP_TOS, CMSG_LEN(1), &mark, 1);
	assert_int_equal(receive_nonsense(udp, 100).ecn, 3);
	rf__udp_close(udp);
}

static void control_data_that_is_too_short_is_skipped(void **state)
{
	struct rf__udp *udp = open_listening();
	unsigned char bytes[40];
	struct rf__udp_in in;

	(void)state;
	memset(bytes, 0xff, sizeof(bytes));
	add_control(SOL_UDP, UDP_GRO, CMSG_LEN(3), bytes, 3);
	add_control(SOL_IP, IP_TOS, CMSG_LEN(0), bytes, 0);
	add_control(SOL_IPV6, IPV6_TCLASS, CMSG_LEN(3), bytes, 3);
	in = receive_nonsense(udp, 100);
	assert_int_equal(in.ecn, 0);
	assert_int_equal(in.segment_bytes, 100);
	nonsense.control_len = 0;
	add_control(SOL_IP, IP_PKTINFO, CMSG_LEN(sizeof(struct in_pktinfo) - 1), bytes, 11);
	add_control(SOL_IPV6, IPV6_PKTINFO, CMSG_LEN(19), bytes, 19);
	assert_int_equal(receive_nonsense(udp, 100).local.family, AF_UNSPEC);
	rf__udp_close(udp);
}

static void control_data_that_is_random_harms_nobody(void **state)
{
	struct rf__udp *udp = open_listening();
	unsigned i, k, rounds = rf_test_rounds(20000);

	(void)state;
	random_state = 1;
	for (i = 0; i < rounds; i++) {
		for (k = 0; k < sizeof(nonsense.control); k++)
			nonsense.control[k] = (unsigned char)(below(3) ? below(130) : 0);
		nonsense.control_len = below(sizeof(nonsense.control) + 1);
		receive_nonsense(udp, 1 + below(70000));
	}
	rf__udp_close(udp);
}

static void segments_are_inside_what_came(void **state)
{
	static const int sizes[] = {-1, 0, 1, 99, 100, 101, 65535, INT32_MAX, INT32_MIN};
	struct rf__udp *udp = open_listening();
	struct rf__udp_in in;
	struct iovec segment;
	size_t sum;
	unsigned i, k;

	(void)state;
	for (i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		nonsense.control_len = 0;
		add_control(SOL_UDP, UDP_GRO, CMSG_LEN(4), &sizes[i], 4);
		in = receive_nonsense(udp, i & 1 ? 100 : 5000);
		for (k = 0, sum = 0; k < rf__udp_segments(&in); k++) {
			segment = rf__udp_segment(&in, k);
			assert_ptr_equal(segment.iov_base, (unsigned char *)in.data + sum);
			sum += segment.iov_len;
		}
		assert_int_equal(sum, in.len);
	}
	rf__udp_close(udp);
}

static void receiving_fails(int error, int told, unsigned calls)
{
	struct rf__udp *udp = open_listening();
	struct rf__udp_in in = {.data = data, .size = 1000};

	nonsense.always = error;
	assert_int_equal(rf__udp_receive(udp, &in, 1), told);
	assert_int_equal(nonsense.calls, calls);
	assert_int_equal(rf__udp_error(udp), error == ECONNREFUSED ? -ECONNREFUSED : 0);
	rf__udp_close(udp);
}

static void receiving_does_not_try_for_ever(void **state)
{
	(void)state;
	receiving_fails(EAGAIN, -EAGAIN, 1);
	receiving_fails(EINTR, -ENOBUFS, 8);
	receiving_fails(ENOMEM, -ENOBUFS, 1);
	receiving_fails(EFAULT, -EFAULT, 1);
	receiving_fails(ECONNREFUSED, -ENOBUFS, 8);
}

/* A burst is taken in few calls, and somebody who waits for an answer costs one. */
static void calls_adapt_to_what_comes(void **state)
{
	struct rf__udp *udp = open_listening();
	struct rf__udp_in in[4];
	unsigned i;

	(void)state;
	for (i = 0; i < 4; i++)
		in[i] = (struct rf__udp_in){.data = data[i], .size = 100};
	assert_int_equal(rf__udp_receive(udp, in, 4), -EAGAIN);
	nonsense.lens[0] = 10;
	nonsense.calls = 0;
	for (i = 0; i < 10; i++)
		assert_int_equal(rf__udp_receive(udp, in, 4), 1);
	assert_int_equal(nonsense.calls, 10);
	nonsense.lens[1] = nonsense.lens[2] = nonsense.lens[3] = 10;
	for (i = 0; i < 3; i++)
		rf__udp_receive(udp, in, 4);
	nonsense.calls = 0;
	assert_int_equal(rf__udp_receive(udp, in, 4), 4);
	assert_int_equal(rf__udp_receive(udp, in, 4), 4);
	assert_int_equal(nonsense.calls, 2);
	rf__udp_close(udp);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(control_data_that_nobody_knows_is_skipped),
		cmocka_unit_test(control_data_that_is_too_short_is_skipped),
		cmocka_unit_test(control_data_that_is_random_harms_nobody),
		cmocka_unit_test(segments_are_inside_what_came),
		cmocka_unit_test(receiving_does_not_try_for_ever),
		cmocka_unit_test(calls_adapt_to_what_comes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
