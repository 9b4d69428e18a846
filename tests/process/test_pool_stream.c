/* SPDX-License-Identifier: Apache-2.0 */
#include "pool_helper.h"

#include "os/clock.h"

#include <pthread.h>
#include <sched.h>

#include <stdio.h>

/* A source of numbers, which checks that the window is kept. */
struct numbers {
    uint64_t next;
    uint64_t end;
    uint64_t given;  /* results given out */
    uint64_t window; /* 0: not looked at */
    int status;      /* at the end */
};

static int
number_next(void *arg, troupe_item *ret_item)
{
    struct numbers *n = arg;

    CHECK(ret_item->data == NULL && ret_item->size == 0);
    if (n->next == n->end)
        return n->status != 0 ? n->status : TROUPE_END;
    if (n->window != 0)
        CHECK_LT(n->next - n->given, n->window);
    ret_item->size = sizeof(n->next);
    ret_item->user = ~n->next;
    /* The data is copied before the next call. */
    ret_item->data = memcpy(&n[1], &n->next, sizeof(n->next));
    n->next++;
    return 0;
}

/* With room for the item behind it. */
static struct numbers *
numbers_new(uint64_t end)
{
    struct numbers *n = calloc(2, sizeof(*n));

    CHECK(n != NULL);
    n->end = end;
    return n;
}

static int
double_it(troupe_task *task, void *context)
{
    uint64_t value;

    (void)context;
    CHECK_EQ(troupe_task_size(task), sizeof(value));
    memcpy(&value, troupe_task_item(task), sizeof(value));
    CHECK_EQ(value, troupe_task_index(task));
    CHECK_EQ(troupe_task_attempt(task), 1u);
    CHECK(!troupe_task_cancelled(task));
    value *= 2;
    return troupe_task_return(task, &value, sizeof(value));
}

/* A stream of them, with a window of the library's choice. */
static troupe_imap *
doubles_begin(troupe_pool *pool, struct numbers *n)
{
    troupe_imap *it = NULL;

    CHECK_RC(
        troupe_pool_imap_unordered(&it, pool, double_it, number_next, n, NULL),
        0);
    return it;
}

static void
run_doubles(uint32_t processes, uint32_t window, uint64_t count)
{
    troupe_pool *pool = pool_new(processes);
    struct numbers *n = numbers_new(count);
    uint8_t *seen = calloc(count + 1, 1);
    troupe_imap *it = NULL;
    troupe_result result;
    uint64_t value;
    int status;

    n->window = window;
    CHECK_RC(troupe_pool_imap_unordered(&it, pool, double_it, number_next, n,
                                        IMAP_OPTIONS(.window = window)),
             0);
    while ((status = troupe_imap_next(it, &result, TROUPE_FOREVER)) == 0) {
        n->given++;
        CHECK_EQ(result.status, 0);
        CHECK_EQ(result.size, sizeof(value));
        CHECK_EQ((uintptr_t)result.data % 16, 0u);
        memcpy(&value, result.data, sizeof(value));
        CHECK_EQ(value, result.index * 2);
        CHECK_EQ(result.user, ~result.index);
        CHECK_EQ(result.attempts, 1u);
        CHECK_NE(result.pid, 0);
        CHECK_STR(result.message, "");
        CHECK_LT(result.index, count);
        CHECK_EQ(seen[result.index], 0);
        seen[result.index] = 1;
    }
    CHECK_RC(status, TROUPE_END);
    CHECK_EQ(n->given, count);
    CHECK_RC(troupe_imap_next(it, &result, TROUPE_NOW), TROUPE_END);
    CHECK_RC(troupe_imap_free(it), 0);
    free(seen);
    free(n);
    pool_finish(pool);
}

TEST(stream_gives_every_result_once_whatever_the_window)
{
    static const uint32_t windows[] = {1, 2, 3, 16, 63, 64, 65, 1000};

    for (size_t i = 0; i < sizeof(windows) / sizeof(windows[0]); i++) {
        run_doubles(1, windows[i], 1000);
        run_doubles(2, windows[i], 3000);
        run_doubles(5, windows[i], 1000);
    }
    run_doubles(2, 0, 20000);
    run_doubles(2, TROUPE_POOL_MAX_WINDOW, 100);
    run_doubles(2, 10, 0);
    run_doubles(2, 10, 1);
}

