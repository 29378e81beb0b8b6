/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Kernel interfaces that Debian 12's headers do not have yet, with the version that brought them. All are probed at run
 * time: a kernel without one answers ENOSYS, ENOTTY or ENOPROTOOPT. */

#include <stdint.h>
#include <sys/ioctl.h>

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77 /* Linux 6.5 */
#endif
#define KERNEL_SO_PASSPIDFD 76 /* Linux 6.5 */
#define KERNEL_SCM_PIDFD 0x04
#ifndef STATX_MNT_ID_UNIQUE
#define STATX_MNT_ID_UNIQUE 0x00004000U /* Linux 6.8 */
#endif
#ifndef FUSE_DEV_IOC_SYNC_INIT
#define FUSE_DEV_IOC_SYNC_INIT _IO(229, 3) /* Linux 6.18 */
#endif
#ifndef FUSE_DEV_IOC_CLONE
#define FUSE_DEV_IOC_CLONE _IOR(229, 0, uint32_t)
#endif

/* Files that the kernel reads and writes for a FUSE server: Linux 6.9 (include/uapi/linux/fuse.h, struct fuse_backing_map). */
typedef struct KernelBackingMap {
        int32_t fd;
        uint32_t flags;
        uint64_t padding;
} KernelBackingMap;
#define KERNEL_BACKING_OPEN _IOW(229, 1, KernelBackingMap)
#define KERNEL_BACKING_CLOSE _IOW(229, 2, uint32_t)
_Static_assert(KERNEL_BACKING_OPEN == 0x4010e501U && KERNEL_BACKING_CLOSE == 0x4004e502U, "numbers of the kernel's");

/* fuse-iomap, out of tree: marks a device that is not mounted yet. The second is what it was called before. Its switch is there where it is. */
#define KERNEL_ADD_IOMAP _IO(229, 101)
#define KERNEL_ADD_IOMAP_OLD _IO(229, 99)
_Static_assert(KERNEL_ADD_IOMAP == 0xe565U && KERNEL_ADD_IOMAP_OLD == 0xe563U, "numbers of the kernel's");
/* What a server that leaves its data to the kernel calls on its own FUSE device: the block size of a device that it maps to (also by an older
 * number), and that its threads stay out of reclaim. */
#define KERNEL_IOMAP_SET_BLOCKSIZE 0x4008e566U
#define KERNEL_IOMAP_SET_BLOCKSIZE_OLD 0x4008e563U
#define KERNEL_IOMAP_SET_NOFS 0x4004e564U
#define KERNEL_IOMAP_SWITCH "/sys/module/fuse/parameters/enable_iomap"

#define KERNEL_BPF_STRUCT_OPS 44 /* Linux 6.4: enum bpf_attach_type, a link of a struct_ops map */

#ifndef NS_GET_MNTNS_ID
#define NS_GET_MNTNS_ID _IOR(0xb7, 0x5, uint64_t) /* Linux 6.11 */
#endif

/* How a process has ended, of a pidfd: Linux 6.15 (include/uapi/linux/pidfd.h, struct pidfd_info, its first version). */
typedef struct KernelPidfdInfo {
        uint64_t mask;
        uint64_t cgroupid;
        uint32_t pid, tgid, ppid, ruid, rgid, euid, egid, suid, sgid, fsuid, fsgid;
        int32_t exit_code;
} KernelPidfdInfo;
_Static_assert(sizeof(KernelPidfdInfo) == 64, "the first version of struct pidfd_info is 64 bytes");
#define KERNEL_PIDFD_INFO_EXIT (1UL << 3)
#define KERNEL_PIDFD_GET_INFO _IOWR(0xFF, 11, KernelPidfdInfo)

/* statmount(2), Linux 6.8 (include/uapi/linux/mount.h). Only what fused asks for. */
#define KERNEL_NR_STATMOUNT 457
#define KERNEL_NR_LISTMOUNT 458
#define KERNEL_STATMOUNT_SB_BASIC 0x01U
#define KERNEL_STATMOUNT_MNT_BASIC 0x02U
#define KERNEL_STATMOUNT_MNT_POINT 0x10U

typedef struct KernelMountRequest { /* struct mnt_id_req, first version: 24 bytes */
        uint32_t size;
        uint32_t spare;
        uint64_t mnt_id;
        uint64_t param;
} KernelMountRequest;

typedef struct KernelStatmount { /* struct statmount: 512 bytes, then strings */
        uint32_t size;
        uint32_t mnt_opts;
        uint64_t mask;
        uint32_t sb_dev_major;
        uint32_t sb_dev_minor;
        uint64_t sb_magic;
        uint32_t sb_flags;
        uint32_t fs_type;
        uint64_t mnt_id;
        uint64_t mnt_parent_id;
        uint32_t mnt_id_old;
        uint32_t mnt_parent_id_old;
        uint64_t mnt_attr;
        uint64_t mnt_propagation;
        uint64_t mnt_peer_group;
        uint64_t mnt_master;
        uint64_t propagate_from;
        uint32_t mnt_root;
        uint32_t mnt_point;
        uint64_t spare[50];
        char strings[];
} KernelStatmount;
_Static_assert(sizeof(KernelStatmount) == 512, "struct statmount is 512 bytes");
