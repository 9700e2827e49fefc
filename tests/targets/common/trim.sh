#!/usr/bin/env bash
# A hook of mmdebstrap; $1 is the new root. Sets up what every Debian target shares, and deletes
# what no server of ours uses: an image is written, read back and hashed, so bytes are seconds.
set -euo pipefail
root=$1
common=$(dirname "$0")

for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer \
    e2scrub_reap.service fstrim.timer logrotate.timer systemd-pstore.service \
    systemd-logind.service systemd-networkd-wait-online.service getty@tty1.service; do
    ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
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

rm -rf "$root"/usr/share/{doc,info,lintian,locale,man} "$root"/var/lib/apt/lists/* \
    "$root"/var/cache/*/* "$root"/var/log/*.log "$root"/var/log/apt "$root"/etc/resolv.conf.*
