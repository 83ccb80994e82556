/* SPDX-License-Identifier: MIT */
/* Sending UDP with a kernel that is made up: it takes part of a list, lacks memory, has no trains or
 * short ones, and reports what others did. Whatever it does, each datagram is sent once at most, in
 * order, and its fate is told. */
#include "udp-fixture.h"

#include <linux/errqueue.h>
#include <netinet/udp.h>
#include <stdlib.h>

#define MOST 400

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
ssize_t __real_recvmsg(int sock, struct msghdr *message, int flags);
int __wrap_sendmmsg(int sock, struct mmsghdr *messages, unsigned n, int flags);
ssize_t __wrap_recvmsg(int sock, struct msghdr *message, int flags);
ssize_t __wrap_sendto(int sock, const void *from, size_t len, int flags, const struct sockaddr *to,
	socklen_t to_len);

static unsigned allocations;

void *__wrap_malloc(size_t size)
{
	allocations++;
	return __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
	allocations++;
	return __real_calloc(n, size);
}

/* Random numbers from a seed. */
static uint32_t random_state;

static unsigned below(unsigned n)
{
	random_state = random_state * UINT32_C(1664525) + UINT32_C(1013904223);
	return (unsigned)(((uint64_t)random_state * n) >> 32);
}

/* The kernel's side. Datagrams are known by the port they go to and the number in front of their
 * bytes, their length follows from it. */

static struct {
	unsigned train_most; /* per message */
	size_t narrow;       /* trains of that size and above get narrow_error at NARROW_PORT */
	int narrow_error;
	unsigned noise; /* one in so many messages meets a passing fault; 0: none */
	unsigned calls;
	int always;     /* every call fails so */
	int reports;    /* in the queue of errors */
	bool forgets;   /* reports are not queued */
	bool connected; /* so that reports reach the socket */
	unsigned n_log;
	struct {
		unsigned number;
		size_t len;
	} log[MOST];
	unsigned n_trains;
	unsigned trains[MOST]; /* datagrams per message, in order */
} kernel;

enum { WIDE_PORT = 1000, NARROW_PORT, FORBIDDEN_PORT, PORTS };

static size_t segment_of(const struct msghdr *header)
{
	const struct cmsghdr *control = header->msg_control;
	uint16_t size = 0;

	if (control && control->cmsg_level == SOL_UDP && control->cmsg_type == UDP_SEGMENT)
		memcpy(&size, CMSG_DATA(control), sizeof(size));
	return size;
}

static size_t flatten(const struct msghdr *header, unsigned char *bytes, size_t room)
{
	size_t len = 0, i;

	for (i = 0; i < header->msg_iovlen; i++) {
		if (header->msg_iov[i].iov_len > room - len)
			return room + 1;
		memcpy(bytes + len, header->msg_iov[i].iov_base, header->msg_iov[i].iov_len);
		len += header->msg_iov[i].iov_len;
	}
	return len;
}

static int passing_fault(void)
{
	static const int faults[] = {EAGAIN, ENOBUFS, EINTR, ECONNREFUSED, ENOMEM, ECONNREFUSED};

	return kernel.noise && !below(kernel.noise) ? faults[below(kernel.connected ? 6 : 3)] : 0;
}

static int refusal(const struct msghdr *header, size_t len, size_t segment)
{
	const union rf__udp_address *to = header->msg_name;
	unsigned n = segment ? (unsigned)((len + segment - 1) / segment) : 1;
	uint16_t port = to ? port_of(to) : WIDE_PORT;

	if (len > RF__UDP_TRAIN_BYTES)
		return EMSGSIZE;
	if (segment && port == NARROW_PORT && segment >= kernel.narrow)
		return kernel.narrow_error;
	if (n > kernel.train_most)
		return EINVAL;
	return port == FORBIDDEN_PORT ? EPERM : 0;
}

static void log_datagrams(const unsigned char *bytes, size_t len, size_t segment)
{
	size_t at = 0, size;
	uint32_t number;

	do {
		size = segment && len - at > segment ? segment : len - at;
		number = 0;
		memcpy(&number, bytes + at, size < sizeof(number) ? size : sizeof(number));
		kernel.log[kernel.n_log].number = number;
		kernel.log[kernel.n_log++].len = size;
		at += size;
	} while (at < len);
}

