#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# TIMEOUT: 300
# ext4-map after a crash of the kernel's ext4: a journal is replayed, or read through with -o ro, to what the kernel makes of it; one that is damaged
# is refused, with nothing changed.
. "$TOP/tests/lib/lib.sh"
mkdir "$T/mnt" "$T/native"
start_fused

# Transactions of all that a journal is asked to keep: many fsyncs, directories freed and their blocks used for data (revoked), data that looks like a
# block of the journal (escaped).
work() { # DIRECTORY SEED COUNT BEGINNING-OF-DATA
        python3 - "$@" <<'PY'
import os, random, shutil, sys
base, seed, count, beginning = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), bytes.fromhex(sys.argv[4])
random.seed(seed)
for i in range(count):
    name = os.path.join(base, f"d{random.randrange(8)}")
    what = random.randrange(10)
    if what < 4:
        os.makedirs(name, exist_ok=True)
        for k in range(random.randrange(30)):
            with open(os.path.join(name, f"file-with-a-name-that-takes-room-{k}"), "wb") as f:
                f.write(beginning * (1024 if k % 7 == 0 else 1) + random.randbytes(random.randrange(20000)))
                if k % 5 == 0:
                    os.fsync(f.fileno())
    elif what < 6:
        shutil.rmtree(name, ignore_errors=True)
    elif what < 8:
        with open(os.path.join(base, f"data{random.randrange(4)}"), "ab") as f:
            f.write(random.randbytes(random.randrange(300000)))
            os.fsync(f.fileno())
    elif what < 9:
        try:
            os.truncate(os.path.join(base, f"data{random.randrange(4)}"), random.randrange(200000))
        except FileNotFoundError:
            pass
    else:
        with open(os.path.join(base, "marked"), "ab") as f:
            f.write(b"x")
            os.setxattr(f.fileno(), "user.round", str(i).encode())
            os.fsync(f.fileno())
PY
}

