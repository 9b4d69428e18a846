/* SPDX-License-Identifier: Apache-2.0 */
#include "heap/member.h"

#include "base/atomic.h"
#include "base/math.h"
#include "heap/detail.h"
#include "heap/directory.h"
#include "heap/scope.h"
#include "heap/slot.h"
#include "heap/wait.h"
#include "os/clock.h"
#include "os/futex.h"
#include "os/task.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* A starting child looks at least so often whether its parent lives. */
#define GATE_BOUND (50 * TROUPE__MS)

/* Least time between two looks at all processes: it costs three system calls
 * for each. */
#define CENSUS_PERIOD (500 * TROUPE__MS)
#define CENSUS_EACH   (1 * TROUPE__MS)

static uint64_t
self_make(struct troupe__member_ref ref)
{
    return (uint64_t)ref.generation << 32 | ref.number;
}

static uint64_t
state_make(uint32_t generation, enum troupe__member_state state)
{
    return (uint64_t)generation << 8 | state;
}

static enum troupe__member_state
state_kind(uint64_t state)
{
    return (enum troupe__member_state)(state & 0xff);
}

static uint32_t
state_generation(uint64_t state)
{
    return (uint32_t)(state >> 8);
}

/* The word of a record's stay in which nobody has asked it to stop. */
static uint32_t
stop_word(uint32_t generation)
{
    return generation << 1;
}

/* Makes records [high, index] usable and publishes them. */
static int
members_extend(struct troupe__heap *heap, uint32_t index)
{
    uint32_t high = troupe__load_acquire(&heap->members_high);
    int status;

    if (index < high)
        return 0;
    status = troupe__family_commit(
        TROUPE__MEMBERS_OFFSET + (uint64_t)high * sizeof(struct troupe__member),
        (uint64_t)(index + 1 - high) * sizeof(struct troupe__member));
    if (status < 0)
        return status;
    while (high <= index)
        if (troupe__cas_release(&heap->members_high, &high, index + 1))
            break;
    return 0;
}

/* The exclusive right to change a record; it passes on when its holder dies. */
static bool
record_claim(struct troupe__member *member, uint64_t tag)
{
    uint64_t holder = troupe__load_acquire(&member->recoverer);

    if (holder != 0 && !troupe__tag_dead(holder))
        return false;
    return troupe__cas_acquire(&member->recoverer, &holder, tag);
}

static void
record_unclaim(struct troupe__member *member)
{
    troupe__store_release(&member->recoverer, UINT64_C(0));
}

static uint32_t
gate_word(uint32_t generation, enum troupe__gate gate)
{
    return generation << 2 | (uint32_t)gate;
}

/* Zeroes all but state and recoverer. Others may be looking at the record, and
 * look again before they believe what they saw. */
static void
record_clear(struct troupe__member *member)
{
    typedef uint64_t __attribute__((may_alias)) word;
    word *words = (word *)(void *)member;
    size_t i;

    for (i = offsetof(struct troupe__member, pid) / sizeof(word);
         i < sizeof(*member) / sizeof(word); i++)
        troupe__store_relaxed(&words[i], UINT64_C(0));
}

/* The record is cleared: a NUL stands behind the name. */
static void
record_name(struct troupe__member *member, const char *name)
{
    size_t length = strlen(name);

    if (length > sizeof(member->name) - 1)
        length = sizeof(member->name) - 1;
    memcpy(member->name, name, length);
}

/* The first byte goes first and comes last: in between, the record has no name.
 * What counts is the order in which a death leaves the stores. */
void
troupe__member_rename(struct troupe__member *here, const char *name)
{
    troupe__store_relaxed(&here->name[0], '\0');
    troupe__fence_crash();
    if (name[0] == '\0')
        return;
    memset(here->name + 1, 0, sizeof(here->name) - 1);
    memcpy(here->name + 1, name + 1, strnlen(name + 1, sizeof(here->name) - 2));
    troupe__fence_crash();
    troupe__store_relaxed(&here->name[0], name[0]);
}

