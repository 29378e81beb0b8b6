#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# TIMEOUT: 170
# Rootless containers that have neither /dev/fuse nor any capability of the host's, only the control socket: podman and crun.
. "$TOP/tests/lib/lib.sh"
. "$TOP/tests/lib/rootless.sh"
make_container_root squashfuse_ll
make_squashfs_image "$CONTAINER_ROOT/src/squash"
make_ext4_image "$CONTAINER_ROOT/src/ext4" 16M
chown -R $ALICE:$ALICE "$CONTAINER_ROOT/src"
mkdir "$T/mnt"
start_engine_place
start_fused
ids() { fusectl --json list | json "' '.join(str(m['id']) for m in d)"; }
gone() { [ -z "$(ids)" ]; }
on_host() { grep -F " - fuse" /proc/self/mountinfo "/proc/$ENGINE_PLACE/mountinfo" | grep -F "$T"; }
bob=$(install -d -o $BOB -g $BOB "$T/bob"; fusectl_as $BOB mount squashfs "$CONTAINER_ROOT/src/squash" "$T/bob")
others_only() { [ "$(ids)" = "$bob" ]; }

say "podman: there is no device, and no capability that counts"
OUT=$(podman_run -- sh -c 'ls /dev/fuse; id -u; mknod /tmp/fuse c 10 229; mount -t tmpfs none /tmp' 2>&1 || true)
out_has "cannot access '/dev/fuse'"; out_has '^0$'; out_has 'mknod: .*not permitted'; out_has 'mount: .*(permission denied|superuser)'

say "podman: an image, attached in the container's own mount namespace"
# shellcheck disable=SC2016
OUT=$(podman_run -- sh -euc 'fusectl mount squashfs /src/squash /mnt; cat /mnt/file; grep " /mnt .* - fuse.squashfs" /proc/self/mountinfo; fusectl list; fusectl umount /mnt; ls /mnt; echo end')
out_has '^text$'; out_has ' /mnt .*nosuid.* - fuse.squashfs'; out_has '^end$'
! grep -q "/bob" <<<"$OUT" || fail "it sees the mounts of others: $OUT"

say "podman: detached, for one command"
OUT=$(podman_run -- fusectl mount squashfs /src/squash --detached -- cat /proc/self/fd/3/file)
assert_equal "$(tail -n 1 <<<"$OUT" | tr -d '\r')" text
wait_for "the end of the mount" 10 others_only

say "podman: an image that is written"
podman_run -- sh -euc 'fusectl mount ext4 /src/ext4 /mnt; echo new >/mnt/new; cat /mnt/new; fusectl umount /mnt' | grep -qx new
fsck_clean "$CONTAINER_ROOT/src/ext4"
assert_equal "$(debugfs -R 'cat /new' "$CONTAINER_ROOT/src/ext4" 2>/dev/null)" new

say "podman: a tree, with the container's root as owner of what it makes"
podman_run -- sh -euc 'fusectl mount mirror /src /mnt; cat /mnt/file; echo made >/mnt/made; stat -c %u /mnt/made; fusectl umount /mnt' | tail -n 2 | tr '\n' ' ' >"$T/out"
assert_equal "$(cat "$T/out")" "content 0 "
assert_equal "$(stat -c %u "$CONTAINER_ROOT/src/made")" $ALICE

say "podman: in a tree, files of the container's other users are nobody's, and not to be changed"
for mode in 644 666; do
        echo "$mode" >"$CONTAINER_ROOT/src/theirs-$mode"
        chown $((SUBORDINATE + 999)):$((SUBORDINATE + 999)) "$CONTAINER_ROOT/src/theirs-$mode"
        chmod $mode "$CONTAINER_ROOT/src/theirs-$mode"
