#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# SUBSET: asan
# fusectl monitor, top, metrics and list --detail: what they show, to whom, and what becomes of one that does not read.
. "$TOP/tests/lib/lib.sh"
make_squashfs_image "$T/image"
mkdir "$T/mnt"
install -d -o $ALICE -g $ALICE -m 755 "$T/alice" "$T/alice/mnt"
start_fused
events() { # FILE EXPRESSION over e, the list of events
        /usr/bin/python3 -c 'import json,sys
e = [x for x in map(json.loads, open(sys.argv[1])) if x["event"] != "ready"]
print(eval(sys.argv[2]))' "$1" "$2"
}

say "a monitor sees what is there, what comes, how it gets on and why it goes; a user only its own"
old=$(fusectl mount squashfs "$T/image" "$T/mnt")
F=("$STAGE/bin/fusectl" --runtime-directory "$T/run") # in the background: the program itself, no shell around it
"${F[@]}" --json monitor >"$T/root.events" &
root=$!
"${F[@]}" monitor >"$T/root.lines" &
lines=$!
setpriv --reuid $ALICE --regid $ALICE --clear-groups "${F[@]}" --json monitor >"$T/alice.events" &
alice=$!
at_end "kill -CONT $lines; kill $root $lines $alice; wait $root $lines $alice"
for file in root.events alice.events; do wait_for "the subscription" 5 grep -q ready "$T/$file"; done
wait_for "the subscription" 5 grep -q 'from now on' "$T/root.lines"
grep -q "present.*$T/mnt" "$T/root.lines" || fail "the mount that was there is not shown"
id=$(fusectl_as $ALICE mount squashfs "$T/image" "$T/alice/mnt")
fusectl umount "$old"
kill -KILL "$(field "$id" server-pid)"
wait_for "the end in alice's monitor" 10 grep -q '"removed"' "$T/alice.events"
wait_for "the end in root's monitor" 10 grep -q "removed.*server-exit\|removed.*ended\|removed  *$id " "$T/root.lines"
assert_equal "$(events "$T/root.events" "[x['event'] for x in e if x['id'] == $old]")" "['present', 'changed', 'removed']"
assert_equal "$(events "$T/root.events" "[(x['event'], x['state']) for x in e if x['id'] == $id][:3]")" "[('added', 'starting'), ('changed', 'mounting'), ('changed', 'live')]"
assert_equal "$(events "$T/root.events" "[x['reason'] for x in e if x['event'] == 'removed' and x['id'] == $old]")" "['unmounted']"
assert_equal "$(events "$T/alice.events" "sorted({x['id'] for x in e})")" "[$id]" "mounts that alice heard of"
assert_equal "$(events "$T/alice.events" "[(x['exit'], x['exit-status']) for x in e if x['event'] == 'removed']")" "[('killed', 9)]"

say "a refused request is no mount: nobody hears of it"
before=$(wc -l <"$T/root.events")
expect_fusectl 3 mount squashfs "$T/image" "$T/mnt" -o nonsense
sleep 0.2
assert_equal "$(wc -l <"$T/root.events")" "$before"

say "a monitor that does not read is closed, and nothing else; one that reads goes on"
kill -STOP "$lines"
for _ in $(seq 150); do
        id=$(fusectl mount squashfs "$T/image" "$T/mnt")
        fusectl umount "$id"
done
say "going on"; kill -CONT "$lines"
status=0; wait "$lines" || status=$?
assert_equal "$status" 1 "exit status of the one that did not read"
[ "$(grep -c 'added' "$T/root.lines")" -lt 150 ] || fail "all of its signals were kept for it"
wait_for "the last event" 5 grep -q "\"removed\",\"id\":$id," "$T/root.events"
kill -0 "$root" || fail "the monitor that reads has been closed"
kill "$root" "$alice"; wait "$root" "$alice" || true

