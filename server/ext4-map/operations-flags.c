/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* FUSE: the flags that lsattr(1) shows, and the few of them that chattr(1) may change here. A file that is immutable or can only be appended to
 * stays so: what the kernel would have to watch over while it is open, it does not for FUSE. */

#include "ext4-map/server.h"

#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>

#define CHANGEABLE ((uint32_t) (EXT2_NODUMP_FL | EXT2_NOATIME_FL))

static int set_flags(ext2_ino_t ino, uid_t uid, uint32_t to) {
        Volume *volume = &server.volume;
        Inode inode;
        int r;

        if (volume->read_only)
                return -EROFS;
        r = inode_read(volume, ino, &inode);
        if (r < 0)
                return r;
        if (uid != 0 && uid != inode_owner(&inode)) /* a kernel before 5.13 has not asked */
                return -EPERM;
        if ((to ^ inode.i_flags) & EXT2_FL_USER_VISIBLE & ~CHANGEABLE)
                return -EOPNOTSUPP;
        if (inode.i_flags & EXT2_IMMUTABLE_FL && (to ^ inode.i_flags) & CHANGEABLE)
                return -EPERM;
        inode.i_flags = (inode.i_flags & ~CHANGEABLE) | (to & CHANGEABLE);
        inode_touch(&inode, INODE_CTIME);
        return inode_write(volume, ino, &inode);
}

static int get_flags(ext2_ino_t ino, uint32_t *ret) {
        Inode inode;
        int r;

        r = inode_read(&server.volume, ino, &inode);
        if (r >= 0)
                *ret = inode.i_flags & EXT2_FL_USER_VISIBLE;
        return r;
}

/* The kernel asks for these before it changes any flag, whichever way it was told to. */
static int get_extended(ext2_ino_t ino, struct fsxattr *ret) {
        static const struct {
                uint32_t own, extended;
        } rows[] = {{EXT2_IMMUTABLE_FL, FS_XFLAG_IMMUTABLE}, {EXT2_APPEND_FL, FS_XFLAG_APPEND}, {EXT2_SYNC_FL, FS_XFLAG_SYNC},
                    {EXT2_NOATIME_FL, FS_XFLAG_NOATIME}, {EXT2_NODUMP_FL, FS_XFLAG_NODUMP}};
        uint32_t flags;
        int r;

        *ret = (struct fsxattr){0};
        r = get_flags(ino, &flags);
        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(rows); i++)
                ret->fsx_xflags |= flags & rows[i].own ? rows[i].extended : 0;
        return r;
}

static void on_ioctl(fuse_req_t req, fuse_ino_t id, unsigned command, void *argument, struct fuse_file_info *fi, unsigned flags, const void *in,
                     size_t in_size, size_t out_size) {
        union {
                uint32_t flags;
                struct fsxattr extended;
        } value = {0};
        size_t n = 0;
        int r = -ENOTTY;

        server_lock();
        if (command == (unsigned) FS_IOC_GETFLAGS && out_size >= sizeof value.flags) {
                n = sizeof value.flags;
                r = get_flags(ino_of(id), &value.flags);
        } else if (command == (unsigned) FS_IOC_FSGETXATTR && out_size >= sizeof value.extended) {
                n = sizeof value.extended;
                r = get_extended(ino_of(id), &value.extended);
        } else if (command == (unsigned) FS_IOC_SETFLAGS && in_size >= sizeof value.flags) {
                memcpy(&value.flags, in, sizeof value.flags);
                r = set_flags(ino_of(id), fuse_req_ctx(req)->uid, value.flags);
        }
        server_unlock();
        if (r < 0)
                (void) fuse_reply_err(req, -r);
        else
                (void) fuse_reply_ioctl(req, 0, &value, n);
}

void server_flag_operations(struct fuse_lowlevel_ops *operations) {
        operations->ioctl = on_ioctl;
}
