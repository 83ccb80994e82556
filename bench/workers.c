/* SPDX-License-Identifier: MIT */
#include "workers.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define ANSWER_MS 45000 /* more than a pair gives itself */
#define END_MS    10000

int workers_init(struct workers *workers, const int cpus[2])
{
	workers->n = 0;
	workers->cpus[0] = cpus[0];
	workers->cpus[1] = cpus[1];
	snprintf(workers->dir, sizeof(workers->dir), "/tmp/rf-bench.XXXXXX");
	return mkdtemp(workers->dir) ? 0 : -errno;
}

/* The child: nothing of the others stays open in it. */
_Noreturn static void live(struct workers *workers, struct worker *worker, int in, int out)
{
	struct place place = {{workers->cpus[0], workers->cpus[1]}, in, out, worker->dir};
	char numbers[4][16];

	signal(SIGINT, SIG_DFL);
	signal(SIGTERM, SIG_DFL);
	for (unsigned i = 0; i < workers->n; i++) {
		if (!workers->all[i].pid)
			continue;
		close(workers->all[i].to);
		close(workers->all[i].from);
	}
	if (worker->builtin)
		_exit(worker_run(worker->builtin, &place));
	fcntl(in, F_SETFD, 0);
	fcntl(out, F_SETFD, 0);
	snprintf(numbers[0], 16, "%d", in);
	snprintf(numbers[1], 16, "%d", out);
	snprintf(numbers[2], 16, "%d", workers->cpus[0]);
	snprintf(numbers[3], 16, "%d", workers->cpus[1]);
	dup2(STDERR_FILENO, STDOUT_FILENO);
	execl(worker->program, worker->program, "--worker", numbers[0], numbers[1], numbers[2],
		numbers[3], worker->dir, NULL);
	_exit(127);
}

static int answer(const struct worker *worker, void *to, size_t len)
{
	struct pollfd ready = {worker->from, POLLIN, 0};

	if (poll(&ready, 1, ANSWER_MS) == 0)
		return -ETIMEDOUT;
	return worker_read(worker->from, to, len);
}

static void bury(struct worker *worker)
{
	if (!worker->pid)
		return;
	kill(worker->pid, SIGKILL);
	waitpid(worker->pid, NULL, 0);
	close(worker->to);
	close(worker->from);
	worker->pid = 0;
}

static int start(struct workers *workers, struct worker *worker)
{
	int to[2], from[2];

	if (pipe2(to, O_CLOEXEC) < 0)
		return -errno;
	if (pipe2(from, O_CLOEXEC) < 0)
		return -errno;
	fflush(NULL);
	worker->pid = 0;
	worker->to = to[1];
	worker->from = from[0];
	worker->pid = fork();
	if (worker->pid == 0) {
		close(to[1]);
		close(from[0]);
		live(workers, worker, to[0], from[1]);
	}
	close(to[0]);
	close(from[1]);
	if (worker->pid < 0)
		return -errno;
	return answer(worker, &worker->hello, sizeof(worker->hello));
}

static void add(struct workers *workers, struct worker *worker, const char *name)
{
	int r;

	snprintf(worker->dir, sizeof(worker->dir), "%s/%u", workers->dir, workers->n);
	mkdir(worker->dir, 0700);
	r = start(workers, worker);
	if (r < 0 || worker->hello.magic != WORKER_MAGIC) {
		fprintf(stderr, "ringfort-bench: %s does not start: %s\n", name,
			r < 0 ? strerror(-r) : "of another build");
		bury(worker);
		return;
	}
	if (worker->hello.error < 0)
		bury(worker);
	workers->n++;
}

void workers_add_builtin(struct workers *workers, const struct transport *transport)
{
	struct worker *worker = &workers->all[workers->n];

	if (workers->n == WORKERS_MOST)
		return;
	*worker = (struct worker){.builtin = transport};
	add(workers, worker, transport->name);
}

void workers_add_program(struct workers *workers, const char *program)
{
	struct worker *worker = &workers->all[workers->n];

	if (workers->n == WORKERS_MOST)
		return;
	*worker = (struct worker){.pid = 0};
	snprintf(worker->program, sizeof(worker->program), "%s", program);
	add(workers, worker, program);
}

static int start_again(struct workers *workers, struct worker *worker, struct result *result)
{
	bury(worker);
	memset(result, 0, sizeof(*result));
	result->error = -ECONNRESET;
	snprintf(result->why, WHY_BYTES, "it died, or was stuck");
	if (++worker->deaths < DEATHS_MOST &&
		(start(workers, worker) < 0 || worker->hello.error < 0))
		bury(worker);
	return -ECONNRESET;
}

int workers_ask(struct workers *workers, struct worker *worker, const struct job *job,
	struct result *result)
{
	int r = worker->pid ? worker_write(worker->to, job, sizeof(*job)) : -ESRCH;

	if (r >= 0)
		r = answer(worker, result, sizeof(*result));
	if (r >= 0)
		return 0;
	return start_again(workers, worker, result);
}

static int remove_one(const char *path, const struct stat *stat, int flag, struct FTW *where)
{
	(void)stat;
	(void)flag;
	(void)where;
	remove(path);
	return 0;
}

/* Each ends when there is nothing more to read; whoever takes too long is ended. */
void workers_end(struct workers *workers)
{
	struct pollfd gone;
	char rest;

	for (unsigned i = 0; i < workers->n; i++)
		if (workers->all[i].pid)
			close(workers->all[i].to);
	for (unsigned i = 0; i < workers->n; i++) {
		struct worker *worker = &workers->all[i];

		if (!worker->pid)
			continue;
		gone = (struct pollfd){worker->from, POLLIN, 0};
		while (poll(&gone, 1, END_MS) == 1 && read(worker->from, &rest, 1) > 0)
			;
		worker->to = open("/dev/null", O_WRONLY | O_CLOEXEC);
		bury(worker);
	}
	nftw(workers->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}
