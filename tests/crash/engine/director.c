/* SPDX-License-Identifier: Apache-2.0 */
/* Visits the kill points of all scenarios, and says what was found. */
#include "engine.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char *const kind_names[CRASH_KINDS] = {"hang", "corruption",
                                                    "loss", "duplicate"};

/* What one scenario came to. */
struct result {
    unsigned long points;
    unsigned long kills; /* of the points, those somebody died at */
    unsigned long found[CRASH_KINDS];
    unsigned long missed;
    unsigned long replaced;
    unsigned long spared;
    unsigned long errors;
    unsigned reports;
};

/* Shared by the jobs, which take scenarios and add up what they found. */
struct board {
    _Atomic size_t next;
    _Atomic unsigned long points;
    _Atomic unsigned long found[CRASH_KINDS];
    _Atomic unsigned long missed;
    _Atomic unsigned long replaced;
    _Atomic unsigned long spared;
    _Atomic unsigned long errors;
    _Atomic unsigned long scenarios;
};

/* What control->missed says when the deadline came before the point. */
enum { MISSED_WITHOUT_END = 2 };

enum { MAX_REPORTS = 6, TRIES = 6, MAX_PATHS = 4096, THIN = 8 };

/* ---- one stage ---- */

static void
describe_hang(void)
{
    static const char *const phases[] = {"the setup",     "starting the peers",
                                         "the victim",    "the second victim",
                                         "the survivors", "the check",
                                         "the end"};
    char text[FAILURE_TEXT / 2] = "";
    size_t used = 0;
    unsigned i;

    for (i = 0; i < ACTORS; i++) {
        pid_t pid = atomic_load(&control->actor[i]);
        char where[80];

        if (pid == 0)
            continue;
        process_where(pid, where, sizeof(where));
        used +=
            (size_t)snprintf(text + used, sizeof(text) - used, "; %s %u: %s",
                             i < CRASH_PEERS       ? "peer"
                             : i < CRASH_PEERS + 2 ? "victim"
                                                   : "survivor",
                             i < CRASH_PEERS       ? i
                             : i < CRASH_PEERS + 2 ? i - CRASH_PEERS
                                                   : i - CRASH_PEERS - 2,
                             where);
        if (used >= sizeof(text))
            break;
    }
    crash_fail(CRASH_HANG, "no end in %s%s",
               phases[atomic_load(&control->phase)], text);
}

/*
 * Everything the stage left: its group, and what was handed to us when its
 * parents died, also if it made a session of its own.
 */
static void
sweep(pid_t stage)
{
    char path[64];

    kill(-stage, SIGKILL);
    snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
    for (;;) {
        pid_t got = waitpid(-1, NULL, __WALL | WNOHANG);
        FILE *children;
        int pid;

        if (got > 0)
            continue;
        if (got < 0)
            return;
        children = fopen(path, "re");
        while (children != NULL && fscanf(children, "%d", &pid) == 1)
            kill(pid, SIGKILL);
        if (children != NULL)
            fclose(children);
        children_pause();
    }
}

/*
 * When the stage is done, whoever it has left ends by itself: children of a
 * dead victim, which are ours now. A stage that has a finding may leave others.
 * True when nobody is there any more.
 */
static bool
all_end(int64_t end)
{
    pid_t got;

    if (atomic_load(&control->phase) != PHASE_DONE ||
        atomic_load(&control->failures) != 0)
        return false;
    while ((got = waitpid(-1, NULL, __WALL | WNOHANG)) >= 0) {
        if (got == 0 && now_ms() >= end) {
            crash_fail(CRASH_HANG, "a child of a victim never ended");
            return false;
        }
        if (got == 0)
            children_pause();
    }
    return true;
}

/*
 * Was a victim still being driven to its point, with breakpoints?  On a busy
 * machine it may have taken another way, on which it never comes there; so this
 * is a point missed, and the next try steps.  Who comes to no end then hangs.
 */
