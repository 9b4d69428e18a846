/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Deaths while somebody keeps the directory's lock, for long or for ever: what
 * cannot be settled now is settled later, all of it and once.
 */
#include "unit.h"

#include <troupe/queue.h>

#include "heap/alloc.h"
#include "heap/directory.h"
#include "heap/member.h"
#include "heap/pages.h"
#include "heap/slab.h"
#include "ipc/queue.h"
#include "os/fault.h"

struct shared {
    uint32_t flags[8];
    struct troupe__slot *slots[4];
    uint64_t tags[4];
    troupe_queue *queue;
};

static struct shared *
new_shared(void)
{
    struct shared *s = unit_shared(sizeof(*s));

    CHECK_RC(troupe_queue_new(&s->queue, NULL), 0);
    return s;
}

static void
keep(void *argument)
{
    struct shared *s = argument;

    (void)unit_slot();
    CHECK(troupe__directory_lock(troupe__thread_self));
    unit_raise(&s->flags[0]);
    unit_await(&s->flags[1], 1);
    troupe__directory_unlock(troupe__thread_self);
}

static pid_t
keeper(struct shared *s)
{
    pid_t pid;

    (void)unit_slot();
    s->flags[0] = s->flags[1] = 0;
    pid = unit_fork(keep, s);
    unit_await(&s->flags[0], 1);
    return pid;
}

static void
keeper_ends(struct shared *s, pid_t pid)
{
    unit_raise(&s->flags[1]);
    unit_join(pid);
}

/* Bytes of the arena in use by anything but this thread's cache. */
static uint64_t
used(void)
{
    struct troupe__slot *slot = unit_slot();
    uint64_t free_bytes;
    uint64_t bytes;

    (void)unit_info();
    troupe__slab_recover(troupe__thread_self, slot, troupe__thread_self->index);
    troupe__pages_count(troupe__thread_self, &bytes, &free_bytes);
    return bytes - free_bytes;
}

static void
child_joins(struct shared *s, unsigned number)
{
    s->slots[number] = unit_slot();
    s->tags[number] = troupe__thread_self->tag;
    unit_raise(&s->flags[2]);
}

static void
reap_killed(pid_t pid)
{
    int status;

    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFSIGNALED(status));
}

static bool
is_settled(const struct shared *s, unsigned number)
{
    return s->slots[number]->generation != (uint32_t)(s->tags[number] >> 32);
}

static uint64_t
lost(const struct shared *s)
{
    troupe_queue_info info = {.size = sizeof(info)};

    CHECK_RC(troupe_queue_info_get(s->queue, &info), 0);
    return info.lost;
}

/* At the end of a delivery, which the begin has written to the slot. */
static void
die_delivered(const volatile void *address)
{
    const struct troupe__slot *slot = troupe__thread_self->slot;

    if (address == &slot->queue && slot->queue != 0)
        (void)raise(SIGKILL);
}

static void
dies_after_its_commit(struct shared *s, unsigned number)
{
    pid_t pid = fork();

    if (pid == 0) {
        unsigned char byte;
        size_t size = 1;

        child_joins(s, number);
        troupe__shim_atomic_hook = die_delivered;
        _exit(troupe_queue_get(s->queue, &byte, &size, TROUPE_NOW) == 0);
    }
    reap_killed(pid);
}

static void
newcomer(void *argument)
{
    struct shared *s = argument;

    child_joins(s, 2);
}

TEST(recovery_counts_what_died_with_a_consumer_when_it_can)
{
    struct shared *s = new_shared();
    unsigned i;
    pid_t pid;

    for (i = 0; i < 3; i++)
        CHECK_RC(troupe_queue_put(s->queue, "x", 1, TROUPE_NOW), 0);
    pid = keeper(s);
    dies_after_its_commit(s, 0);
    for (i = 0; i < 2; i++)
        CHECK_EQ(troupe__slots_recover(), 0u);
    CHECK(troupe__tag_dead(s->tags[0]));
    CHECK(!is_settled(s, 0));
    /* Its slot is nobody else's meanwhile; nor is one that a newcomer could not
     * settle. */
    dies_after_its_commit(s, 1);
    CHECK(s->slots[1] != s->slots[0]);
    unit_join(unit_fork(newcomer, s));
    CHECK(s->slots[2] != s->slots[0]);
    CHECK(s->slots[2] != s->slots[1]);
    CHECK(troupe__tag_dead(s->tags[1]));
    CHECK(troupe__tag_dead(s->tags[2]));
    CHECK_EQ(lost(s), 0u);
    keeper_ends(s, pid);
    (void)troupe__slots_recover();
    CHECK_EQ(lost(s), 2u);
    for (i = 0; i < 3; i++) {
        CHECK(is_settled(s, i));
        CHECK(s->slots[i]->queue == 0);
    }
    CHECK_EQ(troupe__slots_recover(), 0u);
    CHECK_EQ(lost(s), 2u);
    CHECK_EQ(unit_info().threads, 1u);
    CHECK_EQ(unit_info().members, 1u);
    CHECK_EQ(troupe_queue_qsize(s->queue), 1u);
    troupe_queue_free(s->queue);
}

