/* SPDX-License-Identifier: MIT */
/* A worker that does no I/O, and tasks that do what a test says: for tests of the switcher. */
#ifndef RF_TESTS_SWITCHER_FIXTURE_H
#define RF_TESTS_SWITCHER_FIXTURE_H

#include "support.h"
#include "switcher.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SCENE_TASKS 64
#define SCENE_PORTS 4
#define SCENE_LOG   4096

/* What a task does, and what was done to it; the test's, one for each task. */
struct actor {
	unsigned take_most;  /* of the inputs of a call; 0: all */
	unsigned claim_more; /* than it took, or gave */
	unsigned to_give;    /* outputs that it still has */
	bool echoes;         /* an output for each input */
	uint8_t on_full;
	uint16_t kind;
	struct rf_handle port;
	bool alternates; /* between this port and the next */
	uint64_t expiry; /* RF_FOREVER once it was called, unless every is set: so much later */
	uint64_t every;
	bool stubborn; /* its expiry stays what it is */
	bool done, done_when_told;

	struct rf_handle self;
	unsigned calls, inputs, popped, unsent, expiries, told, finis;
	unsigned sent_before; /* what was sent when the first came back */
	int error;
	uint64_t user, until, turn; /* the next output's; of on_shutdown; when it ran last */
};

struct scene {
	struct rf__switcher switcher;
	void *memory, *group_memory[4];
	struct rf__group groups[4];
	unsigned n_groups;
	unsigned inputs[SCENE_TASKS]; /* that can be fetched, by index of the task */
	unsigned room[SCENE_PORTS];
	unsigned late_room;       /* that port 0 has after it had none */
	uint64_t sent[SCENE_LOG]; /* what user was */
	uint32_t ports[SCENE_LOG];
	unsigned n_sent, n_discarded, n_ended;
	struct rf_handle ended;
	int error;
	uint32_t log[SCENE_LOG]; /* indices of tasks, as they were given input or called */
	unsigned n_log;
	uint32_t wakes;                    /* fetching wakes this task, counting from 1 */
	struct rf_handle kills;            /* delivering kills it */
	bool discard_wakes, discard_kills; /* whose output it was */
	uint64_t turns;
};

static struct scene scene;

static void scene_log(const struct actor *actor)
{
	if (scene.n_log < SCENE_LOG)
		scene.log[scene.n_log++] = actor->self.index;
}

/* Tasks: their state is a pointer to the actor. */

static struct actor *actor_of(const void *state)
{
	struct actor *actor;

	memcpy(&actor, state, sizeof(actor));
	return actor;
}

static int actor_init(
	void *state, struct rf_context *context, struct rf_handle self, const void *argument)
{
	struct actor *actor = (struct actor *)(uintptr_t)argument;

	(void)context;
	memcpy(state, &actor, sizeof(actor));
	actor->self = self;
	return actor->error;
}

static unsigned actor_input(void *state, struct rf_context *context, uint64_t now,
	const struct rf_input *inputs, unsigned n)
{
	struct actor *actor = actor_of(state);
	unsigned taken = actor->take_most && n > actor->take_most ? actor->take_most : n;

	(void)context;
	(void)now;
	if (inputs->kind == RF_INPUT_UNSENT) {
		assert_int_equal(n, 1);
		actor->sent_before = actor->unsent++ ? actor->sent_before : scene.n_sent;
		actor->error = inputs->error;
		actor->user = inputs->unsent.user;
		return 1;
	}
	scene_log(actor);
	actor->calls++;
	actor->inputs += taken;
	actor->to_give += actor->echoes ? taken : 0;
	return taken + actor->claim_more;
}

static void actor_expiry(void *state, struct rf_context *context, uint64_t now)
{
	struct actor *actor = actor_of(state);

	(void)context;
	assert_true(actor->expiry <= now);
	scene_log(actor);
	actor->expiries++;
	if (!actor->stubborn)
		actor->expiry = actor->every ? now + actor->every : RF_FOREVER;
}

static unsigned actor_pop(void *state, struct rf_context *context, uint64_t now,
	struct rf_output *outputs, unsigned max)
{
	struct actor *actor = actor_of(state);
	unsigned n = actor->to_give < max ? actor->to_give : max;

	(void)context;
	(void)now;
	for (unsigned i = 0; i < n; i++) {
		outputs[i] =
			(struct rf_output){.kind = actor->kind ? actor->kind : RF_OUTPUT_MESSAGE,
				.on_full = actor->on_full,
				.port = actor->port,
				.user = actor->popped + i};
		outputs[i].port.index += actor->alternates ? (actor->popped + i) % 2 : 0;
	}
	actor->popped += n;
	actor->to_give -= n;
	return n + (n == max ? actor->claim_more : 0);
}

static uint64_t actor_wants(const void *state)
{
	return actor_of(state)->expiry;
}

static void actor_shutdown(void *state, struct rf_context *context, uint64_t now, uint64_t until)
{
	struct actor *actor = actor_of(state);

	(void)context;
	(void)now;
	actor->told++;
	actor->until = until;
	actor->done |= actor->done_when_told;
}

static bool actor_is_done(const void *state)
{
	return actor_of(state)->done;
}

static void actor_fini(void *state)
{
	actor_of(state)->finis++;
}

static const struct rf_task_ops actor_ops = {
	.size = sizeof(struct rf_task_ops),
	.name = "actor",
	.state_size = sizeof(struct actor *),
	.quantum = 16,
	.batch = 4,
	.init = actor_init,
	.on_input = actor_input,
	.on_expiry = actor_expiry,
	.pop_output = actor_pop,
	.expiry = actor_wants,
	.on_shutdown = actor_shutdown,
	.is_done = actor_is_done,
	.fini = actor_fini,
};

