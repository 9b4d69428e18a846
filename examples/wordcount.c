/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counts the words of all files below some paths, with a pool of processes.
 *
 *     wordcount [--jobs N] [--top K] [--verify] [--chaos] [--json FILE] PATH...
 *
 *     --jobs N     worker processes; as many as there are processors
 *     --top K      how many of the most frequent words to print; 10
 *     --verify     counts again, in one process and by other code, and compares
 *     --chaos      has a helper kill a random worker every 50 ms all through
 *     --json FILE  writes the figures there, too
 *
 * A word is a run of ASCII letters, digits, _, ' and bytes from 0x80 on, in
 * lower case (ASCII's), cut at 256 bytes. A file with a NUL in its first 8 KiB
 * is binary; such files, and those that cannot be read, are reported and
 * skipped. (Of a file that can be read in part, that part counts, and the error
 * is reported.) Symbolic links below the paths are not followed.
 *
 * How it works: the main process walks the paths and gives out tasks, each some
 * pieces of files of about 256 KiB together. All processes share a dictionary,
 * in the heap, that gives every word a number; it only ever grows, by one
 * compare-and-swap, so it needs no lock, and whoever dies in it harms nobody. A
 * worker counts its pieces by itself and returns pairs of number and count, as
 * one block of the heap; the main process adds them up. A task is counted when
 * its result was given out, and a result is there whole or not at all: so it
 * does not matter when a worker dies. Memory is what the distinct words need,
 * and a constant.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <troupe.h>
#include <unistd.h>

/* What a task takes: 10 ms or less of work, and not too many files. */
#define TASK_BYTES  ((uint64_t)256 << 10)
#define TASK_PIECES 512

#define WORD_MAX    256
#define BINARY_LOOK 8192

/* A worker that is killed now and then, as for lack of memory, does not end a
 * task; nor, where that is the point, one that is killed again and again. */
#define RETRIES        3
#define CHAOS_RETRIES  1000000
#define CHAOS_INTERVAL 0.05

/* The others are counted. */
#define SKIPS_PRINTED 10

static void
fail(const char *what, int status)
{
    (void)fprintf(
        stderr, "wordcount: %s: %s%s%s\n", what, troupe_strerror(status),
        troupe_error_detail()[0] != '\0' ? ": " : "", troupe_error_detail());
    troupe_exit(EXIT_FAILURE);
}

static void *
resized(void *memory, size_t size)
{
    memory = realloc(memory, size);
    if (memory == NULL)
        fail("memory", -ENOMEM);
    return memory;
}

/* ---- words ---- */

/* The byte in lower case, or 0 for one that is not part of a word. */
static unsigned char folded[256];

static void
fold_init(void)
{
    unsigned c;

    for (c = 1; c < 256; c++) {
        if (c >= 'A' && c <= 'Z')
            folded[c] = (unsigned char)(c - 'A' + 'a');
        else if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' ||
                 c == '\'' || c >= 0x80)
            folded[c] = (unsigned char)c;
    }
}

/* Up to seven bytes behind the word are read, and must be 0. */
static uint64_t
hash_of(const unsigned char *word, size_t size)
{
    uint64_t hash = size;
    uint64_t eight;
    size_t i;

    for (i = 0; i < size; i += sizeof(eight)) {
        memcpy(&eight, word + i, sizeof(eight));
        hash = (hash ^ eight) * UINT64_C(0x9e3779b97f4a7c15);
        hash ^= hash >> 29;
    }
    return hash;
}

/* ---- the dictionary, shared by all processes ---- */

struct word {
    struct word *next;
    uint64_t hash;
    uint32_t number;
    uint32_t size;
    unsigned char bytes[];
};

#define CHAINS ((size_t)1 << 17)

struct dictionary {
    /* Numbers given out: some words died with a worker before they stood in a
     * chain, and have none. */
    _Atomic uint32_t numbers;
    _Atomic(struct word *) chains[CHAINS];
};

static struct word *
word_new(struct dictionary *d, const unsigned char *bytes, size_t size,
         uint64_t hash)
{
    struct word *word = troupe_alloc(sizeof(*word) + size);

    if (word == NULL)
        return NULL;
    word->hash = hash;
    word->number = atomic_fetch_add(&d->numbers, 1);
    word->size = (uint32_t)size;
    memcpy(word->bytes, bytes, size);
    return word;
}

/* The word's entry, made if need be; NULL: no memory. A pointer into the heap
 * is the same in every process, so chains are chains. */
static const struct word *
dictionary_word(struct dictionary *d, const unsigned char *bytes, size_t size,
                uint64_t hash)
{
    _Atomic(struct word *) *chain = &d->chains[hash % CHAINS];
    struct word *head = atomic_load(chain);
    const struct word *seen = NULL;
    const struct word *word;
    struct word *fresh = NULL;

    for (;;) {
        for (word = head; word != seen; word = word->next) {
            if (word->hash == hash && word->size == size &&
                memcmp(word->bytes, bytes, size) == 0) {
                (void)troupe_free(fresh);
                return word;
            }
        }
        if (fresh == NULL)
            fresh = word_new(d, bytes, size, hash);
        if (fresh == NULL)
            return NULL;
        seen = head;
        fresh->next = head;
        if (atomic_compare_exchange_strong(chain, &head, fresh))
            return fresh;
    }
}

static void
dictionary_free(struct dictionary *d)
{
    size_t i;

    for (i = 0; i < CHAINS; i++) {
        struct word *word = d->chains[i];

        while (word != NULL) {
            struct word *next = word->next;

            (void)troupe_free(word);
            word = next;
        }
    }
    (void)troupe_free(d);
}

/* ---- a worker's counts of one task, in private memory ---- */

