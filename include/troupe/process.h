/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Processes, as Python's multiprocessing.Process.
 *
 *     static int
 *     work(void *arg)
 *     {
 *         ...
 *         return 0;
 *     }
 *
 *     troupe_process *p;
 *     int code;
 *
 *     status = troupe_process_new(&p, TROUPE_OPTIONS(troupe_process_options,
 *                                                    .target = work,
 *                                                    .arg = shared));
 *     status = troupe_process_start(p);
 *     status = troupe_process_join(p, TROUPE_FOREVER);
 *     status = troupe_process_exitcode(p, &code);
 *     troupe_process_free(p);
 *
 * The started process is a member of the family: what lies in the heap is
 * shared with it. It runs the target and then exits: it never returns from
 * troupe_process_start().
 *
 * A troupe_process is a local handle. Only the process that made it may start,
 * join, stop or ask about the child. Made before a fork, it is there in the
 * fork child too, as its memory is, but it is not the child's: calls return
 * -ECHILD (troupe_process_start: -EXDEV), its state is
 * TROUPE_PROCESS_UNKNOWN, name and printed form can still be had, and
 * troupe_process_free() gives the copy back.
 *
 * Threads: any thread of the process may use any handle, several may join one
 * at a time. troupe_process_free() is for the last user of a handle, as
 * free(3). After fork in a process with threads the child goes on as POSIX
 * says: with the forking thread alone. Nothing here may be called in a signal
 * handler unless its comment says so. Nothing here is a cancellation point; in
 * a started child cancellation of its first thread is off until it turns it on,
 * because a request to cancel the thread that starts it would be its own too.
 *
 * Every call that returns a status may also return -ENOMEM, nothing having
 * happened, when it is the first of its process and there is no memory for the
 * page that the library keeps for a process. Calls that have the thread join
 * the family return -ENOTSUP in a process made by clone(2) itself.
 *
 * Signals: no SIGCHLD handler is installed and none is needed. A host that
 * reaps all children itself, ignores SIGCHLD or has a handler of its own takes
 * nothing away but, on kernels before 6.15, the exit code of a child killed by
 * a signal (TROUPE_EXIT_UNKNOWN). A signal that reaches a child between the
 * fork and its joining the family is handled when it has joined.
 *
 * Crash: the death of a process is noticed by the system, never by a message:
 * join, sentinel and is_alive are exact however it died, whatever its own
 * children inherited. When a parent dies by any signal its daemon children are
 * killed; the others go on.
 */
#ifndef TROUPE_PROCESS_H
#define TROUPE_PROCESS_H

#include <sys/types.h>
#include <troupe/base.h>
#include <troupe/error.h>
#include <troupe/time.h>

TROUPE_BEGIN_DECLS

typedef struct troupe_process troupe_process;

/* See troupe/queue.h. */
struct troupe_queue;

/* The exit code of a process that is known to have ended, and nobody can tell
 * how: the host reaped it, and the kernel is too old to remember. */
#define TROUPE_EXIT_UNKNOWN 256

/* How a process comes to be. */
enum troupe_start_method {
    TROUPE_START_DEFAULT = 0, /* fork */
    TROUPE_START_FORK = 1,
    TROUPE_START_SPAWN = 2,
    TROUPE_START_FORKSERVER = 3,
    TROUPE_START_THREAD = 4
};

/* Where a process is in its life, as its handle's owner sees it. */
enum troupe_process_state {
    TROUPE_PROCESS_INITIAL = 0, /* made, not started */
    TROUPE_PROCESS_STARTED = 1, /* running */
    TROUPE_PROCESS_STOPPED = 2, /* ended; has an exit code */
    TROUPE_PROCESS_CLOSED = 3,  /* given up by troupe_process_close() */
    TROUPE_PROCESS_UNKNOWN = 4  /* another process's handle, or the parent */
};

