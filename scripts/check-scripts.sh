#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Every shell script passes shellcheck, every Python file compiles, and both
# begin with the licence, behind a line that names the interpreter.
set -u
cd "$(dirname "$0")/.." || exit 2
. scripts/tally.sh

# A script is known by its first line or, without one, by its name.
kind_of() {
    read -r first <"$1" || :
    case $first in
    '#!'*python*) kind=python ;;
    '#!'*sh | '# shellcheck shell='*) kind=shell ;;
    *) case $1 in *.py) kind=python ;; *.sh) kind=shell ;; *) kind= ;; esac ;;
    esac
}

parses() {
    python3 -c 'import ast, sys; ast.parse(open(sys.argv[1], "rb").read())' "$1"
}

shells=
pythons=
for file in $(git ls-files -co --exclude-standard); do
    [ -f "$file" ] || continue
    kind_of "$file"
    case $kind in
    shell) shells="$shells $file" ;;
    python) pythons="$pythons $file" ;;
    esac
done

# One call for all of them is much faster; who is to blame is asked only when
# it fails.
# shellcheck disable=SC2086
if [ -n "$shells" ] && shellcheck -x $shells >/dev/null 2>&1; then
    checked() { pass "$1 passes shellcheck"; }
else
    checked() { try "$1 passes shellcheck" shellcheck -x "$1"; }
fi
for file in $shells $pythons; do
    case " $shells " in
    *" $file "*) checked "$file" ;;
    *) try "$file compiles" parses "$file" ;;
    esac
    if ! head -n 2 "$file" | grep -qx '# SPDX-License-Identifier: Apache-2.0'; then
        fail "$file does not begin with the licence's line"
    fi
done
tally_end
