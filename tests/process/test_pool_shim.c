/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pools where the system says no.
 */
#include "pool_helper.h"

#include "os/clock.h"
#include "os/fault.h"
#include "pool/pool.h"

#include "heap/family.h"

#include <pthread.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *failing_call;
static int failing_errno;
static int calls_left; /* before it fails */
static int fails_left; /* after that; < 0: for ever */

static int
fail_some(const char *call)
{
    if (strcmp(call, failing_call) != 0)
        return 0;
    if (calls_left > 0) {
        calls_left--;
        return 0;
    }
    if (fails_left == 0)
        return 0;
    fails_left--;
    return failing_errno;
}

static void
fault_begin(const char *call, int error, int after, int times)
{
    failing_call = call;
    failing_errno = error;
    calls_left = after;
    fails_left = times;
    troupe__shim_fault = fail_some;
}

static void
fault_end(void)
{
    troupe__shim_fault = NULL;
}

static int
plain(const void *item, void *result, void *context)
{
    (void)context;
    *(uint64_t *)result = *(const uint64_t *)item + 3;
    return 0;
}

static int
map_plain(troupe_pool *pool)
{
    uint64_t results[100];
    int status = troupe_pool_map(pool, plain, NULL, 100, 0, results, 8, NULL,
                                 TROUPE_FOREVER);

    for (uint64_t i = 0; status == 0 && i < 100; i++)
        CHECK_EQ(results[i], i + 3);
    return status;
}

TEST(pool_without_a_single_process_is_none)
{
    troupe_pool *pool = NULL;

    fault_begin("fork", EAGAIN, 0, -1);
    CHECK_RC(troupe_pool_new(
                 &pool, TROUPE_OPTIONS(troupe_pool_options, .processes = 3)),
             -EAGAIN);
    CHECK(pool == NULL);
    CHECK(strlen(troupe_error_detail()) > 0);
    fault_end();
    pool = pool_new(3);
    CHECK_RC(map_plain(pool), 0);
    pool_finish(pool);
}

/* Two tasks that need each other. */
struct meeting {
    uint32_t here;
    uint32_t unused;
    troupe_event all;
};

static int
meet(const void *item, void *result, void *context)
{
    struct meeting *m = context;

    (void)item;
    (void)result;
    if (__atomic_add_fetch(&m->here, 1, __ATOMIC_SEQ_CST) == 3)
        CHECK_RC(troupe_event_set(&m->all), 0);
    CHECK_RC(troupe_event_wait(&m->all, TROUPE_FOREVER), 0);
    return 0;
}

TEST(pool_begins_with_fewer_workers_and_gets_the_others_later)
{
    struct meeting *m = SHARED(struct meeting);
    troupe_pool *pool;

    fault_begin("fork", EAGAIN, 1, 3);
    pool = pool_new(3);
    CHECK_EQ(pool_info(pool).alive, 1u);
    CHECK_EQ(pool_info(pool).processes, 3u);
    CHECK_RC(map_plain(pool), 0);
    CHECK_RC(troupe_pool_map(pool, meet, NULL, 3, 0, NULL, 0,
                             MAP_OPTIONS(.context = m), TROUPE_FOREVER),
             0);
    CHECK_EQ(pool_info(pool).alive, 3u);
    CHECK_EQ(fails_left, 0);
    fault_end();
    pool_finish(pool);
    CHECK_RC(troupe_free(m), 0);
}

static int
die_once(const void *item, void *result, void *context)
{
    uint32_t *died = context;

    (void)item;
    (void)result;
    if (__atomic_exchange_n(died, 1, __ATOMIC_SEQ_CST) == 0)
        (void)raise(SIGKILL);
    return 0;
}

TEST(map_goes_on_when_a_dead_worker_can_be_replaced_at_last)
{
    uint32_t *died = SHARED(uint32_t);
    troupe_pool *pool = pool_new(1);
    troupe_map_report report = report_new();

    CHECK_RC(map_plain(pool), 0);
    fault_begin("fork", EAGAIN, 0, 4);
    CHECK_RC(troupe_pool_map(
                 pool, die_once, NULL, 10, 0, NULL, 0,
                 MAP_OPTIONS(.context = died, .retries = 1, .report = &report),
                 TROUPE_FOREVER),
             0);
    CHECK_STR(troupe_error_detail(), "");
    CHECK_EQ(report.values, 10u);
    CHECK_EQ(report.retried, 1u);
    CHECK_EQ(fails_left, 0);
    fault_end();
    pool_finish(pool);
    CHECK_RC(troupe_free(died), 0);
}

