/* SPDX-License-Identifier: Apache-2.0 */
/* Drives a victim to a kill point, and finds the kill points. */
#include "arch.h"
#include "engine.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef SYS_futex_waitv
# define SYS_futex_waitv 449
#endif
#ifndef SYS_epoll_pwait2
# define SYS_epoll_pwait2 441
#endif

/* ---- children ---- */

int64_t
now_ms(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

void
children_block(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
}

void
children_unblock(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
}

void
child_follow(pid_t parent)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    /* It may have died before that. */
    if (getppid() != parent)
        _exit(1);
}

void
children_pause(void)
{
    struct timespec most = {0, 1000000};
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigtimedwait(&set, NULL, &most);
}

static ssize_t
read_file(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got;

    if (fd < 0)
        return -1;
    got = read(fd, text, size - 1);
    close(fd);
    text[got > 0 ? got : 0] = '\0';
    return got;
}

/* Does this system call wait for what other processes do? */
static bool
waits_for_others(long number)
{
    switch (number) {
    case SYS_futex:
    case SYS_futex_waitv:
    case SYS_epoll_pwait:
    case SYS_epoll_pwait2:
    case SYS_ppoll:
    case SYS_read:
    case SYS_recvfrom:
    case SYS_recvmsg:
    case SYS_waitid:
    case SYS_wait4:
    case SYS_clock_nanosleep:
    case SYS_nanosleep:
    case SYS_rt_sigtimedwait:
#ifdef SYS_epoll_wait
    case SYS_epoll_wait:
#endif
#ifdef SYS_poll
    case SYS_poll:
#endif
#ifdef SYS_pause
    case SYS_pause:
#endif
        return true;
    default:
        return false;
    }
}

bool
process_asleep(pid_t pid)
{
    char path[64], text[512], *end;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    if (read_file(path, text, sizeof(text)) <= 0)
        return false;
    end = strrchr(text, ')');
    if (end == NULL || end[1] == '\0' || end[2] != 'S')
        return false;
    snprintf(path, sizeof(path), "/proc/%d/syscall", (int)pid);
    /* A kernel without this file: the state alone must do. */
    if (read_file(path, text, sizeof(text)) <= 0)
        return errno == ENOENT;
    /* "running": it has woken up since. */
    return text[0] >= '0' && text[0] <= '9' &&
           waits_for_others(strtol(text, NULL, 10));
}

bool
process_has_child(pid_t pid)
{
    char path[64], text[64];

    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)pid,
             (int)pid);
    return read_file(path, text, sizeof(text)) > 0;
}

void
process_where(pid_t pid, char *text, size_t size)
{
    char path[64], stat[512], call[256], *end;
    char state = '?';

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    if (read_file(path, stat, sizeof(stat)) > 0) {
        end = strrchr(stat, ')');
        if (end != NULL && end[1] != '\0')
            state = end[2];
    }
    snprintf(path, sizeof(path), "/proc/%d/syscall", (int)pid);
    if (read_file(path, call, sizeof(call)) <= 0)
        snprintf(call, sizeof(call), "?");
    call[strcspn(call, "\n")] = '\0';
    /* The number of the call and its first argument say enough. */
    end = strchr(call, ' ');
    if (end != NULL) {
        end = strchr(end + 1, ' ');
        if (end != NULL)
            *end = '\0';
    }
    snprintf(text, size, "state %c, syscall %s", state, call);
}

/* ---- one traced process ---- */

void __attribute__((noinline)) crash_end_marker(void)
{
    __asm__ volatile("" ::: "memory");
}

static uint64_t
end_of_operation(void)
{
    return (uint64_t)(uintptr_t)crash_end_marker;
}

static void
note_stop(struct tracee *tracee)
{
    int signal = WSTOPSIG(tracee->status);

    tracee->pc = arch_pc(tracee->pid);
    tracee->pending = signal == SIGTRAP ? 0 : signal;
}

