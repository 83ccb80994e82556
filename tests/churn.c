/* SPDX-License-Identifier: MIT */
/* One publisher, two honest subscribers, and a crowd that is stopped, killed, or breaks the
 * protocol.
 *
 *	churn [--seconds N] [--seed N]
 *
 * For N seconds (600): what is published arrives whole at the honest ones, and the publisher's
 * memory, descriptors and mappings stay what they are, as does the age of messages when they
 * arrive. Ten seconds are a line; at the end of a run of a minute or more the first third is
 * compared with the last; and without the crowd, all is as before it came.
 * Exit status: 0; 1: something was wrong; 2: usage. */
#include "churn.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define INTERVALS_MOST 400
#define STEP_NS        (10 * MS_NS)
#define STEPS_SAMPLE   10 /* between two looks at the publisher */
#define SETTLE_NS      (10 * SECOND_NS)
#define LONG_SECONDS   60

#define NO_PID INT_MAX /* nobody's: not to be taken for a group by kill(2) */

/* What may differ between the thirds, and before and after. AddressSanitizer keeps what was freed. */
#if defined(__SANITIZE_ADDRESS__)
#define KB_SLACK 65536
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define KB_SLACK 65536
#endif
#endif
#ifndef KB_SLACK
#define KB_SLACK 1024
#endif
#define COUNT_SLACK   8
#define AGE_SLACK_NS  (2 * MS_NS)
#define AGE_SLACK_MUL 2

struct footprint {
	double rss_kb, shmem_kb, fds, mappings;
};

struct interval {
	struct footprint mean;
	unsigned samples;
	uint64_t ages[HONEST][AGE_CLASSES];
};

struct member {
	pid_t pid; /* NO_PID: none */
	uint64_t continue_ns;
};

struct supervisor {
	struct churn churn;
	uint64_t seed, first_seed;
	uint64_t seconds, interval_ns, began_ns;
	char dir[32];
	pid_t publisher, honest[HONEST];
	struct member crowd[CROWD];
	uint64_t started, stopped, killed;
	struct interval intervals[INTERVALS_MOST];
	unsigned n_intervals;
	uint64_t ages_before[HONEST][AGE_CLASSES];
	bool failed;
};

__attribute__((format(printf, 2, 3))) static void complain(
	struct supervisor *s, const char *format, ...)
{
	va_list args;

	s->failed = true;
	fputs("churn: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
}

/* Children */

/* Should memory run short, they go first. */
static void be_expendable(void)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd >= 0 && write(fd, "1000", 4) < 0)
		fputs("churn: cannot set oom_score_adj\n", stderr);
	if (fd >= 0)
		close(fd);
}

/* 0: we are the child. */
static pid_t start(struct supervisor *s)
{
	pid_t parent = getpid(), pid;

	fflush(stdout);
	pid = fork();
	if (pid < 0)
		complain(s, "cannot fork: %s", strerror(errno));
	if (pid)
		return pid > 0 ? pid : NO_PID;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	be_expendable();
	if (getppid() != parent)
		_exit(FAILED);
	return 0;
}

static void start_publisher(struct supervisor *s)
{
	s->publisher = start(s);
	if (!s->publisher)
		_exit(run_publisher(&s->churn));
}

static void start_honest(struct supervisor *s)
{
	for (int i = 0; i < HONEST; i++) {
		s->honest[i] = start(s);
		if (!s->honest[i])
			_exit(run_honest(&s->churn, (enum honest)i));
	}
}

static void start_member(struct supervisor *s, struct member *member)
{
	uint64_t seed = next_random(&s->seed);

	*member = (struct member){.pid = start(s)};
	if (!member->pid)
		_exit(run_crowd(&s->churn, seed));
	s->started++;
}

/* One that scribbles may spoil itself, and end in any way. */
static void reap(struct supervisor *s, struct member *member, int options)
{
	int status;

	if (member->pid == NO_PID || waitpid(member->pid, &status, options) != member->pid)
		return;
	member->pid = NO_PID;
	if (WIFEXITED(status) && WEXITSTATUS(status) == SPOILT)
		complain(s, "one of the crowd got what it should not");
}

/* Those that are to stay. */
static void look_after(struct supervisor *s)
{
	if (waitpid(s->publisher, NULL, WNOHANG) != 0) {
		s->publisher = NO_PID;
		complain(s, "the publisher has gone");
	}
	for (int i = 0; i < HONEST; i++)
		if (waitpid(s->honest[i], NULL, WNOHANG) != 0) {
			s->honest[i] = NO_PID;
			complain(s, "an honest subscriber has gone");
		}
}

