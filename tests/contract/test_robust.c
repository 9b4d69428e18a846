/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The liveness token: a robust mutex that a thread takes with trylock and
 * holds for its life.  The kernel marks it when the thread dies.
 */
#include "contract.h"

#include <linux/futex.h>
#include <sys/ptrace.h>
#include <sys/resource.h>

struct page {
    pthread_mutex_t token;
    _Atomic int ready;
    _Atomic int go;
    _Atomic int count;
    _Atomic int busy;
};

static struct page *page;
static _Atomic uint32_t *word;

static void
open_page(void)
{
    page = shared_memory(sizeof(*page));
    token_init(&page->token);
    word = token_word(&page->token);
}

static void
close_page(void)
{
    munmap(page, sizeof(*page));
}

/* A child that holds the token and sleeps. */
static pid_t
holder(void)
{
    pid_t pid = fork_checked();

    if (pid == 0) {
        CHECK_EQ(pthread_mutex_trylock(&page->token), 0);
        atomic_store(&page->ready, 1);
        for (;;)
            pause();
    }
    await_value(&page->ready, 1);
    return pid;
}

TEST(the_futex_word_of_a_mutex_is_the_one_that_holds_the_tid)
{
    pthread_mutex_t mutex;
    _Atomic uint32_t *found;

    token_init(&mutex);
    found = token_word(&mutex);
    CHECK_EQ(atomic_load(found), 0);
    CHECK_EQ(pthread_mutex_trylock(&mutex), 0);
    CHECK_EQ(atomic_load(found), (uint32_t)gettid());
    CHECK_EQ(pthread_mutex_unlock(&mutex), 0);
    CHECK_EQ(atomic_load(found), 0);
}

TEST(the_holder_itself_gets_ebusy_from_trylock)
{
    pthread_mutex_t mutex;

    token_init(&mutex);
    CHECK_EQ(pthread_mutex_trylock(&mutex), 0);
    CHECK_EQ(pthread_mutex_trylock(&mutex), EBUSY);
    CHECK_EQ(pthread_mutex_unlock(&mutex), 0);
}

TEST(a_killed_process_leaves_its_token_marked_and_without_tid)
{
    pid_t pid;

    open_page();
    pid = holder();
    CHECK_EQ(atomic_load(word), (uint32_t)pid);
    kill_and_reap(pid);
    CHECK_EQ(atomic_load(word), TOKEN_DIED);
    close_page();
}

TEST(a_token_is_marked_by_the_time_the_pidfd_is_readable)
{
    int pidfd;
    pid_t pid;

    open_page();
    pid = holder();
    pidfd = pidfd_of(pid);
    CHECK_EQ(kill(pid, SIGKILL), 0);
    await_readable(pidfd);
    CHECK_EQ(atomic_load(word), TOKEN_DIED);
    CHECK_EQ(waitpid(pid, NULL, 0), pid);
    close(pidfd);
    close_page();
}

/* The file that the kernel makes of a dump, or "" when it does something else
 * with it. */
static void
name_of_dump(char *name, size_t room, pid_t pid)
{
    char pattern[8] = "", with_pid[8] = "";
    FILE *file = fopen("/proc/sys/kernel/core_pattern", "re");

    CHECK(file != NULL);
    CHECK(fgets(pattern, sizeof(pattern), file) != NULL);
    fclose(file);
    file = fopen("/proc/sys/kernel/core_uses_pid", "re");
    CHECK(file != NULL);
    CHECK(fgets(with_pid, sizeof(with_pid), file) != NULL);
    fclose(file);
    if (strcmp(pattern, "core\n") != 0)
        name[0] = '\0';
    else if (with_pid[0] == '0')
        snprintf(name, room, "core");
    else
        snprintf(name, room, "core.%d", (int)pid);
}

/* Stopped where its exit begins: behind the dump, before the mark. */
TEST(a_token_is_marked_after_the_core_dump)
{
    struct rlimit all = {RLIM_INFINITY, RLIM_INFINITY};
    unsigned long told;
    int status;
    char dump[32];
    pid_t pid;

    open_page();
    CHECK_EQ(chdir(harness_tmpdir()), 0);
    pid = fork_checked();
    if (pid == 0) {
        name_of_dump(dump, sizeof(dump), getpid());
        CHECK_EQ(getrlimit(RLIMIT_CORE, &all), 0);
        all.rlim_cur = dump[0] != '\0' ? all.rlim_max : 0;
        CHECK_EQ(setrlimit(RLIMIT_CORE, &all), 0);
        CHECK_EQ(signal(SIGQUIT, SIG_DFL) == SIG_ERR, false);
        CHECK_EQ(pthread_mutex_trylock(&page->token), 0);
        CHECK_EQ(ptrace(PTRACE_TRACEME, 0, 0, 0), 0);
        raise(SIGQUIT);
        _exit(1);
    }
    name_of_dump(dump, sizeof(dump), pid);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status >> 8, SIGQUIT);
    CHECK_EQ(ptrace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACEEXIT), 0);
    CHECK_EQ(ptrace(PTRACE_CONT, pid, 0, SIGQUIT), 0);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status >> 8, SIGTRAP | PTRACE_EVENT_EXIT << 8);
    CHECK_EQ(ptrace(PTRACE_GETEVENTMSG, pid, 0, &told), 0);
    CHECK_EQ(WTERMSIG((int)told), SIGQUIT);
    if (WCOREDUMP((int)told))
        CHECK_EQ(unlink(dump), 0);
    CHECK_EQ(atomic_load(word), (uint32_t)pid);
    CHECK_EQ(ptrace(PTRACE_CONT, pid, 0, 0), 0);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFSIGNALED(status));
    CHECK_EQ(atomic_load(word), TOKEN_DIED);
    close_page();
}

