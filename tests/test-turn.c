/* SPDX-License-Identifier: MIT */
/* What happens in a task's turn: drains, back-pressure, what waits for room, and what a task does wrong. */
#include "switcher-fixture.h"

/* Drains and back-pressure */

static void a_task_that_fills_the_array_gets_no_input_and_others_run(void **state)
{
	struct actor a[2] = {{.to_give = 40, .port = port}, {0}};
	struct rf__group *group = actors();

	(void)state;
	scene.room[0] = 100;
	spawn(group, &a[0]);
	spawn(group, &a[1]);
	give(&a[0], 1);
	give(&a[1], 1);
	run();
	assert_int_equal(a[0].popped, 16);
	assert_int_equal(a[0].inputs, 0);
	assert_int_equal(a[1].inputs, 1);
	run();
	assert_int_equal(a[0].popped, 32);
	assert_int_equal(a[0].inputs, 0);
	run();
	assert_int_equal(a[0].popped, 40);
	assert_int_equal(a[0].inputs, 1);
	assert_int_equal(stats()->delivered, 40);
}

static void a_batch_is_drained_before_the_next_one_is_given(void **state)
{
	struct actor a = {.echoes = true, .port = port};

	(void)state;
	scene.room[0] = 100;
	spawn(actors(), &a);
	settle_all();
	give(&a, 6);
	run();
	assert_int_equal(a.inputs, 6);
	assert_int_equal(a.popped, 6);
	assert_int_equal(a.calls, 2);
	for (unsigned i = 0; i < 6; i++)
		assert_int_equal(scene.sent[i], i);
}

static void what_was_not_taken_is_offered_again_after_more_came(void **state)
{
	struct actor a = {.take_most = 1};

	(void)state;
	spawn(actors(), &a);
	settle_all();
	give(&a, 3);
	settle_all(); /* it gives nothing for it, so it is left alone */
	assert_int_equal(a.inputs, 1);
	assert_int_equal(stats()->refused, 2);
	give(&a, 1);
	settle_all();
	assert_int_equal(a.inputs, 2);
}

static void what_was_not_taken_is_offered_again_after_output(void **state)
{
	struct actor a = {.take_most = 1, .echoes = true, .port = port};

	(void)state;
	scene.room[0] = 100;
	spawn(actors(), &a);
	settle_all();
	give(&a, 5);
	settle_all();
	assert_int_equal(a.inputs, 5);
	assert_int_equal(scene.n_sent, 5);
}

static void what_was_not_taken_is_offered_again_after_expiry(void **state)
{
	struct actor a = {.take_most = 2, .expiry = 100};

	(void)state;
	spawn(actors(), &a);
	settle_all();
	give(&a, 4);
	settle_all();
	assert_int_equal(a.inputs, 2);
	assert_int_equal(rf__switcher_expire(&scene.switcher, 100, 10), 1);
	run_at(100);
	assert_int_equal(a.inputs, 4);
}

/* No room */

static void held_output_waits_and_so_does_its_task(void **state)
{
	struct actor a = output_actor(RF_FULL_HOLD, 6);

	(void)state;
	scene.room[0] = 1;
	spawn(actors(), &a);
	settle_all();
	assert_int_equal(a.popped, 4); /* the batch that did not fit */
	assert_int_equal(stats()->waited, 3);
	give(&a, 1);
	settle_all();
	assert_int_equal(a.inputs, 0);
	wake_for_room(&a, 2);
	settle_all();
	assert_int_equal(scene.n_sent, 3);
	assert_int_equal(a.popped, 4);
	wake_for_room(&a, 10);
	settle_all();
	assert_int_equal(scene.n_sent, 6);
	assert_int_equal(a.inputs, 1);
	for (unsigned i = 0; i < 6; i++)
		assert_int_equal(scene.sent[i], i);
}

static void held_output_does_not_stop_time(void **state)
{
	struct actor a = output_actor(RF_FULL_HOLD, 1);

	(void)state;
	a.expiry = 50;
	a.every = 50;
	spawn(actors(), &a);
	settle_all();
	for (uint64_t now = 50; now <= 200; now += 50) {
		assert_int_equal(rf__switcher_expire(&scene.switcher, now, 10), 1);
		run_at(now);
	}
	assert_int_equal(a.expiries, 4);
	assert_int_equal(scene.n_sent, 0);
}

static void outputs_for_other_ports_pass_and_those_for_one_do_not(void **state)
{
	struct actor a = output_actor(RF_FULL_HOLD, 4);

	(void)state;
	a.alternates = true;
	scene.room[1] = 10;
	spawn(actors(), &a);
	settle_all();
	assert_int_equal(scene.n_sent, 2);
	assert_int_equal(scene.ports[0], 1);
	assert_int_equal(scene.sent[1], 3);
	wake_for_room(&a, 10);
	settle_all();
	assert_int_equal(scene.sent[2], 0);
	assert_int_equal(scene.sent[3], 2);
}

/* Room comes after an output that had none: the later ones wait all the same. */
static void room_in_between_does_not_change_the_order(void **state)
{
	struct actor a = output_actor(RF_FULL_HOLD, 4);

	(void)state;
	scene.late_room = 2;
	spawn(actors(), &a);
	settle_all();
	assert_int_equal(stats()->waited, 4);
	assert_int_equal(scene.n_sent, 0);
	scene.late_room = 2;
	wake_for_room(&a, 0);
	settle_all();
	assert_int_equal(scene.n_sent, 0);
	wake_for_room(&a, 4);
	settle_all();
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(scene.sent[i], i);
}

static void room_means_nothing_to_who_waits_for_none(void **state)
{
	struct actor a = {0};

	(void)state;
	spawn(actors(), &a);
	settle_all();
	wake_for_room(&a, 1);
	assert_false(rf__switcher_is_ready(&scene.switcher));
}

