/* SPDX-License-Identifier: Apache-2.0 */
#include "harness_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define DEFAULT_SECONDS 30
#define SHOWN_OUTPUT    16384

struct options {
    bool list;
    bool verbose;
    long repeat;
    uint64_t seed;
    char **filters;
    int filter_count;
};

struct counts {
    long passed;
    long failed;
    long skipped;
};

/* One run of one test. */
struct run {
    const struct harness_test *test;
    pid_t pid;
    bool ended;
    int status;
    int output;
    char tmpdir[128];
    int64_t started;
    char *trouble;
};

static struct harness_test *tests;
static struct harness_test **tests_end = &tests;
static bool no_deadline;
static double deadline_scale = 1;
static sigset_t watched;
static sigset_t original_mask;

char *
harness_print(const char *format, ...)
{
    va_list arguments;
    char *text;
    int length;

    va_start(arguments, format);
    length = vasprintf(&text, format, arguments);
    va_end(arguments);
    if (length < 0) {
        perror("harness");
        abort();
    }
    return text;
}

void
harness_add(struct harness_test *test)
{
    *tests_end = test;
    tests_end = &test->next;
}

static int64_t
now_ns(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* A person at a breakpoint must not be cut off. */
static bool
is_traced(void)
{
    char line[256];
    int tracer = 0;
    FILE *file = fopen("/proc/self/status", "re");

    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        (void)sscanf(line, "TracerPid: %d", &tracer);
    }
    if (file != NULL) {
        (void)fclose(file);
    }
    return tracer != 0;
}

static uint64_t
hash_name(const char *name, uint64_t seed)
{
    uint64_t hash = 0xcbf29ce484222325U ^ seed;

    for (; *name != '\0'; name++) {
        hash = (hash ^ (unsigned char)*name) * 0x100000001b3U;
    }
    return hash;
}

static __attribute__((noreturn)) void
run_body(const struct run *run)
{
    struct rlimit core = {0, 0};
    int null;

    harness_test_pid = getpid();
    (void)setpgid(0, 0);
    /* Some tests die by a signal as they should: no file is to tell of it. */
    (void)getrlimit(RLIMIT_CORE, &core);
    core.rlim_cur = 0;
    (void)setrlimit(RLIMIT_CORE, &core);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (null < 0 || dup2(null, STDIN_FILENO) < 0 ||
        dup2(run->output, STDOUT_FILENO) < 0 ||
        dup2(run->output, STDERR_FILENO) < 0 ||
        setenv("TMPDIR", run->tmpdir, 1) != 0) {
        FAIL("cannot prepare the test process: %s", strerror(errno));
    }
    (void)close(null);
    (void)close(run->output);
    /* a failed check ends with _exit(), which writes out no buffer */
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    (void)sigprocmask(SIG_SETMASK, &original_mask, NULL);
    harness_residue_begin();
    run->test->body();
    harness_residue_end();
    exit(EXIT_SUCCESS);
}

static void
reap(struct run *run)
{
    pid_t pid;
    int status;

    while ((pid = waitpid(-1, &status, WNOHANG | __WALL)) > 0) {
        if (pid == run->pid) {
            run->ended = true;
            run->status = status;
        }
    }
}

static __attribute__((noreturn)) void
interrupted(const struct run *run, int signo)
{
    harness_kill_tree(run->pid);
    harness_remove_tree(run->tmpdir);
    (void)signal(signo, SIG_DFL);
    (void)sigprocmask(SIG_SETMASK, &original_mask, NULL);
    (void)raise(signo);
    _exit(EXIT_FAILURE);
}

/*
 * Waits until the test's process has ended, has recorded a failure anywhere
 * in its tree, or is over its deadline. Orphans are reaped on the way.
 */
static void
wait_for_end(struct run *run)
{
    const struct timespec tick = {.tv_nsec = 50000000};
    int seconds = run->test->seconds ? run->test->seconds : DEFAULT_SECONDS;
    int64_t deadline = run->started + (int64_t)(seconds * deadline_scale * 1e9);

    for (;;) {
        int signo;

        reap(run);
        if (run->ended || __atomic_load_n(&harness_record->verdict,
                                          __ATOMIC_ACQUIRE) == HARNESS_FAILED) {
            return;
        }
        if (!no_deadline && now_ns() >= deadline) {
            char *living = harness_describe_living(0);

            run->trouble = harness_print("deadline of %g s passed; alive: %s",
                                         seconds * deadline_scale,
                                         living != NULL ? living : "nobody");
            free(living);
            return;
        }
        signo = sigtimedwait(&watched, NULL, &tick);
        if (signo > 0 && signo != SIGCHLD) {
            interrupted(run, signo);
        }
    }
}

