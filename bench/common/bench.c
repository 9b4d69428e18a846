/* SPDX-License-Identifier: Apache-2.0 */
#include "bench.h"

#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    STATUS_FAILED = 1,
    STATUS_USAGE = 2,
    STATUS_REFUSED = 77,
    /* A run is over long before this; nothing may hang the driver. */
    RUN_MAX_SECONDS = 60,
};

static char own_directory[64];

static void
complain(const char *kind, const char *format, va_list arguments)
{
    char text[512];

    vsnprintf(text, sizeof text, format, arguments);
    fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, kind, text);
}

void
bench_die(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    complain("failed", format, arguments);
    va_end(arguments);
    bench_directory_remove();
    _exit(STATUS_FAILED);
}

void
bench_refuse(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    complain("refused", format, arguments);
    va_end(arguments);
    bench_directory_remove();
    _exit(STATUS_REFUSED);
}

static uint64_t
parse_number(const char *option, const char *text, uint64_t low, uint64_t high)
{
    char *end = NULL;
    unsigned long long value;

    errno = 0;
    value = strtoull(text, &end, 10);
    if (errno || end == text || *end || value < low || value > high) {
        fprintf(stderr, "%s: --%s: not a number between %llu and %llu: %s\n",
                program_invocation_short_name, option, (unsigned long long)low,
                (unsigned long long)high, text);
        exit(STATUS_USAGE);
    }
    return value;
}

static enum bench_placement
parse_placement(const char *text)
{
    if (strcmp(text, "one") == 0)
        return BENCH_ONE;
    if (strcmp(text, "two") == 0)
        return BENCH_TWO;
    if (strcmp(text, "free") == 0)
        return BENCH_FREE;
    fprintf(stderr, "%s: --placement: one, two or free, not %s\n",
            program_invocation_short_name, text);
    exit(STATUS_USAGE);
}

void
bench_parse(struct bench_arguments *arguments, int argc, char **argv)
{
    static const struct option options[] = {
        {"system", required_argument, NULL, 's'},
        {"mode", required_argument, NULL, 'm'},
        {"milliseconds", required_argument, NULL, 't'},
        {"size", required_argument, NULL, 'z'},
        {"producers", required_argument, NULL, 'p'},
        {"consumers", required_argument, NULL, 'c'},
        {"processes", required_argument, NULL, 'n'},
        {"placement", required_argument, NULL, 'a'},
        {"count", required_argument, NULL, 'k'},
        {NULL, 0, NULL, 0},
    };
    int option;
    int index = 0;

    memset(arguments, 0, sizeof *arguments);
    arguments->system = "";
    arguments->mode = "";
    arguments->seconds = 0.3;
    arguments->size = 64;
    arguments->producers = 1;
    arguments->consumers = 1;
    arguments->processes = 2;
    while ((option = getopt_long(argc, argv, "", options, &index)) != -1) {
        switch (option) {
        case 's':
            arguments->system = optarg;
            break;
        case 'm':
            arguments->mode = optarg;
            break;
        case 't':
            arguments->seconds =
                (double)parse_number("milliseconds", optarg, 1, 30000) / 1e3;
            break;
        case 'z':
            arguments->size =
                parse_number("size", optarg, 8, (uint64_t)1 << 30);
            break;
        case 'p':
            arguments->producers =
                (unsigned)parse_number("producers", optarg, 1, 32);
            break;
        case 'c':
            arguments->consumers =
                (unsigned)parse_number("consumers", optarg, 1, 32);
            break;
        case 'n':
            arguments->processes = (unsigned)parse_number("processes", optarg,
                                                          1, BENCH_MEMBERS_MAX);
            break;
        case 'a':
            arguments->placement = parse_placement(optarg);
            break;
        case 'k':
            arguments->count =
                parse_number("count", optarg, 1, (uint64_t)1 << 40);
            break;
        default:
            exit(STATUS_USAGE);
        }
    }
    if (optind != argc || arguments->size % 8 != 0) {
        fprintf(stderr, "%s: unexpected argument, or a size not of words\n",
                program_invocation_short_name);
        exit(STATUS_USAGE);
    }
    alarm(RUN_MAX_SECONDS);
    /* Under a driver that is killed, nobody would read the figure. */
    if (getenv("TROUPE_BENCH_NAME"))
        prctl(PR_SET_PDEATHSIG, SIGKILL);
}

