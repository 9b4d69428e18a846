#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# check-install.sh BUILD: installs a build into a scratch prefix, and uses it
# from there as others would: pkg-config and CMake, shared and static.
set -u
cd "$(dirname "$0")/.." || exit 2
. scripts/tally.sh
top=$PWD
build=$1

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM
prefix=$scratch/moved

cmake --install "$build" --prefix "$scratch/prefix" >"$scratch/log" 2>&1 || {
    cat "$scratch/log"
    fail "cmake --install"
    tally_end
    exit
}
# an installed tree may be moved
mv "$scratch/prefix" "$prefix"
cd "$scratch" || exit 1

version=$(sed -n 's/^#define TROUPE_VERSION_STRING "\(.*\)"/\1/p' \
    "$top/include/troupe/version.h")
cat >program.c <<'TEXT'
#include <stdio.h>
#include <troupe/version.h>

int
main(void)
{
    puts(troupe_version());
    return 0;
}
TEXT

PKG_CONFIG_PATH=$(dirname "$(find "$prefix" -name troupe.pc)")
export PKG_CONFIG_PATH
libdir=$(pkg-config --variable=libdir troupe)

# says_version PROGRAM: it runs, and tells the version of this tree
says_version() {
    [ "$("$@")" = "$version" ]
}

same_files() {
    (cd "$top/include" && find . -name '*.h' | sort) >wanted
    (cd "$prefix/include" && find . -type f | sort) >got
    diff wanted got
}

uses_library() {
    readelf -d "$1" | grep -q 'NEEDED.*libtroupe\.so\.0'
}

pc_shared() {
    # shellcheck disable=SC2046
    cc -o pc-shared program.c $(pkg-config --cflags --libs troupe) &&
        uses_library pc-shared &&
        says_version env LD_LIBRARY_PATH="$libdir" ./pc-shared
}

pc_static() {
    # shellcheck disable=SC2046
    cc -static -o pc-static program.c \
        $(pkg-config --static --cflags --libs troupe) &&
        ! readelf -d pc-static | grep NEEDED && says_version ./pc-static
}

archive() {
    # shellcheck disable=SC2046
    cc -o archive program.c $(pkg-config --cflags troupe) \
        "$libdir/libtroupe.a" -lpthread && ! uses_library archive &&
        says_version ./archive
}

cmake_package() {
    mkdir -p project && cat >project/CMakeLists.txt <<'TEXT' || return 1
cmake_minimum_required(VERSION 3.13)
project(user C)
find_package(troupe 0.1 REQUIRED)
foreach(kind shared static)
  add_executable(${kind} ../program.c)
  target_link_libraries(${kind} troupe::${kind})
endforeach()
TEXT
    cmake -S project -B project/build -G Ninja -DCMAKE_PREFIX_PATH="$prefix" &&
        cmake --build project/build && uses_library project/build/shared &&
        ! uses_library project/build/static &&
        says_version project/build/shared && says_version project/build/static
}

# Every exported function has a page of its name, which is a page or leads to
# one.
manual_pages() {
    man=$prefix/share/man
    # shellcheck disable=SC2013
    for symbol in $(sed -n 's/^ *\(troupe_[a-z0-9_]*\);/\1/p' \
        "$top/src/troupe.map"); do
        page=$man/man3/$symbol.3
        link=$(sed -n '1s/^\.so //p' "$page") || return 1
        grep -q "^\.Nm $symbol\( ,\)*\$" "${link:+$man/}${link:-$page}" || {
            echo "$symbol: no page"
            return 1
        }
    done
    (cd "$top/docs/man" && printf '%s\n' *.[137] | sort) >wanted
    find "$man" -type f -exec sh -c \
        'grep -q "^\.so " "$1" || basename "$1"' sh {} \; | sort >got
    diff wanted got
}

# Nothing found is grep's status 1; 2 is that it could not look.
no_path_of_build() {
    grep -rl -e "$top" -e "$scratch/prefix" "$libdir/pkgconfig" \
        "$libdir/cmake" "$prefix/include"
    [ $? -eq 1 ]
}

try "the public headers are installed, and nothing else" same_files
try "pkg-config, shared" pc_shared
try "pkg-config, static" pc_static
try "the archive by name" archive
try "CMake package, shared and static" cmake_package
try "a manual page for every exported function" manual_pages
try "pkg-config knows the version" \
    says_version pkg-config --modversion troupe
try "installed files do not name the build's folders" no_path_of_build
tally_end