static int take_message(struct mmsghdr *message)
{
	static unsigned char bytes[RF__UDP_TRAIN_BYTES + 1];
	size_t len = flatten(&message->msg_hdr, bytes, RF__UDP_TRAIN_BYTES);
	size_t segment = segment_of(&message->msg_hdr);
	int error = passing_fault();
	unsigned before = kernel.n_log;

	kernel.reports += error == ECONNREFUSED && !kernel.forgets;
	if (!error)
		error = refusal(&message->msg_hdr, len, segment);
	if (error)
		return error;
	log_datagrams(bytes, len, segment);
	kernel.trains[kernel.n_trains++] = kernel.n_log - before;
	message->msg_len = (unsigned)len;
	return 0;
}

/* Trains are made of a bounded number of vectors. */
static void assert_vectors(const struct mmsghdr *messages, unsigned n)
{
	size_t vectors = 0;
	unsigned i;

	for (i = 0; i < n; i++)
		if (segment_of(&messages[i].msg_hdr))
			vectors += messages[i].msg_hdr.msg_iovlen;
	assert_true(vectors <= 1024);
}

/* As sendmmsg(2): what stopped it in the middle is lost. */
int __wrap_sendmmsg(int sock, struct mmsghdr *messages, unsigned n, int flags)
{
	unsigned i;
	int error = kernel.always;

	assert_true(sock >= 0 && flags & MSG_DONTWAIT);
	kernel.calls++;
	assert_vectors(messages, n);
	for (i = 0; i < n && !error; i++)
		error = take_message(&messages[i]);
	if (!error)
		return (int)n;
	errno = error;
	return i > 1 ? (int)i - 1 : -1;
}

ssize_t __wrap_sendto(int sock, const void *from, size_t len, int flags, const struct sockaddr *to,
	socklen_t to_len)
{
	struct iovec part = {(void *)(uintptr_t)from, len};
	struct mmsghdr message = {.msg_hdr = {.msg_name = (void *)(uintptr_t)to,
					  .msg_namelen = to_len,
					  .msg_iov = &part,
					  .msg_iovlen = 1}};

	return __wrap_sendmmsg(sock, &message, 1, flags) < 0 ? -1 : (ssize_t)message.msg_len;
}

ssize_t __wrap_recvmsg(int sock, struct msghdr *message, int flags)
{
	struct sock_extended_err report = {
		.ee_errno = ECONNREFUSED, .ee_origin = SO_EE_ORIGIN_ICMP};
	struct cmsghdr *control = message->msg_control;

	if (!(flags & MSG_ERRQUEUE))
		return __real_recvmsg(sock, message, flags);
	if (!kernel.reports) {
		errno = EAGAIN;
		return -1;
	}
	kernel.reports--;
	control->cmsg_level = SOL_IP;
	control->cmsg_type = IP_RECVERR;
	control->cmsg_len = CMSG_LEN(sizeof(report));
	memcpy(CMSG_DATA(control), &report, sizeof(report));
	message->msg_controllen = CMSG_SPACE(sizeof(report));
	return 0;
}

/* Lists */

static unsigned char data[MOST][1600];
static struct iovec parts[MOST][2];
static struct rf__udp_out list[MOST];
static union rf__udp_address destinations[PORTS - WIDE_PORT][2]; /* equal ones, elsewhere */
static struct rf__udp_local sources[2];

static void reset(void)
{
	unsigned i;

	memset(&kernel, 0, sizeof(kernel));
	kernel.train_most = 128;
	kernel.narrow = SIZE_MAX;
	for (i = 0; i < PORTS - WIDE_PORT; i++)
		destinations[i][0] = destinations[i][1] =
			v4_at("127.0.0.1", (uint16_t)(WIDE_PORT + i));
	sources[1].family = AF_INET;
	sources[1].own.v4.s_addr = htonl(INADDR_LOOPBACK);
}

static void make_datagram(unsigned i, size_t len, unsigned port)
{
	uint32_t number = i;
	unsigned n = 1 + below(2);
	size_t first = n > 1 && len ? below((unsigned)len) : len;

	memcpy(data[i], &number, sizeof(number));
	parts[i][0] = (struct iovec){data[i], first};
	parts[i][1] = (struct iovec){data[i] + first, len - first};
	list[i] = (struct rf__udp_out){.parts = parts[i],
		.n_parts = n,
		.to = port ? &destinations[port - WIDE_PORT][below(2)] : NULL,
		.error = 1};
}

/* Runs of the same, with exceptions. */
static void make_list(unsigned n, bool connected)
{
	static const size_t sizes[] = {0, 4, 5, 100, 700, 1600};
	unsigned i, run = 0, port = 0, ecn = 0, source = 0;
	size_t len = 0;

	for (i = 0; i < n; i++) {
		if (!run--) {
			run = below(3) ? below(200) : below(3);
			len = sizes[below(6)];
			port = connected ? 0 : WIDE_PORT + below(PORTS - WIDE_PORT);
			ecn = below(4);
			source = below(4) == 0;
		}
		make_datagram(i, below(40) ? len : sizes[below(6)], port);
		list[i].ecn = (uint8_t)ecn;
		list[i].local = below(2) || source ? &sources[source] : NULL;
	}
}