/* Claims a free record and clears it. */
static int
record_new(uint64_t tag, uint32_t *ret_index)
{
    struct troupe__heap *heap = troupe__family.heap;
    uint32_t i;

    for (i = 0; i < TROUPE__MEMBERS; i++) {
        struct troupe__member *member = troupe__member_at(i);
        int status = members_extend(heap, i);

        if (status < 0)
            return troupe__detail(status, "memory for member record %u", i);
        if (state_kind(troupe__load_acquire(&member->state)) !=
                TROUPE__MEMBER_FREE ||
            !record_claim(member, tag))
            continue;
        if (state_kind(troupe__load_acquire(&member->state)) !=
            TROUPE__MEMBER_FREE) {
            record_unclaim(member);
            continue;
        }
        record_clear(member);
        troupe__store_relaxed(
            &member->stop,
            stop_word(state_generation(troupe__load_relaxed(&member->state))));
        troupe__store_relaxed(
            &member->gate,
            gate_word(state_generation(troupe__load_relaxed(&member->state)),
                      TROUPE__GATE_CLOSED));
        troupe__store_relaxed(&member->pid_namespace,
                              troupe__family_namespace());
        member->started_at = troupe__clock_now();
        *ret_index = i;
        return 0;
    }
    return troupe__detail(-EUSERS, "all %u member records are taken",
                          TROUPE__MEMBERS);
}

/* The claimed, filled-in record becomes visible. */
static struct troupe__member_ref
record_publish(uint32_t index, enum troupe__member_state kind)
{
    struct troupe__member *member = troupe__member_at(index);
    uint32_t generation =
        state_generation(troupe__load_relaxed(&member->state));
    struct troupe__member_ref ref = {index + 1, generation};

    troupe__store_release(&member->state, state_make(generation, kind));
    record_unclaim(member);
    return ref;
}

static void
slot_bind(struct troupe__thread *self, uint32_t number, uint32_t generation)
{
    troupe__store_relaxed(&self->slot->member_generation, generation);
    troupe__store_relaxed(&troupe__member_at(number - 1)->slot_hint,
                          self->index + 1);
    /* release: who finds the number finds the generation. */
    troupe__store_release(&self->slot->member, number);
    self->member = number;
}

/* Takes a record back that nobody can have named. What others left is not
 * settled with it: this thread may still have to inherit its slot. */
static void
record_withdraw(struct troupe__thread *self, struct troupe__member_ref ref)
{
    struct troupe__member *member = troupe__member_at(ref.number - 1);

    if (!record_claim(member, self->tag))
        return;
    if (troupe__load_acquire(&member->state) ==
        state_make(ref.generation, TROUPE__MEMBER_ALIVE))
        troupe__store_release(&member->state, state_make(ref.generation + 1,
                                                         TROUPE__MEMBER_FREE));
    record_unclaim(member);
}

/* Makes a record for this process, unless another thread is faster. */
static int
self_new(struct troupe__thread *self, struct troupe__place *place)
{
    struct troupe__heap *heap = troupe__family.heap;
    struct troupe__member *member;
    struct troupe__member_ref ref;
    uint64_t none = 0;
    uint32_t index = 0;
    int status;

    status = record_new(self->tag, &index);
    if (status < 0)
        return status;
    member = troupe__member_at(index);
    troupe__store_relaxed(&member->pid, troupe__family_pid());
    troupe__store_relaxed(&member->moment, self->slot->moment);
    member->parent_pid = (int32_t)getppid();
    if (member->pid == heap->root_pid &&
        member->pid_namespace == heap->root_namespace)
        member->flags = TROUPE__MEMBER_ROOT;
    record_name(member, "MainProcess");
    troupe__task_name(member->program, sizeof(member->program));
    /* Bound before it is public: a record without a live slot is dead. */
    slot_bind(self, index + 1,
              state_generation(troupe__load_relaxed(&member->state)));
    ref = record_publish(index, TROUPE__MEMBER_ALIVE);
    if (!troupe__cas_seq_cst(&place->self, &none, self_make(ref))) {
        /* Another thread was first. */
        troupe__store_release(&self->slot->member, 0u);
        record_withdraw(self, ref);
    }
    return 0;
}

