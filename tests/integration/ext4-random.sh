#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# TIMEOUT: 240
# ext4-map: the same random operations as on the kernel's ext4 have the same results; in the end both have the same tree, also for the kernel that
# mounts what ext4-map has written. STEPS=15000 SEED=7 tests/run ext4-random takes the time that there is.
. "$TOP/tests/lib/lib.sh"
. "$TOP/tests/lib/ext4-twins.sh"
start_fused

shape() { # MKE2FS-OPTIONS...
        say "$*"
        make_twins 128M "$@"
        mount_twins
        python3 "$TOP/tests/lib/ext4-random.py" "${SEED:-$RANDOM}" "${STEPS:-300}" "$T/map" "$T/native" || fail "they differ"
        forget_caches
        python3 "$TOP/tests/lib/ext4-random.py" compare "$T/map" "$T/native" || fail "they differ when read anew"
        umount_twins
        attach_loop "$T/map.img"
        MAP_LOOP=$LOOP
        attach_loop "$T/native.img"
        NATIVE_LOOP=$LOOP
        mount -t ext4 -o ro "$MAP_LOOP" "$T/map"
        mount -t ext4 -o ro "$NATIVE_LOOP" "$T/native"
        python3 "$TOP/tests/lib/ext4-random.py" compare "$T/map" "$T/native" || fail "the kernel sees something else in it"
        umount "$T/map" "$T/native"
        detach_loop "$MAP_LOOP"
        detach_loop "$NATIVE_LOOP"
}
shape -b 4096
shape -b 1024 -O ^metadata_csum
shape -b 1024 -I 128 -O ^extents,^64bit,^has_journal