/* The reason why the test failed, or NULL. The caller frees it. */
static char *
find_failure(struct run *run)
{
    int verdict = __atomic_load_n(&harness_record->verdict, __ATOMIC_ACQUIRE);
    int signo = run->test->signo;
    char *living;

    if (verdict == HARNESS_FAILED) {
        return harness_print("%s", harness_record->text);
    }
    if (verdict == HARNESS_WRITING) {
        return harness_print("a process died while recording a failure");
    }
    if (run->trouble != NULL) {
        return harness_print("%s", run->trouble);
    }
    if (WIFSIGNALED(run->status) && WTERMSIG(run->status) != signo) {
        return harness_print("killed by signal %d (%s)", WTERMSIG(run->status),
                             strsignal(WTERMSIG(run->status)));
    }
    if (WIFEXITED(run->status) && signo != 0) {
        return harness_print("exited with status %d, expected signal %d (%s)",
                             WEXITSTATUS(run->status), signo, strsignal(signo));
    }
    if (WIFEXITED(run->status) && WEXITSTATUS(run->status) != 0) {
        return harness_print("exited with status %d", WEXITSTATUS(run->status));
    }
    if (signo == 0 && verdict == HARNESS_NONE && !harness_record->finished) {
        return harness_print("exited before the end of the test's body");
    }
    living = harness_describe_living(0);
    if (living != NULL) {
        char *text = harness_print("residue: process %s left running", living);

        free(living);
        return text;
    }
    return NULL;
}

static void
show_output(int output)
{
    char buffer[SHOWN_OUTPUT + 1];
    off_t size = lseek(output, 0, SEEK_END);
    off_t from = size > SHOWN_OUTPUT ? size - SHOWN_OUTPUT : 0;
    ssize_t length = pread(output, buffer, SHOWN_OUTPUT, from);

    if (length <= 0) {
        return;
    }
    buffer[length] = '\0';
    printf("---- output%s\n%s%s----\n", from ? " (its end)" : "", buffer,
           buffer[length - 1] == '\n' ? "" : "\n");
}

static void
start(struct run *run, const struct harness_test *test, uint64_t seed)
{
    const char *base = getenv("TMPDIR");

    *run = (struct run){.test = test};
    (void)snprintf(run->tmpdir, sizeof(run->tmpdir), "%s/troupe-test.XXXXXX",
                   base != NULL && strlen(base) < 80 ? base : "/tmp");
    run->output = memfd_create("output", MFD_CLOEXEC);
    if (mkdtemp(run->tmpdir) == NULL || run->output < 0) {
        perror("harness");
        exit(EXIT_FAILURE);
    }
    harness_current_tmpdir = run->tmpdir;
    harness_random_state = hash_name(test->name, seed);
    memset(harness_record, 0, sizeof(*harness_record));
    harness_places_begin();
    (void)fflush(NULL);
    run->started = now_ns();
    run->pid = fork();
    if (run->pid < 0) {
        perror("harness: fork");
        exit(EXIT_FAILURE);
    }
    if (run->pid == 0) {
        run_body(run);
    }
    (void)setpgid(run->pid, run->pid);
}

/* FOLDER/PROGRAM of this program, for the report: what is before it may have
 * blanks. */
static const char *
report_name(void)
{
    const char *name =
        program_invocation_name + strlen(program_invocation_name);
    int slashes = 0;

    while (name > program_invocation_name &&
           (name[-1] != '/' || ++slashes < 2)) {
        name--;
    }
    return name;
}

/* Appends a line to the report, for whoever adds up several programs. */
static __attribute__((format(printf, 1, 2))) void
report(const char *format, ...)
{
    const char *path = getenv("TROUPE_TEST_REPORT");
    FILE *file = path != NULL ? fopen(path, "ae") : NULL;
    va_list arguments;

    if (file != NULL) {
        va_start(arguments, format);
        (void)vfprintf(file, format, arguments);
        va_end(arguments);
        (void)fclose(file);
    }
}

static void
run_test(const struct harness_test *test, const struct options *options,
         uint64_t seed, struct counts *counts)
{
    struct run run;
    char *failure;
    char *left;
    int64_t milliseconds;

    start(&run, test, seed);
    wait_for_end(&run);
    milliseconds = (now_ns() - run.started) / 1000000;
    failure = find_failure(&run);
    harness_kill_tree(run.pid);
    left = harness_places_end();
    if (failure == NULL) {
        failure = left;
        left = NULL;
    }
    if (failure != NULL) {
        counts->failed++;
        printf("FAIL %s (%jd ms, seed %ju): %s\n", test->name,
               (intmax_t)milliseconds, (uintmax_t)seed, failure);
        report("fail %s %s: %s\n", report_name(), test->name, failure);
    } else if (harness_record->verdict == HARNESS_SKIPPED) {
        counts->skipped++;
        printf("skip %s: %s\n", test->name, harness_record->text);
        report("skip %s %s: %s\n", report_name(), test->name,
               harness_record->text);
    } else {
        counts->passed++;
        printf("ok   %s (%jd ms)\n", test->name, (intmax_t)milliseconds);
    }
    if (failure != NULL || options->verbose) {
        show_output(run.output);
    }
    (void)fflush(stdout);
    harness_remove_tree(run.tmpdir);
    (void)close(run.output);
    free(run.trouble);
    free(failure);
    free(left);
}