/* Before a thread can change anything, whichever thread of the process made the
 * record: that one may be stopped in front of telling. To be told twice costs
 * those who poll a look. */
static void
announce(struct troupe__place *place, uint64_t self)
{
    if (troupe__load_acquire(&place->announced) == self)
        return;
    troupe__recovery_joined();
    troupe__store_release(&place->announced, self);
}

int
troupe__member_join(uint32_t *ret_number)
{
    struct troupe__thread *self = troupe__thread_self;
    struct troupe__place *place = troupe__place_get();
    int status;

    if (place == NULL)
        return troupe__detail(-ENOMEM, "a page for the process");
    for (;;) {
        uint64_t ours = troupe__load_acquire(&place->self);
        uint32_t number = (uint32_t)ours;
        uint32_t generation = (uint32_t)(ours >> 32);
        uint64_t state;

        if (ours == 0) {
            status = self_new(self, place);
            if (status < 0)
                return status;
            continue;
        }
        slot_bind(self, number, generation);
        /* Pairs with the fence in record_recover(): either we see the record
         * declared dead here, or its recoverer sees our slot. */
        troupe__fence_seq_cst();
        state = troupe__load_acquire(&troupe__member_at(number - 1)->state);
        if (state_generation(state) == generation &&
            (state_kind(state) == TROUPE__MEMBER_ALIVE ||
             state_kind(state) == TROUPE__MEMBER_STARTING)) {
            announce(place, ours);
            *ret_number = number;
            return 0;
        }
        /* The family gave the record up while no thread of this process was
         * in it: members of other pid namespaces cannot ask for processes. */
        (void)troupe__cas_seq_cst(&place->self, &ours, UINT64_C(0));
    }
}

int
troupe__member_prepare(const char *name, uint32_t flags,
                       struct troupe__birth *ret_birth)
{
    struct troupe__thread *self;
    struct troupe__member *member;
    uint32_t index = 0;
    int status;

    self = troupe__thread_enter(&status);
    if (self == NULL)
        return status;
    status = record_new(self->tag, &index);
    if (status < 0)
        return status;
    member = troupe__member_at(index);
    member->parent_pid = troupe__family_pid();
    troupe__store_relaxed(&member->parent_tag, self->tag);
    troupe__store_relaxed(&member->parent_member, self->member);
    troupe__store_relaxed(&member->parent_generation,
                          self->slot->member_generation);
    member->flags = flags;
    record_name(member, name);
    /* A child made by fork runs the same one. */
    memcpy(member->program, troupe__member_at(self->member - 1)->program,
           sizeof(member->program));
    ret_birth->parent.number = member->parent_member;
    ret_birth->parent.generation = member->parent_generation;
    ret_birth->parent_tag = self->tag;
    ret_birth->name_space = troupe__family_namespace();
    ret_birth->parent_pid = member->parent_pid;
    ret_birth->member = record_publish(index, TROUPE__MEMBER_STARTING);
    return 0;
}

struct troupe__member *
troupe__member_find(struct troupe__member_ref ref)
{
    struct troupe__member *member;

    if (ref.number == 0 || troupe__family.heap == NULL ||
        ref.number > troupe__load_acquire(&troupe__family.heap->members_high))
        return NULL;
    member = troupe__member_at(ref.number - 1);
    if (state_generation(troupe__load_acquire(&member->state)) !=
        ref.generation)
        return NULL;
    return member;
}

