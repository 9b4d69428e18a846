#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Every C and C++ file is as clang-format would write it, begins with the licence, and
# has no line of more than 80 columns, which clang-format leaves in comments.
set -u
cd "$(dirname "$0")/.." || exit 2
. scripts/tally.sh

licence='/* SPDX-License-Identifier: Apache-2.0 */'
files=$(git ls-files -co --exclude-standard -- '*.c' '*.cc' '*.h' |
    while read -r file; do [ ! -f "$file" ] || echo "$file"; done)

# One call for all of them is ten times as fast; who is to blame is asked only
# when it fails.
# shellcheck disable=SC2086
if [ -n "$files" ] && clang-format --dry-run -Werror $files 2>/dev/null; then
    formatted() { pass "$1 is formatted"; }
else
    formatted() {
        try "$1 is formatted" clang-format --dry-run -Werror "$1"
    }
fi
for file in $files; do
    formatted "$file"
    if [ "$(head -n 1 "$file")" != "$licence" ]; then
        fail "$file does not begin with the licence's line"
    fi
    if grep -q '.\{81\}' "$file"; then
        fail "$file has a line of more than 80 columns"
    fi
done
tally_end