static enum tracee_state
await_stop(struct tracee *tracee)
{
    pid_t got;

    do
        got = waitpid(tracee->pid, &tracee->status, __WALL);
    while (got < 0 && errno == EINTR);
    if (got != tracee->pid || !WIFSTOPPED(tracee->status)) {
        tracee->ended = true;
        return TRACEE_ENDED;
    }
    note_stop(tracee);
    return TRACEE_STOPPED;
}

static enum tracee_state
await_stop_or_sleep(struct tracee *tracee)
{
    unsigned tries;

    for (tries = 0;; tries++) {
        pid_t got = waitpid(tracee->pid, &tracee->status, __WALL | WNOHANG);

        if (got < 0 && errno == EINTR)
            continue;
        if (got != 0) {
            if (got != tracee->pid || !WIFSTOPPED(tracee->status)) {
                tracee->ended = true;
                return TRACEE_ENDED;
            }
            note_stop(tracee);
            return TRACEE_STOPPED;
        }
        if (tries < 8) {
            sched_yield();
            continue;
        }
        if (process_asleep(tracee->pid))
            return TRACEE_ASLEEP;
        children_pause();
    }
}

static enum tracee_state
go_on(struct tracee *tracee, bool one)
{
    if (ptrace(one ? PTRACE_SINGLESTEP : PTRACE_CONT, tracee->pid, NULL,
               (void *)(intptr_t)tracee->pending) != 0)
        return TRACEE_ENDED;
    tracee->pending = 0;
    return TRACEE_STOPPED;
}

/* ---- one processor for both ---- */

unsigned tracee_processor;

static cpu_set_t everywhere, here;
static bool pinned;

/*
 * While it is driven, a victim runs where we do: from one processor to another
 * each step would wait for the other one to wake up, which takes longer than
 * all the rest. That is nobody else's business, so we do not fork meanwhile.
 */
static void
pin(pid_t pid)
{
    unsigned left = tracee_processor;
    size_t i = 0;

    if (sched_getaffinity(0, sizeof(everywhere), &everywhere) != 0)
        return;
    left %= (unsigned)CPU_COUNT(&everywhere);
    while (!CPU_ISSET(i, &everywhere) || left-- > 0)
        i++;
    CPU_ZERO(&here);
    CPU_SET(i, &here);
    pinned = sched_setaffinity(pid, sizeof(here), &here) == 0 &&
             sched_setaffinity(0, sizeof(here), &here) == 0;
}

static void
unpin(void)
{
    (void)sched_setaffinity(0, sizeof(everywhere), &everywhere);
    pinned = false;
}

/* What the victim makes runs where it would. */
static bool
makes_a_task(long number)
{
    switch (number) {
    case SYS_clone:
    case SYS_clone3:
#ifdef SYS_fork
    case SYS_fork:
    case SYS_vfork:
#endif
        return true;
    default:
        return false;
    }
}

static void
loosen(pid_t pid)
{
    if (pinned)
        (void)sched_setaffinity(pid, sizeof(everywhere), &everywhere);
}

static void
tighten(pid_t pid)
{
    if (pinned)
        (void)sched_setaffinity(pid, sizeof(here), &here);
}

/* The victim has asked where it may run: it is told what would be true. */
static void
answer_affinity(pid_t pid)
{
    struct arch_syscall call;
    struct iovec from, to;

    if (!pinned || !arch_get_syscall(pid, &call) || call.result <= 0 ||
        (size_t)call.result > sizeof(everywhere))
        return;
    from.iov_base = &everywhere;
    from.iov_len = (size_t)call.result;
    to.iov_base = (void *)(uintptr_t)call.argument[2];
    to.iov_len = from.iov_len;
    (void)process_vm_writev(pid, &from, 1, &to, 1, 0);
}

/* ---- one instruction ---- */