void
troupe__member_started(struct troupe__member_ref ref, int32_t pid)
{
    struct troupe__member *member = troupe__member_find(ref);
    uint32_t seen = gate_word(ref.generation, TROUPE__GATE_CLOSED);
    uint32_t open = gate_word(ref.generation, TROUPE__GATE_OPEN);

    if (member == NULL)
        return;
    /* As long as nobody knows its number and its parent lives the record cannot
     * be taken for a dead one's. From the release on it can: the child is
     * killed at its gate, the record made anew. So the gate has a
     * generation. */
    troupe__store_relaxed(&member->moment, troupe__task_moment());
    troupe__store_release(&member->pid, pid);
    if (!troupe__cas_seq_cst(&member->gate, &seen, open) &&
        seen == gate_word(ref.generation, TROUPE__GATE_AWAITED) &&
        troupe__cas_seq_cst(&member->gate, &seen, open))
        (void)troupe__futex_wake(&member->gate, 1);
}

int
troupe__member_await(const struct troupe__birth *birth)
{
    uint32_t generation = birth->member.generation;
    uint32_t *gate = &troupe__member_at(birth->member.number - 1)->gate;
    uint32_t awaited = gate_word(generation, TROUPE__GATE_AWAITED);
    uint32_t open = gate_word(generation, TROUPE__GATE_OPEN);

    for (;;) {
        uint32_t seen = troupe__load_acquire(gate);

        if (seen == open)
            return 0;
        /* In this order: it may have opened the gate and died then. Another
         * generation: the record has passed on, after the parent's death. */
        if (seen >> 2 != open >> 2 || (troupe__tag_dead(birth->parent_tag) &&
                                       troupe__load_acquire(gate) != open))
            return troupe__detail(-EPIPE, "the parent died while starting "
                                          "this process");
        if (seen != awaited && !troupe__cas_seq_cst(gate, &seen, awaited))
            continue;
        /* Not by way of heap/wait.h: this thread is nobody yet. */
        (void)troupe__futex_wait(
            gate, awaited, troupe__time_add(troupe__clock_now(), GATE_BOUND));
    }
}

int
troupe__member_adopt(const struct troupe__birth *birth)
{
    struct troupe__place *place = troupe__place_get();
    struct troupe__member *member = troupe__member_at(birth->member.number - 1);
    struct troupe__thread *self;
    uint64_t expected =
        state_make(birth->member.generation, TROUPE__MEMBER_STARTING);
    int status;

    if (place == NULL)
        return troupe__detail(-ENOMEM, "a page for the process");
    /* Who sees its parent under the parent's own number lives in the same pid
     * namespace, and has there the number that the parent knows. Its thread is
     * the first of the process. */
    if ((int32_t)getppid() == birth->parent_pid) {
        place->name_space = birth->name_space;
        place->pid = troupe__load_acquire(&member->pid);
        troupe__thread_self->tid = place->pid;
    }
    place->moment = troupe__load_relaxed(&member->moment);
    /* What was read belongs to this child if the record still does. */
    troupe__fence_seq_cst();
    if (troupe__load_acquire(&member->state) != expected)
        return troupe__detail(-EPIPE, "the parent died while starting this "
                                      "process");
    /* The number stands before the thread joins, so that it does not make a
     * record of its own. */
    troupe__store_release(&place->self, self_make(birth->member));
    self = troupe__thread_enter(&status);
    if (self == NULL)
        return status;
    /* The slot is bound already, so from here on the record has a live thread;
     * losing means that the family declared it dead before. */
    if (self->member != birth->member.number ||
        self->slot->member_generation != birth->member.generation ||
        !troupe__cas_seq_cst(
            &member->state, &expected,
            state_make(birth->member.generation, TROUPE__MEMBER_ALIVE)))
        return troupe__detail(-EPIPE, "the parent died while starting this "
                                      "process");
    return 0;
}

void
troupe__member_stop(struct troupe__member_ref ref)
{
    struct troupe__member *member = troupe__member_find(ref);
    uint32_t expected = stop_word(ref.generation);

    if (member == NULL)
        return;
    /* Fails when it was asked already, and when the record has passed on to
     * another process since the look above: that one must not be stopped. */
    if (troupe__cas_seq_cst(&member->stop, &expected, expected | 1))
        (void)troupe__futex_wake(&member->stop, INT_MAX);
}

