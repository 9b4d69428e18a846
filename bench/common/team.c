/* SPDX-License-Identifier: Apache-2.0 */
#include "bench.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    MEMBER_MAX_SECONDS = 50, /* shorter than the measuring process's own */
};

void
bench_team_init(struct bench_team *team)
{
    sigset_t set;

    memset(team, 0, sizeof *team);
    team->control = (struct bench_control *)bench_shared(sizeof *team->control);
    /* Blocked, so that bench_team_run() can wait for one with a time-out. */
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
}

static void
end_all(struct bench_team *team)
{
    unsigned i;

    for (i = 0; i < team->members; i++) {
        if (team->pids[i] > 0)
            kill(team->pids[i], SIGKILL);
    }
    for (i = 0; i < team->members; i++) {
        if (team->pids[i] > 0)
            waitpid(team->pids[i], NULL, 0);
        team->pids[i] = 0;
    }
}

/* Reaps members that have ended; the first failure ends everything. */
static unsigned
reap(struct bench_team *team, int options)
{
    unsigned left = 0;
    unsigned i;
    int status;
    int pid;

    for (i = 0; i < team->members; i++) {
        if (team->pids[i] == 0)
            continue;
        do
            pid = waitpid(team->pids[i], &status, options);
        while (pid < 0 && errno == EINTR);
        if (pid == 0) {
            left++;
            continue;
        }
        team->pids[i] = 0;
        if (pid < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
            end_all(team);
            bench_directory_remove();
            if (pid > 0 && WIFEXITED(status))
                _exit(WEXITSTATUS(status));
            bench_die("member %u ended by signal %d", i,
                      pid > 0 ? WTERMSIG(status) : 0);
        }
    }
    return left;
}

void
bench_team_add(struct bench_team *team, bench_member *function, void *context,
               int cpu)
{
    unsigned index = team->members;
    int parent = getpid();
    sigset_t set;
    int pid;

    bench_check(index < BENCH_MEMBERS_MAX, "too many members");
    pid = fork();
    if (pid < 0) {
        int reason = errno;

        end_all(team);
        bench_die("fork: %s", strerror(reason));
    }
    if (pid > 0) {
        team->pids[index] = pid;
        team->members++;
        return;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    alarm(MEMBER_MAX_SECONDS);
    sigemptyset(&set);
    sigprocmask(SIG_SETMASK, &set, NULL);
    if (cpu >= 0)
        bench_pin((unsigned)cpu);
    function(team, &team->control->cells[index], index, context);
    _exit(0);
}

void
bench_team_ready(struct bench_team *team)
{
    struct bench_control *control = team->control;

    /* release: what the member prepared is there for the others */
    __atomic_add_fetch(&control->ready, 1, __ATOMIC_RELEASE);
    bench_futex_wake(&control->ready, 1);
    while (__atomic_load_n(&control->gate, __ATOMIC_ACQUIRE) == 0)
        bench_futex_wait(&control->gate, 0, -1);
}

void
bench_team_wait_ready(struct bench_team *team)
{
    struct bench_control *control = team->control;
    uint32_t ready;

    while ((ready = __atomic_load_n(&control->ready, __ATOMIC_ACQUIRE)) <
           team->members) {
        bench_futex_wait(&control->ready, ready, 10000000);
        reap(team, WNOHANG);
    }
}

void
bench_team_run(struct bench_team *team, double seconds)
{
    struct bench_control *control = team->control;
    int64_t end;
    int64_t left;
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    bench_team_wait_ready(team);
    team->start = bench_now();
    __atomic_store_n(&control->gate, 1, __ATOMIC_RELEASE);
    bench_futex_wake(&control->gate, INT_MAX);
    end = team->start + (int64_t)(seconds * 1e9);
    while ((left = end - bench_now()) > 0) {
        struct timespec timeout = {.tv_sec = left / 1000000000,
                                   .tv_nsec = left % 1000000000};

        /* A member that fails is noticed now, not when all others hang. */
        if (sigtimedwait(&set, NULL, &timeout) == SIGCHLD &&
            reap(team, WNOHANG) == 0)
            break;
    }
    __atomic_store_n(&control->stop, 1, __ATOMIC_RELAXED);
}

void
bench_team_join(struct bench_team *team)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    while (reap(team, WNOHANG) > 0) {
        struct timespec timeout = {.tv_nsec = 100000000};

        sigtimedwait(&set, NULL, &timeout);
    }
}