static bool
on_the_way(const struct plan *plan)
{
    if (plan->slowly)
        return false;
    switch (atomic_load(&control->phase)) {
    case PHASE_VICTIM:
        return plan->mode != PLAN_PROFILE && plan->mode != PLAN_CONTROL;
    case PHASE_SECOND:
        return plan->mode == PLAN_SECOND_KILL;
    default:
        return false;
    }
}

/* Forks the stage, waits for it or for the deadline. */
static void
perform(const struct plan *plan, const struct crash_exempt *exempt)
{
    /* Comparing memory after each step takes its time. */
    bool stepped = plan->slowly || plan->mode == PLAN_PROFILE ||
                   plan->mode == PLAN_SECOND_PROFILE;
    int64_t patience = plan->deadline + (stepped ? plan->stepping : 0);
    int64_t end = now_ms() + patience * 1000;
    bool ended = false;
    siginfo_t info;
    pid_t job = getpid();
    pid_t stage;
    int pidfd;

    control_reset();
    fflush(NULL);
    stage = fork();
    if (stage == 0) {
        child_follow(job);
        if (exempt != NULL)
            stage_run_exempt(exempt);
        stage_run(plan);
    }
    if (stage < 0) {
        engine_error("fork: %s", strerror(errno));
        return;
    }
    /* Both do it, so that it is true whoever comes first. */
    setpgid(stage, stage);
    pidfd = (int)syscall(SYS_pidfd_open, stage, 0);
    while (!ended) {
        struct pollfd wait = {.fd = pidfd, .events = POLLIN};
        int64_t left = end - now_ms();

        if (left <= 0)
            break;
        ended = poll(&wait, 1, (int)left) == 1;
    }
    close(pidfd);
    if (!ended && on_the_way(plan))
        atomic_store(&control->missed, MISSED_WITHOUT_END);
    else if (!ended)
        describe_hang();
    else if (waitid(P_PID, (id_t)stage, &info, WEXITED | WNOWAIT) == 0 &&
             info.si_code != CLD_EXITED)
        crash_fail(CRASH_CORRUPTION, "the check died of signal %d (%s)",
                   info.si_status, strsignal(info.si_status));
    if (!all_end(end))
        sweep(stage);
}

/* ---- reports ---- */

static void __attribute__((format(printf, 2, 3)))
say(char **text, const char *format, ...)
{
    va_list list;
    char *more = NULL, *both;

    va_start(list, format);
    if (vasprintf(&more, format, list) < 0)
        more = NULL;
    va_end(list);
    if (more == NULL)
        return;
    if (asprintf(&both, "%s%s", *text != NULL ? *text : "", more) < 0)
        both = NULL;
    free(*text);
    free(more);
    *text = both;
}

static void
point_text(const struct crash_point *point, char *text, size_t size)
{
    static const char *const kinds[] = {"before", "before", "before",
                                        "asleep in", "after all, at"};
    char name[160];

    symbol_name(point->pc, name, sizeof(name));
    snprintf(text, size, "%s %s (step %u)", kinds[point->kind], name,
             point->step);
}

static void
collect(const struct crash_options *options, const struct plan *plan,
        struct result *result, char **text)
{
    unsigned i;

    if (atomic_load(&control->broken)) {
        result->errors++;
        say(text, "    the scenario could not be run\n");
    }
    for (i = 0; i < MAX_FAILURES; i++) {
        struct failure *failure = &control->failure[i];
        char first[256], second[256];

        if (!atomic_load(&failure->used))
            continue;
        result->found[failure->kind]++;
        if (result->reports++ >= MAX_REPORTS && !options->verbose)
            continue;
        point_text(&plan->first, first, sizeof(first));
        if (plan->mode == PLAN_CONTROL)
            say(text, "    %s without a death: %s\n", kind_names[failure->kind],
                failure->text);
        else if (plan->mode == PLAN_SECOND_PROFILE ||
                 plan->mode == PLAN_SECOND_KILL) {
            point_text(&plan->second, second, sizeof(second));
            say(text, "    %s, killed %s%s %s: %s\n", kind_names[failure->kind],
                first,
                plan->together ? " together with a second" : ", then a second",
                second, failure->text);
        } else
            say(text, "    %s, killed %s: %s\n", kind_names[failure->kind],
                first, failure->text);
    }
}

