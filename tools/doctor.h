/* SPDX-License-Identifier: MIT */
/* What `ringfort doctor` finds out, and how it says it. */
#ifndef RF_TOOLS_DOCTOR_H
#define RF_TOOLS_DOCTOR_H

/* REQUIRED is missing, too, and ringfort cannot work without it. */
enum verdict { OK, WARNING, MISSING, REQUIRED };

/* Prints a line about an item, and remembers whether something required is missing. */
__attribute__((format(printf, 3, 4))) void doctor_report(
	enum verdict verdict, const char *item, const char *format, ...);

/* Tries seals on a memory file of our own. */
void doctor_try_seals(void);

/* Tries a channel: another process, which is started for it, sends a record to this one. */
void doctor_try_channel(void);

#endif
