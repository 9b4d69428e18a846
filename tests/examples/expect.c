/* SPDX-License-Identifier: Apache-2.0 */
#include "expect.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_LINES     400
#define MAX_SEQUENCES 16
#define MAX_NAMES     32

struct line {
    const char *text;
    size_t length;
    bool optional;
};

/* Lines first to end of the expected text, in this order. */
struct sequence {
    size_t first;
    size_t end;
};

/* Sequences that stand mixed; a single one for what stands in order. */
struct block {
    struct sequence sequences[MAX_SEQUENCES];
    size_t count;
    struct block *next;
};

struct name {
    const char *text;
    size_t length;
    char number[24];
};

struct search {
    struct line wanted[MAX_LINES];
    size_t wanted_count;
    struct line got[MAX_LINES];
    size_t got_count;
    struct block *blocks;
    struct name names[MAX_NAMES];
    size_t name_count;
    size_t furthest; /* lines of the output that could be explained */
    char *fault;
};

static __attribute__((format(printf, 1, 2))) char *
format(const char *text, ...)
{
    char *answer = NULL;
    va_list arguments;

    va_start(arguments, text);
    if (vasprintf(&answer, text, arguments) < 0) {
        abort();
    }
    va_end(arguments);
    return answer;
}

/* Cuts the next line off, without blanks at its end. False at the end. */
static bool
next_line(const char **text, struct line *line)
{
    const char *end;

    if (**text == '\0') {
        return false;
    }
    end = strchrnul(*text, '\n');
    line->text = *text;
    line->length = (size_t)(end - *text);
    line->optional = false;
    while (line->length > 0 &&
           isspace((unsigned char)line->text[line->length - 1])) {
        line->length--;
    }
    *text = *end == '\n' ? end + 1 : end;
    return true;
}

static bool
is(const struct line *line, const char *word)
{
    return line->length == strlen(word) &&
           memcmp(line->text, word, line->length) == 0;
}

static struct block *
add_block(struct search *search, struct block *last)
{
    struct block *block = calloc(1, sizeof(*block));

    if (block == NULL) {
        abort();
    }
    if (last == NULL) {
        search->blocks = block;
    } else {
        last->next = block;
    }
    block->count = 1;
    block->sequences[0].first = search->wanted_count;
    block->sequences[0].end = search->wanted_count;
    return block;
}

static void
add_wanted(struct search *search, struct block *block, struct line line)
{
    if (search->wanted_count == MAX_LINES) {
        search->fault = format("more than %d lines are expected", MAX_LINES);
        return;
    }
    if (line.length > 0 && line.text[0] == '?') {
        line.optional = true;
        line.text++;
        line.length--;
    }
    search->wanted[search->wanted_count++] = line;
    block->sequences[block->count - 1].end = search->wanted_count;
}

static void
parse_expected(struct search *search, const char *text)
{
    struct block *block = add_block(search, NULL);
    bool together = false;
    struct line line;

    while (search->fault == NULL && next_line(&text, &line)) {
        if (is(&line, "%and") && together && block->count < MAX_SEQUENCES) {
            struct sequence *sequence = &block->sequences[block->count++];

            sequence->first = search->wanted_count;
            sequence->end = search->wanted_count;
        } else if (is(&line, together ? "%end" : "%together")) {
            block = add_block(search, block);
            together = !together;
        } else if (line.length > 0 && line.text[0] == '%') {
            search->fault = format("the expected text has a misplaced %.*s",
                                   (int)line.length, line.text);
        } else if (line.length == 0 || line.text[0] != '#') {
            add_wanted(search, block, line);
        }
    }
    if (search->fault == NULL && together) {
        search->fault = format("the expected text lacks an %%end");
    }
}

static void
parse_output(struct search *search, const char *text)
{
    struct line line;

    while (next_line(&text, &line)) {
        if (search->got_count == MAX_LINES) {
            search->fault =
                format("the output has more than %d lines", MAX_LINES);
            return;
        }
        search->got[search->got_count++] = line;
    }
}

