/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The progress bar, seen on a pseudo-terminal.
 */
#include "pool_helper.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>

enum { SCREEN = 1 << 20 };

/* What was written to the terminal. */
struct screen {
    char text[SCREEN];
    size_t size;
};

static struct screen screen;

static void
environment_plain(void)
{
    CHECK_EQ(setenv("TERM", "xterm", 1), 0);
    CHECK_EQ(unsetenv("NO_COLOR"), 0);
    CHECK_EQ(unsetenv("CI"), 0);
}

static void
read_all(int fd)
{
    ssize_t got;

    screen.size = 0;
    /* The end of a terminal without writers is EIO. */
    while ((got = read(fd, screen.text + screen.size,
                       SCREEN - 1 - screen.size)) > 0)
        screen.size += (size_t)got;
    screen.text[screen.size] = '\0';
}

/* A terminal of so many columns (0: a pipe), and the end to read from. */
static void
terminal_new(int ends[2], unsigned short columns)
{
    struct winsize size = {.ws_row = 24, .ws_col = columns};
    struct termios raw;

    if (columns == 0) {
        CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
        return;
    }
    ends[0] = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    CHECK_GE(ends[0], 0);
    CHECK_EQ(grantpt(ends[0]), 0);
    CHECK_EQ(unlockpt(ends[0]), 0);
    ends[1] = open(ptsname(ends[0]), O_RDWR | O_NOCTTY | O_CLOEXEC);
    CHECK_GE(ends[1], 0);
    CHECK_EQ(ioctl(ends[1], TIOCSWINSZ, &size), 0);
    CHECK_EQ(tcgetattr(ends[1], &raw), 0);
    cfmakeraw(&raw); /* so that a newline stays one */
    CHECK_EQ(tcsetattr(ends[1], TCSANOW, &raw), 0);
}

/* Begins to run `body` in a process that has it as stderr. */
static pid_t
terminal_run(const int ends[2], void (*body)(void))
{
    pid_t child = fork();

    CHECK_GE(child, 0);
    if (child == 0) {
        CHECK_EQ(dup2(ends[1], STDERR_FILENO), STDERR_FILENO);
        (void)close(ends[0]);
        (void)close(ends[1]);
        body();
        _exit(0);
    }
    return child;
}

/* Runs `body` and reads what comes. */
static void
watch(void (*body)(void), unsigned short columns)
{
    int ends[2];
    int status;
    pid_t child;

    terminal_new(ends, columns);
    child = terminal_run(ends, body);
    (void)close(ends[1]);
    read_all(ends[0]);
    (void)close(ends[0]);
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(status, 0);
}

static troupe_progress *
bar_new(const char *label, uint64_t total, bool bytes, bool keep)
{
    troupe_progress *bar = NULL;

    CHECK_RC(
        troupe_progress_new(&bar, TROUPE_OPTIONS(troupe_progress_options,
                                                 .label = label, .total = total,
                                                 .bytes = bytes, .keep = keep)),
        0);
    return bar;
}

/* Counts to `total` in so many steps, each of which is drawn. */
static void
count_up(troupe_progress *bar, uint64_t total, unsigned steps)
{
    unsigned i;

    for (i = 1; i <= steps; i++) {
        int64_t begin = troupe_clock();
        int64_t now;

        /* The last update is later than a line's time on the screen: whatever
         * the processor is given to meanwhile, each step is seen. */
        do {
            now = troupe_clock();
            troupe_progress_update(bar, total * i / steps);
        } while (now - begin < 110 * 1000000);
    }
}

static void
body_count(void)
{
    troupe_progress *bar = bar_new("copying", 5000, false, true);

    CHECK(troupe_progress_visible(bar));
    count_up(bar, 5000, 4);
    troupe_progress_free(bar);
}

/* Lines on the screen, one after the other: each begins with \r and ends by
 * wiping the rest. How many; the longest in *ret_widest. */
