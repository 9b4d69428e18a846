/* SPDX-License-Identifier: Apache-2.0 */
#include "wake_loop.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { SAMPLES_MAX = 1 << 16 };

struct wake_shared {
    uint64_t about_to_wait __attribute__((aligned(BENCH_LINE)));
    uint64_t woken __attribute__((aligned(BENCH_LINE)));
    uint64_t payload __attribute__((aligned(BENCH_LINE)));
    int64_t before;
    int waiter_pid;
    size_t count;
    double samples[SAMPLES_MAX];
};

struct wake_run {
    const struct wake_system *system;
    void *subject;
    struct wake_shared *shared;
};

/* What the waker leaves for the waiter to check. */
static uint64_t
payload_of(uint64_t round)
{
    return round * 0x9e3779b97f4a7c15u;
}

static void
wait_side(struct bench_team *team, struct bench_cell *cell, unsigned index,
          void *context)
{
    struct wake_run *run = context;
    struct wake_shared *shared = run->shared;
    uint64_t round;

    (void)index;
    shared->waiter_pid = getpid();
    bench_team_ready(team);
    for (round = 1;; round++) {
        int64_t after;
        uint64_t payload;

        __atomic_store_n(&shared->about_to_wait, round, __ATOMIC_RELEASE);
        run->system->wait(run->subject);
        after = bench_now();
        payload = __atomic_load_n(&shared->payload, __ATOMIC_ACQUIRE);
        if (payload == 0)
            break;
        bench_check(payload == payload_of(round), "woken too early or late");
        if (shared->count < SAMPLES_MAX)
            shared->samples[shared->count++] =
                (double)(after - shared->before) / 1e3;
        run->system->reset(run->subject);
        __atomic_store_n(&shared->woken, round, __ATOMIC_RELEASE);
    }
    cell->count = round;
}

/* The kernel says that the process sleeps. */
static int
is_asleep(int stat_file)
{
    char text[512];
    ssize_t length = pread(stat_file, text, sizeof text - 1, 0);
    char *paren;

    bench_check(length > 0, "the waiter is gone");
    text[length] = 0;
    paren = strrchr(text, ')');
    return paren && paren[1] == ' ' && paren[2] == 'S';
}

static void
wake_side(struct bench_team *team, struct bench_cell *cell, unsigned index,
          void *context)
{
    struct wake_run *run = context;
    struct wake_shared *shared = run->shared;
    char path[64];
    uint64_t round;
    int last = 0;
    int stat_file;

    (void)index;
    snprintf(path, sizeof path, "/proc/%d/stat", shared->waiter_pid);
    stat_file = open(path, O_RDONLY | O_CLOEXEC);
    bench_check(stat_file >= 0, "%s: %s", path, strerror(errno));
    bench_team_ready(team);
    for (round = 1; !last; round++) {
        last = bench_stopped(team);
        while (__atomic_load_n(&shared->about_to_wait, __ATOMIC_ACQUIRE) !=
               round)
            sched_yield();
        while (!is_asleep(stat_file))
            sched_yield();
        __atomic_store_n(&shared->payload, last ? 0 : payload_of(round),
                         __ATOMIC_RELEASE);
        shared->before = bench_now();
        run->system->wake(run->subject);
        while (!last &&
               __atomic_load_n(&shared->woken, __ATOMIC_ACQUIRE) != round)
            sched_yield();
    }
    close(stat_file);
    cell->count = round - 1;
}

void
wake_main(const struct wake_system *systems, size_t count, int argc,
          char **argv)
{
    struct bench_arguments arguments;
    struct wake_run run = {0};
    struct bench_team team;
    size_t i;

    bench_parse(&arguments, argc, argv);
    for (i = 0; i < count; i++) {
        if (strcmp(systems[i].name, arguments.system) == 0)
            run.system = &systems[i];
    }
    bench_check(run.system, "--system: not known here: %s", arguments.system);
    run.subject = run.system->make();
    run.shared = bench_shared(sizeof *run.shared);
    bench_team_init(&team);
    bench_team_add(&team, wait_side, &run,
                   arguments.placement == BENCH_TWO ? 1 : 0);
    bench_team_wait_ready(&team);
    bench_team_add(&team, wake_side, &run, 0);
    bench_team_run(&team, arguments.seconds);
    bench_team_join(&team);
    bench_check(team.control->cells[0].count == team.control->cells[1].count,
                "wake-ups lost");
    bench_report("us", bench_median(run.shared->samples, run.shared->count));
}
