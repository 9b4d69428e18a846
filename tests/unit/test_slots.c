/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include <troupe/error.h>
#include <troupe/lock.h>
#include <troupe/scope.h>

#include "heap/member.h"

#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <sys/stat.h>

struct shared {
    troupe_lock lock;
    troupe_lock gate;
    uint32_t flags[8];
    struct troupe__slot *slots[128];
    uint64_t tags[128];
    int32_t pids[4];
    uint64_t namespaces[4];
};

static struct shared *
new_shared(void)
{
    return unit_shared(sizeof(struct shared));
}

static void
join_and_stay(void *argument)
{
    struct shared *s = argument;

    s->slots[0] = unit_slot();
    s->tags[0] = troupe__thread_self->tag;
    unit_raise(&s->flags[0]);
    unit_sleep_forever();
}

TEST(slot_says_who_lives_in_it)
{
    struct shared *s = new_shared();
    struct troupe__slot *mine = unit_slot();
    pid_t pid = unit_fork(join_and_stay, s);

    unit_await(&s->flags[0], 1);
    CHECK(s->slots[0] != mine);
    CHECK_EQ(mine->pid, getpid());
    CHECK_EQ(s->slots[0]->pid, pid);
    CHECK_EQ(s->slots[0]->tid, pid);
    CHECK(troupe__token_alive(*troupe__slot_token(s->slots[0])));
    CHECK(!troupe__tag_dead(s->tags[0]));
    CHECK(!troupe__slot_verify(s->tags[0]));
    CHECK_EQ(unit_info().threads, 2u);
    unit_kill(pid);
    CHECK(troupe__tag_dead(s->tags[0]));
    CHECK_EQ(unit_info().threads, 1u);
    CHECK(troupe__tag_dead(s->tags[0]));
    CHECK(!troupe__tag_dead(troupe__thread_self->tag));
}

TEST(slot_is_used_again_with_another_generation)
{
    struct shared *s = new_shared();
    struct troupe__slot *first = NULL;
    uint64_t tags[20];

    (void)unit_slot();
    for (uint32_t i = 0; i < 20; i++) {
        pid_t pid = unit_fork(join_and_stay, s);

        unit_await(&s->flags[0], i + 1);
        if (i == 0)
            first = s->slots[0];
        CHECK(s->slots[0] == first);
        tags[i] = s->tags[0];
        for (uint32_t j = 0; j < i; j++) {
            CHECK_NE(tags[j], tags[i]);
            CHECK(troupe__tag_dead(tags[j]));
        }
        CHECK(!troupe__tag_dead(tags[i]));
        unit_kill(pid);
    }
}

TEST(slot_what_is_no_tag_counts_as_dead)
{
    static const uint64_t words[] = {
        0,
        1,
        TROUPE__TAG_MARK,
        TROUPE__TAG_MARK | TROUPE__TAG_SLOT,
        TROUPE__TAG_MARK | 0x2000,
        UINT64_MAX & ~TROUPE__TAG_MARK,
        UINT64_MAX,
    };

    (void)unit_slot();
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        CHECK(troupe__tag_dead(words[i]));
    /* a wild watermark does not lead out of the table */
    troupe__family.heap->slots_high = UINT32_MAX;
    CHECK(troupe__tag_dead(TROUPE__TAG_MARK | (TROUPE__SLOTS + 1)));
    CHECK(troupe__tag_dead(TROUPE__TAG_MARK | TROUPE__TAG_SLOT));
}

static void *
thread_in_a_slot(void *argument)
{
    struct shared *s = argument;
    uint32_t me = __atomic_fetch_add(&s->flags[1], 1u, __ATOMIC_SEQ_CST);
    void *block = troupe_alloc(64);

    CHECK(block != NULL);
    s->slots[me] = unit_slot();
    s->tags[me] = troupe__thread_self->tag;
    CHECK_RC(troupe_free(block), 0);
    unit_raise(&s->flags[0]);
    unit_await(&s->flags[2], 1);
    return NULL;
}

