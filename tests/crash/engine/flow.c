/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tells where an instruction leads to, so that a trap there is as good as the
 * processor's own single step.  What is not known here is for that one: being
 * too careful costs time only.
 */
#include "engine.h"

#include <string.h>

#if defined(__x86_64__)

/*
 * What follows each opcode, as the processor's manuals have it:
 *
 *   -  nothing            m  a ModRM byte
 *   b  a byte             B  a ModRM byte, and a byte
 *   z  two or four bytes  Z  a ModRM byte, and two or four bytes
 *   v  as z, or eight     t  a ModRM byte, and behind some of them a constant
 *   c  the byte of a conditional jump, j of another jump
 *   J  four bytes of a jump or a call
 *   r  a return           g  a ModRM byte of inc, dec, push, or an indirect
 *   .  not known here          jump or call
 */
static const char one_byte[] = "mmmmbz..mmmmbz.." /* 00 */
                               "mmmmbz..mmmmbz.."
                               "mmmmbz..mmmmbz.."
                               "mmmmbz..mmmmbz.."
                               "................" /* 40 */
                               "----------------"
                               "...m....zZbB...."
                               "cccccccccccccccc"
                               "BZ.Bmmmmmmmmmm.." /* 80 */
                               "----------.-..--"
                               "....----bz------"
                               "bbbbbbbbvvvvvvvv"
                               "BB.r..BZ.-......" /* c0 */
                               "mmmm...-mmmmmmmm"
                               "cccc....JJ.j...."
                               ".....-tt--..--mg";

static const char two_bytes[] = ".............m.." /* 0f 00 */
                                "mmmmmmmmmmmmmmmm"
                                "........mmmmmmmm"
                                ".-.............."
                                "mmmmmmmmmmmmmmmm" /* 0f 40 */
                                "mmmmmmmmmmmmmmmm"
                                "mmmmmmmmmmmmmmmm"
                                "BBBBmmm-....mmmm"
                                "CCCCCCCCCCCCCCCC" /* 0f 80 */
                                "mmmmmmmmmmmmmmmm"
                                "..-mBm.....mBmmm"
                                "mm.m..mmm.Bmmmmm"
                                "mmBmBBBm--------" /* 0f c0 */
                                "mmmmmmmmmmmmmmmm"
                                "mmmmmmmmmmmmmmmm"
                                "mmmmmmmmmmmmmmm.";

struct prefixes {
    bool operand_size;
    bool repeated;
    bool wide; /* REX.W */
};

/* How many bytes a ModRM byte and what belongs to it take. */
static unsigned
modrm_length(const unsigned char *modrm)
{
    unsigned mode = modrm[0] >> 6, length = 1;
    bool index = (modrm[0] & 7) == 4;

    if (mode == 3)
        return 1;
    if (mode == 0 && ((modrm[0] & 7) == 5 || (index && (modrm[1] & 7) == 5)))
        length += 4;
    else if (mode == 1)
        length += 1;
    else if (mode == 2)
        length += 4;
    return length + index;
}

/* What VEX and EVEX stand before: a ModRM byte, and a constant behind some. */
static unsigned
vector_length(const unsigned char *code, unsigned map)
{
    unsigned op = code[0];
    bool constant = map == 3 || (map == 1 && strchr("Bb", two_bytes[op]));

    if (map < 1 || map > 3)
        return 0;
    if (map == 1 && op == 0x77) /* vzeroupper */
        return 1;
    return 1 + modrm_length(code + 1) + constant;
}

static int64_t
relative(const unsigned char *at, unsigned size)
{
    int32_t four;

    if (size == 1)
        return (signed char)at[0];
    memcpy(&four, at, sizeof(four));
    return four;
}