static size_t len_of(unsigned i)
{
	return parts[i][0].iov_len + parts[i][1].iov_len;
}

/* Who goes with whom, said as plainly as possible. */
static bool joins(unsigned first, unsigned i)
{
	unsigned source_of_first = list[first].local == &sources[1];
	unsigned source_of_i = list[i].local == &sources[1];
	unsigned k;
	size_t sum = 0;

	for (k = first; k <= i; k++)
		sum += len_of(k);
	for (k = first; k < i; k++)
		if (len_of(k) != len_of(first))
			return false;
	return len_of(i) && len_of(i) <= len_of(first) && sum <= 65507 && i - first < 128 &&
	       list[i].ecn == list[first].ecn && source_of_i == source_of_first &&
	       (!list[i].to || port_of(list[i].to) == port_of(list[first].to));
}

static unsigned expected_trains(unsigned n, unsigned *trains)
{
	unsigned first = 0, i, count = 0;

	while (first < n) {
		for (i = first + 1; i < n && joins(first, i); i++)
			;
		trains[count++] = i - first;
		first = i;
	}
	return count;
}

static int fate(unsigned i)
{
	if (len_of(i) > RF__UDP_TRAIN_BYTES)
		return -EMSGSIZE;
	return list[i].to && port_of(list[i].to) == FORBIDDEN_PORT ? -EPERM : 0;
}

/* What the kernel sent is what was taken without an error, in order, once. */
static void assert_sent(unsigned taken)
{
	unsigned i, at = 0;

	for (i = 0; i < taken; i++) {
		assert_int_equal(list[i].error, fate(i));
		if (list[i].error)
			continue;
		assert_true(at < kernel.n_log);
		assert_int_equal(kernel.log[at].len, len_of(i));
		if (len_of(i) >= 4)
			assert_int_equal(kernel.log[at].number, i);
		at++;
	}
	assert_int_equal(at, kernel.n_log);
}

static struct rf__udp *open_random(bool connected, unsigned batch)
{
	struct rf__udp_options options = {.bind = v4_at("127.0.0.1", 0), .batch = batch};

	if (connected)
		options.peer = v4_at("127.0.0.1", WIDE_PORT);
	kernel.connected = connected;
	return open_with(&options);
}

/* Sends the first n of the list, however often it takes. */
static void send_list(struct rf__udp *udp, unsigned n)
{
	unsigned taken = 0, calls = 0, got, i;
	int why;

	while (taken < n) {
		why = 1;
		got = rf__udp_send(udp, list + taken, n - taken, &why);
		taken += got;
		assert_true(taken <= n);
		if (taken < n)
			assert_true(why == -EAGAIN || why == -ENOBUFS);
		else
			assert_int_equal(why, 0);
		for (i = taken; i < n; i++)
			assert_int_equal(list[i].error, 1);
		assert_sent(taken);
		assert_true(calls++ < 10 * MOST);
	}
}

static void trains_are_those_of_a_naive_model(void **state)
{
	static unsigned trains[MOST];
	unsigned seed, n, count, rounds = rf_test_rounds(2000);
	struct rf__udp *udp;

	(void)state;
	for (seed = 0; seed < rounds; seed++) {
		random_state = seed;
		reset();
		n = 1 + below(MOST);
		make_list(n, seed & 1);
		for (unsigned i = 0; i < n; i++)
			if (list[i].to && port_of(list[i].to) == FORBIDDEN_PORT)
				list[i].to = &destinations[0][0];
		udp = open_random(seed & 1, seed & 2 ? 0 : 1 + below(100));
		send_list(udp, n);
		count = expected_trains(n, trains);
		if (count != kernel.n_trains ||
			memcmp(trains, kernel.trains, count * sizeof(*trains)) != 0)
			fail_msg("seed %u: other trains", seed);
		rf__udp_close(udp);
	}
}

static void whatever_the_kernel_does_each_goes_once(void **state)
{
	static const int errors[] = {EMSGSIZE, EINVAL, EIO};
	unsigned seed, n, rounds = rf_test_rounds(3000);
	struct rf__udp *udp;

	(void)state;
	for (seed = 0; seed < rounds; seed++) {
		random_state = seed;
		reset();
		kernel.train_most = below(3) ? 128 : 64;
		kernel.narrow = below(1600);
		kernel.narrow_error = errors[below(3)];
		kernel.noise = below(2) ? 2 + below(20) : 0;
		n = 1 + below(MOST);
		make_list(n, seed & 1);
		udp = open_random(seed & 1, below(2) ? 0 : 1 + below(20));
		send_list(udp, n);
		rf__udp_close(udp);
	}
}

