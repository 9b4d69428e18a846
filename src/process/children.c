/* SPDX-License-Identifier: Apache-2.0 */
#include "children.h"

#include "os/cancel.h"

#include <stdlib.h>

/* Finished children looked for in one start: enough that they do not pile up in
 * a program that never joins, and little enough that a start costs the same
 * among a thousand running ones. */
#define REAPED_PER_START 4

int
troupe_process_active_children(troupe_process ***ret_children,
                               size_t *ret_count)
{
    TROUPE__UNCANCELLED;
    struct troupe__processes *all;
    struct troupe__member_ref *dead = NULL;
    troupe_process **list;
    troupe_process *next;
    troupe_process *p;
    size_t most = 0;
    size_t count = 0;
    size_t dead_count = 0;
    bool now;

    if (ret_children == NULL)
        return -EINVAL;
    all = troupe__processes_lock();
    if (all == NULL)
        return -ENOMEM;
    for (p = all->first; p != NULL; p = p->next)
        most++;
    /* Behind the NULL stands whose list it is: see below. */
    list = calloc(most + 2, sizeof(void *));
    dead = calloc(most + 1, sizeof(*dead));
    if (list == NULL || dead == NULL) {
        troupe__processes_unlock();
        free(list);
        free(dead);
        return -ENOMEM;
    }
    for (p = all->first; p != NULL; p = next) {
        struct troupe__member_ref member = p->member;

        next = p->next;
        if (!p->started)
            continue;
        if (!troupe__process_reap(all, p, &now)) {
            troupe__process_ref(p);
            list[count++] = p;
        } else if (now)
            dead[dead_count++] = member;
    }
    list[count + 1] = (troupe_process *)(uintptr_t)all->epoch;
    troupe__processes_unlock();
    while (dead_count != 0)
        troupe__member_ended(dead[--dead_count]);
    free(dead);
    *ret_children = list;
    if (ret_count != NULL)
        *ret_count = count;
    return 0;
}

void
troupe_process_list_free(troupe_process **children)
{
    struct troupe__processes *all;
    size_t count = 0;

    if (children == NULL)
        return;
    while (children[count] != NULL)
        count++;
    all = troupe__processes_lock();
    /* In a fork child the list is a copy, and so are its references; what it
     * names may have been freed. */
    if (all != NULL && (uintptr_t)children[count + 1] == (uintptr_t)all->epoch)
        while (count != 0)
            troupe__process_unref(children[--count]);
    if (all != NULL)
        troupe__processes_unlock();
    free(children);
}

void
troupe__children_reap(void)
{
    struct troupe__member_ref dead[REAPED_PER_START];
    struct troupe__processes *all = troupe__processes_lock();
    troupe_process *p = NULL;
    unsigned count = 0;
    unsigned looked;
    bool now;

    if (all == NULL)
        return;
    for (looked = 0; looked < REAPED_PER_START; looked++) {
        struct troupe__member_ref member;

        /* On from where the last start stopped. */
        p = all->to_look_at != NULL ? all->to_look_at : all->first;
        if (p == NULL)
            break;
        all->to_look_at = p->next;
        member = p->member;
        if (p->started && troupe__process_reap(all, p, &now) && now)
            dead[count++] = member;
    }
    troupe__processes_unlock();
    while (count != 0)
        troupe__member_ended(dead[--count]);
}
