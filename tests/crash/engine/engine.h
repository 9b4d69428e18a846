/* SPDX-License-Identifier: Apache-2.0 */
/* Private to the engine. */
#ifndef TROUPE_TESTS_CRASH_ENGINE_H
#define TROUPE_TESTS_CRASH_ENGINE_H

#include "crash.h"

#include <sys/types.h>

/* ---- kill points ---- */

enum point_kind {
    POINT_START,
    POINT_STEP,
    POINT_SYSCALL,
    POINT_SLEEP,
    POINT_END
};

/*
 * Where a victim is stopped: before the instruction at pc, having arrived
 * there for the hit-th time from another instruction since it last slept, and
 * then sub steps further, which is how a repeated string instruction is taken
 * apart.  A POINT_SLEEP lies inside the system call at that place.
 *
 * All is counted from the last sleep that a nudge ended, because a sleep with a
 * bound may end by itself before anybody saw it, on a busy machine, and the
 * victim then goes round once more.
 */
struct crash_point {
    uint64_t pc;
    uint32_t naps; /* sleeps before it */
    uint32_t hit;
    uint32_t sub;
    uint32_t step;    /* from the beginning, for people */
    uint32_t since;   /* steps since the last sleep */
    uint32_t ordinal; /* distinct points since then, up to here */
    uint16_t kind;
    uint16_t distinct;
};

enum {
    MAX_POINTS = 1 << 18,
    MAX_SLEEPS = 64,
    MAX_FAILURES = 16,
    FAILURE_TEXT = 240,
    MAX_COVERS = 16
};

struct profile {
    struct crash_point *points;
    uint32_t count;
    uint32_t steps;
    uint32_t distinct;
    bool complete; /* the operation returned; else it sleeps for good */
    bool exited;   /* the operation ended its process, in order */
    bool overflow;
    uint32_t sleeps;
    uint64_t path;            /* of its distinct points, in their order */
    bool entered[MAX_COVERS]; /* each exported function it claims */
    bool wrote;               /* shared memory or robust list changed */
    bool arrived;             /* it stands at the point it was sent to */
};

/* ---- what the director asks a stage to do ---- */

enum plan_mode {
    PLAN_PROFILE,        /* single-step to the end, then die there */
    PLAN_KILL,           /* die at `first` */
    PLAN_CONTROL,        /* nobody dies, sleeps have no timeout */
    PLAN_SECOND_PROFILE, /* die at `first`; single-step the second victim */
    PLAN_SECOND_KILL,    /* die at `first`; the second dies at `second` */
};

struct plan {
    const struct crash_scenario *scenario;
    enum plan_mode mode;
    bool together; /* the first victim lives, stopped, until the second died */
    bool without_waitv;
    /* Find the point step by step: an operation that parses numbers does not
     * run through its instructions equally often each time. */
    bool slowly;
    struct crash_point first;
    struct crash_point second;
    bool doubt_pure; /* nobody else can change memory: see decode.c */
    unsigned deadline;
    unsigned stepping;
};

/* ---- memory shared by the director and all processes of a stage ---- */

enum phase {
    PHASE_SETUP,
    PHASE_PEERS,
    PHASE_VICTIM,
    PHASE_SECOND,
    PHASE_SURVIVORS,
    PHASE_CHECK,
    PHASE_DONE
};

struct failure {
    _Atomic int used;
    int kind;
    char text[FAILURE_TEXT];
};

struct item {
    _Atomic uint32_t begun;
    _Atomic uint32_t done;
    _Atomic uint32_t got;
};

enum { ACTORS = CRASH_PEERS + 4 };

struct control {
    _Atomic int phase;
    _Atomic int missed;
    _Atomic int replaced; /* killed at another point than the planned one */
    _Atomic int broken;   /* the scenario or the engine, not the library */
    _Atomic int prepared;
    _Atomic int completed;
    _Atomic int second_completed;
    _Atomic int ready[CRASH_PEERS];
    _Atomic pid_t far; /* who is in crash_step_begin_far() */
    _Atomic int far_traced;
    _Atomic int failures;
    /* Who is who, so that a hang can be described. */
    _Atomic pid_t actor[ACTORS];
    _Atomic int64_t word[CRASH_WORDS];
    struct item item[CRASH_ITEMS];
    struct failure failure[MAX_FAILURES];
    struct profile profile[2];
};

