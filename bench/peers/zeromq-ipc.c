/* SPDX-License-Identifier: MIT */
/* ZeroMQ over ipc: PUSH to PULL. In place is its own message, made and read where it is; copied is
 * zmq_send() and zmq_recv(). */
#include "anywhere.h"
#include "payload.h"
#include "transport.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <zmq.h>

#define QUEUE_BYTES (4 << 20)
#define QUEUE_MOST  4000
#define PATIENCE_MS 10000
#define PIECE_BYTES 512

#define SCHEME        "ipc://"
#define ADDRESS_BYTES 160

static void *context;
static void *to, *from; /* sockets */

/* The first socket starts the threads. */
static int start(struct end *end)
{
	cpu_set_t before;
	void *first;

	(void)end;
	context = zmq_ctx_new();
	if (!context)
		return -errno;
	anywhere_begin(&before);
	first = zmq_socket(context, ZMQ_PULL);
	anywhere_end(&before);
	return first && !zmq_close(first) ? 0 : -errno;
}

static void stop(struct end *end)
{
	(void)end;
	if (context)
		zmq_ctx_term(context);
	context = NULL;
}

static int set(void *socket, int option, int value)
{
	return zmq_setsockopt(socket, option, &value, sizeof(value)) ? -errno : 0;
}

static int set_up(void *socket, const struct job *job)
{
	int queue = job->size > QUEUE_BYTES / 2 ? 2 : (int)(QUEUE_BYTES / job->size), r;

	if (queue > QUEUE_MOST)
		queue = QUEUE_MOST;
	r = set(socket, ZMQ_SNDHWM, queue);
	r = r ? r : set(socket, ZMQ_RCVHWM, queue);
	r = r ? r : set(socket, ZMQ_SNDTIMEO, PATIENCE_MS);
	r = r ? r : set(socket, ZMQ_RCVTIMEO, PATIENCE_MS);
	return r ? r : set(socket, ZMQ_LINGER, 0);
}

/* Addresses have the number of the sample in them, which the producer finds in shared memory. */
static void address_of(const struct end *end, const char *name, char address[ADDRESS_BYTES])
{
	uint32_t sample;

	memcpy(&sample, end->shared, sizeof(sample));
	snprintf(address, ADDRESS_BYTES, SCHEME "%s/%s-%u", end->dir, name, sample);
}

/* The consumer binds both. */
static int make(struct end *end, const struct job *job, const char *name, int type, void **ret)
{
	void *socket = zmq_socket(context, type);
	char address[ADDRESS_BYTES];
	int r;

	*ret = socket;
	if (!socket)
		return -errno;
	r = set_up(socket, job);
	if (r < 0)
		return r;
	address_of(end, name, address);
	r = end->side == SIDE_CONSUMER ? zmq_bind(socket, address) : zmq_connect(socket, address);
	return r ? -errno : 0;
}

static int make_both(struct end *end, const struct job *job)
{
	int consumer = end->side == SIDE_CONSUMER, r;

	r = consumer ? make(end, job, "there", ZMQ_PULL, &from)
		     : make(end, job, "there", ZMQ_PUSH, &to);
	if (r < 0 || job->test != TEST_ROUND_TRIP)
		return r;
	return consumer ? make(end, job, "back", ZMQ_PUSH, &to)
			: make(end, job, "back", ZMQ_PULL, &from);
}

static int prepare(struct end *end, const struct job *job)
{
	static uint32_t samples;

	memcpy(end->shared, &samples, sizeof(samples));
	samples++;
	return make_both(end, job);
}

static int open_both(struct end *end, const struct job *job)
{
	return end->side == SIDE_CONSUMER ? 0 : make_both(end, job);
}

static void close_one(void **socket)
{
	if (*socket)
		zmq_close(*socket);
	*socket = NULL;
}

static void remove_one(const struct end *end, const char *name)
{
	char address[ADDRESS_BYTES];

	address_of(end, name, address);
	unlink(address + strlen(SCHEME));
}

static void close_both(struct end *end)
{
	close_one(&to);
	close_one(&from);
	if (end->side == SIDE_PRODUCER)
		return;
	remove_one(end, "there");
	remove_one(end, "back");
}

static int send_message(size_t size, uint64_t number)
{
	zmq_msg_t message;
	int r;

	if (zmq_msg_init_size(&message, size) < 0)
		return -errno;
	payload_fill(zmq_msg_data(&message), size, number);
	if (zmq_msg_send(&message, to, 0) >= 0)
		return 0;
	r = -errno;
	zmq_msg_close(&message);
	return r;
}

static int send(struct end *end, const struct job *job, uint64_t first, uint64_t count)
{
	struct source source = {.memory = NULL};
	int r = 0;

	if (job->mode == MODE_COPIED)
		source_begin(&source, end->buffer, job->size, first, count);
	for (uint64_t s = first; s < first + count && r >= 0; s++) {
		if (job->mode == MODE_EACH)
			r = send_message(job->size, s);
		else if (zmq_send(to, source_next(&source), job->size, 0) < 0)
			r = -errno;
	}
	return r < 0 ? r : 0;
}

/* Short messages lie anywhere in what was received: looked at in pieces, which costs next to nothing
 * and keeps to the rules of C. */
static uint64_t sum_anywhere(const unsigned char *at, size_t size)
{
	uint64_t words[PIECE_BYTES / sizeof(uint64_t)], sum = 0;
	size_t n;

	if ((uintptr_t)at % sizeof(uint32_t) == 0)
		return payload_sum(at, size);
	for (; size; at += n, size -= n) {
		n = size < sizeof(words) ? size : sizeof(words);
		memcpy(words, at, n);
		sum += payload_sum(words, n);
	}
	return sum;
}

static int receive_message(zmq_msg_t *message, size_t size, uint64_t *sum)
{
	if (zmq_msg_recv(message, from, 0) < 0)
		return -errno;
	if (zmq_msg_size(message) != size)
		return -EBADMSG;
	*sum += sum_anywhere(zmq_msg_data(message), size);
	return 0;
}

static int receive_copied(struct end *end, size_t size, uint64_t *sum)
{
	int n = zmq_recv(from, end->buffer, BUFFER_BYTES, 0);

	if (n < 0)
		return -errno;
	if ((size_t)n != size)
		return -EBADMSG;
	*sum += payload_sum(end->buffer, size);
	return 0;
}

static int receive(struct end *end, const struct job *job, uint64_t count, uint64_t *sum)
{
	zmq_msg_t message;
	int r = 0;

	zmq_msg_init(&message);
	while (count-- && r >= 0)
		r = job->mode == MODE_EACH ? receive_message(&message, job->size, sum)
					   : receive_copied(end, job->size, sum);
	zmq_msg_close(&message);
	return r;
}

static const struct transport zmq = {
	.name = "zeromq-ipc",
	.about = "ZeroMQ over ipc, PUSH to PULL; it batches by itself, in a thread on each side "
		 "that shares the processors",
	.tests = BIT(TEST_THROUGHPUT) | BIT(TEST_ROUND_TRIP) | BIT(TEST_FRAMES),
	.modes = BIT(MODE_EACH) | BIT(MODE_COPIED),
	.waits = BIT(WAIT_SLEEP),
	.size_least = 8,
	.size_most = 16 << 20,
	.start = start,
	.prepare = prepare,
	.open = open_both,
	.send = send,
	.receive = receive,
	.close = close_both,
	.stop = stop,
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, &zmq);
}
