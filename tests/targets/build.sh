#!/usr/bin/env bash
# Builds one of the target images (web, db, loaders, tiny, memtest) and prints the folder that holds its
# disk.raw and boot.json. Cached outside the tree, keyed by the scripts, the Debian packages'
# candidate versions and, for tiny, the kernel: a security update rebuilds, nothing else does.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${REPAVE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/repave}/targets
name=${1:-}
if [ $# -ne 1 ] || [ -z "$name" ] || [ ! -e "$here/$name/recipe.sh" ]; then
    echo "usage: $0 web|db|loaders|tiny|memtest" >&2
    exit 2
fi
die() {
    echo "target $name: $1" >&2
    exit 1
}

mapfile -t packages < <(grep -hv '^#' "$here/$name/packages")
versions=$(apt-cache policy "${packages[@]}" | grep -E '^[^ ]|^  Candidate:')
found=$(grep -c '^  Candidate: [^(]' <<< "$versions" || true)
[ "$found" -eq "${#packages[@]}" ] ||
    die "apt offers only $found of these packages (is a Debian source set up, and apt-get update run?): ${packages[*]}"
kernel=
if [ "$name" = tiny ]; then
    kernel=$("$here/../../kernel-config/build.sh") || die "the default side's kernel did not build"
fi
# As an archive, since a file's executable bit and a link's end are inputs like its bytes.
scripts=$(tar --sort=name --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX --mtime=@0 \
    -C "$here" -c build.sh common "$name" | sha256sum)
key=$(printf '%s\n' "$scripts" "$versions" "$kernel" | sha256sum | cut -c1-16)
out=$cache/$name-$key
log=$out.log

mkdir -p "$cache"
exec 9> "$cache/.$name.lock"
flock 9 # tests ask for the same image at the same time; one builds, the others wait for it
if [ ! -e "$out/boot.json" ]; then
    echo "target $name: building (log: $log)" >&2
    work=$(mktemp -d "$cache/.build-XXXXXX")
    trap 'rm -rf "$work"' EXIT
    mkdir "$work/out"
    (cd "$work" && name=$name common=$here/common here=$here/$name \
        bash -euo pipefail "$here/$name/recipe.sh" "$work/out" "$kernel") \
        > "$log" 2>&1 < /dev/null 9>&- || {
        tail -n 20 "$log" >&2
        die "the build failed; the whole log is $log"
    }
    mv -T "$work/out" "$out"
    echo "target $name: built in $SECONDS s" >&2
fi
echo "$out"
