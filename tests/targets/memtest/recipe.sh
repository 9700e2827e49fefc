# memtest: an EFI program that nobody here built, as an image of one FAT partition.
source "$common/disk.sh"
gpt_disk 4 0
unpack memtest86+ package
install -D -m 644 package/boot/memtest86+x64.efi esp/EFI/BOOT/BOOTX64.EFI
fill_esp esp
# Its screen also goes to the serial line, which is what a test can read.
boot_json none '\EFI\BOOT\BOOTX64.EFI' '' 'console=ttyS0,115200'
finish "$1"
