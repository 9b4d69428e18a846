/* SPDX-License-Identifier: Apache-2.0 */
#include "heap/options.h"

#include "heap/detail.h"

#include <errno.h>
#include <string.h>

#define LARGEST 4096u

int
troupe__options_copy(void *options, size_t size, const void *given)
{
    size_t given_size = size;
    size_t i;

    memset(options, 0, size);
    if (given != NULL) {
        const unsigned char *bytes = given;

        memcpy(&given_size, given, sizeof(given_size));
        /* No struct of options will ever be that large: this is one whose
         * size was not set, and reading on would leave it. */
        if (given_size < sizeof(size_t) || given_size > LARGEST)
            return troupe__detail(-EINVAL, "options of size %zu", given_size);
        for (i = size; i < given_size; i++)
            if (bytes[i] != 0)
                return troupe__detail(-E2BIG,
                                      "an option beyond the %zu bytes that "
                                      "this library knows",
                                      size);
        memcpy(options, given, given_size < size ? given_size : size);
    }
    memcpy(options, &size, sizeof(size));
    return 0;
}

static size_t
size_of(const void *given)
{
    size_t size;

    memcpy(&size, given, sizeof(size));
    return size;
}

bool
troupe__info_valid(const void *given)
{
    return given != NULL && size_of(given) >= sizeof(size_t) &&
           size_of(given) <= LARGEST;
}

void
troupe__info_copy(void *given, const void *info, size_t size)
{
    unsigned char *to = given;
    const unsigned char *from = info;
    size_t given_size = size_of(given);
    size_t common = given_size < size ? given_size : size;

    memcpy(to + sizeof(size_t), from + sizeof(size_t), common - sizeof(size_t));
    memset(to + common, 0, given_size - common);
}

int
troupe__options_unknown(const uint8_t *reserved, size_t size)
{
    size_t i;

    for (i = 0; i < size; i++)
        if (reserved[i] != 0)
            return troupe__detail(-E2BIG, "an option that this library does "
                                          "not know");
    return 0;
}
