/* SPDX-License-Identifier: Apache-2.0 */
/* The command line of the engine. */
#include "engine.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void
usage(FILE *to)
{
    fputs("usage: crash-engine [OPTION...]\n"
          "\n"
          "  --brute             kill at every instruction\n"
          "  --all-pairs         spare no pair of deaths, see below\n"
          "  --bounded           at most 5 points a scenario\n"
          "  --sample N          at most N points a scenario\n"
          "  --scenario TEXT,... only those whose operation/state has TEXT\n"
          "  --point N           only the N-th instruction\n"
          "  --deadline SECONDS  a survivor that takes longer hangs (10)\n"
          "  --library FILE      every function it exports must be covered\n"
          "  --single-step       by the processor, and compare with flow.c\n"
          "  --without-waitv     as on a kernel without futex_waitv\n"
          "  --stop-at-first     end a scenario at its first finding\n"
          "  --jobs N            scenarios at a time (2)\n"
          "  --operations        list the functions that have kill points\n"
          "  --covers            list each scenario with each function it has\n"
          "  --list, --verbose, --quiet, --help\n"
          "\n"
          "Without --brute a victim dies at each distinct point: between two "
          "of them\n"
          "neither shared memory changed nor was the system called. A second "
          "victim\n"
          "comes after the first died at each of its distinct points, and "
          "while it\n"
          "stands there. First deaths after which the second changes memory at "
          "the\n"
          "same places in the same order are one path: the second dies at "
          "each of its\n"
          "points after one of them, and at every eighth, other ones each "
          "time, after\n"
          "the rest. --all-pairs crosses all with all.\n",
          to);
}

static bool
is_covered(const char *symbol, const struct crash_scenario *const *scenarios,
           size_t count, const struct crash_exempt *exempt, size_t exempt_count)
{
    size_t i, j;

    for (i = 0; i < count; i++)
        for (j = 0; scenarios[i]->covers != NULL &&
                    scenarios[i]->covers[j].name != NULL;
             j++)
            if (strcmp(scenarios[i]->covers[j].name, symbol) == 0)
                return true;
    for (i = 0; i < exempt_count; i++)
        if (strcmp(exempt[i].name, symbol) == 0)
            return true;
    return false;
}

struct coverage {
    const struct crash_scenario *const *scenarios;
    size_t count;
    const struct crash_exempt *exempt;
    size_t exempt_count;
    unsigned long seen;
    unsigned long missing;
};

/* Every exported function has kill points, or says why it needs none. */
static void
check_export(const char *symbol, void *context)
{
    struct coverage *coverage = context;

    coverage->seen++;
    if (is_covered(symbol, coverage->scenarios, coverage->count,
                   coverage->exempt, coverage->exempt_count))
        return;
    printf("%-24s is exported and has no kill points\n", symbol);
    coverage->missing++;
}

/* Each function once. */
static void
print_operations(const struct crash_scenario *const *scenarios, size_t count)
{
    size_t i, j;

    for (i = 0; i < count; i++)
        for (j = 0; scenarios[i]->covers != NULL &&
                    scenarios[i]->covers[j].name != NULL;
             j++)
            if (!is_covered(scenarios[i]->covers[j].name, scenarios, i, NULL,
                            0))
                printf("%s\n", scenarios[i]->covers[j].name);
}

/* How a scenario's line begins in the results, then a function it is about. */
static void
print_covers(const struct crash_scenario *const *scenarios, size_t count)
{
    size_t i, j;

    for (i = 0; i < count; i++) {
        const struct crash_scenario *one = scenarios[i];

        printf("%-28s %-50s\t%s\n", one->operation, one->state, one->operation);
        for (j = 0; one->covers != NULL && one->covers[j].name != NULL; j++)
            printf("%-28s %-50s\t%s\n", one->operation, one->state,
                   one->covers[j].name);
    }
}

/* The reasons, for those who read the output. */
static void
print_exempt(const struct crash_exempt *exempt, size_t count)
{
    size_t i;

    for (i = 0; i < count; i++)
        printf("%-32s no kill points (%s): %s\n", exempt[i].name,
               exempt[i].call != NULL ? "stepped" : "not called",
               exempt[i].reason);
}

static long
number(const char *text)
{
    char *end;
    long value = strtol(text, &end, 10);

    if (*text == '\0' || *end != '\0' || value < 0) {
        fprintf(stderr, "engine: '%s' is no number\n", text);
        exit(2);
    }
    return value;
}

/*
 * A copy or a fill by one repeated instruction is thousands of steps, each of
 * which changes memory, and all of which leave the same to who comes after a
 * death. So the C library is to use others, which it must be told at its start.
 */
static void
without_repeats(char **argv)
{
    static const char name[] = "GLIBC_TUNABLES";
    static const char value[] = "glibc.cpu.x86_rep_movsb_threshold=0x10000000:"
                                "glibc.cpu.x86_rep_stosb_threshold=0x10000000";
    const char *given = getenv(name);
    char path[4096];
    ssize_t length;

    if ((given != NULL && strcmp(given, value) == 0) ||
        setenv(name, value, 1) != 0)
        return;
    length = readlink("/proc/self/exe", path, sizeof(path) - 1);
    if (length > 0) {
        path[length] = '\0';
        execv(path, argv);
    }
}

