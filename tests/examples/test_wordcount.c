/* SPDX-License-Identifier: Apache-2.0 */
/*
 * examples/wordcount: its counts against those of wordcount.py and of tr, sort
 * and uniq, on texts made to be awkward, in peace and while its workers die.
 */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <grp.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROGRAM EXAMPLES_BUILT "/wordcount"
#define SECOND  EXAMPLES_EXPECTED "/wordcount.py"

/* Pieces of large files end every 256 KiB. */
#define PIECE ((size_t)256 << 10)

static char *
in_tmp(const char *name)
{
    char *path = NULL;

    CHECK(asprintf(&path, "%s/%s", harness_tmpdir(), name) > 0);
    return path;
}

static void
write_text(const char *name, const void *text, size_t size)
{
    char *path = in_tmp(name);
    FILE *file = fopen(path, "we");

    CHECK(file != NULL);
    CHECK_EQ(fwrite(text, 1, size, file), size);
    CHECK_EQ(fclose(file), 0);
    free(path);
}

static void
write_string(const char *name, const char *text)
{
    write_text(name, text, strlen(text));
}

static void
make_directory(const char *name)
{
    char *path = in_tmp(name);

    CHECK_EQ(mkdir(path, 0755), 0);
    free(path);
}

static int
remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    (void)st;
    (void)kind;
    return ftw->level == 0 ? 0 : remove(path);
}

