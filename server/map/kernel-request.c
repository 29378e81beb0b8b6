/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The kernel engine: requests. */

#define FUSE_USE_VERSION 312
#include "map/kernel.h"
#include "map/user.h"

#include <string.h>
#include <sys/uio.h>

#define CHANGES_DATA (FUSED_MAPPING_OP_WRITE | FUSED_MAPPING_OP_WRITEBACK)

typedef int (*Answer)(struct fused_map *map, MapFile *file, const void *argument, void *ret);

/* ---- BEGIN ---------------------------------------------------------------------------------------------------------- */

/* What the kernel accepts, and fails on later. */
static const char *check_use(const struct fused_map *map, const MapFile *file, uint32_t opflags, const struct fused_mapping *read,
                             const struct fused_mapping *write) {
        const struct fused_mapping *to = write->type == FUSED_MAPPING_PURE_OVERWRITE ? read : write;
        bool retry = read->type == FUSED_MAPPING_RETRY_CACHE || write->type == FUSED_MAPPING_RETRY_CACHE;

        if (retry && opflags & (FUSED_MAPPING_OP_ATOMIC | FUSED_MAPPING_OP_SWAPFILE))
                return "the cache for what does not go by it";
        if (retry && !atomic_load(&file->kernel_caches))
                return "the cache, which has nothing of this file";
        if (retry || !(opflags & CHANGES_DATA) || opflags & FUSED_MAPPING_OP_OVERWRITE_ONLY)
                return NULL;
        if (to->type == FUSED_MAPPING_HOLE)
                return "a hole for a write";
        if (to->type == FUSED_MAPPING_DELALLOC && opflags & (FUSED_MAPPING_OP_DIRECT | FUSED_MAPPING_OP_WRITEBACK))
                return "no place for a write to the device";
        return NULL;
}

static void to_cookie(struct fused_map *map, struct fused_mapping *mapping) {
        if (mapping->dev != 0)
                mapping->dev = map_device(map, mapping->dev)->cookie; /* checked before */
}

static int on_begin(struct fused_map *map, MapFile *file, const void *argument, void *ret) {
        const IomapBeginIn *in = argument;
        const struct fused_map_request request = {
                .nodeid = file->nodeid, .ino = file->ino, .pos = in->pos, .count = in->count, .opflags = in->opflags};
        IomapBeginOut *out = ret;
        const char *wrong;
        int r;

        r = map_ask(map, file, &request, &out->read, &out->write);
        if (r < 0)
                return r;
        wrong = check_use(map, file, in->opflags, &out->read, &out->write);
        if (wrong)
                return map_complain(map, file, &out->read, "answer", wrong);
        if (out->write.type == FUSED_MAPPING_RETRY_CACHE) /* older kernels look for it in the other half only */
                out->read = out->write;
        to_cookie(map, &out->read);
        to_cookie(map, &out->write);
        return 0;
}

/* ---- END, IOEND ----------------------------------------------------------------------------------------------------- */

/* ENOSYS: the kernel does not ask any more. */
static int on_end(struct fused_map *map, MapFile *file, const void *argument, void *ret) {
        const IomapEndIn *in = argument;
        const struct fused_map_request request = {
                .nodeid = file->nodeid, .ino = file->ino, .pos = in->pos, .count = in->count, .opflags = in->opflags};
        struct fused_mapping mapping = in->map;
        int r;

        if (!map->operations.end)
                return -ENOSYS;
        mapping.dev = map_number(map, mapping.dev);
        r = map->operations.end(map->userdata, &request, in->written, &mapping);
        return MIN_OF(r, 0);
}

static int on_ioend(struct fused_map *map, MapFile *file, const void *argument, void *ret) {
        const IomapIoendIn *in = argument;
        const struct fused_map_ioend ioend = {
                .nodeid = file->nodeid,
                .ino = file->ino,
                .pos = in->pos,
                .written = in->error < 0 ? 0 : in->written,
                /* The kernel sends a sector here where bytes are meant, so it is not passed on. */
                .new_addr = FUSED_MAPPING_ADDR_NONE,
                .dev = map_number(map, in->dev),
                .flags = in->flags,
                .error = in->error,
        };
        uint64_t size = file->disk_size;
        IomapIoendOut *out = ret;
        int r;

        if (!map->operations.ioend)
                return -ENOSYS;
        r = map->operations.ioend(map->userdata, &ioend, &size);
        if (r < 0)
                return r;
        if (in->error == 0) {
                map_raise(&file->disk_size, size);
                map_raise(&file->size, size);
        }
        out->newsize = file->disk_size; /* older kernels take it as it is, even if it is less than they knew */
        return 0;
}

static const struct {
        size_t in, out;
        Answer answer;
} answers[] = {
        [IOMAP_BEGIN - IOMAP_CONFIG] = {sizeof(IomapBeginIn), sizeof(IomapBeginOut), on_begin},
        [IOMAP_END - IOMAP_CONFIG] = {sizeof(IomapEndIn), 0, on_end},
        [IOMAP_IOEND - IOMAP_CONFIG] = {sizeof(IomapIoendIn), sizeof(IomapIoendOut), on_ioend},
};

