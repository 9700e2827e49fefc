#!/usr/bin/env bash
# A hook of mmdebstrap; $1 is the new root. Sets up what every Debian target shares, and deletes
# what no server of ours uses: an image is written, read back and hashed, so bytes are seconds.
set -euo pipefail
root=$1
common=$(dirname "$0")

# Each of these is a process or more at every boot, and under emulation most of a second.
for unit in {apt-daily,apt-daily-upgrade,dpkg-db-backup,e2scrub_all,fstrim,logrotate,systemd-tmpfiles-clean}.timer \
    {dbus,systemd-initctl}.socket proc-sys-fs-binfmt_misc.automount \
    {dev-hugepages,dev-mqueue,sys-fs-fuse-connections,sys-kernel-{config,debug,tracing}}.mount \
    {dbus,e2scrub_reap,getty@tty1,kmod-static-nodes,modprobe@}.service \
    systemd-{logind,network-generator,networkd-wait-online,pstore,update-utmp,update-utmp-runlevel}.service; do
    ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
chroot "$root" systemctl set-default multi-user.target
chroot "$root" systemctl enable systemd-networkd.service systemd-resolved.service
ln -sf /run/systemd/resolve/resolv.conf "$root/etc/resolv.conf"
echo target > "$root/etc/hostname" # until settings name the server
: > "$root/etc/machine-id"
chroot "$root" passwd -l root

version=$(basename "$root"/lib/modules/*)
grep -v '^#' "$common/modules" | while read -r module; do
    modprobe -d "$root" -S "$version" --show-depends "$module"
done | sed -n "s|^insmod $root||p" | awk '{print $1}' | sort -u > "$root/keep"
(cd "$root" && find "lib/modules/$version" -name '*.ko' -printf '/%p\n' | sort | comm -23 - keep | sed 's|^|.|' | xargs -r rm)
rm "$root/keep"
depmod -b "$root" "$version"

# Packages want Perl's modules and the initrd's compressor only while they are being set up.
rm -rf "$root"/usr/share/perl "$root"/usr/lib/x86_64-linux-gnu/perl "$root"/usr/bin/*zstd* \
    "$root"/usr/lib/udev/hwdb.* "$root"/usr/share/{doc,i18n,info,lintian,locale,man} \
    "$root"/var/lib/apt/lists/* "$root"/var/cache/*/* "$root"/var/log/*.log "$root"/var/log/apt "$root"/etc/resolv.conf.*
