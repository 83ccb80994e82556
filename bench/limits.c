/* SPDX-License-Identifier: MIT */
/* What the machine can do: how fast a cache line, a wake-up and a piece of memory get from one
 * processor to the other, with nothing around them. */
#include "latency.h"
#include "payload.h"
#include "pinned.h"
#include "transports.h"

#include <errno.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* In shared memory: a word for each direction, and what is handed over. */
struct limit_page {
	_Alignas(128) uint64_t words[2][16];
	_Alignas(4096) unsigned char memory[];
};

static struct limit_page *page_of(const struct end *end)
{
	return (struct limit_page *)(void *)end->shared;
}

static uint64_t *word_of(const struct end *end, int mine)
{
	return page_of(end)->words[mine ? end->side : !end->side];
}

/* The message is the word. */

static uint64_t thrown, caught;

static int no_open(struct end *end, const struct job *job)
{
	(void)end;
	(void)job;
	thrown = caught = 0;
	return 0;
}

static int line_send(struct end *end, const struct job *job, uint64_t first, uint64_t count)
{
	(void)job;
	(void)first;
	(void)count;
	__atomic_store_n(word_of(end, 1), ++thrown, __ATOMIC_RELEASE);
	return 0;
}

static int line_receive(struct end *end, const struct job *job, uint64_t count, uint64_t *sum)
{
	(void)job;
	(void)count;
	(void)sum;
	caught++;
	while (__atomic_load_n(word_of(end, 0), __ATOMIC_ACQUIRE) != caught)
		;
	return 0;
}

static int eventfd_send(struct end *end, const struct job *job, uint64_t first, uint64_t count)
{
	uint64_t one = 1;

	(void)job;
	(void)first;
	(void)count;
	end->counters.syscalls++;
	return write(end->eventfds[end->side], &one, sizeof(one)) < 0 ? -errno : 0;
}

static int eventfd_receive(struct end *end, const struct job *job, uint64_t count, uint64_t *sum)
{
	(void)job;
	(void)count;
	end->counters.syscalls++;
	return read(end->eventfds[!end->side], sum, sizeof(*sum)) < 0 ? -errno : 0;
}

static int futex_send(struct end *end, const struct job *job, uint64_t first, uint64_t count)
{
	uint32_t *word = (uint32_t *)(void *)word_of(end, 1);

	(void)job;
	(void)first;
	(void)count;
	__atomic_store_n(word, 1, __ATOMIC_SEQ_CST);
	end->counters.syscalls++;
	return syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0) < 0 ? -errno : 0;
}

static int futex_receive(struct end *end, const struct job *job, uint64_t count, uint64_t *sum)
{
	uint32_t *word = (uint32_t *)(void *)word_of(end, 0);

	(void)job;
	(void)count;
	while (!__atomic_load_n(word, __ATOMIC_SEQ_CST)) {
		end->counters.syscalls++;
		syscall(SYS_futex, word, FUTEX_WAIT, 0, NULL, NULL, 0);
	}
	__atomic_store_n(word, 0, __ATOMIC_SEQ_CST);
	*sum += 1;
	return 0;
}

/* One processor copies, as often as there are messages, to and from memory of its own. */

static int nothing_sent(struct end *end, const struct job *job, uint64_t first, uint64_t count)
{
	(void)end;
	(void)job;
	(void)first;
	(void)count;
	return 0;
}

static int copy(struct end *end, const struct job *job, uint64_t count, uint64_t *sum)
{
	(void)sum;
	while (count--) {
		memcpy(end->buffer + BUFFER_BYTES / 2, end->buffer, job->size);
		__asm__ __volatile__("" ::: "memory");
	}
	return 0;
}

/* One piece of memory goes there and back: written, then read; copied: written elsewhere and copied there,
 * copied from there and read. Each side's own time is counted, without
 * what reading the clock costs, and the slower one is what a pipeline could reach. */

static double ns_per_tick;
static uint64_t clock_ticks, turn;

static int start_clock(struct end *end)
{
	uint64_t best = UINT64_MAX, ticks;

	(void)end;
	ns_per_tick = latency_clock();
	for (int i = 0; i < 1000; i++) {
		ticks = latency_ticks();
		ticks = latency_ticks() - ticks;
		best = ticks < best ? ticks : best;
	}
	clock_ticks = best;
	return 0;
}

static int hand_over_open(struct end *end, const struct job *job)
{
	(void)end;
	(void)job;
	turn = 0;
	return 0;
}

