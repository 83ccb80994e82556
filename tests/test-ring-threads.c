/* SPDX-License-Identifier: MIT */
/* The ring between two threads that really run at the same time. Both use the same mapping, since
 * ThreadSanitizer sees nothing across two. Threads assert nothing: they return verdicts. */
#include "ring-fixture.h"

#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdio.h>
#include <time.h>

#define SPAN 8

struct run {
	struct ring ring;
	uint32_t records;
	size_t longest;
	bool sleeps; /* on the semaphores; else both spin */
	sem_t data, space;
	uint64_t deadline_ns;
	uint64_t data_kicks, data_arms, space_kicks, space_arms, bytes_sent, bytes_received;
};

static unsigned char patterns[65536 + 256];

/* What record i is like; both sides know. */
static size_t len_of(const struct run *run, uint32_t i)
{
	uint64_t state = i;
	uint64_t random = next_random(&state);

	return (random >> 16) % (random % 64 == 0 ? run->longest + 1 : 64);
}

static const unsigned char *payload_of(uint32_t i)
{
	return patterns + i % 251;
}

static bool is_late(const struct run *run)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec > run->deadline_ns;
}

/* False: the other side did nothing until the deadline. */
static bool sleep_on(const struct run *run, sem_t *semaphore)
{
	const struct timespec until = {.tv_sec = (time_t)(run->deadline_ns / 1000000000),
		.tv_nsec = (long)(run->deadline_ns % 1000000000)};

	while (sem_clockwait(semaphore, CLOCK_MONOTONIC, &until) < 0)
		if (errno != EINTR)
			return false;
	return true;
}

static void kick_if_due(const struct run *run, bool *kick_due, sem_t *semaphore, uint64_t *kicks)
{
	if (!*kick_due)
		return;
	*kick_due = false;
	++*kicks;
	if (run->sleeps)
		sem_post(semaphore);
}

/* The producer */

static bool wait_for_space(struct run *run, size_t len)
{
	bool in_time = true;

	if (!run->sleeps) {
		sched_yield();
		return !is_late(run);
	}
	run->space_arms++;
	if (!arm_tx(&run->ring.tx, len))
		in_time = sleep_on(run, &run->space);
	rf__ring_tx_disarm(&run->ring.tx);
	return in_time;
}

static const char *commit_span(struct run *run, struct rf_buffer *b, uint32_t first, unsigned n)
{
	for (unsigned k = n; k-- > 0;) { /* the newest first */
		size_t len = len_of(run, first + k);

		if (len > b[k].len)
			len = b[k].len;
		memcpy(b[k].data, payload_of(first + k), len);
		if (rf__ring_tx_commit(&run->ring.tx, b[k].id, len, first + k) < 0)
			return "a commit failed";
		run->bytes_sent += len;
	}
	rf__ring_tx_publish(&run->ring.tx);
	kick_if_due(run, &run->ring.tx.at.kick_due, &run->data, &run->data_kicks);
	return NULL;
}

/* A span has the length of its first record, so the others may be cut. */
static const char *produce_span(struct run *run, uint32_t *i)
{
	unsigned max = 1 + *i % SPAN;
	struct rf_buffer b[SPAN];
	size_t len = len_of(run, *i);
	int n;

	if (max > run->records - *i)
		max = run->records - *i;
	n = rf__ring_tx_reserve(&run->ring.tx, len, b, max);
	if (n == -EAGAIN)
		return wait_for_space(run, len) ? NULL : "the producer waited in vain";
	if (n <= 0)
		return "a reservation failed";
	*i += (uint32_t)n;
	return commit_span(run, b, *i - (uint32_t)n, (unsigned)n);
}

static void *produce(void *arg)
{
	struct run *run = arg;
	const char *verdict = NULL;
	uint32_t i = 0;

	while (i < run->records && !verdict)
		verdict = produce_span(run, &i);
	rf__ring_tx_end(&run->ring.tx);
	kick_if_due(run, &run->ring.tx.at.kick_due, &run->data, &run->data_kicks);
	return (void *)(uintptr_t)verdict;
}

/* The consumer */

static bool wait_for_data(struct run *run)
{
	bool in_time = true;

	if (!run->sleeps) {
		sched_yield();
		return !is_late(run);
	}
	run->data_arms++;
	if (!arm_rx(&run->ring.rx))
		in_time = sleep_on(run, &run->data);
	rf__ring_rx_disarm(&run->ring.rx);
	return in_time;
}

