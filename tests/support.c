/* SPDX-License-Identifier: MIT */
/* What the cmocka tests share. */
#include "support.h"

#include "util/clock.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <grp.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOT_STARTED 127

static bool is_required(const char *feature)
{
	const char *list = getenv("RF_TEST_REQUIRE");
	size_t len = strlen(feature);

	for (; list && *list; list += strcspn(list, " ,")) {
		list += strspn(list, " ,");
		if (strcspn(list, " ,") == len && !memcmp(list, feature, len))
			return true;
	}
	return false;
}

void rf_test_need(const char *feature, bool available)
{
	if (available)
		return;
	if (is_required(feature))
		fail_msg("needs %s, which this machine should have", feature);
	print_message("# needs %s\n", feature);
	skip();
}

void rf_test_need_root(void)
{
	rf_test_need("root", geteuid() == 0);
}

bool rf_test_kernel(unsigned major, unsigned minor)
{
	unsigned running_major, running_minor;
	struct utsname name;

	if (uname(&name) || sscanf(name.release, "%u.%u", &running_major, &running_minor) != 2)
		return false;
	return running_major > major || (running_major == major && running_minor >= minor);
}

bool rf_test_instrumented(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	return true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
	return true;
#endif
#endif
	const char *preloaded = getenv("LD_PRELOAD");

	return preloaded && strstr(preloaded, "vgpreload");
}

unsigned rf_test_rounds(unsigned full)
{
	if (!rf_test_instrumented() && !getenv("RF_TEST_QUICK"))
		return full;
	return full < 10 ? 1 : full / 10;
}

uint64_t rf_test_deadline(unsigned ms)
{
	return rf__later(rf__now(), ms * RF__MSEC);
}

void rf_test_limit(unsigned seconds)
{
	alarm(seconds);
}

size_t rf_test_count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	const struct dirent *entry;
	size_t n = 0;

	assert_non_null(dir);
	while ((entry = readdir(dir)))
		n += entry->d_name[0] != '.';
	closedir(dir);
	return n - 1; /* the directory's own */
}

static size_t count_maps(const char *word)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[PATH_MAX + 128];
	size_t n = 0;

	assert_non_null(maps);
	while (fgets(line, sizeof(line), maps))
		n += strstr(line, word) != NULL;
	fclose(maps);
	return n;
}

size_t rf_test_count_mappings(void)
{
	return count_maps("\n");
}

size_t rf_test_count_memfd_mappings(void)
{
	return count_maps("/memfd:");
}

static char tmpdir[PATH_MAX];
static pid_t tmpdir_owner;

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *where)
{
	(void)st;
	(void)type;
	(void)where;
	remove(path);
	return 0;
}

static void remove_tmpdir(void)
{
	if (getpid() == tmpdir_owner)
		nftw(tmpdir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

const char *rf_test_tmpdir(void)
{
	const char *parent = getenv("TMPDIR");

	if (tmpdir[0])
		return tmpdir;
	snprintf(tmpdir, sizeof(tmpdir), "%s/rf-XXXXXX", parent ? parent : "/tmp");
	if (!mkdtemp(tmpdir) || chmod(tmpdir, 01777)) {
		tmpdir[0] = '\0';
		fail_msg("no temporary directory: %s", strerror(errno));
	}
	tmpdir_owner = getpid();
	atexit(remove_tmpdir);
	return tmpdir;
}

static const char *tree_path(char *buffer, const char *variable, const char *path)
{
	const char *tree = getenv(variable);
	char *absolute = realpath(tree ? tree : ".", NULL);

	assert_non_null(absolute);
	snprintf(buffer, PATH_MAX, "%s/%s", absolute, path);
	free(absolute);
	return buffer;
}

const char *rf_test_built(const char *path)
{
	static char buffer[PATH_MAX];

	return tree_path(buffer, "RF_BUILDDIR", path);
}

const char *rf_test_source(const char *path)
{
	static char buffer[PATH_MAX];

	return tree_path(buffer, "RF_SRCDIR", path);
}

static void go_first_when_memory_ends(void)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	if (write(fd, "1000", 4) < 0)
		errno = 0; /* a sandbox may forbid it */
	close(fd);
}

/* A change of user clears the death signal, so that comes last; the parent may have gone before. */
static bool become(uid_t uid, gid_t gid, pid_t parent)
{
	const struct rlimit no_core = {0, 0};

	setrlimit(RLIMIT_CORE, &no_core);
	go_first_when_memory_ends();
	if ((uid || gid) && setgroups(0, NULL))
		return false;
	if (gid && setresgid(gid, gid, gid))
		return false;
	if (uid && setresuid(uid, uid, uid))
		return false;
	if (prctl(PR_SET_DUMPABLE, 1) || prctl(PR_SET_PDEATHSIG, SIGKILL))
		return false;
	return getppid() == parent;
}

/* A hung child must not write what it inherited in our stdio buffers. */
static pid_t fork_flushed(void)
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid < 0)
		fail_msg("fork: %s", strerror(errno));
	return pid;
}

