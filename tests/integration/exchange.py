# SPDX-License-Identifier: LGPL-2.1-or-later
"""Exchanges two names as fast as it can until it is killed: exchange.py DIRECTORY A B. Prints how often, on SIGTERM."""
import ctypes
import os
import signal
import sys

libc = ctypes.CDLL(None, use_errno=True)
directory = os.open(sys.argv[1], os.O_PATH)
a, b = sys.argv[2].encode(), sys.argv[3].encode()
count = 0
stop = False


def on_term(_signal, _frame):
    global stop
    stop = True


signal.signal(signal.SIGTERM, on_term)
while not stop:
    if libc.renameat2(directory, a, directory, b, 2) == 0:  # RENAME_EXCHANGE
        count += 1
print(count)
