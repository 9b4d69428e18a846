/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Logging, as Python's multiprocessing: off until asked for, then lines like
 *
 *     [INFO/Process-1] child process calling self.run()
 *     [INFO/MainProcess] process shutting down
 *
 * on stderr, or whatever a handler does with them. The library logs the same
 * events at the same levels as CPython 3.11. A child inherits level and
 * handler as they are when it is started.
 *
 * One line is one write(2), so lines of several processes do not mix while
 * they are shorter than PIPE_BUF (4096). A stderr that nobody reads any more
 * raises no SIGPIPE; the line is lost.
 */
#ifndef TROUPE_LOG_H
#define TROUPE_LOG_H

#include <troupe/base.h>

TROUPE_BEGIN_DECLS

/* Any number is a level; these have names. SUBDEBUG and SUBWARNING are printed
 * as Python prints them: "Level 5", "Level 25". */
enum troupe_log_level {
    TROUPE_LOG_SUBDEBUG = 5,
    TROUPE_LOG_DEBUG = 10,
    TROUPE_LOG_INFO = 20,
    TROUPE_LOG_SUBWARNING = 25,
    TROUPE_LOG_WARNING = 30,
    TROUPE_LOG_ERROR = 40,
    TROUPE_LOG_CRITICAL = 50
};

/* Receives what is logged: the level, the name of the calling process, and the
 * message, without a newline. Called in the thread that logs, by several at
 * once, and from within calls of the library that hold locks of their own: a
 * handler neither starts, ends or waits for processes and pools, nor exits, nor
 * waits for a thread that does. The texts are good until it returns. */
typedef void troupe_log_handler(int level, const char *process,
                                const char *message, void *context);

/*
 * Turns logging on, to stderr. `level` 0 leaves the level as it is, which is
 * WARNING at first; otherwise what is below it is not logged. Cannot fail,
 * never blocks; may be called again.
 */
TROUPE_API void troupe_log_to_stderr(int level);

/* Turns logging on, to a handler; NULL turns it off. The handler that was
 * there may still be running in other threads when this returns. Cannot fail,
 * never blocks. */
TROUPE_API void troupe_log_set_handler(troupe_log_handler *handler,
                                       void *context);

/* Sets the level, of this process and of children started from now on. 0 is
 * WARNING. Does not turn logging on. Cannot fail, never blocks. */
TROUPE_API void troupe_log_set_level(int level);

/* The level in force. Cannot fail, never blocks. */
TROUPE_API int troupe_log_get_level(void);

/* Whether a message of this level would be logged now. Cannot fail, never
 * blocks. */
TROUPE_API bool troupe_log_enabled(int level);

/*
 * Logs a message, as printf(3). Nothing is formatted when it would not be
 * logged. What is beyond some 4,000 bytes is cut. Keeps errno. Thread-safe;
 * usable after fork; not for signal handlers. Blocks as write(2) to stderr
 * does.
 */
TROUPE_API void troupe_log(int level, const char *format, ...)
    TROUPE_PRINTF(2, 3);

TROUPE_END_DECLS

#endif
