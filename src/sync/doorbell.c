/* SPDX-License-Identifier: Apache-2.0 */
#include "sync/doorbell.h"

#include "heap/alloc.h"
#include "heap/detail.h"
#include "heap/directory.h"
#include "heap/member.h"
#include "heap/slot.h"
#include "os/bell.h"
#include "os/cancel.h"
#include "os/fd.h"
#include "os/task.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* In the heap: who polls an object. */
struct poller {
    uint64_t member;  /* generation << 32 | index + 1; 0: a free cell. CAS */
    uint64_t name;    /* of the bell; 0: not yet */
    uint32_t armed;   /* which arming it is, to be rung for; 0: none */
    uint32_t armings; /* the last one, of whoever had the cell; its owner's */
};

#define POLLERS 36u

struct pollers {
    struct troupe__object object;
    /* Address of the word that names this table: a home, or `next` of another
     * table; 0 until that is about to be stored. */
    uint64_t home;
    uint64_t member; /* its maker's, as in a cell */
    uint64_t next;   /* offset of one more table, set once */
    struct poller cells[POLLERS];
};

/* In the process: what this member polls. */
struct bell {
    struct bell *next;
    uint64_t *home;
    struct pollers *table; /* which the cell is in */
    struct poller *cell;
    uint64_t name;
    int socket;
    int set; /* holds the socket and the family's set */
};

/* A member that is watched: its end wakes every poller of this process. One
 * that is known to have ended stays with fd -1 until its record is free. */
struct watched {
    struct troupe__member_ref member; /* number 0: a free place */
    int fd;
};

static struct {
    pthread_mutex_t lock;
    uint64_t self; /* member that all this belongs to */
    struct bell *bells;
    /* The family's set: who joins, who ends. -1 when there is none. */
    int set;
    int door; /* rung by members that join */
    uint64_t door_name;
    int tick;       /* in the place of watches that could not be had */
    bool ticking;   /* it is on */
    bool strangers; /* may ring, who cannot be watched */
    struct watched *watched;
    uint32_t watched_count;
    uint32_t watched_room;
} polling = {
    .lock = PTHREAD_MUTEX_INITIALIZER, .set = -1, .door = -1, .tick = -1};

uint32_t troupe__doorbell_count;

/* What this process rings from, + 1; made when first needed. */
static int sender;

/* `data` in the family's set: the index of a watch, or one of these. */
#define DATA_DOOR UINT64_MAX
#define DATA_TICK (UINT64_MAX - 1)

static uint64_t
self_word(const struct troupe__thread *self)
{
    return (uint64_t)self->slot->member_generation << 32 | self->member;
}

static struct troupe__member_ref
word_member(uint64_t word)
{
    struct troupe__member_ref member = {(uint32_t)word, (uint32_t)(word >> 32)};

    return member;
}

static struct pollers *
table_at(uint64_t offset)
{
    return offset == 0 ? NULL
                       : troupe__object_check(troupe__family_at(offset),
                                              TROUPE__KIND_POLLERS);
}

/* Rings a name. A host may have closed the descriptor, or put something else in
 * its place, which refuses to send there: then a new one. What refuses and is
 * such a socket is kept, whatever the reason. Lock-free, for
 * troupe_event_set() is async-signal-safe. */
static int
ring(uint64_t name)
{
    unsigned tries;
    int status = -EBADF;

    for (tries = 0; tries < 2; tries++) {
        int fd = troupe__load_acquire(&sender) - 1;
        int fresh;
        int none = fd + 1;

        if (fd >= 0) {
            status = troupe__bell_ring(fd, name);
            if (status == 0 || troupe__bell_sends(fd))
                return status;
        }
        fresh = troupe__bell_sender();
        if (fresh < 0)
            return fresh;
        if (!troupe__cas_seq_cst(&sender, &none, fresh + 1))
            troupe__fd_close(fresh);
    }
    return status;
}

int
troupe__doorbell_sender(void)
{
    return troupe__load_acquire(&sender) - 1;
}

