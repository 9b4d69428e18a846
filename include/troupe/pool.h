/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pool of worker processes, as Python's multiprocessing.Pool; but the death
 * of a worker is an event like any other.
 *
 *     static int
 *     square(const void *item, void *result, void *context)
 *     {
 *         const int *number = item;
 *
 *         *(long *)result = (long)*number * *number;
 *         return 0;
 *     }
 *
 *     troupe_pool *pool;
 *     int numbers[1000];
 *     long squares[1000];
 *
 *     status = troupe_pool_new(&pool, NULL);
 *     status = troupe_pool_map(pool, square, numbers, 1000, sizeof(int),
 *                              squares, sizeof(long), NULL, TROUPE_FOREVER);
 *     troupe_pool_free(pool);
 *
 * Tasks and their ends. Every task ends in exactly one of these states, told by
 * its status, whatever dies when:
 *
 *     0                     it yielded a value
 *     another number        what the task returned, or gave to
 *                           troupe_task_fail()
 *     -TROUPE_EWORKERLOST   the worker that ran it died, at its last attempt
 *     -ECANCELED            it has not been run, or not to its end: the call
 *                           was given up by its deadline, by
 *                           troupe_imap_free() or by troupe_pool_terminate()
 *
 * Crash, of a worker killed at any instruction:
 *
 *     idle, or between   nothing; a new worker takes its place
 *     two tasks
 *     in a task          exactly that task is begun again, if it has attempts
 *                        left (option .retries; off by default), or ends as
 *                        -TROUPE_EWORKERLOST. A new worker takes the place.
 *     after a task has   the task has ended; its result is there
 *     committed its end
 *
 * A task that calls exit(3), aborts or runs into a signal is such a death. Its
 * memory from troupe_task_alloc() is freed; memory from troupe_alloc() that it
 * had not handed on is not, and a lock that it held is found as
 * troupe/lock.h says. A result array may hold half of a lost task's result
 * while the map runs, never afterwards.
 *
 * When the creator dies, by any signal, the workers are killed. When it exits
 * without troupe_pool_free(), the pool is terminated among the finalizers, with
 * priority 15 as in Python: calls in other threads end as
 * troupe_pool_terminate() says.
 *
 * Who does what. The pool is a family object, made and run by one process, its
 * creator: calls that start, end or wait for work return -EXDEV in others. Any
 * thread of the creator may call, several may map at once. There is no hidden
 * thread and no signal handler: the deaths of workers are noticed, and new ones
 * started, by whoever waits in troupe_pool_map(), troupe_imap_next() or
 * troupe_pool_join(); within a millisecond where the kernel has futex_waitv,
 * else within a second, as that of a worker that has only just been forked.
 *
 * Workers are forked from the creator: when the pool is made, and later to
 * replace others. They see its memory as it was then: what tasks are to see of
 * a later date must lie in the heap or come as item or context; their functions
 * must be in a program or library that was loaded before the pool was made.
 * They are daemons (without children of their own), ignore SIGINT, so that the
 * creator decides what a Ctrl-C means, and have SIGTERM at its default.
 *
 * A worker that dies is replaced at once, as often as it happens. Where several
 * die in a row before they took a task, the next one is started later and
 * later, up to a second apart; after ten seconds of that the calls that wait
 * say so.
 *
 * Nothing here is a cancellation point: callbacks of the creator (sources,
 * progress) run with cancellation disabled. Nothing here may be called in a
 * signal handler. -EINVAL for a NULL pool and
 * for an address that is not a pool; -ENOMEM, -EUSERS or -EMFILE when the
 * calling thread could not join the family.
 */
#ifndef TROUPE_POOL_H
#define TROUPE_POOL_H

#include <troupe/base.h>
#include <troupe/error.h>
#include <troupe/time.h>

TROUPE_BEGIN_DECLS

typedef struct troupe_pool troupe_pool;
typedef struct troupe_task troupe_task;
typedef struct troupe_imap troupe_imap;

/* Workers that a pool may have. */
#define TROUPE_POOL_MAX_PROCESSES 1024

/* Tasks of one troupe_pool_map(), and the largest window of an imap. */
#define TROUPE_POOL_MAX_TASKS  0xfffffffeu
#define TROUPE_POOL_MAX_WINDOW 65536

/* Bytes of text, with the NUL, that troupe_task_fail() keeps. */
#define TROUPE_TASK_MESSAGE 128

