/* SPDX-License-Identifier: MIT */
/* Who the peer is, told apart from strangers that look like us, and admitted or not. getsockopt(2) is
 * interposed: as on kernels without SO_PEERPIDFD, and with pids reused. */
#include "identity.h"
#include "support.h"
#include "util/fd.h"
#include <dlfcn.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <ringfort/channel.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

#define OVERFLOW_UID 65534
#define TIMEOUT_MS   10000

static struct {
	int peerpidfd_error; /* what SO_PEERPIDFD fails with; 0: it works */
	pid_t pid;           /* what SO_PEERCRED says; 0: the truth */
} kernel;

int getsockopt(int sock, int level, int name, void *value, socklen_t *len)
{
	__typeof__(&getsockopt) real = (__typeof__(&getsockopt))dlsym(RTLD_NEXT, "getsockopt");
	int r;

	if (name == SO_PEERPIDFD && kernel.peerpidfd_error) {
		errno = kernel.peerpidfd_error;
		return -1;
	}
	r = real(sock, level, name, value, len);
	if (r == 0 && name == SO_PEERCRED && kernel.pid)
		((struct ucred *)value)->pid = kernel.pid;
	return r;
}

/* A listener and a client in a child that stays until it is told to go. */

struct meeting {
	struct sockaddr_un address;
	int listener;
	int stay[2]; /* the child stays until the writing end is closed */
	int sock;    /* accepted here, or connected in the child */
	pid_t child;
};

static struct rf__reason reason;

static int check_against(const struct rf__identity *identity, const uid_t *uids, size_t n_uids,
	struct rf__reason *ret_reason)
{
	const struct rf_options options = {.uids = uids, .n_uids = n_uids};

	return rf__identity_check(identity, -1, &options, ret_reason);
}

static int reset(void **state)
{
	(void)state;
	memset(&kernel, 0, sizeof(kernel));
	reason.text[0] = '\0';
	return 0;
}

static void assert_reason(const char *part)
{
	if (!strstr(reason.text, part))
		fail_msg("\"%s\" does not say \"%s\"", reason.text, part);
}

static void meeting_open(struct meeting *meeting)
{
	static unsigned n;

	memset(meeting, 0, sizeof(*meeting));
	meeting->address.sun_family = AF_UNIX;
	snprintf(meeting->address.sun_path, sizeof(meeting->address.sun_path), "%s/%u",
		rf_test_tmpdir(), n++);
	meeting->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	assert_true(meeting->listener >= 0);
	assert_int_equal(bind(meeting->listener, (struct sockaddr *)&meeting->address,
				 sizeof(meeting->address)),
		0);
	assert_int_equal(chmod(meeting->address.sun_path, 0666), 0);
	assert_int_equal(listen(meeting->listener, 4), 0);
	assert_int_equal(pipe2(meeting->stay, O_CLOEXEC), 0);
	meeting->sock = -1;
}

static void meeting_close(struct meeting *meeting)
{
	rf__close(&meeting->stay[0]);
	rf__close(&meeting->stay[1]);
	rf__close(&meeting->sock);
	rf__close(&meeting->listener);
	if (meeting->child)
		assert_int_equal(rf_test_wait(meeting->child, TIMEOUT_MS), 0);
}

static int connect_to(const struct meeting *meeting)
{
	int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	return sock < 0 || connect(sock, (const struct sockaddr *)&meeting->address,
				   sizeof(meeting->address))
		       ? -1
		       : sock;
}

static void stay(struct meeting *meeting)
{
	char nothing;

	rf__close(&meeting->stay[1]);
	if (read(meeting->stay[0], &nothing, 1) < 0)
		return;
}

/* Children: exit status 0 is good, and others say where it went wrong. */

static int connect_and_stay(void *arg)
{
	struct meeting *meeting = arg;

	if (connect_to(meeting) < 0)
		return 1;
	stay(meeting);
	return 0;
}

