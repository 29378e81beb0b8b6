#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# TIMEOUT: 120
# A user's own service manager: units with NoNewPrivileges= and a sandbox mount through fused, and only what their user may.
. "$TOP/tests/rigs/lib.sh"
systemctl start fused.socket
id fused-rig-user >/dev/null 2>&1 || useradd --uid 21007 --create-home --home-dir /home/fused-rig-user fused-rig-user
home=/home/fused-rig-user
make_squashfs "$T/image"
install -m 644 "$T/image" "$home/image"
install -d -o fused-rig-user -g fused-rig-user "$home/mnt" "$home/.config/systemd/user"
cat >"$home/.config/systemd/user/job.service" <<END
[Service]
Type=oneshot
RemainAfterExit=yes
NoNewPrivileges=yes
LockPersonality=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@mount
ExecStart=$STAGE/bin/fusectl mount squashfs $home/image $home/mnt
ExecStop=$STAGE/bin/fusectl umount $home/mnt
END
chown -R fused-rig-user: "$home"
systemctl start user@21007.service
own() { setpriv --reuid 21007 --regid 21007 --clear-groups env XDG_RUNTIME_DIR=/run/user/21007 "$@"; }

say "a unit with NoNewPrivileges and no mount calls mounts, and unmounts when it stops"
wait_for "the user's manager" 20 test -S /run/user/21007/systemd/private
own systemctl --user daemon-reload
own systemctl --user start job.service
assert_equal "$(own cat "$home/mnt/file")" text
assert_equal "$(own systemctl --user show -P NoNewPrivileges job.service)" yes
assert_equal "$(field "$home/mnt" uid)" 21007
own systemctl --user stop job.service
! mountpoint -q "$home/mnt" || fail "still mounted"

say "what policy refuses stays refused"
if own systemd-run --user --wait --quiet -p NoNewPrivileges=yes "$STAGE/bin/fusectl" mount squashfs "$home/image" /mnt; then
        fail "a user has mounted on /mnt"
fi
! mountpoint -q /mnt || fail "mounted on /mnt"
systemctl stop user@21007.service
wait_for "the end of the units" 10 no_units_of squashfs