/* Gives up a member's cell: its own, or that of one that has died. */
static void
cell_clear(struct poller *cell, uint64_t member)
{
    (void)troupe__cas_seq_cst(&cell->member, &member, UINT64_C(0));
}

/* Whether a ring that ended so is all that this arming needs: the bell was
 * rung, or is gone with its member. One that lives and cannot be reached from
 * here, or not now, may be reached by the next one that changes the object. So
 * may one that is dead and not yet known to be: the heap alone is asked, for
 * whom the system has still can be asked by nobody in a signal handler. */
static bool
ring_served(int status, const struct poller *cell)
{
    const struct troupe__member *member;

    if (status != -ECONNREFUSED)
        return status == 0;
    member =
        troupe__member_find(word_member(troupe__load_acquire(&cell->member)));
    return member == NULL ||
           (troupe__load_acquire(&member->state) & 0xff) == TROUPE__MEMBER_DEAD;
}

/* Async-signal-safe: leaves errno alone, and leaves the cells of the dead to
 * recovery and to who needs a cell. Until then such a cell may be rung each
 * time. */
void
troupe__doorbell_ring(const uint64_t *home)
{
    struct pollers *table = table_at(troupe__load_acquire(home));
    int saved = errno;
    unsigned i;

    for (; table != NULL; table = table_at(troupe__load_acquire(&table->next)))
        for (i = 0; i < POLLERS; i++) {
            struct poller *cell = &table->cells[i];
            uint32_t armed;

            if (troupe__load_acquire(&cell->member) == 0)
                continue;
            armed = troupe__load_seq_cst(&cell->armed);
            /* Only what has been rung is disarmed, and only the arming that it
             * was rung for: who cannot ring, or is stopped or killed on the
             * way, leaves it to the others, and the poller may have looked and
             * armed anew meanwhile. Killed before the ring, with nobody else to
             * come: the poller watches us. */
            if (armed != 0 &&
                ring_served(ring(troupe__load_acquire(&cell->name)), cell))
                (void)troupe__cas_seq_cst(&cell->armed, &armed, 0u);
        }
    errno = saved;
}

/* Nobody is cancelled while it holds the lock, though recv(), close() and more
 * are cancellation points. Returns what the unlock takes. */
static int
polling_lock(void)
{
    int state = troupe__cancel_off();

    (void)pthread_mutex_lock(&polling.lock);
    return state;
}

static void
polling_unlock(int state)
{
    (void)pthread_mutex_unlock(&polling.lock);
    troupe__cancel_restore(&state);
}

/* The rest, up to the functions of the header, runs under polling.lock. */

/* Where a host has closed our descriptors behind our back, nothing is closed:
 * the numbers may be its own files by now. The socket can be recognized, the
 * set beside it cannot. */
static void
bell_close(struct bell *bell)
{
    if (troupe__bell_is(bell->socket, bell->name)) {
        (void)close(bell->set);
        (void)close(bell->socket);
    }
    free(bell);
    troupe__store_relaxed(&troupe__doorbell_count, troupe__doorbell_count - 1);
}

static void
watch_end(uint32_t i)
{
    if (polling.watched[i].fd < 0)
        return;
    troupe__set_remove(polling.set, polling.watched[i].fd);
    (void)close(polling.watched[i].fd);
    polling.watched[i].fd = -1;
}

/* Closes what belongs to the family's set, likewise. */
static void
family_close(void)
{
    bool ours =
        polling.door < 0 || troupe__bell_is(polling.door, polling.door_name);
    uint32_t i;

    if (polling.set < 0)
        return;
    for (i = 0; ours && i < polling.watched_count; i++)
        if (polling.watched[i].fd >= 0)
            (void)close(polling.watched[i].fd);
    free(polling.watched);
    polling.watched = NULL;
    polling.watched_count = polling.watched_room = 0;
    if (ours) {
        if (polling.tick >= 0)
            (void)close(polling.tick);
        if (polling.door >= 0)
            (void)close(polling.door);
        (void)close(polling.set);
    }
    polling.set = polling.door = polling.tick = -1;
    polling.ticking = polling.strangers = false;
}

