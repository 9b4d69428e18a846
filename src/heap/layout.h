/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What lies in the heap's window, byte by byte: this is the protocol between
 * the members, and what the inspector reads.
 *
 *     0                heap header, obituaries, directory root
 *     MEMBERS_OFFSET   member records, one per process
 *     (guard)
 *     SLOTS_OFFSET     thread slots, one page each
 *     (guard)
 *     PAGES_OFFSET     page descriptors of the arena
 *     arena_offset     the arena: runs of pages, some of them slabs
 *
 * Records refer to each other by offset from the base or by index, so that a
 * reader at another address can follow them; users' data holds plain pointers.
 *
 * Nothing here is trusted: an index or offset read from shared memory is
 * copied once and checked before it is used.
 */
#ifndef TROUPE_SRC_HEAP_LAYOUT_H
#define TROUPE_SRC_HEAP_LAYOUT_H

#include "base/macros.h"

#include <pthread.h>
#include <stdint.h>

#define TROUPE__MAGIC          UINT64_C(0x3165707556725421)
#define TROUPE__LAYOUT_VERSION 1u

#define TROUPE__MEMBERS_OFFSET (UINT64_C(1) << 20)
#define TROUPE__SLOTS_OFFSET   (UINT64_C(4) << 20)
#define TROUPE__PAGES_OFFSET   (UINT64_C(40) << 20)
#define TROUPE__GUARD_SIZE     (UINT64_C(64) << 10)

#define TROUPE__SLOTS   8192u
#define TROUPE__MEMBERS 8192u
/* A pid namespace takes slots in ranges: two threads that are known by the
 * same number in different namespaces must never touch one token. */
#define TROUPE__RANGE_SLOTS 16u
#define TROUPE__RANGES      (TROUPE__SLOTS / TROUPE__RANGE_SLOTS)
#define TROUPE__CENSUSES    16u

/*
 * A tag names one thread for one stay in the family: the low half is what
 * stands in a futex word, the high half the slot's generation.
 *
 *     bit  63..32  generation of the slot
 *     bit  31      somebody waits (in a lock word only; never in a tag)
 *     bit  29      always set: keeps the word apart from every thread id, which
 *                  is below 2^22, and from 0
 *     bit  13..0   slot + 1
 *
 * The generation is raised when the thread ends, so a tag never comes alive
 * again.
 */
#define TROUPE__WAITERS  UINT64_C(0x80000000)
#define TROUPE__TAG_MARK UINT64_C(0x20000000)
#define TROUPE__TAG_SLOT UINT64_C(0x00003fff)

/*
 * Owner word of a block (32 bits), beside the block and not in it. It says at
 * every instant whose the block is:
 *
 *     0                          free
 *     OWNER_LIBRARY              the library's for good: a published object, a
 *                                page of the directory; never a user's to free
 *     OWNER_CACHED  | slot       in the magazine of a thread
 *     OWNER_GIVEN   | slot       handed out by that thread: the family's
 *     OWNER_HELD    | unit       belongs to the object at that unit (a scope, a
 *                                queue, a thread's slot) and dies with it
 *
 * A unit is an offset divided by 64: objects that hold blocks are aligned so.
 */
#define TROUPE__UNIT_SHIFT 6
/* Lists of blocks record them by offset / 16, in 32 bits; a unit has 30. */
#define TROUPE__LARGEST_WINDOW (UINT64_C(1) << 36)
#define TROUPE__OWNER_KIND     UINT32_C(0xc0000000)
#define TROUPE__OWNER_LIBRARY  UINT32_C(0x00000001)
#define TROUPE__OWNER_CACHED   UINT32_C(0x40000000)
#define TROUPE__OWNER_GIVEN    UINT32_C(0x80000000)
#define TROUPE__OWNER_HELD     UINT32_C(0xc0000000)
#define TROUPE__OWNER_VALUE    UINT32_C(0x3fffffff)

/* Small blocks: size classes, and how many blocks of each a thread caches. */
#define TROUPE__CLASSES  32u
#define TROUPE__MAGAZINE 16u
/* Blocks a thread can hold by itself at one time. */
#define TROUPE__HELD 256u

