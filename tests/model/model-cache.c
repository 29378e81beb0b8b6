/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The model of the kernel: its mapping cache, and the notifications that change it. See model.h. */

#define FUSE_USE_VERSION 312
#include <string.h>

#include "model/model.h"

void model_tree_free(ModelTree *tree) {
        free(tree->mappings);
        *tree = (ModelTree){0};
}

static void insert_at(ModelTree *tree, size_t at, const struct fused_mapping *mapping) {
        if (tree->n == tree->n_allocated) {
                tree->n_allocated = tree->n_allocated ? tree->n_allocated * 2 : 64;
                tree->mappings = realloc(tree->mappings, tree->n_allocated * sizeof *tree->mappings);
                if (!tree->mappings)
                        abort();
        }
        memmove(&tree->mappings[at + 1], &tree->mappings[at], (tree->n - at) * sizeof *tree->mappings);
        tree->mappings[at] = *mapping;
        tree->n++;
}

static void advance(struct fused_mapping *mapping, uint64_t by) {
        mapping->offset += by;
        mapping->length -= by;
        if (mapping->addr != K_NOWHERE)
                mapping->addr += by;
}

static void tree_remove(ModelTree *tree, uint64_t offset, uint64_t length) {
        const uint64_t end = offset + length < offset ? UINT64_MAX : offset + length;

        for (size_t i = 0; i < tree->n;) {
                struct fused_mapping *m = &tree->mappings[i], rest = *m;
                const uint64_t m_end = m->offset + m->length;
                if (m_end <= offset || m->offset >= end) {
                        i++;
                        continue;
                }
                const bool head = m->offset < offset, tail = m_end > end;
                if (tail)
                        advance(&rest, end - rest.offset);
                if (head) {
                        m->length = offset - m->offset;
                        i++;
                        if (tail)
                                insert_at(tree, i++, &rest);
                } else if (tail)
                        tree->mappings[i++] = rest;
                else {
                        memmove(m, m + 1, (tree->n - i - 1) * sizeof *m);
                        tree->n--;
                }
        }
}

static bool joins(const struct fused_mapping *a, const struct fused_mapping *b) {
        return a->type == b->type && a->flags == b->flags && a->dev == b->dev && a->offset + a->length == b->offset &&
               (a->addr == K_NOWHERE ? b->addr == K_NOWHERE : a->addr + a->length == b->addr);
}

/* A tree above its limit is thrown away. */
static void tree_insert(ModelTree *tree, const struct fused_mapping *mapping, uint64_t limit) {
        size_t at = 0;

        if (tree->n * sizeof *tree->mappings >= limit) {
                tree->n = 0;
                tree->n_dropped++;
        }
        tree_remove(tree, mapping->offset, mapping->length);
        while (at < tree->n && tree->mappings[at].offset < mapping->offset)
                at++;
        insert_at(tree, at, mapping);
        for (size_t i = at + 1; i-- > (at ? at - 1 : 0);)
                if (i + 1 < tree->n && joins(&tree->mappings[i], &tree->mappings[i + 1])) {
                        tree->mappings[i].length += tree->mappings[i + 1].length;
                        memmove(&tree->mappings[i + 1], &tree->mappings[i + 2], (tree->n - i - 2) * sizeof *tree->mappings);
                        tree->n--;
                }
}

static const struct fused_mapping *tree_find(const ModelTree *tree, uint64_t pos) {
        for (size_t i = 0; i < tree->n; i++)
                if (tree->mappings[i].offset <= pos && pos - tree->mappings[i].offset < tree->mappings[i].length)
                        return &tree->mappings[i];
        return NULL;
}

void model_cache_drop(ModelInode *inode, uint64_t offset, uint64_t length) {
        tree_remove(&inode->reads, offset, length);
        tree_remove(&inode->writes, offset, length);
}

/* While there is no write tree, every write goes where reads come from. */
bool model_cache_ask(const Model *model, const ModelInode *inode, uint64_t pos, uint32_t opflags, IomapBeginOut *ret) {
        const bool changes = opflags & K_OP_CHANGES, zeroes = opflags & (K_OP_ZERO | K_OP_UNSHARE);
        const struct fused_mapping *read, *write = NULL, *to;

        if (!inode->has_cache || opflags & (K_OP_UNCACHED))
                return false;
        read = tree_find(&inode->reads, pos);
        if (read && changes && inode->has_writes)
                write = tree_find(&inode->writes, pos);
        if (!read || (changes && inode->has_writes && !write))
                return false;
        to = write && write->type != K_PURE_OVERWRITE ? write : read;
        if (changes && to->type == K_HOLE && !zeroes)
                return false;
        if (to->type == K_DELALLOC && opflags & (K_OP_DIRECT | K_OP_WRITEBACK))
                return false;
        ret->read = *read;
        ret->write = write ? *write : (struct fused_mapping){.offset = read->offset, .length = read->length, .addr = K_NOWHERE,
                                                             .type = K_PURE_OVERWRITE};
        return true;
}

