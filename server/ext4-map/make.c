/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Making, linking, renaming and removing. Who may do so is the kernel's affair (default_permissions). Without a journal the order is: first
 * what a new name needs, then the name; a name is taken away first, then what it stood for. */

#include "ext4-map/volume.h"

#include <string.h>
#include <sys/random.h>
#include <sys/sysmacros.h>

#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1U
#define RENAME_EXCHANGE 2U
#endif
#define LINKS_MAX 65000U

/* ---- new inodes ----------------------------------------------------------------------------------------------------- */

static void set_device(Inode *inode, dev_t device) {
        unsigned ma = major(device), mi = minor(device);

        if (ma < 256 && mi < 256)
                inode->i_block[0] = ma << 8 | mi;
        else
                inode->i_block[1] = (mi & 0xff) | ma << 8 | (mi & ~0xffU) << 12;
}

static gid_t group_for(const Inode *dir, const Maker *maker) {
        return dir->i_mode & S_ISGID ? inode_group(dir) : maker->gid;
}

/* As on ext4. */
static uint32_t inherited_flags(const Inode *dir, mode_t mode) {
        const uint32_t any = EXT2_NODUMP_FL | EXT2_NOATIME_FL;
        const uint32_t file = any | EXT2_SECRM_FL | EXT2_UNRM_FL | EXT2_COMPR_FL | EXT2_NOCOMPR_FL | EXT2_SYNC_FL | EXT3_JOURNAL_DATA_FL |
                              EXT2_NOTAIL_FL;

        return dir->i_flags & (S_ISDIR(mode) ? file | EXT2_DIRSYNC_FL : S_ISREG(mode) ? file : any);
}

/* Owner, times and the rest of what libext2fs leaves to others. A generation that is part of checksums already stays. */
static void adorn(Inode *inode, const Inode *dir, const Maker *maker, mode_t mode) {
        uint32_t generation = 0;

        (void) getrandom(&generation, sizeof generation, GRND_NONBLOCK);
        inode->i_mode = (uint16_t) mode;
        if (!S_ISDIR(mode) && !S_ISLNK(mode))
                inode->i_generation = generation;
        inode->i_flags |= inherited_flags(dir, mode);
        inode_set_owner(inode, maker->uid, group_for(dir, maker));
        inode_touch(inode, INODE_ATIME | INODE_MTIME | INODE_CTIME | INODE_CRTIME);
}

/* ACLs go through the inode on the device. */
static int inherit(Volume *volume, ext2_ino_t dir, ext2_ino_t ino, const Maker *maker) {
        mode_t mode = maker->mode;
        Inode inode;
        int r;

        r = acl_inherit(volume, dir, ino, maker->umask, &mode);
        if (r < 0)
                return r;
        r = inode_read(volume, ino, &inode);
        if (r < 0)
                return r;
        inode.i_mode = (uint16_t) ((inode.i_mode & ~0777U) | (mode & 0777U));
        return inode_write(volume, ino, &inode);
}

/* Undoes what has no name yet. */
static int abandon(Volume *volume, ext2_ino_t ino, int r) {
        Inode inode;

        if (inode_read(volume, ino, &inode) >= 0) {
                inode.i_links_count = 0;
                if (inode_write(volume, ino, &inode) >= 0)
                        (void) inode_free(volume, ino);
        }
        return r;
}

static int new_inode(Volume *volume, ext2_ino_t dir, mode_t mode, ext2_ino_t *ret) {
        int r = volume_error(volume, ext2fs_new_inode(volume->fs, dir, (int) mode, NULL, ret), dir);

        if (r >= 0 && (*ret < EXT2_FIRST_INODE(volume->fs->super) || *ret > volume->fs->super->s_inodes_count))
                return volume_damaged(volume, *ret, "a reserved inode that is free");
        return r;
}

static int check_new(Volume *volume, ext2_ino_t dir, const char *name, Inode *ret_dir) {
        ext2_ino_t there;
        int r;

        r = name_lookup(volume, dir, name, &there);
        if (r != -ENOENT)
                return r < 0 ? r : -EEXIST;
        r = inode_read(volume, dir, ret_dir);
        if (r >= 0 && ret_dir->i_links_count == 0)
                return -ENOENT;
        return r >= 0 && ret_dir->i_flags & EXT2_IMMUTABLE_FL ? -EPERM : r;
}

