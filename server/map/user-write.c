/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The user engine: WRITE. Whole blocks go from the request's memory to the device; a part of a block is put into the block first, which
 * needs the file for itself, as does a write that begins past an end of file inside a block: what is there has to be zero. */

#define FUSE_USE_VERSION 312
#include "map/user.h"

#include <string.h>

#define BLOCK_MAX 65536U

typedef struct Write {
        struct fused_map *map;
        MapFile *file;
        uint32_t opflags;
        SegmentList list;
        struct { /* of what is in the list: what has to be told when it is on the device */
                struct fused_mapping mapping;
                uint64_t pos, length;
                uint32_t flags;
        } ends[SEGMENTS_MAX];
        size_t n_ends;
        uint64_t done;  /* up to here everything is on the device, and the server knows */
        uint8_t *block; /* one block, aligned; made when it is needed */
} Write;

static void write_done(Write *write) {
        free(write->block);
}

static uint32_t ioend_flags(const struct fused_mapping *to, bool elsewhere, uint32_t opflags) {
        return (to->type == FUSED_MAPPING_UNWRITTEN ? FUSED_IOEND_UNWRITTEN : 0) |
               (elsewhere || to->flags & FUSED_MAPPING_F_SHARED ? FUSED_IOEND_SHARED : 0) |
               (opflags & FUSED_MAPPING_OP_DIRECT ? FUSED_IOEND_DIRECT : 0) | (opflags & FUSED_MAPPING_OP_WRITEBACK ? FUSED_IOEND_WRITEBACK : 0);
}

/* Moves what is listed, then tells the server what came of it. The first failure counts. */
static int flush(Write *write) {
        struct fused_map *map = write->map;
        int moved = segments_move(&write->list), r = moved;

        for (size_t i = 0; i < write->n_ends; i++) {
                uint64_t pos = write->ends[i].pos, length = write->ends[i].length;
                uint32_t flags = write->ends[i].flags;
                if (pos + length > write->file->disk_size)
                        flags |= FUSED_IOEND_APPEND;
                if (moved < 0 || flags & (FUSED_IOEND_UNWRITTEN | FUSED_IOEND_SHARED | FUSED_IOEND_APPEND)) {
                        int q = map_ioend(map, write->file, pos, moved < 0 ? 0 : length, flags, moved, &write->ends[i].mapping);
                        r = r < 0 ? r : MIN_OF(q, 0);
                }
                if (map->operations.end && (moved < 0 || flags & FUSED_IOEND_APPEND || write->ends[i].mapping.flags & FUSED_MAPPING_F_WANT_END)) {
                        const struct fused_map_request request = {
                                .nodeid = write->file->nodeid, .ino = write->file->ino, .pos = pos, .count = length, .opflags = write->opflags};
                        int q = map->operations.end(map->userdata, &request, moved < 0 ? moved : (int64_t) length, &write->ends[i].mapping);
                        r = r < 0 ? r : MIN_OF(q, 0);
                }
                if (r >= 0)
                        write->done = pos + length;
        }
        write->n_ends = 0;
        return r;
}

/* data: bytes for [pos, pos + n), whole blocks. size: how much of it is the file's (the last block may end after the file). */
static int put(Write *write, const struct fused_mapping *to, bool elsewhere, uint64_t pos, uint64_t n, uint64_t size, uint8_t *data) {
        int r;

        if (write->n_ends == ELEMENTSOF(write->ends) || write->list.n == SEGMENTS_MAX) {
                r = flush(write);
                if (r < 0)
                        return r;
        }
        r = segments_add(&write->list, map_device(write->map, to->dev), to->addr + (pos - to->offset), data, n);
        if (r < 0)
                return r;
        write->ends[write->n_ends].mapping = *to;
        write->ends[write->n_ends].pos = pos;
        write->ends[write->n_ends].length = size;
        write->ends[write->n_ends++].flags = ioend_flags(to, elsewhere, write->opflags);
        return 0;
}

/* 1: the server has it inline. */
static int target(Write *write, uint64_t pos, uint64_t count, struct fused_mapping *read, struct fused_mapping *ret, bool *ret_elsewhere) {
        struct fused_mapping out;
        int r;

        r = map_lookup(write->map, write->file, pos, count, write->opflags, read, &out);
        if (r < 0)
                return r;
        *ret_elsewhere = out.type != FUSED_MAPPING_PURE_OVERWRITE;
        *ret = *ret_elsewhere ? out : *read;
        if (ret->type == FUSED_MAPPING_INLINE)
                return 1;
        if (ret->type == FUSED_MAPPING_HOLE) /* nobody has allocated */
                return map_complain(write->map, write->file, ret, "answer", "a hole for a write");
        if (ret->type == FUSED_MAPPING_DELALLOC)
                return map_complain(write->map, write->file, ret, "answer", "no place for a write to the device");
        return 0;
}

