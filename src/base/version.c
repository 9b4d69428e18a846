/* SPDX-License-Identifier: Apache-2.0 */
#include "troupe/version.h"

const char *
troupe_version(void)
{
    return TROUPE_VERSION_STRING;
}
