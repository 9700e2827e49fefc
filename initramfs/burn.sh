#!/usr/bin/env bash
# Makes a disk with the default side on it, as a sparse raw file:
#   burn.sh --output FILE --size 8G --uki FILE --config FILE [--trust FILE] [--sector-size 512|4096]
# p1 repave-default: the ESP, with the UKI as \repave\default.efi, which the boot entry names, and as
# \EFI\BOOT\BOOTX64.EFI (docs/decisions/0021), and with \repave\{agent,trust}.json.
# p2 repave-state: zeroes, for the journal. The rest is free, for the target.
# The same input gives the same bytes, GUIDs included: a disk is a clone until its first boot, when
# the agent gives it GUIDs of its own. The table is written here, by UEFI 2.10 §5.3, since no common
# tool writes one with 4,096-byte sectors into a file without a sync of the whole host.
set -euo pipefail
usage="usage: $0 --output FILE --size SIZE --uki FILE --config FILE"
usage+=" [--trust FILE] [--sector-size 512|4096]"
disk_guid=3259cd34-c382-46cf-8f6a-632bfa258c8b
default_guid=a4a73209-1e60-4caa-acfe-479f6dd837ed
state_guid=a99b7ba1-a275-4149-83a6-68420a1b99ab
fat_id=52455041 # "REPA"
esp_type=c12a7328-f81f-11d2-ba4b-00a0c93ec93b
state_type=b7a2c3d4-5e1f-4a6b-9c8d-726570617665 # as the agent knows it: image/src/default_side.rs
export LC_ALL=C TZ=UTC SOURCE_DATE_EPOCH=315532800 # 1980, FAT's first year

output='' size='' uki='' config='' trust='' sector=512
while [ $# -gt 1 ]; do
    case $1 in
        --output) output=$2 ;; --size) size=$2 ;; --uki) uki=$2 ;; --config) config=$2 ;;
        --trust) trust=$2 ;; --sector-size) sector=$2 ;; *) echo "$usage" >&2; exit 2 ;;
    esac
    shift 2
done
[[ $# = 0 && $output && $size && $uki && $config && $sector =~ ^(512|4096)$ ]] ||
    { echo "$usage" >&2; exit 2; }

mib=$(( 1 << 20 ))
# FAT32 has at least 65,525 clusters, and a cluster at least one sector.
default_bytes=$(( (sector == 512 ? 64 : 260) * mib )) state_bytes=$(( 64 * mib ))
default_lba=$(( mib / sector )) state_lba=$(( (mib + default_bytes) / sector ))
free_lba=$(( (mib + default_bytes + state_bytes) / sector ))

work=$(mktemp -d)
image=$output.partial
trap 'rm -rf "$work" "$image"' EXIT
rm -f "$image"
truncate -s "$size" "$image"
bytes=$(stat -c %s "$image")
last_lba=$(( bytes / sector - 1 ))
entries_sectors=$(( 16384 / sector ))
last_usable_lba=$(( last_lba - entries_sectors - 1 ))
if (( bytes % sector || last_usable_lba < free_lba )); then
    echo "burn: $size is too small, or no whole number of sectors" >&2
    exit 1
fi

# Little-endian number: le BYTES VALUE.
le() {
    local i
    for (( i = 0; i < $1; i++ )); do
        printf "\\x$(printf %02x $(( $2 >> 8 * i & 255 )))"
    done
}
# A GUID's first three fields are little-endian numbers, the rest is bytes.
guid() {
    local a b c d e
    IFS=- read -r a b c d e <<< "$1"
    le 4 $(( 16#$a )); le 2 $(( 16#$b )); le 2 $(( 16#$c ))
    printf '%b' "$(sed 's/../\\x&/g' <<< "$d$e")"
}
# entry TYPE_GUID OWN_GUID FIRST_LBA LAST_LBA NAME; the name's UTF-16 is ASCII between zeroes.
entry() {
    guid "$1"; guid "$2"; le 8 "$3"; le 8 "$4"; le 8 0
    sed 's/./&\n/g' <<< "$5" | tr '\n' '\0'
}
# gzip's trailer is the CRC32 that the table wants, in the same byte order, and the length.
crc32() { gzip -c "$1" | tail -c 8 | head -c 4; }
# header OWN_LBA OTHER_LBA ENTRIES_LBA: writes one copy of the table, with its entries. The header's
# CRC is taken with zeroes in its own place.
header() {
    { printf 'EFI PART'; le 4 0x10000; le 4 92; le 4 0; le 4 0; le 8 "$1"; le 8 "$2"
      le 8 $(( 2 + entries_sectors )); le 8 "$last_usable_lba"; guid "$disk_guid"
      le 8 "$3"; le 4 128; le 4 128; crc32 "$work/entries"; } > "$work/header"
    crc32 "$work/header" > "$work/crc"
    put "$work/crc" "$work/header" 16
    put "$work/header" "$image" $(( $1 * sector ))
    put "$work/entries" "$image" $(( $3 * sector ))
}
# Writes a file into another at a byte offset, and leaves holes where it has zeroes.
put() { dd if="$1" of="$2" bs=64K oflag=seek_bytes seek="$3" conv=notrunc,sparse status=none; }

entry $esp_type $default_guid $default_lba $(( state_lba - 1 )) repave-default > "$work/entry1"
entry $state_type $state_guid $state_lba $(( free_lba - 1 )) repave-state > "$work/entry2"
truncate -s 16384 "$work/entries"
put "$work/entry1" "$work/entries" 0
put "$work/entry2" "$work/entries" 128
header 1 $last_lba 2
header $last_lba 1 $(( last_lba - entries_sectors ))
# The protective MBR: one partition of type EE from LBA 1 on, as large as 32 bits can say.
{ le 1 0; le 3 0x000200; le 1 0xee; le 3 0xffffff; le 4 1
  le 4 $(( last_lba < 0xffffffff ? last_lba : 0xffffffff )); } > "$work/mbr"
put "$work/mbr" "$image" 446
printf '\x55\xaa' > "$work/magic"
put "$work/magic" "$image" 510

# It warns that the file is larger than the file system, which is meant.
mkfs.vfat --invariant -F 32 -S "$sector" -s 1 -i $fat_id -n REPAVE -h $default_lba \
    --offset=$default_lba "$image" $(( default_bytes / 1024 )) > "$work/log" 2>&1 ||
    { cat "$work/log" >&2; exit 1; }
esp=$image@@$mib
mmd -i "$esp" ::EFI ::EFI/BOOT ::repave
mcopy -i "$esp" "$uki" ::EFI/BOOT/BOOTX64.EFI
mcopy -i "$esp" "$uki" ::repave/default.efi
mcopy -i "$esp" "$config" ::repave/agent.json
[ -z "$trust" ] || mcopy -i "$esp" "$trust" ::repave/trust.json
mv "$image" "$output"
