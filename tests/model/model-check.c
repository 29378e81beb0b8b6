/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The model of the kernel: what it refuses. Written from the description of the kernel and not from the library's rules. See model.h. */

#define FUSE_USE_VERSION 312
#include "model/model.h"

static bool is_placed(uint16_t type) {
        return type == K_MAPPED || type == K_UNWRITTEN;
}

static bool is_known(uint16_t type) {
        return type <= K_INLINE || (type >= K_NOCACHE && type <= K_PURE_OVERWRITE);
}

/* 2 to 7: the older one lets 253 and 254 through. */
static bool range_is_good(const Model *model, const struct fused_mapping *m) {
        const uint64_t mask = model->block_size - 1;

        return !(m->flags & ~0xff) && m->length != 0 && !(m->offset & mask) && !(m->length & mask) && m->length <= UINT64_MAX - m->offset &&
               m->offset < model->max_bytes;
}

/* 8a to 8e */
static bool type_is_good(const Model *model, const ModelInode *inode, const struct fused_mapping *m, bool write, bool upsert) {
        const bool strict = model->config.column == MODEL_RN, bare = m->dev == 0 && m->addr == K_NOWHERE, zero = bare && m->flags == 0;

        switch (m->type) {
        case K_MAPPED:
        case K_UNWRITTEN:
                return m->dev != 0 && m->addr != K_NOWHERE;
        case K_HOLE:
        case K_DELALLOC:
        case K_INLINE:
                return bare;
        case K_PURE_OVERWRITE:
                return write && (!strict || zero);
        case K_RETRY_CACHE:
                return !upsert && inode->has_cache && (!strict || zero);
        case K_NOCACHE:
                return upsert && (!strict || zero);
        default:
                return false;
        }
}

/* Of an upsert: 13, and that it is all on the device */
static int check_place(const Model *model, const struct fused_mapping *m) {
        const ModelDevice *device = NULL;

        for (size_t i = 0; i < model->n_devices; i++)
                if (model->devices[i].cookie == m->dev)
                        device = &model->devices[i];
        if (!is_placed(m->type))
                return 0;
        if (!device)
                return -EUCLEAN;
        if (device->size == 0)
                return -EINVAL;
        return m->addr > device->size || m->length > device->size - m->addr ? -EUCLEAN : 0;
}

int model_check(const Model *model, const ModelInode *inode, const struct fused_mapping *m, bool write, uint64_t pos, uint32_t opflags) {
        const bool strict = model->config.column == MODEL_RN, upsert = pos == UINT64_MAX;
        const bool of_cache = m->type == K_NOCACHE || m->type == K_RETRY_CACHE;

        if (!is_known(m->type)) /* 1 */
                return -EUCLEAN;
        if ((strict || !of_cache) && !range_is_good(model, m))
                return -EUCLEAN;
        if (!type_is_good(model, inode, m, write, upsert))
                return -EUCLEAN;
        if (m->addr != K_NOWHERE && m->length > UINT64_MAX - m->addr) /* 9 */
                return -EUCLEAN;
        if (!upsert && (pos < m->offset || pos - m->offset >= m->length)) /* 10 */
                return -EUCLEAN;
        if (strict && m->type == K_RETRY_CACHE && !write && opflags & (K_OP_UNCACHED)) /* 11 */
                return -EUCLEAN;
        return upsert ? check_place(model, m) : 0;
}

/* 12: of the half that is written to */
int model_check_atomic(const Model *model, const IomapBeginOut *out, uint32_t opflags) {
        const struct fused_mapping *to = out->write.type == K_PURE_OVERWRITE ? &out->read : &out->write;

        if (model->config.column != MODEL_RN || !(opflags & K_OP_ATOMIC))
                return 0;
        return is_placed(to->type) && to->flags & K_F_ATOMIC_BIO ? 0 : -EIO;
}

/* 13 and, in the newer one, 14 */
static int check_device(Model *model, const struct fused_mapping *m, bool write) {
        const ModelDevice *device = model_device(model, m->dev);

        if (!device)
                return is_placed(m->type) ? -EUCLEAN : 0;
        if (model->config.column != MODEL_RN)
                return 0;
        return device->readable && (device->writable || !write) ? 0 : -EACCES;
}

/* What is only read has nothing to do with the write half. */
int model_check_devices(Model *model, const IomapBeginOut *out, bool changes) {
        const bool elsewhere = changes && out->write.type != K_PURE_OVERWRITE;
        int r = check_device(model, &out->read, changes && !elsewhere);

        return r < 0 || !elsewhere ? r : check_device(model, &out->write, /* write= */ true);
}

int model_check_config(const Model *model, const IomapConfigOut *out, size_t size) {
        const bool strict = model->config.column == MODEL_RN;
        const size_t longest = model->config.config_flags & K_CONFIG_CACHE_MAXBYTES ? sizeof *out : 96U;

        if (size > longest || out->flags & ~model->config.config_flags || out->s_uuid_len > 16)
                return -EINVAL;
        for (size_t i = 0; i < ELEMENTSOF(out->pad); i++)
                if (out->pad[i] != 0)
                        return -EINVAL;
        if (!strict)
                return 0;
        if (out->flags & K_CONFIG_BLOCKSIZE &&
            (out->s_blocksize < 512 || out->s_blocksize > 4096 || out->s_blocksize & (out->s_blocksize - 1)))
                return -EINVAL;
        if (out->flags & K_CONFIG_TIME && (out->s_time_gran < 1 || out->s_time_gran > 1000000000))
                return -EINVAL;
        return out->flags & K_CONFIG_MAXBYTES && (out->s_maxbytes < 0 || out->s_maxbytes > model_offered_bytes(model)) ? -EINVAL : 0;
}
