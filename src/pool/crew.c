/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The processes of a pool: who watches them, what is done when one has died,
 * and who takes its place. All of it happens in threads of the creator that
 * wait for work to end.
 */
#include "pool.h"

#include "base/math.h"
#include "heap/detail.h"
#include "heap/slot.h"
#include "heap/wait.h"
#include "os/clock.h"
#include "process/process.h"

#include <troupe/log.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>

/* How long one look waits for a process that is on its way out. */
#define DYING_BOUND (10 * TROUPE__MS)
/* When to try again after a start has failed. */
#define RETRY (100 * TROUPE__MS)
/* When to give up while no worker is to be had, or none lives long enough to
 * take a task. */
#define GIVE_UP (10 * TROUPE__SECOND)
/* Deaths in a row of workers that have done nothing: from here on the next one
 * is started later and later. */
#define USELESS          3u
#define LONGEST_BACK_OFF 10u /* 2^10 ms */

/* Starts a process in an empty place. */
static int
start(struct troupe__pool_control *control, uint32_t index)
{
    troupe_pool *pool = control->pool;
    struct troupe__crew *crew = &control->crew[index];
    struct troupe__pool_worker *worker = crew->worker;
    troupe_process_options o = {.size = sizeof(o),
                                .target = troupe__worker_main,
                                .arg = crew,
                                .daemon = true};
    troupe_process *process;
    char name[64];
    int status;

    (void)snprintf(name, sizeof(name), "%s-%llu", control->name,
                   (unsigned long long)control->made + 1);
    o.name = name;
    status = troupe_process_new(&process, &o);
    if (status < 0)
        return status;
    troupe__store_relaxed(&worker->tag, UINT64_C(0));
    troupe__store_seq_cst(&pool->starting, 1u);
    status = troupe_process_start(process);
    if (status < 0) {
        troupe__store_release(&pool->starting, 0u);
        troupe_process_free(process);
        return status;
    }
    troupe__store_relaxed(&worker->member_generation,
                          process->member.generation);
    troupe__store_release(&worker->member, process->member.number);
    troupe__store_release(&pool->starting, 0u);
    control->made++;
    crew->process = process;
    crew->pid = troupe_process_pid(process);
    crew->tag = 0;
    crew->killed = false;
    crew->dead_before = false;
    troupe__store_relaxed(&pool->alive, ++control->alive);
    troupe_log(TROUPE_LOG_DEBUG, "added worker");
    return 0;
}

static void
sooner(int64_t *at, int64_t than)
{
    if (than < *at)
        *at = than;
}

int
troupe__crew_fill(struct troupe__pool_control *control)
{
    int64_t now = troupe__clock_now();
    int first_error = 0;
    uint32_t i;

    control->look_at = INT64_MAX;
    for (i = 0; i < control->processes; i++) {
        struct troupe__crew *crew = &control->crew[i];

        if (crew->process != NULL)
            continue;
        if (crew->start_at <= now && first_error == 0) {
            first_error = start(control, i);
            if (first_error == 0) {
                /* One that can be started may still die at once. */
                if (control->useless < USELESS)
                    control->failing_since = 0;
                continue;
            }
            control->start_error = first_error;
            if (control->failing_since == 0)
                control->failing_since = now;
            crew->start_at = troupe__time_add(now, RETRY);
        }
        sooner(&control->look_at, crew->start_at > now
                                      ? crew->start_at
                                      : troupe__time_add(now, RETRY));
    }
    return first_error;
}

/* One more worker has died before it did anything: whatever killed it will do
 * so again. The machine is not to be kept busy with that, and who waits is to
 * be told in the end. Returns when to start the next one. */
static int64_t
useless_death(struct troupe__pool_control *control)
{
    int64_t now = troupe__clock_now();
    uint32_t power;

    if (now - control->useless_at > GIVE_UP) {
        control->useless = 0; /* another trouble than the last */
        control->failing_since = 0;
    }
    control->useless_at = now;
    if (++control->useless < USELESS)
        return 0;
    control->start_error = -TROUPE_EWORKERLOST;
    /* Until now there was one to be hoped for, whatever else had failed. */
    if (control->useless == USELESS)
        control->failing_since = now;
    power = control->useless - USELESS;
    if (power > LONGEST_BACK_OFF)
        power = LONGEST_BACK_OFF;
    return troupe__time_add(now, TROUPE__MS << power);
}

