#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""check_docs.py LIBRARY: the manual pages in docs/man say what is so.

Every exported function stands in the NAME and the SYNOPSIS of one page, with
the prototype of its header, is described there, and the page names every error
that the header names. Pages have all sections, references lead somewhere,
mandoc has nothing to warn of. Every program among the EXAMPLES compiles, runs
with LIBRARY, ends with status 0, and prints what the block after it shows.
"""

import errno
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PAGES = os.path.join(TOP, "docs/man")
# seconds that an example may take
DEADLINE = float(os.environ.get("TROUPE_EXAMPLE_TIMEOUT", "60"))

SECTIONS = {
    "3": ["NAME", "SYNOPSIS", "DESCRIPTION", "RETURN VALUES", "EXAMPLES",
          "ERRORS", "CRASH", "THREADS", "FORK", "SIGNALS", "PYTHON",
          "SEE ALSO"],
    "7": ["NAME", "DESCRIPTION", "SEE ALSO"],
}

# Pages of others that ours refer to. Not looked up: they need not be
# installed; a misspelled one is not in the list.
OTHERS = set("""
    _exit(2) clone(2) execve(2) fallocate(2) fork(2) futex(2) kill(2)
    memfd_create(2) mlockall(2) poll(2) select(2) setrlimit(2) waitid(2)
    waitpid(2) write(2)
    alloca(3) atexit(3) exit(3) free(3) malloc(3) printf(3) pthread_atfork(3)
    pthread_setcancelstate(3) realloc(3) snprintf(3) strdup(3) strerror(3)
    cgroups(7) epoll(7) pid_namespaces(7) pthreads(7) signal-safety(7)
    signal(7)
