/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Five philosophers at a round table, a fork between each two. Who is even
 * takes the left one first, who is odd the right one, so they cannot all sit
 * there with one fork each: the program comes to its end.
 *
 *     ./philosophers
 *
 * With a number it first lets the user have no more processes than that
 * (RLIMIT_NPROC, which does not bind root), to show what is seen when a
 * process cannot be started. The philosophers that came eat, and main fails.
 *
 *     ./philosophers 1
 */
#include "example.h"

#include <sys/resource.h>

#define N 5

struct philosopher {
    troupe_process *process;
    int id;
    troupe_lock *left;
    troupe_lock *right;
};

/* When a neighbour was killed at table, acquire says TROUPE_OWNER_DIED: we
 * hold the fork, and there is nothing about a fork to repair. */
static void
take(troupe_lock *fork)
{
    check(troupe_lock_acquire(fork, TROUPE_FOREVER), "acquire");
}

static int
run(void *arg)
{
    struct philosopher *self = arg;

    for (int i = 0; i < 5; i++) {
        if (self->id % 2 == 0) {
            take(self->left);
            take(self->right);
        } else {
            take(self->right);
            take(self->left);
        }
        printf("phil %d is eating\n", self->id);
        work(0.2);
        check(troupe_lock_release(self->left), "release");
        check(troupe_lock_release(self->right), "release");
        printf("phil %d is thinking\n", self->id);
        work(0.1);
    }
    return 0;
}

static void
limit_processes(const char *number)
{
    rlim_t most = strtoul(number, NULL, 10);
    struct rlimit limit = {.rlim_cur = most, .rlim_max = most};

    check(setrlimit(RLIMIT_NPROC, &limit) == 0 ? 0 : -errno, "setrlimit");
}

int
main(int argc, char **argv)
{
    struct philosopher phils[N];
    troupe_lock *locks = shared(N * sizeof(*locks));
    int started = 0;

    if (argc > 1) {
        limit_processes(argv[1]);
    }
    for (int i = 0; i < N; i++) {
        phils[i] = (struct philosopher){
            .id = i, .left = &locks[i], .right = &locks[(i + 1) % N]};
        check(
            troupe_process_new(&phils[i].process,
                               TROUPE_OPTIONS(troupe_process_options,
                                              .target = run, .arg = &phils[i])),
            "troupe_process_new");
    }

    while (started < N) {
        if (troupe_process_start(phils[started].process) < 0) {
            (void)fprintf(stderr, "phil %d cannot start: %s\n", started,
                          troupe_error_detail());
            break;
        }
        started++;
    }

    for (int i = 0; i < started; i++) {
        check(troupe_process_join(phils[i].process, TROUPE_FOREVER), "join");
    }
    for (int i = 0; i < N; i++) {
        troupe_process_free(phils[i].process);
    }
    check(troupe_free(locks), "troupe_free");
    return started == N ? EXIT_SUCCESS : EXIT_FAILURE;
}
