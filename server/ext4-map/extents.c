/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Extent trees, through libext2fs' handles: it keeps nodes, splits and checksums right, this says which extents there are. */

#include "ext4-map/volume.h"

#define WRITTEN_MAX 32768U  /* blocks of one extent */
#define UNWRITTEN_MAX 32767U
#define PREFETCH 256        /* extents of one leaf that are told of at once */
#define RUNS_MAX 256U       /* of free blocks, that a search looks at */

typedef struct ext2fs_extent Extent;

static void handle_done(ext2_extent_handle_t *handle) {
        if (*handle)
                ext2fs_extent_free(*handle);
}
#define _cleanup_handle_ _cleanup_(handle_done)

static int open_handle(Volume *volume, ext2_ino_t ino, Inode *inode, ext2_extent_handle_t *ret) {
        return volume_error(volume, ext2fs_extent_open2(volume->fs, ino, inode_small(inode), ret), ino);
}

static bool is_unwritten(const Extent *extent) {
        return extent->e_flags & EXT2_EXTENT_FLAGS_UNINIT;
}

static Extent piece(const Extent *extent, uint64_t from, uint64_t to, bool unwritten) { /* blocks of the file, without to */
        return (Extent){.e_lblk = from, .e_pblk = extent->e_pblk + (from - extent->e_lblk), .e_len = (uint32_t) (to - from),
                        .e_flags = EXT2_EXTENT_FLAGS_LEAF | (unwritten ? EXT2_EXTENT_FLAGS_UNINIT : 0)};
}

static int check_extent(Volume *volume, ext2_ino_t ino, const Extent *extent) {
        if (extent->e_len == 0 || extent->e_lblk + extent->e_len > EXTENT_BLOCKS_MAX + 1)
                return volume_damaged(volume, ino, "an extent of nothing");
        return zones_check(volume, ino, extent->e_pblk, extent->e_len);
}

/* The extent after the one at hand. EXT2_EXTENT_NEXT_LEAF would go through the leaf once more, as it does not know that a search has been there. */
static errcode_t next_extent(ext2_extent_handle_t handle, Extent *ret) {
        errcode_t error = ext2fs_extent_get(handle, EXT2_EXTENT_NEXT_SIB, ret);

        while (error == EXT2_ET_EXTENT_NO_NEXT) {
                if (ext2fs_extent_get(handle, EXT2_EXTENT_UP, ret) != 0)
                        return EXT2_ET_EXTENT_NO_NEXT;
                error = ext2fs_extent_get(handle, EXT2_EXTENT_NEXT_SIB, ret);
        }
        while (!error && !(ret->e_flags & EXT2_EXTENT_FLAGS_LEAF))
                error = ext2fs_extent_get(handle, EXT2_EXTENT_DOWN, ret);
        return error;
}

/* The extent that contains block or the first after it: 1; 0: there is none. The handle is left there. */
static int seek(Volume *volume, ext2_ino_t ino, ext2_extent_handle_t handle, uint64_t block, Extent *ret) {
        errcode_t error = ext2fs_extent_goto(handle, block);

        if (error && error != EXT2_ET_EXTENT_NOT_FOUND)
                return error == EXT2_ET_NO_CURRENT_NODE || error == EXT2_ET_EXTENT_NO_NEXT ? 0 : volume_error(volume, error, ino);
        error = ext2fs_extent_get(handle, EXT2_EXTENT_CURRENT, ret);
        if (!error && ret->e_flags & EXT2_EXTENT_FLAGS_LEAF && ret->e_lblk + ret->e_len <= block)
                error = next_extent(handle, ret);
        if (error)
                return error == EXT2_ET_NO_CURRENT_NODE || error == EXT2_ET_EXTENT_NO_NEXT ? 0 : volume_error(volume, error, ino);
        if (!(ret->e_flags & EXT2_EXTENT_FLAGS_LEAF) || ret->e_lblk + ret->e_len <= block)
                return volume_damaged(volume, ino, "extents out of order");
        int r = check_extent(volume, ino, ret);
        return r < 0 ? r : 1;
}

