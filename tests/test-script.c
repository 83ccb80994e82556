/* SPDX-License-Identifier: MIT */
/* Whole workers without threads, clocks or I/O: what comes, when, and what tasks make of it follows from a
 * seed. RF_TEST_SEED=N runs that one alone. */
#include "support.h"
#include "switcher.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SEEDS    10000
#define TASKS    40
#define GROUPS   4
#define PORTS    3
#define STEPS    50
#define OUTPUTS  16384
#define GROUP_OF 12 /* tasks of a group at most */
#define QUANTUM  30 /* the same */
#define ENOUGH   1000000

enum fate { UNUSED, POPPED, UNSENT, DELIVERED, DISCARDED };

/* What a task does, and what is known of it; by index. */
struct role {
	struct rf_handle self;
	bool alive, told, done;
	/* How often of 16: takes less than all, gives something for an input, has a timer, has a past
	 * one; lies about counts. */
	unsigned refuses, answers, times, past, lies;
	unsigned to_give, life; /* outputs it still has; inputs until it is done */
	uint64_t expiry;
	uint64_t given, taken;        /* inputs, as they are numbered */
	uint64_t sequence[PORTS + 1]; /* of outputs: by port, and those without */
	uint64_t arrived[PORTS + 1];
	uint64_t ready_since; /* events; when it was ready */
	bool was_ready;       /* before this call of run */
	unsigned ran;         /* in the how manieth call it ran */
	uint64_t turn, turns; /* its last one, as all are counted; how many it had */
	unsigned events;      /* in that */
	unsigned group;
};

struct token {
	enum fate fate;
	struct rf_handle task;
	uint64_t sequence;
	uint32_t port;
};

static struct world {
	uint32_t seed, chance;
	uint64_t now, hash;
	bool generous; /* all goes well from now on */
	struct rf__switcher switcher;
	struct rf__group groups[GROUPS];
	unsigned n_groups, n_ready_most, n_first;
	void *memory[GROUPS + 1];
	struct role roles[TASKS];
	struct token tokens[OUTPUTS];
	unsigned n_tokens;
	unsigned room[PORTS];
	bool waits[PORTS][TASKS];
	unsigned runs; /* calls of run */
	bool inside;   /* one */
	uint64_t taken, delivered, discarded, unsent, worst;
} world;