static bool is_record(const struct run *run, const struct rf_message *m, uint32_t i)
{
	return m->tag == i && m->len <= len_of(run, i) &&
	       memcmp(m->data, payload_of(i), m->len) == 0;
}

static const char *consume_span(struct run *run, uint32_t *i, bool *ended)
{
	struct rf_message m[SPAN];
	int n = rf__ring_rx_borrow(&run->ring.rx, m, 1 + *i % SPAN);
	const char *verdict = n < 0 && n != -EAGAIN ? "a borrow failed" : NULL;

	*ended = n == 0;
	for (int k = 0; k < n && !verdict; k++) {
		if (!is_record(run, &m[k], (*i)++))
			verdict = "a record is not what was sent";
		run->bytes_received += m[k].len;
	}
	for (int k = 0; k < n && !verdict; k++)
		if (release_id(&run->ring.rx, m[k].id) < 0)
			verdict = "a release failed";
	kick_if_due(run, &run->ring.rx.kick_due, &run->space, &run->space_kicks);
	if (n == -EAGAIN && !wait_for_data(run))
		verdict = "the consumer waited in vain";
	return verdict;
}

static void *consume(void *arg)
{
	struct run *run = arg;
	const char *verdict = NULL;
	bool ended = false;
	uint32_t i = 0;

	while (!ended && !verdict)
		verdict = consume_span(run, &i, &ended);
	if (!verdict && i != run->records)
		verdict = "records are missing at the end";
	return (void *)(uintptr_t)verdict;
}

static void run_both(uint64_t capacity, uint32_t records, bool sleeps)
{
	static struct run run;
	pthread_t producer, consumer;
	void *produced = NULL, *consumed = NULL;

	memset(&run, 0, sizeof(run));
	run.records = records;
	run.sleeps = sleeps;
	run.longest = capacity / 2 < 65536 ? capacity / 2 - 8 : 65536;
	run.deadline_ns = rf_test_deadline(30000);
	ring_open(&run.ring, capacity);
	ring_share_mappings(&run.ring);
	assert_int_equal(sem_init(&run.data, 0, 0) | sem_init(&run.space, 0, 0), 0);
	assert_int_equal(pthread_create(&producer, NULL, produce, &run), 0);
	assert_int_equal(pthread_create(&consumer, NULL, consume, &run), 0);
	pthread_join(producer, &produced);
	pthread_join(consumer, &consumed);
	if (produced || consumed)
		fail_msg("%s; %s", produced ? (char *)produced : "the producer is fine",
			consumed ? (char *)consumed : "the consumer is fine");
	assert_true(run.data_kicks <= run.data_arms + 1);
	assert_true(run.space_kicks <= run.space_arms);
	assert_int_equal(run.bytes_received, run.bytes_sent);
	assert_int_equal(run.ring.rx.at.released, run.ring.tx.at.published);
	ring_close(&run.ring);
}

static int setup(void **state)
{
	(void)state;
	fill(patterns, sizeof(patterns), 0);
	return 0;
}

static void what_one_thread_sends_the_other_gets_in_order(void **state)
{
	(void)state;
	run_both(16 * rf__page_bytes(), rf_test_rounds(1000000), false);
}

static void the_smallest_ring_works_between_threads(void **state)
{
	(void)state;
	run_both(rf__page_bytes(), rf_test_rounds(1000000), false);
}

static void a_large_ring_works_between_threads(void **state)
{
	(void)state;
	run_both(UINT64_C(1) << 22, rf_test_rounds(1000000), false);
}

static void sleepers_in_the_smallest_ring_are_always_woken(void **state)
{
	(void)state;
	run_both(rf__page_bytes(), rf_test_rounds(500000), true);
}

static void sleepers_in_a_larger_ring_are_always_woken(void **state)
{
	(void)state;
	run_both(16 * rf__page_bytes(), rf_test_rounds(1000000), true);
}

static void short_streams_end_properly(void **state)
{
	unsigned rounds = rf_test_rounds(500);

	(void)state;
	for (unsigned i = 0; i < rounds; i++)
		run_both(rf__page_bytes(), i, i % 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_one_thread_sends_the_other_gets_in_order),
		cmocka_unit_test(the_smallest_ring_works_between_threads),
		cmocka_unit_test(a_large_ring_works_between_threads),
		cmocka_unit_test(sleepers_in_the_smallest_ring_are_always_woken),
		cmocka_unit_test(sleepers_in_a_larger_ring_are_always_woken),
		cmocka_unit_test(short_streams_end_properly),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
