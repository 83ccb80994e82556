/* SPDX-License-Identifier: MIT */
/* What the cmocka tests share: features and skips, counts of what could leak, children that cannot
 * outlive or hang the test.
 *
 * No cmocka assertion in a child or in a second thread: they return verdicts, the test asserts on
 * them. */
#ifndef RF_TESTS_SUPPORT_H
#define RF_TESTS_SUPPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Headers that cmocka.h wants before it. */
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

/* Skips the running test unless available; fails it instead where the environment's RF_TEST_REQUIRE
 * (words between spaces or commas) lists the feature as one that this machine has: ./bootstrap
 * check sets it. The names in use stand in bootstrap, have_feature(). */
void rf_test_need(const char *feature, bool available);

/* rf_test_need("root", …): for tests that run children as other users. */
void rf_test_need_root(void);

/* Is the running kernel at least that release? */
bool rf_test_kernel(unsigned major, unsigned minor);

/* Was this program compiled with the address or the thread sanitizer, or does it run under
 * valgrind: where memory, mappings and time are not what they are elsewhere? */
bool rf_test_instrumented(void);

/* full, or a tenth of it and at least 1 where the program is instrumented or RF_TEST_QUICK is set:
 * for long loops. */
unsigned rf_test_rounds(unsigned full);

/* CLOCK_MONOTONIC in ms milliseconds from now, as the library's deadlines are. */
uint64_t rf_test_deadline(unsigned ms);

/* SIGALRM ends this process in so many seconds; 0 calls it off. tests/run-tap limits the whole
 * program anyway. */
void rf_test_limit(unsigned seconds);

/* Open descriptors of this process; mappings; mappings of memfds, which are regions here. For
 * differences: before and after. */
size_t rf_test_count_fds(void);
size_t rf_test_count_mappings(void);
size_t rf_test_count_memfd_mappings(void);

/* A directory of this process that every user may enter and write to (mode 1777); made at the first
 * call, removed with what is in it at exit. */
const char *rf_test_tmpdir(void);

/* A file of the build tree ("examples/capture") and of the source tree ("man/ringfort.7"), as
 * absolute paths in a buffer of their own that the next call of the same function reuses. */
const char *rf_test_built(const char *path);
const char *rf_test_source(const char *path);

/* Users that are nobody in particular: children run as these. Never the overflow uid. */
#define RF_TEST_UID       61000
#define RF_TEST_OTHER_UID 61001

/* Forks a child that runs as uid and gid (0: as we are; needs root otherwise), returns run(arg) as
 * its exit status (0 to 255), and without running any exit handler. Children get SIGKILL when the
 * thread that forked them exits, go first when memory runs out, and leave no core. The child's pid;
 * a failed fork fails the test. */
pid_t rf_test_child(int (*run)(void *arg), void *arg, uid_t uid, gid_t gid);

/* The same with another program; argv[0] is its path, which only we need to be able to reach: its
 * file must be readable and executable for uid. Descriptors without CLOEXEC are inherited. Exit
 * status 127: it could not be started. */
pid_t rf_test_spawn(char *const argv[], uid_t uid, gid_t gid);

/* What rf_test_wait() returns for a child that it had to kill. */
#define RF_TEST_HUNG (-1000)

/* Waits for a child for at most timeout_ms, then kills it, by its pid; never hangs. Its exit
 * status; minus the signal that ended it; RF_TEST_HUNG. */
int rf_test_wait(pid_t pid, unsigned timeout_ms);

/* SIGKILL and wait; for teardown: fine with pids that are 0 or negative. */
void rf_test_kill(pid_t pid);

/* Sets the soft RLIMIT_FSIZE and RLIMIT_NOFILE of this process and returns what it was; the hard
 * limits stay. */
uint64_t rf_test_limit_file_size(uint64_t bytes);
uint64_t rf_test_limit_files(uint64_t n);

#endif
