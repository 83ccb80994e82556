/* SPDX-License-Identifier: MIT */
/* The switcher: order, shares, passes, expiries, generations, and how tasks begin and end. */
#include "switcher-fixture.h"

/* Order and passes */

static void tasks_run_in_the_order_in_which_they_became_ready(void **state)
{
	static const unsigned order[] = {3, 0, 2, 1};
	struct actor a[4] = {{0}};
	struct rf__group *group = actors();

	(void)state;
	for (unsigned i = 0; i < 4; i++)
		spawn(group, &a[i]);
	settle_all();
	for (unsigned i = 0; i < 4; i++)
		give(&a[order[i]], 1);
	give(&a[3], 1); /* again changes nothing */
	run();
	assert_int_equal(scene.n_log, 4);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(scene.log[i], order[i]);
	assert_int_equal(a[3].inputs, 2);
	assert_false(rf__switcher_is_ready(&scene.switcher));
	assert_int_equal(run(), 0);
}

/* Two that wake each other would keep the worker from its ports. */
static void what_becomes_ready_in_a_pass_runs_in_the_next(void **state)
{
	struct actor a[2] = {{0}};
	struct rf__group *group = actors();

	(void)state;
	spawn(group, &a[0]);
	spawn(group, &a[1]);
	settle_all();
	give(&a[0], 1);
	scene.inputs[1] = 1;
	scene.wakes = 2;
	run();
	assert_int_equal(a[0].calls, 1);
	assert_int_equal(a[1].calls, 0);
	assert_true(rf__switcher_is_ready(&scene.switcher));
	scene.wakes = 1;
	scene.inputs[0] = 1;
	run();
	assert_int_equal(a[1].calls, 1);
	assert_int_equal(a[0].calls, 1);
	scene.wakes = 0;
	run();
	assert_int_equal(a[0].calls, 2);
}

static void a_task_runs_once_in_a_pass_and_for_its_quantum(void **state)
{
	struct actor a[2] = {{0}};
	struct rf__group *group = actors();

	(void)state;
	spawn(group, &a[0]);
	spawn(group, &a[1]);
	settle_all();
	give(&a[0], 100);
	give(&a[1], 1);
	assert_int_equal(run(), 16 + 1);
	assert_int_equal(a[0].inputs, 16);
	assert_int_equal(a[1].inputs, 1);
	settle_all();
	assert_int_equal(a[0].inputs, 100);
	assert_int_equal(stats()->inputs, 101);
	assert_int_equal(stats()->refused, 0);
}

static void a_pass_that_was_cut_short_is_continued_first(void **state)
{
	struct actor a[6] = {{0}};
	struct rf__group *group = actors();
	uint64_t passes;

	(void)state;
	for (unsigned i = 0; i < 6; i++)
		spawn(group, &a[i]);
	settle_all();
	passes = stats()->passes;
	for (unsigned i = 0; i < 5; i++)
		give(&a[i], 1);
	assert_int_equal(rf__switcher_run(&scene.switcher, 0, 2), 2);
	assert_int_equal(stats()->exhausted, 1);
	give(&a[5], 1);
	give(&a[0], 1);
	assert_int_equal(run(), 3);
	assert_int_equal(stats()->passes, passes + 1);
	assert_int_equal(a[5].inputs, 0);
	assert_int_equal(run(), 2);
	assert_int_equal(a[5].inputs, 1);
	assert_int_equal(a[0].inputs, 2);
}

/* Groups */

static void keep_busy(struct actor *actors_of_one, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		give(&actors_of_one[i], 1000);
}

/* One greedy task beside thirty that have little to do, in whole passes: the types get what their shares
 * say, whoever has more tasks. */
static void groups_get_their_shares(void **state)
{
	struct rf__group *one = add_group(&actor_ops, 32, 1), *many = add_group(&actor_ops, 16, 30);
	struct actor a = {0}, b[30] = {{0}};

	(void)state;
	spawn(one, &a);
	for (unsigned i = 0; i < 30; i++)
		spawn(many, &b[i]);
	settle_all();
	one->events = many->events = 0;
	give(&a, 100000);
	for (unsigned i = 0; i < 20; i++) {
		for (unsigned k = 0; k < 30; k++)
			give(&b[k], 4);
		run();
	}
	assert_int_equal(many->events, 20 * 30 * 4);
	assert_in_range(one->events, many->events * 2 * 9 / 10, many->events * 2 * 11 / 10);
	assert_true(a.inputs <= 20 * (31 * 16 - 30 * 4)); /* what the others left of their quanta */
}

