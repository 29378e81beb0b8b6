#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# SUBSET: asan
# The user engine: one file on a device, whose mappings the library uses to move the data.
. "$TOP/tests/lib/lib.sh"
use_program one-file
use_type one-file LISTED= one-file
head -c 33554432 /dev/urandom >"$T/image"
cp "$T/image" "$T/twin"
head -c 4194304 /dev/urandom >"$T/source"
mkdir "$T/mnt"
start_fused

mapping_of() { fusectl --json status "$1" | json "d['mapping']['$2']"; }

# What is written through the mount stands in the image at the same place (or two chunks exchanged), and nowhere else.
exercise() { # TWIN
        local twin=$1 i offset size
        cmp "$T/mnt/data" "$twin" || fail "the file does not read as the image"
        for i in $(seq 40); do
                offset=$((RANDOM * 1000 + RANDOM)) size=$((RANDOM * 3 + 1))
                head -c $size /dev/urandom >"$T/piece"
                dd if="$T/piece" of="$T/mnt/data" bs=64K oflag=seek_bytes seek=$offset conv=notrunc status=none
                dd if="$T/piece" of="$twin" bs=64K oflag=seek_bytes seek=$offset conv=notrunc status=none
                if [ $((i % 4)) -eq 0 ]; then # past the page cache, in whole blocks
                        dd if="$T/source" of="$T/mnt/data" bs=16K count=3 skip=$i seek=$((i * 7)) oflag=direct conv=notrunc status=none
                        dd if="$T/source" of="$twin" bs=16K count=3 skip=$i seek=$((i * 7)) conv=notrunc status=none
                fi
        done
        sync "$T/mnt/data"
        cmp "$T/mnt/data" "$twin" || fail "what was written does not read back"
        cmp <(dd if="$T/mnt/data" bs=12K iflag=direct status=none) "$twin" || fail "direct reads differ"
}

say "an image file"
id=$(fusectl mount one-file "$T/image" "$T/mnt")
assert_equal "$(fusectl --json status "$id" | json "d['engine']")" user
assert_equal "$(mapping_of "$id" threads)" 4 "threads with a descriptor each"
exercise "$T/twin"
[ "$(mapping_of "$id" answered-by-server)" -gt 40 ] || fail "nobody was asked"
fusectl status "$id" | grep -q 'lookups *.*by the server' || fail "status says nothing of lookups"
fusectl metrics >"$T/metrics"
/usr/bin/python3 "$TOP/tests/lib/prometheus.py" "$T/metrics" >"$T/metrics.json"
value() { json "[int(v) for n, l, v in d if n == 'fused_mount_$1' and all(l.get(k) == x for k, x in ($2).items())]" <"$T/metrics.json"; }
assert_equal "$(value lookups_total "{'by': 'server'}")" "[$(mapping_of "$id" answered-by-server)]" "lookups in the metrics"
assert_equal "$(value device_bytes_total "{'direction': 'read'}")" "[$(mapping_of "$id" bytes-read)]" "bytes in the metrics"
assert_equal "$(value bad_mappings_total "{}")" "[0]" "bad mappings in the metrics"
fusectl umount "$T/mnt"
cmp "$T/image" "$T/twin" || fail "the image is not what was written"

say "a device, chunks exchanged, requests over many mappings"
attach_loop "$T/image"
fusectl mount one-file "$LOOP" "$T/mnt" -o chunk=8192 >/dev/null
python3 - "$T/image" "$T/twin" <<'PY'
import sys
data = open(sys.argv[1], "rb").read()
n = 8192
with open(sys.argv[2], "wb") as twin:
    for at in range(0, len(data), 2 * n):
        twin.write(data[at + n:at + 2 * n] + data[at:at + n])
PY
exercise "$T/twin"
fusectl umount "$T/mnt"
detach_loop "$LOOP"
python3 - "$T/image" "$T/twin" <<'PY' || fail "the device is not what was written"
import sys
data, twin = open(sys.argv[1], "rb").read(), open(sys.argv[2], "rb").read()
n = 8192
sys.exit(any(twin[at:at + n] != data[at + n:at + 2 * n] or twin[at + n:at + 2 * n] != data[at:at + n] for at in range(0, len(data), 2 * n)))
PY

say "mappings that break the rules: that operation fails, nothing else"
for lie in device end empty unaligned elsewhere type wrap; do
        id=$(fusectl mount one-file "$T/image" "$T/mnt" -o chunk=65536,lie=$lie)
        cmp -n 16000000 "$T/mnt/data" "$T/image" >/dev/null || [ $? -eq 1 ] || fail "$lie: the good half cannot be read"
        message=$(dd if="$T/mnt/data" of=/dev/null bs=64K skip=300 count=1 iflag=direct 2>&1) && fail "$lie: it was read"
        grep -q "needs cleaning" <<<"$message" || fail "$lie: not EUCLEAN: $message"
        message=$(dd if=/dev/zero of="$T/mnt/data" bs=64K seek=300 count=1 oflag=direct conv=notrunc 2>&1) && fail "$lie: it was written"
        grep -q "needs cleaning" <<<"$message" || fail "$lie: not EUCLEAN: $message"
        dd if="$T/mnt/data" of=/dev/null bs=64K count=10 iflag=direct status=none || fail "$lie: the mount has not survived"
        [ "$(mapping_of "$id" bad-mappings)" -ge 2 ] || fail "$lie: not counted"
        assert_equal "$(fusectl status "$id" | grep -c 'bad mapping from the server')" 1 "$lie: said once"
        fusectl umount "$T/mnt"
done