say "list --detail, top"
id=$(fusectl mount squashfs "$T/image" "$T/mnt")
alices=$(fusectl_as $ALICE mount squashfs "$T/image" "$T/alice/mnt")
for _ in 1 2 3 4 5; do cat "$T/mnt/file" >/dev/null; done
assert_equal "$(fusectl --json list --detail | json "sorted(m['id'] for m in d)")" "[$id, $alices]"
fusectl --json list --detail | json "[all(k in m for k in ('requests-waiting', 'memory', 'processes', 'fds', 'cpu-usec', 'log')) for m in d]" | grep -q "^\[True, True\]$" || fail "keys are missing"
assert_equal "$(fusectl --json list | json "[m for m in d if 'memory' in m]")" "[]"
assert_equal "$(fusectl_as $ALICE --json list --detail | json "[m['id'] for m in d]")" "[$alices]"
fusectl top -n 2 -d 0.2 >"$T/top"
assert_equal "$(grep -c '^ID ' "$T/top")" 2
grep -qE "^$id +squashfs +root +live +0 " "$T/top" || fail "top: $(cat "$T/top")"
assert_equal "$(fusectl --json top -n 2 -d 0.1 | wc -l)" 2
assert_equal "$(fusectl_as $ALICE --json top -n 1 | json "[m['id'] for m in d]")" "[$alices]"
expect_fusectl 2 top -n 0
expect_fusectl 2 top -d 0
used=$(fusectl --json status "$id" | json "d['cpu-usec']")
[ "$used" -gt 0 ] || [ ! -d "/sys/fs/cgroup/unified$(field "$id" cgroup | sed 's|^/sys/fs/cgroup/unified||')" ] || fail "no cpu time is known"

say "metrics"
fusectl metrics >"$T/metrics"
/usr/bin/python3 "$TOP/tests/lib/prometheus.py" "$T/metrics" >"$T/metrics.json"
value() { json "[v for n, l, v in d if n == 'fused_$1' and all(l.get(k) == x for k, x in ($2).items())]" <"$T/metrics.json"; }
assert_equal "$(value mount_state "{'id': '$id', 'state': 'live'}")" "[1.0]"
assert_equal "$(value mount_requests_waiting "{'id': '$id'}")" "[0.0]"
assert_equal "$(value type_mounts "{'type': 'squashfs'}")" "[2.0]"
assert_equal "$(value type_ended_total "{'type': 'squashfs', 'reason': 'server-exit'}")" "[1.0]"
assert_equal "$(value type_last_exit_status "{'how': 'nonsense'}")" "[]"
assert_equal "$(value user_usage "{'uid': '$ALICE', 'resource': 'mounts'}")" "[1.0]"
assert_equal "$(value user_limit "{'uid': '$ALICE', 'resource': 'mounts'}" | grep -c '^\[[0-9.]*\]$')" 1
assert_equal "$(value mount_start_seconds "{'id': '$id'}" | grep -c '^\[0\.')" 1
fusectl_as $ALICE metrics >"$T/metrics"
/usr/bin/python3 "$TOP/tests/lib/prometheus.py" "$T/metrics" >"$T/metrics.json"
assert_equal "$(json "sorted({l['id'] for n, l, v in d if 'id' in l})" <"$T/metrics.json")" "['$alices']"
assert_equal "$(json "sorted({l['uid'] for n, l, v in d if n.startswith('fused_user')})" <"$T/metrics.json")" "['$ALICE']"
assert_equal "$(json "[n for n, l, v in d if n.startswith('fused_type')]" <"$T/metrics.json")" "[]" "types' numbers for a user"

say "metrics into a file: all or nothing, no link followed"
fusectl metrics --output "$T/fused.prom"
/usr/bin/python3 "$TOP/tests/lib/prometheus.py" "$T/fused.prom" >/dev/null
assert_equal "$(stat -c %a "$T/fused.prom")" 644
assert_equal "$(find "$T" -maxdepth 1 -name '*.tmp')" "" "temporary files"
cp "$T/fused.prom" "$T/kept"
expect_status 1 "$STAGE/bin/fusectl" --runtime-directory "$T/nobody" metrics --output "$T/fused.prom"
cmp "$T/fused.prom" "$T/kept"
expect_fusectl 1 metrics --output "$T/nowhere/x"
fusectl umount "$id"
fusectl umount "$alices"
