/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Files of ext2 and ext3, which have no extents: one number per block, in the inode and in blocks of numbers. They know no unwritten space. */

#include "ext4-map/volume.h"

#define RUN_MAX 1024U /* blocks looked at for one answer */

uint64_t blocks_max(const Volume *volume) {
        uint64_t per_block = volume->block_size / 4, n = EXT2_NDIR_BLOCKS + per_block + per_block * per_block + per_block * per_block * per_block;

        return MIN_OF(n, (uint64_t) INT32_MAX);
}

static int place_of(Volume *volume, ext2_ino_t ino, Inode *inode, uint64_t block, blk64_t *ret) {
        errcode_t error = ext2fs_bmap2(volume->fs, ino, inode_small(inode), NULL, 0, block, NULL, ret);

        if (error || *ret == 0)
                return volume_error(volume, error, ino);
        return zones_check(volume, ino, *ret, 1);
}

int blocks_find(Volume *volume, ext2_ino_t ino, Inode *inode, uint64_t block, uint64_t n_max, Run *ret) {
        uint64_t end = blocks_max(volume);
        blk64_t place;
        int r;

        if (block >= end) {
                *ret = (Run){.block = block, .n = EXTENT_BLOCKS_MAX - MIN_OF(block, (uint64_t) EXTENT_BLOCKS_MAX)};
                return 0;
        }
        r = place_of(volume, ino, inode, block, &place);
        if (r < 0)
                return r;
        *ret = (Run){.block = block, .n = 1, .place = place};
        n_max = MIN_OF(n_max, (uint64_t) RUN_MAX); /* 0 is as good as 1 */
        n_max = MIN_OF(n_max, end - block);
        while (ret->n < n_max) {
                r = place_of(volume, ino, inode, block + ret->n, &place);
                if (r < 0 || place != (ret->place ? ret->place + ret->n : 0))
                        break; /* an error is for who asks for that block */
                ret->n++;
        }
        return 0;
}

int blocks_fill(Volume *volume, ext2_ino_t ino, Inode *inode, uint64_t block, uint64_t n, uint64_t *ret_n) {
        uint64_t end = blocks_max(volume);
        blk64_t place, first = 0;
        int r = 0;

        if (block >= end)
                return -EFBIG;
        n = MIN_OF(n, (uint64_t) RUN_MAX);
        n = MIN_OF(n, end - block);
        for (*ret_n = 0; *ret_n < n; (*ret_n)++) {
                if (volume_free_blocks(volume) < 4) { /* it may take three blocks of numbers along */
                        r = -ENOSPC;
                        break;
                }
                place = 0;
                r = volume_error(volume, ext2fs_bmap2(volume->fs, ino, inode_small(inode), NULL, BMAP_ALLOC, block + *ret_n, NULL, &place), ino);
                if (r >= 0)
                        r = zones_check(volume, ino, place, 1);
                if (r < 0)
                        break;
                if (*ret_n == 0)
                        first = place;
                else if (place != first + *ret_n) { /* the next run begins here; it is allocated, and fresh */
                        (*ret_n)++;
                        break;
                }
        }
        int q = inode_write(volume, ino, inode);
        return *ret_n > 0 && q >= 0 ? 0 : r < 0 ? r : q;
}

/* In the middle of a file, one by one: libext2fs' own way (ext2fs_punch) misses the end there. It is right for the rest of a file. */
int blocks_cut(Volume *volume, ext2_ino_t ino, Inode *inode, uint64_t first, uint64_t last) {
        uint64_t end = blocks_max(volume);
        int r = 0;

        if (first >= end)
                return 0;
        volume->is_dirty = true;
        if (last >= end - 1)
                return volume_error(volume, ext2fs_punch(volume->fs, ino, inode_small(inode), NULL, first, UINT32_MAX - 1), ino);
        for (uint64_t block = first; r >= 0 && block <= last; block++) {
                blk64_t place, nowhere = 0;
                r = place_of(volume, ino, inode, block, &place);
                if (r < 0 || place == 0)
                        continue;
                r = volume_error(volume, ext2fs_bmap2(volume->fs, ino, inode_small(inode), NULL, BMAP_SET, block, NULL, &nowhere), ino);
                if (r < 0)
                        break;
                volume_use_blocks(volume, place, 1, /* use= */ false);
                (void) ext2fs_iblk_sub_blocks(volume->fs, inode_small(inode), 1);
        }
        int q = inode_write(volume, ino, inode);
        return r < 0 ? r : q;
}

typedef struct Walk {
        Volume *volume;
        ext2_ino_t ino;
        uint64_t n, n_max;
        int r;
} Walk;

static int on_block(ext2_filsys fs, blk64_t *block, e2_blkcnt_t position, blk64_t reference, int offset, void *userdata) {
        Walk *walk = userdata;

        walk->r = ++walk->n > walk->n_max ? volume_damaged(walk->volume, walk->ino, "more blocks than there are")
                                          : zones_check(walk->volume, walk->ino, *block, 1);
        return walk->r < 0 ? BLOCK_ABORT : 0;
}

int blocks_walk(Volume *volume, ext2_ino_t ino, Inode *inode) {
        Walk walk = {.volume = volume, .ino = ino, .n_max = ext2fs_blocks_count(volume->fs->super)};
        errcode_t error;

        if (!ext2fs_inode_has_valid_blocks2(volume->fs, inode_small(inode)))
                return 0;
        error = ext2fs_block_iterate3(volume->fs, ino, BLOCK_FLAG_READ_ONLY, NULL, on_block, &walk);
        return walk.r < 0 ? walk.r : volume_error(volume, error, ino);
}

int runs_walk(Volume *volume, ext2_ino_t ino, Inode *inode, uint64_t n_blocks, RunVisitor each, void *userdata) {
        Run run;

        if (inode_has_extents(inode))
                return extents_walk(volume, ino, inode, each, userdata);
        for (uint64_t block = 0; block < n_blocks; block = run.block + run.n) {
                int r = blocks_find(volume, ino, inode, block, n_blocks - block, &run);
                if (r < 0)
                        return r;
                each(userdata, &run);
        }
        return 0;
}