/*
 * The thread slot. Only the thread that holds the token writes here, and after
 * its death whoever found EOWNERDEAD; exceptions are named.
 */
struct troupe__slot {
    /* Liveness: a robust mutex, held as long as the thread lives, only ever
     * tried. The kernel marks its word when the thread dies. Never reused for
     * anything else: the kernel writes here at unforeseeable moments. */
    union {
        pthread_mutex_t mutex;
        unsigned char room[64];
    } token;

    uint32_t generation; /* raised when a stay ends, before the token is free */
    /* Stay that was proved dead; set by recovery. The present one's under a
     * token that is free: it is still to be settled. */
    uint32_t dead_generation;
    uint32_t member; /* index + 1 of the process's record */
    uint32_t member_generation;
    int32_t pid;
    int32_t tid;
    uint64_t moment; /* of the process's life; with pid its identity */
    /* Tag of who sets the token's mark in the kernel's place;
     * compare-and-swapped by anybody. */
    uint64_t rescuer;
    /* Stay whose thread wrote what stands below: the present one's, or an
     * earlier one's that is still to be settled. Stored when the slot has been
     * claimed clean, or settled: by a death before that, the earlier stay is
     * settled once more, and there is nothing to settle. */
    uint32_t contents;
    uint32_t reserved_[5];

    /* What the thread waits for, published on the slow path only. Readers: the
     * inspector, the deadlock detector. Hints. */
    uint64_t wait_object; /* offset in the heap, or address if outside */
    int64_t wait_since;
    uint32_t wait_kind; /* enum troupe__wait_kind; 0 = not waiting */
    uint32_t reserved2_[11];

    /* Intents: what the thread is in the middle of, for recovery. */
    uint32_t run_page; /* index + 1 of a run being allocated or freed */
    uint32_t queue_items;
    /* Messages being delivered to this thread: the queue's offset (0: none),
     * where in the queue the first stands, and how many there are. Set under
     * the queue's get lock; who takes that lock from this thread may clear it.
     */
    uint64_t queue;
    uint64_t queue_head;
    uint64_t reserved4_[5];

    /* Magazines: blocks cached for this thread, as offset / 16. */
    uint32_t magazine_count[TROUPE__CLASSES];
    uint32_t magazine[TROUPE__CLASSES][TROUPE__MAGAZINE];
    /* Blocks this thread holds: objects being made, reservations. An entry
     * counts only while the block's owner word says the same. */
    uint32_t held[TROUPE__HELD];
    unsigned char reserved5_[4096 - 256 - 4 * TROUPE__CLASSES -
                             4 * TROUPE__CLASSES * TROUPE__MAGAZINE -
                             4 * TROUPE__HELD];
};

/* States of a member record, in the low byte of its state word. */
enum troupe__member_state {
    TROUPE__MEMBER_FREE = 0,
    TROUPE__MEMBER_STARTING =
        1, /* made by the parent, the child not here yet */
    TROUPE__MEMBER_ALIVE = 2,
    /* Being recovered, by the holder of `recoverer`; nobody's: still to be. */
    TROUPE__MEMBER_DEAD = 3
};

/* The gate of a starting process. */
enum troupe__gate {
    TROUPE__GATE_CLOSED = 0,
    TROUPE__GATE_OPEN = 1,
    TROUPE__GATE_AWAITED = 2 /* closed, and the child sleeps on it */
};

/*
 * The record of one process.
 *
 * state: generation << 8 | enum troupe__member_state, changed by CAS:
 *     FREE -> STARTING      by the parent (or the process itself for the root)
 *     STARTING -> ALIVE     by the child, its first act in the family
 *     STARTING -> DEAD      by whoever sees parent and child gone: the child,
 *                           if it exists after all, loses the CAS above
 *     ALIVE -> DEAD         by whoever has proved the process dead
 *     DEAD -> FREE          (generation + 1) when recovered
 */
