/* SPDX-License-Identifier: Apache-2.0 */
/*
 * yardstick:single-process: counts the words of one file as the wordcount
 * example does, as fast as one process can: the same scan and the same table,
 * but no workers, no tasks, no dictionary of all and no merging; the hash is
 * made on the way and what is read at a time fits into a cache. A word is a run
 * of letters, digits, `_`, `'` and bytes from 0x80 on, in lower case, cut at
 * 256 bytes. Prints how many there are, and how many different ones.
 */
#include <bench.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { WORD_MAX = 256, FIRST_SLOTS = 16384 };

#define PIECE ((size_t)256 << 10)

struct entry {
    uint64_t hash;
    uint64_t count;
    size_t bytes; /* where the word's are */
    size_t size;
};

/* Linear probing; a slot is the upper half of a hash, and entry + 1. */
struct slot {
    uint32_t hash;
    uint32_t entry;
};

struct table {
    struct entry *entries;
    size_t count;
    size_t room;
    struct slot *slots;
    size_t mask;
    unsigned char *bytes;
    size_t used;
    size_t bytes_room;
};

/* 0 where no word goes on, else the byte as it is counted. */
static unsigned char letter_of[256];

static void
make_letters(void)
{
    int byte;

    for (byte = 0; byte < 256; byte++) {
        if ((byte >= 'a' && byte <= 'z') || (byte >= '0' && byte <= '9') ||
            byte == '_' || byte == '\'' || byte >= 0x80)
            letter_of[byte] = (unsigned char)byte;
        else if (byte >= 'A' && byte <= 'Z')
            letter_of[byte] = (unsigned char)(byte - 'A' + 'a');
    }
}

static void *
resized(void *memory, size_t size)
{
    memory = realloc(memory, size);
    bench_check(memory, "no memory");
    return memory;
}

static void
grow(struct table *table)
{
    size_t slots = table->slots ? 2 * (table->mask + 1) : FIRST_SLOTS;
    size_t i;

    free(table->slots);
    table->slots = calloc(slots, sizeof *table->slots);
    bench_check(table->slots, "no memory");
    table->mask = slots - 1;
    for (i = 0; i < table->count; i++) {
        uint64_t hash = table->entries[i].hash;
        size_t at = hash & table->mask;

        while (table->slots[at].entry != 0)
            at = (at + 1) & table->mask;
        table->slots[at].hash = (uint32_t)(hash >> 32);
        table->slots[at].entry = (uint32_t)i + 1;
    }
}

static void
append(struct table *table, struct slot *slot, const unsigned char *word,
       size_t size, uint64_t hash)
{
    if (table->count == table->room) {
        table->room = table->room ? 2 * table->room : 4096;
        table->entries =
            resized(table->entries, table->room * sizeof *table->entries);
    }
    if (table->bytes_room - table->used < size) {
        table->bytes_room = 2 * table->bytes_room + 65536;
        table->bytes = resized(table->bytes, table->bytes_room);
    }
    memcpy(table->bytes + table->used, word, size);
    table->entries[table->count++] = (struct entry){hash, 1, table->used, size};
    table->used += size;
    slot->hash = (uint32_t)(hash >> 32);
    slot->entry = (uint32_t)table->count;
}

static void
count_word(struct table *table, const unsigned char *word, size_t size,
           uint64_t hash)
{
    size_t at;

    if (2 * table->count > table->mask)
        grow(table);
    for (at = hash & table->mask;; at = (at + 1) & table->mask) {
        struct slot *slot = &table->slots[at];
        struct entry *entry;

        if (slot->entry == 0) {
            append(table, slot, word, size, hash);
            return;
        }
        if (slot->hash != (uint32_t)(hash >> 32))
            continue;
        entry = &table->entries[slot->entry - 1];
        if (entry->hash == hash && entry->size == size &&
            memcmp(table->bytes + entry->bytes, word, size) == 0) {
            entry->count++;
            return;
        }
    }
}

/*
 * Counts the words that begin in [from, to) of the text, which goes on to
 * `size`, and says how many. Two bytes behind it are the loops' to use: the
 * first ends a word there, the second ends what is between words.
 */
static uint64_t
count_text(struct table *table, unsigned char *text, size_t from, size_t to,
           size_t size)
{
    unsigned char word[WORD_MAX];
    const unsigned char *p = text + from;
    const unsigned char *end = text + to;
    uint64_t words = 0;

    text[size] = '\0';
    text[size + 1] = 'a';
    /* A word that began before belongs to the piece before. */
    if (from > 0 && letter_of[p[-1]] != 0)
        while (letter_of[*p] != 0)
            p++;
    for (;;) {
        uint64_t hash = 0xcbf29ce484222325u;
        size_t length = 0;
        unsigned char letter;

        while (letter_of[*p] == 0)
            p++;
        if (p >= end)
            return words;
        while ((letter = letter_of[*p]) != 0) {
            if (length < WORD_MAX) {
                word[length++] = letter;
                hash = (hash ^ letter) * 0x100000001b3u;
            }
            p++;
        }
        count_word(table, word, length, hash ^ hash >> 32);
        words++;
    }
}

static size_t
read_at(int file, unsigned char *to, size_t size, size_t offset)
{
    size_t done = 0;
    ssize_t got;

    do {
        got = pread(file, to + done, size - done, (off_t)(offset + done));
        bench_check(got >= 0, "read: %s", strerror(errno));
        done += (size_t)got;
    } while (got > 0 && done < size);
    return done;
}

int
main(int argc, char **argv)
{
    /* a piece, the byte before, the rest of its last word, and two */
    unsigned char *text = resized(NULL, 1 + PIECE + WORD_MAX + 2);
    struct table table = {0};
    struct stat status;
    uint64_t words = 0;
    size_t offset;
    int file;

    bench_check(argc == 2, "usage: wordcount_single FILE");
    file = open(argv[1], O_RDONLY | O_CLOEXEC);
    bench_check(file >= 0 && fstat(file, &status) == 0, "%s: %s", argv[1],
                strerror(errno));
    make_letters();
    grow(&table);
    for (offset = 0; offset < (size_t)status.st_size; offset += PIECE) {
        size_t before = offset > 0;
        size_t got =
            read_at(file, text, before + PIECE + WORD_MAX, offset - before);
        size_t to = before + PIECE;

        words += count_text(&table, text, before, to < got ? to : got, got);
    }
    printf("{\"words\": %" PRIu64 ", \"distinct\": %zu}\n", words, table.count);
    return 0;
}
