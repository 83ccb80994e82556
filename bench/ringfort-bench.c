/* SPDX-License-Identifier: MIT */
/* ringfort beside every other way for messages between processes, in one run: see ringfort-bench(1). */
#include "channels.h"
#include "fanout.h"
#include "plot.h"
#include "records.h"
#include "rows.h"
#include "scale.h"
#include "settings.h"
#include "switching.h"
#include "transports.h"
#include "workers.h"

#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEC         UINT64_C(1000000000)
#define LEAST_SCALE 0.3

static const struct transport *const builtins[] = {
	&transport_ringfort,
	&transport_ringfort_fence,
	&transport_ringfort_fence_elements,
	&transport_ringfort_slots,
	&transport_ringfort_elements,
	&transport_ringfort_stream,
	&transport_ringfort_socket_bell,
	&transport_model,
	&transport_pipe,
	&transport_vmsplice,
	&transport_unix_stream,
	&transport_unix_seqpacket,
	&transport_mq,
	&transport_udp,
	&transport_udp_gso,
	&transport_tcp,
	&limit_line,
	&limit_eventfd,
	&limit_futex,
	&limit_memcpy,
	&limit_hand_over,
};

#define BUILTINS (sizeof(builtins) / sizeof(*builtins))

static volatile sig_atomic_t interrupted;

static void interrupt(int number)
{
	interrupted = number;
}

static int fail(const char *what, int error)
{
	fprintf(stderr, "ringfort-bench: %s: %s\n", what, strerror(-error));
	return 1;
}

/* What is under way, on a terminal. */

