/* SPDX-License-Identifier: Apache-2.0 */
#include "heap/slot.h"

#include "heap/alloc.h"
#include "heap/detail.h"
#include "heap/directory.h"
#include "heap/member.h"
#include "os/clock.h"
#include "os/futex.h"
#include "os/task.h"

#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <string.h>

#define MAX_HOOKS 8u

static const struct troupe__recovery *hooks[MAX_HOOKS];
static unsigned hook_count;

void
troupe__recovery_add(const struct troupe__recovery *recovery)
{
    if (hook_count < MAX_HOOKS)
        hooks[hook_count++] = recovery;
}

bool
troupe__recovery_member(uint32_t number, uint32_t generation)
{
    bool settled = true;
    unsigned i;

    for (i = 0; i < hook_count; i++)
        if (hooks[i]->member != NULL && !hooks[i]->member(number, generation))
            settled = false;
    return settled;
}

void
troupe__recovery_joined(void)
{
    unsigned i;

    for (i = 0; i < hook_count; i++)
        if (hooks[i]->joined != NULL)
            hooks[i]->joined();
}

/*
 * Makes the token a robust, process-shared mutex. A fresh slot is all zeros,
 * and such a mutex differs from that in words that never change afterwards
 * (its kind). So the words are simply stored: doing it twice, at once by two
 * threads, or while the mutex is held already, changes nothing.
 */
static int
token_init(struct troupe__slot *slot)
{
    pthread_mutexattr_t attributes;

    union {
        pthread_mutex_t mutex;
        uint32_t words[sizeof(slot->token.room) / sizeof(uint32_t)];
    } pattern;

    uint32_t *words = (uint32_t *)(void *)slot->token.room;
    unsigned i;
    int error;

    memset(&pattern, 0, sizeof(pattern));
    if (pthread_mutexattr_init(&attributes) != 0)
        return -ENOMEM;
    (void)pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    error = pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    if (error == 0)
        error = pthread_mutex_init(&pattern.mutex, &attributes);
    (void)pthread_mutexattr_destroy(&attributes);
    if (error != 0)
        return -error;
    for (i = 0; i < TROUPE__COUNT(pattern.words); i++)
        if (pattern.words[i] != 0)
            troupe__store_relaxed(&words[i], pattern.words[i]);
    return 0;
}

/*
 * Whether the C library takes this thread for the one it is. In a child of a
 * raw clone it does not: it would put the parent's number into a token, and
 * link the token into a copy of the parent's list of robust mutexes, whose
 * neighbours are the parent's own. Found out by a mutex that stores its owner
 * and stands in no list.
 */
static bool
libc_knows_us(void)
{
    union {
        pthread_mutex_t mutex;
        uint32_t words[sizeof(pthread_mutex_t) / sizeof(uint32_t)];
    } probe;

    pthread_mutexattr_t attributes;
    uint32_t tid = (uint32_t)troupe__task_tid();
    bool found = false;
    unsigned i;

    memset(&probe, 0, sizeof(probe));
    if (pthread_mutexattr_init(&attributes) != 0)
        return false;
    (void)pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ERRORCHECK);
    if (pthread_mutex_init(&probe.mutex, &attributes) == 0) {
        (void)pthread_mutex_lock(&probe.mutex);
        for (i = 0; i < TROUPE__COUNT(probe.words); i++)
            found = found || (probe.words[i] & FUTEX_TID_MASK) == tid;
        (void)pthread_mutex_unlock(&probe.mutex);
        (void)pthread_mutex_destroy(&probe.mutex);
    }
    (void)pthread_mutexattr_destroy(&attributes);
    return found;
}

/* Makes slots [high, index] usable and publishes them. */
static int
slots_extend(struct troupe__heap *heap, uint32_t index)
{
    uint32_t high = troupe__load_acquire(&heap->slots_high);
    uint32_t i;
    int error;

    if (index < high)
        return 0;
    error = troupe__family_commit(
        TROUPE__SLOTS_OFFSET + (uint64_t)high * sizeof(struct troupe__slot),
        (uint64_t)(index + 1 - high) * sizeof(struct troupe__slot));
    if (error < 0)
        return error;
    for (i = high; i <= index; i++) {
        uint32_t zero = 0;

        error = token_init(troupe__slot_at(i));
        if (error < 0)
            return error;
        /* Unlike dead_generation, which begins as 0. Only the first of several
         * that extend at once changes it. */
        (void)troupe__cas_relaxed(&troupe__slot_at(i)->generation, &zero, 1u);
    }
    /* release: a reader of the mark finds memory and tokens below it. */
    while (high <= index)
        if (troupe__cas_release(&heap->slots_high, &high, index + 1))
            break;
    return 0;
}