typedef struct troupe_pool_options {
    size_t size; /* sizeof(struct troupe_pool_options) */

    /* Names the pool for diagnosis (the first 31 bytes) and its workers:
     * "NAME-1", "NAME-2", ... NULL: no name, and "PoolWorker-1", ... */
    const char *name;

    /* Workers; 0 = as many as there are processors for this process: those it
     * may run on, and no more than the quota of its control groups (version 2)
     * pays for. At most TROUPE_POOL_MAX_PROCESSES. */
    uint32_t processes;
    uint8_t reserved_[12];
} troupe_pool_options;

/*
 * Makes a pool and starts its workers.
 *
 *   0          made; when the system's limit of processes left room for some
 *              workers only, it has those, and tries for more while it waits
 *   -EINVAL    ret_pool NULL, too many workers
 *   -E2BIG     unknown option
 *   -EPERM     this process is a daemon: it may have no children
 *   -EAGAIN    not even one process could be started
 *   -ESHUTDOWN the exit of this process has begun: see troupe_exit()
 *   -ENOMEM, -EMFILE, -ENFILE, -EUSERS
 *
 * On failure nothing is left behind, *ret_pool is untouched and
 * troupe_error_detail() tells more. Does not wait for the workers. Python:
 * Pool(processes).
 */
TROUPE_API TROUPE_MUST_CHECK int
troupe_pool_new(troupe_pool **ret_pool, const troupe_pool_options *options);

/*
 * No more work is accepted (-ESHUTDOWN); the workers end when what there is has
 * ended. 0, also the second time; -EXDEV. Does not wait. Python: close().
 */
TROUPE_API int troupe_pool_close(troupe_pool *pool);

/*
 * Kills the workers at once. Tasks that have not ended are cancelled: a
 * troupe_pool_map() in another thread returns -ESHUTDOWN,
 * troupe_imap_next() gives what has ended, then the others as cancelled, then
 * the end. 0, also the second time; -EXDEV. Does not wait. Python: terminate().
 */
TROUPE_API int troupe_pool_terminate(troupe_pool *pool);

/*
 * Waits until the workers have ended; after troupe_pool_close() or
 * _terminate(). Work that a closed pool still has is done meanwhile: maps that
 * other threads wait for, and iterators, until another thread has taken their
 * last result or freed them.
 *
 *   0           they have
 *   -EBUSY      neither closed nor terminated
 *   -ETIMEDOUT, -ECANCELED (asked to stop, in a stoppable section), -EXDEV
 *   -EAGAIN, -ENOMEM, ..., -TROUPE_EWORKERLOST  no worker is to be had for the
 *               work that is left, as for troupe_pool_map()
 *
 * Python: join(), with a deadline.
 */
TROUPE_API TROUPE_MUST_CHECK int troupe_pool_join(troupe_pool *pool,
                                                  troupe_deadline deadline);

/*
 * Ends the pool: terminates it unless its workers have ended, waits for their
 * deaths, and frees it. What its iterators hold is freed too; they may only be
 * freed then. No other thread may be using the pool. NULL is fine; 0; -EXDEV:
 * not the creator. Python: the end of a `with Pool()` block.
 */
TROUPE_API int troupe_pool_free(troupe_pool *pool);

/* Is told how far a call is: `done` of `total` tasks have ended; total 0: not
 * known. */
typedef void troupe_pool_progress(uint64_t done, uint64_t total, void *arg);

/*
 * A task in the short form. `result` is the task's own element, all the memory
 * it may write to; what is there before is not specified. Returns 0: the value
 * is there; anything else is the task's status.
 */
typedef int troupe_map_function(const void *item, void *result, void *context);

/* What became of the tasks of a map. */
typedef struct troupe_map_report {
    size_t size; /* sizeof(struct troupe_map_report), set by the caller */

    /* Tasks by their end; the sum is the number of tasks. */
    uint64_t values;
    uint64_t errors;
    uint64_t lost;
    uint64_t cancelled;

    /* Attempts that a worker's death interrupted and that were made anew. */
    uint64_t retried;

    /* The first task without a value, in the order of items, and its status;
     * when there is none UINT64_MAX and 0. */
    uint64_t first;
    int32_t first_status;

    /* The first lost task's last worker: its pid, and the signal that killed it
     * or 0 when it exited. 0 and 0 when no task was lost. .statuses names the
     * others; who wants pid, signal and attempts of each uses
     * troupe_pool_imap_unordered(). */
    int32_t lost_signal;
    int32_t lost_pid;

    /* Workers that died during the call. */
    uint32_t workers_lost;
} troupe_map_report;

