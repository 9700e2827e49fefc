# memtest: an EFI program that nobody here built, as an image of one FAT partition.
source "$common/disk.sh"
gpt_disk 4 0
unpack memtest86+ package
install -D -m 644 package/boot/memtest86+x64.efi esp/EFI/BOOT/BOOTX64.EFI
fill_esp esp
boot_json none '\EFI\BOOT\BOOTX64.EFI' '' ''
finish "$1"
