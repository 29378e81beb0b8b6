/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The model of the kernel: the bytes of mapped files, which it moves by itself, past the devices' page cache; of inline ones, and of files that
 * are not mapped, by READ and WRITE. See model.h. */

#define FUSE_USE_VERSION 312
#include <string.h>

#include "model/model.h"

#define REQUEST_DATA 65536U

/* ---- READ and WRITE ------------------------------------------------------------------------------------------------- */

int model_read_ordinary(Model *model, ModelInode *inode, uint64_t pos, size_t size, uint8_t *data) {
        for (size_t done = 0, n; done < size; done += n) {
                n = MIN_OF(size - done, (size_t) REQUEST_DATA);
                const struct fuse_read_in in = {.fh = inode->iomap ? 0 : inode->fh, .offset = pos + done, .size = (uint32_t) n};
                ssize_t got = model_ask(model, FUSE_READ, inode->nodeid, &in, sizeof in, data + done, n);
                model->n_data++;
                if (got != (ssize_t) n)
                        return got < 0 ? (int) got : -EIO;
        }
        return 0;
}

int model_write_ordinary(Model *model, ModelInode *inode, uint64_t pos, size_t size, const uint8_t *data) {
        for (size_t done = 0, n; done < size; done += n) {
                n = MIN_OF(size - done, (size_t) REQUEST_DATA);
                const struct fuse_write_in in = {.fh = inode->iomap ? 0 : inode->fh, .offset = pos + done, .size = (uint32_t) n};
                struct fuse_write_out out;
                ssize_t got = model_ask2(model, FUSE_WRITE, inode->nodeid, &in, sizeof in, data + done, n, &out, sizeof out);
                model->n_data++;
                if (got != sizeof out || out.size != n)
                        return got < 0 ? (int) got : -EIO;
                inode->size = MAX_OF(inode->size, pos + done + n);
        }
        return 0;
}

/* ---- reading -------------------------------------------------------------------------------------------------------- */

/* The newer kernel asks for all of an inline mapping, which is no longer than a block. */
static int read_inline(Model *model, ModelInode *inode, const struct fused_mapping *m, uint64_t pos, size_t size, uint8_t *data) {
        _cleanup_free_ uint8_t *all = calloc(1, m->length);
        struct fuse_read_in in = {.offset = m->offset, .size = (uint32_t) m->length};
        ssize_t got;

        model->n_inline++;
        if (model->config.column == MODEL_R7) {
                in = (struct fuse_read_in){.offset = pos, .size = (uint32_t) size};
                got = model_ask(model, FUSE_READ, inode->nodeid, &in, sizeof in, data, size);
                return got <= 0 ? got < 0 ? (int) got : -EIO : 0;
        }
        if (m->length > model->block_size)
                return -ENOMEM;
        got = model_ask(model, FUSE_READ, inode->nodeid, &in, sizeof in, all, m->length);
        if (got <= 0)
                return got < 0 ? (int) got : -EIO;
        memcpy(data, all + (pos - m->offset), size);
        return 0;
}

static int read_piece(Model *model, ModelInode *inode, const struct fused_mapping *m, uint64_t pos, size_t size, uint8_t *data) {
        if (m->type == K_INLINE)
                return read_inline(model, inode, m, pos, size, data);
        if (m->type == K_MAPPED && !(m->flags & K_F_NEW))
                return model_move(model, /* write= */ false, m, pos, data, size);
        memset(data, 0, size);
        return 0;
}

int model_read_mapped(Model *model, ModelInode *inode, uint64_t pos, size_t size, uint8_t *data, uint32_t opflags) {
        struct fused_mapping from, to;
        int r, q;

        for (size_t done = 0, n; done < size; done += n) {
                r = model_map(model, inode, pos + done, size - done, opflags, &from, &to);
                if (r < 0)
                        return r;
                n = MIN_OF(size - done, from.offset + from.length - (pos + done));
                r = read_piece(model, inode, &from, pos + done, n, data + done);
                q = model_end(model, inode, pos + done, n, r < 0 ? 0 : (int64_t) n, opflags, &from, /* size_changed= */ false);
                if (r < 0 || q < 0)
                        return r < 0 ? r : q;
        }
        return 0;
}

/* ---- writing -------------------------------------------------------------------------------------------------------- */

static uint32_t flags_of(const struct fused_mapping *from, const struct fused_mapping *to) {
        const bool elsewhere = to->dev != from->dev || to->addr - to->offset != from->addr - from->offset;

        return (to->type == K_UNWRITTEN ? K_IOEND_UNWRITTEN : 0) |
               (to->flags & K_F_SHARED || (elsewhere && to->type == K_MAPPED) ? K_IOEND_SHARED : 0);
}

static int put_piece(Model *model, ModelInode *inode, uint64_t at, uint64_t n, uint8_t *data, const struct fused_mapping *from,
                     const struct fused_mapping *to, bool direct) {
        const uint32_t flags = flags_of(from, to) | (direct ? K_IOEND_DIRECT : K_IOEND_WRITEBACK);
        int r = model_move(model, /* write= */ true, to, at, data, n);
        const uint64_t done = inode->size > at ? MIN_OF(n, inode->size - at) : 0;

        return done > 0 ? model_ioend(model, inode, at, direct && r < 0 ? 0 : done, r, flags, direct ? NULL : to) : r;
}

