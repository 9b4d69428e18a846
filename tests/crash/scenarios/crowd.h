/* SPDX-License-Identifier: Apache-2.0 */
/* More processes than peers: they fill a table, and stand there. */
#ifndef TROUPE_TESTS_CRASH_CROWD_H
#define TROUPE_TESTS_CRASH_CROWD_H

/* In the stage: each calls one() and stays until crowd_end(). */
void crowd_begin(unsigned count, void (*one)(void));
void crowd_end(void);

#endif
