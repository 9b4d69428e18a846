/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Processes used by several threads at once; also run under ThreadSanitizer.
 */
#include "helper.h"

#include <pthread.h>

#define THREADS 4

/* Everything that can be asked of a handle whose life goes on meanwhile. */
static void *
ask(void *arg)
{
    troupe_process *p = arg;
    char text[128];
    int value;

    for (;;) {
        int status = troupe_process_exitcode(p, &value);
        troupe_process **list;

        (void)troupe_process_format(p, text, sizeof(text));
        (void)troupe_process_is_alive(p);
        (void)troupe_process_pid(p);
        (void)troupe_process_daemon(p);
        (void)troupe_process_user(p);
        (void)troupe_process_set_user(p, &value);
        CHECK_GT(strlen(troupe_process_name(p)), 0u);
        CHECK_RC(troupe_process_set_name(p, "renamed"), 0);
        (void)troupe_process_sentinel(p, &value);
        CHECK_RC(troupe_process_active_children(&list, NULL), 0);
        troupe_process_list_free(list);
        (void)troupe_process_terminate(p);
        (void)troupe_process_join(p, troupe_after(0.001));
        if (status == 0 || status == -ESHUTDOWN)
            break; /* it has ended; another thread may have closed it */
    }
    (void)troupe_process_close(p);
    CHECK_RC(troupe_process_join(p, TROUPE_NOW), -ESHUTDOWN);
    return NULL;
}

TEST(threads_ask_about_one_process)
{
    /* Started before there are threads: the sanitizer's own locks do not
     * survive a fork among them. */
    troupe_process *p = process_start(child_sleeps, NULL);
    pthread_t threads[THREADS];
    unsigned i;

    for (i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, ask, p), 0);
    for (i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    CHECK_EQ((int)troupe_process_state(p), (int)TROUPE_PROCESS_CLOSED);
    troupe_process_free(p);
}

static void
nothing(void *unused)
{
    (void)unused;
}

static void
hear(int level, const char *process, const char *message, void *context)
{
    (void)level;
    (void)process;
    (void)message;
    __atomic_add_fetch((int *)context, 1, __ATOMIC_RELAXED);
}

static void *
log_and_finalize(void *arg)
{
    unsigned i;

    for (i = 0; i < 200; i++) {
        uint64_t number;

        CHECK_RC(troupe_finalizer_add(nothing, NULL, (int)i % 3, &number), 0);
        troupe_log_set_handler(hear, arg);
        troupe_log(TROUPE_LOG_ERROR, "%u", i);
        CHECK_RC(troupe_finalizer_cancel(number), 0);
    }
    return NULL;
}

TEST(threads_log_and_finalize)
{
    pthread_t threads[THREADS];
    int heard = 0;
    unsigned i;

    for (i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, log_and_finalize, &heard),
                 0);
    for (i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    CHECK_EQ(heard, 200 * THREADS);
    troupe_log_set_handler(NULL, NULL);
}
