/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The user engine: which requests are ours, and those that are neither READ nor WRITE. */

#define FUSE_USE_VERSION 312
#include "map/user.h"

#include <linux/falloc.h>
#include <string.h>
#include <unistd.h>

/* ---- FUSE_INIT ------------------------------------------------------------------------------------------------------ */

static int start(struct fused_map *map) {
        for (uint32_t i = 0; i < map->n_devices; i++)
                map->devices[i].cookie = i + 1;
        return map->operations.start ? map->operations.start(map->userdata) : 0;
}

void user_answer_init(struct fused_map *map, const struct fuse_init_in *in, uint64_t offered, struct fuse_init_out *out) {
        uint64_t wanted = FUSE_BIG_WRITES | FUSE_MAX_PAGES | FUSE_ASYNC_READ | FUSE_ASYNC_DIO | FUSE_PARALLEL_DIROPS | FUSE_INIT_EXT |
                          ABI_DIRECT_IO_ALLOW_MMAP;
        /* Truncation by open comes as SETATTR, and nobody else changes a file's data. */
        uint64_t unwanted = FUSE_ATOMIC_O_TRUNC | FUSE_HANDLE_KILLPRIV | FUSE_HANDLE_KILLPRIV_V2 | FUSE_AUTO_INVAL_DATA | FUSE_WRITEBACK_CACHE;
        uint64_t flags;

        if (map->operations.kill_privileges) {
                wanted |= FUSE_HANDLE_KILLPRIV_V2;
                unwanted &= ~(uint64_t) FUSE_HANDLE_KILLPRIV_V2;
        }
        /* Without a second thread it could not be made to write back, and a direct read would find an end where there is none. */
        if (!map->config.no_writeback && !map->config.read_only && user_may_flush(map)) {
                wanted |= FUSE_WRITEBACK_CACHE;
                unwanted &= ~(uint64_t) FUSE_WRITEBACK_CACHE;
        }
        flags = (abi_init_flags(out->flags, out->flags2) & ~unwanted) | (wanted & offered);
        map->writes_back = flags & FUSE_WRITEBACK_CACHE;
        out->flags = (uint32_t) flags;
        out->flags2 = (uint32_t) (flags >> 32);
        out->max_pages = SESSION_DATA_MAX / 4096;
        out->max_write = SESSION_DATA_MAX;
        out->max_readahead = in->max_readahead;
        out->max_background = USER_BACKGROUND;
        out->congestion_threshold = USER_BACKGROUND * 3 / 4;
        user_flush_init(map);
}

static void on_init(struct fused_map *map, const struct fuse_init_in *in, uint64_t offered, struct fuse_init_out *out) {
        user_answer_init(map, in, offered, out);
        map->start_error = start(map); /* before the answer: a mount that is there is ready, with its program */
        map->has_started = true;
}

/* The kernel engine gives up after FUSE_INIT. */
static int on_started(struct fused_map *map) {
        return map->has_started ? map->start_error : start(map);
}

/* One that is opened with O_DIRECT goes past the kernel's cache by itself, and the kernel splits what is read into requests that are answered at the
 * same time. FOPEN_DIRECT_IO lets threads write to different parts of a file at the same time, too. But with the write-back cache, times of change
 * are the kernel's, whatever the server says, and on that way it does not set them. */
static void on_open(struct fused_map *map, const struct fuse_file_info *fi, struct fuse_open_out *out) {
        const bool parallel = fi->flags & O_DIRECT && (fi->flags & O_ACCMODE) != O_RDONLY && !map->writes_back;

        if (fi->direct_io || parallel)
                out->open_flags |= FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES;
        else
                out->open_flags |= FOPEN_KEEP_CACHE;
}

static bool reply(SessionThread *thread, const struct fuse_in_header *header, int error) {
        (void) session_reply(thread, header->unique, error, NULL, 0);
        return true;
}

/* ---- size and space ------------------------------------------------------------------------------------------------- */