static int connect_from_user_namespace(void *arg)
{
	return unshare(CLONE_NEWUSER) ? 2 : connect_and_stay(arg);
}

/* The grandchild is the first process of the namespace. */
static int run_in_pid_namespace(int (*run)(void *arg), void *arg)
{
	int status;
	pid_t pid;

	if (unshare(CLONE_NEWPID))
		return 3;
	pid = fork();
	if (pid == 0)
		_exit(run(arg));
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return 4;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 5;
}

static int connect_from_pid_namespace(void *arg)
{
	struct meeting *meeting = arg;

	rf__close(&meeting->stay[1]);
	return run_in_pid_namespace(connect_and_stay, meeting);
}

/* Exits, but a child of its own keeps the socket and stays. */
static int connect_and_leave_it_to_a_child(void *arg)
{
	struct meeting *meeting = arg;

	if (connect_to(meeting) < 0)
		return 1;
	if (fork() == 0) {
		stay(meeting);
		_exit(0);
	}
	return 0;
}

static int run_child(int (*run)(void *), void *arg, uid_t uid)
{
	return rf_test_wait(rf_test_child(run, arg, uid, uid), TIMEOUT_MS);
}

static void meet(struct meeting *meeting, int (*run)(void *), uid_t uid)
{
	meeting_open(meeting);
	meeting->child = rf_test_child(run, meeting, uid, uid);
	meeting->sock = accept4(meeting->listener, NULL, NULL, SOCK_CLOEXEC);
	assert_true(meeting->sock >= 0);
}

static struct rf__identity identify(int sock, enum rf__origin origin)
{
	struct rf__identity identity = RF__IDENTITY_INIT;

	assert_int_equal(rf__identity_read(sock, origin, &identity, &reason), 0);
	return identity;
}

/* Meets that child, and looks who it is. */
static struct rf__identity identify_child(int (*run)(void *), uid_t uid)
{
	struct rf__identity identity;
	struct meeting meeting;

	meet(&meeting, run, uid);
	identity = identify(meeting.sock, RF__ACCEPTED);
	rf__close(&identity.pidfd);
	meeting_close(&meeting);
	return identity;
}

static bool is_readable(int fd, int timeout_ms)
{
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};

	return poll(&poll_fd, 1, timeout_ms) == 1;
}

/* valgrind 3.19 knows no pidfd_open(2). */
static bool has_pidfd_open(void)
{
	int pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);
	bool opened = pidfd >= 0;

	rf__close(&pidfd);
	return opened;
}

/* What is read. */

static void our_own_child_is_the_same(void **state)
{
	struct rf__identity identity;
	struct meeting meeting;

	(void)state;
	meet(&meeting, connect_and_stay, 0);
	identity = identify(meeting.sock, RF__ACCEPTED);
	assert_int_equal(identity.uid, geteuid());
	assert_int_equal(identity.gid, getegid());
	assert_int_equal(identity.pid, meeting.child);
	assert_int_equal(identity.flags, RF_PEER_PIDFD | RF_PEER_SAME);
	assert_int_equal(fcntl(identity.pidfd, F_GETFD), FD_CLOEXEC);
	rf__identity_close(&identity);
	meeting_close(&meeting);
}

static void the_pidfd_tells_of_the_exit(void **state)
{
	struct rf__identity identity;
	struct meeting meeting;

	(void)state;
	meet(&meeting, connect_and_stay, 0);
	identity = identify(meeting.sock, RF__ACCEPTED);
	assert_false(is_readable(identity.pidfd, 0));
	rf__close(&meeting.stay[1]);
	assert_true(is_readable(identity.pidfd, TIMEOUT_MS));
	rf__identity_close(&identity);
	meeting_close(&meeting);
}