/* A fork child finds its parent's bells: they are closed here. */
static void
adopt(const struct troupe__thread *self)
{
    uint64_t mine = self_word(self);

    if (polling.self == mine)
        return;
    while (polling.bells != NULL) {
        struct bell *next = polling.bells->next;

        bell_close(polling.bells);
        polling.bells = next;
    }
    family_close();
    polling.self = mine;
}

static struct bell **
bell_find(const uint64_t *home)
{
    struct bell **link = &polling.bells;

    while (*link != NULL && (*link)->home != home)
        link = &(*link)->next;
    return *link == NULL ? NULL : link;
}

/* Whether a bell has its cell still: somebody else may have ended the object.
 * Looks at nothing that may have no memory, as a home may have none by now. */
static bool
cell_stands(const struct bell *bell)
{
    return troupe__block_owner(bell->table) == TROUPE__OWNER_LIBRARY &&
           table_at(troupe__family_offset(bell->table)) != NULL &&
           troupe__load_acquire(&bell->table->home) != 0 &&
           troupe__load_acquire(&bell->cell->member) == polling.self &&
           troupe__load_acquire(&bell->cell->name) == bell->name;
}

/* The same for the object that is at the home now: it may be a new one. */
static bool
bell_stands(const struct bell *bell)
{
    const struct pollers *table = table_at(troupe__load_acquire(bell->home));

    if (!troupe__bell_is(bell->socket, bell->name) || !cell_stands(bell))
        return false;
    while (table != NULL && table != bell->table)
        table = table_at(troupe__load_acquire(&table->next));
    return table != NULL;
}

static void
bell_drop(struct bell **link)
{
    struct bell *bell = *link;

    if (cell_stands(bell))
        cell_clear(bell->cell, polling.self);
    /* A fork child's copies keep the sets alive, also in the set of the host,
     * which has no means to take a closed one out: it is to be silent. */
    if (troupe__bell_is(bell->socket, bell->name)) {
        troupe__set_remove(bell->set, bell->socket);
        troupe__set_remove(bell->set, polling.set);
    }
    *link = bell->next;
    bell_close(bell);
}

/* Drops the bells of what others have ended. */
static void
bells_sweep(void)
{
    struct bell **link = &polling.bells;

    while (*link != NULL)
        if (cell_stands(*link))
            link = &(*link)->next;
        else
            bell_drop(link);
}

static void
bells_ring(void)
{
    const struct bell *bell;

    for (bell = polling.bells; bell != NULL; bell = bell->next)
        (void)ring(bell->name);
}

static bool
is_watched(struct troupe__member_ref member)
{
    uint32_t i;

    for (i = 0; i < polling.watched_count; i++)
        if (polling.watched[i].member.number == member.number &&
            polling.watched[i].member.generation == member.generation)
            return true;
    return false;
}

/* A place for one more watch, or NULL. */
static struct watched *
watch_new(uint32_t *ret_index)
{
    struct watched *more;
    uint32_t room;
    uint32_t i;

    for (i = 0; i < polling.watched_count; i++)
        if (polling.watched[i].member.number == 0)
            break;
    if (i == polling.watched_room) {
        room = polling.watched_room == 0 ? 16 : polling.watched_room * 2;
        more = realloc(polling.watched, room * sizeof(*more));
        if (more == NULL)
            return NULL;
        polling.watched = more;
        polling.watched_room = room;
    }
    if (i == polling.watched_count) {
        polling.watched_count++;
        polling.watched[i].member.number = 0;
        polling.watched[i].fd = -1;
    }
    *ret_index = i;
    return &polling.watched[i];
}

enum watch_status {
    WATCH_HELD,
    WATCH_ENDED, /* it has ended: nothing to watch, but to look */
    WATCH_FAILED /* it lives and cannot be watched */
};

