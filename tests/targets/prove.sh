#!/usr/bin/env bash
# Boots a built target in QEMU, without Repave, and waits for what it is there to do: web serves
# its page, db answers a query, tiny and memtest print their line. Says how long that took.
set -euo pipefail
name=$1
image=$("$(dirname "$0")/build.sh" "$name")
work=$(mktemp -d)
vm=
trap '[ -z "$vm" ] || kill "$vm"; wait; rm -rf "$work"' EXIT

# The firmware's shell stands in for the boot entry that an agent makes; under its own name, a
# \EFI\BOOT\BOOTX64.EFI would start before the shell and without its options.
cp --sparse=always "$image/disk.raw" "$work/disk.raw"
program=$(jq -r '.boot.efi_path | gsub("\\\\"; "/")' "$image/boot.json")
mmove -i "$work/disk.raw@@1M" "::$program" ::/program.efi
jq -j '"fs0:\r\nprogram.efi ", .boot.options, "\r\n"' "$image/boot.json" > "$work/startup.nsh"
mcopy -i "$work/disk.raw@@1M" "$work/startup.nsh" ::/
cp /usr/share/OVMF/OVMF_VARS_4M.fd "$work/vars.fd"
# bootindex and the fw_cfg options keep the firmware from minutes of network boot before its shell.
port=$(shuf -i 20000-30000 -n 1)
declare -A service=([web]=80 [db]=5432 [tiny]=80 [memtest]=80)
qemu-system-x86_64 -machine q35 -accel tcg,thread=multi -m 512 -smp 2 \
    -nodefaults -display none -vga std -no-reboot -serial "file:$work/serial" \
    -drive if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd \
    -drive if=pflash,format=raw,file="$work/vars.fd" \
    -drive if=none,id=disk,format=raw,file="$work/disk.raw" -device virtio-blk-pci,drive=disk,bootindex=1 \
    -netdev "user,id=net,hostfwd=tcp:127.0.0.1:$port-:${service[$name]}" \
    -device virtio-net-pci,netdev=net,romfile= -device virtio-rng-pci \
    -fw_cfg name=opt/org.tianocore/IPv4PXESupport,string=no \
    -fw_cfg name=opt/org.tianocore/IPv6PXESupport,string=no &
vm=$!

answers() {
    case $name in
    web) curl -s -m 2 "http://127.0.0.1:$port/" | grep -q 'server type: web' ;;
    db) [ "$(PGCONNECT_TIMEOUT=2 psql -h 127.0.0.1 -p "$port" -U repave -Atc 'select 1' repave 2>&1)" = 1 ] ;;
    tiny)
        grep -sq 'tiny: up, hostname tiny' "$work/serial" &&
            grep -sq 'tiny: eth0 has 10\.' "$work/serial"
        ;;
    memtest) grep -sq 'Memtest86+' "$work/serial" ;;
    esac
}
SECONDS=0
until answers; do
    if [ $SECONDS -gt 300 ] || ! kill -0 "$vm" 2> /dev/null; then
        tail -n 20 "$work/serial" >&2
        echo "target $name: no answer after $SECONDS s" >&2
        exit 1
    fi
    sleep 0.2
done
echo "target $name: answered $SECONDS s after power-on; QEMU used $(ps -o cputimes= -p "$vm" | tr -d ' ') s of CPU"
