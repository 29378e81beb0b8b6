/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Inside the kernel engine: the kernel asks where data is, and moves it itself.
 *
 *   kernel.c          the choice between the engines, FUSE_INIT, CONFIG, what it falls back to
 *   kernel-request.c  BEGIN, END, IOEND; requests that are left to libfuse or to the user engine
 *   kernel-notify.c   what the server tells the kernel's mapping cache
 *   kernel-calls.c    ioctls and the like: a table, so that a model of the kernel can stand in
 *
 * The kernel has the cache, and runs the program where it could be attached. So what they answer is not seen here and not counted: the counters
 * are of what reached the server, and of programs that the library ran itself because they could not be attached. */

#include "map/iomap-abi.h"
#include "map/map.h"

/* What goes to the kernel by other ways than the answers to its requests. */
struct MapKernelCalls {
        int (*add_device)(struct fused_map *map, int fd, uint32_t *ret_cookie);
        int (*set_block_size)(struct fused_map *map, uint32_t cookie, uint32_t size);
        int (*stay_out_of_reclaim)(struct fused_map *map); /* this thread and those it starts */
        int (*notify)(struct fused_map *map, int code, const void *data, size_t size);
        int (*attach_program)(struct fused_map *map);
};
extern const MapKernelCalls map_kernel_calls;

/* That it moves data itself. Written once: it is looked at with every request. */
static inline void kernel_has_shown(struct fused_map *map) {
        if (!atomic_load_explicit(&map->kernel_moves, memory_order_relaxed))
                atomic_store(&map->kernel_moves, true);
}

SessionTaken kernel_request(struct fused_map *map, SessionThread *thread, struct fuse_in_header *header, void *argument, size_t size);
/* The first request is the kernel's word on whether it agreed. Decides, and answers it if it is CONFIG. */
SessionTaken kernel_first_request(struct fused_map *map, SessionThread *thread, struct fuse_in_header *header, void *argument, size_t size);

int kernel_upsert(struct fused_map *map, MapFile *file, const struct fused_mapping *read, const struct fused_mapping *write) _must_check_;
int kernel_invalidate(struct fused_map *map, MapFile *file, uint64_t offset, uint64_t length) _must_check_;
int kernel_device_invalidate(struct fused_map *map, MapDevice *device, uint64_t addr, uint64_t length) _must_check_;
