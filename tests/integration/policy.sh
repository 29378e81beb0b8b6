#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Every refusal of policy has exit status 3, its word, the rule's file and line, and beside it stands what is allowed.
. "$TOP/tests/lib/lib.sh"
make_ext4_image "$T/image" 16M
chown $ALICE:$ALICE "$T/image"
mkdir "$T/roots" "$T/tree"
install -d -o $ALICE -g $ALICE "$T/mnt"
attach_loop "$T/image"
mkdir -p "$T/policy/types/ext4.conf.d"
cat >"$T/policy/types/ext4.conf.d/10-test.conf" <<C
[Allow bob]
Users=$BOB
Sources=device
Devices=loop:$T/image
Options=allow_other
C
start_fused
refused() { # WORD USER fusectl-arguments...
        local word=$1 user=$2
        shift 2
        expect_fusectl_as 3 "$user" "$@"
        out_has "\[$word\]"
}
allowed() { local user=$1; shift; fusectl_as "$user" "$@" >/dev/null; fusectl umount "${POINT:-$T/mnt}"; }

say "no-such-type"
refused no-such-type $ALICE mount nonsense "$T/image" "$T/mnt"
say "source-kind: a device is not for everybody, a file is"
refused source-kind $ALICE mount ext4 "$LOOP" "$T/mnt"
out_has 'ext4.conf:[0-9]+'
allowed $ALICE mount ext4 "$T/image" "$T/mnt"
say "device: this one is bob's, another is not"
chown $BOB:$BOB "$T/mnt"
truncate -s 16M "$T/image2"; mkfs.ext4 -qF "$T/image2"
first=$LOOP
attach_loop "$T/image2"
refused device $BOB mount ext4 "$LOOP" "$T/mnt"
out_has '10-test.conf:[0-9]+|ext4.conf:[0-9]+'
allowed $BOB mount ext4 "$first" "$T/mnt"
say "option: bob may say allow_other, but not suid"
refused option $BOB mount ext4 "$first" "$T/mnt" -o suid
refused option $BOB mount ext4 "$first" "$T/mnt" -o dev
out_has 'dev'
allowed $BOB mount ext4 "$first" "$T/mnt" -o allow_other,noatime,noexec
say "an option that nobody knows"
refused option $BOB mount ext4 "$first" "$T/mnt" -o nonsense
out_has nonsense
say "mountpoint"
refused mountpoint $BOB mount ext4 "$first" "$T/roots"
refused mountpoint $BOB mount ext4 "$first" /etc
POINT=$T/roots allowed 0 mount ext4 "$first" "$T/roots"
say "mountpoint-fs"
expect_fusectl 3 mount ext4 "$first" /proc/self
out_has '\[mountpoint'
say "slot-missing, slot-unknown"
refused slot-missing $ALICE mount ext4 none "$T/mnt"
refused slot-unknown $ALICE mount ext4 "$T/image" "$T/mnt" -o "slot.journal=$T/image"
say "suid and dev for the administrator"
fusectl mount ext4 "$first" "$T/roots" -o suid,dev >/dev/null
! grep -qE " $T/roots .*nosuid" /proc/self/mountinfo || fail "suid was granted but is not there"
fusectl umount "$T/roots"
allowed 0 mount ext4 "$first" "$T/mnt"

say "explain says the same beforehand"
expect_fusectl 0 policy explain ext4 "$first"
out_has 'allowed|yes'
expect_fusectl 3 policy explain ext4 "$first" --user nobody
out_has 'source-kind'; out_has 'ext4.conf:[0-9]+'
expect_fusectl_as 3 $ALICE policy explain ext4 "$first"
out_has 'source-kind'
expect_fusectl_as 0 $ALICE policy explain ext4 "$T/image"
expect_fusectl 3 policy explain nonsense "$T/image"

say "explain looks at every slot, as mounting does"
truncate -s 4M "$T/m0" "$T/m1"
chown $ALICE:$ALICE "$T/m0" "$T/m1"
expect_fusectl_as 0 $ALICE policy explain stripe "$T/m0" -o "slot.device1=$T/m1"
expect_fusectl_as 3 $ALICE policy explain stripe "$T/m0"
out_has 'slot-missing'
expect_fusectl_as 3 $ALICE policy explain stripe "$T/m0" -o "slot.device1=$T/m1,slot.nonsense=$T/m1"
out_has 'slot-unknown'
expect_fusectl_as 3 $ALICE policy explain stripe "$T/m0" -o "slot.device1=$first"
out_has 'source-kind'
expect_fusectl 0 policy explain stripe "$T/m0" -o "slot.device1=$first"
expect_fusectl_as 3 $ALICE policy explain stripe "$T/m0" -o "slot.device1=$T"
out_has 'source-kind'
assert_equal "$(fusectl --json list | json 'len(d)')" 0