TEST(slot_of_a_thread_that_ended_is_free)
{
    struct shared *s = new_shared();
    pthread_t threads[100];

    for (int round = 0; round < 2; round++) {
        memset(s->flags, 0, sizeof(s->flags));
        for (size_t i = 0; i < 100; i++)
            CHECK_EQ(pthread_create(&threads[i], NULL, thread_in_a_slot, s), 0);
        unit_await(&s->flags[0], 100);
        CHECK_EQ(unit_info().threads, 101u);
        CHECK_EQ(unit_info().members, 1u);
        for (size_t i = 0; i < 100; i++)
            for (size_t j = 0; j < i; j++)
                CHECK(s->slots[i] != s->slots[j]);
        unit_raise(&s->flags[2]);
        for (size_t i = 0; i < 100; i++)
            CHECK_EQ(pthread_join(threads[i], NULL), 0);
        CHECK_EQ(unit_info().threads, 1u);
        for (size_t i = 0; i < 100; i++) {
            CHECK(troupe__tag_dead(s->tags[i]));
            CHECK_EQ(*troupe__slot_token(s->slots[i]), 0u);
            for (size_t c = 0; c < TROUPE__CLASSES; c++)
                CHECK_EQ(s->slots[i]->magazine_count[c], 0u);
        }
    }
    CHECK_LE(troupe__family.heap->slots_high, 112u);
}

TEST(slot_child_of_a_fork_has_none_of_its_parents)
{
    uint64_t tag;
    struct troupe__slot *mine = unit_slot();
    pid_t pid;

    tag = troupe__thread_self->tag;
    pid = fork();
    CHECK_GE(pid, 0);
    if (pid == 0) {
        CHECK_EQ(troupe__thread_self->tag, 0u);
        CHECK(unit_slot() != mine);
        CHECK_NE(troupe__thread_self->tag, tag);
        CHECK(!troupe__tag_dead(tag));
        _exit(0);
    }
    unit_join(pid);
    CHECK_EQ(troupe__thread_self->tag, tag);
    CHECK(!troupe__tag_dead(tag));
}

#if !defined(HARNESS_ASAN)
/* The C library does not know of such a child: its tokens would be worthless,
 * and its list of robust mutexes is tangled with the parent's. */
TEST(slot_child_of_a_raw_clone_is_refused)
{
    struct troupe__slot *mine = unit_slot();
    unsigned char before[sizeof(mine->token)];
    pid_t pid;

    memcpy(before, &mine->token, sizeof(before));
    pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    CHECK_GE(pid, 0);
    if (pid == 0) {
        int good = troupe_alloc(10) == NULL && errno == ENOTSUP;

        _exit(good ? 0 : 1);
    }
    unit_join(pid);
    CHECK_MEM(&mine->token, before, sizeof(before));
    CHECK(troupe_alloc(10) != NULL);
}
#endif

TEST(slot_table_that_is_full)
{
    struct shared *s = new_shared();
    uint64_t *ranges = troupe__family.heap->range_namespace;
    uint64_t mine = ranges[0];
    pthread_t thread;
    pid_t pid;

    CHECK_NE(mine, 0u);
    /* as if every other range, and the rest of this one, were taken */
    for (uint32_t i = 0; i < TROUPE__RANGES; i++)
        ranges[i] = mine + 1;
    pid = fork();
    CHECK_GE(pid, 0);
    if (pid == 0) {
        troupe_scope *scope;
        troupe_lock lock = {0};

        errno = 0;
        CHECK(troupe_alloc(1) == NULL);
        CHECK_EQ(errno, EUSERS);
        CHECK(strstr(troupe_error_detail(), "8192") != NULL);
        CHECK_RC(troupe_lock_acquire(&lock, TROUPE_FOREVER), -EUSERS);
        CHECK_RC(troupe_scope_new(&scope), -EUSERS);
        CHECK_RC(troupe_free(s), -EUSERS);
        _exit(0);
    }
    unit_join(pid);
    /* who has a slot goes on */
    CHECK(troupe_alloc(1) != NULL);
    ranges[TROUPE__RANGES - 1] = mine;
    CHECK_EQ(pthread_create(&thread, NULL, thread_in_a_slot, s), 0);
    unit_await(&s->flags[0], 1);
    CHECK_GE(s->slots[0],
             troupe__slot_at((TROUPE__RANGES - 1) * TROUPE__RANGE_SLOTS));
    unit_raise(&s->flags[2]);
    CHECK_EQ(pthread_join(thread, NULL), 0);
}

static void
fail_to_join_often(void *argument)
{
    struct shared *s = argument;
    unsigned long before = 0;

    for (int i = 0; i < 300; i++) {
        char line[256];
        unsigned long size = 0;
        FILE *file;

        CHECK(troupe_alloc(1) == NULL);
        if (i != 100 && i != 299)
            continue;
        file = fopen("/proc/self/statm", "re");
        CHECK(file != NULL);
        CHECK(fgets(line, sizeof(line), file) != NULL);
        CHECK_EQ(sscanf(line, "%lu", &size), 1);
        (void)fclose(file);
        if (i == 100)
            before = size;
        else
            CHECK_LE(size, before + 20);
    }
    (void)s;
}

