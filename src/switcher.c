/* SPDX-License-Identifier: MIT */
/* Which task runs next: queues of ready tasks, rounds of groups, timers, birth and end. */
#include "switcher.h"

#include "turn.h"
#include "util/check.h"

#include <errno.h>
#include <string.h>

#define LINE       64
#define QUANTUM    32
#define BATCH      8
#define ALIGN      16
#define STATE_MOST (1u << 20)
#define NONE       UINT32_MAX

_Static_assert(sizeof(struct rf__task) == LINE || sizeof(void *) < 8, "a task fills a line");
_Static_assert(sizeof(struct rf_input) == 128 || sizeof(void *) < 8, "inputs are as they were");
_Static_assert(sizeof(struct rf_output) == 128 || sizeof(void *) < 8, "outputs are as they were");

static size_t round_up(size_t n, size_t to)
{
	return (n + to - 1) & ~(to - 1);
}

/* Memory */

size_t rf__switcher_memory(const struct rf__switcher_config *config)
{
	return config->tasks * sizeof(struct rf__task) +
	       round_up(rf__timers_memory(config->tasks), LINE) +
	       RF_BATCH_MAX * (sizeof(struct rf_input) + sizeof(struct rf_output) + sizeof(int));
}

static void *carve(char **memory, size_t size)
{
	void *part = *memory;

	*memory += round_up(size, LINE);
	return part;
}

void rf__switcher_init(struct rf__switcher *switcher, const struct rf__switcher_config *config,
	void *memory, const struct rf__worker_ops *ops, void *worker, struct rf_context *context)
{
	char *rest = memory;

	memset(switcher, 0, sizeof(*switcher));
	switcher->worker_ops = ops;
	switcher->worker = worker;
	switcher->context = context;
	switcher->most = config->tasks;
	switcher->delay_ns = config->delay_ns;
	switcher->tasks = carve(&rest, config->tasks * sizeof(struct rf__task));
	rf__timers_init(
		&switcher->timers, carve(&rest, rf__timers_memory(config->tasks)), config->tasks);
	switcher->inputs = carve(&rest, RF_BATCH_MAX * sizeof(struct rf_input));
	switcher->outputs = carve(&rest, RF_BATCH_MAX * sizeof(struct rf_output));
	switcher->errors = carve(&rest, RF_BATCH_MAX * sizeof(int));
}

/* Groups */

/* Of a type that may be older or newer than we are. */
static bool copy_ops(const struct rf_task_ops *ops, struct rf_task_ops *ret_ops)
{
	const size_t least = offsetof(struct rf_task_ops, init);

	memset(ret_ops, 0, sizeof(*ret_ops));
	if (ops->size < least)
		return false;
	memcpy(ret_ops, ops, ops->size < sizeof(*ret_ops) ? ops->size : sizeof(*ret_ops));
	ret_ops->quantum = ret_ops->quantum ? ret_ops->quantum : QUANTUM;
	ret_ops->batch = ret_ops->batch ? ret_ops->batch : BATCH;
	ret_ops->state_align = ret_ops->state_align ? ret_ops->state_align : ALIGN;
	return ret_ops->quantum <= RF_QUANTUM_MAX && ret_ops->batch <= RF_BATCH_MAX &&
	       ret_ops->state_size <= STATE_MOST && ret_ops->state_align <= LINE &&
	       rf__is_power_of_two(ret_ops->state_align);
}

/* Room for the list of free ones, too. */
static size_t state_stride(const struct rf_task_ops *ops)
{
	size_t size = ops->state_size > sizeof(uint32_t) ? ops->state_size : sizeof(uint32_t);

	return round_up(size, ops->state_align);
}

static size_t cold_stride(const struct rf_task_ops *ops)
{
	return sizeof(struct rf__cold) + ops->batch * sizeof(struct rf_output);
}

size_t rf__group_memory(const struct rf_task_ops *ops, uint32_t tasks)
{
	struct rf_task_ops copy;
	uint64_t bytes;

	if (!copy_ops(ops, &copy) ||
		!rf__mul(state_stride(&copy) + cold_stride(&copy), tasks, &bytes) ||
		bytes > PTRDIFF_MAX - LINE)
		return 0;
	return round_up((size_t)bytes, LINE) + LINE;
}

static void clear(struct rf__link *queue)
{
	queue->next = queue->previous = queue;
}