static int set_content(Volume *volume, ext2_ino_t ino, Inode *inode, const Maker *maker) {
        ext2_extent_handle_t handle;
        int r;

        set_device(inode, S_ISCHR(maker->mode) || S_ISBLK(maker->mode) ? maker->rdev : 0);
        if (!S_ISREG(maker->mode) || !ext2fs_has_feature_extents(volume->fs->super))
                return 0;
        inode->i_flags |= EXT4_EXTENTS_FL;
        r = volume_error(volume, ext2fs_extent_open2(volume->fs, ino, inode_small(inode), &handle), ino); /* makes an empty tree */
        if (r >= 0)
                ext2fs_extent_free(handle);
        return r;
}

int make_node(Volume *volume, ext2_ino_t dir, const char *name, const Maker *maker, ext2_ino_t *ret) {
        Inode parent, inode = {0};
        int r;

        r = check_new(volume, dir, name, &parent);
        if (r >= 0)
                r = new_inode(volume, dir, maker->mode, ret);
        if (r < 0)
                return r;
        inode.i_mode = (uint16_t) maker->mode;
        inode.i_links_count = 1;
        r = volume_error(volume, ext2fs_write_new_inode(volume->fs, *ret, inode_small(&inode)), *ret);
        if (r < 0)
                return r;
        ext2fs_inode_alloc_stats2(volume->fs, *ret, +1, /* isdir= */ 0);
        volume_inode_bitmap_changed(volume, *ret);
        r = inode_read(volume, *ret, &inode);
        if (r >= 0) {
                adorn(&inode, &parent, maker, maker->mode);
                r = set_content(volume, *ret, &inode, maker);
        }
        if (r >= 0)
                r = inode_write(volume, *ret, &inode);
        if (r >= 0)
                r = inherit(volume, dir, *ret, maker);
        if (r >= 0)
                r = name_add(volume, dir, name, *ret, maker->mode);
        if (r < 0)
                return abandon(volume, *ret, r);
        return inode_changed(volume, dir, INODE_MTIME | INODE_CTIME);
}

/* A directory with more subdirectories than a link count holds says 1. */
static int check_subdirectory(const Volume *volume, const Inode *parent) {
        return parent->i_links_count >= LINKS_MAX && !ext2fs_has_feature_dir_nlink(volume->fs->super) ? -EMLINK : 0;
}

static int count_subdirectory(Volume *volume, ext2_ino_t dir, uint16_t before, int change) {
        Inode inode;
        int r;

        r = inode_read(volume, dir, &inode);
        if (r < 0)
                return r;
        if (before == 1 || (change > 0 && before >= LINKS_MAX))
                inode.i_links_count = 1;
        else if (before > 2 || change > 0)
                inode.i_links_count = (uint16_t) (before + change);
        inode_touch(&inode, INODE_MTIME | INODE_CTIME);
        return inode_write(volume, dir, &inode);
}

/* libext2fs has counted a directory that has no name yet. */
static int count_links(Volume *volume, ext2_ino_t dir, uint16_t n) {
        Inode inode;
        int r;

        r = inode_read(volume, dir, &inode);
        inode.i_links_count = n;
        return r < 0 ? r : inode_write(volume, dir, &inode);
}

int make_directory(Volume *volume, ext2_ino_t dir, const char *name, const Maker *maker, ext2_ino_t *ret) {
        Inode parent, inode;
        int r;

        r = check_new(volume, dir, name, &parent);
        if (r >= 0)
                r = check_subdirectory(volume, &parent);
        if (r >= 0 && !volume_has_spare(volume))
                r = -ENOSPC;
        if (r >= 0)
                r = new_inode(volume, dir, maker->mode | S_IFDIR, ret);
        if (r >= 0)
                r = volume_error(volume, ext2fs_mkdir(volume->fs, dir, *ret, NULL), dir);
        if (r < 0)
                return r;
        volume_inode_bitmap_changed(volume, *ret);
        r = count_links(volume, dir, parent.i_links_count);
        if (r >= 0)
                r = inode_read(volume, *ret, &inode);
        if (r >= 0) {
                adorn(&inode, &parent, maker, (maker->mode & 07777) | S_IFDIR | (parent.i_mode & S_ISGID));
                r = inode_write(volume, *ret, &inode);
        }
        if (r >= 0)
                r = inherit(volume, dir, *ret, maker);
        if (r >= 0)
                r = name_add(volume, dir, name, *ret, S_IFDIR);
        return r < 0 ? abandon(volume, *ret, r) : count_subdirectory(volume, dir, parent.i_links_count, +1);
}

