/* SPDX-License-Identifier: MIT */
/* Addresses. What they mean must not depend on what exists, so nothing is looked up here. */
#include "address.h"

#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <string.h>

#define ADDRESS_INIT ((struct rf__address){.kind = RF__ADDRESS_PATH, .fd = -1})

/* Where text goes on behind prefix, or NULL. */
static const char *after(const char *text, const char *prefix)
{
	size_t len = strlen(prefix);

	return strncmp(text, prefix, len) ? NULL : text + len;
}

static int parse_fd(const char *digits, struct rf__address *ret_address, struct rf__reason *reason)
{
	struct rf__address address = ADDRESS_INIT;
	long long number = 0;
	const char *at;

	for (at = digits; *at >= '0' && *at <= '9' && number <= INT_MAX; at++)
		number = number * 10 + (*at - '0');
	if (number > INT_MAX)
		return rf__fail(
			reason, -EINVAL, "address: no descriptor has the number %s", digits);
	if (at == digits || *at)
		return rf__fail(reason, -EINVAL,
			"address: \"fd:\" needs a decimal number, not \"%s\"", digits);
	address.kind = RF__ADDRESS_FD;
	address.fd = (int)number;
	*ret_address = address;
	return 0;
}

static int parse_path(const char *path, struct rf__address *ret_address, struct rf__reason *reason)
{
	struct rf__address address = ADDRESS_INIT;
	size_t size = strlen(path) + 1;

	if (!*path)
		return rf__fail(reason, -EINVAL, "address: the path is empty");
	if (size > sizeof(address.name.sun_path))
		return rf__fail(reason, -ENAMETOOLONG,
			"address: the path has %zu bytes, %zu are possible: %s", size - 1,
			sizeof(address.name.sun_path) - 1, path);
	address.name.sun_family = AF_UNIX;
	memcpy(address.name.sun_path, path, size);
	address.name_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size);
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
		return parse_fd(rest, ret_address, reason);
	rest = after(text, "unix:");
	if (rest)
		return parse_path(rest, ret_address, reason);
	if (*text == '@')
		return rf__fail(reason, -EINVAL,
			"address: abstract names are not supported yet; a file of that name is "
			"./%s",
			text);
	return parse_path(text, ret_address, reason);
}
