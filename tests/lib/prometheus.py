# SPDX-License-Identifier: LGPL-2.1-or-later
"""Reads Prometheus' text format strictly, and prints [[name, labels, value], ...] as JSON. Ends with a message if something is not as
the format says: a sample without TYPE, a family in two places, a label that is not quoted, a sample twice."""
import json
import re
import sys

LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"(,|$)')


def labels_of(text, line):
    labels, at = {}, 0
    while at < len(text):
        match = LABEL.match(text, at)
        if not match:
            sys.exit(f"bad labels: {line}")
        labels[match.group(1)] = match.group(2)
        at = match.end()
    return labels


def main(path):
    types, done, current, samples, seen = {}, set(), None, [], set()
    text = open(path, encoding="utf-8").read()
    if not text.endswith("\n"):
        sys.exit("the last line has no end")
    for line in text.splitlines():
        if line.startswith("# HELP "):
            name = line.split(" ")[2]
            if name in done:
                sys.exit(f"{name} is in two places")
            done.add(name)
            current = name
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            if name != current or kind not in ("gauge", "counter"):
                sys.exit(f"bad type: {line}")
            if kind == "counter" and not name.endswith("_total"):
                sys.exit(f"a counter without _total: {name}")
            types[name] = kind
        else:
            match = re.fullmatch(r"([a-z_]+)(?:\{(.*)\})? (\S+)", line)
            if not match or match.group(1) != current or current not in types:
                sys.exit(f"bad sample: {line}")
            if (match.group(1), match.group(2)) in seen:
                sys.exit(f"twice: {line}")
            seen.add((match.group(1), match.group(2)))
            samples.append([match.group(1), labels_of(match.group(2) or "", line), float(match.group(3))])
    print(json.dumps(samples))


main(sys.argv[1])