static enum watch_status
watch(struct troupe__member_ref ref, const struct troupe__member *member)
{
    int32_t pid = troupe__load_acquire(&member->pid);
    struct watched *place;
    uint32_t index = 0;
    int fd;

    if (pid == 0 || member->pid_namespace != troupe__family_namespace())
        return WATCH_FAILED;
    fd = troupe__fd_above_streams(troupe__task_open(pid));
    if (fd < 0 && fd != -ESRCH)
        return WATCH_FAILED;
    /* The number may have been another's by the time it was opened; then its
     * member has ended. */
    if (fd >= 0 && troupe__member_dead(ref)) {
        (void)close(fd);
        fd = -1;
    }
    place = watch_new(&index);
    if (place == NULL ||
        (fd >= 0 && troupe__set_add(polling.set, fd, index) < 0)) {
        if (fd >= 0)
            (void)close(fd);
        return WATCH_FAILED;
    }
    place->member = ref;
    place->fd = fd < 0 ? -1 : fd;
    return fd < 0 ? WATCH_ENDED : WATCH_HELD;
}

/* A second is the bound of everything that cannot be watched. The timer is made
 * with the set: when one is needed there may be no descriptor left. */
static void
tick_set(bool wanted)
{
    if (wanted == polling.ticking)
        return;
    troupe__tick_set(polling.tick, wanted);
    polling.ticking = wanted;
}

/*
 * Brings the family's set up to date: takes out who has ended, adds who has
 * joined. True: something has happened that any of the objects polled here may
 * have been changed by without a ring.
 */
static bool
family_sync(const struct troupe__thread *self)
{
    const struct troupe__heap *heap = troupe__family.heap;
    uint32_t high;
    bool happened = false;
    bool failed = false;
    uint64_t data[32];
    unsigned count;
    uint32_t i;

    do {
        count = troupe__set_ready(polling.set, data, 32);
        for (i = 0; i < count; i++) {
            happened = true;
            if (data[i] == DATA_DOOR)
                (void)troupe__bell_drain(polling.door);
            else if (data[i] == DATA_TICK)
                troupe__tick_drain(polling.tick);
            else if (data[i] < polling.watched_count)
                watch_end((uint32_t)data[i]);
        }
    } while (count == 32);
    /* After the door was silenced: who joins from here on rings again. */
    troupe__fence_seq_cst();
    high = troupe__load_acquire(&heap->members_high);
    for (i = 0; i < high && i < TROUPE__MEMBERS; i++) {
        const struct troupe__member *member = troupe__member_at(i);
        uint64_t state = troupe__load_acquire(&member->state);
        struct troupe__member_ref ref = {i + 1, (uint32_t)(state >> 8)};

        if ((state & 0xff) == TROUPE__MEMBER_FREE || i + 1 == self->member ||
            is_watched(ref))
            continue;
        switch (watch(ref, member)) {
        case WATCH_HELD:
            break;
        case WATCH_ENDED:
            happened = true;
            break;
        case WATCH_FAILED:
            failed = true;
            break;
        }
    }
    /* Those whose records have been freed need not be remembered. */
    for (i = 0; i < polling.watched_count; i++) {
        struct watched *w = &polling.watched[i];

        if (w->member.number != 0 && troupe__member_find(w->member) == NULL) {
            if (w->fd >= 0)
                happened = true;
            watch_end(i);
            w->member.number = 0;
        }
    }
    tick_set(failed || polling.strangers);
    return happened;
}

/* What the system refused to who asks for a descriptor to poll. */
static int
refused(int error)
{
    return troupe__detail_refused(error, "a descriptor to poll");
}

/* Makes the family's set, and this member known as one that polls. After a
 * failure there are no bells, and a part of it may be there. */
static int
family_open(const struct troupe__thread *self)
{
    struct troupe__member *member = troupe__member_at(self->member - 1);
    int status;

    if (polling.set >= 0 && troupe__bell_is(polling.door, polling.door_name))
        return 0;
    /* What was polled before holds the set that is gone. */
    while (polling.bells != NULL)
        bell_drop(&polling.bells);
    family_close();
    polling.set = troupe__set_new();
    if (polling.set < 0)
        return refused(polling.set);
    polling.door = troupe__bell_new(&polling.door_name);
    status = polling.door < 0
                 ? polling.door
                 : troupe__set_add(polling.set, polling.door, DATA_DOOR);
    if (status < 0)
        return refused(status);
    polling.tick = troupe__tick_new();
    status = polling.tick < 0
                 ? polling.tick
                 : troupe__set_add(polling.set, polling.tick, DATA_TICK);
    if (status < 0)
        return refused(status);
    /* Pairs with the fence in joined(): who joins rings this door, or is seen
     * by the sync that follows. */
    troupe__store_seq_cst(&member->doorbell, polling.door_name);
    return 0;
}

