#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Every shell script passes shellcheck, every Python file compiles, and both
# begin with the licence, behind a line that names the interpreter.
set -u
cd "$(dirname "$0")/.." || exit 2
. scripts/tally.sh

# A script is known by its first line or, without one, by its name.
kind() {
    case $(head -n 1 "$1" | tr -d '\000') in
    '#!'*python*) echo python ;;
    '#!'*sh | '# shellcheck shell='*) echo shell ;;
    *) case $1 in *.py) echo python ;; *.sh) echo shell ;; esac ;;
    esac
}

parses() {
    python3 -c 'import ast, sys; ast.parse(open(sys.argv[1], "rb").read())' "$1"
}

for file in $(git ls-files -co --exclude-standard); do
    [ -f "$file" ] || continue
    kind=$(kind "$file")
    case $kind in
    shell) try "$file passes shellcheck" shellcheck -x "$file" ;;
    python) try "$file compiles" parses "$file" ;;
    *) continue ;;
    esac
    if ! head -n 2 "$file" | grep -qx '# SPDX-License-Identifier: Apache-2.0'; then
        fail "$file does not begin with the licence's line"
    fi
done
tally_end