/*
 * A single step of the processor can take twenty times as long as a trap in the
 * text, in a virtual machine.  So the victim runs into a trap at each place its
 * instruction may lead to.  In between, its text is as it was: it makes
 * system calls, and with them processes, by single steps only.  Other threads
 * would run into the traps; so a victim that has some is stepped by the
 * processor.
 */
static void
text_open(struct tracee *tracee)
{
    char path[64];
    struct stat tasks;

    tracee->memory = -1;
    snprintf(path, sizeof(path), "/proc/%d/task", (int)tracee->pid);
    /* Of a folder's links two are its own. */
    if (stat(path, &tasks) != 0 || tasks.st_nlink != 3)
        return;
    snprintf(path, sizeof(path), "/proc/%d/mem", (int)tracee->pid);
    tracee->memory = open(path, O_RDWR | O_CLOEXEC);
}

static void
text_close(struct tracee *tracee)
{
    if (tracee->memory >= 0)
        close(tracee->memory);
    tracee->memory = -1;
}

static bool
text_put(const struct tracee *tracee, uint64_t at, unsigned char byte)
{
    return pwrite(tracee->memory, &byte, 1, (off_t)at) == 1;
}

/* The victim is a fork of this process: its text is at hand. */
static void
text_mend(const struct tracee *tracee, const struct flow *flow, unsigned count)
{
    while (count-- > 0)
        (void)text_put(tracee, flow->next[count],
                       *(const unsigned char *)(uintptr_t)flow->next[count]);
}

static bool
text_trap(const struct tracee *tracee, const struct flow *flow)
{
    unsigned i;

    for (i = 0; i < flow->count; i++)
        if (flow->next[i] == tracee->pc ||
            !text_put(tracee, flow->next[i], ARCH_TRAP_BYTE)) {
            text_mend(tracee, flow, i);
            return false;
        }
    return true;
}

static bool
leads_to(const struct flow *flow, uint64_t pc)
{
    unsigned i;

    for (i = 0; i < flow->count; i++)
        if (flow->next[i] == pc)
            return true;
    return false;
}

/* Where the next instruction leads to, if that is known. */
static bool
find_flow(const struct tracee *tracee, struct flow *flow)
{
    if (!flow_decode((const unsigned char *)(uintptr_t)tracee->pc, tracee->pc,
                     flow))
        return false;
    if (flow->returns)
        flow->next[flow->count++] = arch_stack_top(tracee->pid);
    return true;
}

bool doubt_flow;

static enum tracee_state
single_step(struct tracee *tracee)
{
    struct flow flow;
    bool known = doubt_flow && tracee->pending == 0 && find_flow(tracee, &flow);
    uint64_t from = tracee->pc;
    enum tracee_state state = go_on(tracee, true);

    if (state != TRACEE_STOPPED)
        return state;
    state = await_stop(tracee);
    if (known && state == TRACEE_STOPPED && tracee->pending == 0 &&
        !leads_to(&flow, tracee->pc))
        engine_error("the instruction at %#llx led to %#llx",
                     (unsigned long long)from, (unsigned long long)tracee->pc);
    return state;
}

/* One instruction that is no system call. */
static enum tracee_state
trap_step(struct tracee *tracee)
{
    enum tracee_state state;
    struct flow flow;

    if (tracee->memory < 0 || tracee->pending != 0 || doubt_flow ||
        !find_flow(tracee, &flow) || !text_trap(tracee, &flow))
        return single_step(tracee);
    state = go_on(tracee, false);
    if (state == TRACEE_STOPPED)
        state = await_stop(tracee);
    if (state != TRACEE_STOPPED)
        return state;
    text_mend(tracee, &flow, flow.count);
    /* Else it is a signal that stopped it, in front of this instruction or of
     * the next. */
    if (tracee->pending == 0 && leads_to(&flow, tracee->pc - 1)) {
        tracee->pc--;
        if (!arch_set_pc(tracee->pid, tracee->pc))
            return TRACEE_ENDED;
    }
    return state;
}

