#!/usr/bin/env bash
# Builds the default side's kernel from Debian's linux-source package and prints the path of the
# bzImage. The result is cached outside the tree, keyed by the options (not their comments), the
# package's version and the compiler's, so a comment costs nothing and a cold start just builds.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${REPAVE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/repave}/kernel
source_package=linux-source-6.1
tarball=/usr/src/$source_package.tar.xz

if [ ! -e "$tarball" ]; then
    echo "kernel: $tarball is missing; install the Debian package $source_package (make deps)" >&2
    exit 1
fi
options=$(grep -E '^CONFIG_' "$here/agent.config" | LC_ALL=C sort)
version=$(dpkg-query -W -f '${Version}' "$source_package")
key=$(printf '%s\n' "$options" "$version" "$(gcc -dumpfullversion)" | sha256sum | cut -c1-16)
out=$cache/$key
if [ -e "$out/bzImage" ]; then
    echo "$out/bzImage"
    exit 0
fi

mkdir -p "$cache"
work=$(mktemp -d "$cache/.build-XXXXXX")
trap 'rm -rf "$work"' EXIT
echo "kernel: building Debian's $source_package $version, 10 minutes or so (log: $cache/$key.log)" >&2
tar -C "$work" --strip-components=1 -xf "$tarball"
printf '%s\n' "$options" > "$work/fragment"
export KBUILD_BUILD_TIMESTAMP='1970-01-01 00:00:00 UTC' KBUILD_BUILD_USER=repave KBUILD_BUILD_HOST=repave
fail() {
    tail -n 20 "$cache/$key.log" >&2
    echo "kernel: $1; the whole log is $cache/$key.log" >&2
    exit 1
}
KCONFIG_ALLCONFIG=$work/fragment make -C "$work" allnoconfig > "$cache/$key.log" 2>&1 < /dev/null ||
    fail "the configuration failed"
# An option that Kconfig dropped for a missing dependency would only be missed in the field.
lost=$(printf '%s\n' "$options" | grep -v '=n$' | grep -vxFf "$work/.config" || true)
if [ -n "$lost" ]; then
    printf 'kernel: options of agent.config that Kconfig dropped:\n%s\n' "$lost" >&2
    exit 1
fi
nice make -C "$work" -j"$(nproc)" bzImage >> "$cache/$key.log" 2>&1 < /dev/null || fail "the build failed"

staged=$(mktemp -d "$cache/.done-XXXXXX")
cp "$work/arch/x86/boot/bzImage" "$work/.config" "$staged/"
mv -T "$staged" "$out" 2>/dev/null || rm -rf "$staged" # another build of the same key won
echo "$out/bzImage"