static int set_size(struct fused_map *map, MapFile *file, uint64_t size) {
        uint64_t block_size = map->config.block_size, first = ALIGN_TO(size, block_size);

        file->size = file->disk_size = size;
        return first < size ? 0 : map->engine->invalidate(map, file, first, UINT64_MAX);
}

/* The server changes its records first; what the file's last block holds past the end is zeroed before that is answered: then nobody can look
 * before, and the kernel lets nobody unlink the file, after which its blocks may be anybody's. */
static bool on_setattr(struct fused_map *map, SessionThread *thread, const struct fuse_in_header *header, const void *argument, size_t size) {
        const struct fuse_setattr_in *in = argument;
        const uint64_t block_size = map->config.block_size;
        MapHeldAttr answer = {0};
        uint64_t before, after, end;
        int r;

        if (size < sizeof *in)
                return false;
        if (in->valid & (FATTR_UID | FATTR_GID | FATTR_KILL_SUIDGID)) {
                r = user_kill_privileges(map, thread, header, FUSED_KILL_SET_ID); /* the answer to SETATTR tells the mode that is left */
                if (r < 0)
                        return reply(thread, header, r);
        }
        _cleanup_file_ MapFile *file = map_file_get(map->files, header->nodeid);
        if (!file)
                return false;
        file->modified = 0; /* times may be set to anything */
        if (!(in->valid & FATTR_SIZE))
                return false;
        (void) pthread_rwlock_wrlock(&file->io);
        before = file->size;
        map_held_attr = &answer;
        session_pass(thread);
        map_held_attr = NULL;
        after = file->size;
        end = MIN_OF(before, after);
        r = before != after && end % block_size != 0 ? user_zero(map, file, end, ALIGN_TO(end, block_size)) : 0;
        if (r < 0)
                map_log(map, "the end of node %llu could not be zeroed", (unsigned long long) file->nodeid);
        if (answer.req)
                (void) map_send_attr(&answer);
        (void) pthread_rwlock_unlock(&file->io);
        return true;
}

/* What a block holds that is going to read as zeroes, at the edges of what is punched or behind the end of a file that becomes longer. */
static int zero_edges(struct fused_map *map, MapFile *file, const struct fuse_fallocate_in *in) {
        const uint64_t block_size = map->config.block_size, size = atomic_load(&file->size), end = in->offset + in->length;
        const uint64_t last = MIN_OF(end, size), first = ALIGN_TO(in->offset, block_size);
        int r = 0;

        if (in->mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE) && in->offset < last) {
                r = user_zero(map, file, in->offset, MIN_OF(first, last));
                if (r >= 0 && last > first)
                        r = user_zero(map, file, MAX_OF(first, last / block_size * block_size), last);
        }
        if (r >= 0 && !(in->mode & FALLOC_FL_KEEP_SIZE) && end > size)
                r = user_zero(map, file, size, ALIGN_TO(size, block_size));
        return r;
}

/* The server frees whole blocks; parts of blocks are zeroed here. */
static bool on_fallocate(struct fused_map *map, SessionThread *thread, const struct fuse_in_header *header, const void *argument, size_t size) {
        const struct fuse_fallocate_in *in = argument;
        _cleanup_file_ MapFile *file = map_file_get(map->files, header->nodeid);
        int r = 0;

        if (!file || size < sizeof *in || in->offset + in->length < in->offset || !map->has_fallocate)
                return false; /* what will be refused changes nothing */
        (void) pthread_rwlock_wrlock(&file->io);
        if (map->operations.fallocate_check)
                r = map->operations.fallocate_check(map->userdata, header->nodeid, (int) in->mode, in->offset, in->length);
        if (r >= 0 && header->uid != 0) /* the request has no flag for it; the kernel spares who has CAP_FSETID */
                r = user_kill_privileges(map, thread, header, FUSED_KILL_SET_ID);
        if (r >= 0 && !map->config.read_only)
                r = zero_edges(map, file, in);
        if (r >= 0)
                session_pass(thread);
        else
                (void) reply(thread, header, r);
        (void) pthread_rwlock_unlock(&file->io);
        return true;
}