#define CHECK(condition)                                                                           \
	do {                                                                                       \
		if (!(condition))                                                                  \
			fail_msg("RF_TEST_SEED=%u: %s", world.seed, #condition);                   \
	} while (0)

static uint32_t below(uint32_t n)
{
	world.chance ^= world.chance << 13;
	world.chance ^= world.chance >> 17;
	world.chance ^= world.chance << 5;
	return world.chance % n;
}

static bool often(unsigned of_16)
{
	return !world.generous && below(16) < of_16;
}

static void trace(uint64_t what, uint64_t a, uint64_t b)
{
	const uint64_t words[] = {what, a, b, world.now};

	for (unsigned i = 0; i < 4; i++)
		world.hash = (world.hash ^ words[i]) * UINT64_C(0x100000001b3);
}

/* Tasks */

/* It is its turn. Until it has had its first, only what was ready with it, or before it in the pass
 * that was running then, may run, and no more than their quanta. */
static void note_turn(struct role *role, unsigned events)
{
	const struct rf__switcher_stats *stats = &world.switcher.stats;
	uint64_t wait = stats->events - role->ready_since;

	CHECK(role->alive && role->was_ready);
	if (!role->turns || role->turn != stats->turns) {
		role->turn = stats->turns;
		role->events = 0;
		if (role->ran != world.runs) {
			world.worst = wait > world.worst ? wait : world.worst;
			CHECK(wait <= 2 * QUANTUM * world.n_ready_most);
		}
		role->ran = world.runs;
		role->turns++;
	}
	role->events += events;
	CHECK(role->events <= world.groups[role->group].ops.quantum);
}

static struct role *role_of(const void *state)
{
	uint32_t index;

	memcpy(&index, state, sizeof(index));
	CHECK(index < TASKS);
	return &world.roles[index];
}

static int role_init(
	void *state, struct rf_context *context, struct rf_handle self, const void *argument)
{
	struct role *role = &world.roles[self.index];

	(void)context;
	(void)argument;
	CHECK(self.index < TASKS && !role->alive);
	trace(1, self.index, self.generation);
	memset(role, 0, sizeof(*role));
	if (often(1))
		return -EBADMSG;
	memcpy(state, &self.index, sizeof(self.index));
	*role = (struct role){.self = self,
		.alive = true,
		.refuses = below(4) ? 0 : below(16),
		.answers = below(17),
		.times = below(2) ? below(16) : 0,
		.past = below(8) ? 0 : 4,
		.lies = below(8) ? 0 : 2,
		.to_give = below(4),
		.life = below(2) ? ENOUGH : below(40),
		.expiry = RF_FOREVER,
		.ready_since = world.switcher.stats.events};
	return 0;
}

static void take_unsent(struct role *role, const struct rf_input *input)
{
	struct token *token = &world.tokens[input->unsent.user];

	CHECK(input->error < 0);
	CHECK(token->fate == POPPED && token->task.index == role->self.index);
	token->fate = UNSENT;
	world.unsent++;
}

static unsigned role_input(void *state, struct rf_context *context, uint64_t now,
	const struct rf_input *inputs, unsigned n)
{
	struct role *role = role_of(state);
	unsigned taken = often(role->refuses) ? below(n + 1) : n;

	(void)context;
	CHECK(now == world.now && n > 0);
	if (inputs->kind == RF_INPUT_UNSENT) {
		take_unsent(role, inputs);
		return n;
	}
	note_turn(role, taken);
	for (unsigned i = 0; i < n; i++)
		CHECK(inputs[i].control.user == role->taken + i);
	for (unsigned i = 0; i < taken; i++)
		role->to_give += often(role->answers) ? below(4) : 0;
	role->life = taken < role->life ? role->life - taken : 0;
	trace(2, role->self.index, taken);
	if (taken == n && often(role->lies))
		return n + 1 + below(1000);
	return taken;
}

static void role_expiry(void *state, struct rf_context *context, uint64_t now)
{
	struct role *role = role_of(state);

	(void)context;
	note_turn(role, 1);
	trace(3, role->self.index, now);
	role->to_give += below(3);
	role->expiry = RF_FOREVER;
	if (often(role->past))
		role->expiry = now - below((uint32_t)now + 1);
	else if (often(role->times))
		role->expiry = now + below(200);
}

static struct rf_output make_output(struct role *role, unsigned port)
{
	static const uint16_t kinds[] = {RF_OUTPUT_MESSAGE, RF_OUTPUT_MESSAGE, RF_OUTPUT_DATAGRAM,
		RF_OUTPUT_SPAWN, RF_OUTPUT_CLOSE, RF_OUTPUT_PUBLISH};
	struct rf_output output = {.kind = kinds[below(6)], .on_full = (uint8_t)below(4)};

	output.user = world.n_tokens;
	if (port < PORTS)
		output.port = (struct rf_handle){port, often(1) ? 7 : 1};
	if (often(role->lies))
		output.kind = (uint16_t)(RF_OUTPUT_FDS + 1 + below(100));
	else if (often(role->lies))
		output.on_full = (uint8_t)(RF_FULL_RETURN + 1 + below(100));
	world.tokens[world.n_tokens++] = (struct token){.fate = POPPED,
		.task = role->self,
		.sequence = ++role->sequence[port],
		.port = port};
	return output;
}

static unsigned role_pop(void *state, struct rf_context *context, uint64_t now,
	struct rf_output *outputs, unsigned max)
{
	struct role *role = role_of(state);
	unsigned n = role->to_give < max ? role->to_give : max;

	(void)context;
	CHECK(now == world.now && max > 0);
	if (n > OUTPUTS - world.n_tokens)
		n = OUTPUTS - world.n_tokens;
	note_turn(role, n);
	for (unsigned i = 0; i < n; i++)
		outputs[i] = make_output(role, below(PORTS + 1));
	role->to_give -= n;
	trace(4, role->self.index, n);
	return n == max && often(role->lies) ? max + 1 + below(1000) : n;
}

static uint64_t role_wants(const void *state)
{
	struct role *role = role_of(state);

	if (role->expiry == RF_FOREVER && often(role->times))
		role->expiry = world.now + below(100);
	return role->expiry;
}

static void role_shutdown(void *state, struct rf_context *context, uint64_t now, uint64_t until)
{
	struct role *role = role_of(state);

	(void)context;
	note_turn(role, 0);
	CHECK(!role->told && until > now);
	trace(5, role->self.index, until);
	role->told = true;
	if (below(4))
		role->life = 0;
}

static bool role_is_done(const void *state)
{
	const struct role *role = role_of(state);

	return !role->life && !role->to_give;
}

static void role_fini(void *state)
{
	struct role *role = role_of(state);

	CHECK(role->alive);
	trace(6, role->self.index, role->self.generation);
	role->alive = false;
}

static const struct rf_task_ops role_ops = {
	.size = sizeof(struct rf_task_ops),
	.name = "role",
	.state_size = sizeof(uint32_t),
	.init = role_init,
	.on_input = role_input,
	.on_expiry = role_expiry,
	.pop_output = role_pop,
	.expiry = role_wants,
	.on_shutdown = role_shutdown,
	.is_done = role_is_done,
	.fini = role_fini,
};

/* The worker */

static struct rf_handle anybody(void)
{
	const struct role *role = &world.roles[below(TASKS)];

	if (often(1))
		return (struct rf_handle){below(2 * TASKS), below(4)};
	return role->self;
}

static void check_result(struct rf_handle task, int r)
{
	const struct role *role = task.index < TASKS ? &world.roles[task.index] : NULL;
	bool alive = role && role->alive && role->self.generation == task.generation;

	CHECK(r == (alive ? 0 : -ESTALE));
}

static void note_ready(void)
{
	unsigned n = world.switcher.n_ready;

	world.n_ready_most = n > world.n_ready_most ? n : world.n_ready_most;
}

static void give(struct rf_handle task, unsigned n)
{
	int r = rf__switcher_wake(&world.switcher, task, RF__WAKE_INPUT);

	check_result(task, r);
	if (r == 0)
		world.roles[task.index].given += n;
	note_ready();
}

static void kill_one(struct rf_handle task)
{
	uint64_t stale = world.switcher.stats.stale;
	int r = rf__switcher_kill(&world.switcher, task);

	CHECK(r == 0 || (r == -ESTALE && world.switcher.stats.stale == stale + 1));
	if (r == 0 && !world.inside) /* else it may have its turn */
		CHECK(!world.roles[task.index].alive);
}

static void spawn_one(void)
{
	struct rf_handle task = {0, 0};
	unsigned which = below(world.n_groups);
	struct rf__group *group = &world.groups[which];
	unsigned n = world.switcher.n, of_group = group->n;
	int r = rf__switcher_spawn(&world.switcher, group, NULL, &task);

	if (r == -ENOSPC)
		CHECK(n == TASKS || of_group == group->most);
	else
		CHECK(r == 0 || r == -EBADMSG || r == -ESHUTDOWN);
	if (r == 0) {
		CHECK(world.roles[task.index].alive);
		world.roles[task.index].group = which;
	}
	note_ready();
}

static unsigned world_fetch(
	void *worker, struct rf_handle task, struct rf_input *inputs, unsigned max)
{
	struct role *role = &world.roles[task.index];
	uint64_t n = role->given - role->taken;

	CHECK(worker == &world && role->self.generation == task.generation && max > 0);
	n = n < max ? n : max;
	for (unsigned i = 0; i < n; i++)
		inputs[i] = (struct rf_input){
			.kind = RF_INPUT_CONTROL, .control.user = role->taken + i};
	return (unsigned)n;
}

static void world_taken(void *worker, struct rf_handle task, const struct rf_input *inputs,
	unsigned n, unsigned taken)
{
	(void)worker;
	CHECK(taken <= n && inputs->control.user == world.roles[task.index].taken);
	world.roles[task.index].taken += taken;
	world.taken += taken;
}

/* What a delivered output does to others. */
static void carry_out(const struct rf_output *output)
{
	if (output->kind == RF_OUTPUT_SPAWN)
		spawn_one();
	else if (output->kind == RF_OUTPUT_CLOSE && often(4))
		kill_one(anybody());
	else if (output->kind == RF_OUTPUT_PUBLISH)
		give(anybody(), 1);
}

static struct token *token_of(struct rf_handle task, const struct rf_output *output)
{
	struct token *token = &world.tokens[output->user];

	CHECK(output->user < world.n_tokens);
	CHECK(token->task.index == task.index && token->task.generation == task.generation);
	return token;
}

static int world_deliver(void *worker, struct rf_handle task, const struct rf_output *output)
{
	struct token *token = token_of(task, output);
	struct role *role = &world.roles[task.index];
	unsigned port = token->port;

	(void)worker;
	CHECK(token->fate == POPPED && role->alive);
	if (port < PORTS && output->port.generation != 1)
		return -EPIPE;
	if (port < PORTS && !world.room[port]) {
		world.waits[port][task.index] = true;
		world.room[port] += below(4) ? 0 : below(3);
		return RF__FULL;
	}
	world.room[port % PORTS] -= port < PORTS;
	CHECK(token->sequence > role->arrived[port]);
	role->arrived[port] = token->sequence;
	token->fate = DELIVERED;
	world.delivered++;
	trace(7, task.index, output->user);
	carry_out(output);
	return RF__DELIVERED;
}

static void world_discard(void *worker, struct rf_handle task, const struct rf_output *output)
{
	struct token *token = token_of(task, output);

	(void)worker;
	CHECK(token->fate == POPPED || token->fate == UNSENT);
	trace(8, task.index, output->user);
	token->fate = DISCARDED;
	world.discarded++;
}

static void world_ended(void *worker, struct rf_handle task, int error)
{
	(void)worker;
	CHECK(!world.roles[task.index].alive && error <= 0);
	CHECK(!rf__switcher_find(&world.switcher, task));
	trace(9, task.index, (uint64_t)(int64_t)error);
	for (unsigned port = 0; port < PORTS; port++)
		world.waits[port][task.index] = false;
}

static const struct rf__worker_ops world_ops = {
	world_fetch, world_taken, world_deliver, world_discard, world_ended};

/* A step */

static void make_room(unsigned port, unsigned n)
{
	world.room[port] += n;
	for (unsigned i = 0; n && i < TASKS; i++)
		if (world.waits[port][i]) {
			world.waits[port][i] = false;
			CHECK(rf__switcher_wake(
				      &world.switcher, world.roles[i].self, RF__WAKE_ROOM) == 0);
		}
	note_ready();
}

static unsigned look_at(const struct rf__link *queue)
{
	unsigned n = 0;

	for (struct rf__link *link = queue->next; link != queue; link = link->next, n++) {
		const struct rf__task *task = (struct rf__task *)(void *)link;

		CHECK(link->next->previous == link);
		CHECK(rf__switcher_find(
			&world.switcher, (struct rf_handle){task->index, task->generation}));
		world.roles[task->index].was_ready = true;
		world.n_first += task->pass != world.switcher.pass + 1;
	}
	return n;
}

/* What is ready, by the queues. */
static void look_at_queues(void)
{
	unsigned n = 0;

	world.n_first = 0;
	for (unsigned i = 0; i < TASKS; i++)
		world.roles[i].was_ready = false;
	for (unsigned g = 0; g < world.n_groups; g++)
		n += look_at(&world.groups[g].ready) + look_at(&world.groups[g].again);
	CHECK(n == world.switcher.n_ready);
	CHECK(world.n_first == world.switcher.n_first);
}

/* From now on they wait: whoever ran, or was not ready before. */
static void start_waiting(void)
{
	bool before[TASKS];

	for (unsigned i = 0; i < TASKS; i++)
		before[i] = world.roles[i].was_ready;
	look_at_queues();
	for (unsigned i = 0; i < TASKS; i++)
		if (!before[i] || world.roles[i].ran == world.runs)
			world.roles[i].ready_since = world.switcher.stats.events;
}

static void run(unsigned budget)
{
	unsigned n;

	look_at_queues();
	note_ready();
	world.runs++;
	world.inside = true;
	n = rf__switcher_run(&world.switcher, world.now, budget);
	world.inside = false;
	CHECK(n > 0 || !rf__switcher_is_ready(&world.switcher));
	CHECK(n < budget || n - budget < QUANTUM);
	start_waiting();
}

static void check_counters(void)
{
	const struct rf__switcher_stats *stats = &world.switcher.stats;
	uint64_t waiting = 0;
	unsigned n = 0;

	for (unsigned i = 0; i < world.switcher.used; i++)
		waiting += world.switcher.tasks[i].n_waiting;
	for (unsigned i = 0; i < TASKS; i++)
		n += world.roles[i].alive;
	CHECK(n == world.switcher.n);
	CHECK(stats->spawned - stats->ended == n);
	CHECK(stats->inputs == world.taken);
	CHECK(stats->outputs == world.n_tokens);
	CHECK(stats->delivered == world.delivered);
	CHECK(stats->returned == world.unsent);
	CHECK(stats->returned + stats->dropped == world.discarded);
	CHECK(stats->outputs == world.delivered + world.discarded + waiting);
	CHECK(world.switcher.timers.n <= n);
}

static void step(void)
{
	for (unsigned i = below(4); i > 0; i--)
		give(anybody(), below(20));
	if (!below(2))
		make_room(below(PORTS), below(12));
	if (!below(4))
		spawn_one();
	if (!below(30))
		kill_one(anybody());
	if (!below(40)) {
		struct rf_handle task = anybody();

		check_result(task,
			rf__switcher_stop(&world.switcher, task, world.now + 200 + below(500)));
	}
	world.now += below(60);
	look_at_queues();
	rf__switcher_expire(&world.switcher, world.now, 1 + below(10));
	note_ready();
	run(below(3) ? 1 + below(40) : UINT32_MAX);
	check_counters();
}

/* Beginning and end */

static void *take_memory(size_t bytes)
{
	void *memory = aligned_alloc(64, (bytes + 63) / 64 * 64);

	assert_non_null(memory);
	return memory;
}

static void begin(uint32_t seed)
{
	struct rf__switcher_config config = {.tasks = TASKS};

	memset(&world, 0, sizeof(world));
	world.seed = seed;
	world.chance = seed * 2654435761u + 1;
	world.now = 1000;
	config.delay_ns = below(2) ? 50 : 0;
	world.memory[GROUPS] = take_memory(rf__switcher_memory(&config));
	rf__switcher_init(&world.switcher, &config, world.memory[GROUPS], &world_ops, &world, NULL);
	world.n_groups = 1 + below(GROUPS);
	for (unsigned i = 0; i < world.n_groups; i++) {
		struct rf_task_ops ops = role_ops;

		ops.quantum = (uint16_t)(1 + below(QUANTUM));
		ops.batch = (uint16_t)(1 + below(10));
		world.memory[i] = take_memory(rf__group_memory(&ops, GROUP_OF));
		assert_int_equal(rf__group_init(&world.groups[i], &ops, below(60), GROUP_OF,
					 world.memory[i]),
			0);
	}
	for (unsigned i = below(TASKS); i > 0; i--)
		spawn_one();
}

/* Nothing is in the way any more: whatever was given is taken, whatever was popped is sent. */
static void come_to_rest(void)
{
	world.generous = true;
	for (unsigned port = 0; port < PORTS; port++)
		make_room(port, ENOUGH);
	for (unsigned i = 0; i < TASKS; i++)
		if (world.roles[i].alive)
			give(world.roles[i].self, 1);
	for (unsigned i = 0; rf__switcher_is_ready(&world.switcher); i++) {
		CHECK(i < 10000);
		run(UINT32_MAX);
	}
	check_counters();
	for (unsigned i = 0; i < TASKS; i++)
		if (world.roles[i].alive)
			CHECK(world.roles[i].taken == world.roles[i].given);
	CHECK(world.delivered + world.discarded == world.n_tokens);
}

static void shut_down(void)
{
	uint64_t until = world.now + 1000;

	rf__switcher_shutdown(&world.switcher, until);
	note_ready();
	while (world.switcher.n) {
		CHECK(world.now <= until);
		run(1 + below(100));
		world.now += below(100);
		look_at_queues();
		if (world.now >= until)
			world.now = until;
		while (rf__switcher_expire(&world.switcher, world.now, 5))
			if (world.now < until)
				break;
		note_ready();
		check_counters();
	}
	CHECK(!rf__switcher_is_ready(&world.switcher));
	CHECK(rf__switcher_next_expiry(&world.switcher) == RF_FOREVER);
	for (unsigned i = 0; i < world.n_tokens; i++)
		CHECK(world.tokens[i].fate == DELIVERED || world.tokens[i].fate == DISCARDED);
}

/* The hash of all that happened. */
static uint64_t play(uint32_t seed)
{
	begin(seed);
	for (unsigned i = 0; i < STEPS; i++)
		step();
	if (below(2))
		come_to_rest();
	world.generous = false;
	shut_down();
	for (unsigned i = 0; i <= GROUPS; i++)
		free(world.memory[i]);
	return world.hash;
}

static void workers_do_right_from_any_seed(void **state)
{
	const char *only = getenv("RF_TEST_SEED");
	unsigned n = rf_test_rounds(SEEDS);
	struct rf__switcher_stats sum = {0};

	(void)state;
	if (only) {
		play((uint32_t)strtoul(only, NULL, 0));
		return;
	}
	for (uint32_t seed = 1; seed <= n; seed++) {
		play(seed);
		sum.events += world.switcher.stats.events;
		sum.waited += world.switcher.stats.waited;
		sum.returned += world.switcher.stats.returned;
		sum.killed += world.switcher.stats.killed;
		sum.past += world.switcher.stats.past;
		sum.overfull += world.switcher.stats.overfull;
		sum.overtook += world.switcher.stats.overtook;
		sum.unknown += world.switcher.stats.unknown;
	}
	/* Whatever can happen, did. */
	assert_true(sum.events > 100 * (uint64_t)n);
	assert_true(sum.waited > n && sum.returned > n && sum.killed > n);
	assert_true(sum.past && sum.overfull && sum.overtook && sum.unknown);
}

static void the_same_seed_gives_the_same_trace(void **state)
{
	uint64_t last = 0;

	(void)state;
	for (uint32_t seed = 1; seed <= rf_test_rounds(200); seed++) {
		uint64_t hash = play(seed);

		assert_true(hash == play(seed));
		assert_true(hash != last);
		last = hash;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(workers_do_right_from_any_seed),
		cmocka_unit_test(the_same_seed_gives_the_same_trace),
	};

	rf_test_limit(50);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
