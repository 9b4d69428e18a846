/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include <troupe/error.h>
#include <troupe/lock.h>
#include <troupe/scope.h>

#include "heap/member.h"
#include "os/task.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>

struct shared {
    struct troupe__birth birth;
    struct troupe__member_ref ref;
    struct troupe__member_ref mine;
    uint32_t flags[8];
    int32_t ends[2];
    pid_t orphan;
    troupe_scope *scope;
};

static struct shared *
new_shared(void)
{
    return unit_shared(sizeof(struct shared));
}

static struct troupe__member_ref
own_ref(void)
{
    struct troupe__slot *slot = unit_slot();
    struct troupe__member_ref ref = {slot->member, slot->member_generation};

    return ref;
}

/* Whether two references name the same member. */
static bool
is_same(struct troupe__member_ref a, struct troupe__member_ref b)
{
    return a.number == b.number && a.generation == b.generation;
}

TEST(member_root_has_a_record)
{
    struct troupe__member_ref ref = own_ref();
    const struct troupe__member *member = troupe__member_find(ref);
    int error = 0;

    CHECK(member != NULL);
    CHECK(troupe__member_self(&error) == member);
    CHECK(troupe__member_here() == member);
    CHECK_EQ(member->pid, getpid());
    CHECK_EQ(member->flags, TROUPE__MEMBER_ROOT);
    CHECK_STR(member->name, "MainProcess");
    CHECK_EQ(strncmp(member->program, "test_members", 12), 0);
    CHECK(!troupe__member_dead(ref));
    ref.generation++;
    CHECK(troupe__member_find(ref) == NULL);
    CHECK(troupe__member_dead(ref));
    ref.number = 0;
    CHECK(troupe__member_find(ref) == NULL);
    ref.number = UINT32_MAX;
    CHECK(troupe__member_find(ref) == NULL);
    CHECK(troupe__member_dead(ref));
}

static void
join_and_stay(void *argument)
{
    struct shared *s = argument;

    s->mine = own_ref();
    CHECK_EQ(troupe__member_here()->flags & TROUPE__MEMBER_ROOT, 0u);
    unit_raise(&s->flags[0]);
    unit_sleep_forever();
}

TEST(member_forked_without_ado_has_a_record_until_it_dies)
{
    struct shared *s = new_shared();
    pid_t pid = unit_fork(join_and_stay, s);

    unit_await(&s->flags[0], 1);
    CHECK(!is_same(s->mine, own_ref()));
    CHECK_EQ(troupe__member_find(s->mine)->pid, pid);
    CHECK_EQ(troupe__member_find(s->mine)->parent_pid, getpid());
    CHECK(!troupe__member_dead(s->mine));
    CHECK_EQ(unit_info().members, 2u);
    unit_kill(pid);
    CHECK(troupe__member_dead(s->mine));
    CHECK_EQ(unit_info().members, 1u);
    CHECK(troupe__member_find(s->mine) == NULL);
    CHECK(troupe__member_dead(s->mine));
}

static void
adopt_and_stay(void *argument)
{
    struct shared *s = argument;

    CHECK_RC(troupe__member_await(&s->birth), 0);
    CHECK_RC(troupe__member_adopt(&s->birth), 0);
    s->mine = own_ref();
    unit_raise(&s->flags[0]);
    unit_sleep_forever();
}

TEST(member_prepared_one_is_adopted)
{
    struct shared *s = new_shared();
    const struct troupe__member *member;
    pid_t pid;

    CHECK_RC(troupe__member_prepare("a name", TROUPE__MEMBER_DAEMON, &s->birth),
             0);
    s->ref = s->birth.member;
    CHECK(!troupe__member_dead(s->ref));
    CHECK_EQ(unit_info().members, 2u);
    CHECK(!troupe__member_dead(s->ref));
    pid = unit_fork(adopt_and_stay, s);
    troupe__member_started(s->ref, pid);
    unit_await(&s->flags[0], 1);
    CHECK(is_same(s->mine, s->ref));
    member = troupe__member_find(s->ref);
    CHECK_EQ(member->pid, pid);
    CHECK_STR(member->name, "a name");
    CHECK_EQ(member->flags, TROUPE__MEMBER_DAEMON);
    CHECK_EQ(member->parent_member, own_ref().number);
    CHECK_EQ(unit_info().members, 2u);
    unit_kill(pid);
    troupe__member_ended(s->ref);
    CHECK(troupe__member_find(s->ref) == NULL);
    CHECK_EQ(unit_info().members, 1u);
}

TEST(member_start_that_failed_is_taken_back)
{
    struct troupe__birth birth;
    struct troupe__member_ref first;
    struct troupe__member_ref second;

    CHECK_RC(troupe__member_prepare("first", 0, &birth), 0);
    first = birth.member;
    troupe__member_ended(first);
    CHECK(troupe__member_dead(first));
    CHECK_RC(troupe__member_prepare("second", 0, &birth), 0);
    second = birth.member;
    CHECK_EQ(second.number, first.number);
    CHECK_NE(second.generation, first.generation);
    troupe__member_ended(first); /* a second time: not the next one's */
    CHECK(!troupe__member_dead(second));
    troupe__member_ended(second);
}

