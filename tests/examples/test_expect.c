/* SPDX-License-Identifier: Apache-2.0 */
/* The comparison that the tests of the examples rest on. */
#include "expect.h"
#include "harness.h"

#include <stdlib.h>

/* `why` NULL: the output fits. */
static void
compare(const char *expected, const char *output, const char *why)
{
    char *answer = expect_difference(expected, output);

    CHECK_STR(answer, why);
    free(answer);
}

TEST(expect_lines_in_order)
{
    compare("a\nb\n", "a\nb\n", NULL);
    compare("a\nb\n", "a \r\nb", NULL);
    compare("# why\na\n", "a\n", NULL);
    compare("", "", NULL);
    compare("a\n\nb\n", "a\n\nb\n", NULL);
    compare("a\nb\n", "b\na\n", "line 1 does not fit: b");
    compare("a\nb\n", "a\n", "lines are missing after line 1");
    compare("a\n", "a\nb\n", "line 2 does not fit: b");
    compare("a\n", "a\na\n", "line 2 does not fit: a");
    compare("a\n", "", "lines are missing after line 0");
    compare("", "a\n", "line 1 does not fit: a");
    compare("ab\n", "a\n", "line 1 does not fit: a");
    compare("a\n", "ab\n", "line 1 does not fit: ab");
    compare("a\n\nb\n", "a\nb\n", "line 2 does not fit: b");
}

TEST(expect_names_stand_for_numbers)
{
    compare("pid:{a} {b} {a}.\n", "pid:12 3 12.\n", NULL);
    compare("{a}\n{b}\n", "1\n2\n", NULL);
    compare("{a}\n{a}\n", "1\n2\n", "line 2 does not fit: 2");
    compare("{a}\n{b}\n", "1\n1\n", "line 2 does not fit: 1");
    compare("{a}\n{b}\n", "1\n12\n", NULL);
    compare("{a}\n", "x\n", "line 1 does not fit: x");
    compare("{a}\n", "\n", "line 1 does not fit: ");
    compare("{a}\n", "1x\n", "line 1 does not fit: 1x");
    compare("{a\n", "{a\n", NULL);
}

TEST(expect_optional_lines)
{
    compare("a\n?b\nc\n", "a\nb\nc\n", NULL);
    compare("a\n?b\nc\n", "a\nc\n", NULL);
    compare("a\n?b\n", "a\n", NULL);
    compare("?a\n?a\n?a\n", "a\na\n", NULL);
    compare("?a\n?a\n", "a\na\na\n", "line 3 does not fit: a");
    compare("a\n?b\nc\n", "a\nb\nb\nc\n", "line 3 does not fit: b");
}

TEST(expect_sequences_together)
{
    static const char text[] = "x\n%together\na\nb\n%and\nc\n?d\n%end\ny\n";

    compare(text, "x\na\nb\nc\nd\ny\n", NULL);
    compare(text, "x\nc\na\nd\nb\ny\n", NULL);
    compare(text, "x\nc\na\nb\ny\n", NULL);
    compare(text, "x\nb\na\nc\nd\ny\n", "line 2 does not fit: b");
    compare(text, "x\na\nc\ny\nb\n", "line 4 does not fit: y");
    compare(text, "a\nx\nb\nc\ny\n", "line 1 does not fit: a");
    compare(text, "x\na\nb\nc\n", "lines are missing after line 4");
}

/* Which sequence a line belongs to may show only later. */
TEST(expect_goes_back_when_it_guessed_wrong)
{
    static const char text[] =
        "%together\nn 1\np {a}\nq {a}\n%and\nn 2\np {b}\nr {b}\n%end\n";

    compare(text, "n 1\nn 2\np 7\np 8\nq 8\nr 7\n", NULL);
    compare(text, "n 1\nn 2\np 7\np 8\nr 8\nq 7\n", NULL);
    compare(text, "n 1\nn 2\np 7\np 8\nr 8\nq 8\n", "line 6 does not fit: q 8");
    compare("%together\na\na\nb\n%and\na\nc\n%end\n", "a\nc\na\na\nb\n", NULL);
}

TEST(expect_refuses_a_faulty_text)
{
    compare("%and\n", "", "the expected text has a misplaced %and");
    compare("%end\n", "", "the expected text has a misplaced %end");
    compare("%other\n", "", "the expected text has a misplaced %other");
    compare("%together\na\n", "a\n", "the expected text lacks an %end");
    compare("%together\n%together\n%end\n", "",
            "the expected text has a misplaced %together");
}
