/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The model of the kernel: what system calls come to. See model.h. */

#define FUSE_USE_VERSION 312
#include <linux/falloc.h>
#include <string.h>

#include "model/model.h"

/* ---- data ----------------------------------------------------------------------------------------------------------- */

static bool is_forced(const ModelInode *inode) {
        return inode->open_flags & FOPEN_DIRECT_IO;
}

/* ENOSYS to direct I/O: the server wants it through the cache. Where it has asked for direct I/O itself, there is no other way. */
static bool falls_back(int r) {
        return r == -ENOSYS || r == -ENOTBLK;
}

int model_read(Model *model, ModelInode *inode, uint64_t pos, size_t size, uint8_t *data, bool direct) {
        int r;

        if (pos + size > inode->size) /* the caller knows the size */
                return -EINVAL;
        if (!inode->iomap)
                return model_read_ordinary(model, inode, pos, size, data);
        if (!direct && !is_forced(inode))
                return model_read_mapped(model, inode, pos, size, data, 0);
        r = model_read_mapped(model, inode, pos, size, data, K_OP_DIRECT);
        if (!falls_back(r))
                return r;
        return is_forced(inode) ? -EIO : model_read_mapped(model, inode, pos, size, data, 0);
}

int model_write(Model *model, ModelInode *inode, uint64_t pos, size_t size, const uint8_t *data, bool direct) {
        const uint64_t before = inode->size;
        int r = 0;

        if (!inode->iomap)
                return model_write_ordinary(model, inode, pos, size, data);
        if (pos > inode->size)
                r = model_write_cached(model, inode, inode->size, pos - inode->size, NULL);
        if (r < 0)
                return r;
        direct = (direct || is_forced(inode)) && pos % model->block_size == 0 && size % model->block_size == 0;
        if (direct) {
                inode->size = MAX_OF(inode->size, pos + size);
                r = model_put_blocks(model, inode, pos, size, (uint8_t *) (uintptr_t) data, /* direct= */ true);
                if (!falls_back(r))
                        return r;
                inode->size = before;
        }
        return is_forced(inode) ? -EIO : model_write_cached(model, inode, pos, size, data);
}

/* ---- size and space ------------------------------------------------------------------------------------------------- */

static void drop(Model *model, ModelInode *inode, uint64_t from, uint64_t to) {
        const uint64_t first = from / model->block_size * model->block_size;

        (void) pthread_mutex_lock(&model->lock);
        model_cache_drop(inode, first, to == UINT64_MAX ? UINT64_MAX : ALIGN_TO(to, (uint64_t) model->block_size) - first);
        (void) pthread_mutex_unlock(&model->lock);
}

/* Zeroes from the old end to the new one, or what is left of the last block. */
static int set_size_start(Model *model, ModelInode *inode, uint64_t size) {
        const uint64_t end = ALIGN_TO(size, (uint64_t) model->block_size);

        if (!inode->iomap)
                return 0;
        if (size > inode->size)
                return model_write_cached(model, inode, inode->size, size - inode->size, NULL);
        return model_write_cached(model, inode, size, MIN_OF(end, inode->size) - size, NULL);
}

static void set_size_finish(Model *model, ModelInode *inode, uint64_t size) {
        inode->size = inode->disk_size = size;
        drop(model, inode, ALIGN_TO(size, (uint64_t) model->block_size), UINT64_MAX);
}

int model_truncate(Model *model, ModelInode *inode, uint64_t size) {
        const struct fuse_setattr_in in = {.valid = FATTR_SIZE, .size = size};
        struct fuse_attr_out out;
        ssize_t n;
        int r;

        r = set_size_start(model, inode, size);
        if (r < 0)
                return r;
        n = model_ask(model, FUSE_SETATTR, inode->nodeid, &in, sizeof in, &out, sizeof out);
        if (n < 0)
                return (int) n;
        set_size_finish(model, inode, size);
        return 0;
}