int make_symlink(Volume *volume, ext2_ino_t dir, const char *name, const char *target, const Maker *maker, ext2_ino_t *ret) {
        Inode parent, inode;
        int r;

        if (strlen(target) >= volume->block_size)
                return -ENAMETOOLONG;
        r = check_new(volume, dir, name, &parent);
        if (r >= 0)
                r = strlen(target) < sizeof inode.i_block || volume_has_spare(volume) ? new_inode(volume, dir, S_IFLNK | 0777, ret) : -ENOSPC;
        if (r >= 0)
                r = volume_error(volume, ext2fs_symlink(volume->fs, dir, *ret, NULL, target), dir);
        if (r < 0)
                return r;
        volume_inode_bitmap_changed(volume, *ret);
        r = inode_read(volume, *ret, &inode);
        if (r >= 0) {
                adorn(&inode, &parent, maker, S_IFLNK | 0777);
                r = inode_write(volume, *ret, &inode);
        }
        if (r >= 0)
                r = name_add(volume, dir, name, *ret, S_IFLNK);
        return r < 0 ? abandon(volume, *ret, r) : inode_changed(volume, dir, INODE_MTIME | INODE_CTIME);
}

int make_readlink(Volume *volume, ext2_ino_t ino, char *ret, size_t size) {
        uint64_t length;
        blk64_t place;
        Inode inode;
        int r;

        r = inode_read(volume, ino, &inode);
        if (r < 0)
                return r;
        length = inode_size(&inode);
        if (!S_ISLNK(inode.i_mode))
                return -EINVAL;
        if (length == 0 || length >= size || length > volume->block_size || inode.i_flags & (EXT4_INLINE_DATA_FL | EXT4_ENCRYPT_FL))
                return volume_damaged(volume, ino, "a symbolic link of an impossible length");
        if (ext2fs_is_fast_symlink(inode_small(&inode)))
                memcpy(ret, inode.i_block, length);
        else {
                _cleanup_free_ char *buffer = malloc(volume->block_size);
                if (!buffer)
                        return -ENOMEM;
                r = volume_error(volume, ext2fs_bmap2(volume->fs, ino, inode_small(&inode), NULL, 0, 0, NULL, &place), ino);
                if (r >= 0)
                        r = zones_check(volume, ino, place, 1);
                if (r >= 0)
                        r = volume_error(volume, io_channel_read_blk64(volume->fs->io, place, 1, buffer), ino);
                if (r < 0)
                        return r;
                memcpy(ret, buffer, length);
        }
        ret[length] = '\0';
        return 0;
}

/* ---- names of inodes that are there --------------------------------------------------------------------------------- */

int make_link(Volume *volume, ext2_ino_t ino, ext2_ino_t dir, const char *name) {
        Inode parent, inode;
        int r;

        r = check_new(volume, dir, name, &parent);
        if (r >= 0)
                r = inode_read(volume, ino, &inode);
        if (r >= 0)
                r = inode_check_fixed(&inode);
        if (r < 0)
                return r;
        if (S_ISDIR(inode.i_mode) || inode.i_links_count == 0)
                return S_ISDIR(inode.i_mode) ? -EPERM : -ENOENT;
        if (inode.i_links_count >= LINKS_MAX)
                return -EMLINK;
        inode.i_links_count++;
        inode_touch(&inode, INODE_CTIME);
        r = inode_write(volume, ino, &inode);
        if (r < 0)
                return r;
        r = name_add(volume, dir, name, ino, inode.i_mode);
        if (r >= 0)
                return inode_changed(volume, dir, INODE_MTIME | INODE_CTIME);
        inode.i_links_count--;
        (void) inode_write(volume, ino, &inode);
        return r;
}

