# SPDX-License-Identifier: LGPL-2.1-or-later
"""fill-tree.py DIRECTORY FILES: a tree for tests. The same arguments give the same tree, byte by byte."""
import os
import random
import sys

top, count = sys.argv[1], int(sys.argv[2])
rng = random.Random(20)
sizes = [0, 1, 511, 512, 513, 4095, 4096, 4097, 65535, 65536, 65537, 131072, 1 << 20]
names = ["plain", "with space", "ünïcödé", "quote'\"", "back\\slash", "x" * 200, "-dash", "new\nline", "percent%s", ".hidden"]

os.makedirs(top, exist_ok=True)
for d in range(12):
    os.makedirs(os.path.join(top, f"dir{d}", "deep", "deeper"), exist_ok=True)
for i in range(count):
    folder = os.path.join(top, f"dir{i % 12}", *(["deep"] if i % 3 else []))
    name = f"{i:04}-{names[i % len(names)]}"
    size = sizes[i] if i < len(sizes) else int(2 ** rng.uniform(0, 17))
    path = os.path.join(folder, name)
    with open(path, "wb") as f:
        f.write(rng.randbytes(size) if i % 4 else b"fused " * (size // 6))
    os.chmod(path, [0o644, 0o600, 0o755, 0o444][i % 4])
    os.utime(path, (1700000000 + i, 1700000000 + i))
with open(os.path.join(top, "sparse"), "wb") as f:
    f.seek(3 << 20)
    f.write(b"end")
os.symlink("dir0/deep", os.path.join(top, "link-to-directory"))
os.symlink("/etc/passwd", os.path.join(top, "link-absolute"))
os.symlink("no such file", os.path.join(top, "link-dangling"))
os.link(os.path.join(top, "sparse"), os.path.join(top, "hard-link"))
