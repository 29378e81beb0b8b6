# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The same file system twice: at $T/map by ext4-map, at $T/native by the kernel's ext4. Sourced after lib.sh.

mkdir "$T/map" "$T/native"
chmod 755 "$T"

# make_twins SIZE MKE2FS-OPTIONS...: $T/map.img and $T/native.img
make_twins() {
        local side
        for side in map native; do
                rm -f "$T/$side.img"
                truncate -s "$1" "$T/$side.img"
                mke2fs -q -F -t ext4 -E root_owner=0:0 "${@:2}" "$T/$side.img" >/dev/null 2>&1 || fail "mke2fs ${*:2}"
        done
}
# on_both_images COMMAND...: with the kernel's mount of each image in turn at $T/native as its last word
on_both_images() {
        local side
        for side in map native; do
                attach_loop "$T/$side.img"
                mount -t ext4 "$LOOP" "$T/native"
                "$@" "$T/native"
                umount "$T/native"
                detach_loop "$LOOP"
        done
}
mount_twins() {
        attach_loop "$T/native.img"
        NATIVE_LOOP=$LOOP
        mount -t ext4 -o acl,user_xattr,noatime "$LOOP" "$T/native" # ext4-map keeps no access times
        attach_loop "$T/map.img"
        MAP_LOOP=$LOOP
        fusectl mount ext4-map "$LOOP" "$T/map" -o allow_other,suid,dev >/dev/null
        chmod 777 "$T/map" "$T/native"
}
umount_twins() {
        fusectl umount "$T/map"
        umount "$T/native"
        detach_loop "$MAP_LOOP"
        detach_loop "$NATIVE_LOOP"
        fsck_clean "$T/map.img"
        fsck_clean "$T/native.img"
}
forget_caches() { sync; echo 3 >/proc/sys/vm/drop_caches; }
# same_on_twins COMMAND...: with either directory as its last word; what it prints has to be the same, and not nothing.
same_on_twins() {
        "$@" "$T/map" >"$T/said-map" 2>&1 || fail "on ext4-map: $(cat "$T/said-map")"
        "$@" "$T/native" >"$T/said-native" 2>&1 || fail "on ext4: $(cat "$T/said-native")"
        [ -s "$T/said-native" ] || fail "nothing was said"
        diff "$T/said-map" "$T/said-native" || fail "ext4-map (<) and ext4 (>) differ"
}
