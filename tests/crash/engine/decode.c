/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tells instructions that store nothing but on the stack from those that may
 * store anywhere.  After the former memory need not be compared, and they are
 * most.  What is not known here may store: being too careful costs time only.
 */
#include "engine.h"

#if defined(__x86_64__)

/* Where a ModRM byte points to. */
static bool
is_register(const unsigned char *modrm)
{
    return modrm[0] >> 6 == 3;
}

/* %rsp with a displacement and no index, which no victim points elsewhere. */
static bool
is_stack(const unsigned char *modrm, unsigned rex)
{
    return (modrm[0] & 7) == 4 && (modrm[1] & 7) == 4 &&
           (modrm[1] >> 3 & 7) == 4 && (rex & 3) == 0;
}

static bool
stays(const unsigned char *modrm, unsigned rex)
{
    return is_register(modrm) || is_stack(modrm, rex);
}

static unsigned
extension(const unsigned char *modrm)
{
    return modrm[0] >> 3 & 7;
}

/* The opcodes behind 0f. */
static bool
two_bytes_are_pure(const unsigned char *code, unsigned rex)
{
    unsigned op = code[0];

    if (op >= 0x40 && op <= 0x4f) /* cmov */
        return true;
    if (op >= 0x80 && op <= 0x8f) /* jcc */
        return true;
    if (op >= 0x90 && op <= 0x9f) /* setcc */
        return stays(code + 1, rex);
    if (op >= 0xc8 && op <= 0xcf) /* bswap */
        return true;
    switch (op) {
    case 0x10: /* loads of vectors, and moves between registers */
    case 0x16:
    case 0x28:
    case 0x57:
    case 0x6c:
    case 0x6e:
    case 0x6f:
    case 0x70:
    case 0xef:
    case 0x18: /* prefetch, nop, endbr */
    case 0x1e:
    case 0x1f:
    case 0x31: /* rdtsc, cpuid */
    case 0xa2:
    case 0xa3: /* bt, imul, movzx, movsx, bsf, bsr */
    case 0xaf:
    case 0xb6:
    case 0xb7:
    case 0xbc:
    case 0xbd:
    case 0xbe:
    case 0xbf:
        return true;
    case 0x11: /* stores of vectors */
    case 0x29:
    case 0x7f:
        return stays(code + 1, rex);
    case 0xba:
        return extension(code + 1) == 4 || stays(code + 1, rex);
    default:
        return false;
    }
}

bool
decode_is_pure(const unsigned char *code)
{
    bool repeated = false;
    unsigned rex = 0, op;

    for (;; code++) {
        if (*code == 0xf2 || *code == 0xf3)
            repeated = true;
        else if (*code != 0x66 && *code != 0x64)
            break;
    }
    if (*code >= 0x40 && *code <= 0x4f)
        rex = *code++;
    op = *code++;
    if (op == 0x0f)
        return two_bytes_are_pure(code, rex);
    /* A repeated one is a string instruction, or ret and nop for the sake of
     * their length. */
    if (repeated)
        return op == 0xc3 || op == 0x90;
    if (op < 0x40) {
        switch (op & 7) {
        case 0:
        case 1:
            return op >= 0x38 || stays(code, rex);
        case 2:
        case 3:
        case 4:
        case 5:
            return true;
        default:
            return false;
        }
    }
    if ((op >= 0x50 && op <= 0x5f) || /* push, pop */
        (op >= 0x70 && op <= 0x7f) || /* jcc */
        (op >= 0xb0 && op <= 0xbf))   /* mov of a constant */
        return true;
    if (op >= 0x90 && op <= 0x99) /* nop, xchg of registers, cwde, cdq */
        return true;
    switch (op) {
    case 0x63: /* movsxd, push, imul */
    case 0x68:
    case 0x69:
    case 0x6a:
    case 0x6b:
    case 0x84: /* test */
    case 0x85:
    case 0xa8:
    case 0xa9:
    case 0x8a: /* mov to a register, lea */
    case 0x8b:
    case 0x8d:
    case 0xc2: /* ret, leave, loop, call, jmp */
    case 0xc3:
    case 0xc9:
    case 0xe0:
    case 0xe1:
    case 0xe2:
    case 0xe3:
    case 0xe8:
    case 0xe9:
    case 0xeb:
        return true;
    case 0x80: /* arithmetic with a constant; 7 is cmp */
    case 0x81:
    case 0x83:
        return extension(code) == 7 || stays(code, rex);
    case 0x86: /* xchg, mov, shifts */
    case 0x87:
    case 0x88:
    case 0x89:
    case 0xc0:
    case 0xc1:
    case 0xc6:
    case 0xc7:
    case 0xd0:
    case 0xd1:
    case 0xd2:
    case 0xd3:
        return stays(code, rex);
    case 0xf6: /* 2 and 3 are not and neg, the others test, mul, div */
    case 0xf7:
        return (extension(code) != 2 && extension(code) != 3) ||
               stays(code, rex);
    case 0xfe: /* inc, dec, call, jmp, push */
        return stays(code, rex);
    case 0xff:
        return extension(code) == 2 || extension(code) == 4 ||
               extension(code) == 6 || stays(code, rex);
    default:
        return false;
    }
}

#else

bool
decode_is_pure(const unsigned char *code)
{
    (void)code;
    return false;
}

#endif
