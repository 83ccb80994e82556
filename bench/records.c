/* SPDX-License-Identifier: MIT */
/* Records, and the lines of JSON that they are written as. */
#include "records.h"

#include <math.h>
#include <ringfort/ringfort.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

/* The fields of a line, in their order. */
static const struct field {
	const char *key;
	enum { WORD, COUNT, NUMBER, TRUTH } type;
	size_t at;
} fields[] = {
#define FIELD(key, type, member)                                                                   \
	{                                                                                          \
		key, type, offsetof(struct record, member)                                         \
	}
	FIELD("test", WORD, test),
	FIELD("transport", WORD, transport),
	FIELD("mode", WORD, mode),
	FIELD("wait", WORD, wait),
	FIELD("size_bytes", COUNT, size),
	FIELD("rate", COUNT, rate),
	FIELD("n", COUNT, n),
	FIELD("state", WORD, state),
	FIELD("rounds", COUNT, rounds),
	FIELD("dropped", COUNT, dropped),
	FIELD("msgs_per_s", NUMBER, per_s),
	FIELD("msgs_per_s_min", NUMBER, per_s_min),
	FIELD("msgs_per_s_max", NUMBER, per_s_max),
	FIELD("p50_ns", NUMBER, p50),
	FIELD("p50_ns_min", NUMBER, p50_min),
	FIELD("p50_ns_max", NUMBER, p50_max),
	FIELD("p99_ns", NUMBER, p99),
	FIELD("p999_ns", NUMBER, p999),
	FIELD("max_ns", NUMBER, max),
	FIELD("kicks_per_msg", NUMBER, kicks),
	FIELD("syscalls_per_msg", NUMBER, calls),
	FIELD("wakeups_per_msg", NUMBER, wakeups),
	FIELD("cpu_s", NUMBER, cpu_s),
	FIELD("active", COUNT, active),
	FIELD("fds_per_channel", NUMBER, fds),
	FIELD("peer_fds_per_channel", NUMBER, peer_fds),
	FIELD("account_fds_per_channel", NUMBER, account_fds),
	FIELD("mappings_per_channel", NUMBER, mappings),
	FIELD("region_bytes_per_channel", NUMBER, region_bytes),
	FIELD("private_bytes_per_channel", NUMBER, private_bytes),
	FIELD("kernel_bytes_per_channel", NUMBER, kernel_bytes),
	FIELD("ours", TRUTH, subject),
	FIELD("limit", TRUTH, limit),
};

#define FIELDS (sizeof(fields) / sizeof(*fields))

struct record *records_add(struct records *records)
{
	struct record *record;

	if (records->n == records->room) {
		records->room = records->room ? 2 * records->room : 64;
		records->all = realloc(records->all, records->room * sizeof(*records->all));
		if (!records->all)
			abort();
	}
	record = &records->all[records->n++];
	memset(record, 0, sizeof(*record));
	for (unsigned i = 0; i < FIELDS; i++)
		if (fields[i].type == NUMBER)
			*(double *)(void *)((char *)record + fields[i].at) = (double)NAN;
	return record;
}

static void print_number(double value, FILE *to)
{
	if (isnan(value))
		fputs("null", to);
	else
		fprintf(to, "%.7g", value);
}

static void print_field(const struct record *record, const struct field *field, FILE *to)
{
	const void *at = (const char *)record + field->at;

	fprintf(to, "\"%s\": ", field->key);
	if (field->type == WORD)
		fprintf(to, "\"%s\"", (const char *)at);
	else if (field->type == COUNT)
		fprintf(to, "%llu", (unsigned long long)*(const uint64_t *)at);
	else if (field->type == TRUTH)
		fputs(*(const bool *)at ? "true" : "false", to);
	else
		print_number(*(const double *)at, to);
}

static void print_record(const struct record *record, FILE *to)
{
	for (unsigned i = 0; i < FIELDS; i++) {
		fputs(i ? ", " : "{", to);
		print_field(record, &fields[i], to);
		if (!strcmp(fields[i].key, "msgs_per_s_max")) {
			fputs(", \"bytes_per_s\": ", to);
			print_number(record->per_s * (double)record->size, to);
		}
	}
	fputs("}\n", to);
}

void records_print_json(const struct records *records, FILE *to)
{
	fprintf(to, "{\"test\": \"machine\", \"machine\": \"%s\"}\n", records->machine);
	for (unsigned i = 0; i < records->n; i++)
		print_record(&records->all[i], to);
}

/* Where the value of a key begins; NULL. */
static const char *value_of(const char *line, const char *key)
{
	char quoted[64];
	const char *at;

	snprintf(quoted, sizeof(quoted), "\"%s\": ", key);
	at = strstr(line, quoted);
	return at ? at + strlen(quoted) : NULL;
}

static void read_word(const char *value, char *to, size_t size)
{
	size_t len = *value == '"' ? strcspn(value + 1, "\"\n") : 0;

	snprintf(to, size, "%.*s", (int)(len < size ? len : size - 1), value + 1);
}

static bool read_field(struct record *record, const struct field *field, const char *line)
{
	const char *value = value_of(line, field->key);
	void *at = (char *)record + field->at;

	if (!value)
		return false;
	if (field->type == WORD)
		read_word(value, at, WORD_BYTES);
	else if (field->type == COUNT)
		*(uint64_t *)at = strtoull(value, NULL, 10);
	else if (field->type == TRUTH)
		*(bool *)at = *value == 't';
	else
		*(double *)at = *value == 'n' ? (double)NAN : strtod(value, NULL);
	return true;
}

int records_read_json(struct records *records, FILE *from)
{
	char line[2048];
	const char *value;
	bool known;

	while (fgets(line, sizeof(line), from)) {
		value = value_of(line, "machine");
		if (value) {
			read_word(value, records->machine, sizeof(records->machine));
			continue;
		}
		known = true;
		records_add(records);
		for (unsigned i = 0; i < FIELDS && known; i++)
			known = read_field(&records->all[records->n - 1], &fields[i], line);
		if (!known)
			return -1;
	}
	return records->n ? 0 : -1;
}

/* The processor's name, without what would need quoting. */
static void read_processor(char *to, size_t size)
{
	char line[256];
	FILE *info = fopen("/proc/cpuinfo", "re");
	char *name;

	snprintf(to, size, "unknown processor");
	while (info && fgets(line, sizeof(line), info)) {
		name = strchr(line, ':');
		if (!name || strncmp(line, "model name", 10) != 0)
			continue;
		name[strcspn(name, "\n\"\\")] = '\0';
		snprintf(to, size, "%s", name + 2);
		break;
	}
	if (info)
		fclose(info);
}

void records_describe_machine(struct records *records)
{
	struct utsname system;
	char processor[100];

	uname(&system);
	read_processor(processor, sizeof(processor));
	snprintf(records->machine, sizeof(records->machine),
		"ringfort %s, %s, %ld processors, %s %s", rf_version(), processor,
		sysconf(_SC_NPROCESSORS_ONLN), system.sysname, system.release);
}
