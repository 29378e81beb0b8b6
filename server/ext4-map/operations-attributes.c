/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* FUSE: attributes, opening, space, synchronization; and what the mapping library asks. */

#include "ext4-map/server.h"

#include <string.h>
#include <sys/statvfs.h>

/* ---- attributes ----------------------------------------------------------------------------------------------------- */

static void reply_attr(fuse_req_t req, int r, const struct stat *st) {
        if (r < 0)
                (void) fuse_reply_err(req, -r);
        else
                (void) fused_map_reply_attr(server.map, req, st, server.timeout, S_ISREG(st->st_mode));
}

static int stat_locked(ext2_ino_t ino, struct stat *ret) {
        Inode inode;
        int r;

        r = inode_read(&server.volume, ino, &inode);
        return r < 0 ? r : inode_stat(&server.volume, ino, &inode, ret);
}

static void on_getattr(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi) {
        struct stat st;

        server_lock();
        int r = stat_locked(ino_of(id), &st);
        server_unlock();
        reply_attr(req, r, &st);
}

static void apply(Inode *inode, const struct stat *to, int which) {
        struct timespec now;

        inode_now(&now);
        if (which & FUSE_SET_ATTR_MODE)
                inode->i_mode = (uint16_t) ((inode->i_mode & S_IFMT) | (to->st_mode & 07777));
        if (which & (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID))
                inode_set_owner(inode, which & FUSE_SET_ATTR_UID ? to->st_uid : inode_owner(inode),
                                which & FUSE_SET_ATTR_GID ? to->st_gid : inode_group(inode));
        inode_set_time(inode, INODE_CTIME, which & FUSE_SET_ATTR_CTIME ? &to->st_ctim : &now);
        if (which & (FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_ATIME_NOW))
                inode_set_time(inode, INODE_ATIME, which & FUSE_SET_ATTR_ATIME_NOW ? &now : &to->st_atim);
        if (which & (FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_MTIME_NOW))
                inode_set_time(inode, INODE_MTIME, which & FUSE_SET_ATTR_MTIME_NOW ? &now : &to->st_mtim);
}

/* The kernel hands over the times of what was appended with SETATTR, and nothing tells that from utimensat(2). */
static int check_flags(const Inode *inode, int which) {
        const bool old_atime = which & FUSE_SET_ATTR_ATIME && !(which & FUSE_SET_ATTR_ATIME_NOW);
        const bool more = which & (FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID | FUSE_SET_ATTR_SIZE);

        return inode->i_flags & EXT2_IMMUTABLE_FL || (inode->i_flags & EXT2_APPEND_FL && (old_atime || more)) ? -EPERM : 0;
}

static int set_attributes(ext2_ino_t ino, const struct stat *to, int which, struct stat *ret) {
        Volume *volume = &server.volume;
        Inode inode;
        int r;

        r = inode_read(volume, ino, &inode);
        if (r < 0)
                return r;
        if (volume->read_only)
                return -EROFS;
        r = check_flags(&inode, which);
        if (r < 0)
                return r;
        if (which & FUSE_SET_ATTR_SIZE) {
                r = inode_is_regular(&inode) ? space_set_size(volume, ino, (uint64_t) to->st_size) : -EINVAL;
                if (r >= 0)
                        r = fused_map_set_size(server.map, id_of(ino), (uint64_t) to->st_size);
                if (r >= 0)
                        r = inode_read(volume, ino, &inode);
                if (r < 0)
                        return r;
        }
        if (which & FUSE_SET_ATTR_MODE) { /* first: who loses rights must not keep them in the ACL if it cannot be stored */
                r = acl_chmod(volume, ino, to->st_mode);
                if (r >= 0)
                        r = inode_read(volume, ino, &inode); /* attributes are in it */
                if (r < 0)
                        return r;
        }
        if (which & ~FUSE_SET_ATTR_SIZE) {
                apply(&inode, to, which);
                r = inode_write(volume, ino, &inode);
        }
        return r < 0 ? r : inode_stat(volume, ino, &inode, ret);
}

static void on_setattr(fuse_req_t req, fuse_ino_t id, struct stat *to, int which, struct fuse_file_info *fi) {
        struct stat st;

        server_lock();
        int r = set_attributes(ino_of(id), to, which, &st);
        server_unlock();
        reply_attr(req, r, &st);
}

static void on_statfs(fuse_req_t req, fuse_ino_t id) {
        struct ext2_super_block *super = server.volume.fs->super;
        struct statvfs st = {.f_bsize = server.volume.block_size, .f_frsize = server.volume.block_size, .f_namemax = EXT2_NAME_LEN};
        uint64_t zones = 0;

        server_lock();
        for (size_t i = 0; i < server.volume.zones.n; i++)
                zones += server.volume.zones.items[i].last - server.volume.zones.items[i].first + 1;
        st.f_blocks = ext2fs_blocks_count(super) > zones ? ext2fs_blocks_count(super) - zones : 0;
        st.f_bfree = ext2fs_free_blocks_count(super);
        st.f_bavail = volume_free_blocks(&server.volume);
        st.f_files = super->s_inodes_count;
        st.f_ffree = st.f_favail = super->s_free_inodes_count;
        server_unlock();
        (void) fuse_reply_statfs(req, &st);
}

