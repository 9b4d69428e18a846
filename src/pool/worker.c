/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a worker. It holds no lock, ever: while it waits, between tasks
 * and in them there is nothing whose loss could hold up others.
 */
#include "pool.h"

#include "heap/wait.h"
#include "os/clock.h"

#include <troupe/log.h>

#include <signal.h>
#include <string.h>
#include <unistd.h>

/* How long an idle worker spins before it sleeps, where that can help: about
 * what a sleep and a wake-up cost. */
#define SPIN (20 * INT64_C(1000))

/* How long a turn lasts. */
#define TURN (10 * TROUPE__MS)
/* Where 16 tasks take less than this, a look at the clock for each costs. */
#define SHORT (20 * INT64_C(1000))
#define SKIP  15u

bool
troupe__turn_passed(struct troupe__turn *turn)
{
    int64_t now;

    if (turn->skip != 0) {
        turn->skip--;
        return false;
    }
    now = troupe__clock_now();
    if (turn->until == 0)
        turn->until = now + TURN;
    else if (now - turn->looked < SHORT)
        turn->skip = SKIP;
    turn->looked = now;
    return now >= turn->until;
}

/* The job in a place of the table, kept from being freed, and its plan; NULL:
 * none. */
static struct troupe__job *
job_hold(troupe_pool *pool, struct troupe__pool_worker *worker, unsigned place,
         struct troupe__plan *ret_plan)
{
    uint64_t offset = troupe__load_acquire(&pool->jobs[place]);
    struct troupe__job *job = troupe__family_at(offset);

    if (offset == 0)
        return NULL;
    /* seq_cst: the creator takes the job from the table, or bars this worker,
     * and then looks here; we do it the other way round. */
    (void)troupe__exchange_seq_cst(&worker->job, offset);
    if (troupe__load_seq_cst(&pool->jobs[place]) != offset ||
        troupe__load_seq_cst(&worker->barred) != 0 ||
        !troupe__plan_read(job, ret_plan))
        return NULL;
    return job;
}

/* Works at a job, or only looks whether there is something to do. */
static bool
job_try(struct troupe__thread *self, troupe_pool *pool,
        struct troupe__pool_worker *worker, struct troupe__job *job,
        const struct troupe__plan *plan, bool work)
{
    struct troupe__stream_view stream;
    struct troupe__bulk_view bulk;

    switch (plan->kind) {
    case TROUPE__JOB_BULK:
        troupe__bulk_view((struct troupe__bulk *)job, plan, &bulk);
        return work ? troupe__bulk_run(pool, worker, &bulk)
                    : troupe__bulk_waits(&bulk);
    case TROUPE__JOB_STREAM:
        troupe__stream_view((struct troupe__stream *)job, plan, &stream);
        return work ? troupe__stream_run(self, pool, worker, &stream)
                    : troupe__stream_waits(&stream);
    default:
        return false;
    }
}

/* Looks at all jobs, working at those that have something to do if `work`.
 * True: there was something. */
static bool
look(struct troupe__thread *self, troupe_pool *pool,
     struct troupe__pool_worker *worker, bool work)
{
    bool any = false;
    unsigned i;

    for (i = 0; i < TROUPE__POOL_JOBS && (work || !any); i++) {
        unsigned place = (worker->next_job + i) % TROUPE__POOL_JOBS;
        struct troupe__plan plan;
        struct troupe__job *job;

        /* seq_cst, here and in all that idle() looks at: it has set the bit of
         * the event word before, see sync/eventword.h. */
        if (troupe__load_seq_cst(&pool->jobs[place]) == 0)
            continue;
        job = job_hold(pool, worker, place, &plan);
        if (job == NULL || !job_try(self, pool, worker, job, &plan, work))
            continue;
        any = true;
        if (work) {
            /* What has ended is told before the next job's turn. The fence:
             * what we have ended, then the look at who waits for it. */
            troupe__fence_seq_cst();
            troupe__eventword_signal(&pool->news.event, UINT32_MAX);
        }
    }
    if (troupe__load_relaxed(&worker->job) != 0) {
        /* seq_cst: what we have ended, then the look at who waits for it. */
        (void)troupe__exchange_seq_cst(&worker->job, UINT64_C(0));
        if (work)
            troupe__eventword_signal(&pool->news.event, UINT32_MAX);
    }
    /* The next one first, so that several jobs share the workers. */
    worker->next_job = (worker->next_job + 1) % TROUPE__POOL_JOBS;
    return any;
}