__attribute__((format(printf, 1, 2))) static void show(const char *format, ...)
{
	va_list args;

	if (!isatty(STDERR_FILENO))
		return;
	fputs("\r\033[K", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fflush(stderr);
}

/* Transports */

static void peers_directory(const struct settings *settings, char *path, size_t size)
{
	ssize_t len;
	char *end;

	if (settings->peers) {
		snprintf(path, size, "%s", settings->peers);
		return;
	}
	len = readlink("/proc/self/exe", path, size - 7);
	path[len < 0 ? 0 : len] = '\0';
	end = strrchr(path, '/');
	strcpy(end ? end + 1 : path, "peers");
}

static int is_shown(const struct dirent *entry)
{
	return entry->d_name[0] != '.' && !strchr(entry->d_name, '.');
}

static void add_peers(const struct settings *settings, struct workers *workers)
{
	char directory[200], path[256];
	struct dirent **entries;
	struct stat stat_of;
	int n;

	peers_directory(settings, directory, sizeof(directory));
	n = scandir(directory, &entries, is_shown, alphasort);
	if (n < 0 && settings->peers)
		fprintf(stderr, "ringfort-bench: %s: %s\n", directory, strerror(errno));
	for (int i = 0; i < n; i++) {
		int len = snprintf(path, sizeof(path), "%s/%s", directory, entries[i]->d_name);

		if (len < (int)sizeof(path) && stat(path, &stat_of) == 0 &&
			S_ISREG(stat_of.st_mode) && access(path, X_OK) == 0 &&
			settings_want(settings, entries[i]->d_name))
			workers_add_program(workers, path);
		free(entries[i]);
	}
	if (n >= 0)
		free(entries);
}

static void add_all(const struct settings *settings, struct workers *workers)
{
	show("starting");
	for (unsigned i = 0; i < BUILTINS && !interrupted; i++)
		if (settings_want(settings, builtins[i]->name))
			workers_add_builtin(workers, builtins[i]);
	add_peers(settings, workers);
	show("%s", "");
	for (unsigned i = 0; i < workers->n; i++)
		if (workers->all[i].hello.error < 0)
			fprintf(stderr, "ringfort-bench: %s cannot run here: %s\n",
				workers->all[i].hello.name,
				workers->all[i].hello.why[0]
					? workers->all[i].hello.why
					: strerror(-workers->all[i].hello.error));
}

static void list(const struct workers *workers)
{
	for (unsigned i = 0; i < workers->n; i++)
		printf("%-22s %s%s\n", workers->all[i].hello.name,
			workers->all[i].hello.error < 0 ? "(cannot run here) " : "",
			workers->all[i].hello.about);
}

/* Rounds */

static void run_round(const struct settings *settings, struct workers *workers, struct rows *rows,
	unsigned round, double scale)
{
	uint64_t begun = pinned_now();
	char text[128];

	for (unsigned i = 0; i < rows->n && !interrupted; i++) {
		rows_describe(&rows->all[i], text, sizeof(text));
		show("round %u of %u, %u %%, %llu s: %s", round + 1, settings->rounds,
			100 * i / rows->n, (unsigned long long)((pinned_now() - begun) / SEC),
			text);
		rows_sample(&rows->all[i], workers, scale);
	}
}

/* Where the first round took more than its share of the time, the samples of the others are shorter, as
 * far as that makes sense; what does not fit then is left out. */
static void run_rounds(
	const struct settings *settings, struct workers *workers, struct rows *rows, uint64_t until)
{
	uint64_t longest = 0;
	double scale = 1;

	for (unsigned round = 0; round < settings->rounds && !interrupted; round++) {
		uint64_t begun = pinned_now(), took;

		if (begun + longest > until)
			break;
		run_round(settings, workers, rows, round, scale);
		took = pinned_now() - begun;
		longest = took > longest ? took : longest;
		if (round == 0 && settings->rounds > 1 && begun + took < until)
			scale = (double)(until - begun - took) / (double)took /
				(settings->rounds - 1);
		scale = scale > 1 ? 1 : scale < LEAST_SCALE ? LEAST_SCALE : scale;
		if (round == 0 && scale < 1)
			longest = (uint64_t)((double)took * scale);
	}
	show("%s", "");
}

/* Once for each reason of each transport. */
static void tell_failures(const struct rows *rows)
{
	char text[128];

	for (unsigned i = 0; i < rows->n; i++) {
		const struct row *row = &rows->all[i];
		bool told = !row->why[0];

		for (unsigned k = 0; k < i && !told; k++)
			told = rows->all[k].worker == row->worker &&
			       !strcmp(rows->all[k].why, row->why);
		if (told)
			continue;
		rows_describe(row, text, sizeof(text));
		fprintf(stderr, "ringfort-bench: not measured: %s: %s\n", text, row->why);
	}
}

static int save(const struct settings *settings, const struct records *records)
{
	FILE *to;

	if (!settings->output)
		return 0;
	to = fopen(settings->output, "we");
	if (!to)
		return -errno;
	records_print_json(records, to);
	return fclose(to) ? -errno : 0;
}

static int print(const struct settings *settings, const struct records *records)
{
	int r = save(settings, records);

	if (r < 0)
		return fail(settings->output, r);
	if (settings->json)
		records_print_json(records, stdout);
	else if (settings->details)
		records_print_details(records, stdout);
	else
		records_print(records, stdout);
	return fflush(stdout) || ferror(stdout) ? fail("standard output", -errno) : 0;
}

/* The tests of channels come first: they take what they take, and the rounds the rest of the time. */
static void measure(
	const struct settings *settings, struct workers *workers, struct records *records)
{
	uint64_t until = pinned_now() + settings->limit_s * SEC;
	bool ours = settings_want(settings, "ringfort");
	struct rows rows;

	if (ours && settings->tests & TEST_BIT_HANDSHAKES && !interrupted) {
		show("handshakes");
		aside_run(channels_handshakes, settings, workers->dir, records);
	}
	if (ours && settings->tests & TEST_BIT_IDLE && !interrupted) {
		show("idle channels");
		aside_run(channels_idle, settings, workers->dir, records);
	}
	if (ours && settings->tests & TEST_BIT_SWITCHING && !interrupted) {
		show("switching");
		aside_run(switching_test, settings, workers->dir, records);
	}
	if (settings->tests & TEST_BIT_SCALE && !interrupted) {
		show("many channels");
		if (ours)
			aside_run(scale_eventfd, settings, workers->dir, records);
		if (settings_want(settings, transport_ringfort_socket_bell.name) && !interrupted)
			aside_run(scale_socket, settings, workers->dir, records);
	}
	if (ours && settings->tests & TEST_BIT_FAN_OUT && !interrupted) {
		show("1 -> N");
		aside_run(fanout_test, settings, workers->dir, records);
	}
	rows_make(&rows, settings, workers);
	run_rounds(settings, workers, &rows, until);
	tell_failures(&rows);
	rows_record(&rows, workers, settings->smoke ? 1 : ROUNDS_LEAST, records);
	rows_free(&rows);
}

static int run(const struct settings *settings)
{
	static struct workers workers;
	struct records records = {.n = 0};
	int r = workers_init(&workers, settings->cpus);

	if (r < 0)
		return fail(workers.dir, r);
	add_all(settings, &workers);
	if (settings->list) {
		list(&workers);
	} else {
		records_describe_machine(&records);
		measure(settings, &workers, &records);
	}
	workers_end(&workers);
	r = settings->list || interrupted ? 0 : print(settings, &records);
	free(records.all);
	return interrupted ? 128 + interrupted : r;
}

static int pin_here(const struct settings *settings)
{
	for (int i = 0; i < 2; i++) {
		cpu_set_t before;
		int r = sched_getaffinity(0, sizeof(before), &before) < 0 ? -errno : 0;

		if (r >= 0)
			r = pinned_to(settings->cpus[i]);
		if (r < 0)
			return r;
		sched_setaffinity(0, sizeof(before), &before);
	}
	return 0;
}

static int read_saved(const char *path, struct records *records)
{
	FILE *from = fopen(path, "re");
	int r;

	if (!from)
		return fail(path, -errno);
	r = records_read_json(records, from);
	fclose(from);
	if (r < 0)
		fprintf(stderr, "ringfort-bench: %s: not what ringfort-bench wrote\n", path);
	return r < 0;
}

static int print_saved(const struct records *records)
{
	records_print(records, stdout);
	return fflush(stdout) || ferror(stdout) ? fail("standard output", -errno) : 0;
}

static int plot_saved(struct records *records, const char *directory)
{
	int r = plot(records, directory);

	return r < 0 ? fail(directory, r) : 0;
}

static int show_saved(int argc, char **argv)
{
	struct records records = {.n = 0};
	bool plotting = !strcmp(argv[1], "plot");
	int status;

	if (argc != (plotting ? 4 : 3))
		settings_wrong("%s wants %s", argv[1], plotting ? "FILE and DIRECTORY" : "FILE");
	status = read_saved(argv[2], &records);
	if (!status)
		status = plotting ? plot_saved(&records, argv[3]) : print_saved(&records);
	free(records.all);
	return status;
}

int main(int argc, char **argv)
{
	struct sigaction action = {.sa_handler = interrupt};
	static struct settings settings;
	int r;

	if (argc > 1 && (!strcmp(argv[1], "plot") || !strcmp(argv[1], "table")))
		return show_saved(argc, argv);
	settings_read(&settings, argc, argv);
	r = pin_here(&settings);
	if (r < 0)
		return fail("--cpus", r);
	signal(SIGPIPE, SIG_IGN);
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	return run(&settings);
}