/* ---- extended attributes -------------------------------------------------------------------------------------------- */

static void reply_xattr(fuse_req_t req, int r, const void *value, size_t n, size_t size) {
        if (r >= 0 && size > 0 && n > size)
                r = -ERANGE;
        if (r < 0)
                (void) fuse_reply_err(req, -r);
        else if (size == 0)
                (void) fuse_reply_xattr(req, n);
        else
                (void) fuse_reply_buf(req, value, n);
}

static void on_getxattr(fuse_req_t req, fuse_ino_t id, const char *name, size_t size) {
        void *value = NULL;
        size_t n = 0;

        server_lock();
        int r = xattr_get(&server.volume, ino_of(id), name, &value, &n);
        server_unlock();
        reply_xattr(req, r, value, n, size);
        if (value)
                (void) ext2fs_free_mem(&value);
}

static void on_listxattr(fuse_req_t req, fuse_ino_t id, size_t size) {
        _cleanup_free_ char *names = NULL;
        size_t n = 0;

        server_lock();
        int r = xattr_list(&server.volume, ino_of(id), fuse_req_ctx(req)->uid == 0, &names, &n);
        server_unlock();
        reply_xattr(req, r, names, n, size);
}

static void on_setxattr(fuse_req_t req, fuse_ino_t id, const char *name, const char *value, size_t size, int flags) {
        const struct fuse_ctx *caller = fuse_req_ctx(req);

        server_lock();
        int r = server.volume.read_only ? -EROFS : xattr_set(&server.volume, ino_of(id), name, value, size, flags, caller->uid, caller->gid);
        server_unlock();
        (void) fuse_reply_err(req, -r);
}

static void on_removexattr(fuse_req_t req, fuse_ino_t id, const char *name) {
        server_lock();
        int r = server.volume.read_only ? -EROFS : xattr_remove(&server.volume, ino_of(id), name);
        server_unlock();
        (void) fuse_reply_err(req, -r);
}

/* ---- opening -------------------------------------------------------------------------------------------------------- */

static int open_locked(ext2_ino_t ino, const struct fuse_file_info *fi) {
        bool writes = (fi->flags & O_ACCMODE) != O_RDONLY;
        Inode inode;
        Node *node;
        int r;

        r = inode_read(&server.volume, ino, &inode);
        if (r < 0)
                return r;
        if (writes && server.volume.read_only)
                return -EROFS;
        if (writes && (inode.i_flags & EXT2_IMMUTABLE_FL || (inode.i_flags & EXT2_APPEND_FL && !(fi->flags & O_APPEND))))
                return -EPERM;
        node = node_get(&server.volume, ino);
        if (!node)
                return -ENOMEM;
        node->n_writers += writes;
        return 0;
}

static int release_locked(ext2_ino_t ino, const struct fuse_file_info *fi) {
        Node *node = node_find(&server.volume, ino);

        if (!node || (fi->flags & O_ACCMODE) == O_RDONLY || node->n_writers == 0 || --node->n_writers > 0)
                return 0;
        return data_trim(&server.volume, node);
}

static void on_open(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi) {
        server_lock();
        int r = open_locked(ino_of(id), fi);
        server_unlock();
        if (r < 0)
                (void) fuse_reply_err(req, -r);
        else if (fused_map_reply_open(server.map, req, fi) < 0) { /* interrupted: no release will come */
                server_lock();
                (void) release_locked(ino_of(id), fi);
                server_unlock();
        }
}

static void on_release(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi) {
        server_lock();
        int r = release_locked(ino_of(id), fi);
        server_unlock();
        (void) fuse_reply_err(req, -r);
}

static void on_flush(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi) {
        (void) fuse_reply_err(req, 0);
}

static void on_fallocate(fuse_req_t req, fuse_ino_t id, int mode, off_t pos, off_t count, struct fuse_file_info *fi) {
        uint64_t size = 0;
        int r;

        server_lock();
        r = server.volume.read_only ? -EROFS : space_allocate(&server.volume, ino_of(id), mode, (uint64_t) pos, (uint64_t) count, &size);
        if (r >= 0 && size > fused_map_size(server.map, id))
                r = fused_map_set_size(server.map, id, size);
        server_unlock();
        (void) fuse_reply_err(req, -r);
}

static int on_sync(void *userdata) {
        server_lock();
        int r = server.volume.is_dirty ? volume_flush(&server.volume, /* sync= */ false) : 0;
        server_unlock();
        return r;
}

