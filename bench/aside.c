/* SPDX-License-Identifier: MIT */
#include "aside.h"

#include "worker.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <ringfort/ringfort.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

void aside_fail(const char *what, int error)
{
	fprintf(stderr, "ringfort-bench: %s: %s\n", what,
		*rf_reason() ? rf_reason() : strerror(-error));
	exit(1);
}

void aside_run(void (*test)(const struct aside *aside), const struct settings *settings,
	const char *dir, struct records *records)
{
	struct aside aside = {settings, dir, -1};
	struct record record;
	pid_t child;
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0)
		return;
	fflush(NULL);
	child = fork();
	if (child == 0) {
		signal(SIGINT, SIG_DFL);
		signal(SIGTERM, SIG_DFL);
		prctl(PR_SET_PDEATHSIG, SIGTERM);
		close(fds[0]);
		aside.out = fds[1];
		test(&aside);
		_exit(0);
	}
	close(fds[1]);
	while (worker_read(fds[0], &record, sizeof(record)) >= 0)
		*records_add(records) = record;
	close(fds[0]);
	if (child > 0)
		waitpid(child, NULL, 0);
}

void aside_begin(struct record *record, const char *test, const char *mode, enum placement at)
{
	static const char *const states[] = {"near", "far"};
	struct records one = {.n = 0};

	*record = *records_add(&one);
	free(one.all);
	snprintf(record->test, WORD_BYTES, "%s", test);
	snprintf(record->transport, WORD_BYTES, "ringfort");
	snprintf(record->mode, WORD_BYTES, "%s", mode);
	snprintf(record->state, WORD_BYTES, "%s", states[at]);
	record->subject = true;
}

void aside_tell(const struct aside *aside, const struct record *record)
{
	if (worker_write(aside->out, record, sizeof(*record)) < 0)
		exit(1);
}

void aside_pin(const struct aside *aside, int which)
{
	int r = pinned_to(aside->settings->cpus[which]);

	if (r < 0)
		aside_fail("--cpus", r);
}

void aside_keep(struct aside_samples *samples, enum placement before, enum placement after,
	double value, double more)
{
	if (before != after || after == CROWDED) {
		samples->dropped++;
		return;
	}
	samples->values[after][samples->n[after]] = value;
	samples->more[after][samples->n[after]++] = more;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

void aside_summarise(const struct aside *aside, double *values, unsigned n, double *median,
	double *min, double *max)
{
	*median = *min = *max = (double)NAN;
	if (n < (aside->settings->smoke ? 1 : ROUNDS_LEAST))
		return;
	qsort(values, n, sizeof(*values), compare);
	*median = (values[(n - 1) / 2] + values[n / 2]) / 2;
	*min = values[0];
	*max = values[n - 1];
}
