#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# TIMEOUT: 180
# SUBSET: asan
# mirror -o passthrough: the kernel does the I/O of large files itself, the server is not asked; limits; what is given back; what a
# server may not register is in the unit test worker-backing.
. "$TOP/tests/lib/lib.sh"
mkdir "$T/disk" "$T/mnt" "$T/tools"
native_mount -t tmpfs -o mode=755 tmpfs "$T/disk"
mkdir "$T/disk/tree"
TREE=$T/disk/tree MNT=$T/mnt
dd if=/dev/urandom of="$TREE/big" bs=1M count=4 status=none
for i in 1 2 3 4; do dd if=/dev/urandom of="$TREE/more$i" bs=512K count=1 status=none; done
echo small >"$TREE/small"
cp /bin/bash "$TREE/program"
head -c 400000 /dev/urandom >"$TREE/roots"
chown -R $ALICE:$ALICE "$TREE" "$MNT"
chown root:root "$TREE/roots"

# A process of the user's that does one step for each line it is sent, and answers each with one line.
cat >"$T/tools/steps.py" <<'P'
import mmap, os, sys
files, maps = {}, {}
for line in sys.stdin:
    what, *words = line.split()
    try:
        if what == "open":
            name, path, flags = words
            files[name] = os.open(path, eval(flags, vars(os)), 0o600)
            said = "ok"
        elif what == "close":
            os.close(files.pop(words[0]))
            if words[0] in maps:
                maps.pop(words[0]).close()
            said = "ok"
        elif what == "read":
            said = os.pread(files[words[0]], int(words[2]), int(words[1])).hex()
        elif what == "write":
            said = str(os.pwrite(files[words[0]], words[2].encode(), int(words[1])))
        elif what == "mapped":
            with mmap.mmap(files[words[0]], 0, prot=mmap.PROT_READ) as memory:
                said = memory[int(words[1]):int(words[1]) + int(words[2])].hex()
        elif what == "map":
            maps[words[0]] = mmap.mmap(files[words[0]], 0, prot=mmap.PROT_READ)
            said = "ok"
        elif what == "look":
            said = maps[words[0]][int(words[1]):int(words[1]) + int(words[2])].hex()
        elif what == "store":
            with mmap.mmap(files[words[0]], 0) as memory:
                memory[int(words[1]):int(words[1]) + len(words[2])] = words[2].encode()
            said = "ok"
        elif what == "size":
            said = str(os.fstat(files[words[0]]).st_size)
    except OSError as error:
        said = "error " + str(error.errno)
    print(said, flush=True)
P
start_user() { coproc USER_STEPS { as_user $ALICE python3 "$T/tools/steps.py"; }; TO=${USER_STEPS[1]} FROM=${USER_STEPS[0]} USER_PID=$USER_STEPS_PID; }
end_user() { kill "$USER_PID"; wait "$USER_PID" 2>/dev/null || true; }
step() { # WORDS...: leaves the answer in $SAID; a step that hangs fails
        echo "$*" >&"$TO"
        read -r -t 20 SAID <&"$FROM" || fail "no answer to: $*"
}
steps() { step "${@:2}"; assert_equal "$SAID" "$1" "${*:2}"; } # EXPECTED WORDS...
bytes() { dd if="$1" bs=1 skip="$2" count="$3" status=none | od -An -tx1 | tr -d ' \n'; }
registered() { [ "$(field "$ID" backing-files)" = "$1" ]; }
assert_registered() { wait_for "$1 backing files, not $(field "$ID" backing-files)" 10 registered "$1"; }
mount_it() { ID=$(fusectl_as $ALICE mount "${TYPE:-mirror}" "$TREE" "$MNT" -o "${1:-passthrough}"); SERVER=$(field "$ID" server-pid); }
umount_it() { fusectl_as $ALICE umount "$MNT"; }

mkdir -p "$T/policy/types"
sed -e 's/^BackingFiles=.*/BackingFiles=2/' "$STAGE/lib/fused/types/mirror.conf" >"$T/policy/types/mirror-two.conf"
sed -e '/^BackingFiles=/d' "$STAGE/lib/fused/types/mirror.conf" >"$T/policy/types/mirror-none.conf"
start_fused
start_user

