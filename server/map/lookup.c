/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where a position of a file is: the cache, then the program, then the server. See fused-map.h. */

#define FUSE_USE_VERSION 312
#include "map/map.h"

#include <inttypes.h>

#define RETRIES_MAX 8 /* a server that answers "ask the cache" and fills none */

MapDevice *map_device(struct fused_map *map, uint32_t number) {
        return number >= 1 && number <= map->n_devices ? &map->devices[number - 1] : NULL;
}

uint32_t map_number(const struct fused_map *map, uint32_t cookie) {
        for (uint32_t i = 0; i < map->n_devices; i++)
                if (map->devices[i].cookie == cookie)
                        return i + 1;
        return cookie ? UINT32_MAX : 0;
}

unsigned map_sync_errors(const struct fused_map *map) {
        unsigned n = 0;

        for (uint32_t i = 0; i < map->n_devices; i++)
                n += atomic_load(&map->devices[i].n_errors);
        return n;
}

int map_complain(struct fused_map *map, const MapFile *file, const struct fused_mapping *mapping, const char *who, const char *rule) {
        map_count(&map->statistics->bad_mappings, 1);
        if (atomic_fetch_add(&map->n_complaints, 1) == 0)
                map_log(map, "bad mapping from the %s for node %" PRIu64 ": %s (offset %" PRIu64 ", length %" PRIu64 ", address %" PRIu64
                             ", type %u, device %u); further ones are counted only", who, file->nodeid, rule, mapping->offset,
                        mapping->length, mapping->addr, (unsigned) mapping->type, (unsigned) mapping->dev);
        return -EUCLEAN;
}

/* One half. pos: what the mapping has to contain; UINT64_MAX: nothing. */
static int check(struct fused_map *map, const MapFile *file, const struct fused_mapping *mapping, bool write, bool upsert, uint64_t pos,
                 const char *who) {
        const MapDevice *device;
        const char *rule;
        int r;

        r = fused_mapping_check(mapping, write, upsert, pos, map->config.block_size, map->config.max_bytes, &rule);
        if (r >= 0 && mapping->dev != 0) {
                device = map_device(map, mapping->dev);
                if (!device)
                        rule = "device that the mount does not have";
                else if (mapping->addr > device->size || mapping->length > device->size - mapping->addr)
                        rule = "address past the end of the device";
                else if (mapping->addr % device->sector != 0)
                        rule = "address within a sector of the device";
        }
        if (!rule && upsert && mapping->flags & FUSED_MAPPING_F_NEW) /* it would stay so, and read as zeroes for ever */
                rule = "new space given to the cache";
        return rule ? map_complain(map, file, mapping, who, rule) : r;
}

/* ---- the three steps ------------------------------------------------------------------------------------------------ */

static const struct fused_mapping overwrite = {.type = FUSED_MAPPING_PURE_OVERWRITE, .addr = FUSED_MAPPING_ADDR_NONE};

/* Whoever asks has the file's io lock, without which its caches may be given up. As in the kernel, a write does not believe the cache about a
 * hole: somebody has to allocate. Two sides that do not belong together are no
 * answer: where reads come from now is not where writes may have gone before. */
static bool ask_cache(MapFile *file, uint64_t pos, uint32_t opflags, struct fused_mapping *read, struct fused_mapping *write) {
        MappingCache *reads = atomic_load_explicit(&file->read_cache, memory_order_acquire);
        const uint32_t sides = atomic_load_explicit(&file->sides, memory_order_acquire);
        MappingCache *writes;
        bool changes = opflags & FUSED_MAPPING_OP_CHANGES;

        if (sides % 2 != 0 || opflags & (FUSED_MAPPING_OP_ATOMIC | FUSED_MAPPING_OP_SWAPFILE) || !reads || !mapping_cache_lookup(reads, pos, read))
                return false;
        *write = overwrite;
        write->offset = read->offset;
        write->length = read->length;
        writes = atomic_load_explicit(&file->write_cache, memory_order_acquire);
        if (changes && writes && !mapping_cache_lookup(writes, pos, write))
                return false;
        atomic_thread_fence(memory_order_acquire);
        if (atomic_load_explicit(&file->sides, memory_order_relaxed) != sides)
                return false;
        if (changes && !(opflags & (FUSED_MAPPING_OP_ZERO | FUSED_MAPPING_OP_UNSHARE))) {
                const struct fused_mapping *to = write->type == FUSED_MAPPING_PURE_OVERWRITE ? read : write;
                if (to->type == FUSED_MAPPING_HOLE || to->flags & FUSED_MAPPING_F_SHARED)
                        return false;
        }
        return read->type != FUSED_MAPPING_DELALLOC || !(opflags & (FUSED_MAPPING_OP_DIRECT | FUSED_MAPPING_OP_WRITEBACK));
}