static void a_stopped_peer_is_read_all_the_same(void **state)
{
	struct rf__identity identity;
	struct meeting meeting;
	int status;

	(void)state;
	meet(&meeting, connect_and_stay, 0);
	assert_int_equal(kill(meeting.child, SIGSTOP), 0);
	assert_int_equal(waitpid(meeting.child, &status, WUNTRACED), meeting.child);
	identity = identify(meeting.sock, RF__ACCEPTED);
	assert_int_equal(kill(meeting.child, SIGCONT), 0);
	assert_int_equal(identity.flags, RF_PEER_PIDFD | RF_PEER_SAME);
	rf__identity_close(&identity);
	meeting_close(&meeting);
}

static void a_closed_identity_claims_nothing(void **state)
{
	struct rf__identity identity;
	size_t fds = rf_test_count_fds();
	struct meeting meeting;

	(void)state;
	meet(&meeting, connect_and_stay, 0);
	identity = identify(meeting.sock, RF__ACCEPTED);
	rf__identity_close(&identity);
	rf__identity_close(&identity);
	assert_int_equal(identity.pidfd, -1);
	assert_int_equal(identity.flags, 0);
	assert_int_equal(identity.pid, meeting.child);
	meeting_close(&meeting);
	assert_int_equal(rf_test_count_fds(), fds);
}

static void another_user_is_not_the_same(void **state)
{
	struct rf__identity identity;

	(void)state;
	rf_test_need_root();
	identity = identify_child(connect_and_stay, RF_TEST_UID);
	assert_int_equal(identity.uid, RF_TEST_UID);
	assert_int_equal(identity.gid, RF_TEST_UID);
	assert_int_equal(identity.flags, RF_PEER_PIDFD);
}

/* As root cannot show: two processes of a plain user. */
static int accept_own_child(void *arg)
{
	struct rf__identity identity = RF__IDENTITY_INIT;
	struct meeting *meeting = arg;
	int sock, mine = connect_to(meeting);

	sock = accept4(meeting->listener, NULL, NULL, SOCK_CLOEXEC);
	if (mine < 0 || rf__identity_read(sock, RF__ACCEPTED, &identity, NULL))
		return 1;
	if (identity.uid != RF_TEST_UID || identity.flags != (RF_PEER_PIDFD | RF_PEER_SAME))
		return 2;
	return 0;
}

static void a_plain_user_knows_its_own(void **state)
{
	struct meeting meeting;

	(void)state;
	rf_test_need_root();
	meeting_open(&meeting);
	meeting.child = rf_test_child(accept_own_child, &meeting, RF_TEST_UID, RF_TEST_UID);
	meeting_close(&meeting);
}

static void what_is_no_connected_unix_socket_is_an_error(void **state)
{
	struct rf__identity identity = {.pid = 7, .pidfd = 77};
	int tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int alone = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	int file = open("/dev/null", O_RDONLY | O_CLOEXEC);

	(void)state;
	assert_int_equal(rf__identity_read(-1, RF__ACCEPTED, &identity, &reason), -EBADF);
	assert_reason("credentials");
	assert_int_equal(rf__identity_read(file, RF__ACCEPTED, &identity, &reason), -ENOTSOCK);
	assert_int_equal(rf__identity_read(alone, RF__INHERITED, &identity, &reason), -ENOTCONN);
	assert_reason("no peer");
	if (tcp >= 0)
		assert_int_equal(rf__identity_read(tcp, RF__CONNECTED, &identity, NULL), -ENOTCONN);
	assert_int_equal(identity.pid, 7);
	assert_int_equal(identity.pidfd, 77);
	close(alone);
	close(file);
	rf__close(&tcp);
}

static void no_room_for_a_pidfd_is_an_error(void **state)
{
	const int errors[] = {EMFILE, ENFILE, ENOMEM};
	struct rf__identity identity = RF__IDENTITY_INIT;
	struct meeting meeting;

	(void)state;
	meet(&meeting, connect_and_stay, 0);
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		kernel.peerpidfd_error = errors[i];
		assert_int_equal(rf__identity_read(meeting.sock, RF__ACCEPTED, &identity, &reason),
			-errors[i]);
		assert_reason("pidfd");
	}
	assert_int_equal(identity.pidfd, -1);
	meeting_close(&meeting);
}

