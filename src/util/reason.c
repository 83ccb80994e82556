/* SPDX-License-Identifier: MIT */
/* Sentences that go with errors. strerrordesc_np() is used because it takes no lock and no
 * locale. */
#include "reason.h"

#include <errno.h>
#include <ringfort/types.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* A peer's terminal escapes end here, whatever way they came (threats C12). */
static void make_printable(char *text)
{
	for (; *text; text++)
		if (*text < ' ' || *text > '~')
			*text = '?';
}

__attribute__((format(printf, 2, 0))) static void format_reason(
	struct rf__reason *reason, const char *format, va_list args)
{
	if (vsnprintf(reason->text, sizeof(reason->text), format, args) < 0)
		reason->text[0] = '\0';
	make_printable(reason->text);
}

int rf__fail(struct rf__reason *reason, int error, const char *format, ...)
{
	va_list args;

	if (!reason)
		return error;
	va_start(args, format);
	format_reason(reason, format, args);
	va_end(args);
	return error;
}

__attribute__((format(printf, 3, 0))) static int fail_named(
	struct rf__reason *reason, int error, const char *format, va_list args)
{
	const char *name = strerrordesc_np(-error);
	size_t used;

	if (!reason)
		return error;
	format_reason(reason, format, args);
	used = strlen(reason->text);
	snprintf(reason->text + used, sizeof(reason->text) - used, ": %s",
		name ? name : "unknown error");
	return error;
}

int rf__fail_error(struct rf__reason *reason, int error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fail_named(reason, error, format, args);
	va_end(args);
	return error;
}

int rf__fail_errno(struct rf__reason *reason, const char *format, ...)
{
	int error = errno > 0 ? -errno : -EIO;
	va_list args;

	va_start(args, format);
	fail_named(reason, error, format, args);
	va_end(args);
	return error;
}

static _Thread_local struct rf__reason last;

struct rf__reason *rf__reason_begin(void)
{
	last.text[0] = '\0';
	return &last;
}

const char *rf_reason(void)
{
	return last.text;
}