/* A part of a block: the rest is what was there, or zeroes where nothing was or the file has ended. */
static int put_part(Write *write, uint64_t pos, uint64_t n, const uint8_t *data) {
        const uint32_t block_size = write->map->config.block_size;
        const uint64_t start = pos / block_size * block_size, size = atomic_load(&write->file->size);
        struct fused_mapping read, to;
        uint64_t valid;
        bool elsewhere;
        int r;

        r = flush(write); /* the block's memory may still be lent */
        if (r < 0)
                return r;
        if (!write->block && posix_memalign((void **) &write->block, 4096, BLOCK_MAX) != 0)
                return -ENOMEM;
        r = target(write, start, block_size, &read, &to, &elsewhere);
        if (r != 0)
                return r;
        memset(write->block, 0, block_size);
        if (read.type == FUSED_MAPPING_MAPPED && !(read.flags & FUSED_MAPPING_F_NEW) && start < size) {
                r = device_move(map_device(write->map, read.dev), /* write= */ false, read.addr + (start - read.offset), write->block, block_size);
                if (r < 0)
                        return r;
                if (size - start < block_size)
                        memset(write->block + (size - start), 0, block_size - (size - start));
        }
        memcpy(write->block + (pos - start), data, n);
        valid = size > start ? MIN_OF(size - start, (uint64_t) block_size) : 0;
        if (!(write->opflags & FUSED_MAPPING_OP_ZERO)) /* zeroing makes no file longer */
                valid = MAX_OF(valid, pos + n - start);
        r = put(write, &to, elsewhere, start, block_size, valid, write->block);
        return r < 0 ? r : flush(write);
}

static int put_whole(Write *write, uint64_t pos, uint64_t n, uint8_t *data) {
        struct fused_mapping read, to;
        bool elsewhere;
        int r;

        for (uint64_t done = 0, part; done < n; done += part) {
                r = target(write, pos + done, n - done, &read, &to, &elsewhere);
                if (r != 0)
                        return r;
                part = MIN_OF(n - done, to.length - (pos + done - to.offset));
                r = put(write, &to, elsewhere, pos + done, part, part, data + done);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int write_range(Write *write, uint64_t pos, uint64_t size, uint8_t *data) {
        const uint64_t block_size = write->map->config.block_size;
        uint64_t lead = MIN_OF((block_size - pos % block_size) % block_size, size), whole = (size - lead) / block_size * block_size;
        int r = 0, q;

        if (lead > 0)
                r = put_part(write, pos, lead, data);
        if (r == 0 && whole > 0)
                r = put_whole(write, pos + lead, whole, data + lead);
        if (r == 0 && lead + whole < size)
                r = put_part(write, pos + lead + whole, size - lead - whole, data + lead + whole);
        q = flush(write); /* after a failure as well: what is listed is the server's to hear about */
        return r < 0 ? r : q < 0 ? q : r;
}

int user_write_range(struct fused_map *map, MapFile *file, uint64_t pos, uint64_t size, uint8_t *data, uint32_t opflags, uint64_t *ret_written) {
        _cleanup_(write_done) Write write;
        int r;

        write.map = map;
        write.file = file;
        write.opflags = opflags;
        write.list.n = write.n_ends = 0;
        write.list.write = true;
        write.done = pos;
        write.block = NULL;
        r = write_range(&write, pos, size, data);
        if (ret_written)
                *ret_written = r == 0 ? size : MIN_OF(write.done, pos + size) - pos; /* a last block may end after it */
        return r;
}

/* Returns with the lock held that this write needs. */
static void lock_for_write(MapFile *file, uint64_t pos, uint64_t size, uint64_t block_size) {
        bool whole = pos % block_size == 0 && size % block_size == 0;

        if (whole) {
                (void) pthread_rwlock_rdlock(&file->io);
                uint64_t end = atomic_load(&file->size);
                if (end % block_size == 0 || pos < end)
                        return;
                (void) pthread_rwlock_unlock(&file->io);
        }
        (void) pthread_rwlock_wrlock(&file->io);
}

void user_write(struct fused_map *map, SessionThread *thread, const struct fuse_in_header *header, const struct fuse_write_in *in, uint8_t *data) {
        _cleanup_file_ MapFile *file = map_file_get(map->files, header->nodeid);
        const uint64_t block_size = map->config.block_size;
        bool cached = in->write_flags & FUSE_WRITE_CACHE;
        uint64_t end, written = 0;
        int r = 0;

        if (!file)
                return session_pass(thread);
        if (map->config.read_only || in->offset + in->size < in->offset || in->offset + in->size > map->config.max_bytes)
                r = map->config.read_only ? -EROFS : -EFBIG;
        if (r >= 0)
                r = user_write_kill(map, thread, header, file, in);
        if (r >= 0) {
                lock_for_write(file, in->offset, in->size, block_size);
                end = atomic_load(&file->size);
                if (in->offset > end && end % block_size != 0)
                        r = user_zero(map, file, end, MIN_OF(in->offset, ALIGN_TO(end, block_size)));
                if (r >= 0)
                        r = user_write_range(map, file, in->offset, in->size, data,
                                             FUSED_MAPPING_OP_WRITE | (cached ? FUSED_MAPPING_OP_WRITEBACK : FUSED_MAPPING_OP_DIRECT), &written);
                if (r < 0 && written > 0 && !cached) /* a short write; but for writeback the kernel does not look at the count */
                        r = 0;
                if (r == 0)
                        map_raise(&file->size, in->offset + written);
                (void) pthread_rwlock_unlock(&file->io);
        }
        if (r > 0)
                return session_pass(thread);
        if (r >= 0 && !cached)
                user_modified(map, file);
        const struct fuse_write_out out = {.size = (uint32_t) written};
        const struct iovec vector = {(void *) &out, sizeof out};
        (void) session_reply(thread, header->unique, MIN_OF(r, 0), &vector, r < 0 ? 0 : 1);
        if (r >= 0)
                map_count(&map->statistics->bytes_written, written);
}
