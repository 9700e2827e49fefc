#!/usr/bin/env bash
# Makes the UKI and the burned disks twice, as differently as it can, and compares them byte for
# byte; then has other people's tools read the disks: check-reproducible.sh AGENT KERNEL
set -euo pipefail
[ $# = 2 ] || { echo "usage: $0 AGENT KERNEL" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

make_all() {
    mkdir -p "$1"
    cp "$2" "$1/the-agent"
    "$here/build.sh" "$1/the-agent" "$3" "$1/uki.efi"
    echo '{}' > "$1/agent.json"
    for sector in 512 4096; do
        "$here/burn.sh" --output "$1/disk-$sector.img" --size 400M --sector-size $sector \
            --uki "$1/uki.efi" --config "$1/agent.json" --trust "$1/agent.json"
    done
}
(umask 000 && export TZ=Pacific/Auckland LC_ALL=C.UTF-8 TMPDIR=/tmp && make_all "$work/one" "$@")
mkdir "$work/tmp"
(umask 077 && export TZ=America/Lima TMPDIR="$work/tmp" && sleep 2.1 && make_all "$work/a/longer/two" "$@")

for file in uki.efi disk-512.img disk-4096.img; do
    cmp "$work/one/$file" "$work/a/longer/two/$file"
    echo "reproducible: $file $(sha256sum "$work/one/$file" | cut -c1-16)"
done

check_disk() {
    fdisk --sector-size "$1" --list-details "$2" > "$work/table" 2>&1
    if grep -iE 'corrupt|invalid|mismatch' "$work/table" >&2; then exit 1; fi
    grep -i 'b7a2c3d4-5e1f-4a6b-9c8d-726570617665.*repave-state' "$work/table" > "$work/log"
    dd if="$2" of="$work/fat" bs=1M skip=1 count="$3" conv=sparse status=none
    fsck.vfat -n "$work/fat" > "$work/log" || { cat "$work/log" >&2; exit 1; }
    for copy in EFI/BOOT/BOOTX64.EFI repave/default.efi; do
        mcopy -i "$2@@1M" ::$copy - | cmp - "$work/one/uki.efi"
    done
}
check_disk 512 "$work/one/disk-512.img" 64
check_disk 4096 "$work/one/disk-4096.img" 260
sgdisk --verify "$work/one/disk-512.img" > "$work/log"
grep 'No problems found' "$work/log" > /dev/null || { cat "$work/log" >&2; exit 1; }
