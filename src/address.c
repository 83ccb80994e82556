/* SPDX-License-Identifier: MIT */
/* Addresses. What they mean must not depend on what exists, so nothing is looked up here but what a
 * service manager has put into the environment. */
#include "address.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LISTEN_FDS_FIRST 3 /* sd_listen_fds(3) */

/* Where text goes on behind prefix, or NULL. */
static const char *after(const char *text, const char *prefix)
{
	size_t len = strlen(prefix);

	return strncmp(text, prefix, len) ? NULL : text + len;
}

/* A decimal number up to most, and nothing else; -1: it is none; -ERANGE: it is larger. */
static long long read_number(const char *digits, long long most)
{
	long long number = 0;
	const char *at;

	for (at = digits; *at >= '0' && *at <= '9' && number <= most; at++)
		number = number * 10 + (*at - '0');
	if (number > most)
		return -ERANGE;
	return at == digits || *at ? -1 : number;
}

static int use_fd(int fd, struct rf__address *ret_address)
{
	*ret_address = (struct rf__address){.kind = RF__ADDRESS_FD, .fd = fd};
	return 0;
}

static int parse_fd(const char *digits, struct rf__address *ret_address, struct rf__reason *reason)
{
	long long number = read_number(digits, INT_MAX);

	if (number == -ERANGE)
		return rf__fail(
			reason, -EINVAL, "address: no descriptor has the number %s", digits);
	if (number < 0)
		return rf__fail(reason, -EINVAL,
			"address: \"fd:\" needs a decimal number or \"listen\", not \"%s\"",
			digits);
	return use_fd((int)number, ret_address);
}

/* How many descriptors were handed over to this very process. */
static int count_handed_over(void)
{
	const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");
	long long n;

	if (!pid || !fds || read_number(pid, INT_MAX) != getpid())
		return 0;
	n = read_number(fds, INT_MAX - LISTEN_FDS_FIRST);
	return n < 0 ? 0 : (int)n;
}

/* The i-th word of a list between colons, with its length; NULL: the list is shorter. */
static const char *find_name(const char *list, int i, size_t *ret_len)
{
	for (; list && i; i--) {
		list = strchr(list, ':');
		list = list ? list + 1 : NULL;
	}
	if (list)
		*ret_len = strcspn(list, ":");
	return list;
}

static bool has_name(int i, const char *wanted)
{
	size_t len;
	const char *name = find_name(getenv("LISTEN_FDNAMES"), i, &len);

	return name && len == strlen(wanted) && !memcmp(name, wanted, len);
}

/* wanted NULL: any. */
static int parse_handed_over(
	const char *wanted, struct rf__address *ret_address, struct rf__reason *reason)
{
	int n = count_handed_over(), i, found = -1;

	if (!n)
		return rf__fail(reason, -ENOENT,
			"address: no socket was handed over to this process (LISTEN_PID, "
			"LISTEN_FDS)");
	for (i = 0; i < n; i++) {
		if (wanted && !has_name(i, wanted))
			continue;
		if (found >= 0)
			return rf__fail(reason, -EINVAL,
				"address: more than one socket%s%s was handed over",
				wanted ? " of the name " : "", wanted ? wanted : "");
		found = LISTEN_FDS_FIRST + i;
	}
	if (found < 0)
		return rf__fail(reason, -ENOENT,
			"address: no socket of the name %s was handed over (LISTEN_FDNAMES)",
			wanted);
	return use_fd(found, ret_address);
}

static int parse_descriptor(
	const char *rest, struct rf__address *ret_address, struct rf__reason *reason)
{
	const char *name = after(rest, "listen:");

	if (name && *name)
		return parse_handed_over(name, ret_address, reason);
	if (!strcmp(rest, "listen"))
		return parse_handed_over(NULL, ret_address, reason);
	return parse_fd(rest, ret_address, reason);
}

static int parse_path(const char *path, struct rf__address *ret_address, struct rf__reason *reason)
{
	struct rf__address address = {.kind = RF__ADDRESS_PATH, .fd = -1};
	size_t size = strlen(path) + 1;

	if (!*path)
		return rf__fail(reason, -EINVAL, "address: the path is empty");
	if (size > sizeof(address.name.sun_path))
		return rf__fail(reason, -ENAMETOOLONG,
			"address: the path has %zu bytes, %zu are possible: %s", size - 1,
			sizeof(address.name.sun_path) - 1, path);
	address.name.sun_family = AF_UNIX;
	memcpy(address.name.sun_path, path, size);
	memcpy(address.text, path, size);
	address.name_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size);
	*ret_address = address;
	return 0;
}

/* Without a name the kernel would choose one. */
static int parse_abstract(
	const char *text, struct rf__address *ret_address, struct rf__reason *reason)
{
	struct rf__address address = {.kind = RF__ADDRESS_ABSTRACT, .fd = -1};
	size_t len = strlen(text);

	if (len == 1)
		return rf__fail(reason, -EINVAL, "address: the abstract name is empty");
	if (len > sizeof(address.name.sun_path))
		return rf__fail(reason, -ENAMETOOLONG,
			"address: the abstract name has %zu bytes, %zu are possible: %s", len - 1,
			sizeof(address.name.sun_path) - 1, text);
	address.name.sun_family = AF_UNIX;
	memcpy(address.name.sun_path + 1, text + 1, len - 1);
	memcpy(address.text, text, len);
	address.name_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
	*ret_address = address;
	return 0;
}

int rf__address_parse(const char *text, struct rf__address *ret_address, struct rf__reason *reason)
{
	const char *rest;

	if (!text || !*text)
		return rf__fail(reason, -EINVAL, "address: there is none");
	rest = after(text, "fd:");
	if (rest)
		return parse_descriptor(rest, ret_address, reason);
	rest = after(text, "unix:");
	if (rest)
		return parse_path(rest, ret_address, reason);
	if (*text == '@')
		return parse_abstract(text, ret_address, reason);
	return parse_path(text, ret_address, reason);
}
