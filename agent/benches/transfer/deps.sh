#!/bin/bash
# Installs the tools that the bench compares with: from Debian, and coreos-installer by cargo into
# the bench's cache. What is there already is left alone.
set -euo pipefail
packages=(bmap-tools casync curl fdisk fio libssl-dev libzstd-dev pkg-config time udev zstd)
missing=()
for package in "${packages[@]}"; do
    dpkg -s "$package" > /dev/null 2>&1 || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
    echo "installing ${missing[*]}"
    apt-get install --yes --quiet "${missing[@]}"
fi
tools=${REPAVE_CACHE:-$HOME/.cache/repave}/bench/tools
if [ ! -x "$tools/bin/coreos-installer" ]; then
    cargo install --locked --quiet --root "$tools" coreos-installer ||
        echo "coreos-installer was not built; it is left out"
fi
