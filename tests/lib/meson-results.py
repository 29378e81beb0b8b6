# SPDX-License-Identifier: LGPL-2.1-or-later
"""meson-results.py LABEL TESTLOG.json: one line per test of a meson run, in the form of tests/run.

A skip is a failure if FUSED_MUST_WORK is set: where this runs, every test can run."""
import json
import os
import sys

label, log = sys.argv[1:]
words = {"OK": "pass", "EXPECTEDFAIL": "pass", "SKIP": "skip"}
for line in open(log, encoding="utf-8"):
    test = json.loads(line)
    word = words.get(test["result"], "fail")
    name = test["name"].split(" / ")[-1]
    note = "" if word == "pass" else test["result"].lower() + " "
    if word == "skip" and os.environ.get("FUSED_MUST_WORK"):
        word = "fail"
    print(f"{word} {label}/{name} {note}({test['duration'] * 1000:.0f} ms)")
    if word == "fail":
        for stream in ("stdout", "stderr"):
            for text in (test.get(stream) or "").splitlines()[-60:]:
                print("    " + text, file=sys.stderr)