static Run run_of(const Extent *extent) {
        return (Run){.block = extent->e_lblk, .n = extent->e_len, .place = extent->e_pblk, .unwritten = is_unwritten(extent)};
}

/* Further runs of the same leaf: who reads one part of a file mostly reads its neighbours too. */
static void prefetch(Volume *volume, ext2_ino_t ino, ext2_extent_handle_t handle, uint64_t end, RunVisitor each, void *userdata) {
        Extent extent;

        for (int i = 0; i < PREFETCH && ext2fs_extent_get(handle, EXT2_EXTENT_NEXT_SIB, &extent) == 0; i++) {
                if (!(extent.e_flags & EXT2_EXTENT_FLAGS_LEAF) || extent.e_lblk < end || check_extent(volume, ino, &extent) < 0)
                        return;
                const Run hole = {.block = end, .n = extent.e_lblk - end}, run = run_of(&extent);
                if (hole.n > 0)
                        each(userdata, &hole);
                each(userdata, &run);
                end = extent.e_lblk + extent.e_len;
        }
}

int extents_find(Volume *volume, ext2_ino_t ino, Inode *inode, uint64_t block, Run *ret, RunVisitor each, void *userdata) {
        _cleanup_handle_ ext2_extent_handle_t handle = NULL;
        Extent extent;
        int r;

        r = open_handle(volume, ino, inode, &handle);
        if (r >= 0)
                r = seek(volume, ino, handle, block, &extent);
        if (r < 0)
                return r;
        if (r == 0)
                *ret = (Run){.block = block, .n = EXTENT_BLOCKS_MAX - MIN_OF(block, (uint64_t) EXTENT_BLOCKS_MAX)};
        else if (extent.e_lblk > block)
                *ret = (Run){.block = block, .n = extent.e_lblk - block};
        else
                *ret = run_of(&extent);
        if (each) {
                each(userdata, ret);
                if (r > 0 && ret->place)
                        prefetch(volume, ino, handle, extent.e_lblk + extent.e_len, each, userdata);
        }
        return 0;
}

int extents_walk(Volume *volume, ext2_ino_t ino, Inode *inode, RunVisitor each, void *userdata) {
        _cleanup_handle_ ext2_extent_handle_t handle = NULL;
        errcode_t error;
        uint64_t end = 0;
        Extent extent;
        int r;

        r = open_handle(volume, ino, inode, &handle);
        if (r < 0)
                return r;
        error = ext2fs_extent_get(handle, EXT2_EXTENT_ROOT, &extent);
        /* An index node is seen before and after what is below it; a node that is its own descendant repeats blocks. */
        for (uint64_t n_empty = 0; !error; error = ext2fs_extent_get(handle, EXT2_EXTENT_NEXT, &extent)) {
                if (!(extent.e_flags & EXT2_EXTENT_FLAGS_LEAF)) {
                        if (++n_empty > 64 || (!(extent.e_flags & EXT2_EXTENT_FLAGS_SECOND_VISIT) && extent.e_lblk < end))
                                return volume_damaged(volume, ino, "a tree of extents that does not end");
                        r = zones_check(volume, ino, extent.e_pblk, 1);
                        if (r < 0)
                                return r;
                        continue;
                }
                n_empty = 0;
                if (extent.e_lblk < end)
                        return volume_damaged(volume, ino, "extents out of order");
                r = check_extent(volume, ino, &extent);
                if (r < 0)
                        return r;
                end = extent.e_lblk + extent.e_len;
                const Run run = run_of(&extent);
                if (each)
                        each(userdata, &run);
        }
        return error == EXT2_ET_EXTENT_NO_NEXT || error == EXT2_ET_NO_CURRENT_NODE ? 0 : volume_error(volume, error, ino);
}

/* ---- changing ------------------------------------------------------------------------------------------------------- */

static int fix(Volume *volume, ext2_ino_t ino, ext2_extent_handle_t handle) {
        errcode_t error = ext2fs_extent_fix_parents(handle);

        return error == EXT2_ET_NO_CURRENT_NODE ? 0 : volume_error(volume, error, ino);
}

