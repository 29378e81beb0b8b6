/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Files of ext2 and ext3, which have no extents: one number per block, in the inode and in blocks of numbers. They know no unwritten space. */

#include "ext4-map/volume.h"

#define FILL_MAX 1024U /* blocks filled at once */
#define LOOKS_MAX 16U  /* blocks of numbers looked at for one answer */

uint64_t blocks_max(const Volume *volume) {
        uint64_t per_block = volume->block_size / 4, n = EXT2_NDIR_BLOCKS + per_block + per_block * per_block + per_block * per_block * per_block;

        return MIN_OF(n, (uint64_t) INT32_MAX);
}

typedef struct Pointers { /* numbers from one place */
        uint32_t *items;
        uint64_t n;
        uint64_t first; /* what the first of them leads to: a block of the file */
        uint64_t cover; /* blocks of the file behind each */
} Pointers;

static Pointers in_inode(const Volume *volume, Inode *inode, uint64_t block) {
        Pointers pointers = {.items = inode->i_block, .n = EXT2_NDIR_BLOCKS, .cover = 1};

        if (block < EXT2_NDIR_BLOCKS)
                return pointers;
        pointers = (Pointers){.items = inode->i_block + EXT2_IND_BLOCK, .n = 1, .first = EXT2_NDIR_BLOCKS, .cover = volume->block_size / 4};
        while (block - pointers.first >= pointers.cover) {
                pointers.items++;
                pointers.first += pointers.cover;
                pointers.cover *= volume->block_size / 4;
        }
        return pointers;
}

/* What the file has from this block on, as far as one block of numbers says it. A number that is 0 stands for all that would be behind it. */
static int look(Volume *volume, ext2_ino_t ino, Inode *inode, uint64_t block, Run *ret) {
        _cleanup_free_ uint32_t *buffer = malloc(volume->block_size);
        Pointers pointers = in_inode(volume, inode, block);
        uint64_t index = (block - pointers.first) / pointers.cover, place, n = 1;
        int r;

        if (!buffer)
                return -ENOMEM;
        while ((place = pointers.items[index]) && pointers.cover > 1) {
                r = zones_check(volume, ino, place, 1);
                if (r >= 0)
                        r = volume_error(volume, ext2fs_read_ind_block(volume->fs, (blk_t) place, buffer), ino);
                if (r < 0)
                        return r;
                pointers = (Pointers){.items = buffer, .n = volume->block_size / 4, .first = pointers.first + index * pointers.cover,
                                      .cover = pointers.cover / (volume->block_size / 4)};
                index = (block - pointers.first) / pointers.cover;
        }
        while (index + n < pointers.n && pointers.items[index + n] == (place ? place + n : 0))
                n++;
        *ret = (Run){.block = block, .n = pointers.first + (index + n) * pointers.cover - block, .place = place};
        if (!place || zones_check(volume, ino, place, n) >= 0)
                return 0;
        ret->n = 1;
        return zones_check(volume, ino, place, 1);
}

int blocks_find(Volume *volume, ext2_ino_t ino, Inode *inode, uint64_t block, uint64_t n_max, Run *ret) {
        uint64_t end = blocks_max(volume);
        Run next;
        int r;

        if (block >= end) {
                *ret = (Run){.block = block, .n = EXTENT_BLOCKS_MAX - MIN_OF(block, (uint64_t) EXTENT_BLOCKS_MAX)};
                return 0;
        }
        r = look(volume, ino, inode, block, ret);
        for (unsigned i = 1; r >= 0 && i < LOOKS_MAX && ret->n < n_max && ret->n < end - block; i++) {
                if (look(volume, ino, inode, block + ret->n, &next) < 0 || next.place != (ret->place ? ret->place + ret->n : 0))
                        break; /* an error is for who asks for that block */
                ret->n += next.n;
        }
        ret->n = MIN_OF(ret->n, end - block);
        return r;
}

int blocks_fill(Volume *volume, ext2_ino_t ino, Inode *inode, uint64_t block, uint64_t n, uint64_t *ret_n) {
        uint64_t end = blocks_max(volume);
        blk64_t place, first = 0;
        int r = 0;

        if (block >= end)
                return -EFBIG;
        n = MIN_OF(n, (uint64_t) FILL_MAX);
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

static int cut_run(Volume *volume, ext2_ino_t ino, Inode *inode, const Run *run) {
        for (uint64_t i = 0; i < run->n; i++) {
                blk64_t nowhere = 0;
                int r = volume_error(volume, ext2fs_bmap2(volume->fs, ino, inode_small(inode), NULL, BMAP_SET, run->block + i, NULL, &nowhere), ino);
                if (r < 0)
                        return r;
                volume_use_blocks(volume, run->place + i, 1, /* use= */ false);
                (void) ext2fs_iblk_sub_blocks(volume->fs, inode_small(inode), 1);
        }
        return 0;
}

/* In the middle of a file, one by one: libext2fs' own way (ext2fs_punch) misses the end there. It is right for the rest of a file. */
int blocks_cut(Volume *volume, ext2_ino_t ino, Inode *inode, uint64_t first, uint64_t last) {
        uint64_t end = blocks_max(volume);
        Run run = {0};
        int r = 0;

        if (first >= end)
                return 0;
        volume->is_dirty = true;
        if (last >= end - 1)
                return volume_error(volume, ext2fs_punch(volume->fs, ino, inode_small(inode), NULL, first, UINT32_MAX - 1), ino);
        for (uint64_t block = first; r >= 0 && block <= last; block = run.block + run.n) {
                r = look(volume, ino, inode, block, &run);
                if (r < 0 || !run.place)
                        continue;
                run.n = MIN_OF(run.n, last - block + 1);
                r = cut_run(volume, ino, inode, &run);
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
                run.n = MIN_OF(run.n, n_blocks - block);
                each(userdata, &run);
        }
        return 0;
}
