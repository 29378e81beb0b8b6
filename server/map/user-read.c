/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The user engine: READ. */

#define FUSE_USE_VERSION 312
#include "map/user.h"

#include <fcntl.h>
#include <string.h>

int user_read_range(struct fused_map *map, MapFile *file, uint64_t pos, uint64_t size, uint8_t *data, uint32_t opflags) {
        SegmentList list;
        struct fused_mapping read, write;
        int r;

        list.n = 0;
        list.write = false;
        for (uint64_t done = 0, n; done < size; done += n) {
                r = map_lookup(map, file, pos + done, size - done, opflags, &read, &write);
                if (r < 0)
                        return r;
                uint64_t skip = pos + done - read.offset;
                n = MIN_OF(size - done, read.length - skip);
                if (read.type == FUSED_MAPPING_INLINE)
                        return 1;
                if (read.type == FUSED_MAPPING_MAPPED && !(read.flags & FUSED_MAPPING_F_NEW)) { /* new: the device holds what is nobody's */
                        r = segments_add(&list, map_device(map, read.dev), read.addr + skip, data + done, n);
                        if (r < 0)
                                return r;
                } else
                        memset(data + done, 0, n);
        }
        return segments_move(&list);
}

/* Reads from a multiple of the sector to one: direct I/O can do no less. */
static void read_now(struct fused_map *map, SessionThread *thread, SessionThread *origin, const struct fuse_in_header *header,
                     size_t argument_size) {
        const struct fuse_read_in *in = (const void *) (header + 1);
        _cleanup_file_ MapFile *file = map_file_get(map->files, header->nodeid);
        const uint64_t align = map->config.block_size < 4096 ? 512 : 4096;
        uint8_t *buffer = session_buffer(thread);
        uint64_t size, start, end, lead;
        int r = 0;

        if (!file)
                return session_pass_request(origin, header, argument_size);
        (void) pthread_rwlock_rdlock(&file->io);
        size = atomic_load(&file->size);
        size = in->offset >= size ? 0 : MIN_OF((uint64_t) in->size, size - in->offset);
        size = MIN_OF(size, (uint64_t) SESSION_DATA_MAX);
        start = in->offset / align * align;
        lead = in->offset - start;
        end = ALIGN_TO(in->offset + size, align);
        if (size > 0)
                r = user_read_range(map, file, start, end - start, buffer, 0);
        (void) pthread_rwlock_unlock(&file->io);
        if (r == 1)
                return session_pass_request(origin, header, argument_size);
        const struct iovec vector = {buffer + lead, size};
        (void) session_reply(origin, header->unique, r, &vector, r < 0 ? 0 : 1);
        if (r >= 0)
                map_count(&map->statistics->bytes_read, size);
}

void user_read(struct fused_map *map, SessionThread *thread, const struct fuse_in_header *header, const struct fuse_read_in *in) {
        _cleanup_file_ MapFile *file = map_file_get(map->files, header->nodeid);
        /* A direct read that gets less than it wants goes on through the kernel's cache, with the same flags. What fills that has its pages
         * locked until it is answered, so that flushing first would wait for itself. The kernel names the owner of locks for what is direct, only. */
        const bool direct = in->flags & O_DIRECT && in->read_flags & FUSE_READ_LOCKOWNER;

        /* Past the end as it is known here may be a hole before what the kernel has cached, and flushed for this range only. */
        if (file && map->writes_back && direct && in->offset + in->size > atomic_load(&file->size))
                user_after_flush(map, thread, header, sizeof *in, read_now);
        else
                read_now(map, thread, thread, header, sizeof *in);
}
