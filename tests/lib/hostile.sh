# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Runs every behaviour of a misbehaving server. Which of them must still end in a working mount is said here, so that a
# refusal of what is harmless shows up as well as the acceptance of what is not. Sourced after lib.sh.

# Behaviours that end in a mount: they are refused a request and go on, or are only noisy.
WORKS='^(good|path:|flags:|send-fd-late|flood-stderr|hang-after-init|open:|ro$)'

hostile_matrix() { # PROGRAM
        local program=$1 behaviour type status works=0 refused=0 manager
        use_program "$program"
        mkdir "$T/mnt"
        truncate -s 1M "$T/file"
        local list=()
        mapfile -t list < <(behaviours "$program")
        [ ${#list[@]} -ge 8 ] || fail "$program lists only ${#list[@]} behaviours"
        for behaviour in "${list[@]}"; do use_type "$program" "BEHAVIOUR=$behaviour" "$(type_name "$behaviour")"; done
        start_fused
        manager=$(manager_pid)
        # the first mount fills what is kept per type or for ever, so that descriptors can be compared from here
        for behaviour in "${list[@]}"; do
                type=$(type_name "$behaviour")
                status=0
                OUT=$(timeout -k 5 30 "$STAGE/bin/fusectl" --runtime-directory "$T/run" mount "$type" "$T/file" "$T/mnt" 2>&1) || status=$?
                printf '%-28s %d  %s\n' "$behaviour" $status "$(tr '\n' ' ' <<<"$OUT" | cut -c -230)"
                if [ $status -eq 0 ]; then
                        [[ $behaviour =~ $WORKS ]] || fail "$behaviour ended in a mount"
                        works=$((works + 1))
                        not_mounted "$T/mnt" || grep -qE " $T/mnt .*nosuid,nodev" /proc/self/mountinfo || fail "$behaviour: not nosuid,nodev"
                        fusectl abort "$OUT" || [ $? -eq 4 ] || fail "$behaviour: it cannot be aborted" # 4: it has ended by itself
                else
                        [ $status -eq 1 ] || [ $status -eq 3 ] || fail "$behaviour: exit status $status"
                        [ ${#OUT} -gt 20 ] || fail "$behaviour: no reason told: $OUT"
                        [ "$behaviour" != good ] || fail "good was refused: $OUT"
                        refused=$((refused + 1))
                fi
                [ "$(manager_pid)" = "$manager" ] || fail "$behaviour: the manager has ended"
                not_mounted "$T/mnt" || fail "$behaviour: still mounted"
                fusectl types >/dev/null || fail "$behaviour: fused does not answer"
        done
        echo "$works worked, $refused refused"
        [ $refused -ge 5 ] && [ $works -ge 1 ] || fail "the matrix shows nothing"
}
type_name() { echo "h-$(tr 'A-Z:/=_' 'a-z----' <<<"$1" | tr -cd 'a-z0-9.-' | cut -c -28)"; }
