/* SPDX-License-Identifier: Apache-2.0 */
/* How a process learns that another one ended, and how. */
#include "contract.h"

#include <limits.h>
#include <linux/sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

static void *
sleep_forever(void *ready)
{
    atomic_store((_Atomic int *)ready, 1);
    for (;;)
        pause();
    return NULL;
}

TEST(a_pidfd_is_readable_only_when_all_threads_have_ended)
{
    _Atomic int *ready = shared_memory(4096);
    pid_t pid = fork_checked();
    char path[64], text[256];
    int pidfd, fd;

    if (pid == 0) {
        pthread_t thread;

        CHECK_EQ(pthread_create(&thread, NULL, sleep_forever, AT(ready)), 0);
        pthread_exit(NULL);
    }
    pidfd = pidfd_of(pid);
    await_value(ready, 1);
    /* The first thread is a zombie, the process is not. */
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    do {
        ssize_t got;

        fd = open(path, O_RDONLY | O_CLOEXEC);
        CHECK_GE(fd, 0);
        got = read(fd, text, sizeof(text) - 1);
        CHECK_GT(got, 0);
        text[got] = '\0';
        close(fd);
    } while (strrchr(text, ')')[2] != 'Z');
    CHECK(!readable_now(pidfd));
    CHECK_EQ(waitpid(pid, NULL, WNOHANG), 0);
    CHECK_EQ(kill(pid, SIGKILL), 0);
    await_readable(pidfd);
    CHECK_EQ(waitpid(pid, NULL, 0), pid);
    close(pidfd);
    munmap(AT(ready), 4096);
}

static nlink_t
links_of_the_task_directory(void)
{
    struct stat st;

    CHECK_EQ(stat("/proc/self/task", &st), 0);
    return st.st_nlink;
}

static void *
wait_for_an_end(void *end)
{
    await_value(end, 1);
    return NULL;
}

TEST(the_task_directory_has_a_link_for_each_thread_and_two)
{
    static _Atomic int end;
    pthread_t threads[3];

    CHECK_EQ(links_of_the_task_directory(), 2 + 1);
    for (nlink_t i = 0; i < 3; i++) {
        CHECK_EQ(pthread_create(&threads[i], NULL, wait_for_an_end, AT(&end)),
                 0);
        CHECK_EQ(links_of_the_task_directory(), 2 + 1 + i + 1);
    }
    atomic_store(&end, 1);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    /* a thread may be joined a moment before the kernel is done with it */
    while (links_of_the_task_directory() != 2 + 1)
        sched_yield();
}

/* Writers of lines of all lengths up to PIPE_BUF, each of its own letter. */
TEST(writes_of_up_to_pipe_buf_bytes_do_not_mix)
{
    enum { WRITERS = 4, LINES = 300 };

    static const size_t lengths[WRITERS] = {PIPE_BUF, PIPE_BUF - 1, 1000, 7};
    pid_t pids[WRITERS];
    int ends[2], lines = 0;
    char *line = NULL;
    size_t room = 0;
    ssize_t length;
    FILE *file;

    CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
    for (int i = 0; i < WRITERS; i++) {
        pids[i] = fork_checked();
        if (pids[i] == 0) {
            char text[PIPE_BUF];

            memset(text, 'a' + i, sizeof(text));
            text[lengths[i] - 1] = '\n';
            for (int j = 0; j < LINES; j++)
                CHECK_EQ(write(ends[1], text, lengths[i]), (ssize_t)lengths[i]);
            _exit(0);
        }
    }
    close(ends[1]);
    file = fdopen(ends[0], "r");
    CHECK(file != NULL);
    while ((length = getline(&line, &room, file)) > 0) {
        int writer = line[0] - 'a';

        CHECK(writer >= 0 && writer < WRITERS);
        CHECK_EQ((size_t)length, lengths[writer]);
        for (ssize_t i = 0; i < length - 1; i++)
            CHECK_EQ(line[i], line[0]);
        lines++;
    }
    CHECK_EQ(lines, WRITERS * LINES);
    for (int i = 0; i < WRITERS; i++)
        reap_success(pids[i]);
    free(line);
    fclose(file);
}

