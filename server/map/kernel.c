/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The kernel engine: FUSE_INIT, CONFIG, and the way back to the user engine whenever something says no.
 *
 * That way stays open until CONFIG is answered: FUSE_INIT is agreed on as the user engine wants it, with fuse-iomap on top; the answer
 * ENOSYS to CONFIG leaves the kernel content; and a file without the attribute flags is an ordinary one. */

#define FUSE_USE_VERSION 312
#include "map/kernel.h"
#include "map/user.h"

#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#define CACHE_BYTES_MAX (2U << 20) /* the kernel's limit for what one file's tree of mappings may use */

/* ---- the choice ----------------------------------------------------------------------------------------------------- */

static bool all_are_devices(const struct fused_map *map) {
        for (uint32_t i = 0; i < map->n_devices; i++)
                if (!map->devices[i].is_block)
                        return false;
        return map->n_devices > 0;
}

/* A block larger than a page cannot be the kernel's, and with smaller ones it would zero other edges than the server expects. */
static bool blocks_fit(const struct fused_map *map) {
        return map->config.block_size <= (uint64_t) sysconf(_SC_PAGESIZE);
}

ChannelEngineReason map_kernel_refusal(const struct fused_map *map, const struct fuse_init_in *in, uint64_t offered) {
        if (in->minor != IOMAP_MINOR)
                return CHANNEL_REASON_NO_IOMAP;
        if (!(offered & IOMAP_INIT))
                return CHANNEL_REASON_SWITCHED_OFF;
        if (map->config.no_writeback) /* the kernel writes back in any case */
                return CHANNEL_REASON_ASKED;
        if (!all_are_devices(map))
                return CHANNEL_REASON_NOT_DEVICES;
        return blocks_fit(map) ? CHANNEL_REASON_NONE : CHANNEL_REASON_BLOCK_SIZE;
}

static void on_init(struct fused_map *map, const struct fuse_init_in *in, uint64_t offered, struct fuse_init_out *out) {
        uint64_t flags;

        user_answer_init(map, in, offered, out);
        flags = abi_init_flags(out->flags, out->flags2) | FUSE_INIT_EXT | IOMAP_INIT;
        out->minor = IOMAP_MINOR; /* with less, the kernel does not look at the flags of attributes */
        out->flags = (uint32_t) flags;
        out->flags2 = (uint32_t) (flags >> 32);
}

/* ---- CONFIG --------------------------------------------------------------------------------------------------------- */

static int add_devices(struct fused_map *map) {
        for (uint32_t i = 0; i < map->n_devices; i++) {
                MapDevice *device = &map->devices[i];
                int r = map->kernel_calls->add_device(map, device->fd, &device->cookie);
                if (r < 0)
                        return r;
                /* Else pages of the device's own cache could lie over the data of files. */
                r = map->kernel_calls->set_block_size(map, device->cookie, map->config.block_size);
                if (r < 0)
                        return r;
        }
        return 0;
}

static uint32_t cache_bytes(const struct fused_map *map) {
        return (uint32_t) MIN_OF(map->config.cache_bytes, (uint64_t) CACHE_BYTES_MAX);
}

/* A kernel that cannot be told of a block size takes a page for one. */
static bool block_size_is_understood(const struct fused_map *map, const IomapConfigIn *in) {
        return in->flags & IOMAP_CONFIG_BLOCKSIZE || map->config.block_size == (uint64_t) sysconf(_SC_PAGESIZE);
}

/* Only what the kernel says it understands. Returns the answer's size. */
static size_t fill_config(struct fused_map *map, const IomapConfigIn *in, IomapConfigOut *ret) {
        const bool has_cache = in->flags & IOMAP_CONFIG_CACHE_MAXBYTES;
        uint64_t wanted = IOMAP_CONFIG_BLOCKSIZE | IOMAP_CONFIG_MAXBYTES | IOMAP_CONFIG_CACHE_MAXBYTES;

        if (in->maxbytes > 0)
                map->config.max_bytes = MIN_OF(map->config.max_bytes, (uint64_t) in->maxbytes);
        *ret = (IomapConfigOut){
                .flags = wanted & in->flags,
                .s_blocksize = map->config.block_size,
                .s_maxbytes = (int64_t) MIN_OF(map->config.max_bytes, (uint64_t) INT64_MAX),
                .cache_maxbytes = has_cache ? cache_bytes(map) : 0,
        };
        return has_cache ? sizeof *ret : IOMAP_CONFIG_OUT_SHORT;
}

