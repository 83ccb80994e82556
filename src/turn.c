/* SPDX-License-Identifier: MIT */
/* What a task does in its turn: inputs in, outputs out, and what waits for room. */
#include "turn.h"

#include "util/check.h"

#include <errno.h>
#include <string.h>

struct turn {
	struct rf__switcher *switcher;
	struct rf__task *task;
	const struct rf_task_ops *ops;
	void *state;
	uint64_t now;
	unsigned left;     /* of the quantum */
	unsigned n_unsent; /* outputs to be handed back: the first so many of the array */
};

static unsigned least(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

/* Outputs that cannot be sent */

static void discard(
	struct rf__switcher *switcher, struct rf__task *task, const struct rf_output *output)
{
	switcher->worker_ops->discard(switcher->worker, handle_of(task), output);
}

static void drop(struct turn *turn, const struct rf_output *output)
{
	turn->switcher->stats.dropped++;
	discard(turn->switcher, turn->task, output);
}

/* To the front of the array, where nobody looks any more. */
static void set_aside(struct turn *turn, const struct rf_output *output, int error)
{
	turn->switcher->errors[turn->n_unsent] = error;
	turn->switcher->outputs[turn->n_unsent++] = *output;
}

/* It takes it or leaves it. */
static void hand_back(struct turn *turn, const struct rf_output *output, int error)
{
	struct rf_input input = {.kind = RF_INPUT_UNSENT,
		.error = error,
		.port = output->port,
		.at_ns = turn->now,
		.view = output->view,
		.unsent = {.user = output->user, .kind = output->kind}};

	turn->switcher->stats.returned++;
	if (turn->ops->on_input)
		turn->ops->on_input(turn->state, turn->switcher->context, turn->now, &input, 1);
	discard(turn->switcher, turn->task, output);
}

/* After the whole batch: until then its views are to stay. */
static void hand_all_back(struct turn *turn)
{
	for (unsigned i = 0; i < turn->n_unsent; i++)
		hand_back(turn, &turn->switcher->outputs[i], turn->switcher->errors[i]);
	if (turn->n_unsent)
		turn->task->bits |= RF__UNDRAINED;
	turn->n_unsent = 0;
}

/* Outputs that wait */

static bool same_port(const struct rf_output *a, const struct rf_output *b)
{
	return a->port.index == b->port.index && a->port.generation == b->port.generation;
}

static bool one_waits(const struct rf_output *waiting, unsigned n, const struct rf_output *output)
{
	while (n--)
		if (same_port(&waiting[n], output))
			return true;
	return false;
}

static void remove_waiting(struct rf__task *task, unsigned at)
{
	struct rf_output *waiting = cold_of(task)->waiting;

	task->n_waiting--;
	memmove(&waiting[at], &waiting[at + 1], (task->n_waiting - at) * sizeof(*waiting));
}

/* There is one: those that block fit, since nothing is popped while any of them waits. */
static void drop_oldest(struct turn *turn)
{
	struct rf_output *waiting = cold_of(turn->task)->waiting;
	unsigned at = 0;

	while (waiting[at].on_full != RF_FULL_DROP_OLDEST)
		at++;
	drop(turn, &waiting[at]);
	remove_waiting(turn->task, at);
}

static void let_wait(struct turn *turn, const struct rf_output *output)
{
	struct rf__task *task = turn->task;

	if (task->n_waiting == turn->ops->batch)
		drop_oldest(turn);
	cold_of(task)->waiting[task->n_waiting++] = *output;
	turn->switcher->stats.waited++;
	if (output->on_full == RF_FULL_HOLD)
		task->bits |= RF__BLOCKED;
}

static void no_room(struct turn *turn, const struct rf_output *output)
{
	if (output->on_full == RF_FULL_DROP)
		drop(turn, output);
	else if (output->on_full == RF_FULL_RETURN)
		set_aside(turn, output, -EAGAIN);
	else
		let_wait(turn, output);
}

static void never(struct turn *turn, const struct rf_output *output, int error)
{
	if (output->on_full == RF_FULL_HOLD || output->on_full == RF_FULL_RETURN)
		set_aside(turn, output, error);
	else
		drop(turn, output);
}

static int deliver(struct turn *turn, const struct rf_output *output)
{
	struct rf__switcher *switcher = turn->switcher;
	int r = switcher->worker_ops->deliver(switcher->worker, handle_of(turn->task), output);

	if (r == RF__DELIVERED)
		switcher->stats.delivered++;
	return r;
}

/* Each as far as none before it waits for the same port. */
static void send_waiting(struct turn *turn)
{
	struct rf__task *task = turn->task;
	struct rf_output *waiting = cold_of(task)->waiting;
	unsigned n = task->n_waiting, kept = 0;
	bool blocked = false;

	for (unsigned i = 0; i < n; i++) {
		struct rf_output *output = &waiting[i];
		int r = one_waits(waiting, kept, output) ? RF__FULL : deliver(turn, output);

		if (r < 0)
			never(turn, output, r);
		if (r != RF__FULL)
			continue;
		blocked |= output->on_full == RF_FULL_HOLD;
		waiting[kept++] = *output;
	}
	task->n_waiting = (uint16_t)kept;
	if (!blocked)
		task->bits &= (uint16_t)~RF__BLOCKED;
	hand_all_back(turn);
}

void rf__turn_discard(struct rf__switcher *switcher, struct rf__task *task)
{
	for (unsigned i = 0; i < task->n_waiting; i++)
		discard(switcher, task, &cold_of(task)->waiting[i]);
	switcher->stats.dropped += task->n_waiting;
	task->n_waiting = 0;
}

/* Feeding and draining */

static bool is_known(const struct rf_output *output)
{
	return output->kind >= RF_OUTPUT_MESSAGE && output->kind <= RF_OUTPUT_FDS &&
	       output->on_full <= RF_FULL_RETURN;
}

static void send(struct turn *turn, const struct rf_output *output)
{
	struct rf__task *task = turn->task;
	int r;

	if (!is_known(output)) {
		turn->switcher->stats.unknown++;
		never(turn, output, -EINVAL);
		return;
	}
	if (task->n_waiting && one_waits(cold_of(task)->waiting, task->n_waiting, output))
		r = RF__FULL;
	else
		r = deliver(turn, output);
	if (r < 0)
		never(turn, output, r);
	else if (r == RF__FULL)
		no_room(turn, output);
}

static unsigned pop(struct turn *turn, unsigned max)
{
	struct rf__switcher *switcher = turn->switcher;
	unsigned n;

	if (!turn->ops->pop_output)
		return 0;
	n = turn->ops->pop_output(
		turn->state, switcher->context, turn->now, switcher->outputs, max);
	if (n > max) {
		switcher->stats.overfull++;
		n = max;
	}
	switcher->stats.outputs += n;
	return n;
}

/* Whoever did not take its inputs is asked again: it has done something. */
static void has_moved(struct rf__task *task)
{
	if (task->bits & RF__REFUSED)
		task->bits = (uint16_t)(task->bits & ~RF__REFUSED) | RF__INPUT;
}

/* One batch. */
static void drain(struct turn *turn)
{
	struct rf__task *task = turn->task;
	unsigned max = least(turn->ops->batch, turn->left), n = pop(turn, max);

	turn->left -= n;
	if (n < max)
		task->bits &= (uint16_t)~RF__UNDRAINED;
	if (!n)
		return;
	has_moved(task);
	for (unsigned i = 0; i < n; i++)
		send(turn, &turn->switcher->outputs[i]);
	hand_all_back(turn);
}

static unsigned give(struct turn *turn, unsigned n)
{
	struct rf__switcher *switcher = turn->switcher;
	unsigned taken = n;

	if (turn->ops->on_input)
		taken = turn->ops->on_input(
			turn->state, switcher->context, turn->now, switcher->inputs, n);
	if (taken > n) {
		switcher->stats.overtook++;
		taken = n;
	}
	switcher->stats.inputs += taken;
	switcher->stats.refused += n - taken;
	return taken;
}

/* One batch; afterwards it is drained. */
static void feed(struct turn *turn)
{
	struct rf__switcher *switcher = turn->switcher;
	struct rf__task *task = turn->task;
	unsigned max = least(turn->ops->batch, turn->left), n, taken;

	task->bits &= (uint16_t) ~(RF__INPUT | RF__REFUSED);
	n = switcher->worker_ops->fetch(switcher->worker, handle_of(task), switcher->inputs, max);
	if (!n)
		return;
	taken = give(turn, n);
	switcher->worker_ops->taken(switcher->worker, handle_of(task), switcher->inputs, n, taken);
	if (taken < n)
		task->bits |= RF__REFUSED;
	else if (n == max)
		task->bits |= RF__INPUT;
	task->bits |= RF__UNDRAINED;
	turn->left -= taken ? taken : 1;
}

static void tell(struct turn *turn)
{
	struct rf__task *task = turn->task;

	task->bits = (uint16_t)(task->bits & ~RF__TELL) | RF__UNDRAINED;
	if (turn->ops->on_shutdown)
		turn->ops->on_shutdown(
			turn->state, turn->switcher->context, turn->now, cold_of(task)->until);
}

static void expire(struct turn *turn)
{
	struct rf__task *task = turn->task;

	task->bits = (uint16_t)(task->bits & ~RF__EXPIRED) | RF__UNDRAINED | RF__FIRED;
	turn->left--;
	turn->switcher->stats.expiries++;
	if (turn->ops->on_expiry)
		turn->ops->on_expiry(turn->state, turn->switcher->context, turn->now);
	has_moved(task);
}

/* When one that has just been called wants that again at once. */
static uint64_t put_off(struct turn *turn)
{
	uint64_t at;

	turn->switcher->stats.past++;
	return rf__add(turn->now, turn->switcher->delay_ns, &at) ? at : RF_FOREVER;
}

/* When it is to be called, or to end. */
static void set_timer(struct turn *turn)
{
	struct rf__task *task = turn->task;
	uint64_t at = turn->ops->expiry ? turn->ops->expiry(turn->state) : RF_FOREVER;

	if (task->bits & RF__FIRED && at <= turn->now)
		at = put_off(turn);
	task->bits &= (uint16_t)~RF__FIRED;
	if (task->bits & RF__TOLD && at > cold_of(task)->until)
		at = cold_of(task)->until;
	if (task->timer.place ? at != task->timer.at : at != RF_FOREVER)
		rf__timers_set(&turn->switcher->timers, &task->timer, at);
}

/* One that is never drained ends nevertheless. */
static void keep_deadline(struct turn *turn)
{
	struct rf__task *task = turn->task;

	if (!task->timer.place)
		rf__timers_set(&turn->switcher->timers, &task->timer, cold_of(task)->until);
}

bool rf__turn_is_last(const struct rf__task *task)
{
	const struct rf_task_ops *ops = &task->group->ops;

	if (task->bits & RF__DOOMED)
		return true;
	if (task->bits & (RF__UNDRAINED | RF__TELL) || task->n_waiting)
		return false;
	return ops->is_done ? ops->is_done(state_of(task)) : (task->bits & RF__TOLD) != 0;
}

static bool has_more(const struct rf__task *task)
{
	return !(task->bits & (RF__BLOCKED | RF__DOOMED)) &&
	       task->bits & (RF__UNDRAINED | RF__INPUT);
}

unsigned rf__turn_take(struct rf__switcher *switcher, struct rf__task *task, uint64_t now)
{
	const struct rf_task_ops *ops = &task->group->ops;
	struct turn turn = {switcher, task, ops, state_of(task), now, ops->quantum, 0};

	task->bits &= (uint16_t)~RF__ROOM;
	if (task->n_waiting)
		send_waiting(&turn);
	if (task->bits & RF__TELL)
		tell(&turn);
	if (task->bits & RF__EXPIRED)
		expire(&turn);
	while (turn.left && has_more(task)) {
		if (task->bits & RF__UNDRAINED)
			drain(&turn);
		else
			feed(&turn);
	}
	if (!(task->bits & RF__UNDRAINED) || task->bits & RF__BLOCKED)
		set_timer(&turn);
	else if (task->bits & RF__TOLD)
		keep_deadline(&turn);
	return turn.left == ops->quantum ? 1 : ops->quantum - turn.left;
}
