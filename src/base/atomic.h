/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Atomic operations with the memory order in the name, on plain fixed-width
 * integers (public structs hold plain fields, so that C++ can include them).
 *
 * In the test build (TROUPE_SHIM) every operation first passes through
 * troupe__shim_atomic(), where a test may count, delay or kill.
 */
#ifndef TROUPE_SRC_BASE_ATOMIC_H
#define TROUPE_SRC_BASE_ATOMIC_H

#include <stdbool.h>
#include <stdint.h>

#ifdef TROUPE_SHIM
void troupe__shim_atomic(const volatile void *address);
# define TROUPE__POINT(p) troupe__shim_atomic(p)
#else
# define TROUPE__POINT(p) ((void)0)
#endif

#define troupe__load_relaxed(p) \
 (TROUPE__POINT(p), __atomic_load_n((p), __ATOMIC_RELAXED))
#define troupe__load_acquire(p) \
 (TROUPE__POINT(p), __atomic_load_n((p), __ATOMIC_ACQUIRE))
#define troupe__load_seq_cst(p) \
 (TROUPE__POINT(p), __atomic_load_n((p), __ATOMIC_SEQ_CST))

#define troupe__store_relaxed(p, v) \
 (TROUPE__POINT(p), __atomic_store_n((p), (v), __ATOMIC_RELAXED))
#define troupe__store_release(p, v) \
 (TROUPE__POINT(p), __atomic_store_n((p), (v), __ATOMIC_RELEASE))
#define troupe__store_seq_cst(p, v) \
 (TROUPE__POINT(p), __atomic_store_n((p), (v), __ATOMIC_SEQ_CST))

#define troupe__exchange_seq_cst(p, v) \
 (TROUPE__POINT(p), __atomic_exchange_n((p), (v), __ATOMIC_SEQ_CST))

/* Compare and swap: on failure *(expected) holds what was found. */
#define troupe__cas_relaxed(p, expected, v)                                  \
 (TROUPE__POINT(p),                                                          \
  __atomic_compare_exchange_n((p), (expected), (v), false, __ATOMIC_RELAXED, \
                              __ATOMIC_RELAXED))
#define troupe__cas_acquire(p, expected, v)                                  \
 (TROUPE__POINT(p),                                                          \
  __atomic_compare_exchange_n((p), (expected), (v), false, __ATOMIC_ACQUIRE, \
                              __ATOMIC_RELAXED))
#define troupe__cas_release(p, expected, v)                                  \
 (TROUPE__POINT(p),                                                          \
  __atomic_compare_exchange_n((p), (expected), (v), false, __ATOMIC_RELEASE, \
                              __ATOMIC_RELAXED))
#define troupe__cas_seq_cst(p, expected, v)                                  \
 (TROUPE__POINT(p),                                                          \
  __atomic_compare_exchange_n((p), (expected), (v), false, __ATOMIC_SEQ_CST, \
                              __ATOMIC_SEQ_CST))

#define troupe__fetch_add_relaxed(p, v) \
 (TROUPE__POINT(p), __atomic_fetch_add((p), (v), __ATOMIC_RELAXED))
#define troupe__fetch_add_seq_cst(p, v) \
 (TROUPE__POINT(p), __atomic_fetch_add((p), (v), __ATOMIC_SEQ_CST))
#define troupe__fetch_or_seq_cst(p, v) \
 (TROUPE__POINT(p), __atomic_fetch_or((p), (v), __ATOMIC_SEQ_CST))
#define troupe__fetch_and_seq_cst(p, v) \
 (TROUPE__POINT(p), __atomic_fetch_and((p), (v), __ATOMIC_SEQ_CST))

/* Order between two operations of one thread as seen by another that looks at
 * them in the opposite order (store here, load there). */
#define troupe__fence_seq_cst() __atomic_thread_fence(__ATOMIC_SEQ_CST)

/* Order as a survivor sees it after this thread was killed: a dead thread's
 * stores reach memory in program order of what it executed, so it is enough
 * to keep the compiler from moving them. */
#define troupe__fence_crash() __atomic_signal_fence(__ATOMIC_SEQ_CST)

/*
 * Reads memory that may be somebody else's by now, to use for anything: the
 * caller finds out afterwards whether to believe what it read. A race, and
 * meant, so ThreadSanitizer does not get to see it.
 */
static inline __attribute__((no_sanitize("thread"))) uint32_t
troupe__peek_u32(const uint32_t *p)
{
    return *(const volatile uint32_t *)p;
}

static inline __attribute__((no_sanitize("thread"))) uint64_t
troupe__peek_u64(const uint64_t *p)
{
    return *(const volatile uint64_t *)p;
}

static inline void
troupe__cpu_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb" ::: "memory");
#else
    __asm__ volatile("" ::: "memory");
#endif
}

#endif
