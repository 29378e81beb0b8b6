/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Memory pressure, as the kernel tells it (PSI) for this process's cgroup, or for the machine where the cgroup has
 * none. A descriptor to be polled for what `events` says; where there is none (an old kernel, a sandbox without
 * /proc/pressure), the cgroup's use of its limit is all that pressure_check() has to go by, and if that cannot be
 * read either it never says anything. */

#include "base/macro.h"

typedef struct PressureWatch {
        int fd;       /* to be polled; negative: there is none */
        short events; /* for poll(2) */
        int current_fd, max_fd; /* of the cgroup's memory; negative: not readable */
        uint64_t current_told;  /* use when it was told last */
} PressureWatch;

#define PRESSURE_WATCH_NONE { .fd = -EBADF, .current_fd = -EBADF, .max_fd = -EBADF }

/* proc: "/proc", or a directory made up by a test; cgroup: "/sys/fs/cgroup" or such. Always leaves a watch that can
 * be asked. Negative errno: it will never say anything. */
int pressure_open(PressureWatch *watch, const char *proc, const char *cgroup);
void pressure_close(PressureWatch *watch);
/* revents: what poll() said of fd, 0: nothing, it is just time to look (every few seconds). True: give memory back. */
bool pressure_check(PressureWatch *watch, short revents);
