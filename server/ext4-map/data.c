/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where a file's data is (begin), and what becomes of it when an I/O has ended (ioend).
 *
 * A write to a hole of a file with extents gets unwritten space, ahead of what was asked for when a file is being appended to. When the data is
 * there, the range is noted in the node (written) and told to the mapping cache; the tree is changed when the file is synchronized, or looked at,
 * or after some seconds: many small writes change it once. Without extents, new blocks are "fresh" until the write has ended: whoever reads
 * them meanwhile finds a hole. */

#include "ext4-map/volume.h"

#define AHEAD_MIN (1ULL << 20) /* bytes */
#define AHEAD_MAX (32ULL << 20)
#define N_WRITTEN_MAX 64 /* ranges; then they are put into the tree */

typedef struct Teller {
        Volume *volume;
        ext2_ino_t ino;
} Teller;

static struct fused_mapping mapping_of(const Volume *volume, const Run *run) {
        struct fused_mapping mapping = {
                .offset = run->block * volume->block_size,
                .length = run->n * volume->block_size,
                .addr = FUSED_MAPPING_ADDR_NONE,
        };

        if (run->place) {
                mapping.addr = run->place * volume->block_size;
                mapping.type = run->unwritten ? FUSED_MAPPING_UNWRITTEN : FUSED_MAPPING_MAPPED;
                mapping.dev = volume->dev;
        }
        return mapping;
}

static void tell(Volume *volume, ext2_ino_t ino, const Run *run) {
        struct fused_mapping mapping = mapping_of(volume, run);

        if (volume->hooks.upsert && run->n > 0)
                volume->hooks.upsert(volume->userdata, ino, &mapping);
}

static void tell_run(void *userdata, const Run *run) {
        const Teller *teller = userdata;

        tell(teller->volume, teller->ino, run);
}

int data_walk_once(Volume *volume, Node *node, Inode *inode) {
        int r;

        if (node->walked)
                return 0;
        r = inode_has_extents(inode) ? extents_walk(volume, node->ino, inode, NULL, NULL) : blocks_walk(volume, node->ino, inode);
        node->walked = r >= 0;
        return r;
}

/* ---- space allocated ahead ------------------------------------------------------------------------------------------ */

static uint64_t count_blocks(const Ranges *ranges) {
        uint64_t n = 0;

        for (size_t i = 0; i < ranges->n; i++)
                n += ranges->items[i].last - ranges->items[i].first + 1;
        return n;
}

static void ahead_add(Volume *volume, Node *node, uint64_t first, uint64_t last) {
        uint64_t before;

        if (node_outstanding(node) < 0) /* without memory it stays as if asked for */
                return;
        before = count_blocks(&node->outstanding->ahead);
        (void) ranges_add(&node->outstanding->ahead, first, last);
        volume->n_ahead += count_blocks(&node->outstanding->ahead) - before;
}

void data_keep_ahead(Volume *volume, Node *node, uint64_t first, uint64_t last) {
        Ranges *ahead = node->outstanding ? &node->outstanding->ahead : NULL;
        uint64_t before;

        if (!ahead)
                return;
        before = count_blocks(ahead);
        ranges_remove(ahead, first, last);
        volume->n_ahead -= before - count_blocks(ahead);
        if (ahead->n == 0)
                ranges_done(ahead);
}

int data_trim(Volume *volume, Node *node) {
        const Ranges *ahead = node->outstanding ? &node->outstanding->ahead : NULL;
        Inode inode;
        int r;

        if (!ahead || ahead->n == 0 || volume->read_only)
                return 0;
        r = inode_read(volume, node->ino, &inode);
        if (r >= 0)
                r = node_settle(volume, node, &inode);
        for (size_t i = ahead->n; r >= 0 && i-- > 0;)
                r = space_cut(volume, node->ino, &inode, ahead->items[i].first, ahead->items[i].last);
        data_keep_ahead(volume, node, 0, UINT64_MAX);
        return r;
}

void data_trim_all(Volume *volume) {
        HASH_EACH(link, &volume->nodes)
                (void) data_trim(volume, (Node *) link);
}

