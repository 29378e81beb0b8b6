/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The model of the kernel: lookups, and the data of files: of mapped ones by itself, of others by READ and WRITE. See model.h. */

#define FUSE_USE_VERSION 312
#include <linux/falloc.h>
#include <string.h>
#include <unistd.h>

#include "model/model.h"

#define RETRIES_MAX 16
#define REQUEST_DATA 65536U

/* ---- lookup --------------------------------------------------------------------------------------------------------- */

static int ask_server(Model *model, ModelInode *inode, uint64_t pos, uint64_t count, uint32_t opflags, IomapBeginOut *ret) {
        const IomapBeginIn in = {.opflags = opflags, .attr_ino = inode->ino, .pos = pos, .count = count};
        ssize_t n;

        if (model->attached && model->program && model->program(model->program_userdata, &in, inode->nodeid, ret)) {
                model->n_by_program++;
                return 0;
        }
        model->n_begin++;
        n = model_ask(model, K_BEGIN, inode->nodeid, &in, sizeof in, ret, sizeof *ret);
        return n < 0 ? (int) n : n == sizeof *ret ? 0 : -EIO;
}

/* One answer, from whichever step. 1: it says to look at the cache, which does not know. */
static int find_mapping(Model *model, ModelInode *inode, uint64_t pos, uint64_t count, uint32_t opflags, IomapBeginOut *ret) {
        bool found;
        int r;

        (void) pthread_mutex_lock(&model->lock);
        found = model_cache_ask(model, inode, pos, opflags, ret);
        (void) pthread_mutex_unlock(&model->lock);
        model->n_cached += found;
        if (found)
                return 0;
        if (model->config.column == MODEL_RN && opflags & K_OP_NOWAIT)
                return -EAGAIN;
        r = ask_server(model, inode, pos, count, opflags, ret);
        if (r < 0)
                return r;
        (void) pthread_mutex_lock(&model->lock);
        r = model_check(model, inode, &ret->read, /* write= */ false, pos, opflags);
        if (r >= 0)
                r = model_check(model, inode, &ret->write, /* write= */ true, pos, opflags);
        if (r >= 0 && ret->read.type == K_RETRY_CACHE)
                r = model_cache_ask(model, inode, pos, opflags, ret) ? 0 : 1;
        (void) pthread_mutex_unlock(&model->lock);
        return r;
}

static int check_use(Model *model, const IomapBeginOut *found, uint32_t opflags) {
        const struct fused_mapping *to = found->write.type == K_PURE_OVERWRITE ? &found->read : &found->write;
        const ModelDevice *from_device = model_device(model, found->read.dev), *to_device = model_device(model, found->write.dev);

        if (model->config.column != MODEL_RN)
                return 0;
        /* 14: to read what is read, both for what is written */
        if (from_device && !from_device->readable)
                return -EACCES;
        if (to_device && !(to_device->readable && to_device->writable))
                return -EACCES;
        if (from_device && !from_device->writable && opflags & K_OP_CHANGES && to == &found->read)
                return -EACCES;
        if (opflags & K_OP_ATOMIC && /* 12 */
            ((to->type != K_MAPPED && to->type != K_UNWRITTEN) || !(to->flags & K_F_ATOMIC_BIO)))
                return -EIO;
        return 0;
}

int model_map(Model *model, ModelInode *inode, uint64_t pos, uint64_t count, uint32_t opflags, struct fused_mapping *ret_from,
              struct fused_mapping *ret_to) {
        IomapBeginOut found;
        int r = 1;

        for (unsigned i = 0; r == 1 && i < RETRIES_MAX; i++)
                r = find_mapping(model, inode, pos, count, opflags, &found);
        if (r != 0)
                return r < 0 ? r : -EINTR;
        r = check_use(model, &found, opflags);
        if (r < 0)
                return r;
        *ret_from = found.read;
        *ret_to = opflags & K_OP_CHANGES && found.write.type != K_PURE_OVERWRITE ? found.write : found.read;
        return 0;
}

