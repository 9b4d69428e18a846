/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads that are cancelled: no call of processes and pools is the point at
 * which that happens.
 */
#include "pool_helper.h"

#include <pthread.h>

static troupe_process *process;
static troupe_pool *pool;
static troupe_imap *imap;
static troupe_event *event;
static bool returned; /* from the call */

static void
start_one(void)
{
    process = process_start(child_waits, event);
}

static void
look_at_one(void)
{
    char text[100];
    int code;
    int fd;

    CHECK(troupe_process_is_alive(process));
    CHECK_EQ((int)troupe_process_state(process), (int)TROUPE_PROCESS_STARTED);
    CHECK_RC(troupe_process_exitcode(process, &code), -EAGAIN);
    CHECK_RC(troupe_process_sentinel(process, &fd), 0);
    CHECK_GT(troupe_process_format(process, text, sizeof(text)), 0u);
}

static void
list_all(void)
{
    troupe_process **list;

    CHECK_RC(troupe_process_active_children(&list, NULL), 0);
    CHECK(list[0] == process && list[1] == NULL);
    troupe_process_list_free(list);
}

static void
join_in_vain(void)
{
    CHECK_RC(troupe_process_join(process, troupe_after(0.001)), -ETIMEDOUT);
}

static void
signal_one(void)
{
    CHECK_RC(troupe_process_stop(process), 0);
    CHECK_RC(troupe_process_kill(process), 0);
    CHECK_RC(troupe_process_terminate(process), 0);
}

static void
join_one(void)
{
    CHECK_RC(troupe_process_join(process, TROUPE_FOREVER), 0);
    CHECK_RC(troupe_process_close(process), 0);
    troupe_process_free(process);
}

static void
log_line(void)
{
    troupe_log(TROUPE_LOG_CRITICAL, "a line");
}

static int
plain(const void *item, void *result, void *context)
{
    (void)item;
    (void)result;
    (void)context;
    return 0;
}

static int
next_item(void *arg, troupe_item *ret_item)
{
    (void)arg;
    ret_item->data = "item";
    ret_item->size = 4;
    return 0;
}

static int
give_back(troupe_task *task, void *context)
{
    (void)context;
    return troupe_task_return(task, troupe_task_item(task),
                              troupe_task_size(task));
}

static void
make_pool(void)
{
    pool = pool_new(2);
}

static void
map_plain(void)
{
    CHECK_RC(troupe_pool_map(pool, plain, NULL, 100, 0, NULL, 0, NULL,
                             TROUPE_FOREVER),
             0);
}

static void
begin_stream(void)
{
    CHECK_RC(troupe_pool_imap_unordered(&imap, pool, give_back, next_item, NULL,
                                        NULL),
             0);
}

static void
take_one(void)
{
    troupe_result result;
    void *data;

    CHECK_RC(troupe_imap_next(imap, &result, TROUPE_FOREVER), 0);
    CHECK_RC(troupe_imap_take(imap, &data), 0);
    CHECK_RC(troupe_free(data), 0);
}

static void
free_stream(void)
{
    CHECK_RC(troupe_imap_free(imap), 0);
}

static void
join_pool(void)
{
    CHECK_RC(troupe_pool_close(pool), 0);
    CHECK_RC(troupe_pool_join(pool, TROUPE_FOREVER), 0);
}

static void
free_pool(void)
{
    CHECK_RC(troupe_pool_terminate(pool), 0);
    CHECK_RC(troupe_pool_free(pool), 0);
}

/* The request is there before the call. */
static HARNESS_UNWOUND void *
cancelled_thread(void *arg)
{
    void (*const *call)(void) = arg;

    CHECK_EQ(pthread_cancel(pthread_self()), 0);
    (*call)();
    returned = true;
    pthread_testcancel();
    return NULL;
}

static void
expect_no_point_in(void (*call)(void))
{
    pthread_t thread;
    void *result;

    returned = false;
    CHECK_EQ(pthread_create(&thread, NULL, cancelled_thread, &call), 0);
    CHECK_EQ(pthread_join(thread, &result), 0);
    CHECK(result == PTHREAD_CANCELED);
    CHECK(returned);
}

TEST(process_calls_are_no_cancellation_points)
{
    event = SHARED(troupe_event);
    expect_no_point_in(start_one);
    expect_no_point_in(look_at_one);
    expect_no_point_in(list_all);
    expect_no_point_in(join_in_vain);
    expect_no_point_in(signal_one);
    expect_no_point_in(join_one);
    troupe_log_to_stderr(0);
    expect_no_point_in(log_line);
    CHECK_RC(troupe_free(event), 0);
}

static int
child_sleeps_and_returns(void *unused)
{
    (void)unused;
    CHECK_EQ(usleep(1), 0); /* a cancellation point */
    return 3;
}

static void
start_and_finish(void)
{
    CHECK_EQ(process_finish(process_start(child_sleeps_and_returns, NULL)), 3);
}

TEST(child_does_not_inherit_a_request_to_cancel)
{
    expect_no_point_in(start_and_finish);
}

TEST(pool_calls_are_no_cancellation_points)
{
    expect_no_point_in(make_pool);
    expect_no_point_in(map_plain);
    expect_no_point_in(begin_stream);
    expect_no_point_in(take_one);
    expect_no_point_in(free_stream);
    expect_no_point_in(join_pool);
    expect_no_point_in(free_pool);
}
