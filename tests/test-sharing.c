/* SPDX-License-Identifier: MIT */
/* What a peer gets to share with us beside memory, and a sandbox that we enter with a channel open. */
#include "channel-fixture.h"
#include "raw-client.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

/* What a client asks for that wants eventfds; its verdict: the kinds of what it got. */
enum kind { MEMFD = 1, EVENTFD = 2, OTHER = 4, NOTHING = 8 };

static int kind_of(int fd)
{
	char path[32], link[64] = "";

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (readlink(path, link, sizeof(link) - 1) < 0)
		return OTHER;
	if (!strncmp(link, "/memfd:", 7))
		return MEMFD;
	return strcmp(link, "anon_inode:[eventfd]") ? OTHER : EVENTFD;
}

static int ask_for_all(void *arg)
{
	unsigned char message[RF__WIRE_MAX];
	int sock = raw_connect(arg), fds[RF__FDS_MAX], kinds = 0;
	unsigned n = 0, i;

	if (sock < 0 || raw_send(sock, message, raw_hello(message), -1) < 0)
		return NOTHING;
	if (rf__socket_wait(sock, rf_test_deadline(SOON_MS)) < 0)
		return NOTHING;
	if (rf__socket_receive(sock, message, sizeof(message), fds, RF__FDS_MAX, &n) <= 0)
		return NOTHING;
	for (i = 0; i < n && n <= RF__FDS_MAX; i++)
		kinds |= kind_of(fds[i]);
	return kinds ? kinds : NOTHING;
}

static int kinds_got_by(uid_t uid)
{
	static const uid_t uids[] = {RF_TEST_UID};
	struct rf_options options = channel_options(RF_DOORBELL_AUTO, RF_WAIT_ADAPTIVE);
	char path[128];
	struct rf_listener *listener;
	struct rf_channel *channel;
	unsigned turn;
	int kinds;
	pid_t pid;

	options.uids = uids;
	options.n_uids = 1;
	snprintf(path, sizeof(path), "%s", fresh_path());
	listener = listen_at(path, &options);
	pid = rf_test_child(ask_for_all, path, uid, uid);
	for (turn = 0; turn < 500 && !listener_figures(listener).failed; turn++)
		assert_int_not_equal(rf_accept(listener, rf_test_deadline(20), &channel), 0);
	kinds = rf_test_wait(pid, SOON_MS);
	rf_listener_close(listener);
	return kinds;
}

static void d3_strangers_share_nothing_but_memory(void **state)
{
	(void)state;
	rf_test_need_root();
	assert_int_equal(kinds_got_by(RF_TEST_UID), MEMFD);
}

static void d5_not_even_our_own_user_shares_a_pipe(void **state)
{
	(void)state;
	assert_int_equal(kinds_got_by(0) & OTHER, 0);
}

static void d13_not_even_our_own_user_shares_an_epoll(void **state)
{
	(void)state;
	assert_int_equal(kinds_got_by(0), MEMFD | EVENTFD);
}

#define GET_REGISTRATIONS (1 << 9) /* of membarrier(2); Linux 6.3 */

/* Whoever is registered can be slowed down by any process that calls membarrier(2). */
static void d12_a_channel_registers_for_no_barriers(void **state)
{
	struct rf_options options = channel_options(RF_DOORBELL_AUTO, RF_WAIT_SLEEP);
	struct ends ends;
	long registered;

	(void)state;
	ends_open(&ends, &options, &options);
	registered = syscall(SYS_membarrier, GET_REGISTRATIONS, 0, 0);
	ends_close(&ends);
	rf_test_need("membarrier", registered >= 0);
	assert_int_equal(registered, 0);
}

/* C15: send(2) and epoll_pwait2(2) are forbidden from now on. */
static int enter_sandbox(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_sendto, 1, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_epoll_pwait2, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {.len = sizeof(filter) / sizeof(filter[0]), .filter = filter};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0 ? -errno : 0;
}

/* Sends to a peer that sleeps, then waits for what does not come. */
static int live_in_sandbox(void *arg)
{
	struct rf_options options = channel_options(RF_DOORBELL_SOCKET, RF_WAIT_SLEEP);
	struct rf_channel *channel;
	struct rf_stats stats;
	uint64_t number;

	if (rf_connect(arg, &options, rf_test_deadline(SOON_MS), &channel) < 0)
		return 1;
	/* the peer says that it is about to sleep */
	if (take_number(rf_channel_rx(channel), rf_test_deadline(SOON_MS), &number) != 1)
		return 2;
	usleep(50000);
	if (enter_sandbox() < 0)
		return 3;
	if (send_number(rf_channel_tx(channel), 7, 0) != 0)
		return 4;
	if (take_number(rf_channel_rx(channel), rf_test_deadline(300), &number) != -ETIMEDOUT)
		return 5;
	stats = channel_stats(channel);
	if (!stats.tx.kicks_owed || stats.rx.sleeps > 100)
		return 6;
	rf_channel_close(channel);
	return 0;
}

static void c15_a_sandbox_entered_later_bounds_the_sleeps(void **state)
{
	struct rf_options options = channel_options(RF_DOORBELL_SOCKET, RF_WAIT_SLEEP);
	struct rf_listener *listener;
	struct rf_channel *channel;
	char path[128];
	uint64_t number;
	pid_t pid;

	(void)state;
	snprintf(path, sizeof(path), "%s", fresh_path());
	listener = listen_at(path, &options);
	pid = rf_test_child(live_in_sandbox, path, 0, 0);
	channel = accept_one(listener);
	assert_int_equal(send_number(rf_channel_tx(channel), 1, 0), 0);
	/* it is not kicked, but looks when its time is up, or when the other goes */
	assert_int_equal(
		take_number(rf_channel_rx(channel), rf_test_deadline(SOON_MS), &number), 1);
	assert_int_equal(number, 7);
	assert_int_equal(rf_test_wait(pid, SOON_MS), 0);
	rf_channel_close(channel);
	rf_listener_close(listener);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, leaks_setup, leaks_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(d3_strangers_share_nothing_but_memory),
		TEST(d5_not_even_our_own_user_shares_a_pipe),
		TEST(d13_not_even_our_own_user_shares_an_epoll),
		TEST(d12_a_channel_registers_for_no_barriers),
		TEST(c15_a_sandbox_entered_later_bounds_the_sleeps),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