/* Room for the pidfd, and none to look at /proc. */
static void what_cannot_be_verified_is_not_the_same(void **state)
{
	struct rf__identity identity = RF__IDENTITY_INIT;
	struct meeting meeting;
	uint64_t before;
	int probe, r;

	(void)state;
	meet(&meeting, connect_and_stay, 0);
	probe = dup(meeting.sock);
	before = rf_test_limit_files((uint64_t)probe + 1);
	close(probe);
	r = rf__identity_read(meeting.sock, RF__ACCEPTED, &identity, &reason);
	rf_test_limit_files(before);
	assert_int_equal(r, 0);
	assert_int_equal(identity.flags, RF_PEER_PIDFD);
	rf__identity_close(&identity);
	meeting_close(&meeting);
}

static int read_without_proc(void *arg)
{
	struct rf__identity identity = RF__IDENTITY_INIT;
	struct meeting *meeting = arg;

	if (chroot(rf_test_tmpdir()) || chdir("/"))
		return 1;
	if (rf__identity_read(meeting->sock, RF__ACCEPTED, &identity, NULL))
		return 2;
	if (identity.flags & ~(uint32_t)RF_PEER_PIDFD)
		return 3;
	return check_against(&identity, NULL, 0, NULL) ? 4 : 0;
}

static void without_proc_nobody_is_the_same(void **state)
{
	struct meeting meeting;
	int verdict;

	(void)state;
	rf_test_need_root();
	meet(&meeting, connect_and_stay, 0);
	verdict = run_child(read_without_proc, &meeting, 0);
	meeting_close(&meeting);
	assert_int_equal(verdict, 0);
}

/* D10: same uid, other namespaces. */

static bool can_unshare(int flags)
{
	pid_t pid = fork();
	int status;

	if (pid == 0)
		_exit(unshare(flags) ? 1 : 0);
	return waitpid(pid, &status, 0) == pid && status == 0;
}

static void d10_our_uid_in_another_user_namespace_is_not_the_same(void **state)
{
	struct rf__identity identity;

	(void)state;
	rf_test_need("userns", can_unshare(CLONE_NEWUSER));
	identity = identify_child(connect_from_user_namespace, 0);
	assert_int_equal(identity.uid, geteuid());
	assert_int_equal(identity.flags, RF_PEER_PIDFD);
	assert_int_equal(check_against(&identity, NULL, 0, &reason), 0);
}

static void d10_our_uid_in_another_pid_namespace_is_not_the_same(void **state)
{
	struct rf__identity identity;

	(void)state;
	rf_test_need_root();
	identity = identify_child(connect_from_pid_namespace, 0);
	assert_int_equal(identity.uid, geteuid());
	assert_true(identity.pid > 1);
	assert_int_equal(identity.flags, RF_PEER_PIDFD);
}

static int accept_from_outside_our_pid_namespace(void *arg)
{
	struct rf__identity identity = RF__IDENTITY_INIT;
	struct meeting *meeting = arg;

	if (rf__identity_read(meeting->sock, RF__ACCEPTED, &identity, NULL))
		return 10;
	if (identity.pid != 0 || identity.uid != geteuid())
		return 11;
	return identity.flags & (RF_PEER_SAME | RF_PEER_CREATOR) ? 12 : 0;
}

static int accept_from_outside(void *arg)
{
	return run_in_pid_namespace(accept_from_outside_our_pid_namespace, arg);
}

static void d10_a_peer_without_a_pid_here_is_not_the_same(void **state)
{
	struct meeting meeting;
	int with, without;

	(void)state;
	rf_test_need_root();
	meet(&meeting, connect_and_stay, 0);
	with = run_child(accept_from_outside, &meeting, 0);
	kernel.peerpidfd_error = ENOPROTOOPT;
	without = run_child(accept_from_outside, &meeting, 0);
	meeting_close(&meeting);
	assert_int_equal(with, 0);
	assert_int_equal(without, 0);
}

