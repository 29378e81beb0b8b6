#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# SIGHUP: a type with a mistake is disabled alone, with file, line and key named; live mounts keep the definition they have.
. "$TOP/tests/lib/lib.sh"
make_squashfs_image "$T/squash"
use_type plain good
mkdir "$T/mnt" "$T/mnt2"
start_fused
id=$(fusectl mount good "$T/squash" "$T/mnt")
generation() { busctl --address="unix:path=$T/run/control" get-property org.fused1 /org/fused1 org.fused1.Manager Generation | cut -d' ' -f2; }
disabled() { fusectl --json types | json "[t['disabled'] for t in d if t['name'] == '$1'][0]"; }
reload() { local was; was=$(generation); kill -HUP "$FUSED_PID"; newer() { [ "$(generation)" -gt "$was" ]; }; wait_for "the new policy" 15 newer; }

say "a mistake"
line=$(($(wc -l <"$T/policy/types/good.conf") + 2))
printf '\n%s\n' 'Colour=blue' >>"$T/policy/types/good.conf"
use_type plain another
reload
[[ $(disabled good) == *good.conf:$line*Colour* ]] || fail "the mistake is not named: $(disabled good)"
assert_log "good\.conf:$line: Colour"
assert_equal "$(disabled another)" "" "the other type"
assert_equal "$(disabled ext4)" "" "ext4"
expect_fusectl 3 mount good "$T/squash" "$T/mnt2"
out_has 'type-disabled'; out_has "good.conf:$line"
ls "$T/mnt" >/dev/null || fail "the live mount is not served any more"
assert_equal "$(field "$id" type)" good
other=$(fusectl mount another "$T/squash" "$T/mnt2")
fusectl umount "$other"

say "mended, and one removed"
use_type plain good
rm "$T/policy/types/another.conf"
reload
assert_equal "$(disabled good)" ""
expect_fusectl 3 mount another "$T/squash" "$T/mnt2"
out_has 'no-such-type'
second=$(fusectl mount good "$T/squash" "$T/mnt2")
fusectl umount "$second"
fusectl umount "$id"

say "a drop-in"
mkdir "$T/policy/types/ext4.conf.d"
printf '[Type]\nReadOnly=yes\n' >"$T/policy/types/ext4.conf.d/50-ro.conf"
reload
assert_equal "$(fusectl --json types | json "[t['read-only'] for t in d if t['name'] == 'ext4'][0]")" True