void
troupe__member_stop_here(void)
{
    struct troupe__member *member = troupe__member_here();

    /* Its own record stays a process's as long as it lives. */
    if (member != NULL) {
        (void)troupe__fetch_or_seq_cst(&member->stop, 1u);
        (void)troupe__futex_wake(&member->stop, INT_MAX);
    }
}

struct troupe__member *
troupe__member_here(void)
{
    struct troupe__place *place = troupe__place_peek();
    uint32_t number =
        place == NULL ? 0 : (uint32_t)troupe__load_acquire(&place->self);

    return number == 0 ? NULL : troupe__member_at(number - 1);
}

uint32_t
troupe__member_exit_record(struct troupe__member_ref ref)
{
    struct troupe__member *member;
    uint32_t record;
    uint64_t state;

    if (ref.number == 0)
        return 0;
    member = troupe__member_at(ref.number - 1);
    record = troupe__load_acquire(&member->exit_record);
    /* The next process writes one after it has changed the state, and until
     * then there can only be the old one or none: a state that is still the old
     * stay's, or the free record's that it left, confirms what was read. */
    troupe__fence_seq_cst();
    state = troupe__load_acquire(&member->state);
    if (state_generation(state) == ref.generation ||
        state == state_make(ref.generation + 1, TROUPE__MEMBER_FREE))
        return record;
    return 0;
}

struct troupe__member *
troupe__member_self(int *ret_error)
{
    struct troupe__thread *self = troupe__thread_enter(ret_error);

    return self == NULL ? NULL : troupe__member_at(self->member - 1);
}

/* Whether the slot is that of a live thread of the member. */
static bool
is_live_thread(uint32_t index, uint32_t number, uint32_t generation)
{
    struct troupe__slot *slot = troupe__slot_at(index);

    return troupe__load_acquire(&slot->member) == number &&
           troupe__load_relaxed(&slot->member_generation) == generation &&
           troupe__token_alive(
               troupe__load_acquire(troupe__slot_token(slot))) &&
           troupe__load_relaxed(&slot->generation) !=
               troupe__load_relaxed(&slot->dead_generation);
}

/* Whether some thread of the member lives. */
static bool
has_live_thread(uint32_t number, uint32_t generation)
{
    uint32_t high = troupe__load_acquire(&troupe__family.heap->slots_high);
    uint32_t hint =
        troupe__load_relaxed(&troupe__member_at(number - 1)->slot_hint);
    uint32_t i;

    /* The thread that joined last is most likely the one. */
    if (hint != 0 && hint <= high && hint <= TROUPE__SLOTS &&
        is_live_thread(hint - 1, number, generation))
        return true;
    for (i = 0; i < high && i < TROUPE__SLOTS; i++) {
        if (is_live_thread(i, number, generation)) {
            troupe__store_relaxed(&troupe__member_at(number - 1)->slot_hint,
                                  i + 1);
            return true;
        }
    }
    return false;
}

/* Whether a slot still shows a thread of the member that ended without leaving:
 * slots of another pid namespace are not ours to recover. */
static bool
has_lost_thread(uint32_t number, uint32_t generation)
{
    uint32_t high = troupe__load_acquire(&troupe__family.heap->slots_high);
    uint32_t i;

    for (i = 0; i < high && i < TROUPE__SLOTS; i++) {
        struct troupe__slot *slot = troupe__slot_at(i);

        if (troupe__load_acquire(&slot->member) == number &&
            troupe__load_relaxed(&slot->member_generation) == generation &&
            (troupe__load_acquire(troupe__slot_token(slot)) &
             FUTEX_OWNER_DIED) != 0)
            return true;
    }
    return false;
}

/* Whether a process can be asked for by its number. */
static bool
is_near(const struct troupe__member *member)
{
    return troupe__load_acquire(&member->pid_namespace) ==
           troupe__family_namespace();
}

/* Whether a process that is near has ended. */
static bool
has_ended(const struct troupe__member *member)
{
    int32_t pid = troupe__load_acquire(&member->pid);

    return pid != 0 &&
           troupe__task_ended(pid, troupe__load_relaxed(&member->moment));
}