TEST_TIMEOUT(stream_goes_on_under_a_storm_of_signals, 60)
{
    harness_storm(500);
    run_doubles(2, 10, 3000);
    run_doubles(3, 1, 300);
    harness_storm(0);
    CHECK_GT(harness_storm_signals(), 0u);
}

/* Items and values of many sizes. */

static size_t
size_of(uint64_t index)
{
    static const size_t sizes[] = {0,   1,    15,   63,    64,     65,
                                   256, 4096, 8192, 10000, 100000, 1 << 20};

    return sizes[index % (sizeof(sizes) / sizeof(sizes[0]))];
}

static void
fill(unsigned char *data, size_t size, uint64_t seed)
{
    for (size_t i = 0; i < size; i++)
        data[i] = (unsigned char)(seed + i * 7);
}

static void
check_filled(const unsigned char *data, size_t size, uint64_t seed)
{
    for (size_t i = 0; i < size; i++)
        if (data[i] != (unsigned char)(seed + i * 7))
            FAIL("byte %zu of %zu, seed %llu", i, size,
                 (unsigned long long)seed);
}

struct sizes {
    uint64_t next;
    uint64_t end;
    unsigned char *scratch;
};

static int
sized_next(void *arg, troupe_item *ret_item)
{
    struct sizes *s = arg;

    if (s->next == s->end)
        return TROUPE_END;
    fill(s->scratch, size_of(s->next), s->next);
    ret_item->data = s->scratch;
    ret_item->size = size_of(s->next);
    s->next++;
    return 0;
}

static int
sized_task(troupe_task *task, void *context)
{
    uint64_t index = troupe_task_index(task);
    size_t size = size_of(index * 5);
    unsigned char *block;

    (void)context;
    CHECK_EQ(troupe_task_size(task), size_of(index));
    check_filled(troupe_task_item(task), size_of(index), index);
    switch (index % 3) {
    case 0: /* handed over */
        block = troupe_task_alloc(task, size);
        CHECK(block != NULL);
        fill(block, size, index + 1);
        CHECK_RC(troupe_task_return(task, block, size), 0);
        break;
    case 1: /* copied */
        block = malloc(size + 1);
        CHECK(block != NULL);
        fill(block, size, index + 1);
        CHECK_RC(troupe_task_return(task, block, size), 0);
        memset(block, 0xee, size);
        free(block);
        break;
    default: /* changed its mind; and leaves memory to the scope */
        CHECK(troupe_task_alloc(task, 5000) != NULL);
        CHECK_RC(troupe_task_return(task, "something", 9), 0);
        block = troupe_task_alloc(task, size);
        CHECK(block != NULL);
        CHECK_RC(troupe_task_return(task, block, size), 0);
        fill(block, size, index + 1);
    }
    return 0;
}

TEST(stream_carries_items_and_values_of_any_size)
{
    troupe_pool *pool = pool_new(2);
    struct sizes s = {.end = 300, .scratch = malloc(1 << 20)};
    troupe_imap *it = NULL;
    troupe_result result;
    int status;

    CHECK_RC(
        troupe_pool_imap_unordered(&it, pool, sized_task, sized_next, &s, NULL),
        0);
    while ((status = troupe_imap_next(it, &result, TROUPE_FOREVER)) == 0) {
        CHECK_EQ(result.status, 0);
        CHECK_EQ(result.size, size_of(result.index * 5));
        check_filled(result.data, result.size, result.index + 1);
    }
    CHECK_RC(status, TROUPE_END);
    CHECK_RC(troupe_imap_free(it), 0);
    free(s.scratch);
    pool_finish(pool);
}

static int
huge_task(troupe_task *task, void *context)
{
    size_t size = *(const size_t *)context;
    void **block = troupe_task_alloc(task, size);

    CHECK(block != NULL);
    memset(block, 'h', size);
    block[0] = block; /* where it is */
    CHECK_RC(troupe_task_return(task, block, size), 0);
    return 0;
}

