/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The kernel engine: the kernel's mapping cache, told by notifications. They may be sent while a request is being answered. */

#define FUSE_USE_VERSION 312
#include "map/kernel.h"

static uint32_t cookie_of(struct fused_map *map, uint32_t number) {
        return number ? map_device(map, number)->cookie : 0; /* checked before */
}

/* NOCACHE leaves a side alone, and has to have a range that is right all the same. */
static struct fused_mapping half(struct fused_map *map, const struct fused_mapping *mapping, const struct fused_mapping *other) {
        struct fused_mapping ret = mapping ? *mapping
                                           : (struct fused_mapping){.offset = other->offset, .length = other->length,
                                                                    .addr = FUSED_MAPPING_ADDR_NONE, .type = FUSED_MAPPING_NOCACHE};

        ret.dev = cookie_of(map, ret.dev);
        return ret;
}

int kernel_upsert(struct fused_map *map, MapFile *file, const struct fused_mapping *read, const struct fused_mapping *write) {
        IomapNotifyUpsert notice = {.nodeid = file->nodeid, .attr_ino = file->ino};
        int r;

        if (!read && !write)
                return 0;
        r = map_check_upsert(map, file, read, write);
        if (r < 0)
                return r;
        notice.read = half(map, read, write);
        notice.write = half(map, write, read);
        r = map->kernel_calls->notify(map, IOMAP_NOTIFY_UPSERT, &notice, sizeof notice);
        if (r >= 0) {
                atomic_store(&file->kernel_caches, true);
                kernel_has_shown(map);
        }
        return r;
}

int kernel_invalidate(struct fused_map *map, MapFile *file, uint64_t offset, uint64_t length) {
        const uint64_t block_size = map->config.block_size, first = offset / block_size * block_size;
        IomapRange range = {.offset = first, .length = UINT64_MAX};
        IomapNotifyInvalidate notice = {.nodeid = file->nodeid, .attr_ino = file->ino};
        int r;

        if (length == 0 || first >= map->config.max_bytes)
                return 0;
        if (length != UINT64_MAX && offset + length > offset && offset + length <= map->config.max_bytes)
                range.length = ALIGN_TO(offset + length, block_size) - first;
        notice.read = notice.write = range;
        r = map->kernel_calls->notify(map, IOMAP_NOTIFY_INVALIDATE, &notice, sizeof notice);
        return r == -ESTALE ? 0 : r; /* what is not in memory has no cache */
}

int kernel_device_invalidate(struct fused_map *map, MapDevice *device, uint64_t addr, uint64_t length) {
        const IomapNotifyDevice notice = {.dev = device->cookie, .range = {.offset = addr, .length = length}};

        if (length == 0)
                return 0;
        return map->kernel_calls->notify(map, IOMAP_NOTIFY_DEVICE_INVALIDATE, &notice, sizeof notice);
}
