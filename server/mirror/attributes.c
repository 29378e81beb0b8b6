/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Attributes and extended attributes.
 *
 * On the clone, the caller's files belong to us: our ids stand for its. What belongs to anybody else shows as nobody's. */

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "mirror/mirror.h"

void show_owner(fuse_req_t req, struct stat *st) {
        const struct fuse_ctx *context = fuse_req_ctx(req);

        if (st->st_uid == mirror.own_uid)
                st->st_uid = mirror.has_owner ? mirror.owner_uid : context->uid;
        if (st->st_gid == mirror.own_gid)
                st->st_gid = mirror.has_owner ? mirror.owner_gid : context->gid;
}

static void reply_attributes(fuse_req_t req, const Node *node) {
        struct stat st;

        if (fstat(node->fd, &st) < 0) {
                fuse_reply_err(req, errno);
                return;
        }
        show_owner(req, &st);
        fuse_reply_attr(req, &st, mirror.timeout);
}

static void on_getattr(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi) {
        reply_attributes(req, node_of(id));
}

/* fchmod() wants an open file and fchmodat() a name; a mode that forbids its owner to open it needs the name. */
static int change_mode(Node *node, mode_t mode) {
        _cleanup_fd_ int fd = node_open_any(node, O_RDONLY), parent_fd = -EBADF;
        char *name _cleanup_free_ = NULL;
        struct stat st;
        int r;

        if (fd >= 0)
                return RET_NERRNO(fchmod(fd, mode));
        if (fd != -EACCES)
                return fd;
        r = node_place(node, &parent_fd, &name);
        if (r < 0)
                return r;
        if (fstatat(parent_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return -errno;
        if (st.st_ino != node->inode || st.st_dev != node->device || S_ISLNK(st.st_mode))
                return -ESTALE;
        return RET_NERRNO(fchmodat(parent_fd, name, mode, 0));
}

/* To the owner is where it is; to anybody else is not ours to give. */
static int change_owner(fuse_req_t req, const Node *node, const struct stat *wanted, int to_set) {
        const struct fuse_ctx *context = fuse_req_ctx(req);
        uid_t owner = mirror.has_owner ? mirror.owner_uid : context->uid;
        gid_t group = mirror.has_owner ? mirror.owner_gid : context->gid;
        bool own_uid = !(to_set & FUSE_SET_ATTR_UID) || wanted->st_uid == owner;
        bool own_gid = !(to_set & FUSE_SET_ATTR_GID) || wanted->st_gid == group;

        if (!own_uid || !own_gid)
                return -EPERM;
        return RET_NERRNO(fchownat(node->fd, "", to_set & FUSE_SET_ATTR_UID ? mirror.own_uid : (uid_t) -1,
                                   to_set & FUSE_SET_ATTR_GID ? mirror.own_gid : (gid_t) -1, AT_EMPTY_PATH));
}

static int change_size(Node *node, const struct fuse_file_info *fi, off_t size) {
        _cleanup_fd_ int fd = -EBADF;

        if (fi)
                return RET_NERRNO(ftruncate((int) fi->fh, size));
        fd = node_open(node, O_WRONLY);
        return fd < 0 ? fd : RET_NERRNO(ftruncate(fd, size));
}

static int change_times(Node *node, const struct fuse_file_info *fi, const struct stat *wanted, int to_set) {
        struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_nsec = UTIME_OMIT}};
        _cleanup_fd_ int fd = -EBADF;
        int r;

        if (to_set & FUSE_SET_ATTR_ATIME_NOW)
                times[0].tv_nsec = UTIME_NOW;
        else if (to_set & FUSE_SET_ATTR_ATIME)
                times[0] = wanted->st_atim;
        if (to_set & FUSE_SET_ATTR_MTIME_NOW)
                times[1].tv_nsec = UTIME_NOW;
        else if (to_set & FUSE_SET_ATTR_MTIME)
                times[1] = wanted->st_mtim;
        if (fi)
                return RET_NERRNO(futimens((int) fi->fh, times));
        r = RET_NERRNO(utimensat(node->fd, "", times, AT_EMPTY_PATH)); /* Linux 5.8 */
        if (r != -EINVAL)
                return r;
        fd = node_open_any(node, O_RDONLY);
        return fd < 0 ? fd : RET_NERRNO(futimens(fd, times));
}

