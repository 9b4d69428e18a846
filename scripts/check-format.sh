#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Every C file is as clang-format would write it, and begins with the licence.
set -u
cd "$(dirname "$0")/.." || exit 2
. scripts/tally.sh

licence='/* SPDX-License-Identifier: Apache-2.0 */'
for file in $(git ls-files -co --exclude-standard -- '*.c' '*.h'); do
    [ -f "$file" ] || continue
    try "$file is formatted" clang-format --dry-run -Werror "$file"
    if [ "$(head -n 1 "$file")" != "$licence" ]; then
        fail "$file does not begin with the licence's line"
    fi
done
tally_end
