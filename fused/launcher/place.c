/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Putting things into a root that is being built. See place.h. */

#include "launcher/place.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"

/* Opens path inside the new root, whatever links it goes through. */
static int open_inside(int root_fd, const char *path, uint64_t flags) {
        struct open_how how = {
                .flags = O_PATH | O_CLOEXEC | flags,
                .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
        };
        return RET_NERRNO((int) syscall(SYS_openat2, root_fd, path, &how, sizeof how));
}

/* Debian and others have /lib, /lib64, /bin and /sbin as links into /usr. A path that begins with such a link gets the
 * same link inside, so that there is one place for each file under both names, as the dynamic loader expects. */
static int copy_first_link(int root_fd, const char *path) {
        char name[NAME_MAX + 2] = "/", target[PATH_MAX] = "/"; /* the link is relative to the root, or says so itself */
        size_t length = strcspn(path + 1, "/");
        ssize_t n;
        int r;

        if (path[1 + length] == 0 || length > NAME_MAX)
                return 0; /* a file in the root itself */
        memcpy(name + 1, path + 1, length);
        name[1 + length] = 0;
        n = RET_NERRNO(readlink(name, target + 1, sizeof target - 2));
        if (n == -EINVAL || n == -ENOENT)
                return 0; /* a directory, or only there inside ("/slots") */
        if (n < 0)
                return (int) n;
        target[1 + n] = 0;
        const char *absolute = target + strspn(target, "/") - 1;
        r = place_directory(root_fd, absolute);
        if (r < 0)
                return r;
        r = RET_NERRNO(symlinkat(absolute + 1, root_fd, name + 1)); /* relative: the root is where it is */
        return r == -EEXIST ? 0 : r;
}

/* Makes the directories above path and returns the last of them and the name in it. */
static int make_parents(int root_fd, const char *path, int *ret_parent_fd, const char **ret_name) {
        _cleanup_fd_ int parent_fd = -EBADF;
        char prefix[PATH_MAX];
        int r;

        if (path[0] != '/' || strlen(path) >= sizeof prefix)
                return -EINVAL;
        r = copy_first_link(root_fd, path);
        if (r < 0)
                return r;
        parent_fd = fd_dup(root_fd);
        if (parent_fd < 0)
                return parent_fd;
        for (const char *slash; (slash = strchr(path + 1, '/')); path = slash) {
                size_t length = (size_t) (slash - path) - 1;
                if (length == 0 || length > NAME_MAX)
                        return -EINVAL;
                memcpy(prefix, path + 1, length);
                prefix[length] = 0;
                if (strcmp(prefix, ".") == 0 || strcmp(prefix, "..") == 0)
                        return -EINVAL;
                r = RET_NERRNO(mkdirat(parent_fd, prefix, 0755));
                if (r < 0 && r != -EEXIST)
                        return r;
                /* Not RESOLVE_IN_ROOT: only the first component can be a link, made by ourselves, and relative. */
                r = RET_NERRNO(openat(parent_fd, prefix, O_PATH | O_DIRECTORY | O_CLOEXEC));
                if (r < 0)
                        return r;
                (void) fd_close(parent_fd);
                parent_fd = r;
        }
        if (path[1] == 0)
                return -EINVAL;
        *ret_parent_fd = TAKE_FD(parent_fd);
        *ret_name = path + 1;
        return 0;
}

int place_directory(int root_fd, const char *path) {
        _cleanup_fd_ int parent_fd = -EBADF;
        const char *name;
        int r;

        r = make_parents(root_fd, path, &parent_fd, &name);
        if (r < 0)
                return r;
        r = RET_NERRNO(mkdirat(parent_fd, name, 0755));
        return r == -EEXIST ? 0 : r;
}

int place_empty(int root_fd, const char *path) {
        _cleanup_fd_ int parent_fd = -EBADF, fd = -EBADF;
        const char *name;
        int r;

        r = make_parents(root_fd, path, &parent_fd, &name);
        if (r < 0)
                return r;
        fd = RET_NERRNO(openat(parent_fd, name, O_RDONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0));
        return fd < 0 ? fd : 0;
}

/* Binds what source_fd (O_PATH, on the host) stands for over the empty file or directory that is made at path. */
static int bind_over(int root_fd, const char *path, int source_fd, mode_t mode, struct mount_attr *attributes) {
        _cleanup_fd_ int tree_fd = -EBADF, target_fd = -EBADF;
        int r;

        r = S_ISDIR(mode) ? place_directory(root_fd, path) : place_empty(root_fd, path);
        if (r < 0)
                return r;
        tree_fd = RET_NERRNO(open_tree(source_fd, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
        if (tree_fd < 0)
                return tree_fd;
        r = RET_NERRNO(mount_setattr(tree_fd, "", AT_EMPTY_PATH, attributes, sizeof *attributes));
        if (r < 0)
                return r;
        target_fd = open_inside(root_fd, path, 0);
        if (target_fd < 0)
                return target_fd;
        return RET_NERRNO(move_mount(tree_fd, "", target_fd, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH));
}

int place_device(int root_fd, const char *path) {
        /* read-only is about the inode (mode, times); a device on a read-only mount can still be written to */
        struct mount_attr attributes = {
                .attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC,
                .attr_clr = MOUNT_ATTR_NODEV,
        };
        _cleanup_fd_ int fd = -EBADF;
        struct stat st;
        int r;

        fd = RET_NERRNO(open(path, O_PATH | O_CLOEXEC));
        if (fd == -ENOENT && strcmp(path, "/dev/null") != 0)
                return 0;
        if (fd < 0)
                return fd;
        r = RET_NERRNO(fstat(fd, &st));
        if (r < 0)
                return r;
        return S_ISCHR(st.st_mode) ? bind_over(root_fd, path, fd, st.st_mode, &attributes) : -ENODEV;
}

static bool is_inside(int root_fd, const char *path) {
        _cleanup_fd_ int fd = open_inside(root_fd, path, 0);
        return fd >= 0;
}

int place_file(int root_fd, const char *path) {
        struct mount_attr attributes = {
                .attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV,
        };
        _cleanup_fd_ int fd = -EBADF, parent_fd = -EBADF;
        _cleanup_free_ char *real = NULL;
        const char *name;
        struct stat st;
        int r;

        if (path[0] != '/')
                return -EINVAL;
        real = realpath(path, NULL);
        if (!real)
                return -errno;
        fd = RET_NERRNO(open(real, O_PATH | O_NOFOLLOW | O_CLOEXEC));
        if (fd < 0)
                return fd;
        r = RET_NERRNO(fstat(fd, &st));
        if (r < 0)
                return r;
        if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
                return -EINVAL;
        if (!is_inside(root_fd, real)) {
                r = bind_over(root_fd, real, fd, st.st_mode, &attributes);
                if (r < 0)
                        return r;
        }
        r = make_parents(root_fd, path, &parent_fd, &name);
        if (r < 0)
                return r;
        return is_inside(root_fd, path) ? 0 : RET_NERRNO(symlinkat(real, parent_fd, name));
}
