/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A type's root: built by a child in a mount namespace of its own, which is then all that is kept, as a descriptor.
 *
 * The child copies the host's mounts only for as long as it needs their files; after pivot_root nothing but the tmpfs
 * and the bound files is left in the namespace. Everything in here is made from the policy table; no caller has a word
 * in it. */

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "launcher/launcher.h"
#include "launcher/place.h"

#define BUILD_USEC (5 * USEC_PER_SEC)

typedef struct Plan { /* borrowed */
        const char *const *files;
        size_t n_files;
        const char *const *slots;
        size_t n_slots;
} Plan;

typedef struct Report {
        int32_t error;
} Report;

static int tmpfs_new(int *ret_fd) {
        static const char *const settings[][2] = {
                {"source", "fused"},
                {"mode", "0755"},
                {"size", "1m"},
                {"nr_inodes", "4096"},
        };
        _cleanup_fd_ int fs_fd = -EBADF;
        int r;

        fs_fd = RET_NERRNO(fsopen("tmpfs", FSOPEN_CLOEXEC));
        if (fs_fd < 0)
                return fs_fd;
        for (size_t i = 0; i < ELEMENTSOF(settings); i++) {
                r = RET_NERRNO(fsconfig(fs_fd, FSCONFIG_SET_STRING, settings[i][0], settings[i][1], 0));
                if (r < 0)
                        return r;
        }
        r = RET_NERRNO(fsconfig(fs_fd, FSCONFIG_CMD_CREATE, NULL, NULL, 0));
        if (r < 0)
                return r;
        r = RET_NERRNO(fsmount(fs_fd, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC));
        if (r < 0)
                return r;
        *ret_fd = r;
        return 0;
}

/* libc loads its unwinder by itself for pthread_cancel(), with which libfuse ends its threads; no list of dependencies
 * has it. It is looked for where libc is. */
static int place_unwinder(int root_fd, const char *file) {
        static const char libc[] = "/libc.so.6";
        _cleanup_free_ char *path = NULL;
        size_t length = strlen(file);

        if (length < sizeof libc || strcmp(file + length + 1 - sizeof libc, libc) != 0)
                return 0;
        if (asprintf(&path, "%.*s/libgcc_s.so.1", (int) (length + 1 - sizeof libc), file) < 0) {
                path = NULL;
                return -ENOMEM;
        }
        return access(path, F_OK) < 0 ? 0 : place_file(root_fd, path);
}

static int fill(int root_fd, const Plan *plan) {
        static const char *const devices[] = {"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"};
        int r;

        for (size_t i = 0; i < ELEMENTSOF(devices); i++) {
                r = place_device(root_fd, devices[i]);
                if (r < 0)
                        return r;
        }
        r = place_directory(root_fd, SPAWN_MOUNT_PATH);
        if (r < 0)
                return r;
        for (size_t i = 0; i < plan->n_slots; i++) {
                r = place_empty(root_fd, plan->slots[i]);
                if (r < 0)
                        return r;
        }
        for (size_t i = 0; i < plan->n_files; i++) {
                r = place_file(root_fd, plan->files[i]);
                if (r >= 0)
                        r = place_unwinder(root_fd, plan->files[i]);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int build(const Plan *plan, int *ret_ns_fd) {
        _cleanup_fd_ int ns_fd = -EBADF, root_fd = -EBADF;
        struct mount_attr sealed = {.attr_set = MOUNT_ATTR_RDONLY};
        int r;

        (void) umask(0);
        r = RET_NERRNO(unshare(CLONE_NEWNS));
        if (r < 0)
                return r;
        ns_fd = RET_NERRNO(open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC));
        if (ns_fd < 0)
                return ns_fd;
        r = RET_NERRNO(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
        if (r < 0)
                return r;
        r = tmpfs_new(&root_fd);
        if (r < 0)
                return r;
        /* Over "/": our own lookups still start at the old root below it, until pivot_root. */
        r = RET_NERRNO(move_mount(root_fd, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH));
        if (r < 0)
                return r;
        r = fill(root_fd, plan);
        if (r < 0)
                return r;
        r = RET_NERRNO(fchdir(root_fd));
        if (r < 0)
                return r;
        /* pivot_root(2): with "." twice the old root ends up on top of the new one, and comes off with one umount. */
        r = RET_NERRNO((int) syscall(SYS_pivot_root, ".", "."));
        if (r < 0)
                return r;
        r = RET_NERRNO(umount2(".", MNT_DETACH));
        if (r < 0)
                return r;
        r = RET_NERRNO(mount_setattr(root_fd, "", AT_EMPTY_PATH, &sealed, sizeof sealed));
        if (r < 0)
                return r;
        *ret_ns_fd = TAKE_FD(ns_fd);
        return 0;
}

static _noreturn_ void build_and_report(const Plan *plan, int socket_fd) {
        _cleanup_fd_ int ns_fd = -EBADF;
        Report report;

        report.error = build(plan, &ns_fd);
        if (fd_send(socket_fd, &report, sizeof report, &ns_fd, report.error < 0 ? 0 : 1) < 0)
                _exit(2); /* the parent sees the end of file */
        _exit(report.error < 0);
}

static int receive_report(int socket_fd, int *ret_ns_fd) {
        _cleanup_fd_ int ns_fd = -EBADF;
        Report report;
        size_t n_fds;
        ssize_t n;
        int r;

        r = wait_readable(socket_fd, BUILD_USEC);
        if (r < 0)
                return r;
        n = fd_receive(socket_fd, &report, sizeof report, &ns_fd, 1, &n_fds, MSG_DONTWAIT);
        if (n < 0)
                return (int) n;
        if (n != sizeof report)
                return -ECHILD; /* it died without a word */
        if (report.error < 0)
                return report.error;
        if (n_fds != 1)
                return -EBADMSG;
        *ret_ns_fd = TAKE_FD(ns_fd);
        return 0;
}

int sandbox_root_new(const char *const *files, size_t n_files, const char *const *slots, size_t n_slots,
                     int *ret_ns_fd) {
        const Plan plan = {.files = files, .n_files = n_files, .slots = slots, .n_slots = n_slots};
        _cleanup_fd_ int ours = -EBADF, theirs = -EBADF, pidfd = -EBADF;
        int pair[2], r;
        pid_t pid;

        r = RET_NERRNO(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair));
        if (r < 0)
                return r;
        ours = pair[0];
        theirs = pair[1];
        pid = child_clone(0, -EBADF, &pidfd);
        if (pid < 0)
                return (int) pid;
        if (pid == 0)
                build_and_report(&plan, theirs);
        theirs = fd_close(theirs); /* so that its death is an end of file here */
        r = receive_report(ours, ret_ns_fd);
        child_kill_reap(pid, pidfd);
        return r;
}