/* One name less. With the last one the inode goes, when nobody has it open any more. */
static int drop_link(Volume *volume, ext2_ino_t ino, Inode *inode) {
        Node *node = node_find(volume, ino);
        int r;

        inode->i_links_count = S_ISDIR(inode->i_mode) || inode->i_links_count == 0 ? 0 : (uint16_t) (inode->i_links_count - 1);
        inode_touch(inode, INODE_CTIME);
        r = inode_write(volume, ino, inode);
        if (r < 0 || inode->i_links_count > 0)
                return r;
        if (node && node->n_lookup > 0) {
                node->unlinked = true;
                return 0;
        }
        return inode_free(volume, ino);
}

static int check_directory(Volume *volume, ext2_ino_t ino, const Inode *inode, bool directory) {
        int r;

        if (S_ISDIR(inode->i_mode) != directory)
                return directory ? -ENOTDIR : -EISDIR;
        if (ino == EXT2_ROOT_INO)
                return -EBUSY;
        r = directory ? name_dir_is_empty(volume, ino) : 1;
        return r == 0 ? -ENOTEMPTY : MIN_OF(r, 0);
}

int make_unlink(Volume *volume, ext2_ino_t dir, const char *name, bool directory) {
        Inode parent, inode;
        ext2_ino_t ino;
        int r;

        r = name_lookup(volume, dir, name, &ino);
        if (r >= 0)
                r = inode_read(volume, ino, &inode);
        if (r >= 0)
                r = inode_check_fixed(&inode);
        if (r >= 0)
                r = check_directory(volume, ino, &inode, directory);
        if (r >= 0)
                r = inode_read(volume, dir, &parent);
        if (r >= 0)
                r = inode_check_fixed(&parent);
        if (r >= 0)
                r = name_remove(volume, dir, name);
        if (r < 0)
                return r;
        r = drop_link(volume, ino, &inode);
        int q = directory ? count_subdirectory(volume, dir, parent.i_links_count, -1) : inode_changed(volume, dir, INODE_MTIME | INODE_CTIME);
        volume_tell_freed(volume);
        return r < 0 ? r : q;
}

/* ---- renaming ------------------------------------------------------------------------------------------------------- */

typedef struct Rename {
        Volume *volume;
        ext2_ino_t from_dir, to_dir, ino, other;
        const char *from, *to;
        Inode inode, other_inode; /* other: what has the new name now, 0: nothing */
} Rename;

/* A directory has come into another one. */
static int move_directory(Volume *volume, ext2_ino_t ino, ext2_ino_t from_dir, ext2_ino_t to_dir) {
        Inode from, to;
        int r;

        r = inode_read(volume, from_dir, &from);
        if (r >= 0)
                r = inode_read(volume, to_dir, &to);
        if (r >= 0)
                r = name_redirect(volume, ino, "..", to_dir, S_IFDIR);
        if (r >= 0)
                r = count_subdirectory(volume, from_dir, from.i_links_count, -1);
        return r < 0 ? r : count_subdirectory(volume, to_dir, to.i_links_count, +1);
}

static int exchange(Rename *rename) {
        Volume *volume = rename->volume;
        int r;

        r = name_redirect(volume, rename->to_dir, rename->to, rename->ino, rename->inode.i_mode);
        if (r >= 0)
                r = name_redirect(volume, rename->from_dir, rename->from, rename->other, rename->other_inode.i_mode);
        if (r < 0 || rename->from_dir == rename->to_dir)
                return r;
        if (S_ISDIR(rename->inode.i_mode))
                r = move_directory(volume, rename->ino, rename->from_dir, rename->to_dir);
        if (r >= 0 && S_ISDIR(rename->other_inode.i_mode))
                r = move_directory(volume, rename->other, rename->to_dir, rename->from_dir);
        return r;
}