/* A parent that starts a child and is gone before the child adopts. */
static void
start_and_die(void *argument)
{
    struct shared *s = argument;
    pid_t orphan;

    CHECK_RC(troupe__member_prepare("orphan", 0, &s->birth), 0);
    s->ref = s->birth.member;
    orphan = fork();
    if (orphan == 0) {
        unit_await(&s->flags[1], 1);
        CHECK_RC(troupe__member_adopt(&s->birth), -EPIPE);
        _exit(0);
    }
    s->orphan = orphan;
    unit_raise(&s->flags[0]);
    unit_sleep_forever();
}

static pid_t
fork_parent_of_orphan(struct shared *s)
{
    CHECK_EQ(prctl(PR_SET_CHILD_SUBREAPER, 1), 0); /* the orphan becomes ours */
    return unit_fork(start_and_die, s);
}

TEST(member_whose_parent_died_in_start_is_told_so)
{
    struct shared *s = new_shared();
    pid_t pid = fork_parent_of_orphan(s);

    unit_await(&s->flags[0], 1);
    CHECK(!troupe__member_dead(s->ref));
    unit_kill(pid);
    CHECK_EQ(unit_info().members, 1u);
    CHECK(troupe__member_dead(s->ref));
    unit_raise(&s->flags[1]);
    unit_join(s->orphan);
}

/* The same, when the record is somebody else's by then. */
TEST(member_whose_record_passed_on_does_not_take_it)
{
    struct shared *s = new_shared();
    pid_t pid = fork_parent_of_orphan(s);
    struct troupe__birth birth;
    struct troupe__member_ref next;

    unit_await(&s->flags[0], 1);
    unit_kill(pid);
    (void)unit_info();
    do {
        CHECK_RC(troupe__member_prepare("next", 0, &birth), 0);
        next = birth.member;
    } while (next.number != s->ref.number);
    CHECK_NE(next.generation, s->ref.generation);
    unit_raise(&s->flags[1]);
    unit_join(s->orphan);
    CHECK(troupe__member_find(next) != NULL);
    CHECK_STR(troupe__member_find(next)->name, "next");
    CHECK_EQ(troupe__member_find(next)->pid, 0);
}

static void
exec_with_a_scope(void *argument)
{
    struct shared *s = argument;
    char name[] = "cat";
    char *arguments[] = {name, NULL};

    CHECK_RC(troupe_scope_new(&s->scope), 0);
    CHECK(troupe_scope_alloc(s->scope, 100000) != NULL);
    s->mine = own_ref();
    CHECK_EQ(dup2(s->ends[0], STDIN_FILENO), STDIN_FILENO);
    (void)execv("/bin/cat", arguments);
    FAIL("execv: %s", strerror(errno));
}

/* Whether a process runs this program. */
static bool
runs(pid_t pid, const char *program)
{
    char path[64];
    char name[64] = "";
    FILE *file;

    (void)snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
    file = fopen(path, "re");
    CHECK(file != NULL);
    CHECK(fgets(name, sizeof(name), file) != NULL);
    (void)fclose(file);
    name[strcspn(name, "\n")] = '\0';
    return strcmp(name, program) == 0;
}

TEST(member_that_execs_has_left)
{
    struct shared *s = new_shared();
    struct timespec moment = {.tv_nsec = 100000};
    int ends[2];
    pid_t pid;

    CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
    s->ends[0] = ends[0];
    pid = unit_fork(exec_with_a_scope, s);
    while (!runs(pid, "cat"))
        (void)nanosleep(&moment, NULL);
    CHECK_EQ(unit_info().members, 1u);
    CHECK_EQ(unit_info().threads, 1u);
    CHECK_RC(troupe_scope_free(s->scope), -EINVAL);
    CHECK(troupe__member_find(s->mine) == NULL);
    CHECK_EQ(kill(pid, 0), 0);
    unit_kill(pid);
    (void)close(ends[0]);
    (void)close(ends[1]);
}

/* The family's threads of a process come and go; the process stays. */
static void *
join_for_a_moment(void *argument)
{
    struct shared *s = argument;

    s->mine = own_ref();
    if (s->scope == NULL)
        CHECK_RC(troupe_scope_new(&s->scope), 0);
    CHECK(troupe_scope_alloc(s->scope, 100) != NULL);
    return NULL;
}