static void on_setattr(fuse_req_t req, fuse_ino_t id, struct stat *wanted, int to_set, struct fuse_file_info *fi) {
        Node *node = node_of(id);
        int r = 0;

        if (to_set & FUSE_SET_ATTR_MODE)
                r = fi ? RET_NERRNO(fchmod((int) fi->fh, wanted->st_mode & 07777)) : change_mode(node, wanted->st_mode & 07777);
        if (r >= 0 && (to_set & (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID)))
                r = change_owner(req, node, wanted, to_set);
        if (r >= 0 && (to_set & FUSE_SET_ATTR_SIZE))
                r = change_size(node, fi, wanted->st_size);
        if (r >= 0 && (to_set & (FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_ATIME_NOW | FUSE_SET_ATTR_MTIME_NOW)))
                r = change_times(node, fi, wanted, to_set);
        if (r < 0)
                fuse_reply_err(req, -r);
        else
                reply_attributes(req, node);
}

static void on_statfs(fuse_req_t req, fuse_ino_t id) {
        struct statvfs fs;

        if (fstatvfs(node_of(id)->fd, &fs) < 0)
                fuse_reply_err(req, errno);
        else
                fuse_reply_statfs(req, &fs);
}

/* ---- extended attributes: of what can be opened, which symbolic links cannot --------------------------------------- */

static int open_for_xattr(Node *node) {
        struct stat st;

        if (fstat(node->fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
                return -EOPNOTSUPP;
        return node_open_any(node, O_RDONLY | (S_ISDIR(st.st_mode) ? O_DIRECTORY : 0));
}

static void reply_xattr(fuse_req_t req, ssize_t n, const char *value, size_t size) {
        if (n < 0)
                fuse_reply_err(req, (int) -n);
        else if (size == 0)
                fuse_reply_xattr(req, (size_t) n);
        else
                fuse_reply_buf(req, value, (size_t) n);
}

static void on_getxattr(fuse_req_t req, fuse_ino_t id, const char *name, size_t size) {
        _cleanup_fd_ int fd = open_for_xattr(node_of(id));
        char *value _cleanup_free_ = malloc(size + 1);

        reply_xattr(req, fd < 0 ? fd : !value ? -ENOMEM : RET_NERRNO(fgetxattr(fd, name, value, size)), value, size);
}

static void on_listxattr(fuse_req_t req, fuse_ino_t id, size_t size) {
        _cleanup_fd_ int fd = open_for_xattr(node_of(id));
        char *list _cleanup_free_ = malloc(size + 1);

        reply_xattr(req, fd < 0 ? fd : !list ? -ENOMEM : RET_NERRNO(flistxattr(fd, list, size)), list, size);
}

static void on_setxattr(fuse_req_t req, fuse_ino_t id, const char *name, const char *value, size_t size, int flags) {
        _cleanup_fd_ int fd = open_for_xattr(node_of(id));
        int r = fd < 0 ? fd : RET_NERRNO(fsetxattr(fd, name, value, size, flags));

        fuse_reply_err(req, -r);
}

static void on_removexattr(fuse_req_t req, fuse_ino_t id, const char *name) {
        _cleanup_fd_ int fd = open_for_xattr(node_of(id));
        int r = fd < 0 ? fd : RET_NERRNO(fremovexattr(fd, name));

        fuse_reply_err(req, -r);
}

void mirror_attribute_operations(struct fuse_lowlevel_ops *operations) {
        operations->getattr = on_getattr;
        operations->setattr = on_setattr;
        operations->statfs = on_statfs;
        operations->getxattr = on_getxattr;
        operations->listxattr = on_listxattr;
        operations->setxattr = on_setxattr;
        operations->removexattr = on_removexattr;
}
