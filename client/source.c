/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Opening what the caller names, with the caller's own rights; the supervisor never sees the path. */

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/fusectl.h"

void source_done(Source *source) {
        source->fd = fd_close(source->fd);
        freep(&source->name);
        source->name = NULL;
}

/* Opens what path_fd stands for; its kind is known, so this cannot hang on a FIFO or set off a device. */
static int open_for_use(const char *path, int flags, const struct stat *expected, int *ret_fd) {
        _cleanup_fd_ int fd = -EBADF;
        struct stat st;

        fd = RET_NERRNO(open(path, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
        if (fd < 0)
                return fd;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (st.st_dev != expected->st_dev || st.st_ino != expected->st_ino)
                return -ESTALE;
        *ret_fd = TAKE_FD(fd);
        return 0;
}

static int cannot_open(const char *path, int r, bool writing) {
        bool could_read = writing && (r == -EACCES || r == -EROFS || r == -EPERM);

        return failure("cannot open %s%s: %s%s", path, writing ? " for reading and writing" : "", strerror(-r),
                       could_read ? "; '-o ro' asks for reading only" : "");
}

int source_open(const char *path, bool read_only, bool any, Source *ret) {
        _cleanup_fd_ int path_fd = -EBADF;
        struct stat st;
        int r = 0;

        *ret = SOURCE_NULL;
        if (strcmp(path, "none") == 0)
                return 0;
        path_fd = RET_NERRNO(open(path, O_PATH | O_CLOEXEC));
        if (path_fd < 0)
                return failure("cannot find %s: %s", path, strerror(-path_fd));
        if (fstat(path_fd, &st) < 0)
                return failure("cannot look at %s: %s", path, strerror(errno));
        ret->name = realpath(path, NULL);

        if (S_ISBLK(st.st_mode)) { /* opened by the supervisor, if policy says so */
                ret->kind = "device";
                ret->device = st.st_rdev;
                ret->fd = TAKE_FD(path_fd);
                return 0;
        }
        if (S_ISREG(st.st_mode)) {
                ret->kind = "file";
                r = open_for_use(path, read_only ? O_RDONLY : O_RDWR, &st, &ret->fd);
        } else if (S_ISDIR(st.st_mode)) {
                ret->kind = "tree";
                r = open_for_use(path, O_RDONLY | O_DIRECTORY, &st, &ret->fd);
        } else {
                source_done(ret);
                return failure("%s is not a file, a directory or a block device", path);
        }
        if (r < 0 && any) {
                ret->fd = TAKE_FD(path_fd);
                return 0;
        }
        if (r < 0) {
                source_done(ret);
                return cannot_open(path, r, S_ISREG(st.st_mode) && !read_only);
        }
        return 0;
}