int rf__group_init(struct rf__group *group, const struct rf_task_ops *ops, uint32_t share,
	uint32_t tasks, void *memory)
{
	char *rest = memory;

	memset(group, 0, sizeof(*group));
	if (!copy_ops(ops, &group->ops))
		return -EINVAL;
	group->share = share > group->ops.quantum ? share : group->ops.quantum;
	group->most = tasks;
	group->free = NONE;
	clear(&group->ready);
	clear(&group->again);
	group->state_stride = state_stride(&group->ops);
	group->cold_stride = cold_stride(&group->ops);
	group->states = carve(&rest, group->state_stride * tasks);
	group->colds = rest;
	return 0;
}

/* Those that were never used stay untouched. */
static void take_cell(struct rf__group *group, struct rf__task *task)
{
	task->cell = group->free;
	if (task->cell == NONE)
		task->cell = group->used++;
	else
		memcpy(&group->free, state_of(task), sizeof(group->free));
	memset(state_of(task), 0, group->state_stride);
	group->n++;
}

static void give_cell(struct rf__group *group, struct rf__task *task)
{
	memcpy(state_of(task), &group->free, sizeof(group->free));
	group->free = task->cell;
	group->n--;
}

/* Queues */

static void append_group(struct rf__group_queue *queue, struct rf__group *group)
{
	group->next = NULL;
	if (queue->last)
		queue->last->next = group;
	else
		queue->first = group;
	queue->last = group;
}

static void take_first_group(struct rf__group_queue *queue)
{
	queue->first = queue->first->next;
	if (!queue->first)
		queue->last = NULL;
}

static void append_queue(struct rf__group_queue *queue, struct rf__group_queue *more)
{
	if (!more->first)
		return;
	if (queue->last)
		queue->last->next = more->first;
	else
		queue->first = more->first;
	queue->last = more->last;
	more->first = more->last = NULL;
}

static struct rf__task *task_at(struct rf__link *link)
{
	return (struct rf__task *)(void *)link;
}

static bool is_empty(const struct rf__link *queue)
{
	return queue->next == queue;
}

static void append(struct rf__link *queue, struct rf__link *link)
{
	link->next = queue;
	link->previous = queue->previous;
	queue->previous->next = link;
	queue->previous = link;
}

static void append_all(struct rf__link *queue, struct rf__link *more)
{
	if (is_empty(more))
		return;
	more->next->previous = queue->previous;
	more->previous->next = queue;
	queue->previous->next = more->next;
	queue->previous = more->previous;
	clear(more);
}

static bool is_later(const struct rf__switcher *switcher, const struct rf__task *task)
{
	return task->pass == switcher->pass + 1;
}

static void enqueue(struct rf__switcher *switcher, struct rf__task *task, struct rf__link *queue)
{
	struct rf__group *group = task->group;

	task->bits |= RF__READY;
	task->pass = switcher->pass + 1;
	append(queue, &task->link);
	switcher->n_ready++;
	if (!group->listed)
		append_group(&switcher->later, group);
	group->listed = true;
}

static void dequeue(struct rf__switcher *switcher, struct rf__task *task)
{
	task->link.previous->next = task->link.next;
	task->link.next->previous = task->link.previous;
	task->bits &= (uint16_t)~RF__READY;
	switcher->n_ready--;
	switcher->n_first -= !is_later(switcher, task);
}

/* After its bits have changed. */
static void consider(struct rf__switcher *switcher, struct rf__task *task)
{
	if (!(task->bits & (RF__READY | RF__RUNNING)) && can_run(task))
		enqueue(switcher, task, &task->group->ready);
}

/* Tasks */

static struct rf__task *take_task(struct rf__switcher *switcher)
{
	struct rf__task *task;

	if (switcher->free) {
		task = task_at(switcher->free);
		switcher->free = task->link.next;
		return task;
	}
	task = &switcher->tasks[switcher->used];
	memset(task, 0, sizeof(*task));
	task->index = switcher->used++;
	task->generation = 1;
	return task;
}

/* What is addressed to it is stale from now on. */
static void give_task(struct rf__switcher *switcher, struct rf__task *task)
{
	task->generation += task->generation == UINT32_MAX ? 2 : 1;
	task->bits = 0;
	task->link.next = switcher->free;
	switcher->free = &task->link;
}

int rf__switcher_spawn(struct rf__switcher *switcher, struct rf__group *group, const void *argument,
	struct rf_handle *ret_task)
{
	struct rf__task *task;
	int r = 0;

	if (switcher->ending)
		return -ESHUTDOWN;
	if (switcher->n == switcher->most || group->n == group->most)
		return -ENOSPC;
	task = take_task(switcher);
	task->group = group;
	take_cell(group, task);
	if (group->ops.init)
		r = group->ops.init(state_of(task), switcher->context, handle_of(task), argument);
	if (r < 0) {
		give_cell(group, task);
		give_task(switcher, task);
		return r;
	}
	task->bits = RF__ALIVE | RF__UNDRAINED;
	switcher->n++;
	switcher->stats.spawned++;
	enqueue(switcher, task, &group->ready);
	*ret_task = handle_of(task);
	return 0;
}