/* Fills in what a slot says of the stay it is in. */
static void
obituary_fill(struct troupe__obituary *o, const struct troupe__slot *slot)
{
    struct troupe__member_ref ref;
    const struct troupe__member *member;

    ref.number = troupe__load_acquire(&slot->member);
    ref.generation = troupe__load_relaxed(&slot->member_generation);
    member = troupe__member_find(ref);
    o->pid = troupe__load_relaxed(&slot->pid);
    o->tid = troupe__load_relaxed(&slot->tid);
    o->when = troupe__clock_now();
    memset(o->name, 0, sizeof(o->name));
    if (member == NULL)
        return;
    memcpy(o->name, member->name, sizeof(o->name) - 1);
    /* Another process's, when the record was given up meanwhile. */
    troupe__fence_seq_cst();
    if (troupe__member_find(ref) == NULL)
        memset(o->name, 0, sizeof(o->name));
}

/* An entry of the ring may be written and read at once, and then its sum is
 * wrong: so it is copied by words. */
static void
obituary_copy(struct troupe__obituary *to, const struct troupe__obituary *from)
{
    typedef uint64_t __attribute__((may_alias)) word;
    word *target = (word *)(void *)to;
    const word *source = (const word *)(const void *)from;
    size_t i;

    for (i = 0; i < sizeof(*to) / sizeof(word); i++)
        troupe__store_relaxed(&target[i], troupe__load_relaxed(&source[i]));
}

static uint64_t
obituary_sum(const struct troupe__obituary *o)
{
    const unsigned char *bytes = (const unsigned char *)o;
    uint64_t sum = UINT64_C(14695981039346656037);
    size_t i;

    for (i = 0; i < offsetof(struct troupe__obituary, check); i++)
        sum = (sum ^ bytes[i]) * UINT64_C(1099511628211);
    return sum;
}

/* A tag may have two obituaries, by two who told of it at once, and then the
 * later one perhaps without the name: see troupe__slots_mourn(). */
static bool
obituary_look(uint64_t tag, struct troupe__obituary *ret)
{
    struct troupe__heap *heap = troupe__family.heap;
    struct troupe__obituary found;
    bool any = false;
    unsigned i;

    for (i = 0; i < TROUPE__OBITUARIES; i++) {
        const struct troupe__obituary *o = &heap->obituaries[i];

        if (troupe__load_acquire(&o->tag) != tag)
            continue;
        obituary_copy(&found, o);
        if (found.tag != tag || found.check != obituary_sum(&found))
            continue;
        *ret = found;
        any = true;
        if (found.name[0] != '\0')
            break;
    }
    return any;
}

/* Writes the obituary of a tag that is dead, unless there is one. */
static void
obituary_write(const struct troupe__slot *slot, uint64_t tag)
{
    struct troupe__heap *heap = troupe__family.heap;
    struct troupe__obituary written;
    uint64_t number;

    if (obituary_look(tag, &written) && written.name[0] != '\0')
        return;
    memset(&written, 0, sizeof(written));
    written.tag = tag;
    obituary_fill(&written, slot);
    written.check = obituary_sum(&written);
    troupe__fence_seq_cst();
    /* Who does not hold the token may have read what the next thread wrote
     * there; that one shows in the generation. */
    if (troupe__load_relaxed(&slot->generation) != (uint32_t)(tag >> 32))
        return;
    number = troupe__fetch_add_relaxed(&heap->obituary_next, 1u);
    obituary_copy(&heap->obituaries[number % TROUPE__OBITUARIES], &written);
}

