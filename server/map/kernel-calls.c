/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The kernel engine: ioctls of the FUSE device. */

#define FUSE_USE_VERSION 312
#include "map/kernel.h"

#include <linux/prctl.h>
#include <sys/prctl.h>

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#endif

static int device_fd(struct fused_map *map) {
        return fuse_session_fd(session_fuse(map->session));
}

/* Whoever has both descriptors may register a device; where the sandbox does not let this pass, the supervisor does it. */
static int add_device(struct fused_map *map, int fd, uint32_t *ret_cookie) {
        IomapBackingMap backing = {.fd = fd, .flags = IOMAP_BACKING_TYPE};
        int r = RET_NERRNO(ioctl(device_fd(map), IOMAP_IOC_BACKING_OPEN, &backing));

        if (r > 0) {
                *ret_cookie = (uint32_t) r;
                return 0;
        }
        if (map->channel && channel_backing_open(map->channel, fd, CHANNEL_BACKING_IOMAP, ret_cookie) >= 0)
                return 0;
        return r < 0 ? r : -EPROTO;
}

static int set_block_size(struct fused_map *map, uint32_t cookie, uint32_t size) {
        const IomapBackingInfo info = {.backing_id = cookie, .blocksize = size};
        int r = RET_NERRNO(ioctl(device_fd(map), IOMAP_IOC_SET_BLOCKSIZE, &info));

        return r == -ENOTTY ? RET_NERRNO(ioctl(device_fd(map), IOMAP_IOC_SET_BLOCKSIZE_OLD, &info)) : r;
}

static int stay_out_of_reclaim(struct fused_map *map) {
        const uint32_t on = 1;
        int r = RET_NERRNO(ioctl(device_fd(map), IOMAP_IOC_SET_NOFS, &on));

        return r < 0 ? RET_NERRNO(prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0)) : r;
}

static int notify(struct fused_map *map, int code, const void *data, size_t size) {
        return session_notify_any(map->session, code, data, size);
}

static int attach_program(struct fused_map *map) {
        return channel_program_attach(map->channel);
}

const MapKernelCalls map_kernel_calls = {
        .add_device = add_device,
        .set_block_size = set_block_size,
        .stay_out_of_reclaim = stay_out_of_reclaim,
        .notify = notify,
        .attach_program = attach_program,
};