typedef struct troupe_map_options {
    size_t size; /* sizeof(struct troupe_map_options) */

    /* Given to every task. With context_size 0 it is the pointer itself, NULL
     * or into the heap; else that many bytes are copied into the heap, and
     * the tasks share the copy. */
    const void *context;
    size_t context_size;

    /* If not NULL, receives the status of each task, in the order of items. */
    int *statuses;

    /* If not NULL, is filled in, whatever the call returns, once there was
     * something to run; as troupe_pool_info_get() does it. */
    troupe_map_report *report;

    /* If not NULL, is called by the waiting thread: about ten times a second
     * while something progresses, and at the end. It must not call the
     * pool's waiting functions. */
    troupe_pool_progress *progress;
    void *progress_arg;

    /* Shows a bar with this label, see troupe/progress.h. */
    const char *bar;

    /* How often a task is begun again when the worker running it died. A task
     * that kills every worker would else go on for ever. */
    uint32_t retries;
    uint8_t reserved_[4];
} troupe_map_options;

/*
 * Runs function(item, result, context) for every one of `count` items in the
 * workers, and waits for the end of all.
 *
 * `items` and `results` are arrays with elements of these sizes, in any memory;
 * those that lie in the heap (troupe_alloc()) are used in place, others are
 * copied, there and back. They must not overlap. `items` NULL with item_size 0:
 * the item is the task's number, a uint64_t. `results` NULL with result_size 0:
 * no results, the function gets NULL.
 *
 *   0                     every task yielded a value
 *   TROUPE_TASKS_FAILED   every task has ended, and some did not yield a
 *                         value; see .statuses and .report
 *   -ETIMEDOUT            the deadline passed, or -ECANCELED: asked to stop, in
 *                         a stoppable section. What had not begun was
 *                         cancelled, workers still running tasks of this call
 *                         were killed and replaced: nobody writes into the
 *                         arrays afterwards. What had ended is there.
 *   -ESHUTDOWN            the pool is closed, or was terminated meanwhile
 *   -EINVAL               function NULL, too many tasks, an array without its
 *                         size, sizes that overflow
 *   -EFAULT               .context is neither in the heap nor has a size
 *   -EBUSY                64 maps and iterators are in use
 *   -E2BIG, -EXDEV, -ENOMEM
 *   -EAGAIN, -ENOMEM, ... every worker has died, and none could be started for
 *                         ten seconds; what has not ended is cancelled
 *   -TROUPE_EWORKERLOST   for ten seconds all workers have died before they
 *                         took a task, whatever was started in their place;
 *                         what has not ended is cancelled
 *   -EBADMSG              what the pool keeps of this call in the heap was
 *                         overwritten; what has not ended is cancelled
 *
 * So a failure does not always mean that nothing happened, as it does elsewhere
 * (troupe/error.h): when a map is given up half way, the deadline or the end of
 * the pool is what the caller must see, and tasks that have ended are not to be
 * run again for it. .report and .statuses say which those are; before something
 * runs, no field is touched.
 *
 * Elements of `results` whose task did not yield a value are zeroed. Tasks run
 * in no particular order, begun in about the order of items. What was written
 * before the call is seen by the tasks, if it lies in the heap, and what they
 * wrote after it returns.
 *
 * Each worker takes a share of what is left, the smaller the less there is, and
 * takes over half of another's when it has none: long tasks among short ones
 * leave nobody idle. An empty task costs about 10 ns of a worker's time. Maps
 * and iterators that are in use at once share the workers, which go from one to
 * the next about every 10 ms.
 *
 * Python: map(), and starmap() with items that are structs.
 */
TROUPE_API TROUPE_MUST_CHECK int
troupe_pool_map(troupe_pool *pool, troupe_map_function *function,
                const void *items, size_t count, size_t item_size,
                void *results, size_t result_size,
                const troupe_map_options *options, troupe_deadline deadline);

/* One item of a stream, as its source gives it. */
typedef struct troupe_item {
    /* When it lies in the heap it is used in place and must stay until the
     * task's result was given out; otherwise it is copied at once. */
    const void *data;
    size_t size;

    /* The program's own, handed back with the result. */
    uint64_t user;
} troupe_item;

