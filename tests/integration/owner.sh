#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# SUBSET: asan
# A mount ends with its owner: a process that is named, a login session, the first process of a container, or the last that is
# in the mount namespace.
. "$TOP/tests/lib/lib.sh"
install -d -o $ALICE -g $ALICE "$T/home" "$T/home/mnt"
make_squashfs_image "$T/image"
start_fused
F="$STAGE/bin/fusectl --runtime-directory $T/run"
ids() { fusectl --json list | json "' '.join(str(m['id']) for m in d)"; }
listed() { [ -n "$(ids)" ]; }
gone() { [ -z "$(ids)" ]; }
alices() { [ "$(stat -c %u "/proc/$owner")" = $ALICE ]; }
alices_process() { # leaves it in $owner
        setpriv --reuid $ALICE --regid $ALICE --clear-groups sleep 60 &
        owner=$!
        wait_for "the process to be alice's" 5 alices
}

say "a process that is named"
alices_process
fusectl_as $ALICE mount squashfs "$T/image" "$T/home/mnt" --owner $owner >/dev/null
assert_equal "$(field "$T/home/mnt" owner-pid)" $owner
assert_equal "$(as_user $ALICE cat "$T/home/mnt/file")" text
fusectl status "$T/home/mnt" | grep -q "ends with.*process $owner" || fail "status does not say with what it ends"
setpriv --reuid $ALICE --regid $ALICE --clear-groups tail -f "$T/home/mnt/file" >"$T/tail" & busy=$! # it goes all the same
wait_for "the reader" 5 test -s "$T/tail"
kill $owner; wait $owner || true
wait_for "the mount point" 5 not_mounted "$T/home/mnt"
kill $busy; wait $busy || true
wait_for "the end of the mount" 10 gone
assert_log 'ended: owner-gone'

say "a mount without one stays"
fusectl_as $ALICE mount squashfs "$T/image" "$T/home/mnt" >/dev/null
assert_equal "$(field "$T/home/mnt" owner-pid)" 0
fusectl_as $ALICE umount "$T/home/mnt"

say "only a live process of one's own; root may name any"
sleep 60 & roots=$!
expect_fusectl_as 3 $ALICE mount squashfs "$T/image" "$T/home/mnt" --owner $roots
out_has '\[owner\]'
mkdir "$T/mnt"
alices_process
fusectl mount squashfs "$T/image" "$T/mnt" --owner $owner >/dev/null
kill $owner; wait $owner || true
wait_for "the end of the mount" 10 gone
kill $roots; wait $roots || true
expect_fusectl_as 1 $ALICE mount squashfs "$T/image" "$T/home/mnt" --owner $roots
for word in 0 -1 1x '' sessions; do expect_fusectl_as 2 $ALICE mount squashfs "$T/image" "$T/home/mnt" --owner "$word"; done

say "a descriptor that is no pidfd"
status=0
python3 - "$T/run/control" "$T/image" >"$T/out" 2>&1 <<'PY' || status=$?
import ctypes, os, sys
lib = ctypes.CDLL("libsystemd.so.0")
bus, reply = ctypes.c_void_p(), ctypes.c_void_p()
class Error(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("message", ctypes.c_char_p), ("need_free", ctypes.c_int)]
def check(r):
    assert r >= 0, r
check(lib.sd_bus_new(ctypes.byref(bus)))
check(lib.sd_bus_set_address(bus, b"unix:path=" + sys.argv[1].encode()))
check(lib.sd_bus_negotiate_fds(bus, 1))
check(lib.sd_bus_start(bus))
source = os.open(sys.argv[2], os.O_RDONLY)
for wrong in (source, os.memfd_create("pidfd"), os.pipe()[0], os.open("/proc/self", os.O_PATH)):
    error = Error()
    r = lib.sd_bus_call_method(bus, None, b"/org/fused1", b"org.fused1.Manager", b"Mount", ctypes.byref(error), ctypes.byref(reply),
                               b"sa{sv}", b"squashfs", 2, b"source", b"h", source, b"owner", b"h", wrong)
    assert r < 0 and error.name == b"org.fused1.Error.Refused" and error.message.startswith(b"[bad-fd]"), (r, error.name, error.message)
error = Error()
check(lib.sd_bus_call_method(bus, None, b"/org/fused1", b"org.fused1.Manager", b"Mount", ctypes.byref(error), ctypes.byref(reply),
                             b"sa{sv}", b"squashfs", 2, b"source", b"h", source, b"owner", b"h", os.pidfd_open(os.getpid())))
PY
[ $status = 0 ] || fail "$(cat "$T/out")"
wait_for "the end of the mount" 10 gone # the client was its owner

