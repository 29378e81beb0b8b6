#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# TIMEOUT: 90
# Names that are exchanged with others while somebody mounts and unmounts by them, each for three seconds: the mount point, the
# source, the path of an unmount. Checked by mount ids. A race in which the names did not change, or nothing was ever
# mounted, proves nothing and fails.
. "$TOP/tests/lib/lib.sh"
ROUND=3
start_fused
install -d -o $ALICE -g $ALICE "$T/alice"
install -d -o $BOB -g $BOB "$T/bob"
make_squashfs_image "$T/image"
chmod 644 "$T/image"
install -d "$T/victim" "$T/private"
fusectl_alice() { fusectl_as $ALICE "$@"; }
swap() { # A B: in alice's directory, in the background
        as_user $ALICE /usr/bin/python3 "$TOP/tests/integration/exchange.py" "$T/alice" "$1" "$2" >"$T/swaps" &
        SWAPPER=$!
}
swapped() { # at least so often
        local exchanger
        exchanger=$(pgrep -P "$SWAPPER" || echo "$SWAPPER")
        kill -TERM $exchanger
        wait $SWAPPER || true
        echo "exchanged $(cat "$T/swaps") times; $1"
        [ "$(cat "$T/swaps")" -gt 1000 ] || fail "the names hardly changed"
}
mounts_at() { awk -v at="$1" '$5 == at { print $1 }' /proc/self/mountinfo; }

say "mountpoint-toctou: a directory of her own, exchanged with a link to one that is not"
as_user $ALICE mkdir "$T/alice/mnt"
as_user $ALICE ln -s "$T/victim" "$T/alice/link"
swap mnt link
good=0 bad=0 end=$((SECONDS + ROUND))
while [ $SECONDS -lt $end ]; do
        if id=$(fusectl_alice mount squashfs "$T/image" "$T/alice/mnt" 2>"$T/err"); then
                good=$((good + 1))
                [ -z "$(mounts_at "$T/victim")" ] || fail "mounted on what is not hers"
                fusectl_alice umount "$id"
        else
                bad=$((bad + 1))
                grep -qE 'mountpoint|symbolic|directory|no such|No such' "$T/err" || fail "refused for another reason: $(cat "$T/err")"
                [ -z "$(mounts_at "$T/victim")" ] || fail "mounted on what is not hers"
        fi
done
swapped "$good mounted, $bad refused"
[ $good -ge 20 ] && [ $bad -ge 20 ] || fail "only $good and $bad"

say "symlink-component: a part of the path is exchanged"
as_user $ALICE mkdir -p "$T/alice/part/mnt"
install -d "$T/victim/mnt"
as_user $ALICE ln -s "$T/victim" "$T/alice/partlink"
swap part partlink
good=0 bad=0 end=$((SECONDS + ROUND))
while [ $SECONDS -lt $end ]; do
        if id=$(fusectl_alice mount squashfs "$T/image" "$T/alice/part/mnt" 2>/dev/null); then
                good=$((good + 1))
                [ -z "$(mounts_at "$T/victim/mnt")" ] || fail "mounted on what is not hers"
                fusectl_alice umount "$id"
        else bad=$((bad + 1)); fi
done
swapped "$good mounted, $bad refused"
[ $good -ge 20 ] && [ $bad -ge 20 ] || fail "only $good and $bad"

say "confused-deputy: the source is exchanged with a link to what only root can read"
mkdir "$T/secret"
echo secret >"$T/secret/file"
mksquashfs "$T/secret" "$T/private/image" -quiet -no-progress >/dev/null
chmod 600 "$T/private/image"
as_user $ALICE cp "$T/image" "$T/alice/img"
as_user $ALICE ln -s "$T/private/image" "$T/alice/imglink"
as_user $ALICE mkdir "$T/alice/point"
swap img imglink
good=0 bad=0 end=$((SECONDS + ROUND))
while [ $SECONDS -lt $end ]; do
        if id=$(fusectl_alice mount squashfs "$T/alice/img" "$T/alice/point" 2>/dev/null); then
                good=$((good + 1))
                assert_equal "$(as_user $ALICE cat "$T/alice/point/file")" text "what she reads"
                fusectl_alice umount "$id"
        else bad=$((bad + 1)); fi
done
swapped "$good mounted, $bad refused"
[ $good -ge 20 ] && [ $bad -ge 20 ] || fail "only $good and $bad"

say "unmount-by-path: her mount point is exchanged with a link to bob's"
as_user $BOB mkdir "$T/bob/mnt"
fusectl_as $BOB mount squashfs "$T/image" "$T/bob/mnt" >/dev/null
bobs=$(mounts_at "$T/bob/mnt")
as_user $ALICE mkdir -p "$T/alice/own" "$T/alice/stage"
as_user $ALICE ln -s "$T/bob/mnt" "$T/alice/stage/b"
# a mount point itself cannot be renamed: links to both are
as_user $ALICE ln -s "$T/alice/own" "$T/alice/a-link"
as_user $ALICE ln -s "$T/bob/mnt" "$T/alice/b-link"
swap a-link b-link
good=0 bad=0 end=$((SECONDS + ROUND))
fusectl_alice mount squashfs "$T/image" "$T/alice/own" >/dev/null
while [ $SECONDS -lt $end ]; do
        if fusectl_alice umount "$T/alice/a-link" 2>/dev/null; then
                good=$((good + 1))
                fusectl_alice mount squashfs "$T/image" "$T/alice/own" >/dev/null
        else bad=$((bad + 1)); fi
        assert_equal "$(mounts_at "$T/bob/mnt")" "$bobs" "bob's mount"
done
swapped "$good unmounted, $bad refused"
[ $good -ge 20 ] && [ $bad -ge 20 ] || fail "only $good and $bad"
fusectl_alice umount "$T/alice/own"
fusectl_as $BOB umount "$T/bob/mnt"

say "option-injection: words that would be two, or another, to a second parser"
install -d -o $ALICE "$T/alice/opt"
for word in 'ro,suid' 'offset=0\,allow_other' $'offset=0\nsuid' 'offset=0,dev' 'fd=7' 'rootmode=40000' 'user_id=0' 'group_id=0' 'fsname=x,suid' '-oro' 'subtype=x' 'context=x'; do
        if id=$(fusectl_alice mount squashfs "$T/image" "$T/alice/opt" -o "$word" 2>/dev/null); then
                options=$(awk -v at="$T/alice/opt" '$5 == at { print $6 "," $NF }' /proc/self/mountinfo)
                grep -q nosuid <<<"$options" && grep -q nodev <<<"$options" || fail "$word: $options"
                ! grep -q allow_other <<<"$options" || fail "$word: $options"
                grep -q "user_id=$ALICE" <<<"$options" || fail "$word: $options"
                fusectl_alice umount "$id"
        fi
done
id=$(fusectl_alice mount squashfs "$T/image" "$T/alice/opt" -o ro,noexec,offset=0)
awk -v at="$T/alice/opt" '$5 == at { print $6 }' /proc/self/mountinfo | grep -q noexec || fail "the neighbour does not work"
fusectl_alice umount "$id"
assert_nothing_held
