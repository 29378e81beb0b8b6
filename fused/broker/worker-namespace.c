/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Entering the caller's namespaces by its pidfd (which came from its socket), never by a pid number or a path.
 *
 * The mount namespace comes first, while the worker still has its rights on the host's file systems (an idmapped clone of
 * the caller's tree needs both); then the user namespace, in which /dev/fuse must be opened and the superblock created. */

#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <sys/capability.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "broker/worker.h"

#define OVERFLOW_ID 65534U

int worker_enter_mount_ns(const WorkerJob *job, WorkerReport *report) {
        _cleanup_fd_ int ns_fd = -EBADF;
        uint64_t inode, id;
        int r;

        report->stage = BROKER_STAGE_IDENTITY;
        if (job->identity->pidfd < 0)
                return 0; /* no SO_PEERPIDFD: the host's; a mount point elsewhere fails when it is attached */
        r = RET_NERRNO(setns(job->identity->pidfd, CLONE_NEWNS));
        if (r < 0)
                return r;
        ns_fd = RET_NERRNO(openat(job->host->proc_fd, "self/ns/mnt", O_RDONLY | O_CLOEXEC));
        if (ns_fd < 0)
                return ns_fd;
        r = worker_mount_ns_identity(ns_fd, &inode, &id);
        if (r < 0 || inode == job->host->mount_ns_inode)
                return r;
        report->mount_ns_inode = inode;
        report->mount_ns_id = id;
        return 0;
}

static void caps_freep(cap_t *caps) {
        if (*caps)
                (void) cap_free(*caps);
}

/* Takes the ids for real, but keeps the capabilities that the mount calls need: the kernel lets only the
 * mount's owner see even the number of its connection. */
int worker_take_ids(uid_t uid, gid_t gid) {
        _cleanup_(caps_freep) cap_t caps = NULL;
        static const cap_value_t wanted[] = {CAP_SYS_ADMIN};
        int r;

        r = RET_NERRNO(prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0));
        if (r < 0)
                return r;
        r = RET_NERRNO(setgroups(0, NULL));
        if (r < 0 && r != -EPERM) /* a user namespace may deny it for good */
                return r;
        r = RET_NERRNO(setresgid(gid, gid, gid));
        if (r < 0)
                return r;
        r = RET_NERRNO(setresuid(uid, uid, uid));
        if (r < 0)
                return r;
        caps = cap_init();
        if (!caps || cap_set_flag(caps, CAP_PERMITTED, 1, wanted, CAP_SET) < 0 || cap_set_flag(caps, CAP_EFFECTIVE, 1, wanted, CAP_SET) < 0)
                return -errno;
        r = RET_NERRNO(cap_set_proc(caps));
        if (r < 0)
                return r;
        r = RET_NERRNO(prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0)); /* a change of ids clears it */
        if (r < 0)
                return r;
        /* The caller gains nothing by having the same ids: this process is not dumpable any more, so tracing it takes
         * rights in the user namespace that its memory belongs to, which is the broker's. */
        return 0;
}

int worker_enter_user_ns(const WorkerJob *job, WorkerReport *report) {
        int r;

        report->stage = BROKER_STAGE_IDENTITY;
        if (job->identity->pidfd < 0)
                return 0;
        r = RET_NERRNO(setns(job->identity->pidfd, CLONE_NEWUSER));
        if (r < 0 && r != -EINVAL) /* EINVAL: it is our own */
                return r;
        report->foreign_user_ns = r == 0;
        return 0;
}

int worker_become_caller(const WorkerJob *job, WorkerReport *report) {
        struct ucred inside = {0};
        socklen_t length = sizeof inside;
        int r;

        report->stage = BROKER_STAGE_IDENTITY;
        /* The kernel translates the ids into the namespace that the question is asked in. */
        r = RET_NERRNO(getsockopt(job->caller_fd, SOL_SOCKET, SO_PEERCRED, &inside, &length));
        if (r < 0)
                return r;
        if (report->foreign_user_ns &&
            ((inside.uid == OVERFLOW_ID && job->identity->uid != OVERFLOW_ID) || (inside.gid == OVERFLOW_ID && job->identity->gid != OVERFLOW_ID)))
                return worker_refuse(report, REFUSAL_NAMESPACE);
        return !report->foreign_user_ns && inside.uid == 0 && inside.gid == 0 ? 0 : worker_take_ids(inside.uid, inside.gid);
}