TEST(stream_hands_a_huge_value_over_without_copying_and_it_can_be_kept)
{
    const size_t size = (size_t)96 << 20;
    troupe_pool *pool = pool_new(1);
    struct numbers *n = numbers_new(2);
    troupe_imap *it = NULL;
    troupe_result result;
    void *kept = NULL;
    void *again = NULL;

    CHECK_RC(troupe_pool_imap_unordered(
                 &it, pool, huge_task, number_next, n,
                 IMAP_OPTIONS(.context = &size, .context_size = sizeof(size),
                              .window = 1)),
             0);
    CHECK_RC(troupe_imap_next(it, &result, TROUPE_FOREVER), 0);
    CHECK_EQ(result.size, size);
    CHECK_EQ(*(void **)result.data, result.data);
    CHECK_RC(troupe_imap_take(it, &kept), 0);
    CHECK_EQ(kept, result.data);
    CHECK_RC(troupe_imap_take(it, &again), -ENOENT);
    CHECK_RC(troupe_imap_next(it, &result, TROUPE_FOREVER), 0);
    CHECK_NE(kept, result.data);
    CHECK_RC(troupe_imap_next(it, &result, TROUPE_FOREVER), TROUPE_END);
    CHECK_RC(troupe_imap_take(it, &again), -ENOENT);
    CHECK_RC(troupe_imap_free(it), 0);
    CHECK_RC(troupe_pool_free(pool), 0);
    CHECK_EQ(((char *)kept)[size - 1], 'h');
    CHECK_EQ(*(void **)kept, kept);
    CHECK_RC(troupe_free(kept), 0);
    free(n);
}

TEST(stream_gives_small_values_away_as_copies)
{
    troupe_pool *pool = pool_new(1);
    struct numbers *n = numbers_new(3);
    troupe_imap *it;
    troupe_result result;
    void *kept[3];

    it = doubles_begin(pool, n);
    for (size_t i = 0; i < 3; i++) {
        CHECK_RC(troupe_imap_next(it, &result, TROUPE_FOREVER), 0);
        CHECK_RC(troupe_imap_take(it, &kept[result.index]), 0);
    }
    CHECK_RC(troupe_imap_free(it), 0);
    for (size_t i = 0; i < 3; i++) {
        CHECK_EQ(*(uint64_t *)kept[i], i * 2);
        CHECK_RC(troupe_free(kept[i]), 0);
    }
    free(n);
    pool_finish(pool);
}

/* An item in the heap is used where it is. */

static int
same_address(troupe_task *task, void *context)
{
    CHECK_EQ(troupe_task_item(task), context);
    return 0;
}

static int
one_in_heap(void *arg, troupe_item *ret_item)
{
    void **block = arg;

    if (*block == NULL)
        return TROUPE_END;
    ret_item->data = *block;
    ret_item->size = 1000;
    *block = NULL;
    return 0;
}

TEST(stream_uses_items_in_the_heap_in_place)
{
    troupe_pool *pool = pool_new(1);
    void *block = shared_new(1000);
    void *source = block;
    troupe_imap *it = NULL;
    troupe_result result;

    CHECK_RC(troupe_pool_imap_unordered(&it, pool, same_address, one_in_heap,
                                        &source,
                                        IMAP_OPTIONS(.context = block)),
             0);
    CHECK_RC(troupe_imap_next(it, &result, TROUPE_FOREVER), 0);
    CHECK_RC(result.status, 0);
    CHECK(result.data == NULL && result.size == 0);
    CHECK_RC(troupe_imap_free(it), 0);
    CHECK_RC(troupe_free(block), 0);
    pool_finish(pool);
}

/* Failures. */

static int
fail_in_turn(troupe_task *task, void *context)
{
    char text[300];
    void *block;

    (void)context;
    switch (troupe_task_index(task)) {
    case 0:
        return -EDOM;
    case 1:
        return troupe_task_fail(task, -EIO, "%s %d", "disk", 7);
    case 2:
        (void)troupe_task_fail(task, 4711, NULL);
        return 0;
    case 3:
        memset(text, 'x', sizeof(text) - 1);
        text[sizeof(text) - 1] = '\0';
        return troupe_task_fail(task, -EPROTO, "%s", text);
    case 4:
        CHECK_RC(troupe_task_return(task, "lost", 4), 0);
        return troupe_task_fail(task, 0, "nothing");
    case 5:
        CHECK_RC(troupe_task_return(task, NULL, 1), -EINVAL);
        block = troupe_task_alloc(task, 100);
        CHECK(block != NULL);
        CHECK_RC(troupe_task_return(task, block, 100000), -EINVAL);
        CHECK(troupe_task_alloc(task, SIZE_MAX / 2) == NULL);
        CHECK_EQ(errno, ENOMEM);
        return 0;
    case 6: /* its value is gone by the time it ends */
        block = troupe_task_alloc(task, 1000);
        CHECK_RC(troupe_task_return(task, block, 1000), 0);
        CHECK_RC(troupe_free(block), 0);
        return 0;
    default:
        return 0;
    }
}