TEST_TIMEOUT(map_ends_when_no_worker_can_be_had_any_more, 60)
{
    uint32_t *died = SHARED(uint32_t);
    troupe_pool *pool = pool_new(1);
    troupe_map_report report = report_new();

    CHECK_RC(map_plain(pool), 0);
    fault_begin("fork", EAGAIN, 0, -1);
    CHECK_RC(troupe_pool_map(pool, die_once, NULL, 10, 0, NULL, 0,
                             MAP_OPTIONS(.context = died, .report = &report),
                             TROUPE_FOREVER),
             -EAGAIN);
    CHECK_EQ(report.lost, 1u);
    CHECK_EQ(report.values + report.cancelled, 9u);
    fault_end();
    CHECK_RC(map_plain(pool), 0);
    pool_finish(pool);
    CHECK_RC(troupe_free(died), 0);
}

/* The second of two workers is never had; a long time later the first dies, and
 * its successor can be started at the second attempt. */
struct late {
    uint32_t died;
    uint32_t unused;
    troupe_event go;
};

static const troupe_pool *failing_pool;
static unsigned fails_alone;

static int
fail_fork(const char *call)
{
    if (strcmp(call, "fork") != 0)
        return 0;
    if (troupe__load_relaxed(&failing_pool->alive) != 0)
        return EAGAIN;
    return fails_alone++ == 0 ? EAGAIN : 0;
}

static int
die_late(const void *item, void *result, void *context)
{
    struct late *late = context;

    CHECK_RC(troupe_event_wait(&late->go, TROUPE_FOREVER), 0);
    return die_once(item, result, &late->died);
}

static void
let_time_pass(uint64_t done, uint64_t total, void *arg)
{
    struct late *late = arg;

    (void)done;
    (void)total;
    if (troupe__shim_clock_ahead == 0)
        troupe__shim_clock_ahead = 20 * TROUPE__SECOND;
    CHECK_RC(troupe_event_set(&late->go), 0);
}

TEST(map_is_given_up_only_when_it_had_no_worker_for_long)
{
    struct late *late = SHARED(struct late);
    troupe_pool *pool;

    fault_begin("fork", EAGAIN, 1, -1);
    pool = pool_new(2);
    CHECK_EQ(pool_info(pool).alive, 1u);
    failing_pool = pool;
    troupe__shim_fault = fail_fork;
    CHECK_RC(troupe_pool_map(pool, die_late, NULL, 1, 0, NULL, 0,
                             MAP_OPTIONS(.context = late, .retries = 1,
                                         .progress = let_time_pass,
                                         .progress_arg = late),
                             TROUPE_FOREVER),
             0);
    CHECK_EQ(late->died, 1u);
    CHECK_EQ(fails_alone, 2u);
    fault_end();
    pool_finish(pool);
    troupe__shim_clock_ahead = 0;
    CHECK_RC(troupe_free(late), 0);
}

/* Its one worker was not replaced while the map ran, and could be now. */
TEST(pool_without_workers_is_freed)
{
    uint32_t *died = SHARED(uint32_t);
    troupe_pool *pool = pool_new(1);
    struct troupe__pool_control *control;
    struct troupe__thread *self;
    int status;

    control = troupe__pool_enter(pool, &self, &status);
    CHECK(control != NULL);
    CHECK_RC(map_plain(pool), 0);
    fault_begin("fork", EAGAIN, 0, -1);
    CHECK_RC(troupe_pool_map(pool, die_once, NULL, 1, 0, NULL, 0,
                             MAP_OPTIONS(.context = died), TROUPE_FOREVER),
             TROUPE_TASKS_FAILED);
    CHECK_EQ(pool_info(pool).alive, 0u);
    fault_end();
    /* The time has come to try again. */
    while (troupe__clock_now() < control->crew[0].start_at)
        (void)sched_yield();
    CHECK_RC(troupe_pool_free(pool), 0);
    CHECK_RC(troupe_free(died), 0);
}

