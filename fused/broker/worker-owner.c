/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The process that a mount ends with. A client names one by a pidfd, which is looked at without asking the file system that
 * it may really be on; or it goes without saying: what comes out of a container ends with the container, whose first process
 * is found by being in its pid namespace, not by a number. */

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "broker/worker.h"

/* In our own pid namespace; -ESRCH if it has ended, or is not to be seen from here. */
static int pid_of(const Host *host, int pidfd, pid_t *ret) {
        char path[32], text[1024];
        const char *field;
        ssize_t n;

        (void) snprintf(path, sizeof path, "self/fdinfo/%d", pidfd);
        n = fd_read_file_at(host->proc_fd, path, text, sizeof text);
        if (n < 0)
                return (int) n;
        field = strstr(text, "Pid:");
        *ret = field ? (pid_t) strtol(field + strlen("Pid:"), NULL, 10) : -1;
        return *ret > 0 ? 0 : -ESRCH;
}

/* The real one: a program that is set-uid is still its user's. */
static int uid_of(const Host *host, pid_t pid, uid_t *ret) {
        char path[32], text[4096];
        const char *field;
        ssize_t n;

        (void) snprintf(path, sizeof path, "%d/status", pid);
        n = fd_read_file_at(host->proc_fd, path, text, sizeof text);
        if (n < 0)
                return (int) n;
        field = strstr(text, "\nUid:");
        if (!field)
                return -ENODATA;
        *ret = (uid_t) strtoul(field + strlen("\nUid:"), NULL, 10);
        return 0;
}

int worker_check_owner(const WorkerJob *job, WorkerReport *report) {
        uid_t uid = (uid_t) -1;
        pid_t pid;

        if (job->owner_fd < 0)
                return 0;
        report->stage = BROKER_STAGE_IDENTITY;
        if (!host_fd_is_pidfd(job->host, job->owner_fd))
                return worker_refuse(report, REFUSAL_BAD_FD);
        /* Alive after it was looked at: so that was it, and not a later process of the same number. */
        if (pid_of(job->host, job->owner_fd, &pid) < 0 || uid_of(job->host, pid, &uid) < 0 || pidfd_send_signal(job->owner_fd, 0, NULL, 0) < 0)
                return worker_refuse(report, REFUSAL_OWNER);
        if (uid != job->identity->uid && job->identity->uid != 0)
                return worker_refuse(report, REFUSAL_OWNER);
        report->owner_pid = pid;
        return 0;
}

/* The child shares our memory and our descriptors, does this one thing in there, and is gone. */
static int open_first(void *userdata) {
        int *ret = userdata;

        *ret = (int) syscall(SYS_pidfd_open, 1, 0);
        if (*ret < 0)
                *ret = -errno;
        return 0;
}

static int open_first_of_namespace(int *ret_fd) {
        static char stack[16384] __attribute__((aligned(16)));
        int fd = -ESRCH;
        pid_t pid;

        pid = RET_NERRNO(clone(open_first, stack + sizeof stack, CLONE_VM | CLONE_FILES | CLONE_VFORK | SIGCHLD, &fd));
        if (pid < 0)
                return pid;
        (void) waitpid(pid, NULL, 0);
        if (fd < 0)
                return fd;
        *ret_fd = fd;
        return 0;
}

int worker_find_owner(const WorkerJob *job, WorkerReport *report, int *ret_fd) {
        _cleanup_fd_ int own_ns_fd = -EBADF, owner_fd = -EBADF;
        struct stat own, callers;
        int r;

        if (job->owner_fd >= 0 || job->identity->pidfd < 0)
                return 0;
        report->stage = BROKER_STAGE_IDENTITY;
        own_ns_fd = RET_NERRNO(openat(job->host->proc_fd, "self/ns/pid", O_RDONLY | O_CLOEXEC));
        if (own_ns_fd < 0)
                return own_ns_fd;
        r = RET_NERRNO(setns(job->identity->pidfd, CLONE_NEWPID));
        if (r == -EINVAL)
                return 0; /* it is not below ours: nobody that we could watch */
        if (r < 0)
                return r;
        if (fstat(own_ns_fd, &own) < 0 || fstatat(job->host->proc_fd, "self/ns/pid_for_children", &callers, 0) < 0)
                return -errno;
        if (own.st_ino == callers.st_ino)
                return 0;
        r = open_first_of_namespace(&owner_fd);
        if (r < 0)
                return r;
        r = RET_NERRNO(setns(own_ns_fd, CLONE_NEWPID)); /* children of later steps are the host's again */
        if (r < 0)
                return r;
        r = pid_of(job->host, owner_fd, &report->owner_pid);
        if (r < 0)
                return r;
        report->owner_found = true;
        *ret_fd = TAKE_FD(owner_fd);
        return 0;
}
