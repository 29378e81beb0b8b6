/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See pressure.h. An unprivileged process may set triggers with windows that are multiples of two seconds (Linux 6.5
 * and newer, before that it needs CAP_SYS_RESOURCE): it then goes by its cgroup alone. */

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "map/pressure.h"

#define TRIGGER "some 100000 2000000" /* in two seconds, somebody waited for memory for a tenth of a second */

static int open_in(const char *directory, const char *name, int flags) {
        char path[4096];
        if ((size_t) snprintf(path, sizeof(path), "%s/%s", directory, name) >= sizeof(path))
                return -ENAMETOOLONG;
        return RET_NERRNO(open(path, flags | O_CLOEXEC | O_NOCTTY));
}

/* The cgroup of this process in the unified hierarchy, below the mounted one. */
static int own_cgroup(const char *proc, const char *cgroup, char *ret, size_t size) {
        char text[4096];
        _cleanup_fd_ int fd = open_in(proc, "self/cgroup", O_RDONLY);
        if (fd < 0)
                return fd;
        ssize_t n = read(fd, text, sizeof(text) - 1);
        if (n < 0)
                return -errno;
        text[n] = 0;
        char *save = NULL;
        for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
                if (strncmp(line, "0::", 3) == 0)
                        return (size_t) snprintf(ret, size, "%s%s", cgroup, line + 3) < size ? 0 : -ENAMETOOLONG;
        return -ENOENT;
}

static int set_trigger(const char *directory, const char *name) {
        _cleanup_fd_ int fd = open_in(directory, name, O_RDWR | O_NONBLOCK);
        if (fd < 0)
                return fd;
        ssize_t n = write(fd, TRIGGER, sizeof(TRIGGER)); /* with the terminating zero, as the kernel wants it */
        if (n < 0)
                return -errno;
        return TAKE_FD(fd);
}

int pressure_open(PressureWatch *watch, const char *proc, const char *cgroup) {
        char own[4096];

        *watch = (PressureWatch) PRESSURE_WATCH_NONE;
        watch->events = POLLPRI;
        if (own_cgroup(proc, cgroup, own, sizeof(own)) >= 0) {
                watch->fd = set_trigger(own, "memory.pressure");
                watch->current_fd = open_in(own, "memory.current", O_RDONLY);
                watch->max_fd = open_in(own, "memory.max", O_RDONLY);
        }
        if (watch->fd < 0)
                watch->fd = set_trigger(proc, "pressure/memory");
        return watch->fd >= 0 || (watch->current_fd >= 0 && watch->max_fd >= 0) ? 0 : -ENOENT;
}

void pressure_close(PressureWatch *watch) {
        int *fds[] = { &watch->fd, &watch->current_fd, &watch->max_fd };
        for (size_t i = 0; i < ELEMENTSOF(fds); i++)
                if (*fds[i] >= 0)
                        (void) close(TAKE_FD(*fds[i]));
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

bool pressure_check(PressureWatch *watch, short revents) {
        uint64_t current, max;

        if ((revents & (POLLERR | POLLNVAL | POLLHUP)) != 0 && watch->fd >= 0) /* the cgroup is gone */
                (void) close(TAKE_FD(watch->fd));
        else if ((revents & POLLPRI) != 0)
                return true;
        if (!read_number(watch->current_fd, &current) || !read_number(watch->max_fd, &max))
                return false;
        if (current < max - max / 10) {
                watch->current_told = 0;
                return false;
        }
        /* Above nine tenths: once, and again whenever it has come closer to the limit. Page cache counts too, and the
         * kernel takes that away itself. */
        if (watch->current_told != 0 && current < watch->current_told + max / 100)
                return false;
        watch->current_told = current;
        return true;
}
