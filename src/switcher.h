/* SPDX-License-Identifier: MIT */
/* The switcher: which of a worker's tasks runs next, and what happens in its turn. Memory in, decisions
 * out: no clock, no system call, no allocation. What has to do with ports is behind a small table of
 * functions, the worker's.
 *
 * Tasks of one type form a group. Each group has its ready tasks in a queue, first come, first served,
 * and the groups that have any take turns by deficit round-robin: in a round each may do as many events
 * (inputs, outputs, expiries; a turn with none counts as one) as its share says, so a group with many
 * tasks, or greedy ones, takes nothing from the others. Choosing a task and making one ready take the
 * same few steps whatever the number of tasks and groups.
 *
 * A pass runs what was ready when it began, each task at least once, and a turn is at most its quantum.
 * What becomes ready meanwhile runs in the next. A task that still has work after its turn may have more in
 * the same pass, as the share of its group says, while others wait for their first: out of what those before
 * left of their quanta. So a pass is never longer than the quanta of what was ready at its beginning, and a
 * task waits for that, and for the rest of the running pass, at most. A pass that was cut short is continued
 * by the next call before anything else runs.
 *
 *   run: budget left? -- no --> return
 *    | yes
 *   group in front: one that waits for its first turn? or for more, and there is quantum left over?
 *    | yes                                    -- no --> the group goes behind those for the next pass
 *   a turn: what waits is sent -> on_shutdown -> on_expiry -> (on_input -> pop_output ...)* -> expiry
 *    |                                                               until the quantum is used up
 *   share used up? -- yes --> the group goes behind the others of this pass
 *
 * One thread at a time. The worker's functions may call wake, stop, kill and spawn; nothing else. */
#ifndef RF_SWITCHER_H
#define RF_SWITCHER_H

#include "timers.h"

#include "task.h"

/* What deliver says, besides a negative errno: it can never be sent. */
enum rf__delivered { RF__DELIVERED = 0, RF__FULL = 1 };

struct rf__worker_ops {
	/* Up to max inputs of a task, those of one port in order. Fewer: there are no more, and the worker
	 * wakes it when there are. */
	unsigned (*fetch)(
		void *worker, struct rf_handle task, struct rf_input *inputs, unsigned max);

	/* How many of those were taken; the others are fetched again later, and if inputs[taken].port has
	 * a choice of others beside it, these come first then. Follows each fetch that gave any. */
	void (*taken)(void *worker, struct rf_handle task, const struct rf_input *inputs,
		unsigned n, unsigned taken);

	/* Sends an output. RF__DELIVERED: it is the worker's; RF__FULL: not now, and the task is woken with
	 * RF__WAKE_ROOM when there is room; negative errno: never. */
	int (*deliver)(void *worker, struct rf_handle task, const struct rf_output *output);

	/* An output that is not delivered: drops what it carries. It was offered as UNSENT before that, or
	 * is dropped as its policy says. The task may be stale by now. */
	void (*discard)(void *worker, struct rf_handle task, const struct rf_output *output);

	/* A task was reaped; its handle is stale by now, index and generation are what they were. */
	void (*ended)(void *worker, struct rf_handle task, int error);
};

/* Since the beginning. Together they are no snapshot while a turn is under way. */
struct rf__switcher_stats {
	uint64_t spawned, ended, killed; /* killed: of the ended, those that were not done */
	uint64_t passes, turns, events;
	uint64_t inputs, refused; /* taken; offered and not taken, each time */
	uint64_t outputs;         /* popped: delivered + returned + dropped + those that wait */
	uint64_t delivered, returned, dropped;
	uint64_t waited;    /* outputs for which there was no room at first, and that waited */
	uint64_t expiries;  /* calls of on_expiry */
	uint64_t exhausted; /* budgets used up while there was more to do: of run and of expire */
	/* What tasks, or whoever addresses them, did wrong. */
	uint64_t stale;    /* handles of tasks that are gone, or never were */
	uint64_t overtook; /* more inputs taken than there were */
	uint64_t overfull; /* more outputs than there was room for */
	uint64_t unknown;  /* outputs of unknown kind or policy */
	uint64_t past;     /* expiries in the past right after on_expiry */
};

struct rf__group;

/* A place in a queue, or the queue itself, which is a ring. */
struct rf__link {
	struct rf__link *next, *previous;
};

/* A task, in one cache line. The worker may read index, generation and group. */
struct rf__task {
	struct rf__link link; /* in its group's queue; next: of those that are free */
	struct rf__group *group;
	struct rf__timer timer;
	uint32_t cell; /* of its group's memory */
	uint32_t pass; /* ready: the first pass in which it runs */
	uint32_t index, generation;
	uint16_t bits;
	uint16_t n_waiting; /* outputs */
} __attribute__((aligned(64)));

