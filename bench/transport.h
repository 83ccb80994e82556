/* SPDX-License-Identifier: MIT */
/* A way on which messages travel from one process to another, as the harness drives it. C11 and
 * C++17. */
#ifndef BENCH_TRANSPORT_H
#define BENCH_TRANSPORT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* THROUGHPUT: the producer sends count messages, the consumer receives them.
 * ROUND_TRIP: the consumer sends one, the producer sends it back, count times.
 * FRAMES: as THROUGHPUT, one at a time at job->rate a second. */
enum test { TEST_THROUGHPUT, TEST_ROUND_TRIP, TEST_FRAMES, TESTS };

/* EACH: one message per call, visible at once, written and read in place.
 * BATCH: one per call, in place; made visible MESSAGES_AT_ONCE at a time.
 * SPAN: many per call, in place.
 * COPIED: as EACH, but copied from and into memory of the application.
 * SPAN_COPIED: many per call, copied.
 * What always copies has the last two only. Round trips and frames use EACH or COPIED. */
enum mode { MODE_EACH, MODE_BATCH, MODE_SPAN, MODE_COPIED, MODE_SPAN_COPIED, MODES };

#define MESSAGES_AT_ONCE 64

/* What an end does that has to wait. SLEEP for what blocks in the kernel. */
enum wait { WAIT_SPIN, WAIT_ADAPTIVE, WAIT_SLEEP, WAITS };

#define BIT(n) (1u << (n))

/* One sample. */
struct job {
	uint32_t test, mode, wait;
	uint32_t rate;  /* messages a second; 0: as fast as it goes */
	uint64_t size;  /* of a message in bytes, a multiple of 4, 8 at least */
	uint64_t count; /* 0: as many as take about sample_ns */
	uint64_t sample_ns;
	uint64_t ring_bytes; /* for what has a size of its own: a power of two */
};

/* What the transport counts where it knows it; the harness adds up both ends. */
struct counters {
	uint64_t syscalls; /* system calls made to send, receive, wait, and wake */
	uint64_t kicks;    /* of them, to wake the other end and for nothing else */
	uint64_t busy_ns;  /* see TRANSPORT_TIMES_ITSELF */
};

enum side { SIDE_PRODUCER, SIDE_CONSUMER };

#define BUFFER_BYTES ((size_t)16 << 20) /* more than the longest message */
#define SHARED_BYTES ((size_t)80 << 20) /* twice the largest ring_bytes and more */
#define WHY_BYTES    160

/* One end: a process. */
struct end {
	enum side side;
	void *state;              /* the transport's */
	unsigned char *buffer;    /* BUFFER_BYTES of this process's own */
	unsigned char *shared;    /* SHARED_BYTES that both map; all zero at prepare() */
	int eventfds[2];          /* both have them; blocking, 0 at prepare() */
	const char *dir;          /* of this pair's own; removed at the end with the files in it */
	uint64_t opened;          /* how many times: for names */
	struct counters counters; /* the transport adds to it */
	char why[WHY_BYTES];      /* the reason in words where a call failed; may stay empty */
};

enum transport_flags {
	TRANSPORT_LIMIT = 1,         /* not a transport but what the machine can do */
	TRANSPORT_TIMES_ITSELF = 2,  /* throughput is told by the larger busy_ns of the ends */
	TRANSPORT_UNCHECKED = 4,     /* nothing arrives: the sum is not looked at */
	TRANSPORT_COUNTS_CALLS = 8,  /* counters.syscalls is kept */
	TRANSPORT_COUNTS_KICKS = 16, /* counters.kicks is kept */
	TRANSPORT_SUBJECT = 32       /* ours */
};

/* All calls return 0 or a negative errno; -ENOTSUP from start(), prepare() and open(): cannot be had
 * here (end->why says so), which is no failure. Those that are NULL do nothing. No call may last
 * longer than a few seconds. */
struct transport {
	const char *name;  /* of the row: lower case, digits and hyphens */
	const char *about; /* one line: what it is and how it is used; helper threads, daemons */
	uint32_t flags;    /* of enum transport_flags */
	uint32_t tests;    /* BIT(TEST_...) of those that it can do */
	uint32_t modes;    /* BIT(MODE_...) */
	uint32_t waits;    /* BIT(WAIT_...) */
	uint64_t size_least, size_most; /* inclusive */
	/* Once in each process, before anything else: libraries, daemons. The consumer's is done
	 * before the producer's begins. stop() undoes it. */
	int (*start)(struct end *end);
	/* For each sample: the consumer makes what the producer's open() needs to find. */
	int (*prepare)(struct end *end, const struct job *job);
	/* Then both open, at the same time. A round trip needs both directions. */
	int (*open)(struct end *end, const struct job *job);
	/* Sends messages number first, first + 1, ... (payload.h); receives as many and adds them up
	 * to *sum. Messages that were received are not kept back from one call to the next, and
	 * messages that were sent are visible when it returns. Called with count 1 for round trips. */
	int (*send)(struct end *end, const struct job *job, uint64_t first, uint64_t count);
	int (*receive)(struct end *end, const struct job *job, uint64_t count, uint64_t *sum);
	/* After every open() or prepare(), whatever they returned; more than once is fine. Removes
	 * what they left. The producer closes first, unless something failed. */
	void (*close)(struct end *end);
	void (*stop)(struct end *end);
	/* Brings end->counters up to date, where they are not. */
	void (*count)(struct end *end);
};

/* main() of a peer: a program of its own with one transport. */
int harness_main(int argc, char **argv, const struct transport *transport);

#ifdef __cplusplus
}
#endif

#endif
