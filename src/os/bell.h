/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Datagram sockets that make a process's poll return, and sets of descriptors
 * to be polled as one.
 */
#ifndef TROUPE_SRC_OS_BELL_H
#define TROUPE_SRC_OS_BELL_H

#include <stdbool.h>
#include <stdint.h>

/* A socket that becomes readable when somebody rings its name: five bytes that
 * the kernel chose, as a number that is not 0. The descriptor or -errno. */
int troupe__bell_new(uint64_t *ret_name);

/* Whether a descriptor is the bell of that name: a host may have closed it, and
 * opened something of its own in its place. */
bool troupe__bell_is(int fd, uint64_t name);

/* A socket to ring from. */
int troupe__bell_sender(void);

/* Whether a descriptor is a socket to ring from, whosever.
 * Async-signal-safe. */
bool troupe__bell_sends(int fd);

/* Rings without waiting. 0, also when the bell has been rung often; -errno:
 * nobody has that name (-ECONNREFUSED), or `sender` is no such socket.
 * Async-signal-safe, no cancellation point. */
int troupe__bell_ring(int sender, uint64_t name);

/* Makes the bell silent; whether it had been rung. */
bool troupe__bell_drain(int fd);

/* A set of descriptors that is readable when one of them is. */
int troupe__set_new(void);
int troupe__set_add(int set, int fd, uint64_t data);
void troupe__set_remove(int set, int fd);

/* `data` of up to `room` members of the set that are readable now; how many. */
unsigned troupe__set_ready(int set, uint64_t *data, unsigned room);

/* A descriptor that becomes readable every second from when it is set on until
 * it is set off. */
int troupe__tick_new(void);
void troupe__tick_set(int fd, bool on);
void troupe__tick_drain(int fd);

#endif
