#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# TIMEOUT: 120
# Striped volumes of seven devices, filled from a directory; what is on the devices, read without our code.
. "$TOP/tests/lib/lib.sh"
stripe() { "$STAGE/bin/fused-stripe" "$@"; }
mkdir "$T/mnt" "$T/twin"
start_fused

say "a tree's files, over seven members; what the devices hold is what the manual says"
seven=() options=""
for i in 0 1 2 3 4 5 6; do
        truncate -s 12M "$T/s$i"
        attach_loop "$T/s$i"
        seven+=("$LOOP")
        [ $i = 0 ] || options+=${options:+,}slot.device$i=$LOOP
done
stripe create --chunk 8K "${seven[@]}"
mkdir "$T/files"
for size in 0 1 8192 8193 500000 3000000; do head -c $size /dev/urandom >"$T/files/f$size"; done
touch -d '1960-01-01 00:00:00.25 UTC' "$T/files/f1"
chmod 4751 "$T/files/f8192"
chown 1234:4321 "$T/files/f8192"
mkdir "$T/files/directory"
message=$(stripe fill "$T/files" "${seven[@]}" 2>&1) && fail "a directory was taken"
assert_equal "$message" "fused-stripe: directory: it is no regular file; a striped volume has no others, and no directories"
rmdir "$T/files/directory"
assert_equal "$(stripe list --json "${seven[@]}" | json "d['files']")" "[]" "files after a refusal"
assert_equal "$(stripe fill --json "$T/files" "${seven[@]}" | json "d['files'], d['bytes']")" "(6, 3516386)"
message=$(stripe fill "$T/files" "${seven[@]}" 2>&1) && fail "it was filled twice"
grep -q "^fused-stripe: f0: File exists" <<<"$message" || fail "$message"
mkdir "$T/more" && truncate -s 200M "$T/more/large"
message=$(stripe fill "$T/more" "${seven[@]}" 2>&1) && fail "200M fit into 84M"
assert_equal "$message" "fused-stripe: large: there is no room for it"
read_raw() { # no code of ours, from the first byte on: the format as fused-stripe(1) has it
        python3 - "${seven[@]}" <<'PY' | sort -k 2
import hashlib, struct, sys
sha256 = lambda data: hashlib.sha256(data).digest()
devices = [open(path, "rb") for path in sys.argv[1:]]

def at(device, offset, size):
    devices[device].seek(offset)
    return devices[device].read(size)

for i in range(len(devices)):
    magic, version, index, n, shift, uuid, n_rows = struct.unpack("<8sIIII16sQ", at(i, 0, 48))
    assert (magic, version, index, n) == (b"fusdstrp", 3, i, len(devices)) and at(i, 48, 32) == sha256(at(i, 0, 48)), i
    assert i == 0 or (shift, uuid, n_rows) == first, "the headers differ"
    first = (shift, uuid, n_rows)
chunk = 1 << shift
head = (81 * 4096 + chunk - 1) // chunk * chunk
sizes = [device.seek(0, 2) for device in devices]
assert n_rows == (min(sizes) - head) // chunk, "rows"
copies = []
for block in (1, 41):
    table = at(0, block * 4096, 40 * 4096)
    magic, digest, sequence, table_uuid, n_runs, n_gaps, gaps_digest = struct.unpack_from("<8s32sQ16sII32s", table)
    runs, gaps = table[64104:64104 + 16 * n_runs], table[129640:129640 + 16 * n_gaps]
    assert (magic, table_uuid, digest, gaps_digest) == (b"fusdstrt", uuid, sha256(table[40:64104] + runs), sha256(gaps)), block
    copies.append((table[:64104], runs, gaps))
assert copies[0] == copies[1], "the copies differ"
runs, gaps = (list(struct.iter_unpack("<QQ", array)) for array in (runs, gaps))
used, so_far, gaps_so_far = set(), 0, 0
for place in range(500):
    (name, size, rows, mtime, mode, removed, uid, gid, generation, first_run, n, first_gap,
     n_own_gaps) = struct.unpack_from("<72sQQqHHIIIIIII", table, 104 + 128 * place)
    name = name[:name.index(0)].decode()
    assert first_run == so_far and first_gap == gaps_so_far and removed == 0 and (name or n == 0), place
    so_far += n
    gaps_so_far += n_own_gaps
    never_written = {block for start, count in gaps[first_gap:first_gap + n_own_gaps] for block in range(start // 4096, (start + count) // 4096)}
    own = [row for start, count in runs[first_run:first_run + n] for row in range(start, start + count)]
    assert len(own) == rows and not used & set(own) and all(row < n_rows for row in own), name
    used |= set(own)
    if not name:
        continue
    digest = hashlib.sha256()
    for pos in range(0, size, 4096):
        k, within = pos // chunk, pos % chunk
        block = at(k % len(devices), head + own[k // len(devices)] * chunk + within, 4096) if pos // 4096 not in never_written else bytes(4096)
        digest.update(block[:size - pos])
        assert not any(block[size - pos:]), f"{name}: no zeroes behind the end"
    print(digest.hexdigest(), name, f"{mode:o}", uid, gid, mtime, size)
assert (so_far, gaps_so_far) == (n_runs, n_gaps)
PY
}
facts_of() { # DIRECTORY: the same of a tree
        python3 - "$1" <<'PY' | sort -k 2
import hashlib, os, sys
for entry in os.scandir(sys.argv[1]):
    st = entry.stat()
    print(hashlib.sha256(open(entry, "rb").read()).hexdigest(), entry.name, f"{st.st_mode & 0o7777:o}", st.st_uid, st.st_gid, st.st_mtime_ns, st.st_size)
PY
}
assert_equal "$(read_raw)" "$(facts_of "$T/files")" "what the devices hold"
fusectl mount stripe "${seven[0]}" "$T/mnt" -o "$options" >/dev/null
(cd "$T/files" && sha256sum -- *) | (cd "$T/mnt" && sha256sum -c --quiet) || fail "what was filled in reads differently"
for f in f1 f8192; do assert_equal "$(stat -c '%a %u %g %y %s' "$T/mnt/$f")" "$(stat -c '%a %u %g %y %s' "$T/files/$f")" "attributes of $f"; done
touch -d '1969-12-31 23:59:59.999999999 UTC' "$T/mnt/f0"
assert_equal "$(stat -c '%.9Y' "$T/mnt/f0")" "-0.000000001" "a nanosecond before 1970"
assert_equal "$(fusectl --json status "$T/mnt" | json "list(d['slots'].values()).count('device')")" 7 "slots"

truncate -s 100000 "$T/mnt/f0"
printf end | dd of="$T/mnt/f1" bs=1 seek=50000 conv=notrunc status=none

say "two that grow by turns take all the room there is; the devices hold them as well"
python3 - "$T/mnt" "$T/twin" <<'PY'
import errno, os, sys
mount, twin = sys.argv[1:]
names, full, step = ["one", "two"], set(), 0
files = {name: (os.open(f"{mount}/{name}", os.O_RDWR | os.O_CREAT), open(f"{twin}/{name}", "wb")) for name in names}
while len(full) < 2 and step < 100000:
    name = names[step % 2]
    step += 1
    data = os.urandom(57344 * 3)
    try:
        n = os.write(files[name][0], data)
        os.fsync(files[name][0])
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        full.add(name)
        os.ftruncate(files[name][0], files[name][1].tell())
        continue
    files[name][1].write(data[:n])
st = os.statvfs(mount)
if st.f_bfree * 50 > st.f_blocks:
    sys.exit(f"full with {st.f_bfree} of {st.f_blocks} chunks free")
PY
for f in one two; do cmp "$T/mnt/$f" "$T/twin/$f" || fail "$f differs"; done
facts_of "$T/mnt" >"$T/seen"
fusectl umount "$T/mnt"
assert_equal "$(read_raw)" "$(cat "$T/seen")" "what the devices hold, and the mount gave"
[ "$(stripe list --json "${seven[@]}" | json "sum(f['gaps'] for f in d['files'])")" -ge 2 ] || fail "no file has a gap"
[ "$(stripe list --json "${seven[@]}" | json "max(len(f['runs']) for f in d['files'])")" -gt 1 ] || fail "no file has two runs"
assert_equal "$(read_raw | awk '$2 == "one" || $2 == "two" {print $1}')" "$(cd "$T/twin" && sha256sum one two | cut -d' ' -f1)" "contents of the devices"
fusectl mount stripe "${seven[0]}" "$T/mnt" -o "$options" >/dev/null
for f in one two; do cmp "$T/mnt/$f" "$T/twin/$f" || fail "$f differs after a mount"; done

fusectl umount "$T/mnt"
stripe check "${seven[@]}" >/dev/null
for l in "${seven[@]}"; do detach_loop "$l"; done