TEST(a_pidfd_gives_the_exit_code_once)
{
    pid_t pid = fork_checked();
    siginfo_t info = {0};
    int pidfd;

    if (pid == 0)
        _exit(42);
    pidfd = pidfd_of(pid);
    await_readable(pidfd);
    CHECK_EQ(waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED | WNOWAIT), 0);
    CHECK_EQ(info.si_status, 42);
    CHECK_EQ(waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED), 0);
    CHECK_EQ(info.si_code, CLD_EXITED);
    CHECK_EQ(info.si_pid, pid);
    CHECK_EQ(waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED), -1);
    CHECK_EQ(errno, ECHILD);
    /* It stays readable, and signals find nobody. */
    CHECK(readable_now(pidfd));
    CHECK_EQ(syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0), -1);
    CHECK_EQ(errno, ESRCH);
    close(pidfd);
}

TEST(a_child_that_runs_gives_nothing_yet)
{
    pid_t pid = fork_checked();
    siginfo_t info = {.si_pid = 1};
    int pidfd;

    if (pid == 0)
        for (;;)
            pause();
    pidfd = pidfd_of(pid);
    CHECK(!readable_now(pidfd));
    CHECK_EQ(waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED | WNOHANG), 0);
    CHECK_EQ(info.si_pid, 0);
    kill_and_reap(pid);
    close(pidfd);
}

TEST(a_child_that_the_program_reaped_is_echild_to_us)
{
    pid_t pid = fork_checked();
    siginfo_t info;
    int pidfd;

    if (pid == 0)
        _exit(5);
    pidfd = pidfd_of(pid);
    CHECK_EQ(waitpid(-1, NULL, 0), pid);
    CHECK(readable_now(pidfd));
    CHECK_EQ(waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED), -1);
    CHECK_EQ(errno, ECHILD);
    close(pidfd);
}

TEST(with_sigchld_ignored_the_exit_code_is_lost)
{
    siginfo_t info;
    int pidfd;
    pid_t pid;

    CHECK(signal(SIGCHLD, SIG_IGN) != SIG_ERR);
    pid = fork_checked();
    if (pid == 0)
        _exit(5);
    pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (pidfd >= 0) {
        await_readable(pidfd);
        CHECK_EQ(waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED), -1);
        CHECK_EQ(errno, ECHILD);
        close(pidfd);
    } else
        CHECK_EQ(errno, ESRCH);
    signal(SIGCHLD, SIG_DFL);
}

/* Of linux/pidfd.h, which is younger than some C libraries. */
struct pidfd_info_v1 {
    uint64_t mask;
    uint64_t cgroup;
    uint32_t ids[11];
    int32_t exit_code;
};

/* Whoever does not get it must see that it did not: an older kernel refuses, or
 * leaves the bit out. */
TEST(a_pidfd_tells_the_exit_code_of_a_reaped_child_or_that_it_does_not)
{
    struct pidfd_info_v1 info = {.mask = 8};
    pid_t pid = fork_checked();
    int pidfd;

    if (pid == 0)
        _exit(42);
    pidfd = pidfd_of(pid);
    CHECK_EQ(waitpid(pid, NULL, 0), pid);
    if (ioctl(pidfd, _IOWR(0xff, 11, struct pidfd_info_v1), &info) != 0) {
        /* before 6.13 no such call, before 6.15 none about the reaped */
        CHECK(errno == ENOTTY || errno == EINVAL || errno == ESRCH);
    } else if ((info.mask & 8) != 0) {
        CHECK(WIFEXITED(info.exit_code));
        CHECK_EQ(WEXITSTATUS(info.exit_code), 42);
    } else {
        CHECK_EQ(info.exit_code, 0);
    }
    close(pidfd);
}

/* ---- clone3 and exec ---- */

static pid_t
clone_silently(int *pidfd)
{
    struct clone_args arguments = {
        .flags = CLONE_PIDFD,
        .pidfd = (uint64_t)(uintptr_t)pidfd,
        .exit_signal = 0,
    };
    pid_t pid = (pid_t)syscall(SYS_clone3, &arguments, sizeof(arguments));

    if (pid < 0 && (errno == ENOSYS || errno == EPERM))
        SKIP("no clone3 here: %s", strerror(errno));
    CHECK_GE(pid, 0);
    return pid;
}

