/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See pressure.h. */

#include "map/pressure.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/pressure.h"

/* The directory of this process's cgroup in the unified hierarchy, below the mounted one. */
static int open_own_cgroup(int proc_fd, const char *cgroup) {
        char text[4096], path[4096], *save = NULL;
        int r = (int) fd_read_file_at(proc_fd, "self/cgroup", text, sizeof text);

        if (r < 0)
                return r;
        for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
                if (strncmp(line, "0::", 3) == 0)
                        return (size_t) snprintf(path, sizeof path, "%s%s", cgroup, line + 3) < sizeof path
                                             ? RET_NERRNO(open(path, O_PATH | O_DIRECTORY | O_CLOEXEC))
                                             : -ENAMETOOLONG;
        return -ENOENT;
}

void pressure_open(PressureWatch *watch, const char *proc, const char *cgroup) {
        _cleanup_fd_ int proc_fd = -EBADF, group_fd = -EBADF;

        *watch = (PressureWatch) PRESSURE_WATCH_NONE;
        proc_fd = RET_NERRNO(open(proc, O_PATH | O_DIRECTORY | O_CLOEXEC));
        if (proc_fd < 0)
                return;
        watch->fds[PRESSURE_MACHINE] = pressure_trigger_at(proc_fd, "pressure/memory");
        group_fd = open_own_cgroup(proc_fd, cgroup);
        if (group_fd < 0)
                return;
        watch->fds[PRESSURE_GROUP] = pressure_trigger_at(group_fd, "memory.pressure");
        watch->fds[PRESSURE_CURRENT] = openat(group_fd, "memory.current", O_RDONLY | O_CLOEXEC);
        watch->fds[PRESSURE_LIMIT] = openat(group_fd, "memory.max", O_RDONLY | O_CLOEXEC);
}

void pressure_close(PressureWatch *watch) {
        for (size_t i = 0; i < ELEMENTSOF(watch->fds); i++)
                watch->fds[i] = fd_close(watch->fds[i]);
}

uint32_t pressure_watched(const PressureWatch *watch) {
        uint32_t which = 0;

        for (size_t i = 0; i < ELEMENTSOF(watch->fds); i++)
                which |= watch->fds[i] >= 0 ? 1U << i : 0;
        return which;
}

static bool read_number(int fd, uint64_t *ret) { /* "max" is none */
        char text[32], *end;
        ssize_t n = fd < 0 ? -1 : pread(fd, text, sizeof(text) - 1, 0);
        if (n <= 0)
                return false;
        text[n] = 0;
        errno = 0;
        *ret = strtoull(text, &end, 10);
        return end != text && errno == 0;
}

/* Above nine tenths of the limit: once, and again whenever it has come closer. Page cache counts too, and the kernel takes that away itself. */
static bool is_near_limit(PressureWatch *watch) {
        uint64_t current, limit;

        if (!read_number(watch->fds[PRESSURE_CURRENT], &current) || !read_number(watch->fds[PRESSURE_LIMIT], &limit))
                return false;
        if (current < limit - limit / 10) {
                watch->current_told = 0;
                return false;
        }
        if (watch->current_told != 0 && current < watch->current_told + limit / 100)
                return false;
        watch->current_told = current;
        return true;
}

/* A trigger that was set without privilege is compared with another counter at first (Linux up to 6.18: psi_trigger_create() takes the total of
 * PSI_POLL for one that is updated from PSI_AVGS) and speaks once at the first stall, however short. If memory is really short it goes on. */
static bool is_true(PressureWatch *watch, size_t i) {
        bool before = watch->heard[i];

        watch->heard[i] = true;
        return before;
}

bool pressure_check(PressureWatch *watch, const short revents[PRESSURE_N_POLLED]) {
        bool told = false;

        for (size_t i = 0; i < PRESSURE_N_POLLED; i++) {
                if (revents[i] & (POLLERR | POLLNVAL | POLLHUP)) /* the cgroup is gone */
                        watch->fds[i] = fd_close(watch->fds[i]);
                else if (revents[i] & PRESSURE_EVENTS)
                        told = is_true(watch, i) || told;
        }
        return is_near_limit(watch) || told;
}