/* ---- notifications -------------------------------------------------------------------------------------------------- */

static ModelInode *find(Model *model, uint64_t nodeid) {
        for (size_t i = 0; i < model->n_inodes; i++)
                if (model->inodes[i].nodeid == nodeid && nodeid != 0)
                        return &model->inodes[i];
        return NULL;
}

static int find_inode(Model *model, uint64_t nodeid, uint64_t ino, ModelInode **ret) {
        *ret = find(model, nodeid);
        if (!*ret)
                return -ESTALE;
        if ((*ret)->ino != ino)
                return -EINVAL;
        if ((*ret)->dead)
                return -EIO;
        return model->config.column == MODEL_RN && !(*ret)->iomap ? -EINVAL : 0;
}

static int upsert(Model *model, const void *data) {
        const IomapNotifyUpsert *in = data;
        ModelInode *inode;
        int r;

        r = find_inode(model, in->nodeid, in->attr_ino, &inode);
        if (r >= 0)
                r = model_check(model, inode, &in->read, /* write= */ false, UINT64_MAX, 0);
        if (r >= 0)
                r = model_check(model, inode, &in->write, /* write= */ true, UINT64_MAX, 0);
        if (r < 0)
                return r;
        inode->has_cache = true;
        if (in->read.type != K_NOCACHE)
                tree_insert(&inode->reads, &in->read, model->cache_bytes);
        if (in->write.type == K_NOCACHE || (in->write.type == K_PURE_OVERWRITE && !inode->has_writes))
                return 0;
        inode->has_writes = true;
        tree_insert(&inode->writes, &in->write, model->cache_bytes);
        return 0;
}

static int check_range(const Model *model, const IomapRange *range) {
        const uint64_t mask = model->block_size - 1;

        if (range->length == 0)
                return 0;
        if (range->offset & mask || range->offset >= model->max_bytes)
                return -EUCLEAN;
        if (range->length == UINT64_MAX)
                return 0;
        return range->length & mask || (model->config.column == MODEL_RN && range->length > UINT64_MAX - range->offset) ? -EUCLEAN : 0;
}

static int invalidate(Model *model, const void *data) {
        const IomapNotifyInvalidate *in = data;
        ModelInode *inode;
        int r;

        model->last_invalidate = *in;
        r = find_inode(model, in->nodeid, in->attr_ino, &inode);
        if (r >= 0)
                r = check_range(model, &in->read);
        if (r >= 0)
                r = check_range(model, &in->write);
        if (r < 0)
                return r;
        if (in->read.length > 0)
                tree_remove(&inode->reads, in->read.offset, in->read.length);
        if (in->write.length > 0)
                tree_remove(&inode->writes, in->write.offset, in->write.length);
        return 0;
}

static int device_invalidate(Model *model, const void *data) {
        const IomapNotifyDevice *in = data;
        ModelDevice *device = model_device(model, in->dev);

        if (!device)
                return in->dev == 0 ? -EINVAL : -ENODEV;
        if (in->range.offset >= device->size)
                return -EINVAL;
        if (model->config.column == MODEL_RN && in->range.length == 0)
                return 0;
        if (in->range.length > UINT64_MAX - in->range.offset)
                return -EINVAL;
        device->n_invalidated++;
        device->invalidated = in->range;
        model_device_drop(model, device, in->range.offset, in->range.length);
        return 0;
}

int model_notify(Model *model, int code, const void *data, size_t size) {
        static const struct {
                int code;
                size_t size;
                int (*run)(Model *model, const void *data);
        } rows[] = {
                {K_NOTIFY_DEVICE, sizeof(IomapNotifyDevice), device_invalidate},
                {K_NOTIFY_UPSERT, sizeof(IomapNotifyUpsert), upsert},
                {K_NOTIFY_INVALIDATE, sizeof(IomapNotifyInvalidate), invalidate},
        };
        int r = -EINVAL;

        (void) pthread_mutex_lock(&model->lock);
        for (size_t i = 0; i < ELEMENTSOF(rows); i++)
                if (rows[i].code == code && rows[i].size == size && model->iomap)
                        r = rows[i].run(model, data);
        model->n_upsert += code == K_NOTIFY_UPSERT;
        model->n_invalidate += code == K_NOTIFY_INVALIDATE;
        (void) pthread_mutex_unlock(&model->lock);
        return r;
}
