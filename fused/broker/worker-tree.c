/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* An idmapped clone of a directory tree: on it, the caller's files belong to the server's uid, so that the server needs no
 * other right than its own, and what it creates belongs to the caller. */

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "broker/worker.h"

#ifndef OPEN_TREE_CLONE
#define OPEN_TREE_CLONE 1
#endif

static void end_childp(pid_t *pid) {
        if (*pid > 0) {
                (void) kill(*pid, SIGKILL);
                (void) waitpid(*pid, NULL, 0);
        }
}

/* Nobody's process, there only for its namespace to be mapped. It shares our memory, as copying it would take longer than all
 * the rest, and so touches none of it. */
static int be_there(void *unused) {
        (void) prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
        for (;;)
                pause();
        return 0;
}

/* A user namespace that maps just one user and one group; held by its descriptor alone. */
static int mapping_namespace(const Host *host, uid_t from_uid, gid_t from_gid, uid_t to, int *ret_fd) {
        static char stack[16384] __attribute__((aligned(16)));
        _cleanup_(end_childp) pid_t pid = -1;
        char path[64], map[64];
        int r;

        pid = RET_NERRNO(clone(be_there, stack + sizeof stack, CLONE_NEWUSER | CLONE_VM | SIGCHLD, NULL));
        if (pid < 0)
                return pid;

        (void) snprintf(path, sizeof path, "%d/uid_map", pid);
        (void) snprintf(map, sizeof map, "%u %u 1\n", from_uid, to);
        r = fd_write_file_at(host->proc_fd, path, map);
        if (r < 0)
                return r;
        (void) snprintf(path, sizeof path, "%d/gid_map", pid);
        (void) snprintf(map, sizeof map, "%u %u 1\n", from_gid, to);
        r = fd_write_file_at(host->proc_fd, path, map);
        if (r < 0)
                return r;
        (void) snprintf(path, sizeof path, "%d/ns/user", pid);
        r = RET_NERRNO(openat(host->proc_fd, path, O_RDONLY | O_CLOEXEC));
        if (r < 0)
                return r;
        *ret_fd = r;
        return 0;
}

int worker_clone_tree(const Host *host, int tree_fd, uid_t from_uid, gid_t from_gid, uid_t to, bool read_only, int *ret_fd) {
        _cleanup_fd_ int clone_fd = -EBADF, ns_fd = -EBADF;
        int r;

        clone_fd = RET_NERRNO(open_tree(tree_fd, "", OPEN_TREE_CLONE | AT_EMPTY_PATH | O_CLOEXEC));
        if (clone_fd < 0)
                return clone_fd;
        r = mapping_namespace(host, from_uid, from_gid, to, &ns_fd);
        if (r < 0)
                return r;

        struct mount_attr attributes = {
                .attr_set = MOUNT_ATTR_IDMAP | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC | (read_only ? MOUNT_ATTR_RDONLY : 0),
                .userns_fd = (uint64_t) ns_fd,
        };
        r = RET_NERRNO(mount_setattr(clone_fd, "", AT_EMPTY_PATH, &attributes, sizeof attributes));
        if (r < 0)
                return r;
        *ret_fd = TAKE_FD(clone_fd);
        return 0;
}
