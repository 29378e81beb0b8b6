/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where the caller is: its cgroup and its user namespace, read from /proc by its number, and believed only if the process that
 * its pidfd stands for was still there afterwards, so that the number cannot have been another's. */

#include <fcntl.h>
#include <linux/nsfs.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "broker/worker.h"

static bool is_alive(int pidfd) {
        struct pollfd item = {.fd = pidfd, .events = POLLIN};

        return poll(&item, 1, 0) == 0;
}

/* The line of version 2; on a host that has systemd in a hierarchy of its own, that one. */
static void find_cgroup(char *text, char *ret, size_t size) {
        static const char by_name[] = ":name=systemd:";
        char *line;

        while ((line = strsep(&text, "\n"))) {
                const char *path = strncmp(line, "0::", 3) == 0 ? line + 3 : NULL;
                const char *named = strstr(line, by_name);
                if (named)
                        path = named + strlen(by_name);
                if (path && (named || !*ret || strcmp(ret, "/") == 0))
                        (void) snprintf(ret, size, "%s", path);
        }
}

static int read_namespace(const Host *host, pid_t pid, CallerFacts *facts) {
        _cleanup_fd_ int theirs = -EBADF, ours = -EBADF;
        struct stat a, b;
        char path[32];

        (void) snprintf(path, sizeof path, "%d/ns/user", pid);
        theirs = RET_NERRNO(openat(host->proc_fd, path, O_RDONLY | O_CLOEXEC));
        if (theirs < 0)
                return theirs;
        ours = RET_NERRNO(openat(host->proc_fd, "self/ns/user", O_RDONLY | O_CLOEXEC));
        if (ours < 0)
                return ours;
        if (fstat(theirs, &a) < 0 || fstat(ours, &b) < 0)
                return -errno;
        facts->foreign = a.st_ino != b.st_ino || a.st_dev != b.st_dev;
        return facts->foreign ? RET_NERRNO(ioctl(theirs, NS_GET_OWNER_UID, &facts->owner)) : 0;
}

int worker_caller_facts(const WorkerJob *job, CallerFacts *ret) {
        struct ucred peer = {0};
        socklen_t size = sizeof peer;
        char path[32], text[8192];
        int r;

        *ret = (CallerFacts){0};
        if (job->identity->pidfd < 0)
                return 0; /* nobody in particular: a question, or a kernel before 6.5, where callers are the host's */
        r = RET_NERRNO(getsockopt(job->caller_fd, SOL_SOCKET, SO_PEERCRED, &peer, &size));
        if (r < 0)
                return r;
        (void) snprintf(path, sizeof path, "%d/cgroup", peer.pid);
        if (fd_read_file_at(job->host->proc_fd, path, text, sizeof text) > 0)
                find_cgroup(text, ret->cgroup, sizeof ret->cgroup);
        r = read_namespace(job->host, peer.pid, ret);
        if (!is_alive(job->identity->pidfd))
                return -ESRCH;
        return r;
}
