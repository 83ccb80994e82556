/* SPDX-License-Identifier: MIT */
/* Every system call that the library makes fails at each of its occurrences in a short life of a
 * channel, with each errno of the table in faults.c: the right error or success, nothing leaks,
 * nobody hangs, and the other end is told. */
#include "channel-fixture.h"
#include "faults.h"

#include "util/clock.h"
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* How long a life may take: every call in it ends far sooner, but for a connect that tries
 * again. */
#define LIFE_MS    5000
#define CONNECT_MS 3000
#define ROUNDS     2
#define FILL       300 /* numbers; more than the ring holds */

enum { PAIR, PATH };

/* What happens: who of the two is struck, how they meet, how they wake each other. */
struct scene {
	const char *name;
	bool listens; /* the one that is struck does */
	int meeting;
	uint32_t doorbell;
	bool old_kernel;
	bool sandboxed; /* also with calls that fail for ever */
};

static const struct scene scenes[] = {
	{"a server on a path with eventfds", true, PATH, RF_DOORBELL_EVENTFD, false, true},
	{"a client on a path with eventfds", false, PATH, RF_DOORBELL_EVENTFD, false, true},
	{"a server on a path with sockets", true, PATH, RF_DOORBELL_SOCKET, false, false},
	{"a client on a path with sockets", false, PATH, RF_DOORBELL_SOCKET, false, false},
	{"a server on a pair", true, PAIR, RF_DOORBELL_EVENTFD, false, false},
	{"a client on a pair", false, PAIR, RF_DOORBELL_SOCKET, false, false},
	{"a server on an old kernel", true, PATH, RF_DOORBELL_AUTO, true, false},
	{"a client on an old kernel", false, PATH, RF_DOORBELL_SOCKET, true, false},
};

#define SCENES (sizeof(scenes) / sizeof(scenes[0]))

/* One end of a life */
struct end {
	const struct scene *scene;
	bool listens;
	char address[128];
	struct rf_listener *listener;
	bool other_gave_up; /* atomic */
	bool dropped;       /* server: its listener has turned the client away */
	int opened;         /* 0 or the error of rf_listen(), rf_accept() or rf_connect() */
	int first;          /* the first error after that */
	uint64_t taken;
};

static struct rf_options scene_options(const struct scene *scene)
{
	struct rf_options options = channel_options(scene->doorbell, RF_WAIT_SLEEP);

	options.ring_bytes = 4096;
	if (scene->sandboxed) {
		options.flags =
			RF_OPTION_GROUP | RF_OPTION_MLOCK | RF_OPTION_HUGE | RF_OPTION_FENCE;
		options.group = getegid();
	}
	return options;
}

static int listen_there(struct end *end)
{
	struct rf_options options = scene_options(end->scene);

	return rf_listen(end->address, &options, &end->listener);
}

static bool is_passing(int error, const struct fault *fault)
{
	return error < 0 && fault && !fault->lasts && error == -fault->error;
}

/* Until there is a channel, the client was turned away, or there is none to wait for. */
static int accept_there(struct end *end, const struct fault *fault, struct rf_channel **ret_channel)
{
	struct rf_listener_stats stats = {.size = sizeof(stats)};
	bool hopeless;
	int r;

	do {
		hopeless = __atomic_load_n(&end->other_gave_up, __ATOMIC_ACQUIRE);
		r = rf_accept(end->listener, rf_test_deadline(20), ret_channel);
		rf_listener_stats(end->listener, &stats);
		end->dropped = r < 0 && stats.failed + stats.refused > 0;
	} while ((r == -ETIMEDOUT && !end->dropped && !hopeless) ||
		 (end->scene->meeting == PATH && is_passing(r, fault)));
	return r;
}

static int connect_there(struct end *end, unsigned timeout_ms, struct rf_channel **ret_channel)
{
	struct rf_options options = scene_options(end->scene);

	return rf_connect(end->address, &options, rf_test_deadline(timeout_ms), ret_channel);
}

/* The descriptor of a failure stays ours: the other end sees it close. */
static void give_up(const struct end *end)
{
	if (end->scene->meeting == PAIR)
		close(atoi(end->address + strlen("fd:")));
}

static void note(struct end *end, int r)
{
	if (r < 0 && !end->first)
		end->first = r;
}

static void pause_shortly(void)
{
	const struct timespec t = {.tv_nsec = 300000};

	nanosleep(&t, NULL);
}

