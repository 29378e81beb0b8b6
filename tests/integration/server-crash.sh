#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# SUBSET: asan
# A server that dies while it is mounted: the mount goes, the callers get an error, the reason is reported.
. "$TOP/tests/lib/lib.sh"
use_type plain good
make_squashfs_image "$T/squash"
mkdir "$T/mnt"
gone() { [ "$(fusectl --json list | json 'len(d)')" = 0 ]; }
start_fused
for signal in KILL SEGV TERM; do
        say "SIG$signal"
        id=$(fusectl mount good "$T/squash" "$T/mnt")
        ls "$T/mnt" >/dev/null
        # the agent's child is the server; its pid is a name of ours only
        agent=$(field "$id" server-pid)
        server=$(cut -d' ' -f1 "/proc/$agent/task/$agent/children")
        kill -$signal "${server:-$agent}"
        wait_for "the end of the mount" 10 gone
        wait_for "the mount point to be free" 5 not_mounted "$T/mnt"
        assert_log "mount $id|id $id|#$id"
done
say "a real one"
make_ext4_image "$T/image" 16M
id=$(fusectl mount ext4 "$T/image" "$T/mnt")
echo x >"$T/mnt/file"
exec 9<"$T/mnt/file"
kill -KILL "$(field "$id" server-pid)"
wait_for "the end of the mount" 10 gone
! cat <&9 2>/dev/null || fail "an open file of a dead mount could be read"
exec 9<&-
wait_for "the mount point to be free" 5 not_mounted "$T/mnt"
say "and again at the same place"
fusectl mount ext4 "$T/image" "$T/mnt" >/dev/null
fusectl umount "$T/mnt"
