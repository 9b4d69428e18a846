/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The checks: they run in any thread of any descendant of the runner, so they
 * use nothing but the shared record, and end the process with _exit().
 */
#include "harness_internal.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

struct harness_record *harness_record;
pid_t harness_test_pid;
const char *harness_current_tmpdir;
uint64_t harness_random_state;

void
harness_write_record(enum harness_verdict verdict, const char *text)
{
    int expected = HARNESS_NONE;

    if (!__atomic_compare_exchange_n(&harness_record->verdict, &expected,
                                     HARNESS_WRITING, 0, __ATOMIC_RELAXED,
                                     __ATOMIC_RELAXED)) {
        return;
    }
    (void)snprintf(harness_record->text, sizeof(harness_record->text), "%s",
                   text);
    /* release: the runner's acquire of the verdict sees the text */
    __atomic_store_n(&harness_record->verdict, (int)verdict, __ATOMIC_RELEASE);
}

/* Says who failed, for a failure outside the test's own main thread. */
static const char *
describe_place(char *buffer, size_t size)
{
    pid_t pid = getpid();
    pid_t tid = (pid_t)syscall(SYS_gettid);

    buffer[0] = '\0';
    if (pid != harness_test_pid) {
        (void)snprintf(buffer, size, " [in descendant process %d]", (int)pid);
    } else if (tid != pid) {
        (void)snprintf(buffer, size, " [in thread %d]", (int)tid);
    }
    return buffer;
}

static __attribute__((noreturn)) void
fail_with(const char *file, int line, const char *message)
{
    char place[64];
    char text[2048];

    (void)snprintf(text, sizeof(text), "%s:%d: %s%s", file, line, message,
                   describe_place(place, sizeof(place)));
    harness_write_record(HARNESS_FAILED, text);
    _exit(EXIT_FAILURE);
}

/* Present where a sanitizer is linked in. */
extern __attribute__((weak)) void
__sanitizer_set_death_callback(void (*callback)(void));

static void
record_sanitizer(void)
{
    char text[128];

    (void)snprintf(text, sizeof(text), "a sanitizer reported in %s %d",
                   getpid() == harness_test_pid ? "the test's process"
                                                : "descendant process",
                   (int)getpid());
    harness_write_record(HARNESS_FAILED, text);
}

void
harness_watch_sanitizers(void)
{
    if (__sanitizer_set_death_callback != NULL) {
        __sanitizer_set_death_callback(record_sanitizer);
    }
}

#ifdef HARNESS_TSAN
/* ThreadSanitizer goes on after a report: this is its hook. */
void __tsan_on_report(void *report);

void
__tsan_on_report(void *report)
{
    (void)report;
    record_sanitizer();
}
#endif

void
harness_fail(const char *file, int line, const char *format, ...)
{
    char message[1536];
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(message, sizeof(message), format, arguments);
    va_end(arguments);
    fail_with(file, line, message);
}

void
harness_skip(const char *format, ...)
{
    char message[1536];
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(message, sizeof(message), format, arguments);
    va_end(arguments);
    harness_write_record(HARNESS_SKIPPED, message);
    _exit(EXIT_SUCCESS);
}

struct harness_value
harness_signed(intmax_t s)
{
    return (struct harness_value){.kind = HARNESS_SIGNED, .s = s};
}

struct harness_value
harness_unsigned(uintmax_t u)
{
    return (struct harness_value){.kind = HARNESS_UNSIGNED, .u = u};
}

struct harness_value
harness_floating(double d)
{
    return (struct harness_value){.kind = HARNESS_FLOATING, .d = d};
}

struct harness_value
harness_pointer(const volatile void *p)
{
    return (struct harness_value){.kind = HARNESS_POINTER, .p = p};
}

static const char *
print_value(struct harness_value v, char *buffer, size_t size)
{
    switch (v.kind) {
    case HARNESS_SIGNED:
        (void)snprintf(buffer, size, "%jd", v.s);
        break;
    case HARNESS_UNSIGNED:
        (void)snprintf(buffer, size, v.u > 0xffff ? "%ju (0x%jx)" : "%ju", v.u,
                       v.u);
        break;
    case HARNESS_FLOATING:
        (void)snprintf(buffer, size, "%.17g", v.d);
        break;
    case HARNESS_POINTER:
        (void)snprintf(buffer, size, "0x%jx", (uintmax_t)(uintptr_t)v.p);
        break;
    }
    return buffer;
}

static double
as_floating(struct harness_value v)
{
    switch (v.kind) {
    case HARNESS_SIGNED:
        return (double)v.s;
    case HARNESS_UNSIGNED:
        return (double)v.u;
    case HARNESS_FLOATING:
        return v.d;
    case HARNESS_POINTER:
        break;
    }
    return (double)(uintptr_t)v.p;
}

static uintmax_t
as_unsigned(struct harness_value v)
{
    if (v.kind == HARNESS_POINTER) {
        return (uintptr_t)v.p;
    }
    return v.u;
}