/* Whether a tag is that of a thread in this process, which has not been
 * recovered. */
static bool
is_thread_of(uint64_t tag, const troupe_process *process)
{
    const struct troupe__slot *slot = troupe__tag_slot(tag);

    return slot != NULL &&
           troupe__load_acquire(&slot->generation) == (uint32_t)(tag >> 32) &&
           troupe__load_relaxed(&slot->member) == process->member.number &&
           troupe__load_relaxed(&slot->member_generation) ==
               process->member.generation;
}

uint64_t
troupe__crew_tag(struct troupe__pool_control *control, uint32_t index)
{
    struct troupe__crew *crew = &control->crew[index];
    uint64_t tag;

    if (crew->tag == 0) {
        tag = troupe__load_acquire(&crew->worker->tag);
        if (is_thread_of(tag, crew->process))
            crew->tag = tag;
    }
    return crew->tag;
}

/* The tag of a worker whose process is gone. Its slot may have been recovered,
 * and be another's by now. */
static uint64_t
last_tag(struct troupe__pool_control *control, uint32_t index)
{
    uint64_t tag = troupe__crew_tag(control, index);

    if (tag == 0) {
        tag = troupe__load_acquire(&control->crew[index].worker->tag);
        if (!troupe__tag_dead(tag))
            tag = 0;
    }
    return tag;
}

bool
troupe__crew_has(const struct troupe__pool_control *control, uint64_t tag)
{
    uint32_t i;

    for (i = 0; i < control->processes; i++) {
        const struct troupe__crew *crew = &control->crew[i];

        if (crew->process != NULL &&
            (crew->tag == tag ||
             troupe__load_acquire(&crew->worker->tag) == tag))
            return true;
    }
    return false;
}

bool
troupe__crew_is_at(const struct troupe__pool_control *control, uint32_t index,
                   const void *job)
{
    return troupe__load_seq_cst(&control->crew[index].worker->job) ==
           troupe__family_offset(job);
}

/* The worker in a place has ended, and its process is gone: settles it and
 * empties the place. */
static void
settle(struct troupe__pool_control *control, uint32_t index, int code)
{
    troupe_pool *pool = control->pool;
    struct troupe__crew *crew = &control->crew[index];
    struct troupe__pool_worker *worker = crew->worker;
    bool left = troupe__load_acquire(&worker->left) != 0;
    /* Another end than the one we gave it was its own. */
    bool by_us = crew->killed && !crew->dead_before && code == -SIGKILL;
    struct troupe__casualty dead = {.tag = last_tag(control, index),
                                    .index = index,
                                    .pid = (int32_t)crew->pid,
                                    .code = code,
                                    .lost = !left && !by_us};
    uint64_t interrupted = pool->tasks_interrupted;
    bool useless = worker->ended == 0 && dead.lost;
    struct troupe__map *map;
    troupe_imap *imap;

    troupe_log(TROUPE_LOG_DEBUG, "cleaning up worker %u", (unsigned)index);
    for (map = control->maps; map != NULL; map = map->next)
        troupe__map_settle(control, map, &dead);
    for (imap = control->streams; imap != NULL;
         imap = troupe__imap_next_of(imap))
        troupe__stream_settle(control, imap, &dead);
    if (dead.lost) {
        troupe_log(TROUPE_LOG_INFO, "worker %s (pid %d) was lost, exitcode %d",
                   troupe_process_name(crew->process), (int)dead.pid, code);
        troupe__store_relaxed(&pool->workers_lost, pool->workers_lost + 1);
        for (map = control->maps; map != NULL; map = map->next)
            map->workers_lost++;
    }
    troupe__store_relaxed(&pool->tasks_ended,
                          pool->tasks_ended + worker->ended);
    crew->start_at = 0;
    if (useless && pool->tasks_interrupted == interrupted)
        crew->start_at = useless_death(control);
    else
        control->useless = 0;
    troupe__store_relaxed(&worker->ended, UINT64_C(0));
    troupe__store_relaxed(&worker->busy, 0u);
    troupe__store_relaxed(&worker->left, 0u);
    troupe__store_relaxed(&worker->barred, 0u);
    troupe__store_relaxed(&worker->pid, 0);
    troupe__store_release(&worker->job, UINT64_C(0));
    troupe__store_release(&worker->member, 0u);
    troupe__store_release(&worker->tag, UINT64_C(0));
    troupe__store_relaxed(&pool->alive, --control->alive);
    /* What failed while there were others left nobody without hope. */
    if (control->alive == 0 && control->useless < USELESS)
        control->failing_since = 0;
    troupe_process_free(crew->process);
    crew->process = NULL;
    /* What it had, and the wake-ups it may have died with, are the others'. */
    troupe__pool_offer(pool, UINT32_MAX);
    troupe__eventword_signal(&pool->news.event, UINT32_MAX);
}

