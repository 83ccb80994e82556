/* SPDX-License-Identifier: MIT */
/* GStreamer: appsrc ! shmsink to shmsrc ! appsink. Frames are made in the memory of shmsink, which it
 * offers for that, and read where shmsrc has mapped it. */
#include "anywhere.h"
#include "payload.h"
#include "transport.h"

#include <errno.h>
#include <gst/app/gstappsink.h>
#include <gst/app/gstappsrc.h>
#include <gst/gst.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE  (5 * GST_SECOND)
#define REST_NS   2000000
#define TRIES     (5 * 1000000000ll / REST_NS)
#define FRAMES    4 /* that fit into the shared memory */
#define NAMES     16
#define SIZE_MOST (16 << 20)

static GstElement *pipeline, *ours, *theirs; /* appsrc or appsink; shmsink or shmsrc */
static GstAllocator *allocator;
static GstAllocationParams parameters;
static char path[160];
static int connected, named;

/* Who has made the memory, for the consumer. */
static pid_t *shared_pid(const struct end *end)
{
	return (void *)end->shared;
}

/* Two plugins only, and no registry in the user's home. */
static int load(struct end *end, const char *plugin)
{
	char file[sizeof(GST_PLUGINS) + 32];
	GError *error = NULL;
	GstPlugin *loaded;

	snprintf(file, sizeof(file), GST_PLUGINS "/libgst%s.so", plugin);
	loaded = gst_plugin_load_file(file, &error);
	if (loaded) {
		gst_object_unref(loaded);
		return 0;
	}
	snprintf(end->why, sizeof(end->why), "%s", error->message);
	g_clear_error(&error);
	return -ENOTSUP;
}

/* What the elements criticise in each other when they end is not for our users. */
static void say_nothing(
	const gchar *domain, GLogLevelFlags level, const gchar *message, gpointer data)
{
	(void)domain, (void)level, (void)message, (void)data;
}

static int start(struct end *end)
{
	char registry[sizeof(path)];
	GError *error = NULL;
	int r;

	snprintf(registry, sizeof(registry), "%s/gst-registry-%d", end->dir, (int)end->side);
	setenv("GST_REGISTRY", registry, 1);
	setenv("GST_REGISTRY_UPDATE", "no", 1);
	setenv("GST_PLUGIN_SYSTEM_PATH_1_0", "", 1);
	g_log_set_default_handler(say_nothing, NULL);
	if (!gst_init_check(NULL, NULL, &error)) {
		snprintf(end->why, sizeof(end->why), "%s", error->message);
		g_clear_error(&error);
		return -ENOTSUP;
	}
	unlink(registry);
	r = load(end, "app");
	return r < 0 ? r : load(end, "shm");
}

static void rest(void)
{
	const struct timespec time = {.tv_nsec = REST_NS};

	nanosleep(&time, NULL);
}

static void on_connected(GstElement *sink, gint fd, gpointer user)
{
	(void)sink;
	(void)fd;
	(void)user;
	__atomic_store_n(&connected, 1, __ATOMIC_RELEASE);
}

static int make_pipeline(const char *first, const char *second)
{
	GstElement *from = gst_element_factory_make(first, NULL);
	GstElement *to = gst_element_factory_make(second, NULL);

	pipeline = gst_pipeline_new(NULL);
	if (!from || !to)
		return -ENOTSUP;
	gst_bin_add_many(GST_BIN(pipeline), from, to, NULL);
	ours = strncmp(first, "app", 3) ? to : from;
	theirs = ours == from ? to : from;
	return gst_element_link(from, to) ? 0 : -EIO;
}

static int play(void)
{
	if (gst_element_set_state(pipeline, GST_STATE_PLAYING) == GST_STATE_CHANGE_FAILURE)
		return -EIO;
	return 0;
}

/* What shmsink says to who asks where to put frames. */
static int find_memory(GstCaps *caps)
{
	GstPad *pad = gst_element_get_static_pad(theirs, "sink");
	GstQuery *query = gst_query_new_allocation(caps, FALSE);
	int r = -EIO;

	if (gst_pad_query(pad, query) && gst_query_get_n_allocation_params(query)) {
		gst_query_parse_nth_allocation_param(query, 0, &allocator, &parameters);
		r = allocator ? 0 : -EIO;
	}
	gst_query_unref(query);
	gst_object_unref(pad);
	return r;
}

/* Both have mapped it when the first frame has come: its name is not needed any more, and nobody who
 * is killed leaves it behind. */
static void forget_names(pid_t sender)
{
	char name[64];

	for (int i = 0; i < NAMES; i++) {
		snprintf(name, sizeof(name), "/shmpipe.%5d.%5d", (int)sender, i);
		shm_unlink(name);
	}
}

