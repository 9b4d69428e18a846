/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of an event that is polled, while somebody recovers the tables of
 * its pollers; setters that are killed, or refused.
 */
#include "unit.h"

#include <troupe/event.h>

#include "heap/alloc.h"
#include "os/fault.h"
#include "sync/doorbell.h"

#include <poll.h>

enum { AT_WORK, DO_RECOVER, INSIDE, GO_ON, FLAGS };

struct shared {
    troupe_event event;
    uint32_t flags[FLAGS];
    uint64_t dead; /* the dead member as cells name it */
    unsigned char *table;
    size_t size;
};

static struct shared *shared;

static void
poll_it(void)
{
    int fd;

    CHECK_RC(troupe_event_fileno(&shared->event, &fd), 0);
    CHECK_RC(troupe_event_wait(&shared->event, TROUPE_NOW), -ETIMEDOUT);
}

static void
poll_and_wait_for_death(void *argument)
{
    const struct troupe__slot *slot = unit_slot();

    (void)argument;
    poll_it();
    shared->dead = (uint64_t)slot->member_generation << 32 | slot->member;
    unit_raise(&shared->flags[AT_WORK]);
    unit_sleep_forever();
}

/* Stops once, at a cell of the table. */
static void
stop_in_the_table(const volatile void *address)
{
    uintptr_t offset = (uintptr_t)address - (uintptr_t)shared->table;

    if (offset < 96 || offset >= shared->size)
        return;
    troupe__shim_atomic_hook = NULL;
    unit_raise(&shared->flags[INSIDE]);
    unit_await(&shared->flags[GO_ON], 1);
}

static void
recover_slowly(void *argument)
{
    (void)argument;
    (void)unit_slot();
    unit_raise(&shared->flags[AT_WORK]);
    unit_await(&shared->flags[DO_RECOVER], 1);
    troupe__shim_atomic_hook = stop_in_the_table;
    (void)troupe__slots_recover();
    CHECK_EQ(shared->flags[INSIDE], 1u);
}

/* Ends the event, and uses whatever memory that gives. */
static void
end_and_reuse(void *argument)
{
    const size_t words = shared->size / 8;
    uint64_t *blocks[64];
    size_t i;
    size_t j;

    (void)argument;
    troupe_event_fini(&shared->event);
    CHECK_EQ(shared->event.pollers_, 0u);
    for (i = 0; i < 64; i++) {
        blocks[i] = troupe_alloc(words * 8);
        CHECK(blocks[i] != NULL);
        for (j = 0; j < words; j++)
            blocks[i][j] = shared->dead;
    }
    unit_raise(&shared->flags[GO_ON]);
    unit_await(&shared->flags[AT_WORK], 3);
    for (i = 0; i < 64; i++) {
        for (j = 0; j < words; j++)
            CHECK_EQ(blocks[i][j], shared->dead);
        CHECK_RC(troupe_free(blocks[i]), 0);
    }
}

TEST(event_end_leaves_the_table_to_who_recovers_it)
{
    pid_t recoverer;
    pid_t dead;
    pid_t ender;

    shared = unit_shared(sizeof(*shared));
    poll_it();
    shared->table = troupe__family_at(shared->event.pollers_);
    shared->size = troupe__block_size(shared->table);
    recoverer = unit_fork(recover_slowly, NULL);
    /* It has joined: joining may recover too. */
    unit_await(&shared->flags[AT_WORK], 1);
    dead = unit_fork(poll_and_wait_for_death, NULL);
    unit_await(&shared->flags[AT_WORK], 2);
    unit_kill(dead);
    unit_raise(&shared->flags[DO_RECOVER]);
    unit_await(&shared->flags[INSIDE], 1);
    ender = unit_fork(end_and_reuse, NULL);
    unit_join(recoverer);
    unit_raise(&shared->flags[AT_WORK]);
    unit_join(ender);
    /* What it could not free went with it. */
    (void)troupe__slots_recover();
    CHECK_EQ(troupe__block_owner(shared->table), 0u);
    troupe_event_fini(&shared->event);
    harness_keep_fd(troupe__doorbell_sender());
}