extern struct control *control;

/* Maps the control block, and tables for two profiles. */
bool control_open(void);
/* Forgets all but the profiles. */
void control_reset(void);
bool control_owns(const void *address);
/* Called in a stage: gates of its own. */
void gates_open(void);
void engine_error(const char *format, ...)
    __attribute__((format(printf, 1, 2)));

extern bool crash_control_run;

/* ---- instructions ---- */

/* Does it store nothing, or on the stack only? False where that is unknown. */
bool decode_is_pure(const unsigned char *code);
/* Compare memory behind those, too: it is an error if it has changed. */
extern bool doubt_pure;

/* Where an instruction leads to. */
struct flow {
    uint64_t next[2];
    unsigned count;
    bool returns; /* to what the top of the stack says */
};

/* False where that is unknown. */
bool flow_decode(const unsigned char *code, uint64_t pc, struct flow *flow);
/* The processor steps, and it is an error if flow_decode() says otherwise. */
extern bool doubt_flow;

/* Which of the processors this job's victims are driven on. */
extern unsigned tracee_processor;

/* ---- shared memory ---- */

/* Finds all memory shared with other processes and remembers its content. */
void shared_begin(pid_t victim);
/* Did the victim change any of it, or its robust list, since last asked? */
bool shared_changed(pid_t victim);
void shared_end(void);

/* ---- driving a victim ---- */

enum tracee_state { TRACEE_STOPPED, TRACEE_ASLEEP, TRACEE_ENDED };

struct tracee {
    pid_t pid;
    int status;
    uint64_t pc;
    int pending; /* signal to hand over when it goes on */
    bool ended;  /* and reaped: its number may be another's */
    int memory;  /* its own text can be changed through this, else -1 */
};

/* Waits until the child reports itself with ARCH_TRAP(). */
bool tracee_await(struct tracee *tracee, pid_t pid);
void tracee_kill(struct tracee *tracee);
/*
 * Single-steps to the operation's end and writes down all its points, or until
 * `until`: the point after as many sleeps with the same number of distinct ones
 * before it, if it is distinct itself, else with the same number of steps.
 */
void tracee_profile(struct tracee *tracee, struct profile *profile,
                    const struct crash_covers *covers,
                    bool (*nudge)(unsigned n), const struct crash_point *until);
/* False when the victim never came there. */
bool tracee_reach(struct tracee *tracee, const struct crash_point *point,
                  bool (*nudge)(unsigned n));

/* A process that sleeps in a system call which waits for others. */
bool process_asleep(pid_t pid);
bool process_has_child(pid_t pid);
/* The system call a process is in, for people. */
void process_where(pid_t pid, char *text, size_t size);

/* Where the operation ends; the engine stops a victim there. */
void crash_end_marker(void);

/* By the monotonic clock. */
int64_t now_ms(void);

/* Waits at most a millisecond for any child to change. */
void children_pause(void);
void children_block(void);
void children_unblock(void);

/* In a child: nobody outlives who made it, also if that one is dead already. */
void child_follow(pid_t parent);

/* Runs peers with all timeouts of their sleeps taken away. */
void control_trace_me(void);
bool control_serve(pid_t pid, int status);

/* ---- one run ---- */

/* Never returns; the stage's findings are in the control block. */
void stage_run(const struct plan *plan) __attribute__((noreturn));
/* Single-steps an exempt function. */
void stage_run_exempt(const struct crash_exempt *exempt)
    __attribute__((noreturn));

/* ---- names ---- */

void symbol_name(uint64_t address, char *text, size_t size);
/* Calls back for each function that a shared library exports. */
bool exported_functions(const char *path,
                        void (*each)(const char *name, void *context),
                        void *context);

#endif
