# Sourced by the recipes, which build.sh runs with name (the image's), here (the recipe's folder)
# and common (this one): the pieces of a target image. Everything is written at an offset of one
# sparse file, so neither loop devices nor mounts nor root are needed, and every GUID derives from
# its name, so that two builds of an image carry the same ones.
export SOURCE_DATE_EPOCH=1735689600 E2FSPROGS_FAKE_TIME=1735689600 # a fixed day, 2025-01-01

# For the kernel's options: an emulated timer on a busy host is late, and where it does not look like a
# virtual machine's the kernel takes it for broken and panics.
emulated=no_timer_check

# guid WHAT: the fixed GUID of this image's disk, partition or file system (RFC 9562, version 8).
guid() {
    printf 'repave target %s %s' "$name" "$1" | sha256sum |
        sed -E 's/^(.{8})(.{4}).(.{3}).(.{3})(.{12}).*/\1-\2-8\3-8\4-\5/'
}

# gpt_disk ESP_MIB ROOT_MIB: an empty disk.raw with the partitions NAME-esp and, unless its size
# is 0, NAME-root, both aligned to 1 MiB. The last MiB is the backup table's.
gpt_disk() {
    export esp_mib=$1 root_mib=$2
    truncate -s $((2 + esp_mib + root_mib))M disk.raw
    {
        echo "label: gpt"
        echo "label-id: $(guid disk)"
        echo "start=1MiB, size=${esp_mib}MiB, type=uefi, uuid=$(guid esp), name=$name-esp"
        [ "$root_mib" = 0 ] ||
            echo "start=$((1 + esp_mib))MiB, size=${root_mib}MiB, type=linux-root-x86-64, uuid=$(guid root), name=$name-root"
    } | sfdisk --quiet --no-reread --no-tell-kernel disk.raw
}

# unpack PACKAGE DIR: the files of a Debian package that need not be installed here.
unpack() {
    apt-get download "$1"
    dpkg-deb -x "$1"_*.deb "$2"
}

# fill_esp DIR: a FAT file system with DIR's contents. FAT32 needs 65,525 clusters, so that with
# the smallest ones an ESP of less than 34 MiB has to be FAT16, which firmware reads as well.
fill_esp() {
    mkfs.vfat --invariant -F $((esp_mib < 34 ? 16 : 32)) -s 1 -i "$(guid esp-fs | cut -c1-8)" -n ESP --offset 2048 disk.raw $((esp_mib * 1024))
    find "$1" -exec touch -d "@$SOURCE_DATE_EPOCH" {} +
    mcopy -s -m -i disk.raw@@1M "$1"/* ::/
}

# fill_root DIR: an ext4 file system with DIR's contents. Its tables are written out here, since
# the kernel would otherwise spend the first minutes after the boot on that.
fill_root() {
    mkfs.ext4 -q -m 0 -J size=8 -L "$name-root" -U "$(guid root-fs)" -d "$1" \
        -E "offset=$(((1 + esp_mib) << 20)),hash_seed=$(guid hash-seed),lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0" \
        disk.raw "${root_mib}M"
}

# boot_json REPORTS EFI_PATH INITRD OPTIONS [PREFIX...]: what the importer is told about disk.raw.
# INITRD is its path with slashes, or empty. An image without a root has neither settings nor
# kexec, since its EFI program is no Linux kernel.
boot_json() {
    local reports=$1 efi_path=$2 initrd=$3 options=$4
    shift 4
    jq -n --arg name "$name" --arg reports "$reports" --arg efi_path "$efi_path" \
        --arg initrd "$initrd" --arg options "$options" --argjson has_root "$((root_mib > 0))" '
        ($initrd | if . == "" then "" else " initrd=" + gsub("/"; "\\") end) as $initrd_option |
        ($has_root == 1) as $linux |
        {
            server_type: $name,
            reports: $reports,
            boot: {
                partition: ($name + "-esp"),
                efi_path: $efi_path,
                options: ($options + $initrd_option),
                kexec: (if $linux then {
                    partition: ($name + "-esp"),
                    kernel: ($efi_path | gsub("\\\\"; "/")),
                    initrd: (if $initrd == "" then null else $initrd end),
                    options: $options
                } else null end)
            },
            settings: (if $linux then {
                engine: "linux",
                partition: ($name + "-root"),
                prefixes: $ARGS.positional
            } else null end)
        }' --args "$@" > boot.json
}

# finish OUT: reads the partitions back, and puts the image, without its blocks of zeroes, in OUT.
finish() {
    sfdisk --quiet --verify disk.raw
    mdir -i disk.raw@@1M -s ::/ > esp.list
    if [ "$root_mib" != 0 ]; then
        e2fsck -fn "disk.raw?offset=$(((1 + esp_mib) << 20))"
    fi
    fallocate --dig-holes disk.raw
    mv disk.raw boot.json "$1/"
}
