#!/usr/bin/env bash
# Prints how large the default side is, against its bars: size.sh AGENT KERNEL UKI
# The initramfs is what build.sh left beside the UKI. A missed bar is reported, not an error.
set -euo pipefail
[ $# = 3 ] || { echo "usage: $0 AGENT KERNEL UKI" >&2; exit 2; }
agent_bar=$(( 4 << 20 )) uki_bar=$(( 9 << 20 ))

row() {
    local bytes verdict=''
    bytes=$(stat -Lc %s "$2")
    if [ -n "${3:-}" ]; then
        verdict="at most $3: $( (( bytes <= $3 )) && echo met || echo MISSED)"
    fi
    printf '%-10s %9d bytes  %s\n' "$1" "$bytes" "$verdict"
}
row agent "$1" $agent_bar
row kernel "$2"
row initramfs "$3.initrd"
row UKI "$3" $uki_bar
