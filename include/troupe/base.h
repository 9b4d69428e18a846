/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every header of the library needs: export and checking attributes, and
 * the macro for option structs.
 */
#ifndef TROUPE_BASE_H
#define TROUPE_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
# define TROUPE_BEGIN_DECLS extern "C" {
# define TROUPE_END_DECLS   }
#else
# define TROUPE_BEGIN_DECLS
# define TROUPE_END_DECLS
#endif

#define TROUPE_API                 __attribute__((visibility("default")))
#define TROUPE_MUST_CHECK          __attribute__((warn_unused_result))
#define TROUPE_PRINTF(text, first) __attribute__((format(printf, text, first)))

/*
 * Options are passed as a pointer to a struct whose first field is its size.
 * NULL, and a field left zero, mean the default:
 *
 *     troupe_queue_new(&q, TROUPE_OPTIONS(troupe_queue_options,
 *                                         .max_items = 100));
 *
 * A struct shorter than the library's is completed with zeros; a longer one
 * with a non-zero tail is refused with -E2BIG. In C++ declare the struct
 * yourself, zero it, and set `size = sizeof(it)`.
 */
#ifndef __cplusplus
# define TROUPE_OPTIONS(type, ...) \
  (&(struct type){.size = sizeof(struct type), __VA_ARGS__})
#endif

#endif
