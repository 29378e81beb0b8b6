# SPDX-License-Identifier: LGPL-2.1-or-later
"""A file as the bytes of a C array, with a 0 after the last."""
import sys

with open(sys.argv[1], "rb") as stream:
    print(",".join(str(byte) for byte in stream.read() + b"\0"))