/* One instruction; a system call that waits may end asleep. */
static enum tracee_state
step(struct tracee *tracee)
{
    long number =
        arch_at_syscall(tracee->pc) ? arch_syscall_number(tracee->pid) : -1;
    enum tracee_state state;

    if (number < 0)
        return trap_step(tracee);
    if (makes_a_task(number)) {
        loosen(tracee->pid);
        text_close(tracee);
    }
    if (go_on(tracee, true) == TRACEE_ENDED)
        return TRACEE_ENDED;
    if (waits_for_others(number))
        return await_stop_or_sleep(tracee);
    state = await_stop(tracee);
    if (makes_a_task(number)) {
        tighten(tracee->pid);
        text_open(tracee);
    }
    if (number == SYS_sched_getaffinity && state == TRACEE_STOPPED)
        answer_affinity(tracee->pid);
    return state;
}

bool
tracee_await(struct tracee *tracee, pid_t pid)
{
    memset(tracee, 0, sizeof(*tracee));
    tracee->pid = pid;
    tracee->memory = -1;
    for (;;) {
        if (await_stop(tracee) != TRACEE_STOPPED)
            return false;
        if (tracee->pending == 0)
            break;
        go_on(tracee, false);
    }
    if (ptrace(PTRACE_SETOPTIONS, pid, NULL,
               (void *)(intptr_t)(PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD)) !=
            0 ||
        !arch_skip_trap(pid))
        return false;
    tracee->pc = arch_pc(pid);
    return true;
}

void
tracee_kill(struct tracee *tracee)
{
    if (tracee->ended)
        return;
    kill(tracee->pid, SIGKILL);
    while (waitpid(tracee->pid, &tracee->status, __WALL) == tracee->pid &&
           WIFSTOPPED(tracee->status)) {
    }
}

/* ---- finding the points ---- */

bool
crash_sleeps_end(unsigned n)
{
    (void)n;
    return true;
}

enum { ARRIVALS = 1 << 16 };

struct arrival {
    uint64_t pc;
    uint32_t count;
};

static struct arrival arrivals[ARRIVALS];

/* The last sleep, from which points are counted. */
struct since {
    uint32_t step;
    uint32_t distinct;
};

static struct arrival *
arrival_at(uint64_t pc)
{
    size_t at = (pc * 0x9e3779b97f4a7c15ull) >> 48;

    while (arrivals[at].pc != 0 && arrivals[at].pc != pc)
        at = (at + 1) % ARRIVALS;
    arrivals[at].pc = pc;
    return &arrivals[at];
}

static void
add_point(struct profile *profile, const struct since *since, uint64_t pc,
          uint32_t sub, enum point_kind kind, bool distinct)
{
    struct crash_point *point;

    if (profile->count == MAX_POINTS) {
        profile->overflow = true;
        profile->count--;
    }
    point = &profile->points[profile->count++];
    point->pc = pc;
    point->naps = profile->sleeps;
    point->hit = arrival_at(pc)->count;
    point->sub = sub;
    point->step = profile->steps;
    point->since = profile->steps - since->step;
    point->kind = (uint16_t)kind;
    point->distinct = distinct;
    profile->distinct += distinct;
    point->ordinal = profile->distinct - since->distinct;
    if (distinct)
        profile->path = (profile->path ^ pc ^ kind) * 0x100000001b3ull;
}

static void
note_entered(struct profile *profile, const struct crash_covers *covers,
             uint64_t pc)
{
    unsigned i;

    for (i = 0; covers != NULL && covers[i].name != NULL; i++)
        if (i < MAX_COVERS && (uint64_t)(uintptr_t)covers[i].address == pc)
            profile->entered[i] = true;
}

/* Is the point added last the one to stop at? */
static bool
arrived(const struct profile *profile, const struct crash_point *until)
{
    const struct crash_point *last = &profile->points[profile->count - 1];

    if (until == NULL || last->naps != until->naps)
        return false;
    if (until->kind == POINT_SLEEP)
        return last->kind == POINT_SLEEP;
    return until->distinct ? last->ordinal == until->ordinal
                           : last->since == until->since;
}