/* Without futex_waitv nobody is woken by a death; the bound has to do. */
TEST_TIMEOUT(deaths_are_noticed_without_futex_waitv, 60)
{
    troupe_pool *pool;
    troupe_map_report report = report_new();

    fault_begin("futex_waitv", ENOSYS, 0, -1);
    pool = pool_new(2);
    for (int i = 0; i < 5; i++) {
        uint32_t *died = SHARED(uint32_t);

        CHECK_RC(troupe_pool_map(pool, die_once, NULL, 20, 0, NULL, 0,
                                 MAP_OPTIONS(.context = died, .retries = 1,
                                             .report = &report),
                                 TROUPE_FOREVER),
                 0);
        CHECK_EQ(report.workers_lost, 1u);
        CHECK_RC(troupe_free(died), 0);
    }
    pool_finish(pool);
    fault_end();
}

/* Memory. */

struct big_source {
    char *data;
    unsigned left;
};

static int
big_next(void *arg, troupe_item *ret_item)
{
    struct big_source *s = arg;

    if (s->left-- == 0)
        return TROUPE_END;
    ret_item->data = s->data;
    ret_item->size = (size_t)8 << 20;
    return 0;
}

static int
big_task(troupe_task *task, void *context)
{
    (void)context;
    return troupe_task_size(task) == (size_t)8 << 20 ? 0 : -EIO;
}

TEST(map_and_stream_say_when_memory_is_short)
{
    troupe_pool *pool = pool_new(1);
    struct big_source source = {calloc(1, (size_t)8 << 20), 3};
    uint64_t *results = calloc(1 << 20, 8);
    troupe_imap *it = NULL;
    troupe_result result;

    CHECK(source.data != NULL && results != NULL);
    /* Memory for the iterator itself is there. */
    source.left = 0;
    CHECK_RC(troupe_pool_imap_unordered(&it, pool, big_task, big_next, &source,
                                        NULL),
             0);
    CHECK_RC(troupe_imap_free(it), 0);
    CHECK_RC(map_plain(pool), 0);
    source.left = 3;
    fault_begin("fallocate", ENOMEM, 0, -1);
    CHECK_RC(troupe_pool_map(pool, plain, NULL, 1 << 20, 0, results, 8, NULL,
                             TROUPE_FOREVER),
             -ENOMEM);
    CHECK_RC(troupe_pool_imap_unordered(&it, pool, big_task, big_next, &source,
                                        NULL),
             0);
    CHECK_RC(troupe_imap_next(it, &result, TROUPE_FOREVER), -ENOMEM);
    CHECK_RC(troupe_imap_free(it), 0);
    fault_end();
    source.left = 3;
    CHECK_RC(troupe_pool_imap_unordered(&it, pool, big_task, big_next, &source,
                                        NULL),
             0);
    for (int i = 0; i < 3; i++) {
        CHECK_RC(troupe_imap_next(it, &result, TROUPE_FOREVER), 0);
        CHECK_RC(result.status, 0);
    }
    CHECK_RC(troupe_imap_next(it, &result, TROUPE_FOREVER), TROUPE_END);
    CHECK_RC(troupe_imap_free(it), 0);
    CHECK_RC(map_plain(pool), 0);
    pool_finish(pool);
    free(source.data);
    free(results);
}

/* A worker that is to be killed for one job, and is about to turn to
 * another. */

struct crossing {
    uint32_t inside; /* tasks of the first job that have begun */
    uint32_t calls;  /* of the other job's task */
    troupe_event go;
    troupe_event done;
    int status[2];
};

static struct crossing *crossing;

static int
first_task(const void *item, void *result, void *context)
{
    (void)item;
    (void)result;
    (void)context;
    (void)__atomic_fetch_add(&crossing->inside, 1, __ATOMIC_SEQ_CST);
    return troupe_event_wait(&crossing->go, TROUPE_FOREVER);
}

static int
other_task(const void *item, void *result, void *context)
{
    (void)item;
    (void)result;
    (void)context;
    (void)__atomic_fetch_add(&crossing->calls, 1, __ATOMIC_SEQ_CST);
    return troupe_event_wait(&crossing->done, TROUPE_FOREVER);
}

static void *
map_first(void *pool)
{
    crossing->status[0] = troupe_pool_map(pool, first_task, NULL, 1, 0, NULL, 0,
                                          NULL, TROUPE_FOREVER);
    return NULL;
}

