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
say "usage is back at nothing"
usage=$(as_user $ALICE busctl --address="unix:path=$T/run/control" get-property org.fused1 /org/fused1 org.fused1.Manager Usage)
assert_equal "$usage" 'a{st} 4 "mounts" 0 "pending" 0 "fds" 0 "processes" 0'