TEST(stream_tells_why_there_is_no_value)
{
    enum { COUNT = 8 };

    troupe_pool *pool = pool_new(2);
    struct numbers *n = numbers_new(COUNT);
    troupe_imap *it = NULL;
    troupe_result result;
    int statuses[COUNT];
    char messages[COUNT][200];

    CHECK_RC(troupe_pool_imap_unordered(&it, pool, fail_in_turn, number_next, n,
                                        NULL),
             0);
    for (int i = 0; i < COUNT; i++) {
        CHECK_RC(troupe_imap_next(it, &result, TROUPE_FOREVER), 0);
        statuses[result.index] = result.status;
        (void)snprintf(messages[result.index], sizeof(messages[0]), "%s",
                       result.message);
        CHECK(result.data == NULL && result.size == 0);
    }
    CHECK_RC(troupe_imap_free(it), 0);
    CHECK_RC(statuses[0], -EDOM);
    CHECK_STR(messages[0], troupe_strerror(-EDOM));
    CHECK_RC(statuses[1], -EIO);
    CHECK_STR(messages[1], "disk 7");
    CHECK_RC(statuses[2], 4711);
    CHECK_RC(statuses[3], -EPROTO);
    CHECK_EQ(strlen(messages[3]), TROUPE_TASK_MESSAGE - 1u);
    CHECK_RC(statuses[4], -EINVAL);
    CHECK_STR(messages[4], "nothing");
    CHECK_RC(statuses[5], 0);
    CHECK_STR(messages[5], "");
    CHECK_RC(statuses[6], -EINVAL);
    CHECK_RC(statuses[7], 0);
    pool_finish(pool);
    free(n);
}

TEST(task_functions_without_a_task_do_no_harm)
{
    CHECK(troupe_task_item(NULL) == NULL);
    CHECK_EQ(troupe_task_size(NULL), 0u);
    CHECK_EQ(troupe_task_index(NULL), 0u);
    CHECK_EQ(troupe_task_attempt(NULL), 0u);
    CHECK(troupe_task_cancelled(NULL));
    CHECK(troupe_task_alloc(NULL, 1) == NULL);
    CHECK_EQ(errno, EINVAL);
    CHECK_RC(troupe_task_return(NULL, NULL, 0), -EINVAL);
    CHECK_RC(troupe_task_fail(NULL, -EIO, "x"), -EIO);
}

TEST(stream_refuses_what_cannot_be)
{
    troupe_pool *pool = pool_new(1);
    struct numbers *n = numbers_new(5);
    troupe_imap *it = NULL;
    troupe_result result;
    troupe_imap_options unknown = {.size = sizeof(unknown)};
    char here = 0;

    CHECK_RC(
        troupe_pool_imap_unordered(NULL, pool, double_it, number_next, n, NULL),
        -EINVAL);
    CHECK_RC(
        troupe_pool_imap_unordered(&it, NULL, double_it, number_next, n, NULL),
        -EINVAL);
    CHECK_RC(troupe_pool_imap_unordered(&it, pool, NULL, number_next, n, NULL),
             -EINVAL);
    CHECK_RC(troupe_pool_imap_unordered(&it, pool, double_it, NULL, n, NULL),
             -EINVAL);
    CHECK_RC(troupe_pool_imap_unordered(
                 &it, pool, double_it, number_next, n,
                 IMAP_OPTIONS(.window = TROUPE_POOL_MAX_WINDOW + 1)),
             -EINVAL);
    CHECK_RC(troupe_pool_imap_unordered(&it, pool, double_it, number_next, n,
                                        IMAP_OPTIONS(.context = &here)),
             -EFAULT);
    unknown.reserved_[0] = 1;
    CHECK_RC(troupe_pool_imap_unordered(&it, pool, double_it, number_next, n,
                                        &unknown),
             -E2BIG);
    CHECK(it == NULL);
    CHECK_EQ(n->next, 0u);
    CHECK_RC(troupe_imap_next(NULL, &result, TROUPE_NOW), -EINVAL);
    CHECK_RC(troupe_imap_free(NULL), 0);
    CHECK_RC(troupe_pool_close(pool), 0);
    CHECK_RC(
        troupe_pool_imap_unordered(&it, pool, double_it, number_next, n, NULL),
        -ESHUTDOWN);
    CHECK_RC(troupe_pool_free(pool), 0);
    free(n);
}

