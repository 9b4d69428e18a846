/* SPDX-License-Identifier: Apache-2.0 */
#include "harness.h"

#include <troupe/error.h>
#include <troupe/heap.h>
#include <troupe/lock.h>

#include "heap/detail.h"

#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Every status that a page of the library names. */
static const struct {
    int status;
    const char *name;
} vocabulary[] = {
    {0, "0"},
    {TROUPE_OWNER_DIED, "TROUPE_OWNER_DIED"},
    {TROUPE_END, "TROUPE_END"},
    {TROUPE_TASKS_FAILED, "TROUPE_TASKS_FAILED"},
    {-TROUPE_EBROKEN, "-TROUPE_EBROKEN"},
    {-TROUPE_EWORKERLOST, "-TROUPE_EWORKERLOST"},
    {-EINVAL, "-EINVAL"},
    {-E2BIG, "-E2BIG"},
    {-EFAULT, "-EFAULT"},
    {-ENOMEM, "-ENOMEM"},
    {-EUSERS, "-EUSERS"},
    {-EAGAIN, "-EAGAIN"},
    {-ETIMEDOUT, "-ETIMEDOUT"},
    {-ECANCELED, "-ECANCELED"},
    {-EPIPE, "-EPIPE"},
    {-ESHUTDOWN, "-ESHUTDOWN"},
    {-EMSGSIZE, "-EMSGSIZE"},
    {-EPERM, "-EPERM"},
    {-ECHILD, "-ECHILD"},
    {-EBUSY, "-EBUSY"},
    {-EXDEV, "-EXDEV"},
    {-ENOTRECOVERABLE, "-ENOTRECOVERABLE"},
    {-ENOTSUP, "-ENOTSUP"},
    {-EPROTO, "-EPROTO"},
    {-EKEYREJECTED, "-EKEYREJECTED"},
};

#define WORDS (sizeof(vocabulary) / sizeof(vocabulary[0]))

TEST(error_every_word_has_a_name_and_a_text_of_its_own)
{
    for (size_t i = 0; i < WORDS; i++) {
        const char *text = troupe_strerror(vocabulary[i].status);

        CHECK_STR(troupe_error_name(vocabulary[i].status), vocabulary[i].name);
        CHECK_GT(strlen(text), 0u);
        CHECK(strcmp(text, "unknown status") != 0);
        for (size_t j = 0; j < i; j++)
            CHECK(strcmp(text, troupe_strerror(vocabulary[j].status)) != 0);
    }
}

TEST(error_unknown_status_is_said_to_be_unknown)
{
    static const int unknown[] = {INT_MIN, INT_MAX, -4999, -5002,
                                  4710,    4711,    EINVAL};

    for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
        CHECK_STR(troupe_strerror(unknown[i]), "unknown status");
        CHECK_STR(troupe_error_name(unknown[i]), "?");
    }
}

TEST(error_codes_of_our_own_lie_above_every_errno)
{
    CHECK_GT(TROUPE_EBROKEN, 4095);
    CHECK_GT(TROUPE_EWORKERLOST, 4095);
    CHECK_NE(TROUPE_EBROKEN, TROUPE_EWORKERLOST);
}

static void *
detail_of_a_new_thread(void *unused)
{
    (void)unused;
    CHECK_STR(troupe_error_detail(), "");
    CHECK_EQ(troupe__detail(-EINVAL, "of %s", "this thread"), -EINVAL);
    CHECK_STR(troupe_error_detail(), "of this thread");
    return NULL;
}

TEST(error_detail_belongs_to_the_thread)
{
    pthread_t thread;

    CHECK_STR(troupe_error_detail(), "");
    CHECK_EQ(troupe__detail(-ENOMEM, "number %d", 7), -ENOMEM);
    CHECK_EQ(pthread_create(&thread, NULL, detail_of_a_new_thread, NULL), 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_STR(troupe_error_detail(), "number 7");
}

TEST(error_detail_keeps_errno_and_is_cut)
{
    char *text = NULL;

    CHECK_GE(asprintf(&text, "%0999d", 1), 0);
    errno = EDOM;
    CHECK_EQ(troupe__detail(-EIO, "%s", text), -EIO);
    CHECK_EQ(errno, EDOM);
    CHECK_GT(strlen(troupe_error_detail()), 100u);
    CHECK_LT(strlen(troupe_error_detail()), 999u);
    CHECK_MEM(troupe_error_detail(), text, strlen(troupe_error_detail()));
    troupe__detail_clear();
    CHECK_STR(troupe_error_detail(), "");
    free(text);
}

TEST(error_detail_of_a_control_call_says_what_and_the_next_forgets_it)
{
    troupe_heap_options options = {.size = sizeof(options), .window = 1};

    CHECK_RC(troupe_heap_setup(&options), -EINVAL);
    CHECK(strstr(troupe_error_detail(), "window") != NULL);
    options.window = 0;
    CHECK_RC(troupe_heap_setup(&options), 0);
    CHECK_STR(troupe_error_detail(), "");
}

TEST(error_detail_is_left_alone_by_the_data_plane)
{
    troupe_lock lock = {0};

    CHECK_RC(troupe_lock_init(&lock, NULL), 0);
    CHECK_EQ(troupe__detail(-EIO, "before"), -EIO);
    CHECK_RC(troupe_lock_acquire(&lock, TROUPE_NOW), 0);
    CHECK_RC(troupe_lock_acquire(&lock, TROUPE_NOW), -ETIMEDOUT);
    CHECK_RC(troupe_lock_release(&lock), 0);
    CHECK_RC(troupe_lock_release(&lock), -EPERM);
    CHECK_STR(troupe_error_detail(), "before");
}
