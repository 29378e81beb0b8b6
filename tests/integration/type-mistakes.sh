#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Mistakes in type files: each names file, line and key and disables that type alone.
. "$TOP/tests/lib/lib.sh"
make_squashfs_image "$T/squash"
use_type plain good
lines=() keys=()
mistake() { # NAME KEY SED-EXPRESSION: makes the good type bad; the line is where the result differs first
        mkdir -p "$T/policy/types"
        sed -E "$3" "$T/policy/types/good.conf" >"$T/policy/types/$1.conf"
        local line
        line=$({ cmp "$T/policy/types/good.conf" "$T/policy/types/$1.conf" || true; } | sed 's/.*line //')
        [ -n "$line" ] || fail "$1: nothing was changed"
        lines+=("$1:$line") keys+=("$2")
}
mistake unknown-key Colour 's/^HandOver=fd/Colour=blue\n&/'
mistake bad-hand-over HandOver 's/^HandOver=fd/HandOver=nonsense/'
mistake bad-time Init 's/^Init=.*/Init=soon/'
mistake bad-bool Writable 's/^Writable=.*/Writable=perhaps/'
mistake bad-source Accept 's/^Accept=.*/Accept=network/'
mistake no-program Program 's/^Program=.*/Program=\/nonexistent/'
mistake relative-program Program 's/^Program=.*/Program=sh/'
mistake bad-specifier Arguments 's/^Arguments=.*/Arguments=%q/'
mistake unknown-slot Arguments 's/^Arguments=.*/Arguments=%{journal}/'
mistake bad-user Users 's/^Users=.*/Users=nobody-of-that-name/'
mistake bad-option Sources 's/^Sources=.*/Sources=everything/'
start_fused
for i in "${!lines[@]}"; do
        name=${lines[$i]%%:*} line=${lines[$i]##*:}
        text=$(fusectl --json types | json "[t['disabled'] for t in d if t['name'] == '$name'][0]")
        echo "$name: $text"
        [[ $text == *"$name.conf:$line: "*"${keys[$i]}"* ]] || fail "$name: expected $name.conf:$line: ${keys[$i]}, got: $text"
        assert_log "$name\.conf:$line: ${keys[$i]}"
        expect_fusectl 3 mount "$name" none "$T"
        out_has '\[type-disabled\]'
done
say "the others are taken"
mkdir "$T/mnt"
fusectl mount good "$T/squash" "$T/mnt" >/dev/null
fusectl umount "$T/mnt"
assert_equal "$(fusectl --json types | json "[t['name'] for t in d if not t['disabled'] and t['name'] in ('ext4', 'mirror', 'squashfs')]")" "['ext4', 'mirror', 'squashfs']"
say "a program that others may write is not run"
install -m 777 -D /usr/bin/squashfuse_ll "$T/programs/open"
sed "s|^Program=.*|Program=$T/programs/open|" "$T/policy/types/good.conf" >"$T/policy/types/open.conf"
kill -HUP "$FUSED_PID"
assert_log "open\.conf:[0-9]+: Program"