/* The one that is not struck: sends back two numbers, late; lets the ring fill; takes all. */
static void be_the_other(struct end *end, struct rf_channel *channel)
{
	struct rf_rx *rx = rf_channel_rx(channel);
	struct rf_tx *tx = rf_channel_tx(channel);
	uint64_t number;
	int r = 1;

	while (r > 0) {
		r = take_number(rx, rf_test_deadline(SOON_MS), &number);
		if (r > 0 && number != end->taken++)
			r = -EILSEQ;
		if (r > 0 && end->taken <= ROUNDS) {
			pause_shortly();
			note(end, send_number(tx, number, rf_test_deadline(SOON_MS)));
		}
		if (end->taken == ROUNDS + 1)
			pause_shortly();
	}
	note(end, r);
	rf_tx_end(tx); /* whoever got it may be gone */
}

static int run_other(void *arg)
{
	struct end *end = arg;
	struct rf_channel *channel = NULL;

	if (end->listens)
		end->opened = accept_there(end, NULL, &channel);
	else
		end->opened = connect_there(end, SOON_MS, &channel);
	rf_listener_close(end->listener);
	if (end->opened < 0) {
		if (!end->listens)
			give_up(end);
		return 0;
	}
	be_the_other(end, channel);
	rf_channel_close(channel);
	return 0;
}

/* The one that is struck. What failed once is done again. */

static int send_again(struct end *end, struct rf_tx *tx, const struct fault *fault, uint64_t number)
{
	int r;

	do {
		r = send_number(tx, number, rf_test_deadline(SOON_MS));
		note(end, r);
	} while (is_passing(r, fault) && r != -EPIPE);
	return r;
}

static int take_again(struct end *end, struct rf_rx *rx, const struct fault *fault)
{
	uint64_t number;
	int r;

	do {
		r = take_number(rx, rf_test_deadline(SOON_MS), &number);
		note(end, r);
	} while (is_passing(r, fault) && r != -EPIPE);
	return r;
}

static void use_event_loop(struct end *end, struct rf_channel *channel)
{
	uint64_t until;

	note(end, rf_channel_fd(channel));
	note(end, rf_channel_arm(channel, RF_DATA, 0, &until));
	note(end, rf_channel_process(channel));
}

static int exchange(struct end *end, struct rf_channel *channel, const struct fault *fault)
{
	struct rf_tx *tx = rf_channel_tx(channel);
	struct rf_rx *rx = rf_channel_rx(channel);
	uint64_t number = 0;
	int r = 0;

	for (; number < ROUNDS && r >= 0; number++) {
		r = send_again(end, tx, fault, number);
		if (r >= 0)
			r = take_again(end, rx, fault);
	}
	use_event_loop(end, channel);
	for (; number < FILL && r >= 0; number++)
		r = send_again(end, tx, fault, number);
	if (r < 0)
		return r;
	note(end, rf_tx_end(tx));
	return take_again(end, rx, fault);
}

static int open_struck(struct end *end, struct end *other, struct thread *thread,
	const struct fault *fault, struct rf_channel **ret_channel)
{
	bool before = !end->listens;

	if (before) {
		faults_arm(fault);
		return connect_there(
			end, end->scene->meeting == PATH ? CONNECT_MS : SOON_MS, ret_channel);
	}
	faults_arm(fault);
	end->opened = listen_there(end);
	if (end->opened < 0)
		return end->opened;
	if (!thread->run) { /* on a path the other can come only now */
		thread->run = run_other;
		thread_start(thread, run_other, other);
	}
	return accept_there(end, fault, ret_channel);
}

static void live_struck(
	struct end *end, struct end *other, struct thread *thread, const struct fault *fault)
{
	struct rf_channel *channel = NULL;

	end->opened = open_struck(end, other, thread, fault, &channel);
	if (end->opened >= 0)
		exchange(end, channel, fault);
	else if (!*rf_reason() && !end->dropped)
		fail_msg("%s, %s fails with %s at %ld: %d without a reason", end->scene->name,
			fault->call, strerrorname_np(fault->error), fault->after, end->opened);
	rf_channel_close(channel);
	rf_listener_close(end->listener);
	if (end->opened < 0 && (!end->listens || !end->listener))
		give_up(end);
	__atomic_store_n(&other->other_gave_up, true, __ATOMIC_RELEASE);
}

