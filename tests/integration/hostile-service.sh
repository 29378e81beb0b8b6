#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# SUBSET: asan
# TIMEOUT: 240
# Every behaviour of tests/servers/hostile-service.c: refused, the reason told, nothing left, the supervisor the same.
. "$TOP/tests/lib/lib.sh"
. "$TOP/tests/lib/hostile.sh"
hostile_matrix hostile-service
