# Sourced by the recipes of web, db and loaders: a whole Debian with its own kernel, from the Debian
# entries among this machine's apt sources (what else the machine installs from stays out).
source "$common/disk.sh"

# overlay TREE TAR: packs files that are laid over the root, owned by root whoever checked them out.
overlay() {
    tar --owner=0 --group=0 --mode=u=rwX,go=rX --mtime="@$SOURCE_DATE_EPOCH" -C "$1" -cf "$2" .
}

# debian_disk ESP_MIB ROOT_MIB EXCLUDE...: builds disk.raw, with the kernel and its initrd as
# \vmlinuz.efi and \initrd.img on the ESP. EXCLUDE are dpkg patterns of files that
# the image does without.
debian_disk() {
    gpt_disk "$1" "$2"
    shift 2
    apt-get indextargets --format 'deb $(REPO_URI) $(RELEASE) $(COMPONENT)' \
        'Created-By: Packages' 'Origin: Debian' | LC_ALL=C sort -u > sources.list
    if [ ! -s sources.list ]; then
        echo "apt knows no Debian source; run apt-get update"
        return 1
    fi
    overlay "$common/root" common.tar
    overlay "$here/root" own.tar
    local exclude=(/usr/share/{doc,info,lintian,locale,man}/'*' /usr/lib/x86_64-linux-gnu/gconv/'*' "$@")
    mmdebstrap --variant=minbase --format=tar \
        --keyring=/usr/share/keyrings/debian-archive-keyring.gpg \
        --include="$(grep -v '^#' "$here/packages" | paste -sd,)" \
        --dpkgopt=force-unsafe-io "${exclude[@]/#/--dpkgopt=path-exclude=}" \
        --essential-hook='tar-in common.tar /' \
        --customize-hook='tar-in own.tar /' \
        --customize-hook="$here/customize.sh" \
        --customize-hook="$common/trim.sh" \
        bookworm root.tar - < sources.list
    # One fakeroot for both, since it is what remembers the owners between tar and mkfs.
    mkdir root esp
    fakeroot bash -euo pipefail -c '
        source "$common/disk.sh"
        tar -C root --exclude="./dev/*" -xf root.tar
        mv root/boot/vmlinuz-* esp/vmlinuz.efi
        mv root/boot/initrd.img-* esp/initrd.img
        rm -f root/boot/* root/vmlinuz* root/initrd.img*
        fill_root root'
    fill_esp esp
}

# debian_boot_json PREFIX...: PREFIX are the folders below which settings may write.
debian_boot_json() {
    # The gpt generator would mount the default side's ESP and swap what looks like swap.
    boot_json resident '\vmlinuz.efi' /initrd.img \
        "root=PARTUUID=$(guid root) rw console=ttyS0,115200 $emulated panic=10 systemd.gpt_auto=0 loglevel=5 systemd.show_status=1 systemd.getty_auto=0 fsck.mode=skip" "$@"
}
