#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The journal has what happened as fields, under message ids that the catalogue explains.
. "$TOP/tests/rigs/lib.sh"
journalctl --update-catalog
systemctl start fused.socket
systemctl restart fused.service # what it logs for a user is limited, and other cases have used that up
make_squashfs "$T/image"
chmod 644 "$T/image"
mkdir "$T/mnt"
id=$(fusectl mount squashfs "$T/image" "$T/mnt")
if as_user $ALICE fusectl mount squashfs "$T/image" "$T/mnt" 2>/dev/null; then fail "alice may not"; fi
kill -KILL "$(field "$id" server-pid)"
not_mounted() { ! mountpoint -q "$T/mnt"; }
wait_for "the end of the mount" 5 not_mounted
second=$(fusectl mount squashfs "$T/image" "$T/mnt")
fusectl umount "$second"
sleep 0.2
has() { # MESSAGE-NAME FIELD=VALUE
        local number
        number=$(sed -n "s/^#define $1 \"\(.*\)\"/\1/p" "$TOP/fused/base/message-id.h")
        there() { journalctl -b --no-pager -o json "MESSAGE_ID=$number" "$1" 2>/dev/null | grep -q .; }
        wait_for "an entry $1 with $2" 5 there "$2"
        journalctl --catalog -b --no-pager -n 1 "MESSAGE_ID=$number" | grep -q 'Defined-By: fused' || fail "$1 is not explained"
}
has MESSAGE_MOUNTED "MOUNT=$id"
has MESSAGE_REFUSED "USER=$ALICE"
has MESSAGE_SERVER_ENDED "MOUNT=$id"
has MESSAGE_ENDED "MOUNT=$second"
has MESSAGE_READY "_SYSTEMD_UNIT=fused.service"
systemctl restart fused.service
# each id of the header is in the catalogue, and no other
assert_equal "$(sed -n 's/^#define MESSAGE_.* "\(.*\)"/\1/p' "$TOP/fused/base/message-id.h" | sort)" \
        "$(sed -n 's/^-- \([0-9a-f]*\)$/\1/p' "$TOP/units/fused.catalog" | sort)" "ids"
