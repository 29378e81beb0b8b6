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
    assert (magic, version, index, n) == (b"fusdstrp", 2, i, len(devices)) and at(i, 48, 32) == sha256(at(i, 0, 48)), i
    assert i == 0 or (shift, uuid, n_rows) == first, "the headers differ"
    first = (shift, uuid, n_rows)
chunk = 1 << shift
head = (63 * 4096 + chunk - 1) // chunk * chunk
sizes = [device.seek(0, 2) for device in devices]
assert n_rows == (min(sizes) - head) // chunk, "rows"
copies = []
for block in (1, 32):
    table = at(0, block * 4096, 31 * 4096)
    magic, digest, sequence, table_uuid, n_runs, zero = struct.unpack_from("<8s32sQ16sII", table)
    assert (magic, table_uuid, zero) == (b"fusdstrt", uuid, 0) and digest == sha256(table[40:60072 + 16 * n_runs]), block
    copies.append(table[:60072 + 16 * n_runs])
assert copies[0] == copies[1], "the copies differ"
runs = list(struct.iter_unpack("<QQ", table[60072:60072 + 16 * n_runs]))
used, so_far = set(), 0
for place in range(500):
    name, size, rows, mtime, mode, uid, gid, generation, first_run, n = struct.unpack_from("<72sQQqIIIIII", table, 72 + 120 * place)
    name = name[:name.index(0)].decode()
    assert first_run == so_far and (name or n == 0), place
    so_far += n
    own = [row for start, count in runs[first_run:first_run + n] for row in range(start, start + count)]
    assert len(own) == rows and not used & set(own) and all(row < n_rows for row in own), name
    used |= set(own)
    if not name:
        continue
    digest = hashlib.sha256()
    for pos in range(0, size, chunk):
        k = pos // chunk
        digest.update(at(k % len(devices), head + own[k // len(devices)] * chunk, min(chunk, size - pos)))
    if size % 4096:
        k, within = size // chunk, size % chunk
        rest = at(k % len(devices), head + own[k // len(devices)] * chunk + within, -size % 4096)
        assert not any(rest), f"{name}: no zeroes behind the end"
    print(digest.hexdigest(), name, f"{mode:o}", uid, gid, mtime, size)
assert so_far == n_runs
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
[ "$(stripe list --json "${seven[@]}" | json "max(len(f['runs']) for f in d['files'])")" -gt 1 ] || fail "no file has two runs"
assert_equal "$(read_raw | awk '$2 == "one" || $2 == "two" {print $1}')" "$(cd "$T/twin" && sha256sum one two | cut -d' ' -f1)" "contents of the devices"
fusectl mount stripe "${seven[0]}" "$T/mnt" -o "$options" >/dev/null
for f in one two; do cmp "$T/mnt/$f" "$T/twin/$f" || fail "$f differs after a mount"; done

fusectl umount "$T/mnt"
stripe check "${seven[@]}" >/dev/null
for l in "${seven[@]}"; do detach_loop "$l"; done
