/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Progress of a call: told by the thread that waits in it.
 */
#include "pool.h"

#include "base/math.h"
#include "os/clock.h"

#define INTERVAL (100 * TROUPE__MS)

int
troupe__ticker_begin(struct troupe__ticker *ticker, const char *bar)
{
    troupe_progress_options o = {
        .size = sizeof(o), .label = bar, .total = ticker->total, .keep = true};

    ticker->told = UINT64_MAX;
    if (bar == NULL)
        return 0;
    return troupe_progress_new(&ticker->bar, &o);
}

int64_t
troupe__ticker_tick(struct troupe__ticker *ticker, bool now)
{
    int64_t at;
    uint64_t done;

    if (ticker->call == NULL && !troupe_progress_visible(ticker->bar))
        return INT64_MAX;
    at = troupe__clock_now();
    if (!now && at < ticker->next)
        return ticker->next;
    ticker->next = troupe__time_add(at, INTERVAL);
    done = ticker->count(ticker->count_arg);
    /* A bar also moves its clock. */
    troupe_progress_update(ticker->bar, done);
    if (ticker->call != NULL && done != ticker->told) {
        ticker->told = done;
        ticker->call(done, ticker->total, ticker->arg);
    }
    return ticker->next;
}

void
troupe__ticker_end(struct troupe__ticker *ticker)
{
    troupe_progress_free(ticker->bar);
    ticker->bar = NULL;
}