/* Through the page cache of a device, a write fails when it has long been answered. That comes out when the device is synced next, for whichever
 * file: it may have been any file's that there was then, so each says so, once. */
static int error_since(struct fused_map *map, uint64_t nodeid) {
        _cleanup_file_ MapFile *file = map_file_get(map->files, nodeid);
        const unsigned n_errors = map_sync_errors(map);

        return file && atomic_exchange(&file->errors_seen, n_errors) != n_errors ? -EIO : 0;
}

/* A server that has no operation for it is not asked: libfuse would say so, and the kernel never ask again. What such a server writes itself is
 * seen to as well. */
static bool on_fsync(struct fused_map *map, SessionThread *thread, const struct fuse_in_header *header, const void *argument, size_t size) {
        int r, earlier;

        r = devices_sync(map, /* all= */ !map->has_fsync);
        earlier = error_since(map, header->nodeid);
        r = r < 0 ? r : earlier;
        if (r >= 0 && map->has_fsync)
                return false; /* it goes on with its metadata */
        return reply(thread, header, r);
}

/* The server's alone, if it has this. */
static bool on_fsyncdir(struct fused_map *map, SessionThread *thread, const struct fuse_in_header *header, const void *argument, size_t size) {
        return !map->has_fsyncdir && reply(thread, header, devices_sync(map, /* all= */ true));
}

/* ---- LSEEK ---------------------------------------------------------------------------------------------------------- */

static int seek(struct fused_map *map, MapFile *file, uint64_t pos, bool for_data, uint64_t *ret) {
        struct fused_mapping read, write;
        int r;

        if (pos >= file->size)
                return -ENXIO;
        while (pos < file->size) {
                r = map_lookup(map, file, pos, file->size - pos, FUSED_MAPPING_OP_REPORT, &read, &write);
                if (r < 0)
                        return r;
                if ((read.type != FUSED_MAPPING_HOLE && read.type != FUSED_MAPPING_UNWRITTEN) == for_data) {
                        *ret = pos;
                        return 0;
                }
                pos = read.offset + read.length;
        }
        *ret = file->size; /* there is a hole at the end of every file */
        return for_data ? -ENXIO : 0;
}

static void lseek_now(struct fused_map *map, SessionThread *thread, SessionThread *origin, const struct fuse_in_header *header, size_t size) {
        const struct fuse_lseek_in *in = (const void *) (header + 1);
        _cleanup_file_ MapFile *file = map_file_get(map->files, header->nodeid);
        struct fuse_lseek_out out = {0};
        int r = -ESTALE;

        if (file) {
                (void) pthread_rwlock_rdlock(&file->io);
                r = seek(map, file, in->offset, in->whence == SEEK_DATA, &out.offset);
                (void) pthread_rwlock_unlock(&file->io);
        }
        const struct iovec vector = {&out, sizeof out};
        (void) session_reply(origin, header->unique, r, &vector, r < 0 ? 0 : 1);
}

/* The kernel asks without having written back what it caches. Where it cannot be made to, it is told that there is no such request: it then
 * calls everything data, by the size that only it knows. */
static bool on_lseek(struct fused_map *map, SessionThread *thread, const struct fuse_in_header *header, const void *argument, size_t size) {
        const struct fuse_lseek_in *in = argument;

        if (size < sizeof *in || (in->whence != SEEK_DATA && in->whence != SEEK_HOLE))
                return false;
        _cleanup_file_ MapFile *file = map_file_get(map->files, header->nodeid);
        if (!file)
                return false;
        if (map->config.read_only) /* else it caches what was written by mmap(2), whatever was agreed on */
                lseek_now(map, thread, thread, header, size);
        else if (user_may_flush(map))
                user_after_flush(map, thread, header, sizeof *in, lseek_now);
        else
                return reply(thread, header, -ENOSYS);
        return true;
}

/* ---- the rest ------------------------------------------------------------------------------------------------------- */

