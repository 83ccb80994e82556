/* SPDX-License-Identifier: MIT */
/* iceoryx through its C binding and with a RouDi of its own. Messages are made and read in place; the
 * publisher waits for the subscriber, so that none is lost. */
#include "helper.h"
#include "payload.h"
#include "transport.h"

#include <errno.h>
#include <grp.h>
#include <iceoryx_binding_c/api.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SERVICE "ringfort-bench"
#define TRIES   2000 /* of 5 ms */
#define SPARE   6    /* chunks that are not in the queue */
#define FRAME   12441600

#define ROUDI_TRIES 8 /* one in half a second */

/* Topics: messages up to so many bytes go through queues of so many. Connections take RouDi a tenth
 * of a second, so they are made once. */
static const struct queue_class {
	size_t size_most;
	uint32_t queue;
} classes[] = {{4096, 256}, {65536, 64}, {FRAME, 4}};

#define CLASSES (sizeof(classes) / sizeof(*classes))

static struct topic {
	iox_pub_storage_t pub_storage;
	iox_sub_storage_t sub_storage;
	iox_pub_t pub;
	iox_sub_t sub;
} topics[CLASSES];

static iox_ws_storage_t wait_storage;
static iox_ws_t wait_set;
static iox_sub_t watched;
static struct helper roudi;
static char config_path[160], names[2][64], sockets[2][80], locks[2][80];
static char segment[300];

static unsigned class_of(size_t size)
{
	unsigned i = 0;

	while (i < CLASSES - 1 && size > classes[i].size_most)
		i++;
	return i;
}

static int write_config(void)
{
	FILE *file = fopen(config_path, "we");
	size_t size;

	if (!file)
		return -errno;
	fputs("[general]\nversion = 1\n[[segment]]\n", file);
	for (size = 64; size <= 4 << 20; size *= 2)
		fprintf(file, "[[segment.mempool]]\nsize = %zu\ncount = %u\n", size,
			classes[class_of(size)].queue + SPARE);
	fprintf(file, "[[segment.mempool]]\nsize = %u\ncount = %u\n", FRAME,
		classes[class_of(FRAME)].queue + SPARE);
	return fclose(file) ? -errno : 0;
}

/* What RouDi and two clients leave behind. Its segment has the name of the group. */
static void list_files(const char **files)
{
	static const char *const fixed[] = {"/tmp/roudi", "/dev/shm/iceoryx_mgmt",
		"/tmp/roudi.lock", "/tmp/iox-unique-roudi.lock"};
	struct group *group = getgrgid(getegid());

	for (int i = 0; i < 2; i++) {
		*files++ = sockets[i];
		*files++ = locks[i];
	}
	snprintf(segment, sizeof(segment), "/dev/shm/%s", group ? group->gr_name : "");
	*files++ = segment;
	for (int i = 0; i < 4; i++)
		*files++ = fixed[i];
}

/* After iceoryx has said goodbye to it, which it does when the process ends. */
static void end_roudi(void)
{
	helper_stop(&roudi);
}

/* Its names are fixed: there can be one on a machine, and another benchmark may soon be done with it. */
static int run_roudi(void)
{
	const char *const argv[] = {
		"iox-roudi", "--config-file", config_path, "--monitoring-mode", "off", NULL};
	const struct timespec rest = {.tv_nsec = 500000000};
	int r = helper_start(&roudi, argv, "ready");

	for (int tries = 1; r == -ECHILD && tries < ROUDI_TRIES; tries++) {
		nanosleep(&rest, NULL);
		r = helper_start(&roudi, argv, "ready");
	}
	return r;
}

static int start_roudi(struct end *end)
{
	int r;

	list_files(roudi.files);
	r = write_config();
	if (r == 0)
		r = atexit(end_roudi) ? -ENOMEM : run_roudi();
	unlink(config_path);
	if (r == -ENOENT || r == -ECHILD)
		snprintf(end->why, sizeof(end->why), "%s",
			r == -ENOENT ? "there is no iox-roudi"
				     : "iox-roudi does not start: another one runs, or /dev/shm is "
				       "too small");
	return r == -ENOENT || r == -ECHILD ? -ENOTSUP : r;
}

static void name_things(const struct end *end)
{
	int owner = end->side == SIDE_CONSUMER ? getpid() : getppid();

	snprintf(config_path, sizeof(config_path), "%s/roudi.toml", end->dir);
	for (int i = 0; i < 2; i++) {
		snprintf(names[i], sizeof(names[i]), "ringfort-bench-%d-%d", owner, i);
		snprintf(sockets[i], sizeof(sockets[i]), "/tmp/ringfort-bench-%d-%d", owner, i);
		snprintf(locks[i], sizeof(locks[i]), "/tmp/ringfort-bench-%d-%d.lock", owner, i);
	}
}

static bool make_publisher(struct topic *topic, const char *from, const char *event)
{
	iox_pub_options_t options;

	iox_pub_options_init(&options);
	options.subscriberTooSlowPolicy = ConsumerTooSlowPolicy_WAIT_FOR_CONSUMER;
	topic->pub = iox_pub_init(&topic->pub_storage, SERVICE, from, event, &options);
	return topic->pub;
}