/* The last bell takes the family's set with it. */
static void
family_end(const struct troupe__thread *self)
{
    if (polling.bells != NULL || polling.set < 0)
        return;
    troupe__store_seq_cst(&troupe__member_at(self->member - 1)->doorbell,
                          UINT64_C(0));
    family_close();
}

/* A new member: rings everybody who polls, before it can owe a ring. */
static void
joined(void)
{
    const struct troupe__heap *heap = troupe__family.heap;
    uint32_t high;
    uint32_t i;

    troupe__fence_seq_cst();
    high = troupe__load_acquire(&heap->members_high);
    for (i = 0; i < high && i < TROUPE__MEMBERS; i++) {
        struct troupe__member *member = troupe__member_at(i);
        uint64_t name = troupe__load_acquire(&member->doorbell);

        if (name != 0 && (troupe__load_acquire(&member->state) & 0xff) !=
                             TROUPE__MEMBER_FREE)
            (void)ring(name);
    }
}

/*
 * Takes a free cell for this member, in a new table if need be. A table that
 * came second at the end of the list goes behind the one that was first: who
 * walks the directory may be looking at it already.
 */
static struct poller *
cell_new(struct troupe__thread *self, uint64_t *home,
         struct pollers **ret_table)
{
    struct pollers *fresh = NULL;
    uint64_t mine = polling.self;
    uint64_t *link = home;

    for (;;) {
        uint64_t offset = troupe__load_acquire(link);
        struct pollers *table = table_at(offset);
        unsigned i;

        if (table == NULL) {
            if (fresh == NULL) {
                fresh =
                    troupe__object_new(self, TROUPE__KIND_POLLERS,
                                       sizeof(*fresh), sizeof(*fresh), NULL);
                if (fresh == NULL)
                    return NULL;
                fresh->member = mine;
                if (troupe__object_publish(self, fresh) < 0)
                    return NULL;
            }
            /* Before the word names it: a table whose word does not is freed
             * by the recovery of its maker. */
            troupe__store_release(&fresh->home, (uint64_t)(uintptr_t)link);
            if (!troupe__cas_seq_cst(link, &offset,
                                     troupe__family_offset(fresh)))
                continue;
            table = fresh;
            fresh = NULL;
        }
        for (i = 0; i < POLLERS && fresh == NULL; i++) {
            struct poller *cell = &table->cells[i];
            uint64_t member = troupe__load_acquire(&cell->member);

            if (member != 0 && !troupe__member_dead(word_member(member)))
                continue;
            if (!troupe__cas_seq_cst(&cell->member, &member, mine))
                continue;
            troupe__store_seq_cst(&cell->armed, 0u);
            *ret_table = table;
            return cell;
        }
        link = &table->next;
    }
}

static int
bell_new(struct troupe__thread *self, uint64_t *home, struct bell **ret)
{
    struct bell *bell = calloc(1, sizeof(*bell));
    int status;

    if (bell == NULL)
        return -ENOMEM;
    bells_sweep();
    bell->home = home;
    bell->set = -1;
    bell->socket = troupe__bell_new(&bell->name);
    status = bell->socket;
    if (status >= 0)
        bell->set = status = troupe__set_new();
    if (status >= 0)
        status = troupe__set_add(bell->set, bell->socket, 0);
    if (status >= 0) {
        status = troupe__set_add(bell->set, polling.set, 1);
        /* The kernel limits how many sets one descriptor may wake. */
        if (status == -EINVAL)
            status = troupe__detail(-EMFILE,
                                    "no more than 500 descriptors of events "
                                    "and queues in one process");
        else if (status < 0)
            status = refused(status);
    } else {
        status = refused(status);
    }
    if (status >= 0) {
        bell->cell = cell_new(self, home, &bell->table);
        if (bell->cell == NULL)
            status = -ENOMEM;
    }
    if (status < 0) {
        if (bell->set >= 0)
            (void)close(bell->set);
        if (bell->socket >= 0)
            (void)close(bell->socket);
        free(bell);
        return status;
    }
    troupe__store_release(&bell->cell->name, bell->name);
    bell->next = polling.bells;
    polling.bells = bell;
    troupe__store_relaxed(&troupe__doorbell_count, troupe__doorbell_count + 1);
    /* Readable until somebody has looked. */
    (void)ring(bell->name);
    *ret = bell;
    return 0;
}

