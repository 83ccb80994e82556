/* SPDX-License-Identifier: MIT */
/* Timers, against a list that is searched from end to end. */
#include "support.h"
#include "timers.h"

#include <errno.h>
#include <stdlib.h>

#define MOST 10000

struct model {
	struct rf__timers timers;
	struct rf__timer all[MOST];
	uint64_t at[MOST]; /* what the model knows; UINT64_MAX: not set */
	unsigned n;
	void *memory;
};

static uint32_t chance;

static uint32_t random_below(uint32_t n)
{
	chance ^= chance << 13;
	chance ^= chance >> 17;
	chance ^= chance << 5;
	return chance % n;
}

static struct model *make_model(uint32_t most)
{
	struct model *model = calloc(1, sizeof(*model));

	assert_non_null(model);
	model->memory = malloc(rf__timers_memory(most));
	assert_non_null(model->memory);
	rf__timers_init(&model->timers, model->memory, most);
	for (unsigned i = 0; i < MOST; i++)
		model->at[i] = UINT64_MAX;
	return model;
}

static void free_model(struct model *model)
{
	free(model->memory);
	free(model);
}

static void set(struct model *model, unsigned i, uint64_t at)
{
	assert_int_equal(rf__timers_set(&model->timers, &model->all[i], at), 0);
	model->n += at != UINT64_MAX;
	model->n -= model->at[i] != UINT64_MAX;
	model->at[i] = at;
	assert_int_equal(rf__timer_is_set(&model->all[i]), at != UINT64_MAX);
}

static void cancel(struct model *model, unsigned i)
{
	rf__timers_cancel(&model->timers, &model->all[i]);
	model->n -= model->at[i] != UINT64_MAX;
	model->at[i] = UINT64_MAX;
	assert_false(rf__timer_is_set(&model->all[i]));
}

static uint64_t nearest(const struct model *model)
{
	uint64_t least = UINT64_MAX;

	for (unsigned i = 0; i < MOST; i++)
		least = model->at[i] < least ? model->at[i] : least;
	return least;
}

static void assert_heap_is_whole(const struct model *model)
{
	const struct rf__timers *timers = &model->timers;

	assert_int_equal(timers->n, model->n);
	for (uint32_t i = 0; i < timers->n; i++) {
		assert_int_equal(timers->heap[i].timer->place, i + 1);
		assert_int_equal(timers->heap[i].timer->at, timers->heap[i].at);
		assert_int_equal(timers->heap[i].at, model->at[timers->heap[i].timer - model->all]);
		assert_true(i == 0 || timers->heap[(i - 1) / 4].at <= timers->heap[i].at);
	}
}

/* Takes all that are due, each of which the model must have, in order. */
static void take_due(struct model *model, uint64_t now)
{
	struct rf__timer *timer;
	uint64_t last = 0;

	while ((timer = rf__timers_take(&model->timers, now))) {
		unsigned i = (unsigned)(timer - model->all);

		assert_int_equal(timer->at, model->at[i]);
		assert_true(timer->at <= now && timer->at >= last);
		assert_false(rf__timer_is_set(timer));
		last = timer->at;
		model->at[i] = UINT64_MAX;
		model->n--;
	}
	assert_true(nearest(model) > now);
	assert_int_equal(rf__timers_next(&model->timers), nearest(model));
}

static void ten_thousand_timers_do_what_a_list_does(void **state)
{
	struct model *model = make_model(MOST);
	unsigned rounds = rf_test_rounds(200);
	uint64_t now = 0;

	(void)state;
	chance = 12345;
	for (unsigned i = 0; i < MOST; i++)
		set(model, i, 1 + random_below(1000000));
	assert_heap_is_whole(model);
	for (unsigned round = 0; round < rounds; round++) {
		for (unsigned i = 0; i < 300; i++)
			set(model, random_below(MOST), now + random_below(1000000));
		for (unsigned i = 0; i < 300; i++)
			cancel(model, random_below(MOST));
		assert_heap_is_whole(model);
		now += random_below(20000);
		take_due(model, now);
	}
	take_due(model, UINT64_MAX - 1);
	assert_int_equal(model->timers.n, 0);
	free_model(model);
}

static void timers_of_one_time_all_come(void **state)
{
	struct model *model = make_model(MOST);

	(void)state;
	for (unsigned i = 0; i < 1000; i++)
		set(model, i, 7);
	assert_null(rf__timers_take(&model->timers, 6));
	take_due(model, 7);
	assert_int_equal(model->n, 0);
	free_model(model);
}

static void a_timer_moves_both_ways(void **state)
{
	struct model *model = make_model(MOST);

	(void)state;
	set(model, 0, 100);
	set(model, 1, 200);
	set(model, 0, 300);
	assert_int_equal(rf__timers_next(&model->timers), 200);
	set(model, 0, 50);
	assert_int_equal(rf__timers_next(&model->timers), 50);
	set(model, 0, UINT64_MAX);
	assert_int_equal(rf__timers_next(&model->timers), 200);
	assert_heap_is_whole(model);
	free_model(model);
}

static void no_more_are_set_than_there_is_room_for(void **state)
{
	struct model *model = make_model(2);

	(void)state;
	set(model, 0, 1);
	set(model, 1, 2);
	assert_int_equal(rf__timers_set(&model->timers, &model->all[2], 0), -ENOMEM);
	assert_false(rf__timer_is_set(&model->all[2]));
	set(model, 1, 0);
	cancel(model, 0);
	cancel(model, 0);
	set(model, 2, 5);
	assert_heap_is_whole(model);
	free_model(model);
}

static void none_is_due_where_none_is_set(void **state)
{
	struct model *model = make_model(1);

	(void)state;
	assert_null(rf__timers_take(&model->timers, UINT64_MAX));
	assert_int_equal(rf__timers_next(&model->timers), UINT64_MAX);
	cancel(model, 0);
	free_model(model);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ten_thousand_timers_do_what_a_list_does),
		cmocka_unit_test(timers_of_one_time_all_come),
		cmocka_unit_test(a_timer_moves_both_ways),
		cmocka_unit_test(no_more_are_set_than_there_is_room_for),
		cmocka_unit_test(none_is_due_where_none_is_set),
	};

	rf_test_limit(50);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