bool
troupe__obituary_find(uint64_t tag, struct troupe__obituary *ret)
{
    const struct troupe__slot *slot;

    if (troupe__family.heap == NULL)
        return false;
    if (obituary_look(tag, ret))
        return true;
    /* Dead, and nobody has recovered it yet: its slot is as it left it, unless
     * somebody did in between, and then it has its obituary. */
    slot = troupe__tag_slot(tag);
    if (slot == NULL)
        return false;
    if (troupe__load_acquire(&slot->generation) == (uint32_t)(tag >> 32)) {
        memset(ret, 0, sizeof(*ret));
        ret->tag = tag;
        obituary_fill(ret, slot);
        troupe__fence_seq_cst();
        if (troupe__load_relaxed(&slot->generation) == (uint32_t)(tag >> 32))
            return true;
    }
    return obituary_look(tag, ret);
}

static uint64_t
tag_make(uint32_t generation, uint32_t index)
{
    return (uint64_t)generation << 32 | TROUPE__TAG_MARK | (index + 1);
}

static uint64_t
slot_tag(const struct troupe__slot *slot, uint32_t index)
{
    return tag_make(troupe__load_acquire(&slot->generation), index);
}

void
troupe__slots_mourn(uint32_t member, uint32_t generation)
{
    uint32_t high = troupe__load_acquire(&troupe__family.heap->slots_high);
    uint32_t i;

    for (i = 0; i < high && i < TROUPE__SLOTS; i++) {
        struct troupe__slot *slot = troupe__slot_at(i);
        uint64_t tag = slot_tag(slot, i);

        if (troupe__load_acquire(&slot->member) == member &&
            troupe__load_relaxed(&slot->member_generation) == generation)
            obituary_write(slot, tag);
    }
}

/* Tells everybody that the stay is over. First the sleepers: the kernel has
 * woken only one of them, and that one may be the next to be killed. */
static void
stay_announce(struct troupe__slot *slot)
{
    troupe__store_release(&slot->dead_generation,
                          troupe__load_relaxed(&slot->generation));
    troupe__futex_wake(troupe__slot_token(slot), INT_MAX);
}

/* A stay that ended and is not settled, under a token that is free: as such a
 * stay is left by who could not settle it. */
static bool
is_unsettled(const struct troupe__slot *slot)
{
    return troupe__load_relaxed(&slot->generation) ==
           troupe__load_relaxed(&slot->dead_generation);
}

/*
 * Settles the intents and caches found in a slot, in the name of the thread
 * that left them. The caller holds the slot's token and is in the family. All
 * or nothing: the objects that a thread held go after what depends on them.
 * False: nothing was done, for the directory's lock was not to be had; somebody
 * must do it later.
 */
static bool
slot_settle(struct troupe__slot *slot, uint32_t index)
{
    struct troupe__thread *self = troupe__thread_self;
    uint64_t tag = tag_make(troupe__load_acquire(&slot->contents), index);
    unsigned i;

    troupe__alloc_recover_begun(slot, index);
    if (!troupe__directory_lock(self))
        return false;
    for (i = 0; i < hook_count; i++)
        if (hooks[i]->slot != NULL)
            hooks[i]->slot(slot, tag);
    troupe__directory_unlock(self);
    for (i = 0; i < hook_count; i++)
        if (hooks[i]->held != NULL)
            hooks[i]->held(slot);
    troupe__alloc_recover_held(slot, index);
    troupe__store_relaxed(&slot->queue, UINT64_C(0));
    troupe__store_relaxed(&slot->wait_kind, 0u);
    return true;
}

/* release: who sees the new generation sees what was settled before. */
static void
stay_finish(struct troupe__slot *slot)
{
    troupe__store_relaxed(&slot->member, 0u);
    troupe__store_release(&slot->generation,
                          troupe__load_relaxed(&slot->generation) + 1);
}

/* Leaves in the member's record that a thread of it ended without leaving. */
static void
death_note(const struct troupe__slot *slot)
{
    struct troupe__member_ref ref;
    struct troupe__member *member;

    ref.number = troupe__load_acquire(&slot->member);
    ref.generation = troupe__load_relaxed(&slot->member_generation);
    member = troupe__member_find(ref);
    if (member != NULL)
        troupe__store_relaxed(&member->thread_died, ref.generation + 1);
}

/*
 * Ends the stay of a dead thread and settles what it left behind. The caller
 * holds the slot's token: it found EOWNERDEAD, or a stay that is not settled.
 * Every step may be repeated: a recoverer that dies here leaves the token
 * marked again, and the next one begins from the start; as it does when it
 * could not settle now (false), and frees the token with the stay announced but
 * not finished.
 */
