/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two processes take turns: each waits for its own lock and releases the other
 * side's. Any process may release a lock, not just the one that acquired it.
 *
 *     ./ping_pong
 */
#include "example.h"

struct player {
    const char *name;
    troupe_lock *mine;
    troupe_lock *others;
};

/* Watch this variable: two processes increment it, three report it, and each
 * has a copy of its own. */
static int counter = 10;

static int
ping(void *arg)
{
    const struct player *player = arg;

    for (int i = 0; i < 5; i++) {
        /* wait until it is my turn */
        check(troupe_lock_acquire(player->mine, TROUPE_FOREVER), "acquire");
        printf("%s %d\n", player->name, counter);
        /* now it is the other one's */
        check(troupe_lock_release(player->others), "release");
        counter++;
    }
    return 0;
}

static troupe_process *
start(const struct player *player)
{
    troupe_process *p;

    check(troupe_process_new(&p, TROUPE_OPTIONS(troupe_process_options,
                                                .target = ping, .arg = player)),
          "troupe_process_new");
    check(troupe_process_start(p), "start");
    return p;
}

int
main(void)
{
    troupe_lock *locks = shared(2 * sizeof(*locks));
    const struct player one = {"ping", &locks[0], &locks[1]};
    const struct player two = {"pong", &locks[1], &locks[0]};
    troupe_process *pip;
    troupe_process *pop;

    /* These locks pass a turn on and protect nothing, so it does not matter
     * whether whoever acquired one still lives. */
    for (int i = 0; i < 2; i++) {
        check(troupe_lock_init(&locks[i], TROUPE_OPTIONS(troupe_lock_options,
                                                         .unowned = true)),
              "troupe_lock_init");
    }

    /* only one, ping, may begin */
    check(troupe_lock_acquire(&locks[1], TROUPE_FOREVER), "acquire");
    pip = start(&one);
    pop = start(&two);
    check(troupe_process_join(pip, TROUPE_FOREVER), "join");
    check(troupe_process_join(pop, TROUPE_FOREVER), "join");
    check(troupe_lock_release(&locks[1]), "release");
    printf("in main process: %d\n", counter);

    troupe_process_free(pip);
    troupe_process_free(pop);
    return troupe_free(locks);
}
