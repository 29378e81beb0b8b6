/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The mapped files that the kernel knows, by node id. */

#define FUSE_USE_VERSION 312
#include "map/map.h"

#define N_BUCKETS 4096U
#define N_LOCKS 64U

struct MapFiles {
        pthread_rwlock_t locks[N_LOCKS]; /* bucket i's is i % N_LOCKS */
        MapFile *buckets[N_BUCKETS];
};

static unsigned bucket_of(uint64_t nodeid) {
        return (unsigned) (nodeid * 0x9e3779b97f4a7c15ULL >> 52) % N_BUCKETS;
}

int map_files_new(MapFiles **ret) {
        MapFiles *files = calloc(1, sizeof *files);

        if (!files)
                return -ENOMEM;
        for (size_t i = 0; i < N_LOCKS; i++)
                (void) pthread_rwlock_init(&files->locks[i], NULL);
        *ret = files;
        return 0;
}

MapFiles *map_files_free(MapFiles *files) {
        if (!files)
                return NULL;
        for (size_t i = 0; i < N_BUCKETS; i++)
                while (files->buckets[i]) {
                        MapFile *file = files->buckets[i];
                        files->buckets[i] = file->next;
                        map_file_unref(file);
                }
        for (size_t i = 0; i < N_LOCKS; i++)
                (void) pthread_rwlock_destroy(&files->locks[i]);
        free(files);
        return NULL;
}

MapFile *map_file_unref(MapFile *file) {
        if (!file || atomic_fetch_sub(&file->n_ref, 1) != 1)
                return NULL;
        mapping_cache_free(file->read_cache);
        mapping_cache_free(file->write_cache);
        (void) pthread_mutex_destroy(&file->make_lock);
        (void) pthread_rwlock_destroy(&file->io);
        free(file);
        return NULL;
}

static MapFile *find(MapFiles *files, uint64_t nodeid) {
        MapFile *file = files->buckets[bucket_of(nodeid)];

        while (file && file->nodeid != nodeid)
                file = file->next;
        return file;
}

static MapFile *file_new(uint64_t nodeid, uint64_t ino, uint64_t size, unsigned n_errors) {
        pthread_rwlockattr_t attributes;
        MapFile *file = calloc(1, sizeof *file);

        if (!file)
                return NULL;
        *file = (MapFile){.nodeid = nodeid, .ino = ino, .n_ref = 1, .size = size, .disk_size = size, .errors_seen = n_errors};
        (void) pthread_mutex_init(&file->make_lock, NULL);
        (void) pthread_rwlockattr_init(&attributes);
        /* a stream of reads must not keep a truncation out for ever */
        (void) pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
        (void) pthread_rwlock_init(&file->io, &attributes);
        (void) pthread_rwlockattr_destroy(&attributes);
        return file;
}

int map_file_lookup(MapFiles *files, uint64_t nodeid, uint64_t ino, uint64_t size, unsigned n_errors) {
        unsigned bucket = bucket_of(nodeid);
        pthread_rwlock_t *lock = &files->locks[bucket % N_LOCKS];
        MapFile *file;

        (void) pthread_rwlock_wrlock(lock);
        file = find(files, nodeid);
        if (!file) {
                file = file_new(nodeid, ino, size, n_errors);
                if (file) {
                        file->next = files->buckets[bucket];
                        files->buckets[bucket] = file;
                }
        }
        if (file)
                file->n_lookup++;
        (void) pthread_rwlock_unlock(lock);
        return file ? 0 : -ENOMEM;
}

void map_file_forget(MapFiles *files, uint64_t nodeid, uint64_t n_lookup) {
        unsigned bucket = bucket_of(nodeid);
        pthread_rwlock_t *lock = &files->locks[bucket % N_LOCKS];
        MapFile *gone = NULL;

        (void) pthread_rwlock_wrlock(lock);
        for (MapFile **place = &files->buckets[bucket]; *place; place = &(*place)->next)
                if ((*place)->nodeid == nodeid) {
                        (*place)->n_lookup -= MIN_OF(n_lookup, (*place)->n_lookup);
                        if ((*place)->n_lookup == 0) {
                                gone = *place;
                                *place = gone->next;
                        }
                        break;
                }
        (void) pthread_rwlock_unlock(lock);
        map_file_unref(gone);
}

MapFile *map_file_get(MapFiles *files, uint64_t nodeid) {
        pthread_rwlock_t *lock = &files->locks[bucket_of(nodeid) % N_LOCKS];
        MapFile *file;

        (void) pthread_rwlock_rdlock(lock);
        file = find(files, nodeid);
        if (file)
                (void) atomic_fetch_add_explicit(&file->n_ref, 1, memory_order_relaxed);
        (void) pthread_rwlock_unlock(lock);
        return file;
}
