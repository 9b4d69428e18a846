/* SPDX-License-Identifier: Apache-2.0 */
/* One run of a scenario: one family, one victim or two, the survivors. */
#include "arch.h"
#include "engine.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SYS_futex_waitv
# define SYS_futex_waitv 449
#endif

enum { ACTOR_VICTIM = CRASH_PEERS, ACTOR_SECOND, ACTOR_SURVIVOR };

/* The gates that are the engine's own. */
enum {
    GATE_FAR = CRASH_GATES - 3,
    GATE_CONTROL_BEGIN,
    GATE_CONTROL_END,
};

/* Index of the peer this process is, for crash_ready(). */
static unsigned own_peer = CRASH_PEERS;

void
crash_ready(void)
{
    if (own_peer < CRASH_PEERS)
        atomic_store(&control->ready[own_peer], 1);
}

/* futex_waitv() answers as a kernel that does not know it. */
static void
refuse_waitv(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_futex_waitv, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof(code) / sizeof(code[0]), code};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        engine_error("seccomp: %s", strerror(errno));
}

static pid_t
fork_actor(unsigned actor, void (*run)(void), bool traced)
{
    pid_t stage = getpid();
    pid_t pid;

    fflush(NULL);
    pid = fork();
    if (pid < 0) {
        engine_error("fork: %s", strerror(errno));
        _exit(1);
    }
    if (pid == 0) {
        child_follow(stage);
        children_unblock();
        if (actor < CRASH_PEERS)
            own_peer = actor;
        if (traced)
            control_trace_me();
        run();
        fflush(NULL);
        _exit(0);
    }
    if (actor < ACTORS)
        atomic_store(&control->actor[actor], pid);
    return pid;
}

static const char *
actor_name(unsigned actor)
{
    static const char *const names[ACTORS] = {
        "peer 0",     "peer 1",     "peer 2",
        "peer 3",     "the victim", "the second victim",
        "survivor 0", "survivor 1",
    };

    return names[actor];
}

/* A process that ended by itself must have ended well. */
static void
judge_end(pid_t pid, int status)
{
    unsigned i;

    for (i = 0; i < ACTORS; i++) {
        if (atomic_load(&control->actor[i]) != pid)
            continue;
        atomic_store(&control->actor[i], 0);
        if (WIFSIGNALED(status))
            crash_fail(CRASH_CORRUPTION, "%s died of signal %d (%s)",
                       actor_name(i), WTERMSIG(status),
                       strsignal(WTERMSIG(status)));
        else if (WEXITSTATUS(status) != 0)
            crash_fail(CRASH_CORRUPTION, "%s exited with status %d",
                       actor_name(i), WEXITSTATUS(status));
        return;
    }
}

/* Takes note of every child that changed; serves those without timeouts. */
static void
serve_children(void)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG | __WALL)) > 0)
        if (!crash_control_run || !control_serve(pid, status))
            judge_end(pid, status);
}

static bool
alive(unsigned actor)
{
    return atomic_load(&control->actor[actor]) != 0;
}

static void
start_peers(const struct crash_scenario *scenario, bool late)
{
    unsigned i;

    for (i = 0; i < CRASH_PEERS && scenario->peers[i] != NULL; i++) {
        bool traced = crash_control_run &&
                      ((scenario->woken | scenario->untimed) >> i & 1) != 0;
        pid_t pid;

        if (((scenario->late >> i & 1) != 0) != late)
            continue;
        pid = fork_actor(i, scenario->peers[i], traced);

        for (;;) {
            serve_children();
            if (!alive(i))
                break;
            if (atomic_load(&control->ready[i]) && process_asleep(pid))
                break;
            children_pause();
        }
        if (!alive(i) && (scenario->stays >> i & 1) == 0 &&
            !atomic_load(&control->ready[i])) {
            engine_error("%s/%s: peer %u ended before it was ready",
                         scenario->operation, scenario->state, i);
            _exit(1);
        }
    }
}

