/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The user engine: READ of what the server calls by other names than plain data, alone and kept with others. */

#define FUSE_USE_VERSION 312
#include <string.h>

#include "unit/kernel-world.h"

#define BLOCK 4096U

static const RamfsConfig plain = {.block_size = BLOCK};

static void call_new(struct fused_mapping *read, struct fused_mapping *write) {
        read->flags |= read->type == FUSED_MAPPING_MAPPED ? FUSED_MAPPING_F_NEW : 0;
}

static void expect_block(World *world, const ModelInode *inode, uint8_t byte) {
        const struct fuse_read_in in = {.fh = inode->fh, .size = BLOCK, .flags = O_RDWR};
        uint8_t got[BLOCK], expected[BLOCK];

        memset(got, 'x', sizeof got);
        memset(expected, byte, sizeof expected);
        assert_int_equal(model_ask(&world->model, FUSE_READ, inode->nodeid, &in, sizeof in, got, sizeof got), BLOCK);
        assert_memory_equal(got, expected, BLOCK);
}

/* What the device holds in new space is somebody else's. */
static void test_new(void **state) {
        uint8_t data[BLOCK];

        memset(data, 'd', sizeof data);
        for (unsigned direct = 0; direct < 2; direct++) {
                World *world = world_new(&plain, &stock, /* devices= */ false, 0);
                ModelInode *inode = model_create(&world->model, "file");
                for (unsigned i = 0; direct && i < RAMFS_DEVICES; i++)
                        world->ramfs.map->devices[i].direct_fd = fd_dup(world->ramfs.device_fds[i]);
                assert_int_equal(model_write(&world->model, inode, 0, BLOCK, data, false), 0);
                expect_block(world, inode, 'd');
                world->ramfs.spoil = call_new;
                expect_block(world, inode, 0);
                world->ramfs.spoil = NULL;
                expect_block(world, inode, 'd');
                assert_int_equal(world_free(world), 0);
        }
}

/* Nor does the cache take it: there it would never be anything else. */
static void test_new_cached(void **state) {
        World *world = world_new(&plain, &stock, /* devices= */ false, 0);
        ModelInode *inode = model_create(&world->model, "file");
        struct fused_mapping mapping = {.length = BLOCK, .type = FUSED_MAPPING_MAPPED, .flags = FUSED_MAPPING_F_NEW, .dev = 1};

        assert_int_equal(fused_map_upsert(world->ramfs.map, inode->nodeid, &mapping, NULL), -EUCLEAN);
        mapping.flags = 0;
        assert_int_equal(fused_map_upsert(world->ramfs.map, inode->nodeid, &mapping, NULL), 0);
        assert_int_equal(world_free(world), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_new), cmocka_unit_test(test_new_cached)};

        return cmocka_run_group_tests(tests, NULL, NULL);
}
