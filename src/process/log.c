/* SPDX-License-Identifier: Apache-2.0 */
#include <troupe/log.h>

#include "exit.h"
#include "process.h"

#include "base/atomic.h"
#include "base/macros.h"
#include "os/stderr.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* A line, with prefix and newline, is at most PIPE_BUF long. */
#define LINE 4096

static bool on;                         /* atomic */
static int level = TROUPE_LOG_WARNING;  /* atomic */
static troupe_log_handler *log_handler; /* lock of the processes, as context;
                                         * NULL: stderr */
static void *log_context;

static const char *
level_name(int of, char *scratch, size_t size)
{
    switch (of) {
    case TROUPE_LOG_DEBUG:
        return "DEBUG";
    case TROUPE_LOG_INFO:
        return "INFO";
    case TROUPE_LOG_WARNING:
        return "WARNING";
    case TROUPE_LOG_ERROR:
        return "ERROR";
    case TROUPE_LOG_CRITICAL:
        return "CRITICAL";
    default:
        (void)snprintf(scratch, size, "Level %d", of);
        return scratch;
    }
}

static void
line_to_stderr(int of, const char *process, const char *message)
{
    char line[LINE];
    char scratch[24];
    int length;

    length =
        snprintf(line, sizeof(line) - 1, "[%s/%s] %s",
                 level_name(of, scratch, sizeof(scratch)), process, message);
    if (length < 0)
        return;
    if (length > (int)sizeof(line) - 2)
        length = (int)sizeof(line) - 2;
    line[length] = '\n';
    troupe__stderr_write(line, (size_t)length + 1);
}

static void
install(troupe_log_handler *handler, void *context, bool turn_on)
{
    if (troupe__processes_lock() == NULL)
        return;
    log_handler = handler;
    log_context = context;
    troupe__store_release(&on, turn_on);
    troupe__processes_unlock();
    /* The process's end is one of the events. */
    if (turn_on)
        (void)troupe__exit_register();
}

void
troupe_log_to_stderr(int new_level)
{
    if (new_level != 0)
        troupe_log_set_level(new_level);
    install(NULL, NULL, true);
}

void
troupe_log_set_handler(troupe_log_handler *handler, void *context)
{
    install(handler, context, handler != NULL);
}

void
troupe_log_set_level(int new_level)
{
    troupe__store_relaxed(&level,
                          new_level == 0 ? TROUPE_LOG_WARNING : new_level);
}

int
troupe_log_get_level(void)
{
    return troupe__load_relaxed(&level);
}

bool
troupe_log_enabled(int of)
{
    return troupe__load_acquire(&on) && of >= troupe__load_relaxed(&level);
}

/* Apart, for its large frame: what is not logged costs a look. */
static void TROUPE__COLD TROUPE_PRINTF(2, 0)
    emit(int of, const char *format, va_list args)
{
    troupe_log_handler *handler;
    char message[LINE];
    const char *process;
    void *context;
    int saved = errno;

    if (vsnprintf(message, sizeof(message), format, args) < 0)
        message[0] = '\0';
    process = troupe_process_name(troupe_process_current());
    if (troupe__processes_lock() != NULL) {
        handler = log_handler;
        context = log_context;
        troupe__processes_unlock();
        if (handler != NULL)
            handler(of, process, message, context);
        else
            line_to_stderr(of, process, message);
    }
    errno = saved;
}

void
troupe_log(int of, const char *format, ...)
{
    va_list args;

    if (!troupe_log_enabled(of))
        return;
    va_start(args, format);
    emit(of, format, args);
    va_end(args);
}