""".split())

ESCAPES = {"\\e": "\\", "\\&": "", "\\-": "-", "\\(aq": "'", "\\(dq": '"'}
# The system's codes; the library's own are added when its headers are read.
CODES = set(errno.errorcode.values())

passed = 0
failures = 0
skipped = 0


def verdict(good, name, why=""):
    global passed, failures
    if good:
        passed += 1
        print("ok   " + name)
    else:
        failures += 1
        print("FAIL " + name)
        print("".join("    %s\n" % line for line in why.splitlines()), end="")
    return good


def skip(name, why):
    global skipped
    skipped += 1
    print("skip %s: %s" % (name, why))


def listed(names):
    return ", ".join(sorted(names))


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def tokens(text):
    return re.findall(r"\w+|\S", text)


# What the headers say.

class Function:
    def __init__(self, header, statement, codes):
        self.header = header
        self.codes = codes
        statement = re.sub(r"__attribute__\s*\(\(.*?\)\)|TROUPE_PRINTF\(.*?\)|"
                           r"\bTROUPE_(?:API|MUST_CHECK)\b", " ", statement)
        match = re.match(r"\s*(.*?)\b(troupe_\w+)\s*\((.*)\)\s*;", statement,
                         re.S)
        self.result, self.name, parameters = match.groups()
        self.prototype = tokens("%s %s(%s)" % match.groups())


class Header:
    """What a public header declares."""

    def __init__(self, name, text):
        self.name = name
        self.functions = []
        comment = ""
        code = re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", "", text, flags=re.M)
        # a group of declarations without an empty line shares its comment
        for match in re.finditer(
                r"/\*.*?\*/|\n[ \t]*\n|TROUPE_API\b[^;{]*;", code, re.S):
            found = match.group()
            if found.startswith("/*"):
                comment = found
            elif found.startswith("TROUPE_API"):
                self.functions.append(
                    Function(name, re.sub(r"\s+", " ", found), codes(comment)))
            else:
                comment = ""
        bare = re.sub(r"/\*.*?\*/", " ", text, flags=re.S)
        self.types = set(re.findall(r"\b(troupe_\w+);", bare)) | set(
            re.findall(r"\btypedef\s+\w+\s+(troupe_\w+)\(", bare))
        self.fields = set()
        for body in re.findall(r"typedef struct \w+ \{(.*?)\}", bare, re.S):
            for field in body.split(";"):
                name = re.search(r"\(\*\s*(\w+)\)|(\w+)(?:\[\w+\])?\s*$",
                                 field.strip())
                if name:
                    self.fields.add(name.group(1) or name.group(2))
        self.fields = {f for f in self.fields if not f.endswith("_")}
        self.constants = set(re.findall(
            r"^\s*#\s*define\s+(TROUPE_\w+)", bare, re.M))
        for body in re.findall(r"\benum \w+ \{(.*?)\}", bare, re.S):
            self.constants |= set(re.findall(r"\bTROUPE_\w+", body))
        # the guard, and the words that only headers use
        self.constants = {
            c for c in self.constants if not c.endswith("_H") and
            c not in ("TROUPE_API", "TROUPE_MUST_CHECK", "TROUPE_PRINTF",
                      "TROUPE_BEGIN_DECLS", "TROUPE_END_DECLS")}


def codes(text):
    """The error codes that a text names, without sign; not those in code."""
    text = re.sub(r"`[^`]*`", "", text)
    return set(re.findall(r"\b(?:TROUPE_)?E[A-Z0-9]+\b", text)) & CODES


def read_headers():
    folder = os.path.join(TOP, "include/troupe")
    texts = [("troupe/" + name, read(os.path.join(folder, name)))
             for name in sorted(os.listdir(folder)) if name.endswith(".h")]
    for _, text in texts:
        CODES.update(re.findall(r"#define (TROUPE_E\w+)[ \t]+[0-9]{4}\b", text))
    return [Header(name, text) for name, text in texts]


def read_map():
    text = re.sub(r"#[^\n]*", "", read(os.path.join(TOP, "src/troupe.map")))
    return set(re.findall(r"\b(troupe_\w+)\s*;", text))


# What the pages say.

class Page:
    def __init__(self, file):
        self.file = file
        self.title, self.section = file.rsplit(".", 1)
        self.path = os.path.join(PAGES, file)
        self.text = read(self.path)
        parts = re.split(r"^\.Sh (.*)$", self.text, flags=re.M)
        self.order = [name.strip('"') for name in parts[1::2]]
        self.body = dict(zip(self.order, parts[2::2]))
        self.names = re.findall(r"^\.Nm (\S+)", self.part("NAME"), re.M)
        self.headers = re.findall(r"^\.In (\S+)", self.part("SYNOPSIS"), re.M)

    def part(self, name):
        return self.body.get(name, "")

    def prototypes(self):
        """Pairs of name and tokens, in the order of the SYNOPSIS."""
        result = ""
        found = []
        function = None
        for line in self.part("SYNOPSIS").splitlines():
            macro, _, rest = line.partition(" ")
            words = [quoted or bare for quoted, bare in
                     re.findall(r'"([^"]*)"|(\S+)', rest)]
            if macro == ".Ft":
                result = " ".join(words)
            elif macro == ".Fo":
                function = words
            elif macro == ".Fa" and function is not None:
                function += words
            elif macro in (".Fn", ".Fc"):
                if macro == ".Fn":
                    function = words
                found.append((function[0], tokens("%s %s(%s)" % (
                    result, function[0], ", ".join(function[1:])))))
                function = None
        return found

    def references(self):
        return ["%s(%s)" % pair for pair in
                re.findall(r"\bXr (\S+) (\w+)", self.text)]

    def programs(self):
        """Pairs of a program and its output (or None)."""
        found = []
        blocks = re.findall(r"^\.Bd -literal.*?\n(.*?)^\.Ed$",
                            self.part("EXAMPLES"), re.M | re.S)
        for block in blocks:
            text = re.sub(r"\\(?:\(..|.)", unescape, block)
            if re.search(r"^main\(", text, re.M):
                found.append([text, None])
            elif found and found[-1][1] is None:
                found[-1][1] = text
        return found


def unescape(match):
    if match.group() not in ESCAPES:
        raise ValueError("an example has the escape " + match.group())
    return ESCAPES[match.group()]


def read_pages():
    return [Page(file) for file in sorted(os.listdir(PAGES))
            if re.search(r"\.[0-9]$", file)]


# The checks.

def check_map(exported, pages):
    """Every symbol is on one page, and nothing else is."""
    for what, names in (
            ("NAME", [n for page in pages for n in page.names
                      if page.section == "3"]),
            ("SYNOPSIS", [n for page in pages for n, _ in page.prototypes()])):
        missing = exported - set(names)
        verdict(not missing, "every exported function is in the %s of a page"
                % what, listed(missing))
        twice = {name for name in names if names.count(name) > 1}
        verdict(not twice, "every function is in the %s of one page" % what,
                listed(twice))


def check_lint(page):
    done = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", page.path],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True)
    # what a clock that is behind has to say is not about the page
    said = [line for line in done.stdout.splitlines()
            if "date in the future" not in line]
    verdict(not said and (done.returncode == 0 or done.stdout),
            page.file + ": mandoc has nothing to warn of", "\n".join(said))


def check_sections(page):
    wanted = SECTIONS.get(page.section, [])
    have = [name for name in page.order if name in wanted]
    verdict(wanted and have == wanted,
            page.file + ": has its sections, in order",
            "has %s\nwants %s" % (listed(page.order), ", ".join(wanted)))
    empty = [name for name, body in page.body.items()
             if not re.search(r"^[^.\s]|^\.(?!Pp\b|\\\")\w+", body, re.M)]
    verdict(not empty, page.file + ": no section is empty", listed(empty))
    # the build makes a page for each name it finds
    elsewhere = set(re.findall(r"^\.Nm (\S+)", page.text, re.M)) - set(
        page.names)
    verdict(page.text.count("\n.Nm ") == len(page.names),
            page.file + ": has names only in NAME", listed(elsewhere))


def check_functions(page, functions):
    """The synopsis is the header's, and every function is described."""
    synopsis = page.prototypes()
    names = [name for name, _ in synopsis]
    verdict(names == page.names and names,
            page.file + ": NAME and SYNOPSIS have the same functions",
            "NAME: %s\nSYNOPSIS: %s" % (", ".join(page.names),
                                        ", ".join(names)))
    wrong = []
    for name, prototype in synopsis:
        function = functions.get(name)
        if function is None:
            wrong.append(name + ": no header declares it")
        elif function.header not in page.headers:
            wrong.append("%s: is declared in %s" % (name, function.header))
        elif function.prototype != prototype:
            wrong.append("%s: the header has %s" % (
                name, " ".join(function.prototype)))
    verdict(not wrong, page.file + ": the SYNOPSIS is the header's",
            "\n".join(wrong))
    silent = [name for name in names if not re.search(
        r"\bFn %s\b" % name, page.part("DESCRIPTION"))]
    verdict(not silent, page.file + ": the DESCRIPTION has every function",
            listed(silent))


