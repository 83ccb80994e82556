/* SPDX-License-Identifier: MIT */
/* What a host program does to the library (threats C13): loads and unloads it, executes another
 * program, has no descriptors left. fork is in test-fork.c. */
#include "channel-fixture.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LOADS 3

static struct leaks leaks;

static int setup(void **state)
{
	(void)state;
	leaks = leaks_begin();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	assert_no_leaks(&leaks);
	return 0;
}

/* The shared library as a plug-in has it */

struct library {
	void *handle;
	__typeof__(&rf_listen) listen;
	__typeof__(&rf_accept) accept;
	__typeof__(&rf_connect) connect;
	__typeof__(&rf_channel_tx) tx;
	__typeof__(&rf_channel_rx) rx;
	__typeof__(&rf_tx_send) send;
	__typeof__(&rf_rx_copy) copy;
	__typeof__(&rf_channel_close) close_channel;
	__typeof__(&rf_listener_close) close_listener;
	__typeof__(&rf_reason) reason;
};

static void *symbol(const struct library *library, const char *name)
{
	void *found = dlsym(library->handle, name);

	assert_non_null(found);
	return found;
}

static void load(struct library *library)
{
	library->handle = dlopen(rf_test_built(".libs/libringfort.so"), RTLD_NOW | RTLD_LOCAL);
	rf_test_need("shared", library->handle != NULL);
	library->listen = symbol(library, "rf_listen");
	library->accept = symbol(library, "rf_accept");
	library->connect = symbol(library, "rf_connect");
	library->tx = symbol(library, "rf_channel_tx");
	library->rx = symbol(library, "rf_channel_rx");
	library->send = symbol(library, "rf_tx_send");
	library->copy = symbol(library, "rf_rx_copy");
	library->close_channel = symbol(library, "rf_channel_close");
	library->close_listener = symbol(library, "rf_listener_close");
	library->reason = symbol(library, "rf_reason");
	assert_true((void *)library->listen != (void *)rf_listen);
}

struct loaded {
	struct library *library;
	char address[16];
	struct rf_channel *channel;
};

static int connect_loaded(void *arg)
{
	struct loaded *loaded = arg;

	return loaded->library->connect(
		loaded->address, NULL, rf_test_deadline(SOON_MS), &loaded->channel);
}

static void use(struct library *library)
{
	struct loaded client = {.library = library};
	struct iovec part = {.iov_base = (void *)(uintptr_t) "plug-in", .iov_len = 8};
	struct rf_listener *listener = NULL;
	struct rf_channel *server = NULL;
	struct rf_message message;
	struct thread thread;
	char text[16];
	int socks[2];

	make_pair(socks);
	snprintf(client.address, sizeof(client.address), "fd:%d", socks[1]);
	assert_int_equal(library->listen(fd_address(socks[0]), NULL, &listener), 0);
	thread_start(&thread, connect_loaded, &client);
	assert_int_equal(library->accept(listener, rf_test_deadline(SOON_MS), &server), 0);
	assert_int_equal(thread_join(&thread), 0);
	assert_int_equal(library->send(library->tx(server), &part, 1, 0), 0);
	assert_int_equal(library->copy(library->rx(client.channel), rf_test_deadline(SOON_MS), text,
				 sizeof(text), &message),
		1);
	assert_string_equal(text, "plug-in");
	assert_int_equal(library->connect("fd:x", NULL, 0, &server), -EINVAL);
	assert_true(*library->reason());
	library->close_channel(client.channel);
	library->close_channel(server);
	library->close_listener(listener);
}

static bool is_mapped(const char *name)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	bool found = false;
	char line[512];

	assert_non_null(maps);
	while (fgets(line, sizeof(line), maps))
		found |= strstr(line, name) != NULL;
	fclose(maps);
	return found;
}

/* Each load may leave its generation page, which children of ours may still look at. */
static void c13_the_library_can_be_unloaded_and_loaded_again(void **state)
{
	struct library library;
	size_t mappings = 0;
	unsigned i;

	(void)state;
	for (i = 0; i <= LOADS; i++) {
		load(&library);
		use(&library);
		assert_int_equal(dlclose(library.handle), 0);
		assert_false(is_mapped("libringfort.so"));
		assert_no_leaks(&leaks);
		if (i == 0)
			mappings = rf_test_count_mappings(); /* threads and heaps are there now */
	}
	if (!rf_test_instrumented())
		assert_true(rf_test_count_mappings() <= mappings + LOADS);
}

/* exec: the process lives on as something else, and its channel is gone. */

struct exec {
	int sock, hold; /* the new program reads hold until it ends */
};

static int connect_and_exec(void *arg)
{
	const struct exec *exec = arg;
	struct rf_channel *channel;

	if (rf_connect(fd_address(exec->sock), NULL, rf_test_deadline(SOON_MS), &channel) < 0)
		return 1;
	if (send_number(rf_channel_tx(channel), 1, 0) < 0 || rf_channel_fd(channel) < 0)
		return 2;
	if (dup2(exec->hold, STDIN_FILENO) < 0)
		return 3;
	execlp("cat", "cat", (char *)NULL);
	return 4;
}

