/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Unmounting by identity: the mount that we made, wherever it is now, and nothing that somebody put in its place.
 *
 * The kernel unmounts what is on top at a place, so three things are compared first: our mount still exists; it still is
 * where it was attached (on the pinned mount point); nothing is mounted on it. */

#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/kernel.h"
#include "broker/worker.h"

#define STACKED_MAX 16

/* Where our mount is, as its parent's id; -ENOENT if it is nowhere in this namespace. Before 6.8: the two numbers that begin a
 * line of mountinfo. */
static int parent_of(const WorkerJob *job, uint64_t *ret_parent, bool *ret_has_children) {
        KernelMountRequest request = {.size = sizeof request, .mnt_id = job->kernel_mount_id};
        KernelStatmount st = {0};
        uint64_t child;

        if (!job->mount_id_unique)
                return -EOPNOTSUPP;
        request.param = KERNEL_STATMOUNT_MNT_BASIC;
        if (syscall(KERNEL_NR_STATMOUNT, &request, &st, sizeof st, 0) < 0)
                return -errno;
        *ret_parent = st.mnt_parent_id;
        request.param = 0; /* list from the first */
        long n = syscall(KERNEL_NR_LISTMOUNT, &request, &child, (size_t) 1, 0);
        if (n < 0)
                return -errno;
        *ret_has_children = n > 0;
        return 0;
}

static void stream_closep(FILE **stream) {
        if (*stream)
                (void) fclose(*stream);
}

static int parent_from_mountinfo(const WorkerJob *job, uint64_t *ret_parent, bool *ret_has_children) {
        _cleanup_(stream_closep) FILE *stream = NULL;
        _cleanup_free_ char *line = NULL;
        size_t allocated = 0;
        bool found = false;
        int fd;

        fd = RET_NERRNO(openat(job->host->proc_fd, "self/mountinfo", O_RDONLY | O_CLOEXEC));
        if (fd < 0)
                return fd;
        stream = fdopen(fd, "re");
        if (!stream) {
                int r = -errno;
                (void) fd_close(fd);
                return r;
        }
        *ret_has_children = false;
        while (getline(&line, &allocated, stream) > 0) {
                unsigned long id, parent;
                if (sscanf(line, "%lu %lu ", &id, &parent) != 2)
                        continue;
                if (id == job->kernel_mount_id) {
                        *ret_parent = parent;
                        found = true;
                } else if (parent == job->kernel_mount_id)
                        *ret_has_children = true;
        }
        return found ? 0 : -ENOENT;
}

/* An automount is mounted upon itself: our mount's parent has the same name, and is itself on the directory's mount. */
static bool is_stacked_on(uint64_t mount, uint64_t below) {
        KernelMountRequest request = {.size = sizeof request, .mnt_id = mount, .param = KERNEL_STATMOUNT_MNT_BASIC};
        KernelStatmount st = {0};

        return syscall(KERNEL_NR_STATMOUNT, &request, &st, sizeof st, 0) == 0 && st.mnt_parent_id == below;
}

/* The pinned mount point was lost with an earlier supervisor, or is an automount's, which is not kept in use. Where the mount is now
 * is the kernel's to say; its directory is opened, and must be on the parent mount. What has our mount's number there is our mount:
 * a mount point cannot be renamed in its own namespace, and renaming it in another one takes the mount off. */
