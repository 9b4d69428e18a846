/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A progress bar on the terminal.
 *
 *     troupe_progress *bar;
 *
 *     status = troupe_progress_new(&bar, TROUPE_OPTIONS(
 *         troupe_progress_options, .label = "copying", .total = size,
 *         .bytes = true));
 *     while (...)
 *         troupe_progress_update(bar, done);
 *     troupe_progress_free(bar);
 *
 * It shows what is done, the rate, and the time that is left:
 *
 *     copying  42% [========>             ] 108/256 MiB  310 MiB/s  0:00 left
 *
 * It writes to stderr, and only there, and only when that is a terminal on
 * which it makes sense: nothing at all is written when stderr is something
 * else, or when NO_COLOR or CI is set to something, or TERM to "dumb". The line
 * is drawn at most ten times a second, fits into the terminal however narrow
 * and however often it is resized, and is gone, or complete and ended by a
 * newline, when the bar is freed. Text written to stderr by others meanwhile
 * mixes with it; it does no harm.
 *
 * With the pool it takes one word: option .bar of troupe_pool_map() and
 * troupe_pool_imap_unordered().
 *
 * A troupe_progress is a local handle, for one thread at a time; in a fork
 * child it may only be freed, which writes nothing. Nothing here may be called
 * in a signal handler.
 */
#ifndef TROUPE_PROGRESS_H
#define TROUPE_PROGRESS_H

#include <troupe/base.h>
#include <troupe/error.h>

TROUPE_BEGIN_DECLS

typedef struct troupe_progress troupe_progress;

typedef struct troupe_progress_options {
    size_t size; /* sizeof(struct troupe_progress_options) */

    /* What stands before the bar; copied. NULL: nothing. Bytes below 32 are
     * shown as blanks. */
    const char *label;

    /* What is to be done; 0 = not known: then there is no bar and no time
     * left, just what is done and the rate. */
    uint64_t total;

    /* The numbers are bytes, and shown as KiB, MiB, GiB. */
    bool bytes;

    /* When freed, leave the finished line on the screen, with the time it
     * took. Otherwise it is wiped. */
    bool keep;
    uint8_t reserved_[6];
} troupe_progress_options;

/*
 * Makes a bar. Nothing is drawn before the first update. 0; -EINVAL (NULL),
 * -E2BIG, -ENOMEM. Where no bar is to be shown a bar is made that shows
 * nothing. Never blocks.
 */
TROUPE_API TROUPE_MUST_CHECK int
troupe_progress_new(troupe_progress **ret_bar,
                    const troupe_progress_options *options);

/* Tells how much is done in all. Draws if the last time was 100 ms ago or more;
 * costs a look at the clock otherwise. NULL is fine. Never blocks: a terminal
 * that was stopped, or that nobody reads, loses lines. */
TROUPE_API void troupe_progress_update(troupe_progress *bar, uint64_t done);

/* Changes what is to be done; 0 = not known. NULL is fine. Never blocks. */
TROUPE_API void troupe_progress_set_total(troupe_progress *bar, uint64_t total);

/* Whether it shows anything. NULL: false. Never blocks. */
TROUPE_API bool troupe_progress_visible(const troupe_progress *bar);

/* Ends the line, see .keep, and frees the bar. NULL is fine. Never blocks. */
TROUPE_API void troupe_progress_free(troupe_progress *bar);

TROUPE_END_DECLS

#endif
