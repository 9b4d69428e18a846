/* SPDX-License-Identifier: Apache-2.0 */
/* What the engine must know about the processor it runs on. */
#ifndef TROUPE_TESTS_CRASH_ARCH_H
#define TROUPE_TESTS_CRASH_ARCH_H

#include <elf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/user.h>

/* A system call about to be made, or just made, by a stopped thread. */
struct arch_syscall {
    long number;
    uint64_t argument[6];
    long result;
};

#if defined(__x86_64__)

# define ARCH_TRAP() __asm__ volatile("int3" ::: "memory")

/* The shortest trap: it is told of with the program counter behind it. */
enum { ARCH_TRAP_BYTE = 0xcc };

static inline bool
arch_set_pc(pid_t pid, uint64_t pc)
{
    return ptrace(PTRACE_POKEUSER, pid, offsetof(struct user, regs.rip), pc) ==
           0;
}

static inline uint64_t
arch_stack_top(pid_t pid)
{
    uint64_t sp = (uint64_t)ptrace(PTRACE_PEEKUSER, pid,
                                   offsetof(struct user, regs.rsp), NULL);

    return (uint64_t)ptrace(PTRACE_PEEKDATA, pid, sp, NULL);
}

static inline uint64_t
arch_pc(pid_t pid)
{
    return (uint64_t)ptrace(PTRACE_PEEKUSER, pid,
                            offsetof(struct user, regs.rip), NULL);
}

/*
 * The victim is a fork of this process, so its text is at hand here.  The
 * bytes of `syscall` are 0f 05.
 */
static inline bool
arch_at_syscall(uint64_t pc)
{
    unsigned char code[2];

    memcpy(code, (const void *)pc, sizeof(code));
    return code[0] == 0x0f && code[1] == 0x05;
}

static inline long
arch_syscall_number(pid_t pid)
{
    return ptrace(PTRACE_PEEKUSER, pid, offsetof(struct user, regs.rax), NULL);
}

/* Only at a system call stop. */
static inline bool
arch_get_syscall(pid_t pid, struct arch_syscall *call)
{
    struct user_regs_struct regs;

    if (ptrace(PTRACE_GETREGS, pid, NULL, &regs) != 0)
        return false;
    call->number = (long)regs.orig_rax;
    call->result = (long)regs.rax;
    call->argument[0] = regs.rdi;
    call->argument[1] = regs.rsi;
    call->argument[2] = regs.rdx;
    call->argument[3] = regs.r10;
    call->argument[4] = regs.r8;
    call->argument[5] = regs.r9;
    return true;
}

static inline bool
arch_set_argument(pid_t pid, unsigned index, uint64_t value)
{
    static const size_t offsets[6] = {
        offsetof(struct user, regs.rdi), offsetof(struct user, regs.rsi),
        offsetof(struct user, regs.rdx), offsetof(struct user, regs.r10),
        offsetof(struct user, regs.r8),  offsetof(struct user, regs.r9),
    };

    return ptrace(PTRACE_POKEUSER, pid, offsets[index], value) == 0;
}

enum { ARCH_BREAKPOINTS = 4 };

static inline bool
arch_set_breakpoints(pid_t pid, const uint64_t *pcs, unsigned count)
{
    uint64_t control = 0;
    unsigned i;

    /* Disable first: the kernel refuses to move an enabled one badly. */
    if (ptrace(PTRACE_POKEUSER, pid, offsetof(struct user, u_debugreg[7]),
               0L) != 0)
        return false;
    for (i = 0; i < count; i++) {
        if (ptrace(PTRACE_POKEUSER, pid,
                   offsetof(struct user, u_debugreg) + i * sizeof(long),
                   pcs[i]) != 0)
            return false;
        control |= 1UL << (i * 2);
    }
    return ptrace(PTRACE_POKEUSER, pid, offsetof(struct user, u_debugreg[7]),
                  control) == 0;
}

#elif defined(__aarch64__)

/* brk leaves the program counter on itself; arch_skip_trap() steps over. */
# define ARCH_TRAP() __asm__ volatile("brk #0" ::: "memory")

static inline bool
arch_regs(pid_t pid, struct user_regs_struct *regs)
{
    struct iovec io = {regs, sizeof(*regs)};

    return ptrace(PTRACE_GETREGSET, pid, NT_PRSTATUS, &io) == 0;
}

static inline bool
arch_put_regs(pid_t pid, struct user_regs_struct *regs)
{
    struct iovec io = {regs, sizeof(*regs)};

    return ptrace(PTRACE_SETREGSET, pid, NT_PRSTATUS, &io) == 0;
}

static inline uint64_t
arch_pc(pid_t pid)
{
    struct user_regs_struct regs;

    return arch_regs(pid, &regs) ? regs.pc : 0;
}

static inline bool
arch_at_syscall(uint64_t pc)
{
    uint32_t code;

    memcpy(&code, (const void *)pc, sizeof(code));
    return code == 0xd4000001u;
}

static inline long
arch_syscall_number(pid_t pid)
{
    struct user_regs_struct regs;

    return arch_regs(pid, &regs) ? (long)regs.regs[8] : -1;
}

static inline bool
arch_get_syscall(pid_t pid, struct arch_syscall *call)
{
    struct user_regs_struct regs;
    unsigned i;

    if (!arch_regs(pid, &regs))
        return false;
    call->number = (long)regs.regs[8];
    call->result = (long)regs.regs[0];
    for (i = 0; i < 6; i++)
        call->argument[i] = regs.regs[i];
    return true;
}

static inline bool
arch_set_argument(pid_t pid, unsigned index, uint64_t value)
{
    struct user_regs_struct regs;

    if (!arch_regs(pid, &regs))
        return false;
    regs.regs[index] = value;
    return arch_put_regs(pid, &regs);
}

/* No trap is that short: flow_decode() knows nothing here. */
enum { ARCH_TRAP_BYTE = 0 };

static inline bool
arch_set_pc(pid_t pid, uint64_t pc)
{
    (void)pid;
    (void)pc;
    return false;
}

static inline uint64_t
arch_stack_top(pid_t pid)
{
    (void)pid;
    return 0;
}

/* Without breakpoints the engine walks to each point step by step. */
enum { ARCH_BREAKPOINTS = 0 };

static inline bool
arch_set_breakpoints(pid_t pid, const uint64_t *pcs, unsigned count)
{
    (void)pid;
    (void)pcs;
    (void)count;
    return false;
}

#else
# error "the kill-point engine knows x86-64 and arm64"
#endif

/* Puts the victim behind the trap instruction it reported itself with. */
static inline bool
arch_skip_trap(pid_t pid)
{
#if defined(__aarch64__)
    struct user_regs_struct regs;

    if (!arch_regs(pid, &regs))
        return false;
    regs.pc += 4;
    return arch_put_regs(pid, &regs);
#else
    (void)pid;
    return true;
#endif
}

#endif