static bool
found_any(const struct result *result)
{
    unsigned i;

    for (i = 0; i < CRASH_KINDS; i++)
        if (result->found[i] != 0)
            return true;
    return result->errors != 0;
}

/* ---- one scenario ---- */

/* Performs the plan, again if the victim did not come to its point. */
static bool
arrive(const struct crash_options *options, struct plan *plan,
       struct result *result, char **text)
{
    unsigned tries;
    char where[256];

    for (tries = 0; tries < TRIES; tries++) {
        int missed;

        plan->slowly |= tries > 1;
        perform(plan, NULL);
        missed = atomic_load(&control->missed);
        if (missed == 0)
            break;
        plan->slowly |= missed == MISSED_WITHOUT_END;
    }
    plan->slowly = false;
    if (tries < TRIES) {
        result->points++;
        result->kills++;
        result->replaced += atomic_load(&control->replaced) != 0;
        return true;
    }
    result->missed++;
    point_text(&plan->first, where, sizeof(where));
    if (options->verbose)
        say(text, "    missed %s\n", where);
    return false;
}

static bool
kill_at(const struct crash_options *options, struct plan *plan,
        struct result *result, char **text)
{
    (void)arrive(options, plan, result, text);
    collect(options, plan, result, text);
    return !(options->stop_at_first && found_any(result));
}

/* Is the index-th of count among at most sample evenly spread ones? */
static bool
sampled(uint32_t index, uint32_t count, unsigned sample)
{
    if (sample == 0 || count <= sample || index == 0 || index == count - 1)
        return true;
    return (uint64_t)index * sample / count !=
           (uint64_t)(index - 1) * sample / count;
}

/* Of pairs there are twice the square of it, so they get by with fewer. */
static unsigned
pair_sample(const struct crash_options *options)
{
    return (options->sample + 3) / 4;
}

/* The same of first deaths: what is cleared up may be much the same. */
static unsigned
first_sample(const struct crash_options *options,
             const struct crash_scenario *scenario)
{
    unsigned sample = pair_sample(options);

    if (scenario->firsts == 0 || options->all_pairs ||
        (sample != 0 && sample < scenario->firsts))
        return sample;
    return scenario->firsts;
}

/* The ways that second victims took, and how often each. */
struct paths {
    size_t count;

    struct {
        uint64_t path;
        bool together;
        uint32_t members;
    } seen[MAX_PATHS];
};

/* How many first victims left the second the same way before this one. */
static uint32_t
path_member(struct paths *paths, uint64_t path, bool together)
{
    size_t i;

    for (i = 0; i < paths->count; i++)
        if (paths->seen[i].path == path && paths->seen[i].together == together)
            return paths->seen[i].members++;
    if (paths->count == MAX_PATHS)
        return 0;
    paths->seen[i].path = path;
    paths->seen[i].together = together;
    paths->seen[i].members = 1;
    paths->count++;
    return 0;
}

/*
 * The second victim dies at each of its distinct points, for one first death of
 * every path: those after which the second changes memory at the same places in
 * the same order.  Of each further first death on the path it dies at every
 * THIN-th, another ones each time, so that each place meets deaths from all
 * over the path.
 */
static void
second_victims(const struct crash_options *options, struct plan plan,
               struct paths *paths, struct result *result, char **text)
{
    struct profile *profile = &control->profile[1];
    unsigned sample = options->sample;
    uint32_t i, index = 0, member;

    plan.mode = PLAN_SECOND_PROFILE;
    memset(&plan.second, 0, sizeof(plan.second));
    if (!arrive(options, &plan, result, text))
        return;
    if (profile->count > 0)
        plan.second = profile->points[profile->count - 1];
    collect(options, &plan, result, text);
    if (profile->count == 0)
        return;
    plan.mode = PLAN_SECOND_KILL;
    member = path_member(paths, profile->path, plan.together);
    if (options->all_pairs || sample != 0)
        member = 0;
    /* The last point was visited by the profile itself. */
    for (i = 0; i + 1 < profile->count; i++) {
        if (!profile->points[i].distinct)
            continue;
        if (!sampled(index++, profile->distinct, pair_sample(options)))
            continue;
        if (member != 0 && (index + member) % THIN != 0) {
            result->spared++;
            continue;
        }
        plan.second = profile->points[i];
        if (!kill_at(options, &plan, result, text))
            return;
    }
}