struct entry {
    uint64_t hash;
    size_t bytes; /* where the word's are: close together, unlike the heap's */
    uint32_t size;
    uint32_t number; /* in the dictionary */
    uint32_t count;  /* in this task */
};

/* Linear probing; a slot is the upper half of a hash, and entry + 1. */
struct slot {
    uint32_t hash;
    uint32_t entry;
};

/* Words that this worker has met stay in the table from task to task. */
struct table {
    struct entry *entries;
    size_t count;
    size_t room;
    struct slot *slots;
    size_t mask;
    unsigned char *bytes;
    size_t used;
    size_t bytes_room;
    uint32_t *met; /* entries with a count */
    size_t met_count;
};

static void
table_rehash(struct table *t, size_t slots)
{
    size_t i;

    free(t->slots);
    t->slots = calloc(slots, sizeof(*t->slots));
    if (t->slots == NULL)
        fail("memory", -ENOMEM);
    t->mask = slots - 1;
    for (i = 0; i < t->count; i++) {
        uint64_t hash = t->entries[i].hash;
        size_t at = hash & t->mask;

        while (t->slots[at].entry != 0)
            at = (at + 1) & t->mask;
        t->slots[at].hash = (uint32_t)(hash >> 32);
        t->slots[at].entry = (uint32_t)i + 1;
    }
}

static struct entry *
table_append(struct table *t, size_t at, const struct word *word)
{
    if (t->count == t->room) {
        t->room = t->room == 0 ? 4096 : t->room * 2;
        t->entries = resized(t->entries, t->room * sizeof(*t->entries));
        t->met = resized(t->met, t->room * sizeof(*t->met));
    }
    if (t->bytes_room - t->used < word->size) {
        t->bytes_room = t->bytes_room * 2 + 65536;
        t->bytes = resized(t->bytes, t->bytes_room);
    }
    memcpy(t->bytes + t->used, word->bytes, word->size);
    t->entries[t->count] =
        (struct entry){word->hash, t->used, word->size, word->number, 0};
    t->used += word->size;
    t->slots[at].hash = (uint32_t)(word->hash >> 32);
    t->slots[at].entry = (uint32_t)t->count + 1;
    return &t->entries[t->count++];
}

/* Counts a word; false: no memory. */
static bool
table_count(struct table *t, struct dictionary *d, const unsigned char *bytes,
            size_t size)
{
    uint64_t hash = hash_of(bytes, size);
    const struct word *word;
    struct entry *e;
    size_t at;

    if (t->slots == NULL || t->count * 2 > t->mask)
        table_rehash(t, t->slots == NULL ? 16384 : (t->mask + 1) * 2);
    for (at = hash & t->mask;; at = (at + 1) & t->mask) {
        const struct slot *slot = &t->slots[at];

        if (slot->entry == 0) {
            word = dictionary_word(d, bytes, size, hash);
            if (word == NULL)
                return false;
            e = table_append(t, at, word);
            break;
        }
        if (slot->hash != (uint32_t)(hash >> 32))
            continue;
        e = &t->entries[slot->entry - 1];
        if (e->hash == hash && e->size == size &&
            memcmp(t->bytes + e->bytes, bytes, size) == 0)
            break;
    }
    if (e->count++ == 0)
        t->met[t->met_count++] = (uint32_t)(e - t->entries);
    return true;
}

/* ---- what tasks and results look like ---- */

/* A task's item: some of these, one behind the other, each followed by its path
 * with a NUL, padded to 8. */
struct piece {
    uint64_t file; /* which one, in the order of the walk */
    uint64_t offset;
    uint64_t size;
    uint64_t file_size; /* when the paths were walked */
    uint64_t path_size; /* with NUL and padding */
};

static const char *
piece_path(const struct piece *piece)
{
    return (const char *)(piece + 1);
}

static const struct piece *
piece_next(const struct piece *piece)
{
    return (const struct piece *)(const void *)(piece_path(piece) +
                                                piece->path_size);
}

/* Figures of a task and, summed up, of the whole. */
struct figures {
    uint64_t files;
    uint64_t bytes;
    uint64_t words;
    uint64_t skipped;
};

/* A task's result: this, then the words, then the skipped files. */
struct result {
    struct figures figures;
    uint64_t words; /* distinct ones */
};

struct packed_word {
    uint32_t number; /* in the dictionary */
    uint32_t count;
};

struct packed_skip {
    int32_t error; /* 0: binary */
    uint32_t size; /* of the path, which follows with its NUL, padded to 8 */
    uint64_t file; /* its piece's, if other pieces may tell the same; else 0 */
};

static size_t
padded(size_t size)
{
    return (size + 7) & ~(size_t)7;
}

/* ---- counting, in a worker ---- */

struct skip {
    int error;
    const struct piece *piece;
};

/* Kept from task to task. */
struct counter {
    struct dictionary *dictionary;
    struct table table;
    struct figures figures;
    unsigned char *text;
    size_t text_room;
    bool no_memory;
    struct skip skips[TASK_PIECES];
};

/* Reads up to `size` bytes; how many there were, or -1 with errno. */
static ssize_t
read_at(int fd, unsigned char *to, size_t size, uint64_t offset)
{
    size_t done = 0;

    while (done < size) {
        ssize_t got = pread(fd, to + done, size - done, (off_t)(offset + done));

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -1;
        if (got == 0)
            break;
        done += (size_t)got;
    }
    return (ssize_t)done;
}

/*
 * Counts the words that begin in [from, to) of the text, which goes on to
 * `size`. Two bytes behind it are the loops' to use: the first ends a word
 * there, the second ends what is between words. False: no memory.
 */