/* Where nobody leaves anything of its quantum, a pass is a turn for each. */
static void no_task_has_more_than_others_leave(void **state)
{
	struct rf__group *one = add_group(&actor_ops, 64, 1), *many = add_group(&actor_ops, 0, 10);
	struct actor a = {0}, b[10] = {{0}};

	(void)state;
	spawn(one, &a);
	for (unsigned i = 0; i < 10; i++)
		spawn(many, &b[i]);
	settle_all();
	give(&a, 1000);
	keep_busy(b, 10);
	assert_int_equal(run(), 11 * 16);
	assert_int_equal(a.inputs, 16);
}

static void a_group_with_many_tasks_takes_nothing_from_one_with_few(void **state)
{
	struct rf__group *few = add_group(&actor_ops, 0, 2), *many = add_group(&actor_ops, 0, 40);
	struct actor a[2] = {{0}}, b[40] = {{0}};

	(void)state;
	for (unsigned i = 0; i < 40; i++)
		spawn(many, &b[i]);
	spawn(few, &a[0]);
	spawn(few, &a[1]);
	settle_all();
	keep_busy(b, 40);
	keep_busy(a, 2);
	rf__switcher_run(&scene.switcher, 0, 4 * 16);
	assert_int_equal(a[0].inputs, 16);
	assert_int_equal(a[1].inputs, 16);
	assert_int_equal(many->events, 40 + 2 * 16);
}

/* A turn may go beyond the share; the next round pays for it. */
static void debts_are_paid(void **state)
{
	struct rf__group *group[2] = {add_group(&actor_ops, 20, 8), add_group(&actor_ops, 20, 8)};
	struct actor a[2][8] = {{{0}}};

	(void)state;
	for (unsigned i = 0; i < 16; i++)
		spawn(group[i % 2], &a[i % 2][i / 2]);
	settle_all();
	group[0]->events = group[1]->events = 0;
	keep_busy(a[0], 8);
	keep_busy(a[1], 8);
	rf__switcher_run(&scene.switcher, 0, 5 * 40);
	/* 32 against a share of 20, then 16, 16, 32 and so on: never a turn ahead for long */
	assert_in_range(group[0]->events, 5 * 20 - 16, 5 * 20 + 16);
	assert_in_range(group[1]->events, 5 * 20 - 16, 5 * 20 + 16);
}

static unsigned first_in_log(const struct actor *actor)
{
	unsigned i = 0;

	while (i < scene.n_log && scene.log[i] != actor->self.index)
		i++;
	return i;
}

/* Also where nothing else of the group was ready in the pass of the debt. */
static void debts_outlast_a_pass(void **state)
{
	struct rf__group *group = add_group(&actor_ops, 20, 2),
			 *other = add_group(&actor_ops, 0, 1);
	struct actor a[2] = {{0}}, b = {0};

	(void)state;
	spawn(group, &a[0]);
	spawn(group, &a[1]);
	spawn(other, &b);
	settle_all();
	for (unsigned pass = 0; pass < 2; pass++) {
		scene.n_log = 0;
		give(&a[0], 16);
		give(&a[1], 16);
		give(&b, 1);
		run();
		assert_int_equal(first_in_log(&b) < first_in_log(&a[1]), pass);
	}
}

/* Expiry */

static void expiry_is_called_when_it_is_due_and_not_before(void **state)
{
	struct actor a = {.expiry = 100, .every = 30};

	(void)state;
	spawn(actors(), &a);
	settle_all();
	assert_int_equal(rf__switcher_next_expiry(&scene.switcher), 100);
	assert_int_equal(rf__switcher_expire(&scene.switcher, 99, 10), 0);
	assert_int_equal(rf__switcher_expire(&scene.switcher, 105, 10), 1);
	assert_int_equal(a.expiries, 0);
	run_at(105);
	assert_int_equal(a.expiries, 1);
	assert_int_equal(rf__switcher_next_expiry(&scene.switcher), 135);
	a.expiry = RF_FOREVER;
	give(&a, 1);
	run_at(110);
	assert_int_equal(rf__switcher_next_expiry(&scene.switcher), RF_FOREVER);
}

