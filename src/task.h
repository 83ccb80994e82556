/* SPDX-License-Identifier: MIT */
/* Tasks: state machines that do no I/O of their own. A task is memory and a table of functions; it is
 * given inputs, asked for outputs, and sees time only as an argument. A worker runs any number of them
 * on one thread and does the I/O.
 *
 * What is called when:
 *
 *   init -> pop_output -> (on_input | on_expiry) -> pop_output -> ... -> on_shutdown -> pop_output -> fini
 *
 * - on_input gets a batch and returns how many it took. Fewer is back-pressure: the rest stays where it
 *   is, in a ring or a socket, and is offered again once the task has given output or on_expiry was
 *   called, or when more has come.
 * - pop_output is asked until it gives less than it could. A task that fills the array stays ready and
 *   gets no input meanwhile; when its quantum is used up, others run before it is asked again.
 * - expiry is asked after that.
 * - is_done is asked after that, too; a task that is done is reaped. After on_shutdown one without is_done
 *   is done as soon as it has nothing more to give.
 *
 * All calls for tasks of one worker come from its thread, one at a time, and never from within another:
 * nothing that a task does with its own memory needs a lock. They must not block, and must not call the
 * worker. Times are CLOCK_MONOTONIC in nanoseconds, read once for many calls. */
#ifndef RINGFORT_TASK_H
#define RINGFORT_TASK_H

#include <ringfort/options.h>
#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What a callback may use of its worker; valid during the call. */
struct rf_context;

/* A task, a port or a lease of one worker. The next owner of an index has another generation: what is
 * addressed to the one before is dropped and counted. A generation of 0 is nobody's. */
struct rf_handle {
	uint32_t index, generation;
};

/* A task of any worker of the controller. */
struct rf_task_address {
	uint32_t worker;
	struct rf_handle task;
};

/* An end of a UDP socket. */
struct rf_endpoint {
	uint16_t family; /* AF_INET, AF_INET6 */
	uint16_t port;   /* in the order of this machine */
	uint32_t scope;  /* of IPv6, else 0 */
	uint8_t address[16];
};

/* Bits of rf_view.flags.
 * SHARED: another process can still change the bytes: copy first, then look at the copy.
 * LEASE: it is the task's until it is dropped or handed on with an output; else it is borrowed for the
 * call. */
enum rf_view_flags { RF_VIEW_SHARED = 1, RF_VIEW_LEASE = 2 };

/* Bytes that somebody else has: borrowed, or leased. */
struct rf_view {
	void *data;
	uint32_t len;
	uint32_t flags;                    /* of enum rf_view_flags */
	uint32_t room_before, room_behind; /* bytes that may be written around it, 0 for inputs */
	struct rf_handle lease;            /* with RF_VIEW_LEASE */
};

/* Inputs; in brackets what else they have.
 * MESSAGE: of a ring (view, message). DATAGRAM: of a UDP socket, or several of one size in a row (view,
 * datagram). PACKET: a frame of an interface (view). STREAM: bytes without boundaries (view).
 * ACCEPTED: somebody has connected; port is the listener (accepted).
 * BUS: published to a topic, or sent to this task (view, bus). CONTROL: by the controller (view, control).
 * REQUEST: of a client (view, call), to be answered; with RF_INPUT_CANCEL its client has given it up.
 * REPLY: to a request of this task (view, call); error: why there is none.
 * PORT_UP, PORT_DOWN: a port was opened; or is gone, and its handle with it (error).
 * WRITABLE: a port has room again that had none.
 * UNSENT: an output that this task gave, handed back (view, unsent, error): -EAGAIN: no room.
 * FDS: descriptors that came before a message (fds). ENDED: a watched task has (ended, error). */
enum rf_input_kind {
	RF_INPUT_MESSAGE = 1,
	RF_INPUT_DATAGRAM,
	RF_INPUT_PACKET,
	RF_INPUT_STREAM,
	RF_INPUT_ACCEPTED,
	RF_INPUT_BUS,
	RF_INPUT_CONTROL,
	RF_INPUT_REQUEST,
	RF_INPUT_REPLY,
	RF_INPUT_PORT_UP,
	RF_INPUT_PORT_DOWN,
	RF_INPUT_WRITABLE,
	RF_INPUT_UNSENT,
	RF_INPUT_FDS,
	RF_INPUT_ENDED
};

enum rf_input_flags { RF_INPUT_CANCEL = 1 };

/* As in rf_message. */
struct rf_input_message {
	uint64_t time_ns, user[2];
	uint32_t tag, missed, n_fds, reserved;
};

/* segment: the size of each but the last where they are several, else 0. ecn: the two bits. */
struct rf_input_datagram {
	struct rf_endpoint from, to;
	uint16_t segment;
	uint8_t ecn, reserved[5];
};

