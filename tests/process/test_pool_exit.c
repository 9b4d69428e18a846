/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The creator exits while its pool is in use.
 */
#include "pool_helper.h"

#include <pthread.h>
#include <sched.h>

struct scene {
    uint32_t inside; /* tasks that have begun */
    uint32_t told;   /* by the last finalizer of the creator */
    int status;
    uint32_t given;
    troupe_event never;
    troupe_event late; /* a second daemon has been started */
};

static struct scene *scene;

static void
await_tasks(uint32_t count)
{
    while (__atomic_load_n(&scene->inside, __ATOMIC_SEQ_CST) < count)
        (void)sched_yield();
}

static int
task_stays(const void *item, void *result, void *context)
{
    (void)item;
    (void)result;
    (void)context;
    (void)__atomic_fetch_add(&scene->inside, 1, __ATOMIC_SEQ_CST);
    return troupe_event_wait(&scene->never, TROUPE_FOREVER);
}

static int
stream_stays(troupe_task *task, void *context)
{
    (void)task;
    return task_stays(NULL, NULL, context);
}

static int
always_one_more(void *arg, troupe_item *ret_item)
{
    ret_item->user = *(uint32_t *)arg;
    return 0;
}

/* The thread that goes on with the pool while the process exits. */

static void *
thread_maps(void *pool)
{
    scene->status =
        troupe_pool_map(pool, task_stays, NULL, 1000, 0, NULL, 0,
                        MAP_OPTIONS(.retries = UINT32_MAX), TROUPE_FOREVER);
    return NULL;
}

static troupe_imap *
stream_begin(troupe_pool *pool)
{
    troupe_imap *it = NULL;

    CHECK_RC(troupe_pool_imap_unordered(&it, pool, stream_stays,
                                        always_one_more, &scene->given,
                                        IMAP_OPTIONS(.retries = UINT32_MAX)),
             0);
    return it;
}

static void *
thread_iterates(void *pool)
{
    troupe_imap *it = stream_begin(pool);
    troupe_result result;

    while ((scene->status = troupe_imap_next(it, &result, TROUPE_FOREVER)) == 0)
        CHECK_RC(result.status, -ECANCELED);
    return NULL;
}

static void *
thread_joins(void *pool)
{
    (void)stream_begin(pool);
    CHECK_RC(troupe_pool_close(pool), 0);
    scene->status = troupe_pool_join(pool, TROUPE_FOREVER);
    return NULL;
}

static void *
thread_frees(void *pool)
{
    thread_maps(pool);
    CHECK_RC(troupe_pool_free(pool), 0);
    return NULL;
}

static void
tell_the_end(void *thread)
{
    CHECK_EQ(pthread_join(*(pthread_t *)thread, NULL), 0);
    scene->told = 1;
}

/* With a finalizer that runs after the pool's, and sees the thread's end. */
static int
child_with(void *(*routine)(void *pool))
{
    static pthread_t thread;
    troupe_pool *pool = pool_new(2);

    CHECK_RC(troupe_finalizer_add(tell_the_end, &thread, 0, NULL), 0);
    CHECK_EQ(pthread_create(&thread, NULL, routine, pool), 0);
    await_tasks(2);
    return 5;
}

static int
child_maps(void *unused)
{
    (void)unused;
    return child_with(thread_maps);
}

static int
child_iterates(void *unused)
{
    (void)unused;
    return child_with(thread_iterates);
}

static int
child_joins(void *unused)
{
    (void)unused;
    return child_with(thread_joins);
}

static int
child_frees(void *unused)
{
    (void)unused;
    return child_with(thread_frees);
}

static void
expect(int (*target)(void *), int status)
{
    scene = SHARED(struct scene);
    CHECK_EQ(process_finish(process_start(target, NULL)), 5);
    CHECK_EQ(scene->told, 1u);
    CHECK_RC(scene->status, status);
    CHECK_RC(troupe_free(scene), 0);
}

TEST(exit_ends_a_pool_that_another_thread_waits_for)
{
    expect(child_maps, -ESHUTDOWN);
    expect(child_iterates, TROUPE_END);
    expect(child_joins, 0);
    expect(child_frees, -ESHUTDOWN);
}

/* The thread makes another pool whenever one has been ended. */
static void *
thread_tries_again(void *arg)
{
    troupe_pool *pool = arg;

    while (pool != NULL) {
        (void)thread_frees(pool);
        do
            scene->status = troupe_pool_new(
                &pool, TROUPE_OPTIONS(troupe_pool_options, .processes = 2));
        while (scene->status < 0);
    }
    return NULL;
}

static void
await_refusal(void *unused)
{
    (void)unused;
    while (__atomic_load_n(&scene->status, __ATOMIC_SEQ_CST) != -ESHUTDOWN)
        (void)sched_yield();
}

static int
child_tries_again(void *unused)
{
    pthread_t thread;

    (void)unused;
    CHECK_RC(troupe_finalizer_add(await_refusal, NULL, -1, NULL), 0);
    CHECK_EQ(pthread_create(&thread, NULL, thread_tries_again, pool_new(2)), 0);
    await_tasks(2);
    return 5;
}

TEST(exit_ends_though_another_thread_wants_new_pools)
{
    scene = SHARED(struct scene);
    CHECK_EQ(process_finish(process_start(child_tries_again, NULL)), 5);
    CHECK_RC(troupe_free(scene), 0);
}

/* A pool of a process that ends without freeing it leaves no finalizer that a
 * later pool would be ended by. */
static int
child_frees_one_of_two(void *unused)
{
    troupe_pool *first = pool_new(1);
    troupe_pool *second = pool_new(1);

    (void)unused;
    CHECK_RC(troupe_pool_free(first), 0);
    CHECK_EQ(pool_info(second).alive, 1u);
    return 5;
}

TEST(exit_ends_the_pools_that_were_not_freed)
{
    CHECK_EQ(process_finish(process_start(child_frees_one_of_two, NULL)), 5);
}

/* A daemon that another thread starts when the exit has begun. */

static void *
thread_starts_another(void *first)
{
    CHECK_RC(troupe_process_join(first, TROUPE_FOREVER), 0);
    CHECK_RC(
        troupe_process_start(process_new(child_waits, &scene->never, true)), 0);
    CHECK_RC(troupe_event_set(&scene->late), 0);
    return NULL;
}

static int
child_starts_daemons(void *unused)
{
    troupe_process *daemon = process_new(child_waits, &scene->never, true);
    pthread_t thread;

    (void)unused;
    CHECK_RC(troupe_process_start(daemon), 0);
    (void)process_start(child_waits, &scene->late);
    CHECK_EQ(pthread_create(&thread, NULL, thread_starts_another, daemon), 0);
    return 5;
}

TEST(exit_ends_a_daemon_that_is_started_meanwhile)
{
    scene = SHARED(struct scene);
    CHECK_EQ(process_finish(process_start(child_starts_daemons, NULL)), 5);
    CHECK_RC(troupe_free(scene), 0);
}