static unsigned
frames(size_t *ret_widest)
{
    const char *at = screen.text;
    unsigned count = 0;

    *ret_widest = 0;
    while (*at != '\0') {
        const char *end;
        size_t width = 0;

        CHECK_EQ(*at, '\r');
        end = strstr(at, "\033[K");
        CHECK(end != NULL);
        for (at++; at < end; at++) {
            CHECK(*at != '\r' && *at != '\n' && *at != '\033');
            width += ((unsigned char)*at & 0xc0) != 0x80;
            width += (unsigned char)*at >= 0xe3; /* two columns each */
        }
        if (width > *ret_widest)
            *ret_widest = width;
        at = end + 3;
        if (*at == '\n')
            at++;
        count++;
    }
    return count;
}

TEST(bar_shows_share_rate_and_time_left_and_ends_its_line)
{
    int64_t begin = troupe_clock();
    size_t widest;
    unsigned count;

    environment_plain();
    watch(body_count, 80);
    count = frames(&widest);
    CHECK_GE(count, 4u);
    /* at most ten a second, the first and the last beside them */
    CHECK_LE((int64_t)count, 2 + (troupe_clock() - begin) / (100 * 1000000));
    CHECK_LE(widest, 79u);
    CHECK(strstr(screen.text, "copying ") != NULL);
    CHECK(strstr(screen.text, "% [") != NULL);
    CHECK(strstr(screen.text, "=>") != NULL);
    CHECK(strstr(screen.text, "/5000  ") != NULL);
    CHECK(strstr(screen.text, "/s  ") != NULL);
    CHECK(strstr(screen.text, " left") != NULL);
    CHECK(strstr(screen.text, "100% [") != NULL);
    CHECK(strstr(screen.text, "5000/5000") != NULL);
    CHECK(strstr(screen.text, "  in 0:0") != NULL);
    CHECK_EQ(screen.text[screen.size - 1], '\n');
    /* One newline, at the end. */
    CHECK_EQ(strchr(screen.text, '\n'), screen.text + screen.size - 1);
}

static void
body_short(void)
{
    troupe_progress *bar = bar_new("copying", 5000, false, true);

    count_up(bar, 5000, 1);
    troupe_progress_free(bar);
}

TEST(bar_fits_into_any_width)
{
    static const unsigned short widths[] = {1, 2, 5, 10, 20, 33, 50, 300};
    size_t widest;

    environment_plain();
    for (size_t i = 0; i < sizeof(widths) / sizeof(widths[0]); i++) {
        watch(body_short, widths[i]);
        (void)frames(&widest);
        CHECK_LT(widest, (size_t)widths[i]);
        CHECK_EQ(screen.text[screen.size - 1], '\n');
    }
}

static void
body_wide(void)
{
    troupe_progress *bar =
        bar_new("\u3042\u6f22\u5b57\uac00\u3042\u6f22\u5b57\uac00\u3042\u6f22",
                5000, false, true);

    count_up(bar, 5000, 1);
    troupe_progress_free(bar);
}

TEST(bar_knows_that_characters_may_take_two_columns)
{
    static const unsigned short widths[] = {24, 29, 60};
    size_t widest;

    environment_plain();
    for (size_t i = 0; i < sizeof(widths) / sizeof(widths[0]); i++) {
        watch(body_wide, widths[i]);
        (void)frames(&widest);
        CHECK_LT(widest, (size_t)widths[i]);
        CHECK(strstr(screen.text, "\u3042") != NULL || widths[i] < 29);
    }
}

static void
body_unknown(void)
{
    troupe_progress *bar = bar_new("reading\n\033[31m", 0, true, false);

    count_up(bar, UINT64_C(300) << 20, 2);
    troupe_progress_free(bar);
}

TEST(bar_without_total_counts_and_is_wiped)
{
    static const char wiped[] = "\r\033[K";
    size_t widest;

    environment_plain();
    watch(body_unknown, 80);
    CHECK_GE(frames(&widest), 2u);
    CHECK(strstr(screen.text, " MiB") != NULL);
    CHECK(strstr(screen.text, "MiB/s") != NULL);
    CHECK(strchr(screen.text, '%') == NULL);
    CHECK(strstr(screen.text, "left") == NULL);
    CHECK(strchr(screen.text, '\n') == NULL);
    CHECK_STR(screen.text + screen.size - strlen(wiped), wiped);
    /* What is in the label cannot move the cursor. */
    CHECK(strstr(screen.text, "\033[31m") == NULL);
    CHECK(strstr(screen.text, "reading  [31m") != NULL);
}