def check_codes(page, functions, known):
    listed_codes = codes(" ".join(
        re.findall(r"^\.It Er .*", page.part("ERRORS"), re.M)))
    wanted = set()
    for name in page.names:
        if name in functions:
            wanted |= functions[name].codes
    verdict(wanted <= listed_codes, page.file + ": ERRORS lists every code",
            "not " + listed(wanted - listed_codes))
    verdict(listed_codes <= known, page.file + ": ERRORS lists only codes of "
            "the headers", "not " + listed(listed_codes - known))


def check_references(pages):
    targets = set(OTHERS)
    for page in pages:
        targets.add("%s(%s)" % (page.title, page.section))
        targets |= {"%s(%s)" % (name, page.section) for name in page.names}
    for page in pages:
        lost = set(page.references()) - targets
        verdict(not lost, page.file + ": every reference leads somewhere",
                listed(lost))
    overview = [page for page in pages if page.file == "troupe.7"]
    if verdict(overview, "there is troupe.7"):
        missing = {"%s(%s)" % (page.title, page.section)
                   for page in pages if page not in overview}
        missing -= set(overview[0].references())
        verdict(not missing,
                "troupe.7 refers to every other page", listed(missing))


def check_headers(headers, pages):
    """Types, fields and constants of a header are on a page that shows it."""
    for header in headers:
        own = " ".join("".join(page.body.values()) for page in pages
                       if header.name in page.headers or
                       page.section == "7")
        words = set(re.findall(r"\w+", own))
        names = (header.types | header.fields | header.constants)
        verdict(names <= words, header.name +
                ": every type, field and constant is on a page",
                listed(names - words))


