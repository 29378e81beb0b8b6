/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Is this a place where the caller may mount? Asked of the pinned descriptor; its path is never looked up. */

#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/kernel.h"
#include "broker/worker.h"

/* File systems whose directories are not a user's own to cover, and FUSE: a mount on a served tree would have us hold a
 * reference to that tree. */
static const uint64_t refused_magic[] = {
        0x65735546, /* FUSE */
        PROC_SUPER_MAGIC,
        SYSFS_MAGIC,
        CGROUP_SUPER_MAGIC,
        CGROUP2_SUPER_MAGIC,
        DEBUGFS_MAGIC,
        TRACEFS_MAGIC,
        SECURITYFS_MAGIC,
        BPF_FS_MAGIC,
        DEVPTS_SUPER_MAGIC,
        NSFS_MAGIC,
        SELINUX_MAGIC,
        EFIVARFS_MAGIC,
        0x62656570, /* configfs */
};

int worker_mount_facts(int fd, uint64_t *ret_id, bool *ret_unique, uint32_t *ret_dev_minor) {
        struct statx sx = {0};
        int r;

        /* The unique form replaces the old one if both are asked for; before 6.8 the kernel ignores its bit. */
        r = RET_NERRNO(statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, STATX_MNT_ID_UNIQUE | STATX_MNT_ID, &sx));
        if (r < 0)
                return r;
        if (!(sx.stx_mask & (STATX_MNT_ID_UNIQUE | STATX_MNT_ID)))
                return -EOPNOTSUPP;
        *ret_unique = sx.stx_mask & STATX_MNT_ID_UNIQUE;
        *ret_id = sx.stx_mnt_id;
        *ret_dev_minor = sx.stx_dev_minor;
        return 0;
}

/* statmount(2) asks nobody; statfs(2), on kernels before 6.8, may ask a FUSE server and is why this runs in a worker. */
static int file_system_magic(int fd, uint64_t mount_id, bool unique, uint64_t *ret) {
        KernelMountRequest request = {.size = sizeof request, .mnt_id = mount_id, .param = KERNEL_STATMOUNT_SB_BASIC};
        KernelStatmount st = {0};
        struct statfs fs;

        if (unique && syscall(KERNEL_NR_STATMOUNT, &request, &st, sizeof st, 0) == 0) {
                *ret = st.sb_magic;
                return 0;
        }
        if (fstatfs(fd, &fs) < 0)
                return -errno;
        *ret = (uint64_t) fs.f_type;
        return 0;
}

int worker_check_mountpoint(const WorkerJob *job, bool administrator, WorkerReport *report) {
        struct statx sx = {0};
        uint64_t mount_id, magic = 0;
        uint32_t dev_minor;
        bool unique;
        int r;

        if (job->mountpoint_fd < 0)
                return 0;
        report->stage = BROKER_STAGE_MOUNTPOINT;
        r = worker_mount_facts(job->mountpoint_fd, &mount_id, &unique, &dev_minor);
        if (r == -EACCES) /* only somebody else's FUSE mount refuses this to root */
                return worker_refuse(report, REFUSAL_MOUNTPOINT_FS);
        if (r < 0)
                return r;
        r = file_system_magic(job->mountpoint_fd, mount_id, unique, &magic);
        if (r < 0)
                return r;
        for (size_t i = 0; i < ELEMENTSOF(refused_magic); i++)
                if (refused_magic[i] == magic)
                        return worker_refuse(report, REFUSAL_MOUNTPOINT_FS);

        report->on_autofs = magic == AUTOFS_SUPER_MAGIC;
        r = RET_NERRNO(statx(job->mountpoint_fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, STATX_TYPE | STATX_UID, &sx));
        if (r < 0)
                return r;
        if (!S_ISDIR(sx.stx_mode) && !S_ISREG(sx.stx_mode))
                return worker_refuse(report, REFUSAL_MOUNTPOINT);
        /* Ownership, not write access: we cannot repeat the caller's access check with its ACLs and labels. */
        if (sx.stx_uid != job->identity->uid && !(administrator && job->identity->uid == 0))
                return worker_refuse(report, REFUSAL_MOUNTPOINT);
        return 0;
}