static bool
stay_recover(struct troupe__slot *slot, uint32_t index)
{
    uint64_t tag = slot_tag(slot, index);

    obituary_write(slot, tag);
    stay_announce(slot);
    death_note(slot);
    if (!slot_settle(slot, index))
        return false;
    stay_finish(slot);
    return true;
}

/*
 * Ends the stay of a dead thread whose slot the caller takes for itself. It
 * cannot settle yet: that takes internal locks, and those a tag. So the slot's
 * contents stay the dead thread's, and the caller settles them as soon as it
 * has a tag (troupe__slot_inherit); killed before, it leaves that to its own
 * recovery.
 *
 * Raising the generation is all the announcement: the caller has no tag under
 * which it could keep others from taking the slot for one whose mark was lost
 * (token_mark), and that is what a stay looks like which was announced dead
 * under a token that is alive.
 */
static void
stay_replace(struct troupe__slot *slot, uint32_t index)
{
    obituary_write(slot, slot_tag(slot, index));
    death_note(slot);
    stay_finish(slot);
    troupe__futex_wake(troupe__slot_token(slot), INT_MAX);
    (void)pthread_mutex_consistent(&slot->token.mutex);
}

/* Tries to take a token whose word shows no live thread. 0: taken, clean;
 * EOWNERDEAD: taken, its holder died; else not taken. */
static int
token_take(struct troupe__slot *slot)
{
    uint32_t word = troupe__load_acquire(troupe__slot_token(slot));

    /* Looked at before it is tried, so that no thread ever has an operation
     * pending on a token held under its own number in another pid namespace:
     * the kernel could not tell the two apart. */
    if ((word & FUTEX_TID_MASK) != 0)
        return EBUSY;
    return pthread_mutex_trylock(&slot->token.mutex);
}

static void
token_free(struct troupe__slot *slot)
{
    (void)pthread_mutex_unlock(&slot->token.mutex);
    troupe__futex_wake(troupe__slot_token(slot), INT_MAX);
}

/* Whether this process may touch the slot's token: see TROUPE__RANGE_SLOTS. */
static bool
slot_is_ours(uint32_t index, uint64_t name_space)
{
    return troupe__load_relaxed(
               &troupe__family.heap
                    ->range_namespace[index / TROUPE__RANGE_SLOTS]) ==
           name_space;
}

/*
 * Marks the token of a thread that was proved dead, as the kernel should have
 * done and could not: its process was taken apart by the OOM reaper, or held
 * over 2,047 robust mutexes. From there on it is a death like any other. True:
 * marked here.
 *
 * The token's number must be the dead thread's, and nobody may have that number
 * now: then no living thread holds the token. While it shows a number nobody
 * else takes it, so the only thing that can come between the look and the swap
 * is another thread doing the same, and a new thread of the same number taking
 * the slot: the right to mark, in `rescuer`, keeps that out.
 */
static bool
token_mark(struct troupe__slot *slot)
{
    uint32_t *token = troupe__slot_token(slot);
    uint64_t rescuer = troupe__load_acquire(&slot->rescuer);
    uint32_t word;
    int32_t tid;
    bool marked = false;

    if (rescuer != 0 && !troupe__tag_dead(rescuer))
        return false;
    if (!troupe__cas_acquire(&slot->rescuer, &rescuer,
                             troupe__thread_self->tag))
        return false;
    word = troupe__load_acquire(token);
    tid = troupe__load_relaxed(&slot->tid);
    if (troupe__token_alive(word) && (int32_t)(word & FUTEX_TID_MASK) == tid &&
        troupe__load_acquire(&slot->generation) ==
            troupe__load_acquire(&slot->dead_generation) &&
        !troupe__task_exists(tid))
        marked = troupe__cas_acquire(token, &word,
                                     (word & FUTEX_WAITERS) | FUTEX_OWNER_DIED);
    troupe__store_release(&slot->rescuer, UINT64_C(0));
    if (marked)
        troupe__futex_wake(token, INT_MAX);
    return marked;
}

/*
 * Says of a stay that it is dead, without the token. `seen` is what
 * dead_generation was before the slot was seen in that stay: who is held up
 * here until the slot is in a later one, which may have been left unsettled
 * (is_unsettled), finds another value and changes nothing.
 */
