/* SPDX-License-Identifier: MIT */
#include "pinned.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PROBE_NS    2000000
#define PROBE_TRIPS 32
#define LOOKS       (1 << 20) /* at a word, until somebody looks after the producer */
#define LINE        128

enum { PROBE = UINT64_MAX - 1, END = UINT64_MAX };

struct pinned_page {
	_Alignas(LINE) uint64_t started; /* commands; the consumer's */
	uint64_t command;
	_Alignas(LINE) uint64_t finished; /* the producer's */
	_Alignas(LINE) uint64_t ping;     /* the consumer's; 0 ends a probe */
	_Alignas(LINE) uint64_t pong;     /* the producer's */
	_Alignas(LINE) unsigned char shared[PINNED_SHARED_BYTES];
};

static uint64_t load(const uint64_t *word)
{
	return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static void store(uint64_t *word, uint64_t value)
{
	__atomic_store_n(word, value, __ATOMIC_RELEASE);
}

uint64_t pinned_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

int pinned_to(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((size_t)cpu, &set);
	return sched_setaffinity(0, sizeof(set), &set) < 0 ? -errno : 0;
}

int pinned_init(struct pinned *pinned)
{
	*pinned = (struct pinned){.producer = -1};
	pinned->page = mmap(NULL, sizeof(*pinned->page), PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	return pinned->page == MAP_FAILED ? -errno : 0;
}

void *pinned_shared(struct pinned *pinned)
{
	return pinned->page->shared;
}

static void pong(struct pinned_page *page)
{
	uint64_t ball = 0;

	do {
		while (load(&page->ping) == ball)
			;
		ball = load(&page->ping);
		store(&page->pong, ball);
	} while (ball);
}

void pinned_follow(struct pinned *pinned, pinned_run run, void *context)
{
	struct pinned_page *page = pinned->page;

	for (;; store(&page->finished, pinned->commands)) {
		while (load(&page->started) == pinned->commands)
			pinned_pause();
		pinned->commands++;
		if (page->command == END)
			return;
		if (page->command == PROBE)
			pong(page);
		else
			run(page->command, context);
	}
}

static void look_after(const struct pinned *pinned)
{
	if (waitpid(pinned->producer, NULL, WNOHANG) == 0)
		return;
	fputs("the producer has gone\n", stderr);
	exit(1);
}

void pinned_start(struct pinned *pinned, uint64_t command)
{
	pinned->page->command = command;
	store(&pinned->page->started, ++pinned->commands);
}

void pinned_finish(struct pinned *pinned)
{
	for (unsigned looks = 1; load(&pinned->page->finished) != pinned->commands; looks++) {
		if (looks % LOOKS == 0)
			look_after(pinned);
		pinned_pause();
	}
}

int pinned_end(struct pinned *pinned)
{
	int status = 0;

	pinned_start(pinned, END);
	while (waitpid(pinned->producer, &status, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

/* The fastest of many: what others do on these processors only adds to it. */
enum placement pinned_probe(struct pinned *pinned)
{
	struct pinned_page *page = pinned->page;
	uint64_t begun = pinned_now(), before = begun, now = begun, best = UINT64_MAX, ball = 0;

	pinned_start(pinned, PROBE);
	while (now - begun < PROBE_NS) {
		for (int i = 0; i < PROBE_TRIPS; i++) {
			store(&page->ping, ++ball);
			while (load(&page->pong) != ball)
				;
		}
		now = pinned_now();
		best = now - before < best ? now - before : best;
		before = now;
	}
	store(&page->ping, 0);
	pinned_finish(pinned);
	best /= PROBE_TRIPS;
	if (best > FAR_NS)
		return CROWDED;
	return best < NEAR_NS ? NEAR : FAR;
}
