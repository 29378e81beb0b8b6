/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The host's places and the FUSE control file system. See host.h. */

#include "broker/host.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"

/* A detached mount of our own: /sys/fs/fuse/connections may not be mounted, or something else may be mounted over it. */
static int open_fusectl(void) {
        _cleanup_fd_ int context = -EBADF;
        int r;

        context = RET_NERRNO(fsopen("fusectl", FSOPEN_CLOEXEC));
        if (context < 0)
                return context;
        r = RET_NERRNO(fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0));
        if (r < 0)
                return r;
        return RET_NERRNO(fsmount(context, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC));
}

int host_open(Host *host) {
        struct stat st;
        int r;

        *host = HOST_NULL;
        host->proc_fd = RET_NERRNO(open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC));
        if (host->proc_fd < 0)
                return log_errno(host->proc_fd, "cannot open /proc: %s", strerror(-host->proc_fd));
        host->dev_fd = RET_NERRNO(open("/dev", O_PATH | O_DIRECTORY | O_CLOEXEC));
        if (host->dev_fd < 0)
                return log_errno(host->dev_fd, "cannot open /dev: %s", strerror(-host->dev_fd));
        host->mount_ns_fd = RET_NERRNO(openat(host->proc_fd, "self/ns/mnt", O_RDONLY | O_CLOEXEC));
        if (host->mount_ns_fd < 0)
                return log_errno(host->mount_ns_fd, "cannot open our mount namespace: %s", strerror(-host->mount_ns_fd));
        r = RET_NERRNO(fstat(host->mount_ns_fd, &st));
        if (r < 0)
                return r;
        host->mount_ns_inode = st.st_ino;

        host->fusectl_fd = open_fusectl();
        if (host->fusectl_fd < 0)
                log_warning("no FUSE control file system (%s): a hanging server can only be killed, not its connection aborted",
                            strerror(-host->fusectl_fd));
        return 0;
}

void host_done(Host *host) {
        host->proc_fd = fd_close(host->proc_fd);
        host->dev_fd = fd_close(host->dev_fd);
        host->mount_ns_fd = fd_close(host->mount_ns_fd);
        host->fusectl_fd = fd_close(host->fusectl_fd);
}

int host_connection_open_abort(const Host *host, uint32_t connection, int fuse_fd) {
        _cleanup_fd_ int fd = -EBADF;
        struct pollfd p = {.fd = fuse_fd};
        char path[32];

        if (host->fusectl_fd < 0)
                return -EOPNOTSUPP;
        (void) snprintf(path, sizeof path, "%u/abort", connection);
        fd = RET_NERRNO(openat(host->fusectl_fd, path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW));
        if (fd < 0)
                return fd;
        /* Ours is connected now, so the number was ours when the file was opened. */
        if (fuse_fd < 0 || (poll(&p, 1, 0) > 0 && (p.revents & POLLERR)))
                return -ENODEV;
        return TAKE_FD(fd);
}

int host_connection_waiting(const Host *host, uint32_t connection, uint32_t *ret_waiting) {
        char path[32], text[32];
        ssize_t n;

        if (host->fusectl_fd < 0)
                return -EOPNOTSUPP;
        (void) snprintf(path, sizeof path, "%u/waiting", connection);
        n = fd_read_file_at(host->fusectl_fd, path, text, sizeof text);
        if (n < 0)
                return (int) n;
        *ret_waiting = (uint32_t) strtoul(text, NULL, 10);
        return 0;
}

int host_reopen(const Host *host, int fd, int flags) {
        char path[32];

        (void) snprintf(path, sizeof path, "self/fd/%d", fd);
        return RET_NERRNO(openat(host->proc_fd, path, flags | O_CLOEXEC | O_NOCTTY));
}

bool host_fd_is_pidfd(const Host *host, int fd) {
        static const char *const names[] = {"anon_inode:[pidfd]", "pidfd:["}; /* the second since Linux 6.9: an inode of pidfs */
        char path[32], target[64];
        ssize_t n;

        (void) snprintf(path, sizeof path, "self/fd/%d", fd);
        n = readlinkat(host->proc_fd, path, target, sizeof target - 1);
        if (n < 0)
                return false;
        target[n] = 0;
        for (size_t i = 0; i < ELEMENTSOF(names); i++) /* a file's name would begin with a slash */
                if (strncmp(target, names[i], strlen(names[i])) == 0)
                        return true;
        return false;
}

/* status: of a thread. A name that is made to look like more cannot have a line of its own. */
static bool is_ending(const char *status) {
        const char *state = strstr(status, "\nState:\t"), *pending = strstr(status, "\nSigPnd:\t");

        if (!state || !pending)
                return false;
        return strspn(state + strlen("\nState:\t"), "ZX") > 0 || strtoull(pending + strlen("\nSigPnd:\t"), NULL, 16) & 1ULL << (SIGKILL - 1);
}

static bool task_is_ending(int dir_fd, const char *task) {
        char path[300], text[8192];

        (void) snprintf(path, sizeof path, "%s/status", task);
        return fd_read_file_at(dir_fd, path, text, sizeof text) > 0 && is_ending(text);
}

bool host_process_is_held_up(const Host *host, pid_t pid) {
        _cleanup_fd_ int fd = -EBADF;
        bool all = true, some = false;
        char path[32];

        (void) snprintf(path, sizeof path, "%d", pid);
        if (!task_is_ending(host->proc_fd, path)) /* the first thread, which is not gone before all are: mostly it settles the matter */
                return false;
        (void) snprintf(path, sizeof path, "%d/task", pid);
        fd = RET_NERRNO(openat(host->proc_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        DIR *dir = fd < 0 ? NULL : fdopendir(fd);
        if (!dir)
                return false;
        (void) TAKE_FD(fd);
        for (struct dirent *entry; all && (entry = readdir(dir));)
                if (entry->d_name[0] != '.') {
                        all = task_is_ending(dirfd(dir), entry->d_name);
                        some = true;
                }
        (void) closedir(dir);
        return all && some;
}

int host_mount_id_of_fd(const Host *host, int fd, uint64_t *ret) {
        char path[32], text[1024];
        const char *field;
        ssize_t n;

        (void) snprintf(path, sizeof path, "self/fdinfo/%d", fd);
        n = fd_read_file_at(host->proc_fd, path, text, sizeof text);
        if (n < 0)
                return (int) n;
        field = strstr(text, "mnt_id:");
        if (!field)
                return -ENODATA;
        *ret = strtoull(field + strlen("mnt_id:"), NULL, 10);
        return 0;
}