int
troupe__doorbell_fileno(struct troupe__thread *self, uint64_t *home,
                        bool strangers, int *ret_fd)
{
    struct bell *bell = NULL;
    struct bell **link;
    bool first;
    int status;
    int cancel;

    cancel = polling_lock();
    adopt(self);
    status = family_open(self);
    link = bell_find(home);
    if (link != NULL) {
        bell = *link;
        if (!bell_stands(bell)) {
            bell_drop(link);
            bell = NULL;
        }
    }
    first = polling.bells == NULL;
    if (status == 0 && bell == NULL)
        status = bell_new(self, home, &bell);
    if (status == 0 && strangers) {
        polling.strangers = true;
        tick_set(true);
    }
    /* Last, for members may be many: what is left of the descriptors is for
     * them, and the timer stands in for the others. */
    if (status == 0 && first)
        (void)family_sync(self);
    if (status == 0)
        *ret_fd = bell->set;
    family_end(self);
    polling_unlock(cancel);
    return status;
}

/* With a number that no arming of the cell had, whoever it belonged to. */
static void
cell_arm(struct poller *cell)
{
    if (++cell->armings == 0)
        cell->armings = 1;
    /* seq_cst: before the look that follows. */
    troupe__store_seq_cst(&cell->armed, cell->armings);
}

bool
troupe__doorbell_rest(struct troupe__thread *self, uint64_t *home)
{
    struct bell **link;
    bool happened = false;
    bool found = false;
    int cancel;

    cancel = polling_lock();
    adopt(self);
    link = bell_find(home);
    if (link != NULL && bell_stands(*link)) {
        found = true;
        happened = family_sync(self);
        if (happened)
            bells_ring();
        (void)troupe__bell_drain((*link)->socket);
        cell_arm((*link)->cell);
    }
    polling_unlock(cancel);
    /* What the dead leave to be given back is there for the look. */
    if (happened)
        (void)troupe__slots_recover();
    return found;
}

void
troupe__doorbell_again(struct troupe__thread *self, uint64_t *home)
{
    struct bell **link;
    int cancel;

    cancel = polling_lock();
    adopt(self);
    link = bell_find(home);
    if (link != NULL)
        (void)ring((*link)->name);
    polling_unlock(cancel);
}

void
troupe__doorbell_close(struct troupe__thread *self, uint64_t *home)
{
    struct bell **link;
    int cancel;

    if (troupe__load_relaxed(&troupe__doorbell_count) == 0)
        return;
    cancel = polling_lock();
    adopt(self);
    link = bell_find(home);
    if (link != NULL)
        bell_drop(link);
    family_end(self);
    polling_unlock(cancel);
}

/* The word at an address of the heap; NULL for one outside. */
static const uint64_t *
heap_word(uint64_t address)
{
    const uint64_t *word = troupe__family_at(address - troupe__family.base);

    return troupe_heap_contains(word, sizeof(*word)) ? word : NULL;
}

/* The table that a word names. One that was freed with its thread, whose memory
 * another word's table has now, is not. */
static struct pollers *
table_of(const uint64_t *link)
{
    struct pollers *table = table_at(troupe__load_acquire(link));

    return table != NULL && troupe__load_acquire(&table->home) ==
                                (uint64_t)(uintptr_t)link
               ? table
               : NULL;
}