typedef struct troupe_process_options {
    size_t size; /* sizeof(struct troupe_process_options) */

    /* Copied. NULL: "Process-N", N counting the processes that this process
     * has made; within a process of that kind "Process-N:M". */
    const char *name;

    /* What the process runs; its value, modulo 256, is the exit code. NULL: it
     * ends at once with 0. */
    int (*target)(void *arg);

    /* Given to the target. With arg_size 0 it is the pointer itself (under
     * fork any pointer of the caller is good: the child has a copy of all its
     * memory). Else that many bytes are copied by troupe_process_new(), and
     * the target gets a copy, aligned to 16. */
    const void *arg;
    size_t arg_size;

    /* For the program: what troupe_process_user() returns, here and, under
     * fork, in the child from troupe_process_current(). */
    void *user;

    /* Descriptors handed over: the child has them in every start method, with
     * the same numbers, and this process's are closed, each once, when the
     * start has succeeded. The list is copied. */
    const int *pass;
    size_t pass_count;

    /* Queues that the process is going to put into or get from. It counts as
     * their producer or consumer before it exists, so that a queue whose last
     * declared producer has ended ends too. The lists are copied. */
    struct troupe_queue *const *produces;
    size_t produces_count;
    struct troupe_queue *const *consumes;
    size_t consumes_count;

    enum troupe_start_method start_method;

    /* Ends with this process: it gets SIGTERM when this one exits, SIGKILL
     * when this one is killed, and may have no children of its own. */
    bool daemon;

    /* troupe_process_join(), also at exit, first calls
     * troupe_process_stop(). */
    bool join_stops;

    /* The child keeps descriptor 0 instead of /dev/null. */
    bool keep_stdin;
    uint8_t reserved_[9];
} troupe_process_options;

/*
 * Makes a process, not started.
 *
 * 0; -EINVAL (ret_process NULL, unknown start method, a count without list,
 * arg_size without arg, a list entry NULL or negative); -E2BIG; -ENOTSUP (a
 * start method that this library does not have: now all but fork); -ENOMEM. On
 * failure *ret_process is untouched.
 *
 * The handle is the caller's, until troupe_process_free(). Never blocks;
 * thread-safe. Python: Process(...).
 */
TROUPE_API TROUPE_MUST_CHECK int
troupe_process_new(troupe_process **ret_process,
                   const troupe_process_options *options);

/*
 * Starts it. When 0 is returned the child exists and is going to run the
 * target; the call does not wait for that. The buffers of stdout and stderr
 * are written out before.
 *
 *   0           started
 *   -EINVAL     NULL
 *   -EBUSY      it has been started before, or is the caller itself or its
 *               parent
 *   -ESHUTDOWN  closed
 *   -EXDEV      made by another process
 *   -EPERM      this process is a daemon: it may have no children
 *   -EAGAIN     the system's or the user's limit of processes
 *   -ENOMEM, -EMFILE, -ENFILE   out of memory or of descriptors
 *   -EUSERS     all member records or thread slots of the family are taken
 *   -EBADF      a descriptor in .pass is not open
 *   -EINVAL, -EPIPE, -ESHUTDOWN  a queue in .produces or .consumes refused, see
 *               troupe_queue_attach_producer()
 *   -ECANCELED  asked to stop, in a stoppable section, while a member was
 *               stopped inside a call on such a queue
 *
 * After a failure nothing is left behind, no process, no descriptor, no
 * declaration; troupe_error_detail() names the stage and the limit, and the
 * handle may be started again.
 *
 * The child under fork: the calling thread alone goes on in it. It has all
 * memory and all descriptors of the parent (but descriptor 0 is /dev/null),
 * its signal dispositions and the calling thread's mask; the name in
 * /proc/PID/comm is the process's. Finalizers, active children and the count
 * for default names begin anew. A child that cannot join the family (no
 * memory, no slot) ends with exit code 255 before the target.
 *
 * Also reaps some of the children that have ended. Thread-safe; children may
 * be started by several threads at once. Starting from a process that has
 * other threads is logged once as a warning: whatever lock another thread
 * holds at that moment stays locked in the child.
 *
 * Killed inside: the child, if there is one already, ends before its target;
 * where it was declared it counts as one that came and left. Python:
 * Process.start().
 */
