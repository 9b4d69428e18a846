/* SPDX-License-Identifier: Apache-2.0 */
#include "pool_common.h"

#include <troupe/process.h>

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ITEMS = 6 };

troupe_pool *pool;
troupe_imap *stream;

troupe_pool *
make_pool(uint32_t processes)
{
    troupe_pool *made = NULL;
    int status = troupe_pool_new(
        &made, TROUPE_OPTIONS(troupe_pool_options, .processes = processes));

    CRASH_REQUIRE(status == 0, CRASH_CORRUPTION, "new: %s",
                  troupe_error_name(status));
    return made;
}

pid_t
await_worker(uint32_t place)
{
    troupe_pool_worker workers[2] = {{0}, {0}};

    do {
        int status = troupe_pool_workers(pool, workers, 2, NULL);

        CRASH_REQUIRE(status == 0, CRASH_CORRUPTION, "workers: %s",
                      troupe_error_name(status));
        sched_yield();
    } while (workers[place].pid == 0);
    return workers[place].pid;
}

/* ---- work ---- */

int
square(const void *item, void *result, void *context)
{
    int value;

    (void)context;
    memcpy(&value, item, sizeof(value));
    value *= value;
    memcpy(result, &value, sizeof(value));
    return 0;
}

int
map_squares(troupe_pool *with)
{
    int items[ITEMS], results[ITEMS] = {0}, i, status;

    for (i = 0; i < ITEMS; i++)
        items[i] = i;
    status = troupe_pool_map(with, square, items, ITEMS, sizeof(int), results,
                             sizeof(int), NULL, TROUPE_FOREVER);
    for (i = 0; status == 0 && i < ITEMS; i++)
        if (results[i] != i * i)
            status = -EPROTO;
    return status;
}

unsigned char
pattern_of(uint64_t index)
{
    return (unsigned char)(0xb1 + index);
}

int
next_pattern(void *arg, troupe_item *ret_item)
{
    static unsigned char bytes[COUNTED_SIZE];
    struct feed *feed = arg;

    if (feed->given == feed->count)
        return TROUPE_END;
    memset(bytes, pattern_of(feed->given++), feed->size);
    ret_item->data = bytes;
    ret_item->size = feed->size;
    return 0;
}

int
task_part(troupe_task *task, void *context)
{
    const void *item = troupe_task_item(task);
    size_t size;

    memcpy(&size, context, sizeof(size));
    if (!has_pattern(item, troupe_task_size(task),
                     pattern_of(troupe_task_index(task))))
        return troupe_task_fail(task, -EPROTO, "another item");
    return troupe_task_return(task, item, size);
}

int
task_sleeping(troupe_task *task, void *context)
{
    (void)task;
    (void)context;
    crash_gate_open(GATE_IN_TASK);
    for (;;)
        pause();
    return 0;
}

void
start_stream(troupe_task_function *task, struct feed *feed, size_t value_size,
             uint32_t retries, uint32_t window)
{
    int status = troupe_pool_imap_unordered(
        &stream, pool, task, next_pattern, feed,
        TROUPE_OPTIONS(troupe_imap_options, .context = &value_size,
                       .context_size = sizeof(value_size), .retries = retries,
                       .window = window));

    CRASH_REQUIRE(status == 0, CRASH_CORRUPTION, "imap: %s",
                  troupe_error_name(status));
}

/* ---- setups ---- */

/* Memory of its own, and no value. */
static int
task_failing(troupe_task *task, void *context)
{
    (void)context;
    if (troupe_task_alloc(task, COUNTED_SIZE) == NULL)
        return -ENOMEM;
    (void)troupe_task_fail(task, -EDOM, "%d", (int)EDOM);
    return 0;
}

/* Two tasks, and a value that is taken. */
static void
past_stream(troupe_task_function *task, int expected)
{
    struct feed feed = {.count = 2, .size = COUNTED_SIZE};
    troupe_result result;
    void *taken = NULL;
    unsigned i;

    start_stream(task, &feed, COUNTED_SIZE, 0, 0);
    for (i = 0; i < feed.count; i++) {
        CRASH_REQUIRE(troupe_imap_next(stream, &result, PATIENCE) == 0 &&
                          result.status == expected &&
                          (expected == 0 || strcmp(result.message, "33") == 0),
                      CRASH_CORRUPTION, "a stream in the setup: %s",
                      result.message);
        if (expected == 0)
            CRASH_REQUIRE(troupe_imap_take(stream, &taken) == 0 &&
                              troupe_free(taken) == 0,
                          CRASH_CORRUPTION, "a value in the setup");
    }
    CRASH_REQUIRE(troupe_imap_free(stream) == 0, CRASH_CORRUPTION,
                  "a stream in the setup");
}

void
setup_past(void)
{
    limited_heap();
    pool = make_pool(1);
    CRASH_REQUIRE(map_squares(pool) == 0, CRASH_CORRUPTION,
                  "a map in the setup");
    past_stream(task_part, 0);
    past_stream(task_failing, -EDOM);
    CRASH_REQUIRE(troupe_pool_free(pool) == 0, CRASH_CORRUPTION,
                  "a pool in the setup");
    check_alone();
    counted_heap();
}

void
setup_pool(void)
{
    setup_past();
    pool = make_pool(1);
    (void)await_worker(0);
}

void
setup_pair(void)
{
    setup_past();
    pool = make_pool(2);
    (void)await_worker(0);
    (void)await_worker(1);
}

