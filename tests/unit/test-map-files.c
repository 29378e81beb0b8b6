/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The table of mapped files: lookups are counted as the kernel counts them, and many files are found as fast as few. And what is cached of
 * them: never where to read from without where to write to, and no more than there is memory for. */

#define FUSE_USE_VERSION 312
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "map/map.h"

#define FEW 1000U
#define MANY 300000U
#define GETS 200000U

static void test_lookups(void **state) {
        MapFiles *files;

        assert_int_equal(map_files_new(&files), 0);
        assert_null(map_file_get(files, 7));
        assert_int_equal(map_file_lookup(files, 7, 70, 100, 3), 0);
        assert_int_equal(map_file_lookup(files, 7, 71, 200, 4), 0); /* it is there */
        _cleanup_file_ MapFile *file = map_file_get(files, 7);
        assert_int_equal(file->ino, 70);
        assert_int_equal(file->size, 100);
        assert_int_equal(file->errors_seen, 3);
        map_file_forget(files, 8, 1);
        map_file_forget(files, 7, 1);
        assert_int_equal(file->n_lookup, 1);
        map_file_forget(files, 7, 5);
        assert_null(map_file_get(files, 7));
        assert_int_equal(file->n_ref, 1); /* ours */
        assert_int_equal(map_file_lookup(files, 7, 72, 300, 0), 0);
        files = map_files_free(files);
}

/* ns for each, the best of three. */
static double get_at_random(MapFiles *files, unsigned n) {
        double best = 1e9;

        for (unsigned round = 0; round < 3; round++) {
                uint64_t x = 1, started = clock_nsec();
                for (unsigned i = 0; i < GETS; i++) {
                        x = x * 6364136223846793005ULL + 1442695040888963407ULL;
                        MapFile *file = map_file_get(files, 2 + (x >> 33) % n);
                        assert_non_null(file);
                        map_file_unref(file);
                }
                best = MIN_OF(best, (double) (clock_nsec() - started) / GETS);
        }
        return best;
}

static void test_many(void **state) {
        MapFiles *files;
        double few, many;

        assert_int_equal(map_files_new(&files), 0);
        for (unsigned i = 0; i < FEW; i++)
                assert_int_equal(map_file_lookup(files, 2 + i, 2 + i, 0, 0), 0);
        few = get_at_random(files, FEW);
        for (unsigned i = FEW; i < MANY; i++)
                assert_int_equal(map_file_lookup(files, 2 + i, 2 + i, 0, 0), 0);
        many = get_at_random(files, MANY);
        printf("%.0f ns among %u files, %.0f ns among %u\n", few, FEW, many, MANY);
        assert_true(many < 200 * few); /* misses of the processor's cache, also of a busy machine, make less of it; a search of all makes thousands */
        for (unsigned i = 0; i < MANY; i += 2)
                map_file_forget(files, 2 + i, 1);
        for (unsigned i = 0; i < 1000; i++) {
                _cleanup_file_ MapFile *file = map_file_get(files, 2 + i);
                assert_int_equal(file != NULL, i % 2);
        }
        files = map_files_free(files);
}

/* ---- caches --------------------------------------------------------------------------------------------------------- */

#define BLOCK 4096U
#define LIMIT (1U << 20)
#define SMALL 20000U /* files of a mapping or two; from node 2 on */
#define LARGE_NODE 1000000U
#define LARGE_MAPPINGS 5000U
#define BLOCKS (1U << 20) /* of the device */

static struct fused_map *map;
static atomic_uint n_wrong;

/* Every other file is written to elsewhere. */
static bool has_writes(uint64_t nodeid) {
        return nodeid % 2;
}

static struct fused_mapping place(uint64_t nodeid, uint64_t block, bool write) {
        return (struct fused_mapping){.offset = block * BLOCK, .length = BLOCK, .type = FUSED_MAPPING_MAPPED, .dev = 1,
                                      .addr = ((nodeid * 2 + write) * 13 + block * 7) % BLOCKS * BLOCK};
}

static int on_begin(void *userdata, const struct fused_map_request *request, struct fused_mapping *read, struct fused_mapping *write) {
        *read = place(request->nodeid, request->pos / BLOCK, false);
        if (has_writes(request->nodeid))
                *write = place(request->nodeid, request->pos / BLOCK, true);
        return fused_map_upsert(map, request->nodeid, read, has_writes(request->nodeid) ? write : NULL);
}