static bool
has_second(const struct crash_scenario *scenario)
{
    return scenario->second != NULL || scenario->second_adopt != NULL;
}

static void
check_covers(const struct crash_scenario *scenario, struct result *result,
             char **text)
{
    const struct profile *profile = &control->profile[0];
    unsigned i;

    for (i = 0; scenario->covers != NULL && scenario->covers[i].name != NULL;
         i++)
        if (i >= MAX_COVERS || !profile->entered[i]) {
            result->errors++;
            say(text, "    %s was never entered by the victim\n",
                scenario->covers[i].name);
        }
    if (profile->overflow) {
        result->errors++;
        say(text, "    more than %d instructions\n", MAX_POINTS);
    }
}

static void
visit(const struct crash_options *options, struct plan *plan,
      struct result *result, char **text)
{
    const struct profile *profile = &control->profile[0];
    bool every = options->brute && !plan->scenario->lengthy;
    uint32_t count = every ? profile->count : profile->distinct;
    uint32_t i, index = 0;

    for (i = 0; i + 1 < profile->count; i++) {
        const struct crash_point *point = &profile->points[i];

        if ((!every && !point->distinct) ||
            !sampled(index++, count, options->sample))
            continue;
        plan->first = *point;
        if (!kill_at(options, plan, result, text))
            return;
    }
}

static void
visit_seconds(const struct crash_options *options, struct plan *plan,
              struct result *result, char **text)
{
    const struct profile *profile = &control->profile[0];
    unsigned sample = first_sample(options, plan->scenario);
    static struct paths paths;
    uint32_t i, index = 0;
    int together;

    paths.count = 0;
    for (i = 0; i < profile->count; i++) {
        if (!profile->points[i].distinct ||
            !sampled(index++, profile->distinct, sample))
            continue;
        for (together = 0; together < 2; together++) {
            plan->first = profile->points[i];
            plan->together = together != 0;
            second_victims(options, *plan, &paths, result, text);
            if (options->stop_at_first && found_any(result))
                return;
        }
    }
    plan->together = false;
}

/*
 * Runs the operation without a death, to find its points. A sleep of the victim
 * that its own bound ended before it was seen has the victim go round once
 * more, on a way that no later run takes again. The run that counts is the
 * shortest, which another of about its length must have confirmed.
 */
static void
find_points(const struct crash_options *options, struct plan *plan,
            struct result *result, char **text)
{
    const struct profile *profile = &control->profile[0];
    uint32_t least = UINT32_MAX;
    unsigned tries;

    for (tries = 0; tries < TRIES; tries++) {
        uint32_t steps;

        perform(plan, NULL);
        if (profile->count > 0)
            plan->first = profile->points[profile->count - 1];
        collect(options, plan, result, text);
        steps = profile->steps;
        if (found_any(result) || profile->sleeps == 0 ||
            (steps <= least && least - steps <= least / 8) ||
            (steps > least && steps - least <= least / 8))
            break;
        if (steps < least)
            least = steps;
    }
    result->points++;
}

/*
 * A few points that are missed or become others are of no account where peers
 * live on; many would be another campaign.  That is for each scenario to keep,
 * else one of them might go unvisited in the crowd.
 */
static void
check_visited(const struct crash_options *options, struct result *result,
              char **text)
{
    if (options->stop_at_first && found_any(result))
        return;
    if (result->kills == 0 || result->missed > 1 + result->points / 50) {
        result->errors++;
        say(text, "    %lu points could not be reached again, %lu were\n",
            result->missed, result->kills);
    }
    if (result->replaced > 3 + result->points / 8) {
        result->errors++;
        say(text, "    %lu points became others, as the run took another way\n",
            result->replaced);
    }
}