/* Tasks of one type; stays where it is once it is initialised. */
struct rf__group {
	struct rf__group *next; /* of those that have ready tasks */
	bool listed, visited;   /* visited: its share of this round is in deficit */
	uint32_t share;
	int64_t deficit;              /* what it may still do in this round */
	struct rf__link ready, again; /* again: had their turn in this pass */
	struct rf_task_ops ops;
	uint32_t n, most; /* tasks */
	uint32_t free;    /* a cell that was used before; the next one stands in its first bytes */
	uint32_t used;    /* so many cells were ever in use */
	char *states, *colds; /* of each cell: the task's state, and what is seldom needed */
	size_t state_stride, cold_stride;
	uint64_t turns, events;
};

struct rf__group_queue {
	struct rf__group *first, *last;
};

struct rf__switcher_config {
	uint32_t tasks; /* at most so many, of all groups */
	uint64_t
		delay_ns; /* by how much an expiry that is in the past again and again is put off */
};

struct rf__switcher {
	const struct rf__worker_ops *worker_ops;
	void *worker;
	struct rf_context *context;
	/* Groups with tasks for this pass; for this pass, if others leave something; for the next. */
	struct rf__group_queue now, parked, later;
	uint32_t pass;
	uint32_t n_first;                /* tasks that wait for their first turn in this pass */
	uint64_t left;                   /* what the others left of their quanta */
	uint32_t n, n_ready, most, used; /* used: so many indices were ever in use */
	bool ending;                     /* nothing is spawned any more */
	uint64_t delay_ns;
	struct rf__task *tasks;
	struct rf__link *free; /* tasks: a list through next */
	struct rf__timers timers;
	struct rf_input *inputs;   /* RF_BATCH_MAX, for the turn */
	struct rf_output *outputs; /* the same */
	int *errors;               /* the same, of outputs that are handed back */
	struct rf__switcher_stats stats;
};

/* How much memory it wants, and gets aligned to 64 bytes; the caller's until it has ended. Of many tasks
 * only what is in use is ever written. */
size_t rf__switcher_memory(const struct rf__switcher_config *config);
void rf__switcher_init(struct rf__switcher *switcher, const struct rf__switcher_config *config,
	void *memory, const struct rf__worker_ops *ops, void *worker, struct rf_context *context);

/* The same for a group of at most so many tasks; 0: there is something wrong with the type. Outputs that
 * wait have their place in it, a batch for each task, which is not touched before one has to. */
size_t rf__group_memory(const struct rf_task_ops *ops, uint32_t tasks);

/* share: events per round; less than the quantum, or 0: the quantum. The type's table is copied.
 * 0; -EINVAL. */
int rf__group_init(struct rf__group *group, const struct rf_task_ops *ops, uint32_t share,
	uint32_t tasks, void *memory);

/* Makes a task, which is ready from then on. 0; -ENOSPC: there are as many as there is room for;
 * -ESHUTDOWN: all are ending; what init says. */
int rf__switcher_spawn(struct rf__switcher *switcher, struct rf__group *group, const void *argument,
	struct rf_handle *ret_task);

/* The task of a handle; NULL: it is stale. */
struct rf__task *rf__switcher_find(struct rf__switcher *switcher, struct rf_handle task);

/* There are inputs to fetch; there is room again for what waits. */
enum rf__wake { RF__WAKE_INPUT = 1, RF__WAKE_ROOM = 2 };

/* Makes it ready, unless it is, or cannot do anything with that: inputs while outputs wait. It comes back
 * to them by itself. 0; -ESTALE, counted. */
int rf__switcher_wake(struct rf__switcher *switcher, struct rf_handle task, unsigned reasons);

/* Makes up to budget tasks ready whose expiry is not after now, and reaps those whose time to end is.
 * How many. */
unsigned rf__switcher_expire(struct rf__switcher *switcher, uint64_t now, unsigned budget);

/* A pass, or the rest of the last one, as long as there is budget: in events, which the last turn may
 * exceed by its quantum. How many it did; 0: nothing is ready. */
unsigned rf__switcher_run(struct rf__switcher *switcher, uint64_t now, unsigned budget);

static inline bool rf__switcher_is_ready(const struct rf__switcher *switcher)
{
	return switcher->n_ready > 0;
}

/* When expire has something to do; RF_FOREVER: never. */
static inline uint64_t rf__switcher_next_expiry(const struct rf__switcher *switcher)
{
	return rf__timers_next(&switcher->timers);
}

/* Tells a task to end until then; a later call can only shorten that. 0; -ESTALE. */
int rf__switcher_stop(struct rf__switcher *switcher, struct rf_handle task, uint64_t until_ns);

/* The same for all, and none is spawned any more. They are gone when n is 0. O(tasks). */
void rf__switcher_shutdown(struct rf__switcher *switcher, uint64_t until_ns);

/* Reaps a task, after its turn if it is running. 0; -ESTALE. */
int rf__switcher_kill(struct rf__switcher *switcher, struct rf_handle task);

/* Reaps all that are left. Not from the worker's functions. */
void rf__switcher_end(struct rf__switcher *switcher);

#endif
