#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A caller in a user namespace of its own, as a rootless container is: its mount belongs to that namespace.
. "$TOP/tests/lib/lib.sh"
mkdir "$T/tree"; echo content >"$T/tree/file"
install -d -o $ALICE -g $ALICE "$T/$ALICE" "$T/$ALICE/mnt"
make_ext4_image "$T/$ALICE/image" 16M "$T/tree"
chown $ALICE:$ALICE "$T/$ALICE/image"
start_fused
F="$STAGE/bin/fusectl --runtime-directory $T/run"
gone() { [ "$(fusectl --json list | json 'len(d)')" = 0 ]; }

say "detached"
OUT=$(as_user $ALICE unshare -Ur -m sh -c "$F mount ext4 $T/$ALICE/image --detached -- cat /proc/self/fd/3/file")
assert_equal "$(tail -n 1 <<<"$OUT")" content
wait_for "the end of the mount" 10 gone

say "attached, in its own mount namespace"
OUT=$(as_user $ALICE unshare -Ur -m sh -euc "$F mount ext4 $T/$ALICE/image $T/$ALICE/mnt; cat $T/$ALICE/mnt/file; echo new >$T/$ALICE/mnt/new; grep -c '$T/$ALICE/mnt .*nosuid' /proc/self/mountinfo; $F list; $F umount $T/$ALICE/mnt")
echo "$OUT"
out_has '^content$'
not_mounted "$T/$ALICE/mnt" || fail "the mount came out of the namespace"
wait_for "the end of the mount" 10 gone
fsck_clean "$T/$ALICE/image"
assert_equal "$(debugfs -R 'cat /new' "$T/$ALICE/image" 2>/dev/null)" new

say "root of a namespace is not the administrator"
attach_loop "$T/$ALICE/image"
OUT=$(as_user $ALICE unshare -Ur -m sh -c "$F mount ext4 $LOOP $T/$ALICE/mnt; echo status \$?" 2>&1)
out_has 'status 3'; out_has 'source-kind'
OUT=$(as_user $ALICE unshare -Ur -m sh -c "$F mount ext4 $T/$ALICE/image $T/$ALICE/mnt -o suid; echo status \$?" 2>&1)
out_has 'status 3'; out_has 'option'
OUT=$(as_user $ALICE unshare -Ur -m sh -c "$F mount ext4 $T/$ALICE/image /etc; echo status \$?" 2>&1)
out_has 'status 3'; out_has 'mountpoint'
say "the namespace ends, and its user takes the mount down from the host"
id=$(as_user $ALICE unshare -Ur -m sh -euc "$F mount ext4 $T/$ALICE/image $T/$ALICE/mnt")
sleep 0.5
if ! gone; then fusectl_as $ALICE umount "$id"; fi
wait_for "the end of the mount" 20 gone
fsck_clean "$T/$ALICE/image"
