# loaders: Debian with the programs that install boot loaders, for what they do to a server of ours.
source "$common/debian.sh"
debian_disk 40 512
debian_boot_json /etc/ /root/ /usr/lib/repave/
finish "$1"