bool doubt_pure;

static void
profile_steps(struct tracee *tracee, struct profile *profile,
              const struct crash_covers *covers, bool (*nudge)(unsigned n),
              const struct crash_point *until)
{
    struct crash_point *points = profile->points;
    struct since since = {0};
    uint32_t sub = 0;

    memset(profile, 0, sizeof(*profile));
    memset(arrivals, 0, sizeof(arrivals));
    profile->points = points;
    shared_begin(tracee->pid);
    add_point(profile, &since, tracee->pc, 0, POINT_START, true);
    while (!profile->overflow && !arrived(profile, until)) {
        uint64_t from = tracee->pc;
        bool call = arch_at_syscall(from);
        bool pure = !call && decode_is_pure((const unsigned char *)from);
        bool changed;
        enum tracee_state state = step(tracee);

        if (state == TRACEE_ASLEEP) {
            add_point(profile, &since, from, sub, POINT_SLEEP, true);
            if (arrived(profile, until) || nudge == NULL ||
                profile->sleeps == MAX_SLEEPS || !nudge(profile->sleeps))
                break;
            if (nudge != crash_sleeps_end) {
                profile->sleeps++;
                memset(arrivals, 0, sizeof(arrivals));
                since = (struct since){profile->steps, profile->distinct};
            }
            state = await_stop(tracee);
        }
        if (state == TRACEE_ENDED) {
            profile->exited =
                WIFEXITED(tracee->status) && WEXITSTATUS(tracee->status) == 0;
            break;
        }
        profile->steps++;
        if (tracee->pc == from && !call)
            sub++;
        else {
            sub = 0;
            arrival_at(tracee->pc)->count++;
        }
        /* What others change meanwhile shows at the next step that is not. */
        changed = (!pure || doubt_pure) && shared_changed(tracee->pid);
        if (pure && changed)
            engine_error("the instruction at %#llx is taken for pure, and "
                         "stores",
                         (unsigned long long)from);
        profile->wrote |= changed;
        note_entered(profile, covers, tracee->pc);
        if (tracee->pc == end_of_operation()) {
            profile->complete = true;
            add_point(profile, &since, tracee->pc, 0, POINT_END, true);
            break;
        }
        add_point(profile, &since, tracee->pc, sub,
                  call ? POINT_SYSCALL : POINT_STEP, changed || call);
    }
    profile->arrived = arrived(profile, until);
    shared_end();
}

void
tracee_profile(struct tracee *tracee, struct profile *profile,
               const struct crash_covers *covers, bool (*nudge)(unsigned n),
               const struct crash_point *until)
{
    pin(tracee->pid);
    text_open(tracee);
    profile_steps(tracee, profile, covers, nudge, until);
    text_close(tracee);
    unpin();
}

/* ---- going there again ---- */

/* On the way to a point. */
struct way {
    const struct crash_point *goal;
    bool (*nudge)(unsigned n);
    uint32_t naps;
    int64_t until; /* sleeps are to end by themselves until then; 0: no end */
    uint32_t seen; /* arrivals at the goal's place since the last sleep */
};

/* It has come to another instruction: is it there? */
static bool
there(const struct tracee *tracee, struct way *way)
{
    return tracee->pc == way->goal->pc && ++way->seen == way->goal->hit &&
           way->naps == way->goal->naps;
}

/*
 * A sleep on the way is ended as it was when the points were found.  If the
 * goal lies before it, the sleep had a bound then and ended by itself.
 */