def run(command, **more):
    """Runs a command with a deadline: (status or None, stdout, all it said)."""
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             start_new_session=True, **more)
    try:
        out, said = child.communicate(timeout=DEADLINE)
    except subprocess.TimeoutExpired:
        # its processes are in its group, and nobody else is
        os.killpg(child.pid, signal.SIGKILL)
        child.communicate()
        return None, "", "no end after %g s" % DEADLINE
    return child.returncode, out, "status %d\n%s%s" % (child.returncode, out,
                                                       said)


def check_program(name, program, expected, missing, library, scratch):
    source = os.path.join(scratch, "example.c")
    binary = os.path.join(scratch, "example")
    with open(source, "w", encoding="utf-8") as file:
        file.write(program)
    status, said = compile_program(["-c", "-o", binary + ".o", source])
    if not verdict(status == 0, name + " compiles", said):
        return
    if missing:
        skip(name + " runs", "not exported yet: " + listed(missing))
        return
    status, said = compile_program(["-o", binary, binary + ".o", library,
                                    "-lpthread"])
    if not verdict(status == 0, name + " links", said):
        return
    folder = os.path.dirname(os.path.abspath(library))
    status, out, said = run([binary], cwd=scratch, env=dict(
        os.environ, LD_LIBRARY_PATH=folder))
    good = verdict(status == 0, name + " runs", said)
    if good and expected is not None:
        verdict(out == expected, name + " prints what the page shows",
                "it printed:\n" + out)


def compile_program(arguments):
    done = subprocess.run(
        ["gcc", "-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-I",
         os.path.join(TOP, "include"), *arguments], stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True)
    return done.returncode, done.stdout


def check_examples(page, declared, exported, library):
    try:
        programs = page.programs()
    except ValueError as wrong:
        verdict(False, page.file + ": has an example", str(wrong))
        return
    if page.section == "3":
        verdict(programs, page.file + ": has an example")
    for number, (program, expected) in enumerate(programs):
        name = "%s: example %d" % (page.file, number + 1)
        used = set(re.findall(r"\b(troupe_\w+)\s*\(", program))
        if page.section == "3":
            verdict(used & set(page.names), name +
                    " uses a function of the page")
        missing = (used & declared) - exported
        # the folder goes also when somebody ends this
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        scratch = tempfile.mkdtemp(prefix="troupe-docs-")
        try:
            check_program(name, program, expected, missing, library, scratch)
        finally:
            shutil.rmtree(scratch)


def main():
    library = sys.argv[1]
    headers = read_headers()
    functions = {f.name: f for header in headers for f in header.functions}
    exported = read_map()
    pages = read_pages()
    known = set()
    for header in headers:
        known |= codes(read(os.path.join(TOP, "include", header.name)))
    verdict(exported and pages, "there are functions and pages")
    check_map(exported, pages)
    for page in pages:
        check_lint(page)
        check_sections(page)
        if page.section == "3":
            check_functions(page, functions)
            check_codes(page, functions, known)
    check_references(pages)
    check_headers(headers, pages)
    for page in pages:
        check_examples(page, set(functions), exported, library)
    print("%d passed, %d failed, %d skipped" % (passed, failures, skipped))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
