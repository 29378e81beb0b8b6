/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Extended attributes: in the inode and in one block, as libext2fs has them. Who may see trusted ones is checked by the caller. */

#include "ext4-map/volume.h"

#include <string.h>
#include <sys/xattr.h>

#define NAME_MAX_BYTES 255

static const char *const prefixes[] = {"user.", "security.", "trusted.", "system.posix_acl_access", "system.posix_acl_default"};

static bool is_known(const char *name) {
        for (size_t i = 0; i < ELEMENTSOF(prefixes); i++)
                if (strncmp(name, prefixes[i], strlen(prefixes[i])) == 0)
                        return strlen(name) <= NAME_MAX_BYTES + strlen(prefixes[i]);
        return false;
}

static void attributes_done(struct ext2_xattr_handle **handle) {
        if (*handle)
                (void) ext2fs_xattrs_close(handle);
}
#define _cleanup_attributes_ _cleanup_(attributes_done)

static int open_attributes(Volume *volume, ext2_ino_t ino, struct ext2_xattr_handle **ret) {
        int r = volume_error(volume, ext2fs_xattrs_open(volume->fs, ino, ret), ino);

        return r < 0 ? r : volume_error(volume, ext2fs_xattrs_read(*ret), ino);
}

int xattr_get(Volume *volume, ext2_ino_t ino, const char *name, void **ret, size_t *ret_size) {
        _cleanup_attributes_ struct ext2_xattr_handle *handle = NULL;
        int r;

        if (!is_known(name))
                return -ENODATA;
        r = open_attributes(volume, ino, &handle);
        return r < 0 ? r : volume_error(volume, ext2fs_xattr_get(handle, name, ret, ret_size), ino);
}

static int check_existing(Volume *volume, struct ext2_xattr_handle *handle, const char *name, int flags) {
        void *value = NULL;
        size_t size;

        errcode_t error = ext2fs_xattr_get(handle, name, &value, &size);
        if (!error)
                (void) ext2fs_free_mem(&value);
        if (error && error != EXT2_ET_EA_KEY_NOT_FOUND)
                return volume_error(volume, error, 0);
        if (!error && flags & XATTR_CREATE)
                return -EEXIST;
        return error && flags & XATTR_REPLACE ? -ENODATA : 0;
}

/* What an ACL says of a mode; set-group-id goes if who says it is not of that group (further groups are not known), as with chmod(2). */
static void take_mode(Inode *inode, mode_t mode, uid_t uid, gid_t gid) {
        const unsigned kept = uid != 0 && gid != inode_group(inode) ? ~(0777U | S_ISGID) : ~0777U;

        inode->i_mode = (uint16_t) ((inode->i_mode & kept) | (mode & 0777U));
}

int xattr_set(Volume *volume, ext2_ino_t ino, const char *name, const void *value, size_t size, int flags, uid_t uid, gid_t gid) {
        _cleanup_attributes_ struct ext2_xattr_handle *handle = NULL;
        mode_t mode = 0;
        bool is_mode = false, is_access = strcmp(name, "system.posix_acl_access") == 0;
        Inode inode;
        int r;

        if (!is_known(name))
                return -EOPNOTSUPP;
        r = inode_read(volume, ino, &inode);
        if (r >= 0)
                r = inode_check_fixed(&inode);
        if (r >= 0 && is_access) {
                mode = inode.i_mode;
                r = acl_mode(value, size, &mode, &is_mode);
        }
        if (r >= 0)
                r = open_attributes(volume, ino, &handle);
        if (r >= 0)
                r = check_existing(volume, handle, name, flags);
        if (r >= 0 && !is_mode && !volume_has_spare(volume))
                r = -ENOSPC;
        if (r < 0)
                return r;
        volume->is_dirty = true;
        r = volume_error(volume, is_mode ? ext2fs_xattr_remove(handle, name) : ext2fs_xattr_set(handle, name, value, size), ino);
        if (r == -ENODATA && is_mode)
                r = 0;
        if (r >= 0)
                r = inode_read(volume, ino, &inode);
        if (r < 0)
                return r;
        if (is_access)
                take_mode(&inode, mode, uid, gid);
        inode_touch(&inode, INODE_CTIME);
        return inode_write(volume, ino, &inode);
}

int xattr_drop(Volume *volume, ext2_ino_t ino, const char *name) {
        _cleanup_attributes_ struct ext2_xattr_handle *handle = NULL;
        int r;

        r = open_attributes(volume, ino, &handle);
        if (r >= 0)
                r = check_existing(volume, handle, name, XATTR_REPLACE);
        if (r < 0)
                return r == -ENODATA ? 0 : r;
        volume->is_dirty = true;
        r = volume_error(volume, ext2fs_xattr_remove(handle, name), ino);
        if (r >= 0)
                r = inode_changed(volume, ino, INODE_CTIME);
        return r < 0 ? r : 1;
}

int xattr_remove(Volume *volume, ext2_ino_t ino, const char *name) {
        Inode inode;
        int r;

        if (!is_known(name))
                return -EOPNOTSUPP;
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

        if (!is_known(name) || (strncmp(name, "trusted.", 8) == 0 && !list->privileged))
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
        if (r < 0 || list.failed) {
                free(list.data);
                return r < 0 ? r : -ENOMEM;
        }
        *ret = list.data;
        *ret_size = list.size;
        return 0;
}
