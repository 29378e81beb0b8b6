#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# On a shared mount, as every mount is under systemd: the mount shows up for the peers, and goes for them too.
. "$TOP/tests/lib/lib.sh"
mkdir "$T/base" "$T/peer"
make_squashfs_image "$T/squash"
native_mount -t tmpfs none "$T/base"
mount --make-shared "$T/base"
native_mount --bind "$T/base" "$T/peer"
mkdir "$T/base/mnt"
start_fused
id=$(fusectl mount squashfs "$T/squash" "$T/base/mnt")
assert_equal "$(cat "$T/base/mnt/file")" text
assert_equal "$(cat "$T/peer/mnt/file")" text "through the peer"
fusectl umount "$id"
not_mounted "$T/base/mnt" || fail "still mounted"
not_mounted "$T/peer/mnt" || fail "still mounted at the peer"
umount "$T/peer" "$T/base"