void
crash_kill_peer(unsigned peer)
{
    pid_t pid = atomic_exchange(&control->actor[peer], 0);

    if (pid == 0)
        return;
    kill(pid, SIGKILL);
    while (waitpid(pid, NULL, __WALL) < 0 && errno == EINTR) {
    }
}

bool
crash_asleep(unsigned peer)
{
    pid_t pid = atomic_load(&control->actor[peer]);

    return pid == 0 || process_asleep(pid);
}

void
crash_await_asleep(unsigned peer)
{
    while (!crash_asleep(peer))
        sched_yield();
}

static const struct crash_scenario *running;

void
crash_step_begin(void)
{
    ptrace(PTRACE_TRACEME, 0, NULL, NULL);
    ARCH_TRAP();
}

void
crash_step_end(void)
{
    crash_end_marker();
}

/* Who asks to be traced is traced by the thread that has forked it: others have
 * to be seized. Their parents still learn of their end, and how it came. */
void
crash_step_begin_far(void)
{
    /* Where only parents may trace: it may have lost its own by then. */
    (void)prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0);
    atomic_store(&control->far, getpid());
    crash_gate_wait(GATE_FAR);
    if (atomic_load(&control->far_traced) != 0)
        ARCH_TRAP();
}

int
crash_adopt_far(void)
{
    pid_t pid;

    while ((pid = atomic_load(&control->far)) == 0)
        children_pause();
    if (ptrace(PTRACE_SEIZE, pid, NULL, NULL) != 0)
        engine_error("seize: %s", strerror(errno));
    else
        atomic_store(&control->far_traced, 1);
    crash_gate_open(GATE_FAR);
    return pid;
}

static void
victim_main(void)
{
    if (running->prepare != NULL)
        running->prepare();
    ptrace(PTRACE_TRACEME, 0, NULL, NULL);
    ARCH_TRAP();
    running->victim();
    crash_end_marker();
    _exit(0);
}

static void
second_main(void)
{
    if (running->second_prepare != NULL)
        running->second_prepare();
    ptrace(PTRACE_TRACEME, 0, NULL, NULL);
    ARCH_TRAP();
    running->second();
    crash_end_marker();
    _exit(0);
}

/* In the run without a death: stays until everybody else has ended. */
static void
control_victim_main(void)
{
    if (running->prepare != NULL)
        running->prepare();
    atomic_store(&control->prepared, 1);
    crash_gate_wait(GATE_CONTROL_BEGIN);
    running->victim();
    crash_end_marker();
    atomic_store(&control->completed, 1);
    crash_gate_wait(GATE_CONTROL_END);
    _exit(0);
}

static bool
await_victim(struct tracee *tracee, pid_t pid, const char *who)
{
    if (tracee_await(tracee, pid))
        return true;
    engine_error("%s/%s: %s ended before its operation, status 0x%x",
                 running->operation, running->state, who,
                 (unsigned)tracee->status);
    _exit(1);
}

static void
forget(unsigned actor)
{
    atomic_store(&control->actor[actor], 0);
}