static void
use_threads_only(void *argument)
{
    struct shared *s = argument;

    for (uint32_t i = 1; i <= 3; i++) {
        pthread_t thread;

        CHECK_EQ(pthread_create(&thread, NULL, join_for_a_moment, s), 0);
        CHECK_EQ(pthread_join(thread, NULL), 0);
        if (i == 1)
            s->ref = s->mine;
        CHECK(is_same(s->ref, s->mine));
        unit_raise(&s->flags[0]);
        unit_await(&s->flags[1], i);
    }
}

TEST(member_without_threads_keeps_its_scopes)
{
    struct shared *s = new_shared();
    pid_t pid = unit_fork(use_threads_only, s);

    for (uint32_t i = 1; i <= 3; i++) {
        unit_await(&s->flags[0], i);
        CHECK_EQ(unit_info().members, 2u);
        CHECK_EQ(unit_info().threads, 1u);
        CHECK_RC(troupe_scope_free(s->scope), -EXDEV);
        unit_raise(&s->flags[1]);
    }
    unit_join(pid);
    CHECK_EQ(unit_info().members, 1u);
    CHECK_RC(troupe_scope_free(s->scope), -EINVAL);
}

#if !defined(HARNESS_ASAN)
static void *
stay_in_a_thread(void *argument)
{
    struct shared *s = argument;

    (void)own_ref();
    unit_raise(&s->flags[0]);
    unit_await(&s->flags[1], 1);
    return NULL;
}

/* One thread of several leaves by the system call itself: the process lives. */
static void *
leave_abruptly(void *argument)
{
    struct shared *s = argument;

    (void)own_ref();
    unit_raise(&s->flags[2]);
    (void)syscall(SYS_exit, 0);
    return NULL;
}

static void
lose_a_thread(void *argument)
{
    struct shared *s = argument;
    pthread_t thread;
    pthread_t other;

    CHECK_EQ(pthread_create(&thread, NULL, stay_in_a_thread, s), 0);
    unit_await(&s->flags[0], 1);
    s->mine = own_ref();
    CHECK_EQ(pthread_create(&other, NULL, leave_abruptly, s), 0);
    CHECK_EQ(pthread_join(other, NULL), 0);
    unit_raise(&s->flags[3]);
    CHECK_EQ(pthread_join(thread, NULL), 0);
}

TEST(member_that_loses_one_thread_lives_on)
{
    struct shared *s = new_shared();
    pid_t pid = unit_fork(lose_a_thread, s);

    unit_await(&s->flags[3], 1);
    CHECK_EQ(unit_info().threads, 3u);
    CHECK_EQ(unit_info().members, 2u);
    CHECK(!troupe__member_dead(s->mine));
    unit_raise(&s->flags[1]);
    unit_join(pid);
    CHECK_EQ(unit_info().members, 1u);
}
#endif

static void
stop_myself(void *argument)
{
    struct shared *s = argument;
    const struct troupe__member *member;

    s->mine = own_ref();
    member = troupe__member_here();
    CHECK_EQ(member->stop & 1, 0u);
    unit_raise(&s->flags[0]);
    while ((troupe__load_acquire(&member->stop) & 1) == 0)
        (void)sched_yield();
}

TEST(member_is_asked_to_stop_and_the_next_of_its_record_is_not)
{
    struct shared *s = new_shared();
    struct troupe__member_ref old;
    pid_t pid = unit_fork(stop_myself, s);

    unit_await(&s->flags[0], 1);
    old = s->mine;
    troupe__member_stop(old);
    unit_join(pid);
    CHECK_EQ(unit_info().members, 1u);
    pid = unit_fork(stop_myself, s);
    unit_await(&s->flags[0], 2);
    CHECK_EQ(s->mine.number, old.number);
    troupe__member_stop(old);
    CHECK_EQ(troupe__member_find(s->mine)->stop & 1, 0u);
    troupe__member_stop(s->mine);
    unit_join(pid);
}

static void
come_and_go(void *unused)
{
    (void)unused;
    (void)own_ref();
}

TEST_TIMEOUT(member_records_do_not_run_out, 60)
{
    for (int i = 0; i < 600; i++)
        unit_join(unit_fork(come_and_go, NULL));
    CHECK_EQ(unit_info().members, 1u);
    CHECK_LE(troupe__family.heap->members_high, 4u);
    CHECK_LE(troupe__family.heap->slots_high, 4u);
}

TEST(member_maps_of_a_process_are_read_right)
{
    struct troupe__file_id other;
    struct shared *s = new_shared();
    pid_t pid = unit_fork(join_and_stay, s);

    other = troupe__family.file;
    other.inode++;
    unit_await(&s->flags[0], 1);
    CHECK(troupe__task_maps(getpid(), &troupe__family.file));
    CHECK(troupe__task_maps(pid, &troupe__family.file));
    CHECK(!troupe__task_maps(pid, &other));
    unit_kill_only(pid);
    CHECK(troupe__task_maps(pid, &other)); /* a zombie: cannot tell */
    unit_reap(pid);
    CHECK(troupe__task_maps(pid, &other));
}
