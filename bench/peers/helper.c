/* SPDX-License-Identifier: MIT */
#include "helper.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_MS 5000
#define NOT_THERE   127 /* as a shell says it */

static void run(const char *const *argv, int out, const sigset_t *signals)
{
	cpu_set_t all;

	memset(&all, 0xff, sizeof(all));
	sched_setaffinity(0, sizeof(all), &all);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	sigprocmask(SIG_UNBLOCK, signals, NULL);
	dup2(out, STDOUT_FILENO);
	execvp(argv[0], (char *const *)argv);
	_exit(NOT_THERE);
}

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* What comes later is read by nobody; a pipe has room for it. */
static int await_word(int in, const char *word)
{
	int64_t end = now_ms() + PATIENCE_MS, left;
	struct pollfd look = {.fd = in, .events = POLLIN};
	char text[4096] = "";
	size_t have = 0;
	ssize_t n;

	while (!strstr(text, word)) {
		left = end - now_ms();
		if (left <= 0 || poll(&look, 1, (int)left) <= 0)
			return -ETIMEDOUT;
		n = read(in, text + have, sizeof(text) - 1 - have);
		if (n <= 0)
			return -ECHILD;
		have += (size_t)n;
		text[have] = '\0';
	}
	return 0;
}

/* Lets go of all that the others have open, but this: somebody may wait for its end. */
static int let_go(int out)
{
	int null = open("/dev/null", O_RDWR);

	dup2(null, STDIN_FILENO);
	dup2(out, STDOUT_FILENO);
	dup2(null, STDERR_FILENO);
	syscall(SYS_close_range, STDERR_FILENO + 1, ~0u, 0);
	return STDOUT_FILENO;
}

/* Before the daemon's end: afterwards they could be another one's. */
static void clean_up(const struct helper *helper)
{
	for (int i = 0; i < HELPER_FILES && helper->files[i]; i++)
		unlink(helper->files[i]);
}

static int end_daemon(pid_t daemon)
{
	int status = 0;

	kill(daemon, SIGKILL);
	waitpid(daemon, &status, 0);
	return WIFEXITED(status) && WEXITSTATUS(status) == NOT_THERE ? -ENOENT : 0;
}

/* Tells how it went, then stays until it is told to end or the daemon has ended. */
static void keep(const struct helper *helper, const char *const *argv, const char *ready, int out,
	const sigset_t *signals)
{
	int pipes[2], r = 0, ended;
	pid_t daemon = -1;

	if (pipe2(pipes, O_CLOEXEC) < 0)
		r = -errno;
	else
		daemon = fork();
	if (!daemon)
		run(argv, pipes[1], signals);
	if (r == 0 && daemon < 0)
		r = -errno;
	if (daemon > 0) {
		close(pipes[1]);
		r = await_word(pipes[0], ready);
	}
	if (r == 0 && write(out, &r, sizeof(r)) == sizeof(r))
		sigwaitinfo(signals, NULL);
	if (r == 0)
		clean_up(helper);
	ended = daemon > 0 ? end_daemon(daemon) : 0;
	if (r < 0 && write(out, ended ? &ended : &r, sizeof(r)) < 0)
		_exit(1);
	_exit(0);
}

static void become_keeper(const struct helper *helper, const char *const *argv, const char *ready,
	pid_t parent, int out)
{
	sigset_t signals;

	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGCHLD);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != parent)
		_exit(1);
	setsid();
	keep(helper, argv, ready, let_go(out), &signals);
}

int helper_start(struct helper *helper, const char *const *argv, const char *ready)
{
	pid_t parent = getpid();
	int pipes[2], r = -ECHILD;

	if (pipe2(pipes, O_CLOEXEC) < 0)
		return -errno;
	helper->keeper = fork();
	if (!helper->keeper)
		become_keeper(helper, argv, ready, parent, pipes[1]);
	close(pipes[1]);
	if (helper->keeper < 0)
		r = -errno;
	else if (read(pipes[0], &r, sizeof(r)) != sizeof(r))
		r = -ECHILD;
	close(pipes[0]);
	if (r < 0)
		helper_stop(helper);
	return r;
}

void helper_stop(struct helper *helper)
{
	if (helper->keeper <= 0)
		return;
	kill(helper->keeper, SIGTERM);
	while (waitpid(helper->keeper, NULL, 0) < 0 && errno == EINTR)
		;
	helper->keeper = 0;
}