TROUPE_API TROUPE_MUST_CHECK int troupe_process_start(troupe_process *process);

/*
 * Waits until the child has ended.
 *
 *   0           it has ended; its exit code can be asked for
 *   -ETIMEDOUT  it has not, and the deadline passed
 *   -ECANCELED  asked to stop, in a stoppable section
 *   -EINVAL     NULL
 *   -ESRCH      not started
 *   -ESHUTDOWN  closed
 *   -ECHILD     not a child of the caller: another process's handle, or the
 *               caller itself
 *   -ENOMEM, -EUSERS, -EMFILE, -ENFILE  this thread could not join the family
 *
 * With the handle of the parent it waits for the parent's end, also of one in a
 * pid namespace that cannot be seen from here (then within a second of it).
 * Exact: a grandchild that holds descriptors of the child does not delay it,
 * signals and other children do not disturb it. Several threads may wait. May
 * be called again after 0. Python: Process.join().
 */
TROUPE_API int troupe_process_join(troupe_process *process,
                                   troupe_deadline deadline);

/*
 * Whether the process runs: the caller itself, a child that was started and
 * has not ended, the parent while it lives. False for NULL and for what is not
 * started, closed or another process's child: troupe_process_state() tells
 * these apart. Reaps the child if it has ended. Never blocks.
 */
TROUPE_API bool troupe_process_is_alive(troupe_process *process);

/* The state, looked up now: reaps the child if it has ended. NULL:
 * TROUPE_PROCESS_UNKNOWN. Cannot fail, never blocks. */
TROUPE_API enum troupe_process_state
troupe_process_state(troupe_process *process);

/*
 * The exit code: 0 to 255 as given to exit, -signal of a child killed by one,
 * TROUPE_EXIT_UNKNOWN.
 *
 * 0; -EAGAIN: there is none yet, the process runs or was not started;
 * -ESHUTDOWN: closed; -ECHILD: not a child of the caller; -EINVAL. Reaps the
 * child if it has ended. Never blocks. Python: Process.exitcode.
 */
TROUPE_API int troupe_process_exitcode(troupe_process *process, int *ret_code);

/*
 * Sends SIGTERM, or SIGKILL. Nothing happens to a child that has ended, and
 * never anything to another process that got its number.
 *
 * 0: sent, or it has ended; -ESRCH: not started; -ESHUTDOWN: closed; -ECHILD:
 * not a child of the caller; -EPERM: the system does not allow it (the child
 * changed its user); -EINVAL. Never blocks: the child's end is for join.
 */
TROUPE_API int troupe_process_terminate(troupe_process *process);
TROUPE_API int troupe_process_kill(troupe_process *process);

/*
 * Asks the process to stop by itself: its troupe_stop_requested() is true from
 * now on, and its waits in stoppable sections end with -ECANCELED. For the
 * caller's children, and for the caller itself.
 *
 * 0: asked, or it has ended; -ESRCH: not started; -ESHUTDOWN: closed; -ECHILD:
 * neither a child nor the caller; -EINVAL; for the caller itself also -ENOMEM,
 * -EUSERS, -EMFILE, -ENFILE, when it could not join the family. Never blocks;
 * async-signal-safe for the caller itself when it has joined the family (any
 * troupe_stoppable_begin() does that), so that a handler of SIGTERM can make a
 * stop of it: troupe_process_stop(troupe_process_current()).
 */
TROUPE_API int troupe_process_stop(troupe_process *process);

/* Whether the calling process has been asked to stop. Cannot fail, never
 * blocks; thread-safe, async-signal-safe. */
TROUPE_API bool troupe_stop_requested(void);