/*
 * Gives the next item of a stream. 0: *ret_item is filled in (it comes zeroed);
 * TROUPE_END: there are no more; < 0: there are no more, and
 * troupe_imap_next() returns this at the end. Called by the creator's thread,
 * inside troupe_pool_imap_unordered() and troupe_imap_next(); not called again
 * after another value than 0.
 */
typedef int troupe_pool_source(void *arg, troupe_item *ret_item);

/*
 * A task in the general form. It looks at its item, makes a result with
 * troupe_task_return(), or none, and returns 0; or fails, by returning another
 * number, or by troupe_task_fail(). The functions troupe_task_...() may be
 * called by the thread that runs it, while it runs.
 */
typedef int troupe_task_function(troupe_task *task, void *context);

typedef struct troupe_imap_options {
    size_t size; /* sizeof(struct troupe_imap_options) */

    /* As in troupe_map_options. */
    const void *context;
    size_t context_size;

    /* Progress, as in troupe_map_options; `total` is what is told with it: the
     * number of items if that is known, else 0. */
    uint64_t total;
    troupe_pool_progress *progress;
    void *progress_arg;
    const char *bar;

    /* As in troupe_map_options. */
    uint32_t retries;

    /* Items taken from the source whose results were not given out, at most:
     * this bounds the memory, however long the stream is. 0 = four for every
     * worker, and no fewer than 16. At most TROUPE_POOL_MAX_WINDOW. */
    uint32_t window;
    uint8_t reserved_[8];
} troupe_imap_options;

/*
 * Begins to run function(task, context) for every item of a stream, in the
 * workers. Fills the window and returns; the results are for
 * troupe_imap_next(), in the order in which the tasks end.
 *
 * 0; -EINVAL (ret_imap, function or source NULL, a window too large); -EFAULT
 * as troupe_pool_map(); -ESHUTDOWN; -E2BIG; -EXDEV; -ENOMEM; -EBUSY: 64 maps
 * and iterators are in use. On failure the source has not been called.
 *
 * The iterator belongs to the thread of the creator that uses it, one at a
 * time. Python: imap_unordered(), whose window has no bound.
 */
TROUPE_API TROUPE_MUST_CHECK int
troupe_pool_imap_unordered(troupe_imap **ret_imap, troupe_pool *pool,
                           troupe_task_function *function,
                           troupe_pool_source *source, void *source_arg,
                           const troupe_imap_options *options);

/* How one task of a stream ended. */
typedef struct troupe_result {
    /* The item's number, the first is 0, and what its source gave with it. */
    uint64_t index;
    uint64_t user;

    /* The value, with status 0: aligned to 16, NULL when there is none. It is
     * the iterator's: good until the next troupe_imap_next() or _free(), unless
     * taken with troupe_imap_take(). */
    void *data;
    size_t size;

    /* Why there is none: the text of troupe_task_fail(), or words for the
     * status; "" with status 0. Good as long as `data`. */
    const char *message;

    int32_t status; /* see the top of this file */

    /* How often it was begun; 0 when it was cancelled before. */
    uint32_t attempts;

    /* The worker of the last attempt; 0 when there was none. */
    int32_t pid;

    /* With -TROUPE_EWORKERLOST: the signal that killed the worker, or 0 when it
     * exited, or nobody knows. */
    int32_t signal;
} troupe_result;

/*
 * Waits for the next task to end, whichever it is, and gives its result out.
 * Meanwhile it takes items from the source, so that the window stays full.
 *
 *   0             *ret_result is filled in
 *   TROUPE_END    all tasks have ended and were given out
 *   -ETIMEDOUT    the deadline passed: no task has ended (nothing is cancelled)
 *   -ECANCELED    asked to stop, in a stoppable section
 *   -EINVAL       NULL
 *   -EXDEV        not the creator
 *   -EAGAIN, -ENOMEM, ...   no worker lives and none could be started for ten
 *                 seconds; may be tried again
 *   -TROUPE_EWORKERLOST   for ten seconds all workers have died before they
 *                 took a task; may be tried again
 *   -EBADMSG      what the pool keeps of this iterator in the heap was
 *                 overwritten, and from then on
 *   what the source returned, after all results, and from then on
 *   what the copying of an item returned (-ENOMEM), likewise
 */
TROUPE_API TROUPE_MUST_CHECK int troupe_imap_next(troupe_imap *imap,
                                                  troupe_result *ret_result,
                                                  troupe_deadline deadline);