/* Whether a process is known to have ended. Only one that has can be closed,
 * and any thread of the program may have done so: it is an active child. */
static bool
is_over(const struct troupe__crew *crew, int *ret_code)
{
    int status = troupe_process_exitcode(crew->process, ret_code);

    if (status == -ESHUTDOWN)
        *ret_code = crew->process->code;
    return status == 0 || status == -ESHUTDOWN;
}

/* Whether the process in a place has ended; waits until `deadline` for one that
 * is dead but not gone. */
static bool
has_ended(struct troupe__thread *self, struct troupe__crew *crew, int *ret_code,
          troupe_deadline deadline)
{
    uint32_t stoppable = self->stoppable;

    if (is_over(crew, ret_code))
        return true;
    /* The dead are settled also by who has been asked to stop. */
    self->stoppable = 0;
    (void)troupe_process_join(crew->process, deadline);
    self->stoppable = stoppable;
    return is_over(crew, ret_code);
}

/* Whether the place's thread is seen dead, or its process gone without ever
 * having had one. */
static bool
seems_dead(struct troupe__pool_control *control, uint32_t index)
{
    uint64_t tag = troupe__crew_tag(control, index);

    if (tag != 0)
        return troupe__tag_dead(tag);
    return !troupe_process_is_alive(control->crew[index].process);
}

void
troupe__crew_look(struct troupe__pool_control *control,
                  struct troupe__thread *self)
{
    troupe_deadline bound = 0; /* of all of them: the lock is held */
    bool empty = false;
    uint32_t i;
    int code;

    troupe__pool_restate(control);
    control->dying = false;
    for (i = 0; i < control->processes; i++) {
        struct troupe__crew *crew = &control->crew[i];

        if (crew->process == NULL) {
            empty = true;
            continue;
        }
        if (!crew->killed && !seems_dead(control, i))
            continue;
        /* Its thread is dead; a process that goes on with others is of no use
         * as a worker. */
        if (!has_ended(self, crew, &code, TROUPE_NOW)) {
            (void)troupe_process_kill(crew->process);
            if (bound == 0)
                bound = troupe_after_ns(DYING_BOUND);
            if (!has_ended(self, crew, &code, bound)) {
                control->dying = true;
                continue;
            }
        }
        settle(control, i, code);
        empty = true;
    }
    if (!empty)
        return;
    /* A closed pool needs workers while it has work. */
    if (control->state == TROUPE__POOL_OPEN ||
        (control->state == TROUPE__POOL_CLOSED &&
         (control->maps != NULL || control->streams != NULL)))
        (void)troupe__crew_fill(control);
    /* What a start that failed has said is no reason of the call's. */
    troupe__detail_clear();
}

bool
troupe__crew_gone(const struct troupe__pool_control *control)
{
    uint32_t i;

    for (i = 0; i < control->processes; i++)
        if (control->crew[i].process != NULL)
            return false;
    return true;
}

void
troupe__crew_kill(struct troupe__pool_control *control,
                  struct troupe__thread *self,
                  bool (*chosen)(struct troupe__pool_control *control,
                                 uint32_t index, const void *arg),
                  const void *arg, const void *job)
{
    uint32_t i;
    int code;

    for (i = 0; i < control->processes; i++) {
        struct troupe__crew *crew = &control->crew[i];

        if (crew->process == NULL || !chosen(control, i, arg))
            continue;
        /* By now it may be about to leave for another job, whose task would die
         * with it. From here on it turns to none; and if it still names this
         * one it has turned to none before, see job_hold(). */
        (void)troupe__exchange_seq_cst(&crew->worker->barred, 1u);
        if (troupe__crew_is_at(control, i, job) && chosen(control, i, arg)) {
            crew->killed = true;
            crew->dead_before = seems_dead(control, i);
            (void)troupe_process_kill(crew->process);
        } else {
            troupe__store_seq_cst(&crew->worker->barred, 0u);
            /* It may have looked away. */
            troupe__pool_offer(control->pool, UINT32_MAX);
        }
    }
    for (i = 0; i < control->processes; i++) {
        struct troupe__crew *crew = &control->crew[i];

        if (crew->process == NULL || !crew->killed)
            continue;
        /* A killed process ends; each wait is bounded, and looks again. */
        while (!has_ended(self, crew, &code, troupe_after_ns(TROUPE__SECOND)))
            ;
        settle(control, i, code);
    }
}