goes_round() { debugfs -c -R logdump "$1" 2>/dev/null | awk '/^Found expected/ {at = $NF + 0; if (at < last) round = 1; last = at} END {exit !round}'; }
crash() { # FILE WORK-ROUNDS "mkfs options" "mount options": what the device has while it is mounted, after the last commit
        truncate -s 48M "$T/living"
        # shellcheck disable=SC2086
        mke2fs -q -F -J size=4 $3 "$T/living" >/dev/null 2>&1 || fail "mke2fs $3"
        mount -o "loop,commit=1000${4:+,$4}" "$T/living" "$T/native"
        MOUNTED+=("$T/native")
        local beginning=c03b3998 # which is escaped if it gets into the journal: see below
        [ "${4-}" != data=journal ] || beginning=6f746865
        work "$T/native" "$RANDOM" "$2" $beginning
        work "$T/native" 1 3 $beginning
        sync -f "$T/native" # a commit; what it is of goes to its place later
        mkdir "$T/native/last"
        echo last >"$T/native/last/file"
        head -c 300000 /dev/urandom >"$T/native/last/data"
        sync "$T/native/last/data"
        if [ "${4-}" = data=journal ]; then # until the log goes round the end of the journal
                for _ in $(seq 60); do
                        ! goes_round "$T/living" || break
                        head -c 100000 /dev/urandom >"$T/native/last/data"
                        sync "$T/native/last/data"
                done
                goes_round "$T/living" || fail "the log does not go round the end of the journal"
        fi
        sync "$T/native/last/file"
        cp --reflink=never "$T/living" "$1"
        umount "$T/native"
}
xattrs() { python3 -c "
import os, sys
for d, _, files in os.walk(sys.argv[1]):
    for f in files:
        p = os.path.join(d, f)
        for n in sorted(os.listxattr(p, follow_symlinks=False)):
            print(p, n, os.getxattr(p, n, follow_symlinks=False))
" "$1" | sort; }
needs_recovery() { dumpe2fs -h "$1" 2>/dev/null | grep -q needs_recovery; }
everything() { (cd "$1" && find . -mindepth 1 -printf '%P %y %m %s %n %U %l\n' | grep -v '^lost+found' | sort; xattrs .; checksums .); }
try() { fusectl mount ext4-map "$1" "$T/mnt" "${@:2}" 2>&1; }

say "replayed, and read through, as by the kernel"
round() { # NAME "mkfs options" "mount options"
        for rounds in 5 30; do
                [ $rounds = 30 ] || [ "$1" = ext4 ] || continue
                crash "$T/a" $rounds "$2" "${3-}"
                needs_recovery "$T/a" || fail "$1: nothing to be recovered"
                cp "$T/a" "$T/kernel"
                cp "$T/a" "$T/ro"
                mount -o loop "$T/kernel" "$T/native"
                everything "$T/native" >"$T/expected"
                umount "$T/native"
                grep -q '^last/file' "$T/expected" || fail "$1: the kernel has not replayed"

                chmod 444 "$T/ro"
                sum=$(md5sum <"$T/ro")
                try "$T/ro" -o ro >/dev/null || fail "$1, read-only: $(try "$T/ro" -o ro)"
                everything "$T/mnt" | diff "$T/expected" - >"$T/diff" || fail "$1, read-only: $(head -n 20 "$T/diff")"
                dd if="$T/mnt/last/data" of=/dev/null bs=1M iflag=direct status=none
                fusectl umount "$T/mnt"
                [ "$(md5sum <"$T/ro")" = "$sum" ] || fail "$1, read-only: the image has changed"

                try "$T/a" >/dev/null || fail "$1: $(try "$T/a")"
                everything "$T/mnt" | diff "$T/expected" - >"$T/diff" || fail "$1: $(head -n 20 "$T/diff")"
                echo more >"$T/mnt/more"
                fusectl umount "$T/mnt"
                needs_recovery "$T/a" && fail "$1: still needs recovery"
                e2fsck -fn "$T/a" >"$T/fsck" 2>&1 || fail "$1: e2fsck: $(cat "$T/fsck")"
                mount -o loop "$T/a" "$T/native" # the kernel goes on with the journal as it was left
                echo still >"$T/native/still"
                cat "$T/native/more" >/dev/null
                umount "$T/native"
                fsck_clean "$T/a"
        done
}
round ext4 "-t ext4 -b 4096"
round ext4-1k "-t ext4 -b 1024"
round ext4-plain "-t ext4 -O ^metadata_csum,^64bit"
round ext4-64 "-t ext4 -O ^metadata_csum,64bit -b 2048"
round ext4-data "-t ext4 -b 4096" data=journal
round ext4-async "-t ext4 -O ^metadata_csum,^64bit" journal_async_commit,data=writeback
round ext4-async-3 "-t ext4 -b 4096" journal_async_commit,data=writeback
round ext3 "-t ext3 -b 1024"
round ext3-data "-t ext3" data=journal
say "data in a journal that looks like a block of it: there after a replay, and an error without"
truncate -s 32M "$T/living"
mke2fs -q -F -t ext4 "$T/living"
native_mount -o loop,commit=1000,data=journal "$T/living" "$T/native"
printf '\xc0\x3b\x39\x98and more' >"$T/native/escaped"
echo other >"$T/native/other"
sync "$T/native/escaped" "$T/native/other"
cp "$T/living" "$T/a"
umount "$T/native"
try "$T/a" -o ro >/dev/null
[ "$(cat "$T/mnt/other")" = other ] || fail "its neighbour"
cat "$T/mnt/escaped" 2>"$T/error" && fail "it reads"
grep -q 'Input/output error' "$T/error" || fail "$(cat "$T/error")"
fusectl umount "$T/mnt"
try "$T/a" >/dev/null
printf '\xc0\x3b\x39\x98and more' | cmp - "$T/mnt/escaped"
fusectl umount "$T/mnt"

say "fast commits are e2fsck's; without any the journal is replayed"
mke2fs -q -F -t ext4 -O fast_commit "$T/living"
native_mount -o loop,commit=1000 "$T/living" "$T/native"
mkdir "$T/native/dir"
echo one >"$T/native/dir/one"
sync -f "$T/native"
cp "$T/living" "$T/full"
echo two >>"$T/native/dir/one"
sync "$T/native/dir/one"
cp "$T/living" "$T/fast"
umount "$T/native"
try "$T/full" >/dev/null
[ "$(cat "$T/mnt/dir/one")" = one ] || fail "what was committed"
fusectl umount "$T/mnt"
fsck_clean "$T/full"
for how in "" ro; do
        try "$T/fast" ${how:+-o ro} >"$T/out" && fail "mounted with fast commits"
        grep -q 'fast commits' "$T/out" || fail "$(cat "$T/out")"
done
e2fsck -p "$T/fast" >/dev/null || [ $? -eq 1 ]
try "$T/fast" >/dev/null
[ "$(tail -n 1 "$T/mnt/dir/one")" = two ] || fail "what e2fsck has replayed"
fusectl umount "$T/mnt"

say "checksums of the kind before the last, blocks taken back, transactions without an end: made by debugfs, read by the kernel"
mkdir "$T/tree"
head -c 8192 /dev/zero | tr '\0' '\11' >"$T/tree/data"
for i in 1 2 3; do head -c 4096 /dev/zero | tr '\0' "\\$i" >"$T/block$i"; done
for checksum in 2 3 ""; do
        mke2fs -q -F -t ext4 -b 1024 -O "^resize_inode$([ "$checksum" ] || echo ,^metadata_csum)" -J size=1 -d "$T/tree" "$T/a" 4M
        read -r -a b < <(debugfs -c -R 'blocks data' "$T/a" 2>/dev/null)
        printf '%s\n' "jo ${checksum:+-c -v $checksum}" "jw -b ${b[0]},${b[1]},${b[2]},${b[3]} $T/block1" "jw -r ${b[0]} /dev/null" \
                "jw -b ${b[2]},${b[3]},${b[4]},${b[5]} $T/block2" "jw -b ${b[6]} -c $T/block3" jc >"$T/commands"
        debugfs -w -f "$T/commands" "$T/a" >"$T/out" 2>&1 || fail "$(cat "$T/out")"
        needs_recovery "$T/a" || fail "debugfs has made no journal: $(cat "$T/out")"
        cp "$T/a" "$T/kernel"
        native_mount -o loop "$T/kernel" "$T/native"
        expected=$(md5sum <"$T/native/data")
        [ "$(tr -d '\11' <"$T/native/data" | wc -c)" -eq 5120 ] || fail "the kernel makes something else of it"
        umount "$T/native"
        sum=$(md5sum <"$T/a")
        try "$T/a" -o ro,norecovery >/dev/null || fail "norecovery: $(try "$T/a" -o ro,norecovery)"
        cmp "$T/mnt/data" "$T/tree/data" || fail "norecovery has looked at the journal"
        touch "$T/mnt/new" 2>"$T/error" && fail "norecovery writes"
        grep -q 'Read-only file system' "$T/error" || fail "$(cat "$T/error")"
        fusectl umount "$T/mnt"
        [ "$(md5sum <"$T/a")" = "$sum" ] || fail "norecovery has changed it"
        try "$T/a" -o norecovery >"$T/out" && fail "norecovery for writing"
        grep -q 'mount it with -o ro,norecovery' "$T/out" || fail "$(cat "$T/out")"
        for how in ro ""; do
                try "$T/a" ${how:+-o ro} >/dev/null || fail "checksums '$checksum' $how: $(try "$T/a" ${how:+-o ro})"
                [ "$(md5sum <"$T/mnt/data")" = "$expected" ] || fail "checksums '$checksum' $how: $(od -A d -c "$T/mnt/data")"
                fusectl umount "$T/mnt"
        done
        fsck_clean "$T/a"
done

say "damaged: refused, with nothing changed; without it the file system is read as it is"
crash "$T/a" 5 "-t ext4 -b 4096"
last=$(debugfs -c -R logdump "$T/a" 2>/dev/null | sed -n 's/.*type 1 (descriptor block) at block //p' | tail -n 1)
for at in "$last" $((last + 1)); do # the last descriptor, and a block of that transaction, which none replaces
        cp "$T/a" "$T/damaged"
        block=$(debugfs -c -R "bmap <8> $at" "$T/a" 2>/dev/null)
        printf 'damage' | dd of="$T/damaged" bs=1 seek=$((block * 4096 + 2000)) conv=notrunc status=none
        sum=$(md5sum <"$T/damaged")
        for how in "" ro; do
                try "$T/damaged" ${how:+-o ro} >"$T/out" && fail "block $at of the journal is damaged, and it mounts"
                grep -q 'the journal is damaged.*e2fsck -fy.*ro,norecovery' "$T/out" || fail "$(cat "$T/out")"
        done
        [ "$(md5sum <"$T/damaged")" = "$sum" ] || fail "refused, and changed"
        try "$T/damaged" -o ro,norecovery >/dev/null || fail "norecovery: $(try "$T/damaged" -o ro,norecovery)"
        fusectl umount "$T/mnt"
        [ "$(md5sum <"$T/damaged")" = "$sum" ] || fail "norecovery has changed it"
done

say "a file system that was not clean stays so when it has none, for e2fsck to see; a clean one is clean again"
state() { dumpe2fs -h "$1" 2>/dev/null | sed -n 's/^Filesystem state: *//p'; }
mke2fs -q -F -t ext4 -O ^has_journal "$T/a" 16M
try "$T/a" >/dev/null
fusectl umount "$T/mnt"
assert_equal "$(state "$T/a")" clean "the state of a clean one"
debugfs -w -R 'ssv state 0' "$T/a" >/dev/null 2>&1
try "$T/a" >/dev/null
fusectl umount "$T/mnt"
assert_equal "$(state "$T/a")" "not clean" "the state of one that was not"
