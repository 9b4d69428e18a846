# SPDX-License-Identifier: Apache-2.0
"""Counts words as examples/wordcount.c does, and prints what it prints but for
the line with the time: an independent second opinion for its test."""
import collections
import os
import re
import sys

WORD = re.compile(rb"[A-Za-z0-9_'\x80-\xff]+")


def files_below(path, top=True):
    if os.path.islink(path) and not top:
        return
    if os.path.isdir(path):
        for name in os.listdir(path):
            yield from files_below(os.path.join(path, name), False)
    elif os.path.isfile(path):
        yield path


def main(paths):
    counts = collections.Counter()
    files = skipped = size = words = 0
    for path in paths:
        for file in files_below(path):
            with open(file, "rb") as f:
                text = f.read()
            if b"\0" in text[:8192]:
                skipped += 1
                continue
            files += 1
            size += len(text)
            found = [word[:256].lower() for word in WORD.findall(text)]
            words += len(found)
            counts.update(found)
    out = sys.stdout.buffer
    for word, count in sorted(counts.items(), key=lambda c: (-c[1], c[0])):
        out.write(b"%10d %s\n" % (count, word))
    out.write(b"files: %d\nskipped: %d\nbytes: %d\nwords: %d\n"
              b"distinct words: %d\n"
              % (files, skipped, size, words, len(counts)))


main(sys.argv[1:])
