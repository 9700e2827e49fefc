#!/usr/bin/env bash
# Shows that the simulator finds bugs that are put in on purpose: each patch of tests/sim/mutants is
# applied to a copy of the tree, and the same run that the unmutated copy passes must fail. A mutant
# that no longer applies or builds, or that passes, or that only ever ends by the clock, is an error.
set -euo pipefail
cd "$(dirname "$0")/../.."

seeds=${SEEDS:-0..600}
limit_s=1200
work=$PWD/build/mutants
tree=$work/tree
mkdir -p "$work"
rm -rf "$tree"
mkdir "$tree"
# Times of now: cargo would take what a run that was ended has built of a mutant for newer.
git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t "$tree"

build() (
    cd "$tree"
    CARGO_TARGET_DIR=$work/target cargo build --locked --quiet -p repave-sim
)

# Passes if every instant and every seed holds.
lives() {
    timeout "$limit_s" "$work/target/debug/sim" exhaustive >"$1" 2>&1 &&
        timeout "$limit_s" "$work/target/debug/sim" "$seeds" >>"$1" 2>&1
}

build
lives "$work/unmutated.log" || {
    echo "the unmutated copy fails already:"
    tail -5 "$work/unmutated.log"
    exit 1
}
echo "unmutated: passes"

missed=0
for patch in tests/sim/mutants/*.patch; do
    name=$(basename "$patch" .patch)
    log=$work/$name.log
    patch --quiet --strip=1 --directory="$tree" <"$patch"
    if ! build >"$log" 2>&1; then
        echo "$name: does not build"
        missed=$((missed + 1))
    elif lives "$log"; then
        echo "$name: NOT CAUGHT"
        missed=$((missed + 1))
    elif caught=$(grep -oE 'I[0-9]+ violated: .*' "$log" | head -1) && [ -n "$caught" ]; then
        echo "$name: caught, $caught"
    else
        echo "$name: ended without a violation"
        missed=$((missed + 1))
    fi
    patch --quiet --strip=1 --reverse --directory="$tree" <"$patch"
done
exit "$((missed > 0))"
