/* SPDX-License-Identifier: MIT */
/* Why something failed: a sentence that goes with an errno, in memory of fixed size. */
#ifndef RF_UTIL_REASON_H
#define RF_UTIL_REASON_H

struct rf__reason {
	char text[192]; /* always terminated; printable ASCII only */
};

/* Writes the formatted sentence, made printable and cut where it is too long, unless reason is
 * NULL; returns error. */
int rf__fail(struct rf__reason *reason, int error, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* As rf__fail() with an errno, negative, whose name is appended to the sentence: "what: No such
 * file or directory". */
int rf__fail_error(struct rf__reason *reason, int error, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* The same with -errno. */
int rf__fail_errno(struct rf__reason *reason, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Where set-up calls of this thread put theirs: what rf_reason() shows. Empties it. */
struct rf__reason *rf__reason_begin(void);

#endif