/* Behind the options of an older program stands what is its own. */
TEST(stream_takes_no_window_from_behind_the_options)
{
    troupe_imap_options shorter = {
        .size = offsetof(troupe_imap_options, window), .window = 1};
    troupe_pool *pool = pool_new(1);
    struct numbers *n = numbers_new(100);
    troupe_imap *it = NULL;

    CHECK_RC(troupe_pool_imap_unordered(&it, pool, double_it, number_next, n,
                                        &shorter),
             0);
    CHECK_EQ(n->next, 16u);
    CHECK_RC(troupe_imap_free(it), 0);
    pool_finish(pool);
    free(n);
}

TEST(stream_ends_with_the_error_of_its_source_after_all_results)
{
    troupe_pool *pool = pool_new(2);
    struct numbers *n = numbers_new(100);
    troupe_imap *it;
    troupe_result result;

    n->status = -EIO;
    it = doubles_begin(pool, n);
    for (int i = 0; i < 100; i++)
        CHECK_RC(troupe_imap_next(it, &result, TROUPE_FOREVER), 0);
    CHECK_RC(troupe_imap_next(it, &result, TROUPE_FOREVER), -EIO);
    CHECK_RC(troupe_imap_next(it, &result, TROUPE_FOREVER), -EIO);
    CHECK_RC(troupe_imap_free(it), 0);
    pool_finish(pool);
    free(n);
}

/* Memory is that of the window, however long the stream is. */

static int
wasteful(troupe_task *task, void *context)
{
    void *block;

    (void)context;
    CHECK(troupe_task_alloc(task, 50000) != NULL);
    block = troupe_task_alloc(task, 100000);
    CHECK(block != NULL);
    if (troupe_task_index(task) % 5 == 4)
        return -EIO;
    return troupe_task_return(task, block, 100000);
}

TEST(stream_needs_memory_for_its_window_only)
{
    enum { COUNT = 3000, WARM = 200 };

    troupe_pool *pool = pool_new(2);
    struct sizes s = {.end = COUNT, .scratch = malloc(1 << 20)};
    troupe_heap_info warm = {.size = sizeof(warm)};
    troupe_heap_info info = {.size = sizeof(info)};
    troupe_imap *it = NULL;
    troupe_result result;

    CHECK_RC(troupe_pool_imap_unordered(&it, pool, wasteful, sized_next, &s,
                                        IMAP_OPTIONS(.window = 8)),
             0);
    for (int i = 0; i < COUNT; i++) {
        CHECK_RC(troupe_imap_next(it, &result, TROUPE_FOREVER), 0);
        if (i == WARM)
            CHECK_RC(troupe_heap_info_get(&warm), 0);
    }
    CHECK_RC(troupe_imap_next(it, &result, TROUPE_FOREVER), TROUPE_END);
    CHECK_RC(troupe_heap_info_get(&info), 0);
    /* The largest items are 1 MiB, and there are 8 at a time: what the
     * luck of the order adds is less than twice that. */
    CHECK_LE(info.committed, warm.committed + ((uint64_t)16 << 20));
    CHECK_RC(troupe_imap_free(it), 0);
    free(s.scratch);
    pool_finish(pool);
}

/* Ends before the end. */

static int
wait_for_event(troupe_task *task, void *context)
{
    troupe_event *events = context;

    CHECK_RC(troupe_event_set(&events[0]), 0);
    CHECK_RC(troupe_event_wait(&events[1], TROUPE_FOREVER), 0);
    return troupe_task_return(task, "late", 4);
}