/*
 * Between these two every wait of the calling thread ends with -ECANCELED, with
 * nothing done, when this process has been asked to stop; at once or within
 * 50 ms. They nest. _begin: 0; -ENOMEM, -EUSERS, -EMFILE, -ENFILE: this thread
 * could not join the family, and the section has not begun. _end without _begin
 * does nothing. Never block. A forked child is in no section.
 */
TROUPE_API TROUPE_MUST_CHECK int troupe_stoppable_begin(void);
TROUPE_API void troupe_stoppable_end(void);

/* The number of the process: 0 before its start, after close, and for NULL.
 * Never blocks. */
TROUPE_API pid_t troupe_process_pid(const troupe_process *process);

/* The name: the handle's memory, good until the handle is freed, also after a
 * change. NULL: "". Never blocks. */
TROUPE_API const char *troupe_process_name(const troupe_process *process);

/* Changes the name, in this process; a child that runs already does not
 * notice. Of the caller itself it changes what the family and the logs see.
 * The family keeps the first 63 bytes. The handle keeps all that it was given:
 * memory grows with each. 0; -EINVAL (NULL); -ENOMEM. Never blocks. */
TROUPE_API int troupe_process_set_name(troupe_process *process,
                                       const char *name);

/* Whether it is a daemon. NULL: false. */
TROUPE_API bool troupe_process_daemon(const troupe_process *process);

/* Makes it one, or not one, before its start. 0; -EBUSY: started already;
 * -ESHUTDOWN: closed; -EXDEV: another process's; -EINVAL. */
TROUPE_API int troupe_process_set_daemon(troupe_process *process, bool daemon);

/* The program's own pointer, option .user. Not looked at by the library. NULL
 * process: NULL. */
TROUPE_API void *troupe_process_user(const troupe_process *process);

/* Changes it. 0; -EINVAL (NULL). A child has the value of its start. */
TROUPE_API int troupe_process_set_user(troupe_process *process, void *user);

/*
 * A descriptor that becomes readable (POLLIN) when the process ends, for
 * poll(2), select(2), epoll(7). It belongs to the handle: do not close it; it
 * goes with troupe_process_close() or _free(). Nothing can be read from it.
 *
 * 0; -ESRCH: not started; -ESHUTDOWN: closed; -ECHILD: not a child of the
 * caller, nor its parent; -EINVAL. For the parent, whose descriptor is opened
 * when it is first asked for, also -EMFILE, -ENFILE, and -ENOTSUP: it lives in
 * a pid namespace that cannot be seen from here, and only join and is_alive can
 * tell. Never blocks. Python: Process.sentinel.
 */
TROUPE_API int troupe_process_sentinel(troupe_process *process, int *ret_fd);

/*
 * Gives up what the handle of an ended child holds; afterwards only name,
 * printed form, user pointer, close and free can be had of it.
 *
 * 0, also the second time, and for a handle that was never started: it cannot
 * be afterwards. -EBUSY: the child runs or is being started, or it is the
 * caller itself; -ECHILD: another process's, or the parent; -EINVAL. Never
 * blocks. Python: Process.close().
 */
TROUPE_API int troupe_process_close(troupe_process *process);

/*
 * Gives the handle up. A child that runs goes on: as in Python, where an
 * object nobody holds any more is let go, it stays among the active children,
 * is reaped when it has ended, and is waited for at exit. NULL, the caller
 * itself and the parent are fine: nothing happens. Never blocks.
 */
TROUPE_API void troupe_process_free(troupe_process *process);

/*
 * Writes the printed form, as CPython 3.11 does:
 *
 *     <Process name='Process-1' parent=4 initial>
 *     <Process name='fail_job' pid=5 parent=4 stopped exitcode=1>
 *     <Process name='logger' pid=6 parent=4 stopped exitcode=-SIGTERM daemon>
 *
 * As snprintf(3): at most `size` bytes with the NUL, and the value is the
 * length of the whole text. Cannot fail (NULL process: "<Process NULL>"); reaps
 * the child if it has ended; never blocks.
 */
