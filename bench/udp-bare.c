/* SPDX-License-Identifier: MIT */
/* UDP of the library beside the barest loops that do the same, on the loopback, 1500 bytes, two
 * processes pinned to a processor each: receiving, where a train is sent and comes joined, and echo,
 * one datagram at a time. Rounds alternate between both, each first in every other pair; medians of
 * rounds, and of the ratios of pairs. What is not taken in time is lost, so receiving is counted
 * where it is received. */
#include "udp.h"
#include "util/clock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define DATAGRAM    ((size_t)1500)
#define TRAIN       (RF__UDP_TRAIN_BYTES / DATAGRAM)
#define LIST        (4 * TRAIN)
#define BUFFERS     16
#define BUFFER      65536
#define ROUND_NS    (10 * RF__MSEC)
#define ECHOES      500
#define ROUNDS_MOST 501

enum { BARE, MODULE, KINDS };
enum work { REST, SEND_BARE, SEND_MODULE, ECHO_BARE, ECHO_MODULE, QUIT };

/* What the other process is to do; sleeping: how an echo waits. */
static struct shared {
	_Atomic uint32_t work, done;
	_Atomic bool sleeping;
} * shared;

static unsigned char memory[LIST][DATAGRAM], buffers[BUFFERS][BUFFER];

/* Bare loops use the descriptor only. */
static struct rf__udp *receivers[KINDS], *senders[KINDS], *echoes[KINDS];
static int asking[KINDS];

_Noreturn static void die(const char *what)
{
	fprintf(stderr, "udp-bare: %s: %s\n", what, strerror(errno));
	exit(1);
}

static struct rf__udp *open_socket(const union rf__udp_address *peer, uint32_t flags)
{
	struct rf__udp_options options = {.flags = flags, .receive_bytes = 2 << 20};
	struct rf__reason reason;
	struct rf__udp *udp;

	options.bind.v4.sin_family = AF_INET;
	options.bind.v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (peer)
		options.peer = *peer;
	if (rf__udp_open(&options, &udp, &reason) == 0)
		return udp;
	fprintf(stderr, "udp-bare: %s\n", reason.text);
	exit(1);
}

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((size_t)cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set) < 0)
		die("pinning");
}

/* The other process */

static void send_bare(void)
{
	struct iovec part = {memory, (size_t)TRAIN * DATAGRAM};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
	int fd = rf__udp_fd(senders[BARE]), size = DATAGRAM;

	if (setsockopt(fd, SOL_UDP, UDP_SEGMENT, &size, sizeof(size)) < 0)
		die("UDP_SEGMENT");
	while (shared->work == SEND_BARE)
		sendmsg(fd, &message, 0);
	size = 0;
	setsockopt(fd, SOL_UDP, UDP_SEGMENT, &size, sizeof(size));
}

static void send_module(void)
{
	static struct iovec parts[LIST];
	static struct rf__udp_out list[LIST];
	int why;
	unsigned i;

	for (i = 0; i < LIST; i++) {
		parts[i] = (struct iovec){memory[i], DATAGRAM};
		list[i] = (struct rf__udp_out){.parts = &parts[i], .n_parts = 1};
	}
	while (shared->work == SEND_MODULE)
		rf__udp_send(senders[MODULE], list, LIST, &why);
}

static void echo_bare(void)
{
	int fd = rf__udp_fd(echoes[BARE]), flags = shared->sleeping ? 0 : MSG_DONTWAIT;
	union rf__udp_address peer;
	socklen_t len;
	ssize_t n;

	while (shared->work == ECHO_BARE) {
		len = sizeof(peer);
		n = recvfrom(fd, buffers[0], BUFFER, flags, &peer.any, &len);
		if (n >= 0)
			sendto(fd, buffers[0], (size_t)n, 0, &peer.any, len);
	}
}

static void answer(struct rf__udp *udp, struct rf__udp_in *in, unsigned n)
{
	struct rf__udp_out list[BUFFERS];
	struct iovec parts[BUFFERS];
	unsigned i;
	int why;

	for (i = 0; i < n; i++) {
		parts[i] = (struct iovec){in[i].data, in[i].len};
		list[i] = (struct rf__udp_out){.parts = &parts[i], .n_parts = 1, .to = &in[i].peer};
	}
	rf__udp_send(udp, list, n, &why);
}

static void prepare(struct rf__udp_in in[BUFFERS])
{
	unsigned i;

	for (i = 0; i < BUFFERS; i++) {
		in[i].data = buffers[i];
		in[i].size = BUFFER;
	}
}

static void echo_module(void)
{
	struct pollfd poll_fd = {.fd = rf__udp_fd(echoes[MODULE]), .events = POLLIN};
	static struct rf__udp_in in[BUFFERS];
	int n;

	prepare(in);
	while (shared->work == ECHO_MODULE) {
		if (shared->sleeping)
			poll(&poll_fd, 1, -1);
		n = rf__udp_receive(echoes[MODULE], in, BUFFERS);
		if (n > 0)
			answer(echoes[MODULE], in, (unsigned)n);
	}
}

static void follow(void)
{
	static void (*const works[])(void) = {
		[SEND_BARE] = send_bare,
		[SEND_MODULE] = send_module,
		[ECHO_BARE] = echo_bare,
		[ECHO_MODULE] = echo_module,
	};
	uint32_t work;

	while ((work = shared->work) != QUIT) {
		if (work == REST)
			continue;
		works[work]();
		shared->done++;
	}
	exit(0);
}

/* This process */

