/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The mapped files that the kernel knows, by node id: tables with a lock each, so that one is made larger while the others are used. */

#define FUSE_USE_VERSION 312
#include "map/map.h"

#define N_SHARDS 64U
#define STEP 32U /* buckets that the hand passes at once */

typedef struct Shard {
        _Alignas(64) pthread_rwlock_t lock;
        HashTable files; /* their links; a reference of each */
} Shard;

struct MapFiles {
        Shard shards[N_SHARDS];
        pthread_mutex_t hand_lock; /* of the hand of a clock, for caches that are given up */
        size_t hand_shard, hand_bucket;
        size_t idle_shard, idle_bucket; /* where map_files_idle() goes on */
};

/* By other bits than those that say where in its table a file is. */
static Shard *shard_of(MapFiles *files, uint64_t nodeid) {
        return &files->shards[(nodeid ^ nodeid >> 29) * UINT64_C(0xbf58476d1ce4e5b9) >> 58];
}

static MapFile *find(const Shard *shard, uint64_t nodeid) {
        return (MapFile *) hash_find(&shard->files, nodeid);
}

int map_files_new(MapFiles **ret) {
        MapFiles *files = aligned_alloc(_Alignof(MapFiles), sizeof *files);

        if (!files)
                return -ENOMEM;
        files->hand_shard = files->hand_bucket = files->idle_shard = files->idle_bucket = 0;
        (void) pthread_mutex_init(&files->hand_lock, NULL);
        for (size_t i = 0; i < N_SHARDS; i++) {
                files->shards[i].files = (HashTable){0};
                (void) pthread_rwlock_init(&files->shards[i].lock, NULL);
        }
        *ret = files;
        return 0;
}

MapFiles *map_files_free(MapFiles *files) {
        if (!files)
                return NULL;
        for (size_t i = 0; i < N_SHARDS; i++) {
                Shard *shard = &files->shards[i];
                size_t cursor = 0;
                for (HashLink *link; (link = hash_any(&shard->files, &cursor));) {
                        hash_remove(&shard->files, link);
                        map_file_unref((MapFile *) link);
                }
                (void) pthread_rwlock_destroy(&shard->lock);
        }
        (void) pthread_mutex_destroy(&files->hand_lock);
        free(files);
        return NULL;
}

MapFile *map_file_unref(MapFile *file) {
        if (!file || atomic_fetch_sub(&file->n_ref, 1) != 1)
                return NULL;
        mapping_cache_free(file->read_cache);
        mapping_cache_free(file->write_cache);
        (void) pthread_mutex_destroy(&file->cache_lock);
        (void) pthread_rwlock_destroy(&file->io);
        free(file);
        return NULL;
}

static MapFile *file_new(uint64_t nodeid, uint64_t ino, uint64_t size, unsigned n_errors) {
        pthread_rwlockattr_t attributes;
        MapFile *file = calloc(1, sizeof *file);

        if (!file)
                return NULL;
        *file = (MapFile){.link.key = nodeid, .nodeid = nodeid, .ino = ino, .n_ref = 1, .size = size, .disk_size = size, .errors_seen = n_errors};
        (void) pthread_mutex_init(&file->cache_lock, NULL);
        (void) pthread_rwlockattr_init(&attributes);
        /* a stream of reads must not keep a truncation out for ever */
        (void) pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
        (void) pthread_rwlock_init(&file->io, &attributes);
        (void) pthread_rwlockattr_destroy(&attributes);
        return file;
}

int map_file_lookup(MapFiles *files, uint64_t nodeid, uint64_t ino, uint64_t size, unsigned n_errors) {
        Shard *shard = shard_of(files, nodeid);
        MapFile *file;

        (void) pthread_rwlock_wrlock(&shard->lock);
        file = find(shard, nodeid);
        if (!file) {
                file = file_new(nodeid, ino, size, n_errors);
                if (file && hash_add(&shard->files, &file->link) < 0)
                        file = map_file_unref(file);
        }
        if (file)
                file->n_lookup++;
        (void) pthread_rwlock_unlock(&shard->lock);
        return file ? 0 : -ENOMEM;
}

void map_file_forget(MapFiles *files, uint64_t nodeid, uint64_t n_lookup) {
        Shard *shard = shard_of(files, nodeid);
        MapFile *file;

        (void) pthread_rwlock_wrlock(&shard->lock);
        file = find(shard, nodeid);
        if (file) {
                file->n_lookup -= MIN_OF(n_lookup, file->n_lookup);
                if (file->n_lookup == 0)
                        hash_remove(&shard->files, &file->link);
                else
                        file = NULL;
        }
        (void) pthread_rwlock_unlock(&shard->lock);
        map_file_unref(file);
}

