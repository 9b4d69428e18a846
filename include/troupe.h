/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Troupe: processes as easy as threads. This header includes all the others,
 * in reading order.
 */
#ifndef TROUPE_H
#define TROUPE_H

#include <troupe/base.h>
#include <troupe/error.h>
#include <troupe/heap.h>
#include <troupe/scope.h>
#include <troupe/time.h>
#include <troupe/version.h>

#include <troupe/event.h>
#include <troupe/lock.h>
#include <troupe/queue.h>

#include <troupe/log.h>
#include <troupe/process.h>

#include <troupe/pool.h>
#include <troupe/progress.h>

#endif