/* Not while it runs. The worker's functions find it no more. */
static void reap(struct rf__switcher *switcher, struct rf__task *task, int error)
{
	struct rf_handle was = handle_of(task);

	if (task->bits & RF__READY)
		dequeue(switcher, task);
	task->bits = 0;
	rf__timers_cancel(&switcher->timers, &task->timer);
	rf__turn_discard(switcher, task);
	if (task->group->ops.fini)
		task->group->ops.fini(state_of(task));
	give_cell(task->group, task);
	give_task(switcher, task);
	switcher->n--;
	switcher->stats.ended++;
	switcher->stats.killed += error < 0;
	switcher->worker_ops->ended(switcher->worker, was, error);
}

struct rf__task *rf__switcher_find(struct rf__switcher *switcher, struct rf_handle handle)
{
	struct rf__task *task;

	if (handle.index >= switcher->used)
		return NULL;
	task = &switcher->tasks[handle.index];
	return task->generation == handle.generation && task->bits & RF__ALIVE ? task : NULL;
}

static struct rf__task *find_or_count(struct rf__switcher *switcher, struct rf_handle handle)
{
	struct rf__task *task = rf__switcher_find(switcher, handle);

	if (!task)
		switcher->stats.stale++;
	return task;
}

int rf__switcher_wake(struct rf__switcher *switcher, struct rf_handle handle, unsigned reasons)
{
	struct rf__task *task = find_or_count(switcher, handle);

	if (!task)
		return -ESTALE;
	if (reasons & RF__WAKE_INPUT)
		task->bits = (uint16_t)(task->bits & ~RF__REFUSED) | RF__INPUT;
	if (reasons & RF__WAKE_ROOM && task->n_waiting)
		task->bits |= RF__ROOM;
	consider(switcher, task);
	return 0;
}

/* Ending */

static void stop(struct rf__switcher *switcher, struct rf__task *task, uint64_t until_ns)
{
	struct rf__cold *cold = cold_of(task);

	if (task->bits & RF__TOLD) {
		cold->until = until_ns < cold->until ? until_ns : cold->until;
	} else {
		cold->until = until_ns;
		task->bits |= RF__TOLD | RF__TELL;
	}
	if (!task->timer.place || task->timer.at > cold->until)
		rf__timers_set(&switcher->timers, &task->timer, cold->until);
	consider(switcher, task);
}

int rf__switcher_stop(struct rf__switcher *switcher, struct rf_handle handle, uint64_t until_ns)
{
	struct rf__task *task = find_or_count(switcher, handle);

	if (!task)
		return -ESTALE;
	stop(switcher, task, until_ns);
	return 0;
}

void rf__switcher_shutdown(struct rf__switcher *switcher, uint64_t until_ns)
{
	switcher->ending = true;
	for (uint32_t i = 0; i < switcher->used; i++)
		if (switcher->tasks[i].bits & RF__ALIVE)
			stop(switcher, &switcher->tasks[i], until_ns);
}

static void kill_task(struct rf__switcher *switcher, struct rf__task *task, int error)
{
	if (task->bits & RF__RUNNING)
		task->bits |= RF__DOOMED;
	else
		reap(switcher, task, error);
}

int rf__switcher_kill(struct rf__switcher *switcher, struct rf_handle handle)
{
	struct rf__task *task = find_or_count(switcher, handle);

	if (!task)
		return -ESTALE;
	kill_task(switcher, task, -ECANCELED);
	return 0;
}

void rf__switcher_end(struct rf__switcher *switcher)
{
	switcher->ending = true;
	for (uint32_t i = 0; i < switcher->used; i++)
		if (switcher->tasks[i].bits & RF__ALIVE)
			reap(switcher, &switcher->tasks[i], -ECANCELED);
}

/* Running */

static struct rf__task *task_of(struct rf__timer *timer)
{
	return (struct rf__task *)(void *)((char *)timer - offsetof(struct rf__task, timer));
}

static void expire(struct rf__switcher *switcher, struct rf__task *task, uint64_t now)
{
	if (task->bits & RF__TOLD && now >= cold_of(task)->until) {
		reap(switcher, task, -ETIMEDOUT);
		return;
	}
	task->bits |= RF__EXPIRED;
	consider(switcher, task);
}