/* Whether the name may stand for the number, noting it if it is new. */
static bool
bind_name(struct search *search, const char *name, size_t name_length,
          const char *number, size_t length)
{
    struct name *added;

    if (length == 0 || length >= sizeof(added->number)) {
        return false;
    }
    for (size_t i = 0; i < search->name_count; i++) {
        const struct name *known = &search->names[i];
        bool same_name = known->length == name_length &&
                         memcmp(known->text, name, name_length) == 0;
        bool same_number = strlen(known->number) == length &&
                           memcmp(known->number, number, length) == 0;

        if (same_name || same_number) {
            return same_name && same_number;
        }
    }
    if (search->name_count == MAX_NAMES) {
        return false;
    }
    added = &search->names[search->name_count++];
    added->text = name;
    added->length = name_length;
    memcpy(added->number, number, length);
    added->number[length] = '\0';
    return true;
}

/* Names bound on the way to a mismatch stay bound: the caller resets them. */
static bool
matches(struct search *search, const struct line *wanted,
        const struct line *got)
{
    const char *w = wanted->text;
    const char *w_end = w + wanted->length;
    const char *g = got->text;
    const char *g_end = g + got->length;

    while (w < w_end) {
        const char *close =
            *w == '{' ? memchr(w, '}', (size_t)(w_end - w)) : NULL;

        if (close != NULL) {
            const char *number = g;

            while (g < g_end && isdigit((unsigned char)*g)) {
                g++;
            }
            if (!bind_name(search, w + 1, (size_t)(close - w - 1), number,
                           (size_t)(g - number))) {
                return false;
            }
            w = close + 1;
        } else if (g < g_end && *w == *g) {
            w++;
            g++;
        } else {
            return false;
        }
    }
    return g == g_end;
}

static bool search_from(struct search *search, const struct block *block,
                        const size_t *positions, size_t line);

/* Explains the line, and then all others, by this sequence going on. */
static bool
advance(struct search *search, const struct block *block,
        const size_t *positions, size_t line, size_t sequence)
{
    size_t known = search->name_count;
    size_t next[MAX_SEQUENCES];

    memcpy(next, positions, sizeof(next));
    for (size_t at = positions[sequence]; at < block->sequences[sequence].end;
         at++) {
        next[sequence] = at + 1;
        if (matches(search, &search->wanted[at], &search->got[line]) &&
            search_from(search, block, next, line + 1)) {
            return true;
        }
        search->name_count = known;
        if (!search->wanted[at].optional) {
            break;
        }
    }
    return false;
}

/* Whether what is left of the block is all optional. */
static bool
may_end(const struct search *search, const struct block *block,
        const size_t *positions)
{
    for (size_t i = 0; i < block->count; i++) {
        for (size_t at = positions[i]; at < block->sequences[i].end; at++) {
            if (!search->wanted[at].optional) {
                return false;
            }
        }
    }
    return true;
}

static bool
enter(struct search *search, const struct block *block, size_t line)
{
    size_t positions[MAX_SEQUENCES] = {0};

    if (block == NULL) {
        return line == search->got_count;
    }
    for (size_t i = 0; i < block->count; i++) {
        positions[i] = block->sequences[i].first;
    }
    return search_from(search, block, positions, line);
}

/* Whether the output from the line on is explained by the block from the
 * positions on, and what follows it. */
static bool
search_from(struct search *search, const struct block *block,
            const size_t *positions, size_t line)
{
    if (line > search->furthest) {
        search->furthest = line;
    }
    for (size_t i = 0; line < search->got_count && i < block->count; i++) {
        if (advance(search, block, positions, line, i)) {
            return true;
        }
    }
    return may_end(search, block, positions) &&
           enter(search, block->next, line);
}

char *
expect_difference(const char *expected, const char *output)
{
    struct search *search = calloc(1, sizeof(*search));
    char *answer;

    if (search == NULL) {
        abort();
    }
    parse_expected(search, expected);
    if (search->fault == NULL) {
        parse_output(search, output);
    }
    answer = search->fault;
    if (answer == NULL && !enter(search, search->blocks, 0)) {
        const struct line *line = &search->got[search->furthest];

        answer =
            search->furthest < search->got_count
                ? format("line %zu does not fit: %.*s", search->furthest + 1,
                         (int)line->length, line->text)
                : format("lines are missing after line %zu", search->furthest);
    }
    while (search->blocks != NULL) {
        struct block *block = search->blocks;

        search->blocks = block->next;
        free(block);
    }
    free(search);
    return answer;
}