static void *
map_other(void *pool)
{
    crossing->status[1] = troupe_pool_map(pool, other_task, NULL, 1, 0, NULL, 0,
                                          NULL, TROUPE_FOREVER);
    return NULL;
}

/* Between the last look at the worker and its death its task ends, and it goes
 * as far as it will. */
static bool
lets_it_go_on(struct troupe__pool_control *control, uint32_t index,
              const void *unused)
{
    const struct troupe__pool_worker *worker = control->crew[index].worker;
    static unsigned looks;

    (void)unused;
    if (++looks == 2) {
        CHECK_RC(troupe_event_set(&crossing->go), 0);
        while (troupe__load_acquire(&worker->job) != 0 &&
               __atomic_load_n(&crossing->calls, __ATOMIC_SEQ_CST) == 0)
            (void)sched_yield();
    }
    return true;
}

TEST(worker_killed_for_one_job_has_begun_no_other)
{
    struct troupe__pool_control *control;
    struct troupe__thread *self;
    pthread_t threads[2];
    troupe_pool *pool;
    int status;

    crossing = SHARED(struct crossing);
    pool = pool_new(1);
    control = troupe__pool_enter(pool, &self, &status);
    CHECK(control != NULL);
    CHECK_EQ(pthread_create(&threads[0], NULL, map_first, pool), 0);
    while (__atomic_load_n(&crossing->inside, __ATOMIC_SEQ_CST) == 0)
        (void)sched_yield();
    CHECK_EQ(pthread_create(&threads[1], NULL, map_other, pool), 0);
    while (troupe__load_acquire(&pool->offered) != 2)
        (void)sched_yield();
    CHECK_EQ(pthread_mutex_lock(&control->lock), 0);
    troupe__crew_kill(control, self, lets_it_go_on, NULL,
                      control->maps->next->view.bulk);
    CHECK_EQ(pthread_mutex_unlock(&control->lock), 0);
    CHECK_RC(troupe_event_set(&crossing->done), 0);
    CHECK_EQ(pthread_join(threads[0], NULL), 0);
    CHECK_EQ(pthread_join(threads[1], NULL), 0);
    CHECK_RC(crossing->status[0], 0);
    CHECK_RC(crossing->status[1], 0);
    CHECK_EQ(crossing->calls, 1u);
    pool_finish(pool);
    CHECK_RC(troupe_free(crossing), 0);
}

/* A worker that dies by itself, just before it would be killed at the deadline.
 */
struct last_moment {
    uint32_t inside;
    bool exits;
    troupe_event go;
};

static struct last_moment *last_moment;
static const uint32_t *cancelled;
static pid_t victim;

static int
die_when_told(const void *item, void *result, void *context)
{
    (void)item;
    (void)result;
    (void)context;
    __atomic_store_n(&last_moment->inside, 1, __ATOMIC_SEQ_CST);
    CHECK_RC(troupe_event_wait(&last_moment->go, TROUPE_FOREVER), 0);
    if (last_moment->exits)
        _exit(3);
    (void)raise(SIGKILL);
    return 0;
}

static void
die_at_cancel(const volatile void *address)
{
    siginfo_t info;

    if (address != cancelled)
        return;
    troupe__shim_atomic_hook = NULL;
    CHECK_RC(troupe_event_set(&last_moment->go), 0);
    CHECK_EQ(waitid(P_PID, (id_t)victim, &info, WEXITED | WNOWAIT | __WALL), 0);
}

/* The callback of a map whose deadline has passed already. */
static void
wait_until_inside(uint64_t done, uint64_t total, void *arg)
{
    troupe_pool *pool = arg;
    const struct troupe__job *job = NULL;

    (void)done;
    (void)total;
    if (victim != 0)
        return;
    while (__atomic_load_n(&last_moment->inside, __ATOMIC_SEQ_CST) == 0)
        (void)sched_yield();
    for (unsigned i = 0; job == NULL; i++)
        if (pool->jobs[i] != 0)
            job = troupe__family_at(pool->jobs[i]);
    victim = pool->workers[0].pid;
    cancelled = &job->cancelled;
    troupe__shim_atomic_hook = die_at_cancel;
}