static uint64_t since(uint64_t begun)
{
	uint64_t ticks = latency_ticks() - begun;

	return ticks > clock_ticks ? ticks - clock_ticks : 0;
}

static void wait_for(const uint64_t *word, uint64_t value)
{
	while (__atomic_load_n(word, __ATOMIC_ACQUIRE) != value)
		;
}

static void write_piece(struct end *end, const struct job *job, uint64_t s)
{
	if (job->mode == MODE_EACH) {
		payload_fill(page_of(end)->memory, job->size, s);
		return;
	}
	payload_fill(end->buffer, job->size, s);
	memcpy(page_of(end)->memory, end->buffer, job->size);
}

static uint64_t read_piece(struct end *end, const struct job *job)
{
	const void *piece = page_of(end)->memory;

	if (job->mode == MODE_COPIED)
		piece = memcpy(end->buffer, piece, job->size);
	return payload_sum(piece, job->size);
}

static int hand_over_send(struct end *end, const struct job *job, uint64_t first, uint64_t count)
{
	uint64_t ticks = 0, begun;

	for (uint64_t s = first; s < first + count; s++, turn++) {
		wait_for(word_of(end, 0), turn);
		begun = latency_ticks();
		write_piece(end, job, s);
		ticks += since(begun);
		__atomic_store_n(word_of(end, 1), turn + 1, __ATOMIC_RELEASE);
	}
	end->counters.busy_ns += (uint64_t)((double)ticks * ns_per_tick);
	return 0;
}

static int hand_over_receive(struct end *end, const struct job *job, uint64_t count, uint64_t *sum)
{
	uint64_t ticks = 0, begun;

	for (; count--; turn++) {
		wait_for(word_of(end, 0), turn + 1);
		begun = latency_ticks();
		*sum += read_piece(end, job);
		ticks += since(begun);
		__atomic_store_n(word_of(end, 1), turn + 1, __ATOMIC_RELEASE);
	}
	end->counters.busy_ns += (uint64_t)((double)ticks * ns_per_tick);
	return 0;
}

#define PING_PONG                                                                                  \
	.tests = BIT(TEST_ROUND_TRIP), .modes = BIT(MODE_EACH), .size_least = 64, .size_most = 64, \
	.open = no_open

const struct transport limit_line = {
	.name = "limit-cache-line",
	.about = "a word in a cache line, there and back; no message",
	.flags = TRANSPORT_LIMIT | TRANSPORT_UNCHECKED,
	.waits = BIT(WAIT_SPIN),
	PING_PONG,
	.send = line_send,
	.receive = line_receive,
};

const struct transport limit_eventfd = {
	.name = "limit-eventfd",
	.about = "eventfds, written and read; no message",
	.flags = TRANSPORT_LIMIT | TRANSPORT_UNCHECKED | TRANSPORT_COUNTS_CALLS,
	.waits = BIT(WAIT_SLEEP),
	PING_PONG,
	.send = eventfd_send,
	.receive = eventfd_receive,
};

const struct transport limit_futex = {
	.name = "limit-futex",
	.about = "futexes, woken and waited for; no message",
	.flags = TRANSPORT_LIMIT | TRANSPORT_UNCHECKED | TRANSPORT_COUNTS_CALLS,
	.waits = BIT(WAIT_SLEEP),
	PING_PONG,
	.send = futex_send,
	.receive = futex_receive,
};

const struct transport limit_memcpy = {
	.name = "limit-memcpy",
	.about = "one processor copies from one place to another; no message",
	.flags = TRANSPORT_LIMIT | TRANSPORT_UNCHECKED,
	.tests = BIT(TEST_THROUGHPUT),
	.modes = BIT(MODE_COPIED),
	.waits = BIT(WAIT_SPIN),
	.size_least = 64,
	.size_most = 4 << 20,
	.open = no_open,
	.send = nothing_sent,
	.receive = copy,
};

const struct transport limit_hand_over = {
	.name = "limit-hand-over",
	.about = "one piece of memory, written by one and read by the other; the slower of the two",
	.flags = TRANSPORT_LIMIT | TRANSPORT_TIMES_ITSELF,
	.tests = BIT(TEST_THROUGHPUT),
	.modes = BIT(MODE_EACH) | BIT(MODE_COPIED),
	.waits = BIT(WAIT_SPIN),
	.size_least = 256,
	.size_most = 4 << 20,
	.start = start_clock,
	.open = hand_over_open,
	.send = hand_over_send,
	.receive = hand_over_receive,
};