/* port: the new one. The rest is what the kernel says of the peer. */
struct rf_input_accepted {
	struct rf_handle port;
	uint32_t uid, gid, pid, flags; /* of enum rf_peer_flags */
};

/* topic: 0: sent to this task alone. missed: how many were dropped before it. */
struct rf_input_bus {
	struct rf_task_address from;
	uint32_t topic, missed;
};

struct rf_input_control {
	uint32_t code, reserved;
	uint64_t user;
};

/* status: of a reply, what the server says. */
struct rf_input_call {
	uint64_t id, deadline_ns;
	uint32_t method;
	int32_t status;
};

/* kind, user: of the output. */
struct rf_input_unsent {
	uint64_t user;
	uint16_t kind, reserved[3];
};

/* The task's from now on: it closes them. */
struct rf_input_fds {
	uint32_t n;
	int32_t fds[RF_FDS_MAX];
};

struct rf_input_ended {
	struct rf_task_address task;
	uint32_t reserved;
	uint64_t user; /* of the output that asked for it */
};

/* What a task is given: valid during the call, and what it keeps of it is a copy or a lease. 128 bytes
 * for good on 64-bit machines: arrays of them pass between programs and libraries of different age. */
struct rf_input {
	uint16_t kind;  /* enum rf_input_kind; one that is not known is to be taken and ignored */
	uint16_t flags; /* of enum rf_input_flags */
	int32_t error;  /* a negative errno, or 0 */
	struct rf_handle port; /* where it came from, or what it is about */
	uint64_t at_ns;        /* when it came; 0: not known */
	struct rf_view view;
	union {
		struct rf_input_message message;
		struct rf_input_datagram datagram;
		struct rf_input_accepted accepted;
		struct rf_input_bus bus;
		struct rf_input_control control;
		struct rf_input_call call;
		struct rf_input_unsent unsent;
		struct rf_input_fds fds;
		struct rf_input_ended ended;
		uint64_t reserved[9];
	};
};

/* Outputs; in brackets what else they have.
 * MESSAGE: to a ring (view, message). DATAGRAM: to a UDP socket (view, datagram). PACKET: to an interface
 * (view). STREAM (view). OPEN: a port (open); comes up, or goes down, with user as it was. CLOSE: port.
 * SUBSCRIBE, UNSUBSCRIBE: to a topic (bus). PUBLISH: to a topic, or to a task (view, bus).
 * CONTROL: to the controller (view, control). REQUEST, REPLY (view, call).
 * SPAWN: a task (spawn). WATCH: tell me when it ends (watch). FDS: descriptors that go before the next
 * message (fds). */
enum rf_output_kind {
	RF_OUTPUT_MESSAGE = 1,
	RF_OUTPUT_DATAGRAM,
	RF_OUTPUT_PACKET,
	RF_OUTPUT_STREAM,
	RF_OUTPUT_OPEN,
	RF_OUTPUT_CLOSE,
	RF_OUTPUT_SUBSCRIBE,
	RF_OUTPUT_UNSUBSCRIBE,
	RF_OUTPUT_PUBLISH,
	RF_OUTPUT_CONTROL,
	RF_OUTPUT_REQUEST,
	RF_OUTPUT_REPLY,
	RF_OUTPUT_SPAWN,
	RF_OUTPUT_WATCH,
	RF_OUTPUT_FDS
};

/* What becomes of an output where there is no room for it. Outputs of a task for one port leave in the
 * order in which it gave them, whatever waits; those for different ports may pass each other.
 * HOLD: it waits, and the task gets no input and is not asked for more until it is gone.
 * DROP: it is dropped and counted.
 * DROP_OLDEST: it waits, and the task goes on; where as many wait as the type's batch, the oldest of this
 * kind is dropped and counted.
 * RETURN: it comes back at once, as UNSENT with -EAGAIN.
 * What can never be sent, because the port is gone or the output is wrong, comes back as UNSENT with HOLD
 * and RETURN, and is dropped with the others. */
enum rf_on_full { RF_FULL_HOLD = 0, RF_FULL_DROP = 1, RF_FULL_DROP_OLDEST = 2, RF_FULL_RETURN = 3 };

/* As in rf_buffer. */
struct rf_output_message {
	uint64_t time_ns, user[2];
	uint32_t tag, reserved;
};

/* to: family 0: where the socket is connected to. segment: as in rf_input_datagram. */
struct rf_output_datagram {
	struct rf_endpoint to, from;
	uint16_t segment;
	uint8_t ecn, reserved[5];
};