TEST(slot_that_cannot_be_had_costs_no_memory)
{
    struct shared *s = new_shared();
    uint64_t *ranges = troupe__family.heap->range_namespace;

    for (uint32_t i = 0; i < TROUPE__RANGES; i++)
        ranges[i] = ranges[i] + 1;
    unit_join(unit_fork(fail_to_join_often, s));
}

static void *
join_at_the_gate(void *argument)
{
    struct shared *s = argument;

    unit_raise(&s->flags[0]);
    unit_await(&s->flags[1], 1);
    CHECK(unit_slot() != NULL);
    unit_raise(&s->flags[2]);
    unit_await(&s->flags[3], 1);
    return NULL;
}

static void
threads_join_at_once(void *argument)
{
    struct shared *s = argument;
    pthread_t threads[8];

    for (size_t i = 0; i < 8; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, join_at_the_gate, s), 0);
    unit_await(&s->flags[0], 8);
    unit_raise(&s->flags[1]);
    unit_await(&s->flags[2], 8);
    CHECK_EQ(unit_info().members, 2u);
    CHECK_EQ(unit_info().threads, 10u);
    unit_raise(&s->flags[3]);
    for (size_t i = 0; i < 8; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
}

TEST(slot_threads_that_join_at_once_are_one_member)
{
    for (int round = 0; round < 30; round++) {
        struct shared *s = new_shared();

        unit_join(unit_fork(threads_join_at_once, s));
        CHECK_EQ(unit_info().members, 1u);
        CHECK_EQ(unit_info().threads, 1u);
    }
}

static void
hold_and_stay(void *argument)
{
    struct shared *s = argument;

    CHECK_RC(troupe_lock_acquire(&s->lock, TROUPE_FOREVER), 0);
    join_and_stay(s);
}

/* In a pid namespace of its own: a process that is known there by the number
 * that the lock's holder has outside, waits for the lock and is killed. */
static void
collide(void *argument)
{
    struct shared *s = argument;
    int32_t holder = s->pids[0];
    int status;
    pid_t init;

    if (unshare(CLONE_NEWPID) != 0)
        _exit(77);
    init = fork();
    CHECK_GE(init, 0);
    if (init == 0) {
        char text[32];
        pid_t pid;
        int fd = open("/proc/sys/kernel/ns_last_pid", O_WRONLY | O_CLOEXEC);

        (void)snprintf(text, sizeof(text), "%d", holder - 1);
        if (fd < 0 || write(fd, text, strlen(text)) < 0)
            _exit(77);
        (void)close(fd);
        pid = fork();
        CHECK_GE(pid, 0);
        if (pid == 0) {
            s->slots[1] = unit_slot();
            s->tags[1] = troupe__thread_self->tag;
            s->pids[1] = getpid();
            unit_raise(&s->flags[1]);
            CHECK_RC(troupe_lock_acquire(&s->lock, TROUPE_FOREVER), -EIO);
            _exit(1);
        }
        unit_await(&s->flags[1], 1);
        unit_await_waiter(s->slots[1], TROUPE__KIND_LOCK);
        CHECK_EQ(kill(pid, SIGKILL), 0);
        CHECK_EQ(waitpid(pid, NULL, 0), pid);
        _exit(0);
    }
    CHECK_EQ(waitpid(init, &status, 0), init);
    _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
}

TEST(slot_same_number_in_another_pid_namespace_is_another_thread)
{
    for (uint32_t round = 0; round < 5; round++) {
        struct shared *s = new_shared();
        pid_t holder = unit_fork(hold_and_stay, s);
        pid_t other;
        int status;

        unit_await(&s->flags[0], 1);
        s->pids[0] = holder;
        other = unit_fork(collide, s);
        CHECK_EQ(waitpid(other, &status, 0), other);
        CHECK(WIFEXITED(status));
        if (WEXITSTATUS(status) == 77) {
            unit_kill(holder);
            SKIP("no right to make a pid namespace or to choose a pid");
        }
        CHECK_EQ(WEXITSTATUS(status), 0);
        CHECK_EQ(s->pids[1], holder);
        CHECK_NE((s->slots[0] - troupe__slot_at(0)) / TROUPE__RANGE_SLOTS,
                 (s->slots[1] - troupe__slot_at(0)) / TROUPE__RANGE_SLOTS);
        CHECK(troupe__tag_dead(s->tags[1]));
        CHECK(!troupe__tag_dead(s->tags[0]));
        CHECK_RC(troupe_lock_acquire(&s->lock, TROUPE_NOW), -ETIMEDOUT);
        CHECK_RC(troupe_lock_acquire(&s->lock, troupe_after(0.06)), -ETIMEDOUT);
        unit_kill(holder);
        CHECK_RC(troupe_lock_acquire(&s->lock, TROUPE_FOREVER),
                 TROUPE_OWNER_DIED);
        CHECK_RC(troupe_lock_release(&s->lock), 0);
    }
}

