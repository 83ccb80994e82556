/* SPDX-License-Identifier: MIT */
/* What costs no system call and no wake-up: a million messages between ends that spin, counted by
 * tracing both processes; and a channel on which nothing happens. */
#include "channel-fixture.h"

#include "util/clock.h"
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define MESSAGES 1000000
#define IDLE_MS  500

static const uint32_t bells[] = {RF_DOORBELL_EVENTFD, RF_DOORBELL_SOCKET};

/* One of the two processes. It stops itself (SIGSTOP) when the channel is open. */
struct side {
	int socks[2];
	bool listens;
	struct rf_options options;
	unsigned messages;
};

static int open_side(const struct side *side, struct rf_channel **ret_channel)
{
	uint64_t deadline = rf_test_deadline(SOON_MS);
	struct rf_listener *listener;
	int r;

	close(side->socks[side->listens ? 1 : 0]);
	if (!side->listens)
		return rf_connect(
			fd_address(side->socks[1]), &side->options, deadline, ret_channel);
	r = rf_listen(fd_address(side->socks[0]), &side->options, &listener);
	if (r < 0)
		return r;
	r = rf_accept(listener, deadline, ret_channel);
	rf_listener_close(listener);
	return r;
}

static bool was_quiet(struct rf_channel *channel)
{
	struct rf_stats stats = channel_stats(channel);

	return stats.tx.kicks + stats.rx.kicks + stats.tx.sleeps + stats.rx.sleeps == 0;
}

/* Exit status 0: all went through, without a kick or a sleep. */
static int spin_through(void *arg)
{
	const struct side *side = arg;
	struct rf_channel *channel;
	uint64_t number = 0;
	int r = open_side(side, &channel);

	if (r < 0)
		return 2;
	kill(getpid(), SIGSTOP);
	if (side->listens)
		r = take_numbers(rf_channel_rx(channel), 0, side->messages, RF_FOREVER);
	for (; !side->listens && number < side->messages && r >= 0; number++)
		r = send_number(rf_channel_tx(channel), number, RF_FOREVER);
	return r < 0 ? 3 : was_quiet(channel) ? 0 : 4;
}

struct pair {
	struct side sides[2];
	pid_t pids[2];
};

static void start_pair(
	struct pair *pair, uint32_t doorbell, uint32_t wait, int (*const runs[2])(void *arg))
{
	int socks[2], i;

	*pair = (struct pair){.pids = {0, 0}};
	make_pair(socks);
	for (i = 0; i < 2; i++) {
		struct side *side = &pair->sides[i];

		memcpy(side->socks, socks, sizeof(socks));
		side->listens = i == 0;
		side->messages = rf_test_rounds(MESSAGES);
		side->options = channel_options(doorbell, wait);
		side->options.ring_bytes = 4 << 20;
		pair->pids[i] = rf_test_child(runs[i], side, 0, 0);
	}
	close(socks[0]);
	close(socks[1]);
}

/* Tracing. poll(2) is how a half that made no progress for a tenth of a second looks after its
 * peer; that happens here only where the other process is not given a processor. */

struct counts {
	unsigned looks, others;
	uint64_t last;
};

static bool is_look(uint64_t number)
{
#ifdef SYS_poll
	if (number == SYS_poll)
		return true;
#endif
	return number == SYS_ppoll;
}

static void count_entry(pid_t pid, struct counts *counts)
{
	struct __ptrace_syscall_info info;

	memset(&info, 0, sizeof(info));
	if (ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof(info), &info) <= 0 ||
		info.op != PTRACE_SYSCALL_INFO_ENTRY || info.entry.nr == SYS_exit_group)
		return;
	if (is_look(info.entry.nr)) {
		counts->looks++;
		return;
	}
	counts->others++;
	counts->last = info.entry.nr;
}

/* Is what rf_test_child() began stopped by itself? */
static bool wait_for_stop(pid_t pid)
{
	int status;

	return waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status);
}

static bool seize(pid_t pid)
{
	return ptrace(PTRACE_SEIZE, pid, 0, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL) == 0;
}

/* A process that is stopped as a group reports that once more, and goes on with SIGCONT. */
static void go_on(pid_t pid, int status)
{
	int signal = WSTOPSIG(status);

	if (status >> 16 == PTRACE_EVENT_STOP && signal != SIGTRAP)
		kill(pid, SIGCONT);
	ptrace(PTRACE_SYSCALL, pid, 0,
		status >> 16 || signal == (SIGTRAP | 0x80) || signal == SIGCONT ? 0 : signal);
}

/* Until both have exited; what they exited with. */
static void trace(const struct pair *pair, struct counts counts[2], int verdicts[2])
{
	unsigned running = 2, i;
	int status;
	pid_t pid;

	while (running) {
		pid = waitpid(-1, &status, __WALL);
		i = pid == pair->pids[1];
		if (pid < 0)
			break;
		if (WIFSTOPPED(status)) {
			if (WSTOPSIG(status) == (SIGTRAP | 0x80))
				count_entry(pid, &counts[i]);
			go_on(pid, status);
			continue;
		}
		verdicts[i] = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
		running--;
	}
}