/* The kernel goes on without: the reason is shown, the server is started as on any other kernel. */
static int fall_back(struct fused_map *map, ChannelEngineReason reason) {
        map_decide(map, &map_user_engine, reason);
        return map->engine->started(map);
}

/* Every file that the program does not know falls through to the server, so it may be bound before its tables are full. Without
 * it the library runs it by its descriptor. */
static void attach_program(struct fused_map *map) {
        int r;

        if (!map->program)
                return;
        r = map->kernel_calls->attach_program(map);
        map->program_attached = r >= 0;
        if (r >= 0)
                kernel_has_shown(map); /* what the program is asked is not heard of here */
        if (r < 0)
                map_log(map, "the kernel does not take the mapping program: %s; it is run by the server", strerror(-r));
}

static int configure(struct fused_map *map, const void *argument, size_t size, IomapConfigOut *ret, size_t *ret_size,
                     ChannelEngineReason *ret_reason) {
        IomapConfigIn in = {0};
        int r;

        *ret_reason = CHANNEL_REASON_FAILED;
        if (size < sizeof in)
                return -EPROTO;
        memcpy(&in, argument, sizeof in);
        if (!block_size_is_understood(map, &in)) {
                *ret_reason = CHANNEL_REASON_BLOCK_SIZE;
                return -EOPNOTSUPP;
        }
        r = add_devices(map);
        if (r >= 0)
                *ret_size = fill_config(map, &in, ret);
        return r;
}

static void on_config(struct fused_map *map, SessionThread *thread, const struct fuse_in_header *header, const void *argument, size_t size) {
        IomapConfigOut out;
        struct iovec vector = {&out, 0};
        ChannelEngineReason reason;
        int r;

        r = configure(map, argument, size, &out, &vector.iov_len, &reason);
        if (r < 0) {
                map_log(map, "fuse-iomap is not used: %s", strerror(-r));
                map->start_error = fall_back(map, reason);
        } else {
                map_decide(map, &map_kernel_engine, CHANNEL_REASON_NONE);
                map->start_error = map->operations.start ? map->operations.start(map->userdata) : 0;
                attach_program(map);
        }
        r = map->start_error < 0 ? map->start_error : r < 0 ? -ENOSYS : 0; /* ENOSYS: go on without */
        (void) session_reply(thread, header->unique, r, &vector, r < 0 ? 0 : 1);
}

/* Until CONFIG is answered the kernel sends nothing else, so another request means that it has dropped the flag from the answer to FUSE_INIT. */
SessionTaken kernel_first_request(struct fused_map *map, SessionThread *thread, struct fuse_in_header *header, void *argument, size_t size) {
        if (header->opcode == IOMAP_CONFIG) {
                on_config(map, thread, header, argument, size);
                return SESSION_DONE;
        }
        map->start_error = fall_back(map, CHANNEL_REASON_SWITCHED_OFF);
        return map->engine->request(map, thread, header, argument, size);
}

static int on_started(struct fused_map *map) {
        int r;

        (void) map->kernel_calls->stay_out_of_reclaim(map);
        while (!map->decided) {
                r = session_serve_one(map->session);
                if (r == -ENODEV) /* unmounted before it was used: found again */
                        return 0;
                if (r < 0)
                        return r;
        }
        return map->start_error;
}

/* ---- the rest ------------------------------------------------------------------------------------------------------- */

/* FOPEN_DIRECT_IO: always direct, never otherwise. */
static void on_open(struct fused_map *map, const struct fuse_file_info *fi, struct fuse_open_out *out) {
        out->open_flags |= fi->direct_io ? FOPEN_DIRECT_IO : FOPEN_KEEP_CACHE;
}

/* The kernel forgets the mappings itself when it has changed the size. */
static int set_size(struct fused_map *map, MapFile *file, uint64_t size) {
        file->size = file->disk_size = size;
        return 0;
}

const MapEngine map_kernel_engine = {
        .name = "kernel",
        .number = CHANNEL_ENGINE_KERNEL,
        .attr_flags = IOMAP_ATTR_EXCLUSIVE | IOMAP_ATTR_IOMAP,
        .init = on_init,
        .started = on_started,
        .request = kernel_request,
        .flush = batch_flush,
        .open = on_open,
        .upsert = kernel_upsert,
        .invalidate = kernel_invalidate,
        .set_size = set_size,
        .device_invalidate = kernel_device_invalidate,
};
