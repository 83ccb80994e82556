/* SPDX-License-Identifier: MIT */
/* Many tasks on one worker: none starves, whatever the others do; and they come and go. */
#include "support.h"
#include "switcher.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define POLITE     1000
#define QUANTUM    16
#define MOST       100000
#define STORM      2000 /* tasks at a time */
#define GENERATION 100  /* storms */

struct member {
	bool greedy;
	uint64_t since; /* events, when its input came; 0: it has none */
	unsigned inputs;
	unsigned children; /* that it still spawns */
};

static struct crowd {
	struct rf__switcher switcher;
	struct rf__group group, greedy;
	void *memory[3];
	struct member *members; /* by index */
	struct rf_handle *handles;
	uint64_t worst, greedy_inputs;
	unsigned worst_ready, begun, ended;
} crowd;

/* Members: their state is the index. */

static struct member *member_of(const void *state)
{
	uint32_t index;

	memcpy(&index, state, sizeof(index));
	return &crowd.members[index];
}

static int member_init(
	void *state, struct rf_context *context, struct rf_handle self, const void *argument)
{
	(void)context;
	memcpy(state, &self.index, sizeof(self.index));
	crowd.members[self.index] = *(const struct member *)argument;
	crowd.handles[self.index] = self;
	crowd.begun++;
	return 0;
}

static unsigned member_input(void *state, struct rf_context *context, uint64_t now,
	const struct rf_input *inputs, unsigned n)
{
	struct member *member = member_of(state);
	uint64_t wait = crowd.switcher.stats.events - member->since;

	(void)context;
	(void)now;
	(void)inputs;
	member->inputs += n;
	if (member->greedy)
		crowd.greedy_inputs += n;
	else if (wait > crowd.worst)
		crowd.worst = wait;
	return n;
}

static unsigned member_pop(void *state, struct rf_context *context, uint64_t now,
	struct rf_output *outputs, unsigned max)
{
	struct member *member = member_of(state);
	unsigned n = member->children < max ? member->children : max;

	(void)context;
	(void)now;
	for (unsigned i = 0; i < n; i++)
		outputs[i] = (struct rf_output){.kind = RF_OUTPUT_SPAWN, .on_full = RF_FULL_DROP};
	member->children -= n;
	return n;
}

static bool member_is_done(const void *state)
{
	const struct member *member = member_of(state);

	return !member->greedy && !member->since && !member->children;
}

static const struct rf_task_ops staying = {
	.size = sizeof(struct rf_task_ops),
	.name = "member",
	.state_size = sizeof(uint32_t),
	.quantum = QUANTUM,
	.batch = QUANTUM,
	.init = member_init,
	.on_input = member_input,
};

/* The worker: a greedy one has always more, another one what came. */

static unsigned crowd_fetch(
	void *worker, struct rf_handle task, struct rf_input *inputs, unsigned max)
{
	const struct member *member = &crowd.members[task.index];

	(void)worker;
	memset(inputs, 0, sizeof(*inputs));
	return member->greedy ? max : member->since != 0;
}

static void crowd_taken(void *worker, struct rf_handle task, const struct rf_input *inputs,
	unsigned n, unsigned taken)
{
	(void)worker;
	(void)inputs;
	assert_int_equal(taken, n);
	crowd.members[task.index].since = 0;
}

static int crowd_deliver(void *worker, struct rf_handle task, const struct rf_output *output)
{
	const struct member child = {.children = 0};
	int r;

	(void)worker;
	(void)task;
	assert_int_equal(output->kind, RF_OUTPUT_SPAWN);
	r = rf__switcher_spawn(&crowd.switcher, &crowd.group, &child, &(struct rf_handle){0, 0});
	return r == -ENOSPC ? RF__FULL : r;
}

static void crowd_discard(void *worker, struct rf_handle task, const struct rf_output *output)
{
	(void)worker;
	(void)task;
	(void)output;
}

static void crowd_ended(void *worker, struct rf_handle task, int error)
{
	(void)worker;
	(void)task;
	assert_int_equal(error, 0);
	crowd.ended++;
}