static void
stay_condemn(struct troupe__slot *slot, uint32_t generation, uint32_t seen)
{
    (void)troupe__cas_release(&slot->dead_generation, &seen, generation);
    (void)token_mark(slot);
}

bool
troupe__slot_verify(uint64_t tag)
{
    struct troupe__slot *slot = troupe__tag_slot(tag);
    uint32_t generation = (uint32_t)(tag >> 32);
    uint32_t index;
    uint32_t seen;
    int32_t pid;
    uint64_t moment;

    if (slot == NULL || troupe__tag_dead(tag))
        return true;
    seen = troupe__load_acquire(&slot->dead_generation);
    index = (uint32_t)(tag & TROUPE__TAG_SLOT) - 1;
    /* Pairs with the fence in slot_occupy(): the identity read here is that of
     * the tag's stay, or of a later one, which the generation then shows. */
    troupe__fence_seq_cst();
    pid = troupe__load_relaxed(&slot->pid);
    moment = troupe__load_relaxed(&slot->moment);
    if (troupe__load_acquire(&slot->generation) != generation)
        return true;
    if (!slot_is_ours(index, troupe__family_namespace()) ||
        !troupe__task_ended(pid, moment))
        return false;
    stay_condemn(slot, generation, seen);
    return true;
}

void
troupe__slots_condemn(uint32_t member, uint32_t generation)
{
    uint32_t high = troupe__load_acquire(&troupe__family.heap->slots_high);
    uint32_t i;

    for (i = 0; i < high && i < TROUPE__SLOTS; i++) {
        struct troupe__slot *slot = troupe__slot_at(i);
        uint32_t seen = troupe__load_acquire(&slot->dead_generation);
        uint32_t stay = troupe__load_acquire(&slot->generation);

        if (troupe__load_acquire(&slot->member) != member ||
            troupe__load_relaxed(&slot->member_generation) != generation ||
            !troupe__token_alive(
                troupe__load_acquire(troupe__slot_token(slot))) ||
            troupe__load_acquire(&slot->generation) != stay)
            continue;
        stay_condemn(slot, stay, seen);
    }
}

/* Recovers a slot if its thread is dead and has left it to be recovered. 1: it
 * did; 0: there is nothing to do, or somebody else does it; -EAGAIN: it could
 * not settle it now. */
static int
slot_recover(struct troupe__slot *slot, uint32_t index)
{
    uint32_t word = troupe__load_acquire(troupe__slot_token(slot));
    int status = 0;
    int taken;

    if (troupe__token_alive(word)) {
        if (TROUPE__LIKELY(!is_unsettled(slot)) ||
            slot == troupe__thread_self->slot)
            return 0;
        /* Announced dead under a living token: somebody recovers it at this
         * moment, or the kernel has lost the mark. */
        if (!slot_is_ours(index, troupe__family_namespace()) ||
            !token_mark(slot))
            return 0;
    } else if ((word & FUTEX_OWNER_DIED) == 0 && !is_unsettled(slot)) {
        return 0; /* free */
    }
    if (!slot_is_ours(index, troupe__family_namespace()))
        return 0;
    taken = token_take(slot);
    if (taken != 0 && taken != EOWNERDEAD)
        return 0;
    /* A token that was free is looked at again: it may be settled by now. */
    if (taken == EOWNERDEAD || is_unsettled(slot))
        status = stay_recover(slot, index) ? 1 : -EAGAIN;
    if (taken == EOWNERDEAD)
        (void)pthread_mutex_consistent(&slot->token.mutex);
    token_free(slot);
    return status;
}

void
troupe__slot_recover(uint32_t index)
{
    struct troupe__heap *heap = troupe__family.heap;
    struct troupe__thread *self = troupe__thread_self;

    if (self->tag != 0 && self->locks == 0 &&
        index < troupe__load_acquire(&heap->slots_high))
        (void)slot_recover(troupe__slot_at(index), index);
}

unsigned
troupe__slots_recover(void)
{
    struct troupe__heap *heap = troupe__family.heap;
    struct troupe__thread *self = troupe__thread_self;
    unsigned recovered = 0;
    uint32_t high;
    uint32_t i;

    if (heap == NULL || self->tag == 0 || self->locks != 0)
        return 0;
    high = troupe__load_acquire(&heap->slots_high);
    for (i = 0; i < high && i < TROUPE__SLOTS; i++) {
        int status = slot_recover(troupe__slot_at(i), i);

        /* The others need the same lock: not to be waited for again. */
        if (status < 0)
            return recovered;
        recovered += (unsigned)status;
    }
    return recovered + troupe__members_recover();
}

