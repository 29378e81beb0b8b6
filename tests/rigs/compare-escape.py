# SPDX-License-Identifier: LGPL-2.1-or-later
"""Compares the answers to the escape attempts under the two launchers, row by row: compare-escape.py ROWS OWN UNIT service|fd.

A row passes if the unit's answer is what rows.h expects with the shipped filter, and the same (allowed, or denied) as under
fused's own launcher. Another error number is told, not held against it."""
import re
import sys

# Rows whose answers may differ, and why. Each must really differ, or it is to be taken off this list.
DIFFERENT = {
    # systemd puts proc, sys, run, tmp and var into every root; Landlock lets the server see neither them nor the list of the root
    # itself, and a row that cannot read the root counts as a failure of its own test.
    ("service", "find_foreign_root_entry"),
    ("fd", "find_foreign_root_entry"),
    # without a pid namespace (systemd before 257 has no option for it) the server's own agent is an ordinary process of its
    # own uid: it may end it, and thereby itself; everybody else's process is refused by uid, Landlock or both
    ("fd", "signal_other_process"),
}


def answers(path):
    found = {}
    with open(path, encoding="utf-8") as f:
        for line in f:
            match = re.match(r"([a-z0-9_]+): (allowed|denied)(?: (\w+))?", line)
            if match:
                found[match[1]] = (match[2], match[3] or "")
    return found


def main():
    with open(sys.argv[1], encoding="utf-8") as f:
        rows = re.findall(r"X\((\w+), (ALLOWED|DENIED|EITHER), \w+\)", f.read())
    own, unit = answers(sys.argv[2]), answers(sys.argv[3])
    wrong = 0
    other = []
    for name, expected in rows:
        if name not in own or name not in unit:
            print(f"WRONG {name}: no answer ({own.get(name)}, {unit.get(name)})")
            wrong += 1
            continue
        same = own[name][0] == unit[name][0]
        as_expected = expected == "EITHER" or unit[name][0] == expected.lower()
        if (sys.argv[4], name) in DIFFERENT:
            if same:
                print(f"WRONG {name}: is listed as different, and is not: {unit[name]}")
                wrong += 1
            continue
        if not same or not as_expected:
            print(f"WRONG {name}: {own[name]} under fused's launcher, {unit[name]} in a unit, expected {expected}")
            wrong += 1
        elif own[name] != unit[name]:
            other.append(f"{name} {own[name][1]}/{unit[name][1]}")
    print(f"{len(rows)} rows, {wrong} wrong; with another error: {', '.join(other) or 'none'}")
    return wrong > 0 or len(rows) < 90


sys.exit(main())