/* n datagrams of one size for one destination. */
static void make_equal(unsigned n, size_t len, unsigned port)
{
	unsigned i;

	for (i = 0; i < n; i++)
		make_datagram(i, len, port);
}

static struct rf__udp_stats send_equal(struct rf__udp *udp, unsigned n, size_t len, unsigned port)
{
	struct rf__udp_stats stats;

	kernel.n_log = kernel.n_trains = kernel.calls = 0;
	make_equal(n, len, port);
	send_list(udp, n);
	rf__udp_get_stats(udp, &stats);
	return stats;
}

static void a_kernel_with_short_trains_is_found_out_once(void **state)
{
	struct rf__udp *udp;

	(void)state;
	reset();
	kernel.train_most = 64;
	udp = open_random(false, 0);
	assert_int_equal(send_equal(udp, 200, 10, WIDE_PORT).train_most, 64);
	assert_int_equal(kernel.n_trains, 4);
	assert_int_equal(kernel.calls, 2);
	assert_int_equal(send_equal(udp, 200, 10, WIDE_PORT).out_apart, 1);
	assert_int_equal(kernel.calls, 1);
	rf__udp_close(udp);
}

static void a_narrow_destination_is_remembered_and_costs_no_other(int error)
{
	struct rf__udp *udp;
	unsigned i;

	reset();
	kernel.narrow = 1000;
	kernel.narrow_error = error;
	udp = open_random(false, 0);
	assert_int_equal(send_equal(udp, 30, 1200, NARROW_PORT).train_most, 128);
	assert_int_equal(kernel.n_trains, 30);
	assert_int_equal(send_equal(udp, 30, 1200, NARROW_PORT).out_apart, 1);
	assert_int_equal(kernel.calls, 1);
	assert_int_equal(send_equal(udp, 30, 1200, WIDE_PORT).out_trains, 1);
	assert_int_equal(send_equal(udp, 30, 900, NARROW_PORT).out_trains, 2);
	for (i = 0; i < 4200; i += 100)
		send_equal(udp, 100, 1200, NARROW_PORT);
	assert_int_equal(send_equal(udp, 1, 1200, NARROW_PORT).out_apart, 2);
	kernel.narrow = SIZE_MAX;
	for (i = 0; i < 4200; i += 100)
		send_equal(udp, 100, 1200, NARROW_PORT);
	assert_true(send_equal(udp, 100, 1200, NARROW_PORT).out_trains > 3);
	rf__udp_close(udp);
}

static void a_destination_without_trains_says_nothing_about_the_kernel(void **state)
{
	struct rf__udp *udp;
	unsigned i;

	(void)state;
	reset();
	kernel.narrow = 100;
	kernel.narrow_error = EINVAL;
	udp = open_random(false, 0);
	for (i = 0; i < 200; i++)
		make_datagram(i, 100, i < 100 ? NARROW_PORT : WIDE_PORT);
	send_list(udp, 200);
	assert_int_equal(stats_of(udp).train_most, 128);
	assert_int_equal(kernel.n_trains, 101);
	rf__udp_close(udp);
}

/* Every second byte, so that no vectors can be joined. */
static void datagrams_of_many_parts_make_shorter_trains(void **state)
{
	static struct iovec pieces[MOST][20];
	struct rf__udp *udp;
	unsigned i, k;

	(void)state;
	reset();
	udp = open_random(true, 0);
	for (i = 0; i < 200; i++) {
		make_datagram(i, 20, 0);
		for (k = 0; k < 20; k++)
			pieces[i][k] = (struct iovec){&data[i][k ? 40 + 2 * k : 0], k ? 1 : 4};
		parts[i][0] = (struct iovec){data[i], 23};
		parts[i][1].iov_len = 0;
		list[i].parts = pieces[i];
		list[i].n_parts = 20;
	}
	send_list(udp, 200);
	assert_int_equal(kernel.n_trains, 4);
	assert_int_equal(kernel.trains[0], 1024 / 20);
	assert_int_equal(kernel.calls, 4);
	rf__udp_close(udp);
}

static void narrow_destinations_are_remembered_for_a_while(void **state)
{
	(void)state;
	a_narrow_destination_is_remembered_and_costs_no_other(EMSGSIZE);
	a_narrow_destination_is_remembered_and_costs_no_other(EINVAL);
	a_narrow_destination_is_remembered_and_costs_no_other(EIO);
}

