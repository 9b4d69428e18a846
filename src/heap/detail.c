/* SPDX-License-Identifier: Apache-2.0 */
#include "heap/detail.h"

#include <troupe/error.h>

#include <stdarg.h>
#include <stdio.h>

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
