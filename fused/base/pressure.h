/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "base/macro.h"

/* Opens a pressure file ("pressure/memory" below /proc, "memory.pressure" below a cgroup of version 2) and sets a trigger on it: from then on poll(2)
 * says POLLPRI, at most once in two seconds, when somebody had to wait for memory for a tenth of a second, and POLLERR once the cgroup is gone. Who
 * has the descriptor may poll it, without any privilege. Setting one takes write permission to the file; since Linux 6.5 a window of a
 * multiple of two seconds, as here, takes nothing more, before that CAP_SYS_RESOURCE (Documentation/accounting/psi.rst).
 * Returns the descriptor, which is the caller's, or negative errno: -ENOENT, -EOPNOTSUPP where there is no such file or it is switched off. */
int pressure_trigger_at(int dir_fd, const char *path) _must_check_;
