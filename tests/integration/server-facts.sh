#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# What a server is, from /proc: its uid, no capability, no_new_privs, seccomp, namespaces of its own, an empty root, and
# exactly the descriptors it should have.
. "$TOP/tests/lib/lib.sh"
make_ext4_image "$T/image" 16M
mkdir "$T/tree" "$T/mnt" "$T/mnt2" "$T/mnt3"
mksquashfs "$T/tree" "$T/squash" -quiet -no-progress >/dev/null
start_fused
ext4=$(fusectl mount ext4 "$T/image" "$T/mnt")
mirror=$(fusectl mount mirror "$T/tree" "$T/mnt2")
squashfs=$(fusectl mount squashfs "$T/squash" "$T/mnt3")
status_of() { awk -v k="$2:" '$1 == k {print $2}' "/proc/$1/status"; }
check_process() { # PID UID
        local key name
        assert_equal "$(awk '/^Uid:/ {print $2, $3, $4, $5}' "/proc/$1/status")" "$2 $2 $2 $2" "uids"
        assert_equal "$(awk '/^Gid:/ {print $2, $3, $4, $5}' "/proc/$1/status")" "$2 $2 $2 $2" "gids"
        assert_equal "$(awk '/^Groups:/ {print NF}' "/proc/$1/status")" 1 "number of groups"
        for key in CapInh CapPrm CapEff CapBnd CapAmb; do assert_equal "$(status_of "$1" $key)" 0000000000000000 $key; done
        assert_equal "$(status_of "$1" NoNewPrivs)" 1 NoNewPrivs
        assert_equal "$(status_of "$1" Seccomp)" 2 Seccomp
        for name in user mnt pid net ipc uts cgroup; do
                [ "$(readlink "/proc/$1/ns/$name")" != "$(readlink "/proc/self/ns/$name")" ] || fail "process $1 is in the host's $name namespace"
        done
        assert_equal "$(cut -d' ' -f7 "/proc/$1/stat")" 0 "controlling terminal"
        assert_equal "$(awk '$1 == "Max" && $2 == "core" {print $5}' "/proc/$1/limits")" 0 "core limit"
        assert_equal "$(find "/proc/$1/root/" -maxdepth 1 -mindepth 1 -printf '%f\n' | grep -vxF "$(cut -d/ -f2 <<<"$STAGE")" | grep -cE '^(home|tmp|var|root|proc|sys|run|boot)$')" 0 "host folders in its root but for that of its program"
        [ "$(wc -l <"/proc/$1/net/dev")" -le 3 ] || fail "it has network devices: $(cat "/proc/$1/net/dev")"
        tr '\0' '\n' <"/proc/$1/environ" >"$T/environ"
        if grep -vE '^(PATH|LANG|LISTEN_FDS|LISTEN_PID|LISTEN_FDNAMES|LC_ALL|TZ)=' "$T/environ"; then fail "its environment has more than it should"; fi
}
fds_of() { local fd; for fd in "/proc/$1/fd"/*; do echo "$(basename "$fd") $(readlink "$fd" | sed -E 's/:\[[0-9]+\]/:/')"; done | sort -n; }

for id in "$ext4" "$mirror" "$squashfs"; do
        pid=$(field "$id" server-pid) uid=$(field "$id" server-uid)
        say "mount $id, process $pid: $(tr '\0' ' ' <"/proc/$pid/cmdline")"
        [ "$uid" -ge 1879048192 ] && [ "$uid" -le 1879113727 ] || fail "its uid $uid is not of the range"
        check_process "$pid" "$uid"
        for child in $(cat "/proc/$pid/task/$pid/children"); do
                say "its child $child: $(tr '\0' ' ' <"/proc/$child/cmdline")"
                check_process "$child" "$uid"
                fds_of "$child"
                ! fds_of "$child" | grep -E 'socket:|memfd|mnt:|net:' || fail "it has descriptors that it should not have"
        done
        cgroup=$(field "$id" cgroup)
        if [ -n "$cgroup" ]; then echo "cgroup $cgroup"; fi
done
say "descriptors of the mirror: null, its stderr twice, its socket, the device, the tree, and little else"
fds_of "$(field "$mirror" server-pid)"
fds_of "$(field "$mirror" server-pid)" | awk '$1 == 0 && $2 != "/dev/null" {exit 1} $1 <= 2 && $1 > 0 && $2 !~ /^pipe:/ {exit 1}' || fail "stdin, stdout, stderr"
! fds_of "$(field "$mirror" server-pid)" | grep -E '/etc|/proc|/sys|mnt:|/dev/(sd|vd|loop)' || fail "it has descriptors that it should not have"
say "its root is read-only"
! touch "/proc/$(field "$mirror" server-pid)/root/x" 2>/dev/null || fail "the root of the sandbox can be written"
for id in "$ext4" "$mirror" "$squashfs"; do fusectl umount "$id"; done
