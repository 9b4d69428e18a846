/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The progress bar: one line on a terminal, drawn over itself. Each drawing is
 * one write, so that it is never seen half.
 */
#include <troupe/progress.h>

#include "base/macros.h"
#include "heap/detail.h"
#include "heap/options.h"
#include "os/clock.h"
#include "os/stderr.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define INTERVAL (100 * TROUPE__MS)

/* Columns when the terminal does not say. */
#define USUAL_WIDTH 80u
/* A line is cut here, however wide the terminal is. */
#define MOST_WIDTH 240u
#define BAR_LEAST  8u
#define BAR_MOST   40u

/* The rate is that of the last seconds: each drawing brings in the newest with
 * this weight, per second. */
#define RATE_MEMORY 5.0

_Static_assert(sizeof(troupe_progress_options) == 32, "no padding at the end");

struct troupe_progress {
    char *label;
    uint64_t total;
    uint64_t done;
    int64_t began; /* 0: nothing was drawn yet */
    int64_t drawn;
    int64_t rated; /* when `rate` was brought up to date, and with what */
    uint64_t rated_done;
    double rate; /* per second */
    pid_t owner;
    bool visible;
    bool bytes;
    bool keep;
    bool shown; /* there is a line on the screen */
};

static const char *
variable(const char *name)
{
    return getenv(name); /* NOLINT(concurrency-mt-unsafe): read alone */
}

static bool
is_set(const char *name)
{
    const char *value = variable(name);

    return value != NULL && value[0] != '\0';
}

static bool
wanted(void)
{
    const char *terminal = variable("TERM");

    return isatty(STDERR_FILENO) && !is_set("NO_COLOR") && !is_set("CI") &&
           (terminal == NULL || strcmp(terminal, "dumb") != 0);
}

int
troupe_progress_new(troupe_progress **ret_bar,
                    const troupe_progress_options *options)
{
    troupe_progress_options o;
    troupe_progress *bar;
    unsigned char *c;
    int status;

    troupe__detail_clear();
    if (ret_bar == NULL)
        return troupe__detail(-EINVAL, "ret_bar is NULL");
    status = troupe__options_copy(&o, sizeof(o), options);
    if (status == 0)
        status = troupe__options_unknown(o.reserved_, sizeof(o.reserved_));
    if (status < 0)
        return status;
    bar = calloc(1, sizeof(*bar));
    if (bar == NULL)
        return troupe__detail(-ENOMEM, "memory for a bar");
    bar->label = strdup(o.label != NULL ? o.label : "");
    if (bar->label == NULL) {
        free(bar);
        return troupe__detail(-ENOMEM, "memory for a bar");
    }
    for (c = (unsigned char *)bar->label; *c != '\0'; c++)
        if (*c < 32 || *c == 127)
            *c = ' ';
    bar->total = o.total;
    bar->bytes = o.bytes;
    bar->keep = o.keep;
    bar->owner = getpid();
    bar->visible = wanted();
    *ret_bar = bar;
    return 0;
}

/* Columns of the terminal. */
static unsigned
width(void)
{
    struct winsize size;

    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0)
        return USUAL_WIDTH;
    return size.ws_col;
}

/* A number in a few characters. */
static void
format_number(char *text, size_t size, double number, bool bytes)
{
    static const char *const large[] = {"", "k", "M", "G", "T", "P", "E"};
    static const char *const binary[] = {" B",   " KiB", " MiB", " GiB",
                                         " TiB", " PiB", " EiB"};
    double base = bytes ? 1024 : 1000;
    unsigned unit = 0;

    /* Small counts in full. */
    if (!bytes && number < 100000) {
        (void)snprintf(text, size, "%.*f", number < 10 && number > 0 ? 1 : 0,
                       number);
        return;
    }
    while (number >= base && unit + 1 < TROUPE__COUNT(large)) {
        number /= base;
        unit++;
    }
    (void)snprintf(text, size, "%.*f%s", number < 10 && unit != 0 ? 1 : 0,
                   number, bytes ? binary[unit] : large[unit]);
}

static void
format_count(char *text, size_t size, uint64_t number, bool bytes)
{
    if (!bytes && number < 100000)
        (void)snprintf(text, size, "%llu", (unsigned long long)number);
    else
        format_number(text, size, (double)number, bytes);
}

static void
format_time(char *text, size_t size, double seconds)
{
    unsigned long long all;

    if (!(seconds < 360000)) { /* 100 hours */
        (void)snprintf(text, size, "-:--");
        return;
    }
    all = (unsigned long long)(seconds + 0.5);
    if (all >= 3600)
        (void)snprintf(text, size, "%llu:%02llu:%02llu", all / 3600,
                       all / 60 % 60, all % 60);
    else
        (void)snprintf(text, size, "%llu:%02llu", all / 60, all % 60);
}

/* Brings the rate up to date. */
static void
rate(troupe_progress *bar, int64_t now)
{
    double span = (double)(now - bar->rated) / (double)TROUPE__SECOND;
    double weight = 1;
    double newest;

    if (span <= 0)
        return;
    newest = bar->done >= bar->rated_done
                 ? (double)(bar->done - bar->rated_done) / span
                 : 0;
    if (bar->rated != bar->began)
        weight = span / (span + RATE_MEMORY);
    bar->rate += (newest - bar->rate) * weight;
    bar->rated = now;
    bar->rated_done = bar->done;
}

