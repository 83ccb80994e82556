/* SPDX-License-Identifier: MIT */
/* Address strings: every form, and every way to get one wrong. */
#include "support.h"

#include "address.h"
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct rf__address address;
static struct rf__reason reason;

static int parse(const char *text)
{
	memset(&address, 0x5a, sizeof(address));
	memset(&reason, 0, sizeof(reason));
	return rf__address_parse(text, &address, &reason);
}

static void assert_path(const char *text, const char *path)
{
	assert_int_equal(parse(text), 0);
	assert_int_equal(address.kind, RF__ADDRESS_PATH);
	assert_int_equal(address.fd, -1);
	assert_int_equal(address.name.sun_family, AF_UNIX);
	assert_string_equal(address.name.sun_path, path);
	assert_string_equal(address.text, path);
	assert_int_equal(
		address.name_len, offsetof(struct sockaddr_un, sun_path) + strlen(path) + 1);
}

static void assert_fd(const char *text, int fd)
{
	assert_int_equal(parse(text), 0);
	assert_int_equal(address.kind, RF__ADDRESS_FD);
	assert_int_equal(address.fd, fd);
	assert_int_equal(address.name_len, 0);
}

static void assert_refused(const char *text, int error, const char *sentence)
{
	struct rf__address untouched;

	memset(&untouched, 0x5a, sizeof(untouched));
	assert_int_equal(parse(text), error);
	assert_non_null(strstr(reason.text, sentence));
	assert_memory_equal(&address, &untouched, sizeof(address));
	assert_int_equal(rf__address_parse(text, &address, NULL), error);
}

static void paths_are_paths(void **state)
{
	(void)state;
	assert_path("cam.sock", "cam.sock");
	assert_path("/run/cam.sock", "/run/cam.sock");
	assert_path("unix:cam.sock", "cam.sock");
	assert_path("unix:/run/cam.sock", "/run/cam.sock");
	assert_path("a b:c", "a b:c");
	assert_path("unixcam", "unixcam");
	assert_path("fd", "fd");
	assert_path("FD:3", "FD:3");
}

static void unix_prefix_takes_any_path_literally(void **state)
{
	(void)state;
	assert_path("unix:fd:3", "fd:3");
	assert_path("unix:@name", "@name");
	assert_path("unix:unix:x", "unix:x");
	assert_path("./fd:3", "./fd:3");
	assert_path("./@name", "./@name");
	assert_path("./unix:x", "./unix:x");
}

static void descriptors_are_numbers(void **state)
{
	char largest[32];

	(void)state;
	snprintf(largest, sizeof(largest), "fd:%d", INT_MAX);
	assert_fd("fd:0", 0);
	assert_fd("fd:3", 3);
	assert_fd("fd:007", 7);
	assert_fd("fd:1023", 1023);
	assert_fd(largest, INT_MAX);
}

static void malformed_descriptors_are_refused(void **state)
{
	static const char *const wrong[] = {"fd:", "fd:-1", "fd:+1", "fd: 3", "fd:3 ", "fd:3x",
		"fd:x", "fd:0x3", "fd:3.0", "fd:/tmp/x", "fd:\xd9\xa3"};

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++)
		assert_refused(wrong[i], -EINVAL, "needs a decimal number");
}

static void descriptors_beyond_int_are_refused(void **state)
{
	static const char *const wrong[] = {"fd:2147483648", "fd:4294967296", "fd:4294967299",
		"fd:18446744073709551616", "fd:99999999999999999999999999999999999999999999"};

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++)
		assert_refused(wrong[i], -EINVAL, "no descriptor has the number");
}

static void nothing_is_refused(void **state)
{
	(void)state;
	assert_refused(NULL, -EINVAL, "there is none");
	assert_refused("", -EINVAL, "there is none");
	assert_refused("unix:", -EINVAL, "the path is empty");
}

static void assert_abstract(const char *text, const char *name)
{
	size_t len = strlen(name);

	assert_int_equal(parse(text), 0);
	assert_int_equal(address.kind, RF__ADDRESS_ABSTRACT);
	assert_int_equal(address.fd, -1);
	assert_int_equal(address.name.sun_family, AF_UNIX);
	assert_int_equal(address.name.sun_path[0], 0);
	assert_memory_equal(address.name.sun_path + 1, name, len);
	assert_int_equal(address.name_len, offsetof(struct sockaddr_un, sun_path) + 1 + len);
	assert_string_equal(address.text, text);
}

static void a_leading_at_makes_an_abstract_name(void **state)
{
	(void)state;
	assert_abstract("@name", "name");
	assert_abstract("@@", "@");
	assert_abstract("@/a/path", "/a/path");
	assert_abstract("@fd:3", "fd:3");
	assert_refused("@", -EINVAL, "the abstract name is empty");
}