unsigned rf__switcher_expire(struct rf__switcher *switcher, uint64_t now, unsigned budget)
{
	struct rf__timer *timer;
	unsigned n = 0;

	while (n < budget && (timer = rf__timers_take(&switcher->timers, now))) {
		expire(switcher, task_of(timer), now);
		n++;
	}
	if (rf__switcher_next_expiry(switcher) <= now)
		switcher->stats.exhausted++;
	return n;
}

/* The group in front has none that may run in this pass. Unused share is lost, debts are not. */
static void retire_group(struct rf__switcher *switcher, struct rf__group *group)
{
	take_first_group(&switcher->now);
	append_all(&group->ready, &group->again);
	group->visited = false;
	group->deficit = group->deficit < 0 ? group->deficit : 0;
	group->listed = !is_empty(&group->ready);
	if (group->listed)
		append_group(&switcher->later, group);
}

/* The same, but its tasks may have more once others have left enough for that. */
static void park_group(struct rf__switcher *switcher, struct rf__group *group)
{
	take_first_group(&switcher->now);
	append_group(&switcher->parked, group);
}

static void unpark_one(struct rf__switcher *switcher)
{
	struct rf__group *group = switcher->parked.first;

	if (!group || switcher->left < group->ops.quantum)
		return;
	take_first_group(&switcher->parked);
	append_group(&switcher->now, group);
}

/* The next task of the group in front: one that waits for its first turn in this pass; or one that had
 * it, while others wait and have left enough. NULL: the group is not in front any more. */
static struct rf__task *choose_of(struct rf__switcher *switcher, struct rf__group *group)
{
	struct rf__task *first = task_at(group->ready.next);

	if (!is_empty(&group->ready) && !is_later(switcher, first))
		return first;
	if (is_empty(&group->again) || !switcher->n_first)
		retire_group(switcher, group);
	else if (switcher->left < group->ops.quantum)
		park_group(switcher, group);
	else
		return task_at(group->again.next);
	return NULL;
}

/* NULL: the pass is over. Then nobody waits for a first turn, and what is parked goes to the next. */
static struct rf__task *choose(struct rf__switcher *switcher)
{
	struct rf__group *group;
	struct rf__task *task;

	for (;;) {
		if (!switcher->now.first)
			append_queue(&switcher->now, &switcher->parked);
		group = switcher->now.first;
		if (!group)
			return NULL;
		task = choose_of(switcher, group);
		if (!task)
			continue;
		if (!group->visited)
			group->deficit += group->share;
		group->visited = true;
		return task;
	}
}

static void charge(struct rf__switcher *switcher, struct rf__group *group, unsigned events)
{
	group->turns++;
	group->events += events;
	switcher->stats.turns++;
	switcher->stats.events += events;
	group->deficit -= events;
	if (group->deficit > 0)
		return;
	group->visited = false;
	take_first_group(&switcher->now);
	append_group(&switcher->now, group);
}

/* The one after this turn's task, and the place of the one after that. */
static void fetch_ahead(const struct rf__group *group, const struct rf__task *task)
{
	const struct rf__link *next = task->link.next;

	if (next == &group->ready || next == &group->again)
		return;
	__builtin_prefetch(next->next);
	__builtin_prefetch(state_of((const struct rf__task *)(const void *)next));
}

static unsigned run_one(struct rf__switcher *switcher, struct rf__task *task, uint64_t now)
{
	struct rf__group *group = task->group;
	bool first = !is_later(switcher, task);
	unsigned events;

	fetch_ahead(group, task);
	dequeue(switcher, task);
	task->bits |= RF__RUNNING;
	events = rf__turn_take(switcher, task, now);
	task->bits &= (uint16_t)~RF__RUNNING;
	if (rf__turn_is_last(task))
		reap(switcher, task, task->bits & RF__DOOMED ? -ECANCELED : 0);
	else if (can_run(task))
		enqueue(switcher, task, &group->again);
	switcher->left += (first ? group->ops.quantum : 0) - (uint64_t)events;
	charge(switcher, group, events);
	unpark_one(switcher);
	return events;
}

unsigned rf__switcher_run(struct rf__switcher *switcher, uint64_t now, unsigned budget)
{
	struct rf__task *task;
	unsigned n = 0;

	if (!choose(switcher)) {
		switcher->pass++;
		switcher->stats.passes++;
		switcher->n_first = switcher->n_ready;
		switcher->left = 0;
		append_queue(&switcher->now, &switcher->later);
	}
	while (n < budget && (task = choose(switcher)))
		n += run_one(switcher, task, now);
	if (choose(switcher))
		switcher->stats.exhausted++;
	return n;
}