static bool
count_text(struct counter *c, unsigned char *text, size_t from, size_t to,
           size_t size)
{
    unsigned char word[WORD_MAX + sizeof(uint64_t)];
    const unsigned char *p = text + from;
    const unsigned char *end = text + to;

    text[size] = '\0';
    text[size + 1] = 'a';
    /* A word that began before belongs to the piece before. */
    if (from > 0 && folded[p[-1]] != 0)
        while (folded[*p] != 0)
            p++;
    for (;;) {
        size_t length = 0;
        unsigned char byte;

        while (folded[*p] == 0)
            p++;
        if (p >= end)
            return true;
        while ((byte = folded[*p]) != 0) {
            if (length < WORD_MAX)
                word[length++] = byte;
            p++;
        }
        memset(word + length, 0, sizeof(uint64_t));
        if (!table_count(&c->table, c->dictionary, word, length))
            return false;
        c->figures.words++;
    }
}

/* 0, or an errno, or -1 for a binary file. */
static int
count_open_piece(struct counter *c, const struct piece *piece, int fd)
{
    unsigned char head[BINARY_LOOK];
    uint64_t before = piece->offset > 0 ? 1 : 0;
    uint64_t end = piece->offset + piece->size + WORD_MAX;
    size_t want;
    ssize_t got;

    /* The first piece of a file may be all that a task had room for. */
    if (end < BINARY_LOOK)
        end = BINARY_LOOK;
    if (end > piece->file_size)
        end = piece->file_size;
    want = (size_t)(end - piece->offset + before);
    if (c->text_room < want + 2) {
        c->text_room = want + 2;
        c->text = resized(c->text, c->text_room);
    }
    got = read_at(fd, c->text, want, piece->offset - before);
    if (got < 0)
        return errno;
    if (before == 0) {
        if (memchr(c->text, 0, got < BINARY_LOOK ? (size_t)got : BINARY_LOOK) !=
            NULL)
            return -1;
    } else {
        ssize_t head_size = read_at(fd, head, sizeof(head), 0);

        if (head_size < 0)
            return errno;
        if (memchr(head, 0, (size_t)head_size) != NULL)
            return -1;
    }
    if ((uint64_t)got > before) {
        size_t to = (size_t)(before + piece->size);

        if (!count_text(c, c->text, (size_t)before,
                        to < (size_t)got ? to : (size_t)got, (size_t)got))
            c->no_memory = true;
    }
    if (before == 0)
        c->figures.files++;
    c->figures.bytes += piece->size;
    return 0;
}

static void
count_piece(struct counter *c, const struct piece *piece)
{
    int fd = open(piece_path(piece), O_RDONLY | O_CLOEXEC | O_NOCTTY);
    int error = fd < 0 ? errno : count_open_piece(c, piece, fd);

    if (fd >= 0)
        (void)close(fd);
    /* That it is binary the first piece of a file tells for all. An error each
     * tells, for it may be the only one. */
    if (error > 0 || (error < 0 && piece->offset == 0))
        c->skips[c->figures.skipped++] =
            (struct skip){error < 0 ? 0 : error, piece};
}

static size_t
packed_size(const struct counter *c)
{
    size_t size =
        sizeof(struct result) + c->table.met_count * sizeof(struct packed_word);
    size_t i;

    for (i = 0; i < c->figures.skipped; i++)
        size += sizeof(struct packed_skip) +
                padded(strlen(piece_path(c->skips[i].piece)) + 1);
    return size;
}

/* Writes the result, and makes the table ready for the next task. */
static void
pack(struct counter *c, unsigned char *to)
{
    struct result *result = (struct result *)(void *)to;
    struct packed_word *word = (struct packed_word *)(void *)(result + 1);
    size_t i;

    result->figures = c->figures;
    result->words = c->table.met_count;
    for (i = 0; i < c->table.met_count; i++, word++) {
        struct entry *e = &c->table.entries[c->table.met[i]];

        word->number = e->number;
        word->count = e->count;
        e->count = 0;
    }
    c->table.met_count = 0;
    to = (unsigned char *)word;
    for (i = 0; i < c->figures.skipped; i++) {
        struct packed_skip *s = (struct packed_skip *)(void *)to;
        const struct piece *piece = c->skips[i].piece;
        size_t size = strlen(piece_path(piece)) + 1;

        s->error = c->skips[i].error;
        s->size = (uint32_t)size;
        s->file =
            s->error > 0 && piece->size < piece->file_size ? piece->file : 0;
        memcpy(s + 1, piece_path(piece), size);
        to += sizeof(*s) + padded(size);
    }
}

static int
count_task(troupe_task *task, void *context)
{
    /* This process's own: it was NULL when the pool was made. */
    static struct counter *counter;
    const struct piece *piece = troupe_task_item(task);
    const char *end = (const char *)piece + troupe_task_size(task);
    unsigned char *result;
    size_t size;

    if (counter == NULL) {
        counter = calloc(1, sizeof(*counter));
        if (counter == NULL)
            return troupe_task_fail(task, -ENOMEM, "no memory for a table");
        counter->dictionary = context;
    }
    counter->figures = (struct figures){0, 0, 0, 0};
    for (; (const char *)piece < end; piece = piece_next(piece))
        count_piece(counter, piece);
    size = packed_size(counter);
    result = troupe_task_alloc(task, size);
    if (result == NULL || counter->no_memory)
        return troupe_task_fail(task, -ENOMEM, "no shared memory for words");
    pack(counter, result);
    return troupe_task_return(task, result, size);
}

/* ---- walking the paths, in the main process ---- */