static bool make_subscriber(
	struct topic *topic, const char *from, const char *event, uint32_t queue)
{
	iox_sub_options_t options;

	iox_sub_options_init(&options);
	options.queueCapacity = queue;
	options.queueFullPolicy = QueueFullPolicy_BLOCK_PRODUCER;
	topic->sub = iox_sub_init(&topic->sub_storage, SERVICE, from, event, &options);
	return topic->sub;
}

static int start(struct end *end)
{
	const char *other = names[end->side == SIDE_PRODUCER ? SIDE_CONSUMER : SIDE_PRODUCER];
	char event[16];
	int r = 0;

	name_things(end);
	if (end->side == SIDE_CONSUMER)
		r = start_roudi(end);
	if (r < 0)
		return r;
	iox_set_loglevel(Iceoryx_LogLevel_Off);
	iox_runtime_init(names[end->side]);
	wait_set = iox_ws_init(&wait_storage);
	for (unsigned i = 0; i < CLASSES; i++) {
		snprintf(event, sizeof(event), "class-%u", i);
		if (!make_publisher(&topics[i], names[end->side], event) ||
			!make_subscriber(&topics[i], other, event, classes[i].queue))
			return -ENOMEM;
	}
	return 0;
}

static void stop(struct end *end)
{
	(void)end;
	for (unsigned i = 0; i < CLASSES; i++) {
		if (topics[i].sub)
			iox_sub_deinit(topics[i].sub);
		if (topics[i].pub)
			iox_pub_deinit(topics[i].pub);
	}
	if (wait_set)
		iox_ws_deinit(wait_set);
}

static int open_topic(struct end *end, const struct job *job)
{
	const struct timespec rest = {.tv_nsec = 5000000};
	struct topic *topic = &topics[class_of(job->size)];
	int tries = TRIES;

	(void)end;
	while (!iox_pub_has_subscribers(topic->pub) ||
		iox_sub_get_subscription_state(topic->sub) != SubscribeState_SUBSCRIBED) {
		if (!tries--)
			return -ETIMEDOUT;
		nanosleep(&rest, NULL);
	}
	if (job->wait != WAIT_SLEEP)
		return 0;
	if (iox_ws_attach_subscriber_state(wait_set, topic->sub, SubscriberState_HAS_DATA, 0,
		    NULL) != WaitSetResult_SUCCESS)
		return -EIO;
	watched = topic->sub;
	return 0;
}

static void close_topic(struct end *end)
{
	(void)end;
	if (watched)
		iox_ws_detach_subscriber_state(wait_set, watched, SubscriberState_HAS_DATA);
	watched = NULL;
}

static int send(struct end *end, const struct job *job, uint64_t first, uint64_t count)
{
	iox_pub_t pub = topics[class_of(job->size)].pub;
	void *chunk;

	(void)end;
	for (uint64_t s = first; s < first + count; s++) {
		if (iox_pub_loan_chunk(pub, &chunk, (uint32_t)job->size) !=
			AllocationResult_SUCCESS)
			return -ENOBUFS;
		payload_fill(chunk, job->size, s);
		iox_pub_publish_chunk(pub, chunk);
	}
	return 0;
}

/* May return when there is none: the wait set also tells of what has been taken already. */
static void await_chunk(const struct job *job)
{
	struct timespec patience = {.tv_sec = 1};
	iox_notification_info_t notification;
	uint64_t missed;

	if (job->wait == WAIT_SLEEP) {
		iox_ws_timed_wait(wait_set, patience, &notification, 1, &missed);
		return;
	}
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#endif
}

static int take(iox_sub_t sub, const struct job *job, const void **ret_chunk)
{
	enum iox_ChunkReceiveResult result;

	while ((result = iox_sub_take_chunk(sub, ret_chunk)) ==
		ChunkReceiveResult_NO_CHUNK_AVAILABLE)
		await_chunk(job);
	return result == ChunkReceiveResult_SUCCESS ? 0 : -EIO;
}

static int receive(struct end *end, const struct job *job, uint64_t count, uint64_t *sum)
{
	iox_sub_t sub = topics[class_of(job->size)].sub;
	const void *chunk;
	int r;

	(void)end;
	while (count--) {
		r = take(sub, job, &chunk);
		if (r < 0)
			return r;
		*sum += payload_sum(chunk, job->size);
		iox_sub_release_chunk(sub, chunk);
	}
	return 0;
}

static const struct transport iceoryx = {
	.name = "iceoryx",
	.about = "iceoryx 2, C binding, the publisher waits for the subscriber; its daemon idles "
		 "on the two processors",
	.tests = BIT(TEST_THROUGHPUT) | BIT(TEST_ROUND_TRIP) | BIT(TEST_FRAMES),
	.modes = BIT(MODE_EACH),
	.waits = BIT(WAIT_SPIN) | BIT(WAIT_SLEEP),
	.size_least = 8,
	.size_most = FRAME,
	.start = start,
	.open = open_topic,
	.send = send,
	.receive = receive,
	.close = close_topic,
	.stop = stop,
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, &iceoryx);
}