static int replace(Volume *volume, ext2_ino_t ino, ext2_extent_handle_t handle, Extent *extent) {
        int r = volume_error(volume, ext2fs_extent_replace(handle, 0, extent), ino);

        return r < 0 ? r : fix(volume, ino, handle);
}

static int insert(Volume *volume, ext2_ino_t ino, ext2_extent_handle_t handle, bool after, Extent *extent) {
        int r = volume_error(volume, ext2fs_extent_insert(handle, after ? EXT2_EXTENT_INSERT_AFTER : 0, extent), ino);

        return r < 0 ? r : fix(volume, ino, handle);
}

static bool join(const Extent *left, const Extent *right) {
        return is_unwritten(left) == is_unwritten(right) && left->e_lblk + left->e_len == right->e_lblk &&
               left->e_pblk + left->e_len == right->e_pblk && left->e_len + right->e_len <= (is_unwritten(left) ? UNWRITTEN_MAX : WRITTEN_MAX);
}

/* Puts a new extent where nothing is, or makes its left neighbour longer. */
static int put(Volume *volume, ext2_ino_t ino, ext2_extent_handle_t handle, Extent *extent) {
        errcode_t error = ext2fs_extent_goto(handle, extent->e_lblk);
        Extent left;

        if (!error)
                return volume_damaged(volume, ino, "a hole that is none");
        if (error != EXT2_ET_EXTENT_NOT_FOUND && error != EXT2_ET_NO_CURRENT_NODE)
                return volume_error(volume, error, ino);
        error = ext2fs_extent_get(handle, EXT2_EXTENT_CURRENT, &left);
        if (error == EXT2_ET_NO_CURRENT_NODE)
                return insert(volume, ino, handle, /* after= */ false, extent);
        if (error)
                return volume_error(volume, error, ino);
        if (left.e_lblk < extent->e_lblk && join(&left, extent)) {
                left.e_len += extent->e_len;
                return replace(volume, ino, handle, &left);
        }
        return insert(volume, ino, handle, /* after= */ left.e_lblk < extent->e_lblk, extent);
}

typedef struct Search {
        ext2fs_block_bitmap bitmap;
        uint64_t wanted;
        uint64_t first, n; /* the longest so far */
        unsigned n_runs;   /* that may still be looked at */
} Search;

/* Runs of free blocks from first to last. True: one is long enough, or enough have been seen. */
static bool search_free(Search *search, uint64_t first, uint64_t last) {
        blk64_t start, end;

        while (first <= last && ext2fs_find_first_zero_block_bitmap2(search->bitmap, first, last, &start) == 0) {
                if (ext2fs_find_first_set_block_bitmap2(search->bitmap, start, last, &end) != 0)
                        end = last + 1;
                if (end - start > search->n) {
                        search->first = start;
                        search->n = end - start;
                }
                if (search->n >= search->wanted || --search->n_runs == 0)
                        return true;
                first = end;
        }
        return false;
}

/* n blocks in one piece, or the longest of the pieces near the goal. (ext2fs_new_range() does not come back from a search for a least length
 * that leads past the end and finds nothing before the goal: 1.47.0.) */
static int allocate(Volume *volume, ext2_ino_t ino, Inode *inode, uint64_t block, uint64_t n, blk64_t *ret, blk64_t *ret_n) {
        const uint64_t available = volume_free_blocks(volume), first = volume->fs->super->s_first_data_block,
                       last = ext2fs_blocks_count(volume->fs->super) - 1;
        Search search = {.bitmap = volume->fs->block_map, .wanted = MIN_OF(n, available), .n_runs = RUNS_MAX};
        uint64_t goal;

        if (available == 0)
                return -ENOSPC;
        goal = ext2fs_find_inode_goal(volume->fs, ino, inode_small(inode), block);
        if (goal < first || goal > last)
                goal = first;
        if (!search_free(&search, goal, last) && goal > first)
                (void) search_free(&search, first, goal - 1);
        if (search.n == 0)
                return -ENOSPC;
        *ret = search.first;
        *ret_n = MIN_OF(search.n, search.wanted);
        return zones_check(volume, ino, *ret, *ret_n);
}