static int64_t
read_clock(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t
bench_now(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

int64_t
bench_cpu_now(void)
{
    return read_clock(CLOCK_THREAD_CPUTIME_ID);
}

/* The lowest-numbered twin of this CPU: the same for all threads of a core. */
static unsigned
core_of(unsigned cpu)
{
    char path[96];
    FILE *file;
    unsigned first = cpu;

    snprintf(path, sizeof path,
             "/sys/devices/system/cpu/cpu%u/topology/thread_siblings_list",
             cpu);
    file = fopen(path, "re");
    if (!file)
        return cpu;
    if (fscanf(file, "%u", &first) != 1)
        first = cpu;
    fclose(file);
    return first;
}

/* Usable CPUs, the first thread of each core before the second ones. */
static unsigned
list_cpus(unsigned *list)
{
    cpu_set_t set;
    unsigned count = 0;
    unsigned cpu;
    int twins;

    if (sched_getaffinity(0, sizeof set, &set) != 0)
        bench_die("sched_getaffinity: %s", strerror(errno));
    for (twins = 0; twins < 2; twins++) {
        for (cpu = 0; cpu < CPU_SETSIZE; cpu++) {
            if (CPU_ISSET(cpu, &set) && (core_of(cpu) != cpu) == twins)
                list[count++] = cpu;
        }
    }
    return count;
}

unsigned
bench_cpus(void)
{
    unsigned list[CPU_SETSIZE];

    return list_cpus(list);
}

void
bench_pin(unsigned index)
{
    unsigned list[CPU_SETSIZE];
    unsigned count = list_cpus(list);
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(list[index % count], &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0)
        bench_die("sched_setaffinity: %s", strerror(errno));
}

static void *
map_zeroed(size_t size, int flags)
{
    void *memory =
        mmap(NULL, size, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);

    if (memory == MAP_FAILED)
        bench_die("no memory for %zu bytes", size);
    return memory;
}

void *
bench_shared(size_t size)
{
    return map_zeroed(size, MAP_SHARED);
}

void *
bench_buffer(size_t size)
{
    void *memory = map_zeroed(size, MAP_PRIVATE);

    /* Page faults belong to nobody's figure. */
    memset(memory, 0, size);
    return memory;
}

static int
compare_doubles(const void *left, const void *right)
{
    double a = *(const double *)left;
    double b = *(const double *)right;

    return (a > b) - (a < b);
}

double
bench_median(double *values, size_t count)
{
    if (count == 0)
        return 0;
    qsort(values, count, sizeof *values, compare_doubles);
    if (count % 2)
        return values[count / 2];
    return (values[count / 2 - 1] + values[count / 2]) / 2;
}

unsigned
bench_depth(size_t size)
{
    size_t depth = ((size_t)4 << 20) / size;

    /* 1 MiB, in which a message takes its size, rounded up to 16, and 16. */
    if (size <= 4096)
        return (unsigned)(((size_t)1 << 20) /
                          (((size + 15) & ~(size_t)15) + 16));
    return depth < 16 ? 16 : (unsigned)depth;
}

void
bench_report(const char *unit, double value)
{
    if (!(value > 0))
        bench_die("no result: %g %s", value, unit);
    printf("{\"unit\": \"%s\", \"value\": %.9g}\n", unit, value);
    if (fflush(stdout) != 0)
        bench_die("cannot write the result");
}

const char *
bench_directory(void)
{
    const char *given = getenv("TROUPE_BENCH_DIRECTORY");

    if (given)
        return given;
    if (!own_directory[0]) {
        strcpy(own_directory, "/tmp/troupe-bench-XXXXXX");
        if (!mkdtemp(own_directory))
            bench_die("mkdtemp: %s", strerror(errno));
    }
    return own_directory;
}

void
bench_directory_remove(void)
{
    struct dirent *entry;
    char path[512];
    DIR *directory;

    if (!own_directory[0])
        return;
    directory = opendir(own_directory);
    while (directory && (entry = readdir(directory))) {
        snprintf(path, sizeof path, "%s/%s", own_directory, entry->d_name);
        unlink(path);
    }
    if (directory)
        closedir(directory);
    rmdir(own_directory);
    own_directory[0] = 0;
}

void
bench_name(char *name, size_t size, const char *what)
{
    const char *prefix = getenv("TROUPE_BENCH_NAME");

    snprintf(name, size, "%s-%d-%s", prefix ? prefix : "troupe-bench",
             (int)getpid(), what);
}
