/* SPDX-License-Identifier: MIT */
#include "figures.h"

#include <stdio.h>
#include <stdlib.h>

static const char *const mode_names[] = {"each", "span", "copied"};
static const char *const placement_names[] = {"near", "far"};
static const char *const way_names[] = {"ringfort", "slots", "unix-stream"};

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

void figures_sort(struct figure *figures, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		for (int at = 0; at < PLACEMENTS; at++)
			qsort(figures[i].samples[at].per_s, figures[i].samples[at].n,
				sizeof(double), compare);
}

static bool is_enough(const struct samples *samples)
{
	return samples->n >= ROUNDS_LEAST;
}

static double median(const struct samples *samples)
{
	unsigned n = samples->n;

	return (samples->per_s[(n - 1) / 2] + samples->per_s[n / 2]) / 2;
}

/* The figure of another way to compare with: a copied message is one per write(2), too. */
static const struct samples *rival(const struct figure *figures, unsigned n,
	const struct figure *of, enum way way, enum placement at)
{
	enum mode mode = of->mode == COPIED && way == SOCKET ? EACH : of->mode;

	for (unsigned i = 0; i < n; i++)
		if (figures[i].way == way && figures[i].mode == mode && figures[i].size == of->size)
			return &figures[i].samples[at];
	return NULL;
}

static void print_ratio(const struct samples *ours, const struct samples *theirs, int digits)
{
	char text[16] = "-";

	if (theirs && theirs != ours && is_enough(ours) && is_enough(theirs))
		snprintf(text, sizeof(text), "%.*f", digits, median(ours) / median(theirs));
	printf(" %8s", text);
}

static void print_row(
	const struct figure *figures, unsigned n, const struct figure *row, enum placement at)
{
	const struct samples *samples = &row->samples[at];

	printf("%-4s %8zu  %-11s %-6s %6u", placement_names[at], row->size, way_names[row->way],
		mode_names[row->mode], samples->n);
	if (is_enough(samples))
		printf(" %13.0f %13.0f %13.0f %10.3f", median(samples), samples->per_s[0],
			samples->per_s[samples->n - 1], median(samples) * (double)row->size / 1e9);
	else
		printf(" %13s %13s %13s %10s", "-", "-", "-", "-");
	print_ratio(samples, rival(figures, n, row, SOCKET, at), 1);
	print_ratio(samples, row->way == SLOTS ? rival(figures, n, row, RING, at) : NULL, 2);
	puts("");
}

static bool is_met(const struct figure *figures, unsigned n, enum placement at)
{
	for (unsigned i = 0; i < n; i++)
		if (figures[i].samples[at].n)
			return true;
	return false;
}

void figures_print(const struct figure *figures, unsigned n)
{
	printf("%-4s %8s  %-11s %-6s %6s %13s %13s %13s %10s %8s %8s\n", "at", "bytes", "transport",
		"mode", "rounds", "messages/s", "min", "max", "GB/s", "x socket", "x ring");
	for (int at = 0; at < PLACEMENTS; at++)
		for (unsigned i = 0; i < n && is_met(figures, n, (enum placement)at); i++)
			print_row(figures, n, &figures[i], (enum placement)at);
}

static void print_number(const char *key, double value, bool known, const char *behind)
{
	if (known)
		printf("\"%s\": %.0f%s", key, value, behind);
	else
		printf("\"%s\": null%s", key, behind);
}

static void print_object(const struct figure *row, enum placement at)
{
	const struct samples *samples = &row->samples[at];
	bool known = is_enough(samples);
	double per_s = known ? median(samples) : 0;

	printf("{\"test\": \"throughput\", \"transport\": \"%s\", \"mode\": \"%s\", ",
		way_names[row->way], mode_names[row->mode]);
	printf("\"size_bytes\": %zu, \"state\": \"%s\", \"rounds\": %u, ", row->size,
		placement_names[at], samples->n);
	print_number("msgs_per_s", per_s, known, ", ");
	print_number("bytes_per_s", per_s * (double)row->size, known, "}\n");
}

void figures_print_json(const struct figure *figures, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		for (int at = 0; at < PLACEMENTS; at++)
			print_object(&figures[i], (enum placement)at);
}
