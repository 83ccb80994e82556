/* SPDX-License-Identifier: MIT */
/* The helpers of the tests themselves: what they count, how they wait, who children are. */
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void counts_follow_descriptors_and_mappings(void **state)
{
	size_t fds = rf_test_count_fds(), mappings = rf_test_count_memfd_mappings();
	int fd = memfd_create("counted", MFD_CLOEXEC);
	void *page;

	(void)state;
	assert_true(fd >= 0 && !ftruncate(fd, 4096));
	page = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(page, MAP_FAILED);
	assert_int_equal(rf_test_count_fds(), fds + 1);
	assert_int_equal(rf_test_count_memfd_mappings(), mappings + 1);
	assert_int_equal(munmap(page, 4096), 0);
	close(fd);
	assert_int_equal(rf_test_count_fds(), fds);
	assert_int_equal(rf_test_count_memfd_mappings(), mappings);
}

static int return_argument(void *arg)
{
	return *(int *)arg;
}

static int kill_self(void *arg)
{
	(void)arg;
	return raise(SIGKILL);
}

static int wait_for_ever(void *arg)
{
	(void)arg;
	while (pause())
		continue;
	return 0;
}

static void wait_tells_how_a_child_ended(void **state)
{
	size_t fds = rf_test_count_fds();
	int verdict = 7;

	(void)state;
	assert_int_equal(rf_test_wait(rf_test_child(return_argument, &verdict, 0, 0), 5000), 7);
	assert_int_equal(rf_test_wait(rf_test_child(kill_self, NULL, 0, 0), 5000), -SIGKILL);
	assert_int_equal(rf_test_wait(rf_test_child(wait_for_ever, NULL, 0, 0), 50), RF_TEST_HUNG);
	assert_int_equal(rf_test_count_fds(), fds);
}

static int write_into_tmpdir(void *arg)
{
	char path[4096];
	int fd;

	if (getuid() != RF_TEST_UID || getgid() != RF_TEST_UID || seteuid(0) == 0)
		return 1;
	snprintf(path, sizeof(path), "%s/written", (const char *)arg);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	return fd >= 0 ? 0 : 2;
}

static void children_become_other_users(void **state)
{
	char *path = strdup(rf_test_tmpdir());
	pid_t pid;

	(void)state;
	rf_test_need_root();
	assert_non_null(path);
	pid = rf_test_child(write_into_tmpdir, path, RF_TEST_UID, RF_TEST_UID);
	assert_int_equal(rf_test_wait(pid, 5000), 0);
	free(path);
}

static void spawned_programs_become_other_users(void **state)
{
	char program[] = "/bin/sh", option[] = "-c", script[] = "exit $(( $(id -u) != 61000 ))";
	char *argv[] = {program, option, script, NULL};

	(void)state;
	rf_test_need_root();
	assert_int_equal(rf_test_wait(rf_test_spawn(argv, RF_TEST_UID, RF_TEST_UID), 5000), 0);
}

static void a_program_that_does_not_exist_is_127(void **state)
{
	char program[] = "/does/not/exist";
	char *argv[] = {program, NULL};

	(void)state;
	assert_int_equal(rf_test_wait(rf_test_spawn(argv, 0, 0), 5000), 127);
}

static void limits_are_soft_and_come_back(void **state)
{
	uint64_t before = rf_test_limit_file_size(4096);

	(void)state;
	assert_int_equal(rf_test_limit_file_size(before), 4096);
}

static void built_and_source_files_are_found(void **state)
{
	(void)state;
	assert_int_equal(access(rf_test_built("Makefile"), R_OK), 0);
	assert_int_equal(access(rf_test_source("Makefile.am"), R_OK), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(counts_follow_descriptors_and_mappings),
		cmocka_unit_test(wait_tells_how_a_child_ended),
		cmocka_unit_test(children_become_other_users),
		cmocka_unit_test(spawned_programs_become_other_users),
		cmocka_unit_test(a_program_that_does_not_exist_is_127),
		cmocka_unit_test(limits_are_soft_and_come_back),
		cmocka_unit_test(built_and_source_files_are_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
