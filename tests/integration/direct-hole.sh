#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# TIMEOUT: 120
# Many direct reads of a hole behind which is data that only the kernel's cache has. They wait until that is written back, which must not wait for them.
. "$TOP/tests/lib/lib.sh"
make_ext4_image "$T/image" 2G
mkdir "$T/mnt"
start_fused
attach_loop "$T/image"
read_hole() { # DEPTH
        timeout -k 5 60 "$BUILD/tests/integration/aio-reads" "$T/mnt/file$1" "$1" >"$T/again" && return 0
        fusectl abort "$T/mnt" # frees who waits
        fail "$1 at the same time"
}
fusectl mount ext4-map "$LOOP" "$T/mnt" >/dev/null
read_hole 32
assert_equal "$(cat "$T/again")" 0 "told to try again, of 32"
read_hole 200
say "of 200, $(cat "$T/again") were told to try again"
rm "$T/mnt"/file*
fusectl umount "$T/mnt"
fsck_clean "$T/image"