static const struct rf__worker_ops crowd_ops = {
	crowd_fetch, crowd_taken, crowd_deliver, crowd_discard, crowd_ended};

static void *take_memory(size_t bytes)
{
	void *memory = aligned_alloc(64, (bytes + 63) / 64 * 64);

	assert_non_null(memory);
	return memory;
}

static void begin(const struct rf_task_ops *ops, uint32_t most)
{
	const struct rf__switcher_config config = {.tasks = most};

	memset(&crowd, 0, sizeof(crowd));
	crowd.members = calloc(most, sizeof(*crowd.members));
	crowd.handles = calloc(most, sizeof(*crowd.handles));
	assert_non_null(crowd.members);
	assert_non_null(crowd.handles);
	crowd.memory[0] = take_memory(rf__switcher_memory(&config));
	crowd.memory[1] = take_memory(rf__group_memory(ops, most));
	crowd.memory[2] = take_memory(rf__group_memory(ops, 1));
	rf__switcher_init(&crowd.switcher, &config, crowd.memory[0], &crowd_ops, NULL, NULL);
	assert_int_equal(rf__group_init(&crowd.group, ops, 0, most, crowd.memory[1]), 0);
	assert_int_equal(rf__group_init(&crowd.greedy, ops, 0, 1, crowd.memory[2]), 0);
}

static void end(void)
{
	free(crowd.members);
	free(crowd.handles);
	for (unsigned i = 0; i < 3; i++)
		free(crowd.memory[i]);
}

static uint32_t join(struct rf__group *group, struct member member)
{
	struct rf_handle task = {0, 0};

	assert_int_equal(rf__switcher_spawn(&crowd.switcher, group, &member, &task), 0);
	return task.index;
}

static void wake(uint32_t index)
{
	if (!crowd.members[index].since)
		crowd.members[index].since = crowd.switcher.stats.events;
	assert_int_equal(
		rf__switcher_wake(&crowd.switcher, crowd.handles[index], RF__WAKE_INPUT), 0);
}

/* Each polite one gets an input as soon as it has taken the last; budgets cut passes short or not. */
static void be_polite(unsigned budget, unsigned rounds)
{
	for (unsigned round = 0; round < rounds; round++) {
		for (uint32_t i = 0; i < POLITE + 1; i++)
			if (!crowd.members[i].greedy && !crowd.members[i].since)
				wake(i);
		if (crowd.switcher.n_ready > crowd.worst_ready)
			crowd.worst_ready = crowd.switcher.n_ready;
		rf__switcher_run(&crowd.switcher, 0, budget);
	}
}

static void assert_nobody_starves(bool same_type, bool greedy_first, unsigned budget)
{
	struct rf__group *group;

	begin(&staying, POLITE + 1);
	group = same_type ? &crowd.group : &crowd.greedy;
	if (greedy_first)
		join(group, (struct member){.greedy = true});
	for (unsigned i = 0; i < POLITE; i++)
		join(&crowd.group, (struct member){.since = 0});
	if (!greedy_first)
		join(group, (struct member){.greedy = true});
	wake(greedy_first ? 0 : POLITE);
	crowd.switcher.stats.events = 1;
	be_polite(budget, 20 + 20 * (POLITE + QUANTUM) / (budget < 4096 ? budget : 4096));
	assert_int_equal(crowd.worst_ready, POLITE + 1);
	assert_true(crowd.worst <= (uint64_t)QUANTUM * crowd.worst_ready);
	for (uint32_t i = 0; i < POLITE + 1; i++)
		assert_true(crowd.members[i].inputs >= 10);
	if (!same_type) /* its type has half of the worker */
		assert_in_range(crowd.greedy_inputs * 100 / crowd.switcher.stats.events, 45, 55);
	end();
}

