/* SPDX-License-Identifier: MIT */
/* Attacks on the process of tests/test-hostile.c: see there. */
#ifndef RF_TESTS_HOSTILE_ATTACKS_H
#define RF_TESTS_HOSTILE_ATTACKS_H

#include <stdbool.h>

/* How long most of them take. */
#define ATTACK_MS 200

/* No channel has to end, or with any error. */
#define ANY 1

/* One attack: run in a process of its own, of RF_TEST_UID, it connects to the victim at path and
 * returns 0, or what it could do and should not have been able to. */
struct row {
	const char *name;
	int (*attack)(void);
	int shows;  /* how the hostile channel ends for the victim */
	bool busy;  /* there is honest work for its processor */
	bool stops; /* the attacker stops itself, and is to be killed */
};

/* All of them, the last one with name NULL. */
extern const struct row hostile_rows[];

/* Where the victim listens. */
extern const char *hostile_path;

#endif
