#!/usr/bin/env bash
# Installs what the requirements file in $1 pins from PyPI and prints the path of the Python that has
# it. The venv is cached outside the tree, keyed by the pins and Python's version.
set -euo pipefail
cache=${REPAVE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/repave}
pins=$1
key=$({ cat "$pins"; python3 --version; } | sha256sum | cut -c1-16)
out=$cache/venv-$key
if [ -x "$out/bin/python" ]; then
    echo "$out/bin/python"
    exit 0
fi

mkdir -p "$cache"
work=$(mktemp -d "$cache/.venv-XXXXXX")
trap 'rm -rf "$work"' EXIT
echo "venv: installing $pins from PyPI (log: $out.log)" >&2
if ! { python3 -m venv "$work" &&
    "$work/bin/python" -m pip install --no-deps --no-input --disable-pip-version-check -r "$pins" &&
    "$work/bin/python" -m pip check
} > "$out.log" 2>&1 < /dev/null; then
    tail -n 20 "$out.log" >&2
    echo "venv: failed; it needs python3-venv (make deps) and PyPI" >&2
    exit 1
fi
# A moved venv runs modules (python -m), but not its scripts: they have the old path in them.
mv -T "$work" "$out" 2> /dev/null || rm -rf "$work" # another install of the same key won
echo "$out/bin/python"