static int replace(Rename *rename) {
        Volume *volume = rename->volume;
        bool directory = S_ISDIR(rename->inode.i_mode);
        Inode parent;
        int r;

        r = check_directory(volume, rename->other, &rename->other_inode, directory);
        if (r >= 0)
                r = name_redirect(volume, rename->to_dir, rename->to, rename->ino, rename->inode.i_mode);
        if (r >= 0)
                r = drop_link(volume, rename->other, &rename->other_inode);
        if (r < 0 || !directory)
                return r;
        r = inode_read(volume, rename->to_dir, &parent);
        return r < 0 ? r : count_subdirectory(volume, rename->to_dir, parent.i_links_count, -1);
}

static int rename_plain(Rename *rename) {
        Volume *volume = rename->volume;
        int r;

        if (rename->other)
                r = replace(rename);
        else
                r = name_add(volume, rename->to_dir, rename->to, rename->ino, rename->inode.i_mode);
        if (r >= 0)
                r = name_remove(volume, rename->from_dir, rename->from);
        if (r >= 0 && S_ISDIR(rename->inode.i_mode) && rename->from_dir != rename->to_dir)
                r = move_directory(volume, rename->ino, rename->from_dir, rename->to_dir);
        return r;
}

/* No name goes from a directory that is immutable or can only be added to, nor takes another's place there; none comes to an immutable one. */
static int check_directories(const Rename *rename, bool replaces) {
        Inode from, to;
        int r;

        r = inode_read(rename->volume, rename->from_dir, &from);
        if (r >= 0)
                r = inode_check_fixed(&from);
        if (r >= 0)
                r = inode_read(rename->volume, rename->to_dir, &to);
        return r < 0 ? r : replaces ? inode_check_fixed(&to) : to.i_flags & EXT2_IMMUTABLE_FL ? -EPERM : 0;
}

static int find_both(Rename *rename, unsigned flags) {
        Volume *volume = rename->volume;
        Inode dir;
        int r;

        r = name_lookup(volume, rename->from_dir, rename->from, &rename->ino);
        if (r >= 0)
                r = inode_read(volume, rename->ino, &rename->inode);
        if (r >= 0)
                r = inode_check_fixed(&rename->inode);
        if (r < 0)
                return r;
        r = name_lookup(volume, rename->to_dir, rename->to, &rename->other);
        if (r == -ENOENT) {
                rename->other = 0;
                r = flags & RENAME_EXCHANGE ? -ENOENT : inode_read(volume, rename->to_dir, &dir);
                if (r >= 0 && S_ISDIR(rename->inode.i_mode) && rename->from_dir != rename->to_dir)
                        r = check_subdirectory(volume, &dir);
                return r;
        }
        if (r >= 0)
                r = flags & RENAME_NOREPLACE ? -EEXIST : inode_read(volume, rename->other, &rename->other_inode);
        return r < 0 ? r : inode_check_fixed(&rename->other_inode);
}

int make_rename(Volume *volume, ext2_ino_t from_dir, const char *from, ext2_ino_t to_dir, const char *to, unsigned flags) {
        Rename rename = {.volume = volume, .from_dir = from_dir, .to_dir = to_dir, .from = from, .to = to};
        int r;

        if (flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE) || flags == (RENAME_NOREPLACE | RENAME_EXCHANGE))
                return -EINVAL;
        r = find_both(&rename, flags);
        if (r >= 0)
                r = check_directories(&rename, /* replaces= */ rename.other != 0);
        if (r < 0 || rename.ino == rename.other)
                return r;
        r = flags & RENAME_EXCHANGE ? exchange(&rename) : rename_plain(&rename);
        const ext2_ino_t touched[] = {rename.ino, flags & RENAME_EXCHANGE ? rename.other : rename.ino};
        for (size_t i = 0; i < ELEMENTSOF(touched) && r >= 0; i++)
                r = inode_changed(volume, touched[i], INODE_CTIME);
        if (r >= 0)
                r = inode_changed(volume, from_dir, INODE_MTIME | INODE_CTIME);
        if (r >= 0)
                r = inode_changed(volume, to_dir, INODE_MTIME | INODE_CTIME);
        volume_tell_freed(volume);
        return r;
}
