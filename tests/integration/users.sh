#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# SUBSET: asan
# Two users of the host, their own images and directories, no setuid program; neither sees nor touches what the other has.
. "$TOP/tests/lib/lib.sh"
for uid in $ALICE $BOB; do
        install -d -o $uid -g $uid -m 700 "$T/$uid" "$T/$uid/mnt"
        mkdir "$T/tree$uid"; echo "of $uid" >"$T/tree$uid/file"
        make_ext4_image "$T/$uid/image" 16M "$T/tree$uid"
        chown $uid:$uid "$T/$uid/image"
done
start_fused
a=$(fusectl_as $ALICE mount ext4 "$T/$ALICE/image" "$T/$ALICE/mnt")
b=$(fusectl_as $BOB mount ext4 "$T/$BOB/image" "$T/$BOB/mnt")
assert_equal "$(as_user $ALICE cat "$T/$ALICE/mnt/file")" "of $ALICE"
assert_equal "$(as_user $BOB cat "$T/$BOB/mnt/file")" "of $BOB"
grep -E " $T/$ALICE/mnt .*nosuid,nodev" /proc/self/mountinfo || fail "not nosuid,nodev"

say "each sees its own, root sees both"
assert_equal "$(fusectl_as $ALICE --json list | json "[m['id'] for m in d]")" "[$a]"
assert_equal "$(fusectl_as $BOB --json list | json "[m['id'] for m in d]")" "[$b]"
assert_equal "$(fusectl --json list | json 'len(d)')" 2
for command in "status $b" "umount $b" "umount $b --lazy" "abort $b"; do
        # shellcheck disable=SC2086
        expect_fusectl_as 4 $ALICE $command
done
assert_equal "$(field "$b" state)" live

say "servers have different uids, and neither is a user's"
ua=$(field "$a" server-uid) ub=$(field "$b" server-uid)
[ "$ua" != "$ub" ] || fail "both servers run as $ua"

say "not on the directory of somebody else, not with an image that cannot be opened"
chmod 711 "$T/$BOB"; install -d -o $BOB -g $BOB -m 755 "$T/$BOB/open"
expect_fusectl_as 3 $ALICE mount ext4 "$T/$ALICE/image" "$T/$BOB/open"
out_has 'mountpoint'
fusectl_as $ALICE umount "$a"
chmod 600 "$T/$BOB/image"
expect_fusectl_as 1 $ALICE mount ext4 "$T/$BOB/image" "$T/$ALICE/mnt"
install -d -m 755 "$T/roots"
make_ext4_image "$T/roots/image" 8M; chmod 644 "$T/roots/image"
expect_fusectl_as 1 $ALICE mount ext4 "$T/roots/image" "$T/$ALICE/mnt"
out_has 'ro'
fusectl_as $ALICE mount ext4 "$T/roots/image" "$T/$ALICE/mnt" -o ro >/dev/null
fusectl_as $ALICE umount "$T/$ALICE/mnt"

say "with no_new_privs, where a set-user-ID helper has no effect"
make_squashfs_image "$T/squash"
nnp=(setpriv --reuid "$ALICE" --regid "$ALICE" --clear-groups --no-new-privs --)
expect_status 0 "${nnp[@]}" "$STAGE/bin/fusectl" --runtime-directory "$T/run" mount squashfs "$T/squash" "$T/$ALICE/mnt"
assert_equal "$(as_user $ALICE cat "$T/$ALICE/mnt/file")" text
expect_status 3 "${nnp[@]}" "$STAGE/bin/fusectl" --runtime-directory "$T/run" mount squashfs "$T/squash" "$T/$BOB/open"
expect_status 0 "${nnp[@]}" "$STAGE/bin/fusectl" --runtime-directory "$T/run" umount "$T/$ALICE/mnt"

say "allow_other is the administrator's to give"
expect_fusectl_as 3 $ALICE mount ext4 "$T/$ALICE/image" "$T/$ALICE/mnt" -o allow_other
out_has 'option'
fusectl_as $BOB umount "$T/$BOB/mnt"
