#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The units are sound (systemd-analyze verify says nothing), and their exposure stays below a ceiling.
. "$TOP/tests/rigs/lib.sh"
make_squashfs "$T/image"
mkdir "$T/mnt"
systemctl start fused.socket
id=$(fusectl mount squashfs "$T/image" "$T/mnt")
unit=$(units_of squashfs)
for file in /run/systemd/generator/fuse-service-*.s* /usr/lib/systemd/system/fused*; do
        systemd-analyze verify --man=no "$file" >"$T/verify" 2>&1 || true
        grep -E 'fuse' "$T/verify" | grep -vE 'sshd|Transaction' && fail "$file: $(cat "$T/verify")"
done
exposure() { systemd-analyze security --no-pager "$1" | sed -n 's/.*Overall exposure level for .*: \([0-9.]*\) .*/\1/p'; }
for pair in "$unit 1.2" "fused.service 6.0"; do
        read -r name ceiling <<<"$pair"
        level=$(exposure "$name")
        echo "$name: $level (ceiling $ceiling)"
        awk -v a="$level" -v b="$ceiling" 'BEGIN { exit !(a != "" && a <= b) }' || { systemd-analyze security --no-pager "$name"; fail "$name: $level"; }
done
fusectl umount "$id"
