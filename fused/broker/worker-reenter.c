/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Mount namespaces by identity. A descriptor of a namespace keeps it, and every mount in it, alive after the last process
 * has left, so the broker holds none. It remembers which one it was, and a worker finds it again through a process that is in
 * there. If there is none the namespace is gone, or out of everybody's reach, and so is what was mounted in it. */

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/kernel.h"
#include "broker/worker.h"

int worker_mount_ns_identity(int ns_fd, uint64_t *ret_inode, uint64_t *ret_id) {
        struct stat st;

        if (fstat(ns_fd, &st) < 0)
                return -errno;
        *ret_inode = st.st_ino;
        *ret_id = 0;
        (void) ioctl(ns_fd, NS_GET_MNTNS_ID, ret_id); /* before 6.11 the number of the inode, which comes again, is all there is */
        return 0;
}

/* What the link says is looked at first, as it is cheap; what counts is what was opened. */
static int open_if_same(int proc_fd, const char *pid, uint64_t inode, uint64_t id) {
        char path[32], target[64], wanted[64];
        _cleanup_fd_ int fd = -EBADF;
        uint64_t found_inode = 0, found_id = 0;
        ssize_t n;
        int r;

        (void) snprintf(path, sizeof path, "%.16s/ns/mnt", pid);
        n = readlinkat(proc_fd, path, target, sizeof target - 1);
        if (n < 0)
                return -ENOENT;
        target[n] = 0;
        (void) snprintf(wanted, sizeof wanted, "mnt:[%llu]", (unsigned long long) inode);
        if (strcmp(target, wanted) != 0)
                return -ENOENT;
        fd = RET_NERRNO(openat(proc_fd, path, O_RDONLY | O_CLOEXEC));
        if (fd < 0)
                return fd;
        r = worker_mount_ns_identity(fd, &found_inode, &found_id);
        if (r < 0)
                return r;
        return found_inode == inode && found_id == id ? TAKE_FD(fd) : -ENOENT;
}

int worker_reenter_mount_ns(const Host *host, uint64_t inode, uint64_t id) {
        _cleanup_fd_ int ns_fd = -EBADF;
        const struct dirent *entry;
        DIR *directory;
        int fd;

        fd = RET_NERRNO(openat(host->proc_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        if (fd < 0)
                return fd;
        directory = fdopendir(fd);
        if (!directory) {
                int r = -errno;
                (void) fd_close(fd);
                return r;
        }
        while (ns_fd < 0 && (entry = readdir(directory)))
                if (isdigit((unsigned char) entry->d_name[0]))
                        ns_fd = open_if_same(host->proc_fd, entry->d_name, inode, id);
        (void) closedir(directory);
        return ns_fd < 0 ? -ESRCH : RET_NERRNO(setns(ns_fd, CLONE_NEWNS));
}
