#!/usr/bin/env bash
# A hook of mmdebstrap; $1 is the new root.
set -euo pipefail
chroot "$1" systemctl enable loaders.service