static uint64_t points_left;

static void
die_at_a_point(const volatile void *address)
{
    (void)address;
    if (--points_left == 0)
        (void)raise(SIGKILL);
}

/* Who begins anew with what was left unsettled may die in that as well. */
TEST_TIMEOUT(recovery_begun_anew_and_killed_anywhere_is_finished_by_the_next,
             120)
{
    uint64_t before = 0;
    uint64_t point = 1;
    int status;

    do {
        struct shared *s = new_shared();
        pid_t pid = keeper(s);
        pid_t recoverer;

        CHECK_RC(troupe_queue_put(s->queue, "x", 1, TROUPE_NOW), 0);
        dies_after_its_commit(s, 0);
        CHECK_EQ(troupe__slots_recover(), 0u);
        CHECK(!is_settled(s, 0));
        keeper_ends(s, pid);
        recoverer = fork();
        if (recoverer == 0) {
            /* Joining recovers. */
            points_left = point;
            troupe__shim_atomic_hook = die_at_a_point;
            (void)unit_slot();
            troupe__shim_atomic_hook = NULL;
            _exit(0);
        }
        CHECK_EQ(waitpid(recoverer, &status, 0), recoverer);
        (void)troupe__slots_recover();
        CHECK(is_settled(s, 0));
        CHECK_EQ(lost(s), 1u);
        CHECK_EQ(unit_info().threads, 1u);
        CHECK_EQ(unit_info().members, 1u);
        troupe_queue_free(s->queue);
        CHECK_RC(troupe_free(s), 0);
        if (before == 0)
            before = used();
        CHECK_EQ(used(), before);
        point += 1 + point / 8;
    } while (!WIFEXITED(status));
    CHECK_GT(point, 200u);
}

static struct shared *scene;

/* Behind the count, before the slot says that it was made. */
static void
die_when_counted(const volatile void *address)
{
    if (address == &scene->slots[0]->queue && scene->queue->lost != 0)
        (void)raise(SIGKILL);
}

/* Joins as one that is killed by the hook. */
static int
join_to_the_hook(struct shared *s, void (*hook)(const volatile void *))
{
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        scene = s;
        troupe__shim_atomic_hook = hook;
        s->slots[1] = unit_slot();
        troupe__shim_atomic_hook = NULL;
        _exit(0);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    return status;
}

static void
check_counted_once(struct shared *s, uint64_t *before)
{
    (void)troupe__slots_recover();
    CHECK(is_settled(s, 0));
    CHECK_EQ(lost(s), 1u);
    CHECK_EQ(unit_info().threads, 1u);
    CHECK_EQ(unit_info().members, 1u);
    troupe_queue_free(s->queue);
    CHECK_RC(troupe_free(s), 0);
    if (*before == 0)
        *before = used();
    CHECK_EQ(used(), *before);
}

/* A newcomer takes a dead thread's slot before it can settle what the dead one
 * left; what it was killed in is done in the dead one's name by the next. */
TEST_TIMEOUT(newcomers_killed_anywhere_count_once_what_their_slot_lost, 120)
{
    uint64_t before = 0;
    uint64_t point = 1;
    struct shared *s = new_shared();
    int status;

    CHECK_RC(troupe_queue_put(s->queue, "x", 1, TROUPE_NOW), 0);
    dies_after_its_commit(s, 0);
    CHECK(WIFSIGNALED(join_to_the_hook(s, die_when_counted)));
    CHECK(WIFSIGNALED(join_to_the_hook(s, die_when_counted)));
    check_counted_once(s, &before);
    do {
        s = new_shared();
        CHECK_RC(troupe_queue_put(s->queue, "x", 1, TROUPE_NOW), 0);
        dies_after_its_commit(s, 0);
        points_left = point;
        (void)join_to_the_hook(s, die_at_a_point);
        points_left = point + point / 2;
        status = join_to_the_hook(s, die_at_a_point);
        if (WIFEXITED(status))
            CHECK(s->slots[1] == s->slots[0]);
        check_counted_once(s, &before);
        point += 1 + point / 20;
    } while (!WIFEXITED(status));
    CHECK_GT(point, 100u);
}

static troupe_queue *growing;

static void
die_when_grown(const volatile void *address)
{
    (void)address;
    if (growing->parties.next != 0)
        (void)raise(SIGKILL);
}