static void expiries_have_a_budget(void **state)
{
	struct rf__group *group = actors();
	struct actor a[20] = {{0}};
	unsigned called = 0;

	(void)state;
	for (unsigned i = 0; i < 20; i++) {
		a[i].expiry = 10;
		spawn(group, &a[i]);
	}
	settle_all();
	assert_int_equal(rf__switcher_expire(&scene.switcher, 10, 15), 15);
	assert_int_equal(stats()->exhausted, 1);
	assert_true(rf__switcher_next_expiry(&scene.switcher) <= 10);
	assert_int_equal(rf__switcher_expire(&scene.switcher, 10, 15), 5);
	run_at(10);
	for (unsigned i = 0; i < 20; i++)
		called += a[i].expiries;
	assert_int_equal(called, 20);
}

static void an_expiry_in_the_past_again_and_again_is_put_off(void **state)
{
	struct actor a = {.expiry = 5, .stubborn = true};

	(void)state;
	spawn(actors(), &a);
	run_at(10);
	assert_int_equal(rf__switcher_expire(&scene.switcher, 10, 10), 1); /* once is fine */
	run_at(10);
	assert_int_equal(stats()->past, 1);
	assert_int_equal(rf__switcher_expire(&scene.switcher, 1009, 10), 0);
	assert_int_equal(rf__switcher_expire(&scene.switcher, 1010, 10), 1);
	run_at(1010);
	assert_int_equal(stats()->past, 2);
	assert_int_equal(a.expiries, 2);
}

/* Generations */

static void handles_of_tasks_that_are_gone_are_stale(void **state)
{
	struct rf_handle old;
	struct actor a = {0}, b = {0};
	struct rf__group *group = actors();

	(void)state;
	spawn(group, &a);
	settle_all();
	old = a.self;
	assert_int_equal(rf__switcher_kill(&scene.switcher, old), 0);
	assert_int_equal(rf__switcher_wake(&scene.switcher, old, RF__WAKE_INPUT), -ESTALE);
	spawn(group, &b);
	assert_int_equal(b.self.index, old.index);
	assert_int_not_equal(b.self.generation, old.generation);
	settle_all();
	assert_int_equal(rf__switcher_wake(&scene.switcher, old, RF__WAKE_INPUT), -ESTALE);
	assert_int_equal(rf__switcher_stop(&scene.switcher, old, 0), -ESTALE);
	assert_int_equal(rf__switcher_kill(&scene.switcher, old), -ESTALE);
	assert_false(rf__switcher_is_ready(&scene.switcher));
	assert_int_equal(stats()->stale, 4);
	assert_int_equal(b.finis, 0);
}

static void handles_of_nobody_are_stale(void **state)
{
	static const struct rf_handle none[] = {{0, 0}, {1, 1}, {63, 1}, {64, 1}, {UINT32_MAX, 1},
		{UINT32_MAX, UINT32_MAX}, {0, UINT32_MAX}};
	struct actor a = {0};

	(void)state;
	spawn(actors(), &a);
	for (unsigned i = 0; i < sizeof(none) / sizeof(*none); i++)
		assert_int_equal(
			rf__switcher_wake(&scene.switcher, none[i], RF__WAKE_INPUT), -ESTALE);
	assert_int_equal(stats()->stale, sizeof(none) / sizeof(*none));
}

static void a_generation_is_never_nobodys(void **state)
{
	struct rf__group *group = actors();
	struct actor a = {0};

	(void)state;
	spawn(group, &a);
	scene.switcher.tasks[a.self.index].generation = a.self.generation = UINT32_MAX;
	rf__switcher_kill(&scene.switcher, a.self);
	spawn(group, &a);
	assert_int_equal(a.self.generation, 1);
}

/* Birth and end */

static void there_are_as_many_tasks_as_there_is_room_for(void **state)
{
	struct rf__group *small = add_group(&actor_ops, 0, 2), *large = actors();
	struct actor a[SCENE_TASKS + 1] = {{0}};
	struct rf_handle task;

	(void)state;
	spawn(small, &a[0]);
	spawn(small, &a[1]);
	assert_int_equal(rf__switcher_spawn(&scene.switcher, small, &a[2], &task), -ENOSPC);
	for (unsigned i = 2; i < SCENE_TASKS; i++)
		spawn(large, &a[i]);
	assert_int_equal(
		rf__switcher_spawn(&scene.switcher, large, &a[SCENE_TASKS], &task), -ENOSPC);
	rf__switcher_kill(&scene.switcher, a[0].self);
	spawn(large, &a[SCENE_TASKS]);
}