static char *
run_scenario(const struct crash_options *options,
             const struct crash_scenario *scenario, struct result *result)
{
    const struct profile *profile = &control->profile[0];
    struct plan plan = {
        .scenario = scenario,
        .mode = PLAN_PROFILE,
        .without_waitv = options->without_waitv,
        .doubt_pure = options->brute && scenario->peers[0] == NULL &&
                      scenario->nudge == NULL && scenario->adopt == NULL,
        .deadline = options->deadline,
        .stepping = options->stepping,
    };
    char *text = NULL, *line = NULL;
    int64_t began = now_ms();
    unsigned i;

    find_points(options, &plan, result, &text);
    check_covers(scenario, result, &text);
    if (result->errors == 0 && !(options->stop_at_first && found_any(result))) {
        if ((scenario->woken | scenario->untimed) != 0) {
            plan.mode = PLAN_CONTROL;
            perform(&plan, NULL);
            collect(options, &plan, result, &text);
        }
        plan.mode = PLAN_KILL;
        if (options->only_point >= 0) {
            if ((uint32_t)options->only_point < profile->count) {
                plan.first = profile->points[options->only_point];
                kill_at(options, &plan, result, &text);
            }
        } else if (!(options->stop_at_first && found_any(result))) {
            visit(options, &plan, result, &text);
            if (has_second(scenario) &&
                !(options->stop_at_first && found_any(result)))
                visit_seconds(options, &plan, result, &text);
        }
        check_visited(options, result, &text);
    }
    say(&line, "%-28s %-50s %6lu points of %6u instructions%s, %lu s  ",
        scenario->operation, scenario->state, result->points,
        profile->steps + 1, has_second(scenario) ? " and pairs" : "",
        (unsigned long)(now_ms() - began) / 1000);
    if (!found_any(result) && result->missed == 0)
        say(&line, "ok\n");
    else {
        for (i = 0; i < CRASH_KINDS; i++)
            if (result->found[i] != 0)
                say(&line, "%s: %lu ", kind_names[i], result->found[i]);
        if (result->missed != 0)
            say(&line, "missed: %lu ", result->missed);
        if (result->replaced != 0)
            say(&line, "replaced: %lu ", result->replaced);
        if (result->errors != 0)
            say(&line, "errors: %lu ", result->errors);
        say(&line, "\n%s", text != NULL ? text : "");
    }
    free(text);
    return line;
}

/* ---- all scenarios ---- */

static bool
selected(const struct crash_options *options,
         const struct crash_scenario *scenario)
{
    char name[256];
    const char *at = options->filter;

    if (at == NULL)
        return !scenario->lengthy || options->sample == 0;
    snprintf(name, sizeof(name), "%s/%s", scenario->operation, scenario->state);
    /* Alternatives are separated by commas, which have a space behind them
     * where they are part of a state. */
    while (*at != '\0') {
        size_t length = strcspn(at, ",");
        char part[256];

        while (at[length] == ',' && at[length + 1] == ' ')
            length += 1 + strcspn(at + length + 1, ",");

        if (length > 0 && length < sizeof(part)) {
            memcpy(part, at, length);
            part[length] = '\0';
            if (strstr(name, part) != NULL)
                return true;
        }
        at += length + (at[length] == ',');
    }
    return false;
}

static void
add_result(struct board *board, const struct result *result)
{
    unsigned i;

    atomic_fetch_add(&board->points, result->points);
    atomic_fetch_add(&board->missed, result->missed);
    atomic_fetch_add(&board->replaced, result->replaced);
    atomic_fetch_add(&board->spared, result->spared);
    atomic_fetch_add(&board->errors, result->errors);
    atomic_fetch_add(&board->scenarios, 1);
    for (i = 0; i < CRASH_KINDS; i++)
        atomic_fetch_add(&board->found[i], result->found[i]);
}

static void
job_main(pid_t engine, const struct crash_options *options,
         const struct crash_scenario *const *scenarios, size_t count,
         struct board *board)
{
    size_t turn;