static void a_filter_answers_for_the_whole_train(void **state)
{
	struct rf__udp *udp;
	struct rf__udp_stats stats;

	(void)state;
	reset();
	udp = open_random(false, 0);
	stats = send_equal(udp, 30, 100, FORBIDDEN_PORT);
	assert_int_equal(stats.out_errors, 30);
	assert_int_equal(stats.out_calls, 1);
	assert_int_equal(stats.out_apart, 0);
	rf__udp_close(udp);
}

static void nothing_is_taken(int error, int told, unsigned calls)
{
	struct rf__udp *udp;
	int why = 1;

	reset();
	udp = open_random(true, 0);
	make_equal(10, 100, 0);
	kernel.always = error;
	kernel.reports = error == ECONNREFUSED ? 1000000 : 0;
	assert_int_equal(rf__udp_send(udp, list, 10, &why), 0);
	assert_int_equal(why, told);
	assert_int_equal(kernel.calls, calls);
	assert_int_equal(list[0].error, 1);
	rf__udp_close(udp);
}

static void what_lasts_ends_the_call(void **state)
{
	(void)state;
	nothing_is_taken(EAGAIN, -EAGAIN, 1);
	nothing_is_taken(ENOBUFS, -ENOBUFS, 1);
	nothing_is_taken(ENOMEM, -ENOBUFS, 1);
	nothing_is_taken(EINTR, -ENOBUFS, 8);
	nothing_is_taken(ECONNREFUSED, -ENOBUFS, 8);
}

static void how_sending_ended_is_counted(void **state)
{
	struct rf__udp *udp;
	struct rf__udp_stats stats;
	int why;

	(void)state;
	reset();
	udp = open_random(true, 0);
	make_equal(10, 100, 0);
	kernel.always = EAGAIN;
	rf__udp_send(udp, list, 10, &why);
	kernel.always = ENOBUFS;
	rf__udp_send(udp, list, 10, &why);
	rf__udp_get_stats(udp, &stats);
	assert_int_equal(stats.out_again, 1);
	assert_int_equal(stats.out_no_memory, 1);
	rf__udp_close(udp);
}

/* A report is told, whether it stopped a call at its beginning or in the middle; one that was not
 * queued, where it is the call's own error. */
static void reports_are_told(bool forgets)
{
	struct rf__udp *udp = open_random(true, forgets ? 1 : 0);
	struct rf__udp_stats stats;
	unsigned i;

	kernel.noise = 5;
	kernel.forgets = forgets;
	for (i = 0; i < 20; i++)
		make_datagram(i, 4 + 4 * (size_t)(i & 1), 0);
	random_state = 1;
	send_list(udp, 20);
	rf__udp_get_stats(udp, &stats);
	assert_true(stats.reported > 0);
	assert_int_equal(rf__udp_error(udp), -ECONNREFUSED);
	assert_int_equal(rf__udp_error(udp), 0);
	rf__udp_close(udp);
}

static void a_report_that_stops_a_call_is_told(void **state)
{
	(void)state;
	reset();
	reports_are_told(false);
	reset();
	reports_are_told(true);
}

static void nothing_is_allocated_after_opening(void **state)
{
	struct rf__udp *udp;
	struct rf__udp_in in = {.data = data, .size = sizeof(data[0])};
	unsigned before;
	int why;

	(void)state;
	reset();
	assert_true(allocations > 0 || rf_test_instrumented());
	udp = open_random(true, 0);
	make_equal(MOST, 100, 0);
	kernel.noise = 20;
	before = allocations;
	rf__udp_send(udp, list, MOST, &why);
	assert_int_equal(rf__udp_receive(udp, &in, 1), -EAGAIN);
	rf__udp_error(udp);
	assert_int_equal(allocations, before);
	rf__udp_close(udp);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(trains_are_those_of_a_naive_model),
		cmocka_unit_test(whatever_the_kernel_does_each_goes_once),
		cmocka_unit_test(a_kernel_with_short_trains_is_found_out_once),
		cmocka_unit_test(narrow_destinations_are_remembered_for_a_while),
		cmocka_unit_test(a_destination_without_trains_says_nothing_about_the_kernel),
		cmocka_unit_test(datagrams_of_many_parts_make_shorter_trains),
		cmocka_unit_test(a_filter_answers_for_the_whole_train),
		cmocka_unit_test(what_lasts_ends_the_call),
		cmocka_unit_test(how_sending_ended_is_counted),
		cmocka_unit_test(a_report_that_stops_a_call_is_told),
		cmocka_unit_test(nothing_is_allocated_after_opening),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