struct walk {
    FTS *fts;
    uint64_t skipped;
    uint64_t tasks;
    /* The file that is being cut into pieces; path "" when there is none. */
    char path[PATH_MAX];
    uint64_t file;
    uint64_t file_size;
    uint64_t offset;
    unsigned char *item;
    size_t item_room;
    /* Where what is skipped is noted; NULL: nowhere. */
    FILE *skips;
    /* The files of several pieces among them. */
    uint64_t *large_skips;
    size_t large_skips_count;
};

static void
note_skip(struct walk *walk, const char *path, int error)
{
    walk->skipped++;
    if (walk->skips != NULL) {
        (void)fwrite(&error, sizeof(error), 1, walk->skips);
        (void)fwrite(path, 1, strlen(path) + 1, walk->skips);
    }
}

/* Whether another piece of the file has told already; remembers that one
 * has. */
static bool
was_skipped(struct walk *walk, uint64_t file)
{
    size_t i = walk->large_skips_count;

    while (i > 0)
        if (walk->large_skips[--i] == file)
            return true;
    walk->large_skips =
        resized(walk->large_skips,
                (walk->large_skips_count + 1) * sizeof(*walk->large_skips));
    walk->large_skips[walk->large_skips_count++] = file;
    return false;
}

static void
walk_open(struct walk *walk, char *const *paths, FILE *skips)
{
    size_t count = 0;
    char **some;

    memset(walk, 0, sizeof(*walk));
    walk->skips = skips;
    while (paths[count] != NULL)
        count++;
    some = resized(NULL, (count + 1) * sizeof(*some));
    /* What cannot be: fts would refuse all paths for one that is empty. */
    for (count = 0; *paths != NULL; paths++) {
        if ((*paths)[0] == '\0')
            note_skip(walk, *paths, ENOENT);
        else
            some[count++] = *paths;
    }
    some[count] = NULL;
    if (count != 0)
        walk->fts =
            fts_open(some, FTS_PHYSICAL | FTS_COMFOLLOW | FTS_NOCHDIR, NULL);
    if (count != 0 && walk->fts == NULL)
        fail("walking the paths", -errno);
    free(some);
}

static void
walk_close(struct walk *walk)
{
    if (walk->fts != NULL)
        (void)fts_close(walk->fts);
    free(walk->item);
    free(walk->large_skips);
}

/* The next regular file; false at the end. */
static bool
walk_file(struct walk *walk)
{
    FTSENT *found;

    errno = 0;
    while (walk->fts != NULL && (found = fts_read(walk->fts)) != NULL) {
        switch (found->fts_info) {
        case FTS_F:
            if (!S_ISREG(found->fts_statp->st_mode))
                break; /* a device, a socket */
            if (found->fts_pathlen >= sizeof(walk->path)) {
                note_skip(walk, found->fts_path, ENAMETOOLONG);
                break;
            }
            memcpy(walk->path, found->fts_path, (size_t)found->fts_pathlen + 1);
            walk->file++;
            walk->file_size = (uint64_t)found->fts_statp->st_size;
            walk->offset = 0;
            return true;
        case FTS_DNR:
        case FTS_ERR:
        case FTS_NS:
            note_skip(walk, found->fts_path, found->fts_errno);
            break;
        case FTS_SLNONE: /* an argument that leads nowhere */
            note_skip(walk, found->fts_path, ENOENT);
            break;
        default:
            break;
        }
        errno = 0;
    }
    if (errno != 0)
        fail("walking the paths", -errno);
    walk->path[0] = '\0';
    return false;
}

/* Adds the next piece of the file to the item. */
static size_t
walk_piece(struct walk *walk, size_t at, uint64_t size)
{
    size_t path_size = strlen(walk->path) + 1;
    struct piece piece = {walk->file, walk->offset, size, walk->file_size,
                          padded(path_size)};

    if (walk->item_room < at + sizeof(piece) + piece.path_size) {
        walk->item_room = (at + sizeof(piece) + piece.path_size) * 2;
        walk->item = resized(walk->item, walk->item_room);
    }
    memcpy(walk->item + at, &piece, sizeof(piece));
    memset(walk->item + at + sizeof(piece), 0, piece.path_size);
    memcpy(walk->item + at + sizeof(piece), walk->path, path_size);
    walk->offset += size;
    return at + sizeof(piece) + piece.path_size;
}

/* Makes the next task's item; its size, 0 at the end. */
static size_t
walk_task(struct walk *walk)
{
    uint64_t bytes = 0;
    size_t at = 0;
    unsigned pieces;

    for (pieces = 0; pieces < TASK_PIECES && bytes < TASK_BYTES; pieces++) {
        uint64_t size;

        if (walk->path[0] == '\0' && !walk_file(walk))
            break;
        size = walk->file_size - walk->offset;
        if (size > TASK_BYTES - bytes)
            size = TASK_BYTES - bytes;
        at = walk_piece(walk, at, size);
        bytes += size;
        if (walk->offset == walk->file_size)
            walk->path[0] = '\0';
    }
    if (at != 0)
        walk->tasks++;
    return at;
}

static int
next_item(void *arg, troupe_item *item)
{
    struct walk *walk = arg;

    item->size = walk_task(walk);
    item->data = walk->item;
    return item->size == 0 ? TROUPE_END : 0;
}

/* ---- adding up, in the main process ---- */

struct counted {
    const struct word *word;
    uint64_t count;
};

struct total {
    struct dictionary *dictionary;
    uint64_t *counts; /* by the words' numbers */
    size_t room;
    struct counted *words; /* at the end: those that there are */
    size_t distinct;
    struct figures figures;
    uint32_t kills;
    uint64_t interrupted;
    double seconds;
};