static void a_task_that_does_not_begin_is_none(void **state)
{
	struct actor a = {.error = -EBADMSG}, b = {0};
	struct rf__group *group = actors();
	struct rf_handle task;

	(void)state;
	assert_int_equal(rf__switcher_spawn(&scene.switcher, group, &a, &task), -EBADMSG);
	assert_int_equal(a.finis, 0);
	assert_int_equal(scene.switcher.n, 0);
	assert_int_equal(rf__switcher_wake(&scene.switcher, a.self, RF__WAKE_INPUT), -ESTALE);
	spawn(group, &b);
	assert_int_equal(run(), 1);
}

static void a_task_that_is_done_is_reaped_after_its_last_output(void **state)
{
	struct actor a = output_actor(RF_FULL_HOLD, 5);

	(void)state;
	a.done = true;
	scene.room[0] = 4;
	spawn(actors(), &a);
	settle_all();
	assert_int_equal(a.finis, 0);
	wake_for_room(&a, 1);
	settle_all();
	assert_int_equal(a.finis, 1);
	assert_int_equal(scene.n_sent, 5);
	assert_int_equal(scene.n_ended, 1);
	assert_int_equal(scene.error, 0);
	assert_int_equal(stats()->ended, 1);
	assert_int_equal(stats()->killed, 0);
}

static void shutdown_tells_drains_and_reaps(void **state)
{
	struct actor a[3] = {{.done_when_told = true}, {.done_when_told = true}, {0}};
	struct rf__group *group = actors();
	struct rf_handle task;

	(void)state;
	for (unsigned i = 0; i < 3; i++)
		spawn(group, &a[i]);
	settle_all();
	a[1].to_give = 20;
	a[1].port = port;
	scene.room[0] = 100;
	rf__switcher_shutdown(&scene.switcher, 500);
	assert_int_equal(rf__switcher_spawn(&scene.switcher, group, &a[0], &task), -ESHUTDOWN);
	settle_all();
	assert_int_equal(a[0].told, 1);
	assert_int_equal(a[0].until, 500);
	assert_int_equal(a[0].finis + a[1].finis, 2);
	assert_int_equal(scene.n_sent, 20);
	assert_int_equal(scene.switcher.n, 1);
	assert_int_equal(rf__switcher_next_expiry(&scene.switcher), 500);
	assert_int_equal(rf__switcher_expire(&scene.switcher, 500, 10), 1);
	assert_int_equal(a[2].finis, 1);
	assert_int_equal(scene.error, -ETIMEDOUT);
	assert_int_equal(stats()->killed, 1);
}

static void the_deadline_holds_for_those_that_never_stop(void **state)
{
	struct actor a[3] = {{.to_give = 1u << 30, .on_full = RF_FULL_DROP, .port = port},
		{.to_give = 4, .on_full = RF_FULL_HOLD, .port = port}, {.expiry = 1, .every = 10}};
	struct rf__group *group = actors();

	(void)state;
	for (unsigned i = 0; i < 3; i++)
		spawn(group, &a[i]);
	run();
	rf__switcher_shutdown(&scene.switcher, 500);
	for (uint64_t now = 1; now < 500; now += 7) {
		rf__switcher_expire(&scene.switcher, now, 10);
		run_at(now);
	}
	assert_int_equal(scene.switcher.n, 3);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(a[i].told, 1);
	rf__switcher_expire(&scene.switcher, 500, 10);
	assert_int_equal(scene.switcher.n, 0);
	assert_int_equal(stats()->killed, 3);
	assert_int_equal(
		stats()->outputs, stats()->delivered + stats()->returned + stats()->dropped);
	assert_int_equal(scene.n_discarded, stats()->dropped);
}

