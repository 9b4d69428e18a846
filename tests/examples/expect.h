/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Compares what a program of several processes printed with an expected text:
 *
 *     # a comment
 *     a line              stands exactly so (blanks at its end do not count)
 *     pid:{one}           a number; the same name is the same number, another
 *                         name another number
 *     ?a line             may be missing
 *     %together           the sequences up to %end, divided by %and, stand
 *     ...                 each in its order; how they mix is open
 *     %and
 *     ...
 *     %end
 *
 * Lines outside %together stand in the order of the text.
 */
#ifndef TROUPE_TESTS_EXPECT_H
#define TROUPE_TESTS_EXPECT_H

#include <stddef.h>

/* NULL if the output is as expected; otherwise why not, to be freed. Changes
 * neither text. A fault in the expected text itself is an answer too. */
char *expect_difference(const char *expected, const char *output);

#endif
