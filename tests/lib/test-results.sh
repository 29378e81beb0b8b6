#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# What test.sh counts (results.sh): a part that breaks without a word is a failure, one that says itself what failed is counted once.
set -u -o pipefail
# shellcheck source=tests/lib/results.sh
. "$(dirname "$0")/results.sh"
RESULTS=$(mktemp)
trap 'rm -f "$RESULTS"' EXIT
wrong=0

says() { printf '%s\n' "${@:2}"; return "$1"; }
adds() { says "$@" >>"$RESULTS"; }
expect() { # RESULTS COMMAND...
        local want=$1 got
        shift
        echo "pass earlier" >"$RESULTS"
        part x "$@" >/dev/null
        got=$(tail -n +2 "$RESULTS" | tr '\n' ';')
        [ "$got" = "$want" ] || { echo "$*: '$got' instead of '$want'"; wrong=1; }
}

expect 'pass a;' adds 0 'pass a'
expect 'pass a;fail b;' adds 1 'pass a' 'fail b'
expect 'pass a;fail x/run (status 1);' adds 1 'pass a'
expect 'pass a;fail x/run (status 139);' adds 139 'pass a'
expect 'skip a;' adds 0 'skip a'
expect 'fail x/run (status 0, no results);' true
expect 'fail x/run (status 127, no results);' /nonexistent/command 2>/dev/null
expect 'pass a;' printed says 0 'a line' 'pass a' '    fail indented: of a log'
expect 'pass a;fail b;' printed says 1 'pass a' 'fail b'
expect 'pass a;fail x/run (status 3);' printed says 3 'pass a'
expect 'fail x/run (status 3, no results);' printed says 3 'a line'
exit $wrong