/* Its timer was for its expiry, and it is not asked again. */
static void the_deadline_holds_for_one_that_is_never_drained(void **state)
{
	struct actor a = {.expiry = 100, .stubborn = true, .on_full = RF_FULL_DROP, .port = port};

	(void)state;
	spawn(actors(), &a);
	settle_all();
	a.to_give = 1u << 30;
	rf__switcher_stop(&scene.switcher, a.self, 500);
	run();
	for (uint64_t now = 100; now < 500; now += 50) {
		rf__switcher_expire(&scene.switcher, now, 10);
		run_at(now);
	}
	assert_int_equal(a.expiries, 1);
	assert_int_equal(scene.switcher.n, 1);
	rf__switcher_expire(&scene.switcher, 500, 10);
	assert_int_equal(scene.switcher.n, 0);
}

static void a_later_stop_only_shortens_the_time(void **state)
{
	struct actor a = {0};

	(void)state;
	spawn(actors(), &a);
	settle_all();
	rf__switcher_stop(&scene.switcher, a.self, 100);
	rf__switcher_stop(&scene.switcher, a.self, 900);
	settle_all();
	assert_int_equal(a.told, 1);
	assert_int_equal(rf__switcher_next_expiry(&scene.switcher), 100);
	rf__switcher_stop(&scene.switcher, a.self, 50);
	assert_int_equal(rf__switcher_expire(&scene.switcher, 50, 1), 1);
	assert_int_equal(scene.switcher.n, 0);
}

static void a_task_may_be_killed_while_it_runs(void **state)
{
	struct actor a[2] = {{.to_give = 40, .port = port}, {0}};
	struct rf__group *group = actors();

	(void)state;
	scene.room[0] = 100;
	spawn(group, &a[0]);
	spawn(group, &a[1]);
	scene.kills = a[0].self;
	run();
	assert_int_equal(a[0].finis, 1);
	assert_int_equal(a[0].popped, 4);
	assert_int_equal(scene.error, -ECANCELED);
	assert_int_equal(a[1].finis, 0);
}

static void a_ready_task_may_be_killed_by_another(void **state)
{
	struct rf__group *group = actors(), *other = add_group(&actor_ops, 0, 8);
	struct actor a[4] = {{.to_give = 1, .port = port}, {0}, {0}, {0}};

	(void)state;
	scene.room[0] = 100;
	spawn(group, &a[0]);
	spawn(other, &a[1]);
	spawn(other, &a[2]);
	spawn(group, &a[3]);
	scene.kills = a[1].self;
	run();
	assert_int_equal(a[1].finis, 1);
	assert_int_equal(scene.switcher.n, 3);
	assert_false(rf__switcher_is_ready(&scene.switcher));
	give(&a[2], 1);
	assert_int_equal(run(), 1);
}

/* Not even what is dropped on the way has an effect on it. */
static void a_task_that_is_being_reaped_is_gone(void **state)
{
	struct rf__group *group = actors();

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct actor a = {.to_give = 2, .port = port};

		scene.discard_wakes = !i;
		scene.discard_kills = i;
		spawn(group, &a);
		settle_all();
		assert_int_equal(rf__switcher_kill(&scene.switcher, a.self), 0);
		assert_int_equal(a.finis, 1);
		assert_int_equal(stats()->stale, 2 * i + 2);
		assert_int_equal(scene.switcher.n, 0);
		assert_false(rf__switcher_is_ready(&scene.switcher));
	}
}

static void end_reaps_all_that_are_left(void **state)
{
	struct actor a[3] = {{.to_give = 3, .port = port}, {.expiry = 5}, {0}};
	struct rf__group *group = actors();

	(void)state;
	for (unsigned i = 0; i < 3; i++)
		spawn(group, &a[i]);
	run();
	give(&a[2], 1);
	rf__switcher_end(&scene.switcher);
	assert_int_equal(a[0].finis + a[1].finis + a[2].finis, 3);
	assert_int_equal(scene.n_discarded, 3);
	assert_int_equal(scene.switcher.n, 0);
	assert_false(rf__switcher_is_ready(&scene.switcher));
	assert_int_equal(rf__switcher_next_expiry(&scene.switcher), RF_FOREVER);
	assert_int_equal(run(), 0);
}

/* Types */

static void a_type_may_have_nothing_but_state(void **state)
{
	const struct rf_task_ops bare = {.size = sizeof(bare), .name = "bare"};
	struct rf_handle task;

	(void)state;
	assert_int_equal(
		rf__switcher_spawn(&scene.switcher, add_group(&bare, 0, 4), NULL, &task), 0);
	settle_all();
	scene.inputs[task.index] = 10;
	rf__switcher_wake(&scene.switcher, task, RF__WAKE_INPUT);
	settle_all();
	assert_int_equal(stats()->inputs, 10);
	rf__switcher_shutdown(&scene.switcher, 10);
	settle_all();
	assert_int_equal(scene.switcher.n, 0);
	assert_int_equal(stats()->killed, 0);
}