/*
 * Whether a process without a thread in the family has left it for good. One
 * whose threads have all left in order may come back. One that lost its last
 * thread has ended or is about to: as long as it exists, the system may still
 * write to its memory on behalf of other threads, so its end is waited for;
 * unless the heap is gone from its address space, after an exec. A process of
 * another pid namespace cannot be asked for: there the loss has to do.
 */
static bool
has_left(const struct troupe__member *member, uint32_t number,
         uint32_t generation)
{
    bool lost = troupe__load_relaxed(&member->thread_died) == generation + 1;

    if (!is_near(member))
        return lost || has_lost_thread(number, generation);
    /* Without a number it was killed before anybody could write one. */
    if (troupe__load_acquire(&member->pid) == 0)
        return lost;
    return has_ended(member) ||
           (lost && !troupe__task_maps(troupe__load_relaxed(&member->pid),
                                       &troupe__family.file));
}

/* Proof of death for a record in this state. */
static bool
record_dead(struct troupe__member *member, uint32_t number, uint64_t state)
{
    switch (state_kind(state)) {
    case TROUPE__MEMBER_STARTING: {
        uint64_t parent = troupe__load_relaxed(&member->parent_tag);

        /* A child that has no number yet and whose parent's thread is dead
         * either does not exist or has still to adopt: then it will lose. The
         * number is looked at behind the death, for the thread may have written
         * it, opened the gate and left since the look before. */
        if (troupe__load_acquire(&member->pid) == 0 &&
            (parent == 0 || !troupe__tag_dead(parent)))
            return false;
        if (troupe__load_acquire(&member->pid) == 0)
            return true;
        return is_near(member) && has_ended(member);
    }
    case TROUPE__MEMBER_ALIVE:
        return !has_live_thread(number, state_generation(state)) &&
               has_left(member, number, state_generation(state));
    case TROUPE__MEMBER_DEAD:
        return true;
    default:
        return false;
    }
}

bool
troupe__member_dead(struct troupe__member_ref ref)
{
    struct troupe__member *member = troupe__member_find(ref);
    uint64_t state;

    if (member == NULL)
        return true;
    state = troupe__load_acquire(&member->state);
    return state_generation(state) != ref.generation ||
           record_dead(member, ref.number, state);
}

bool
troupe__member_has_children(struct troupe__member_ref ref)
{
    struct troupe__heap *heap = troupe__family.heap;
    uint32_t high = troupe__load_acquire(&heap->members_high);
    uint32_t i;

    for (i = 0; i < high && i < TROUPE__MEMBERS; i++) {
        struct troupe__member *member = troupe__member_at(i);
        uint64_t state;
        bool child;

        /* Whose child it is, of the process whose state it is. */
        do {
            state = troupe__load_acquire(&member->state);
            child =
                troupe__load_relaxed(&member->parent_member) == ref.number &&
                troupe__load_relaxed(&member->parent_generation) ==
                    ref.generation;
            troupe__fence_seq_cst();
        } while (troupe__load_acquire(&member->state) != state);
        if (child && state_kind(state) != TROUPE__MEMBER_FREE &&
            !record_dead(member, i + 1, state))
            return true;
    }
    return false;
}

/*
 * The caller has the right to the record, which is proved dead. Every step may
 * be repeated by the next one. 1: it is free; 0: not dead after all, or still
 * to be settled; -EAGAIN: likewise, for the directory's lock was not to be had.
 * A record that is to be settled stays DEAD, and so the next to look finds it.
 */
