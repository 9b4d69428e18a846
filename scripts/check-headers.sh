#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Every public header compiles alone, as C11 and as C++17, with gcc and with
# clang; and every public macro is used by tests/compile/macros.c, which
# compiles the same ways. An unused macro may hold nonsense for years.
set -u
cd "$(dirname "$0")/.." || exit 2
. scripts/tally.sh

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM

# compile LANGUAGE COMPILER FILE
compile() {
    case $1 in
    c11) set -- "$2" -std=c11 -x c "$3" -Wstrict-prototypes ;;
    c++17) set -- "$2" -std=c++17 -x c++ "$3" ;;
    esac
    "$@" -fsyntax-only -Iinclude -Wall -Wextra -Wpedantic -Wshadow -Wundef \
        -Wconversion -Werror
}

for header in include/troupe.h include/troupe/*.h; do
    [ -f "$header" ] || continue
    echo "#include \"${header#include/}\"" >"$scratch/alone.c"
    for compiler in gcc clang; do
        for language in c11 c++17; do
            try "$header alone, $compiler, $language" \
                compile "$language" "$compiler" "$scratch/alone.c"
        done
    done
done

for compiler in gcc clang; do
    for language in c11 c++17; do
        try "every macro, $compiler, $language" \
            compile "$language" "$compiler" tests/compile/macros.c
    done
done

# The include guards are the only macros nobody uses.
words=$(sed 's/[^A-Za-z0-9_]/\n/g' tests/compile/macros.c | sort -u)
# shellcheck disable=SC2013
for macro in $(sed -n 's/^ *# *define  *\(TROUPE_[A-Za-z0-9_]*\).*/\1/p' \
    include/troupe.h include/troupe/*.h 2>/dev/null | grep -v '_H$' | sort -u); do
    if printf '%s\n' "$words" | grep -qx "$macro"; then
        pass "$macro is used"
    else
        fail "$macro is not used in tests/compile/macros.c"
    fi
done

tally_end
