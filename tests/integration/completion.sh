#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# What bash offers for fusectl, fused and mount.fused, with a supervisor that runs; and that names of others are never run. zsh: that its
# file can be read.
. "$TOP/tests/lib/lib.sh"
make_squashfs_image "$T/image"
evil=$T/'a b $(touch ran)`touch ran`'
cd "$T" # a name that is run would leave its mark here
mkdir "$T/mnt" "$evil"
start_fused
id=$(fusectl mount squashfs "$T/image" "$T/mnt")
fusectl mount squashfs "$T/image" "$evil" >/dev/null

# offers COMMAND WORD...: what is offered for the last word, one a line
cat >"$T/offers" <<'END'
. "$STAGE/share/bash-completion/completions/$1"
complete -p "$1" >/dev/null || exit 1
COMP_WORDS=("$@")
[ "$1" != fusectl ] || COMP_WORDS=("$STAGE/bin/fusectl" --runtime-directory "$T/run" "${@:2}")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
function=$(complete -p "$1" | sed 's/.*-F \([^ ]*\).*/\1/')
"$function"
[ ${#COMPREPLY[@]} -eq 0 ] || printf '%s\n' "${COMPREPLY[@]}"
END
offers() { bash "$T/offers" "$@" | sort | paste -sd' '; }

say "commands: all that there are"
commands=$(fusectl --help | sed -n 's/^  \([a-z][a-z]*\) .*/\1/p' | sort -u | paste -sd' ')
assert_equal "$(offers fusectl '')" "$commands" "commands"
assert_equal "$(offers fusectl m)" "metrics monitor mount"
assert_equal "$(offers fusectl --j)" --json

say "types, ids and mount points of the running supervisor"
types=$(fusectl --json types | json '" ".join(sorted(t["name"] for t in d))')
assert_equal "$(offers fusectl mount '')" "$types" "types"
assert_equal "$(offers fusectl mount sq)" squashfs
assert_equal "$(offers fusectl umount "$id")" "$id"
assert_equal "$(offers fusectl status "$T/m")" "$T/mnt"
assert_equal "$(bash "$T/offers" fusectl umount "$T/a")" "$evil" "a name with blanks and more"
assert_equal "$(offers fusectl umount '' | wc -w)" "$(printf '%s\n' "$id" "$T/mnt" 2 "$evil" | wc -w)"
[ ! -e "$T/ran" ] || fail "a name was run"
assert_equal "$(offers fusectl umount x)" ""

say "files, options, options of fused and mount.fused"
[[ " $(offers fusectl mount squashfs "$T/im") " == *" $T/image "* ]] || fail "no files: $(offers fusectl mount squashfs "$T/im")"
assert_equal "$(offers fusectl mount squashfs image mnt -o ro,noa)" "ro,noatime"
assert_equal "$(offers fusectl top --d)" --delay
assert_equal "$(offers fused --)" "$("$STAGE/sbin/fused" --help | grep -oE -- '--[a-z-]+' | sort -u | paste -sd' ')" "options of fused"
assert_equal "$(offers fused --launcher e)" embedded
assert_equal "$(offers mount.fused x y -)" "-N -f -n -o -s -t -v"
mkdir -p "$T/bin"
printf '#!/bin/sh\nexec %s/bin/fusectl --runtime-directory %s/run "$@"\n' "$STAGE" "$T" >"$T/bin/fusectl"
chmod 755 "$T/bin/fusectl"
for type in $types; do
        offered=$(PATH=$T/bin:$PATH; offers mount.fused x y -t "fused.$type")
        [[ " $offered " == *" fused.$type "* ]] || fail "fused.$type is not among: $offered"
done

say "zsh"
zsh -f -n "$STAGE/share/zsh/vendor-completions/_fusectl"
zsh -f -c "fpath=($STAGE/share/zsh/vendor-completions \$fpath); autoload -Uz compinit; compinit -D -u; [[ \$_comps[fusectl] == _fusectl && \$_comps[mount.fused] == _fusectl ]]" || fail "zsh does not know it"
fusectl umount "$id"
fusectl umount "$evil"