static bool chance(struct supervisor *s, unsigned of)
{
	return next_random(&s->seed) % of == 0;
}

static void disturb_one(struct supervisor *s, struct member *member, uint64_t now)
{
	reap(s, member, WNOHANG);
	if (member->pid == NO_PID) {
		if (chance(s, 20))
			start_member(s, member);
	} else if (chance(s, 150)) {
		kill(member->pid, SIGKILL);
		s->killed++;
	} else if (member->continue_ns && now >= member->continue_ns) {
		kill(member->pid, SIGCONT);
		member->continue_ns = 0;
	} else if (!member->continue_ns && chance(s, 100)) {
		kill(member->pid, SIGSTOP);
		member->continue_ns = now + next_random(&s->seed) % (2 * SECOND_NS);
		s->stopped++;
	}
}

static void disturb(struct supervisor *s)
{
	uint64_t now = now_ns();

	for (unsigned i = 0; i < CROWD; i++)
		disturb_one(s, &s->crowd[i], now);
}

static void send_home(struct supervisor *s)
{
	for (unsigned i = 0; i < CROWD; i++)
		if (s->crowd[i].pid != NO_PID) {
			kill(s->crowd[i].pid, SIGKILL);
			reap(s, &s->crowd[i], 0);
		}
}

/* The publisher from outside */

static FILE *open_proc(const struct supervisor *s, const char *name)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)s->publisher, name);
	return fopen(path, "re");
}

static double count_lines(FILE *file)
{
	double n = 0;
	int c;

	if (!file)
		return 0;
	while ((c = getc_unlocked(file)) != EOF)
		n += c == '\n';
	fclose(file);
	return n;
}

static double count_fds(const struct supervisor *s)
{
	char path[64];
	double n = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)s->publisher);
	dir = opendir(path);
	while (dir && readdir(dir))
		n++;
	if (dir)
		closedir(dir);
	return n;
}

static struct footprint footprint(const struct supervisor *s)
{
	struct footprint f = {.fds = count_fds(s), .mappings = count_lines(open_proc(s, "maps"))};
	FILE *status = open_proc(s, "status");
	char line[256];

	while (status && fgets(line, sizeof(line), status)) {
		sscanf(line, "VmRSS: %lf", &f.rss_kb);
		sscanf(line, "RssShmem: %lf", &f.shmem_kb);
	}
	if (status)
		fclose(status);
	return f;
}

static void add(struct footprint *to, const struct footprint *from, double weight)
{
	to->rss_kb += from->rss_kb * weight;
	to->shmem_kb += from->shmem_kb * weight;
	to->fds += from->fds * weight;
	to->mappings += from->mappings * weight;
}

/* Ages */

/* The upper end of a class. */
static uint64_t class_ns(unsigned class)
{
	unsigned power = class / 8 + 2;

	return class < 8 ? class + 1 : (UINT64_C(8) + class % 8 + 1) << (power - 3);
}

static double percentile_ms(const uint64_t *ages, double share)
{
	uint64_t all = 0, seen = 0;
	unsigned i;

	for (i = 0; i < AGE_CLASSES; i++)
		all += ages[i];
	for (i = 0; i < AGE_CLASSES && all; i++) {
		seen += ages[i];
		if ((double)seen >= share * (double)all)
			return (double)class_ns(i) / 1e6;
	}
	return 0;
}

static void take_ages(struct supervisor *s, struct interval *interval)
{
	uint64_t now;

	for (int h = 0; h < HONEST; h++)
		for (unsigned i = 0; i < AGE_CLASSES; i++) {
			now = told(&s->churn.board->honest[h].ages[i]);
			interval->ages[h][i] = now - s->ages_before[h][i];
			s->ages_before[h][i] = now;
		}
}

/* Intervals */

static void print_footprint(const struct footprint *f)
{
	printf("%.0f KB resident, %.0f KB shared, %.1f descriptors, %.1f mappings", f->rss_kb,
		f->shmem_kb, f->fds, f->mappings);
}