struct troupe__member {
    uint64_t state;
    uint64_t recoverer; /* tag of who recovers the record; CAS by anybody */
    int32_t pid;        /* 0 until the child or the parent has written it */
    int32_t parent_pid;
    uint64_t moment;        /* at which pid was this process: its identity */
    uint64_t pid_namespace; /* the one in which pid counts */
    uint64_t parent_tag;    /* thread that started it; 0 for the root */
    uint32_t parent_member; /* index + 1; 0 for the root */
    uint32_t parent_generation;
    int64_t started_at;
    /* Futex: bit 0 asked to stop, by anybody; the rest the low bits of the
     * generation, so that nobody asks the next process of the record. */
    uint32_t stop;
    uint32_t flags; /* TROUPE__MEMBER_... bits */
    /* Exit record: 1 << 31 | status << 8 | signal, written by the process
     * itself before _exit, or 0. */
    uint32_t exit_record;
    /* Futex, enum troupe__gate | low bits of the generation << 2: the child
     * passes when its parent has all that it needs to know it by. */
    uint32_t gate;
    char name[64];
    char program[16];
    /* Abstract name of the doorbell of a process that polls (the five bytes
     * the kernel gave), 0 when it does not. Written by the process. */
    uint64_t doorbell;
    uint32_t slot_hint; /* index + 1 of the slot of one of its threads */
    /* Generation + 1 if a thread of it ended without leaving: killed, or lost
     * in an exec. Set by recovery. */
    uint32_t thread_died;
    uint64_t reserved2_[10];
};

#define TROUPE__MEMBER_ROOT   1u
#define TROUPE__MEMBER_DAEMON 2u

/* Obituary of a thread that died without giving up its slot. Ring of the last
 * ones. A writer that was held up while the ring went round writes into
 * another's entry: what belongs together shows in `check`, and no other entry
 * counts. */
struct troupe__obituary {
    uint64_t tag;
    int32_t pid;
    int32_t tid;
    int64_t when;
    char name[32];
    uint64_t check; /* of all words before it */
};

#define TROUPE__OBITUARIES 256u

/*
 * Page descriptor. The arena is a sequence of runs; a run's first page says
 * what it is and how long, in one word, and so the sequence can be walked from
 * the beginning whatever died where:
 *
 *     head: bits 2..0 enum troupe__page_state, 31..3 by state, 63..32 length
 *
 * A free run, or one on its way from or to there, that may lack memory, because
 * it was given back to the system or never taken, is hollow (bit 8): nothing
 * may touch it before memory was taken for it.
 *
 * Everything else (links, footers, the words of pages inside a run) is derived
 * and rebuilt after a death under the page lock.
 */
enum troupe__page_state {
    TROUPE__PAGE_INSIDE = 0, /* no head: says nothing */
    TROUPE__PAGE_FREE = 1,
    TROUPE__PAGE_LARGE = 2, /* one block; owner word in `owner` */
    TROUPE__PAGE_SLAB = 3,  /* size class in bits 15..8 */
    TROUPE__PAGE_PART = 4,  /* page of a slab: head's index in bits 63..32 */
    TROUPE__PAGE_FOOT = 5   /* last page of a free run: likewise */
};

struct troupe__page {
    uint64_t head;

    union {
        struct {
            uint32_t next; /* index + 1 in the bin of free runs */
            uint32_t previous;
        } link;

        uint32_t owner;
    } u;
};

#define TROUPE__PAGE_HOLLOW 1u /* in the place of the size class */

/* An internal lock: a lock word as in sync/, without mark and options. */
struct troupe__mutex {
    uint64_t word;
};

#define TROUPE__BINS 64u

struct troupe__size_class {
    struct troupe__mutex lock;
    uint32_t partial; /* index + 1 of a slab with free blocks: list head */
    uint32_t reserved_[13];
};

/*
 * The object directory: pages of entries, each 0 or
 *
 *     kind << 56 | the low 16 bits of the object's created_at << 40 | offset
 *
 * An entry that was taken again for another object at the same place differs.
 */
#define TROUPE__DIRECTORY_ENTRIES 511u

struct troupe__directory_page {
    uint64_t next; /* offset of the next page; set once by CAS */
    uint64_t entries[TROUPE__DIRECTORY_ENTRIES];
};

