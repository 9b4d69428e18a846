/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tasks-over-pipes: what one writes by hand. Worker processes read tasks from
 * one pipe and write results to another; the parent keeps 1,024 on their way.
 */
#include "pool_work.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum { IN_FLIGHT = 1024, AT_ONCE = 64 };

struct record {
    uint64_t index;
    uint64_t value;
};

struct pipes {
    int tasks[2];
    int results[2];
};

static void
work(struct bench_team *team, struct bench_cell *cell, unsigned index,
     void *context)
{
    struct pipes *pipes = context;
    struct record record;
    ssize_t got;

    (void)index;
    close(pipes->tasks[1]);
    bench_team_ready(team);
    /* Records are smaller than PIPE_BUF: they come and go in one piece. */
    while ((got = read(pipes->tasks[0], &record, sizeof record)) > 0) {
        bench_check(got == sizeof record, "a part of a task");
        record.value = pool_task_empty(record.value);
        bench_check(write(pipes->results[1], &record, sizeof record) ==
                        sizeof record,
                    "write: %s", strerror(errno));
        cell->count++;
    }
}

/* Sends as many as may be on their way; returns how many were sent by now. */
static size_t
send_tasks(struct pipes *pipes, const uint64_t *items, size_t sent,
           size_t until)
{
    struct record records[AT_ONCE];
    size_t i;

    while (sent < until) {
        size_t batch = until - sent < AT_ONCE ? until - sent : AT_ONCE;
        ssize_t size = (ssize_t)(batch * sizeof *records);

        for (i = 0; i < batch; i++)
            records[i] = (struct record){sent + i, items[sent + i]};
        bench_check(write(pipes->tasks[1], records, (size_t)size) == size,
                    "write: %s", strerror(errno));
        sent += batch;
    }
    return sent;
}

static void
map(void *pool, const uint64_t *items, uint64_t *results, size_t count)
{
    struct record records[AT_ONCE];
    struct pipes *pipes = pool;
    size_t sent = 0;
    size_t done = 0;
    size_t i;

    while (done < count) {
        size_t until = done + IN_FLIGHT < count ? done + IN_FLIGHT : count;
        ssize_t got;

        sent = send_tasks(pipes, items, sent, until);
        got = read(pipes->results[0], records, sizeof records);
        bench_check(got > 0 && got % (ssize_t)sizeof *records == 0, "read: %s",
                    strerror(errno));
        for (i = 0; i < (size_t)got / sizeof *records; i++) {
            bench_check(records[i].index < count, "an unknown task");
            results[records[i].index] = records[i].value;
        }
        done += (size_t)got / sizeof *records;
    }
}

int
main(int argc, char **argv)
{
    struct bench_arguments arguments;
    struct bench_team team;
    struct pipes pipes;
    unsigned i;

    bench_parse(&arguments, argc, argv);
    bench_check(pool_mode_of(&arguments) == POOL_EMPTY, "--mode empty alone");
    bench_check(pipe2(pipes.tasks, O_CLOEXEC) == 0 &&
                    pipe2(pipes.results, O_CLOEXEC) == 0,
                "pipe: %s", strerror(errno));
    bench_team_init(&team);
    for (i = 0; i < bench_cpus(); i++)
        bench_team_add(&team, work, &pipes, -1);
    bench_team_run(&team, 0);
    pool_measure(&arguments, map, &pipes,
                 bench_buffer(arguments.count * sizeof(uint64_t)),
                 bench_buffer(arguments.count * sizeof(uint64_t)));
    close(pipes.tasks[1]); /* the workers see the end */
    bench_team_join(&team);
    return 0;
}