int data_drop_fresh(Volume *volume, Node *node) {
        Ranges *fresh = node->outstanding ? &node->outstanding->fresh : NULL;
        Inode inode;
        int r;

        if (!fresh || fresh->n == 0)
                return 0;
        r = inode_read(volume, node->ino, &inode);
        for (size_t i = 0; r >= 0 && i < fresh->n; i++)
                r = space_cut(volume, node->ino, &inode, fresh->items[i].first, fresh->items[i].last);
        ranges_done(fresh);
        return r;
}

/* Only who appends gets more than asked for: who writes here and there behind the end (appends at the same time come close to it, in any order)
 * will not use it. All that is outstanding stays a small part of what is free, as it is nobody else's meanwhile. */
static uint64_t blocks_ahead(const Volume *volume, const Node *node, const Inode *inode, const Run *hole, uint64_t n) {
        const uint64_t size = inode_size(inode), end = (size + volume->block_size - 1) / volume->block_size;
        const uint64_t max = AHEAD_MAX / volume->block_size, allowed = volume_free_blocks(volume) / 32;
        uint64_t more;

        if (hole->block < end || hole->block - end > max || hole->n <= n || node->n_writers == 0 || volume->n_ahead >= allowed)
                return 0;
        more = MAX_OF(size, (uint64_t) AHEAD_MIN) / volume->block_size;
        more = MIN_OF(more, max);
        more = MIN_OF(more, allowed - volume->n_ahead);
        return MIN_OF(more, hole->n - n);
}

/* ---- begin ---------------------------------------------------------------------------------------------------------- */

static int begin_fill_extents(Volume *volume, Node *node, Inode *inode, uint64_t block, uint64_t n, Run *run) {
        uint64_t n_wanted = MIN_OF(n, run->n), n_ahead = blocks_ahead(volume, node, inode, run, n_wanted), n_filled;
        int r;

        r = extents_fill(volume, node->ino, inode, block, n_wanted + n_ahead, &n_filled);
        if (r < 0)
                return r;
        if (n_filled > n_wanted)
                ahead_add(volume, node, block + n_wanted, block + n_filled - 1);
        return extents_find(volume, node->ino, inode, block, run, NULL, NULL);
}

static int begin_extents(Volume *volume, Node *node, Inode *inode, uint64_t block, uint64_t n, bool fill, Run *run) {
        Teller teller = {volume, node->ino};
        int r;

        /* Before anything is told to the cache, as that would undo what it knows of written ranges. */
        r = node_settle(volume, node, inode);
        if (r >= 0)
                r = extents_find(volume, node->ino, inode, block, run, fill || volume->journal ? NULL : tell_run, &teller);
        if (r < 0 || !fill)
                return r;
        if (!run->place)
                r = begin_fill_extents(volume, node, inode, block, n, run);
        if (r >= 0)
                tell(volume, node->ino, run);
        return r;
}

static int begin_blocks(Volume *volume, Node *node, Inode *inode, uint64_t block, uint64_t n, bool fill, Run *run, bool *ret_is_new) {
        uint64_t n_filled;
        Range fresh;
        int r;

        r = blocks_find(volume, node->ino, inode, block, n, run);
        if (r < 0)
                return r;
        if (fill && !run->place) {
                r = node_outstanding(node);
                if (r >= 0)
                        r = blocks_fill(volume, node->ino, inode, block, MIN_OF(n, run->n), &n_filled);
                if (r >= 0)
                        r = ranges_add(&node->outstanding->fresh, block, block + n_filled - 1);
                if (r >= 0)
                        r = blocks_find(volume, node->ino, inode, block, n_filled, run);
                if (r < 0)
                        return r;
                if (volume->hooks.invalidate) /* the hole that the cache may know */
                        volume->hooks.invalidate(volume->userdata, node->ino, block * volume->block_size, n_filled * volume->block_size);
        }
        if (!run->place || !node->outstanding || !ranges_overlap(&node->outstanding->fresh, run->block, run->block + run->n - 1, &fresh)) {
                if (!volume->journal)
                        tell(volume, node->ino, run);
                return 0;
        }
        if (fresh.first > block)
                run->n = fresh.first - block;
        else {
                run->n = MIN_OF(run->n, fresh.last - block + 1);
                *ret_is_new = true;
                if (!fill)
                        run->place = 0;
        }
        return 0;
}

