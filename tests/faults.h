/* SPDX-License-Identifier: MIT */
/* System calls that fail when a test says so. The linker sends the calls of the whole program here
 * (--wrap); they fail in the thread that armed a fault, and nowhere else. */
#ifndef RF_TESTS_FAULTS_H
#define RF_TESTS_FAULTS_H

#include <stdbool.h>

#define FAULT_ERRORS 8

/* A call, what it may fail with, and as which other errors of the library that may show. Lists end
 * with 0. */
struct fault_call {
	const char *name;
	int errors[FAULT_ERRORS];
	int shows[FAULT_ERRORS];
};

/* All of them, the last one with name NULL. */
extern const struct fault_call fault_calls[];

/* The call fails once, after it was made `after` times; where it `lasts`, from then on for ever. */
struct fault {
	const char *call;
	int error;
	long after;
	bool lasts;
};

/* Arms a fault in this thread; NULL: only notes what is called. Calls off. Was it hit? */
void faults_arm(const struct fault *fault);
bool faults_disarm(void);

/* As a kernel without SO_PEERPIDFD and epoll_pwait2(2), while armed. */
void faults_pretend_old_kernel(bool old);

/* Was the call made while armed, since the program began? */
bool faults_seen(const char *call);

#endif