static bool ask_program(struct fused_map *map, MapFile *file, const struct fused_map_request *request, struct fused_mapping *read,
                        struct fused_mapping *write) {
        struct fused_program_call call = {
                .nodeid = request->nodeid, .pos = request->pos, .count = request->count, .opflags = request->opflags};

        if (!map->program || map->program_attached || !atomic_load_explicit(&file->has_program, memory_order_acquire) ||
            !map_program_run(map->program, &call))
                return false;
        *read = call.read;
        *write = call.write;
        read->dev = map_number(map, read->dev); /* its tables have cookies */
        write->dev = map_number(map, write->dev);
        return true;
}

static int ask_server(struct fused_map *map, const struct fused_map_request *request, struct fused_mapping *read, struct fused_mapping *write) {
        *read = (struct fused_mapping){.addr = FUSED_MAPPING_ADDR_NONE};
        *write = overwrite;
        int r = map->operations.begin(map->userdata, request, read, write);
        if (r >= 0 && write->type == FUSED_MAPPING_PURE_OVERWRITE && write->length == 0) { /* left alone */
                write->offset = read->offset;
                write->length = read->length;
        }
        return r > 0 ? 0 : r;
}

static int check_both(struct fused_map *map, MapFile *file, uint64_t pos, const struct fused_mapping *read, const struct fused_mapping *write,
                      const char *who) {
        int r = check(map, file, read, /* write= */ false, /* upsert= */ false, pos, who);

        return r < 0 ? r : check(map, file, write, /* write= */ true, /* upsert= */ false, pos, who);
}

int map_ask(struct fused_map *map, MapFile *file, const struct fused_map_request *request, struct fused_mapping *ret_read,
            struct fused_mapping *ret_write) {
        int r;

        if (ask_program(map, file, request, ret_read, ret_write)) {
                map_count(&map->statistics->answered_by_program, 1);
                return check_both(map, file, request->pos, ret_read, ret_write, "program");
        }
        map_count(&map->statistics->answered_by_server, 1);
        r = ask_server(map, request, ret_read, ret_write);
        return r < 0 ? r : check_both(map, file, request->pos, ret_read, ret_write, "server");
}

/* Where the cache has holes and the server has just put something, they are to be forgotten; the kernel does so when the write has ended. */
static void forget_holes(MapFile *file, const struct fused_map_request *request, const struct fused_mapping *answer) {
        MappingCache *reads = atomic_load_explicit(&file->read_cache, memory_order_acquire);
        const uint64_t end = MIN_OF(answer->offset + answer->length, request->pos + request->count);
        struct fused_mapping known;
        uint64_t pos = request->pos;

        if (!(request->opflags & FUSED_MAPPING_OP_CHANGES) || !reads || answer->type == FUSED_MAPPING_HOLE ||
            answer->type == FUSED_MAPPING_RETRY_CACHE)
                return;
        for (; pos < end && mapping_cache_next(reads, pos, &known) && known.offset < end; pos = known.offset + known.length)
                if (known.type == FUSED_MAPPING_HOLE) {
                        (void) mapping_cache_invalidate(reads, answer->offset, answer->length);
                        return;
                }
}

int map_lookup(struct fused_map *map, MapFile *file, uint64_t pos, uint64_t count, uint32_t opflags,
               struct fused_mapping *ret_read, struct fused_mapping *ret_write) {
        const struct fused_map_request request = {
                .nodeid = file->nodeid, .ino = file->ino, .pos = pos, .count = count, .opflags = opflags};
        int r;

        for (unsigned i = 0; i < RETRIES_MAX; i++) {
                if (ask_cache(file, pos, opflags, ret_read, ret_write)) {
                        map_count(&map->statistics->answered_by_cache, 1);
                        return 0;
                }
                r = map_ask(map, file, &request, ret_read, ret_write);
                if (r >= 0)
                        forget_holes(file, &request, ret_read);
                if (r < 0 || ret_read->type != FUSED_MAPPING_RETRY_CACHE)
                        return r;
        }
        return -EINTR;
}

