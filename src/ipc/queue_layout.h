/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a queue looks like in the heap: the protocol between the members, and
 * what the inspector reads. docs/design/queue.md has the reasons.
 *
 * The object is followed by its ring of 16-byte cells. A record is a header
 * cell and the payload's cells; records lie one behind the other and never
 * wrap: what is left at the ring's end is one record of state PAD.
 *
 * `head` and `tail` are single words, number << 32 | position: the cell where
 * the next record is read or written, and how many messages have passed there.
 * Storing one is the commit of a get or a put: whatever else a put or get
 * changes is derived from the two and from the records between them. The ring
 * is empty when the numbers are equal, so equal positions with different
 * numbers mean that it is full.
 */
#ifndef TROUPE_SRC_IPC_QUEUE_LAYOUT_H
#define TROUPE_SRC_IPC_QUEUE_LAYOUT_H

#include "heap/layout.h"
#include "sync/eventword.h"

#include <stdint.h>

#define TROUPE__CELL 16u

/*
 * Header of a record.
 *
 * ctl, changed by compare-and-swap once it is in the ring:
 *     bits 63..32  generation of the lessee's tag
 *     bits 31..30  state
 *     bit  29      TROUPE__TAG_MARK of the lessee's tag
 *     bits 27..18  how often a lease ended with its lessee's death
 *     bit  17      the payload is in a block: struct troupe__record_block
 *     bits 13..0   slot + 1 of the lessee's tag
 */
struct troupe__record {
    uint64_t ctl;
    uint32_t size; /* of a payload in the ring */
    /* Cells that count for max_bytes, of all records put before this one,
     * modulo 2^32. The difference of two is what lies between them. */
    uint32_t weight;
};

struct troupe__record_block {
    uint64_t size;
    uint32_t block; /* as lists record blocks; owner word: held by the queue */
    uint32_t reserved_;
};

#define TROUPE__RECORD_STATE  UINT64_C(0xc0000000)
#define TROUPE__RECORD_READY  UINT64_C(0)
#define TROUPE__RECORD_LEASED UINT64_C(0x40000000)
#define TROUPE__RECORD_DONE   UINT64_C(0x80000000)
#define TROUPE__RECORD_PAD    UINT64_C(0xc0000000)
#define TROUPE__RECORD_TAG \
 (UINT64_C(0xffffffff00000000) | TROUPE__TAG_MARK | TROUPE__TAG_SLOT)
#define TROUPE__RECORD_ATTEMPT  UINT64_C(0x00040000)
#define TROUPE__RECORD_ATTEMPTS UINT64_C(0x0ffc0000)
#define TROUPE__RECORD_BLOCK    UINT64_C(0x00020000)
/* Bits that a record in order has clear unless it is leased. */
#define TROUPE__RECORD_NEVER (TROUPE__RECORD_TAG | UINT64_C(0x1001c000))

/* What stands before a payload in a block of its own. The payload is aligned to
 * 64 in large blocks. */
struct troupe__payload {
    uint32_t magic; /* never that of an object */
    uint32_t reserved_;
    uint64_t queue; /* offset of the queue it was reserved for */
    uint64_t size;  /* reserved */
    uint64_t place; /* of its record, once put: like head and tail */
    uint64_t reserved2_[4];
};

/* Bit of `tail`, over the position: in a queue with a single producer nothing
 * is put behind it any more. */
#define TROUPE__QUEUE_END UINT64_C(0x80000000)

#define TROUPE__PAYLOAD_MAGIC UINT32_C(0x70796c64)

/* One side of the queue: what its lock protects, and in a queue with a single
 * producer (consumer) what the thread in `owner` may change without it. */
struct troupe__queue_put {
    struct troupe__mutex lock;
    uint64_t owner;
    uint64_t tail; /* with TROUPE__QUEUE_END */
    /* A block on its way from its producer to the ring: its record << 32 | the
     * number tail will have. Left behind by a death, it is the queue's if the
     * owner word says so; and in the ring if tail has got there. */
    uint64_t pending;
    /* Derived: */
    uint64_t seen;        /* a head as it was */
    uint32_t seen_weight; /* weight of the record there */
    uint32_t weight;      /* what the next record's weight is */
    /* All puts some time ago, at most 2^32 of them: with the number in tail
     * that tells how many there are now. */
    uint64_t total;
    uint64_t reserved_;
};

