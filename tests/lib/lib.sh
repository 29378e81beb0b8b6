# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# What integration tests share. Sourced by each; tests/run sets T (own directory), TOP, BUILD and STAGE.
#
# The test fails at the first command that fails (set -e) and at the first assertion that does not hold; the exit trap
# stops fused and gives back loop devices and mounts, whatever happened.

set -eu -o pipefail
: "${T:?run it by tests/run}" "${BUILD:?}" "${STAGE:?}" "${TOP:?}"

ALICE=21001 # users of the tests: no passwd entry, no group but their own
BOB=21002
FUSED_PID=
LOOPS=()
MOUNTED=()
CLEANUPS=()

say() { printf '== %s\n' "$*"; }
fail() {
        printf 'FAILED at %s line %s: %s\n' "$(basename "${BASH_SOURCE[-1]}")" "${BASH_LINENO[-2]}" "$*" >&2
        exit 1
}
skip() { printf '%s\n' "$*"; exit 77; }

# --- the supervisor --------------------------------------------------------------------------------------------------

# Types of the tests beside the shipped ones. @PROGRAMS@ becomes the directory of the test's own programs.
# use_type FILE [KEY=VALUE...] NAME: takes tests/types/FILE.conf, replaces @KEY@, installs it as type NAME.
use_type() {
        local file=$1 name=${*: -1} sub=("-e" "s|@PROGRAMS@|$T/programs|g")
        shift
        while [ $# -gt 1 ]; do sub+=("-e" "s|@${1%%=*}@|${1#*=}|g"); shift; done
        mkdir -p "$T/policy/types"
        sed "${sub[@]}" "$TOP/tests/types/$file.conf" >"$T/policy/types/$name.conf"
}

# use_program NAME: puts a program of the build tree where types may name it (root's, writable by nobody else).
use_program() {
        local found
        found=$(find "$BUILD/tests" "$BUILD/server" -type f -perm -100 -name "$1" | head -n 1)
        [ -n "$found" ] || fail "the build has no program $1"
        install -D -m 755 "$found" "$T/programs/$1"
}

# The behaviours that a misbehaving server knows, one a line.
behaviours() { "$T/programs/$1" --list; }

# start_fused [OPTION...]: with the shipped policy and $T/policy over it; returns when the control socket answers.
start_fused() {
        mkdir -p "$T/policy/types"
        # A sandbox made ahead is a process and two descriptors that are no leak; spares.sh has them.
        mkdir -p "$T/policy/fused.conf.d"
        printf '[Supervisor]\nSpares=%s\n' "${SPARES:-0}" >"$T/policy/fused.conf.d/spares.conf"
        : >>"$T/fused.log"
        "$STAGE/sbin/fused" --runtime-directory "$T/run" --policy "$STAGE/lib/fused" --policy "$T/policy" \
                --launcher embedded --libexec-directory "$STAGE/libexec/fused" "$@" >>"$T/fused.log" 2>&1 &
        FUSED_PID=$!
        wait_for "the control socket" 10 control_answers
        mark_fds
}
control_answers() {
        kill -0 "$FUSED_PID" 2>/dev/null || fail "fused has ended: $(tail -n 20 "$T/fused.log")"
        [ -S "$T/run/control" ] && fusectl types >/dev/null 2>&1
}

# Stops it and checks that it took everything with it. Safe to call when it does not run. In the exit trap nothing may call
# exit, so this one reports and returns 1.
stop_fused() {
        local pid=$FUSED_PID status=0
        [ -n "$pid" ] || return 0
        FUSED_PID=
        kill -TERM "$pid" 2>/dev/null || { problem "fused had ended by itself"; return; }
        wait_for_quietly 50 process_gone "$pid" || { problem "fused does not end"; kill -KILL "$pid"; return 1; }
        wait "$pid" || status=$?
        [ $status -eq 0 ] || { problem "fused exited with status $status"; return; }
        [ ! -e "$T/run/control" ] || { problem "the control socket is still there"; return; }
        rmdir "$T/run" || { problem "the runtime directory is not empty"; return; }
        [ -z "$(find /sys/fs/cgroup -maxdepth 5 -name "fused-$pid" 2>/dev/null)" ] || { problem "a cgroup of fused-$pid is left"; return; }
}
problem() { printf 'FAILED: %s\n' "$*" >&2; return 1; }
process_gone() { ! kill -0 "$1" 2>/dev/null || [ "$(cut -d' ' -f3 "/proc/$1/stat" 2>/dev/null)" = Z ]; }

manager_pid() { # the child of the broker that is called fused-manager
        local p
        for p in $(cat "/proc/$FUSED_PID/task/"*"/children" 2>/dev/null); do
                [ "$(cat "/proc/$p/comm" 2>/dev/null)" = fused-manager ] && { echo "$p"; return 0; }
        done
        return 1
}

# Kinds of descriptors of a process, without what is cached per type (namespaces of sandbox roots).
fd_profile() {
        local fd
        for fd in "/proc/$1/fd"/*; do readlink "$fd" || true; done | sed -E 's/:\[[0-9]+\]$//; s/ \(deleted\)$//' | grep -v '^mnt$' | sort
}
mark_fds() {
        FDS_BROKER=$(fd_profile "$FUSED_PID")
        FDS_MANAGER=$(fd_profile "$(manager_pid)")
}
fds_as_marked() {
        [ "$(fd_profile "$FUSED_PID" | wc -l)" -eq "$(wc -l <<<"$FDS_BROKER")" ] &&
                [ "$(fd_profile "$(manager_pid)" | wc -l)" -eq "$(wc -l <<<"$FDS_MANAGER")" ]
}
# Nothing is mounted or pending, no server runs, broker and manager hold what they held after the start.
assert_nothing_held() {
        wait_for "the end of all servers" 15 no_servers
        [ "$(fusectl --json list | json 'len(d)')" = 0 ] || fail "still listed: $(fusectl list)"
        if ! wait_for_quietly 15 fds_as_marked; then
                diff <(echo "$FDS_BROKER") <(fd_profile "$FUSED_PID") >&2 || true
                diff <(echo "$FDS_MANAGER") <(fd_profile "$(manager_pid)") >&2 || true
                fail "descriptors of broker (first) or manager (second) have changed since the start"
        fi
        ! grep -q ' - fuse' <(grep -F " $T" /proc/self/mountinfo) || fail "a FUSE mount is left: $(grep ' - fuse' /proc/self/mountinfo)"
}
server_pids() { # processes below the broker that have a uid of the servers' range, the manager aside
        local p uid
        for p in $(descendants "$FUSED_PID"); do
                uid=$(stat -c %u "/proc/$p" 2>/dev/null) || continue
                [ "$uid" -ge 1879048192 ] && [ "$uid" -le 1879113727 ] || continue
                [ "$(cat "/proc/$p/comm" 2>/dev/null)" = fused-manager ] || echo "$p"
        done
}
descendants() {
        local p
        for p in $(cat "/proc/$1/task/"*"/children" 2>/dev/null); do echo "$p"; descendants "$p"; done
}
no_servers() { [ -z "$(server_pids)" ]; }

fusectl() { "$STAGE/bin/fusectl" --runtime-directory "$T/run" "$@"; }
as_user() { # as_user UID COMMAND...: no capability, no group but its own; 0 is root as it is
        local uid=$1
        shift
        if [ "$uid" = 0 ]; then "$@"; return; fi
        setpriv --reuid "$uid" --regid "$uid" --clear-groups --inh-caps=-all --bounding-set=-all --reset-env -- "$@"
}
fusectl_as() { local uid=$1; shift; as_user "$uid" "$STAGE/bin/fusectl" --runtime-directory "$T/run" "$@"; }
mount_status() { fusectl --json status "$1"; } # ID|MOUNTPOINT
field() { fusectl --json status "$1" | json "d['$2']"; } # ID|MOUNTPOINT KEY
json() { /usr/bin/python3 -c 'import json,sys
d = json.load(sys.stdin)
print(eval(sys.argv[1]))' "$1"; }

# --- waiting and asserting -------------------------------------------------------------------------------------------

wait_for_quietly() { # SECONDS COMMAND...
        local end=$((SECONDS + $1))
        shift
        until "$@"; do
                [ $SECONDS -lt $end ] || return 1
                sleep 0.02
        done
}
wait_for() { # WHAT SECONDS COMMAND...
        local what=$1
        shift
        wait_for_quietly "$@" || fail "waited $1 s for $what"
}
expect_status() { # STATUS COMMAND...: its output is left in $OUT
        local want=$1 got=0
        shift
        OUT=$(timeout -k 5 60 "$@" 2>&1) || got=$?
        [ $got -eq "$want" ] || fail "status $got instead of $want: $* -> $OUT"
}
# fusectl is a function; timeout(1) needs a program.
expect_fusectl() { local s=$1; shift; expect_status "$s" "$STAGE/bin/fusectl" --runtime-directory "$T/run" "$@"; }
expect_fusectl_as() { local s=$1 uid=$2; shift 2
        expect_status "$s" setpriv --reuid "$uid" --regid "$uid" --clear-groups --inh-caps=-all --bounding-set=-all --reset-env -- \
                "$STAGE/bin/fusectl" --runtime-directory "$T/run" "$@"; }
out_has() { grep -qiE -- "$1" <<<"$OUT" || fail "no match for '$1' in: $OUT"; }
log_has() { grep -qE -- "$1" "$T/fused.log"; }
assert_log() { wait_for "'$1' in the log of fused" 5 log_has "$1"; }
assert_equal() { [ "$1" = "$2" ] || fail "${3:-values}: '$1' is not '$2'"; }
assert_files_same() { diff -r "$1" "$2" || fail "$1 and $2 differ"; }

# --- images, devices, mounts -----------------------------------------------------------------------------------------

# fill_tree DIR [FILES]: files of mixed sizes (0 bytes to about 1 MiB), directories, links, odd names; always the same.
fill_tree() { /usr/bin/python3 "$TOP/tests/lib/fill-tree.py" "$1" "${2:-300}"; }

make_ext4_image() { # FILE [SIZE] [TREE]
        truncate -s "${2:-64M}" "$1"
        mkfs.ext4 -q -F -b 4096 ${3:+-d "$3"} "$1"
}
# A SquashFS image that everybody may read, of a tree with "text" in "file".
make_squashfs_image() { # FILE
        mkdir -p "$T/squash-tree"
        echo text >"$T/squash-tree/file"
        mksquashfs "$T/squash-tree" "$1" -quiet -no-progress -all-root >/dev/null
        chmod 644 "$1"
}
fsck_clean() { e2fsck -fn "$1" >"$T/fsck.log" 2>&1 || fail "e2fsck: $(cat "$T/fsck.log")"; }

attach_loop() { # FILE [losetup options]: leaves the device in $LOOP
        LOOP=$(losetup --find --show "${@:2}" "$1")
        LOOPS+=("$LOOP")
}
detach_loop() { # from now on it may be somebody else's
        local loop rest=() file
        file=$(losetup -nO BACK-FILE "$1")
        losetup -d "$1"
        wait_for "the end of $1" 5 loop_gone "$1" "$file"
        for loop in "${LOOPS[@]}"; do [ "$loop" = "$1" ] || rest+=("$loop"); done
        LOOPS=("${rest[@]}")
}
loop_gone() { [ "$(losetup -nO BACK-FILE "$1" 2>/dev/null)" != "$2" ]; }

native_mount() { # ARGUMENTS of mount(8) ... DIRECTORY: taken down at the end
        mount "$@"
        MOUNTED+=("${*: -1}")
}
checksums() { (cd "$1" && find . -type f -print0 | sort -z | xargs -0 -r sha256sum); }
listing() { (cd "$1" && find . -mindepth 1 ! -path './lost+found*' \( -type d -printf '%P %y %m %l %T@\n' -o -printf '%P %y %m %s %l %T@\n' \) | sort); }
at_end() { CLEANUPS+=("$*"); }

is_mounted() { awk -v p="$1" '$5 == p {found = 1} END {exit !found}' /proc/self/mountinfo; }
not_mounted() { ! is_mounted "$1"; }

finish() {
        local status=$? command point loop
        trap - EXIT
        set +e
        for command in "${CLEANUPS[@]}"; do eval "$command"; done
        if [ $status -eq 0 ] && [ -n "$FUSED_PID" ]; then
                (set -e; assert_nothing_held) || status=1
        fi
        stop_fused || { [ $status -ne 0 ] || status=1; }
        if [ $status -ne 0 ] && [ $status -ne 77 ]; then
                [ -z "$FUSED_PID" ] || kill -KILL "$FUSED_PID" 2>/dev/null
                echo "-- log of fused"; tail -n 30 "$T/fused.log" 2>/dev/null | cut -c -320
        fi
        grep -E 'ERROR: AddressSanitizer|runtime error:|LeakSanitizer' "$T/fused.log" 2>/dev/null && status=1
        for point in "${MOUNTED[@]}"; do is_mounted "$point" && umount -l "$point"; done
        awk -v d="$T/" 'index($5, d) == 1 {print $5}' /proc/self/mountinfo | sort -r | while read -r point; do
                [ $status -eq 0 ] || umount -l "$point"
        done
        for loop in "${LOOPS[@]}"; do losetup "$loop" >/dev/null 2>&1 && losetup -d "$loop"; done
        [ $status -eq 0 ] || rm -rf "$T/run"
        exit $status
}
trap finish EXIT
trap 'exit 143' TERM INT
