/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a test leaves behind in its own process: descriptors and threads when
 * its body ends, children when the process has run its exit handlers.
 */
#include "harness_internal.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_FDS 4096

/* ThreadSanitizer starts a thread of its own when it likes. */
#ifdef HARNESS_TSAN
# define SANITIZER_THREADS 1
#else
# define SANITIZER_THREADS 0
#endif

static bool fd_allowed[MAX_FDS];
static int threads_at_begin;
static struct rlimit limits_at_begin[2];
static const int limits[2] = {RLIMIT_NOFILE, RLIMIT_AS};

static int
count_threads(void)
{
    DIR *directory = opendir("/proc/self/task");
    const struct dirent *entry;
    int count = 0;

    if (directory == NULL) {
        FAIL("cannot open /proc/self/task: %s", strerror(errno));
    }
    while ((entry = readdir(directory)) != NULL) {
        count += entry->d_name[0] != '.';
    }
    (void)closedir(directory);
    return count;
}

/* Adds the name a socket is bound to, from /proc/net/unix. */
static void
describe_socket(const char *link, char *buffer, size_t size)
{
    char line[512];
    unsigned long wanted;
    FILE *file;

    if (sscanf(link, "socket:[%lu]", &wanted) != 1) {
        return;
    }
    file = fopen("/proc/net/unix", "re");
    if (file == NULL) {
        return;
    }
    while (fgets(line, sizeof(line), file) != NULL) {
        unsigned long inode;
        int end = 0;

        line[strcspn(line, "\n")] = '\0';
        if (sscanf(line, "%*s %*s %*s %*s %*s %*s %lu%n", &inode, &end) == 1 &&
            inode == wanted) {
            (void)snprintf(buffer, size, ", a unix socket%s%s",
                           line[end] ? " bound to" : "", line + end);
        }
    }
    (void)fclose(file);
}

/* The library's heap stays mapped and open as long as the process lives. */
static bool
is_heap(const char *link)
{
    return strncmp(link, "/memfd:troupe", strlen("/memfd:troupe")) == 0;
}

/* Calls with each open descriptor but the one used to list them. */
static void
for_each_fd(void (*call)(int fd))
{
    DIR *directory = opendir("/proc/self/fd");
    const struct dirent *entry;

    if (directory == NULL) {
        FAIL("cannot open /proc/self/fd: %s", strerror(errno));
    }
    while ((entry = readdir(directory)) != NULL) {
        char *end;
        long fd = strtol(entry->d_name, &end, 10);

        if (end != entry->d_name && *end == '\0' && fd != dirfd(directory)) {
            call((int)fd);
        }
    }
    (void)closedir(directory);
}

static void
allow_fd(int fd)
{
    if (fd < MAX_FDS) {
        fd_allowed[fd] = true;
    }
}

static void
check_fd(int fd)
{
    char path[64];
    char link[256] = "";
    char more[512] = "";
    ssize_t length;

    if (fd < MAX_FDS && fd_allowed[fd]) {
        return;
    }
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    length = readlink(path, link, sizeof(link) - 1);
    if (length < 0) {
        return;
    }
    if (is_heap(link)) {
        return;
    }
    describe_socket(link, more, sizeof(more));
    FAIL("residue: descriptor %d left open (%s%s)", fd, link, more);
}

void
harness_keep_fd(int fd)
{
    if (getpid() == harness_test_pid) {
        allow_fd(fd);
    }
}

void
harness_residue_begin(void)
{
    for (size_t i = 0; i < 2; i++) {
        (void)getrlimit((unsigned)limits[i], &limits_at_begin[i]);
    }
    memset(fd_allowed, 0, sizeof(fd_allowed));
    for_each_fd(allow_fd);
    threads_at_begin = count_threads() + SANITIZER_THREADS;
}

/*
 * A joined thread is still listed for a moment: the kernel wakes the joiner
 * before it takes the thread off the list, and nothing tells when it did.
 */
static int
settled_thread_count(void)
{
    const struct timespec moment = {.tv_nsec = 1000000};
    int count = count_threads();

    for (int i = 0; i < 500 && count > threads_at_begin; i++) {
        (void)nanosleep(&moment, NULL);
        count = count_threads();
    }
    return count;
}

void
harness_residue_end(void)
{
    int threads;

    if (getpid() != harness_test_pid) {
        FAIL("a forked child returned from the body of the test");
    }
    /* a test may have lowered what listing the descriptors needs */
    for (size_t i = 0; i < 2; i++) {
        struct rlimit limit;

        if (getrlimit((unsigned)limits[i], &limit) == 0) {
            limit.rlim_cur = limits_at_begin[i].rlim_cur < limit.rlim_max
                                 ? limits_at_begin[i].rlim_cur
                                 : limit.rlim_max;
            (void)setrlimit((unsigned)limits[i], &limit);
        }
    }
    threads = settled_thread_count();
    if (threads > threads_at_begin) {
        FAIL("residue: %d thread(s) left running", threads - threads_at_begin);
    }
    for_each_fd(check_fd);
    __atomic_store_n(&harness_record->finished, 1, __ATOMIC_RELAXED);
}

/*
 * Children are looked for after all exit handlers, where the library ends
 * daemons and joins the rest: this is the program's last destructor.
 */
__attribute__((destructor(101))) static void
check_children(void)
{
    siginfo_t info = {.si_pid = 0};

    if (harness_test_pid == 0 || getpid() != harness_test_pid ||
        !__atomic_load_n(&harness_record->finished, __ATOMIC_RELAXED)) {
        return;
    }
    if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) != 0) {
        return;
    }
    if (info.si_pid == 0) {
        FAIL("residue: a child process left running");
    }
    FAIL("residue: zombie %d left unreaped", (int)info.si_pid);
}