static bool on_forget(struct fused_map *map, SessionThread *thread, const struct fuse_in_header *header, const void *argument, size_t size) {
        const struct fuse_batch_forget_in *batch = argument;
        const struct fuse_forget_one *one = (const void *) (batch + 1);

        if (header->opcode == FUSE_FORGET)
                map_file_forget(map->files, header->nodeid, ((const struct fuse_forget_in *) argument)->nlookup);
        else
                for (uint32_t i = 0; i < batch->count && sizeof *batch + (i + 1) * sizeof *one <= size; i++)
                        map_file_forget(map->files, one[i].nodeid, one[i].nlookup);
        return false;
}

static bool on_read(struct fused_map *map, SessionThread *thread, const struct fuse_in_header *header, const void *argument, size_t size) {
        if (size < sizeof(struct fuse_read_in))
                return false;
        user_read(map, thread, header, argument);
        return true;
}

static bool on_write(struct fused_map *map, SessionThread *thread, const struct fuse_in_header *header, const void *argument, size_t size) {
        const struct fuse_write_in *in = argument;

        if (size < sizeof *in || size - sizeof *in < in->size)
                return false;
        user_write(map, thread, header, in, (uint8_t *) (uintptr_t) (in + 1));
        return true;
}

static bool on_setxattr(struct fused_map *map, SessionThread *thread, const struct fuse_in_header *header, const void *argument, size_t size) {
        _cleanup_file_ MapFile *file = map_file_get(map->files, header->nodeid);

        session_pass(thread);
        if (file)
                file->no_capability = false;
        return true;
}

typedef bool (*Handler)(struct fused_map *map, SessionThread *thread, const struct fuse_in_header *header, const void *argument, size_t size);

static const Handler handlers[] = {
        [FUSE_READ] = on_read,
        [FUSE_WRITE] = on_write,
        [FUSE_SETATTR] = on_setattr,
        [FUSE_SETXATTR] = on_setxattr,
        [FUSE_FALLOCATE] = on_fallocate,
        [FUSE_LSEEK] = on_lseek,
        [FUSE_FSYNC] = on_fsync,
        [FUSE_FSYNCDIR] = on_fsyncdir,
        [FUSE_FORGET] = on_forget,
        [FUSE_BATCH_FORGET] = on_forget,
};

/* What is kept holds its file's lock, so nothing that may wait for it comes before it is done. */
static SessionTaken on_request(struct fused_map *map, SessionThread *thread, struct fuse_in_header *header, void *argument, size_t size) {
        Handler handler = header->opcode < ELEMENTSOF(handlers) ? handlers[header->opcode] : NULL;

        if (batch_keep(map, thread, header, argument, size))
                return SESSION_KEPT;
        batch_flush(map, thread);
        return handler && handler(map, thread, header, argument, size) ? SESSION_DONE : SESSION_PASS;
}

static int invalidate(struct fused_map *map, MapFile *file, uint64_t offset, uint64_t length) {
        int r = 0;

        (void) pthread_mutex_lock(&file->cache_lock);
        MappingCache *caches[] = {file->read_cache, file->write_cache};
        for (size_t i = 0; i < ELEMENTSOF(caches); i++)
                if (caches[i]) {
                        int q = mapping_cache_invalidate(caches[i], offset, length);
                        r = r < 0 ? r : q;
                }
        (void) pthread_mutex_unlock(&file->cache_lock);
        return r;
}

/* The device's page cache is coherent with direct I/O, which drops what it passes. */
static int device_invalidate(struct fused_map *map, MapDevice *device, uint64_t addr, uint64_t length) {
        return 0;
}

const MapEngine map_user_engine = {
        .name = "user",
        .number = CHANNEL_ENGINE_USER,
        .init = on_init,
        .started = on_started,
        .request = on_request,
        .flush = batch_flush,
        .open = on_open,
        .upsert = map_upsert_cache,
        .invalidate = invalidate,
        .set_size = set_size,
        .device_invalidate = device_invalidate,
};