static bool
wake(struct tracee *tracee, struct way *way)
{
    if (way->nudge == crash_sleeps_end)
        return await_stop(tracee) == TRACEE_STOPPED;
    if (way->naps < way->goal->naps) {
        if (way->nudge == NULL || !way->nudge(way->naps))
            return false;
        way->naps++;
        way->seen = 0;
        return await_stop(tracee) == TRACEE_STOPPED;
    }
    /* Less than any deadline of the stage, so that who sleeps for good before
     * the goal has missed it, and does not hang. */
    if (way->until == 0)
        way->until = now_ms() + 4000;
    while (now_ms() < way->until) {
        if (waitpid(tracee->pid, &tracee->status, __WALL | WNOHANG) != 0) {
            tracee->ended = !WIFSTOPPED(tracee->status);
            if (!tracee->ended)
                note_stop(tracee);
            return !tracee->ended;
        }
        children_pause();
    }
    return false;
}

/* One instruction, without breakpoints. */
static bool
walk(struct tracee *tracee, struct way *way, bool *moved)
{
    uint64_t from = tracee->pc;
    bool call = arch_at_syscall(from);
    enum tracee_state state = step(tracee);

    if (state == TRACEE_ENDED || (state == TRACEE_ASLEEP && !wake(tracee, way)))
        return false;
    /* A repeated string instruction is arrived at once. */
    *moved = tracee->pc != from || call;
    return true;
}

/*
 * Until a breakpoint.  It stops at system calls too, on their way in and on
 * their way out, so that none is slept in unseen.
 */
static bool
run(struct tracee *tracee, struct way *way, bool *moved)
{
    bool may_sleep = false, inside = false;

    for (;;) {
        enum tracee_state state;

        if (ptrace(PTRACE_SYSCALL, tracee->pid, NULL,
                   (void *)(intptr_t)tracee->pending) != 0)
            return false;
        tracee->pending = 0;
        state = may_sleep ? await_stop_or_sleep(tracee) : await_stop(tracee);
        if (state == TRACEE_ENDED ||
            (state == TRACEE_ASLEEP && !wake(tracee, way)))
            return false;
        may_sleep = false;
        if (WSTOPSIG(tracee->status) == (SIGTRAP | 0x80)) {
            struct arch_syscall call;

            tracee->pending = 0;
            inside = !inside;
            if (!arch_get_syscall(tracee->pid, &call))
                continue;
            may_sleep = inside && waits_for_others(call.number);
            if (makes_a_task(call.number))
                (inside ? loosen : tighten)(tracee->pid);
            if (!inside && call.number == SYS_sched_getaffinity)
                answer_affinity(tracee->pid);
        } else if (tracee->pending == 0) {
            *moved = true;
            return true;
        }
    }
}

static bool
reach(struct tracee *tracee, const struct crash_point *point,
      bool (*nudge)(unsigned n))
{
    struct way way = {.goal = point, .nudge = nudge};
    uint64_t pcs[2] = {end_of_operation(), point->pc};
    bool breakpoints = false, moved = false;
    uint32_t sub;

    if (point->kind == POINT_START)
        return true;
    /* A breakpoint at the place where it stands would count as an arrival. */
    if (!walk(tracee, &way, &moved))
        return false;
    while (!moved || !there(tracee, &way)) {
        if (moved && tracee->pc == end_of_operation())
            return false;
        if (!breakpoints)
            breakpoints = arch_set_breakpoints(tracee->pid, pcs, 2);
        moved = false;
        if (!(breakpoints ? run(tracee, &way, &moved)
                          : walk(tracee, &way, &moved)))
            return false;
    }
    if (breakpoints)
        arch_set_breakpoints(tracee->pid, pcs, 0);
    for (sub = 0; sub < point->sub; sub++)
        if (step(tracee) != TRACEE_STOPPED)
            return false;
    return point->kind != POINT_SLEEP || step(tracee) == TRACEE_ASLEEP;
}

bool
tracee_reach(struct tracee *tracee, const struct crash_point *point,
             bool (*nudge)(unsigned n))
{
    bool reached;

    pin(tracee->pid);
    text_open(tracee);
    reached = reach(tracee, point, nudge);
    text_close(tracee);
    unpin();
    return reached;
}

