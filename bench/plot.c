/* SPDX-License-Identifier: MIT */
#include "plot.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* A figure: which records, what of them, against what. */
struct figure {
	const char *name, *test, *title, *x, *y;
	uint64_t rate;
	double (*x_of)(const struct record *record);
	double (*y_of)(const struct record *record);
};

static double size_of(const struct record *record)
{
	return (double)record->size;
}

static double n_of(const struct record *record)
{
	return (double)record->n;
}

static double bytes_per_s(const struct record *record)
{
	return record->per_s * (double)record->size / 1e9;
}

static double microseconds(const struct record *record)
{
	return record->p50 / 1e3;
}

static const struct figure figures[] = {
	{"throughput", "throughput", "Throughput, each transport in its best mode",
		"message (bytes)", "GB/s", 0, size_of, bytes_per_s},
	{"latency", "round-trip", "Round trip, median", "message (bytes)", "microseconds", 0,
		size_of, microseconds},
	{"fan-out", "fan-out", "1 to N: what a message costs its publisher", "subscribers",
		"microseconds", 0, n_of, microseconds},
};

static bool is_of(const struct record *record, const struct figure *figure, const char *state)
{
	return !strcmp(record->test, figure->test) && !strcmp(record->state, state) &&
	       record->rate == figure->rate && figure->x_of(record) > 0 &&
	       !isnan(figure->y_of(record));
}

/* Fan-out: a curve for each size; throughput: one for each transport; latency: for each way to wait. */
static bool is_same_curve(const struct record *a, const struct record *b)
{
	if (!strcmp(a->test, "fan-out"))
		return a->size == b->size && !strcmp(a->mode, b->mode);
	return !strcmp(a->transport, b->transport) &&
	       (!strcmp(a->test, "throughput") || !strcmp(a->wait, b->wait));
}

static bool begins_curve(
	const struct records *records, unsigned i, const struct figure *figure, const char *state)
{
	if (!is_of(&records->all[i], figure, state))
		return false;
	for (unsigned k = 0; k < i; k++)
		if (is_of(&records->all[k], figure, state) &&
			is_same_curve(&records->all[k], &records->all[i]))
			return false;
	return true;
}

static void name_curve(const struct record *record, FILE *to)
{
	if (!strcmp(record->test, "fan-out"))
		fprintf(to, "%llu bytes, %s", (unsigned long long)record->size, record->mode);
	else if (!strcmp(record->test, "throughput"))
		fputs(record->transport, to);
	else
		fprintf(to, "%s, %s", record->transport, record->wait);
}

/* In its best mode where there are several. */
static bool is_best(
	const struct records *records, const struct record *one, const struct figure *figure)
{
	for (unsigned i = 0; i < records->n; i++) {
		const struct record *other = &records->all[i];

		if (is_of(other, figure, one->state) && is_same_curve(other, one) &&
			other->size == one->size && other->n == one->n &&
			figure->y_of(other) > figure->y_of(one))
			return false;
	}
	return true;
}

static void write_curve(const struct records *records, const struct record *like,
	const struct figure *figure, FILE *to)
{
	for (unsigned i = 0; i < records->n; i++) {
		const struct record *record = &records->all[i];

		if (is_of(record, figure, like->state) && is_same_curve(record, like) &&
			is_best(records, record, figure))
			fprintf(to, "%.9g %.9g\n", figure->x_of(record), figure->y_of(record));
	}
	fputs("e\n", to);
}

static void write_heading(const struct records *records, const struct figure *figure,
	const char *state, const char *directory, FILE *to)
{
	fprintf(to,
		"set terminal svg size 1100,760 dynamic background 'white' font 'sans,13'\n"
		"set output '%s/%s-%s.svg'\n"
		"set title \"%s (%s)\\n%s\" noenhanced\n"
		"set xlabel '%s'\nset ylabel '%s'\n"
		"set logscale xy\nset grid\nset key outside right noenhanced font 'sans,10'\n",
		directory, figure->name, state, figure->title, state, records->machine, figure->x,
		figure->y);
	if (figure->x_of == size_of)
		fputs("set xtics ('8' 8, '64' 64, '256' 256, '1 Ki' 1024, '4 Ki' 4096, '64 Ki' "
		      "65536, "
		      "'1 Mi' 1048576, '4 Mi' 4194304)\n",
			to);
	else
		fputs("set xtics (1, 4, 16, 64)\n", to);
}

static void write_plot(const struct records *records, const struct figure *figure,
	const char *state, const char *directory, FILE *to)
{
	unsigned curves = 0, i;

	for (i = 0; i < records->n; i++)
		if (begins_curve(records, i, figure, state)) {
			if (!curves++)
				write_heading(records, figure, state, directory, to);
			fprintf(to, "%s '-' with linespoints linewidth %s dashtype %d title '",
				curves == 1 ? "plot" : ",", records->all[i].subject ? "3" : "1",
				records->all[i].limit ? 2 : 1);
			name_curve(&records->all[i], to);
			fputs("'", to);
		}
	fputs("\n", to);
	for (i = 0; i < records->n; i++)
		if (begins_curve(records, i, figure, state))
			write_curve(records, &records->all[i], figure, to);
	if (curves)
		fputs("unset output\nreset\n", to);
}

int plot(const struct records *records, const char *directory)
{
	FILE *gnuplot;
	int status;

	if (strpbrk(directory, "'\\\n"))
		return -EINVAL;
	if (mkdir(directory, 0777) < 0 && errno != EEXIST)
		return -errno;
	gnuplot = popen("gnuplot", "we");
	if (!gnuplot)
		return -errno;
	for (unsigned i = 0; i < sizeof(figures) / sizeof(*figures); i++) {
		write_plot(records, &figures[i], "near", directory, gnuplot);
		write_plot(records, &figures[i], "far", directory, gnuplot);
	}
	status = pclose(gnuplot);
	if (status < 0)
		return -errno;
	return status ? (WEXITSTATUS(status) == 127 ? -ENOENT : -EIO) : 0;
}
