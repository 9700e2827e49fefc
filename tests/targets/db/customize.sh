#!/usr/bin/env bash
# A hook of mmdebstrap; $1 is the new root. The package made the cluster; its user and database are
# made here, by the single-user backend since nothing runs as a service in a chroot.
set -euo pipefail
mkdir -p "$1/etc/systemd/system-generators"
ln -s /dev/null "$1/etc/systemd/system-generators/postgresql-generator"
cluster=/etc/postgresql/15/main
printf 'host repave repave 10.0.0.0/8 trust\n' >> "$1$cluster/pg_hba.conf"
printf '%s\n' 'CREATE ROLE repave LOGIN' 'CREATE DATABASE repave OWNER repave' |
    chroot "$1" runuser -u postgres -- /usr/lib/postgresql/15/bin/postgres --single \
        -c config_file=$cluster/postgresql.conf -D /var/lib/postgresql/15/main postgres
