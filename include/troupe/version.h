/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Version of Troupe: the macros are the version of the headers a program was
 * compiled with, troupe_version() is the version of the library it runs with.
 */
#ifndef TROUPE_VERSION_H
#define TROUPE_VERSION_H

#include <troupe/base.h>

#define TROUPE_VERSION_MAJOR 0
#define TROUPE_VERSION_MINOR 1
#define TROUPE_VERSION_PATCH 0

/* One number to compare: 0x00MMmmpp. */
#define TROUPE_VERSION_HEX                                     \
 ((TROUPE_VERSION_MAJOR << 16) | (TROUPE_VERSION_MINOR << 8) | \
  TROUPE_VERSION_PATCH)

#define TROUPE_VERSION_STRING "0.1.0"

TROUPE_BEGIN_DECLS

/*
 * Returns the version of the library as "MAJOR.MINOR.PATCH", a string that
 * lives as long as the program. It cannot fail, and may be called from any
 * thread, after a fork and in a signal handler.
 */
TROUPE_API const char *troupe_version(void);

TROUPE_END_DECLS

#endif
