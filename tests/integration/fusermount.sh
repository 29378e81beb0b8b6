#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# TIMEOUT: 120
# Programs that run fusermount3, with ours in its place and without the device: classic and two-phase, auto_unmount, unmounting,
# refusals; as an ordinary user and in a user namespace of its own.
. "$TOP/tests/lib/lib.sh"
# A mount namespace as a container has it: our fusermount3 where libfuse looks for it first, and at /dev/fuse, which libfuse opens
# before it asks fusermount3, an ordinary file.
make_namespace() {
        : >"$T/placeholder"
        chmod 666 "$T/placeholder"
        unshare --mount --propagation private sleep 110 &
        HOLDER=$!
        at_end kill $HOLDER
        wait_for "its namespace" 5 in_other_namespace
        inside mount --bind "$STAGE/libexec/fused/bin/fusermount3" /usr/bin/fusermount3
        inside mount --bind "$T/placeholder" /dev/fuse
}
in_other_namespace() { [ "$(readlink "/proc/$HOLDER/ns/mnt")" != "$(readlink /proc/self/ns/mnt)" ] && [ "$(cat "/proc/$HOLDER/comm")" = sleep ]; }
# the process itself, for what is to be killed: as_server UID COMMAND... &
as_server() { local uid=$1; shift; exec nsenter --target "$HOLDER" --mount --wd="$T" -- setpriv --reuid "$uid" --regid "$uid" --clear-groups --inh-caps=-all --bounding-set=-all -- "$@"; }
inside() { nsenter --target "$HOLDER" --mount --wd="$T" -- "$@"; }
export FUSED_RUNTIME_DIRECTORY=$T/run
make_squashfs_image "$T/image"
chmod 644 "$T/image"
start_fused
make_namespace
for user in $ALICE $BOB; do install -d -o "$user" -g "$user" "$T/mnt-$user"; done
mnt=$T/mnt-$ALICE
as() { local uid=$1; shift; inside setpriv --reuid "$uid" --regid "$uid" --clear-groups --inh-caps=-all --bounding-set=-all -- "$@"; }
# (not by mountpoint(1): another user's FUSE mount lets not even root look at it)
mounted() { grep -qF " ${1:-$mnt} " "/proc/$HOLDER/mountinfo"; }
not_mounted() { ! mounted "$@"; }

say "an unmodified program of an ordinary user"
as_server $ALICE squashfuse_ll -f "$T/image" "$mnt" &
server=$!
wait_for "the mount" 10 mounted
assert_equal "$(as $ALICE cat "$mnt/file")" text
assert_equal "$(inside findmnt -no FSTYPE,SOURCE "$mnt" | tr -s ' ')" "fuse.squashfuse_ll squashfuse_ll"
inside findmnt -no OPTIONS "$mnt" | grep -q "nosuid.*nodev.*user_id=$ALICE" || fail "options: $(inside findmnt -no OPTIONS "$mnt")"
assert_equal "$(fusectl_as $ALICE --json list | json "[(m['type'], m['state'], m['uid']) for m in d]")" "[('fuse', 'live', $ALICE)]"
assert_equal "$(fusectl_as $BOB --json list | json 'len(d)')" 0 "what another user sees"

say "another user cannot unmount it, its owner can"
if as $BOB fusermount3 -u "$mnt"; then fail "bob has unmounted alice's mount"; fi
mounted
as_server $ALICE sh -c 'cd "$1" && exec sleep 30' - "$mnt" &
busy=$!
sleeps() { [ "$(cat "/proc/$busy/comm")" = sleep ]; }
wait_for "somebody in there" 5 sleeps
if as $ALICE fusermount3 -u "$mnt"; then fail "it was busy"; fi
kill $busy
wait $busy || true
as $ALICE fusermount3 -u "$mnt"
not_mounted
wait $server
[ "$(fusectl --json list | json 'len(d)')" = 0 ]

say "the server ends by a signal: libfuse has it unmounted"
as_server $ALICE squashfuse_ll -f "$T/image" "$mnt" &
server=$!
wait_for "the mount" 10 mounted
kill -TERM $server
wait_for "the end of the mount" 10 not_mounted
wait $server || true

say "auto_unmount: also after SIGKILL, which leaves the library no time"
as_server $ALICE squashfuse_ll -f -o auto_unmount "$T/image" "$mnt" &
server=$!
wait_for "the mount" 10 mounted
kill -KILL $server
wait $server || true
wait_for "the end of the mount" 10 not_mounted
resident() { find /proc -maxdepth 2 -path '/proc/[0-9]*/exe' -lname "$STAGE/libexec/fused/bin/*" 2>/dev/null | grep -q .; }
not_resident() { ! resident; }
wait_for "the end of the resident helper" 5 not_resident