/* address, options: what is opened and how, as the kind of port has it; the caller's until it is up. */
struct rf_output_open {
	uint32_t port_kind, reserved;
	const char *address;
	const void *options;
};

/* topic: 0: to the task. policy: enum rf_on_full of what comes for a subscription. */
struct rf_output_bus {
	struct rf_task_address to;
	uint32_t topic, policy;
};

struct rf_output_control {
	uint32_t code, reserved;
};

struct rf_output_call {
	uint64_t id, deadline_ns;
	uint32_t method;
	int32_t status;
};

/* argument: passed to init, which is called before the next pop_output. group: of which type. */
struct rf_output_spawn {
	uint32_t group, reserved;
	const void *argument;
};

struct rf_output_watch {
	struct rf_task_address task;
};

/* They pass to the library with the output, which closes its own. */
struct rf_output_fds {
	uint32_t n;
	int32_t fds[RF_FDS_MAX];
};

/* What a task gives: to be set as a whole, since what was there before is anything. The view carries a
 * lease, which passes on with it; or lies in the destination already; or is memory of the task, which
 * then stays as it is until the output has left: with HOLD that is until pop_output is called again, or
 * on_input with anything but UNSENT; with DROP and RETURN until any call; with DROP_OLDEST there is no
 * telling. 128 bytes for good, as rf_input. */
struct rf_output {
	uint16_t kind;         /* enum rf_output_kind */
	uint8_t on_full;       /* enum rf_on_full */
	uint8_t flags;         /* 0 */
	uint32_t reserved;     /* 0 */
	struct rf_handle port; /* where it goes, where that is a port */
	uint64_t user;         /* the task's, comes back with what it leads to */
	struct rf_view view;
	union {
		struct rf_output_message message;
		struct rf_output_datagram datagram;
		struct rf_output_open open;
		struct rf_output_bus bus;
		struct rf_output_control control;
		struct rf_output_call call;
		struct rf_output_spawn spawn;
		struct rf_output_watch watch;
		struct rf_output_fds fds;
		uint64_t more[9];
	};
};

/* The most events of a turn, inputs of a call, outputs of a call. */
#define RF_QUANTUM_MAX 4096
#define RF_BATCH_MAX   256

/* A type of task. Prepared by its author, the same for all tasks of the type, and to stay as long as any
 * of them; may be const and shared by threads. Any function may be NULL: then there is nothing to be done
 * or given, no expiry, and no end but that of shutdown.
 *
 * A task that breaks the rules harms itself: more taken than there was counts as all of it, more given
 * than there was room for as the room; kinds that there are not are refused; an expiry in the past right
 * after on_expiry is put off. All of it is counted. */
struct rf_task_ops {
	size_t size; /* sizeof(struct rf_task_ops) as the author was compiled */
	const char *name;
	size_t state_size,
		state_align; /* of the task's memory; align: a power of two up to 64, 0: 16 */

	/* How much one task may do in a turn before others run: inputs, outputs and expiries together.
	 * 0: 32. */
	uint16_t quantum;

	/* The most inputs, or outputs, of one call; as many outputs may wait. 0: 8. */
	uint16_t batch;

	/* state: state_size bytes, all zero. self: this task's. argument: what it was spawned with, the
	 * spawner's. 0; a negative errno: there will be no task, fini is not called. */
	int (*init)(void *state, struct rf_context *context, struct rf_handle self,
		const void *argument);

	/* Takes the first so many of n inputs, 1 or more. How many. */
	unsigned (*on_input)(void *state, struct rf_context *context, uint64_t now,
		const struct rf_input *inputs, unsigned n);

	/* The time that expiry named has come. */
	void (*on_expiry)(void *state, struct rf_context *context, uint64_t now);

	/* Gives up to max outputs, in the order in which they are to leave. How many; fewer than max:
	 * there are no more now. */
	unsigned (*pop_output)(void *state, struct rf_context *context, uint64_t now,
		struct rf_output *outputs, unsigned max);

	/* When on_expiry is wanted next; RF_FOREVER: not at all. The last answer counts. A tick every
	 * TICK_NS is
	 *   static uint64_t expiry(const void *state) { return ((const struct mine *)state)->due; }
	 * with due += TICK_NS in on_expiry. */
	uint64_t (*expiry)(const void *state);

	/* To end in an orderly way until then, when it is reaped anyway. Inputs go on coming. Once. */
	void (*on_shutdown)(
		void *state, struct rf_context *context, uint64_t now, uint64_t until_ns);

	/* Has it nothing more to do, ever? Not asked while any output waits. */
	bool (*is_done)(const void *state);

	/* The last call. Ports, subscriptions, leases and timers of the task are reclaimed after it. */
	void (*fini)(void *state);
};

#ifdef __cplusplus
}
#endif

#endif