/* A socket file that nobody listens on is in the way. */
static void leave_stale_socket(const char *path)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	snprintf(name.sun_path, sizeof(name.sun_path), "%s", path);
	assert_int_equal(bind(sock, (const struct sockaddr *)&name, sizeof(name)), 0);
	close(sock);
}

static void set_the_stage(struct end *struck, struct end *other)
{
	char path[100];
	int socks[2];

	if (struck->scene->meeting == PAIR) {
		make_pair(socks);
		snprintf(struck->address, sizeof(struck->address), "fd:%d", socks[0]);
		snprintf(other->address, sizeof(other->address), "fd:%d", socks[1]);
	} else {
		snprintf(path, sizeof(path), "%s/faults.sock", rf_test_tmpdir());
		snprintf(struck->address, sizeof(struck->address), "%s", path);
		snprintf(other->address, sizeof(other->address), "%s", path);
		if (access(path, F_OK))
			leave_stale_socket(path);
	}
	if (other->listens)
		assert_int_equal(listen_there(other), 0);
}

static bool shows_as(int result, const struct fault *fault, const struct fault_call *call)
{
	unsigned i;

	if (result == -fault->error)
		return true;
	for (i = 0; i < FAULT_ERRORS && call->shows[i]; i++)
		if (result == -call->shows[i])
			return true;
	return false;
}

static bool means_death(int error)
{
	return error == EPIPE || error == ECONNRESET;
}