/* Parts of blocks at the edges; never past the end. */
static int punch(Model *model, ModelInode *inode, uint64_t pos, uint64_t end) {
        const uint64_t block_size = model->block_size, first = ALIGN_TO(pos, block_size), last = end / block_size * block_size;
        const uint64_t stop = MIN_OF(end, inode->size);
        int r = 0;

        if (pos < MIN_OF(first, stop))
                r = model_write_cached(model, inode, pos, MIN_OF(first, stop) - pos, NULL);
        if (r >= 0 && MAX_OF(first, last) < stop)
                r = model_write_cached(model, inode, MAX_OF(first, last), stop - MAX_OF(first, last), NULL);
        return r;
}

/* First the server, then what is cached and parts of blocks, then the size. */
int model_fallocate(Model *model, ModelInode *inode, uint32_t mode, uint64_t pos, uint64_t length) {
        const struct fuse_fallocate_in in = {.offset = pos, .length = length, .mode = mode};
        const bool shifts = mode & (FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE);
        const uint64_t end = pos + length;
        ssize_t n;
        int r = 0;

        n = model_ask(model, FUSE_FALLOCATE, inode->nodeid, &in, sizeof in, NULL, 0);
        if (n < 0)
                return (int) n;
        drop(model, inode, pos, shifts ? UINT64_MAX : end);
        if (shifts)
                set_size_finish(model, inode, mode & FALLOC_FL_COLLAPSE_RANGE ? inode->size - length : inode->size + length);
        if (inode->iomap && mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
                r = punch(model, inode, pos, end);
        if (r >= 0 && !shifts && !(mode & FALLOC_FL_KEEP_SIZE) && end > inode->size) {
                r = set_size_start(model, inode, end);
                set_size_finish(model, inode, end);
        }
        return r;
}

/* What is read and written has been written back; the server moves the data. */
int model_copy_range(Model *model, ModelInode *from, uint64_t from_pos, ModelInode *to, uint64_t to_pos, uint64_t length) {
        const struct fuse_copy_file_range_in in = {.fh_in = from->fh, .off_in = from_pos, .nodeid_out = to->nodeid, .fh_out = to->fh,
                                                   .off_out = to_pos, .len = length};
        struct fuse_write_out out;
        ssize_t n = model_ask(model, FUSE_COPY_FILE_RANGE, from->nodeid, &in, sizeof in, &out, sizeof out);

        if (n < 0)
                return (int) n;
        drop(model, to, to_pos, to_pos + out.size);
        to->size = MAX_OF(to->size, to_pos + out.size);
        to->disk_size = MAX_OF(to->disk_size, to->size);
        return (int) out.size;
}

/* ---- the rest ------------------------------------------------------------------------------------------------------- */

int model_chown(Model *model, ModelInode *inode, uint32_t uid) {
        const struct fuse_setattr_in in = {.valid = FATTR_UID, .uid = uid};
        struct fuse_attr_out out;
        ssize_t n = model_ask(model, FUSE_SETATTR, inode->nodeid, &in, sizeof in, &out, sizeof out);

        return n < 0 ? (int) n : 0;
}

int model_fsync(Model *model, ModelInode *inode) {
        const struct fuse_fsync_in in = {.fsync_flags = 0};
        ssize_t n = model_ask(model, FUSE_FSYNC, inode->nodeid, &in, sizeof in, NULL, 0);

        return n < 0 ? (int) n : 0;
}

/* A swap file has to be whole. While it is one, nobody may move it; the server hears when that is over, also if it could not be. */
int model_swapon(Model *model, ModelInode *inode) {
        struct fused_mapping from, to;
        int r = 0;

        for (uint64_t pos = 0; pos < inode->size && r >= 0; pos = from.offset + from.length) {
                r = model_map(model, inode, pos, inode->size - pos, K_OP_REPORT | K_OP_SWAPFILE, &from, &to);
                if (r >= 0 && from.type != K_MAPPED && from.type != K_UNWRITTEN)
                        r = -EINVAL;
        }
        return r < 0 ? model_ioend(model, inode, 0, 0, r, K_IOEND_SWAPOFF, NULL) : 0;
}

int model_swapoff(Model *model, ModelInode *inode) {
        return model_ioend(model, inode, 0, 0, 0, K_IOEND_SWAPOFF, NULL);
}