    /* What a stage leaves behind comes to us, and to nobody else. */
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    child_follow(engine);
    children_block();
    if (!control_open()) {
        atomic_fetch_add(&board->errors, 1);
        _exit(1);
    }
    while ((turn = atomic_fetch_add(&board->next, 1)) < 2 * count) {
        struct result result = {0};
        size_t index = turn % count;
        char *line;

        /* Pairs take longest: begun first, they do not end alone. */
        if (has_second(scenarios[index]) != (turn < count) ||
            !selected(options, scenarios[index]))
            continue;
        line = run_scenario(options, scenarios[index], &result);
        if (line != NULL && (!options->quiet || found_any(&result))) {
            fputs(line, stdout);
            fflush(stdout);
        }
        free(line);
        add_result(board, &result);
    }
    _exit(0);
}

static struct board *
board_open(void)
{
    struct board *board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE,
                               MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (board == MAP_FAILED) {
        perror("mmap");
        exit(2);
    }
    return board;
}

static void
board_close(struct board *board, struct crash_totals *totals)
{
    unsigned i;

    totals->points += board->points;
    totals->missed += board->missed;
    totals->replaced += board->replaced;
    totals->spared += board->spared;
    totals->errors += board->errors;
    totals->scenarios += board->scenarios;
    for (i = 0; i < CRASH_KINDS; i++)
        totals->found[i] += board->found[i];
    munmap(board, sizeof(*board));
}

static void
await_job(struct board *board, pid_t pid)
{
    int status = 0;

    if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0) {
        fprintf(stderr, "engine: a job ended with status 0x%x\n",
                (unsigned)status);
        atomic_fetch_add(&board->errors, 1);
    }
}

void
crash_run(const struct crash_options *options,
          const struct crash_scenario *const *scenarios, size_t count,
          struct crash_totals *totals)
{
    enum { MOST_JOBS = 16 };
    struct board *board = board_open();
    unsigned jobs = options->jobs > 0 ? options->jobs : 1, i;
    pid_t engine = getpid();
    pid_t pids[MOST_JOBS];

    if (jobs > MOST_JOBS)
        jobs = MOST_JOBS;
    fflush(NULL);
    for (i = 0; i < jobs; i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            tracee_processor = i;
            job_main(engine, options, scenarios, count, board);
        }
    }
    for (i = 0; i < jobs; i++)
        await_job(board, pids[i]);
    board_close(board, totals);
}

/* ---- exported functions without kill points ---- */

static void
exempt_job(pid_t engine, const struct crash_options *options,
           const struct crash_exempt *exempt, size_t count, struct board *board)
{
    size_t i;

    prctl(PR_SET_CHILD_SUBREAPER, 1);
    child_follow(engine);
    children_block();
    if (!control_open())
        _exit(1);
    for (i = 0; i < count; i++) {
        const struct profile *profile = &control->profile[0];
        struct plan plan = {.deadline = options->deadline,
                            .stepping = options->stepping};
        struct result result = {0};
        char *text = NULL;

        if (exempt[i].call == NULL)
            continue;
        perform(&plan, &exempt[i]);
        collect(options, &plan, &result, &text);
        if (result.errors == 0 && !profile->entered[0]) {
            result.errors++;
            say(&text, "    it was never called\n");
        }
        if (result.errors == 0 && profile->wrote) {
            result.errors++;
            say(&text, "    it does write shared memory\n");
        }
        if (found_any(&result))
            printf("%-24s said to write no shared memory: failed\n%s",
                   exempt[i].name, text != NULL ? text : "");
        else if (options->verbose)
            printf("%-24s writes no shared memory in %u instructions\n",
                   exempt[i].name, profile->steps + 1);
        fflush(stdout);
        free(text);
        add_result(board, &result);
    }
    _exit(0);
}

void
crash_run_exempt(const struct crash_options *options,
                 const struct crash_exempt *exempt, size_t count,
                 struct crash_totals *totals)
{
    struct board *board = board_open();
    pid_t engine = getpid();
    pid_t pid;

    fflush(NULL);
    pid = fork();
    if (pid == 0)
        exempt_job(engine, options, exempt, count, board);
    await_job(board, pid);
    atomic_store(&board->scenarios, 0);
    board_close(board, totals);
}
