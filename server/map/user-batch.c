/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The user engine: several small READs and WRITEs at the same time.
 *
 * A thread that finds more than one of them waiting keeps them, hands all to the devices in one call, and answers each when all are done: one
 * process switch for many. Kept are those that move whole sectors, past the page cache, within one mapping, after which the server need
 * not be told anything. The file's lock is held for each, shared, until it is answered; it is never waited for while others are held. */

#define FUSE_USE_VERSION 312
#include "map/user.h"

#include <fcntl.h>
#include <string.h>

#define BATCH_DATA_MAX (SESSION_BUFFER_SIZE / SESSION_KEPT_MAX) /* of one request */

typedef struct Kept {
        uint64_t unique;
        MapFile *file; /* owned reference, and its lock */
        uint32_t size; /* to be answered */
        uint32_t lead; /* bytes before what was asked for */
        bool tell;     /* WRITE: the server sets the file's times */
} Kept;

typedef struct Batch { /* a thread's, for its life */
        size_t n;
        Kept kept[SESSION_KEPT_MAX];
        Segment segments[SESSION_KEPT_MAX];
        bool writes[SESSION_KEPT_MAX];
        uint8_t *memory; /* the thread's buffer: BATCH_DATA_MAX for each; nothing else is read into it while any are kept */
} Batch;

static Batch *batch_of(SessionThread *thread) {
        void **slot = session_slot(thread);
        Batch *batch = *slot;

        if (batch)
                return batch;
        return *slot = calloc(1, sizeof *batch);
}

void batch_free(void *slot) {
        free(slot);
}

/* The one place on a device that [start, end) is at, or false. */
static bool find_place(struct fused_map *map, MapFile *file, uint64_t start, uint64_t end, uint32_t opflags, Segment *ret) {
        struct fused_mapping read, write;
        MapDevice *device;

        if (map_lookup(map, file, start, end - start, opflags, &read, &write) < 0 || read.type != FUSED_MAPPING_MAPPED ||
            write.type != FUSED_MAPPING_PURE_OVERWRITE || read.flags & (opflags ? UINT16_MAX : FUSED_MAPPING_F_NEW) ||
            read.offset + read.length < end)
                return false;
        device = map_device(map, read.dev);
        *ret = (Segment){.device = device, .addr = read.addr + (start - read.offset), .length = end - start};
        return device_is_direct(device, opflags & FUSED_MAPPING_OP_WRITE, ret->length);
}

static bool keep_read(struct fused_map *map, MapFile *file, const struct fuse_read_in *in, Kept *kept, Segment *segment) {
        const uint64_t align = map->config.block_size < 4096 ? 512 : 4096, size = atomic_load(&file->size), start = in->offset / align * align;

        if (in->offset >= size || (in->flags & O_DIRECT && in->offset + in->size > size)) /* user_read() knows what to do */
                return false;
        kept->size = (uint32_t) MIN_OF((uint64_t) in->size, size - in->offset);
        kept->lead = (uint32_t) (in->offset - start);
        return find_place(map, file, start, ALIGN_TO(in->offset + kept->size, align), 0, segment);
}

static bool keep_write(struct fused_map *map, MapFile *file, const struct fuse_write_in *in, size_t size, Kept *kept, Segment *segment,
                       uint8_t *data) {
        const uint64_t block_size = map->config.block_size, end = in->offset + in->size;
        bool cached = in->write_flags & FUSE_WRITE_CACHE;

        if (user_write_kills(map, file, in))
                return false;
        if (size - sizeof *in < in->size || in->offset % block_size || in->size % block_size || map->config.read_only || end > file->disk_size ||
            end > file->size)
                return false;
        if (!find_place(map, file, in->offset, end, FUSED_MAPPING_OP_WRITE | (cached ? FUSED_MAPPING_OP_WRITEBACK : FUSED_MAPPING_OP_DIRECT),
                        segment))
                return false;
        kept->size = in->size;
        kept->tell = !cached;
        memcpy(data, in + 1, in->size);
        return true;
}

bool batch_keep(struct fused_map *map, SessionThread *thread, const struct fuse_in_header *header, const void *argument, size_t size) {
        const struct fuse_read_in *read = argument;
        const struct fuse_write_in *write = argument;
        const bool is_read = header->opcode == FUSE_READ && size >= sizeof *read && read->size > 0;
        const bool is_write = header->opcode == FUSE_WRITE && size >= sizeof *write && write->size > 0;
        Batch *batch;
        bool fine;

        if ((!is_read && !is_write) || (is_read ? read->size : write->size) > BATCH_DATA_MAX - 8192)
                return false;
        batch = batch_of(thread);
        if (!batch || batch->n == SESSION_KEPT_MAX)
                return false;
        if (batch->n == 0)
                batch->memory = session_buffer(thread);
        MapFile *file = map_file_get(map->files, header->nodeid);
        if (!file)
                return false;
        if (pthread_rwlock_tryrdlock(&file->io) != 0) {
                map_file_unref(file);
                return false;
        }
        Kept *kept = &batch->kept[batch->n];
        Segment *segment = &batch->segments[batch->n];
        uint8_t *data = batch->memory + batch->n * BATCH_DATA_MAX;
        *kept = (Kept){.unique = header->unique, .file = file};
        fine = is_read ? keep_read(map, file, read, kept, segment) : keep_write(map, file, write, size, kept, segment, data);
        if (!fine) {
                (void) pthread_rwlock_unlock(&file->io);
                map_file_unref(file);
                return false;
        }
        segment->data = data;
        batch->writes[batch->n++] = is_write;
        return true;
}

typedef struct Answering {
        struct fused_map *map;
        SessionThread *thread;
        Batch *batch;
} Answering;

static void answer(void *userdata, size_t i, int r) {
        const Answering *a = userdata;
        const Kept *kept = &a->batch->kept[i];
        const bool write = a->batch->writes[i];
        const struct fuse_write_out written = {.size = kept->size};
        const struct iovec vector = write ? (struct iovec){(void *) (uintptr_t) &written, sizeof written}
                                          : (struct iovec){a->batch->segments[i].data + kept->lead, kept->size};

        (void) pthread_rwlock_unlock(&kept->file->io);
        if (write)
                device_written(a->batch->segments[i].device);
        if (r >= 0 && kept->tell)
                user_modified(a->map, kept->file);
        (void) session_reply(a->thread, kept->unique, r, &vector, r < 0 ? 0 : 1);
        if (r >= 0)
                map_count(write ? &a->map->statistics->bytes_written : &a->map->statistics->bytes_read, kept->size);
        map_file_unref(kept->file);
}

void batch_flush(struct fused_map *map, SessionThread *thread) {
        Answering answering = {.map = map, .thread = thread, .batch = *session_slot(thread)};

        if (!answering.batch || answering.batch->n == 0)
                return;
        segments_move_each(answering.batch->segments, answering.batch->writes, answering.batch->n, answer, &answering);
        answering.batch->n = 0;
}