static uint64_t receive_bare(int fd)
{
	char control[CMSG_SPACE(sizeof(int))];
	struct iovec part = {buffers[0], BUFFER};
	struct msghdr message = {.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control)};
	struct cmsghdr *header;
	ssize_t n = recvmsg(fd, &message, MSG_DONTWAIT);
	int size = 0;

	if (n < 0)
		return 0;
	header = CMSG_FIRSTHDR(&message);
	if (header && header->cmsg_level == SOL_UDP && header->cmsg_type == UDP_GRO)
		memcpy(&size, CMSG_DATA(header), sizeof(size));
	return size ? (uint64_t)(n + size - 1) / (uint64_t)size : 1;
}

static uint64_t receive_module(struct rf__udp *udp, struct rf__udp_in in[BUFFERS])
{
	int n = rf__udp_receive(udp, in, BUFFERS), i;
	uint64_t datagrams = 0;

	for (i = 0; i < n; i++)
		datagrams += rf__udp_segments(&in[i]);
	return datagrams;
}

/* A blocking echo that is asked to stop needs a datagram for that. */
static void stop(int fd, unsigned done)
{
	shared->work = REST;
	while (shared->done == done) {
		send(fd, memory, 1, MSG_DONTWAIT);
		usleep(1000);
	}
	while (recv(fd, buffers[0], BUFFER, MSG_DONTWAIT) > 0)
		;
}

/* Millions of datagrams per second. */
static double receive_round(int sender, int receiver, struct rf__udp *udp)
{
	static struct rf__udp_in in[BUFFERS];
	unsigned done = shared->done;
	uint64_t begun, now, datagrams = 0;

	prepare(in);
	shared->work = sender == BARE ? SEND_BARE : SEND_MODULE;
	while (poll(&(struct pollfd){.fd = rf__udp_fd(udp), .events = POLLIN}, 1, 1000) != 1)
		;
	begun = now = rf__now();
	while (now < begun + ROUND_NS) {
		for (unsigned i = 0; i < 64; i++)
			datagrams += receiver == BARE ? receive_bare(rf__udp_fd(udp))
						      : receive_module(udp, in);
		now = rf__now();
	}
	shared->work = REST;
	while (shared->done == done)
		;
	while (recv(rf__udp_fd(udp), buffers[0], BUFFER, MSG_DONTWAIT) > 0)
		;
	return (double)datagrams * 1e3 / (double)(now - begun);
}

/* Microseconds for one there and back; who asks does the same in either case. */
static double echo_round(int kind, int fd)
{
	int flags = shared->sleeping ? 0 : MSG_DONTWAIT;
	unsigned done = shared->done;
	uint64_t begun = 0;

	shared->work = kind == BARE ? ECHO_BARE : ECHO_MODULE;
	for (int i = -ECHOES / 10; i < ECHOES; i++) {
		if (i == 0)
			begun = rf__now();
		send(fd, memory, DATAGRAM, 0);
		while (recv(fd, buffers[0], BUFFER, flags) < 0)
			;
	}
	begun = rf__now() - begun;
	stop(fd, done);
	return (double)begun / 1e3 / ECHOES;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *values, unsigned n)
{
	qsort(values, n, sizeof(*values), compare);
	return values[n / 2];
}

/* measure(kind): one round. */
static void tell(const char *what, unsigned rounds, double (*measure)(int kind))
{
	static double values[KINDS][ROUNDS_MOST], ratios[ROUNDS_MOST];
	unsigned i, k, kind;

	for (i = 0; i < rounds; i++) {
		for (k = 0; k < KINDS; k++) {
			kind = k ^ (i & 1);
			values[kind][i] = measure((int)kind);
		}
		ratios[i] = values[MODULE][i] / values[BARE][i];
	}
	printf("%-40s  %8.2f  %8.2f  %6.2f\n", what, median(values[BARE], rounds),
		median(values[MODULE], rounds), median(ratios, rounds));
}

static double receive_both(int kind)
{
	return receive_round(kind, kind, receivers[kind]);
}

static double receive_from_bare(int kind)
{
	return receive_round(BARE, kind, receivers[BARE]);
}

static double echo_both(int kind)
{
	return echo_round(kind, asking[kind]);
}

static int connect_plain(const union rf__udp_address *to)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, &to->any, sizeof(to->v4)) < 0)
		die("connecting");
	return fd;
}

/* A bare echo sleeps in recvfrom(2) itself. */
static void open_all(void)
{
	int kind, fd;

	for (kind = 0; kind < KINDS; kind++) {
		receivers[kind] = open_socket(NULL, RF__UDP_JOIN);
		senders[kind] = open_socket(rf__udp_name(receivers[kind]), 0);
		echoes[kind] = open_socket(NULL, 0);
		asking[kind] = connect_plain(rf__udp_name(echoes[kind]));
	}
	fd = rf__udp_fd(echoes[BARE]);
	if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK) < 0)
		die("fcntl");
}

static pid_t start(void)
{
	pid_t child;

	shared = mmap(
		NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		die("mmap");
	child = fork();
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		pin(0);
		follow();
	}
	pin(1);
	return child;
}

int main(int argc, char **argv)
{
	unsigned rounds = argc > 1 ? (unsigned)atoi(argv[1]) : 201;
	pid_t child;

	if (argc > 2 || rounds < 1 || rounds > ROUNDS_MOST) {
		fprintf(stderr, "usage: udp-bare [ROUNDS]\n");
		return 2;
	}
	open_all();
	child = start();
	printf("%-40s  %8s  %8s  %6s\n", "medians", "bare", "module", "ratio");
	tell("million datagrams/s, both ends", rounds, receive_both);
	tell("million datagrams/s, from a bare sender", rounds, receive_from_bare);
	tell("echo, us, spinning", rounds, echo_both);
	shared->sleeping = true;
	tell("echo, us, sleeping", rounds, echo_both);
	shared->work = QUIT;
	waitpid(child, NULL, 0);
	return 0;
}