/* ---- the run without a death ---- */

enum { SERVED = 8 };

static struct {
    pid_t pid;
    unsigned argument;
    uint64_t value;
    bool changed;
} served[SERVED];

void
control_trace_me(void)
{
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
        engine_error("ptrace: %s", strerror(errno));
    raise(SIGSTOP);
}

/* Is this a timespec of nothing, or none at all? */
static bool
is_zero(pid_t pid, uint64_t address)
{
    const long *time = (const void *)address;

    return address == 0 || (ptrace(PTRACE_PEEKDATA, pid, &time[0], NULL) == 0 &&
                            ptrace(PTRACE_PEEKDATA, pid, &time[1], NULL) == 0);
}

/* Which argument of a waiting call is its timeout, and what is "for ever". */
static bool
timeout_of(pid_t pid, const struct arch_syscall *call, unsigned *argument,
           uint64_t *forever)
{
    *forever = 0;
    *argument = 3;
    switch (call->number) {
    case SYS_futex: {
        unsigned operation = (unsigned)call->argument[1] & 127u;

        /* FUTEX_WAIT and FUTEX_WAIT_BITSET */
        return operation == 0 || operation == 9;
    }
    case SYS_futex_waitv:
        return true;
    case SYS_timerfd_settime:
        /* A descriptor that would become readable by itself: of none. */
        *argument = 0;
        *forever = UINT64_MAX;
        return true;
    case SYS_epoll_pwait2:
        return !is_zero(pid, call->argument[3]);
    case SYS_epoll_pwait:
#ifdef SYS_epoll_wait
    case SYS_epoll_wait:
#endif
        *forever = UINT64_MAX;
        /* One that only looks is no sleep. */
        return (int)call->argument[3] > 0;
    case SYS_ppoll:
    case SYS_rt_sigtimedwait:
        *argument = 2;
        return !is_zero(pid, call->argument[2]);
#ifdef SYS_poll
    case SYS_poll:
        *argument = 2;
        *forever = UINT64_MAX;
        return (int)call->argument[2] > 0;
#endif
    default:
        return false;
    }
}

static void
control_syscall(pid_t pid)
{
    struct arch_syscall call;
    uint64_t forever;
    unsigned i, argument, slot = SERVED;

    for (i = 0; i < SERVED; i++) {
        if (served[i].pid == pid) {
            slot = i;
            break;
        }
        if (served[i].pid == 0 && slot == SERVED)
            slot = i;
    }
    if (slot == SERVED)
        return;
    served[slot].pid = pid;
    if (served[slot].changed) {
        /* The way out: the program may still need what it passed. */
        arch_set_argument(pid, served[slot].argument, served[slot].value);
        served[slot].changed = false;
        return;
    }
    if (!arch_get_syscall(pid, &call) ||
        !timeout_of(pid, &call, &argument, &forever) ||
        call.argument[argument] == forever)
        return;
#if defined(__x86_64__)
    /* On the way in the result is -ENOSYS. */
    if (call.result != -ENOSYS)
        return;
#endif
    served[slot].argument = argument;
    served[slot].value = call.argument[argument];
    served[slot].changed = arch_set_argument(pid, argument, forever);
}

bool
control_serve(pid_t pid, int status)
{
    int signal = 0;

    if (!WIFSTOPPED(status))
        return false;
    if (WSTOPSIG(status) == SIGSTOP)
        ptrace(PTRACE_SETOPTIONS, pid, NULL,
               (void *)(intptr_t)(PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD));
    else if (WSTOPSIG(status) == (SIGTRAP | 0x80))
        control_syscall(pid);
    else if (WSTOPSIG(status) != SIGTRAP)
        signal = WSTOPSIG(status);
    ptrace(PTRACE_SYSCALL, pid, NULL, (void *)(intptr_t)signal);
    return true;
}