/* A stream whose tasks set the first event and wait for the second. */
static troupe_imap *
waiting_begin(troupe_pool *pool, struct numbers *n, troupe_event *events)
{
    troupe_imap *it = NULL;

    CHECK_RC(troupe_pool_imap_unordered(
                 &it, pool, wait_for_event, number_next, n,
                 IMAP_OPTIONS(.context = events, .window = 10)),
             0);
    return it;
}

TEST(stream_waits_no_longer_than_it_is_told)
{
    troupe_pool *pool = pool_new(2);
    troupe_event *events = shared_new(2 * sizeof(*events));
    struct numbers *n = numbers_new(5);
    troupe_imap *it = waiting_begin(pool, n, events);
    troupe_result result;

    CHECK_RC(troupe_imap_next(it, &result, TROUPE_NOW), -ETIMEDOUT);
    CHECK_RC(troupe_imap_next(it, &result, troupe_after(0.01)), -ETIMEDOUT);
    CHECK_RC(troupe_event_set(&events[1]), 0);
    for (int i = 0; i < 5; i++) {
        CHECK_RC(troupe_imap_next(it, &result, TROUPE_FOREVER), 0);
        CHECK_MEM(result.data, "late", 4);
    }
    CHECK_RC(troupe_imap_next(it, &result, TROUPE_FOREVER), TROUPE_END);
    CHECK_RC(troupe_imap_free(it), 0);
    CHECK_RC(troupe_free(events), 0);
    pool_finish(pool);
    free(n);
}

TEST(stream_given_up_leaves_the_pool_usable_and_reads_no_item_more)
{
    troupe_pool *pool = pool_new(2);
    troupe_event *events = shared_new(2 * sizeof(*events));
    struct numbers *n = numbers_new(100);
    troupe_imap *it = waiting_begin(pool, n, events);
    uint64_t results[10];

    CHECK_RC(troupe_event_wait(&events[0], TROUPE_FOREVER), 0);
    CHECK_RC(troupe_imap_free(it), 0);
    CHECK_RC(troupe_free(events), 0);
    CHECK_EQ(pool_info(pool).workers_lost, 0u);
    run_doubles(1, 4, 10);
    CHECK_RC(troupe_pool_map(pool, (troupe_map_function *)NULL, NULL, 0, 0,
                             results, 8, NULL, TROUPE_FOREVER),
             -EINVAL);
    it = NULL;
    n->end = n->next + 50;
    for (int i = 0; i < 30; i++) {
        struct numbers *more = numbers_new(20);
        troupe_result result;

        it = doubles_begin(pool, more);
        for (int k = 0; k < i % 20; k++)
            CHECK_RC(troupe_imap_next(it, &result, TROUPE_FOREVER), 0);
        CHECK_RC(troupe_imap_free(it), 0);
        free(more);
    }
    pool_finish(pool);
    free(n);
}

TEST(terminate_cancels_what_a_stream_has_left)
{
    troupe_pool *pool = pool_new(2);
    troupe_event *events = shared_new(2 * sizeof(*events));
    struct numbers *n = numbers_new(1000);
    troupe_imap *it = waiting_begin(pool, n, events);
    troupe_result result;
    unsigned cancelled = 0;
    unsigned begun = 0;
    int status;

    CHECK_RC(troupe_event_wait(&events[0], TROUPE_FOREVER), 0);
    CHECK_RC(troupe_pool_terminate(pool), 0);
    while ((status = troupe_imap_next(it, &result, TROUPE_FOREVER)) == 0) {
        CHECK_RC(result.status, -ECANCELED);
        CHECK_STR(result.message, "cancelled");
        cancelled++;
        begun += result.attempts;
    }
    CHECK_RC(status, TROUPE_END);
    CHECK_EQ(cancelled, 10u);
    CHECK_GE(begun, 1u);
    CHECK_LE(begun, 2u);
    CHECK_RC(troupe_imap_free(it), 0);
    CHECK_RC(troupe_pool_free(pool), 0);
    CHECK_RC(troupe_free(events), 0);
    free(n);
}