say "a session"
as_user $ALICE setsid -w sh -euc "$F mount squashfs $T/image $T/home/mnt --owner session >/dev/null; $F --json status $T/home/mnt >$T/home/status; echo \$\$ >$T/home/pid"
assert_equal "$(json "d['owner-pid']" <"$T/home/status")" "$(cat "$T/home/pid")"
wait_for "the end of the mount" 10 gone

say "the parent; and one that ends while the mount is made"
as_user $ALICE sh -euc "$F mount squashfs $T/image $T/home/mnt --owner parent >/dev/null; cat $T/home/mnt/file" | grep -qx text
wait_for "the end of the mount" 10 gone
for _ in 1 2 3 4 5; do
        sleep 60 & owner=$!
        "$STAGE/bin/fusectl" --runtime-directory "$T/run" mount squashfs "$T/image" "$T/mnt" --owner $owner >/dev/null 2>&1 & client=$!
        sleep 0.0$((RANDOM % 4))
        kill $owner
        wait $owner || true
        wait $client || true
        wait_for "the end of the mount" 10 gone
        not_mounted "$T/mnt" || fail "it is still mounted"
done

say "the last process leaves the mount namespace: nothing of ours keeps it"
as_user $ALICE unshare -Urm sh -euc "$F mount squashfs $T/image $T/home/mnt >/dev/null; grep -c ' $T/home/mnt ' /proc/self/mountinfo"
wait_for "the end of the mount" 3 gone
wait_for "the end of the server" 3 no_servers
assert_log 'ended: unmounted'

say "it is taken down in its namespace while somebody is in there"
as_user $ALICE unshare -Urm sh -euc "$F mount squashfs $T/image $T/home/mnt >/dev/null; touch $T/home/up; while grep -q ' $T/home/mnt ' /proc/self/mountinfo; do sleep 0.05; done; touch $T/home/down" &
inside=$!
wait_for "the mount" 10 test -e "$T/home/up"
not_mounted "$T/home/mnt" || fail "it is seen on the host"
fusectl umount "$(ids)"
wait $inside
[ -e "$T/home/down" ] || fail "it stayed in the namespace"
gone || fail "it is still listed"

say "a container's first process is the owner, even of what others keep"
rm "$T/home/up"
setpriv --reuid $ALICE --regid $ALICE --clear-groups unshare -Urmpf --kill-child --mount-proc sh -euc "$F mount squashfs $T/image $T/home/mnt >/dev/null; touch $T/home/up; exec sleep 60" &
outer=$!
wait_for "the mount" 10 test -e "$T/home/up"
init=$(cat "/proc/$outer/task/$outer/children"); init=${init% }
assert_equal "$(fusectl --json list | json "d[0]['owner-pid']")" "$init"
nsenter --mount="/proc/$init/ns/mnt" sleep 60 & keeper=$!
kept() { [ "$(readlink "/proc/$keeper/ns/mnt")" = "$(readlink "/proc/$init/ns/mnt")" ]; }
wait_for "somebody to keep the namespace" 5 kept
kill -KILL "$init"
wait $outer 2>/dev/null || true
wait_for "the end of the mount" 10 gone
! grep -q " $T/home/mnt " "/proc/$keeper/mountinfo" || fail "the mount is still in the namespace"
kill $keeper; wait $keeper || true

say "the supervisor is killed: the next one knows the owners, and finds the namespaces again"
restart() { # COMMAND...: what happens meanwhile
        local old=$FUSED_PID manager
        manager=$(manager_pid)
        kill -KILL "$old"
        wait "$old" 2>/dev/null || true
        FUSED_PID=
        wait_for "the end of the manager" 10 process_gone "$manager"
        "$@"
        start_fused
}
end_owner() { kill $owner; wait $owner || true; }
for when in before after; do
        alices_process
        fusectl_as $ALICE mount squashfs "$T/image" "$T/home/mnt" --owner $owner >/dev/null
        if [ $when = before ]; then restart end_owner; else
                restart true
                assert_equal "$(field "$(ids)" owner-pid)" $owner
                end_owner
        fi
        wait_for "the end of the mount" 15 gone
        not_mounted "$T/home/mnt" || fail "it is still mounted"
done
rm "$T/home/up" "$T/home/down"
as_user $ALICE unshare -Urm sh -euc "$F mount squashfs $T/image $T/home/mnt >/dev/null; touch $T/home/up; while grep -q ' $T/home/mnt ' /proc/self/mountinfo; do sleep 0.05; done; touch $T/home/down" &
inside=$!
wait_for "the mount" 10 test -e "$T/home/up"
restart true
fusectl umount "$(ids)"
wait $inside
[ -e "$T/home/down" ] || fail "it stayed in the namespace"
gone || fail "it is still listed"
mark_fds
