/* SPDX-License-Identifier: Apache-2.0 */
/* What the contract tests share: memory, children, futexes, waiting. */
#ifndef TROUPE_TESTS_CONTRACT_H
#define TROUPE_TESTS_CONTRACT_H

#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef SYS_futex_waitv
# define SYS_futex_waitv 449
#endif
#ifndef P_PIDFD
# define P_PIDFD 3
#endif

/* An address without its qualifiers, for system calls. */
#define AT(pointer) ((void *)(uintptr_t)(pointer))

/* Memory that children made from now on share with us. */
static inline void *
shared_memory(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    CHECK(memory != MAP_FAILED);
    return memory;
}

static inline pid_t
fork_checked(void)
{
    pid_t pid = fork();

    CHECK_GE(pid, 0);
    return pid;
}

/* Waits for a value that another process or thread is going to store. */
static inline void
await_value(_Atomic int *word, int value)
{
    while (atomic_load(word) != value)
        sched_yield();
}

/* Waits until a process sleeps in the system call. */
static inline void
await_sleep_in(pid_t pid, long number)
{
    for (;;) {
        char path[64], text[256] = "";
        int fd;

        snprintf(path, sizeof(path), "/proc/%d/syscall", (int)pid);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        CHECK_GE(fd, 0);
        CHECK_GE(read(fd, text, sizeof(text) - 1), 0);
        close(fd);
        /* A process that runs shows no number. */
        if (text[0] >= '0' && text[0] <= '9' &&
            strtol(text, NULL, 10) == number)
            return;
        sched_yield();
    }
}

static inline void
kill_and_reap(pid_t pid)
{
    int status;

    CHECK_EQ(kill(pid, SIGKILL), 0);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFSIGNALED(status));
    CHECK_EQ(WTERMSIG(status), SIGKILL);
}

static inline void
reap_success(pid_t pid)
{
    int status;

    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFEXITED(status));
    CHECK_EQ(WEXITSTATUS(status), 0);
}

static inline int
pidfd_of(pid_t pid)
{
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);

    CHECK_GE(fd, 0);
    return fd;
}

static inline bool
readable_now(int fd)
{
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    int ready = poll(&wait, 1, 0);

    CHECK_GE(ready, 0);
    return ready == 1;
}

static inline void
await_readable(int fd)
{
    struct pollfd wait = {.fd = fd, .events = POLLIN};

    CHECK_EQ(poll(&wait, 1, -1), 1);
}

/* ---- futexes, always shared ---- */

/* Returns 0 or -errno; without a deadline it sleeps until it is woken. */
static inline int
futex_wait(void *word, uint32_t value, const struct timespec *deadline)
{
    long status = syscall(SYS_futex, word, FUTEX_WAIT_BITSET, value, deadline,
                          NULL, FUTEX_BITSET_MATCH_ANY);

    return status < 0 ? -errno : 0;
}

static inline int
futex_wake(void *word, int count)
{
    return (int)syscall(SYS_futex, word, FUTEX_WAKE, count, NULL, NULL, 0);
}

static inline struct timespec
after_ms(long ms)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    time.tv_sec += ms / 1000;
    time.tv_nsec += ms % 1000 * 1000000;
    if (time.tv_nsec >= 1000000000) {
        time.tv_sec++;
        time.tv_nsec -= 1000000000;
    }
    return time;
}

static inline bool
has_passed(const struct timespec *deadline)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec > deadline->tv_sec ||
           (now.tv_sec == deadline->tv_sec && now.tv_nsec >= deadline->tv_nsec);
}

/* ---- robust mutexes ---- */

#define TOKEN_TID     0x3fffffffu
#define TOKEN_DIED    0x40000000u
#define TOKEN_WAITERS 0x80000000u

static inline void
token_init(pthread_mutex_t *token)
{
    pthread_mutexattr_t attributes;

    CHECK_EQ(pthread_mutexattr_init(&attributes), 0);
    CHECK_EQ(pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED),
             0);
    CHECK_EQ(pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST), 0);
    CHECK_EQ(pthread_mutex_init(token, &attributes), 0);
    pthread_mutexattr_destroy(&attributes);
}

/* Index of the futex word, found by who holds it; -1 when there is none. */
static inline int
token_index(void)
{
    enum { WORDS = sizeof(pthread_mutex_t) / sizeof(uint32_t) };

    uint32_t words[WORDS];
    pthread_mutex_t mutex;
    int i, found = -1;

    token_init(&mutex);
    CHECK_EQ(pthread_mutex_lock(&mutex), 0);
    memcpy(words, &mutex, sizeof(words));
    for (i = 0; i < (int)WORDS && found < 0; i++)
        if (words[i] == (uint32_t)gettid())
            found = i;
    CHECK_EQ(pthread_mutex_unlock(&mutex), 0);
    pthread_mutex_destroy(&mutex);
    return found;
}

static inline _Atomic uint32_t *
token_word(pthread_mutex_t *token)
{
    int index = token_index();

    CHECK_GE(index, 0);
    return (_Atomic uint32_t *)(void *)token + index;
}

static inline void
await_marked(_Atomic uint32_t *word)
{
    while ((atomic_load(word) & TOKEN_DIED) == 0)
        sched_yield();
}

#endif