/*
 * Makes the data of the result given out last the caller's: *ret_data, which is
 * where it was, or a copy when it is small, to be freed with troupe_free(). 0;
 * -ENOENT: there is none, or it was taken; -EINVAL; -EXDEV; -ENOMEM. Does not
 * block.
 */
TROUPE_API TROUPE_MUST_CHECK int troupe_imap_take(troupe_imap *imap,
                                                  void **ret_data);

/*
 * Ends the iterator. What has not begun is cancelled, workers that still run
 * its tasks are killed and replaced: nobody reads items in the heap
 * afterwards. NULL is fine. 0; -EXDEV. Waits for those deaths only.
 */
TROUPE_API int troupe_imap_free(troupe_imap *imap);

/* The item: its bytes (aligned to 16 when it was copied), and their number.
 * Cannot fail (NULL: NULL and 0), never block. */
TROUPE_API const void *troupe_task_item(const troupe_task *task);
TROUPE_API size_t troupe_task_size(const troupe_task *task);

/* The item's number, the first is 0. NULL: 0. */
TROUPE_API uint64_t troupe_task_index(const troupe_task *task);

/* 1 when the task runs for the first time, 2 when a worker has died running
 * it, ... NULL: 0. */
TROUPE_API uint32_t troupe_task_attempt(const troupe_task *task);

/* Whether nobody wants the result any more. A task that runs for long looks
 * now and then, and returns. NULL: true. Never blocks. */
TROUPE_API bool troupe_task_cancelled(const troupe_task *task);

/*
 * Memory of the heap for this attempt, aligned to 16, not cleared: freed when
 * the attempt ends, however it ends, but for what is handed over as the
 * result. NULL with errno ENOMEM, EUSERS or EINVAL. May wait boundedly, as
 * troupe_alloc().
 */
TROUPE_API TROUPE_MUST_CHECK void *troupe_task_alloc(troupe_task *task,
                                                     size_t size);

/*
 * Sets the task's value: `size` bytes. A block from troupe_task_alloc() is
 * handed over as it is, without copying, when the task returns 0; anything
 * else is copied now. The last call counts; without one, and with size 0, the
 * value is empty. 0; -EINVAL (task NULL, data NULL with a size, a block
 * smaller than size); -ENOMEM: the value before counts.
 */
TROUPE_API int troupe_task_return(troupe_task *task, const void *data,
                                  size_t size);

/*
 * Marks the task as failed, with a status and a text as of printf(3), of which
 * TROUPE_TASK_MESSAGE - 1 bytes are kept; `format` may be NULL. A status of 0
 * is made -EINVAL. Returns the status, so that a task can end with
 * `return troupe_task_fail(task, -EIO, "...")`. Never blocks.
 */
TROUPE_API int troupe_task_fail(troupe_task *task, int status,
                                const char *format, ...) TROUPE_PRINTF(3, 4);

/* Figures of a pool. */
typedef struct troupe_pool_info {
    size_t size; /* sizeof(struct troupe_pool_info), set by the caller */

    uint32_t processes;         /* workers it is to have */
    uint32_t alive;             /* workers started that were not found dead */
    uint32_t busy;              /* of these, running a task */
    uint32_t workers_lost;      /* died by themselves, over the pool's life */
    uint64_t tasks_ended;       /* by a worker, over the pool's life */
    uint64_t tasks_interrupted; /* attempts that a worker's death ended */
} troupe_pool_info;

/* Fills in figures, each of some moment during the call; of a struct with
 * another size than this library's the fields that both know, the rest with 0.
 * Deaths count when the creator has noticed them. 0; -EINVAL: NULL, or no size
 * at all; -EBADMSG: the pool was overwritten. For any member; never blocks. */
TROUPE_API int troupe_pool_info_get(troupe_pool *pool, troupe_pool_info *info);

/* One worker. */
typedef struct troupe_pool_worker {
    int32_t pid; /* in the creator's pid namespace; 0: not started */
    bool busy;   /* running a task */
    uint8_t reserved_[3];
    uint64_t tasks_ended; /* by this process */
} troupe_pool_worker;

/*
 * Lists the workers: fills in up to `count` elements; *ret_count, which may be
 * NULL, is how many there are. 0; -EINVAL (workers NULL with a count);
 * -EBADMSG: the pool was overwritten. A worker may have ended by the time the
 * caller looks. For any member; never blocks.
 */
TROUPE_API int troupe_pool_workers(troupe_pool *pool,
                                   troupe_pool_worker *workers, size_t count,
                                   size_t *ret_count);

TROUPE_END_DECLS

#endif
