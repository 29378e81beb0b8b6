/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The user engine: zeroing a part of a block, where a file ends or a hole is punched. */

#define FUSE_USE_VERSION 312
#include "map/user.h"

#include <string.h>

int user_zero(struct fused_map *map, MapFile *file, uint64_t from, uint64_t to) {
        const uint64_t block_size = map->config.block_size, start = from / block_size * block_size;
        _cleanup_free_ uint8_t *zeroes = NULL;
        struct fused_mapping read, write;
        int r;

        if (from >= to)
                return 0;
        r = map_lookup(map, file, start, block_size, FUSED_MAPPING_OP_REPORT, &read, &write);
        if (r < 0 || read.type != FUSED_MAPPING_MAPPED) /* the rest reads as zeroes anyway */
                return r;
        zeroes = calloc(1, to - from);
        if (!zeroes)
                return -ENOMEM;
        r = user_write_range(map, file, from, to - from, zeroes, FUSED_MAPPING_OP_ZERO, /* ret_written= */ NULL);
        /* A kernel that is only about to ask where data is goes past the device's cache: it finds this, and nothing is written over it later. */
        return r >= 0 && map->engine == &map_kernel_engine ? devices_sync(map, /* all= */ false) : MIN_OF(r, 0);
}