/* ---- what is learned ------------------------------------------------------------------------------------------------ */

static int get_cache(struct fused_map *map, _Atomic(MappingCache *) *place, MappingCache **ret) {
        MappingCache *cache = *place;
        int r = 0;

        if (!cache) {
                r = mapping_cache_new(map->pool, &cache);
                if (r >= 0)
                        atomic_store_explicit(place, cache, memory_order_release);
        }
        *ret = cache;
        return r;
}

static int upsert_side(struct fused_map *map, _Atomic(MappingCache *) *place, const struct fused_mapping *mapping) {
        MappingCache *cache;
        int r;

        if (!mapping || mapping->type == FUSED_MAPPING_NOCACHE)
                return 0;
        if (mapping->type == FUSED_MAPPING_PURE_OVERWRITE && !*place) /* which is what no write side means */
                return 0;
        r = get_cache(map, place, &cache);
        return r < 0 ? r : mapping_cache_upsert(cache, mapping);
}

static int upsert_sides(struct fused_map *map, MapFile *file, const struct fused_mapping *read, const struct fused_mapping *write) {
        MappingCache *reads = file->read_cache;
        int r;

        r = upsert_side(map, &file->write_cache, write);
        if (r >= 0)
                return upsert_side(map, &file->read_cache, read);
        if (read && reads)
                (void) mapping_cache_invalidate(reads, read->offset, read->length);
        return r;
}

int map_check_upsert(struct fused_map *map, const MapFile *file, const struct fused_mapping *read, const struct fused_mapping *write) {
        static const char whose[] = "server's upsert";
        int r = 0;

        if (read)
                r = check(map, file, read, /* write= */ false, /* upsert= */ true, UINT64_MAX, whose);
        if (r >= 0 && write)
                r = check(map, file, write, /* write= */ true, /* upsert= */ true, UINT64_MAX, whose);
        return r;
}

int map_upsert_cache(struct fused_map *map, MapFile *file, const struct fused_mapping *read, const struct fused_mapping *write) {
        const uint32_t both = read && write;
        int r;

        r = map_check_upsert(map, file, read, write);
        if (r < 0)
                return r;
        (void) pthread_mutex_lock(&file->cache_lock);
        (void) atomic_fetch_add_explicit(&file->sides, both, memory_order_relaxed);
        atomic_thread_fence(memory_order_release);
        r = upsert_sides(map, file, read, write);
        (void) atomic_fetch_add_explicit(&file->sides, both, memory_order_release);
        (void) pthread_mutex_unlock(&file->cache_lock);
        return r;
}

void map_show_cache(struct fused_map *map) {
        MappingPoolFacts facts;

        mapping_pool_facts(map->pool, &facts);
        map->statistics->cache_bytes = facts.bytes;
        map->statistics->cache_limit = facts.limit;
        map->statistics->cache_mappings = facts.n_mappings;
        map->statistics->cache_evicted = facts.n_evicted;
}

void map_raise(_Atomic uint64_t *size, uint64_t to) {
        uint64_t now = atomic_load(size);

        while (now < to && !atomic_compare_exchange_weak(size, &now, to))
                ;
}

/* The range is forgotten before the server is told, so that what it upserts then stays. */
int map_ioend(struct fused_map *map, MapFile *file, uint64_t pos, uint64_t written, uint32_t flags, int error,
              const struct fused_mapping *mapping) {
        const struct fused_map_ioend ioend = {
                .nodeid = file->nodeid,
                .ino = file->ino,
                .pos = pos,
                .written = written,
                .flags = flags,
                .error = error,
                .new_addr = mapping && mapping->dev ? mapping->addr + (pos - mapping->offset) : FUSED_MAPPING_ADDR_NONE,
                .dev = mapping ? mapping->dev : 0,
        };
        uint64_t size = file->disk_size;
        int r;

        if (!map->operations.ioend)
                return error;
        if (flags & (FUSED_IOEND_UNWRITTEN | FUSED_IOEND_SHARED) && map->engine->invalidate) {
                uint64_t first = pos / map->config.block_size * map->config.block_size;
                (void) map->engine->invalidate(map, file, first, ALIGN_TO(pos + written, (uint64_t) map->config.block_size) - first);
        }
        r = map->operations.ioend(map->userdata, &ioend, &size);
        if (r >= 0 && error == 0)
                map_raise(&file->disk_size, size);
        return error < 0 ? error : r;
}
