# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# What test.sh counts: lines "pass|fail|skip NAME ..." in the file $RESULTS. Sourced by it.

result() { echo "$*" | tee -a "$RESULTS"; }
count() { grep -c "^$1 " "$RESULTS"; }

# part NAME COMMAND...: a command that adds its results to $RESULTS. One that ends badly and names no failure, or has no
# results at all, is a failure.
part() {
        local name=$1 before new status=0
        shift
        before=$(wc -l <"$RESULTS")
        "$@" || status=$?
        new=$(tail -n +$((before + 1)) "$RESULTS")
        if [ -z "$new" ]; then
                result "fail $name/run (status $status, no results)"
        elif [ $status -ne 0 ] && ! grep -q '^fail ' <<<"$new"; then
                result "fail $name/run (status $status)"
        fi
}

# printed COMMAND...: for one that only prints its results.
printed() {
        local status
        "$@" | tee "$RESULTS.printed"
        status=${PIPESTATUS[0]}
        grep -E '^(pass|fail|skip) ' "$RESULTS.printed" >>"$RESULTS"
        rm -f "$RESULTS.printed"
        return "$status"
}
