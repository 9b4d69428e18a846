#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# render-docs.sh FOLDER: writes the manual pages as HTML into a folder. Every
# function has a page of its name there, which is its family's.
set -eu
cd "$(dirname "$0")/.."
mkdir -p "$1"
folder=$(cd "$1" && pwd)
rm -f "$folder"/*.html

# mandoc takes for ours what is a file in its folder; all others are system
# pages.
names=$(mktemp -d)
trap 'rm -rf "$names"' EXIT
trap 'exit 130' INT TERM
cp docs/man/*.[137] "$names"
cp docs/man/troupe.css "$folder"
for page in docs/man/*.3; do
    file=${page##*/}
    sed -n 's/^\.Nm \(troupe_[a-z0-9_]*\).*/\1/p' "$page" | while read -r name; do
        [ "$name.3" = "$file" ] || {
            : >"$names/$name.3"
            ln -s "$file.html" "$folder/$name.3.html"
        }
    done
done

ours=%N.%S.html
theirs=https://man7.org/linux/man-pages/man%S/%N.%S.html
for page in docs/man/*.[137]; do
    file=${page##*/}
    (cd "$names" && mandoc -T html \
        -O "man=$ours;$theirs,style=troupe.css,toc" "$file") \
        >"$folder/$file.html"
done
ln -s troupe.7.html "$folder/index.html"
echo "rendered: ${folder#"$PWD"/}/index.html"