/* Drives a victim to its point. */
static bool
go_to(const struct plan *plan, struct tracee *tracee,
      const struct crash_point *point, bool (*nudge)(unsigned n),
      _Atomic int *completed)
{
    static struct profile own;

    const struct crash_point *last;

    *completed = point->kind == POINT_END;
    if (!plan->slowly)
        return tracee_reach(tracee, point, nudge);
    if (own.points == NULL)
        own.points =
            mmap(NULL, MAX_POINTS * sizeof(*own.points), PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (own.points == MAP_FAILED)
        return false;
    tracee_profile(tracee, &own, NULL, nudge, point);
    /* With peers that live, runs differ: the n-th change of this one is as
     * good a point, and so is the end of an operation that made fewer. */
    *completed = own.complete;
    if (own.overflow)
        crash_fail(CRASH_HANG, "the operation never returned, in %d steps",
                   MAX_POINTS);
    last = &own.points[own.count - 1];
    if (last->pc != point->pc || last->hit != point->hit ||
        last->naps != point->naps || last->kind != point->kind)
        atomic_store(&control->replaced, 1);
    return own.arrived || own.complete || own.overflow;
}

static void
second_victim(const struct plan *plan)
{
    const struct crash_scenario *scenario = plan->scenario;
    struct profile *profile = &control->profile[1];
    /* What it may sleep for the first does not do while it is stopped. */
    bool (*nudge)(unsigned n) = plan->together ? NULL : scenario->second_nudge;
    struct tracee second;
    pid_t pid;

    atomic_store(&control->phase, PHASE_SECOND);
    if (scenario->second_adopt != NULL) {
        pid = scenario->second_adopt();
        atomic_store(&control->actor[ACTOR_SECOND], pid);
    } else
        pid = fork_actor(ACTOR_SECOND, second_main, false);
    await_victim(&second, pid, "the second victim");
    if (plan->mode == PLAN_SECOND_PROFILE) {
        tracee_profile(&second, profile, NULL, nudge, NULL);
        atomic_store(&control->second_completed, profile->complete);
    } else {
        if (!go_to(plan, &second, &plan->second, nudge,
                   &control->second_completed))
            atomic_store(&control->missed, 1);
    }
    tracee_kill(&second);
    forget(ACTOR_SECOND);
}

/* Is there a second victim? The first one's child may not exist yet. */
static bool
has_second(const struct plan *plan, const struct tracee *first)
{
    if (plan->mode != PLAN_SECOND_PROFILE && plan->mode != PLAN_SECOND_KILL)
        return false;
    if (plan->scenario->second_adopt == NULL || process_has_child(first->pid))
        return true;
    control->profile[1].count = 0;
    return false;
}

static void
victims(const struct plan *plan)
{
    const struct crash_scenario *scenario = plan->scenario;
    struct profile *profile = &control->profile[0];
    struct tracee first;
    bool two;
    pid_t pid;

    atomic_store(&control->phase, PHASE_VICTIM);
    if (scenario->adopt != NULL) {
        pid = scenario->adopt();
        atomic_store(&control->actor[ACTOR_VICTIM], pid);
    } else
        pid = fork_actor(ACTOR_VICTIM, victim_main, false);
    await_victim(&first, pid, "the victim");
    start_peers(scenario, true);
    if (plan->mode == PLAN_PROFILE) {
        doubt_pure = plan->doubt_pure;
        tracee_profile(&first, profile, scenario->covers, scenario->nudge,
                       NULL);
        if (scenario->exits && profile->exited)
            profile->complete = true;
        else if (first.ended)
            engine_error("%s/%s: the victim ended by itself, status 0x%x",
                         scenario->operation, scenario->state,
                         (unsigned)first.status);
        else if (!profile->complete && !scenario->blocks)
            crash_fail(CRASH_HANG, "the operation never returned");
        atomic_store(&control->completed, profile->complete);
    } else {
        if (!go_to(plan, &first, &plan->first, scenario->nudge,
                   &control->completed))
            atomic_store(&control->missed, 1);
    }
    two = has_second(plan, &first);
    if (two && plan->together)
        second_victim(plan);
    tracee_kill(&first);
    forget(ACTOR_VICTIM);
    if (two && !plan->together)
        second_victim(plan);
    if (scenario->second_adopt != NULL && !two)
        crash_gate_open(GATE_FAR);
}

/* All is done when only those are left that never end by themselves. */
static bool
all_ended(const struct crash_scenario *scenario)
{
    unsigned i;

    for (i = 0; i < ACTORS; i++)
        if (alive(i) && i != ACTOR_VICTIM &&
            !(i < CRASH_PEERS && (scenario->stays >> i & 1) != 0))
            return false;
    return true;
}

static bool
woken_ended(const struct crash_scenario *scenario)
{
    unsigned i;

    for (i = 0; i < CRASH_PEERS; i++)
        if ((scenario->woken >> i & 1) != 0 && alive(i))
            return false;
    return true;
}

static void
survivors(const struct crash_scenario *scenario)
{
    unsigned i;

    atomic_store(&control->phase, PHASE_SURVIVORS);
    for (i = 0; i < 2; i++)
        if (scenario->survivors[i] != NULL)
            fork_actor(ACTOR_SURVIVOR + i, scenario->survivors[i], false);
    while (serve_children(), !all_ended(scenario))
        children_pause();
    for (i = 0; i < CRASH_PEERS; i++) {
        pid_t pid = atomic_load(&control->actor[i]);

        if (pid == 0)
            continue;
        forget(i);
        kill(pid, SIGKILL);
        waitpid(pid, NULL, __WALL);
    }
}

/* Whether the victim of a run without a death still lives. */
static pid_t
control_victim(const struct crash_scenario *scenario)
{
    pid_t pid;

    serve_children();
    pid = atomic_load(&control->actor[ACTOR_VICTIM]);
    if (pid == 0) {
        engine_error("%s/%s: the victim ended by itself", scenario->operation,
                     scenario->state);
        _exit(1);
    }
    return pid;
}

static void
control_run(const struct crash_scenario *scenario)
{
    unsigned n = 0;

    atomic_store(&control->phase, PHASE_VICTIM);
    fork_actor(ACTOR_VICTIM, control_victim_main, false);
    while (control_victim(scenario), !atomic_load(&control->prepared))
        children_pause();
    start_peers(scenario, true);
    crash_gate_open(GATE_CONTROL_BEGIN);
    for (;;) {
        pid_t pid = control_victim(scenario);

        if (crash_completed())
            break;
        if (scenario->nudge != NULL && process_asleep(pid) &&
            !crash_completed())
            scenario->nudge(n++);
        children_pause();
    }
    while (serve_children(), !woken_ended(scenario))
        children_pause();
    survivors(scenario);
    crash_gate_open(GATE_CONTROL_END);
    while (serve_children(), alive(ACTOR_VICTIM))
        children_pause();
}

void
stage_run(const struct plan *plan)
{
    const struct crash_scenario *scenario = plan->scenario;

    running = scenario;
    setpgid(0, 0);
    children_block();
    gates_open();
    if (plan->without_waitv)
        refuse_waitv();
    crash_control_run = plan->mode == PLAN_CONTROL;
    if (scenario->setup != NULL)
        scenario->setup();
    atomic_store(&control->phase, PHASE_PEERS);
    start_peers(scenario, false);
    if (plan->mode == PLAN_CONTROL)
        control_run(scenario);
    else {
        victims(plan);
        if (atomic_load(&control->missed))
            _exit(0);
        survivors(scenario);
    }
    atomic_store(&control->phase, PHASE_CHECK);
    if (scenario->check != NULL)
        scenario->check();
    atomic_store(&control->phase, PHASE_DONE);
    _exit(0);
}

static const struct crash_exempt *exempt_running;
static void (*exempt_prepare)(void);

void
crash_exempt_prepare(void (*prepare)(void))
{
    exempt_prepare = prepare;
}

static void
exempt_main(void)
{
    if (exempt_prepare != NULL)
        exempt_prepare();
    ptrace(PTRACE_TRACEME, 0, NULL, NULL);
    ARCH_TRAP();
    exempt_running->call();
    crash_end_marker();
    _exit(0);
}

void
stage_run_exempt(const struct crash_exempt *exempt)
{
    struct crash_covers covers[2] = {{exempt->name, exempt->address}};
    struct tracee tracee;

    exempt_running = exempt;
    setpgid(0, 0);
    children_block();
    gates_open();
    if (exempt->setup != NULL)
        exempt->setup();
    atomic_store(&control->phase, PHASE_VICTIM);
    if (!tracee_await(&tracee, fork_actor(ACTOR_VICTIM, exempt_main, false))) {
        engine_error("%s: the caller ended early", exempt->name);
        _exit(1);
    }
    tracee_profile(&tracee, &control->profile[0], covers, NULL, NULL);
    tracee_kill(&tracee);
    atomic_store(&control->phase, PHASE_DONE);
    _exit(0);
}
