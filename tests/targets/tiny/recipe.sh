# tiny: the default side's kernel with busybox, for tests that purpose many times in little RAM.
source "$common/disk.sh"
kernel=$2
gpt_disk 8 24
install -D -m 644 "$kernel" esp/vmlinuz.efi
fill_esp esp

unpack busybox-static package
mkdir -p root/{bin,dev,proc,root,run,sbin,sys,tmp,usr/lib/repave}
cp -a "$here/root/." root/
cp package/bin/busybox root/bin/
for applet in $(root/bin/busybox --list); do
    [ -e "root/bin/$applet" ] || ln -s busybox "root/bin/$applet"
done
for applet in init poweroff reboot; do
    ln -s ../bin/busybox "root/sbin/$applet"
done
chmod -R u=rwX,go=rX root
find root -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
fakeroot bash -euo pipefail -c 'source "$common/disk.sh"; chown -hR 0:0 root; fill_root root'
boot_json resident '\vmlinuz.efi' '' "root=PARTUUID=$(guid root) rw console=ttyS0,115200 $emulated" /etc/ /root/ /usr/lib/repave/
finish "$1"