static void types_that_cannot_be_are_refused(void **state)
{
	struct rf_task_ops ops[6];
	struct rf__group group;

	(void)state;
	for (unsigned i = 0; i < 6; i++)
		ops[i] = actor_ops;
	ops[0].size = 8;
	ops[1].quantum = RF_QUANTUM_MAX + 1;
	ops[2].batch = RF_BATCH_MAX + 1;
	ops[3].state_align = 24;
	ops[4].state_align = 128;
	ops[5].state_size = SIZE_MAX;
	for (unsigned i = 0; i < 6; i++) {
		assert_int_equal(rf__group_memory(&ops[i], 1), 0);
		assert_int_equal(rf__group_init(&group, &ops[i], 0, 1, NULL), -EINVAL);
	}
}

static void a_type_of_an_older_header_has_what_it_had(void **state)
{
	struct rf_task_ops old = actor_ops;
	struct actor a = {.done = true};

	(void)state;
	old.size = offsetof(struct rf_task_ops, is_done); /* what follows is not looked at */
	spawn(add_group(&old, 0, 1), &a);
	settle_all();
	assert_int_equal(scene.switcher.n, 1);
}

static int aligned_init(
	void *state, struct rf_context *context, struct rf_handle self, const void *argument)
{
	static const char zero[24];

	(void)context;
	(void)self;
	(void)argument;
	if ((uintptr_t)state % 64 || memcmp(state, zero, sizeof(zero)) != 0)
		return -EFAULT;
	memset(state, 0xff, sizeof(zero));
	return 0;
}

static void state_is_aligned_and_zero(void **state)
{
	const struct rf_task_ops ops = {
		.size = sizeof(ops), .state_size = 24, .state_align = 64, .init = aligned_init};
	struct rf__group *group = add_group(&ops, 0, 3);
	struct rf_handle task;

	(void)state;
	for (unsigned i = 0; i < 10; i++) {
		assert_int_equal(rf__switcher_spawn(&scene.switcher, group, NULL, &task), 0);
		if (i >= 2)
			assert_int_equal(rf__switcher_kill(&scene.switcher, task), 0);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, scene_begin, scene_end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(tasks_run_in_the_order_in_which_they_became_ready),
		TEST(what_becomes_ready_in_a_pass_runs_in_the_next),
		TEST(a_task_runs_once_in_a_pass_and_for_its_quantum),
		TEST(a_pass_that_was_cut_short_is_continued_first),
		TEST(groups_get_their_shares),
		TEST(no_task_has_more_than_others_leave),
		TEST(a_group_with_many_tasks_takes_nothing_from_one_with_few),
		TEST(debts_are_paid),
		TEST(debts_outlast_a_pass),
		TEST(expiry_is_called_when_it_is_due_and_not_before),
		TEST(expiries_have_a_budget),
		TEST(an_expiry_in_the_past_again_and_again_is_put_off),
		TEST(handles_of_tasks_that_are_gone_are_stale),
		TEST(handles_of_nobody_are_stale),
		TEST(a_generation_is_never_nobodys),
		TEST(there_are_as_many_tasks_as_there_is_room_for),
		TEST(a_task_that_does_not_begin_is_none),
		TEST(a_task_that_is_done_is_reaped_after_its_last_output),
		TEST(shutdown_tells_drains_and_reaps),
		TEST(the_deadline_holds_for_those_that_never_stop),
		TEST(the_deadline_holds_for_one_that_is_never_drained),
		TEST(a_later_stop_only_shortens_the_time),
		TEST(a_task_may_be_killed_while_it_runs),
		TEST(a_ready_task_may_be_killed_by_another),
		TEST(a_task_that_is_being_reaped_is_gone),
		TEST(end_reaps_all_that_are_left),
		TEST(a_type_may_have_nothing_but_state),
		TEST(types_that_cannot_be_are_refused),
		TEST(a_type_of_an_older_header_has_what_it_had),
		TEST(state_is_aligned_and_zero),
	};

	rf_test_limit(50);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