int data_begin(Volume *volume, ext2_ino_t ino, uint64_t pos, uint64_t count, uint32_t opflags, struct fused_mapping *ret) {
        const uint32_t fills = FUSED_MAPPING_OP_WRITE | FUSED_MAPPING_OP_UNSHARE | FUSED_MAPPING_OP_WRITEBACK;
        const bool fill = opflags & fills;
        uint64_t block = pos / volume->block_size, last = (pos + count - 1) / volume->block_size;
        bool is_new = false;
        Inode inode;
        Node *node;
        Run run;
        int r;

        if (count == 0 || pos + count < pos)
                return -EINVAL;
        if (fill && volume->read_only)
                return -EROFS;
        node = node_get(volume, ino);
        if (!node)
                return -ENOMEM;
        r = inode_read(volume, ino, &inode);
        if (r < 0)
                return r;
        if (!inode_is_regular(&inode) || inode.i_flags & (EXT4_INLINE_DATA_FL | EXT4_ENCRYPT_FL | EXT4_EA_INODE_FL))
                return volume_damaged(volume, ino, "data that cannot be mapped");
        if (fill)
                r = data_walk_once(volume, node, &inode);
        if (r < 0)
                return r;
        if (inode_has_extents(&inode))
                r = begin_extents(volume, node, &inode, block, last - block + 1, fill, &run);
        else
                r = begin_blocks(volume, node, &inode, block, last - block + 1, fill, &run, &is_new);
        if (r >= 0)
                r = recovery_map(volume, ino, block, &run);
        if (r < 0)
                return r;
        *ret = mapping_of(volume, &run);
        if (is_new && run.place)
                ret->flags = FUSED_MAPPING_F_NEW | FUSED_MAPPING_F_WANT_END;
        return 0;
}

/* ---- the end of an I/O ---------------------------------------------------------------------------------------------- */

int data_end(Volume *volume, ext2_ino_t ino, uint64_t pos, int64_t written) {
        Node *node = node_find(volume, ino);

        if (!node || !node->outstanding || written <= 0)
                return 0;
        ranges_remove(&node->outstanding->fresh, pos / volume->block_size, (pos + (uint64_t) written - 1) / volume->block_size);
        return 0;
}

static int note_written(Volume *volume, Node *node, Inode *inode, uint64_t first, uint64_t last) {
        Run run;
        int r;

        data_keep_ahead(volume, node, first, last);
        r = node_outstanding(node);
        if (r >= 0)
                r = ranges_add(&node->outstanding->written, first, last);
        if (r >= 0 && node->outstanding->written.n > N_WRITTEN_MAX)
                r = node_settle(volume, node, inode);
        volume->is_dirty = true;
        /* The cache hears what will be true: data in the place that was reserved for it. */
        for (uint64_t block = first; r >= 0 && block <= last; block = run.block + run.n) {
                r = extents_find(volume, node->ino, inode, block, &run, NULL, NULL);
                if (r < 0 || !run.place)
                        break;
                uint64_t end = MIN_OF(run.block + run.n, last + 1);
                const Run told = {.block = block, .n = end - block, .place = run.place + (block - run.block)};
                tell(volume, node->ino, &told);
        }
        return r;
}

int data_ioend(Volume *volume, ext2_ino_t ino, uint64_t pos, uint64_t written, uint32_t flags, int error, uint64_t *ret_size) {
        Node *node = node_get(volume, ino);
        uint64_t end = pos + written;
        Inode inode;
        int r;

        if (!node)
                return -ENOMEM;
        r = inode_read(volume, ino, &inode);
        if (r < 0)
                return r;
        if (error < 0 || written == 0) { /* new blocks stay fresh, unwritten ones unwritten */
                *ret_size = inode_size(&inode);
                return 0;
        }
        if (flags & FUSED_IOEND_UNWRITTEN && inode_has_extents(&inode))
                r = note_written(volume, node, &inode, pos / volume->block_size, (end - 1) / volume->block_size);
        if (r >= 0 && flags & FUSED_IOEND_APPEND && end > inode_size(&inode)) {
                r = volume_error(volume, ext2fs_inode_size_set(volume->fs, inode_small(&inode), (ext2_off64_t) end), ino);
                if (r >= 0)
                        r = inode_write(volume, ino, &inode);
        }
        *ret_size = inode_size(&inode);
        return r;
}