static bool
is_selected(const struct harness_test *test, const struct options *options)
{
    for (int i = 0; i < options->filter_count; i++) {
        if (strstr(test->name, options->filters[i]) != NULL ||
            fnmatch(options->filters[i], test->name, 0) == 0) {
            return true;
        }
    }
    return options->filter_count == 0;
}

static __attribute__((noreturn)) void
usage(const char *program, int status)
{
    (void)fprintf(
        status == 0 ? stdout : stderr,
        "usage: %s [--list] [--repeat N] [--seed N] [--verbose] [NAME...]\n"
        "Runs the tests whose name contains, or matches as a pattern, one of\n"
        "the NAMEs. TROUPE_TEST_TIMEOUT_SCALE multiplies the deadlines.\n",
        program);
    exit(status);
}

static uint64_t
parse_number(const char *program, const char *text)
{
    char *end;
    unsigned long long number;

    errno = 0;
    number = text != NULL ? strtoull(text, &end, 0) : 0;
    if (text == NULL || end == text || *end != '\0' || errno != 0) {
        usage(program, 2);
    }
    return number;
}

static struct options
parse(int argc, char **argv)
{
    struct options options = {.repeat = 1, .seed = (uint64_t)now_ns()};
    int i;

    for (i = 1; i < argc && argv[i][0] == '-'; i++) {
        if (strcmp(argv[i], "--list") == 0) {
            options.list = true;
        } else if (strcmp(argv[i], "--verbose") == 0) {
            options.verbose = true;
        } else if (strcmp(argv[i], "--repeat") == 0) {
            options.repeat = (long)parse_number(argv[0], argv[i + 1]);
            i++;
        } else if (strcmp(argv[i], "--seed") == 0) {
            options.seed = parse_number(argv[0], argv[i + 1]);
            i++;
        } else {
            usage(argv[0], strcmp(argv[i], "--help") == 0 ? 0 : 2);
        }
    }
    options.filters = argv + i;
    options.filter_count = argc - i;
    /* No test's name begins so: it is an option in the wrong place. */
    for (; i < argc; i++) {
        if (argv[i][0] == '-') {
            usage(argv[0], 2);
        }
    }
    return options;
}

static void
prepare(void)
{
    const char *scale = getenv("TROUPE_TEST_TIMEOUT_SCALE");

    if (scale != NULL && strtod(scale, NULL) > 0) {
        deadline_scale = strtod(scale, NULL);
    }
    no_deadline = is_traced();
    harness_watch_sanitizers();
    harness_record = mmap(NULL, sizeof(*harness_record), PROT_READ | PROT_WRITE,
                          MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    (void)sigemptyset(&watched);
    (void)sigaddset(&watched, SIGCHLD);
    (void)sigaddset(&watched, SIGINT);
    (void)sigaddset(&watched, SIGTERM);
    (void)sigaddset(&watched, SIGHUP);
    if (harness_record == MAP_FAILED || prctl(PR_SET_CHILD_SUBREAPER, 1) != 0 ||
        sigprocmask(SIG_BLOCK, &watched, &original_mask) != 0) {
        perror("harness");
        exit(EXIT_FAILURE);
    }
}

int
main(int argc, char **argv)
{
    struct options options = parse(argc, argv);
    struct counts counts = {.passed = 0};

    harness_places_prepare(argv);
    prepare();
    for (long round = 0; round < options.repeat; round++) {
        for (const struct harness_test *test = tests; test; test = test->next) {
            if (!is_selected(test, &options)) {
                continue;
            }
            if (options.list) {
                printf("%s\n", test->name);
            } else {
                run_test(test, &options, options.seed + (uint64_t)round,
                         &counts);
            }
        }
        if (options.list) {
            return EXIT_SUCCESS;
        }
    }
    if (counts.passed + counts.failed + counts.skipped == 0) {
        (void)fprintf(stderr, "%s: no test to run\n", argv[0]);
        return EXIT_FAILURE;
    }
    report("count %s %ld %ld %ld\n", report_name(), counts.passed,
           counts.failed, counts.skipped);
    printf("%ld passed, %ld failed, %ld skipped\n", counts.passed,
           counts.failed, counts.skipped);
    return counts.failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