TEST(a_process_that_exits_leaves_its_token_marked)
{
    pid_t pid;

    open_page();
    pid = fork_checked();
    if (pid == 0) {
        CHECK_EQ(pthread_mutex_trylock(&page->token), 0);
        _exit(0);
    }
    reap_success(pid);
    CHECK_EQ(atomic_load(word), TOKEN_DIED);
    close_page();
}

static void *
take_and_end(void *unused)
{
    (void)unused;
    CHECK_EQ(pthread_mutex_trylock(&page->token), 0);
    pthread_exit(NULL);
}

TEST(a_thread_that_ends_leaves_its_token_marked_while_its_process_lives)
{
    pthread_t thread;

    open_page();
    CHECK_EQ(pthread_create(&thread, NULL, take_and_end, NULL), 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    await_marked(word);
    CHECK_EQ(atomic_load(word) & TOKEN_TID, 0);
    close_page();
}

static void *
take_and_sleep(void *unused)
{
    (void)unused;
    CHECK_EQ(pthread_mutex_trylock(&page->token), 0);
    atomic_store(&page->ready, 1);
    for (;;)
        pause();
    return NULL;
}

TEST(the_token_of_a_thread_is_marked_when_its_process_is_killed)
{
    pid_t pid;

    open_page();
    pid = fork_checked();
    if (pid == 0) {
        pthread_t thread;

        CHECK_EQ(pthread_create(&thread, NULL, take_and_sleep, NULL), 0);
        for (;;)
            pause();
    }
    await_value(&page->ready, 1);
    CHECK_NE(atomic_load(word), (uint32_t)pid);
    kill_and_reap(pid);
    CHECK_EQ(atomic_load(word), TOKEN_DIED);
    close_page();
}

TEST(a_token_is_marked_by_exec_though_the_process_lives_on)
{
    int ends[2];
    pid_t pid;

    open_page();
    CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
    pid = fork_checked();
    if (pid == 0) {
        CHECK_EQ(pthread_mutex_trylock(&page->token), 0);
        CHECK_EQ(dup2(ends[0], STDIN_FILENO), STDIN_FILENO);
        execl("/bin/cat", "cat", (char *)NULL);
        FAIL("exec: %s", strerror(errno));
    }
    /* cat sleeps for as long as the pipe has a writer, which is us. */
    await_marked(word);
    CHECK_EQ(atomic_load(word), TOKEN_DIED);
    CHECK_EQ(waitpid(pid, NULL, WNOHANG), 0);
    close(ends[0]);
    close(ends[1]);
    reap_success(pid);
    close_page();
}

TEST(trylock_tells_exactly_one_of_many_that_the_owner_died)
{
    enum { TRIERS = 8 };

    pid_t pids[TRIERS];
    int i;

    open_page();
    kill_and_reap(holder());
    for (i = 0; i < TRIERS; i++) {
        pids[i] = fork_checked();
        if (pids[i] == 0) {
            int status;

            await_value(&page->go, 1);
            status = pthread_mutex_trylock(&page->token);
            if (status == EOWNERDEAD)
                atomic_fetch_add(&page->count, 1);
            else
                CHECK_EQ(status, EBUSY);
            atomic_fetch_add(&page->busy, 1);
            /* Nobody dies before all have tried. */
            await_value(&page->busy, TRIERS);
            _exit(0);
        }
    }
    atomic_store(&page->go, 1);
    for (i = 0; i < TRIERS; i++)
        reap_success(pids[i]);
    CHECK_EQ(page->count, 1);
    close_page();
}

TEST(when_the_one_that_was_told_dies_the_next_is_told_again)
{
    pid_t pid;

    open_page();
    kill_and_reap(holder());
    pid = fork_checked();
    if (pid == 0) {
        CHECK_EQ(pthread_mutex_trylock(&page->token), EOWNERDEAD);
        _exit(0);
    }
    reap_success(pid);
    CHECK_EQ(pthread_mutex_trylock(&page->token), EOWNERDEAD);
    CHECK_EQ(pthread_mutex_consistent(&page->token), 0);
    CHECK_EQ(pthread_mutex_unlock(&page->token), 0);
    CHECK_EQ(atomic_load(word), 0);
    CHECK_EQ(pthread_mutex_trylock(&page->token), 0);
    CHECK_EQ(pthread_mutex_unlock(&page->token), 0);
    close_page();
}

TEST(one_that_lets_go_without_making_it_consistent_ruins_the_token)
{
    open_page();
    kill_and_reap(holder());
    CHECK_EQ(pthread_mutex_trylock(&page->token), EOWNERDEAD);
    CHECK_EQ(pthread_mutex_unlock(&page->token), 0);
    CHECK_EQ(pthread_mutex_trylock(&page->token), ENOTRECOVERABLE);
    close_page();
}

TEST(a_fork_child_holds_nothing_of_its_parent)
{
    pid_t pid;

    open_page();
    CHECK_EQ(pthread_mutex_trylock(&page->token), 0);
    pid = fork_checked();
    if (pid == 0) {
        struct robust_list_head *head = NULL;
        size_t size = 0;

        CHECK_EQ(syscall(SYS_get_robust_list, 0, &head, &size), 0);
        if (head != NULL)
            CHECK(head->list.next == &head->list);
        CHECK_EQ(pthread_mutex_trylock(&page->token), EBUSY);
        _exit(0);
    }
    reap_success(pid);
    CHECK_EQ(atomic_load(word), (uint32_t)gettid());
    CHECK_EQ(pthread_mutex_unlock(&page->token), 0);
    close_page();
}

/* Marks the word as waited for, and waits until the owner is gone. */
static void
wait_for_death(void)
{
    uint32_t value = atomic_load(word);

    while ((value & TOKEN_DIED) == 0) {
        if ((value & TOKEN_WAITERS) == 0 &&
            !atomic_compare_exchange_weak(word, &value, value | TOKEN_WAITERS))
            continue;
        futex_wait(AT(word), value | TOKEN_WAITERS, NULL);
        value = atomic_load(word);
    }
}

TEST(the_death_of_the_owner_wakes_a_sleeper_on_its_token)
{
    pid_t owner, sleeper;

    open_page();
    owner = holder();
    sleeper = fork_checked();
    if (sleeper == 0) {
        wait_for_death();
        _exit(0);
    }
    await_sleep_in(sleeper, SYS_futex);
    kill_and_reap(owner);
    reap_success(sleeper);
    /* The waiters bit stays; what is gone is the TID. */
    CHECK_EQ(atomic_load(word), TOKEN_DIED | TOKEN_WAITERS);
    close_page();
}

TEST(the_death_of_the_owner_wakes_only_one_of_two_sleepers)
{
    pid_t owner, first, second, got;

    open_page();
    owner = holder();
    first = fork_checked();
    if (first == 0) {
        wait_for_death();
        _exit(0);
    }
    await_sleep_in(first, SYS_futex);
    second = fork_checked();
    if (second == 0) {
        wait_for_death();
        _exit(0);
    }
    await_sleep_in(second, SYS_futex);
    kill_and_reap(owner);
    got = waitpid(-1, NULL, 0);
    CHECK(got == first || got == second);
    /* The other is still in the queue, and finds out only by this. */
    CHECK_EQ(futex_wake(AT(word), INT32_MAX), 1);
    reap_success(got == first ? second : first);
    close_page();
}

TEST(a_token_behind_2048_younger_robust_mutexes_is_not_marked)
{
    enum { YOUNGER = 2048 };

    pthread_mutex_t *younger;
    pid_t pid;
    int i;

    open_page();
    younger = shared_memory(YOUNGER * sizeof(*younger));
    for (i = 0; i < YOUNGER; i++)
        token_init(&younger[i]);
    pid = fork_checked();
    if (pid == 0) {
        int j;

        CHECK_EQ(pthread_mutex_trylock(&page->token), 0);
        for (j = 0; j < YOUNGER; j++)
            CHECK_EQ(pthread_mutex_trylock(&younger[j]), 0);
        _exit(0);
    }
    reap_success(pid);
    CHECK_EQ(pthread_mutex_trylock(&younger[YOUNGER - 1]), EOWNERDEAD);
    CHECK_EQ(atomic_load(word), (uint32_t)pid);
    munmap(younger, YOUNGER * sizeof(*younger));
    close_page();
}

TEST(a_token_holds_the_tid_as_the_owners_pid_namespace_counts_it)
{
    pid_t pid;

    open_page();
    pid = fork_checked();
    if (pid == 0) {
        pid_t first;

        if (unshare(CLONE_NEWPID) != 0)
            _exit(77);
        first = fork_checked();
        if (first == 0) {
            CHECK_EQ(pthread_mutex_trylock(&page->token), 0);
            CHECK_EQ(atomic_load(word), 1);
            _exit(0);
        }
        reap_success(first);
        CHECK_EQ(atomic_load(word), TOKEN_DIED);
        _exit(0);
    }
    {
        int status;

        CHECK_EQ(waitpid(pid, &status, 0), pid);
        close_page();
        if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
            SKIP("no right to make a pid namespace");
        CHECK(WIFEXITED(status));
        CHECK_EQ(WEXITSTATUS(status), 0);
    }
}
