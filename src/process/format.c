/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The printed form of a process, letter for letter that of CPython 3.11.
 */
#include "process.h"

#include "base/macros.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct text {
    char *at;
    size_t size;
    size_t length; /* of the whole; what does not fit is only counted */
};

static void
put_char(struct text *t, char c)
{
    if (t->length + 1 < t->size)
        t->at[t->length] = c;
    t->length++;
}

static void TROUPE_PRINTF(2, 3) put(struct text *t, const char *format, ...)
{
    char piece[64];
    va_list args;
    const char *c;

    va_start(args, format);
    (void)vsnprintf(piece, sizeof(piece), format, args);
    va_end(args);
    for (c = piece; *c != '\0'; c++)
        put_char(t, *c);
}

/* Length of the UTF-8 sequence at `s` and its code point; 0: it is none. */
static unsigned
utf8_decode(const unsigned char *s, uint32_t *ret_point)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    unsigned length = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    uint32_t point = s[0] & (0x7fu >> length);
    unsigned i;

    if (s[0] < 0xc2 || s[0] > 0xf4)
        return 0;
    for (i = 1; i < length; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        point = point << 6 | (s[i] & 0x3fu);
    }
    if (point < least[length] || point > 0x10ffff ||
        (point >= 0xd800 && point <= 0xdfff))
        return 0;
    *ret_point = point;
    return length;
}

/*
 * A string as Python's repr() has it. Characters above U+00A0 are taken for
 * printable, but for the soft hyphen and those of the general punctuation that
 * have no picture; bytes that are not UTF-8 appear as Python decodes them from
 * the system, as lone surrogates.
 */
static void
put_repr(struct text *t, const char *string)
{
    const unsigned char *s = (const unsigned char *)string;
    char quote = strchr(string, '\'') != NULL && strchr(string, '"') == NULL
                     ? '"'
                     : '\'';

    put_char(t, quote);
    while (*s != '\0') {
        uint32_t point;
        unsigned length;

        if (*s == (unsigned char)quote || *s == '\\')
            put(t, "\\%c", *s++);
        else if (*s == '\n' || *s == '\r' || *s == '\t')
            put(t, "\\%c", *s == '\n' ? 'n' : *s == '\r' ? 'r' : 't'), s++;
        else if (*s < 0x20 || *s == 0x7f)
            put(t, "\\x%02x", *s++);
        else if (*s < 0x80)
            put_char(t, (char)*s++);
        else if ((length = utf8_decode(s, &point)) == 0)
            put(t, "\\udc%02x", *s++);
        else if (point < 0xa1 || point == 0xad) {
            put(t, "\\x%02x", point);
            s += length;
        } else if ((point >= 0x2000 && point <= 0x200f) ||
                   (point >= 0x2028 && point <= 0x202f) ||
                   (point >= 0x205f && point <= 0x206f)) {
            put(t, "\\u%04x", point);
            s += length;
        } else
            while (length-- != 0)
                put_char(t, (char)*s++);
    }
    put_char(t, quote);
}

/* As CPython names them: of several names for a number the one it lists
 * last. */
static const struct {
    int signo;
    const char *name;
} signal_names[] = {
    {SIGHUP, "HUP"},       {SIGINT, "INT"},       {SIGQUIT, "QUIT"},
    {SIGILL, "ILL"},       {SIGTRAP, "TRAP"},     {SIGABRT, "ABRT"},
    {SIGBUS, "BUS"},       {SIGFPE, "FPE"},       {SIGKILL, "KILL"},
    {SIGUSR1, "USR1"},     {SIGSEGV, "SEGV"},     {SIGUSR2, "USR2"},
    {SIGPIPE, "PIPE"},     {SIGALRM, "ALRM"},     {SIGTERM, "TERM"},
    {SIGSTKFLT, "STKFLT"}, {SIGCHLD, "CHLD"},     {SIGCONT, "CONT"},
    {SIGSTOP, "STOP"},     {SIGTSTP, "TSTP"},     {SIGTTIN, "TTIN"},
    {SIGTTOU, "TTOU"},     {SIGURG, "URG"},       {SIGXCPU, "XCPU"},
    {SIGXFSZ, "XFSZ"},     {SIGVTALRM, "VTALRM"}, {SIGPROF, "PROF"},
    {SIGWINCH, "WINCH"},   {SIGPOLL, "POLL"},     {SIGPWR, "PWR"},
    {SIGSYS, "SYS"},
};

static void
put_exitcode(struct text *t, int code)
{
    unsigned i;

    if (code == TROUPE_EXIT_UNKNOWN) {
        put(t, " exitcode=unknown");
        return;
    }
    for (i = 0; i < TROUPE__COUNT(signal_names); i++) {
        if (code == -signal_names[i].signo) {
            put(t, " exitcode=-SIG%s", signal_names[i].name);
            return;
        }
    }
    if (code == -SIGRTMIN || code == -SIGRTMAX)
        put(t, " exitcode=-SIGRT%s", code == -SIGRTMIN ? "MIN" : "MAX");
    else
        put(t, " exitcode=%d", code);
}

size_t
troupe_process_format(troupe_process *p, char *text, size_t size)
{
    static const char *const states[] = {
        [TROUPE_PROCESS_INITIAL] = "initial",
        [TROUPE_PROCESS_STARTED] = "started",
        [TROUPE_PROCESS_STOPPED] = "stopped",
        [TROUPE_PROCESS_CLOSED] = "closed",
        [TROUPE_PROCESS_UNKNOWN] = "unknown",
    };
    static const char *const kinds[] = {
        [TROUPE__PROCESS_CHILD] = "Process",
        [TROUPE__PROCESS_MAIN] = "_MainProcess",
        [TROUPE__PROCESS_PARENT] = "_ParentProcess",
    };
    struct text t = {text, size, 0};
    enum troupe_process_state state = troupe_process_state(p);
    int code;

    if (p == NULL)
        put(&t, "<Process NULL>");
    else {
        put(&t, "<%s name=", kinds[p->kind]);
        put_repr(&t, troupe_process_name(p));
        if (p->kind != TROUPE__PROCESS_CHILD)
            put(&t, " parent=None");
        else {
            /* A process does not print its own number. */
            if (!troupe__process_is_current(p) && troupe_process_pid(p) != 0)
                put(&t, " pid=%d", (int)troupe_process_pid(p));
            put(&t, " parent=%d", (int)p->parent_pid);
        }
        put(&t, " %s", states[state]);
        if (state == TROUPE_PROCESS_STOPPED &&
            troupe_process_exitcode(p, &code) == 0)
            put_exitcode(&t, code);
        if (troupe_process_daemon(p))
            put(&t, " daemon");
        put(&t, ">");
    }
    if (size != 0)
        text[t.length < size ? t.length : size - 1] = '\0';
    return t.length;
}