static void a_greedy_task_does_not_starve_a_thousand_of_its_type(void **state)
{
	static const unsigned budgets[] = {1, 64, 1000, UINT32_MAX};

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		assert_nobody_starves(true, true, budgets[i]);
		assert_nobody_starves(true, false, budgets[i]);
	}
}

static void a_greedy_type_does_not_starve_another(void **state)
{
	static const unsigned budgets[] = {64, 256, UINT32_MAX};

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		assert_nobody_starves(false, true, budgets[i]);
		assert_nobody_starves(false, false, budgets[i]);
	}
}

/* As many types as tasks, all greedy: none is before another by more than a turn. */
static void many_types_share_alike(void **state)
{
	struct rf__group *groups = calloc(POLITE, sizeof(*groups));
	size_t bytes = rf__group_memory(&staying, 1);
	uint64_t least = UINT64_MAX, most = 0;
	char *memory = take_memory(POLITE * bytes);

	(void)state;
	assert_non_null(groups);
	begin(&staying, POLITE);
	for (uint32_t i = 0; i < POLITE; i++) {
		assert_int_equal(rf__group_init(&groups[i], &staying, 0, 1, memory + i * bytes), 0);
		wake(join(&groups[i], (struct member){.greedy = true}));
	}
	while (crowd.greedy_inputs < 20 * POLITE * QUANTUM)
		rf__switcher_run(&crowd.switcher, 0, 100);
	for (uint32_t i = 0; i < POLITE; i++) {
		least = groups[i].events < least ? groups[i].events : least;
		most = groups[i].events > most ? groups[i].events : most;
	}
	assert_true(most - least <= QUANTUM);
	assert_true(least >= 19 * QUANTUM);
	end();
	free(memory);
	free(groups);
}

static void a_hundred_thousand_tasks_get_what_is_theirs(void **state)
{
	unsigned rounds = rf_test_rounds(10), n = 0;

	(void)state;
	begin(&staying, MOST);
	for (uint32_t i = 0; i < MOST; i++)
		join(&crowd.group, (struct member){.since = 0});
	while (rf__switcher_run(&crowd.switcher, 0, UINT32_MAX))
		;
	crowd.switcher.stats.events = 1;
	for (unsigned round = 0; round < rounds; round++) {
		for (uint32_t i = 0; i < MOST; i++)
			wake((uint32_t)((uint64_t)i * 7919 % MOST));
		assert_int_equal(crowd.switcher.n_ready, MOST);
		n += rf__switcher_run(&crowd.switcher, 0, UINT32_MAX);
	}
	assert_int_equal(n, rounds * MOST);
	for (uint32_t i = 0; i < MOST; i++)
		assert_int_equal(crowd.members[i].inputs, rounds);
	end();
}

/* Each storm is spawned by one task, and all of it ends at once. */
static void tasks_come_and_go_in_storms(void **state)
{
	unsigned storms = rf_test_rounds(GENERATION);
	struct rf_task_ops leaving = staying;

	(void)state;
	leaving.pop_output = member_pop;
	leaving.is_done = member_is_done;
	begin(&leaving, STORM + 1);
	for (unsigned i = 0; i < storms; i++) {
		join(&crowd.greedy, (struct member){.children = STORM});
		while (rf__switcher_run(&crowd.switcher, 0, 500))
			assert_true(crowd.switcher.n <= STORM + 1);
		assert_int_equal(crowd.switcher.n, 0);
		assert_int_equal(crowd.group.n, 0);
	}
	assert_int_equal(crowd.ended, crowd.begun);
	assert_true(crowd.begun == storms * (STORM + 1));
	assert_int_equal(crowd.switcher.stats.dropped, 0);
	assert_true(crowd.switcher.used <= STORM + 1);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_greedy_task_does_not_starve_a_thousand_of_its_type),
		cmocka_unit_test(a_greedy_type_does_not_starve_another),
		cmocka_unit_test(many_types_share_alike),
		cmocka_unit_test(a_hundred_thousand_tasks_get_what_is_theirs),
		cmocka_unit_test(tasks_come_and_go_in_storms),
	};

	rf_test_limit(50);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