int extents_fill(Volume *volume, ext2_ino_t ino, Inode *inode, uint64_t block, uint64_t n, uint64_t *ret_n) {
        _cleanup_handle_ ext2_extent_handle_t handle = NULL;
        blk64_t place, n_placed;
        int r;

        if (block >= EXTENT_BLOCKS_MAX)
                return -EFBIG;
        n = MIN_OF(n, (uint64_t) UNWRITTEN_MAX);
        n = MIN_OF(n, EXTENT_BLOCKS_MAX - block);
        r = allocate(volume, ino, inode, block, n, &place, &n_placed);
        if (r >= 0)
                r = open_handle(volume, ino, inode, &handle);
        if (r < 0)
                return r;
        Extent extent = {.e_lblk = block, .e_pblk = place, .e_len = (uint32_t) n_placed,
                         .e_flags = EXT2_EXTENT_FLAGS_LEAF | EXT2_EXTENT_FLAGS_UNINIT};
        /* Taken first: the tree may take a block for itself. */
        volume_use_blocks(volume, place, n_placed, /* use= */ true);
        (void) ext2fs_iblk_add_blocks(volume->fs, inode_small(inode), n_placed);
        r = put(volume, ino, handle, &extent);
        if (r < 0) {
                volume_use_blocks(volume, place, n_placed, /* use= */ false);
                (void) ext2fs_iblk_sub_blocks(volume->fs, inode_small(inode), n_placed);
        }
        int q = inode_write(volume, ino, inode);
        *ret_n = n_placed;
        return r < 0 ? r : q;
}

/* What stands before an extent, if it is in the same leaf. The handle comes back to it. */
static bool left_of(ext2_extent_handle_t handle, const Extent *extent, Extent *ret) {
        Extent back;

        if (ext2fs_extent_get(handle, EXT2_EXTENT_PREV_SIB, ret) != 0)
                return ext2fs_extent_goto(handle, extent->e_lblk) != 0; /* true: lost, and ret joins nothing */
        return ext2fs_extent_get(handle, EXT2_EXTENT_NEXT_SIB, &back) == 0;
}

/* The handle is at an extent: puts one, two or three in its place. Where there is no room for them, it stays as it was. */
static int split(Volume *volume, ext2_ino_t ino, ext2_extent_handle_t handle, const Extent *whole, Extent *pieces, size_t n) {
        Extent before = *whole;
        size_t i = 1;
        int r;

        r = replace(volume, ino, handle, &pieces[0]);
        for (; i < n && r >= 0; i++)
                r = insert(volume, ino, handle, /* after= */ true, &pieces[i]);
        if (r >= 0)
                return 0;
        for (size_t j = 1; j < i; j++)
                if (ext2fs_extent_goto(handle, pieces[j].e_lblk) == 0)
                        (void) ext2fs_extent_delete(handle, 0);
        if (ext2fs_extent_goto(handle, before.e_lblk) == 0)
                (void) ext2fs_extent_replace(handle, 0, &before);
        return r;
}

/* The common case of a file that is appended to: what is written moves over from an unwritten extent to the written one before it. */
static int convert_joined(Volume *volume, ext2_ino_t ino, ext2_extent_handle_t handle, const Extent *extent, uint64_t to) {
        Extent left = {0}, middle = piece(extent, extent->e_lblk, to, /* unwritten= */ false), rest;

        if (!left_of(handle, extent, &left) || left.e_len == 0 || !join(&left, &middle))
                return 0;
        rest = piece(extent, to, extent->e_lblk + extent->e_len, /* unwritten= */ true);
        int r = rest.e_len > 0 ? replace(volume, ino, handle, &rest) : volume_error(volume, ext2fs_extent_delete(handle, 0), ino);
        if (r >= 0 && rest.e_len == 0)
                r = fix(volume, ino, handle);
        if (r >= 0)
                r = volume_error(volume, ext2fs_extent_goto(handle, left.e_lblk), ino);
        left.e_len += middle.e_len;
        if (r >= 0)
                r = replace(volume, ino, handle, &left);
        return r < 0 ? r : 1;
}

