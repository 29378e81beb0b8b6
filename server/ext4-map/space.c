/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sizes and space by request: truncation, fallocate. The engine has the file to itself meanwhile, and zeroes parts of blocks. */

#include "ext4-map/volume.h"

#include <linux/falloc.h>

static void forget(Volume *volume, ext2_ino_t ino, uint64_t first, uint64_t last) {
        uint64_t offset = first * volume->block_size;

        if (volume->hooks.invalidate)
                volume->hooks.invalidate(volume->userdata, ino, offset,
                                         last >= EXTENT_BLOCKS_MAX ? UINT64_MAX : (last - first + 1) * volume->block_size);
}

int space_cut(Volume *volume, ext2_ino_t ino, Inode *inode, uint64_t first, uint64_t last) {
        Node *node = node_find(volume, ino), own = {.ino = ino};
        int r;

        r = data_walk_once(volume, node ? node : &own, inode);
        if (r >= 0 && node)
                r = node_settle(volume, node, inode);
        if (r < 0)
                return r;
        r = inode_has_extents(inode) ? extents_cut(volume, ino, inode, first, last) : blocks_cut(volume, ino, inode, first, last);
        forget(volume, ino, first, last);
        return r;
}

static uint64_t size_max(const Volume *volume, const Inode *inode) {
        return (inode_has_extents(inode) ? EXTENT_BLOCKS_MAX : blocks_max(volume)) * volume->block_size;
}

static int set_size(Volume *volume, ext2_ino_t ino, Inode *inode, uint64_t size) {
        if (size > size_max(volume, inode))
                return -EFBIG;
        return volume_error(volume, ext2fs_inode_size_set(volume->fs, inode_small(inode), (ext2_off64_t) size), ino);
}

int space_set_size(Volume *volume, ext2_ino_t ino, uint64_t size) {
        uint64_t before, first = (size + volume->block_size - 1) / volume->block_size;
        Node *node = node_get(volume, ino);
        Inode inode;
        int r;

        if (!node)
                return -ENOMEM;
        r = inode_read(volume, ino, &inode);
        if (r < 0)
                return r;
        before = inode_size(&inode);
        r = set_size(volume, ino, &inode, size);
        if (r >= 0)
                r = inode_write(volume, ino, &inode);
        if (r >= 0 && size <= before) {
                r = space_cut(volume, ino, &inode, first, UINT64_MAX);
                data_keep_ahead(volume, node, first, UINT64_MAX);
        }
        if (r < 0)
                return r;
        inode_touch(&inode, INODE_MTIME | INODE_CTIME);
        r = inode_write(volume, ino, &inode);
        volume_tell_freed(volume);
        return r;
}

static int fill(Volume *volume, ext2_ino_t ino, Inode *inode, uint64_t first, uint64_t last) {
        int r = 0;

        for (uint64_t block = first, n; r >= 0 && block <= last; block += n) {
                Run run;
                r = extents_find(volume, ino, inode, block, &run, NULL, NULL);
                if (r < 0)
                        break;
                n = MIN_OF(run.block + run.n - block, last - block + 1);
                if (!run.place)
                        r = extents_fill(volume, ino, inode, block, n, &n);
        }
        forget(volume, ino, first, last);
        return r;
}

static int check(const Volume *volume, const Inode *inode, int mode, uint64_t end) {
        if (mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE) ||
            (mode & FALLOC_FL_PUNCH_HOLE && mode != (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)))
                return -EOPNOTSUPP;
        if (!inode_has_extents(inode) && !(mode & FALLOC_FL_PUNCH_HOLE))
                return -EOPNOTSUPP;
        if (end > size_max(volume, inode) && !(mode & FALLOC_FL_PUNCH_HOLE)) /* beyond that are holes */
                return -EFBIG;
        return 0;
}

int space_check(Volume *volume, ext2_ino_t ino, int mode, uint64_t end) {
        Inode inode;
        int r;

        r = inode_read(volume, ino, &inode);
        if (r >= 0 && inode.i_flags & EXT2_IMMUTABLE_FL)
                r = -EPERM;
        if (r >= 0 && inode.i_flags & EXT2_APPEND_FL && mode & ~FALLOC_FL_KEEP_SIZE)
                r = -EPERM;
        return r < 0 ? r : volume->read_only ? -EROFS : check(volume, &inode, mode, end);
}

/* The inode is read anew; nothing is outstanding. pos < end. */
static int change(Volume *volume, ext2_ino_t ino, Inode *inode, int mode, uint64_t pos, uint64_t end) {
        const uint64_t size = volume->block_size, inner_first = (pos + size - 1) / size, inner_end = end / size;
        int r = 0;

        if (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE) && inner_first < inner_end)
                r = space_cut(volume, ino, inode, inner_first, inner_end - 1);
        if (r >= 0 && !(mode & FALLOC_FL_PUNCH_HOLE))
                r = fill(volume, ino, inode, pos / size, (end - 1) / size);
        if (!(mode & FALLOC_FL_KEEP_SIZE) && end > inode_size(inode) && r >= 0)
                r = set_size(volume, ino, inode, end);
        return r;
}

int space_allocate(Volume *volume, ext2_ino_t ino, int mode, uint64_t pos, uint64_t count, uint64_t *ret_size) {
        Node *node = node_get(volume, ino);
        Inode inode;
        uint64_t end;
        int r;

        if (!node)
                return -ENOMEM;
        r = space_check(volume, ino, mode, pos + count);
        if (r >= 0)
                r = data_trim(volume, node); /* what is asked for stays */
        if (r >= 0)
                r = inode_read(volume, ino, &inode);
        if (r >= 0)
                r = data_walk_once(volume, node, &inode);
        if (r >= 0)
                r = node_settle(volume, node, &inode);
        if (r < 0)
                return r;
        end = MIN_OF(pos + count, size_max(volume, &inode));
        if (pos < end)
                r = change(volume, ino, &inode, mode, pos, end);
        inode_touch(&inode, INODE_MTIME | INODE_CTIME);
        int q = inode_write(volume, ino, &inode);
        *ret_size = inode_size(&inode);
        volume_tell_freed(volume);
        return r < 0 ? r : q;
}