/* Writeback for which no place was found: the pages are given up, and the server may have reserved something. */
static int discard(Model *model, ModelInode *inode, uint64_t pos, uint64_t size, int error) {
        return model_ioend(model, inode, pos, size, error, 0, NULL);
}

/* Whole blocks to the device, up to the file's end as the server is told. */
int model_put_blocks(Model *model, ModelInode *inode, uint64_t pos, size_t size, uint8_t *data, bool direct) {
        const uint32_t opflags = direct ? K_OP_WRITE | K_OP_DIRECT : K_OP_WRITEBACK;
        struct fused_mapping from, to;
        int r, q = 0;

        for (size_t done = 0, n; done < size; done += n) {
                const uint64_t at = pos + done;
                r = model_map(model, inode, at, size - done, opflags, &from, &to);
                if (r >= 0 && to.type != K_MAPPED && to.type != K_UNWRITTEN)
                        r = -EIO;
                if (r < 0)
                        return direct ? r : discard(model, inode, at, size - done, r);
                n = MIN_OF(size - done, to.offset + to.length - at);
                r = put_piece(model, inode, at, n, data + done, &from, &to, direct);
                if (direct)
                        q = model_end(model, inode, at, n, r < 0 ? 0 : (int64_t) n, opflags, &to, /* size_changed= */ false);
                if (r < 0 || q < 0)
                        return r < 0 ? r : q;
        }
        return 0;
}

/* The page is the kernel's, what it holds the server's. */
static int write_inline(Model *model, ModelInode *inode, const struct fused_mapping *m, uint64_t pos, size_t size, const uint8_t *data) {
        _cleanup_free_ uint8_t *zeroes = calloc(1, size);
        _cleanup_free_ uint8_t *all = calloc(1, m->length);
        int r = model->config.column == MODEL_R7 ? 0 : read_inline(model, inode, m, m->offset, m->length, all);

        if (r >= 0)
                r = model_write_ordinary(model, inode, pos, size, data ? data : zeroes);
        if (r < 0)
                return r;
        inode->disk_size = MAX_OF(inode->disk_size, pos + size);
        (void) pthread_mutex_lock(&model->lock);
        model_cache_drop(inode, m->offset, m->length);
        (void) pthread_mutex_unlock(&model->lock);
        return 0;
}

/* Blocks are read as a page would be, changed, and written back. data: NULL for zeroes. */
static int write_piece(Model *model, ModelInode *inode, uint64_t at, uint64_t n, const uint8_t *data, const struct fused_mapping *from,
                       const struct fused_mapping *to, uint64_t before) {
        const uint64_t block_size = model->block_size, first = at / block_size * block_size, last = ALIGN_TO(at + n, block_size);
        const uint32_t opflags = data ? K_OP_WRITE : K_OP_ZERO;
        const bool holds = from->type == K_MAPPED && !(from->flags & K_F_NEW);
        _cleanup_free_ uint8_t *page = calloc(1, last - first);
        int r = 0;

        for (uint64_t block = first; holds && block < last && r >= 0; block += block_size)
                if (block < before)
                        r = model_move(model, /* write= */ false, from, block, page + (block - first), block_size);
        if (r < 0) { /* nothing was written */
                (void) model_end(model, inode, at, n, 0, opflags, to, /* size_changed= */ false);
                return r;
        }
        if (before < last)
                memset(page + (before > first ? before - first : 0), 0, last - MAX_OF(before, first));
        if (data)
                memcpy(page + (at - first), data, n);
        else
                memset(page + (at - first), 0, n);
        if (data)
                inode->size = MAX_OF(inode->size, at + n);
        r = model_end(model, inode, at, n, (int64_t) n, opflags, to, data && inode->size > before);
        return r < 0 ? r : model_put_blocks(model, inode, first, last - first, page, /* direct= */ false);
}

int model_write_cached(Model *model, ModelInode *inode, uint64_t pos, uint64_t size, const uint8_t *data) {
        const uint32_t opflags = data ? K_OP_WRITE : K_OP_ZERO;
        struct fused_mapping from, to;
        int r;

        for (uint64_t done = 0, n; done < size; done += n) {
                const uint64_t at = pos + done, before = inode->size;
                r = model_map(model, inode, at, size - done, opflags, &from, &to);
                if (r < 0)
                        return r;
                const uint64_t both_end = MIN_OF(from.offset + from.length, to.offset + to.length);
                n = MIN_OF(size - done, both_end - at);
                if (to.type == K_INLINE)
                        r = write_inline(model, inode, &to, at, n, data ? data + done : NULL);
                else if (!data && (from.type != K_MAPPED || from.flags & K_F_NEW)) /* zeroes already */
                        r = model_end(model, inode, at, n, (int64_t) n, opflags, &to, /* size_changed= */ false);
                else if (to.type == K_HOLE)
                        r = -EIO;
                else
                        r = write_piece(model, inode, at, n, data ? data + done : NULL, &from, &to, before);
                if (r < 0)
                        return r;
        }
        return 0;
}