static void an_abstract_name_fits_behind_its_zero(void **state)
{
	char text[sizeof(address.name.sun_path) + 2];

	(void)state;
	memset(text, 'x', sizeof(text));
	text[0] = '@';
	text[sizeof(text) - 1] = '\0';
	assert_refused(text, -ENAMETOOLONG, "108 bytes, 107 are possible");
	text[sizeof(text) - 2] = '\0';
	assert_abstract(text, text + 1);
}

/* What a service manager hands over */

static void hand_over(const char *pid, const char *fds, const char *names)
{
	char own[16];

	snprintf(own, sizeof(own), "%d", getpid());
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
	if (pid)
		setenv("LISTEN_PID", *pid ? pid : own, 1);
	if (fds)
		setenv("LISTEN_FDS", fds, 1);
	if (names)
		setenv("LISTEN_FDNAMES", names, 1);
}

static int take_back(void **state)
{
	(void)state;
	hand_over(NULL, NULL, NULL);
	return 0;
}

static void the_only_socket_handed_over_needs_no_name(void **state)
{
	(void)state;
	hand_over("", "1", NULL);
	assert_fd("fd:listen", 3);
	hand_over("", "1", "frames");
	assert_fd("fd:listen", 3);
	hand_over("", "2", "frames:sound");
	assert_refused("fd:listen", -EINVAL, "more than one socket was handed over");
}

static void sockets_handed_over_are_found_by_name(void **state)
{
	(void)state;
	hand_over("", "4", "frames:sound::frame");
	assert_fd("fd:listen:frames", 3);
	assert_fd("fd:listen:sound", 4);
	assert_fd("fd:listen:frame", 6);
	assert_refused("fd:listen:fram", -ENOENT, "no socket of the name fram was handed over");
	assert_refused("fd:listen:frames:", -ENOENT, "handed over");
	assert_refused("fd:listen:frames:sound", -ENOENT, "handed over");
	assert_refused("fd:listen:", -EINVAL, "needs a decimal number");
	hand_over("", "1", "frames:sound");
	assert_refused("fd:listen:sound", -ENOENT, "handed over");
	hand_over("", "2", "frames:frames");
	assert_refused("fd:listen:frames", -EINVAL, "more than one socket of the name frames");
	hand_over("", "1", NULL);
	assert_refused("fd:listen:frames", -ENOENT, "handed over");
}

static void sockets_handed_over_to_another_process_are_not_ours(void **state)
{
	static const char *const pids[] = {NULL, "1", "0", "-1", "x", "1x", "99999999999999999999"};
	static const char *const fds[] = {NULL, "0", "-1", "x", "1 ", "2147483647"};

	(void)state;
	for (size_t i = 0; i < sizeof(pids) / sizeof(*pids); i++) {
		hand_over(pids[i], "1", "frames");
		assert_refused("fd:listen", -ENOENT, "no socket was handed over");
		assert_refused("fd:listen:frames", -ENOENT, "no socket was handed over");
	}
	for (size_t i = 0; i < sizeof(fds) / sizeof(*fds); i++) {
		hand_over("", fds[i], "frames");
		assert_refused("fd:listen", -ENOENT, "no socket was handed over");
	}
}

static void path_fits_sun_path_with_its_zero(void **state)
{
	char text[sizeof(address.name.sun_path) + 1];
	char prefixed[sizeof(text) + 8];

	(void)state;
	memset(text, 'x', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	assert_refused(text, -ENAMETOOLONG, "107 are possible");
	snprintf(prefixed, sizeof(prefixed), "unix:%s", text);
	assert_refused(prefixed, -ENAMETOOLONG, "107 are possible");
	text[sizeof(text) - 2] = '\0';
	assert_path(text, text);
	snprintf(prefixed, sizeof(prefixed), "unix:%s", text);
	assert_path(prefixed, text);
}

static void reason_is_printable_and_bounded(void **state)
{
	static char text[4096];

	(void)state;
	memset(text, '\x1b', sizeof(text) - 1);
	assert_refused(text, -ENAMETOOLONG, "????");
	assert_null(strchr(reason.text, '\x1b'));
	memcpy(text, "fd:", 3);
	assert_refused(text, -EINVAL, "????");
	assert_null(strchr(reason.text, '\x1b'));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(paths_are_paths),
		cmocka_unit_test(unix_prefix_takes_any_path_literally),
		cmocka_unit_test(descriptors_are_numbers),
		cmocka_unit_test(malformed_descriptors_are_refused),
		cmocka_unit_test(descriptors_beyond_int_are_refused),
		cmocka_unit_test(nothing_is_refused),
		cmocka_unit_test(a_leading_at_makes_an_abstract_name),
		cmocka_unit_test(an_abstract_name_fits_behind_its_zero),
		cmocka_unit_test_teardown(the_only_socket_handed_over_needs_no_name, take_back),
		cmocka_unit_test_teardown(sockets_handed_over_are_found_by_name, take_back),
		cmocka_unit_test_teardown(
			sockets_handed_over_to_another_process_are_not_ours, take_back),
		cmocka_unit_test(path_fits_sun_path_with_its_zero),
		cmocka_unit_test(reason_is_printable_and_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