/* The threads whose deaths are to wake us: first those that have tasks, should
 * there be more than can be watched. The others' wait for the bound. */
static unsigned
collect(struct troupe__pool_control *control, uint64_t *owners)
{
    unsigned count = 0;
    unsigned pass;
    uint32_t i;

    for (pass = 0; pass < 2; pass++) {
        for (i = 0; i < control->processes && count < TROUPE__WAIT_OWNERS;
             i++) {
            const struct troupe__crew *crew = &control->crew[i];
            uint64_t tag =
                crew->process == NULL ? 0 : troupe__crew_tag(control, i);

            /* One that changes meanwhile may be missed or listed twice. One
             * that has died since the last look is watched too: the sleep ends
             * at once, and the next look finds it. */
            if ((troupe__load_relaxed(&crew->worker->busy) != 0) ==
                    (pass == 0) &&
                tag != 0)
                owners[count++] = tag;
        }
    }
    return count;
}

/* Whether some worker can be expected to go on with the work. Where they die as
 * soon as they are started, one must have proved it. */
static bool
has_hands(const struct troupe__pool_control *control)
{
    uint32_t i;

    if (control->useless < USELESS)
        return control->alive != 0;
    for (i = 0; i < control->processes; i++) {
        const struct troupe__crew *crew = &control->crew[i];

        if (crew->process != NULL &&
            (troupe__load_relaxed(&crew->worker->busy) != 0 ||
             troupe__load_relaxed(&crew->worker->ended) != 0))
            return true;
    }
    return false;
}

/* Whether workers are wanted and cannot be had, and the caller, who waits since
 * `begun`, has seen that for long enough. */
static int
hopeless(const struct troupe__pool_control *control, int64_t begun)
{
    int64_t since = control->failing_since;

    if (since == 0 || control->state == TROUPE__POOL_TERMINATED ||
        troupe__clock_now() - (since > begun ? since : begun) < GIVE_UP ||
        has_hands(control))
        return 0;
    if (control->start_error == -TROUPE_EWORKERLOST)
        return troupe__detail(control->start_error,
                              "workers die before they take a task");
    return troupe__detail(control->start_error, "no worker can be started");
}

int
troupe__crew_wait(struct troupe__pool_control *control,
                  struct troupe__thread *self, troupe_deadline deadline,
                  struct troupe__ticker *ticker, bool (*done)(void *arg),
                  void *arg)
{
    struct troupe__eventword *event = &control->pool->news.event;
    uint64_t owners[TROUPE__WAIT_OWNERS];
    struct troupe__wait wait;
    int64_t begun = troupe__clock_now();
    int status = 0;

    troupe__wait_begin(&wait, self, control->pool, TROUPE__KIND_POOL, deadline);
    troupe__eventword_enter(event);
    for (;;) {
        uint32_t seen = troupe__eventword_prepare(event);
        int64_t tick =
            ticker == NULL ? INT64_MAX : troupe__ticker_tick(ticker, false);
        unsigned count;
        bool enough;

        (void)pthread_mutex_lock(&control->lock);
        control->look_at = INT64_MAX;
        troupe__crew_look(control, self);
        enough = done(arg);
        if (!enough)
            status = hopeless(control, begun);
        count = collect(control, owners);
        wait.deadline = control->look_at;
        if (control->dying)
            wait.deadline = TROUPE_NOW;
        (void)pthread_mutex_unlock(&control->lock);
        if (enough || status < 0)
            break;
        sooner(&wait.deadline, tick);
        sooner(&wait.deadline, deadline);
        status =
            troupe__wait_sleep_any(&wait, &event->word, seen, owners, count);
        if (status == -ETIMEDOUT && troupe__clock_now() < deadline)
            status = 0;
        if (status < 0)
            break;
    }
    (void)troupe__eventword_leave(event);
    troupe__wait_end(&wait);
    return status;
}