say "refused: a directory of somebody else's, allow_other, allow_root, an option nobody knows, no socket"
if as $ALICE squashfuse_ll -f "$T/image" "$T/mnt-$BOB" 2>"$T/err"; then fail "mounted on bob's directory"; fi
grep -q 'mountpoint' "$T/err" || fail "no reason: $(cat "$T/err")"
not_mounted "$T/mnt-$BOB"
for bad in allow_other allow_root context=x; do
        if as $ALICE squashfuse_ll -f -o $bad "$T/image" "$mnt" 2>>"$T/err"; then fail "$bad was granted"; fi
        not_mounted
done
if as $ALICE env -u _FUSE_COMMFD fusermount3 -o ro -- "$mnt" 2>"$T/err"; then fail "mounted without a socket"; fi
grep -q 'no socket' "$T/err"
for bad in "-z $mnt" "" "$mnt extra" "--nonsense $mnt"; do
        # shellcheck disable=SC2086
        if as $ALICE fusermount3 $bad 2>/dev/null; then fail "fusermount3 $bad"; fi
done
as $ALICE fusermount3 -V | grep -q '^fusermount3 version: '

say "the two phases of --sync-init, byte by byte, and a refusal that does not look like success"
cat >"$T/phases.py" <<'EOF'
import array, os, socket, struct, subprocess, sys, threading
point, options, expected = sys.argv[1], sys.argv[2], sys.argv[3]
ours, theirs = socket.socketpair()
child = subprocess.Popen(["fusermount3", "--sync-init", "-o", options, "--comm-fd", str(theirs.fileno()), "--", point],
                         pass_fds=[theirs.fileno()])
theirs.close()
data, control, flags, _ = ours.recvmsg(1, socket.CMSG_SPACE(4))
if not data:
    assert child.wait() == 1
    print("no device")
    sys.exit(expected != "no device")
assert data == b"\0" and len(control) == 1, (data, control)
fd = array.array("i", control[0][2])[0]
assert os.readlink("/proc/self/fd/%d" % fd) == "/dev/fuse"
assert not os.path.ismount(point), "mounted before it was asked for"
if expected == "hang up":
    ours.close()
    assert child.wait() == 1
    sys.exit(0)
ours.send(b"x")
status = ours.recv(4)
print(struct.unpack("=i", status)[0])
assert struct.unpack("=i", status)[0] == int(expected)
assert child.wait() == 0
request = os.read(fd, 135168)  # the mount asks for FUSE_INIT now
length, opcode, unique = struct.unpack("=IIQ", request[:16])
assert opcode == 26, opcode
os.write(fd, struct.pack("=IiQ", 80, 0, unique) + struct.pack("=IIIIHHIIHHI7I", 7, 31, 65536, 0, 0, 0, 131072, 1, 0, 0, 0, *[0] * 7)[:64])
os.close(fd)
EOF
as $ALICE /usr/bin/python3 "$T/phases.py" "$mnt" "rw,nosuid,fsname=a\\,b:c,fd=7,rootmode=40000,user_id=0,group_id=0" 0
mounted
as $ALICE fusermount3 -u -q -z -- "$mnt"
not_mounted
as $ALICE /usr/bin/python3 "$T/phases.py" "$mnt" "rw,allow_other" "no device"
as $ALICE /usr/bin/python3 "$T/phases.py" "$mnt" "rw" "hang up"
none_left() { [ "$(fusectl --json list | json 'len(d)')" = 0 ]; }
wait_for "the end of what was only prepared" 5 none_left
not_mounted

say "in a user and mount namespace without the right to mount: it appears there and nowhere else"
as $ALICE unshare --user --map-root-user --mount bash -eu -c '
        setpriv --bounding-set=-sys_admin --inh-caps=-sys_admin squashfuse_ll -f "$1" "$2" &
        for i in $(seq 100); do grep -qF " $2 " /proc/self/mountinfo && break; sleep 0.05; done
        cat "$2/file"
        findmnt -no FSTYPE "$2"
        fusermount3 -u "$2"
        wait' - "$T/image" "$mnt" >"$T/out"
assert_equal "$(tr '\n' ' ' <"$T/out")" "text fuse.squashfuse_ll "
not_mounted

say "sshfs, whose library is another"
server=$(find /usr/lib -name sftp-server -type f | head -n 1)
mkdir -m 777 "$T/remote"
echo far >"$T/remote/file"
mkfifo -m 666 "$T/there" "$T/back"
"$server" 0<>"$T/there" 1<>"$T/back" & # it wants a user of the host's: root
remote=$!
at_end kill $remote
as_server $ALICE sshfs -f -o passive "host:$T/remote" "$mnt" 0<>"$T/back" 1<>"$T/there" &
sshfs=$!
wait_for "the mount" 10 mounted
assert_equal "$(as $ALICE cat "$mnt/file")" far
as $ALICE sh -c "echo back >$mnt/new"
assert_equal "$(cat "$T/remote/new")" back
inside findmnt -no FSTYPE "$mnt" | grep -q sshfs
as $ALICE fusermount3 -u "$mnt"
not_mounted
wait $sshfs || true
wait_for "the end of what was mounted" 5 none_left
! findmnt -rn | grep -F "$mnt" || fail "it was mounted here as well"