static void c13_a_peer_that_executes_another_program_is_gone(void **state)
{
	struct rf_listener *listener;
	struct rf_channel *channel;
	struct exec exec;
	int socks[2], hold[2];
	uint64_t number = 0;
	pid_t pid;

	(void)state;
	make_pair(socks);
	assert_int_equal(pipe2(hold, O_CLOEXEC), 0);
	exec = (struct exec){.sock = socks[1], .hold = hold[0]};
	pid = rf_test_child(connect_and_exec, &exec, 0, 0);
	close(socks[1]);
	close(hold[0]);
	listener = listen_at(fd_address(socks[0]), NULL);
	channel = accept_one(listener);
	rf_listener_close(listener);
	assert_int_equal(
		take_number(rf_channel_rx(channel), rf_test_deadline(SOON_MS), &number), 1);
	assert_int_equal(number, 1);
	assert_int_equal(
		take_number(rf_channel_rx(channel), rf_test_deadline(SOON_MS), &number), -EPIPE);
	assert_int_equal(kill(pid, 0), 0); /* it lives */
	close(hold[1]);
	assert_int_equal(rf_test_wait(pid, SOON_MS), 0);
	rf_channel_close(channel);
}

/* No descriptors left: at every number of them that is too small there is a clear error, and with
 * one more it goes on until it is enough. */

struct rich {
	char path[128];
};

/* Serves until it is killed. */
static int serve(void *arg)
{
	const struct rich *rich = arg;
	struct rf_listener *listener;
	struct rf_channel *channel;
	uint64_t number;

	if (rf_listen(rich->path, NULL, &listener) < 0)
		return 1;
	while (!rf_accept(listener, RF_FOREVER, &channel)) {
		while (take_number(rf_channel_rx(channel), RF_FOREVER, &number) > 0)
			send_number(rf_channel_tx(channel), number, RF_FOREVER);
		rf_channel_close(channel);
	}
	return 2;
}

/* Knocks until it is killed. */
static int knock(void *arg)
{
	const struct rich *rich = arg;
	struct rf_channel *channel;
	uint64_t number;

	while (getppid() != 1) {
		if (rf_connect(rich->path, NULL, rf_test_deadline(SOON_MS), &channel) < 0)
			continue;
		while (take_number(rf_channel_rx(channel), RF_FOREVER, &number) > 0)
			send_number(rf_channel_tx(channel), number, RF_FOREVER);
		rf_channel_close(channel);
	}
	return 0;
}

static unsigned lowest_free(void)
{
	int fd = dup(STDIN_FILENO);

	assert_true(fd >= 0);
	close(fd);
	return (unsigned)fd;
}

/* A number there and back, with a sleep, and in an event loop. */
static int go_there_and_back(struct rf_channel *channel)
{
	uint64_t number;
	int r = rf_channel_fd(channel);

	if (r >= 0)
		r = send_number(rf_channel_tx(channel), 7, 0);
	if (r >= 0)
		r = take_number(rf_channel_rx(channel), rf_test_deadline(SOON_MS), &number);
	return r < 0 ? r : r == 1 && number == 7 ? 0 : -EILSEQ;
}

static int connect_poorly(const struct rich *rich)
{
	struct rf_options options = channel_options(RF_DOORBELL_EVENTFD, RF_WAIT_SLEEP);
	struct rf_channel *channel;
	int r = rf_connect(rich->path, &options, rf_test_deadline(SOON_MS), &channel);

	if (r < 0)
		return r;
	r = go_there_and_back(channel);
	rf_channel_close(channel);
	return r;
}

static int listen_poorly(const struct rich *rich)
{
	struct rf_options options = channel_options(RF_DOORBELL_EVENTFD, RF_WAIT_SLEEP);
	struct rf_listener_stats stats = {.size = sizeof(stats)};
	struct rf_listener *listener;
	struct rf_channel *channel = NULL;
	int r = rf_listen(rich->path, &options, &listener);

	if (r < 0)
		return r;
	do {
		r = rf_accept(listener, rf_test_deadline(WHILE_MS), &channel);
		rf_listener_stats(listener, &stats);
	} while (r == -ETIMEDOUT && !stats.failed && !stats.refused);
	if (strstr(rf_listener_reason(listener), "Too many open files") ||
		strstr(rf_listener_reason(listener), "too many descriptors"))
		r = r == -ETIMEDOUT ? -EMFILE : r;
	rf_listener_close(listener);
	if (r < 0)
		return r;
	r = go_there_and_back(channel);
	rf_channel_close(channel);
	return r;
}

static void run_out_of_descriptors(
	int (*rich_one)(void *arg), int (*poor_one)(const struct rich *rich))
{
	struct rich rich;
	unsigned least = lowest_free(), more;
	uint64_t limit;
	pid_t pid;
	int r = -1;

	snprintf(rich.path, sizeof(rich.path), "%s", fresh_path());
	pid = rf_test_child(rich_one, &rich, 0, 0);
	for (more = 0; r < 0 && more < 60; more++) {
		limit = rf_test_limit_files(least + more);
		r = poor_one(&rich);
		rf_test_limit_files(limit);
		if (r != 0 && r != -EMFILE)
			fail_msg("with %u descriptors: %d, %s", more, r, rf_reason());
		assert_no_leaks(&leaks);
	}
	print_message("# %u descriptors were enough\n", more - 1);
	assert_int_equal(r, 0);
	assert_true(more > 5);
	rf_test_kill(pid);
}

static void c13_a_client_short_of_descriptors_gets_an_error(void **state)
{
	(void)state;
	run_out_of_descriptors(serve, connect_poorly);
}

static void c13_a_listener_short_of_descriptors_gets_an_error(void **state)
{
	(void)state;
	run_out_of_descriptors(knock, listen_poorly);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(c13_a_peer_that_executes_another_program_is_gone),
		TEST(c13_a_client_short_of_descriptors_gets_an_error),
		TEST(c13_a_listener_short_of_descriptors_gets_an_error),
		TEST(c13_the_library_can_be_unloaded_and_loaded_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
