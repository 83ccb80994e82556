/* SPDX-License-Identifier: MIT */
/* nng over ipc: a pair. In place is its own message, made and read where it is; copied is nng_send()
 * and nng_recv(). */
#include "anywhere.h"
#include "payload.h"
#include "transport.h"

#include <errno.h>
#include <nng/nng.h>
#include <nng/protocol/pair0/pair.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define QUEUE_BYTES (4 << 20)
#define QUEUE_MOST  1024
#define PATIENCE_MS 10000

#define SCHEME        "ipc://"
#define ADDRESS_BYTES 160

static nng_socket sock = NNG_SOCKET_INITIALIZER;

static int told(struct end *end, int error)
{
	if (!error)
		return 0;
	snprintf(end->why, sizeof(end->why), "%s", nng_strerror(error));
	return error == NNG_ETIMEDOUT ? -ETIMEDOUT : -EIO;
}

static int set_up(const struct job *job)
{
	int queue = job->size > QUEUE_BYTES ? 1 : (int)(QUEUE_BYTES / job->size), r;

	if (queue > QUEUE_MOST)
		queue = QUEUE_MOST;
	r = nng_socket_set_int(sock, NNG_OPT_SENDBUF, queue);
	r = r ? r : nng_socket_set_int(sock, NNG_OPT_RECVBUF, queue);
	r = r ? r : nng_socket_set_ms(sock, NNG_OPT_SENDTIMEO, PATIENCE_MS);
	r = r ? r : nng_socket_set_ms(sock, NNG_OPT_RECVTIMEO, PATIENCE_MS);
	return r ? r : nng_socket_set_size(sock, NNG_OPT_RECVMAXSZ, BUFFER_BYTES);
}

/* The address, new for each sample, is where the producer finds it. */
static int make(struct end *end, const struct job *job)
{
	const char *address = (const char *)end->shared;
	int r;

	r = nng_pair0_open(&sock);
	if (r)
		return told(end, r);
	r = set_up(job);
	if (!r)
		r = end->side == SIDE_CONSUMER ? nng_listen(sock, address, NULL, 0)
					       : nng_dial(sock, address, NULL, 0);
	return told(end, r);
}

static int prepare(struct end *end, const struct job *job)
{
	static unsigned samples;

	snprintf((char *)end->shared, ADDRESS_BYTES, SCHEME "%s/pair-%u", end->dir, samples++);
	return make(end, job);
}

static int open_pair(struct end *end, const struct job *job)
{
	return end->side == SIDE_CONSUMER ? 0 : make(end, job);
}

static void close_pair(struct end *end)
{
	const char *address = (const char *)end->shared;

	if (end->side == SIDE_CONSUMER && !strncmp(address, SCHEME, strlen(SCHEME)))
		unlink(address + strlen(SCHEME));
	if (nng_socket_id(sock) > 0)
		nng_close(sock);
	sock = (nng_socket)NNG_SOCKET_INITIALIZER;
}

static int send_message(struct end *end, size_t size, uint64_t number)
{
	nng_msg *message;
	int r = nng_msg_alloc(&message, size);

	if (r)
		return told(end, r);
	payload_fill(nng_msg_body(message), size, number);
	r = nng_sendmsg(sock, message, 0);
	if (r)
		nng_msg_free(message);
	return told(end, r);
}

static int send(struct end *end, const struct job *job, uint64_t first, uint64_t count)
{
	struct source source = {.memory = NULL};
	int r = 0;

	if (job->mode == MODE_COPIED)
		source_begin(&source, end->buffer, job->size, first, count);
	for (uint64_t s = first; s < first + count && r >= 0; s++)
		r = job->mode == MODE_EACH
			    ? send_message(end, job->size, s)
			    : told(end, nng_send(sock, (void *)source_next(&source), job->size, 0));
	return r;
}

static int receive_message(struct end *end, size_t size, uint64_t *sum)
{
	nng_msg *message;
	int r = nng_recvmsg(sock, &message, 0);

	if (r)
		return told(end, r);
	if (nng_msg_len(message) == size)
		*sum += payload_sum(nng_msg_body(message), size);
	else
		r = -EBADMSG;
	nng_msg_free(message);
	return r;
}

static int receive_copied(struct end *end, size_t size, uint64_t *sum)
{
	size_t len = BUFFER_BYTES;
	int r = nng_recv(sock, end->buffer, &len, 0);

	if (r)
		return told(end, r);
	if (len != size)
		return -EBADMSG;
	*sum += payload_sum(end->buffer, size);
	return 0;
}

static int receive(struct end *end, const struct job *job, uint64_t count, uint64_t *sum)
{
	int r = 0;

	while (count-- && r >= 0)
		r = job->mode == MODE_EACH ? receive_message(end, job->size, sum)
					   : receive_copied(end, job->size, sum);
	return r;
}

/* The first socket starts the threads. */
static int start(struct end *end)
{
	cpu_set_t before;
	int r;

	anywhere_begin(&before);
	r = nng_pair0_open(&sock);
	anywhere_end(&before);
	close_pair(end);
	return told(end, r);
}

static void stop(struct end *end)
{
	(void)end;
	nng_fini();
}

static const struct transport nng = {
	.name = "nng-ipc",
	.about = "nng over ipc, a pair; threads of its own share the processors",
	.tests = BIT(TEST_THROUGHPUT) | BIT(TEST_ROUND_TRIP) | BIT(TEST_FRAMES),
	.modes = BIT(MODE_EACH) | BIT(MODE_COPIED),
	.waits = BIT(WAIT_SLEEP),
	.size_least = 8,
	.size_most = 16 << 20,
	.start = start,
	.prepare = prepare,
	.open = open_pair,
	.send = send,
	.receive = receive,
	.close = close_pair,
	.stop = stop,
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, &nng);
}