static int convert_one(Volume *volume, ext2_ino_t ino, ext2_extent_handle_t handle, const Extent *extent, uint64_t from, uint64_t to) {
        uint64_t end = extent->e_lblk + extent->e_len;
        Extent pieces[3];
        size_t n = 0;
        int r;

        if (from == extent->e_lblk) {
                r = convert_joined(volume, ino, handle, extent, to);
                if (r != 0)
                        return r;
                r = volume_error(volume, ext2fs_extent_goto(handle, extent->e_lblk), ino);
                if (r < 0)
                        return r;
        }
        if (from > extent->e_lblk)
                pieces[n++] = piece(extent, extent->e_lblk, from, /* unwritten= */ true);
        pieces[n++] = piece(extent, from, to, /* unwritten= */ false);
        if (to < end)
                pieces[n++] = piece(extent, to, end, /* unwritten= */ true);
        return split(volume, ino, handle, extent, pieces, n);
}

int extents_convert(Volume *volume, ext2_ino_t ino, Inode *inode, uint64_t first, uint64_t last) {
        _cleanup_handle_ ext2_extent_handle_t handle = NULL;
        Extent extent;
        int r;

        r = open_handle(volume, ino, inode, &handle);
        volume->is_dirty = true;
        while (r >= 0 && first <= last) {
                r = seek(volume, ino, handle, first, &extent);
                if (r <= 0 || extent.e_lblk > last)
                        break;
                uint64_t from = MAX_OF(first, (uint64_t) extent.e_lblk), to = MIN_OF(last + 1, (uint64_t) (extent.e_lblk + extent.e_len));
                if (is_unwritten(&extent))
                        r = convert_one(volume, ino, handle, &extent, from, to);
                first = to;
        }
        return MIN_OF(r, 0);
}

/* Takes [from, to) out of the extent that the handle is at. */
static int cut_one(Volume *volume, ext2_ino_t ino, ext2_extent_handle_t handle, const Extent *extent, uint64_t from, uint64_t to) {
        uint64_t end = extent->e_lblk + extent->e_len;
        Extent pieces[2];
        size_t n = 0;

        if (from > extent->e_lblk)
                pieces[n++] = piece(extent, extent->e_lblk, from, is_unwritten(extent));
        if (to < end)
                pieces[n++] = piece(extent, to, end, is_unwritten(extent));
        if (n > 0)
                return split(volume, ino, handle, extent, pieces, n);
        int r = volume_error(volume, ext2fs_extent_delete(handle, 0), ino);
        return r < 0 ? r : fix(volume, ino, handle);
}

int extents_cut(Volume *volume, ext2_ino_t ino, Inode *inode, uint64_t first, uint64_t last) {
        _cleanup_handle_ ext2_extent_handle_t handle = NULL;
        Extent extent;
        int r;

        r = open_handle(volume, ino, inode, &handle);
        while (r >= 0 && first <= last && first < EXTENT_BLOCKS_MAX) {
                r = seek(volume, ino, handle, first, &extent);
                if (r <= 0 || extent.e_lblk > last)
                        break;
                uint64_t end = extent.e_lblk + extent.e_len;
                uint64_t from = MAX_OF(first, (uint64_t) extent.e_lblk), to = last >= end ? end : last + 1;
                blk64_t place = extent.e_pblk + (from - extent.e_lblk);
                if (ext2fs_test_block_bitmap_range2(volume->fs->block_map, place, (blk_t) (to - from)))
                        return volume_damaged(volume, ino, "data in blocks that are free");
                r = cut_one(volume, ino, handle, &extent, from, to);
                if (r < 0)
                        break;
                volume_use_blocks(volume, place, to - from, /* use= */ false);
                (void) ext2fs_iblk_sub_blocks(volume->fs, inode_small(inode), to - from); /* a wrong count is no reason to keep them */
                first = to;
        }
        int q = inode_write(volume, ino, inode);
        return r < 0 ? r : q;
}
