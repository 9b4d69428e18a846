/* SPDX-License-Identifier: Apache-2.0 */
#include "heap/detail.h"

#include <troupe/error.h>

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static __thread char text[160];

int
troupe__detail(int status, const char *format, ...)
{
    int saved = errno;
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    errno = saved;
    return status;
}

static int
promised(int error)
{
    switch (error) {
    case -ENOMEM:
    case -EMFILE:
    case -ENFILE:
        return error;
    case -EAGAIN:
    case -ENOSPC:
    case -ENOBUFS:
    case -EDQUOT:
    case -EEXIST: /* of a range of addresses: it is taken */
        return -ENOMEM;
    default:
        return -ENOTSUP;
    }
}

int
troupe__detail_refused(int error, const char *format, ...)
{
    int saved = errno;
    size_t length;
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    length = strlen(text);
    (void)snprintf(text + length, sizeof(text) - length, ": %s",
                   strerror(-error));
    errno = saved;
    return promised(error);
}

void
troupe__detail_clear(void)
{
    text[0] = '\0';
}

const char *
troupe_error_detail(void)
{
    return text;
}
