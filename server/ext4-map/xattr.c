/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Extended attributes: in the inode and in one block, as libext2fs has them. Who may see trusted ones is checked by the caller. */

#include "ext4-map/volume.h"

#include <string.h>
#include <sys/xattr.h>

#define NAME_MAX_BYTES 255

/* 0; -EINVAL: its own part is missing; -EOPNOTSUPP: not one that a file can have. */
static int check_name(const char *name) {
        static const struct {
                const char *word;
                bool whole; /* it is all of the name */
        } rows[] = {{"user."}, {"security."}, {"trusted."}, {"system.posix_acl_access", true}, {"system.posix_acl_default", true}};

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                const size_t n = strlen(rows[i].word);
                if (strncmp(name, rows[i].word, n) != 0)
                        continue;
                const size_t rest = strlen(name + n);
                if (rows[i].whole)
                        return rest > 0 ? -EOPNOTSUPP : 0;
                return rest == 0 ? -EINVAL : rest > NAME_MAX_BYTES ? -EOPNOTSUPP : 0;
        }
        return -EOPNOTSUPP;
}

static void attributes_done(struct ext2_xattr_handle **handle) {
        if (*handle)
                (void) ext2fs_xattrs_close(handle);
}
#define _cleanup_attributes_ _cleanup_(attributes_done)

/* -ENODATA: no file of this file system has any. */
static int open_attributes(Volume *volume, ext2_ino_t ino, struct ext2_xattr_handle **ret) {
        int r;

        if (!ext2fs_has_feature_xattr(volume->fs->super))
                return -ENODATA;
        r = volume_error(volume, ext2fs_xattrs_open(volume->fs, ino, ret), ino);
        return r < 0 ? r : volume_error(volume, ext2fs_xattrs_read(*ret), ino);
}

/* The first attribute of a file system of before there were any: as ext4 does. */
static void add_feature(Volume *volume) {
        if (ext2fs_has_feature_xattr(volume->fs->super))
                return;
        ext2fs_update_dynamic_rev(volume->fs);
        ext2fs_set_feature_xattr(volume->fs->super);
        ext2fs_mark_super_dirty(volume->fs);
}

int xattr_get(Volume *volume, ext2_ino_t ino, const char *name, void **ret, size_t *ret_size) {
        _cleanup_attributes_ struct ext2_xattr_handle *handle = NULL;
        int r;

        r = check_name(name);
        if (r >= 0)
                r = open_attributes(volume, ino, &handle);
        return r < 0 ? r : volume_error(volume, ext2fs_xattr_get(handle, name, ret, ret_size), ino);
}

/* 1: there is one. */
static int exists(Volume *volume, ext2_ino_t ino, const char *name) {
        void *value = NULL;
        size_t size;
        int r;

        r = xattr_get(volume, ino, name, &value, &size);
        if (r >= 0)
                (void) ext2fs_free_mem(&value);
        return r == -ENODATA ? 0 : r < 0 ? r : 1;
}

static int check_existing(Volume *volume, ext2_ino_t ino, const char *name, int flags) {
        int r = exists(volume, ino, name);

        if (r > 0 && flags & XATTR_CREATE)
                return -EEXIST;
        return r == 0 && flags & XATTR_REPLACE ? -ENODATA : MIN_OF(r, 0);
}

int xattr_store(Volume *volume, ext2_ino_t ino, const char *name, const void *value, size_t size) {
        _cleanup_attributes_ struct ext2_xattr_handle *handle = NULL;
        int r;

        add_feature(volume);
        volume->is_dirty = true;
        r = open_attributes(volume, ino, &handle);
        return r < 0 ? r : volume_error(volume, ext2fs_xattr_set(handle, name, value, size), ino);
}

int xattr_drop(Volume *volume, ext2_ino_t ino, const char *name) {
        _cleanup_attributes_ struct ext2_xattr_handle *handle = NULL;
        int r;

        r = exists(volume, ino, name);
        if (r <= 0)
                return r;
        r = open_attributes(volume, ino, &handle);
        if (r < 0)
                return r;
        volume->is_dirty = true;
        r = volume_error(volume, ext2fs_xattr_remove(handle, name), ino);
        if (r >= 0)
                r = inode_changed(volume, ino, INODE_CTIME);
        return r < 0 ? r : 1;
}

/* What an ACL says of a mode; set-group-id goes if who says it is not of that group (further groups are not known), as with chmod(2). */
static void take_mode(Inode *inode, mode_t mode, uid_t uid, gid_t gid) {
        const unsigned kept = uid != 0 && gid != inode_group(inode) ? ~(0777U | S_ISGID) : ~0777U;

        inode->i_mode = (uint16_t) ((inode->i_mode & kept) | (mode & 0777U));
}

int xattr_set(Volume *volume, ext2_ino_t ino, const char *name, const void *value, size_t size, int flags, uid_t uid, gid_t gid) {
        bool is_mode = false, is_access = strcmp(name, "system.posix_acl_access") == 0;
        mode_t mode = 0;
        Inode inode;
        int r;

        r = check_name(name);
        if (r >= 0)
                r = inode_read(volume, ino, &inode);
        if (r >= 0)
                r = inode_check_fixed(&inode);
        if (r >= 0 && is_access) {
                mode = inode.i_mode;
                r = acl_mode(value, size, &mode, &is_mode);
        }
        if (r >= 0)
                r = check_existing(volume, ino, name, flags);
        if (r >= 0 && !is_mode && !volume_has_spare(volume))
                r = -ENOSPC;
        if (r >= 0)
                r = is_mode ? xattr_drop(volume, ino, name) : xattr_store(volume, ino, name, value, size);
        if (r >= 0)
                r = inode_read(volume, ino, &inode);
        if (r < 0)
                return r;
        if (is_access)
                take_mode(&inode, mode, uid, gid);
        inode_touch(&inode, INODE_CTIME);
        return inode_write(volume, ino, &inode);
}

int xattr_remove(Volume *volume, ext2_ino_t ino, const char *name) {
        Inode inode;
        int r;

        r = check_name(name);
        if (r >= 0)
                r = inode_read(volume, ino, &inode);
        if (r >= 0)
                r = inode_check_fixed(&inode);
        if (r >= 0)
                r = xattr_drop(volume, ino, name);
        return r == 0 && strncmp(name, "system.", 7) != 0 ? -ENODATA : MIN_OF(r, 0); /* no ACL is one, too */
}

typedef struct List {
        char *data; /* owned by the caller */
        size_t size;
        bool privileged, failed;
} List;

static int list_one(char *name, char *value, size_t value_size, void *userdata) {
        List *list = userdata;
        size_t n = strlen(name) + 1;

        if (check_name(name) < 0 || (strncmp(name, "trusted.", 8) == 0 && !list->privileged))
                return 0;
        char *data = realloc(list->data, list->size + n);
        if (!data) {
                list->failed = true;
                return XATTR_ABORT;
        }
        memcpy(data + list->size, name, n);
        list->data = data;
        list->size += n;
        return 0;
}

int xattr_list(Volume *volume, ext2_ino_t ino, bool privileged, char **ret, size_t *ret_size) {
        _cleanup_attributes_ struct ext2_xattr_handle *handle = NULL;
        List list = {.privileged = privileged};
        int r;

        r = open_attributes(volume, ino, &handle);
        if (r >= 0)
                r = volume_error(volume, ext2fs_xattrs_iterate(handle, list_one, &list), ino);
        if ((r < 0 && r != -ENODATA) || list.failed) {
                free(list.data);
                return list.failed ? -ENOMEM : r;
        }
        *ret = list.data;
        *ret_size = list.size;
        return 0;
}
