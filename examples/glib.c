/* SPDX-License-Identifier: MIT */
/* Receives records in the main loop of GLib, as a source of its own kind. */
#include <errno.h>
#include <glib.h>
#include <ringfort/ringfort.h>
#include <stdio.h>

struct source {
	GSource base;
	struct rf_channel *channel;
	gpointer tag;   /* of the descriptor in the loop */
	gboolean slept; /* there was nothing to do when the loop went to sleep */
	unsigned long records, idle;
	int result; /* why it ended: 0, the end of the stream; or an error */
};

/* Before the loop sleeps. The clock of both is CLOCK_MONOTONIC; the loop's has microseconds. */
static gboolean prepare(GSource *base, gint *timeout)
{
	struct source *s = (struct source *)base;
	uint64_t until_ns = RF_FOREVER;
	int r = rf_channel_arm(s->channel, RF_DATA, 0, &until_ns);

	s->slept = r == 0;
	*timeout = -1;
	g_source_set_ready_time(base, until_ns == RF_FOREVER ? -1 : (gint64)(until_ns / 1000 + 1));
	return r != 0;
}

/* After it has slept, whatever woke it. An error shows in dispatch(): records may be left. */
static gboolean check(GSource *base)
{
	struct source *s = (struct source *)base;

	if (!g_source_query_unix_fd(base, s->tag) && s->slept)
		return rf_channel_process(s->channel) < 0;
	rf_channel_process(s->channel);
	return TRUE;
}

/* Some records: not more at a time, so that other sources have their turn. */
static gboolean dispatch(GSource *base, GSourceFunc at_end, gpointer data)
{
	struct source *s = (struct source *)base;
	struct rf_rx *rx = rf_channel_rx(s->channel);
	struct rf_message messages[32];
	int n = rf_rx_borrow(rx, 0, messages, 32);

	if (n == -EAGAIN) {
		s->idle += s->slept && g_source_query_unix_fd(base, s->tag);
		return G_SOURCE_CONTINUE;
	}
	if (n <= 0) {
		s->result = n;
		return at_end(data);
	}
	s->records += (unsigned)n;
	rf_rx_release(rx, messages, (unsigned)n);
	return G_SOURCE_CONTINUE;
}

static gboolean quit(gpointer loop)
{
	g_main_loop_quit(loop);
	return G_SOURCE_REMOVE;
}

static struct source *source_new(struct rf_channel *channel)
{
	static GSourceFuncs functions = {.prepare = prepare, .check = check, .dispatch = dispatch};
	struct source *s = (struct source *)g_source_new(&functions, sizeof(*s));

	s->channel = channel;
	s->tag = g_source_add_unix_fd(&s->base, rf_channel_fd(channel), G_IO_IN);
	return s;
}

int main(int argc, char **argv)
{
	struct rf_options options;
	struct rf_channel *channel;
	struct source *source;
	GMainLoop *loop;
	int r;

	if (argc != 2) {
		fprintf(stderr, "usage: glib ADDRESS\n");
		return 2;
	}
	rf_options_init(&options);
	options.direction = RF_RECEIVE;
	if (rf_connect(argv[1], &options, RF_FOREVER, &channel) || rf_channel_fd(channel) < 0) {
		fprintf(stderr, "glib: %s\n", rf_reason());
		return 1;
	}
	loop = g_main_loop_new(NULL, FALSE);
	source = source_new(channel);
	g_source_set_callback(&source->base, quit, loop, NULL);
	g_source_attach(&source->base, NULL);
	g_main_loop_run(loop);
	r = source->result;
	if (r < 0)
		fprintf(stderr, "glib: %s\n", rf_channel_reason(channel));
	printf("%lu records, woken %lu times for nothing\n", source->records, source->idle);
	g_source_destroy(&source->base);
	g_source_unref(&source->base);
	g_main_loop_unref(loop);
	rf_channel_close(channel);
	return r < 0;
}