static void print_interval(const struct supervisor *s, const struct interval *interval)
{
	const struct board *board = s->churn.board;

	printf("%5.0f s: %" PRIu64 " messages; %" PRIu64 " joined, %" PRIu64 " left, %" PRIu64
	       " cut, %" PRIu64 " broken, %" PRIu64 " refused, %" PRIu64 " failed; ",
		(double)(now_ns() - s->began_ns) / 1e9, told(&board->publisher.messages),
		told(&board->publisher.joined), told(&board->publisher.left),
		told(&board->publisher.cut), told(&board->publisher.broken),
		told(&board->publisher.refused), told(&board->publisher.failed));
	print_footprint(&interval->mean);
	for (int h = 0; h < HONEST; h++)
		printf("; %s p50 %.3f p99 %.3f ms", h == BLOCKING ? "block" : "disconnect",
			percentile_ms(interval->ages[h], 0.5),
			percentile_ms(interval->ages[h], 0.99));
	puts("");
	fflush(stdout);
}

static void sleep_step(void)
{
	struct timespec t = {0, STEP_NS};

	nanosleep(&t, NULL);
}

static void run_interval(struct supervisor *s)
{
	struct interval *interval = &s->intervals[s->n_intervals++];
	uint64_t until = s->began_ns + s->n_intervals * s->interval_ns;
	struct footprint sum = {0}, now;
	unsigned step;

	for (step = 0; !s->failed && (now_ns() < until || !interval->samples); step++) {
		disturb(s);
		look_after(s);
		if (s->failed)
			return;
		if (step % STEPS_SAMPLE == 0) {
			now = footprint(s);
			add(&sum, &now, 1);
			interval->samples++;
		}
		sleep_step();
	}
	if (interval->samples)
		add(&interval->mean, &sum, 1.0 / interval->samples);
	take_ages(s, interval);
	print_interval(s, interval);
}

/* Verdicts */

static void merge(const struct supervisor *s, unsigned from, unsigned to, struct interval *ret)
{
	memset(ret, 0, sizeof(*ret));
	for (unsigned i = from; i < to; i++) {
		add(&ret->mean, &s->intervals[i].mean, 1.0 / (to - from));
		for (int h = 0; h < HONEST; h++)
			for (unsigned c = 0; c < AGE_CLASSES; c++)
				ret->ages[h][c] += s->intervals[i].ages[h][c];
	}
}

static void compare(
	struct supervisor *s, const char *what, double before, double after, double most)
{
	if (after > most)
		complain(s, "%s grew from %.3f to %.3f", what, before, after);
}

static void compare_memory(
	struct supervisor *s, const struct footprint *a, const struct footprint *b)
{
	compare(s, "resident memory (KB)", a->rss_kb, b->rss_kb, a->rss_kb * 1.1 + KB_SLACK);
	compare(s, "shared memory (KB)", a->shmem_kb, b->shmem_kb, a->shmem_kb * 1.1 + KB_SLACK);
}

static void compare_counts(struct supervisor *s, const struct footprint *a,
	const struct footprint *b, double factor, double slack)
{
	compare(s, "the number of descriptors", a->fds, b->fds, a->fds * factor + slack);
	compare(s, "the number of mappings", a->mappings, b->mappings,
		a->mappings * factor + slack);
}

static void compare_thirds(struct supervisor *s)
{
	static struct interval first, last;
	unsigned third = s->n_intervals / 3;
	double a, b;

	merge(s, 0, third, &first);
	merge(s, s->n_intervals - third, s->n_intervals, &last);
	compare_memory(s, &first.mean, &last.mean);
	compare_counts(s, &first.mean, &last.mean, 1.1, COUNT_SLACK);
	for (int h = 0; h < HONEST; h++) {
		a = percentile_ms(first.ages[h], 0.99);
		b = percentile_ms(last.ages[h], 0.99);
		printf("%s p99: %.3f ms in the first third, %.3f ms in the last\n",
			h == BLOCKING ? "block" : "disconnect", a, b);
		compare(s, "p99 (ms)", a, b, a * AGE_SLACK_MUL + AGE_SLACK_NS / 1e6);
	}
}

/* What went with the crowd may take a moment to go. */
static void compare_without_crowd(struct supervisor *s, const struct footprint *before)
{
	uint64_t until = now_ns() + SETTLE_NS;
	struct footprint after = footprint(s);

	while (now_ns() < until && (after.fds > before->fds || after.mappings > before->mappings)) {
		sleep_step();
		after = footprint(s);
	}
	printf("before the crowd: ");
	print_footprint(before);
	printf("\nafter the crowd:  ");
	print_footprint(&after);
	puts("");
	compare_memory(s, before, &after);
	compare_counts(s, before, &after, 1, 0);
}

/* The stream ends; then all that was published has arrived, or its loss was told (but for what was
 * dropped after the last message: there is none left to tell it). */