TEST(a_child_without_exit_signal_is_hidden_from_waitpid)
{
    siginfo_t info = {0};
    int pidfd = -1;

    if (clone_silently(&pidfd) == 0)
        _exit(6);
    CHECK_GE(fcntl(pidfd, F_GETFD), 0);
    CHECK_EQ(fcntl(pidfd, F_GETFD), FD_CLOEXEC);
    await_readable(pidfd);
    CHECK_EQ(waitpid(-1, NULL, WNOHANG), -1);
    CHECK_EQ(errno, ECHILD);
    CHECK_EQ(waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED | (int)__WCLONE), 0);
    CHECK_EQ(info.si_status, 6);
    close(pidfd);
}

TEST(exec_resets_the_exit_signal_so_that_waitpid_sees_the_child)
{
    int pidfd = -1, status;
    pid_t pid = clone_silently(&pidfd);

    if (pid == 0) {
        execl("/bin/true", "true", (char *)NULL);
        _exit(127);
    }
    await_readable(pidfd);
    CHECK_EQ(waitpid(-1, &status, 0), pid);
    CHECK(WIFEXITED(status));
    CHECK_EQ(WEXITSTATUS(status), 0);
    close(pidfd);
}

/* ---- the limit of processes ---- */

/* A pipe opened anew through /proc does not block, and the one that all
 * processes share goes on doing so. */
TEST(a_pipe_opened_anew_has_flags_of_its_own)
{
    char path[64];
    char byte = 'x';
    int ends[2], again;

    CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", ends[1]);
    again = open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    CHECK_GE(again, 0);
    CHECK_EQ(fcntl(ends[1], F_GETFL) & O_NONBLOCK, 0);
    while (write(again, &byte, 1) == 1) {
    }
    CHECK_EQ(errno, EAGAIN);
    close(again);
    close(ends[1]);
    CHECK_EQ(read(ends[0], &byte, 1), 1);
    CHECK_EQ(byte, 'x');
    close(ends[0]);
}

TEST(beyond_the_limit_of_processes_fork_is_eagain_to_an_ordinary_user)
{
    pid_t pid = fork_checked();

    if (pid == 0) {
        struct rlimit limit = {1, 1};
        pid_t inner;

        if (getuid() == 0)
            CHECK_EQ(setresuid(65534, 65534, 65534), 0);
        CHECK_EQ(setrlimit(RLIMIT_NPROC, &limit), 0);
        /* The first may just fit, when the user has no other process. */
        inner = fork();
        if (inner == 0) {
            CHECK_EQ(fork(), -1);
            CHECK_EQ(errno, EAGAIN);
            _exit(0);
        }
        if (inner > 0)
            reap_success(inner);
        else
            CHECK_EQ(errno, EAGAIN);
        _exit(0);
    }
    reap_success(pid);
}

/* ---- children that end with their parent ---- */

struct family {
    _Atomic int child;
    _Atomic int ready;
    int ends[2];
};

static void *
start_daemon(void *argument)
{
    struct family *family = argument;
    pid_t pid = fork_checked();

    if (pid == 0) {
        struct pollfd end = {.fd = family->ends[0], .events = POLLIN};

        close(family->ends[1]);
        CHECK_EQ(fcntl(family->ends[0], F_SETOWN, getpid()), 0);
        CHECK_EQ(fcntl(family->ends[0], F_SETSIG, SIGKILL), 0);
        CHECK_EQ(fcntl(family->ends[0], F_SETFL, O_ASYNC | O_NONBLOCK), 0);
        /* A parent that died before this is seen here. */
        CHECK_EQ(poll(&end, 1, 0), 0);
        atomic_store(&family->ready, 1);
        for (;;)
            pause();
    }
    atomic_store(&family->child, pid);
    return NULL;
}

/* The parent, whose thread that started the daemon is gone. */
static pid_t
daemon_and_parent(struct family *family)
{
    pid_t pid = fork_checked();

    if (pid == 0) {
        pthread_t thread;

        CHECK_EQ(pipe2(family->ends, O_CLOEXEC), 0);
        CHECK_EQ(pthread_create(&thread, NULL, start_daemon, family), 0);
        CHECK_EQ(pthread_join(thread, NULL), 0);
        await_value(&family->ready, 1);
        atomic_store(&family->ready, 2);
        for (;;)
            pause();
    }
    await_value(&family->ready, 2);
    return pid;
}