static int
record_recover(struct troupe__member *member, uint32_t number, uint64_t state)
{
    struct troupe__thread *self = troupe__thread_self;
    uint32_t generation = state_generation(state);
    bool settled;

    if (state_kind(state) != TROUPE__MEMBER_DEAD) {
        if (!troupe__cas_seq_cst(&member->state, &state,
                                 state_make(generation, TROUPE__MEMBER_DEAD)))
            return 0; /* a starting child arrived after all */
    }
    /* Pairs with the fence in troupe__member_join(): a thread that came in the
     * meantime and saw the record alive is seen here. */
    troupe__fence_seq_cst();
    if (has_live_thread(number, generation)) {
        if (!is_near(member) || !has_ended(member)) {
            troupe__store_release(&member->state,
                                  state_make(generation, TROUPE__MEMBER_ALIVE));
            return 0;
        }
        troupe__slots_condemn(number, generation);
    }
    troupe__slots_mourn(number, generation);
    if (!troupe__directory_lock(self))
        return -EAGAIN;
    settled = troupe__recovery_member(number, generation);
    troupe__directory_unlock(self);
    if (!settled)
        return 0;
    troupe__scopes_recover(number, generation);
    troupe__store_release(&member->state,
                          state_make(generation + 1, TROUPE__MEMBER_FREE));
    return 1;
}

unsigned
troupe__members_recover(void)
{
    struct troupe__heap *heap = troupe__family.heap;
    struct troupe__thread *self = troupe__thread_self;
    uint32_t high = troupe__load_acquire(&heap->members_high);
    unsigned recovered = 0;
    int status = 0;
    uint32_t i;

    /* One that cannot have the directory's lock is the last: the others need it
     * too. */
    for (i = 0; i < high && i < TROUPE__MEMBERS && status >= 0; i++) {
        struct troupe__member *member = troupe__member_at(i);
        uint64_t state = troupe__load_acquire(&member->state);

        if (state_kind(state) == TROUPE__MEMBER_FREE || i + 1 == self->member ||
            !record_dead(member, i + 1, state))
            continue;
        if (!record_claim(member, self->tag))
            continue;
        state = troupe__load_acquire(&member->state);
        if (state_kind(state) != TROUPE__MEMBER_FREE &&
            record_dead(member, i + 1, state)) {
            status = record_recover(member, i + 1, state);
            recovered += status > 0;
        }
        record_unclaim(member);
    }
    return recovered;
}

void
troupe__members_census(int64_t now)
{
    struct troupe__heap *heap = troupe__family.heap;
    struct troupe__thread *self = troupe__thread_self;
    uint32_t high = troupe__load_acquire(&heap->members_high);
    int64_t *next =
        &heap->census_next[troupe__family_namespace() % TROUPE__CENSUSES];
    int64_t due = troupe__load_relaxed(next);
    uint32_t i;

    /* One of all who wait does it. Killed in the middle, it is done by the next
     * when the time has come again. */
    if (high > TROUPE__MEMBERS)
        high = TROUPE__MEMBERS;
    if (now < due || !troupe__cas_relaxed(
                         next, &due, now + CENSUS_PERIOD + high * CENSUS_EACH))
        return;
    for (i = 0; i < high; i++) {
        struct troupe__member *member = troupe__member_at(i);
        uint64_t state = troupe__load_acquire(&member->state);
        uint32_t generation = state_generation(state);

        if (state_kind(state) == TROUPE__MEMBER_ALIVE &&
            i + 1 != self->member && is_near(member) &&
            has_live_thread(i + 1, generation) && has_ended(member) &&
            troupe__load_acquire(&member->state) == state)
            troupe__slots_condemn(i + 1, generation);
    }
}

void
troupe__member_ended(struct troupe__member_ref ref)
{
    struct troupe__thread *self = troupe__thread_self;
    struct troupe__member *member = troupe__member_find(ref);
    uint64_t state;
    uint32_t hint;

    if (member == NULL || self->tag == 0)
        return;
    /* What its thread left is settled now, and not by the next to come. */
    hint = troupe__load_relaxed(&member->slot_hint);
    if (hint != 0)
        troupe__slot_recover(hint - 1);
    if (!record_claim(member, self->tag))
        return;
    state = troupe__load_acquire(&member->state);
    if (state_generation(state) == ref.generation &&
        state_kind(state) != TROUPE__MEMBER_FREE)
        (void)record_recover(member, ref.number, state);
    record_unclaim(member);
}
