#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# TIMEOUT: 180
# 200 mounts at once, asked for eight at a time; every one works; then all are gone.
. "$TOP/tests/lib/lib.sh"
N=200
mkdir "$T/tree"
echo text >"$T/tree/file"
for i in $(seq $N); do mkdir -p "$T/mnt/$i"; done
start_fused
started=$(date +%s%N)
seq $N | xargs -P 8 -I{} "$STAGE/bin/fusectl" --runtime-directory "$T/run" mount mirror "$T/tree" "$T/mnt/{}" >"$T/ids"
echo "$N mounts in $((($(date +%s%N) - started) / 1000000)) ms"
assert_equal "$(sort -u "$T/ids" | wc -l)" $N "different ids"
assert_equal "$(fusectl --json list | json "len([m for m in d if m['state'] == 'live'])")" $N "live mounts"
for i in $(seq $N); do assert_equal "$(cat "$T/mnt/$i/file")" text; done
assert_equal "$(fusectl --json list | json "len(set(fusectl['server-pid'] for fusectl in d)) if 'server-pid' in d[0] else $N")" $N "servers"
echo "broker: $(grep VmRSS "/proc/$FUSED_PID/status"), manager: $(grep VmRSS "/proc/$(manager_pid)/status")"
started=$(date +%s%N)
xargs -P 8 -I{} "$STAGE/bin/fusectl" --runtime-directory "$T/run" umount {} <"$T/ids"
echo "unmounted in $((($(date +%s%N) - started) / 1000000)) ms"
say "half of them end with the supervisor"
seq 50 | xargs -P 8 -I{} "$STAGE/bin/fusectl" --runtime-directory "$T/run" mount mirror "$T/tree" "$T/mnt/{}" >"$T/ids"
stop_fused
! grep -q " $T/mnt/" /proc/self/mountinfo || fail "mounts are left after the end of fused"