/* What stands behind the bar. */
static void
format_figures(const troupe_progress *bar, int64_t now, bool last, char *text,
               size_t size)
{
    double taken = (double)(now - bar->began) / (double)TROUPE__SECOND;
    double speed = bar->rate;
    char done[32];
    char total[32];
    char per_second[32];
    char time[32];

    if (last)
        speed = taken > 0 ? (double)bar->done / taken : 0;
    format_count(done, sizeof(done), bar->done, bar->bytes);
    format_count(total, sizeof(total), bar->total, bar->bytes);
    format_number(per_second, sizeof(per_second), speed, bar->bytes);
    if (last)
        format_time(time, sizeof(time), taken);
    else if (bar->total > bar->done && speed > 0)
        format_time(time, sizeof(time),
                    (double)(bar->total - bar->done) / speed);
    else
        format_time(time, sizeof(time),
                    bar->total != 0 && bar->done >= bar->total ? 0 : 1e9);
    if (bar->total == 0)
        (void)snprintf(text, size, "%s  %s/s  %s%s", done, per_second,
                       last ? "in " : "", last ? time : "");
    else
        (void)snprintf(text, size, "%s/%s  %s/s  %s%s%s", done, total,
                       per_second, last ? "in " : "", time,
                       last ? "" : " left");
}

/* Columns that the character beginning with this byte may take; 0 for the later
 * bytes of UTF-8. Only characters from U+1100 on can take two, and all of those
 * from U+1000 on count as two: a line too short does no harm, one that wraps
 * does. */
static size_t
byte_columns(char byte)
{
    unsigned char c = (unsigned char)byte;

    return (c & 0xc0) == 0x80 ? 0 : c < 0xe1 ? 1 : 2;
}

static size_t
columns(const char *text)
{
    size_t count = 0;

    for (; *text != '\0'; text++)
        count += byte_columns(*text);
    return count;
}

/* Cuts a text to so many columns. */
static void
cut(char *text, size_t most)
{
    size_t count = 0;

    for (; *text != '\0'; text++) {
        count += byte_columns(*text);
        if (count > most) {
            *text = '\0';
            return;
        }
    }
}

/* "42% [=====>    ]", as wide as there is room; "" when there is none. */
static void
format_bar(const troupe_progress *bar, size_t room, char *text, size_t size)
{
    double share =
        bar->done < bar->total ? (double)bar->done / (double)bar->total : 1;
    size_t inner;
    size_t filled;
    size_t i;
    int length;

    text[0] = '\0';
    if (bar->total == 0 || room < 4)
        return;
    length = snprintf(text, size, "%3d%%", (int)(share * 100));
    if (length < 0 || room < (size_t)length + 3 + BAR_LEAST)
        return;
    inner = room - (size_t)length - 3;
    if (inner > BAR_MOST)
        inner = BAR_MOST;
    filled = (size_t)(share * (double)inner);
    text += length;
    *text++ = ' ';
    *text++ = '[';
    for (i = 0; i < inner; i++)
        *text++ = (char)(i < filled ? '=' : i == filled ? '>' : ' ');
    *text++ = ']';
    *text = '\0';
}

/* Draws the line over what is there; what is too long is left out: first the
 * bar, then the label's end, then the figures' end. */
static void
draw(troupe_progress *bar, int64_t now, bool last)
{
    /* UTF-8 has up to four bytes in a column. */
    char line[4 * MOST_WIDTH + 64];
    char label[4 * MOST_WIDTH];
    char figures[200];
    char middle[BAR_MOST + 16];
    size_t room = width();
    size_t used;
    int length;

    if (room > MOST_WIDTH)
        room = MOST_WIDTH;
    room--; /* the last column would make some terminals wrap */
    format_figures(bar, now, last, figures, sizeof(figures));
    cut(figures, room);
    used = strlen(figures);
    (void)snprintf(label, sizeof(label), "%s", bar->label);
    cut(label, room > used + 1 ? room - used - 1 : 0);
    used += columns(label) + 1;
    format_bar(bar, room > used + 1 ? room - used - 1 : 0, middle,
               sizeof(middle));
    /* Back to the first column, the text, and the rest of the line wiped. */
    length = snprintf(line, sizeof(line), "\r%s%s%s%s%s\033[K%s", label,
                      label[0] != '\0' ? " " : "", middle,
                      middle[0] != '\0' ? " " : "", figures, last ? "\n" : "");
    if (length > 0 && (size_t)length < sizeof(line))
        troupe__stderr_offer(line, (size_t)length);
    bar->shown = !last;
    bar->drawn = now;
}

void
troupe_progress_update(troupe_progress *bar, uint64_t done)
{
    int64_t now;

    if (bar == NULL)
        return;
    bar->done = done;
    if (!bar->visible)
        return;
    now = troupe__clock_now();
    if (bar->began == 0) {
        bar->began = now;
        bar->rated = now;
        bar->rated_done = done;
    } else if (now - bar->drawn < INTERVAL) {
        return;
    }
    rate(bar, now);
    draw(bar, now, false);
}

void
troupe_progress_set_total(troupe_progress *bar, uint64_t total)
{
    if (bar != NULL)
        bar->total = total;
}

bool
troupe_progress_visible(const troupe_progress *bar)
{
    return bar != NULL && bar->visible;
}

void
troupe_progress_free(troupe_progress *bar)
{
    static const char wipe[] = "\r\033[K";

    if (bar == NULL)
        return;
    /* A copy that a fork made has nothing on the screen. */
    if (bar->began != 0 && bar->owner == getpid()) {
        if (bar->keep)
            draw(bar, troupe__clock_now(), true);
        else if (bar->shown)
            troupe__stderr_offer(wipe, sizeof(wipe) - 1);
    }
    free(bar->label);
    free(bar);
}