static bool
is_negative(struct harness_value v)
{
    return v.kind == HARNESS_SIGNED && v.s < 0;
}

/* Compares as mathematics does, not as C converts. */
static bool
less(struct harness_value a, struct harness_value b)
{
    if (a.kind == HARNESS_FLOATING || b.kind == HARNESS_FLOATING) {
        return as_floating(a) < as_floating(b);
    }
    if (is_negative(a) != is_negative(b)) {
        return is_negative(a);
    }
    if (is_negative(a)) {
        return a.s < b.s;
    }
    return as_unsigned(a) < as_unsigned(b);
}

static bool
equal(struct harness_value a, struct harness_value b)
{
    if (a.kind == HARNESS_FLOATING || b.kind == HARNESS_FLOATING) {
        return as_floating(a) == as_floating(b);
    }
    return is_negative(a) == is_negative(b) && as_unsigned(a) == as_unsigned(b);
}

void
harness_compare(const char *file, int line, const char *text_a,
                enum harness_relation relation, const char *text_b,
                struct harness_value a, struct harness_value b)
{
    static const char *const names[] = {"==", "!=", "<", "<=", ">", ">="};
    char value_a[64];
    char value_b[64];
    char message[1536];
    bool holds = false;

    switch (relation) {
    case HARNESS_EQ:
        holds = equal(a, b);
        break;
    case HARNESS_NE:
        holds = !equal(a, b);
        break;
    case HARNESS_LT:
        holds = less(a, b);
        break;
    case HARNESS_LE:
        holds = less(a, b) || equal(a, b);
        break;
    case HARNESS_GT:
        holds = less(b, a);
        break;
    case HARNESS_GE:
        holds = less(b, a) || equal(a, b);
        break;
    }
    if (holds) {
        return;
    }
    (void)snprintf(message, sizeof(message), "%s %s %s: %s and %s", text_a,
                   names[relation], text_b,
                   print_value(a, value_a, sizeof(value_a)),
                   print_value(b, value_b, sizeof(value_b)));
    fail_with(file, line, message);
}

void
harness_check_string(const char *file, int line, const char *text_a,
                     const char *text_b, const char *a, const char *b)
{
    char message[1536];

    if (a == b || (a != NULL && b != NULL && strcmp(a, b) == 0)) {
        return;
    }
    (void)snprintf(message, sizeof(message),
                   "%s equals %s: %s%.500s%s and %s%.500s%s", text_a, text_b,
                   a ? "\"" : "", a ? a : "NULL", a ? "\"" : "", b ? "\"" : "",
                   b ? b : "NULL", b ? "\"" : "");
    fail_with(file, line, message);
}

void
harness_check_memory(const char *file, int line, const char *text_a,
                     const char *text_b, const void *a, const void *b,
                     size_t size)
{
    const unsigned char *x = a;
    const unsigned char *y = b;

    for (size_t i = 0; i < size; i++) {
        if (x[i] != y[i]) {
            char message[1536];

            (void)snprintf(message, sizeof(message),
                           "%s equals %s for %zu bytes: at %zu stand 0x%02x "
                           "and 0x%02x",
                           text_a, text_b, size, i, x[i], y[i]);
            fail_with(file, line, message);
        }
    }
}

static const char *
print_status(int status, char *buffer, size_t size)
{
    char text[128];

    if (status >= 0) {
        (void)snprintf(buffer, size, "%d", status);
    } else {
        (void)snprintf(buffer, size, "%d (%s)", status,
                       strerror_r(-status, text, sizeof(text)));
    }
    return buffer;
}

void
harness_check_status(const char *file, int line, const char *text, int status,
                     int expected)
{
    char value_a[160];
    char value_b[160];
    char message[1536];

    if (status == expected) {
        return;
    }
    (void)snprintf(message, sizeof(message), "%s returned %s, expected %s",
                   text, print_status(status, value_a, sizeof(value_a)),
                   print_status(expected, value_b, sizeof(value_b)));
    fail_with(file, line, message);
}

const char *
harness_tmpdir(void)
{
    return harness_current_tmpdir;
}

static void
storm_handler(int signo)
{
    (void)signo;
    (void)__atomic_fetch_add(&harness_record->signals, 1, __ATOMIC_RELAXED);
}

void
harness_storm(unsigned period_us)
{
    struct sigaction action = {.sa_handler = storm_handler};
    struct itimerval often = {.it_interval = {0, period_us},
                              .it_value = {0, period_us}};

    CHECK_EQ(sigaction(SIGALRM, &action, NULL), 0);
    CHECK_EQ(setitimer(ITIMER_REAL, &often, NULL), 0);
}

uint64_t
harness_storm_signals(void)
{
    return __atomic_load_n(&harness_record->signals, __ATOMIC_RELAXED);
}

uint64_t
harness_random(void)
{
    /* splitmix64: any state is a good state */
    uint64_t z = (harness_random_state += 0x9e3779b97f4a7c15U);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31);
}