static bool
has_jobs(const troupe_pool *pool)
{
    unsigned i;

    for (i = 0; i < TROUPE__POOL_JOBS; i++)
        if (troupe__load_seq_cst(&pool->jobs[i]) != 0)
            return true;
    return false;
}

/* Whether it is time to go. */
static bool
ends(const troupe_pool *pool)
{
    uint32_t state = troupe__load_seq_cst(&pool->state);

    return state == TROUPE__POOL_TERMINATED ||
           (state == TROUPE__POOL_CLOSED && !has_jobs(pool));
}

/* Spins for a moment; true: something was offered. */
static bool
spin(struct troupe__thread *self, troupe_pool *pool, uint64_t submitted)
{
    int64_t end = troupe__clock_now() + SPIN;
    unsigned i;

    if (!troupe__wait_may_spin(self))
        return false;
    do {
        for (i = 0; i < 32; i++) {
            if (troupe__load_acquire(&pool->work.submitted) != submitted)
                return true;
            troupe__cpu_relax();
        }
    } while (troupe__clock_now() < end);
    return false;
}

/* Waits until there is work. < 0: this worker cannot go on. */
static int
idle(struct troupe__thread *self, troupe_pool *pool,
     struct troupe__pool_worker *worker, uint64_t submitted)
{
    struct troupe__eventword *event = &pool->work.event;
    struct troupe__wait wait;
    int status = 0;

    if (spin(self, pool, submitted))
        return 0;
    troupe__wait_begin(&wait, self, pool, TROUPE__KIND_POOL, TROUPE_FOREVER);
    troupe__eventword_enter(event);
    for (;;) {
        uint32_t seen = troupe__eventword_prepare(event);

        if (ends(pool) || look(self, pool, worker, false))
            break;
        status = troupe__wait_sleep(&wait, &event->word, seen, 0);
        if (status < 0)
            break;
    }
    (void)troupe__eventword_leave(event);
    troupe__wait_end(&wait);
    return status;
}

/* A task is not to be interrupted by what is meant for the creator. */
static void
signals_set(void)
{
    struct sigaction action;
    sigset_t set;

    memset(&action, 0, sizeof(action));
    action.sa_handler = SIG_IGN;
    (void)sigaction(SIGINT, &action, NULL);
    action.sa_handler = SIG_DFL;
    (void)sigaction(SIGTERM, &action, NULL);
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

int
troupe__worker_main(void *crew)
{
    struct troupe__pool_worker *worker = ((struct troupe__crew *)crew)->worker;
    troupe_pool *pool = ((struct troupe__crew *)crew)->pool;
    struct troupe__thread *self;
    int status;

    signals_set();
    self = troupe__thread_enter(&status);
    if (self == NULL)
        return 1;
    worker->pid = (int32_t)getpid();
    /* release: who finds the tag finds the pid. */
    troupe__store_release(&worker->tag, self->tag);
    /* Who waits does not watch us yet. */
    troupe__eventword_signal(&pool->news.event, UINT32_MAX);
    while (!ends(pool)) {
        uint64_t submitted = troupe__load_acquire(&pool->work.submitted);

        if (!look(self, pool, worker, true) &&
            idle(self, pool, worker, submitted) < 0)
            return 1;
    }
    troupe_log(TROUPE_LOG_DEBUG, "worker exiting after %llu tasks",
               (unsigned long long)worker->ended);
    troupe__store_release(&worker->left, 1u);
    return 0;
}