static const troupe_event *watched;

static void
only_the_word(const volatile void *address)
{
    const volatile unsigned char *event =
        (const volatile unsigned char *)watched;
    const volatile unsigned char *at = address;

    CHECK(at < event + 8 || at >= event + sizeof(*watched));
}

/* Whose memory may be gone when the waiter has returned. */
TEST(event_set_looks_at_nothing_but_the_word)
{
    troupe_event event = {0};

    watched = &event;
    troupe__shim_atomic_hook = only_the_word;
    CHECK_RC(troupe_event_set(&event), 0);
    troupe__shim_atomic_hook = NULL;
}

static int
die_at_ring(const char *call)
{
    if (strcmp(call, "sendto") == 0)
        (void)kill(getpid(), SIGKILL);
    return 0;
}

static void
set_and_die(void *argument)
{
    (void)argument;
    CHECK_EQ(troupe__thread_self->tag, 0u);
    troupe__shim_fault = die_at_ring;
    (void)troupe_event_set(&shared->event);
    FAIL("the set returned");
}

/* Nobody watches a process that never joined. */
TEST(event_fileno_tells_what_a_killed_stranger_could_not)
{
    struct pollfd p = {.events = POLLIN};
    int status;
    pid_t pid;

    shared = unit_shared(sizeof(*shared));
    CHECK_RC(troupe_event_fileno(&shared->event, &p.fd), 0);
    CHECK_RC(troupe_event_wait(&shared->event, TROUPE_NOW), -ETIMEDOUT);
    pid = unit_fork(set_and_die, NULL);
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK(WIFSIGNALED(status));
    CHECK(troupe_event_is_set(&shared->event));
    CHECK_EQ(poll(&p, 1, -1), 1);
    CHECK_RC(troupe_event_wait(&shared->event, TROUPE_NOW), 0);
    troupe_event_fini(&shared->event);
    harness_keep_fd(troupe__doorbell_sender());
}

static int
refuse(const char *call)
{
    return strcmp(call, "sendto") == 0 ? EPERM : 0;
}

TEST(event_set_keeps_its_socket_when_it_is_refused)
{
    unsigned i;
    int sender;

    shared = unit_shared(sizeof(*shared));
    poll_it();
    sender = troupe__doorbell_sender();
    CHECK_GE(sender, 0);
    troupe__shim_fault = refuse;
    for (i = 0; i < 10; i++)
        CHECK_RC(troupe_event_set(&shared->event), 0);
    troupe__shim_fault = NULL;
    CHECK_EQ(troupe__doorbell_sender(), sender);
    troupe_event_fini(&shared->event);
    harness_keep_fd(sender);
}

static int
fail_unless_ringing(const char *call)
{
    if (strcmp(call, "socket") != 0 && strcmp(call, "sendto") != 0)
        FAIL("a set calls %s", call);
    return 0;
}

/* A set in a signal handler may come in the middle of malloc(). */
TEST(event_set_does_not_ask_the_system_for_the_dead)
{
    pid_t dead;

    shared = unit_shared(sizeof(*shared));
    dead = unit_fork(poll_and_wait_for_death, NULL);
    unit_await(&shared->flags[AT_WORK], 1);
    unit_kill(dead);
    troupe__shim_fault = fail_unless_ringing;
    CHECK_RC(troupe_event_set(&shared->event), 0);
    CHECK_RC(troupe_event_clear(&shared->event), 0);
    CHECK_RC(troupe_event_set(&shared->event), 0);
    troupe__shim_fault = NULL;
    (void)troupe__slots_recover();
    troupe_event_fini(&shared->event);
    harness_keep_fd(troupe__doorbell_sender());
}
