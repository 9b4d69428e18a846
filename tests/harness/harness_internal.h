/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the harness share with each other, not with tests. */
#ifndef TROUPE_TESTS_HARNESS_INTERNAL_H
#define TROUPE_TESTS_HARNESS_INTERNAL_H

#include "harness.h"

#include <sys/types.h>

enum harness_verdict {
    HARNESS_NONE,
    HARNESS_WRITING,
    HARNESS_FAILED,
    HARNESS_SKIPPED,
};

/*
 * One page of memory shared by the runner and everything a test forks.
 *
 * field    | writer                  | reader  | ordering
 * ---------|-------------------------|---------|----------------------------
 * verdict  | first to CAS NONE away  | runner  | release after text, acquire
 * text     | that one                | runner  | by verdict
 * finished | test process            | runner  | after its death
 *
 * A process killed in the middle of a record leaves WRITING: the runner then
 * says so instead of showing half a text.
 */
struct harness_record {
    int verdict;
    int finished;
    uint64_t signals; /* see harness_storm() */
    char text[2048];
};

extern struct harness_record *harness_record;
extern pid_t harness_test_pid;
extern const char *harness_current_tmpdir;

/* The state of the random numbers of the test. */
extern uint64_t harness_random_state;

/* Writes the first verdict of a test; later ones are dropped. */
void harness_write_record(enum harness_verdict verdict, const char *text);

/* Lets a report of a sanitizer in any descendant fail the test. */
void harness_watch_sanitizers(void);

/* In the test process: remembers what there is, and compares at the end. */
void harness_residue_begin(void);
void harness_residue_end(void);

/*
 * In the runner: the same for what is visible outside of the process. The
 * first may start the program again, so it comes first in main().
 */
void harness_places_prepare(char **argv);
void harness_places_begin(void);
char *harness_places_end(void);

/* In the runner: what is known of its descendants, and the end of them. */
char *harness_describe_living(pid_t except);
void harness_kill_tree(pid_t group);
void harness_remove_tree(const char *path);

/* printf into memory from malloc. Ends the program if there is none. */
__attribute__((format(printf, 1, 2))) char *harness_print(const char *format,
                                                          ...);

#endif
