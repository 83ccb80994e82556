/* SPDX-License-Identifier: MIT */
/* A POSIX message queue for each direction. */
#include "payload.h"
#include "transports.h"

#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#define SIZE_MOST 65536
#define LONG_MOST 10 /* messages; what an unprivileged user may have */

static mqd_t queues[2] = {-1, -1};

/* Each has the number of the consumer's process in its name. */
static const char *name_of(const struct end *end, int there, char *name, size_t size)
{
	pid_t whose = end->side == SIDE_CONSUMER ? getpid() : getppid();

	snprintf(name, size, "/rf-bench-%d-%d", (int)whose, there);
	return name;
}

static int open_queue(const struct end *end, const struct job *job, int there, int flags)
{
	struct mq_attr attr = {.mq_maxmsg = LONG_MOST, .mq_msgsize = (long)job->size};
	char name[64];

	queues[there] = mq_open(
		name_of(end, there, name, sizeof(name)), O_RDWR | O_CLOEXEC | flags, 0600, &attr);
	return queues[there] < 0 ? -errno : 0;
}

static int prepare(struct end *end, const struct job *job)
{
	int r = 0;

	for (int there = 0; there < 2 && r >= 0; there++)
		r = open_queue(end, job, there, O_CREAT | O_EXCL);
	if (r < 0)
		snprintf(end->why, WHY_BYTES, "mq_open of messages of %llu bytes",
			(unsigned long long)job->size);
	return r == -ENOSYS || r == -EMFILE || r == -EINVAL ? -ENOTSUP : r;
}

static int open_end(struct end *end, const struct job *job)
{
	int r = 0;

	for (int there = 0; there < 2 && r >= 0 && end->side == SIDE_PRODUCER; there++)
		r = open_queue(end, job, there, 0);
	return r;
}

static void close_end(struct end *end)
{
	char name[64];

	for (int there = 0; there < 2; there++) {
		if (queues[there] >= 0)
			mq_close(queues[there]);
		queues[there] = -1;
		if (end->side == SIDE_CONSUMER)
			mq_unlink(name_of(end, there, name, sizeof(name)));
	}
}

static int send_messages(struct end *end, const struct job *job, uint64_t first, uint64_t count)
{
	mqd_t queue = queues[end->side == SIDE_PRODUCER];

	for (uint64_t s = first; s < first + count; s++) {
		payload_fill(end->buffer, job->size, s);
		end->counters.syscalls++;
		if (mq_send(queue, (char *)end->buffer, job->size, 0) < 0)
			return -errno;
	}
	return 0;
}

static int receive_messages(struct end *end, const struct job *job, uint64_t count, uint64_t *sum)
{
	mqd_t queue = queues[end->side == SIDE_CONSUMER];

	while (count--) {
		end->counters.syscalls++;
		if (mq_receive(queue, (char *)end->buffer, job->size, NULL) != (ssize_t)job->size)
			return errno ? -errno : -EBADMSG;
		*sum += payload_sum(end->buffer, job->size);
	}
	return 0;
}

const struct transport transport_mq = {
	.name = "posix-mq",
	.about = "a POSIX message queue of 10 messages",
	.flags = TRANSPORT_COUNTS_CALLS,
	.tests = BIT(TEST_THROUGHPUT) | BIT(TEST_ROUND_TRIP),
	.modes = BIT(MODE_COPIED),
	.waits = BIT(WAIT_SLEEP),
	.size_least = 8,
	.size_most = SIZE_MOST,
	.prepare = prepare,
	.open = open_end,
	.send = send_messages,
	.receive = receive_messages,
	.close = close_end,
};
