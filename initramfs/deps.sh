#!/usr/bin/env bash
# Installs the Debian packages that building and testing need, and only those that are missing.
set -euo pipefail

packages=(
    # the agent, its kernel and its UKI
    gcc make pkg-config linux-source-6.1 flex bison bc libelf-dev libssl-dev xz-utils zstd rsync
    kmod cpio binutils systemd-boot-efi mtools dosfstools
    # virtual machines
    qemu-system-x86 qemu-utils ovmf ipxe-qemu iproute2 dnsmasq-base util-linux
    # the Redfish emulator of the power tests, in a venv of its own
    python3-venv
    # sources that the importer's tests pack
    gzip bzip2
    # target images
    mmdebstrap busybox-static memtest86+ e2fsprogs fdisk gdisk fakeroot jq curl postgresql-client
    # the fuzzer's own library is C++
    g++
    # the controller's tests start servers of their own from it, look at the page, read the unit
    postgresql chromium systemd
    # a registry that the tests start, its users, and who copies images to it and back
    docker-registry apache2-utils skopeo openssl
)

missing=()
for package in "${packages[@]}"; do
    state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$state" = installed ] || missing+=("$package")
done
if ! command -v cargo > /dev/null; then
    echo "deps: no cargo on the PATH; install a stable Rust toolchain (https://rustup.rs) first" >&2
    exit 1
fi
[ ${#missing[@]} -gt 0 ] || exit 0

echo "deps: installing ${missing[*]}"
root=()
[ "$(id -u)" = 0 ] || root=(sudo)
log=$(mktemp)
# Debian's postgresql makes a cluster when it is installed, and starts it. Nothing here wants one;
# whoever installs a further version later is to get what Debian gives, so the setting goes again.
no_cluster=/etc/postgresql-common/createcluster.d/repave-deps.conf
trap 'rm -f "$log"; "${root[@]}" rm -f "$no_cluster"' EXIT
"${root[@]}" mkdir -p "${no_cluster%/*}"
echo "create_main_cluster = false" | "${root[@]}" tee "$no_cluster" > /dev/null
if ! { "${root[@]}" apt-get update &&
    DEBIAN_FRONTEND=noninteractive "${root[@]}" apt-get install -y --no-install-recommends "${missing[@]}"
} > "$log" 2>&1; then
    tail -n 15 "$log" >&2
    echo "deps: could not install ${missing[*]}" >&2
    exit 1
fi
# Debian's docker-registry starts when it is installed. The tests start their own.
if [[ " ${missing[*]} " = *" docker-registry "* ]] && command -v systemctl > /dev/null; then
    "${root[@]}" systemctl disable --now docker-registry > /dev/null 2>&1 || true
fi
