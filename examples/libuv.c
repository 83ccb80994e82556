/* SPDX-License-Identifier: MIT */
/* Receives records in the loop of libuv: armed before it sleeps, processed after. */
#include <errno.h>
#include <limits.h>
#include <ringfort/ringfort.h>
#include <stdio.h>
#include <uv.h>

static struct {
	struct rf_channel *channel;
	uv_prepare_t prepare; /* before the loop sleeps */
	uv_check_t check;     /* after */
	uv_idle_t busy;       /* while it is active the loop does not sleep */
	uv_poll_t poll;       /* our descriptor; check does the work */
	uv_timer_t timer;
	unsigned long records, idle;
	int woken;  /* by the descriptor */
	int result; /* why it ended: 0, the end of the stream; or an error */
} app;

static void on_poll(uv_poll_t *poll, int status, int events)
{
	(void)poll;
	app.woken = status == 0 && events & UV_READABLE;
}

static void on_timer(uv_timer_t *timer)
{
	(void)timer; /* it has woken the loop, that is all */
}

static void on_busy(uv_idle_t *busy)
{
	(void)busy;
}

static void close_handle(uv_handle_t *handle, void *nothing)
{
	(void)nothing;
	uv_close(handle, NULL);
}

static void finish(int result)
{
	app.result = result;
	uv_walk(app.prepare.loop, close_handle, NULL);
}

/* Milliseconds until then, rounded up; uv_hrtime() is CLOCK_MONOTONIC. */
static uint64_t wait_ms(uint64_t until_ns)
{
	uint64_t now_ns = uv_hrtime();

	return until_ns > now_ns ? (until_ns - now_ns) / 1000000 + 1 : 0;
}

static void on_prepare(uv_prepare_t *prepare)
{
	uint64_t until_ns = RF_FOREVER;

	(void)prepare;
	if (rf_channel_arm(app.channel, RF_DATA, 0, &until_ns) != 0)
		uv_idle_start(&app.busy, on_busy); /* work, or an error that check will meet */
	else if (until_ns != RF_FOREVER)
		uv_timer_start(&app.timer, on_timer, wait_ms(until_ns), 0);
}

/* Some records: not more at a time, so that other handles have their turn. */
static void on_check(uv_check_t *check)
{
	struct rf_rx *rx = rf_channel_rx(app.channel);
	struct rf_message messages[32];
	int woken = app.woken, n;

	(void)check;
	app.woken = 0;
	uv_idle_stop(&app.busy);
	uv_timer_stop(&app.timer);
	rf_channel_process(app.channel); /* an error shows in the next line: records may be left */
	n = rf_rx_borrow(rx, 0, messages, 32);
	if (n > 0) {
		app.records += (unsigned)n;
		rf_rx_release(rx, messages, (unsigned)n);
	} else if (n == -EAGAIN) {
		app.idle += (unsigned)woken;
	} else {
		finish(n);
	}
}

static void start(uv_loop_t *loop)
{
	uv_prepare_init(loop, &app.prepare);
	uv_check_init(loop, &app.check);
	uv_idle_init(loop, &app.busy);
	uv_timer_init(loop, &app.timer);
	uv_poll_init(loop, &app.poll, rf_channel_fd(app.channel));
	uv_prepare_start(&app.prepare, on_prepare);
	uv_check_start(&app.check, on_check);
	uv_poll_start(&app.poll, UV_READABLE, on_poll);
}

int main(int argc, char **argv)
{
	struct rf_options options = {.size = sizeof(options), .direction = RF_RECEIVE};

	if (argc != 2 || rf_connect(argv[1], &options, RF_FOREVER, &app.channel)) {
		fprintf(stderr, "libuv: %s\n", argc != 2 ? "usage: libuv ADDRESS" : rf_reason());
		return argc != 2 ? 2 : 1;
	}
	start(uv_default_loop());
	uv_run(uv_default_loop(), UV_RUN_DEFAULT);
	if (app.result < 0)
		fprintf(stderr, "libuv: %s\n", rf_channel_reason(app.channel));
	printf("%lu records, woken %lu times for nothing\n", app.records, app.idle);
	rf_channel_close(app.channel);
	return app.result < 0;
}