struct troupe__queue_get {
    struct troupe__mutex lock;
    uint64_t owner;
    uint64_t head;
    /* A block on its way from the ring to its consumer: its record, and the
     * place of the message's record in the ring. */
    uint64_t pending_place;
    uint32_t pending;
    /* Whether there may be records behind head that are not READY: from the
     * message number `limit` on there is none. If so, `cursor` is where to look
     * for the first that is READY. Else head is. */
    uint32_t window;
    uint64_t cursor;
    /* Derived: */
    uint64_t seen; /* a tail as it was */
    uint32_t limit;
    /* Raised without the lock: a lease has come back, look from head on. */
    uint32_t rescan;
};

/* Bits of `flags`. */
#define TROUPE__QUEUE_SHUTDOWN       1u
#define TROUPE__QUEUE_CLOSED         2u /* by some member: see parties */
#define TROUPE__QUEUE_PRODUCERS_GONE 4u
#define TROUPE__QUEUE_CONSUMERS_GONE 8u
#define TROUPE__QUEUE_PRODUCERS_CAME 16u /* as many as declared */
#define TROUPE__QUEUE_CONSUMERS_CAME 32u
#define TROUPE__QUEUE_HAS_PARTIES    64u
/* Either is the end of the stream: nothing is put behind it. */
#define TROUPE__QUEUE_ENDS \
 (TROUPE__QUEUE_SHUTDOWN | TROUPE__QUEUE_PRODUCERS_GONE)

/* Bits of `options`, constant. */
#define TROUPE__QUEUE_SINGLE_PRODUCER 1u
#define TROUPE__QUEUE_SINGLE_CONSUMER 2u

/*
 * A member's relation to the queue: generation << 32 | kind << 16 | number of
 * the member (index + 1), or 0. Changed by single stores under `party_lock`.
 */
enum troupe__party {
    TROUPE__PARTY_NONE = 0,
    TROUPE__PARTY_PRODUCER = 1,
    TROUPE__PARTY_CONSUMER = 2,
    TROUPE__PARTY_CLOSED = 3,
    /* One that has left, kept to count who has come. */
    TROUPE__PARTY_PRODUCER_LEFT = 4,
    TROUPE__PARTY_CONSUMER_LEFT = 5
};

/* In the place of a consumer's tag, and none: look who there is. */
#define TROUPE__QUEUE_LOOK UINT64_C(1)

#define TROUPE__PARTIES 23u

struct troupe__parties {
    uint64_t next; /* offset of a block held by the queue; set once */
    uint64_t cells[TROUPE__PARTIES];
};

/* TROUPE_QUEUE_GET and TROUPE_QUEUE_PUT: also who waits there, and the roles
 * that use the side. */
#define TROUPE__QUEUE_SIDES 2u

struct troupe_queue {
    struct troupe__object object;

    uint32_t flags; /* fetch-or, by anybody */
    uint32_t options;
    uint32_t cells; /* of the ring; read through troupe__queue_ring_size() */
    uint32_t max_items;
    uint32_t max_weight; /* cells */
    uint32_t expected[TROUPE__QUEUE_SIDES];
    uint32_t bounded_items; /* whether max_items was given */
    uint64_t max_bytes;     /* as given, for information; likewise: */
    uint64_t small_bytes;
    /* For producers: a thread of a declared consumer, for as long as it lives
     * there is one; or TROUPE__QUEUE_LOOK; 0: none is declared. Under
     * `party_lock`. */
    uint64_t consumer;
    uint32_t cells_inverted;
    uint32_t reserved2_;

    struct troupe__queue_put put;
    struct troupe__queue_get get;

    /* By side: woken when there are messages, when there is room. */
    struct {
        struct troupe__eventword event;
        uint64_t pollers; /* the home of sync/doorbell.h */
        uint64_t reserved_[6];
    } side[TROUPE__QUEUE_SIDES];

    /* Messages that died with a consumer, and whose death was counted last, so
     * that counting it twice can be told: count << 32 | generation << 14 |
     * slot + 1. */
    uint64_t lost;
    uint64_t redelivered; /* a plain count */
    struct troupe__mutex party_lock;
    uint64_t reserved3_[5];

    struct troupe__parties parties;
};

#define TROUPE__QUEUE_RING sizeof(struct troupe_queue)

_Static_assert(sizeof(struct troupe__record) == TROUPE__CELL, "header cell");
_Static_assert(sizeof(struct troupe__record_block) == TROUPE__CELL, "cell");
_Static_assert(sizeof(struct troupe__payload) == 64, "a cache line");
_Static_assert(sizeof(struct troupe__queue_put) == 64, "a cache line");
_Static_assert(sizeof(struct troupe__queue_get) == 64, "a cache line");
_Static_assert(sizeof(struct troupe__parties) % 64 == 0, "cache lines");
_Static_assert(sizeof(struct troupe_queue) % 64 == 0, "the ring is aligned");

#endif
