#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# TIMEOUT: 400
# Each privileged call of a mount fails once, at each place where it is made (strace injects the error into the broker, its
# worker and the server's first steps): the mount is refused or copes, and nothing is left.
. "$TOP/tests/lib/lib.sh"
mkdir "$T/tree" "$T/mnt"
echo text >"$T/tree/file"
make_ext4_image "$T/image" 8M
attach_loop "$T/image"
chown $ALICE:$ALICE "$T/tree"
start_fused
# what is kept per type is there before it is counted
fusectl mount mirror "$T/tree" "$T/mnt" >/dev/null; fusectl umount "$T/mnt"
fusectl mount ext4 "$LOOP" "$T/mnt" >/dev/null; fusectl umount "$T/mnt"

CALLS="fsopen fsconfig fsmount move_mount open_tree mount_setattr setns unshare clone3 clone pidfd_open socketpair pipe2 memfd_create
        ioctl flock fcntl mkdirat openat sendmsg statx fstat prctl setresuid setresgid setgroups seccomp landlock_create_ruleset"
injected=0 refused=0 coped=0
inject() { # CALL N TYPE SOURCE: 1 when the call was not made that often
        local call=$1 n=$2 status=0 tracer end
        local manager
        manager=$(manager_pid)
        # a fuse2fs that is killed in the middle of a write leaves what a power failure would
        [ "$3" != ext4 ] || mkfs.ext4 -q -F "$4"
        : >"$T/strace"
        strace -qq -f -p "$FUSED_PID" -e trace="$call" -e signal=none -e inject="$call:error=ENOMEM:when=$n" -o "$T/strace" 2>"$T/strace.err" &
        tracer=$!
        traced() { [ "$(awk '/^TracerPid:/ {print $2}' "/proc/$FUSED_PID/status")" != 0 ]; }
        wait_for "strace" 5 traced
        OUT=$(timeout -k 5 40 "$STAGE/bin/fusectl" --runtime-directory "$T/run" mount "$3" "$4" "$T/mnt" 2>&1) || status=$?
        if [ $status -eq 0 ]; then
                coped=$((coped + 1))
        fi
        kill -INT $tracer; wait $tracer 2>/dev/null || true
        if [ $status -eq 0 ]; then fusectl umount "$T/mnt" || fusectl umount --lazy "$T/mnt"; fi
        # A message to the manager that could not be sent ends the manager; what was live then stays, and is listed by the next.
        if [ "$(manager_pid || true)" != "$manager" ]; then
                wait_for "another manager" 10 control_answers
                for left in $(fusectl --json list | json "' '.join(str(m['id']) for m in d if m['state'] == 'live')"); do fusectl umount "$left"; done
        fi
        end=0
        grep -q INJECTED "$T/strace" || end=1
        if [ $end -eq 0 ]; then
                injected=$((injected + 1))
                [ $status -eq 0 ] || refused=$((refused + 1))
                printf '%-24s %2d %-7s %d %s\n' "$call" "$n" "$3" $status "$(tr '\n' ' ' <<<"$OUT" | cut -c -160)"
                [ $status -le 1 ] || [ $status -eq 3 ] || fail "$call $n: exit status $status"
        fi
        assert_nothing_held
        wait_for "the end of the mount" 10 not_mounted "$T/mnt"
        return $end
}
for call in $CALLS; do
        for pair in "mirror $T/tree" "ext4 $LOOP"; do
                for n in 1 2 3 4 5 6 7 8; do
                        # shellcheck disable=SC2086
                        inject "$call" $n $pair || break
                done
        done
done
echo "$injected faults: $refused refused, $coped coped with (or not reached)"
[ $injected -ge 40 ] && [ $refused -ge 20 ] || fail "too few faults were injected"
say "and everything works as before"
mkfs.ext4 -q -F "$LOOP"
fusectl mount ext4 "$LOOP" "$T/mnt" >/dev/null; fusectl umount "$T/mnt"
fsck_clean "$LOOP"
