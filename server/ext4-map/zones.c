/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sets of ranges, and the ranges that the file system keeps for its own tables: no file's data is there, whatever its extents say. */

#include "ext4-map/volume.h"

#include <string.h>

/* ---- ranges --------------------------------------------------------------------------------------------------------- */

void ranges_done(Ranges *ranges) {
        free(ranges->items);
        *ranges = (Ranges){0};
}

/* The first that ends at or after this block. */
static size_t search(const Ranges *ranges, uint64_t block) {
        size_t low = 0, high = ranges->n;

        while (low < high) {
                size_t middle = (low + high) / 2;
                if (ranges->items[middle].last < block)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low;
}

static int reserve(Ranges *ranges) {
        if (ranges->n < ranges->n_allocated)
                return 0;
        size_t n = ranges->n_allocated ? 2 * ranges->n_allocated : 8;
        Range *items = reallocarray(ranges->items, n, sizeof *items);
        if (!items)
                return -ENOMEM;
        ranges->items = items;
        ranges->n_allocated = n;
        return 0;
}

int ranges_add(Ranges *ranges, uint64_t first, uint64_t last) {
        size_t from = search(ranges, first > 0 ? first - 1 : 0), to = from;

        while (to < ranges->n && ranges->items[to].first <= last + 1) {
                first = MIN_OF(first, ranges->items[to].first);
                last = MAX_OF(last, ranges->items[to].last);
                to++;
        }
        if (to == from) {
                int r = reserve(ranges);
                if (r < 0)
                        return r;
                memmove(ranges->items + from + 1, ranges->items + from, (ranges->n - from) * sizeof *ranges->items);
                ranges->n++;
        } else {
                memmove(ranges->items + from + 1, ranges->items + to, (ranges->n - to) * sizeof *ranges->items);
                ranges->n -= to - from - 1;
        }
        ranges->items[from] = (Range){first, last};
        return 0;
}

void ranges_remove(Ranges *ranges, uint64_t first, uint64_t last) {
        size_t i = search(ranges, first);

        while (i < ranges->n && ranges->items[i].first <= last) {
                Range *item = &ranges->items[i];
                if (item->first < first && item->last > last) {
                        uint64_t end = item->last;
                        if (reserve(ranges) < 0) { /* forgetting the shorter way: the far part */
                                item->last = first - 1;
                                return;
                        }
                        ranges->items[i].last = first - 1;
                        memmove(ranges->items + i + 2, ranges->items + i + 1, (ranges->n - i - 1) * sizeof *ranges->items);
                        ranges->items[i + 1] = (Range){last + 1, end};
                        ranges->n++;
                        return;
                }
                if (item->first < first) {
                        item->last = first - 1;
                        i++;
                } else if (item->last > last) {
                        item->first = last + 1;
                        return;
                } else {
                        memmove(ranges->items + i, ranges->items + i + 1, (ranges->n - i - 1) * sizeof *ranges->items);
                        ranges->n--;
                }
        }
}

bool ranges_overlap(const Ranges *ranges, uint64_t first, uint64_t last, Range *ret) {
        size_t i = search(ranges, first);

        if (i >= ranges->n || ranges->items[i].first > last)
                return false;
        if (ret)
                *ret = ranges->items[i];
        return true;
}

/* ---- zones ---------------------------------------------------------------------------------------------------------- */

static int add_group(Volume *volume, dgrp_t group) {
        ext2_filsys fs = volume->fs;
        blk64_t super, old_descriptors, new_descriptors;
        blk_t used;
        int r = 0;

        errcode_t error = ext2fs_super_and_bgd_loc2(fs, group, &super, &old_descriptors, &new_descriptors, &used);
        if (error)
                return volume_error(volume, error, 0);
        const Range parts[] = {
                {super, super},
                {old_descriptors, old_descriptors + fs->desc_blocks + fs->super->s_reserved_gdt_blocks - 1},
                {new_descriptors, new_descriptors},
                {ext2fs_block_bitmap_loc(fs, group), ext2fs_block_bitmap_loc(fs, group)},
                {ext2fs_inode_bitmap_loc(fs, group), ext2fs_inode_bitmap_loc(fs, group)},
                {ext2fs_inode_table_loc(fs, group), ext2fs_inode_table_loc(fs, group) + fs->inode_blocks_per_group - 1},
        };
        for (size_t i = 0; i < ELEMENTSOF(parts) && r >= 0; i++)
                if (parts[i].first != 0 && parts[i].last >= parts[i].first)
                        r = ranges_add(&volume->zones, parts[i].first, parts[i].last);
        return r;
}

static void add_journal_run(void *userdata, const Run *run) {
        Volume *volume = userdata;

        if (run->place)
                (void) ranges_add(&volume->zones, run->place, run->place + run->n - 1);
}

static int add_journal(Volume *volume) {
        ext2_ino_t ino = volume->fs->super->s_journal_inum;
        Inode inode;
        int r;

        if (!ext2fs_has_feature_journal(volume->fs->super) || ino == 0)
                return 0;
        r = inode_read(volume, ino, &inode);
        if (r >= 0)
                r = runs_walk(volume, ino, &inode, inode_size(&inode) / volume->block_size, add_journal_run, volume);
        return r;
}

int zones_find(Volume *volume) {
        int r = ranges_add(&volume->zones, 0, volume->fs->super->s_first_data_block);

        for (dgrp_t group = 0; r >= 0 && group < volume->fs->group_desc_count; group++)
                r = add_group(volume, group);
        return r < 0 ? r : add_journal(volume);
}

int zones_check(Volume *volume, ext2_ino_t ino, uint64_t block, uint64_t n) {
        uint64_t end = ext2fs_blocks_count(volume->fs->super);

        if (n == 0 || block >= end || n > end - block)
                return volume_damaged(volume, ino, "data past the end of the file system");
        if (ino == volume->fs->super->s_journal_inum && ino != 0)
                return 0;
        return ranges_overlap(&volume->zones, block, block + n - 1, NULL) ? volume_damaged(volume, ino, "data in the file system's own tables") : 0;
}