static void on_fsync(fuse_req_t req, fuse_ino_t id, int datasync, struct fuse_file_info *fi) {
        int r = on_sync(NULL);
        int q = fused_map_device_sync(server.map, server.volume.dev);
        (void) fuse_reply_err(req, r < 0 ? -r : -q);
}

/* ---- what the mapping library asks ---------------------------------------------------------------------------------- */

static int on_begin(void *userdata, const struct fused_map_request *request, struct fused_mapping *read, struct fused_mapping *write) {
        server_lock();
        int r = data_begin(&server.volume, ino_of(request->nodeid), request->pos, request->count, request->opflags, read);
        server_unlock();
        return r;
}

static int on_end(void *userdata, const struct fused_map_request *request, int64_t written, const struct fused_mapping *mapping) {
        server_lock();
        int r = data_end(&server.volume, ino_of(request->nodeid), request->pos, written);
        server_unlock();
        return r;
}

static int on_ioend(void *userdata, const struct fused_map_ioend *ioend, uint64_t *size) {
        server_lock();
        int r = data_ioend(&server.volume, ino_of(ioend->nodeid), ioend->pos, ioend->written, ioend->flags, ioend->error, size);
        server_unlock();
        return r;
}

static void on_modified(void *userdata, uint64_t nodeid) {
        server_lock();
        (void) inode_changed(&server.volume, ino_of(nodeid), INODE_MTIME | INODE_CTIME);
        server_unlock();
}

static int kill_set_id(Volume *volume, ext2_ino_t ino, Inode *inode, uid_t uid, gid_t gid) {
        const uint32_t kill = fused_kill_set_id(inode->i_mode, inode_group(inode), uid, gid);
        int r;

        if (!kill)
                return 0;
        inode->i_mode &= (uint16_t) ~kill;
        inode_touch(inode, INODE_CTIME);
        r = inode_write(volume, ino, inode);
        return r < 0 ? r : 1;
}

static int kill_privileges(Volume *volume, ext2_ino_t ino, unsigned how, uid_t uid, gid_t gid) {
        int r, set_id = 0, capability = 0;
        Inode inode;

        r = inode_read(volume, ino, &inode);
        if (r < 0 || !inode_is_regular(&inode))
                return r;
        if (how & FUSED_KILL_SET_ID)
                set_id = kill_set_id(volume, ino, &inode, uid, gid);
        if (how & FUSED_KILL_CAPABILITY)
                capability = xattr_drop(volume, ino, "security.capability");
        return set_id < 0 ? set_id : capability < 0 ? capability : set_id | capability;
}

static int on_kill_privileges(void *userdata, uint64_t nodeid, unsigned how, uid_t uid, gid_t gid) {
        server_lock();
        int r = kill_privileges(&server.volume, ino_of(nodeid), how, uid, gid);
        server_unlock();
        return r;
}

static int on_fallocate_check(void *userdata, uint64_t nodeid, int mode, uint64_t pos, uint64_t length) {
        server_lock();
        int r = space_check(&server.volume, ino_of(nodeid), mode, pos + length);
        server_unlock();
        return r;
}

const struct fused_map_operations server_map_operations = {
        .fallocate_check = on_fallocate_check,
        .begin = on_begin, .end = on_end, .ioend = on_ioend, .modified = on_modified, .kill_privileges = on_kill_privileges, .sync = on_sync};

static void hook_upsert(void *userdata, ext2_ino_t ino, const struct fused_mapping *mapping) {
        (void) fused_map_upsert(server.map, id_of(ino), mapping, NULL); /* -ESTALE: nobody knows the file any more */
}

static void hook_invalidate(void *userdata, ext2_ino_t ino, uint64_t offset, uint64_t length) {
        if (server.map)
                (void) fused_map_invalidate(server.map, id_of(ino), offset, length);
}

static void hook_freed(void *userdata, uint64_t addr, uint64_t length) {
        if (server.map)
                (void) fused_map_device_invalidate(server.map, server.volume.dev, addr, length);
}

static void hook_log(void *userdata, const char *line) {
        fprintf(stderr, "fused-ext4-map: %s\n", line);
}

const VolumeHooks server_hooks = {.upsert = hook_upsert, .invalidate = hook_invalidate, .freed = hook_freed, .log = hook_log};

void server_attribute_operations(struct fuse_lowlevel_ops *operations) {
        operations->getattr = on_getattr;
        operations->setattr = on_setattr;
        operations->statfs = on_statfs;
        operations->getxattr = on_getxattr;
        operations->setxattr = on_setxattr;
        operations->listxattr = on_listxattr;
        operations->removexattr = on_removexattr;
        operations->open = on_open;
        operations->release = on_release;
        operations->flush = on_flush;
        operations->fallocate = on_fallocate;
        operations->fsync = on_fsync;
        operations->fsyncdir = on_fsync;
}
