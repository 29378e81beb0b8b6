#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# The example of fused-map(3), as it stands there, with what is installed: built by its author, mounted as a type of its own.
. "$TOP/tests/lib/lib.sh"
awk '/^# EXAMPLE$/ {on = 1} on && /^```$/ {n++; next} n == 1' "$TOP/man/fused-map.3.scd" | sed 's/\\\\/\\/g' >"$T/example.c"
awk '/^# EXAMPLE$/ {on = 1} on && /^```$/ {n++; next} n == 3' "$TOP/man/fused-map.3.scd" >"$T/one-file.conf"
library=$(find "$STAGE/lib" -name libfused-server.a)
cflags=$(PKG_CONFIG_PATH=$(dirname "$library")/pkgconfig pkg-config --cflags fused-server)
mkdir -p "$T/programs" "$T/policy/types" "$T/mnt"
# shellcheck disable=SC2086
cc -std=c17 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -Wall -Wextra -Wno-unused-parameter -Werror $cflags -I"$STAGE/include" -o "$T/programs/one-file" "$T/example.c" "$library" \
        -lfuse3 -lpthread || fail "it does not build"
sed "s|^Program=.*|Program=$T/programs/one-file|" "$T/one-file.conf" >"$T/policy/types/one-file.conf"
head -c 16777216 /dev/urandom >"$T/image"
cp "$T/image" "$T/twin"
start_fused
id=$(fusectl mount one-file "$T/image" "$T/mnt")
assert_equal "$(fusectl --json status "$id" | json "d['mapping']['threads']")" 4 "threads"
cmp "$T/mnt/data" "$T/twin" || fail "it does not read as the image"
head -c 100000 /dev/urandom >"$T/piece"
for file in "$T/mnt/data" "$T/twin"; do dd if="$T/piece" of="$file" bs=64K seek=777777 oflag=seek_bytes conv=notrunc,fsync status=none; done
cmp "$T/mnt/data" "$T/twin" || fail "what was written does not read back"
! truncate -s 1M "$T/mnt/data" 2>/dev/null || fail "it has become shorter"
fusectl umount "$T/mnt"
cmp "$T/image" "$T/twin" || fail "the image is not what was written"