TEST(recovery_gives_the_queue_its_table_before_it_frees_what_was_held)
{
    struct troupe__member_ref member = {1, 1000};
    struct shared *s = new_shared();
    struct troupe__parties *table;
    pid_t pid = keeper(s);
    pid_t child;
    unsigned i;

    for (i = 0; i < TROUPE__PARTIES; i++, member.generation++)
        CHECK_RC(troupe__queue_declare(s->queue, TROUPE_QUEUE_PUT, member), 0);
    child = fork();
    if (child == 0) {
        child_joins(s, 0);
        growing = s->queue;
        troupe__shim_atomic_hook = die_when_grown;
        (void)troupe__queue_declare(s->queue, TROUPE_QUEUE_PUT, member);
        _exit(1);
    }
    reap_killed(child);
    CHECK_EQ(troupe__slots_recover(), 0u);
    table = troupe__family_at(s->queue->parties.next);
    CHECK_EQ(troupe__block_owner(table), troupe__owner_held(s->slots[0]));
    keeper_ends(s, pid);
    (void)troupe__slots_recover();
    CHECK_EQ(troupe__block_owner(table), troupe__owner_held(s->queue));
    CHECK_RC(troupe__queue_declare(s->queue, TROUPE_QUEUE_PUT, member), 0);
    CHECK_NE(table->cells[0], 0u);
    troupe_queue_free(s->queue);
}

static void
attach_and_stay(void *argument)
{
    struct shared *s = argument;

    child_joins(s, 0);
    CHECK_RC(troupe_queue_attach_producer(s->queue), 0);
    unit_raise(&s->flags[3]);
    unit_sleep_forever();
}

static void
check_has_producer(const struct shared *s, struct troupe__member_ref member)
{
    CHECK(troupe__member_find(member) != NULL);
    CHECK(troupe__member_dead(member));
    CHECK_NE(s->queue->parties.cells[0] & UINT32_MAX, 0u);
    CHECK_EQ(s->queue->flags & TROUPE__QUEUE_PRODUCERS_GONE, 0u);
}

/* The parent settles what its child has left, or whoever comes next. */
static void
record_stays(void (*end)(struct troupe__member_ref))
{
    struct shared *s = new_shared();
    struct troupe__member_ref member;
    pid_t child = unit_fork(attach_and_stay, s);
    unsigned char byte;
    size_t size = 1;
    pid_t pid;

    unit_await(&s->flags[3], 1);
    member.number = s->slots[0]->member;
    member.generation = s->slots[0]->member_generation;
    pid = keeper(s);
    unit_kill(child);
    end(member);
    check_has_producer(s, member);
    end(member);
    check_has_producer(s, member);
    keeper_ends(s, pid);
    end(member);
    (void)troupe__slots_recover();
    CHECK(troupe__member_find(member) == NULL);
    CHECK_RC(troupe_queue_get(s->queue, &byte, &size, TROUPE_NOW), -EPIPE);
    CHECK_EQ(unit_info().members, 1u);
    troupe_queue_free(s->queue);
}

static void
end_by_anybody(struct troupe__member_ref member)
{
    (void)member;
    (void)troupe__slots_recover();
}

TEST(recovery_keeps_a_record_until_it_is_settled)
{
    record_stays(end_by_anybody);
    record_stays(troupe__member_ended);
}

static void *
thread_comes_and_goes(void *argument)
{
    struct shared *s = argument;

    child_joins(s, 0);
    CHECK_RC(troupe_free(troupe_alloc(100)), 0);
    return NULL;
}