TEST(getppid_changes_once_the_parent_is_gone)
{
    struct family *family = shared_memory(4096);
    pid_t us = getpid();
    pid_t parent = fork_checked();

    CHECK_EQ(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
    if (parent == 0) {
        pid_t middle = getpid();
        pid_t child = fork_checked();

        if (child == 0) {
            CHECK_EQ(getppid(), middle);
            atomic_store(&family->ready, 1);
            await_value(&family->ready, 2);
            CHECK_EQ(getppid(), us);
            _exit(0);
        }
        atomic_store(&family->child, child);
        for (;;)
            pause();
    }
    await_value(&family->ready, 1);
    while (atomic_load(&family->child) == 0)
        sched_yield();
    kill_and_reap(parent);
    atomic_store(&family->ready, 2);
    reap_success(atomic_load(&family->child));
    CHECK_EQ(prctl(PR_SET_CHILD_SUBREAPER, 0), 0);
    munmap(family, 4096);
}

TEST(a_life_pipe_kills_the_child_when_its_parent_is_killed)
{
    struct family *family = shared_memory(4096);
    pid_t parent, child;
    int status;

    CHECK_EQ(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
    parent = daemon_and_parent(family);
    child = atomic_load(&family->child);
    /* It has survived the thread that started it. */
    CHECK_EQ(kill(child, 0), 0);
    kill_and_reap(parent);
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFSIGNALED(status));
    CHECK_EQ(WTERMSIG(status), SIGKILL);
    CHECK_EQ(prctl(PR_SET_CHILD_SUBREAPER, 0), 0);
    munmap(family, 4096);
}

TEST(a_child_that_comes_late_sees_its_dead_parent_as_a_hangup)
{
    int ends[2];
    struct pollfd end;

    CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
    close(ends[1]);
    CHECK_EQ(fcntl(ends[0], F_SETOWN, getpid()), 0);
    CHECK_EQ(fcntl(ends[0], F_SETSIG, SIGUSR1), 0);
    CHECK_EQ(fcntl(ends[0], F_SETFL, O_ASYNC | O_NONBLOCK), 0);
    /* No signal will ever come: the last writer has gone before. */
    end = (struct pollfd){.fd = ends[0], .events = POLLIN};
    CHECK_EQ(poll(&end, 1, 0), 1);
    CHECK_EQ(end.revents & POLLHUP, POLLHUP);
    close(ends[0]);
}

TEST(a_child_with_its_own_copy_of_the_write_end_is_not_killed)
{
    int ends[2];
    struct pollfd end;
    pid_t pid;

    /* Which is why only the parent may have it. */
    CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
    pid = fork_checked();
    if (pid == 0)
        for (;;)
            pause();
    close(ends[1]);
    end = (struct pollfd){.fd = ends[0], .events = POLLIN};
    CHECK_EQ(poll(&end, 1, 0), 0);
    kill_and_reap(pid);
    CHECK_EQ(poll(&end, 1, 0), 1);
    CHECK_EQ(end.revents & POLLHUP, POLLHUP);
    close(ends[0]);
}

static void *
start_bound_to_thread(void *argument)
{
    struct family *family = argument;
    pid_t pid = fork_checked();

    if (pid == 0) {
        CHECK_EQ(prctl(PR_SET_PDEATHSIG, SIGKILL), 0);
        atomic_store(&family->ready, 1);
        for (;;)
            pause();
    }
    atomic_store(&family->child, pid);
    await_value(&family->ready, 1);
    return NULL;
}

TEST(a_parent_death_signal_comes_already_when_the_starting_thread_ends)
{
    struct family *family = shared_memory(4096);
    pthread_t thread;
    int status;

    CHECK_EQ(pthread_create(&thread, NULL, start_bound_to_thread, family), 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_EQ(waitpid(family->child, &status, 0), family->child);
    CHECK(WIFSIGNALED(status));
    CHECK_EQ(WTERMSIG(status), SIGKILL);
    munmap(family, 4096);
}

TEST(a_subreaper_inherits_the_children_of_a_dead_descendant)
{
    struct family *family = shared_memory(4096);
    int status;
    pid_t pid;

    CHECK_EQ(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
    pid = fork_checked();
    if (pid == 0) {
        pid = fork_checked();
        if (pid == 0) {
            await_value(&family->ready, 1);
            _exit(7);
        }
        atomic_store(&family->child, pid);
        _exit(0);
    }
    reap_success(pid);
    atomic_store(&family->ready, 1);
    CHECK_EQ(waitpid(family->child, &status, 0), family->child);
    CHECK_EQ(WEXITSTATUS(status), 7);
    CHECK_EQ(prctl(PR_SET_CHILD_SUBREAPER, 0), 0);
    munmap(family, 4096);
}
