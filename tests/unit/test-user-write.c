/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The user engine: a WRITE for which the server runs out of space on the way. As with any file system it is a short one, and the file is as long
 * as what was written. */

#define FUSE_USE_VERSION 312
#include <string.h>

#include "unit/kernel-world.h"

#define BLOCK 4096U
#define BEFORE 100U /* where in its first block the write begins */
#define SIZE (BLOCK * 4)

static uint8_t data[SIZE], got[SIZE];

/* Leaves so many blocks, none beside another: each is a mapping of its own. */
static void leave_blocks(Ramfs *ramfs, unsigned n) {
        memset(ramfs->used, 1, sizeof ramfs->used);
        for (unsigned i = 0; i < n; i++)
                ramfs->used[i % RAMFS_DEVICES][10 + 5 * i] = false;
}

/* Returns what WRITE was answered with: the count or an error. */
static int64_t ask_write(Model *model, const ModelInode *inode, uint64_t pos, uint32_t size, uint32_t flags) {
        const struct fuse_write_in in = {.fh = inode->fh, .offset = pos, .size = size, .write_flags = flags, .flags = O_RDWR};
        struct fuse_write_out out = {0};
        ssize_t n = model_ask2(model, FUSE_WRITE, inode->nodeid, &in, sizeof in, data, size, &out, sizeof out);

        if (n < 0)
                return n;
        assert_int_equal(n, sizeof out);
        return out.size;
}

static uint64_t ask_size(Model *model, const ModelInode *inode) {
        const struct fuse_getattr_in in = {0};
        struct fuse_attr_out out;

        assert_int_equal(model_ask(model, FUSE_GETATTR, inode->nodeid, &in, sizeof in, &out, sizeof out), sizeof out);
        return out.attr.size;
}

static void check(bool unwritten, unsigned n_blocks, uint32_t flags, int64_t expected, uint64_t expected_size) {
        const RamfsConfig config = {.block_size = BLOCK, .unwritten = unwritten};
        World *world = world_new(&config, &stock, /* devices= */ false, 0);
        ModelInode *inode = model_create(&world->model, "file");
        const struct fuse_read_in in = {.fh = inode->fh, .size = SIZE, .flags = O_RDWR};
        ssize_t n;

        leave_blocks(&world->ramfs, n_blocks);
        assert_int_equal(ask_write(&world->model, inode, BEFORE, SIZE - 2 * BEFORE, flags), expected);
        assert_int_equal(world->ramfs.files[0].size, expected_size);
        if (flags == 0) {
                assert_int_equal(ask_size(&world->model, inode), expected_size);
                n = model_ask(&world->model, FUSE_READ, inode->nodeid, &in, sizeof in, got, sizeof got);
                assert_int_equal(n, expected_size);
                for (size_t i = 0; i < (size_t) n; i++)
                        assert_int_equal(got[i], i < BEFORE ? 0 : data[i - BEFORE]);
        }
        if (n_blocks < 4) { /* the rest, as programs try it */
                uint64_t at = n_blocks * BLOCK;
                assert_int_equal(ask_write(&world->model, inode, at, BLOCK, flags), -ENOSPC);
                assert_int_equal(world->ramfs.files[0].size, expected_size);
        }
        assert_int_equal(model_release(&world->model, inode), 0);
        (void) world_free(world);
}

static void test_space_ends(void **state) {
        for (size_t i = 0; i < SIZE; i++)
                data[i] = (uint8_t) (1 + i % 251);
        for (int unwritten = 0; unwritten < 2; unwritten++) {
                check(unwritten, 0, 0, -ENOSPC, 0);
                for (unsigned n = 1; n < 4; n++)
                        check(unwritten, n, 0, n * BLOCK - BEFORE, n * BLOCK);
                check(unwritten, 4, 0, SIZE - 2 * BEFORE, SIZE - BEFORE);
        }
}

/* The kernel does not look at the count of a page that it writes back: it has to hear the error. */
static void test_space_ends_for_writeback(void **state) {
        check(false, 2, FUSE_WRITE_CACHE, -ENOSPC, 2 * BLOCK);
}

static struct fused_mapping spoiled; /* from where on, and what */

static void spoil(struct fused_mapping *read, struct fused_mapping *write) {
        if (read->offset >= spoiled.offset)
                *read = spoiled;
}

/* What is inline is written by the server, like what is read. Where a part is, all of the request is passed on. */
static void test_inline(void **state) {
        static const struct {
                uint64_t inline_from, pos;
                uint32_t size;
                bool passed;
        } rows[] = {{0, 0, BLOCK, true}, {0, 10, 100, true}, {BLOCK, 0, 2 * BLOCK, true}, {BLOCK, 0, BLOCK + 100, true}, {BLOCK, 0, BLOCK, false}};
        World *world = world_new(&(RamfsConfig){.block_size = BLOCK}, &stock, /* devices= */ false, 0);
        ModelInode *inode = model_create(&world->model, "file");
        RamfsFile *file = &world->ramfs.files[0];

        for (size_t i = 0; i < SIZE; i++)
                data[i] = (uint8_t) (1 + i % 251);
        world->ramfs.spoil = spoil;
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                spoiled = (struct fused_mapping){.offset = rows[i].inline_from, .length = BLOCK, .addr = FUSED_MAPPING_ADDR_NONE,
                                                 .type = FUSED_MAPPING_INLINE};
                memset(file->first, 0, sizeof file->first);
                assert_int_equal(ask_write(&world->model, inode, rows[i].pos, rows[i].size, 0), rows[i].size);
                assert_int_equal(memcmp(file->first + rows[i].pos, data, rows[i].size) == 0, rows[i].passed);
        }
        assert_int_equal(world->ramfs.map->statistics->bad_mappings, 0);
        (void) world_free(world);
}

/* A server that allocates nothing for a write has broken its word: that is told, and counted. */
static void test_no_place(void **state) {
        static const uint16_t types[] = {FUSED_MAPPING_HOLE, FUSED_MAPPING_DELALLOC};
        World *world = world_new(&(RamfsConfig){.block_size = BLOCK}, &stock, /* devices= */ false, 0);
        ModelInode *inode = model_create(&world->model, "file");

        world->ramfs.spoil = spoil;
        for (unsigned i = 0; i < ELEMENTSOF(types); i++) {
                spoiled = (struct fused_mapping){.length = BLOCK, .addr = FUSED_MAPPING_ADDR_NONE, .type = types[i]};
                assert_int_equal(ask_write(&world->model, inode, 0, BLOCK, 0), -EUCLEAN);
                assert_int_equal(ask_write(&world->model, inode, 10, 100, FUSE_WRITE_CACHE), -EUCLEAN);
                assert_int_equal(world->ramfs.map->statistics->bad_mappings, 2 * (i + 1));
        }
        assert_int_equal(world->ramfs.map->n_complaints, 4); /* of which the first was written down */
        world->ramfs.spoil = NULL;
        assert_int_equal(ask_write(&world->model, inode, 0, BLOCK, 0), BLOCK);
        (void) world_free(world);
}

int main(void) {
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_space_ends), cmocka_unit_test(test_space_ends_for_writeback),
                                           cmocka_unit_test(test_inline), cmocka_unit_test(test_no_place)};

        return cmocka_run_group_tests(tests, NULL, NULL);
}