/* A kernel that is newer may say more than is known here; one that says less is not understood. */
static void answer(struct fused_map *map, SessionThread *thread, const struct fuse_in_header *header, const void *argument, size_t size) {
        const size_t i = header->opcode - IOMAP_CONFIG;
        union {
                IomapBeginIn begin;
                IomapEndIn end;
                IomapIoendIn ioend;
        } in;
        union {
                IomapBeginOut begin;
                IomapIoendOut ioend;
        } out = {0};
        const struct iovec vector = {&out, answers[i].out};
        int r;

        if (!answers[i].answer || size < answers[i].in)
                r = answers[i].answer ? -EIO : -ENOSYS; /* a second CONFIG */
        else {
                _cleanup_file_ MapFile *file = map_file_get(map->files, header->nodeid);
                memcpy(&in, argument, answers[i].in);
                if (file)
                        kernel_has_shown(map);
                r = file ? answers[i].answer(map, file, &in, &out) : -ESTALE;
        }
        (void) session_reply(thread, header->unique, r, &vector, r < 0 || answers[i].out == 0 ? 0 : 1);
}

/* ---- the rest ------------------------------------------------------------------------------------------------------- */

/* The kernel reads and writes a mapped file itself, but for what is inline, which is the server's. If it comes with others, it has not
 * understood the flags of the attributes: then the file is one for the user engine. */
static SessionTaken on_data(struct fused_map *map, SessionThread *thread, struct fuse_in_header *header, void *argument, size_t size) {
        _cleanup_file_ MapFile *file = map_file_get(map->files, header->nodeid);
        struct fused_mapping read, write;
        uint64_t pos;

        if (!file || size < sizeof(struct fuse_read_in))
                return SESSION_PASS;
        if (!atomic_load(&file->ordinary)) {
                pos = ((const struct fuse_read_in *) argument)->offset; /* in WRITE, too, it is at this place */
                if (map_lookup(map, file, pos, 1, FUSED_MAPPING_OP_REPORT, &read, &write) >= 0 && read.type == FUSED_MAPPING_INLINE)
                        return SESSION_PASS;
                if (!atomic_exchange(&file->ordinary, true) && atomic_fetch_add(&map->n_complaints, 1) == 0)
                        map_log(map, "the kernel asks for data of a mapped file: the server moves it");
        }
        return map_user_engine.request(map, thread, header, argument, size);
}

/* The kernel zeroes what is left of blocks, knows the size, and clears the bits for setting ids. It cannot do the first without asking where the
 * block is, so while it has never asked, it is one that has not understood the flags, and all of that is the user engine's; as it is for what
 * is not mapped. */
static SessionTaken on_change(struct fused_map *map, SessionThread *thread, struct fuse_in_header *header, void *argument, size_t size) {
        _cleanup_file_ MapFile *file = map_file_get(map->files, header->nodeid);
        const bool ours = !file || atomic_load(&file->ordinary) || !atomic_load(&map->kernel_moves);

        return ours ? map_user_engine.request(map, thread, header, argument, size) : SESSION_PASS;
}

/* The data is on the device by now, and maybe in the device's own memory. */
static SessionTaken on_fsync(struct fused_map *map, SessionThread *thread, struct fuse_in_header *header, void *argument, size_t size) {
        for (uint32_t i = 0; i < map->n_devices; i++)
                device_written(&map->devices[i]);
        return map_user_engine.request(map, thread, header, argument, size);
}

typedef SessionTaken (*Handler)(struct fused_map *map, SessionThread *thread, struct fuse_in_header *header, void *argument, size_t size);

static SessionTaken by_user_engine(struct fused_map *map, SessionThread *thread, struct fuse_in_header *header, void *argument, size_t size) {
        return map_user_engine.request(map, thread, header, argument, size);
}

static const Handler handlers[] = {
        [FUSE_READ] = on_data,
        [FUSE_WRITE] = on_data,
        [FUSE_SETATTR] = on_change,
        [FUSE_FALLOCATE] = on_change,
        [FUSE_FSYNC] = on_fsync,
        [FUSE_FSYNCDIR] = by_user_engine,
        [FUSE_FORGET] = by_user_engine,
        [FUSE_BATCH_FORGET] = by_user_engine,
};

SessionTaken kernel_request(struct fused_map *map, SessionThread *thread, struct fuse_in_header *header, void *argument, size_t size) {
        Handler handler = header->opcode < ELEMENTSOF(handlers) ? handlers[header->opcode] : NULL;

        if (!map->decided)
                return kernel_first_request(map, thread, header, argument, size);
        if (header->opcode >= IOMAP_CONFIG && header->opcode <= IOMAP_END) {
                answer(map, thread, header, argument, size);
                return SESSION_DONE;
        }
        return handler ? handler(map, thread, header, argument, size) : SESSION_PASS;
}
