#!/usr/bin/env bash
# Makes the default UKI: build.sh AGENT KERNEL OUTPUT. The same agent and kernel give the same
# bytes, wherever and whenever it runs (check-reproducible.sh). The initramfs is left beside it as OUTPUT.initrd
# for size.sh. The layout is the UAPI group's: a PE stub with .osrel, .cmdline, .linux, .initrd.
set -euo pipefail
[ $# = 3 ] || { echo "usage: $0 AGENT KERNEL OUTPUT" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
agent=$1 kernel=$2 output=$3
stub=/usr/lib/systemd/boot/efi/linuxx64.efi.stub
export LC_ALL=C TZ=UTC SOURCE_DATE_EPOCH=0
umask 022 # the modes in the cpio

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The agent is the whole system; the folders are where it mounts things and keeps resolv.conf.
# glibc resolves "localhost" only by this file. /dev/console is in the kernel's own cpio.
mkdir -p "$work"/root/{dev,etc,mnt,proc,run,sys,tmp}
install -m 755 "$agent" "$work/root/init"
printf '127.0.0.1 localhost\n::1 localhost\n' > "$work/root/etc/hosts"
find "$work/root" -exec touch -d @0 {} +
(cd "$work/root" && find . -mindepth 1 | sort |
    cpio --quiet --create --format=newc --reproducible --owner=0:0) > "$work/cpio"
# One thread, since zstd cuts the input by the number of threads.
zstd --quiet -19 --single-thread "$work/cpio" -o "$work/initrd"

# Each section starts on the page after the one before it, beginning after the stub's last.
args=() end=0
while read -r index _ size vma _; do
    if [[ $index =~ ^[0-9]+$ ]]; then end=$(( 16#$vma + 16#$size )); fi
done < <(objdump -h "$stub")
tr -d '\n' < "$here/cmdline" > "$work/cmdline"
files=(.osrel "$here/os-release" .cmdline "$work/cmdline" .linux "$kernel" .initrd "$work/initrd")
for (( i = 0; i < ${#files[@]}; i += 2 )); do
    name=${files[i]} file=${files[i + 1]}
    start=$(( (end + 4095) / 4096 * 4096 ))
    args+=(--add-section "$name=$file" --change-section-vma "$name=$start")
    end=$(( start + $(stat -Lc %s "$file") ))
done
# The PE header gets the stub's own time stamp, not the time of day.
objcopy --preserve-dates "${args[@]}" "$stub" "$work/uki"

mkdir -p "$(dirname "$output")"
install -m 644 "$work/initrd" "$output.initrd"
install -m 644 "$work/uki" "$output"
