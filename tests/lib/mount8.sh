# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# mount(8) with our helper and an fstab of the test's own, seen in the test's mount namespace alone. Source after lib.sh.

# use_mount_helper: /sbin/mount.fused is ours.
use_mount_helper() {
        mkdir -p "$T/sbin"
        install -m 755 "$STAGE/sbin/mount.fused" "$T/sbin/mount.fused"
        mount -t overlay sbin -o "lowerdir=$T/sbin:/usr/sbin" /usr/sbin
        at_end 'umount -l /usr/sbin'
        [ -x /sbin/mount.fused ] || fail "/sbin is not /usr/sbin here"
        HELPER_OPTION=fused.runtime-directory=$T/run
}
# use_fstab LINE...
use_fstab() {
        local new=
        [ -e "$T/fstab" ] || new=1
        printf '%s\n' "$@" >"$T/fstab"
        chmod 644 "$T/fstab"
        [ -z "$new" ] || { mount --bind "$T/fstab" /etc/fstab; at_end 'umount -l /etc/fstab'; }
}
# A user as it is after a login: set-user-ID programs work for it, other than with as_user.
as_login() { local uid=$1; shift; setpriv --reuid "$uid" --regid "$uid" --clear-groups -- "$@"; }
# mount(8) asks for the name of a user.
use_passwd() {
        cp /etc/passwd "$T/passwd"
        printf 'fused-test-%s:x:%s:%s::/:/bin/sh\n' $ALICE $ALICE $ALICE $BOB $BOB $BOB >>"$T/passwd"
        mount --bind "$T/passwd" /etc/passwd
        at_end 'umount -l /etc/passwd'
}