/* Makes room for all words that have numbers. */
static void
total_grow(struct total *total)
{
    size_t numbers = atomic_load(&total->dictionary->numbers);
    size_t room = total->room == 0 ? 65536 : total->room;

    while (room < numbers)
        room *= 2;
    if (room == total->room)
        return;
    total->counts = resized(total->counts, room * sizeof(*total->counts));
    memset(total->counts + total->room, 0,
           (room - total->room) * sizeof(*total->counts));
    total->room = room;
}

static void
add_result(struct total *total, struct walk *walk, const unsigned char *from)
{
    const struct result *result = (const struct result *)(const void *)from;
    const struct packed_word *word =
        (const struct packed_word *)(const void *)(result + 1);
    uint64_t i;

    total->figures.files += result->figures.files;
    total->figures.bytes += result->figures.bytes;
    total->figures.words += result->figures.words;
    total_grow(total);
    for (i = 0; i < result->words; i++, word++)
        total->counts[word->number] += word->count;
    from = (const unsigned char *)word;
    for (i = 0; i < result->figures.skipped; i++) {
        const struct packed_skip *s =
            (const struct packed_skip *)(const void *)from;

        if (s->file == 0 || !was_skipped(walk, s->file))
            note_skip(walk, (const char *)(s + 1), s->error);
        from += sizeof(*s) + padded(s->size);
    }
}

/* Lists the words that were counted: a word that only an interrupted task has
 * met stands in the dictionary with no count. */
static void
total_list(struct total *total)
{
    size_t i;

    total_grow(total);
    for (i = 0; i < total->room; i++)
        total->distinct += total->counts[i] != 0;
    total->words = resized(NULL, (total->distinct + 1) * sizeof(*total->words));
    total->distinct = 0;
    for (i = 0; i < CHAINS; i++) {
        const struct word *word = total->dictionary->chains[i];

        for (; word != NULL; word = word->next)
            if (total->counts[word->number] != 0)
                total->words[total->distinct++] =
                    (struct counted){word, total->counts[word->number]};
    }
}

static void
total_free(struct total *total)
{
    dictionary_free(total->dictionary);
    free(total->counts);
    free(total->words);
}

/* ---- the helper that kills ---- */

struct chaos {
    troupe_pool *pool;
    troupe_event stop;
};

/* 0: there is no such process. */
static pid_t
parent_of(pid_t pid)
{
    char path[32];
    pid_t parent = 0;
    FILE *file;

    (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    file = fopen(path, "re");
    if (file == NULL)
        return 0;
    if (fscanf(file, "%*d (%*[^)]) %*c %d", &parent) != 1)
        parent = 0;
    (void)fclose(file);
    return parent;
}

/* Kills a worker, and nobody else: one that was listed may have ended, and its
 * number be another's. The workers are children of our own parent. */
static void
kill_worker(pid_t pid)
{
    int fd = (int)syscall(SYS_pidfd_open, pid, 0u);

    if (fd < 0)
        return;
    if (parent_of(pid) == getppid())
        (void)syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0u);
    (void)close(fd);
}

static int
kill_workers(void *arg)
{
    struct chaos *chaos = arg;
    unsigned seed = (unsigned)troupe_clock();

    while (troupe_event_wait(&chaos->stop, troupe_after(CHAOS_INTERVAL)) ==
           -ETIMEDOUT) {
        troupe_pool_worker workers[TROUPE_POOL_MAX_PROCESSES];
        size_t count;
        int32_t pid;

        if (troupe_pool_workers(chaos->pool, workers, TROUPE_POOL_MAX_PROCESSES,
                                &count) < 0 ||
            count == 0)
            return EXIT_FAILURE;
        pid = workers[(size_t)rand_r(&seed) % count].pid;
        if (pid > 0) /* 0: a new one is not there yet */
            kill_worker(pid);
    }
    return EXIT_SUCCESS;
}

static troupe_process *
chaos_start(struct chaos *chaos)
{
    troupe_process *killer;
    int status = troupe_process_new(
        &killer,
        TROUPE_OPTIONS(troupe_process_options, .name = "chaos",
                       .target = kill_workers, .arg = chaos, .daemon = true));

    if (status == 0)
        status = troupe_process_start(killer);
    if (status < 0)
        fail("starting the helper that kills", status);
    return killer;
}

static void
chaos_end(struct chaos *chaos, troupe_process *killer)
{
    int code = 1;

    (void)troupe_event_set(&chaos->stop);
    (void)troupe_process_join(killer, TROUPE_FOREVER);
    (void)troupe_process_exitcode(killer, &code);
    troupe_process_free(killer);
    if (code != 0)
        (void)fprintf(stderr, "wordcount: the helper that kills failed\n");
}

/* ---- the count ---- */

struct arguments {
    uint32_t jobs;
    uint64_t top;
    bool verify;
    bool chaos;
    const char *json;
    char *const *paths;
};

static void
collect(troupe_pool *pool, const struct arguments *arguments, struct walk *walk,
        uint64_t tasks, struct total *total)
{
    troupe_imap *imap;
    troupe_result result;
    int status = troupe_pool_imap_unordered(
        &imap, pool, count_task, next_item, walk,
        TROUPE_OPTIONS(troupe_imap_options, .total = tasks, .bar = "counting",
                       .context = total->dictionary,
                       .retries = arguments->chaos ? CHAOS_RETRIES : RETRIES));

    if (status < 0)
        fail("starting the count", status);
    while ((status = troupe_imap_next(imap, &result, TROUPE_FOREVER)) == 0) {
        if (result.status != 0) {
            (void)fprintf(stderr, "wordcount: a task failed: %s\n",
                          result.message);
            troupe_exit(EXIT_FAILURE);
        }
        add_result(total, walk, result.data);
    }
    if (status < 0)
        fail("counting", status);
    (void)troupe_imap_free(imap);
}