/* Every test ends with this. */
static void
clean_up(void)
{
    CHECK_EQ(nftw(harness_tmpdir(), remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

/* The same numbers in every run of a test. */
static uint32_t
next_random(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

/* Text of `size` bytes: words of a few hundred kinds in all letters, bytes that
 * are not ASCII, runs of blanks, and now and then a word beyond 256 bytes. */
static char *
random_text(size_t size, uint32_t seed, bool plain)
{
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_'"
        "\xc3\xa4\xff\x80";
    static const char others[] = " \n\t.,;:-\"()[]{}@^`\x7f\x01";
    char *text = malloc(size + 1);
    size_t at = 0;

    CHECK(text != NULL);
    while (at < size) {
        uint32_t kind = next_random(&seed) % 700;
        uint32_t word = kind * 2654435761u + 1;
        size_t length = 1 + kind % 11;

        if (!plain && next_random(&seed) % 5000 == 0)
            length = 200 + next_random(&seed) % 200;
        for (; length > 0 && at < size; length--)
            text[at++] = letters[next_random(&word) % (sizeof(letters) - 1)];
        for (length = 1 + next_random(&seed) % 2; length > 0 && at < size;
             length--)
            text[at++] = others[next_random(&seed) % (sizeof(others) - 1)];
    }
    text[size] = '\0';
    return text;
}

static void
write_random(const char *name, size_t size, uint32_t seed, bool plain)
{
    char *text = random_text(size, seed, plain);

    write_text(name, text, size);
    free(text);
}

/* Everything that is easily got wrong, below the test's directory. */
static void
make_corpus(void)
{
    char *text;
    char *path;

    make_directory("t");
    make_directory("t/below");
    make_directory("t/below/deeper");
    write_string("t/empty", "");
    write_string("t/one", "x");
    write_string("t/no-newline", "last Word");
    write_string("t/punctuation", "... --- !!!\n");
    write_string("t/case", "It's it's IT'S a_b A_B \xc3\x84 \xc3\xa4\n");
    write_random("t/below/some", 70000, 1, false);
    write_random("t/below/deeper/large", 3 * PIECE + 12345, 2, false);

    /* Words over the end of a piece: one that ends there, one that begins
     * there, one that is longer than a piece. */
    text = random_text(2 * PIECE + 1000, 3, false);
    memset(text + PIECE - 10, 'e', 10);
    text[PIECE] = ' ';
    memset(text + 2 * PIECE - 1, ' ', 1);
    memset(text + 2 * PIECE, 'b', 10);
    write_text("t/edges", text, 2 * PIECE + 1000);
    free(text);
    text = malloc(2 * PIECE + 500);
    CHECK(text != NULL);
    memset(text, 'L', 2 * PIECE + 500);
    memcpy(text, "short ", 6);
    memcpy(text + 2 * PIECE + 450, " after ", 7);
    write_text("t/endless", text, 2 * PIECE + 500);
    free(text);
    text = random_text(PIECE, 4, false);
    write_text("t/exactly-a-piece", text, PIECE);

    /* A NUL makes it binary among the first 8 KiB only. */
    text[8191] = '\0';
    write_text("t/binary", text, PIECE);
    text[8191] = 'n';
    text[8192] = '\0';
    write_text("t/text-after-all", text, PIECE);
    free(text);
    text = random_text(PIECE + 5000, 5, false);
    text[0] = '\0';
    write_text("t/large-binary", text, PIECE + 5000);
    free(text);

    path = in_tmp("t/link");
    CHECK_EQ(symlink("case", path), 0);
    free(path);
    path = in_tmp("t/fifo");
    CHECK_EQ(mkfifo(path, 0644), 0);
    free(path);
}

/* The program, opened, for one who may not search the folders above it. */
static int program_fd = -1;

/* Starts a program with its output going to a file. */
static pid_t
start(const char *output, const char *const *arguments)
{
    char *path = in_tmp(output);
    char *errors = in_tmp("errors");
    pid_t pid = fork();

    CHECK_GE(pid, 0);
    if (pid == 0) {
        int out = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        int err = open(errors, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

        if (out < 0 || err < 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0)
            _exit(126);
        if (program_fd >= 0)
            (void)fexecve(program_fd, (char *const *)(uintptr_t)arguments,
                          environ);
        else
            (void)execvp(arguments[0], (char *const *)(uintptr_t)arguments);
        _exit(127);
    }
    free(path);
    free(errors);
    return pid;
}

/* Runs a program; its wait status. */
static int
run(const char *output, const char *const *arguments)
{
    pid_t pid = start(output, arguments);
    int status;

    CHECK_EQ(waitpid(pid, &status, 0), pid);
    return status;
}

#define RUN(output, ...) \
 run(output, (const char *const[]){__VA_ARGS__, (const char *)NULL})

static char *
read_output(const char *name)
{
    char *path = in_tmp(name);
    FILE *file = fopen(path, "re");
    char *text = NULL;
    size_t room = 0;

    CHECK(file != NULL);
    if (getdelim(&text, &room, '\0', file) < 0) {
        CHECK(text != NULL);
        text[0] = '\0';
    }
    CHECK_EQ(fclose(file), 0);
    free(path);
    return text;
}

/* Without the lines that begin like this. */
static void
drop_lines(char *text, const char *begin)
{
    char *to = text;
    const char *line = text;

    while (*line != '\0') {
        size_t length = strcspn(line, "\n");

        if (line[length] == '\n')
            length++;
        if (strncmp(line, begin, strlen(begin)) != 0) {
            memmove(to, line, length);
            to += length;
        }
        line += length;
    }
    *to = '\0';
}

static void
check_same(const char *a, const char *b)
{
    size_t i = 0;

    while (a[i] != '\0' && a[i] == b[i])
        i++;
    if (a[i] != b[i]) {
        size_t line = i;

        while (line > 0 && a[line - 1] != '\n')
            line--;
        FAIL("they differ:\n%.200s\nand\n%.200s", a + line, b + line);
    }
}

/* What it prints but for the times, with so many workers. */
static char *
counts_of(const char *jobs, const char *corpus)
{
    char *text;

    CHECK_EQ(RUN("first", PROGRAM, "--jobs", jobs, "--top", "1000000",
                 "--verify", corpus, corpus),
             0);
    text = read_output("first");
    CHECK(strstr(text, "verify: exact\n") != NULL);
    drop_lines(text, "time: ");
    drop_lines(text, "verify: ");
    return text;
}

TEST_TIMEOUT(one_worker_and_three_count_as_python_does, 240)
{
    char *corpus = in_tmp("t");
    char *one;
    char *three;
    char *second;

    make_corpus();
    CHECK_EQ(RUN("second", "python3", SECOND, corpus, corpus), 0);
    second = read_output("second");
    one = counts_of("1", corpus);
    check_same(one, second);
    three = counts_of("3", corpus);
    check_same(three, second);
    free(one);
    free(three);
    free(second);
    free(corpus);
    clean_up();
}

TEST_TIMEOUT(it_counts_as_tr_sort_and_uniq_do, 120)
{
    char *command = NULL;
    char *text = in_tmp("text");
    char *first;
    char *second;
    char *figures;

    write_random("text", PIECE + PIECE / 2, 7, true);
    CHECK(asprintf(&command,
                   "LC_ALL=C; export LC_ALL; tr A-Z a-z <%s | "
                   "tr -cs \"a-z0-9_'\\200-\\377\" '\\n' | sed '/^$/d' | "
                   "sort | uniq -c | sed 's/^ *//' | sort -k1,1nr -k2",
                   text) > 0);
    CHECK_EQ(RUN("second", "sh", "-c", command), 0);
    CHECK_EQ(RUN("first", PROGRAM, "--top", "1000000", text), 0);
    first = read_output("first");
    second = read_output("second");
    figures = strstr(first, "files: 1\n");
    CHECK(figures != NULL);
    *figures = '\0';
    /* Its numbers are aligned. */
    free(command);
    CHECK(asprintf(&command, "sed 's/^ *//' %s/first | sed '/: /d'",
                   harness_tmpdir()) > 0);
    CHECK_EQ(RUN("third", "sh", "-c", command), 0);
    free(first);
    first = read_output("third");
    check_same(first, second);
    free(first);
    free(second);
    free(command);
    free(text);
    clean_up();
}

/* The number behind the name in the output. */
static unsigned long
figure(const char *text, const char *name)
{
    const char *at = strstr(text, name);

    if (at == NULL)
        FAIL("no \"%s\" in:\n%s", name, text);
    return strtoul(at + strlen(name), NULL, 10);
}

TEST_TIMEOUT(it_is_exact_while_workers_are_killed, 240)
{
    const char *arguments[64] = {PROGRAM, "--jobs",  "2",       "--top",
                                 "3",     "--chaos", "--verify"};
    char *corpus = in_tmp("t");
    size_t count = 8;
    char *text;

    make_corpus();
    /* More to do until it lasts long enough for some to be killed at work. */
    for (;;) {
        unsigned long kills;
        unsigned long interrupted;
        size_t i;

        for (i = 7; i < count; i++)
            arguments[i] = corpus;
        arguments[count] = NULL;
        CHECK_EQ(run("first", arguments), 0);
        text = read_output("first");
        CHECK(strstr(text, "verify: exact\n") != NULL);
        kills = figure(text, "kills survived: ");
        interrupted = figure(text, "tasks interrupted: ");
        CHECK_LE(interrupted, kills);
        free(text);
        if (kills >= 2 && interrupted >= 1)
            break;
        CHECK_LT(count, 60);
        count = count * 2 < 60 ? count * 2 : 60;
    }
    free(corpus);
    clean_up();
}

/* A child that has worked for that many ticks of its processor's time. */
static pid_t
busy_child(pid_t parent, unsigned long ticks)
{
    char path[64];
    FILE *children;
    int pid = 0;

    (void)snprintf(path, sizeof(path), "/proc/%d/task/%d/children", parent,
                   parent);
    children = fopen(path, "re");
    CHECK(children != NULL);
    while (fscanf(children, "%d", &pid) == 1) {
        unsigned long user = 0;
        unsigned long system = 0;
        char state = 'Z';
        FILE *stat;

        (void)snprintf(path, sizeof(path), "/proc/%d/stat", pid);
        stat = fopen(path, "re");
        if (stat == NULL) {
            pid = 0;
            continue;
        }
        if (fscanf(stat,
                   "%*d (%*[^)]) %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u "
                   "%lu %lu",
                   &state, &user, &system) != 3)
            state = 'Z';
        CHECK_EQ(fclose(stat), 0);
        if (state != 'Z' && user + system >= ticks)
            break;
        pid = 0;
    }
    CHECK_EQ(fclose(children), 0);
    return pid;
}

/* Not only with --chaos: somebody may be short of memory. */
TEST_TIMEOUT(the_death_of_workers_is_no_failure, 240)
{
    const char *arguments[64] = {PROGRAM, "--jobs", "2", "--verify"};
    char *text = in_tmp("text");
    char *output;
    pid_t program;
    unsigned killed;
    unsigned i;
    int status;

    write_random("text", 32 * PIECE, 6, true);
    for (i = 4; i < 28; i++)
        arguments[i] = text;
    program = start("first", arguments);
    for (killed = 0; killed < 3; killed++) {
        pid_t child;

        do
            child = busy_child(program, 2);
        while (child == 0 && waitpid(program, &status, WNOHANG) == 0);
        CHECK_GT(child, 0);
        if (kill(child, SIGKILL) != 0)
            CHECK_EQ(errno, ESRCH);
    }
    CHECK_EQ(waitpid(program, &status, 0), program);
    CHECK_EQ(status, 0);
    output = read_output("first");
    CHECK(strstr(output, "verify: exact\n") != NULL);
    CHECK_EQ(figure(output, "\nbytes: "), 24 * 32 * PIECE);
    free(output);
    free(text);
    clean_up();
}

/* ./dev demo, with less to do. */
TEST_TIMEOUT(the_demo_shows_what_it_promises, 600)
{
    char *corpus = in_tmp("t");
    char *text;

    make_corpus();
    CHECK_EQ(setenv("TROUPE_BUILD", EXAMPLES_BUILT "/..", 1), 0);
    CHECK_EQ(setenv("TROUPE_DEMO_LEAST", "16777216", 1), 0);
    CHECK_EQ(setenv("TROUPE_DEMO_KILLS", "2", 1), 0);
    CHECK_EQ(RUN("first", "sh", EXAMPLES_SOURCE "/demo.sh", corpus), 0);
    text = read_output("first");
    CHECK_GE(figure(text, "\nbytes: "), 16777216);
    CHECK(strstr(text, "verify: exact\n") != NULL);
    CHECK_GE(figure(text, "\nkills survived: "), 2);
    CHECK_GE(figure(text, "\ntasks interrupted: "), 1);
    free(text);
    free(corpus);
    clean_up();
}

TEST_TIMEOUT(its_json_is_json_and_says_the_same, 120)
{
    static const char script[] =
        "import json, sys\n"
        "with open(sys.argv[1], encoding='utf-8') as f: j = json.load(f)\n"
        "want = dict(l.split(': ') for l in open(sys.argv[2], 'rb').read()\n"
        "    .decode('latin-1').splitlines() if ': ' in l)\n"
        "assert j['files'] == int(want['files']), j['files']\n"
        "assert j['bytes'] == int(want['bytes'])\n"
        "assert j['words'] == int(want['words'])\n"
        "assert j['distinct'] == int(want['distinct words'])\n"
        "assert j['skipped'] == int(want['skipped']) == len(j['skips']) == 2, "
        "j['skips']\n"
        "assert all(s['reason'] == 'binary' for s in j['skips'])\n"
        "assert j['exact'] is True and j['kills'] == 0\n"
        "assert sum(w['count'] for w in j['top']) == j['words']\n"
        "assert len(j['top']) == j['distinct']\n"
        "assert j['seconds'] > 0 and j['bytes_per_second'] > 0\n";
    char *corpus = in_tmp("t");
    char *json = in_tmp("json");
    char *first = in_tmp("first");

    make_corpus();
    CHECK_EQ(RUN("first", PROGRAM, "--json", json, "--verify", "--top",
                 "10000000", corpus),
             0);
    if (RUN("second", "python3", "-c", script, json, first) != 0) {
        char *errors = read_output("errors");

        FAIL("%s", errors);
    }
    free(corpus);
    free(json);
    free(first);
    clean_up();
}

/* A file and a directory that nobody may read, and a path that is not there. */
TEST_TIMEOUT(what_cannot_be_read_is_reported_and_skipped, 60)
{
    char *corpus = in_tmp("t");
    char *missing = in_tmp("missing");
    char *secret = in_tmp("t/secret");
    char *closed = in_tmp("t/closed");
    char *output;
    char *errors;
    int status;
    pid_t pid;

    make_directory("t");
    write_random("t/secret", 2 * PIECE + 1000, 11, true);
    make_directory("t/closed");
    write_string("t/open", "two words");
    CHECK_EQ(chmod(secret, 0), 0);
    CHECK_EQ(chmod(closed, 0), 0);
    CHECK_EQ(chmod(harness_tmpdir(), 0777), 0);
    program_fd = open(PROGRAM, O_RDONLY | O_CLOEXEC);
    CHECK_GE(program_fd, 0);
    pid = fork();
    CHECK_GE(pid, 0);
    if (pid == 0) {
        /* Root may read everything. */
        if (geteuid() == 0) {
            CHECK_EQ(setgroups(0, NULL), 0);
            CHECK_EQ(setgid(65534), 0);
            CHECK_EQ(setuid(65534), 0);
        }
        CHECK_EQ(RUN("first", PROGRAM, "--verify", corpus, missing), 0);
        _exit(0);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    CHECK_EQ(close(program_fd), 0);
    output = read_output("first");
    errors = read_output("errors");
    CHECK(strstr(output, "verify: exact\n") != NULL);
    CHECK_EQ(figure(output, "files: "), 1);
    CHECK_EQ(figure(output, "skipped: "), 3);
    CHECK_EQ(figure(output, "\nwords: "), 2);
    CHECK(strstr(errors, "t/secret: Permission denied\n") != NULL);
    CHECK(strstr(errors, "t/closed: Permission denied\n") != NULL);
    CHECK(strstr(errors, "missing: No such file or directory\n") != NULL);
    CHECK_EQ(chmod(closed, 0700), 0);
    free(output);
    free(errors);
    free(corpus);
    free(missing);
    free(secret);
    free(closed);
    clean_up();
}

/* Has pread() of an offset from this one on fail with EIO, in this process and
 * what it becomes. */
static void
refuse_reads_from(uint32_t offset)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_pread64, 0, 3),
        /* the lower half, on a machine that has it first */
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                 offsetof(struct seccomp_data, args[3])),
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, offset, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EIO),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {sizeof(code) / sizeof(code[0]), code};

    CHECK_EQ(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    CHECK_EQ(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter), 0);
}

/* The last two of four pieces of a file: they are told of once, and what could
 * be read counts. */
TEST_TIMEOUT(a_part_that_cannot_be_read_is_reported, 60)
{
    char *text = in_tmp("text");
    char *output;
    char *errors;
    int status;
    pid_t pid;

    write_random("text", 4 * PIECE, 12, true);
    pid = fork();
    CHECK_GE(pid, 0);
    if (pid == 0) {
        refuse_reads_from((uint32_t)(2 * PIECE - 1));
        CHECK_EQ(RUN("first", PROGRAM, "--top", "0", text, text), 0);
        _exit(0);
    }
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    CHECK_EQ(status, 0);
    output = read_output("first");
    errors = read_output("errors");
    CHECK_EQ(figure(output, "files: "), 2);
    CHECK_EQ(figure(output, "skipped: "), 2);
    CHECK_EQ(figure(output, "\nbytes: "), 2 * 2 * PIECE);
    CHECK_GT(figure(output, "\nwords: "), 0);
    CHECK(strstr(errors, "/text: Input/output error\n") != NULL);
    free(output);
    free(errors);
    free(text);
    clean_up();
}

/* What a task has room for may be less than the first 8 KiB of a file. */
TEST_TIMEOUT(a_file_is_looked_at_however_short_its_first_piece, 60)
{
    char *before = in_tmp("before");
    char *binary = in_tmp("binary");
    char *output;
    char *text;

    write_random("before", PIECE - 10, 13, true);
    text = random_text(9000, 14, false);
    text[8191] = '\0';
    write_text("binary", text, 9000);
    free(text);
    CHECK_EQ(RUN("first", PROGRAM, "--verify", before, binary), 0);
    output = read_output("first");
    CHECK(strstr(output, "verify: exact\n") != NULL);
    CHECK_EQ(figure(output, "\nfiles: "), 1);
    CHECK_EQ(figure(output, "\nskipped: "), 1);
    free(output);
    free(before);
    free(binary);
    clean_up();
}

TEST_TIMEOUT(paths_that_lead_nowhere_are_reported, 60)
{
    char *link = in_tmp("link");
    char *text = in_tmp("text");
    char *output;

    write_string("text", "one word or two\n");
    CHECK_EQ(symlink("nothing", link), 0);
    CHECK_EQ(RUN("first", PROGRAM, "--verify", "", link, text), 0);
    output = read_output("first");
    CHECK(strstr(output, "verify: exact\n") != NULL);
    CHECK_EQ(figure(output, "\nfiles: "), 1);
    CHECK_EQ(figure(output, "\nskipped: "), 2);
    free(output);
    CHECK_EQ(RUN("first", PROGRAM, "--verify", ""), 0);
    output = read_output("first");
    CHECK_EQ(figure(output, "skipped: "), 1);
    free(output);
    free(link);
    free(text);
    clean_up();
}

TEST_TIMEOUT(wrong_arguments_end_with_2_and_the_usage, 60)
{
    static const char *const wrong[][4] = {
        {PROGRAM},
        {PROGRAM, "--verify"},
        {PROGRAM, "--jobs", "0", "/dev/null"},
        {PROGRAM, "--jobs", "x", "/dev/null"},
        {PROGRAM, "--jobs", "-1", "/dev/null"},
        {PROGRAM, "--top", "", "/dev/null"},
        {PROGRAM, "--nonsense", "/dev/null"},
    };
    size_t i;

    for (i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        const char *arguments[5] = {NULL};
        char *errors;

        memcpy(arguments, wrong[i], sizeof(wrong[i]));
        CHECK_EQ(run("first", arguments), 2 << 8);
        errors = read_output("errors");
        CHECK(strstr(errors, "usage: wordcount ") != NULL);
        free(errors);
    }
    clean_up();
}

#if !defined(HARNESS_ASAN) && !defined(HARNESS_TSAN)
/* What one process and the shared heap take, for 1 GiB of text with the words
 * of 4 MiB. */
TEST_TIMEOUT(memory_does_not_grow_with_the_text, 120)
{
    enum { TEXT = 4 << 20 };

    const char *arguments[300] = {PROGRAM, "--jobs", "2"};
    struct rusage usage;
    char *text = in_tmp("text");
    char *output;
    size_t i;

    write_random("text", TEXT, 9, true);
    for (i = 3; i < 3 + 256; i++)
        arguments[i] = text;
    CHECK_EQ(run("first", arguments), 0);
    output = read_output("first");
    CHECK_EQ(figure(output, "\nbytes: "), 256 * TEXT);
    CHECK_EQ(getrusage(RUSAGE_CHILDREN, &usage), 0);
    /* In KiB; the shared heap counts in the process that touches it. */
    CHECK_LT(usage.ru_maxrss, 64 * 1024);
    free(output);
    free(text);
    clean_up();
}
#endif
