/* SPDX-License-Identifier: Apache-2.0 */
/*
 * yardstick:single-process: counts the words of one file as the wordcount
 * example does, in one process and nothing but that: no workers, no queue, no
 * merging. A word is a run of letters, digits, `_`, `'` and bytes from 0x80
 * on, in lower case, cut at 256 bytes. Prints how many there are, and how many
 * different ones.
 */
#include <bench.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { WORD_MAX = 256, FIRST_ROOM = 1 << 16 };

struct entry {
    uint64_t hash;
    uint64_t count;
    unsigned length;
    unsigned char *word;
};

struct words {
    struct entry *entries;
    size_t room; /* a power of two */
    size_t used;
    uint64_t total;
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

static void
grow(struct words *words)
{
    size_t room = words->room ? 2 * words->room : FIRST_ROOM;
    struct entry *entries = calloc(room, sizeof *entries);
    size_t i;
    size_t at;

    bench_check(entries, "no memory");
    for (i = 0; i < words->room; i++) {
        if (!words->entries[i].word)
            continue;
        at = words->entries[i].hash & (room - 1);
        while (entries[at].word)
            at = (at + 1) & (room - 1);
        entries[at] = words->entries[i];
    }
    free(words->entries);
    words->entries = entries;
    words->room = room;
}

static void
count_word(struct words *words, const unsigned char *word, unsigned length,
           uint64_t hash)
{
    size_t at = hash & (words->room - 1);
    struct entry *entry;

    words->total++;
    for (;; at = (at + 1) & (words->room - 1)) {
        entry = &words->entries[at];
        if (!entry->word)
            break;
        if (entry->hash == hash && entry->length == length &&
            memcmp(entry->word, word, length) == 0) {
            entry->count++;
            return;
        }
    }
    entry->word = malloc(length);
    bench_check(entry->word, "no memory");
    memcpy(entry->word, word, length);
    entry->length = length;
    entry->hash = hash;
    entry->count = 1;
    if (++words->used > words->room / 2)
        grow(words);
}

static void
count_text(struct words *words, const unsigned char *text, size_t size)
{
    unsigned char word[WORD_MAX];
    size_t i = 0;

    while (i < size) {
        uint64_t hash = 0xcbf29ce484222325u;
        unsigned length = 0;
        unsigned char letter;

        while (i < size && (letter = letter_of[text[i]]) != 0) {
            if (length < WORD_MAX) {
                word[length++] = letter;
                hash = (hash ^ letter) * 0x100000001b3u;
            }
            i++;
        }
        if (length > 0)
            count_word(words, word, length, hash ^ hash >> 32);
        else
            i++;
    }
}

int
main(int argc, char **argv)
{
    struct words words = {0};
    struct stat status;
    unsigned char *text;
    int file;

    bench_check(argc == 2, "usage: wordcount_single FILE");
    file = open(argv[1], O_RDONLY | O_CLOEXEC);
    bench_check(file >= 0 && fstat(file, &status) == 0, "%s: %s", argv[1],
                strerror(errno));
    text = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, file, 0);
    bench_check(text != MAP_FAILED, "mmap: %s", strerror(errno));
    make_letters();
    grow(&words);
    count_text(&words, text, (size_t)status.st_size);
    printf("{\"words\": %" PRIu64 ", \"distinct\": %zu}\n", words.total,
           words.used);
    return 0;
}
