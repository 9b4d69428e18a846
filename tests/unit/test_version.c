/* SPDX-License-Identifier: Apache-2.0 */
#include "harness.h"
#include "troupe/version.h"

#include <stdio.h>

TEST(version_of_the_library_is_that_of_the_headers)
{
    char text[32];

    CHECK_STR(troupe_version(), TROUPE_VERSION_STRING);
    (void)snprintf(text, sizeof(text), "%d.%d.%d", TROUPE_VERSION_HEX >> 16,
                   (TROUPE_VERSION_HEX >> 8) & 0xff, TROUPE_VERSION_HEX & 0xff);
    CHECK_STR(text, troupe_version());
}
