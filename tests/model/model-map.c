/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The model of the kernel: where data is, and what the server is told when it was moved: BEGIN, END, IOEND. See model.h. */

#define FUSE_USE_VERSION 312
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "model/model.h"

#define RETRIES_MAX 16

/* ---- BEGIN ---------------------------------------------------------------------------------------------------------- */

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

/* The older kernel looks for this in the read half only, and makes a hole of such a write half. */
static bool says_retry(const Model *model, const IomapBeginOut *out) {
        return out->read.type == K_RETRY_CACHE || (model->config.column == MODEL_RN && out->write.type == K_RETRY_CACHE);
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
        if (r >= 0)
                r = model_check_atomic(model, ret, opflags);
        if (r >= 0 && says_retry(model, ret))
                r = model_cache_ask(model, inode, pos, opflags, ret) ? 0 : 1;
        (void) pthread_mutex_unlock(&model->lock);
        return r;
}

int model_map(Model *model, ModelInode *inode, uint64_t pos, uint64_t count, uint32_t opflags, struct fused_mapping *ret_from,
              struct fused_mapping *ret_to) {
        const bool changes = opflags & K_OP_CHANGES;
        IomapBeginOut found;
        int r = 1;

        for (unsigned i = 0; r == 1 && i < RETRIES_MAX; i++)
                r = find_mapping(model, inode, pos, count, opflags, &found);
        if (r != 0)
                return r < 0 ? r : -EINTR;
        r = model_check_devices(model, &found, changes);
        if (r < 0)
                return r;
        *ret_from = found.read;
        *ret_to = changes && found.write.type != K_PURE_OVERWRITE ? found.write : found.read;
        assert_int_not_equal(ret_to->type, K_RETRY_CACHE);
        return 0;
}

/* ---- END ------------------------------------------------------------------------------------------------------------ */

/* Which I/O the server hears of: what has made the file larger, was short, or it wants to. */
static bool end_is_told(const Model *model, const struct fused_mapping *m, uint64_t count, int64_t written, uint32_t opflags) {
        if (model->no_end)
                return false;
        if (m->flags & K_F_WANT_END)
                return true;
        return opflags & K_OP_CHANGES && (m->flags & K_F_SIZE_CHANGED || written < (int64_t) count);
}

int model_end(Model *model, ModelInode *inode, uint64_t pos, uint64_t count, int64_t written, uint32_t opflags, const struct fused_mapping *m,
              bool size_changed) {
        IomapEndIn in = {.opflags = opflags, .attr_ino = inode->ino, .pos = pos, .count = count, .written = written, .map = *m};
        ssize_t n;

        if (size_changed)
                in.map.flags |= K_F_SIZE_CHANGED;
        if (m->type == K_INLINE || !end_is_told(model, &in.map, count, written, opflags))
                return 0;
        model->n_end++;
        n = model_ask(model, K_END, inode->nodeid, &in, sizeof in, NULL, 0);
        model->no_end = n == -ENOSYS;
        return n > 0 ? -EIO : n < 0 && n != -ENOSYS ? (int) n : 0; /* nothing but the header */
}

/* ---- IOEND ---------------------------------------------------------------------------------------------------------- */

/* Plain overwrites cost no question, but for what failed. The end of a swap file is told to a server that wants to hear of none, too. */
static bool ioend_is_told(const Model *model, const IomapIoendIn *in) {
        if (in->flags & K_IOEND_SWAPOFF && model->config.column == MODEL_RN)
                return true;
        if (model->no_ioend)
                return false;
        return in->flags & K_IOEND_SWAPOFF || in->error != 0 ||
               (in->written > 0 && in->flags & (K_IOEND_SHARED | K_IOEND_UNWRITTEN | K_IOEND_APPEND));
}

int model_ioend(Model *model, ModelInode *inode, uint64_t pos, uint64_t written, int error, uint32_t flags, const struct fused_mapping *to) {
        IomapIoendIn in = {.flags = flags, .error = error, .attr_ino = inode->ino, .pos = pos, .written = written,
                           .new_addr = to ? (to->addr + (pos - to->offset)) >> 9 : K_NOWHERE, .dev = to ? to->dev : 0};
        IomapIoendOut out = {.newsize = MAX_OF(inode->disk_size, pos + written)};
        const uint64_t first = pos / model->block_size * model->block_size;
        ssize_t n = 0;

        if (pos + written > inode->disk_size)
                in.flags |= K_IOEND_APPEND;
        if (ioend_is_told(model, &in)) {
                model->n_ioend++;
                n = model_ask(model, K_IOEND, inode->nodeid, &in, sizeof in, &out, sizeof out);
                model->no_ioend |= n == -ENOSYS;
                if (n >= 0 && n != sizeof out)
                        n = -EIO;
        }
        if (error < 0 || (n < 0 && n != -ENOSYS))
                return error < 0 ? error : (int) n;
        inode->disk_size = model->config.column == MODEL_RN ? MAX_OF(inode->disk_size, out.newsize) : out.newsize;
        (void) pthread_mutex_lock(&model->lock);
        model_cache_drop(inode, first, ALIGN_TO(pos + written, (uint64_t) model->block_size) - first); /* also after an overwrite */
        (void) pthread_mutex_unlock(&model->lock);
        return 0;
}