TROUPE_API size_t troupe_process_format(troupe_process *process, char *text,
                                        size_t size);

/*
 * The calling process: in a started child its own handle, with the name, the
 * daemon flag and the user pointer it was given, in any other process one that
 * is named "MainProcess". Belongs to the library. Never NULL, cannot fail,
 * never blocks. Thread-safe; async-signal-safe, but for the first call of a
 * process made by clone(2) itself.
 */
TROUPE_API troupe_process *troupe_process_current(void);

/*
 * The process that started the caller: pid, name, is_alive, join, sentinel and
 * printed form can be had. NULL in the root, and in any process that was not
 * started by the library. Belongs to the library. Never blocks.
 */
TROUPE_API troupe_process *troupe_process_parent(void);

/*
 * The children of the calling process that were started and have not ended, in
 * the order of their starts, also those whose handles were freed. Children
 * that have ended are reaped.
 *
 * 0; -EINVAL (NULL); -ENOMEM. *ret_children is a fresh array with NULL behind
 * its last element; *ret_count, which may be NULL, their number. The handles
 * are those made by troupe_process_new(); they stay good until the list is
 * freed. Never blocks; thread-safe. Python: active_children().
 */
TROUPE_API TROUPE_MUST_CHECK int
troupe_process_active_children(troupe_process ***ret_children,
                               size_t *ret_count);

/* Frees such an array. NULL is fine. */
TROUPE_API void troupe_process_list_free(troupe_process **children);

/*
 * Ends the calling process as exit(3) does, which does the same:
 *
 *   - handlers that the process itself gave to atexit(3) run; a started child
 *     does not run those of its parent;
 *   - finalizers of priority 0 and above run, the highest first;
 *   - if there are children: what the exiting thread still holds (locks,
 *     leases, reservations) and the process's declarations as a producer or
 *     consumer are given up as if it had died, so that no child waits for them
 *     in vain (TROUPE_OWNER_DIED). What its other threads hold is theirs until
 *     the process has ended;
 *   - daemon children get SIGTERM, also those that another thread starts
 *     meanwhile, and all children are waited for, without limit, as in Python;
 *   - the other finalizers run;
 *   - stdout and stderr are flushed. (Other streams that a child opened it must
 *     close itself: their buffers may hold what is its parent's.)
 *
 * The status, modulo 256, is the exit code. A target's return does the same
 * with its value. A child that exits by _exit(2) skips all of it. Children made
 * by fork(2) itself run none of their parent's.
 *
 * Called in a finalizer it skips the finalizers that are left, and waits for no
 * children. A child that was started by one thread while another was in exit(3)
 * runs no handlers of atexit(3), and is to end by its target's return or by
 * this call: exit(3) itself may wait there for ever (glibc from 2.41 on).
 */
TROUPE_API void troupe_exit(int status) __attribute__((noreturn));

/*
 * Has a function called when this process exits, as Python's util.Finalize:
 * the highest priority first, the youngest first among equals; those of
 * negative priority after all children have ended. Only in this process: a
 * child begins with none.
 *
 * *ret_finalizer, if not NULL, names it for the calls below. 0; -EINVAL (call
 * NULL); -ENOMEM. Thread-safe; may be called in a finalizer.
 */
TROUPE_API int troupe_finalizer_add(void (*call)(void *arg), void *arg,
                                    int priority, uint64_t *ret_finalizer);

/* Forgets it. 0; -ENOENT: it was called or cancelled before, or is another
 * process's. Thread-safe. */
TROUPE_API int troupe_finalizer_cancel(uint64_t finalizer);

/* Calls it now, and then never again. As troupe_finalizer_cancel(): on -ENOENT
 * nothing was called. */
TROUPE_API int troupe_finalizer_call(uint64_t finalizer);

TROUPE_END_DECLS

#endif