static void
count(const struct arguments *arguments, FILE *skips, struct total *total)
{
    struct chaos *chaos = NULL;
    troupe_process *killer = NULL;
    troupe_pool *pool;
    troupe_pool_info info = {.size = sizeof(info)};
    struct walk walk;
    uint64_t tasks;
    int64_t begin;
    int status;

    /* A first walk, to know how much there is to do. */
    walk_open(&walk, arguments->paths, NULL);
    while (walk_task(&walk) != 0) {
    }
    tasks = walk.tasks;
    walk_close(&walk);

    begin = troupe_clock();
    total->dictionary = troupe_calloc(1, sizeof(*total->dictionary));
    if (total->dictionary == NULL)
        fail("memory", -ENOMEM);
    status =
        troupe_pool_new(&pool, TROUPE_OPTIONS(troupe_pool_options,
                                              .processes = arguments->jobs));
    if (status < 0)
        fail("making the pool", status);
    if (arguments->chaos) {
        chaos = troupe_calloc(1, sizeof(*chaos));
        if (chaos == NULL)
            fail("memory", -ENOMEM);
        chaos->pool = pool;
        killer = chaos_start(chaos);
    }
    walk_open(&walk, arguments->paths, skips);
    collect(pool, arguments, &walk, tasks, total);
    total->figures.skipped = walk.skipped;
    walk_close(&walk);
    total_list(total);
    total->seconds = (double)(troupe_clock() - begin) / 1e9;
    if (killer != NULL) {
        chaos_end(chaos, killer);
        (void)troupe_free(chaos);
    }
    (void)troupe_pool_info_get(pool, &info);
    total->kills = info.workers_lost;
    total->interrupted = info.tasks_interrupted;
    (void)troupe_pool_free(pool);
}

/* ---- the same once more: one process, byte by byte, other code ---- */

struct node {
    struct node *next;
    uint64_t count;
    size_t size;
    char word[];
};

struct check {
    struct node **chains;
    size_t room; /* a power of two */
    struct figures figures;
    uint64_t distinct;
};

static struct node **
check_find(struct check *check, const char *word, size_t size)
{
    struct node **at;
    uint32_t hash = 5381;
    size_t i;

    for (i = 0; i < size; i++)
        hash = hash * 33 + (unsigned char)word[i];
    at = &check->chains[(hash ^ hash >> 15) & (check->room - 1)];
    while (*at != NULL &&
           ((*at)->size != size || memcmp((*at)->word, word, size) != 0))
        at = &(*at)->next;
    return at;
}

static void
check_grow(struct check *check)
{
    struct check larger = *check;
    size_t i;

    larger.room = check->room == 0 ? 1024 : check->room * 4;
    larger.chains = calloc(larger.room, sizeof(struct node *));
    if (larger.chains == NULL)
        fail("memory", -ENOMEM);
    for (i = 0; i < check->room; i++) {
        struct node *node = check->chains[i];

        while (node != NULL) {
            struct node *next = node->next;

            node->next = NULL;
            *check_find(&larger, node->word, node->size) = node;
            node = next;
        }
    }
    free(check->chains);
    *check = larger;
}

static void
check_word(struct check *check, const char *word, size_t size)
{
    struct node **at;

    if (check->distinct >= check->room)
        check_grow(check);
    at = check_find(check, word, size);
    if (*at == NULL) {
        *at = calloc(1, sizeof(struct node) + size);
        if (*at == NULL)
            fail("memory", -ENOMEM);
        (*at)->size = size;
        memcpy((*at)->word, word, size);
        check->distinct++;
    }
    (*at)->count++;
    check->figures.words++;
}

/* In the C locale, which a program has that does not ask for another. */
static bool
is_word(int c)
{
    return c >= 0x80 || c == '_' || c == '\'' || isalnum(c);
}

static void
check_file(struct check *check, const char *path, uint64_t file_size)
{
    char head[BINARY_LOOK];
    char word[WORD_MAX];
    size_t size = 0;
    bool inside = false;
    uint64_t left = file_size;
    FILE *file = fopen(path, "re");
    size_t got = file == NULL ? 0 : fread(head, 1, sizeof(head), file);

    if (file == NULL || ferror(file) || memchr(head, 0, got) != NULL) {
        check->figures.skipped++;
        if (file != NULL)
            (void)fclose(file);
        return;
    }
    rewind(file);
    for (;;) {
        int c = left == 0 ? EOF : getc_unlocked(file);

        if (c != EOF)
            left--;
        if (c != EOF && is_word(c)) {
            if (c >= 'A' && c <= 'Z')
                c += 'a' - 'A';
            if (size < sizeof(word))
                word[size++] = (char)c;
            inside = true;
            continue;
        }
        if (inside)
            check_word(check, word, size);
        inside = false;
        size = 0;
        if (c == EOF)
            break;
    }
    check->figures.files++;
    check->figures.bytes += file_size;
    (void)fclose(file);
}

static void
check_path(struct check *check, const char *path, bool follow)
{
    struct stat st;
    struct dirent *found;
    DIR *directory;

    if (fstatat(AT_FDCWD, path, &st, follow ? 0 : AT_SYMLINK_NOFOLLOW) != 0) {
        check->figures.skipped++;
        return;
    }
    if (S_ISREG(st.st_mode))
        check_file(check, path, (uint64_t)st.st_size);
    if (!S_ISDIR(st.st_mode))
        return;
    directory = opendir(path);
    if (directory == NULL) {
        check->figures.skipped++;
        return;
    }
    while ((found = readdir(directory)) != NULL) {
        size_t size = strlen(path) + strlen(found->d_name) + 2;
        char *below;

        if (strcmp(found->d_name, ".") == 0 || strcmp(found->d_name, "..") == 0)
            continue;
        below = resized(NULL, size);
        (void)snprintf(below, size, "%s/%s", path, found->d_name);
        check_path(check, below, false);
        free(below);
    }
    (void)closedir(directory);
}