static void
body_total_grows(void)
{
    troupe_progress *bar = bar_new(NULL, 10, false, true);

    troupe_progress_update(bar, 20);
    troupe_progress_set_total(bar, 40);
    count_up(bar, 30, 1);
    troupe_progress_free(bar);
}

TEST(bar_copes_with_a_total_that_was_wrong)
{
    size_t widest;

    environment_plain();
    watch(body_total_grows, 80);
    CHECK_GE(frames(&widest), 2u);
    CHECK(strstr(screen.text, "100% [") != NULL);
    CHECK(strstr(screen.text, "30/40") != NULL);
    CHECK(strstr(screen.text, " 75% [") != NULL);
}

static void
body_hidden(void)
{
    troupe_progress *bar = bar_new("hidden", 10, false, true);

    CHECK(!troupe_progress_visible(bar));
    count_up(bar, 10, 1);
    troupe_progress_free(bar);
}

TEST(bar_is_off_where_nobody_wants_it)
{
    environment_plain();
    watch(body_hidden, 0); /* not a terminal */
    CHECK_EQ(screen.size, 0u);
    CHECK_EQ(setenv("TERM", "dumb", 1), 0);
    watch(body_hidden, 80);
    CHECK_EQ(screen.size, 0u);
    environment_plain();
    CHECK_EQ(setenv("NO_COLOR", "1", 1), 0);
    watch(body_hidden, 80);
    CHECK_EQ(screen.size, 0u);
    environment_plain();
    CHECK_EQ(setenv("CI", "true", 1), 0);
    watch(body_hidden, 80);
    CHECK_EQ(screen.size, 0u);
    /* Set to nothing counts as not set. */
    environment_plain();
    CHECK_EQ(setenv("CI", "", 1), 0);
    watch(body_short, 80);
    CHECK_GT(screen.size, 0u);
}

static void
body_fork(void)
{
    troupe_progress *bar = bar_new("forked", 10, false, true);
    pid_t child;
    int status;

    troupe_progress_update(bar, 5);
    child = fork();
    if (child == 0) {
        troupe_progress_free(bar);
        _exit(0);
    }
    CHECK_EQ(waitpid(child, &status, 0), child);
    troupe_progress_free(bar);
}

TEST(bar_copied_by_a_fork_is_freed_in_silence)
{
    size_t widest;

    environment_plain();
    watch(body_fork, 80);
    CHECK_EQ(frames(&widest), 2u);
}

TEST(bar_refuses_what_cannot_be)
{
    troupe_progress *bar = NULL;
    troupe_progress_options o = {.size = sizeof(o)};

    CHECK_RC(troupe_progress_new(NULL, NULL), -EINVAL);
    o.reserved_[0] = 1;
    CHECK_RC(troupe_progress_new(&bar, &o), -E2BIG);
    CHECK(bar == NULL);
    troupe_progress_update(NULL, 1);
    troupe_progress_set_total(NULL, 1);
    CHECK(!troupe_progress_visible(NULL));
    troupe_progress_free(NULL);
    CHECK_RC(troupe_progress_new(&bar, NULL), 0);
    troupe_progress_free(bar);
}

/* The same by the pool's options. */

static int
burn(const void *item, void *result, void *context)
{
    int64_t end = troupe_clock() + 2000000;

    (void)item;
    (void)result;
    (void)context;
    while (troupe_clock() < end)
        ;
    return 0;
}

static void
body_map(void)
{
    troupe_pool *pool = pool_new(2);

    CHECK_RC(troupe_pool_map(pool, burn, NULL, 200, 0, NULL, 0,
                             MAP_OPTIONS(.bar = "burning"), TROUPE_FOREVER),
             0);
    pool_finish(pool);
}

static int
burn_task(troupe_task *task, void *context)
{
    (void)task;
    return burn(NULL, NULL, context);
}

static int
hundred(void *arg, troupe_item *ret_item)
{
    unsigned *left = arg;

    (void)ret_item;
    return (*left)-- == 0 ? TROUPE_END : 0;
}