TEST(stream_of_a_closed_pool_goes_on_to_its_end)
{
    troupe_pool *pool = pool_new(2);
    struct numbers *n = numbers_new(500);
    troupe_imap *it = NULL;
    troupe_result result;

    CHECK_RC(troupe_pool_imap_unordered(&it, pool, double_it, number_next, n,
                                        IMAP_OPTIONS(.window = 3)),
             0);
    CHECK_RC(troupe_pool_close(pool), 0);
    for (int i = 0; i < 500; i++) {
        CHECK_RC(troupe_imap_next(it, &result, TROUPE_FOREVER), 0);
        CHECK_EQ(result.status, 0);
    }
    CHECK_RC(troupe_imap_next(it, &result, TROUPE_FOREVER), TROUPE_END);
    CHECK_RC(troupe_imap_free(it), 0);
    CHECK_RC(troupe_pool_join(pool, TROUPE_FOREVER), 0);
    CHECK_RC(troupe_pool_free(pool), 0);
    free(n);
}

TEST(drained_stream_keeps_no_closed_pool_from_ending)
{
    troupe_pool *pool = pool_new(2);
    struct numbers *n = numbers_new(50);
    troupe_imap *it;
    troupe_result result;
    unsigned results = 0;
    void *data;

    it = doubles_begin(pool, n);
    while (troupe_imap_next(it, &result, TROUPE_FOREVER) == 0)
        results++;
    CHECK_EQ(results, 50u);
    CHECK_RC(troupe_pool_close(pool), 0);
    CHECK_RC(troupe_pool_join(pool, TROUPE_FOREVER), 0);
    CHECK_RC(troupe_imap_next(it, &result, TROUPE_FOREVER), TROUPE_END);
    CHECK_RC(troupe_imap_take(it, &data), -ENOENT);
    CHECK_RC(troupe_pool_free(pool), 0);
    CHECK_RC(troupe_imap_next(it, &result, TROUPE_FOREVER), TROUPE_END);
    CHECK_RC(troupe_imap_free(it), 0);
    free(n);
}

TEST(iterator_outlives_its_pool_only_to_be_freed)
{
    troupe_pool *pool = pool_new(2);
    struct numbers *n = numbers_new(500);
    troupe_imap *it;
    troupe_result result;

    it = doubles_begin(pool, n);
    CHECK_RC(troupe_imap_next(it, &result, TROUPE_FOREVER), 0);
    CHECK_RC(troupe_pool_free(pool), 0);
    CHECK_RC(troupe_imap_next(it, &result, TROUPE_FOREVER), -EINVAL);
    CHECK_RC(troupe_imap_free(it), 0);
    free(n);
}

TEST(streams_and_maps_share_the_workers)
{
    troupe_pool *pool = pool_new(2);
    struct numbers *n[3];
    troupe_imap *it[3];
    troupe_result result;

    for (int i = 0; i < 3; i++) {
        n[i] = numbers_new(200);
        CHECK_RC(troupe_pool_imap_unordered(&it[i], pool, double_it,
                                            number_next, n[i], NULL),
                 0);
    }
    for (int k = 0; k < 200; k++)
        for (int i = 0; i < 3; i++)
            CHECK_RC(troupe_imap_next(it[i], &result, TROUPE_FOREVER), 0);
    for (int i = 0; i < 3; i++) {
        CHECK_RC(troupe_imap_next(it[i], &result, TROUPE_FOREVER), TROUPE_END);
        CHECK_RC(troupe_imap_free(it[i]), 0);
        free(n[i]);
    }
    pool_finish(pool);
}

TEST(a_pool_has_sixty_four_jobs_at_a_time)
{
    enum { MOST = 64 };

    troupe_pool *pool = pool_new(1);
    struct numbers *n = numbers_new(0);
    troupe_imap *it[MOST];
    troupe_imap *more = NULL;

    for (int i = 0; i < MOST; i++)
        CHECK_RC(troupe_pool_imap_unordered(&it[i], pool, double_it,
                                            number_next, n, NULL),
                 0);
    CHECK_RC(troupe_pool_imap_unordered(&more, pool, double_it, number_next, n,
                                        NULL),
             -EBUSY);
    CHECK_RC(troupe_imap_free(it[7]), 0);
    /* The worker may still be looking at it. */
    while (troupe_pool_imap_unordered(&it[7], pool, double_it, number_next, n,
                                      NULL) == -EBUSY)
        ;
    for (int i = 0; i < MOST; i++)
        CHECK_RC(troupe_imap_free(it[i]), 0);
    pool_finish(pool);
    free(n);
}