/* The worker */

static unsigned scene_fetch(
	void *worker, struct rf_handle task, struct rf_input *inputs, unsigned max)
{
	unsigned n = scene.inputs[task.index] < max ? scene.inputs[task.index] : max;

	(void)worker;
	memset(inputs, 0, n * sizeof(*inputs));
	for (unsigned i = 0; i < n; i++)
		inputs[i].kind = RF_INPUT_MESSAGE;
	if (scene.wakes)
		rf__switcher_wake(
			&scene.switcher, (struct rf_handle){scene.wakes - 1, 1}, RF__WAKE_INPUT);
	return n;
}

static void scene_taken(void *worker, struct rf_handle task, const struct rf_input *inputs,
	unsigned n, unsigned taken)
{
	(void)worker;
	(void)inputs;
	assert_true(taken <= n && taken <= scene.inputs[task.index]);
	scene.inputs[task.index] -= taken;
}

static int scene_deliver(void *worker, struct rf_handle task, const struct rf_output *output)
{
	(void)worker;
	(void)task;
	if (scene.kills.generation)
		rf__switcher_kill(&scene.switcher, scene.kills);
	if (output->port.generation != 1 || output->port.index >= SCENE_PORTS)
		return -EPIPE;
	if (!scene.room[output->port.index]) {
		scene.room[0] += scene.late_room;
		scene.late_room = 0;
		return RF__FULL;
	}
	scene.room[output->port.index]--;
	assert_true(scene.n_sent < SCENE_LOG);
	scene.ports[scene.n_sent] = output->port.index;
	scene.sent[scene.n_sent++] = output->user;
	return RF__DELIVERED;
}

static void scene_discard(void *worker, struct rf_handle task, const struct rf_output *output)
{
	(void)worker;
	(void)output;
	scene.n_discarded++;
	if (scene.discard_wakes)
		scene.error = rf__switcher_wake(&scene.switcher, task, RF__WAKE_INPUT);
	if (scene.discard_kills)
		scene.error = rf__switcher_kill(&scene.switcher, task);
}

static void scene_ended(void *worker, struct rf_handle task, int error)
{
	(void)worker;
	scene.n_ended++;
	scene.ended = task;
	scene.error = error;
	scene.inputs[task.index] = 0;
}

static const struct rf__worker_ops scene_ops = {
	scene_fetch, scene_taken, scene_deliver, scene_discard, scene_ended};

/* The scene */

static void *scene_memory(size_t bytes)
{
	void *memory;

	assert_int_not_equal(bytes, 0);
	memory = aligned_alloc(64, (bytes + 63) / 64 * 64);
	assert_non_null(memory);
	memset(memory, 0xa5, bytes);
	return memory;
}

static int scene_begin(void **state)
{
	const struct rf__switcher_config config = {.tasks = SCENE_TASKS, .delay_ns = 1000};

	(void)state;
	memset(&scene, 0, sizeof(scene));
	scene.memory = scene_memory(rf__switcher_memory(&config));
	rf__switcher_init(&scene.switcher, &config, scene.memory, &scene_ops, NULL, NULL);
	return 0;
}

/* The actors are gone by now: nothing is called. */
static int scene_end(void **state)
{
	(void)state;
	for (unsigned i = 0; i < scene.n_groups; i++)
		free(scene.group_memory[i]);
	free(scene.memory);
	return 0;
}

static struct rf__group *add_group(const struct rf_task_ops *ops, uint32_t share, uint32_t tasks)
{
	unsigned i = scene.n_groups++;

	scene.group_memory[i] = scene_memory(rf__group_memory(ops, tasks));
	assert_int_equal(
		rf__group_init(&scene.groups[i], ops, share, tasks, scene.group_memory[i]), 0);
	return &scene.groups[i];
}

static struct rf__group *actors(void)
{
	return add_group(&actor_ops, 0, SCENE_TASKS);
}

/* Ready at once, as all new tasks; run it to have it waiting. */
static void spawn(struct rf__group *group, struct actor *actor)
{
	struct rf_handle task = {0, 0};

	if (!actor->expiry)
		actor->expiry = RF_FOREVER;
	assert_int_equal(rf__switcher_spawn(&scene.switcher, group, actor, &task), 0);
	assert_int_equal(task.index, actor->self.index);
	assert_int_equal(task.generation, actor->self.generation);
}

static inline void give(const struct actor *actor, unsigned n)
{
	scene.inputs[actor->self.index] += n;
	assert_int_equal(rf__switcher_wake(&scene.switcher, actor->self, RF__WAKE_INPUT), 0);
}

static inline unsigned run_at(uint64_t now)
{
	return rf__switcher_run(&scene.switcher, now, UINT32_MAX);
}

static unsigned run(void)
{
	return run_at(0);
}

static inline void settle_all(void)
{
	while (run())
		;
}

static const struct rf_handle port = {0, 1};

static inline struct actor output_actor(uint8_t on_full, unsigned n)
{
	return (struct actor){.on_full = on_full, .to_give = n, .port = port};
}

static inline void wake_for_room(const struct actor *actor, unsigned room)
{
	scene.room[0] = room;
	assert_int_equal(rf__switcher_wake(&scene.switcher, actor->self, RF__WAKE_ROOM), 0);
}

static const struct rf__switcher_stats *stats(void)
{
	return &scene.switcher.stats;
}

#endif