done
# shellcheck disable=SC2016
OUT=$(podman_run -- sh -uc 'fusectl mount mirror /src /mnt; stat -c "owner %u" /src/theirs-666; stat -c "mirrored %u" /mnt/theirs-666; cat /mnt/theirs-*
        for mode in 644 666; do echo x 2>&1 >>/mnt/theirs-$mode || echo "not written $mode"; done
        echo more >>/mnt/file && echo "written"; fusectl umount /mnt' 2>&1) || fail "$OUT"
out_has '^owner 1000$'; out_has '^mirrored 65534$'; out_has '^644$'; out_has '^not written 644$'; out_has '^not written 666$'; out_has '^written$'
assert_equal "$(cat "$CONTAINER_ROOT/src/theirs-666")" 666
assert_equal "$(tail -n 1 "$CONTAINER_ROOT/src/file")" more

say "podman: another user of the container, whose ids are mapped"
install -d -o $((SUBORDINATE + 999)) -g $((SUBORDINATE + 999)) "$CONTAINER_ROOT/mnt/other"
OUT=$(podman_run --user 1000:1000 -- sh -euc 'fusectl mount squashfs /src/squash /mnt/other; cat /mnt/other/file; stat -c "%u %a" /mnt/other; fusectl umount /mnt/other')
out_has '^text$'
say "and one whose ids are not"
for map in "" r; do
        status=0
        OUT=$(as_user $ALICE unshare "-Um$map" "$STAGE/bin/fusectl" --runtime-directory "$T/run" mount squashfs "$CONTAINER_ROOT/src/squash" "$CONTAINER_ROOT/mnt" 2>&1) || status=$?
        if [ -n "$map" ]; then assert_equal "$status" 0 "mapped: $OUT"; else assert_equal "$status" 3 "not mapped: $OUT"; out_has '\[namespace\]'; fi
done
wait_for "the end of the mount" 10 others_only

say "the container's root is nobody special: devices, options, other users' mounts and places"
attach_loop "$CONTAINER_ROOT/src/ext4"
chmod 666 "$LOOP"
refused() { # WORD ARGUMENTS of fusectl mount: status 3
        local word=$1
        shift
        OUT=$(podman_run "${RUN_OPTIONS[@]}" -- sh -c "fusectl mount $*; echo status \$?" 2>&1)
        out_has 'status 3'; out_has "\[$word\]"
}
RUN_OPTIONS=(-v "$LOOP:/dev/disk")
refused source-kind ext4 /dev/disk /mnt
detach_loop "$LOOP"
RUN_OPTIONS=()
refused option squashfs /src/squash /mnt -o suid
refused option squashfs /src/squash /mnt -o dev
RUN_OPTIONS=(-v "$T/mnt:/mnt/host") # root's directory on the host
refused mountpoint squashfs /src/squash /mnt/host
OUT=$(podman_run -- sh -c "fusectl umount $bob; echo status \$?; fusectl abort $bob; echo status \$?; fusectl status $bob; echo status \$?; fusectl policy explain squashfs none --user root; echo status \$?" 2>&1)
assert_equal "$(grep -c 'status 4' <<<"$OUT")" 3 "what it may know of another's mount"
! grep -q 'status 0' <<<"$OUT" || fail "$OUT"
assert_equal "$(field "$bob" state)" live

say "podman: an unmodified program that runs fusermount3"
# shellcheck disable=SC2016
OUT=$(podman_run -- sh -euc 'squashfuse_ll -f -o auto_unmount /src/squash /mnt & until grep -q " /mnt " /proc/self/mountinfo; do sleep 0.05; done; cat /mnt/file; grep " /mnt " /proc/self/mountinfo; fusermount3 -u /mnt; wait' 2>&1) || fail "$OUT"
out_has '^text$'; out_has ' - fuse.squashfuse_ll'
wait_for "the end of the mount" 10 others_only

say "podman: it ends with the container, in peace and by SIGKILL"
for how in TERM KILL; do
        name=ends-$how
        podman_run -d --name $name -- sh -euc 'fusectl mount squashfs /src/squash /mnt; exec sleep 120' >/dev/null
        inside() { id=$(ids | tr ' ' '\n' | grep -vx "$bob") && [ "$(field "$id" state)" = live ]; }
        wait_for "the mount of the container" 20 inside
        init=$(field "$id" owner-pid)
        assert_equal "$(cat "/proc/$init/comm")" sleep "the owner is the container's first process"
        ! on_host | grep -v "/bob" || fail "it is seen on the host"
        if [ $how = KILL ]; then kill -KILL "$init"; else as_rootless podman --runtime crun --cgroup-manager=cgroupfs kill --signal KILL $name >/dev/null; fi
        wait_for "the end of the mount" 10 others_only
done

say "crun"
make_bundle "$T/bundle" sh -euc 'fusectl mount squashfs /src/squash /mnt; cat /mnt/file; fusectl mount squashfs /src/squash --detached -- cat /proc/self/fd/3/file'
OUT=$(as_rootless crun --cgroup-manager=disabled run --bundle "$T/bundle" "fused-test-$$" 2>&1) || fail "$OUT"
assert_equal "$(grep -c '^text$' <<<"$OUT")" 2 "what crun's container has read"
wait_for "the end of the mounts" 10 others_only

say "a namespace made by hand attaches a detached mount by itself"
cat >"$T/attach.py" <<'PY'
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
if libc.syscall(429, 3, b"", -100, sys.argv[1].encode(), 4) != 0: # move_mount(2)
    sys.exit(os.strerror(ctypes.get_errno()))
os.close(3)
print(open(sys.argv[1] + "/file").read(), end="")
PY
for flags in -Urm -Urmpf; do
        OUT=$(as_user $ALICE unshare $flags "$STAGE/bin/fusectl" --runtime-directory "$T/run" mount squashfs "$CONTAINER_ROOT/src/squash" --detached -- python3 "$T/attach.py" "$CONTAINER_ROOT/mnt" 2>&1) || fail "$OUT"
        assert_equal "$(tail -n 1 <<<"$OUT")" text
        wait_for "the end of the mount" 10 others_only
done
fusectl umount "$bob"