/* ---- bytes of mapped files ------------------------------------------------------------------------------------------ */

static int move(Model *model, bool write, const struct fused_mapping *m, uint64_t pos, uint8_t *data, size_t size) {
        const ModelDevice *device = model_device(model, m->dev);
        const uint64_t addr = m->addr + (pos - m->offset);
        ssize_t n;

        if (addr > device->size || size > device->size - addr) /* as the block layer would */
                return -EIO;
        n = write ? pwrite(device->fd, data, size, (off_t) addr) : pread(device->fd, data, size, (off_t) addr);
        return n == (ssize_t) size ? 0 : -EIO;
}

static int read_mapped(Model *model, ModelInode *inode, uint64_t pos, size_t size, uint8_t *data, uint32_t opflags) {
        struct fused_mapping from, to;
        int r;

        for (size_t done = 0, n; done < size; done += n) {
                r = model_map(model, inode, pos + done, size - done, opflags, &from, &to);
                if (r < 0)
                        return r;
                n = MIN_OF(size - done, from.offset + from.length - (pos + done));
                if (from.type == K_MAPPED && !(from.flags & K_F_NEW))
                        r = move(model, false, &from, pos + done, data + done, n);
                else
                        memset(data + done, 0, n);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int tell_end(Model *model, ModelInode *inode, uint64_t pos, uint64_t count, int64_t written, uint32_t opflags, const struct fused_mapping *m) {
        const IomapEndIn in = {.opflags = opflags, .attr_ino = inode->ino, .pos = pos, .count = count, .written = written, .map = *m};
        ssize_t n;

        if (model->no_end)
                return 0;
        model->n_end++;
        n = model_ask(model, K_END, inode->nodeid, &in, sizeof in, NULL, 0);
        model->no_end = n == -ENOSYS;
        return n > 0 ? -EIO : n < 0 && n != -ENOSYS ? (int) n : 0; /* nothing but the header */
}

/* Plain overwrites cost no question, but for what failed. */
static int tell_ioend(Model *model, ModelInode *inode, uint64_t pos, uint64_t written, int error, uint32_t flags, const struct fused_mapping *to,
                      bool direct) {
        IomapIoendIn in = {.flags = flags | (direct ? K_IOEND_DIRECT : K_IOEND_WRITEBACK), .error = error, .attr_ino = inode->ino,
                           .pos = pos, .written = direct && error < 0 ? 0 : written,
                           .new_addr = direct ? K_NOWHERE : (to->addr + (pos - to->offset)) >> 9,
                           .dev = direct ? 0 : to->dev};
        IomapIoendOut out = {.newsize = inode->disk_size};
        ssize_t n = 0;

        if (pos + written > inode->disk_size)
                in.flags |= K_IOEND_APPEND;
        if (!model->no_ioend && (error < 0 || in.flags & (K_IOEND_SHARED | K_IOEND_UNWRITTEN | K_IOEND_APPEND))) {
                model->n_ioend++;
                n = model_ask(model, K_IOEND, inode->nodeid, &in, sizeof in, &out, sizeof out);
                model->no_ioend = n == -ENOSYS;
                if (n >= 0 && n != sizeof out)
                        n = -EIO;
        }
        if (error < 0 || (n < 0 && n != -ENOSYS))
                return error < 0 ? error : (int) n;
        inode->disk_size = model->config.column == MODEL_RN ? MAX_OF(inode->disk_size, out.newsize) : out.newsize;
        const uint64_t first = pos / model->block_size * model->block_size;
        (void) pthread_mutex_lock(&model->lock);
        model_cache_drop(inode, first, ALIGN_TO(pos + written, (uint64_t) model->block_size) - first); /* also after an overwrite */
        (void) pthread_mutex_unlock(&model->lock);
        return 0;
}

static uint32_t flags_of(const struct fused_mapping *from, const struct fused_mapping *to) {
        const bool elsewhere = to->dev != from->dev || to->addr - to->offset != from->addr - from->offset;

        return (to->type == K_UNWRITTEN ? K_IOEND_UNWRITTEN : 0) |
               (to->flags & K_F_SHARED || (elsewhere && to->type == K_MAPPED) ? K_IOEND_SHARED : 0);
}

/* Whole blocks to the device, up to the file's end as the server is told. */
static int put_blocks(Model *model, ModelInode *inode, uint64_t pos, size_t size, uint8_t *data, bool direct) {
        const uint32_t opflags = direct ? K_OP_WRITE | K_OP_DIRECT : K_OP_WRITEBACK;
        struct fused_mapping from, to;
        int r;

        for (size_t done = 0, n; done < size; done += n) {
                const uint64_t at = pos + done;
                r = model_map(model, inode, at, size - done, opflags, &from, &to);
                if (r < 0)
                        return r;
                if (to.type != K_MAPPED && to.type != K_UNWRITTEN)
                        return -EIO;
                n = MIN_OF(size - done, to.offset + to.length - at);
                r = move(model, true, &to, at, data + done, n);
                if (inode->size > at)
                        r = tell_ioend(model, inode, at, MIN_OF((uint64_t) n, inode->size - at), r, flags_of(&from, &to), &to, direct);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* data: NULL for zeroes, which are written only where there is data. Blocks are read as a page would be, changed, and written back. */
static int write_cached(Model *model, ModelInode *inode, uint64_t pos, uint64_t size, const uint8_t *data) {
        const uint32_t opflags = data ? K_OP_WRITE : K_OP_ZERO;
        const uint64_t block_size = model->block_size, before = inode->size;
        struct fused_mapping from, to;
        int r;

        for (uint64_t done = 0, n; done < size; done += n) {
                const uint64_t at = pos + done;
                r = model_map(model, inode, at, size - done, opflags, &from, &to);
                if (r < 0)
                        return r;
                const uint64_t both_end = MIN_OF(from.offset + from.length, to.offset + to.length);
                n = MIN_OF(size - done, both_end - at);
                const bool holds = from.type == K_MAPPED && !(from.flags & K_F_NEW);
                if (!data && !holds)
                        continue;
                if (to.type == K_HOLE)
                        return -EIO;
                const uint64_t first = at / block_size * block_size, last = ALIGN_TO(at + n, block_size);
                _cleanup_free_ uint8_t *page = calloc(1, last - first);
                for (uint64_t block = first; holds && block < last; block += block_size)
                        if (block < before && (r = move(model, false, &from, block, page + (block - first), block_size)) < 0)
                                return r;
                if (before < last)
                        memset(page + (before > first ? before - first : 0), 0, last - MAX_OF(before, first));
                if (data) {
                        memcpy(page + (at - first), data + done, n);
                        inode->size = MAX_OF(inode->size, at + n);
                        if (inode->size > before)
                                r = tell_end(model, inode, at, n, (int64_t) n, opflags, &to);
                } else
                        memset(page + (at - first), 0, n);
                if (r >= 0)
                        r = put_blocks(model, inode, first, last - first, page, /* direct= */ false);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* ---- others --------------------------------------------------------------------------------------------------------- */

static int read_ordinary(Model *model, ModelInode *inode, uint64_t pos, size_t size, uint8_t *data) {
        for (size_t done = 0, n; done < size; done += n) {
                n = MIN_OF(size - done, (size_t) REQUEST_DATA);
                const struct fuse_read_in in = {.offset = pos + done, .size = (uint32_t) n};
                ssize_t got = model_ask(model, FUSE_READ, inode->nodeid, &in, sizeof in, data + done, n);
                model->n_data++;
                if (got != (ssize_t) n)
                        return got < 0 ? (int) got : -EIO;
        }
        return 0;
}

static int write_ordinary(Model *model, ModelInode *inode, uint64_t pos, size_t size, const uint8_t *data) {
        for (size_t done = 0, n; done < size; done += n) {
                n = MIN_OF(size - done, (size_t) REQUEST_DATA);
                const struct fuse_write_in in = {.offset = pos + done, .size = (uint32_t) n};
                struct fuse_write_out out;
                ssize_t got = model_ask2(model, FUSE_WRITE, inode->nodeid, &in, sizeof in, data + done, n, &out, sizeof out);
                model->n_data++;
                if (got != sizeof out || out.size != n)
                        return got < 0 ? (int) got : -EIO;
                inode->size = MAX_OF(inode->size, pos + done + n);
        }
        return 0;
}

/* ---- operations ----------------------------------------------------------------------------------------------------- */

int model_read(Model *model, ModelInode *inode, uint64_t pos, size_t size, uint8_t *data, bool direct) {
        if (pos + size > inode->size) /* the caller knows the size */
                return -EINVAL;
        return inode->iomap ? read_mapped(model, inode, pos, size, data, direct ? K_OP_DIRECT : 0)
                            : read_ordinary(model, inode, pos, size, data);
}

int model_write(Model *model, ModelInode *inode, uint64_t pos, size_t size, const uint8_t *data, bool direct) {
        int r = 0;

        if (!inode->iomap)
                return write_ordinary(model, inode, pos, size, data);
        if (pos > inode->size)
                r = write_cached(model, inode, inode->size, pos - inode->size, NULL);
        if (r < 0 || !direct || pos % model->block_size != 0 || size % model->block_size != 0)
                return r < 0 ? r : write_cached(model, inode, pos, size, data);
        inode->size = MAX_OF(inode->size, pos + size);
        return put_blocks(model, inode, pos, size, (uint8_t *) (uintptr_t) data, /* direct= */ true);
}

int model_truncate(Model *model, ModelInode *inode, uint64_t size) {
        const struct fuse_setattr_in in = {.valid = FATTR_SIZE, .size = size};
        const uint64_t end = ALIGN_TO(size, (uint64_t) model->block_size);
        struct fuse_attr_out out;
        ssize_t n;
        int r = 0;

        if (inode->iomap && size > inode->size)
                r = write_cached(model, inode, inode->size, size - inode->size, NULL);
        else if (inode->iomap && size < inode->size)
                r = write_cached(model, inode, size, MIN_OF(end, inode->size) - size, NULL);
        if (r < 0)
                return r;
        n = model_ask(model, FUSE_SETATTR, inode->nodeid, &in, sizeof in, &out, sizeof out);
        if (n < 0)
                return (int) n;
        inode->size = inode->disk_size = size;
        (void) pthread_mutex_lock(&model->lock);
        model_cache_drop(inode, end, UINT64_MAX);
        (void) pthread_mutex_unlock(&model->lock);
        return 0;
}

int model_fallocate(Model *model, ModelInode *inode, uint32_t mode, uint64_t pos, uint64_t length) {
        const struct fuse_fallocate_in in = {.offset = pos, .length = length, .mode = mode};
        const uint64_t block_size = model->block_size, end = pos + length, first = ALIGN_TO(pos, block_size), last = end / block_size * block_size;
        const uint64_t stop = MIN_OF(end, inode->size);
        ssize_t n;
        int r = 0;

        n = model_ask(model, FUSE_FALLOCATE, inode->nodeid, &in, sizeof in, NULL, 0);
        if (n < 0)
                return (int) n;
        (void) pthread_mutex_lock(&model->lock);
        model_cache_drop(inode, pos / block_size * block_size, ALIGN_TO(end, block_size) - pos / block_size * block_size);
        (void) pthread_mutex_unlock(&model->lock);
        if (inode->iomap && mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) {
                if (pos < MIN_OF(first, stop))
                        r = write_cached(model, inode, pos, MIN_OF(first, stop) - pos, NULL);
                if (r >= 0 && MAX_OF(first, last) < stop)
                        r = write_cached(model, inode, MAX_OF(first, last), stop - MAX_OF(first, last), NULL);
        }
        if (r >= 0 && !(mode & FALLOC_FL_KEEP_SIZE) && end > inode->size) {
                if (inode->iomap)
                        r = write_cached(model, inode, inode->size, end - inode->size, NULL);
                inode->size = inode->disk_size = end;
        }
        return r;
}

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