/* `op` is at the opcode's last byte. */
static bool
follow(const unsigned char *code, const unsigned char *op, char kind,
       const struct prefixes *prefixes, uint64_t pc, struct flow *flow)
{
    unsigned constant = prefixes->operand_size && !prefixes->wide ? 2 : 4;
    unsigned length = (unsigned)(op + 1 - code);
    unsigned jump = 0;

    switch (kind) {
    case '-':
        break;
    case 'm':
        length += modrm_length(op + 1);
        break;
    case 'b':
        length += 1;
        break;
    case 'B':
        length += modrm_length(op + 1) + 1;
        break;
    case 'z':
        length += constant;
        break;
    case 'Z':
        /* xabort and xbegin are among them */
        if (op[1] == 0xf8)
            return false;
        length += modrm_length(op + 1) + constant;
        break;
    case 'v':
        length += prefixes->wide ? 8 : constant;
        break;
    case 't':
        length += modrm_length(op + 1);
        if ((op[1] >> 3 & 7) < 2)
            length += *op == 0xf6 ? 1 : constant;
        break;
    case 'g':
        if ((op[1] >> 3 & 7) >= 2 && (op[1] >> 3 & 7) != 6)
            return false;
        length += modrm_length(op + 1);
        break;
    case 'c':
    case 'j':
        jump = 1;
        break;
    case 'C':
    case 'J':
        /* Processors differ over the shorter form. */
        if (constant != 4)
            return false;
        jump = 4;
        break;
    case 'r':
        flow->returns = true;
        return true;
    default:
        return false;
    }
    length += jump;
    if (kind != 'j' && kind != 'J')
        flow->next[flow->count++] = pc + length;
    if (jump != 0)
        flow->next[flow->count++] =
            pc + length + (uint64_t)relative(op + 1, jump);
    return true;
}

bool
flow_decode(const unsigned char *code, uint64_t pc, struct flow *flow)
{
    struct prefixes prefixes = {0};
    const unsigned char *op = code;
    unsigned length;

    memset(flow, 0, sizeof(*flow));
    for (;; op++) {
        if (*op == 0x66)
            prefixes.operand_size = true;
        else if (*op == 0xf2 || *op == 0xf3)
            prefixes.repeated = true;
        else if (*op != 0x2e && *op != 0x3e && *op != 0x64 && *op != 0x65 &&
                 *op != 0xf0)
            break;
    }
    if (*op >= 0x40 && *op <= 0x4f)
        prefixes.wide = (*op++ & 8) != 0;
    switch (*op) {
    case 0xc4: /* VEX, EVEX */
        length = vector_length(op + 3, op[1] & 31);
        op += 3;
        break;
    case 0xc5:
        length = vector_length(op + 2, 1);
        op += 2;
        break;
    case 0x62:
        length = vector_length(op + 4, op[1] & 7);
        op += 4;
        break;
    case 0x0f:
        op++;
        if (*op == 0x38)
            return op++, follow(code, op, 'm', &prefixes, pc, flow);
        if (*op == 0x3a)
            return op++, follow(code, op, 'B', &prefixes, pc, flow);
        return follow(code, op, two_bytes[*op], &prefixes, pc, flow);
    case 0xa4: /* strings: each round of a repeated one is a step */
    case 0xa5:
    case 0xa6:
    case 0xa7:
    case 0xaa:
    case 0xab:
    case 0xac:
    case 0xad:
    case 0xae:
    case 0xaf:
        if (prefixes.repeated)
            return false;
        return follow(code, op, '-', &prefixes, pc, flow);
    case 0x9c: /* pushf, popf: the trap flag is among what they move */
    case 0x9d:
        return false;
    default:
        return follow(code, op, one_byte[*op], &prefixes, pc, flow);
    }
    if (length == 0)
        return false;
    flow->next[flow->count++] = pc + (uint64_t)(op - code) + length;
    return true;
}

#else

bool
flow_decode(const unsigned char *code, uint64_t pc, struct flow *flow)
{
    (void)code;
    (void)pc;
    (void)flow;
    return false;
}

#endif