/* From the end: killed in between, what is left is a list. */
static void
tables_free(struct troupe__thread *self, uint64_t *home)
{
    struct pollers *table;
    struct pollers *next;
    uint64_t *link;
    bool claimed;

    while ((table = table_of(home)) != NULL) {
        for (link = home; (next = table_of(&table->next)) != NULL; table = next)
            link = &table->next;
        /* False: a thread died in freeing it, and its recovery goes on. */
        claimed = troupe__object_claim(self, table);
        troupe__store_release(link, UINT64_C(0));
        if (claimed)
            troupe__object_free(self, table);
    }
}

/* Without the lock, whose holder may stand in one of them: the tables are the
 * caller's to leave behind, as if it had died in making them. */
static void
tables_leave(struct troupe__thread *self, const uint64_t *home)
{
    struct pollers *table = table_of(home);

    while (table != NULL) {
        struct pollers *next = table_of(&table->next);

        troupe__store_release(&table->object.creator, self->tag);
        troupe__store_release(&table->home, UINT64_C(0));
        table = next;
    }
}

void
troupe__doorbell_empty(struct troupe__thread *self, uint64_t *home)
{
    const struct pollers *table = table_of(home);

    /* The copy of an event in private memory, after a fork: not its own. */
    if (table != NULL && (heap_word((uint64_t)(uintptr_t)home) != NULL ||
                          table->member == self_word(self))) {
        if (troupe__directory_locked(self))
            tables_free(self, home);
        else
            tables_leave(self, home);
    }
    troupe__store_release(home, UINT64_C(0));
}

void
troupe__doorbell_free(struct troupe__thread *self, uint64_t *home)
{
    bool locked;

    troupe__doorbell_close(self, home);
    if (troupe__load_acquire(home) == 0)
        return;
    locked = troupe__directory_lock(self);
    troupe__doorbell_empty(self, home);
    if (locked)
        troupe__directory_unlock(self);
}

/* Recovery. */

struct dead {
    struct troupe__thread *self;
    uint64_t tag;
    uint64_t member;
};

/* A table that its word does not name, made by a thread that is gone. */
static void
table_recover(void *object, void *context)
{
    const struct dead *dead = context;
    struct pollers *table = object;
    uint64_t home = troupe__load_acquire(&table->home);
    const uint64_t *word = heap_word(home);

    if (table->object.creator != dead->tag)
        return;
    /* A word outside of the heap is the maker's process's own: the table ends
     * with that. */
    if (home != 0 && (word == NULL || troupe__load_acquire(word) ==
                                          troupe__family_offset(table)))
        return;
    troupe__object_free(dead->self, table);
}

static void
thread_died(struct troupe__slot *slot, uint64_t tag)
{
    struct dead dead = {troupe__thread_self, tag, 0};

    (void)slot;
    troupe__directory_walk(TROUPE__KIND_POLLERS, table_recover, &dead);
}

static void
cells_recover(void *object, void *context)
{
    const struct dead *dead = context;
    struct pollers *table = object;
    unsigned i;

    for (i = 0; i < POLLERS; i++)
        cell_clear(&table->cells[i], dead->member);
    if (table->member == dead->member && table->home != 0 &&
        heap_word(table->home) == NULL)
        troupe__object_free(dead->self, table);
}

static bool
member_died(uint32_t number, uint32_t generation)
{
    struct dead dead = {troupe__thread_self, 0,
                        (uint64_t)generation << 32 | number};

    troupe__directory_walk(TROUPE__KIND_POLLERS, cells_recover, &dead);
    return true;
}

static const struct troupe__recovery recovery = {
    .slot = thread_died, .member = member_died, .joined = joined};

/* Held over a fork, so that the child finds it free. */
static void
before_fork(void)
{
    (void)pthread_mutex_lock(&polling.lock);
}

static void
after_fork(void)
{
    (void)pthread_mutex_unlock(&polling.lock);
}

__attribute__((constructor)) static void
doorbell_begin(void)
{
    troupe__recovery_add(&recovery);
    (void)pthread_atfork(before_fork, after_fork, after_fork);
}
