#!/usr/bin/env bash
# Fuzzes targets one after the other, each for so many seconds of CPU time, and prints what that
# came to. New inputs go to target/fuzz/corpus; `fuzz.sh --keep` makes the committed corpora of them.
set -euo pipefail
cd "$(dirname "$0")/../.."

readonly build=target/fuzz
readonly committed=tests/fuzz/corpus
readonly programs=$build/x86_64-unknown-linux-gnu/release
# A target reads no more of an input than this; the largest is a journal's record.
readonly input_bytes=8192
# One input may take so long before it counts as a fault.
readonly input_seconds=20
# Inputs of more bytes are not kept: they say nothing that a shorter one does not.
readonly kept_bytes=4096

usage() {
    echo "usage: fuzz.sh SECONDS TARGET...     fuzz" >&2
    echo "       fuzz.sh --keep TARGET...      minimise what was found into $committed" >&2
    exit 2
}

if ! cargo fuzz --version > /dev/null 2>&1; then
    echo "fuzz: there is no cargo-fuzz; install it with: cargo install --locked cargo-fuzz" >&2
    exit 1
fi

build() {
    local features=()
    [ "$1" != status ] || features=(--features controller)
    # Without a sanitizer it builds on stable; memory is Rust's affair, and all unsafe code is in
    # agent/sys, which no target reaches.
    cargo fuzz build --fuzz-dir tests/fuzz/engine --target-dir $build -s none "${features[@]}" "$1"
}

# Prints the CPU seconds that process $1 and its threads took.
cpu_seconds() {
    local stat
    read -r stat < "/proc/$1/stat" 2> /dev/null || return 1
    # After the name, which may hold spaces: fields 14 and 15 of proc(5), in ticks.
    stat=${stat##*) }
    # shellcheck disable=SC2086
    set -- $stat
    echo $(((${12} + ${13}) / $(getconf CLK_TCK)))
}

fuzz() {
    local target=$1 seconds=$2 corpus=$build/corpus/$1 log=$build/$1.log spent=0 now process
    build "$target"
    mkdir -p "$corpus" "$build/faults/$target"
    "$programs/$target" "$corpus" "$committed/$target" -max_len=$input_bytes \
        -timeout=$input_seconds -artifact_prefix="$build/faults/$target/" -print_final_stats=1 \
        > "$log" 2>&1 &
    process=$!
    while now=$(cpu_seconds $process); do
        spent=$now
        [ "$spent" -lt "$seconds" ] || kill -INT $process 2> /dev/null || true
        sleep 1
    done
    wait $process || true
    # The fuzzer says that it was interrupted, which is how it ends well.
    if ! grep -q 'libFuzzer: run interrupted' "$log"; then
        tail -n 30 "$log" >&2
        echo "fuzz: $target failed after $spent s; the input is in $build/faults/$target" >&2
        return 1
    fi
    awk -v target="$target" -v spent="$spent" '
        / cov: / { for (i = 1; i < NF; i++) if ($i == "cov:") edges = $(i + 1) }
        /number_of_executed_units/ { executed = $2 }
        END { printf "fuzz: %-8s %12d executions  %6d edges  %5d s of CPU time\n",
                     target, executed, edges, spent }' "$log"
}

keep() {
    local target=$1 corpus=$build/corpus/$1 few
    build "$target"
    few=$(mktemp -d)
    mkdir -p "$corpus" "$committed/$target"
    "$programs/$target" -merge=1 -max_len=$kept_bytes "$few" "$committed/$target" "$corpus" \
        > "$build/$target.merge.log" 2>&1
    rm -rf "${committed:?}/$target"
    mv "$few" "$committed/$target"
    chmod 755 "$committed/$target"
    echo "fuzz: $target keeps $(find "$committed/$target" -type f | wc -l) inputs"
}

[ $# -ge 2 ] || usage
first=$1
shift
for target in "$@"; do
    case $first in
        --keep) keep "$target" ;;
        *[!0-9]*) usage ;;
        *) fuzz "$target" "$first" ;;
    esac
done