/* The slot is ours now: fills in who we are. The tag is public only when the
 * caller stores it, so the order of these stores does not matter to anybody
 * but recovery, which trusts none of them. */
static void
slot_occupy(struct troupe__thread *thread, struct troupe__slot *slot,
            uint32_t index)
{
    uint32_t generation = troupe__load_relaxed(&slot->generation);

    if (thread->tid == 0)
        thread->tid = troupe__task_tid();
    troupe__store_relaxed(&slot->pid, troupe__family_pid());
    troupe__store_relaxed(&slot->tid, thread->tid);
    troupe__store_relaxed(&slot->moment, troupe__family_moment());
    thread->slot = slot;
    thread->index = index;
    thread->tag = tag_make(generation, index);
    /* Whoever finds this tag anywhere, and then has passed a fence of its own,
     * finds the token taken, the generation, and who we are. */
    troupe__fence_seq_cst();
}

/* A slot taken from a dead thread has that one's contents, any other none. */
static void
contents_own(const struct troupe__thread *thread)
{
    troupe__store_release(&thread->slot->contents,
                          (uint32_t)(thread->tag >> 32));
}

bool
troupe__slot_inherit(const struct troupe__thread *thread)
{
    if (troupe__slot_is_own(thread))
        return true;
    if (!slot_settle(thread->slot, thread->index))
        return false;
    contents_own(thread);
    return true;
}

int
troupe__slot_claim(struct troupe__thread *thread, bool replace)
{
    struct troupe__heap *heap = troupe__family.heap;
    uint64_t name_space = troupe__family_namespace();
    uint32_t range;

    /* A thread whose number is noted was here before, or was made by the
     * library's own fork. */
    if (thread->tid == 0 && !libc_knows_us())
        return troupe__detail(-ENOTSUP, "a process made by clone(2) itself, "
                                        "not by fork(3)");
    for (range = 0; range < TROUPE__RANGES; range++) {
        uint64_t *owner = &heap->range_namespace[range];
        uint64_t found = troupe__load_acquire(owner);
        uint32_t i;

        if (found == 0)
            (void)troupe__cas_acquire(owner, &found, name_space);
        if (found != 0 && found != name_space)
            continue;
        for (i = range * TROUPE__RANGE_SLOTS;
             i < (range + 1) * TROUPE__RANGE_SLOTS; i++) {
            struct troupe__slot *slot = troupe__slot_at(i);
            int status = slots_extend(heap, i);

            if (status < 0)
                return troupe__detail(status, "memory for thread slot %u", i);
            if (!replace && (troupe__load_relaxed(troupe__slot_token(slot)) &
                             FUTEX_OWNER_DIED) != 0)
                continue;
            status = token_take(slot);
            if (status == 0 && is_unsettled(slot)) {
                token_free(slot);
                continue;
            }
            if (status != 0 && status != EOWNERDEAD)
                continue;
            if (status == EOWNERDEAD)
                stay_replace(slot, i);
            slot_occupy(thread, slot, i);
            if (status == 0)
                contents_own(thread);
            return 0;
        }
    }
    return troupe__detail(-EUSERS, "all %u thread slots are taken",
                          TROUPE__SLOTS);
}

void
troupe__slot_leave(struct troupe__thread *thread)
{
    struct troupe__slot *slot = thread->slot;
    bool settled;

    if (thread->locks != 0) {
        /* It was ended in the middle of a call, by pthread_exit() in a signal
         * handler: settling would wait for locks that are its own. So it is a
         * death, told at once; who comes after the thread's end, when the
         * kernel has marked the token, settles. */
        obituary_write(slot, thread->tag);
        stay_announce(slot);
        thread->tag = 0;
        return;
    }
    /* Settled first, while the tag lives: it takes locks under that name. */
    settled = slot_settle(slot, thread->index);
    /* It may have left locks behind. */
    obituary_write(slot, thread->tag);
    stay_announce(slot);
    if (settled)
        stay_finish(slot);
    thread->tag = 0;
    token_free(slot);
}
