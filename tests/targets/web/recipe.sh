# web: Debian with nginx, which serves /var/www/html on port 80.
source "$common/debian.sh"
debian_disk 40 512
debian_boot_json /etc/ /root/ /usr/lib/repave/ /var/www/
finish "$1"
