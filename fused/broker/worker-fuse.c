/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The FUSE device of a mount, opened in the caller's user namespace, as the kernel demands, but with our own right to the device node. */

#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/fd.h"
#include "base/kernel.h"
#include "broker/worker.h"

/* Before the mount, once, by somebody with CAP_SYS_RAWIO in the first user namespace, which is lost on the way into another one. The server asks the
 * kernel whether it may; without, it moves data itself. */
static void allow_iomap(const WorkerJob *job, const WorkerReport *report, int fd) {
        if (!job->type->iomap || report->foreign_user_ns)
                return;
        if (ioctl(fd, KERNEL_ADD_IOMAP) < 0 && errno == ENOTTY)
                (void) ioctl(fd, KERNEL_ADD_IOMAP_OLD);
}

/* The kernel lets a connection use fuse-iomap as well if whoever makes the mount has CAP_SYS_RAWIO, so from here on nobody has: a type without
 * Iomap=yes does not get it because root mounts. */
int worker_open_fuse(const WorkerJob *job, WorkerReport *report, int *ret_fd) {
        _cleanup_fd_ int fd = -EBADF;
        int r;

        report->stage = BROKER_STAGE_FUSE_DEVICE;
        fd = RET_NERRNO(openat(job->host->dev_fd, "fuse", O_RDWR | O_CLOEXEC));
        if (fd < 0)
                return fd;
        /* Where the kernel can, FUSE_INIT is part of the mount call: a server that reads too early waits for the mount, and
         * a mount that exists has been answered. ENOTTY before 6.18. */
        const char *without = getenv("FUSED_WITHOUT"); /* to test the other way on a kernel that has it */
        report->sync_init = job->type->hand_over != POLICY_HAND_OVER_CALLER && /* it is the caller's library that asks for it */
                            !(without && strcmp(without, "sync-init") == 0) && ioctl(fd, FUSE_DEV_IOC_SYNC_INIT) == 0;
        allow_iomap(job, report, fd);
        r = worker_give_up(CAP_SYS_RAWIO);
        if (r < 0)
                return r;
        *ret_fd = TAKE_FD(fd);
        return 0;
}

/* For servers that map: the FUSE device for each of their threads (clones are made of them once it is mounted). A failure of these is no failure
 * of the mount. */
void worker_open_clones(const WorkerJob *job, WorkerReport *report, int clones[POLICY_CLONES_MAX]) {
        for (uint32_t i = 0; i < MIN_OF(job->type->device_clones, POLICY_CLONES_MAX); i++) {
                clones[i] = openat(job->host->dev_fd, "fuse", O_RDWR | O_CLOEXEC);
                if (clones[i] < 0)
                        return;
                report->n_clones++;
        }
}