/* Nobody is mapped there: a stranger has the overflow uid, and so have we. */
static int accept_in_user_namespace(void *arg)
{
	const uid_t listed[] = {OVERFLOW_UID, RF_TEST_UID};
	struct rf__identity identity = RF__IDENTITY_INIT;
	struct meeting *meeting = arg;

	if (unshare(CLONE_NEWUSER))
		return 1;
	if (rf__identity_read(meeting->sock, RF__ACCEPTED, &identity, NULL))
		return 2;
	if (identity.uid != OVERFLOW_UID || geteuid() != OVERFLOW_UID)
		return 3;
	if (identity.flags & RF_PEER_SAME)
		return 4;
	return check_against(&identity, listed, 2, NULL) == -EPERM ? 0 : 5;
}

static void d10_the_overflow_uid_is_neither_the_same_nor_admitted(void **state)
{
	struct meeting meeting;
	int stranger, own;

	(void)state;
	rf_test_need_root();
	rf_test_need("userns", can_unshare(CLONE_NEWUSER));
	meet(&meeting, connect_and_stay, RF_TEST_UID);
	stranger = run_child(accept_in_user_namespace, &meeting, 0);
	meeting_close(&meeting);
	meet(&meeting, connect_and_stay, RF_TEST_UID);
	own = run_child(accept_in_user_namespace, &meeting, RF_TEST_UID);
	meeting_close(&meeting);
	assert_int_equal(stranger, 0);
	assert_int_equal(own, 0);
}

/* Both ends have the same uid in the same namespaces: but it is that of anybody. */
static int accept_own_in_user_namespace(void *arg)
{
	struct rf__identity identity = RF__IDENTITY_INIT;
	struct meeting *meeting = arg;
	int sock, mine;

	if (unshare(CLONE_NEWUSER))
		return 1;
	mine = connect_to(meeting);
	sock = accept4(meeting->listener, NULL, NULL, SOCK_CLOEXEC);
	if (mine < 0 || rf__identity_read(sock, RF__ACCEPTED, &identity, NULL))
		return 2;
	if (identity.uid != OVERFLOW_UID || identity.uid != geteuid())
		return 3;
	return identity.flags & RF_PEER_SAME ? 4 : 0;
}

static void d10_the_overflow_uid_is_not_even_the_same_as_itself(void **state)
{
	struct meeting meeting;

	(void)state;
	rf_test_need("userns", can_unshare(CLONE_NEWUSER));
	meeting_open(&meeting);
	meeting.child = rf_test_child(accept_own_in_user_namespace, &meeting, 0, 0);
	meeting_close(&meeting);
}

/* C7: whose credentials they are. */