TEST(worker_that_dies_by_itself_at_the_deadline_is_a_loss)
{
    for (unsigned exits = 0; exits < 2; exits++) {
        for (uint32_t retries = 0; retries < 2; retries++) {
            troupe_map_report report = report_new();
            troupe_pool *pool;
            int status;

            last_moment = SHARED(struct last_moment);
            last_moment->exits = exits != 0;
            victim = 0;
            pool = pool_new(1);
            CHECK_RC(troupe_pool_map(pool, die_when_told, NULL, 1, 0, NULL, 0,
                                     MAP_OPTIONS(.statuses = &status,
                                                 .report = &report,
                                                 .retries = retries,
                                                 .progress = wait_until_inside,
                                                 .progress_arg = pool),
                                     TROUPE_NOW),
                     -ETIMEDOUT);
            /* With attempts left it was given up, not lost. */
            CHECK_RC(status, retries == 0 ? -TROUPE_EWORKERLOST : -ECANCELED);
            CHECK_EQ(report.lost, retries == 0);
            CHECK_EQ(report.workers_lost, 1u);
            if (retries == 0) {
                CHECK_EQ(report.lost_pid, victim);
                CHECK_EQ(report.lost_signal, exits ? 0 : SIGKILL);
            }
            CHECK_EQ(pool_info(pool).workers_lost, 1u);
            CHECK_EQ(pool_info(pool).tasks_interrupted, 1u);
            pool_finish(pool);
            CHECK_RC(troupe_free(last_moment), 0);
        }
    }
}

/* A worker killed when it has an item, before it begins the task. */

static uint64_t *begun_at; /* shared: the address of the slot's mark */

static void
die_before_begun(const volatile void *address)
{
    if (begun_at != NULL && *begun_at != 0 &&
        (uint64_t)(uintptr_t)address == *begun_at) {
        *begun_at = 0;
        (void)raise(SIGKILL);
    }
}

static int
one_item(void *arg, troupe_item *ret_item)
{
    troupe_pool *pool = arg;
    struct troupe__stream *stream = NULL;
    struct troupe__stream_view view;
    struct troupe__plan plan;

    (void)ret_item;
    for (unsigned i = 0; stream == NULL; i++)
        if (pool->jobs[i] != 0)
            stream = troupe__family_at(pool->jobs[i]);
    CHECK(troupe__plan_read(&stream->job, &plan));
    troupe__stream_view(stream, &plan, &view);
    *begun_at = (uint64_t)(uintptr_t)&view.slots[0].begun;
    return 0;
}

static int
task_plain(troupe_task *task, void *context)
{
    (void)task;
    (void)context;
    return 0;
}

TEST(cancelled_task_that_never_began_has_no_attempt_and_no_worker)
{
    begun_at = SHARED(uint64_t);
    for (unsigned seen = 0; seen < 2; seen++) {
        troupe_imap *it = NULL;
        troupe_result result;
        troupe_pool *pool;
        siginfo_t info;

        *begun_at = 0;
        troupe__shim_atomic_hook = die_before_begun;
        pool = pool_new(1);
        troupe__shim_atomic_hook = NULL;
        while (__atomic_load_n(&pool->workers[0].pid, __ATOMIC_SEQ_CST) == 0)
            (void)sched_yield();
        CHECK_RC(troupe_pool_imap_unordered(&it, pool, task_plain, one_item,
                                            pool, IMAP_OPTIONS(.window = 1)),
                 0);
        CHECK_EQ(waitid(P_PID, (id_t)pool->workers[0].pid, &info,
                        WEXITED | WNOWAIT | __WALL),
                 0);
        /* Cancelled while it waits for another attempt, or when the death is
         * noticed. */
        fault_begin("fork", EAGAIN, 0, -1);
        while (seen && pool_info(pool).alive != 0)
            CHECK_RC(troupe_imap_next(it, &result, TROUPE_NOW), -ETIMEDOUT);
        CHECK_RC(troupe_pool_terminate(pool), 0);
        CHECK_RC(troupe_imap_next(it, &result, TROUPE_FOREVER), 0);
        CHECK_RC(result.status, -ECANCELED);
        CHECK_EQ(result.attempts, 0u);
        CHECK_EQ(result.pid, 0);
        CHECK_EQ(pool_info(pool).tasks_interrupted, 0u);
        CHECK_RC(troupe_imap_free(it), 0);
        CHECK_RC(troupe_pool_free(pool), 0);
        fault_end();
    }
    CHECK_RC(troupe_free(begun_at), 0);
}
