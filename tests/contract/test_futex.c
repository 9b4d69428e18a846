/* SPDX-License-Identifier: Apache-2.0 */
/* How processes sleep on a word of shared memory and wake each other. */
#include "contract.h"

struct waiter {
    uint64_t value;
    uint64_t address;
    uint32_t flags;
    uint32_t reserved;
};

enum { WAITER_32_BITS = 2 };

static int
wait_on_two(_Atomic uint32_t *a, uint32_t value_a, _Atomic uint32_t *b,
            uint32_t value_b, const struct timespec *deadline)
{
    struct waiter waiters[2] = {
        {value_a, (uint64_t)(uintptr_t)a, WAITER_32_BITS, 0},
        {value_b, (uint64_t)(uintptr_t)b, WAITER_32_BITS, 0},
    };
    long status =
        syscall(SYS_futex_waitv, waiters, 2, 0, deadline, CLOCK_MONOTONIC);

    return status < 0 ? -errno : (int)status;
}

static void
need_waitv(void)
{
    if (syscall(SYS_futex_waitv, NULL, 0, 0, NULL, 0) < 0 &&
        (errno == ENOSYS || errno == EPERM))
        SKIP("no futex_waitv here: %s", strerror(errno));
}

TEST(a_futex_is_the_same_through_two_mappings_of_one_file)
{
    int fd = memfd_create("futex", MFD_CLOEXEC);
    _Atomic uint32_t *one, *two;
    pid_t pid;

    CHECK_GE(fd, 0);
    CHECK_EQ(ftruncate(fd, 4096), 0);
    one = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    two = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(one != MAP_FAILED && two != MAP_FAILED && one != two);
    pid = fork_checked();
    if (pid == 0) {
        CHECK_RC(futex_wait(AT(one), 0, NULL), 0);
        _exit(0);
    }
    await_sleep_in(pid, SYS_futex);
    CHECK_EQ(futex_wake(AT(two), 1), 1);
    reap_success(pid);
    munmap(AT(one), 4096);
    munmap(AT(two), 4096);
    close(fd);
}

TEST(a_word_that_already_differs_is_eagain)
{
    uint32_t word = 1;
    struct timespec never = after_ms(60000);

    CHECK_RC(futex_wait(&word, 0, &never), -EAGAIN);
}

TEST(a_wait_ends_at_its_absolute_monotonic_deadline)
{
    uint32_t word = 0;
    struct timespec deadline = after_ms(20);

    CHECK_RC(futex_wait(&word, 0, &deadline), -ETIMEDOUT);
    CHECK(has_passed(&deadline));
}

TEST(the_monotonic_clock_is_one_for_all_processes)
{
    struct timespec before = after_ms(0), *inside = shared_memory(4096);
    pid_t pid = fork_checked();

    if (pid == 0) {
        CHECK(has_passed(&before));
        *inside = after_ms(0);
        _exit(0);
    }
    reap_success(pid);
    CHECK(has_passed(inside));
    munmap(inside, 4096);
}

TEST(a_killed_sleeper_leaves_the_queue_of_the_word)
{
    _Atomic uint32_t *word = shared_memory(4096);
    pid_t pid = fork_checked();

    if (pid == 0) {
        futex_wait(AT(word), 0, NULL);
        _exit(0);
    }
    await_sleep_in(pid, SYS_futex);
    kill_and_reap(pid);
    CHECK_EQ(futex_wake(AT(word), INT32_MAX), 0);
    munmap(AT(word), 4096);
}

TEST(a_sleeper_on_the_low_half_sees_only_that_half)
{
    _Atomic uint64_t *word = shared_memory(4096);
    pid_t pid;

    /* The other half may differ from anything without disturbing it. */
    atomic_store(word, 7ull << 32 | 5);
    CHECK_RC(futex_wait(AT(word), 4, NULL), -EAGAIN);
    pid = fork_checked();
    if (pid == 0) {
        CHECK_RC(futex_wait(AT(word), 5, NULL), 0);
        CHECK_EQ(atomic_load(word), 9ull << 32 | 6);
        _exit(0);
    }
    await_sleep_in(pid, SYS_futex);
    atomic_store(word, 9ull << 32 | 6);
    CHECK_EQ(futex_wake(AT(word), 1), 1);
    reap_success(pid);
    munmap(AT(word), 4096);
}