static void
body_stream(void)
{
    troupe_pool *pool = pool_new(2);
    troupe_imap *it = NULL;
    troupe_result result;
    unsigned left = 100;

    CHECK_RC(troupe_pool_imap_unordered(
                 &it, pool, burn_task, hundred, &left,
                 IMAP_OPTIONS(.bar = "streaming", .total = 100)),
             0);
    while (troupe_imap_next(it, &result, TROUPE_FOREVER) == 0)
        CHECK_RC(result.status, 0);
    CHECK_RC(troupe_imap_free(it), 0);
    pool_finish(pool);
}

TEST(pool_shows_a_bar_on_a_terminal)
{
    size_t widest;

    environment_plain();
    watch(body_map, 80);
    CHECK_GE(frames(&widest), 2u);
    CHECK(strstr(screen.text, "burning ") != NULL);
    CHECK(strstr(screen.text, "/200  ") != NULL);
    CHECK(strstr(screen.text, "200/200  ") != NULL);
    CHECK_EQ(screen.text[screen.size - 1], '\n');
    watch(body_stream, 80);
    CHECK_GE(frames(&widest), 2u);
    CHECK(strstr(screen.text, "streaming ") != NULL);
    CHECK(strstr(screen.text, "100/100  ") != NULL);
    CHECK_EQ(screen.text[screen.size - 1], '\n');
}

TEST(pool_shows_nothing_in_a_pipe)
{
    environment_plain();
    watch(body_map, 0);
    CHECK_EQ(screen.size, 0u);
    watch(body_stream, 0);
    CHECK_EQ(screen.size, 0u);
}

/* Terminals that take nothing. */

static int
wait_for_ever(const void *item, void *result, void *context)
{
    (void)item;
    (void)result;
    return troupe_event_wait(context, TROUPE_FOREVER);
}

static void
body_deadline(void)
{
    troupe_event *never = SHARED(troupe_event);
    troupe_pool *pool = pool_new(1);

    body_short();
    body_unknown();
    CHECK_RC(troupe_pool_map(pool, wait_for_ever, NULL, 1, 0, NULL, 0,
                             MAP_OPTIONS(.bar = "waiting", .context = never),
                             troupe_after(0.25)),
             -ETIMEDOUT);
    pool_finish(pool);
    CHECK_RC(troupe_free(never), 0);
}

/* Runs the body at a terminal that takes `free` bytes and no more, until it has
 * ended, and then looks at what came. */
static void
watch_full(size_t free)
{
    static char filler[64];
    size_t filled = 0;
    ssize_t got;
    int ends[2];
    int status;
    int filling;
    pid_t child;

    terminal_new(ends, 80);
    filling = open(ptsname(ends[0]), O_WRONLY | O_NOCTTY | O_NONBLOCK);
    CHECK_GE(filling, 0);
    while ((got = write(filling, filler, sizeof(filler))) > 0)
        filled += (size_t)got;
    CHECK_EQ(errno, EAGAIN);
    (void)close(filling);
    CHECK_GT(filled, free);
    screen.size = 0;
    while (screen.size < free) {
        got = read(ends[0], screen.text, free - screen.size);
        CHECK_GT(got, 0);
        screen.size += (size_t)got;
    }
    child = terminal_run(ends, body_deadline);
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(status, 0);
    (void)close(ends[1]);
    (void)close(ends[0]);
}

TEST(bar_waits_for_no_terminal_that_nobody_reads)
{
    static const size_t free[] = {0, 300};

    environment_plain();
    for (size_t i = 0; i < sizeof(free) / sizeof(free[0]); i++)
        watch_full(free[i]);
}

TEST(bar_waits_for_no_terminal_that_was_stopped)
{
    int ends[2];
    int status;
    pid_t child;

    environment_plain();
    terminal_new(ends, 80);
    CHECK_EQ(tcflow(ends[1], TCOOFF), 0);
    child = terminal_run(ends, body_deadline);
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(status, 0);
    /* Lines are lost, others come when it goes on. */
    CHECK_EQ(tcflow(ends[1], TCOON), 0);
    child = terminal_run(ends, body_short);
    (void)close(ends[1]);
    read_all(ends[0]);
    (void)close(ends[0]);
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(status, 0);
    CHECK_GT(screen.size, 0u);
    CHECK_EQ(screen.text[0], '\r');
    CHECK(strstr(screen.text, "waiting") == NULL);
}