void
prepare_pool(void)
{
    join_family();
    pool = make_pool(1);
}

void
prepare_pair(void)
{
    join_family();
    pool = make_pool(2);
}

void
prepare_dead(void)
{
    siginfo_t info;
    pid_t pid;

    prepare_pool();
    pid = await_worker(0);
    CRASH_REQUIRE(kill(pid, SIGKILL) == 0 &&
                      waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT) == 0,
                  CRASH_CORRUPTION, "no worker to kill");
}

struct feed busy_feed = {.count = 3, .size = COUNTED_SIZE};

void
prepare_in(troupe_task_function *task)
{
    prepare_pool();
    start_stream(task, &busy_feed, COUNTED_SIZE, 0, 0);
    crash_gate_wait(GATE_IN_TASK);
}

void
prepare_busy(void)
{
    prepare_in(task_sleeping);
}

/* ---- what the victim finds ---- */

void
victim_says(int status)
{
    atomic_store(crash_word(WORD_STATUS), status);
}

int
count_deaths(uint32_t workers_lost, uint64_t interrupted)
{
    troupe_pool_info info = {.size = sizeof(info)};
    int status = troupe_pool_info_get(pool, &info);

    if (status == 0 && (info.workers_lost != workers_lost ||
                        info.tasks_interrupted != interrupted))
        status = -EPROTO;
    return status;
}

int
no_child(void)
{
    return waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD ? 0 : -EPROTO;
}

void
survive(void)
{
    use_heap();
}

/* ---- checks ---- */

void
check_alone(void)
{
    troupe_heap_info info = {.size = sizeof(info)};

    do {
        CRASH_REQUIRE(troupe_heap_info_get(&info) == 0, CRASH_CORRUPTION,
                      "no figures about the heap");
        sched_yield();
    } while (info.members != 1);
}

void
check_hands(unsigned hands)
{
    int status = (int)atomic_load(crash_word(WORD_STATUS));

    if (crash_completed() && status != 0)
        crash_fail(CRASH_CORRUPTION, "the victim's call: %s",
                   troupe_error_name(status));
    check_alone();
    counted_check(hands);
}

void
check_status(void)
{
    check_hands(0);
}

void
end_pool(void)
{
    int status = map_squares(pool);

    CRASH_REQUIRE(status == 0, CRASH_CORRUPTION, "map: %s",
                  troupe_error_name(status));
    CRASH_REQUIRE(troupe_pool_free(pool) == 0, CRASH_CORRUPTION, "free");
    check_alone();
    counted_check(0);
}

troupe_pool_info
figures(void)
{
    troupe_pool_info info = {.size = sizeof(info)};
    int status = troupe_pool_info_get(pool, &info);

    CRASH_REQUIRE(status == 0, CRASH_CORRUPTION, "figures: %s",
                  troupe_error_name(status));
    return info;
}

void
check_figures(uint64_t interrupted)
{
    troupe_pool_info info = figures();

    if (info.workers_lost != 1 || info.tasks_interrupted != interrupted)
        crash_fail(CRASH_CORRUPTION,
                   "%u workers lost, %llu tasks interrupted; by one death %llu",
                   info.workers_lost,
                   (unsigned long long)info.tasks_interrupted,
                   (unsigned long long)interrupted);
}

static int
target_sleeping(void *arg)
{
    (void)arg;
    for (;;)
        pause();
    return 0;
}

/*
 * The engine reaps the victim before the pool does.  How it died is known
 * nevertheless from Linux 6.15 on; here, too?
 */
static bool
signals_are_told(void)
{
    troupe_process *child = NULL;
    int code = 0;

    CRASH_REQUIRE(troupe_process_new(
                      &child, TROUPE_OPTIONS(troupe_process_options,
                                             .target = target_sleeping)) == 0 &&
                      troupe_process_start(child) == 0 &&
                      kill(troupe_process_pid(child), SIGKILL) == 0 &&
                      waitpid(troupe_process_pid(child), NULL, 0) ==
                          troupe_process_pid(child) &&
                      troupe_process_join(child, PATIENCE) == 0 &&
                      troupe_process_exitcode(child, &code) == 0,
                  CRASH_CORRUPTION, "a child that somebody else reaped");
    troupe_process_free(child);
    return code == -SIGKILL;
}

void
check_killer(pid_t worker, int32_t pid, int32_t signal)
{
    if (pid != worker)
        crash_fail(CRASH_CORRUPTION, "lost by worker %d, which was %d",
                   (int)pid, (int)worker);
    if (signal != SIGKILL && (signal != 0 || signals_are_told()))
        crash_fail(CRASH_CORRUPTION, "lost by signal %d", (int)signal);
}

/* ---- a second victim ---- */

void
second_settles(void)
{
    troupe_heap_info info = {.size = sizeof(info)};

    (void)troupe_heap_info_get(&info);
}

void
prepare_known(void)
{
    prepare_pool();
    atomic_store(crash_word(WORD_CREATOR), getpid());
    atomic_store(crash_word(WORD_WORKER), await_worker(0));
}

void
await_family_dead(void)
{
    struct pollfd end = {.events = POLLIN};

    if (kill((pid_t)atomic_load(crash_word(WORD_CREATOR)), 0) == 0)
        return;
    end.fd = (int)syscall(SYS_pidfd_open,
                          (pid_t)atomic_load(crash_word(WORD_WORKER)), 0);
    while (end.fd >= 0 && poll(&end, 1, -1) != 1) {
    }
}
