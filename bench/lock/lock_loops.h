/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is measured of every lock. A program defines `struct subject` and
 *
 *     static struct subject *subject_new(const struct bench_arguments *);
 *     static inline void subject_acquire(struct subject *);
 *     static inline void subject_release(struct subject *);
 *     static void subject_free(struct subject *);
 *
 * and includes this file, so that no lock pays for an indirect call. Each
 * lies in memory that all processes share, and each call's result is checked.
 *
 * Mode "uncontended": one process takes and gives back, nobody else near:
 * ns for the pair. Mode "contended": the processes do nothing but take the
 * lock, count up two words and give it back: rounds per second of all
 * together. Mode "fairness": the same, Jain's index of the processes' shares
 * over the run, which should last a second.
 */
#ifndef BENCH_LOCK_LOOPS_H
#define BENCH_LOCK_LOOPS_H

#include <bench.h>

#include <string.h>

struct guarded {
    volatile uint64_t first;
    volatile uint64_t second;
} __attribute__((aligned(BENCH_LINE)));

struct lock_run {
    struct subject *subject;
    struct guarded *guarded;
};

static void
measure_uncontended(struct subject *subject, double seconds)
{
    enum { BATCH = 1 << 16, BATCHES_MAX = 1 << 16 };

    double *batches =
        (double *)bench_buffer((size_t)BATCHES_MAX * sizeof *batches);
    int64_t end = bench_now() + (int64_t)(seconds * 1e9);
    size_t count = 0;
    int64_t now = bench_now();
    unsigned i;

    bench_pin(0);
    while (now < end && count < BATCHES_MAX) {
        int64_t before = bench_now();

        for (i = 0; i < BATCH; i++) {
            subject_acquire(subject);
            subject_release(subject);
        }
        now = bench_now();
        batches[count++] = (double)(now - before) / BATCH;
    }
    bench_report("ns", bench_median(batches, count));
}

static void
take_turns(struct bench_team *team, struct bench_cell *cell, unsigned index,
           void *context)
{
    struct lock_run *run = (struct lock_run *)context;
    uint64_t count = 0;

    (void)index;
    bench_team_ready(team);
    while (!bench_stopped(team)) {
        subject_acquire(run->subject);
        run->guarded->first++;
        run->guarded->second++;
        subject_release(run->subject);
        count++;
    }
    cell->count = count;
    cell->end = bench_now();
}

static void
measure_contended(struct lock_run *run, const struct bench_arguments *arguments)
{
    struct bench_team team;
    double squares = 0;
    double total = 0;
    int64_t end = 0;
    unsigned i;

    bench_team_init(&team);
    /* Two have a core each. More are left to the kernel, as in real life. */
    for (i = 0; i < arguments->processes; i++)
        bench_team_add(&team, take_turns, run,
                       arguments->processes == 2 ? (int)i : -1);
    bench_team_run(&team, arguments->seconds);
    bench_team_join(&team);
    for (i = 0; i < team.members; i++) {
        struct bench_cell *cell = &team.control->cells[i];

        total += (double)cell->count;
        squares += (double)cell->count * (double)cell->count;
        if (cell->end > end)
            end = cell->end;
    }
    bench_check((double)run->guarded->first == total &&
                    run->guarded->first == run->guarded->second,
                "lost updates: %llu and %llu of %.0f",
                (unsigned long long)run->guarded->first,
                (unsigned long long)run->guarded->second, total);
    if (strcmp(arguments->mode, "fairness") == 0)
        bench_report("index", total * total / (squares * team.members));
    else
        bench_report("op/s", total / ((double)(end - team.start) / 1e9));
}

static void
lock_main(int argc, char **argv)
{
    struct bench_arguments arguments;
    struct lock_run run;

    bench_parse(&arguments, argc, argv);
    run.subject = subject_new(&arguments);
    run.guarded = (struct guarded *)bench_shared(sizeof *run.guarded);
    if (strcmp(arguments.mode, "uncontended") == 0)
        measure_uncontended(run.subject, arguments.seconds);
    else if (strcmp(arguments.mode, "contended") == 0 ||
             strcmp(arguments.mode, "fairness") == 0)
        measure_contended(&run, &arguments);
    else
        bench_die("--mode: uncontended, contended or fairness");
    subject_free(run.subject);
}

#endif
