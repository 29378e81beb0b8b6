#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# ./demo.sh [IMAGE MOUNTPOINT]: mounts an ext4 image (yours, or one that it makes) through Debian's unmodified fuse2fs, running
# with no privilege at all, and shows what that server is. Installs what it needs with apt, builds in build-demo, runs fused in
# a private directory, and leaves nothing behind but the packages and build-demo. Needs root.
set -eu -o pipefail
cd "$(dirname "$0")"
[ $# -eq 0 ] || [ $# -eq 2 ] || { echo "usage: $0 [IMAGE MOUNTPOINT]" >&2; exit 2; }
[ "$(id -u)" = 0 ] || { echo "$0: needs root, for the supervisor; the file server will have nothing" >&2; exit 1; }
if [ $# -eq 2 ]; then
        [ -f "$1" ] || { echo "$0: $1 is no file" >&2; exit 2; }
        [ -d "$2" ] || { echo "$0: $2 is no directory" >&2; exit 2; }
fi
IMAGE=${1:+$(realpath "$1")} POINT=${2:+$(realpath "$2")}
# shellcheck source=tests/lib/packages.sh
. tests/lib/packages.sh

BUILD=$(build_place "$PWD")/build-demo
STAGE=$BUILD/stage
D="" FUSED_PID="" ID="" NAME=""
step() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
show() { printf '\033[2m$ %s\033[0m\n' "$*"; "$@"; }

finish() {
        local status=$?
        trap - EXIT
        trap '' INT TERM HUP # what is below is bounded, and must not be cut short
        set +e
        if [ -n "$FUSED_PID" ]; then
                [ -z "$ID" ] || [ -z "$NAME" ] || timeout 5 rm -f "$NAME"
                [ -z "$ID" ] || fusectl umount "$ID" --lazy >/dev/null 2>&1
                kill -TERM "$FUSED_PID" 2>/dev/null
                for _ in $(seq 300); do
                        kill -0 "$FUSED_PID" 2>/dev/null || break
                        sleep 0.1
                done
                kill -KILL "$FUSED_PID" 2>/dev/null
                wait "$FUSED_PID" 2>/dev/null
        fi
        if [ -n "$D" ]; then
                if [ $status -ne 0 ] && [ -f "$D/log" ]; then echo "-- log of fused"; tail -n 20 "$D/log"; fi
                rm -rf --one-file-system "$D"
        fi
        exit $status
}
trap finish EXIT
trap 'echo; echo interrupted; exit 130' INT
trap 'exit 143' TERM HUP

step "packages and build"
install_packages "${PACKAGES_BUILD[@]}" "${PACKAGES_RUN[@]}"
[ -f "$BUILD/build.ninja" ] || meson setup "$BUILD" --prefix "$STAGE" >"$BUILD.log" 2>&1 || { tail -n 30 "$BUILD.log"; exit 1; }
rm -f "$BUILD.log"
ninja -C "$BUILD" --quiet
meson install -C "$BUILD" --no-rebuild --quiet >/dev/null

D=$(mktemp -d /tmp/fused-demo.XXXXXX)
chmod 755 "$D"
fusectl() { "$STAGE/bin/fusectl" --runtime-directory "$D/run" "$@"; }
if [ -z "$IMAGE" ]; then
        step "an ext4 image with the project's own sources in it"
        mkdir "$D/content" "$D/mnt"
        cp -r README.md fused policy server client man "$D/content/"
        truncate -s 64M "$D/image"
        mkfs.ext4 -q -d "$D/content" "$D/image"
        rm -r "$D/content"
        IMAGE=$D/image POINT=$D/mnt
fi

step "the supervisor, in a private directory"
"$STAGE/sbin/fused" --runtime-directory "$D/run" --policy "$STAGE/lib/fused" --launcher embedded >"$D/log" 2>&1 &
FUSED_PID=$!
for _ in $(seq 200); do
        ! fusectl types >/dev/null 2>&1 || break
        kill -0 "$FUSED_PID" || exit 1
        sleep 0.05
done
show fusectl types

step "mount"
echo "\$ fusectl mount ext4 $IMAGE $POINT"
ID=$(fusectl mount ext4 "$IMAGE" "$POINT")
echo "mount $ID"
show fusectl list
show fusectl status "$ID"
show ls "$POINT"

step "the server, as /proc has it"
json() { /usr/bin/python3 -c "import json, sys; print(json.load(sys.stdin)['$1'])"; }
AGENT=$(fusectl --json status "$ID" | json server-pid)
SERVER=$(cut -d' ' -f1 "/proc/$AGENT/task/$AGENT/children")
SERVER=${SERVER:-$AGENT}
tr '\0' ' ' <"/proc/$SERVER/cmdline"; echo
grep -E '^(Uid|Gid|Groups|CapInh|CapPrm|CapEff|CapBnd|CapAmb|NoNewPrivs|Seccomp):' "/proc/$SERVER/status"
for name in user mnt pid net ipc uts cgroup; do
        printf '%-7s %-22s (yours: %s)\n' "$name" "$(readlink "/proc/$SERVER/ns/$name")" "$(readlink "/proc/self/ns/$name")"
done
echo "its root directory: $(find "/proc/$SERVER/root/" -mindepth 1 -maxdepth 1 -printf '%f ')"
echo "its descriptors:"
for fd in "/proc/$SERVER/fd"/*; do printf '  %s -> %s\n' "$(basename "$fd")" "$(readlink "$fd")"; done

step "write, and read back"
NAME="$POINT/fused-demo-$$"
head -c 3000000 /dev/urandom >"$D/data"
cp "$D/data" "$NAME"
cmp "$D/data" "$NAME" && echo "3000000 bytes written and read back, the same"
rm "$NAME"
NAME=""

step "unmount, and check the file system"
show fusectl umount "$POINT"
ID=""
show fusectl list
show e2fsck -fn "$IMAGE"
echo
echo "done in $SECONDS s; nothing is left but packages and build-demo"