say "content, both ways"
mount_it
as_user $ALICE cmp "$MNT/big" "$TREE/big"
as_user $ALICE cmp "$MNT/small" "$TREE/small"
assert_registered 0
steps ok open a "$MNT/big" O_RDWR
assert_registered 1
steps ok open b "$MNT/big" O_RDONLY
steps ok open d "$MNT/big" "O_WRONLY|O_APPEND"
assert_registered 1
steps "$(bytes "$TREE/big" 1000000 16)" read b 1000000 16
steps "$(bytes "$TREE/big" 3000000 16)" mapped b 3000000 16
steps 5 write a 1000000 hello
assert_equal "$(bytes "$TREE/big" 1000000 5)" "$(printf hello | od -An -tx1 | tr -d ' \n')" "what was written, below"
steps ok store a 2000000 mapped
assert_equal "$(bytes "$TREE/big" 2000000 6)" "$(printf mapped | od -An -tx1 | tr -d ' \n')" "what was stored, below"
steps 5 write a 8000000 hello
steps 8000005 size a
assert_equal "$(stat -c %s "$TREE/big")" 8000005 "size below"
steps ok open t "$MNT/big" "O_RDWR|O_TRUNC"
steps 0 size a
steps 3 write t 0 new
for name in a b d t; do steps ok close $name; done
assert_equal "$(cat "$TREE/big")" new
assert_registered 0
steps ok open c "$MNT/created" "O_RDWR|O_CREAT|O_EXCL"
assert_registered 1
steps 5 write c 0 fresh
assert_equal "$(cat "$TREE/created")" fresh
assert_equal "$(stat -c %u "$TREE/created")" $ALICE
as_user $ALICE rm "$MNT/created"
steps "$(printf fresh | od -An -tx1 | tr -d ' \n')" read c 0 100
steps ok close c
assert_registered 0

say "the server is not asked"
dd if=/dev/urandom of="$TREE/big" bs=1M count=4 conv=notrunc status=none
steps ok open a "$MNT/big" O_RDWR
steps ok open s "$MNT/small" O_RDONLY
assert_registered 1
steps ok map a
steps 1 write a 0 x # the first one after a look at its attributes asks for an extended one
kill -STOP "$SERVER"
at_end "kill -CONT $SERVER 2>/dev/null"
steps "$(bytes "$TREE/big" 2500000 32)" read a 2500000 32
steps 4 write a 2500000 here
steps "$(bytes "$TREE/big" 2500000 32)" look a 2500000 32
steps "$(bytes "$TREE/big" 3500000 32)" look a 3500000 32
assert_equal "$(bytes "$TREE/big" 2500000 4)" "$(printf here | od -An -tx1 | tr -d ' \n')"
echo "read s 0 4" >&"$TO" # its neighbour is
if read -r -t 1 SAID <&"$FROM"; then fail "a small file was read without the server: $SAID"; fi
kill -CONT "$SERVER"
read -r -t 20 SAID <&"$FROM"
assert_equal "$SAID" "$(printf smal | od -An -tx1 | tr -d ' \n')"
steps ok close a
steps ok close s

say "who writes to a program takes its privilege away"
steps ok open a "$MNT/big" O_RDWR
assert_registered 1
chmod 6755 "$TREE/big"
steps 1 write a 0 x
assert_equal "$(stat -c %a "$TREE/big")" 755 "mode after a write"
steps ok close a

say "whoever executes a file below is not disturbed, and what is being executed can be read"
steps ok open p "$MNT/program" O_RDONLY
assert_registered 1
"$TREE/program" -c true
steps ok close p

say "what its owner may only read is served in the ordinary way"
steps ok open r "$MNT/roots" O_RDONLY
steps "$(bytes "$TREE/roots" 100000 16)" read r 100000 16
assert_registered 0
steps "error 13" open w "$MNT/roots" O_RDWR
steps ok close r

say "of direct and other opens of one file"
steps ok open a "$MNT/big" O_RDONLY
steps ok open b "$MNT/big" "O_RDONLY|O_DIRECT"
steps ok close a
steps ok close b
steps ok open a "$MNT/more1" "O_RDONLY|O_DIRECT"
steps ok open b "$MNT/more1" "O_RDWR"
steps ok close a
steps ok close b
assert_registered 0

say "many opens at a time, of files that grow from small to large and back"
as_user $ALICE python3 - "$MNT" "$TREE" 3 <<'P'
import os, random, sys, threading, time
served, below, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
until, wrong, n = time.monotonic() + seconds, [], [0]
def work(seed):
    chance = random.Random(seed)
    while time.monotonic() < until and not wrong:
        name = "turn%d" % chance.randrange(4)
        flags = chance.choice([os.O_RDONLY, os.O_RDWR, os.O_WRONLY, os.O_RDWR | os.O_TRUNC, os.O_RDONLY | os.O_DIRECT])
        try:
            fd = os.open(os.path.join(served, name), flags | os.O_CREAT, 0o600)
            try:
                if flags & os.O_ACCMODE != os.O_WRONLY and not flags & os.O_DIRECT:
                    os.pread(fd, 4096, 0)
                if flags & os.O_ACCMODE != os.O_RDONLY:
                    os.pwrite(fd, b"x" * 4096, chance.choice([0, 60000, 400000]))
                if chance.random() < 0.05:
                    os.unlink(os.path.join(served, name))
            finally:
                os.close(fd)
            n[0] += 1
        except FileNotFoundError:
            pass # somebody else has removed it
        except OSError as error:
            if error.errno != 116: # ESTALE: another one has that name by now
                wrong.append((name, flags, error))
threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
if wrong: sys.exit("%d fine, then: %s" % (n[0], wrong))
for i in range(4):
    for place in served, below:
        try: os.unlink(os.path.join(place, "turn%d" % i))
        except FileNotFoundError: pass
print(n[0], "opens")
P
assert_registered 0
umount_it

say "read-only: for those that can only be read as well"
mount_it passthrough,ro
steps ok open r "$MNT/roots" O_RDONLY
assert_registered 1
steps "$(bytes "$TREE/roots" 100000 16)" read r 100000 16
steps "error 30" open w "$MNT/big" O_RDWR
steps ok close r
umount_it

say "limits: of the type"
TYPE=mirror-two mount_it
for i in 1 2 3 4; do steps ok open m$i "$MNT/more$i" O_RDONLY; done
assert_registered 2
for i in 1 2 3 4; do steps "$(bytes "$TREE/more$i" 70000 16)" read m$i 70000 16; done
steps ok close m1
assert_registered 1
steps ok open m1 "$MNT/more1" O_RDWR
assert_registered 2
for i in 1 2 3 4; do steps ok close m$i; done
assert_registered 0
umount_it
TYPE=mirror-none mount_it
steps ok open m "$MNT/more1" O_RDONLY
assert_registered 0
steps "$(bytes "$TREE/more1" 70000 16)" read m 70000 16
steps ok close m
umount_it

say "limits: of the user, whose mount is 6 descriptors"
printf '[User %s]\nMaxFds=7\n' $ALICE >"$T/policy/fused.conf.d/alice.conf"
kill -HUP "$FUSED_PID"
wait_for "the new policy" 10 log_has 'policy 2'
mount_it
steps ok open m1 "$MNT/more1" O_RDONLY
steps ok open m2 "$MNT/more2" O_RDONLY
assert_registered 1
steps "$(bytes "$TREE/more2" 70000 16)" read m2 70000 16
steps ok close m1
assert_registered 0 # the kernel says RELEASE later than close() returns
steps ok open m3 "$MNT/more3" O_RDONLY
assert_registered 1
steps ok close m2
steps ok close m3
umount_it
rm "$T/policy/fused.conf.d/alice.conf"
kill -HUP "$FUSED_PID"
wait_for "the new policy" 10 log_has 'policy 3'

say "a new manager knows of them"
mount_it
steps ok open m1 "$MNT/more1" O_RDONLY
old=$(manager_pid)
kill -KILL "$old"
new_manager() { [ "$(manager_pid)" != "$old" ] && control_answers; }
wait_for "a new manager" 20 new_manager
assert_registered 1
steps ok open m2 "$MNT/more2" O_RDONLY
assert_registered 2
steps ok close m1
steps ok close m2
assert_registered 0

say "and one that is killed in the middle of it does not keep the server waiting"
worker=$(for p in $(server_pids); do [ "$(cat "/proc/$p/comm")" != fused ] || echo "$p"; done)
[ -n "$worker" ] || fail "no worker is there"
kill -STOP "$worker"
echo "open m1 $MNT/more1 O_RDONLY" >&"$TO"
if read -r -t 0.5 SAID <&"$FROM"; then fail "it did not wait for the worker: $SAID"; fi
old=$(manager_pid)
kill -KILL "$old"
wait_for "a new manager" 4 new_manager
kill -CONT "$worker"
read -r -t 4 SAID <&"$FROM" || fail "the server still waits for the old manager"
assert_equal "$SAID" ok
steps ok open m2 "$MNT/more2" O_RDONLY
assert_registered 2
steps ok close m1
steps ok close m2
assert_registered 0

say "a worker that hangs costs nothing but passthrough"
worker=$(for p in $(server_pids); do [ "$(cat "/proc/$p/comm")" != fused ] || echo "$p"; done)
[ -n "$worker" ] || fail "no worker is there"
kill -STOP "$worker"
steps ok open m1 "$MNT/more1" O_RDONLY
steps "$(bytes "$TREE/more1" 70000 16)" read m1 70000 16
assert_registered 0
wait_for "the worker's end" 10 process_gone "$worker"
steps ok open m2 "$MNT/more2" O_RDONLY
steps ok close m1
steps ok close m2
umount_it

say "given back with the mount, whichever way that ends"
for how in abort kill; do
        mount_it
        steps ok open m1 "$MNT/more1" O_RDONLY
        assert_registered 1
        case $how in
        abort) fusectl_as $ALICE abort "$ID" ;;
        kill) kill -KILL "$SERVER" ;;
        esac
        wait_for "its end" 15 not_mounted "$MNT"
        step close m1
done
end_user
wait_for "the end of all servers" 15 no_servers
disk_free() { umount "$T/disk" 2>/dev/null; }
wait_for "the disk to be held by nobody" 10 disk_free
MOUNTED=()
