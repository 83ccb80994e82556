/* SPDX-License-Identifier: MIT */
/* The switcher by itself, on one processor: the worker is played. What is measured is a whole event: the
 * wake, and the turn with its input, its look for outputs, and the task's expiry. */
#include "switching.h"

#include "../src/switcher.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MS UINT64_C(1000000)

static const uint32_t crowds[] = {16, 256, 1000, 10000, 100000};

#define CROWDS (sizeof(crowds) / sizeof(*crowds))

struct member {
	uint64_t inputs, user;
};

struct crowd {
	struct rf__switcher switcher;
	struct rf__group group;
	void *memory[2];
	struct rf_handle *tasks; /* in the order in which they are woken */
	uint32_t n;
};

static unsigned member_input(void *state, struct rf_context *context, uint64_t now,
	const struct rf_input *inputs, unsigned n)
{
	struct member *member = state;

	(void)context;
	(void)now;
	member->inputs += n;
	member->user = inputs->control.user;
	return n;
}

static unsigned member_pop(void *state, struct rf_context *context, uint64_t now,
	struct rf_output *outputs, unsigned max)
{
	(void)state;
	(void)context;
	(void)now;
	(void)outputs;
	(void)max;
	return 0;
}

static uint64_t member_expiry(const void *state)
{
	return state ? RF_FOREVER : 0;
}

static const struct rf_task_ops member_ops = {
	.size = sizeof(struct rf_task_ops),
	.name = "member",
	.state_size = sizeof(struct member),
	.on_input = member_input,
	.pop_output = member_pop,
	.expiry = member_expiry,
};

/* Each task that is woken has one input. */
static unsigned fetch(void *worker, struct rf_handle task, struct rf_input *inputs, unsigned max)
{
	(void)worker;
	(void)max;
	inputs->kind = RF_INPUT_CONTROL;
	inputs->control.user = task.index;
	return 1;
}

static void taken(void *worker, struct rf_handle task, const struct rf_input *inputs, unsigned n,
	unsigned n_taken)
{
	(void)worker;
	(void)task;
	(void)inputs;
	(void)n;
	(void)n_taken;
}

/* There are no outputs. */
static int deliver(void *worker, struct rf_handle task, const struct rf_output *output)
{
	(void)worker;
	(void)task;
	(void)output;
	return -EINVAL;
}

static void discard(void *worker, struct rf_handle task, const struct rf_output *output)
{
	(void)worker;
	(void)task;
	(void)output;
}

static void ended(void *worker, struct rf_handle task, int error)
{
	(void)worker;
	(void)task;
	(void)error;
}

static const struct rf__worker_ops worker_ops = {fetch, taken, deliver, discard, ended};

static void *take_memory(size_t bytes)
{
	void *memory = aligned_alloc(64, (bytes + 63) / 64 * 64);

	if (!memory)
		aside_fail("switching", -ENOMEM);
	return memory;
}

static void begin(struct crowd *crowd, uint32_t n)
{
	const struct rf__switcher_config config = {.tasks = n};

	memset(crowd, 0, sizeof(*crowd));
	crowd->n = n;
	crowd->tasks = take_memory(n * sizeof(*crowd->tasks));
	crowd->memory[0] = take_memory(rf__switcher_memory(&config));
	crowd->memory[1] = take_memory(rf__group_memory(&member_ops, n));
	rf__switcher_init(&crowd->switcher, &config, crowd->memory[0], &worker_ops, NULL, NULL);
	rf__group_init(&crowd->group, &member_ops, 0, n, crowd->memory[1]);
	for (uint32_t i = 0; i < n; i++)
		rf__switcher_spawn(&crowd->switcher, &crowd->group, NULL, &crowd->tasks[i]);
	rf__switcher_run(&crowd->switcher, 0, UINT32_MAX);
}

static void end(struct crowd *crowd)
{
	free(crowd->memory[0]);
	free(crowd->memory[1]);
	free(crowd->tasks);
}

static void shuffle(struct crowd *crowd)
{
	uint32_t chance = 12345;

	for (uint32_t i = crowd->n - 1; i > 0; i--) {
		struct rf_handle task = crowd->tasks[i];
		uint32_t other;

		chance ^= chance << 13;
		chance ^= chance >> 17;
		chance ^= chance << 5;
		other = chance % (i + 1);
		crowd->tasks[i] = crowd->tasks[other];
		crowd->tasks[other] = task;
	}
}

/* An event for each: nanoseconds for one. */
static double sample(struct crowd *crowd, uint64_t sample_ns)
{
	uint64_t begun = pinned_now(), now, events = 0;

	do {
		for (uint32_t i = 0; i < crowd->n; i++)
			rf__switcher_wake(&crowd->switcher, crowd->tasks[i], RF__WAKE_INPUT);
		events += rf__switcher_run(&crowd->switcher, begun, UINT32_MAX);
		now = pinned_now();
	} while (now < begun + sample_ns);
	return (double)(now - begun) / (double)events;
}

static void measure(const struct aside *aside, struct crowd *crowd, const char *mode)
{
	unsigned rounds = aside->settings->rounds;
	double values[ROUNDS_MOST];
	struct record record;

	sample(crowd, MS);
	for (unsigned i = 0; i < rounds; i++)
		values[i] = sample(crowd, aside->settings->sample_ms * MS);
	aside_begin(&record, "switching", mode, NEAR);
	strcpy(record.state, "one");
	record.n = crowd->n;
	record.rounds = rounds;
	aside_summarise(aside, values, rounds, &record.p50, &record.p50_min, &record.p50_max);
	aside_tell(aside, &record);
}

void switching_test(const struct aside *aside)
{
	struct crowd crowd;

	aside_pin(aside, 0);
	for (unsigned i = 0; i < CROWDS; i++) {
		begin(&crowd, crowds[i]);
		measure(aside, &crowd, "in-order");
		shuffle(&crowd);
		measure(aside, &crowd, "in-any-order");
		end(&crowd);
	}
}