/* As requests do: with the file's lock. May run in any thread, so it does not assert. */
static void look(uint64_t nodeid, uint64_t block) {
        _cleanup_file_ MapFile *file = map_file_get(map->files, nodeid);
        const struct fused_mapping expected[] = {place(nodeid, block, false), place(nodeid, block, true)};
        struct fused_mapping read, write;

        (void) pthread_rwlock_rdlock(&file->io);
        n_wrong += map_lookup(map, file, block * BLOCK, BLOCK, FUSED_MAPPING_OP_WRITE, &read, &write) != 0;
        (void) pthread_rwlock_unlock(&file->io);
        n_wrong += read.addr != expected[0].addr;
        n_wrong += write.type != (has_writes(nodeid) ? FUSED_MAPPING_MAPPED : FUSED_MAPPING_PURE_OVERWRITE);
        n_wrong += has_writes(nodeid) && write.addr != expected[1].addr;
}

static int setup_map(void **state) {
        static const struct fused_map_operations operations = {.begin = on_begin};
        static const struct fuse_lowlevel_ops lowlevel;
        const struct fused_map_config config = {.block_size = BLOCK, .cache_bytes = LIMIT};
        struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
        int fd = memfd_create("device", MFD_CLOEXEC);

        assert_int_equal(ftruncate(fd, (off_t) BLOCKS * BLOCK), 0);
        assert_int_equal(fuse_opt_add_arg(&args, "test"), 0);
        assert_int_equal(fused_map_new(&map, NULL, &args, &lowlevel, sizeof lowlevel, &operations, &config, NULL), 0);
        fuse_opt_free_args(&args);
        assert_int_equal(fused_map_add_device(map, fd, 0), 1);
        for (unsigned i = 0; i < SMALL; i++)
                assert_int_equal(map_file_lookup(map->files, 2 + i, 2 + i, 0, 0), 0);
        assert_int_equal(map_file_lookup(map->files, LARGE_NODE, LARGE_NODE, 0, 0), 0);
        return 0;
}

static int teardown_map(void **state) {
        (void) fd_close(map->devices[0].fd);
        fused_map_free(map);
        return 0;
}

static void test_cached(void **state) {
        uint64_t asked;

        for (unsigned i = 0; i < LARGE_MAPPINGS; i++)
                look(LARGE_NODE, 2 * i);
        for (unsigned round = 0; round < 2; round++)
                for (unsigned i = 0; i < SMALL; i++) {
                        MappingPoolFacts facts;
                        look(2 + i, 0);
                        if (i % 100 == 0) /* one that is used more than the others */
                                look(2, 0);
                        mapping_pool_facts(map->pool, &facts);
                        assert_true(facts.bytes <= LIMIT + LIMIT / 4);
                        _cleanup_file_ MapFile *file = map_file_get(map->files, 2 + (i * 7919ULL) % SMALL);
                        assert_true(!has_writes(file->nodeid) || !file->read_cache || file->write_cache); /* never one without the other */
                }
        asked = map->statistics->answered_by_server;
        assert_in_range(asked, LARGE_MAPPINGS + SMALL * 3 / 2, LARGE_MAPPINGS + 2 * SMALL); /* that many do not fit */
        look(2, 0);
        for (unsigned i = 0; i < LARGE_MAPPINGS; i++)
                look(LARGE_NODE, 2 * i);
        assert_int_equal(map->statistics->answered_by_server, asked); /* these do */
}

static void *look_around(void *userdata) {
        uint64_t x = (uintptr_t) userdata;

        for (unsigned i = 0; i < 100000; i++) {
                x = x * 6364136223846793005ULL + 1442695040888963407ULL;
                if (x >> 60 == 0)
                        look(LARGE_NODE, (x >> 33) % 100000);
                else if (x >> 60 == 1)
                        n_wrong += fused_map_invalidate(map, 2 + (x >> 33) % SMALL, 0, UINT64_MAX) != 0;
                else
                        look(2 + (x >> 33) % SMALL, (x >> 20) % 3);
        }
        return NULL;
}

static void test_threads(void **state) {
        pthread_t threads[4];

        for (uintptr_t i = 0; i < ELEMENTSOF(threads); i++)
                assert_int_equal(pthread_create(&threads[i], NULL, look_around, (void *) (i / 2 + 1)), 0); /* two go the same way */
        for (size_t i = 0; i < ELEMENTSOF(threads); i++)
                assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(n_wrong, 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_lookups), cmocka_unit_test(test_many),
                                           cmocka_unit_test_setup_teardown(test_cached, setup_map, teardown_map),
                                           cmocka_unit_test_setup_teardown(test_threads, setup_map, teardown_map)};

        return cmocka_run_group_tests(tests, NULL, NULL);
}