static void c7_a_socketpair_tells_its_creator_and_no_more(void **state)
{
	struct rf__identity identity;
	int ends[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
	identity = identify(ends[0], RF__INHERITED);
	assert_int_equal(identity.uid, geteuid());
	assert_int_equal(identity.pid, getpid());
	assert_int_equal(identity.flags, RF_PEER_CREATOR);
	assert_int_equal(identity.pidfd, -1);
	close(ends[0]);
	close(ends[1]);
}

static int connect_and_read(void *arg)
{
	struct rf__identity identity = RF__IDENTITY_INIT;
	struct meeting *meeting = arg;
	int sock = connect_to(meeting);

	if (rf__identity_read(sock, RF__CONNECTED, &identity, NULL))
		return 1;
	if (identity.pid != getppid() || identity.uid != 0)
		return 2;
	if (identity.flags != (geteuid() ? RF_PEER_PIDFD : RF_PEER_PIDFD | RF_PEER_SAME))
		return 3;
	return is_readable(identity.pidfd, 0) ? 4 : 0;
}

static void c7_a_client_is_told_who_listens(void **state)
{
	struct meeting meeting;

	(void)state;
	rf_test_need_root();
	meeting_open(&meeting);
	meeting.child = rf_test_child(connect_and_read, &meeting, 0, 0);
	meeting_close(&meeting);
	meeting_open(&meeting);
	meeting.child = rf_test_child(connect_and_read, &meeting, RF_TEST_UID, RF_TEST_UID);
	meeting_close(&meeting);
}

/* Leaves a connection whose maker has exited and was waited for, or not. */
static struct rf__identity identify_dead(struct meeting *meeting, bool reaped)
{
	siginfo_t info;

	meet(meeting, connect_and_leave_it_to_a_child, 0);
	assert_int_equal(
		waitid(P_PID, (id_t)meeting->child, &info, WEXITED | (reaped ? 0 : WNOWAIT)), 0);
	if (reaped)
		meeting->child = 0;
	return identify(meeting->sock, RF__ACCEPTED);
}

static void c7_a_dead_peer_is_not_the_same(void **state)
{
	struct rf__identity identity;
	struct meeting meeting;

	(void)state;
	for (unsigned way = 0; way < 4; way++) {
		kernel.peerpidfd_error = way & 2 ? ENOPROTOOPT : 0;
		identity = identify_dead(&meeting, way & 1);
		assert_int_equal(identity.flags & ~(uint32_t)RF_PEER_PIDFD, 0);
		if (kernel.peerpidfd_error)
			assert_int_equal(identity.pidfd, -1);
		assert_true(identity.pidfd < 0 || is_readable(identity.pidfd, 0));
		rf__identity_close(&identity);
		meeting_close(&meeting);
	}
}

static void c7_without_peerpidfd_the_pid_is_opened(void **state)
{
	struct rf__identity identity;
	struct meeting meeting;

	(void)state;
	rf_test_need("pidfd_open", has_pidfd_open());
	meet(&meeting, connect_and_stay, 0);
	kernel.peerpidfd_error = ENOPROTOOPT;
	identity = identify(meeting.sock, RF__ACCEPTED);
	assert_int_equal(identity.flags, RF_PEER_PIDFD | RF_PEER_SAME);
	assert_int_equal(fcntl(identity.pidfd, F_GETFD), FD_CLOEXEC);
	rf__close(&meeting.stay[1]);
	assert_true(is_readable(identity.pidfd, TIMEOUT_MS));
	rf__identity_close(&identity);
	meeting_close(&meeting);
}

/* The pid is that of another user's process by now. */
static void c7_a_reused_pid_gives_no_pidfd(void **state)
{
	struct meeting meeting, other;
	struct rf__identity identity;

	(void)state;
	rf_test_need_root();
	meet(&meeting, connect_and_stay, 0);
	meet(&other, connect_and_stay, RF_TEST_UID);
	kernel.peerpidfd_error = ENOPROTOOPT;
	kernel.pid = other.child;
	identity = identify(meeting.sock, RF__ACCEPTED);
	assert_int_equal(identity.pid, other.child);
	assert_int_equal(identity.pidfd, -1);
	assert_int_equal(identity.flags, 0);
	meeting_close(&other);
	meeting_close(&meeting);
}

/* The kernel's pidfd is believed, and never the number. */
static void c7_with_peerpidfd_a_reused_pid_does_not_matter(void **state)
{
	struct meeting meeting, other;
	struct rf__identity identity;

	(void)state;
	rf_test_need("SO_PEERPIDFD", rf_test_kernel(6, 5));
	rf_test_need_root();
	meet(&meeting, connect_from_pid_namespace, 0);
	meet(&other, connect_and_stay, 0);
	kernel.pid = other.child;
	identity = identify(meeting.sock, RF__ACCEPTED);
	assert_int_equal(identity.flags, RF_PEER_PIDFD);
	meeting_close(&other);
	assert_false(is_readable(identity.pidfd, 0));
	rf__identity_close(&identity);
	meeting_close(&meeting);
}

static void a_peer_that_the_kernel_cannot_name_has_no_pidfd(void **state)
{
	struct rf__identity identity;

	(void)state;
	kernel.peerpidfd_error = ESRCH;
	identity = identify_child(connect_and_stay, 0);
	assert_int_equal(identity.flags, 0);
	assert_int_equal(identity.pidfd, -1);
}

/* Who is admitted. */

static int check(uid_t uid, const uid_t *uids, size_t n_uids)
{
	const struct rf__identity identity = {.uid = uid, .pidfd = -1};

	return check_against(&identity, uids, n_uids, &reason);
}

/* The number of the first row that is wrong. */
static int check_policy(void *arg)
{
	static const uid_t listed[] = {61005, 61006, OVERFLOW_UID, (uid_t)-1};
	static const struct {
		uid_t uid;
		size_t n_uids;
		int expected;
	} rows[] = {
		{RF_TEST_UID, 0, 0},
		{0, 0, 0},
		{0, 4, 0},
		{61005, 0, -EPERM},
		{61005, 1, 0},
		{61006, 1, -EPERM},
		{61006, 2, 0},
		{RF_TEST_OTHER_UID, 4, -EPERM},
		{OVERFLOW_UID, 0, -EPERM},
		{OVERFLOW_UID, 4, -EPERM},
		{(uid_t)-1, 4, -EPERM},
	};

	(void)arg;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (check(rows[i].uid, listed, rows[i].n_uids) != rows[i].expected)
			return (int)i + 1;
	return 0;
}

static void own_uid_root_and_the_listed_are_admitted(void **state)
{
	(void)state;
	rf_test_need_root();
	assert_int_equal(run_child(check_policy, NULL, RF_TEST_UID), 0);
}

static void a_refusal_names_the_uid(void **state)
{
	(void)state;
	assert_int_equal(check(61007, NULL, 0), -EPERM);
	assert_reason("uid 61007 is not admitted");
	assert_int_equal(check(OVERFLOW_UID, NULL, 0), -EPERM);
	assert_reason("uid 65534 is the overflow uid");
	assert_int_equal(check(geteuid(), NULL, 0), 0);
}

#define fact(name) cmocka_unit_test_setup(name, reset)

int main(void)
{
	const struct CMUnitTest tests[] = {
		fact(our_own_child_is_the_same),
		fact(the_pidfd_tells_of_the_exit),
		fact(a_stopped_peer_is_read_all_the_same),
		fact(a_closed_identity_claims_nothing),
		fact(another_user_is_not_the_same),
		fact(a_plain_user_knows_its_own),
		fact(what_is_no_connected_unix_socket_is_an_error),
		fact(no_room_for_a_pidfd_is_an_error),
		fact(what_cannot_be_verified_is_not_the_same),
		fact(without_proc_nobody_is_the_same),
		fact(d10_our_uid_in_another_user_namespace_is_not_the_same),
		fact(d10_our_uid_in_another_pid_namespace_is_not_the_same),
		fact(d10_a_peer_without_a_pid_here_is_not_the_same),
		fact(d10_the_overflow_uid_is_neither_the_same_nor_admitted),
		fact(d10_the_overflow_uid_is_not_even_the_same_as_itself),
		fact(c7_a_socketpair_tells_its_creator_and_no_more),
		fact(c7_a_client_is_told_who_listens),
		fact(c7_a_dead_peer_is_not_the_same),
		fact(c7_without_peerpidfd_the_pid_is_opened),
		fact(c7_a_reused_pid_gives_no_pidfd),
		fact(c7_with_peerpidfd_a_reused_pid_does_not_matter),
		fact(a_peer_that_the_kernel_cannot_name_has_no_pidfd),
		fact(own_uid_root_and_the_listed_are_admitted),
		fact(a_refusal_names_the_uid),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