static int open_producer(const struct job *job)
{
	GstCaps *caps = gst_caps_new_empty_simple("application/x-ringfort-bench");
	int tries, r = make_pipeline("appsrc", "shmsink");

	if (r == 0) {
		g_object_set(ours, "caps", caps, "format", GST_FORMAT_TIME, "block", TRUE,
			"max-bytes", (guint64)job->size, NULL);
		g_object_set(theirs, "socket-path", path, "shm-size",
			(guint)(FRAMES * (job->size + 4096)), "wait-for-connection", TRUE, "sync",
			FALSE, NULL);
		g_signal_connect(theirs, "client-connected", G_CALLBACK(on_connected), NULL);
		r = play();
	}
	for (tries = TRIES; r == 0 && !__atomic_load_n(&connected, __ATOMIC_ACQUIRE); rest())
		r = tries-- ? 0 : -ETIMEDOUT;
	if (r == 0)
		r = find_memory(caps);
	gst_caps_unref(caps);
	return r;
}

static int open_consumer(void)
{
	int tries, r = make_pipeline("shmsrc", "appsink");

	for (tries = TRIES; r == 0 && access(path, F_OK) < 0; rest())
		r = tries-- ? 0 : -ETIMEDOUT;
	if (r < 0)
		return r;
	g_object_set(theirs, "socket-path", path, "is-live", TRUE, NULL);
	g_object_set(ours, "sync", FALSE, NULL);
	return play();
}

static int open_pipeline(struct end *end, const struct job *job)
{
	static unsigned samples;
	cpu_set_t before;
	int r;

	snprintf(path, sizeof(path), "%s/frames-%u", end->dir, samples++);
	connected = 0;
	named = 1;
	if (end->side == SIDE_PRODUCER)
		*shared_pid(end) = getpid();
	anywhere_begin(&before);
	r = end->side == SIDE_PRODUCER ? open_producer(job) : open_consumer();
	anywhere_end(&before);
	return r;
}

static void close_pipeline(struct end *end)
{
	(void)end;
	if (pipeline) {
		gst_element_set_state(pipeline, GST_STATE_NULL);
		gst_object_unref(pipeline);
	}
	if (allocator)
		gst_object_unref(allocator);
	pipeline = NULL;
	allocator = NULL;
}

static int send_one(size_t size, uint64_t number)
{
	GstBuffer *buffer = gst_buffer_new_allocate(allocator, size, &parameters);
	GstMapInfo map;

	if (!buffer || !gst_buffer_map(buffer, &map, GST_MAP_WRITE))
		return -ENOBUFS;
	payload_fill(map.data, size, number);
	gst_buffer_unmap(buffer, &map);
	return gst_app_src_push_buffer(GST_APP_SRC(ours), buffer) == GST_FLOW_OK ? 0 : -EPIPE;
}

static int send(struct end *end, const struct job *job, uint64_t first, uint64_t count)
{
	int r = 0;

	(void)end;
	for (uint64_t s = first; s < first + count && r == 0; s++)
		r = send_one(job->size, s);
	return r;
}

static int receive_one(size_t size, uint64_t *sum)
{
	GstSample *sample = gst_app_sink_try_pull_sample(GST_APP_SINK(ours), PATIENCE);
	GstBuffer *buffer = sample ? gst_sample_get_buffer(sample) : NULL;
	GstMapInfo map;
	int r = -EBADMSG;

	if (!sample)
		return -ETIMEDOUT;
	if (buffer && gst_buffer_map(buffer, &map, GST_MAP_READ)) {
		if (map.size == size) {
			*sum += payload_sum(map.data, size);
			r = 0;
		}
		gst_buffer_unmap(buffer, &map);
	}
	gst_sample_unref(sample);
	return r;
}

static int receive(struct end *end, const struct job *job, uint64_t count, uint64_t *sum)
{
	int r = 0;

	for (; count-- && r == 0; named = 0) {
		r = receive_one(job->size, sum);
		if (named)
			forget_names(*shared_pid(end));
	}
	return r;
}

static const struct transport gst_shm = {
	.name = "gst-shm",
	.about = "GStreamer: appsrc ! shmsink to shmsrc ! appsink; its threads share the "
		 "processors",
	.tests = BIT(TEST_FRAMES),
	.modes = BIT(MODE_EACH),
	.waits = BIT(WAIT_SLEEP),
	.size_least = 4096,
	.size_most = SIZE_MOST,
	.start = start,
	.open = open_pipeline,
	.send = send,
	.receive = receive,
	.close = close_pipeline,
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, &gst_shm);
}
