/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Uses every public macro, and compiles as C11 and as C++17: what nobody uses
 * nobody has compiled. scripts/check-headers.sh looks that none is missing.
 */
#include <stdarg.h>
#include <stdio.h>
#include <troupe.h>

#if TROUPE_VERSION_HEX < 0x000100
# error "the version is comparable in the preprocessor"
#endif

/* Numbers, usable where a constant is needed. */
enum macros_numbers {
    MACROS_VERSION = TROUPE_VERSION_MAJOR * 10000 + TROUPE_VERSION_MINOR * 100 +
                     TROUPE_VERSION_PATCH,
    MACROS_OWNER_DIED = TROUPE_OWNER_DIED,
    MACROS_END = TROUPE_END,
    MACROS_TASKS_FAILED = TROUPE_TASKS_FAILED,
    MACROS_POOL_PROCESSES = TROUPE_POOL_MAX_PROCESSES,
    MACROS_POOL_WINDOW = TROUPE_POOL_MAX_WINDOW,
    MACROS_TASK_MESSAGE = TROUPE_TASK_MESSAGE,
    MACROS_EBROKEN = TROUPE_EBROKEN,
    MACROS_EWORKERLOST = TROUPE_EWORKERLOST,
    MACROS_EXIT_UNKNOWN = TROUPE_EXIT_UNKNOWN,
    MACROS_QUEUE_SIDES = TROUPE_QUEUE_GET + TROUPE_QUEUE_PUT,
    MACROS_QUEUE_SMALL = TROUPE_QUEUE_SMALL + TROUPE_QUEUE_OVERHEAD
};

/* Attributes. */
TROUPE_BEGIN_DECLS

TROUPE_API TROUPE_MUST_CHECK int macros_status(int status);
TROUPE_API TROUPE_PRINTF(1, 2) int macros_print(const char *format, ...);
TROUPE_API troupe_deadline macros_deadline(int wait);
TROUPE_API const char *macros_version(void);
TROUPE_API uint32_t macros_tasks(void);
TROUPE_API size_t macros_stored(size_t size);

TROUPE_END_DECLS

int
macros_status(int status)
{
    return status == MACROS_OWNER_DIED ? 0 : status;
}

int
macros_print(const char *format, ...)
{
    va_list arguments;
    int length;

    va_start(arguments, format);
    length = vprintf(format, arguments);
    va_end(arguments);
    return length;
}

troupe_deadline
macros_deadline(int wait)
{
    return wait ? TROUPE_FOREVER : TROUPE_NOW;
}

const char *
macros_version(void)
{
    return "troupe " TROUPE_VERSION_STRING;
}

uint32_t
macros_tasks(void)
{
    return TROUPE_POOL_MAX_TASKS;
}

size_t
macros_stored(size_t size)
{
    return TROUPE_QUEUE_STORED(size);
}

/* An option struct; in C++ it is declared and filled by name. */
struct macros_options {
    size_t size;
    int number;
    int other;
};

int macros_number(const struct macros_options *options);
int macros_use_options(void);

int
macros_number(const struct macros_options *options)
{
    return options->size == sizeof(*options) ? options->number : -1;
}

#ifndef __cplusplus
int
macros_use_options(void)
{
    return macros_number(TROUPE_OPTIONS(macros_options, .number = 1));
}
#endif
