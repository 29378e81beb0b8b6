#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Writes the [Program] sections of the mapping programs that fused brings: list-programs.py DIRECTORY OBJECT... (the directory is where they are
installed). The digests are those of just these files."""
import hashlib
import os
import sys

print("# SPDX-License-Identifier: LGPL-2.1-or-later\n# Made when fused was built: the mapping programs that come with it. See fused.conf(5).")
for path in sys.argv[2:]:
    name = os.path.basename(path)
    with open(path, "rb") as file:
        digest = hashlib.sha256(file.read()).hexdigest()
    print(f"\n[Program {name.removesuffix('.bpf.o')}]\nObject={sys.argv[1]}/{name}\nSHA256={digest}")