/* Two jobs at once: each gets on, whatever the other one has. */

struct endless {
    troupe_pool *pool;
    uint32_t *stop;
    uint64_t ended;
};

static int
endless_next(void *arg, troupe_item *ret_item)
{
    struct endless *e = arg;

    ret_item->data = e->stop;
    ret_item->size = sizeof(*e->stop);
    return __atomic_load_n(e->stop, __ATOMIC_SEQ_CST) == 0 ? 0 : TROUPE_END;
}

/* Works for a while, unless it is to stop. */
static int
work_until(const uint32_t *stop)
{
    troupe_deadline end = troupe_after(0.002);

    while (__atomic_load_n(stop, __ATOMIC_SEQ_CST) == 0 &&
           troupe__clock_now() < end)
        ;
    return 0;
}

static int
endless_task(troupe_task *task, void *context)
{
    (void)context;
    return work_until(troupe_task_item(task));
}

static void *
stream_endlessly(void *arg)
{
    struct endless *e = arg;
    troupe_imap *it = NULL;
    troupe_result result;

    CHECK_RC(troupe_pool_imap_unordered(&it, e->pool, endless_task,
                                        endless_next, e,
                                        IMAP_OPTIONS(.window = 16384)),
             0);
    while (troupe_imap_next(it, &result, TROUPE_FOREVER) == 0)
        (void)__atomic_fetch_add(&e->ended, 1, __ATOMIC_SEQ_CST);
    CHECK_RC(troupe_imap_free(it), 0);
    return NULL;
}

static int
set_stop(const void *item, void *result, void *context)
{
    (void)item;
    (void)result;
    __atomic_store_n((uint32_t *)context, 1, __ATOMIC_SEQ_CST);
    return 0;
}

static void
map_stop(troupe_pool *pool, uint32_t *stop)
{
    CHECK_RC(troupe_pool_map(pool, set_stop, NULL, 1, 0, NULL, 0,
                             MAP_OPTIONS(.context = stop), TROUPE_FOREVER),
             0);
}

TEST(map_begins_beside_a_stream_without_end)
{
    struct endless e = {.pool = pool_new(2), .stop = SHARED(uint32_t)};
    pthread_t thread;

    CHECK_EQ(pthread_create(&thread, NULL, stream_endlessly, &e), 0);
    while (__atomic_load_n(&e.ended, __ATOMIC_SEQ_CST) < 4)
        (void)sched_yield();
    map_stop(e.pool, e.stop);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    pool_finish(e.pool);
    CHECK_RC(troupe_free(e.stop), 0);
}

/* A map that goes on until another one has been run. */

struct long_map {
    uint32_t begun;
    uint32_t stop;
};

static int
wait_for_stop(const void *item, void *result, void *context)
{
    struct long_map *m = context;

    (void)__atomic_fetch_add(&m->begun, 1, __ATOMIC_SEQ_CST);
    *(uint64_t *)result = *(const uint64_t *)item;
    return work_until(&m->stop);
}

static void *
map_long(void *arg)
{
    enum { COUNT = 1000000 };

    struct endless *e = arg;
    struct long_map *m = (struct long_map *)(void *)e->stop;
    uint64_t *results = troupe_alloc(COUNT * sizeof(*results));
    uint64_t i;

    CHECK(results != NULL);
    CHECK_RC(troupe_pool_map(e->pool, wait_for_stop, NULL, COUNT, 0, results, 8,
                             MAP_OPTIONS(.context = m), TROUPE_FOREVER),
             0);
    for (i = 0; i < COUNT; i++)
        CHECK_EQ(results[i], i);
    CHECK_EQ(m->begun, (uint32_t)COUNT);
    CHECK_RC(troupe_free(results), 0);
    return NULL;
}

TEST(map_begins_beside_a_long_one)
{
    struct long_map *m = SHARED(struct long_map);
    struct endless e = {.pool = pool_new(2), .stop = (uint32_t *)m};
    pthread_t thread;

    CHECK_EQ(pthread_create(&thread, NULL, map_long, &e), 0);
    while (__atomic_load_n(&m->begun, __ATOMIC_SEQ_CST) < 4)
        (void)sched_yield();
    map_stop(e.pool, &m->stop);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    pool_finish(e.pool);
    CHECK_RC(troupe_free(m), 0);
}
