# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# What the cases share. $T is the case's own directory; fusectl is the installed one, with /run/fused.
set -eu -o pipefail
: "${T:?}" "${STAGE:?}" "${TOP:?}"
ALICE=21001

say() { printf '== %s\n' "$*"; }
fail() {
        printf 'FAILED at %s line %s: %s\n' "$(basename "${BASH_SOURCE[-1]}")" "${BASH_LINENO[-2]}" "$*" >&2
        exit 1
}
assert_equal() { [ "$1" = "$2" ] || fail "${3:-value}: '$1' instead of '$2'"; }
wait_for() { # WHAT SECONDS COMMAND...
        local what=$1 end=$((SECONDS + $2))
        shift 2
        until "$@"; do
                [ $SECONDS -lt $end ] || fail "$what does not happen"
                sleep 0.05
        done
}
json() { /usr/bin/python3 -c 'import json,sys
d = json.load(sys.stdin)
print(eval(sys.argv[1]))' "$1"; }
field() { fusectl --json status "$1" | json "d['$2']"; }
as_user() { setpriv --reuid "$1" --regid "$1" --clear-groups --inh-caps=-all --bounding-set=-all --reset-env -- "${@:2}"; }
make_squashfs() { # FILE
        mkdir -p "$T/tree/dir"
        echo text >"$T/tree/file"
        mksquashfs "$T/tree" "$1" -quiet -no-progress >/dev/null
}
make_ext4() { # FILE
        truncate -s 16M "$1"
        mke2fs -q -t ext4 -E root_owner="${2:-0:0}" "$1"
}
units_of() { systemctl list-units --plain --no-legend --full "fuse-service-$1@*" | awk '{ print $1 }'; }
no_units_of() { [ -z "$(units_of "$1")" ]; }
main_pid() { systemctl show -P MainPID "$1"; }
restore() { # everything as a case wants to find it
        systemctl reset-failed
        systemctl restart fused.socket
}