static void a_million_messages_spin_without_a_system_call(void **state)
{
	static int (*const runs[2])(void *arg) = {spin_through, spin_through};
	struct counts counts[2];
	struct pair pair;
	uint64_t begun;
	int verdicts[2] = {-1, -1};
	unsigned bell, i, looks_most;
	bool can_trace;

	(void)state;
	for (bell = 0; bell < 2; bell++) {
		memset(counts, 0, sizeof(counts));
		start_pair(&pair, bells[bell], RF_WAIT_SPIN, runs);
		assert_true(wait_for_stop(pair.pids[0]) && wait_for_stop(pair.pids[1]));
		can_trace = seize(pair.pids[0]) && seize(pair.pids[1]);
		if (!can_trace) {
			rf_test_kill(pair.pids[0]);
			rf_test_kill(pair.pids[1]);
			rf_test_need("strace", false);
		}
		begun = rf__now();
		trace(&pair, counts, verdicts);
		looks_most = (unsigned)((rf__now() - begun) / (100 * RF__MSEC));
		for (i = 0; i < 2; i++) {
			assert_int_equal(verdicts[i], 0);
			if (counts[i].others && !rf_test_instrumented())
				fail_msg("%u system calls, the last one number %lu",
					counts[i].others, (unsigned long)counts[i].last);
			assert_true(counts[i].looks <= looks_most);
		}
		print_message("# %llu ms, %u and %u looks after the peer\n",
			(unsigned long long)((rf__now() - begun) / RF__MSEC), counts[0].looks,
			counts[1].looks);
	}
}

/* Nothing happens: nobody wakes up. */

static int sleep_in_borrow(void *arg)
{
	struct rf_channel *channel;
	struct rf_message message;

	if (open_side(arg, &channel) < 0)
		return 2;
	return rf_rx_borrow(rf_channel_rx(channel), RF_FOREVER, &message, 1) == -EPIPE ? 0 : 3;
}

static int sleep_for_room(void *arg)
{
	struct rf_channel *channel;
	struct rf_buffer buffer;
	int r;

	if (open_side(arg, &channel) < 0)
		return 2;
	do
		r = rf_tx_reserve(rf_channel_tx(channel), 4000, RF_FOREVER, &buffer);
	while (!r && !(r = rf_tx_commit(rf_channel_tx(channel), &buffer)) &&
		!(r = rf_tx_publish(rf_channel_tx(channel))));
	return r == -EPIPE ? 0 : 3;
}

/* As who has no interest in what is there. */
static int sleep_without_taking(void *arg)
{
	struct rf_channel *channel;

	if (open_side(arg, &channel) < 0)
		return 2;
	for (;;)
		pause();
}

static int sleep_in_event_loop(void *arg)
{
	struct rf_channel *channel;
	struct rf_message message;
	struct pollfd fd = {.events = POLLIN};
	uint64_t until;
	int r;

	if (open_side(arg, &channel) < 0)
		return 2;
	fd.fd = rf_channel_fd(channel);
	do {
		r = rf_rx_borrow(rf_channel_rx(channel), 0, &message, 1);
		if (r == -EAGAIN && rf_channel_arm(channel, RF_DATA, 0, &until) == 0) {
			if (until != RF_FOREVER)
				return 4;
			poll(&fd, 1, -1);
			rf_channel_process(channel);
		}
	} while (r == -EAGAIN);
	return r == -EPIPE ? 0 : 3;
}

/* How often a process gave the processor up by itself; its state in *ret_state. */
static unsigned long count_switches(pid_t pid, char *ret_state)
{
	unsigned long switches = 0;
	char path[40], line[128];
	FILE *status;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	status = fopen(path, "re");
	assert_non_null(status);
	*ret_state = '?';
	while (fgets(line, sizeof(line), status))
		if (sscanf(line, "State: %c", ret_state) != 1)
			sscanf(line, "voluntary_ctxt_switches: %lu", &switches);
	fclose(status);
	return switches;
}

static void nap(unsigned ms)
{
	const struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

	nanosleep(&t, NULL);
}

/* Both sleep, and have done nothing for a while. */
static void settle(const pid_t pids[2], unsigned long switches[2])
{
	uint64_t until = rf_test_deadline(SOON_MS);
	unsigned long before[2];
	char states[2];

	do {
		before[0] = count_switches(pids[0], &states[0]);
		before[1] = count_switches(pids[1], &states[1]);
		nap(WHILE_MS);
		switches[0] = count_switches(pids[0], &states[0]);
		switches[1] = count_switches(pids[1], &states[1]);
	} while (rf__now() < until && (states[0] != 'S' || states[1] != 'S' ||
					      memcmp(before, switches, sizeof(before)) != 0));
	assert_true(rf__now() < until);
}

/* The server runs the first, the client the second. When one is gone, the other sees it. */
static void is_idle(uint32_t doorbell, int (*const runs[2])(void *arg))
{
	unsigned long before[2], after[2];
	struct pair pair;
	char state;

	start_pair(&pair, doorbell, RF_WAIT_ADAPTIVE, runs);
	settle(pair.pids, before);
	nap(IDLE_MS);
	after[0] = count_switches(pair.pids[0], &state);
	after[1] = count_switches(pair.pids[1], &state);
	rf_test_kill(pair.pids[1]);
	assert_int_equal(rf_test_wait(pair.pids[0], SOON_MS), 0);
	assert_int_equal(after[0], before[0]);
	assert_int_equal(after[1], before[1]);
}

static void an_idle_channel_wakes_nobody(void **state)
{
	static int (*const runs[][2])(void *arg) = {
		{sleep_in_borrow, sleep_in_borrow},
		{sleep_for_room, sleep_without_taking},
		{sleep_in_event_loop, sleep_in_event_loop},
	};
	unsigned bell, i;

	(void)state;
	for (bell = 0; bell < 2; bell++)
		for (i = 0; i < sizeof(runs) / sizeof(runs[0]); i++)
			is_idle(bells[bell], runs[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_million_messages_spin_without_a_system_call),
		cmocka_unit_test(an_idle_channel_wakes_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
