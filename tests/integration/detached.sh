#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A detached mount: the command has it as fd 3; nobody else sees it; when the command is gone, so is the mount.
. "$TOP/tests/lib/lib.sh"
mkdir "$T/tree"; echo content >"$T/tree/file"
make_ext4_image "$T/image" 16M "$T/tree"
chown $ALICE:$ALICE "$T/image"
start_fused
gone() { [ "$(fusectl --json list | json 'len(d)')" = 0 ]; }

for uid in 0 $ALICE; do
        say "as $uid"
        OUT=$(fusectl_as $uid mount ext4 "$T/image" --detached -- cat /proc/self/fd/3/file)
        assert_equal "$(tail -n 1 <<<"$OUT")" content
        wait_for "the end of the mount" 10 gone
done
wait_for "the end of the servers" 10 no_servers
fsck_clean "$T/image"

say "the command's exit status and arguments are its own"
expect_fusectl 7 mount ext4 "$T/image" --detached -- sh -c 'exit 7'
expect_fusectl 2 mount ext4 "$T/image" --detached --
expect_fusectl 2 mount ext4 "$T/image" "$T" --detached -- true
wait_for "the end of the mounts" 10 gone

say "it is listed while it lives, and can be aborted"
"$STAGE/bin/fusectl" --runtime-directory "$T/run" mount ext4 "$T/image" --detached -- sleep 30 >/dev/null &
holder=$!
listed() { [ "$(fusectl --json list | json "[m['detached'] for m in d]")" = '[True]' ]; }
wait_for "the detached mount" 10 listed
id=$(fusectl --json list | json "d[0]['id']")
fusectl abort "$id"
wait_for "the end of the mount" 10 gone
kill $holder 2>/dev/null || true
wait $holder || true
