/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A test runner for programs of many processes.
 *
 *     TEST(queue_full_put_times_out)
 *     {
 *         CHECK_RC(troupe_queue_new(&queue, NULL), 0);
 *         CHECK_EQ(count, 3);
 *     }
 *
 * Every test runs in a process of its own, in a process group of its own,
 * with a private TMPDIR and its output captured. At the deadline the runner
 * kills the whole tree of processes, also those that left the group. After
 * the test nothing may be left: no living process, no zombie, no thread, no
 * descriptor, no file or socket in TMPDIR, no name in /dev/shm.
 *
 * The checks work in every thread and in every forked descendant: the first
 * failure is written to memory shared with the runner and ends the process,
 * and the runner ends the test. They do not depend on NDEBUG. The report of a
 * sanitizer in any of them is a failure too, whoever looks at the process: a
 * test that dies of SIGSEGV on purpose sets it to SIG_DFL first.
 */
#ifndef TROUPE_TESTS_HARNESS_H
#define TROUPE_TESTS_HARNESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Which sanitizer this is built with. */
#if defined(__SANITIZE_ADDRESS__)
# define HARNESS_ASAN 1
#elif defined(__has_feature)
# if __has_feature(address_sanitizer)
#  define HARNESS_ASAN 1
# endif
# if __has_feature(thread_sanitizer)
#  define HARNESS_TSAN 1
# endif
#endif
#if defined(__SANITIZE_THREAD__)
# define HARNESS_TSAN 1
#endif

/* For functions that a cancellation unwinds: AddressSanitizer does not see
 * their end, and takes what comes to lie there next for a fault. */
#define HARNESS_UNWOUND __attribute__((no_sanitize_address))

/* A test with the default deadline of 30 seconds. */
#define TEST(name) HARNESS_TEST(name, 0, 0)

/* A test with a deadline of its own. Replaces TEST. */
#define TEST_TIMEOUT(name, seconds) HARNESS_TEST(name, seconds, 0)

/* A test that passes only if its process is killed by the signal. */
#define TEST_SIGNAL(name, signo) HARNESS_TEST(name, 0, signo)

#define CHECK(e)                                      \
 do {                                                 \
  if (!(e)) {                                         \
   harness_fail(__FILE__, __LINE__, "CHECK(%s)", #e); \
  }                                                   \
 } while (0)

/* Compare integers, booleans, floating point numbers or pointers, by value. */
#define CHECK_EQ(a, b) HARNESS_COMPARE(a, HARNESS_EQ, b)
#define CHECK_NE(a, b) HARNESS_COMPARE(a, HARNESS_NE, b)
#define CHECK_LT(a, b) HARNESS_COMPARE(a, HARNESS_LT, b)
#define CHECK_LE(a, b) HARNESS_COMPARE(a, HARNESS_LE, b)
#define CHECK_GT(a, b) HARNESS_COMPARE(a, HARNESS_GT, b)
#define CHECK_GE(a, b) HARNESS_COMPARE(a, HARNESS_GE, b)

/* Compare strings; NULL equals only NULL. */
#define CHECK_STR(a, b) \
 harness_check_string(__FILE__, __LINE__, #a, #b, (a), (b))

/* Compare n bytes of memory. */
#define CHECK_MEM(a, b, n) \
 harness_check_memory(__FILE__, __LINE__, #a, #b, (a), (b), (n))

/* Compare a status (0, -errno, positive outcome); errnos are named. */
#define CHECK_RC(call, expected) \
 harness_check_status(__FILE__, __LINE__, #call, (call), (expected))

/* Fail, or end the test as skipped, with a printf-like message. */
#define FAIL(...) harness_fail(__FILE__, __LINE__, __VA_ARGS__)
#define SKIP(...) harness_skip(__VA_ARGS__)

/*
 * The descriptor, opened by the test, may stay open when the test ends: for
 * what the code under test keeps for the life of the process by design. The
 * library's heap (a memfd named "troupe...") is allowed without this.
 */
void harness_keep_fd(int fd);

/* The private directory of this test, also in the environment as TMPDIR. */
const char *harness_tmpdir(void);

/* A number that depends on --seed and the test's name. Not thread-safe. */
uint64_t harness_random(void);

/* A storm of signals: SIGALRM to this process, every so many microseconds, with
 * a handler that does nothing and without SA_RESTART; 0 ends it. Children have
 * none. And how many have come to all processes of the test. */
void harness_storm(unsigned period_us);
uint64_t harness_storm_signals(void);

/* The rest of this file is for the macros above. */

struct harness_test {
    const char *name;
    void (*body)(void);
    struct harness_test *next;
    int seconds;
    int signo;
};

#define HARNESS_TEST(name, seconds, signo)                               \
 static void name(void);                                                 \
 __attribute__((constructor)) static void harness_add_##name(void)       \
 {                                                                       \
  static struct harness_test test = {#name, name, NULL, seconds, signo}; \
  harness_add(&test);                                                    \
 }                                                                       \
 static void name(void)

enum harness_relation {
    HARNESS_EQ,
    HARNESS_NE,
    HARNESS_LT,
    HARNESS_LE,
    HARNESS_GT,
    HARNESS_GE,
};

enum harness_kind {
    HARNESS_SIGNED,
    HARNESS_UNSIGNED,
    HARNESS_FLOATING,
    HARNESS_POINTER,
};

struct harness_value {
    enum harness_kind kind;

    union {
        intmax_t s;
        uintmax_t u;
        double d;
        const volatile void *p;
    };
};

/* clang-format off */
#define HARNESS_VALUE(x)                                                      \
    _Generic((x),                                                             \
        bool: harness_unsigned,                                               \
        char: harness_signed,                                                 \
        signed char: harness_signed,                                          \
        unsigned char: harness_unsigned,                                      \
        short: harness_signed,                                                \
        unsigned short: harness_unsigned,                                     \
        int: harness_signed,                                                  \
        unsigned: harness_unsigned,                                           \
        long: harness_signed,                                                 \
        unsigned long: harness_unsigned,                                      \
        long long: harness_signed,                                            \
        unsigned long long: harness_unsigned,                                 \
        float: harness_floating,                                              \
        double: harness_floating,                                             \
        default: harness_pointer)(x)
/* clang-format on */

#define HARNESS_COMPARE(a, relation, b)                                  \
 harness_compare(__FILE__, __LINE__, #a, relation, #b, HARNESS_VALUE(a), \
                 HARNESS_VALUE(b))

struct harness_value harness_signed(intmax_t s);
struct harness_value harness_unsigned(uintmax_t u);
struct harness_value harness_floating(double d);
struct harness_value harness_pointer(const volatile void *p);

void harness_add(struct harness_test *test);
void harness_compare(const char *file, int line, const char *text_a,
                     enum harness_relation relation, const char *text_b,
                     struct harness_value a, struct harness_value b);
void harness_check_string(const char *file, int line, const char *text_a,
                          const char *text_b, const char *a, const char *b);
void harness_check_memory(const char *file, int line, const char *text_a,
                          const char *text_b, const void *a, const void *b,
                          size_t size);
void harness_check_status(const char *file, int line, const char *text,
                          int status, int expected);
__attribute__((noreturn, format(printf, 3, 4))) void
harness_fail(const char *file, int line, const char *format, ...);
__attribute__((noreturn, format(printf, 1, 2))) void
harness_skip(const char *format, ...);

#endif
