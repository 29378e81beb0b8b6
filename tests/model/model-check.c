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

int model_check(const Model *model, const ModelInode *inode, const struct fused_mapping *m, bool write, uint64_t pos, uint32_t opflags) {
        const bool strict = model->config.column == MODEL_RN, upsert = pos == UINT64_MAX;
        const bool of_cache = m->type == K_NOCACHE || m->type == K_RETRY_CACHE;
        const ModelDevice *device = NULL;

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
        if (!is_placed(m->type))
                return 0;
        for (size_t i = 0; i < model->n_devices; i++) /* 13 */
                if (model->devices[i].cookie == m->dev)
                        device = &model->devices[i];
        if (!device)
                return -EUCLEAN;
        if (upsert && device->size == 0)
                return -EINVAL;
        return upsert && (m->addr > device->size || m->length > device->size - m->addr) ? -EUCLEAN : 0;
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
        return out->flags & K_CONFIG_MAXBYTES && out->s_maxbytes < 0 ? -EINVAL : 0;
}