pid_t rf_test_child(int (*run)(void *arg), void *arg, uid_t uid, gid_t gid)
{
	pid_t parent = getpid();
	pid_t pid = fork_flushed();

	if (pid)
		return pid;
	_exit(become(uid, gid, parent) ? run(arg) : NOT_STARTED);
}

pid_t rf_test_spawn(char *const argv[], uid_t uid, gid_t gid)
{
	pid_t parent = getpid();
	pid_t pid = fork_flushed();
	int program;

	if (pid)
		return pid;
	program = open(argv[0], O_PATH | O_CLOEXEC);
	if (program >= 0 && become(uid, gid, parent))
		fexecve(program, argv, environ);
	_exit(NOT_STARTED);
}

/* valgrind knows no pidfd_open(2): there, children are asked after every millisecond. */
static bool has_exited_without_pidfd(pid_t pid, uint64_t deadline_ns)
{
	const struct timespec pause = {.tv_nsec = 1000000};
	siginfo_t info = {.si_pid = 0};

	while (!waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) && !info.si_pid) {
		if (rf__now() >= deadline_ns)
			return false;
		nanosleep(&pause, NULL);
	}
	return true;
}

static bool has_exited_by(pid_t pid, uint64_t deadline_ns)
{
	struct pollfd poll_fd = {.fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN};
	uint64_t now;
	int n;

	if (poll_fd.fd < 0)
		return has_exited_without_pidfd(pid, deadline_ns);
	do {
		now = rf__now();
		n = poll(&poll_fd, 1,
			now < deadline_ns ? (int)((deadline_ns - now) / RF__MSEC) + 1 : 0);
	} while (n < 0 && errno == EINTR);
	close(poll_fd.fd);
	return n > 0;
}

static int reap(pid_t pid)
{
	int status;
	pid_t got;

	do
		got = waitpid(pid, &status, 0);
	while (got < 0 && errno == EINTR);
	assert_int_equal(got, pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

int rf_test_wait(pid_t pid, unsigned timeout_ms)
{
	assert_true(pid > 0);
	if (has_exited_by(pid, rf_test_deadline(timeout_ms)))
		return reap(pid);
	rf_test_kill(pid);
	return RF_TEST_HUNG;
}

/* A process stuck in the kernel takes no SIGKILL; then the reaping is left to init. */
void rf_test_kill(pid_t pid)
{
	if (pid <= 0)
		return;
	kill(pid, SIGKILL);
	if (has_exited_by(pid, rf_test_deadline(5000)))
		reap(pid);
}

static uint64_t set_soft_limit(__rlimit_resource_t resource, uint64_t value)
{
	struct rlimit limit;
	rlim_t before;

	assert_int_equal(getrlimit(resource, &limit), 0);
	before = limit.rlim_cur;
	limit.rlim_cur = value < limit.rlim_max ? value : limit.rlim_max;
	assert_int_equal(setrlimit(resource, &limit), 0);
	return before;
}

uint64_t rf_test_limit_file_size(uint64_t bytes)
{
	return set_soft_limit(RLIMIT_FSIZE, bytes);
}

uint64_t rf_test_limit_files(uint64_t n)
{
	return set_soft_limit(RLIMIT_NOFILE, n);
}