static void
wake_through(int which)
{
    _Atomic uint32_t *words = shared_memory(4096);
    pid_t pid;

    need_waitv();
    pid = fork_checked();
    if (pid == 0) {
        CHECK_EQ(wait_on_two(&words[0], 0, &words[512], 0, NULL), which);
        _exit(0);
    }
    await_sleep_in(pid, SYS_futex_waitv);
    CHECK_EQ(futex_wake(AT(&words[which * 512]), INT32_MAX), 1);
    reap_success(pid);
    munmap(AT(words), 4096);
}

TEST(a_sleeper_on_two_words_is_woken_through_the_first)
{
    wake_through(0);
}

TEST(a_sleeper_on_two_words_is_woken_through_the_second)
{
    wake_through(1);
}

TEST(a_wait_on_two_words_of_which_one_differs_is_eagain)
{
    _Atomic uint32_t *words = shared_memory(4096);

    need_waitv();
    CHECK_RC(wait_on_two(&words[0], 0, &words[1], 1, NULL), -EAGAIN);
    CHECK_RC(wait_on_two(&words[0], 1, &words[1], 0, NULL), -EAGAIN);
    munmap(AT(words), 4096);
}

TEST(a_wait_on_two_words_ends_at_its_absolute_monotonic_deadline)
{
    _Atomic uint32_t *words = shared_memory(4096);
    struct timespec deadline = after_ms(20);

    need_waitv();
    CHECK_RC(wait_on_two(&words[0], 0, &words[1], 0, &deadline), -ETIMEDOUT);
    CHECK(has_passed(&deadline));
    munmap(AT(words), 4096);
}

/* As many as the library sleeps on at most: a word, a request to stop, and the
 * tokens of those that may have to do something first. */
enum { MANY = 66 };

static int
wait_on_many(_Atomic uint32_t *words)
{
    struct waiter waiters[MANY];
    long status;

    for (int i = 0; i < MANY; i++)
        waiters[i] = (struct waiter){0, (uint64_t)(uintptr_t)&words[i],
                                     WAITER_32_BITS, 0};
    status = syscall(SYS_futex_waitv, waiters, MANY, 0, NULL, CLOCK_MONOTONIC);
    return status < 0 ? -errno : (int)status;
}

TEST(a_sleeper_on_66_words_is_woken_through_any)
{
    static const int through[] = {0, 1, 31, 32, 64, MANY - 1};
    _Atomic uint32_t *words = shared_memory(4096);

    need_waitv();
    for (size_t i = 0; i < sizeof(through) / sizeof(through[0]); i++) {
        pid_t pid = fork_checked();

        if (pid == 0) {
            CHECK_EQ(wait_on_many(words), through[i]);
            _exit(0);
        }
        await_sleep_in(pid, SYS_futex_waitv);
        CHECK_EQ(futex_wake(AT(&words[through[i]]), INT32_MAX), 1);
        reap_success(pid);
    }
    atomic_store(&words[MANY - 1], 1);
    CHECK_RC(wait_on_many(words), -EAGAIN);
    munmap(AT(words), 4096);
}

TEST(a_sleeper_on_a_word_and_a_token_is_woken_by_the_death_of_the_owner)
{
    struct {
        pthread_mutex_t token;
        _Atomic uint32_t lock;
        _Atomic int ready;
    } *page = shared_memory(4096);

    _Atomic uint32_t *word;
    pid_t owner, sleeper;

    need_waitv();
    token_init(&page->token);
    word = token_word(&page->token);
    owner = fork_checked();
    if (owner == 0) {
        CHECK_EQ(pthread_mutex_trylock(&page->token), 0);
        atomic_store(&page->ready, 1);
        for (;;)
            pause();
    }
    await_value(&page->ready, 1);
    sleeper = fork_checked();
    if (sleeper == 0) {
        uint32_t tid = (uint32_t)owner;

        CHECK(atomic_compare_exchange_strong(word, &tid, tid | TOKEN_WAITERS));
        CHECK_EQ(wait_on_two(&page->lock, 0, word,
                             (uint32_t)owner | TOKEN_WAITERS, NULL),
                 1);
        CHECK_EQ(atomic_load(word) & TOKEN_DIED, TOKEN_DIED);
        _exit(0);
    }
    await_sleep_in(sleeper, SYS_futex_waitv);
    kill_and_reap(owner);
    reap_success(sleeper);
    munmap(page, 4096);
}
