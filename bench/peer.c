/* SPDX-License-Identifier: MIT */
/* What makes a program of one transport: a worker of ringfort-bench, or something to try by hand. */
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SAMPLE_NS UINT64_C(100000000)
#define RING      (UINT64_C(8) << 20)

static const char *const tests[] = {"throughput", "round-trip", "frames"};
static const char *const modes[] = {"each", "batch", "span", "copied", "span-copied"};

static int run_worker(char **argv, const struct transport *transport)
{
	struct place place = {
		{atoi(argv[4]), atoi(argv[5])}, atoi(argv[2]), atoi(argv[3]), argv[6]};

	fcntl(place.in, F_SETFD, FD_CLOEXEC);
	fcntl(place.out, F_SETFD, FD_CLOEXEC);
	return worker_run(transport, &place);
}

static unsigned index_of(const char *word, const char *const *words, unsigned n)
{
	unsigned i = 0;

	while (i < n && strcmp(word, words[i]))
		i++;
	return i;
}

static unsigned first_of(uint32_t set)
{
	return (unsigned)__builtin_ctz(set ? set : 1);
}

/* The job that the words say; what is not said, is the first that the transport can do. */
static int read_job(int argc, char **argv, const struct transport *transport, struct job *job)
{
	memset(job, 0, sizeof(*job));
	job->sample_ns = SAMPLE_NS;
	job->test = argc > 1 ? index_of(argv[1], tests, TESTS) : first_of(transport->tests);
	job->mode = argc > 2 ? index_of(argv[2], modes, MODES) : first_of(transport->modes);
	job->size = argc > 3 ? strtoull(argv[3], NULL, 10) : 64;
	job->wait = first_of(transport->waits);
	job->rate = job->test == TEST_FRAMES ? 60 : 0;
	job->ring_bytes = RING;
	while (job->ring_bytes < 2 * job->size + 128)
		job->ring_bytes *= 2;
	return job->test < TESTS && job->mode < MODES && job->size >= 8 && job->size % 4 == 0 ? 0
											      : -1;
}

static void print_result(const struct job *job, const struct result *result)
{
	double each = 1e9 / (double)result->took_ns * (double)result->count;
	const struct latency *latency = &result->latency;

	printf("%s %s %llu bytes: %.0f messages/s, %.3f GB/s, %s, CPU %.2f s and %.0f wake-ups per "
	       "million",
		tests[job->test], modes[job->mode], (unsigned long long)job->size, each,
		each * (double)job->size / 1e9,
		result->before != result->after
			? "moved"
			: (const char *[]){"near", "far", "crowded"}[result->after],
		(double)result->usage.cpu_ns / 1e3 / (double)result->count,
		(double)result->usage.wakeups * 1e6 / (double)result->count);
	if (job->test != TEST_THROUGHPUT)
		printf(", p50 %.0f p99 %.0f p99.9 %.0f ns", latency_quantile(latency, 0.5),
			latency_quantile(latency, 0.99), latency_quantile(latency, 0.999));
	puts("");
}

static int try_by_hand(const struct transport *transport, const struct job *job)
{
	char dir[] = "/tmp/rf-peer.XXXXXX";
	struct place place = {{0, 1}, -1, -1, dir};
	static struct result result;
	static struct pair pair;
	int r;

	if (!mkdtemp(dir))
		return 1;
	r = harness_begin(&pair, transport, &place);
	if (r >= 0) {
		harness_sample(&pair, job, &result);
		r = result.error;
		harness_end(&pair);
	}
	rmdir(dir);
	if (r < 0)
		fprintf(stderr, "%s: %s: %s\n", transport->name, strerror(-r), pair.end.why);
	else
		print_result(job, &result);
	return r < 0;
}

int harness_main(int argc, char **argv, const struct transport *transport)
{
	struct job job;

	if (argc == 7 && !strcmp(argv[1], "--worker"))
		return run_worker(argv, transport);
	if (argc == 2 && !strcmp(argv[1], "--about")) {
		printf("%s: %s\n", transport->name, transport->about);
		return 0;
	}
	if (argc <= 4 && read_job(argc, argv, transport, &job) == 0)
		return try_by_hand(transport, &job);
	fprintf(stderr,
		"Usage: %s [TEST [MODE [BYTES]]]\nTEST: throughput, round-trip or frames; MODE: "
		"each, "
		"batch, span, copied or span-copied.\n",
		argv[0]);
	return 2;
}