TEST(recovery_of_a_thread_that_could_not_settle)
{
    struct shared *s = new_shared();
    uint64_t before = used();
    pid_t pid = keeper(s);
    pthread_t thread;

    CHECK_EQ(pthread_create(&thread, NULL, thread_comes_and_goes, s), 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK(troupe__tag_dead(s->tags[0]));
    CHECK(!is_settled(s, 0));
    keeper_ends(s, pid);
    CHECK_EQ(used(), before);
    CHECK(is_settled(s, 0));
    CHECK_EQ(unit_info().threads, 1u);
    troupe_queue_free(s->queue);
}

static void
free_the_queue(void *argument)
{
    struct shared *s = argument;

    child_joins(s, 0);
    troupe_queue_free(s->queue);
}

TEST(recovery_frees_a_queue_that_could_not_be_freed)
{
    unsigned char byte = 0;
    uint64_t before = 0;
    unsigned i;

    for (i = 0; i < 3; i++) {
        struct shared *s = new_shared();
        pid_t pid = keeper(s);

        CHECK_RC(troupe_queue_put(s->queue, &byte, 1, TROUPE_NOW), 0);
        unit_join(unit_fork(free_the_queue, s));
        CHECK_NE(troupe__block_owner(s->queue), 0u);
        keeper_ends(s, pid);
        (void)troupe__slots_recover();
        CHECK_EQ(troupe__block_owner(s->queue), 0u);
        CHECK_RC(troupe_free(s), 0);
        if (i == 0)
            before = used();
        CHECK_EQ(used(), before);
    }
}

static unsigned pages_freed;

/* Nobody waits for the directory meanwhile. */
static void
check_directory(const volatile void *address)
{
    const struct troupe__heap *heap = troupe__family.heap;

    if (address != &heap->pages.lock.word)
        return;
    pages_freed++;
    CHECK_EQ(heap->directory_lock.word, 0u);
}

TEST(recovery_does_not_wait_for_a_large_queue_to_be_freed)
{
    troupe_queue_options options = {.size = sizeof(options),
                                    .max_bytes = UINT64_C(8) << 20};
    static unsigned char large[2 << 20];
    troupe_queue *queue;
    unsigned i;

    CHECK_RC(troupe_queue_new(&queue, &options), 0);
    for (i = 0; i < 3; i++)
        CHECK_RC(troupe_queue_put(queue, large, sizeof(large), TROUPE_NOW), 0);
    troupe__shim_atomic_hook = check_directory;
    troupe_queue_free(queue);
    troupe__shim_atomic_hook = NULL;
    CHECK_GE(pages_freed, 4u);
}

/* A start that is finished, and whose thread ends, between two looks. */
static struct troupe__birth birth;
static uint32_t start_flags[2];
static pthread_t starter;

static void *
starts_and_ends(void *argument)
{
    (void)argument;
    CHECK_RC(troupe__member_prepare("child", 0, &birth), 0);
    unit_raise(&start_flags[0]);
    unit_await(&start_flags[1], 1);
    troupe__member_started(birth.member, getpid()); /* one that lives */
    return NULL;
}

static void
finish_the_start(const volatile void *address)
{
    if (address != troupe__slot_token(troupe__slot_at(
                       (uint32_t)(birth.parent_tag & TROUPE__TAG_SLOT) - 1)))
        return;
    troupe__shim_atomic_hook = NULL;
    unit_raise(&start_flags[1]);
    CHECK_EQ(pthread_join(starter, NULL), 0);
}

TEST(recovery_takes_no_child_for_dead_whose_start_has_just_ended)
{
    (void)unit_slot();
    CHECK_EQ(pthread_create(&starter, NULL, starts_and_ends, NULL), 0);
    unit_await(&start_flags[0], 1);
    CHECK(!troupe__member_dead(birth.member));
    troupe__shim_atomic_hook = finish_the_start;
    CHECK(!troupe__member_dead(birth.member));
    CHECK_EQ(start_flags[1], 1u);
    CHECK(troupe__tag_dead(birth.parent_tag));
    (void)troupe__slots_recover();
    CHECK(troupe__member_find(birth.member) != NULL);
    troupe__member_ended(birth.member);
    CHECK(troupe__member_find(birth.member) == NULL);
}

/* Who has proved a stay dead is held up until the slot's next one has been
 * left unsettled. */
static struct shared *held_up;

static void
join_and_sleep(void *argument)
{
    struct shared *s = argument;

    child_joins(s, 0);
    unit_sleep_forever();
}

static int
slot_passes_on(const char *call)
{
    struct troupe__thread *self = troupe__thread_self;
    struct shared *s = held_up;
    pthread_t thread;

    if (strcmp(call, "pidfd_open") != 0)
        return 0;
    troupe__shim_fault = NULL;
    CHECK(troupe__slot_verify(s->tags[0]));
    (void)troupe__slots_recover();
    CHECK(is_settled(s, 0));
    CHECK(troupe__directory_lock(self));
    CHECK_EQ(pthread_create(&thread, NULL, thread_comes_and_goes, s), 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    troupe__directory_unlock(self);
    return 0;
}

TEST(recovery_is_not_told_of_a_stay_that_is_over)
{
    struct shared *s = new_shared();
    struct troupe__slot *slot;
    uint64_t before;
    pid_t pid;

    (void)unit_slot();
    pid = unit_fork(join_and_sleep, s);
    unit_await(&s->flags[2], 1);
    unit_kill(pid);
    /* The kernel has lost the mark. */
    slot = s->slots[0];
    before = s->tags[0];
    *troupe__slot_token(slot) = (uint32_t)pid;
    held_up = s;
    troupe__shim_fault = slot_passes_on;
    CHECK(troupe__slot_verify(before));
    CHECK(s->slots[0] == slot);
    CHECK_NE(s->tags[0], before);
    CHECK(!is_settled(s, 0));
    CHECK_EQ(slot->dead_generation, slot->generation);
    (void)troupe__slots_recover();
    CHECK(is_settled(s, 0));
    CHECK_EQ(unit_info().threads, 1u);
    CHECK_EQ(unit_info().members, 1u);
    troupe_queue_free(s->queue);
}