/* Compares both counts, word by word; how many differ. */
static uint64_t
compare(const struct total *total, struct check *check)
{
    uint64_t different = 0;
    size_t i;

    for (i = 0; i < total->distinct; i++) {
        const struct counted *c = &total->words[i];
        const char *word = (const char *)c->word->bytes;
        struct node *node = *check_find(check, word, c->word->size);

        if (node == NULL || node->count != c->count) {
            if (different++ < 10)
                (void)printf("  %.*s: %" PRIu64 " in the pool, %" PRIu64
                             " in one process\n",
                             (int)c->word->size, word, c->count,
                             node == NULL ? 0 : node->count);
        }
    }
    if (check->distinct != total->distinct)
        different++;
    if (memcmp(&check->figures, &total->figures, sizeof(check->figures)) != 0)
        different++;
    return different;
}

static bool
verify(const struct arguments *arguments, const struct total *total)
{
    struct check check = {NULL, 0, {0, 0, 0, 0}, 0};
    uint64_t different;
    size_t i;

    check_grow(&check);
    for (i = 0; arguments->paths[i] != NULL; i++)
        check_path(&check, arguments->paths[i], true);
    different = compare(total, &check);
    if (different == 0)
        (void)printf("verify: exact\n");
    else
        (void)printf("verify: %" PRIu64 " differences\n", different);
    for (i = 0; i < check.room; i++) {
        while (check.chains[i] != NULL) {
            struct node *node = check.chains[i];

            check.chains[i] = node->next;
            free(node);
        }
    }
    free(check.chains);
    return different == 0;
}

/* ---- the report ---- */

static int
by_count(const void *a, const void *b)
{
    const struct counted *x = a;
    const struct counted *y = b;
    size_t size = x->word->size < y->word->size ? x->word->size : y->word->size;
    int order;

    if (x->count != y->count)
        return x->count > y->count ? -1 : 1;
    order = memcmp(x->word->bytes, y->word->bytes, size);
    if (order != 0)
        return order;
    return x->word->size < y->word->size ? -1 : x->word->size > y->word->size;
}

/* The most frequent words first. */
static uint64_t
top_words(struct total *total, uint64_t top)
{
    if (top != 0)
        qsort(total->words, total->distinct, sizeof(*total->words), by_count);
    return top < total->distinct ? top : total->distinct;
}

static void
print_report(const struct arguments *arguments, const struct total *total,
             uint64_t top)
{
    const struct figures *f = &total->figures;
    uint64_t i;

    for (i = 0; i < top; i++) {
        const struct counted *c = &total->words[i];

        (void)printf("%10" PRIu64 " ", c->count);
        (void)fwrite(c->word->bytes, 1, c->word->size, stdout);
        (void)putchar('\n');
    }
    (void)printf("files: %" PRIu64 "\nskipped: %" PRIu64 "\nbytes: %" PRIu64
                 "\nwords: %" PRIu64 "\ndistinct words: %zu\n",
                 f->files, f->skipped, f->bytes, f->words, total->distinct);
    (void)printf("time: %.2f s, %.1f MiB/s\n", total->seconds,
                 (double)f->bytes / 1048576 / total->seconds);
    if (arguments->chaos)
        (void)printf("kills survived: %" PRIu32 "\ntasks interrupted: %" PRIu64
                     "\n",
                     total->kills, total->interrupted);
}

/* How many bytes a UTF-8 character takes here; 0: it is none. */
static size_t
utf8_size(const unsigned char *text, size_t size)
{
    size_t want = text[0] < 0x80   ? 1
                  : text[0] < 0xc2 ? 0
                  : text[0] < 0xe0 ? 2
                  : text[0] < 0xf0 ? 3
                  : text[0] < 0xf5 ? 4
                                   : 0;
    size_t i;

    if (want == 0 || want > size)
        return 0;
    for (i = 1; i < want; i++)
        if ((text[i] & 0xc0) != 0x80)
            return 0;
    /* Overlong forms, surrogates, and what lies beyond the last character. */
    if ((text[0] == 0xe0 && text[1] < 0xa0) ||
        (text[0] == 0xed && text[1] > 0x9f) ||
        (text[0] == 0xf0 && text[1] < 0x90) ||
        (text[0] == 0xf4 && text[1] > 0x8f))
        return 0;
    return want;
}

/* A JSON string; a byte that is not UTF-8 becomes U+FFFD. */
static void
json_string(FILE *file, const void *text, size_t size)
{
    const unsigned char *bytes = text;
    size_t i = 0;

    (void)fputc('"', file);
    while (i < size) {
        size_t character = utf8_size(bytes + i, size - i);

        if (character == 0) {
            (void)fputs("\\ufffd", file);
            character = 1;
        } else if (bytes[i] == '"' || bytes[i] == '\\') {
            (void)fprintf(file, "\\%c", bytes[i]);
        } else if (bytes[i] < 0x20) {
            (void)fprintf(file, "\\u%04x", bytes[i]);
        } else {
            (void)fwrite(bytes + i, 1, character, file);
        }
        i += character;
    }
    (void)fputc('"', file);
}

