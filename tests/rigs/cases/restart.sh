#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# fused is stopped, started, restarted, killed, hangs: mounts stay, with their servers, and are known afterwards.
. "$TOP/tests/rigs/lib.sh"
systemctl start fused.socket
make_squashfs "$T/image"
make_ext4 "$T/ext4"
mkdir "$T/mnt" "$T/mnt2"
first=$(fusectl mount squashfs "$T/image" "$T/mnt")
second=$(fusectl mount ext4 "$T/ext4" "$T/mnt2")
exec 7>"$T/mnt2/open"
pids="$(field "$first" server-pid) $(field "$second" server-pid)"
check() { # HOW
        assert_equal "$(cat "$T/mnt/file")" text "$1"
        echo "$1" >&7
        assert_equal "$(fusectl --json list | json "sorted((m['id'], m['state']) for m in d)")" "[($first, 'live'), ($second, 'live')]" "$1"
        assert_equal "$(field "$first" server-pid) $(field "$second" server-pid)" "$pids" "$1"
}
say stopped
systemctl stop fused.service fused.socket
assert_equal "$(cat "$T/mnt/file")" text "while nobody supervises"
echo "while nobody supervises" >&7
systemctl start fused.socket
check "stop and start"
say restarted
systemctl restart fused.service
check "restart"
journalctl -b --no-pager -u fused.service | grep -q 'taken over from an earlier supervisor' || fail "nothing was taken over"
say "killed"
kill -KILL "$(main_pid fused.service)"
wait_for "the restart" 10 fusectl list
check "kill"
say "hanging: the watchdog"
systemctl show -P WatchdogUSec fused.service | grep -qx 1min
mkdir -p /run/systemd/system/fused.service.d
printf '[Service]\nWatchdogSec=1s\n' >/run/systemd/system/fused.service.d/watchdog.conf
systemctl daemon-reload
systemctl restart fused.service
check "restart with a shorter watchdog"
hanging=$(main_pid fused.service)
kill -STOP "$hanging"
another() { [ "$(main_pid fused.service)" != "$hanging" ] && [ "$(systemctl is-active fused.service)" = active ]; }
wait_for "another supervisor" 15 another
check "the one that hung was replaced"
rm -r /run/systemd/system/fused.service.d
systemctl daemon-reload
systemctl restart fused.service
say "reload"
old=$(main_pid fused.service)
systemctl reload fused.service
check "reload"
assert_equal "$(main_pid fused.service)" "$old" "main pid"
say "and they can be taken down, busy ones not"
if fusectl umount "$second"; then fail "it was busy"; fi
exec 7>&-
fusectl umount "$second"
fusectl umount "$first"
e2fsck -fn "$T/ext4"
wait_for "the end of the units" 5 no_units_of squashfs
wait_for "the end of the units" 5 no_units_of ext4
assert_equal "$(find /run/fused/mounts -type f | wc -l)" 0 "files that are left"
say "stopped and started with mounts: they can be unmounted as well where the fd store was lost"
first=$(fusectl mount squashfs "$T/image" "$T/mnt")
systemctl stop fused.service
fusectl list
fusectl umount "$first"
! mountpoint -q "$T/mnt" || fail "it is still mounted"
wait_for "the end of the units" 5 no_units_of squashfs
