/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The thread beside those that serve: how many files the kernel is left to remember. */

#define FUSE_USE_VERSION 312
#include <string.h>

#include "unit/kernel-world.h"

#define FILES 5000U
#define FILES_MAX 1000U
#define FIRST 100U /* node */

int __wrap_session_notify_waiting(Session *session, int code, const void *data, size_t size);

static struct fused_map *map;
static bool is_old;
static atomic_uint n_asked;

/* The kernel forgets all that it is asked to, at once. */
int __wrap_session_notify_waiting(Session *session, int code, const void *data, size_t size) {
        const AbiPrune *prune = data;

        n_asked++;
        assert_int_equal(code, ABI_NOTIFY_PRUNE);
        assert_int_equal(size, sizeof *prune + prune->count * sizeof(uint64_t));
        for (uint32_t i = 0; i < prune->count && !is_old; i++)
                map_file_forget(map->files, prune->nodeids[i], 1);
        return is_old ? -EINVAL : 0;
}

static World *start(void) {
        static const RamfsConfig plain = {.block_size = 4096};
        World *world = world_new(&plain, &stock, /* devices= */ false, 0);

        map = world->ramfs.map;
        n_asked = 0;
        for (unsigned i = 0; i < FILES; i++)
                assert_int_equal(map_file_lookup(map->files, FIRST + i, FIRST + i, 0, 0), 0);
        assert_in_range(map_files_count(map->files), FILES, FILES + 10);
        return world;
}

static void wait_until_asked(void) {
        for (unsigned i = 0; i < 1000 && n_asked == 0; i++)
                (void) usleep(10000);
        assert_int_not_equal(n_asked, 0);
}

static void test_many(void **state) {
        World *world = start();
        MapFile *used = map_file_get(map->files, FIRST + 7);

        map->files_max = FILES_MAX;
        wait_until_asked();
        for (unsigned i = 0; i < 1000 && map_files_count(map->files) > FILES_MAX; i++)
                (void) usleep(10000);
        assert_in_range(map_files_count(map->files), FILES_MAX / 2, FILES_MAX);
        assert_int_equal(used->n_lookup, 1);
        map_file_unref(used);
        assert_int_equal(world_free(world), 0);
}

/* It is asked once. */
static void test_old_kernel(void **state) {
        is_old = true;
        World *world = start();

        map->files_max = FILES_MAX;
        wait_until_asked();
        (void) usleep(1500000);
        assert_int_equal(n_asked, 1);
        assert_true(map_files_count(map->files) >= FILES);
        assert_int_equal(world_free(world), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_many), cmocka_unit_test(test_old_kernel)};

        return cmocka_run_group_tests(tests, NULL, NULL);
}
