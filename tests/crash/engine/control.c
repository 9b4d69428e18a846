/* SPDX-License-Identifier: Apache-2.0 */
/* The block that the director and all processes of a stage share. */
#include "engine.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

struct control *control;
bool crash_control_run;

static size_t control_size;
static int gates[CRASH_GATES];

bool
control_open(void)
{
    size_t points = MAX_POINTS * sizeof(struct crash_point);
    char *base;

    control_size = sizeof(*control) + 2 * points;
    base = mmap(NULL, control_size, PROT_READ | PROT_WRITE,
                MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED)
        return false;
    control = (struct control *)base;
    control->profile[0].points =
        (struct crash_point *)(base + sizeof(*control));
    control->profile[1].points = control->profile[0].points + MAX_POINTS;
    return true;
}

void
control_reset(void)
{
    memset(control, 0, offsetof(struct control, profile));
}

bool
control_owns(const void *address)
{
    const char *at = address;

    return at >= (const char *)control &&
           at < (const char *)control + control_size;
}

void
gates_open(void)
{
    unsigned i;

    for (i = 0; i < CRASH_GATES; i++) {
        gates[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (gates[i] < 0)
            engine_error("eventfd: %s", strerror(errno));
    }
}

void
engine_error(const char *format, ...)
{
    va_list list;

    atomic_store(&control->broken, 1);
    fputs("engine: ", stderr);
    va_start(list, format);
    vfprintf(stderr, format, list);
    va_end(list);
    fputc('\n', stderr);
}

void
crash_gate_open(unsigned gate)
{
    uint64_t one = 1;

    if (write(gates[gate], &one, sizeof(one)) != (ssize_t)sizeof(one))
        engine_error("gate %u: %s", gate, strerror(errno));
}

void
crash_gate_wait(unsigned gate)
{
    struct pollfd wait = {.fd = gates[gate], .events = POLLIN};

    /* The director ends the stage when this takes too long. */
    while (poll(&wait, 1, -1) < 0 && errno == EINTR) {
    }
}

bool
crash_gate_is_open(unsigned gate)
{
    struct pollfd wait = {.fd = gates[gate], .events = POLLIN};

    return poll(&wait, 1, 0) == 1;
}

_Atomic int64_t *
crash_word(unsigned index)
{
    return &control->word[index];
}

bool
crash_completed(void)
{
    return atomic_load(&control->completed) != 0;
}

bool
crash_second_completed(void)
{
    return atomic_load(&control->second_completed) != 0;
}

bool
crash_is_control(void)
{
    return crash_control_run;
}

static void __attribute__((format(printf, 2, 0)))
record(enum crash_kind kind, const char *format, va_list list)
{
    int index = atomic_fetch_add(&control->failures, 1);
    struct failure *failure;

    if (index >= MAX_FAILURES)
        return;
    failure = &control->failure[index];
    failure->kind = (int)kind;
    vsnprintf(failure->text, sizeof(failure->text), format, list);
    atomic_store(&failure->used, 1);
}

void
crash_fail(enum crash_kind kind, const char *format, ...)
{
    va_list list;

    va_start(list, format);
    record(kind, format, list);
    va_end(list);
}

void
crash_give_up(enum crash_kind kind, const char *format, ...)
{
    va_list list;

    va_start(list, format);
    record(kind, format, list);
    va_end(list);
    _exit(0);
}

static struct item *
item_at(unsigned item)
{
    if (item < CRASH_ITEMS)
        return &control->item[item];
    crash_give_up(CRASH_CORRUPTION, "item number %u is none of ours", item);
}

void
crash_put_begin(unsigned item)
{
    atomic_fetch_add(&item_at(item)->begun, 1);
}

void
crash_put_done(unsigned item)
{
    atomic_fetch_add(&item_at(item)->done, 1);
}

void
crash_got(unsigned item)
{
    atomic_fetch_add(&item_at(item)->got, 1);
}

unsigned
crash_got_count(unsigned item)
{
    return atomic_load(&item_at(item)->got);
}

unsigned
crash_missing_count(void)
{
    unsigned i, missing = 0;

    for (i = 0; i < CRASH_ITEMS; i++) {
        const struct item *item = &control->item[i];

        missing += item->begun > item->got ? item->begun - item->got : 0;
    }
    return missing;
}

void
crash_check_items(unsigned hands)
{
    unsigned i, lost = 0, first = 0;

    for (i = 0; i < CRASH_ITEMS; i++) {
        struct item *item = &control->item[i];
        unsigned begun = item->begun, done = item->done, got = item->got;

        if (got > begun && begun == 0)
            crash_fail(CRASH_CORRUPTION, "item %u arrived, nobody put it", i);
        else if (got > begun)
            crash_fail(CRASH_DUPLICATE, "item %u arrived %u times", i, got);
        if (got < done) {
            if (lost == 0)
                first = i;
            lost += done - got;
        }
    }
    if (lost > hands)
        crash_fail(CRASH_LOSS,
                   "%u items lost (item %u is the first), %u was allowed", lost,
                   first, hands);
}