static void finish(struct supervisor *s)
{
	pid_t pids[] = {s->publisher, s->honest[BLOCKING], s->honest[DISCONNECTING]};
	struct board *board = s->churn.board;
	uint64_t messages, got;
	int status;

	tell(&board->finish, 1);
	for (unsigned i = 0; i < 3; i++)
		if (waitpid(pids[i], &status, 0) != pids[i] || status)
			complain(s, "%s ended with status %#x",
				i ? "an honest subscriber" : "the publisher", (unsigned)status);
	messages = told(&board->publisher.messages);
	for (int h = 0; h < HONEST; h++) {
		got = told(&board->honest[h].received) + told(&board->honest[h].missed);
		if (got != messages)
			complain(s, "%" PRIu64 " of %" PRIu64 " messages were received or missed",
				got, messages);
	}
	printf("%" PRIu64 " messages, %" PRIu64 " missed by the one that does not block; %" PRIu64
	       " of the crowd, %" PRIu64 " stops, %" PRIu64 " kills; seed %" PRIu64 "\n",
		messages, told(&board->honest[DISCONNECTING].missed), s->started, s->stopped,
		s->killed, s->first_seed);
}

static void wait_for_messages(struct supervisor *s)
{
	uint64_t until = now_ns() + PATIENCE_NS;

	while (!s->failed && told(&s->churn.board->publisher.messages) < 2 * FULL_MESSAGES) {
		look_after(s);
		if (now_ns() > until)
			complain(s, "nothing was published");
		sleep_step();
	}
}

static void kill_all(struct supervisor *s)
{
	pid_t pids[] = {s->publisher, s->honest[BLOCKING], s->honest[DISCONNECTING]};

	for (unsigned i = 0; i < 3; i++)
		if (pids[i] != NO_PID) {
			kill(pids[i], SIGKILL);
			waitpid(pids[i], NULL, 0);
		}
}

static bool are_there(const struct supervisor *s)
{
	return s->publisher != NO_PID && s->honest[BLOCKING] != NO_PID &&
	       s->honest[DISCONNECTING] != NO_PID;
}

static void run(struct supervisor *s)
{
	unsigned most = (unsigned)(s->seconds * SECOND_NS / s->interval_ns);
	struct footprint before;

	for (unsigned i = 0; i < CROWD; i++)
		s->crowd[i].pid = NO_PID;
	start_publisher(s);
	start_honest(s);
	wait_for_messages(s);
	before = footprint(s);
	s->began_ns = now_ns();
	while (!s->failed && s->n_intervals < most)
		run_interval(s);
	send_home(s);
	if (!s->failed && s->seconds >= LONG_SECONDS)
		compare_thirds(s);
	if (!s->failed)
		compare_without_crowd(s, &before);
	if (are_there(s))
		finish(s);
	else
		kill_all(s);
}

static void clean_up(const struct supervisor *s)
{
	char lock[sizeof(s->churn.path) + 8];

	snprintf(lock, sizeof(lock), "%s.lock", s->churn.path);
	unlink(lock);
	unlink(s->churn.path);
	rmdir(s->dir);
}

static int parse(struct supervisor *s, int argc, char **argv)
{
	static const struct option options[] = {{"seconds", required_argument, NULL, 's'},
		{"seed", required_argument, NULL, 'r'}, {NULL, 0, NULL, 0}};
	int c;

	s->seconds = 600;
	s->seed = now_ns();
	while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		if (c == 's')
			s->seconds = strtoull(optarg, NULL, 10);
		else if (c == 'r')
			s->seed = strtoull(optarg, NULL, 10);
		else
			return -EINVAL;
	}
	s->first_seed = s->seed;
	s->interval_ns = s->seconds < 90 ? s->seconds * SECOND_NS / 9 : 10 * SECOND_NS;
	return optind == argc && s->seconds && s->seconds <= 10 * (INTERVALS_MOST - 1) ? 0
										       : -EINVAL;
}

int main(int argc, char **argv)
{
	static struct supervisor s;

	if (parse(&s, argc, argv) < 0) {
		fprintf(stderr, "usage: churn [--seconds N] [--seed N]\n");
		return 2;
	}
	s.churn.board = mmap(NULL, sizeof(struct board), PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	strcpy(s.dir, "/tmp/rf-churn.XXXXXX");
	if (s.churn.board == MAP_FAILED || !mkdtemp(s.dir)) {
		perror("churn");
		return 1;
	}
	snprintf(s.churn.path, sizeof(s.churn.path), "%s/socket", s.dir);
	run(&s);
	clean_up(&s);
	return s.failed;
}