/* What each end has to be told when the other could not open. */
static bool is_told(int error)
{
	static const int errors[] = {EPIPE, ECONNABORTED, ENOBUFS, EPERM, ENOTSUP, ECONNREFUSED};
	unsigned i;

	for (i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
		if (error == -errors[i])
			return true;
	return false;
}

/* NULL: all is well. */
static const char *judge_failure(const struct end *struck, const struct end *other,
	const struct fault *fault, const struct fault_call *call)
{
	if (!struck->dropped && !shows_as(struck->opened, fault, call) &&
		!(call->name[0] == 'c' && struck->opened == -ETIMEDOUT))
		return "it could not open, for another reason";
	if (!other->opened)
		return other->first == -EPIPE ? NULL : "the other end opened and was not told";
	if (other->opened == -ETIMEDOUT && other->listens)
		return NULL; /* nobody came */
	return is_told(other->opened) ? NULL : "the other end was told wrong";
}

static const char *judge(const struct end *struck, const struct end *other,
	const struct fault *fault, const struct fault_call *call)
{
	if (struck->opened < 0)
		return judge_failure(struck, other, fault, call);
	if (other->opened < 0)
		return "the other end could not open";
	if (struck->first && !shows_as(struck->first, fault, call) &&
		!(struck->first == -EPIPE &&
			(means_death(fault->error) || shows_as(other->first, fault, call))))
		return "an error of another kind";
	if (struck->first)
		return other->first == 0 || other->first == -EPIPE ? NULL : "the other end: error";
	if (other->first)
		return "all went well here, but not there";
	return other->taken == FILL ? NULL : "numbers are missing";
}

/* One life with one fault. Was it hit? */
static bool live(
	const struct scene *scene, const struct fault *fault, const struct fault_call *call)
{
	struct end struck = {.scene = scene, .listens = scene->listens};
	struct end other = {.scene = scene, .listens = !scene->listens};
	struct thread thread = {.run = NULL};
	uint64_t begun = rf__now();
	const char *wrong;
	bool hit;

	set_the_stage(&struck, &other);
	if (other.listens || scene->meeting == PAIR) {
		thread.run = run_other;
		thread_start(&thread, run_other, &other);
	}
	faults_pretend_old_kernel(scene->old_kernel);
	live_struck(&struck, &other, &thread, fault);
	hit = faults_disarm();
	if (thread.run)
		assert_int_equal(thread_join(&thread), 0);
	else
		other.opened = -EPIPE;
	wrong = judge(&struck, &other, fault, call);
	if (rf__now() - begun > LIFE_MS * RF__MSEC)
		wrong = "it took too long";
	if (wrong)
		fail_msg("%s, %s fails with %s at %ld%s: %s (%d, %d; the other %d, %d, %lu)",
			scene->name, call->name, strerrorname_np(fault->error), fault->after,
			fault->lasts ? " and for ever" : "", wrong, struck.opened, struck.first,
			other.opened, other.first, (unsigned long)other.taken);
	return hit;
}

/* What is tried again until the deadline, or until it works, does not end if it never works. */
static bool may_last(const struct fault *fault)
{
	static const char *const tried_again[] = {"accept4", "connect", "flock", "send", "write"};
	unsigned i;

	for (i = 0; i < sizeof(tried_again) / sizeof(tried_again[0]); i++)
		if (!strcmp(fault->call, tried_again[i]))
			return false;
	return fault->error != EINTR && fault->error != EAGAIN;
}

static unsigned strike(
	const struct scene *scene, const struct fault_call *call, int error, bool lasts)
{
	struct fault fault = {.call = call->name, .error = error, .lasts = lasts};
	struct leaks leaks = leaks_begin();
	unsigned lives = 0;
	bool hit = true;

	if (lasts && !may_last(&fault))
		return 0;
	for (; hit; lives++) {
		fault.after = (long)lives;
		hit = live(scene, &fault, call);
		assert_no_leaks(&leaks);
	}
	return lives;
}

static void every_call_fails_everywhere(void **state)
{
	const struct scene *scene = *state;
	const struct fault nothing = {.call = "", .error = 0};
	const struct fault_call *call;
	unsigned lives = 0, i;

	assert_false(live(scene, &nothing, fault_calls)); /* what is made once per process */
	for (call = fault_calls; call->name; call++)
		for (i = 0; i < rf_test_rounds(FAULT_ERRORS) && call->errors[i]; i++) {
			lives += strike(scene, call, call->errors[i], false);
			if (scene->sandboxed)
				lives += strike(scene, call, call->errors[i], true);
		}
	print_message("# %u lives\n", lives);
	assert_true(lives > 50);
}

/* Whatever the library calls that is not in the table is here: it cannot fail, is no system call,
 * is about our own signals, or is struck by test-alloc. */
static bool is_harmless(const char *symbol)
{
	static const char *const names[] = {"malloc", "calloc", "aligned_alloc", "free",
		"clock_gettime", "geteuid", "getegid", "getpid", "gettid", "kill", "sysconf",
		"getenv", "strerrordesc_np", "__errno_location", "__tls_get_addr",
		"__stack_chk_fail", "_GLOBAL_OFFSET_TABLE_"};
	static const char *const beginnings[] = {"mem", "bcmp", "str", "sig", "pthread_", "__mem",
		"__str", "snprintf", "vsnprintf", "__snprintf", "__vsnprintf", "__isoc", "sscanf",
		"__asan_", "__ubsan_", "__tsan_", "__sanitizer_", "__gcov", "rf_"};
	unsigned i;

	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (!strcmp(symbol, names[i]))
			return true;
	for (i = 0; i < sizeof(beginnings) / sizeof(beginnings[0]); i++)
		if (!strncmp(symbol, beginnings[i], strlen(beginnings[i])))
			return true;
	return false;
}

static const char *plain_name(const char *symbol)
{
	return strcmp(symbol, "__open_2") ? symbol : "open";
}

static void every_call_of_the_library_was_struck(void **state)
{
	const char *nm = getenv("NM");
	char command[5000], line[256], symbol[128];
	unsigned strangers = 0, calls = 0;
	bool is_udp = false;
	FILE *list;

	(void)state;
	snprintf(command, sizeof(command), "%s -u %s 2>/dev/null", nm && *nm ? nm : "nm",
		rf_test_built(".libs/libringfort-internal.a"));
	list = popen(command, "re");
	assert_non_null(list);
	while (fgets(line, sizeof(line), list)) {
		if (strstr(line, ".o:"))
			is_udp = strstr(line, "udp"); /* test-udp-faults and test-udp-nonsense */
		if (is_udp || sscanf(line, "%*[ ]%*1[Uw] %127s", symbol) != 1 ||
			is_harmless(symbol))
			continue;
		calls++;
		if (faults_seen(plain_name(symbol)))
			continue;
		print_message("# %s is called by the library, and not here\n", symbol);
		strangers++;
	}
	pclose(list);
	assert_true(calls > 30);
	assert_int_equal(strangers, 0);
}

int main(void)
{
	struct CMUnitTest tests[SCENES + 1];
	unsigned i;

	for (i = 0; i < SCENES; i++)
		tests[i] = (struct CMUnitTest){.name = scenes[i].name,
			.test_func = every_call_fails_everywhere,
			.initial_state = (void *)(uintptr_t)&scenes[i]};
	tests[SCENES] = (struct CMUnitTest)cmocka_unit_test(every_call_of_the_library_was_struck);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