/* A member of another pid namespace whose only thread in the family has left
 * in order, is still there. */
static void *
join_and_leave(void *argument)
{
    struct shared *s = argument;

    CHECK(unit_slot() != NULL);
    s->flags[4] = unit_slot()->member;
    return NULL;
}

static void
live_on_without_threads(void *argument)
{
    struct shared *s = argument;
    int status;
    pid_t init;

    if (unshare(CLONE_NEWPID) != 0)
        _exit(77);
    init = fork();
    CHECK_GE(init, 0);
    if (init == 0) {
        troupe_scope *scope;
        pthread_t thread;

        CHECK_EQ(pthread_create(&thread, NULL, join_and_leave, s), 0);
        CHECK_EQ(pthread_join(thread, NULL), 0);
        unit_raise(&s->flags[0]);
        unit_await(&s->flags[1], 1);
        /* the same member as before */
        CHECK_EQ(unit_slot()->member, s->flags[4]);
        CHECK_RC(troupe_scope_new(&scope), 0);
        unit_raise(&s->flags[2]);
        unit_sleep_forever();
    }
    unit_await(&s->flags[3], 1);
    CHECK_EQ(kill(init, SIGKILL), 0);
    CHECK_EQ(waitpid(init, &status, 0), init);
}

TEST(slot_member_of_another_pid_namespace_may_come_back)
{
    struct shared *s = new_shared();
    pid_t pid = unit_fork(live_on_without_threads, s);
    struct timespec bound = {.tv_nsec = 1000000};
    siginfo_t info = {.si_pid = 0};

    while (s->flags[0] == 0) {
        CHECK_EQ(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT),
                 0);
        if (info.si_pid != 0) {
            unit_reap(pid);
            SKIP("no right to make a pid namespace");
        }
        (void)nanosleep(&bound, NULL);
    }
    for (int i = 0; i < 3; i++)
        CHECK_EQ(unit_info().members, 2u);
    unit_raise(&s->flags[1]);
    unit_await(&s->flags[2], 1);
    CHECK_EQ(unit_info().members, 2u);
    unit_raise(&s->flags[3]);
    unit_join(pid);
    CHECK_EQ(unit_info().members, 1u);
}

static void *
join_the_family_and_stay(void *argument)
{
    struct shared *s = argument;

    s->slots[1] = unit_slot();
    unit_raise(&s->flags[0]);
    unit_sleep_forever();
    return NULL;
}

static void
hold_the_lock_beside_a_thread(void *argument)
{
    struct shared *s = argument;
    pthread_t thread;

    CHECK_RC(troupe_lock_acquire(&s->lock, TROUPE_FOREVER), 0);
    s->slots[0] = unit_slot();
    s->tags[0] = troupe__thread_self->tag;
    s->pids[0] = getpid();
    CHECK_EQ(pthread_create(&thread, NULL, join_the_family_and_stay, s), 0);
    unit_sleep_forever();
}

/* The parent gives the child's record up when it has joined it, and of the
 * child's slots it looks at one only. */
TEST(slot_of_a_joined_process_still_has_its_name)
{
    struct shared *s = new_shared();
    struct troupe__member_ref child;
    troupe_obituary obituary;
    pid_t pid;

    (void)unit_slot();
    pid = unit_fork(hold_the_lock_beside_a_thread, s);
    unit_await(&s->flags[0], 1);
    child.number = s->slots[0]->member;
    child.generation = s->slots[0]->member_generation;
    unit_kill(pid);
    troupe__member_ended(child);
    CHECK(troupe__member_find(child) == NULL);
    CHECK_EQ(s->slots[0]->member, child.number); /* not recovered yet */
    CHECK_RC(troupe_lock_acquire(&s->lock, TROUPE_FOREVER), TROUPE_OWNER_DIED);
    for (int i = 0; i < 2; i++) {
        CHECK_RC(troupe_lock_obituary(&s->lock, &obituary), 0);
        CHECK_EQ(obituary.pid, pid);
        CHECK_EQ(obituary.tid, pid);
        CHECK_STR(obituary.name, "MainProcess");
        (void)troupe__slots_recover();
        CHECK_EQ(s->slots[0]->member, 0u);
    }
}
