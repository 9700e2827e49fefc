#!/usr/bin/env bash
# A hook of mmdebstrap; $1 is the new root.
set -euo pipefail
rm -f "$1/var/www/html/index.nginx-debian.html"