static int find_place(const WorkerJob *job, int *ret_parent_fd, char *name, size_t size) {
        union {
                KernelStatmount st;
                char bytes[sizeof(KernelStatmount) + PATH_MAX];
        } answer = {0};
        KernelMountRequest request = {.size = sizeof request, .mnt_id = job->kernel_mount_id,
                                      .param = KERNEL_STATMOUNT_MNT_BASIC | KERNEL_STATMOUNT_MNT_POINT};
        _cleanup_fd_ int parent_fd = -EBADF, mount_fd = -EBADF;
        uint64_t parent_id, mount_id;
        bool unique;
        uint32_t dev_minor;
        int r;

        if (!job->mount_id_unique || syscall(KERNEL_NR_STATMOUNT, &request, &answer, sizeof answer, 0) < 0)
                return job->mount_id_unique ? -errno : -EOPNOTSUPP;
        char *path = answer.st.strings + answer.st.mnt_point, *slash = strrchr(path, '/');
        if (!slash || !slash[1] || strlen(slash + 1) >= size)
                return -ENAMETOOLONG;
        (void) snprintf(name, size, "%s", slash + 1);
        slash[slash == path] = 0;
        parent_fd = RET_NERRNO(open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
        if (parent_fd < 0)
                return parent_fd;
        r = worker_mount_facts(parent_fd, &parent_id, &unique, &dev_minor);
        if (r < 0)
                return r;
        /* Not by statx(2): FUSE refuses that to everybody but the mount's own user. */
        mount_fd = RET_NERRNO(openat(parent_fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC));
        if (mount_fd < 0)
                return mount_fd;
        r = host_mount_id_of_fd(job->host, mount_fd, &mount_id);
        if (r < 0)
                return r;
        if (mount_id != answer.st.mnt_id_old)
                return -EXDEV;
        if (parent_id != answer.st.mnt_parent_id && !is_stacked_on(answer.st.mnt_parent_id, parent_id))
                return -EXDEV;
        *ret_parent_fd = TAKE_FD(parent_fd);
        return 0;
}

/* Once: what is stacked on it must be taken off by whoever put it there. */
static int unmount_by_name(const WorkerJob *job) {
        _cleanup_fd_ int parent_fd = -EBADF;
        char name[NAME_MAX + 1];
        int r;

        r = find_place(job, &parent_fd, name, sizeof name);
        if (r == -ENOENT)
                return 0;
        if (r < 0)
                return r;
        r = RET_NERRNO(fchdir(parent_fd));
        if (r < 0)
                return r;
        r = RET_NERRNO(umount2(name, UMOUNT_NOFOLLOW | (job->lazy ? MNT_DETACH : 0)));
        return r == -EINVAL ? 0 : r;
}

static int check_identity(const WorkerJob *job) {
        uint64_t parent, pinned;
        uint32_t dev_minor;
        bool has_children, unique;
        int r;

        r = parent_of(job, &parent, &has_children);
        if (r == -EOPNOTSUPP || r == -ENOSYS)
                r = parent_from_mountinfo(job, &parent, &has_children);
        if (r < 0)
                return r;
        if (has_children && !job->lazy)
                return -EBUSY;
        r = worker_mount_facts(job->mountpoint_fd, &pinned, &unique, &dev_minor);
        if (r < 0)
                return r;
        return pinned == parent && unique == job->mount_id_unique ? 0 : -EXDEV; /* it was moved somewhere else */
}

int worker_unmount(const WorkerJob *job) {
        char path[32];
        int r;

        if (job->mount_ns_inode) {
                r = worker_reenter_mount_ns(job->host, job->mount_ns_inode, job->mount_ns_id);
                if (r == -ESRCH)
                        return 0; /* nobody is left to see it */
                if (r < 0)
                        return r;
        }
        if (job->mountpoint_fd < 0)
                return unmount_by_name(job);
        /* Relative to our own /proc, whose link leads to the pinned directory; from there the kernel goes down to the mount. */
        r = RET_NERRNO(fchdir(job->host->proc_fd));
        if (r < 0)
                return r;
        (void) snprintf(path, sizeof path, "self/fd/%d", job->mountpoint_fd);

        /* A tree that must go takes with it what was mounted on top of its root: that is reached first, hence the loop. */
        for (unsigned i = 0; i < STACKED_MAX; i++) {
                r = check_identity(job);
                if (r == -ENOENT)
                        return 0; /* unmounted already, by somebody else or by the last round */
                if (r < 0)
                        return r;
                r = RET_NERRNO(umount2(path, job->lazy ? MNT_DETACH : 0));
                if (r < 0)
                        return r == -EINVAL ? 0 : r; /* gone between the question and the call */
        }
        return -EBUSY;
}