struct troupe__heap {
    /* Written by the root before anybody else can look, then constant. */
    uint64_t magic;
    uint32_t version;
    uint32_t fingerprint; /* of the sizes of everything in this file */
    uint64_t base;
    uint64_t window;
    uint64_t arena_offset;
    uint32_t arena_pages; /* pages of the window's arena part */
    uint32_t members_limit;
    uint32_t slots_limit;
    uint32_t token_word; /* byte offset of the futex word in the token */
    int32_t root_pid;
    uint32_t reserved_;
    uint64_t reserved_root;
    uint64_t root_namespace;
    int64_t created_at;
    uint64_t reserved2_[5];

    /* Watermarks: records below them have memory. Raised by CAS after the
     * memory is there. */
    uint32_t slots_high;
    uint32_t members_high;
    uint64_t obituary_next; /* fetch-added; entry is the value modulo size */
    /* Held by who takes an object out of the directory, and by who walks it
     * and means to touch what it finds. */
    struct troupe__mutex directory_lock;
    /* Bit per kind of which there has been an object. */
    uint64_t directory_kinds;
    uint64_t reserved3_[4];

    /* Pid namespace of each range of slots; 0 = nobody's. CAS once. */
    uint64_t range_namespace[TROUPE__RANGES];

    /* When somebody of a pid namespace may next ask the system for all its
     * processes; by the namespace modulo size. CAS. */
    int64_t census_next[TROUPE__CENSUSES];

    /* Page allocator: all under `lock`; pages_end may be read without. */
    struct {
        struct troupe__mutex lock;
        uint64_t limit_pages;
        uint32_t pages_end; /* pages in the sequence of runs: in the file */
        uint32_t described_pages; /* pages whose descriptors have memory */
        uint32_t free_pages;      /* sum over free runs */
        uint32_t released;   /* pages freed since there was too much memory, or
                             * since it was last asked whether there is */
        uint64_t bins_used;  /* bit per bin that may hold runs */
        uint64_t keep_pages; /* free memory kept in any case; constant */
        /* At most so much do free runs beside each other make that are not
         * merged, for one is hollow and one is not; 0: there are no such. */
        uint32_t seamed;
        uint32_t reserved2_;
        uint64_t reserved_[1];
        uint32_t bins[TROUPE__BINS]; /* index + 1 of the first free run */
    } pages;

    struct troupe__size_class classes[TROUPE__CLASSES];
    struct troupe__obituary obituaries[TROUPE__OBITUARIES];
    struct troupe__directory_page directory;
};

/* Kinds of objects in the directory and of things waited for: append only. */
enum troupe__kind {
    TROUPE__KIND_NONE = 0,
    TROUPE__KIND_LOCK = 1,
    TROUPE__KIND_EVENT = 2,
    TROUPE__KIND_QUEUE_ITEMS = 3, /* a getter of a queue */
    TROUPE__KIND_QUEUE_ROOM = 4,  /* a putter of a queue */
    TROUPE__KIND_PROCESS = 5,
    TROUPE__KIND_INTERNAL = 6, /* a lock of the library */
    TROUPE__KIND_SCOPE = 7,
    TROUPE__KIND_QUEUE = 8,
    TROUPE__KIND_POOL = 9,
    TROUPE__KIND_POLLERS = 10
};

/* What every object in the directory begins with. */
struct troupe__object {
    uint32_t magic; /* TROUPE__OBJECT_MAGIC + kind [+ .._DETACHED] */
    uint32_t kind;
    uint64_t directory_entry; /* offset of its entry */
    uint64_t creator;         /* tag */
    int64_t created_at;
    char name[32];
};

#define TROUPE__OBJECT_MAGIC UINT32_C(0x74727000)
/* It is being freed, and may still hold something. */
#define TROUPE__OBJECT_DETACHED UINT32_C(0x80)

_Static_assert(sizeof(struct troupe__slot) == 4096, "a slot is a page");
_Static_assert(sizeof(struct troupe__member) == 256, "16 members a page");
_Static_assert(sizeof(struct troupe__page) == 16, "descriptor");
_Static_assert(sizeof(struct troupe__obituary) == 64, "obituary");
_Static_assert(sizeof(struct troupe__object) == 64, "object header");
_Static_assert(sizeof(struct troupe__size_class) == 64, "a cache line each");
_Static_assert(sizeof(struct troupe__heap) <=
                   TROUPE__MEMBERS_OFFSET - TROUPE__GUARD_SIZE,
               "the header ends before the members");

#endif
