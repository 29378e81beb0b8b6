#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# What a user may hold: refused at the limit, naming it; given back when something ends; other users are not touched.
. "$TOP/tests/lib/lib.sh"
use_program hostile-fd
use_type plain good
make_squashfs_image "$T/squash"
use_type hostile-fd BEHAVIOUR=never-init never
cat >"$T/quota.conf" <<C
[Limits]
MaxMounts=3
MaxPending=2
C
mkdir -p "$T/policy/fused.conf.d"
cp "$T/quota.conf" "$T/policy/fused.conf.d/10-test.conf"
for i in 1 2 3 4; do install -d -o $ALICE -g $ALICE "$T/a$i"; done
install -d -o $BOB -g $BOB "$T/b1"
start_fused
say "live mounts"
for i in 1 2 3; do fusectl_as $ALICE mount good "$T/squash" "$T/a$i" >"$T/id$i"; done
expect_fusectl_as 3 $ALICE mount good "$T/squash" "$T/a4"
out_has '\[quota-mounts\]'; out_has '3'; out_has '10-test.conf:[0-9]+'
fusectl_as $BOB mount good "$T/squash" "$T/b1" >/dev/null
fusectl_as $BOB umount "$T/b1"
fusectl_as $ALICE umount "$(cat "$T/id2")"
fusectl_as $ALICE mount good "$T/squash" "$T/a4" >/dev/null
for i in 1 3 4; do fusectl_as $ALICE umount "$T/a$i"; done

say "pending mounts"
for i in 1 2; do fusectl_as $ALICE mount never none "$T/a$i" >/dev/null 2>&1 & done
two_pending() { [ "$(fusectl --json list | json 'len(d)')" = 2 ]; }
wait_for "two pending mounts" 5 two_pending
expect_fusectl_as 3 $ALICE mount good "$T/squash" "$T/a3"
out_has '\[quota-pending\]'
fusectl_as $BOB mount good "$T/squash" "$T/b1" >/dev/null
fusectl_as $BOB umount "$T/b1"
for pid in $(jobs -p); do [ "$pid" = "$FUSED_PID" ] || wait "$pid" || true; done
wait_for "the end of what was pending" 15 no_servers
fusectl_as $ALICE mount good "$T/squash" "$T/a3" >/dev/null
fusectl_as $ALICE umount "$T/a3"
say "memory: the sum of what the types may use"
printf '[Limits]\nMaxMemory=300M\n' >"$T/policy/fused.conf.d/20-memory.conf"
reload() { kill -HUP "$FUSED_PID"; sleep 0.5; }
reload
fusectl_as $ALICE mount squashfs "$T/squash" "$T/a1" >/dev/null # 256M
expect_fusectl_as 3 $ALICE mount squashfs "$T/squash" "$T/a2"
out_has '\[quota-memory\]'; out_has 'MaxMemory=300, 256 in use, 256 wanted'; out_has '20-memory.conf|10-test.conf'
fusectl_as $BOB mount squashfs "$T/squash" "$T/b1" >/dev/null
fusectl_as $BOB umount "$T/b1"
fusectl_as $ALICE umount "$T/a1"
rm "$T/policy/fused.conf.d/20-memory.conf"

say "a fair share of what there is for everybody: half of what the others have left; root is not held to it"
printf '[Supervisor]\nMaxMounts=5\n' >"$T/policy/fused.conf.d/30-total.conf"
printf '[Limits]\nMaxMounts=10\n' >"$T/policy/fused.conf.d/40-more.conf"
reload
for i in 1 2 3; do fusectl_as $ALICE mount good "$T/squash" "$T/a$i" >"$T/id$i"; done
expect_fusectl_as 3 $ALICE mount good "$T/squash" "$T/a4"
out_has '\[quota-share\]'
fusectl_as $BOB mount good "$T/squash" "$T/b1" >/dev/null
install -d -o $BOB "$T/b2"
expect_fusectl_as 3 $BOB mount good "$T/squash" "$T/b2"
out_has '\[quota-share\]'
mkdir "$T/root1"
fusectl mount squashfs "$T/squash" "$T/root1" >/dev/null
for point in a1 a2 a3; do fusectl_as $ALICE umount "$T/$point"; done
fusectl_as $BOB umount "$T/b1"
fusectl umount "$T/root1"
rm "$T"/policy/fused.conf.d/[34]0-*.conf

say "usage is back at nothing"
usage=$(as_user $ALICE busctl --address="unix:path=$T/run/control" get-property org.fused1 /org/fused1 org.fused1.Manager Usage)
assert_equal "$usage" 'a{st} 6 "mounts" 0 "pending" 0 "fds" 0 "processes" 0 "memory-mib" 0 "cpu-percent" 0'