int
crash_main(int argc, char **argv, const struct crash_scenario *const *scenarios,
           size_t count, const struct crash_exempt *exempt, size_t exempt_count)
{
    static const struct option table[] = {
        {"brute", no_argument, NULL, 'b'},
        {"all-pairs", no_argument, NULL, 'a'},
        {"bounded", no_argument, NULL, 'B'},
        {"sample", required_argument, NULL, 'n'},
        {"scenario", required_argument, NULL, 's'},
        {"point", required_argument, NULL, 'p'},
        {"deadline", required_argument, NULL, 'd'},
        {"library", required_argument, NULL, 'e'},
        {"single-step", no_argument, NULL, 't'},
        {"without-waitv", no_argument, NULL, 'w'},
        {"stop-at-first", no_argument, NULL, 'f'},
        {"jobs", required_argument, NULL, 'j'},
        {"list", no_argument, NULL, 'l'},
        {"operations", no_argument, NULL, 'o'},
        {"covers", no_argument, NULL, 'c'},
        {"verbose", no_argument, NULL, 'v'},
        {"quiet", no_argument, NULL, 'q'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    struct crash_options options = {
        .only_point = -1, .deadline = 10, .stepping = 90, .jobs = 2};
    struct crash_totals totals = {0};
    bool list = false, operations = false, covers = false;
    size_t i;
    int c;

    without_repeats(argv);
    while ((c = getopt_long(argc, argv, "", table, NULL)) != -1) {
        switch (c) {
        case 'b':
            options.brute = true;
            break;
        case 'a':
            options.all_pairs = true;
            break;
        case 'B':
            options.sample = 5;
            break;
        case 'n':
            options.sample = (unsigned)number(optarg);
            break;
        case 's':
            options.filter = optarg;
            break;
        case 'p':
            options.only_point = number(optarg);
            break;
        case 'd':
            options.deadline = (unsigned)number(optarg);
            break;
        case 'e':
            options.library = optarg;
            break;
        case 't':
            doubt_flow = true;
            break;
        case 'w':
            options.without_waitv = true;
            break;
        case 'f':
            options.stop_at_first = true;
            break;
        case 'j':
            options.jobs = (unsigned)number(optarg);
            break;
        case 'l':
            list = true;
            break;
        case 'o':
            operations = true;
            break;
        case 'c':
            covers = true;
            break;
        case 'v':
            options.verbose = true;
            break;
        case 'q':
            options.quiet = true;
            break;
        case 'h':
            usage(stdout);
            return 0;
        default:
            usage(stderr);
            return 2;
        }
    }
    if (operations) {
        print_operations(scenarios, count);
        return 0;
    }
    if (covers) {
        print_covers(scenarios, count);
        return 0;
    }
    if (list) {
        for (i = 0; i < count; i++)
            printf("%s/%s\n", scenarios[i]->operation, scenarios[i]->state);
        return 0;
    }
    crash_run(&options, scenarios, count, &totals);
    if (options.filter == NULL)
        crash_run_exempt(&options, exempt, exempt_count, &totals);
    if (options.library != NULL) {
        struct coverage coverage = {scenarios,    count, exempt,
                                    exempt_count, 0,     0};

        print_exempt(exempt, exempt_count);
        if (!exported_functions(options.library, check_export, &coverage) ||
            coverage.seen == 0) {
            fprintf(stderr, "engine: %s exports nothing\n", options.library);
            totals.errors++;
        } else
            printf("exported functions: %lu, without kill points or a "
                   "reason: %lu\n",
                   coverage.seen, coverage.missing);
        totals.errors += coverage.missing;
    }
    if (totals.scenarios == 0) {
        fprintf(stderr, "engine: no scenario was run\n");
        totals.errors++;
    }
    if (totals.spared != 0)
        printf("pairs spared (--all-pairs visits them): %lu\n", totals.spared);
    if (totals.replaced != 0)
        printf("points replaced by others, as the run took another way: %lu\n",
               totals.replaced);
    /* Each scenario has kept to its own bounds; these are for the whole. */
    if (totals.replaced > 2 + totals.points / 50 ||
        totals.missed > 1 + totals.points / 500)
        totals.errors++;
    if (totals.missed != 0)
        printf("points that could not be reached again: %lu\n", totals.missed);
    if (totals.errors != 0)
        printf("errors: %lu\n", totals.errors);
    printf("kill points: %lu, hangs: %lu, corruptions: %lu, losses: %lu, "
           "duplicates: %lu\n",
           totals.points, totals.found[CRASH_HANG],
           totals.found[CRASH_CORRUPTION], totals.found[CRASH_LOSS],
           totals.found[CRASH_DUPLICATE]);
    return totals.found[CRASH_HANG] != 0 ||
           totals.found[CRASH_CORRUPTION] != 0 ||
           totals.found[CRASH_LOSS] != 0 ||
           totals.found[CRASH_DUPLICATE] != 0 || totals.errors != 0;
}
