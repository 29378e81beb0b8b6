/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See pressure.h. */

#include "base/pressure.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/fd.h"

#define TRIGGER "some 100000 2000000" /* microseconds: how long of which window */

int pressure_trigger_at(int dir_fd, const char *path) {
        _cleanup_fd_ int fd = -EBADF;

        fd = RET_NERRNO(openat(dir_fd, path, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOCTTY | O_NOFOLLOW));
        if (fd < 0)
                return fd;
        ssize_t n = write(fd, TRIGGER, sizeof TRIGGER); /* with the terminating zero, as the kernel wants it */
        if (n < 0)
                return -errno;
        return TAKE_FD(fd);
}
