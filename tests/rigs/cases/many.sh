#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# TIMEOUT: 180
# 200 mounts asked for at the same time, a unit each: nothing of systemd's caps them.
. "$TOP/tests/rigs/lib.sh"
N=200
systemctl start fused.socket
make_squashfs "$T/image"
for i in $(seq $N); do mkdir "$T/m$i"; done
printf '[User root]\nMaxPending=unlimited\n' >/etc/fused/fused.conf.d/many.conf
systemctl restart fused.service
started=$(date +%s%N)
for i in $(seq $N); do
        fusectl mount squashfs "$T/image" "$T/m$i" >"$T/id$i" 2>"$T/err$i" &
done
wait
took=$((($(date +%s%N) - started) / 1000000))
failed=$(find "$T" -maxdepth 1 -name 'err*' -size +0 | wc -l)
[ "$failed" -eq 0 ] || fail "$failed of $N failed: $(cat "$T"/err* | sort | uniq -c | head -n 5)"
assert_equal "$(units_of squashfs | wc -l)" $N units
for i in $(seq $N); do assert_equal "$(cat "$T/m$i/file")" text; done
echo "$N mounts at once: $took ms; memory of the slice: $(($(cat "/sys/fs/cgroup/$(systemctl show -P ControlGroup fused-servers.slice)/memory.current" 2>/dev/null || echo 0) / 1024)) KiB" | tee /rig/out/many.txt
for i in $(seq $N); do fusectl umount "$(cat "$T/id$i")" & done
wait
wait_for "the end of the units" 30 no_units_of squashfs
rm /etc/fused/fused.conf.d/many.conf
systemctl reload fused.service
