#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# SUBSET: asan
# The mirror server, hand-over service: a tree, read and written, with the caller as owner of what it makes.
. "$TOP/tests/lib/lib.sh"
fill_tree "$T/tree" 200
chown -R $ALICE:$ALICE "$T/tree"
install -d -o $ALICE -g $ALICE "$T/mnt"
start_fused
id=$(fusectl_as $ALICE mount mirror "$T/tree" "$T/mnt")
checksums "$T/tree" >"$T/sums"
as_user $ALICE bash -c "cd '$T/mnt' && find . -type f -print0 | sort -z | xargs -0 sha256sum" | diff "$T/sums" - || fail "checksums differ"

say "reads and writes of its owner"
as_user $ALICE bash -euc "cd '$T/mnt'
        mkdir new; echo text >new/file; ln -s file new/link; ln new/file new/hard; chmod 640 new/file
        truncate -s 100000 new/file; mv new/file new/renamed; find dir0/deep -type f -delete; rmdir dir0/deep/deeper
        dd if=/dev/urandom of=big bs=1M count=8 status=none; cp big copy; cmp big copy"
assert_equal "$(stat -c '%u:%g %a %s' "$T/tree/new/renamed")" "$ALICE:$ALICE 640 100000" "the file below"
assert_equal "$(as_user $ALICE stat -c '%u:%g %a %s' "$T/mnt/new/renamed")" "$ALICE:$ALICE 640 100000" "the file through the mount"
assert_equal "$(stat -c %h "$T/tree/new/hard")" 2 "links"
assert_equal "$(readlink "$T/tree/new/link")" file
cmp "$T/tree/big" "$T/tree/copy"
[ ! -e "$T/tree/dir0/deep/deeper" ] || fail "rmdir did nothing"
[ "$(find "$T/tree" ! -uid $ALICE | wc -l)" -eq 0 ] || fail "files that are not the caller's: $(find "$T/tree" ! -uid $ALICE)"

say "who writes to a program takes its privilege away"
for step in 'echo x >>program' 'truncate -s 1 program' 'cat /dev/null >program'; do
        install -m 6755 -o $ALICE -g $ALICE /dev/null "$T/tree/program"
        as_user $ALICE bash -euc "cd '$T/mnt'; $step"
        assert_equal "$(stat -c %a "$T/tree/program")" 755 "mode after $step"
done
as_user $ALICE rm "$T/mnt/program"

say "nobody else comes in, root included"
! ls "$T/mnt" >/dev/null 2>&1 || fail "root could list it"
! as_user $BOB ls "$T/mnt" >/dev/null 2>&1 || fail "another user could list it"

say "what it must not do"
! as_user $ALICE mknod "$T/mnt/null" c 1 3 2>/dev/null || fail "it made a device"
as_user $ALICE test ! -e "$T/mnt/../../etc/fstab-does-not-matter"
server=$(fusectl_as $ALICE --json status "$id" | json "d['server-uid']")
[ "$server" -ge 1879048192 ] || fail "the server runs as $server"
fusectl_as $ALICE umount "$T/mnt"

say "read-only"
fusectl_as $ALICE mount mirror "$T/tree" "$T/mnt" -o ro >/dev/null
! as_user $ALICE touch "$T/mnt/x" 2>/dev/null || fail "it can be written"
as_user $ALICE cat "$T/mnt/new/renamed" >/dev/null
fusectl_as $ALICE umount "$T/mnt"
