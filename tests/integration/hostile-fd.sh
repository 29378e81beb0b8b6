#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# SUBSET: asan
# TIMEOUT: 120
# Every behaviour of tests/servers/hostile-fd.c, likewise.
. "$TOP/tests/lib/lib.sh"
. "$TOP/tests/lib/hostile.sh"
hostile_matrix hostile-fd