MapFile *map_file_get(MapFiles *files, uint64_t nodeid) {
        Shard *shard = shard_of(files, nodeid);
        MapFile *file;

        (void) pthread_rwlock_rdlock(&shard->lock);
        file = find(shard, nodeid);
        if (file)
                (void) atomic_fetch_add_explicit(&file->n_ref, 1, memory_order_relaxed);
        (void) pthread_rwlock_unlock(&shard->lock);
        return file;
}

size_t map_files_count(MapFiles *files) {
        size_t n = 0;

        for (size_t i = 0; i < N_SHARDS; i++) {
                (void) pthread_rwlock_rdlock(&files->shards[i].lock);
                n += files->shards[i].files.n;
                (void) pthread_rwlock_unlock(&files->shards[i].lock);
        }
        return n;
}

/* Up to the end of its table. What does not fit of a bucket has its turn in the next round. */
static size_t idle_of_shard(MapFiles *files, Shard *shard, uint64_t *ret, size_t max) {
        size_t n = 0;

        for (; files->idle_bucket < hash_n_buckets(&shard->files) && n < max; files->idle_bucket++)
                for (HashLink *link = shard->files.buckets[files->idle_bucket]; link && n < max; link = link->next)
                        if (((MapFile *) link)->n_ref == 1)
                                ret[n++] = link->key;
        return n;
}

/* Once round at most. */
size_t map_files_idle(MapFiles *files, uint64_t *ret, size_t max) {
        size_t n = 0;

        for (size_t i = 0; i < N_SHARDS && n < max; i++) {
                Shard *shard = &files->shards[files->idle_shard];
                (void) pthread_rwlock_rdlock(&shard->lock);
                n += idle_of_shard(files, shard, ret + n, max - n);
                if (files->idle_bucket >= hash_n_buckets(&shard->files)) {
                        files->idle_shard = (files->idle_shard + 1) % N_SHARDS;
                        files->idle_bucket = 0;
                }
                (void) pthread_rwlock_unlock(&shard->lock);
        }
        return n;
}

/* ---- what is cached of files that nobody is at ---------------------------------------------------------------------- */

/* Both sides or neither: without that for writes, those would go where reads come from. Returns how many. */
static size_t take_idle(MapFile *file, MappingCache **ret) {
        _Atomic(MappingCache *) *const places[] = {&file->read_cache, &file->write_cache};
        bool idle = true;
        size_t n = 0;

        for (size_t i = 0; i < ELEMENTSOF(places); i++)
                if (*places[i] && !mapping_cache_is_idle(*places[i]))
                        idle = false;
        if (!idle || pthread_mutex_trylock(&file->cache_lock) != 0)
                return 0;
        if (pthread_rwlock_trywrlock(&file->io) == 0) { /* nobody is inside, and whoever comes finds none */
                for (size_t i = 0; i < ELEMENTSOF(places); i++) {
                        MappingCache *cache = atomic_exchange(places[i], NULL);
                        if (cache)
                                ret[n++] = cache;
                }
                (void) pthread_rwlock_unlock(&file->io);
        }
        (void) pthread_mutex_unlock(&file->cache_lock);
        return n;
}

/* A few buckets. They are freed without a lock, as that may have to wait for who evicts. *n_shards: of which the end was come to. */
static uint64_t give_up_some(MapFiles *files, unsigned *n_shards) {
        Shard *shard = &files->shards[files->hand_shard];
        MappingCache *idle[4 * STEP];
        uint64_t bytes = 0;
        size_t n = 0, end;

        (void) pthread_rwlock_rdlock(&shard->lock);
        end = MIN_OF(files->hand_bucket + STEP, hash_n_buckets(&shard->files));
        for (; files->hand_bucket < end; files->hand_bucket++)
                for (HashLink *link = shard->files.buckets[files->hand_bucket]; link && n + 2 <= ELEMENTSOF(idle); link = link->next)
                        n += take_idle((MapFile *) link, idle + n);
        if (end == hash_n_buckets(&shard->files)) {
                files->hand_shard = (files->hand_shard + 1) % N_SHARDS;
                files->hand_bucket = 0;
                (*n_shards)++;
        }
        (void) pthread_rwlock_unlock(&shard->lock);
        for (size_t i = 0; i < n; i++)
                bytes += mapping_cache_evict(idle[i]);
        return bytes;
}

/* Twice round at most: what the hand has found in use is looked at once more. */
void map_files_give_up(void *userdata, uint64_t bytes) {
        MapFiles *files = userdata;
        unsigned n_shards = 0;

        if (pthread_mutex_trylock(&files->hand_lock) != 0) /* somebody is at it */
                return;
        for (uint64_t done = 0; done < bytes && n_shards < 2 * N_SHARDS;)
                done += give_up_some(files, &n_shards);
        (void) pthread_mutex_unlock(&files->hand_lock);
}
