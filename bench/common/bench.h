/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every benchmark program shares: its command line, the clock, pinning,
 * memory shared with its children, a team of children behind one gate, and
 * the one line of result.
 *
 * One run of a program is one measurement of one system in one case. The
 * driver runs the systems of a case in turn, round after round, so that all
 * of them see the same moods of the machine.
 *
 * The form of a run: the measuring process creates what is measured, forks
 * the team, waits until every member is ready, takes the time, opens the
 * gate, raises the stop flag when the time is over, and waits for the team.
 * The clock stops when the last member has finished its work. Everything is
 * bounded: members die with the measuring process and by alarm(2), the
 * measuring process by its own alarm.
 */
#ifndef BENCH_COMMON_BENCH_H
#define BENCH_COMMON_BENCH_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    BENCH_MEMBERS_MAX = 64,
    BENCH_LINE = 128, /* two cache lines: neighbours are fetched in pairs */
};

enum bench_placement {
    BENCH_FREE, /* wherever the kernel likes */
    BENCH_ONE,  /* everybody on one core */
    BENCH_TWO,  /* the two sides on a core each */
};

struct bench_arguments {
    const char *system; /* which one, in a program that holds several */
    const char *mode;   /* which measurement, where there are several */
    double seconds;     /* how long a run lasts */
    size_t size;        /* bytes of a message */
    unsigned producers;
    unsigned consumers;
    unsigned processes;
    enum bench_placement placement;
    uint64_t count; /* how many, where the amount of work is fixed */
};

/* Fills in defaults and parses; a mistake ends the program with status 2. */
void bench_parse(struct bench_arguments *arguments, int argc, char **argv);

/* Prints a message to stderr and ends the process with status 1. */
void bench_die(const char *format, ...)
    __attribute__((noreturn, format(printf, 1, 2)));

/*
 * Ends the process with status 77: this machine does not let the system run
 * (a limit, a missing privilege). The driver says so and counts it missing.
 */
void bench_refuse(const char *format, ...)
    __attribute__((noreturn, format(printf, 1, 2)));

#define bench_check(condition, ...)      \
 do {                                    \
  if (__builtin_expect(!(condition), 0)) \
   bench_die(__VA_ARGS__);               \
 } while (0)

/* CLOCK_MONOTONIC and the caller's own CPU time, in ns. */
int64_t bench_now(void);
int64_t bench_cpu_now(void);

/* How many CPUs this process may use; at least 1. */
unsigned bench_cpus(void);

/*
 * Pins the caller to the index-th usable CPU (modulo their number). CPUs are
 * ordered so that the first ones are different cores, not twins of one.
 */
void bench_pin(unsigned index);

/* Zeroed memory shared with children forked later; never NULL. */
void *bench_shared(size_t size);

/* Ordinary zeroed memory aligned to a page; never NULL. */
void *bench_buffer(size_t size);

/* Sorts and returns the middle one; 0 when there is none. */
double bench_median(double *values, size_t count);

/* How many messages of this size a queue with a settable bound gets: as many
 * as a default queue of Troupe has room for, or 4 MiB of large ones, but 16. */
unsigned bench_depth(size_t size);

/* Prints the result: the one line that the driver reads. */
void bench_report(const char *unit, double value);

/*
 * A directory for sockets, removed with everything in it by the driver:
 * the driver's TROUPE_BENCH_DIRECTORY. Without a driver: a new one below
 * /tmp that bench_directory_remove() removes.
 */
const char *bench_directory(void);
void bench_directory_remove(void);

/* A name for an object of the system, not used by anyone else. */
void bench_name(char *name, size_t size, const char *what);

/* FUTEX_WAIT for at most timeout_ns (< 0: for ever) and FUTEX_WAKE. */
int bench_futex_wait(const uint32_t *word, uint32_t value, int64_t timeout_ns);
void bench_futex_wake(uint32_t *word, int count);
/* The same with a mask of who is meant. */
int bench_futex_wait_bits(const uint32_t *word, uint32_t value, uint32_t bits);
void bench_futex_wake_bits(uint32_t *word, int count, uint32_t bits);

/* What a member hands back; each writes only its own. */
struct bench_cell {
    int64_t start; /* where it is not the opening of the gate */
    int64_t end;   /* when its last piece of work was done */
    uint64_t count;
    uint64_t sum;
    double value;
} __attribute__((aligned(BENCH_LINE)));

struct bench_control {
    uint32_t gate __attribute__((aligned(BENCH_LINE)));
    uint32_t ready __attribute__((aligned(BENCH_LINE)));
    uint32_t stop __attribute__((aligned(BENCH_LINE)));
    uint32_t producers_left __attribute__((aligned(BENCH_LINE)));
    uint32_t consumers_left __attribute__((aligned(BENCH_LINE)));
    struct bench_cell cells[BENCH_MEMBERS_MAX];
};

struct bench_team {
    struct bench_control *control;
    unsigned members;
    int pids[BENCH_MEMBERS_MAX];
    int64_t start;
};

typedef void bench_member(struct bench_team *team, struct bench_cell *cell,
                          unsigned index, void *context);

void bench_team_init(struct bench_team *team);

/*
 * Forks a member that runs the function and ends; cpu < 0 leaves it where the
 * kernel likes. The function must call bench_team_ready() exactly once.
 */
void bench_team_add(struct bench_team *team, bench_member *function,
                    void *context, int cpu);

/* In a member: is ready, and sleeps until the gate opens. */
void bench_team_ready(struct bench_team *team);

/* In the measuring process: waits until all members added are ready. */
void bench_team_wait_ready(struct bench_team *team);

/* Opens the gate, and raises the stop flag after these seconds. */
void bench_team_run(struct bench_team *team, double seconds);

/* Waits for all; a member that failed ends the whole run as a failure. */
void bench_team_join(struct bench_team *team);

/* In a member: has the time run out? Relaxed: nothing is ordered by it. */
static inline int
bench_stopped(const struct bench_team *team)
{
    return __atomic_load_n(&team->control->stop, __ATOMIC_RELAXED) != 0;
}

static inline void
bench_pause(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

#ifdef __cplusplus
}
#endif

#endif