static void dropped_output_is_counted_and_the_task_goes_on(void **state)
{
	struct actor a = output_actor(RF_FULL_DROP, 10);

	(void)state;
	scene.room[0] = 3;
	spawn(actors(), &a);
	give(&a, 1);
	settle_all();
	assert_int_equal(a.popped, 10);
	assert_int_equal(a.inputs, 1);
	assert_int_equal(scene.n_sent, 3);
	assert_int_equal(scene.n_discarded, 7);
	assert_int_equal(stats()->dropped, 7);
}

static void the_oldest_is_dropped_where_a_batch_waits(void **state)
{
	struct actor a = output_actor(RF_FULL_DROP_OLDEST, 11);

	(void)state;
	spawn(actors(), &a);
	give(&a, 1);
	settle_all();
	assert_int_equal(a.popped, 11);
	assert_int_equal(a.inputs, 1);
	assert_int_equal(stats()->dropped, 7);
	wake_for_room(&a, 10);
	settle_all();
	assert_int_equal(scene.n_sent, 4);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(scene.sent[i], 7 + i);
}

static void returned_output_comes_back_as_unsent(void **state)
{
	struct actor a = output_actor(RF_FULL_RETURN, 5);

	(void)state;
	scene.room[0] = 3;
	spawn(actors(), &a);
	settle_all();
	assert_int_equal(a.unsent, 2);
	assert_int_equal(a.error, -EAGAIN);
	assert_int_equal(a.user, 4);
	assert_int_equal(stats()->returned, 2);
	assert_int_equal(scene.n_discarded, 2);
}

/* Until then its views are to stay. */
static void output_is_returned_after_the_whole_batch(void **state)
{
	struct actor a = output_actor(RF_FULL_RETURN, 4);

	(void)state;
	a.alternates = true;
	scene.room[1] = 10;
	spawn(actors(), &a);
	settle_all();
	assert_int_equal(a.unsent, 2);
	assert_int_equal(a.sent_before, 2);
}

static void what_can_never_be_sent_comes_back_or_is_dropped(void **state)
{
	struct rf__group *group = actors();
	struct actor a[4];

	(void)state;
	for (uint8_t policy = RF_FULL_HOLD; policy <= RF_FULL_RETURN; policy++) {
		a[policy] = output_actor(policy, 2);
		a[policy].port.generation = 2;
		spawn(group, &a[policy]);
	}
	settle_all();
	assert_int_equal(a[RF_FULL_HOLD].unsent, 2);
	assert_int_equal(a[RF_FULL_HOLD].error, -EPIPE);
	assert_int_equal(a[RF_FULL_RETURN].unsent, 2);
	assert_int_equal(a[RF_FULL_DROP].unsent + a[RF_FULL_DROP_OLDEST].unsent, 0);
	assert_int_equal(stats()->dropped, 4);
	assert_int_equal(scene.n_discarded, 8);
}

/* Misbehaviour */

static void more_taken_than_given_counts_as_all(void **state)
{
	struct actor a = {.claim_more = 1000};

	(void)state;
	spawn(actors(), &a);
	a.claim_more = 1000;
	give(&a, 6);
	settle_all();
	assert_int_equal(stats()->inputs, 6);
	assert_int_equal(stats()->overtook, 2);
	assert_int_equal(scene.inputs[a.self.index], 0);
}

static void more_outputs_than_room_count_as_the_room(void **state)
{
	struct actor a = {.to_give = 4, .port = port, .claim_more = UINT32_MAX - 4};

	(void)state;
	scene.room[0] = 100;
	spawn(actors(), &a);
	run();
	assert_int_equal(stats()->overfull, 1);
	assert_int_equal(stats()->outputs, 4);
	assert_int_equal(scene.n_sent, 4);
}

static void unknown_kinds_and_policies_are_refused(void **state)
{
	struct actor a[3] = {{.kind = RF_OUTPUT_FDS + 1}, {.kind = UINT16_MAX},
		{.kind = RF_OUTPUT_MESSAGE, .on_full = 200}};
	struct rf__group *group = actors();

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		a[i].to_give = 1;
		a[i].port = port;
		spawn(group, &a[i]);
	}
	settle_all();
	assert_int_equal(stats()->unknown, 3);
	assert_int_equal(a[0].error, -EINVAL);
	assert_int_equal(a[1].unsent, 1);
	assert_int_equal(stats()->dropped, 1);
	assert_int_equal(scene.n_sent, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, scene_begin, scene_end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_task_that_fills_the_array_gets_no_input_and_others_run),
		TEST(a_batch_is_drained_before_the_next_one_is_given),
		TEST(what_was_not_taken_is_offered_again_after_more_came),
		TEST(what_was_not_taken_is_offered_again_after_output),
		TEST(what_was_not_taken_is_offered_again_after_expiry),
		TEST(held_output_waits_and_so_does_its_task),
		TEST(held_output_does_not_stop_time),
		TEST(outputs_for_other_ports_pass_and_those_for_one_do_not),
		TEST(room_in_between_does_not_change_the_order),
		TEST(room_means_nothing_to_who_waits_for_none),
		TEST(dropped_output_is_counted_and_the_task_goes_on),
		TEST(the_oldest_is_dropped_where_a_batch_waits),
		TEST(returned_output_comes_back_as_unsent),
		TEST(output_is_returned_after_the_whole_batch),
		TEST(what_can_never_be_sent_comes_back_or_is_dropped),
		TEST(more_taken_than_given_counts_as_all),
		TEST(more_outputs_than_room_count_as_the_room),
		TEST(unknown_kinds_and_policies_are_refused),
	};

	rf_test_limit(50);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