/* The next of the files noted as skipped; false at the end. */
static bool
next_skip(FILE *skips, char *path, size_t room, const char **reason)
{
    size_t size = 0;
    int error;
    int c;

    if (fread(&error, sizeof(error), 1, skips) != 1)
        return false;
    while ((c = getc(skips)) != EOF && c != '\0')
        if (size + 1 < room)
            path[size++] = (char)c;
    path[size] = '\0';
    *reason = error == 0 ? "binary" : strerror(error);
    return true;
}

static void
print_skips(FILE *skips, uint64_t count)
{
    char path[PATH_MAX];
    const char *reason;
    unsigned i;

    rewind(skips);
    for (i = 0; i < SKIPS_PRINTED; i++)
        if (next_skip(skips, path, sizeof(path), &reason))
            (void)fprintf(stderr, "wordcount: skipped %s: %s\n", path, reason);
    if (count > SKIPS_PRINTED)
        (void)fprintf(stderr,
                      "wordcount: skipped %" PRIu64
                      " more; --json lists them all\n",
                      count - SKIPS_PRINTED);
}

static void
json_skips(FILE *file, FILE *skips)
{
    char path[PATH_MAX];
    const char *comma = "";
    const char *reason;

    rewind(skips);
    while (next_skip(skips, path, sizeof(path), &reason)) {
        (void)fprintf(file, "%s\n    {\"path\": ", comma);
        json_string(file, path, strlen(path));
        (void)fputs(", \"reason\": ", file);
        json_string(file, reason, strlen(reason));
        (void)fputc('}', file);
        comma = ",";
    }
}

static void
write_json(const struct arguments *arguments, const struct total *total,
           uint64_t top, FILE *skips, const bool *exact)
{
    const struct figures *f = &total->figures;
    FILE *file = fopen(arguments->json, "we");
    uint64_t i;

    if (file == NULL)
        fail(arguments->json, -errno);
    (void)fprintf(file,
                  "{\n  \"files\": %" PRIu64 ",\n  \"skipped\": %" PRIu64
                  ",\n  \"bytes\": %" PRIu64 ",\n  \"words\": %" PRIu64
                  ",\n  \"distinct\": %zu,\n",
                  f->files, f->skipped, f->bytes, f->words, total->distinct);
    (void)fprintf(file, "  \"seconds\": %.6f,\n  \"bytes_per_second\": %.0f,\n",
                  total->seconds, (double)f->bytes / total->seconds);
    (void)fprintf(file,
                  "  \"exact\": %s,\n  \"kills\": %" PRIu32
                  ",\n  \"interrupted\": %" PRIu64 ",\n  \"top\": [",
                  exact == NULL ? "null"
                  : *exact      ? "true"
                                : "false",
                  total->kills, total->interrupted);
    for (i = 0; i < top; i++) {
        const struct counted *c = &total->words[i];

        (void)fprintf(file, "%s\n    {\"word\": ", i == 0 ? "" : ",");
        json_string(file, c->word->bytes, c->word->size);
        (void)fprintf(file, ", \"count\": %" PRIu64 "}", c->count);
    }
    (void)fputs("\n  ],\n  \"skips\": [", file);
    json_skips(file, skips);
    (void)fputs("\n  ]\n}\n", file);
    if (ferror(file) || fclose(file) != 0)
        fail(arguments->json, -EIO);
}

/* ---- the command line ---- */

static void
usage(void)
{
    (void)fputs("usage: wordcount [--jobs N] [--top K] [--verify] [--chaos] "
                "[--json FILE] PATH...\n",
                stderr);
    exit(2);
}

static uint64_t
number(const char *text, uint64_t least, uint64_t most)
{
    char *end;
    unsigned long long value;

    errno = 0;
    value = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 ||
        value < least || value > most) {
        (void)fprintf(stderr,
                      "wordcount: not a number from %" PRIu64 " to %" PRIu64
                      ": %s\n",
                      least, most, text);
        usage();
    }
    return value;
}

static void
parse(int argc, char **argv, struct arguments *arguments)
{
    static const struct option options[] = {
        {"jobs", required_argument, NULL, 'j'},
        {"top", required_argument, NULL, 't'},
        {"verify", no_argument, NULL, 'v'},
        {"chaos", no_argument, NULL, 'c'},
        {"json", required_argument, NULL, 'o'},
        {NULL, 0, NULL, 0},
    };
    int c;

    *arguments = (struct arguments){.top = 10};
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (c) {
        case 'j':
            arguments->jobs =
                (uint32_t)number(optarg, 1, TROUPE_POOL_MAX_PROCESSES);
            break;
        case 't':
            arguments->top = number(optarg, 0, UINT64_MAX);
            break;
        case 'v':
            arguments->verify = true;
            break;
        case 'c':
            arguments->chaos = true;
            break;
        case 'o':
            arguments->json = optarg;
            break;
        default:
            usage();
        }
    }
    if (optind == argc)
        usage();
    arguments->paths = argv + optind;
}

int
main(int argc, char **argv)
{
    struct arguments arguments;
    struct total total;
    bool exact = true;
    FILE *skips;
    uint64_t top;

    parse(argc, argv, &arguments);
    fold_init();
    memset(&total, 0, sizeof(total));
    skips = tmpfile();
    if (skips == NULL)
        fail("a temporary file", -errno);
    count(&arguments, skips, &total);
    print_skips(skips, total.figures.skipped);
    if (arguments.verify)
        exact = verify(&arguments, &total);
    top = top_words(&total, arguments.top);
    print_report(&arguments, &total, top);
    if (arguments.json != NULL)
        write_json(&arguments, &total, top, skips,
                   arguments.verify ? &exact : NULL);
    (void)fclose(skips);
    total_free(&total);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        perror("wordcount: standard output");
        return EXIT_FAILURE;
    }
    return exact ? EXIT_SUCCESS : EXIT_FAILURE;
}
